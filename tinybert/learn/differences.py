"""How a learner's result differs from the right one: by kind, shape, dtype or value, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinybert.autograd import Tensor
from tinybert.display import short_repr


class Difference(NamedTuple):
    """A wrong result. `stage` is "shape", "dtype" or "values"; `lines` say what is wrong."""

    stage: str
    lines: list[str]


def difference(
    got: Any, expected: Any, tolerance: float, names: Sequence[str] = (), where: str = ""
) -> Difference | None:
    """Return the first difference of a result from the expected one, or None.

    Arrays, Tensors and numbers are compared as arrays; a NumPy number is as good as Python's. The
    differences of numbers are relative to the largest finite expected number, or 1.

    Args:
        names: of the members, if the result is a tuple.
        where: how to call the result, as "dx".
    """
    got = got.numpy() if isinstance(got, Tensor) else got
    prefix = f"{where}: " if where else ""
    if _is_numeric(expected):
        if not _is_numeric(got):
            return Difference("shape", [f"{prefix}expected {_kind(expected)}, got {_kind(got)}"])
        return _of_arrays(got, expected, tolerance, prefix)
    if isinstance(expected, Mapping | list | tuple):
        return _of_members(got, expected, tolerance, names, where)
    if type(got) is not type(expected):
        return Difference("shape", [f"{prefix}expected {_kind(expected)}, got {_kind(got)}"])
    if got == expected:
        return None
    return Difference(
        "values", [f"{prefix}expected {shown(expected)}", f"{prefix}got {shown(got)}"]
    )


def shown(value: Any, length: int = 80) -> str:
    """Return the repr of a value; one that is longer than `length` is cut and ends with "..."."""
    text = short_repr(value, length + 1)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic | bool | int | float)


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if value is None:
        return "None (is a return missing?)"
    value = value.item() if isinstance(value, np.generic) else value
    return f"{type(value).__name__} {shown(value, 60)}"


def _of_arrays(got: Any, expected: Any, tolerance: float, prefix: str) -> Difference | None:
    is_array = isinstance(expected, np.ndarray)
    mine, right = np.asarray(got), np.asarray(expected)
    if mine.shape != right.shape:
        lines = [f"{prefix}expected shape {right.shape}, got shape {mine.shape}"]
        return Difference("shape", lines)
    # A number of Python has no width; an array does. An integer is as good as a float of its value.
    kinds = "iuf" if right.dtype.kind == "f" else right.dtype.kind
    if mine.dtype != right.dtype if is_array else mine.dtype.kind not in kinds:
        return Difference("dtype", [f"{prefix}expected dtype {right.dtype}, got {mine.dtype}"])
    wrong = _wrong(mine, right, tolerance)
    if not wrong.any():
        return None
    if right.dtype.kind in "biu":
        worst = np.unravel_index(int(wrong.argmax()), wrong.shape)
    else:
        with np.errstate(invalid="ignore"):
            size = np.abs(np.where(wrong, mine - right, 0))
        worst = np.unravel_index(int(np.where(np.isnan(size), np.inf, size).argmax()), wrong.shape)
    at = f" at {[int(i) for i in worst]}" if right.ndim else ""
    pair = [_number(array[worst], 6) for array in (right, mine)]
    if pair[0] == pair[1]:
        pair = [_number(array[worst], 17) for array in (right, mine)]
    lines = [f"{prefix}expected {pair[0]}{at}, got {pair[1]}"]
    if right.size > 1:
        lines.append(f"{wrong.sum():,} of {right.size:,} numbers differ")
    return Difference("values", lines)


def _wrong(mine: np.ndarray, right: np.ndarray, tolerance: float) -> np.ndarray:
    """Where two arrays of one shape and dtype differ."""
    if right.dtype.kind not in "fc":
        return np.asarray(mine != right)
    finite = np.abs(right[np.isfinite(right)])
    largest = tolerance * max(1.0, float(finite.max(initial=0)))
    with np.errstate(invalid="ignore"):
        near = np.abs(mine - right) <= largest
    return ~(near | (mine == right) | (np.isnan(mine) & np.isnan(right)))


def _number(value: Any, digits: int) -> str:
    return str(value) if value.dtype.kind in "biu" else f"{value + 0:.{digits}g}"  # no -0


def _of_members(
    got: Any, expected: Any, tolerance: float, names: Sequence[str], where: str
) -> Difference | None:
    """Compare two dicts, lists or tuples; a tuple is as good as a list."""
    prefix = f"{where}: " if where else ""
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping):
            return Difference("shape", [f"{prefix}expected a dict, got {_kind(got)}"])
        if set(got) != set(expected):
            lines = [f"{prefix}expected the keys {shown(list(expected))}"]
            return Difference("shape", [*lines, f"{prefix}got the keys {shown(list(got))}"])
        pairs = [(str(key), got[key], value) for key, value in expected.items()]
    else:
        wanted = f"the tuple ({', '.join(names)})" if names else _kind(expected)
        if not isinstance(got, list | tuple):
            return Difference("shape", [f"{prefix}expected {wanted}, got {_kind(got)}"])
        if len(got) != len(expected) and names:
            return Difference("shape", [f"{prefix}expected {wanted}, got {len(got)} values"])
        if len(got) != len(expected):
            lines = [
                f"{prefix}expected {_count(expected)}: {shown(expected)}",
                f"{prefix}got {_count(got)}: {shown(got)}",
            ]
            return Difference("values" if isinstance(expected, list) else "shape", lines)
        keys = list(names) or [f"[{i}]" for i in range(len(expected))]
        pairs = list(zip(keys, got, expected, strict=True))
    for key, mine, right in pairs:
        inner = key if not where or key.startswith("[") else f".{key}"
        found = difference(mine, right, tolerance, (), where + inner)
        if found is not None:
            whole = isinstance(expected, list) and found.stage == "values" and not where
            if whole and not any(_is_long(value) for value in expected):
                lines = [*found.lines, f"in {shown(got, 70)}"]
                return Difference("values", lines)
            return found
    return None


def _count(members: Sequence[Any]) -> str:
    return f"{len(members)} member{'' if len(members) == 1 else 's'}"


def _is_long(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.size > 1
