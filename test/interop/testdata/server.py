"""Upstreams of Python's http.server: server.py OLD_PORT NEW_PORT RAW_PORT.

OLD speaks HTTP/1.0 and ends bodies with the connection, NEW speaks HTTP/1.1, RAW is a socket that sends what the path names.
"""
import http.server
import socketserver
import sys
import threading
import time


class Old(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("X-Version", self.request_version)
        self.end_headers()
        for i in range(100):
            self.wfile.write(b"%03d " % i * 100)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class New(Old):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(50):
            self.wfile.write(b"4;n=%d\r\n%03d \r\n" % (i, i))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# What RAW sends, by path, and then closes.
ANSWERS = {
    b"/lf": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    b"/short": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    b"/half-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nff\r\nhalf",
    b"/no-last-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"/garbage": b"SSH-2.0-OpenSSH_9.2\r\n",
    b"/nothing": b"",
    b"/half-head": b"HTTP/1.1 200 OK\r\nContent-Le",
    b"/two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    b"/both": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"/nul": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
    b"/status": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    b"/no-reason": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    b"/old": b"HTTP/1.0 200 OK\r\n\r\nto the end",
    b"/empty-old": b"HTTP/1.0 200 OK\r\n\r\n",
    b"/1xx": b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"/more": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore than promised",
    b"/204": b"HTTP/1.1 204 No Content\r\n\r\n",
    b"/304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\nETag: \"a\"\r\n\r\n",
    b"/weird-status": b"HTTP/1.1 799 Whatever\r\nContent-Length: 2\r\n\r\nok",
    b"/latin": b"HTTP/1.1 200 D\xe9j\xe0 vu\r\nX-Name: J\xfcrgen\r\nContent-Length: 2\r\n\r\nok",
}


class Raw(socketserver.StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        if not line:
            return
        answer = ANSWERS[line.split()[1]]
        if line.split()[1] == b"/lf" or len(answer) < 8:
            self.wfile.write(answer)
            return
        # In three pieces, so that no reader can count on one.
        for part in (answer[:7], answer[7:len(answer) // 2], answer[len(answer) // 2:]):
            self.wfile.write(part)
            self.wfile.flush()
            time.sleep(0.002)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


for port, handler in zip(sys.argv[1:], (Old, New, Raw)):
    threading.Thread(target=Server(("127.0.0.1", int(port)), handler).serve_forever).start()
