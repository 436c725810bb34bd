//! Implements the client side of SOCKS5 (RFC 1928, with the password of RFC 1929).

use std::net::IpAddr;

use crate::ftp::net::proxy::{Proxy, Refusal, WANTS_LOGIN, take};
use crate::ftp::net::stream::Stream;
use crate::remote::Deadline;

impl Proxy {
    /// Asks for a connection to `host` and `port`.
    pub(crate) fn ask_socks(
        &self,
        stream: &mut Stream,
        host: &str,
        port: u16,
        deadline: &Deadline,
    ) -> std::result::Result<(), Refusal> {
        const VERSION: u8 = 5;
        const OPEN: u8 = 0;
        const BY_PASSWORD: u8 = 2;
        let said = |cause: &str| Err(Refusal::Said(cause.to_string()));
        let greeting: &[u8] = if self.user.is_empty() {
            &[VERSION, 1, OPEN]
        } else {
            &[VERSION, 2, OPEN, BY_PASSWORD]
        };
        stream.write_all(greeting, deadline)?;
        match take::<2>(stream, deadline)? {
            [VERSION, OPEN] => {}
            [VERSION, BY_PASSWORD] if !self.user.is_empty() => {
                let (user, password) = (&self.user, &self.password);
                let mut login = vec![1, user.len() as u8];
                login.extend_from_slice(user);
                login.push(password.len() as u8);
                login.extend_from_slice(password);
                stream.write_all(&login, deadline)?;
                if take::<2>(stream, deadline)?[1] != 0 {
                    return said(WANTS_LOGIN);
                }
            }
            [VERSION, _] => return said(WANTS_LOGIN),
            _ => return said("does not speak SOCKS5"),
        }
        let mut request = vec![VERSION, 1, 0];
        match host.parse() {
            Ok(IpAddr::V4(address)) => {
                request.push(1);
                request.extend_from_slice(&address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                request.push(4);
                request.extend_from_slice(&address.octets());
            }
            Err(_) => {
                let Ok(length) = u8::try_from(host.len()) else {
                    return said("can't be told a name of over 255 bytes");
                };
                request.extend_from_slice(&[3, length]);
                request.extend_from_slice(host.as_bytes());
            }
        }
        request.extend_from_slice(&port.to_be_bytes());
        stream.write_all(&request, deadline)?;
        let [version, outcome, _, form] = take::<4>(stream, deadline)?;
        if version != VERSION {
            return said("does not speak SOCKS5");
        }
        // RFC 1928 section 6.
        match outcome {
            0 => {}
            1 => return said("failed"),
            2 => return said("does not allow it"),
            3 => return said("can't reach the network"),
            4 => return said("can't reach the host"),
            5 => return said("was refused the connection"),
            6 => return said("waited too long"),
            other => return Err(Refusal::Said(format!("refuses with the code {other}"))),
        }
        let rest = match form {
            1 => 4,
            4 => 16,
            _ => usize::from(take::<1>(stream, deadline)?[0]),
        };
        for _ in 0..rest + 2 {
            take::<1>(stream, deadline)?;
        }
        Ok(())
    }
}
