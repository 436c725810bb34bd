//! What a server says that it can do: the reply to `FEAT` (RFC 2389).
//!
//! Pure functions on bytes. What a server does *differently* from what it says is learned in
//! use, in `profile.rs`.

/// The features that the client uses. An absent one may still work: old servers have no `FEAT`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Whether the server sent a list at all.
    pub listed: bool,
    /// The facts that `MLST` and `MLSD` can report (RFC 3659 section 7.8), in lower case.
    pub facts: Option<Vec<String>>,
    /// `SIZE` reports the size of a file.
    pub size: bool,
    /// `AVBL` reports the free space.
    pub avbl: bool,
    /// `XQUOTA` reports the remaining quota.
    pub xquota: bool,
    /// The verb for the best available checksum.
    pub hash: Option<&'static str>,
    /// `SITE SYMLINK` creates links.
    pub site_symlink: bool,
    /// `MFF` sets permission bits (draft-somers-ftp-mfxx).
    pub mff_mode: bool,
    /// `MFMT` sets times.
    pub mfmt: bool,
    /// Pathnames are UTF-8 (RFC 2640).
    pub utf8: bool,
    /// `AUTH TLS` is offered (RFC 4217).
    pub tls: bool,
    /// `MLST` itself is listed, which stands for both commands (RFC 3659 section 7.8). Embedded servers list `MLSD` alone.
    pub lists_mlst: bool,
    changes_names: bool,
}

/// The verbs for checksums, best first.
const HASHES: [&str; 6] = ["HASH", "XSHA512", "XSHA256", "XSHA1", "XMD5", "XCRC"];

/// The facts that the client asks for; others would only cost the server time.
const WANTED: [&str; 10] = [
    "type",
    "size",
    "modify",
    "perm",
    "unix.mode",
    "unix.uid",
    "unix.gid",
    "unix.ownername",
    "unix.groupname",
    "unix.owner",
];

impl Features {
    /// Parses the lines of a reply to `FEAT`.
    pub fn parse(lines: &[Vec<u8>]) -> Self {
        let mut features = Self {
            listed: true,
            ..Self::default()
        };
        for line in lines {
            let line = String::from_utf8_lossy(line).trim().to_ascii_lowercase();
            let (name, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match name {
                // libunftp lists MLST without facts: those that every server has are safe to expect.
                "mlst" | "mlsd" => {
                    let facts = rest
                        .split(';')
                        .map(|fact| fact.trim().trim_end_matches('*').to_string())
                        .filter(|fact| !fact.is_empty());
                    features.facts.get_or_insert_default().extend(facts);
                    features.lists_mlst |= name == "mlst";
                }
                "auth" => features.tls |= rest.contains("tls"),
                "size" => features.size = true,
                "avbl" => features.avbl = true,
                "xquota" => features.xquota = true,
                "site" => features.site_symlink |= rest.contains("symlink"),
                "mff" => features.mff_mode = rest.contains("unix.mode"),
                "mfmt" => features.mfmt = true,
                "esta" | "estp" => features.changes_names = true,
                "utf8" => features.utf8 = true,
                _ => {}
            }
        }
        let needed = |facts: &Vec<String>| {
            let has = |fact: &str| facts.iter().any(|name| name == fact);
            facts.is_empty() || has("type") && has("size")
        };
        // Without these facts LIST says more.
        features.facts = features.facts.filter(needed);
        features.hash = HASHES.into_iter().find(|verb| {
            let offers = |line: &Vec<u8>| {
                let line = String::from_utf8_lossy(line);
                line.split_ascii_whitespace()
                    .next()
                    .is_some_and(|name| name.eq_ignore_ascii_case(verb))
            };
            lines.iter().any(offers)
        });
        features
    }

    /// Whether the server changes names silently: Pure-FTPd replaces blanks at the end of a name, and control characters, by
    /// `_`. It is recognized by two features that no other server has.
    pub fn changes_names(&self) -> bool {
        self.changes_names
    }

    /// Whether the server has `MLST` and `MLSD`.
    pub fn mlst(&self) -> bool {
        self.facts.is_some()
    }

    /// The argument of `OPTS` that selects the facts that the client uses (RFC 3659 section 7.9); `None` when the server listed
    /// no facts.
    pub fn wanted_facts(&self) -> Option<String> {
        let known = self.facts.as_ref()?;
        let wanted: String = WANTED
            .iter()
            .filter(|fact| known.iter().any(|name| name == *fact))
            .map(|fact| format!("{fact};"))
            .collect();
        (!wanted.is_empty()).then(|| format!("MLST {wanted}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> Features {
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
        Features::parse(&lines)
    }

    #[test]
    fn only_facts_that_are_wanted_and_known_are_asked_for() {
        let features = parse(&[
            "Features:",
            " MDTM",
            " MFMT",
            " MLST modify*;perm*;size*;type*;unique*;UNIX.mode*;UNIX.owner*;",
            " UTF8",
            "End",
        ]);
        assert!(features.mlst() && features.mfmt && features.utf8);
        assert_eq!(
            features.wanted_facts().as_deref(),
            Some("MLST type;size;modify;perm;unix.mode;unix.owner;")
        );
    }

    #[test]
    fn facts_without_type_or_size_are_none() {
        assert!(!parse(&[" MLST size*;modify*;"]).mlst());
        assert!(!parse(&[" MLST type*;modify*;"]).mlst());
        assert!(parse(&[" MLST type*;size*;"]).mlst());
    }

    #[test]
    fn a_bare_mlst_and_none_at_all_ask_for_nothing() {
        assert_eq!(parse(&[" MLST"]).wanted_facts(), None);
        assert!(parse(&[" MLST"]).mlst());
        assert!(!parse(&[" SIZE"]).mlst());
    }
}
