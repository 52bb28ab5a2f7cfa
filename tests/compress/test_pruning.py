"""A pruned model is a plain model of its family, and what had no effect is not missed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.models.deprecated.mega import modeling_mega

import tinybert
from tests.compress.small_models import (
    FAMILIES,
    TARGETS,
    make_batches,
    make_config,
    make_model,
)
from tinybert.compress import importance, prune
from tinybert.compress.pruning import choose, choose_heads, cut
from tinybert.compress.structure import STRUCTURES

BATCH = make_batches()[0]


def logits(model: Any, batch: Any = BATCH) -> np.ndarray:
    with tinybert.no_grad():
        output = model(**batch)
    return output.get("logits", output.get("last_hidden_state")).numpy()


# --- transformers ---------------------------------------------------------------------------------

VARIANTS = {
    "bert": {"position_embedding_type": "relative_key"},
    "megatron-bert": {"tie_word_embeddings": False},
    "mega": {"normalization_type": "layernorm", "relative_positional_bias": "simple"},
    "nemotron": {"attention_bias": False, "tie_word_embeddings": True},
}


@pytest.mark.parametrize("varied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_it_and_computes_the_same(
    family: str, varied: bool, tmp_path: Path
) -> None:
    options = VARIANTS[family] if varied else {}
    model = make_model(family, **options)
    before = logits(model)
    small = prune(model, make_config(family, **{**options, **TARGETS[family]}), make_batches())
    assert np.array_equal(logits(model), before)  # the model itself is not changed
    small.save_pretrained(tmp_path)
    again = type(small).from_pretrained(tmp_path, dtype="float64")
    for option, size in TARGETS[family].items():
        assert getattr(again.config, option) == size
    assert np.array_equal(logits(again), logits(small))
    auto = {
        "mega": modeling_mega.MegaForMaskedLM,
        "nemotron": transformers.AutoModelForCausalLM,
    }.get(family, transformers.AutoModelForMaskedLM)
    theirs, report = auto.from_pretrained(
        tmp_path, dtype=torch.float64, output_loading_info=True,
        **({} if family == "mega" else {"attn_implementation": "eager"}),
    )  # fmt: skip
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    with torch.no_grad():
        expected = theirs(**{n: torch.from_numpy(x) for n, x in BATCH.items()}).logits.numpy()
    real = BATCH["attention_mask"] == 1
    # transformers computes some softmaxes and the Fourier transform in float32
    np.testing.assert_allclose(logits(small)[real], expected[real], rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", [
    "BertModel", "BertForPreTraining", "BertForSequenceClassification", "MegaForMultipleChoice",
    "MegaForSequenceClassification", "NemotronForQuestionAnswering", "NemotronModel",
])  # fmt: skip
def test_every_head_is_cut_with_its_model(kind: str) -> None:
    model_class = getattr(tinybert, kind)
    family = kind[:4].lower() if kind.startswith(("Bert", "Mega")) else "nemotron"
    model = make_model(family, kind=model_class)
    target = make_config(family, **TARGETS[family])
    small, names = prune(model, target, make_batches()), set()
    for name, tensor in model_class(target).named_state():
        names.add(name)
        assert small.state_dict()[name].shape == tensor.shape
    assert names == set(small.state_dict())


def test_a_model_without_pooler_stays_without() -> None:
    model = tinybert.BertModel(make_config("bert"), add_pooling_layer=False)
    assert prune(model, make_config("bert", **TARGETS["bert"]), make_batches()).pooler is None


# --- what has no effect ---------------------------------------------------------------------------


def parameters(model: Any, layer: int) -> dict[str, np.ndarray]:
    """The parameters of a layer of the base model, by their names in the layer."""
    start = f"{STRUCTURES[model.config.model_type].layers}.{layer}."
    named = model.base_model.named_parameters()
    return {n.removeprefix(start): p.data for n, p in named if n.startswith(start)}


def silence_heads(model: Any, layer: int, kept: list[int]) -> None:
    """Set the values of all other heads (of keys and values) to 0."""
    size = 3 if model.config.model_type != "nemotron" else 4
    value = "self_attn.v_proj" if size == 4 else "attention.self.value"
    for end in ("weight", "bias"):
        array = parameters(model, layer)[f"{value}.{end}"]
        rows = array.reshape(-1, size, *array.shape[1:])
        rows[[head for head in range(len(rows)) if head not in kept]] = 0


def silence_neurons(model: Any, layer: int, unit: str, kept: list[int]) -> None:
    first = {
        "mega": {"neurons": "nffn.fc1", "values": "mega_layer.v_proj"}, "nemotron":
        {"neurons": "mlp.up_proj"},
    }.get(model.config.model_type, {"neurons": "intermediate.dense"})[unit]  # fmt: skip
    for end in ("weight", "bias"):
        array = parameters(model, layer)[f"{first}.{end}"]
        array[[row for row in range(len(array)) if row not in kept]] = 0


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_and_neurons_without_effect_are_not_missed(family: str) -> None:
    model, rng = make_model(family), np.random.default_rng(5)
    target = dict(TARGETS[family])
    del target["num_hidden_layers"], target["hidden_size"]
    if family in ("bert", "megatron-bert"):  # here head_size = hidden_size / heads
        del target["num_attention_heads"]
    sizes = {u: target.get(o) for u, o in STRUCTURES[family].sizes.items() if u != "layers"}
    for layer in range(3):
        for unit in {"neurons", "values"} & sizes.keys():
            count = len(importance(model, [BATCH])[unit][layer])
            silence_neurons(model, layer, unit, rng.permutation(count)[: sizes[unit]].tolist())
        if family == "nemotron":
            silence_heads(model, layer, rng.permutation(4)[:2].tolist())
    scores = importance(model, [BATCH])
    silent = {u: int((scores[u] == 0).sum()) for u in scores.keys() & {"neurons", "values"}}
    assert all(count == 3 * (scores[u].shape[1] - sizes[u]) for u, count in silent.items())
    small = prune(model, make_config(family, **target), scores)
    assert small.num_parameters() < model.num_parameters()
    np.testing.assert_allclose(logits(small), logits(model), rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_without_effect_is_not_missed(family: str) -> None:
    model = make_model(family)
    layer = parameters(model, 1)
    for name in layer:
        if name.endswith((
            "output.dense.weight", "output.dense.bias", "o_proj.weight", "o_proj.bias",
            "down_proj.weight", "down_proj.bias", "fc2.weight", "fc2.bias", "LayerNorm.bias",
        )):  # fmt: skip
            layer[name][...] = 0
        elif name.endswith("LayerNorm.weight"):
            layer[name][...] = 1
    if family == "mega":  # a gate of 0
        layer["mega_layer.mx_proj.weight"][:12] = 0
        layer["mega_layer.mx_proj.bias"][:12] = -1e3
    if family == "bert":  # the norms of the layer get what is normalised already
        before = parameters(model, 0)
        before["output.LayerNorm.weight"][...], before["output.LayerNorm.bias"][...] = 1, 0
    scores = importance(model, [BATCH])
    assert abs(scores["layers"][1]) < 1e-12
    small = prune(model, make_config(family, num_hidden_layers=2), scores)
    np.testing.assert_allclose(logits(small), logits(model), rtol=0, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_channels_without_effect_are_not_missed(family: str) -> None:
    """Also by the norms, which divide by fewer channels then."""
    auto = tinybert.AutoModelForTokenClassification if "bert" in family else None
    model = tiny_eps(make_model(family, kind=auto))
    size = TARGETS[family]["hidden_size"]
    kept = np.sort(np.random.default_rng(3).permutation(model.config.hidden_size)[:size])
    removed = np.setdiff1d(np.arange(model.config.hidden_size), kept)
    structure = STRUCTURES[family]
    for name, parameter in model.named_parameters():
        _, short = structure.place(name, model.base_model_prefix)
        units, array = structure.units_of(short), parameter.data
        if name.endswith(("norm.weight", "ln.weight", "LayerNorm.weight")):
            array[...] = 0.7
            array[removed] = -1 if family == "nemotron" else 0  # whose scale is weight + 1
            continue
        written = 1 if short.endswith("embeddings.weight") or "embed_tokens" in name else 0
        if units[written] not in ("hidden", "hidden*") or "ema_gate" in name:
            if units[0].startswith("hidden+"):
                array[len(array) - model.config.hidden_size + removed] = 0
            continue
        moved = np.moveaxis(array, written, -1)
        moved[..., removed] = 0
        if family != "mega":  # whose norm does not subtract the mean
            moved[..., kept] -= moved[..., kept].mean(axis=-1, keepdims=True)
    scores = importance(model, [BATCH])
    assert (np.flatnonzero(scores["hidden"] == 0) == removed).all()
    options = {"hidden_size": size}
    if "bert" in family:
        options["num_attention_heads"] = size // 3
        for layer in range(3):
            silence_heads(model, layer, [0, 3])
        scores = importance(model, [BATCH])
    small = tiny_eps(prune(model, make_config(family, **options), scores))
    np.testing.assert_allclose(logits(small), logits(model), rtol=0, atol=1e-9)


def tiny_eps(model: Any) -> Any:
    """Let norms add almost nothing to the mean square: it is of another size in a pruned model."""
    for module in model.modules():
        if hasattr(module, "eps"):
            module.eps = 1e-14
    return model


# --- the choice -----------------------------------------------------------------------------------


def test_heads_stay_in_groups() -> None:
    scores = np.array([9, 1, 2, 3, 4, 0, 0, 8.0])  # of 4 groups of 2
    heads, groups = choose_heads(scores, 4, 2, 2)
    assert groups.tolist() == [0, 3]  # sums 10, 5, 4, 8
    assert heads.tolist() == [0, 7]
    heads, groups = choose_heads(scores, 4, 4, 2)
    assert heads.tolist() == [0, 1, 6, 7]
    heads, groups = choose_heads(scores, 8, 3, 3)  # without groups
    assert heads.tolist() == groups.tolist() == [0, 4, 7]


def test_the_most_important_parts_stay_in_their_order() -> None:
    model = make_model("bert")
    found = importance(model, make_batches())
    target = make_config("bert", **TARGETS["bert"])
    kept = choose(found, model.config, target)
    small = cut(model, target, kept)
    assert set(kept.hidden) == set(np.argsort(found["hidden"])[-6:])
    assert (np.diff(kept.hidden) > 0).all()
    old = dict(model.named_parameters())["bert.embeddings.word_embeddings.weight"]
    new = small.bert.embeddings.word_embeddings.weight
    assert np.array_equal(new.numpy(), old.numpy()[:, kept.hidden])
    for layer, source in enumerate(kept.layers):
        neurons = np.sort(np.argsort(found["neurons"][source])[-7:])
        before = parameters(model, source)["intermediate.dense.weight"]
        after = parameters(small, layer)["intermediate.dense.weight"]
        assert np.array_equal(after, before[neurons][:, kept.hidden])


FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "larger": ("bert", {"intermediate_size": 11}, "intermediate_size must be at most 10"),
    "size of heads": (
        "bert", {"hidden_size": 8, "num_attention_heads": 2},
        "hidden_size must be a multiple of 3.*for example 6 or 9, got 8",
    ),
    "number of heads": (
        "bert", {"num_attention_heads": 2, "hidden_size": 12},
        "num_attention_heads must be 4 with hidden_size 12.*got 2",
    ),
    "groups": (
        "nemotron", {"num_attention_heads": 6, "num_key_value_heads": 2},
        "num_attention_heads must be one of 2, 4 with num_key_value_heads 2.*got 6",
    ),
    "head_dim": ("nemotron", {"head_dim": 2}, "head_dim must be 4"),
    "shared": (
        "mega", {"shared_representation_size": 4}, "shared_representation_size.*must be 6, got 4"
    ),
    "activation": ("bert", {"hidden_act": "relu"}, "hidden_act.*must be 'gelu', got 'relu'"),
    "epsilon": ("nemotron", {"norm_eps": 0.1}, "norm_eps is not pruned: it must be 1e-05, got 0.1"),
    "tied": ("bert", {"tie_word_embeddings": False}, "tie_word_embeddings is not pruned: .*True"),
    "vocabulary": ("mega", {"vocab_size": 22}, "vocab_size is not pruned: it must be 23, got 22"),
    "missing heads": ("bert", {"pruned_heads": {0: [1]}}, "pruned_heads.*must be {}, got"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_sizes_that_cannot_be_are_refused(name: str) -> None:
    family, options, message = FAULTS[name]
    with pytest.raises(ValueError, match=message):
        prune(make_model(family), make_config(family, **options), make_batches())


def test_options_without_effect_on_the_outputs_can_differ() -> None:
    free = {"hidden_dropout_prob": 0.3, "initializer_range": 0.5, "output_attentions": True}
    small = prune(make_model("bert"), make_config("bert", **free, **TARGETS["bert"]), [BATCH])
    assert small.config.hidden_dropout_prob == 0.3


def test_options_of_generation_are_copied() -> None:
    model = make_model("nemotron")
    small = prune(model, make_config("nemotron", **TARGETS["nemotron"]), [BATCH])
    assert small.generation_config == model.generation_config
    small.generation_config.max_new_tokens = 3
    assert small.generation_config != model.generation_config


def test_another_family_is_refused() -> None:
    with pytest.raises(ValueError, match="must be of the family 'bert', got 'mega'"):
        prune(make_model("bert"), make_config("mega"), make_batches())
