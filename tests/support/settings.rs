//! What a file system has that is tested without a kernel: nothing is believed for longer than it takes, and all that is
//! local lies below one directory.

use std::path::Path;
use std::time::Duration;

use ftpfs::vfs::{
    AttributeSettings, Lifetimes, LinkSettings, Settings, Shown, WriteBack, WriteLimits,
};

/// Settings below the directory `local`, whose journal is `local/journal/of/this`.
pub fn settings(local: &Path, writes_back: bool) -> Settings {
    Settings {
        root: Vec::new(),
        shown: Shown::default(),
        attributes: AttributeSettings::default(),
        links: LinkSettings::default(),
        size: None,
        read_only: false,
        lifetimes: Lifetimes {
            known: Duration::ZERO,
            absent: Duration::ZERO,
            stale: Duration::ZERO,
        },
        timeout: Duration::from_secs(10),
        spool: local.to_path_buf(),
        limits: WriteLimits {
            spool_size: 64 << 20,
            holes: 4 << 30,
        },
        atomic: false,
        verify_hash: false,
        write_back: Some(WriteBack {
            on: writes_back,
            journal: local.join("journal/of/this"),
        }),
        memory: ftpfs::vfs::Memory {
            blocks: 8 << 20,
            metadata: 64 << 20,
        },
        disk_cache: None,
    }
}
