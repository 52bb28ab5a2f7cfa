"""Megatron-LM's checkpoints of BERT, with the names of transformers' MegatronBertForPreTraining.

``model_optim_rng.pt``, alone or in NVIDIA's zip archive (NGC's ``megatron_bert_345m``), is a
PyTorch file of nested dicts. Three things are converted: names, which changed over the years
(``names.py``); the vocabulary, which Megatron-LM pads; and the order of the rows in the fused
matrix of queries, keys and values, which depends on ``checkpoint_version`` (Megatron-LM,
``megatron/checkpointing.py``).
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.files import check_nesting, read_regular
from tinybert.formats.megatron.arguments import options_of
from tinybert.formats.megatron.names import (
    HEADS,
    LAYER,
    LM_BIAS,
    POSITIONS,
    SEGMENTS,
    WORDS,
    Location,
    latest_names,
    locations_of,
)
from tinybert.formats.megatron.ranks import joined, stages_of
from tinybert.formats.torch.bytes import FileBytes
from tinybert.formats.torch.file import megatron_members, open_torch
from tinybert.formats.torch.pickle import Record
from tinybert.formats.torch.tensor import LazyTensor
from tinybert.weights.dtypes import FORMATS
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import TensorInfo, TensorReader
from tinybert.weights.strict_json import parse_json

_PARALLEL = ("tensor_model_parallel_size", "pipeline_model_parallel_size", "model_parallel_size")


class MegatronLMFile(TensorReader):
    """One Megatron-LM checkpoint of BERT, alone or in an NGC zip; a tensor is read on access.

    A model that was split over devices is joined: ``path`` is the file of any of its parts (see
    ``ranks.py``).

    The order of names does not depend on that of the file. Word embeddings and the bias of the
    prediction head are truncated to one vocabulary size. ``cls.predictions.decoder.weight`` has the
    values of the word embeddings; heads that the file does not have are omitted.

    Sizes come from the tensors. The number of heads comes from the arguments in the file, else from
    a ``config.json`` next to it, else it is 16 if the model has 1024 hidden units, as the published
    models have; the vocabulary size likewise, else it is that of ``lm_head.bias``.

    The epsilon of the norms, the activation and the dropouts come from the arguments too (see
    ``arguments.py``), else from the ``config.json``.

    Raises CheckpointError for a malformed file, for a model other than BERT, for tensors that are
    missing, unknown or of the wrong shape, for arguments that MegatronBERT does not have, and if
    parts of a model that was split over devices are missing.
    """

    format = "Megatron-LM"
    merges_config = True  # `model_config` has the options of the config.json in the folder

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._files: list[FileBytes] = []
        try:
            if len(members := megatron_members(self.path)) > 1:
                raise ValueError(_split_in(len(members), "extract the archive, and open one part"))
            stages = stages_of(self.path)
            parts = [[self._open(path) for path in ranks] for ranks in stages]
            saved = parts[0][0]
            self._version = _version(saved)
            args = _arguments(saved, len(stages[0]), len(stages))
            for part in (part for ranks in parts for part in ranks):
                if _version(part) != self._version:
                    raise ValueError("its parts have different values of checkpoint_version")
            named = [[latest_names(part["model"]) for part in ranks] for ranks in parts]
            self._tensors = joined(named, self._version)
            self._config = _config(self._tensors, args, _folder_config(self.path))
            self._named = locations_of(self._tensors, self._config)
        except BaseException as error:
            self.close()
            if isinstance(error, ValueError) and not isinstance(error, CheckpointError):
                raise CheckpointError(self.path, str(error)) from None
            raise
        self.metadata = {"checkpoint_version": str(self._version)}

    def _open(self, path: str | os.PathLike[str]) -> Any:
        """Return what a file stores, and keep the file open."""
        saved, file = open_torch(path)
        self._files.append(file)
        return saved

    def model_config(self) -> dict[str, Any]:
        """Return the configuration in the form of a Hugging Face ``config.json``."""
        return dict(self._config)

    def close(self) -> None:
        """Close the files. Arrays that were returned stay valid."""
        for file in self._files:
            file.close()

    def info(self, name: str) -> TensorInfo:
        """Return format, shape and size in bytes of a tensor, without reading its data."""
        location = self._location(name)
        stored = self._tensors[location.name].info
        width = stored.nbytes // max(1, math.prod(stored.shape))
        return TensorInfo(stored.dtype, location.shape, math.prod(location.shape) * width)

    def __getitem__(self, name: str) -> np.ndarray:
        location = self._location(name)
        array = self._part(self._tensors[location.name].read(), location)
        array.flags.writeable = False
        return array

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` with a tensor, cast to its dtype; see ``TensorReader.read_into``."""
        location = self._location(name)
        tensor = self._tensors[location.name]
        if tensor.info.shape == out.shape == location.shape:
            tensor.read_into(out)
            return
        if out.shape != location.shape:
            raise ValueError(f"tensor {name!r:.99} has shape {location.shape}, out has {out.shape}")
        whole = np.empty(tensor.info.shape, FORMATS[tensor.info.dtype].array)
        tensor.read_into(whole)
        np.copyto(out, self._part(whole, location), casting="same_kind")

    def _part(self, whole: np.ndarray, location: Location) -> np.ndarray:
        """Return the part of the stored array that belongs to the tensor."""
        if location.third is not None:
            whole = _third(
                whole, location.third, self._version, self._config["num_attention_heads"]
            )
        return whole[: location.shape[0]]

    def _location(self, name: str) -> Location:
        if name not in self._named:
            raise KeyError(f"{self.path} has no tensor {name!r:.200}")
        return self._named[name]


