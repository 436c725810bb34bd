//! Queues closed files and uploads them from threads.
//!
//! A file that waits stays open, held by the queue, so that reading, renaming and removing it work as for any open file.
//! The journal has it before its close returns.
//!
//! # Lock order
//!
//! The queue's lock is taken alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::process::thread::spawn_thread;
use crate::remote;
use crate::remote::{Deadline, RemotePath, Why};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::File;
use crate::vfs::file::upload_state::Report;
use crate::vfs::journal::Journal;
use crate::vfs::journal::takeover::Outside;
use crate::vfs::upload::lost_found::{GivenUp, Taken};
use crate::vfs::writeback::WriteBack;
use crate::vfs::writeback::queue::{Job, Pending, Refusals, RefusedFile};

/// Uploads at once. The pool has its own limit; one that waits for a connection costs a thread.
const MAX_THREADS: usize = 8;
/// How long a thread waits for work before it ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an empty file waits for its first bytes: a shell's `cmd > f` flushes it before the command runs.
const EMPTY_FILE_DELAY: Duration = Duration::from_millis(500);
/// Delay before the first retry of a failed upload; it doubles with each further one.
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Longest delay before a retry.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(300);
/// Files that wait: each has a descriptor. The close of one more waits for its upload.
const MAX_QUEUED_FILES: usize = 400;
/// Interval at which the end of the mount logs what is left.
const PROGRESS_LOG_INTERVAL: Duration = Duration::from_secs(5);

impl WriteBack {
    /// Lets closes return early, if that is wanted, and takes over what an earlier mount has left. To
    /// be called before something is written. Returns what was left outside of this mount.
    pub fn begin_write_back(self: &Arc<Self>) -> std::io::Result<Option<Outside>> {
        let Some(settings) = &self.settings.write_back else {
            return Ok(None);
        };
        let inside = |path: &[u8]| self.journal.inside(path).is_some();
        let opened = Journal::open(&settings.journal, settings.on, &inside)?;
        if let Some(journal) = opened.journal {
            self.journal.set(journal);
        }
        self.recover(opened.left);
        Ok(Outside::of(&opened.outside))
    }

    /// What waits to be uploaded.
    pub fn pending(&self) -> Pending {
        let files: Vec<_> = {
            let state = self.queue.state.lock();
            state
                .jobs
                .values()
                .map(|job| Arc::clone(&job.file))
                .collect()
        };
        let dirty = |file: &Arc<File>| {
            let body = file.body.lock();
            let ranges = body.unsent();
            ranges
                .iter()
                .map(|range| range.end - range.start)
                .sum::<u64>()
        };
        Pending {
            files: files.len(),
            bytes: files.iter().map(dirty).sum(),
            moved: self.uploader.streams.traffic.moved.load(Ordering::Relaxed),
        }
    }

    /// Waits until files wait to be uploaded; false if no upload begins any more.
    pub fn wait_for_pending(&self) -> bool {
        let mut state = self.queue.state.lock();
        while state.jobs.is_empty() && !state.stopped {
            self.queue.changed.wait(&mut state);
        }
        !state.stopped
    }

