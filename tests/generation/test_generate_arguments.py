"""Arguments of `generate`: prompts of every kind, lengths, priorities, and what is refused."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch

from tests.generation.oracle import same_outputs, theirs_generates, twins
from tinybert.autograd import Tensor, is_grad_enabled
from tinybert.generation import GenerationConfig
from tinybert.log import warn_once

IDS = np.array([[3, 4, 5], [6, 7, 8]])


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    return twins(0, pad_token_id=2, bos_token_id=1)


@pytest.fixture
def model(pair: tuple[Any, Any]) -> Any:
    return pair[0]


# --- prompts --------------------------------------------------------------------------------------


def test_prompts_of_every_kind(model: Any, device: str) -> None:
    expected = model.generate(IDS, max_length=8).tolist()
    moved = twins(0, pad_token_id=2)[0].to(device)
    for prompt in (IDS, IDS.tolist(), IDS.astype(np.uint8), Tensor(IDS), Tensor(IDS).to(device)):
        found = moved.generate(prompt, max_length=8)
        assert found.device == moved.device
        assert (found.tolist(), found.dtype) == (expected, np.int64)
    assert moved.generate(inputs=IDS, max_length=8).tolist() == expected
    assert model.generate(max_length=8).tolist() == model.generate([[1]], max_length=8).tolist()


CALLS: list[dict[str, Any]] = [
    {"attention_mask": [[0, 1, 1], [1, 1, 1]], "token_type_ids": [[0, 1, 2], [2, 1, 0]]},
    {"num_beams": 3, "num_return_sequences": 2, "repetition_penalty": 1.3, "eos_token_id": 9},
    {"do_sample": True, "seed": 0, "top_p": 0.9, "no_repeat_ngram_size": 2},
    {"do_sample": True, "seed": 0, "num_beams": 2, "temperature": 2.0, "bad_words_ids": [[1, 2]]},
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: "+".join(call))
def test_every_strategy_on_every_device(model: Any, device: str, call: dict[str, Any]) -> None:
    options = {"return_dict_in_generate": True, "output_scores": True, "max_length": 10, **call}
    here, there = (
        m.generate(IDS, **options) for m in (model, twins(0, pad_token_id=2)[0].to(device))
    )
    assert here.sequences.tolist() == there.sequences.tolist()
    for one, other in zip(here.scores, there.scores, strict=True):
        assert np.allclose(one.numpy(), other.numpy(), atol=1e-4)


def test_padding_is_guessed_as_transformers_does(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    padded = np.array([[2, 2, 3, 4], [5, 6, 7, 8]])
    found = ours.generate(padded, max_length=12).numpy()
    alone = ours.generate([[3, 4]], max_length=10).numpy()
    assert found[0, 2:].tolist() == alone[0].tolist()  # the same as without padding
    assert found.tolist() == theirs.generate(torch.from_numpy(padded), max_length=12).tolist()
    no_guess = {"eos_token_id": [2, 22], "max_length": 12}  # the padding ends sequences too
    assert (
        ours.generate(padded, **no_guess).tolist()
        == theirs.generate(torch.from_numpy(padded), **no_guess).tolist()
        == ours.generate(padded, np.ones((2, 4)), **no_guess).tolist()
    )


def test_padding_on_the_right_is_warned_of(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model.generate([[3, 4], [5, 2]], max_new_tokens=1)
    assert "padding_side='left'" in caplog.text


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("use_cache", [True, False])
def test_embeddings_as_prompt(pair: tuple[Any, Any], beams: int, use_cache: bool) -> None:
    ours, theirs = pair
    embedded = np.random.default_rng(0).standard_normal((2, 4, 12))
    mask = np.array([[1, 1, 1, 1], [0, 0, 1, 1]])
    options = {"max_new_tokens": 6, "num_beams": beams, "attention_mask": mask}
    found = ours.generate(inputs_embeds=embedded, use_cache=use_cache, **options)
    options["attention_mask"] = torch.from_numpy(mask)
    expected = theirs.generate(inputs_embeds=torch.from_numpy(embedded), **options)
    assert found.shape == (2, 6)
    assert found.tolist() == expected.tolist()
    total = ours.generate(inputs_embeds=embedded, max_length=10, num_beams=beams)
    assert total.shape == (2, 6)  # max_length counts the prompt, whether it has ids or not
    table = ours.get_input_embeddings()
    both = ours.generate(IDS, inputs_embeds=table(IDS), max_length=8, num_beams=beams)
    assert both.tolist() == ours.generate(IDS, max_length=8, num_beams=beams).tolist()


def test_embeddings_get_twenty_new_tokens_like_any_prompt() -> None:
    """transformers takes the prompt's length off, and refuses one of twenty tokens."""
    ours, theirs = twins(0, max_position_embeddings=40)
    embedded = np.zeros((1, 6, 12))
    assert ours.generate(inputs_embeds=embedded).shape == (1, 20)
    assert theirs.generate(inputs_embeds=torch.from_numpy(embedded)).shape == (1, 14)


