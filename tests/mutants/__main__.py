"""Print which mutants the tests catch: `python -m tests.mutants [FILE ...]`.

FILE, such as `ops/` or `models/bert.py`, selects the mutants of files that begin so.
"""

from __future__ import annotations

import sys

from tests.mutants.mutant import read_mutants
from tests.mutants.run import Outcome, run_mutants


def show(outcome: Outcome) -> None:
    """Print one line for a mutant."""
    mutant, seen = outcome.mutant, "caught" if outcome.caught else "SURVIVED"
    print(f"{seen:8} {outcome.seconds:5.1f} s  {mutant.file}:{mutant.line()}  {mutant.fault}")
    sys.stdout.flush()


def main(begins: list[str]) -> int:
    """Run the selected mutants and return 1 if one survives."""
    mutants = [m for m in read_mutants() if not begins or m.file.startswith(tuple(begins))]
    survivors = [outcome for outcome in run_mutants(mutants, show) if not outcome.caught]
    print(f"\n{len(mutants) - len(survivors)} of {len(mutants)} mutants caught")
    for outcome in survivors:
        print(f"survived: tinybert/{outcome.mutant.file}: {outcome.mutant.fault}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
