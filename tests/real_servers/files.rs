//! What programs ask of one file.

use crate::mounted::Mounted;

pub fn read_at_any_offset(m: &mut Mounted) {
    m.sh("head -c 3000001 /dev/urandom >$S/f; cp $S/f $D/f; theirs
          python3 - <<'PY'
import os, random
M, S = os.environ['M'], os.environ['S']
theirs = open(S + '/f', 'rb').read()
f = os.open(M + '/f', os.O_RDONLY)
random.seed(1)
for _ in range(200):
    at, size = random.randrange(3100000), random.choice([1, 100, 4096, 70000, 400000])
    assert os.pread(f, size, at) == theirs[at:at + size], (at, size)
for at in range(2900000, 0, -100000):
    assert os.pread(f, 1000, at) == theirs[at:at + 1000], at
assert os.pread(f, 10, 3000001) == b'' and os.pread(f, 10, 1 << 40) == b''
assert os.lseek(f, -1, os.SEEK_END) == 3000000 and os.read(f, 10) == theirs[-1:]
PY");
}

pub fn write_in_any_order(m: &mut Mounted) {
    m.sh("python3 - <<'PY'
import os, random
M, D = os.environ['M'], os.environ['D']
random.seed(2)
def theirs(name):
    return open(D + '/' + name, 'rb').read()
for name, begins in (('new', b''), ('old', os.urandom(500000))):
    if begins:
        open(M + '/' + name, 'wb').write(begins)
    model = bytearray(begins)
    f = os.open(M + '/' + name, os.O_RDWR | os.O_CREAT)
    for _ in range(100):
        at, piece = random.randrange(600000), os.urandom(random.choice([1, 50, 5000]))
        os.pwrite(f, piece, at)
        model.extend(bytes(max(0, at + len(piece) - len(model))))
        model[at:at + len(piece)] = piece
        at = random.randrange(600000)
        assert os.pread(f, 1000, at) == bytes(model[at:at + 1000])
    os.close(f)
    assert theirs(name) == bytes(model)
    open(os.environ['S'] + '/' + name, 'wb').write(model)
f = open(M + '/back', 'wb')
for at in range(90000, -1, -10000):
    f.seek(at); f.write(b'%05d' % at * 2000); f.flush()
f.close()
assert theirs('back') == b''.join(b'%05d' % at * 2000 for at in range(0, 90001, 10000))
PY");
    m.remount();
    m.sh("same $S/new $M/new; same $S/old $M/old");
}

pub fn open_flags(m: &mut Mounted) {
    m.sh("python3 - <<'PY'
import errno, os, time
M, D = os.environ['M'], os.environ['D']
def theirs():
    return open(D + '/f', 'rb').read()
def write(flags, piece):
    f = os.open(M + '/f', flags, 0o644); os.write(f, piece); os.close(f)
write(os.O_WRONLY | os.O_CREAT, b'0123456789'); assert theirs() == b'0123456789'
write(os.O_WRONLY, b'ab'); assert theirs() == b'ab23456789'
write(os.O_RDWR | os.O_APPEND, b'cd'); assert theirs() == b'ab23456789cd'
write(os.O_WRONLY | os.O_TRUNC, b'new'); assert theirs() == b'new'
os.close(os.open(M + '/f', os.O_WRONLY | os.O_TRUNC))
for _ in range(50):
    if theirs() == b'': break
    time.sleep(0.1)
else: raise SystemExit('it was never emptied')
f = os.open(M + '/f', os.O_RDWR | os.O_TRUNC); os.write(f, b'xyz'); assert os.pread(f, 9, 0) == b'xyz'
g = os.open(M + '/f', os.O_RDONLY); assert os.read(g, 9) == b'xyz'; assert os.fstat(g).st_size == 3
os.close(f); os.close(g); assert theirs() == b'xyz'
f = os.open(M + '/f', os.O_RDONLY)
try: os.write(f, b'no'); raise SystemExit('wrote through O_RDONLY')
except OSError as e: assert e.errno == errno.EBADF
PY");
    m.remount();
    m.sh("is \"$(cat $M/f)\" xyz");
}

/// An empty file may be stored at its last close, whose errors no program receives.
pub fn empty_file(m: &mut Mounted) {
    m.sh(
        ": >$M/a; touch $M/b; cp /dev/null $M/c; for f in a b c; do soon [ -f $D/$f ]; done
          is \"$(stat -c %s $D/a $D/b $D/c | xargs)\" '0 0 0'; is \"$(cat $M/a $M/b $M/c)\" ''
          echo full >$M/d; : >$M/d; is \"$(stat -c %s $D/d)\" 0",
    );
    m.remount();
    m.sh("is \"$(stat -c %s $M/a $M/b $M/c $M/d | xargs)\" '0 0 0 0'; is \"$(cat $M/*)\" ''");
}

pub fn exclusive_create(m: &mut Mounted) {
    m.sh("echo theirs >$D/theirs; theirs
          python3 - <<'PY'
import os
M, D = os.environ['M'], os.environ['D']
def create(name):
    try: return os.open(M + '/' + name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError: return None
assert create('theirs') is None
f = create('lock'); assert f is not None
assert os.path.exists(D + '/lock'), 'a lock must exist for others too'
assert create('lock') is None
os.close(f); os.unlink(M + '/lock'); assert create('lock') is not None
PY
          is \"$(cat $D/theirs)\" theirs
          refuses bash -c 'set -o noclobber; echo x >$M/theirs'; is \"$(cat $D/theirs)\" theirs");
}

pub fn append_from_two_processes(m: &mut Mounted) {
    m.sh("echo start >$M/f
          writer() { python3 -c '
import os, sys
f = os.open(os.environ[\"M\"] + \"/f\", os.O_WRONLY | os.O_APPEND)
for n in range(300): os.write(f, b\"%s %d\\n\" % (sys.argv[1].encode(), n))
os.close(f)' $1; }
          writer a & one=$!; writer b & two=$!; wait $one; wait $two
          check() {
            is \"$(head -n 1 $1)\" start; is \"$(wc -l <$1)\" 601
            is \"$(grep ^a $1)\" \"$(seq -f 'a %g' 0 299)\"; is \"$(grep ^b $1)\" \"$(seq -f 'b %g' 0 299)\"
          }; check $D/f; check $M/f");
    m.remount();
    m.sh("same $D/f $M/f");
}

pub fn mapped_read(m: &mut Mounted) {
    m.sh("head -c 1000001 /dev/urandom >$D/f; theirs
          python3 -c '
import mmap, os
with open(os.environ[\"M\"] + \"/f\", \"rb\") as f:
    map = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
theirs = open(os.environ[\"D\"] + \"/f\", \"rb\").read()
assert map[500000:500010] == theirs[500000:500010] and map[:] == theirs'");
}

/// The map outlives its file's close, so no close reports it: what counts is that it arrives.
pub fn mapped_write(m: &mut Mounted) {
    m.sh("head -c 1000001 /dev/urandom >$S/f; cp $S/f $M/f; cp $S/f $M/g
          for f in $M/f $S/f; do python3 - $f <<'PY'
import mmap, os, sys
f = os.open(sys.argv[1], os.O_RDWR)
map = mmap.mmap(f, 0)
os.close(f)
map[0:5] = b'first'; map[600000:600006] = b'middle'; map[1000000:] = b'z'
map.close()
PY
          done; soon cmp -s $S/f $D/f; same $S/f $M/f
          python3 - $M/g <<'PY' || is $? 137
import mmap, os, sys
f = os.open(sys.argv[1], os.O_RDWR)
map = mmap.mmap(f, 0)
map[4096:4100] = b'sync'; map.flush(); os.fsync(f)
assert open(os.environ['D'] + '/g', 'rb').read()[4096:4100] == b'sync'
map[8192:8196] = b'exit'
os.kill(os.getpid(), 9)
PY
          arrived() { [ \"$(dd if=$D/g bs=1 skip=8192 count=4 status=none)\" = exit ]; }; soon arrived");
    m.remount();
    m.sh("same $S/f $M/f; same $D/g $M/g");
}

/// Three processes share one file description; each child's exit flushes it, and only the last close ends it.
pub fn subshell_and_children(m: &mut Mounted) {
    m.sh("(echo a; /bin/echo b; /bin/echo c) >$M/f; is \"$(cat $D/f)\" $'a\\nb\\nc'; is \"$(cat $M/f)\" $'a\\nb\\nc'");
    let transfers = m.commands("STOR") + m.commands("APPE");
    assert!(
        (1..=3).contains(&transfers),
        "{transfers} uploads for one small file"
    );
    m.sh("{ seq 1000; /bin/echo x; sh -c 'seq 1000'; } >$M/g; is \"$(cat $D/g)\" \"$(seq 1000; echo x; seq 1000)\"");
    m.remount();
    m.sh("is \"$(cat $M/f)\" $'a\\nb\\nc'; is \"$(wc -l <$M/g)\" 2001");
}

/// A child that starts a program closes inherited descriptors, and the file is not looked at meanwhile.
pub fn exec_beside_new_file(m: &mut Mounted) {
    m.sh("timeout -s KILL 20 python3 - <<'PY'
import os, subprocess
M, D = os.environ['M'], os.environ['D']
files = [os.open(M + '/%d' % n, os.O_RDWR | os.O_CREAT) for n in range(3)]
assert subprocess.Popen(['true'], close_fds=False).wait() == 0
os.posix_spawnp('true', ['true'], os.environ); os.wait()
os.write(files[0], b'bytes')
for f in files: os.close(f)
assert [os.path.getsize(D + '/%d' % n) for n in range(3)] == [5, 0, 0]
PY");
    m.remount();
    m.sh("is \"$(stat -c %s $M/0 $M/1 $M/2 | xargs)\" '5 0 0'");
}

/// Behind the size that a reader knows stands what we are just storing.
pub fn read_while_stored(m: &mut Mounted) {
    m.remount_with("writeback");
    m.sh("python3 - <<'PY'
import os
for r in range(60):
    path = os.environ['M'] + '/f'; open(path, 'wb').close()
    for i in range(6):
        with open(path, 'rb+') as f: f.seek(512 * i); f.write(b'abc%d' % i)
        for j in range(i + 1):
            with open(path, 'rb') as f: f.seek(512 * j); assert f.read(4) == b'abc%d' % j
PY");
}

pub fn fsync_means_stored(m: &mut Mounted) {
    m.sh("python3 - <<'PY'
import os
M, D = os.environ['M'], os.environ['D']
f = os.open(M + '/f', os.O_RDWR | os.O_CREAT)
model = b''
for sync in (os.fsync, os.fdatasync, os.fsync):
    piece = os.urandom(100000); model += piece
    os.write(f, piece); sync(f)
    assert open(D + '/f', 'rb').read() == model
os.pwrite(f, b'!', 5); os.fsync(f)
assert open(D + '/f', 'rb').read(6)[5:] == b'!'
os.fsync(os.open(M, os.O_RDONLY))
PY
          sync $M/f");
}

/// Room that can be had is had; what can't be done is said, and the file stays as it was.
pub fn allocate(m: &mut Mounted) {
    m.sh("printf abc >$M/f; cp $M/f $S/f
          if fallocate -l 5000 $M/f 2>$S/why; then fallocate -l 5000 $S/f; else grep -q 'not supported' $S/why; fi
          same $S/f $D/f
          if fallocate --punch-hole -o 1 -l 1 $M/f 2>$S/why; then fallocate --punch-hole -o 1 -l 1 $S/f
          else grep -q 'not supported' $S/why; fi; same $S/f $D/f
          python3 -c 'import os; f = os.open(os.environ[\"M\"] + \"/g\", os.O_RDWR | os.O_CREAT); os.posix_fallocate(f, 0, 9000)'
          is \"$(stat -c %s $M/g)\" 9000; is \"$(stat -c %s $D/g)\" 9000");
    m.remount();
    m.sh("same $S/f $M/f");
}

pub fn change_mode(m: &mut Mounted) {
    m.sh("echo x >$M/f; mkdir $M/d
          for mode in 600 755 640 444 644; do
            chmod $mode $M/f; is \"$(stat -c %a $M/f)\" $mode; is \"$(stat -c %a $D/f)\" $mode
          done
          chmod 700 $M/d; is \"$(stat -c %a $M/d $D/d | xargs)\" '700 700'; chmod -R u=rwX,go= $M
          is \"$(stat -c %a $D/f $D/d | xargs)\" '600 700'; is \"$(cat $M/f)\" x
          # Each a file of its own: Pure-FTPd can't change what it may not read.
          for mode in 0 7 44; do
            echo x >$M/$mode; chmod $mode $M/$mode; is \"$(stat -c %a $M/$mode $D/$mode | xargs)\" \"$mode $mode\"
          done");
    m.remount();
    m.sh("is \"$(stat -c %a $M/f $M/d | xargs)\" '600 700'");
}

pub fn mode_of_new_files(m: &mut Mounted) {
    m.sh("(umask 077; echo secret >$M/secret; mkdir $M/closed; echo inside >$M/closed/f)
          is \"$(stat -c %a $D/secret $D/closed $D/closed/f | xargs)\" '600 700 600'
          echo x >$M/plain; mkdir $M/d; is \"$(stat -c %a $D/plain $D/d | xargs)\" '644 755'
          printf '#!/bin/sh\\n' >$S/run; chmod 755 $S/run; cp $S/run $M/run; install -m 750 $S/run $M/other
          is \"$(stat -c %a $D/run $D/other | xargs)\" '755 750'");
    m.remount();
    m.sh("is \"$(stat -c %a $M/secret $M/closed $M/plain $M/run | xargs)\" '600 700 644 755'");
}

pub fn run_a_script(m: &mut Mounted) {
    m.sh("printf '#!/bin/sh\\necho ran $1\\n' >$M/run; refuses $M/run; refuses test -x $M/run; test -x $M
          chmod +x $M/run; test -x $M/run; is \"$($M/run it)\" 'ran it'
          cp /bin/true $M/true; $M/true; cd $M; is \"$(./run here)\" 'ran here'");
    m.remount();
    m.sh("is \"$($M/run again)\" 'ran again'; $M/true");
}

pub fn touch_d(m: &mut Mounted) {
    m.sh("echo x >$M/f
          for when in '2001-02-03 04:05:06' '1999-12-31 23:59:59' '2031-05-06 07:08:09' '2024-02-29 12:00:00'; do
            touch -d \"$when\" $M/f; is \"$(stat -c %Y $M/f)\" $(date -d \"$when\" +%s)
            is \"$(stat -c %Y $D/f)\" $(date -d \"$when\" +%s)
          done
          touch -r $M/f $M/g; is \"$(stat -c %Y $D/g)\" $(stat -c %Y $D/f)
          before=$(date +%s); touch $M/f; [ $(stat -c %Y $D/f) -ge $before ]
          echo more >$M/h; touch -d @1000000000 $M/h; cat $M/h; is \"$(stat -c %Y $M/h)\" 1000000000");
    m.remount();
    m.sh("is \"$(stat -c %Y $M/h $M/g | xargs)\" \"1000000000 $(stat -c %Y $D/g)\"");
}

pub fn unlink_open(m: &mut Mounted) {
    m.sh("head -c 8000000 /dev/urandom >$S/f; cp $S/f $D/f; cp $S/f $D/g; theirs
          python3 - <<'PY'
import os
M, D, S = os.environ['M'], os.environ['D'], os.environ['S']
theirs = open(S + '/f', 'rb').read()
f = open(M + '/f', 'rb')
first = f.read(100000)
os.unlink(M + '/f')
assert not os.path.exists(M + '/f') and not os.path.exists(D + '/f')
assert os.fstat(f.fileno()).st_size == len(theirs)
assert first + f.read() == theirs, 'the rest of an unlinked file'
f.close()
f = open(M + '/g', 'r+b'); os.unlink(M + '/g'); f.write(b'written'); f.flush(); f.seek(0)
assert f.read(7) == b'written'; f.close()
f = open(M + '/new', 'w+b'); f.write(b'never seen'); f.flush(); os.unlink(M + '/new'); f.write(b'.'); f.seek(0)
assert f.read() == b'never seen.'; f.close()
f = open(M + '/again', 'wb'); f.write(b'old'); os.unlink(M + '/again')
open(M + '/again', 'wb').write(b'second'); f.write(b'late'); f.close()
assert open(D + '/again', 'rb').read() == b'second', 'a late upload must not bring the old file back'
PY
          nothing_else() { [ \"$(ls -A $D | xargs)\" = again ]; }; soon nothing_else; is \"$(ls -A $M | xargs)\" again");
    m.remount();
    m.sh("is \"$(cat $M/again)\" second; is \"$(ls -A $M)\" again");
}

pub fn rename_open(m: &mut Mounted) {
    m.sh("head -c 5000000 /dev/urandom >$S/f; cp $S/f $D/f; mkdir $D/d; theirs
          python3 - <<'PY'
import os
M, D, S = os.environ['M'], os.environ['D'], os.environ['S']
theirs = open(S + '/f', 'rb').read()
f = open(M + '/f', 'rb'); first = f.read(10); os.rename(M + '/f', M + '/g'); assert first + f.read() == theirs; f.close()
f = open(M + '/w', 'wb'); f.write(b'one'); f.flush(); os.rename(M + '/w', M + '/d/v'); f.write(b'two'); f.close()
assert open(D + '/d/v', 'rb').read() == b'onetwo' and not os.path.exists(D + '/w')
f = open(M + '/d/w', 'wb'); f.write(b'one'); os.rename(M + '/d', M + '/e'); f.write(b'two'); f.close()
assert open(D + '/e/w', 'rb').read() == b'onetwo' and not os.path.exists(D + '/d')
f = open(M + '/new', 'wb'); f.write(b'new'); os.rename(M + '/new', M + '/g'); f.close()
assert open(D + '/g', 'rb').read() == b'new' and open(M + '/g', 'rb').read() == b'new'
PY");
    m.remount();
    m.sh("is \"$(find $M -mindepth 1 -printf '%P ' | tr ' ' '\\n' | sort | xargs)\" 'e e/v e/w g'; is \"$(cat $M/e/w)\" onetwo");
}

/// The mounting user is root here, so it is the server that refuses, and the program must hear of it.
pub fn refused_write_is_an_error(m: &mut Mounted) {
    // Root may write to a read-only file of the account, but not to one of another owner.
    m.sh("mkdir $D/closed; echo keep >$D/kept; theirs; chmod 555 $D/closed; chown root: $D/kept; chmod 444 $D/kept
          echo x >$S/x
          refuses cp $S/x $M/closed/x; refuses mkdir $M/closed/d; gone $M/closed/x
          refuses dd if=$S/x of=$M/kept conv=fsync status=none; is \"$(cat $D/kept)\" keep
          echo fine >$M/fine; is \"$(cat $D/fine)\" fine");
    m.remount();
    m.sh("is \"$(ls $M/closed)\" ''; is \"$(cat $M/kept)\" keep");
}

/// vsftpd makes holes of any size; the others get zeros, and refuse more than the limit before anything is sent.
pub fn holes(m: &mut Mounted) {
    m.unmount();
    m.mount("hole_limit=8M");
    m.sh("python3 - <<'PY'
import os
f = os.open(os.environ['M'] + '/f', os.O_RDWR | os.O_CREAT)
os.write(f, b'begin'); os.pwrite(f, b'end', 5 << 20); os.close(f)
assert open(os.environ['D'] + '/f', 'rb').read() == b'begin'.ljust(5 << 20, b'\\0') + b'end'
PY
          truncate -s 8M $M/f; is \"$(stat -c %s $D/f)\" 8388608; cmp $M/f $D/f
          truncate -s 6M $M/f; is \"$(stat -c %s $D/f)\" 6291456; cmp $M/f $D/f; rm $M/f");
    match m.server.name {
        "vsftpd" => m.sh(
            "truncate -s 300G $M/far; is \"$(stat -c %s $D/far)\" $((300 << 30)); [ $(du -k $D/far | cut -f1) -lt 1000 ]
             python3 - <<'PY'
import os
f = os.open(os.environ['M'] + '/far', os.O_RDWR)
os.pwrite(f, b'x', 1 << 40); os.fsync(f); os.close(f)
with open(os.environ['D'] + '/far', 'rb') as theirs:
    theirs.seek(1 << 40); assert theirs.read() == b'x'
PY
             [ $(du -k $D/far | cut -f1) -lt 1000 ]",
        ),
        _ => m.sh(
            "refuses truncate -s 9M $M/f; grep -q 'File too large' $S/why; soon [ -f $D/f ]; [ ! -s $D/f ]
             echo old >$M/old; refuses truncate -s 300G $M/old; grep -q 'File too large' $S/why; is \"$(cat $D/old)\" old",
        ),
    };
}