def test_given_positions_count_on(pair: tuple[Any, Any]) -> None:
    """transformers repeats the last given position for every new token."""
    ours, theirs = pair
    positions = np.array([[0, 1, 2]] * 2)
    plain = ours.generate(IDS, max_length=12).tolist()
    assert ours.generate(IDS, max_length=12, position_ids=positions).tolist() == plain
    assert ours.generate(IDS, max_length=12, position_ids=[[0, 1, 2]]).tolist() == plain
    stuck = theirs_generates(
        theirs, IDS, max_length=12, position_ids=positions, attention_mask=np.ones_like(IDS)
    )
    assert stuck.tolist() != plain


def test_cross_attention_and_head_mask_go_to_the_model() -> None:
    ours, theirs = twins(3, add_cross_attention=True)
    rng = np.random.default_rng(0)
    options = {
        "encoder_hidden_states": rng.standard_normal((2, 5, 12)),
        "encoder_attention_mask": np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
        "max_length": 12,
    }
    for beams in (1, 3):
        options["num_beams"] = beams
        found = ours.generate(IDS, **options)
        expected = theirs_generates(  # with a cache it fails
            theirs, IDS, attention_mask=np.ones_like(IDS), use_cache=False, **options
        )
        assert found.tolist() == expected.tolist()
    masked = ours.generate(IDS, head_mask=[0.0, 1.0, 0.0], **options)
    assert masked.tolist() != found.tolist()


def test_a_model_that_is_no_decoder(caplog: pytest.LogCaptureFixture) -> None:
    """It sees both sides, so that every step has to read everything again."""
    ours, theirs = twins(0, is_decoder=False)
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        found = ours.generate(IDS, max_length=10)
        ours.generate(IDS, max_length=10)
    assert caplog.text.count("returns no cache (config.is_decoder is False)") == 1
    expected = theirs_generates(
        theirs, IDS, max_length=10, use_cache=False, attention_mask=np.ones_like(IDS)
    )
    assert found.tolist() == expected.tolist()


# --- lengths --------------------------------------------------------------------------------------


def test_lengths(model: Any) -> None:
    def length(**options: Any) -> int:
        return model.generate(IDS, **options).shape[1]

    assert length(max_length=9) == 9
    assert length(max_new_tokens=4) == 7
    assert length(max_new_tokens=4, max_length=9) == 7
    assert length() == 17  # 3 + 20, but max_position_embeddings is 17
    assert length(max_length=18) == 18  # the last token is not read
    assert length(generation_config=GenerationConfig(max_length=8)) == 8


def test_twenty_new_tokens_by_default() -> None:
    ours, theirs = twins(0, max_position_embeddings=40)
    assert ours.generate(IDS).shape == (2, 23)
    assert theirs_generates(theirs, IDS, attention_mask=np.ones_like(IDS)).shape == (2, 23)


def test_beams_pad_with_zero(pair: tuple[Any, Any]) -> None:
    """transformers takes a padding id of 0 for none, and fills up with the end of sequence."""
    ours, theirs = pair
    options = {"num_beams": 3, "num_return_sequences": 3, "max_length": 14, "pad_token_id": 0}
    ends = int(ours.generate(IDS, num_beams=3, max_length=5).numpy()[0, 4])
    options["eos_token_id"] = ends
    found = ours.generate(IDS, **options).numpy()
    expected = theirs_generates(theirs, IDS, attention_mask=np.ones_like(IDS), **options).numpy()
    after = np.cumsum(np.cumsum(found[:, 3:] == ends, axis=1), axis=1) > 1
    assert after.any()
    assert (found[:, 3:][after] == 0).all()
    assert (expected[:, 3:][after] == ends).all()
    assert (found[:, 3:][~after] == expected[:, 3:][~after]).all()


