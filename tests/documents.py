"""The examples of docs/query.md are run as they stand, against a running server.

Usage: AIHUB_URL=… AIHUB_API_KEY=… documents.py
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

DOCUMENT = pathlib.Path(__file__).parent.parent / "docs" / "query.md"
# A status that is an error ends the script, which plain curl would not do.
PRELUDE = 'set -eu\ncurl() { command curl --fail-with-body "$@"; }\n'
FIRST, LAST = "## `/v1/query`", "## Tables and views"
EXAMPLES_MIN = 7


def examples(text):
    part = text[text.index(FIRST) : text.index(LAST)]
    for language, code in re.findall(r"^```(sh|python)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL):
        if language == "python" or "curl" in code:
            yield language, code


def main():
    ran = 0
    with tempfile.TemporaryDirectory() as folder:
        for language, code in examples(DOCUMENT.read_text()):
            command = [sys.executable, "-c", code] if language == "python" else ["bash", "-c", PRELUDE + code]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=os.environ)
            if done.returncode != 0:
                sys.exit(f"an example of {DOCUMENT.name} fails:\n{code}\n{done.stdout}\n{done.stderr}")
            ran += 1
        files = {path.name: path.stat().st_size for path in pathlib.Path(folder).iterdir()}
        if set(files) != {"usage.csv", "usage.arrows", "usage.parquet"} or not all(files.values()):
            sys.exit(f"the examples wrote {files}")
    if ran < EXAMPLES_MIN:
        sys.exit(f"only {ran} examples were found")
    print(f"{ran} examples of {DOCUMENT.name} ran")


if __name__ == "__main__":
    main()
