"""Masks on the wrong axis, of the wrong size or missing: padding that changes a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert import embedding
from tinybert.autograd import Tensor, as_tensor, no_grad
from tinybert.backend import Array
from tinybert.learn.museum.bugs import Bug
from tinybert.learn.museum.specimens import (
    BATCH,
    LONG,
    MASK,
    SHORT,
    bert,
    bert_decoder,
    largest_difference,
    must_agree,
)
from tinybert.learn.patches import Patch
from tinybert.models.masks import to_scores as right_to_scores


def _alone_and_in_company(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the states of SHORT alone, and of its tokens in a batch where it is padded."""
    with no_grad():
        alone = model(SHORT).last_hidden_state.numpy()
        batch = model(BATCH, attention_mask=MASK).last_hidden_state.numpy()
    return alone[0], batch[0, : SHORT.shape[1]]


def difference_in_company() -> str:
    """Run a sentence alone, and padded to the length of a longer one."""
    return f"{largest_difference(*_alone_and_in_company(bert())):.1g}"


def alone_as_in_company() -> None:
    """A sentence has the same states alone and in a batch with a longer one."""
    must_agree(*_alone_and_in_company(bert()), "the states depend on the rest of the batch")


def equal_lengths_are_right() -> None:
    """Two sentences of the same length have the same states alone and in a batch."""
    model, two = bert(), np.concatenate([LONG, LONG[:, ::-1]])
    with no_grad():
        alone = model(LONG).last_hidden_state.numpy()
        batch = model(two, attention_mask=np.ones_like(two)).last_hidden_state.numpy()
    must_agree(batch[0], alone[0], "the states depend on the rest of the batch")


# --- no mask, and a mask on the wrong axis --------------------------------------------------------


def no_padding_mask(name: str, mask: Tensor, *sizes: Any) -> Array:
    """Ignore the mask: every query may attend to every key."""
    allowed = np.ones_like(mask.data, dtype=sizes[-1])
    return allowed[:, None, None, :] if mask.ndim == 2 else allowed[:, None]


NO_MASK = Bug(
    name="no-mask",
    title="attention to padding",
    mistake="The attention mask is accepted and not used.",
    patches=(Patch("tinybert.models.call.padding_mask", no_padding_mask),),
    measured="change of a sentence's states when it is padded",
    symptom=difference_in_company,
    check=alone_as_in_company,
    fooled=equal_lengths_are_right,
    right="allowed = mask.data.astype(dtype)",
    story=(
        "The BERT of candle, a Rust library, had no argument for a mask. A first report was "
        "closed, since the model was used for embeddings only. In March 2024 another user "
        "showed that embeddings need it too: two sentences of different lengths in one batch "
        "get other vectors than in Python. Run each batch once more, one by one, and compare."
    ),
    links=(
        "https://github.com/huggingface/candle/issues/1798",
        "https://github.com/huggingface/candle/issues/1552",
    ),
)


def padding_mask_for_queries(name: str, mask: Tensor, *sizes: Any) -> Array:
    """Put the mask on the axis of the queries."""
    allowed = mask.data.astype(sizes[-1])
    return allowed[:, None, :, None] if mask.ndim == 2 else allowed[:, None]


QUERY_AXIS = Bug(
    name="mask-on-the-query-axis",
    title="a mask on the axis of the queries",
    mistake="A mask (B, T) becomes (B, 1, T, 1): it hides padding from nobody, and everything from "
    "padding.",
    patches=(Patch("tinybert.models.call.padding_mask", padding_mask_for_queries),),
    measured="change of a sentence's states when it is padded",
    symptom=difference_in_company,
    check=alone_as_in_company,
    fooled=equal_lengths_are_right,
    right="return allowed[:, None, None, :] if mask.ndim == 2 else allowed[:, None]",
    story=(
        "Two well-known tutorials on transformers wrote unsqueeze(1).unsqueeze(3) where "
        "unsqueeze(1).unsqueeze(2) is right. Broadcasting accepts both. A reader of one compared "
        "the printed mask with the explanation above it. In the other the mask was -10000 and not "
        "-inf: with -inf, rows of padding would have given NaN, and somebody would have seen the "
        "bug before 2025. A mask has an axis for queries and one for keys: name them."
    ),
    links=(
        "https://github.com/hyunwoongko/transformer/pull/40",
        "https://github.com/bentrevett/pytorch-seq2seq/issues/96",
    ),
)

# --- the size of the mask -------------------------------------------------------------------------


def to_scores(allowed: Array) -> Tensor:
    """Add -10,000 to the score of a masked key, whatever the other scores are."""
    return as_tensor((1 - allowed) * -1e4)


def _with_large_scores() -> Any:
    """Return a BERT whose scores are of the order of 100,000, as in a training that diverges."""
    model = bert()
    with no_grad():
        for layer in model.encoder.layer:
            layer.attention.self.query.weight.mul_(1e5)
    return model


def difference_with_large_scores() -> str:
    """Run a sentence alone and padded, in a model with large scores."""
    return f"{largest_difference(*_alone_and_in_company(_with_large_scores())):.1g}"


def masked_whatever_the_scores() -> None:
    """A sentence has the same states alone and padded, even if scores are of the order of 1e5."""
    must_agree(*_alone_and_in_company(_with_large_scores()), "a masked key was attended to", 1e-3)


