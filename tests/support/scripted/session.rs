//! One control connection of the scripted server.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::sleep;

use ftpfs::ftp::protocol::time_val::{format_time_val, parse_time_val};

use super::tree::{self, Kind, MISSING};
use super::{Act, Gate, PASSWORD, Shared, USER};

pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) number: usize,
    pub(super) socket: TcpStream,
    input: BufReader<TcpStream>,
    directory: Vec<u8>,
    user: String,
    logged_in: bool,
    rename_from: Option<Vec<u8>>,
    pub(super) restart: usize,
    pub(super) passive: Option<TcpListener>,
    held: Option<Gate>,
    /// Comes before each reply.
    noise: &'static str,
    unsaid: bool,
    /// The next final reply comes twice.
    doubles: bool,
    /// The next final reply is kept until another one was sent.
    swaps: bool,
    kept: Vec<u8>,
    /// Lines that came together, each with whether it was the first of them.
    came: VecDeque<(Vec<u8>, bool)>,
    /// A transfer was the last thing that was done.
    transferred: bool,
    /// A data connection that was looked at before its command was answered.
    pub(super) accepted: Option<TcpStream>,
    /// Where it was when it was last asked for a port.
    port_made_in: Vec<u8>,
    /// The transfer's 150 comes before its final reply.
    pub(super) is_late: bool,
}

/// More than a flight of commands: what came in one piece is to be seen as one.
const INPUT_SIZE: usize = 64 * 1024;

/// The connection has ended.
pub(super) struct Ended;

pub(super) type Outcome = Result<(), Ended>;

pub(super) fn serve(shared: Arc<Shared>, socket: TcpStream) {
    let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
    socket.set_nodelay(true).unwrap();
    if shared.script.one_client {
        for older in shared.sockets.lock().unwrap().values() {
            let _ = older.shutdown(std::net::Shutdown::Both);
        }
    }
    shared
        .sockets
        .lock()
        .unwrap()
        .insert(number, socket.try_clone().unwrap());
    let mut session = Session {
        number,
        input: BufReader::with_capacity(INPUT_SIZE, socket.try_clone().unwrap()),
        socket,
        directory: shared.script.home.into(),
        user: String::new(),
        logged_in: false,
        rename_from: None,
        restart: 0,
        passive: None,
        held: None,
        noise: "",
        unsaid: false,
        doubles: false,
        swaps: false,
        kept: Vec::new(),
        came: VecDeque::new(),
        transferred: false,
        accepted: None,
        port_made_in: Vec::new(),
        is_late: false,
        shared,
    };
    let _ = session.run();
    let _ = session.socket.shutdown(std::net::Shutdown::Both);
    session.shared.sockets.lock().unwrap().remove(&number);
}

impl Session {
    fn run(&mut self) -> Outcome {
        if let Some(words) = self.over_limit().filter(|words| words.starts_with("421")) {
            return self.say(words);
        }
        self.say("220-a scripted server\r\n220 ready")?;
        loop {
            self.next()?;
        }
    }

