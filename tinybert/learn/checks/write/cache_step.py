"""Check of write/cache_step."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import as_tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.layers import merge_heads
from tinybert.learn.patches import Patch
from tinybert.learn.small_models import generation_case, weights_of
from tinybert.models.attention import SelfAttention

EXERCISE = Exercise(
    minutes=25,
    level=4,
    lesson=37,
    hints=(
        "How many real tokens are in a row of the mask? The new one is the last of them, so its "
        "position is that number minus 1.",
        "w['words'][token] is (B, D); [:, None] makes it (B, 1, D), a sequence of one token. "
        "np.concatenate along axis 1 appends.",
        "The mask to add is 0 for real tokens and `lowest` for padding, for all P + 1 keys; it "
        "needs two more axes, for heads and queries.",
    ),
    mutants=(
        Mutant(
            "position 0 for every token",
            "mask.sum(axis=1) - 1",
            "0 * token",
            "values",
            "a model that reads one token at a time must be told where the token is.",
        ),
        Mutant(
            "position one too large",
            "mask.sum(axis=1) - 1",
            "mask.sum(axis=1)",
            "values",
            "positions count from 0, and the mask includes the new token.",
        ),
        Mutant(
            "past forgotten",
            'multi_head_attention(linear(x, "query"), keys, values, heads, hidden)',
            "multi_head_attention("
            'linear(x, "query"), keys[:, -1:], values[:, -1:], heads, hidden[..., -1:])',
            "values",
            "the query attends to the keys of all tokens, the past included.",
        ),
        Mutant(
            "own key left out",
            'multi_head_attention(linear(x, "query"), keys, values, heads, hidden)',
            "multi_head_attention("
            'linear(x, "query"), keys[:, :-1], values[:, :-1], heads, hidden[..., :-1])',
            "values",
            "a token attends to itself as well: append before you attend.",
        ),
        Mutant(
            "cache of the new token only",
            "return context, (keys, values)",
            "return context, (keys[:, -1:], values[:, -1:])",
            "shape",
            "the next step needs the keys and values of all tokens so far.",
        ),
        Mutant(
            "new token in front",
            '[past[0], linear(x, "key")]',
            '[linear(x, "key"), past[0]]',
            "values",
            "append at the end: keys, values and mask must have the same order.",
        ),
        Mutant(
            "padding counted in the position",
            'w["positions"][mask.sum(axis=1) - 1]',
            'w["positions"][mask.shape[1] - 1]',
            "edges",
            "the position is the number of *real* tokens before it; padding does not count.",
        ),
        Mutant(
            "padding attended to",
            "heads, hidden)",
            "heads)",
            "edges",
            "keys of padding must be hidden in every step, not only in the first.",
        ),
        Mutant(
            "mask upside down",
            "lowest * (1 - mask)",
            "lowest * mask",
            "values",
            "the mask is 1 for real tokens; hide the others.",
        ),
    ),
)
TOKENS, LONGEST, SIZE, HEADS = 11, 9, 6, 2


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with attention over the whole text, with a causal mask."""
    w = weights(0)
    ids = np.random.default_rng(1).integers(0, TOKENS, (2, 7))
    all_real = np.ones(ids.shape, int)
    for length in (5, 7, 1):
        yield step(student, ids[:, :length], all_real[:, :length], w)
    yield whole_text(student, ids, all_real, w)
    padded = all_real.copy()
    padded[1, :3] = 0
    for length in (6, 4):
        yield step(student, ids[:, :length], padded[:, :length], w, stage="edges")
    yield step(student, ids[:1, :2], all_real[:1, :2], weights(2), stage="edges")
    yield in_a_model(student)


def weights(seed: int) -> dict[str, np.ndarray]:
    """Return random weights of one attention with its embeddings."""
    rng = np.random.default_rng(seed)
    w = {"words": rng.normal(size=(TOKENS, SIZE)), "positions": rng.normal(size=(LONGEST, SIZE))}
    for name in ("query", "key", "value"):
        w[f"{name}.weight"] = rng.normal(size=(SIZE, SIZE))
        w[f"{name}.bias"] = rng.normal(size=SIZE)
    return w


def step(
    student: ModuleType, ids: np.ndarray, mask: np.ndarray, w: Any, stage: str = "values"
) -> Case:
    """Return the case of the last token, with the cache of all tokens before it."""
    context, keys, values = without_cache(ids, mask, w)
    return Case(
        student.cache_step,
        (ids[:, -1], mask, (keys[:, :-1], values[:, :-1]), w, HEADS),
        (context[:, -1:], (keys, values)),
        stage=stage,
        names=("context", "cache"),
        what=f"cache_step with {ids.shape[1] - 1} tokens in the past, mask {mask.tolist()}",
    )


def whole_text(student: ModuleType, ids: np.ndarray, mask: np.ndarray, w: Any) -> Case:
    """Return the case of a text that is read token by token, each with the learner's cache."""

    def token_by_token() -> np.ndarray:
        nothing = np.zeros((len(ids), 0, SIZE))
        past, contexts = (nothing, nothing), []
        for t in range(ids.shape[1]):
            context, past = student.cache_step(ids[:, t], mask[:, : t + 1], past, w, HEADS)
            contexts.append(context)
        return np.concatenate(contexts, axis=1)

    what = f"cache_step for {ids.shape[1]} tokens in a row: the context of each"
    return Case(token_by_token, (), without_cache(ids, mask, w)[0], what=what)


def without_cache(ids: np.ndarray, mask: np.ndarray, w: Any) -> tuple[np.ndarray, ...]:
    """Return context, keys and values (B, T, D) of a whole text."""
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    x = w["words"][ids] + w["positions"][positions]
    q, k, v = (F.linear(as_tensor(x), *pair) for pair in parameters(w))
    queries, keys, values = (F.split_heads(y, HEADS) for y in (q, k, v))
    padding = (1.0 - mask)[:, None, None] * np.finfo(float).min
    context = F.scaled_dot_product_attention(queries, keys, values, padding, is_causal=True)
    return F.merge_heads(context).numpy(), k.numpy(), v.numpy()


def parameters(w: Any) -> list[tuple[Any, Any]]:
    """Return weight and bias of query, key and value as Tensors."""
    names = ("query", "key", "value")
    return [(as_tensor(w[f"{n}.weight"]), as_tensor(w[f"{n}.bias"])) for n in names]


def in_a_model(student: ModuleType) -> Case:
    """Return the case of a small model with the learner's step in each of its layers."""
    original = SelfAttention.forward

    def forward(self: Any, x: Any, call: Any, past: Any, head_mask: Any) -> Any:
        if x.shape[1] > 1:  # the prompt
            return original(self, x, call, past, head_mask)
        batch, _, width = x.shape
        # The states of a layer are its "words", one for each text; they know their positions.
        w = {"words": x.data[:, 0], "positions": np.zeros((past.length + 1, width), x.dtype)}
        mask = np.ones((batch, past.length + 1), int)
        if call.mask is not None:
            mask = (call.mask.data[:, 0, 0] == 0).astype(int)
        kept = merge_heads(past.key.data), merge_heads(past.value.data)
        arguments = (np.arange(batch), mask, kept, {**w, **weights_of(self)})
        context, cache = student.cache_step(*arguments, len(self.kept_heads))
        past.key, past.value = (self.split(as_tensor(array)) for array in cache)
        return as_tensor(context), None

    what = "a small model that generates with your step in every layer"
    return generation_case(what, Patch("tinybert.models.attention.SelfAttention.forward", forward))
