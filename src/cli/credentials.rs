//! Who logs in: the user and the password, from wherever they were left.
//!
//! The one idea: an order, and it ends with whoever has something. The source; `~/.netrc`; for
//! nobody in particular `anonymous`; the person at the terminal; or one line that says how to give
//! a password. The terminal is asked last and before any fork.
//!
//! Invariants: a password is in no error and no log line; what is asked for is asked once.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::source::Source;

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// What `USER` is told.
    pub user: Vec<u8>,
    /// What `PASS` is told.
    pub password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, hidden)", self.user.escape_ascii())
    }
}

/// The password of `anonymous`: by custom an address (RFC 1635), and servers that check want an @.
const ANONYMOUS_PASSWORD: &[u8] = b"anonymous@";

/// Whether this is who logs in when nobody is named (RFC 1635).
pub fn is_anonymous(user: &[u8]) -> bool {
    matches!(user, b"anonymous" | b"ftp")
}

/// Finds out who logs in at `source`; asks at the terminal if nothing else tells.
pub fn find(source: &Source) -> Result<Credentials, String> {
    let netrc = || std::env::home_dir().and_then(|home| read_netrc(&home.join(".netrc")));
    choose(source, netrc, ask)
}

/// A netrc file and whether others than its owner can read it.
struct Netrc {
    path: PathBuf,
    text: Vec<u8>,
    open: bool,
}

fn choose(
    source: &Source,
    netrc: impl FnOnce() -> Option<Netrc>,
    ask: impl FnOnce(&str) -> io::Result<Option<Vec<u8>>>,
) -> Result<Credentials, String> {
    if let (Some(user), Some(password)) = (&source.user, &source.password) {
        return Ok(Credentials {
            user: user.clone(),
            password: password.clone(),
        });
    }
    let mut user = source.user.clone();
    if let Some(netrc) = netrc()
        && let Some(entry) = look_up(&netrc.text, source.host.as_bytes(), user.as_deref())
    {
        let (login, password) = (entry.login, entry.password);
        // A line break in quotes would smuggle a command to the server.
        if [&login, &password]
            .iter()
            .any(|part| part.iter().flatten().any(|byte| b"\r\n\0".contains(byte)))
        {
            return Err(format!(
                "{}: the entry for {} holds a line break or a NUL; remove it",
                netrc.path.display(),
                source.host
            ));
        }
        user = user.or(login);
        if let (Some(user), Some(password)) = (&user, password) {
            if netrc.open {
                let path = netrc.path.display();
                log::warn!(
                    "{path}: others can read the passwords in it; mend that with: chmod 600 {path}"
                );
            }
            return Ok(Credentials {
                user: user.clone(),
                password,
            });
        }
    }
    let user = user.unwrap_or_else(|| b"anonymous".to_vec());
    if is_anonymous(&user) {
        let password = ANONYMOUS_PASSWORD.to_vec();
        return Ok(Credentials { user, password });
    }
    let name = user.escape_ascii().to_string();
    let prompt = format!("Password of {name} at {}: ", source.host);
    let named = Source {
        user: Some(user.clone()),
        ..source.clone()
    };
    let missing = |why: String| {
        format!(
            "no password for {name} at {host}{why}: put a line into ~/.netrc (machine {host} login \
             {name} password SECRET), or into the source: {url}",
            host = source.host,
            // The only @: a user's own is encoded.
            url = named.fsname().replacen('@', ":SECRET@", 1)
        )
    };
    match ask(&prompt) {
        Ok(Some(password)) if password.iter().any(|byte| b"\r\n\0".contains(byte)) => {
            Err("the password holds a line break or a NUL, which no server may be sent".to_string())
        }
        Ok(Some(password)) => Ok(Credentials { user, password }),
        Ok(None) => Err(missing(", and no terminal to ask at".to_string())),
        Err(error) => Err(missing(format!(", and asking for it failed ({error})"))),
    }
}

