//! Connects through proxies: HTTP `CONNECT` (RFC 9110 section 9.3.6) and SOCKS5 (RFC 1928, with the password of RFC
//! 1929).
//!
//! Once the proxy has agreed, the connection behaves like one to the server. So not one byte may be read beyond the
//! proxy's answer: an FTP server speaks first. The proxy resolves names; our resolver may not know them.
//!
//! * `http_connect`: the client side of HTTP `CONNECT`
//! * `socks5`: the client side of SOCKS5

pub(crate) mod http_connect;
pub(crate) mod socks5;

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};

use percent_encoding::percent_decode_str;

use crate::ftp::net::stream::{Bind, Stream, blame};
use crate::remote::{Deadline, Error, Result};

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    user: Vec<u8>,
    password: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    Socks5,
}

/// The port of a proxy that names none, as curl has it.
const DEFAULT_PORT: u16 = 1080;

impl Proxy {
    /// Reads `[SCHEME://][USER:PASSWORD@]HOST[:PORT]`; `None` for `none`.
    pub fn parse(text: &str) -> std::result::Result<Option<Self>, String> {
        const ALLOWED: &str = "http://[USER:PASSWORD@]HOST[:PORT], socks5://... or none";
        let allowed = || ALLOWED.to_string();
        if text == "none" {
            return Ok(None);
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "http" => Kind::Http,
            "socks5" | "socks5h" | "socks" => Kind::Socks5,
            _ => return Err(allowed()),
        };
        let rest = rest.trim_end_matches('/');
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (login, place),
            None => ("", rest),
        };
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = match place
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port.parse().map_err(|_| allowed())?,
        };
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c);
        let decode = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let (user, password) = (decode(user), decode(password));
        let too_long = user.len().max(password.len()) > usize::from(u8::MAX);
        if host.is_empty() || host.contains(odd) || port == 0 || too_long {
            return Err(allowed());
        }
        Ok(Some(Self {
            kind,
            host: host.to_string(),
            port,
            user,
            password,
        }))
    }

    /// The proxy that the environment names for `host`, by `ftp_proxy` or `all_proxy`, unless `no_proxy`
    /// lets the host off. This machine itself is never reached by a proxy.
    pub fn of_environment(
        host: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> std::result::Result<Option<Self>, String> {
        let either = |name: &str| {
            let found = variable(name).or_else(|| variable(&name.to_ascii_uppercase()));
            found.filter(|value| !value.is_empty())
        };
        let is_loopback = host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
        let exempt = either("no_proxy").is_some_and(|list| is_exempt(host, &list));
        if is_loopback || host.eq_ignore_ascii_case("localhost") || exempt {
            return Ok(None);
        }
        for name in ["ftp_proxy", "all_proxy"] {
            if let Some(value) = either(name) {
                // The value may hold a password: it is not shown.
                return Self::parse(&value)
                    .map_err(|allowed| format!("{name} in the environment: must be {allowed}"));
            }
        }
        Ok(None)
    }

    /// A connection to `host` and `port` by way of the proxy.
    pub fn connect(
        &self,
        host: &str,
        port: u16,
        bind: Option<&Bind>,
        deadline: &Deadline,
    ) -> Result<Stream> {
        let tried = format!("connecting to {}", authority(host, port));
        let mut stream = self.reach(bind, deadline)?;
        let agreed = match self.kind {
            Kind::Http => self.ask_http(&mut stream, host, port, deadline),
            Kind::Socks5 => self.ask_socks(&mut stream, host, port, deadline),
        };
        agreed.map_err(|refusal| match refusal {
            Refusal::Said(cause) => Error::barred(tried, format!("the proxy {self} {cause}")),
            Refusal::Broke(error) => blame(format!("{tried} by the proxy {self}"), &error),
        })?;
        Ok(stream)
    }

    fn reach(&self, bind: Option<&Bind>, deadline: &Deadline) -> Result<Stream> {
        let tried = || format!("connecting to the proxy {self}");
        let addresses = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| Error::lost(tried(), error))?;
        let mut last = Error::lost(tried(), "its name has no address");
        for address in addresses {
            match Stream::connect(address, bind, deadline) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = blame(tried(), &error),
            }
        }
        Err(last)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            Kind::Http => "http",
            Kind::Socks5 => "socks5",
        };
        write!(f, "{scheme}://{}", authority(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

const WANTS_LOGIN: &str =
    "wants another user and password: name them as proxy=SCHEME://USER:PASSWORD@HOST:PORT";

/// Why there is no connection: by the proxy's word, or because the connection to it broke.
pub(crate) enum Refusal {
    Said(String),
    Broke(std::io::Error),
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Broke(error)
    }
}

/// Just so many bytes, and not one more.
fn take<const N: usize>(stream: &mut Stream, deadline: &Deadline) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match stream.read(&mut bytes[filled..], deadline)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => filled += length,
        }
    }
    Ok(bytes)
}

