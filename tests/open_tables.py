"""Polars and the deltalake reader open the tables of a running server, while events arrive.

At each version of a table, counts and sums are those of SQL at the same cut: the version's transaction names
the last row of the log that it holds, and that is what `as_of` says.

Usage: AIHUB_URL=… AIHUB_API_KEY=… open_tables.py DATA_FOLDER
"""

import datetime
import json
import os
import pathlib
import sys
import threading

import polars
import pyarrow.compute
import requests
from deltalake import DeltaTable

URL = os.environ["AIHUB_URL"]
HEADERS = {"Authorization": "Bearer " + os.environ["AIHUB_API_KEY"]}
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
VERSIONS = 3
ORGANIZATION = "org_open_tables"


def base36(number):
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = DIGITS[digit] + digits
        if number == 0:
            return digits


def send(stop, sent):
    """Sends usage events, a hundred at a time, until it is told to stop."""
    while not stop.wait(0.05):
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        first = len(sent)
        events = [
            {
                "id": f"open-{first + n}",
                "source": "/open-tables",
                "type": "usage.request",
                "subject": ORGANIZATION,
                "time": now,
                "data": {"model": "m", "input_tokens": first + n, "output_tokens": 1,
                         "list_price": "0.000000000001", "currency": "USD"},
            }
            for n in range(100)
        ]
        body = "".join(json.dumps(event) + "\n" for event in events)
        headers = HEADERS | {"Content-Type": "application/x-ndjson"}
        answer = requests.post(f"{URL}/v1/events", data=body, headers=headers, timeout=60)
        answer.raise_for_status()
        sent.extend(events)


def ours(as_of):
    """What SQL answers at a cut."""
    sql = ("select count(*) as n, sum(input_tokens) as tokens, cast(sum(list_price) as varchar) as price, "
           "count(distinct organization_id) as organizations from usage_ledger")
    answer = requests.post(f"{URL}/v1/query", json={"sql": sql, "as_of": as_of}, headers=HEADERS, timeout=60)
    answer.raise_for_status()
    row = answer.json()["rows"][0]
    return row["n"], row["tokens"], row["price"], row["organizations"]


def by_deltalake(table):
    rows = table.to_pyarrow_dataset().to_table(["organization_id", "input_tokens", "list_price"])
    total = pyarrow.compute.sum
    return (rows.num_rows, total(rows["input_tokens"]).as_py(), str(total(rows["list_price"]).as_py()),
            pyarrow.compute.count_distinct(rows["organization_id"]).as_py())


def by_polars(path, version):
    rows = polars.scan_delta(str(path), version=version).select(
        polars.len().alias("n"),
        polars.col("input_tokens").sum().alias("tokens"),
        polars.col("list_price").sum().alias("price"),
        polars.col("organization_id").drop_nulls().n_unique().alias("organizations"),
    ).collect()
    n, tokens, price, organizations = rows.row(0)
    return n, tokens, str(price), organizations


def main():
    folder = pathlib.Path(sys.argv[1])
    path = folder / "lake" / "usage_ledger"
    log = json.loads((folder / "log" / "log.json").read_text())["log"]
    stop, sent = threading.Event(), []
    sending = threading.Thread(target=send, args=(stop, sent))
    sending.start()
    try:
        versions = []
        while len(versions) < VERSIONS:
            assert sending.is_alive(), "the events were not taken"
            table = DeltaTable(str(path))
            if table.version() in versions:
                stop.wait(0.2)
                continue
            versions.append(table.version())
            last = table.transaction_version(f"aihub/usage_ledger/{log}")
            expected = ours(f"{base36(log)}.{base36(last)}")
            delta, frame = by_deltalake(table), by_polars(path, table.version())
            assert delta == expected, f"deltalake at {table.version()}: {delta}, not {expected}"
            assert frame == expected, f"polars at {table.version()}: {frame}, not {expected}"
            print(f"version {table.version()}: {expected[0]} rows, {expected[1]} tokens, equal in all three")
    finally:
        stop.set()
        sending.join()
    assert sent, "nothing arrived meanwhile"


if __name__ == "__main__":
    main()
