//! Parses listings: what MLSD and LIST answer, line by line, to entries.
//!
//! MLSD has a standard (RFC 3659 section 7); LIST has none (RFC 959 section 4.1.3), so each format is a function that
//! decides whether a line is in its format, and the one that accepted a line is asked first from then on.

use crate::ftp::listing::{Clock, Found, Line, dos, eplf, legacy, mlsx, tokens, unix};
use crate::remote::Entry;

/// Parses the lines of one listing in their order.
#[derive(Clone, Debug)]
pub struct Parser {
    how: How,
    /// The listed directory, absolute; empty where it is not known.
    directory: Vec<u8>,
    says_empty: bool,
    sums_to_zero: bool,
}

#[derive(Clone, Debug)]
enum How {
    Facts,
    List(List),
}

impl Parser {
    /// A parser of what MLSD answers.
    ///
    /// Names with a `/` are unreadable, but for paths of the directory's own entries: see [`Self::within`].
    pub fn facts() -> Self {
        Self::new(How::Facts)
    }

    /// A parser of what LIST answers, in any known format.
    ///
    /// The format of the first parsed line is tried first for the lines that follow.
    pub fn list(clock: Clock) -> Self {
        Self::new(How::List(List {
            clock,
            format: None,
            vms: legacy::vms::Parser::default(),
            mvs: legacy::mvs::Columns::default(),
        }))
    }

    fn new(how: How) -> Self {
        Self {
            how,
            directory: Vec::new(),
            says_empty: false,
            sums_to_zero: false,
        }
    }

    /// The same for a listing of `directory` (absolute): some servers report paths, as for `NLST` (RFC 959 section 4.1.3).
    #[must_use]
    pub fn within(self, directory: &[u8]) -> Self {
        Self {
            directory: directory.to_vec(),
            ..self
        }
    }

    /// Whether a line said that the directory has no entries. A sum of 0 is also that of entries that take no space: it
    /// excuses one of the `unreadable` lines, which may be a greeting, but not more.
    pub fn says_empty(&self, unreadable: usize) -> bool {
        self.says_empty || self.sums_to_zero && unreadable <= 1
    }

    /// Parses one line, given without its LF; CRs before that are no part of it (some servers send CR CR LF).
    pub fn line(&mut self, mut line: &[u8]) -> Line {
        while let Some(shorter) = line.strip_suffix(b"\r") {
            line = shorter;
        }
        let parsed = match &mut self.how {
            How::Facts => facts_line(line, &self.directory),
            How::List(list) => list.line(line, &self.directory),
        };
        if !matches!(parsed, Line::Entry(_)) && is_sign_of_emptiness(line) {
            match is_no_entry(line) {
                true => self.sums_to_zero = true,
                false => self.says_empty = true,
            }
            return Line::Nothing;
        }
        parsed
    }

    /// The name of the last recognized format, if any.
    pub fn format(&self) -> Option<&'static str> {
        match &self.how {
            How::Facts => Some("facts"),
            How::List(list) => list.format.map(Format::name),
        }
    }

    /// The entry that the end of the listing completes, in formats where one spans lines (VMS).
    pub fn finish(&mut self) -> Option<Entry> {
        match &mut self.how {
            How::Facts => None,
            How::List(list) => list.vms.finish(),
        }
    }
}

fn facts_line(line: &[u8], directory: &[u8]) -> Line {
    if line.trim_ascii().is_empty() {
        return Line::Nothing;
    }
    match mlsx::read(line) {
        Some((mlsx::Type::Around, ..)) => Line::Nothing,
        Some((_, attributes, name)) => Found { name, attributes }.within(directory).check_name(),
        None => Line::Unreadable,
    }
}

/// The state of a LIST parser: the recognized format, and the state of formats that span lines.
#[derive(Clone, Debug)]
struct List {
    clock: Clock,
    format: Option<Format>,
    vms: legacy::vms::Parser,
    mvs: legacy::mvs::Columns,
}

/// The formats of LIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Unix,
    Dos,
    Eplf,
    Mvs,
    Vms,
    Os400,
    Os2,
    NonStop,
    Zvm,
    Numbers,
    Connect,
    VShell,
    VxWorks,
    Nortel,
    Os9,
    NameFirst,
}

