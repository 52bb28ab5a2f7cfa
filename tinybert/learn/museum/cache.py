"""Positions, caches and the steps of generation: right at first, wrong from the second token on."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor, no_grad
from tinybert.backend import Array, array_module
from tinybert.generation.logits_processors import RepetitionPenaltyLogitsProcessor
from tinybert.learn.museum.bugs import Bug
from tinybert.learn.museum.specimens import (
    LONG,
    SHORT,
    bert_decoder,
    largest_difference,
    must_agree,
    nemotron,
    random,
)
from tinybert.learn.patches import Patch
from tinybert.models.nemotron import nemotron_model
from tinybert.models.nemotron.nemotron_layers import LayerNorm1P
from tinybert.models.nemotron.nemotron_layers import rotary_angles as right_rotary_angles

NEW: dict[str, Any] = {"max_new_tokens": 6, "pad_token_id": 0, "eos_token_id": 39}


def _words(ids: np.ndarray) -> str:
    return " ".join(map(str, ids))


# --- positions under left padding -----------------------------------------------------------------


def _positions(mask: Any) -> Tensor:
    """Count the padding too."""
    return (mask * 0 + 1).cumsum(axis=1) - 1


def _continued(padding: int) -> np.ndarray:
    """Return what a decoder adds to SHORT behind some padding."""
    ids = np.pad(SHORT, ((0, 0), (padding, 0)))
    mask = np.pad(np.ones_like(SHORT), ((0, 0), (padding, 0)))
    return bert_decoder().generate(ids, attention_mask=mask, **NEW).numpy()[0, ids.shape[1] :]


def continuation_after_padding() -> str:
    """Continue a prompt with three tokens of padding before it."""
    return _words(_continued(3))


def padding_does_not_change_the_text() -> None:
    """A prompt is continued in the same way with padding at its left."""
    alone, padded = _words(_continued(0)), _words(_continued(3))
    assert alone == padded, f"the prompt is continued by {alone}, and behind padding by {padded}"


def without_padding_it_continues() -> None:
    """Without padding, the positions are 0, 1, 2 as they should be."""
    found = _positions(Tensor(np.ones((1, 4), int))).numpy()[0]
    assert _words(found) == "0 1 2 3", f"the positions are {_words(found)}"


PADDED_POSITIONS = Bug(
    name="padding-counted-in-positions",
    title="padding that moves a prompt",
    mistake="Positions count the padding at the left of a prompt.",
    patches=(Patch("tinybert.generation.generate._positions", _positions),),
    measured="tokens that continue a prompt behind three tokens of padding",
    symptom=continuation_after_padding,
    check=padding_does_not_change_the_text,
    fooled=without_padding_it_continues,
    story=(
        "A mask hides padding, but it does not renumber the tokens after it. In 2026 a user of "
        "nnsight, a tool that looks inside models, found that every prompt shorter than the "
        "longest of its batch got other predictions, without an error. Unsloth had the same bug "
        "with rotary positions; there too the longest prompt, which has no padding, was right. "
        "Compare every row of a batch with the row alone."
    ),
    links=(
        "https://github.com/ndif-team/nnsight/pull/673",
        "https://github.com/unslothai/unsloth/pull/4078",
        "https://github.com/huggingface/transformers/issues/3167",
    ),
)

# --- beams ----------------------------------------------------------------------------------------


def reorder(self: Any, rows: Any) -> None:
    """Leave every beam the keys and values that it had."""
    return


def _beams(use_cache: bool, beams: int = 4) -> str:
    model = bert_decoder()
    return _words(model.generate(LONG, num_beams=beams, use_cache=use_cache, **NEW).numpy()[0, 6:])


def text_of_the_beams() -> str:
    """Generate with four beams and a cache."""
    return _beams(True)


def cache_changes_no_text() -> None:
    """Four beams generate the same text with a cache and without."""
    cached, plain = _beams(True), _beams(False)
    assert cached == plain, f"the text is {cached} with the cache, and {plain} without"


def greedy_search_is_right() -> None:
    """A greedy search generates the same text with a cache and without."""
    assert _beams(True, 1) == _beams(False, 1), "the cache changes the text"


UNSORTED_BEAMS = Bug(
    name="beams-forget-to-reorder",
    title="beams with the memory of other beams",
    mistake="Beam search keeps the best beams, but the cache keeps the order of the old ones.",
    patches=(Patch("tinybert.nn.cache.KeyValueCache.reorder", reorder),),
    measured="tokens that four beams generate",
    symptom=text_of_the_beams,
    check=cache_changes_no_text,
    fooled=greedy_search_is_right,
    right="layer.reorder(numbers)",
    story=(
        "transformers reordered a cache only if it was called past_key_values. Mamba and others "
        "call theirs cache_params; their beams went on with the memory of other beams. "
        "A user had measured in 2024 that Mamba gets worse with more beams; the reason was found "
        "in 2026. Greedy search has one beam and is right. Every text must be the same with a "
        "cache and without one."
    ),
    links=(
        "https://github.com/huggingface/transformers/issues/46612",
        "https://github.com/huggingface/transformers/issues/29730",
    ),
)

# --- positions with a cache -----------------------------------------------------------------------


def angles_from_zero(
    config: Any, positions: Tensor | None, past: int, length: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Begin with position 0 in every call."""
    return right_rotary_angles(config, positions, 0, length, like)


