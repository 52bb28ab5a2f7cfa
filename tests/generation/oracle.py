"""What the tests of generation share: a decoder of ours and its twin in transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers

from tests.models import oracle
from tinybert import BertLMHeadModel

WIDTHS = {"position_embeddings": 3.0, "embeddings.weight": 1.0, "bias": 0.1, "LayerNorm": 0.1}


def draw_wild_weights(model: Any, seed: int) -> None:
    """Embeddings so large that what follows depends on every token and place: a model with small
    ones says the same token for ever.
    """
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            centre = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            width = next((w for part, w in WIDTHS.items() if part in name), 0.3)
            drawn = centre + width * rng.standard_normal(tuple(p.shape))
            p.copy_(torch.from_numpy(drawn.astype(np.float32)))


def twins(seed: int, **options: Any) -> tuple[Any, Any]:
    """Two decoders with the same weights, float64, eval mode."""
    own = oracle.config(**{"is_decoder": True, "tie_word_embeddings": False, **options})
    theirs = transformers.BertLMHeadModel(oracle.twin_config(own))
    draw_wild_weights(theirs, seed)
    ours = BertLMHeadModel(own)
    ours.load_state_dict(theirs.state_dict())
    return ours.to(np.float64).eval(), theirs.double().eval()


def theirs_generates(model: Any, ids: np.ndarray, **options: Any) -> Any:
    """transformers' generate, arrays as torch tensors."""
    as_torch = {k: oracle.as_torch(v) for k, v in options.items()}
    return model.generate(torch.from_numpy(ids.copy()), **as_torch)


def same_outputs(ours: Any, theirs: Any) -> None:
    """The same fields; ids and beam indices equal, all numbers to 1e-4, -inf included."""
    assert list(ours) == [name for name in theirs if theirs[name] is not None]
    for name in ("sequences", "beam_indices"):
        if name in ours:
            assert ours[name].tolist() == theirs[name].tolist(), name
    for name in set(ours) - {"sequences", "beam_indices", "past_key_values"}:
        same_numbers(ours[name], theirs[name])


def same_numbers(ours: Any, theirs: Any) -> None:
    """Tensors, or tuples (of tuples) of them. Of what has a place for each token, (B, T, D) or
    (B, H, T, Tk), the last is compared: before it there may be padding, which means nothing.
    """
    if isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same_numbers(one, other)
        return
    assert ours.shape == tuple(theirs.shape)
    one, other = ours.numpy(), theirs.numpy()
    if one.ndim > 2:
        one, other = np.take(one, -1, axis=-2), np.take(other, -1, axis=-2)
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
