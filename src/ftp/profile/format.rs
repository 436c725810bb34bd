//! Implements the text format of a profile: a version, the server and the time, and one fact a line.
//!
//! ```text
//! ftpfs-server 1
//! print 8c736521a4dd31f0
//! learned 1795439407
//! network 192.0.2.7
//! way PASV
//! list_all yes
//! ```
//!
//! A refusal that only one mount has seen has the word `once` before it, and is not believed: servers have odd moments. The
//! second mount that sees it removes the word.
//!
//! `at TIME FACT` says when a fact was learned, where that was later than the first one.
//!
//! A table says of each fact how it is written and read. What is in no line is unknown; a line that can't be read makes
//! the whole file invalid. Facts that protect ([`ThisMount::tls_close_notify`](crate::ftp::profile::ThisMount)) are not
//! stored: a server that stops keeping to them would be shut out until the file expires.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::ftp::profile::{DataMode, Learned, TimeSetter};

/// What a profile holds besides the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The digest of the server's greeting and features.
    pub print: u64,
    /// When the first of the facts was learned, in seconds since 1970.
    pub since: i64,
    /// Our local address then: ways to data connections hold from there only.
    pub network: String,
    /// Lines of refusals that one mount saw.
    pub once: Vec<String>,
    /// Lines of refusals that more mounts saw.
    pub often: Vec<String>,
    /// When the fact of a line was learned, where that was not at [`Self::since`].
    pub times: BTreeMap<String, i64>,
}

/// A fact that is kept, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFact {
    /// Its line.
    pub fact: String,
    /// When it was learned, in seconds since 1970.
    pub at: i64,
    /// How it was learned.
    pub how: How,
}

/// How a fact was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Now.
    Here,
    /// By an earlier mount or probe.
    Before,
    /// A refusal that one mount saw: it is not believed by others.
    Once,
    /// A refusal that two mounts saw.
    Twice,
}

/// Before a refusal that one mount saw only.
const ONCE: &str = "once ";

/// Before the time of a fact.
const AT: &str = "at";

/// The facts that are learned from a refusal, with what they say then. `flights` is none of them: it takes two losses in one
/// mount, and each costs a timeout.
const REFUSALS: &[(&str, &str)] = &[
    ("active_flights", "no"),
    ("mlsd", "no"),
    ("mlst", "no"),
    ("list_all", "no"),
    ("lists_entered", "no"),
    ("stat_lists", "no"),
    ("mdtm", "no"),
    ("chmod", "no"),
    ("sets_times", "nothing"),
    ("follows", "no"),
    ("answers_behind", "no"),
    ("early_data", "no"),
    ("appe", "no"),
    ("stor_at", "no"),
    ("site_quota", "no"),
    ("one_session", "yes"),
    ("paths", "no"),
    ("raw_names", "no"),
    ("iac_names", "no"),
    ("rest", "no"),
];

/// Whether a line is of a refusal.
fn is_refusal(line: &str) -> bool {
    line.split_once(' ')
        .is_some_and(|fact| REFUSALS.contains(&fact))
}

/// The fact that a line is about.
fn name_of(line: &str) -> &str {
    let line = line.strip_prefix(ONCE).unwrap_or(line);
    line.split(' ').next().unwrap_or_default()
}

/// The first line, with the version: another version gives the same words another meaning.
const FIRST_LINE: &str = "ftpfs-server 1";

struct Fact {
    name: &'static str,
    write: fn(&Learned) -> Option<String>,
    /// `None` where the word means nothing.
    read: fn(&mut Learned, &str) -> Option<()>,
}

const WAY: &str = "way";

/// Seconds east of UTC that a zone may have.
const ZONE_RANGE: RangeInclusive<i32> = -14 * 3600..=14 * 3600;

