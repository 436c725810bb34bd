"""A proxy for the tests, HTTP CONNECT and SOCKS5 on one port: PORT LOG [USER:PASSWORD]. Names everything it connects to in LOG."""
import base64
import socket
import sys
import threading

port, log = int(sys.argv[1]), open(sys.argv[2], "a", buffering=1)
login = sys.argv[3] if len(sys.argv) > 3 else None


def exactly(client, length):
    data = b""
    while len(data) < length:
        more = client.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def http(client):
    request = b"C"
    while not request.endswith(b"\r\n\r\n"):
        request += exactly(client, 1)
    lines = request.decode().split("\r\n")
    if login and "Proxy-Authorization: Basic " + base64.b64encode(login.encode()).decode() not in lines:
        client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        raise EOFError
    host, _, number = lines[0].split(" ")[1].rpartition(":")
    log.write("http %s %s\n" % (host, number))
    try:
        server = socket.create_connection((host.strip("[]"), int(number)))
    except OSError:
        client.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        raise EOFError
    client.sendall(b"HTTP/1.1 200 Connection established\r\nVia: a test\r\n\r\n")
    return server


def socks(client):
    methods = exactly(client, exactly(client, 1)[0])
    if login:
        if 2 not in methods:
            client.sendall(b"\5\xff")
            raise EOFError
        client.sendall(b"\5\2")
        exactly(client, 1)
        user = exactly(client, exactly(client, 1)[0])
        password = exactly(client, exactly(client, 1)[0])
        good = user + b":" + password == login.encode()
        client.sendall(b"\1\0" if good else b"\1\1")
        if not good:
            raise EOFError
    else:
        client.sendall(b"\5\0")
    form = exactly(client, 4)[3]
    if form == 3:
        host = exactly(client, exactly(client, 1)[0]).decode()
    else:
        host = socket.inet_ntop(socket.AF_INET if form == 1 else socket.AF_INET6, exactly(client, 4 if form == 1 else 16))
    number = int.from_bytes(exactly(client, 2), "big")
    log.write("socks %s %d\n" % (host, number))
    try:
        server = socket.create_connection((host, number))
    except OSError:
        client.sendall(b"\5\5\0\1" + bytes(6))
        raise EOFError
    client.sendall(b"\5\0\0\1" + bytes(6))
    return server


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(client):
    with client:
        try:
            server = socks(client) if exactly(client, 1) == b"\5" else http(client)
        except EOFError:
            return
        with server:
            back = threading.Thread(target=pump, args=(server, client))
            back.start()
            pump(client, server)
            back.join()


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", port))
listener.listen(50)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
