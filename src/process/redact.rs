//! Hides the passwords of command-line arguments in messages and in `/proc/PID/cmdline`.
//!
//! Messages quote arguments through [`redact`]. [`hide_arguments`] overwrites the argument area of the
//! process, which every user can read; a child made by fork(2) inherits that.
//!
//! Invariant: a part that may be a password is hidden.

use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use crate::process::printable::printable;

/// Replacement of a password: one character, so that the argument does not grow.
const HIDDEN: &[u8] = b"*";
/// Options whose whole value is a secret.
const SECRET_OPTIONS: [&[u8]; 5] = [
    b"pass=",
    b"password=",
    b"passwd=",
    b"passphrase=",
    // The command may hold a secret.
    b"password_command=",
];
/// Options whose value is `USER:PASSWORD`.
const LOGIN_OPTIONS: [&[u8]; 2] = [b"user=", b"proxy_user="];
/// Index of `arg_start` in `/proc/self/stat`, among the fields after the program's name: fields 48 and 49
/// (proc(5)) are `arg_start` and `arg_end`, and the first one after the name is field 3.
const ARG_START: usize = 48 - 3;

/// Returns an argument for a message: with passwords hidden and control characters escaped.
pub fn redact(argument: impl AsRef<OsStr>) -> String {
    let bytes = argument.as_ref().as_bytes();
    let mut hidden = find_secrets(bytes);
    // "PART OF A PASSWORD@HOST": the shell splits a password that contains a blank.
    if let Some(at) = bytes.iter().position(|&byte| byte == b'@')
        && hidden.is_empty()
        && find(bytes, b"://").is_none()
    {
        hidden.push(0..at);
    }
    printable(&String::from_utf8_lossy(&replace_ranges(bytes, &hidden)))
}

/// Whether an argument, or a word of a list of options, holds a password.
pub fn holds_secret(argument: impl AsRef<OsStr>) -> bool {
    !find_secrets(argument.as_ref().as_bytes()).is_empty()
}

/// Overwrites the passwords among `arguments`, which are those of this process, in the memory that
/// `/proc/self/cmdline` shows.
pub fn hide_arguments(arguments: &[OsString]) -> io::Result<()> {
    if !arguments.iter().any(holds_secret) {
        return Ok(());
    }
    let unknown = || io::Error::other("/proc/self/stat does not show the address of the arguments");
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or_else(unknown)?;
    let mut fields = fields.split_whitespace().skip(ARG_START);
    let mut address = || fields.next()?.parse::<usize>().ok();
    let (start, end) = (
        address().ok_or_else(unknown)?,
        address().ok_or_else(unknown)?,
    );
    let mut expected = Vec::new();
    for argument in arguments {
        expected.extend_from_slice(argument.as_bytes());
        expected.push(0);
    }
    if start == 0 || end.checked_sub(start) != Some(expected.len()) {
        return Err(unknown());
    }
    // SAFETY: the kernel put the arguments there, on the stack of this process, which is writable and lives
    // as long as the process. There is one thread, and the standard library has copied the arguments.
    let area = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, expected.len()) };
    if area != expected {
        return Err(unknown());
    }
    let mut at = 0;
    for argument in arguments {
        let bytes = argument.as_bytes();
        let mut shown = replace_ranges(bytes, &find_secrets(bytes));
        // Padded with NULs, so that the length of the password is hidden too.
        shown.resize(bytes.len(), 0);
        area[at..at + bytes.len()].copy_from_slice(&shown);
        at += bytes.len() + 1;
    }
    Ok(())
}

/// Replaces each range by [`HIDDEN`]; ranges do not overlap.
fn replace_ranges(bytes: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for range in ranges {
        shown.extend_from_slice(&bytes[at..range.start]);
        shown.extend_from_slice(HIDDEN);
        at = range.end;
    }
    shown.extend_from_slice(&bytes[at..]);
    shown
}

