//! The program from its command line to its exit status.
//!
//! The one idea: the only place that sees both the engine and the file system. The order is that of
//! the cheapest refusal first: words, mountpoint, password, then the fork; behind it the server, the
//! device, and only then "live".

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::unistd::{getgid, getuid};
use parking_lot::Mutex;

use crate::credentials;
use crate::daemon::{self, Ready, Signals};
use crate::ftp::{
    self, Bind, Charset, Client, DataPolicy, Endpoint, Identity, Login, Manner, Proxy, Tls,
    TlsPolicy, When, Zone,
};
use crate::fuse::{self, Audience};
use crate::logging::{self, Amount};
use crate::mount::{self, Mount};
use crate::options::{self, Encrypt, Request, Settings};
use crate::remote::{Deadline, Error, Remote, Why};
use crate::source::{Scheme, Source};
use crate::vfs::{self, Names, Shown, Vfs};

/// The exit status of everything that failed; mount(8) passes it on.
const FAILED: u8 = 1;
/// How much longer than one operation the way to a live mount may take: some of them in turn.
const START: u32 = 4;
/// Bytes of the block cache, unless said otherwise.
const CACHE_SIZE: usize = 64 << 20;

/// Runs the program with its arguments, the first of which is its name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match options::parse(arguments) {
        Ok(Request::Print(text)) => {
            print!("{text}");
            Ok(())
        }
        Ok(Request::Mount(settings)) => start(&settings),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ftpfs: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// Everything that the mount needs and that was found out before the fork.
struct Plan {
    endpoint: Endpoint,
    mountpoint: PathBuf,
    kernel: mount::Options,
    vfs: vfs::Settings,
    server: String,
    background: bool,
    audience: Audience,
}

fn start(settings: &Settings) -> Result<(), String> {
    logging::start(match (settings.debug, settings.verbose) {
        (true, _) => Amount::Everything,
        (false, true) => Amount::Steps,
        (false, false) => Amount::Warnings,
    });
    if let Some(namespace) = &settings.namespace {
        mount::enter_namespace(namespace)?;
    }
    let plan = plan(settings)?;
    if settings.fake {
        return Ok(());
    }
    let timeout = settings.timeout;
    if settings.foreground {
        daemon::stay(|ready| serve(plan, timeout, ready))
    } else {
        daemon::start(timeout * START, |ready| serve(plan, timeout, ready))
    }
}

fn plan(settings: &Settings) -> Result<Plan, String> {
    let source = Source::parse(&settings.source.0)?;
    let mountpoint = mount::check(&settings.mountpoint)?;
    let uid = settings
        .uid
        .as_ref()
        .map_or(Ok(getuid().as_raw()), options::Id::user)?;
    let gid = settings
        .gid
        .as_ref()
        .map_or(Ok(getgid().as_raw()), options::Id::group)?;
    let tls = Tls::new(
        tls_policy(settings, source.scheme)?,
        &source.host,
        source.port,
    )?;
    let codepage = settings.codepage.as_deref().unwrap_or("utf8");
    let charset = Charset::named(codepage)
        .map_err(|allowed| format!("codepage={codepage}: not {allowed}"))?;
    let zone = |name: &String| {
        Zone::named(name).map_err(|allowed| format!("timezone={name}: not {allowed}"))
    };
    let zone = settings.timezone.as_ref().map(zone).transpose()?;
    let credentials = credentials::find(&source)?;
    Ok(Plan {
        endpoint: Endpoint {
            host: source.host.clone(),
            port: source.port,
            login: Login {
                user: credentials.user,
                password: credentials.password,
            },
            directory: source.directory.path().map(<[u8]>::to_vec),
            max_conns: settings.max_conns,
            pipelining: true,
            tls: Arc::new(tls),
            data: data_policy(settings),
            bind: settings.bind.as_ref().map(|bind| match bind.parse() {
                Ok(address) => Bind::Address(address),
                Err(_) => Bind::Interface(bind.clone()),
            }),
            proxy: proxy(settings, &source.host)?.map(Arc::new),
            family: settings.family.map(|family| match family {
                options::Family::V4 => ftp::Family::V4,
                options::Family::V6 => ftp::Family::V6,
            }),
            charset,
            manner: Manner {
                exact_times: !settings.listed_times,
                follow_links: settings.links == options::Links::Followed,
                zone,
            },
        },
        mountpoint,
        kernel: mount::Options {
            fsname: settings.fsname.clone().unwrap_or_else(|| source.fsname()),
            subtype: settings.subtype.clone(),
            read_only: settings.read_only,
            allow_other: settings.allow_other || settings.allow_root,
            default_permissions: settings.default_permissions,
            words: settings.kernel.clone(),
        },
        vfs: vfs::Settings {
            root: Vec::new(),
            shown: Shown {
                uid,
                gid,
                umask: settings.umask.unwrap_or(0),
                file_mode: settings.file_mode,
                dir_mode: settings.dir_mode,
                owners: settings.server_owners.then(local_names),
            },
            lenient: settings.lenient,
            links: match settings.links {
                options::Links::Contained | options::Links::Followed => vfs::Links::Contained,
                options::Links::FromRoot => vfs::Links::FromRoot,
                options::Links::AsTheyAre => vfs::Links::AsTheyAre,
            },
            size: settings.size,
            read_only: settings.read_only,
            cache_timeout: settings.cache_timeout,
            timeout: settings.timeout,
            spool: spool_directory(),
            cache_size: CACHE_SIZE,
        },
        server: format!("{}:{}", source.host, source.port),
        background: !settings.foreground,
        audience: match (settings.allow_other, settings.allow_root) {
            (true, _) => Audience::Everybody,
            (false, true) => Audience::OwnerAndRoot,
            (false, false) => Audience::Owner,
        },
    })
}

