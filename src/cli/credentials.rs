//! Determines the user and the password of the login.
//!
//! The first of these that has a password is used: the source; `~/.netrc`; `anonymous`, if no user is
//! named; a prompt on the terminal. Otherwise the error says how to give a password.
//!
//! Invariants: no error and no log line holds a password; the prompt appears at most once, and before
//! the fork.

use std::fmt;
use std::fs::File;
use std::io;

use crate::cli::netrc;
use crate::cli::netrc::Netrc;
use crate::cli::source::Source;

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The argument of `USER`.
    pub user: Vec<u8>,
    /// The argument of `PASS`.
    pub password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, hidden)", self.user.escape_ascii())
    }
}

/// The password of `anonymous`: an e-mail address by convention (RFC 1635). Some servers check for the @.
const ANONYMOUS_PASSWORD: &[u8] = b"anonymous@";

/// Whether this is the name of an anonymous login (RFC 1635).
pub fn is_anonymous(user: &[u8]) -> bool {
    matches!(user, b"anonymous" | b"ftp")
}

/// Returns the user and the password for `source`. May prompt on the terminal.
pub fn find(source: &Source) -> Result<Credentials, String> {
    let netrc = || std::env::home_dir().and_then(|home| netrc::read(&home.join(".netrc")));
    choose(source, netrc, ask)
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
        && let Some(entry) = netrc::find_entry(&netrc.text, source.host.as_bytes(), user.as_deref())
    {
        let (login, password) = (entry.login, entry.password);
        // A line break in quotes would smuggle a command to the server.
        if [&login, &password]
            .iter()
            .any(|part| part.iter().flatten().any(|byte| b"\r\n\0".contains(byte)))
        {
            return Err(format!(
                "{}: the entry for {} contains a line break or a NUL; remove it",
                netrc.path.display(),
                source.host
            ));
        }
        user = user.or(login);
        if let (Some(user), Some(password)) = (&user, password) {
            if netrc.is_open {
                let path = netrc.path.display();
                log::warn!(
                    "netrc: {path} can be read by other users; to protect the passwords: chmod 600 {path}"
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
    prompt_password(source, user, ask)
}

fn prompt_password(
    source: &Source,
    user: Vec<u8>,
    ask: impl FnOnce(&str) -> io::Result<Option<Vec<u8>>>,
) -> Result<Credentials, String> {
    let name = user.escape_ascii().to_string();
    let prompt = format!("Password of {name} at {}: ", source.host);
    let named = Source {
        user: Some(user.clone()),
        ..source.clone()
    };
    let missing = |why: String| {
        format!(
            "no password for {name} at {host}{why}: add a line to ~/.netrc (machine {host} login \
             {name} password SECRET), or write it in the source: {url}",
            host = source.host,
            // The only @ in the URL: one in the user's name is encoded.
            url = named.fsname().replacen('@', ":SECRET@", 1)
        )
    };
    match ask(&prompt) {
        Ok(Some(password)) if password.iter().any(|byte| b"\r\n\0".contains(byte)) => {
            Err("the password contains a line break or a NUL, which FTP can't transmit".to_string())
        }
        Ok(Some(password)) => Ok(Credentials { user, password }),
        Ok(None) => Err(missing(", and no terminal to prompt on".to_string())),
        Err(error) => Err(missing(format!(", and the prompt failed ({error})"))),
    }
}

/// Prompts on the terminal without echo; `None` where there is no terminal, as for a mount from fstab(5).
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
            is_open: true,
        })
    }

    fn unasked(_: &str) -> io::Result<Option<Vec<u8>>> {
        panic!("no prompt is expected")
    }

    fn pair(user: &str, password: &str) -> Credentials {
        Credentials {
            user: user.into(),
            password: password.into(),
        }
    }

    #[test]
    fn password_in_source_comes_first() {
        let found = choose(&source("ftp://u:p@h"), || panic!("not read"), unasked);
        assert_eq!(found, Ok(pair("u", "p")));
        let found = choose(&source("ftp://u:@h"), || None, unasked);
        assert_eq!(found, Ok(pair("u", "")));
    }

    #[test]
    fn netrc_completes_the_source() {
        let text = "machine h login u password p\nmachine h login v password q";
        let found = |from: &str| choose(&source(from), || netrc(text), unasked);
        assert_eq!(found("ftp://h"), Ok(pair("u", "p")));
        assert_eq!(found("v@H:"), Ok(pair("v", "q")));
        assert_eq!(found("ftp://other"), Ok(pair("anonymous", "anonymous@")));
    }

    #[test]
    fn login_without_user_is_anonymous() {
        let found = choose(&source("ftp://h"), || None, unasked);
        assert_eq!(found, Ok(pair("anonymous", "anonymous@")));
        let found = choose(&source("ftp@h:"), || None, unasked);
        assert_eq!(found, Ok(pair("ftp", "anonymous@")));
    }

    #[test]
    fn prompt_needs_a_terminal() {
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
        // The prompt names the login of a netrc entry without a password.
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
    fn missing_password_hint_shows_the_source() {
        let error = choose(&source("ftp://u%40x@h:2121/a%20b"), || None, |_| Ok(None));
        let error = error.expect_err("no password");
        assert!(error.contains("ftp://u%40x:SECRET@h:2121/a%20b"), "{error}");
    }

    #[test]
    fn line_break_in_password_is_refused() {
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
    fn debug_hides_the_password() {
        assert!(!format!("{:?}", pair("u", "secret")).contains("secret"));
    }
}
