"""How the Flax classes are called: parameters, dropout, frozen outputs, errors."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import numpy as np
import pytest

import tinybert
import tinybert.frontends.flax as jnp
from tests.frontends.flax import settings
from tests.frontends.flax.test_golden import make
from tinybert.frontends.flax.parameters import leaves_of

IDS = np.array([[1, 5, 9, 2, 7], [3, 4, 0, 8, 6]])


def config(**options: Any) -> Any:
    return tinybert.BertConfig(**{**settings.SIZES, **options})


# --- dropout --------------------------------------------------------------------------------------


def test_attention_drops_the_same_keys_for_all_texts_and_heads() -> None:
    model = tinybert.FlaxBertModel(config(attention_probs_dropout_prob=0.5, hidden_dropout_prob=0))
    call = {"output_attentions": True, "train": True}
    dropped = model(IDS, **call, dropout_rng=4).attentions
    alone = model(IDS, train=True, dropout_rng=4)[0].numpy()  # weights are not returned
    assert (alone == model(IDS, **call, dropout_rng=4)[0].numpy()).all()
    weights = model(IDS, output_attentions=True).attentions[0].numpy()
    zero = dropped[0].numpy() == 0
    assert 0 < zero.mean() < 1
    assert (zero == zero[:1, :1]).all()
    np.testing.assert_allclose(dropped[0].numpy()[~zero], 2 * weights[~zero], rtol=1e-5)
    other = dropped[1].numpy() == 0
    assert (other == other[:1, :1]).all()
    assert (other != zero).any()


def test_other_dropout_is_drawn_for_each_element() -> None:
    model = tinybert.FlaxBertModel(config(attention_probs_dropout_prob=0, hidden_dropout_prob=0.5))
    hidden = model(IDS, train=True, dropout_rng=4, output_hidden_states=True).hidden_states[0]
    zero = hidden.numpy() == 0
    assert 0.3 < zero.mean() < 0.7
    assert (zero[0] != zero[1]).any()


def test_the_key_decides_and_nothing_else() -> None:
    model = tinybert.FlaxBertModel(config())
    state = str(tinybert.backend.generator_state())
    first = model(IDS, train=True, dropout_rng=jnp.random.PRNGKey(3))[0].numpy()
    assert str(tinybert.backend.generator_state()) == state  # the global generator was not used
    again = model(IDS, train=True, dropout_rng=jnp.random.PRNGKey(3))[0].numpy()
    assert (first == again).all()
    other = model(IDS, train=True, dropout_rng=jnp.random.PRNGKey(4))[0].numpy()
    assert (first != other).any()
    assert (model(IDS, dropout_rng=3)[0].numpy() == model(IDS)[0].numpy()).all()
    with pytest.raises(ValueError, match="train=True needs dropout_rng"):
        model(IDS, train=True)
    without = config(hidden_dropout_prob=0, attention_probs_dropout_prob=0)
    tinybert.FlaxBertModel(without)(IDS, train=True)


def test_keys() -> None:
    key = jnp.random.PRNGKey(2**32 + 5)
    assert key.dtype == np.uint32
    assert key.tolist() == [1, 5]
    keys = jnp.random.split(key, 3)
    assert keys.shape == (3, 2)
    assert len({tuple(k) for k in keys}) == 3
    assert (keys == jnp.random.split(key, 3)).all()
    assert (jnp.random.fold_in(key, 1) != jnp.random.fold_in(key, 2)).any()
    assert (jnp.random.fold_in(key, 0) != keys[0]).any()
    for wrong in (-1, 2**64, 1.5, True):
        with pytest.raises(ValueError, match="seed must be an integer"):
            jnp.random.PRNGKey(wrong)
    with pytest.raises(TypeError, match="dropout_rng must be a seed or a key"):
        tinybert.FlaxBertModel(config())(IDS, train=True, dropout_rng=1.5)


# --- parameters -----------------------------------------------------------------------------------


def test_a_call_stores_nothing() -> None:
    model, params, _ = make("model")
    own = tinybert.FlaxBertModel(config(), seed=1)
    held = own(IDS)[0].numpy()
    given = own(IDS, params=params)[0].numpy()
    assert abs(held - given).max() > 0.1
    assert (own(IDS)[0].numpy() == held).all()
    assert (own(IDS, params={})[0].numpy() == held).all()
    assert (model(IDS, params=params)[0].numpy() == given).all()


def test_a_model_without_parameters() -> None:
    model = tinybert.FlaxBertModel(config(), _do_init=False)
    for use in (lambda: model.params, lambda: setattr(model, "params", {}), lambda: model(IDS)):
        with pytest.raises(ValueError, match="_do_init=False"):
            use()
    tree = model.init_weights(jnp.random.PRNGKey(0), (1, 1))
    assert set(leaves_of(tree)) == model.required_params
    assert model(IDS, params=tree)[0].shape == (2, 5, 12)
    del tree["pooler"]["dense"]["bias"]
    kernel = tree["pooler"]["dense"]["kernel"]
    with pytest.raises(ValueError, match="params lack pooler/dense/bias"):
        model(IDS, params=tree)
    filled = model.init_weights(9, params=tree)
    assert filled["pooler"]["dense"]["kernel"] is kernel
    assert filled["pooler"]["dense"]["bias"].shape == (12,)


def test_setting_parameters() -> None:
    model = tinybert.FlaxBertModel(config())
    tree = dict(model.params)
    tree["more"] = {"leaf": np.ones(2)}
    model.params = tree
    assert "more" in model.params
    with pytest.raises(ValueError, match="params lack encoder/layer/0/"):
        model.params = {name: part for name, part in tree.items() if name != "encoder"}
    wrong = tinybert.transforms.tree_map(lambda leaf: leaf, tree)
    wrong["pooler"]["dense"]["kernel"] = np.ones((12, 11))
    with pytest.raises(ValueError, match=r"pooler/dense/kernel must have shape \(12, 12\)"):
        model(IDS, params=wrong)
    shapes = leaves_of(model.params_shape_tree)
    assert shapes["embeddings", "word_embeddings", "embedding"].shape == (37, 12)
    assert shapes["encoder", "layer", "0", "intermediate", "dense", "kernel"].shape == (12, 10)


def test_initial_parameters() -> None:
    """Normal in the base model, the row of padding too; LeCun's cut normal in the heads."""
    sizes = config(hidden_size=120, vocab_size=500, initializer_range=0.02, num_hidden_layers=1)
    model = tinybert.FlaxBertForMaskedLM(sizes)
    table = model.params["bert"]["embeddings"]["word_embeddings"]["embedding"].numpy()
    query = model.params["bert"]["encoder"]["layer"]["0"]["attention"]["self"]["query"]
    head = model.params["cls"]["predictions"]["transform"]["dense"]["kernel"].numpy()
    for array in (table, query["kernel"].numpy()):
        assert 0.019 < array.std() < 0.021
        assert abs(array).max() > 3 * 0.02
    assert 0.01 < table[0].std() < 0.03
    std = 1 / math.sqrt(120)
    assert 0.97 * std < head.std() < 1.03 * std
    assert 1.9 * std / 0.8796 < abs(head).max() <= 2.0001 * std / 0.8796
    assert (query["bias"].numpy() == 0).all()
    assert (model.params["bert"]["embeddings"]["LayerNorm"]["scale"].numpy() == 1).all()
    again, other = (tinybert.FlaxBertForMaskedLM(sizes, seed=seed) for seed in (0, 1))
    pairs = [leaves_of(m.params)["cls", "predictions", "transform", "dense", "kernel"].numpy() for
             m in (again, other)]  # fmt: skip
    assert (pairs[0] == head).all()
    assert (pairs[1] != head).any()


