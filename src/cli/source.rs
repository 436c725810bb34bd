//! Parses the SOURCE argument.
//!
//! A source is a URL (RFC 1738 section 3.2.2), whose path is relative to the login directory unless it
//! begins with `%2F`, or `user@host:dir` as in scp(1) and sshfs(1). It is parsed as bytes, since names on
//! a server need not be UTF-8.
//!
//! Invariants: no part contains CR, LF or NUL, which would inject a command (RFC 959 section 4.1);
//! Display, Debug and errors do not show the password.

use std::ffi::OsStr;
use std::fmt;
use std::net::Ipv6Addr;
use std::os::unix::ffi::OsStrExt;

use crate::cli::settings::Settings;
use crate::process::redact::redact;
use percent_encoding::percent_decode;

/// A directory on a server, and the login.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// The scheme, which can require encryption.
    pub scheme: Scheme,
    /// The user, if one is named.
    pub user: Option<Vec<u8>>,
    /// The password, if one is named; always `None` without a user.
    pub password: Option<Vec<u8>>,
    /// Name or address, an IPv6 address without its brackets.
    pub host: String,
    /// The port of the control connection.
    pub port: u16,
    /// The directory.
    pub directory: Directory,
}

/// The part before `://`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `ftp`, or none.
    Ftp,
    /// `ftps`: TLS from the first byte on.
    Ftps,
    /// `ftpes`: TLS after `AUTH TLS`.
    Ftpes,
}

impl Scheme {
    /// The scheme as text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ftp => "ftp",
            Self::Ftps => "ftps",
            Self::Ftpes => "ftpes",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Ftp | Self::Ftpes => FTP_PORT,
            Self::Ftps => FTPS_PORT,
        }
    }
}

/// The directory of the server that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directory {
    /// The login directory.
    Login,
    /// A path below the login directory; not empty, and without `/` at either end.
    Relative(Vec<u8>),
    /// A path from the root; begins with exactly one `/`, and ends with none unless it is `/` itself.
    Absolute(Vec<u8>),
}

impl Directory {
    /// The argument of `CWD` after the login; `None` for the login directory.
    pub fn path(&self) -> Option<&[u8]> {
        match self {
            Self::Login => None,
            Self::Relative(path) | Self::Absolute(path) => Some(path),
        }
    }

    fn from_path(path: &[u8]) -> Self {
        let relative = trim_slashes(path);
        if path.first() == Some(&b'/') {
            Self::Absolute([b"/", relative].concat())
        } else if relative.is_empty() {
            Self::Login
        } else {
            Self::Relative(relative.to_vec())
        }
    }
}

/// The port of FTP (RFC 959).
const FTP_PORT: u16 = 21;
/// The port of FTP over implicit TLS (IANA).
const FTPS_PORT: u16 = 990;

impl Source {
    /// Returns the source of another directory: absolute, without `/` at its end, and empty for the root.
    pub fn at(&self, directory: &[u8]) -> Self {
        let root = b"/".as_slice();
        let directory = if directory.is_empty() {
            root
        } else {
            directory
        };
        Self {
            directory: Directory::Absolute(directory.to_vec()),
            ..self.clone()
        }
    }

    /// Parses the source of the settings, with their port.
    pub fn of(settings: &Settings) -> Result<Self, String> {
        let mut source = Self::parse(&settings.source.0)?;
        if source.user.is_none() {
            let name = settings.login.username.clone();
            source.user = name.map(String::into_bytes);
        }
        if let Some(port) = settings.server.port {
            if source.port != source.scheme.port() && source.port != port {
                return Err(format!(
                    "port={port} contradicts port {} of the source; omit one of them",
                    source.port
                ));
            }
            source.port = port;
        }
        Ok(source)
    }

    /// Whether two sources name the same directory by the same login; the case of a host does not count.
    pub fn is_same(&self, other: &Self) -> bool {
        let parts = |source: &Self| Self {
            password: None,
            host: source.host.to_ascii_lowercase(),
            ..source.clone()
        };
        parts(self) == parts(other)
    }