def _third(fused: np.ndarray, third: int, version: float, heads: int) -> np.ndarray:
    """Return queries (0), keys (1) or values (2): D of the 3 D rows of a fused matrix or bias.

    With n heads of size k the order of the rows is (3, n, k) up to version 0, (n, k, 3) in version
    1 and (n, 3, k) since version 2.
    """
    size, rest = fused.shape[0] // (3 * heads), fused.shape[1:]
    if version >= 2:
        part = fused.reshape(heads, 3, size, *rest)[:, third]
    elif version == 1:
        part = fused.reshape(heads, size, 3, *rest)[:, :, third]
    else:
        part = fused.reshape(3, heads, size, *rest)[third]
    return part.reshape(heads * size, *rest)


def _split_in(count: Any, advice: str) -> str:
    return (
        f"is one of {count} parts of a model that was split over devices (tensor or pipeline "
        f"parallel): {advice}"
    )


def _version(saved: Any) -> float:
    if type(saved) is not dict or type(saved.get("model")) is not dict:
        raise ValueError("is not a Megatron-LM checkpoint: it has no 'model'")
    version = saved.get("checkpoint_version", 0)
    # Versions between these were never released; transformers' converter treats them as 0.
    if type(version) not in (int, float) or not (version in (0, 1) or version >= 2):
        raise ValueError(f"has checkpoint_version {version!r:.40}; 0, 1, 2 and later are known")
    return float(version)


def _arguments(saved: dict[str, Any], shards: int, stages: int) -> dict[str, Any]:
    """Return the stored arguments of the training run by name; {} if there are none.

    Raises ValueError if they say that there are more parts than the shards and stages found.
    """
    args = saved.get("args")
    found = args.state if type(args) is Record else args
    found = found if type(found) is dict else {}
    for name in _PARALLEL:
        here = stages if name.startswith("pipeline") else shards
        if type(count := found.get(name)) is int and count > here:
            raise ValueError(
                _split_in(count, "put all into one folder, as mp_rank_00/model_optim_rng.pt, ...")
            )
        if type(count) is int and count < here:
            raise ValueError(
                f"its arguments say {name} {count}, but its folder has parts of {here} ranks"
            )
    return found


