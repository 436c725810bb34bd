//! Preconnects: makes the data connection of the next transfer when one has ended.
//!
//! `EPSV` and the TCP handshake cost two round trips, and neither depends on what is transferred. With both done ahead
//! the next transfer costs one round trip; so does the first one of a mount, where the profile says how data
//! connections are made. It is passive only, and in clear until a transfer has started over it. Servers and NAT boxes
//! may drop it, so that a transfer must be ready to continue without it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::control::Control;
use crate::ftp::data::{Attempt, LeadingCommands, Policy, passive};
use crate::ftp::net::stream::{Stream, blame};
use crate::ftp::profile::{DataMode, Learned, Profile};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Result};

/// A data connection for the next transfer of its control connection.
#[derive(Debug)]
pub struct Preconnected {
    way: DataMode,
    stream: Stream,
    made: Instant,
    /// The directory in which we were then; see [`Control::directory`].
    made_in: Option<Arc<[u8]>>,
}

/// How long it is kept: it holds one of the server's passive ports, and servers wait for a transfer
/// for some ten seconds at least (vsftpd's `accept_timeout` is 60 s, Pure-FTPd's and ProFTPD's more).
const SPARE_LIFE: Duration = Duration::from_secs(10);
/// Transfers over preconnected data connections that make up for one that failed: a long mount over an unstable line has some.
const MISFIRE_WEIGHT: u32 = 32;
/// Debt from which on none is made any more.
const DEBT_LIMIT: u32 = 3 * MISFIRE_WEIGHT;
/// Debt that is never paid.
const NO_PRECONNECTING: u32 = u32::MAX / 2;
/// How often in a row the same passive port is named before it counts as the only one: of three ports, one in 27 times by chance.
const SAME_PORT_LIMIT: u32 = 4;

impl Preconnected {
    /// Whether preconnected data connections can be made to this server.
    pub fn is_possible(profile: &Profile) -> bool {
        profile.ask(|learned| {
            let passive = learned
                .data
                .modes
                .likely()
                .is_some_and(|way| !way.is_active());
            // One that is left behind by a session that has ended may be taken for that of the next one.
            let is_safe = !learned.data.needs_pret && !learned.one_session;
            passive && is_safe && learned.this_mount.preconnect_debt < DEBT_LIMIT
        })
    }

    /// Starts to make one: the TCP handshake continues after this returns.
    pub fn make(
        control: &mut Control,
        profile: &Profile,
        policy: &Policy,
        deadline: &Deadline,
    ) -> Result<Option<Self>> {
        let Some(way) = profile.ask(|learned| learned.data.modes.likely()) else {
            return Ok(None);
        };
        let (mut leading, what) = (LeadingCommands::new(&[], false), Command::Noop);
        let port = passive::listen(control, profile, policy, way, what, &mut leading, deadline)?;
        let stream = port.begin(control, deadline)?;
        Ok(Some(Self::over(way, stream, control)))
    }

    /// A data connection that was made just now and carries nothing yet.
    pub fn over(way: DataMode, stream: Stream, control: &Control) -> Self {
        Self {
            way,
            stream,
            made: Instant::now(),
            made_in: control.directory().cloned(),
        }
    }

