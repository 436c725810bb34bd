//! Implements `fuser::Filesystem`: unpacks the kernel's requests and sends the replies.
//!
//! What memory can answer is answered in FUSE's own loop, which never waits for the server. Everything else moves
//! to a worker together with its reply and a deadline that starts now.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::fuse::kernel_notify::KernelNotifier;
use crate::fuse::reply::{
    attribute, attributes, caller, creator, data, done, entry, errno, file_attr, filled,
    is_in_group, is_owner_or_root, new_time, open_flags,
};
use crate::fuse::worker_pool::{Class, Workers};
use crate::mount::query::{DROP_CACHE, FORCE, FORGET_SERVER, MAKE_WRITABLE};
use crate::remote::Deadline;
use crate::vfs::{Before, Changes, Result, Spot, Vfs, Wants};

/// Maximum number of background requests (readahead) that the kernel sends at once.
const MAX_BACKGROUND: u16 = 64;

/// Answers queries about the mount (`mount/query.rs`).
pub trait QueryHandler: Send + Sync {
    /// Returns the status, as text or in JSON. Must not block.
    fn status(&self, json: bool) -> String;
    /// Drops all caches, those of the kernel too, and with `server` what was learned of the server.
    fn drop_cache(&self, server: bool);
    /// Has a read-only mount change files on the server from now on; false where it can't, with the reason in the
    /// log.
    fn make_writable(&self) -> bool;
    /// Ends the mount by force; returns how many open files have content that the server lacks. Must not block.
    fn force_end(&self) -> usize;
}

/// Handles the requests of the kernel.
pub(crate) struct Adapter {
    pub(crate) vfs: Arc<Vfs>,
    workers: Workers,
    notifier: Arc<KernelNotifier>,
    pub(crate) queries: Arc<dyn QueryHandler>,
    /// A request of a query is carried out on a thread of its own.
    pub(crate) is_changing: Arc<AtomicBool>,
}

impl Adapter {
    /// Creates the handler of file system requests (`vfs`) and of queries (`queries`).
    pub(crate) fn new(
        vfs: Arc<Vfs>,
        notifier: Arc<KernelNotifier>,
        queries: Arc<dyn QueryHandler>,
    ) -> Self {
        Self {
            vfs,
            workers: Workers::default(),
            notifier,
            queries,
            is_changing: Arc::default(),
        }
    }

    /// Runs a job that may block on a worker. Until it is done the kernel holds locks of the inodes
    /// `held`, which it would need for a notification too.
    pub(crate) fn later(
        &self,
        class: Class,
        held: &[u64],
        job: impl FnOnce(&Vfs, &Deadline) + Send + 'static,
    ) {
        let deadline = self.vfs.deadline();
        let vfs = Arc::clone(&self.vfs);
        let busy = self.notifier.busy(held);
        self.workers.submit(class, move || {
            job(&vfs, &deadline);
            drop(busy);
        });
    }

    /// Stores a file on a worker. If it was merged with bytes of other clients, the kernel's size of it is
    /// invalidated.
    fn store_later(
        &self,
        operation: &'static str,
        held: &[u64],
        (ino, handle): (u64, u64),
        reply: ReplyEmpty,
        store: impl FnOnce(&Vfs, &Deadline) -> Result<()> + Send + 'static,
    ) {
        let notifier = Arc::clone(&self.notifier);
        self.later(Class::Transfer, held, move |vfs, deadline| {
            let stored = store(vfs, deadline);
            notifier.invalidate_attributes(ino, vfs.has_mixed(handle));
            done(operation, reply, stored)
        });
    }

