"""An FTP server over TLS that does with its data connections what real servers can't be made to do.

DISK PORT USER PASSWORD_FILE COMMAND_LOG CERTIFICATE HOW [OTHER_CERTIFICATE]; HOW is

    well      nothing odd
    other     data connections show OTHER_CERTIFICATE
    cut       from the moment that a file CUT is on the disk, data is cut in the middle, without TLS's close_notify, and said
              to be whole
    unsaid    data is whole, and its end is never said by TLS
    forgets   PROT P holds for one transfer, and another one is refused
    none      an empty directory is refused when its data connection stands, which is just closed
"""
import os
import socket
import ssl
import sys
import threading
import time

disk, port, user, password_file, command_log, certificate, how = sys.argv[1:8]
password = open(password_file).read()
commands = open(command_log, "a", buffering=1)


def context(pem):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pem)
    return made


control_context = context(certificate)
data_context = context(sys.argv[8]) if how == "other" else control_context


def is_cut():
    return how == "cut" and os.path.exists(disk + "/CUT")


class Session(threading.Thread):
    def __init__(self, plain):
        super().__init__(daemon=True)
        self.control = plain
        self.directory = "/"
        self.private = False

    def say(self, words):
        self.control.sendall((words + "\r\n").encode())

    def path(self, name):
        return disk + os.path.normpath(os.path.join(self.directory, name))

    def run(self):
        self.say("220 odd")
        rest = b""
        while True:
            while b"\n" not in rest:
                got = self.control.recv(4096)
                if not got:
                    return
                rest += got
            line, _, rest = rest.partition(b"\n")
            line = line.decode().rstrip("\r")
            verb, _, argument = line.partition(" ")
            commands.write('"%s"\n' % ("PASS ***" if verb == "PASS" else line))
            getattr(self, verb.lower(), self.unknown)(argument)

    def unknown(self, _):
        self.say("502 Unknown")

    def auth(self, _):
        self.say("234 Go on")
        self.control = control_context.wrap_socket(self.control, server_side=True)

    def user(self, _):
        self.say("331 Password")

    def pass_(self, given):
        self.say("230 In" if given == password else "530 Out")

    def feat(self, _):
        self.say("211-Features\r\n SIZE\r\n MDTM\r\n REST STREAM\r\n EPSV\r\n211 End")

    def fine(self, _):
        self.say("200 Fine")

    type = opts = pbsz = noop = fine

    def prot(self, level):
        self.private = level == "P"
        self.say("200 Fine")

    def pwd(self, _):
        self.say('257 "%s"' % self.directory)

    def cwd(self, name):
        there = os.path.isdir(self.path(name))
        if there:
            self.directory = os.path.normpath(os.path.join(self.directory, name))
        self.say("250 There" if there else "550 No such directory")

    def size(self, name):
        there = os.path.isfile(self.path(name))
        self.say("213 %d" % os.path.getsize(self.path(name)) if there else "550 No such file")

    def mdtm(self, name):
        there = os.path.isfile(self.path(name))
        stamp = there and time.strftime("%Y%m%d%H%M%S", time.gmtime(os.path.getmtime(self.path(name))))
        self.say("213 " + stamp if there else "550 No such file")

    def dele(self, name):
        os.remove(self.path(name))
        self.say("250 Gone")

    def epsv(self, _):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.say("229 Here (|||%d|)" % self.listener.getsockname()[1])

    def refuses(self):
        """Whether a transfer is refused, since PROT P does not hold any more."""
        refuses = how == "forgets" and not self.private
        if refuses:
            self.listener.close()
            self.say("521 Data connections need PROT P")
        return refuses

    def data(self):
        plain, _ = self.listener.accept()
        self.listener.close()
        self.say("150 Now")
        private = self.private
        self.private = private and how != "forgets"
        return data_context.wrap_socket(plain, server_side=True) if private else plain

    def send(self, content):
        if self.refuses():
            return
        try:
            data = self.data()
            if is_cut():
                data.sendall(content[: len(content) // 2])
                data.close()
            else:
                data.sendall(content)
                if how == "unsaid":
                    data.close()
                else:
                    data.unwrap()
                    data.close()
        except OSError as error:
            return self.say("426 %s" % error)
        self.say("226 All of it")

    def list(self, switches):
        lines = []
        if how == "none" and not os.listdir(self.path(".")):
            self.data().close()
            return self.say("550 No files found")
        for name in sorted(os.listdir(self.path("."))):
            path = self.path(name)
            kind = "d" if os.path.isdir(path) else "-"
            stamp = time.strftime("%b %d %H:%M", time.gmtime(os.path.getmtime(path)))
            lines.append("%srwxr-xr-x 1 o g %d %s %s\r\n" % (kind, os.path.getsize(path), stamp, name))
        self.send("".join(lines).encode())

    def retr(self, name):
        with open(self.path(name), "rb") as file:
            self.send(file.read())

    def stor(self, name):
        content = b""
        if self.refuses():
            return
        try:
            data = self.data()
            while got := data.recv(65536):
                content += got
            data.close()
        except OSError as error:
            return self.say("426 %s" % error)
        with open(self.path(name), "wb") as file:
            file.write(content)
        self.say("226 Got it")


setattr(Session, "pass", Session.pass_)
listener = socket.create_server(("127.0.0.1", int(port)), backlog=50)
while True:
    Session(listener.accept()[0]).start()
