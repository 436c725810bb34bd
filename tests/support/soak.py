"""Mixed work in a mount while its server is killed and the link is cut, and the comparison with the server's disk.

soak.py work DIRECTORY NUMBER SCRATCH   works in DIRECTORY/NUMBER until SCRATCH/stop is there; writes what must be on the
                                        disk then to SCRATCH/NUMBER.expected, and how much was done
soak.py compare DISK NUMBER SCRATCH     compares
"""

import collections
import errno
import hashlib
import json
import os
import random
import sys
import time

command, directory, number, scratch = sys.argv[1:5]
PATIENCE = 120  # seconds until an operation must succeed again
NAMES = 12
LARGE = 2_000_000
place = f"{directory}/{number}"
# The same work for the same number; when it meets which fault differs.
chance = random.Random(int(number))
files = {}
done = failed = moved = 0
# The last operations, for the message of a failure.
history = collections.deque(maxlen=60)


def digest(content):
    return hashlib.sha256(content).hexdigest()


def note(*words):
    shown = [f"{len(word)} bytes" if isinstance(word, bytes) else str(word).removeprefix(f"{place}/") for word in words]
    history.append(f"{time.strftime('%H:%M:%S')} {' '.join(shown)}")


def differs(name, cause):
    """Ends with the last operations on a name."""
    of_name = [line for line in history if name in line.split()]
    raise AssertionError(f"{place}/{name}: {cause}; " + "; ".join(of_name[-8:]))


def insist(work, *arguments):
    """Tries until it succeeds; an absent file is what a second removal finds."""
    global failed
    until = time.time() + PATIENCE
    while True:
        try:
            outcome = work(*arguments)
            note(work.__name__, *arguments, "success")
            return outcome
        except OSError as error:
            note(work.__name__, *arguments, error.strerror)
            if work is os.unlink and error.errno == errno.ENOENT:
                return None
            failed += 1
            assert time.time() < until, f"{work.__name__} {arguments!r:.80} fails on: {error}"
            time.sleep(0.1)


def write(path, content, flags, at=0):
    file = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        # In pieces, as programs do.
        for start in range(0, len(content), 65536):
            piece = content[start : start + 65536]
            while piece:
                piece = piece[os.pwrite(file, piece, at + start) if flags & os.O_APPEND == 0 else os.write(file, piece) :]
            start += 65536
    finally:
        os.close(file)


def save(path, content):
    write(path, content, os.O_CREAT | os.O_TRUNC)


def read(path):
    with open(path, "rb", buffering=0) as file:
        parts = []
        while part := file.read(1 << 20):
            parts.append(part)
        return b"".join(parts)


def bytes_of(size):
    return chance.randbytes(size)


def step():
    """One operation. What fails is in doubt, and is settled by one that says all."""
    global done, failed, moved
    name = f"f{chance.randrange(NAMES)}"
    path, old = f"{place}/{name}", files.get(name)
    what = chance.choice(["save", "save", "append", "patch", "read", "read", "rename", "unlink", "truncate", "list"])
    size = chance.choice([0, 1, 100, 5000, 100_000, 100_000, LARGE])
    new = old
    try:
        if what == "save" or old is None and what in ("append", "patch", "truncate"):
            new = bytes_of(size)
            save(path, new)
        elif what == "append":
            more = bytes_of(min(size, 100_000))
            new = old + more
            write(path, more, os.O_APPEND)
        elif what == "patch" and old:
            at = chance.randrange(len(old))
            more = bytes_of(min(size, 50_000))
            new = old[:at] + more + old[at + len(more) :]
            write(path, more, 0, at)
        elif what == "truncate":
            new = old[: len(old) // 2]
            os.truncate(path, len(new))
        elif what == "read" and old is not None:
            found = insist(read, path)
            if found != old:
                differs(name, f"{len(found)} bytes read are not the {len(old)} written")
        elif what == "rename" and old is not None:
            other = f"f{chance.randrange(NAMES)}"
            if other != name:
                try:
                    os.rename(path, f"{place}/{other}")
                    note("rename", name, other, "success")
                    files[other] = files.pop(name)
                except OSError as error:
                    failed += 1
                    note("rename", name, other, error.strerror)
                    for one in (name, other):
                        insist(os.unlink, f"{place}/{one}")
                        files.pop(one, None)
                done += 1
                return
        elif what == "unlink" and old is not None:
            new = None
            os.unlink(path)
        elif what == "list":
            found = set(insist(os.listdir, place))
            for one in found ^ set(files):
                differs(one, "listed, and removed" if one in found else "not listed")
        note(what, name, len(new or b""), "success")
    except OSError as error:
        failed += 1
        note(what, name, len(new or b""), error.strerror)
        if new is None:
            insist(os.unlink, path)
        else:
            insist(save, path, new)
    done += 1
    if new is None:
        files.pop(name, None)
    else:
        moved += len(new) if new is not old else 0
        files[name] = new


def work():
    insist(lambda: os.makedirs(place, exist_ok=True))
    while not os.path.exists(f"{scratch}/stop"):
        step()
    with open(f"{scratch}/{number}.expected", "w") as file:
        json.dump({name: digest(content) for name, content in files.items()}, file)
    print(f"figures {done} {failed} {moved}")


def compare():
    with open(f"{scratch}/{number}.expected") as file:
        expected = json.load(file)
    found = {name: digest(read(f"{place}/{name}")) for name in os.listdir(place)}
    wrong = {name for name in found | expected if found.get(name) != expected.get(name)}
    assert not wrong, f"{place}: not as it was written: {sorted(wrong)}"


{"work": work, "compare": compare}[command]()
