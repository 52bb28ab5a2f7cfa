"""Run a lesson cell by cell, or a script as one cell, and keep what each prints and shows.

python -m tinybert.learn.site.execution FILE writes the results as JSON to standard output.
"""

from __future__ import annotations

import io
import json
import linecache
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

from tinybert.learn.lessons import Cell, read_cells
from tinybert.learn.picture import MARK, collected

SECONDS = 900


def outputs_of(path: Path) -> list[list[dict[str, str]]]:
    """Return what the code cells of a lesson show, each {"text": ...} or {"svg": ...}, in order.

    A script without cells is one cell. It runs in a process of its own, on one processor.

    Raises:
        ValueError: a cell raised an exception.
    """
    process = subprocess.run(
        [sys.executable, "-m", __spec__.name, str(path)],
        # Small products only wait for each other on several threads.
        env={"OPENBLAS_NUM_THREADS": "1"} | os.environ,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    if process.returncode:
        last = process.stderr.strip().rpartition("\n")[2]
        raise ValueError(f"{path} stops with an error: {last}")
    results: list[list[dict[str, str]]] = json.loads(process.stdout)
    return results


def _execute(path: Path) -> list[list[dict[str, str]]]:
    """Run the code cells one after another in one namespace."""
    source = path.read_text(encoding="utf-8")
    linecache.cache[str(path)] = (len(source), None, source.splitlines(keepends=True), str(path))
    names = {"__name__": "__main__", "__file__": str(path)}
    results = []
    for cell in [*read_cells(source)] or [Cell(True, source, 1)]:
        if cell.is_code:
            padded = "\n" * (cell.line - 1) + cell.text  # errors name the lines of the file
            with redirect_stdout(io.StringIO()) as printed, collected() as pictures:
                exec(compile(padded, str(path), "exec"), names)
            results.append(_in_order(printed.getvalue(), [p.svg() for p in pictures]))
    return results


def _in_order(printed: str, pictures: list[str]) -> list[dict[str, str]]:
    """Split the text of a cell at the marks of its pictures."""
    first, *others = printed.split(MARK + "\n")
    found = [{"text": first}]
    for svg, text in zip(pictures, others, strict=True):
        found += [{"svg": svg}, {"text": text}]
    return [output for output in found if output.get("text") != ""]


if __name__ == "__main__":
    outputs = _execute(Path(sys.argv[1]))
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    print(json.dumps(outputs))
