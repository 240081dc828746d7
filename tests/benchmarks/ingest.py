"""How fast events come in, beside DuckDB on the same events and cores. Prints both sides in one run.

    pip install -r tests/benchmarks/requirements.txt        # and wrk, from the system's packages
    python tests/benchmarks/ingest.py target/release/aihub [--seconds 60] [--dir FOLDER]

Ours: events over HTTP in batches of 1,000, each answered after the fsync, divided by the CPU-seconds (user and
system) of the server process, which sorts, encodes, commits and indexes them too. DuckDB: the same events from
an NDJSON file to sorted Parquet with zstd, divided by its CPU-seconds.
"""

import argparse
import collections
import http.client
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

ORGANIZATIONS = 32
BATCH = 1_000
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
DUCKDB_EVENTS = 1_000_000
RUN = "00000000"  # stands in a body's ids; each request puts its own number there


def event(number, run):
    """One event of about 500 bytes, as a gateway reports a chat completion."""
    data = {
        "project_id": f"prj_{number % 100:03}",
        "api_key_id": f"key_{number % 800:04}",
        "user_id": f"user-{number * 7919 % 50_000:05}",
        "session_id": f"sess_{number // 7 % 1_000_000:06}",
        "model": ["gpt-5.1", "claude-opus-5", "gemini-3-pro", "mistral-large-3"][number * 31 % 4],
        "provider": ["openai", "anthropic", "google", "mistral"][number * 31 % 4],
        "operation": "chat",
        "input_tokens": 50 + number * 7907 % 4_000,
        "cached_input_tokens": number * 31 % 50,
        "output_tokens": 10 + number * 7901 % 1_500,
        "status_code": 429 if number % 50 == 0 else 200,
        "latency_ms": 100 + number * 7883 % 5_000,
        "time_to_first_token_ms": 20 + number * 7879 % 500,
        "region": ["eu-west-1", "us-east-1", "ap-south-1"][number % 3],
        "cost": f"{(50 + number * 7907 % 4_000) * 25 / 10**7:.7f}",
        "list_price": f"{(50 + number * 7907 % 4_000) * 30 / 10**7:.7f}",
        "currency": "USD",
    }
    at = time.gmtime(TODAY + number * 61 % 86_400)
    return {
        "specversion": "1.0",
        "id": f"evt-{run}-{number:07}",
        "source": "/bench",
        "type": "usage.request",
        "subject": f"org_{number % ORGANIZATIONS:02}",
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", at) + f".{number * 7919 % 1_000_000:06}Z",
        "data": data,
    }


TODAY = int(time.time()) // 86_400 * 86_400 - 86_400


def lines(first, count, run):
    return b"".join(
        json.dumps(event(n, run), separators=(",", ":")).encode() + b"\n"
        for n in range(first, first + count)
    )


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def fdatasync_ms(folder):
    """The median time of an fdatasync of one page here and now."""
    taken = []
    with open(folder / "probe", "wb", buffering=0) as probe:
        for _ in range(200):
            probe.write(b"x" * 4096)
            start = time.perf_counter()
            os.fdatasync(probe.fileno())
            taken.append((time.perf_counter() - start) * 1000)
    os.remove(folder / "probe")
    return statistics.median(taken)


def memory_parts(process):
    """The proportional set size in MB of a process and of those that it started, by what they are."""
    pids = [process.pid]
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == process.pid:
                pids.append(int(stat.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    parts = collections.Counter()
    for pid in pids:
        try:
            name = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1].decode()
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError, IndexError):
            continue
        parts[name] += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return parts


def memory_mb(process):
    return sum(memory_parts(process).values())


