//! Parses the addresses of passive data connections: the 229 to `EPSV` (RFC 2428) and the 227 to `PASV` (RFC 959).
//!
//! `command` writes those of active ones, in `EPRT` and `PORT`.

use std::net::Ipv4Addr;

use crate::ftp::protocol::reply::Reply;

/// The port in a 229: `(|||port|)`, with any character for the bar (RFC 2428 section 3). Where there are no parentheses, the
/// bars alone show it.
pub fn extended_port(reply: &Reply) -> Option<u16> {
    let text = reply.text();
    let starts = text.match_indices('(').map(|(at, _)| at + 1);
    let bars = text.match_indices("|||").map(|(at, _)| at);
    starts.chain(bars).find_map(|at| port_after(&text[at..]))
}

/// The port in `|||port|`, with any character for the bar.
fn port_after(text: &str) -> Option<u16> {
    let bar = text.chars().next().filter(char::is_ascii_punctuation)?;
    text.split(bar).nth(3)?.trim().parse().ok()
}

/// Address and port in a 227: six numbers (RFC 959 section 4.2; RFC 1123 section 4.1.2.6 forbids to
/// rely on the parentheses). Some servers put blanks after the commas.
pub fn passive_address(reply: &Reply) -> Option<(Ipv4Addr, u16)> {
    let text = reply.text();
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    let [a, b, c, d, high, low] = fields.windows(6).find_map(six_numbers)?;
    Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
}

/// Six fields as numbers: the first one may have text before it, the last one after it.
fn six_numbers(fields: &[&str]) -> Option<[u8; 6]> {
    let is_other = |c: char| !c.is_ascii_digit();
    let numbers = fields.iter().enumerate().map(|(at, field)| {
        let digits = match at {
            0 => field.rsplit(is_other).next(),
            5 => field.split(is_other).next(),
            _ => Some(*field),
        };
        digits?.parse().ok()
    });
    let numbers: Option<Vec<u8>> = numbers.collect();
    numbers?.try_into().ok()
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
            ("Entering Extended Passive Mode |||6446|", Some(6446)),
            ("Entering (see RFC 2428) (|||6446|)", Some(6446)),
            ("Entering (|1|127.0.0.1|6446|)", Some(6446)),
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
            (
                "Entering Passive Mode (127, 0, 0, 1, 4, 1)",
                Some((local, 1025)),
            ),
            ("Well, =127,0,0,1,4,1", Some((local, 1025))),
            ("127,0,0,1,4,1, 7 free", Some((local, 1025))),
            ("Entering Passive Mode (127,0 0,1,4,1).", None),
            ("Entering Passive Mode (127,0,0,1,4).", None),
            ("Entering Passive Mode (127,0,0,1,256,1).", None),
            ("nothing", None),
        ] {
            assert_eq!(passive_address(&reply(227, text)), address, "{text}");
        }
    }
}
