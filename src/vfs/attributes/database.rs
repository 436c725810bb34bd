//! The attributes that mounts keep, in an SQLite database of the user.
//!
//! One row for each path of a server and login, with the number of the transaction that wrote it: of two mounts that
//! change one file the later writer wins. A row that keeps nothing any more stays for a day, so that other mounts hear of
//! it. The database is private (`PrivateDir`); it holds names, but no content and no password.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::fcntl::OFlag;
use nix::sys::statfs;
use rusqlite::types::ValueRef;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior,
    params,
};

use crate::process::private_dir::PrivateDir;
use crate::remote::{Modified, Precision};
use crate::vfs::inode::kept::{Kept, KeptMode, KeptTime, Seen, Timestamp};
use crate::vfs::inode::overlay::{Changes, NameChange};

/// The file in the state directory.
const FILE: &str = "attributes.db";
/// The form of the tables.
const FORM: i64 = 1;
/// How long a transaction waits for those of other mounts.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before the database is opened again.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Seconds that a row stays which keeps nothing any more.
const GONE_SECONDS: i64 = 24 * 3600;
/// Rows that are kept of all servers. The oldest go first, but none that narrows a mode or changes an owner.
const MAX_ROWS: i64 = 1_000_000;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS counter (last INTEGER NOT NULL);
INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counter);
CREATE TABLE IF NOT EXISTS entries (
    server BLOB NOT NULL, path BLOB NOT NULL, change INTEGER NOT NULL,
    gone_at INTEGER, protective INTEGER NOT NULL,
    mode INTEGER, uid INTEGER, gid INTEGER,
    modified INTEGER, modified_nanos INTEGER,
    accessed INTEGER, accessed_nanos INTEGER,
    changed INTEGER, changed_nanos INTEGER,
    seen_size INTEGER, seen_time INTEGER, seen_precision INTEGER,
    extended BLOB,
    PRIMARY KEY (server, path)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_change ON entries (server, change);
";
const COLUMNS: &str =
    "mode, uid, gid, modified, modified_nanos, accessed, accessed_nanos, changed, changed_nanos,
    seen_size, seen_time, seen_precision, extended";

/// A connection to the database, for one mount.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    /// Server and login.
    server: Vec<u8>,
    /// The last transaction whose rows were read.
    read_until: i64,
    /// SQLite's number of the last commit by other connections.
    seen_commit: i64,
}

/// Takes a path on the server, absolute, and what is kept there; returns whether it takes more.
pub(crate) type Each<'a> = &'a mut dyn FnMut(Vec<u8>, Option<Kept>) -> bool;

impl Database {
    /// Opens the database in `directory`, and makes what is missing.
    pub(crate) fn open(directory: &Path, server: Vec<u8>) -> Result<Self, String> {
        let private = PrivateDir::make(directory).map_err(|error| error.to_string())?;
        check_file_system(private.path()).map_err(|error| error.to_string())?;
        // SQLite's other files get the same rights.
        private
            .open(FILE, OFlag::O_RDWR | OFlag::O_CREAT)
            .map_err(|error| error.to_string())?;
        let file = private.path().join(FILE);
        let until = Instant::now() + BUSY_TIMEOUT;
        loop {
            match Self::connect(&file, server.clone()) {
                // SQLite does not wait itself where several mounts make the database at once.
                Err(error) if is_busy(&error) && Instant::now() < until => {
                    std::thread::sleep(BUSY_PAUSE);
                }
                connected => return connected.map_err(|error| error.to_string()),
            }
        }
    }

