//! Writes JSON for programs (RFC 8259), as `status` and `probe` print it.

use serde::Serialize;

use crate::process::printable::is_printable;

/// Returns `value` in JSON, indented with two spaces.
///
/// Characters that could command a terminal may stand as they are in JSON. They are escaped too, since a server may choose
/// them and the text may reach a terminal.
pub fn to_text(value: &impl Serialize) -> String {
    // Only maps with other keys than strings, and serializers that fail, bring an error.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        // serde_json itself writes line ends, between values; those within strings it escapes.
        if c == '\n' || is_printable(c) {
            escaped.push(c);
        } else {
            // Two units beyond the first plane (RFC 8259 section 7).
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_command_a_terminal_is_escaped() {
        let text = to_text(&["x\"\\\n\u{1}ü\u{7f}\u{9b}\u{202e}\u{e0001}"]);
        let wanted = "[\n  \"x\\\"\\\\\\n\\u0001ü\\u007f\\u009b\\u202e\\udb40\\udc01\"\n]";
        assert_eq!(text, wanted);
        assert_eq!(to_text(&Vec::<u8>::new()), "[]");
    }
}
