"""The toy models and inputs of the Flax tests. NumPy alone: the oracle's environment reads it too.

Shapes   B 3 texts, T 7 tokens, C 2 choices, D 12, H 3, L 2; D is not H, so a square kernel that is
         not transposed, or a wrong axis, is visible
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

SIZES: dict[str, Any] = {
    "vocab_size": 37, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
    "intermediate_size": 10, "max_position_embeddings": 17, "type_vocab_size": 2,
    "initializer_range": 0.3,
}  # fmt: skip
DECODER = {"is_decoder": True, "add_cross_attention": True}
# case -> class, options of the config
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "model": ("FlaxBertModel", {}),
    "decoder": ("FlaxBertModel", DECODER),
    "causal": ("FlaxBertForCausalLM", {"is_decoder": True}),
    "causal_encoder": ("FlaxBertForCausalLM", {}),
    "cross": ("FlaxBertForCausalLM", DECODER),
    "cross_encoder": ("FlaxBertForCausalLM", {"add_cross_attention": True}),
    "pretraining": ("FlaxBertForPreTraining", {}),
    "masked": ("FlaxBertForMaskedLM", {"hidden_act": "gelu_new"}),
    "untied": ("FlaxBertForMaskedLM", {"tie_word_embeddings": False}),
    "next_sentence": ("FlaxBertForNextSentencePrediction", {}),
    "classes": ("FlaxBertForSequenceClassification", {"num_labels": 4}),
    "choices": ("FlaxBertForMultipleChoice", {}),
    "tokens": ("FlaxBertForTokenClassification", {"num_labels": 5}),
    "question": ("FlaxBertForQuestionAnswering", {}),
}
CACHED = ("decoder", "cross")
SAVED = "next_sentence"
LIMIT, STEPS = 9, (3, 1, 2)  # the cache's length, and how many tokens each call gets
TEXTS, TOKENS, CHOICES = 3, 7, 2


def key_of(path: str, shape: tuple[int, ...]) -> str:
    """Return the name under which parameters are drawn: the same in base models and heads."""
    return f"{path.removeprefix('bert/')}{tuple(shape)}"


def draw(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the parameter of a name: normal, scales around 1."""
    drawn = np.random.default_rng(zlib.crc32(key.encode())).normal(size=shape) * 0.3
    return (drawn + ("scale(" in key)).astype("float32")


def cotangent(number: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return the random weights of an output in the loss."""
    return np.random.default_rng((7, number)).normal(size=shape).astype("float32")


def inputs(name: str, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the arguments of a call: ids, types, a mask with padding (a fraction counts as 0, a 2
    as 1) and one text whose keys are all masked; an encoder's states for cross-attention.
    """
    shape: tuple[int, ...] = (TEXTS, TOKENS)
    if name == "FlaxBertForMultipleChoice":
        shape = (TEXTS, CHOICES, TOKENS)
    rng = np.random.default_rng(3)
    mask = np.ones(shape)
    mask[0, ..., -2:] = [0.5, 0]
    mask[1, ..., 0] = 2
    mask[2] = 0
    given = {
        "input_ids": rng.integers(0, SIZES["vocab_size"], shape),  # 0, the padding, is among them
        "attention_mask": mask,
        "token_type_ids": rng.integers(0, 2, shape),
        "position_ids": rng.integers(0, SIZES["max_position_embeddings"], shape),
    }
    if options.get("add_cross_attention"):
        states = rng.normal(size=(TEXTS, 5, SIZES["hidden_size"])).astype("float32")
        hidden = np.ones((TEXTS, 5))
        hidden[0, 3:] = 0
        given |= {"encoder_hidden_states": states, "encoder_attention_mask": hidden}
    return given


def cached_mask() -> np.ndarray:
    """Return the mask of a call with a cache: of its full length, with padding at the left."""
    mask = np.ones((TEXTS, LIMIT))
    mask[1, 0] = 0
    return mask
