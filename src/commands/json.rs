//! Writes JSON for programs (RFC 8259), as `status` and `probe` print it.

use serde::Serialize;

/// Returns `value` in JSON, indented with two spaces.
///
/// DEL and the C1 controls may stand as they are in JSON. They are escaped too, since a server may
/// choose them and the text may reach a terminal.
pub fn to_text(value: &impl Serialize) -> String {
    // Only maps with other keys than strings, and serializers that fail, bring an error.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    if !text.contains(is_terminal_control) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_terminal_control(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// The controls that serde_json leaves as they are.
fn is_terminal_control(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_escaped() {
        let text = to_text(&["x\"\\\n\u{1}ü\u{7f}\u{9b}"]);
        assert_eq!(text, "[\n  \"x\\\"\\\\\\n\\u0001ü\\u007f\\u009b\"\n]");
        assert_eq!(to_text(&Vec::<u8>::new()), "[]");
    }
}
