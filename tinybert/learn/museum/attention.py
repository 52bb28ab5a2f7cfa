"""Attention heads that are scaled, split or shared wrongly: no error, and texts that look fine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, no_grad
from tinybert.learn.museum.bugs import Bug
from tinybert.learn.museum.specimens import (
    LONG,
    SHORT,
    bert,
    cosine,
    must_agree,
    nemotron,
    random,
)
from tinybert.learn.patches import Patch
from tinybert.models.attention import SelfAttention
from tinybert.nn.attention import attend as right_attend
from tinybert.nn.attention import repeat_heads as right_repeat_heads


def _self_attention() -> SelfAttention:
    return bert().encoder.layer[0].attention.self


def _attention_of(x: np.ndarray) -> np.ndarray:
    """Return the context (1, T, 24) of features (1, T, 24), without mask and positions."""
    call = SimpleNamespace(
        mask=None, is_causal=False, past_length=0, output_attentions=False, packing=None
    )
    with no_grad():
        return _self_attention()(Tensor(x.astype("float32")), call, None, None)[0].numpy()


def cosine_of_two_sentences() -> str:
    """Compare the states of [CLS] of two sentences."""
    with no_grad():
        states = [bert()(ids).last_hidden_state.numpy()[0, 0] for ids in (SHORT, LONG)]
    return f"{cosine(*states):.3f}"


# --- the scale of the scores ----------------------------------------------------------------------


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Any = None, **options: Any) -> Any:
    """Divide scores by sqrt(K), as always, and by sqrt(H): in all by sqrt(hidden size)."""
    heads = query.shape[1]
    return right_attend(query * heads**-0.5, key, value, mask, **options)


def weights_follow_the_paper() -> None:
    """The first layer's weights are softmax(Q K^T / sqrt(K)), worked out with NumPy."""
    model = bert()
    with no_grad():
        x = model.embeddings(LONG)
        found = model(LONG, output_attentions=True).attentions[0].numpy()
        layer = _self_attention()
        query, key = (part(x).numpy().reshape(6, 3, 8) for part in (layer.query, layer.key))
    scores = np.einsum("qhk,thk->hqt", query, key) / np.sqrt(8)
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    must_agree(found[0], weights, "the weights are not softmax(Q K^T / sqrt(K))")


def weights_sum_to_one() -> None:
    """All weights are positive, and those of a query sum to 1."""
    with no_grad():
        weights = bert()(LONG, output_attentions=True).attentions[0].numpy()
    assert (weights > 0).all(), "a weight is not positive"
    must_agree(weights.sum(axis=-1), 1.0, "the weights of a query do not sum to 1")


WRONG_SCALE = Bug(
    name="scale-by-hidden-size",
    title="scores divided by the wrong size",
    mistake="Scores are divided by the root of the hidden size, not of the size of a head.",
    patches=(Patch("tinybert.models.attention.attend", attend),),
    measured="cosine of two sentences",
    symptom=cosine_of_two_sentences,
    check=weights_follow_the_paper,
    fooled=weights_sum_to_one,
    right="scores = (scores if bias is None else scores + bias) * (query.shape[-1] ** -0.5)",
    story=(
        "In the paper d_k is the size of one head; it is easily read as the size of the model. "
        "vit-pytorch had dim ** -0.5 until a reader asked in January 2021. The author had "
        "written attention for nearly a year. Nothing fails: the weights only become flatter, "
        "and a model that is trained this way learns to live with it. Pretrained weights do "
        "not. Compare the weights with numbers worked out from the formula."
    ),
    links=(
        "https://github.com/lucidrains/vit-pytorch/issues/65",
        "https://arxiv.org/abs/1706.03762",
    ),
)

# --- splitting heads ------------------------------------------------------------------------------


