"""BERT as a decoder: its cache, its masks, and deviations from transformers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.oracle import as_torch, twin_heads
from tests.support import assert_close
from tests.tolerances import MODEL_FLOAT64, MODEL_GRADIENT_FLOAT64
from tinybert import BertLMHeadModel, BertModel, Tensor, enable_grad, no_grad
from tinybert.nn import Dropout, KeyValueCache

rng = np.random.default_rng(0)
IDS = rng.integers(1, 23, size=(3, 7))
LEFT_PADDED = np.array([[0, 0, 1, 1, 1, 1, 1], [1] * 7, [0, 1, 1, 1, 1, 1, 1]])
MEMORY = rng.standard_normal((3, 4, 12))
MEMORY_MASK = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
KINDS = ("absolute", "relative_key", "relative_key_query")
POSITIONS = pytest.mark.parametrize("kind", KINDS)
CROSS = pytest.mark.parametrize("cross", [False, True], ids=["alone", "with an encoder"])


FAMILIES = pytest.mark.parametrize("lm", ["BertLMHeadModel", "MegatronBertForCausalLM"])


def decoders(kind: str, cross: bool, name: str = "BertLMHeadModel") -> tuple[Any, Any]:
    """Ours and theirs, float64."""
    options = {"is_decoder": True, "add_cross_attention": cross, "position_embedding_type": kind}
    return twin_heads(name, 1, **options)


def memory(cross: bool) -> dict[str, Any]:
    return {"encoder_hidden_states": MEMORY, "encoder_attention_mask": MEMORY_MASK} if cross else {}


decoders_once = functools.cache(decoders)  # for a test that changes no model


@FAMILIES
@CROSS
@POSITIONS
@pytest.mark.parametrize("splits", [(7,), (6, 1), (4, 3), (1, 1, 5), (3, 2, 2), (1,) * 7], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["", "left-padded"])
@pytest.mark.parametrize("given", ["tuples", "a cache"])
def test_cached_passes_equal_one_full_pass(
    splits: tuple[int, ...], kind: str, cross: bool, masked: bool, lm: str, given: str
) -> None:
    ours, _ = decoders_once(kind, cross, lm)
    mask = LEFT_PADDED if masked else np.ones_like(LEFT_PADDED)
    extra: dict[str, Any] = {"output_attentions": True, **memory(cross)}
    whole = ours(IDS, attention_mask=mask, use_cache=False, **extra)
    assert whole.past_key_values is None
    cache: Any = ours.make_cache() if given == "a cache" else None
    logits, stop, at_first = [], 0, cache
    for width in splits:
        start, stop = stop, stop + width
        with no_grad() if given == "a cache" else enable_grad():  # in place, or joined
            step = ours(
                IDS[:, start:stop],
                attention_mask=mask[:, :stop] if masked else None,
                past_key_values=cache,
                use_cache=True,
                **extra,
            )
        cache = step.past_key_values
        assert cache is at_first if given == "a cache" else isinstance(cache, tuple)
        logits.append(step.logits.numpy())
        for mine, full in zip(step.attentions, whole.attentions, strict=True):
            seen = full.numpy()[:, :, start:stop, :stop]
            if not masked:  # a query that sees nothing looks at all keys alike, future ones too
                assert_close(mine.numpy(), seen, rtol=MODEL_FLOAT64)
    found = np.concatenate(logits, axis=1)
    real = mask == 1
    assert_close(found[real], whole.logits.numpy()[real], rtol=MODEL_FLOAT64)
    members = 4 if cross else 2
    assert [len(layer) for layer in cache] == [members] * 2
    assert cache[0][0].shape == (3, 3, 7, 4)
    if cross:
        assert cache[1][3].shape == (3, 3, 4, 4)


@FAMILIES
@CROSS
def test_a_cached_step_agrees_with_transformers(cross: bool, lm: str) -> None:
    ours, theirs = decoders("absolute", cross, lm)
    extra = {name: as_torch(value) for name, value in memory(cross).items()}
    first = theirs(as_torch(IDS[:, :4]), use_cache=True, **extra)
    expected = theirs(as_torch(IDS[:, 4:]), past_key_values=first.past_key_values, **extra).logits
    prefill = ours(IDS[:, :4], **memory(cross))  # use_cache is the config's: True
    found = ours(IDS[:, 4:], past_key_values=prefill.past_key_values, **memory(cross)).logits
    assert_close(found.numpy(), expected.detach().numpy(), rtol=MODEL_FLOAT64)
    # A cache may come as any nesting of lists and arrays, with Nones for what a layer has not.
    lists = [[None, *(part.numpy() for part in layer)] for layer in prefill.past_key_values]
    again = ours(IDS[:, 4:], past_key_values=lists, **memory(cross)).logits
    assert (again.numpy() == found.numpy()).all()


@FAMILIES
def test_a_tuple_is_not_changed_and_a_cache_is(lm: str) -> None:
    model, _ = decoders("relative_key_query", True, lm)
    first = model(IDS[:, :4], **memory(True)).past_key_values
    assert [type(layer) for layer in (first, *first)] == [tuple] * 3
    before = [part.numpy().copy() for layer in first for part in layer]
    new = {"input_ids": IDS[:, 4:], **memory(True)}
    steps = [model(past_key_values=first, **new).logits.numpy() for _ in range(2)]
    assert (steps[0] == steps[1]).all()
    cache = KeyValueCache.from_legacy(first)
    quiet = model(past_key_values=cache, use_cache=False, **new)
    assert quiet.past_key_values is None
    assert cache.length == 4
    assert_close(quiet.logits.numpy(), steps[0], rtol=MODEL_FLOAT64)
    with no_grad():
        assert model(past_key_values=cache, **new).past_key_values is cache
    assert cache.length == 7
    found = [part.numpy() for layer in first for part in layer]
    assert all((one == other).all() for one, other in zip(before, found, strict=True))


@FAMILIES
def test_a_step_with_a_cache_copies_nothing_of_the_past(lm: str) -> None:
    model, _ = decoders("absolute", True, lm)
    cache = model.make_cache()
    with no_grad():
        model(IDS[:, :4], past_key_values=cache, **memory(True))
        rooms = [part.data.base for layer in cache for part in layer[:2]]
        of_memory = [part for layer in cache for part in layer[2:]]
        for place in range(4, 7):
            model(IDS[:, [place]], past_key_values=cache, **memory(True))
    found = [part.data.base for layer in cache for part in layer[:2]]
    assert all(one is other for one, other in zip(found, rooms, strict=True))
    found = [part for layer in cache for part in layer[2:]]
    assert all(one is other for one, other in zip(found, of_memory, strict=True))


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize("kind", ["tuples", "a cache"])
@FAMILIES
@CROSS
def test_gradients_flow_through_the_cache(
    cross: bool, lm: str, kind: str, checkpointing: bool
) -> None:
    """The same as of one pass; also if the last part is computed again in backward."""
    model, _ = decoders("relative_key_query", cross, lm)
    factors, extra = rng.standard_normal((3, 3, 23)), memory(cross)
    (model(IDS, use_cache=False, **extra).logits[:, 4:] * factors).sum().backward()
    expected = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    cache = model.make_cache() if kind == "a cache" else None
    for start, stop in ((0, 2), (2, 4)):
        cache = model(IDS[:, start:stop], past_key_values=cache, **extra).past_key_values
    if checkpointing:
        model.train().gradient_checkpointing_enable()
        for module in model.modules():
            if isinstance(module, Dropout):
                module.p = 0.0
    last = model(IDS[:, 4:], past_key_values=cache, use_cache=not checkpointing, **extra)
    (last.logits * factors).sum().backward()
    found = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        tolerance = MODEL_GRADIENT_FLOAT64
        assert_close(found[name], gradient, rtol=tolerance, atol=tolerance, name=name)


def test_heads_that_are_gone_are_not_in_the_cache() -> None:
    model, _ = decoders("absolute", True)
    model.prune_heads({0: [1]})
    cache = model.make_cache()
    with no_grad():
        for ids in (IDS[:, :4], IDS[:, 4:]):
            logits = model(ids, past_key_values=cache, **memory(True)).logits.numpy()
    assert [[part.shape[1] for part in layer] for layer in cache] == [[2, 2, 3, 3], [3, 3, 3, 3]]
    assert_close(logits, model(IDS, **memory(True)).logits.numpy()[:, 4:], rtol=MODEL_FLOAT64)


@pytest.mark.parametrize("beams", [1, 3])
def test_generate_writes_in_place_and_has_room_for_no_more(beams: int) -> None:
    model, _ = decoders("absolute", True)
    options = {"max_length": 12, "num_beams": beams, "eos_token_id": None, **memory(True)}
    found = model.generate(IDS, return_dict_in_generate=True, **options)
    cache = found.past_key_values
    assert isinstance(cache, KeyValueCache)
    assert cache.length == 11  # the last token is not read
    rooms = {part.data.base.shape for layer in cache for part in layer[:2]}
    assert rooms == {(3 * beams, 3, 12, 4)}
    expected = model.generate(IDS, use_cache=False, **options)
    assert found.sequences.tolist() == expected.tolist()
    encoder, _ = twin_heads("BertModel", 2)
    assert encoder.make_cache() is None


@pytest.mark.parametrize("kind", KINDS[1:])
def test_relative_positions_with_a_cache_are_those_of_the_queries(kind: str) -> None:
    """transformers takes the last position for all queries of a pass with a cache."""
    ours, theirs = decoders(kind, False)
    right = theirs(as_torch(IDS), use_cache=False).logits.detach().numpy()
    wrong = theirs(as_torch(IDS), use_cache=True).logits.detach().numpy()
    assert np.abs(right - wrong).max() > 0.1
    for use_cache in (False, True):
        assert_close(ours(IDS, use_cache=use_cache).logits.numpy(), right, rtol=MODEL_FLOAT64)


@FAMILIES
@POSITIONS
def test_nobody_sees_the_future(kind: str, lm: str) -> None:
    ours, _ = decoders(kind, False, lm)
    changed = IDS.copy()
    changed[:, -1] = (changed[:, -1] + 1) % 23
    before, after = (ours(ids).logits.numpy() for ids in (IDS, changed))
    assert (before[:, :-1] == after[:, :-1]).all()
    assert (before[:, -1] != after[:, -1]).any()


@pytest.mark.parametrize("decoder", [False, True])
def test_left_padding_with_positions_of_its_own_changes_nothing(decoder: bool) -> None:
    ours, _ = twin_heads("BertModel", 2, is_decoder=decoder)
    ids = np.where(LEFT_PADDED, IDS, 0)
    positions = (LEFT_PADDED.cumsum(1) - 1).clip(0)
    padded = ours(ids, attention_mask=LEFT_PADDED, position_ids=positions).last_hidden_state
    for row, pads in enumerate((2, 0, 1)):
        alone = ours(ids[row : row + 1, pads:]).last_hidden_state.numpy()[0]
        assert_close(padded.numpy()[row, pads:], alone, rtol=MODEL_FLOAT64)


def test_a_mask_with_three_axes_is_taken_as_it_is() -> None:
    ours, theirs = decoders("absolute", False, "BertModel")
    mask = (rng.random((3, 7, 7)) < 0.5).astype(np.int64)
    expected = theirs(as_torch(IDS), as_torch(mask), use_cache=False).last_hidden_state
    found = ours(IDS, mask).last_hidden_state.numpy()
    assert_close(found, expected.detach().numpy(), rtol=MODEL_FLOAT64)


def test_an_encoder_takes_no_notice_of_another_one() -> None:
    ours, _ = twin_heads("BertModel", 2)
    with_memory = ours(IDS, encoder_hidden_states=MEMORY).last_hidden_state.numpy()
    assert (with_memory == ours(IDS).last_hidden_state.numpy()).all()


@FAMILIES
def test_the_config_and_the_call_say_whether_a_cache_is_kept(lm: str) -> None:
    ours, _ = decoders("absolute", False, lm)
    for by_config, by_call, kept in ((True, None, True), (True, False, False),
                                     (False, None, False), (False, True, True)):  # fmt: skip
        ours.config.use_cache = by_config
        assert (ours(IDS, use_cache=by_call).past_key_values is not None) == kept


def test_gradients_flow_to_the_encoder() -> None:
    ours, theirs = decoders("absolute", True)
    mine, their = Tensor(MEMORY, requires_grad=True), as_torch(MEMORY).requires_grad_()
    factors = rng.standard_normal((3, 7, 23))
    (ours(IDS, encoder_hidden_states=mine).logits * factors).sum().backward()
    theirs_logits = theirs(as_torch(IDS), encoder_hidden_states=their, use_cache=False).logits
    (theirs_logits * torch.from_numpy(factors)).sum().backward()
    assert_close(mine.grad.numpy(), their.grad.numpy(), rtol=1e-9)


def past(layers: int = 2, batch: int = 3, length: int = 2, members: int = 2) -> Any:
    return [[np.zeros((batch, 3, length, 4))] * members for _ in range(layers)]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"past_key_values": past(layers=1)}, "past_key_values .*2 layers"),
    "members": ({"past_key_values": past(members=3)}, r"past_key_values .*got \[3, 3\]"),
    "a cache of other rows": (
        {"past_key_values": KeyValueCache.from_legacy([[Tensor(np.zeros((1, 3, 4, 4)))] * 2] * 2)},
        r"past_key_values .*\(3, 3, length, 4\), got \(1, 3, 4, 4\)",
    ),
    "layers of different lengths": (
        {"past_key_values": past(layers=1) + past(layers=1, length=3)},
        r"past_key_values must have shape \(3, 3, 2, 4\), got \(3, 3, 3, 4\)",
    ),
    "an encoder's rows": (
        {"past_key_values": [[*past()[0], *past(batch=2)[0]]] * 2},
        r"past_key_values must have shape \(3, 3, S, 4\), got \(2, 3, 2, 4\)",
    ),
    "rows": ({"past_key_values": past(batch=2)}, r"past_key_values .*\(3, 3, length, 4\)"),
    "too long": (
        {"past_key_values": past(length=11)},
        "7 tokens after 11 in the cache.*max_position_embeddings is 17",
    ),
    "mask without the past": (
        {"past_key_values": past(), "attention_mask": np.ones((3, 7))},
        r"attention_mask must have shape \(3, 9\) or \(3, 7, 9\), got \(3, 7\)",
    ),
    "memory": ({"encoder_hidden_states": np.zeros((2, 4, 12))}, r"encoder_hidden_states .*\(3, S"),
    "memory mask": (
        {"encoder_hidden_states": MEMORY, "encoder_attention_mask": np.ones((3, 5))},
        r"encoder_attention_mask must have shape \(3, 4\)",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused_by_name(call: dict[str, Any], message: str) -> None:
    ours, _ = decoders("absolute", True)
    with pytest.raises(ValueError, match=message):
        ours(IDS, **call)


def test_what_a_model_has_not_is_refused() -> None:
    ours, _ = decoders("absolute", False)
    with pytest.raises(ValueError, match="needs cross-attention: set add_cross_attention=True"):
        ours(IDS, encoder_hidden_states=MEMORY)
    encoder, _ = twin_heads("BertModel", 2)
    with pytest.raises(ValueError, match="past_key_values is for decoders"):
        encoder(IDS, past_key_values=past())


def test_a_warning_if_token_types_are_taken_for_a_mask() -> None:
    ours, _ = twin_heads("BertModel", 2)
    types = np.array([[0, 0, 0, 1, 1, 1, 1]] * 3)
    with pytest.warns(UserWarning, match="token_type_ids, pass them by name"):
        ours(IDS, types)
    ours(IDS, LEFT_PADDED)  # one text without padding: an honest mask
    ours(np.where(types, IDS, 0), types)  # the hidden ids are padding


@pytest.mark.parametrize("model_class", [BertModel, BertLMHeadModel])
def test_an_unknown_argument_is_refused(model_class: Any) -> None:
    ours, _ = twin_heads(model_class.__name__, 0)
    with pytest.raises(TypeError, match="attention_masks"):
        ours(IDS, attention_masks=LEFT_PADDED)
