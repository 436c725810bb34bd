//! Mounts a server: connects the FTP client, the file system and FUSE.
//!
//! Checks are ordered by cost: mountpoint and options, password, then the fork. The child connects to
//! the server, mounts, and only then reports that the mount is live.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use nix::unistd::{getgid, getuid};
use parking_lot::Mutex;

use crate::cli;
use crate::cli::endpoint;
use crate::cli::source::Source;
use crate::cli::{AttributePolicy, Settings};
use crate::commands::already_mounted;
use crate::commands::forced_end::ForcedEnd;
use crate::commands::human::{explain_refused, files, size};
use crate::commands::mount_errors::explain_connect_error;
use crate::commands::remount::fstab_options;
use crate::commands::spool_place::{spool_directory, writable};
use crate::commands::status::MountQueries;
use crate::ftp::{Client, Endpoint};
use crate::fuse;
use crate::fuse::Audience;
use crate::fuse::kernel_notify::KernelNotifier;
use crate::mount;
use crate::mount::Mount;
use crate::process::allocator;
use crate::process::daemon;
use crate::process::daemon::{Ready, Signals};
use crate::process::limits;
use crate::process::logging;
use crate::process::sd_notify;
use crate::process::thread::spawn_thread;
use crate::process::xdg_dirs;
use crate::remote::{Deadline, Error, Remote};
use crate::vfs;
use crate::vfs::{Names, Shown, Vfs};

/// Timeouts of one operation that may pass until the mount is live: it takes some operations in turn.
const START_TIMEOUTS: u32 = 4;
/// Exit status after a signal that leaves uploads pending.
const EXIT_FAILED: i32 = 1;
/// How long uploads may take after a signal: less than the 90 s after which systemd kills.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(75);
/// Interval between two reports to systemd while uploads are pending.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Time that systemd is asked for by each report: some intervals, should one be late.
const REPORT_EXTENSION: Duration = Duration::from_secs(10);
/// Interval at which a mount that is kept in use looks whether it was detached.
const HOLD_INTERVAL: Duration = Duration::from_secs(2);
/// Interval between two attempts to connect.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long systemd's mounts try again: five failures within ten seconds, its start limit, would disable an automount.
const SYSTEMD_RETRY: Duration = Duration::from_secs(10);

/// What the mount needs and is determined before the fork.
struct Plan {
    endpoint: Endpoint,
    mountpoint: PathBuf,
    kernel: mount::Options,
    vfs: vfs::Settings,
    server: String,
    source: Source,
    /// `spool_dir`, if it was given.
    spool: Option<PathBuf>,
    background: bool,
    audience: Audience,
    retry: Duration,
}

/// Mounts as the settings say. Returns when the mount is live, or in the foreground when it has ended.
pub fn run(settings: &Settings) -> Result<(), String> {
    logging::start(
        settings.command.logged,
        settings.command.log_file.as_deref(),
    )?;
    if !settings.command.warning.is_empty() {
        log::warn!("{}", settings.command.warning);
    }
    if let Some(namespace) = &settings.command.namespace {
        mount::enter_namespace(namespace)?;
    }
    if already_mounted::is_mounted(settings)? {
        return Ok(());
    }
    let plan = plan(settings)?;
    if settings.command.fake {
        return Ok(());
    }
    let timeout = settings.server.timeout;
    if settings.command.foreground {
        daemon::stay(|ready| serve(plan, timeout, ready))
    } else {
        let limit = timeout * START_TIMEOUTS + plan.retry;
        daemon::start(limit, |ready| serve(plan, timeout, ready))
    }
}

/// How long a server that can't be reached is tried again.
fn retry_time(settings: &Settings) -> Duration {
    let by_systemd =
        std::env::var_os("INVOCATION_ID").is_some() && !std::io::stderr().is_terminal();
    if by_systemd {
        settings.command.retry.max(SYSTEMD_RETRY)
    } else {
        settings.command.retry
    }
}

/// Connects; tries again for `retry` while the server can't be reached.
fn connect(endpoint: Endpoint, timeout: Duration, retry: Duration) -> Result<Client, Error> {
    let until = Instant::now() + retry;
    loop {
        match Client::connect(endpoint.clone(), &Deadline::after(timeout)) {
            Err(error @ (Error::Lost { .. } | Error::TimedOut { .. }))
                if Instant::now() + RETRY_INTERVAL < until =>
            {
                log::info!("connect: {error}; trying again");
                std::thread::sleep(RETRY_INTERVAL);
            }
            outcome => return outcome,
        }
    }
}

