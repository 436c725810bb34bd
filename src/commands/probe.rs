//! Runs `ftpfs probe SOURCE`: probes a server, reports the results, and recommends mount options.
//!
//! The checks run in turn, each with its own deadline, and fill a `Report` of plain values; a section
//! is printed as soon as it is complete.
//!
//! ```text
//! report     defines the report
//! text       formats it for people
//! json       writes it in JSON
//! recommend  recommends how to mount the server
//! ```
//!
//! Invariants: nothing is written to the server without `--write`, and then only in a scratch directory
//! that is always removed: after a signal too, on a new connection.

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

use crate::cli::endpoint;
use crate::cli::source::Source;
use crate::cli::{Mode, Probe};
use crate::commands::mount_errors::explain_connect_error;
use crate::commands::probe::report::{Place, Report, Section};
use crate::ftp;
use crate::ftp::{DataMode, Endpoint, Inspection, Scratch};
use crate::process::daemon::Signals;
use crate::process::logging;
use crate::process::printable::printable;
use crate::process::thread::spawn_thread;
use crate::remote::{Deadline, Error, Result, Why};

/// The server can be mounted with these options.
const FINE: u8 = 0;
/// The server can't be reached or refuses the login; or the command line is wrong.
const FAILED: u8 = 1;
/// The login works, but no data connection with these options.
const NO_DATA: u8 = 2;
/// The scratch directory could not be removed.
const LEFT_BEHIND: u8 = 3;
/// Ended by a signal.
const INTERRUPTED: u8 = 130;

/// Timeout of a data connection: long enough for three SYNs of TCP.
const DATA_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of removing the scratch directory.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of the whole probe, in timeouts of one operation.
const TOTAL_TIMEOUTS: u32 = 20;

/// Runs `ftpfs probe`.
pub fn run(probe: &Probe) -> ExitCode {
    let log_file = probe.settings.command.log_file.as_deref();
    let prepared =
        logging::start(probe.settings.command.logged, log_file).and_then(|()| prepare(probe));
    let (source, endpoint, signals) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("ftpfs: {}", printable(&error));
            return ExitCode::from(FAILED);
        }
    };
    let timeout = probe.settings.server.timeout;
    let stop = Arc::new(Stop::default());
    let watched = stop.watch(signals, timeout * TOTAL_TIMEOUTS);
    if let Err(error) = watched {
        eprintln!("ftpfs: no thread can be started for signals: {error}");
        return ExitCode::from(FAILED);
    }
    let mut run = Run {
        probe,
        endpoint,
        stop,
        report: Report::new(&source, probe),
    };
    let outcome = run.fill_report();
    let status = run.exit_status(&outcome);
    run.finish(outcome);
    ExitCode::from(status)
}

/// Prints; a closed pipe is no failure.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn prepare(probe: &Probe) -> std::result::Result<(Source, Endpoint, Signals), String> {
    let source = Source::of(&probe.settings)?;
    let endpoint = endpoint::endpoint(&probe.settings, &source)?;
    Ok((source, endpoint, Signals::block()?))
}

/// Ends the probe early: on a signal or after its timeout.
#[derive(Default)]
struct Stop {
    stopped: AtomicBool,
    late: AtomicBool,
    connections: Mutex<Option<Arc<Inspection>>>,
}

impl Stop {
    /// Starts the threads that end the probe on a signal or after `timeout`.
    fn watch(self: &Arc<Self>, signals: Signals, timeout: Duration) -> std::io::Result<()> {
        let stop = Arc::clone(self);
        spawn_thread("signals", move || {
            signals.wait();
            stop.end();
            // The second signal does not wait until the scratch directory is removed.
            signals.wait();
            std::process::exit(i32::from(INTERRUPTED));
        })?;
        let stop = Arc::clone(self);
        spawn_thread("timeout", move || {
            thread::sleep(timeout);
            stop.late.store(true, Ordering::Release);
            stop.end();
        })
    }

    fn end(&self) {
        self.stopped.store(true, Ordering::Release);
        match self.connections.lock().as_ref() {
            Some(inspection) => inspection.close(),
            // Not logged in yet: there is nothing to clean up.
            None => std::process::exit(i32::from(INTERRUPTED)),
        }
    }

    /// Registers the connections to close; an error if the probe has been ended already.
    fn guard(&self, inspection: &Arc<Inspection>) -> Result<()> {
        *self.connections.lock() = Some(Arc::clone(inspection));
        match self.stopped.load(Ordering::Acquire) {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }
}

struct Run<'a> {
    probe: &'a Probe,
    endpoint: Endpoint,
    stop: Arc<Stop>,
    report: Report,
}

