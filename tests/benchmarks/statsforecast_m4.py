"""CPU seconds and MASE of statsforecast on the first 30 hourly series of M4, as the lines `method,seconds,mase`.

The seconds are of one core for 1,000 series. The models are compiled on another series before the clock starts.

    pip install statsforecast
    python tests/benchmarks/statsforecast_m4.py FOLDER > beside.csv

FOLDER holds m4_hourly/Hourly-train.csv and Hourly-test.csv.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np
from statsforecast.models import MSTL, AutoETS

SERIES = 30
SEASON = 24


def read(path):
    with path.open() as file:
        rows = list(csv.reader(file))[1:]
    return [np.array([float(cell) for cell in row[1:] if cell], dtype=float) for row in rows]


def mase(train, test, predicted):
    return np.mean(np.abs(test - predicted)) / np.mean(np.abs(train[SEASON:] - train[:-SEASON]))


def main():
    folder = Path(sys.argv[1]) / "m4_hourly"
    trains, tests = read(folder / "Hourly-train.csv"), read(folder / "Hourly-test.csv")
    models = {
        "statsforecast AutoETS": lambda: AutoETS(season_length=SEASON),
        "statsforecast MSTL and AutoETS": lambda: MSTL(
            season_length=[SEASON, 168], trend_forecaster=AutoETS(model="ZZN")
        ),
    }
    for name, model in models.items():
        model().forecast(y=trains[-1], h=len(tests[-1]))
        before, losses = time.process_time(), []
        for train, test in list(zip(trains, tests))[:SERIES]:
            predicted = model().forecast(y=train, h=len(test))["mean"]
            losses.append(mase(train, test, predicted))
        seconds = (time.process_time() - before) / SERIES * 1_000
        print(f"{name},{seconds:.1f},{np.mean(losses):.3f}", flush=True)


if __name__ == "__main__":
    main()
