//! Decides whether the refusal of an append or of `STOR` after `REST` is one of the file, or of all partial stores.
//!
//! Hardened servers refuse partial stores and take whole files, in the words by which they refuse a file (ProFTPD
//! without `AllowStoreRestart`, its default: "451 Append/Restart not permitted"; vsftpd with `cmds_denied=APPE`: "550
//! Permission denied."). So a refusal counts for parts, not for the file, unless such a part was stored in this mount.
//! When the whole of the same file is stored afterwards, that proves it, and is remembered.

use crate::ftp::profile::{Learned, Part, Profile, RefusedPart};
use crate::remote::{Error, Why};

/// Whether a refusal of a part may be one of all parts, whatever its code: rclone's FTP server answers 450 to `STOR` after
/// `REST`. Not where it names a reason that holds for the whole file too.
pub fn may_be_of_parts(error: &Error) -> bool {
    matches!(
        error.why(),
        Some(Why::Unsupported | Why::Denied | Why::Busy | Why::Unsaid)
    )
}

/// Whether a refusal is permanent (5xx, or in words of rights).
pub fn is_lasting(error: &Error) -> bool {
    match error {
        Error::Refused { why, said, .. } => *why == Why::Denied || said.starts_with('5'),
        _ => false,
    }
}

/// The error for the caller whose part of the file at the absolute path `path` was refused: [`Why::Unsupported`] where the
/// whole file may be stored.
pub fn refused(profile: &Profile, part: Part, path: &[u8], error: Error) -> Error {
    let is_unsupported = error.why() == Some(Why::Unsupported);
    let may_be = may_be_of_parts(&error)
        && !profile.ask(|learned| learned.this_mount.taken_parts.contains(&part));
    let is_lasting = is_lasting(&error);
    match error {
        Error::Refused { tried, said, .. } if is_unsupported || may_be => {
            profile.learn(|learned| {
                if is_unsupported {
                    learned.lacks(part);
                } else {
                    learned.this_mount.refused_part = Some(RefusedPart {
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

/// A part was stored.
pub fn took(profile: &Profile, part: Part) {
    let is_known = |learned: &Learned| learned.this_mount.taken_parts.contains(&part);
    if !profile.ask(is_known) {
        profile.learn(|learned| learned.this_mount.taken_parts.push(part));
    }
}

/// The whole file at the absolute path `path` was stored: a part of it that was refused before was refused for being one. A
/// file that was busy for a moment shows the same, so that a temporary refusal counts the second time.
pub fn took_all(profile: &Profile, path: &[u8]) {
    let is_it = |learned: &Learned| {
        let refused = learned.this_mount.refused_part.as_ref();
        refused.is_some_and(|refused| refused.path == path)
    };
    if !profile.ask(is_it) {
        return;
    }
    profile.learn(|learned| {
        let Some(RefusedPart {
            part, is_lasting, ..
        }) = learned.this_mount.refused_part.take()
        else {
            return;
        };
        if is_lasting || learned.this_mount.doubted_part == Some(part) {
            log::info!("upload: the server stores whole files and no parts ({part:?})");
            learned.lacks(part);
        } else {
            learned.this_mount.doubted_part = Some(part);
        }
    });
}
