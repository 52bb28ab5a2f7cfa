"""The small models and numbers on which the symptoms and checks of the museum run.

Weights are random, from a fixed seed, and larger than those of a fresh model, so that attention
differs from a plain mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Tensor
from tinybert.backend import manual_seed
from tinybert.models.bert import BertConfig, BertModel
from tinybert.models.bert_heads import BertLMHeadModel
from tinybert.models.nemotron import NemotronConfig, NemotronForCausalLM

WORDS = 40  # in the vocabulary
SHORT = np.array([[5, 11, 17]])
LONG = np.array([[5, 23, 17, 8, 31, 12]])
# SHORT and LONG as one batch, the first one padded.
BATCH = np.array([[5, 11, 17, 0, 0, 0], LONG[0]])
MASK = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]])


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Return standard normal numbers in float64."""
    return np.random.default_rng(seed).standard_normal(shape)


def variable(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers as a Tensor that requires a gradient, for `gradcheck`."""
    return Tensor(random(*shape, seed=seed), requires_grad=True)


def bert() -> BertModel:
    """Return a BERT of 2 layers and 3 heads of 8 features, without dropout."""
    return _grown(BertModel, _bert_config())


def bert_decoder() -> BertLMHeadModel:
    """Return the same sizes as a decoder with absolute positions."""
    return _grown(BertLMHeadModel, _bert_config(is_decoder=True, tie_word_embeddings=False))


def nemotron() -> NemotronForCausalLM:
    """Return a Nemotron of 2 layers; 4 query heads share 2 heads of keys and values, and half of
    the 8 features of a head are rotated.
    """
    config = NemotronConfig(
        vocab_size=WORDS, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, partial_rotary_factor=0.5,
        max_position_embeddings=32, initializer_range=0.3,
    )  # fmt: skip
    return _grown(NemotronForCausalLM, config)


def _bert_config(**options: Any) -> BertConfig:
    return BertConfig(
        vocab_size=WORDS, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=48, max_position_embeddings=32, initializer_range=0.3, **options,
    )  # fmt: skip


def _grown(kind: Any, config: Any) -> Any:
    with manual_seed(0):
        return kind(config).eval()


# --- comparing ------------------------------------------------------------------------------------


def largest_difference(a: Any, b: Any) -> float:
    """Return the largest absolute difference of two arrays or Tensors."""
    a, b = (x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x) for x in (a, b))
    return float(np.abs(a - b).max())


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the cosine of the angle between two vectors."""
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def must_agree(a: Any, b: Any, what: str, within: float = 1e-4) -> None:
    """Raise AssertionError unless two results differ by `within` at most."""
    gap = largest_difference(a, b)
    assert gap <= within, f"{what} (they differ by {gap:.2g})"
