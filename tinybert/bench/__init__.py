"""Benchmarks: run the same work with tinybert and other libraries, compare results, measure times.

`cases.py` is the table of cases, `timing.py` measures, `machine.py` describes the machine.
"""

from tinybert.bench.cases import CASES
from tinybert.bench.timing import ROUNDS, Case, Prepared, Result, run_case

__all__ = ["CASES", "ROUNDS", "Case", "Prepared", "Result", "run_case"]
