//! Notices: the kernel is told what others changed on the server, so that what it keeps goes at once.
//!
//! The one idea: to take a notice in, the kernel takes locks (of the directory, of the inode, of pages that
//! are being read), and whoever holds one of them may be waiting for an answer of ours. So one thread of its
//! own tells it, which holds no lock of ours; and it tells nothing of what a request is under way for. That
//! thread would only wait, but a process that is killed while one of its threads waits so keeps the mount,
//! and everybody in it, from ending.
//!
//! For attributes alone the kernel takes no lock. So an open that has found other ones corrects them itself
//! before it is answered: the kernel would cut what is read to the size that it knows.
//!
//! Nobody waits for a notice, and one may be lost. Names and attributes time out in the kernel a second
//! after they were told (`vfs/shown.rs`); a changed size or time makes it drop pages when it hears of it.
//! So a full queue takes no more, and what could not be told for long is told no more.
//!
//! Lock order: the lock here is taken under the file system's, and nothing is called under it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::thread::spawn_thread;
use crate::vfs::{Listener, News};

/// What the kernel can be told.
pub trait Kernel: Send + Sync {
    /// `name` in `parent` was `ino`, and is gone.
    fn gone(&self, parent: u64, name: &[u8], ino: u64) -> io::Result<()>;
    /// The attributes of `ino` have changed, and with `content` its bytes.
    fn changed(&self, ino: u64, content: bool) -> io::Result<()>;
}

/// Notices that wait. Some 100 bytes each: this is the news of a large directory all of which was changed.
const QUEUE: usize = 16 * 1024;
/// Of these, so many may be about what the kernel forgets by itself soon.
const PASSING: usize = QUEUE / 4 * 3;
/// Names and attributes last a second in the kernel: later there is nothing to be told of them.
const LASTS: Duration = Duration::from_secs(1);
/// Pages stay: whoever has mapped them is worth a longer wait. Those who read ask for the attributes.
const PAGES_LAST: Duration = Duration::from_secs(30);
/// Notices that are looked at for one that can be told now.
const LOOK: usize = 64;
/// How often it is looked whether a notice that can't be told is old enough to be dropped.
const AGAIN: Duration = Duration::from_millis(100);

/// The notices.
#[derive(Default)]
pub struct Notices {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(News, Instant)>,
    /// For which inodes requests are under way, and how many.
    busy: HashMap<u64, u32>,
    /// The thread has one of them in hand.
    telling: bool,
    /// Who is told; `None` before the start and after the end.
    kernel: Option<Arc<dyn Kernel>>,
    told: u64,
    dropped: u64,
}

/// How many notices there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The kernel was told.
    pub told: u64,
    /// It was not: too many, or too late.
    pub dropped: u64,
}

/// Requests are under way for some inodes, until this is dropped.
pub struct Busy {
    notices: Arc<Notices>,
    inodes: Box<[u64]>,
}

/// What is to be done next.
enum Next {
    Tell(News),
    Drop(News),
}

impl Notices {
    /// A request is under way for which the kernel may hold locks of these inodes.
    pub fn busy(self: &Arc<Self>, inodes: &[u64]) -> Busy {
        if !inodes.is_empty() {
            let mut state = self.state.lock();
            for &ino in inodes {
                *state.busy.entry(ino).or_default() += 1;
            }
        }
        Busy {
            notices: Arc::clone(self),
            inodes: inodes.into(),
        }
    }

    /// Starts to tell `kernel`, by a thread of its own, until [`Self::end`]. `passed` gets the number of
    /// each inode whose name was gone, once the kernel was told or will not be.
    pub fn start(
        self: &Arc<Self>,
        kernel: Arc<dyn Kernel>,
        passed: impl Fn(u64) + Send + 'static,
    ) -> io::Result<()> {
        self.state.lock().kernel = Some(Arc::clone(&kernel));
        let notices = Arc::clone(self);
        let tell = move || {
            while let Some(next) = notices.next() {
                let gone = match &next {
                    Next::Tell(news) | Next::Drop(news) => match news {
                        News::Gone { ino, .. } => Some(*ino),
                        News::Changed { .. } => None,
                    },
                };
                if let Next::Tell(news) = &next {
                    notices.tell(kernel.as_ref(), news);
                }
                gone.into_iter().for_each(&passed);
            }
        };
        let spawned = spawn_thread("notices", tell);
        if spawned.is_err() {
            self.end();
        }
        spawned
    }