/// The proxy that is named, or else the environment's.
fn proxy(settings: &Settings, host: &str) -> Result<Option<Proxy>, String> {
    match &settings.proxy {
        Some(text) => Proxy::parse(&text.0.to_string_lossy())
            .map_err(|allowed| format!("proxy=: must be {allowed}")),
        None => Proxy::of_environment(host, |name| std::env::var(name).ok()),
    }
}

fn data_policy(settings: &Settings) -> DataPolicy {
    DataPolicy {
        mode: match settings.mode {
            options::Mode::Auto => ftp::Mode::Auto,
            options::Mode::Passive => ftp::Mode::Passive,
            options::Mode::Active => ftp::Mode::Active,
        },
        trusts_pasv: settings.trusts_pasv,
        ports: settings.port_range.clone(),
        external: settings.external_ip,
    }
}

/// When to encrypt, by the options and the scheme of the source, and whom to trust.
fn tls_policy(settings: &Settings, scheme: Scheme) -> Result<TlsPolicy, String> {
    // Who says whom to trust wants nobody else, and no clear text.
    let demands =
        settings.cacert.is_some() || settings.fingerprint.is_some() || settings.cert.is_some();
    let when = match (scheme, settings.tls) {
        (Scheme::Ftps, None | Some(Encrypt::Control)) => When::Implicit,
        (Scheme::Ftpes, None | Some(Encrypt::Explicit | Encrypt::Control)) => When::Explicit,
        (Scheme::Ftps | Scheme::Ftpes, Some(_)) => {
            return Err(format!(
                "tls= says something else than {}://; write ftp://, or leave tls= out",
                scheme.name()
            ));
        }
        (Scheme::Ftp, None) if demands => When::Explicit,
        (Scheme::Ftp, None | Some(Encrypt::Try)) => When::Try,
        (Scheme::Ftp, Some(Encrypt::Off)) => When::Off,
        (Scheme::Ftp, Some(Encrypt::Explicit | Encrypt::Control)) => When::Explicit,
    };
    Ok(TlsPolicy {
        when,
        clear_data: settings.tls == Some(Encrypt::Control),
        min_13: settings.tls_min_13,
        max_12: settings.tls_max_12,
        authorities: settings.cacert.clone(),
        identity: settings
            .cert
            .as_ref()
            .map(|cert| identity(settings, cert))
            .transpose()?,
        fingerprint: settings.fingerprint,
        trusts_anyone: settings.no_verify_peer,
        trusts_any_name: settings.no_verify_hostname,
        known_hosts: known_hosts(),
    })
}

/// Our own certificate, with the passphrase of its key.
fn identity(settings: &Settings, cert: &Path) -> Result<Identity, String> {
    let key = settings.key.clone().unwrap_or_else(|| cert.to_path_buf());
    let mut passphrase = settings
        .pass
        .as_ref()
        .map(|pass| pass.0.as_encoded_bytes().to_vec());
    let is_encrypted = std::fs::read_to_string(&key)
        .is_ok_and(|text| text.contains("BEGIN ENCRYPTED PRIVATE KEY"));
    if passphrase.is_none() && is_encrypted {
        let prompt = format!("Passphrase of {}: ", key.display());
        passphrase = credentials::ask(&prompt)
            .map_err(|error| format!("the passphrase can't be read: {error}"))?;
    }
    Ok(Identity {
        certificates: cert.to_path_buf(),
        key,
        passphrase,
    })
}

