//! Parses the values of options. The error of each function says what is allowed.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::cli::settings::Id;

/// Seconds of a year, the maximum of `cache_timeout` and `negative_timeout`.
pub const YEAR: u64 = 365 * 24 * 60 * 60;

/// Parses a user or group; `what` is the word for the error.
pub fn id(text: &str, what: &str) -> Result<Id, String> {
    let allowed = || format!("the number or the name of a {what}");
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == ':' || c == '\0') {
        return Err(allowed());
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') {
        let number = text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
        // chown(2) takes u32::MAX for "no change"; it is no ID.
        return number
            .filter(|&number| number != u32::MAX)
            .map(Id::Number)
            .ok_or_else(allowed);
    }
    Ok(Id::Name(text.to_string()))
}

/// Parses permission bits.
pub fn octal(text: &str) -> Result<u32, String> {
    let digits = text.chars().all(|digit| digit.is_digit(8));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|&umask| digits && umask <= 0o777)
        .ok_or_else(|| "an octal number from 0 to 777, such as 022".to_string())
}

/// Parses a whole number; `unit` is added to the error.
pub fn number(text: &str, least: u64, most: u64, unit: &str) -> Result<u64, String> {
    let digits = text.chars().all(|digit| digit.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| digits && (least..=most).contains(number))
        .ok_or_else(|| format!("a whole number from {least} to {most}{unit}"))
}

/// Parses `spool_size`: a window from which an aborted upload can resume must fit in.
pub fn spool_size(text: &str) -> Result<u64, String> {
    const MINIMUM: u64 = 32 << 20;
    let size = bytes(text)?;
    if size < MINIMUM {
        return Err("32M or more".to_string());
    }
    Ok(size)
}

/// Parses a cache size: some blocks for each stream must fit in.
pub fn cache_size(text: &str) -> Result<u64, String> {
    const MINIMUM: u64 = 16 << 20;
    let size = bytes(text)?;
    if size < MINIMUM {
        return Err("16M or more".to_string());
    }
    Ok(size)
}

/// Parses a number of bytes, with K, M, G or T for powers of 1024.
pub fn bytes(text: &str) -> Result<u64, String> {
    let allowed = || "a number of bytes, such as 500M or 2T".to_string();
    let (digits, unit) = match text.char_indices().last() {
        Some((at, letter)) if letter.is_ascii_alphabetic() => {
            (&text[..at], letter.to_ascii_uppercase())
        }
        _ => (text, ' '),
    };
    let power = " KMGT".find(unit).ok_or_else(allowed)?;
    let number = number(digits, 1, u64::MAX, "").map_err(|_| allowed())?;
    number
        .checked_shl(10 * power as u32)
        .filter(|bytes| bytes >> (10 * power) == number)
        .ok_or_else(allowed)
}

/// Parses a name for the mount table.
pub fn label(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("a name without control characters".to_string());
    }
    Ok(text.to_string())
}

/// Parses a type for the mount table, where a blank or a comma would separate fields.
pub fn word(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    if text.is_empty() || !text.chars().all(plain) {
        return Err("a word of letters, digits and . _ - +".to_string());
    }
    Ok(text.to_string())
}

/// Parses a label of SELinux, `USER:ROLE:TYPE[:RANGE]`. A quote would end it, since its commas are quoted for the kernel.
pub fn selinux_label(text: &str) -> Result<String, String> {
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || c == '"';
    if text.split(':').filter(|part| !part.is_empty()).count() < 3 || text.contains(is_odd) {
        return Err("a label of SELinux, such as system_u:object_r:nfs_t:s0".to_string());
    }
    Ok(text.to_string())
}

/// Parses the name of one of `choices`.
pub fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == text);
    found.map(|&(_, value)| value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|&(name, _)| name).collect();
        match names.split_last() {
            Some((last, [])) => (*last).to_string(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    })
}

/// Parses the path of a file.
pub fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("the name of a file".to_string());
    }
    Ok(PathBuf::from(text))
}

/// Parses a fingerprint: `sha256:` and 64 digits, with or without the colons that openssl(1) prints.
pub fn fingerprint(text: &str) -> Result<[u8; 32], String> {
    let allowed =
        || "sha256: and 64 hexadecimal digits, as in the message that names it".to_string();
    let digits = text.strip_prefix("sha256:").ok_or_else(allowed)?;
    let digits: String = digits.chars().filter(|&digit| digit != ':').collect();
    if digits.len() != 64 || !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(allowed());
    }
    let mut print = [0; 32];
    for (place, byte) in print.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).map_err(|_| allowed())?;
    }
    Ok(print)
}

/// Parses a range of ports, `LOW-HIGH`.
pub fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let port = |text: &str| number(text, 1, u16::MAX.into(), "").ok()?.try_into().ok();
    let range = text
        .split_once('-')
        .and_then(|(low, high)| Some(port(low)?..=port(high)?));
    range
        .filter(|range: &RangeInclusive<u16>| !range.is_empty())
        .ok_or_else(|| "two ports from 1 to 65535, the lower one first, as in 50000-50100".into())
}

/// Bytes of a host name (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 255;

/// Parses what names an address of this machine: an address, an interface or a host name.
pub fn local_address(text: &str) -> Result<String, String> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "/,@".contains(c);
    let is_address = text.parse::<IpAddr>().is_ok();
    let is_name = !text.is_empty() && text.len() <= MAX_HOST && !text.contains(is_odd);
    if is_address || is_name && !text.contains([':', '[', ']']) {
        return Ok(text.to_string());
    }
    Err("an address, a network interface or a host name".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("512"), Ok(512));
        assert_eq!(bytes("2k"), Ok(2048));
        assert_eq!(bytes("1T"), Ok(1 << 40));
        for wrong in ["", "T", "0", "-1", "1X", "99999999T", "1.5G"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(choice("no", &[("yes", true), ("no", false)]), Ok(false));
        assert_eq!(
            choice("maybe", &[("yes", true), ("no", false)]),
            Err("yes or no".to_string())
        );
    }

    #[test]
    fn id_is_a_number_or_a_name() {
        assert_eq!(id("0", "user"), Ok(Id::Number(0)));
        assert_eq!(id("anna", "user"), Ok(Id::Name("anna".into())));
        for wrong in ["", "-1", "+1", "4294967295", "1a", "a b", "a:b"] {
            assert!(id(wrong, "user").is_err(), "{wrong}");
        }
    }
}
