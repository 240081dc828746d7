"""Thirty questions of dashboards: ours over HTTP, from rollups, beside DuckDB on the same Parquet files and DuckDB on
tables that were aggregated before, with the keys and sums of our rollups. Prints the three of them in one run.

    pip install -r tests/benchmarks/requirements.txt        # and wrk, from the system's packages
    python tests/benchmarks/metrics.py target/release/aihub --dir FOLDER [--rows 50000000] [--rounds 5]

FOLDER is that of query.py: built once, and used again; the first run builds the rollups too, and prints what that took.
Each question is asked in turn of all; the medians count, and the answers must be equal. No answer is asked for twice in
the same words, but for the last line, which measures kept answers.
"""

import argparse
import http.client
import itertools
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import time
import urllib.request

import duckdb
import pyarrow.parquet
import query

ASKED = itertools.count()
WINDOW = {"from": "2026-10-01", "to": "2026-10-31"}
WEEK = {"from": "2026-10-08", "to": "2026-10-15"}
ROLLUPS = 10
BUILD_SECONDS_MAX = 3_600

# What a metric is: of the raw rows, and of those that were aggregated before.
SQL = {
    "requests": ("count(*)", "sum(n)"),
    "tokens": ("sum(input_tokens) + sum(output_tokens)", "sum(input_tokens) + sum(output_tokens)"),
    "errors": ("count(*) FILTER (WHERE status_code >= 400)", "sum(n) FILTER (WHERE status_code >= 400)"),
    "error_rate": (
        "count(*) FILTER (WHERE status_code >= 400) / count(*)",
        "coalesce(sum(n) FILTER (WHERE status_code >= 400), 0) / sum(n)",
    ),
    "usage_revenue": ("sum(list_price)", "sum(list_price)"),
    "cost": ("sum(cost)", "sum(cost)"),
    "active_organizations": ("count(DISTINCT organization_id)", "count(DISTINCT organization_id)"),
    "p95_latency": (None, None),
}
BUCKET = "ceil(ln(greatest(CAST(latency_ms AS DOUBLE), 1)) / ln(1.02))"
# Tables with the keys of our rollups, in their order.
TABLES = {
    "usage_daily": ("day", ["model", "provider", "operation", "region", "status_code", "currency"]),
    "usage_daily_by_organization": ("day", ["organization_id", "status_code", "currency"]),
    "usage_hourly": ("hour", ["model", "provider", "operation", "region", "status_code", "currency"]),
    "usage_daily_by_organization_and_model": (
        "day",
        ["organization_id", "model", "provider", "operation", "region", "status_code", "currency"],
    ),
    "usage_hourly_by_organization": ("hour", ["organization_id", "status_code", "currency"]),
    "latency_daily": ("day", ["model", "provider", "operation", "region"]),
    "latency_hourly": ("hour", []),
}

# The metric, its window, grain, dimension, number of groups, and filter.
QUESTIONS = [
    ("requests", WINDOW, None, None, None, None),
    ("requests", WINDOW, "day", None, None, None),
    ("requests", WEEK, "hour", None, None, None),
    ("requests", WINDOW, None, "model", 10, None),
    ("requests", WINDOW, "day", "model", 5, None),
    ("requests", WINDOW, None, "organization_id", 20, None),
    ("requests", WINDOW, "day", None, None, ("organization_id", "org_007")),
    ("requests", WINDOW, "day", None, None, ("provider", "openai")),
    ("tokens", WINDOW, None, None, None, None),
    ("tokens", WINDOW, "day", None, None, None),
    ("tokens", WINDOW, None, "model", 10, None),
    ("tokens", WINDOW, "day", "provider", 4, None),
    ("tokens", WEEK, "hour", None, None, ("organization_id", "org_012")),
    ("errors", WINDOW, "day", None, None, None),
    ("errors", WINDOW, None, "region", 3, None),
    ("error_rate", WINDOW, None, None, None, None),
    ("error_rate", WINDOW, "day", None, None, None),
    ("error_rate", WINDOW, None, "provider", 4, None),
    ("error_rate", WEEK, "hour", None, None, ("model", "model-03")),
    ("usage_revenue", WINDOW, None, None, None, None),
    ("usage_revenue", WINDOW, "day", None, None, None),
    ("usage_revenue", WINDOW, None, "organization_id", 20, None),
    ("usage_revenue", WINDOW, None, "model", 10, None),
    ("usage_revenue", WINDOW, "day", None, None, ("organization_id", "org_020")),
    ("cost", WINDOW, "day", None, None, None),
    ("active_organizations", WINDOW, None, None, None, None),
    ("active_organizations", WINDOW, "day", None, None, None),
    ("p95_latency", WINDOW, None, None, None, None),
    ("p95_latency", WINDOW, "day", None, None, None),
    ("p95_latency", WINDOW, None, "model", 20, None),
]


