//! What a server can't do: `tests/exceptions.txt`, one line each, `server test "how it fails" reason`.
//!
//! An exception lets off one test on one server, and only if the failure contains the quoted text. One that is no longer
//! needed fails its test, so that the file can't grow old.

const TABLE: &str = include_str!("../exceptions.txt");

#[derive(Debug, PartialEq)]
pub struct Exception {
    pub server: &'static str,
    pub test: &'static str,
    pub failure: &'static str,
    pub reason: &'static str,
}

pub fn all() -> impl Iterator<Item = Exception> {
    TABLE
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            parse(line).unwrap_or_else(|| {
                panic!("tests/exceptions.txt: not 'server test \"failure\" reason': {line}")
            })
        })
}

pub fn of(server: &str, test: &str) -> Option<Exception> {
    all().find(|exception| exception.server == server && exception.test == test)
}

fn parse(line: &'static str) -> Option<Exception> {
    let (server, rest) = line.split_once(char::is_whitespace)?;
    let (test, rest) = rest.trim_start().split_once(char::is_whitespace)?;
    let (failure, reason) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
    let reason = reason.trim();
    (!failure.is_empty() && !reason.is_empty()).then_some(Exception {
        server,
        test,
        failure,
        reason,
    })
}
