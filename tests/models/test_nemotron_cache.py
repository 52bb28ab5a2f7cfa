"""Nemotron's cache: in every split and kind it gives what one full pass gives; generation with it
gives transformers' tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tinybert
from tests.generation.oracle import causal_twins
from tests.models.nemotron_oracle import TOY, array, exact, one_thread, twins
from tests.models.oracle import as_torch
from tests.support import assert_close
from tests.tolerances import MODEL_FLOAT64, MODEL_GRADIENT_FLOAT64
from tinybert import NemotronConfig, NemotronForCausalLM, Tensor
from tinybert.nn import KeyValueCache

rng = np.random.default_rng(0)
IDS = rng.integers(1, 23, size=(3, 7))
PADDED = np.array([[0, 0, 1, 1, 1, 1, 1], [1] * 7, [0, 1, 1, 1, 1, 1, 1]])
SPLITS = pytest.mark.parametrize(
    "splits", [(7,), (6, 1), (4, 3), (1, 1, 5), (3, 2, 2), (1,) * 7], ids=str
)


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    return twins("NemotronForCausalLM", 1, eos_token_id=None)


def run_in_parts(model: Any, splits: tuple[int, ...], cache: Any, **call: Any) -> Any:
    """The outputs of the parts, each with what the one before remembered."""
    mask, outputs, stop = call.pop("attention_mask", None), [], 0
    for width in splits:
        start, stop = stop, stop + width
        seen = None if mask is None else mask[:, :stop]
        outputs.append(
            model(
                IDS[:, start:stop], seen, past_key_values=cache, use_cache=True,
                cache_position=np.arange(start, stop), **call,
            )
        )  # fmt: skip
        cache = outputs[-1].past_key_values
    return outputs


# --- equal to a full pass -------------------------------------------------------------------------


@SPLITS
@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "recorded"])
@pytest.mark.parametrize("masked", [False, True], ids=["", "left-padded"])
@pytest.mark.parametrize("kind", ["cache", "tuple"])
@pytest.mark.parametrize("weights", [False, True], ids=["blockwise", "weights"])
def test_parts_equal_the_whole(
    pair: Any, splits: tuple[int, ...], grad: bool, masked: bool, kind: str, weights: bool
) -> None:
    model, _ = pair
    call: dict[str, Any] = {"output_attentions": weights}
    if masked:
        call["attention_mask"] = PADDED
    whole = model(IDS, use_cache=False, **call)
    assert whole.past_key_values is None
    cache = model.make_cache() if kind == "cache" else None
    with tinybert.enable_grad() if grad else tinybert.no_grad():
        steps = run_in_parts(model, splits, cache, **call)
    found = np.concatenate([step.logits.numpy() for step in steps], axis=1)
    real = PADDED == 1 if masked else PADDED >= 0
    assert_close(found[real], whole.logits.numpy()[real], rtol=MODEL_FLOAT64)
    last = steps[-1].past_key_values
    assert last is cache if kind == "cache" else isinstance(last, tuple)
    assert [part.shape for pair in last for part in pair] == [(3, 2, 7, 6)] * 4
    if weights and not masked:
        for mine, full in zip(steps[-1].attentions, whole.attentions, strict=True):
            assert_close(mine.numpy(), full.numpy()[:, :, -splits[-1] :], rtol=MODEL_FLOAT64)


def test_a_cached_step_agrees_with_transformers(pair: Any) -> None:
    ours, theirs = pair
    with exact():
        first = theirs(as_torch(IDS[:, :4]), use_cache=True)
        expected = theirs(as_torch(IDS[:, 4:]), past_key_values=first.past_key_values)
    cache = ours.make_cache()
    steps = run_in_parts(ours, (4, 3), cache)
    assert_close(steps[1].logits.numpy(), array(expected.logits), rtol=MODEL_FLOAT64)
    for mine, layer in zip(cache, first.past_key_values.layers, strict=True):
        assert_close(mine[0].numpy(), array(layer.keys), rtol=MODEL_FLOAT64)
        assert_close(mine[1].numpy(), array(layer.values), rtol=MODEL_FLOAT64)


def test_a_tuple_is_not_changed_and_a_cache_is(pair: Any) -> None:
    model, _ = pair
    first = model(IDS[:, :4]).past_key_values
    assert isinstance(first, tuple)
    before = [part.numpy().copy() for pair in first for part in pair]
    steps = [model(IDS[:, 4:], past_key_values=first) for _ in range(2)]
    assert (steps[0].logits.numpy() == steps[1].logits.numpy()).all()
    assert all((a == b.numpy()).all() for a, b in zip(before, sum(first, ()), strict=True))
    cache = KeyValueCache.from_legacy(first)
    with tinybert.no_grad():
        again = model(IDS[:, 4:], past_key_values=cache)
    assert again.past_key_values is cache
    assert cache.length == 7
    assert all((a == b.numpy()).all() for a, b in zip(before, sum(first, ()), strict=True))
    assert_close(again.logits.numpy(), steps[0].logits.numpy(), rtol=MODEL_FLOAT64)
    # arrays and lists will do as well, and without use_cache nothing is changed or returned
    lists = [[part.numpy().tolist() for part in pair] for pair in first]
    found = model(IDS[:, 4:], past_key_values=lists).logits.numpy()
    assert_close(found, steps[0].logits.numpy(), rtol=1e-6)  # lists of floats become float32
    quiet = model(IDS[:, :1], past_key_values=cache, use_cache=False)
    assert quiet.past_key_values is None
    assert cache.length == 7


def test_left_padding_with_positions_of_its_own_changes_nothing(pair: Any) -> None:
    model, _ = pair
    positions = (PADDED.cumsum(1) - 1).clip(0)
    padded = model(IDS, attention_mask=PADDED, position_ids=positions).logits.numpy()
    for row, pads in enumerate((2, 0, 1)):
        alone = model(IDS[row : row + 1, pads:]).logits.numpy()[0]
        assert_close(padded[row, pads:], alone, rtol=MODEL_FLOAT64)
    # only distances count
    moved = model(IDS, attention_mask=PADDED, position_ids=positions + 5).logits.numpy()
    assert_close(moved[PADDED == 1], padded[PADDED == 1], rtol=1e-5)


def test_nobody_sees_the_future(pair: Any) -> None:
    changed = IDS.copy()
    changed[:, -1] = (changed[:, -1] + 1) % 23
    for call in ({}, {"output_attentions": True}, {"attention_mask": PADDED[:, ::-1]}):
        before, after = (pair[0](ids, **call).logits.numpy() for ids in (IDS, changed))
        assert (before[:, :-1] == after[:, :-1]).all()


def test_gradients_flow_through_the_cache(pair: Any) -> None:
    """The same as without, by whichever kind of cache."""
    model, _ = pair
    factors = rng.standard_normal((3, 3, 23))
    (model(IDS, use_cache=False).logits[:, 4:] * factors).sum().backward()
    expected = {name: p.grad.numpy() for name, p in model.named_parameters()}
    for cache in (None, model.make_cache()):
        model.zero_grad()
        steps = run_in_parts(model, (2, 2, 3), cache)
        (steps[-1].logits * factors).sum().backward()
        for name, p in model.named_parameters():
            tolerance = MODEL_GRADIENT_FLOAT64
            assert_close(p.grad.numpy(), expected[name], rtol=tolerance, atol=tolerance, name=name)
    model.zero_grad()


@pytest.mark.parametrize(
    "recorded",
    [(True, False, True), (False, True, False, True), (True, True, False), (False, False, True)],
    ids=str,
)
@pytest.mark.parametrize("kind", ["cache", "tuple"])
def test_a_cache_filled_with_and_without_gradients(
    pair: Any, recorded: tuple[bool, ...], kind: str
) -> None:
    """As in torch: a step without gradients makes constants of the keys and values before it, and
    no later step changes what the graph of an earlier one has saved.
    """
    ours, theirs = pair
    factors = rng.standard_normal((3, 7, 23))
    widths = (3, 1, 1, 2)[: len(recorded)]  # spare capacity remains after the first
    gradients = []
    for model, make, grad in (
        (theirs, torch.from_numpy, torch.enable_grad),
        (ours, np.asarray, tinybert.enable_grad),
    ):
        model.zero_grad()
        none = torch.no_grad if model is theirs else tinybert.no_grad
        cache: Any = transformers.DynamicCache() if model is theirs else None
        if model is ours and kind == "cache":
            cache = ours.make_cache()
        total, stop = 0, 0
        for width, wanted in zip(widths, recorded, strict=True):
            start, stop = stop, stop + width
            with exact(), grad() if wanted else none():
                step = model(make(IDS[:, start:stop]), past_key_values=cache, use_cache=True)
            cache = step.past_key_values
            if wanted:
                total = total + (step.logits * make(factors[:, start:stop])).sum()
        total.backward()
        gradients.append({n: p.grad.numpy().copy() for n, p in model.named_parameters()})
    ours.zero_grad()
    with tinybert.no_grad():
        whole = ours(IDS[:, :stop]).logits.numpy()[:, start:]
    assert_close(step.logits.numpy(), whole, rtol=MODEL_FLOAT64)
    for name, expected in gradients[0].items():
        tolerance = MODEL_GRADIENT_FLOAT64
        assert_close(gradients[1][name], expected, rtol=tolerance, atol=tolerance, name=name)


def test_a_past_is_the_same_for_layers_that_are_computed_again(pair: Any) -> None:
    """Both runs of a layer start from the past that was given, and gradients flow to it."""
    model, _ = pair
    with tinybert.no_grad():
        first = model(IDS[:, :4]).past_key_values
    gradients = []
    for again in (False, True):
        past = [[Tensor(part.numpy(), requires_grad=True) for part in layer] for layer in first]
        model.zero_grad()
        if again:
            model.train().gradient_checkpointing_enable()
        logits = model(IDS[:, 4:], past_key_values=past, use_cache=False).logits
        (logits**2).sum().backward()
        leaves = [*model.parameters(), *(part for layer in past for part in layer)]
        gradients.append([leaf.grad.numpy() for leaf in leaves])
    model.eval().gradient_checkpointing_disable()
    model.zero_grad()
    for one, other in zip(*gradients, strict=True):
        assert_close(one, other, rtol=MODEL_GRADIENT_FLOAT64, atol=MODEL_GRADIENT_FLOAT64)


# --- errors ---------------------------------------------------------------------------------------


def past(layers: int = 2, batch: int = 3, heads: int = 2, size: int = 6, members: int = 2) -> Any:
    return [[np.zeros((batch, heads, 2, size))] * members for _ in range(layers)]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"past_key_values": past(layers=1)}, r"for each of 2 layers, got \[2\]"),
    "members": ({"past_key_values": past(members=3)}, r"a pair \(keys, values\).*got \[3, 3\]"),
    "rows": ({"past_key_values": past(batch=2)}, r"past_key_values .*\(3, 2, length, 6\).*got \(2"),
    "heads": ({"past_key_values": past(heads=4)}, r"\(3, 2, length, 6\).*got \(3, 4, 2, 6\)"),
    "size": ({"past_key_values": past(size=5)}, r"got \(3, 2, 2, 5\)"),
    "a cache of other rows": (
        {"past_key_values": KeyValueCache.from_legacy([[Tensor(np.zeros((1, 2, 4, 6)))] * 2] * 2)},
        r"past_key_values must have shape \(3, 2, length, 6\).*got \(1, 2, 4, 6\)",
    ),
    "mask without the past": (
        {"past_key_values": past(), "attention_mask": np.ones((3, 7))},
        r"attention_mask must have shape \(3, 9\) or \(3, 7, 9\), got \(3, 7\)",
    ),
    "mask of other tokens": (
        {"attention_mask": np.ones((3, 8))},
        r"attention_mask must have shape \(3, 7\).*got \(3, 8\)",
    ),
    "mask with four axes": (
        {"attention_mask": np.ones((3, 1, 7, 8))},
        r"attention_mask must broadcast to \(3, 4, 7, 7\), got \(3, 1, 7, 8\)",
    ),
    "mask of nan": (
        {"attention_mask": np.where(IDS[0, 0] == IDS, np.nan, 1.0)},
        "attention_mask must be of ones and zeros, got nan",
    ),
    "cache_position": (
        {"past_key_values": past(), "cache_position": np.arange(7)},
        r"cache_position must be 7 consecutive numbers from 2.*got \[0, 1",
    ),
    "positions": ({"position_ids": np.zeros((2, 7), int)}, r"position_ids must have shape \(3"),
    "neither": ({"input_ids": None}, "give either input_ids or inputs_embeds"),
    "ids": ({"input_ids": [[23]]}, "input_ids must be from 0 to 22, got 23"),
    "labels and few logits": ({"labels": IDS, "logits_to_keep": 2}, "labels need all logits"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused_by_name(pair: Any, call: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair[0](**{"input_ids": IDS, **call})


OF_OTHER_KINDS: dict[str, tuple[Any, str]] = {
    "a number": (3, "got int"),
    "no layers": ((None, None), "got tuple of NoneType"),
    "numbers": ([1, 2], "got list of int"),
    "an empty cache of transformers": (transformers.DynamicCache(), r"got \[\].*in DynamicCache"),
}


@pytest.mark.parametrize(("given", "message"), OF_OTHER_KINDS.values(), ids=OF_OTHER_KINDS)
def test_a_past_of_another_kind_is_named(pair: Any, given: Any, message: str) -> None:
    allowed = r"past_key_values must be a KeyValueCache,? or a pair \(keys, values\).*"
    with pytest.raises((TypeError, ValueError), match=allowed + message):
        pair[0](IDS, past_key_values=given)


def test_a_cache_of_another_dtype_is_refused_and_stays_as_it_is(pair: Any) -> None:
    model, cache = NemotronForCausalLM(pair[0].config).eval(), pair[0].make_cache()
    with tinybert.no_grad():
        model(IDS, past_key_values=cache)
        model.to(np.float64)
        with pytest.raises(ValueError, match=r"past_key_values holds float32 .* keys are float64"):
            model(IDS, past_key_values=cache)
    assert cache.length == 7


@pytest.mark.parametrize("kind", [int, np.uint8])
def test_whole_numbers_with_four_axes_mean_neither(pair: Any, kind: Any) -> None:
    mask = np.tril(np.ones((3, 1, 7, 7))).astype(kind)
    with pytest.raises(TypeError, match=r"attention_mask of four axes must be boolean, .*int"):
        pair[0](IDS, mask)


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (3, 1)], ids=str)
@pytest.mark.parametrize("weights", [False, True], ids=["blockwise", "weights"])
def test_a_boolean_mask_of_four_axes_says_what_may_be_seen(
    pair: Any, shape: tuple[int, int], weights: bool
) -> None:
    """As in transformers with torch's own attention; nothing is hidden beside it."""
    ours, eager = pair
    config = transformers.NemotronConfig(**ours.config.to_dict())
    config._attn_implementation = "sdpa"
    theirs = transformers.NemotronForCausalLM(config).double().eval()
    theirs.load_state_dict(eager.state_dict())
    mask = rng.random((*shape, 7, 7)) < 0.6
    mask |= np.eye(7, dtype=bool)
    with exact():
        expected = theirs(as_torch(IDS), attention_mask=as_torch(mask)).logits
    found = ours(IDS, mask, output_attentions=weights)
    assert_close(found.logits.numpy(), array(expected), rtol=MODEL_FLOAT64)
    if weights:
        hidden = np.broadcast_to(~mask, (3, 4, 7, 7))
        assert not found.attentions[0].numpy()[hidden].any()
    added = np.where(mask, 0.0, np.finfo(np.float64).min)
    assert_close(ours(IDS, added).logits.numpy(), found.logits.numpy(), rtol=MODEL_FLOAT64)


