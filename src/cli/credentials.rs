//! Determines the user and the password of the login.
//!
//! User and password are looked for separately, each is taken from the first of these that has it: the source; `username=`;
//! `credentials=`; `netrc=` or `$NETRC`; `password_command=`; `password_stdin`; `FTPFS_PASSWORD`; the credentials directory
//! of systemd; `~/.netrc`. A password that a file gives for another user is skipped. Without a user the login is
//! `anonymous`; without a password it is prompted for, and otherwise the error says how to give one.
//!
//! Invariants: no error and no log line holds a password; the prompt appears at most once, and before
//! the fork.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::cli::credentials_file;
use crate::cli::credentials_file::Given;
use crate::cli::netrc;
use crate::cli::netrc::Netrc;
use crate::cli::settings::Settings;
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

/// A place that may give user and password for the user who is known so far, and its name for errors.
type Place<'a> = (
    &'static str,
    Box<dyn FnOnce(Option<&[u8]>) -> Result<Given, String> + 'a>,
);

/// Returns the user and the password for `source`. May prompt on the terminal.
pub fn find(settings: &Settings, source: &Source) -> Result<Credentials, String> {
    let login = &settings.login;
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let only_password = |password| Given {
        user: None,
        password: Some(password),
    };
    let mut places: Vec<Place> = Vec::new();
    if let Some(path) = &login.credentials {
        places.push((
            "credentials=",
            Box::new(|_| credentials_file::read_file(path)),
        ));
    }
    let given = if login.netrc.is_some() {
        "netrc="
    } else {
        "$NETRC: "
    };
    let named = login.netrc.clone();
    if let Some(path) = named.or_else(|| variable("NETRC").map(PathBuf::from)) {
        places.push((
            "netrc",
            Box::new(move |user| {
                let netrc = netrc::read(&path).map_err(|error| {
                    format!("{given}{}: can't be read: {error}", path.display())
                })?;
                of_netrc(&netrc, source, user)
            }),
        ));
    }
    if let Some(command) = &login.password_command {
        places.push((
            "password_command=",
            Box::new(move |_| {
                credentials_file::run_command(&command.0.to_string_lossy()).map(only_password)
            }),
        ));
    }
    if login.password_stdin {
        places.push((
            "password_stdin",
            Box::new(move |_| credentials_file::read_stdin().map(only_password)),
        ));
    }
    if let Some(password) = variable("FTPFS_PASSWORD") {
        places.push((
            "FTPFS_PASSWORD",
            Box::new(move |_| {
                let mut password = password.into_vec();
                credentials_file::trim_line_end(&mut password);
                Ok(only_password(password))
            }),
        ));
    }
    if let Some(directory) = variable("CREDENTIALS_DIRECTORY") {
        places.push((
            "the credentials directory of systemd",
            Box::new(move |_| credentials_file::read_systemd(Path::new(&directory))),
        ));
    }
    if let Some(home) = std::env::home_dir() {
        places.push((
            "~/.netrc",
            Box::new(move |user| {
                let path = home.join(".netrc");
                match netrc::read(&path) {
                    Ok(netrc) => return of_netrc(&netrc, source, user),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => log::warn!("netrc: {}: can't be read: {error}", path.display()),
                }
                Ok(Given::default())
            }),
        ));
    }
    choose(source, places, ask)
}

/// Returns what a netrc file gives for a source.
fn of_netrc(netrc: &Netrc, source: &Source, user: Option<&[u8]>) -> Result<Given, String> {
    let path = netrc.path.display();
    let found = netrc::find_entry(&netrc.text, source.host.as_bytes(), user)
        .map_err(|fault| format!("netrc: {path}: {fault}; see netrc(5)"))?;
    let entry = found.unwrap_or_default();
    // A line break in quotes would smuggle a command to the server.
    if [&entry.login, &entry.password]
        .iter()
        .any(|part| part.iter().flatten().any(is_line_break))
    {
        return Err(format!(
            "netrc: {path}: line {}: the entry for {} contains a line break or a NUL; remove it",
            entry.line, source.host
        ));
    }
    // The word itself may be a password.
    if let (None, Some(line)) = (&entry.password, entry.odd_line) {
        log::warn!(
            "netrc: {path}: line {line}: the entry for {} has a word that is no keyword, and no password; see netrc(5)",
            source.host
        );
    }
    if netrc.is_open && entry.password.is_some() {
        log::warn!(
            "netrc: {path} can be read by other users; to protect the passwords: chmod 600 {path}"
        );
    }
    Ok(Given {
        user: entry.login,
        password: entry.password,
    })
}

