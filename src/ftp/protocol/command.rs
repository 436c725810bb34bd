//! Commands: what goes over the control connection, one line of bytes each.
//!
//! A command is a value until it is written, and writing is the one place that refuses an argument which would smuggle a second
//! command (CR, LF) and that doubles the Telnet byte IAC (RFC 959 section 4.1 and 5.3, RFC 854). Display hides the password.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::ftp::protocol::reply::Reply;
use crate::ftp::protocol::time_val::format_time_val;
use crate::remote::{Error, Result};

/// A command, spelled as the RFC spells it. Pathnames are absolute, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Free bytes below a directory (draft-peterson-streamlined-ftp-command-extensions).
    Avbl(&'a [u8]),
    /// Append to a file (RFC 959).
    Appe(&'a [u8]),
    /// Encrypt from here on (RFC 2228, 4217).
    AuthTls,
    /// Change the working directory (RFC 959).
    Cwd(&'a [u8]),
    /// Delete a file (RFC 959).
    Dele(&'a [u8]),
    /// Extended active mode: where we listen (RFC 2428).
    Eprt(SocketAddr),
    /// Extended passive mode (RFC 2428).
    Epsv,
    /// Ask for features (RFC 2389).
    Feat,
    /// A hash, by the verb given: HASH (draft-bryan-ftpext-hash), XSHA256 and others.
    Hash(&'static str, &'a [u8]),
    /// List the working directory, with the switches given (RFC 959).
    List(&'static str),
    /// The time of the last modification (RFC 3659).
    Mdtm(&'a [u8]),
    /// The same verb with a time, which sets it (vsftpd and others; no RFC).
    MdtmSet(i64, &'a [u8]),
    /// Set permission bits (draft-somers-ftp-mfxx section 6).
    MffMode(u32, &'a [u8]),
    /// Set the time of the last modification (draft-somers-ftp-mfxx).
    Mfmt(i64, &'a [u8]),
    /// Create a directory (RFC 959).
    Mkd(&'a [u8]),
    /// List the working directory by facts (RFC 3659).
    Mlsd,
    /// The facts of one path (RFC 3659).
    Mlst(&'a [u8]),
    /// Nothing (RFC 959).
    Noop,
    /// Options of another command (RFC 2389).
    Opts(&'a str),
    /// The password (RFC 959).
    Pass(&'a [u8]),
    /// Passive mode (RFC 959).
    Pasv,
    /// The size of a protected block, which TLS has none of (RFC 4217 section 8).
    Pbsz,
    /// Active mode: where we listen (RFC 959); IPv4 only.
    Port(SocketAddr),
    /// Announce the transfer of the next data connection (no RFC; drftpd, glftpd).
    Pret(&'static str, Option<&'a [u8]>),
    /// Whether data connections are encrypted: P(rivate) or C(lear) (RFC 4217 section 9).
    Prot(char),
    /// The working directory (RFC 959).
    Pwd,
    /// The offset of the next transfer in bytes (RFC 3659 section 5).
    Rest(u64),
    /// Retrieve a file (RFC 959).
    Retr(&'a [u8]),
    /// Remove a directory (RFC 959).
    Rmd(&'a [u8]),
    /// Rename from (RFC 959).
    Rnfr(&'a [u8]),
    /// Rename to (RFC 959).
    Rnto(&'a [u8]),
    /// Set permission bits (no RFC; nearly every Unix server).
    SiteChmod(u32, &'a [u8]),
    /// The remaining quota (ProFTPD's mod_quotatab and others).
    SiteQuota,
    /// Create a symbolic link: target, then name (ProFTPD's mod_site_misc).
    SiteSymlink(&'a [u8], &'a [u8]),
    /// Set the time of the last modification, with the time first (Pure-FTPd, ProFTPD).
    SiteUtime(i64, &'a [u8]),
    /// The same with access, modification and creation time after the name (older servers).
    SiteUtimeLong(i64, &'a [u8]),
    /// The size of a file in bytes (RFC 3659).
    Size(&'a [u8]),
    /// List a directory over the control connection, with the switches given (RFC 959).
    Stat(&'static str, &'a [u8]),
    /// Store a file (RFC 959).
    Stor(&'a [u8]),
    /// The operating system (RFC 959).
    Syst,
    /// Binary type (RFC 959).
    TypeImage,
    /// The user (RFC 959).
    User(&'a [u8]),
    /// The remaining quota (no RFC).
    Xquota,
}

/// Digits of a time, at least (RFC 3659 section 2.3).
const TIME_VAL: usize = 14;

/// Telnet's "interpret as command" (RFC 854), which is sent twice in data.
const IAC: u8 = 0xFF;

/// How a server parses command lines.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// Whether the server reads a doubled IAC as one, as RFC 959 requires by way of Telnet.
    pub doubles_iac: bool,
    /// The longest line in bytes that the server is known to accept, with its CR LF. It may take the rest of a longer one for
    /// another command, as pyftpdlib does.
    pub longest: usize,
}

/// The most bytes of a line besides its path, except for commands with two paths.
const BESIDE_PATH: usize = 80;

/// The refusal to send a line that a server may take for two commands.
pub fn too_long(what: &str, length: usize, longest: usize) -> Error {
    Error::Local {
        tried: format!(
            "{what} of {length} bytes: the server is not known to take more than {longest} at once, and could take the rest \
             for another command"
        ),
        errno: libc::ENAMETOOLONG,
    }
}

impl Lines {
    /// Chosen by the greeting: vsftpd, Pure-FTPd and ProFTPD accept 4,096 bytes; pyftpdlib accepts fewest, 2,048.
    pub fn of(greeting: &str) -> Self {
        let greeting = greeting.to_ascii_lowercase();
        let is = |name| greeting.contains(name);
        Self {
            // These two read every byte as it is.
            doubles_iac: !is("vsftpd") && !is("pure-ftpd"),
            longest: match is("vsftpd") || is("pure-ftpd") || is("proftpd") {
                true => 4096,
                false => 2048,
            },
        }
    }

    /// The longest path in bytes, as encoded on the wire.
    pub fn longest_path(&self) -> usize {
        self.longest - BESIDE_PATH
    }

    /// The length of a path in bytes, as encoded on the wire.
    pub fn length(&self, path: &[u8]) -> usize {
        let doubled = path.iter().filter(|&&byte| byte == IAC && self.doubles_iac);
        path.len() + doubled.count()
    }
}

impl<'a> Command<'a> {
    /// The path that the command changes, if any.
    pub fn written_path(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Appe(path)
            | Self::Dele(path)
            | Self::MdtmSet(_, path)
            | Self::MffMode(_, path)
            | Self::Mfmt(_, path)
            | Self::Mkd(path)
            | Self::Rmd(path)
            | Self::Rnfr(path)
            | Self::Rnto(path)
            | Self::SiteChmod(_, path)
            | Self::SiteSymlink(_, path)
            | Self::SiteUtime(_, path)
            | Self::SiteUtimeLong(_, path)
            | Self::Stor(path) => Some(path),
            _ => None,
        }
    }
}

impl Command<'_> {
    /// Whether a reply must belong to another command (RFC 959 section 5.4, RFC 2428): its code is one that only another
    /// command has, or it contains a size where a time was asked for.
    pub fn is_missed_by(&self, reply: &Reply) -> bool {
        match reply.code {
            // A command that asks for a port has no other positive reply.
            200..=226 | 228 | 230..=299 if matches!(self, Self::Epsv | Self::Pasv) => true,
            227 => !matches!(self, Self::Pasv),
            229 => !matches!(self, Self::Epsv),
            230 => !matches!(self, Self::User(_) | Self::Pass(_)),
            331 => !matches!(self, Self::User(_)),
            257 => !matches!(self, Self::Mkd(_) | Self::Pwd),
            350 => !matches!(self, Self::Rnfr(_) | Self::Rest(_)),
            213 if matches!(self, Self::Mdtm(_)) => {
                let text = reply.text();
                let text = text.trim();
                text.len() < TIME_VAL && text.bytes().all(|byte| byte.is_ascii_digit())
            }
            _ => false,
        }
    }

    /// Appends the command's line with its CR LF to `out`; an argument with CR, LF or NUL, or a line that is too long for
    /// the server, is refused and leaves `out` as it was.
    pub fn write_to(&self, out: &mut Vec<u8>, lines: Lines) -> Result<()> {
        let start = out.len();
        let (verb, head, path) = self.parts();
        let smuggles = |bytes: &[u8]| bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        let second = match self {
            Command::SiteSymlink(_, link) => Some(*link),
            _ => None,
        };
        if path.is_some_and(smuggles) || second.is_some_and(smuggles) || smuggles(head.as_bytes()) {
            return Err(Error::Local {
                tried: format!("{verb} with a line break in its argument"),
                errno: libc::EINVAL,
            });
        }
        out.extend_from_slice(verb.as_bytes());
        if !head.is_empty() {
            out.push(b' ');
            out.extend_from_slice(head.as_bytes());
        }
        if let Some(path) = path {
            out.push(b' ');
            for &byte in path {
                out.push(byte);
                if byte == IAC && lines.doubles_iac {
                    out.push(IAC);
                }
            }
            if let Command::SiteSymlink(_, link) = self {
                out.push(b' ');
                out.extend_from_slice(link);
            }
            if let Command::SiteUtimeLong(time, _) = self {
                let stamp = format_time_val(*time).unwrap_or_default();
                out.extend_from_slice(format!(" {stamp} {stamp} {stamp} UTC").as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
        if out.len() - start > lines.longest {
            let length = out.len() - start;
            out.truncate(start);
            return Err(too_long(verb, length, lines.longest));
        }
        Ok(())
    }

    /// The `PRET` that announces this command, which starts a transfer.
    pub fn announced(&self) -> Self {
        match *self {
            Command::Appe(path) => Command::Pret("APPE", Some(path)),
            Command::Stor(path) => Command::Pret("STOR", Some(path)),
            Command::Retr(path) => Command::Pret("RETR", Some(path)),
            Command::Mlsd => Command::Pret("MLSD", None),
            _ => Command::Pret("LIST", None),
        }
    }

    /// The verb, the argument before the pathname, and the pathname.
    fn parts(&self) -> (&'static str, String, Option<&[u8]>) {
        let stamp = |time: i64| format_time_val(time).unwrap_or_default();
        let none = String::new;
        match *self {
            Command::Avbl(path) => ("AVBL", none(), Some(path)),
            Command::Appe(path) => ("APPE", none(), Some(path)),
            Command::AuthTls => ("AUTH", "TLS".to_string(), None),
            Command::Cwd(path) => ("CWD", none(), Some(path)),
            Command::Dele(path) => ("DELE", none(), Some(path)),
            Command::Eprt(address) => ("EPRT", extended(address), None),
            Command::Epsv => ("EPSV", none(), None),
            Command::Feat => ("FEAT", none(), None),
            Command::Hash(verb, path) => (verb, none(), Some(path)),
            Command::List(switches) => ("LIST", switches.to_string(), None),
            Command::Stat(switches, path) => ("STAT", switches.to_string(), Some(path)),
            Command::Mdtm(path) => ("MDTM", none(), Some(path)),
            Command::MdtmSet(time, path) => ("MDTM", stamp(time), Some(path)),
            Command::MffMode(mode, path) => ("MFF", format!("UNIX.mode={mode:04o};"), Some(path)),
            Command::Mfmt(time, path) => ("MFMT", stamp(time), Some(path)),
            Command::Mkd(path) => ("MKD", none(), Some(path)),
            Command::Mlsd => ("MLSD", none(), None),
            Command::Mlst(path) => ("MLST", none(), Some(path)),
            Command::Noop => ("NOOP", none(), None),
            Command::Opts(text) => ("OPTS", text.to_string(), None),
            Command::Pass(word) => ("PASS", none(), Some(word)),
            Command::Pasv => ("PASV", none(), None),
            Command::Pbsz => ("PBSZ", "0".to_string(), None),
            Command::Port(address) => ("PORT", numbers(address), None),
            Command::Pret(verb, path) => ("PRET", verb.to_string(), path),
            Command::Prot(level) => ("PROT", level.to_string(), None),
            Command::Pwd => ("PWD", none(), None),
            Command::Rest(offset) => ("REST", offset.to_string(), None),
            Command::Retr(path) => ("RETR", none(), Some(path)),
            Command::Rmd(path) => ("RMD", none(), Some(path)),
            Command::Rnfr(path) => ("RNFR", none(), Some(path)),
            Command::Rnto(path) => ("RNTO", none(), Some(path)),
            // Three digits at least: pyftpdlib refuses fewer.
            Command::SiteChmod(mode, path) => ("SITE CHMOD", format!("{mode:03o}"), Some(path)),
            Command::SiteQuota => ("SITE QUOTA", none(), None),
            Command::SiteSymlink(target, _) => ("SITE SYMLINK", none(), Some(target)),
            Command::SiteUtime(time, path) => ("SITE UTIME", stamp(time), Some(path)),
            Command::SiteUtimeLong(_, path) => ("SITE UTIME", none(), Some(path)),
            Command::Size(path) => ("SIZE", none(), Some(path)),
            Command::Stor(path) => ("STOR", none(), Some(path)),
            Command::TypeImage => ("TYPE", "I".to_string(), None),
            Command::Syst => ("SYST", none(), None),
            Command::User(name) => ("USER", none(), Some(name)),
            Command::Xquota => ("XQUOTA", none(), None),
        }
    }
}

/// `|1|132.235.1.2|6275|` (RFC 2428 section 2).
fn extended(address: SocketAddr) -> String {
    let family = if address.is_ipv4() { 1 } else { 2 };
    format!("|{family}|{}|{}|", address.ip(), address.port())
}

/// `132,235,1,2,24,131` (RFC 959 section 4.1.2).
fn numbers(address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(host) => host.octets(),
        // Never sent: an IPv6 address has no such form.
        IpAddr::V6(_) => [0; 4],
    };
    let bytes = [&host[..], &address.port().to_be_bytes()].concat();
    let texts: Vec<_> = bytes.iter().map(u8::to_string).collect();
    texts.join(",")
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, head, path) = self.parts();
        f.write_str(verb)?;
        if !head.is_empty() {
            write!(f, " {head}")?;
        }
        match (self, path) {
            (Command::Pass(_), _) => f.write_str(" (hidden)"),
            (_, Some(path)) => write!(f, " {}", String::from_utf8_lossy(path).escape_debug()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(command: Command<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        command
            .write_to(&mut out, Lines::of("220 here"))
            .expect("a good command");
        out
    }

    #[test]
    fn commands_are_written_as_the_rfc_spells_them() {
        let cases: &[(Command<'_>, &[u8])] = &[
            (Command::TypeImage, b"TYPE I\r\n"),
            (Command::Retr(b"/a b "), b"RETR /a b \r\n"),
            (Command::Rest(7), b"REST 7\r\n"),
            (Command::List("-a"), b"LIST -a\r\n"),
            (Command::List(""), b"LIST\r\n"),
            (Command::Stat("-a", b"/a b"), b"STAT -a /a b\r\n"),
            (Command::Mfmt(0, b"/a"), b"MFMT 19700101000000 /a\r\n"),
            (Command::SiteChmod(0o755, b"/a"), b"SITE CHMOD 755 /a\r\n"),
            (Command::SiteChmod(0o4, b"/a"), b"SITE CHMOD 004 /a\r\n"),
            (Command::SiteChmod(0o1777, b"/a"), b"SITE CHMOD 1777 /a\r\n"),
            (
                Command::Port(([132, 235, 1, 2], 6275).into()),
                b"PORT 132,235,1,2,24,131\r\n",
            ),
            (
                Command::Eprt(([132, 235, 1, 2], 6275).into()),
                b"EPRT |1|132.235.1.2|6275|\r\n",
            ),
            (
                Command::Eprt((std::net::Ipv6Addr::LOCALHOST, 6275).into()),
                b"EPRT |2|::1|6275|\r\n",
            ),
            (Command::Retr(b"/a").announced(), b"PRET RETR /a\r\n"),
            (Command::List("-a").announced(), b"PRET LIST\r\n"),
            (
                Command::SiteUtimeLong(0, b"/a"),
                b"SITE UTIME /a 19700101000000 19700101000000 19700101000000 UTC\r\n",
            ),
        ];
        for (command, wire) in cases {
            assert_eq!(line(*command), *wire);
        }
    }

    #[test]
    fn iac_is_doubled() {
        assert_eq!(line(Command::Dele(b"/\xFF")), b"DELE /\xFF\xFF\r\n");
    }

    #[test]
    fn a_second_command_cannot_be_smuggled() {
        for path in [&b"/a\r\nDELE /b"[..], b"/a\n", b"/a\0"] {
            let mut out = b"before".to_vec();
            let lines = Lines::of("here");
            assert!(Command::Retr(path).write_to(&mut out, lines).is_err());
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn no_line_is_longer_than_the_server_takes() {
        for (greeting, longest) in [("(vsFTPd 3.0.3)", 4096), ("welcome", 2048)] {
            let lines = Lines::of(greeting);
            let fits = |length: usize| {
                let path = vec![b'x'; length];
                let mut out = b"before".to_vec();
                let written = Command::Mkd(&path).write_to(&mut out, lines);
                assert_eq!(written.is_err(), out == b"before");
                written.is_ok()
            };
            assert!(fits(longest - b"MKD \r\n".len()) && fits(lines.longest_path()));
            assert!(!fits(longest - b"MKD \r\n".len() + 1));
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(Command::Pass(b"secret").to_string(), "PASS (hidden)");
    }

    #[test]
    fn a_reply_that_only_another_command_has_is_known() {
        let says = |code: u16, text: &str| Reply {
            code,
            lines: vec![text.as_bytes().to_vec()],
        };
        for (command, code, text, missed) in [
            (Command::Mkd(b"/d"), 257, "\"/d\" made", false),
            (Command::SiteChmod(0o755, b"/d"), 257, "\"/d\" made", true),
            (Command::SiteChmod(0o755, b"/d"), 250, "Done", false),
            (Command::Cwd(b"/d"), 229, "(|||5000|)", true),
            (Command::Epsv, 229, "(|||5000|)", false),
            (Command::Epsv, 250, "Into it", true),
            (Command::Epsv, 502, "What?", false),
            (Command::Rest(7), 350, "From there", false),
            (Command::Dele(b"/f"), 350, "From there", true),
            (Command::Mdtm(b"/f"), 213, "7", true),
            (Command::Mdtm(b"/f"), 213, "20210203040506.123", false),
            (Command::Size(b"/f"), 213, "7", false),
        ] {
            assert_eq!(command.is_missed_by(&says(code, text)), missed, "{command}");
        }
    }
}
