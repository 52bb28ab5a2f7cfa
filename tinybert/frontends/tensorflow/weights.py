"""The weights under TensorFlow's names, and files of them.

    tf_bert_model/bert/encoder/layer_._0/attention/self/query/kernel:0

A kernel is (in, out), the transposed weight of a linear layer.

Oracle   transformers 4.57, `modeling_tf_pytorch_utils.py`; files of Keras 2, `hdf5_format.py`
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinybert.atomic import saving
from tinybert.autograd import Tensor, as_tensor, no_grad
from tinybert.frontends.files import H5, older_weights
from tinybert.nn import Parameter
from tinybert.weights import save_sharded

# The parts of a model whose order Keras has otherwise.
_ORDER = (
    *("word_embeddings", "token_type_embeddings", "position_embeddings", "embeddings.LayerNorm"),
    *("encoder", "pooler", "seq_relationship", "predictions"),
)


class Variable(NamedTuple):
    """A weight as TensorFlow's models have it: a view of a parameter.

    Attributes:
        name: of Keras, with ":0" at its end.
        parameter: the weight of the model.
        is_kernel: whether the parameter is the transposed of the variable.
    """

    name: str
    parameter: Parameter
    is_kernel: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the variable."""
        return self.parameter.shape[::-1] if self.is_kernel else self.parameter.shape

    @property
    def grad(self) -> Tensor | None:
        """The gradient of the last backward pass, in the shape of the variable."""
        grad = self.parameter.grad
        return grad.transpose(0, 1) if grad is not None and self.is_kernel else grad

    def numpy(self) -> np.ndarray:
        """Return the values, on the CPU."""
        array = self.parameter.numpy()
        return np.ascontiguousarray(array.T) if self.is_kernel else array

    def assign(self, value: Any) -> None:
        """Overwrite the values. Raises ValueError for another shape."""
        new = as_tensor(value, self.parameter.device)
        if new.shape != self.shape:
            raise ValueError(f"{self.name} has shape {self.shape}, got {new.shape}")
        with no_grad():
            self.parameter[...] = new.transpose(0, 1) if self.is_kernel else new


def variables(model: Any) -> list[Variable]:
    """Return all weights of a TFBert model in the order of Keras; a tied weight once."""
    found = []
    is_base = model.base_model is model
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        is_kernel = parts[-1] == "weight" and parts[-2] != "LayerNorm" and parameter.ndim == 2
        is_kernel = is_kernel and not parts[-2].endswith("_embeddings")
        full = f"{model.name}/bert/" if is_base else f"{model.name}/"
        found.append(Variable(full + _path(parts, is_kernel), parameter, is_kernel))
    return sorted(found, key=_place)  # a stable sort: parts keep their order inside


def _path(parts: list[str], is_kernel: bool) -> str:
    """Return the name without the model's, from the parts of a PyTorch name."""
    *modules, last = parts
    if is_kernel:
        last = "kernel"
    elif modules[-1] == "LayerNorm":
        last = {"weight": "gamma", "bias": "beta"}[last]
    elif modules[-1] in ("token_type_embeddings", "position_embeddings"):
        last = "embeddings"
    path = "/".join([*modules, last]).replace("/layer/", "/layer_._")
    path = path.replace("cls/predictions/", "mlm___cls/predictions/")
    return path.replace("cls/seq_relationship/", "nsp___cls/seq_relationship/") + ":0"


def _place(variable: Variable) -> int:
    name = variable.name.partition("/")[2].replace("/", ".")
    return next((i for i, part in enumerate(_ORDER) if part in name), len(_ORDER))


# --- files ----------------------------------------------------------------------------------------


def save_weights(
    model: Any,
    folder: str | os.PathLike[str],
    max_shard_size: int | str,
    dtype: str | None,
    safe_serialization: bool | None,
) -> None:
    """Save config and weights; see `TFBertPreTrainedModel.save_pretrained`."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"folder {str(folder)!r} exists and is not a folder")
    if safe_serialization is None:
        safe_serialization = importlib.util.find_spec("h5py") is None
    model.config.to_json_string()  # raises now, before anything is written
    with saving(path, older_weights) as new:
        if safe_serialization:
            tensors = {v.name.partition("/")[2]: v.numpy() for v in model.weights}
            save_sharded(tensors, new, max_shard_size, {"format": "tf"}, dtype)
        elif dtype is not None:
            raise ValueError(f"dtype={dtype!r} needs safe_serialization=True")
        else:
            _write_h5(model, new / H5)
        model.save_extras(new)
        model.config.save_pretrained(new)


def _write_h5(model: Any, path: Path) -> None:
    """Write a file as Keras does: a group for each layer, which lists its weights in order."""
    try:
        import h5py
    except ImportError:
        raise ImportError(
            f'{path.name} needs h5py: pip install "tinybert[tf]", or safe_serialization=True'
        ) from None
    layers: dict[str, list[Variable]] = {}
    for variable in model.weights:
        layers.setdefault(variable.name.split("/")[1], []).append(variable)
    if "mlm___cls" in layers:  # Keras counts the embeddings to both layers that use them
        layers["mlm___cls"] += [v for v in layers["bert"] if "/embeddings/" in v.name]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = list(layers)
        file.attrs["backend"], file.attrs["keras_version"] = "tensorflow", "2.15.1"
        for layer, members in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [variable.name for variable in members]
            for variable in members:
                group.create_dataset(variable.name, data=variable.numpy())
