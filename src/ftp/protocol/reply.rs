//! Replies: what comes back over the control connection (RFC 959 section 4.2).
//!
//! A [`Collector`] takes lines as they arrive and returns whole replies. The meaning of a refusal is decided in one place
//! ([`Reply::why`]), from its code first and its words second. A reply's size is bounded, so that a server cannot exhaust
//! memory with one.
//!
//! * `names`: removes the names that a reply repeats, before its text is searched for words

pub(crate) mod names;

use std::fmt;

pub use crate::ftp::protocol::reply::names::without_names;
use crate::remote::{Error, Why};

/// A whole reply of one or more lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The lines without their CR LF; the first and the last without code and separator.
    pub lines: Vec<Vec<u8>>,
}

/// "Command okay" (RFC 959 section 4.2.2): it says no more than that a command was taken.
pub const COMMAND_OKAY: u16 = 200;
/// The reply to `SIZE` and `MDTM` (RFC 3659 sections 3 and 4); it ends no transfer.
pub const FILE_STATUS: u16 = 213;
/// "Command not implemented" (RFC 959 section 4.2.2).
pub const NOT_IMPLEMENTED: u16 = 502;

/// What is shown in place of a secret.
const HIDDEN: &[u8] = b"***";

/// Memory in bytes that a line costs besides its text.
const LINE_COST: usize = 32;
/// Limit of one reply in bytes: a thousand times what servers send.
const REPLY_LIMIT: usize = 1 << 20;

/// Bytes at either end of a reply's text that are searched for words: more than the longest path.
const WORDS_LIMIT: usize = 6 * 1024;

impl Reply {
    /// Replaces a secret wherever the text repeats it.
    pub fn hide(&mut self, secret: &[u8]) {
        if secret.is_empty() {
            return;
        }
        for line in &mut self.lines {
            let (mut shown, mut rest) = (Vec::new(), &line[..]);
            while let Some(at) = rest.windows(secret.len()).position(|part| part == secret) {
                shown.extend_from_slice(&rest[..at]);
                shown.extend_from_slice(HIDDEN);
                rest = &rest[at + secret.len()..];
            }
            shown.extend_from_slice(rest);
            *line = shown;
        }
    }

    /// 1xx: the transfer starts.
    pub fn is_preliminary(&self) -> bool {
        self.code / 100 == 1
    }

    /// 2xx: done. Servers disagree about the last two digits, so only the first counts.
    pub fn is_completion(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3xx: the next command of the sequence is expected.
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// Whether the server does not know the command at all (RFC 959: 500, 501, 502, 504).
    ///
    /// A line that was too long proves nothing about the command, though the code is the same (RFC 959 section 4.2.1).
    pub fn is_unknown_command(&self) -> bool {
        matches!(self.code, 500 | 501 | 502 | 504) && !self.is_of_length("")
    }

    /// Whether the server found a name, or the line that it came in, too long.
    fn is_of_length(&self, sent: &str) -> bool {
        self.lines.last().is_some_and(|line| {
            let words = without_names(&String::from_utf8_lossy(line), sent);
            let words = words.trim_end_matches(|end: char| end == '.' || end.is_whitespace());
            words.ends_with("too long")
        })
    }

    /// The reply as one line of text.
    pub fn text(&self) -> String {
        let lines: Vec<_> = self
            .lines
            .iter()
            .map(|line| String::from_utf8_lossy(line).trim().to_string())
            .filter(|line| !line.is_empty())
            .collect();
        lines.join(" / ").chars().take(TEXT_LIMIT).collect()
    }

    /// The text of a reply to `command` in lower case, without the names that it repeats, to search for words.
    pub fn words(&self, command: impl fmt::Display) -> String {
        let text = self.lines.join(&b" / "[..]);
        // A long path may stand before the reason. What lies between is left out: a hostile reply has a MiB.
        let head = text.len().min(WORDS_LIMIT);
        let tail = text.len().saturating_sub(WORDS_LIMIT).max(head);
        let ends = [&text[..head], &text[tail..]].concat();
        without_names(&String::from_utf8_lossy(&ends), &command.to_string())
    }

    /// Why the server refused `command`.
    ///
    /// 550 has many causes (RFC 959 section 4.2.2: "file not found, no access"), so its text is searched; on most servers that is
    /// the text of strerror(3).
    pub fn why(&self, command: impl fmt::Display) -> Why {
        let sent = command.to_string();
        let text = self.words(&sent);
        match self.code {
            452 => return Why::NoSpace,
            552 if text.contains("quota") => return Why::Quota,
            552 => return Why::NoSpace,
            421 => return Why::TooMany,
            _ if self.is_of_length(&sent) => return Why::TooLong,
            500 | 502 | 504 => return Why::Unsupported,
            _ => {}
        }
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["quota"]) {
            Why::Quota
        } else if says(&["no space", "disk full", "insufficient storage"]) {
            Why::NoSpace
        } else if says(&["not empty"]) {
            Why::NotEmpty
        } else if says(&["not a directory"]) {
            Why::NotDirectory
        } else if says(&["is a directory", "not a regular file", "not a plain file"]) {
            Why::IsDirectory
        } else if says(&[
            "no such",
            "not found",
            "does not exist",
            "doesn't exist",
            "can't find",
            "cannot find",
        ]) {
            Why::NotFound
        } else if says(&["exists", "already exist"]) {
            Why::Exists
        } else if says(&[
            "denied",
            "not permitted",
            "forbidden",
            "not allowed",
            "permission",
            "read-only",
        ]) {
            Why::Denied
        } else if self.code == 450 || says(&["in use", "being used", "busy", "locked"]) {
            Why::Busy
        } else if self.code == 530 {
            Why::Login
        } else {
            Why::Unsaid
        }
    }

