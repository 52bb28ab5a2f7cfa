"""The structure of each family: which axis of which parameter belongs to which unit.

A unit is what pruning removes: a layer, a channel of the hidden states, an attention head, a neuron
of the feed-forward part. A parameter has one unit for each axis: the rows of a query matrix belong
to heads, its columns to channels. Measuring importance and cutting both read these tables.

A row of a table has the name of a parameter or of its module, `*` for any text, and then the unit
of each axis; a bias has the first one. Of several rows that fit, the first one counts. `layer.` is
the beginning of all names of a layer, whatever its number. The units:

    -          none: the axis stays as it is
    hidden     a channel of the hidden states
    heads      a query head, with K features
    groups     a head of keys and values, with K features, shared by a group of query heads
    neurons    a neuron of the feed-forward part
    values     a feature of MEGA's values and of their gate
    shared     a feature of MEGA's queries and keys: they are not pruned
    a+b        first those of a, then those of b
    hidden*    once or, in both directions, twice
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True)
class Structure:
    """The structure of a family.

    Attributes:
        layers: the name of the list of layers in the base model.
        sizes: the config's option that counts each unit.
        inputs: the modules of a layer whose inputs are the activations of a unit, which the module
            multiplies by a matrix and adds: a unit whose activations are 0 has no effect.
        norms: the norms of the base model, whose outputs measure the channels.
        axes: the table.
    """

    layers: str
    sizes: Mapping[str, str]
    inputs: Mapping[str, str]
    norms: tuple[str, ...]
    axes: str

    def place(self, name: str, prefix: str) -> tuple[int | None, str]:
        """Return the number of the layer of a parameter (None outside of layers), and its name in
        the table; `prefix` is the name of the base model.
        """
        short = name.removeprefix(f"{prefix}.")
        found = re.match(rf"{re.escape(self.layers)}\.(\d+)\.", short)
        return (None, short) if found is None else (int(found[1]), "layer." + short[found.end() :])

    def renumbered(self, name: str, number: int | None) -> str:
        """Return the name of a parameter when its layer has another number."""
        if number is None:
            return name
        return re.sub(rf"({re.escape(self.layers)})\.\d+\.", rf"\1.{number}.", name, count=1)

    def units_of(self, name: str) -> list[str]:
        """Return the unit of each axis of a parameter, by its name in the table."""
        module = name.rpartition(".")[0]
        for line in filter(str.strip, self.axes.splitlines()):
            pattern, *units = line.split()
            if fnmatchcase(name, pattern) or fnmatchcase(module, pattern):
                return units
        raise ValueError(f"the parameter {name} is in no table of structure: it cannot be pruned")

    def is_norm(self, name: str, prefix: str) -> bool:
        """Return whether a module, by its name in the model, is a norm that measures channels."""
        _, short = self.place(name, prefix)
        return any(fnmatchcase(short, pattern) for pattern in self.norms)


_SIZES = {
    "layers": "num_hidden_layers", "hidden": "hidden_size", "heads": "num_attention_heads",
    "neurons": "intermediate_size",
}  # fmt: skip
_BERT_HEADS = """
        pooler.dense                                hidden     hidden
        cls.predictions.transform.dense             hidden     hidden
        cls.predictions.transform.LayerNorm         hidden
        cls.*                                       -          hidden
        classifier                                  -          hidden
        qa_outputs                                  -          hidden
