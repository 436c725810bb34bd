//! The block cache in memory: recently read blocks of all files, with an LRU budget.
//!
//! A file is cut into blocks of one size. A block belongs to one *generation* of a file's content, so that bytes of two
//! contents are never put together. It may hold a part of its bytes, in one piece: a transfer can begin in its middle, and
//! a reader need not wait for its end.
//!
//! # Lock order
//!
//! The lock here is innermost; nothing is called under it.

use std::sync::Arc;

use lru::LruCache;

use crate::process::lock_order::OrderedMutex;

use crate::vfs::cache::{BLOCK, BLOCK_LENGTH, Block, Bytes};
use crate::vfs::lock_rank;

/// Buffers of blocks that have gone, for those that come: fresh memory costs more than the bytes in it.
const SPARE_BUFFERS: usize = 32;

/// Bytes that a block takes apart from its content: an empty one too.
const BLOCK_OVERHEAD: usize = 200;

/// Which block: of which inode, which generation of its content, and the number within the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The inode number.
    pub ino: u64,
    /// The generation of its content.
    pub generation: u64,
    /// Offset divided by [`BLOCK`].
    pub index: u64,
}

/// The cache.
#[derive(Debug)]
pub struct Blocks {
    budget: u64,
    state: OrderedMutex<State, { lock_rank::BLOCKS }>,
}

#[derive(Debug)]
struct State {
    blocks: LruCache<Key, Arc<Block>>,
    bytes: usize,
    buffers: Vec<Vec<u8>>,
}

impl Blocks {
    /// A cache of at most `budget` bytes, with what its blocks take apart from their content.
    pub fn new(budget: u64) -> Self {
        Self {
            budget,
            state: OrderedMutex::new(State {
                blocks: LruCache::unbounded(),
                bytes: 0,
                buffers: Vec::new(),
            }),
        }
    }

    /// Bytes that are kept at most.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// Bytes that are kept now.
    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes as u64
    }

    /// Drops every block.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        let blocks = std::mem::replace(&mut state.blocks, LruCache::unbounded());
        (state.bytes, state.buffers) = (0, Vec::new());
        drop(state);
        // Giving so much memory back takes a while.
        drop(blocks);
    }

    /// What is there of a block.
    #[cfg(test)]
    fn get(&self, key: Key) -> Option<Arc<Block>> {
        self.state.lock().blocks.get(&key).cloned()
    }

    /// The bytes from `offset` to `end` of a file, less only at its end; or the first offset that is
    /// missing.
    pub fn collect(
        &self,
        (ino, generation): (u64, u64),
        offset: u64,
        end: u64,
    ) -> Result<Bytes, u64> {
        let mut bytes = Bytes::default();
        let mut at = offset;
        let mut state = self.state.lock();
        while at < end {
            let index = at / BLOCK;
            let start = index * BLOCK;
            let key = Key {
                ino,
                generation,
                index,
            };
            let block = state.blocks.get(&key).ok_or(at)?;
            let place = |offset: u64| usize::try_from(offset - start).unwrap_or(BLOCK_LENGTH);
            let (from, to) = (place(at), place(end.min(start + BLOCK)).min(block.to()));
            if from < block.from || (from >= to && !block.ends) {
                return Err(at);
            }
            if from < to {
                bytes.push_block(Arc::clone(block), from - block.from..to - block.from);
            }
            at = start + to.max(from) as u64;
            if block.ends && to == block.to() {
                break;
            }
        }
        Ok(bytes)
    }

    /// Drops a block that turned out to be wrong.
    pub fn remove(&self, key: Key) {
        let mut state = self.state.lock();
        if let Some(old) = state.blocks.pop(&key) {
            state.drop_block(old);
        }
    }

    /// Stores a block, replacing what was there of it, or appending to it if that ends where this begins: a transfer
    /// may resume in the middle of a block.
    pub fn put(&self, key: Key, mut block: Block) {
        let mut state = self.state.lock();
        if block.from > 0
            && let Some(before) = state.blocks.peek(&key)
            && before.from < block.from
            && before.to() >= block.from
        {
            let from = before.from;
            let mut bytes = before.bytes[..block.from - from].to_vec();
            bytes.append(&mut block.bytes);
            block = Block {
                from,
                bytes,
                ends: block.ends,
            };
        }
        state.bytes += block.bytes.len();
        if let Some(old) = state.blocks.put(key, Arc::new(block)) {
            state.drop_block(old);
        }
        while state.size() > self.budget {
            let Some((_, oldest)) = state.blocks.pop_lru() else {
                break;
            };
            state.drop_block(oldest);
        }
    }

    /// A buffer of [`BLOCK`] bytes, whose content means nothing.
    pub fn buffer(&self) -> Vec<u8> {
        let used = self.state.lock().buffers.pop();
        used.unwrap_or_else(|| vec![0; BLOCK_LENGTH])
    }

    /// Takes a buffer back.
    pub fn give_back(&self, buffer: Vec<u8>) {
        self.state.lock().keep_buffer(buffer);
    }
}

