# What scripts/bench measures; it runs this within namespaces of its own.
#
# A row has a function that is timed, row_NAME, run in a shell of its own with the mount at $M and the server's disk at
# $D; what it makes goes to $O. Besides there may be prepare_NAME, which makes files on the server, check_NAME, which
# fails if what came is wrong, and NAME's counterparts for programs that don't mount, lftp_NAME and curl_NAME. Dashes in
# names are underscores there.
set -euo pipefail

export A=127.0.0.1
[ "$PLACE" = lan ] || A=10.77.0.2
# shellcheck source=../tests/support/namespace.sh
source "$SUPPORT/namespace.sh"
O=$S/out
export A M D O S URL account password

# --- the rows ---------------------------------------------------------------------------------------------------------

declare -a names=()
declare -A place_of=() options_of=() server_of=()

# row NAME PLACE[,PLACE] "WHAT IT IS": a place is wan, lan, or scale, which are on loopback and measured where they are asked for
row() {
    [[ ,$2, = *,$PLACE,* ]] || [[ $PLACE$SCALE,$2 = lanyes,scale ]] && names+=("$1") || true
    place_of[$1]=$2
}

row ls-tree wan,lan "ls -lR of 200 directories with 2,000 files, exact times"
prepare_ls_tree() { make_tree; }
row_ls_tree() { ls -lR "$M/tree" >"$O"; }
check_ls_tree() { same_listing tree; }
lftp_ls_tree() { lftp_do "find -l tree" >"$O"; }

row find-tree wan,lan "find of the same tree"
prepare_find_tree() { make_tree; }
row_find_tree() { find "$M/tree" >"$O"; }
check_find_tree() { is "$(wc -l <"$O")" 2201; }
lftp_find_tree() { lftp_do "find tree" >"$O"; }

row ls-wide wan,lan "ls -l of 10,000 entries, exact times"
prepare_ls_wide() { make_wide; }
row_ls_wide() { ls -l "$M/wide" >"$O"; }
check_ls_wide() { same_listing wide; }

row ls-wide-list wan,lan "the same with times=list"
options_of[ls-wide-list]=times=list
prepare_ls_wide_list() { make_wide; }
row_ls_wide_list() { ls -l "$M/wide" >"$O"; }
check_ls_wide_list() { is "$(wc -l <"$O")" 10001; }