fn is_line_break(byte: &u8) -> bool {
    b"\r\n\0".contains(byte)
}

/// Checks what a place gives for the user or the password.
fn check_part(place: &str, what: &str, part: Option<&[u8]>) -> Result<(), String> {
    let Some(part) = part else { return Ok(()) };
    if part.iter().any(is_line_break) {
        return Err(format!(
            "{place}: the {what} contains a line break or a NUL, which FTP can't transmit; remove it"
        ));
    }
    if what == "user" && part.is_empty() {
        return Err(format!("{place}: the user is empty; write or remove it"));
    }
    Ok(())
}

/// Asks the places in turn until user and password are known.
fn choose(
    source: &Source,
    places: Vec<Place>,
    ask: impl FnOnce(&str) -> io::Result<Option<Vec<u8>>>,
) -> Result<Credentials, String> {
    let (mut user, mut password) = (source.user.clone(), source.password.clone());
    check_part("the source", "user", user.as_deref())?;
    check_part("the source", "password", password.as_deref())?;
    let mut asked = Vec::new();
    for (name, place) in places {
        if user.is_some() && password.is_some() {
            break;
        }
        let given = place(user.as_deref())?;
        check_part(name, "user", given.user.as_deref())?;
        check_part(name, "password", given.password.as_deref())?;
        let is_for_user = match (&user, &given.user) {
            (Some(user), Some(other)) => user == other,
            _ => true,
        };
        user = user.or(given.user);
        if is_for_user {
            password = password.or(given.password);
        }
        asked.push(name);
    }
    let user = user.unwrap_or_else(|| b"anonymous".to_vec());
    match password {
        Some(password) => Ok(Credentials { user, password }),
        None if is_anonymous(&user) => {
            let password = ANONYMOUS_PASSWORD.to_vec();
            Ok(Credentials { user, password })
        }
        None => prompt_password(source, user, &asked, ask),
    }
}

