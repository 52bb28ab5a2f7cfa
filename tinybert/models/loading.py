"""Loading weights into a model: matching the names of tensors and parameters, and the choice of
dtype and device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinybert.autograd import Tensor
from tinybert.backend import cuda_is_available, to_device
from tinybert.models.loading_report import LoadingReport
from tinybert.nn import Module
from tinybert.weights.reader import TensorReader

# Names in old checkpoints, replaced at the end of a name only: `gamma` and `beta` are names of
# other parameters in other models.
RENAMED = {
    "LayerNorm.gamma": "LayerNorm.weight",
    "LayerNorm.beta": "LayerNorm.bias",
}
# Buffers that hold no weights: some files have them, others do not.
IGNORED = ("position_ids", "token_type_ids", "inv_freq", "_float_tensor")


def load_weights(
    model: Module,
    checkpoint: TensorReader,
    source: str,
    prefix: str,
    ignore_mismatched: bool,
    fill: Callable[[TensorReader, str, Tensor], None] | None = None,
) -> tuple[LoadingReport, set[str]]:
    """Load every parameter of `model` from `checkpoint`, one tensor at a time.

    Args:
        source: what the checkpoint is called in the report and in errors.
        prefix: the name of the base model inside a model with a head ("bert"). A model with a head
            loads from a checkpoint without one, and the reverse, by adding or removing "bert.".
            Another prefix of the file is replaced by it.
        ignore_mismatched: report tensors of another shape instead of raising ValueError.
        fill: f(checkpoint, name, tensor) loads one tensor; `read_into` if None.

    Returns the report, and the names of the parameters that still have to be initialized.
    """
    report = LoadingReport(type(model).__name__, source)
    own = dict(model.named_state())
    in_file = _named_as_in(own, checkpoint, prefix, report)
    for name, tensor in own.items():
        if name not in in_file:
            continue
        key = in_file[name]
        shape, stored = tuple(checkpoint.info(key).shape), checkpoint.info(key).dtype
        if stored[0] in "IU" and tensor.dtype.kind == "f":
            raise ValueError(f"{source}: {key} has integers ({stored}), which are no weights")
        if shape != tensor.shape:
            report.mismatched_keys.append((name, shape, tensor.shape))
        else:
            (fill or read_into)(checkpoint, key, tensor)
    if report.mismatched_keys and not ignore_mismatched:
        name, found, expected = report.mismatched_keys[0]
        raise ValueError(
            f"{source}: {name} has shape {found} in the file and {expected} in the model "
            f"({len(report.mismatched_keys)} such tensors); use the config that belongs to the "
            "file, or ignore_mismatched_sizes=True to initialize these at random"
        )
    unset = {name for name in own if name not in in_file and not _is_ignored(name)}
    loaded = {id(own[name]) for name in own if name in in_file}
    inside = [name for name in own if name.startswith(prefix + ".")] or own
    base = {id(own[name]) for name in inside if not _is_ignored(name)}
    report.wanted, report.found = len(base), len(base & loaded)
    report.missing_keys = sorted(name for name in unset if id(own[name]) not in loaded)
    mismatched = {name for name, _, _ in report.mismatched_keys}
    return report, set(report.missing_keys) | mismatched


def read_into(checkpoint: TensorReader, key: str, tensor: Tensor) -> None:
    """Load one tensor of a checkpoint, of the same shape, on any device.

    On the CPU, if the file stores the right dtype, the tensor becomes a view of the mapped file
    (copy on write); otherwise the numbers are read and converted into the tensor's memory.
    """
    if tensor.device == "cpu":
        mapped = checkpoint.mapped(key)
        if mapped is not None and mapped.dtype == tensor.dtype:
            tensor.data = mapped
        else:
            checkpoint.read_into(key, tensor.data)
        tensor._version.bump("from_pretrained")
    else:
        tensor.detach().copy_(to_device(checkpoint[key].astype(tensor.dtype), tensor.device))


def _named_as_in(
    own: dict[str, Tensor], checkpoint: TensorReader, prefix: str, report: LoadingReport
) -> dict[str, str]:
    """Return {name in the model: name in the file}; names without a counterpart are reported."""
    dotted = prefix + "."
    model_has_prefix = any(name.startswith(dotted) for name in own)
    of_file = _prefix_of_file(own, checkpoint, dotted)
    in_file: dict[str, str] = {}
    for key in checkpoint:
        name = _renamed(key)
        if of_file and name.startswith(of_file):
            name = dotted * model_has_prefix + name[len(of_file) :]
        elif model_has_prefix and not of_file and dotted + name in own:
            name = dotted + name
        if name in own:
            if name in in_file:
                raise ValueError(
                    f"{report.source}: {in_file[name]} and {key} both belong to {name} of the model"
                )
            in_file[name] = key
            if name != key:
                report.renamed[key] = name
        elif not _is_ignored(name):
            report.unexpected_keys.append(key)
            if of_file and not model_has_prefix and not key.startswith(of_file):
                report.head_keys.append(key)
    return in_file


def _renamed(name: str) -> str:
    """Return the present name of a parameter of an old checkpoint."""
    for old, new in RENAMED.items():
        if name == old or name.endswith("." + old):
            return name[: -len(old)] + new
    return name


def _prefix_of_file(own: dict[str, Tensor], checkpoint: TensorReader, dotted: str) -> str:
    """Return the prefix of the base model's names in the file, "" if they have none.

    It is `dotted`, or another one: a head may call its base model "transformer", not "model".
    """
    if any(key.startswith(dotted) for key in checkpoint):
        return dotted
    inside = {name.removeprefix(dotted) for name in own}
    if inside.isdisjoint(checkpoint):
        for key in checkpoint:
            first, _, rest = key.partition(".")
            if rest in inside:
                return first + "."
    return ""


def _is_ignored(name: str) -> bool:
    return name.rpartition(".")[2] in IGNORED


# --- arguments of from_pretrained -----------------------------------------------------------------


def choose_dtype(dtype: Any, torch_dtype: Any, config: Any) -> Any:
    """Return the NumPy dtype that `dtype` or `torch_dtype` names; None if neither is given.

    Names and torch's own dtypes are allowed. "auto" is the dtype that the config was saved with.
    "bfloat16", which NumPy lacks, becomes float32, which holds all its values.
    """
    chosen = _either("dtype", dtype, "torch_dtype", torch_dtype)
    if isinstance(chosen, str) and chosen == "auto":
        chosen = getattr(config, "dtype", None) or getattr(config, "torch_dtype", None)
    name = str(chosen).removeprefix("torch.")
    if name == "bfloat16":
        return "float32"
    return name if type(chosen).__module__ == "torch" else chosen


def choose_device(device: str | None, device_map: Any) -> str | None:
    """Return the device that `device` or `device_map` names; None if neither is given.

    A map is a device, the number of a GPU, "auto" (the GPU, if there is one), or {"": device}.
    """
    if isinstance(device_map, dict):
        if list(device_map) != [""]:
            raise ValueError(
                f"device_map must put everything on one device, {{'': 'cuda'}}, got {device_map}"
            )
        device_map = device_map[""]
    if device_map == "auto":
        device_map = "cuda" if cuda_is_available() else "cpu"
    if isinstance(device_map, int) and not isinstance(device_map, bool):
        device_map = f"cuda:{device_map}"
    chosen = _either("device", device, "device_map", device_map)
    return None if chosen is None else str(chosen)


def _either(name: str, value: Any, alias: str, other: Any) -> Any:
    """Return the one of two spellings of an argument that is given."""
    if value is not None and other is not None and value != other:
        raise ValueError(f"{name} is {value!r}, but {alias} is {other!r}; give one of them")
    return other if value is None else value
