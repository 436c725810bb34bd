//! Uploads a file as it is now, for a close, an fsync, or the queue.
//!
//! The dirty ranges are taken out, sent by the cheapest plan, and put back if that fails. What the server may have damaged
//! on the way is still in the spool, and is sent once more. Changes of other clients stay where nothing was written here.

use std::sync::Arc;

use crate::process::lock_order::OrderedGuard;
use crate::process::thread::catch_panic;
use crate::remote;
use crate::remote::{Ask, Change, Deadline, Plan, RemotePath, Updated, Version};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::{Body, End, File, TempFile};
use crate::vfs::file::range_set::RangeSet;
use crate::vfs::file::upload_state::{Report, UploadState};
use crate::vfs::spool::SpoolFile;
use crate::vfs::upload::replacement::Replacing;
use crate::vfs::upload::{UploadBytes, Uploader};

/// A file of which more bytes than this are missing here is patched only after a probe on a small file: fetching fewer
/// bytes costs less than the round trips of the probe.
const PATCH_PROBE_THRESHOLD: u64 = 256 * 1024;

/// Holes of at least this many bytes are worth the probe that shows whether the server makes them.
const HOLE_PROBE_THRESHOLD: u64 = 1 << 20;

/// How much of a file is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// What changed.
    Changes,
    /// All of it but the holes.
    File,
    /// All of it.
    EachByte,
}

/// One try to bring a file to the server.
struct Attempt {
    change: Change,
    /// `None` where everything is there.
    plan: Option<Plan>,
    /// What was dirty before, and is so again where it fails.
    dirty: RangeSet,
    /// The local copy, if it has bytes.
    spool: Option<Arc<SpoolFile>>,
}

/// Where a file is brought to.
struct Target {
    /// Its own name.
    own: RemotePath,
    /// The name that it bears meanwhile.
    path: RemotePath,
    /// That of a file that is to appear at once, and was streamed.
    temp: Option<TempFile>,
}

/// Why a try to bring a file to the server has failed.
enum Failure {
    /// The server does not let it take the old one's place: it goes there itself.
    InPlace,
    /// Of the server's file nothing can have changed, or nothing mends it.
    Final(Error),
    /// The server may have some of it.
    BrokeOff(remote::Error),
}

impl Uploader {
    /// Brings a file to the server as it is now.
    pub(crate) fn upload(&self, file: &Arc<File>, deadline: &Deadline) -> Result<()> {
        if self.lock_dirty(file, deadline)?.is_none() {
            return Ok(());
        }
        loop {
            match self.upload_claimed(file, false, deadline) {
                Err(Error::Remote(error)) if self.remote.waits_out(&error) => deadline.progress(),
                result => return result,
            }
        }
    }