def test_casts() -> None:
    model = tinybert.FlaxBertModel(config())
    params = model.params
    half = model.to_fp16(params)
    leaf = half["pooler"]["dense"]["kernel"]
    assert leaf.dtype == np.float16
    assert params["pooler"]["dense"]["kernel"].dtype == np.float32
    assert model.to_fp32(half)["pooler"]["dense"]["kernel"].dtype == np.float32
    rounded = model.to_bf16(params)["pooler"]["dense"]["kernel"].numpy()
    assert (rounded.view(np.uint32) & 0xFFFF == 0).all()
    np.testing.assert_allclose(rounded, params["pooler"]["dense"]["kernel"].numpy(), rtol=2**-8)
    mask = tinybert.transforms.tree_map(lambda _: False, params)
    mask["pooler"]["dense"]["kernel"] = True
    some = model.to_fp16(params, mask)
    kinds = {path: leaf.dtype.name for path, leaf in leaves_of(some).items()}
    assert {p for p, kind in kinds.items() if kind == "float16"} == {("pooler", "dense", "kernel")}


def test_the_dtype_is_that_of_the_computation() -> None:
    model = tinybert.FlaxBertModel(config(), dtype=jnp.float16)
    assert model(IDS)[0].dtype == np.float16
    assert model.params["pooler"]["dense"]["kernel"].dtype == np.float32
    with pytest.raises(ValueError, match="NumPy has no bfloat16"):
        tinybert.FlaxBertModel(config(), dtype="bfloat16")


