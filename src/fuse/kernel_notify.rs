//! Notifies the kernel of changes that other clients made on the server, so that it drops what it
//! caches (FUSE_NOTIFY_INVAL_INODE, FUSE_NOTIFY_DELETE).
//!
//! To handle a notification the kernel takes locks (of the directory, of the inode, of pages that are
//! being read), and a process that holds one of them may wait for a reply of ours. So a thread of its
//! own, which holds none of our locks, notifies the kernel, and skips inodes for which a request is
//! being handled. It would only block, but a process that is killed while one of its threads blocks
//! like that keeps the mount, and everything that uses it, from ending.
//!
//! To invalidate attributes alone the kernel takes no lock. So an open that has found other attributes
//! invalidates them itself before its reply: the kernel would cut reads at the size that it knows.
//!
//! Nothing waits for a notification, and one may be lost. Names and attributes time out in the kernel
//! after a second (`vfs/inode/attr_view.rs`); the kernel drops pages when it sees another size or time.
//! So a full queue refuses notifications, and those that could not be sent for long are dropped.
//!
//! Lock order: the lock here is taken under the file system's, and nothing is called under it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::process::thread::spawn_thread;
use crate::vfs::{Listener, News};

/// The notifications of the kernel.
pub trait Kernel: Send + Sync {
    /// The entry `name` of `parent`, which was `ino`, no longer exists.
    fn gone(&self, parent: u64, name: &[u8], ino: u64) -> io::Result<()>;
    /// The attributes of `ino` have changed, and with `content` its data too.
    fn changed(&self, ino: u64, content: bool) -> io::Result<()>;
}

/// Maximum length of the queue, of about 100 bytes each: enough for a large directory in which
/// everything has changed.
const QUEUE_LIMIT: usize = 16 * 1024;
/// Maximum length for notifications about entries that time out in the kernel anyway.
const SHORT_LIVED_LIMIT: usize = QUEUE_LIMIT / 4 * 3;
/// Maximum age of a notification about names and attributes: the TTL in the kernel.
const ATTRIBUTE_MAX_AGE: Duration = Duration::from_secs(1);
/// Maximum age of a notification about data. Pages have no TTL, and a mapping reads them without asking
/// for attributes.
const DATA_MAX_AGE: Duration = Duration::from_secs(30);
/// Number of notifications that are searched for one that can be sent now.
const SEARCH_LIMIT: usize = 64;
/// How often blocked notifications are checked for their age.
const AGE_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The queue of notifications and the thread that sends them.
#[derive(Default)]
pub struct KernelNotifier {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(News, Instant)>,
    /// Number of requests being handled, by inode.
    busy: HashMap<u64, u32>,
    /// The thread is sending one of them.
    sending: bool,
    /// The kernel; `None` before the start and after the end.
    kernel: Option<Arc<dyn Kernel>>,
    sent: u64,
    dropped: u64,
}

/// Numbers of notifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent.
    pub sent: u64,
    /// Dropped: the queue was full, or they were too old.
    pub dropped: u64,
}

/// Marks inodes as busy with a request, until it is dropped.
pub struct Busy {
    notifier: Arc<KernelNotifier>,
    inodes: Box<[u64]>,
}

/// What the thread does next.
enum Next {
    Tell(News),
    Drop(News),
}

impl KernelNotifier {
    /// Marks these inodes as busy: the kernel may hold their locks until the request is answered.
    pub fn busy(self: &Arc<Self>, inodes: &[u64]) -> Busy {
        if !inodes.is_empty() {
            let mut state = self.state.lock();
            for &ino in inodes {
                *state.busy.entry(ino).or_default() += 1;
            }
        }
        Busy {
            notifier: Arc::clone(self),
            inodes: inodes.into(),
        }
    }

    /// Starts the thread that notifies `kernel` until [`Self::end`]. `passed` gets the inode of each
    /// removed entry, after the notification was sent or dropped.
    pub fn start(
        self: &Arc<Self>,
        kernel: Arc<dyn Kernel>,
        passed: impl Fn(u64) + Send + 'static,
    ) -> io::Result<()> {
        self.state.lock().kernel = Some(Arc::clone(&kernel));
        let notifier = Arc::clone(self);
        let tell = move || {
            while let Some(next) = notifier.next() {
                let gone = match &next {
                    Next::Tell(news) | Next::Drop(news) => match news {
                        News::Gone { ino, .. } => Some(*ino),
                        News::Changed { .. } => None,
                    },
                };
                if let Next::Tell(news) = &next {
                    notifier.send(kernel.as_ref(), news);
                }
                gone.into_iter().for_each(&passed);
            }
        };
        let spawned = spawn_thread("kernel-notify", tell);
        if spawned.is_err() {
            self.end();
        }
        spawned
    }

