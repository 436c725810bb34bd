//! Implements leases: waiting for a connection, and giving it back.
//!
//! Callers get what becomes free by urgency, and wait no longer than their deadline, which is extended while the
//! holders of connections move bytes. A connection that is given back out of step is dropped, and one that carried a
//! transfer gets a preconnected data connection before it is idle again.
//!
//! # Lock order
//!
//! As in `pool.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use crate::ftp::control::Control;
use crate::ftp::data::Preconnected;
use crate::ftp::pool::connector::{GROWING_PATIENCE, learn_pipelining};
use crate::ftp::pool::wait_queue::{Idle, Next, PoolState, Purpose};
use crate::ftp::pool::{Pool, WAIT_CHECK_INTERVAL};
use crate::ftp::profile::Support;
use crate::remote::{Ask, Deadline, Error, Result, Urgency};

/// How long prefetching waits for a connection: it may hold what other callers come to need.
const AHEAD_PATIENCE: Duration = Duration::from_millis(100);

/// A control connection that is ours until this is dropped.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Pool>,
    id: u64,
    /// What it counts as, one or none.
    transfers: usize,
    ahead: usize,
    control: Option<Control>,
    preconnected: Option<Preconnected>,
    wants_preconnected: bool,
    /// The last transfer began over a preconnected data connection.
    began_over_spare: bool,
    /// A newer connection had logged in when this one was taken.
    is_older: bool,
}

/// A connection on its way into a lease.
struct Taken {
    id: u64,
    control: Control,
    preconnected: Option<Preconnected>,
}

impl Lease {
    /// The connection.
    pub fn control(&mut self) -> Result<&mut Control> {
        self.control.as_mut().ok_or(Error::Closed)
    }

    /// A data connection that is ready for a transfer, if there is one.
    pub fn take_preconnected(&mut self) -> Option<Preconnected> {
        let mut preconnected = self.preconnected.take()?;
        preconnected
            .is_good(self.pool.profile())
            .then_some(preconnected)
    }

    /// The data connection that is ready for a transfer, if there is one.
    pub fn preconnected(&self) -> Option<&Preconnected> {
        self.preconnected.as_ref()
    }

    /// Whether the last transfer began over a data connection that had been made before.
    pub fn began_over_spare(&self) -> bool {
        self.began_over_spare
    }

    /// Sets [`Self::began_over_spare`].
    pub fn note_beginning(&mut self, over_preconnected: bool) {
        self.began_over_spare = over_preconnected;
    }

    /// Keeps a data connection for the next transfer.
    pub fn keep_preconnected(&mut self, preconnected: Option<Preconnected>) {
        self.preconnected = preconnected;
    }

    /// A transfer has ended: one more may follow.
    pub fn want_preconnected(&mut self) {
        self.wants_preconnected = true;
    }

    /// The data of a transfer is all there, and the server's word on it soon will be: from now on it counts as what is
    /// soon given back, and another transfer may begin concurrently.
    pub fn note_data_end(&mut self) {
        let mut state = self.pool.state.lock();
        state.transfers -= std::mem::take(&mut self.transfers);
        state.ahead -= std::mem::take(&mut self.ahead);
        drop(state);
        self.pool.changed.notify_all();
    }

    /// The pool that it belongs to.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        Arc::clone(&self.pool).give_back(self);
    }
}

impl Pool {
    /// Takes a connection, waiting for one if it must. `fresh` asks for one that was not used
    /// before, after an idle one turned out to be dead.
    pub fn lease(self: &Arc<Self>, purpose: Purpose, fresh: bool, ask: &Ask<'_>) -> Result<Lease> {
        let transfers = usize::from(purpose == Purpose::Transfer);
        let ahead = match ask.urgency {
            Urgency::Ahead => transfers,
            _ => 0,
        };
        let mut state = self.state.lock();
        state.waiting.by_urgency[ask.urgency as usize] += 1;
        state.waiting.transfers += transfers;
        let taken = self.await_connection(&mut state, purpose, fresh, ask);
        state.waiting.by_urgency[ask.urgency as usize] -= 1;
        state.waiting.transfers -= transfers;
        let Taken {
            id,
            mut control,
            preconnected,
        } = taken?;
        state.transfers += transfers;
        state.ahead += ahead;
        let is_older = state.sessions.is_older(id);
        drop(state);
        control.send_by_name(self.profile.ask(|learned| learned.paths) == Support::No);
        Ok(Lease {
            pool: Arc::clone(self),
            id,
            transfers,
            ahead,
            control: Some(control),
            preconnected,
            wants_preconnected: false,
            began_over_spare: false,
            is_older,
        })
    }