SMALL_MASK = Bug(
    name="mask-minus-10000",
    title="a mask that large scores outvote",
    mistake="Masked keys get -10,000 added to their score, not the lowest number of the dtype.",
    patches=(
        Patch("tinybert.models.call.to_scores", to_scores),
        Patch("tinybert.models.masks.to_scores", to_scores),
    ),
    measured="change of a sentence's states when it is padded, with large scores",
    symptom=difference_with_large_scores,
    check=masked_whatever_the_scores,
    fooled=alone_as_in_company,
    story=(
        "The first BERT used -10,000, a number that float16 can hold. With usual scores its "
        "effect is exactly that of minus infinity, and every test passes. In 2021 somebody "
        "trained a T5 from scratch, whose scores grew below -10,000: the masked keys then had the "
        "largest scores of all. transformers replaced the constant in 2022 in many models. A "
        "constant that is large enough today is a bug that waits."
    ),
    links=(
        "https://github.com/huggingface/transformers/issues/14859",
        "https://github.com/huggingface/transformers/pull/17306",
    ),
)

# --- pooling --------------------------------------------------------------------------------------


def mean_of_all(x: Tensor, mask: Tensor) -> Tensor:
    """Average over all positions, padding included."""
    return x.mean(axis=1)


_MEAN = "pooling_mode_mean_tokens"


def _pooled() -> tuple[np.ndarray, np.ndarray]:
    """Return the embedding of SHORT alone, and padded in a batch."""
    model, vectors = bert(), []
    with no_grad():
        for ids, mask in ((SHORT, np.ones_like(SHORT)), (BATCH, MASK)):
            states = model(ids, attention_mask=mask).last_hidden_state
            weights = as_tensor(mask[:, :, None].astype("float32"))
            vectors.append(embedding.POOLINGS[_MEAN](states, weights).numpy()[0])
    return vectors[0], vectors[1]


def difference_of_embeddings() -> str:
    """Embed a sentence alone, and padded to the length of a longer one."""
    return f"{largest_difference(*_pooled()):.1g}"


def embeddings_ignore_padding() -> None:
    """A sentence has the same embedding alone and in a batch with a longer one."""
    must_agree(*_pooled(), "the embedding depends on the padding")


POOLED_PADDING = Bug(
    name="mean-over-padding",
    title="sentence embeddings that average padding",
    mistake="The mean over the tokens of a sentence includes the padding.",
    patches=(Patch("tinybert.embedding.POOLINGS", {**embedding.POOLINGS, _MEAN: mean_of_all}),),
    measured="change of a sentence's embedding when it is padded",
    symptom=difference_of_embeddings,
    check=embeddings_ignore_padding,
    fooled=alone_as_in_company,
    right="return (x * mask).sum(axis=1) / mask.sum(axis=1).clip(1, None)",
    wrong=mean_of_all,
    story=(
        "The model hides padding from tokens, but it still computes a state for every padding "
        "position, and these are not zero. bert-as-service averaged them in 2018 until a user "
        "wrote down six tokens and nineteen zeros, and asked. The same question was asked about "
        "other libraries since. All layers are right here, only the last line is wrong: test the "
        "number that the user gets."
    ),
    links=(
        "https://github.com/jina-ai/clip-as-service/issues/93",
        "https://github.com/huggingface/transformers/issues/17463",
    ),
)

# --- the causal mask ------------------------------------------------------------------------------


def causal_mask(
    allowed: Array | None, queries: int, keys: int, dtype: Any, xp: Any, full: bool
) -> tuple[Tensor | None, bool]:
    """Let a query attend to itself and to later keys."""
    past = keys - queries
    rule = xp.arange(keys) >= xp.arange(past, keys)[:, None]  # (Tq, Tk)
    rule = rule.astype(dtype)[None, None]
    return right_to_scores(rule if allowed is None else allowed * rule), False


def _earlier_logits() -> tuple[np.ndarray, np.ndarray]:
    """Return the logits before the last token, for two different last tokens."""
    other = LONG.copy()
    other[0, -1] = 3
    with no_grad():
        first, second = (bert_decoder()(ids).logits.numpy()[0, :-1] for ids in (LONG, other))
    return first, second


def influence_of_the_last_token() -> str:
    """Change the last token, and look at the logits of the tokens before it."""
    return f"{largest_difference(*_earlier_logits()):.1g}"


def the_future_is_hidden() -> None:
    """The last token has no influence on the logits before it."""
    must_agree(*_earlier_logits(), "the logits before the last token depend on it")


def the_loss_is_a_loss() -> None:
    """The loss is finite, and all logits are."""
    with no_grad():
        output = bert_decoder()(LONG, labels=LONG)
    assert np.isfinite(output.logits.numpy()).all(), "a logit is not finite"
    assert np.isfinite(output.loss.item()), "the loss is not finite"


UPSIDE_DOWN = Bug(
    name="triangle-upside-down",
    title="a decoder that reads the answer",
    mistake="The causal mask hides earlier tokens and shows later ones.",
    patches=(Patch("tinybert.models.call.causal_mask", causal_mask),),
    measured="change of earlier logits when the last token changes",
    symptom=influence_of_the_last_token,
    check=the_future_is_hidden,
    fooled=the_loss_is_a_loss,
    right="rule = xp.arange(keys) <= xp.arange(past, keys)[:, None]  # (Tq, Tk)",
    story=(
        "A user of an early transformer in PyTorch trained a tiny model in 2017 and got 98 % of "
        "the words right; its translations were nonsense. Such a model copies the next word, "
        "which the mask should hide. One of the causes that were named at once: the wrong kind "
        "of triangular matrix. A result that is too good is a bug until it is explained. Change "
        "the last token: nothing before it may move."
    ),
    links=("https://github.com/jadore801120/attention-is-all-you-need-pytorch/issues/19",),
)

BUGS = (NO_MASK, QUERY_AXIS, SMALL_MASK, POOLED_PADDING, UPSIDE_DOWN)
