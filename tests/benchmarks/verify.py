"""How long it takes to verify a key: an open loop over HTTP, beside /healthz in the same run.

    pip install -r tests/benchmarks/requirements.txt
    python tests/benchmarks/verify.py target/release/aihub [--rate 5000] [--seconds 20] [--keys 1000]

Requests are due at fixed times, whether the server keeps up or not, and the time counts from then. They go over 32 kept
connections, in turns of one second to POST /v1/keys/verify and to GET /healthz.
"""

import argparse
import asyncio
import collections
import json
import statistics
import subprocess
import tempfile
import time
import urllib.parse

from ingest import percentile
from latency import Server

CONNECTIONS = 32
PLAN = "- {name: free, title: {en: Free, zh-CN: Free}}\n"


class Connection(asyncio.Protocol):
    """Sends requests one after the other, and notes when their answers are whole."""

    def __init__(self):
        self.due, self.read, self.transport = collections.deque(), b"", None

    def connection_made(self, transport):
        self.transport = transport

    def send(self, due, request, took):
        self.due.append((due, took))
        self.transport.write(request)

    def data_received(self, data):
        self.read += data
        while (end := self.read.find(b"\r\n\r\n")) >= 0:
            head = self.read[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self.read) < end + 4 + length:
                return
            assert head.startswith(b"http/1.1 200"), head
            self.read = self.read[end + 4 + length :]
            due, took = self.due.popleft()
            took.append(1000 * (time.perf_counter() - due))


async def load(address, kinds, rate, seconds):
    loop = asyncio.get_running_loop()
    host, port = address.split(":")
    made = [await loop.create_connection(Connection, host, int(port)) for _ in range(CONNECTIONS)]
    connections = [connection for _, connection in made]
    took = [[] for _ in kinds]
    begin, sent = time.perf_counter() + 0.1, 0
    while sent < rate * seconds:
        now = time.perf_counter()
        while sent < rate * seconds and begin + sent / rate <= now:
            second = int(sent / rate)
            kind = second % len(kinds)
            # The first second of each kind warms up.
            into = took[kind] if second >= len(kinds) else []
            request = kinds[kind][sent % len(kinds[kind])]
            connections[sent % CONNECTIONS].send(begin + sent / rate, request, into)
            sent += 1
        await asyncio.sleep(0.0005)
    while any(connection.due for connection in connections):
        await asyncio.sleep(0.01)
    return took


def request(method, path, key, body):
    content = json.dumps(body).encode() if body else b""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--keys", type=int, default=1_000)
    arguments = parser.parse_args()

    def run(*command):
        return subprocess.run(
            [arguments.program, *command, "--dir", folder], check=True, capture_output=True, text=True
        ).stdout.strip()

    with tempfile.TemporaryDirectory() as folder:
        # Without limits, so that every call is counted and none is refused.
        with open(f"{folder}/plans.yaml", "w") as plans, open(f"{folder}/aihub.toml", "w") as settings:
            plans.write(PLAN)
            settings.write(f'[plans]\nfile = "{folder}/plans.yaml"\n')
        gateway = run("key", "create", "--name", "gateway", "--scopes", "verify")
        run("organization", "create", "org_a", "--name", "A", "--country", "DE")
        own = ["key", "create", "--name", "own", "--organization", "org_a", "--scopes", "read"]
        keys = [run(*own) for _ in range(arguments.keys)]
        server = Server(arguments.program, folder, "serve")
        try:
            verify = [request("POST", "/v1/keys/verify", gateway, {"key": key, "model": "gpt-4"}) for key in keys]
            health = [request("GET", "/healthz", gateway, None)]
            address = urllib.parse.urlsplit(server.url).netloc
            took = asyncio.run(load(address, [verify, health], arguments.rate, arguments.seconds))
        finally:
            server.stop()
    p99 = []
    for name, times in zip(["POST /v1/keys/verify", "GET /healthz"], took):
        p99.append(percentile(times, 0.99))
        print(
            f"{name:24}{len(times):8} answers at {arguments.rate}/s, "
            f"p50 {statistics.median(times):6.2f} ms, p99 {p99[-1]:6.2f} ms"
        )
    print(f"p99 of verify is {p99[0] / p99[1]:.2f} times that of /healthz, with {arguments.keys} keys")


if __name__ == "__main__":
    main()