impl Format {
    /// Formats that cannot be mistaken for another. They are tried for every line, so that a misleading first line does no
    /// harm.
    const DISTINCT: [Self; 4] = [Self::Unix, Self::Dos, Self::Eplf, Self::Mvs];
    /// The name of the format.
    fn name(self) -> &'static str {
        match self {
            Self::Unix => "Unix",
            Self::Dos => "DOS",
            Self::Eplf => "EPLF",
            Self::Mvs => "MVS",
            Self::Vms => "VMS",
            Self::Os400 => "OS/400",
            Self::Os2 => "OS/2",
            Self::NonStop => "NonStop",
            Self::Zvm => "z/VM",
            Self::Numbers => "numbers",
            Self::Connect => "Connect",
            Self::VShell => "VShell",
            Self::VxWorks => "VxWorks",
            Self::Nortel => "Nortel",
            Self::Os9 => "OS-9",
            Self::NameFirst => "names first",
        }
    }

    /// Formats that are tried only until one is recognized.
    const RARE: [Self; 12] = [
        Self::Vms,
        Self::Os400,
        Self::Os2,
        Self::NonStop,
        Self::Zvm,
        Self::Numbers,
        Self::Connect,
        Self::VShell,
        Self::VxWorks,
        Self::Nortel,
        Self::Os9,
        Self::NameFirst,
    ];
}

impl List {
    fn line(&mut self, line: &[u8], directory: &[u8]) -> Line {
        let first = match self.vms.waits() {
            true => Some(Format::Vms),
            false => self.format,
        };
        let rare = match self.format {
            None => &Format::RARE[..],
            Some(_) => &[],
        };
        let others = Format::DISTINCT.iter().chain(rare).copied();
        let candidates = first
            .into_iter()
            .chain(others.filter(|&other| Some(other) != first));
        for format in candidates {
            if let Some(line) = self.read(format, line, directory) {
                self.format = Some(format);
                return line;
            }
        }
        match is_no_entry(line) {
            true => Line::Nothing,
            false => Line::Unreadable,
        }
    }

    fn read(&mut self, format: Format, line: &[u8], directory: &[u8]) -> Option<Line> {
        let clock = &self.clock;
        let found = match format {
            Format::Unix => unix::line(line, clock),
            Format::Dos => dos::line(line, clock),
            Format::Eplf => eplf::eplf(line),
            Format::Mvs => return legacy::mvs::line(&mut self.mvs, line, clock),
            Format::Vms => return self.vms.line(line, clock),
            Format::Os400 => legacy::os400::os400(line, clock),
            Format::Os2 => legacy::os2::os2(line, clock),
            Format::NonStop => legacy::nonstop::nonstop(line, clock),
            Format::Zvm => return legacy::zvm::zvm(line, clock),
            Format::Numbers => legacy::misc::numbers(line),
            Format::Connect => legacy::misc::connect(line, clock),
            Format::VShell => legacy::misc::vshell(line, clock),
            Format::VxWorks => legacy::misc::vxworks(line, clock),
            Format::Nortel => legacy::misc::nortel(line, clock),
            Format::Os9 => legacy::misc::os9(line, clock),
            Format::NameFirst => legacy::misc::name_first(line, clock),
        };
        found.map(|found| found.within(directory).check_name())
    }
}

/// What servers say of a directory without entries, in lower case and without what surrounds it: `ls` of a directory
/// without `-a`, IIS and FileZilla Server, Serv-U, VMS (`%DIRECT-W-NOFILES, no files found`), MVS.
const EMPTY_SIGNS: [&str; 11] = [
    "total 0",
    "total of 0 files",
    "no files found",
    "no files",
    "no file found",
    "no such files",
    "file not found",
    "directory is empty",
    "empty directory",
    "no entries",
    "no data sets found",
];
/// The longest line that may be such a sign, in bytes.
const EMPTY_SIGN_LIMIT: usize = 80;

