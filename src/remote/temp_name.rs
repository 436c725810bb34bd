//! Makes and recognizes temporary names on the server: `.ftpfs-REASON-PROCESS-NUMBER`.
//!
//! `PROCESS` is 64 random bits that are drawn once for a process. A process number would not do: two containers, or two
//! machines, have the same ones.

use std::collections::hash_map::RandomState;
use std::fmt::LowerHex;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

/// The prefix of all temporary names. The mount hides those of its own process.
const PREFIX: &str = ".ftpfs-";
/// The longest temporary name, in bytes.
pub const TEMP_NAME_LIMIT: usize = 48;

/// A temporary name for the purpose `word`; `number` is unique within this process.
pub fn make_temp_name(word: &str, number: impl LowerHex) -> String {
    format!("{PREFIX}{word}-{}-{number:x}", process_id())
}

/// Whether a name is a temporary name of any ftpfs process.
pub fn is_temp_name(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

/// Whether a name is a temporary name of this process.
pub fn is_own_temp_name(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX.as_bytes()) else {
        return false;
    };
    let mut parts = rest.split(|&byte| byte == b'-').skip(1);
    parts.next() == Some(process_id().as_bytes())
}

/// The random bits of this process, in hexadecimal.
fn process_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        // The keys of `RandomState` are random, and so is its hash of nothing.
        let bits = RandomState::new().build_hasher().finish();
        format!("{bits:016x}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temp_name_of_this_process_is_recognized() {
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
