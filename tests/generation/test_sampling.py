"""Sampling: what can be drawn, how often, and that a seed repeats it without side effects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.generation.oracle import twins
from tinybert.autograd import Tensor
from tinybert.backend import generator, manual_seed, to_host
from tinybert.generation.choice import best, draw

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
    counts = np.bincount(draw(scores, 1, rng)[:, 0], minlength=5)
    assert counts[1] == 0
    possible = PROBABILITIES > 0
    assert chi_square(counts[possible], PROBABILITIES[possible]) < 16.3  # 3 degrees, 0.1 %


def test_draws_without_replacement() -> None:
    """The first two of three: P(a, b) = p_a * p_b / (1 - p_a)."""
    rng = np.random.default_rng(0)
    p = np.array([0.6, 0.3, 0.1])
    places = draw(np.broadcast_to(np.log(p), (20000, 3)), 2, rng)
    assert (places[:, 0] != places[:, 1]).all()
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    counts = np.array([((places == pair).all(axis=1)).sum() for pair in pairs])
    expected = np.array([p[a] * p[b] / (1 - p[a]) for a, b in pairs])
    assert chi_square(counts, expected) < 20.5  # 5 degrees of freedom, 0.1 %


def test_best_are_sorted_distinct_and_first_among_equals(device: str) -> None:
    scores = Tensor(np.array([[1, 3, 3, -np.inf], [-np.inf] * 4], np.float32), device=device).data
    assert to_host(best(scores, 4)).tolist() == [[1, 2, 0, 3], [0, 1, 2, 3]]


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


def test_sampled_tokens_follow_the_model(model: Any) -> None:
    ids = np.repeat([[3, 4, 5]], 4000, axis=0)
    out = model.generate(ids, do_sample=True, max_new_tokens=1, seed=0, temperature=2.0)
    logits = model(ids[:1]).logits.numpy()[0, -1] / 2
    p = np.exp(logits - logits.max())
    counts = np.bincount(out.numpy()[:, -1], minlength=23)
    assert chi_square(counts, p / p.sum()) < 48.3  # 22 degrees of freedom, 0.1 %


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
