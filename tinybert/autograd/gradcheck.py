"""`gradcheck`: is this backward right? Compare it with finite differences, in float64.

With a random cotangent u, the scalar L = <u, f(x)> has the gradient that `backward(u)` gives. Each
of its components is measured a second time as (L(x + eps e_i) - L(x - eps e_i)) / 2 eps. The
cotangent is random because a plain sum is blind: the true gradient of softmax(x).sum() is zero, so
a backward that returns zeros would pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinybert.autograd.modes import no_grad
from tinybert.autograd.tensor import Tensor


class GradcheckError(AssertionError):
    """`backward` and finite differences disagree, or the check could not have found a fault."""


def gradcheck(
    fn: Callable[..., Any],
    inputs: Sequence[Any] | Tensor,
    eps: float = 1e-6,
    atol: float = 1e-7,
    rtol: float = 1e-5,
    seed: int = 0,
) -> bool:
    """Compare `fn(*inputs)`'s backward with central differences, for every element of every input
    that requires grad.

    Args:
        fn: from Tensors to a Tensor or a tuple of Tensors; those that carry no gradient are
            passed over.
        inputs: the arguments; Tensors that require a gradient must be float64 or complex128.
        eps: the step. atol, rtol: passes if |analytic - numeric| <= atol + rtol * |numeric|.
        seed: of the random cotangent.

    Returns True. Raises GradcheckError naming input, index and both numbers, or saying that all
    gradients are zero (a check that cannot fail proves nothing), and ValueError for inputs in lower
    precision.
    """
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = _inputs_to_check(inputs)
    leaves = [
        Tensor(x, requires_grad=x.requires_grad) if isinstance(x, Tensor) else x for x in inputs
    ]
    outputs = _as_list(fn(*leaves))
    places = [i for i, y in enumerate(outputs) if isinstance(y, Tensor) and y.requires_grad]
    if not places:
        raise GradcheckError("no result requires a gradient, so there is nothing to check")
    results = [outputs[i] for i in places]
    rng = np.random.default_rng(seed)
    cotangents = [_random_like(result, rng) for result in results]
    for result, u in zip(results, cotangents, strict=True):
        result.backward(u, retain_graph=True)

    def loss() -> float:
        with no_grad():
            outputs = _as_list(fn(*leaves))
        return sum(
            float(np.sum(np.real(np.conj(u) * outputs[i].numpy())))
            for i, u in zip(places, cotangents, strict=True)
        )

    largest = 0.0
    for i in checked:
        leaf = leaves[i]
        analytic = leaf.grad.numpy() if leaf.grad is not None else np.zeros(leaf.shape, leaf.dtype)
        numeric = _central_differences(loss, leaf, eps)
        largest = max(
            largest, float(np.abs(numeric).max(initial=0)), float(np.abs(analytic).max(initial=0))
        )
        _compare(f"gradient of input {i}", analytic, numeric, atol, rtol)
    if any(leaves[i].size for i in checked) and any(y.size for y in results) and largest == 0:
        raise GradcheckError(
            "all gradients are exactly zero, so this check could not fail; choose other inputs"
        )
    return True


def _inputs_to_check(inputs: list[Any]) -> list[int]:
    """The places of the Tensors that require a gradient, all of them in double precision."""
    checked = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("inputs: none requires a gradient, so there is nothing to check")
    for i in checked:
        if inputs[i].dtype not in (np.float64, np.complex128):
            raise ValueError(
                f"inputs[{i}] must be float64 for finite differences, got {inputs[i].dtype}"
            )
    return checked


def _compare(
    name: str, analytic: np.ndarray, numeric: np.ndarray, atol: float, rtol: float
) -> None:
    """Raise GradcheckError naming the element where the two differ most, if one differs."""
    excess = np.abs(analytic - numeric) - (atol + rtol * np.abs(numeric))
    if excess.size and not excess.max() <= 0:
        worst = np.argmax(np.where(np.isnan(excess), np.inf, excess))
        index = tuple(int(k) for k in np.unravel_index(worst, excess.shape))
        raise GradcheckError(
            f"{name} at index {index}: backward gives {analytic[index]:.8g}, "
            f"finite differences give {numeric[index]:.8g} (shape {analytic.shape})"
        )


def _as_list(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _random_like(tensor: Tensor, rng: np.random.Generator) -> np.ndarray:
    u = rng.standard_normal(tensor.shape)
    return u + 1j * rng.standard_normal(tensor.shape) if tensor.dtype.kind == "c" else u


def _central_differences(loss: Callable[[], float], leaf: Tensor, eps: float) -> np.ndarray:
    """dL/d(real part) + i dL/d(imaginary part) for every element of `leaf`."""
    gradient = np.zeros(leaf.shape, leaf.dtype)
    for index in np.ndindex(leaf.shape):
        for direction in (1.0, 1.0j) if leaf.dtype.kind == "c" else (1.0,):
            before = leaf.data[index].item()
            leaf.data[index] = before + eps * direction
            above = loss()
            leaf.data[index] = before - eps * direction
            below = loss()
            leaf.data[index] = before
            gradient[index] += (above - below) / (2 * eps) * direction
    return gradient
