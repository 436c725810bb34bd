//! Runs `mount -o remount`: changes the flags of a mount that the kernel alone enforces.
//!
//! Only the flags of the mount change (`MS_REMOUNT` with `MS_BIND`), not those of its file system, and the process that
//! serves the mount need not know. The exception is a mount that was made read-only: before it becomes writable, its process
//! opens the journal, and takes over what an earlier mount has left there. mount(8) repeats the options of fstab(5) and of the mount table in the list; every other
//! option is refused by name, since the running mount does not see it.

use std::path::Path;

use nix::unistd::geteuid;

use crate::cli;
use crate::cli::Settings;
use crate::cli::option_table::is_changeable;
use crate::mount;
use crate::mount::query::Mounted;
use crate::mount::{Entry, Options};
use crate::process::redact::redact;

/// Changes the flags of the mount at the mountpoint.
pub fn run(settings: &Settings) -> Result<(), String> {
    if let Some(namespace) = &settings.command.namespace {
        mount::enter_namespace(namespace)?;
    }
    let entry = mount::find_mount(&settings.mountpoint)?;
    let shown = entry.mountpoint.display();
    if !entry.is_ours(&settings.mount.subtype) {
        return Err(format!("{shown}: is not a mount of ftpfs: {}", entry.kind));
    }
    let fstab = fstab_options(&entry.mountpoint);
    let is_repeated = |word: &str| entry.has(word) || fstab.iter().any(|there| there == word);
    for word in &settings.command.remount_words {
        let word = word.0.to_string_lossy();
        if !is_changeable(&word) && !is_repeated(&word) {
            return Err(format!(
                "{shown}: remount can't change {}; unmount, then mount with it",
                redact(&*word)
            ));
        }
    }
    if settings.command.fake {
        return Ok(());
    }
    let options = options(settings, &entry);
    if !geteuid().is_root() {
        return Err(format!("{shown}: only root can change a mount"));
    }
    // A mount that was made read-only has "ro" twice in the mount table, and no journal yet.
    if !options.read_only && !entry.has("rw") {
        let mounted = Mounted {
            entry: entry.clone(),
        };
        mounted.make_writable()?;
    }
    mount::remount(&entry, &options).map_err(|error| error.to_string())
}

/// Returns the options in the line of fstab(5) for a mountpoint; a list that can't be split counts as none.
pub(crate) fn fstab_options(mountpoint: &Path) -> Vec<String> {
    cli::split(&mount::fstab_options(mountpoint)).unwrap_or_default()
}

/// Returns the flags of the mount with the changes of the command line after them: the last one counts. mount(8) has merged
/// them already, and drops words such as `exec`.
fn options(settings: &Settings, entry: &Entry) -> Options {
    const KEPT: [&str; 6] = [
        "noexec",
        "noatime",
        "nodiratime",
        "relatime",
        "nosymfollow",
        "strictatime",
    ];
    // These can't be changed, and are lost where the file system takes all flags.
    const OF_FILE_SYSTEM: [&str; 3] = ["sync", "dirsync", "lazytime"];
    let is_merged = settings.command.helper;
    let kept = KEPT
        .into_iter()
        .filter(|flag| !is_merged && entry.has(flag))
        .chain(OF_FILE_SYSTEM.into_iter().filter(|flag| entry.has(flag)));
    Options {
        read_only: settings.mount.read_only,
        words: kept.chain(settings.mount.kernel.iter().copied()).collect(),
        ..Options::default()
    }
}
