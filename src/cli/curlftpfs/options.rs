//! The table of options that curlftpfs takes, its own and those of libfuse, and what becomes of each.
//!
//! `docs/curlftpfs.md` has a row for each, and a test compares the two.

use std::net::IpAddr;

use crate::cli::curlftpfs::Parts;
use crate::cli::option_value::{YEAR, local_address, number};

/// An option of curlftpfs.
pub(crate) struct Row {
    /// The name.
    pub name: &'static str,
    /// Placeholder of the value; empty for an option without a value.
    pub value: &'static str,
    /// What becomes of it.
    pub becomes: Becomes,
    /// The reason, or how the value is taken.
    pub note: &'static str,
}

/// What becomes of an option.
pub(crate) enum Becomes {
    /// ftpfs has the same option.
    Same,
    /// This option of ftpfs.
    Word(&'static str),
    /// This option of ftpfs, with the value.
    Value(&'static str),
    /// Several parts, or a part of one; the error says what is allowed.
    Parsed(fn(&mut Parts, &str) -> Result<(), String>),
    /// Nothing, since ftpfs does that anyway, or chooses as well.
    Already,
    /// Nothing, with a warning.
    Ignored,
}
use Becomes::{Already, Ignored, Parsed, Same, Value, Word};

impl Row {
    /// Returns the row of an option with or without a value.
    pub(crate) fn find(name: &str, with_value: bool) -> Option<&'static Self> {
        TABLE
            .iter()
            .find(|row| row.name == name && row.value.is_empty() != with_value)
    }

    /// The option as it is written, with the placeholder of its value.
    #[cfg(test)]
    fn typed(&self) -> String {
        match self.value {
            "" => self.name.to_string(),
            value => format!("{}={value}", self.name),
        }
    }

    /// The row of the table in `docs/curlftpfs.md`.
    #[cfg(test)]
    fn markdown(&self) -> String {
        let becomes = match self.becomes {
            Same => "the same".to_string(),
            Word(ours) => format!("`{ours}`"),
            Value(ours) => format!("`{ours}={}`", self.value),
            Parsed(_) => String::new(),
            Already => "no effect".to_string(),
            Ignored => "ignored with a warning".to_string(),
        };
        let parts = [becomes.as_str(), self.note];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        format!("| `{}` | {} |", self.typed(), parts.join(": "))
    }
}

const fn row(name: &'static str, value: &'static str, becomes: Becomes, note: &'static str) -> Row {
    Row {
        name,
        value,
        becomes,
        note,
    }
}

/// Seconds without progress below which a disk that has to spin up would be an error.
const SHORTEST_TIMEOUT: u64 = 10;
/// Maximum of `timeout=`, in seconds.
const LONGEST_TIMEOUT: u64 = 3600;

const TLS_VERSIONS: &str = "TLS 1.2 or 1.3 is used";
const KERNEL_CACHE: &str = "ftpfs keeps the kernel's caches up to date";
const KERNEL_TIMES: &str = "use `cache_timeout=SECONDS`";
const CHOSEN: &str = "ftpfs chooses what is fast";
const LEARNED: &str = "ftpfs tries what works, and remembers it";
const NO_DEVICE: &str = "there is no block device";
const LOCKS: &str = "locks are local, as in curlftpfs";
const INODES: &str = "inode numbers are those of ftpfs";

/// Every option of curlftpfs.
pub(crate) const TABLE: &[Row] = &[
    row(
        "user",
        "USER[:PASSWORD]",
        Parsed(user),
        "the login, unless the source names one; hidden from ps(1)",
    ),
    row(
        "ssl",
        "",
        Parsed(|parts, _| tls(parts, "explicit")),
        "`tls=explicit`; without any of these three `tls=off`",
    ),
    row(
        "ssl_control",
        "",
        Parsed(|parts, _| tls(parts, "control")),
        "`tls=control`",
    ),
    row(
        "ssl_try",
        "",
        Parsed(|parts, _| tls(parts, "try")),
        "`tls=try`",
    ),
    row("tlsv1", "", Ignored, TLS_VERSIONS),
    row("sslv3", "", Ignored, TLS_VERSIONS),
    row("no_verify_peer", "", Same, ""),
    row("no_verify_hostname", "", Same, ""),
    row("cacert", "FILE", Same, ""),
    row("capath", "DIRECTORY", Value("cacert"), ""),
    row("cert", "FILE", Same, ""),
    row(
        "cert_type",
        "TYPE",
        Parsed(pem),
        "PEM is what ftpfs reads; other types are an error that says how to convert them",
    ),
    row("key", "FILE", Same, ""),
    row("key_type", "TYPE", Parsed(pem), "like `cert_type`"),
    row("pass", "WORDS", Same, "the passphrase of the key"),
    row(
        "ciphers",
        "LIST",
        Ignored,
        "TLS 1.2 and 1.3 are used with their safe ciphers",
    ),
    row("engine", "NAME", Ignored, "there are no engines of OpenSSL"),
    row(
        "krb4",
        "LEVEL",
        Ignored,
        "there is no Kerberos 4; use `ssl`",
    ),
    row("disable_epsv", "", Already, LEARNED),
    row("enable_epsv", "", Already, LEARNED),
    row("disable_eprt", "", Already, LEARNED),
    row("skip_pasv_ip", "", Word("pasv_ip=control"), ""),
    row(
        "ftp_port",
        "WHERE",
        Parsed(ftp_port),
        "`mode=active`; an address, a host or an interface is announced (`external_ip=`), `:PORT` or `:LOW-HIGH` are the ports (`port_range=`)",
    ),
    row("ftp_method", "METHOD", Already, LEARNED),
    row(
        "custom_list",
        "COMMAND",
        Ignored,
        "ftpfs lists with what the server understands, hidden files too",
    ),
    row(
        "connect_timeout",
        "SECONDS",
        Parsed(connect_timeout),
        "`timeout=SECONDS`, which is of all operations; at least 10, since a disk may have to spin up; 0 is the default",
    ),
    row("tcp_nodelay", "", Already, "always so"),
    row(
        "interface",
        "WHERE",
        Parsed(interface),
        "`bind=WHERE`; `if!`, `host!` and `ifhost!` before it are understood",
    ),
    row("ipv4", "", Same, ""),
    row("ipv6", "", Same, ""),
    row(
        "proxy",
        "[SCHEME://]HOST[:PORT]",
        Parsed(proxy),
        "`proxy=URL`, together with the options below",
    ),
    row(
        "proxy_user",
        "USER:PASSWORD",
        Parsed(proxy_user),
        "in the URL of `proxy=`; hidden from ps(1)",
    ),
    row(
        "httpproxy",
        "",
        Parsed(|parts, _| scheme(parts, "http")),
        "`proxy=http://...`, the default",
    ),
    row(
        "socks5",
        "",
        Parsed(|parts, _| scheme(parts, "socks5")),
        "`proxy=socks5://...`",
    ),
    row(
        "socks4",
        "",
        Parsed(|parts, _| scheme(parts, "socks5")),
        "`proxy=socks5://...`, since ftpfs has no version 4",
    ),
    row("proxytunnel", "", Already, "always so: HTTP CONNECT"),
    row("proxy_anyauth", "", Already, "the basic method is used"),
    row("proxy_basic", "", Already, "the basic method is used"),
    row("proxy_digest", "", Ignored, "the basic method is used"),
    row("proxy_ntlm", "", Ignored, "the basic method is used"),
    row("utf8", "", Already, "always so, if the server can"),
    row("codepage", "CHARSET", Same, ""),
    row(
        "iocharset",
        "CHARSET",
        Parsed(iocharset),
        "names are UTF-8 on this side; others are ignored with a warning",
    ),
    row(
        "transform_symlinks",
        "",
        Same,
        "absolute links stay below the mountpoint",
    ),
    row(
        "cache",
        "ANSWER",
        Parsed(cache),
        "`no` is `cache_timeout=0`, `yes` is the default",
    ),
    row(
        "cache_timeout",
        "SECONDS",
        Same,
        "the default is 30 instead of 10",
    ),
    row("cache_stat_timeout", "SECONDS", Value("cache_timeout"), ""),
    row("cache_dir_timeout", "SECONDS", Value("cache_timeout"), ""),
    row("cache_link_timeout", "SECONDS", Value("cache_timeout"), ""),
    row("nomulticonn", "", Word("max_conns=1"), ""),
    row(
        "ftpfs_debug",
        "",
        Parsed(trace),
        "every command and reply is logged, without passwords",
    ),
    row(
        "ftpfs_debug",
        "LEVEL",
        Parsed(trace),
        "likewise, unless the level is 0",
    ),
    row("verbose", "", Parsed(trace), "likewise"),
    row("debug", "", Parsed(debug), "likewise, in the foreground"),
    // libfuse
    row("ro", "", Same, ""),
    row("rw", "", Same, ""),
    row("allow_other", "", Same, ""),
    row("allow_root", "", Same, ""),
    row("default_permissions", "", Same, ""),
    row("uid", "USER", Same, ""),
    row("gid", "GROUP", Same, ""),
    row("umask", "OCTAL", Same, ""),
    row(
        "fsname",
        "NAME",
        Same,
        "by default `curlftpfs#` and the URL without its password",
    ),
    row(
        "subtype",
        "NAME",
        Same,
        "by default `curlftpfs`, so that the type is `fuse.curlftpfs`",
    ),
    row("nonempty", "", Same, ""),
    row("max_read", "BYTES", Already, CHOSEN),
    row("max_readahead", "BYTES", Already, CHOSEN),
    row("max_write", "BYTES", Already, CHOSEN),
    row("max_background", "N", Already, CHOSEN),
    row("congestion_threshold", "N", Already, CHOSEN),
    row("max_idle_threads", "N", Already, CHOSEN),
    row("clone_fd", "", Already, CHOSEN),
    row("async_read", "", Already, CHOSEN),
    row("sync_read", "", Already, CHOSEN),
    row("large_read", "", Already, CHOSEN),
    row("big_writes", "", Already, CHOSEN),
    row("atomic_o_trunc", "", Already, "always so"),
    row("splice_read", "", Already, CHOSEN),
    row("splice_write", "", Already, CHOSEN),
    row("splice_move", "", Already, CHOSEN),
    row("no_splice_read", "", Already, CHOSEN),
    row("no_splice_write", "", Already, CHOSEN),
    row("no_splice_move", "", Already, CHOSEN),
    row("entry_timeout", "SECONDS", Ignored, KERNEL_TIMES),
    row("attr_timeout", "SECONDS", Ignored, KERNEL_TIMES),
    row("ac_attr_timeout", "SECONDS", Ignored, KERNEL_TIMES),
    row(
        "negative_timeout",
        "SECONDS",
        Parsed(negative_timeout),
        "the same, in whole seconds",
    ),
    row("kernel_cache", "", Already, KERNEL_CACHE),
    row("auto_cache", "", Already, KERNEL_CACHE),
    row("noauto_cache", "", Already, KERNEL_CACHE),
    row("direct_io", "", Ignored, KERNEL_CACHE),
    row("auto_unmount", "", Already, "a signal unmounts"),
    row(
        "hard_remove",
        "",
        Already,
        "open files can be removed without it",
    ),
    row("use_ino", "", Already, INODES),
    row("readdir_ino", "", Already, INODES),
    row("noforget", "", Ignored, INODES),
    row("remember", "SECONDS", Ignored, INODES),
    row("intr", "", Already, "always so"),
    row("intr_signal", "N", Already, "no signal is needed"),
    row("blkdev", "", Ignored, NO_DEVICE),
    row("blksize", "BYTES", Ignored, NO_DEVICE),
    row("nopath", "", Already, CHOSEN),
    row("no_remote_lock", "", Already, LOCKS),
    row("no_remote_flock", "", Already, LOCKS),
    row("no_remote_posix_lock", "", Already, LOCKS),
    row(
        "modules",
        "NAMES",
        Already,
        "those of libfuse are built in: see `from_code`, `to_code` and `subdir`",
    ),
    row(
        "from_code",
        "CHARSET",
        Value("codepage"),
        "for `modules=iconv`",
    ),
    row("to_code", "CHARSET", Parsed(iocharset), "like `iocharset`"),
    row(
        "subdir",
        "DIRECTORY",
        Parsed(subdir),
        "the directory below that of the source",
    ),
    row("rellinks", "", Word("transform_symlinks"), ""),
    row("norellinks", "", Already, ""),
    row(
        "drop_privileges",
        "",
        Already,
        "mount.fuse3(8) does it, and needs `nosuid,nodev`",
    ),
    row(
        "setuid",
        "USER",
        Ignored,
        "mount.fuse3(8) does it; use `uid=USER`",
    ),
    row("stderr_path", "FILE", Value("log_file"), ""),
];

fn user(parts: &mut Parts, value: &str) -> Result<(), String> {
    let (user, password) = match value.split_once(':') {
        Some((user, password)) => (user, Some(password.to_string())),
        None => (value, None),
    };
    if user.is_empty() {
        return Err("there is no user before the colon".to_string());
    }
    parts.user = Some(user.to_string());
    parts.password = password;
    Ok(())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the type of the table's functions"
)]
fn tls(parts: &mut Parts, when: &'static str) -> Result<(), String> {
    parts.tls = Some(when);
    Ok(())
}

