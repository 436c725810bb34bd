//! Writes a report in JSON, for programs.
//!
//! The keys are a promise: they stay, and `format` counts up when one changes its meaning. A value
//! that was not probed, or is not known, is null. The manual documents the keys.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::cli::Encrypt;
use crate::commands::json;
use crate::commands::probe::recommend;
use crate::commands::probe::report::{Place, Report};
use crate::commands::probe::text;
use crate::ftp::{
    Answer, Fault, How, KeptFact, PatchOutcome, Prelogin, Restart, StoredFile, Trial, Writing,
};

/// Counts up when a key changes its meaning.
const FORMAT: u32 = 1;

/// Returns the report in JSON.
pub fn to_text(report: &Report) -> String {
    let advice = recommend::of(report);
    json::to_text(&ReportJson {
        format: FORMAT,
        source: &report.source,
        mountable: report.error.is_none() && report.works(),
        error: report.error.as_deref(),
        server: report
            .prelogin
            .as_ref()
            .map(|prelogin| server(report, prelogin)),
        encryption: report
            .prelogin
            .as_ref()
            .map(|prelogin| encryption(report, prelogin)),
        data_connections: report
            .trials
            .iter()
            .map(|trial| data_connection(report, trial))
            .collect(),
        listing: report.listed.as_ref().map(|listed| ListingJson {
            by: &listed.by,
            format: listed.format,
            entries: listed.entries,
            whole: listed.is_whole,
            unreadable: listed.unreadable.0,
            zone_seconds: listed.zone,
            mdtm: listed.mdtm,
        }),
        reading: report.reading.as_ref().map(restart),
        writing: report.writing.as_ref().map(writing),
        scratch: report.scratch.as_ref().map(scratch),
        connections: report
            .connections
            .as_ref()
            .map(|(taken, refusal)| ConnectionsJson {
                wanted: report.settings.server.max_conns,
                taken: *taken,
                refusal: refusal.as_deref(),
            }),
        kept: report.kept.as_ref().map(|kept| KeptJson {
            file: kept.file.as_deref(),
            facts: kept.facts.iter().map(|kept| &kept.fact[..]).collect(),
            learned: kept.facts.iter().map(learned).collect(),
        }),
        advice: AdviceJson {
            options: &advice.options,
            mount: advice.command(report),
            fstab: advice.fstab(report),
            notes: &advice.notes,
        },
    })
}

#[derive(Serialize)]
struct ReportJson<'a> {
    format: u32,
    source: &'a str,
    mountable: bool,
    error: Option<&'a str>,
    server: Option<ServerJson<'a>>,
    encryption: Option<EncryptionJson<'a>>,
    data_connections: Vec<DataConnectionJson<'a>>,
    listing: Option<ListingJson<'a>>,
    reading: Option<&'static str>,
    writing: Option<WritingJson>,
    scratch: Option<ScratchJson<'a>>,
    connections: Option<ConnectionsJson<'a>>,
    kept: Option<KeptJson<'a>>,
    advice: AdviceJson<'a>,
}

#[derive(Serialize)]
struct ServerJson<'a> {
    address: &'a str,
    greeting: &'a [String],
    #[serde(serialize_with = "milliseconds")]
    greets_after_ms: Option<Duration>,
    #[serde(serialize_with = "milliseconds")]
    logs_in_after_ms: Option<Duration>,
    system: Option<&'a str>,
    features: Option<&'a [String]>,
    directory: Option<&'a str>,
    behind_nat: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum EncryptionJson<'a> {
    Refused {
        offered: bool,
        refusal: &'a str,
    },
    Offered {
        offered: bool,
        version: &'a str,
        cipher: &'a str,
        subject: &'a str,
        issuer: &'a str,
        not_before: Option<i64>,
        not_after: Option<i64>,
        fingerprint: &'a str,
        verified: Option<bool>,
        fault: Option<&'a str>,
        data: Option<bool>,
        resumes: Option<bool>,
        resumption_demanded: Option<bool>,
        steps_back: bool,
    },
}

#[derive(Serialize)]
struct DataConnectionJson<'a> {
    way: String,
    works: bool,
    #[serde(serialize_with = "milliseconds")]
    took_ms: Option<Duration>,
    fault: Option<&'static str>,
    why: Option<String>,
    named: Option<&'a str>,
    named_private: Option<bool>,
}

#[derive(Serialize)]
struct ListingJson<'a> {
    by: &'a str,
    format: Option<&'static str>,
    entries: usize,
    whole: bool,
    unreadable: usize,
    zone_seconds: Option<i32>,
    mdtm: Option<bool>,
}

#[derive(Serialize)]
struct WritingJson {
    store: bool,
    shown: Option<bool>,
    overwrites: Option<bool>,
    reading: Option<&'static str>,
    rest_stor: Option<&'static str>,
    append: Option<bool>,
    rename_replaces: Option<bool>,
    chmod: Option<bool>,
    sets_times: Option<&'static str>,
    sets_times_of_directories: Option<bool>,
}

#[derive(Serialize)]
struct ScratchJson<'a> {
    path: Option<&'a str>,
    removed: Option<bool>,
    why: Option<&'a str>,
}

#[derive(Serialize)]
struct ConnectionsJson<'a> {
    wanted: usize,
    taken: usize,
    refusal: Option<&'a str>,
}

