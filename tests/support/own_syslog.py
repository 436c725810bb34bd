"""Runs a command with a /dev/log of its own: COMMAND_LOG COMMAND...

For a server that tells what it was asked to syslog only. To be started by `unshare --mount`: the machine keeps its /dev.
"""
import os
import re
import socket
import subprocess
import sys

log, command = sys.argv[1], sys.argv[2:]
devices = os.path.dirname(log) + "/dev"
os.makedirs(devices, exist_ok=True)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", devices], check=True)
subprocess.run(["cp", "-a", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", devices], check=True)
subprocess.run(["mount", "--move", devices, "/dev"], check=True)

listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind("/dev/log")
listener.settimeout(0.5)
server = subprocess.Popen(command)
with open(log, "ab", buffering=0) as file:
    while server.poll() is None:
        try:
            line = listener.recv(65536).rstrip(b"\0\n")
        except socket.timeout:
            continue
        # Pure-FTPd writes "Command [retr] [a file]"; the logs of all servers say "RETR a file".
        asked = re.search(rb"Command \[(\w+)\] \[(.*)\]$", line, re.S)
        if asked:
            verb, argument = asked[1].upper(), asked[2]
            line = b'%s "%s"' % (line[: asked.start()], verb + (b" " + argument if argument else b""))
        file.write(line + b"\n")
sys.exit(server.returncode)