    /// Waits in line for a connection.
    fn await_connection(
        self: &Arc<Self>,
        state: &mut MutexGuard<'_, PoolState>,
        purpose: Purpose,
        fresh: bool,
        ask: &Ask<'_>,
    ) -> Result<Taken> {
        let since = Instant::now();
        loop {
            // Long waits become urgent: a stream of readers must not starve a flush.
            let urgency = match ask.urgency {
                Urgency::Flush if since.elapsed() > WAIT_CHECK_INTERVAL => Urgency::Caller,
                urgency => urgency,
            };
            match state.next(purpose, fresh, urgency) {
                Next::Closed => return Err(Error::Closed),
                Next::Take(mut idle) => {
                    if !idle.is_old() && !idle.control.is_stale() {
                        if purpose != Purpose::Metadata {
                            self.prepare_next(state, &idle, ask);
                        }
                        return Ok(Taken {
                            id: idle.id,
                            control: idle.control,
                            preconnected: idle.preconnected,
                        });
                    }
                    if !idle.is_old() && idle.control.is_ending() {
                        state.sessions.note_end(idle.id);
                    }
                    state.drop_connection(idle.id);
                    continue;
                }
                Next::Connect => {
                    if let Some(taken) = self.connect_one(state, purpose, ask)? {
                        return Ok(taken);
                    }
                }
                Next::Grow => {
                    let left = ask.deadline.remaining().unwrap_or_default();
                    self.start_growing(state, Deadline::after(left));
                }
                Next::Wait => {}
                Next::Away => {
                    let patience = self.away_patience(state, ask)?;
                    self.changed.wait_for(state, patience);
                    continue;
                }
            }
            let tired = ask.urgency == Urgency::Ahead && since.elapsed() > AHEAD_PATIENCE;
            let Some(left) = ask.deadline.remaining().filter(|_| !tired) else {
                return Err(Error::timed_out("waiting for a free connection"));
            };
            let left = match ask.urgency {
                Urgency::Ahead => left.min(AHEAD_PATIENCE),
                _ => left,
            };
            let before = self.traffic.total();
            self.changed.wait_for(state, left.min(WAIT_CHECK_INTERVAL));
            if self.traffic.total() != before {
                // The holders of the connections make progress: the line moves.
                ask.deadline.progress();
            }
        }
    }

    /// `idle` is being taken for what needs a data connection: where it was the last that is ready, one more is made
    /// for those that follow. They wait no longer for it than they may.
    fn prepare_next(self: &Arc<Self>, state: &mut PoolState, idle: &Idle, ask: &Ask<'_>) {
        state.note_transfer();
        let is_last = idle.preconnected.is_none() || state.idle.is_empty();
        if is_last && state.may_grow(Urgency::Ahead) {
            let patience = GROWING_PATIENCE.min(ask.deadline.patience());
            self.start_growing(state, Deadline::after(patience));
        }
    }

    /// Makes a connection for the caller alone; `None` where the server has too many, and those that there are have to
    /// do.
    fn connect_one(
        &self,
        state: &mut MutexGuard<'_, PoolState>,
        purpose: Purpose,
        ask: &Ask<'_>,
    ) -> Result<Option<Taken>> {
        state.live += 1;
        state.connecting += 1;
        // An attempt's own bytes are no progress of the caller's: a server that always refuses must not keep it for
        // ever.
        let begun = Instant::now();
        let left = ask.deadline.remaining().unwrap_or_default();
        let arms = purpose != Purpose::Metadata;
        let made = MutexGuard::unlocked(state, || self.new_control(arms, &Deadline::after(left)));
        state.connecting -= 1;
        self.changed.notify_all();
        let error = match made {
            Ok((id, control, preconnected)) => {
                state.note_accepted();
                state.sessions.note_login(id, begun);
                return Ok(Some(Taken {
                    id,
                    control,
                    preconnected,
                }));
            }
            Err(error) => error,
        };
        let is_full = self.count_out(state, &error, begun);
        if !is_full || state.live == 0 && ask.deadline.remaining().is_none() {
            return Err(error);
        }
        // It may still count connections of ours that have just died.
        Ok(None)
    }

    /// Takes a connection back.
    fn give_back(self: &Arc<Self>, lease: &mut Lease) {
        let mut control = lease.control.take();
        if let Some(outcome) = control.as_mut().and_then(Control::take_pipeline_outcome)
            && learn_pipelining(&self.profile, outcome)
        {
            // Connections that were made before would still pipeline.
            let mut state = self.state.lock();
            while let Some(idle) = state.idle.pop() {
                state.drop_connection(idle.id);
            }
        }
        let used_up = control.take_if(|control| control.is_used_up());
        if let Some(used_up) = &used_up {
            // Before a transfer is refused for it; the next one is made when it is needed.
            self.step_back(used_up);
            self.doubtful_paths.add(used_up.possibly_done());
        }
        let mut state = self.state.lock();
        state.transfers -= lease.transfers;
        state.ahead -= lease.ahead;
        let Some(control) = control else {
            match &used_up {
                Some(used_up) => state.give_up(lease.id, used_up),
                None => state.drop_connection(lease.id),
            }
            drop(state);
            self.changed.notify_all();
            return;
        };
        if control.in_step() {
            state.note_answer(lease.id, lease.is_older);
        }
        // In a chain of transfers a connection that carried metadata gets one as well.
        let joins = state.is_in_transfer_chain() && !state.idle.is_empty();
        let arms = (lease.wants_preconnected || joins)
            && lease.preconnected.is_none()
            && state.has_no_waiting_caller()
            && !state.closed
            && control.in_step()
            && Preconnected::is_possible(&self.profile);
        let id = lease.id;
        drop(state);
        if arms {
            self.preconnect_in_background(id, control);
        } else {
            self.rest(id, control, lease.preconnected.take());
        }
        self.kept.note(&self.profile);
    }
}
