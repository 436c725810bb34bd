//! Tests how a server lists a directory, and whether `RETR` starts at the offset of `REST`.

use crate::ftp::client::patch_probe::read_up_to;
use crate::ftp::listing::{Clock, Line, Parser};
use crate::ftp::profile::Support;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::time_val::now;
use crate::ftp::transfer::listing_stream as lines;
use crate::process::printable::printable_bytes;
use crate::remote::{
    Completeness, Deadline, Entry, Error, Kind, Reading, Remote, RemotePath, Result, Why,
};

use crate::ftp::probe::{Inspection, caller, said};

/// How the directory is listed.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The command: `MLSD`, `LIST -a` or `LIST`.
    pub by: String,
    /// The format of the lines: `facts`, `Unix`, `DOS` and so on; `None` where there was no line.
    pub format: Option<&'static str>,
    /// Entries.
    pub entries: usize,
    /// Whether all of it came and could be read.
    pub is_whole: bool,
    /// Lines that can't be read, and the first of them.
    pub unreadable: (usize, Option<String>),
    /// The zone of the times, in seconds east of UTC, where a listing has local ones and it was learned.
    pub zone: Option<i32>,
    /// Whether `MDTM` tells exact times, where that was tried.
    pub mdtm: Option<bool>,
    /// Files by which reading can be tried, best first.
    pub samples: Vec<RemotePath>,
}

/// Whether a transfer begins where `REST` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It does.
    Honest,
    /// It begins at the first byte, though the server said yes.
    Ignored,
    /// Something else came.
    Wrong,
    /// The server refuses `REST`.
    Refused(String),
    /// The content of the file does not tell.
    Undecided,
}

/// Bytes of a file that are looked at.
const SAMPLE: usize = 64 * 1024;
/// Below so many bytes, a file tells little.
const WORTHWHILE: u64 = 64;
/// Files that are tried: some can't be read.
const SAMPLES: usize = 3;

impl Inspection {
    /// Lists the directory, as a mount does.
    pub fn listed(&self, deadline: &Deadline) -> Result<Listed> {
        let root = RemotePath::root();
        let mut entries: Vec<Entry> = Vec::new();
        let completeness = self
            .client
            .list(&root, &caller(deadline), &mut |entry| entries.push(entry))?;
        let learned = self.client.pool().profile().get();
        let (command, mut parser) = if learned.features.mlst() {
            (Command::Mlsd, Parser::facts())
        } else {
            let clock = Clock {
                now: now(),
                zone: 0,
            };
            let all = learned.listing.list_all == Support::Yes;
            let switches = if all { "-a" } else { "" };
            (Command::List(switches), Parser::list(clock))
        };
        let mut unreadable = (0, None);
        let mut lease = self.lease(deadline)?;
        let place = self.client.pool().place();
        lines::listing(
            &mut lease,
            &place.absolute(&root)?,
            command,
            deadline,
            &mut |line| {
                if parser.line(line) == Line::Unreadable {
                    unreadable.0 += 1;
                    unreadable
                        .1
                        .get_or_insert_with(|| printable_bytes(line.trim_ascii_end()));
                }
            },
        )?
        .conclude(&mut lease, deadline)?;
        let mut samples: Vec<(u64, RemotePath)> = entries
            .iter()
            .filter(|entry| entry.attributes.kind == Kind::File)
            .filter_map(|entry| Some((entry.attributes.size?, root.join(&entry.name)?)))
            .filter(|(size, _)| *size > 1)
            .collect();
        samples.sort_by_key(|(size, _)| (*size < WORTHWHILE, *size));
        Ok(Listed {
            by: command.to_string(),
            format: parser.format().filter(|_| !entries.is_empty()),
            entries: entries.len(),
            is_whole: completeness == Completeness::Whole,
            unreadable,
            zone: learned.attributes.zone,
            mdtm: learned.attributes.mdtm.known(),
            samples: samples
                .into_iter()
                .take(SAMPLES)
                .map(|(_, path)| path)
                .collect(),
        })
    }

    /// Whether reading begins where it is told to, by the first of these files that can be read.
    pub fn reading(&self, samples: &[RemotePath], deadline: &Deadline) -> Result<Option<Restart>> {
        for file in samples {
            match self.reading_of(file, deadline) {
                Err(Error::Refused { .. }) => {}
                Err(error) => return Err(error),
                Ok(restart) => {
                    let honest = match restart {
                        Restart::Honest => Some(true),
                        Restart::Undecided => None,
                        _ => Some(false),
                    };
                    let profile = self.client.pool().profile();
                    profile.learn(|learned| {
                        learned.partial.rest_retr =
                            Support::from(honest).or(learned.partial.rest_retr)
                    });
                    return Ok(Some(restart));
                }
            }
        }
        Ok(None)
    }

    fn reading_of(&self, file: &RemotePath, deadline: &Deadline) -> Result<Restart> {
        let (whole, ends) = self.sample(file, 0, deadline)?;
        let at = whole.len() / 2;
        if at == 0 {
            return Ok(Restart::Undecided);
        }
        match self.sample(file, at as u64, deadline) {
            Err(error) if error.why() == Some(Why::Unsupported) => {
                Ok(Restart::Refused(said(&error)))
            }
            Err(error) => Err(error),
            Ok((rest, _)) => Ok(compare(&whole, at, &rest, ends)),
        }
    }

    /// The first bytes of a file from an offset on, and whether it ended within them.
    fn sample(&self, file: &RemotePath, from: u64, deadline: &Deadline) -> Result<(Vec<u8>, bool)> {
        let mut source = self
            .client
            .begin(file, &Reading::at(from), &caller(deadline))?;
        let bytes = read_up_to(SAMPLE, &mut source, deadline)?;
        let ends = bytes.len() < SAMPLE;
        Ok((bytes, ends))
    }
}

/// Judges what came after `REST at`, when the file begins with `whole`, and perhaps `ends` there.
fn compare(whole: &[u8], at: usize, rest: &[u8], ends: bool) -> Restart {
    let expected = &whole[at..];
    let fits = |expected: &[u8]| match ends {
        true => rest == expected,
        false => rest.starts_with(&expected[..expected.len().min(rest.len())]) && !rest.is_empty(),
    };
    match (fits(expected), fits(whole)) {
        (true, true) => Restart::Undecided,
        (true, false) => Restart::Honest,
        (false, true) => Restart::Ignored,
        (false, false) => Restart::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_judged_by_what_lies_there() {
        let whole = b"abcdefgh";
        for (rest, ends, verdict) in [
            (&b"efgh"[..], true, Restart::Honest),
            (b"abcdefgh", true, Restart::Ignored),
            (b"efg", true, Restart::Wrong),
            (b"", true, Restart::Wrong),
            (b"efghijkl", false, Restart::Honest),
            (b"abcdefgh", false, Restart::Ignored),
            (b"xxxxxxxx", false, Restart::Wrong),
        ] {
            assert_eq!(compare(whole, 4, rest, ends), verdict, "{rest:?} {ends}");
        }
        let same = [7; 8];
        assert_eq!(compare(&same, 4, &same, false), Restart::Undecided);
        assert_eq!(compare(&same, 4, &same[4..], true), Restart::Honest);
    }
}
