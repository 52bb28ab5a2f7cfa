"""`compare`: one of our models and its torch twin on the same input, layer by layer.

It answers where two models first part, whether weights or computation are to blame, and, with
`float64=True`, whether it is rounding at all. It measures; what it found is a `Comparison`, whose
`str` is a table.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tinybert.autograd import Tensor, no_grad, set_default_dtype
from tinybert.backend import is_array, to_host
from tinybert.comparison.report import Comparison, Row, WeightDifference
from tinybert.nn import Module

__all__ = ["Comparison", "Row", "WeightDifference", "compare"]

# In float64 two right models agree to about 1e-15 a step. What is left above the first line is no
# rounding; below the second, a part that computes in float32 inside (rotary angles, FFT) could be.
FLOAT64_NOISE = 1e-10
FLOAT64_BUG = 1e-6

OUTPUT = "(output)"  # what the whole model returns, as a row: no module has this name

# Weights that were loaded are equal; this much is granted to a copy in another precision.
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
        model, torch_model: ours and a `torch.nn.Module`, with the same module names. Both run in
            evaluation mode and without gradients, and are left as they were.
        inputs: keyword arguments by name, or a tuple of positional ones, or a single array; arrays,
            lists, Tensors or torch tensors, integers become int64; other values are passed on.
        atol, rtol: an output agrees if max |a - b| <= atol + rtol * max |b|. The defaults suit
            float32: trained layers amplify rounding, and a real BERT of six layers is 1e-5 of its
            largest element away from its own result in float64.
        float64: run copies of both in float64 as well, and let those decide: a difference that
            stays is a bug, one that vanishes is rounding. This finds bugs below float32's rounding.

    Of each module the first floating output is compared; of the whole model, every output by name.
    Raises ImportError, with a hint, without torch, and whatever the models raise.
    """
    _import_torch()
    ours, theirs = dict(model.named_modules()), dict(torch_model.named_modules())
    mine, other = _run_both(model, torch_model, inputs)
    wide: Calls = {}
    wide_other: Calls = {}
    if float64:
        twin = copy.deepcopy(model).to(dtype=np.float64)
        with set_default_dtype(np.float64):
            wide, wide_other = _run_both(twin, copy.deepcopy(torch_model).double(), inputs)
    rows = []
    for order, key in enumerate(key for key in mine if key in other):
        name, call = key
        kind = type(ours.get(name, model)).__name__
        shown = name if call == 0 else f"{name} (call {call + 1})"
        exact = (wide[key], wide_other[key]) if float64 else None
        rows.append(_row((order, shown, kind), mine[key], other[key], (atol, rtol), exact))
    modules = [name for name in ours if name in theirs]
    only_ours = [name for name in ours if name not in theirs]
    only_torch = [name for name in theirs if name not in ours]
    return Comparison(
        rows,
        _weights(model, torch_model),
        only_ours + [name for name, _ in mine if name not in ours and (name, 0) not in other],
        only_torch + [name for name, _ in other if name not in theirs and (name, 0) not in mine],
        _uncalled(modules, mine, other),
        float64,
    )


def _import_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            'compare needs torch: pip install "tinybert[test]" -c constraints.txt'
        ) from error
    return torch


# --- running ------------------------------------------------------------------------------------

Calls = dict[tuple[str, int], Any]  # (module name, number of the call) -> output, None if not one


