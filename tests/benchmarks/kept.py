"""What every kind of answer takes on one kept connection, compressed.

    python tests/benchmarks/kept.py target/release/aihub [--rounds 200]

Each kind is asked in turn on one connection with `Accept-Encoding: gzip`. An answer that leaves in two segments and
waits for a delayed acknowledgement shows as 40 ms here, and as nothing on fresh connections.
"""

import argparse
import gzip
import http.client
import json
import statistics
import tempfile
import time
import urllib.parse

from ingest import percentile
from latency import Server

KINDS = [
    ("GET", "/healthz", None),
    ("GET", "/v1/metrics", None),
    ("GET", "/openapi.json", None),
    ("GET", "/v1/schema", None),
    ("GET", "/v1/functions", None),
    ("GET", "/v1/metrics/requests?grain=day", None),
    ("GET", "/dashboards/business", None),
    ("GET", "/metrics", None),
    ("GET", "/v1/queries?limit=20", None),
    ("GET", "/nothing", None),
    ("POST", "/v1/query", {"sql": "select model, count(*) as n from usage_events group by model"}),
    ("POST", "/v1/query", {"sql": "select * from usage_events limit 500", "format": "ndjson"}),
    ("POST", "/v1/query", {"sql": "select * from usage_events limit 500", "format": "csv"}),
    ("POST", "/v1/query", {"sql": "select * from usage_events limit 500", "format": "arrow"}),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(arguments.program, folder, "demo", "--days", "10", "--organizations", "30")
        try:
            connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.url).netloc)
            headers = {
                "Authorization": f"Bearer {server.key}",
                "Accept-Encoding": "gzip",
                "Content-Type": "application/json",
            }
            for method, path, body in KINDS:
                took, size = [], 0
                for _ in range(arguments.rounds):
                    started = time.perf_counter()
                    connection.request(method, path, json.dumps(body) if body else None, headers)
                    answer = connection.getresponse()
                    content = answer.read()
                    took.append(1000 * (time.perf_counter() - started))
                    size = len(content)
                    if answer.headers.get("Content-Encoding") == "gzip":
                        gzip.decompress(content)
                name = f"{method} {path}" + (f" {body.get('format', 'json')}" if body else "")
                print(
                    f"{name:48} {answer.status} {size:8} bytes, p50 {statistics.median(took):6.2f} ms, "
                    f"p99 {percentile(took, 0.99):6.2f} ms",
                    flush=True,
                )
        finally:
            server.stop()


if __name__ == "__main__":
    main()