    /// Converts this reply to `command` to an error.
    ///
    /// 425 and 426 say that the data connection failed (RFC 959 section 4.2.2), which is no refusal.
    pub fn refusal(&self, tried: impl fmt::Display) -> Error {
        if matches!(self.code, 425 | 426) {
            return Error::lost(tried.to_string(), format!("{NO_DATA_CONNECTION}{self}"));
        }
        Error::refused(self.why(&tried), tried.to_string(), self.to_string())
    }
}

/// Begins the cause of an error that a 425 or 426 made.
const NO_DATA_CONNECTION: &str = "the server said ";

/// The server's words in the message of an error that [`is_no_data_connection`], from the code on.
pub fn no_data_connection_words(message: &str) -> Option<&str> {
    let (_, said) = message.split_once(NO_DATA_CONNECTION)?;
    (said.starts_with("425") || said.starts_with("426")).then_some(said)
}

/// An error that [`is_no_data_connection`], with the server's words.
pub fn no_data_connection(tried: &str, said: &str) -> Error {
    Error::lost(tried, format!("{NO_DATA_CONNECTION}{said}"))
}

/// Whether an error was made by the reply that there is no data connection.
pub fn is_no_data_connection(error: &Error) -> bool {
    match error {
        Error::Lost { cause, .. } => {
            let said = cause.strip_prefix(NO_DATA_CONNECTION).unwrap_or_default();
            said.starts_with("425") || said.starts_with("426")
        }
        _ => false,
    }
}

/// The most characters of a reply in a message.
const TEXT_LIMIT: usize = 300;

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text().escape_debug())
    }
}

/// Assembles replies from lines.
#[derive(Debug, Default)]
pub struct Collector {
    open: Option<Reply>,
    bytes: usize,
}

