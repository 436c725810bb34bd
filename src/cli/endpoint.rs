//! Builds the endpoint (server, login, TLS and data settings) from the command line, the source and
//! the environment, the same for mounting and probing.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use crate::cli;
use crate::cli::credentials;
use crate::cli::source::{Scheme, Source};
use crate::cli::{Encrypt, Settings};
use crate::ftp;
use crate::ftp::{
    Charset, DataPolicy, Endpoint, Identity, Login, Manner, Proxy, Tls, TlsPolicy, When, Zone,
};
use crate::process::regular_file;
use crate::process::xdg_dirs;

/// Builds the endpoint. May prompt for a password.
pub fn endpoint(settings: &Settings, source: &Source) -> Result<Endpoint, String> {
    let tls = Tls::new(
        tls_policy(settings, source.scheme)?,
        &source.host,
        source.port,
    )?;
    let codepage = settings.server.codepage.as_deref().unwrap_or("utf8");
    let charset = Charset::named(codepage)
        .map_err(|allowed| format!("codepage={codepage}: not {allowed}"))?;
    let zone = |name: &String| {
        Zone::named(name).map_err(|allowed| format!("timezone={name}: not {allowed}"))
    };
    let zone = settings.server.timezone.as_ref().map(zone).transpose()?;
    let family = settings.network.family.map(|family| match family {
        cli::Family::V4 => ftp::Family::V4,
        cli::Family::V6 => ftp::Family::V6,
    });
    let is_wanted = |address: &IpAddr| match settings.network.family {
        Some(cli::Family::V4) => address.is_ipv4(),
        Some(cli::Family::V6) => address.is_ipv6(),
        None => true,
    };
    let bind = settings.network.bind.as_ref().map(|place| {
        ftp::local_end(place, &is_wanted).map_err(|error| format!("bind={place}: {error}"))
    });
    let bind = bind.transpose()?;
    let credentials = credentials::find(settings, source)?;
    Ok(Endpoint {
        host: source.host.clone(),
        port: source.port,
        login: Login {
            user: credentials.user,
            password: credentials.password,
        },
        directory: source.directory.path().map(<[u8]>::to_vec),
        max_conns: settings.server.max_conns,
        hard: settings.server.hard,
        pipelining: !settings.server.no_pipeline,
        tls: Arc::new(tls),
        data: data_policy(settings)?,
        bind,
        proxy: proxy(settings, &source.host)?.map(Arc::new),
        family,
        charset,
        manner: Manner {
            exact_times: !settings.server.listed_times,
            trusts_stores: settings.write.verify == cli::Verify::None,
            follow_links: settings.attributes.links == cli::Links::Followed,
            zone,
        },
        profiles: xdg_dirs::cache().map(|directory| directory.join("servers")),
    })
}

/// Returns the proxy of the command line, or else of the environment.
fn proxy(settings: &Settings, host: &str) -> Result<Option<Proxy>, String> {
    match &settings.network.proxy {
        Some(text) => Proxy::parse(&text.0.to_string_lossy())
            .map_err(|allowed| format!("proxy=: must be {allowed}")),
        None => Proxy::of_environment(host, |name| std::env::var(name).ok()),
    }
}

fn data_policy(settings: &Settings) -> Result<DataPolicy, String> {
    let external = settings.network.external_ip.as_ref().map(|place| {
        ftp::External::named(place).map_err(|error| format!("external_ip={place}: {error}"))
    });
    Ok(DataPolicy {
        mode: match settings.network.mode {
            cli::Mode::Auto => ftp::Mode::Auto,
            cli::Mode::Passive => ftp::Mode::Passive,
            cli::Mode::Active => ftp::Mode::Active,
        },
        trusts_pasv: settings.network.trusts_pasv,
        ports: settings.network.port_range.clone(),
        external: external.transpose()?,
    })
}

/// Returns when to encrypt, and which certificates to accept.
fn tls_policy(settings: &Settings, scheme: Scheme) -> Result<TlsPolicy, String> {
    // Options about certificates require TLS.
    let requires_tls = settings.tls.cacert.is_some()
        || settings.tls.fingerprint.is_some()
        || settings.tls.cert.is_some();
    let when = match (scheme, settings.tls.when) {
        (Scheme::Ftps, None | Some(Encrypt::Control)) => When::Implicit,
        (Scheme::Ftpes, None | Some(Encrypt::Explicit | Encrypt::Control)) => When::Explicit,
        (Scheme::Ftps | Scheme::Ftpes, Some(_)) => {
            return Err(format!(
                "tls= contradicts {}://; write ftp://, or omit tls=",
                scheme.name()
            ));
        }
        (Scheme::Ftp, None) if requires_tls => When::Explicit,
        (Scheme::Ftp, None | Some(Encrypt::Try)) => When::Try,
        (Scheme::Ftp, Some(Encrypt::Off)) => When::Off,
        (Scheme::Ftp, Some(Encrypt::Explicit | Encrypt::Control)) => When::Explicit,
    };
    Ok(TlsPolicy {
        when,
        clear_data: settings.tls.when == Some(Encrypt::Control),
        min_13: settings.tls.min_13,
        max_12: settings.tls.max_12,
        authorities: settings.tls.cacert.clone(),
        identity: settings
            .tls
            .cert
            .as_ref()
            .map(|cert| identity(settings, cert))
            .transpose()?,
        fingerprint: settings.tls.fingerprint,
        trusts_anyone: settings.tls.no_verify_peer,
        trusts_any_name: settings.tls.no_verify_hostname,
        known_hosts: xdg_dirs::config().map(|directory| directory.join("known_hosts")),
    })
}

/// Bytes of a certificate file: above any key with its certificates.
const KEY_LIMIT: u64 = 1 << 20;

/// Returns the client certificate with its key; may prompt for the passphrase.
fn identity(settings: &Settings, cert: &Path) -> Result<Identity, String> {
    let key = settings
        .tls
        .key
        .clone()
        .unwrap_or_else(|| cert.to_path_buf());
    let mut passphrase = settings
        .tls
        .pass
        .as_ref()
        .map(|pass| pass.0.as_encoded_bytes().to_vec());
    let is_encrypted = regular_file::read_to_string(&key, KEY_LIMIT)
        .is_ok_and(|text| text.contains("BEGIN ENCRYPTED PRIVATE KEY"));
    if passphrase.is_none() && is_encrypted {
        let prompt = format!("Passphrase of {}: ", key.display());
        passphrase = credentials::ask(&prompt)
            .map_err(|error| format!("can't read the passphrase: {error}"))?;
    }
    Ok(Identity {
        certificates: cert.to_path_buf(),
        key,
        passphrase,
    })
}
