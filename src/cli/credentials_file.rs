//! Reads the places where a password can be given apart from the source: a credentials file in the format of
//! mount.cifs(8), the output of a command, standard input and the credentials directory of systemd.
//!
//! Invariant: an error names the place and the remedy, and no part of its content.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cli::netrc::without_byte_order_mark;
use crate::process::regular_file;
use crate::process::thread::spawn_thread;

/// Maximum bytes of a password, or of a file with one.
const CREDENTIALS_LIMIT: u64 = 64 << 10;
/// How long `password_command` may take: it may prompt for a passphrase.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// A user and a password, where they are given.
#[derive(Default, PartialEq, Eq)]
pub struct Given {
    /// The user; without one the password is for every user.
    pub user: Option<Vec<u8>>,
    /// The password.
    pub password: Option<Vec<u8>>,
}

/// Reads the file of `credentials=`.
pub fn read_file(path: &Path) -> Result<Given, String> {
    let shown = path.display();
    let failed = |error: io::Error| format!("credentials={shown}: can't be read: {error}");
    let file = regular_file::open_as(path, OpenOptions::new().read(true)).map_err(failed)?;
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(format!(
            "credentials={shown}: other users can read it; protect the password: chmod 600 {shown}"
        ));
    }
    let text = regular_file::read_from(file, CREDENTIALS_LIMIT).map_err(failed)?;
    parse_file(without_byte_order_mark(&text)).map_err(|line| {
        format!(
            "credentials={shown}: line {line} is not username=NAME or password=SECRET; correct or remove it"
        )
    })
}

/// Parses lines `username=NAME` and `password=SECRET`; the error is the number of a wrong line.
fn parse_file(text: &[u8]) -> Result<Given, usize> {
    let mut given = Given::default();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // mount.cifs(8) ignores leading blanks; those after the = belong to the value.
        let line = line.trim_ascii_start();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let equals = line.iter().position(|&byte| byte == b'=');
        let (name, value) = line.split_at(equals.ok_or(index + 1)?);
        let value = value[1..].to_vec();
        match name.trim_ascii_end() {
            b"username" | b"user" => given.user = Some(value),
            b"password" | b"pass" => given.password = Some(value),
            // A domain has no meaning for FTP.
            b"domain" | b"dom" | b"workgroup" => {}
            _ => return Err(index + 1),
        }
    }
    Ok(given)
}

/// Returns the first line that a shell command writes.
pub fn run_command(command: &str) -> Result<Vec<u8>, String> {
    // The command is not shown: it may hold a secret.
    let failed =
        |why: &str| format!("password_command=: {why}; run the command to see its messages");
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error.to_string()))?;
    let Some(output) = child.stdout.take() else {
        return Err(failed("it has no output"));
    };
    let (sender, received) = channel();
    spawn_thread("password", move || {
        let mut output = BufReader::new(output);
        // After the timeout nothing receives the line.
        let _ = sender.send(first_line(&mut output));
        // The rest is read too, so that the command gets no SIGPIPE. It ends with the command.
        let _ = io::copy(&mut output, &mut io::sink());
    })
    .map_err(|error| failed(&error.to_string()))?;
    let line = match received.recv_timeout(COMMAND_TIMEOUT) {
        Ok(line) => line.map_err(|error| failed(&error.to_string())),
        Err(_) => Err(failed(&format!(
            "no answer in {} seconds",
            COMMAND_TIMEOUT.as_secs()
        ))),
    };
    let status = end(&mut child, line.is_ok());
    let line = line?;
    match status {
        Ok(Some(status)) if !status.success() => Err(failed(&format!("it ended with {status}"))),
        Err(error) => Err(failed(&error.to_string())),
        Ok(_) if line.is_empty() => Err(failed("its first line is empty")),
        // Without a status it was ended by us, after its answer.
        Ok(_) => Ok(line),
    }
}

/// How long a command may take to end after its first line.
const COMMAND_END_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval at which that is checked.
const COMMAND_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits for a command that has answered, and kills one that has not, or that goes on.
fn end(child: &mut Child, answered: bool) -> io::Result<Option<ExitStatus>> {
    let answered = answered.then(Instant::now);
    while answered.is_some_and(|at| at.elapsed() < COMMAND_END_TIMEOUT) {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        sleep(COMMAND_POLL_INTERVAL);
    }
    child.kill()?;
    child.wait().map(|_| None)
}

