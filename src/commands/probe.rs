//! `ftpfs probe SOURCE`: looks at a server, says what it found, and how to mount it.
//!
//! The one idea: one thing after the other, each within a deadline of its own, into a [`Report`] of plain
//! values; every section is shown as soon as it is whole. What the report means in words, in JSON and in
//! options is made from it in `probe/`.
//!
//! Invariants: nothing is written to the server without `--write`, and then only inside a directory that
//! is made for it and always removed: after a signal too, by a connection of its own.

pub(crate) mod json;
pub(crate) mod recommend;
pub(crate) mod report;
pub(crate) mod text;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cli::endpoint as server;
use crate::cli::source::Source;
use crate::cli::{Mode, Probe};
use crate::commands::probe::report::{Place, Report, Section};
use crate::ftp;
use crate::ftp::{Endpoint, Inspection, Scratch, Way};
use crate::process::daemon::Signals;
use crate::process::logging;
use crate::process::logging::Amount;
use crate::process::printable::printable;
use crate::remote::{Deadline, Error, Result};

/// The server can be mounted as it was asked for.
const FINE: u8 = 0;
/// It can't be reached, or does not let us in; or the command line is wrong.
const FAILED: u8 = 1;
/// It lets us in, and no data connection works as it was asked for.
const NO_DATA: u8 = 2;
/// The directory that was written to could not be removed.
const LEFT_BEHIND: u8 = 3;
/// A signal ended it.
const INTERRUPTED: u8 = 130;

/// How long one way to a data connection may take: longer than TCP needs to ask three times.
const WAY_PATIENCE: Duration = Duration::from_secs(10);
/// How long removing our directory may take at the end.
const REMOVE_PATIENCE: Duration = Duration::from_secs(15);
/// All together: so many times the patience of one operation.
const ALL_STEPS: u32 = 20;

/// Runs `ftpfs probe`.
pub fn run(probe: &Probe) -> ExitCode {
    logging::start(match probe.settings.debug {
        true => Amount::Everything,
        false => Amount::Warnings,
    });
    let prepared = prepare(probe);
    let (source, endpoint, signals) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("ftpfs: {}", printable(&error));
            return ExitCode::from(FAILED);
        }
    };
    let timeout = probe.settings.timeout;
    let stop = Arc::new(Stop::default());
    let watched = stop.watch(signals, timeout * ALL_STEPS);
    if let Err(error) = watched {
        eprintln!("ftpfs: no thread can be started for signals: {error}");
        return ExitCode::from(FAILED);
    }
    let mut looking = Looking {
        probe,
        endpoint,
        stop,
        report: Report::new(&source, probe),
    };
    let outcome = looking.look();
    let status = looking.status(&outcome);
    looking.end(outcome);
    ExitCode::from(status)
}

/// Prints to whoever still reads: one who has hung up has read enough.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn prepare(probe: &Probe) -> std::result::Result<(Source, Endpoint, Signals), String> {
    let source = Source::parse(&probe.settings.source.0)?;
    let endpoint = server::endpoint(&probe.settings, &source)?;
    Ok((source, endpoint, Signals::block()?))
}

/// What ends it before its time.
#[derive(Default)]
struct Stop {
    stopped: AtomicBool,
    late: AtomicBool,
    connections: Mutex<Option<Arc<Inspection>>>,
}

impl Stop {
    /// Ends everything at a signal, or when it takes longer than `patience`.
    fn watch(self: &Arc<Self>, signals: Signals, patience: Duration) -> std::io::Result<()> {
        let stop = Arc::clone(self);
        let named = |name: &str| thread::Builder::new().name(name.into());
        named("signals").spawn(move || {
            signals.wait();
            stop.end();
            // The second one does not wait until our directory is removed.
            signals.wait();
            std::process::exit(i32::from(INTERRUPTED));
        })?;
        let stop = Arc::clone(self);
        named("patience").spawn(move || {
            thread::sleep(patience);
            stop.late.store(true, Ordering::Release);
            stop.end();
        })?;
        Ok(())
    }

    fn end(&self) {
        self.stopped.store(true, Ordering::Release);
        match self.connections.lock().as_ref() {
            Some(inspection) => inspection.close(),
            // Nobody is logged in yet: nothing is to be cleaned up.
            None => std::process::exit(i32::from(INTERRUPTED)),
        }
    }

    /// Takes note of the connections that are to be cut; none may be used if it is too late.
    fn guard(&self, inspection: &Arc<Inspection>) -> Result<()> {
        *self.connections.lock() = Some(Arc::clone(inspection));
        match self.stopped.load(Ordering::Acquire) {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }
}

struct Looking<'a> {
    probe: &'a Probe,
    endpoint: Endpoint,
    stop: Arc<Stop>,
    report: Report,
}