/// A host and a port in one word, an IPv6 address in brackets.
pub fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Whether a list such as `.example.org,10.0.0.1,*` names the host.
fn is_exempt(host: &str, list: &str) -> bool {
    let host = host.to_ascii_lowercase();
    list.split([',', ' ']).any(|entry| {
        let entry = entry.trim().trim_start_matches('.').to_ascii_lowercase();
        let is_below = || {
            host.strip_suffix(&entry)
                .is_some_and(|above| above.ends_with('.'))
        };
        entry == "*" || !entry.is_empty() && (host == entry || is_below())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_urls_are_parsed() {
        let parse = |text: &str| Proxy::parse(text).expect(text).expect(text);
        assert_eq!(parse("http://h:3128/").to_string(), "http://h:3128");
        assert_eq!(parse("h").to_string(), "http://h:1080");
        assert_eq!(parse("socks5h://[::1]:9").to_string(), "socks5://[::1]:9");
        let proxy = parse("socks5://u%40x:p:q@h");
        assert_eq!(
            (&proxy.user[..], &proxy.password[..]),
            (&b"u@x"[..], &b"p:q"[..])
        );
        assert!(!format!("{proxy:?} {proxy}").contains("p:q"));
        assert_eq!(Proxy::parse("none"), Ok(None));
        for wrong in [
            "",
            "https://h",
            "socks4://h",
            "http://",
            "http://h:0",
            "h:x",
            "h/x",
        ] {
            assert!(Proxy::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn environment_names_the_proxy_and_its_exceptions() {
        let with = |host: &str, set: &[(&str, &str)]| {
            Proxy::of_environment(host, |name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_string())
            })
        };
        let all = [
            ("ALL_PROXY", "socks5://a"),
            ("no_proxy", ".example.org, 10.0.0.1"),
        ];
        let shown = |host: &str, set: &[(&str, &str)]| {
            with(host, set)
                .expect("good")
                .map(|proxy| proxy.to_string())
        };
        assert_eq!(shown("h", &all).as_deref(), Some("socks5://a:1080"));
        assert_eq!(
            shown("h", &[("ftp_proxy", "b"), all[0]]).as_deref(),
            Some("http://b:1080")
        );
        for host in [
            "ftp.example.org",
            "example.org",
            "10.0.0.1",
            "localhost",
            "127.0.0.1",
            "::1",
        ] {
            assert_eq!(shown(host, &all), None, "{host}");
        }
        assert_eq!(
            shown("badexample.org", &all).as_deref(),
            Some("socks5://a:1080")
        );
        assert_eq!(shown("h", &[]), None);
        let error = with("h", &[("ftp_proxy", "https://u:secret@h")]).expect_err("https");
        assert!(
            error.contains("ftp_proxy") && !error.contains("secret"),
            "{error}"
        );
    }
}