    /// Takes the next command.
    fn next(&mut self) -> Outcome {
        let (line, is_first) = self.line()?;
        let text = String::from_utf8_lossy(&line).into_owned();
        let verb = text
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let argument = line.get(verb.len() + 1..).unwrap_or_default().to_vec();
        // A command that prepares the next data connection costs no round trip.
        let is_ahead = self.transferred && matches!(&verb[..], "EPSV" | "PASV");
        if is_first && !is_ahead {
            self.shared.turns.fetch_add(1, Ordering::Relaxed);
        }
        // A command pipelined after a transfer does not end it.
        let is_pipelined = self.transferred && !is_first;
        self.transferred =
            is_pipelined || matches!(&verb[..], "RETR" | "STOR" | "APPE" | "LIST" | "MLSD");
        self.shared.log(self.number, text.clone());
        let act = self.shared.act(&text);
        match act {
            Act::Reply(words) => {
                if verb == "RNTO" {
                    self.rename_from = None;
                }
                self.say(words)
            }
            Act::SlowReply(time, words) => {
                sleep(time);
                self.say(words)
            }
            Act::Raw(bytes) => self.send(&bytes),
            Act::Silence => self.silence(),
            Act::HangUp => Err(Ended),
            Act::Farewell(words) => {
                self.say(words)?;
                Err(Ended)
            }
            Act::LastWord(words) => {
                self.say(words)?;
                self.silence()
            }
            act => {
                match &act {
                    Act::Hold(gate) => self.held = Some(gate.clone()),
                    Act::Until(gate) => gate.pass(),
                    Act::Wait(time) => sleep(*time),
                    Act::Unsaid => self.unsaid = true,
                    Act::Twice => self.doubles = true,
                    Act::Late | Act::FinalFirst | Act::NoStart => self.is_late = true,
                    Act::Swap => self.swaps = !self.came.is_empty(),
                    Act::Noise(noise) => self.noise = noise,
                    _ => {}
                }
                self.obey(&verb, &argument, act)?;
                self.held = None;
                self.is_late = false;
                self.noise = "";
                Ok(())
            }
        }
    }

    /// Drops what came together with the last command, and says so once.
    pub(super) fn drop_pipelined(&mut self) -> Outcome {
        match self.came.drain(..).count() {
            0 => Ok(()),
            _ => self.say("500 Unknown command"),
        }
    }

    /// Answers what came together with the last command.
    pub(super) fn hurry(&mut self) -> Outcome {
        while !self.came.is_empty() {
            self.next()?;
        }
        Ok(())
    }

