//! Nothing: see `benches/hot_paths.rs`.
