//! What programs ask of directories, and of the file system as a whole.

use std::time::Duration;

use crate::mounted::Mounted;

pub fn list(m: &mut Mounted) {
    m.sh("tree $D/tree; theirs; is \"$(facts $M/tree)\" \"$(facts $D/tree)\"
          is \"$(ls -A $M/tree | xargs)\" '.hidden a empty run'; is \"$(ls -A $M/tree/empty)\" ''
          is \"$(stat -c '%F %h' $M/tree/run)\" 'regular file 1'; is \"$(stat -c %F $M $M/tree/a | uniq)\" directory
          for at in /a /a/b /empty; do is \"$(stat -c %d $M/tree$at)\" \"$(stat -c %d $M)\"; done
          is \"$(find $M -printf '%i\\n' | sort | uniq -d)\" ''; is \"$(stat -c %i $M/tree/run)\" \"$(ls -i $M/tree/run | cut -d' ' -f1)\"");
    m.remount();
    m.sh("is \"$(stat -c %Y $M/tree/a/file2 $M/tree/a/file3 | xargs)\" '981173106 1927857906'
          is \"$(facts $M/tree)\" \"$(facts $D/tree)\"; echo $M/tree/*/nothing* >/dev/null; gone $M/tree/none");
}

pub fn ten_thousand_entries(m: &mut Mounted) {
    m.sh_within(
        Duration::from_secs(120),
        "mkdir $D/many; (cd $D/many; for n in {1..10000}; do echo $n >file$n; done); theirs
         is \"$(facts $M)\" \"$(facts $D)\"; is \"$(ls $M/many | wc -l)\" 10000; is \"$(cat $M/many/file7777)\" 7777
         gone $M/many/file10001; for n in {1..100}; do echo new >$M/many/new$n; done; is \"$(ls $M/many | wc -l)\" 10100
         is \"$(ls $D/many | wc -l)\" 10100",
    );
    m.remount();
    m.sh_within(
        Duration::from_secs(120),
        "is \"$(ls $M/many | wc -l)\" 10100; rm -r $M/many; gone $D/many $M/many",
    );
}

pub fn rename_over_existing(m: &mut Mounted) {
    m.sh("echo new >$D/theirs; theirs; echo old >$M/f; seq 1000 >$M/g; mv $M/g $M/f; is \"$(cat $D/f)\" \"$(seq 1000)\"
          is \"$(cat $M/f)\" \"$(seq 1000)\"; mv $M/theirs $M/f; is \"$(cat $M/f)\" new; is \"$(ls -A $D)\" f
          mkdir $M/d; echo inside >$M/d/f; mv $M/f $M/d/f; is \"$(cat $D/d/f)\" new; is \"$(ls -A $D)\" d");
    m.remount();
    m.sh("is \"$(cat $M/d/f)\" new; is \"$(ls -A $M/d)\" f");
}

