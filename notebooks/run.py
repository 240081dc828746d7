#!/usr/bin/env python3
"""Runs every notebook of this folder from top to bottom, and says which cell failed.

Reads AIHUB_URL and AIHUB_API_KEY (the notebooks do). Exits 1 if any notebook fails, is not valid
nbformat, or was committed with outputs. With `--save DIR` the executed notebooks are kept there.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

FOLDER = Path(__file__).resolve().parent
CELL_SECONDS_MAX = 120


def problems_at_rest(notebook):
    """What is wrong with a notebook before it runs."""
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        yield f"is not valid nbformat: {error}"
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None):
            yield f"cell {index} holds outputs; strip them before a commit"


def failed_cell(notebook):
    """The index and source of the cell that ended in an error, or the last one that was started."""
    started = [
        (index, cell)
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and "iopub.execute_input" in cell.metadata.get("execution", {})
    ]
    in_error = [
        (index, cell)
        for index, cell in started
        if any(output.output_type == "error" for output in cell.outputs)
    ]
    return (in_error or started or [(None, None)])[-1]


def run(path, save):
    """Runs one notebook; true if it passed."""
    name = path.name
    notebook = nbformat.read(path, as_version=4)
    problems = list(problems_at_rest(notebook))
    for problem in problems:
        print(f"{name}: {problem}", file=sys.stderr)

    started = time.monotonic()
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS_MAX,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
    )
    failure = None
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        failure = error
    if save:
        save.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, save / name)

    seconds = time.monotonic() - started
    if failure is not None:
        index, cell = failed_cell(notebook)
        print(f"{name}: cell {index} failed after {seconds:.1f} s", file=sys.stderr)
        if cell is not None:
            print("\n".join(f"    {line}" for line in cell.source.splitlines()), file=sys.stderr)
        print(failure, file=sys.stderr)
        return False
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    print(f"{name}: {cells} cells ran in {seconds:.1f} s")
    return not problems


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep the executed notebooks here")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of this folder")
    args = parser.parse_args()

    missing = [name for name in ("AIHUB_URL", "AIHUB_API_KEY") if not os.environ.get(name)]
    if missing:
        sys.exit(f"set {' and '.join(missing)}: see notebooks/README.md")
    paths = args.notebooks or sorted(FOLDER.glob("*.ipynb"))
    if not paths:
        sys.exit(f"no notebook in {FOLDER.name}/")

    failed = [path.name for path in paths if not run(path, args.save)]
    print(f"{len(paths) - len(failed)} notebooks passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
