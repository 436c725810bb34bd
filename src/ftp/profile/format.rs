//! What was learned of a server as text: a version, who and when, and one fact a line.
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
//! The one idea: a table says of each fact how it is written and read. What stands in no line is not
//! known; a line that can't be read spoils the whole. Facts that protect (`ends_in_full`) are not kept:
//! a server that stops keeping to them would be shut out until the text expires.

use std::ops::RangeInclusive;

use crate::ftp::profile::{Learned, TimeSetter, Way};

/// What stands in a text beside the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The digest of the server's greeting and features.
    pub print: u64,
    /// When the first of the facts was learned, in seconds since 1970.
    pub since: i64,
    /// Where we were then: ways to data connections are true from there only.
    pub network: String,
}

/// What the first line says. Another version says other things by the same words.
const FIRST_LINE: &str = "ftpfs-server 1";

struct Fact {
    name: &'static str,
    say: fn(&Learned) -> Option<String>,
    /// `None` where the word means nothing.
    hear: fn(&mut Learned, &str) -> Option<()>,
}

const WAY: &str = "way";

/// Seconds east of UTC that a zone may have: all that ever were are less than a day.
const ZONES: RangeInclusive<i32> = -86_400..=86_400;

const FACTS: &[Fact] = &[
    Fact {
        name: WAY,
        say: |learned| Some(learned.ways.works.or(learned.ways.before)?.to_string()),
        hear: |learned, word| {
            let all = [Way::Epsv, Way::Pasv, Way::Eprt, Way::Port];
            let way = all.into_iter().find(|way| way.to_string() == word)?;
            learned.ways.before = Some(way);
            Some(())
        },
    },
    Fact {
        name: "steps_back",
        say: |learned| learned.steps_back.then(|| answer(true)),
        hear: |learned, word| flag(word).map(|flag| learned.steps_back = flag),
    },
    Fact {
        name: "active_flights",
        say: |learned| learned.active_flights.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.active_flights = Some(flag)),
    },
    Fact {
        name: "flights",
        say: |learned| learned.flights.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.flights = Some(flag)),
    },
    Fact {
        name: "late_spares",
        say: |learned| learned.late_spares.then(|| answer(true)),
        hear: |learned, word| flag(word).map(|flag| learned.late_spares = flag),
    },
    Fact {
        name: "pret",
        say: |learned| learned.pret.then(|| answer(true)),
        hear: |learned, word| flag(word).map(|flag| learned.pret = flag),
    },
    Fact {
        name: "no_mlsd",
        say: |learned| learned.no_mlsd.then(|| answer(true)),
        hear: |learned, word| flag(word).map(|flag| learned.no_mlsd = flag),
    },
    Fact {
        name: "mlst",
        say: |learned| learned.mlst.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.mlst = Some(flag)),
    },
    Fact {
        name: "list_all",
        say: |learned| learned.list_all.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.list_all = Some(flag)),
    },
    Fact {
        name: "lists_entered",
        say: |learned| learned.lists_entered.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.lists_entered = Some(flag)),
    },
    Fact {
        name: "stat_lists",
        say: |learned| learned.stat_lists.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.stat_lists = Some(flag)),
    },
    Fact {
        name: "zone",
        say: |learned| learned.zone.map(|seconds| seconds.to_string()),
        hear: |learned, word| {
            let zone = word.parse().ok().filter(|zone| ZONES.contains(zone));
            zone.map(|zone| learned.zone = Some(zone))
        },
    },
    Fact {
        name: "mdtm",
        say: |learned| learned.mdtm.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.mdtm = Some(flag)),
    },
    Fact {
        name: "chmod",
        say: |learned| learned.chmod.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.chmod = Some(flag)),
    },
    Fact {
        name: "sets_times",
        say: |learned| learned.sets_times.map(setter),
        hear: |learned, word| {
            let some = SETTERS.into_iter().map(Some);
            let said = some.chain([None]).find(|&known| setter(known) == word)?;
            learned.sets_times = Some(said);
            Some(())
        },
    },
    Fact {
        name: "follows",
        say: |learned| learned.follows.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.follows = Some(flag)),
    },
    Fact {
        name: "answers_behind",
        say: |learned| learned.answers_behind.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.answers_behind = Some(flag)),
    },
    Fact {
        name: "early_data",
        say: |learned| learned.early_data.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.early_data = Some(flag)),
    },
    Fact {
        name: "appe",
        say: |learned| learned.appe.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.appe = Some(flag)),
    },
    Fact {
        name: "appends",
        say: |learned| learned.appends.then(|| answer(true)),
        hear: |learned, word| flag(word).map(|flag| learned.appends = flag),
    },
    Fact {
        name: "stor_at",
        say: |learned| learned.stor_at.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.stor_at = Some(flag)),
    },
    Fact {
        name: "stor_keeps",
        say: |learned| learned.stor_keeps.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.stor_keeps = Some(flag)),
    },
    Fact {
        name: "site_quota",
        say: |learned| learned.site_quota.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.site_quota = Some(flag)),
    },
    Fact {
        name: "rest",
        say: |learned| learned.rest.map(answer),
        hear: |learned, word| flag(word).map(|flag| learned.rest = Some(flag)),
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

fn answer(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_string()
}

fn flag(word: &str) -> Option<bool> {
    match word {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// The facts as text.
pub fn write(head: &Head, learned: &Learned) -> String {
    let mut text = format!(
        "{FIRST_LINE}\nprint {:016x}\nlearned {}\nnetwork {}\n",
        head.print, head.since, head.network
    );
    for fact in facts(learned) {
        text.push_str(&format!("{fact}\n"));
    }
    text
}

/// The facts that are known, each as in its line.
pub fn facts(learned: &Learned) -> Vec<String> {
    let said = FACTS.iter().map(|fact| (fact.name, (fact.say)(learned)));
    said.filter_map(|(name, said)| Some(format!("{name} {}", said?)))
        .collect()
}

/// Reads a text; the error is what is wrong with it.
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
    for line in lines {
        let odd = || format!("it says {:?}", line.chars().take(80).collect::<String>());
        let (name, word) = line.split_once(' ').ok_or_else(odd)?;
        match name {
            "print" => print = Some(u64::from_str_radix(word, 16).map_err(|_| odd())?),
            "learned" => since = Some(word.parse().map_err(|_| odd())?),
            "network" => network = Some(word.to_string()),
            _ => {
                let fact = FACTS.iter().find(|fact| fact.name == name);
                (fact.ok_or_else(odd)?.hear)(&mut learned, word).ok_or_else(odd)?;
            }
        }
    }
    match (print, since, network) {
        (Some(print), Some(since), Some(network)) => {
            let head = Head {
                print,
                since,
                network,
            };
            Ok((head, learned))
        }
        _ => Err("it ends too soon".to_string()),
    }
}

/// Adds to `text` the facts of `other` that it lacks: another mount has learned them meanwhile. `ways`
/// is whether that goes for the way to data connections too: one that is lacking may have failed.
pub fn complete(text: &mut String, other: &str, ways: bool) {
    let says = |text: &str, name: &str| {
        text.lines()
            .any(|line| line.split(' ').next() == Some(name))
    };
    for line in other.lines() {
        let name = line.split(' ').next().unwrap_or_default();
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
    use crate::ftp::profile::Ways;

    fn head() -> Head {
        Head {
            print: 0xfedc_ba98_0000_0001,
            since: 1_795_439_407,
            network: "2001:db8::7".to_string(),
        }
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
late_spares yes
pret yes
no_mlsd yes
mlst no
list_all no
lists_entered yes
stat_lists yes
zone -19800
mdtm yes
chmod no
sets_times nothing
follows yes
answers_behind yes
early_data no
appe yes
appends yes
stor_at yes
stor_keeps no
site_quota no
rest no
";

    #[test]
    fn every_fact_is_read_as_it_was_written() {
        let learned = Learned {
            ways: Ways {
                works: Some(Way::Eprt),
                ..Ways::default()
            },
            steps_back: true,
            active_flights: Some(false),
            flights: Some(false),
            late_spares: true,
            pret: true,
            no_mlsd: true,
            mlst: Some(false),
            list_all: Some(false),
            stat_lists: Some(true),
            zone: Some(-19_800),
            mdtm: Some(true),
            chmod: Some(false),
            sets_times: Some(None),
            follows: Some(true),
            answers_behind: Some(true),
            early_data: Some(false),
            appe: Some(true),
            appends: true,
            stor_at: Some(true),
            stor_keeps: Some(false),
            site_quota: Some(false),
            lists_entered: Some(true),
            rest: Some(false),
            ..Learned::default()
        };
        let text = write(&head(), &learned);
        assert_eq!(text, FULL_PROFILE);
        for fact in FACTS {
            assert!(text.contains(&format!("\n{} ", fact.name)), "{}", fact.name);
        }
        let (same, read_back) = read(&text).expect("readable");
        assert_eq!(same, head());
        assert_eq!(read_back.ways.before, Some(Way::Eprt));
        assert_eq!(read_back.ways.works, None, "it is to be tried again");
        assert_eq!(write(&head(), &read_back), text);
        for setter in SETTERS {
            let learned = Learned {
                sets_times: Some(Some(setter)),
                ..Learned::default()
            };
            let (_, read_back) = read(&write(&head(), &learned)).expect("readable");
            assert_eq!(read_back.sets_times, Some(Some(setter)));
        }
    }

    #[test]
    fn what_is_not_known_stands_in_no_line() {
        let text = write(&head(), &Learned::default());
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn what_can_not_be_read_is_named() {
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
    fn what_another_mount_learned_is_kept_but_for_a_way_that_failed_here() {
        let ours = Learned {
            mdtm: Some(true),
            ..Learned::default()
        };
        let theirs = Learned {
            mdtm: Some(false),
            appe: Some(true),
            ways: Ways {
                works: Some(Way::Pasv),
                ..Ways::default()
            },
            ..Learned::default()
        };
        let mut text = write(&head(), &ours);
        let theirs = write(&head(), &theirs);
        complete(&mut text, &theirs, false);
        let (_, both) = read(&text).expect("readable");
        assert_eq!((both.mdtm, both.appe), (Some(true), Some(true)));
        assert_eq!(both.ways.before, None);
        complete(&mut text, &theirs, true);
        let (_, all) = read(&text).expect("readable");
        assert_eq!(all.ways.before, Some(Way::Pasv));
    }
}
