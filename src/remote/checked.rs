//! A remote that calls a check before each request that waits for the server.
//!
//! The file system uses it in debug builds to assert that no lock is held meanwhile. Calls that send no command (traits,
//! plans, checks of names) are passed on unchecked.

use std::sync::Arc;

use crate::remote::{
    Ask, Change, Completeness, Deadline, Done, Entry, Error, NameStatus, Plan, ReadAt, Reading,
    Remote, RemotePath, Result, Room, Sink, Source, Step, Then, Traits, Updated, Urgency, Version,
    View,
};

/// A remote with a check before each request.
pub struct Checked {
    inner: Arc<dyn Remote>,
    check: fn(),
}

impl Checked {
    /// `inner`, with `check` before each request.
    pub fn new(inner: Arc<dyn Remote>, check: fn()) -> Self {
        Self { inner, check }
    }
}

impl Remote for Checked {
    fn traits(&self) -> Traits {
        self.inner.traits()
    }

    fn room(&self, urgency: Urgency) -> usize {
        self.inner.room(urgency)
    }

    fn is_away(&self) -> bool {
        self.inner.is_away()
    }

    fn waits_out(&self, error: &Error) -> bool {
        self.inner.waits_out(error)
    }

    fn soften(&self) {
        self.inner.soften();
    }

    fn perform(&self, steps: &[Step<'_>], ask: &Ask<'_>) -> Vec<Result<Done>> {
        (self.check)();
        self.inner.perform(steps, ask)
    }

    fn stat_without_mlst(&self, path: &RemotePath, ask: &Ask<'_>) -> Result<Option<NameStatus>> {
        (self.check)();
        self.inner.stat_without_mlst(path, ask)
    }

    fn list(
        &self,
        directory: &RemotePath,
        ask: &Ask<'_>,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness> {
        (self.check)();
        self.inner.list(directory, ask, each)
    }

    fn list_many(
        &self,
        directories: &[RemotePath],
        ask: &Ask<'_>,
        each: &mut dyn FnMut(usize, Entry),
    ) -> Vec<Result<Completeness>> {
        (self.check)();
        self.inner.list_many(directories, ask, each)
    }

    fn enters(&self, path: &RemotePath, ask: &Ask<'_>) -> Result<bool> {
        (self.check)();
        self.inner.enters(path, ask)
    }

    fn read_link(&self, link: &RemotePath, ask: &Ask<'_>) -> Result<Vec<u8>> {
        (self.check)();
        self.inner.read_link(link, ask)
    }

    fn read(&self, file: &RemotePath, reading: &Reading, ask: &Ask<'_>) -> Result<Box<dyn Source>> {
        (self.check)();
        let inner = self.inner.read(file, reading, ask)?;
        let check = self.check;
        Ok(Box::new(CheckedSource { inner, check }))
    }

    fn write(
        &self,
        file: &RemotePath,
        behind: Option<u64>,
        then: Then,
        first: &[u8],
        begins: &dyn Fn(),
        ask: &Ask<'_>,
    ) -> Result<(Box<dyn Sink>, u64)> {
        (self.check)();
        let (inner, sent) = self.inner.write(file, behind, then, first, begins, ask)?;
        let check = self.check;
        Ok((Box::new(CheckedSink { inner, check }), sent))
    }

    fn create(&self, file: &RemotePath, begins: &dyn Fn(), ask: &Ask<'_>) -> Result<Box<dyn Sink>> {
        (self.check)();
        let inner = self.inner.create(file, begins, ask)?;
        let check = self.check;
        Ok(Box::new(CheckedSink { inner, check }))
    }

    fn check_name(&self, path: &RemotePath) -> Result<()> {
        self.inner.check_name(path)
    }

    fn plan(&self, change: &Change) -> Plan {
        self.inner.plan(change)
    }

    fn probe_patch(&self, temp: &RemotePath, ask: &Ask<'_>) -> Result<()> {
        (self.check)();
        self.inner.probe_patch(temp, ask)
    }

    fn probe_holes(&self, temp: &RemotePath, ask: &Ask<'_>) -> Result<()> {
        (self.check)();
        self.inner.probe_holes(temp, ask)
    }

    fn update(
        &self,
        file: &RemotePath,
        change: &Change,
        plan: &Plan,
        bytes: &dyn ReadAt,
        ask: &Ask<'_>,
    ) -> Result<Updated> {
        (self.check)();
        self.inner.update(file, change, plan, bytes, ask)
    }

    fn confirm(&self, file: &RemotePath, then: Then, ask: &Ask<'_>) -> Result<Updated> {
        (self.check)();
        self.inner.confirm(file, then, ask)
    }

    fn space(&self, directory: &RemotePath, ask: &Ask<'_>) -> Result<Option<Room>> {
        (self.check)();
        self.inner.space(directory, ask)
    }

    fn describe(&self, path: &RemotePath, view: View, ask: &Ask<'_>) -> Result<Option<Vec<u8>>> {
        (self.check)();
        self.inner.describe(path, view, ask)
    }

    fn close(&self) {
        self.inner.close();
    }
}

struct CheckedSource {
    inner: Box<dyn Source>,
    check: fn(),
}

impl Source for CheckedSource {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize> {
        (self.check)();
        self.inner.read(buffer, deadline)
    }

    fn version(&self) -> Option<Version> {
        self.inner.version()
    }

    fn wanted(&self) -> bool {
        self.inner.wanted()
    }
}

struct CheckedSink {
    inner: Box<dyn Sink>,
    check: fn(),
}

impl Sink for CheckedSink {
    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<()> {
        (self.check)();
        self.inner.write(bytes, deadline)
    }

    fn finish(&mut self, deadline: &Deadline) -> Result<Option<Updated>> {
        (self.check)();
        self.inner.finish(deadline)
    }

    fn took_nothing(&mut self) -> bool {
        self.inner.took_nothing()
    }

    fn wanted(&self) -> bool {
        self.inner.wanted()
    }
}