    /// Parses a source; the error is one line for the user.
    pub fn parse(text: &OsStr) -> Result<Self, String> {
        let text = text.as_bytes();
        if text.iter().any(|byte| b"\r\n\0".contains(byte)) {
            return Err(SMUGGLED.to_string());
        }
        if text.is_empty() {
            return Err(format!("the source is empty; {FORMS}"));
        }
        if let Some(colon) = find(text, b"://") {
            let scheme = text[..colon].to_ascii_lowercase();
            let rest = &text[colon + 3..];
            return match scheme.as_slice() {
                b"ftp" => Self::parse_url(Scheme::Ftp, rest),
                b"ftps" => Self::parse_url(Scheme::Ftps, rest),
                b"ftpes" => Self::parse_url(Scheme::Ftpes, rest),
                b"sftp" | b"ssh" => Err(
                    "sftp:// is a protocol of SSH, which ftpfs does not have; use sshfs(1)"
                        .to_string(),
                ),
                _ => Err(format!(
                    "{}:// is not a source for ftpfs; {FORMS}",
                    scheme.escape_ascii()
                )),
            };
        }
        Self::parse_scp(text)
    }

    /// Parses what follows `ftp://`.
    fn parse_url(scheme: Scheme, rest: &[u8]) -> Result<Self, String> {
        let slash = rest.iter().position(|&byte| byte == b'/');
        let (authority, path) = match slash {
            Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
            None => (rest, None),
        };
        // The last @ separates: a password may contain an @ that is not encoded.
        let (login, host_port) = match authority.iter().rposition(|&byte| byte == b'@') {
            Some(at) => (Some(&authority[..at]), &authority[at + 1..]),
            None => (None, authority),
        };
        let (user, password) = match login {
            None => (None, None),
            Some(login) => match login.iter().position(|&byte| byte == b':') {
                Some(colon) => (Some(&login[..colon]), Some(&login[colon + 1..])),
                None => (Some(login), None),
            },
        };
        // Up to the / the authority may be the user and a part of the password.
        let has_later_at = login.is_none() && path.is_some_and(|path| path.contains(&b'@'));
        let (host, port) =
            split_port(host_port, scheme.port()).map_err(|error| match has_later_at {
                true => format!("{error}; a / in a user or password is written %2F"),
                false => error,
            })?;
        Ok(Self {
            scheme,
            user: user.map(decode_user).transpose()?,
            password: password
                .map(|password| decode(password, "the password"))
                .transpose()?,
            host,
            port,
            // In RFC 1738 an empty first part means "CWD" without an argument. curl and lftp read `//dir` as
            // an absolute path, and so does ftpfs.
            directory: Directory::from_path(&decode(path.unwrap_or_default(), "the path")?),
        })
    }

    /// Parses `[user@]host:dir`, as scp(1) does: nothing is decoded, and there is no password.
    fn parse_scp(text: &[u8]) -> Result<Self, String> {
        let bracket = find(text, b"]:").map(|at| at + 1);
        let colon = bracket.or_else(|| text.iter().position(|&byte| byte == b':'));
        let Some(colon) = colon.filter(|&colon| !text[..colon].contains(&b'/')) else {
            let shown = redact(OsStr::from_bytes(text));
            let looks_like_host = !text.starts_with(b"/") && !text.starts_with(b".");
            return Err(if looks_like_host {
                format!("{shown} is not a source; write ftp://{shown}")
            } else {
                format!("{shown} is not a source; {FORMS}")
            });
        };
        let (login, path) = (&text[..colon], &text[colon + 1..]);
        let at = login.iter().rposition(|&byte| byte == b'@');
        // In `user:password@host:dir` the user would be parsed as the host.
        if let (None, Some(later)) = (at, path.iter().position(|&byte| byte == b'@'))
            && path[later..].contains(&b':')
        {
            return Err(
                "USER@HOST:DIR can't contain a password: write ftp://USER:PASSWORD@HOST/DIR, \
                 or add the password to ~/.netrc"
                    .to_string(),
            );
        }
        check_scp_form(text, login, path)?;
        let (user, host_port) = match at {
            Some(at) => (Some(&login[..at]), &login[at + 1..]),
            None => (None, login),
        };
        if user.is_some_and(<[u8]>::is_empty) {
            return Err(NO_USER.to_string());
        }
        let (host, port) = split_port(host_port, FTP_PORT)?;
        Ok(Self {
            scheme: Scheme::Ftp,
            user: user.map(<[u8]>::to_vec),
            password: None,
            host,
            port,
            directory: Directory::from_path(path),
        })
    }

