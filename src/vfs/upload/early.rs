//! What is written all over a large file is sent before its flush, as far as it has come to rest.
//!
//! The one idea: whenever so much was written, the parts that nobody touched since the time before are
//! brought to the server as a patch, by a thread beside. So this is an upload like that of a flush, of a
//! part of what is dirty: what is written meanwhile waits for the next one, and what fails is dirty again,
//! which leaves it to the flush to try once more and to tell the caller.
//!
//! Only where it helps: in files that keep their size, on servers that were seen to put a part into its place
//! and to keep what lies behind it, and in parts that are worth a transfer of their own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use crate::remote;
use crate::remote::{Ask, Change, Deadline, Done, Plan, Step, Urgency, Version};
use crate::vfs::core::Vfs;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::{Body, File};
use crate::vfs::file::range_set::RangeSet;
use crate::vfs::upload::begun::Bytes;

/// Who writes so many bytes has the older ones sent, if they are as many.
const AFTER: u64 = 32 << 20;
/// A part with fewer bytes waits for the flush, which may join it with others.
const PART: u64 = 1 << 20;
/// Files at once: each takes a connection.
const FILES: usize = 2;

impl Vfs {
    /// To be called after each write: sends what has come to rest, if that is enough.
    pub(crate) fn send_early(&self, file: &Arc<File>, body: &mut Body) {
        let window = self.settings.spool_size;
        let (after, part) = (AFTER.min(window / 4), PART.min(window / 64));
        if body.written < after {
            return;
        }
        body.written = 0;
        let young = std::mem::take(&mut body.young);
        if !body.may_be_patched() || self.is_atomic(file.ino) || self.is_behind_others_now(file) {
            return;
        }
        let rest = body.rest(&young, part);
        let bytes: u64 = rest.iter().map(|range| range.end - range.start).sum();
        let change = Change {
            base: body.base,
            kept: body.kept,
            dirty: rest.iter().collect(),
            size: body.size,
            ..Change::default()
        };
        let plan = self.remote.plan(&change);
        let is_patch = matches!(
            plan,
            Plan::Patch {
                tried: false,
                cuts: false,
                ..
            }
        );
        let Some(vfs) = self.me.upgrade().filter(|_| bytes >= after && is_patch) else {
            return;
        };
        if self.early.fetch_add(1, Ordering::Relaxed) >= FILES {
            self.early.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        rest.iter().for_each(|range| body.dirty.remove(range));
        body.flying = rest;
        body.uploading = true;
        let deadline = self.deadline();
        body.until = Some(deadline.twin());
        let sent = Arc::clone(file);
        let spawned = thread::Builder::new().name("early".into()).spawn(move || {
            vfs.patch(&sent, (&change, &plan), &deadline);
            vfs.early.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = spawned {
            log::warn!("no thread can be started for an upload: {error}");
            self.early.fetch_sub(1, Ordering::Relaxed);
            body.dirty.extend(&std::mem::take(&mut body.flying));
            body.uploading = false;
        }
    }

    /// Brings what is flying to the server; the file is claimed for that.
    fn patch(&self, file: &Arc<File>, (change, plan): (&Change, &Plan), deadline: &Deadline) {
        let mut begun = false;
        let result = self.try_patch(file, (change, plan), deadline, &mut begun);
        let mut body = file.body.lock();
        if let Err(error) = &result {
            log::info!("{error}; it is sent once more when the file is flushed");
            let flying = std::mem::take(&mut body.flying);
            body.dirty.extend(&flying);
            // Some of it may be there, in its place.
            body.failed |= begun;
        }
        body.flying = RangeSet::default();
        body.uploading = false;
        file.uploaded.notify_all();
        self.publish_upload(file, &mut body, &result);
    }

    fn try_patch(
        &self,
        file: &Arc<File>,
        (change, plan): (&Change, &Plan),
        deadline: &Deadline,
        begun: &mut bool,
    ) -> Result<Version> {
        file.reader.stop(deadline);
        let path = self.path(file.ino)?;
        let ask = Ask {
            urgency: Urgency::Flush,
            deadline,
        };
        let now = match self.step(Step::Version(&path), deadline)? {
            Done::Version(version) => version,
            _ => Version::default(),
        };
        if !change.base.is_some_and(|base| base.may_be(&now)) {
            // The flush lays what was written over what others have made of it.
            return Err(remote::Error::misbehaved(
                format!("storing {path}"),
                "others have changed it meanwhile",
            )
            .into());
        }
        let spool = file.body.lock().spool.clone().ok_or(Error::Stale)?;
        *begun = true;
        let bytes = Bytes::new(self, file, spool);
        let updated = self.remote.update(&path, change, plan, &bytes, &ask)?;
        let mut body = file.body.lock();
        self.updated(file, &mut body, change, updated)
    }
}

impl Body {
    /// Whether just bytes of the server's file differ, and nothing else is under way.
    fn may_be_patched(&self) -> bool {
        let changes = self.uploading || self.committing || self.stream.is_some();
        let fails = self.failed || self.broken.is_some() || self.hopeless.is_some();
        let in_place = !self.resized && !self.sizeless && self.kept == self.size;
        let is_there = self.base.is_some_and(|base| base.size == Some(self.size));
        let has_name = !self.removed && self.aside.is_none() && self.beside.is_none();
        let has_name = has_name && self.journal.is_none();
        in_place && is_there && has_name && !changes && !fails
    }

    /// What is dirty and not young, in parts of so many bytes at least. The first byte would take the
    /// whole file with it.
    fn rest(&self, young: &RangeSet, part: u64) -> RangeSet {
        let mut old = self.dirty.clone();
        young.iter().for_each(|range| old.remove(range));
        let mut rest = RangeSet::default();
        for range in old.iter() {
            if range.start > 0 && range.end - range.start >= part.max(1) {
                rest.insert(range);
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_come_to_rest_is_sent_early() {
        let mut body = Body {
            base: Some(Version {
                size: Some(100),
                modified: None,
            }),
            kept: 100,
            size: 100,
            ..Body::default()
        };
        for range in [0..10, 20..25, 30..50, 60..80] {
            body.dirty.insert(range);
        }
        let mut young = RangeSet::default();
        young.insert(45..70);
        let rest: Vec<_> = body.rest(&young, 10).iter().collect();
        assert_eq!(rest, [30..45, 70..80]);
        assert!(body.may_be_patched());
        body.size = 101;
        assert!(!body.may_be_patched());
    }
}
