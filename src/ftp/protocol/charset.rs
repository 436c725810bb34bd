//! Converts names between UTF-8 and another charset of the server (`codepage=`).
//!
//! Every byte string that a server can send has a name here, and that name converts back to exactly those bytes. Bytes that
//! cannot be decoded, or would not convert back, are shown with each byte above 127 as a character of Unicode's private use
//! area, U+F700 + byte.
//!
//! Names that the charset cannot express cannot exist on the server, and are refused.

use encoding_rs::Encoding;

/// The charset of a server's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset {
    encoding: &'static Encoding,
}

/// The private use characters that show undecodable bytes.
const PRIVATE: u32 = 0xF700;

impl Charset {
    /// The charset of that name (WHATWG's labels: `cp1251`, `gbk`, `shift_jis`, `latin1`), `Ok(None)` for UTF-8,
    /// which needs none. The error says what is allowed.
    pub fn named(label: &str) -> Result<Option<Self>, String> {
        let encoding = Encoding::for_label(label.as_bytes())
            .or_else(|| {
                Encoding::for_label(
                    format!("windows-{}", label.trim_start_matches("cp")).as_bytes(),
                )
            })
            .ok_or("a charset such as cp1251, latin1, gbk, big5, euc-kr or shift_jis")?;
        if encoding == encoding_rs::UTF_8 {
            return Ok(None);
        }
        let two_ways = encoding.output_encoding() == encoding && encoding.is_ascii_compatible();
        if !two_ways || encoding == encoding_rs::ISO_2022_JP {
            return Err("a charset that keeps ASCII as it is".to_string());
        }
        Ok(Some(Self { encoding }))
    }

    /// Converts the server's bytes to UTF-8.
    pub fn decode(self, bytes: &[u8]) -> Vec<u8> {
        if bytes.is_ascii() {
            return bytes.to_vec();
        }
        let text = self
            .encoding
            .decode_without_bom_handling_and_without_replacement(bytes);
        match text {
            Some(text) if self.encode(text.as_bytes()).as_deref() == Some(bytes) => {
                text.into_owned().into_bytes()
            }
            _ => escape(bytes).into_bytes(),
        }
    }

    /// Converts a name or path to the server's bytes; `None` when the charset cannot express it.
    pub fn encode(self, name: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(name.len());
        let mut rest = std::str::from_utf8(name).ok()?;
        while !rest.is_empty() {
            let end = rest.find(|c| escaped(c).is_some()).unwrap_or(rest.len());
            let (plain, escapes) = rest.split_at(end);
            let (encoded, _, unmappable) = self.encoding.encode(plain);
            if unmappable {
                return None;
            }
            bytes.extend_from_slice(&encoded);
            let mut characters = escapes.chars();
            bytes.extend(characters.next().and_then(escaped));
            rest = characters.as_str();
        }
        Some(bytes)
    }
}

fn escape(bytes: &[u8]) -> String {
    let character = |&byte: &u8| {
        if byte.is_ascii() {
            Some(char::from(byte))
        } else {
            char::from_u32(PRIVATE + u32::from(byte))
        }
    };
    bytes.iter().filter_map(character).collect()
}

/// The byte that a private use character stands for.
fn escaped(character: char) -> Option<u8> {
    let byte = u32::from(character).checked_sub(PRIVATE)?;
    u8::try_from(byte).ok().filter(|byte| !byte.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LABELS: [&str; 9] = [
        "cp1251",
        "latin1",
        "gbk",
        "gb18030",
        "big5",
        "euc-kr",
        "shift_jis",
        "koi8-r",
        "cp866",
    ];

    fn charset(label: &str) -> Charset {
        Charset::named(label).expect("known").expect("not UTF-8")
    }

    #[test]
    fn names_are_shown_in_utf_8() {
        assert_eq!(charset("cp1251").decode(b"\xCF\xF0"), "Пр".as_bytes());
        assert_eq!(charset("gbk").decode(b"\xC4\xE3.txt"), "你.txt".as_bytes());
        assert_eq!(
            charset("gbk").encode("你".as_bytes()).as_deref(),
            Some(&b"\xC4\xE3"[..])
        );
    }

    #[test]
    fn what_a_charset_lacks_is_refused() {
        assert_eq!(charset("latin1").encode("你".as_bytes()), None);
        assert_eq!(charset("latin1").encode(b"\xFF"), None);
    }

    #[test]
    fn only_charsets_that_work_both_ways_are_taken() {
        assert_eq!(Charset::named("utf8"), Ok(None));
        for label in ["utf-16", "iso-2022-jp", "nonsense", ""] {
            assert!(Charset::named(label).is_err(), "{label}");
        }
    }

    proptest! {
        #[test]
        fn every_byte_string_survives_the_way_here_and_back(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            at in 0..LABELS.len(),
        ) {
            let charset = charset(LABELS[at]);
            let shown = charset.decode(&bytes);
            prop_assert!(std::str::from_utf8(&shown).is_ok());
            prop_assert_eq!(charset.encode(&shown), Some(bytes));
        }
    }
}
