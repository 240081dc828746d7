"""How long a billing run takes: many organizations, a month of their usage, in seconds and CPU-seconds.

    pip install -r tests/benchmarks/requirements.txt
    python tests/benchmarks/billing.py target/release/aihub [--organizations 1000] [--rows 2000000] [--dir FOLDER]

Each organization has a subscription that began 40 days ago, so the first run issues two invoices for each and tells the
lake of each day; the second run finds nothing to do. Beside it, one SELECT that sums the same usage by organization,
day and model: the least that a run must read. CPU is that of the server with its query workers.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import tempfile
import time
import urllib.request

import duckdb

import query

DAYS = 38
PRICES = """
plans:
  - plan: pro
    versions:
      - from: 2025-01-01
        currency: USD
        charges:
          - {name: Base, price: {flat: 49}, in_advance: true}
          - {name: Requests, meter: requests, included: 100, price: {graduated: [{up_to: 1000, unit: "0.002"}, {unit: "0.001"}]}}
          - {name: Tokens, meter: tokens, price: {per_unit: {amount: "2.50", per: 1000000}}, maximum: 500}
          - {name: Models, meter: model_price, price: {per_unit: {amount: 1}}, minimum: 5}
models:
  - {model: 'model-*', versions: [{from: 2025-01-01, currency: USD, tokens: {input: "1.25", cached_input: "0.125", output: 10}}]}
"""


def cpu(process):
    """CPU-seconds of a process and its children, also of those that have ended."""
    total, tick = 0, os.sysconf("SC_CLK_TCK")
    waiting = [process]
    while waiting:
        one = waiting.pop()
        try:
            fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            children = pathlib.Path(f"/proc/{one}/task/{one}/children").read_text().split()
            for thread in pathlib.Path(f"/proc/{one}/task").iterdir():
                children += (thread / "children").read_text().split()
        except FileNotFoundError:
            continue
        total += sum(int(field) for field in fields[11:15])
        waiting.extend(set(map(int, children)))
    return total / tick


def timed(server, name, act):
    start, before = time.perf_counter(), cpu(server.process.pid)
    said = act()
    wall, used = time.perf_counter() - start, cpu(server.process.pid) - before
    print(f"{name:<28}{wall:>8.2f} s {used:>8.2f} CPU-seconds  {said}", flush=True)


def asked(server, method, path, body=None, media_type="application/json"):
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": media_type}
    request = urllib.request.Request(server.url + path, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=600) as reply:
        return json.loads(reply.read())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--organizations", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--dir", help="where to write; its disk is what is measured")
    arguments = parser.parse_args()
    program = arguments.program.resolve()
    begin = datetime.date.today() - datetime.timedelta(40)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        folder = pathlib.Path(folder)
        history, mapping, data = (folder / name for name in ("history.parquet", "mapping.toml", "data"))
        mapping.write_text(query.MAPPING)
        first = begin + datetime.timedelta(1)
        duckdb.sql(query.GENERATE.format(
            rows=arguments.rows, organizations=arguments.organizations, days=DAYS, first=first, path=history))
        subprocess.run([program, "import", "--map", mapping, history, "--dir", data], check=True, capture_output=True)
        names = [f"org_{at:03}" for at in range(arguments.organizations)]
        for name in names:
            query.command(program, data, "organization", "create", name, "--name", name, "--country", "DE")
        (data / "aihub.toml").write_text("[billing]\ngrace_hours = 0\n")
        server = query.Server(program, data)
        asked(server, "PUT", "/v1/admin/prices", PRICES.encode(), "application/yaml")
        server.settle()
        start = json.dumps({"act": "start", "plan": "pro", "starts_on": begin.isoformat()}).encode()
        for name in names:
            asked(server, "POST", f"/v1/admin/organizations/{name}/subscription", start)
        print(f"cores {os.cpu_count()}, {arguments.organizations} organizations, {arguments.rows} events", flush=True)
        sum_of_usage = ("select organization_id, event_date, model, currency, count(*) as n, sum(input_tokens) as i, "
                        "sum(output_tokens) as o, sum(list_price) as l from usage_events group by 1, 2, 3, 4")
        timed(server, "one SELECT", lambda: f"{server.ask(sum_of_usage)[0].num_rows} rows")
        run = lambda: {name: value for name, value in asked(server, "POST", "/v1/billing/runs", b"").items() if value}
        timed(server, "the first run", run)
        timed(server, "a run with nothing to do", run)
        server.stop()


if __name__ == "__main__":
    main()
