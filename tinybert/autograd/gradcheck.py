"""`gradcheck`: compare a backward pass with finite differences, in float64.

With a random cotangent u, `backward(u)` returns the gradient of the scalar L = <u, f(x)>. Each
component is also estimated as (L(x + eps e_i) - L(x - eps e_i)) / 2 eps. The cotangent is random
because a plain sum can hide errors: the gradient of softmax(x).sum() is zero, so a backward that
returns zeros would pass.

Finite differences can fail as well: a step can be lost in rounding, or cross a kink of the
function. Where this explains a disagreement, the error says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinybert.autograd.modes import no_grad
from tinybert.autograd.tensor import Tensor


class GradcheckError(AssertionError):
    """`backward` and finite differences disagree, or the check could not have found an error."""


def gradcheck(
    fn: Callable[..., Any],
    inputs: Sequence[Any] | Tensor,
    eps: float = 1e-6,
    atol: float = 1e-7,
    rtol: float = 1e-5,
    seed: int = 0,
) -> bool:
    """Compare the gradients of `fn(*inputs)` with central differences.

    Every element of every input that requires a gradient is checked.

    Args:
        fn: from Tensors to a Tensor or a tuple of Tensors; outputs that do not require a gradient
            are ignored.
        inputs: the arguments; Tensors that require a gradient must be float64 or complex128.
        eps: the step. atol, rtol: passes if |analytic - numeric| <= atol + rtol * |numeric|.
        seed: of the random cotangent.

    Returns True. Raises GradcheckError for a wrong gradient, naming input, index and both numbers.
    It is also raised if all gradients are zero or the step is lost in rounding, since such a check
    could not fail. Raises ValueError for inputs in lower precision.
    """
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = _inputs_to_check(inputs)
    leaves = [
        Tensor(x, requires_grad=x.requires_grad) if isinstance(x, Tensor) else x for x in inputs
    ]
    outputs = _as_list(fn(*leaves))
    positions = [i for i, y in enumerate(outputs) if isinstance(y, Tensor) and y.requires_grad]
    if not positions:
        raise GradcheckError("no result requires a gradient, so there is nothing to check")
    results = [outputs[i] for i in positions]
    rng = np.random.default_rng(seed)
    cotangents = [_random_like(result, rng) for result in results]
    for result, u in zip(results, cotangents, strict=True):
        result.backward(u, retain_graph=True)

    def loss() -> float:
        with no_grad():
            outputs = _as_list(fn(*leaves))
        return sum(
            float(np.sum(np.real(np.conj(u) * outputs[i].numpy())))
            for i, u in zip(positions, cotangents, strict=True)
        )

    terms = sum(
        float(np.abs(u * y.numpy()).sum()) for u, y in zip(cotangents, results, strict=True)
    )
    noise = 10 * float(np.finfo(np.float64).eps) * terms / (2 * eps)  # of a difference of two sums
    largest = 0.0
    for i in checked:
        leaf = leaves[i]
        analytic = leaf.grad.numpy() if leaf.grad is not None else np.zeros(leaf.shape, leaf.dtype)
        numeric = _central_differences(loss, leaf, eps, f"input {i}")
        largest = max(largest, float(np.abs(numeric).max(initial=0)))
        at = _worst(analytic, numeric, atol, rtol)
        if at is not None:
            raise GradcheckError(
                f"gradient of input {i} at index {at}: backward gives {analytic[at]:.8g}, finite "
                f"differences give {numeric[at]:.8g} (shape {leaf.shape})"
                + _other_cause(loss, leaf, at, eps, analytic[at], numeric[at], noise)
            )
    something = any(leaves[i].size for i in checked) and any(y.size for y in results)
    if something and largest <= max(atol, noise):
        raise GradcheckError(
            f"all gradients are zero (within {max(atol, noise):.1g}), so a backward that returns "
            "zeros would pass: give fn without its final sum, the random cotangent does that "
            "better, or choose other inputs"
        )
    return True


def _inputs_to_check(inputs: list[Any]) -> list[int]:
    """Return the indices of the Tensors that require a gradient; all must have double precision."""
    checked = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("inputs: none requires a gradient, so there is nothing to check")
    for i in checked:
        if inputs[i].dtype not in (np.float64, np.complex128):
            raise ValueError(
                f"inputs[{i}] must be float64 for finite differences, got {inputs[i].dtype}"
            )
    return checked


def _worst(
    analytic: np.ndarray, numeric: np.ndarray, atol: float, rtol: float
) -> tuple[int, ...] | None:
    """Return the index of the largest difference beyond the tolerance; None if all agree."""
    excess = np.abs(analytic - numeric) - (atol + rtol * np.abs(numeric))
    if not excess.size or excess.max() <= 0:
        return None
    worst = np.argmax(np.where(np.isnan(excess), np.inf, excess))
    return tuple(int(k) for k in np.unravel_index(worst, excess.shape))


def _as_list(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _random_like(tensor: Tensor, rng: np.random.Generator) -> np.ndarray:
    u = rng.standard_normal(tensor.shape)
    return u + 1j * rng.standard_normal(tensor.shape) if tensor.dtype.kind == "c" else u


def _shifted(
    loss: Callable[[], float], leaf: Tensor, index: tuple[int, ...], step: complex
) -> float:
    """Return L with one element of `leaf` changed by `step`."""
    before = leaf.data[index].item()
    leaf.data[index] = before + step
    result = loss()
    leaf.data[index] = before
    return result


def _directions(leaf: Tensor) -> tuple[complex, ...]:
    return (1.0, 1.0j) if leaf.dtype.kind == "c" else (1.0,)


def _central_differences(
    loss: Callable[[], float], leaf: Tensor, eps: float, name: str
) -> np.ndarray:
    """Return dL/d(real part) + i dL/d(imaginary part) for every element of `leaf`."""
    gradient = np.zeros(leaf.shape, leaf.dtype)
    for index in np.ndindex(leaf.shape):
        x = leaf.data[index].item()
        for direction in _directions(leaf):
            step = eps * direction
            distance = abs((x + step) - (x - step))  # 2 eps as far as x can show it
            if not distance > 0:
                raise GradcheckError(
                    f"{name} at index {index}: the step is lost in rounding, {x:.8g} + {eps:g} is "
                    f"{x:.8g}; give a larger eps"
                )
            change = _shifted(loss, leaf, index, step) - _shifted(loss, leaf, index, -step)
            gradient[index] += change / distance * direction
    return gradient


def _other_cause(
    loss: Callable[[], float],
    leaf: Tensor,
    index: tuple[int, ...],
    eps: float,
    analytic: complex,
    numeric: complex,
    noise: float,
) -> str:
    """Return another explanation of a disagreement, as the end of a message; "" if there is none.

    Near a kink the two one-sided differences are far apart, with the slope from `backward` between
    them. Those of a smooth function differ by eps times its second derivative only.
    """
    if abs(analytic - numeric) <= noise:
        return "; the step is lost in rounding: give a larger eps, or inputs with smaller results"
    for direction in _directions(leaf):
        here, step = loss(), eps * direction
        sides = (
            (_shifted(loss, leaf, index, step) - here) / eps,
            (here - _shifted(loss, leaf, index, -step)) / eps,
        )
        slope, gap = (analytic * np.conj(direction)).real, abs(sides[0] - sides[1])
        between = min(sides) - 0.01 * gap <= slope <= max(sides) + 0.01 * gap
        if between and gap > 1000 * eps + 0.01 * max(map(abs, sides)):
            return (
                f"; a kink is near, the slopes are {sides[1]:.8g} before and {sides[0]:.8g} after "
                "it: choose other inputs"
            )
    return ""
