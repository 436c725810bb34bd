//! What a name is on servers whose `SIZE` or `MLST` does not tell: its directory's listing has it.
//!
//! The one idea: a refusal that says nothing of the file must not be taken for its absence, nor keep it from being
//! stored.

use crate::remote::{
    Ask, Attributes, Completeness, Error, Kind, Remote, RemotePath, Result, Version, Why,
};

/// Whether a refusal of `SIZE` says nothing of the file: there is no such command (RFC 3659 has it, RFC 959 not), it is for
/// now only (RFC 959 section 4.2.1), as nodeftpd's is of what is not there, or it speaks of directories, as that of BSD's
/// ftpd and uftpd's does of what is not there ("No such file, or argument is a directory"), or of rights, as vsftpd's does
/// with `cmds_denied=SIZE`.
pub fn says_nothing(error: &Error) -> bool {
    match error {
        Error::Refused { why, said, .. } => {
            let of_all = matches!(why, Why::Unsupported | Why::IsDirectory | Why::Denied);
            of_all || said.starts_with('4')
        }
        _ => false,
    }
}

/// The version of a file, by its directory's listing. Refuses what [`attributes`] refuses, and what is no file.
pub fn version(remote: &dyn Remote, file: &RemotePath, ask: &Ask<'_>) -> Result<Version> {
    match attributes(remote, file, ask)? {
        found if found.kind == Kind::File => Ok(found.version()),
        _ => Err(refused(file, Why::IsDirectory, "it is no file")),
    }
}

/// The attributes of a name, by its directory's listing. Refuses what is not there, and what a listing that was cut off
/// does not show.
pub fn attributes(remote: &dyn Remote, path: &RemotePath, ask: &Ask<'_>) -> Result<Attributes> {
    let Some(directory) = path.parent() else {
        return Err(refused(path, Why::Unsupported, "nothing lists it"));
    };
    let mut found = None;
    let completeness = remote.list(&directory, ask, &mut |entry| {
        if entry.name == path.name() {
            found = Some(entry.attributes);
        }
    })?;
    match (found, completeness) {
        (Some(found), _) => Ok(found),
        (None, Completeness::Whole) => {
            let said = "its directory does not list it";
            Err(refused(path, Why::NotFound, said))
        }
        (None, Completeness::Partial) => {
            let said = "the listing of its directory was cut off";
            Err(refused(path, Why::Failed, said))
        }
    }
}

fn refused(path: &RemotePath, why: Why, said: &str) -> Error {
    Error::refused(why, format!("looking for {path}"), said)
}
