"""MEGA as a decoder: no token sees later ones or padding, and cached steps equal a full pass."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import tinybert
from tests.models import mega_oracle
from tests.models.mega_oracle import (
    DECODER,
    NO_DROPOUT,
    mega_config,
    mega_twins,
    theirs_in_float64,  # noqa: F401  (a fixture for every test here)
)
from tests.models.oracle import as_torch
from tests.support import assert_close
from tests.tolerances import MODEL_FLOAT64, MODEL_GRADIENT_FLOAT64

rng = np.random.default_rng(0)
T = 13
IDS = rng.integers(3, 23, size=(3, T))
LEFT_PADDED = np.array([[0, 0, 1, 1, 1, 1, 1] + [1] * 6, [1] * T, [0] * 6 + [1] * 7])
LEFT_PADDED_BY_CHUNKS = (np.arange(T) >= np.array([[4], [0], [8]])).astype(int)
RIGHT_PADDED = LEFT_PADDED[:, ::-1]
MEMORY = rng.standard_normal((3, 4, 12))
MEMORY_MASK = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])

KINDS = ("softmax", "laplace", "relu2")


def label(kind: str, bias: str, chunk: int, truncation: int | None, cross: bool) -> str:
    words = [kind, bias, "chunks" if chunk else "", f"{truncation} back" if truncation else ""]
    return ", ".join(word for word in (*words, "encoder" if cross else "") if word)


CAUSAL: dict[str, dict[str, Any]] = {
    label(kind, bias, chunk, truncation, cross): {
        **DECODER,
        "attention_activation": kind,
        "relative_positional_bias": bias,
        "use_chunking": bool(chunk),
        "chunk_size": chunk or -1,
        "truncation": truncation,
        "add_cross_attention": cross,
    }
    for kind, bias, chunk, truncation, cross in itertools.product(
        KINDS, ("rotary", "simple"), (0, 4), (None, 3), (False, True)
    )
    if not (bias == "simple" and chunk and cross)  # a table of 4 is too short for 13 tokens
}
CONFIGS = pytest.mark.parametrize("options", CAUSAL.values(), ids=CAUSAL)
CROSS = {name: options for name, options in CAUSAL.items() if options["add_cross_attention"]}
WITH_ENCODER = pytest.mark.parametrize("options", CROSS.values(), ids=CROSS)


def decoder(options: dict[str, Any], name: str = "MegaForCausalLM", seed: int = 1) -> Any:
    """Float64, in evaluation, with weights of some size."""
    model = getattr(tinybert, name)(mega_config(**options)).to(np.float64)
    draw = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data[...] = 0.4 * draw.standard_normal(parameter.shape)
    return model.eval()


def memory(options: dict[str, Any]) -> dict[str, Any]:
    if not options.get("add_cross_attention"):
        return {}
    return {"encoder_hidden_states": MEMORY, "encoder_attention_mask": MEMORY_MASK}


# --- step by step ---------------------------------------------------------------------------------


SPLITS = [(1,) * T], [(4, 9), (5, 1, 7)]


@CONFIGS
@pytest.mark.parametrize(
    ("masked", "steps"),
    [
        pytest.param(False, SPLITS[0], marks=pytest.mark.slow),
        (False, SPLITS[1]),
        (True, SPLITS[0]),
        pytest.param(True, SPLITS[1], marks=pytest.mark.slow),
    ],
    ids=["tokens", "parts", "left-padded tokens", "left-padded parts"],
)
def test_cached_passes_equal_one_full_pass(
    options: dict[str, Any], masked: bool, steps: list[tuple[int, ...]]
) -> None:
    ours, extra = decoder(options), memory(options)
    padded = LEFT_PADDED_BY_CHUNKS if options["use_chunking"] else LEFT_PADDED
    mask = padded if masked else np.ones_like(padded)
    whole = ours(IDS, attention_mask=mask, use_cache=False, **extra)
    assert whole.past_key_values is None
    assert np.isfinite(whole.logits.numpy()).all()
    real = mask == 1
    for splits in steps:
        cache, logits, stop = None, [], 0
        for width in splits:
            start, stop = stop, stop + width
            step = ours(
                IDS[:, start:stop],
                attention_mask=mask[:, :stop] if masked else None,
                past_key_values=cache,
                use_cache=True,
                **extra,
            )
            cache = step.past_key_values
            logits.append(step.logits.numpy())
        found = np.concatenate(logits, axis=1)
        assert_close(found[real], whole.logits.numpy()[real], rtol=MODEL_FLOAT64)
    rows = T % 4 if options["use_chunking"] else T
    key, value, state = cache[0][:3]
    assert (key.shape, value.shape) == ((3, rows, 6), (3, rows, 10))
    assert state.shape == ((3, 2, 12) if options["truncation"] else (3, 12, 3))
    assert [len(layer) for layer in cache] == [
        3 + (2 + options["use_chunking"]) * options["add_cross_attention"]
    ] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_those_of_the_full_pass(kind: str) -> None:
    """With the weights asked for, other code runs: the same numbers, rows of the same matrix."""
    options = {**DECODER, "attention_activation": kind, "add_cross_attention": True}
    ours, extra = decoder(options), memory(options)
    plain = ours(IDS, attention_mask=LEFT_PADDED, **extra).logits.numpy()
    whole = ours(IDS, attention_mask=LEFT_PADDED, output_attentions=True, **extra)
    assert_close(whole.logits.numpy(), plain, rtol=MODEL_FLOAT64)
    first = ours(IDS[:, :5], attention_mask=LEFT_PADDED[:, :5], **extra)
    step = ours(
        IDS[:, 5:], attention_mask=LEFT_PADDED, past_key_values=first.past_key_values,
        output_attentions=True, **extra,
    )  # fmt: skip
    real = LEFT_PADDED[:, 5:] == 1
    for mine, full in zip(step.attentions, whole.attentions, strict=True):
        assert full.shape == (3, 1, T, T)
        assert_close(mine.numpy()[:, 0][real], full.numpy()[:, 0, 5:][real], rtol=MODEL_FLOAT64)
        assert not np.triu(full.numpy(), 1).any()
        assert not full.numpy()[0, 0, :, :2].any()  # padding
    for mine, full in zip(step.cross_attentions, whole.cross_attentions, strict=True):
        assert full.shape == (3, T, 4)
        assert_close(mine.numpy()[real], full.numpy()[:, 5:][real], rtol=MODEL_FLOAT64)
        assert not full.numpy()[0, :, 2:].any()
        assert not full.numpy()[2].any()


def test_a_cached_step_agrees_with_transformers_where_it_is_right() -> None:
    for options in ({"relative_positional_bias": "simple"}, {"normalize_before_mega": False}):
        ours, theirs = mega_twins("MegaForCausalLM", **DECODER, **options)
        first = theirs(as_torch(IDS[:, :-1]), use_cache=True)
        step = theirs(as_torch(IDS[:, -1:]), past_key_values=first.past_key_values)
        prefill = ours(IDS[:, :-1])
        for mine, their in zip(prefill.past_key_values, first.past_key_values, strict=True):
            for part, expected in zip(mine, their, strict=True):
                assert_close(part.numpy(), expected.detach().numpy(), rtol=MODEL_FLOAT64)
        found = ours(IDS[:, -1:], past_key_values=prefill.past_key_values).logits
        assert_close(found.numpy(), step.logits.detach().numpy(), rtol=MODEL_FLOAT64)
        lists = [[part.numpy() for part in layer] for layer in prefill.past_key_values]
        again = ours(IDS[:, -1:], past_key_values=lists).logits
        assert (again.numpy() == found.numpy()).all()


def test_a_chunk_that_has_ended_is_forgotten() -> None:
    options = {**DECODER, "use_chunking": True, "chunk_size": 4}
    ours, theirs = mega_twins("MegaModel", **options)
    expected = theirs(as_torch(IDS[:, :8]), use_cache=True)
    found = ours(IDS[:, :8], use_cache=True)
    for mine, their in zip(found.past_key_values, expected.past_key_values, strict=True):
        assert mine[:2] == (None, None) == their[:2]
        assert_close(mine[2].numpy(), their[2].detach().numpy(), rtol=MODEL_FLOAT64)


def test_a_mask_counts_the_chunks_that_have_ended() -> None:
    ours = decoder({**DECODER, "use_chunking": True, "chunk_size": 4}, "MegaModel")
    past = list(ours(IDS[:, :6], use_cache=True).past_key_values)  # one chunk and two tokens
    expected = ours(IDS[:, :7]).last_hidden_state.numpy()[:, 6:]
    for width in (3, 7):
        found = ours(IDS[:, 6:7], np.ones((3, width)), past_key_values=past).last_hidden_state
        assert_close(found.numpy(), expected, rtol=MODEL_FLOAT64)
    for width in (2, 4, 6, 8):
        with pytest.raises(ValueError, match=rf"in the cache too, got \(3, {width}\)"):
            ours(IDS[:, 6:7], np.ones((3, width)), past_key_values=past)


# --- the cache in place ---------------------------------------------------------------------------

WITHOUT_CHUNKS = {name: options for name, options in CAUSAL.items() if not options["use_chunking"]}
IN_PLACE = pytest.mark.parametrize("options", WITHOUT_CHUNKS.values(), ids=WITHOUT_CHUNKS)


def test_a_step_copies_nothing_of_the_past() -> None:
    ours = decoder(DECODER)
    with tinybert.no_grad():
        cache = ours.make_cache(40)
        ours(IDS, past_key_values=cache)
        for _ in range(40 - T):
            before = [part.numpy() for layer in cache for part in layer[:2]]
            step = ours(IDS[:, :1], past_key_values=cache)
            assert step.past_key_values is cache
            after = [part.numpy() for layer in cache for part in layer[:2]]
            for old, new in zip(before, after, strict=True):
                if old.base.shape[1] > old.shape[1]:  # there was spare capacity
                    assert np.shares_memory(old, new)
                assert new.base.shape[1] <= 40
    assert cache.length == 40
    assert [tuple(part.shape for part in layer) for layer in cache] == [
        ((3, 40, 6), (3, 40, 10), (3, 12, 3))
    ] * 2


@IN_PLACE
@pytest.mark.parametrize("masked", [False, True], ids=["", "left-padded"])
def test_a_cache_in_place_equals_tuples(options: dict[str, Any], masked: bool) -> None:
    """Rows are reordered between the steps, as beam search does."""
    ours, extra = decoder(options), memory(options)
    mask = LEFT_PADDED if masked else np.ones_like(LEFT_PADDED)
    rows, ids = np.array([0, 1, 1]), IDS
    with tinybert.no_grad():
        cache, past = ours.make_cache(), None
        assert len(cache) == 2
        for start, stop in ((0, 4), (4, 5), (5, 6), (6, T)):
            call = {**extra, "attention_mask": mask[:, :stop], "use_cache": True}
            found = ours(ids[:, start:stop], past_key_values=cache, **call)
            expected = ours(ids[:, start:stop], past_key_values=past, **call)
            assert found.past_key_values is cache
            assert (found.logits.numpy() == expected.logits.numpy()).all()
            past = expected.past_key_values
            assert isinstance(past, tuple)
            for layer, parts in zip(cache, past, strict=True):
                for one, other in zip(layer, parts, strict=True):
                    assert (one.numpy() == other.numpy()).all()
            cache.reorder(rows)
            past = [[part.numpy()[rows] for part in layer] for layer in past]
            mask = mask[rows]
            extra = {name: value[rows] for name, value in extra.items()}
            # Without a new cache the given one does not change.
            length = cache.length
            ours(ids[:, :1], past_key_values=cache, use_cache=False, **extra)
            assert cache.length == length == stop


@pytest.mark.parametrize(
    "recorded",
    [(True, False, True), (False, True, False, True), (True, True, False), (False, False, True)],
    ids=str,
)
@pytest.mark.parametrize("kind", ["cache", "tuple"])
def test_a_cache_filled_with_and_without_gradients(recorded: tuple[bool, ...], kind: str) -> None:
    """As in torch: a step without gradients makes constants of the keys and values before it, and
    no later step changes what the graph of an earlier one has saved.
    """
    ours, theirs = mega_twins("MegaForCausalLM", **DECODER)
    factors = rng.standard_normal((3, 7, 23))
    widths = (3, 1, 1, 1)[: len(recorded)]  # spare capacity remains after the first
    for model, make, grad, none in (
        (theirs, torch.from_numpy, torch.enable_grad, torch.no_grad),
        (ours, np.asarray, tinybert.enable_grad, tinybert.no_grad),
    ):
        cache = ours.make_cache() if model is ours and kind == "cache" else None
        total, stop = 0, 0
        for width, wanted in zip(widths, recorded, strict=True):
            start, stop = stop, stop + width
            with grad() if wanted else none():
                step = model(make(IDS[:, start:stop]), past_key_values=cache, use_cache=True)
            cache = step.past_key_values
            if wanted:
                total = total + (step.logits * make(factors[:, start:stop])).sum()
        total.backward()
    expected = {name: p.grad.numpy() for name, p in theirs.named_parameters() if p.grad is not None}
    assert len(expected) > 20
    for name, p in ours.named_parameters():
        if name in expected:
            tolerance = MODEL_GRADIENT_FLOAT64
            assert_close(p.grad.numpy(), expected[name], rtol=tolerance, atol=tolerance, name=name)


def test_a_cache_of_another_dtype_is_refused_and_stays_as_it_is() -> None:
    ours = decoder(DECODER)
    cache = ours.make_cache()
    with tinybert.no_grad():
        ours(IDS, past_key_values=cache)
        before = [part.numpy().copy() for layer in cache for part in layer]
        ours.to(np.float32)
        with pytest.raises(ValueError, match=r"past_key_values holds float64 .* model is float32"):
            ours(IDS[:, :1], past_key_values=cache)
    after = [part.numpy() for layer in cache for part in layer]
    assert all((old == new).all() for old, new in zip(before, after, strict=True))


def test_which_models_have_a_cache_in_place() -> None:
    assert decoder({"bidirectional": True}).make_cache() is None
    assert decoder({**DECODER, "use_chunking": True, "chunk_size": 4}).make_cache() is None


# --- nobody sees the future -----------------------------------------------------------------------


@CONFIGS
def test_nobody_sees_the_future(options: dict[str, Any]) -> None:
    """But for the rounding of the transform. Step by step what is to come is not there at all, and
    `test_cached_passes_equal_one_full_pass` shows that both are the same."""
    ours, extra = decoder(options), memory(options)
    for t in (4, 11):
        changed = IDS.copy()
        changed[:, t:] = 3 + (changed[:, t:] + 5) % 20
        before, after = (ours(ids, **extra).logits.numpy() for ids in (IDS, changed))
        assert_close(before[:, :t], after[:, :t], rtol=1e-12, atol=1e-12)
        assert (np.abs(before[:, t] - after[:, t]).max(axis=-1) > 1e-6).all()


def test_rounding_of_the_transform_in_float32() -> None:
    ours = decoder(DECODER).to(np.float32)
    changed = IDS.copy()
    changed[:, 8:] = 3 + (changed[:, 8:] + 5) % 20
    before, after = (ours(ids).logits.numpy() for ids in (IDS, changed))
    leak = np.abs(before[:, :8] - after[:, :8]).max()
    assert leak < 1e-5 * np.abs(before).max()
    assert np.abs(before[:, 8:] - after[:, 8:]).max() > 1e4 * leak


# --- padding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", ["rotary", "simple"])
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("causal", [False, True], ids=["encoder", "decoder"])
def test_padding_never_leaks(kind: str, bias: str, left: bool, causal: bool) -> None:
    """Real tokens are what they are alone, whatever stands in the padding, and however long."""
    options = DECODER if causal else {"bidirectional": True}
    ours = decoder(
        {**options, "attention_activation": kind, "relative_positional_bias": bias}, "MegaModel"
    )
    mask = LEFT_PADDED if left else RIGHT_PADDED
    found = ours(IDS, attention_mask=mask).last_hidden_state.numpy()
    other = ours(np.where(mask, IDS, 1), attention_mask=mask).last_hidden_state.numpy()
    assert_close(other[mask == 1], found[mask == 1], rtol=MODEL_FLOAT64)
    for row in range(3):
        real = mask[row] == 1
        alone = ours(IDS[row : row + 1, real]).last_hidden_state.numpy()[0]
        assert_close(found[row, real], alone, rtol=MODEL_FLOAT64)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True], ids=["encoder", "decoder"])
def test_padding_at_the_end_never_leaks_in_chunks(kind: str, causal: bool) -> None:
    options = DECODER if causal else {"bidirectional": True}
    chunks = {"use_chunking": True, "chunk_size": 4, "attention_activation": kind}
    ours = decoder({**options, **chunks}, "MegaModel")
    ids = np.concatenate([IDS, IDS[:, :3]], axis=1)  # 16 tokens
    mask = (np.arange(16) < np.array([[16], [9], [3]])).astype(int)
    found = ours(ids, attention_mask=mask).last_hidden_state.numpy()
    longer = ours(
        np.concatenate([np.where(mask, ids, 1), IDS[:, :8]], axis=1),
        attention_mask=np.pad(mask, ((0, 0), (0, 8))),
    ).last_hidden_state.numpy()
    assert_close(longer[:, :16][mask == 1], found[mask == 1], rtol=MODEL_FLOAT64)
    if causal:
        alone = ours(ids[1:2, :9]).last_hidden_state.numpy()[0]
        assert_close(found[1, :9], alone, rtol=MODEL_FLOAT64)


@pytest.mark.parametrize("causal", [False, True], ids=["encoder", "decoder"])
def test_padding_at_the_left_must_not_move_the_borders_of_chunks(causal: bool) -> None:
    """By whole chunks it changes nothing; by another number every row would be read otherwise than
    alone, as transformers does, so it is refused, unless there is one chunk only."""
    options = DECODER if causal else {"bidirectional": True}
    ours = decoder({**options, "use_chunking": True, "chunk_size": 4}, "MegaModel")
    ids = np.concatenate([IDS, IDS[:, :3]], axis=1)  # 16 tokens
    mask = (np.arange(16) >= np.array([[4], [0], [8]])).astype(int)
    found = ours(ids, attention_mask=mask).last_hidden_state.numpy()
    assert_close(found[0, 4:], ours(ids[:1, 4:]).last_hidden_state.numpy()[0], rtol=MODEL_FLOAT64)
    assert_close(found[2, 8:], ours(ids[2:, 8:]).last_hidden_state.numpy()[0], rtol=MODEL_FLOAT64)
    for padding in (1, 3, 7):
        wrong = (np.arange(16) >= np.array([[0], [padding], [4]])).astype(bool)
        with pytest.raises(
            ValueError, match=f"attention_mask: row 1 has {padding} .*on the left.*chunks of 4"
        ):
            ours(ids, attention_mask=wrong)
    mask = np.ones((3, 4), int)
    mask[1, :3] = 0
    found = ours(ids[:, :4], attention_mask=mask, use_cache=False).last_hidden_state.numpy()
    alone = ours(ids[1:2, 3:4]).last_hidden_state.numpy()
    assert_close(found[1:2, 3:], alone, rtol=MODEL_FLOAT64)
    if causal:  # the next token would begin a chunk, where alone it would not
        with pytest.raises(ValueError, match="row 1 has 3"):
            ours(ids[:, :4], attention_mask=mask, use_cache=True)
        first = ours(ids[:, :3], attention_mask=mask[:, :3], use_cache=True)
        with pytest.raises(ValueError, match="row 1 has 3"):
            ours(ids[:, 3:4], attention_mask=mask, past_key_values=first.past_key_values)


@WITH_ENCODER
@pytest.mark.parametrize("splits", [(T,), (4, 1, 8)], ids=["at once", "in steps"])
def test_a_padded_row_gives_what_the_row_alone_gives(
    options: dict[str, Any], splits: tuple[int, ...]
) -> None:
    """Padding on the left moves neither the attention of a row nor its cross-attention."""
    ours, extra = decoder(options), memory(options)
    mask = LEFT_PADDED_BY_CHUNKS if options["use_chunking"] else LEFT_PADDED
    cache, logits, weights, stop = None, [], [], 0
    for width in splits:
        start, stop = stop, stop + width
        step = ours(
            IDS[:, start:stop], attention_mask=mask[:, :stop], past_key_values=cache,
            use_cache=True, output_attentions=True, **extra,
        )  # fmt: skip
        cache = step.past_key_values
        logits.append(step.logits.numpy())
        weights.append([w.numpy() for w in step.cross_attentions or ()])
    for row, padding in enumerate((mask == 0).sum(axis=1)):
        own = {name: value[row : row + 1] for name, value in extra.items()}
        alone = ours(IDS[row : row + 1, padding:], output_attentions=True, **own)
        found = np.concatenate(logits, axis=1)[row, padding:]
        assert_close(found, alone.logits.numpy()[0], rtol=MODEL_FLOAT64)
        for layer, expected in enumerate(alone.cross_attentions or ()):
            seen = np.concatenate([step[layer] for step in weights], axis=1)[row, padding:]
            assert_close(seen, expected.numpy()[0], rtol=MODEL_FLOAT64)


def test_masks_of_any_kind_mean_the_same() -> None:
    ours = decoder({"bidirectional": True}, "MegaModel")
    expected = ours(IDS, attention_mask=LEFT_PADDED).last_hidden_state.numpy()
    for mask in (LEFT_PADDED.astype(bool), LEFT_PADDED.astype("f"), LEFT_PADDED.tolist()):
        assert (ours(IDS, attention_mask=mask).last_hidden_state.numpy() == expected).all()


# --- generate -------------------------------------------------------------------------------------


@CONFIGS
def test_generate_with_and_without_a_cache(options: dict[str, Any]) -> None:
    ours, extra = decoder(options), memory(options)
    prompt, mask = IDS[:, :5], LEFT_PADDED[:, :5]
    if options["use_chunking"]:
        mask = LEFT_PADDED_BY_CHUNKS[[0, 1, 1], :5]
    call: dict[str, Any] = {"attention_mask": mask, "max_new_tokens": 6, "eos_token_id": None}
    cached = ours.generate(prompt, **call, **extra).tolist()
    assert ours.generate(prompt, use_cache=False, **call, **extra).tolist() == cached
    greedy = prompt
    for _ in range(6):
        full = np.pad(mask, ((0, 0), (0, greedy.shape[1] - 5)), constant_values=1)
        logits = ours(greedy, attention_mask=full, **extra).logits.numpy()
        greedy = np.concatenate([greedy, logits[:, -1:].argmax(-1)], axis=1)
    assert greedy.tolist() == cached


def test_left_padded_prompts_of_a_decoder_in_chunks() -> None:
    """Each row goes on as it does alone, or is refused before anything is said."""
    ours = decoder({**DECODER, "use_chunking": True, "chunk_size": 4})
    call: dict[str, Any] = {"eos_token_id": None, "max_new_tokens": 6}
    for length, paddings in ((9, (4, 8)), (3, (1, 2))):
        call["max_new_tokens"] = 6 if length == 9 else 1  # 3 + 1 are one chunk
        for padding in paddings:
            mask = (np.arange(length) >= np.array([[0], [padding]])).astype(int)
            found = ours.generate(IDS[:2, :length], attention_mask=mask, **call)[1, padding:]
            alone = ours.generate(IDS[1:2, padding:length], **call)[0]
            assert found.tolist() == alone.tolist()
    said: list[int] = []

    class Streamer:
        def put(self, tokens: Any) -> None:
            said.extend(np.ravel(tokens))

        end = said.clear

    for length, padding, new in ((9, 3, 6), (3, 1, 2), (9, 7, 1)):
        call["max_new_tokens"] = new
        mask = (np.arange(length) >= np.array([[padding]])).astype(int)
        for cached in (True, False):
            with pytest.raises(ValueError, match=f"row 0 has {padding} tokens of padding .* left"):
                ours.generate(IDS[:1, :length], mask, streamer=Streamer(), use_cache=cached, **call)
    assert said == []


def test_beams_take_their_caches_along() -> None:
    for options in (DECODER, {**DECODER, "use_chunking": True, "chunk_size": 4, "truncation": 3}):
        ours = decoder(options)
        call: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 6, "eos_token_id": None}
        cached = ours.generate(IDS[:, :5], **call).tolist()
        assert ours.generate(IDS[:, :5], use_cache=False, **call).tolist() == cached


@IN_PLACE
def test_several_sequences_of_one_prompt(options: dict[str, Any]) -> None:
    ours, extra = decoder(options), memory(options)
    call: dict[str, Any] = {"do_sample": True, "seed": 3, "num_return_sequences": 2}
    call |= {"max_new_tokens": 6, "eos_token_id": None, "attention_mask": LEFT_PADDED[:, :5]}
    cached = ours.generate(IDS[:, :5], **call, **extra).tolist()
    assert ours.generate(IDS[:, :5], use_cache=False, **call, **extra).tolist() == cached


def test_how_far_a_simple_bias_reaches() -> None:
    simple = {**DECODER, "relative_positional_bias": "simple"}
    ours = decoder(simple)
    with pytest.raises(ValueError, match="the model has max_position_embeddings 17"):
        ours.generate(IDS, max_new_tokens=9)
    assert ours.generate(IDS, max_new_tokens=5, eos_token_id=None).shape == (3, 18)
    chunked = decoder({**simple, "use_chunking": True, "chunk_size": 4})
    assert chunked.generate(IDS, max_new_tokens=9, eos_token_id=None).shape == (3, 22)
    rotary = decoder(DECODER)
    assert rotary.generate(IDS, max_new_tokens=9, eos_token_id=None).shape == (3, 22)


# --- what is refused ------------------------------------------------------------------------------


def past(members: int = 3, layers: int = 2, batch: int = 3, **sizes: int) -> Any:
    z, v, n = sizes.get("z", 6), sizes.get("v", 10), sizes.get("n", 3)
    layer = [np.zeros((batch, 2, z)), np.zeros((batch, 2, v)), np.zeros((batch, 12, n))]
    return [layer[:members] for _ in range(layers)]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"past_key_values": past(layers=1)}, "3 members for each of 2 layers"),
    "no layers": ({"past_key_values": 3}, "past_key_values must be 3 arrays .* got int"),
    "no members": ({"past_key_values": (None, None)}, "got tuple of NoneType"),
    "members": ({"past_key_values": past(members=2)}, r"3 members .*got \[2, 2\]"),
    "rows": ({"past_key_values": past(batch=2)}, r"past_key_values must have shape \(3, S, 6\)"),
    "state": ({"past_key_values": past(n=4)}, r"past_key_values must have shape \(3, 12, 3\)"),
    "mask without the past": (
        {"past_key_values": past(), "attention_mask": np.ones((3, T))},
        r"attention_mask must have shape \(3, 15\).*in the cache too, got \(3, 13\)",
    ),
    "mask": ({"attention_mask": np.ones((3, 4, T))}, r"attention_mask must have shape \(3, T\)"),
    "memory": ({"encoder_hidden_states": MEMORY}, "needs cross-attention"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused_by_name(call: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        decoder(DECODER)(IDS, **call)


@pytest.mark.parametrize("cross", [False, True], ids=["", "encoder"])
def test_a_past_gets_the_dtype_of_the_model(cross: bool) -> None:
    options = {**DECODER, "add_cross_attention": cross, "use_chunking": True, "chunk_size": 4}
    ours = decoder(options)
    past = ours(IDS, **memory(options)).past_key_values
    step = ours.to(np.float32)(IDS[:, :1], past_key_values=past, **memory(options))
    assert step.logits.dtype == np.float32
    for layer in step.past_key_values:
        assert all(part.dtype == np.float32 for part in layer[:5])
        assert all(part.dtype == np.int64 for part in layer[5:])


def test_an_encoder_is_needed() -> None:
    ours = decoder({**DECODER, "add_cross_attention": True})
    with pytest.raises(ValueError, match="needs encoder_hidden_states"):
        ours(IDS)
    with pytest.raises(ValueError, match=r"encoder_hidden_states must have shape \(3, S, 12\)"):
        ours(IDS, encoder_hidden_states=MEMORY[:2])
    with pytest.raises(ValueError, match=r"encoder_attention_mask must have shape \(3, 4\)"):
        ours(IDS, encoder_hidden_states=MEMORY, encoder_attention_mask=np.ones((3, 5)))
    with pytest.raises(ValueError, match="past_key_values is for decoders"):
        decoder({})(IDS, past_key_values=past())
    for name in ("position_ids", "head_mask"):
        with pytest.raises(TypeError, match=name):
            decoder({})(IDS, **{name: IDS})


# --- where transformers is wrong ------------------------------------------------------------------


def test_a_bidirectional_decoder_is_refused_when_it_is_made() -> None:
    """transformers trains one without a word: what is to come is in its moving average."""
    from transformers.models.deprecated.mega import modeling_mega

    torch.manual_seed(0)
    theirs = modeling_mega.MegaForCausalLM(
        modeling_mega.MegaConfig(hidden_size=8, is_decoder=True, use_cache=False)
    ).eval()
    changed = IDS.copy()
    changed[:, -1] += 1
    before, after = (theirs(as_torch(ids)).logits for ids in (IDS, changed))
    assert (before[:, :-1] - after[:, :-1]).abs().max() > 1e-4
    with pytest.raises(ValueError, match=r"bidirectional=True .*; set bidirectional=False"):
        tinybert.MegaForCausalLM(mega_config(is_decoder=True))


@pytest.mark.parametrize("kind", KINDS[1:])
def test_weights_on_their_own_count_all_keys_of_a_cached_step(kind: str) -> None:
    """transformers divides by 1 in a step, and by the number of keys in a full pass."""
    ours, theirs = mega_twins("MegaForCausalLM", **DECODER, attention_activation=kind)
    full = theirs(as_torch(IDS), use_cache=False).logits.detach().numpy()[:, -1]
    first = theirs(as_torch(IDS[:, :-1]), use_cache=True)
    step = theirs(as_torch(IDS[:, -1:]), past_key_values=first.past_key_values)
    assert np.abs(step.logits.detach().numpy()[:, -1] - full).max() > 1e-3
    prefill = ours(IDS[:, :-1])
    found = ours(IDS[:, -1:], past_key_values=prefill.past_key_values).logits.numpy()[:, -1]
    assert_close(found, full, rtol=MODEL_FLOAT64)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_weights_on_their_own_do_not_count_padding(kind: str) -> None:
    """With both masks transformers counts all keys up to the query, padding too."""
    ours, theirs = mega_twins("MegaModel", **DECODER, attention_activation=kind)
    alone = theirs(as_torch(IDS[:1, 2:])).last_hidden_state.detach().numpy()[0]
    padded = theirs(as_torch(IDS), as_torch(LEFT_PADDED)).last_hidden_state.detach().numpy()
    assert np.abs(padded[0, 2:] - alone).max() > 1e-3
    found = ours(IDS, attention_mask=LEFT_PADDED).last_hidden_state.numpy()
    assert_close(found[0, 2:], alone, rtol=MODEL_FLOAT64)
    right = theirs(as_torch(IDS), as_torch(RIGHT_PADDED)).last_hidden_state.detach().numpy()
    mine = ours(IDS, attention_mask=RIGHT_PADDED).last_hidden_state.numpy()
    assert_close(mine[RIGHT_PADDED == 1], right[RIGHT_PADDED == 1], rtol=MODEL_FLOAT64)


def test_left_padding_stays_finite_and_is_never_seen() -> None:
    """transformers gives nan, and shows earlier padding to a cached step."""
    ours, theirs = mega_twins("MegaForCausalLM", **DECODER)
    padded = theirs(as_torch(IDS), as_torch(LEFT_PADDED)).logits.detach().numpy()
    assert np.isnan(padded).any()
    first = theirs(as_torch(IDS[:, :-1]), as_torch(np.ones((3, T - 1), int)))
    last = {"past_key_values": first.past_key_values, "use_cache": True}
    masked, bare = (
        theirs(as_torch(IDS[:, -1:]), mask, **last).logits for mask in (as_torch(LEFT_PADDED), None)
    )
    assert (masked == bare).all()
    found = ours(IDS, attention_mask=LEFT_PADDED).logits.numpy()
    assert np.isfinite(found).all()
    alone = theirs(as_torch(IDS[:1, 2:])).logits.detach().numpy()
    assert_close(found[0, 2:], alone[0], rtol=MODEL_FLOAT64)


def test_chunked_decoders_take_any_length() -> None:
    """transformers fails unless the length is a multiple of the chunk's, so also step by step."""
    options = {**DECODER, "use_chunking": True, "chunk_size": 8}
    ours, theirs = mega_twins("MegaModel", **options)
    _, whole = mega_twins("MegaModel", **DECODER)
    for length in (5, 13):
        with pytest.raises(RuntimeError):
            theirs(as_torch(IDS[:, :length]))
    short = whole(as_torch(IDS[:, :5])).last_hidden_state.detach().numpy()
    assert_close(ours(IDS[:, :5]).last_hidden_state.numpy(), short, rtol=MODEL_FLOAT64)
    ids = np.concatenate([IDS, IDS[:, :3]], axis=1)
    full = theirs(as_torch(ids)).last_hidden_state.detach().numpy()
    assert_close(ours(IDS).last_hidden_state.numpy(), full[:, :T], rtol=MODEL_FLOAT64)


