# After the prelude of the namespaces: a machine with systemd as PID 1, whose network is that of the script. So vsftpd runs
# outside of the machine and outlives it. $V is the machine's root directory as it is written to disk.
V=$S/machine/upper
mkdir -p "$S/machine"/{upper,work,merged}
# The groups of processes that ended are left behind, and removed by the machines of later tests.
cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)

# boot: returns when the machine is up; with INSTALL=no ftpfs is not installed there
boot() {
    local group=$cgroups/ftpfs-test-${S##*/} old installed=$FTPFS
    [ "${INSTALL:-yes}" = yes ] || installed=
    for old in $(find "$cgroups" -maxdepth 1 -name 'ftpfs-test-*' -mmin +10); do
        find "$old" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    done
    mkdir -p "$group"
    bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' - "$group" \
        unshare --mount --pid --fork --kill-child --ipc --uts --cgroup --propagation private \
        "$SUPPORT/../systemd/init.sh" "$ROOT" "$S/machine" "$SUPPORT/../.." "$installed" >"$S/boot" 2>&1 </dev/null &
    outside=$!
    machine=''
    soon is_up || fail "$(cat "$S/boot")"
    local state
    state=$(timeout 60 nsenter -t "$machine" -a systemctl is-system-running --wait) || true
    case $state in
    running | degraded) ;;
    *) fail "the machine is '$state'" ;;
    esac
}
is_up() {
    machine=$(pgrep -P "$outside" -x systemd) && [ -S "/proc/$machine/root/run/dbus/system_bus_socket" ]
}

# on COMMAND...: runs it as root in the machine; on_for SECONDS COMMAND...
on() { on_for 30 "$@"; }
on_for() {
    local limit=$1
    shift
    timeout "$limit" nsenter -t "$machine" -a env -C / -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 \
        PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null
}

# off [VERB]: shuts down; returns when all of it is gone
off() {
    on systemctl --no-block "${1:-poweroff}" 2>/dev/null || true # its connection may end first
    local turn
    for turn in {1..1200}; do
        [ -d "/proc/$machine" ] || return 0
        sleep 0.1
    done
    journal
    fail "still running two minutes after ${1:-poweroff}"
}

# journal [WORDS...]: what the machine wrote, also when it is off
journal() {
    mountpoint -q "$ROOT/mnt" || mount --bind "$V/var/log/journal" "$ROOT/mnt"
    chroot "$ROOT" journalctl --no-pager -q -o short-monotonic -D /mnt "$@" 2>/dev/null || true
}

# On the disk of the machine before it boots: a user anna (1000), the name ftp.example.org, and passwords in ~/.netrc.
mkdir -p "$V/etc/systemd/system" "$V/root" "$V/home/anna" "$V/var/log/journal"
chmod 700 "$V/root" "$V/home/anna"
{ cat "$ROOT/etc/passwd" && echo 'anna:x:1000:1000::/home/anna:/bin/bash'; } >"$V/etc/passwd"
{ cat "$ROOT/etc/group" && echo 'anna:x:1000:'; } >"$V/etc/group"
printf '127.0.0.1 localhost ftp.example.org\n' >"$V/etc/hosts"
for home in root home/anna; do
    (umask 077 && echo "machine ftp.example.org login $account password $password" >"$V/$home/.netrc")
done
(umask 077 && { cat "$ROOT/etc/shadow" && echo 'anna:*:20000::::::'; } >"$V/etc/shadow")
chown -R 1000:1000 "$V/home/anna"
U=ftp://$account@ftp.example.org

# fstab LINE...
fstab() { printf '%s\n' "$@" >"$V/etc/fstab"; }
# unit NAME: from standard input
unit() { cat >"$V/etc/systemd/system/$1"; }
# The network of the machine, which is stopped when it shuts down, once all that needs it has ended.
network_stops() {
    unit test-network.service <<'UNIT'
[Unit]
DefaultDependencies=no
Wants=network.target
Before=network.target shutdown.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/ip link set lo down
UNIT
    mkdir -p "$V/etc/systemd/system/sysinit.target.wants"
    ln -sfn ../test-network.service "$V/etc/systemd/system/sysinit.target.wants/test-network.service"
}
# Whether a mount of ftpfs is there, in the machine.
is_mounted() { grep -q " $1 fuse" "/proc/$machine/mounts"; } # findmnt(8) would look at the path, which mounts it
is_unmounted() { ! is_mounted "$1"; }