# --- generate -------------------------------------------------------------------------------------


def test_what_generate_gives_and_takes(pair: Any) -> None:
    model, theirs = pair
    out = model.generate(IDS, max_new_tokens=3, eos_token_id=None, return_dict_in_generate=True)
    assert isinstance(out.past_key_values, KeyValueCache)
    assert out.past_key_values.length == 9
    # from embeddings, the first step alone
    embeds = model.get_input_embeddings()(IDS).numpy()
    short = {"max_new_tokens": 3, "eos_token_id": None}
    found = model.generate(inputs_embeds=embeds, **short)
    assert found.tolist() == out.sequences[:, 7:].tolist()
    assert model.can_generate()
    # By default the limit of positions bounds the length; a longer one can be had.
    ids = as_torch(IDS)
    mask = torch.ones_like(ids)
    free = theirs.generate(ids, attention_mask=mask, eos_token_id=None)
    assert model.generate(IDS, eos_token_id=None).shape == tuple(free.shape) == (3, 17)
    assert model.generate(IDS, max_length=30, eos_token_id=None).shape == (3, 30)


def test_the_prompt_of_the_documents(tmp_path: Any) -> None:
    """`generate(inputs, max_length=20)` without a mask, as on the page; eos 3 ends and fills up."""
    _, theirs = causal_twins("NemotronForCausalLM", 5, eos_token_id=3)
    theirs.float().save_pretrained(tmp_path)
    model = tinybert.AutoModelForCausalLM.from_pretrained(
        tmp_path, torch_dtype="float32", device_map="cpu"
    )
    prompt = torch.tensor([[2, 7, 9, 11]])
    expected = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).generate(
        prompt, max_length=20, attention_mask=torch.ones_like(prompt), pad_token_id=3
    )
    assert model.generate(prompt, max_length=20).tolist() == expected.tolist()
    assert isinstance(model, NemotronForCausalLM)