@pytest.mark.parametrize("attention", ["softmax", "laplace"])
def test_chunked_encoders_take_any_length(attention: str, monkeypatch: Any) -> None:
    """transformers fails within a reshape; the result is that of ids padded to whole chunks."""
    mega_oracle.in_float64(monkeypatch)
    options = {"use_chunking": True, "chunk_size": 8, "attention_activation": attention}
    ours, theirs = mega_twins("MegaModel", **options)
    with pytest.raises(RuntimeError, match="shape"):
        theirs(as_torch(IDS))
    ids = np.concatenate([IDS, IDS[:, :3]], axis=1)
    mask = np.repeat([[1] * T + [0] * 3], len(IDS), axis=0)
    whole = theirs(as_torch(ids), as_torch(mask)).last_hidden_state[:, :T]
    found = ours(IDS).last_hidden_state
    assert_close(found.numpy(), whole.detach().numpy(), rtol=MODEL_FLOAT64)
    u = np.random.default_rng(0).standard_normal(found.shape)
    found.backward(u)
    whole.backward(torch.from_numpy(u))
    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    assert gradients
    own = dict(ours.named_parameters())
    for name, gradient in gradients.items():
        assert_close(own[name].grad.numpy(), gradient.numpy(), rtol=MODEL_GRADIENT_FLOAT64)
    with pytest.raises(ValueError, match="use_chunking needs a chunk_size >= 1, got -1"):
        tinybert.MegaModel(mega_config(use_chunking=True))


