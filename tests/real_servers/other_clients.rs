//! The mount is not the only client of its server.

use crate::mounted::Mounted;

pub fn cold_read_from_disk(m: &mut Mounted) {
    m.sh(
        "head -c 5000000 /dev/urandom >$D/f; mkdir -p $D/a/b; echo deep >$D/a/b/c; theirs
          same $D/f $M/f; is \"$(cat $M/a/b/c)\" deep",
    );
}

pub fn cold_read_after_curl(m: &mut Mounted) {
    m.sh(
        "head -c 1000000 /dev/urandom >$S/f; ls $M; curl -sS -T $S/f $URL/sub/f --ftp-create-dirs
          curl -sS -T $S/f \"$URL/with%20blank\"",
    );
    m.remount();
    m.sh("same $S/f $M/sub/f; same $S/f \"$M/with blank\"");
}

pub fn curl_reads_ours(m: &mut Mounted) {
    m.sh("head -c 1000000 /dev/urandom >$S/f; cp $S/f $M/f; curl -sS $URL/f -o $S/back; same $S/f $S/back
          mv $M/f $M/g; curl -sS $URL/g -o $S/back; same $S/f $S/back; refuses curl -sS $URL/f -o $S/back");
}

pub fn change_seen_in_time(m: &mut Mounted) {
    m.remount_with("cache_timeout=1");
    m.sh("mkdir $D/d; echo one >$D/f; echo old >$D/gone; echo same >$D/size; touch -d @1000000000 $D/f $D/size; theirs
          is \"$(cat $M/f)\" one; is \"$(cat $M/size)\" same; is \"$(ls $M | xargs)\" 'd f gone size'; gone $M/new
          echo longer >$D/f; rm $D/gone; echo new >$D/new; echo diff >$D/size; theirs
          sleep 2.5
          is \"$(cat $M/f)\" longer; is \"$(stat -c %s $M/f)\" 7; is \"$(cat $M/new)\" new; is \"$(cat $M/size)\" diff
          gone $M/gone; is \"$(ls $M | xargs)\" 'd f new size'
          rmdir $D/d; echo now a file >$D/d; theirs; sleep 2.5; is \"$(cat $M/d)\" 'now a file'");
}

/// Even where the mount still believes that there is no such file: what others wrote must not be lost.
pub fn append_to_a_file_of_others(m: &mut Mounted) {
    m.sh(
        "ls -l $M; gone $M/f; seq 3 >$D/f; theirs; echo 4 >>$M/f; is \"$(cat $D/f)\" \"$(seq 4)\"
          seq 5 >$D/f; theirs; echo 6 >>$M/f; is \"$(cat $D/f)\" \"$(seq 6)\"",
    );
    m.remount();
    m.sh("is \"$(cat $M/f)\" \"$(seq 6)\"");
}
