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
    /// The line on which the entry begins, from 1 on.
    pub line: usize,
    /// The line of the first word that is no keyword: a misspelled one, or a value without one.
    pub odd_line: Option<usize>,
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

/// Skips the mark that editors of Windows write at the start of a UTF-8 text.
pub fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Returns the first entry for `host` that fits `user`. The error names the line and what is wrong with it.
pub fn find_entry(netrc: &[u8], host: &[u8], user: Option<&[u8]>) -> Result<Option<Entry>, String> {
    let fits = |entry: &Entry| match (user, &entry.login) {
        (Some(user), Some(login)) => user == login.as_slice(),
        _ => true,
    };
    let mut tokens = Tokens::of(without_byte_order_mark(netrc));
    let mut current: Option<Entry> = None;
    while let Some(token) = tokens.next()? {
        match token.as_slice() {
            b"machine" | b"default" => {
                if let Some(entry) = current.take().filter(fits) {
                    return Ok(Some(entry));
                }
                let line = tokens.line;
                let is_for_host =
                    token == b"default" || tokens.value("machine")?.eq_ignore_ascii_case(host);
                current = is_for_host.then(|| Entry {
                    line,
                    ..Entry::default()
                });
            }
            b"login" => {
                let value = tokens.value("login")?;
                if let Some(entry) = &mut current {
                    entry.login = Some(value);
                }
            }
            b"password" => {
                let value = tokens.value("password")?;
                if let Some(entry) = &mut current {
                    entry.password = Some(value);
                }
            }
            b"account" => drop(tokens.value("account")?),
            b"macdef" => tokens.skip_macro(),
            _ => {
                if let Some(entry) = &mut current {
                    entry.odd_line.get_or_insert(tokens.line);
                }
            }
        }
    }
    Ok(current.filter(fits))
}

/// The tokens of a netrc file: separated by white space, or quoted with `\` as the escape character.
struct Tokens<'a> {
    rest: &'a [u8],
    /// The line of the last token.
    line: usize,
}

impl<'a> Tokens<'a> {
    fn of(netrc: &'a [u8]) -> Self {
        Self {
            rest: netrc,
            line: 1,
        }
    }

    /// Returns the token after a keyword.
    fn value(&mut self, keyword: &str) -> Result<Vec<u8>, String> {
        let line = self.line;
        let missing = || format!("line {line}: {keyword} has no value");
        self.next()?.ok_or_else(missing)
    }

    /// Goes on by `count` bytes.
    fn skip(&mut self, count: usize) {
        let (skipped, rest) = self.rest.split_at(count);
        self.line += skipped.iter().filter(|&&byte| byte == b'\n').count();
        self.rest = rest;
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let is_black = |byte: &u8| !byte.is_ascii_whitespace();
            let Some(start) = self.rest.iter().position(is_black) else {
                return Ok(None);
            };
            self.skip(start);
            // A # begins a comment only at the start of a token.
            if self.rest.first() != Some(&b'#') {
                break;
            }
            self.skip_line();
        }
        let quoted = self.rest.first() == Some(&b'"');
        let mut bytes = self.rest.iter().enumerate().skip(usize::from(quoted));
        let mut token = Vec::new();
        let mut end = (!quoted).then_some(self.rest.len());
        while let Some((at, &byte)) = bytes.next() {
            match byte {
                b'"' if quoted => {
                    end = Some(at + 1);
                    break;
                }
                b'\\' if quoted => token.extend(bytes.next().map(|(_, &escaped)| match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => other,
                })),
                byte if !quoted && byte.is_ascii_whitespace() => {
                    end = Some(at);
                    break;
                }
                byte => token.push(byte),
            }
        }
        let line = self.line;
        let end = end.ok_or_else(|| format!("line {line}: a quote is not closed"))?;
        self.skip(end);
        Ok(Some(token))
    }

    fn skip_line(&mut self) {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        self.skip(end.map_or(self.rest.len(), |end| end + 1));
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
    fn byte_order_mark_is_no_part_of_the_first_word() {
        let found = find_entry(b"\xef\xbb\xbfmachine h login u", b"h", None);
        let login = found.ok().flatten().and_then(|entry| entry.login);
        assert_eq!(login.as_deref(), Some(&b"u"[..]));
    }

    #[test]
    fn netrc_is_parsed_as_ftp_and_curl_parse_it() {
        let entry = |login: &str, password: &str| Some((login.to_string(), password.to_string()));
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
            ("login u password p", None),
            ("", None),
        ] {
            let text_of =
                |part: Option<Vec<u8>>| String::from_utf8(part.unwrap_or_default()).expect("text");
            let entry = find_entry(text.as_bytes(), b"h", None).expect(text);
            let parts = entry.map(|entry| (text_of(entry.login), text_of(entry.password)));
            assert_eq!(parts, found, "{text}");
        }
    }

    #[test]
    fn errors_and_entries_name_their_line() {
        for (text, error) in [
            ("machine g\n\nmachine", "line 3: machine has no value"),
            ("machine h\nlogin", "line 2: login has no value"),
            (
                "# a\nmachine h login u password \"se\ncret",
                "line 2: a quote is not closed",
            ),
        ] {
            let found = find_entry(text.as_bytes(), b"h", None);
            assert_eq!(found, Err(error.to_string()), "{text}");
        }
        let text = b"# a\nmacdef init\nx\n\nmachine g login u\nmachine\nh login u";
        let entry = find_entry(text, b"h", None).expect("good").expect("there");
        assert_eq!((entry.line, entry.odd_line), (6, None));
        let text = b"machine h login u\npasword p\nmachine g wibble";
        let entry = find_entry(text, b"h", None).expect("good").expect("there");
        assert_eq!((entry.password, entry.odd_line), (None, Some(2)));
    }

    #[test]
    fn entry_for_another_user_is_skipped() {
        let text = b"machine h login u password p\ndefault password d";
        let found = find_entry(text, b"h", Some(b"v"))
            .expect("good")
            .expect("the default");
        assert_eq!(found.password.as_deref(), Some(&b"d"[..]));
        let found = find_entry(text, b"h", Some(b"u"))
            .expect("good")
            .expect("the entry");
        assert_eq!(found.password.as_deref(), Some(&b"p"[..]));
    }
}
