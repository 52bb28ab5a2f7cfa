"""`check_op`: the oracle test of an operation in one statement, and its parts.

An operation is right if its gradients are those of finite differences, if its values and gradients
are torch's for a random cotangent, if float32 costs no more precision than it costs torch, and if
none of this depends on how the inputs lie in memory.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tests import tolerances
from tinybert import ops, optim
from tinybert.autograd import Tensor, as_tensor, gradcheck
from tinybert.backend import Kernel

Domain = Callable[[np.ndarray], np.ndarray]  # from standard normal numbers to allowed inputs


def positive(normal: np.ndarray) -> np.ndarray:
    """Numbers from 0.5 up: for logarithms, roots and denominators."""
    return 0.5 + np.abs(normal)


def nonzero(normal: np.ndarray) -> np.ndarray:
    """Numbers of both signs with a size of at least 0.25: for denominators, and to stay away from a
    kink at 0.
    """
    return normal + np.copysign(0.25, normal)


def distinct(normal: np.ndarray) -> np.ndarray:
    """Numbers that differ from one another by at least 0.1, in random order: for maxima and
    sorting.
    """
    ranks = np.argsort(np.argsort(normal, axis=None)).reshape(normal.shape)
    return (ranks - normal.size / 2) * 0.1 + 0.03


def check_op(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    *,
    shapes: Sequence[tuple[int, ...]] = (),
    arrays: Sequence[np.ndarray] = (),
    domain: Domain | Sequence[Domain | None] | None = None,
    seed: int = 0,
    differences: bool = True,
) -> None:
    """Hold `ours` (Tensors to a Tensor, or to a tuple of them) against `theirs` (the same for torch
    tensors).

    Inputs are standard normal arrays of `shapes`, sent through `domain` (one for all or one each;
    `positive`, `nonzero`, `distinct` or a function of your own), then the given `arrays`. Floating
    and complex inputs are differentiated; integer and boolean arrays are passed on as they are.
    Options and constants go into the two callables as closures.

    1. `gradcheck` in float64, all inputs at once (left out with `differences=False`, for inputs at
       a kink, where a subgradient is pinned against torch alone).
    2. Values, and the gradients of all inputs for a random cotangent, equal torch's in float64.
    3. In float32 the error of values and gradients, measured against torch's float64 result, is in
       the median of several draws at most 1.5 times torch's own float32 error, plus a few units in
       the last place; dtypes stay.
    4. Fortran order, strided and reversed inputs and cotangents give the same.
    5. No input is written to.

    Tolerances: `tests/tolerances.py`. Raises AssertionError naming the result and its worst
    element.
    """
    inputs = _draw(shapes, arrays, domain, seed)
    if differences:
        gradcheck(
            ours,
            [Tensor(x, requires_grad=_is_floating(x)) for x in inputs],
            atol=tolerances.GRADCHECK_ATOL,
            rtol=tolerances.GRADCHECK_RTOL,
        )

    rng = np.random.default_rng(seed + 1)
    exact, cotangents = _run_torch(theirs, inputs, rng)
    _compare_float64(_run_ours(ours, inputs, cotangents), exact, "float64")

    draws = []
    for number in range(tolerances.OP_FLOAT32_DRAWS):
        drawn = _draw(shapes, arrays, domain, seed + number)
        wide, their_cotangents = _run_torch(theirs, drawn, rng)
        narrow = [_narrowed(x) for x in drawn]
        narrow_cotangents = [_narrowed(u) for u in their_cotangents]
        ours32 = _run_ours(ours, narrow, narrow_cotangents)
        theirs32, _ = _run_torch(theirs, narrow, cotangents=narrow_cotangents)
        draws.append((ours32, theirs32, wide))
    _compare_float32(draws)

    for layout, relaid in LAYOUTS.items():
        result = _run_ours(ours, [relaid(x) for x in inputs], [relaid(u) for u in cotangents])
        _compare_float64(result, exact, layout)


# --- kernels --------------------------------------------------------------------------------------


def all_kernels() -> dict[str, Kernel]:
    """Every kernel of the package by its name."""
    modules = [
        importlib.import_module(f"{package.__name__}.{module.name}")
        for package in (ops, optim)
        for module in pkgutil.iter_modules(package.__path__)
    ]
    found = [value for module in modules for value in vars(module).values()]
    return {value.__name__: value for value in found if isinstance(value, Kernel)}


# --- inputs ---------------------------------------------------------------------------------------


def _fortran(x: np.ndarray) -> np.ndarray:
    return np.asfortranarray(x) if x.ndim > 1 else x


def _strided(x: np.ndarray) -> np.ndarray:
    """A view of every second element of a larger array, the others poisoned."""
    if not x.ndim:
        return x
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), 77, x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def _reversed(x: np.ndarray) -> np.ndarray:
    backwards = (slice(None, None, -1),) * x.ndim
    return x[backwards].copy()[backwards]


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Fortran order": _fortran,
    "every second element": _strided,
    "negative strides": _reversed,
}


def _draw(shapes: Any, arrays: Any, domain: Any, seed: int) -> list[np.ndarray]:
    """The inputs, floats as float64 values that float32 can hold, so that both see the same."""
    rng = np.random.default_rng(seed)
    domains = domain if isinstance(domain, (tuple, list)) else [domain] * len(shapes)
    drawn = [rng.standard_normal(shape) for shape in shapes]
    drawn = [x if f is None else f(x) for x, f in zip(drawn, domains, strict=True)]
    return [_widened(_narrowed(np.asarray(x))) for x in (*drawn, *arrays)]


def _is_floating(x: np.ndarray) -> bool:
    return x.dtype.kind in "fc"


def _narrowed(x: np.ndarray) -> np.ndarray:
    return x.astype({"f": np.float32, "c": np.complex64}.get(x.dtype.kind, x.dtype))


def _widened(x: np.ndarray) -> np.ndarray:
    return x.astype({"f": np.float64, "c": np.complex128}.get(x.dtype.kind, x.dtype))


# --- the two sides: values and gradients by name --------------------------------------------------


def _as_tuple(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _run_ours(
    ours: Callable[..., Any], inputs: list[np.ndarray], cotangents: list[np.ndarray]
) -> dict[str, np.ndarray]:
    before = [x.copy() for x in inputs]
    leaves = [as_tensor(x).requires_grad_(_is_floating(x)) for x in inputs]
    outputs = _as_tuple(ours(*leaves))
    floating = [y for y in outputs if y.dtype.kind in "fc"]
    if [y.shape for y in floating] != [u.shape for u in cotangents]:
        shapes = [y.shape for y in floating], [u.shape for u in cotangents]
        raise AssertionError("results have shapes {}, torch's have {}".format(*shapes))
    for y, u in zip(floating, cotangents, strict=True):
        if y.requires_grad:
            y.backward(u, retain_graph=True)
    for position, (now, then) in enumerate(zip(inputs, before, strict=True)):
        if not np.array_equal(now, then, equal_nan=now.dtype.kind in "fc"):
            raise AssertionError(f"input {position} was written to")
    results = {f"output {i}": y.numpy() for i, y in enumerate(outputs)}
    for i, leaf in enumerate(leaves):
        if leaf.requires_grad:
            none = np.zeros(leaf.shape, leaf.dtype)
            results[f"gradient of input {i}"] = none if leaf.grad is None else leaf.grad.numpy()
    return results


def _run_torch(
    theirs: Callable[..., Any],
    inputs: list[np.ndarray],
    rng: np.random.Generator | None = None,
    cotangents: list[np.ndarray] | None = None,
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """torch's values and gradients by name, and the cotangents; they are drawn from `rng` if not
    given.
    """
    leaves = [torch.tensor(x, requires_grad=_is_floating(x)) for x in inputs]
    outputs = _as_tuple(theirs(*leaves))
    floating = [y for y in outputs if y.is_floating_point() or y.is_complex()]
    if cotangents is None:
        assert rng is not None
        cotangents = [_widened(_narrowed(_cotangent(y, rng))) for y in floating]
    pairs = [
        (y, torch.from_numpy(u))
        for y, u in zip(floating, cotangents, strict=True)
        if y.requires_grad
    ]
    wanted = [x for x in leaves if x.requires_grad]
    gradients = torch.autograd.grad(
        [y for y, _ in pairs], wanted, [u for _, u in pairs], allow_unused=True
    ) if pairs else [None] * len(wanted)  # fmt: skip
    results = {f"output {i}": y.detach().resolve_conj().numpy() for i, y in enumerate(outputs)}
    places = [i for i, x in enumerate(leaves) if x.requires_grad]
    for i, x, grad in zip(places, wanted, gradients, strict=True):
        grad = torch.zeros_like(x) if grad is None else grad
        results[f"gradient of input {i}"] = grad.resolve_conj().numpy()
    return results, cotangents


def _cotangent(y: torch.Tensor, rng: np.random.Generator) -> np.ndarray:
    u = rng.standard_normal(tuple(y.shape))
    return np.asarray(u + 1j * rng.standard_normal(tuple(y.shape)) if y.is_complex() else u)


# --- comparisons ----------------------------------------------------------------------------------


def error(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """|actual - expected|: 0 where both are the same infinity or both NaN, infinite where only one
    is; 0 or 1 for integers and booleans.
    """
    if expected.dtype.kind in "biu":
        return (actual != expected).astype(np.float64)
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        distance = np.abs(actual - expected)
    return np.where(same, 0, np.where(np.isnan(distance), np.inf, distance))


def rms(x: np.ndarray) -> float:
    """The root mean square of the finite elements."""
    finite = np.abs(x[np.isfinite(x)]).astype(np.float64)
    return float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0


def assert_close(
    actual: Any, expected: Any, *, rtol: float, atol: float = 0.0, name: str = "value"
) -> None:
    """|actual - expected| <= atol + rtol * (|expected| + RMS of expected), everywhere, in equal
    shapes.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        raise AssertionError(f"{name}: shape {actual.shape}, expected {expected.shape}")
    size = np.where(np.isfinite(expected), np.abs(expected), 0)
    _refuse(actual, expected, atol + rtol * (size + rms(expected)), name)


