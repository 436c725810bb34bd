//! Asks for the version of a file that was just stored, until the server shows it.
//!
//! The reply to `STOR` is the server's word. Object stores show a new file some seconds later, and drop boxes take it away at
//! once or show nothing at all: then the name is asked for again with growing pauses, and at last counts as stored.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::remote::{Deadline, Done, RemotePath, Result, Step, Then, Updated, Version, Why};

/// Pauses between the questions, in milliseconds: less than five seconds together.
const PAUSES: [u64; 6] = [100, 200, 400, 800, 1500, 1900];
/// Files of a directory that were never seen, before its next ones are asked for only once.
const UNSEEN_LIMIT: u32 = 2;
/// Directories that are kept at most.
const DIRECTORIES_LIMIT: usize = 1024;

/// How many files that were stored were not seen then, by directory.
#[derive(Debug, Default)]
pub struct Unseen {
    counts: Mutex<HashMap<RemotePath, u32>>,
}

impl Unseen {
    fn is_usual(&self, directory: &RemotePath) -> bool {
        self.counts.lock().get(directory) >= Some(&UNSEEN_LIMIT)
    }

    fn add(&self, directory: RemotePath) {
        let mut counts = self.counts.lock();
        if counts.len() < DIRECTORIES_LIMIT || counts.contains_key(&directory) {
            *counts.entry(directory).or_default() += 1;
        }
    }

    /// Forgets all of them.
    pub fn forget_all(&self) {
        self.counts.lock().clear();
    }

    fn forget(&self, directory: &RemotePath) {
        self.counts.lock().remove(directory);
    }
}

/// Sets `then` on the stored `file` and asks for its version; `perform` sends steps.
pub fn confirm(
    unseen: &Unseen,
    file: &RemotePath,
    then: Then,
    perform: &dyn Fn(&[Step<'_>]) -> Vec<Result<Done>>,
    deadline: &Deadline,
) -> Result<Updated> {
    let directory = file.parent().unwrap_or_default();
    let mut pauses = PAUSES.into_iter().map(Duration::from_millis);
    loop {
        let said = then.updated(perform(&then.steps(file)));
        match said {
            Err(error) if error.why() == Some(Why::NotFound) => {}
            Ok(updated) => {
                unseen.forget(&directory);
                return Ok(updated);
            }
            said => return said,
        }
        let left = deadline.remaining().unwrap_or_default();
        // Time must remain for the question after the pause.
        match pauses.next().filter(|pause| *pause * 2 < left) {
            Some(pause) if !unseen.is_usual(&directory) => thread::sleep(pause),
            _ => break,
        }
    }
    unseen.add(directory);
    log::warn!("store: the server has confirmed {file} but does not show it");
    Ok(Updated {
        version: Version::default(),
        mode: None,
        modified: None,
        shown_mode: None,
    })
}

/// Sets `then` on the stored `file`, and asks nothing.
pub fn set_only(
    file: &RemotePath,
    then: Then,
    perform: &dyn Fn(&[Step<'_>]) -> Vec<Result<Done>>,
) -> Updated {
    let mut steps = then.steps(file);
    steps.retain(|step| !matches!(step, Step::Version(_)));
    let mut results = (perform(&steps).into_iter()).map(|result| result.map(|_| ()));
    Updated {
        version: Version::default(),
        mode: then.mode.and_then(|_| results.next()),
        modified: then.modified.and_then(|_| results.next()),
        shown_mode: None,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::remote::Error;

    #[test]
    fn file_seen_late_is_asked_for_again_and_one_never_seen_is_stored() {
        let unseen = Unseen::default();
        let file = RemotePath::default().join(b"f").expect("a path");
        let deadline = Deadline::after(Duration::from_secs(1));
        let asked = Cell::new(0);
        let shown_after = |hidden: u32| {
            asked.set(0);
            let perform = |_: &[Step<'_>]| {
                asked.set(asked.get() + 1);
                vec![match asked.get() > hidden {
                    true => Ok(Done::Version(Version {
                        size: Some(1),
                        modified: None,
                    })),
                    false => Err(Error::refused(Why::NotFound, "SIZE", "550")),
                }]
            };
            let said = confirm(&unseen, &file, Then::default(), &perform, &deadline);
            said.expect("stored").version.size
        };
        assert_eq!((shown_after(0), asked.get()), (Some(1), 1));
        assert_eq!((shown_after(1), asked.get()), (Some(1), 2));
        assert_eq!(shown_after(u32::MAX), None);
        assert!(asked.get() > 1);
        assert_eq!(shown_after(u32::MAX), None);
        assert_eq!((shown_after(u32::MAX), asked.get()), (None, 1));
    }
}