row small-files wan,lan "read 200 files of 1 to 16 KB one by one"
prepare_small_files() { make_small; }
row_small_files() { cat "$M"/small/* >"$O"; }
check_small_files() { cat "$D"/small/* | cmp - "$O"; }

row small-files-8 wan,lan "the same, 8 at a time"
prepare_small_files_8() { make_small; }
row_small_files_8() { mkdir "$O" && find "$M/small" -type f -print0 | xargs -0 -P 8 -n 5 cp -t "$O"; }
check_small_files_8() { diff -r "$D/small" "$O"; }

row cp-tree wan,lan "cp -r of the tree to the local disk"
prepare_cp_tree() { make_tree; }
row_cp_tree() { cp -r "$M/tree" "$O"; }
check_cp_tree() { diff -r "$D/tree" "$O"; }
lftp_cp_tree() { lftp_do "mirror --parallel=8 tree $O"; }

row write-files wan,lan "write 100 files of 1 to 16 KB, each closed"
prepare_write_files() { make_written; }
row_write_files() { cp "$S"/source/* "$M/written/"; }
check_write_files() { diff -r "$S/source" "$D/written"; }

row write-files-back wan,lan "the same with writeback, until it has arrived and the mount is gone"
options_of[write-files-back]=writeback
prepare_write_files_back() { make_written; }
row_write_files_back() { cp "$S"/source/* "$M/written/" && umount "$M" && tail --pid="$mounted" -s 0.005 -f /dev/null; }
check_write_files_back() { diff -r "$S/source" "$D/written"; }

row rm-tree wan,lan "rm -r of 200 files in 20 directories"
prepare_rm_tree() {
    rm -rf "$D/doomed"
    eval "mkdir -p $D/doomed/{01..20} && touch $D/doomed/{01..20}/{0..9}"
    chown -R $account: "$D/doomed"
}
row_rm_tree() { rm -r "$M/doomed"; }
check_rm_tree() { [ ! -e "$D/doomed" ]; }

row ls-big wan,lan "ls -lR of 500 directories with 10,000 files, exact times"
prepare_ls_big() { make_big; }
row_ls_big() { ls -lR "$M/big" >"$O"; }
check_ls_big() { same_listing big; }

row find-big wan,lan "find of the same tree"
prepare_find_big() { make_big; }
row_find_big() { find "$M/big" >"$O"; }
check_find_big() { is "$(wc -l <"$O")" "$(find "$D/big" | wc -l)"; }

row du-big wan,lan "du of the same tree"
prepare_du_big() { make_big; }
row_du_big() { du -s --apparent-size "$M/big" | cut -f 1 >"$O"; }
check_du_big() { [ "$(cat "$O")" -gt 0 ]; }

row git-status wan,lan "git status in the same tree, of which all files are in the index"
prepare_git_status() { make_big && make_index; }
row_git_status() { git -c safe.directory='*' -C "$M/big" status --short >"$O"; }
check_git_status() { is "$(wc -l <"$O")" 0; }

row rsync-first wan,lan "rsync -a of the tree of 2,000 files to the local disk"
prepare_rsync_first() { make_tree && rm -rf "$S/synced"; }
row_rsync_first() { rsync -a "$M/tree/" "$S/synced"; }
check_rsync_first() { diff -r "$D/tree" "$S/synced"; }

row rsync-second wan,lan "the same again, on a fresh mount, when nothing has changed"
prepare_rsync_second() { make_tree && rm -rf "$S/synced" && cp -a "$D/tree" "$S/synced"; }
row_rsync_second() { rsync -ai "$M/tree/" "$S/synced" | grep '^>' >"$O" || true; }
check_rsync_second() { is "$(wc -l <"$O")" 0; }

row read-64m wan "read 64 MiB from start to end"
prepare_read_64m() { make_file 64m 64; }
row_read_64m() { dd if="$M/64m" of=/dev/null bs=1M status=none; }
check_read_64m() { cmp "$D/64m" "$M/64m"; }
curl_read_64m() { curl -sS "${URL}64m" -o /dev/null; }
lftp_read_64m() { lftp_do "cat 64m" >/dev/null; }

row write-32m wan "write 32 MiB, closed"
prepare_write_32m() { make_local 32 && rm -f "$D/written-32m"; }
row_write_32m() { dd if="$S/32m" of="$M/written-32m" bs=1M status=none; }
check_write_32m() { cmp "$S/32m" "$D/written-32m"; }
curl_write_32m() { curl -sS -T "$S/32m" "${URL}written-32m"; }

row copy-64m wan "copy 64 MiB from one file of the mount to another, closed (curl: through a pipe)"
prepare_copy_64m() { make_file 64m 64 && rm -f "$D/copied"; }
row_copy_64m() { cp "$M/64m" "$M/copied"; }
check_copy_64m() { cmp "$D/64m" "$D/copied"; }
curl_copy_64m() { curl -sS "${URL}64m" | curl -sS -T - "${URL}copied"; }

row random-40 wan "40 random reads of 4 KiB in 128 MiB"
prepare_random_40() { make_file 128m 128; }
row_random_40() { reads 40 "$M/128m" >"$O"; }
check_random_40() { reads 40 "$D/128m" | cmp - "$O"; }

row ends wan "the first and the last 64 KiB of 1 GiB"
prepare_ends() { make_file 1g 1024; }
row_ends() { head -c 64K "$M/1g" >"$O" && tail -c 64K "$M/1g" >>"$O"; }
check_ends() { (head -c 64K "$D/1g" && tail -c 64K "$D/1g") | cmp - "$O"; }

row change-byte wan "change one byte in the middle of 8 MiB"
prepare_change_byte() { make_local 8 && rm -f "$D/changed" && given "$S/8m" "$D/changed"; }
change_byte() { printf '\377' | dd of="$1" bs=1 seek=4000000 conv=notrunc status=none; }
row_change_byte() { change_byte "$M/changed"; }
check_change_byte() { cp "$S/8m" "$S/wanted" && change_byte "$S/wanted" && cmp "$S/wanted" "$D/changed"; }

row append wan "append a line to 1 GiB"
prepare_append() { rm -f "$D/log" && truncate -s 1G "$D/log" && chown $account: "$D/log"; }
row_append() { echo "one more line" >>"$M/log"; }
check_append() { is "$(tail -c 14 "$D/log")" "one more line" && is "$(stat -c %s "$D/log")" 1073741838; }

row reread-256m wan,lan "read 256 MiB again, after a remount, with cache_dir="
options_of[reread-256m]=cache_dir=$S/kept
prepare_reread_256m() {
    make_file 256m 256
    [ -e "$S/kept" ] || { (mount_ftpfs "${options_of[reread-256m]}" >/dev/null 2>&1) & soon is_mounted && cmp "$D/256m" "$M/256m" && umount "$M" && wait $!; }
}
row_reread_256m() { dd if="$M/256m" of=/dev/null bs=1M status=none; }
check_reread_256m() { cmp "$D/256m" "$M/256m"; }

row limited wan "read 24 MiB from a server that gives each connection 2 MB/s"
server_of[limited]=limited
prepare_limited() { make_file 24m 24; }
row_limited() { dd if="$M/24m" of=/dev/null bs=1M status=none; }
check_limited() { cmp "$D/24m" "$M/24m"; }
curl_limited() { curl -sS "${URL}24m" -o /dev/null; }

row read-1g lan "read 1 GiB from start to end"
prepare_read_1g() { make_file 1g 1024 && warm; }
row_read_1g() { dd if="$M/1g" of=/dev/null bs=1M status=none; }
check_read_1g() { cmp "$D/1g" "$M/1g"; }
curl_read_1g() { curl -sS "${URL}1g" -o /dev/null; }

row write-128m lan "write 128 MiB, closed"
prepare_write_128m() { make_local 128 && rm -f "$D/written-128m" && warm; }
row_write_128m() { dd if="$S/128m" of="$M/written-128m" bs=1M status=none; }
check_write_128m() { cmp "$S/128m" "$D/written-128m"; }
curl_write_128m() { curl -sS -T "$S/128m" "${URL}written-128m"; }

row random-500 lan "500 random reads of 4 KiB in 1 GiB"
prepare_random_500() { make_file 1g 1024; }
row_random_500() { reads 500 "$M/1g" >"$O"; }
check_random_500() { reads 500 "$D/1g" | cmp - "$O"; }

# Encrypted, on a server that demands that data connections resume the session of the control connection.
row read-tls wan,lan "read 64 MiB (1 GiB on loopback) over FTPS"
options_of[read-tls]=tls=explicit,no_verify_peer server_of[read-tls]=tls
tls_mib=64
[ "$PLACE" = wan ] || tls_mib=1024
export tls_mib
prepare_read_tls() { make_file "${tls_mib}m-tls" "$tls_mib"; }
row_read_tls() { dd if="$M/${tls_mib}m-tls" of=/dev/null bs=1M status=none; }
check_read_tls() { cmp "$D/${tls_mib}m-tls" "$M/${tls_mib}m-tls"; }
curl_read_tls() { curl -sS --ssl-reqd -k "${URL}${tls_mib}m-tls" -o /dev/null; }

row write-tls wan,lan "write 32 MiB over FTPS, closed"
options_of[write-tls]=tls=explicit,no_verify_peer server_of[write-tls]=tls
prepare_write_tls() { make_local 32 && rm -f "$D/written-tls"; }
row_write_tls() { dd if="$S/32m" of="$M/written-tls" bs=1M status=none; }
check_write_tls() { cmp "$S/32m" "$D/written-tls"; }
curl_write_tls() { curl -sS --ssl-reqd -k -T "$S/32m" "${URL}written-tls"; }

# Scale: one row for each size, which the report joins to a curve.
for many in 1000 10000 100000 1000000; do
    row "scale-ls-$many" scale "ls of $many entries"
    eval "prepare_scale_ls_$many() { make_entries $many; }
        row_scale_ls_$many() { ls \"\$M/entries-$many\" >\"\$O\"; }
        check_scale_ls_$many() { is \"\$(wc -l <\"\$O\")\" $many; }"
done
for many in 100 1000 10000; do
    row "scale-tree-$many" scale "ls -lR of $many directories with 10 files each"
    eval "prepare_scale_tree_$many() { [ -e \"\$D/tree-$many\" ] || files \"\$D/tree-$many\" $((many * 10)) 10; }
        row_scale_tree_$many() { ls -lR \"\$M/tree-$many\" >\"\$O\"; }
        check_scale_tree_$many() { is \"\$(grep -c ^- \"\$O\")\" $((many * 10)); }"
done
for many in 1 4 16 64; do
    row "scale-readers-$many" scale "$many readers of a file of 16 MiB each, at once"
    eval "prepare_scale_readers_$many() { for n in {1..64}; do make_file \"r\$n\" 16; done; }
        row_scale_readers_$many() { seq $many | xargs -P $many -I % cmp \"\$D/r%\" \"\$M/r%\"; }
        check_scale_readers_$many() { true; }"
done
for many in 1 100 1000 10000; do
    row "scale-open-$many" scale "$many files open at once, one byte read from each"
    eval "prepare_scale_open_$many() { make_entries 10000 x; }
        row_scale_open_$many() { ulimit -n 20000 && open_many $many \"\$M/entries-10000x\" >\"\$O\"; }
        check_scale_open_$many() { is \"\$(cat \"\$O\")\" $many; }"
done
# In the background, as in scale-mounts, a mount at another place than $M.
mount_at() { (M=$1 && "mount_$tool" >/dev/null 2>&1) & }
for many in 1 10 50; do
    row "scale-mounts-$many" scale "$many more mounts of the server, each listed once, and unmounted"
    server_of[scale-mounts-$many]=crowded
    eval "prepare_scale_mounts_$many() { mkdir -p \"\$S\"/many/{1..50} && make_small; }
        row_scale_mounts_$many() { all_mounted $many && ls \"\$S\"/many/*/small >\"\$O\" && { umount \"\$S\"/many/*/ 2>/dev/null || true; } && wait; }
        check_scale_mounts_$many() { is \"\$(grep -c file- \"\$O\")\" $((many * 200)); }"
done
# One after the other through one mount, with its peak memory. A rival's would be read and written to the cache on its disk.
for many in 1 10; do
    row "scale-read-$many" scale "read $many GiB from start to end"
    row "scale-write-$many" scale "write $many GiB, closed"
    options_of[scale-read-$many]=tls=off options_of[scale-write-$many]=tls=off
    eval "prepare_scale_read_$many() { make_file ${many}g $((many * 1024)) && warm; }
        row_scale_read_$many() { dd if=\"\$M/${many}g\" of=/dev/null bs=1M status=none; }
        check_scale_read_$many() { cmp \"\$D/${many}g\" \"\$M/${many}g\"; }
        prepare_scale_write_$many() { make_file ${many}g $((many * 1024)) && rm -f \"\$D/written-${many}g\" && warm; }
        row_scale_write_$many() { dd if=\"\$D/${many}g\" of=\"\$M/written-${many}g\" bs=1M status=none; }
        check_scale_write_$many() { cmp \"\$D/${many}g\" \"\$D/written-${many}g\" && rm \"\$D/written-${many}g\"; }"
done

# --- what rows need ---------------------------------------------------------------------------------------------------

# A virtual machine may have given its free memory back, and then each page costs a fault of the host's, whoever comes to
# need it first: it is fetched before a row that needs much of it.
warm() { /usr/bin/python3 -ISc 'memory = bytearray(3 << 30); memory[::4096] = bytes(len(memory[::4096]))'; }

# noise MIB: the same bytes each time
noise() { openssl enc -aes-128-ctr -pass pass:ftpfs -nosalt -pbkdf2 </dev/zero 2>/dev/null | head -c "$1M" || true; }
given() { cp "$1" "$2" && chown $account: "$2"; }
make_file() { [ -e "$D/$1" ] || { noise "$2" >"$D/$1" && chown $account: "$D/$1"; }; }
make_local() { [ -e "$S/${1}m" ] || noise "$1" >"$S/${1}m"; }

# files DIRECTORY COUNT PER_DIRECTORY: files of 1 to 16 KB; each has a time with seconds of its own
files() {
    /usr/bin/python3 -ISc '
import os, random, sys
top, count, per = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(1)
for i in range(count):
    d = os.path.join(top, "%03d" % (i // per)) if per else top
    os.makedirs(d, exist_ok=True)
    f = os.path.join(d, "file-%05d" % i)
    with open(f, "wb") as out: out.write(random.randbytes(random.randint(1000, 16000)))
    os.utime(f, (1700000000 + i * 61, 1700000000 + i * 61))
' "$@"
    chown -R $account: "$1"
}
make_tree() { [ -e "$D/tree" ] || files "$D/tree" 2000 10; }
make_small() { [ -e "$D/small" ] || files "$D/small" 200 0; }
make_written() {
    [ -e "$S/source" ] || files "$S/source" 100 0
    rm -rf "$D/written" && mkdir "$D/written" && chown $account: "$D/written"
}
make_big() { [ -e "$D/big" ] || files "$D/big" 10000 20; }
# The index has sizes and times alone, as it is seen through a mount: inode numbers and owners differ.
make_index() {
    [ -e "$D/big/.git" ] && return
    git -C "$D/big" init -q
    git -c safe.directory='*' -C "$D/big" config core.checkStat minimal
    git -c safe.directory='*' -C "$D/big" config core.trustctime false
    git -c safe.directory='*' -C "$D/big" config core.fileMode false
    git -c safe.directory='*' -C "$D/big" add -A
    git -c safe.directory='*' -c user.name=x -c user.email=x@example.org -C "$D/big" commit -q -m x
    chown -R $account: "$D/big/.git"
}
# make_entries COUNT [CONTENT]: a directory of so many files, empty or of these bytes
make_entries() {
    local directory=$D/entries-$1${2:-}
    [ ! -e "$directory" ] || return 0
    /usr/bin/python3 -ISc '
import os, sys
top, count, content = sys.argv[1], int(sys.argv[2]), sys.argv[3]
os.mkdir(top)
for number in range(count):
    with open("%s/entry-%07d" % (top, number), "w") as file: file.write(content)
' "$directory" "$1" "${2:-}"
    chown -R $account: "$directory"
}
# open_many COUNT DIRECTORY: prints how many files could be open at once
open_many() {
    /usr/bin/python3 -ISc '
import os, sys
files = [os.open("%s/entry-%07d" % (sys.argv[2], number), os.O_RDONLY) for number in range(int(sys.argv[1]))]
print(sum(len(os.read(file, 1)) for file in files))
' "$@"
}
# all_mounted COUNT: so many mounts, once all are there
all_mounted() {
    local number
    for ((number = 1; number <= $1; number++)); do mount_at "$S/many/$number"; done
    for ((number = 1; number <= $1; number++)); do until mountpoint -q "$S/many/$number"; do sleep 0.02; done; done
}
make_wide() {
    [ -e "$D/wide" ] || { mkdir "$D/wide" && (cd "$D/wide" && seq -f 'entry-%05g' 10000 | xargs touch -d '2024-05-06 07:08:09') &&
        chown -R $account: "$D/wide"; }
}

# reads COUNT FILE: so many times 4 KiB from anywhere, the same places each time
reads() {
    /usr/bin/python3 -ISc '
import os, random, sys
random.seed(1)
file = os.open(sys.argv[2], os.O_RDONLY)
size = os.fstat(file).st_size
for _ in range(int(sys.argv[1])):
    sys.stdout.buffer.write(os.pread(file, 4096, random.randrange(size - 4096)))
' "$@"
}

# Whether names, sizes and times below are those of the server's disk. Times only where the program promises them.
same_listing() {
    local format='%P %y %s %T@\n'
    [ "$tool" = ftpfs ] || format='%P %y\n'
    [ "$tool" != lftp ] || return 0
    cmp <(cd "$D/$1" && find . -type f -printf "$format" | sort) <(cd "$M/$1" && find . -type f -printf "$format" | sort)
}

lftp_do() { lftp -u "$account,$password" -e "set ftp:ssl-allow no; set ftp:sync-mode off; $1; quit" "$A"; }

# --- the line and the servers -----------------------------------------------------------------------------------------

far=$$
# In the server's namespace, and in a session of its own, so that it can be ended as a whole.
launch() {
    LD_LIBRARY_PATH=$libraries nsenter --net=/proc/$far/ns/net setsid "$@" </dev/null >>"$S/server" 2>&1 &
    server=$!
}
at_far() { nsenter --net=/proc/$far/ns/net "$@"; }

is_apart() { [ "$(readlink /proc/$far/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; }

line() {
    unshare --net sleep infinity &
    far=$!
    soon is_apart
    mkfifo "$S/ask"
    "$WAN" $far "$ROUND_TRIP" "$RATE" "$QUEUE" <"$S/ask" >"$S/line" &
    exec {ask}>"$S/ask"
    soon grep -q up "$S/line"
    at_far ip link set lo up
    at_far ip address add 10.77.0.2/24 dev wan0
    ip address add 10.77.0.1/24 dev wan0
    # Both ends let go as many packets as the line may have under way.
    at_far ip link set wan0 txqueuelen 5000 up
    ip link set wan0 txqueuelen 5000 up
    at_far sysctl -q net.ipv4.ip_unprivileged_port_start=0
}

# start_server NAME [HOW]
start_server() {
    local how=${2:-} few=()
    [ "$CONNECTIONS" = 0 ] || case $1 in
    vsftpd) few=("max_per_ip=$CONNECTIONS") ;;
    proftpd) few=("MaxClientsPerHost $CONNECTIONS") ;;
    pure-ftpd) few=(-C "$CONNECTIONS") ;;
    esac
    [ "$how" != tls ] || [ -e "$C" ] || "$SUPPORT/../../scripts/test-ca" "$C"
    case $1,$how in
    vsftpd,limited) vsftpd local_max_rate=2000000 "pasv_min_port=20000" "pasv_max_port=29999" "${few[@]}" ;;
    proftpd,limited) proftpd "TransferRate RETR 2000" "PassivePorts 20000 29999" "${few[@]}" ;;
    pure-ftpd,limited) pure_ftpd -T :2000 -p 20000:29999 "${few[@]}" ;;
    # By itself it allows an address 50 sessions.
    vsftpd,crowded) vsftpd max_per_ip=0 "pasv_min_port=20000" "pasv_max_port=29999" ;;
    *,crowded) start_server "$1" ;;
    vsftpd,*) "vsftpd${how:+_$how}" "pasv_min_port=20000" "pasv_max_port=29999" "${few[@]}" ;;
    proftpd,*) "proftpd${how:+_$how}" "PassivePorts 20000 29999" "MaxInstances 200" "${few[@]}" ;;
    pure-ftpd,*) "pure_ftpd${how:+_$how}" -p 20000:29999 -L 20000:20 "${few[@]}" ;;
    esac
}
stop_server() {
    kill -KILL -- "-$server"
    wait "$server" 2>/dev/null || true
}

