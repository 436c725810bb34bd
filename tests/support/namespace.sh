# Before each script of the tests in namespaces of their own: a network with nothing but loopback, a table of mounts and a
# table of processes. Whatever is started ends with the script, so ports and names need no care.
#
# $S is a local directory, $M the mountpoint, $D the directory on the server's disk, $FTPFS the program.
set -euo pipefail

packages=$HOME_OF_SERVERS/packages
account=ftpfstest
password=$(cat "$HOME_OF_SERVERS/password")
libraries=$(echo "$packages"/usr/lib/*-linux-gnu*)
libraries=${libraries// /:}
M=$S/mount D=$S/disk
A=${A:-127.0.0.1} # where servers listen
URL=ftp://$account:$password@$A/
export PATH=${FTPFS_TOOLS:-/var/tmp/ftpfs-tools}/bin:$PATH # fsx
C=$S/ca TRUST=cacert=$S/ca/ca.pem
mkdir -p "$M" "$D" "$S/run"
mkdir "$D/there"
head -c 500000 /dev/urandom >"$D/there/down"
: >"$D/there/nothing"
: >"$S/commands"
chown -R $account: "$D" "$S/commands"
chmod 755 "$S"
mount -t proc proc /proc
# Others' mounts, which this copy of the table would keep alive after their unmount: their programs would not end.
awk '$3 ~ /^fuse/ { print $2 }' /proc/mounts | while read -r point; do umount -il "$(printf %b "$point")" || true; done
ip link set lo up
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
# Our own ends of connections stay clear of the ports that tests close.
echo 20000 29999 >/proc/sys/net/ipv4/ip_local_port_range

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# is GOT EXPECTED
is() { [ "$1" = "$2" ] || fail "got '$1', not '$2'"; }

# says FILE TEXT / not_says FILE TEXT: whether the file holds the text
says() { grep -qF -- "$2" "$1" || fail "'$2' is not in $1: $(tail -n 30 "$1")"; }
not_says() { ! grep -F -- "$2" "$1" || fail "'$2' is in $1"; }

# soon COMMAND...: becomes true within ten seconds
soon() {
    local turn
    for turn in {1..100}; do
        "$@" 2>/dev/null && return
        sleep 0.1
    done
    fail "not within ten seconds: $*"
}

answers() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }
nft() { LD_LIBRARY_PATH=$libraries "$packages/usr/sbin/nft" "$1"; }
launch() { LD_LIBRARY_PATH=$libraries "$@" </dev/null >>"$S/server" 2>&1 & }

# vsftpd LINE...: with these lines of configuration besides; "port=990" and "address=::1" are ours
vsftpd() {
    local port=21 address=$A line
    mkdir -p "$S/run/empty"
    {
        printf '%s\n' listen_port=21 background=NO anonymous_enable=NO local_enable=YES pam_service_name=ftpfs-test \
            "local_root=$D" chroot_local_user=YES allow_writeable_chroot=YES write_enable=YES local_umask=022 \
            mdtm_write=YES "secure_chroot_dir=$S/run/empty" seccomp_sandbox=NO xferlog_enable=YES log_ftp_protocol=YES \
            "vsftpd_log_file=$S/commands"
        # The last line of a name counts.
        for line; do
            case $line in
            port=*) port=${line#*=} && echo "listen_port=$port" ;;
            address=*:*) address=${line#*=} && printf 'listen_ipv6=YES\nlisten=NO\nlisten_address6=%s\n' "$address" ;;
            address=*) address=${line#*=} && echo "listen_address=$address" ;;
            *) echo "$line" ;;
            esac
        done
        case $address in *:*) ;; *) echo listen=YES ;; esac
    } >"$S/run/vsftpd.conf"
    launch "$packages/usr/sbin/vsftpd" "$S/run/vsftpd.conf"
    soon answers "$address" "$port"
}

# proftpd LINE...; with restart=off it takes no parts of files, with overwrite=off it replaces none, as by default
proftpd() {
    local hash part
    hash=$(getent shadow $account | cut -d: -f2)
    (umask 077 && echo "$account:$hash:$(id -u $account):$(id -g $account)::$D:/bin/sh" >"$S/run/passwd")
    {
        echo "ModulePath $packages/usr/lib/proftpd"
        # Built in on Debian 12, and files of their own on 13.
        for part in delay ls xfer; do [ ! -e "$packages/usr/lib/proftpd/mod_$part.so" ] || echo "LoadModule mod_$part.c"; done
        printf '%s\n' "ServerName test" "ServerType standalone" "Port 21" \
            "DefaultAddress $A" "UseIPv6 off" "User nobody" "Group nogroup" "UseReverseDNS off" "WtmpLog off" \
            "AuthPAM off" "AuthOrder mod_auth_file.c" "AuthUserFile $S/run/passwd" "RequireValidShell off" \
            "DefaultRoot ~" "AllowOverwrite ${overwrite:-on}" "AllowStoreRestart ${restart:-on}" "PidFile $S/run/proftpd.pid" \
            "ScoreboardFile $S/run/scoreboard" "DelayTable none" "TransferLog none" "SystemLog $S/server"
        printf '%s\n' "$@"
        printf '%s\n' "LogFormat command \"%t \\\"%r\\\"\"" "ExtendedLog $S/commands ALL command" \
            "<IfModule mod_delay.c>" "DelayEngine off" "</IfModule>"
    } >"$S/run/proftpd.conf"
    launch "$packages/usr/sbin/proftpd" --nodaemon --config "$S/run/proftpd.conf"
    soon answers "$A" 21
}

# pure_ftpd ARGUMENT...
pure_ftpd() {
    local hash
    hash=$(getent shadow $account | cut -d: -f2)
    (umask 077 && echo "$account:$hash:$(id -u $account):$(id -g $account)::$D/./::::::::::::" >"$S/run/passwd")
    LD_LIBRARY_PATH=$libraries "$packages/usr/bin/pure-pw" mkdb "$S/run/passwd.pdb" -f "$S/run/passwd"
    launch "$packages/usr/sbin/pure-ftpd" -4 -S "$A,21" -l "puredb:$S/run/passwd.pdb" -A -E -H -c 50 -C 50 \
        -U 133:022 -g "$S/run/pure-ftpd.pid" "$@"
    soon answers "$A" 21
}

# pyftpdlib [CERTIFICATE]; with WITHOUT=RNFR,MLSD it does not know these commands
pyftpdlib() {
    PYTHONPATH=$packages/usr/lib/python3/dist-packages launch /usr/bin/python3 \
        "$SUPPORT/pyftpdlib_server.py" "$D" 21 30000 32000 $account "$HOME_OF_SERVERS/password" "$S/commands" "$@"
    soon answers "$A" 21
}

# The same servers with TLS demanded, and vsftpd and ProFTPD demanding that data connections resume the session of the
# control connection, as they do by default. $C is the directory of scripts/test-ca.
vsftpd_tls() {
    vsftpd ssl_enable=YES "rsa_cert_file=$C/${certificate:-good}.pem" "rsa_private_key_file=$C/${certificate:-good}.pem" \
        force_local_logins_ssl=YES force_local_data_ssl=YES require_ssl_reuse=YES ssl_ciphers=HIGH "$@"
}
vsftpd_implicit() {
    vsftpd_tls implicit_ssl=YES port=990 "$@"
}
proftpd_tls() {
    proftpd "LoadModule mod_tls.c" "TLSEngine on" "TLSLog $S/server" "TLSRequired on" "TLSProtocol TLSv1.2 TLSv1.3" \
        "TLSRSACertificateFile $C/${certificate:-good}.pem" "TLSRSACertificateKeyFile $C/${certificate:-good}.pem" "$@"
}
pure_ftpd_tls() {
    pure_ftpd -Y 2 -2 "$C/${certificate:-good}.pem" "$@"
}
pyftpdlib_tls() {
    cp "$C/${certificate:-good}.pem" "$S/run/pem" && chown $account: "$S/run/pem"
    pyftpdlib "$S/run/pem"
}

# odd_tls HOW [CERTIFICATE]: see odd_tls_server.py
odd_tls() {
    launch /usr/bin/python3 "$SUPPORT/odd_tls_server.py" "$D" 21 $account "$HOME_OF_SERVERS/password" "$S/commands" \
        "$C/good.pem" "$@"
    soon answers 127.0.0.1 21
}

# mounts OPTIONS [SOURCE]: mounts, stays in the foreground, and logs every command to $S/log
mounts() {
    "$FTPFS" -d "${2:-$URL}" "$M" -o "$1" 2>"$S/log" &
    mounted=$!
    local turn
    for turn in {1..300}; do
        mountpoint -q "$M" && return
        kill -0 $mounted 2>/dev/null || fail "no mount: $(tail -n 20 "$S/log")"
        sleep 0.1
    done
    fail "no mount within 30 seconds: $(tail -n 20 "$S/log")"
}

unmounts() {
    umount "$M"
    wait $mounted || fail "ftpfs ended with $?: $(tail -n 20 "$S/log")"
}

# refuses OPTIONS [SOURCE]: the mount must fail, with one line in $S/why
refuses() {
    ! timeout 60 "$FTPFS" "${2:-$URL}" "$M" -f -o "$1" 2>"$S/why" </dev/null || fail "it mounted"
    is "$(grep -c . "$S/why")" 1
}

# copies [BYTES]: a file each way, an empty one, and a listing; all bytes right
copies() {
    head -c "${1:-300000}" /dev/urandom >"$S/file"
    cp "$S/file" "$M/up"
    cmp "$S/file" "$D/up"
    : >"$M/none"
    [ -e "$D/none" ] || fail "no empty file"
    cmp "$D/there/down" "$M/there/down"
    is "$(cat "$M/there/nothing")" ""
    is "$(ls "$M" | xargs)" "none there up"
    rm "$M/up" "$M/none"
}
