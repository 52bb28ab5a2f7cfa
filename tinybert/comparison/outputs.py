"""Run a model and its torch counterpart, and collect the output of every module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, no_grad
from tinybert.backend import is_array, to_host
from tinybert.nn import Module

OUTPUT = "(output)"  # the name of the whole model's output

INSTALL = (
    'pip install "tinybert[test]"; on Linux install the CPU build of torch first (pytorch.org), or '
    "2.2 GB of CUDA libraries come with it"
)

# (module name, number of the call) -> output, or None if it has no floating array
Calls = dict[tuple[str, int], Any]


def import_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"compare needs torch: {INSTALL}") from error
    return torch


def _run(model: Any, modules: dict[str, Any], inputs: Any, convert: Any) -> tuple[Calls, Calls]:
    """Run one forward pass; return the outputs of all calls of `modules`, and of the model."""
    torch = import_torch()
    calls: Calls = {}
    counts: Counter[str] = Counter()

    def hook_of(name: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            calls[name, counts[name]] = _first_floating(output)
            counts[name] += 1

        return hook

    hooks = {module: hook_of(name) for name, module in modules.items() if name}
    # The rows report NaN and infinity, so NumPy's warnings are not needed.
    with _hooked(model, hooks), no_grad(), torch.no_grad(), np.errstate(all="ignore"):
        if isinstance(inputs, Mapping):
            output = model(**{name: convert(value) for name, value in inputs.items()})
        else:
            args = inputs if isinstance(inputs, tuple) else (inputs,)
            output = model(*(convert(value) for value in args))
    outputs: Calls = {(path, 0): array for path, array in _flat(OUTPUT, output)}
    return calls, outputs or {(OUTPUT, 0): None}


@contextmanager
def _hooked(model: Any, hooks: dict[Any, Any]) -> Iterator[None]:
    """Use evaluation mode and forward hooks; undo both at the end, also after an error."""
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


def run_both(model: Module, torch_model: Any, inputs: Any) -> tuple[Calls, Calls]:
    """Run both models; return for each the outputs of the common modules and of the model."""
    ours, theirs = dict(model.named_modules()), dict(torch_model.named_modules())
    common = [name for name in ours if name in theirs]
    our_calls, our_outputs = _run(
        model, {name: ours[name] for name in common}, inputs, _to_tensor(model)
    )
    their_calls, their_outputs = _run(
        torch_model, {name: theirs[name] for name in common}, inputs, _to_torch(torch_model)
    )
    if not our_outputs.keys() & their_outputs.keys():  # for example a tuple and named fields
        our_outputs, their_outputs = (
            {(OUTPUT, 0): next(iter(outputs.values()))} for outputs in (our_outputs, their_outputs)
        )
    return our_calls | our_outputs, their_calls | their_outputs


def _to_tensor(model: Module) -> Any:
    """Return a function that converts inputs to Tensors with the device and dtype of `model`."""
    first = next((p for p in model.parameters() if p.dtype.kind == "f"), None)

    def convert(value: Any) -> Any:
        array = _input_array(value)
        if array is None:
            return value
        dtype = first.dtype if first is not None and array.dtype.kind == "f" else array.dtype
        return Tensor(array, dtype=dtype, device=None if first is None else first.device)

    return convert


def _to_torch(model: Any) -> Any:
    """Return a function that converts inputs to torch tensors with the model's device and dtype."""
    torch = import_torch()
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))

    def convert(value: Any) -> Any:
        array = _input_array(value)
        if array is None:
            return value
        tensor = torch.from_numpy(array.copy()).to(first.device)
        return tensor.to(first.dtype) if tensor.is_floating_point() else tensor

    return convert


def _input_array(value: Any) -> np.ndarray | None:
    """Return an input as a NumPy array, integers as int64; None for other values."""
    if is_array(value):
        value = to_host(value)
    array = np.asarray(value) if isinstance(value, (list, tuple, np.ndarray)) else to_numpy(value)
    return array.astype(np.int64) if array is not None and array.dtype.kind in "iu" else array


# --- outputs ------------------------------------------------------------------------------------


def to_numpy(value: Any) -> np.ndarray | None:
    """Copy a Tensor or torch tensor to a NumPy array; return None for anything else."""
    if isinstance(value, Tensor):
        return value.numpy().copy()
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        return value.resolve_conj().numpy().copy()
    return None


def _first_floating(output: Any) -> np.ndarray | None:
    """Return the first floating array of an output: a tensor, a tuple, or named outputs."""
    members = output.values() if isinstance(output, Mapping) else output
    for member in members if isinstance(members, (tuple, list, type({}.values()))) else (members,):
        array = to_numpy(member)
        if array is not None and array.dtype.kind in "fc":
            return array
    return None


def _flat(path: str, output: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield all arrays in an output with their paths, such as `(output).hidden_states[2]`."""
    if isinstance(output, Mapping):
        for name, member in output.items():
            yield from _flat(f"{path}.{name}", member)
    elif isinstance(output, (tuple, list)):
        for index, member in enumerate(output):
            yield from _flat(f"{path}[{index}]", member)
    else:
        array = to_numpy(output)
        if array is not None:
            yield path, array
