//! Whole tools, as people use them.

use std::time::Duration;

use crate::mounted::Mounted;

const SCRIPT_LIMIT: Duration = Duration::from_secs(240);

pub fn cp_r(m: &mut Mounted) {
    m.sh(
        "tree $S/tree; cp -r $S/tree $M/; same $S/tree $D/tree; same $S/tree $M/tree
          cp -r $M/tree $M/copy; same $S/tree $D/copy
          is \"$(stat -c %a $D/tree/run $D/tree/a/file1 | xargs)\" '755 600'",
    );
    m.remount();
    m.sh("same $S/tree $M/tree; same $S/tree $M/copy; cp -r $M/copy $S/back; same $S/tree $S/back");
}

pub fn mv(m: &mut Mounted) {
    m.sh("tree $S/tree; cp -r $S/tree $M/tree
          mkdir $M/other; mv $M/tree/run $M/tree/ran; mv $M/tree/ran $M/other/run; mv $M/tree/a $M/other/
          gone $D/tree/run $D/tree/ran $D/tree/a
          same $S/tree/a $D/other/a; same $S/tree/run $D/other/run
          mv $M/other $M/moved; same $S/tree/a $M/moved/a
          mv $M/moved/a $S/out; same $S/tree/a $S/out; gone $D/moved/a
          mv $S/out $M/in; same $S/tree/a $D/in; gone $S/out");
    m.remount();
    m.sh("same $S/tree/a $M/in; is \"$(ls $M | xargs)\" 'in moved tree'");
}

pub fn rm_r(m: &mut Mounted) {
    m.sh("tree $S/tree; cp -r $S/tree $D/theirs; cp -r $S/tree $M/ours; theirs
          ls -R $M >/dev/null; rm -r $M/theirs $M/ours; is \"$(ls -A $M)\" ''; is \"$(ls -A $D)\" ''");
    m.remount();
    m.sh("is \"$(ls -A $M)\" ''");
}

pub fn tar_x_then_tar_d(m: &mut Mounted) {
    m.sh("tree $S/tree; tar -C $S -cf $S/tree.tar tree; tar -C $M -xf $S/tree.tar
          tar -C $M -df $S/tree.tar; same $S/tree $D/tree; is \"$(facts $D/tree)\" \"$(facts $S/tree)\"");
    m.remount();
    m.sh("tar -C $M -df $S/tree.tar; tar -C $M -cf - tree | tar -C $S -df -");
}

/// Without directories, whose times not every server can set.
pub fn tar_x_then_tar_d_of_files(m: &mut Mounted) {
    m.sh("tree $S/tree; tar -C $S/tree/a -cf $S/files.tar $(cd $S/tree/a && find . -maxdepth 1 -type f)
          tar -C $M -xf $S/files.tar; tar -C $M -df $S/files.tar
          (cd $S/tree/a && for f in *; do [ -d $f ] || same $f $D/$f; done)");
    m.remount();
    m.sh("tar -C $M -df $S/files.tar");
}

pub fn rsync_twice(m: &mut Mounted) {
    rsync(m, "-a");
}

/// For servers that can't set the times of directories.
pub fn rsync_twice_without_directory_times(m: &mut Mounted) {
    rsync(m, "-a --omit-dir-times");
}

fn rsync(m: &mut Mounted, options: &str) {
    let again = format!(
        "out=$(rsync {options} --itemize-changes --stats $S/tree/ $M/tree/)
         is \"$(echo \"$out\" | grep -E '^[<>ch.*][fdLDS]' || true)\" ''
         grep -q 'files transferred: 0$' <<<\"$out\" || fail \"$out\"
         grep -q 'transferred file size: 0 bytes' <<<\"$out\" || fail \"$out\""
    );
    m.sh(&format!(
        "tree $S/tree; rsync {options} $S/tree/ $M/tree/; same $S/tree $D/tree
         is \"$(facts $D/tree)\" \"$(facts $S/tree)\"; {again}"
    ));
    m.remount();
    m.sh(&again);
    // A changed file goes over alone, and one that is gone goes.
    m.sh(&format!(
        "echo more >>$S/tree/a/file7; rm $S/tree/a/file8
         is \"$(rsync {options} --delete --out-format=%n $S/tree/ $M/tree/ | grep -v /$)\" $'deleting a/file8\\na/file7'
         same $S/tree $D/tree; {again}"
    ));
}

/// A tree of odd names, modes and times, by both tools; afterwards rsync finds nothing to do, byte for byte.
pub fn cp_a(m: &mut Mounted) {
    copies_of_odd_tree(m, "cp -a $S/odd $M/", "-a");
}

pub fn rsync_a(m: &mut Mounted) {
    copies_of_odd_tree(m, "rsync -a $S/odd $M/", "-a");
}

/// For servers that can't set the times of directories: then nothing else differs.
pub fn cp_a_leniently(m: &mut Mounted) {
    m.remount_with("lenient");
    copies_of_odd_tree(m, "cp -a $S/odd $M/", "-a -O");
}

pub fn rsync_a_without_directory_times(m: &mut Mounted) {
    copies_of_odd_tree(m, "rsync -a -O $S/odd $M/", "-a -O");
}

fn copies_of_odd_tree(m: &mut Mounted, copy: &str, compare: &str) {
    let nothing =
        format!("is \"$(rsync {compare} --checksum --dry-run --itemize-changes $S/odd $M/)\" ''");
    m.sh(&format!(
        "odd_tree $S/odd; {copy}; {nothing}; same $S/odd $D/odd; is \"$(facts $D/odd)\" \"$(facts $S/odd)\""
    ));
    m.remount();
    m.sh(&nothing);
}

pub fn git_clone_commit_fsck(m: &mut Mounted) {
    m.sh(
        "git config --global user.name A; git config --global user.email a@b.c
          git config --global init.defaultBranch main; git config --global safe.directory '*'
          git init -q $S/origin; cd $S/origin; tree files
          for n in 1 2 3; do echo $n >files/a/file$n; git add -A; git commit -qm $n; done",
    );
    m.sh_within(
        SCRIPT_LIMIT,
        "git clone -q $S/origin $M/clone; cd $M/clone; is \"$(git status --porcelain)\" ''
         echo changed >files/a/file1; git mv files/a/file2 files/renamed; git rm -q files/a/file3
         git add -A; git commit -qm 'a change'; is \"$(git status --porcelain)\" ''
         git branch other; git checkout -q other; git checkout -q -; git fsck --strict --no-progress",
    );
    m.remount();
    m.sh_within(
        SCRIPT_LIMIT,
        "cd $M/clone; git fsck --strict --no-progress; is \"$(git status --porcelain)\" ''
         git -C $D/clone fsck --strict --no-progress; is \"$(git -C $D/clone log --format=%s | xargs)\" 'a change 3 2 1'
         git push -q origin HEAD:pushed; is \"$(git -C $S/origin rev-parse pushed)\" \"$(git rev-parse HEAD)\"
         git gc -q; git fsck --strict --no-progress",
    );
}

pub fn sqlite_delete(m: &mut Mounted) {
    sqlite(m, "delete");
}

pub fn sqlite_wal(m: &mut Mounted) {
    sqlite(m, "wal");
}

/// 1,000 inserts: 900 at once, 100 that are each stored before the next.
fn sqlite(m: &mut Mounted, journal: &str) {
    let whole = "is \"$(sqlite3 $DB 'PRAGMA integrity_check')\" ok
                 is \"$(sqlite3 $DB 'SELECT count(*), sum(n) FROM t')\" '1000|500500'";
    m.sh_within(
        SCRIPT_LIMIT,
        &format!(
            "DB=$M/db; {{
               echo 'PRAGMA journal_mode={journal}; CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT); BEGIN;'
               for n in {{1..900}}; do echo \"INSERT INTO t VALUES ($n, hex(randomblob(200)));\"; done
               echo 'COMMIT;'
               for n in {{901..1000}}; do echo \"INSERT INTO t VALUES ($n, hex(randomblob(200)));\"; done
             }} >$S/sql
             is \"$(sqlite3 -bail $DB <$S/sql)\" {journal}; {whole}"
        ),
    );
    m.remount();
    m.sh(&format!(
        "DB=$M/db; {whole}; mkdir $S/theirs; cp $D/db* $S/theirs/; DB=$S/theirs/db; {whole}"
    ));
}

