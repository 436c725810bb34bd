//! Asks for the free space of a directory: `AVBL`, `XQUOTA` or `SITE QUOTA`.
//!
//! None of these is in an RFC. What `FEAT` offers is asked for; `SITE QUOTA`, which no `FEAT` names (ProFTPD's
//! mod_quotatab and others), is tried once.

use crate::ftp::control::Control;
use crate::ftp::profile::evidence::{Capability, Verdict};
use crate::ftp::profile::{Profile, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Result, Room};

/// The storage space below the absolute path `directory`, where the server reports it.
pub fn space(
    control: &mut Control,
    profile: &Profile,
    directory: &[u8],
    deadline: &Deadline,
) -> Result<Option<Room>> {
    let learned = profile.get();
    if learned.features.avbl {
        // draft-peterson-streamlined-ftp-command-extensions section 4: a number of bytes.
        let reply = control.command(Command::Avbl(directory), deadline)?;
        let free = Some(&reply).filter(|reply| reply.is_completion());
        return Ok(free
            .and_then(|reply| number(&reply.text()))
            .map(|free| Room { free, total: None }));
    }
    let command = match (learned.features.xquota, learned.attributes.site_quota) {
        (true, _) => Command::Xquota,
        (false, Support::No) => return Ok(None),
        (false, _) => Command::SiteQuota,
    };
    let reply = control.command(command, deadline)?;
    let room = Some(&reply)
        .filter(|reply| reply.is_completion())
        .and_then(quota);
    if command == Command::SiteQuota
        && profile.note(Capability::SiteQuota, directory, &reply) == Verdict::Works
    {
        profile.learn(|learned| learned.attributes.site_quota = Support::from(room.is_some()));
    }
    Ok(room)
}

/// Parses the text of a quota reply.
fn quota(reply: &Reply) -> Option<Room> {
    let (mut free, mut total, mut used) = (None, None, None);
    for line in &reply.lines {
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        let Some((label, value)) = line.split_once([':', '=']) else {
            continue;
        };
        let mentions = |words: &[&str]| words.iter().any(|word| label.contains(word));
        let of_bytes = mentions(&["byte", "kb", "mb", "gb", "disk", "space"]);
        if let (true, Some((have, limit))) =
            (of_bytes && mentions(&["upload"]), value.split_once('/'))
        {
            // mod_quotatab: "Uploaded bytes:	1024.00/10485760.00", in the unit of its label.
            used = bytes(have, label);
            total = bytes(limit, label);
        } else if mentions(&["free", "avail", "remain", "left"]) && of_bytes {
            free = bytes(value, label);
        } else if mentions(&["limit", "total", "max"]) && of_bytes {
            total = bytes(value, label);
        } else if mentions(&["used", "usage"]) && of_bytes {
            used = bytes(value, label);
        }
    }
    let free = free.or_else(|| Some(total?.saturating_sub(used?)))?;
    Some(Room { free, total })
}

/// Parses a number with a unit; the unit may be in the label.
fn bytes(value: &str, label: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    let number: f64 = value[..digits].parse().ok()?;
    let has = |unit: &str| value[digits..].contains(unit) || label.contains(unit);
    let unit: u64 = match () {
        () if has("gb") => 1 << 30,
        () if has("mb") => 1 << 20,
        () if has("kb") => 1 << 10,
        () => 1,
    };
    // The cast drops fractions of a byte and saturates.
    Some((number * unit as f64) as u64)
}

fn number(text: &str) -> Option<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .find(|word| !word.is_empty())?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(lines: &[&str]) -> Reply {
        Reply {
            code: 200,
            lines: lines.iter().map(|line| line.as_bytes().to_vec()).collect(),
        }
    }

    #[test]
    fn quotas_are_read_from_what_servers_say() {
        let tab = reply(&[
            "The current quota for this session are [current/limit]:",
            " Name: bob",
            "  Uploaded Kb:\t1024.00/10240.00",
            "  Downloaded Kb:\tunlimited",
            "  Uploaded files:\t3/10",
        ]);
        assert_eq!(
            quota(&tab),
            Some(Room {
                free: 9216 << 10,
                total: Some(10240 << 10)
            })
        );
        let plain = reply(&["Disk limit: 100 MB", "Disk usage: 40 MB"]);
        assert_eq!(
            quota(&plain),
            Some(Room {
                free: 60 << 20,
                total: Some(100 << 20)
            })
        );
        let free = reply(&["Free space: 12345"]);
        assert_eq!(
            quota(&free),
            Some(Room {
                free: 12345,
                total: None
            })
        );
        assert_eq!(
            quota(&reply(&["Uploaded bytes: unlimited", "No quota"])),
            None
        );
    }
}
