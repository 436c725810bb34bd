//! What writing costs, and what becomes of it when something breaks: each test has a network of its own with a real server
//! in it, whose bytes are counted, and which may be cut off, killed, or full.
//!
//! Needs root and `/dev/fuse`; `cargo test --test real_servers write_cost::`.

use crate::namespace;

/// Shell functions for what goes over the wire.
const COUNTING: &str = r#"
# wire: bytes that went over the network so far; everything here goes over loopback, and counts once
# (/sys/class/net would tell of the whole machine's)
wire() { awk '$1 == "lo:" { print $10 }' /proc/net/dev; }
# still: nothing was sent for a while, so that connections that are made in the background have logged in
still() { local before; before=$(wire); sleep 0.2; [ "$(wire)" = "$before" ]; }
# costs LIMIT COMMAND...: the command, and what follows from it, sends fewer bytes both ways together
costs() {
    local limit=$1 before; shift
    soon still; before=$(wire)
    "$@"
    local cost=$(($(wire) - before))
    [ $cost -lt $limit ] || fail "$* cost $cost bytes: $(tail -n 40 "$S/log")"
}
# put OFFSET TEXT FILE: writes into the middle of a file that is there
put() { printf %s "$2" | dd of="$3" bs=1 seek="$1" conv=notrunc status=none; }
# round trips since the mark: commands that were sent, which fly together at best
mark() { marked=$(grep -c ' > ' "$S/log" || true); }
sent() { grep ' > ' "$S/log" | tail -n +$((marked + 1)); }
"#;

fn run(limit: u64, script: &str) {
    namespace::run(limit, &format!("{COUNTING}\n{script}"));
}

