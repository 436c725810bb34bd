//! The tree of the scripted server: absolute paths to nodes. Changes go by the rules of a Unix file system, as far as
//! clients can tell, and errors are its words.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use ftpfs::ftp::protocol::time_val::format_time_val;

/// When what tests put here was modified, unless they say otherwise: 2021-02-03 04:05:06.
pub const DEFAULT_MTIME: i64 = 1_612_325_106;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File(Vec<u8>),
    Directory,
    Link(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub modified: i64,
}

pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
    /// Seconds by which its clock is ahead of ours.
    clock_ahead: i64,
    /// Holes of more bytes than this hold what the disk held before.
    zeros_limit: Option<usize>,
}

impl Default for Tree {
    fn default() -> Self {
        let mut tree = Self {
            nodes: BTreeMap::new(),
            clock_ahead: 0,
            zeros_limit: None,
        };
        tree.nodes.insert(b"/".to_vec(), directory());
        tree
    }
}

impl Tree {
    /// Sets the clock by which it stores.
    pub fn set_clock_ahead(&mut self, seconds: i64) {
        self.clock_ahead = seconds;
    }

    /// Puts a file here, and the directories above it.
    pub fn put(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        for (slash, _) in path.match_indices('/').skip(1) {
            self.directory(&path[..slash]);
        }
        let node = Node {
            kind: Kind::File(bytes.into()),
            mode: 0o644,
            modified: DEFAULT_MTIME,
        };
        self.nodes.insert(path.into(), node);
    }

    pub fn directory(&mut self, path: &str) {
        self.nodes.entry(path.into()).or_insert_with(directory);
    }

    pub fn link(&mut self, path: &str, target: &'static str) {
        let kind = Kind::Link(target);
        let node = Node {
            kind,
            mode: 0o777,
            modified: DEFAULT_MTIME,
        };
        self.nodes.insert(path.into(), node);
    }

    pub fn remove(&mut self, path: &str) {
        self.nodes.remove(path.as_bytes());
    }

    pub fn node(&self, path: impl AsRef<[u8]>) -> Option<&Node> {
        self.nodes.get(path.as_ref())
    }

    pub fn node_mut(&mut self, path: impl AsRef<[u8]>) -> Option<&mut Node> {
        self.nodes.get_mut(path.as_ref())
    }

    /// The path under which a server that folds case knows this one; the path itself where it knows none.
    pub(super) fn folded(&self, path: &[u8]) -> Vec<u8> {
        let known = self
            .nodes
            .keys()
            .find(|known| known.eq_ignore_ascii_case(path));
        known.map_or(path, |known| known).to_vec()
    }

    /// The bytes of a file.
    pub fn bytes(&self, path: impl AsRef<[u8]>) -> Option<&[u8]> {
        match &self.node(path)?.kind {
            Kind::File(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// All paths but the root's.
    pub fn paths(&self) -> Vec<String> {
        let paths = self.nodes.keys().skip(1);
        paths
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect()
    }

    fn children(&self, directory: &[u8]) -> impl Iterator<Item = (&[u8], &Node)> {
        let mut start = directory.to_vec();
        if start != b"/" {
            start.push(b'/');
        }
        let below = self
            .nodes
            .iter()
            .filter(move |(path, _)| path.starts_with(&start) && path.len() > start.len());
        let cut = if directory == b"/" {
            1
        } else {
            directory.len() + 1
        };
        below
            .map(move |(path, node)| (&path[cut..], node))
            .filter(|(name, _)| !name.contains(&b'/'))
    }

    fn is_directory(&self, path: &[u8]) -> bool {
        self.node(path)
            .is_some_and(|node| node.kind == Kind::Directory)
    }

    /// A file is about to be stored: it is there, and empty unless `keeps`.
    pub(super) fn open(&mut self, path: &[u8], keeps: bool) -> Result<(), &'static str> {
        if !self.is_directory(parent(path)) {
            return Err(MISSING);
        }
        match self.nodes.get_mut(path) {
            Some(node) if node.mode & 0o200 == 0 => return Err("550 Permission denied"),
            Some(Node {
                kind: Kind::File(bytes),
                ..
            }) if !keeps => bytes.clear(),
            Some(Node {
                kind: Kind::File(_),
                ..
            }) => {}
            Some(_) => return Err("550 Is a directory"),
            None => {
                let node = Node {
                    kind: Kind::File(Vec::new()),
                    mode: 0o644,
                    modified: now() + self.clock_ahead,
                };
                self.nodes.insert(path.to_vec(), node);
            }
        }
        Ok(())
    }

    /// From now on larger holes than this hold other bytes than zeros.
    pub fn fill_holes_over(&mut self, bytes: usize) {
        self.zeros_limit = Some(bytes);
    }

    pub(super) fn write(&mut self, path: &[u8], offset: usize, part: &[u8]) {
        if let Some(Node {
            kind: Kind::File(bytes),
            modified,
            ..
        }) = self.nodes.get_mut(path)
        {
            let is_old = self
                .zeros_limit
                .is_some_and(|limit| offset > bytes.len() + limit);
            let between = if is_old { b'?' } else { 0 };
            bytes.resize(bytes.len().max(offset + part.len()), between);
            bytes[offset..offset + part.len()].copy_from_slice(part);
            *modified = now() + self.clock_ahead;
        }
    }

    pub(super) fn delete(&mut self, path: &[u8]) -> Result<(), &'static str> {
        match self.nodes.get(path) {
            None => Err(MISSING),
            Some(node) if node.kind == Kind::Directory => Err("550 Is a directory"),
            Some(_) => self.nodes.remove(path).map(drop).ok_or(MISSING),
        }
    }

    pub(super) fn make(&mut self, path: &[u8]) -> Result<(), &'static str> {
        if self.nodes.contains_key(path) {
            return Err("550 File exists");
        }
        if !self.is_directory(parent(path)) {
            return Err(MISSING);
        }
        self.nodes.insert(path.to_vec(), directory());
        Ok(())
    }