def _last_logits() -> tuple[np.ndarray, np.ndarray]:
    """Return the logits after LONG in one run, and in two runs with a cache."""
    model = nemotron()
    with no_grad():
        whole = model(LONG).logits.numpy()[0, -1]
        past = model(LONG[:, :4], use_cache=True).past_key_values
        split = model(LONG[:, 4:], past_key_values=past).logits.numpy()[0, -1]
    return whole, split


def difference_of_a_cached_run() -> str:
    """Read a text at once, and in two parts with a cache."""
    return f"{largest_difference(*_last_logits()):.1g}"


def two_parts_are_the_whole() -> None:
    """Logits are the same whether a text is read at once or in two parts."""
    must_agree(*_last_logits(), "reading in two parts changes the logits", 1e-3)


def the_first_run_is_right() -> None:
    """The logits of the first run are the same with a cache and without."""
    model = nemotron()
    with no_grad():
        cached, plain = (model(LONG, use_cache=use).logits for use in (True, False))
    must_agree(cached, plain, "the cache changes the logits", 1e-3)


RESTARTED = Bug(
    name="positions-restart-with-cache",
    title="every new token at position 0",
    mistake="With a cache, new tokens get the positions 0, 1, ... again.",
    patches=(Patch("tinybert.models.nemotron.nemotron_model.rotary_angles", angles_from_zero),),
    measured="change of the logits when a text is read in two parts",
    symptom=difference_of_a_cached_run,
    check=two_parts_are_the_whole,
    fooled=the_first_run_is_right,
    right="steps = xp.arange(past, past + length)[None] if positions is None else positions.data",
    wrong=angles_from_zero,
    story=(
        "ExecuTorch had a branch with a cache and one without; the first forgot to begin at "
        "start_pos (2024). A popular rotary library remembered angles by the length alone, so "
        "that a second call with another offset got the angles of the first; a user found it by "
        "calling it twice (2023). The first forward pass is always right. Test the second one, "
        "with more than one token."
    ),
    links=(
        "https://github.com/pytorch/executorch/pull/2010",
        "https://github.com/lucidrains/rotary-embedding-torch/issues/11",
    ),
)

# --- partial rotation -----------------------------------------------------------------------------


