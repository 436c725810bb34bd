//! Measures what runs once for each line, reply, block or write: `cargo bench --manifest-path benches/criterion/Cargo.toml`.
//!
//! Parsers count bytes of what the server sent, the block cache bytes of what a reader gets.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ftpfs::ftp::listing::{Clock, Line, Parser};
use ftpfs::ftp::protocol::reply::Collector;
use ftpfs::vfs::measured::{BLOCK, BLOCK_LENGTH, Block, Blocks, Key, RangeSet};

/// Entries of a listing.
const ENTRIES: usize = 10_000;
/// Blocks of a file that is read in sequence: more than the cache holds.
const FILE_BLOCKS: u64 = 256;
/// Ranges of a set.
const RANGES: u64 = 1_000;

fn facts() -> Vec<u8> {
    let line = |number| {
        format!(
            "type=file;size={};modify=20240506070809;UNIX.mode=0644; entry-{number:05}.tar.gz\r\n",
            number * 37
        )
    };
    (0..ENTRIES).map(line).collect::<String>().into_bytes()
}

fn unix() -> Vec<u8> {
    let line = |number| {
        format!(
            "-rw-r--r--    1 1000     1000     {:>8} May 06  2024 entry-{number:05}.tar.gz\r\n",
            number * 37
        )
    };
    (0..ENTRIES).map(line).collect::<String>().into_bytes()
}

fn parse(mut parser: Parser, listing: &[u8]) -> usize {
    let lines = listing.split(|&byte| byte == b'\n');
    let entries = lines.filter(|line| matches!(parser.line(line), Line::Entry(_)));
    entries.count()
}

fn listings(criterion: &mut Criterion) {
    let clock = Clock {
        now: 1_781_524_800,
        zone: 0,
    };
    let mut group = criterion.benchmark_group("listing");
    for (name, listing, parser) in [
        ("mlsd", facts(), Parser::facts()),
        ("list_unix", unix(), Parser::list(clock)),
    ] {
        assert_eq!(parse(parser.clone(), &listing), ENTRIES);
        group.throughput(Throughput::Bytes(listing.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| parse(parser.clone(), black_box(&listing)));
        });
    }
}

fn replies(criterion: &mut Criterion) {
    let text =
        "213 20240506070809\r\n250-Begin\r\n type=file;size=7; /a/b\r\n250 End\r\n".repeat(1000);
    let collect = |text: &str| {
        let mut collector = Collector::default();
        let lines = text.lines();
        let replies = lines.filter(|line| matches!(collector.line(line.as_bytes()), Ok(Some(_))));
        replies.count()
    };
    assert_eq!(collect(&text), 2000);
    let mut group = criterion.benchmark_group("reply");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("single_and_multi_line", |bencher| {
        bencher.iter(|| collect(black_box(&text)));
    });
}

fn block_cache(criterion: &mut Criterion) {
    let blocks = Blocks::new(FILE_BLOCKS / 2 * BLOCK);
    let mut group = criterion.benchmark_group("block_cache");
    group.throughput(Throughput::Bytes(FILE_BLOCKS * BLOCK));
    group.bench_function("put_and_collect", |bencher| {
        bencher.iter(|| {
            for index in 0..FILE_BLOCKS {
                let key = Key {
                    ino: 2,
                    generation: 0,
                    index,
                };
                let mut bytes = blocks.buffer();
                bytes.truncate(BLOCK_LENGTH);
                let block = Block {
                    from: 0,
                    bytes,
                    ends: false,
                };
                blocks.put(key, block);
                let read = blocks.collect((2, 0), index * BLOCK, (index + 1) * BLOCK);
                assert!(read.is_ok_and(|bytes| bytes.len() == BLOCK_LENGTH));
            }
        });
    });
}

fn range_set(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("range_set");
    group.throughput(Throughput::Elements(RANGES));
    group.bench_function("insert_apart_then_join", |bencher| {
        bencher.iter(|| {
            let mut set = RangeSet::default();
            for number in 0..RANGES {
                // Not in order, with gaps.
                let at = number * 7919 % RANGES * 8192;
                set.insert(at..at + 4096);
            }
            let gaps = set.gaps(0..RANGES * 8192);
            for gap in gaps {
                set.insert(gap);
            }
            assert!(set.contains(0..RANGES * 8192));
        });
    });
}

criterion_group!(hot_paths, listings, replies, block_cache, range_set);
criterion_main!(hot_paths);
