//! Reads command lines that were written for curlftpfs.
//!
//! The program is curlftpfs if its name is `curlftpfs`, `mount.curlftpfs` or `mount.fuse.curlftpfs`, or if the source begins
//! with `curlftpfs#`. [`translate`] turns source and options into those of ftpfs by one table. An option that
//! the table does not have is one of ftpfs.
//!
//! ```text
//! options  the table of options of curlftpfs and libfuse
//! ```
//!
//! Invariants: TLS is off unless an option or the scheme asks for it, as in curlftpfs. What is ignored although it was
//! meant to change something is named in one warning. No password reaches the mount table or a message.

pub(crate) mod options;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use crate::cli::curlftpfs::options::{Becomes, Row};
use crate::cli::flags::Flag;
use crate::cli::source::Source;

/// What sources of curlftpfs begin with in fstab(5) and in the mount table.
pub const PREFIX: &str = "curlftpfs#";

/// The flags of curlftpfs, which are those of libfuse, and `-v`.
pub(crate) const FLAGS: &[Flag] = &[
    flag('o', "options", Some("OPT[,OPT...]")),
    flag('f', "foreground", None),
    flag('d', "debug", None),
    flag('s', "single-threaded", None),
    flag('r', "read-only", None),
    flag('v', "verbose", None),
    flag('h', "help", None),
    flag('V', "version", None),
];

const fn flag(short: char, long: &'static str, value: Option<&'static str>) -> Flag {
    Flag {
        short,
        long,
        value,
        help: "",
    }
}

/// A command line in the words of ftpfs.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    /// The source, a URL. May hold a password.
    pub source: OsString,
    /// The options, one by one.
    pub words: Vec<String>,
    /// Log every command and reply.
    pub trace: bool,
    /// Stay in the foreground.
    pub foreground: bool,
    /// A line on the options that have no effect; empty if there are none.
    pub warning: String,
}

/// What options say together, before it is put into words of ftpfs.
#[derive(Default)]
pub(crate) struct Parts {
    /// The login of `user=`.
    pub user: Option<String>,
    /// The password of `user=`.
    pub password: Option<String>,
    /// The value of `tls=`.
    pub tls: Option<&'static str>,
    /// The proxy, perhaps with a scheme.
    pub proxy: Option<String>,
    /// The scheme of a proxy that names none.
    pub proxy_scheme: Option<&'static str>,
    /// The login at the proxy, `USER:PASSWORD`.
    pub proxy_user: Option<String>,
    /// The directory below that of the source.
    pub subdir: Option<String>,
    /// Attributes and listings are not cached.
    pub uncached: bool,
    /// Log every command and reply.
    pub trace: bool,
    /// Stay in the foreground.
    pub foreground: bool,
    /// Options of ftpfs, in order.
    pub words: Vec<String>,
    /// Options without effect, with the reason.
    pub ignored: Vec<String>,
}

/// Whether a command line is one of curlftpfs: by the program's name, or by its source.
pub(crate) fn is_meant(program: &OsStr, arguments: &[OsString]) -> bool {
    let name = Path::new(program).file_name().and_then(OsStr::to_str);
    let is_source = |argument: &OsString| argument.as_bytes().starts_with(PREFIX.as_bytes());
    matches!(
        name,
        Some("curlftpfs" | "mount.curlftpfs" | "mount.fuse.curlftpfs")
    ) || arguments.iter().any(is_source)
}

/// Separates by commas what scripts and fstab lines have joined, `ssl -o ssl_control` as one option. Text in quotes stays.
pub(crate) fn separate_joined(list: &str) -> String {
    const FLAG: &str = "-o";
    let (mut text, mut rest) = (String::new(), list);
    let mut is_quoted = false;
    while let Some(character) = rest.chars().next() {
        let mut length = character.len_utf8();
        let is_escape = character == '\\' && rest[length..].starts_with(['"', '\\', ',']);
        let is_start = text.is_empty() || text.ends_with([' ', ',']);
        let after = rest.strip_prefix(FLAG).filter(|_| is_start && !is_quoted);
        if after.is_some_and(|after| after.is_empty() || after.starts_with(' ')) {
            text.push(',');
            rest = &rest[FLAG.len()..];
            continue;
        }
        if is_escape {
            length += 1;
        } else if character == '"' {
            is_quoted = !is_quoted;
        }
        text.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    text
}

/// Translates a source and its options.
pub(crate) fn translate(source: &OsStr, words: Vec<String>) -> Result<Translated, String> {
    let mut parts = Parts::default();
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        match Row::find(name, value.is_some()) {
            Some(row) => take(row, &word, value.unwrap_or_default(), &mut parts)?,
            None => parts.words.push(word),
        }
    }
    let proxy = proxy_word(&mut parts);
    let source = url(source, &parts);
    let mut translated = Translated {
        // An option of ftpfs itself comes later, and wins.
        words: vec!["subtype=curlftpfs".to_string()],
        trace: parts.trace,
        foreground: parts.foreground,
        warning: warning(&parts.ignored),
        ..Translated::default()
    };
    let parsed = Source::parse(&source)?;
    translated
        .words
        .push(format!("fsname={PREFIX}{}", parsed.fsname()));
    if source.as_bytes().starts_with(b"ftp://") {
        translated
            .words
            .push(format!("tls={}", parts.tls.unwrap_or("off")));
    } else if parts.tls == Some("control") {
        translated.words.push("tls=control".to_string());
    }
    translated.words.extend(parts.words);
    translated.words.extend(proxy);
    if parts.uncached {
        translated.words.push("cache_timeout=0".to_string());
    }
    translated.source = source;
    Ok(translated)
}

