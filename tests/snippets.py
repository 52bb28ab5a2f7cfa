"""Run the snippets of a Markdown text as its reader would, and compare what they print.

A fenced block with the name of a file is written to that file. A block `console` has commands after
`$ `, each with its output, both streams as a terminal shows them. In the output `...` stands for
any text, and a number with a decimal point may be off by one in its last digit; in a block
`console trained`, whose numbers depend on the processor that a model was trained on, by 0.15.

python -m tests.snippets FILE ... runs the snippets in an empty folder each, and writes the outputs
that differ into the file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
NUMBER = r" *-?\d+\.\d+"
VARYING = re.compile(rf"(\.\.\.|{NUMBER})")


class Ran(NamedTuple):
    """A command, the output that is written beneath it, and the one that it has."""

    command: str
    expected: str
    found: str
    trained: bool

    def matches(self) -> bool:
        """Return whether the output is the one that was written down."""
        return matches(self.expected, self.found, self.trained)


def run_snippets(text: str, folder: Path) -> Iterator[Ran]:
    """Write the files of a text into a folder, and run its commands there, in their order.

    Raises:
        ValueError: a block is neither a file nor commands.
    """
    for language, name, content in BLOCK.findall(text):
        if "." in name:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
        elif language == "console":
            for command, expected in COMMAND.findall(content):
                found = run_command(command, folder).stdout
                yield Ran(command, expected, found, name == "trained")
        else:
            raise ValueError(f"neither a file nor commands: {content}")


def run_command(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command by the shell, with this Python's programs and without models of the user.

    Both streams are in `stdout`.
    """
    environment = os.environ | {
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]),
        "PYTHONPATH": str(ROOT),
        "TINYBERT_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "80",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",  # the streams in their order
        "PYTHONIOENCODING": "utf-8",
    }
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def matches(expected: str, found: str, trained: bool = False) -> bool:
    """Return whether an output is the one that was written down."""
    if trained:
        expected, found = (re.sub("[█-▏]+", "", text) for text in (expected, found))
    parts = VARYING.split(expected)
    numbers = [part for part in parts[1::2] if part != "..."]
    pattern = "".join(
        ".*?" if part == "..." else f"({NUMBER})" if i % 2 else re.escape(part)
        for i, part in enumerate(parts)
    )
    match = re.fullmatch(pattern, found, re.DOTALL)
    return match is not None and all(
        _is_near(a, b, 0.15 if trained else 10.0 ** -_decimals(a))
        for a, b in zip(numbers, match.groups(), strict=True)
    )


def _is_near(a: str, b: str, most: float) -> bool:
    """Return whether two numbers differ by `most`, and look alike: the same decimals, and after the
    same spaces or in a column of the same width.
    """
    aligned = len(a) == len(b) or a.count(" ") == b.count(" ")
    return aligned and _decimals(a) == _decimals(b) and abs(float(a) - float(b)) <= 1.01 * most


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        text = path.read_text("utf-8")
        with TemporaryDirectory() as folder:
            for ran in run_snippets(text, Path(folder)):
                if not ran.matches():
                    print(f"{path}: {ran.command}")
                    old, new = (f"$ {ran.command}\n{out}" for out in (ran.expected, ran.found))
                    text = text.replace(old, new, 1)
        path.write_text(text, "utf-8")
