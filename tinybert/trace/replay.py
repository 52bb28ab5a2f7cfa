"""Check a record: run every forward again, and compare every backward with finite differences."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinybert.autograd import Function
from tinybert.trace.formulas import input_names
from tinybert.trace.steps import BACKWARD, FORWARD, Step

STEP = 1e-5  # of the finite differences, relative to an input of a size up to
DIRECTIONS = 2  # for each gradient
LARGEST = 1e3  # (a mask hides what it is added to by the lowest number that there is)
# Of a gradient along a random direction, relative to the lengths of both.
TOLERANCES = {"float64": 1e-6, "float32": 1e-5, "float16": 2e-2}
ROUNDING = 1e-5  # of a forward: an array that was read from a file has another order in memory


@dataclass(frozen=True)
class Replayed:
    """The result for one step.

    Attributes:
        step: the step.
        verdict: "equal" (forward, bit for bit) or "agrees" (backward, with finite differences; or
            a forward of a record from a file, but for rounding); "differs"; or why it was not run
            again: "thumbnail", if arrays are not kept; "random"; "options", if they are not known
            any more; "operation", if its class is not.
        error: the relative difference.
    """

    step: Step
    verdict: str
    error: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it is right, as far as it could be run again."""
        return self.verdict != "differs"


def replay(steps: list[Step]) -> list[Replayed]:
    """Run every forward step again from its recorded inputs, and check every backward step.

    A backward step is right if the change of its outputs along a random direction of its inputs,
    by finite differences in float64, is the one that its gradients predict.
    """
    rng = np.random.default_rng(0)
    results = []
    for step in steps:
        if step.phase == FORWARD:
            results.append(_forward(step))
        elif step.phase == BACKWARD and step.partner is not None:
            results.append(_backward(step, steps[step.partner], rng))
    return results


def _forward(step: Step) -> Replayed:
    why, kind, options = run_again(step)
    if why:
        return Replayed(step, why)
    if step.operation == "Dropout":
        found: Any = masked(step, options, step.inputs[0].array)
    else:
        found = run(kind, arrays(step, kind), options)
    outputs = found if isinstance(found, tuple) else (found,)
    pairs = zip(outputs, step.outputs, strict=True)
    return _compared(step, [(np.asarray(output), value.array) for output, value in pairs])


def _backward(step: Step, forward: Step, rng: np.random.Generator) -> Replayed:
    why, kind, options = run_again(forward)
    if why or any(value.array is None for value in step.values()):
        return Replayed(step, why or "thumbnail")
    if step.operation == "Dropout":
        dx = masked(forward, options, step.inputs[0].array)
        return _compared(step, [(dx, step.outputs[0].array)])
    inputs = [wide(x) for x in arrays(forward, kind)]
    names = [f"d{name}" for name in input_names(kind, len(inputs))]
    dy = [wide(value.array) for value in step.inputs]

    def outputs(position: int, x: Any) -> list[Any]:
        found = run(kind, [*inputs[:position], x, *inputs[position + 1 :]], options)
        return list(found) if isinstance(found, tuple) else [found]

    errors = [0.0]
    for value in step.outputs:
        position, gradient = names.index(value.name), wide(value.array)
        x = inputs[position]
        for _ in range(DIRECTIONS):
            direction = rng.standard_normal(x.shape) * STEP * np.clip(np.abs(x), 1, LARGEST)
            ends = outputs(position, x + direction), outputs(position, x - direction)
            changes = [(after - before) / 2 for after, before in zip(*ends, strict=True)]
            change = sum(_product(d, c) for d, c in zip(dy, changes, strict=True))
            # As large as the sum of products could become; it may cancel to nearly 0.
            size = sum(_length(d) * _length(c) for d, c in zip(dy, changes, strict=True))
            size = max(size, _length(gradient) * _length(direction))
            difference = abs(change - _product(gradient, direction))
            errors.append(difference / size if size else difference)
    tolerance = max(TOLERANCES.get(value.dtype, 0.0) for value in step.values())
    return Replayed(step, "agrees" if max(errors) <= tolerance else "differs", max(errors))


