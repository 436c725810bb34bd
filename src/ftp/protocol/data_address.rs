//! Parses the addresses of passive data connections: the 229 to `EPSV` (RFC 2428) and the 227 to `PASV` (RFC 959).
//!
//! `command` writes those of active ones, in `EPRT` and `PORT`.

use std::net::Ipv4Addr;

use crate::ftp::protocol::reply::Reply;

/// The port in a 229: `(|||port|)`, with any character for the bar (RFC 2428 section 3).
pub fn extended_port(reply: &Reply) -> Option<u16> {
    let text = reply.text();
    let inside = text.split_once('(')?.1;
    let bar = inside.chars().next()?;
    let mut fields = inside.split(bar).skip(3);
    fields.next()?.trim().parse().ok()
}

/// Address and port in a 227: six numbers (RFC 959 section 4.2; RFC 1123 section 4.1.2.6 forbids to
/// rely on the parentheses).
pub fn passive_address(reply: &Reply) -> Option<(Ipv4Addr, u16)> {
    let text = reply.text();
    let numbers = text
        .split(|c: char| !c.is_ascii_digit() && c != ',')
        .find(|run| run.split(',').filter(|number| !number.is_empty()).count() == 6)?;
    let bytes: Option<Vec<u8>> = numbers
        .split(',')
        .filter(|number| !number.is_empty())
        .map(|number| number.parse().ok())
        .collect();
    let bytes: [u8; 6] = bytes?.try_into().ok()?;
    let [a, b, c, d, high, low] = bytes;
    Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, text: &str) -> Reply {
        Reply {
            code,
            lines: vec![text.as_bytes().to_vec()],
        }
    }

    #[test]
    fn ports_of_real_servers_are_parsed() {
        for (text, port) in [
            ("Entering Extended Passive Mode (|||6446|)", Some(6446)),
            ("ok (!!!21!)", Some(21)),
            ("Entering Extended Passive Mode (|||6446", Some(6446)),
            ("Entering Extended Passive Mode (|||x|)", None),
            ("Entering Extended Passive Mode", None),
            ("(|||70000|)", None),
        ] {
            assert_eq!(extended_port(&reply(229, text)), port, "{text}");
        }
        let local = Ipv4Addr::LOCALHOST;
        for (text, address) in [
            (
                "Entering Passive Mode (127,0,0,1,4,1).",
                Some((local, 1025)),
            ),
            (
                "Entering Passive Mode 10,0,0,1,255,255",
                Some((Ipv4Addr::new(10, 0, 0, 1), 65535)),
            ),
            ("Entering Passive Mode (127,0,0,1,4).", None),
            ("Entering Passive Mode (127,0,0,1,256,1).", None),
            ("nothing", None),
        ] {
            assert_eq!(passive_address(&reply(227, text)), address, "{text}");
        }
    }
}