/// Reads the first line of standard input.
pub fn read_stdin() -> Result<Vec<u8>, String> {
    let line = first_line(&mut io::stdin().lock())
        .map_err(|error| format!("password_stdin: can't read standard input: {error}"))?;
    if line.is_empty() {
        return Err(
            "password_stdin: the first line of standard input is empty; write the password to it"
                .to_string(),
        );
    }
    Ok(line)
}

/// Reads a line, without its end.
fn first_line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(CREDENTIALS_LIMIT).read_until(b'\n', &mut line)?;
    trim_line_end(&mut line);
    Ok(line)
}

/// Drops one line break at the end.
pub fn trim_line_end(text: &mut Vec<u8>) {
    if text.pop_if(|last| *last == b'\n').is_some() {
        text.pop_if(|last| *last == b'\r');
    }
}

/// Reads `ftpfs.username` and `ftpfs.password` of `$CREDENTIALS_DIRECTORY` (systemd.exec(5)).
pub fn read_systemd(directory: &Path) -> Result<Given, String> {
    let read = |name: &str| {
        let path = directory.join(name);
        match regular_file::read(&path, CREDENTIALS_LIMIT) {
            Ok(mut text) => {
                trim_line_end(&mut text);
                Ok(Some(text))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: can't be read: {error}", path.display())),
        }
    };
    Ok(Given {
        user: read("ftpfs.username")?,
        password: read("ftpfs.password")?,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn credentials_file_is_parsed_as_mount_cifs_does() {
        let given =
            |text: &str| parse_file(text.as_bytes()).map(|given| (given.user, given.password));
        let pair = |user: &str, password: &str| {
            let part = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
            Ok((part(user), part(password)))
        };
        assert_eq!(given("username=u\npassword=p\n"), pair("u", "p"));
        assert_eq!(
            given("# u\n\n  user = u\r\npass=a=b, c"),
            pair(" u", "a=b, c")
        );
        assert_eq!(given("password=p "), pair("", "p "));
        assert_eq!(given("domain=d"), pair("", ""));
        assert_eq!(given("username=u\nsecret"), Err(2));
        assert_eq!(given("\nport=21"), Err(2));
    }

    #[test]
    fn credentials_file_of_all_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, "password=secret").expect("written");
        for (mode, refused) in [(0o644, true), (0o640, true), (0o600, false), (0o400, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            let error = read_file(&path).err();
            let is_refused =
                error.is_some_and(|error| error.contains("chmod 600") && !error.contains("secret"));
            assert_eq!(is_refused, refused, "{mode:o}");
        }
        fs::write(&path, "username=u\nsecret").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
        let error = read_file(&path).err().expect("a wrong line");
        assert!(
            error.contains("line 2") && !error.contains("secret"),
            "{error}"
        );
        let error = read_file(&directory.path().join("none"))
            .err()
            .expect("no file");
        assert!(error.contains("none: can't be read"), "{error}");
    }

    #[test]
    fn first_line_of_a_command_is_the_password() {
        assert_eq!(run_command("echo 'a b'; echo more"), Ok(b"a b".to_vec()));
        assert_eq!(run_command("printf p"), Ok(b"p".to_vec()));
        // What goes on after the line, or writes without end, is not waited for.
        let begun = Instant::now();
        assert_eq!(run_command("echo p; exec yes"), Ok(b"p".to_vec()));
        assert_eq!(run_command("echo p; exec sleep 60"), Ok(b"p".to_vec()));
        assert!(begun.elapsed() < Duration::from_secs(30));
        for (command, why) in [
            ("exit 3", "status: 3"),
            ("true", "is empty"),
            ("echo secret; false", "status: 1"),
        ] {
            let error = run_command(command).expect_err(command);
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn credentials_of_systemd_lose_one_line_end() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("ftpfs.password"), "p\n\n").expect("written");
        let given = read_systemd(directory.path()).expect("read");
        assert!(given.user.is_none() && given.password.as_deref() == Some(b"p\n"));
    }
}
