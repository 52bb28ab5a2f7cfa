"""The weights of a NeMo Nemotron, a Megatron-core decoder, with the names of Hugging Face.

NeMo keeps queries, keys and values of a layer in one matrix, group by group; here they are
split. The weights of norms are copied unchanged: both libraries scale by weight + 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinybert.formats.nemo.config import nemo_config
from tinybert.weights.reader import TensorInfo, TensorReader

PREFIX = "model."  # in some files all names begin with it
EMBEDDING = "embedding.word_embeddings.weight"
IGNORED = ("_extra_state", "inv_freq")  # states of kernels, and computed angles


class Location(NamedTuple):
    """The location of a tensor in NeMo's file: its name and shape there, and for a part of a fused
    matrix 0, 1 or 2 (queries, keys or values); None for the whole tensor.
    """

    name: str
    shape: tuple[int, ...]
    part: int | None = None


def is_nemo(names: Iterable[str]) -> bool:
    """Return whether these are NeMo's names of a decoder's weights."""
    return any(name.removeprefix(PREFIX) == EMBEDDING for name in names)


def nemo_locations(config: Mapping[str, Any]) -> Iterator[tuple[str, Location]]:
    """Yield the Hugging Face name of every tensor of a Nemotron, and its location in NeMo's file.

    config: from `nemo_config`.
    """
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    width, table = config["head_dim"], (config["vocab_size"], hidden)
    yield "model.embed_tokens.weight", Location(EMBEDDING, table)
    for i in range(config["num_hidden_layers"]):
        theirs, ours = f"decoder.layers.{i}.", f"model.layers.{i}."
        for module, name in (("self_attention.linear_qkv.layer_norm", "input_layernorm"),
                            ("mlp.linear_fc1.layer_norm", "post_attention_layernorm")):  # fmt: skip
            for kind in ("weight", "bias"):
                yield f"{ours}{name}.{kind}", Location(f"{theirs}{module}_{kind}", (hidden,))
        fused = (heads + 2 * groups) * width, hidden
        for module, names, shape, bias in (
            ("self_attention.linear_qkv", ("q_proj", "k_proj", "v_proj"), fused, "attention_bias"),
            ("self_attention.linear_proj", ("o_proj",), (hidden, heads * width), "attention_bias"),
            ("mlp.linear_fc1", ("up_proj",), (inner, hidden), "mlp_bias"),
            ("mlp.linear_fc2", ("down_proj",), (hidden, inner), "mlp_bias"),
        ):
            block = "mlp" if module.startswith("mlp") else "self_attn"
            for kind, size in (("weight", shape), ("bias", shape[:1]))[: 1 + config[bias]]:
                for part, name in enumerate(names):
                    where = Location(f"{theirs}{module}.{kind}", size, part if names[1:] else None)
                    yield f"{ours}{block}.{name}.{kind}", where
    for kind in ("weight", "bias"):
        yield f"model.norm.{kind}", Location(f"decoder.final_layernorm.{kind}", (hidden,))
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", Location("output_layer.weight", table)


class NemoCheckpoint(TensorReader):
    """The weights of a NeMo Nemotron with the names of NemotronForCausalLM; read on access.

    Args:
        reader: the reader of `model_weights.ckpt`; `close` closes it.
        options: the content of its `model_config.yaml`.

    Raises ValueError for options that a Nemotron cannot have, and for tensors that do not match the
    options: missing, superfluous, or of another shape.
    """

    format = "NeMo"

    def __init__(self, reader: TensorReader, options: Mapping[str, Any]) -> None:
        self._reader, self.metadata = reader, reader.metadata
        names = {name.removeprefix(PREFIX): name for name in reader if not name.endswith(IGNORED)}
        table = reader.info(names[EMBEDDING]).shape
        self._config = nemo_config(options, table[0] if table else 0)
        layers = self._config["num_hidden_layers"]
        if layers > len(names):  # before so many locations are made
            raise ValueError(f"num_layers is {layers}, but there are only {len(names)} tensors")
        locations = dict(nemo_locations(self._config))
        _check(reader, names, locations.values())
        self._named = {
            ours: location._replace(name=names[location.name])
            for ours, location in locations.items()
        }

    def model_config(self) -> dict[str, Any]:
        """Return the content of a ``config.json`` for this model."""
        return dict(self._config)

    def __getitem__(self, name: str) -> np.ndarray:
        location = self._location(name)
        array = self._reader[location.name]
        return array if location.part is None else self._unfused(array, location.part)

    def info(self, name: str) -> TensorInfo:
        """Return format, shape and size of a tensor, without reading its data."""
        location = self._location(name)
        info = self._reader.info(location.name)
        if location.part is None:
            return info
        heads, groups = self._heads
        rows = (heads, groups, groups)[location.part] * self._config["head_dim"]
        return TensorInfo(info.dtype, (rows, *info.shape[1:]), info.nbytes * rows // info.shape[0])

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` with a tensor, cast to its dtype."""
        location = self._location(name)
        if location.part is None:
            self._reader.read_into(location.name, out)
        elif out.shape != self.info(name).shape:
            shape = self.info(name).shape
            raise ValueError(f"tensor {name!r} has shape {shape}, out has {out.shape}")
        else:
            np.copyto(out, self[name], casting="same_kind")

    def close(self) -> None:
        """Close the reader. Arrays that were returned stay valid."""
        self._reader.close()

    @property
    def _heads(self) -> tuple[int, int]:
        return self._config["num_attention_heads"], self._config["num_key_value_heads"]

    def _location(self, name: str) -> Location:
        if name not in self._named:
            raise KeyError(f"the NeMo checkpoint has no tensor {name!r}")
        return self._named[name]

    def _unfused(self, fused: np.ndarray, part: int) -> np.ndarray:
        """Return queries (H K, ...), keys or values (G K, ...) of fused rows ((H + 2 G) K, ...).

        Each of the G groups has H / G query heads, then one key head, then one value head.
        """
        heads, groups = self._heads
        share, rest = heads // groups, fused.shape[1:]
        blocks = fused.reshape(groups, share + 2, self._config["head_dim"], *rest)
        taken = blocks[:, :share] if part == 0 else blocks[:, share + part - 1]
        return taken.reshape(-1, *rest)


def _check(reader: TensorReader, names: Mapping[str, str], locations: Iterable[Location]) -> None:
    """Raise ValueError unless the tensors are those of the locations.

    names: name without the prefix -> name in the reader.
    """
    shapes = {location.name: location.shape for location in locations}
    missing = [name for name in shapes if name not in names]
    if missing:
        name = missing[0]
        raise ValueError(
            f"lacks {len(missing)} tensors that a Nemotron with these options has; the first is "
            f"{name!r} of shape {shapes[name]}"
        )
    kept = {names[name] for name in shapes}
    surplus = [name for name in reader if not name.endswith(IGNORED) and name not in kept]
    if surplus:
        raise ValueError(
            f"has {len(surplus)} tensors that a Nemotron with these options does not have; the "
            f"first is {surplus[0]!r:.120} of shape {reader.info(surplus[0]).shape}"
        )
    for name, shape in shapes.items():
        if (found := reader.info(names[name]).shape) != shape:
            raise ValueError(f"tensor {names[name]!r} has shape {found}; the options give {shape}")
