"""Twenty analyst questions, ours over HTTP beside DuckDB on the same Parquet files. Prints both sides in one run.

    pip install -r tests/benchmarks/requirements.txt
    python tests/benchmarks/query.py target/release/aihub --dir FOLDER [--rows 50000000] [--rounds 5]

FOLDER is built once (some minutes, 4 GB for 50 million rows) and used again. Each question is asked in turn of
both; the medians count, and the answers must be equal. Beside, as a second anchor: DuckDB on tables of its own
format. Nothing is cached between questions but what the operating system and the footer caches hold: no answer is
asked for twice in the same words.
"""

import argparse
import datetime
import decimal
import itertools
import json
import math
import os
import pathlib
import statistics
import subprocess
import time
import urllib.error
import urllib.request

import duckdb
import pyarrow
import pyarrow.ipc
import pyarrow.parquet

ORGANIZATIONS = 400
ASKED = itertools.count()
DAYS = 30
SETTLE_SECONDS_MAX = 300
FIRST = datetime.date(2026, 10, 1)

# Sender's columns of the generated file, and the columns of the table that they become.
MAPPING = """
type = "usage.request"
source = "/bench/history"
organization_column = "org"
id_column = "id"
[time]
column = "at"
[columns]
""" + "\n".join(
    f'{name} = "{name}"'
    for name in """project_id api_key_id user_id session_id model provider operation input_tokens
    cached_input_tokens output_tokens status_code error_code latency_ms time_to_first_token_ms region cost
    list_price currency""".split()
)

GENERATE = """
COPY (
  WITH numbers AS (SELECT range AS i, hash(range) AS h, hash(range + 77) AS g FROM range({rows})),
  drawn AS (
    SELECT i, h, g,
      CAST(floor({organizations} * pow((h % 100003) / 100003.0, 3)) AS INTEGER) AS org,
      CAST(floor(12 * pow((g % 9973) / 9973.0, 2)) AS INTEGER) AS model
    FROM numbers
  )
  SELECT
    printf('evt-%010d', i) AS id,
    printf('org_%03d', org) AS org,
    TIMESTAMP '{first}' + to_microseconds(CAST(i * ({days} * 86400000000.0 / {rows}) AS BIGINT)) AS at,
    printf('prj_%04d', org * 3 + h % 3) AS project_id,
    printf('key_%05d', org * 8 + g % 8) AS api_key_id,
    printf('user-%06d', org * 100 + (h // 7) % 100) AS user_id,
    printf('sess_%07d', (i // 9) % 3000000) AS session_id,
    printf('model-%02d', model) AS model,
    ['openai', 'anthropic', 'google', 'mistral'][model % 4 + 1] AS provider,
    CASE WHEN h % 20 = 0 THEN 'embeddings' ELSE 'chat' END AS operation,
    50 + h % 4000 AS input_tokens,
    CASE WHEN h % 3 = 0 THEN h % 50 ELSE 0 END AS cached_input_tokens,
    10 + g % 1500 AS output_tokens,
    CASE WHEN g % 50 = 0 THEN 429 WHEN g % 211 = 0 THEN 500 ELSE 200 END AS status_code,
    CASE WHEN g % 50 = 0 THEN 'rate_limited' WHEN g % 211 = 0 THEN 'upstream' END AS error_code,
    CAST(80 + 4000 * pow((g % 7919) / 7919.0, 4) AS BIGINT) AS latency_ms,
    20 + g % 500 AS time_to_first_token_ms,
    ['eu-west-1', 'us-east-1', 'ap-south-1'][org % 3 + 1] AS region,
    CAST((50 + h % 4000) * 25 / 10000000.0 AS DECIMAL(18, 7)) AS cost,
    CAST((50 + h % 4000) * 30 / 10000000.0 AS DECIMAL(18, 7)) AS list_price,
    CASE WHEN org % 10 = 0 THEN 'EUR' ELSE 'USD' END AS currency
  FROM drawn ORDER BY i
) TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 500000)
"""

DAY = "occurred_at >= timestamptz '2026-10-{0:02} 00:00:00Z' and occurred_at < timestamptz '2026-10-{1:02} 00:00:00Z'"
OWN = "organization_id = 'org_007'"