def test_variances_are_computed_in_two_passes() -> None:
    """E[x^2] - E[x]^2, as in Flax, loses all digits of features with a large mean."""
    model = tinybert.FlaxBertModel(config())
    params = tinybert.transforms.tree_map(lambda leaf: leaf, model.params)
    table = params["embeddings"]["word_embeddings"]
    table["embedding"] = table["embedding"] + 1000
    exact = tinybert.FlaxBertModel(config(), dtype="float64")(IDS, params=params)[0].numpy()
    np.testing.assert_allclose(model(IDS, params=params)[0].numpy(), exact, atol=0.01)


# --- calls ----------------------------------------------------------------------------------------


def test_masks_and_head_masks_are_integers() -> None:
    model = tinybert.FlaxBertModel(config())
    mask = np.array([[1, 1, 1, 0, 0]] * 2)
    expected = model(IDS, mask)[0].numpy()
    assert (model(IDS, mask * 2 + (mask == 0) * 0.5)[0].numpy() == expected).all()
    assert (expected[:, 3:] != 0).all()  # padding is computed
    heads = np.ones((2, 3))
    heads[1, 2] = 0
    cut = model(IDS, head_mask=heads, output_attentions=True).attentions[1].numpy()
    assert (cut[:, 2] == 0).all()
    assert (cut[:, :2] > 0).all()
    heads[1, 2] = 0.5  # becomes 0
    again = model(IDS, head_mask=heads, output_attentions=True).attentions[1].numpy()
    assert (again == cut).all()


def test_signatures() -> None:
    """Names, order and defaults are those of the documents."""
    expected = {
        "input_ids": inspect.Parameter.empty, "attention_mask": None, "token_type_ids": None,
        "position_ids": None, "head_mask": None, "encoder_hidden_states": None,
        "encoder_attention_mask": None, "params": None, "dropout_rng": None, "train": False,
        "output_attentions": None, "output_hidden_states": None, "return_dict": None,
        "past_key_values": None,
    }  # fmt: skip
    made = {
        "config": inspect.Parameter.empty, "input_shape": (1, 1), "seed": 0, "dtype": np.float32,
        "_do_init": True, "gradient_checkpointing": False,
    }  # fmt: skip
    for name, _ in settings.CASES.values():
        kind = getattr(tinybert, name)
        call = inspect.signature(kind.__call__).parameters
        assert {n: p.default for n, p in list(call.items())[1:]} == expected
        assert list(call)[1:] == list(expected)
        parameters = inspect.signature(kind).parameters
        assert [(n, p.default) for n, p in parameters.items()][:-1] == list(made.items())
        assert list(parameters.values())[-1].kind is inspect.Parameter.VAR_KEYWORD