impl Collector {
    /// Adds the next line (without LF; a CR at its end is dropped). Returns the reply that it completes, if any, or `Err` with
    /// the fault.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, String> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.bytes += line.len() + LINE_COST;
        if self.bytes > REPLY_LIMIT {
            return Err(format!("a reply of over {REPLY_LIMIT} bytes"));
        }
        let code = leading_code(line);
        let Some(mut reply) = self.open.take() else {
            return self.first(code, line);
        };
        let ends = code == Some(reply.code) && line.get(3) != Some(&b'-');
        if ends {
            reply.lines.push(line.get(4..).unwrap_or_default().to_vec());
            self.bytes = 0;
            return Ok(Some(reply));
        }
        reply.lines.push(line.to_vec());
        self.open = Some(reply);
        Ok(None)
    }

    /// Whether a line would begin a reply and cannot: RFC 959 section 4.2 has no such line, but some servers print them.
    pub fn is_noise(&self, line: &[u8]) -> bool {
        self.open.is_none() && leading_code(line.strip_suffix(b"\r").unwrap_or(line)).is_none()
    }

    fn first(&mut self, code: Option<u16>, line: &[u8]) -> Result<Option<Reply>, String> {
        let Some(code) = code else {
            let shown: String = String::from_utf8_lossy(line).chars().take(80).collect();
            return Err(format!("not a reply: {:?}", shown));
        };
        let reply = Reply {
            code,
            lines: vec![line.get(4..).unwrap_or_default().to_vec()],
        };
        if line.get(3) == Some(&b'-') {
            self.open = Some(reply);
            return Ok(None);
        }
        self.bytes = 0;
        Ok(Some(reply))
    }
}

/// The three digits that begin a line, when a blank, a hyphen or the line's end follows.
fn leading_code(line: &[u8]) -> Option<u16> {
    let digits = line.get(..3)?;
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(line.get(3), None | Some(b' ' | b'-')) {
        return None;
    }
    let code = digits
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    (100..600).contains(&code).then_some(code)
}