    /// The command that asks for one, where one can be made.
    pub fn command(profile: &Profile) -> Option<Command<'static>> {
        let way = profile.ask(|learned| learned.data.modes.likely());
        way.filter(|_| Self::is_possible(profile))
            .map(passive::command)
    }

    /// The command that asks for one after the end of a transfer's data, before the final reply.
    pub fn early(profile: &Profile) -> Option<Command<'static>> {
        Self::command(profile).filter(|_| !profile.ask(|learned| learned.data.late_preconnect))
    }

    /// One from the reply to [`Self::command`].
    pub fn of_reply(
        reply: &Reply,
        control: &mut Control,
        profile: &Profile,
        policy: &Policy,
        deadline: &Deadline,
    ) -> Result<Option<Self>> {
        let Some(way) = profile.ask(|learned| learned.data.modes.likely()) else {
            return Ok(None);
        };
        let port = passive::port_in(reply, passive::command(way), control, profile, policy)?;
        let stream = port.begin(control, deadline)?;
        Ok(Some(Self::over(way, stream, control)))
    }

    /// The result of an attempt to make one: a failed one is remembered, and is no error.
    pub fn if_made(made: Result<Option<Self>>, profile: &Profile) -> Option<Self> {
        made.unwrap_or_else(|error| {
            log::debug!("no preconnected data connection: {error}");
            Self::note_misfire(profile);
            None
        })
    }

    /// The directory in which we were when it was made; `None` where the login had left us.
    pub fn made_in(&self) -> Option<&[u8]> {
        self.made_in.as_deref()
    }

    /// Whether it is to be given up.
    pub fn is_old(&self) -> bool {
        Instant::now() >= self.ages_at()
    }

    /// When it is to be given up.
    pub fn ages_at(&self) -> Instant {
        self.made + SPARE_LIFE
    }

    /// Whether a transfer may be tried over it: it is young, and has not ended.
    pub fn is_good(&mut self, profile: &Profile) -> bool {
        !self.is_old()
            && profile.ask(|learned| learned.data.modes.likely()) == Some(self.way)
            && !self.stream.has_news()
    }

    /// A transfer begins over it: so its way works.
    pub fn attempt(&self, profile: &Profile) -> Attempt {
        let known = profile.ask(|learned| learned.data.modes.works) == Some(self.way);
        Attempt {
            way: self.way,
            known,
        }
    }

    /// The connection, once TCP's handshake is done.
    pub fn into_stream(self, deadline: &Deadline) -> Result<Stream> {
        let there = self.stream.established(deadline);
        there.map_err(|error| blame("preconnecting", &error))?;
        Ok(self.stream)
    }

    /// A transfer has begun over one.
    pub fn note_success(profile: &Profile) {
        if profile.ask(|learned| learned.this_mount.preconnect_debt > 0) {
            profile.learn(|learned| {
                learned.this_mount.preconnect_debt =
                    learned.this_mount.preconnect_debt.saturating_sub(1)
            });
        }
    }

    /// The server has named a passive port. Where it is always the same one, a data connection that waits for a transfer
    /// keeps all other clients from making one (vsftpd ends their sessions: "500 OOPS: vsf_sysutil_bind").
    pub fn note_port(profile: &Profile, port: u16) {
        let same = |learned: &Learned| learned.this_mount.starts.port == port;
        if !profile.ask(same) {
            profile.learn(|learned| {
                let starts = &mut learned.this_mount.starts;
                (starts.port, starts.same_port) = (port, 1);
            });
            return;
        }
        if profile.ask(|learned| learned.this_mount.starts.same_port) >= SAME_PORT_LIMIT {
            return;
        }
        profile.learn(|learned| {
            let this_mount = &mut learned.this_mount;
            this_mount.starts.same_port += 1;
            if this_mount.starts.same_port >= SAME_PORT_LIMIT {
                log::info!(
                    "data: the server has one passive port ({port}): preconnecting disabled"
                );
                this_mount.preconnect_debt = NO_PRECONNECTING;
            }
        });
    }

    /// A transfer could not begin over one.
    pub fn note_misfire(profile: &Profile) {
        profile.learn(|learned| {
            let before = learned.this_mount.preconnect_debt;
            learned.this_mount.preconnect_debt += MISFIRE_WEIGHT;
            if before < DEBT_LIMIT && learned.this_mount.preconnect_debt >= DEBT_LIMIT {
                log::info!("data: the server drops idle data connections: preconnecting disabled");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misfires_are_forgiven_after_many_successes() {
        let profile = Profile::default();
        profile.learn(|learned| learned.data.modes.works = Some(DataMode::Epsv));
        for _ in 0..10 {
            Preconnected::note_misfire(&profile);
            Preconnected::note_misfire(&profile);
            assert!(Preconnected::is_possible(&profile));
            for _ in 0..2 * MISFIRE_WEIGHT {
                Preconnected::note_success(&profile);
            }
        }
        for _ in 0..3 {
            assert!(Preconnected::is_possible(&profile));
            Preconnected::note_misfire(&profile);
        }
        assert!(!Preconnected::is_possible(&profile));
    }
}