    fn connect(path: &Path, server: Vec<u8>) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // A crash of the machine may lose the last seconds, but never the file.
        connection.pragma_update(None, "synchronous", "normal")?;
        let form: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if form > FORM {
            return Err(rusqlite::Error::InvalidQuery);
        }
        let writing = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        writing.execute_batch(TABLES)?;
        writing.pragma_update(None, "user_version", FORM)?;
        prune(&writing)?;
        writing.commit()?;
        let mut database = Self {
            connection,
            server,
            read_until: 0,
            seen_commit: 0,
        };
        database.seen_commit = database.last_commit()?;
        Ok(database)
    }

    fn last_commit(&self) -> rusqlite::Result<i64> {
        let pragma = "data_version";
        self.connection
            .pragma_query_value(None, pragma, |row| row.get(0))
    }

    /// Gives the entries at and below `root` to `each`, those that must not be lost first, until that returns false.
    pub(crate) fn load(&mut self, root: &[u8], each: Each<'_>) -> rusqlite::Result<()> {
        let order = "protective DESC, change DESC";
        self.select(root, 0, "gone_at IS NULL", order, each)
    }

    /// Gives what other mounts have changed at and below `root` since the last time to `each`.
    pub(crate) fn news(&mut self, root: &[u8], each: Each<'_>) -> rusqlite::Result<()> {
        let commit = self.last_commit()?;
        if commit == self.seen_commit {
            return Ok(());
        }
        self.seen_commit = commit;
        self.select(root, self.read_until, "1", "change", each)
    }

    fn select(
        &mut self,
        root: &[u8],
        after: i64,
        condition: &str,
        order: &str,
        each: Each<'_>,
    ) -> rusqlite::Result<()> {
        let (below, beyond) = subtree(root);
        let query = format!(
            "SELECT path, gone_at, change, {COLUMNS} FROM entries
             WHERE server = ?1 AND change > ?2 AND (path = ?3 OR path > ?4 AND path < ?5) AND {condition}
             ORDER BY {order}"
        );
        let mut until = self.read_until;
        let mut statement = self.connection.prepare(&query)?;
        let mut rows = statement.query(params![self.server, after, root, below, beyond])?;
        while let Some(row) = rows.next()? {
            until = until.max(row.get(2)?);
            let is_gone = row.get::<_, Option<i64>>(1)?.is_some();
            let kept = kept_of(row)?;
            if !each(row.get(0)?, (!is_gone).then_some(kept)) {
                break;
            }
        }
        self.read_until = until;
        Ok(())
    }

    /// Writes changes in one transaction; their paths are absolute.
    pub(crate) fn write(&mut self, changes: &Changes) -> rusqlite::Result<()> {
        let server = &self.server;
        let writing = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let change: i64 = writing.query_row(
            "UPDATE counter SET last = last + 1 RETURNING last",
            [],
            |row| row.get(0),
        )?;
        for name in &changes.names {
            match name {
                NameChange::Removed(path) => {
                    for path in paths_below(&writing, server, path)? {
                        put(&writing, server, &path, change, None)?;
                    }
                }
                NameChange::Renamed(from, to) => {
                    for path in paths_below(&writing, server, from)? {
                        let rest = path.get(from.len()..).unwrap_or_default();
                        let new = [to, rest].concat();
                        copy(&writing, server, &path, &new, change)?;
                        put(&writing, server, &path, change, None)?;
                    }
                }
            }
        }
        for (path, kept) in &changes.entries {
            put(&writing, server, path, change, kept.as_ref())?;
        }
        for (path, kept) in &changes.seen {
            let query = "SELECT change FROM entries WHERE server = ?1 AND path = ?2";
            let row = writing.query_row(query, params![server, path], |row| row.get::<_, i64>(0));
            // What another mount has written since is newer.
            if row.optional()?.is_some_and(|last| last <= self.read_until) {
                put(&writing, server, path, change, Some(kept))?;
            }
        }
        writing.commit()?;
        // Nothing of others lies between.
        if change == self.read_until + 1 {
            self.read_until = change;
        }
        Ok(())
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// The bounds of what lies below a path, both exclusive.
fn subtree(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([path, b"/"].concat(), [path, b"0"].concat())
}

/// Drops what is too old, and what is too much.
fn prune(writing: &Transaction<'_>) -> rusqlite::Result<()> {
    writing.execute(
        "DELETE FROM entries WHERE gone_at < ?1",
        [now() - GONE_SECONDS],
    )?;
    let rows: i64 = writing.query_row("SELECT count(*) FROM entries", [], |row| row.get(0))?;
    if rows > MAX_ROWS {
        writing.execute(
            "DELETE FROM entries WHERE (server, path) IN
             (SELECT server, path FROM entries WHERE NOT protective ORDER BY change LIMIT ?1)",
            [rows - MAX_ROWS],
        )?;
    }
    Ok(())
}

fn paths_below(
    writing: &Transaction<'_>,
    server: &[u8],
    path: &[u8],
) -> rusqlite::Result<Vec<Vec<u8>>> {
    let (below, beyond) = subtree(path);
    let mut statement = writing.prepare_cached(
        "SELECT path FROM entries WHERE server = ?1 AND gone_at IS NULL
         AND (path = ?2 OR path > ?3 AND path < ?4)",
    )?;
    let rows = statement.query_map(params![server, path, below, beyond], |row| row.get(0))?;
    rows.collect()
}

fn copy(
    writing: &Transaction<'_>,
    server: &[u8],
    from: &[u8],
    to: &[u8],
    change: i64,
) -> rusqlite::Result<()> {
    let copied = format!(
        "INSERT OR REPLACE INTO entries (server, path, change, gone_at, protective, {COLUMNS})
         SELECT server, ?3, ?4, NULL, protective, {COLUMNS} FROM entries WHERE server = ?1 AND path = ?2"
    );
    writing
        .prepare_cached(&copied)?
        .execute(params![server, from, to, change])?;
    Ok(())
}

fn put(
    writing: &Transaction<'_>,
    server: &[u8],
    path: &[u8],
    change: i64,
    kept: Option<&Kept>,
) -> rusqlite::Result<()> {
    let gone_at = kept.is_none().then(now);
    let nothing = Kept::default();
    let kept = kept.unwrap_or(&nothing);
    let inserted = format!(
        "INSERT OR REPLACE INTO entries (server, path, change, gone_at, protective, {COLUMNS})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)"
    );
    let seconds = |at: Option<Timestamp>| at.map(|at| at.seconds);
    let nanos = |at: Option<Timestamp>| at.map(|at| at.nanos);
    let seen = kept.seen;
    writing.prepare_cached(&inserted)?.execute(params![
        server,
        path,
        change,
        gone_at,
        kept.is_protective(),
        kept.mode.map(mode_number),
        kept.uid,
        kept.gid,
        seconds(kept.modified.map(KeptTime::moment)),
        kept.modified.map(nanos_number),
        seconds(kept.accessed),
        nanos(kept.accessed),
        seconds(kept.changed),
        nanos(kept.changed),
        seen.size.and_then(|size| i64::try_from(size).ok()),
        seen.modified.map(|modified| modified.seconds),
        seen.modified
            .map(|modified| precision_number(modified.precision)),
        packed(kept),
    ])?;
    Ok(())
}

/// Marks a time of our own change; above the nanoseconds themselves.
const LOCAL: u32 = 1 << 31;

fn nanos_number(time: KeptTime) -> u32 {
    match time {
        KeptTime::Set(at) => at.nanos,
        KeptTime::Local(at) => at.nanos | LOCAL,
    }
}

/// Marks permission bits that the server accepted; above the bits themselves.
const ACCEPTED: u32 = 1 << 16;

fn mode_number(mode: KeptMode) -> u32 {
    match mode {
        KeptMode::Accepted(bits) => bits | ACCEPTED,
        KeptMode::Refused(bits) => bits,
    }
}

fn precision_number(precision: Precision) -> i64 {
    match precision {
        // It is never one that the server had.
        Precision::Local | Precision::Day => 0,
        Precision::Minute => 1,
        Precision::Second => 2,
    }
}

/// The entry in a row of [`COLUMNS`] behind the first three. Numbers out of range are those of nothing kept.
fn kept_of(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let number = |column: usize| row.get::<_, Option<i64>>(column);
    let small = |column: usize| -> rusqlite::Result<Option<u32>> {
        Ok(number(column)?.and_then(|number| u32::try_from(number).ok()))
    };
    let moment = |column: usize| -> rusqlite::Result<Option<Timestamp>> {
        let nanos = small(column + 1)?.filter(|&nanos| nanos < 1_000_000_000);
        let seconds = number(column)?;
        Ok(seconds
            .zip(nanos)
            .map(|(seconds, nanos)| Timestamp { seconds, nanos }))
    };
    let modified = number(6)?.zip(small(7)?).map(|(seconds, nanos)| {
        let at = Timestamp {
            seconds,
            nanos: nanos & !LOCAL,
        };
        match nanos & LOCAL {
            0 => KeptTime::Set(at),
            _ => KeptTime::Local(at),
        }
    });
    let modified = modified.filter(|kept| kept.moment().nanos < 1_000_000_000);
    let mode = small(3)?.map(|number| match number & ACCEPTED {
        0 => KeptMode::Refused(number & 0o7777),
        _ => KeptMode::Accepted(number & 0o7777),
    });
    let precision = match number(14)? {
        Some(0) => Precision::Day,
        Some(1) => Precision::Minute,
        _ => Precision::Second,
    };
    Ok(Kept {
        mode,
        uid: small(4)?,
        gid: small(5)?,
        modified,
        accessed: moment(8)?,
        changed: moment(10)?,
        seen: Seen {
            size: number(12)?.and_then(|size| u64::try_from(size).ok()),
            modified: number(13)?.map(|seconds| Modified { seconds, precision }),
        },
        extended: match row.get_ref(15)? {
            ValueRef::Blob(bytes) => unpacked(bytes),
            _ => Default::default(),
        },
    })
}

/// The extended attributes: name and value in turn, each behind its length in four bytes.
fn packed(kept: &Kept) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for part in kept.extended.iter().flat_map(|(name, value)| [name, value]) {
        let length = u32::try_from(part.len()).ok()?;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(part);
    }
    (!bytes.is_empty()).then_some(bytes)
}