    fn over_limit(&self) -> Option<&'static str> {
        let (limit, words) = *self.shared.limit.lock().unwrap();
        (self.shared.sockets.lock().unwrap().len() > limit).then_some(words)
    }

    /// The next line, and whether it came in another piece than the one before.
    fn line(&mut self) -> Result<(Vec<u8>, bool), Ended> {
        if self.came.is_empty() {
            let mut is_first = true;
            while is_first || self.input.buffer().contains(&b'\n') {
                let line = self.read_line()?;
                self.came.push_back((line, is_first));
                is_first = false;
            }
            if self.shared.script.ends_flights && self.came.len() > 1 {
                return self.say("421 One by one").and(Err(Ended));
            }
            if self.shared.script.forgets || self.shared.forgets.load(Ordering::Relaxed) {
                let lost = self.came.drain(1..).count();
                self.shared.lost.fetch_add(lost, Ordering::Relaxed);
            }
        }
        self.came.pop_front().ok_or(Ended)
    }

    /// Until more has come than what came together with the last command.
    pub(super) fn await_next(&mut self) {
        let _ = self.input.fill_buf();
    }

    fn read_line(&mut self) -> Result<Vec<u8>, Ended> {
        let mut line = Vec::new();
        match self.input.read_until(b'\n', &mut line) {
            Ok(length) if length > 0 => {}
            _ => return Err(Ended),
        }
        while matches!(line.last(), Some(b'\r' | b'\n')) {
            line.pop();
        }
        // Telnet sends the byte 255 twice.
        if !self.shared.script.keeps_iac {
            line.dedup_by(|one, other| *one == 255 && *other == 255);
        }
        if self.shared.script.replaces_bytes {
            line = String::from_utf8_lossy(&line).into_owned().into_bytes();
        }
        Ok(line)
    }

    pub(super) fn say(&mut self, words: &str) -> Outcome {
        self.send(format!("{words}\r\n").as_bytes())
    }

    fn send(&mut self, bytes: &[u8]) -> Outcome {
        if self.unsaid {
            return Err(Ended);
        }
        if let Some(gate) = self.held.take() {
            gate.pass();
        }
        let mut bytes = [self.noise.as_bytes(), bytes].concat();
        if !bytes.starts_with(b"1") {
            if std::mem::take(&mut self.swaps) {
                self.kept = bytes;
                return Ok(());
            }
            if std::mem::take(&mut self.doubles) {
                bytes.extend_from_within(..);
            }
            bytes.append(&mut self.kept);
        }
        self.socket.write_all(&bytes).map_err(|_| Ended)
    }

    /// Takes what comes and says nothing, until the client goes.
    pub(super) fn silence(&mut self) -> Outcome {
        loop {
            let (line, _) = self.line()?;
            let text = String::from_utf8_lossy(&line).into_owned();
            self.shared.log(self.number, format!("(unheard) {text}"));
        }
    }

    fn path(&self, argument: &[u8]) -> Vec<u8> {
        let mut path = argument.to_vec();
        if !path.starts_with(b"/") {
            let slash: &[u8] = if self.directory == b"/" { b"" } else { b"/" };
            path = [&self.directory, slash, argument].concat();
        }
        while path.len() > 1 && path.last() == Some(&b'/') {
            path.pop();
        }
        path
    }

    /// The file that a command means.
    fn known(&self, argument: &[u8]) -> Vec<u8> {
        let path = self.path(argument);
        if self.shared.script.folds_case {
            self.tree().folded(&path)
        } else {
            path
        }
    }

    fn obey(&mut self, verb: &str, argument: &[u8], act: Act) -> Outcome {
        if !self.shared.has(verb) {
            return self.say("502 Command not implemented");
        }
        let text = String::from_utf8_lossy(argument).into_owned();
        match verb {
            "USER" => {
                self.user = text;
                return self.say("331 Password, please");
            }
            "PASS" => return self.login(&text),
            "QUIT" => return self.say("221 Bye").and(Err(Ended)),
            _ if !self.logged_in => return self.say("530 Please log in"),
            _ => {}
        }
        let changes = ["STOR", "APPE", "MKD", "DELE", "RMD", "RNTO"].contains(&verb);
        if changes && self.shared.script.names_only && argument.contains(&b'/') {
            return self.say("550 Permission denied");
        }
        let uses_port = ["REST", "RETR", "STOR", "APPE", "LIST", "MLSD"].contains(&verb);
        if self.shared.script.forgets_ports && !uses_port {
            self.passive = None;
        }
        let path = self.known(argument);
        match verb {
            "FEAT" => self.features(),
            "OPTS" | "TYPE" | "NOOP" => self.say("200 Fine"),
            "PWD" => {
                let quoted = String::from_utf8_lossy(&self.directory).replace('"', "\"\"");
                if let Some(words) = self.shared.script.says_here {
                    return self.say(&words(&quoted));
                }
                self.say(&format!("257 \"{quoted}\" is where you are"))
            }
            "CWD" => {
                let is_there = self
                    .tree()
                    .node(&path)
                    .is_some_and(|node| node.kind == Kind::Directory);
                if is_there {
                    self.directory = path;
                }
                self.say(if is_there {
                    "250 There you are"
                } else {
                    MISSING
                })
            }
            "EPSV" | "PASV" => self.passive(verb, &act),
            "REST" => {
                self.restart = text.parse().unwrap_or(0);
                if let Act::Misplace(place) = act {
                    self.restart = place(self.restart);
                }
                self.say(&format!("350 Restarting at {text}"))
            }
            "RETR" => self.retrieve(&path, &act),
            "STOR" => self.store(&path, false, &act),
            "APPE" => self.store(&path, true, &act),
            "LIST" | "STAT" | "MLSD" | "MLST" | "SIZE" => self.query(verb, &path, &text, &act),
            "MDTM" => self.time(&text),
            "MFMT" | "SITE" => self.set(verb, &text),
            _ => self.change_names(verb, path, argument),
        }
    }

    /// Listings, and what one name is.
    fn query(&mut self, verb: &str, path: &[u8], text: &str, act: &Act) -> Outcome {
        match verb {
            "LIST" => {
                let listing = match self.shared.script.lists_left {
                    true => self.tree().lines_of(&self.port_made_in, false),
                    false => self.tree().lines_of(&self.directory, text.contains('a')),
                };
                let hidden = format!(" {}\r\n", self.shared.script.hides);
                let is_shown = |line: &&[u8]| !line.ends_with(hidden.as_bytes());
                let lines = listing.split_inclusive(|&byte| byte == b'\n');
                let listing = lines.filter(is_shown).collect::<Vec<_>>().concat();
                self.list(listing, act)
            }
            "STAT" => {
                let (switches, path) = match text.split_once(' ') {
                    Some((switches, path)) if switches.starts_with('-') => (switches, path),
                    _ => ("", text),
                };
                let path = self.path(path.as_bytes());
                let listing = self.tree().lines_of(&path, switches.contains('a'));
                let whole = [
                    &b"213-Status follows:\r\n"[..],
                    &listing,
                    b"213 End of status\r\n",
                ];
                self.send(&whole.concat())
            }
            "MLSD" => {
                let directory = match self.shared.script.lists_left {
                    true => &self.port_made_in,
                    false => &self.directory,
                };
                let listing = self.tree().facts_of(directory);
                self.list(listing, act)
            }
            "MLST" => {
                let facts = self.tree().node(path).map(tree::facts);
                match facts {
                    Some(facts) => self.say(&format!(
                        "250-Facts\r\n {facts} {}\r\n250 End",
                        String::from_utf8_lossy(path)
                    )),
                    None => self.say(MISSING),
                }
            }
            "SIZE" => {
                let size = self.tree().bytes(path).map(<[u8]>::len);
                let none = self.shared.script.no_size.unwrap_or(MISSING);
                self.say(&size.map_or(none.to_owned(), |size| format!("213 {size}")))
            }
            _ => self.say("502 Command not implemented"),
        }
    }

    /// Times and permission bits.
    fn set(&mut self, verb: &str, text: &str) -> Outcome {
        match verb {
            "MFMT" => {
                let (time, name) = text.split_once(' ').unwrap_or_default();
                let changed = self.change(name, |node| {
                    node.modified = parse_time_val(time.as_bytes()).unwrap_or(0)
                });
                self.say(if changed { "213 Set" } else { MISSING })
            }
            "SITE" => match text
                .strip_prefix("CHMOD ")
                .and_then(|rest| rest.split_once(' '))
            {
                Some((mode, name)) => {
                    let changed = self.change(name, |node| {
                        node.mode = u32::from_str_radix(mode, 8).unwrap_or(0)
                    });
                    self.say(if changed { "200 Set" } else { MISSING })
                }
                None => self.say("500 Unknown SITE command"),
            },
            _ => self.say("502 Command not implemented"),
        }
    }

    /// Renaming, removing and directories.
    fn change_names(&mut self, verb: &str, path: Vec<u8>, argument: &[u8]) -> Outcome {
        match verb {
            "RNFR" if self.shared.script.keeps_names && self.rename_from.is_some() => {
                self.say("501 Bad sequence of commands")
            }
            "RNFR" => {
                let is_there = self.tree().node(&path).is_some();
                self.rename_from = is_there.then_some(path);
                self.say(if is_there { "350 To what?" } else { MISSING })
            }
            "RNTO" => {
                let Some(from) = self.rename_from.take() else {
                    return self.say("503 RNFR first");
                };
                // A name of its own may be written in another case.
                let keeps = self.shared.script.keeps_names && path != from;
                let mut tree = self.tree();
                if self.shared.script.folds_case && path != from {
                    let _ = tree.delete(&path);
                }
                let renamed = tree.rename(&from, &self.path(argument), keeps);
                drop(tree);
                self.done(renamed)
            }
            "DELE" => {
                let deleted = self.tree().delete(&path);
                self.done(deleted)
            }
            "MKD" => {
                let made = self.tree().make(&path);
                self.done(made.map(drop))
            }
            "RMD" => {
                let removed = self.tree().unmake(&path);
                self.done(removed)
            }
            _ => self.say("502 Command not implemented"),
        }
    }

    pub(super) fn tree(&self) -> std::sync::MutexGuard<'_, super::Tree> {
        self.shared.tree.lock().unwrap()
    }

    fn done(&mut self, result: Result<(), &str>) -> Outcome {
        self.say(result.err().unwrap_or("250 Done"))
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut super::Node)) -> bool {
        let path = self.known(name.as_bytes());
        self.tree().node_mut(path).map(change).is_some()
    }

    fn login(&mut self, password: &str) -> Outcome {
        if let Some(words) = self.over_limit() {
            return self.say(words).and(Err(Ended));
        }
        self.logged_in = self.user == USER && password == PASSWORD;
        self.say(if self.logged_in {
            "230 Welcome"
        } else {
            "530 Login incorrect"
        })
    }

    fn features(&mut self) -> Outcome {
        let mut lines = String::from("211-Features:\r\n UTF8\r\n");
        for (verb, feature) in [
            ("EPSV", "EPSV"),
            ("MDTM", "MDTM"),
            ("MFMT", "MFMT"),
            ("SIZE", "SIZE"),
            ("REST", "REST STREAM"),
            ("MLST", "MLST type*;size*;modify*;UNIX.mode*;"),
        ] {
            if self.shared.has(verb) {
                lines.push_str(&format!(" {feature}\r\n"));
            }
        }
        self.say(&format!("{lines}211 End"))
    }

    fn time(&mut self, text: &str) -> Outcome {
        let path = self.known(text.as_bytes());
        let asked = self.tree().node(path).map(|node| node.modified);
        if let Some(time) = asked {
            return self.say(&format!(
                "213 {}",
                format_time_val(time).unwrap_or_default()
            ));
        }
        match text
            .split_once(' ')
            .map(|(time, name)| (parse_time_val(time.as_bytes()), name))
        {
            Some((Some(time), name)) if self.shared.has("MDTM-SET") => {
                let changed = self.change(name, |node| node.modified = time);
                self.say(if changed { "213 Set" } else { MISSING })
            }
            _ => self.say(MISSING),
        }
    }

    fn passive(&mut self, verb: &str, act: &Act) -> Outcome {
        self.port_made_in = self.directory.clone();
        self.passive = None;
        let wanted = match self.shared.script.one_port {
            true => self.shared.passive_port.load(Ordering::Relaxed),
            false => 0,
        };
        let Ok(listener) = TcpListener::bind((self.shared.script.host(), wanted)) else {
            self.say("500 OOPS: vsf_sysutil_bind")?;
            return Err(Ended);
        };
        let port = listener
            .local_addr()
            .map_or(0, |address: SocketAddr| address.port());
        self.shared.passive_port.store(port, Ordering::Relaxed);
        // A listener that is dropped leaves a port that refuses.
        self.passive = (!matches!(act, Act::DeadPort)).then_some(listener);
        let [a, b, c, d] = if let Act::Elsewhere(address) = act {
            *address
        } else {
            [127, 0, 0, 1]
        };
        self.say(&match verb {
            _ if self.shared.script.says_port.is_some() => self
                .shared
                .script
                .says_port
                .map_or(String::new(), |words| words(port)),
            "EPSV" => format!("229 Entering Extended Passive Mode (|||{port}|)"),
            _ => format!(
                "227 Entering Passive Mode ({a},{b},{c},{d},{},{})",
                port / 256,
                port % 256
            ),
        })?;
        if self.shared.script.awaits
            && let Some(listener) = &self.passive
        {
            self.accepted = listener.accept().ok().map(|(data, _)| data);
        }
        Ok(())
    }
}
