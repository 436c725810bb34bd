//! Tests each of the four data connection modes (EPSV, PASV, EPRT, PORT) by itself.
//!
//! A mode is tested by listing the directory over it, as a mount would, and only over it. Failures are classified by where they
//! occurred: the command was refused, the port could not be reached, the server did not connect to us, or TLS failed on an
//! established connection.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::ftp::control::blame;
use crate::ftp::data::is_private;
use crate::ftp::pool::Lease;
use crate::ftp::profile::DataMode;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::data_address::passive_address;
use crate::ftp::transfer::listing_stream::is_empty_directory;
use crate::ftp::transfer::replies::{last_words, read_final_reply};
use crate::ftp::transfer::start::{TransferRequest, begin};
use crate::remote::{Deadline, Error, RemotePath, Result};

use crate::ftp::probe::{Answer, Inspection, said};

/// Bytes of a listing after which a test ends.
const SUFFICIENT_BYTES: usize = 64 * 1024;

/// The result of testing one mode.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The mode.
    pub way: DataMode,
    /// Time from the command to the first line of a listing, or to the failure.
    pub took: Duration,
    /// The address in the reply to `PASV`, right or wrong.
    pub named: Option<Named>,
    /// Whether the TLS session was resumed; `None` without TLS.
    pub resumed: Option<bool>,
    /// The failure, if any.
    pub fault: Option<Fault>,
}

/// The address in a reply to `PASV`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The address.
    pub address: String,
    /// Whether it differs from the address of the control connection.
    pub is_another: bool,
    /// Whether it is a private address.
    pub is_private: bool,
}

/// How a mode failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server refuses the command.
    Refused(String),
    /// Passive: the port refuses the connection.
    Closed(String),
    /// Passive: no answer from the port.
    Filtered(String),
    /// Active: the server did not connect; with its reply, if any.
    Unreached(Option<String>),
    /// The data connection was established, but TLS failed.
    Unencrypted(String),
    /// The mode cannot be tested here.
    Barred(String),
    /// Another failure.
    Other(String),
}

impl Inspection {
    /// Tests a mode. An error is one of the control connection, which proves nothing about the mode.
    pub fn try_way(&self, way: DataMode, patience: Duration) -> Result<Trial> {
        let profile = self.client.pool().profile();
        let named = match way {
            DataMode::Pasv => self.named_address(&Deadline::after(patience))?,
            _ => None,
        };
        let manner = || {
            profile.ask(|learned| {
                (
                    learned.data.tls12_only,
                    learned.data.active_pipelining,
                    learned.pipelining.commands,
                )
            })
        };
        let mut before = manner();
        let mut trial = self.try_once(way, patience)?;
        while trial.fault.is_some() && manner() != before {
            // The profile has learned to use TLS 1.2, or no pipelining, as it would in a mount.
            before = manner();
            trial = self.try_once(way, patience)?;
        }
        Ok(Trial { named, ..trial })
    }

    fn try_once(&self, way: DataMode, patience: Duration) -> Result<Trial> {
        self.fix_mode(Some(way));
        let mut lease = self.lease(&Deadline::after(self.patience))?;
        let deadline = Deadline::after(patience);
        let tally = |lease: &mut Lease| {
            let session = lease.control().ok().and_then(|control| control.session());
            session.map_or((0, 0), |session| session.tally())
        };
        let before = tally(&mut lease);
        let since = Instant::now();
        let carried = self.carry(&mut lease, &deadline);
        let took = *carried.as_ref().unwrap_or(&since.elapsed());
        let after = tally(&mut lease);
        let resumed = (after != before).then_some(after.0 > before.0);
        let fault = match carried {
            Ok(_) => None,
            Err(Error::Closed) => return Err(Error::Closed),
            Err(error) => Some(fault(way, error, after != before)),
        };
        Ok(Trial {
            way,
            took,
            named: None,
            resumed,
            fault,
        })
    }

    /// Starts a listing and receives enough of it to prove that the data connection works; returns the time to the first bytes.
    fn carry(&self, lease: &mut Lease, deadline: &Deadline) -> Result<Duration> {
        let command = Command::List("");
        let directory = self.client.pool().root().absolute(&RemotePath::root())?;
        let start = TransferRequest {
            leading: &[Command::Cwd(&directory)],
            is_strict: true,
            ..TransferRequest::of(command)
        };
        let since = Instant::now();
        let begun = match begin(lease, start, deadline) {
            Err(error) if is_empty_directory(&error, command) => return Ok(since.elapsed()),
            begun => begun?,
        };
        let mut took = None;
        if let Some(mut data) = begun.data {
            let mut buffer = [0; 4096];
            let mut total = 0;
            loop {
                match data.read(&mut buffer, deadline) {
                    Ok(0) => break,
                    Ok(length) => total += length,
                    Err(error) => {
                        drop(data);
                        let error = blame(command.to_string(), &error);
                        return Err(last_words(lease, &command).unwrap_or(error));
                    }
                }
                let took = *took.get_or_insert_with(|| since.elapsed());
                if total > SUFFICIENT_BYTES {
                    lease.control()?.give_up();
                    return Ok(took);
                }
            }
            data.end();
        }
        let took = took.unwrap_or_else(|| since.elapsed());
        if !begun.confirmed {
            let reply = lease.control()?.reply(&command, deadline)?;
            match read_final_reply(lease, &reply, &command) {
                Err(error) if is_empty_directory(&error, command) => {}
                result => result?,
            }
        }
        Ok(took)
    }