impl State {
    /// Bytes that the blocks take.
    fn size(&self) -> u64 {
        (self.bytes + self.blocks.len() * BLOCK_OVERHEAD) as u64
    }

    fn drop_block(&mut self, block: Arc<Block>) {
        self.bytes -= block.bytes.len();
        if let Ok(block) = Arc::try_unwrap(block) {
            self.keep_buffer(block.bytes);
        }
    }

    fn keep_buffer(&mut self, buffer: Vec<u8>) {
        if buffer.len() == BLOCK_LENGTH && self.buffers.len() < SPARE_BUFFERS {
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u64) -> Key {
        Key {
            ino: 2,
            generation: 0,
            index,
        }
    }

    fn block(from: usize, bytes: Vec<u8>) -> Block {
        Block {
            from,
            bytes,
            ends: false,
        }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_budget_holds() {
        let of = |bytes: usize| (bytes + BLOCK_OVERHEAD) as u64;
        let blocks = Blocks::new(3 * of(10));
        for index in 0..3 {
            blocks.put(key(index), block(0, vec![0; 10]));
        }
        assert!(blocks.get(key(0)).is_some());
        blocks.put(key(3), block(0, vec![0; 10]));
        assert!(blocks.get(key(1)).is_none());
        assert!(blocks.get(key(0)).is_some());
        let full = 3 * of(10) as usize - BLOCK_OVERHEAD;
        blocks.put(key(0), block(0, vec![0; full]));
        assert_eq!(blocks.state.lock().size(), 3 * of(10));
        assert!(blocks.get(key(3)).is_none());
    }

    #[test]
    fn collect_spans_blocks_and_reports_the_first_gap() {
        let blocks = Blocks::new(1 << 30);
        let get = |from, to| {
            blocks
                .collect((2, 0), from, to)
                .map(|bytes| bytes.with(<[u8]>::to_vec))
        };
        let middle = BLOCK_LENGTH - 3;
        blocks.put(key(0), block(middle, vec![1, 2, 3]));
        assert_eq!(get(0, 4), Err(0));
        assert_eq!(get(BLOCK - 3, BLOCK), Ok(vec![1, 2, 3]));
        assert_eq!(get(BLOCK - 2, BLOCK + 2), Err(BLOCK));
        blocks.put(key(1), block(0, vec![4, 5]));
        assert_eq!(get(BLOCK - 2, BLOCK + 2), Ok(vec![2, 3, 4, 5]));
        assert_eq!(get(BLOCK - 2, BLOCK + 3), Err(BLOCK + 2));
        let ends = Block {
            ends: true,
            ..block(0, vec![4, 5])
        };
        blocks.put(key(1), ends);
        assert_eq!(get(BLOCK - 2, BLOCK + 3), Ok(vec![2, 3, 4, 5]));
        assert_eq!(get(BLOCK + 2, BLOCK + 3), Ok(vec![]));
        assert_eq!(get(BLOCK + 9, BLOCK + 10), Ok(vec![]));
    }

    #[test]
    fn part_of_a_block_is_appended_to_the_part_before_it() {
        let blocks = Blocks::new(1 << 20);
        let get = || blocks.collect((2, 0), 3, 9).map(|bytes| bytes.len());
        blocks.put(key(0), block(3, vec![1, 2, 3]));
        // What begins elsewhere takes the place of what was there.
        blocks.put(key(0), block(6, vec![4, 5, 6]));
        assert_eq!(get(), Ok(6));
        blocks.put(key(0), block(20, vec![7]));
        assert_eq!(get(), Err(3));
        assert_eq!(blocks.bytes(), 1);
    }

    #[test]
    fn buffers_of_blocks_that_have_gone_are_used_again() {
        let blocks = Blocks::new(BLOCK + BLOCK_OVERHEAD as u64);
        blocks.put(key(0), block(0, vec![7; BLOCK_LENGTH]));
        blocks.put(key(1), block(0, vec![8; BLOCK_LENGTH]));
        assert_eq!(blocks.buffer()[0], 7);
        assert_eq!(blocks.buffer()[0], 0);
    }
}
