//! The block cache: what was read lately, in memory.
//!
//! The one idea: a file is cut into blocks of one size, and the least recently used ones of all files
//! go when the budget is used up. A block belongs to one *generation* of a file's content, so that
//! bytes of two contents are never put together.
//!
//! Lock order: the lock here is the innermost; nothing is called under it.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

/// Bytes of a block: what the kernel's own readahead asks for at once.
pub const BLOCK: u64 = 128 * 1024;

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
    budget: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    blocks: LruCache<Key, Arc<Vec<u8>>>,
    bytes: usize,
}

impl Blocks {
    /// A cache of at most `budget` bytes.
    pub fn new(budget: usize) -> Self {
        Self {
            budget,
            state: Mutex::new(State {
                blocks: LruCache::unbounded(),
                bytes: 0,
            }),
        }
    }

    /// The block, if it is there. One that is shorter than [`BLOCK`] ends the file.
    pub fn get(&self, key: Key) -> Option<Arc<Vec<u8>>> {
        self.state.lock().blocks.get(&key).cloned()
    }

    /// Drops a block that turned out to be wrong.
    pub fn remove(&self, key: Key) {
        let mut state = self.state.lock();
        if let Some(old) = state.blocks.pop(&key) {
            state.bytes -= old.len();
        }
    }

    /// Keeps a block.
    pub fn put(&self, key: Key, block: Arc<Vec<u8>>) {
        let mut state = self.state.lock();
        state.bytes += block.len();
        if let Some(old) = state.blocks.put(key, block) {
            state.bytes -= old.len();
        }
        while state.bytes > self.budget {
            let Some((_, oldest)) = state.blocks.pop_lru() else {
                break;
            };
            state.bytes -= oldest.len();
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

    #[test]
    fn the_least_recently_used_goes_first_and_the_budget_holds() {
        let blocks = Blocks::new(30);
        for index in 0..3 {
            blocks.put(key(index), Arc::new(vec![0; 10]));
        }
        assert!(blocks.get(key(0)).is_some());
        blocks.put(key(3), Arc::new(vec![0; 10]));
        assert!(blocks.get(key(1)).is_none());
        assert!(blocks.get(key(0)).is_some());
        blocks.put(key(0), Arc::new(vec![0; 30]));
        assert_eq!(blocks.state.lock().bytes, 30);
        assert!(blocks.get(key(3)).is_none());
    }
}
