"""From NeMo's names to those of Hugging Face, for Nemotron: the weights of a Megatron-core decoder
and the options that belong to them.

NeMo keeps queries, keys and values of a layer in one matrix, group by group; here they are taken
apart. The weights of norms are copied as they are: both sides scale by weight + 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinybert.checkpoints.reader import TensorInfo, TensorReader

# NeMo's name of an option, and Hugging Face's.
OPTIONS = {
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "ffn_hidden_size": "intermediate_size",
    "num_attention_heads": "num_attention_heads",
    "num_query_groups": "num_key_value_heads",
    "max_position_embeddings": "max_position_embeddings",
    "rotary_percentage": "partial_rotary_factor",
    "rotary_base": "rope_theta",
    "layernorm_epsilon": "norm_eps",
    "init_method_std": "initializer_range",
    "kv_channels": "kv_channels",
    "share_embeddings_and_output_weights": "tie_word_embeddings",
    "attention_dropout": "attention_dropout",
}
ACTIVATIONS = {"squared-relu": "relu2", "fast-swiglu": "silu"}

EMBEDDING = "embedding.word_embeddings.weight"
NAMES = {
    EMBEDDING: "model.embed_tokens.weight",
    "decoder.final_layernorm.weight": "model.norm.weight",
    "decoder.final_layernorm.bias": "model.norm.bias",
    "output_layer.weight": "lm_head.weight",
}
# Of a layer; {0} is "weight" or "bias".
LAYER_NAMES = {
    "self_attention.linear_proj.{0}": "self_attn.o_proj.{0}",
    "self_attention.linear_qkv.layer_norm_{0}": "input_layernorm.{0}",
    "mlp.linear_fc1.layer_norm_{0}": "post_attention_layernorm.{0}",
    "mlp.linear_fc1.{0}": "mlp.up_proj.{0}",
    "mlp.linear_fc2.{0}": "mlp.down_proj.{0}",
}
OF_A_LAYER = {
    theirs.format(kind): ours.format(kind)
    for theirs, ours in LAYER_NAMES.items()
    for kind in ("weight", "bias")
}
QKV = "self_attention.linear_qkv."
IGNORED = ("_extra_state", "inv_freq")  # states of kernels, and angles that are computed


def nemo_config(options: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """The options of a NemotronConfig for those of a NeMo `model_config.yaml`, as a dict.

    `vocab_size` is the number of rows of the embedding, which NeMo does not write down. Raises
    ValueError for an option that is missing or an activation that Nemotron does not have.
    """
    missing = [
        name
        for name in ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads")
        if options.get(name) is None
    ]
    if missing:
        raise ValueError(f"the NeMo config lacks {', '.join(missing)}")
    found = {
        ours: options[theirs] for theirs, ours in OPTIONS.items() if options.get(theirs) is not None
    }
    found.setdefault("max_position_embeddings", options.get("encoder_seq_length") or 4096)
    found.setdefault("partial_rotary_factor", 1.0)
    found.setdefault("tie_word_embeddings", False)
    activation = options.get("activation", "squared-relu")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
    if "kv_channels" in found:
        found["head_dim"] = found["kv_channels"]  # the only name of the size of a head that counts
    bias = bool(options.get("bias", False))
    return {
        "model_type": "nemotron",
        "vocab_size": vocab_size,
        "hidden_act": ACTIVATIONS[activation],
        "attention_bias": bias,
        "mlp_bias": bias,
        **found,
    }


def nemo_to_hugging_face(
    arrays: Mapping[str, np.ndarray], num_attention_heads: int, num_key_value_heads: int
) -> dict[str, np.ndarray]:
    """The weights of a NeMo Nemotron under the names of NemotronForCausalLM.

    Args:
        arrays: by NeMo's names, with or without "model." in front; a lazy reader will do.
        num_attention_heads, num_key_value_heads: H and G.

    Raises ValueError for names that a Nemotron does not have, and for rows that do not fit H and G.
    """
    return {
        ours: arrays[place.name]
        if place.part is None
        else _apart(place.name, arrays[place.name], num_attention_heads, num_key_value_heads)[
            place.part
        ]
        for ours, place in nemo_places(arrays).items()
    }


class Place(NamedTuple):
    """Where a tensor is in NeMo's file: its name there, and of a joined one 0, 1 or 2 for queries,
    keys or values; None for all of it.
    """

    name: str
    part: int | None = None


def is_nemo(names: Iterable[str]) -> bool:
    """Whether these are NeMo's names of a decoder's weights."""
    return any(name.removeprefix("model.") == EMBEDDING for name in names)


def nemo_places(names: Iterable[str]) -> dict[str, Place]:
    """Hugging Face's name of every tensor, and where it is among NeMo's `names`.

    Raises ValueError for names that a Nemotron does not have.
    """
    found: dict[str, Place] = {}
    unknown = []
    for name in names:
        key = name.removeprefix("model.")
        if key.endswith(IGNORED):
            continue
        match = re.fullmatch(r"decoder\.layers\.(\d+)\.(.+)", key)
        if key in NAMES:
            found[NAMES[key]] = Place(name)
        elif match and match[2] in OF_A_LAYER:
            found[f"model.layers.{match[1]}.{OF_A_LAYER[match[2]]}"] = Place(name)
        elif match and match[2] in (QKV + "weight", QKV + "bias"):
            kind = match[2].removeprefix(QKV)
            for part, letter in enumerate("qkv"):
                ours = f"model.layers.{match[1]}.self_attn.{letter}_proj.{kind}"
                found[ours] = Place(name, part)
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"{len(unknown)} names are not those of a NeMo Nemotron, the first is {unknown[0]!r}"
        )
    return found


class NemoCheckpoint(TensorReader):
    """The weights of a NeMo Nemotron under the names of NemotronForCausalLM, as lazy as the reader
    beneath.

    Args:
        reader: of `model_weights.ckpt`; closing this leaves it open.
        options: of the `model_config.yaml` that belongs to it.

    Raises ValueError for names that a Nemotron does not have and for options that are missing.
    """

    format = "NeMo"

    def __init__(self, reader: TensorReader, options: Mapping[str, Any]) -> None:
        self._reader, self.metadata = reader, reader.metadata
        self._places = nemo_places(reader)
        rows = reader.info(self._places[NAMES[EMBEDDING]].name).shape[0]
        self._config = nemo_config(options, rows)
        heads = self._config["num_attention_heads"]
        self._heads = heads, self._config.get("num_key_value_heads") or heads

    def model_config(self) -> dict[str, Any]:
        """The configuration as a ``config.json`` of Hugging Face has it."""
        return dict(self._config)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> np.ndarray:
        place = self._places[name]
        array = self._reader[place.name]
        return array if place.part is None else _apart(place.name, array, *self._heads)[place.part]

    def info(self, name: str) -> TensorInfo:
        """Format, shape and size of a tensor; its data are not touched."""
        place = self._places[name]
        info = self._reader.info(place.name)
        if place.part is None:
            return info
        heads, groups = self._heads
        rows = info.shape[0] * (heads, groups, groups)[place.part] // (heads + 2 * groups)
        return TensorInfo(info.dtype, (rows, *info.shape[1:]), info.nbytes * rows // info.shape[0])

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` with a tensor, cast to its dtype."""
        if self._places[name].part is None:
            self._reader.read_into(self._places[name].name, out)
        else:
            out[...] = self[name]

    def close(self) -> None:
        """Nothing: the reader belongs to whoever opened it."""


def _apart(name: str, joined: np.ndarray, heads: int, groups: int) -> list[np.ndarray]:
    """Queries (H K, ...), keys and values (G K, ...) out of rows ((H + 2 G) K, ...).

    Each of the G groups has its H / G heads of queries, then one of keys, then one of values.
    """
    if groups < 1 or heads % groups or joined.shape[0] % (heads + 2 * groups):
        raise ValueError(
            f"{name} has {joined.shape[0]} rows, which {heads} heads of queries and {groups} of "
            "keys and values do not divide into"
        )
    share, rest = heads // groups, joined.shape[1:]
    blocks = joined.reshape(groups, share + 2, joined.shape[0] // (heads + 2 * groups), *rest)
    parts = (blocks[:, :share], blocks[:, share], blocks[:, share + 1])
    return [part.reshape(-1, *rest) for part in parts]
