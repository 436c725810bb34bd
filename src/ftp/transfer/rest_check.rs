//! Checks that transfers begin at the offset of `REST`.
//!
//! Some servers answer `REST` with 350 and send the file from its start all the same. The number of bytes shows it:
//! after `REST` to the last byte one byte must come. That is tried once, before bytes from the middle of a file are
//! believed for the first time, and kept in the profile; and once more beyond 2 and 4 GiB, where servers that count in
//! 32 bits begin elsewhere. Where the last bytes of the file are wanted, they show it themselves, at no cost.
//!
//! Where it stays unknown, `Why::Unsupported` says that the file is to be read from its start.

use crate::ftp::profile::{Profile, Support};
use crate::ftp::transfer::download::Download;
use crate::remote::{Deadline, Error, Reading, RemotePath, Result, Source, Version, Why};

/// Bytes at the end of a file that are held back until all have come, as proof of their offset.
const TAIL_LIMIT: u64 = 128 * 1024;

/// A file that is to be read in its middle, on a server that was not seen yet to obey `REST`.
pub struct Doubtful<'a> {
    /// The file.
    pub file: &'a RemotePath,
    /// What was learned of the server.
    pub profile: &'a Profile,
    /// Starts a transfer of it, wherever the server begins then.
    pub begin: &'a dyn Fn(&Reading) -> Result<Download>,
    /// Asks for its size in bytes; `None` where the server shows none.
    pub size: &'a dyn Fn() -> Result<Option<u64>>,
    /// How long all of it may take.
    pub deadline: &'a Deadline,
}

impl Doubtful<'_> {
    /// Reads it, or refuses to.
    pub fn read(&self, reading: &Reading) -> Result<Box<dyn Source>> {
        let mut size = reading.size;
        if let Some(left) = size.and_then(|size| size.checked_sub(reading.from))
            && (1..=TAIL_LIMIT).contains(&left)
        {
            let download = (self.begin)(reading)?;
            if let Some(tail) = Tail::of(download, left, self.deadline)? {
                self.learn(true, reading.from);
                return Ok(Box::new(tail));
            }
            // More than that: it ignores REST, or the file has grown.
            size = None;
        }
        self.prove(size)?;
        Ok(Box::new((self.begin)(reading)?))
    }

    /// Has the last byte sent of the file, whose size is asked for if it is not given; an error is a reason to read from the
    /// start, and to store no part.
    pub fn prove(&self, size: Option<u64>) -> Result<()> {
        let size = match size {
            Some(size) => Some(size),
            None => (self.size)()?,
        };
        let Some(size) = size.filter(|&size| size > 1) else {
            return Err(self.refusal("there is no telling whether the server obeys REST"));
        };
        let begun = (self.begin)(&Reading::at(size - 1));
        match begun.and_then(|download| Tail::of(download, 1, self.deadline)) {
            Ok(Some(_)) => {
                self.learn(true, size - 1);
                Ok(())
            }
            Ok(None) | Err(Error::Refused { .. }) if (self.size)()? != Some(size) => {
                Err(self.refusal("its size has changed while REST was tried"))
            }
            Ok(None) => {
                self.learn(false, size - 1);
                Err(self.refusal("the server does not obey REST"))
            }
            Err(error) => Err(error),
        }
    }

    fn learn(&self, honest: bool, at: u64) {
        if !honest {
            log::warn!(
                "download: the server ignores REST: seeking disabled, files are read from offset 0"
            );
        }
        self.profile.learn(|learned| {
            learned.partial.rest_retr = Support::from(honest);
            learned.this_mount.rest_retr_reach = learned.this_mount.rest_retr_reach.max(at);
        });
    }

    fn refusal(&self, why: &str) -> Error {
        let tried = format!("reading {} in its middle", self.file);
        Error::refused(Why::Unsupported, tried, why)
    }
}

/// The last bytes of a file, which have come already, and the rest of their transfer.
struct Tail {
    bytes: Vec<u8>,
    given: usize,
    download: Download,
}

impl Tail {
    /// Takes all that comes; `None` if that is more than `left` bytes, or less.
    fn of(mut download: Download, left: u64, deadline: &Deadline) -> Result<Option<Self>> {
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left + 1];
        let mut filled = 0;
        while filled < bytes.len() {
            match download.receive(&mut bytes[filled..], deadline)? {
                0 => break,
                length => filled += length,
            }
        }
        bytes.truncate(filled);
        let tail = Self {
            bytes,
            given: 0,
            download,
        };
        Ok((filled == left).then_some(tail))
    }
}

impl Source for Tail {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize> {
        let rest = &self.bytes[self.given..];
        if rest.is_empty() {
            return self.download.read(buffer, deadline);
        }
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.given += length;
        Ok(length)
    }

    fn version(&self) -> Option<Version> {
        self.download.version()
    }

    fn wanted(&self) -> bool {
        self.download.wanted()
    }
}