    /// Waits, for no longer than `limit`, until no file waits to be uploaded, or no upload begins any more. Returns whether
    /// that is so.
    pub fn wait_for_uploads(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.queue.state.lock();
        while !state.jobs.is_empty() && !state.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.queue.changed.wait_for(&mut state, left);
        }
        true
    }

    /// How many files were closed and are not on the server for good, and where they are kept.
    pub fn refusals(&self) -> Refusals {
        // What the kernel has not let go of yet is kept by its last close.
        let is_refused = |file: &Arc<File>| {
            let is_failed = {
                let body = file.body.lock();
                body.owes && body.is_dirty() && body.upload.state.is_failed()
            };
            is_failed && !self.is_queued(file.ino)
        };
        let opened = self.files.opened_files();
        let refused = opened.iter().filter(|file| is_refused(file));
        let mut refused: HashMap<_, _> = refused
            .map(|file| (file.ino, self.table.path(file.ino).unwrap_or_default()))
            .collect();
        // After the files themselves: one that was given up meanwhile counts twice rather than not at all.
        let mut refusals = self.queue.refusals.lock().clone();
        refused.extend(refusals.giving_up.drain());
        for path in refused.into_values() {
            let kept_as = None;
            refusals.add(RefusedFile { path, kept_as }, true);
        }
        refusals.directory = self.files.spool.lost_and_found();
        refusals
    }

    /// Writes a file down in the journal and has it uploaded soon. False where it can't wait: then its
    /// close does.
    pub(crate) fn defer(&self, file: &Arc<File>) -> bool {
        let Some(journal) = self.journal.get().filter(|_| self.journal.is_write_back()) else {
            return false;
        };
        let held = self.is_queued(file.ino);
        let pending = self.pending();
        // An empty file takes no room, and no caller waits for the close that makes it.
        let is_empty = file.body.lock().content.size == 0;
        let full = pending.files >= MAX_QUEUED_FILES
            || pending.bytes > self.settings.limits.spool_size && !is_empty;
        if full && !held {
            return false;
        }
        let owed = std::mem::replace(&mut file.body.lock().owes, true);
        let committed = self.files.commit(journal, file).unwrap_or_else(|error| {
            log::warn!(
                "write-back: journal commit failed: {error}; this close waits for the server"
            );
            false
        });
        if !committed {
            let mut body = file.body.lock();
            if body.journal.id.is_none() && body.journal.superseded.is_empty() {
                body.owes = owed;
            }
            return false;
        }
        self.enqueue(
            file,
            if is_empty {
                EMPTY_FILE_DELAY
            } else {
                Duration::ZERO
            },
        );
        true
    }

    /// Reports once, to a caller that uses a path, that what was closed there was refused.
    pub(crate) fn report_refusal(&self, path: &RemotePath) -> Result<()> {
        let mut refused = self.queue.refused.lock();
        refused.remove(path).map_or(Ok(()), Err)
    }

    /// Whether a file was closed and waits for its upload.
    pub(crate) fn is_queued(&self, ino: u64) -> bool {
        self.queue.state.lock().jobs.contains_key(&ino)
    }

    /// Holds a file open until it is uploaded.
    pub(crate) fn enqueue(&self, file: &Arc<File>, delay: Duration) {
        // Before a thread can find it, which lets go of it once it is stored.
        self.hold(file);
        let due = Instant::now() + delay;
        let is_new = {
            let mut state = self.queue.state.lock();
            match state.jobs.get_mut(&file.ino) {
                Some(job) => {
                    job.due = job.due.min(due);
                    job.failures = 0;
                    job.again = true;
                    false
                }
                None => {
                    let job = Job {
                        file: Arc::clone(file),
                        due,
                        failures: 0,
                        running: false,
                        again: false,
                    };
                    state.jobs.insert(file.ino, job);
                    true
                }
            }
        };
        if !is_new {
            self.release_file(file, &Deadline::after(self.settings.timeout));
        }
        self.wake();
    }

    /// One holder more.
    fn hold(&self, file: &Arc<File>) {
        let mut opened = self.files.opened.lock();
        let entry = opened.files.entry(file.ino);
        entry.or_insert_with(|| (Arc::clone(file), 0)).1 += 1;
        drop(opened);
        self.table.lock().open(file.ino);
    }

    /// Wakes a thread for the queue, or starts one.
    fn wake(&self) {
        let mut state = self.queue.state.lock();
        self.queue.changed.notify_all();
        if state.stopped || state.idle > 0 || state.threads >= MAX_THREADS {
            return;
        }
        let Some(writeback) = self.me.upgrade() else {
            return;
        };
        state.threads += 1;
        drop(state);
        if spawn_thread("write-back", move || writeback.write_back()).is_err() {
            self.queue.state.lock().threads -= 1;
        }
    }

    /// The life of a thread that uploads what waits.
    fn write_back(&self) {
        while let Some(file) = self.next_job() {
            // Other files may be due as well.
            self.wake();
            let result = self
                .uploader
                .upload_queued(&file, &Deadline::after(self.settings.timeout));
            let again = match &result {
                Ok(()) => file.body.lock().is_dirty(),
                Err(error) => error.passes(),
            };
            let path = self.table.path(file.ino).unwrap_or_default();
            let mut state = self.queue.state.lock();
            if result.is_ok() {
                state.ended += 1;
            }
            let job = state.jobs.get_mut(&file.ino);
            if let Some(job) = job.filter(|job| again || result.is_ok() && job.again) {
                job.running = false;
                job.due = Instant::now();
                if let Err(error) = &result
                    && self.remote.is_away()
                {
                    // That the server is away is logged once, and says nothing about the file.
                    log::debug!("write-back: {path}: {error}");
                    job.due += FIRST_RETRY_DELAY;
                } else if let Err(error) = &result {
                    let wait = FIRST_RETRY_DELAY * (1 << job.failures.min(16));
                    job.due += wait.min(MAX_RETRY_DELAY);
                    job.failures += 1;
                    log::warn!("write-back: {path}: upload failed, to be retried: {error}");
                }
                continue;
            }
            if let Err(error) = result {
                drop(state);
                self.refuse(&file, error);
                state = self.queue.state.lock();
            }
            state.jobs.remove(&file.ino);
            state.releasing += 1;
            drop(state);
            self.queue.changed.notify_all();
            self.release_file(&file, &Deadline::after(self.settings.timeout));
            self.queue.state.lock().releasing -= 1;
            self.queue.changed.notify_all();
        }
    }

    /// The server has refused what was closed. If a handle still writes to the file, its next call gets the error, and
    /// the last close settles the rest; else it goes to `lost+found`, and the next open of that name gets the error.
    fn refuse(&self, file: &File, error: Error) {
        if self.give_up(file, Some(&error), Some(&error), Taken::FromClosed) == GivenUp::IsWritten {
            let mut body = file.body.lock();
            body.upload.state.fail(Some(error), Report::Due);
        }
    }

    /// Gives a file up. If a close of it had succeeded, the unmount reports that, and so does the next open of its name where
    /// no caller has got the error, `unheard`.
    pub(crate) fn give_up(
        &self,
        file: &File,
        why: Option<&Error>,
        unheard: Option<&Error>,
        from: Taken,
    ) -> GivenUp {
        let path = self.table.path(file.ino).unwrap_or_default();
        // Before the name is free for another file, which must not get the error after its own removal of this one.
        if let Some(error) = unheard {
            let mut refused = self.queue.refused.lock();
            refused.insert(path.clone(), error.clone());
        }
        // An unmount that asks meanwhile hears of it.
        if file.body.lock().owes {
            let mut refusals = self.queue.refusals.lock();
            refusals.giving_up.insert(file.ino, path.clone());
        }
        let outcome = self.uploader.give_up(file, why, from);
        let mut refusals = self.queue.refusals.lock();
        refusals.giving_up.remove(&file.ino);
        if let GivenUp::Done {
            was_closed: true,
            kept_as,
        } = &outcome
        {
            let refused = RefusedFile {
                path,
                kept_as: kept_as.clone(),
            };
            refusals.add(refused, kept_as.is_some());
        } else if unheard.is_some() {
            drop(refusals);
            self.forget_refusal(&path);
        }
        outcome
    }

    /// The name was removed or replaced: what was refused there concerns no caller.
    pub(crate) fn forget_refusal(&self, path: &RemotePath) {
        self.queue.refused.lock().remove(path);
    }

    fn next_job(&self) -> Option<Arc<File>> {
        let mut state = self.queue.state.lock();
        loop {
            if state.stopped {
                state.threads -= 1;
                return None;
            }
            let now = Instant::now();
            let waiting = state.jobs.values_mut().filter(|job| !job.running);
            let next = waiting.min_by_key(|job| job.due);
            let wait = match next {
                Some(job) if job.due <= now => {
                    (job.running, job.again) = (true, false);
                    return Some(Arc::clone(&job.file));
                }
                Some(job) => (job.due - now).min(IDLE_TIMEOUT),
                None => IDLE_TIMEOUT,
            };
            state.idle += 1;
            let timed_out = self.queue.changed.wait_for(&mut state, wait).timed_out();
            state.idle -= 1;
            // A file that was queued as the timeout expired has found this thread idle, and started no other.
            if timed_out && state.jobs.values().all(|job| job.running) {
                state.threads -= 1;
                return None;
            }
        }
    }

    /// Waits until everything is uploaded, saying from time to time what is left. Gives up when `limit`
    /// is over, or when nothing has got on for the patience of the mount; then the journal has it.
    pub(crate) fn drain(&self, limit: Option<Duration>) {
        let begun = Instant::now();
        let mut progressed = begun;
        let mut said = begun;
        let mut before = (0, Pending::default());
        while !self.queue.state.lock().stopped {
            let pending = self.pending();
            // What was refused is in lost+found once its last close is over.
            if pending.files == 0 && self.queue.state.lock().releasing == 0 {
                break;
            }
            let late = limit.is_some_and(|limit| begun.elapsed() > limit);
            // What the network has taken may yet be on its way: an upload has its own patience for the server's word.
            let patience = match self.is_uploading() {
                true => self.settings.timeout * 2,
                false => self.settings.timeout,
            };
            if late || progressed.elapsed() > patience {
                log::error!(
                    "write-back: {} files not stored in time; they stay in the journal for the next mount",
                    pending.files
                );
                break;
            }
            if said.elapsed() > PROGRESS_LOG_INTERVAL {
                said = Instant::now();
                log::warn!(
                    "write-back: {} files, {} bytes, still to be stored",
                    pending.files,
                    pending.bytes
                );
            }
            self.wake();
            let mut state = self.queue.state.lock();
            for job in state.jobs.values_mut() {
                // At the end of the mount only the server is waited for.
                let wait = if job.failures == 0 {
                    Duration::ZERO
                } else {
                    FIRST_RETRY_DELAY
                };
                job.due = job.due.min(Instant::now() + wait);
            }
            let now = (state.ended, pending);
            if now != before {
                before = now;
                progressed = Instant::now();
            }
            self.queue
                .changed
                .wait_for(&mut state, Duration::from_millis(50));
        }
        self.stop();
    }

    /// No upload of the queue begins any more.
    pub(crate) fn stop(&self) {
        self.queue.state.lock().stopped = true;
        self.queue.changed.notify_all();
    }

    /// Whether an upload of what waits is within its own patience.
    fn is_uploading(&self) -> bool {
        let files: Vec<_> = {
            let state = self.queue.state.lock();
            let running = state.jobs.values().filter(|job| job.running);
            running.map(|job| Arc::clone(&job.file)).collect()
        };
        files.iter().any(|file| {
            let body = file.body.lock();
            let left = body
                .upload
                .busy_until
                .as_ref()
                .and_then(Deadline::remaining);
            left.is_some()
        })
    }
}

impl Error {
    /// Whether an upload that failed by this is worth another try, later.
    fn passes(&self) -> bool {
        match self {
            // A full or failing local disk is nothing that the server has refused.
            Self::Spool(errno) => is_of_disk(*errno),
            Self::Remote(error) => match error {
                remote::Error::Refused { why, .. } => matches!(why, Why::TooMany | Why::Busy),
                remote::Error::Local { errno, .. } => is_of_disk(*errno),
                remote::Error::Lost { .. }
                | remote::Error::TimedOut { .. }
                | remote::Error::Barred { .. }
                | remote::Error::Closed => true,
                _ => false,
            },
            _ => false,
        }
    }
}

/// What the local disk says when it is full or fails, or what a busy machine lacks.
fn is_of_disk(errno: i32) -> bool {
    let passes = [
        libc::ENOSPC,
        libc::EDQUOT,
        libc::EIO,
        libc::ENOMEM,
        libc::EMFILE,
        libc::ENFILE,
    ];
    passes.contains(&errno)
}
