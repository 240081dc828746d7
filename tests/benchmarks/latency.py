"""How quickly small questions are answered, how fast a large answer streams, and what 64 clients see.

    python tests/benchmarks/latency.py target/release/aihub [--dir FOLDER] [--seconds 30] [--rows 10000000]

1. Open loop: small questions at 100 a second on demo data, one after the other on kept connections, whether or
   not the ones before were answered. Each touches at most 100,000 rows after pruning.
2. Ten million rows of ten columns as an Arrow stream: MB/s, and the memory of server and worker meanwhile.
3. 64 clients of 32 organizations with small questions, closed loop, while 20,000 events a second arrive.
"""

import argparse
import http.client
import json
import pathlib
import queue
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.parse

from ingest import memory_mb, percentile
from query import new

SMALL = [
    "select count(*) as n from usage_events where occurred_at >= now() - interval '1 day'",
    "select model, count(*) as n, sum(list_price) as r from usage_events where occurred_at >= now() - interval '2 days' group by model order by n desc",
    "select event_date, sum(input_tokens) as t from usage_events where organization_id = '{org}' and occurred_at >= now() - interval '3 days' group by event_date order by event_date",
    "select * from organizations order by organization_id limit 20",
    "select status_code, count(*) as n from usage_events where organization_id = '{org}' and occurred_at >= now() - interval '1 day' group by status_code",
]
TEN = (
    "organization_id, model, provider, input_tokens, output_tokens, status_code, latency_ms, "
    "list_price, occurred_at, event_date"
)


def told(name, seconds):
    milliseconds = [1000 * value for value in seconds]
    print(
        f"{name}: {len(seconds)} answers, p50 {statistics.median(milliseconds):.1f} ms, "
        f"p99 {percentile(milliseconds, 0.99):.1f} ms, most {max(milliseconds):.1f} ms",
        flush=True,
    )


class Server:
    def __init__(self, program, folder, *command):
        self.program, self.folder = program, folder
        self.process = subprocess.Popen(
            [program, *command, "--dir", folder, "--port", "0", "--format", "json"], stdout=subprocess.PIPE
        )
        self.url = json.loads(self.process.stdout.readline())["url"]
        self.address = urllib.parse.urlsplit(self.url).netloc
        self.key = self.make_key("admin,read,write,backfill")

    def make_key(self, scopes, *more):
        command = [self.program, "key", "create", "--name", "bench", "--scopes", scopes, *more, "--dir", self.folder]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def connect(self):
        return http.client.HTTPConnection(self.address, timeout=60)

    def ask(self, connection, sql, key=None, form="json"):
        body = json.dumps({"sql": new(sql), "format": form})
        headers = {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/query", body, headers)
        reply = connection.getresponse()
        return reply.status, reply

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


def organizations(server):
    connection = server.connect()
    _, reply = server.ask(connection, "select distinct organization_id as o from usage_events limit 32")
    return [row["o"] for row in json.loads(reply.read())["rows"]]


def small_questions(server, seconds, rate):
    """Each question has a time at which it is due; how long it takes counts from then."""
    known = organizations(server)
    due, taken, failed = queue.Queue(), [], []

    def work():
        connection = server.connect()
        while (question := due.get()) is not None:
            at, sql = question
            time.sleep(max(0, at - time.perf_counter()))
            status, reply = server.ask(connection, sql)
            reply.read()
            taken.append(time.perf_counter() - at)
            if status != 200:
                failed.append(status)

    start = time.perf_counter() + 0.5
    for n in range(int(seconds * rate)):
        sql = SMALL[n % len(SMALL)].replace("{org}", known[n % len(known)])
        due.put((start + n / rate, sql))
    workers = [threading.Thread(target=work) for _ in range(16)]
    for _ in workers:
        due.put(None)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    told(f"small questions at {rate} a second ({len(failed)} failed)", taken)


def large_answer(server, rows):
    connection = server.connect()
    status, reply = server.ask(connection, "select count(*) as n from usage_events")
    held = json.loads(reply.read())["rows"][0]["n"]
    copies = -(-rows // max(held, 1))
    sql = f"select {TEN} from usage_events cross join unnest(range(0, {copies})) limit {rows}"
    most, done = [memory_mb(server.process)], threading.Event()

    def watch():
        while not done.wait(0.05):
            most[0] = max(most[0], memory_mb(server.process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    status, reply = server.ask(connection, sql, form="arrow")
    total, buffer = 0, bytearray(1 << 20)
    while count := reply.readinto(buffer):
        total += count
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    print(
        f"{rows:,} rows of 10 columns: {total / 1e6:.0f} MB in {seconds:.2f} s, {total / 1e6 / seconds:.0f} MB/s, "
        f"status {status}; server and workers at most {most[0]:.0f} MB",
        flush=True,
    )


def many_clients(server, seconds, clients, events_per_second):
    known = organizations(server)
    keys = [server.make_key("read", "--organization", name) for name in known]
    taken, failed, stop = [], [], threading.Event()
    sent = [0, 0]

    def ask(n):
        connection = server.connect()
        while not stop.is_set():
            sql = SMALL[(n + len(taken)) % len(SMALL)].replace("{org}", known[n % len(known)])
            start = time.perf_counter()
            status, reply = server.ask(connection, sql, keys[n % len(keys)])
            reply.read()
            taken.append(time.perf_counter() - start)
            if status != 200:
                failed.append(status)

    def send():
        connection = server.connect()
        headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/x-ndjson"}
        batch, start = 1_000, time.perf_counter()
        while not stop.is_set():
            body = "\n".join(event(sent[0] + i, known) for i in range(batch))
            connection.request("POST", "/v1/events", body, headers)
            reply = connection.getresponse()
            reply.read()
            sent[0] += batch
            sent[1] += reply.status != 200
            time.sleep(max(0, start + sent[0] / events_per_second - time.perf_counter()))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(clients)] + [threading.Thread(target=send)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    print(f"{clients} clients: {len(taken) / seconds:.0f} answers a second, {sent[0] / seconds:.0f} events a second, "
          f"{len(failed)} questions and {sent[1]} batches failed")
    told("  each question", taken)


def event(number, known):
    return json.dumps({
        "specversion": "1.0", "id": f"late-{number}", "source": "/bench", "type": "usage.request",
        "subject": known[number % len(known)], "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "data": {"model": "mosaic-pro", "input_tokens": number % 4000, "output_tokens": number % 900, "status_code": 200},
    })


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--dir", type=pathlib.Path, help="a demo folder to keep")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--rows", type=int, default=10_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        server = Server(asked.program.resolve(), asked.dir or pathlib.Path(temporary) / "demo", "demo")
        time.sleep(2)
        small_questions(server, asked.seconds, asked.rate)
        large_answer(server, asked.rows)
        many_clients(server, asked.seconds, 64, 20_000)
        server.stop()


if __name__ == "__main__":
    main()
