"""Masks hold ones and zeros: in every family, for every mask of a call, a value that is neither is
refused by the name of the argument. Head masks are factors, which can be trained.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tinybert
from tests.models import mega_oracle, nemotron_oracle, oracle
from tests.tolerances import MODEL_FLOAT64
from tinybert import Tensor

rng = np.random.default_rng(0)
IDS = rng.integers(3, 23, size=(2, 7))
STATES = rng.standard_normal((2, 5, 12))
CROSS = {"is_decoder": True, "add_cross_attention": True}
WRONG: dict[str, Any] = {"2": 2.0, "a half": 0.5, "-1": -1.0, "nan": np.nan, "inf": np.inf}

MODELS: dict[str, Any] = {
    "Bert": lambda: tinybert.BertModel(oracle.config()),
    "Bert decoder": lambda: tinybert.BertLMHeadModel(oracle.config(is_decoder=True)),
    "MegatronBert": lambda: tinybert.MegatronBertModel(oracle.config("MegatronBert")),
    "Mega": lambda: tinybert.MegaModel(mega_oracle.mega_config()),
    "Mega decoder": lambda: tinybert.MegaForCausalLM(
        mega_oracle.mega_config(**mega_oracle.DECODER)
    ),
    "Nemotron": lambda: tinybert.NemotronForCausalLM(
        tinybert.NemotronConfig(**nemotron_oracle.TOY)
    ),
}


def with_cross_attention(family: str) -> Any:
    if family == "Mega":
        return tinybert.MegaForCausalLM(
            mega_oracle.mega_config(**mega_oracle.DECODER, add_cross_attention=True)
        )
    name = {"Bert": "BertLMHeadModel", "MegatronBert": "MegatronBertForCausalLM"}[family]
    return getattr(tinybert, name)(oracle.config(family, **CROSS))


def pair_of_berts() -> Any:
    configs = oracle.config(), oracle.config(**CROSS)
    both = tinybert.EncoderDecoderConfig.from_encoder_decoder_configs(
        *configs, pad_token_id=0, decoder_start_token_id=1
    )
    return tinybert.EncoderDecoderModel(both)


def broken(shape: tuple[int, ...], value: float, kind: Any = np.float64) -> np.ndarray:
    """A mask of ones with one wrong value."""
    mask = np.ones(shape)
    mask[(0, *(n - 1 for n in shape[1:]))] = value
    return mask.astype(kind)


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("name", MODELS)
def test_a_mask_of_anything_else_is_refused(name: str, value: float) -> None:
    model = MODELS[name]().eval()
    kinds = [np.float32, list] + [np.int64] * float(value).is_integer()
    for kind in kinds:
        mask = broken(IDS.shape, value, np.float64 if kind is list else kind)
        with pytest.raises(ValueError, match=f"attention_mask must be of ones and .*got {value:g}"):
            model(IDS, attention_mask=mask.tolist() if kind is list else mask)
    if not name.startswith("Mega") or name == "MegatronBert":
        cube = broken((*IDS.shape, 7), value)
        with pytest.raises(ValueError, match=f"attention_mask must be of ones and .*got {value:g}"):
            model(IDS, attention_mask=cube)


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("family", ["Bert", "MegatronBert", "Mega"])
def test_a_mask_of_an_encoder_is_checked_too(family: str, value: float) -> None:
    model = with_cross_attention(family).eval()
    shapes = [(2, 5)] if family == "Mega" else [(2, 5), (2, 7, 5)]
    for shape in shapes:
        with pytest.raises(ValueError, match=rf"encoder_attention_mask must be .*got {value:g}"):
            model(
                IDS,
                encoder_hidden_states=STATES,
                encoder_attention_mask=broken(shape, value),
            )


@pytest.mark.parametrize("name", ["attention_mask", "decoder_attention_mask"])
def test_the_masks_of_a_pair_are_checked(name: str) -> None:
    model = pair_of_berts().eval()
    call = {"input_ids": IDS, "decoder_input_ids": IDS, name: broken(IDS.shape, 2)}
    with pytest.raises(ValueError, match="attention_mask must be of ones and zeros, got 2"):
        model(**call)
    with pytest.raises(ValueError, match="attention_mask must be of ones and zeros, got 2"):
        model.generate(IDS, max_new_tokens=1, **{name: call[name]}, decoder_input_ids=IDS)


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("name", ["Bert decoder", "Mega decoder", "Nemotron"])
def test_generate_checks_its_mask(name: str, value: float) -> None:
    model = MODELS[name]().eval()
    with pytest.raises(ValueError, match=f"attention_mask must be of ones and zeros, .*{value:g}"):
        model.generate(IDS, attention_mask=broken(IDS.shape, value), max_new_tokens=1)


def test_ones_and_zeros_of_every_dtype_are_one_mask() -> None:
    model = MODELS["Bert"]().eval()
    mask = np.ones(IDS.shape, bool)
    mask[0, 4:] = False
    expected = model(IDS, mask).last_hidden_state.numpy()
    for kind in (np.int64, np.int8, np.uint8, np.float16, np.float32, np.float64):
        assert (model(IDS, mask.astype(kind)).last_hidden_state.numpy() == expected).all()
    negative = np.where(mask, 1.0, -0.0)
    assert (model(IDS, negative).last_hidden_state.numpy() == expected).all()


# --- four axes: numbers to add to the scores ------------------------------------------------------


def test_ones_and_zeros_are_no_mask_to_add() -> None:
    """As floats they would add 1 to the scores of the tokens, and hide nothing."""
    model = MODELS["Nemotron"]().eval()
    seen = np.tril(np.ones((7, 7), bool))[None, None]
    for kind in (np.float16, np.float32, np.float64):
        with pytest.raises(ValueError, match="ones and zeros hide nothing; give booleans"):
            model(IDS, seen.astype(kind))
    hidden = np.where(seen, 0.0, -np.inf)
    expected = model(IDS, seen).logits.numpy()
    assert (model(IDS, hidden).logits.numpy() == expected).all()
    assert (model(IDS, np.zeros((1, 1, 7, 7))).logits.numpy() != expected).any()
    shifted = np.where(seen, 0.5, -np.inf)  # a bias; the same for all keys here
    assert np.allclose(model(IDS, shifted).logits.numpy(), expected, atol=1e-5)
    for value in (np.nan, np.inf):
        hidden[0, 0, 3, 1] = value
        with pytest.raises(ValueError, match=f"attention_mask must not hold {value}"):
            model(IDS, hidden)


# --- head masks: factors --------------------------------------------------------------------------


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "recomputed"])
@pytest.mark.parametrize("shape", [(3,), (2, 3)], ids=str)
def test_a_head_mask_gets_its_gradient(shape: tuple[int, ...], checkpointing: bool) -> None:
    """With it Michel et al. 2019 (arXiv:1905.10650) measure how important a head is."""
    ours, theirs = oracle.twins(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    factors = np.abs(np.random.default_rng(1).standard_normal(shape))
    weights = np.random.default_rng(2).standard_normal((2, 7, 12))
    their_mask = torch.from_numpy(factors.copy()).requires_grad_()
    out = theirs(torch.from_numpy(IDS), head_mask=their_mask).last_hidden_state
    (out * torch.from_numpy(weights)).sum().backward()
    if checkpointing:
        ours.train().gradient_checkpointing_enable()
    mask = Tensor(factors, requires_grad=True)
    (ours(IDS, head_mask=mask).last_hidden_state * Tensor(weights)).sum().backward()
    assert mask.grad is not None
    np.testing.assert_allclose(mask.grad.numpy(), their_mask.grad.numpy(), rtol=MODEL_FLOAT64)


@pytest.mark.parametrize("family", ["Bert", "MegatronBert"])
@pytest.mark.parametrize("shape", [(3,), (2, 3)], ids=str)
def test_a_head_mask_numbers_the_heads_as_they_were_before_pruning(
    family: str, shape: tuple[int, ...]
) -> None:
    """The model with pruned heads is the whole model with these heads masked, whatever factors the
    others have.
    """
    name = f"{family}ForMaskedLM"
    pruned, _ = oracle.twin_heads(name, 3)
    whole, _ = oracle.twin_heads(name, 3)
    pruned.prune_heads({0: [0], 1: [1, 2]})
    factors = np.abs(np.random.default_rng(4).standard_normal(shape)) + 0.5
    masked = np.broadcast_to(factors, (2, 3)).copy()
    masked[0, 0] = masked[1, 1] = masked[1, 2] = 0
    found = pruned(IDS, head_mask=factors).logits.numpy()
    expected = whole(IDS, head_mask=masked).logits.numpy()
    np.testing.assert_allclose(found, expected, rtol=MODEL_FLOAT64, atol=1e-12)
    weights = pruned(IDS, head_mask=factors, output_attentions=True).attentions
    everything = whole(IDS, head_mask=masked, output_attentions=True).attentions
    for layer, kept in enumerate(([1, 2], [0])):
        np.testing.assert_allclose(
            weights[layer].numpy(), everything[layer].numpy()[:, kept], rtol=MODEL_FLOAT64
        )
