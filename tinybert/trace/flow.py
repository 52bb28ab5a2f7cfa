"""Where the gradient of a result comes from: the operations that used it, each with its share.

A result that one operation uses has one gradient. Where several use it, as at a residual
connection, the graph forks on the way up, and on the way down the shares are added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinybert.trace.steps import FORWARD, Step
from tinybert.trace.values import Value

if TYPE_CHECKING:
    from tinybert.trace.trace import Trace


@dataclass(frozen=True)
class Share:
    """A part of a gradient.

    Attributes:
        step: the backward step that made it. value: its output that is the part.
    """

    step: Step
    value: Value


@dataclass(frozen=True)
class Fork:
    """A result that several operations used.

    Attributes:
        step: the forward step that made it.
        total: its gradient, "dy" of the backward step.
        shares: the parts, in the order in which they were added.
    """

    step: Step
    total: Value
    shares: list[Share]


def users(trace: Trace) -> dict[tuple[int, int], list[tuple[Step, Value]]]:
    """Return for each result, as (step, output), the steps that used it, and as which input."""
    found: dict[tuple[int, int], list[tuple[Step, Value]]] = {}
    for step in trace.steps:
        for value in step.inputs if step.phase == FORWARD else ():
            if value.source is not None:
                found.setdefault(value.source, []).append((step, value))
    return found


def gradient_of(trace: Trace, step: Step, value: Value) -> Share | None:
    """Return the gradient that the backward of `step` made for its input `value`."""
    if step.partner is None:
        return None
    backward = trace[step.partner]
    return next(
        (Share(backward, made) for made in backward.outputs if made.name == f"d{value.name}"), None
    )


def forks(trace: Trace) -> list[Fork]:
    """Return all results with several shares of gradient, in the order of the backward pass."""
    found = []
    for (number, output), uses in users(trace).items():
        shares = [s for step, value in uses if (s := gradient_of(trace, step, value)) is not None]
        partner = trace[number].partner
        if len(shares) > 1 and partner is not None:
            total = trace[partner].inputs[output]
            shares.sort(key=lambda share: share.step.number)
            found.append(Fork(trace[number], total, shares))
    return sorted(found, key=lambda fork: fork.step.partner or 0)


def token_norms(value: Value) -> list[list[float]] | None:
    """Return the norm of each token's row of a gradient (B, T, D); None for other arrays."""
    if value.array is None or len(value.shape) != 3 or value.axes[:2] != "BT":
        return None
    norms: list[list[float]] = np.linalg.norm(value.array.astype(np.float64), axis=-1).tolist()
    return norms