def test_wrong_calls() -> None:
    model = tinybert.FlaxBertModel(config())
    with pytest.raises(TypeError, match="input_ids must be an array of shape"):
        model([[1, 2]])
    with pytest.raises(
        TypeError, match=r"input_ids must be an array of shape \(B, T\), got \(2,\)"
    ):
        model(np.array([1, 2]))
    for wrong in (37, -1):
        with pytest.raises(ValueError, match=f"input_ids must be from 0 to 36, got {wrong}"):
            model(np.array([[wrong]]))
    with pytest.raises(ValueError, match="position_ids must be from 0 to 16, got 17"):
        model(IDS[:1, :1], position_ids=np.array([[17]]))
    for unknown in ("labels", "inputs_embeds"):
        with pytest.raises(TypeError, match=unknown):
            model(IDS, **{unknown: IDS})
    with pytest.raises(TypeError, match=r"\(B, C, T\)"):
        tinybert.FlaxBertForMultipleChoice(config())(IDS)
    with pytest.raises(ValueError, match="hidden_act must be"):
        tinybert.FlaxBertModel(config(hidden_act="mish"))
    with pytest.raises(ValueError, match="add_cross_attention is for FlaxBertModel"):
        tinybert.FlaxBertForMaskedLM(config(add_cross_attention=True))
    with pytest.raises(ValueError, match="init_cache is for decoders"):
        model.init_cache(2, 5)
    decoder = tinybert.FlaxBertForCausalLM(config(is_decoder=True))
    with pytest.raises(ValueError, match="past_key_values must be a tree from init_cache"):
        decoder(IDS, past_key_values=(1, 2))
    with pytest.raises(ValueError, match="max_length must be"):
        decoder.prepare_inputs_for_generation(IDS, 4)


