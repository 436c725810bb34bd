//! Implements `ftpfs probe`: examines a server and the network path to it.
//!
//! Each test does what a mount does, by the same code over the same connections, one at a time and each within its own deadline.
//! The results are plain values; `commands::probe` turns them into text. What is learned is stored in the profile that mounts
//! use.
//!
//! * `prelogin`: greeting and certificate, before the login
//! * `data_modes`: each of the four data connection modes by itself
//! * `listing`: how a directory is listed, and whether `RETR` starts at the offset of `REST`
//! * `write_test`: what can be written, in a temporary directory
//!
//! # Invariants
//! Only [`Scratch`] writes to the server.

pub(crate) mod data_modes;
pub(crate) mod listing;
pub(crate) mod prelogin;
pub(crate) mod write_test;

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::ftp::client::Client;
use crate::ftp::config::Endpoint;
use crate::ftp::control::Control;
use crate::ftp::data::is_private as is_private_v4;
use crate::ftp::pool::{Lease, Purpose};
use crate::ftp::profile::format::KeptFact;
use crate::ftp::profile::{DataMode, DataModes};
use crate::ftp::protocol::command::Command;
use crate::process::printable::printable_bytes;
use crate::remote::{Ask, Deadline, Error, Remote, Result, Why};

pub use crate::ftp::client::patch_probe::PatchOutcome;
pub use crate::ftp::probe::data_modes::{Fault, Named, Trial};
pub use crate::ftp::probe::listing::{Listed, Restart};
pub use crate::ftp::probe::prelogin::{Encryption, Prelogin, look_before_login};
pub use crate::ftp::probe::write_test::{Scratch, StoredFile, Writing};

/// Time for which a server may still count a closed connection.
const STALE_CONNECTION_TIME: Duration = Duration::from_secs(5);
/// Pause between two logins at a server that is full.
const LOGIN_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Whether a feature works; the error is the cause, in the server's words where there are any.
pub type Answer<T = ()> = std::result::Result<T, String>;

/// A server after login.
#[derive(Debug)]
pub struct Inspection {
    client: Client,
    took: Duration,
    /// Time limit of a login, independent of the test that needs it.
    patience: Duration,
}

/// General information about a server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its answer to `SYST`.
    pub system: Answer<String>,
    /// The lines of its answer to `FEAT`.
    pub features: Vec<String>,
    /// The directory that would be mounted.
    pub directory: String,
    /// Time from the first packet to the end of the login.
    pub took: Duration,
    /// Our address, as the server would have to reach it.
    pub local: Option<String>,
    /// Whether our address is private and the server's is not: there is a NAT in between.
    pub behind_nat: bool,
    /// Whether data connections are encrypted.
    pub protects_data: bool,
}

/// The stored profile of a server.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// The path of its file; `None` without a home directory.
    pub file: Option<String>,
    /// Its facts: `way EPSV`.
    pub facts: Vec<KeptFact>,
}