/// Checks the settings and prepares the mount. May prompt for a password.
fn plan(settings: &Settings) -> Result<Plan, String> {
    let source = Source::of(settings)?;
    let mut kernel = mount::Options {
        fsname: settings
            .mount
            .fsname
            .clone()
            .unwrap_or_else(|| source.fsname()),
        subtype: settings.mount.subtype.clone(),
        read_only: settings.mount.read_only,
        allow_other: settings.mount.allow_other || settings.mount.allow_root,
        default_permissions: settings.mount.default_permissions,
        words: settings.mount.kernel.clone(),
        labels: settings.mount.labels.clone(),
        user_space: settings.mount.user_space.clone(),
    };
    let mountpoint = mount::check(&settings.mountpoint, &kernel)?;
    // mount(8) does not pass `x-*` to its helpers.
    let of_fstab = fstab_options(&mountpoint).into_iter();
    for word in of_fstab.filter(|word| word.starts_with("x-")) {
        if !kernel.user_space.contains(&word) {
            kernel.user_space.push(word);
        }
    }
    let uid = settings
        .attributes
        .uid
        .as_ref()
        .map_or(Ok(getuid().as_raw()), cli::Id::user)?;
    let gid = settings
        .attributes
        .gid
        .as_ref()
        .map_or(Ok(getgid().as_raw()), cli::Id::group)?;
    let directories = (spool_directory(settings)?, cache_directory(settings)?);
    let endpoint = endpoint::endpoint(settings, &source)?;
    // Mounts of all directories of one server and user share their journals.
    let Endpoint {
        login, host, port, ..
    } = &endpoint;
    let server_name = format!("{}@{host}:{port}", login.user.escape_ascii()).replace('/', "%2F");
    let logged_in = Source {
        user: Some(login.user.clone()),
        host: host.clone(),
        port: *port,
        ..source.clone()
    };
    let server = endpoint.authority();
    Ok(Plan {
        endpoint,
        mountpoint,
        kernel,
        vfs: vfs_settings(settings, (uid, gid), &server_name, directories),
        server,
        source: logged_in,
        spool: settings.write.spool_dir.clone(),
        background: !settings.command.foreground,
        retry: retry_time(settings),
        audience: match (settings.mount.allow_other, settings.mount.allow_root) {
            (true, _) => Audience::Everybody,
            (false, true) => Audience::OwnerAndRoot,
            (false, false) => Audience::Owner,
        },
    })
}

/// Returns the settings of the file system.
fn vfs_settings(
    settings: &Settings,
    (uid, gid): (u32, u32),
    server_name: &str,
    (spool, disk_cache): (PathBuf, Option<PathBuf>),
) -> vfs::Settings {
    vfs::Settings {
        root: Vec::new(),
        shown: Shown {
            uid,
            gid,
            umask: settings.attributes.umask.unwrap_or(0),
            file_mode: settings.attributes.file_mode,
            dir_mode: settings.attributes.dir_mode,
            owners: settings.attributes.server_owners.then(local_names),
            makers_own: settings.mount.allow_other
                && settings.attributes.uid.is_none()
                && settings.attributes.gid.is_none(),
            // A passed device may be mounted without nosuid.
            set_ids: !mount::is_passed(&settings.mountpoint),
        },
        attributes: vfs::AttributeSettings {
            policy: match settings.attributes.policy {
                AttributePolicy::Keep => vfs::Policy::Keep,
                AttributePolicy::Strict => vfs::Policy::Strict,
                AttributePolicy::Ignore => vfs::Policy::Ignore,
            },
            store: xdg_dirs::state().map(|directory| vfs::StorePlace {
                directory,
                server: server_name.as_bytes().to_vec(),
            }),
        },
        links: vfs::LinkSettings {
            files: settings.attributes.mfsymlinks,
            leaving: match settings.attributes.links {
                cli::Links::Contained | cli::Links::Followed => vfs::Links::Contained,
                cli::Links::FromRoot => vfs::Links::FromRoot,
                cli::Links::AsTheyAre => vfs::Links::AsTheyAre,
            },
        },
        size: settings.attributes.size,
        read_only: settings.mount.read_only,
        lifetimes: vfs::Lifetimes {
            known: settings.cache.cache_timeout,
            absent: (settings.cache.negative_timeout).unwrap_or(settings.cache.cache_timeout),
            stale: settings.cache.stale,
        },
        timeout: settings.server.timeout,
        limits: vfs::WriteLimits {
            spool_size: settings.write.spool_size,
            holes: settings.write.hole_limit,
        },
        atomic: settings.write.atomic,
        verify_hash: settings.write.verify == cli::Verify::Hash,
        write_back: Some(vfs::WriteBack {
            on: settings.write.writeback,
            journal: spool.join("journal").join(server_name),
        }),
        spool,
        memory: vfs::Memory {
            blocks: settings.cache.cache_size,
            metadata: settings.cache.metadata_cache_size,
        },
        disk_cache: disk_cache.map(|directory| vfs::DiskCache {
            directory,
            size: settings.cache.disk_cache_size,
            source: format!("{server_name}\n").into_bytes(),
        }),
    }
}

