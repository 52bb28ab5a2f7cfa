"""Check of attn/forward."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import as_tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.layers import merge_heads, split_heads
from tinybert.learn.patches import Patch
from tinybert.ops.attention import ScaledDotProductAttention

READY = "write it here; ready attention is what you are building"
EXERCISE = Exercise(
    minutes=15,
    level=3,
    lesson=23,
    hints=(
        "Follow the shapes: q (B, H, Tq, K) and k (B, H, Tk, K) give scores (B, H, Tq, Tk). Which "
        "two axes of k have to be swapped?",
        "K is the size of one head: the last axis after split_heads. The mask is added to the "
        "scores, before softmax.",
        "To merge, undo split_heads in reverse order: first swap the axes of heads and tokens, "
        "then reshape.",
    ),
    forbidden={
        "scaled_dot_product_attention": READY,
        "multi_head_attention": READY,
        "attend": READY,
    },
    mutants=(
        Mutant(
            "divided by the root of the hidden size",
            "math.sqrt(q.shape[-1])",
            "math.sqrt(query.shape[-1])",
            "values",
            "a score is a sum of K products, where K = D / heads; divide by sqrt(K).",
        ),
        Mutant(
            "softmax over the queries",
            "softmax(scores) @ v",
            "softmax(scores.swapaxes(-1, -2)).swapaxes(-1, -2) @ v",
            "values",
            "the weights of one query over all keys add up to 1: softmax runs over the last axis.",
        ),
        Mutant(
            "mask multiplied",
            "math.sqrt(q.shape[-1]) + mask",
            "math.sqrt(q.shape[-1]) * (1 + mask)",
            "values",
            "the mask is added to the scores: 0 keeps a score, a huge negative number hides it.",
        ),
        Mutant(
            "mask added before the scale",
            "q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]) + mask",
            "(q @ k.swapaxes(-1, -2) + mask) / math.sqrt(q.shape[-1])",
            "values",
            "the mask is not divided by sqrt(K): add it to the scaled scores.",
        ),
        Mutant(
            "heads reshaped without a swap",
            "(split_heads(x, heads) for x in (query, key, value))",
            "(x.reshape(x.shape[0], heads, x.shape[1], -1) for x in (query, key, value))",
            "values",
            "a reshape to (B, H, T, K) has the right shape but mixes tokens with features.",
        ),
        Mutant(
            "heads merged without a swap",
            "context.swapaxes(1, 2).reshape",
            "context.reshape",
            "values",
            "swap the axes of heads and tokens before the reshape.",
        ),
        Mutant(
            "values from the keys",
            "in (query, key, value))",
            "in (query, key, key))",
            "values",
            "keys decide where to read; what is read are the values.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's operation, with and without masks."""
    for seed, (batch, queries, keys, heads, size) in enumerate(((2, 5, 5, 3, 4), (3, 2, 7, 1, 5))):
        rng = np.random.default_rng(seed)
        query = rng.normal(size=(batch, queries, heads * size))
        key, value = rng.normal(size=(2, batch, keys, heads * size))
        mask = rng.normal(size=(batch, 1, queries, keys))
        yield Case(
            student.multi_head_attention,
            (query, key, value, heads),
            engine(query, key, value, heads),
        )
        yield Case(
            student.multi_head_attention,
            (query, key, value, heads, mask),
            engine(query, key, value, heads, mask),
        )
    padding = np.zeros((batch, 1, 1, keys))
    padding[1, ..., 3:] = np.finfo(float).min
    expected = engine(query, key, value, heads, padding)
    arguments = (query, key, value, heads, padding)
    yield Case(student.multi_head_attention, arguments, expected, stage="edges")


def engine(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, heads: int, mask: Any = None
) -> np.ndarray:
    """Return the context (B, Tq, D) by the engine's operations."""
    q, k, v = (F.split_heads(as_tensor(x), heads) for x in (query, key, value))
    return F.merge_heads(F.scaled_dot_product_attention(q, k, v, mask)).numpy()


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Compute the context of every layer by the learner's function; backward is the engine's."""
    original = ScaledDotProductAttention.forward

    def forward(
        self: Any, query: Any, key: Any, value: Any, mask: Any = None, **options: Any
    ) -> Any:
        original(self, query, key, value, mask, **options)  # keeps what backward needs
        merged = (merge_heads(x) for x in (query, key, value))
        heads = query.shape[1]
        context = student.multi_head_attention(*merged, heads, 0.0 if mask is None else mask)
        return split_heads(context, heads)

    return (Patch("tinybert.ops.attention.ScaledDotProductAttention.forward", forward),)
