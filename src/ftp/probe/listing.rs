//! Tests how a server lists a directory, and whether `RETR` starts at the offset of `REST`.

use crate::ftp::listing::{Clock, Line, Parser};
use crate::ftp::pool::Purpose;
use crate::ftp::profile::Support;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::time_val::now;
use crate::ftp::transfer::listing_stream as lines;
use crate::process::printable::printable_bytes;
use crate::remote::{
    Completeness, Deadline, Entry, Error, Kind, Reading, Remote, RemotePath, Result, Source, Why,
};

use crate::ftp::probe::{Inspection, caller, said};

/// The listing of the directory, as tested.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The command: `MLSD`, `LIST -a` or `LIST`.
    pub by: String,
    /// The format of the lines: `facts`, `Unix`, `DOS` and so on; `None` where there was no line.
    pub format: Option<&'static str>,
    /// The number of entries.
    pub entries: usize,
    /// Whether the listing was received and parsed completely.
    pub is_whole: bool,
    /// The number of unreadable lines, and the first of them.
    pub unreadable: (usize, Option<String>),
    /// The offset of the listed times in seconds east of UTC, where they are local and it was learned.
    pub zone: Option<i32>,
    /// Whether the server has `MDTM`, where that was tried.
    pub mdtm: Option<bool>,
    /// Files for the read test, best first.
    pub samples: Vec<RemotePath>,
}

/// Whether a transfer starts at the offset of `REST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It starts there.
    Honest,
    /// It starts at the first byte, though the server accepted `REST`.
    Ignored,
    /// Other bytes came.
    Wrong,
    /// The server refuses `REST`.
    Refused(String),
    /// The content of the file does not show it.
    Undecided,
}

/// Bytes of a file that are compared.
const SAMPLE_BYTES: usize = 64 * 1024;
/// The least size in bytes of a good sample.
const MIN_SAMPLE_SIZE: u64 = 64;
/// The most files that are tried: some may be unreadable.
const SAMPLE_FILES: usize = 3;

impl Inspection {
    /// Lists the directory, and counts the lines that can't be read; with the first of them.
    fn unreadable_lines(
        &self,
        command: Command<'static>,
        deadline: &Deadline,
    ) -> Result<(Parser, (usize, Option<String>))> {
        let directory = &self.client.pool().root().absolute(&RemotePath::root())?;
        let clock = Clock {
            now: now(),
            zone: 0,
        };
        self.client
            .repeat(Purpose::Listing, &[], &caller(deadline), |mut lease, _| {
                // A preconnected data connection would hide how one is made.
                drop(lease.take_preconnected());
                let mut parser = match command {
                    Command::Mlsd => Parser::facts(),
                    _ => Parser::list(clock),
                };
                let (mut count, mut first) = (0, None);
                let mut take = |line: &[u8]| {
                    if parser.line(line) == Line::Unreadable {
                        count += 1;
                        first.get_or_insert_with(|| printable_bytes(line.trim_ascii_end()));
                    }
                    true
                };
                lines::listing(&mut lease, directory, command, deadline, &mut take)?
                    .conclude(&mut lease, deadline)?;
                Ok((parser, (count, first)))
            })
    }

    /// Lists the directory, as a mount does.
    pub fn listed(&self, deadline: &Deadline) -> Result<Listed> {
        let root = RemotePath::root();
        let mut entries: Vec<Entry> = Vec::new();
        let completeness = self
            .client
            .list(&root, &caller(deadline), &mut |entry| entries.push(entry))?;
        let learned = self.client.pool().profile().get();
        let command = match (learned.features.mlst(), learned.listing.list_all) {
            (true, _) => Command::Mlsd,
            (false, Support::Yes) => Command::List("-a"),
            (false, _) => Command::List(""),
        };
        let (parser, unreadable) = self.unreadable_lines(command, deadline)?;
        let mut samples: Vec<(u64, RemotePath)> = entries
            .iter()
            .filter(|entry| entry.attributes.kind == Kind::File)
            .filter_map(|entry| Some((entry.attributes.size?, root.join(&entry.name)?)))
            .filter(|(size, _)| *size > 1)
            .collect();
        samples.sort_by_key(|(size, _)| (*size < MIN_SAMPLE_SIZE, *size));
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
                .take(SAMPLE_FILES)
                .map(|(_, path)| path)
                .collect(),
        })
    }

    /// Tests whether `RETR` starts at the offset of `REST`, with the first of these files that can be read.
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

    /// The first bytes of a file from an offset on, and whether the file ends within them.
    fn sample(&self, file: &RemotePath, from: u64, deadline: &Deadline) -> Result<(Vec<u8>, bool)> {
        let mut source = self
            .client
            .begin(file, &Reading::at(from), &caller(deadline))?;
        let bytes = source.read_up_to(SAMPLE_BYTES, deadline)?;
        let ends = bytes.len() < SAMPLE_BYTES;
        Ok((bytes, ends))
    }
}

/// Compares the bytes `rest` after `REST at` with the file, which begins with `whole`, and with `ends` also ends there.
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
    fn restart_is_judged_by_the_bytes_at_the_offset() {
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
