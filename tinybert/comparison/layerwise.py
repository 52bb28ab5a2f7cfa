"""`compare`: compare a model with its torch counterpart on the same input, layer by layer.

It finds the first module whose outputs differ, whether weights differ, and, with `float64=True`,
whether the difference is only rounding. The result is a `Comparison`, which prints as a table.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from tinybert.autograd import set_default_dtype
from tinybert.comparison.outputs import Calls, import_torch, run_both, to_numpy
from tinybert.comparison.report import Comparison, Row, WeightDifference
from tinybert.nn import Module

# In float64 correct models agree to about 1e-15 per step. A relative difference above the first
# limit is more than rounding; up to the second, a part that always computes in float32 (rotary
# angles, FFT) can be the cause.
FLOAT64_NOISE = 1e-10
FLOAT64_BUG = 1e-6

# Loaded weights are equal; this tolerance allows for a copy in another precision.
WEIGHT_RTOL = 1e-6


def compare(
    model: Module,
    torch_model: Any,
    inputs: Any,
    atol: float = 1e-7,
    rtol: float = 1e-4,
    float64: bool = False,
) -> Comparison:
    """Run both models on `inputs` and compare the output of every module that both have.

    Args:
        model, torch_model: our model and a `torch.nn.Module` with the same module names. Both run
            in evaluation mode without gradients; their modes are restored.
        inputs: a dict of keyword arguments, a tuple of positional arguments, or a single array.
            Arrays, lists, Tensors and torch tensors are converted, integers to int64; other values
            are passed on.
        atol, rtol: an output agrees if max |a - b| <= atol + rtol * max |b|. The defaults are for
            float32: trained layers amplify rounding, and the float32 output of a pretrained BERT
            with six layers differs from its float64 output by 1e-5 of the largest element.
        float64: also run copies of both in float64, which decide: a difference that remains is a
            bug, one that disappears is rounding. This finds bugs smaller than float32 rounding.

    For each module the first floating output is compared; for the whole model every named output.
    Raises ImportError without torch, and the errors of the models.
    """
    import_torch()
    our_modules, their_modules = dict(model.named_modules()), dict(torch_model.named_modules())
    ours, theirs = run_both(model, torch_model, inputs)
    ours64: Calls = {}
    theirs64: Calls = {}
    if float64:
        model64 = copy.deepcopy(model).to(dtype=np.float64)
        with set_default_dtype(np.float64):
            ours64, theirs64 = run_both(model64, copy.deepcopy(torch_model).double(), inputs)
    rows = []
    for order, key in enumerate(key for key in ours if key in theirs):
        name, call = key
        kind = type(our_modules.get(name, model)).__name__
        label = name if call == 0 else f"{name} (call {call + 1})"
        exact = (ours64[key], theirs64[key]) if float64 else None
        rows.append(_row((order, label, kind), ours[key], theirs[key], (atol, rtol), exact))
    common = [name for name in our_modules if name in their_modules]
    only_ours = [name for name in our_modules if name not in their_modules]
    only_ours += [name for name, _ in ours if name not in our_modules and (name, 0) not in theirs]
    only_torch = [name for name in their_modules if name not in our_modules]
    only_torch += [
        name for name, _ in theirs if name not in their_modules and (name, 0) not in ours
    ]
    weights = _weights(model, torch_model)
    return Comparison(
        rows, weights, only_ours, only_torch, _uncalled(common, ours, theirs), float64
    )


# --- differences --------------------------------------------------------------------------------


class Gap(NamedTuple):
    """The difference of two arrays a and b, over the elements that are finite in both."""

    max_abs: float | None  # max |a - b|, None if the shapes differ
    max_rel: float | None  # the same divided by max |b|
    rms_rel: float | None  # RMS of a - b divided by RMS of b
    size: float  # max |b|
    problem: str  # "shape", "NaN ours", "inf torch", ...; "" if there is none


def _gap(a: np.ndarray, b: np.ndarray) -> Gap:
    if a.shape != b.shape:
        return Gap(None, None, None, 0.0, "shape")
    wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
    a, b = a.astype(wide), b.astype(wide)
    finite = np.isfinite(a) & np.isfinite(b)
    gaps, sizes = np.abs(a[finite] - b[finite]), np.abs(b[finite])
    rms_gap, rms_size = (math.sqrt(np.mean(x * x)) if x.size else 0.0 for x in (gaps, sizes))
    max_gap, size = (float(x.max(initial=0)) for x in (gaps, sizes))
    rms_rel = _ratio(rms_gap, rms_size)
    return Gap(max_gap, _ratio(max_gap, size), rms_rel, size, _not_finite(a, b))


def _not_finite(a: np.ndarray, b: np.ndarray) -> str:
    """Return which array has NaN or infinity, or ""; equal infinities in both are ignored."""
    for what, test in (("NaN", np.isnan), ("inf", np.isinf)):
        in_a, in_b = test(a), test(b)
        if what == "inf" and np.array_equal(np.where(in_a, a, 0), np.where(in_b, b, 0)):
            continue
        if in_a.any() or in_b.any():
            side = "both" if in_a.any() and in_b.any() else "ours" if in_a.any() else "torch"
            return f"{what} {side}"
    return ""


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else (math.inf if part else 0.0)


def _row(
    call: tuple[int, str, str], a: Any, b: Any, tolerance: tuple[float, float], exact: Any
) -> Row:
    """Return a row of the table; `exact` is the pair of outputs in float64, or None."""
    if a is None or b is None:
        return Row(*call, () if a is None else a.shape, None, None, None, "-")
    gap = _gap(a, b)
    row = Row(*call, a.shape, gap.max_abs, gap.max_rel, gap.rms_rel, gap.problem)
    if gap.problem or gap.max_abs is None:
        return row
    atol, rtol = tolerance
    beyond = gap.max_abs > atol + rtol * gap.size
    row.verdict = "differs" if beyond else "ok"
    if exact is not None:
        gap64 = _gap(*exact)
        row.float64_rel = gap64.max_rel
        if gap64.problem or gap64.max_rel is None or gap64.max_rel > FLOAT64_BUG:
            row.verdict = "bug"
        elif beyond:
            row.verdict = "unclear" if gap64.max_rel > FLOAT64_NOISE else "noise"
    return row


def _weights(model: Module, torch_model: Any) -> list[WeightDifference]:
    """Return the parameters and buffers that both models have with different values."""
    theirs, differences = torch_model.state_dict(), []
    for name, tensor in model.state_dict().items():
        a, b = tensor.numpy(), to_numpy(theirs.get(name))
        if b is None:
            continue
        gap = _gap(a, b)
        if gap.problem or gap.max_rel is None or gap.max_rel > WEIGHT_RTOL:
            differences.append(WeightDifference(name, a.shape, b.shape, gap.max_abs))
    return differences


def _uncalled(names: list[str], ours: Calls, theirs: Calls) -> list[str]:
    """Return the modules that were called different numbers of times, with the two counts."""
    our_counts, their_counts = (Counter(name for name, _ in calls) for calls in (ours, theirs))
    return [
        f"{name}: {our_counts[name]} / {their_counts[name]}"
        for name in names
        if name and our_counts[name] != their_counts[name]
    ]
