//! Escapes text for a terminal, a log or a message.
//!
//! Names and replies of a server can contain control sequences of terminals (ECMA-48), and characters that
//! reverse the order of the text after them (Unicode bidirectional controls). All output passes
//! [`printable`]: log lines, error messages, reports, the answers of a mount. Escaping is idempotent.

use std::fmt::Write;

/// Escapes control and format characters as Rust does in string literals: `\n`, `\u{1b}`.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_printable(character) {
            shown.push(character);
        } else {
            // Writing to a string can't fail.
            let _ = write!(shown, "{}", character.escape_default());
        }
    }
    shown
}

/// Escapes bytes of a server as [`printable`] does; U+FFFD replaces those that are not UTF-8.
pub fn printable_bytes(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes))
}

/// Whether a character has no effect on the characters around it: it is not a control (C0, DEL, C1), a line
/// or paragraph separator, or a format character (Unicode category Cf, with the bidirectional controls).
pub fn is_printable(character: char) -> bool {
    let is_format = matches!(character,
        '\u{ad}'
        | '\u{600}'..='\u{605}'
        | '\u{61c}'
        | '\u{6dd}'
        | '\u{70f}'
        | '\u{890}'..='\u{891}'
        | '\u{8e2}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{110bd}'
        | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e007f}'
    );
    !character.is_control() && !is_format
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_format_characters_are_escaped() {
        let hostile = "\u{1b}]0;x\u{7} \u{7f} \u{9b}5m \u{202e}ZZ\u{2066} \u{ad}\u{200b}\r\n";
        let shown = printable(hostile);
        assert_eq!(
            shown,
            "\\u{1b}]0;x\\u{7} \\u{7f} \\u{9b}5m \\u{202e}ZZ\\u{2066} \\u{ad}\\u{200b}\\r\\n"
        );
        assert_eq!(printable(&shown), shown);
    }

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in ["Bücher & Töne", "日本語", "שלום", "a\\b \"c\"", "e\u{301}"] {
            assert_eq!(printable(text), text);
        }
        assert_eq!(printable_bytes(b"a\xff\x1b"), "a\u{fffd}\\u{1b}");
    }
}