impl Run<'_> {
    /// Fills the report; an error if it ends early.
    fn fill_report(&mut self) -> Result<()> {
        let timeout = self.probe.settings.server.timeout;
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

        self.try_data_connections(&inspection)?;
        let patience = timeout.min(DATA_TIMEOUT);
        if self.report.works() {
            self.report.resumption = match inspection.demands_resumption(patience) {
                Err(Error::Closed) => return Err(Error::Closed),
                // Without any reply the question is open.
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
                self.try_writing(&inspection)?;
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

    fn try_data_connections(&mut self, inspection: &Inspection) -> Result<()> {
        let patience = self.probe.settings.server.timeout.min(DATA_TIMEOUT);
        for way in [
            DataMode::Epsv,
            DataMode::Pasv,
            DataMode::Eprt,
            DataMode::Port,
        ] {
            let trial = inspection.try_way(way, patience)?;
            self.report.trials.push(trial);
        }
        // From here on, and in the next mount, with the mode that works.
        let best = self.report.trials.iter().find(|trial| {
            let wanted = match self.probe.settings.network.mode {
                Mode::Auto => true,
                Mode::Passive => !trial.way.is_active(),
                Mode::Active => trial.way.is_active(),
            };
            wanted && trial.fault.is_none()
        });
        inspection.fix_mode(best.map(|trial| trial.way));
        Ok(())
    }

    /// Probes writing in a scratch directory, and removes it in any case.
    fn try_writing(&mut self, inspection: &Inspection) -> Result<()> {
        let timeout = self.probe.settings.server.timeout;
        let deadline = || Deadline::after(timeout);
        let Some(scratch) = Scratch::new() else {
            return Ok(());
        };
        let place = scratch.shown();
        let mut refusal = None;
        let scratch = match scratch.make(inspection, &deadline()) {
            Err(Error::Closed) => {
                // It may have been created before the connection was lost.
                let _ = self.remove_on_new_connection(&scratch);
                return Err(Error::Closed);
            }
            Err(error) if !matches!(error.why(), Some(Why::Unsupported | Why::Unsaid)) => {
                self.report.scratch = Some(Place::NotMade(error.to_string()));
                return Ok(());
            }
            // A server without directories may take files.
            Err(error) => {
                refusal = Some(error.to_string());
                scratch.without_directory()
            }
            Ok(()) => scratch,
        };
        let written = scratch.explore(inspection, &deadline());
        if let (Some(refusal), Ok(writing)) = (&refusal, &written)
            && writing.store.is_err()
        {
            self.report.scratch = Some(Place::NotMade(refusal.clone()));
            return Ok(());
        }
        let removed = scratch
            .remove(inspection, &Deadline::after(REMOVE_TIMEOUT))
            .or_else(|_| self.remove_on_new_connection(&scratch));
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

    /// Removes the scratch directory on a new connection.
    fn remove_on_new_connection(&self, scratch: &Scratch) -> Result<()> {
        let deadline = Deadline::after(REMOVE_TIMEOUT);
        let inspection = Inspection::open(self.endpoint.clone(), &deadline)?;
        scratch.remove(&inspection, &deadline)
    }

    fn show(&self, section: Section) {
        if !self.probe.json {
            print(&text::section(&self.report, section));
        }
    }

    fn exit_status(&self, outcome: &Result<()>) -> u8 {
        let left = matches!(self.report.scratch, Some(Place::Left(..)));
        match outcome {
            _ if left => LEFT_BEHIND,
            Err(Error::Closed) => INTERRUPTED,
            Err(_) => FAILED,
            Ok(()) if !self.report.works() => NO_DATA,
            Ok(()) => FINE,
        }
    }

    /// Prints the rest of the report.
    fn finish(mut self, outcome: Result<()>) {
        if let Err(error) = outcome {
            let why = match error {
                Error::Closed if self.stop.late.load(Ordering::Acquire) => {
                    "the probe took too long; the report is incomplete".to_string()
                }
                Error::Closed => "interrupted".to_string(),
                error => {
                    let user = &self.endpoint.login.user;
                    explain_connect_error(&self.endpoint.authority(), user, &error)
                }
            };
            self.report.error = Some(why);
        }
        if self.probe.json {
            print(&format!("{}\n", json::to_text(&self.report)));
            return;
        }
        self.show(Section::Mount);
        if let Some(error) = &self.report.error {
            eprintln!("ftpfs: {}", printable(error));
        }
    }
}