    pub(super) fn unmake(&mut self, path: &[u8]) -> Result<(), &'static str> {
        if !self.is_directory(path) {
            return Err(if self.nodes.contains_key(path) {
                "550 Not a directory"
            } else {
                MISSING
            });
        }
        if self.children(path).next().is_some() {
            return Err("550 Directory not empty");
        }
        self.nodes.remove(path);
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        from: &[u8],
        to: &[u8],
        keeps: bool,
    ) -> Result<(), &'static str> {
        if !self.nodes.contains_key(from) || !self.is_directory(parent(to)) {
            return Err(MISSING);
        }
        if keeps && self.nodes.contains_key(to) {
            return Err("553 Cannot replace");
        }
        if self.children(to).next().is_some() {
            return Err("550 Directory not empty");
        }
        let inside =
            |path: &[u8]| path == from || path.starts_with(from) && path[from.len()] == b'/';
        let moved: Vec<Vec<u8>> = self
            .nodes
            .keys()
            .filter(|path| inside(path))
            .cloned()
            .collect();
        for path in moved {
            let node = self.nodes.remove(&path);
            node.map(|node| self.nodes.insert([to, &path[from.len()..]].concat(), node));
        }
        Ok(())
    }

    /// As MLSD lists it.
    pub(super) fn facts_of(&self, directory: &[u8]) -> Vec<u8> {
        let lines = self
            .children(directory)
            .map(|(name, node)| [facts(node).as_bytes(), b" ", name, b"\r\n"].concat());
        lines.collect::<Vec<_>>().concat()
    }

    /// As `ls -l` lists it, hidden files and the directory itself `all`.
    pub(super) fn lines_of(&self, directory: &[u8], all: bool) -> Vec<u8> {
        let mut lines = Vec::new();
        let itself = self.node(directory).filter(|_| all);
        lines.extend(itself.map(|node| line(b".", node)));
        let children = self
            .children(directory)
            .filter(|(name, _)| all || !name.starts_with(b"."));
        lines.extend(children.map(|(name, node)| line(name, node)));
        lines.concat()
    }
}

pub(super) const MISSING: &str = "550 No such file or directory";

pub(super) fn facts(node: &Node) -> String {
    let stamp = format_time_val(node.modified).unwrap_or_default();
    let (kind, size) = match &node.kind {
        Kind::File(bytes) => ("file".to_owned(), format!("size={};", bytes.len())),
        Kind::Directory => ("dir".to_owned(), String::new()),
        Kind::Link(target) => (format!("OS.unix=slink:{target}"), String::new()),
    };
    format!(
        "type={kind};{size}modify={stamp};UNIX.mode=0{:o};",
        node.mode
    )
}

fn line(name: &[u8], node: &Node) -> Vec<u8> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let stamp = format_time_val(node.modified).unwrap_or_default();
    let month = MONTHS[stamp[4..6].parse::<usize>().unwrap_or(1) - 1];
    let recent = (0..180 * 86_400).contains(&(now() - node.modified));
    let time = if recent {
        format!("{}:{}", &stamp[8..10], &stamp[10..12])
    } else {
        stamp[..4].to_owned()
    };
    let (letter, size, target) = match &node.kind {
        Kind::File(bytes) => ('-', bytes.len(), String::new()),
        Kind::Directory => ('d', 4096, String::new()),
        Kind::Link(target) => ('l', target.len(), format!(" -> {target}")),
    };
    let rights: String = (0..9)
        .map(|bit| {
            if node.mode & 0o400 >> bit == 0 {
                '-'
            } else {
                ['r', 'w', 'x'][bit % 3]
            }
        })
        .collect();
    let head = format!(
        "{letter}{rights} 1 owner group {size:8} {month} {} {time:>5} ",
        &stamp[6..8]
    );
    [head.as_bytes(), name, target.as_bytes(), b"\r\n"].concat()
}

fn directory() -> Node {
    Node {
        kind: Kind::Directory,
        mode: 0o755,
        modified: DEFAULT_MTIME,
    }
}

fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(0) | None => b"/",
        Some(slash) => &path[..slash],
    }
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}
