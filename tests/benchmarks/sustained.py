"""Ten minutes of events at a fixed rate: what is held, how late answers are, and whether the tables keep up.

    pip install -r tests/benchmarks/requirements.txt
    python tests/benchmarks/sustained.py target/release/aihub [--seconds 600] [--rate 100000] [--dir FOLDER]

Batches of 1,000 events of 500 bytes come when they are due, whether or not earlier ones were answered, up to eight at
once. Memory is the sum of the proportional set sizes of the server and the processes that it started, each second.
"""

import argparse
import collections
import pathlib
import statistics
import tempfile
import threading

from ingest import BATCH, RUN, Batches, Server, fdatasync_ms, lines, memory_parts, percentile

EVERY = 30
MUST_MB = 512


def threads(process):
    """Clock ticks that each kind of the server's threads used so far."""
    ticks = collections.Counter()
    for stat in pathlib.Path(f"/proc/{process.pid}/task").glob("*/stat"):
        try:
            name, fields = stat.read_text().split("(", 1)[1].rsplit(")", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks[name] += sum(int(field) for field in fields.split()[11:13])
    return ticks


class Watch(threading.Thread):
    """Notes the memory each second, and prints a line now and then."""

    def __init__(self, server, batches):
        super().__init__()
        self.server, self.batches = server, batches
        self.seen, self.over = [], threading.Event()

    def run(self):
        answered, ticks = 0, threads(self.server.process)
        while not self.over.wait(1):
            self.seen.append(memory_parts(self.server.process))
            latencies = self.batches.latencies[answered:]
            if len(self.seen) % EVERY or not latencies:
                continue
            answered += len(latencies)
            now = threads(self.server.process)
            busiest = ", ".join(f"{name} {used / EVERY:.0f}" for name, used in (now - ticks).most_common(5))
            ticks = now
            print(f"{len(self.seen):4} s  p50 {percentile(latencies, 0.5) * 1000:.1f} ms, "
                  f"p99 {percentile(latencies, 0.99) * 1000:.0f}, most {max(latencies) * 1000:.0f}; "
                  f"memory {named(largest(self.seen[-EVERY:]))}; per cent of a core: {busiest}", flush=True)


def largest(seen):
    return max(seen, key=lambda parts: sum(parts.values()))


def named(parts):
    return f"{sum(parts.values()):.0f} MB ({', '.join(f'{name} {mb:.0f}' for name, mb in parts.items())})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--rate", type=int, default=100_000, help="events per second")
    parser.add_argument("--dir", help="where to write; its disk is what is measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        folder = pathlib.Path(folder)
        print(f"fdatasync p50 {fdatasync_ms(folder):.2f} ms")
        templates = [lines(first, BATCH, RUN) for first in range(0, 200 * BATCH, BATCH)]
        server = Server(arguments.program.resolve(), folder / "data")
        try:
            batches = Batches(server, templates)
            watch = Watch(server, batches)
            watch.start()
            try:
                batches.run(arguments.seconds, 8, arguments.rate / BATCH)
                lag = server.metric("ingest_lag_rows")
            finally:
                watch.over.set()
                watch.join()
            server.drained()
            assert server.rows() == batches.acknowledged, "an event is lost or double"
        finally:
            server.stop()
    sums = [sum(parts.values()) for parts in watch.seen]
    within = sum(mb <= MUST_MB for mb in sums) / len(sums)
    events = f"{batches.acknowledged:,} events, {batches.refused} refused, {lag:,.0f} rows in the log at the end"
    print(f"all     {events}; acknowledged p50 {percentile(batches.latencies, 0.5) * 1000:.1f} ms, "
          f"p99 {percentile(batches.latencies, 0.99) * 1000:.1f} ms, most {max(batches.latencies) * 1000:.0f} ms")
    print(f"memory  {named(largest(watch.seen))} at most, {statistics.median(sums):.0f} MB half of the time, "
          f"{100 * within:.0f} % of the seconds within {MUST_MB} MB")


if __name__ == "__main__":
    main()
