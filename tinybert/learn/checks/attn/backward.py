"""Check of attn/backward."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.layers import softmax
from tinybert.learn.patches import Patch

EXERCISE = Exercise(
    minutes=20,
    level=4,
    lesson=24,
    hints=(
        "The shapes decide almost everything: dvalue has Tk rows and dcontext has Tq, so p has to "
        "be transposed. swapaxes(-1, -2) transposes every matrix of a stack.",
        "The sum in softmax's rule runs over the keys of one query, and keeps its axis.",
        "The scale belongs to the scores: multiply dscores by it once, then both dquery and dkey "
        "have it.",
    ),
    forbidden={
        "backward": "derive it here; autograd is what you are replacing",
        "multi_head_attention_backward": "derive it here; it is what you are building",
        "attention_backward": "write it here; the engine's own is what you are building",
    },
    mutants=(
        Mutant(
            "scale lost",
            "keepdims=True)) * scale",
            "keepdims=True))",
            "gradient",
            "the scores were divided by sqrt(K), so their gradient is divided by it too.",
        ),
        Mutant(
            "scale for the queries only",
            "dkey = dscores.swapaxes(-1, -2) @ query",
            "dkey = (dscores / scale).swapaxes(-1, -2) @ query",
            "gradient",
            "queries and keys are factors of the same scaled scores: both gradients have the "
            "scale.",
        ),
        Mutant(
            "diagonal of softmax only",
            "p * (dp - (dp * p).sum(axis=-1, keepdims=True))",
            "p * (1 - p) * dp",
            "gradient",
            "p (1 - p) is how a weight depends on its own score; it depends on the scores of all "
            "other keys as well.",
        ),
        Mutant(
            "sum of softmax left out",
            "p * (dp - (dp * p).sum(axis=-1, keepdims=True))",
            "p * dp",
            "gradient",
            "the weights of a query add up to 1: when one grows, the others shrink. That is the "
            "sum in softmax's rule.",
        ),
        Mutant(
            "sum of dp without p",
            "(dp * p).sum(axis=-1, keepdims=True)",
            "dp.sum(axis=-1, keepdims=True)",
            "gradient",
            "the sum in softmax's rule weighs each dp with its p.",
        ),
        Mutant(
            "sum over the queries",
            "(dp * p).sum(axis=-1, keepdims=True)",
            "(dp * p).sum(axis=-2, keepdims=True)",
            "gradient",
            "softmax ran over the keys, the last axis, and so does the sum.",
        ),
        Mutant(
            "dvalue from dp",
            "dvalue = p.swapaxes(-1, -2) @ dcontext",
            "dvalue = (dcontext @ value.swapaxes(-1, -2)).swapaxes(-1, -2) @ dcontext",
            "gradient",
            "context = p @ v, so the other factor of v is p.",
        ),
        Mutant(
            "dquery and dkey swapped",
            "return dquery, dkey, dvalue",
            "return dkey, dquery, dvalue",
            "gradient",
            "return the gradients in the order of the arguments.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's gradients, step by step; some keys are masked."""
    for seed, (batch, heads, queries, keys, size) in enumerate(
        ((2, 3, 5, 5, 4), (1, 2, 3, 6, 7), (3, 1, 1, 4, 2))
    ):
        rng = np.random.default_rng(seed)
        query, dcontext = rng.normal(size=(2, batch, heads, queries, size))
        key, value = rng.normal(size=(2, batch, heads, keys, size))
        mask = np.zeros((batch, 1, 1, keys))
        mask[-1, ..., keys - 2 :] = -1e300
        p = softmax(query @ key.swapaxes(-1, -2) / size**0.5 + mask)
        tensors = [Tensor(x, requires_grad=True) for x in (query, key, value)]
        q, k, v = tensors
        ((q @ k.transpose(-1, -2) / size**0.5 + mask).softmax(-1) @ v).backward(dcontext)
        yield Case(
            student.attention_backward,
            (dcontext, query, key, value, p),
            tuple(np.asarray(x.grad) for x in tensors),
            stage="gradient",
            names=("dquery", "dkey", "dvalue"),
        )


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Compute the gradients of every attention by the learner's function."""

    def backward(
        query: Any,
        key: Any,
        value: Any,
        scale: Any,
        seen: Any,
        dy: Any,
        y: Any,
        top: Any,
        total: Any,
    ) -> tuple[Any, ...]:
        scores = query @ key.swapaxes(-1, -2) * scale
        p = np.exp(scores + (0.0 if seen.mask is None else seen.mask) - top) / total
        heads = (x[:, :, 0] for x in (dy, query, key, value, p))  # BERT has no groups of heads
        return tuple(gradient[:, :, None] for gradient in student.attention_backward(*heads))

    return (Patch("tinybert.ops.attention.attention_backward", backward),)