def _run(model: Any, modules: dict[str, Any], inputs: Any, convert: Any) -> tuple[Calls, Calls]:
    """One forward: the output of every call of `modules`, in order, and the model's own outputs."""
    torch = _import_torch()
    calls: Calls = {}
    counts: Counter[str] = Counter()

    def watch(name: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            calls[name, counts[name]] = _first_floating(output)
            counts[name] += 1

        return hook

    hooks = {module: watch(name) for name, module in modules.items() if name}
    # NaN and infinity are what the rows report; NumPy need not warn of them as well.
    with _watched(model, hooks), no_grad(), torch.no_grad(), np.errstate(all="ignore"):
        if isinstance(inputs, Mapping):
            output = model(**{name: convert(value) for name, value in inputs.items()})
        else:
            args = inputs if isinstance(inputs, tuple) else (inputs,)
            output = model(*(convert(value) for value in args))
    outputs: Calls = {(path, 0): array for path, array in _flat(OUTPUT, output)}
    return calls, outputs or {(OUTPUT, 0): None}


@contextmanager
def _watched(model: Any, hooks: dict[Any, Any]) -> Iterator[None]:
    """Evaluation mode, with `hooks`; both are undone at the end, whatever happens."""
    flags = [(module, module.training) for module in model.modules()]
    handles = []
    try:
        model.eval()
        for module, hook in hooks.items():
            handles.append(module.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, training in flags:
            module.training = training


def _run_both(model: Module, torch_model: Any, inputs: Any) -> tuple[Calls, Calls]:
    """The calls of both models, of modules with the same name, followed by their outputs."""
    ours, theirs = dict(model.named_modules()), dict(torch_model.named_modules())
    both = [name for name in ours if name in theirs]
    mine, my_outputs = _run(model, {n: ours[n] for n in both}, inputs, _ours_value(model))
    other, other_outputs = _run(
        torch_model, {n: theirs[n] for n in both}, inputs, _torch_value(torch_model)
    )
    if not my_outputs.keys() & other_outputs.keys():  # a tuple against named fields, say
        my_outputs, other_outputs = (
            {(OUTPUT, 0): next(iter(outputs.values()))} for outputs in (my_outputs, other_outputs)
        )
    return mine | my_outputs, other | other_outputs


def _ours_value(model: Module) -> Any:
    """What turns an input into a Tensor on the device and in the precision of `model`."""
    first = next((p for p in model.parameters() if p.dtype.kind == "f"), None)

    def convert(value: Any) -> Any:
        array = _input_array(value)
        if array is None:
            return value
        dtype = first.dtype if first is not None and array.dtype.kind == "f" else array.dtype
        return Tensor(array, dtype=dtype, device=None if first is None else first.device)

    return convert


def _torch_value(model: Any) -> Any:
    """What turns an input into a torch tensor on the device and in the precision of `model`."""
    torch = _import_torch()
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))

    def convert(value: Any) -> Any:
        array = _input_array(value)
        if array is None:
            return value
        tensor = torch.from_numpy(array.copy()).to(first.device)
        return tensor.to(first.dtype) if tensor.is_floating_point() else tensor

    return convert


def _input_array(value: Any) -> np.ndarray | None:
    """An input as a NumPy array, integers as int64; None for what is no array (flags, None)."""
    if is_array(value):
        value = to_host(value)
    array = np.asarray(value) if isinstance(value, (list, tuple, np.ndarray)) else _array(value)
    return array.astype(np.int64) if array is not None and array.dtype.kind in "iu" else array


# --- outputs ------------------------------------------------------------------------------------


def _array(value: Any) -> np.ndarray | None:
    """A copy of a Tensor or torch tensor as a NumPy array; None for anything else."""
    if isinstance(value, Tensor):
        return value.numpy().copy()
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        return value.resolve_conj().numpy().copy()
    return None


def _first_floating(output: Any) -> np.ndarray | None:
    """The output itself, or the first member of a tuple or of named outputs, that is floating."""
    members = output.values() if isinstance(output, Mapping) else output
    for member in members if isinstance(members, (tuple, list, type({}.values()))) else (members,):
        array = _array(member)
        if array is not None and array.dtype.kind in "fc":
            return array
    return None


def _flat(path: str, output: Any) -> Iterator[tuple[str, np.ndarray]]:
    """All arrays in an output, with their paths: `(output).hidden_states[2]`."""
    if isinstance(output, Mapping):
        for name, member in output.items():
            yield from _flat(f"{path}.{name}", member)
    elif isinstance(output, (tuple, list)):
        for index, member in enumerate(output):
            yield from _flat(f"{path}[{index}]", member)
    else:
        array = _array(output)
        if array is not None:
            yield path, array


# --- judging ------------------------------------------------------------------------------------


class Gap(NamedTuple):
    """How far a is from b, over the elements that are finite in both."""

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
    return Gap(max_gap, _ratio(max_gap, size), rms_rel, size, _strange(a, b))


def _strange(a: np.ndarray, b: np.ndarray) -> str:
    """Where NaN stands, or infinity; the same infinities on both sides are nothing strange."""
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
    """One row of the table; `exact` is the pair of outputs in float64, or None."""
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
        wide = _gap(*exact)
        row.float64_rel = wide.max_rel
        if wide.problem or wide.max_rel is None or wide.max_rel > FLOAT64_BUG:
            row.verdict = "bug"
        elif beyond:
            row.verdict = "unclear" if wide.max_rel > FLOAT64_NOISE else "noise"
    return row


def _weights(model: Module, torch_model: Any) -> list[WeightDifference]:
    """The parameters and saved buffers that both models have and that are not equal."""
    theirs, found = torch_model.state_dict(), []
    for name, tensor in model.state_dict().items():
        a, b = tensor.numpy(), _array(theirs.get(name))
        if b is None:
            continue
        gap = _gap(a, b)
        if gap.problem or gap.max_rel is None or gap.max_rel > WEIGHT_RTOL:
            found.append(WeightDifference(name, a.shape, b.shape, gap.max_abs))
    return found


def _uncalled(names: list[str], ours: Calls, theirs: Calls) -> list[str]:
    """Modules of both that were not called equally often, with the two counts."""
    mine, other = (Counter(name for name, _ in calls) for calls in (ours, theirs))
    return [f"{n}: {mine[n]} / {other[n]}" for n in names if n and mine[n] != other[n]]
