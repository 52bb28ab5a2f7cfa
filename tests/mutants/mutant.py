"""What a mutant is: one realistic fault, planted into one file of the package.

The mutants are written in the text files of this folder, separated by empty lines:

    ops/sign.py: The gradient of a negation has the wrong sign.
    - return -dy
    + return dy
    tests: ops/test_elementwise.py

The first line names the file, below `tinybert/`, and says what goes wrong. `-` is a text that
occurs exactly once in the file, `+` is what replaces it (nothing, if it is empty). `tests` are the
files below `tests/` that have to see the fault, chosen by what they are for. The first block of a
text file is a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the repository
_BLOCK = re.compile(r"(\S+): (.+)\n- (.+)\n\+ ?(.*)\ntests: (.+)")


@dataclass(frozen=True)
class Mutant:
    """A fault: `old` becomes `new` in `file`, and one of `tests` fails."""

    file: str
    fault: str
    old: str
    new: str
    tests: str

    @property
    def nodes(self) -> list[str]:
        """The tests as arguments of pytest."""
        return [f"tests/{name}" for name in self.tests.split()]

    def source(self) -> str:
        """Return the file as it is."""
        return (ROOT / "tinybert" / self.file).read_text(encoding="utf-8")

    def line(self) -> int:
        """Return the number of the line with the fault.

        Raises ValueError if the file does not have `old` exactly once.
        """
        source = self.source()
        if (count := source.count(self.old)) != 1:
            raise ValueError(
                f"tinybert/{self.file} has {self.old!r} {count} times, expected once: write the "
                f"mutant anew in tests/mutants ({self.fault})"
            )
        return source[: source.index(self.old)].count("\n") + 1

    def mutated(self) -> str:
        """Return the file with the fault."""
        return self.source().replace(self.old, self.new)


def read_mutants() -> list[Mutant]:
    """Return the mutants of all text files. Raises ValueError for a block of another form."""
    return [
        mutant for path in sorted(Path(__file__).parent.glob("*.txt")) for mutant in _read(path)
    ]


def _read(path: Path) -> Iterator[Mutant]:
    _, *blocks = path.read_text(encoding="utf-8").strip().split("\n\n")
    for block in blocks:
        match = _BLOCK.fullmatch(block)
        if match is None:
            raise ValueError(f"{path.name}: not a mutant:\n{block}")
        yield Mutant(*match.groups())