# --- the programs -----------------------------------------------------------------------------------------------------

mount_ftpfs() { exec "$FTPFS" "$URL" "$M" -f ${LOG:+-d} -o "tls=off$OPTIONS${1:+,$1}"; }
mount_rclone() {
    RCLONE_FTP_PASS=$(rclone obscure "$password") exec rclone mount ":ftp,host=$A,user=$account:" "$M" --cache-dir "$S/rclone" \
        --vfs-cache-mode full --vfs-write-back 0s
}
mount_curlftpfs() { exec curlftpfs -f "ftp://$A/" "$M" -o "user=$account:$password"; }

is_mounted() { mountpoint -q "$M"; }
unmount() {
    umount "$M" 2>/dev/null || true
    timeout "$LIMIT" tail --pid="$mounted" -s 0.02 -f /dev/null || kill -KILL "$mounted"
    umount -l "$M" 2>/dev/null || true
    wait "$mounted" 2>/dev/null || true
    rm -rf "$S/rclone"
}

# "BYTES ROUND_TRIPS" that have gone over the line; on loopback bytes alone.
counts() {
    local before
    if [ "$PLACE" = lan ]; then
        awk '$1 == "lo:" { print $10, 0 }' /proc/net/dev
        return
    fi
    before=$(wc -l <"$S/line")
    echo >&"$ask"
    until [ "$(wc -l <"$S/line")" -gt "$before" ]; do sleep 0.005; done
    tail -n 1 "$S/line"
}
# ticks PID: processor time of a process so far, in hundredths of a second
ticks() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '{ print $12 + $13 }' || echo 0; }
# Milliseconds of processor time in the output of times, of the children.
child_time() { sed -nE '2s/([0-9]+)m([0-9]+)\.([0-9]+)s ([0-9]+)m([0-9]+)\.([0-9]+)s/\1 \2 \3 \4 \5 \6/p' | awk '{ print ($1 + $4) * 60000 + ($2 + $5) * 1000 + $3 + $6 }'; }