    /// Invalidates all that the kernel caches of these inodes; returns when that is done. Must be called
    /// by a thread that handles no request and holds no lock. Names stay: their TTL is that of the
    /// attributes, and to drop one would unmount what is mounted below it.
    pub fn invalidate(&self, inodes: &[u64]) {
        for &ino in inodes {
            let (kernel, is_busy) = {
                let state = self.state.lock();
                (state.kernel.clone(), state.is_busy(ino))
            };
            let Some(kernel) = kernel else {
                return;
            };
            // To invalidate attributes the kernel takes no lock.
            let changed = |content| News::Changed { ino, content };
            self.send(kernel.as_ref(), &changed(!is_busy));
            if is_busy {
                self.hear(changed(true));
            }
        }
    }

    /// Invalidates the attributes of `ino` in the kernel if they have changed or may have, before a reply
    /// after which it uses them. The thread that replies may call it, since the kernel takes no lock to
    /// invalidate attributes alone.
    pub fn invalidate_attributes(&self, ino: u64, changed: bool) {
        let kernel = {
            let state = self.state.lock();
            let may_be = changed || state.sending || !state.queue.is_empty();
            state.kernel.clone().filter(|_| may_be)
        };
        if let Some(kernel) = kernel {
            let content = false;
            self.send(kernel.as_ref(), &News::Changed { ino, content });
        }
    }

    /// Stops the thread; nothing more is sent.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.kernel = None;
        state.queue.clear();
        self.changed.notify_all();
    }

    /// Returns how many notifications were sent and dropped.
    pub fn counts(&self) -> Counts {
        let state = self.state.lock();
        Counts {
            sent: state.sent,
            dropped: state.dropped,
        }
    }

    fn send(&self, kernel: &dyn Kernel, news: &News) {
        let sent = match news {
            News::Gone { parent, name, ino } => kernel.gone(*parent, name, *ino),
            News::Changed { ino, content } => kernel.changed(*ino, *content),
        };
        match sent {
            Ok(()) => self.state.lock().sent += 1,
            Err(error) => match error.raw_os_error() {
                // The kernel does not cache it any more; or it is in use (a mountpoint, a working
                // directory), and then the name is dropped all the same.
                Some(libc::ENOENT | libc::ENOTEMPTY | libc::EBUSY) => {}
                // The mount is ending.
                Some(libc::ENODEV | libc::ENOTCONN | libc::ECONNABORTED) => self.end(),
                // The TTL in the kernel has the same effect, later.
                _ => log::debug!("kernel notification {news:?} failed: {error}"),
            },
        }
    }

    /// Waits for the next notification; `None` at the end.
    fn next(&self) -> Option<Next> {
        let mut state = self.state.lock();
        loop {
            state.kernel.as_ref()?;
            let next = state.take(Instant::now());
            state.sending = next.is_some();
            if let Some(next) = next {
                return Some(next);
            }
            if state.queue.is_empty() {
                self.changed.wait(&mut state);
            } else {
                self.changed.wait_for(&mut state, AGE_CHECK_INTERVAL);
            }
        }
    }
}

impl fmt::Debug for KernelNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KernelNotifier")
            .field(&self.counts())
            .finish()
    }
}

impl Listener for KernelNotifier {
    fn hear(&self, news: News) -> bool {
        let room = match news {
            News::Changed { content: true, .. } => QUEUE_LIMIT,
            _ => SHORT_LIVED_LIMIT,
        };
        let mut state = self.state.lock();
        if state.kernel.is_none() {
            return false;
        }
        // The new one is refused, not the oldest dropped: its sender relies on `passed` being called.
        if state.queue.len() >= room {
            state.dropped += 1;
            return false;
        }
        let was_empty = state.queue.is_empty();
        state.queue.push_back((news, Instant::now()));
        if was_empty {
            self.changed.notify_one();
        }
        true
    }
}

impl State {
    /// Removes the first notification that can be sent or is too old.
    fn take(&mut self, now: Instant) -> Option<Next> {
        for at in 0..self.queue.len().min(SEARCH_LIMIT) {
            let (news, since) = &self.queue[at];
            let (is_busy, max_age) = match news {
                News::Gone { parent, ino, .. } => (
                    self.is_busy(*parent) || self.is_busy(*ino),
                    ATTRIBUTE_MAX_AGE,
                ),
                News::Changed { ino, content } => (
                    self.is_busy(*ino),
                    if *content {
                        DATA_MAX_AGE
                    } else {
                        ATTRIBUTE_MAX_AGE
                    },
                ),
            };
            let is_expired = now.saturating_duration_since(*since) > max_age;
            if !is_busy || is_expired {
                let (news, _) = self.queue.remove(at)?;
                if is_busy {
                    self.dropped += 1;
                    return Some(Next::Drop(news));
                }
                return Some(Next::Tell(news));
            }
        }
        None
    }

