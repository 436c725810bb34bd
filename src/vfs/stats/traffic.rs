//! Traffic: whether this mount receives files just now, and whether it sends some.
//!
//! The one idea: what is read and what is written share a line, and who copies within the mount waits for both. A
//! reader that runs far ahead fills the queues of the line, and the other direction waits behind them for its
//! acknowledgements. So while there are both, a writer is held close to what was sent, thereby the
//! reader that feeds it, and a reader runs ahead less far.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that a reader and a writer may be ahead of the network while there are both: enough to keep a line of
/// 1 Gbit/s and 30 ms full.
pub const CLOSE: u64 = 4 << 20;

/// How many files are under way.
#[derive(Debug, Default)]
pub struct Traffic {
    receiving: Arc<AtomicUsize>,
    sending: Arc<AtomicUsize>,
}

impl Traffic {
    /// One more file is received.
    pub fn receive(&self) -> UnderWay {
        UnderWay::new(&self.receiving)
    }

    /// One more file is sent.
    pub fn send(&self) -> UnderWay {
        UnderWay::new(&self.sending)
    }

    /// Whether any is received.
    pub fn is_receiving(&self) -> bool {
        self.receiving.load(Ordering::Relaxed) > 0
    }

    /// Whether any is sent.
    pub fn is_sending(&self) -> bool {
        self.sending.load(Ordering::Relaxed) > 0
    }
}

/// A file that is under way, until this is dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
