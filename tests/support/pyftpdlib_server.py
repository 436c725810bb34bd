"""pyftpdlib as scripts/servers starts it: DISK PORT PASSIVE_FROM PASSIVE_TO USER PASSWORD_FILE COMMAND_LOG [CERTIFICATE].

It does not know the commands in $WITHOUT, separated by commas ("RNFR,SITE CHMOD"). With $REST_BITS it keeps so many bits of
the offset of REST."""
import logging
import os
import pwd
import sys
import time

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

disk, port, passive_from, passive_to, user, password_file, command_log = sys.argv[1:8]
certificate = sys.argv[8] if len(sys.argv) > 8 else None
password = open(password_file).read()
account = pwd.getpwnam(user)
os.setgroups([])
os.setgid(account.pw_gid)
os.setuid(account.pw_uid)
# pyftpdlib looks at a directory by going there and back, which it could not to a repository in a closed home.
os.chdir("/")
os.umask(0o022)

authorizer = DummyAuthorizer()
authorizer.add_user(user, password, disk, perm="elradfmwMT")
commands = open(command_log, "a", buffering=1)


if certificate:
    from pyftpdlib.handlers import TLS_FTPHandler

    FTPHandler = TLS_FTPHandler
    FTPHandler.certfile = certificate
    FTPHandler.tls_control_required = True
    FTPHandler.tls_data_required = True


class Handler(FTPHandler):
    passive_ports = range(int(passive_from), int(passive_to) + 1)
    max_login_attempts = 3

    def pre_process_command(self, line, cmd, arg):
        shown = "PASS ***" if cmd == "PASS" else line
        commands.write('%s "%s"\n' % (time.strftime("%F %T"), shown))
        super().pre_process_command(line, cmd, arg)

    def ftp_REST(self, line):
        bits = int(os.environ.get("REST_BITS", 64))
        return super().ftp_REST(str(int(line) % (1 << bits)))


Handler.authorizer = authorizer
unknown = os.environ.get("WITHOUT", "").split(",")
Handler.proto_cmds = {verb: about for verb, about in FTPHandler.proto_cmds.items() if verb not in unknown}
logging.basicConfig(level=logging.WARNING)
server = FTPServer(("127.0.0.1", int(port)), Handler)
server.max_cons = 500
server.serve_forever(handle_exit=False)