/// Takes one option of the table.
fn take(row: &Row, word: &str, value: &str, parts: &mut Parts) -> Result<(), String> {
    match row.becomes {
        Becomes::Same => parts.words.push(word.to_string()),
        Becomes::Word(ours) => parts.words.push(ours.to_string()),
        Becomes::Value(ours) => parts.words.push(format!("{ours}={value}")),
        Becomes::Parsed(parse) => parse(parts, value)
            .map_err(|allowed| format!("option {} of curlftpfs: {allowed}", row.name))?,
        Becomes::Already => {}
        Becomes::Ignored => parts.ignored.push(format!("{} ({})", row.name, row.note)),
    }
    Ok(())
}

fn warning(ignored: &[String]) -> String {
    if ignored.is_empty() {
        return String::new();
    }
    format!(
        "options of curlftpfs without effect: {}",
        ignored.join(", ")
    )
}

/// The option `proxy=` of ftpfs, from the three options that curlftpfs has for it.
fn proxy_word(parts: &mut Parts) -> Option<String> {
    let Some(proxy) = parts.proxy.take() else {
        if parts.proxy_user.is_some() {
            let reason = "proxy_user (there is no proxy=)";
            parts.ignored.push(reason.to_string());
        }
        return None;
    };
    let (scheme, place) = match proxy.split_once("://") {
        Some(("socks4" | "socks4a", place)) => ("socks5".to_string(), place),
        Some((scheme, place)) => (scheme.to_string(), place),
        None => (
            parts.proxy_scheme.unwrap_or("http").to_string(),
            proxy.as_str(),
        ),
    };
    let login = match &parts.proxy_user {
        Some(login) if !place.contains('@') => {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            format!("{}:{}@", encode(user), encode(password))
        }
        _ => String::new(),
    };
    Some(format!("proxy={scheme}://{login}{place}"))
}

/// Returns the URL of a source of curlftpfs: `[curlftpfs#][ftp://][USER[:PASS]@]HOST[:[PORT]][/DIR]`. A login in the
/// source precedes that of `user=`.
fn url(source: &OsStr, parts: &Parts) -> OsString {
    let text = source.as_bytes();
    let text = text.strip_prefix(PREFIX.as_bytes()).unwrap_or(text);
    let colon = text.windows(3).position(|part| part == b"://");
    let (scheme, rest) = match colon {
        Some(colon) => (text[..colon].to_ascii_lowercase(), &text[colon + 3..]),
        None => (b"ftp".to_vec(), text),
    };
    let slash = rest.iter().position(|&byte| byte == b'/');
    let (authority, path) = rest.split_at(slash.unwrap_or(rest.len()));
    // autofs maps end in a colon.
    let authority = authority.strip_suffix(b":").unwrap_or(authority);
    let at = authority.iter().rposition(|&byte| byte == b'@');
    let named = at.map(|at| &authority[..at]);
    let host = at.map_or(authority, |at| &authority[at + 1..]);

    let mut url = [scheme.as_slice(), b"://"].concat();
    let user = parts.user.as_deref().map(encode);
    let login = match (named, &user) {
        (Some(named), Some(user)) if named == user.as_bytes() => user.clone().into_bytes(),
        (Some(named), _) => named.to_vec(),
        (None, Some(user)) => user.clone().into_bytes(),
        (None, None) => Vec::new(),
    };
    if !login.is_empty() {
        url.extend_from_slice(&login);
        if let (Some(user), Some(password)) = (&user, &parts.password)
            && login == user.as_bytes()
        {
            url.extend_from_slice(format!(":{}", encode(password)).as_bytes());
        }
        url.push(b'@');
    }
    url.extend_from_slice(host);
    url.extend_from_slice(path);
    if let Some(directory) = &parts.subdir {
        if !path.ends_with(b"/") {
            url.push(b'/');
        }
        let names = directory.split('/').filter(|name| !name.is_empty());
        let names: Vec<_> = names.map(encode).collect();
        url.extend_from_slice(names.join("/").as_bytes());
    }
    OsString::from_vec(url)
}

