"""`generate` of an encoder-decoder of two BERTs, against transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.generation.oracle import draw_wild_weights, same_outputs
from tests.generation.test_generate import EVERYTHING
from tests.models import oracle
from tinybert import EncoderDecoderModel
from tinybert.generation import GenerationConfig
from tinybert.models.encoder_decoder import EncoderDecoderConfig

SPECIAL = {"pad_token_id": 2, "decoder_start_token_id": 1}
RNG = np.random.default_rng(0)
IDS = RNG.integers(3, 23, (3, 6))
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]])


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    encoder = oracle.config(num_hidden_layers=1)
    decoder = oracle.config(is_decoder=True, add_cross_attention=True, tie_word_embeddings=False)
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        oracle.twin_config(encoder), oracle.twin_config(decoder), **SPECIAL
    )
    theirs = transformers.EncoderDecoderModel(config)
    draw_wild_weights(theirs, 0)
    own = EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder, **SPECIAL)
    ours = EncoderDecoderModel(own)
    ours.load_state_dict(theirs.state_dict())
    return ours.to(np.float64).eval(), theirs.double().eval()


CALLS: list[dict[str, Any]] = [
    {},
    {"attention_mask": MASK},
    {"num_beams": 3, "num_return_sequences": 2, "attention_mask": MASK, "eos_token_id": 9},
    {"num_beams": 2, "eos_token_id": [5, 9], "early_stopping": True, "length_penalty": 2.0},
    {"no_repeat_ngram_size": 2, "min_length": 5, "eos_token_id": 9, "forced_bos_token_id": 4},
    {"token_type_ids": RNG.integers(0, 5, (3, 6)), "repetition_penalty": 1.5},
    {"decoder_input_ids": np.array([[1, 7], [1, 8], [1, 9]]), "num_beams": 2},
    {"decoder_input_ids": np.array([[6, 7], [5, 8], [4, 9]])},
]


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("call", CALLS, ids=lambda call: "+".join(call) or "plain")
def test_calls(pair: tuple[Any, Any], call: dict[str, Any], use_cache: bool) -> None:
    ours, theirs = pair
    options = {"max_length": 12, "use_cache": use_cache, **EVERYTHING, **call}
    found = ours.generate(IDS, **options)
    as_torch = {k: oracle.as_torch(v) for k, v in options.items()}
    same_outputs(found, theirs.generate(torch.from_numpy(IDS), **as_torch))


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("beams", [1, 3])
def test_padded_prompts_of_the_decoder(pair: tuple[Any, Any], beams: int, use_cache: bool) -> None:
    """Each row gets what transformers gives for it alone: its positions do not count padding, nor
    do the rules. transformers itself counts padding in a batch.
    """
    ours, theirs = pair
    starts = [[1, 6, 7, 6], [1, 8], [1, 4, 9]]
    ids = np.array([[2] * (4 - len(row)) + row for row in starts])
    rules = {"no_repeat_ngram_size": 2, "repetition_penalty": 1.5, "bad_words_ids": [[2, 6], [5]]}
    options = {"max_new_tokens": 7, "use_cache": use_cache, "num_beams": beams, **rules}
    options |= {"eos_token_id": 9, "min_length": 6}
    mask = (ids != 2).astype(int)
    found = ours.generate(IDS, decoder_input_ids=ids, decoder_attention_mask=mask, **options)
    for i, row in enumerate(starts):
        alone = theirs.generate(
            torch.from_numpy(IDS[i : i + 1]), decoder_input_ids=torch.tensor([row]), **options
        )[0].tolist()
        new = found.tolist()[i][4:]
        assert new == alone[len(row) :] + [2] * (len(new) + len(row) - len(alone))
    with pytest.raises(ValueError, match=r"decoder_attention_mask must have shape \(3, 4\)"):
        ours.generate(IDS, decoder_input_ids=ids, decoder_attention_mask=mask[:, 1:])


def test_the_encoder_reads_once(pair: tuple[Any, Any]) -> None:
    model, _ = pair
    calls = []
    handle = model.encoder.register_forward_hook(lambda *args: calls.append(1))
    out = model.generate(IDS, max_length=9, num_beams=2)
    handle.remove()
    assert len(calls) == 1
    encoded = model.encode(IDS)
    assert (
        model.generate(encoder_outputs=encoded, max_length=9, num_beams=2).tolist() == out.tolist()
    )
    embedded = model.encoder.get_input_embeddings()(IDS)
    again = model.generate(inputs_embeds=embedded, max_length=9, num_beams=2)
    assert again.tolist() == out.tolist()


def test_sampling_and_default_length(pair: tuple[Any, Any], device: str) -> None:
    model, _ = pair
    out = model.generate(IDS, do_sample=True, seed=0, num_return_sequences=2, temperature=2.0)
    assert out.shape == (6, 17)  # 1 + 20, but the decoder has 17 positions
    assert (out.numpy()[:, 0] == 1).all()
    moved = model.to(device)
    try:
        there = moved.generate(IDS, do_sample=True, seed=0, num_return_sequences=2, temperature=2.0)
        assert there.tolist() == out.tolist()
    finally:
        model.to("cpu")


def test_what_is_refused(pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = pair
    with pytest.raises(ValueError, match="give input_ids or inputs_embeds, and not both"):
        model.generate()
    with pytest.raises(ValueError, match="decoder_input_ids must have 3 rows, got 1"):
        model.generate(IDS, decoder_input_ids=[[1]])
    with pytest.raises(ValueError, match="unknown arguments: token_types"):
        model.generate(IDS, token_types=IDS)
    monkeypatch.setattr(model, "generation_config", GenerationConfig(), raising=False)
    with pytest.raises(ValueError, match="needs decoder_start_token_id"):
        model.generate(IDS)