    fn is_busy(&self, ino: u64) -> bool {
        self.busy.contains_key(&ino)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.inodes.is_empty() {
            return;
        }
        let mut state = self.notifier.state.lock();
        for ino in &self.inodes {
            if let Some(requests) = state.busy.get_mut(ino) {
                *requests -= 1;
                if *requests == 0 {
                    state.busy.remove(ino);
                }
            }
        }
        if !state.queue.is_empty() {
            self.notifier.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A kernel that records its notifications.
    struct RecordingKernel(Sender<String>);

    impl Kernel for RecordingKernel {
        fn gone(&self, parent: u64, name: &[u8], ino: u64) -> io::Result<()> {
            let said = format!("gone {parent} {} {ino}", name.escape_ascii());
            self.0.send(said).expect("the receiver lives");
            Err(io::Error::from_raw_os_error(libc::ENOENT))
        }

        fn changed(&self, ino: u64, content: bool) -> io::Result<()> {
            let said = format!("changed {ino} {content}");
            self.0.send(said).expect("the receiver lives");
            Ok(())
        }
    }

    fn started() -> (Arc<KernelNotifier>, Receiver<String>, Receiver<u64>) {
        let notifier = Arc::new(KernelNotifier::default());
        let ((say, said), (pass, passed)) = (channel(), channel());
        notifier
            .start(Arc::new(RecordingKernel(say)), move |ino| {
                pass.send(ino).expect("listens")
            })
            .expect("a thread");
        (notifier, said, passed)
    }

    fn gone(ino: u64) -> News {
        News::Gone {
            parent: 1,
            name: Box::from(&b"n"[..]),
            ino,
        }
    }

    fn changed(ino: u64) -> News {
        News::Changed { ino, content: true }
    }

    #[test]
    fn notification_is_sent_and_inode_passed_on() {
        let (notifier, said, passed) = started();
        assert!(notifier.hear(gone(7)) && notifier.hear(changed(8)));
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("gone 1 n 7"));
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 8 true"));
        assert_eq!(passed.recv_timeout(LONG), Ok(7));
        notifier.end();
        assert!(!notifier.hear(gone(9)));
    }

    #[test]
    fn busy_inode_is_not_notified() {
        let (notifier, said, _passed) = started();
        let (one, two) = (notifier.busy(&[8, 1]), notifier.busy(&[8]));
        notifier.hear(changed(8));
        notifier.hear(changed(9));
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 9 true"));
        drop(one);
        notifier.hear(changed(10));
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 10 true"));
        drop(two);
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 8 true"));
        assert!(notifier.state.lock().busy.is_empty());
    }

    #[test]
    fn invalidation_of_busy_inode_sends_data_later() {
        let (notifier, said, _passed) = started();
        let busy = notifier.busy(&[8]);
        notifier.invalidate(&[7, 8]);
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 7 true"));
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 8 false"));
        drop(busy);
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 8 true"));
    }

    #[test]
    fn attributes_are_invalidated_if_changed_or_pending() {
        let (notifier, said, _passed) = started();
        notifier.invalidate_attributes(8, false);
        notifier.invalidate_attributes(8, true);
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 8 false"));
        let busy = notifier.busy(&[9]);
        notifier.hear(changed(9));
        notifier.invalidate_attributes(9, false);
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 9 false"));
        drop(busy);
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 9 true"));
    }

    #[test]
    fn expired_notification_is_dropped_and_inode_passed_on() {
        let (notifier, _said, passed) = started();
        let busy = notifier.busy(&[1]);
        notifier.hear(gone(7));
        assert_eq!(passed.recv_timeout(LONG), Ok(7));
        assert_eq!(
            notifier.counts(),
            Counts {
                sent: 0,
                dropped: 1
            }
        );
        drop(busy);
    }

    #[test]
    fn full_queue_refuses_and_reserves_room_for_data() {
        let (notifier, _said, _passed) = started();
        let busy = notifier.busy(&[1, 8]);
        let names = (0..2 * QUEUE_LIMIT)
            .filter(|_| notifier.hear(gone(7)))
            .count();
        let contents = (0..2 * QUEUE_LIMIT)
            .filter(|_| notifier.hear(changed(8)))
            .count();
        assert_eq!(
            (names, contents),
            (SHORT_LIVED_LIMIT, QUEUE_LIMIT - SHORT_LIVED_LIMIT)
        );
        notifier.end();
        drop(busy);
    }
}