    fn open_later(&self, ino: u64, flags: i32, reply: ReplyOpen) {
        let notifier = Arc::clone(&self.notifier);
        self.later(Class::Metadata, &[ino], move |vfs, deadline| {
            match vfs.open(ino, Wants::from_flags(flags), deadline) {
                Ok(open) => {
                    // The reply to open has no size, and the kernel cuts reads at the one it knows.
                    notifier.invalidate_attributes(ino, open.changed);
                    reply.opened(FileHandle(open.handle), open_flags(open, flags));
                }
                Err(error) => reply.error(errno("open", &error)),
            }
        });
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let wanted = [
            // Listings include the attributes as long as programs look at them: without, a million names would be a
            // million inodes of the kernel.
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            // open(2) with O_TRUNC is a single request.
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            // A changed size or time drops the kernel's pages.
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ];
        for capability in wanted {
            // Optional: a kernel without one of them is slower.
            let _ = config.add_capabilities(capability);
        }
        let _ = config.set_max_background(MAX_BACKGROUND);
        let _ = config.set_time_granularity(Duration::from_nanos(1));
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let known = self.vfs.lookup_cached(parent.0, name.as_bytes());
        self.vfs.tallies.names.note(known.is_some());
        if let Some(known) = known {
            return entry("lookup", reply, known);
        }
        let name = name.to_owned();
        self.later(Class::Metadata, &[parent.0], move |vfs, deadline| {
            entry(
                "lookup",
                reply,
                vfs.lookup(parent.0, name.as_bytes(), deadline),
            );
        });
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.vfs.forget(ino.0, nlookup);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let known = self.vfs.getattr_cached(ino.0);
        self.vfs.tallies.names.note(known.is_some());
        if let Some(known) = known {
            return attributes("getattr", reply, known);
        }
        self.later(Class::Metadata, &[], move |vfs, deadline| {
            attributes("getattr", reply, vfs.getattr(ino.0, deadline));
        });
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changes = Changes {
            mode,
            uid,
            gid,
            size,
            accessed: atime.map(new_time),
            modified: mtime.map(new_time),
        };
        let handle = fh.map(|fh| fh.0);
        let (caller, process) = (caller(req), req.pid());
        self.later(Class::Metadata, &[ino.0], move |vfs, deadline| {
            attributes(
                "setattr",
                reply,
                vfs.setattr(
                    ino.0,
                    handle,
                    changes,
                    (caller, &|group| is_in_group(caller, process, group)),
                    deadline,
                ),
            );
        });
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        self.later(Class::Metadata, &[ino.0], move |vfs, deadline| {
            data("readlink", reply, vfs.readlink(ino.0, deadline));
        });
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        if mode & libc::S_IFMT != libc::S_IFREG {
            return reply.error(Errno::EPERM);
        }
        let name = name.to_owned();
        let creator = creator(req, mode);
        self.later(Class::Transfer, &[parent.0], move |vfs, deadline| {
            let wants = Wants {
                write: true,
                truncate: false,
                exclusive: true,
            };
            let made = vfs.create(parent.0, name.as_bytes(), creator, wants, deadline);
            let made = made.map(|(attr, open)| {
                vfs.release(open.handle, deadline);
                attr
            });
            entry("mknod", reply, made);
        });
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let name = name.to_owned();
        let creator = creator(req, mode);
        self.later(Class::Metadata, &[parent.0], move |vfs, deadline| {
            entry(
                "mkdir",
                reply,
                vfs.mkdir(parent.0, name.as_bytes(), creator, deadline),
            );
        });
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.later(Class::Metadata, &[parent.0], move |vfs, deadline| {
            done(
                "unlink",
                reply,
                vfs.unlink(parent.0, name.as_bytes(), deadline),
            );
        });
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.later(Class::Metadata, &[parent.0], move |vfs, deadline| {
            done(
                "rmdir",
                reply,
                vfs.rmdir(parent.0, name.as_bytes(), deadline),
            );
        });
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !RenameFlags::RENAME_NOREPLACE.contains(flags) {
            return reply.error(Errno::EINVAL);
        }
        let keep = flags.contains(RenameFlags::RENAME_NOREPLACE);
        let (name, newname) = (name.to_owned(), newname.to_owned());
        self.later(
            Class::Metadata,
            &[parent.0, newparent.0],
            move |vfs, deadline| {
                let (from, to) = (
                    (parent.0, name.as_bytes()),
                    (newparent.0, newname.as_bytes()),
                );
                done("rename", reply, vfs.rename(from, to, keep, deadline));
            },
        );
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &std::path::Path,
        reply: ReplyEntry,
    ) {
        let (name, target) = (link_name.to_owned(), target.as_os_str().to_owned());
        let creator = creator(req, 0);
        self.later(Class::Metadata, &[parent.0], move |vfs, deadline| {
            let made = vfs.symlink(
                parent.0,
                name.as_bytes(),
                target.as_bytes(),
                creator,
                deadline,
            );
            entry("symlink", reply, made);
        });
    }

    fn link(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _newparent: INodeNo,
        _newname: &OsStr,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.open_later(ino.0, flags.0, reply);
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let name = name.to_owned();
        let wants = Wants::from_flags(flags);
        let creator = creator(req, mode);
        self.later(
            Class::Metadata,
            &[parent.0],
            move |vfs, deadline| match vfs.create(
                parent.0,
                name.as_bytes(),
                creator,
                wants,
                deadline,
            ) {
                Ok((attr, open)) => {
                    let handle = FileHandle(open.handle);
                    reply.created(
                        &attr.ttl,
                        &file_attr(&attr),
                        Generation(0),
                        handle,
                        open_flags(open, flags),
                    );
                }
                Err(error) => reply.error(errno("create", &error)),
            },
        );
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = size as usize;
        let known = self.vfs.read_cached(fh.0, offset, size);
        self.vfs.tallies.reads.note(known.is_some());
        if let Some(known) = known {
            return data("read", reply, known);
        }
        self.later(Class::Transfer, &[ino.0], move |vfs, deadline| {
            data("read", reply, vfs.read(fh.0, offset, size, deadline));
        });
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        // With O_APPEND the kernel's offset is the end of file that it knows, which may be stale. Pages
        // of a mapping have a real offset.
        let appends =
            flags.0 & libc::O_APPEND != 0 && !write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let spot = if appends { Spot::End } else { Spot::At(offset) };
        // The kernel may cache the bytes at a wrong offset. It asks for the size before it uses them, and
        // drops its pages if the size differs.
        let written = move |reply: ReplyWrite, result: Result<u64>| match result {
            Ok(_) => reply.written(length),
            Err(error) => reply.error(errno("write", &error)),
        };
        if let Some(result) = self.vfs.write_cached(fh.0, spot, data) {
            return written(reply, result);
        }
        let data = data.to_vec();
        self.later(Class::Transfer, &[ino.0], move |vfs, deadline| {
            written(reply, vfs.write(fh.0, spot, &data, deadline));
        });
    }