/// Returns the ranges of passwords, in order and without overlap; none is empty.
fn find_secrets(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = find_login_password(bytes).into_iter().collect();
    for start in 0..bytes.len() {
        let before = start.checked_sub(1).map(|before| bytes[before]);
        // `-opass=`, `-fopass=`
        let joined = before == Some(b'o') && bytes[0] == b'-';
        if before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !joined {
            continue;
        }
        let begins = |name: &&[u8]| {
            let there = bytes.get(start..start + name.len());
            there.is_some_and(|there| there.eq_ignore_ascii_case(name))
        };
        if let Some(name) = SECRET_OPTIONS.iter().find(|name| begins(name)) {
            found.push(start + name.len()..find_value_end(bytes, start));
        } else if LOGIN_OPTIONS.iter().any(begins) {
            let end = find_value_end(bytes, start);
            let colon = bytes[start..end].iter().position(|&byte| byte == b':');
            found.extend(colon.map(|colon| start + colon + 1..end));
        }
    }
    found.retain(|range| !range.is_empty());
    found.sort_by_key(|range| range.start);
    let mut apart: Vec<Range<usize>> = Vec::new();
    for range in found {
        match apart.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

/// Returns the range of the password of `SCHEME://USER:PASSWORD@HOST` or `USER:PASSWORD@HOST`.
fn find_login_password(bytes: &[u8]) -> Option<Range<usize>> {
    let last_at = bytes.iter().rposition(|&byte| byte == b'@')?;
    let Some(scheme) = find(bytes, b"://") else {
        let colon = bytes.iter().position(|&byte| byte == b':')?;
        // In `USER@HOST:DIR@X` the colon comes after the user.
        let is_login = !bytes[..colon].contains(&b'@') && colon < last_at;
        return is_login.then_some(colon + 1..last_at);
    };
    let start = scheme + 3;
    let length = bytes[start..].iter().position(|&byte| byte == b'/');
    let authority = start..length.map_or(bytes.len(), |length| start + length);
    let colon = start + bytes.get(start..)?.iter().position(|&byte| byte == b':')?;
    let at = bytes[authority.clone()]
        .iter()
        .rposition(|&byte| byte == b'@');
    match at.map(|at| authority.start + at) {
        Some(at) => (colon < at).then_some(colon + 1..at),
        // An unencoded `/` in a password ends the authority. Digits before it may be a port, or the beginning of a
        // password: both are hidden.
        None => (colon < last_at).then_some(colon + 1..last_at),
    }
}

/// Returns the end of the option that begins at `start`: the next comma that is not escaped or quoted.
fn find_value_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut quoted) = (start, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_in_all_forms() {
        for (argument, shown) in [
            ("ftp://u:secret@h/", "ftp://u:*@h/"),
            ("ftp://u:se@cr:et@h:21/a@b", "ftp://u:*@h:21/a@b"),
            ("ftp://u:se/cret@h/", "ftp://u:*@h/"),
            ("ftp://u@h/a:b", "ftp://u@h/a:b"),
            ("ftp://h:21/a@b", "ftp://h:*@b"),
            ("ftp://h/a", "ftp://h/a"),
            ("u:secret@h", "u:*@h"),
            ("me@h:dir", "*@h:dir"),
            ("ord@h/", "*@h/"),
            ("/mnt", "/mnt"),
            ("user=U:secret", "user=U:*"),
            ("ro,pass=sec\\,ret,rw", "ro,pass=*,rw"),
            (r#"ro,pass="sec,ret",rw"#, "ro,pass=*,rw"),
            (r#"pass="sec,ret"#, "pass=*"),
            ("-opass=secret", "-opass=*"),
            ("--password=secret", "--password=*"),
            ("PASS=secret,bypass=x", "PASS=*,bypass=x"),
            (
                "proxy=http://u:secret@h:1,pass=secret",
                "proxy=http://u:*@h:1,pass=*",
            ),
            ("user=u:x@y,pass=secret", "user=u:*,pass=*"),
            ("ro,proxy_user=u:secret", "ro,proxy_user=u:*"),
            ("curlftpfs#u:secret@h/dir", "curlftpfs#u:*@h/dir"),
        ] {
            assert_eq!(redact(argument), shown, "{argument}");
        }
    }

    #[test]
    fn any_bytes_are_redacted_without_a_panic() {
        for text in [
            "://", "@", ":@", "://@:", "://:@", "user=", "pass=", "\\", "-o",
        ] {
            for other in ["://", "@", ":", "user=:", ",pass=\\", "\"", "/"] {
                redact(format!("{text}{other}"));
                redact(format!("{other}{text}{other}"));
            }
        }
    }
}