# Name, and SQL; a pair where the dialects differ (ours first).
QUESTIONS = [
    ("rows", "select count(*) as n from usage_events"),
    ("totals of all columns", "select sum(input_tokens) as i, sum(output_tokens) as o, sum(list_price) as r, max(latency_ms) as l from usage_events"),
    ("one organization, one week", f"select count(*) as n, sum(list_price) as r from usage_events where {OWN} and {DAY.format(10, 17)}"),
    ("one organization by day", f"select event_date, count(*) as n, sum(list_price) as r from usage_events where {OWN} group by event_date order by event_date"),
    ("one hour", "select count(*) as n, sum(output_tokens) as o from usage_events where occurred_at >= timestamptz '2026-10-12 09:00:00Z' and occurred_at < timestamptz '2026-10-12 10:00:00Z'"),
    ("models by revenue", "select model, currency, count(*) as n, sum(list_price) as r from usage_events group by model, currency order by r desc, model limit 10"),
    ("models by day", "select event_date, model, sum(input_tokens + output_tokens) as t from usage_events group by event_date, model order by event_date, model"),
    ("organizations by revenue", f"select organization_id, sum(list_price) as r from usage_events where {DAY.format(1, 8)} group by organization_id order by r desc, organization_id limit 20"),
    ("error rate by provider", "select provider, count(*) as n, sum(case when status_code >= 400 then 1 else 0 end) as e from usage_events group by provider order by provider"),
    ("errors of one kind", "select event_date, count(*) as n from usage_events where error_code = 'upstream' group by event_date order by event_date"),
    ("95th percentile by model", (
        "select model, approx_percentile_cont(latency_ms, 0.95) as p from usage_events group by model order by model",
        "select model, approx_quantile(latency_ms, 0.95) as p from usage_events group by model order by model")),
    ("users, exactly", f"select count(distinct user_id) as u from usage_events where {DAY.format(1, 8)}"),
    ("users by day, about", (
        "select event_date, approx_distinct(user_id) as u from usage_events group by event_date order by event_date",
        "select event_date, approx_count_distinct(user_id) as u from usage_events group by event_date order by event_date")),
    ("sessions of one organization", f"select count(distinct session_id) as s from usage_events where {OWN}"),
    ("by plan", "select b.plan, count(*) as n, sum(u.list_price) as r from usage_events u join billing_events b on b.organization_id = u.organization_id and b.kind = 'subscription_created' group by b.plan order by b.plan"),
    ("growth of organizations", "with d as (select organization_id, event_date, sum(list_price) as r from usage_events group by organization_id, event_date), c as (select organization_id, event_date, r, r - lag(r) over (partition by organization_id order by event_date) as up from d) select organization_id, event_date, up from c where up is not null order by up desc, organization_id, event_date limit 20"),
    ("the three models of each organization", "with m as (select organization_id, model, count(*) as n from usage_events group by organization_id, model), k as (select organization_id, model, n, row_number() over (partition by organization_id order by n desc, model) as place from m) select organization_id, model, n from k where place <= 3 order by organization_id, place"),
    ("the slowest requests", "select organization_id, model, latency_ms, occurred_at from usage_events order by latency_ms desc, occurred_at desc, organization_id limit 50"),
    ("names that begin with", "select count(*) as n, sum(output_tokens) as o from usage_events where model like 'model-0%' and region <> 'us-east-1'"),
    ("by hour of the day", "select date_part('hour', occurred_at) as h, count(*) as n, avg(latency_ms) as l from usage_events group by 1 order by 1"),
]


def new(sql):
    """The question in words that no kept answer is to."""
    return f"{sql} -- {next(ASKED)}"


