"""From the names of a checkpoint to the names of a model, and the report of what did not fit."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field

from tinybert.autograd import Tensor
from tinybert.backend import to_device
from tinybert.nn import Module
from tinybert.weights.reader import TensorReader

# Names of old checkpoints, at the end of a key: only there, since `gamma` and `beta` are names of
# other parameters in other models.
RENAMED = {
    "LayerNorm.gamma": "LayerNorm.weight",
    "LayerNorm.beta": "LayerNorm.bias",
}
# Buffers that hold no weights: in some files they are, in others they are not.
IGNORED = ("position_ids", "token_type_ids", "inv_freq", "_float_tensor")


@dataclass
class LoadingReport:
    """What loading did. `str(report)` is empty if every name and shape fitted.

    Attributes:
        missing_keys: parameters that the file lacks; they were drawn at random.
        unexpected_keys: arrays of the file that the model has no place for.
        mismatched_keys: (name, shape in the file, shape in the model); drawn at random.
        renamed: old name -> the name it was loaded under.
    """

    model: str
    source: str
    missing_keys: list[str] = field(default_factory=list)
    unexpected_keys: list[str] = field(default_factory=list)
    mismatched_keys: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(
        default_factory=list
    )
    renamed: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = []
        if self.missing_keys:
            lines.append(
                f"  {len(self.missing_keys)} missing, drawn at random "
                "(results mean nothing until the model is trained):"
            )
            lines += [f"    {name}{self._nearest(name)}" for name in self.missing_keys]
        if self.mismatched_keys:
            lines.append(f"  {len(self.mismatched_keys)} of another shape, drawn at random:")
            lines += [f"    {name}: file {a}, model {b}" for name, a, b in self.mismatched_keys]
        if self.unexpected_keys:
            lines.append(f"  {len(self.unexpected_keys)} in the file but not in the model, unused:")
            lines += [f"    {name}" for name in self.unexpected_keys]
        if not lines:
            return ""
        return "\n".join([f"{self.model} from {self.source}:", *lines])

    def _nearest(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.unexpected_keys, n=1, cutoff=0.8)
        return f"   (the file has {close[0]})" if close else ""


def load_weights(
    model: Module,
    checkpoint: TensorReader,
    source: str,
    prefix: str,
    ignore_mismatched: bool,
    fill: Callable[[TensorReader, str, Tensor], None] | None = None,
) -> tuple[LoadingReport, set[str]]:
    """Read every parameter of `model` from `checkpoint`, tensor by tensor, into its own memory.

    Args:
        prefix: the name of the base model inside a model with a head ("bert"). A head loads from a
            base checkpoint, and a base model from a head's, by adding or taking away "bert.".
        ignore_mismatched: report arrays of the wrong shape instead of raising ValueError.
        fill: gives a tensor what the checkpoint has under a name; `read_into` if None.

    Returns the report, and the names of all parameters that still need to be drawn.
    """
    report = LoadingReport(type(model).__name__, source)
    own = dict(model.named_state())
    in_file = _named_as_in(own, checkpoint, prefix, report)
    for name, tensor in own.items():
        if name not in in_file:
            continue
        key = in_file[name]
        shape = tuple(checkpoint.info(key).shape)
        if shape != tensor.shape:
            report.mismatched_keys.append((name, shape, tensor.shape))
        else:
            (fill or read_into)(checkpoint, key, tensor)
    if report.mismatched_keys and not ignore_mismatched:
        name, found, expected = report.mismatched_keys[0]
        raise ValueError(
            f"{source}: {name} has shape {found}, the model needs {expected} "
            f"({len(report.mismatched_keys)} such); give the config that belongs to the file, or "
            "ignore_mismatched_sizes=True to draw these at random"
        )
    unset = {name for name in own if name not in in_file and not _is_ignored(name)}
    loaded = {id(own[name]) for name in own if name in in_file}
    report.missing_keys = sorted(name for name in unset if id(own[name]) not in loaded)
    mismatched = {name for name, _, _ in report.mismatched_keys}
    return report, set(report.missing_keys) | mismatched


def read_into(checkpoint: TensorReader, key: str, tensor: Tensor) -> None:
    """Give a tensor the array of a checkpoint, of the same shape, wherever the tensor lives.

    Where the file has the numbers as they are needed, its memory becomes the tensor's own (copy on
    write); elsewhere they are read, and converted, into the memory that the tensor has.
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
    """Model name -> key of the file, for all keys that have a place; the others are reported."""
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
                    f"{report.source}: {in_file[name]} and {key} are both {name} of the model"
                )
            in_file[name] = key
            if name != key:
                report.renamed[key] = name
        elif not _is_ignored(name):
            report.unexpected_keys.append(key)
    return in_file


def _is_ignored(name: str) -> bool:
    return name.rpartition(".")[2] in IGNORED
