"""Benchmarks: run the same work with tinybert and other libraries, compare results, measure.

`cases.py` is the table of cases, `timing.py` measures time, `memory.py` peak memory; `machine.py`
describes the machine.
"""

from tinybert.bench.cases import CASES, LIBRARIES, SUITES
from tinybert.bench.timing import ROUNDS, CannotRun, Case, Prepared, Result, run_case

__all__ = [
    "CASES",
    "LIBRARIES",
    "ROUNDS",
    "SUITES",
    "CannotRun",
    "Case",
    "Prepared",
    "Result",
    "run_case",
]