/// A fact that is known, as yes or no, or unknown.
macro_rules! support {
    ($name:literal, $($field:ident).+) => {
        Fact {
            name: $name,
            write: |learned| learned.$($field).+.known().map(yes_or_no),
            read: |learned, word| parse_flag(word).map(|flag| learned.$($field).+ = flag.into()),
        }
    };
}

/// A fact that is written where it holds.
macro_rules! flag {
    ($name:literal, $($field:ident).+) => {
        Fact {
            name: $name,
            write: |learned| learned.$($field).+.then(|| yes_or_no(true)),
            read: |learned, word| parse_flag(word).map(|flag| learned.$($field).+ = flag),
        }
    };
}

const FACTS: &[Fact] = &[
    Fact {
        name: WAY,
        write: |learned| {
            Some(
                learned
                    .data
                    .modes
                    .works
                    .or(learned.data.modes.before)?
                    .to_string(),
            )
        },
        read: |learned, word| {
            let all = [
                DataMode::Epsv,
                DataMode::Pasv,
                DataMode::Eprt,
                DataMode::Port,
            ];
            let way = all.into_iter().find(|way| way.to_string() == word)?;
            learned.data.modes.before = Some(way);
            Some(())
        },
    },
    flag!("steps_back", data.tls12_only),
    support!("active_flights", data.active_pipelining),
    support!("flights", pipelining.commands),
    flag!("utf8", features.utf8),
    Fact {
        name: "facts",
        write: |learned| {
            learned
                .features
                .wanted_facts()
                .map(|list| list.replace("MLST ", ""))
        },
        read: |learned, word| {
            let facts = word.split_terminator(';').map(str::to_string);
            learned.features.facts = Some(facts.collect());
            Some(())
        },
    },
    flag!("late_spares", data.late_preconnect),
    flag!("pret", data.needs_pret),
    support!("mlsd", listing.mlsd),
    support!("mlst", listing.mlst),
    support!("list_all", listing.list_all),
    support!("lists_entered", listing.late_cwd),
    support!("stat_lists", listing.stat_lists),
    flag!("hides_directories", listing.hides_directories),
    Fact {
        name: "zone",
        write: |learned| learned.attributes.zone.map(|seconds| seconds.to_string()),
        read: |learned, word| {
            let zone = word.parse().ok().filter(|zone| ZONE_RANGE.contains(zone));
            zone.map(|zone| learned.attributes.zone = Some(zone))
        },
    },
    support!("mdtm", attributes.mdtm),
    support!("chmod", attributes.chmod),
    Fact {
        name: "sets_times",
        write: |learned| learned.attributes.time_setter.map(setter),
        read: |learned, word| {
            let some = SETTERS.into_iter().map(Some);
            let said = some.chain([None]).find(|&known| setter(known) == word)?;
            learned.attributes.time_setter = Some(said);
            Some(())
        },
    },
    support!("follows", pipelining.after_download),
    support!("answers_behind", pipelining.after_upload),
    support!("early_data", pipelining.early_data),
    flag!("doubles", pipelining.doubles),
    support!("appe", partial.appe),
    flag!("appends", partial.appe_keeps),
    support!("stor_at", partial.rest_stor),
    support!("stor_keeps", partial.rest_stor_keeps),
    support!("stor_beyond", partial.rest_stor_beyond),
    support!("site_quota", attributes.site_quota),
    flag!("moves_aside", moves_aside),
    support!("paths", paths),
    support!("raw_names", names.raw),
    support!("iac_names", names.iac),
    flag!("one_session", one_session),
    Fact {
        name: "rest",
        write: |learned| learned.partial.rest_retr.known().map(yes_or_no),
        read: |learned, word| parse_flag(word).map(|flag| learned.partial.rest_retr = flag.into()),
    },
];

const SETTERS: [TimeSetter; 4] = [
    TimeSetter::Mfmt,
    TimeSetter::Mdtm,
    TimeSetter::SiteUtime,
    TimeSetter::SiteUtimeLong,
];