fn pem(_: &mut Parts, value: &str) -> Result<(), String> {
    if value.eq_ignore_ascii_case("PEM") {
        return Ok(());
    }
    Err(
        "ftpfs reads PEM only; to convert a file: openssl x509 (or pkey) -inform DER -in FILE"
            .to_string(),
    )
}

/// Takes what curl's `--ftp-port` takes: `-`, an address, an interface or a host name, with an IPv6 address in brackets if
/// `:PORT` or `:LOW-HIGH` follows. Port 0, and a range that is not one, are any port.
fn ftp_port(parts: &mut Parts, value: &str) -> Result<(), String> {
    parts.words.push("mode=active".to_string());
    let is_address = value.parse::<IpAddr>().is_ok();
    let (named, ports) = match value.rsplit_once(':') {
        Some((named, ports)) if !is_address && !ports.ends_with(']') => (named, Some(ports)),
        _ => (value, None),
    };
    let named = match named
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) => address,
        None => named,
    };
    if !matches!(named, "-" | "") {
        parts
            .words
            .push(format!("external_ip={}", local_address(named)?));
    }
    let Some(ports) = ports else { return Ok(()) };
    let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| match text {
        "" => Ok(0),
        text => number(text, 0, u16::MAX.into(), ""),
    };
    let (low, high) = (port(low)?, port(high)?);
    if 0 < low && low <= high {
        parts.words.push(format!("port_range={low}-{high}"));
    }
    Ok(())
}

