//! What was found, in plain values.

use crate::cli::source::Source;
use crate::cli::{Mode, Probe, Settings};
use crate::ftp::{Answer, Listed, Prelogin, Remembered, Restart, Server, Trial, Writing};

/// Everything about a server and the way to it, as far as it was looked at.
pub struct Report {
    /// The source, without its password.
    pub source: String,
    /// The options that were given.
    pub settings: Settings,
    /// The words of these options, as typed.
    pub words: Vec<String>,
    /// Why it ended early.
    pub error: Option<String>,
    /// What anybody sees.
    pub prelogin: Option<Prelogin>,
    /// What the server says of itself.
    pub server: Option<Server>,
    /// The ways to data connections, in the order of trying.
    pub trials: Vec<Trial>,
    /// Whether data connections without a resumed session are taken.
    pub resumption: Option<Answer>,
    /// Data connections have to keep to TLS 1.2.
    pub steps_back: bool,
    /// The listing.
    pub listed: Option<Listed>,
    /// Whether reading begins where it is told to.
    pub reading: Option<Restart>,
    /// What writing showed.
    pub writing: Option<Writing>,
    /// What became of the directory for it.
    pub scratch: Option<Place>,
    /// Connections that were taken at once, and what one more was told.
    pub connections: Option<(usize, Option<String>)>,
    /// What is kept for mounts.
    pub kept: Option<Remembered>,
}

/// What became of the directory that was written to.
pub enum Place {
    /// It could not be made.
    NotMade(String),
    /// It was made and removed.
    Removed(String),
    /// It is still there, and why.
    Left(String, String),
}

/// The parts of a report, in their order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Who it is.
    Server,
    /// TLS.
    Encryption,
    /// Data connections.
    Ways,
    /// Listing, reading, writing.
    Files,
    /// How many at once.
    Connections,
    /// What mounts are told.
    Kept,
    /// What to do with all that.
    Mount,
}

impl Report {
    /// A report that holds nothing yet.
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

    /// Whether data connections come about as they were asked for.
    pub fn works(&self) -> bool {
        self.trials.iter().any(|trial| {
            let wanted = match self.settings.mode {
                Mode::Auto => true,
                Mode::Passive => !trial.way.is_active(),
                Mode::Active => trial.way.is_active(),
            };
            wanted && trial.fault.is_none()
        })
    }

    /// Whether a way of that kind works.
    pub fn works_by(&self, active: bool) -> bool {
        self.trials
            .iter()
            .any(|trial| trial.way.is_active() == active && trial.fault.is_none())
    }

    /// Whether all TLS data connections resumed their session; `None` where there were none.
    pub fn resumes(&self) -> Option<bool> {
        let mut resumed = self.trials.iter().filter_map(|trial| trial.resumed);
        let first = resumed.next()?;
        Some(resumed.fold(first, |all, one| all && one))
    }
}