def name(question):
    metric, window, grain, by, _, condition = question
    parts = [metric, "week" if window is WEEK else "month"]
    parts += [f"per {grain}"] if grain else []
    parts += [f"by {by}"] if by else []
    parts += [condition[1]] if condition else []
    return ", ".join(parts)


def table_of(question):
    """The first table that has what a question needs."""
    metric, _, grain, by, _, condition = question
    needed = {by} if by else set()
    needed |= {condition[0]} if condition else set()
    needed |= {"organization_id"} if metric == "active_organizations" else set()
    for table, (width, keys) in TABLES.items():
        is_kind = table.startswith("latency") == (metric == "p95_latency")
        if is_kind and needed <= set(keys) and not (grain == "hour" and width == "day"):
            return table
    raise SystemExit(f"{name(question)}: no table has it")


def connect(server):
    """A connection of its own, as the pages of a browser have one: the one before was idle, and may be closed."""
    server.connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    server.connection.request("GET", "/healthz")
    server.connection.getresponse().read()


def post(server, path, body):
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    server.connection.request("POST", path, json.dumps(body), headers)
    reply = server.connection.getresponse()
    text = reply.read()
    if reply.status != 200:
        raise SystemExit(f"{body}: {text.decode()}")
    return json.loads(text)


def ask(server, question):
    """Ours: values by bucket, group and currency. A condition that leaves nothing out makes the words new."""
    metric, window, grain, by, limit, condition = question
    dimension, value = ("model", "none") if metric == "p95_latency" else ("status_code", "9")
    conditions = [{"dimension": dimension, "operator": "!=", "value": f"{value}{next(ASKED):05}"}]
    if condition:
        conditions.append({"dimension": condition[0], "operator": "=", "value": condition[1]})
    body = window | {"metrics": [metric], "filter": {"and": conditions}, "fill": "none"}
    body |= {"grain": grain} if grain else {}
    body |= {"by": [by], "limit": limit} if by else {}
    answer = post(server, "/v1/metrics/query", body)
    source = answer["metrics"][0]["read"]["source"]
    if source != "rollup":
        raise SystemExit(f"{name(question)} was read from {source}")
    return {
        (row["at"] and row["at"][:13], row["group"][0] if by and not row.get("other") else None, row["currency"]):
            None if row["values"][0] is None else float(row["values"][0])
        for row in answer["rows"]
    }


