"""Statements of ours beside DuckDB, which judges. Ends with 1 where the rows differ.

Usage: AIHUB_URL=… AIHUB_API_KEY=… run.py [--seconds 60] [--seed 1]

A statement that is refused (400, or a number that does not fit) is no difference, and is counted: few may be.
"""

import argparse
import collections
import decimal
import json
import os
import pathlib
import re
import sys
import time
import tomllib
import urllib.error
import urllib.request

import duckdb

from statements import Writer

REFUSED = {"invalid_query", "number_out_of_range", "too_complex", "too_many_queries"}
# Most statements are answered: the judge would say nothing of the others.
ANSWERED_MIN = 0.6


def ours(sql):
    body = json.dumps({"sql": sql, "max_rows": 100_000}).encode()
    headers = {"Authorization": f"Bearer {os.environ['AIHUB_API_KEY']}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{os.environ['AIHUB_URL']}/v1/query", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            rows = json.load(answer, parse_float=decimal.Decimal)
    except urllib.error.HTTPError as error:
        return json.load(error), None
    names = [column["name"] for column in rows["columns"]]
    return None, [tuple(shown(row[name]) for name in names) for row in rows["rows"]]


def shown(value):
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, (int, float, decimal.Decimal)):
        return number(decimal.Decimal(str(value)))
    text = str(value)
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return number(decimal.Decimal(text))
    if re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d", text):
        return text.replace("T", " ")
    return repr(text)


def number(value):
    text = format(value.quantize(decimal.Decimal("0.000001")), "f").rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    decimal.getcontext().prec = 60
    here = pathlib.Path(__file__).parent
    permitted = tomllib.loads((here / "permitted.toml").read_text())["permitted"]
    judge = duckdb.connect()
    counts, differences = collections.Counter(), []
    end, seed = time.monotonic() + asked.seconds, asked.seed
    while time.monotonic() < end and len(differences) < 20:
        sql = Writer(seed).statement()
        seed += 1
        try:
            expected = [tuple(shown(value) for value in row) for row in judge.execute(sql).fetchall()]
        except duckdb.Error as error:
            counts[f"not judged: {type(error).__name__}"] += 1
            continue
        problem, found = ours(sql)
        if problem is not None:
            known = problem["code"] in REFUSED
            counts["refused" if known else f"failed: {problem['code']}"] += 1
            if not known:
                differences.append((seed - 1, sql, problem.get("detail"), expected))
            continue
        if sorted(found) == sorted(expected):
            counts["equal"] += 1
        elif any(re.search(entry["pattern"], sql) for entry in permitted):
            counts["permitted"] += 1
        else:
            differences.append((seed - 1, sql, sorted(found), sorted(expected)))
    print(f"{seed - asked.seed} statements: {dict(counts)}, {len(differences)} differences")
    for number_, sql, found, expected in differences:
        print(f"\nseed {number_}\n{sql}\nours   {found}\njudge  {expected}")
    judged = counts["equal"] + counts["refused"]
    if differences:
        sys.exit(1)
    if judged == 0 or counts["equal"] < ANSWERED_MIN * judged:
        sys.exit("too many statements are refused")


if __name__ == "__main__":
    main()