    /// Tells the kernel that all it keeps of these inodes may be wrong; returns when that is done. To be
    /// called by a thread that answers no request, with no lock held. Names stay: they last no longer than
    /// the attributes, and to drop one would unmount what is mounted below it.
    pub fn forget(&self, inodes: &[u64]) {
        for &ino in inodes {
            let (kernel, is_busy) = {
                let state = self.state.lock();
                (state.kernel.clone(), state.is_busy(ino))
            };
            let Some(kernel) = kernel else {
                return;
            };
            // Attributes need no lock.
            let changed = |content| News::Changed { ino, content };
            self.tell(kernel.as_ref(), &changed(!is_busy));
            if is_busy {
                self.hear(changed(true));
            }
        }
    }

    /// Has the kernel ask for the attributes of `ino` anew, if they have changed or may have: before an
    /// answer by which it goes on to use them. This may be called by the thread that gives the answer, since
    /// for attributes alone the kernel takes no lock that somebody could hold while he waits for us.
    pub fn correct(&self, ino: u64, changed: bool) {
        let kernel = {
            let state = self.state.lock();
            let may_be = changed || state.telling || !state.queue.is_empty();
            state.kernel.clone().filter(|_| may_be)
        };
        if let Some(kernel) = kernel {
            let content = false;
            self.tell(kernel.as_ref(), &News::Changed { ino, content });
        }
    }

    /// Nothing more is told.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.kernel = None;
        state.queue.clear();
        self.changed.notify_all();
    }

    /// How many there were.
    pub fn counts(&self) -> Counts {
        let state = self.state.lock();
        Counts {
            told: state.told,
            dropped: state.dropped,
        }
    }

    fn tell(&self, kernel: &dyn Kernel, news: &News) {
        let told = match news {
            News::Gone { parent, name, ino } => kernel.gone(*parent, name, *ino),
            News::Changed { ino, content } => kernel.changed(*ino, *content),
        };
        match told {
            Ok(()) => self.state.lock().told += 1,
            Err(error) => match error.raw_os_error() {
                // It does not know it any more; or it is in use (a mountpoint, a directory that somebody
                // is in), and then the name is forgotten all the same.
                Some(libc::ENOENT | libc::ENOTEMPTY | libc::EBUSY) => {}
                // The mount is ending.
                Some(libc::ENODEV | libc::ENOTCONN | libc::ECONNABORTED) => self.end(),
                // Its own timeouts will do.
                _ => log::debug!("telling the kernel {news:?}: {error}"),
            },
        }
    }

    /// Waits for the next one; `None` at the end.
    fn next(&self) -> Option<Next> {
        let mut state = self.state.lock();
        loop {
            state.kernel.as_ref()?;
            let next = state.take(Instant::now());
            state.telling = next.is_some();
            if let Some(next) = next {
                return Some(next);
            }
            if state.queue.is_empty() {
                self.changed.wait(&mut state);
            } else {
                self.changed.wait_for(&mut state, AGAIN);
            }
        }
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notices").field(&self.counts()).finish()
    }
}

