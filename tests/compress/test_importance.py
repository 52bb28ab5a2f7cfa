"""Importance is the formula of the paper: here in plain NumPy, from recorded activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinybert
from tests.compress.small_models import FAMILIES, make_batches, make_model
from tinybert.compress import importance, layers_left_out

NORMS = {
    "bert": ["embeddings.LayerNorm", "encoder.layer.{}.attention.output.LayerNorm",
             "encoder.layer.{}.output.LayerNorm"],
    "megatron-bert": ["encoder.layer.{}.attention.ln", "encoder.layer.{}.ln", "encoder.ln"],
    "mega": ["layers.{}.mega_layer.norm", "layers.{}.nffn.norm"],
    "nemotron": ["layers.{}.input_layernorm", "layers.{}.post_attention_layernorm", "norm"],
}  # fmt: skip
INPUTS = {
    "bert": {"heads": "encoder.layer.{}.attention.output.dense",
             "neurons": "encoder.layer.{}.output.dense"},
    "mega": {"values": "layers.{}.mega_layer.h_proj", "neurons": "layers.{}.nffn.fc2"},
    "nemotron": {"heads": "layers.{}.self_attn.o_proj", "neurons": "layers.{}.mlp.down_proj"},
}  # fmt: skip
INPUTS["megatron-bert"] = INPUTS["bert"]


def texts(model: Any, module: str, batches: Any, output: bool) -> list[np.ndarray]:
    """The outputs or inputs (T, N) of a module for each text, without padding."""
    found: list[np.ndarray] = []
    part = model.base_model.get_submodule(module)
    if output:
        hook = part.register_forward_hook(lambda m, args, out: found.append(out.numpy()))
    else:
        hook = part.register_forward_pre_hook(lambda m, args: found.append(args[0].numpy()))
    with tinybert.no_grad():
        for batch in batches:
            model.base_model(**batch)
    hook.remove()
    return [
        row[mask == 1]
        for array, batch in zip(found, batches, strict=True)
        for row, mask in zip(array, batch["attention_mask"], strict=True)
    ]


def aggregate(rows: list[np.ndarray], over_tokens: str, over_texts: str) -> np.ndarray:
    def of(scores: Any, how: str) -> np.ndarray:
        scores = np.array(scores)
        return scores.mean(axis=0) if how == "mean" else np.sqrt((scores**2).sum(axis=0))

    return of([of(np.abs(row), over_tokens) for row in rows], over_texts)


@pytest.mark.parametrize("how", [("mean", "l2"), ("l2", "mean")])
@pytest.mark.parametrize("family", FAMILIES)
def test_is_the_formula(family: str, how: tuple[str, str]) -> None:
    model, batches = make_model(family), make_batches()
    found = importance(model, batches, *how)
    assert found.texts == 5
    names = [n for pattern in NORMS[family] for n in dict.fromkeys(map(pattern.format, range(3)))]
    expected = sum(aggregate(texts(model, name, batches, True), *how) for name in names)
    np.testing.assert_allclose(found["hidden"], expected, rtol=1e-12)
    for unit, pattern in INPUTS[family].items():
        for layer in range(3):
            rows = texts(model, pattern.format(layer), batches, False)
            if unit == "heads":
                size = 3 if "bert" in family else 4
                rows = [np.sqrt((r.reshape(len(r), -1, size) ** 2).sum(axis=-1)) for r in rows]
            np.testing.assert_allclose(found[unit][layer], aggregate(rows, *how), rtol=1e-12)
    assert set(found) == {"layers", "hidden", *INPUTS[family]}


@pytest.mark.parametrize("family", FAMILIES)
def test_of_layers_is_the_angle_between_input_and_output(family: str) -> None:
    model, batches = make_model(family), make_batches()
    cosines: list[list[float]] = [[], [], []]
    stack = "encoder.layer" if "bert" in family else "layers"
    for layer in range(3):
        name = f"{stack}.{layer}"
        part, pairs = model.base_model.get_submodule(name), []
        hook = part.register_forward_hook(
            lambda m, args, out, to=pairs: to.append((args[0].numpy(), out.hidden_states.numpy()))
        )
        with tinybert.no_grad():
            for batch in batches:
                model.base_model(**batch)
        hook.remove()
        for (x, y), batch in zip(pairs, batches, strict=True):
            for row, token in np.argwhere(batch["attention_mask"] == 1):
                a, b = x[row, token], y[row, token]
                cosines[layer].append(a @ b / np.sqrt(a @ a * (b @ b)))
    expected = [1 - np.mean(values) for values in cosines]
    np.testing.assert_allclose(importance(model, batches)["layers"], expected, rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_and_the_size_of_a_batch_do_not_count(family: str) -> None:
    model, batches = make_model(family), make_batches()
    alone = [
        {"input_ids": ids[None, : mask.sum()]}
        for batch in batches
        for ids, mask in zip(*batch.values(), strict=True)
    ]
    together, separate = importance(model, batches), importance(model, alone)
    for unit, scores in together.items():
        np.testing.assert_allclose(scores, separate[unit], rtol=1e-9, err_msg=unit)


def test_feed_forward_in_chunks_is_the_same() -> None:
    whole, batches = make_model("bert"), make_batches()[:1]
    chunks = make_model("bert", chunk_size_feed_forward=1)
    found = importance(chunks, batches)
    np.testing.assert_allclose(found["neurons"], importance(whole, batches)["neurons"], rtol=1e-12)


def test_a_layer_left_out_gives_the_model_without_it() -> None:
    model, batch = make_model("bert"), make_batches()[0]
    state = {n: t.numpy() for n, t in model.named_state()}

    def total(model: Any) -> float:
        real = batch["attention_mask"].astype(bool)
        return float(model(**batch).logits.numpy()[real].std())

    found, before = layers_left_out(model, total), total(model)
    for layer in range(3):
        short = make_model("bert", num_hidden_layers=2)
        others = [number for number in range(3) if number != layer]
        short.load_state_dict({
            name: state[name.replace(f"layer.{new}.", f"layer.{old}.")]
            for name in short.state_dict()
            for new, old in enumerate(others)
            if f"layer.{new}." in name or ("layer." not in name and new == 0)
        })  # fmt: skip
        assert found[layer] == pytest.approx(total(short), rel=1e-12)
    assert total(model) == before  # no hook is left


def test_faults_name_the_argument() -> None:
    model = make_model("bert")
    with pytest.raises(ValueError, match="batches must not be empty"):
        importance(model, [])
    empty = {"input_ids": np.ones((2, 3), int), "attention_mask": np.array([[1, 1, 0], [0, 0, 0]])}
    with pytest.raises(
        ValueError, match="each text must have a token, but attention_mask is 0 in all"
    ):
        importance(model, [empty])
    with pytest.raises(ValueError, match="over_tokens must be"):
        importance(model, make_batches(), over_tokens="sum")
    assert not model.get_submodule("bert.embeddings.LayerNorm")._forward_hooks
