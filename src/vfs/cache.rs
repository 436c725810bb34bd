//! Caches file contents in blocks: in memory, and on disk for later mounts.
//!
//! - `memory`: the block cache, least recently used first out.
//! - `read_buffer`: the bytes of one read, shared with the blocks.
//! - `disk`: blocks on disk that outlive a mount.

pub(crate) mod disk;
pub(crate) mod memory;
pub(crate) mod read_buffer;

/// Bytes of a block: half of what the kernel asks for at once, so that few replies are put together from several.
pub const BLOCK: u64 = 256 * 1024;
/// The same, as the length of a buffer.
pub const BLOCK_LENGTH: usize = BLOCK as usize;

/// What is there of a block.
#[derive(Debug)]
pub struct Block {
    /// The offset in the block at which the bytes begin.
    pub from: usize,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The file ends after them.
    pub ends: bool,
}

impl Block {
    /// Offset in the block after the last byte.
    pub fn to(&self) -> usize {
        self.from + self.bytes.len()
    }
}
