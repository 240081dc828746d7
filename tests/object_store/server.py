"""An S3 server on loopback for the tests: moto's, with three things added.

A conditional put (If-None-Match) is one step: moto asks and stores in two, which two requests could take in turn.
It knows one access key, `test`. And it fails on demand: PUT /-/faults {"seed": 1, "share": 0.2} makes so many of the
later requests fail, each in one of the ways that object stores do, or only in the "ways" that the plan names.
GET /-/faults tells how many did.

    python server.py        # prints {"url": "http://127.0.0.1:PORT"}, then serves until stdin ends
"""

import io
import json
import os
import random
import sys
import threading
import time

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

CONDITIONAL = threading.Lock()
STALL_SECONDS = 2.0
REFUSALS = {
    403: ("403 Forbidden", "InvalidAccessKeyId"),
    412: ("412 Precondition Failed", "PreconditionFailed"),
    429: ("429 Too Many Requests", "SlowDown"),
    500: ("500 Internal Server Error", "InternalError"),
    503: ("503 Service Unavailable", "SlowDown"),
}


class Faults:
    """Which of the next requests fail, and how; a function of the seed."""

    def __init__(self):
        self.lock = threading.Lock()
        self.plan({"seed": 0, "share": 0.0})

    def plan(self, settings):
        with self.lock:
            self.random = random.Random(settings["seed"])
            self.share, self.only = settings["share"], settings.get("ways")
            self.seen, self.made = 0, {}

    def next(self, method, is_conditional):
        """The way in which this request fails; None when it does not."""
        with self.lock:
            self.seen += 1
            if self.random.random() >= self.share:
                return None
            ways = [429, 500, 503, "stall", "drop"]
            if method == "PUT":
                # It is stored, and the sender does not learn of it.
                ways += ["lose_reply", "lose_reply", "reply_500"]
            if is_conditional:
                # Something in between repeated a put that was stored; a put met another, and both were given up.
                ways += ["stored_412", "refused_412"]
            if self.only is not None:
                ways = [way for way in ways if way in self.only]
            if not ways:
                return None
            way = self.random.choice(ways)
            self.made[str(way)] = self.made.get(str(way), 0) + 1
            return way

    def told(self):
        with self.lock:
            return {"seen": self.seen, "made": dict(self.made)}


class Dropped(ConnectionError):
    """The connection is to be closed without an answer."""


class Store:
    def __init__(self, inner):
        self.inner, self.faults = inner, Faults()

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/-/faults":
            return self.control(environ, start_response)
        # The body is read whole, so that a refused request leaves nothing in the connection.
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        if "Credential=test/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return refuse(403, start_response)
        way = self.faults.next(environ["REQUEST_METHOD"], "HTTP_IF_NONE_MATCH" in environ)
        if way in (429, 500, 503):
            return refuse(way, start_response)
        if way == "refused_412":
            return refuse(412, start_response)
        if way == "stall":
            time.sleep(STALL_SECONDS)
        if way == "drop":
            raise Dropped
        answered = []
        content = self.run(environ, lambda *answer: answered.append(answer))
        if way == "lose_reply":
            raise Dropped
        if way == "reply_500":
            return refuse(500, start_response)
        if way == "stored_412":
            return refuse(412, start_response)
        start_response(*answered[0])
        return content

    def run(self, environ, start_response):
        if "HTTP_IF_NONE_MATCH" in environ:
            with CONDITIONAL:
                return list(self.inner(environ, start_response))
        return list(self.inner(environ, start_response))

    def control(self, environ, start_response):
        if environ["REQUEST_METHOD"] == "PUT":
            text = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            self.faults.plan(json.loads(text))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self.faults.told()).encode()]


def refuse(status, start_response):
    line, code = REFUSALS[status]
    start_response(line, [("Content-Type", "application/xml")])
    return [f"<Error><Code>{code}</Code><Message>made to fail</Message></Error>".encode()]


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_):
        pass

    def connection_dropped(self, *_):
        self.close_connection = True


def main():
    os.environ["MOTO_S3_DEFAULT_KEY_BUFFER_SIZE"] = str(64 << 20)
    store = Store(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, store, threaded=True, request_handler=Handler)
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
