"""The examples of docs/query.md, docs/metrics.md and docs/analyses.md are run as they stand, against a running server.

Usage: AIHUB_URL=… AIHUB_API_KEY=… documents.py
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

DOCS = pathlib.Path(__file__).parent.parent / "docs"
# A status that is an error ends the script, which plain curl would not do.
PRELUDE = 'set -eu\ncurl() { command curl --fail-with-body "$@"; }\n'
# Each document, where its examples begin and end, how many there are at least, and the files that they write.
DOCUMENTS = [
    ("query.md", "## `/v1/query`", "## Tables and views", 7, {"usage.csv", "usage.arrows", "usage.parquet"}),
    ("analyses.md", "## Funnels", "## Few persons", 5, set()),
    ("metrics.md", "## `GET /v1/metrics/{name}`", "## `/v1/forecasts`", 2, set()),
]


def examples(text, first, last):
    part = text[text.index(first) : text.index(last)]
    for language, code in re.findall(r"^```(sh|python)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL):
        if language == "python" or "curl" in code:
            yield language, code


def run(name, first, last, count_min, written):
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        for language, code in examples((DOCS / name).read_text(), first, last):
            command = [sys.executable, "-c", code] if language == "python" else ["bash", "-c", PRELUDE + code]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=os.environ)
            if done.returncode != 0:
                sys.exit(f"an example of {name} fails:\n{code}\n{done.stdout}\n{done.stderr}")
            count += 1
        files = {path.name: path.stat().st_size for path in pathlib.Path(folder).iterdir()}
        if set(files) != written or not all(files.values()):
            sys.exit(f"the examples of {name} wrote {files}")
    if count < count_min:
        sys.exit(f"only {count} examples of {name} were found")
    print(f"{count} examples of {name} ran")


def main():
    for document in DOCUMENTS:
        run(*document)


if __name__ == "__main__":
    main()
