//! A report in JSON, for programs. The keys are a promise: they stay, and `format` counts up when one
//! changes its meaning. What was not tried, or is not known, is null.

use crate::cli::json::Json;
use crate::commands::probe::recommend as advice;
use crate::commands::probe::report::{Place, Report};
use crate::commands::probe::text as words;
use crate::ftp::{Answer, Fault, PatchOutcome, Prelogin, Restart, Trial, Writing};

/// Counts up when a key changes its meaning.
const FORMAT: i64 = 1;

/// The whole report.
pub fn shown(report: &Report) -> Json {
    let advice = advice::of(report);
    let mountable = report.error.is_none() && report.works();
    Json::Object(vec![
        ("format", FORMAT.into()),
        ("source", report.source.clone().into()),
        ("mountable", mountable.into()),
        ("error", report.error.clone().into()),
        ("server", server(report)),
        (
            "encryption",
            report
                .prelogin
                .as_ref()
                .map_or(Json::Null, |prelogin| encryption(report, prelogin)),
        ),
        (
            "data_connections",
            Json::List(
                report
                    .trials
                    .iter()
                    .map(|trial| way(report, trial))
                    .collect(),
            ),
        ),
        ("listing", listing(report)),
        ("reading", report.reading.as_ref().map(restart).into()),
        (
            "writing",
            report.writing.as_ref().map_or(Json::Null, writing),
        ),
        ("scratch", scratch(report)),
        ("connections", connections(report)),
        ("kept", kept(report)),
        (
            "advice",
            Json::Object(vec![
                ("options", advice.options.clone().into()),
                ("mount", advice.command(report).into()),
                ("fstab", advice.fstab(report).into()),
                ("notes", advice.notes.clone().into()),
            ]),
        ),
    ])
}

fn server(report: &Report) -> Json {
    let Some(prelogin) = &report.prelogin else {
        return Json::Null;
    };
    let server = report.server.as_ref();
    let system = server.and_then(|server| server.system.clone().ok());
    Json::Object(vec![
        ("address", prelogin.place.clone().into()),
        ("greeting", prelogin.greeting.clone().into()),
        ("greets_after_ms", prelogin.took.into()),
        ("logs_in_after_ms", server.map(|server| server.took).into()),
        ("system", system.into()),
        (
            "features",
            server.map(|server| server.features.clone()).into(),
        ),
        (
            "directory",
            server.map(|server| server.directory.clone()).into(),
        ),
        ("behind_nat", server.map(|server| server.behind_nat).into()),
    ])
}

fn encryption(report: &Report, prelogin: &Prelogin) -> Json {
    let found = match &prelogin.encryption {
        Err(why) => {
            return Json::Object(vec![
                ("offered", false.into()),
                ("refusal", why.clone().into()),
            ]);
        }
        Ok(found) => found,
    };
    let certificate = &found.certificate;
    let checked =
        report.settings.tls != Some(crate::cli::Encrypt::Off) && !report.settings.no_verify_peer;
    let fault = found.verdict.clone().err().filter(|_| checked);
    let verified = checked.then_some(fault.is_none());
    let data = report.server.as_ref().map(|server| server.protects_data);
    let demanded = report.resumption.as_ref().map(Result::is_err);
    Json::Object(vec![
        ("offered", true.into()),
        ("version", found.version.clone().into()),
        ("cipher", found.cipher.clone().into()),
        ("subject", certificate.subject.clone().into()),
        ("issuer", certificate.issuer.clone().into()),
        ("not_before", certificate.not_before.into()),
        ("not_after", certificate.not_after.into()),
        ("fingerprint", certificate.fingerprint.clone().into()),
        ("verified", verified.into()),
        ("fault", fault.into()),
        ("data", data.into()),
        ("resumes", report.resumes().into()),
        ("resumption_demanded", demanded.into()),
        ("steps_back", report.steps_back.into()),
    ])
}

fn way(report: &Report, trial: &Trial) -> Json {
    let kind = trial.fault.as_ref().map(|fault| match fault {
        Fault::Refused(_) => "refused",
        Fault::Closed(_) => "closed",
        Fault::Filtered(_) => "filtered",
        Fault::Unreached(_) => "unreached",
        Fault::Unencrypted(_) => "unencrypted",
        Fault::Barred(_) => "barred",
        Fault::Other(_) => "other",
    });
    let why = trial.fault.as_ref();
    let named = trial.named.as_ref();
    Json::Object(vec![
        ("way", trial.way.to_string().into()),
        ("works", trial.fault.is_none().into()),
        ("took_ms", trial.took.into()),
        ("fault", kind.into()),
        ("why", why.map(|fault| words::why(report, fault)).into()),
        ("named", named.map(|named| named.address.clone()).into()),
        (
            "named_private",
            named
                .map(|named| named.is_another && named.is_private)
                .into(),
        ),
    ])
}

fn listing(report: &Report) -> Json {
    let Some(listed) = &report.listed else {
        return Json::Null;
    };
    Json::Object(vec![
        ("by", listed.by.clone().into()),
        ("format", listed.format.into()),
        ("entries", listed.entries.into()),
        ("whole", listed.is_whole.into()),
        ("unreadable", listed.unreadable.0.into()),
        ("zone_seconds", listed.zone.map(i64::from).into()),
        ("mdtm", listed.mdtm.into()),
    ])
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

fn writing(writing: &Writing) -> Json {
    let beginning = match writing.patch {
        PatchOutcome::Keeps => "keeps",
        PatchOutcome::Cuts => "cuts",
        PatchOutcome::Appends => "appends",
        PatchOutcome::Replaces => "replaces",
        PatchOutcome::Wrong => "wrong",
        PatchOutcome::Refused(_) => "refused",
    };
    let yes = |answer: &Answer| Json::Bool(answer.is_ok());
    Json::Object(vec![
        ("store", yes(&writing.store)),
        ("reading", writing.reading.as_ref().map(restart).into()),
        ("rest_stor", beginning.into()),
        ("append", yes(&writing.append)),
        ("rename_replaces", yes(&writing.replace)),
        ("chmod", yes(&writing.chmod)),
        ("sets_times", writing.times.clone().ok().into()),
        ("sets_times_of_directories", yes(&writing.directory_times)),
    ])
}

fn scratch(report: &Report) -> Json {
    match &report.scratch {
        None => Json::Null,
        Some(Place::NotMade(why)) => Json::Object(vec![
            ("path", Json::Null),
            ("removed", Json::Null),
            ("why", why.clone().into()),
        ]),
        Some(Place::Removed(path)) => Json::Object(vec![
            ("path", path.clone().into()),
            ("removed", true.into()),
            ("why", Json::Null),
        ]),
        Some(Place::Left(path, why)) => Json::Object(vec![
            ("path", path.clone().into()),
            ("removed", false.into()),
            ("why", why.clone().into()),
        ]),
    }
}

fn kept(report: &Report) -> Json {
    let Some(kept) = &report.kept else {
        return Json::Null;
    };
    Json::Object(vec![
        ("file", kept.file.clone().into()),
        ("facts", kept.facts.clone().into()),
    ])
}

fn connections(report: &Report) -> Json {
    let Some((taken, refusal)) = &report.connections else {
        return Json::Null;
    };
    Json::Object(vec![
        ("wanted", report.settings.max_conns.into()),
        ("taken", (*taken).into()),
        ("refusal", refusal.clone().into()),
    ])
}