def split(self: SelfAttention, x: Tensor) -> Tensor:
    """Give the features their shape by one reshape, which mixes tokens."""
    batch, length, width = x.shape
    heads = len(self.kept_heads)
    return x.reshape(batch, heads, length, width // heads)


def order_of_tokens_does_not_matter() -> None:
    """Without positions, tokens in another order give the same contexts in that order."""
    x, order = random(1, 5, 24), [3, 0, 4, 1, 2]
    must_agree(
        _attention_of(x[:, order]), _attention_of(x)[:, order],
        "tokens in another order give other contexts: heads have features of several tokens",
    )  # fmt: skip


def shapes_are_right() -> None:
    """Heads have the shape (B, H, T, K), and the context has the shape of the input."""
    x = random(1, 5, 24)
    assert _self_attention().split(Tensor(x)).shape == (1, 3, 5, 8), "wrong shape of the heads"
    assert _attention_of(x).shape == x.shape, "wrong shape of the context"


NO_TRANSPOSE = Bug(
    name="heads-without-transpose",
    title="heads made by a reshape alone",
    mistake="(B, T, H K) is reshaped to (B, H, T, K) at once; the axes H and T are not swapped.",
    patches=(Patch("tinybert.models.attention.SelfAttention.split", split),),
    measured="cosine of two sentences",
    symptom=cosine_of_two_sentences,
    check=order_of_tokens_does_not_matter,
    fooled=shapes_are_right,
    story=(
        "FuxiCTR copied this line from a blog, and three of its models had it until 2022. A "
        "transformer written from scratch had it at the other end, where heads are merged, "
        "until a reader reported it: its test, copying a sentence, passed, since the model "
        "learned around the mixed tokens. The shape is right, so no error occurs. After every "
        "reshape ask: which numbers are together now?"
    ),
    links=(
        "https://github.com/reczoo/FuxiCTR/issues/30",
        "https://github.com/jsbaan/transformer-from-scratch/pull/6",
    ),
)

# --- grouped queries ------------------------------------------------------------------------------


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Repeat the list of heads: 0 1 0 1 where it should be 0 0 1 1."""
    return F.concat([x] * (heads // x.shape[1]), axis=1)


def logits_with_attentions() -> str:
    """Run a Nemotron whose 4 query heads share 2 heads of keys and values."""
    with no_grad():
        return f"{nemotron()(LONG, output_attentions=True).logits.numpy()[0, -1, 0]:.3f}"


def both_ways_agree() -> None:
    """Logits are the same whether attention weights are returned or not."""
    with no_grad():
        fused, apart = (nemotron()(LONG, output_attentions=a).logits for a in (False, True))
    must_agree(apart, fused, "output_attentions=True changes the logits", 1e-3)


def one_head_for_all() -> None:
    """With a single head of keys and values, repeating it is right."""
    x = Tensor(random(1, 1, 3, 2))
    must_agree(right_repeat_heads(x, 4), repeat_heads(x, 4), "repeated heads differ")


TILED_HEADS = Bug(
    name="heads-tiled-not-repeated",
    title="query heads that use the wrong keys",
    mistake="Shared heads of keys and values are repeated as 0 1 0 1, not as 0 0 1 1.",
    patches=(Patch("tinybert.nn.attention.repeat_heads", repeat_heads),),
    measured="logit of a Nemotron, run with output_attentions=True",
    symptom=logits_with_attentions,
    check=both_ways_agree,
    fooled=one_head_for_all,
    story=(
        "Two functions repeat an array, tile and repeat, and their results have the same shape. "
        "The definition of the operator Attention in ONNX used tile for grouped queries; in 2025 "
        "somebody compared it with torch and proposed the other. With one shared head, or without "
        "sharing, both give the same. Test grouped queries with at least two groups of two."
    ),
    links=("https://github.com/onnx/onnx/pull/7274", "https://arxiv.org/abs/2305.13245"),
)

BUGS = (WRONG_SCALE, NO_TRANSPOSE, TILED_HEADS)
