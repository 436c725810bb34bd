//! Decides whether a mount is there already, so that `mount -a` can be repeated.
//!
//! mount(8) compares the source of fstab(5) with the mount table as text. Where the two are spelled otherwise, it starts the
//! program again: a source with a password, an escape, a prefix (`ftpfs#`, `curlftpfs#`) or `fsname=`. Sources are compared
//! here by what they mean. `fsname=` hides the source from the mount table, so the mount itself is asked for it.
//!
//! Invariant: a dead mount, one of another server, and a writable one where `ro` is asked for are not the same.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::Value;

use crate::cli::Settings;
use crate::cli::source::Source;
use crate::mount;
use crate::mount::query::{Mounted, STATUS_JSON, Unanswered};

/// Whether the source is mounted at the mountpoint already, for those who may ask again: the helpers of mount(8), and
/// mount.fuse3(8), whose line of fstab(5) is this one.
pub fn is_mounted(settings: &Settings) -> Result<bool, String> {
    let Ok(mountpoint) = std::fs::canonicalize(&settings.mountpoint) else {
        return Ok(false);
    };
    let Some(entry) = mount::top_mount(&mountpoint)? else {
        return Ok(false);
    };
    let source = Source::of(settings)?;
    if !settings.command.repeatable && !is_in_fstab(&mountpoint, &source) {
        return Ok(false);
    }
    let is_writable = entry.has("rw") && !entry.has("ro");
    if !entry.is_ours(&settings.mount.subtype) || settings.mount.read_only && is_writable {
        return Ok(false);
    }
    let in_table = entry.source.clone();
    let answer = Mounted { entry }.attribute(STATUS_JSON);
    // A mount whose process was killed shows in the mount table still.
    if let Err(Unanswered::Failed(error)) = &answer
        && error.raw_os_error() == Some(libc::ENOTCONN)
    {
        return Ok(false);
    }
    Ok(match &settings.mount.fsname {
        Some(name) => *name == in_table && answer.is_ok_and(|answer| names(&answer, &source)),
        None => Source::parse(in_table.as_ref()).is_ok_and(|mounted| mounted.is_same(&source)),
    })
}

/// Whether the status of a mount names this source. The status has the user who logged in, whom the source need not name.
fn names(status: &[u8], source: &Source) -> bool {
    let status: Value = serde_json::from_slice(status).unwrap_or_default();
    let mounted = status["source"].as_str().map(OsStr::new).map(Source::parse);
    let Some(Ok(mut mounted)) = mounted else {
        return false;
    };
    if source.user.is_none() {
        mounted.user = None;
    }
    mounted.is_same(source)
}

/// Whether the line of fstab(5) for a mountpoint has this source, perhaps with the program before it: `ftpfs#ftp://...`.
fn is_in_fstab(mountpoint: &Path, source: &Source) -> bool {
    let line = mount::fstab_source(mountpoint);
    let url = line
        .split_once('#')
        .filter(|(program, _)| !program.contains(['/', ':']));
    let url = url.map_or(line.as_str(), |(_, url)| url);
    Source::parse(url.as_ref()).is_ok_and(|there| there.is_same(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_names_the_server_that_fsname_hides() {
        let status = br#"{"source": "ftp://anna@host/dir", "since": 1}"#;
        let is_named = |source: &str| names(status, &Source::parse(source.as_ref()).expect(source));
        assert!(is_named("ftp://anna:secret@HOST/dir/") && is_named("ftp://host/dir"));
        for other in [
            "ftp://anna@other/dir",
            "ftp://bob@host/dir",
            "ftp://anna@host/",
        ] {
            assert!(!is_named(other), "{other}");
        }
        let source = Source::parse("ftp://host/".as_ref()).expect("a source");
        assert!(!names(b"", &source) && !names(b"{}", &source));
    }
}
