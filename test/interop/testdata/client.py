"""Clients of Python: http.client and bare sockets. client.py HOST PORT; the upstream answers /echo with the body and / with the request line."""
import http.client
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])


def keepalive():
    c = http.client.HTTPConnection(host, port, timeout=20)
    c.connect()
    first = c.sock
    for i in range(100):
        body = b"%d" % i * i
        c.request("POST", "/echo", body)
        r = c.getresponse()
        assert r.status == 200, r.status
        assert r.read() == body
        assert c.sock is first, "the connection was closed"
    c.close()


def chunked():
    c = http.client.HTTPConnection(host, port, timeout=20)
    parts = [b"x" * n for n in (1, 100, 10000, 70000)]
    c.request("POST", "/echo", iter(parts), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    r = c.getresponse()
    assert r.read() == b"".join(parts)
    c.request("GET", "/after")
    assert c.getresponse().read().endswith(b"/after")


def methods():
    c = http.client.HTTPConnection(host, port, timeout=20)
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "M-SEARCH", "REPORT"):
        c.request(method, "/m")
        r = c.getresponse()
        body = r.read()
        assert r.status == 200, (method, r.status)
        assert body.startswith(b"" if method == "HEAD" else method.encode()), (method, body)


def bare(data, half_close=False, piece=None):
    """Sends data and returns all that comes until the end."""
    s = socket.create_connection((host, port), timeout=20)
    if piece:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(0, len(data), piece):
            s.sendall(data[i:i + piece])
    else:
        s.sendall(data)
    if half_close:
        s.shutdown(socket.SHUT_WR)
    got = b""
    while part := s.recv(65536):
        got += part
    s.close()
    return got


def pipelined():
    n = 50
    data = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(n))
    data += b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    got = bare(data)
    at = 0
    for i in range(n):
        found = got.find(b"GET a /%d" % i, at)
        assert found > 0, (i, got[-300:])
        at = found
    assert got.endswith(b"GET a /last"), got[-100:]
    assert got.count(b"HTTP/1.1 200 OK") == n + 1


def pipelined_with_bodies():
    data = b""
    for i in range(20):
        data += b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n%05d" % i
        data += b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n%06d\r\n0\r\n\r\n" % i
    data += b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    got = bare(data)
    for i in range(20):
        assert b"%05d" % i in got and b"%06d" % i in got, i
    assert got.endswith(b"GET a /last")


def half_closed():
    got = bare(b"GET /half HTTP/1.1\r\nHost: a\r\n\r\n", half_close=True)
    assert got.endswith(b"GET a /half"), got
    got = bare(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", half_close=True)
    assert b"\r\nbody\r\n" in got, got


def byte_by_byte():
    got = bare(b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n", piece=1)
    assert b"HTTP/1.1 200 OK" in got and b"abc" in got, got


def spelling():
    got = bare(b"GET / HTTP/1.1\r\nhOsT: a\r\nConnection: close\r\n\r\n")
    assert b"\r\nContent-Length: " in got, got  # as the upstream spells it


def http10():
    got = bare(b"GET /old HTTP/1.0\r\nHost: a\r\n\r\n")
    assert got.endswith(b"GET a /old") and b"transfer-encoding" not in got.lower(), got


def gone():
    for _ in range(50):  # clients that leave in the middle
        s = socket.create_connection((host, port), timeout=20)
        s.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nsome")
        s.close()
    keepalive()


for check in (keepalive, chunked, methods, pipelined, pipelined_with_bodies, half_closed, byte_by_byte, spelling, http10, gone):
    check()
    print("ok", check.__name__)
