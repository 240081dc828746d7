"""How fast history is imported, beside DuckDB on the same file and cores. Prints both sides in one run.

    pip install -r tests/benchmarks/requirements.txt
    python tests/benchmarks/import.py target/release/aihub [--rows 50000000] [--dir FOLDER]

Ours: `aihub import` of a Parquet file that is sorted by time, into an empty folder: every row is checked,
deduplicated, logged with an fsync, and in sorted files of its table when the command ends. DuckDB: the same file to
one Parquet file with zstd, sorted by date, organization and time, with none of these promises.
"""

import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import query

DUCKDB = """
import duckdb
duckdb.sql("set threads = {threads}")
duckdb.sql("set temp_directory = '{folder}'")
duckdb.sql("copy (from '{history}' order by \\"at\\"::date, org, \\"at\\") to '{target}' (format parquet, compression zstd)")
"""


def timed(*command):
    """Wall and CPU seconds of a command, the most memory it held in MB, and what it printed."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.read().strip()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command[0]} ended with {process.returncode}"
    wall = time.perf_counter() - start
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said


def show(name, rows, wall, cpu, memory, stored):
    print(f"{name:<8}{rows / wall:>10,.0f} rows per second ({wall:.0f} s), {rows / cpu:>9,.0f} per CPU-second, "
          f"{memory:,.0f} MB at most, {stored / rows:.1f} bytes per row", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--dir", help="where to write; its disk is what is measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        folder = pathlib.Path(folder)
        history, mapping, target = (folder / name for name in ("history.parquet", "mapping.toml", "duckdb.parquet"))
        mapping.write_text(query.MAPPING)
        # By a process of its own: what this one held would count for those that it starts.
        with concurrent.futures.ProcessPoolExecutor(1) as pool:
            pool.submit(query.generate, history, arguments.rows).result()
        print(f"cores {os.cpu_count()}, {history.stat().st_size / arguments.rows:.1f} bytes per row in the file")
        os.sync()
        script = DUCKDB.format(threads=os.cpu_count(), folder=folder, history=history, target=target)
        *costs, _ = timed(sys.executable, "-c", script)
        show("DuckDB", arguments.rows, *costs, target.stat().st_size)
        target.unlink()
        os.sync()
        data = folder / "data"
        program = arguments.program.resolve()
        *costs, said = timed(program, "import", "--map", mapping, history, "--dir", data)
        assert said.startswith(f"{arguments.rows} accepted, 0 duplicate, 0 rejected"), said
        stored = sum(file.stat().st_size for file in (data / "lake").rglob("*.parquet"))
        show("ours", arguments.rows, *costs, stored)


if __name__ == "__main__":
    main()
