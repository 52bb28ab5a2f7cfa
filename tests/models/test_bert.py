"""BertModel's outputs against transformers' BertModel, over configurations and ways to call it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.activations import ACT2FN

from tests.models.oracle import TOY, as_torch, config, flat, twin_config, twins
from tests.support import assert_close
from tests.tolerances import BATCH_INVARIANCE, MODEL_FLOAT64
from tinybert import BaseModelOutputWithPoolingAndCrossAttentions, BertModel, Tensor, no_grad
from tinybert.backend import manual_seed
from tinybert.models import activations
from tinybert.nn.packing import padded

ACTIVATIONS = ["gelu", "gelu_new", "relu", "silu", "swish", "gelu_pytorch_tanh", "relu2", "tanh"]
EVERYTHING = {"output_attentions": True, "output_hidden_states": True}


def inputs(model: BertModel, seed: int, batch: int = 3, length: int = 7) -> dict[str, Any]:
    """Random ids, types, positions out of order, and a mask with padding on both sides."""
    rng, c = np.random.default_rng(seed), model.config
    mask = np.ones((batch, length), np.int64)
    mask[1, length - 2 :] = 0
    mask[2, :3] = 0
    return {
        "input_ids": rng.integers(c.vocab_size, size=(batch, length)),
        "attention_mask": mask,
        "token_type_ids": rng.integers(c.type_vocab_size, size=(batch, length)),
        "position_ids": rng.permutation(c.max_position_embeddings)[: batch * length].reshape(
            batch, length
        )
        if c.max_position_embeddings >= batch * length
        else rng.integers(c.max_position_embeddings, size=(batch, length)),
    }


def agree(ours: BertModel, theirs: Any, **call: Any) -> None:
    """Every field of both outputs, present and equal, also at padding."""
    with no_grad(), padded():
        output = ours(**call)
    with torch.no_grad():
        expected = theirs(**{name: as_torch(value) for name, value in call.items()})
    assert isinstance(output, BaseModelOutputWithPoolingAndCrossAttentions)
    assert list(output) == list(expected)
    result, wanted = flat(output), flat(expected)
    assert list(result) == list(wanted)
    for name, array in wanted.items():
        assert result[name].dtype == array.dtype
        assert_close(result[name], array, rtol=MODEL_FLOAT64, name=name)


def random_options(seed: int) -> dict[str, Any]:
    """A config of a few layers, in which all sizes differ."""
    rng = np.random.default_rng(100 + seed)
    heads, size = rng.permutation([1, 2, 3, 5])[:2]
    return {
        "num_attention_heads": int(heads),
        "hidden_size": int(heads * size * 2),
        "num_hidden_layers": int(rng.integers(1, 5)),
        "intermediate_size": int(rng.choice([7, 11, 13, 19, 37])),
        "vocab_size": int(rng.integers(29, 60)),
        "max_position_embeddings": int(rng.integers(9, 28)),
        "type_vocab_size": int(rng.choice([2, 3, 4])),
        "pad_token_id": int(rng.integers(0, 29)),
        "layer_norm_eps": float(rng.choice([1e-12, 1e-5, 1e-3])),
        "hidden_act": ACTIVATIONS[seed % len(ACTIVATIONS)],
        "add_pooling_layer": bool(seed % 4),
    }


@pytest.fixture(scope="module")
def pair() -> tuple[BertModel, Any]:
    """The toy model, and its twin."""
    return twins()


@pytest.mark.parametrize("seed", range(12))
def test_random_configurations_agree_in_every_field(seed):
    ours, theirs = twins(seed, **random_options(seed))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    shapes = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes
    call = inputs(ours, seed)
    heads = np.random.default_rng(seed).random(
        (ours.config.num_hidden_layers, ours.config.num_attention_heads)
    )
    agree(ours, theirs, **call)
    agree(ours, theirs, **call, **EVERYTHING)
    agree(ours, theirs, **call, head_mask=heads, output_hidden_states=True)


def test_a_fresh_model_has_the_parameters_of_transformers_in_their_order():
    ours, theirs = BertModel(config()), transformers.BertModel(twin_config(config()))
    assert [name for name, _ in ours.named_parameters()] == [
        name for name, _ in theirs.named_parameters()
    ]
    assert ours.num_parameters() == theirs.num_parameters()
    assert list(BertModel(config(), add_pooling_layer=False).state_dict()) == [
        name for name in theirs.state_dict() if not name.startswith("pooler")
    ]


# --- arguments ------------------------------------------------------------------------------------

rng = np.random.default_rng(0)
IDS = rng.integers(TOY["vocab_size"], size=(3, 7))
PADDED = np.ones((3, 7), np.int64)
PADDED[0, 4:] = PADDED[1, :2] = 0
PAIRWISE = (rng.random((3, 7, 7)) < 0.6).astype(np.int64)
NOTHING = PADDED.copy()
NOTHING[2] = 0

CALLS: dict[str, dict[str, Any]] = {
    "ids alone": {},
    "a mask of integers": {"attention_mask": PADDED},
    "a mask of floats": {"attention_mask": PADDED.astype(np.float64)},
    "a mask of float32": {"attention_mask": PADDED.astype(np.float32)},
    "a mask of booleans": {"attention_mask": PADDED.astype(bool)},
    "a mask for each query": {"attention_mask": PAIRWISE},
    "a boolean mask for each query": {"attention_mask": PAIRWISE.astype(bool)},
    "a row in which all is masked": {"attention_mask": NOTHING},
    "queries that see nothing": {"attention_mask": PAIRWISE * (np.arange(7)[:, None] > 2)},
    "everything masked": {"attention_mask": PADDED * 0},
    "token types": {"token_type_ids": rng.integers(5, size=(3, 7))},
    "positions": {"position_ids": rng.integers(17, size=(3, 7))},
    "one row of positions for all": {"position_ids": rng.permutation(17)[None, :7]},
    "heads alike in all layers": {"head_mask": np.array([0.0, 1.0, 0.5])},
    "heads of each layer": {"head_mask": np.array([[0.0, 1.0, 0.5], [2.0, 0.0, 1.0]])},
    "embeddings in the place of ids": {
        "input_ids": None, "inputs_embeds": rng.standard_normal((3, 7, 12)),
        "attention_mask": PADDED,
    },
    "one token": {"input_ids": IDS[:, :1]},
    "one row": {"input_ids": IDS[:1], "attention_mask": PADDED[:1]},
    "as long as it can be": {"input_ids": rng.integers(23, size=(2, 17))},
}  # fmt: skip


@pytest.mark.parametrize("flags", [{}, EVERYTHING], ids=["blockwise", "with weights"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_calls_agree(call, flags, pair):
    agree(*pair, **{"input_ids": IDS, **call, **flags})


@pytest.mark.parametrize("chunk", [1, 3, 6])
def test_feed_forward_in_chunks_agrees(chunk):
    ours, theirs = twins(chunk_size_feed_forward=chunk)
    agree(ours, theirs, input_ids=IDS[:, :6])
    agree(ours, theirs, input_ids=IDS[:, :6], **EVERYTHING)
    if chunk > 1:
        with pytest.raises(ValueError, match=f"length 7 .*chunk_size_feed_forward {chunk}"):
            ours(IDS)


@pytest.mark.parametrize("pooling", [True, False])
@pytest.mark.parametrize("states", [None, True, False])
@pytest.mark.parametrize("weights", [None, True, False])
@pytest.mark.parametrize("by_config", [True, False])
def test_flags_of_the_config_and_of_the_call(pooling, states, weights, by_config):
    flags = {"output_hidden_states": states, "output_attentions": weights}
    defaults = dict.fromkeys(flags, by_config)
    ours, theirs = twins(add_pooling_layer=pooling, **defaults)
    agree(ours, theirs, input_ids=IDS, **flags)
    plain = ours(IDS, return_dict=False, **flags)
    expected = theirs(torch.from_numpy(IDS), return_dict=False, **flags)
    assert isinstance(plain, tuple)
    assert [type(part).__name__ for part in plain] == [type(part).__name__ for part in expected]
    assert (plain[1] is None) == (expected[1] is None) == (not pooling)
    for part, want in zip(plain, expected, strict=True):
        if isinstance(want, tuple):
            assert len(part) == len(want)
            assert_close(part[-1].numpy(), want[-1].detach().numpy(), rtol=MODEL_FLOAT64)


def test_return_dict_of_the_config():
    ours, theirs = twins(return_dict=False)
    assert isinstance(ours(IDS), tuple)
    assert isinstance(theirs(torch.from_numpy(IDS)), tuple)
    agree(ours, theirs, input_ids=IDS, return_dict=True)


def test_arguments_may_be_of_any_kind(pair):
    ours, theirs = pair
    types, positions = IDS % 5, IDS % 17
    heads = np.ones(3)
    given = {
        "input_ids": IDS,
        "attention_mask": PADDED,
        "token_type_ids": types,
        "position_ids": positions,
        "head_mask": heads,
    }
    expected = theirs(**{k: as_torch(v) for k, v in given.items()})[0].detach().numpy()
    for kind in (np.asarray, Tensor, lambda x: x.tolist(), lambda x: x.astype(np.float32)):
        result = ours(**{name: kind(value) for name, value in given.items()})
        assert_close(result.last_hidden_state.numpy(), expected, rtol=MODEL_FLOAT64)


def test_positional_arguments_stand_in_the_order_of_transformers(pair):
    ours, theirs = pair
    given = (IDS, PADDED, IDS % 5, IDS % 17, np.array([0.5, 1.0, 0.0]))
    expected = theirs(*map(as_torch, given)).last_hidden_state.detach().numpy()
    assert_close(ours(*given).last_hidden_state.numpy(), expected, rtol=MODEL_FLOAT64)
    embeds = rng.standard_normal((3, 7, 12))
    expected = theirs(None, *map(as_torch, given[1:]), as_torch(embeds))[0].detach().numpy()
    assert_close(ours(None, *given[1:], embeds)[0].numpy(), expected, rtol=MODEL_FLOAT64)


def test_an_activation_may_be_a_function():
    ours = BertModel(config(hidden_act=lambda x: x.relu() + 0.25))
    theirs = transformers.BertModel(twin_config(config()))
    for layer in theirs.encoder.layer:
        del layer.intermediate.intermediate_act_fn
        layer.intermediate.intermediate_act_fn = lambda x: torch.relu(x) + 0.25
    ours.load_state_dict(theirs.state_dict())
    agree(ours.to(np.float64).eval(), theirs.double().eval(), input_ids=IDS)


def test_inputs_are_left_as_they_were(pair):
    call = {"input_ids": IDS, "attention_mask": PADDED, "token_type_ids": IDS % 5}
    before = {name: array.copy() for name, array in call.items()}
    pair[0](**call, **EVERYTHING)
    for name, array in call.items():
        np.testing.assert_array_equal(array, before[name])


# --- properties -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_masked_keys_have_no_weight_at_all(pair, dtype):
    ours = BertModel(config()).to(dtype).eval()
    ours.load_state_dict(pair[0].state_dict())
    output = ours(IDS, attention_mask=NOTHING, output_attentions=True)
    for weights in output.attentions:
        weights = weights.numpy()
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=4 * np.finfo(dtype).eps)
        hidden = np.broadcast_to(NOTHING[:, None, None, :] == 0, weights.shape)
        assert not weights[:2][hidden[:2]].any()
        assert (weights[:2][~hidden[:2]] > 0).all()  # keys are masked, not queries
        np.testing.assert_allclose(weights[2], 1 / 7, rtol=4 * np.finfo(dtype).eps)
    blockwise = ours(IDS, attention_mask=NOTHING).last_hidden_state.numpy()
    assert np.isfinite(output.last_hidden_state.numpy()).all()
    close = {np.float16: 0.02, np.float32: 1e-5, np.float64: 1e-12}[dtype]
    np.testing.assert_allclose(blockwise, output.last_hidden_state.numpy(), atol=close)


@pytest.mark.parametrize("flags", [{}, EVERYTHING], ids=["blockwise", "with weights"])
def test_a_ragged_batch_is_its_rows_one_by_one(flags):
    ours, rng = twins(4)[0].to(np.float32), np.random.default_rng(5)
    lengths = [5, 1, 11, 8]
    ids, mask = np.zeros((4, 11), np.int64), np.zeros((4, 11), np.int64)
    for row, length in enumerate(lengths):
        ids[row, :length] = rng.integers(1, 23, size=length)
        mask[row, :length] = 1
    batch = ours(ids, attention_mask=mask, **flags)
    for row, length in enumerate(lengths):
        alone = ours(ids[row : row + 1, :length], **flags)
        together = batch.last_hidden_state.numpy()[row, :length]
        assert np.abs(together - alone.last_hidden_state.numpy()[0]).max() < BATCH_INVARIANCE
        pooled = batch.pooler_output.numpy()[row] - alone.pooler_output.numpy()[0]
        assert np.abs(pooled).max() < BATCH_INVARIANCE


def test_left_padding_with_positions_from_the_mask_changes_nothing(pair):
    ours, _ = pair
    ids = np.concatenate([np.zeros((1, 4), np.int64), IDS[:1]], axis=1)
    mask = np.array([[0] * 4 + [1] * 7])
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    padded = ours(ids, attention_mask=mask, position_ids=positions).last_hidden_state.numpy()[:, 4:]
    assert_close(padded, ours(IDS[:1]).last_hidden_state.numpy(), rtol=MODEL_FLOAT64)
    shifted = ours(ids, attention_mask=mask).last_hidden_state.numpy()[:, 4:]
    assert np.abs(shifted - padded).max() > 0.1  # without them the positions are others


def test_hidden_states_begin_and_end_where_they_should(pair):
    output = pair[0](IDS, **EVERYTHING)
    assert len(output.hidden_states) == 3
    assert output.hidden_states[-1] is output.last_hidden_state
    embedded = pair[0].embeddings(Tensor(IDS), None, None, None)
    np.testing.assert_array_equal(output.hidden_states[0].numpy(), embedded.numpy())


# --- training mode --------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [{}, EVERYTHING], ids=["blockwise", "with weights"])
@pytest.mark.parametrize("where", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
def test_dropout_acts_in_training_and_follows_the_seed(where, flags):
    silent = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    ours, _ = twins(**{**silent, where: 0.4})

    def run() -> np.ndarray:
        return ours(IDS, **flags).last_hidden_state.numpy()

    calm = run()
    np.testing.assert_array_equal(run(), calm)
    ours.train()
    manual_seed(1)
    first = run()
    assert np.abs(first - calm).max() > 0.1
    assert np.abs(run() - first).max() > 0.1
    manual_seed(1)
    np.testing.assert_array_equal(run(), first)
    np.testing.assert_array_equal(ours.eval() and run(), calm)


def test_without_dropout_training_mode_changes_nothing():
    ours, _ = twins(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    calm = ours(IDS).last_hidden_state.numpy()
    np.testing.assert_array_equal(ours.train()(IDS).last_hidden_state.numpy(), calm)


def test_returned_weights_are_those_after_dropout():
    ours, _ = twins(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    weights = ours.train()(IDS, output_attentions=True).attentions[0].numpy()
    calm = ours.eval()(IDS, output_attentions=True).attentions[0].numpy()
    dropped = weights == 0
    assert 0.35 < dropped.mean() < 0.65
    assert_close(weights[~dropped], 2 * calm[~dropped], rtol=MODEL_FLOAT64)


# --- errors ---------------------------------------------------------------------------------------

V, D, T = TOY["vocab_size"], TOY["hidden_size"], TOY["max_position_embeddings"]
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "neither ids nor embeddings": ({}, "input_ids or inputs_embeds"),
    "both": ({"input_ids": IDS, "inputs_embeds": np.ones((3, 7, D))}, "input_ids or inputs_embeds"),
    "ids of rank 1": ({"input_ids": IDS[0]}, r"input_ids .*\(B, T\), got \(7,\)"),
    "ids of rank 3": ({"input_ids": IDS[None]}, r"input_ids .*\(B, T\), got \(1, 3, 7\)"),
    "embeddings of rank 2": (
        {"inputs_embeds": np.ones((7, D))}, rf"inputs_embeds .*\(B, T, {D}\), got \(7, {D}\)",
    ),
    "embeddings of another size": (
        {"inputs_embeds": np.ones((3, 7, 5))}, rf"inputs_embeds .*\(B, T, {D}\), got \(3, 7, 5\)",
    ),
    "an id too large": ({"input_ids": [[1, V]]}, f"input_ids must be from 0 to {V - 1}, got {V}"),
    "a negative id": ({"input_ids": [[1, -1]]}, f"input_ids must be from 0 to {V - 1}, got -1"),
    "a token type too large": (
        {"input_ids": IDS, "token_type_ids": np.full((3, 7), 5)},
        "token_type_ids must be from 0 to 4, got 5",
    ),
    "a position too large": (
        {"input_ids": IDS, "position_ids": np.full((3, 7), T)},
        f"position_ids must be from 0 to {T - 1}, got {T}",
    ),
    "too long": ({"input_ids": np.ones((1, T + 1), int)}, f"{T + 1} tokens.*embeddings is {T}"),
    "embeddings too long": (
        {"inputs_embeds": np.ones((1, T + 1, D))}, f"{T + 1} tokens.*embeddings is {T}",
    ),
    "types of another length": (
        {"input_ids": IDS, "token_type_ids": IDS[:, :5]},
        r"token_type_ids must have shape \(3, 7\), got \(3, 5\)",
    ),
    "positions of another batch": (
        {"input_ids": IDS, "position_ids": IDS[:2]},
        r"position_ids must have shape \(3, 7\), got \(2, 7\)",
    ),
    "a mask of another length": (
        {"input_ids": IDS, "attention_mask": np.ones((3, 5))},
        r"attention_mask must have shape \(3, 7\) or \(3, 7, 7\), got \(3, 5\)",
    ),
    "a mask of rank 1": ({"input_ids": IDS, "attention_mask": np.ones(7)}, "attention_mask"),
    "a mask of rank 4": (
        {"input_ids": IDS, "attention_mask": np.ones((3, 1, 7, 7))}, "attention_mask",
    ),
    "a head mask of another layer count": (
        {"input_ids": IDS, "head_mask": np.ones((1, 3))},
        r"head_mask must have shape \(3,\) or \(2, 3\), got \(1, 3\)",
    ),
    "a head mask of another head count": (
        {"input_ids": IDS, "head_mask": np.ones(4)}, r"head_mask .*got \(4,\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused_by_name(call, message, pair):
    with pytest.raises(ValueError, match=message):
        pair[0](**call)


@pytest.mark.parametrize("name", ["input_ids", "token_type_ids", "position_ids"])
@pytest.mark.parametrize("value", [1.5, float("nan"), float("inf"), -float("inf"), 1e30])
def test_ids_must_be_whole_numbers(name, value, pair):
    with pytest.raises(TypeError, match=f"{name} must be integers"):
        pair[0](**{"input_ids": IDS, name: np.full((3, 7), value)})


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "heads do not divide": ({"hidden_size": 10}, "hidden_size 10 .*num_attention_heads 3"),
    "no heads": ({"num_attention_heads": 0}, "num_attention_heads must be an integer >= 1, got 0"),
    "a size in quotes": ({"hidden_size": "12"}, "hidden_size must be an integer >= 1, got '12'"),
    "unknown activation": ({"hidden_act": "gleu"}, "hidden_act .*'gleu'"),
    "unknown positions": ({"position_embedding_type": "relative"}, "relative_key.*'relative'"),
    "cross-attention": ({"add_cross_attention": True}, "add_cross_attention"),
    "a dropout of 2": ({"hidden_dropout_prob": 2.0}, "hidden_dropout_prob .*0 to 1, got 2.0"),
    "padding outside the vocabulary": ({"pad_token_id": 23}, "pad_token_id .*0 to 22 .*23"),
}


@pytest.mark.parametrize(("options", "message"), CONFIGS.values(), ids=CONFIGS)
def test_wrong_configs_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        BertModel(config(**options))


def test_a_config_of_another_class_is_refused():
    with pytest.raises(TypeError, match="BertConfig, got dict"):
        BertModel(TOY)


# --- fresh weights --------------------------------------------------------------------------------


def test_fresh_weights_have_the_distribution_of_transformers():
    sizes = {"vocab_size": 200, "hidden_size": 48, "intermediate_size": 90, "pad_token_id": 3}
    own = config(**sizes, initializer_range=0.05)
    ours, theirs = BertModel(own), transformers.BertModel(twin_config(own))
    for name, expected in theirs.state_dict().items():
        array = ours.state_dict()[name].numpy()
        if name.endswith("bias") or "LayerNorm" in name:
            np.testing.assert_array_equal(array, expected.numpy(), err_msg=name)
        else:
            error = 5 * 0.05 / np.sqrt(array.size)
            assert abs(array.mean()) < error, name
            assert abs(array.std() - expected.numpy().std()) < 1.5 * error, name
    assert not ours.embeddings.word_embeddings.weight.numpy()[3].any()
    assert ours.training
    assert ours.base_model is ours
    assert ours.get_input_embeddings() is ours.embeddings.word_embeddings
    assert (ours.device, ours.dtype) == ("cpu", np.float32)


def test_one_seed_gives_one_model():
    manual_seed(9)
    first = BertModel(config()).state_dict()
    second = BertModel(config()).state_dict()
    manual_seed(9)
    third = BertModel(config()).state_dict()
    name = "encoder.layer.1.output.dense.weight"
    assert not np.array_equal(first[name].numpy(), second[name].numpy())
    for key, tensor in third.items():
        np.testing.assert_array_equal(tensor.numpy(), first[key].numpy())


def test_a_sequence_without_tokens_is_refused(pair):
    ours, _ = pair
    with pytest.raises(ValueError, match="is empty: a sequence needs at least one token"):
        ours(np.zeros((2, 0), np.int64))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_mask_of_nan_is_refused(pair, value):
    ours, _ = pair
    mask = np.ones(IDS.shape)
    mask[0, 1] = value
    for wrong in (mask, np.repeat(mask[:, None], IDS.shape[1], axis=1)):
        with pytest.raises(ValueError, match=f"attention_mask must be of ones .*got {value}"):
            ours(IDS, wrong)


def test_a_mask_that_wants_a_gradient_is_refused(pair):
    ours, _ = pair
    mask = Tensor(np.ones(IDS.shape), requires_grad=True)
    with pytest.raises(ValueError, match="attention_mask is a constant"):
        ours(IDS, attention_mask=mask)


def test_embeddings_take_the_dtype_of_the_model(pair):
    ours, _ = pair
    embeds = np.random.default_rng(0).standard_normal((2, 3, ours.config.hidden_size))
    assert ours(inputs_embeds=embeds).last_hidden_state.dtype == ours.dtype


@pytest.mark.parametrize("name", sorted(activations.ACTIVATIONS))
def test_activations_are_those_of_transformers(name):
    x = np.linspace(-12, 12, 97)
    expected = ACT2FN[name](torch.tensor(x)).numpy()
    assert np.allclose(activations.activation(name)(Tensor(x)).numpy(), expected, atol=1e-12)