    fn flush(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        if self.vfs.is_clean(fh.0) {
            return reply.ok();
        }
        let process = req.pid();
        let flush = move |vfs: &Vfs, deadline: &Deadline| vfs.flush(fh.0, process, deadline);
        self.store_later("close", &[], (ino.0, fh.0), reply, flush);
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if self.vfs.release_at_rest(fh.0) {
            return reply.ok();
        }
        self.later(Class::Transfer, &[], move |vfs, deadline| {
            vfs.release(fh.0, deadline);
            reply.ok();
        });
    }

    fn fsync(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let sync = move |vfs: &Vfs, deadline: &Deadline| vfs.fsync(fh.0, deadline);
        self.store_later("fsync", &[ino.0], (ino.0, fh.0), reply, sync);
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let keep = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let zeroes = match mode & !libc::FALLOC_FL_KEEP_SIZE {
            libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE => true,
            // FTP can't reserve space beyond the end of a file.
            0 if !keep => false,
            _ => return reply.error(Errno::EOPNOTSUPP),
        };
        self.later(Class::Metadata, &[ino.0], move |vfs, _| {
            done(
                "fallocate",
                reply,
                vfs.fallocate(fh.0, offset, length, zeroes, keep),
            );
        });
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(self.vfs.opendir(ino.0)), FopenFlags::empty());
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.list_names(ino.0, fh.0, offset, reply);
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.list_plus(ino.0, fh.0, offset, reply);
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.vfs.releasedir(fh.0);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        // Changes of names are on the server when their system calls return.
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        if let Some(space) = self.vfs.statfs_cached() {
            return filled(reply, space);
        }
        self.later(Class::Metadata, &[], move |vfs, deadline| {
            filled(reply, vfs.statfs(deadline))
        });
    }

    fn access(&self, _req: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        done("access", reply, self.vfs.access(ino.0, mask.bits()));
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.reply_xattr(req, ino.0, name, size, reply);
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        // What the server says is not listed: cp -a would read the hash of every file.
        match self.vfs.extended_names(ino.0) {
            Ok(names) => attribute(reply, size, &names),
            Err(error) => reply.error(errno("listxattr", &error)),
        }
    }

    fn setxattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let before = match flags {
            libc::XATTR_CREATE => Before::Absent,
            libc::XATTR_REPLACE => Before::Present,
            _ => Before::Any,
        };
        let set = self.vfs.set_extended(ino.0, name.as_bytes(), value, before);
        done("setxattr", reply, set);
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.vfs.remove_extended(ino.0, name.as_bytes());
        done("removexattr", reply, removed);
    }

    // After ENOSYS the kernel does not ask again: it handles the call itself, or fails it.

    fn lseek(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: i64,
        _whence: i32,
        reply: ReplyLseek,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn copy_file_range(
        &self,
        _req: &Request,
        _ino_in: INodeNo,
        _fh_in: FileHandle,
        _offset_in: u64,
        _ino_out: INodeNo,
        _fh_out: FileHandle,
        _offset_out: u64,
        _len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        match cmd {
            DROP_CACHE | FORGET_SERVER if is_owner_or_root(req) => {
                self.change("drop-cache", reply, move |queries| {
                    queries.drop_cache(cmd == FORGET_SERVER);
                    true
                });
            }
            MAKE_WRITABLE if is_owner_or_root(req) => {
                self.change("make-writable", reply, |queries| queries.make_writable());
            }
            FORCE if is_owner_or_root(req) => {
                let open = self.queries.force_end();
                reply.ioctl(i32::try_from(open).unwrap_or(i32::MAX), &[]);
            }
            DROP_CACHE | FORGET_SERVER | MAKE_WRITABLE | FORCE => reply.error(Errno::EACCES),
            _ => reply.error(Errno::ENOTTY),
        }
    }
}
