"""From NeMo's names to those of Hugging Face, for Nemotron: the weights of a Megatron-core decoder.

NeMo keeps queries, keys and values of a layer in one matrix, group by group; here they are taken
apart. The weights of norms are copied as they are: both sides scale by weight + 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinybert.formats.nemo.config import nemo_config
from tinybert.weights.reader import TensorInfo, TensorReader

PREFIX = "model."  # of all names, in some files
EMBEDDING = "embedding.word_embeddings.weight"
IGNORED = ("_extra_state", "inv_freq")  # states of kernels, and angles that are computed


class Place(NamedTuple):
    """Where a tensor is in NeMo's file: its name there, the shape of what has this name, and of a
    joined one 0, 1 or 2 for queries, keys or values; None for all of it.
    """

    name: str
    shape: tuple[int, ...]
    part: int | None = None


def is_nemo(names: Iterable[str]) -> bool:
    """Whether these are NeMo's names of a decoder's weights."""
    return any(name.removeprefix(PREFIX) == EMBEDDING for name in names)


def nemo_places(config: Mapping[str, Any]) -> Iterator[tuple[str, Place]]:
    """Hugging Face's name of every tensor that a Nemotron has, and where it is in NeMo's file.

    config: as `nemo_config` makes it.
    """
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    width, table = config["head_dim"], (config["vocab_size"], hidden)
    yield "model.embed_tokens.weight", Place(EMBEDDING, table)
    for i in range(config["num_hidden_layers"]):
        theirs, ours = f"decoder.layers.{i}.", f"model.layers.{i}."
        for place, name in (("self_attention.linear_qkv.layer_norm", "input_layernorm"),
                            ("mlp.linear_fc1.layer_norm", "post_attention_layernorm")):  # fmt: skip
            for kind in ("weight", "bias"):
                yield f"{ours}{name}.{kind}", Place(f"{theirs}{place}_{kind}", (hidden,))
        joined = (heads + 2 * groups) * width, hidden
        for place, names, shape, bias in (
            ("self_attention.linear_qkv", ("q_proj", "k_proj", "v_proj"), joined, "attention_bias"),
            ("self_attention.linear_proj", ("o_proj",), (hidden, heads * width), "attention_bias"),
            ("mlp.linear_fc1", ("up_proj",), (inner, hidden), "mlp_bias"),
            ("mlp.linear_fc2", ("down_proj",), (hidden, inner), "mlp_bias"),
        ):
            block = "mlp" if place.startswith("mlp") else "self_attn"
            for kind, size in (("weight", shape), ("bias", shape[:1]))[: 1 + config[bias]]:
                for part, name in enumerate(names):
                    where = Place(f"{theirs}{place}.{kind}", size, part if names[1:] else None)
                    yield f"{ours}{block}.{name}.{kind}", where
    for kind in ("weight", "bias"):
        yield f"model.norm.{kind}", Place(f"decoder.final_layernorm.{kind}", (hidden,))
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", Place("output_layer.weight", table)


class NemoCheckpoint(TensorReader):
    """The weights of a NeMo Nemotron with the names of NemotronForCausalLM; read on access.

    Args:
        reader: of `model_weights.ckpt`; it is closed together with this one.
        options: of its `model_config.yaml`.

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
        if layers > len(names):  # before as many places are made
            raise ValueError(f"num_layers is {layers}, and there are {len(names)} tensors in all")
        places = dict(nemo_places(self._config))
        _check(reader, names, places.values())
        self._places = {
            ours: place._replace(name=names[place.name]) for ours, place in places.items()
        }

    def model_config(self) -> dict[str, Any]:
        """Return the content of a ``config.json`` for this model."""
        return dict(self._config)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> np.ndarray:
        place = self._place(name)
        array = self._reader[place.name]
        return array if place.part is None else self._apart(array, place.part)

    def info(self, name: str) -> TensorInfo:
        """Format, shape and size of a tensor; its data are not touched."""
        place = self._place(name)
        info = self._reader.info(place.name)
        if place.part is None:
            return info
        heads, groups = self._heads
        rows = (heads, groups, groups)[place.part] * self._config["head_dim"]
        return TensorInfo(info.dtype, (rows, *info.shape[1:]), info.nbytes * rows // info.shape[0])

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` with a tensor, cast to its dtype."""
        place = self._place(name)
        if place.part is None:
            self._reader.read_into(place.name, out)
        elif out.shape != self.info(name).shape:
            shape = self.info(name).shape
            raise ValueError(f"tensor {name!r} has shape {shape}, out has {out.shape}")
        else:
            np.copyto(out, self[name], casting="same_kind")

    def close(self) -> None:
        """Close the reader beneath. Arrays that were handed out stay valid."""
        self._reader.close()

    @property
    def _heads(self) -> tuple[int, int]:
        return self._config["num_attention_heads"], self._config["num_key_value_heads"]

    def _place(self, name: str) -> Place:
        if name not in self._places:
            raise KeyError(f"the NeMo checkpoint has no tensor {name!r}")
        return self._places[name]

    def _apart(self, joined: np.ndarray, part: int) -> np.ndarray:
        """Queries (H K, ...), keys or values (G K, ...) out of rows ((H + 2 G) K, ...).

        Each of the G groups has its H / G heads of queries, then one of keys, then one of values.
        """
        heads, groups = self._heads
        share, rest = heads // groups, joined.shape[1:]
        blocks = joined.reshape(groups, share + 2, self._config["head_dim"], *rest)
        taken = blocks[:, :share] if part == 0 else blocks[:, share + part - 1]
        return taken.reshape(-1, *rest)


def _check(reader: TensorReader, names: Mapping[str, str], places: Iterable[Place]) -> None:
    """Raise ValueError unless the tensors are those of the places.

    names: what each is called in the reader, by its name without the prefix.
    """
    shapes = {place.name: place.shape for place in places}
    missing = [name for name in shapes if name not in names]
    if missing:
        name = missing[0]
        raise ValueError(
            f"lacks {len(missing)} tensors that a Nemotron of these options has, the first is "
            f"{name!r} of shape {shapes[name]}"
        )
    kept = {names[name] for name in shapes}
    surplus = [name for name in reader if not name.endswith(IGNORED) and name not in kept]
    if surplus:
        raise ValueError(
            f"has {len(surplus)} tensors that a Nemotron of these options does not have, the first "
            f"is {surplus[0]!r:.120} of shape {reader.info(surplus[0]).shape}"
        )
    for name, shape in shapes.items():
        if (found := reader.info(names[name]).shape) != shape:
            raise ValueError(f"tensor {names[name]!r} has shape {found}; by the options {shape}")