class Server:
    def __init__(self, program, folder, *arguments):
        self.program, self.folder = program, folder
        self.process = subprocess.Popen(
            [program, "serve", "--dir", folder, "--port", "0", "--format", "json", *arguments],
            stdout=subprocess.PIPE,
        )
        self.url = json.loads(self.process.stdout.readline())["url"]
        scopes = "admin,read,write,backfill"
        self.key = command(program, folder, "key", "create", "--name", "bench", "--scopes", scopes)

    def post(self, path, body, media_type="application/json"):
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": media_type}
        return urllib.request.urlopen(urllib.request.Request(self.url + path, body, headers), timeout=600)

    def ask(self, sql):
        try:
            with self.post("/v1/query", json.dumps({"sql": new(sql), "format": "arrow"}).encode()) as reply:
                table = pyarrow.ipc.open_stream(reply.read()).read_all()
                return table, int(reply.headers.get("X-Bytes-Scanned") or 0)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{sql}: {error.read().decode()}") from error

    def settle(self):
        """Waits until it has read its index of identities through, as it does once after each start."""
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat")
        before = None
        for _ in range(SETTLE_SECONDS_MAX):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            used = int(fields[11]) + int(fields[12])
            if before is not None and used - before < 0.05 * os.sysconf("SC_CLK_TCK"):
                return
            before = used
            time.sleep(1)
        raise SystemExit(f"the server is still busy after {SETTLE_SECONDS_MAX} s")

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


