//! Caches file contents in blocks: in memory, and on disk for later mounts. [`Bytes`] carries pieces of blocks to a reader,
//! which are not copied until they must be in a row.
//!
//! - `memory`: the block cache, least recently used first out.
//! - `disk`: blocks on disk that outlive a mount.

pub(crate) mod disk;
pub(crate) mod memory;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

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

/// What was read.
#[derive(Debug, Default)]
pub struct Bytes {
    parts: Vec<Part>,
    length: usize,
}

#[derive(Debug)]
enum Part {
    Own(Vec<u8>),
    Shared(Arc<Block>, Range<usize>),
}

impl Part {
    fn slice(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(block, range) => block.bytes.get(range.clone()).unwrap_or_default(),
        }
    }
}

thread_local! {
    /// Used again by each reply of a thread: fresh memory costs more than the copy.
    static ROW: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Bytes {
    /// Adds a piece of a block, by offsets in its bytes.
    pub fn push_block(&mut self, block: Arc<Block>, range: Range<usize>) {
        self.length += range.len();
        self.parts.push(Part::Shared(block, range));
    }

    /// Appends.
    pub fn append(&mut self, mut more: Self) {
        self.length += more.length;
        self.parts.append(&mut more.parts);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Shows them in a row.
    pub fn with<R>(&self, show: impl FnOnce(&[u8]) -> R) -> R {
        if let [only] = self.parts.as_slice() {
            return show(only.slice());
        }
        ROW.with_borrow_mut(|row| {
            row.clear();
            for part in &self.parts {
                row.extend_from_slice(part.slice());
            }
            show(row)
        })
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            length: bytes.len(),
            parts: vec![Part::Own(bytes)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_a_row() {
        let mut bytes = Bytes::from(vec![1, 2]);
        let block = Arc::new(Block {
            from: 7,
            bytes: vec![3, 4, 5],
            ends: false,
        });
        bytes.push_block(Arc::clone(&block), 1..3);
        let mut all = Bytes::default();
        assert!(all.is_empty());
        all.append(bytes);
        all.append(Bytes::from(vec![6]));
        assert_eq!(all.len(), 5);
        all.with(|row| assert_eq!(row, [1, 2, 4, 5, 6]));
    }
}