/// Where the certificates that were seen are kept: with the user's configuration.
fn known_hosts() -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(absolute)
        .or_else(|| {
            std::env::home_dir()
                .filter(absolute)
                .map(|home| home.join(".config"))
        })
        .map(|directory| directory.join("ftpfs/known_hosts"))
}

/// The life of the mount, from the first connection to the last upload.
fn serve(plan: Plan, timeout: Duration, ready: Ready) -> Result<(), String> {
    let live = Live::default();
    end_by_signal(Signals::block()?, live.clone())?;
    let client = Client::connect(plan.endpoint, &Deadline::after(timeout))
        .map_err(|error| explain(&plan.server, &error))?;
    let mut settings = plan.vfs;
    settings.root = client.root();
    let remote: Arc<dyn Remote> = Arc::new(client);
    let vfs = Arc::new(Vfs::new(Arc::clone(&remote), settings));
    let (device, mount) = {
        // A signal waits until it can find the mount.
        let mut live = live.lock();
        let (device, mount) = mount::attach(&plan.mountpoint, &plan.kernel)?;
        let mount = Arc::new(mount);
        *live = Some((Arc::clone(&mount), Arc::clone(&vfs)));
        (device, mount)
    };
    let audience = plan.audience;
    let background = plan.background;
    let served = fuse::serve(Arc::clone(&vfs), device, audience, || {
        if background {
            logging::to_syslog();
        }
        ready.live()
    });
    if served.is_err()
        && let Err(error) = mount.unmount(true)
    {
        log::error!("{error}");
    }
    vfs.finish();
    remote.close();
    served
}

/// What a signal ends, once there is something.
type Live = Arc<Mutex<Option<(Arc<Mount>, Arc<Vfs>)>>>;

/// On a signal: what is written reaches the server, then the mount goes, also while it is in use.
/// Before there is a mount, the process just ends.
fn end_by_signal(signals: Signals, live: Live) -> Result<(), String> {
    let ends = move || {
        let mut unmounted = false;
        loop {
            let signal = signals.wait();
            let found = live.lock().clone();
            let Some((mount, vfs)) = found.filter(|_| !unmounted) else {
                // The second signal does not wait for files that are still open.
                std::process::exit(i32::from(FAILED));
            };
            log::info!("{signal}: unmounting");
            vfs.finish();
            match mount.unmount(true) {
                Ok(()) => unmounted = true,
                Err(error) => log::error!("{error}"),
            }
        }
    };
    let thread = thread::Builder::new().name("signals".into()).spawn(ends);
    thread
        .map(drop)
        .map_err(|error| format!("no thread can be started for signals: {error}"))
}

/// Why the server could not be mounted, and what helps, in one line.
fn explain(server: &str, error: &Error) -> String {
    match error {
        Error::Refused {
            why: Why::Login,
            said,
            ..
        } => {
            format!(
                "{server}: the server refuses this user and password ({said}); check both, or name a user: ftp://USER@HOST/"
            )
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
                "{server}: the server takes no more connections ({said}); try again later or lower max_conns="
            )
        }
        Error::Lost { tried, cause } if tried.starts_with("finding") => {
            format!("{server}: no such host ({cause}); check its name and your network")
        }
        Error::Lost { tried, cause } if tried.contains("proxy") => {
            format!("{server}: {tried}: {cause}; check proxy=, or the environment's proxy")
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

/// The users and groups of this machine. Only what is in the files: asking a directory service could
/// wait.
fn local_names() -> Names {
    let read = |path| std::fs::read(path).unwrap_or_default();
    Names::parse(&read("/etc/passwd"), &read("/etc/group"))
}

/// Where spool files go: the user's cache, or the system's for those who have no home.
fn spool_directory() -> PathBuf {
    let absolute = |path: &PathBuf| path.is_absolute();
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(absolute)
        .or_else(|| {
            std::env::home_dir()
                .filter(absolute)
                .map(|home| home.join(".cache"))
        })
        .unwrap_or_else(|| PathBuf::from("/var/cache"))
        .join("ftpfs")
}