fn encode(text: &str) -> String {
    percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(source: &str, options: &[&str]) -> Translated {
        let words = options.iter().map(|word| (*word).to_string()).collect();
        translate(OsStr::new(source), words).expect(source)
    }

    fn source_of(source: &str, options: &[&str]) -> String {
        let source = translated(source, options).source;
        source.into_string().expect("text")
    }

    #[test]
    fn sources_become_urls() {
        for (source, url) in [
            ("ftp.example.org", "ftp://ftp.example.org"),
            ("curlftpfs#host", "ftp://host"),
            ("host:2121/dir", "ftp://host:2121/dir"),
            ("host:", "ftp://host"),
            ("curlftpfs#ftp://host/", "ftp://host/"),
            ("curlftpfs#FTP://host/", "ftp://host/"),
            ("curlftpfs#ftps://host/a", "ftps://host/a"),
            ("curlftpfs#u:p@w@host/dir", "ftp://u:p@w@host/dir"),
            ("[::1]:21/a", "ftp://[::1]:21/a"),
        ] {
            assert_eq!(source_of(source, &[]), url, "{source}");
        }
    }

    #[test]
    fn login_of_source_precedes_the_option() {
        for (source, option, url) in [
            ("h/d", "user=anna:s:e/c", "ftp://anna:s%3Ae%2Fc@h/d"),
            ("h", "user=anna", "ftp://anna@h"),
            ("ftp://anna@h/", "user=anna:p", "ftp://anna:p@h/"),
            ("ftp://bob@h/", "user=anna:p", "ftp://bob@h/"),
            ("ftp://bob:q@h/", "user=anna:p", "ftp://bob:q@h/"),
        ] {
            assert_eq!(source_of(source, &[option]), url, "{source} {option}");
        }
        let words = translated("h", &["user=anna:secret"]).words;
        assert!(words.contains(&"fsname=curlftpfs#ftp://anna@h/".to_string()));
        assert!(!words.concat().contains("secret"));
    }

    #[test]
    fn subdir_is_below_the_directory_of_the_source() {
        let subdir = &["modules=subdir", "subdir=/a b/c"];
        assert_eq!(source_of("h", subdir), "ftp://h/a%20b/c");
        assert_eq!(source_of("h/d/", subdir), "ftp://h/d/a%20b/c");
    }

    #[test]
    fn tls_is_off_unless_it_is_asked_for() {
        let tls = |source: &str, options: &[&str]| {
            let words = translated(source, options).words;
            let last = words.into_iter().rfind(|word| word.starts_with("tls="));
            last.unwrap_or_default()
        };
        assert_eq!(tls("h", &[]), "tls=off");
        assert_eq!(tls("h", &["ssl_try"]), "tls=try");
        assert_eq!(tls("h", &["ssl", "cacert=/ca"]), "tls=explicit");
        assert_eq!(tls("h", &["ssl", "ssl_control"]), "tls=control");
        assert_eq!(tls("h", &["tls=explicit"]), "tls=explicit");
        assert_eq!(tls("ftps://h", &["ssl"]), "");
        assert_eq!(tls("ftpes://h", &[]), "");
    }

    #[test]
    fn joined_options_are_separated_outside_of_quotes() {
        for (list, separate) in [
            ("ssl -o ssl_control", "ssl , ssl_control"),
            ("-o ro", ", ro"),
            ("ro -o", "ro ,"),
            ("ro,-o rw", "ro,, rw"),
            (r#"user="a: -o b ""#, r#"user="a: -o b ""#),
            (r#"user=a\" -o ro"#, r#"user=a\" , ro"#),
            ("user=x-o y", "user=x-o y"),
            ("fsname=a -ob", "fsname=a -ob"),
        ] {
            assert_eq!(separate_joined(list), separate, "{list}");
        }
    }

    #[test]
    fn proxy_is_put_together() {
        let proxy = |options: &[&str]| {
            let words = translated("h", options).words;
            words.into_iter().find(|word| word.starts_with("proxy="))
        };
        assert_eq!(
            proxy(&["proxy=p:3128"]).as_deref(),
            Some("proxy=http://p:3128")
        );
        let login = &["proxy_user=u:a@b", "proxy=p", "socks5"];
        assert_eq!(proxy(login).as_deref(), Some("proxy=socks5://u:a%40b@p"));
        let socks4 = proxy(&["proxy=socks4://p:1"]);
        assert_eq!(socks4.as_deref(), Some("proxy=socks5://p:1"));
        assert_eq!(proxy(&["socks5"]), None);
    }

    #[test]
    fn options_without_effect_are_named_in_one_warning() {
        let warning = translated("h", &["krb4=private", "ro", "engine=x", "tcp_nodelay"]).warning;
        assert!(
            warning.contains("krb4 (") && warning.contains("engine ("),
            "{warning}"
        );
        assert!(
            !warning.contains("tcp_nodelay") && !warning.contains('\n'),
            "{warning}"
        );
        assert_eq!(translated("h", &["ro", "tcp_nodelay"]).warning, "");
    }
}
