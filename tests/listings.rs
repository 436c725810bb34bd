//! The listings of many servers, and what ftpfs sees in them.
//!
//! The corpus is data (`tests/fixtures/corpus`, whose README tells its form), and
//! what is not read as it says is an exception that is named here, with its reason. An exception
//! that is no longer needed fails too, so that the list only tells the truth.
//!
//! Besides the corpus, generated input: an unreadable line never drops another one, and lines that are written
//! as a server writes them are read back.

#![allow(clippy::expect_used, reason = "a test ends where an expectation does")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use ftpfs::ftp::listing::{Clock, Line, Parser};
use ftpfs::ftp::protocol::time_val::{civil, unix_seconds};
use ftpfs::remote::{Attributes, Entry, Kind, Modified, OwnerName, Perm, Precision, is_name};
use proptest::prelude::*;

/// Exotic listings that are not read as the corpus has them.
const MISSES: [(&str, &str); 5] = [
    (
        "filezilla-040",
        "JUI is juin or juillet: a month that could be two is none",
    ),
    (
        "commonsnet-064",
        "04/03/18 is 18 March 2004, 4 March 2018 or 3 April 2018, and nothing tells which",
    ),
    ("commonsnet-065", "04/03/24, likewise"),
    ("commonsnet-066", "04/03/24, likewise"),
    ("commonsnet-068", "04/03/24, likewise"),
];

/// How many listings there were when this was written: none may get lost on the way.
const AT_LEAST: [(Tier, usize); 3] = [
    (Tier::Core, 223),
    (Tier::Extended, 112),
    (Tier::Exotic, 105),
];

/// Lines that are unreadable in every format.
const BROKEN: [&[u8]; 4] = [
    b"ls: reading directory '.': Input/output error",
    b"-rw-r--r--   1 root     other     ",
    b"\xff\xfe\x01\x7f",
    b"450 in the middle of things",
];

/// The families in which every line stands for itself.
const LINE_BY_LINE: [&str; 5] = ["unix", "dos", "mlsd", "eplf", "netware"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Core,
    Extended,
    Exotic,
}

#[derive(Debug)]
struct Listing {
    family: String,
    id: String,
    tier: Tier,
    /// MLSD rather than LIST.
    facts: bool,
    /// Lines end in LF alone.
    lf: bool,
    /// Entries may be seen or not.
    any: bool,
    lines: Vec<Vec<u8>>,
    expected: Vec<Expected>,
}

#[derive(Debug, Default)]
struct Expected {
    kind: String,
    size: Option<String>,
    time: Option<String>,
    mode: Option<String>,
    target: Option<Vec<u8>>,
    name: Vec<u8>,
}

/// All listings of the corpus.
fn corpus() -> Vec<Listing> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/corpus");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .collect();
    files.sort();
    let mut listings = Vec::new();
    for file in files {
        let family = file.file_stem().expect("a name").to_string_lossy();
        let text = fs::read_to_string(&file).expect("a file of the corpus");
        for line in text.lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let taken = match line.split_at(1) {
                ("<", raw) => (listings.last_mut()).map(|listing: &mut Listing| {
                    let raw = raw.strip_prefix(' ').unwrap_or(raw);
                    listing.lines.push(bytes(raw));
                }),
                (">", entry) => (listings.last_mut())
                    .and_then(|listing| expected(entry).map(|entry| listing.expected.push(entry))),
                _ => listing(&family, line).map(|listing| listings.push(listing)),
            };
            assert!(taken.is_some(), "{}: {line}", file.display());
        }
    }
    listings
}

/// The line that begins a listing.
fn listing(family: &str, line: &str) -> Option<Listing> {
    let mut words = line.split(' ');
    let id = words.next()?.to_string();
    let tier = match words.next()? {
        "core" => Tier::Core,
        "extended" => Tier::Extended,
        "exotic" => Tier::Exotic,
        _ => return None,
    };
    let facts = match words.next()? {
        "MLSD" => true,
        "LIST" => false,
        _ => return None,
    };
    let mut listing = Listing {
        family: family.to_string(),
        id,
        tier,
        facts,
        lf: false,
        any: false,
        lines: Vec::new(),
        expected: Vec::new(),
    };
    for word in words {
        match word {
            "lf" => listing.lf = true,
            "any" => listing.any = true,
            _ => return None,
        }
    }
    Some(listing)
}