def assert_as_precise(found: Any, other: Any, exact: Any) -> None:
    """The error of `found` against `exact` is about that of `other`, another result in float32.

    What is compared is the RMS error of each row along the first axis, in the geometric mean over
    the rows: rows of a batch are computed independently, and a row that enlarges errors is one of
    many.
    """
    found, other, exact = map(np.asarray, (found, other, exact))
    assert found.shape == other.shape == exact.shape
    assert (found.dtype, other.dtype, exact.dtype) == (np.float32, np.float32, np.float64)
    unit = tolerances.FLOAT32_EPS / 8 * rms(exact)  # where a result happens to be exact
    rows = tuple(range(1, exact.ndim))
    own, others = (np.sqrt(((x - exact) ** 2).mean(axis=rows)) + unit for x in (found, other))
    ratio = float(np.exp(np.log(own / others).mean()))
    if not ratio < tolerances.OP_FLOAT32_RATIO:
        raise AssertionError(f"the error is {ratio:.3g} times that of the other result in float32")


def _compare_float64(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], how: str) -> None:
    _same_results(ours, theirs)
    for name, expected in theirs.items():
        if ours[name].dtype != expected.dtype and expected.dtype.kind in "fc":
            raise AssertionError(f"{name}: {ours[name].dtype}, expected {expected.dtype}")
        tolerance = tolerances.OP_FLOAT64 if expected.dtype.kind in "fc" else 0.0
        assert_close(ours[name], expected, rtol=tolerance, name=f"{name} ({how})")


