//! Checks that `REST` reaches beyond 2 GiB before a part of a file is stored there: a server that counts in 32 bits would
//! store it elsewhere in the file, and that destroys what is there.
//!
//! Within a file its last byte shows it, as before reading there (`rest_check`). Beyond its end nothing can be read: a
//! temporary file shows it, by its size (`patch_probe`).

use crate::ftp::client::{Client, patch_probe};
use crate::ftp::transfer::rest_check::Doubtful;
use crate::remote::{Ask, Error, RemotePath, Result, Why};

impl Client {
    /// Does `work` on a server that was not seen yet to obey `REST` in this file.
    pub(in crate::ftp::client) fn doubt<T>(
        &self,
        file: &RemotePath,
        ask: &Ask<'_>,
        work: impl FnOnce(&Doubtful<'_>) -> Result<T>,
    ) -> Result<T> {
        work(&Doubtful {
            file,
            profile: self.pool.profile(),
            begin: &|reading| self.begin(file, reading, ask),
            size: &|| self.size(file, ask),
            deadline: ask.deadline,
        })
    }

    /// Learns whether a part can be stored at `offset` of a file that has `size` bytes on the server, 0 for a new one.
    /// [`Why::Unsupported`] where it can not: the file is to be stored whole.
    pub(in crate::ftp::client) fn check_far_part(
        &self,
        file: &RemotePath,
        offset: u64,
        size: u64,
        ask: &Ask<'_>,
    ) -> Result<()> {
        let is_doubted = || self.pool.profile().ask(|it| it.doubts_part_at(offset));
        if !is_doubted() {
            return Ok(());
        }
        let reaches = if offset > size {
            patch_probe::reaches_far(&self.pool, file, ask)?
        } else {
            self.doubt(file, ask, |doubtful| doubtful.prove(Some(size)))?;
            !is_doubted()
        };
        match reaches {
            true => Ok(()),
            false => Err(Error::refused(
                Why::Unsupported,
                format!("storing a part of {file} at {offset}"),
                "the server was not seen to know such offsets",
            )),
        }
    }
}
