//! Decides whether the refusal of an append or of `STOR` after `REST` is one of the file, or of all partial stores.
//!
//! Hardened servers refuse partial stores and take whole files, in the words by which they refuse a file (ProFTPD
//! without `AllowStoreRestart`, its default: "451 Append/Restart not permitted"; vsftpd with `cmds_denied=APPE`: "550
//! Permission denied."). So a refusal counts for parts, not for the file, unless such a part was stored in this mount.
//! When the whole of the same file is stored afterwards, that proves it, and is remembered.

use crate::ftp::profile::evidence::Capability;
use crate::ftp::profile::{Learned, Part, Profile, RefusedPart};
use crate::ftp::protocol::reply::without_names;
use crate::remote::{Error, Why};

impl Part {
    /// The row of evidence; what is beyond the end of a file was tried on a scratch file.
    fn capability(self) -> Option<Capability> {
        match self {
            Self::Append => Some(Capability::Append),
            Self::InPlace => Some(Capability::StoreAt),
            Self::Beyond => None,
        }
    }
}

/// Whether a refusal of a part may be one of all parts, whatever its code: rclone's FTP server answers 450 to `STOR` after
/// `REST`. Not where it names a reason that holds for the whole file too.
pub fn may_be_of_parts(error: &Error) -> bool {
    matches!(
        error.why(),
        Some(Why::Unsupported | Why::Denied | Why::Busy | Why::Unsaid)
    )
}

/// Whether a refusal names parts as its reason: "451 Append/Restart not permitted, try again".
pub fn names_parts(error: &Error) -> bool {
    match error {
        Error::Refused { tried, said, .. } => {
            let words = without_names(said, tried);
            ["append", "restart", "resum"]
                .iter()
                .any(|part| words.contains(part))
        }
        _ => false,
    }
}

/// Whether `REST` was refused, which has no path.
fn is_of_rest(error: &Error) -> bool {
    matches!(error, Error::Refused { tried, .. } if tried.starts_with("REST"))
}

/// The error for the caller whose part of the file at the absolute path `path` was refused: [`Why::Unsupported`] where the
/// whole file may be stored.
pub fn refused(profile: &Profile, part: Part, path: &[u8], error: Error) -> Error {
    let is_unsupported = error.why() == Some(Why::Unsupported);
    let may_be = may_be_of_parts(&error)
        && !profile.ask(|learned| learned.this_mount.parts.taken.contains(&part));
    let (is_of_rest, names_parts) = (is_of_rest(&error), names_parts(&error));
    if let Some(capability) = part.capability().filter(|_| !is_of_rest) {
        profile.note_refusal(capability, path, &error);
    }
    match error {
        Error::Refused { tried, said, .. } if is_unsupported || may_be => {
            profile.learn(|learned| {
                if is_of_rest {
                    learned.lacks(part);
                } else {
                    learned.this_mount.parts.refused = Some(RefusedPart {
                        part,
                        path: path.to_vec(),
                        names_parts,
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
    let is_known = |learned: &Learned| learned.this_mount.parts.taken.contains(&part);
    if !profile.ask(is_known) {
        profile.learn(|learned| learned.this_mount.parts.taken.push(part));
        if let Some(capability) = part.capability() {
            profile.note_success(capability);
        }
    }
}

/// The whole file at the absolute path `path` was stored: a part of it that was refused before was refused for being one. A
/// file that was busy for a moment shows the same, so that a refusal which does not say so counts the second time.
pub fn took_all(profile: &Profile, path: &[u8]) {
    let is_it = |learned: &Learned| {
        let refused = learned.this_mount.parts.refused.as_ref();
        refused.is_some_and(|refused| refused.path == path)
    };
    if !profile.ask(is_it) {
        return;
    }
    profile.learn(|learned| {
        let Some(RefusedPart {
            part, names_parts, ..
        }) = learned.this_mount.parts.refused.take()
        else {
            return;
        };
        if names_parts || learned.this_mount.parts.doubted == Some(part) {
            log::info!("upload: the server stores whole files and no parts ({part:?})");
            learned.lacks(part);
        } else {
            learned.this_mount.parts.doubted = Some(part);
        }
    });
}
