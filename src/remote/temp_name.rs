//! Names of our own on the server, under which files are put aside for a while.
//!
//! The one idea: a process number is none: two containers, or two machines, have the same ones. So 64 random bits are
//! in every such name, made once for a process, and whoever looks for names of this process goes by them.

use std::collections::hash_map::RandomState;
use std::fmt::LowerHex;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

/// What they begin with. Those of this process are not shown.
const OURS: &str = ".ftpfs-";
/// Bytes of such a name, at most.
pub const LONGEST_ASIDE: usize = 48;

/// The name of a file that is put aside for the reason `word`; `number` tells it from others of this process.
pub fn name_aside(word: &str, number: impl LowerHex) -> String {
    format!("{OURS}{word}-{}-{number:x}", mark())
}

/// Whether a name is one of those under which some process puts files aside.
pub fn is_anybodys_aside(name: &[u8]) -> bool {
    name.starts_with(OURS.as_bytes())
}

/// Whether a name is one of those under which this process puts files aside.
pub fn is_aside(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(OURS.as_bytes()) else {
        return false;
    };
    let mut words = rest.split(|&byte| byte == b'-').skip(1);
    words.next() == Some(mark().as_bytes())
}

/// What tells this process from every other.
fn mark() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    MARK.get_or_init(|| {
        // The keys of a hash are random: what it makes of nothing is, too.
        let bits = RandomState::new().build_hasher().finish();
        format!("{bits:016x}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_put_aside_is_known_by_its_name() {
        let (open, new) = (name_aside("open", 31_u64), name_aside("new", 31_u64));
        assert_ne!(open, new);
        assert!(is_anybodys_aside(open.as_bytes()) && !is_anybodys_aside(b".ftp"));
        assert!(name_aside("aside", u64::MAX).len() <= LONGEST_ASIDE);
        assert!(is_aside(open.as_bytes()) && is_aside(new.as_bytes()));
        assert!(open.starts_with(".ftpfs-open-") && open.ends_with("-1f"));
        // Another process, also one of the same number in another container.
        let process = std::process::id();
        let theirs = format!(".ftpfs-open-{process}-1f");
        assert!(!is_aside(theirs.as_bytes()));
        assert!(!is_aside(b".ftpfs-open-0123456789abcdef-1f"));
        assert!(!is_aside(b".ftpfs-open") && !is_aside(b"f"));
    }
}