/// The first change shows on a small file beside what the server makes of a part of one; nothing of the large file is
/// fetched.
#[test]
fn byte_changed_in_a_large_file_sends_little() {
    for server in ["vsftpd", "proftpd", "pyftpdlib"] {
        run(
            60,
            &format!(
                "{server}; head -c 8M /dev/urandom >$S/file; cp $S/file $D/file; chown $account: $D/file
                 mounts cache_timeout=30
                 put 4000000 X $S/file; mark; costs 65536 put 4000000 X $M/file; cmp $S/file $D/file
                 [ $(sent | grep -c 'RETR /file') = 0 ] || fail 'something was fetched'
                 [ -z \"$(find $D -name '.ftpfs-*')\" ] || fail 'the small file is still there'
                 put 5000000 Y $S/file; mark; costs 65536 put 5000000 Y $M/file; cmp $S/file $D/file
                 # Connections that are made meanwhile log in, and ask for a port.
                 [ $(sent | grep -cvE '> (TYPE|EPSV|PASV|PORT|EPRT)') -le 8 ] || fail \"so many commands: $(sent)\"
                 [ $(sent | grep -c RETR) = 0 ] || fail 'something was fetched'
                 # STOR behind REST 0 starts again: the first byte takes the whole file with it.
                 put 0 Z $S/file; put 0 Z $M/file; cmp $S/file $D/file
                 put 8388607 E $S/file; costs 65536 put 8388607 E $M/file; cmp $S/file $D/file
                 put 8388607 tail $S/file; costs 65536 put 8388607 tail $M/file; cmp $S/file $D/file; cmp $S/file $M/file
                 unmounts
                 # What was learned is kept.
                 mounts cache_timeout=30; put 77 K $S/file; costs 65536 put 77 K $M/file; cmp $S/file $D/file; unmounts"
            ),
        );
    }
}

#[test]
fn large_file_changed_all_over_is_stored_whole() {
    for server in ["vsftpd", "proftpd", "pure_ftpd"] {
        run(
            90,
            &format!(
                "{server}; head -c 160M /dev/urandom >$S/file; cp $S/file $D/file; chown $account: $D/file
                 mounts cache_timeout=30; put 77 X $S/file; put 77 X $M/file; cmp $S/file $D/file
                 python3 - <<'PY'
import os, random
S, rng = os.environ['S'], random.Random(7)
offsets = [at << 20 for at in range(1, 158, 3)]
rng.shuffle(offsets)
ours = open(S + '/file', 'r+b')
mounted = os.open(S + '/mount/file', os.O_RDWR)
def write(at, data):
    os.pwrite(mounted, data, at); ours.seek(at); ours.write(data)
for at in offsets:
    write(at, rng.randbytes(2 << 20))
# Once more over some of it, and behind the end.
for at in offsets[:5]:
    write(at + 1000, rng.randbytes(300000))
write(160 << 20, rng.randbytes(5000))
ours.flush(); os.close(mounted)
PY
                 cmp $S/file $D/file; cmp $S/file $M/file; unmounts"
            ),
        );
    }
}

/// Two hands write the halves of a new file: the second half goes when the first has reached it.
#[test]
fn out_of_order_write_is_sent_before_close() {
    run(
        60,
        "vsftpd; head -c 40M /dev/urandom >$S/file; mounts cache_timeout=30
         python3 - <<'PY'
import os, time
S = os.environ['S']
held = open(S + '/file', 'rb').read()
f = os.open(S + '/mount/file', os.O_RDWR | os.O_CREAT)
for first, last in [(20, 30), (0, 20), (30, 40)]:
    for at in range(first << 20, last << 20, 1 << 20):
        os.pwrite(f, held[at:at + (1 << 20)], at)
until = time.time() + 20
while os.stat(S + '/disk/file').st_size < 38 << 20:
    assert time.time() < until, os.stat(S + '/disk/file')
    time.sleep(0.1)
os.close(f)
PY
         cmp $S/file $D/file; cmp $S/file $M/file; unmounts",
    );
}

/// The server cuts files after a patched part; from then on, it gets all from the first change to the end.
#[test]
fn server_that_truncates_patches_is_detected_and_repaired() {
    run(
        60,
        "pure_ftpd; head -c 4M /dev/urandom >$S/file; cp $S/file $D/file; chown $account: $D/file
         mounts cache_timeout=30
         put 1000000 X $S/file; put 1000000 X $M/file; cmp $S/file $D/file; says $S/log 'truncates the file after the part'
         put 4000000 Y $S/file; costs 700000 put 4000000 Y $M/file; cmp $S/file $D/file; cmp $S/file $M/file
         truncate -s 3000000 $S/file; costs 65536 truncate -s 3000000 $M/file; cmp $S/file $D/file
         unmounts",
    );
}

/// A server that counts in 31 bits would store the part elsewhere in the file.
#[test]
fn part_beyond_2_gib_goes_only_where_rest_reaches() {
    let patch = "truncate -s 2300M $D/file; put 2200000000 old $D/file; put 52516352 old $D/file; chown $account: $D/file
         at() { dd if=$D/file bs=1 skip=$1 count=3 status=none; }";
    run(
        60,
        &format!(
            "REST_BITS=31 pyftpdlib; {patch}; mounts cache_timeout=30
             put 2200000000 new $M/file; is \"$(at 52516352)\" old; is \"$(at 2200000000)\" new; unmounts"
        ),
    );
    run(
        60,
        &format!(
            "pyftpdlib; {patch}; mounts cache_timeout=30
             costs 65536 put 2200000000 new $M/file; is \"$(at 52516352)\" old; is \"$(at 2200000000)\" new; unmounts"
        ),
    );
}

/// ProFTPD refuses `REST` before `STOR` as configured by default.
#[test]
fn default_server_without_partial_store_gets_whole_files() {
    run(
        60,
        "restart=off proftpd; head -c 4M /dev/urandom >$S/file; cp $S/file $D/file; chown $account: $D/file
         mounts cache_timeout=30
         for to in $S/file $M/file; do put 1000000 X $to; echo line >>$to; truncate -s 5000000 $to; echo end >>$to; done
         cmp $S/file $D/file; cmp $S/file $M/file; says $S/log 'Append/Restart not permitted'
         echo new >$M/new; echo more >>$M/new; is \"$(xargs <$D/new)\" 'new more'
         unmounts; [ ! -e $S/.cache/ftpfs/lost+found ] || fail 'something was lost'",
    );
}

#[test]
fn a_line_appended_to_a_large_file_costs_a_line() {
    for server in ["vsftpd", "proftpd", "pure_ftpd", "pyftpdlib"] {
        run(
            60,
            &format!(
                "{server}; truncate -s 1G $D/file; chown $account: $D/file
                 mounts cache_timeout=30; ls $M >$S/listed; add() {{ echo line >>$M/file; }}
                 add; costs 4096 add
                 is $(stat -c %s $D/file) $(((1 << 30) + 10)); is \"$(tail -c 10 $D/file | xargs)\" 'line line'; unmounts"
            ),
        );
    }
}

/// What others wrote meanwhile stays where nothing was written here.
#[test]
fn concurrent_remote_change_is_kept() {
    run(
        60,
        "vsftpd; head -c 4M /dev/zero >$D/file; chown $account: $D/file
         mounts cache_timeout=30; put 100000 X $M/file
         python3 - <<'PY'
import os
M, D = os.environ['S'] + '/mount/file', os.environ['S'] + '/disk/file'
f = os.open(M, os.O_RDWR); os.pread(f, 10, 0); os.pwrite(f, b'mine', 10)
with open(D, 'r+b') as theirs: theirs.seek(2000000); theirs.write(b'theirs'); theirs.seek(0, 2); theirs.write(b'more')
os.close(f)
PY
         is \"$(dd if=$D/file bs=1 skip=2000000 count=6 status=none)\" theirs
         is \"$(dd if=$D/file bs=1 skip=10 count=4 status=none)\" mine
         is \"$(tail -c 4 $D/file)\" more; is $(stat -c %s $D/file) $(((4 << 20) + 4)); says $S/log 'another client changed it'
         cmp $D/file $M/file; unmounts",
    );
}

#[test]
fn sequential_write_is_streamed_and_reads_back() {
    for server in ["vsftpd", "proftpd", "pure_ftpd", "pyftpdlib"] {
        run(
            90,
            &format!(
                "{server}; head -c 100M /dev/urandom >$S/file; mounts spool_size=32M
                 exec 5>$M/file; head -c 60M $S/file >&5
                 grown() {{ [ $(stat -c %s $D/file) -ge $((50 << 20)) ]; }}; soon grown
                 cmp <(head -c 60M $S/file) $M/file; cmp <(head -c 1M $S/file) <(head -c 1M $M/file)
                 tail -c 40M $S/file >&5; exec 5>&-; cmp $S/file $D/file; cmp $S/file $M/file
                 # Written in order, then changed at its start, as archives are.
                 python3 - <<'PY'
import os
theirs = open(os.environ['S'] + '/file', 'rb').read()
with open(os.environ['S'] + '/mount/archive', 'wb') as f:
    for at in range(0, 50 << 20, 1 << 20):
        f.write(theirs[at:at + (1 << 20)])
    f.seek(3); f.write(b'head'); f.seek(0, 2); f.write(b'end')
with open(os.environ['S'] + '/archive', 'wb') as f:
    f.write(theirs[:50 << 20]); f.seek(3); f.write(b'head'); f.seek(0, 2); f.write(b'end')
PY
                 cmp $S/archive $D/archive; cmp $S/archive $M/archive
                 # Renamed, cut and removed in the middle.
                 exec 5>$M/a; head -c 40M $S/file >&5; mv $M/a $M/b; tail -c 60M $S/file >&5; exec 5>&-; cmp $S/file $D/b
                 exec 5<>$M/c; head -c 40M $S/file >&5; truncate -s 30M $M/c; exec 5>&-; cmp <(head -c 30M $S/file) $D/c
                 exec 5<>$M/d; head -c 40M $S/file >&5; rm $M/d; head -c 5M $S/file >&5; exec 5>&-
                 [ ! -e $D/d ] || fail 'a removed file came back'; ls $M/ | grep -x d && fail 'it is listed'
                 unmounts; [ ! -e $S/.cache/ftpfs/lost+found ] || fail \"lost: $(ls $S/.cache/ftpfs/lost+found)\""
            ),
        );
    }
}

#[test]
fn file_larger_than_the_local_disk_needs_little_memory() {
    run(
        120,
        "vsftpd; mkdir $S/small; mount -t tmpfs -o size=64M none $S/small
         mounts spool_dir=$S/small,spool_size=1G
         dd if=/dev/zero of=$M/file bs=1M count=1500 status=none; is $(stat -c %s $D/file) $((1500 << 20))
         peak=$(awk '/VmHWM/ {print $2}' /proc/$mounted/status); [ $peak -lt 200000 ] || fail \"$peak KiB of memory\"
         unmounts",
    );
}

/// A stream that gets nothing is finished, and goes on behind what is there.
#[test]
fn paused_writer_keeps_no_connection() {
    run(
        60,
        "vsftpd; head -c 4M /dev/urandom >$S/file; mounts max_conns=1
         exec 5>$M/file; head -c 3M $S/file >&5; there() { [ $(stat -c %s $D/file) = $((3 << 20)) ]; }; soon there
         cmp $D/there/down $M/there/down
         tail -c 1M $S/file >&5; exec 5>&-; cmp $S/file $D/file; says $S/log '> APPE'; unmounts",
    );
}

/// vsftpd's own limit of the rate makes uploads long enough to be cut.
#[test]
fn an_upload_that_is_cut_goes_on_where_it_was() {
    run(
        300,
        "nft 'add table ip t; add chain ip t in { type filter hook input priority 0; }'
         vsftpd local_max_rate=20000000 data_connection_timeout=5; head -c 24M /dev/urandom >$S/file; mounts timeout=30
         for at in {1..8}; do
             cp $S/file $M/file$at & copier=$!
             # Once bytes flow: where the server has said nothing yet it hears of no cut, and keeps the file locked for
             # data_connection_timeout (300 s by default).
             until [ -s $D/file$at ]; do sleep 0.01; done
             sleep 0.$((RANDOM % 9))$((RANDOM % 9))
             # Whatever is sent on a data connection now is answered by a reset.
             nft 'add rule ip t in tcp sport != 21 tcp dport != 21 tcp flags & rst == 0 reject with tcp reset'; sleep 0.03; nft 'flush chain ip t in'
             wait $copier || fail \"the copy ended with $?\"
             cmp $S/file $D/file$at; rm $M/file$at
         done
         says $S/log 'resuming after what has arrived'; unmounts",
    );
}

#[test]
fn a_server_that_is_started_again_in_the_middle_costs_no_file() {
    run(
        60,
        "vsftpd local_max_rate=20000000; server=$!; head -c 40M /dev/urandom >$S/file; mounts timeout=30
         cp $S/file $M/file & copier=$!
         sleep 0.7; kill -9 $(pgrep vsftpd); sleep 1; vsftpd
         wait $copier || fail \"the copy ended with $?\"; cmp $S/file $D/file; cmp $S/file $M/file; unmounts",
    );
}

/// The server's disk is full: the caller hears of it, and what was whole here is kept.
#[test]
fn full_server_is_reported_and_nothing_is_lost() {
    let full = "No space left on device";
    // pyftpdlib says "426 None; transfer aborted.", as of a broken connection.
    for (server, said) in [
        ("vsftpd", full),
        ("proftpd", full),
        ("pure_ftpd", full),
        ("pyftpdlib", "Input/output error"),
    ] {
        run(
            60,
            &format!(
                "mount -t tmpfs -o size=16M none $D; chown $account: $D
                 {server}; head -c 24M /dev/urandom >$S/file; head -c 4M /dev/urandom >$S/old; cp $S/old $D/old; chown $account: $D/old
                 mounts timeout=30
                 ! cp $S/file $M/file 2>$S/why || fail 'it was said to be stored'
                 says $S/why '{said}'
                 explained() {{ [ -s $S/.cache/ftpfs/lost+found/file.20*Z.reason ]; }}; soon explained
                 kept=$(ls $S/.cache/ftpfs/lost+found/file.20*Z); cmp -n $(stat -c %s $kept) $kept $S/file; cmp $S/old $D/old
                 rm $M/file; cp $S/old $M/new; cmp $S/old $D/new; unmounts"
            ),
        );
    }
}

/// Writes, rewrites, renames and removes files by several hands until the mount dies; notes what every name held when its
/// close returned, and that it is not known what it holds from the moment when it is touched again.
const WORKLOAD: &str = r#"
import os, random, sys, threading
mount, notes, seed = sys.argv[1], open(sys.argv[2], 'w', buffering=1), int(sys.argv[3])
sizes = [0, 1, 3000, 20000, 200000, 900000, 3000000]
def note(name, what):
    notes.write('%s %s\n' % (name, what))
def work(hand):
    rng = random.Random(seed * 10 + hand)
    try:
        for turn in range(10000):
            name = '%d-%d' % (hand, rng.randrange(12))
            path, what = mount + '/' + name, rng.randrange(10)
            if what == 0 and os.path.exists(path):
                note(name, 'unknown'); os.unlink(path); note(name, 'gone')
            elif what == 1 and os.path.exists(path):
                other = '%d-r%d' % (hand, turn)
                note(name, 'unknown'); note(other, 'unknown')
                held = open(path, 'rb').read()
                os.rename(path, mount + '/' + other); note(name, 'gone'); note(other, held.hex() if len(held) < 10 else '%d %d' % (len(held), held[0]))
            else:
                size, byte = rng.choice(sizes), rng.randrange(1, 256)
                note(name, 'unknown')
                with open(path, 'wb') as f:
                    f.write(bytes([byte]) * size)
                note(name, '%d %d' % (size, byte) if size >= 10 else (bytes([byte]) * size).hex())
    except OSError:
        pass
hands = [threading.Thread(target=work, args=(hand,)) for hand in range(3)]
for hand in hands: hand.start()
for hand in hands: hand.join()
"#;

/// Compares the server's disk with the notes.
const COMPARE: &str = r#"
import os, sys
disk, last = sys.argv[1], {}
for line in open(sys.argv[2]):
    if not line.endswith('\n'): break
    name, what = line[:-1].split(' ', 1); last[name] = what
known = 0
for name, what in last.items():
    if what == 'unknown': continue
    known += 1
    path = disk + '/' + name
    if what == 'gone':
        assert not os.path.exists(path), name + ' came back'
        continue
    held = open(path, 'rb').read()
    if ' ' in what:
        size, byte = map(int, what.split())
        wanted = bytes([byte]) * size
    else:
        wanted = bytes.fromhex(what)
    assert held == wanted, '%s: %d bytes of %r instead of %s' % (name, len(held), held[:1], what)
print(known)
"#;

/// 50 times: the mount is killed in the middle of it all, mounted again, and everything that was closed is there.
#[test]
fn closed_file_survives_a_killed_mount() {
    run(
        300,
        &format!(
            "cat >$S/workload.py <<'PY'
{WORKLOAD}
PY
cat >$S/compare.py <<'PY'
{COMPARE}
PY
             vsftpd; total=0 went_on=0
             for seed in {{1..50}}; do
                 rm -rf $D/* && mounts writeback
                 python3 $S/workload.py $M $S/notes $seed 2>$S/errors & workload=$!
                 sleep 0.$((seed * 7919 % 900 + 100))
                 kill -9 $mounted; wait $workload; umount -il $M; wait $mounted || true
                 mounts writeback; ! grep -q 'of an earlier mount are queued' $S/log || went_on=$((went_on + 1)); unmounts
                 known=$(python3 $S/compare.py $D $S/notes) || fail \"seed $seed: $(grep -v ' [<>] ' $S/log | tail -n 20); lost+found: $(ls -R $S/.cache/ftpfs | tail -20)\"
                 total=$((total + known))
                 [ ! -e $S/.cache/ftpfs/journal/*/*.log ] || fail \"seed $seed: something is left in the journal\"
             done; echo $total names, $went_on journals; [ $went_on -gt 10 ] || fail \"just $went_on journals\"; [ $total -gt 100 ] || fail \"only $total names were looked at\""
        ),
    );
}