pub fn sed_i(m: &mut Mounted) {
    m.sh("seq 5000 >$S/f; cp $S/f $M/f; sed -i 's/^42$/forty-two/; $d' $M/f; sed -i 's/^42$/forty-two/; $d' $S/f
          same $S/f $D/f; is \"$(ls -A $D)\" f");
    m.remount();
    m.sh("same $S/f $M/f");
}

pub fn append(m: &mut Mounted) {
    m.sh(
        "echo one >$M/f; is \"$(cat $D/f)\" one; echo two >>$M/f; is \"$(cat $D/f)\" $'one\\ntwo'
          head -c 100000 /dev/urandom >$S/g; cp $S/g $M/g
          for n in {1..20}; do echo $n | tee -a $S/g >>$M/g; done; same $S/g $D/g
          echo first >>$M/new; is \"$(cat $D/new)\" first",
    );
    m.remount();
    m.sh("same $S/g $M/g; echo three >>$M/f; is \"$(cat $D/f)\" $'one\\ntwo\\nthree'");
}

pub fn truncate(m: &mut Mounted) {
    m.sh("head -c 300000 /dev/urandom | tee $S/f >$M/f
          for size in 299999 4096 1 0 70000 500000 500001 12; do
            truncate -s $size $M/f; truncate -s $size $S/f
            is \"$(stat -c %s $M/f)\" $size; same $S/f $M/f; same $S/f $D/f
          done
          head -c 300000 /dev/urandom >$S/g; cp $S/g $M/g
          truncate -s 123456 $M/g; truncate -s 123456 $S/g; same $S/g $D/g; truncate -s 9999 $M/made");
    m.remount();
    m.sh(
        "same $S/f $M/f; same $S/g $M/g; is \"$(stat -c %s $M/made $D/made | xargs)\" '9999 9999'",
    );
}

pub fn dd_notrunc(m: &mut Mounted) {
    m.sh(
        "head -c 2000000 /dev/urandom >$S/f; cp $S/f $M/f; head -c 70000 /dev/urandom >$S/piece
          for to in $M/f $S/f; do
            dd if=$S/piece of=$to bs=1000 seek=777 conv=notrunc status=none
            printf x | dd of=$to bs=1 seek=1234567 conv=notrunc status=none
            printf end | dd of=$to bs=1 seek=1999999 conv=notrunc status=none
            printf beyond | dd of=$to bs=1 seek=2100000 conv=notrunc status=none
          done; same $S/f $D/f; same $S/f $M/f",
    );
    m.remount();
    m.sh("same $S/f $M/f
          for to in $M/f $S/f; do dd if=$S/piece of=$to bs=1000 seek=10 conv=notrunc status=none; done; same $S/f $D/f");
}

pub fn write_temp_then_rename(m: &mut Mounted) {
    m.sh("echo old >$M/f; chmod 640 $M/f
          for n in {1..20}; do seq $n >$M/.f.tmp; mv -f $M/.f.tmp $M/f; is \"$(cat $M/f)\" \"$(seq $n)\"; done
          is \"$(cat $D/f)\" \"$(seq 20)\"; is \"$(ls -A $D)\" f
          python3 - <<'PY'
import os
for n in range(20):
    with open(os.environ['M'] + '/.g', 'w') as f:
        f.write('%d\\n' % n); f.flush(); os.fsync(f.fileno())
    os.replace(os.environ['M'] + '/.g', os.environ['M'] + '/g')
    assert open(os.environ['D'] + '/g').read() == '%d\\n' % n
PY");
    m.remount();
    m.sh(
        "is \"$(cat $M/f)\" \"$(seq 20)\"; is \"$(cat $M/g)\" 19; is \"$(ls -A $M | xargs)\" 'f g'",
    );
}

/// Its default weights: reads, writes, mapped ones, truncations, reopening and the rest, checked against a model.
pub fn fsx(m: &mut Mounted) {
    m.sh_within(
        SCRIPT_LIMIT,
        "fsx -N 2000 -S 20 -P $S $M/f; soon cmp $M/f $D/f; cp $M/f $S/f",
    );
    m.remount();
    m.sh("same $S/f $M/f; same $S/f $D/f");
}

pub fn sha256_256_mib(m: &mut Mounted) {
    m.sh_within(SCRIPT_LIMIT, "head -c 256M /dev/urandom >$S/ours; cp $S/ours $M/ours; cmp $S/ours $D/ours; sha256sum <$S/ours >$S/sum");
    m.remount();
    m.sh_within(
        SCRIPT_LIMIT,
        "is \"$(sha256sum <$M/ours)\" \"$(cat $S/sum)\"; cp $M/ours $S/back; cmp $S/ours $S/back",
    );
    // cache_size= by default, and all else.
    const MEMORY_LIMIT_MIB: u64 = 256 + 64;
    let peak = m.peak_memory();
    assert!(peak < MEMORY_LIMIT_MIB, "{peak} MiB resident");
}

/// Each writes, renames, changes and removes files of its own in one directory and reads what the others read.
pub fn eight_processes(m: &mut Mounted) {
    m.sh_within(
        SCRIPT_LIMIT,
        "head -c 5000000 /dev/urandom >$S/shared; cp $S/shared $D/shared; theirs; mkdir $M/d
         work() {
           local n
           for n in {1..15}; do
             head -c $((n * 5000 + $1)) $S/shared >$M/d/$1-$n.tmp
             mv $M/d/$1-$n.tmp $M/d/$1-$n; echo tail >>$M/d/$1-$n
             cmp $S/shared $M/shared
             [ $((n % 3)) != 0 ] || rm $M/d/$1-$n
             ls $M/d >/dev/null
           done
         }
         pids=(); for p in {1..8}; do work $p & pids+=($!); done; for pid in ${pids[@]}; do wait $pid; done
         check() {
           is \"$(ls $1 | wc -l)\" 80
           for p in {1..8}; do for n in 1 2 4 5 7 8 10 11 13 14; do
             cmp <(head -c $((n * 5000 + p)) $S/shared; echo tail) $1/$p-$n
           done; done
         }
         check $D/d; check $M/d",
    );
    m.remount();
    m.sh("same $D/d $M/d");
}
