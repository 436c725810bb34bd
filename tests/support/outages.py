"""Programs that work in mounts while the network is out, and the comparison of what they were told with the server's disk.

outages.py run SCENARIO MOUNT SCRATCH     works; writes what must be on the disk to SCRATCH/SCENARIO.expected
outages.py compare SCENARIO DISK SCRATCH  compares
"""

import json
import os
import sys
import time

scenario, scratch = sys.argv[2], sys.argv[4]
PATIENCE = 90  # seconds until an operation must succeed after the outage
BASE = "before the outage\n"


def wait_for(event):
    while not os.path.exists(f"{scratch}/{event}"):
        time.sleep(0.05)


def attempt(work, *arguments):
    """Whether it succeeded."""
    begun = time.time()
    try:
        work(*arguments)
        error = None
    except OSError as cause:
        error = cause
    with open(f"{scratch}/{scenario}.said", "a") as said:
        after = time.time() - begun
        said.write(f"{scenario}: {work.__name__} {arguments!r:.60}: {error or 'success'} after {after:.1f} s\n")
    return error is None


def insist(work, *arguments):
    """Tries until it succeeds."""
    until = time.time() + PATIENCE
    while not attempt(work, *arguments):
        assert time.time() < until, f"{scenario}: {work.__name__} fails on, after the outage"
        time.sleep(0.2)


def save(path, text):
    with open(path, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def save_without_fsync(path, text):
    # Python closes twice where the first close fails: this is to be one call.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def append(path, text):
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def unlink_and_rewrite():
    attempt(os.unlink, "file")
    wait_for("healed")
    insist(save, "file", "written again\n")
    return {"file": "written again\n"}


def save_twice():
    attempt(save, "file", "first\n")
    insist(save, "file", "second, and longer\n")
    return {"file": "second, and longer\n"}


def save_once():
    return {"file": "saved\n"} if attempt(save, "file", "saved\n") else {}


def save_by_close():
    attempt(save_without_fsync, "file", "first\n")
    insist(save_without_fsync, "file", "second, and longer\n")
    return {"file": "second, and longer\n"}


def write_back():
    insist(save_without_fsync, "file", "first\n")
    insist(save_without_fsync, "new", "second\n")
    time.sleep(3)
    insist(save_without_fsync, "file", "third, and longer\n")
    return {"file": "third, and longer\n", "new": "second\n"}


def append_lines():
    lines = []
    for number in range(3):
        until = time.time() + PATIENCE
        while True:
            line = f"line {number} at {time.time()}\n"
            if attempt(append, "file", line):
                break
            assert time.time() < until, "appending fails on, after the outage"
            time.sleep(0.2)
        lines.append(line)
    return {"file": [BASE, *lines]}


def entries():
    """What is there after the outage."""
    wait_for("healed")
    there = set()

    def listing():
        there.update(os.listdir("."))

    insist(listing)
    return there


# Of each of these, what is done after the outage is the opposite of what was tried before, and must stay.


def rename():
    attempt(os.rename, "file", "renamed")
    if "renamed" in entries():
        insist(os.rename, "renamed", "file")
    else:
        insist(save, "file", BASE)
    return {"file": BASE, "renamed": None}


def make_directory():
    attempt(os.mkdir, "made")
    if "made" not in entries():
        insist(os.mkdir, "made")
    insist(os.rmdir, "made")
    return {"made": None}


def remove_directory():
    attempt(os.rmdir, "empty")
    if "empty" in entries():
        insist(os.rmdir, "empty")
    insist(os.mkdir, "empty")
    return {"empty": "a directory"}


def killed():
    """Its ftpfs is killed a second after this began."""
    attempt(os.unlink, "file")
    return {"file": BASE}


def found(path):
    if os.path.isdir(path):
        return "a directory"
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return file.read()


def compare(disk):
    with open(f"{scratch}/{scenario}.expected") as file:
        expected = json.load(file)
    for name, wanted in expected.items():
        holds = found(f"{disk}/{name}")
        if isinstance(wanted, list):
            # Lines that were confirmed, in order; those that failed may be between.
            lines = (holds or "").splitlines(keepends=True)
            places = [lines.index(line) if lines.count(line) == 1 else -1 for line in wanted]
            assert -1 not in places and places == sorted(places), f"{scenario}: {name} holds {holds!r}, confirmed {wanted}"
        else:
            assert holds == wanted, f"{scenario}: {name} is {holds!r}, not {wanted!r}"


if sys.argv[1] == "run":
    os.chdir(sys.argv[3])
    wait_for("cut")
    expected = globals()[scenario]()
    with open(f"{scratch}/{scenario}.expected", "w") as file:
        json.dump(expected, file)
else:
    compare(sys.argv[3])