def test_the_loss_for_a_number_of_items(pair: Any) -> None:
    ours, theirs = pair
    labels = np.where(IDS % 3 == 0, -100, IDS)
    call = {"labels": as_torch(labels), "num_items_in_batch": torch.tensor(11)}
    expected = theirs(as_torch(IDS), **call).loss.item()
    found = ours(IDS, labels=labels, num_items_in_batch=11).loss.item()
    assert found == pytest.approx(expected, rel=1e-6)  # theirs is computed in float32
    with pytest.raises(ValueError, match="unknown arguments: num_items_in_batch"):
        ours.generate(IDS, num_items_in_batch=11)


def test_only_some_logits(pair: Any) -> None:
    ours, theirs = pair
    whole = ours(IDS).logits.numpy()
    for keep in (1, 3, np.array([0, 5])):
        expected = array(theirs(as_torch(IDS), logits_to_keep=as_torch(keep)).logits)
        found = ours(IDS, logits_to_keep=keep).logits.numpy()
        assert found.shape == expected.shape
        index = keep if isinstance(keep, np.ndarray) else slice(-keep, None)
        assert_close(found, whole[:, index], rtol=MODEL_FLOAT64)


def test_a_fresh_default_config_has_as_many_heads_of_keys() -> None:
    config = NemotronConfig(**{**TOY, "num_key_value_heads": None})
    assert config.num_key_value_heads == 4