/// ` KIND KEY=VALUE ... name=NAME`
fn expected(line: &str) -> Option<Expected> {
    let (known, name) = line.strip_prefix(' ')?.split_once(" name=")?;
    let mut words = known.split(' ');
    let mut entry = Expected {
        kind: words.next()?.to_string(),
        name: bytes(name),
        ..Expected::default()
    };
    for word in words {
        let (key, value) = word.split_once('=')?;
        match key {
            "size" => entry.size = Some(value.to_string()),
            "time" => entry.time = Some(value.to_string()),
            "mode" => entry.mode = Some(value.to_string()),
            "target" => entry.target = Some(bytes(value)),
            _ => return None,
        }
    }
    Some(entry)
}

/// Takes the escapes out of a text of the corpus.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (byte, length) = match escape.as_bytes().first() {
            Some(b'\\') => (b'\\', 1),
            Some(b't') => (b'\t', 1),
            Some(b'x') => {
                let digits = escape.get(1..3).expect("two digits");
                (u8::from_str_radix(digits, 16).expect("a byte"), 3)
            }
            _ => panic!("an unknown escape: {text}"),
        };
        bytes.push(byte);
        rest = &escape[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// The moment at which all listings are read.
fn clock() -> Clock {
    let now = unix_seconds(2026, 6, 15, 12, 0, 0).expect("a date");
    Clock { now, zone: 0 }
}

fn parser(facts: bool) -> Parser {
    match facts {
        true => Parser::facts(),
        false => Parser::list(clock()),
    }
}

/// The entries of a listing, and how many of its lines were unreadable.
fn read<'a>(facts: bool, lines: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Entry>, usize) {
    let mut parser = parser(facts);
    let mut entries = Vec::new();
    let mut unreadable = 0;
    for line in lines {
        match parser.line(line) {
            Line::Entry(entry) => entries.push(entry),
            Line::Nothing => {}
            Line::Unreadable => unreadable += 1,
        }
    }
    entries.extend(parser.finish());
    (entries, unreadable)
}

impl Listing {
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().map(Vec::as_slice)
    }

    /// What is seen and should not be, and the other way round; empty when all is well.
    fn faults(&self) -> String {
        let end: &[u8] = if self.lf { b"" } else { b"\r" };
        let lines: Vec<Vec<u8>> = self.lines().map(|line| [line, end].concat()).collect();
        let (seen, _) = read(self.facts, lines.iter().map(Vec::as_slice));
        let mut faults = String::new();
        for entry in &seen {
            if !is_name(&entry.name) {
                let _ = write!(faults, "no name: {entry:?}; ");
            }
        }
        if self.any {
            return faults;
        }
        for pair in 0..seen.len().max(self.expected.len()) {
            match (seen.get(pair), self.expected.get(pair)) {
                (Some(entry), Some(expected)) => expected.compare(entry, &mut faults),
                (entry, expected) => {
                    let _ = write!(faults, "seen {entry:?} for {expected:?}; ");
                }
            }
        }
        faults
    }
}

impl Expected {
    fn compare(&self, entry: &Entry, faults: &mut String) {
        let known = &entry.attributes;
        let mut differ = |what: &str, seen: String, expected: &str| {
            if seen != expected {
                let _ = write!(faults, "{what} {seen} for {expected}; ");
            }
        };
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let kind = match known.kind {
            Kind::File => "file",
            Kind::Directory => "dir",
            Kind::Symlink => "link",
            Kind::Special => "special",
        };
        differ("name", shown(&entry.name), &shown(&self.name));
        differ("kind", kind.to_string(), &self.kind);
        if let Some(size) = &self.size {
            differ(
                "size",
                format!("{:?}", known.size),
                &format!("Some({size})"),
            );
        }
        if let Some(mode) = &self.mode {
            let seen = known
                .mode
                .map_or("none".to_string(), |mode| format!("{mode:04o}"));
            differ("mode", seen, mode);
        }
        if let Some(target) = &self.target {
            let seen = shown(known.target.as_deref().unwrap_or_default());
            differ("target", seen, &shown(target));
        }
        if let Some(time) = &self.time {
            let seen = match known.modified {
                Some(modified) => time_shown(modified, time.len()),
                None => "none".to_string(),
            };
            differ("time", seen, time);
        }
    }
}