    /// The body of a file while no upload of it is in progress; `None` where the server lacks nothing of it. An error where
    /// what it lacks is lost.
    fn lock_dirty<'a>(
        &self,
        file: &'a File,
        deadline: &Deadline,
    ) -> Result<Option<OrderedGuard<'a, Body>>> {
        let mut body = self.files.lock_settled(file, deadline)?;
        if let Some(error) = body.upload.state.lost() {
            return Err(error.clone());
        }
        if !body.is_dirty() {
            self.files.journal_done(&mut body);
            return Ok(None);
        }
        Ok(Some(body))
    }

    /// Uploads a file whose close has returned early: only if the server still has what this mount last saw there.
    pub(crate) fn upload_queued(&self, file: &Arc<File>, deadline: &Deadline) -> Result<()> {
        self.upload_claimed(file, true, deadline)
    }

    /// Uploads a file, claimed for this call. `queued` is whether its close has returned before.
    fn upload_claimed(&self, file: &Arc<File>, queued: bool, deadline: &Deadline) -> Result<()> {
        {
            let Some(mut body) = self.lock_dirty(file, deadline)? else {
                return Ok(());
            };
            body.fail_unwritten();
            body.upload.busy_until = Some(deadline.twin());
        }
        let store = || {
            file.end_stream(End::Drained, deadline);
            let broken = file.body.lock().upload.state.take_report();
            broken.map_or(Ok(()), Err)?;
            if queued {
                self.check_unchanged(file, deadline)?;
            }
            self.upload_now(file, deadline)
        };
        let result = catch_panic("an upload", store);
        let result = result.unwrap_or_else(|| Err(remote::Error::panicked("upload").into()));
        if result.is_err() {
            self.invalidate_disk(file);
        }
        let mut body = file.body.lock();
        body.upload.busy_until = None;
        match &result {
            Ok(_) => body.upload.state = UploadState::Fine,
            Err(error) => body.upload.state.fail(Some(error.clone()), Report::Done),
        }
        body.upload.in_flight = RangeSet::default();
        if result.is_ok() && !body.is_dirty() {
            self.files.journal_done(&mut body);
        }
        file.uploaded.notify_all();
        self.publish_upload(file, &mut body, &result);
        result.map(drop)
    }

    fn upload_now(&self, file: &Arc<File>, deadline: &Deadline) -> Result<Version> {
        let ask = Ask::flush(deadline);
        // Once more, and then all of it.
        let mut again = false;
        loop {
            let place = self.target_of(file)?;
            let extent = match again {
                true => Extent::EachByte,
                false if place.temp.is_none() && self.is_atomic(file.ino) => Extent::File,
                false => Extent::Changes,
            };
            self.check_base(file, &place.path, again, deadline)?;
            let job = self.prepare(file, extent, deadline)?;
            let failure = match self.try_once(file, &place, &job, &ask) {
                Ok(updated) => {
                    self.invalidate_disk(file);
                    let mut body = file.body.lock();
                    return self.updated(file, &mut body, &job.change, updated);
                }
                Err(failure) => failure,
            };
            let mut body = file.body.lock();
            body.content.dirty.extend(&job.dirty);
            let error = match failure {
                Failure::InPlace => continue,
                Failure::Final(error) => return Err(error),
                Failure::BrokeOff(error) => error,
            };
            let mends = body.upload_failed((&job.change, job.plan.as_ref()), &error);
            let wrong = matches!(error, remote::Error::Misbehaved { .. });
            if wrong && body.missing().is_empty() && !again {
                log::warn!("upload: {error}; sending the whole file again");
                body.lost_base(0);
            } else if !mends || again {
                return Err(error.into());
            }
            again = true;
        }
    }

    /// Where the server gets a file now.
    fn target_of(&self, file: &File) -> Result<Target> {
        let temp = file.body.lock().name.temp.clone();
        let own = self.table.path(file.ino)?;
        let path = (temp.as_ref()).map_or_else(|| own.clone(), |temp| temp.path.clone());
        Ok(Target { own, path, temp })
    }

    /// Sends a file, and checks the result.
    fn try_once(
        &self,
        file: &Arc<File>,
        place: &Target,
        job: &Attempt,
        ask: &Ask<'_>,
    ) -> std::result::Result<Updated, Failure> {
        let bytes = UploadBytes::new(&self.files, file, job.spool.clone());
        let sent = &bytes.sent;
        self.journal_overwritten(file, &job.dirty)
            .map_err(Failure::Final)?;
        let at_once = place.temp.is_none() && self.is_atomic(file.ino);
        let at_once = at_once && job.plan.is_some() && job.change.size > 0;
        let exclusive = file.body.lock().upload.exclusive;
        if exclusive && (at_once || place.temp.is_some()) {
            // A rename would take the place of whatever is there.
            self.check_new(&place.own, &bytes, ask)
                .map_err(|error| Failure::Final(error.into()))?;
        }
        // What is to take another one's place is looked at before it does.
        let check = |path: &RemotePath| self.check_hash(file, path, &job.change, ask);
        if at_once {
            let target = (file.ino, &place.path);
            let change = (&job.change, job.plan.as_ref());
            let replaced = self.replace(target, change, sent, &check, ask)?;
            if let Some(updated) = replaced {
                return Ok(updated);
            }
        }
        let before = match (&place.temp, &job.plan) {
            (None, Some(Plan::Whole | Plan::Sparse(_)) | None) => self.replaces(file, job),
            _ => None,
        };
        let updated = match self.send(place, job, &bytes, exclusive, ask) {
            Err(error) if self.may_rename_over(place, job, &error) && !exclusive => {
                let target = (file.ino, &place.path);
                let change = (&job.change, job.plan.as_ref());
                let replaced = self.replace(target, change, sent, &check, ask)?;
                return match replaced {
                    Some(updated) => {
                        self.note_rename_over(&error);
                        Ok(updated)
                    }
                    None => Err(error.into()),
                };
            }
            updated => updated?,
        };
        // Sent just now, and without a time of its own: the server's clock shows.
        let sent = job
            .plan
            .as_ref()
            .filter(|_| job.change.then.modified.is_none());
        if let Some(seconds) = sent.and(updated.version.modified) {
            self.table.lock().note_server_time(seconds);
        }
        let Some(temp) = &place.temp else {
            if let Some(before) = before {
                let outcome = (&job.change, &updated);
                let target = (file.as_ref(), &place.own);
                if !self.is_replaced(target, before, outcome, &job.spool, ask)? {
                    return Err(self.never_replaces(&place.own));
                }
            }
            check(&place.own)?;
            return Ok(updated);
        };
        match self.place_streamed(file, temp, &job.change, updated, &check, ask) {
            Ok(Some(updated)) => Ok(updated),
            Ok(None) => Err(Failure::InPlace),
            Err(Error::Remote(error)) => Err(Failure::BrokeOff(error)),
            Err(error) => Err(Failure::Final(error)),
        }
    }

    /// Whether a refused upload of a whole file may be done by a temporary name and a rename.
    fn may_rename_over(&self, place: &Target, job: &Attempt, error: &remote::Error) -> bool {
        let is_whole = matches!(job.plan, Some(Plan::Whole | Plan::Sparse(_)));
        is_whole && place.temp.is_none() && error.refuses_to_replace()
    }

    /// The server refuses to store over a file and lets one be renamed over it.
    fn note_rename_over(&self, refusal: &remote::Error) {
        let before = std::mem::replace(&mut *self.replacing.lock(), Replacing::No);
        if before != Replacing::No {
            log::warn!(
                "upload: {refusal}; files are stored under a temporary name and renamed from now on"
            );
        }
    }

    /// The version that an upload, or the streams before it, should replace.
    fn replaces(&self, file: &File, job: &Attempt) -> Option<Version> {
        let streamed = file.body.lock().upload.replaced.take();
        match job.plan {
            Some(_) => job.change.base.or(streamed),
            None => streamed,
        }
    }

    /// The server has kept the old content. Files go by a temporary name and a rename from now on, this one at once.
    fn never_replaces(&self, path: &RemotePath) -> Failure {
        let before = std::mem::replace(&mut *self.replacing.lock(), Replacing::No);
        if before != Replacing::No {
            log::warn!(
                "upload: {path}: the server confirmed the file but kept the old content, and stored the new one under \
                 another name next to it; files are stored under a temporary name and renamed from now on"
            );
            return Failure::InPlace;
        }
        Failure::Final(
            remote::Error::misbehaved(
                format!("storing {path}"),
                "the server confirmed the file but kept the old content, and refuses to rename a new file over it",
            )
            .into(),
        )
    }

    /// Sends a file by its plan, or asks what became of it where everything was sent.
    fn send(
        &self,
        place: &Target,
        job: &Attempt,
        bytes: &UploadBytes<'_>,
        exclusive: bool,
        ask: &Ask<'_>,
    ) -> remote::Result<Updated> {
        let (path, file) = (&place.path, bytes.file);
        let change = Change {
            then: match &place.temp {
                Some(temp) => self.temp_attributes(file.ino, &job.change, temp.replaces),
                None => job.change.then,
            },
            ..job.change.clone()
        };
        match &job.plan {
            Some(plan @ (Plan::Whole | Plan::Sparse(_))) if exclusive && place.temp.is_none() => {
                self.store_new(path, (&change, plan), bytes, ask)
            }
            Some(plan) => self.remote.update(path, &change, plan, bytes, ask),
            None => self.streamed_version(file, path, &change, ask),
        }
    }

    /// Before an upload that sends more than was written here, `written`: that is safe in the journal when this returns.
    pub(crate) fn journal_overwritten(&self, file: &File, written: &RangeSet) -> Result<()> {
        let Some(journal) = self.journal.get() else {
            return Ok(());
        };
        {
            let body = file.body.lock();
            let mut more = body.upload.in_flight.clone();
            written.iter().for_each(|part| more.remove(part));
            let in_place = body.name.temp.is_none() && body.content.base.is_some();
            let is_wanted = body.journal.id.is_some() || self.journal.is_write_back();
            if !in_place || !is_wanted || more.iter().next().is_none() {
                return Ok(());
            }
        }
        self.files.commit(journal, file).map(drop)
    }

    /// How a change is stored.
    fn plan(&self, change: &Change, extent: Extent) -> Plan {
        match extent {
            Extent::Changes => self.remote.plan(change),
            // A file with holes may go around them, into a new one.
            Extent::File => self.remote.plan(&Change {
                base: None,
                ..change.clone()
            }),
            Extent::EachByte => Plan::Whole,
        }
    }

    /// Takes the ranges to send out of the dirty ones, with everything that their upload needs at hand.
    fn prepare(&self, file: &Arc<File>, extent: Extent, deadline: &Deadline) -> Result<Attempt> {
        // Missing bytes are fetched as one stream; before anything is sent, reading stops.
        let mut stopped = false;
        let mut rehearsed = false;
        let mut is_hole_probed = false;
        loop {
            let gap = {
                let mut body = file.body.lock();
                let mut change = body.change();
                change.holes = body.holes();
                let sends = body.content.resized || !body.content.dirty.is_empty();
                let plan = sends.then(|| self.plan(&change, extent));
                let zeros = (plan.as_ref()).map_or(0, |plan| zeros_sent(&change, plan));
                if zeros >= HOLE_PROBE_THRESHOLD && extent != Extent::EachByte && !is_hole_probed {
                    drop(body);
                    is_hole_probed = true;
                    self.probe_holes(file, deadline)?;
                    continue;
                }
                if zeros > self.settings.limits.holes.max(HOLE_PROBE_THRESHOLD) {
                    return Err(Error::TooBig);
                }
                let needs = plan
                    .as_ref()
                    .map_or(Vec::new(), |plan| plan.needs(body.content.size));
                let gaps: Vec<_> = needs
                    .iter()
                    .flat_map(|need| body.content.present.gaps(need.clone()))
                    .collect();
                let missing: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
                let is_trial = matches!(plan, Some(Plan::Patch { tried: true, .. }));
                if is_trial && missing > PATCH_PROBE_THRESHOLD && !rehearsed {
                    drop(body);
                    rehearsed = true;
                    self.probe_patch(file, deadline)?;
                    continue;
                }
                match gaps.into_iter().next() {
                    Some(gap) => gap,
                    None if !stopped => {
                        drop(body);
                        file.reader.stop(deadline);
                        stopped = true;
                        continue;
                    }
                    None => {
                        body.upload.in_flight = body.content.dirty.clone();
                        for part in needs {
                            body.upload.in_flight.insert(part);
                        }
                        return Ok(Attempt {
                            change,
                            plan,
                            dirty: std::mem::take(&mut body.content.dirty),
                            spool: body.content.spool.clone(),
                        });
                    }
                }
            };
            stopped = false;
            self.files
                .fetch(file, gap, deadline)
                .map_err(|error| self.metadata.explain_read(file.ino, error, deadline))?;
        }
    }
}

/// Bytes of holes that a plan sends.
fn zeros_sent(change: &Change, plan: &Plan) -> u64 {
    let mut sent = RangeSet::default();
    for range in plan.sends(change.size) {
        sent.insert(range);
    }
    (change.holes.iter())
        .flat_map(|hole| sent.within(hole.clone()))
        .map(|part| part.end - part.start)
        .sum()
}

impl From<remote::Error> for Failure {
    fn from(error: remote::Error) -> Self {
        Self::BrokeOff(error)
    }
}
