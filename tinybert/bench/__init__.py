"""Benchmarks: the same work done by tinybert and by others, checked to be the same, then timed.

`cases.py` is the table of what is compared, `timing.py` how, `machine.py` on what.
"""

from tinybert.bench.cases import CASES
from tinybert.bench.timing import ROUNDS, Case, Prepared, Result, run_case

__all__ = ["CASES", "ROUNDS", "Case", "Prepared", "Result", "run_case"]
