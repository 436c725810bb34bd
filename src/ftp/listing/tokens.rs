//! Splits a listing line into tokens at its blanks, and parses the numbers in them.
//!
//! [`Tokens`] is a cursor that can be copied to look ahead, and that still knows the rest of the line byte by byte, because a
//! name is never reassembled from tokens.
//!
//! # Invariants
//! A token is never empty and contains no blank. Numbers that do not fit are `None`.

#[cfg(test)]
thread_local! {
    /// Bytes that were scanned for tokens on this thread, by which tests measure the work.
    pub(crate) static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The tokens of a line, and where the last of them ended.
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    /// The tokens of `line`, from its start.
    pub(crate) fn of(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// The rest of the line after the last token, with all blanks.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.line[self.at..]
    }

    /// The rest of the line after the last token and one blank: further blanks belong to the name.
    pub(crate) fn name(&self) -> Option<&'a [u8]> {
        let (&blank, name) = self.rest().split_first()?;
        (blank == b' ').then_some(name)
    }

    /// The rest of the line after the last token and all blanks, for servers that pad the name into a column.
    pub(crate) fn padded_name(&self) -> &'a [u8] {
        self.rest().trim_ascii_start()
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest();
        let start = rest.iter().position(|&byte| !is_blank(byte))?;
        let length = rest[start..]
            .iter()
            .position(|&byte| is_blank(byte))
            .unwrap_or(rest.len() - start);
        self.at += start + length;
        #[cfg(test)]
        LOOKED_AT.with(|bytes| bytes.set(bytes.get() + start + length));
        Some(&rest[start..start + length])
    }
}

/// Whether a byte separates tokens.
pub(crate) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// A number of at most nine digits, and nothing else.
pub(crate) fn small(token: &[u8]) -> Option<u32> {
    if token.is_empty() || token.len() > 9 {
        return None;
    }
    token.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + u32::from(byte - b'0'))
    })
}

/// Whether a token is digits only.
pub(crate) fn is_number(token: &[u8]) -> bool {
    !token.is_empty() && token.iter().all(u8::is_ascii_digit)
}

/// A size in bytes; `None` if it is no number, or larger than any file can be.
///
/// Servers that print an unknown size as -1 show it as 18446744073709551615.
pub(crate) fn size(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number = 0u64;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number
            .checked_mul(10)?
            .checked_add(u64::from(byte - b'0'))?;
    }
    (i64::try_from(number).is_ok()).then_some(number)
}

/// A number of at most seven octal digits.
pub(crate) fn octal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 7 {
        return None;
    }
    digits.iter().try_fold(0, |number, byte| {
        matches!(byte, b'0'..=b'7').then(|| number * 8 + u32::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_all_blanks_but_the_first() {
        let mut tokens = Tokens::of(b"  one\t two   a b ");
        assert_eq!(tokens.next(), Some(&b"one"[..]));
        assert_eq!(tokens.next(), Some(&b"two"[..]));
        assert_eq!(tokens.name(), Some(&b"  a b "[..]));
        assert_eq!(tokens.padded_name(), b"a b ");
        assert_eq!(tokens.by_ref().count(), 2);
        assert_eq!(tokens.rest(), b" ");
    }

    #[test]
    fn a_line_that_ends_has_no_name() {
        let mut tokens = Tokens::of(b"one");
        tokens.next();
        assert_eq!(tokens.name(), None);
        assert_eq!(tokens.next(), None);
    }

    #[test]
    fn a_size_is_a_number_that_a_file_can_have() {
        assert_eq!(size(b"0"), Some(0));
        assert_eq!(size(b"9223372036854775807"), Some(i64::MAX as u64));
        for none in [
            &b""[..],
            b"-1",
            b"1k",
            b"9223372036854775808",
            b"18446744073709551615",
            b"99999999999999999999999",
        ] {
            assert_eq!(size(none), None);
        }
    }
}