def _compare_float32(
    draws: Sequence[tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]],
) -> None:
    """Compare several draws of our results in float32, torch's, and torch's in float64."""
    for name, first in draws[0][2].items():
        if first.dtype.kind not in "fc":
            continue
        compared = []
        for ours, theirs, exact in draws:
            if ours[name].dtype not in (np.float32, np.complex64):
                raise AssertionError(f"{name}: float32 inputs gave {ours[name].dtype}")
            expected = exact[name]
            torchs = float(error(theirs[name], expected).max(initial=0))
            allowed = tolerances.OP_FLOAT32_RATIO * torchs
            allowed += tolerances.OP_FLOAT32_FLOOR * rms(expected)
            largest = float(error(ours[name], expected).max(initial=0))
            share = largest / max(allowed, 1e-300)
            compared.append((share, allowed, torchs, ours[name], expected))
        compared.sort(key=lambda row: row[0])
        limits = {len(draws) // 2: ("median", 1), -1: ("worst", tolerances.OP_FLOAT32_WORST)}
        for place, (which, factor) in limits.items():
            _, allowed, torchs, found, expected = compared[place]
            what = f"{name} (float32; torch's own error in the {which} draw is {torchs:.3g})"
            _refuse(found, expected, np.full(expected.shape, factor * allowed), what)


def _same_results(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    if ours.keys() != theirs.keys():
        raise AssertionError(f"results are {list(ours)}, torch gives {list(theirs)}")


def _refuse(actual: np.ndarray, expected: np.ndarray, allowed: np.ndarray, name: str) -> None:
    distance = error(actual, expected)
    excess = distance - allowed
    if excess.size and excess.max() > 0:
        at = tuple(int(i) for i in np.unravel_index(excess.argmax(), excess.shape))
        raise AssertionError(
            f"{name}: element {at} of shape {expected.shape} is {actual[at]!r}, expected "
            f"{expected[at]!r}; off by {distance[at]:.3g}, allowed {allowed[at]:.3g}; "
            f"{int((excess > 0).sum())} of {excess.size} elements are off"
        )
