//! Implements the client side of HTTP `CONNECT` (RFC 9110 section 9.3.6).

use crate::ftp::net::proxy::{Proxy, Refusal, WANTS_LOGIN, authority, take};
use crate::ftp::net::stream::Stream;
use crate::remote::Deadline;

/// Bytes of the answer to `CONNECT`.
const ANSWER_LIMIT: usize = 16 * 1024;

impl Proxy {
    /// Asks for a connection to `host` and `port`.
    pub(crate) fn ask_http(
        &self,
        stream: &mut Stream,
        host: &str,
        port: u16,
        deadline: &Deadline,
    ) -> std::result::Result<(), Refusal> {
        let authority = authority(host, port);
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if !self.user.is_empty() {
            let login = base64(&[&self.user[..], b":", &self.password].concat());
            request.push_str(&format!("Proxy-Authorization: Basic {login}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes(), deadline)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") && !answer.ends_with(b"\n\n") {
            if answer.len() > ANSWER_LIMIT {
                return Err(Refusal::Said("answers without an end".to_string()));
            }
            answer.push(take::<1>(stream, deadline)?[0]);
        }
        let answer = String::from_utf8_lossy(&answer);
        let line = answer.lines().next().unwrap_or_default();
        let mut words = line.splitn(3, ' ');
        let (version, code) = (words.next().unwrap_or_default(), words.next());
        match code.and_then(|code| code.parse::<u16>().ok()) {
            Some(200..=299) if version.starts_with("HTTP/") => Ok(()),
            Some(407) => Err(Refusal::Said(WANTS_LOGIN.to_string())),
            Some(_) if version.starts_with("HTTP/") => Err(Refusal::Said(format!(
                "refuses: {}; it must allow CONNECT to this port",
                line.escape_debug()
            ))),
            _ => Err(Refusal::Said("does not speak HTTP".to_string())),
        }
    }
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = [0, 1, 2].map(|index| u32::from(chunk.get(index).copied().unwrap_or(0)));
        let word = word[0] << 16 | word[1] << 8 | word[2];
        for index in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * index) & 63) as usize];
            text.push(if index <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_the_examples_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