def test_cross_attention_knows_the_place_of_a_cached_step() -> None:
    """transformers is one place off, so that a step differs from the full pass."""
    ours, theirs = mega_twins("MegaForCausalLM", **DECODER, add_cross_attention=True)
    there = {"encoder_hidden_states": as_torch(MEMORY)}
    full = theirs(as_torch(IDS), use_cache=False, **there).logits.detach().numpy()[:, -1]
    first = theirs(as_torch(IDS[:, :-1]), use_cache=True, **there)
    step = theirs(as_torch(IDS[:, -1:]), past_key_values=first.past_key_values, **there)
    assert np.abs(step.logits.detach().numpy()[:, -1] - full).max() > 1e-5
    here = {"encoder_hidden_states": MEMORY}
    prefill = ours(IDS[:, :-1], **here)
    found = ours(IDS[:, -1:], past_key_values=prefill.past_key_values, **here)
    assert_close(found.logits.numpy()[:, -1], full, rtol=MODEL_FLOAT64)


def test_an_encoder_that_is_all_padding() -> None:
    """transformers gives nan; here nothing is gathered."""
    for kind in KINDS:
        options = {**DECODER, "add_cross_attention": True, "attention_activation": kind}
        ours, theirs = mega_twins("MegaModel", **options)
        call = {"encoder_hidden_states": MEMORY, "encoder_attention_mask": MEMORY_MASK}
        expected = theirs(as_torch(IDS), **{k: as_torch(v) for k, v in call.items()})
        there = expected.last_hidden_state.detach().numpy()
        found = ours(IDS, **call).last_hidden_state.numpy()
        if kind == "softmax":
            assert np.isnan(there[2]).any()
            assert not np.isnan(there[:2]).any()
        assert np.isfinite(found).all()
        assert_close(found[:2], there[:2], rtol=MODEL_FLOAT64)


