//! Writes JSON for programs (RFC 8259), as `status` and `probe` print it.

use serde::Serialize;

use crate::process::printable::is_printable;

/// Returns `value` in JSON, indented with two spaces.
///
/// JSON allows DEL, the C1 controls and format characters unescaped. They are escaped too, since they can come from a
/// server and the text may reach a terminal (`process/printable.rs`).
pub fn to_text(value: &impl Serialize) -> String {
    // Fails only for maps with keys that are not strings, and for serializers that fail.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    if !text.contains(needs_escape) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if needs_escape(c) {
            // Characters above U+FFFF are two escapes: a surrogate pair (RFC 8259 section 7).
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Whether a character of serde_json's output affects a terminal. The line breaks are those of the indentation.
fn needs_escape(c: char) -> bool {
    c != '\n' && !is_printable(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_escaped() {
        let text = to_text(&["x\"\\\n\u{1}ü\u{7f}\u{9b}\u{202e}\u{e0001}"]);
        assert_eq!(
            text,
            "[\n  \"x\\\"\\\\\\n\\u0001ü\\u007f\\u009b\\u202e\\udb40\\udc01\"\n]"
        );
        assert_eq!(to_text(&Vec::<u8>::new()), "[]");
    }
}