    /// Formats the source as a URL without the password, for the mount table and for messages: printable
    /// ASCII without blanks, commas and backslashes.
    pub fn fsname(&self) -> String {
        let mut text = format!("{}://", self.scheme.name());
        if let Some(user) = &self.user {
            encode(&mut text, user, b"");
            text.push('@');
        }
        if self.host.contains(':') {
            text.push_str(&format!("[{}]", self.host));
        } else {
            text.push_str(&self.host);
        }
        if self.port != self.scheme.port() {
            text.push_str(&format!(":{}", self.port));
        }
        text.push('/');
        match &self.directory {
            Directory::Login => {}
            Directory::Relative(path) => encode(&mut text, path, b"/@:"),
            Directory::Absolute(path) => {
                text.push_str("%2F");
                encode(&mut text, &path[1..], b"/@:");
            }
        }
        text
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fsname())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({self})")
    }
}

/// Refuses a source like `host:2121/dir` and `ftp:host`, which are meant as URLs.
fn check_scp_form(text: &[u8], login: &[u8], path: &[u8]) -> Result<(), String> {
    let shown = |part: &[u8]| redact(OsStr::from_bytes(part));
    let first = path.split(|&byte| byte == b'/').next().unwrap_or_default();
    let is_port = (1..=PORT_DIGITS).contains(&first.len()) && first.iter().all(u8::is_ascii_digit);
    if is_port {
        return Err(format!(
            "{0}: for the port {1} write ftp://{0}; for a directory {1} write {2}:./{3}",
            shown(text),
            shown(first),
            shown(login),
            shown(path)
        ));
    }
    let scheme = login.to_ascii_lowercase();
    if matches!(scheme.as_slice(), b"ftp" | b"ftps" | b"ftpes") {
        let rest = trim_start_slashes(path);
        return Err(format!(
            "{}: write {}://{}; for a host of this name write ftp://{}/",
            shown(text),
            shown(&scheme),
            shown(rest),
            shown(login)
        ));
    }
    Ok(())
}

/// Digits of the highest port, 65535.
const PORT_DIGITS: usize = 5;

fn trim_start_slashes(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|&byte| byte != b'/');
    start.map_or(&[], |start| &path[start..])
}

const FORMS: &str =
    "write ftp://[USER@]HOST[:PORT]/PATH (or ftps://, ftpes://) or [USER@]HOST:PATH";
const SMUGGLED: &str = "the source contains a line break or a NUL, which FTP can't transmit";
const NO_USER: &str = "the source has no user before the @; leave the @ out for anonymous";

fn decode_user(text: &[u8]) -> Result<Vec<u8>, String> {
    if text.is_empty() {
        return Err(NO_USER.to_string());
    }
    decode(text, "the user's name")
}