/// Whether a line says that the directory has no entries: by one of [`EMPTY_SIGNS`], perhaps after a message code, or by a
/// sum in another language ("insgesamt 0").
fn is_sign_of_emptiness(line: &[u8]) -> bool {
    if line.len() > EMPTY_SIGN_LIMIT {
        return false;
    }
    let text = String::from_utf8_lossy(line).to_ascii_lowercase();
    let said = text.rsplit([',', ':']).next().unwrap_or_default();
    let said = said.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    EMPTY_SIGNS.contains(&said) || said.ends_with(" 0") && is_no_entry(line)
}

/// Whether a line is no entry: a blank line, `.` or `..` alone, a sum ("total 112", "insgesamt 112"), or a header of NonStop
/// or z/VM.
fn is_no_entry(line: &[u8]) -> bool {
    let mut tokens = tokens::Tokens::of(line);
    let Some(first) = tokens.next() else {
        return true;
    };
    match (tokens.next(), tokens.next()) {
        (None, _) => matches!(first, b"." | b".." | b".:"),
        (Some(sum), None) => {
            let number = |byte: &u8| byte.is_ascii_digit() || b".,KMGT".contains(byte);
            sum[0].is_ascii_digit()
                && sum.iter().all(number)
                && !first.iter().any(u8::is_ascii_digit)
        }
        (Some(second), _) => matches!(
            (first, second),
            (b"File", b"Code") | (b"Filename", b"FileType")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::protocol::time_val::{format_time_val, unix_seconds};
    use crate::remote::is_name;
    use proptest::prelude::*;
    use std::fmt::Write;

    macro_rules! fixture {
        ($name:literal) => {
            (
                $name,
                include_str!(concat!("../../../tests/fixtures/listings/", $name)),
                include_str!(concat!(
                    "../../../tests/fixtures/listings/",
                    $name,
                    ".expected"
                )),
            )
        };
    }

    fn clock() -> Clock {
        let now = unix_seconds(2026, 11, 23, 12, 0, 0).expect("a date");
        Clock { now, zone: 0 }
    }

    fn parser(name: &str) -> Parser {
        match name.ends_with(".mlsd") {
            true => Parser::facts(),
            false => Parser::list(clock()),
        }
    }

    /// All that a listing says, a line for each of its lines.
    fn shown(parser: &mut Parser, listing: &str) -> String {
        let mut text = String::new();
        for line in listing.split_terminator('\n') {
            match parser.line(line.as_bytes()) {
                Line::Entry(entry) => text += &entry_shown(&entry),
                Line::Nothing => text += "nothing\n",
                Line::Unreadable => text += "unreadable\n",
            }
        }
        if let Some(entry) = parser.finish() {
            text += &entry_shown(&entry);
        }
        text
    }

    fn entry_shown(entry: &Entry) -> String {
        let known = &entry.attributes;
        let mut text = format!("{:?} {:?}", lossy(&entry.name), known.kind);
        let mut add = |what: &str, value: Option<String>| {
            if let Some(value) = value {
                write!(text, " {what}={value}").expect("a string takes all");
            }
        };
        add("size", known.size.map(|size| size.to_string()));
        let modified = known.modified.map(|modified| {
            let time = format_time_val(modified.seconds).unwrap_or_default();
            format!("{time}/{:?}", modified.precision)
        });
        add("modified", modified);
        add("mode", known.mode.map(|mode| format!("{mode:04o}")));
        add("owner", known.owner.as_deref().map(lossy));
        add("group", known.group.as_deref().map(lossy));
        add("target", known.target.as_deref().map(lossy));
        text + "\n"
    }

    fn lossy(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn real_listings_are_read_as_expected() {
        for (name, listing, expected) in [
            fixture!("vsftpd.list"),
            fixture!("proftpd.list"),
            fixture!("proftpd.mlsd"),
            fixture!("pure-ftpd.list"),
            fixture!("pure-ftpd.mlsd"),
            fixture!("pyftpdlib.list"),
            fixture!("pyftpdlib.mlsd"),
            fixture!("iis.list"),
        ] {
            assert_eq!(shown(&mut parser(name), listing), expected, "{name}");
            let crlf = listing.replace('\n', "\r\n");
            assert_eq!(
                shown(&mut parser(name), &crlf),
                expected,
                "{name} with CRLF"
            );
            let twice = listing.replace('\n', "\r\r\n");
            assert_eq!(
                shown(&mut parser(name), &twice),
                expected,
                "{name} with CR CR LF"
            );
        }
    }

    #[test]
    fn sums_headers_and_the_directory_itself_are_nothing() {
        for line in [
            "",
            "  ",
            "\r",
            "total 112",
            "total 1.5K",
            "insgesamt 7",
            "итого 7",
            ".",
            " ..",
            "drwxr-xr-x 2 u g 4096 Jan 1 2020 .",
            "drwxr-xr-x 2 u g 4096 Jan 1 2020 ..",
            "04-27-10  11:01AM       <DIR>          .",
            "Directory ANONYMOUS_ROOT:[000000]",
            " Name     VV.MM   Created       Changed      Size  Init   Mod   Id",
            "File         Code             EOF  Last Modification    Owner  RWEP",
            "Filename FileType  Fm Format Lrecl  Records Blocks Date      Time",
        ] {
            let mut parser = Parser::list(clock());
            assert_eq!(parser.line(line.as_bytes()), Line::Nothing, "{line}");
        }
        for line in [
            "",
            "type=cdir; .",
            "type=pdir; ..",
            "type=cdir;modify=20200101000000; /a/b",
            "type=dir; .",
        ] {
            let mut parser = Parser::facts();
            assert_eq!(parser.line(line.as_bytes()), Line::Nothing, "{line}");
        }
    }

    #[test]
    fn a_name_that_could_smuggle_or_climb_is_unreadable() {
        for name in ["a/b", "../x", "/etc/passwd", "a\0b", "a\rb", "a\nb"] {
            let line = format!("-rw-r--r-- 1 u g 7 Jan  1  2020 {name}");
            let mut parser = Parser::list(clock());
            assert_eq!(parser.line(line.as_bytes()), Line::Unreadable, "{line}");
            let line = format!("type=file; {name}");
            let mut parser = Parser::facts();
            assert_eq!(parser.line(line.as_bytes()), Line::Unreadable, "{line}");
        }
    }

    #[test]
    fn errors_in_place_of_lines_are_unreadable() {
        for line in [
            "ls: cannot open directory '.': Permission denied",
            "Could not get file information: Access denied.",
            "000000000x ",
            "total of nothing",
            "plain",
        ] {
            let mut parser = Parser::list(clock());
            assert_eq!(parser.line(line.as_bytes()), Line::Unreadable, "{line}");
            let mut parser = Parser::facts();
            assert_eq!(parser.line(line.as_bytes()), Line::Unreadable, "{line}");
        }
    }

    #[test]
    fn a_first_line_that_misleads_does_no_harm() {
        let mut parser = Parser::list(clock());
        for line in [
            "NOTES 101 7 6-Apr-07 14:21:18 255,255 \"oooo\"",
            "-rw-r--r--   1 u g            7 Jan  1  2020 a",
            "04-27-10  11:01AM       <DIR>          b",
            "-rw-r--r--   1 u g            7 Jan  1  2020 c;1",
        ] {
            let line = parser.line(line.as_bytes());
            assert!(matches!(line, Line::Entry(_)), "{line:?}");
        }
    }

    #[test]
    fn a_name_of_vms_in_a_line_of_its_own_comes_with_the_next() {
        let listing =
            "Directory D:[A]\n\nLONG_NAME.TXT;1\n   4/15  24-FEB-2003 13:17:24\nLAST.TXT;3\n";
        let expected = "nothing\nnothing\nnothing\n\
                        \"LONG_NAME.TXT\" File modified=20030224131724/Second\n\
                        nothing\n\"LAST.TXT\" File\n";
        assert_eq!(shown(&mut Parser::list(clock()), listing), expected);
    }

    #[test]
    fn signs_of_emptiness_are_no_entries() {
        for line in [
            "total 0",
            "insgesamt 0",
            "No files found.",
            "%DIRECT-W-NOFILES, no files found",
            "ls: no such files",
            "(Directory is empty)",
        ] {
            let mut parser = Parser::list(clock());
            assert_eq!(parser.line(line.as_bytes()), Line::Nothing, "{line}");
            assert_eq!(
                parser.says_empty(2),
                !line.starts_with("total 0") && !line.starts_with("insgesamt"),
                "{line}"
            );
        }
        for line in ["total 12", "Hello", "cannot read, input/output error", "."] {
            let mut parser = Parser::list(clock());
            let _ = parser.line(line.as_bytes());
            assert!(!parser.says_empty(1), "{line}");
        }
        // An entry may be called so.
        let mut parser = Parser::list(clock());
        let line = b"-rw-r--r-- 1 u g 5 Jan 1 2020 a, no files found";
        assert!(matches!(parser.line(line), Line::Entry(_)));
        assert!(!parser.says_empty(1));
    }

    #[test]
    fn paths_of_the_listed_directory_are_names() {
        let listed = |directory: &str, name: &str| {
            let mut names = Vec::new();
            for (mut parser, line) in [
                (
                    Parser::list(clock()),
                    format!("-rw-r--r-- 1 u g 5 Jan 1 2020 {name}"),
                ),
                (Parser::facts(), format!("type=file;size=5; {name}")),
            ] {
                parser = parser.within(directory.as_bytes());
                names.push(match parser.line(line.as_bytes()) {
                    Line::Entry(entry) => lossy(&entry.name),
                    Line::Nothing => "nothing".into(),
                    Line::Unreadable => "unreadable".into(),
                });
            }
            assert_eq!(names[0], names[1], "{directory} {name}");
            names.remove(0)
        };
        assert_eq!(listed("/a/b", "/a/b/c d"), "c d");
        assert_eq!(listed("/", "/c"), "c");
        assert_eq!(listed("/a", "./c"), "c");
        assert_eq!(listed("/a", "c"), "c");
        assert_eq!(listed("/a", "/a/."), "nothing");
        for outside in ["/a", "/ab", "/a/b/c", "/b/c", "/a//c", "/a/../c", "../c"] {
            assert_eq!(listed("/a", outside), "unreadable", "{outside}");
        }
    }

    /// Bytes that are looked at for tokens while a listing is read.
    fn work(mut parser: Parser, lines: &[Vec<u8>]) -> usize {
        let before = tokens::LOOKED_AT.get();
        for line in lines {
            let _ = parser.line(line);
        }
        tokens::LOOKED_AT.get() - before
    }

    #[test]
    fn a_line_that_repeats_itself_takes_no_more_than_its_length() {
        let starts = [
            "",
            "-rw-r--r-- ",
            "crw-r--r-- ",
            "lrwxrwxrwx 1 u g 5 Jan 1 2020 ",
            "d [R----F--] ",
            "type=file;",
            "A;1 ",
            "1 A ",
            "+",
            "04-27-00 12:09PM <JUNCTION> ",
        ];
        let pieces = [
            "1 ",
            "9",
            "Jan ",
            "1 Jan 2 ",
            "1 Jan 2020 ",
            "1 2-FOO-2000 ",
            "2-JUL-2003 ",
            "1 ao\u{fb}t ",
            "1 Foo 12 10:00 ",
            "8, ",
            "a=;",
            "type=OS.unix=slink:",
            "unix.group= ",
            "; ",
            " -> ",
            "[ ",
            "DIR ",
            "-",
            "/",
            "x",
        ];
        for (start, piece) in starts
            .iter()
            .flat_map(|start| pieces.map(|piece| (start, piece)))
        {
            for count in [500, 1000] {
                let line = format!("{start}{}", piece.repeat(count)).into_bytes();
                let limit = WORK * line.len();
                let lines = [line];
                let done = work(Parser::list(clock()), &lines);
                assert!(done <= limit, "{start}{piece} x {count}: {done}");
                let done = work(Parser::facts(), &lines);
                assert!(done <= limit, "{start}{piece} x {count}: {done}");
            }
        }
    }

    /// How often a byte of a line is looked at, at most: every format may look, and a date at every
    /// token.
    const WORK: usize = 30;

    /// Lines that begin like those of a server, to get beyond the first check.
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn likely() -> impl Strategy<Value = Vec<u8>> {
        let tokens = prop::sample::select(vec![
            "-rw-r--r--",
            "drwxr-xr-x+",
            "lrwxrwxrwx",
            "crw-------",
            "d",
            "[RWCEAFMS]",
            "1",
            "root",
            "0,",
            "4096",
            "33.5k",
            "99999999999999999999",
            "Jan",
            "août",
            "29",
            "Feb",
            "10:30",
            "24:00",
            "03:04:05.000000000",
            "+0000",
            "2020",
            "2020-01-02",
            "04-27-00",
            "12:09PM",
            "<DIR>",
            "<JUNCTION>",
            "PM",
            "3月",
            "2日",
            "Volume",
            "Unit",
            "Name",
            "VV.MM",
            "PO",
            "2004/06/23",
            "Migrated",
            "A.B",
            "X.DIR;1",
            ";1",
            "[",
            "[A]B;2",
            "Directory",
            "D:[A]",
            "2-JUL-2003",
            "Total",
            "of",
            "%X",
            "*DIR",
            "*MEM",
            "02/23/00",
            "DIR",
            "04-23-103",
            "255,0",
            "\"oooo\"",
            "V",
            "-",
            "A1",
            "9/16/91",
            "+i1,r,\tx",
            "0100644",
            "type=file;",
            "size=5;",
            "type=OS.unix=slink:",
            "UNIX.group=",
            ";",
            "->",
            ".",
            "..",
            "a/b",
            "x",
            "-C--E-----FTP",
            "Feb-28-1998",
            "06/03/04",
            "1026",
            "d-ewrewr",
            "Apr",
            "04,",
            "\t",
            "total",
            "",
            "\r",
            "\u{e9}",
        ]);
        prop::collection::vec((tokens, " {0,3}"), 0..14).prop_map(|tokens| {
            let line: String = tokens
                .into_iter()
                .map(|(word, blanks)| format!("{word}{blanks}"))
                .collect();
            line.into_bytes()
        })
    }

    fn all_are_names(parser: &mut Parser, lines: &[Vec<u8>]) -> bool {
        let mut good = true;
        for line in lines {
            if let Line::Entry(entry) = parser.line(line) {
                good &= is_name(&entry.name);
            }
        }
        good && parser.finish().is_none_or(|entry| is_name(&entry.name))
    }

    proptest! {
        #[test]
        fn any_bytes_give_names_or_nothing(lines: Vec<Vec<u8>>, now: i64, zone: i32) {
            prop_assert!(all_are_names(&mut Parser::facts(), &lines));
            let clock = Clock { now, zone };
            prop_assert!(all_are_names(&mut Parser::list(clock), &lines));
        }

        #[test]
        fn likely_lines_give_names_or_nothing(
            lines in prop::collection::vec(likely(), 0..6),
            now: i64,
            zone: i32,
        ) {
            prop_assert!(all_are_names(&mut Parser::facts(), &lines));
            let clock = Clock { now, zone };
            prop_assert!(all_are_names(&mut Parser::list(clock), &lines));
        }

        #[test]
        fn likely_lines_take_no_more_than_their_length(
            lines in prop::collection::vec(likely(), 1..6),
            times in 1..50usize,
        ) {
            let lines: Vec<_> = lines.iter().map(|line| line.repeat(times)).collect();
            let limit = WORK * lines.iter().map(|line| line.len() + 1).sum::<usize>();
            prop_assert!(work(Parser::facts(), &lines) <= limit);
            prop_assert!(work(Parser::list(clock()), &lines) <= limit);
        }

        #[test]
        fn every_name_comes_back_as_it_was(name in "[^/\0\r\n]{1,40}") {
            prop_assume!(is_name(name.as_bytes()));
            for line in [
                format!("-rw-r--r--    1 0        0               1 Nov 01 10:20 {name}"),
                format!("-rw-r--r--   1 root     root            1 Mar  4  2019 {name}"),
                format!("12-31-23  12:00AM                    0 {name}"),
                format!("12-31-23  12:00AM       <DIR>          {name}"),
            ] {
                let Line::Entry(entry) = Parser::list(clock()).line(line.as_bytes()) else {
                    return Err(TestCaseError::fail(line));
                };
                prop_assert_eq!(lossy(&entry.name), name.clone());
            }
            let line = format!("type=file;size=1;UNIX.groupname=a b; {name}");
            let Line::Entry(entry) = Parser::facts().line(line.as_bytes()) else {
                return Err(TestCaseError::fail(line));
            };
            prop_assert_eq!(lossy(&entry.name), name);
        }
    }
}
