//! Logs in: `USER`, `PASS`, `FEAT`, `TYPE`, `OPTS`, `PROT`, and `AUTH TLS` before them where it is wanted or offered.
//!
//! The first connection asks what the server can do (some servers tell only after the login) and where the mounted
//! directory lies: in two flights, or in one where a stored profile says what the second one depends on. Later connections
//! send just what they must, in one flight. The password is never pipelined: it is sent once
//! `USER` was answered, and a refused login is not tried again.

use std::time::Duration;

use crate::ftp::control::Control;
use crate::ftp::profile::evidence::Capability;
use crate::ftp::profile::{AuthTls, Learned, Profile};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::features::Features;
use crate::ftp::protocol::reply::{COMMAND_OKAY, Reply, quoted_path};
use crate::ftp::tls::{Tls, When};
use crate::remote::{Deadline, Error, Result, Why};

/// The credentials of a login.
#[derive(Clone)]
pub struct Login {
    /// The user's name.
    pub user: Vec<u8>,
    /// The password.
    pub password: Vec<u8>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({}, hidden)", self.user.escape_ascii())
    }
}

/// The share of the time that the handshake gets where the server may not have understood `AUTH TLS`.
const UNAGREED_SHARE: u32 = 3;
/// The share of the time that a command gets without which a login works, too.
const OPTIONAL_SHARE: u32 = 2;
/// Second replies to one command that are dropped.
const SURPLUS_REPLIES_LIMIT: usize = 4;
/// How long the reply to a command may take after the second one to the command before it.
const SURPLUS_PATIENCE: Duration = Duration::from_secs(5);

/// Logs in on the first connection and learns what the server can do. `accepted` is called in between.
pub fn first(
    control: &mut Control,
    login: &Login,
    tls: &Tls,
    profile: &Profile,
    accepted: &mut dyn FnMut(&Control),
    deadline: &Deadline,
) -> Result<()> {
    let welcome = encrypt_and_identify(control, login, (tls, profile), deadline)?;
    accepted(control);
    if !profile.ask(|learned| learned.this_mount.skips.feat) {
        let left = deadline.remaining().unwrap_or_default();
        let share = deadline.within(left / OPTIONAL_SHARE);
        let reply = command_after(control, Command::Feat, &welcome, &share)?;
        learn_features(control, login, tls, profile, &reply);
    }
    prepare_first(control, tls, profile, deadline)
}

/// What is sent together with `FEAT` to a server that is expected to be known.
pub struct Early<'a> {
    /// What is stored of it.
    pub expected: &'a Profile,
    /// The directory to change to.
    pub directory: Option<&'a [u8]>,
    /// Pipelined after all.
    pub asks: Option<Command<'a>>,
}

/// The absolute path of the mounted directory, and the reply to what was asked together with it.
pub type Located = (Vec<u8>, Option<Reply>);

/// The same as [`first`] and [`locate`] in one flight after the password. An error after the login may be due to that: the
/// caller logs in again with [`first`].
pub fn first_known(
    control: &mut Control,
    login: &Login,
    (tls, profile): (&Tls, &Profile),
    early: &Early<'_>,
    accepted: &mut dyn FnMut(&Control),
    deadline: &Deadline,
) -> Result<Located> {
    encrypt_and_identify(control, login, (tls, profile), deadline)?;
    accepted(control);
    let setup = Setup::of(control, tls, early.expected);
    let settings = setup.commands();
    let enters = early.directory.map(Command::Cwd);
    let flight: Vec<_> = [Command::Feat]
        .into_iter()
        .chain(settings.iter().copied())
        .chain(enters)
        .chain([Command::Pwd])
        .chain(early.asks)
        .collect();
    let mut replies = control.flight(&flight, deadline)?;
    let asked = early.asks.and_then(|_| replies.pop());
    let mut replies = replies.into_iter();
    let features = replies.next().unwrap_or_default();
    learn_features(control, login, tls, profile, &features);
    setup.check(replies.by_ref().take(settings.len()).collect(), control)?;
    let unfit = |control: &mut Control, command: Command<'_>, reply: &Reply| {
        control.give_up();
        Error::misbehaved(command.to_string(), reply.to_string())
    };
    if let Some(enters) = enters {
        let entered = replies.next().unwrap_or_default();
        if !entered.is_completion() {
            return Err(unfit(control, enters, &entered));
        }
    }
    let reply = replies.next().unwrap_or_default();
    let path = path_of(&reply).ok_or_else(|| unfit(control, Command::Pwd, &reply))?;
    let is_known = |learned: &Learned| learned.print == early.expected.ask(|known| known.print);
    if !profile.ask(is_known) {
        prepare_first(control, tls, profile, deadline)?;
    } else if Setup::of(control, tls, profile) != setup {
        prepare(control, tls, profile, None, deadline)?;
    }
    Ok((path, asked))
}