def command(program, folder, *arguments):
    done = subprocess.run([program, *arguments, "--dir", folder], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def generate(history, rows):
    """A file of usage, sorted by time."""
    start = time.time()
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute(
            GENERATE.format(
                rows=rows, organizations=ORGANIZATIONS, first=FIRST, days=DAYS, path=history
            )
        )
    print(f"generated {rows:,} rows in {time.time() - start:.0f} s", flush=True)


def build(program, folder, rows):
    """The lake: usage through the importer, subscriptions through the intake, then compaction."""
    folder.mkdir(parents=True, exist_ok=True)
    history, mapping, data = folder / "history.parquet", folder / "mapping.toml", folder / "data"
    mapping.write_text(MAPPING)
    generate(history, rows)
    start = time.time()
    command(program, data, "import", "--map", mapping, history)
    print(f"imported them in {time.time() - start:.0f} s", flush=True)
    history.unlink()
    server = Server(program, data)
    server.post("/v1/events", subscriptions(), "application/x-ndjson").read()
    server.stop()
    start = time.time()
    command(program, data, "maintain", "--all")
    print(f"compacted in {time.time() - start:.0f} s", flush=True)


def subscriptions():
    plans = ["starter", "team", "scale", "enterprise"]
    events = (
        {
            "specversion": "1.0",
            "id": f"sub-{n}",
            "source": "/bench",
            "type": "billing.subscription_created",
            "subject": f"org_{n:03}",
            "time": "2026-09-30T12:00:00Z",
            "data": {
                "subscription_id": f"sub_{n}",
                "plan": plans[n % 4],
                "amount": "20",
                "currency": "USD",
                "billing_interval": "month",
            },
        }
        for n in range(ORGANIZATIONS)
    )
    return "\n".join(json.dumps(event) for event in events).encode()


def active_files(table):
    """The files of a Delta table: its last checkpoint, and the commits after it."""
    log = table / "_delta_log"
    files, version = set(), -1
    last = log / "_last_checkpoint"
    if last.exists():
        version = json.loads(last.read_text())["version"]
        checkpoint = pyarrow.parquet.read_table(log / f"{version:020}.checkpoint.parquet", columns=["add"])
        files = {add["path"] for add in checkpoint["add"].to_pylist() if add and add["path"]}
    for commit in sorted(log.glob("*.json")):
        if int(commit.stem) <= version:
            continue
        for line in commit.read_text().splitlines():
            action = json.loads(line)
            if "add" in action:
                files.add(action["add"]["path"])
            if "remove" in action:
                files.discard(action["remove"]["path"])
    return [str(table / path) for path in sorted(files)]


def open_duckdb(folder):
    """DuckDB on our files, and a function that gives it tables of its own."""
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    for view, table in [("usage_events", "usage_ledger"), ("billing_events", "billing_events")]:
        files = active_files(folder / "data" / "lake" / table)
        db.execute(
            f"CREATE VIEW {view} AS SELECT * FROM read_parquet({files}, hive_partitioning = true, "
            "hive_types = {'event_date': DATE})"
        )
    return db


def open_native(folder):
    path = folder / "native.duckdb"
    fresh = not path.exists()
    db = duckdb.connect(str(path))
    db.execute("SET TimeZone = 'UTC'")
    if fresh:
        start = time.time()
        for view, table in [("usage_events", "usage_ledger"), ("billing_events", "billing_events")]:
            files = active_files(folder / "data" / "lake" / table)
            db.execute(
                f"CREATE TABLE {view} AS SELECT * EXCLUDE (event_id, content_hash, log, lsn) FROM read_parquet("
                f"{files}, hive_partitioning = true, hive_types = {{'event_date': DATE}})"
            )
        db.execute("CHECKPOINT")
        print(f"DuckDB's own tables in {time.time() - start:.0f} s", flush=True)
    return db


def plain(value):
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    return value


def differ(ours, theirs, approximate):
    """The first difference between two answers, or None."""
    ours, theirs = (
        [[plain(value) for value in row.values()] for row in table.to_pylist()] for table in (ours, theirs)
    )
    if len(ours) != len(theirs):
        return f"{len(ours)} rows and {len(theirs)}"
    for mine, other in zip(ours, theirs):
        for a, b in zip(mine, other):
            if isinstance(a, (int, float)) and isinstance(b, (int, float)):
                if not math.isclose(a, b, rel_tol=0.1 if approximate else 1e-9):
                    return f"{mine} and {other}"
            elif a != b:
                return f"{mine} and {other}"
    return None


def timed(work):
    start = time.perf_counter()
    answer = work()
    return time.perf_counter() - start, answer


def bandwidth():
    """Bytes that one core copies in a second."""
    source = bytearray(256 << 20)
    return len(source) / min(timed(lambda: bytes(source))[0] for _ in range(5))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--dir", type=pathlib.Path, required=True)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="questions whose name contains this")
    parser.add_argument("--without-native", action="store_true")
    asked = parser.parse_args()
    program = asked.program.resolve()
    if not (asked.dir / "data" / "lake").exists():
        build(program, asked.dir, asked.rows)
    parquet = open_duckdb(asked.dir)
    native = None if asked.without_native else open_native(asked.dir)
    server = Server(program, asked.dir / "data")
    server.settle()
    rate = bandwidth()
    print(f"DuckDB {duckdb.__version__}; seconds, medians of {asked.rounds}", flush=True)
    print(f"{'':38} {'ours':>8} {'DuckDB':>8} {'ratio':>6} {'native':>8} {'read MB':>8} {'floor':>7}")
    ratios, wrong = [], 0
    for name, sql in QUESTIONS:
        if asked.only and asked.only not in name:
            continue
        ours, theirs = sql if isinstance(sql, tuple) else (sql, sql)
        taken = {"ours": [], "parquet": [], "native": []}
        for _ in range(asked.rounds):
            seconds, (mine, scanned) = timed(lambda: server.ask(ours))
            taken["ours"].append(seconds)
            seconds, other = timed(lambda: parquet.sql(theirs).to_arrow_table())
            taken["parquet"].append(seconds)
            if native:
                taken["native"].append(timed(lambda: native.sql(theirs).to_arrow_table())[0])
        fault = differ(mine, other, isinstance(sql, tuple))
        mine, other = statistics.median(taken["ours"]), statistics.median(taken["parquet"])
        own = statistics.median(taken["native"]) if native else math.nan
        ratios.append(mine / other)
        floor = scanned / rate / 2
        print(f"{name:38} {mine:8.3f} {other:8.3f} {mine / other:6.2f} {own:8.3f} {scanned / 1e6:8.0f} {floor:7.3f}", flush=True)
        if fault:
            wrong += 1
            print(f"  DIFFERENT ANSWERS: {fault}")
    server.stop()
    mean = math.exp(statistics.mean(math.log(ratio) for ratio in ratios))
    print(f"geometric mean {mean:.2f}, worst {max(ratios):.2f}; different answers: {wrong}")
    print("floor: the bytes read, copied once by two cores")


if __name__ == "__main__":
    main()