# Within measure.
check() { [ -n "$verdict" ] || timeout -k 5 "$LIMIT" bash -c "set -eu; check_$name" >"$said" 2>&1 || verdict=wrong; }

# rclone writes back when it likes: its time is over when all has arrived.
arrives() {
    local until=$((SECONDS + LIMIT))
    until timeout -k 5 "$LIMIT" bash -c "set -eu; check_$name" >/dev/null 2>&1 || [ $SECONDS -ge $until ]; do sleep 0.02; done
}

# Whether this program's rounds of this row are over: they were measured before, or a rival took longer than the limit,
# which is its result whatever the other rounds are.
is_measured() {
    [ -n "$RESULTS" ] || return 1
    awk -F '\t' -v "line=$LINE_NAME" -v "server=$server_name" -v "row=$2" -v "tool=$1" -v "rounds=$ROUNDS" '
        $1 == line && $2 == server && $3 == row && $4 == tool { count++; if ($5 ~ /^over-/) count = rounds }
        END { exit count < rounds }' "$RESULTS"
}

# measure TOOL ROW: prints "MILLISECONDS MEBIBYTES CPU_MILLISECONDS BYTES ROUND_TRIPS", or a word that says why not
measure() {
    local tool=$1 row=$2 name=${2//-/_} command seconds=0 peak=0 before after verdict="" cpu=0 counted counted_after
    case $tool in
    ftpfs | rclone | curlftpfs) command=row_$name ;;
    *) command=${tool}_$name ;;
    esac
    local said=$S/said-$tool
    declare -F "$command" >/dev/null || { echo "-" && return; }
    [ -z "${options_of[$row]:-}" ] || [ "$tool" = ftpfs ] || [ "$command" != "row_$name" ] || { echo "-" && return; }
    rm -rf "$O"
    "prepare_$name"
    if [ "$command" = "row_$name" ]; then
        "mount_$tool" "${options_of[$row]:-}" </dev/null >"$S/log-$tool" 2>&1 &
        export mounted=$!
        for _ in {1..200}; do
            is_mounted && break
            kill -0 $mounted 2>/dev/null || { echo "no-mount" && return; }
            sleep 0.05
        done
    fi
    export tool row
    read -r -a counted < <(counts)
    [ "$command" != "row_$name" ] || cpu=$(ticks "$mounted")
    before=$EPOCHREALTIME
    (
        timeout -k 5 "$LIMIT" bash -c "set -eu; $command" </dev/null >"$said" 2>&1 || exit 1
        times >"$S/times"
    ) || verdict=failed
    case $row:$tool in
    write*:rclone | copy*:rclone | append:rclone | change*:rclone) [ -n "$verdict" ] || arrives ;;
    esac
    after=$EPOCHREALTIME
    read -r -a counted_after < <(counts)
    if [ "$command" = "row_$name" ]; then
        # The process may have ended with the row.
        [ ! -e "/proc/$mounted" ] && cpu=0 || cpu=$((($(ticks "$mounted") - cpu) * 10))
        peak=$(sed -nE 's/^VmHWM:\s+([0-9]+) kB/\1/p' "/proc/$mounted/status" 2>/dev/null || true)
        case $row in write-files-back | scale-write*) ;; *) check ;; esac
        unmount
        case $row in write* | scale-write* | rm* | append | change*) check ;; esac
    else
        cpu=$(child_time <"$S/times" 2>/dev/null || echo 0)
    fi
    [ -z "$LOG" ] || [ "$tool" != ftpfs ] || cp "$S/log-ftpfs" "$LOG/$row"
    seconds=$(((${after/./} - ${before/./}) / 1000))
    [ "$verdict" != failed ] || [ $((seconds / 1000)) -lt "$LIMIT" ] || verdict=over-$LIMIT
    # What went wrong with ours is worth a look.
    [ -z "$verdict" ] || [ "$tool" != ftpfs ] || tail -n 5 "$said" "$S/log-$tool" >&2
    local moved=$((counted_after[0] - counted[0])) turns=$((counted_after[1] - counted[1]))
    # In one write: a run that is interrupted goes on from here.
    [ -z "$RESULTS" ] || printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$LINE_NAME" "$server_name" "$row" "$tool" "${verdict:-ok}" \
        "$seconds" "$((${peak:-0} / 1024))" "$cpu" "$moved" "$turns" >>"$RESULTS"
    echo "${verdict:-$seconds $((${peak:-0} / 1024)) $cpu $moved $turns}"
}