/// A time as the corpus writes it. Of one that is exact to the day there are two forms: the day, and all
/// of it with a `?`; `length` tells which is asked for.
fn time_shown(modified: Modified, length: usize) -> String {
    let at = civil(modified.seconds).expect("a date");
    let full = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    match modified.precision {
        Precision::Day if length > full.len() => full + "?",
        Precision::Day => full[..10].to_string(),
        Precision::Minute => full[..16].to_string(),
        Precision::Local => panic!("a listing has no local time"),
        Precision::Second => full,
    }
}

/// Every listing of a tier is read as the corpus has it, but for the misses.
fn check(tier: Tier) {
    let mut faults = Vec::new();
    for listing in corpus().iter().filter(|listing| listing.tier == tier) {
        let fault = listing.faults();
        let miss = MISSES.iter().find(|(id, _)| *id == listing.id);
        match (fault.is_empty(), miss) {
            (true, None) | (false, Some(_)) => {}
            (false, None) => faults.push(format!("{}: {fault}", listing.id)),
            (true, Some(_)) => faults.push(format!("{}: no longer a miss", listing.id)),
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn core_listings_are_read_without_exception() {
    check(Tier::Core);
}

#[test]
fn extended_listings_are_read_without_exception() {
    check(Tier::Extended);
}

#[test]
fn exotic_listings_are_read_but_for_the_misses() {
    check(Tier::Exotic);
}

#[test]
fn the_corpus_is_whole() {
    let listings = corpus();
    for (tier, count) in AT_LEAST {
        let found = listings.iter().filter(|listing| listing.tier == tier);
        assert!(found.count() >= count, "{tier:?}: fewer than {count}");
    }
    let mut ids = BTreeSet::new();
    for listing in &listings {
        assert!(ids.insert(listing.id.as_str()), "{} twice", listing.id);
        assert!(!listing.lines.is_empty(), "{} is empty", listing.id);
    }
    for (id, _) in MISSES {
        let listing = listings.iter().find(|listing| listing.id == id);
        let tier = listing.map(|listing| listing.tier);
        assert_eq!(tier, Some(Tier::Exotic), "{id} may not be missed");
    }
}

#[test]
fn broken_line_at_any_place_drops_no_other_line() {
    for listing in corpus() {
        let (entries, unreadable) = read(listing.facts, listing.lines());
        for broken in BROKEN {
            for place in 0..=listing.lines.len() {
                let before = listing.lines().take(place);
                let behind = listing.lines().skip(place);
                let lines = before.chain([broken]).chain(behind);
                let (seen, more) = read(listing.facts, lines);
                let id = &listing.id;
                let shown = broken.escape_ascii();
                assert_eq!(seen, entries, "{id}, with {shown} at {place}");
                assert_eq!(more, unreadable + 1, "{id}, with {shown} at {place}");
            }
        }
    }
}

#[test]
fn broken_line_drops_only_itself() {
    for listing in corpus() {
        if !LINE_BY_LINE.contains(&listing.family.as_str()) {
            continue;
        }
        for place in 0..listing.lines.len() {
            let one_less = |skipped: &[u8]| {
                let lines = listing.lines().enumerate();
                let lines = lines.map(|(at, line)| if at == place { skipped } else { line });
                read(listing.facts, lines).0
            };
            for broken in BROKEN {
                let id = &listing.id;
                assert_eq!(one_less(broken), one_less(b""), "{id}, line {place}");
            }
        }
    }
}

/// Names as they come: any bytes, and pieces that look like a part of a line.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        &b"a"[..],
        b"b.txt",
        b" ",
        b"  ",
        b"\t",
        b"->",
        b" -> ",
        b"\"",
        b"'",
        b"*",
        b"\\",
        b";",
        b"; ",
        b"=",
        b"size=7;",
        b"type=dir;",
        b"total 12",
        b"12:30",
        b"Jan  1  2020 ",
        b" 5 Jan  1 10:00 ",
        b"01-02-03  04:05AM ",
        b"<DIR>",
        b".",
        b"-rw-r--r-- ",
        "\u{e9}".as_bytes(),
        "\u{65e5}\u{672c}".as_bytes(),
        b"\xe9",
        b"\xff",
        b"\x01",
    ]);
    let likely = prop::collection::vec(pieces, 1..6).prop_map(|pieces| pieces.concat());
    let any = prop::collection::vec(any::<u8>(), 1..30);
    prop_oneof![likely, any].prop_filter("a name", |name| is_name(name))
}