/// Parses `host`, `host:port`, `[address]` or `[address]:port`.
fn split_port(text: &[u8], default: u16) -> Result<(String, u16), String> {
    let wrong = |what: &str| format!("{what} in the source; {FORMS}");
    let text = std::str::from_utf8(text).map_err(|_| wrong("the host is not UTF-8"))?;
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest
            .split_once(']')
            .ok_or_else(|| wrong("a [ without its ]"))?;
        // RFC 6874: %25 precedes the zone of a link-local address.
        let address = address.replacen("%25", "%", 1);
        let bare = address.split('%').next().unwrap_or_default();
        bare.parse::<Ipv6Addr>()
            .map_err(|_| wrong(&format!("[{address}], which is no IPv6 address,")))?;
        (address, port)
    } else {
        let colon = text.find(':').unwrap_or(text.len());
        (text[..colon].to_string(), &text[colon..])
    };
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("an IPv6 address needs brackets: [{text}]; {FORMS}"));
    }
    if host.is_empty() {
        return Err(wrong("no host"));
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/\\@?#\"<>,".contains(c);
    if host.contains(odd) || (host.contains('%') && !host.contains(':')) {
        return Err(wrong(&format!(
            "{}, which is no host,",
            host.escape_debug()
        )));
    }
    if port.contains("::") || port.matches(':').count() > 1 {
        return Err(format!("an IPv6 address needs brackets; {FORMS}"));
    }
    let port = match port {
        "" | ":" => default,
        port => port
            .strip_prefix(':')
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|&number| number != 0)
            // Not shown: if a password contains a /, a part of it is parsed as the port.
            .ok_or_else(|| {
                format!("the port in the source is not a number from 1 to 65535; {FORMS}")
            })?,
    };
    Ok((host, port))
}