fn unpacked(mut bytes: &[u8]) -> std::collections::BTreeMap<Box<[u8]>, Box<[u8]>> {
    let mut part = || -> Option<Box<[u8]>> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let part = rest.get(..length)?.into();
        bytes = rest.get(length..)?;
        Some(part)
    };
    std::iter::from_fn(|| part().zip(part())).collect()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// Refuses file systems on which locks or shared memory can't be relied on: a network file system, or a mount of this
/// program.
fn check_file_system(path: &Path) -> io::Result<()> {
    const REMOTE: &[statfs::FsType] = &[
        statfs::NFS_SUPER_MAGIC,
        statfs::SMB_SUPER_MAGIC,
        statfs::FUSE_SUPER_MAGIC,
        statfs::AFS_SUPER_MAGIC,
        statfs::CODA_SUPER_MAGIC,
        // CIFS, SMB2, Ceph, 9P.
        statfs::FsType(0xFF53_4D42_u32 as _),
        statfs::FsType(0xFE53_4D42_u32 as _),
        statfs::FsType(0x00C3_6400),
        statfs::FsType(0x0102_1997),
    ];
    let kind = statfs::statfs(path)?.filesystem_type();
    if REMOTE.contains(&kind) {
        return Err(io::Error::other(format!(
            "{} is on a network file system",
            path.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(uid: u32) -> Kept {
        let moment = |nanos| Some(Timestamp { seconds: -5, nanos });
        Kept {
            mode: Some(KeptMode::Accepted(0o4751)),
            uid: Some(uid),
            gid: None,
            modified: moment(1).map(KeptTime::Local),
            accessed: moment(2),
            changed: moment(3),
            extended: [(b"user.a"[..].into(), b"\0value"[..].into())].into(),
            seen: Seen {
                size: Some(7),
                modified: Some(Modified {
                    seconds: 9,
                    precision: Precision::Minute,
                }),
            },
        }
    }

    type Entry = (Vec<u8>, Option<Kept>);

    fn loaded(database: &mut Database, root: &[u8]) -> Vec<Entry> {
        let mut all = Vec::new();
        let mut each = |path, kept| {
            all.push((path, kept));
            true
        };
        database.load(root, &mut each).expect("loaded");
        all
    }

    fn news(database: &mut Database) -> Vec<Entry> {
        let mut all = Vec::new();
        let mut each = |path, kept| {
            all.push((path, kept));
            true
        };
        database.news(b"", &mut each).expect("news");
        all
    }

    fn entry(path: &[u8], kept: Kept) -> Entry {
        (path.to_vec(), Some(kept))
    }

    fn written(names: Vec<NameChange>, entries: Vec<Entry>) -> Changes {
        Changes {
            names,
            entries,
            seen: Vec::new(),
        }
    }

    #[test]
    fn entries_come_back_as_they_were_for_their_server_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = |server: &[u8]| Database::open(directory.path(), server.to_vec()).expect("open");
        let mut one = open(b"one");
        let all = vec![entry(b"/a/b", kept(1)), entry(b"/a\xffc", kept(2))];
        one.write(&written(Vec::new(), all.clone()))
            .expect("written");
        let mut again = open(b"one");
        let mut all_again = loaded(&mut again, b"");
        all_again.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(all_again, all);
        assert_eq!(loaded(&mut again, b"/a"), all[..1]);
        assert_eq!(loaded(&mut open(b"two"), b""), []);
    }

    #[test]
    fn another_connection_hears_of_changes_removals_and_renames() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || Database::open(directory.path(), b"s".to_vec()).expect("open");
        let (mut one, mut other) = (open(), open());
        let all = vec![
            entry(b"/d/a", kept(1)),
            entry(b"/d", kept(2)),
            entry(b"/x", kept(3)),
        ];
        one.write(&written(Vec::new(), all)).expect("written");
        assert_eq!(news(&mut other).len(), 3);
        assert_eq!(news(&mut other), []);
        let names = vec![
            NameChange::Removed(b"/x".to_vec()),
            NameChange::Renamed(b"/d".to_vec(), b"/e".to_vec()),
        ];
        one.write(&written(names, Vec::new())).expect("written");
        let mut heard = news(&mut other);
        heard.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            (b"/d".to_vec(), None),
            (b"/d/a".to_vec(), None),
            entry(b"/e", kept(2)),
            entry(b"/e/a", kept(1)),
            (b"/x".to_vec(), None),
        ];
        assert_eq!(heard, expected);
    }

    #[test]
    fn database_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let mut database = Database::open(&state, b"s".to_vec()).expect("open");
        database
            .write(&written(Vec::new(), vec![entry(b"/a", kept(1))]))
            .expect("written");
        for file in std::fs::read_dir(&state).expect("a directory") {
            let file = file.expect("an entry");
            let mode = file.metadata().expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
        }
    }
}
