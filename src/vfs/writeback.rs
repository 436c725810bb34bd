//! Write-back: closes that return early, the queue behind them, and recovery after a crash.

pub(crate) mod order;
pub(crate) mod queue;
pub(crate) mod reconcile;
pub(crate) mod recovery;
pub(crate) mod worker;