/// As git writes its index: each file has been read before it is replaced, and no old byte may come back.
pub fn replaced_again_and_again(m: &mut Mounted) {
    m.sh("python3 - <<'PY'
import os
M, D = os.environ['M'], os.environ['D']
for n in range(20):
    bytes_now = bytes([65 + n]) * (9000 - n * 100)
    f = os.open(M + '/f.lock', os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.write(f, bytes_now)
    os.close(f)
    os.rename(M + '/f.lock', M + '/f')
    for at in D, M:
        assert open(at + '/f', 'rb').read() == bytes_now, (n, at)
    open(M + '/g', 'wb').write(bytes_now)
    assert open(M + '/g', 'rb').read() == bytes_now, n
    os.unlink(M + '/g')
PY");
    m.remount();
    m.sh("same $D/f $M/f");
}

pub fn rename_directories(m: &mut Mounted) {
    m.sh("mkdir -p $M/a/b/c $M/empty; echo x >$M/a/b/c/f; echo y >$M/a/g; ls -R $M >/dev/null
          mv $M/a/b $M/a/B; is \"$(cat $M/a/B/c/f)\" x; gone $M/a/b; mv $M/a $M/z; is \"$(cat $M/z/B/c/f $M/z/g | xargs)\" 'x y'
          echo more >>$M/z/B/c/f; is \"$(cat $D/z/B/c/f | xargs)\" 'x more'
          mv -T $M/z $M/empty; is \"$(cat $M/empty/g)\" y; is \"$(ls $D)\" empty
          mkdir $M/full; echo f >$M/full/f; refuses mv -T $M/empty $M/full; grep -q 'not empty' $S/why
          refuses mv -T $M/full $M/empty/g; refuses mv -T $M/empty/g $M/full; refuses mv $M/empty $M/empty/B/inside
          cd $M/empty; mv $M/empty $M/w; is \"$(cat ./g)\" y");
    m.remount();
    m.sh("is \"$(cd $M; find . -type f | sort | xargs)\" './full/f ./w/B/c/f ./w/g'; same $M $D");
}

pub fn rename_no_replace(m: &mut Mounted) {
    m.sh("echo one >$M/a; echo two >$M/b
          python3 - <<'PY'
import ctypes, errno, os
M = os.environ['M'].encode()
libc = ctypes.CDLL(None, use_errno=True)
def rename(old, new, flags):
    failed = libc.renameat2(-100, M + old, -100, M + new, flags)
    return errno.errorcode[ctypes.get_errno()] if failed else None
NOREPLACE, EXCHANGE = 1, 2
assert rename(b'/a', b'/b', NOREPLACE) == 'EEXIST'
assert rename(b'/a', b'/c', NOREPLACE) is None
assert rename(b'/b', b'/c', EXCHANGE) == 'EINVAL'
PY
          is \"$(cat $D/b $D/c | xargs)\" 'two one'; gone $D/a $M/a; is \"$(mv -vn $M/b $M/c; cat $M/c)\" one");
}

/// The errors by which programs decide what to do next; few servers name them.
pub fn errors(m: &mut Mounted) {
    m.sh("mkdir $D/d $D/full; echo x >$D/f; echo x >$D/full/f; theirs
          cat >$S/errors.py <<'PY'
import errno, os
M = os.environ['M'] + '/'
def expect(name, act):
    try: act()
    except OSError as e:
        assert e.errno == getattr(errno, name), (name, e)
    else: raise AssertionError('it worked, no ' + name)
expect('ENOENT', lambda: open(M + 'none'))
expect('ENOENT', lambda: open(M + 'none/none', 'w'))
expect('ENOENT', lambda: os.mkdir(M + 'none/none'))
expect('ENOENT', lambda: os.unlink(M + 'none'))
expect('ENOENT', lambda: os.rmdir(M + 'none'))
expect('ENOENT', lambda: os.rename(M + 'none', M + 'other'))
expect('ENOENT', lambda: os.rename(M + 'f', M + 'none/f'))
expect('ENOENT', lambda: os.chmod(M + 'none', 0o600))
expect('EEXIST', lambda: os.mkdir(M + 'd'))
expect('EEXIST', lambda: os.mkdir(M + 'f'))
expect('ENOTEMPTY', lambda: os.rmdir(M + 'full'))
expect('ENOTEMPTY', lambda: os.rename(M + 'd', M + 'full'))
expect('ENOTDIR', lambda: os.rmdir(M + 'f'))
expect('ENOTDIR', lambda: open(M + 'f/x', 'w'))
expect('ENOTDIR', lambda: os.rename(M + 'd', M + 'f'))
expect('ENOTDIR', lambda: os.listdir(M + 'f'))
expect('EISDIR', lambda: os.unlink(M + 'd'))
expect('EISDIR', lambda: os.rename(M + 'f', M + 'd'))
expect('EISDIR', lambda: open(M + 'd', 'w'))
expect('ENAMETOOLONG', lambda: open(M + 'n' * 256, 'w'))
PY
          python3 $S/errors.py");
    m.remount();
    m.sh("ls -R $M >/dev/null; python3 $S/errors.py
          is \"$(cd $D; find . | sort | xargs)\" '. ./d ./f ./full ./full/f'");
}

/// FTP can't say how much room there is, but programs that ask must go on.
pub fn room_for_more(m: &mut Mounted) {
    m.sh("df $M; read size avail <<<\"$(df -B1 --output=size,avail $M | tail -n 1)\"
          [ $size -ge $((1 << 30)) ]; [ $avail -ge $((1 << 30)) ]; [ $avail -le $size ]
          python3 -c 'import os; s = os.statvfs(os.environ[\"M\"]); assert s.f_namemax == 255 and s.f_bsize >= 512, s'
          is \"$(findmnt -no FSTYPE $M)\" fuse.ftpfs");
}

/// A link that is there is shown as one, or as what it leads to: what counts is that it can be read.
pub fn symbolic_links(m: &mut Mounted) {
    m.sh("mkdir $D/d; echo x >$D/d/f; ln -s d/f $D/to_file; ln -s d $D/to_directory; theirs; chown -h $ACCOUNT: $D/to_*
          is \"$(cat $M/to_file)\" x; is \"$(cat $M/to_directory/f)\" x; is \"$(ls $M/to_directory/)\" f
          is \"$(stat -Lc %s $M/to_file)\" 2
          rm $M/to_file; gone $D/to_file; is \"$(cat $D/d/f)\" x");
}

/// FTP has no command for them: a program must hear so, and fall back.
pub fn no_links_made(m: &mut Mounted) {
    m.sh(
        "echo x >$M/f; refuses ln -s f $M/l; refuses ln $M/f $M/h; refuses mkfifo $M/p
          is \"$(ls -A $M)\" f; is \"$(ls -A $D)\" f; is \"$(cat $M/f)\" x",
    );
}
