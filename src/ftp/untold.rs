//! A file's version on servers whose `SIZE` does not tell: its directory's listing has it.
//!
//! The one idea: a refusal of `SIZE` that says nothing of the file must not be taken for its absence, nor keep it from
//! being stored.

use crate::remote::{Ask, Completeness, Error, Kind, Remote, RemotePath, Result, Version, Why};

/// Whether a refusal of `SIZE` says nothing of the file: there is no such command (RFC 3659 has it, RFC 959 not), or it is
/// for now only (RFC 959 section 4.2.1), as nodeftpd's is of what is not there.
pub fn says_nothing(error: &Error) -> bool {
    match error {
        Error::Refused { why, said, .. } => *why == Why::Unsupported || said.starts_with('4'),
        _ => false,
    }
}

/// The version of a file, by its directory's listing. Refuses what is not there, what is no file, and what a listing that
/// was cut off does not show.
pub fn version(remote: &dyn Remote, file: &RemotePath, ask: &Ask<'_>) -> Result<Version> {
    let directory = file.parent().unwrap_or_default();
    let mut found = None;
    let completeness = remote.list(&directory, ask, &mut |entry| {
        if entry.name == file.name() {
            found = Some(entry.attributes);
        }
    })?;
    let refused = |why, said| Err(Error::refused(why, format!("looking for {file}"), said));
    match found {
        Some(attributes) if attributes.kind == Kind::File => Ok(attributes.version()),
        Some(_) => refused(Why::IsDirectory, "it is no file"),
        None if completeness == Completeness::Whole => {
            refused(Why::NotFound, "its directory does not list it")
        }
        None => refused(Why::Failed, "the listing of its directory was cut off"),
    }
}
