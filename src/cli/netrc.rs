//! Reads and parses `~/.netrc` (netrc(5)), as ftp(1) and curl read it.
//!
//! The first entry for the host that fits the user applies. An entry without a login fits every user, and
//! `default` fits every host.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::process::regular_file;

/// Maximum bytes of a netrc file.
const NETRC_LIMIT: u64 = 1 << 20;

/// A netrc file.
pub struct Netrc {
    /// The path, for messages.
    pub path: PathBuf,
    /// The content.
    pub text: Vec<u8>,
    /// Users other than its owner can access the file.
    pub is_open: bool,
}

/// An entry of a netrc file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The value of `login`.
    pub login: Option<Vec<u8>>,
    /// The value of `password`.
    pub password: Option<Vec<u8>>,
}

/// Reads a netrc file.
pub fn read(path: &Path) -> io::Result<Netrc> {
    let file = regular_file::open_as(path, OpenOptions::new().read(true))?;
    let is_open = file.metadata()?.mode() & 0o077 != 0;
    Ok(Netrc {
        path: path.to_path_buf(),
        text: regular_file::read_from(file, NETRC_LIMIT)?,
        is_open,
    })
}

/// Returns the first entry for `host` that fits `user`.
pub fn find_entry(netrc: &[u8], host: &[u8], user: Option<&[u8]>) -> Option<Entry> {
    let fits = |entry: &Entry| match (user, &entry.login) {
        (Some(user), Some(login)) => user == login.as_slice(),
        _ => true,
    };
    let mut tokens = Tokens { rest: netrc };
    let mut current: Option<Entry> = None;
    while let Some(token) = tokens.next() {
        match token.as_slice() {
            b"machine" | b"default" => {
                if let Some(entry) = current.take().filter(fits) {
                    return Some(entry);
                }
                let is_for_host = token == b"default"
                    || tokens
                        .next()
                        .is_some_and(|name| name.eq_ignore_ascii_case(host));
                current = is_for_host.then(Entry::default);
            }
            b"login" | b"password" | b"account" => {
                let value = tokens.next();
                match (&mut current, token.as_slice()) {
                    (Some(entry), b"login") => entry.login = value,
                    (Some(entry), b"password") => entry.password = value,
                    _ => {}
                }
            }
            b"macdef" => tokens.skip_macro(),
            _ => {}
        }
    }
    current.filter(fits)
}

/// The tokens of a netrc file: separated by white space, or quoted with `\` as the escape character.
struct Tokens<'a> {
    rest: &'a [u8],
}

impl Tokens<'_> {
    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let start = self
                .rest
                .iter()
                .position(|byte| !byte.is_ascii_whitespace())?;
            self.rest = &self.rest[start..];
            // A # begins a comment only at the start of a token.
            if self.rest.first() != Some(&b'#') {
                break;
            }
            self.skip_line();
        }
        let quoted = self.rest.first() == Some(&b'"');
        let mut bytes = self.rest.iter().enumerate().skip(usize::from(quoted));
        let mut token = Vec::new();
        let mut end = self.rest.len();
        while let Some((at, &byte)) = bytes.next() {
            match byte {
                b'"' if quoted => {
                    end = at + 1;
                    break;
                }
                b'\\' if quoted => token.extend(bytes.next().map(|(_, &escaped)| match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => other,
                })),
                byte if !quoted && byte.is_ascii_whitespace() => {
                    end = at;
                    break;
                }
                byte => token.push(byte),
            }
        }
        self.rest = &self.rest[end..];
        Some(token)
    }

    fn skip_line(&mut self) {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        self.rest = end.map_or(&[], |end| &self.rest[end + 1..]);
    }

    /// A macro ends at an empty line. Its commands are not tokens.
    fn skip_macro(&mut self) {
        self.skip_line();
        while !self.rest.is_empty()
            && !self.rest.starts_with(b"\n")
            && !self.rest.starts_with(b"\r\n")
        {
            self.skip_line();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netrc_is_parsed_as_ftp_and_curl_parse_it() {
        let entry = |login: &str, password: &str| {
            Some(Entry {
                login: (!login.is_empty()).then(|| login.into()),
                password: (!password.is_empty()).then(|| password.into()),
            })
        };
        for (text, found) in [
            ("machine h login u password p", entry("u", "p")),
            ("machine h\n\tlogin u\n\tpassword p\n", entry("u", "p")),
            (
                "machine g login x password y machine h password p login u",
                entry("u", "p"),
            ),
            (
                r#"machine h login "a b" password "c\"\\d""#,
                entry("a b", r#"c"\d"#),
            ),
            (
                "machine h login u password p#q # said so\n",
                entry("u", "p#q"),
            ),
            ("# machine h login x\nmachine h login u", entry("u", "")),
            (
                "macdef init\nmachine h login x\nbye\n\nmachine h login u",
                entry("u", ""),
            ),
            ("machine h login u account a password p", entry("u", "p")),
            ("default login d password e", entry("d", "e")),
            ("machine g login x default login d", entry("d", "")),
            ("machine h", entry("", "")),
            ("machine h login", entry("", "")),
            ("machine", None),
            ("login u password p", None),
            ("", None),
            ("\"", None),
        ] {
            assert_eq!(find_entry(text.as_bytes(), b"h", None), found, "{text}");
        }
    }

    #[test]
    fn entry_for_another_user_is_skipped() {
        let text = b"machine h login u password p\ndefault password d";
        let found = find_entry(text, b"h", Some(b"v")).expect("the default");
        assert_eq!(found.password.as_deref(), Some(&b"d"[..]));
        let found = find_entry(text, b"h", Some(b"u")).expect("the entry");
        assert_eq!(found.password.as_deref(), Some(&b"p"[..]));
    }
}
