# After namespace.sh: a server behind a network that can go out. break_network FAULT, repair_network FAULT.

A=10.9.0.2
URL=ftp://$account:$password@$A/
[ -e "$packages/usr/sbin/nft" ] || fail "nft is missing: scripts/servers unpack nftables"
command -v nsenter >/dev/null || fail "nsenter is missing: it is in the package util-linux"

unshare --net sleep infinity &
far=/proc/$!/ns/net
# Until it is in its own network.
for turn in {1..100}; do
    [ "$(readlink $far)" != "$(readlink /proc/self/ns/net)" ] && break
    sleep 0.05
done
ip link add near type veth peer name far || fail "the kernel has no veth"
ip link set far netns "$(cut -d/ -f3 <<<$far)"
ip addr add 10.9.0.1/24 dev near
ip link set near up
nsenter --net=$far ip addr add $A/24 dev far
nsenter --net=$far ip link set far up
nsenter --net=$far ip link set lo up

launch() { LD_LIBRARY_PATH=$libraries nsenter --net=$far "$@" </dev/null >>"$S/server" 2>&1 & }

break_network() {
    case $1 in
    neighbour) ip neigh replace $A lladdr 02:00:00:00:00:99 dev near nud permanent ;;
    link) ip link set near down ;;
    filter)
        nft 'add table ip outage
             add chain ip outage in { type filter hook input priority 0; policy drop; }
             add chain ip outage out { type filter hook output priority 0; policy drop; }'
        ;;
    *) fail "no such fault: $1" ;;
    esac
}

repair_network() {
    case $1 in
    neighbour) ip neigh del $A dev near ;;
    link) ip link set near up ;;
    filter) nft 'delete table ip outage' ;;
    esac
}

# place NAME: a directory on the server with a file and an empty directory
place() {
    mkdir -p "$D/$1/empty" "$S/at/$1"
    echo "before the outage" >"$D/$1/file"
    chown -R $account: "$D/$1"
}

# mounts_at NAME OPTIONS: mounts that directory at $S/at/NAME
mounts_at() {
    "$FTPFS" -d "$URL$1" "$S/at/$1" -o "$2" 2>>"$S/$1.log" &
    echo $! >"$S/$1.pid"
    local turn
    for turn in {1..200}; do
        mountpoint -q "$S/at/$1" && return
        sleep 0.1
    done
    fail "$1: no mount within 20 seconds: $(tail -n 5 "$S/$1.log")"
}

# unmounts_from NAME: the exit status is that of ftpfs umount
unmounts_from() { timeout 60 "$FTPFS" umount "$S/at/$1" 2>>"$S/$1.said"; }

scenarios="unlink_and_rewrite save_twice save_once save_by_close write_back append_lines rename make_directory remove_directory
    killed"

# outage FAULT SECONDS TIMEOUT AFTERWARDS: all scenarios within one outage, compared so many seconds after it
outage() {
    local name failed=
    for name in $scenarios; do
        local options=timeout=$3
        [ "$name" != write_back ] || options+=,writeback
        place "$name"
        mounts_at "$name" "$options"
        # Connections are there, and what the server can do is known.
        cat "$S/at/$name/file" >/dev/null
        echo warm >"$S/at/$name/warm"
        /usr/bin/python3 -ISB "$SUPPORT/outages.py" run "$name" "$S/at/$name" "$S" 2>>"$S/$name.said" &
        eval "worker_$name=$!"
    done
    sleep 1
    break_network "$1"
    : >"$S/cut"
    (sleep 1 && kill -9 "$(<"$S/killed.pid")") &
    sleep "$2"
    repair_network "$1"
    : >"$S/healed"
    for name in $scenarios; do
        local worker=worker_$name
        wait "${!worker}" || failed+=" $name"
    done
    umount -il "$S/at/killed" || true
    unmounts_from write_back || failed+=" write_back"
    sleep "$4"
    for name in $scenarios; do
        /usr/bin/python3 -ISB "$SUPPORT/outages.py" compare "$name" "$D/$name" "$S" 2>>"$S/$name.said" || failed+=" $name"
    done
    [ -z "$failed" ] || {
        for name in $failed; do tail -n 12 "$S/$name.said"; done >&2
        for name in $failed; do
            echo "--- log of $name"
            grep -v 'attr\|PASS' "$S/$name.log" | tail -n ${LINES_OF_LOG:-25}
        done >&2
        fail "wrong after an outage ($1, $2 s, timeout=$3):$failed"
    }
    for name in $scenarios; do
        mountpoint -q "$S/at/$name" || continue
        unmounts_from "$name" || fail "$name: umount: $(tail -n 3 "$S/$name.said")"
    done
}