def _compared(step: Step, pairs: list[tuple[np.ndarray, Any]]) -> Replayed:
    error = max(_distance(found, recorded) for found, recorded in pairs)
    rounded = ROUNDING if step.rerun is None and step.phase == FORWARD else 0.0
    return Replayed(step, "differs" if error > rounded else "agrees" if error else "equal", error)


def masked(forward: Step, options: dict[str, Any], array: Any) -> Any:
    """Return an array after dropout, with the random mask of a step."""
    scale = 1 / (1 - options["p"]) if options["p"] < 1 else 0.0
    return array * forward.value("keep").array * scale


def run(kind: Any, inputs: list[Any], options: dict[str, Any]) -> Any:
    """Run the forward of an operation on arrays, and return what it returns."""
    node = kind()
    node.needs_input_grad = (True,) * len(inputs)
    return node.forward(*inputs, **options)


def arrays(step: Step, kind: Any) -> list[Any]:
    """Return the inputs of a forward step in the order of its arguments, None where there is none.

    A number that was an argument is a number again: it does not decide the dtype of the result.
    """
    known = {value.name: value for value in step.inputs}
    names = input_names(kind, step.arguments)
    return [None if name not in known else known[name].argument for name in names]


def run_again(step: Step) -> tuple[str, Any, dict[str, Any]]:
    """Return why a step cannot be run again, or "" with its class and options."""
    if any(value.array is None for value in step.values()):
        return "thumbnail", None, {}
    why, kind, options = operation_of(step)
    random = step.operation != "Dropout" and bool(options.get("dropout_p"))
    return "random" if random else why, kind, options


def operation_of(step: Step) -> tuple[str, Any, dict[str, Any]]:
    """Return the class and the options of a forward step, after ""; or what is not known of them:
    "operation" or "options".
    """
    if step.rerun is not None:
        return "", *step.rerun
    kind = next((kind for kind in operations(Function) if kind.__name__ == step.operation), None)
    if kind is None:
        return "operation", None, {}
    try:
        return "", kind, {name: option_of(text) for name, text in step.options.items()}
    except (ValueError, SyntaxError):
        return "options", None, {}


def option_of(text: str) -> Any:
    """Return the literal that `repr` wrote, also with slices and Ellipsis inside.

    Raises ValueError or SyntaxError for any other text.
    """
    return _literal(ast.parse(text, mode="eval").body)


def _literal(node: Any) -> Any:
    if isinstance(node, ast.Tuple):
        return tuple(map(_literal, node.elts))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "slice":
        return slice(*map(_literal, node.args))
    if isinstance(node, ast.Name) and node.id == "Ellipsis":
        return ...
    return ast.literal_eval(node)


def operations(kind: Any) -> Iterator[Any]:
    """Yield all operations of the package."""
    for operation in kind.__subclasses__():
        if operation.__module__.startswith("tinybert.ops."):
            yield operation
        yield from operations(operation)


def wide(x: Any) -> Any:
    """Return floats as float64, complex numbers as complex128, others as they are."""
    kind = getattr(getattr(x, "dtype", None), "kind", "")
    return x.astype({"f": np.float64, "c": np.complex128}[kind]) if kind in ("f", "c") else x


def _distance(a: np.ndarray, b: Any) -> float:
    """Return 0 if all bits are equal, else the largest difference relative to the largest value."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return np.inf
    if a.tobytes() == b.tobytes():
        return 0.0
    size = float(np.abs(b).max(initial=0)) or 1.0
    return float(np.abs(wide(a) - wide(b)).max()) / size or float(np.finfo(np.float64).tiny)


def _product(a: Any, b: Any) -> float:
    return float(np.real((np.conj(a) * b).sum()))


def _length(a: Any) -> float:
    return float(np.linalg.norm(np.asarray(a).reshape(-1)))
