//! Makes temporary names on the server, `.ftpfs-WORD-PROCESS-NUMBER`.
//!
//! PROCESS are 64 random bits, made once for each process: process numbers are the same in different
//! containers and on different machines.

use std::collections::hash_map::RandomState;
use std::fmt::LowerHex;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

/// The prefix of temporary names. Those of this process are hidden in listings.
const PREFIX: &str = ".ftpfs-";
/// Maximum bytes of a temporary name.
pub const TEMP_NAME_LIMIT: usize = 48;

/// Returns a temporary name for the purpose `word`; `number` makes it unique in this process.
pub fn make_temp_name(word: &str, number: impl LowerHex) -> String {
    format!("{PREFIX}{word}-{}-{number:x}", process_tag())
}

/// Whether a name is a temporary name of any process.
pub fn is_temp_name(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

/// Whether a name is a temporary name of this process.
pub fn is_own_temp_name(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX.as_bytes()) else {
        return false;
    };
    let mut words = rest.split(|&byte| byte == b'-').skip(1);
    words.next() == Some(process_tag().as_bytes())
}

/// Returns the random bits of this process.
fn process_tag() -> &'static str {
    static TAG: OnceLock<String> = OnceLock::new();
    TAG.get_or_init(|| {
        // The keys of the hash are random, and so is the hash of nothing.
        let bits = RandomState::new().build_hasher().finish();
        format!("{bits:016x}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_of_this_process_are_recognized() {
        let (open, new) = (
            make_temp_name("open", 31_u64),
            make_temp_name("new", 31_u64),
        );
        assert_ne!(open, new);
        assert!(is_temp_name(open.as_bytes()) && !is_temp_name(b".ftp"));
        assert!(make_temp_name("aside", u64::MAX).len() <= TEMP_NAME_LIMIT);
        assert!(is_own_temp_name(open.as_bytes()) && is_own_temp_name(new.as_bytes()));
        assert!(open.starts_with(".ftpfs-open-") && open.ends_with("-1f"));
        // Another process, also one of the same number in another container.
        let process = std::process::id();
        let theirs = format!(".ftpfs-open-{process}-1f");
        assert!(!is_own_temp_name(theirs.as_bytes()));
        assert!(!is_own_temp_name(b".ftpfs-open-0123456789abcdef-1f"));
        assert!(!is_own_temp_name(b".ftpfs-open") && !is_own_temp_name(b"f"));
    }
}
