//! The settings of the file system.

use std::path::PathBuf;
use std::time::Duration;

use crate::vfs::cache::disk::DiskCache;
use crate::vfs::inode::attr_view::Shown;
use crate::vfs::inode::symlink_policy::Links;

/// How the file system behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The mounted directory on the server, absolute, without a `/` at its end: what absolute targets
    /// of links are seen from.
    pub root: Vec<u8>,
    /// Whose files are shown, and with which bits.
    pub shown: Shown,
    /// What becomes of attributes that the server can't store.
    pub attributes: AttributeSettings,
    /// Symbolic links.
    pub links: LinkSettings,
    /// Bytes that the server is taken to have, where it does not say.
    pub size: Option<u64>,
    /// Nothing is changed on the server, until [`Vfs::make_writable`](crate::vfs::Vfs::make_writable).
    pub read_only: bool,
    /// How long what the server said is believed.
    pub lifetimes: Lifetimes,
    /// How long an operation may make no progress.
    pub timeout: Duration,
    /// Where the spool files are.
    pub spool: PathBuf,
    /// How much of a file is stored.
    pub limits: WriteLimits,
    /// Files appear at once, by a rename.
    pub atomic: bool,
    /// What was stored is compared by its hash, where the server has one.
    pub verify_hash: bool,
    /// Closes that return before the server has the file, and what an earlier mount has left of them.
    pub write_back: Option<WriteBack>,
    /// Memory of the caches.
    pub memory: Memory,
    /// The block cache on disk, if there is one; its source without the mounted directory.
    pub disk_cache: Option<DiskCache>,
}

/// How much of a file is stored, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct WriteLimits {
    /// What the spool holds at most of a file that is written in order.
    pub spool_size: u64,
    /// Zeros that are sent at most for the holes of a file, where the server does not make them.
    pub holes: u64,
}

/// Memory of the caches, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// File contents.
    pub blocks: u64,
    /// Names and attributes that neither the kernel nor a handle holds.
    pub metadata: u64,
}

/// How long what the server said is believed.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Attributes and listings.
    pub known: Duration,
    /// That a name is absent, by a listing or an answer about the name.
    pub absent: Duration,
    /// So much longer names, attributes and cached bytes are served while the server is away.
    pub stale: Duration,
}

/// Write-back settings.
#[derive(Clone, Debug)]
pub struct WriteBack {
    /// Whether closes return before the server has the file. Otherwise the journal is only read.
    pub on: bool,
    /// The directory of the journals of this server and user.
    pub journal: PathBuf,
}

/// How symbolic links are stored and shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkSettings {
    /// What becomes of links that leave the mount.
    pub leaving: Links,
    /// Regular files may be links, and new links are stored so where the server has none.
    pub files: bool,
}

/// What becomes of attributes that the server can't store.
#[derive(Clone, Debug, Default)]
pub struct AttributeSettings {
    /// Whether they are kept.
    pub policy: Policy,
    /// Where what is kept survives the mount.
    pub store: Option<StorePlace>,
}

/// What becomes of a change that the server can't store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It is kept by the mount and shown from then on.
    #[default]
    Keep,
    /// It fails.
    Strict,
    /// It succeeds without effect.
    Ignore,
}

/// Where the database is, and what its rows are under.
#[derive(Clone, Debug)]
pub struct StorePlace {
    /// The directory of the database.
    pub directory: PathBuf,
    /// The server and the login, without the mounted directory.
    pub server: Vec<u8>,
}
