"""A record of what the engine computes: every operation, forwards and backwards, in numbers."""

from tinybert.trace.difference import StepDifference, TraceDifference
from tinybert.trace.formulas import Formulas, formulas
from tinybert.trace.recorder import record
from tinybert.trace.steps import Step
from tinybert.trace.trace import Trace, load_trace
from tinybert.trace.values import Statistics, Value
from tinybert.trace.worked import Worked, operations_without, worked

__all__ = [
    "Formulas",
    "Statistics",
    "Step",
    "StepDifference",
    "Trace",
    "TraceDifference",
    "Value",
    "Worked",
    "formulas",
    "load_trace",
    "operations_without",
    "record",
    "worked",
]