#[derive(Serialize)]
struct KeptJson<'a> {
    file: Option<&'a str>,
    facts: Vec<&'a str>,
    learned: Vec<LearnedJson<'a>>,
}

#[derive(Serialize)]
struct LearnedJson<'a> {
    fact: &'a str,
    at: i64,
    how: &'static str,
}

#[derive(Serialize)]
struct AdviceJson<'a> {
    options: &'a [String],
    mount: String,
    fstab: String,
    notes: &'a [String],
}

fn milliseconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        .serialize(serializer)
}

fn server<'a>(report: &'a Report, prelogin: &'a Prelogin) -> ServerJson<'a> {
    let server = report.server.as_ref();
    ServerJson {
        address: &prelogin.place,
        greeting: &prelogin.greeting,
        greets_after_ms: Some(prelogin.took),
        logs_in_after_ms: server.map(|server| server.took),
        system: server.and_then(|server| server.system.as_deref().ok()),
        features: server.map(|server| server.features.as_slice()),
        directory: server.map(|server| server.directory.as_str()),
        behind_nat: server.map(|server| server.behind_nat),
    }
}

fn encryption<'a>(report: &'a Report, prelogin: &'a Prelogin) -> EncryptionJson<'a> {
    let found = match &prelogin.encryption {
        Err(refusal) => {
            return EncryptionJson::Refused {
                offered: false,
                refusal,
            };
        }
        Ok(found) => found,
    };
    let tls = &report.settings.tls;
    let is_checked = tls.when != Some(Encrypt::Off) && !tls.no_verify_peer;
    let verdict = found.verdict.as_ref();
    let fault = verdict.err().filter(|_| is_checked).map(String::as_str);
    EncryptionJson::Offered {
        offered: true,
        version: &found.version,
        cipher: &found.cipher,
        subject: &found.certificate.subject,
        issuer: &found.certificate.issuer,
        not_before: found.certificate.not_before,
        not_after: found.certificate.not_after,
        fingerprint: &found.certificate.fingerprint,
        verified: is_checked.then_some(fault.is_none()),
        fault,
        data: report.server.as_ref().map(|server| server.protects_data),
        resumes: report.resumes(),
        resumption_demanded: report.resumption.as_ref().map(Result::is_err),
        steps_back: report.steps_back,
    }
}

fn data_connection<'a>(report: &Report, trial: &'a Trial) -> DataConnectionJson<'a> {
    let fault = trial.fault.as_ref();
    let named = trial.named.as_ref();
    DataConnectionJson {
        way: trial.way.to_string(),
        works: fault.is_none(),
        took_ms: Some(trial.took),
        fault: fault.map(|fault| match fault {
            Fault::Refused(_) => "refused",
            Fault::Closed(_) => "closed",
            Fault::Filtered(_) => "filtered",
            Fault::Unreached(_) => "unreached",
            Fault::Unencrypted(_) => "unencrypted",
            Fault::Barred(_) => "barred",
            Fault::Other(_) => "other",
        }),
        why: fault.map(|fault| text::why(report, fault)),
        named: named.map(|named| named.address.as_str()),
        named_private: named.map(|named| named.is_another && named.is_private),
    }
}

fn restart(restart: &Restart) -> &'static str {
    match restart {
        Restart::Honest => "honest",
        Restart::Ignored => "ignored",
        Restart::Wrong => "wrong",
        Restart::Refused(_) => "refused",
        Restart::Undecided => "undecided",
    }
}

fn writing(writing: &Writing) -> WritingJson {
    let stored = writing.stored.as_ref().ok();
    let works = |answer: fn(&StoredFile) -> &Answer| stored.map(|stored| answer(stored).is_ok());
    WritingJson {
        store: writing.store.is_ok(),
        shown: writing.store.is_ok().then_some(stored.is_some()),
        overwrites: works(|stored| &stored.overwrite),
        reading: stored.and_then(|stored| stored.reading.as_ref().map(restart)),
        rest_stor: stored.map(|stored| match stored.patch {
            PatchOutcome::Keeps => "keeps",
            PatchOutcome::Cuts => "cuts",
            PatchOutcome::Appends => "appends",
            PatchOutcome::Replaces => "replaces",
            PatchOutcome::Wrong => "wrong",
            PatchOutcome::Refused(_) => "refused",
        }),
        append: works(|stored| &stored.append),
        rename_replaces: works(|stored| &stored.replace),
        chmod: works(|stored| &stored.chmod),
        sets_times: stored.and_then(|stored| stored.times.as_ref().ok().copied()),
        sets_times_of_directories: works(|stored| &stored.directory_times),
    }
}

fn learned(kept: &KeptFact) -> LearnedJson<'_> {
    LearnedJson {
        fact: &kept.fact,
        at: kept.at,
        how: match kept.how {
            How::Here => "now",
            How::Before => "before",
            How::Once => "once",
            How::Twice => "twice",
        },
    }
}

fn scratch(place: &Place) -> ScratchJson<'_> {
    let (path, removed, why) = match place {
        Place::NotMade(why) => (None, None, Some(why.as_str())),
        Place::Removed(path) => (Some(path.as_str()), Some(true), None),
        Place::Left(path, why) => (Some(path.as_str()), Some(false), Some(why.as_str())),
    };
    ScratchJson { path, removed, why }
}
