"""The tables say of every parameter of every model which axis belongs to which unit."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest

import tinybert
from tests.compress.small_models import FAMILIES, make_config, make_model
from tinybert.compress.structure import STRUCTURES, head_size, structure_of
from tinybert.models.base import PreTrainedModel

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "bert": [{}, {"position_embedding_type": "relative_key"}],
    "megatron-bert": [{}, {"position_embedding_type": "relative_key_query"}],
    "nemotron": [{}, {"attention_bias": False, "mlp_bias": False}],
    "mega": [
        {"add_token_type_embeddings": True},
        {"normalization_type": "layernorm", "bidirectional": False, "is_decoder": True},
        {"normalization_type": "rmsnorm", "relative_positional_bias": "simple"},
        {"normalization_type": "batchnorm", "use_normalized_ffn": False},
    ],
}


def classes(family: str) -> list[Any]:
    config_class = type(make_config(family))
    members = [getattr(tinybert, name) for name in dir(tinybert)]
    return [
        m
        for m in members
        if isinstance(m, type) and issubclass(m, PreTrainedModel) and m.config_class is config_class
    ]


def length_of(unit: str, config: Any, length: int) -> int:
    """The length of an axis by its unit."""
    if unit == "-":
        return length
    sizes = STRUCTURES[config.model_type].sizes
    if unit == "hidden*":
        return config.hidden_size * (1 + bool(getattr(config, "bidirectional", False)))
    total = 0
    for part in unit.split("+"):
        width = head_size(config) if part in ("heads", "groups") else 1
        total += getattr(config, sizes[part]) * width
    return total


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_every_axis_has_the_length_of_its_unit(family: str) -> None:
    structure = STRUCTURES[family]
    rows = {line.split()[0] for line in structure.axes.splitlines() if line.strip()}
    used = set()
    assert len(classes(family)) >= 5
    for kind in classes(family):
        for options in OPTIONS[family]:
            model = kind(make_config(family, **options))
            for name, tensor in model.named_state():
                _, short = structure.place(name, model.base_model_prefix)
                units = structure.units_of(short)
                for unit, length in zip(units, tensor.shape, strict=False):
                    one_way = unit == "hidden*" and name.endswith("residual_weight")
                    expected = length_of(unit, model.config, length)
                    assert length == (model.config.hidden_size if one_way else expected), name
                assert len(units) >= tensor.ndim, name
                module = short.rpartition(".")[0]
                used.add(next(p for p in structure.axes.split() if p in rows and (
                    fnmatchcase(short, p) or fnmatchcase(module, p))))  # fmt: skip
    assert used == rows  # no row is left over


def test_what_cannot_be_pruned_is_refused() -> None:
    other = make_model("bert", is_decoder=True, add_cross_attention=True, kind=tinybert.BertModel)
    with pytest.raises(ValueError, match="model has cross-attention"):
        structure_of(other)
    pruned = make_model("bert", pruned_heads={0: [1]})
    with pytest.raises(ValueError, match="model has pruned_heads"):
        structure_of(pruned)
    adapted = tinybert.add_adapters(make_model("bert"), tinybert.LoraConfig())
    with pytest.raises(ValueError, match="prune needs a model without adapters"):
        structure_of(adapted)
    with pytest.raises(ValueError, match="no table of structure"):
        STRUCTURES["bert"].units_of("layer.new.weight")