def sql(question, aggregated):
    """The same in SQL for DuckDB, with the groups beyond the largest as one."""
    metric, window, grain, by, limit, condition = question
    money = metric in ("usage_revenue", "cost")
    column = "begins" if aggregated else "occurred_at"
    table = table_of(question) if aggregated else "usage_events"
    bounds = [f"timestamptz '{window[side]} 00:00:00Z'" for side in ("from", "to")]
    where = f"{column} >= {bounds[0]} AND {column} < {bounds[1]}"
    if condition:
        where += f" AND {condition[0]} = '{condition[1]}'"
    at = f"strftime(date_trunc('{grain}', {column}), '%Y-%m-%dT%H')" if grain else "NULL"
    currency = "currency" if money else "NULL"
    if metric == "p95_latency":
        rows = (
            f"SELECT *, n AS weight FROM {table} WHERE {where}"
            if aggregated
            else f"SELECT *, {BUCKET} AS bucket, 1 AS weight FROM usage_events WHERE {where} AND latency_ms IS NOT NULL"
        )
        group = by or "NULL"
        return f"""WITH histogram AS (SELECT {at} AS k, {group} AS g, bucket, sum(weight) AS n FROM ({rows}) GROUP BY ALL),
          running AS (SELECT k, g, bucket, sum(n) OVER (PARTITION BY k, g ORDER BY bucket) AS below,
            sum(n) OVER (PARTITION BY k, g) AS total FROM histogram)
          SELECT k, g, NULL AS c, power(1.02, min(bucket)) FROM running WHERE below >= 0.95 * total GROUP BY k, g"""
    value = SQL[metric][1 if aggregated else 0]
    if not by:
        return f"SELECT {at} AS k, NULL AS g, {currency} AS c, {value} FROM {table} WHERE {where} GROUP BY ALL"
    return f"""WITH totals AS (SELECT {by} AS name, {currency} AS c, {value} AS v FROM {table} WHERE {where} GROUP BY {by}{', currency' if money else ''}),
      ranked AS (SELECT name, row_number() OVER (PARTITION BY c ORDER BY v DESC, name) AS place FROM totals),
      keyed AS (SELECT *, {at} AS k, CASE WHEN {by} IN (SELECT name FROM ranked WHERE place <= {limit}) THEN {by} END AS g,
        {currency} AS c FROM {table} WHERE {where})
      SELECT k, g, c, {value} FROM keyed GROUP BY k, g, c"""


def run(db, question, aggregated):
    rows = db.execute(sql(question, aggregated)).fetchall()
    return {(k, g, c): None if v is None else float(v) for k, g, c, v in rows}


def differ(ours, theirs):
    for key in ours.keys() | theirs.keys():
        a, b = ours.get(key), theirs.get(key)
        # Milliseconds have three digits in our answers.
        if a is None or b is None or not math.isclose(a, b, rel_tol=1e-9, abs_tol=6e-4):
            return f"{key}: {a} and {b}"
    return None


def open_aggregated(folder):
    """DuckDB's tables, made once."""
    path = folder / "rollups.duckdb"
    fresh = not path.exists()
    db = duckdb.connect(str(path))
    db.execute("SET TimeZone = 'UTC'")
    if fresh:
        start = time.time()
        files = query.active_files(folder / "data" / "lake" / "usage_ledger")
        db.execute(f"CREATE TEMP VIEW usage_events AS SELECT * FROM read_parquet({files}, hive_partitioning = true)")
        for table, (width, keys) in TABLES.items():
            names = "".join(f", {key}" for key in keys)
            values, condition = (
                (f", {BUCKET} AS bucket, count(*) AS n", "latency_ms IS NOT NULL")
                if table.startswith("latency")
                else (
                    ", count(*) AS n, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, "
                    "sum(list_price) AS list_price, sum(cost) AS cost",
                    "true",
                )
            )
            order = "organization_id, begins" if "organization_id" in keys else "begins"
            db.execute(
                f"CREATE TABLE {table} AS SELECT date_trunc('{width}', occurred_at) AS begins{names}{values} "
                f"FROM usage_events WHERE {condition} GROUP BY ALL ORDER BY {order}"
            )
        db.execute("CHECKPOINT")
        print(f"DuckDB's tables in {time.time() - start:.0f} s", flush=True)
    return db


def seconds_of(process):
    """The CPU time of a process and its children, living and dead."""
    def used(pid):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        own = sum(int(field) for field in fields[11:15])
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return own + sum(used(child) for child in children)

    return used(process.pid) / os.sysconf("SC_CLK_TCK")


def built(server, rows):
    """Waits until the rollups are there, and says what that took."""
    request = urllib.request.Request(server.url + "/metrics", headers={"Authorization": f"Bearer {server.key}"})
    start, before = time.time(), seconds_of(server.process)
    while time.time() < start + BUILD_SECONDS_MAX:
        text = urllib.request.urlopen(request).read().decode()
        if len(re.findall(r"^rollup_waiting_rows\{.*\} 0$", text, re.MULTILINE)) == ROLLUPS:
            used = seconds_of(server.process) - before
            print(
                f"rollups are up to date after {time.time() - start:.0f} s, {used:.0f} s of CPU time "
                f"({used / rows * 1e6:.2f} s for a million events)",
                flush=True,
            )
            return
        time.sleep(1)
    raise SystemExit("the rollups are not built")


