"""Stands in front of an STS and fails half of the calls to it, in all the ways that services fail.

It prints its address, then one line for each call: `answered`, or what it did instead. The end of standard input
ends it. The choices follow from the seed, so that a run can be repeated.
"""

import http.server
import random
import sys
import threading
import time
import urllib.error
import urllib.request

UPSTREAM, SEED = sys.argv[1], int(sys.argv[2])
choices, turn = random.Random(SEED), threading.Lock()


def error(code):
    return f"<ErrorResponse><Error><Type>Receiver</Type><Code>{code}</Code><Message>soak</Message></Error></ErrorResponse>"


class Door(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with turn:
            fate = choices.choice(["answered"] * 5 + ["failed", "throttled", "dropped", "garbled", "slow"])
            print(fate, flush=True)
        if fate == "failed":
            self.reply(503, error("ServiceUnavailable"))
        elif fate == "throttled":
            self.reply(400, error("Throttling"))
        elif fate == "garbled":
            self.reply(200, "<html>Welcome to the hotel</html>")
        elif fate == "dropped":
            self.close_connection = True
            self.connection.close()
        else:
            if fate == "slow":
                time.sleep(2)
                self.reply(500, error("InternalFailure"))
                return
            self.forward(body)

    def forward(self, body):
        request = urllib.request.Request(UPSTREAM + self.path, body, dict(self.headers))
        try:
            with urllib.request.urlopen(request) as answer:
                self.reply(answer.status, answer.read())
        except urllib.error.HTTPError as answer:
            self.reply(answer.code, answer.read())

    def reply(self, status, body):
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print("http://{}:{}".format(*server.server_address), flush=True)
sys.stdin.buffer.read()