/// Asks at the terminal, without showing what is typed; `None` where there is no terminal, as for a
/// mount from fstab.
pub fn ask(prompt: &str) -> io::Result<Option<Vec<u8>>> {
    if File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .is_err()
    {
        return Ok(None);
    }
    rpassword::prompt_password(prompt).map(|password| Some(password.into_bytes()))
}

/// Above any netrc that a person keeps.
const NETRC_LIMIT: u64 = 1 << 20;

fn read_netrc(path: &Path) -> Option<Netrc> {
    let read = || {
        let file = File::open(path)?;
        let open = file.metadata()?.mode() & 0o077 != 0;
        let mut text = Vec::new();
        file.take(NETRC_LIMIT).read_to_end(&mut text)?;
        Ok(Netrc {
            path: path.to_path_buf(),
            text,
            open,
        })
    };
    match read() {
        Ok(netrc) => Some(netrc),
        Err(error) => {
            let error: io::Error = error;
            if error.kind() != io::ErrorKind::NotFound {
                log::warn!("{}: can't be read: {error}", path.display());
            }
            None
        }
    }
}

/// What a netrc says of one machine.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    login: Option<Vec<u8>>,
    password: Option<Vec<u8>>,
}

/// The first entry for `host` that is fit for `user`; `default` is fit for every host.
///
/// An entry without a login is fit for whoever was named, as in curl.
fn look_up(netrc: &[u8], host: &[u8], user: Option<&[u8]>) -> Option<Entry> {
    let fit = |entry: &Entry| match (user, &entry.login) {
        (Some(user), Some(login)) => user == login.as_slice(),
        _ => true,
    };
    let mut tokens = Tokens { rest: netrc };
    let mut current: Option<Entry> = None;
    while let Some(token) = tokens.next() {
        match token.as_slice() {
            b"machine" | b"default" => {
                if let Some(entry) = current.take().filter(fit) {
                    return Some(entry);
                }
                let ours = token == b"default"
                    || tokens
                        .next()
                        .is_some_and(|name| name.eq_ignore_ascii_case(host));
                current = ours.then(Entry::default);
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
    current.filter(fit)
}

/// The words of a netrc: parted by blanks, or between quotes with `\` for the next character.
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
            // A comment where a word could begin; a # later belongs to the word.
            if self.rest.first() != Some(&b'#') {
                break;
            }
            self.skip_line();
        }
        let quoted = self.rest.first() == Some(&b'"');
        let mut bytes = self.rest.iter().enumerate().skip(usize::from(quoted));
        let mut word = Vec::new();
        let mut end = self.rest.len();
        while let Some((place, &byte)) = bytes.next() {
            match byte {
                b'"' if quoted => {
                    end = place + 1;
                    break;
                }
                b'\\' if quoted => word.extend(bytes.next().map(|(_, &escaped)| match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => other,
                })),
                byte if !quoted && byte.is_ascii_whitespace() => {
                    end = place;
                    break;
                }
                byte => word.push(byte),
            }
        }
        self.rest = &self.rest[end..];
        Some(word)
    }

    fn skip_line(&mut self) {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        self.rest = end.map_or(&[], |end| &self.rest[end + 1..]);
    }

    /// A macro goes on until an empty line; its commands are no words of ours.
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
    use std::ffi::OsStr;

    use super::*;

    fn source(text: &str) -> Source {
        Source::parse(OsStr::new(text)).expect("a good source")
    }

    fn netrc(text: &str) -> Option<Netrc> {
        Some(Netrc {
            path: "/home/u/.netrc".into(),
            text: text.into(),
            open: true,
        })
    }

    fn unasked(_: &str) -> io::Result<Option<Vec<u8>>> {
        panic!("nobody was to be asked")
    }

    fn pair(user: &str, password: &str) -> Credentials {
        Credentials {
            user: user.into(),
            password: password.into(),
        }
    }

    #[test]
    fn the_source_comes_first() {
        let found = choose(&source("ftp://u:p@h"), || panic!("not read"), unasked);
        assert_eq!(found, Ok(pair("u", "p")));
        let found = choose(&source("ftp://u:@h"), || None, unasked);
        assert_eq!(found, Ok(pair("u", "")));
    }

    #[test]
    fn a_netrc_gives_what_the_source_does_not() {
        let text = "machine h login u password p\nmachine h login v password q";
        let found = |from: &str| choose(&source(from), || netrc(text), unasked);
        assert_eq!(found("ftp://h"), Ok(pair("u", "p")));
        assert_eq!(found("v@H:"), Ok(pair("v", "q")));
        assert_eq!(found("ftp://other"), Ok(pair("anonymous", "anonymous@")));
    }

    #[test]
    fn nobody_in_particular_is_anonymous() {
        let found = choose(&source("ftp://h"), || None, unasked);
        assert_eq!(found, Ok(pair("anonymous", "anonymous@")));
        let found = choose(&source("ftp@h:"), || None, unasked);
        assert_eq!(found, Ok(pair("ftp", "anonymous@")));
    }

    #[test]
    fn a_person_is_asked_once_and_only_with_a_terminal() {
        let found = choose(
            &source("u@h:"),
            || None,
            |prompt| {
                assert_eq!(prompt, "Password of u at h: ");
                Ok(Some(b"p".to_vec()))
            },
        );
        assert_eq!(found, Ok(pair("u", "p")));
        let error = choose(&source("u@h:"), || None, |_| Ok(None)).expect_err("no terminal");
        assert!(error.contains("machine h login u password"), "{error}");
        assert!(!error.contains('\n'), "{error}");
        // A login without a password in the netrc still names who is asked for.
        let found = choose(
            &source("ftp://h"),
            || netrc("machine h login u"),
            |prompt| {
                assert!(prompt.contains("of u at"), "{prompt}");
                Ok(Some(b"p".to_vec()))
            },
        );
        assert_eq!(found, Ok(pair("u", "p")));
    }

    #[test]
    fn the_hint_names_the_source_as_it_was_meant() {
        let error = choose(&source("ftp://u%40x@h:2121/a%20b"), || None, |_| Ok(None));
        let error = error.expect_err("no password");
        assert!(error.contains("ftp://u%40x:SECRET@h:2121/a%20b"), "{error}");
    }

    #[test]
    fn a_line_break_from_anywhere_is_refused() {
        let text = r#"machine h login u password "a\nDELE b""#;
        let error = choose(&source("ftp://h"), || netrc(text), unasked).expect_err("refused");
        assert!(
            error.contains("line break") && !error.contains("DELE"),
            "{error}"
        );
        let typed = |_: &str| Ok(Some(b"a\rb".to_vec()));
        let error = choose(&source("u@h:"), || None, typed).expect_err("refused");
        assert!(error.contains("line break"), "{error}");
    }

    #[test]
    fn a_netrc_is_read_as_ftp_and_curl_read_it() {
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
            assert_eq!(look_up(text.as_bytes(), b"h", None), found, "{text}");
        }
    }

    #[test]
    fn an_entry_for_another_user_is_passed_over() {
        let text = b"machine h login u password p\ndefault password d";
        let found = look_up(text, b"h", Some(b"v")).expect("the default");
        assert_eq!(found.password.as_deref(), Some(&b"d"[..]));
        let found = look_up(text, b"h", Some(b"u")).expect("the entry");
        assert_eq!(found.password.as_deref(), Some(&b"p"[..]));
    }

    #[test]
    fn a_netrc_that_is_missing_is_none() {
        assert!(read_netrc(Path::new("/no/such/netrc")).is_none());
    }

    #[test]
    fn debug_does_not_show_the_password() {
        assert!(!format!("{:?}", pair("u", "secret")).contains("secret"));
    }
}