/// Takes what curl's `--interface` takes: an address, an interface or a host name, perhaps after `if!` or `host!`, or
/// `ifhost!INTERFACE!HOST`, of which the interface decides.
fn interface(parts: &mut Parts, value: &str) -> Result<(), String> {
    let named = match value.split_once('!') {
        Some(("if" | "host", named)) => named,
        Some(("ifhost", both)) => both.split('!').next().unwrap_or_default(),
        _ => value,
    };
    parts.words.push(format!("bind={}", local_address(named)?));
    Ok(())
}

fn connect_timeout(parts: &mut Parts, value: &str) -> Result<(), String> {
    let seconds = number(value, 0, u32::MAX.into(), " (seconds)")?;
    if seconds > 0 {
        let seconds = seconds.clamp(SHORTEST_TIMEOUT, LONGEST_TIMEOUT);
        parts.words.push(format!("timeout={seconds}"));
    }
    Ok(())
}

/// libfuse takes parts of a second too.
fn negative_timeout(parts: &mut Parts, value: &str) -> Result<(), String> {
    let seconds = value.parse().ok();
    let seconds = seconds.filter(|seconds: &f64| (0.0..=YEAR as f64).contains(seconds));
    let seconds = seconds.ok_or_else(|| "a number of seconds, 0 or more".to_string())?;
    parts
        .words
        .push(format!("negative_timeout={}", seconds.ceil()));
    Ok(())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the type of the table's functions"
)]
fn proxy(parts: &mut Parts, value: &str) -> Result<(), String> {
    parts.proxy = Some(value.to_string());
    Ok(())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the type of the table's functions"
)]
fn proxy_user(parts: &mut Parts, value: &str) -> Result<(), String> {
    parts.proxy_user = Some(value.to_string());
    Ok(())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the type of the table's functions"
)]
fn scheme(parts: &mut Parts, scheme: &'static str) -> Result<(), String> {
    parts.proxy_scheme = Some(scheme);
    Ok(())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the type of the table's functions"
)]
fn iocharset(parts: &mut Parts, value: &str) -> Result<(), String> {
    let plain = value.to_ascii_lowercase().replace('-', "");
    if plain != "utf8" {
        let reason = format!("charset {value} (names are UTF-8 on this side)");
        parts.ignored.push(reason);
    }
    Ok(())
}

