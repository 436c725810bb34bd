//! Parses EPLF (Easily Parsed LIST Format), which publicfile and anonftpd write.
//!
//! A leading `+` and a tab before the name mark the format. Sizes are bytes; times are UTC, to the second.

use crate::ftp::listing::Found;
use crate::ftp::listing::tokens;
use crate::remote::{Attributes, Kind, Modified, Precision};

/// The last second of the year 9999: no later time can be shown.
const LATEST: i64 = 253_402_300_799;

/// EPLF (Easily Parsed LIST Format, publicfile and anonftpd): `+i8388621.48594,m825718503,r,s280,`
/// and a tab before the name. Its times are UTC, to the second.
pub(crate) fn eplf(line: &[u8]) -> Option<Found<'_>> {
    let line = line.strip_prefix(b"+")?;
    let tab = line.iter().position(|&byte| byte == b'\t')?;
    let mut attributes = Attributes::of(Kind::File);
    let mut any = false;
    for fact in line[..tab].split(|&byte| byte == b',') {
        any |= match fact {
            b"/" => {
                attributes.kind = Kind::Directory;
                true
            }
            b"r" => true,
            [b's', digits @ ..] => {
                attributes.size = tokens::size(digits);
                attributes.size.is_some()
            }
            [b'm', digits @ ..] => {
                let seconds = tokens::size(digits).and_then(|seconds| i64::try_from(seconds).ok());
                let seconds = seconds.filter(|seconds| *seconds <= LATEST);
                attributes.modified = seconds.map(|seconds| Modified {
                    seconds,
                    precision: Precision::Second,
                });
                seconds.is_some()
            }
            [b'u', b'p', digits @ ..] => {
                attributes.mode = tokens::octal(digits).map(|mode| mode & 0o7777);
                true
            }
            [b'i', ..] => true,
            _ => false,
        };
    }
    let name = &line[tab + 1..];
    any.then_some(Found { name, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::listing::legacy::testing::found as shown;

    #[test]
    fn eplf_tells_facts_before_a_tab() {
        for (line, expected) in [
            (
                &b"+i8388621.48594,m825718503,r,s280,up755\ta b "[..],
                "File 280 19960301221503 a b ",
            ),
            (b"+/,m824255907\tdata", "Directory - 19960213235827 data"),
            (b"+s10,r\t\tx", "File 10 - \tx"),
            (b"+\tx", "none"),
            (b"+r x", "none"),
            (b"r\tx", "none"),
            (b"+m99999999999999999999\tx", "none"),
            (b"+m9223372036854775807\tx", "none"),
        ] {
            assert_eq!(shown(eplf(line)), expected);
        }
        let mode = eplf(b"+r,up755\tx").and_then(|found| found.attributes.mode);
        assert_eq!(mode, Some(0o755));
    }

    #[test]
    fn eplf_refuses_other_lines() {
        for line in [
            &b""[..],
            b"total 12",
            b"ls: cannot open directory '.': Permission denied",
            b"550 No such file or directory",
            b"000000000x ",
        ] {
            assert!(eplf(line).is_none());
        }
    }
}
