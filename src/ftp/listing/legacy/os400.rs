//! Parses LIST lines of OS/400.
//!
//! The type (`*FILE`, `*DIR`) after the time marks the format. A day that can be read in two ways, such as `04/03/18`, is
//! taken for day, month, year, with [`Precision::Day`] only, so that it is never trusted as the version of a file.

use crate::ftp::listing::date;
use crate::ftp::listing::tokens;
use crate::ftp::listing::tokens::Tokens;
use crate::ftp::listing::{Clock, Found};
use crate::remote::{Attributes, Kind, Precision};

/// Bytes from the start of an OS/400 type to the name.
const TYPE_COLUMN: usize = 11;

/// OS/400: `QSYS            77824 02/23/00 15:09:55 *DIR       name/`. Lines of `*MEM`, which have
/// neither size nor date, are members one level below and no entries here.
pub(crate) fn os400<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut tokens = Tokens::of(line);
    let owner = tokens.next()?;
    let size = tokens::size(tokens.next()?)?;
    let day = tokens.next()?;
    let time = date::time_of_day(tokens.next()?)?;
    let what = tokens.next()?;
    let kind = match what.strip_prefix(b"*")? {
        b"DIR" | b"DDIR" | b"FLR" | b"LIB" => Kind::Directory,
        _ => Kind::File,
    };
    let rest = tokens.rest();
    let blanks = rest.iter().take_while(|&&byte| byte == b' ').count();
    let padding = TYPE_COLUMN.saturating_sub(what.len()).max(1);
    let name = &rest[blanks.min(padding)..];
    let mut attributes = Attributes::of(kind);
    attributes.size = (kind == Kind::File).then_some(size);
    attributes.owner = Some(owner.into());
    let (year, month, day, certain) = job_day(day)?;
    attributes.modified = date::moment(Some(year), month, day, Some(time), clock);
    if let Some(modified) = attributes.modified.as_mut().filter(|_| !certain) {
        modified.precision = Precision::Day;
    }
    let name = match kind {
        Kind::Directory => name.strip_suffix(b"/").unwrap_or(name),
        _ => name,
    };
    (blanks > 0).then_some(Found { name, attributes })
}

/// A day in the format of the server's job (*YMD, *MDY or *DMY), and whether only one format fits. With points it is *DMY.
fn job_day(token: &[u8]) -> Option<(i64, u32, u32, bool)> {
    let separator = *token.get(2).filter(|byte| b"/.-".contains(byte))?;
    let mut parts = token.split(|&byte| byte == separator);
    let mut part = || tokens::small(parts.next().filter(|part| part.len() == 2)?);
    let (one, two, three) = (part()?, part()?, part()?);
    let is_month = |month: u32| (1..=12).contains(&month);
    let is_day = |day: u32| (1..=31).contains(&day);
    let day_first = is_day(one) && is_month(two);
    let month_first = is_month(one) && is_day(two) && separator != b'.';
    let year_first = is_month(two) && is_day(three) && separator != b'.';
    let certain = [day_first, month_first && one != two, year_first]
        .iter()
        .filter(|&&possible| possible)
        .count()
        == 1;
    if day_first {
        Some((date::century(three), two, one, certain))
    } else if month_first {
        Some((date::century(three), one, two, certain))
    } else {
        year_first.then(|| (date::century(one), two, three, certain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::listing::legacy::testing::{CLOCK, found};

    #[test]
    fn os_400_pads_types_and_writes_days_in_three_ways() {
        for (line, expected) in [
            (
                "QSYS            77824 02/23/00 15:09:55 *DIR       a dir/",
                "Directory - 20000223150955 a dir",
            ),
            (
                "QSYS            77824 23/02/00 15:09:55 *FILE X.FILE",
                "File 77824 20000223150955 X.FILE",
            ),
            (
                "QPGMR           36864 18.09.06 14:21:26 *STMF       lead",
                "File 36864 20060918142126  lead",
            ),
            (
                "PEP   5000000000 99/03/24 14:06:29 *STMF      build.xml",
                "File 5000000000 19990324140629 build.xml",
            ),
            ("CFT         *MEM  ASKET7.FILE/ASKET7.MBR", "none"),
        ] {
            assert_eq!(found(os400(line.as_bytes(), &CLOCK)), expected);
        }
    }

    #[test]
    fn a_day_that_could_be_another_is_not_trusted() {
        for (day, precision) in [
            ("04/03/18", Precision::Day),
            ("18/09/06", Precision::Day),
            ("02/23/00", Precision::Second),
            ("18.09.06", Precision::Second),
        ] {
            let line = format!("PEP 4019 {day} 18:58:16 *STMF      x");
            let read = os400(line.as_bytes(), &CLOCK).expect("a line");
            let modified = read.attributes.modified.expect("a time");
            assert_eq!(modified.precision, precision, "{day}");
        }
    }
}