impl Inspection {
    /// Logs in as a mount does. Retries for some seconds at a server that is full: it may still count a connection of ours that
    /// was closed just before.
    pub fn open(endpoint: Endpoint, deadline: &Deadline) -> Result<Self> {
        let begun = Instant::now();
        loop {
            let since = Instant::now();
            match Client::connect(endpoint.clone(), deadline) {
                Ok(client) => {
                    let took = since.elapsed();
                    return Ok(Self {
                        client,
                        took,
                        patience: deadline.patience(),
                    });
                }
                Err(error)
                    if error.why() == Some(Why::TooMany)
                        && begun.elapsed() < STALE_CONNECTION_TIME =>
                {
                    log::info!("probe: {error}; retrying");
                    thread::sleep(LOGIN_RETRY_INTERVAL);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes all connections at once; operations that use one fail.
    pub fn close(&self) {
        self.client.close();
    }

    /// Stores what was learned for mounts.
    pub fn keep(&self) {
        self.client.pool().keep();
    }

    /// The profile that is stored for mounts.
    pub fn kept(&self) -> Remembered {
        let pool = self.client.pool();
        Remembered {
            file: pool.kept().path().map(|path| path.display().to_string()),
            facts: pool.kept().facts(pool.profile()),
        }
    }

    /// What the server says of itself.
    pub fn server(&self, deadline: &Deadline) -> Result<Server> {
        let mut lease = self.lease(deadline)?;
        let control = lease.control()?;
        let system = control.command(Command::Syst, deadline)?;
        let features = control.command(Command::Feat, deadline)?;
        let remote = control
            .route()
            .ip()
            .filter(|_| !control.route().is_proxied());
        let local = control.local_address().ok();
        let local = local.map(|local| local.ip().to_canonical());
        let inner = features.lines.len().saturating_sub(1);
        let lines = features.lines.iter().take(inner).skip(1);
        Ok(Server {
            system: if system.is_completion() {
                Ok(system.text())
            } else {
                Err(system.to_string())
            },
            features: match features.is_completion() {
                true => lines
                    .map(|line| printable_bytes(line.trim_ascii()))
                    .collect(),
                false => Vec::new(),
            },
            directory: match self.client.root() {
                root if root.is_empty() => "/".to_string(),
                root => printable_bytes(&root),
            },
            took: self.took,
            local: local.map(|local| local.to_string()),
            behind_nat: local.is_some_and(is_private)
                && remote.is_some_and(|remote| !is_private(remote)),
            protects_data: control.protects_data(),
        })
    }

    /// Uses only this mode for data connections from now on; mounts try it first.
    pub fn fix_mode(&self, way: Option<DataMode>) {
        self.client.pool().profile().learn(|learned| {
            learned.data.modes = DataModes {
                works: way,
                is_fixed: way.is_some(),
                ..DataModes::default()
            };
        });
    }

    /// The learned facts about the server's clock: the offset of the times in `LIST` in seconds east of UTC, and whether the
    /// server has `MDTM`.
    pub fn clock(&self) -> (Option<i32>, Option<bool>) {
        let profile = self.client.pool().profile();
        profile.ask(|learned| (learned.attributes.zone, learned.attributes.mdtm.known()))
    }

    /// Whether data connections work with TLS 1.2 only.
    pub fn steps_back(&self) -> bool {
        self.client
            .pool()
            .profile()
            .ask(|learned| learned.data.tls12_only)
    }

    /// The number of connections that the server accepts at once, up to `most`, and its refusal of one more.
    pub fn connections(&self, most: usize, deadline: &Deadline) -> Result<(usize, Option<String>)> {
        let pool = self.client.pool();
        let mut first = self.lease(deadline)?;
        let before = pool.live(deadline);
        let mut more: Vec<(u64, Control)> = Vec::new();
        let mut refusal = None;
        while before + more.len() < most {
            match pool.new_control(false, deadline) {
                Ok((id, control, _)) => more.push((id, control)),
                Err(Error::Closed) => return Err(Error::Closed),
                Err(error) => {
                    refusal = Some(said(&error));
                    break;
                }
            }
        }
        // A server may end older sessions when another one begins.
        let answers = |control: &mut Control| control.command(Command::Noop, deadline).is_ok();
        let mut taken = before;
        if let Some((last, older)) = more.split_last_mut() {
            let first = usize::from(answers(first.control()?));
            let older = older
                .iter_mut()
                .filter_map(|(_, control)| answers(control).then_some(()));
            let alive = first + older.count() + usize::from(answers(&mut last.1));
            if first == 0 {
                refusal = Some("older sessions are ended when another one begins".to_string());
                taken = 0;
            }
            taken += alive - first;
        }
        for (id, _) in &more {
            pool.unregister(*id);
        }
        Ok((taken.max(1), refusal))
    }

    fn lease(&self, deadline: &Deadline) -> Result<Lease> {
        let pool = self.client.pool();
        let mut lease = pool.lease(Purpose::Metadata, false, &caller(deadline))?;
        // A preconnected data connection would hide how one is made.
        drop(lease.take_preconnected());
        Ok(lease)
    }
}

/// Whether an address is private, loopback or link-local.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

fn caller(deadline: &Deadline) -> Ask<'_> {
    Ask::caller(deadline)
}

/// The text of an error: the server's own words, where there are any.
fn said(error: &Error) -> String {
    match error {
        Error::Refused { said, .. } => said.clone(),
        other => other.to_string(),
    }
}