def sizes(folder, rows):
    for path in sorted((folder / "data" / "lake").glob("*-*")):
        files = query.active_files(path)
        if not files:
            continue
        held = sum(pyarrow.parquet.read_metadata(file).num_rows for file in files)
        size = sum(os.path.getsize(file) for file in files)
        print(f"{path.name.rsplit('-', 1)[0]:40} {held:>10,} rows, {held / rows:6.2%} of the events, {size / 2**20:6.1f} MiB")


def kept(server):
    """Answers a second that are kept, to 64 clients."""
    url = f"{server.url}/v1/metrics/requests?from={WINDOW['from']}&to={WINDOW['to']}&grain=day"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {server.key}"})
    urllib.request.urlopen(request).read()
    command = ["wrk", "-t1", "-c64", "-d10s", "--latency", "-H", f"Authorization: Bearer {server.key}", url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"(Requests/sec:|99%|50%)\s+(\S+)", out))
    failed = re.search(r"Non-2xx or 3xx responses: \d+", out)
    print(f"kept answers, 64 clients: {found['Requests/sec:']} a second, p50 {found['50%']}, p99 {found['99%']} {failed and failed[0] or ''}")


def compare(server, raw, aggregated, asked):
    """Asks all sides, and prints what it took."""
    sides = {
        "ours": lambda question: ask(server, question),
        "raw": lambda question: run(raw, question, False),
        "aggregated": lambda question: run(aggregated, question, True),
    }
    print(f"{'':40} {'ours':>9} {'raw':>9} {'aggregated':>10}   ms, medians of {asked.rounds}")
    ratios, differences, all_times, beyond = {"raw": [], "aggregated": []}, 0, [], 0
    for question in QUESTIONS:
        if asked.only not in name(question):
            continue
        times, answers = {side: [] for side in sides}, {}
        for _ in range(asked.rounds):
            connect(server)
            for side, work in sides.items():
                start = time.perf_counter()
                answers[side] = work(question)
                times[side].append(1_000 * (time.perf_counter() - start))
        found = {side: statistics.median(taken) for side, taken in times.items()}
        all_times += times["ours"]
        for side in ratios:
            ratios[side].append(found[side] / found["ours"])
        beyond += found["ours"] > 1.5 * found["aggregated"] + 5
        wrong = differ(answers["ours"], answers["raw"]) or differ(answers["ours"], answers["aggregated"])
        differences += wrong is not None
        line = f"{found['ours']:9.1f} {found['raw']:9.1f} {found['aggregated']:10.1f}"
        print(f"{name(question):40} {line}{'   DIFFERENT ' + wrong if wrong else ''}", flush=True)
    all_times.sort()
    for side, found in ratios.items():
        mean = math.exp(statistics.mean(math.log(ratio) for ratio in found))
        print(f"geometric mean of DuckDB's time on {side} rows ÷ ours: {mean:.2f}")
    print(
        f"ours: p50 {statistics.median(all_times):.1f} ms, p99 {all_times[int(0.99 * len(all_times))]:.1f} ms; "
        f"{beyond} questions take more than 1.5 × the aggregated table + 5 ms; {differences} different answers"
    )
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--dir", type=pathlib.Path, required=True)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="questions whose name contains this")
    asked = parser.parse_args()
    program = asked.program.resolve()
    if not (asked.dir / "data" / "lake").exists():
        query.build(program, asked.dir, asked.rows)
    raw, aggregated = query.open_duckdb(asked.dir), open_aggregated(asked.dir)
    rows = raw.execute("SELECT count(*) FROM usage_events").fetchone()[0]
    server = query.Server(program, asked.dir / "data")
    try:
        built(server, rows)
        server.settle()
        sizes(asked.dir, rows)
        differences = compare(server, raw, aggregated, asked)
        kept(server)
    finally:
        server.stop()
    raise SystemExit(1 if differences else 0)


if __name__ == "__main__":
    main()