def test_rmsnorm_normalises_unless_the_reference_is_asked_for() -> None:
    """transformers multiplies by the weight, and drops the rest."""
    from transformers.models.deprecated.mega.modeling_mega import MegaRMSNorm

    x = 10 * rng.standard_normal((2, 5, 12))
    theirs = MegaRMSNorm(12)
    with torch.no_grad():
        theirs.weight.fill_(1)
    assert (theirs(torch.from_numpy(x)).detach().numpy() == x).all()
    for reference, right in ((None, True), ("transformers", False)):
        ours = tinybert.MegaModel(mega_config(normalization_type="rmsnorm", reference=reference))
        found = ours.layers[0].nffn.norm(tinybert.Tensor(x)).numpy()
        size = np.sqrt((found**2).mean(axis=-1))
        assert (np.abs(size - 1).max() < 1e-4) == right
    with pytest.raises(ValueError, match="reference must be one of"):
        tinybert.MegaModel(mega_config(reference="fairseq"))


def test_layernorm_without_weights() -> None:
    """transformers fails when it draws them."""
    options = {"normalization_type": "layernorm", "norm_affine": False}
    with pytest.raises(AttributeError):
        mega_twins("MegaModel", **options)
    model = tinybert.MegaModel(mega_config(**options)).eval()
    assert not [name for name, _ in model.named_parameters() if "norm" in name]
    assert np.isfinite(model(IDS).last_hidden_state.numpy()).all()


