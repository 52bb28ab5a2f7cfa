"""Loading weights into a model: matching the names of tensors and parameters, the report of
mismatches, and the choice of dtype and device.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tinybert.autograd import Tensor
from tinybert.backend import cuda_is_available, to_device
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
LISTED = 20  # names of each kind that a report lists


@dataclass
class LoadingReport:
    """The result of loading. `str(report)` is empty if every name and shape matched.

    Attributes:
        missing_keys: parameters that the file does not have; initialized at random.
        unexpected_keys: tensors of the file that the model does not have; not used.
        mismatched_keys: (name, shape in the file, shape in the model); initialized at random.
        renamed: name in the file -> name in the model, where they differ.
        wanted, found: how many tensors the model without its head has, and how many the file.
    """

    model: str
    source: str
    missing_keys: list[str] = field(default_factory=list)
    unexpected_keys: list[str] = field(default_factory=list)
    mismatched_keys: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(
        default_factory=list
    )
    renamed: dict[str, str] = field(default_factory=dict)
    wanted: int = 0
    found: int = 0

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        if not (self.missing_keys or self.mismatched_keys or self.unexpected_keys):
            return []
        missing = [f"{name}{self._similar(name)}" for name in self.missing_keys[:LISTED]]
        mismatched = [f"{n}: {a} in the file, {b} in the model" for n, a, b in self.mismatched_keys]
        fresh = "initialized at random (train the model before you use its results)"
        return [
            f"{self.model} was loaded from {self.source}, but some weights do not match:",
            *_section(f"missing from the file, {fresh}", missing, len(self.missing_keys)),
            *_section(f"of another shape in the file, {fresh}", mismatched, len(mismatched)),
            *_section(
                "in the file but not in the model, not used",
                self.unexpected_keys,
                len(self.unexpected_keys),
            ),
        ]

    def _similar(self, name: str) -> str:
        """Return a hint with the most similar unused name in the file, if there is one."""
        close = difflib.get_close_matches(name, self.unexpected_keys, n=1, cutoff=0.8)
        return f"   (the file has {close[0]})" if close else ""


def _section(title: str, names: list[str], count: int) -> list[str]:
    """Return the lines for one kind of mismatch: the number, and the first names."""
    if not count:
        return []
    more = [f"    ... and {count - LISTED} more"] if count > LISTED else []
    return [f"  {count} {title}:", *(f"    {name}" for name in names[:LISTED]), *more]


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
    file_has_prefix = any(key.startswith(dotted) for key in checkpoint)
    in_file: dict[str, str] = {}
    for key in checkpoint:
        name = key
        for old, new in RENAMED.items():
            if name == old or name.endswith("." + old):
                name = name[: -len(old)] + new
        if file_has_prefix and not model_has_prefix:
            name = name[len(dotted) :] if name.startswith(dotted) else name
        elif model_has_prefix and not file_has_prefix and dotted + name in own:
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
    return in_file


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
