"""Logits processors: values computed by hand, and against transformers on random scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers.generation import logits_process as oracle

from tinybert.autograd import Tensor
from tinybert.backend import Array, to_host
from tinybert.generation import GenerationConfig
from tinybert.generation import logits_processors as processors
from tinybert.generation import logits_warpers as warpers
from tinybert.generation.logits_processors import processors_for

NEVER = -np.inf


def on(device: str, data: Any, dtype: Any = np.float32) -> Array:
    return Tensor(np.asarray(data, dtype), device=device).data


def processed(processor: Any, ids: Any, scores: Any, device: str = "cpu") -> list[list[float]]:
    return to_host(processor(on(device, ids, np.int64), on(device, scores))).tolist()


CASES: list[tuple[Any, list[int], list[float], list[float]]] = [
    (processors.RepetitionPenaltyLogitsProcessor(2.0), [0, 1, 1], [1, -1, 0.5], [0.5, -2, 0.5]),
    (processors.NoRepeatNGramLogitsProcessor(2), [0, 1, 2, 0], [1, 2, 3, 4], [1, NEVER, 3, 4]),
    (processors.NoRepeatNGramLogitsProcessor(1), [0, 1], [1, 2, 3], [NEVER, NEVER, 3]),
    (processors.NoRepeatNGramLogitsProcessor(3), [0, 1], [1, 2, 3], [1, 2, 3]),
    (processors.NoRepeatNGramLogitsProcessor(2), [0, 0, 0], [1, 2, 3], [NEVER, 2, 3]),
    (processors.NoBadWordsLogitsProcessor([[2], [0, 1]]), [1, 0], [1, 2, 3], [1, NEVER, NEVER]),
    (processors.NoBadWordsLogitsProcessor([[2], [0, 1]]), [0, 1], [1, 2, 3], [1, 2, NEVER]),
    (processors.NoBadWordsLogitsProcessor([[2], [0]], [2, 5]), [1], [1, 2, 3], [NEVER, 2, 3]),
    (processors.MinLengthLogitsProcessor(3, [0, 2]), [1, 1], [1, 2, 3], [NEVER, 2, NEVER]),
    (processors.MinLengthLogitsProcessor(3, 0), [1, 1, 1], [1, 2, 3], [1, 2, 3]),
    (processors.MinNewTokensLengthLogitsProcessor(2, 1, 0), [1, 1], [1, 2, 3], [NEVER, 2, 3]),
    (processors.MinNewTokensLengthLogitsProcessor(2, 1, 0), [1, 1, 1], [1, 2, 3], [1, 2, 3]),
    (processors.ForcedBOSTokenLogitsProcessor(1), [0], [1, 2, 3], [NEVER, 0, NEVER]),
    (processors.ForcedBOSTokenLogitsProcessor(1), [0, 0], [1, 2, 3], [1, 2, 3]),
    (processors.ForcedEOSTokenLogitsProcessor(3, [0, 1]), [2, 2], [1, 2, 3], [0, 0, NEVER]),
    (processors.ForcedEOSTokenLogitsProcessor(3, 1), [2], [1, 2, 3], [1, 2, 3]),
    (processors.SuppressTokensLogitsProcessor([1, 99]), [2], [1, 2, 3], [1, NEVER, 3]),
    (processors.SuppressTokensAtBeginLogitsProcessor([1], 1), [2], [1, 2, 3], [1, NEVER, 3]),
    (processors.SuppressTokensAtBeginLogitsProcessor([1], 1), [2, 2], [1, 2, 3], [1, 2, 3]),
    (warpers.TemperatureLogitsWarper(0.5), [0], [1, 2, 3], [2, 4, 6]),
    (warpers.TopKLogitsWarper(1), [0], [1, 1, 0], [1, 1, NEVER]),
    (warpers.TopKLogitsWarper(9), [0], [1, 1, 0], [1, 1, 0]),
    (warpers.TopKLogitsWarper(1, min_tokens_to_keep=2), [0], [3, 1, 2], [3, NEVER, 2]),
]
HALVES = np.log([0.15, 0.5, 0.05, 0.3]).tolist()
for p, kept in {0.8: [1, 3], 0.5: [1], 0.0: [1], 0.96: [0, 1, 2, 3], 0.94: [0, 1, 3]}.items():
    row = [s if i in kept else NEVER for i, s in enumerate(HALVES)]
    CASES.append((warpers.TopPLogitsWarper(p), [0], HALVES, row))
# The entropy is 1.142: that of 0.3 surprises most nearly as much, then 0.5, 0.15, 0.05. With an
# epsilon of 0.3 eta is 0.548 * 0.319 = 0.175, with 0.1 it is 0.1.
for warper, kept in (
    (warpers.MinPLogitsWarper(0.5), [1, 3]),
    (warpers.MinPLogitsWarper(0.2), [0, 1, 3]),
    (warpers.MinPLogitsWarper(1.0), [1]),
    (warpers.MinPLogitsWarper(1.0, min_tokens_to_keep=3), [0, 1, 3]),
    (warpers.TypicalLogitsWarper(0.2), [3]),
    (warpers.TypicalLogitsWarper(0.5), [1, 3]),
    (warpers.TypicalLogitsWarper(0.9), [0, 1, 3]),
    (warpers.TypicalLogitsWarper(0.2, min_tokens_to_keep=2), [1, 3]),
    (warpers.EpsilonLogitsWarper(0.1), [0, 1, 3]),
    (warpers.EpsilonLogitsWarper(0.6), [1]),
    (warpers.EpsilonLogitsWarper(0.6, min_tokens_to_keep=9), [0, 1, 2, 3]),
    (warpers.EtaLogitsWarper(0.3), [1, 3]),
    (warpers.EtaLogitsWarper(0.1), [0, 1, 3]),
    (warpers.EtaLogitsWarper(0.3, min_tokens_to_keep=3), [0, 1, 3]),
):
    row = [s if i in kept else NEVER for i, s in enumerate(HALVES)]
    CASES.append((warper, [0], HALVES, row))


@pytest.mark.parametrize(("processor", "ids", "scores", "expected"), CASES)
def test_values_worked_out_by_hand(
    processor: Any, ids: list[int], scores: list[float], expected: list[float], device: str
) -> None:
    other = [5.0] * len(scores)
    found = processed(processor, [ids, ids], [scores, scores], device)
    assert found == [np.float32(expected).tolist()] * 2
    given = on(device, [scores, other])
    processor(on(device, [ids, ids], np.int64), given)
    assert to_host(given).tolist() == [np.float32(scores).tolist(), other]  # unchanged


def test_remove_invalid_values(device: str) -> None:
    largest = float(np.finfo(np.float32).max)
    found = processed(
        processors.InfNanRemoveLogitsProcessor(), [[0]], [[np.nan, np.inf, NEVER, 1]], device
    )
    assert found == [[0.0, largest, -largest, 1.0]]


RANDOM = [
    ("RepetitionPenaltyLogitsProcessor", (1.7,)),
    ("RepetitionPenaltyLogitsProcessor", (0.4,)),
    ("NoRepeatNGramLogitsProcessor", (1,)),
    ("NoRepeatNGramLogitsProcessor", (2,)),
    ("NoRepeatNGramLogitsProcessor", (3,)),
    ("NoBadWordsLogitsProcessor", ([[3], [1, 2], [4, 4, 1], [0]], [3])),
    ("ForcedBOSTokenLogitsProcessor", (3,)),
    ("TemperatureLogitsWarper", (0.3,)),
    ("InfNanRemoveLogitsProcessor", ()),
    ("LogitNormalization", ()),
]


@pytest.mark.parametrize(("name", "arguments"), RANDOM)
def test_random_scores_against_transformers(name: str, arguments: tuple[Any, ...]) -> None:
    rng = np.random.default_rng(0)
    theirs = getattr(oracle, name)(*arguments)
    ours = getattr(warpers if name.endswith("Warper") else processors, name)(*arguments)
    for length in (3, 4, 12):
        ids = rng.integers(0, 6, (5, length))
        scores = rng.standard_normal((5, 6)).astype(np.float32) * 3
        scores[0, 2] = NEVER
        expected = theirs(torch.from_numpy(ids), torch.from_numpy(scores.copy())).numpy()
        np.testing.assert_allclose(ours(ids, scores), expected, rtol=1e-6)


WARPERS = [
    *(("TopKLogitsWarper", value) for value in (1, 4, 30)),
    *(("TopPLogitsWarper", value) for value in (0.0, 0.6, 0.95)),
    *(("MinPLogitsWarper", value) for value in (0.03, 0.4, 1.0)),
    *(("TypicalLogitsWarper", value) for value in (0.05, 0.5, 0.95)),
    *(("EpsilonLogitsWarper", value) for value in (0.004, 0.07, 0.9)),
    *(("EtaLogitsWarper", value) for value in (0.004, 0.07, 0.9)),
]


@pytest.mark.parametrize("keep", [1, 2, 5, 20])
@pytest.mark.parametrize(("name", "value"), WARPERS)
def test_what_can_be_drawn_is_what_transformers_leaves(name: str, value: Any, keep: int) -> None:
    """Ties and tokens that are ruled out already included."""
    theirs = getattr(oracle, name)(value, min_tokens_to_keep=keep)
    ours = getattr(warpers, name)(value, keep)
    rng = np.random.default_rng(0)
    scores = np.concatenate([width * rng.standard_normal((200, 12)) for width in (0.3, 2, 9)])
    scores[100:300] = scores[100:300].round()  # many tie, with the best and the last as well
    scores[rng.random(scores.shape) < 0.2] = NEVER
    scores[:, 5] = rng.standard_normal(len(scores))  # but never all of a row
    scores[0], scores[1, :5], scores[1, 6:] = 1.0, NEVER, NEVER
    scores = scores.astype(np.float32)
    expected = theirs(None, torch.from_numpy(scores.copy())).numpy()
    assert (ours(None, scores) == expected).all()
    assert (expected == NEVER).sum() >= (scores == NEVER).sum()


def test_a_bad_word_counts_from_its_first_chance() -> None:
    """transformers lets [5, 7] pass after a prompt of one token: it compares with one too many."""
    ids, scores = np.array([[5]]), np.zeros((1, 9), np.float32)
    assert processors.NoBadWordsLogitsProcessor([[5, 7]])(ids, scores)[0, 7] == NEVER
    theirs = oracle.NoBadWordsLogitsProcessor([[5, 7]])
    assert theirs(torch.from_numpy(ids), torch.from_numpy(scores))[0, 7] == 0


def test_order_of_the_processors() -> None:
    config = GenerationConfig(
        repetition_penalty=1.5, no_repeat_ngram_size=2, bad_words_ids=[[3]], min_length=4,
        forced_bos_token_id=1, forced_eos_token_id=2, remove_invalid_values=True,
        suppress_tokens=[5], begin_suppress_tokens=[6], do_sample=True, temperature=0.5, top_k=3,
        top_p=0.9, min_p=0.1, typical_p=0.9, epsilon_cutoff=0.1, eta_cutoff=0.1,
        renormalize_logits=True, eos_token_id=2,
    )  # fmt: skip

    def mine(ids: Array, scores: Array) -> Array:
        return scores

    found = [getattr(p, "__name__", type(p).__name__) for p in processors_for(config, 3, [mine])]
    assert found == [
        "RepetitionPenaltyLogitsProcessor", "NoRepeatNGramLogitsProcessor",
        "NoBadWordsLogitsProcessor", "MinLengthLogitsProcessor", "ForcedBOSTokenLogitsProcessor",
        "ForcedEOSTokenLogitsProcessor", "InfNanRemoveLogitsProcessor",
        "SuppressTokensLogitsProcessor", "SuppressTokensAtBeginLogitsProcessor", "mine",
        "TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper",
        "TypicalLogitsWarper", "EpsilonLogitsWarper", "EtaLogitsWarper", "LogitNormalization",
    ]  # fmt: skip


def test_what_is_not_asked_for_is_not_done() -> None:
    assert processors_for(GenerationConfig(), 3) == []
    sampling = processors_for(GenerationConfig(do_sample=True), 3)
    assert [type(p).__name__ for p in sampling] == ["TopKLogitsWarper"]  # 50 by default
    assert processors_for(GenerationConfig(do_sample=True, top_k=0), 3) == []
    assert processors_for(GenerationConfig(min_length=5), 3) == []  # no token ends a sequence
    off = {"top_p": None, "typical_p": 1.0, "min_p": 0.0, "epsilon_cutoff": 0, "eta_cutoff": None}
    assert processors_for(GenerationConfig(do_sample=True, top_k=None, **off), 3) == []
    on = {"top_p": 0.1, "typical_p": 0.1, "min_p": 0.1, "epsilon_cutoff": 0.1, "eta_cutoff": 0.1}
    several = GenerationConfig(do_sample=True, num_beams=2, eos_token_id=[1, 2], top_k=1, **on)
    top_k, *others = [p.__dict__ for p in processors_for(several, 3)]
    assert [top_k["top_k"], *(p["min_tokens_to_keep"] for p in others)] == [3] * 6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: warpers.TemperatureLogitsWarper(2), "temperature must be a float > 0 .*, got 2"),
        (lambda: warpers.TemperatureLogitsWarper(0.0), "do_sample=False .*, got 0.0"),
        (lambda: warpers.TopKLogitsWarper(0), "top_k must be an integer >= 1, got 0"),
        (lambda: warpers.TopPLogitsWarper(1.5), "top_p must be a number from 0 to 1, got 1.5"),
        (lambda: warpers.TopPLogitsWarper("1"), "top_p must be a number from 0 to 1, got '1'"),
        (
            lambda: warpers.TopPLogitsWarper(0.5, 0),
            "min_tokens_to_keep must be an integer >= 1, got 0",
        ),
        (lambda: warpers.MinPLogitsWarper(-0.1), "min_p must be a number from 0 to 1, got -0.1"),
        (lambda: warpers.TypicalLogitsWarper(0), "typical_p must be a number > 0 and < 1, got 0"),
        (lambda: warpers.EpsilonLogitsWarper(1.0), "epsilon_cutoff must be a number > 0 and < 1"),
        (
            lambda: warpers.EtaLogitsWarper(float("nan")),
            "eta_cutoff must be a number > 0 and < 1, got nan",
        ),
        (
            lambda: processors.RepetitionPenaltyLogitsProcessor(-1.0),
            "repetition_penalty must be a float > 0, got -1.0",
        ),
        (
            lambda: processors.RepetitionPenaltyLogitsProcessor(2),
            "repetition_penalty must be a float > 0, got 2",
        ),
        (lambda: processors.NoRepeatNGramLogitsProcessor(-1), "no_repeat_ngram_size"),
        (lambda: processors.NoBadWordsLogitsProcessor([]), "bad_words_ids must be a list of lists"),
        (lambda: processors.NoBadWordsLogitsProcessor([[]]), "non-empty list"),
        (
            lambda: processors.NoBadWordsLogitsProcessor([[-1]]),
            "each token id in bad_words_ids must be an integer >= 0",
        ),
        (
            lambda: processors.NoBadWordsLogitsProcessor([[9]])(
                np.zeros((1, 1), int), np.zeros((1, 3), np.float32)
            ),
            "bad_words_ids must be ids < 3, .*, got 9",
        ),
    ],
)
def test_values_that_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