/// Two mounts, one of a directory of the other, both at work; now one is killed, now the other, now both.
#[test]
fn of_two_mounts_that_share_a_journal_either_may_die() {
    run(
        300,
        &format!(
            "cat >$S/workload.py <<'PY'
{WORKLOAD}
PY
cat >$S/compare.py <<'PY'
{COMPARE}
PY
             vsftpd; N=$S/below; mkdir -p $N; total=0
             below() {{
                 \"$FTPFS\" -d ${{URL}}sub $N -o writeback 2>$S/log2 & second=$!
                 is_there() {{ mountpoint -q $N; }}; soon is_there
             }}
             for seed in {{1..18}}; do
                 rm -rf $D/*; mkdir $D/sub; chown $account: $D/sub; mounts writeback; below
                 python3 $S/workload.py $M/sub $S/notes1 $seed 2>$S/errors & one=$!
                 mkdir -p $D/sub/own; chown $account: $D/sub/own
                 python3 $S/workload.py $N/own $S/notes2 $((seed + 100)) 2>$S/errors & two=$!
                 sleep 0.$((seed * 7919 % 900 + 100))
                 case $((seed % 3)) in
                 0) kill -9 $mounted; kill -9 $second ;;
                 1) kill -9 $mounted; sleep 0.2; umount -il $N ;;
                 2) kill -9 $second; sleep 0.2; umount -il $M ;;
                 esac
                 wait $one; wait $two; umount -il $M $N 2>/dev/null || true; wait $mounted || true; wait $second || true
                 # What both had lies below the one; it takes all.
                 mounts writeback; unmounts
                 known=$(python3 $S/compare.py $D/sub $S/notes1) || fail \"seed $seed: $(tail $S/log); $(ls -R $S/.cache/ftpfs | tail)\"
                 total=$((total + known))
                 known=$(python3 $S/compare.py $D/sub/own $S/notes2) || fail \"seed $seed: $(tail $S/log); $(ls -R $S/.cache/ftpfs | tail)\"
                 total=$((total + known))
                 [ -z \"$(find $S/.cache/ftpfs/journal -name '*.log' 2>/dev/null)\" ] || fail \"seed $seed: something is left in the journal\"
             done; echo $total names; [ $total -gt 100 ] || fail \"only $total names were looked at\""
        ),
    );
}

#[test]
fn atomic_upload_never_shows_half_a_file() {
    for server in ["vsftpd", "proftpd", "pure_ftpd", "pyftpdlib"] {
        run(
            60,
            &format!(
                "{server}; mounts atomic; head -c 8M /dev/zero | tr '\\0' a >$M/f; chmod 640 $M/f
                 python3 - <<'PY'
import os, threading
M, D = os.environ['S'] + '/mount/f', os.environ['S'] + '/disk/f'
done, faults = threading.Event(), []
def look():
    while not done.is_set():
        held = open(D, 'rb').read()
        if len(held) != 8 << 20 or held != held[:1] * len(held):
            faults.append(len(held))
looker = threading.Thread(target=look); looker.start()
for byte in b'bcdefgh':
    with open(M, 'wb') as f:
        f.write(bytes([byte]) * (8 << 20))
done.set(); looker.join()
assert not faults, faults
PY
                 echo more >>$M/f; is $(stat -c '%s %a' $D/f | tr ' ' -) $(((8 << 20) + 5))-640
                 cmp $M/f $D/f; is \"$(ls -A $D | xargs)\" 'f there'; unmounts"
            ),
        );
    }
}

/// Under a name of its own, which is gone when the file is there, or removed.
#[test]
fn atomic_upload_is_streamed() {
    for server in ["vsftpd", "proftpd", "pure_ftpd", "pyftpdlib"] {
        run(
            90,
            &format!(
                "{server}; head -c 80M /dev/urandom >$S/file; mounts atomic,spool_size=32M
                 python3 - <<'PY'
import glob, os, time
S, M, D = (os.environ['S'] + end for end in ('', '/mount', '/disk'))
held = open(S + '/file', 'rb').read()
def begin(name):
    # 50 MB of a file, most of which is on the server then, under another name.
    f = os.open(M + '/' + name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    for at in range(0, 50 << 20, 1 << 20): os.write(f, held[at:at + (1 << 20)])
    until = time.time() + 20
    while not any(os.stat(path).st_size >= 40 << 20 for path in glob.glob(D + '/.ftpfs-new-*')):
        assert time.time() < until, os.listdir(D)
        time.sleep(0.05)
    return f
def there(*names):
    until = time.time() + 20
    while sorted(os.listdir(D)) != sorted(('there', *names)):
        assert time.time() < until, os.listdir(D)
        time.sleep(0.05)
def has(name, wanted): assert open(D + '/' + name, 'rb').read() == wanted, name
f = begin('f')
assert not os.path.exists(D + '/f')
assert os.pread(f, 1000, 5) == held[5:1005] and open(M + '/f', 'rb').read() == held[:50 << 20]
os.write(f, held[50 << 20:]); os.close(f)
has('f', held); there('f'); os.chmod(M + '/f', 0o640)
# Over an old one, which stays until then; its mode stays for good.
f = begin('f'); has('f', held)
os.pwrite(f, b'head', 0); os.write(f, b'end'); os.close(f)
has('f', b'head' + held[4:50 << 20] + b'end'); assert os.stat(D + '/f').st_mode & 0o777 == 0o640
# Removed while it is open, new and old; renamed while it is open.
for name in 'gf':
    f = begin(name); os.unlink(M + '/' + name); os.write(f, b'more')
    assert os.pread(f, 9, (50 << 20) - 5) == held[(50 << 20) - 5:50 << 20] + b'more'
    os.close(f); there(*('f' if name == 'g' else ''))
f = begin('h'); os.rename(M + '/h', M + '/i'); os.write(f, b'more'); os.close(f)
has('i', held[:50 << 20] + b'more'); there('i')
PY
                 unmounts
                 [ ! -e $S/.cache/ftpfs/lost+found ] || fail 'something was lost'"
            ),
        );
    }
}

#[test]
fn atomic_stream_where_replacing_is_refused_is_stored_in_place() {
    run(
        60,
        "vsftpd cmds_denied=RNFR,RNTO; head -c 60M /dev/urandom >$S/file; mounts atomic,spool_size=32M
         cp $S/file $M/f; cmp $S/file $D/f; says $S/log 'in place from now on'; is \"$(ls -A $D | xargs)\" 'f there'
         cp $S/file $M/g; cmp $S/file $D/g; unmounts",
    );
}

/// ProFTPD's mod_digest has hashes; a content that is changed behind the upload is found out, and stored again.
#[test]
fn stored_file_is_verified_by_hash() {
    run(
        60,
        "proftpd 'LoadModule mod_digest.c'; mounts verify=hash
         head -c 3M /dev/urandom >$S/file; cp $S/file $M/file; cmp $S/file $D/file; says $S/log '> HASH'
         echo more >>$M/file; echo more >>$S/file; cmp $S/file $D/file; not_says $S/log 'sending the whole file again'; unmounts",
    );
}

#[test]
fn a_file_that_lost_its_name_is_not_listed() {
    run(
        60,
        "vsftpd; truncate -s 100M $D/large; chown $account: $D/large; mounts cache_timeout=0
         exec 5<$M/large; rm $M/large; is \"$(ls -A $M | xargs)\" there; is $(wc -c <&5) $((100 << 20)); exec 5<&-
         gone() { [ \"$(ls -A $D | xargs)\" = there ]; }; soon gone; unmounts",
    );
}

/// fsx does what it likes to one file, by every call there is, and looks at every byte that it reads.
fn fsx(server: &str, options: &str) {
    run(
        240,
        &format!(
            "{server}; mounts {options}; fsx -N 20000 -S 7 -P $S $M/f >$S/fsx 2>&1 || fail \"$(tail -n 40 $S/fsx)\"
             cp $M/f $S/f; unmounts; cmp $S/f $D/f; [ ! -e $S/.cache/ftpfs/lost+found ] || fail 'something was lost'"
        ),
    );
}

macro_rules! fsx_on {
    ($($name:ident: $server:literal, $options:literal;)+) => {
        $(#[test] fn $name() { fsx($server, $options); })+
    };
}

fsx_on! {
    fsx_20000_vsftpd: "vsftpd", "cache_timeout=30";
    fsx_20000_proftpd: "proftpd", "cache_timeout=30";
    fsx_20000_proftpd_without_parts: "restart=off proftpd", "cache_timeout=30";
    fsx_20000_pure_ftpd: "pure_ftpd", "cache_timeout=30";
    fsx_20000_pyftpdlib: "pyftpdlib", "cache_timeout=30";
    fsx_20000_vsftpd_writeback: "vsftpd", "writeback";
    fsx_20000_proftpd_writeback: "proftpd", "writeback";
    fsx_20000_pure_ftpd_writeback: "pure_ftpd", "writeback";
    fsx_20000_pyftpdlib_writeback: "pyftpdlib", "writeback";
}

/// Installed into a copy of the machine's own directories: umount(8) and mount(8) know just what lies in /sbin.
#[test]
fn umount_of_the_system_waits_too_where_it_is_installed() {
    run(
        60,
        "mkdir -p /run/mount; mount -t tmpfs none /run/mount
         mkdir $S/over; mount -t tmpfs none $S/over
         for directory in /usr/sbin /usr/local; do
             mkdir -p $S/over$directory/{upper,work}
             mount -t overlay none -o lowerdir=$directory,upperdir=$S/over$directory/upper,workdir=$S/over$directory/work $directory
         done
         FTPFS=$FTPFS $SUPPORT/../../scripts/run --install
         vsftpd local_max_rate=2000000; head -c 8M /dev/urandom >$S/file
         for type in fuse.ftpfs ftpfs; do
             mount -t $type $URL $M -o writeback; is $(findmnt -n -o FSTYPE $M) fuse.ftpfs
             cp $S/file $M/file; ! cmp -s $S/file $D/file || fail 'it was there before its close'
             umount $M 2>$S/said; cmp $S/file $D/file; says $S/said 'waiting for uploads: '; rm $D/file
         done
         # By name of the directory and with what umount(8) passes on.
         mount -t fuse.ftpfs $URL $M -o writeback; cp $S/file $M/file; umount -v -t fuse.ftpfs $M 2>$S/said; cmp $S/file $D/file
         # Who does not wait leaves it to the journal, and to the next mount.
         rm $D/file; mount -t fuse.ftpfs $URL $M -o writeback; cp $S/file $M/file; ! umount -f $M 2>$S/said || fail 'it was said to be stored'
         says $S/said 'not stored yet'; ! cmp -s $S/file $D/file || fail 'it waited'
         mount -t fuse.ftpfs $URL $M -o writeback; umount $M 2>$S/said; cmp $S/file $D/file
         FTPFS=$FTPFS $SUPPORT/../../scripts/run --install $S/root; [ ! -s /run/mount/utab ] || fail 'a note is left'
         is \"$(ls $S/root/sbin | xargs)\" 'mount.curlftpfs mount.ftpfs mount.fuse.curlftpfs mount.fuse.ftpfs umount.curlftpfs umount.ftpfs umount.fuse.curlftpfs umount.fuse.ftpfs'",
    );
}

#[test]
fn umount_reports_refused_uploads() {
    run(
        60,
        "vsftpd; mkdir $D/ro; : >$D/ro/x; chown $account: $D/ro; chmod 444 $D/ro/x; chmod 555 $D/ro; mounts writeback
         echo data >$M/ro/x; ! \"$FTPFS\" umount $M 2>$S/said || fail 'it was said to be stored'
         says $S/said '1 closed file could not be stored'; says $S/said $S/.cache/ftpfs/lost+found
         ! mountpoint -q $M; ! wait $mounted || fail 'ftpfs says that all is stored'; is \"$(cat $S/.cache/ftpfs/lost+found/ro_x.20*Z)\" data",
    );
}

#[test]
fn umount_waits_and_reports_what_is_left() {
    run(
        60,
        "vsftpd local_max_rate=2000000; head -c 12M /dev/urandom >$S/file; mounts writeback
         cp $S/file $M/file; cp $M/file $S/back; cmp $S/file $S/back
         ! cmp -s $S/file $D/file || fail 'it was there before its close'
         \"$FTPFS\" umount $M 2>$S/said; cmp $S/file $D/file; says $S/said 'waiting for uploads: '; wait $mounted
         # Who does not wait leaves it in the journal.
         mounts writeback; cp $S/file $M/other; ! \"$FTPFS\" umount -f $M 2>$S/said || fail 'it was said to be stored'
         says $S/said '1 closed file (12.0 MiB) not stored yet'; ! wait $mounted || fail 'ftpfs says that all is stored'
         mounts writeback; cmp $S/file $M/other; \"$FTPFS\" umount $M; cmp $S/file $D/other;
         # One whose process has ended has nothing to wait for.
         mounts writeback; kill -9 $mounted; wait $mounted || true; \"$FTPFS\" umount $M; ! mountpoint -q $M",
    );
}

/// What is sent takes longer than the patience of the mount, and gets on all the time.
#[test]
fn sigterm_waits_while_an_upload_progresses() {
    run(
        60,
        "vsftpd local_max_rate=2500000; head -c 16M /dev/urandom >$S/file
         mounts timeout=3,writeback
         # From the end to the start: nothing of it is on its way before it is closed.
         python3 -c '
import sys
bytes = open(sys.argv[1], \"rb\").read()
with open(sys.argv[2], \"wb\", buffering=0) as f:
    for at in reversed(range(0, len(bytes), 1 << 20)):
        f.seek(at); f.write(bytes[at:at + (1 << 20)])
' $S/file $M/new
         ! cmp -s $S/file $D/new || fail 'it was there before its close'
         kill -TERM $mounted; wait $mounted; cmp $S/file $D/new; [ ! -e $S/.cache/ftpfs/journal/*/*.log ]",
    );
}