fn cache(parts: &mut Parts, value: &str) -> Result<(), String> {
    parts.uncached = match value {
        "yes" => false,
        "no" => true,
        _ => return Err("must be yes or no".to_string()),
    };
    Ok(())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the type of the table's functions"
)]
fn trace(parts: &mut Parts, value: &str) -> Result<(), String> {
    parts.trace |= value != "0";
    Ok(())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the type of the table's functions"
)]
fn debug(parts: &mut Parts, _: &str) -> Result<(), String> {
    parts.trace = true;
    parts.foreground = true;
    Ok(())
}

fn subdir(parts: &mut Parts, value: &str) -> Result<(), String> {
    if value.split('/').any(|name| name == "..") {
        return Err("a directory below that of the source can't contain ..".to_string());
    }
    parts.subdir = Some(value.to_string());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::{Request, parse};

    /// A value for each placeholder.
    fn value_of(row: &Row) -> &'static str {
        match (row.name, row.value) {
            ("cert_type" | "key_type", _) => "PEM",
            ("ftp_port", _) => "-",
            ("cache", _) => "no",
            ("iocharset" | "to_code" | "from_code" | "codepage", _) => "utf8",
            ("user" | "proxy_user", _) => "anna:secret",
            ("interface", _) => "lo",
            ("proxy", _) => "proxy.example.org:3128",
            (_, "OCTAL") => "022",
            (_, "USER" | "GROUP") => "0",
            (_, "SECONDS" | "BYTES" | "N" | "LEVEL") => "7",
            _ => "x",
        }
    }

    #[test]
    fn document_has_the_row_of_every_option_and_no_other() {
        let document = include_str!("../../../docs/curlftpfs.md");
        let section = document
            .split("## Options")
            .nth(1)
            .and_then(|rest| rest.split("\n## ").next())
            .expect("the section");
        let rows: Vec<&str> = section
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        let expected: Vec<String> = TABLE.iter().map(Row::markdown).collect();
        assert_eq!(rows, expected, "\n{}\n", expected.join("\n"));
    }

    #[test]
    fn every_option_is_taken() {
        for row in TABLE {
            let mut word = row.name.to_string();
            if !row.value.is_empty() {
                word = format!("{word}={}", value_of(row));
            }
            if matches!(row.name, "key" | "pass") {
                word.push_str(",cert=c");
            }
            if row.name == "proxy_user" {
                word.push_str(",proxy=p");
            }
            for line in [
                vec!["curlftpfs", "-o", word.as_str(), "host", "/m"],
                vec!["mount.fuse.curlftpfs", "host", "/m", "-o", word.as_str()],
                vec!["ftpfs", "curlftpfs#host", "-o", word.as_str(), "/m"],
            ] {
                match parse(line.iter().map(OsString::from)) {
                    Ok(Request::Mount(settings)) => {
                        let is_warned = !settings.command.warning.is_empty();
                        assert_eq!(is_warned, matches!(row.becomes, Ignored), "{line:?}");
                    }
                    other => panic!("{line:?}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn active_mode_has_address_interface_and_ports() {
        for (value, words) in [
            ("-", "mode=active"),
            ("192.0.2.1", "mode=active external_ip=192.0.2.1"),
            ("2001:db8::1", "mode=active external_ip=2001:db8::1"),
            ("eth0", "mode=active external_ip=eth0"),
            ("-:5000-5100", "mode=active port_range=5000-5100"),
            (":5000-5100", "mode=active port_range=5000-5100"),
            (
                "eth0:5000",
                "mode=active external_ip=eth0 port_range=5000-5000",
            ),
            (
                "ftp.example.org:32123",
                "mode=active external_ip=ftp.example.org port_range=32123-32123",
            ),
            ("[2001:db8::1]", "mode=active external_ip=2001:db8::1"),
            (
                "[::1]:1234-4567",
                "mode=active external_ip=::1 port_range=1234-4567",
            ),
            ("eth0:0", "mode=active external_ip=eth0"),
            ("-:5100-5000", "mode=active"),
        ] {
            let mut parts = Parts::default();
            ftp_port(&mut parts, value).expect(value);
            assert_eq!(parts.words.join(" "), words);
        }
        for wrong in ["a b", "-:70000", "-:x", "[::1"] {
            assert!(ftp_port(&mut Parts::default(), wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn interface_has_the_forms_of_curl() {
        for (value, word) in [
            ("eth0", "bind=eth0"),
            ("192.0.2.1", "bind=192.0.2.1"),
            ("if!eth0", "bind=eth0"),
            ("host!ftp.example.org", "bind=ftp.example.org"),
            ("ifhost!eth0!192.0.2.1", "bind=eth0"),
        ] {
            let mut parts = Parts::default();
            interface(&mut parts, value).expect(value);
            assert_eq!(parts.words, [word]);
        }
        assert!(interface(&mut Parts::default(), "if!").is_err());
    }

    #[test]
    fn negative_timeout_is_rounded_up() {
        for (value, word) in [("0", "0"), ("0.5", "1"), ("20", "20")] {
            let mut parts = Parts::default();
            negative_timeout(&mut parts, value).expect(value);
            assert_eq!(parts.words, [format!("negative_timeout={word}")]);
        }
        for value in ["", "-1", "NaN", "1e9"] {
            assert!(negative_timeout(&mut Parts::default(), value).is_err());
        }
    }

    #[test]
    fn short_timeout_is_raised() {
        for (value, words) in [("5", "timeout=10"), ("60", "timeout=60"), ("0", "")] {
            let mut parts = Parts::default();
            connect_timeout(&mut parts, value).expect(value);
            assert_eq!(parts.words.join(" "), words);
        }
    }
}