fn setter(setter: Option<TimeSetter>) -> String {
    match setter {
        None => "nothing",
        Some(TimeSetter::Mfmt) => "MFMT",
        Some(TimeSetter::Mdtm) => "MDTM",
        Some(TimeSetter::SiteUtime) => "SITE-UTIME",
        Some(TimeSetter::SiteUtimeLong) => "SITE-UTIME-long",
    }
    .to_string()
}

fn yes_or_no(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_string()
}

fn parse_flag(word: &str) -> Option<bool> {
    match word {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// The facts as text. A refusal is marked until a second mount has seen it.
pub fn write(head: &Head, learned: &Learned) -> String {
    let mut text = format!(
        "{FIRST_LINE}\nprint {:016x}\nlearned {}\nnetwork {}\n",
        head.print, head.since, head.network
    );
    let facts = facts(learned);
    for fact in &facts {
        let is_marked = is_refusal(fact) && !head.once.contains(fact) && !head.often.contains(fact);
        let mark = if is_marked { ONCE } else { "" };
        text.push_str(&format!("{mark}{fact}\n"));
        if let Some(at) = head.times.get(fact).filter(|at| **at != head.since) {
            text.push_str(&format!("{AT} {at} {fact}\n"));
        }
    }
    for line in &head.once {
        if facts.iter().all(|fact| name_of(fact) != name_of(line)) {
            text.push_str(&format!("{ONCE}{line}\n"));
        }
    }
    text
}

/// The names of all facts.
pub fn names() -> impl Iterator<Item = &'static str> {
    FACTS.iter().map(|fact| fact.name)
}

/// The known facts, each as in its line.
pub fn facts(learned: &Learned) -> Vec<String> {
    let said = FACTS.iter().map(|fact| (fact.name, (fact.write)(learned)));
    said.filter_map(|(name, said)| Some(format!("{name} {}", said?)))
        .collect()
}

/// The facts with their times, and those that only one mount saw; `before` are the lines that were there before.
pub fn kept_facts(head: &Head, learned: &Learned, before: &[String]) -> Vec<KeptFact> {
    let known = facts(learned);
    let others: Vec<_> = (head.once.iter())
        .filter(|line| known.iter().all(|fact| name_of(fact) != name_of(line)))
        .cloned()
        .collect();
    let shown = known.into_iter().chain(others).map(|fact| {
        let at = head.times.get(&fact).copied().unwrap_or(head.since);
        let how = match is_refusal(&fact) {
            true if head.often.contains(&fact) => How::Twice,
            true => How::Once,
            false if before.contains(&fact) => How::Before,
            false => How::Here,
        };
        KeptFact { fact, at, how }
    });
    shown.collect()
}

/// Reads a profile; the error is what is wrong with it.
pub fn read(text: &str) -> Result<(Head, Learned), String> {
    let mut lines = text.lines();
    match lines.next() {
        Some(FIRST_LINE) => {}
        Some(line) if line.starts_with("ftpfs-server ") => {
            return Err("it is of another version".to_string());
        }
        _ => return Err("it is no profile".to_string()),
    }
    let mut learned = Learned::default();
    let (mut print, mut since, mut network) = (None, None, None);
    let (mut once, mut often) = (Vec::new(), Vec::new());
    let mut times = BTreeMap::new();
    for line in lines {
        let odd = || format!("it says {:?}", line.chars().take(80).collect::<String>());
        let (name, word) = line.split_once(' ').ok_or_else(odd)?;
        match name {
            "print" => print = Some(u64::from_str_radix(word, 16).map_err(|_| odd())?),
            "learned" => since = Some(word.parse().map_err(|_| odd())?),
            "network" => network = Some(word.to_string()),
            AT => {
                let (at, fact) = word.split_once(' ').ok_or_else(odd)?;
                times.insert(fact.to_string(), at.parse().map_err(|_| odd())?);
            }
            "once" if is_refusal(word) => once.push(word.to_string()),
            _ => {
                often.extend(is_refusal(line).then(|| line.to_string()));
                let fact = FACTS.iter().find(|fact| fact.name == name);
                (fact.ok_or_else(odd)?.read)(&mut learned, word).ok_or_else(odd)?;
            }
        }
    }
    match (print, since, network) {
        (Some(print), Some(since), Some(network)) => {
            let head = Head {
                print,
                since,
                network,
                once,
                often,
                times,
            };
            Ok((head, learned))
        }
        _ => Err("it ends too soon".to_string()),
    }
}

/// Adds to `text` the facts of `other` that it lacks: another mount has learned them meanwhile. `ways`
/// is whether that goes for the way to data connections too: one that is lacking may have failed.
pub fn complete(text: &mut String, other: &str, ways: bool) {
    let says = |text: &str, name: &str| text.lines().any(|line| name_of(line) == name);
    for line in other.lines() {
        let name = name_of(line);
        let is_fact = FACTS
            .iter()
            .any(|fact| fact.name == name && (ways || name != WAY));
        if is_fact && !says(text, name) {
            text.push_str(line);
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::profile::{
        AttributeSupport, DataConnections, DataModes, ListingSupport, NameSupport,
        PartialTransfers, PipeliningSupport, Support,
    };
    use crate::ftp::protocol::features::Features;

    fn head() -> Head {
        Head {
            print: 0xfedc_ba98_0000_0001,
            since: 1_795_439_407,
            network: "2001:db8::7".to_string(),
            once: Vec::new(),
            often: FULL_PROFILE
                .lines()
                .filter(|line| is_refusal(line))
                .map(str::to_string)
                .collect(),
            times: BTreeMap::new(),
        }
    }

    #[test]
    fn time_and_origin_of_each_fact_are_kept() {
        let mut learned = Learned::default();
        learned.attributes.mdtm = Support::Yes;
        learned.attributes.chmod = Support::No;
        learned.partial.appe = Support::Yes;
        let later = head().since + 60;
        let head = Head {
            once: vec!["mlsd no".to_string()],
            often: vec!["chmod no".to_string()],
            times: BTreeMap::from([("appe yes".to_string(), later)]),
            ..head()
        };
        let text = write(&head, &learned);
        assert!(
            text.contains(&format!("\nappe yes\nat {later} appe yes\n")),
            "{text}"
        );
        let (same, _) = read(&text).expect("readable");
        assert_eq!(same.times, head.times);
        let kept = kept_facts(&head, &learned, &["mdtm yes".to_string()]);
        let shown: Vec<_> = kept
            .iter()
            .map(|kept| (&kept.fact[..], kept.at, kept.how))
            .collect();
        let since = head.since;
        assert_eq!(
            shown,
            [
                ("mdtm yes", since, How::Before),
                ("chmod no", since, How::Twice),
                ("appe yes", later, How::Here),
                ("mlsd no", since, How::Once),
            ]
        );
    }

    /// The format on disk, byte by byte: files of earlier versions stay readable.
    const FULL_PROFILE: &str = "\
ftpfs-server 1
print fedcba9800000001
learned 1795439407
network 2001:db8::7
way EPRT
steps_back yes
active_flights no
flights no
utf8 yes
facts type;size;
late_spares yes
pret yes
mlsd no
mlst no
list_all no
lists_entered yes
stat_lists yes
hides_directories yes
zone -19800
mdtm yes
chmod no
sets_times nothing
follows yes
answers_behind yes
early_data no
doubles yes
appe yes
appends yes
stor_at yes
stor_keeps no
stor_beyond yes
site_quota no
moves_aside yes
paths no
raw_names no
iac_names yes
one_session yes
rest no
";

    #[test]
    fn full_profile_round_trips_byte_by_byte() {
        let learned = Learned {
            features: Features::parse(&[b" UTF8".to_vec(), b" MLST type*;size*;".to_vec()]),
            data: DataConnections {
                modes: DataModes {
                    works: Some(DataMode::Eprt),
                    ..DataModes::default()
                },
                tls12_only: true,
                active_pipelining: Support::No,
                late_preconnect: true,
                needs_pret: true,
            },
            pipelining: PipeliningSupport {
                commands: Support::No,
                after_download: Support::Yes,
                after_upload: Support::Yes,
                early_data: Support::No,
                doubles: true,
            },
            listing: ListingSupport {
                mlsd: Support::No,
                mlst: Support::No,
                list_all: Support::No,
                hides_directories: true,
                late_cwd: Support::Yes,
                stat_lists: Support::Yes,
            },
            partial: PartialTransfers {
                appe: Support::Yes,
                appe_keeps: true,
                rest_stor: Support::Yes,
                rest_stor_keeps: Support::No,
                rest_stor_beyond: Support::Yes,
                rest_retr: Support::No,
            },
            attributes: AttributeSupport {
                zone: Some(-19_800),
                mdtm: Support::Yes,
                time_setter: Some(None),
                chmod: Support::No,
                site_quota: Support::No,
            },
            moves_aside: true,
            one_session: true,
            paths: Support::No,
            names: NameSupport {
                raw: Support::No,
                iac: Support::Yes,
            },
            ..Learned::default()
        };
        let text = write(&head(), &learned);
        assert_eq!(text, FULL_PROFILE);
        for fact in FACTS {
            assert!(text.contains(&format!("\n{} ", fact.name)), "{}", fact.name);
        }
        let (same, read_back) = read(&text).expect("readable");
        assert_eq!(same, head());
        assert_eq!(read_back.data.modes.before, Some(DataMode::Eprt));
        assert_eq!(read_back.data.modes.works, None, "it is to be tried again");
        assert_eq!(write(&head(), &read_back), text);
        for setter in SETTERS {
            let mut learned = Learned::default();
            learned.attributes.time_setter = Some(Some(setter));
            let (_, read_back) = read(&write(&head(), &learned)).expect("readable");
            assert_eq!(read_back.attributes.time_setter, Some(Some(setter)));
        }
    }

    #[test]
    fn unknown_facts_have_no_line() {
        let text = write(&head(), &Learned::default());
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn malformed_line_is_named_in_the_error() {
        let good = write(&head(), &Learned::default());
        for (text, words) in [
            (String::new(), "no profile"),
            ("SQLite format 3\0".to_string(), "no profile"),
            (good.replacen('1', "2", 1), "another version"),
            (good[..20].to_string(), "says"),
            (FIRST_LINE.to_string(), "too soon"),
            (format!("{good}zone 90000\n"), "says \"zone 90000\""),
            (format!("{good}zone x\n"), "says \"zone x\""),
            (format!("{good}wibble yes\n"), "says \"wibble yes\""),
            (format!("{good}\n"), "says"),
        ] {
            let error = read(&text).expect_err(&text);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn facts_of_other_mounts_are_kept_except_failed_ways() {
        let mut ours = Learned::default();
        ours.attributes.mdtm = Support::Yes;
        let mut theirs = Learned::default();
        theirs.attributes.mdtm = Support::No;
        theirs.partial.appe = Support::Yes;
        theirs.data.modes.works = Some(DataMode::Pasv);
        let mut text = write(&head(), &ours);
        let theirs = write(&head(), &theirs);
        complete(&mut text, &theirs, false);
        let (_, both) = read(&text).expect("readable");
        let known = (both.attributes.mdtm, both.partial.appe);
        assert_eq!(known, (Support::Yes, Support::Yes));
        assert_eq!(both.data.modes.before, None);
        complete(&mut text, &theirs, true);
        let (_, all) = read(&text).expect("readable");
        assert_eq!(all.data.modes.before, Some(DataMode::Pasv));
    }
}
