"""Dropout inside a model: the share that is kept, its scale, and independence.

A test of a right distribution fails with a probability of at most 1e-6 (see `tests.distributions`);
seeds are not fixed. Where dropout is applied is the subject of `test_dropout.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinybert
from tests.distributions import ALARM, counts_bound, share_bound
from tinybert import nn
from tinybert.models.mega.feed_forward import FeatureDropout

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "intermediate_size": 32, "max_position_embeddings": 24,
}  # fmt: skip
IDS = np.random.default_rng().integers(3, 50, (16, 24))
ATTENTION = {"Bert": "attention_probs_dropout_prob", "MegatronBert": "attention_probs_dropout_prob",
             "Nemotron": "attention_dropout"}  # fmt: skip
RATES = [0.1, 0.35]


def model_of(family: str, **options: Any) -> Any:
    config = getattr(tinybert, f"{family}Config")
    return getattr(tinybert, f"{family}Model")(config(**{**SIZES, **options})).train()


def assert_independent(keep: np.ndarray, rate: float, tests: int = 1) -> None:
    """A mask of independent elements, each True with probability 1 - rate: alone, and in pairs
    along each axis.
    """
    keep = keep.squeeze().astype(int)
    alarm = ALARM / tests / (1 + keep.ndim)
    assert share_bound(int(keep.sum()), keep.size, 1 - rate) > alarm
    both = np.array([rate * rate, rate * (1 - rate), rate * (1 - rate), (1 - rate) ** 2])
    for axis in range(keep.ndim):
        last = np.moveaxis(keep, axis, -1)
        even = last[..., : last.shape[-1] // 2 * 2].reshape(-1, 2)
        counts = np.bincount(2 * even[:, 0] + even[:, 1], minlength=4)
        assert counts_bound(counts, both) > alarm, f"axis {axis}"


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("family", ["Bert", "MegatronBert"])
def test_dropout_of_hidden_states(family: str, rate: float) -> None:
    """Of the embeddings, and of both blocks of each layer."""
    model = model_of(family, hidden_dropout_prob=rate, attention_probs_dropout_prob=0.0)
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    places = [m for m in model.modules() if isinstance(m, nn.Dropout) and m.p == rate]
    for place in places:
        place.register_forward_hook(lambda _, args, y: seen.append((args[0].numpy(), y.numpy())))
    model(IDS)
    assert len(seen) == len(places) == 5
    masks = []
    for x, y in seen:
        masks.append(y != 0)
        np.testing.assert_allclose(y, np.where(masks[-1], x / (1 - rate), 0), rtol=1e-6)
    assert_independent(np.stack(masks), rate)  # (5, B, T, D)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("family", ATTENTION)
def test_dropout_of_attention_weights(family: str, rate: float) -> None:
    """Weights of the first layer, which nothing else of dropout changes."""
    rates = {"hidden_dropout_prob": 0.0} if family != "Nemotron" else {}
    model = model_of(family, **rates, **{ATTENTION[family]: rate})
    call = {"output_attentions": True, "use_cache": False}
    masks = []
    for _ in range(2):  # two calls draw two masks
        dropped = model.train()(IDS, **call).attentions[0].numpy()
        weights = model.eval()(IDS, **call).attentions[0].numpy()
        keep = dropped != 0
        np.testing.assert_allclose(dropped, np.where(keep, weights / (1 - rate), 0), rtol=1e-5)
        if family == "Nemotron":  # a query has weights of the keys up to its own position
            full = np.arange(SIZES["max_position_embeddings"])
            keep = keep[:, :, 12:][..., full < 12]
        masks.append(keep)
    assert_independent(np.stack(masks), rate)  # (2, B, H, Tq, Tk)


@pytest.mark.parametrize("rate", RATES)
def test_dropout_of_attention_without_a_matrix_of_weights(rate: float) -> None:
    """The faster attention, which returns no weights, read through values that are the identity.

    With queries of zeros all weights are 1 / T; one output feature for each key.
    """
    length = 24
    model = model_of(
        "Bert", hidden_size=4 * length, hidden_dropout_prob=0.0, attention_probs_dropout_prob=rate
    )
    attention = model.encoder.layer[0].attention.self
    for parameter in (attention.query.weight, attention.value.weight):
        parameter.data[...] = 0
    seen: list[np.ndarray] = []

    def identity(*_: Any) -> Any:
        return tinybert.as_tensor(np.tile(np.eye(length, dtype=np.float32), (len(IDS), 1, 4)))

    attention.value.register_forward_hook(identity)
    attention.register_forward_hook(lambda _, args, y: seen.append(y[0].numpy()))
    model(IDS)
    context = seen[0].reshape(len(IDS), length, 4, length)  # (B, Tq, H, Tk)
    keep = context != 0
    np.testing.assert_allclose(context, keep / length / (1 - rate), rtol=1e-5)
    assert_independent(keep, rate)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("by_feature", [False, True])
def test_dropout_of_mega(by_feature: bool, rate: float) -> None:
    """Its five places in each layer; by feature, all tokens of a text have one mask, and values in
    chunks are dropped as a whole, as in transformers.
    """
    options = dict.fromkeys(
        ("dropout_prob", "hidden_dropout_prob", "nffn_activation_dropout_prob"), rate
    )
    model = model_of(
        "Mega", max_positions=24, attention_probs_dropout_prob=0.0, nffn_hidden_size=64,
        use_feature_dropout=by_feature, **options,
    )  # fmt: skip
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    for place in model.modules():
        if isinstance(place, FeatureDropout):
            place.register_forward_hook(
                lambda _, args, y: seen.append((args[0].numpy(), y.numpy()))
            )
    model(IDS)
    assert len(seen) == 2 * 5
    for x, y in seen:
        assert x.all()
        keep = y != 0
        np.testing.assert_allclose(y, np.where(keep, x / (1 - rate), 0), rtol=1e-6)
        if by_feature:
            one = keep[:, :1] if x.ndim == 3 else keep[:, :, :1, :1]  # (B, T, D) or (B, C, T, D)
            assert (keep == one).all()
            keep = one
        assert_independent(keep, rate, len(seen))