def test_without_a_padding_token_rows_are_padded_with_the_end() -> None:
    def first_row_ends(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        scores = scores.copy()
        scores[:, 5] = 1e4, -1e4
        return scores

    ours, _ = twins(0, pad_token_id=None)
    options = {"eos_token_id": [5, 19], "logits_processor": [first_row_ends]}
    found = ours.generate(IDS, max_new_tokens=4, **options).numpy()
    assert found[0, 3:].tolist() == [5, 5, 5, 5]


# --- what wins ------------------------------------------------------------------------------------


def test_call_over_given_config_over_the_models(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = GenerationConfig(max_length=6, num_beams=2)
    monkeypatch.setattr(model, "generation_config", own, raising=False)
    assert model.generate(IDS).shape[1] == 6
    given = GenerationConfig(max_length=7, return_dict_in_generate=True)
    out = model.generate(IDS, generation_config=given)
    assert out.sequences.shape[1] == 7
    assert "beam_indices" in out  # what `given` leaves at its default is the model's
    assert model.generate(IDS, max_length=8, generation_config=given).sequences.shape[1] == 8
    assert own == GenerationConfig(max_length=6, num_beams=2)


def test_none_is_the_value_of_the_configuration(model: Any) -> None:
    given = GenerationConfig(eos_token_id=9, num_beams=2)
    options = {"max_length": 8, "generation_config": given}
    nothing = dict.fromkeys(("eos_token_id", "num_beams", "top_k", "bad_words_ids"))
    assert (
        model.generate(IDS, **options, **nothing).tolist()
        == model.generate(IDS, **options).tolist()
        != model.generate(IDS, max_length=8).tolist()
    )
    assert model.generate(IDS, eos_token_id=[], **options).shape[1] == 8  # the way to say: none


def test_own_processors_and_outputs_without_a_dict(model: Any) -> None:
    def only_nines(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        return np.where(np.arange(scores.shape[1]) == 9, 0.0, -np.inf)

    out = model.generate(IDS, max_length=5, logits_processor=[only_nines], output_scores=True)
    assert out.tolist() == [[3, 4, 5, 9, 9], [6, 7, 8, 9, 9]]


def test_the_mode_of_model_and_gradients_stays(model: Any) -> None:
    model.train()
    try:
        out = model.generate(IDS, max_length=5, return_dict_in_generate=True, output_logits=True)
        assert model.training
        assert is_grad_enabled()
        assert not out.logits[0].requires_grad
    finally:
        model.eval()


def test_layers_of_every_step(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    options: dict[str, Any] = dict.fromkeys(
        ("return_dict_in_generate", "output_attentions", "output_hidden_states"), True
    )
    options |= {"max_length": 6, "attention_mask": np.ones_like(IDS)}
    out = ours.generate(IDS, **options)
    assert [step[0].shape for step in out.hidden_states] == [(2, 3, 12), (2, 1, 12), (2, 1, 12)]
    assert [step[-1].shape for step in out.attentions] == [
        (2, 3, 3, 3), (2, 3, 1, 4), (2, 3, 1, 5),
    ]  # fmt: skip
    same_outputs(out, theirs_generates(theirs, IDS, **options))


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"input_ids": [3, 4]},
            r"input_ids must have shape \(B, T\) with B, T >= 1, got \(2,\); w",
        ),
        ({"input_ids": np.zeros((1, 0), int)}, r"T >= 1, got \(1, 0\)"),
        ({"input_ids": [[23]]}, "input_ids"),
        ({"max_length": 3}, "max_length must be > 3, the length of the prompt, got 3"),
        ({"max_length": 19}, "3 tokens and 16 new ones .* max_position_embeddings 17"),
        ({"max_new_tokens": 16}, "3 tokens and 16 new ones .* max_position_embeddings 17"),
        ({"attention_mask": [[1, 1]]}, r"attention_mask must have shape \(2, 3\), got \(1, 2\)"),
        ({"attention_mask": np.ones((2, 1, 3, 3))}, r"must have shape \(2, 3\)"),
        (
            {"max_lenght": 9},
            r"unknown arguments: max_lenght \(did you mean max_length\?\); allowed",
        ),
        ({"qwerty": 9}, "unknown arguments: qwerty; allowed are .*: attention_mask, "),
        ({"logits_to_keep": 2}, "unknown arguments: logits_to_keep"),
        ({"inputs": IDS}, "inputs is another name of input_ids: give one of them, got both"),
        ({"input_ids": [[3, 4], [5]]}, r"input_ids: .* rows have lengths \[1, 2\]"),
        ({"forced_eos_token_id": [3, 23]}, r"forced_eos_token_id must be .* < 23, got \[3, 23\]"),
        (
            {"input_ids": [[3]], "forced_bos_token_id": 99},
            r"forced_bos_token_id must be >= 0 and < 23, got \[99\]",
        ),
        ({"max_length": 2}, "max_length must be > 3, the length of the prompt, got 2"),
        ({"position_ids": [[0, 1]]}, r"position_ids must have shape \(2, 3\), got \(1, 2\)"),
        ({"do_sample": True, "min_p": 1.5}, "min_p must be a number from 0 to 1, got 1.5"),
        ({"do_sample": True, "top_k": -1}, "top_k must be an integer >= 1, got -1"),
        ({"cache_position": [0], "labels": 1}, "unknown arguments: cache_position, labels"),
        ({"penalty_alpha": 0.5}, "penalty_alpha is not supported, got 0.5"),
        ({"seed": -1}, "seed must be an integer >= 0 or None, got -1"),
        ({"do_sample": True, "temperature": 0.0}, "temperature must be a float > 0 .*, got 0.0"),
        ({"do_sample": True, "temperature": 2}, "temperature must be a float > 0 .*, got 2"),
        ({"num_return_sequences": 2}, "num_return_sequences must be 1 for greedy search"),
        ({"num_beams": 2, "num_return_sequences": 3}, "at most num_beams 2, got 3"),
        (
            {"num_beams": 2, "eos_token_id": list(range(23))},
            "23 eos_token_ids needs a vocabulary of at least 24 tokens, got 23",
        ),
        (
            {"inputs_embeds": np.zeros((2, 2, 12))},
            r"input_ids and inputs_embeds must have the same .*, got \(2, 3\)",
        ),
        ({"input_ids": None, "inputs_embeds": np.zeros((2, 12))}, r"shape \(B, T, D\)"),
    ],
)
def test_values_that_are_refused(model: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.generate(**{"input_ids": IDS, **options})


def test_ids_must_be_integers_and_there_must_be_some(model: Any) -> None:
    with pytest.raises(TypeError, match="input_ids must be integers, got float"):
        model.generate(IDS.astype(float))
    with pytest.raises(ValueError, match="generate needs input_ids, or a bos_token_id"):
        twins(0)[0].generate()
    for name in ("input_ids", "attention_mask", "inputs_embeds"):
        with pytest.raises(TypeError, match=f"{name}: data must be an array.*got str"):
            model.generate(**{"input_ids": IDS, name: "a text"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"generation_config": {"max_length": 9}},
            "must be a GenerationConfig or None, got a dict",
        ),
        (
            {"streamer": print},
            "streamer must have methods put and end, got a builtin_function_or_method",
        ),
        (
            {"logits_processor": np.exp},
            r"must be a list of functions f\(input_ids, scores\), got <",
        ),
        ({"logits_processor": [3]}, r"must be a list of functions .*, got \[3\]"),
    ],
)
def test_other_kinds_of_objects_are_refused(
    model: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        model.generate(IDS, **options)


@pytest.mark.parametrize("least", [{"min_length": 9}, {"min_new_tokens": 6}])
def test_lengths_that_exclude_each_other_are_warned_of(
    model: Any, least: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert model.generate(IDS, max_new_tokens=5, **least).shape == (2, 8)
    assert "the minimum length 9 exceeds the maximum 8" in caplog.text
