"""What twenty hostile statements at once do to those who work and to those who send events.

    python tests/benchmarks/hostile.py target/release/aihub [--seconds 60]

Three times as long: nobody else; twenty clients of one organization, each with one hostile statement after the other;
the same of twenty organizations. Meanwhile an organization asks small questions, 20 a second, and batches of 200 events
come 5 times a second, both counted from when they were due. Prints p50 and p99 of both, what became of the hostile
statements, how late after its deadline the latest answer was, and the memory of all processes together.
"""

import argparse
import collections
import json
import pathlib
import queue
import tempfile
import threading
import time

from ingest import memory_mb, percentile
from latency import SMALL, Server, event, organizations, told
from query import new

DEADLINE = 2.0
CROSS = "usage_events a, usage_events b, usage_events c"
WITH = ", ".join(f"c{n + 1} as (select concat(a, a) as a from c{n})" for n in range(17))
HOSTILE = [
    f"select count(*) from {CROSS} where a.lsn + b.lsn + c.lsn < 0",
    f"select count(distinct a.lsn * b.lsn * c.lsn) from {CROSS}",
    f"select array_agg(a.event_id) from {CROSS}",
    f"select a.event_id, b.event_id, c.event_id from {CROSS} order by 1, 2, 3",
    f"select string_agg(a.model || b.model, ',') from {CROSS}",
    "select max(x) from (select unnest(range(1, 1000)) as x from usage_events a, usage_events b)",
    "select sum(n) over (order by x) from (select unnest(range(1, 999999)) as x, lsn as n from usage_events)",
    f"with c0 as (select repeat('x', 9999) as a), {WITH} select length(a) from c17",
    "select a.* from usage_events a full join usage_events b on a.model = b.model order by a.event_id",
    "select count(*) from usage_events where regexp_like(model, '(x+x+)+y') or cast(model as int) > 0",
    "select 1 / (lsn - lsn) from usage_events",
    "select " + "+".join(["1"] * 10_000),
    "select " + "(" * 5_000 + "1" + ")" * 5_000,
    " union all ".join(["select 1"] * 3_000),
    "with recursive r as (select 1 as i union all select i + 1 from r) select * from r",
    "select array_length(range(200000000))",
    "select length(repeat(model, 1000000)) from usage_events",
    "select * from '/etc/passwd'",
    "select 1 from usage_events group by cube (lsn, model, provider, region, status_code, event_id)",
    "copy (select 1) to '/tmp/x'",
]


class Load:
    """Something that is due so often, done by several threads."""

    def __init__(self, rate, threads, act):
        self.rate, self.threads, self.act = rate, threads, act

    def run(self, seconds):
        due, taken, statuses = queue.Queue(), [], collections.Counter()
        start = time.perf_counter() + 0.2
        for n in range(int(seconds * self.rate)):
            due.put(start + n / self.rate)

        def work():
            act = self.act()
            while True:
                try:
                    at = due.get_nowait()
                except queue.Empty:
                    return
                time.sleep(max(0, at - time.perf_counter()))
                statuses[act()] += 1
                taken.append(time.perf_counter() - at)

        workers = [threading.Thread(target=work) for _ in range(self.threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return taken, dict(statuses)


def honest(server, name, key):
    def act():
        connection, count = server.connect(), [0]

        def ask():
            count[0] += 1
            sql = SMALL[count[0] % len(SMALL)].replace("{org}", name)
            status, reply = server.ask(connection, sql, key)
            reply.read()
            return status

        return ask

    return Load(20, 16, act)


def sender(server, known):
    sent = [0]
    lock = threading.Lock()

    def act():
        connection = server.connect()
        headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/x-ndjson"}

        def send():
            with lock:
                first, sent[0] = sent[0], sent[0] + 200
            body = "\n".join(event(first + i, known) for i in range(200))
            connection.request("POST", "/v1/events", body, headers)
            reply = connection.getresponse()
            reply.read()
            return reply.status

        return send

    return Load(5, 8, act)


class Storm:
    def __init__(self, server, keys):
        self.server, self.keys = server, keys
        self.over, self.outcomes, self.latest = threading.Event(), collections.Counter(), 0.0
        self.threads = [threading.Thread(target=self.attack, args=(n,)) for n in range(20)]
        for thread in self.threads:
            thread.start()

    def attack(self, n):
        connection = self.server.connect()
        headers = {"Authorization": f"Bearer {self.keys[n % len(self.keys)]}", "Content-Type": "application/json"}
        while not self.over.is_set():
            sql, n = new(HOSTILE[n % len(HOSTILE)]), n + 1
            body = {"sql": sql, "timeout_ms": int(1000 * DEADLINE), "max_rows": 1_000, "truncate": True}
            start = time.perf_counter()
            connection.request("POST", "/v1/query", json.dumps(body), headers)
            reply = connection.getresponse()
            reply.read()
            self.latest = max(self.latest, time.perf_counter() - start - DEADLINE)
            self.outcomes[reply.status] += 1
            if reply.status in (429, 503):
                time.sleep(0.1)

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        print(f"  hostile: {dict(self.outcomes)}, the latest answer {self.latest:+.2f} s after its deadline")


def measure(name, server, loads, seconds, keys, before):
    print(f"{name}, {seconds:.0f} s", flush=True)
    storm = Storm(server, keys) if keys else None
    most, done = [0.0], threading.Event()

    def watch():
        while not done.wait(0.2):
            most[0] = max(most[0], memory_mb(server.process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    found = {}

    def run(what, load):
        found[what] = load.run(seconds)

    running = [threading.Thread(target=run, args=item) for item in loads.items()]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    done.set()
    watcher.join()
    if storm:
        storm.end()
    p99 = {}
    for what, (taken, statuses) in found.items():
        p99[what] = percentile(taken, 0.99)
        told(f"  {what} {statuses}", taken)
        if before:
            print(f"    p99 is {p99[what] / before[what]:.2f} times that without", flush=True)
    print(f"  memory of all processes: at most {most[0]:.0f} MB; the server {'runs' if server.process.poll() is None else 'ENDED'}")
    return p99


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        server = Server(asked.program.resolve(), pathlib.Path(temporary) / "demo", "demo")
        time.sleep(2)
        known = organizations(server)
        own = [server.make_key("read", "--organization", name) for name in known]
        loads = {"questions": honest(server, known[0], own[0]), "batches of events": sender(server, known)}
        measure("warming up", server, loads, 5, [], None)
        before = measure("nobody else", server, loads, asked.seconds, [], None)
        measure("twenty clients of one organization", server, loads, asked.seconds, own[1:2], before)
        measure("twenty clients of twenty organizations", server, loads, asked.seconds, own[1:21], before)
        server.stop()


if __name__ == "__main__":
    main()
