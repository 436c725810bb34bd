# shellcheck shell=bash
# Before each script of the tests: $M is the mount, $D the same directory on the server's disk, $S a local directory.
set -euo pipefail
export PATH=${FTPFS_TOOLS:-/var/tmp/ftpfs-tools}/bin:$PATH # fsx

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# same A B: two files or trees have the same names and bytes.
same() { diff -r --no-dereference "$1" "$2" >&2 || fail "$1 and $2 differ"; }

# is GOT EXPECTED
is() { [ "$1" = "$2" ] || fail "got '$1', not '$2'"; }

# refuses COMMAND...: must fail; what it said is in $S/why. (A plain "! command" would not end a script that has set -e.)
refuses() { ! "$@" 2>"$S/why" || fail "it succeeded: $*"; }

# gone PATH...: there is nothing by these names.
gone() {
    local path
    for path; do [ ! -e "$path" ] || fail "$path is still there"; done
}

# soon COMMAND...: becomes true within five seconds, for what the kernel tells us without waiting for our answer.
soon() {
    for _ in {1..50}; do
        "$@" && return
        sleep 0.1
    done
    fail "not within five seconds: $*"
}

# What was put on the server's disk by us belongs to the account that the server runs as.
theirs() { chown -R "$ACCOUNT:" "$D"; }

# A tree of all that tools meet: nested and empty directories, hidden and empty files, modes, old and new times.
tree() {
    mkdir -p "$1"/{a/b/c,empty,.hidden}
    local n
    for n in {1..40}; do head -c $((n * 337)) /dev/urandom >"$1/a/file$n"; done
    head -c 3000000 /dev/urandom >"$1/a/b/large"
    : >"$1/a/b/c/nothing"
    echo hidden >"$1/.hidden/.file"
    printf '#!/bin/sh\necho ran "$@"\n' >"$1/run"
    chmod 755 "$1/run"
    chmod 600 "$1/a/file1"
    chmod 700 "$1/a/b/c"
    touch -d '2001-02-03 04:05:06' "$1/a/file2"
    touch -d '2031-02-03 04:05:06' "$1/a/file3"
    touch -d '2010-11-12 13:14:15' "$1/a/b"
}

# A tree of odd names, modes and times, as far as all four servers have them.
odd_tree() {
    local name n=0
    mkdir -p "$1"
    for name in ' leading' 'in  ner' "it's" 'say "so"' '#hash' '100%' '%41' '[ab]' 'a*b' 'wh?t' '-rf' '~home' '.hidden' \
        'Ünïcödé' '日本語' 'a;b' 'a&b' '$HOME' '`id`' 'type=dir; x' 'a -> b' 'A' 'a'; do
        n=$((n + 1))
        head -c $((n * 1234)) /dev/urandom >"$1/$name"
        # The owner can read all, and write most; the seconds are odd, and the years old, recent and to come.
        chmod "$(printf '%s\n' 644 600 640 664 755 700 444 400 | sed -n $((n % 8 + 1))p)" "$1/$name"
        touch -d "@$((1000000000 + n * 33333333 + n))" "$1/$name"
    done
    for name in 'dir one' '[dir]' '.dir' 'Ödnis'; do
        mkdir -p "$1/$name/inner"
        echo "$name" >"$1/$name/inner/file"
        : >"$1/$name/empty"
        touch -d '2038-01-19 03:14:09' "$1/$name/empty"
        chmod 750 "$1/$name/inner"
        touch -d '2011-12-13 14:15:16' "$1/$name/inner" "$1/$name"
    done
    chmod 700 "$1/.dir"
    touch -d '1999-12-31 23:59:59' "$1"
}

# What tools compare: type, size, mode, whole seconds of the time; directories without size and time.
facts() { (cd "$1" && find . -mindepth 1 \( -type d -printf '%P d %m\n' -o -printf '%P %y %s %m %Ts\n' \) | sort); }