# The functions of the rows run in shells of their own.
set -a
eval "$(declare -f)"
set +a
# shellcheck disable=SC2046
export -f $(compgen -A function)

# --- the table --------------------------------------------------------------------------------------------------------

# median LINE...: of those of measure, by their time; a word among them wins
median() {
    local sorted
    sorted=$(printf '%s\n' "$@" | grep '[a-z-]' | head -n 1) || sorted=$(printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p")
    echo "$sorted"
}
seconds() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }

installed=() missing=()
for tool in $TOOLS; do
    if [ "$tool" = ftpfs ] || command -v "$tool" >/dev/null; then installed+=("$tool"); else missing+=("$tool"); fi
done

table() {
    local name tool round ours cell ratio peak cpu moved turns
    server_name=$1
    if [ "$PLACE" = lan ]; then echo "Loopback, $server_name: seconds (ratio to ftpfs)"; else
        echo "$ROUND_TRIP ms round trip, $RATE Mbit/s, $server_name: seconds (ratio to ftpfs)"
    fi
    [ ${#missing[@]} -eq 0 ] || echo "not installed: ${missing[*]}"
    printf '%-18s' row
    for tool in "${installed[@]}"; do
        [ "$tool" = ftpfs ] && printf '%10s %9s %7s %9s %6s' ftpfs "peak MiB" "cpu s" "wire KB" trips || printf '%20s' "$tool"
    done
    echo
    for name in "${names[@]}"; do
        [ -z "$ROWS" ] || [[ " $ROWS " = *" $name "* ]] || continue
        if [ -n "${options_of[$name]:-}" ] && ! "$FTPFS" --help | grep -q "^ *${options_of[$name]%%=*}\b"; then
            printf '%-18s%10s\n' "$name" "no such option yet"
            continue
        fi
        [ -z "${server_of[$name]:-}" ] || { stop_server && start_server "$server_name" "${server_of[$name]}"; }
        declare -A cells=()
        for ((round = 0; round < ROUNDS; round++)); do
            for tool in "${installed[@]}"; do
                is_measured "$tool" "$name" || cells[$tool]+="$(measure "$tool" "$name")"$'\n'
            done
        done
        [ -z "${server_of[$name]:-}" ] || { stop_server && start_server "$server_name"; }
        printf '%-18s' "$name"
        ours=""
        for tool in "${installed[@]}"; do
            mapfile -t cell < <(printf '%s' "${cells[$tool]:-}")
            cell=$(median "${cell[@]:-kept}")
            if [ "$cell" = kept ]; then
                [ "$tool" = ftpfs ] && printf '%10s %34s' kept "" || printf '%20s' kept
            elif [[ $cell != [0-9]* ]]; then
                [ "$tool" = ftpfs ] && printf '%10s %34s' "$cell" "" || printf '%20s' "$cell"
                [ "$tool" != ftpfs ] || failed+=" $server_name/$name"
            elif [ "$tool" = ftpfs ]; then
                read -r ours peak cpu moved turns <<<"$cell"
                printf '%10s %9s %7s %9s %6s' "$(seconds "$ours")" "$peak" "$(seconds "$cpu")" "$((moved / 1000))" "$turns"
            else
                ratio=""
                cell=${cell%% *}
                [ "${ours:-0}" -eq 0 ] || ratio=" ($((cell * 10 / ours / 10)).$((cell * 10 / ours % 10))x)"
                printf '%20s' "$(seconds "$cell")$ratio"
            fi
        done
        echo
        unset cells
    done
    echo
}

[ "$PLACE" = lan ] || line
failed=""
for name in $SERVERS; do
    start_server "$name"
    table "$name"
    stop_server
done
[ -z "$failed" ] || fail "ftpfs failed:$failed"
