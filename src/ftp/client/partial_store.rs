//! Decides whether the refusal of a partial store (`APPE`, or `REST` before `STOR`) is about the file or about the feature.
//!
//! Hardened servers refuse a partial store in the words in which they refuse a file, and accept the whole file (ProFTPD without
//! `AllowStoreRestart`, its default: "451 Append/Restart not permitted"; vsftpd with `cmds_denied=APPE`: "550 Permission
//! denied."). So a refusal is taken to be about the feature, unless a partial store was accepted in this mount. When the server
//! then accepts the whole of the same file, that is proven, and remembered.

use crate::ftp::profile::{Learned, Part, Profile, RefusedPart};
use crate::remote::{Error, Why};

/// Whether a refusal may be about partial stores, whatever its code: rclone's FTP server answers 450 to `STOR` after `REST`.
/// False where it names a reason that applies to the whole file too.
pub fn may_be_of_parts(error: &Error) -> bool {
    matches!(
        error.why(),
        Some(Why::Unsupported | Why::Denied | Why::Busy | Why::Unsaid)
    )
}

/// Whether a refusal is permanent.
fn is_lasting(error: &Error) -> bool {
    match error {
        Error::Refused { why, said, .. } => *why == Why::Denied || said.starts_with('5'),
        _ => false,
    }
}

/// Converts the refusal of a part of the file at the absolute path `path` for the caller: [`Why::Unsupported`] where the whole
/// file may be accepted.
pub fn refused(profile: &Profile, part: Part, path: &[u8], error: Error) -> Error {
    let is_unsupported = error.why() == Some(Why::Unsupported);
    let may_be =
        may_be_of_parts(&error) && !profile.ask(|learned| learned.taken_parts.contains(&part));
    let is_lasting = is_lasting(&error);
    match error {
        Error::Refused { tried, said, .. } if is_unsupported || may_be => {
            profile.learn(|learned| {
                if is_unsupported {
                    learned.lacks(part);
                } else {
                    learned.refused_part = Some(RefusedPart {
                        part,
                        path: path.to_vec(),
                        is_lasting,
                    });
                }
            });
            Error::refused(Why::Unsupported, tried, said)
        }
        error => error,
    }
}

/// Learns that a part was accepted.
pub fn note_accepted(profile: &Profile, part: Part) {
    let is_known = |learned: &Learned| learned.taken_parts.contains(&part);
    if !profile.ask(is_known) {
        profile.learn(|learned| learned.taken_parts.push(part));
    }
}

/// Learns that the whole file at the absolute path `path` was accepted: if a part of it was refused before, the server refuses
/// partial stores. A file that was busy for a moment looks the same, so a transient refusal counts the second time only.
pub fn note_whole_accepted(profile: &Profile, path: &[u8]) {
    let is_it = |learned: &Learned| {
        let refused = learned.refused_part.as_ref();
        refused.is_some_and(|refused| refused.path == path)
    };
    if !profile.ask(is_it) {
        return;
    }
    profile.learn(|learned| {
        let Some(RefusedPart {
            part, is_lasting, ..
        }) = learned.refused_part.take()
        else {
            return;
        };
        if is_lasting || learned.doubted_part == Some(part) {
            log::info!("partial store: server accepts whole files only, not {part:?}; disabled");
            learned.lacks(part);
        } else {
            learned.doubted_part = Some(part);
        }
    });
}