impl Looking<'_> {
    /// Fills the report; an error is why it ends early.
    fn look(&mut self) -> Result<()> {
        let timeout = self.probe.settings.timeout;
        let deadline = || Deadline::after(timeout);
        self.report.prelogin = Some(ftp::look_before_login(&self.endpoint, &deadline())?);
        let inspection = Inspection::open(self.endpoint.clone(), &deadline());
        let inspection = match inspection {
            Ok(inspection) => Arc::new(inspection),
            Err(error) => {
                self.show(Section::Server);
                self.show(Section::Encryption);
                return Err(error);
            }
        };
        self.stop.guard(&inspection)?;
        self.report.server = Some(inspection.server(&deadline())?);
        self.show(Section::Server);

        self.ways(&inspection)?;
        let patience = timeout.min(WAY_PATIENCE);
        if self.report.works() {
            self.report.resumption = match inspection.demands_resumption(patience) {
                Err(Error::Closed) => return Err(Error::Closed),
                // A server that says nothing at all to it has not answered the question.
                answer => answer.ok().flatten(),
            };
        }
        self.report.steps_back = inspection.steps_back();
        self.show(Section::Encryption);
        self.show(Section::Ways);

        if self.report.works() {
            let listed = inspection.listed(&deadline())?;
            self.report.reading = inspection.reading(&listed.samples, &deadline())?;
            self.report.listed = Some(listed);
            if self.probe.write {
                self.write(&inspection)?;
            }
        }
        self.show(Section::Files);
        let most = self.endpoint.max_conns;
        self.report.connections = Some(inspection.connections(most, &deadline())?);
        self.show(Section::Connections);
        inspection.keep();
        self.report.kept = Some(inspection.kept());
        self.show(Section::Kept);
        inspection.close();
        Ok(())
    }

    fn ways(&mut self, inspection: &Inspection) -> Result<()> {
        let patience = self.probe.settings.timeout.min(WAY_PATIENCE);
        for way in [Way::Epsv, Way::Pasv, Way::Eprt, Way::Port] {
            let trial = inspection.try_way(way, patience)?;
            self.report.trials.push(trial);
        }
        // From here on, and in the next mount, by what was seen to work.
        let best = self.report.trials.iter().find(|trial| {
            let wanted = match self.probe.settings.mode {
                Mode::Auto => true,
                Mode::Passive => !trial.way.is_active(),
                Mode::Active => trial.way.is_active(),
            };
            wanted && trial.fault.is_none()
        });
        inspection.settle(best.map(|trial| trial.way));
        Ok(())
    }

    /// Tries writing in a directory of ours, and removes that, whatever happens.
    fn write(&mut self, inspection: &Inspection) -> Result<()> {
        let timeout = self.probe.settings.timeout;
        let deadline = || Deadline::after(timeout);
        let Some(scratch) = Scratch::new() else {
            return Ok(());
        };
        let place = scratch.shown();
        match scratch.make(inspection, &deadline()) {
            Err(Error::Closed) => {
                // It may have been made before the connection went.
                let _ = self.remove_anew(&scratch);
                return Err(Error::Closed);
            }
            Err(error) => {
                self.report.scratch = Some(Place::NotMade(error.to_string()));
                return Ok(());
            }
            Ok(()) => {}
        }
        let written = scratch.explore(inspection, &deadline());
        let removed = scratch
            .remove(inspection, &Deadline::after(REMOVE_PATIENCE))
            .or_else(|_| self.remove_anew(&scratch));
        self.report.scratch = Some(match removed {
            Ok(()) => Place::Removed(place),
            Err(error) => Place::Left(place, error.to_string()),
        });
        self.report.writing = Some(written?);
        if let Some(listed) = &mut self.report.listed {
            (listed.zone, listed.mdtm) = inspection.clock();
        }
        Ok(())
    }

    /// Removes our directory by a connection of its own.
    fn remove_anew(&self, scratch: &Scratch) -> Result<()> {
        let deadline = Deadline::after(REMOVE_PATIENCE);
        let inspection = Inspection::open(self.endpoint.clone(), &deadline)?;
        scratch.remove(&inspection, &deadline)
    }

    fn show(&self, section: Section) {
        if !self.probe.json {
            say(&text::section(&self.report, section));
        }
    }

    fn status(&self, outcome: &Result<()>) -> u8 {
        let left = matches!(self.report.scratch, Some(Place::Left(..)));
        match outcome {
            _ if left => LEFT_BEHIND,
            Err(Error::Closed) => INTERRUPTED,
            Err(_) => FAILED,
            Ok(()) if !self.report.works() => NO_DATA,
            Ok(()) => FINE,
        }
    }

    /// Says what is left to say.
    fn end(mut self, outcome: Result<()>) {
        if let Err(error) = outcome {
            let why = match error {
                Error::Closed if self.stop.late.load(Ordering::Acquire) => {
                    "it took too long; what is shown is what was found".to_string()
                }
                Error::Closed => "interrupted".to_string(),
                error => {
                    let user = &self.endpoint.login.user;
                    server::explain(&self.endpoint.place(), user, &error)
                }
            };
            self.report.error = Some(why);
        }
        if self.probe.json {
            say(&format!("{}\n", json::shown(&self.report)));
            return;
        }
        self.show(Section::Mount);
        if let Some(error) = &self.report.error {
            eprintln!("ftpfs: {}", printable(error));
        }
    }
}