/// Takes the reply to `FEAT`.
fn learn_features(control: &Control, login: &Login, tls: &Tls, profile: &Profile, reply: &Reply) {
    let print = print(control.greeting(), reply);
    profile.learn(|learned| learned.print = print);
    if reply.is_completion() {
        let features = Features::parse(&reply.lines);
        if features.tls && tls.when() == When::Off && login.user != b"anonymous" {
            log::warn!(
                "{}: the password went over the network in clear, though the server offers TLS; \
                 leave out tls=off",
                control.route()
            );
        }
        profile.learn(|learned| {
            learned.offered = features.clone();
            learned.features = features;
        });
    }
}

/// [`prepare`] on a server that is not known; asks for its system where listings depend on that.
fn prepare_first(
    control: &mut Control,
    tls: &Tls,
    profile: &Profile,
    deadline: &Deadline,
) -> Result<()> {
    let asks = profile.ask(|learned| {
        let wanted = !learned.features.mlst() && !learned.this_mount.skips.opts;
        wanted.then_some(Command::Syst)
    });
    let system = prepare(control, tls, profile, asks, deadline)?;
    if system.is_some_and(|system| is_windows(&system)) {
        profile.learn(|learned| learned.listing.hides_directories = true);
    }
    Ok(())
}

/// Whether the reply to `SYST` is that of a server whose listings may lack virtual directories: "215 Windows_NT" (IIS).
fn is_windows(system: &Reply) -> bool {
    system.is_completion() && system.text().to_ascii_lowercase().contains("windows")
}