class Server:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        folder.mkdir()
        self.process = subprocess.Popen(
            [program, "serve", "--dir", folder, "--port", "0", "--format", "json"],
            stdout=subprocess.PIPE,
        )
        self.url = json.loads(self.process.stdout.readline())["url"]
        self.key = self.command("key", "create", "--name", "bench", "--scopes", "admin,read,write")
        self.address = urllib.parse.urlsplit(self.url).netloc

    def command(self, *arguments):
        command = [self.program, *arguments, "--dir", self.folder]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def metric(self, name):
        connection = http.client.HTTPConnection(self.address)
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {self.key}"})
        for line in connection.getresponse().read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        return 0.0

    def drained(self):
        """Waits until the tables hold everything."""
        for _ in range(600):
            if self.metric("ingest_lag_rows") == 0:
                return
            time.sleep(0.1)
        raise SystemExit("rows stay in the log")

    def rows(self):
        return int(self.command("query", "select count(*) from usage_events").splitlines()[-1])

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Batches:
    """Senders that post batches of 1,000, as fast as they are answered or at a given rate."""

    def __init__(self, server, templates):
        self.server, self.templates = server, templates
        self.lock, self.next = threading.Lock(), 1
        self.acknowledged, self.refused, self.latencies = 0, 0, []

    def run(self, seconds, senders, per_second=None):
        end = time.perf_counter() + seconds
        begun, first = time.perf_counter(), self.next
        self.acknowledged, self.refused, self.latencies = 0, 0, []
        threads = [
            threading.Thread(target=self.send, args=(end, begun, first, per_second))
            for _ in range(senders)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def send(self, end, begun, first, per_second):
        connection = http.client.HTTPConnection(self.server.address)
        headers = {
            "Authorization": f"Bearer {self.server.key}",
            "Content-Type": "application/x-ndjson",
        }
        while time.perf_counter() < end:
            with self.lock:
                run, self.next = self.next, self.next + 1
            # What is sent is made before it is due: its making is not the server's time.
            template = self.templates[run % len(self.templates)]
            body = template.replace(b"evt-" + RUN.encode(), b"evt-%08d" % run)
            due = begun + (run - first) / per_second if per_second else None
            if due is not None:
                time.sleep(max(0, due - time.perf_counter()))
            while True:
                start = time.perf_counter()
                connection.request("POST", "/v1/events", body, headers)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status == 200:
                    break
                assert answer.status in (429, 503), text
                self.refused += 1
                time.sleep(float(answer.headers["Retry-After"]))
            with self.lock:
                # An open loop counts from when the request was due.
                self.latencies.append(time.perf_counter() - (due if due is not None else start))
                self.acknowledged += BATCH


def duckdb_side(folder, events):
    """The same events from NDJSON to sorted Parquet, in a process of its own, on the same cores."""
    source, target = folder / "events.ndjson", folder / "duckdb.parquet"
    with open(source, "wb") as file:
        for first in range(0, events, 10_000):
            file.write(lines(first, 10_000, RUN))
    script = f"""
import duckdb
duckdb.sql("set threads = {os.cpu_count()}")
duckdb.sql('''
copy (select id, source, type, subject, time, d.* from (
  select id, source, type, subject, time, unnest(data) from read_json('{source}', format='newline_delimited',
  columns={{id: 'varchar', source: 'varchar', type: 'varchar', subject: 'varchar', time: 'timestamptz',
    data: 'struct(project_id varchar, api_key_id varchar, user_id varchar, session_id varchar, model varchar,
      provider varchar, operation varchar, input_tokens bigint, cached_input_tokens bigint, output_tokens bigint,
      status_code bigint, latency_ms bigint, time_to_first_token_ms bigint, region varchar, cost decimal(38,12),
      list_price decimal(38,12), currency varchar)'}})) d
  order by subject, time) to '{target}' (format parquet, compression zstd)''')
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", script], check=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = source.stat().st_size
    os.remove(source)
    return events / cpu, events / wall, target.stat().st_size / events, size / events


def stored_bytes(folder):
    """Bytes per row of our files, and of the same rows as DuckDB writes them, file by file."""
    import duckdb

    files = list((folder / "data/lake/usage_ledger").rglob("*.parquet"))
    ours, theirs, rows = 0, 0, 0
    for file in files:
        target = folder / "same.parquet"
        try:
            size = file.stat().st_size
            count = duckdb.sql(f"select count(*) from read_parquet('{file}')").fetchall()[0][0]
            duckdb.sql(f"copy (from read_parquet('{file}', hive_partitioning = false)) to '{target}' "
                       "(format parquet, compression zstd)")
        except (duckdb.IOException, FileNotFoundError):
            continue  # Upkeep merged files in between, and removed this one.
        ours, theirs, rows = ours + size, theirs + target.stat().st_size, rows + count
    return ours / rows, theirs / rows


def single_events(server, seconds, folder):
    """64 clients that send one event each, and the next after its answer."""
    script = folder / "single.lua"
    body = json.dumps(event(1, "%s")).replace("%s-0000001", "%d-%d-%d").replace("org_01", "org_%02d")
    script.write_text(
        "local thread = 0\n"
        "function setup(t) t:set('id', thread); thread = thread + 1 end\n"
        "function init() n = 0; begun = os.time() end\n"
        f"local body = [[{body}]]\n"
        "function request()\n"
        "  n = n + 1\n"
        f"  local text = string.format(body, begun, id, n, n % {ORGANIZATIONS})\n"
        "  return wrk.format('POST', '/v1/events', {['Content-Type'] = 'application/json', "
        f"['Authorization'] = 'Bearer {server.key}'}}, text)\n"
        "end\n"
    )
    cpu, before = server.cpu_seconds(), server.metric("ingest_accepted_events_total")
    command = ["wrk", "-t1", "-c64", f"-d{seconds}s", "--latency", "-s", script, server.url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu = server.cpu_seconds() - cpu
    count = server.metric("ingest_accepted_events_total") - before
    latency = {w[0]: w[1] for w in (line.split() for line in output.splitlines()) if len(w) == 2}
    return count / seconds, cpu / max(count, 1), latency.get("50%"), latency.get("99%")


def visibility_ms(server, count):
    """From the acknowledgement of an event to the first answer of SQL that holds it."""
    taken = []
    connection = http.client.HTTPConnection(server.address)
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    for number in range(count):
        name = f"see-{time.time_ns()}-{number}"
        one = event(number, "0") | {"id": name}
        connection.request("POST", "/v1/events", json.dumps(one), headers)
        assert connection.getresponse().read() is not None
        acknowledged = time.perf_counter()
        sql = f"select count(*) as n from usage_events where event_date = '{one['time'][:10]}' and event_id = '{name}'"
        while True:
            asked = time.perf_counter()
            connection.request("POST", "/v1/query", json.dumps({"sql": sql}), headers)
            rows = json.loads(connection.getresponse().read())["rows"]
            if rows and list(rows[0].values() if isinstance(rows[0], dict) else rows[0])[0] == 1:
                break
        # The question that saw it began so long after the acknowledgement.
        taken.append((asked - acknowledged) * 1000)
    return percentile(taken, 0.5), percentile(taken, 0.99)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--dir", help="where to write; its disk is what is measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        folder = pathlib.Path(folder)
        print(f"cores {os.cpu_count()}, fdatasync p50 {fdatasync_ms(folder):.2f} ms")
        duck_cpu, duck_wall, duck_bytes, event_bytes = duckdb_side(folder, DUCKDB_EVENTS)
        print(f"event {event_bytes:.0f} bytes")
        print(f"DuckDB  {duck_cpu:,.0f} events per CPU-second, {duck_wall:,.0f} per second, "
              f"{duck_bytes:.1f} bytes per event stored")
        # More than a data file holds: repeated events would compress like nobody's.
        templates = [lines(first, BATCH, RUN) for first in range(0, 500 * BATCH, BATCH)]
        server = Server(arguments.program.resolve(), folder / "data")
        try:
            batches = Batches(server, templates)
            batches.run(3, 4)
            server.drained()
            warm, cpu, start = server.rows(), server.cpu_seconds(), time.perf_counter()
            seen, stop = [], threading.Event()

            def watch():
                while not stop.wait(1):
                    seen.append(memory_parts(server.process))

            watcher = threading.Thread(target=watch)
            watcher.start()
            batches.run(arguments.seconds, 8)
            wall, lag = time.perf_counter() - start, server.metric("ingest_lag_rows")
            full = batches.acknowledged / wall
            server.drained()
            cpu = server.cpu_seconds() - cpu
            ours = batches.acknowledged / cpu
            assert server.rows() == warm + batches.acknowledged, "an event is lost or double"
            print(f"ours    {ours:,.0f} events per CPU-second ({ours * event_bytes / 1e6:.0f} MB/s), "
                  f"{full:,.0f} per second, {batches.refused} refused, lag at the end {lag:,.0f} rows; "
                  f"ratio to DuckDB {ours / duck_cpu:.2f}")
            print(f"        acknowledged p50 {percentile(batches.latencies, 0.5) * 1000:.1f} ms, "
                  f"p99 {percentile(batches.latencies, 0.99) * 1000:.1f} ms, 8 senders at full speed")
            batches.run(arguments.seconds // 2, 8, full / BATCH / 2)
            print(f"half    acknowledged p50 {percentile(batches.latencies, 0.5) * 1000:.1f} ms, "
                  f"p99 {percentile(batches.latencies, 0.99) * 1000:.1f} ms at {full / 2:,.0f} events per second")
            server.drained()
            stop.set()
            watcher.join()
            sums = [sum(parts.values()) for parts in seen]
            parts = ", ".join(f"{name} {mb:.0f}" for name, mb in seen[sums.index(max(sums))].items())
            print(f"memory  {max(sums):.0f} MB at most ({parts}), {statistics.median(sums):.0f} MB half of the time")
            stored, same = stored_bytes(folder)
            print(f"stored  {stored:.1f} bytes per event before compaction, DuckDB {same:.1f} for the same rows and "
                  f"order with zstd, ratio {stored / same:.2f}; {stored / duck_bytes:.2f} of what was sent alone")
            rate, each, p50, p99 = single_events(server, arguments.seconds // 3, folder)
            sync = fdatasync_ms(folder)
            aim = 0.6 * 64 / ((1.5 * sync) / 1000 + 64 * each)
            print(f"single  {rate:,.0f} events per second from 64 clients, p50 {p50}, p99 {p99}, "
                  f"{each * 1e6:.0f} us CPU each; must {aim:,.0f} (fdatasync p50 {sync:.2f} ms)")
            p50, p99 = visibility_ms(server, 100)
            print(f"visible {p50:.1f} ms p50, {p99:.1f} ms p99 after the acknowledgement")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
