//! Parses lines of facts: what MLST and MLSD answer (RFC 3659 section 7.2).
//!
//! The facts end at the first blank outside a value, and everything after that blank is the pathname, to its last byte. Only a
//! link's target and the names of owner and group can contain a blank, against the RFC.
//!
//! # Invariants
//! Facts may come in any case and any order. An unknown or broken fact is skipped, never the line.

use crate::ftp::listing::tokens;
use crate::ftp::protocol::time_val;
use crate::remote::{Attributes, Kind, Modified, Perm, Precision};

/// The value of the `type` fact, with the two types that only a listing has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Of(Kind),
    /// `cdir` or `pdir`: the directory that is listed, or the one above it.
    Around,
}

/// Parses one line of facts: the attributes, and the pathname after them.
///
/// One leading blank is optional: MLST answers have it, MLSD lines have not, and some servers confuse the two. A line without
/// any fact is `None`; a missing type means a file; a missing pathname is empty.
pub fn facts(line: &[u8]) -> Option<(Attributes, &[u8])> {
    let (_, attributes, pathname) = read(line)?;
    Some((attributes, pathname))
}

/// [`facts`], and the type.
pub(crate) fn read(line: &[u8]) -> Option<(Type, Attributes, &[u8])> {
    let mut rest = line.strip_prefix(b" ").unwrap_or(line);
    let mut found = Found::new();
    let mut any = false;
    loop {
        match rest.first() {
            None => break,
            Some(&byte) if tokens::is_blank(byte) => {
                rest = &rest[1..];
                break;
            }
            Some(_) => {}
        }
        let (fact, after, last) = split(rest);
        match fact.iter().position(|&byte| byte == b'=') {
            Some(equals) => {
                any = true;
                found.take(&fact[..equals], &fact[equals + 1..]);
            }
            // No fact so far: this is no line of facts.
            None if !any => return None,
            None => {}
        }
        rest = after;
        if last {
            break;
        }
    }
    any.then_some((found.what, found.attributes, rest))
}

/// One fact, what follows it, and whether that is the pathname already, because a blank came
/// where a semicolon should have been.
fn split(text: &[u8]) -> (&[u8], &[u8], bool) {
    let ends = |&byte: &u8| byte == b';' || tokens::is_blank(byte);
    let Some(mut end) = text.iter().position(ends) else {
        return (text, b"", true);
    };
    if text[end] != b';' && may_hold_blanks(&text[..end]) {
        let more = text[end..].iter().position(|&byte| byte == b';');
        end += more.unwrap_or(0);
    }
    (&text[..end], &text[end + 1..], text[end] != b';')
}