/// The digest that identifies a server (FNV-1a): of the first line of its greeting, since others
/// show the time and count users, and of its features.
fn print(greeting: &Reply, features: &Reply) -> u64 {
    let lines = greeting.lines.iter().take(1).chain(&features.lines);
    let mut print = 0xcbf2_9ce4_8422_2325;
    for byte in lines.flat_map(|line| line.iter().chain(b"\n")) {
        print = (print ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    print
}

/// Logs in on a further connection. `asks` is pipelined with the last commands, where pipelining is on: its reply is
/// returned then.
pub fn again(
    control: &mut Control,
    login: &Login,
    tls: &Tls,
    profile: &Profile,
    asks: Option<Command<'_>>,
    deadline: &Deadline,
) -> Result<Option<Reply>> {
    encrypt(control, tls, profile, deadline)?;
    identify(control, login, false, deadline)?;
    prepare(control, tls, profile, asks, deadline)
}

/// Starts TLS with `AUTH TLS`, where that is wanted (RFC 4217).
fn encrypt(control: &mut Control, tls: &Tls, profile: &Profile, deadline: &Deadline) -> Result<()> {
    // One refusal counts for this mount, where plaintext is allowed.
    let state = || profile.ask(|learned| learned.this_mount.auth_tls);
    let refused = tls.when() == When::Try && state() == AuthTls::Refused;
    if control.is_encrypted() || tls.when() == When::Off || refused {
        return Ok(());
    }
    let may_go_without = tls.when() == When::Try && !tls.was_seen();
    let reply = match control.command(Command::AuthTls, deadline) {
        Err(error) if may_go_without && control.is_ended_by_server() => {
            log::info!("AUTH TLS: {error}; the next connection goes in clear");
            return Err(note_no_tls(profile, AuthTls::Refused, error));
        }
        reply => reply?,
    };
    if reply.is_completion() {
        let session = tls.session(profile.ask(|learned| learned.data.tls12_only))?;
        // Some servers without TLS answer 200 to whatever they do not know, and may wait for more; RFC 4217 section 4 has 234.
        let is_other = may_go_without && reply.code == COMMAND_OKAY;
        let left = deadline.remaining().unwrap_or_default();
        let share = is_other.then(|| deadline.within(left / UNAGREED_SHARE));
        let encrypted = control.encrypt(Some(tls), session, share.as_ref().unwrap_or(deadline));
        return match encrypted {
            // Where the handshake was complete, the server speaks TLS after all.
            Err(error) if is_other && !tls.was_seen() => {
                log::info!("AUTH TLS: {error}; the next connection goes in clear");
                Err(note_no_tls(profile, AuthTls::Refused, error))
            }
            // What speaks no TLS, or hangs up, can't be spoken to in TLS at all; the first time may be an accident.
            Err(error) if may_go_without && control.speaks_no_tls() => {
                let is_again = state() == AuthTls::Doubtful;
                if is_again {
                    log::warn!("AUTH TLS: {error}, again; everything goes in clear");
                }
                let state = match is_again {
                    true => AuthTls::Refused,
                    false => AuthTls::Doubtful,
                };
                Err(note_no_tls(profile, state, error))
            }
            Err(error) if may_go_without => Err(with_remedy(error)),
            encrypted => encrypted,
        };
    }
    let offered = || format!("AUTH TLS: the server refuses to encrypt ({reply})");
    if tls.when() != When::Try {
        return Err(Error::barred(
            offered(),
            "refused to continue without TLS; use ftp:// with tls=try or tls=off to allow plaintext",
        ));
    }
    if tls.was_seen() {
        return Err(Error::barred(
            offered(),
            "the server offered TLS before but not now (possible downgrade attack); use tls=off to allow plaintext",
        ));
    }
    log::info!("{}: everything goes in clear", offered());
    profile.note(Capability::AuthTls, b"", &reply);
    Ok(())
}

/// The handshake failed on a server that was never seen to encrypt, and speaks TLS, or may: the password is not sent in clear.
fn with_remedy(error: Error) -> Error {
    const REMEDY: &str = "use tls=off to allow plaintext";
    match error {
        Error::Barred { tried, cause } => Error::barred(tried, format!("{cause}; {REMEDY}")),
        Error::Misbehaved { tried, saw } => Error::misbehaved(tried, format!("{saw}; {REMEDY}")),
        error => error,
    }
}

/// The connection cannot be used after `AUTH TLS`, and the server was never seen to encrypt: there is another one.
fn note_no_tls(profile: &Profile, state: AuthTls, error: Error) -> Error {
    profile.learn(|learned| learned.this_mount.auth_tls = state);
    error
}

/// Whether `OPTS` is sent at a login, where there is something to send. Of what a server answers twice it is the likeliest.
pub fn sends_opts(profile: &Profile) -> bool {
    !profile.ask(|learned| learned.this_mount.skips.opts || learned.pipelining.doubles)
}

/// Changes to `directory`, if one is given, and returns the absolute path of where we then are,
/// without a `/` at its end. `asks` is pipelined with that, where pipelining is on: its reply is
/// returned then. With `doubts_refusal` a refusal of `PWD` is an error with [`Why::Unsaid`]: it may be a surplus reply to
/// `OPTS`.
pub fn locate(
    control: &mut Control,
    directory: Option<&[u8]>,
    asks: Option<Command<'_>>,
    doubts_refusal: bool,
    deadline: &Deadline,
) -> Result<Located> {
    let enters = directory.map(Command::Cwd);
    let asks = asks.filter(|_| control.is_pipelining());
    let flight: Vec<_> = enters
        .into_iter()
        .chain([Command::Pwd])
        .chain(asks)
        .collect();
    let mut replies = control.flight(&flight, deadline)?;
    let asked = asks.and_then(|_| replies.pop());
    let no_reply = || Error::misbehaved("PWD", "no reply");
    let reply = replies.pop().ok_or_else(no_reply)?;
    if asked.is_some() && matches!(reply.code, 227 | 229) {
        // That is the reply to the command after it: the one to PWD came later, or belongs to something else.
        control.give_up();
        return Err(Error::misbehaved(
            Command::Pwd.to_string(),
            reply.to_string(),
        ));
    }
    if let Some((command, entered)) = enters.zip(replies.pop())
        && !entered.is_completion()
    {
        return Err(Error::refused(
            Why::NotFound,
            command.to_string(),
            entered.to_string(),
        ));
    }
    if doubts_refusal && !reply.is_completion() {
        control.give_up();
        return Err(Error::refused(
            Why::Unsaid,
            Command::Pwd.to_string(),
            reply.to_string(),
        ));
    }
    let path = match path_of(&reply) {
        Some(path) => path,
        None => find_path(control, directory, &reply, deadline)?,
    };
    Ok((path, asked))
}

/// The absolute path of where we are, where the reply to `PWD` has none as RFC 959 wants it: the first one of those that it may
/// mean which the server enters.
fn find_path(
    control: &mut Control,
    directory: Option<&[u8]>,
    reply: &Reply,
    deadline: &Deadline,
) -> Result<Vec<u8>> {
    for path in likely_paths(reply) {
        if control
            .command(Command::Cwd(&path), deadline)?
            .is_completion()
        {
            return Ok(without_end(path));
        }
    }
    // The directory that we asked for, below the root.
    let mut path = directory.unwrap_or_default().to_vec();
    if !path.starts_with(b"/") {
        path.insert(0, b'/');
    }
    log::warn!("PWD gave no path: {reply}; using {}", path.escape_ascii());
    Ok(without_end(path))
}

/// The paths that a reply to `PWD` may mean: `257 /home/u is the current directory`, `257 "C:\home\u"`.
fn likely_paths(reply: &Reply) -> Vec<Vec<u8>> {
    if !reply.is_completion() {
        return Vec::new();
    }
    let text = reply.lines.first().map(Vec::as_slice).unwrap_or_default();
    let said = quoted_path(text).unwrap_or_else(|| {
        let end = text.windows(4).rposition(|part| part == b" is ");
        text[..end.unwrap_or(text.len())].trim_ascii().to_vec()
    });
    let mut path = said;
    for byte in &mut path {
        if *byte == b'\\' {
            *byte = b'/';
        }
    }
    match path.as_slice() {
        [b'/', ..] => {
            let word = path.split(u8::is_ascii_whitespace).next();
            let word = word.unwrap_or_default().to_vec();
            vec![path, word]
        }
        [drive, b':', rest @ ..] if drive.is_ascii_alphabetic() => {
            let rooted = match rest {
                [b'/', ..] => rest.to_vec(),
                rest => [b"/", rest].concat(),
            };
            vec![[b"/", path.as_slice()].concat(), rooted]
        }
        _ => Vec::new(),
    }
}

/// The absolute path in a reply to `PWD`.
fn path_of(reply: &Reply) -> Option<Vec<u8>> {
    let text = reply.lines.first().map(Vec::as_slice).unwrap_or_default();
    let path = quoted_path(text).filter(|path| reply.is_completion() && path.starts_with(b"/"));
    path.map(without_end)
}

fn without_end(mut path: Vec<u8>) -> Vec<u8> {
    while path.last() == Some(&b'/') {
        path.pop();
    }
    path
}

/// Logs in on the first connection, encrypted where that is possible; returns the reply that welcomes us.
fn encrypt_and_identify(
    control: &mut Control,
    login: &Login,
    (tls, profile): (&Tls, &Profile),
    deadline: &Deadline,
) -> Result<Reply> {
    let was_refused = || profile.ask(|learned| learned.this_mount.auth_tls) == AuthTls::Refused;
    let refused_before = was_refused();
    encrypt(control, tls, profile, deadline)?;
    let is_auth_refused = was_refused() && !refused_before;
    identify(control, login, is_auth_refused, deadline)
}

/// Sends user and password, and returns the reply that welcomes us. After a refused `AUTH TLS` the refusal of the user may be the second reply to that (embedded
/// servers take nothing before `USER`): then the connection is lost, and no password was sent.
fn identify(
    control: &mut Control,
    login: &Login,
    is_auth_refused: bool,
    deadline: &Deadline,
) -> Result<Reply> {
    let user = Command::User(&login.user);
    let mut reply = control.command(user, deadline)?;
    if is_auth_refused && !reply.is_intermediate() && !reply.is_completion() {
        control.give_up();
        let said = format!("the server said {reply} after it had refused AUTH TLS");
        return Err(Error::lost(user.to_string(), said));
    }
    if reply.is_intermediate() {
        control.hide_in_reply(&login.password);
        let password = Command::Pass(&login.password);
        reply = command_after(control, password, &reply, deadline)?;
    }
    if reply.is_completion() {
        control.note_login();
        return Ok(reply);
    }
    let tried = format!("logging in as {}", login.user.escape_ascii());
    if reply.code == 332 {
        let said = "it wants an account (ACCT), which ftpfs can't give";
        return Err(Error::refused(Why::Login, tried, said));
    }
    // Servers without room for one more connection send 530 too.
    let text = reply.words(Command::User(&login.user));
    let full = ["too many", "maximum", "no more connections", "limit"]
        .iter()
        .any(|words| text.contains(words));
    let why = if full { Why::TooMany } else { Why::Login };
    Err(Error::refused(why, tried, reply.to_string()))
}

/// Sends a command of the login after the reply `before` to the one before it. A reply with the same code, which only the
/// earlier command has, is a second reply to that: it is dropped, and the next one counts. Where none comes, it stands.
fn command_after(
    control: &mut Control,
    command: Command<'_>,
    before: &Reply,
    deadline: &Deadline,
) -> Result<Reply> {
    let mut reply = control.command(command, deadline)?;
    for _ in 0..SURPLUS_REPLIES_LIMIT {
        if reply.code != before.code || !command.is_missed_by(&reply) {
            break;
        }
        log::debug!("control: a second reply to the command before {command} is dropped: {reply}");
        if let Command::Pass(password) = command {
            control.hide_in_reply(password);
        }
        control.expect_one_more();
        // A password may take long to be checked.
        let short = deadline.within(SURPLUS_PATIENCE);
        let patience = match command {
            Command::Pass(_) => deadline,
            _ => &short,
        };
        match control.reply(&command, patience) {
            Err(Error::TimedOut { .. }) => break,
            next => reply = next?,
        }
    }
    Ok(reply)
}

/// Sets what a connection needs. Only a refused `TYPE I` matters: in ASCII type sizes and offsets
/// would be wrong. And a refused `PROT P`, where data must be encrypted. The reply to `asks` is returned, if that was
/// sent.
fn prepare(
    control: &mut Control,
    tls: &Tls,
    profile: &Profile,
    asks: Option<Command<'_>>,
    deadline: &Deadline,
) -> Result<Option<Reply>> {
    let setup = Setup::of(control, tls, profile);
    let asks = asks.filter(|_| control.is_pipelining());
    let flight: Vec<_> = setup.commands().into_iter().chain(asks).collect();
    let mut replies = control.flight(&flight, deadline)?;
    let asked = asks.and_then(|_| replies.pop());
    setup.check(replies, control)?;
    Ok(asked)
}

/// What is to be set on a connection.
#[derive(PartialEq, Eq)]
struct Setup {
    utf8: bool,
    /// The argument of `OPTS` that selects facts.
    facts: Option<String>,
    /// The level of `PROT`, on an encrypted connection.
    protection: Option<char>,
    /// Data may go in clear where the server refuses to encrypt it.
    may_go_in_clear: bool,
}

impl Setup {
    fn of(control: &Control, tls: &Tls, profile: &Profile) -> Self {
        let features = profile.ask(|learned| learned.features.clone());
        let sends_opts = sends_opts(profile);
        let level = if tls.clear_data() { 'C' } else { 'P' };
        Self {
            utf8: features.utf8 && sends_opts,
            facts: features.wanted_facts().filter(|_| sends_opts),
            protection: control.is_encrypted().then_some(level),
            may_go_in_clear: tls.when() == When::Try,
        }
    }

    fn commands(&self) -> Vec<Command<'_>> {
        let mut commands = vec![Command::TypeImage];
        commands.extend(self.utf8.then_some(Command::Opts("UTF8 ON")));
        commands.extend(self.facts.as_deref().map(Command::Opts));
        if let Some(level) = self.protection {
            commands.extend([Command::Pbsz, Command::Prot(level)]);
        }
        commands
    }

    /// Takes the replies to the commands.
    fn check(&self, replies: Vec<Reply>, control: &mut Control) -> Result<()> {
        if let Some((level, reply)) = self.protection.zip(replies.last()) {
            let (wants, agreed) = (level == 'P', reply.is_completion());
            if wants && !agreed && !self.may_go_in_clear {
                return Err(Error::barred(
                    format!("PROT P: the server encrypts no data connections ({reply})"),
                    "use tls=control to allow plaintext data connections",
                ));
            }
            if wants && !agreed {
                log::warn!("PROT P: {reply}; files go in clear, the password does not");
            }
            control.set_protects_data(agreed && wants);
        }
        match replies.first() {
            Some(reply) if !reply.is_completion() => Err(reply.refusal(Command::TypeImage)),
            _ => Ok(()),
        }
    }
}
