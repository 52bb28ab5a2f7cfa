"""The tensor names of a Megatron-LM BERT, in three spellings, with the corresponding names and
shapes of Hugging Face's MegatronBertForPreTraining.

Names: https://github.com/NVIDIA/Megatron-LM, ``megatron/model``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tinybert.formats.torch.tensor import LazyTensor

LAYER = re.compile(r"layers\.(0|[1-9]\d{0,4})\.(.+)")
WORDS = "language_model.embedding.word_embeddings.weight"
POSITIONS = "language_model.embedding.position_embeddings.weight"
SEGMENTS = "language_model.embedding.tokentype_embeddings.weight"
LM_BIAS = "lm_head.bias"
HEADS = ("lm_head.", "binary_head.", "language_model.pooler.")  # a file may lack them

# Names in the latest spelling -> Hugging Face's: inside a layer, without .weight and .bias,
_IN_LAYER = {
    "input_norm": "attention.ln",
    "attention.dense": "attention.output.dense",
    "post_attention_norm": "ln",
    "mlp.dense_h_to_4h": "intermediate.dense",
    "mlp.dense_4h_to_h": "output.dense",
}
# ... of the embeddings,
_WORDS_OF_BERT = "bert.embeddings.word_embeddings.weight"
_EMBEDDINGS = {
    WORDS: _WORDS_OF_BERT,
    POSITIONS: "bert.embeddings.position_embeddings.weight",
    SEGMENTS: "bert.embeddings.token_type_embeddings.weight",
}
# ... and of the last norm, the pooler and the heads.
_AFTER_LAYERS = {
    "final_norm.weight": "bert.encoder.ln.weight",
    "final_norm.bias": "bert.encoder.ln.bias",
    "language_model.pooler.dense.weight": "bert.pooler.dense.weight",
    "language_model.pooler.dense.bias": "bert.pooler.dense.bias",
    LM_BIAS: "cls.predictions.bias",
    "lm_head.dense.weight": "cls.predictions.transform.dense.weight",
    "lm_head.dense.bias": "cls.predictions.transform.dense.bias",
    "lm_head.norm.weight": "cls.predictions.transform.LayerNorm.weight",
    "lm_head.norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "binary_head.weight": "cls.seq_relationship.weight",
    "binary_head.bias": "cls.seq_relationship.bias",
}
_TIED = "cls.predictions.decoder.weight"  # the same as the word embeddings


class Location(NamedTuple):
    """The location of a Hugging Face tensor in the file: the stored name, in the latest spelling;
    the shape of the tensor; and of a fused matrix of queries, keys and values, which third it is.
    """

    name: str
    shape: tuple[int, ...]
    third: int | None = None

    @property
    def stored(self) -> tuple[int, ...]:
        """The shape of the whole tensor in the file."""
        rows, *rest = self.shape
        return (rows if self.third is None else 3 * rows, *rest)


def latest_names(model: dict[str, Any]) -> dict[str, LazyTensor]:
    """Return the tensors of nested dicts by their dotted names, in the latest of three spellings.

    The first has ``transformer.layers.0.attention`` and ``input_layernorm``, the second ``encoder``
    and ``self_attention``, the third ``input_norm``. Raises ValueError for a name in two spellings.
    """
    tensors: dict[str, LazyTensor] = {}
    for dotted, tensor in _flat(model, ""):
        name = re.sub(r"^language_model\.(transformer|encoder)\.", "", dotted)
        name = name.replace(".self_attention.", ".attention.").replace("layernorm.", "norm.")
        if name in tensors:
            raise ValueError(f"holds tensor {name!r:.80} twice, in two spellings")
        tensors[name] = tensor
    return tensors


def _flat(value: dict[Any, Any], prefix: str) -> Iterator[tuple[str, LazyTensor]]:
    for key, item in value.items():
        if type(item) is dict:
            yield from _flat(item, f"{prefix}{key}.")
        elif type(item) is LazyTensor:
            yield f"{prefix}{key}", item


def locations_of(tensors: Mapping[str, LazyTensor], config: dict[str, Any]) -> dict[str, Location]:
    """Return the location of each tensor by its Hugging Face name, from embeddings to heads.

    Raises ValueError for a tensor that is missing, has the wrong shape, or does not belong to a
    BERT: no tensor is silently ignored.
    """
    locations = _embeddings(config)
    for layer in range(config["num_hidden_layers"]):
        locations |= _in_layer(layer, config)
    locations |= _after_layers(config)
    absent = tuple(head for head in HEADS if not any(name.startswith(head) for name in tensors))
    needed = {p.name: p.stored for p in locations.values() if not p.name.startswith(absent)}
    for name, shape in needed.items():
        if name not in tensors:
            raise ValueError(f"lacks tensor {name!r}")
        _check_shape(name, tensors[name].info.shape, shape)
    for name in tensors:
        if name not in needed:
            raise ValueError(f"has a tensor {name!r:.80}, which Megatron-LM's BERT does not have")
    if LM_BIAS in tensors:
        locations[_TIED] = locations[_WORDS_OF_BERT]
    return {name: location for name, location in locations.items() if location.name in tensors}


def _check_shape(name: str, found: tuple[int, ...], needed: tuple[int, ...]) -> None:
    # The tables of the vocabulary may be padded with rows that are never looked up.
    spare = name in (WORDS, LM_BIAS) and found[:1] > needed[:1]
    if found != needed and not (spare and found[1:] == needed[1:]):
        raise ValueError(
            f"tensor {name!r} has shape {found}, expected {needed}; the model may have been split "
            "over devices, and this be one part of it"
        )


def _embeddings(config: dict[str, Any]) -> dict[str, Location]:
    rows = {WORDS: "vocab_size", POSITIONS: "max_position_embeddings", SEGMENTS: "type_vocab_size"}
    return {
        new: Location(name, (config[rows[name]], config["hidden_size"]))
        for name, new in _EMBEDDINGS.items()
    }


def _after_layers(config: dict[str, Any]) -> dict[str, Location]:
    """Return the locations of the last norm, the pooler and the heads."""
    hidden = config["hidden_size"]
    sizes = {
        LM_BIAS: (config["vocab_size"],),
        "binary_head.weight": (2, hidden),
        "binary_head.bias": (2,),
    }
    locations = {}
    for name, new in _AFTER_LAYERS.items():
        usual = (hidden, hidden) if name.endswith("dense.weight") else (hidden,)
        locations[new] = Location(name, sizes.get(name, usual))
    return locations


def _in_layer(layer: int, config: dict[str, Any]) -> dict[str, Location]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    sizes: dict[str, tuple[int, ...]] = {
        "attention.dense": (hidden, hidden),
        "mlp.dense_h_to_4h": (inner, hidden),
        "mlp.dense_4h_to_h": (hidden, inner),
    }
    here, there = f"layers.{layer}.", f"bert.encoder.layer.{layer}."
    locations = {}
    for third, role in enumerate(("query", "key", "value")):
        new, fused = f"{there}attention.self.{role}", f"{here}attention.query_key_value"
        locations[f"{new}.weight"] = Location(f"{fused}.weight", (hidden, hidden), third)
        locations[f"{new}.bias"] = Location(f"{fused}.bias", (hidden,), third)
    for old, new in _IN_LAYER.items():
        size = sizes.get(old, (hidden,))
        locations[f"{there}{new}.weight"] = Location(f"{here}{old}.weight", size)
        locations[f"{there}{new}.bias"] = Location(f"{here}{old}.bias", size[:1])
    return locations