/// The pathname in a 257 reply (RFC 959 appendix II): quoted, a quote within it doubled.
pub fn quoted_path(text: &[u8]) -> Option<Vec<u8>> {
    let start = text.iter().position(|&byte| byte == b'"')? + 1;
    let mut path = Vec::new();
    let mut rest = text[start..].iter().peekable();
    while let Some(&byte) = rest.next() {
        if byte == b'"' {
            if rest.peek() != Some(&&b'"') {
                return Some(path);
            }
            rest.next();
        }
        path.push(byte);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(lines: &[&str]) -> Reply {
        let mut collector = Collector::default();
        for (at, line) in lines.iter().enumerate() {
            let reply = collector.line(line.as_bytes()).expect("a good line");
            if at + 1 == lines.len() {
                return reply.expect("the reply ends here");
            }
            assert!(reply.is_none(), "ended early at {line:?}");
        }
        unreachable!()
    }

    fn says(code: u16, text: &str) -> Reply {
        Reply {
            code,
            lines: vec![text.as_bytes().to_vec()],
        }
    }

    #[test]
    fn secret_is_hidden_wherever_it_is_repeated() {
        let mut reply = Reply {
            code: 530,
            lines: vec![b"bad: PASS a*b, a*ba*b".to_vec(), b"other".to_vec()],
        };
        reply.hide(b"");
        reply.hide(b"a*b");
        assert_eq!(reply.lines, [&b"bad: PASS ***, ******"[..], b"other"]);
        reply.hide(b"*");
        assert_eq!(reply.lines[1], b"other");
    }

    #[test]
    fn a_reply_of_one_line_is_whole_at_once() {
        let reply = collect(&["226 Transfer complete.\r"]);
        assert_eq!(
            (reply.code, reply.text().as_str()),
            (226, "Transfer complete.")
        );
        assert_eq!(collect(&["200"]).code, 200);
    }

    #[test]
    fn lines_within_a_reply_may_begin_with_other_codes() {
        let reply = collect(&[
            "211-Features:",
            " MDTM",
            "226 not the end",
            "211- neither",
            "211 End",
        ]);
        assert_eq!(reply.lines.len(), 5);
        assert_eq!(reply.lines[1], b" MDTM");
    }

    #[test]
    fn what_is_no_reply_is_named() {
        for line in ["", "hello", "99 low", "2260 long", "abc x", "999 high"] {
            assert!(
                Collector::default().line(line.as_bytes()).is_err(),
                "{line:?}"
            );
        }
    }

    #[test]
    fn an_endless_reply_is_cut_off() {
        let mut collector = Collector::default();
        collector.line(b"211-").expect("it begins");
        let line = vec![b'x'; 1000];
        assert!((0..2000).any(|_| collector.line(&line).is_err()));
    }

    #[test]
    fn the_words_of_a_550_tell_why() {
        for (text, why) in [
            ("a: No such file or directory", Why::NotFound),
            ("Permission denied.", Why::Denied),
            (
                "Remove directory operation failed: Directory not empty",
                Why::NotEmpty,
            ),
            ("Can't create directory: File exists", Why::Exists),
            ("Failed to open file.", Why::Unsaid),
            ("Disk quota exceeded", Why::Quota),
            ("The file does not exist", Why::NotFound),
            ("/a/too long: File name too long", Why::TooLong),
            ("/a/too long: Permission denied", Why::Denied),
        ] {
            assert_eq!(says(550, text).why(""), why, "{text}");
        }
        assert_eq!(says(552, "x").why(""), Why::NoSpace);
    }

    #[test]
    fn names_in_a_reply_tell_nothing_of_the_reason() {
        for (sent, text, why) in [
            (
                "MLST /d/busy/a.db",
                "'/d/busy/a.db' cannot be listed",
                Why::Unsaid,
            ),
            ("MKD /busy-dir", "busy-dir: File exists", Why::Exists),
            ("MKD /busy-dir", "busy-dir refused", Why::Unsaid),
            ("MKD /quota", "/quota: Permission denied", Why::Denied),
            (
                "STOR /home/exists",
                "exists: No such file or directory",
                Why::NotFound,
            ),
            ("STOR /exists", "File exists", Why::Exists),
            ("STOR /exists", "exists: File exists", Why::Exists),
            (
                "RNTO /permission denied",
                "Can't rename: Permission denied",
                Why::Denied,
            ),
            (
                "SIZE /disk full/x",
                "/srv/disk full/x: not a regular file",
                Why::IsDirectory,
            ),
            (
                "SITE CHMOD 600 /disk full/x",
                "disk full/x: Operation failed",
                Why::Unsaid,
            ),
            (
                "RMD /not empty",
                "Can't remove directory '/not empty'",
                Why::Unsaid,
            ),
            (
                "RMD /not empty",
                "Can't remove directory: Directory not empty",
                Why::NotEmpty,
            ),
            (
                "SIZE /it's busy/x",
                "/it's busy/x: can't find the file",
                Why::NotFound,
            ),
            (
                "DELE /locked",
                "The file 'locked' doesn't exist",
                Why::NotFound,
            ),
            (
                "STOR /not empty/x",
                "/not empty: Permission denied",
                Why::Denied,
            ),
        ] {
            let sent = match sent.split_once(" /") {
                Some((verb, path)) => format!("{verb} {}", format!("/{path}").escape_debug()),
                None => sent.to_string(),
            };
            assert_eq!(says(550, text).why(&sent), why, "{sent}: {text}");
        }
        // A reason behind a path that is longer than what is shown.
        let path = format!("/{}", "busy/".repeat(100));
        let text = format!("{path}: No such file or directory");
        assert_eq!(says(550, &text).why(format!("SIZE {path}")), Why::NotFound);
    }

    #[test]
    fn a_line_that_is_too_long_is_no_unknown_command() {
        for text in ["Command too long.", "Input line too long."] {
            let reply = says(500, text);
            assert_eq!(reply.why(""), Why::TooLong);
            assert!(!reply.is_unknown_command());
        }
        let echoed = format!("{}: File name too long", "x".repeat(2000));
        assert_eq!(says(550, &echoed).why(""), Why::TooLong);
        let unknown = says(500, "/a/too long: command not understood.");
        assert_eq!(unknown.why(""), Why::Unsupported);
        assert!(unknown.is_unknown_command());
    }

    #[test]
    fn a_quoted_path_may_hold_quotes() {
        assert_eq!(
            quoted_path(b"\"/a\"\"b\" is current").as_deref(),
            Some(&b"/a\"b"[..])
        );
        assert_eq!(quoted_path(b"/a is current"), None);
        assert_eq!(quoted_path(b"\"/a"), None);
    }
}