fn size() -> impl Strategy<Value = u64> {
    let any = 0..=u64::MAX / 2;
    prop_oneof![0..100u64, 1_000..3_000u64, any]
}

/// An owner or a group: a word or a number.
fn owner() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_][a-z0-9_.-]{0,12}", "[0-9]{1,9}"]
}

fn kind() -> impl Strategy<Value = Kind> {
    let kinds = [Kind::File, Kind::Directory, Kind::Symlink, Kind::Special];
    prop::sample::select(kinds.to_vec())
}

/// Where a link leads: all that a line can carry.
fn target() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::collection::vec(name(), 1..4);
    names.prop_map(|names| names.join(&b'/'))
}

/// What `ls -l` can say of an entry.
fn listed() -> impl Strategy<Value = Entry> {
    let mode = 0..=0o7777u32;
    let times = (0..i64::from(u32::MAX), any::<bool>());
    let owners = (owner(), owner());
    (name(), kind(), size(), times, mode, owners, target()).prop_map(
        |(name, kind, size, (seconds, recent), mode, (owner, group), target)| {
            let mut attributes = Attributes::of(kind);
            attributes.size = (kind != Kind::Special).then_some(size);
            attributes.mode = Some(mode);
            attributes.owner = Some(owner.as_bytes().into());
            attributes.group = Some(group.as_bytes().into());
            attributes.target = (kind == Kind::Symlink).then_some(target.into());
            attributes.modified = Some(match recent {
                // What is less than half a year old has the time instead of the year.
                true => {
                    let seconds = clock().now - seconds % (180 * 86_400);
                    Modified {
                        seconds: seconds - seconds.rem_euclid(60),
                        precision: Precision::Minute,
                    }
                }
                false => Modified {
                    seconds: seconds - seconds % 86_400,
                    precision: Precision::Day,
                },
            });
            Entry { name, attributes }
        },
    )
}

/// The line that `ls -l` prints.
fn unix_line(entry: &Entry) -> Vec<u8> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let known = &entry.attributes;
    let letter = match known.kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Special => 'c',
    };
    let mode = known.mode.expect("a mode");
    let mut line = String::from(letter);
    for (class, special) in [(6, 's'), (3, 's'), (0, 't')] {
        let bits = mode >> class;
        line.push(if bits & 4 != 0 { 'r' } else { '-' });
        line.push(if bits & 2 != 0 { 'w' } else { '-' });
        let is_special = mode & (0o1000 << (class / 3)) != 0;
        line.push(match (bits & 1 != 0, is_special) {
            (false, false) => '-',
            (true, false) => 'x',
            (true, true) => special,
            (false, true) => special.to_ascii_uppercase(),
        });
    }
    let text = |value: &Option<OwnerName>| {
        String::from_utf8_lossy(value.as_deref().expect("a value")).into_owned()
    };
    let size = known
        .size
        .map_or("1,   3".to_string(), |size| size.to_string());
    let modified = known.modified.expect("a time");
    let at = civil(modified.seconds).expect("a date");
    let month = MONTHS[at.month() as usize - 1];
    let (owner, group) = (text(&known.owner), text(&known.group));
    let _ = write!(
        line,
        "   1 {owner:8} {group:8} {size:>8} {month} {:2} ",
        at.day()
    );
    let _ = match modified.precision {
        Precision::Minute => write!(line, "{:02}:{:02} ", at.hour(), at.minute()),
        _ => write!(line, " {:4} ", at.year()),
    };
    let mut line = line.into_bytes();
    line.extend_from_slice(&entry.name);
    if let Some(target) = &known.target {
        line.extend_from_slice(b" -> ");
        line.extend_from_slice(target);
    }
    line
}

