//! A small FTP server in threads, with its tree in memory, that does what real servers can't be made to do.
//!
//! It behaves well by itself. Whatever shall go wrong is a *rule*: a beginning of a command line ("STOR", "RETR /a",
//! "" for every command) and an [`Act`], for all that come, for the next one, or for the n-th. Rules can be added and
//! cleared while clients are connected; every command is in a log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helper: its failure is the test's"
)]
// A test program uses some of the acts and questions only.
#![allow(dead_code)]

#[path = "scripted/data.rs"]
mod data;
#[path = "scripted/session.rs"]
mod session;
#[path = "scripted/tree.rs"]
mod tree;

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

pub use tree::{Node, Tree};

pub const USER: &str = "someone";
pub const PASSWORD: &str = "s3cret-word";

/// Longer than anything that a test waits for.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// What is done instead of, or beside, what a good server does. Numbers are bytes over the data connection.
#[derive(Clone, Debug)]
pub enum Act {
    /// Nothing odd: shadows rules that were added before.
    Well,
    /// Answers by these words, and does nothing.
    Reply(&'static str),
    /// Waits, answers by these words, and does nothing.
    SlowReply(Duration, &'static str),
    /// Answers by these bytes, as they are, and does nothing.
    Raw(Vec<u8>),
    /// Does it, and sends these bytes before each of its replies.
    Noise(&'static str),
    /// Does it, and sends its final reply twice.
    Twice,
    /// Does it, and sends its final reply after that to the next command, if that came together with it.
    Swap,
    /// Never answers again on this connection.
    Silence,
    /// Closes the control connection instead of answering.
    HangUp,
    /// Answers, and closes the control connection behind it.
    Farewell(&'static str),
    /// Answers, and never again on this connection.
    LastWord(&'static str),
    /// Does it, and closes the control connection instead of answering.
    Unsaid,
    /// Does it at once, and answers when the gate is open.
    Hold(Gate),
    /// Waits until the gate is open, and then does it.
    Until(Gate),
    /// Waits, and then does it.
    Wait(Duration),
    /// PASV and EPSV: names a port without a listener.
    DeadPort,
    /// PASV: names this address.
    Elsewhere([u8; 4]),
    /// Listings: sends these lines, whatever there is.
    Listing(Vec<u8>),
    /// Listings: sends this line again and again.
    Endless(&'static [u8]),
    /// Transfers: stops after so many bytes, with both connections open.
    Stall(usize),
    /// Transfers: says 426 after so many bytes, and lets the data connection stand.
    Abandon(usize),
    /// Transfers: closes the data connection after so many bytes, and says 426.
    Cut(usize),
    /// Transfers: resets data and control connection after so many bytes.
    CutBoth(usize),
    /// Transfers: takes or sends no more than so many bytes, and says that all is well.
    Short(usize),
    /// Stores: what came before its consent is lost; it ends after so many bytes of what comes then, and says 426.
    LoseEarly(usize),
    /// Transfers: ends after so many bytes, with this reply.
    Refuse(usize, &'static str),
    /// RETR: sends so many bytes a second.
    Pace(usize),
    /// RETR: its kernel takes few bytes beyond those that the client's kernel takes.
    Unbuffered,
    /// RETR: sends so many bytes when the first gate is open, and the others when the second one is.
    Steps(usize, [Gate; 2]),
    /// RETR: where the client breaks it off, says this.
    BrokenOff(&'static str),
    /// REST: begins elsewhere than it is told to, by what this makes of the offset.
    Misplace(fn(usize) -> usize),
    /// Listings: sends two bytes a second, without end. Stores: does it, and says so as slowly.
    Drip,
    /// Transfers: says 150 when all has moved.
    Late,
    /// Transfers: says 150 when it has said that all has moved.
    FinalFirst,
    /// Transfers: does it, and never says 150.
    NoStart,
    /// Transfers: says 150 twice, the second time as a mark within it.
    TwoStarts,
    /// Transfers: does it, says so, and closes the control connection.
    EndSession,
    /// Transfers: does it, and then never says so.
    NoFinal,
    /// Transfers: does it, and says so when the next command has come.
    AwaitNext,
}

/// When a server answers what came together with a transfer's command; a good one does so behind its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hurry {
    /// Before it says yes.
    First,
    /// Before the bytes.
    Second,
    /// Never: it drops them, and says so once while the bytes come, as Pure-FTPd does with what a network parted.
    Dropped,
}

/// Something that a held reply waits for.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let closed = self.0.0.lock().unwrap();
        let _ = self
            .0
            .1
            .wait_timeout_while(closed, WAIT_LIMIT, |open| !*open);
    }
}

struct Rule {
    begins: String,
    skip: usize,
    left: usize,
    act: Act,
}

/// How a server is made.
#[derive(Clone, Debug, Default)]
pub struct Script {
    without: Vec<&'static str>,
    keeps_names: bool,
    forgets: bool,
    ends_flights: bool,
    eager: bool,
    drops_early: bool,
    folds_case: bool,
    awaits: bool,
    lists_left: bool,
    no_size: Option<&'static str>,
    no_parts: Option<&'static str>,
    appe_replaces: bool,
    never_replaces: bool,
    refuses_to_replace: bool,
    one_client: bool,
    names_only: bool,
    hides: &'static str,
    one_port: bool,
    forgets_ports: bool,
    replaces_bytes: bool,
    keeps_iac: bool,
    ipv6: bool,
    says_port: Option<fn(u16) -> String>,
    says_here: Option<fn(&str) -> String>,
    home: &'static str,
}

impl Script {
    pub fn new() -> Self {
        Self {
            home: "/",
            ..Self::default()
        }
    }

    /// These verbs are unknown, and not among the features. "MDTM-SET" is the MDTM that sets times.
    pub fn without(mut self, verbs: &[&'static str]) -> Self {
        self.without.extend(verbs);
        self
    }

    /// RNTO refuses a name that is taken, and RNFR comes once before it, as on ProFTPD.
    pub fn keeps_names(mut self) -> Self {
        self.keeps_names = true;
        self
    }

    /// Names that differ in their case only are the same file's; it keeps the case that it was given.
    pub fn folds_case(mut self) -> Self {
        self.folds_case = true;
        self
    }

    /// Commands that come together end the session, by a 421.
    pub fn ends_flights(mut self) -> Self {
        self.ends_flights = true;
        self
    }

    /// Of commands that come together, all but the first are lost.
    pub fn forgets(mut self) -> Self {
        self.forgets = true;
        self
    }

    /// What came together with a command that stores is answered before its bytes are taken.
    pub fn eager(mut self) -> Self {
        self.eager = true;
        self
    }

    /// Bytes that come before it has said yes are dropped, and their upload never ends.
    pub fn drops_early(mut self) -> Self {
        self.drops_early = true;
        self
    }

    /// After it opened a passive port, it answers nothing until a client connects to it, as Twisted does.
    pub fn awaits(mut self) -> Self {
        self.awaits = true;
        self
    }

    /// LIST knows no switches; it and MLSD list the directory in which it was when its port was asked for, as libunftp does.
    pub fn lists_left(mut self) -> Self {
        self.lists_left = true;
        self
    }

    /// This is what it says to SIZE of what is no file.
    pub fn no_size(mut self, words: &'static str) -> Self {
        self.no_size = Some(words);
        self
    }

    /// This is what it says to who would append to a file, or store a part of it.
    pub fn no_parts(mut self, words: &'static str) -> Self {
        self.no_parts = Some(words);
        self
    }

    /// `APPE` replaces the file, as rclone's FTP server does.
    pub fn appe_replaces(mut self) -> Self {
        self.appe_replaces = true;
        self
    }

    /// `STOR` over a name that is taken stores under another one and says that all is well, as Pure-FTPd does with `-r`.
    pub fn never_replaces(mut self) -> Self {
        self.never_replaces = true;
        self
    }

    /// `STOR` over a name that is taken is refused, as ProFTPD does by default.
    pub fn refuses_to_replace(mut self) -> Self {
        self.refuses_to_replace = true;
        self
    }

    /// A new connection ends those before it, as embedded servers with room for one client do.
    pub fn one_client(mut self) -> Self {
        self.one_client = true;
        self
    }

    /// Commands that change something are refused if they have a path: the server wants CWD and a name.
    pub fn names_only(mut self) -> Self {
        self.names_only = true;
        self
    }

    /// LIST leaves out entries of this name, as IIS does for virtual directories.
    pub fn hides(mut self, name: &'static str) -> Self {
        self.hides = name;
        self
    }

    /// All sessions share one passive port; one that finds it taken ends, as on vsftpd.
    pub fn one_port(mut self) -> Self {
        self.one_port = true;
        self
    }

    /// Any command that is none of a transfer closes the passive port, which the server notices after its 150.
    pub fn forgets_ports(mut self) -> Self {
        self.forgets_ports = true;
        self
    }

    /// Bytes of names that are not UTF-8 become U+FFFD, as on pyftpdlib.
    pub fn replaces_bytes(mut self) -> Self {
        self.replaces_bytes = true;
        self
    }

    /// The byte 255 that Telnet sends twice is stored twice.
    pub fn keeps_iac(mut self) -> Self {
        self.keeps_iac = true;
        self
    }

    /// It is reached by IPv6, where `PASV` and `PORT` have no meaning.
    pub fn ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// This is its reply to `EPSV` and `PASV` with a port.
    pub fn says_port(mut self, words: fn(u16) -> String) -> Self {
        self.says_port = Some(words);
        self
    }

    /// This is its reply to `PWD` in a directory.
    pub fn says_here(mut self, words: fn(&str) -> String) -> Self {
        self.says_here = Some(words);
        self
    }

    /// The directory after a login.
    pub fn home(mut self, home: &'static str) -> Self {
        self.home = home;
        self
    }

    fn host(&self) -> &'static str {
        match self.ipv6 {
            true => "::1",
            false => "127.0.0.1",
        }
    }

    pub fn start(self) -> Server {
        let listener = TcpListener::bind((self.host(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: self,
            tree: Mutex::default(),
            log: Mutex::default(),
            logged: Condvar::new(),
            rules: Mutex::default(),
            hurry: Mutex::default(),
            sockets: Mutex::default(),
            limit: Mutex::new((usize::MAX, "")),
            numbers: AtomicUsize::new(0),
            turns: AtomicUsize::new(0),
            transfers: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            passive_port: AtomicU16::new(0),
            forgets: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let server = Server { shared, address };
        let shared = Arc::clone(&server.shared);
        thread::spawn(move || {
            for socket in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || session::serve(shared, socket.unwrap()));
            }
        });
        server
    }
}

/// A running server; it ends with this value.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    script: Script,
    tree: Mutex<Tree>,
    log: Mutex<Vec<(usize, String)>>,
    logged: Condvar,
    rules: Mutex<Vec<Rule>>,
    hurry: Mutex<Option<Hurry>>,
    /// The control connections, by number.
    sockets: Mutex<HashMap<usize, TcpStream>>,
    /// Connections at most, and what the next one is told.
    limit: Mutex<(usize, &'static str)>,
    numbers: AtomicUsize,
    /// Pieces of commands that came: round trips that a client waited for.
    turns: AtomicUsize,
    /// Data connections that were used.
    transfers: AtomicUsize,
    /// Bytes of files that were handed to the network.
    sent: AtomicUsize,
    /// Commands that were lost.
    lost: AtomicUsize,
    /// Of commands that come together, all but the first are lost.
    forgets: AtomicBool,
    /// The one passive port, once there is one.
    passive_port: AtomicU16,
    stopped: AtomicBool,
}

impl Server {
    pub fn start() -> Self {
        Script::new().start()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL of the directory after the login, with the password.
    pub fn url(&self) -> String {
        format!("ftp://{USER}:{PASSWORD}@{}/", self.address)
    }

    /// What is on the server.
    pub fn tree(&self) -> MutexGuard<'_, Tree> {
        self.shared.tree.lock().unwrap()
    }

    /// The act for every command that begins so. Of several rules the latest counts.
    pub fn on(&self, begins: &str, act: Act) {
        self.rule(begins, 0, usize::MAX, act);
    }

    /// The act for the next command that begins so.
    pub fn once(&self, begins: &str, act: Act) {
        self.rule(begins, 0, 1, act);
    }

    /// The act for the command that begins so after `skip` others did.
    pub fn after(&self, skip: usize, begins: &str, act: Act) {
        self.rule(begins, skip, 1, act);
    }

    fn rule(&self, begins: &str, skip: usize, left: usize, act: Act) {
        let begins = begins.to_owned();
        self.shared.rules.lock().unwrap().push(Rule {
            begins,
            skip,
            left,
            act,
        });
    }

    /// From now on it answers so what comes together with a transfer's command.
    pub fn hurry(&self, when: Hurry) {
        *self.shared.hurry.lock().unwrap() = Some(when);
    }

    /// From now on it loses all but the first of the commands that come together.
    pub fn forget(&self) {
        self.shared.forgets.store(true, Ordering::Relaxed);
    }

    /// From now on it behaves well.
    pub fn behave(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// At most `connections` at once. The next one is told `words`: in its greeting if they are a 421, for its
    /// password if they are a 530.
    pub fn limit(&self, connections: usize, words: &'static str) {
        *self.shared.limit.lock().unwrap() = (connections, words);
    }

    /// Cuts all control connections, as a restart does.
    pub fn hang_up(&self) {
        for socket in self.shared.sockets.lock().unwrap().values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Control connections that are open.
    pub fn connections(&self) -> usize {
        self.shared.sockets.lock().unwrap().len()
    }

    /// Control connections that ever were.
    pub fn connected(&self) -> usize {
        self.shared.numbers.load(Ordering::Relaxed)
    }

    /// Round trips that clients waited for until now, and data connections that were used. What asks for the next
    /// data connection already is none.
    pub fn cost(&self) -> (usize, usize) {
        (
            self.shared.turns.load(Ordering::Relaxed),
            self.shared.transfers.load(Ordering::Relaxed),
        )
    }

    /// Bytes of files that were handed to the network: what clients have read, and what waits for them there.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Commands that were lost, of those that came together.
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// A moment, for [`Self::since`].
    pub fn mark(&self) -> usize {
        self.shared.log.lock().unwrap().len()
    }

    /// The commands that came since, each with the number of its connection.
    pub fn commands_since(&self, mark: usize) -> Vec<(usize, String)> {
        self.shared.log.lock().unwrap()[mark..].to_vec()
    }

    /// Those that came since and begin with one of these words, without their numbers.
    pub fn since(&self, mark: usize, begin: &[&str]) -> Vec<String> {
        let commands = self.commands_since(mark).into_iter();
        let ours = |line: &String| begin.iter().any(|begin| begins(line, begin));
        commands.map(|(_, line)| line).filter(ours).collect()
    }

    /// How many commands ever began so.
    pub fn count(&self, begin: &str) -> usize {
        self.since(0, &[begin]).len()
    }

    /// Waits until so many commands began so.
    pub fn await_count(&self, begin: &str, number: usize) {
        let until = Instant::now() + WAIT_LIMIT / 2;
        let mut log = self.shared.log.lock().unwrap();
        while log.iter().filter(|(_, line)| begins(line, begin)).count() < number {
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{begin} did not come {number} times: {log:#?}"
            );
            log = self.shared.logged.wait_timeout(log, left).unwrap().0;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.hang_up();
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn has(&self, verb: &str) -> bool {
        !self.script.without.contains(&verb)
    }

    fn log(&self, number: usize, line: String) {
        self.log.lock().unwrap().push((number, line));
        self.logged.notify_all();
    }

    /// What is to be done about a command.
    fn act(&self, line: &str) -> Act {
        let mut rules = self.rules.lock().unwrap();
        for rule in rules.iter_mut().rev() {
            if rule.left == 0 || !begins(line, &rule.begins) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.left = rule
                .left
                .saturating_sub(usize::from(rule.left != usize::MAX));
            return rule.act.clone();
        }
        Act::Well
    }

    fn hurries(&self, when: Hurry) -> bool {
        *self.hurry.lock().unwrap() == Some(when)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// Whether a command line begins with these whole words.
fn begins(line: &str, words: &str) -> bool {
    let rest = line.strip_prefix(words);
    rest.is_some_and(|rest| words.is_empty() || rest.is_empty() || rest.starts_with(' '))
}
