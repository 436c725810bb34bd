# After outages.sh: soak SERVER SECONDS, mixed work of sixteen processes while the server is killed and the link is cut.

# A session that was cut off learns nothing of that. vsftpd keeps the file that it stores locked for as long as it waits for
# data, 300 s by default, and lets no other session store it: here for less than the programs try again.
soak_server() {
    case $1 in
    vsftpd) vsftpd data_connection_timeout=10 ;;
    proftpd) proftpd "TimeoutStalled 10" ;;
    esac
}

# In the server's network: all but the process that keeps it.
kill_server() {
    local process
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/ns/net" 2>/dev/null)" = "$(readlink $far)" ] || continue
        [ "$(readlink "$process/ns/net")" != "$(readlink /proc/self/ns/net)" ] || continue
        [ "/proc/${process#/proc/}/ns/net" = "$far" ] || kill -KILL "${process#/proc/}" 2>/dev/null || true
    done
}

# figures_of NAME: resident KiB, descriptors, threads of the mount, and its connections to the server
figures_of() {
    local process
    process=$(<"$S/$1.pid")
    echo "$(awk '/^VmRSS/ { print $2 }' "/proc/$process/status") $(find "/proc/$process/fd" -mindepth 1 | wc -l)" \
        "$(awk '/^Threads/ { print $2 }' "/proc/$process/status") $(ss -Htnp state established | grep -c "pid=$process," || true)"
}

# grew FIGURES LIMITS: names what is over its limit
grew() {
    local limits kinds=(memory descriptors threads connections) kind
    read -ra figures <<<"$1"
    read -ra limits <<<"$2"
    for kind in 0 1 2 3; do
        [ "${figures[$kind]}" -le "${limits[$kind]}" ] || echo "${kinds[$kind]}: ${figures[$kind]}, at most ${limits[$kind]}"
    done
}

max_conns=6
# Caches and 8 MiB of allocator's slack, spare connections with two descriptors each, and the mount's own.
limits="$((96 << 10)) $((max_conns * 2 + 24)) 24 $((max_conns * 2))"

soak() {
    local mode number until turn cuts=0 kills=0 failed=
    declare -A worker
    RANDOM=${SEED:-1}
    soak_server "$1"
    for mode in close back; do
        place $mode
        mounts_at $mode "timeout=6,max_conns=$max_conns,cache_size=16M$([ $mode = close ] || echo ,writeback)"
    done
    until=$((SECONDS + $2))
    for number in {0..15}; do
        mode=close
        [ $number -lt 10 ] || mode=back
        /usr/bin/python3 -ISB "$SUPPORT/soak.py" work "$S/at/$mode" $number "$S" >"$S/$number.out" 2>&1 &
        worker[$number]=$!
    done
    while [ $SECONDS -lt $until ]; do
        sleep $((RANDOM % 3 + 1))
        if [ $((RANDOM % 2)) = 0 ]; then
            kills=$((kills + 1))
            kill_server
            sleep $((RANDOM % 3))
            soak_server "$1"
        else
            cuts=$((cuts + 1))
            turn=$([ $((RANDOM % 2)) = 0 ] && echo neighbour || echo link)
            break_network "$turn"
            sleep $((RANDOM % 5 + 1))
            repair_network "$turn"
        fi
    done
    : >"$S/stop"
    for number in {0..15}; do
        wait "${worker[$number]}" || failed+=" $number"
    done
    [ -z "$failed" ] || {
        for number in $failed; do
            tail -n 1 "$S/$number.out"
            # The last file that it names.
            grep -h "$number/$(grep -o 'f[0-9]\+' "$S/$number.out" | tail -n 1)\b" "$S/close.log" "$S/back.log" | tail -n 12
        done >&2
        fail "these programs failed:$failed"
    }
    # Threads without work have ended by then.
    sleep 15
    for mode in close back; do
        local now over
        now=$(figures_of $mode)
        echo "$1, $mode: resident KiB, descriptors, threads, connections: $now"
        over=$(grew "$now" "$limits")
        [ -z "$over" ] || fail "$1, $mode: $over"
        unmounts_from $mode || fail "$mode: umount: $(tail -n 3 "$S/$mode.said")"
        not_says "$S/$mode.log" panicked
    done
    for number in {0..15}; do
        mode=close
        [ $number -lt 10 ] || mode=back
        /usr/bin/python3 -ISB "$SUPPORT/soak.py" compare "$D/$mode" $number "$S" 2>>"$S/compared" || failed+=" $number"
    done
    [ -z "$failed" ] || {
        cat "$S/compared" >&2
        fail "the server's files differ:$failed"
    }
    awk -v server="$1" -v seconds="$2" -v kills=$kills -v cuts=$cuts '/^figures/ { done += $2; failed += $3; moved += $4 }
        END { printf "%s: %d s, %d kills, %d cuts: %d operations, %d failures, %d MB written; all files as written\n",
              server, seconds, kills, cuts, done, failed, moved / 1e6 }' "$S"/*.out
}