def rotary_angles(
    config: Any, positions: Tensor | None, past: int, length: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Fill the angles up with zeros to the size of the head, and rotate the whole head."""
    xp = array_module(like.data)
    rotated = config.features_to_turn  # R, or R - 1 where that is odd
    exponents = xp.arange(0, rotated, 2).astype("float32") / float(max(rotated, 1))
    rates = 1 / (float(config.rope_theta) ** exponents.astype("float64")).astype("float32")
    rates = xp.pad(rates, (0, config.head_dim // 2 - len(rates)))
    steps = xp.arange(past, past + length)[None] if positions is None else positions.data
    angles = steps.astype("float32")[:, None, :, None] * rates  # (B or 1, 1, T, R / 2)
    angles = xp.concatenate([angles, angles], axis=-1).astype("float64")
    cos, sin = xp.cos(angles).astype(like.dtype), xp.sin(angles).astype(like.dtype)
    return as_tensor(cos), as_tensor(sin)


def _rotated_head() -> np.ndarray:
    """Return which of the 8 features of a head change when they are rotated by a position."""
    config, like = nemotron().config, Tensor(np.zeros(1, "float32"))
    x = Tensor(random(1, 1, 3, 8).astype("float32"))
    angles = nemotron_model.rotary_angles(config, None, 1, 3, like)
    return (F.rotary_embedding(x, *angles).numpy() != x.numpy()).any(axis=(0, 1, 2))


def features_that_turn() -> str:
    """Rotate a head of 8 features with partial_rotary_factor 0.5."""
    return _words(np.flatnonzero(_rotated_head()))


def the_rest_of_the_head_stays() -> None:
    """With a factor of 0.5, the first half of the features is rotated, and the second is not."""
    turned = _rotated_head()
    assert turned[:4].all(), "not all of the first 4 features are rotated"
    assert not turned[4:].any(), "features of the second half are rotated"


ROTATED_REST = Bug(
    name="rotary-turns-the-whole-head",
    title="partial rotation with the wrong partners",
    mistake="The angles are padded with zeros to the size of the head, so feature i turns with "
    "feature i + K/2, not with i + R/2.",
    patches=(Patch("tinybert.models.nemotron.nemotron_model.rotary_angles", rotary_angles),),
    measured="features of a head of 8 that a factor of 0.5 rotates",
    symptom=features_that_turn,
    check=the_rest_of_the_head_stays,
    fooled=two_parts_are_the_whole,
    story=(
        "The project cascadia added partial rotation in June 2026 with a test that compared cos "
        "and sin with transformers, byte for byte. It passed, and 112 of 128 features were wrong: "
        "the angles were right, and then applied to the wrong pairs. The author's own "
        "review found it, by comparing queries and keys after the rotation. Reading with and "
        "without a cache agree too. Compare the result, not a part on the way to it."
    ),
    links=("https://github.com/labscommunity/cascadia/pull/69",),
)

# --- the norm of Nemotron -------------------------------------------------------------------------


def forward(self: LayerNorm1P, x: Tensor) -> Tensor:
    """Add 1 to weights that have it already."""
    return F.layer_norm(x, self.normalized_shape, self.weight + 1 + 1, self.bias, self.eps)


def logit_of_a_nemotron() -> str:
    """Run a Nemotron."""
    with no_grad():
        return f"{nemotron()(LONG).logits.numpy()[0, -1, 0]:.3f}"


def a_stored_zero_is_a_scale_of_one() -> None:
    """LayerNorm1P with weights of zero is a plain layer norm."""
    norm, x = LayerNorm1P(8), Tensor(random(3, 8).astype("float32"))
    with no_grad():
        norm.weight.zero_()
        must_agree(norm(x), F.layer_norm(x, (8,)), "the scale is not 1")


ONE_TWICE = Bug(
    name="layernorm1p-adds-one-twice",
    title="1 + 1 + the weight",
    mistake="Nemotron stores the scale of its norms minus 1, and the 1 is added twice.",
    patches=(Patch("tinybert.models.nemotron.nemotron_layers.LayerNorm1P.forward", forward),),
    measured="logit of a Nemotron",
    symptom=logit_of_a_nemotron,
    check=a_stored_zero_is_a_scale_of_one,
    fooled=two_parts_are_the_whole,
    story=(
        "llama.cpp adds the 1 when it converts a checkpoint to GGUF; vLLM added it when it ran "
        "the model. Each is right alone. A pull request of August 2026 found it for converted "
        "Nemotrons, and added a test with numbers for both kinds of file. Where a value is stored "
        "in another form, write down once where it changes back."
    ),
    links=("https://github.com/vllm-project/vllm/pull/54450",),
)

# --- the repetition penalty -----------------------------------------------------------------------


def divide_all(self: RepetitionPenaltyLogitsProcessor, input_ids: Array, scores: Array) -> Array:
    """Divide every score."""
    xp = array_module(scores)
    # Padding, -1, marks an extra column at the end, which is removed again.
    seen = xp.zeros((len(scores), scores.shape[1] + 1), bool)
    seen[xp.arange(len(scores))[:, None], input_ids] = True
    penalised = scores / self.penalty
    return xp.where(seen[:, :-1], penalised, scores)


def _penalised(score: float) -> float:
    """Return the score of a word that occurred, with a penalty of 2."""
    scores = np.array([[score, 0.5]])
    return float(RepetitionPenaltyLogitsProcessor(2.0)(np.array([[0]]), scores)[0, 0])


def penalised_score() -> str:
    """Penalise a score of -2."""
    return f"{_penalised(-2.0):g}"


def a_penalty_never_helps() -> None:
    """A penalty lowers the score of a word that occurred, whatever its sign."""
    for score in (2.0, -2.0):
        found = _penalised(score)
        assert found < score, f"a penalty of 2 turns the score {score:g} into {found:g}"


def positive_scores_fall() -> None:
    """A penalty lowers a positive score."""
    assert _penalised(2.0) == 1.0, "a penalty of 2 does not halve the score 2"


REWARD = Bug(
    name="penalty-divides-negatives",
    title="a penalty that is a reward",
    mistake="The repetition penalty divides scores, also negative ones, which then come nearer to "
    "0 and are chosen more often.",
    patches=(
        Patch(
            "tinybert.generation.logits_processors.RepetitionPenaltyLogitsProcessor.__call__",
            divide_all,
        ),
    ),
    measured="score of -2 after a penalty of 2",
    symptom=penalised_score,
    check=a_penalty_never_helps,
    fooled=positive_scores_fall,
    story=(
        "The paper divides, and so did transformers. In December 2019 a developer let GPT-2 "
        'continue "The dog" with a penalty of 1.5, and saw "The dog dog dog dog dog dog": the '
        "higher the penalty, the more repetitions. The scores were negative. NeMo had the same "
        "line until 2024. A formula may assume a sign: try both."
    ),
    links=(
        "https://github.com/huggingface/transformers/issues/2302",
        "https://github.com/NVIDIA-NeMo/Speech/issues/8194",
        "https://arxiv.org/abs/1909.05858",
    ),
)

BUGS = (
    PADDED_POSITIONS, RESTARTED, ROTATED_REST, ONE_TWICE, UNSORTED_BEAMS, REWARD,
)  # fmt: skip
