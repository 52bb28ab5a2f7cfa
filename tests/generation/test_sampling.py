"""Sampling: possible tokens, their frequencies, and reproducibility by a seed."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from transformers.generation import logits_process

from tests.generation.oracle import CLASSES, causal_twins, everything_in_float64, twins
from tinybert.autograd import Tensor
from tinybert.backend import generator, manual_seed, to_host
from tinybert.generation.sampling import sample, top_indices

PROBABILITIES = np.array([0.4, 0.0, 0.3, 0.05, 0.25])


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """The sum of (seen - expected)^2 / expected."""
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, 1e-300)) + np.where(probabilities, 0, -np.inf)


@pytest.fixture(scope="module")
def model() -> Any:
    return twins(1, pad_token_id=2)[0]


def test_draws_have_the_frequencies_of_the_softmax() -> None:
    rng = np.random.default_rng(0)
    scores = np.broadcast_to(log(PROBABILITIES) + 7, (20000, 5)).astype(np.float32)
    counts = np.bincount(sample(scores, 1, rng)[:, 0], minlength=5)
    assert counts[1] == 0
    possible = PROBABILITIES > 0
    assert chi_square(counts[possible], PROBABILITIES[possible]) < 16.3  # 3 degrees, 0.1 %


def test_draws_without_replacement() -> None:
    """The first two of three: P(a, b) = p_a * p_b / (1 - p_a)."""
    rng = np.random.default_rng(0)
    p = np.array([0.6, 0.3, 0.1])
    places = sample(np.broadcast_to(np.log(p), (20000, 3)), 2, rng)
    assert (places[:, 0] != places[:, 1]).all()
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    counts = np.array([((places == pair).all(axis=1)).sum() for pair in pairs])
    expected = np.array([p[a] * p[b] / (1 - p[a]) for a, b in pairs])
    assert chi_square(counts, expected) < 20.5  # 5 degrees of freedom, 0.1 %


def test_best_are_sorted_distinct_and_first_among_equals(device: str) -> None:
    scores = Tensor(np.array([[1, 3, 3, -np.inf], [-np.inf] * 4], np.float32), device=device).data
    assert to_host(top_indices(scores, 4)).tolist() == [[1, 2, 0, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_seed_repeats_the_draws_and_leaves_the_global_generator_alone(
    model: Any, beams: int
) -> None:
    ids = [[3, 4, 5], [6, 7, 8]]
    options = {"do_sample": True, "max_length": 17, "num_beams": beams, "temperature": 3.0}
    with manual_seed(1):
        untouched = generator().random()
    manual_seed(1)
    first, again, other = (model.generate(ids, seed=s, **options).tolist() for s in (5, 5, 6))
    assert first == again != other
    assert generator().random() == untouched
    unseeded = [model.generate(ids, **options).tolist() for _ in range(2)]
    assert unseeded[0] != unseeded[1]


def test_only_allowed_tokens_are_drawn(model: Any) -> None:
    ids = np.repeat([[3, 4, 5]], 400, axis=0)
    logits = model(ids[:1]).logits.numpy()[0, -1]
    order = np.argsort(-logits)

    def drawn(**options: Any) -> set[int]:
        out = model.generate(ids, do_sample=True, max_new_tokens=1, seed=0, **options)
        return set(out.numpy()[:, -1].tolist())

    assert drawn(top_k=3) == set(order[:3].tolist())
    assert drawn(top_k=1) == drawn(temperature=1e-3) == drawn(top_p=0.0) == {int(order[0])}
    p = np.exp(logits - logits.max())
    p /= p.sum()
    nucleus = int((np.cumsum(p[order]) < 0.7).sum()) + 1
    assert drawn(top_p=0.7, top_k=0) == set(order[:nucleus].tolist())
    assert len(drawn(temperature=100.0, top_k=0)) == 23


def chances(
    logits: np.ndarray, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0,
    min_p: float = 0.0,
) -> dict[int, float]:  # fmt: skip
    """What each token that can be drawn is drawn with, in plain Python."""

    def softmax(tokens: list[int]) -> dict[int, float]:
        weights = [math.exp((logits[t] - logits[tokens[0]]) / temperature) for t in tokens]
        return {t: w / sum(weights) for t, w in zip(tokens, weights, strict=True)}

    best = sorted(range(len(logits)), key=lambda token: -logits[token])
    best = best[: top_k or None]
    before, nucleus = 0.0, []
    for token, p in softmax(best).items():
        if before < top_p:
            nucleus.append(token)
        before += p
    p = softmax(nucleus)
    return softmax([token for token in nucleus if p[token] >= min_p * p[nucleus[0]]])


OPTIONS: list[dict[str, Any]] = [
    {"temperature": 3.0, "top_k": 0},
    {"top_k": 6, "temperature": 2.0},
    {"top_p": 0.8, "top_k": 0, "temperature": 4.0},
    {"temperature": 5.0, "top_k": 9, "top_p": 0.85},
    {"temperature": 5.0, "top_k": 12, "top_p": 0.95, "min_p": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options))
@pytest.mark.parametrize("name", CLASSES)
def test_two_tokens_have_the_chances_of_the_model(name: str, options: dict[str, Any]) -> None:
    """P(a, b) = P(a) P(b | a), by full passes of transformers."""
    count = 3000
    whole = {"use_chunking": False, "chunk_size": -1} if name == "MegaForCausalLM" else {}
    with everything_in_float64(), torch.no_grad():
        ours, theirs = causal_twins(name, 4, **whole)

        def next_chances(*ids: int) -> dict[int, float]:
            logits = theirs(torch.tensor([ids]), use_cache=False).logits[0, -1].numpy()
            return chances(logits, **options)

        pairs = {
            (a, b): p * q
            for a, p in next_chances(3, 4, 5).items()
            for b, q in next_chances(3, 4, 5, a).items()
        }
    out = ours.generate(
        np.repeat([[3, 4, 5]], count, axis=0), do_sample=True, max_new_tokens=2, seed=0, **options
    ).numpy()
    seen = Counter(map(tuple, out[:, 3:].tolist()))
    assert set(seen) <= set(pairs)
    often = [pair for pair, p in pairs.items() if p * count >= 5]
    counts = np.array([*(seen[pair] for pair in often), 0])
    expected = np.array([*(pairs[pair] for pair in often), 0])
    counts[-1], expected[-1] = count - counts.sum(), 1 - expected.sum()  # all the rare ones
    if expected[-1] * count < 5:
        counts, expected = counts[:-1], expected[:-1] / expected[:-1].sum()
    assert len(expected) > 4
    assert chi_square(counts, expected) < chi_square_limit(len(expected) - 1)


def chi_square_limit(degrees: int) -> float:
    """What chance exceeds once in a thousand times, to some thousandths.

    Source   Wilson and Hilferty 1931, "The distribution of chi-square"
    """
    part = 2 / (9 * degrees)
    return degrees * (1 - part + 3.09 * math.sqrt(part)) ** 3


WARPERS: dict[str, tuple[str, float]] = {  # in the order in which they are applied
    "temperature": ("TemperatureLogitsWarper", 4.0),
    "top_k": ("TopKLogitsWarper", 11),
    "top_p": ("TopPLogitsWarper", 0.95),
    "min_p": ("MinPLogitsWarper", 0.15),
    "typical_p": ("TypicalLogitsWarper", 0.8),
    "epsilon_cutoff": ("EpsilonLogitsWarper", 0.08),
    "eta_cutoff": ("EtaLogitsWarper", 0.1),
}


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("names", [*((name,) for name in WARPERS), tuple(WARPERS)], ids="+".join)
def test_scores_are_those_that_transformers_leaves(
    model: Any, names: tuple[str, ...], beams: int
) -> None:
    options = {"top_k": 0, **{name: WARPERS[name][1] for name in names}}
    out = model.generate(
        [[3, 4, 5], [6, 7, 8]], do_sample=True, max_length=9, num_beams=beams, eos_token_id=[9, 4],
        seed=0, return_dict_in_generate=True, output_scores=True, output_logits=True, **options,
    )  # fmt: skip
    keep = {} if beams == 1 else {"min_tokens_to_keep": 3}
    ruled_out = 0
    for logits, scores in zip(out.logits, out.scores, strict=True):
        expected = torch.from_numpy(logits.numpy().copy())
        expected = expected if beams == 1 else expected.log_softmax(-1)
        for name in names:
            kind, value = WARPERS[name]
            warper = getattr(logits_process, kind)
            more = {} if name == "temperature" else keep
            expected = warper(value, **more)(None, expected)
        np.testing.assert_allclose(scores.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
        ruled_out += int((scores.numpy() == -np.inf).sum())
    assert (ruled_out > 0) == (names != ("temperature",))


def test_several_sequences_for_each_prompt(model: Any) -> None:
    options = {"do_sample": True, "max_length": 12, "temperature": 4.0, "seed": 0}
    out = model.generate([[3, 4], [5, 6]], num_return_sequences=3, **options).numpy()
    assert out[:, :2].tolist() == [[3, 4]] * 3 + [[5, 6]] * 3
    assert len({tuple(row) for row in out.tolist()}) == 6


def test_beam_sampling_scores_are_those_of_its_sequences(model: Any) -> None:
    ids = np.array([[3, 4, 5], [6, 7, 8]])
    out = model.generate(
        ids, do_sample=True, num_beams=3, num_return_sequences=3, max_length=12, top_k=0, seed=3,
        length_penalty=1.0, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    log_probs = model(out.sequences).logits.log_softmax().numpy()
    for row, score in zip(range(6), out.sequences_scores.numpy(), strict=True):
        tokens = out.sequences.numpy()[row, 3:]
        total = log_probs[row, np.arange(2, 11), tokens].sum()
        assert np.isclose(total / 9, score, rtol=1e-4)
    assert all(np.diff(scores).max() <= 0 for scores in out.sequences_scores.numpy().reshape(2, 3))
    assert len({tuple(row) for row in out.sequences.tolist()}) == 6