"""

BERT = Structure(
    layers="encoder.layer",
    sizes=_SIZES,
    inputs={"heads": "attention.output.dense", "neurons": "output.dense"},
    norms=("embeddings.LayerNorm", "layer.attention.output.LayerNorm", "layer.output.LayerNorm"),
    axes="""
        embeddings.*_embeddings                     -          hidden
        embeddings.LayerNorm                        hidden
        layer.attention.self.distance_embedding     -          -
        layer.attention.self.*                      heads      hidden
        layer.attention.output.dense                hidden     heads
        layer.attention.output.LayerNorm            hidden
        layer.intermediate.dense                    neurons    hidden
        layer.output.dense                          hidden     neurons
        layer.output.LayerNorm                      hidden
    """
    + _BERT_HEADS,
)

MEGATRON_BERT = Structure(
    layers="encoder.layer",
    sizes=_SIZES,
    inputs={"heads": "attention.output.dense", "neurons": "output.dense"},
    norms=("layer.attention.ln", "layer.ln", "encoder.ln"),
    axes="""
        embeddings.*_embeddings                     -          hidden
        layer.attention.ln                          hidden
        layer.attention.self.distance_embedding     -          -
        layer.attention.self.*                      heads      hidden
        layer.attention.output.dense                hidden     heads
        layer.ln                                    hidden
        layer.intermediate.dense                    neurons    hidden
        layer.output.dense                          hidden     neurons
        encoder.ln                                  hidden
    """
    + _BERT_HEADS,
)

# One head of attention, which cannot be removed; its values are units of their own.
MEGA = Structure(
    layers="layers",
    sizes={
        "layers": "num_hidden_layers",
        "hidden": "hidden_size",
        "values": "intermediate_size",
        "neurons": "nffn_hidden_size",
        "shared": "shared_representation_size",
    },
    inputs={"values": "mega_layer.h_proj", "neurons": "nffn.fc2"},
    norms=("layer.mega_layer.norm", "layer.nffn.norm"),
    axes="""
        embedding_layer.*_embeddings                -          hidden
        layer.*.norm.norm.scalar                    -
        layer.*.norm.norm                           hidden
        layer.mega_layer.qk_*                       -          shared
        layer.mega_layer.rel_pos_bias.rel_pos_bias  -
        layer.mega_layer.rel_pos_bias._float_tensor -
        layer.mega_layer.rel_pos_bias               -          shared
        layer.mega_layer.ema_gate                   hidden*    -          -
        layer.mega_layer.v_proj                     values     hidden
        layer.mega_layer.mx_proj                    hidden+shared+values+hidden    hidden
        layer.mega_layer.h_proj                     hidden     values
        layer.nffn.fc1                              neurons    hidden
        layer.nffn.fc2                              hidden     neurons
        pooler.dense                                hidden     hidden
        dense                                       hidden     hidden
        *m_head                                     -          hidden
        classifier.dense                            hidden     hidden
        classifier*                                 -          hidden
        qa_outputs                                  -          hidden
    """,
)

NEMOTRON = Structure(
    layers="layers",
    sizes={**_SIZES, "groups": "num_key_value_heads"},
    inputs={"heads": "self_attn.o_proj", "neurons": "mlp.down_proj"},
    norms=("layer.input_layernorm", "layer.post_attention_layernorm", "norm"),
    axes="""
        embed_tokens                                -          hidden
        layer.input_layernorm                       hidden
        layer.self_attn.q_proj                      heads      hidden
        layer.self_attn.[kv]_proj                   groups     hidden
        layer.self_attn.o_proj                      hidden     heads
        layer.post_attention_layernorm              hidden
        layer.mlp.up_proj                           neurons    hidden
        layer.mlp.down_proj                         hidden     neurons
        norm                                        hidden
        lm_head                                     -          hidden
        score                                       -          hidden
        qa_outputs                                  -          hidden
    """,
)

STRUCTURES = {
    "bert": BERT,
    "megatron-bert": MEGATRON_BERT,
    "mega": MEGA,
    "nemotron": NEMOTRON,
}


def structure_of(model: Any) -> Structure:
    """Return the structure of a model. Raises ValueError for one that cannot be pruned."""
    config = model.config
    model._check_plain("prune")
    if config.model_type not in STRUCTURES:
        raise ValueError(
            f"model must be of one of the families {', '.join(STRUCTURES)}, "
            f"got {config.model_type!r}"
        )
    if config.add_cross_attention:
        raise ValueError("model has cross-attention (add_cross_attention), which is not pruned")
    if config.pruned_heads:
        raise ValueError(
            "model has pruned_heads: its layers have different numbers of heads; prune the "
            "original model"
        )
    return STRUCTURES[config.model_type]


def head_size(config: Any) -> int:
    """Return K, the number of features of a head."""
    own = getattr(config, "head_dim", None)
    return own or config.hidden_size // config.num_attention_heads