def test_outputs_are_frozen() -> None:
    output = tinybert.FlaxBertForMaskedLM(config())(IDS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        output.logits = None
    with pytest.raises(dataclasses.FrozenInstanceError):
        output["logits"] = None
    changed = output.replace(logits=None, hidden_states=(1,))
    assert list(changed) == ["hidden_states"]
    assert list(output) == ["logits"]
    with pytest.raises(TypeError, match="nothing"):
        output.replace(nothing=1)


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    model, params, inputs = make("masked")
    key = {"train": True, "dropout_rng": 1}

    def loss(tree: Any) -> Any:
        return (model(**inputs, params=tree, **key).logits ** 2).mean()

    expected = tinybert.grad(loss)(params)
    model.enable_gradient_checkpointing()
    for path, leaf in leaves_of(tinybert.grad(loss)(params)).items():
        np.testing.assert_allclose(leaf.numpy(), leaves_of(expected)[path].numpy(), atol=1e-7)


def test_relative_positions_are_ignored() -> None:
    model = tinybert.FlaxBertModel(config(position_embedding_type="relative_key"))
    plain = tinybert.FlaxBertModel(config())
    assert (model(IDS)[0].numpy() == plain(IDS)[0].numpy()).all()


def test_generation_with_a_cache_equals_full_passes() -> None:
    """A decoder without cross-attention: it has a cache here, and ignores it in transformers."""
    model = tinybert.FlaxBertForCausalLM(config(is_decoder=True))
    mask = np.array([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
    call = model.prepare_inputs_for_generation(IDS, 8, mask)
    assert call["position_ids"].tolist() == [[-1, 0, 1, 2, 3], [0, 1, 2, 3, 4]]
    call["position_ids"] = call["position_ids"].clip(0, None)
    step, ids = IDS, IDS
    for length in range(6, 9):
        output = model(step, **call)
        seen = np.concatenate([mask, np.ones((2, len(ids[0]) - 5), int)], axis=1)
        positions = (seen.cumsum(1) - 1).clip(0, None)
        full = model(ids, seen, position_ids=positions).logits.numpy()
        np.testing.assert_allclose(output.logits.numpy()[:, -1], full[:, -1], atol=4e-6)
        step = full[:, -1:].argmax(-1)
        ids = np.concatenate([ids, step], axis=1)
        call = model.update_inputs_for_generation(output, call)
        assert len(ids[0]) == length
    model(step, **call)
    with pytest.raises(ValueError, match="8 of 8 tokens"):
        model(step, **{**call, "past_key_values": model(step, **call).past_key_values})
    with pytest.raises(ValueError, match=r"attention_mask must have shape \(2, 8\)"):
        model(step, **{**call, "attention_mask": mask})
    pair = model(step, **call, return_dict=False)
    assert isinstance(pair[1], dict)
    assert len(pair) == 2


def test_positions_are_counted_from_the_cache() -> None:
    model = tinybert.FlaxBertForCausalLM(config(is_decoder=True))
    full = model(IDS).logits.numpy()
    first = model(IDS[:, :3], past_key_values=model.init_cache(2, 5))
    second = model(IDS[:, 3:], past_key_values=first.past_key_values)
    np.testing.assert_allclose(second.logits.numpy(), full[:, 3:], atol=4e-6)
    with pytest.raises(ValueError, match="holds 5 of 5 tokens: 1 more do not fit"):
        model(IDS[:, :1], past_key_values=second.past_key_values)


def test_generate() -> None:
    """Greedy search by hand; rows that end early are padded; samples depend on the key alone."""
    model = tinybert.FlaxBertForCausalLM(config(is_decoder=True, eos_token_id=None))
    ids = IDS
    while ids.shape[1] < 9:
        ids = np.concatenate([ids, model(ids).logits.numpy()[:, -1:].argmax(-1)], axis=1)
    assert (model.generate(IDS, max_length=9).sequences.numpy() == ids).all()
    end = int(ids[0, 6])
    stopped = model.generate(IDS[:1], max_length=9, eos_token_id=end, pad_token_id=0).sequences
    new = ids[0, 5:].tolist()
    kept = new[: new.index(end) + 1]
    assert stopped.tolist() == [IDS[0].tolist() + kept + [0] * (4 - len(kept))]
    for options in ({}, {"max_length": 12, "pad_token_id": None}):
        assert model.generate(IDS, max_new_tokens=3, **options).sequences.shape == (2, 8)
    drawn = [
        model.generate(IDS, jnp.random.PRNGKey(seed), do_sample=True, max_length=12).sequences
        for seed in (1, 1, 2)
    ]
    assert (drawn[0].numpy() == drawn[1].numpy()).all()
    assert (drawn[0].numpy() != drawn[2].numpy()).any()


def test_two_threads_with_two_trees() -> None:
    """Parameters are substituted for one call: no other call sees them."""
    from concurrent.futures import ThreadPoolExecutor

    model, first, _ = make("model")
    second = tinybert.transforms.tree_map(lambda leaf: leaf * 2, first)
    expected = [model(IDS, params=tree)[0].numpy() for tree in (first, second)]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(model, IDS, params=(first, second)[i % 2]) for i in range(20)]
        for i, job in enumerate(jobs):
            assert (job.result()[0].numpy() == expected[i % 2]).all()


def test_the_documents_examples() -> None:
    """What the nine examples use: calls by keyword, `v[None, :]`, and comparisons of logits."""
    inputs = {"input_ids": jnp.array([[1, 2, 3], [4, 5, 6]])}
    choices = tinybert.FlaxBertForMultipleChoice(config())
    assert choices(**{k: v[None, :] for k, v in inputs.items()}).logits.shape == (1, 2)
    logits = tinybert.FlaxBertForNextSentencePrediction(config())(**inputs).logits
    assert bool(logits[0, 0] < logits[0, 1]) == bool(logits.numpy()[0, 0] < logits.numpy()[0, 1])
    causal = tinybert.FlaxBertForCausalLM(config())(**inputs)
    assert causal.logits[:, -1].shape == (2, 37)
    assert np.argmax(causal.logits, axis=-1).shape == (2, 3)
    assert (jnp.argmax(causal.logits, axis=-1).numpy() == np.argmax(causal.logits, axis=-1)).all()
