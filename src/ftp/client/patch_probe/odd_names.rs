//! Learns whether the server keeps the bytes of names that are not UTF-8, before one of them is stored.
//!
//! pyftpdlib puts U+FFFD in the place of bytes that are not UTF-8, so that two names become one, and the second file replaces the
//! first. A server that does not undo the doubling of the byte 255 (IAC, RFC 854) stores a name with one byte more. Neither
//! is seen in a reply: a file of such a name is made beside the first one of its kind, and looked for in the listing. Where
//! that has other bytes in its place, such names are EILSEQ. A listing without either shows nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ftp::client::list::Lister;
use crate::ftp::client::patch_probe;
use crate::ftp::pool::{Pool, Purpose};
use crate::ftp::profile::{Learned, Profile, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::{below, parent_and_name};
use crate::remote::{Ask, Error, RemotePath, Result, make_temp_name};

/// Bytes that a server may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OddBytes {
    /// What is not UTF-8.
    Raw,
    /// The byte 255, which Telnet sends twice, and which is not UTF-8 either.
    Iac,
}

/// The byte that introduces a Telnet command.
const IAC: u8 = 255;

/// What is not UTF-8 in a Latin alphabet.
const RAW: &[u8] = b"\xe9\xfd";

/// Tries that showed nothing, before it is left.
const TRIES_LIMIT: u32 = 3;

/// What was tried in this mount.
#[derive(Debug, Default)]
pub struct NameTrials {
    count: AtomicU32,
}

impl NameTrials {
    /// Starts again: what was learned of the server is forgotten.
    pub fn forget(&self) {
        self.count.store(0, Ordering::Relaxed);
    }
}

impl OddBytes {
    /// Those in a name in the server's bytes.
    fn of(name: &[u8]) -> Option<Self> {
        match name.contains(&IAC) {
            true => Some(Self::Iac),
            false => std::str::from_utf8(name).err().map(|_| Self::Raw),
        }
    }

    fn sample(self) -> &'static [u8] {
        match self {
            Self::Raw => RAW,
            Self::Iac => &[IAC],
        }
    }

    fn support(self, learned: &Learned) -> Support {
        match self {
            Self::Raw => learned.names.raw,
            Self::Iac => learned.names.iac,
        }
    }

    fn learn(self, profile: &Profile, keeps: bool) {
        profile.learn(|learned| match self {
            Self::Raw => learned.names.raw = keeps.into(),
            Self::Iac => learned.names.iac = keeps.into(),
        });
    }
}

/// EILSEQ where the server is known to change bytes of this name.
pub fn refuse_known(pool: &Pool, path: &RemotePath) -> Result<()> {
    let name = pool.root().encode(path.name())?;
    let changes = |odd: OddBytes| pool.profile().ask(|learned| odd.support(learned)) == Support::No;
    match OddBytes::of(&name).is_some_and(changes) {
        true => Err(Error::Local {
            tried: format!(
                "{path}: the server changes the bytes of names that are not UTF-8, so that one file may replace another"
            ),
            errno: libc::EILSEQ,
        }),
        false => Ok(()),
    }
}

/// EILSEQ where the server changes bytes of this name, which is to be made. That is tried where it is not known.
pub fn check(
    pool: &Arc<Pool>,
    trials: &NameTrials,
    path: &RemotePath,
    ask: &Ask<'_>,
) -> Result<()> {
    let name = pool.root().encode(path.name())?;
    let Some(odd) = OddBytes::of(&name) else {
        return Ok(());
    };
    let profile = pool.profile();
    if profile.ask(|learned| odd.support(learned)).is_unknown() {
        let number = trials.count.fetch_add(1, Ordering::Relaxed);
        let absolute = pool.root().absolute(path)?;
        let parent = parent_and_name(&absolute).map_or(&b"/"[..], |(parent, _)| parent);
        match number < TRIES_LIMIT {
            true => match keeps(pool, parent, (odd, number), ask) {
                Ok(Some(keeps)) => {
                    trials.count.fetch_sub(1, Ordering::Relaxed);
                    odd.learn(profile, keeps);
                }
                Ok(None) => {}
                Err(error @ (Error::Lost { .. } | Error::TimedOut { .. })) => return Err(error),
                // What is refused here is refused for the name itself too, or is no matter of names.
                Err(error) => log::info!("names: not tried: {error}"),
            },
            false => log::debug!("names: the listing does not show what the server does with them"),
        }
    }
    refuse_known(pool, path)
}

/// Whether a file whose name has odd bytes is listed by that name; `None` where it is not listed at all.
fn keeps(
    pool: &Arc<Pool>,
    directory: &[u8],
    (odd, number): (OddBytes, u32),
    ask: &Ask<'_>,
) -> Result<Option<bool>> {
    let start = make_temp_name("name", number).into_bytes();
    let name = [&start, odd.sample()].concat();
    let path = below(directory, &name);
    let names = patch_probe::with_temp_file(pool, &path, ask, || {
        let lease = pool.lease(Purpose::Transfer, false, ask)?;
        patch_probe::store(lease, Command::Stor(&path), 0, b"x", ask.deadline)?;
        let mut lease = pool.lease(Purpose::Listing, false, ask)?;
        let lister = Lister {
            pool,
            lease: &mut lease,
            directory,
            deadline: ask.deadline,
            without_facts: false,
        };
        lister.names_from(&start)
    })?;
    let keeps = match (names.contains(&name), names.is_empty()) {
        (true, _) => Some(true),
        (false, false) => Some(false),
        (false, true) => None,
    };
    if keeps == Some(false) {
        log::warn!(
            "names: the server changes {} to {}; names with such bytes are refused",
            name.escape_ascii(),
            names.concat().escape_ascii()
        );
    }
    Ok(keeps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_bytes_are_those_that_are_not_utf8() {
        for (name, expected) in [
            (&b"plain"[..], None),
            ("h\u{e4}".as_bytes(), None),
            (b"a\xfe b", Some(OddBytes::Raw)),
            (b"a\xff", Some(OddBytes::Iac)),
            (b"\xfe\xff", Some(OddBytes::Iac)),
        ] {
            assert_eq!(OddBytes::of(name), expected, "{}", name.escape_ascii());
        }
        for odd in [OddBytes::Raw, OddBytes::Iac] {
            assert_eq!(OddBytes::of(odd.sample()), Some(odd));
        }
    }
}