/// What facts can say of an entry.
fn told() -> impl Strategy<Value = Entry> {
    // From the year 1 to the year 9999.
    let time = prop::option::of(-62_135_596_800..253_402_300_800i64);
    let mode = prop::option::of(0..=0o7777u32);
    let size = prop::option::of(size());
    let perm = prop::option::of("[acdeflmprw]{0,10}");
    let owner = || prop::option::of("[A-Za-z0-9_][A-Za-z0-9_ .\\\\-]{0,12}");
    let target = prop::option::of(target());
    (
        name(),
        kind(),
        size,
        time,
        mode,
        perm,
        owner(),
        owner(),
        target,
    )
        .prop_map(
            |(name, kind, size, time, mode, perm, owner, group, target)| {
                let boxed = |text: String| text.as_bytes().into();
                let target = target.filter(|target| !target.contains(&b';'));
                Entry {
                    name,
                    attributes: Attributes {
                        size,
                        modified: time.map(|seconds| Modified {
                            seconds,
                            precision: Precision::Second,
                        }),
                        mode,
                        owner: owner.map(boxed),
                        group: group.map(boxed),
                        target: target.filter(|_| kind == Kind::Symlink).map(Into::into),
                        perm: perm.map(|letters| Perm::of(letters.as_bytes())),
                        ..Attributes::of(kind)
                    },
                }
            },
        )
}

/// The line that MLSD answers, its facts in an order that `turn` decides.
fn facts_line(entry: &Entry, turn: usize) -> Vec<u8> {
    let known = &entry.attributes;
    let fact = |name: &str, value: &[u8]| [name.as_bytes(), b"=", value, b";"].concat();
    let mut facts = vec![match (known.kind, &known.target) {
        (Kind::File, _) => fact("Type", b"file"),
        (Kind::Directory, _) => fact("type", b"dir"),
        (Kind::Symlink, None) => fact("Type", b"OS.unix=symlink"),
        (Kind::Symlink, Some(target)) => fact("type=OS.unix", &[b"slink:", &target[..]].concat()),
        (Kind::Special, _) => fact("type", b"OS.unix=chr-1/3"),
    }];
    let mut add = |name: &str, value: Option<String>| {
        facts.extend(value.map(|value| fact(name, value.as_bytes())));
    };
    add("Size", known.size.map(|size| size.to_string()));
    add("unique", Some("FE03U1A".to_string()));
    let time = known.modified.map(|modified| {
        let at = civil(modified.seconds).expect("a date");
        format!(
            "{:04}{:02}{:02}{:02}{:02}{:02}",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        )
    });
    add("modify", time);
    add("UNIX.mode", known.mode.map(|mode| format!("0{mode:o}")));
    let perm = known.perm.map(|perm| {
        let letters = "acdeflmprw".chars();
        letters.filter(|&letter| perm.has(letter as u8)).collect()
    });
    add("perm", perm);
    let text = |value: &Option<OwnerName>| {
        let value = value.as_deref();
        value.map(|value| String::from_utf8_lossy(value).into_owned())
    };
    add("UNIX.ownername", text(&known.owner));
    add("UNIX.groupname", text(&known.group));
    add(
        "UNIX.owner",
        known.owner.is_some().then(|| "1000".to_string()),
    );
    let turn = turn % facts.len();
    facts.rotate_left(turn);
    [facts.concat(), b" ".to_vec(), entry.name.clone()].concat()
}

