//! Explains in one line, with a remedy, why a server can't be mounted.

use crate::cli::credentials;
use crate::remote::{Error, Why};

/// Explains why `user` can't mount `server`.
pub fn explain_connect_error(server: &str, user: &[u8], error: &Error) -> String {
    match error {
        Error::Refused {
            why: Why::Login,
            said,
            ..
        } if error.is_for_now() => {
            format!("{server}: login refused for the moment: {said}; try again later")
        }
        Error::Refused {
            why: Why::Login,
            said,
            ..
        } if credentials::is_anonymous(user) => {
            format!("{server}: anonymous login refused: {said}; name a user: ftp://USER@HOST/")
        }
        Error::Refused {
            why: Why::Login,
            said,
            ..
        } => {
            format!("{server}: login refused: {said}; check user and password")
        }
        Error::Refused {
            why: Why::NotFound,
            tried,
            said,
        } => {
            format!(
                "{server}: no such directory on the server: {tried}: {said}; check the path in the source"
            )
        }
        Error::Refused {
            why: Why::TooMany,
            said,
            ..
        } => {
            format!(
                "{server}: the server accepts no more connections: {said}; try again later or lower max_conns="
            )
        }
        Error::Lost { tried, cause, .. } if tried.starts_with("finding") => {
            format!("{server}: no such host ({cause}); check its name and your network")
        }
        Error::Lost { tried, cause, .. } if tried.contains("proxy") => {
            format!("{server}: {tried}: {cause}; check proxy=, or the environment's proxy")
        }
        Error::Lost { tried, cause, .. } if is_of_tls(tried) => {
            format!("{server}: {tried}: {cause}; if the server has no TLS, use tls=off")
        }
        Error::TimedOut { tried } if is_of_tls(tried) => {
            format!("{server}: no answer ({tried}); if the server has no TLS, use tls=off")
        }
        Error::Lost { cause, .. } => {
            format!(
                "{server}: can't connect: {cause}; check host and port, and that an FTP server runs there"
            )
        }
        Error::Barred { tried, cause } => format!("{server}: {tried}: {cause}"),
        Error::TimedOut { tried } => {
            format!("{server}: no answer ({tried}); check host and port, or raise timeout=")
        }
        error => format!("{server}: {error}"),
    }
}

/// Whether the server was asked to encrypt.
fn is_of_tls(tried: &str) -> bool {
    tried.starts_with("AUTH") || tried.starts_with("encrypting")
}