/// The directory of the disk cache, if one was named.
fn cache_directory(settings: &Settings) -> Result<Option<PathBuf>, String> {
    let directory = settings.cache.cache_dir.as_ref().map(|directory| {
        writable(directory).map_err(|error| {
            format!(
                "cache_dir={}: {error}; name a directory that can be written",
                directory.display()
            )
        })
    });
    directory.transpose()
}

/// Runs the mount from the first connection to the last upload.
fn serve(plan: Plan, timeout: Duration, ready: Ready) -> Result<(), String> {
    let live = Live::default();
    unmount_on_signal(Signals::block()?, live.clone())?;
    limits::adjust();
    allocator::start_trimming();
    let user = plan.endpoint.login.user.clone();
    let client = connect(plan.endpoint, timeout, plan.retry)
        .map_err(|error| explain_connect_error(&plan.server, &user, &error))?;
    let mut settings = plan.vfs;
    settings.root = client.root();
    let spool = settings.spool.clone();
    let writes_back = settings.write_back.as_ref().is_some_and(|back| back.on);
    let client = Arc::new(client);
    let remote: Arc<dyn Remote> = Arc::<Client>::clone(&client);
    let vfs = Vfs::new(Arc::clone(&remote), settings);
    let begun = match vfs.is_read_only() {
        // A remount makes up for it.
        true => Ok(None),
        false => vfs.begin_write_back(),
    };
    match begun {
        Ok(None) => {}
        Ok(Some(outside)) => log::warn!("{}", explain_outside(&outside, &plan.source, &plan.spool)),
        Err(error) if writes_back => {
            return Err(format!("write-back journal: {error}"));
        }
        Err(error) => log::error!("recovery: can't look for files of earlier mounts: {error}"),
    }
    let (device, mount) = {
        // A signal waits for this lock until the mount exists.
        let mut live = live.lock();
        let (device, mount) = mount::attach(&plan.mountpoint, &plan.kernel)?;
        let mount = Arc::new(mount);
        *live = Some((Arc::clone(&mount), Arc::clone(&vfs)));
        (device, mount)
    };
    let audience = plan.audience;
    let background = plan.background;
    let kernel = plan.kernel.clone();
    let notifier = Arc::new(KernelNotifier::default());
    let end = Arc::new(ForcedEnd::new(
        Arc::clone(&client),
        Arc::clone(&vfs),
        Arc::clone(&mount),
    ));
    let queries = Arc::new(MountQueries {
        source: plan.source.fsname(),
        user,
        mount: Arc::clone(&mount),
        spool,
        since: (SystemTime::now(), Instant::now()),
        client,
        vfs: Arc::clone(&vfs),
        notifier: Arc::clone(&notifier),
        end: Arc::clone(&end),
    });
    let served = fuse::serve(
        Arc::clone(&vfs),
        notifier,
        queries,
        device,
        audience,
        || {
            begin(&mount, &vfs, &kernel);
            if background {
                logging::to_syslog();
                sd_notify::silence();
            } else {
                sd_notify::ready();
            }
            ready.live()
        },
    );
    detach(&mount, &end, served.is_err());
    end.take_over();
    vfs.end();
    vfs.log_ahead();
    remote.close();
    served.and_then(|()| all_stored(&vfs))
}

/// What follows once the mount answers requests.
fn begin(mount: &Arc<Mount>, vfs: &Arc<Vfs>, kernel: &mount::Options) {
    mount.raise_readahead();
    mount.register_umount_helper(kernel);
    stay_while_pending(mount, vfs);
}

/// Detaches a mount that is still there after its session has ended, by an error or because it was aborted.
fn detach(mount: &Mount, end: &Arc<ForcedEnd>, is_failed: bool) {
    let is_aborted = mount.is_attached();
    if is_aborted {
        // MNT_FORCE, or the control file of the connection: who ends it so waits for no server.
        end.begin();
    }
    if (is_failed || is_aborted)
        && let Err(error) = mount.unmount(true)
    {
        log::error!("{error}");
    }
    mount.forget_umount_helper();
}

