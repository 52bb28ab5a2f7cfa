"""The tensors of a Megatron-LM BERT: what they are called there, in three spellings, and what in
Hugging Face's MegatronBertForPreTraining; and the shapes that they must have.

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

# Names in the latest spelling -> Hugging Face's, inside a layer, weight and bias alike,
_IN_LAYER = {
    "input_norm": "attention.ln",
    "attention.dense": "attention.output.dense",
    "post_attention_norm": "ln",
    "mlp.dense_h_to_4h": "intermediate.dense",
    "mlp.dense_4h_to_h": "output.dense",
}
# ... beneath the layers,
_WORDS_OF_BERT = "bert.embeddings.word_embeddings.weight"
_EMBEDDINGS = {
    WORDS: _WORDS_OF_BERT,
    POSITIONS: "bert.embeddings.position_embeddings.weight",
    SEGMENTS: "bert.embeddings.token_type_embeddings.weight",
}
# ... and above them.
_ABOVE = {
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


class Place(NamedTuple):
    """Where a tensor of Hugging Face's is: the name in the file, in the latest spelling; the shape
    of what is taken; which third, where queries, keys and values are one matrix.
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
    """The tensors of nested dicts by their dotted names, in the latest of three spellings.

    First it was ``transformer.layers.0.attention`` and ``input_layernorm``, then ``encoder`` and
    ``self_attention``, then ``input_norm``. Raises ValueError for a name in two spellings.
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


def places_of(tensors: Mapping[str, LazyTensor], config: dict[str, Any]) -> dict[str, Place]:
    """Hugging Face's names from the embeddings up to the heads, and where each tensor is.

    Raises ValueError for a tensor that is missing, of the wrong shape, or no part of a BERT: what
    is not understood is never left out in silence.
    """
    places = _embeddings(config)
    for layer in range(config["num_hidden_layers"]):
        places |= _in_layer(layer, config)
    places |= _above(config)
    absent = tuple(head for head in HEADS if not any(name.startswith(head) for name in tensors))
    needed = {p.name: p.stored for p in places.values() if not p.name.startswith(absent)}
    for name, shape in needed.items():
        if name not in tensors:
            raise ValueError(f"lacks tensor {name!r}")
        _check_shape(name, tensors[name].info.shape, shape)
    for name in tensors:
        if name not in needed:
            raise ValueError(f"has a tensor {name!r:.80}, which Megatron-LM's BERT does not have")
    if LM_BIAS in tensors:
        places[_TIED] = places[_WORDS_OF_BERT]
    return {name: place for name, place in places.items() if place.name in tensors}


def _check_shape(name: str, found: tuple[int, ...], needed: tuple[int, ...]) -> None:
    # The tables of the vocabulary may have rows to spare: these are never looked up.
    spare = name in (WORDS, LM_BIAS) and found[:1] > needed[:1]
    if found != needed and not (spare and found[1:] == needed[1:]):
        raise ValueError(
            f"tensor {name!r} has shape {found}, and {needed} is needed; is it one part of a model "
            "that was split over devices?"
        )


def _embeddings(config: dict[str, Any]) -> dict[str, Place]:
    rows = {WORDS: "vocab_size", POSITIONS: "max_position_embeddings", SEGMENTS: "type_vocab_size"}
    return {
        new: Place(name, (config[rows[name]], config["hidden_size"]))
        for name, new in _EMBEDDINGS.items()
    }


def _above(config: dict[str, Any]) -> dict[str, Place]:
    """The last norm, the pooler and the heads."""
    hidden = config["hidden_size"]
    sizes = {
        LM_BIAS: (config["vocab_size"],),
        "binary_head.weight": (2, hidden),
        "binary_head.bias": (2,),
    }
    places = {}
    for name, new in _ABOVE.items():
        usual = (hidden, hidden) if name.endswith("dense.weight") else (hidden,)
        places[new] = Place(name, sizes.get(name, usual))
    return places


def _in_layer(layer: int, config: dict[str, Any]) -> dict[str, Place]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    sizes: dict[str, tuple[int, ...]] = {
        "attention.dense": (hidden, hidden),
        "mlp.dense_h_to_4h": (inner, hidden),
        "mlp.dense_4h_to_h": (hidden, inner),
    }
    here, there = f"layers.{layer}.", f"bert.encoder.layer.{layer}."
    places = {}
    for third, role in enumerate(("query", "key", "value")):
        new, fused = f"{there}attention.self.{role}", f"{here}attention.query_key_value"
        places[f"{new}.weight"] = Place(f"{fused}.weight", (hidden, hidden), third)
        places[f"{new}.bias"] = Place(f"{fused}.bias", (hidden,), third)
    for old, new in _IN_LAYER.items():
        size = sizes.get(old, (hidden,))
        places[f"{there}{new}.weight"] = Place(f"{here}{old}.weight", size)
        places[f"{there}{new}.bias"] = Place(f"{here}{old}.bias", size[:1])
    return places
