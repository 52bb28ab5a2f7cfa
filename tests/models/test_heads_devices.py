"""Heads, losses, decoder, pruning and checkpointing on every device, against the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinybert
from tests import tolerances
from tests.models.oracle import config
from tinybert import manual_seed

rng = np.random.default_rng(0)
IDS = rng.integers(1, 23, size=(2, 6))
MASK = np.array([[1] * 6, [1, 1, 1, 1, 0, 0]])
MEMORY = rng.standard_normal((2, 3, 12))
CALLS: dict[str, dict[str, Any]] = {
    "BertForPreTraining": {"labels": IDS, "next_sentence_label": [0, 1]},
    "BertForMaskedLM": {"labels": np.where(MASK, IDS, -100), "output_attentions": True},
    "BertForNextSentencePrediction": {"labels": [0, 1], "head_mask": [1.0, 0.0, 0.5]},
    "BertForSequenceClassification": {"labels": rng.random((2, 2))},
    "BertForTokenClassification": {"labels": IDS % 2},
    "BertForQuestionAnswering": {"start_positions": [1, 9], "end_positions": [2, 3]},
    "BertLMHeadModel": {
        "labels": IDS,
        "encoder_hidden_states": MEMORY,
        "encoder_attention_mask": MASK[:, :3],
    },
}
DECODER = {"is_decoder": True, "add_cross_attention": True}


def pair(name: str, device: str, **options: Any) -> tuple[Any, Any]:
    """The same weights on the CPU and on `device`, in training mode without dropout."""
    options = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, **options}
    make = getattr(tinybert, name)
    here, there = make(config(**options)), make(config(**options))
    there.load_state_dict(here.state_dict())
    return here, there.to(device)


def close(found: Any, expected: Any) -> None:
    assert np.allclose(found.numpy(), expected.numpy(), atol=tolerances.DEVICE_FLOAT32)


@pytest.mark.parametrize("kind", ["absolute", "relative_key_query"])
@pytest.mark.parametrize("name", CALLS)
def test_losses_and_gradients_are_those_of_the_cpu(name: str, kind: str, device: str) -> None:
    options = DECODER if name == "BertLMHeadModel" else {}
    here, there = pair(name, device, position_embedding_type=kind, **options)
    call = {"attention_mask": MASK, **CALLS[name]}
    for model in (here, there):
        if kind == "relative_key_query":
            model.gradient_checkpointing_enable()
        output = model(IDS, **call)
        output.loss.backward()
        assert output.loss.device == model.device
    close(there(IDS, **call).loss, here(IDS, **call).loss)
    expected = {n: p.grad for n, p in here.named_parameters() if p.grad is not None}
    found = {n: p.grad for n, p in there.named_parameters() if p.grad is not None}
    assert expected.keys() == found.keys()
    for parameter, gradient in expected.items():
        assert found[parameter].device == there.device
        close(found[parameter], gradient)


def test_multiple_choice(device: str) -> None:
    here, there = pair("BertForMultipleChoice", device)
    ids, mask = np.stack([IDS, IDS[::-1]], axis=1), np.stack([MASK, MASK], axis=1)
    for model in (here, there):
        model(ids, mask, labels=[1, 0]).loss.backward()
    close(there.classifier.weight.grad, here.classifier.weight.grad)


def test_a_cache_stays_on_the_device(device: str) -> None:
    here, there = (model.eval() for model in pair("BertLMHeadModel", device, **DECODER))
    for model in (here, there):
        first = model(IDS[:, :4], encoder_hidden_states=MEMORY)
        cache = first.past_key_values
        assert {part.device for layer in cache for part in layer} == {model.device}
        step = model(IDS[:, 4:], encoder_hidden_states=MEMORY, past_key_values=cache).logits
        close(step, here(IDS, encoder_hidden_states=MEMORY).logits[:, 4:])


def test_dropout_is_drawn_again_for_checkpointing(device: str) -> None:
    """The gradient of what was computed: where dropout hid everything, there is none."""
    (model,) = pair("BertForMaskedLM", device, hidden_dropout_prob=0.5)[1:]
    model.gradient_checkpointing_enable()
    with manual_seed(3):
        embeds = tinybert.Tensor(rng.standard_normal((2, 6, 12)), requires_grad=True, device=device)
        output = model(inputs_embeds=embeds, labels=IDS)
        output.loss.backward()
    # A small step along the gradient must change the loss as the gradient says: with the same
    # seed, so with the same dropout.
    step = 1e-2 * embeds.grad.numpy()
    with manual_seed(3):
        moved = model(inputs_embeds=embeds.numpy() + step, labels=IDS).loss.item()
    assert moved - output.loss.item() == pytest.approx(100 * (step**2).sum(), rel=0.2)


def test_resized_and_pruned_there(device: str) -> None:
    here, there = (model.eval() for model in pair("BertForMaskedLM", device))
    for model in (here, there):
        model.resize_token_embeddings(30)
        model.prune_heads({0: [1]})
        assert {p.device for p in model.parameters()} == {model.device}
    close(there(IDS).logits[..., :23], here(IDS).logits[..., :23])


@pytest.mark.filterwarnings("ignore:all .* are ignored")
def test_an_encoder_and_a_decoder(device: str) -> None:
    pair_config = tinybert.EncoderDecoderConfig.from_encoder_decoder_configs(
        config(), config(hidden_size=18), decoder_start_token_id=1, pad_token_id=0
    )
    here, there = (tinybert.EncoderDecoderModel(pair_config).eval() for _ in range(2))
    there.load_state_dict(here.state_dict())
    there.to(device)
    for model in (here, there):
        model(IDS, MASK, labels=IDS).loss.backward()
    close(there.enc_to_dec_proj.weight.grad, here.enc_to_dec_proj.weight.grad)