    /// The address in the reply to `PASV`.
    fn named_address(&self, deadline: &Deadline) -> Result<Option<Named>> {
        let mut lease = self.lease(deadline)?;
        let control = lease.control()?;
        let reply = control.command(Command::Pasv, deadline)?;
        let named = passive_address(&reply).filter(|_| reply.is_completion());
        let peer = control.route().ip();
        Ok(named.map(|(address, _)| Named {
            address: address.to_string(),
            is_another: peer.is_some_and(|peer| peer != IpAddr::from(address)),
            is_private: is_private(address),
        }))
    }

    /// Whether the server accepts data connections that do not resume the TLS session, or its refusal. `None` without TLS on
    /// data connections. Uses a mode that works.
    pub fn demands_resumption(&self, patience: Duration) -> Result<Option<Answer>> {
        let deadline = Deadline::after(patience);
        let profile = self.client.pool().profile();
        let before = profile.ask(|learned| learned.data.tls12_only);
        let mut lease = self.lease(&deadline)?;
        let control = lease.control()?;
        if !control.protects_data() {
            return Ok(None);
        }
        let Some(session) = control.session() else {
            return Ok(None);
        };
        session.forget();
        let carried = self.carry(&mut lease, &deadline);
        lease.control()?.give_up();
        // The refusal was provoked by this test.
        profile.learn(|learned| learned.data.tls12_only = before);
        match carried {
            Ok(_) => Ok(Some(Ok(()))),
            Err(Error::Closed) => Err(Error::Closed),
            Err(error @ Error::TimedOut { .. }) => Err(error),
            Err(error) => Ok(Some(Err(said(&error)))),
        }
    }
}

/// Classifies a failure by the step at which it occurred. `shook_hands` means that the TLS handshake was reached.
fn fault(way: DataMode, error: Error, shook_hands: bool) -> Fault {
    let is_connecting = |tried: &str| tried.contains("connecting to");
    let place = |tried: &str| {
        let place = tried.rsplit("connecting to ").next();
        place.unwrap_or_default().to_string()
    };
    match error {
        Error::TimedOut { tried } if !way.is_active() && is_connecting(&tried) => {
            Fault::Filtered(place(&tried))
        }
        Error::Lost { tried, cause, .. } if !way.is_active() && is_connecting(&tried) => {
            Fault::Closed(format!("{}: {cause}", place(&tried)))
        }
        Error::Refused { tried, said, .. } if tried.starts_with(&way.to_string()) => {
            Fault::Refused(said)
        }
        // Servers without the command refuse only the transfer: "Use PORT or PASV first."
        Error::Refused { said, .. } if said.to_ascii_uppercase().contains("PASV") => {
            Fault::Refused(said)
        }
        Error::Barred { tried, cause } if tried.contains("encrypting") => Fault::Unencrypted(cause),
        Error::Barred { cause, .. } => Fault::Barred(cause),
        error if shook_hands => Fault::Unencrypted(said(&error)),
        Error::TimedOut { .. } if way.is_active() => Fault::Unreached(None),
        Error::Lost { cause, .. } if way.is_active() => Fault::Unreached(Some(cause)),
        error => Fault::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Why;

    #[test]
    fn failure_is_classified_by_its_step() {
        let connecting = "EPSV: connecting to 192.0.2.1:50000";
        let lost = |tried: &str| Error::lost(tried, "Connection refused");
        for (way, error, expected) in [
            (
                DataMode::Epsv,
                Error::timed_out(connecting),
                Fault::Filtered("192.0.2.1:50000".into()),
            ),
            (
                DataMode::Epsv,
                lost(connecting),
                Fault::Closed("192.0.2.1:50000: Connection refused".into()),
            ),
            (
                DataMode::Pasv,
                Error::refused(Why::Unsupported, "PASV", "502 No"),
                Fault::Refused("502 No".into()),
            ),
            (
                DataMode::Port,
                Error::refused(Why::Unsaid, "PORT 127,0,0,1,1,1", "500 Illegal PORT"),
                Fault::Refused("500 Illegal PORT".into()),
            ),
            (
                DataMode::Eprt,
                Error::timed_out("LIST"),
                Fault::Unreached(None),
            ),
            (
                DataMode::Eprt,
                Error::lost("LIST", "425 Can't connect"),
                Fault::Unreached(Some("425 Can't connect".into())),
            ),
        ] {
            assert_eq!(fault(way, error, false), expected);
        }
    }
}
