//! Defines the report of a probe, as plain values.

use crate::cli::source::Source;
use crate::cli::{Mode, Probe, Settings};
use crate::ftp::{Answer, Listed, Prelogin, Remembered, Restart, Server, Trial, Writing};

/// Results about a server and the connections to it; `None` for what was not probed.
pub struct Report {
    /// The source, without its password.
    pub source: String,
    /// The options that were given.
    pub settings: Settings,
    /// These options as typed.
    pub words: Vec<String>,
    /// Why the probe ended early.
    pub error: Option<String>,
    /// What the server shows before the login.
    pub prelogin: Option<Prelogin>,
    /// What the server reports about itself.
    pub server: Option<Server>,
    /// The data connections, in the order of trying.
    pub trials: Vec<Trial>,
    /// Whether the server accepts data connections without a resumed TLS session.
    pub resumption: Option<Answer>,
    /// Data connections are limited to TLS 1.2.
    pub steps_back: bool,
    /// The listing.
    pub listed: Option<Listed>,
    /// Whether reads start at the offset of REST.
    pub reading: Option<Restart>,
    /// Results of writing.
    pub writing: Option<Writing>,
    /// The scratch directory.
    pub scratch: Option<Place>,
    /// Number of simultaneous connections, and the reply that refused one more.
    pub connections: Option<(usize, Option<String>)>,
    /// What is stored for mounts.
    pub kept: Option<Remembered>,
}

/// What happened to the scratch directory.
pub enum Place {
    /// It could not be created.
    NotMade(String),
    /// It was created and removed.
    Removed(String),
    /// It could not be removed, and why.
    Left(String, String),
}

/// Sections of the report, in order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The server.
    Server,
    /// TLS.
    Encryption,
    /// Data connections.
    Ways,
    /// Listing, reading, writing.
    Files,
    /// Number of connections.
    Connections,
    /// What is stored for mounts.
    Kept,
    /// How to mount it.
    Mount,
}

impl Report {
    /// Creates an empty report.
    pub fn new(source: &Source, probe: &Probe) -> Self {
        let words = probe.words.iter();
        Self {
            source: source.fsname(),
            settings: probe.settings.clone(),
            words: words
                .map(|word| word.0.to_string_lossy().into_owned())
                .collect(),
            error: None,
            prelogin: None,
            server: None,
            trials: Vec::new(),
            resumption: None,
            steps_back: false,
            listed: None,
            reading: None,
            writing: None,
            scratch: None,
            connections: None,
            kept: None,
        }
    }

    /// Whether a data connection works with the options given.
    pub fn works(&self) -> bool {
        self.trials.iter().any(|trial| {
            let wanted = match self.settings.network.mode {
                Mode::Auto => true,
                Mode::Passive => !trial.way.is_active(),
                Mode::Active => trial.way.is_active(),
            };
            wanted && trial.fault.is_none()
        })
    }

    /// Whether a passive or an active data connection works.
    pub fn works_by(&self, active: bool) -> bool {
        self.trials
            .iter()
            .any(|trial| trial.way.is_active() == active && trial.fault.is_none())
    }

    /// Whether all TLS data connections resumed their session; `None` without any.
    pub fn resumes(&self) -> Option<bool> {
        let mut resumed = self.trials.iter().filter_map(|trial| trial.resumed);
        let first = resumed.next()?;
        Some(resumed.fold(first, |all, one| all && one))
    }
}
