//! What was learned of a server in use: what it can and how it differs.
//!
//! The one idea: whatever can't be known from `FEAT` is tried once, where it is needed, and the
//! outcome is kept here for all connections, so that nothing is tried twice and no option is
//! needed. Every field is a fact about the server, not about a connection.
//!
//! Lock order: the lock here is held for a moment only and nothing is called under it.

use parking_lot::Mutex;

use crate::ftp::features::Features;

/// What is known of a server.
#[derive(Debug, Default)]
pub struct Profile {
    learned: Mutex<Learned>,
}

/// The facts; `None` is "not tried yet".
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// The reply to `FEAT`.
    pub features: Features,
    /// `EPSV` brings a data connection.
    pub epsv: Option<bool>,
    /// `LIST -a` shows the hidden files and is not taken for a name.
    pub list_all: Option<bool>,
    /// Seconds east of UTC of the times in `LIST`.
    pub zone: Option<i32>,
    /// `MDTM` answers.
    pub mdtm: Option<bool>,
    /// `SITE CHMOD` works.
    pub chmod: Option<bool>,
    /// What sets times; `Some(None)` when nothing does.
    pub sets_times: Option<Option<TimeSetter>>,
    /// `APPE` works.
    pub appe: Option<bool>,
    /// `SITE QUOTA` tells what is left of a quota.
    pub site_quota: Option<bool>,
    /// `REST` before `RETR` works.
    pub rest: Option<bool>,
}

/// The commands by which servers set the time of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSetter {
    /// `MFMT time path` (draft-somers-ftp-mfxx).
    Mfmt,
    /// `MDTM time path` (vsftpd and others).
    Mdtm,
    /// `SITE UTIME time path`.
    SiteUtime,
    /// `SITE UTIME path atime mtime ctime UTC`.
    SiteUtimeLong,
}

impl Profile {
    /// What is known now.
    pub fn get(&self) -> Learned {
        self.learned.lock().clone()
    }

    /// One fact.
    pub fn ask<T>(&self, fact: impl FnOnce(&Learned) -> T) -> T {
        fact(&self.learned.lock())
    }

    /// Notes a fact.
    pub fn learn(&self, change: impl FnOnce(&mut Learned)) {
        change(&mut self.learned.lock());
    }
}