impl Listener for Notices {
    fn hear(&self, news: News) -> bool {
        let room = match news {
            News::Changed { content: true, .. } => QUEUE,
            _ => PASSING,
        };
        let mut state = self.state.lock();
        if state.kernel.is_none() {
            return false;
        }
        // Not the oldest instead: whoever sent it relies on hearing of it again.
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
    /// The first that can be told, or that is too old to be.
    fn take(&mut self, now: Instant) -> Option<Next> {
        for at in 0..self.queue.len().min(LOOK) {
            let (news, since) = &self.queue[at];
            let (is_busy, lasts) = match news {
                News::Gone { parent, ino, .. } => {
                    (self.is_busy(*parent) || self.is_busy(*ino), LASTS)
                }
                News::Changed { ino, content } => (
                    self.is_busy(*ino),
                    if *content { PAGES_LAST } else { LASTS },
                ),
            };
            let is_late = now.saturating_duration_since(*since) > lasts;
            if !is_busy || is_late {
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
        let mut state = self.notices.state.lock();
        for ino in &self.inodes {
            if let Some(requests) = state.busy.get_mut(ino) {
                *requests -= 1;
                if *requests == 0 {
                    state.busy.remove(ino);
                }
            }
        }
        if !state.queue.is_empty() {
            self.notices.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A kernel that says what it was told.
    struct Says(Sender<String>);

    impl Kernel for Says {
        fn gone(&self, parent: u64, name: &[u8], ino: u64) -> io::Result<()> {
            let said = format!("gone {parent} {} {ino}", name.escape_ascii());
            self.0.send(said).expect("somebody listens");
            Err(io::Error::from_raw_os_error(libc::ENOENT))
        }

        fn changed(&self, ino: u64, content: bool) -> io::Result<()> {
            let said = format!("changed {ino} {content}");
            self.0.send(said).expect("somebody listens");
            Ok(())
        }
    }

    fn started() -> (Arc<Notices>, Receiver<String>, Receiver<u64>) {
        let notices = Arc::new(Notices::default());
        let ((say, said), (pass, passed)) = (channel(), channel());
        notices
            .start(Arc::new(Says(say)), move |ino| {
                pass.send(ino).expect("listens")
            })
            .expect("a thread");
        (notices, said, passed)
    }

    fn gone(ino: u64) -> News {
        News::Gone {
            parent: 1,
            name: Arc::from(&b"n"[..]),
            ino,
        }
    }

    fn changed(ino: u64) -> News {
        News::Changed { ino, content: true }
    }

    #[test]
    fn news_reach_the_kernel_and_numbers_are_given_back() {
        let (notices, said, passed) = started();
        assert!(notices.hear(gone(7)) && notices.hear(changed(8)));
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("gone 1 n 7"));
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 8 true"));
        assert_eq!(passed.recv_timeout(LONG), Ok(7));
        notices.end();
        assert!(!notices.hear(gone(9)));
    }

    #[test]
    fn nothing_is_told_of_what_a_request_is_under_way_for() {
        let (notices, said, _passed) = started();
        let (one, two) = (notices.busy(&[8, 1]), notices.busy(&[8]));
        notices.hear(changed(8));
        notices.hear(changed(9));
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 9 true"));
        drop(one);
        notices.hear(changed(10));
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 10 true"));
        drop(two);
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 8 true"));
        assert!(notices.state.lock().busy.is_empty());
    }

    #[test]
    fn all_is_told_to_be_wrong_and_pages_that_are_read_a_little_later() {
        let (notices, said, _passed) = started();
        let busy = notices.busy(&[8]);
        notices.forget(&[7, 8]);
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 7 true"));
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 8 false"));
        drop(busy);
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 8 true"));
    }

    #[test]
    fn attributes_are_corrected_where_they_have_changed_or_may_have() {
        let (notices, said, _passed) = started();
        notices.correct(8, false);
        notices.correct(8, true);
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 8 false"));
        let busy = notices.busy(&[9]);
        notices.hear(changed(9));
        notices.correct(9, false);
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 9 false"));
        drop(busy);
        assert_eq!(said.recv_timeout(LONG).as_deref(), Ok("changed 9 true"));
    }

    #[test]
    fn what_times_out_by_itself_is_dropped_and_its_number_given_back() {
        let (notices, _said, passed) = started();
        let busy = notices.busy(&[1]);
        notices.hear(gone(7));
        assert_eq!(passed.recv_timeout(LONG), Ok(7));
        assert_eq!(
            notices.counts(),
            Counts {
                told: 0,
                dropped: 1
            }
        );
        drop(busy);
    }

    #[test]
    fn a_full_queue_takes_no_more_and_keeps_a_part_for_contents() {
        let (notices, _said, _passed) = started();
        let busy = notices.busy(&[1, 8]);
        let names = (0..2 * QUEUE).filter(|_| notices.hear(gone(7))).count();
        let contents = (0..2 * QUEUE).filter(|_| notices.hear(changed(8))).count();
        assert_eq!((names, contents), (PASSING, QUEUE - PASSING));
        notices.end();
        drop(busy);
    }
}