/// An error where something that was closed is not on the server at the end of the mount.
fn all_stored(vfs: &Vfs) -> Result<(), String> {
    let pending = vfs.pending().files;
    if pending > 0 {
        return Err(format!(
            "write-back: {} could not be stored; the journal keeps the content for the next mount",
            files(pending as u64, "closed")
        ));
    }
    let refusals = vfs.refusals();
    let directory = refusals.directory.display();
    let named: Vec<_> = refusals.named.iter().map(ToString::to_string).collect();
    explain_refused((refusals.files, refusals.kept), &named, &directory)
        .map_or(Ok(()), |line| Err(format!("write-back: {line}")))
}

/// Explains how to upload files of earlier mounts that are outside of this mount.
fn explain_outside(outside: &vfs::Outside, source: &Source, spool: &Option<PathBuf>) -> String {
    let options = spool.as_ref().map_or(String::new(), |spool| {
        format!(" -o spool_dir={}", spool.display())
    });
    format!(
        "recovery: not uploaded, since outside of this mount: {} of an earlier mount; to upload: ftpfs {} MOUNTPOINT{options}",
        files(outside.files as u64, ""),
        source.at(&outside.directory).fsname()
    )
}

/// The mount that a signal ends, once there is one.
type Live = Arc<Mutex<Option<(Arc<Mount>, Arc<Vfs>)>>>;

/// On a signal, waits for uploads and then unmounts, even while the mount is in use. Before there is a
/// mount, the process exits. A second SIGTERM or SIGINT does not wait. A SIGHUP is no second request: logind
/// and systemd send it together with SIGTERM, in either order.
fn unmount_on_signal(signals: Signals, live: Live) -> Result<(), String> {
    let ends = move || {
        let (mut unmounting, mut requested) = (false, false);
        loop {
            let signal = signals.wait();
            let Some((mount, vfs)) = live.lock().clone() else {
                std::process::exit(EXIT_FAILED);
            };
            let is_request = signal != Signal::SIGHUP;
            if is_request && requested {
                // Files in a journal stay there; the mount must not.
                exit_at_once(&mount);
            }
            requested |= is_request;
            if unmounting {
                continue;
            }
            log::info!("{signal}: unmounting");
            unmounting = true;
            let detached = Arc::clone(&mount);
            sd_notify::stopping();
            let drained = Arc::new(AtomicBool::new(false));
            let reported = (Arc::clone(&vfs), Arc::clone(&drained));
            // Without the thread systemd waits for its own timeout.
            if sd_notify::is_awaited() {
                let _ = spawn_thread("notify", move || report_drain(&reported.0, &reported.1));
            }
            let unmount = move || {
                vfs.finish(Some(DRAIN_TIMEOUT));
                drained.store(true, Ordering::Release);
                if let Err(error) = mount.unmount(true) {
                    log::error!("{error}");
                }
            };
            // On a thread of its own, so that a second signal is handled meanwhile.
            if spawn_thread("unmount", unmount).is_err() {
                exit_at_once(&detached);
            }
        }
    };
    spawn_thread("signals", ends)
        .map_err(|error| format!("no thread can be started for signals: {error}"))
}

/// Keeps an automount in use while uploads are pending. Without the thread its expiry waits for them.
fn stay_while_pending(mount: &Arc<Mount>, vfs: &Arc<Vfs>) {
    if !mount.expires() {
        return;
    }
    let (mount, vfs) = (Arc::clone(mount), Arc::clone(vfs));
    let stay = move || {
        while mount.is_attached() && vfs.wait_for_pending() {
            let held = mount.hold();
            // After a lazy detach the descriptor alone would keep the mount and its process alive.
            while mount.is_attached() && !vfs.wait_for_uploads(HOLD_INTERVAL) {}
            drop(held);
        }
    };
    let _ = spawn_thread("automount", stay);
}

/// Asks systemd for more time while uploads are pending.
fn report_drain(vfs: &Vfs, drained: &AtomicBool) {
    while !drained.load(Ordering::Acquire) {
        let pending = vfs.pending();
        let status = format!(
            "waiting for uploads: {}, {}",
            files(pending.files as u64, ""),
            size(pending.bytes)
        );
        sd_notify::extend(REPORT_EXTENSION, &status);
        std::thread::sleep(REPORT_INTERVAL);
    }
}

/// Detaches the mount and ends the process, without waiting for uploads.
fn exit_at_once(mount: &Mount) -> ! {
    if let Err(error) = mount.unmount(true) {
        log::error!("{error}");
    }
    mount.forget_umount_helper();
    std::process::exit(EXIT_FAILED);
}

/// Returns the users and groups of this machine, from the files only: a directory service could block.
fn local_names() -> Names {
    let read = |path| std::fs::read(path).unwrap_or_default();
    Names::parse(&read("/etc/passwd"), &read("/etc/group"))
}