def _folder_config(path: str) -> dict[str, Any]:
    """Return the config.json in the file's folder, if it is that of a MegatronBERT; else {}."""
    file = Path(path).parent / "config.json"
    if not file.exists():
        return {}
    try:
        options = parse_json(read_regular(file, error=CheckpointError))
        check_nesting(options)
    except ValueError as error:
        raise CheckpointError(file, str(error)) from None
    known = type(options) is dict and options.get("model_type") == "megatron-bert"
    return options if known else {}


def _config(
    tensors: Mapping[str, LazyTensor], args: dict[str, Any], folder_config: dict[str, Any]
) -> dict[str, Any]:
    """Return Hugging Face's configuration, with the sizes of the tensors; ValueError if they
    contradict the arguments.
    """
    shapes = {name: tensor.info.shape for name, tensor in tensors.items()}
    for name, what in ((WORDS, "word"), (POSITIONS, "position"), (SEGMENTS, "token type")):
        if len(shapes.get(name, ())) != 2:
            raise ValueError(f"has no {what} embeddings, so it is not a BERT of Megatron-LM")
    rows, hidden = shapes[WORDS]
    inner = shapes.get("layers.0.mlp.dense_h_to_4h.bias", ())
    sizes = {
        "hidden_size": hidden,
        "num_hidden_layers": len({match[1] for match in map(LAYER.fullmatch, shapes) if match}),
        "intermediate_size": inner[0] if inner else 4 * hidden,
        "max_position_embeddings": shapes[POSITIONS][0],
        "type_vocab_size": shapes[SEGMENTS][0],
    }
    for key, name in (("num_hidden_layers", "num_layers"), ("intermediate_size", "ffn_hidden_size"),
                      ("hidden_size",) * 2, ("max_position_embeddings",) * 2):  # fmt: skip
        if args.get(name) not in (None, sizes[key]):
            raise ValueError(
                f"its arguments say {name} {args[name]!r:.40}, its tensors {sizes[key]}"
            )
    vocabulary = args.get("padded_vocab_size") or folder_config.get("vocab_size")
    if vocabulary is None:
        vocabulary = shapes.get(LM_BIAS, (rows,))[0]
    if type(vocabulary) is not int or vocabulary < 1:
        raise ValueError(f"its vocabulary has a size of {vocabulary!r:.40}")
    complete = all(any(name.startswith(head) for name in shapes) for head in HEADS)
    config = {
        **folder_config,
        "model_type": "megatron-bert",
        "architectures": ["MegatronBertForPreTraining" if complete else "MegatronBertModel"],
        "vocab_size": vocabulary,
        **sizes,
        "num_attention_heads": _heads(args, folder_config, hidden),
        **_agreed(options_of(args, LM_BIAS in shapes), folder_config),
    }
    tokenizer = args.get("tokenizer_type")
    return config | ({"tokenizer_type": tokenizer} if type(tokenizer) is str else {})


def _agreed(options: dict[str, Any], folder_config: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the arguments; ValueError if the config.json has other values."""
    for name in ("layer_norm_eps", "hidden_act"):
        value, other = options.get(name), folder_config.get(name)
        if value is not None and other not in (None, value):
            raise ValueError(
                f"its arguments say {name} {value!r}, the config.json in its folder {other!r:.40}: "
                "correct the config.json"
            )
    return options


def _heads(args: dict[str, Any], folder_config: dict[str, Any], hidden: int) -> int:
    """Return the number of attention heads, which the tensors do not determine."""
    heads = args.get("num_attention_heads") or folder_config.get("num_attention_heads")
    if heads is None and hidden == 1024:  # the 345M model, as NVIDIA published it
        heads = 16
    if heads is None:
        raise ValueError(
            "does not say how many attention heads the model has: put a config.json in its folder, "
            'with "model_type": "megatron-bert" and "num_attention_heads"'
        )
    if type(heads) is not int or heads < 1 or hidden % heads:
        raise ValueError(f"{heads!r:.40} attention heads cannot share {hidden} hidden units")
    return heads