/// Whether a value may contain blanks: ProFTPD writes targets and the names of owners and groups
/// as they are ("UNIX.groupname=domain users;").
fn may_hold_blanks(fact: &[u8]) -> bool {
    const FACTS: [&[u8]; 5] = [
        b"type=os.unix=slink:",
        b"unix.groupname=",
        b"unix.ownername=",
        b"unix.group=",
        b"unix.owner=",
    ];
    let begins = |name: &[u8]| {
        fact.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    FACTS.into_iter().any(begins)
}

struct Found {
    what: Type,
    attributes: Attributes,
    owner_has_name: bool,
    group_has_name: bool,
}

impl Found {
    fn new() -> Self {
        Self {
            what: Type::Of(Kind::File),
            attributes: Attributes::of(Kind::File),
            owner_has_name: false,
            group_has_name: false,
        }
    }

    fn take(&mut self, fact: &[u8], value: &[u8]) {
        let is = |name: &[u8]| fact.eq_ignore_ascii_case(name);
        let known = &mut self.attributes;
        if is(b"type") {
            self.take_type(value);
        } else if is(b"size") || is(b"sizd") {
            known.size = tokens::size(value).or(known.size);
        } else if is(b"modify") {
            known.modified = time_val::parse_time_val(value).map(|seconds| Modified {
                seconds,
                precision: Precision::Second,
            });
        } else if is(b"perm") {
            known.perm = Some(Perm::of(value));
        } else if is(b"unix.mode") {
            known.mode = octal(value);
        } else if is(b"unix.ownername") {
            self.owner_has_name = keep(&mut known.owner, value) || self.owner_has_name;
        } else if is(b"unix.groupname") {
            self.group_has_name = keep(&mut known.group, value) || self.group_has_name;
        } else if (is(b"unix.owner") || is(b"unix.uid")) && !self.owner_has_name {
            keep(&mut known.owner, value);
        } else if (is(b"unix.group") || is(b"unix.gid")) && !self.group_has_name {
            keep(&mut known.group, value);
        }
    }

    fn take_type(&mut self, value: &[u8]) {
        let lower = value.to_ascii_lowercase();
        self.what = match &lower[..] {
            b"file" => Type::Of(Kind::File),
            b"dir" => Type::Of(Kind::Directory),
            b"cdir" | b"pdir" => Type::Around,
            link if link.starts_with(b"os.unix=slink") => {
                let target = value.get(b"os.unix=slink:".len()..).unwrap_or_default();
                keep(&mut self.attributes.target, target);
                Type::Of(Kind::Symlink)
            }
            b"os.unix=symlink" | b"link" | b"slink" | b"symlink" => Type::Of(Kind::Symlink),
            // Devices, pipes and sockets are OS types too (RFC 3659 section 7.5.1.5), as is everything
            // else that cannot be opened.
            _ => Type::Of(Kind::Special),
        };
        self.attributes.kind = match self.what {
            Type::Of(kind) => kind,
            Type::Around => Kind::Directory,
        };
    }
}

/// Keeps a value that is not empty; returns whether it did.
fn keep<'a, T: From<&'a [u8]>>(place: &mut Option<T>, value: &'a [u8]) -> bool {
    if !value.is_empty() {
        *place = Some(value.into());
    }
    !value.is_empty()
}

/// Permission bits; file type bits above them are dropped.
fn octal(value: &[u8]) -> Option<u32> {
    // pyftpdlib writes numbers as Python 3 does: 0o644.
    let value = value.strip_prefix(b"0o").unwrap_or(value);
    if value.is_empty() || value.len() > 10 {
        return None;
    }
    let mode = value.iter().try_fold(0, |mode, byte| {
        matches!(byte, b'0'..=b'7').then(|| mode * 8 + u32::from(byte - b'0'))
    })?;
    Some(mode & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(line: &str) -> Option<&[u8]> {
        facts(line.as_bytes()).map(|(_, pathname)| pathname)
    }

    fn attributes(line: &str) -> Attributes {
        facts(line.as_bytes()).expect("a line of facts").0
    }

    #[test]
    fn the_facts_that_servers_send_are_all_kept() {
        let line = "modify=20150813175250;perm=adfr;size=951;type=file;unique=119FBB87UE;\
                    UNIX.group=100;UNIX.groupname=users;UNIX.mode=0644;UNIX.ownername=ann;\
                    UNIX.owner=1000; welcome.msg";
        let expected = Attributes {
            kind: Kind::File,
            size: Some(951),
            modified: Some(Modified {
                seconds: 1_439_488_370,
                precision: Precision::Second,
            }),
            mode: Some(0o644),
            owner: Some(b"ann"[..].into()),
            group: Some(b"users"[..].into()),
            target: None,
            perm: Some(Perm::of(b"adfr")),
        };
        assert_eq!(
            facts(line.as_bytes()),
            Some((expected, &b"welcome.msg"[..]))
        );
    }

    #[test]
    fn a_pathname_is_everything_behind_the_one_blank() {
        for (line, expected) in [
            ("type=file; a; b", "a; b"),
            ("type=file;  lead", " lead"),
            ("type=file; trail\t ", "trail\t "),
            ("type=file; cap;mux = tar.z", "cap;mux = tar.z"),
            (" type=file; mlst", "mlst"),
            ("type=file no semicolon; here", "no semicolon; here"),
            ("type=file;\ttab", "tab"),
            ("type=file;", ""),
            ("type=file", ""),
            ("Type=dir;Size; broken =fact", "broken =fact"),
        ] {
            assert_eq!(name(line), Some(expected.as_bytes()), "{line}");
        }
    }

    #[test]
    fn a_line_without_a_fact_is_none() {
        for line in ["", " ", "plain", " plain name", "plain; name", "250 End"] {
            assert_eq!(name(line), None, "{line}");
        }
    }

    #[test]
    fn every_type_has_its_kind() {
        for (line, kind) in [
            ("TYPE=File; x", Kind::File),
            ("size=1; x", Kind::File),
            ("type=DIR; x", Kind::Directory),
            ("type=cdir; /x", Kind::Directory),
            ("type=OS.UNIX=symlink; x", Kind::Symlink),
            ("type=OS.unix=slink; x", Kind::Symlink),
            ("type=OS.unix=slink:; x", Kind::Symlink),
            ("type=OS.unix=blk-11/108; x", Kind::Special),
            ("type=OS.unix=socket; x", Kind::Special),
        ] {
            assert_eq!(attributes(line).kind, kind, "{line}");
        }
    }

    #[test]
    fn a_target_may_hold_blanks() {
        let (known, pathname) =
            facts(b"Type=OS.unix=slink:/a b/c;Perm=; l 1").expect("a line of facts");
        assert_eq!(known.target.as_deref(), Some(&b"/a b/c"[..]));
        assert_eq!(pathname, b"l 1");
        let (known, pathname) = facts(b"type=OS.unix=slink:; l").expect("a line of facts");
        assert_eq!((known.target, pathname), (None, &b"l"[..]));
    }

    #[test]
    fn an_owner_may_hold_blanks() {
        let line = b"type=file;UNIX.groupname=domain users;UNIX.owner=7; a b";
        let (known, pathname) = facts(line).expect("a line of facts");
        assert_eq!(known.group.as_deref(), Some(&b"domain users"[..]));
        assert_eq!(known.owner.as_deref(), Some(&b"7"[..]));
        assert_eq!(pathname, b"a b");
    }

    #[test]
    fn a_broken_value_costs_only_itself() {
        let known = attributes("size=18446744073709551616;modify=soon;UNIX.mode=rw;type=dir; x");
        assert_eq!(known, Attributes::of(Kind::Directory));
    }

    #[test]
    fn a_perm_without_letters_allows_nothing_and_none_says_nothing() {
        assert_eq!(attributes("Perm=; x").perm, Some(Perm::default()));
        assert_eq!(attributes("type=file; x").perm, None);
        let perm = attributes("type=dir;PERM=CdeFlMp; x").perm.expect("a perm");
        assert!(b"cdeflmp".iter().all(|&letter| perm.has(letter)));
        assert!(b"arw".iter().all(|&letter| !perm.has(letter)));
    }

    #[test]
    fn only_the_permission_bits_are_kept() {
        assert_eq!(attributes("UNIX.mode=0100644; x").mode, Some(0o644));
        assert_eq!(attributes("UNIX.mode=04755; x").mode, Some(0o4755));
        assert_eq!(attributes("UNIX.mode=00; x").mode, Some(0));
        assert_eq!(attributes("unix.mode=0o644; x").mode, Some(0o644));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_line_or_none(line: Vec<u8>) {
            let _ = facts(&line);
        }
    }
}