/// Decodes percent-encoding. `what` names the part in errors, which do not show it: it may be a password.
fn decode(text: &[u8], what: &str) -> Result<Vec<u8>, String> {
    let is_escape = |after: &[u8]| {
        let digits = after.get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split(|&byte| byte == b'%').skip(1).all(is_escape) {
        return Err(format!(
            "a % in {what} of the source is not followed by two hex digits; write %25 for a %"
        ));
    }
    let bytes: Vec<u8> = percent_decode(text).collect();
    if bytes.iter().any(|byte| b"\r\n\0".contains(byte)) {
        return Err(SMUGGLED.to_string());
    }
    Ok(bytes)
}

/// Percent-encodes all bytes except letters, digits, `-._~` and `plain`.
fn encode(text: &mut String, bytes: &[u8], plain: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || plain.contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn trim_slashes(path: &[u8]) -> &[u8] {
    let is_name = |&byte: &u8| byte != b'/';
    match (
        path.iter().position(is_name),
        path.iter().rposition(is_name),
    ) {
        (Some(first), Some(last)) => &path[first..=last],
        _ => &[],
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::Directory::{Absolute, Login, Relative};
    use super::*;

    fn parse(text: &str) -> Result<Source, String> {
        Source::parse(OsStr::new(text))
    }

    fn absolute(path: &str) -> Directory {
        Absolute(path.into())
    }

    fn relative(path: &str) -> Directory {
        Relative(path.into())
    }

    #[test]
    fn url_is_parsed_into_its_parts() {
        for (text, user, password, host, port, directory) in [
            ("ftp://h", None, None, "h", 21, Login),
            ("FTP://h/", None, None, "h", 21, Login),
            ("ftp://h:2121/a/b/", None, None, "h", 2121, relative("a/b")),
            (
                "ftp://h/%2Fsrv/ftp",
                None,
                None,
                "h",
                21,
                absolute("/srv/ftp"),
            ),
            ("ftp://h/%2f", None, None, "h", 21, absolute("/")),
            ("ftp://h//srv", None, None, "h", 21, absolute("/srv")),
            (
                "ftp://u@h/a%20b#?",
                Some("u"),
                None,
                "h",
                21,
                relative("a b#?"),
            ),
            ("ftp://u:p@h", Some("u"), Some("p"), "h", 21, Login),
            ("ftp://u:@h", Some("u"), Some(""), "h", 21, Login),
            (
                "ftp://u:a:b@c@h:9/",
                Some("u"),
                Some("a:b@c"),
                "h",
                9,
                Login,
            ),
            (
                "ftp://u%40x:%2F%25@h/",
                Some("u@x"),
                Some("/%"),
                "h",
                21,
                Login,
            ),
            ("ftp://[::1]:2121/x", None, None, "::1", 2121, relative("x")),
            (
                "ftp://[fe80::1%25eth0]",
                None,
                None,
                "fe80::1%eth0",
                21,
                Login,
            ),
        ] {
            let source = parse(text).expect(text);
            assert_eq!(source.user.as_deref(), user.map(str::as_bytes), "{text}");
            assert_eq!(
                source.password.as_deref(),
                password.map(str::as_bytes),
                "{text}"
            );
            assert_eq!((source.host.as_str(), source.port), (host, port), "{text}");
            assert_eq!(source.directory, directory, "{text}");
        }
    }

    #[test]
    fn scp_form_is_parsed_into_its_parts() {
        for (text, user, host, directory) in [
            ("u@h:/dir", Some("u"), "h", absolute("/dir")),
            ("u@h:dir/sub/", Some("u"), "h", relative("dir/sub")),
            ("u@h:", Some("u"), "h", Login),
            ("h:/", None, "h", absolute("/")),
            ("h:a%20b@c", None, "h", relative("a%20b@c")),
            (
                "u@mail.org@h:d@e:f",
                Some("u@mail.org"),
                "h",
                relative("d@e:f"),
            ),
            ("u@[::1]:/x", Some("u"), "::1", absolute("/x")),
        ] {
            let source = parse(text).expect(text);
            assert_eq!(source.user.as_deref(), user.map(str::as_bytes), "{text}");
            assert_eq!((source.host.as_str(), source.port), (host, 21), "{text}");
            assert_eq!(source.directory, directory, "{text}");
        }
    }

    #[test]
    fn invalid_source_is_refused_with_a_remedy() {
        for (text, part) in [
            ("", "the source is empty; write ftp://"),
            ("host", "write ftp://"),
            ("/local/dir", "write ftp://"),
            ("./a:b", "write ftp://"),
            (":dir", "no host"),
            ("u@:dir", "no host"),
            ("@h:dir", "no user"),
            ("u:p@h:/dir", "can't contain a password"),
            ("ftp://", "no host"),
            ("ftp://@h/", "no user"),
            ("ftp://:p@h/", "no user"),
            ("ftp://h:0/", "the port in the source is not a number"),
            ("ftp://u:pa/ss@h/", "is written %2F"),
            ("ftp://h:65536/", "from 1 to 65535"),
            ("ftp://h:+1/", "the port in the source is not a number"),
            ("ftp://::1/", "brackets"),
            ("ftp://fe80::1/", "brackets"),
            ("ftp://[::1/", "without its ]"),
            ("ftp://[h]/", "no IPv6 address"),
            ("ftp://a b/", "no host"),
            ("ftp://h/100%", "write %25"),
            ("ftp://h/%0d%0aDELE%20x", "line break"),
            ("ftp://u%00@h/", "line break"),
            ("h:a\nb", "line break"),
            ("sftp://h/", "use sshfs"),
            ("http://h/", "http:// is not a source"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn password_is_not_shown() {
        let source = parse("ftp://u:secret@h:9/%2Fa b").expect("a good source");
        assert_eq!(source.to_string(), "ftp://u@h:9/%2Fa%20b");
        assert!(!format!("{source:?} {source}").contains("secret"));
        for wrong in [
            "ftp://u:secret%zz@h/",
            "u:secret@h:/dir",
            "ftp://u:secret@h:x/",
        ] {
            assert!(
                !parse(wrong).expect_err(wrong).contains("secret"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn fsname_parses_to_the_same_source() {
        for text in [
            "ftp://h",
            "ftp://u%2C%5C@h/a,b\\c",
            "ftp://[::1]:99/%2Fx/%ff",
            "u@h:/d",
            "h:100%/@x",
        ] {
            let source = parse(text).expect(text);
            let shown = source.fsname();
            assert_eq!(parse(&shown).expect(&shown), source, "{text}");
            assert!(!shown.contains([',', '\\', ' ']), "{shown}");
        }
    }

    #[test]
    fn path_is_the_argument_of_cwd() {
        assert_eq!(Login.path(), None);
        assert_eq!(relative("a").path(), Some(&b"a"[..]));
        assert_eq!(absolute("/a").path(), Some(&b"/a"[..]));
    }
}
