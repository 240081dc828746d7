"""Forecasts of the metrics of a demo business, by rolling origins, beside the seasonal naive forecast.

    aihub demo --days 200 --organizations 400 --port 7800 --dir FOLDER      # in another terminal
    python tests/benchmarks/demo_forecasts.py target/release/aihub --url http://127.0.0.1:7800 --key KEY

Reads daily values over HTTP: the main metrics, by model, and of the largest organizations. For each of eight origins, seven
days apart, `aihub forecast --panel` forecasts 14 days from the values before. Prints for how many series MASE is below
that of the seasonal naive forecast, and the coverage of the 95 % intervals. Needs nothing but Python.
"""

import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import tempfile
import urllib.parse
import urllib.request

SEASON, HORIZON, ORIGINS, STEP, LEARNED = 7, 14, 8, 7, 60
WHOLE = ["requests", "tokens", "usage_revenue", "active_organizations", "sign_ups", "error_rate", "p95_latency"]
PARTS = [("requests", "model", 20), ("usage_revenue", "model", 20), ("requests", "organization_id", 40)]


def asked(url, key, metric, by=None, limit=None):
    """The daily values of a metric, by series; the last day that is over is the last."""
    parameters = {"range": "last_180_days", "grain": "day"}
    if by:
        parameters |= {"by": by, "limit": limit}
    request = urllib.request.Request(
        f"{url}/v1/metrics/{metric}?{urllib.parse.urlencode(parameters)}", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request) as answer:
        rows = json.load(answer)["rows"]
    series = {}
    for row in rows:
        if row.get("other"):
            continue
        name = "/".join([metric, *(str(part) for part in row.get("group") or []), row.get("currency") or ""])
        value = row["value"]
        series.setdefault(name, []).append((row["at"][:10], None if value is None else float(value)))
    return series


def without_begin(values):
    """Without the days before the first value: a customer who was not there has no history."""
    first = next((place for place, (_, value) in enumerate(values) if value), len(values))
    return values[first:]


def forecast(program, panel):
    with tempfile.TemporaryDirectory() as folder:
        read, written = pathlib.Path(folder, "panel.csv"), pathlib.Path(folder, "ahead.csv")
        with read.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["unique_id", "ds", "y"])
            for name, values in panel.items():
                rows.writerows([name, day, "" if value is None else value] for day, value in values)
        subprocess.run(
            [program, "forecast", "--panel", read, "--horizon", str(HORIZON), "--period", str(SEASON)]
            + ["--level", "95", "--out", written],
            check=True,
        )
        ahead = {}
        with written.open() as file:
            for row in csv.DictReader(file):
                interval = (row["lo-95"], row["hi-95"])
                interval = tuple(map(float, interval)) if all(interval) else None
                ahead.setdefault(row["unique_id"], []).append((float(row["yhat"]), interval))
    return ahead


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    asking = parser.parse_args()
    series = {}
    for metric in WHOLE:
        series |= asked(asking.url, asking.key, metric)
    for metric, by, limit in PARTS:
        series |= asked(asking.url, asking.key, metric, by, limit)
    series = {name: without_begin(values) for name, values in series.items()}
    errors, inside, points = {}, 0, 0
    for origin in range(ORIGINS):
        cut = HORIZON + STEP * origin
        panel = {name: values[:-cut] for name, values in series.items() if len(values) - cut >= LEARNED}
        # An organization that left has nothing that could be forecast.
        panel = {name: values for name, values in panel.items() if any(value for _, value in values[-2 * SEASON :])}
        ahead = forecast(asking.program, panel)
        for name, values in panel.items():
            end = len(values)
            came = [value for _, value in series[name][end : end + HORIZON]]
            known = [value for _, value in values]
            last = known[-SEASON:]
            pairs = [(a, b) for a, b in zip(known, known[SEASON:]) if a is not None and b is not None]
            scale = statistics.fmean(abs(b - a) for a, b in pairs)
            ours, naive = errors.setdefault(name, ([], []))
            for step, (value, (expected, interval)) in enumerate(zip(came, ahead[name], strict=True)):
                before = last[step % SEASON]
                if value is None or before is None or scale == 0:
                    continue
                ours.append(abs(value - expected) / scale)
                naive.append(abs(value - before) / scale)
                if interval:
                    points += 1
                    inside += interval[0] <= value <= interval[1]
    scores = {name: [statistics.fmean(side) for side in sides] for name, sides in errors.items() if sides[0]}
    better = [name for name, (ours, naive) in scores.items() if ours < naive]
    print(f"{'series':<52}{'MASE':>8}{'naive':>8}")
    for name, (ours, naive) in sorted(scores.items()):
        print(f"{name:<52}{ours:>8.3f}{naive:>8.3f}{'' if ours < naive else '  not better'}")
    ours, naive = (statistics.fmean(score[side] for score in scores.values()) for side in range(2))
    print(f"\nMASE below seasonal naive: {len(better)} of {len(scores)} series ({100 * len(better) / len(scores):.1f} %)")
    print(f"mean MASE: {ours:.3f}, seasonal naive {naive:.3f}")
    print(f"95 % intervals: {100 * inside / points:.2f} % of {points} points inside")


if __name__ == "__main__":
    main()