fn prompt_password(
    source: &Source,
    user: Vec<u8>,
    asked: &[&str],
    ask: impl FnOnce(&str) -> io::Result<Option<Vec<u8>>>,
) -> Result<Credentials, String> {
    let asked = match asked {
        [] => String::new(),
        places => format!(" in {}", places.join(", ")),
    };
    let name = user.escape_ascii().to_string();
    let prompt = format!("Password of {name} at {}: ", source.host);
    let named = Source {
        user: Some(user.clone()),
        ..source.clone()
    };
    let missing = |why: String| {
        format!(
            "no password for {name} at {host}{asked}{why}: use credentials=FILE or password_command=, add a line to ~/.netrc (machine {host} login \
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

    fn netrc(text: &'static str) -> Vec<Place<'static>> {
        let read = move |user: Option<&[u8]>| {
            let netrc = Netrc {
                path: "/home/u/.netrc".into(),
                text: text.into(),
                is_open: true,
            };
            of_netrc(&netrc, &source("ftp://h"), user)
        };
        vec![("netrc", Box::new(read))]
    }

    fn given(user: Option<&'static str>, password: Option<&'static str>) -> Place<'static> {
        let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        let give = move |_: Option<&[u8]>| {
            Ok(Given {
                user: bytes(user),
                password: bytes(password),
            })
        };
        ("FTPFS_PASSWORD", Box::new(give))
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
        let found = choose(
            &source("ftp://u:p@h"),
            vec![("netrc", Box::new(|_| panic!("not read")))],
            unasked,
        );
        assert_eq!(found, Ok(pair("u", "p")));
        let found = choose(&source("ftp://u:@h"), Vec::new(), unasked);
        assert_eq!(found, Ok(pair("u", "")));
    }

    #[test]
    fn netrc_completes_the_source() {
        let text = "machine h login u password p\nmachine h login v password q";
        let found = |from: &str| choose(&source(from), netrc(text), unasked);
        assert_eq!(found("ftp://h"), Ok(pair("u", "p")));
        assert_eq!(found("v@H:"), Ok(pair("v", "q")));
    }

    #[test]
    fn user_and_password_come_from_the_first_place_that_has_them() {
        let found = |from: &str, places| choose(&source(from), places, |_| Ok(None)).ok();
        let all = || {
            vec![
                given(None, Some("p")),
                given(Some("u"), Some("q")),
                given(Some("v"), Some("r")),
            ]
        };
        assert_eq!(found("ftp://h", all()), Some(pair("u", "p")));
        assert_eq!(found("ftp://w@h", all()), Some(pair("w", "p")));
        // A password of another user is none of ours.
        let later = || all().into_iter().skip(1).collect();
        assert_eq!(found("ftp://v@h", later()), Some(pair("v", "r")));
        assert_eq!(found("ftp://w@h", later()), None);
        let named = vec![given(Some("u"), None), given(None, Some("s"))];
        assert_eq!(found("ftp://h", named), Some(pair("u", "s")));
    }

    #[test]
    fn login_without_user_is_anonymous() {
        let found = choose(&source("ftp://h"), Vec::new(), unasked);
        assert_eq!(found, Ok(pair("anonymous", "anonymous@")));
        let found = choose(&source("ftp@h:"), Vec::new(), unasked);
        assert_eq!(found, Ok(pair("ftp", "anonymous@")));
    }

    #[test]
    fn wrong_part_names_its_place() {
        for (user, password, what) in [
            (
                Some("u"),
                Some("p\nQUIT"),
                "the password contains a line break",
            ),
            (Some("u\0"), None, "the user contains"),
            (Some(""), Some("p"), "the user is empty"),
        ] {
            let error = choose(&source("ftp://h"), vec![given(user, password)], unasked);
            let error = error.expect_err(what);
            assert!(
                error.starts_with(&format!("FTPFS_PASSWORD: {what}")),
                "{error}"
            );
            assert!(!error.contains("QUIT"), "{error}");
        }
    }

    #[test]
    fn prompt_needs_a_terminal() {
        let found = choose(&source("u@h:"), Vec::new(), |prompt| {
            assert_eq!(prompt, "Password of u at h: ");
            Ok(Some(b"p".to_vec()))
        });
        assert_eq!(found, Ok(pair("u", "p")));
        let error = choose(&source("u@h:"), Vec::new(), |_| Ok(None)).expect_err("no terminal");
        assert!(error.contains("machine h login u password"), "{error}");
        assert!(!error.contains('\n'), "{error}");
        // The prompt names the login of a netrc entry without a password.
        let found = choose(&source("ftp://h"), netrc("machine h login u"), |prompt| {
            assert!(prompt.contains("of u at"), "{prompt}");
            Ok(Some(b"p".to_vec()))
        });
        assert_eq!(found, Ok(pair("u", "p")));
    }

    #[test]
    fn missing_password_hint_shows_the_source() {
        let error = choose(&source("ftp://u%40x@h:2121/a%20b"), Vec::new(), |_| {
            Ok(None)
        });
        let error = error.expect_err("no password");
        assert!(error.contains("ftp://u%40x:SECRET@h:2121/a%20b"), "{error}");
    }

    #[test]
    fn line_break_in_password_is_refused() {
        let text = r#"machine h login u password "a\nDELE b""#;
        let error = choose(&source("ftp://h"), netrc(text), unasked).expect_err("refused");
        assert!(
            error.contains("line break") && !error.contains("DELE"),
            "{error}"
        );
        let typed = |_: &str| Ok(Some(b"a\rb".to_vec()));
        let error = choose(&source("u@h:"), Vec::new(), typed).expect_err("refused");
        assert!(error.contains("line break"), "{error}");
    }

    #[test]
    fn debug_hides_the_password() {
        assert!(!format!("{:?}", pair("u", "secret")).contains("secret"));
    }
}