/// What `dir` can say of an entry.
fn of_dos() -> impl Strategy<Value = Entry> {
    // 1970 to 2069: what two digits of a year can say.
    let minutes = 0..(3_155_760_000i64 / 60);
    (name(), prop::option::of(size()), minutes).prop_map(|(name, size, minutes)| {
        let kind = match size {
            Some(_) => Kind::File,
            None => Kind::Directory,
        };
        let mut attributes = Attributes::of(kind);
        attributes.size = size;
        attributes.modified = Some(Modified {
            seconds: minutes * 60,
            precision: Precision::Minute,
        });
        Entry { name, attributes }
    })
}

/// The line that IIS prints.
fn dos_line(entry: &Entry, four_digits: bool, half_days: bool) -> Vec<u8> {
    let known = &entry.attributes;
    let at = civil(known.modified.expect("a time").seconds).expect("a date");
    let mut line = format!("{:02}-{:02}-", at.month(), at.day());
    let _ = match four_digits {
        true => write!(line, "{:04}", at.year()),
        false => write!(line, "{:02}", at.year() % 100),
    };
    let _ = match half_days {
        true => {
            let half = if at.hour() < 12 { "AM" } else { "PM" };
            write!(
                line,
                "  {:02}:{:02}{half}",
                (at.hour() + 11) % 12 + 1,
                at.minute()
            )
        }
        false => write!(line, "  {:02}:{:02}", at.hour(), at.minute()),
    };
    let _ = match known.size {
        Some(size) => write!(line, " {size:>20} "),
        None => write!(line, "       {:15}", "<DIR>"),
    };
    [line.as_bytes(), &entry.name].concat()
}

/// A line between lines that were read before, so that a format is known, and after.
fn among(facts: bool, line: &[u8]) -> Vec<Entry> {
    let own: &[u8] = match facts {
        true => b"type=file;size=1; first",
        false => b"-rw-r--r--   1 u g            7 Jan  1  2020 first",
    };
    let (mut entries, unreadable) = read(facts, [own, line, own]);
    assert_eq!(
        (entries.len(), unreadable),
        (3, 0),
        "{}",
        line.escape_ascii()
    );
    entries.pop();
    entries.remove(0);
    entries
}

proptest! {
    #[test]
    fn generated_ls_lines_parse_back(entry in listed()) {
        // ls does not tell an arrow in the name of a link from its own.
        let with_arrow = [&entry.name, &b" -> "[..]].concat();
        let first = with_arrow.windows(4).position(|part| part == b" -> ");
        prop_assume!(entry.attributes.kind != Kind::Symlink || first == Some(entry.name.len()));
        let line = unix_line(&entry);
        prop_assert_eq!(read(false, [&line[..]]), (vec![entry.clone()], 0));
        prop_assert_eq!(among(false, &line), vec![entry]);
    }

    #[test]
    fn generated_mlsd_facts_parse_back(entry in told(), turn: usize) {
        let line = facts_line(&entry, turn);
        prop_assert_eq!(read(true, [&line[..]]), (vec![entry.clone()], 0));
        prop_assert_eq!(among(true, &line), vec![entry]);
    }

    #[test]
    fn generated_dos_lines_parse_back(entry in of_dos(), four_digits: bool, half_days: bool) {
        let line = dos_line(&entry, four_digits, half_days);
        prop_assert_eq!(read(false, [&line[..]]), (vec![entry.clone()], 0));
        prop_assert_eq!(among(false, &line), vec![entry]);
    }

    #[test]
    fn random_bytes_parse_without_panic(lines: Vec<Vec<u8>>, facts: bool) {
        let (entries, unreadable) = read(facts, lines.iter().map(Vec::as_slice));
        prop_assert!(entries.len() + unreadable <= lines.len() + 1);
        prop_assert!(entries.iter().all(|entry| is_name(&entry.name)));
    }
}
