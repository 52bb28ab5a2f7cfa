"""Reads the text of worked numbers again: computes it, with bounds for what its digits leave open.

A number that is shown with 4 digits stands for all numbers that would be shown so. The arithmetic
of a line is right if a result that it can have is one that is shown.
"""

from __future__ import annotations

import ast
import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tinybert.trace import Step
from tinybert.trace.worked import Worked

Bounds = tuple[float, float]
FUNCTIONS: dict[str, Callable[[float], float]] = {
    "exp": lambda x: float(np.exp(x)),
    "log": lambda x: float(np.log(x)) if x > 0 else -math.inf,
    "sqrt": lambda x: math.sqrt(max(x, 0)),
    "tanh": math.tanh,
    "erf": math.erf,
}
OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


def check_text(worked: Worked, step: Step) -> int:
    """Assert that each complete line of arithmetic gives its result; return their number."""
    checked = 0
    for line in worked.lines:
        statement = re.sub(r" \(recorded: .*\)$", "", line)
        _, *parts = statement.split(" = ")
        if len(parts) < 2 or "..." in line or re.search(r"\b(nan|inf)\b", line):
            continue
        assert fits(parts[0], parts[1], step), line
        checked += 1
    return checked


def fits(arithmetic: str, result: str, step: Step) -> bool:
    """Return whether arithmetic can give what is shown as its result."""
    with np.errstate(all="ignore"):
        low, high = bounds(ast.parse(arithmetic.replace("^", "**"), mode="eval").body, step)
    shown = rounded(float(result))
    slack = 1e-12 * max(abs(low), abs(high))
    return low - slack <= shown[1] and shown[0] <= high + slack


def rounded(x: float) -> Bounds:
    """Return the bounds of the numbers that are shown as x."""
    if x == 0:
        return 0.0, 0.0
    half = 0.501 * 10.0 ** (math.floor(math.log10(abs(x))) - 3)
    return x - half, x + half


def bounds(node: Any, step: Step) -> Bounds:
    """Return the bounds of an expression."""
    if isinstance(node, ast.Constant):
        return rounded(float(node.value))
    if isinstance(node, ast.Name) and node.id == "pi":
        return math.pi, math.pi
    if isinstance(node, (ast.Name, ast.Subscript)):
        number = recorded(node, step)
        return number, number
    if isinstance(node, ast.UnaryOp):
        low, high = bounds(node.operand, step)
        return -high, -low
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        low, high = bounds(node.args[0], step)
        if node.func.id == "max":
            return max(low, 0.0), max(high, 0.0)
        if node.func.id == "abs":
            ends = sorted((abs(low), abs(high)))
            return (0.0 if low <= 0 <= high else ends[0]), ends[1]
        return FUNCTIONS[node.func.id](low), FUNCTIONS[node.func.id](high)
    assert isinstance(node, ast.BinOp), ast.dump(node)
    a, b = bounds(node.left, step), bounds(node.right, step)
    if isinstance(node.op, ast.Pow):
        middle = sum(b) / 2
        exponents = [round(middle)] if abs(middle - round(middle)) < 1e-3 else [*b]
        ends = [x**y for x in a for y in exponents]
        return min(ends + [0.0] * (a[0] < 0 < a[1])), max(ends)
    if isinstance(node.op, ast.Div) and b[0] <= 0 <= b[1]:
        return -math.inf, math.inf
    ends = [OPERATORS[type(node.op)](x, y) for x, y in itertools.product(a, b)]
    return min(ends), max(ends)


def recorded(node: Any, step: Step) -> float:
    """Return the element that "x[0,3]" names."""
    name = node.id if isinstance(node, ast.Name) else node.value.id
    index = () if isinstance(node, ast.Name) else ast.literal_eval(node.slice)
    values = [*step.inputs, *(step.forward.inputs if step.forward else [])]
    array = next(value.array for value in values if value.name == name)
    assert array is not None
    return float(array[index])