# --- training -------------------------------------------------------------------------------------


def test_a_decoder_in_chunks_learns() -> None:
    """Four texts by heart: gradients flow through chunks, moving average and biases."""
    tinybert.manual_seed(0)
    options = {**DECODER, **NO_DROPOUT, "use_chunking": True, "chunk_size": 4}
    sizes = {"hidden_size": 32, "intermediate_size": 40, "initializer_range": 0.1}
    model = tinybert.MegaForCausalLM(mega_config(**options, **sizes)).train()
    optimizer = tinybert.optim.AdamW(model.parameters(), lr=2e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 2.5
    assert losses[-1] < 0.3
    model.eval()
    said = model.generate(IDS[:, :2], max_new_tokens=T - 2, eos_token_id=None).numpy()
    assert (said == IDS).mean() > 0.9


@pytest.mark.parametrize("by_feature", [False, True])
def test_dropout_is_noise_of_the_right_size(by_feature: bool) -> None:
    from tinybert.models.mega.feed_forward import FeatureDropout

    layer = FeatureDropout(0.25, by_feature)
    ones = tinybert.Tensor(np.ones((40, 9, 50), np.float32))
    y = layer(ones).numpy()
    assert abs(y.mean() - 1) < 0.05
    assert set(np.unique(y)) <= {0.0, np.float32(1 / 0.75)}
    assert (y == y[:, :1]).all() == by_feature
    chunks = layer(tinybert.Tensor(np.ones((40, 9, 5, 6), np.float32))).numpy()
    assert (chunks == chunks[:, :, :1, :1]).all() == by_feature
    assert (layer.eval()(ones).numpy() == 1).all()
    config = {"dropout_prob": 0.3, "use_feature_dropout": by_feature}
    model = tinybert.MegaModel(mega_config(**config)).train()
    with tinybert.manual_seed(3):
        first = model(IDS).last_hidden_state.numpy()
    with tinybert.manual_seed(3):
        assert (model(IDS).last_hidden_state.numpy() == first).all()
    assert (model(IDS).last_hidden_state.numpy() != first).any()


def test_gradient_checkpointing_is_refused() -> None:
    with pytest.raises(ValueError, match="does not support gradient checkpointing"):
        tinybert.MegaModel(mega_config()).gradient_checkpointing_enable()
