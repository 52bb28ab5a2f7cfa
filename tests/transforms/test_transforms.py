"""Functions of functions: parameters by name, gradients of trees, mapped axes, checks of purity."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import tinybert
from tinybert import functional_call, grad, jit, nn, value_and_grad, vmap
from tinybert.transforms import tree_leaves, tree_map

IDS = np.array([[1, 5, 9, 2, 7], [3, 4, 0, 8, 6]])


def bert(kind: str = "BertForMaskedLM", **options: Any) -> Any:
    sizes = {
        "vocab_size": 37, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 10, "max_position_embeddings": 17,
    }  # fmt: skip
    return getattr(tinybert, kind)(tinybert.BertConfig(**sizes, **options)).eval()


# --- functional_call ------------------------------------------------------------------------------


def test_parameters_of_one_call() -> None:
    model, other = bert(), bert()
    own = model(IDS).logits.numpy()
    given = functional_call(model, dict(other.named_parameters()), IDS).logits.numpy()
    assert (given == other(IDS).logits.numpy()).all()
    assert (given != own).any()
    assert (model(IDS).logits.numpy() == own).all()
    assert (functional_call(model, {}, input_ids=IDS).logits.numpy() == own).all()


def test_a_shared_parameter_is_replaced_under_all_its_names() -> None:
    model = bert()
    table = "bert.embeddings.word_embeddings.weight"
    doubled = {table: model.bert.embeddings.word_embeddings.weight.detach() * 2}
    expected = bert()
    expected.load_state_dict(model.state_dict())
    expected.bert.embeddings.word_embeddings.weight.data *= 2
    found = functional_call(model, doubled, IDS).logits.numpy()
    assert (found == expected(IDS).logits.numpy()).all()
    with pytest.raises(ValueError, match="shared with another name"):
        functional_call(
            model, {**doubled, "cls.predictions.decoder.weight": np.ones((37, 12))}, IDS
        )


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_flow_through_results_of_operations(checkpointing: bool) -> None:
    """Parameters that are computed from others, as in meta-learning and hypernetworks."""
    model = bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    params = dict(model.named_parameters())
    twice = grad(lambda p: functional_call(model, tree_map(lambda x: 2 * x, p), IDS).logits.sum())
    once = grad(lambda p: functional_call(model, p, IDS).logits.sum())
    doubled = tree_map(lambda x: x.detach() * 2, params)
    for name, leaf in once(doubled).items():
        np.testing.assert_allclose(2 * leaf.numpy(), twice(params)[name].numpy(), atol=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_buffers_and_errors() -> None:
    layer = nn.Linear(2, 3)
    layer.register_buffer("shift", tinybert.Tensor([1.0]))
    with pytest.raises(ValueError, match="Linear has no parameter or buffer 'wieght'"):
        functional_call(layer, {"wieght": np.ones((3, 2))}, np.ones(2))
    with pytest.raises(ValueError, match=r"weight must have shape \(3, 2\), got \(2, 3\)"):
        functional_call(layer, {"weight": np.ones((2, 3))}, np.ones(2))
    found = functional_call(layer, {"weight": np.ones((3, 2)), "bias": np.ones(3)}, np.ones(2))
    assert found.tolist() == [3, 3, 3]
    from tinybert.transforms import with_parameters

    assert with_parameters(layer, {"shift": np.zeros(1)}).shift.tolist() == [0]
    assert layer.shift.tolist() == [1]


# --- gradients ------------------------------------------------------------------------------------


def test_gradients_equal_those_of_backward() -> None:
    model = bert()
    params = dict(model.named_parameters())
    value, gradients = value_and_grad(lambda p: functional_call(model, p, IDS, labels=IDS).loss)(
        params
    )
    assert all(parameter.grad is None for parameter in params.values())
    model(IDS, labels=IDS).loss.backward()
    assert value.item() == model(IDS, labels=IDS).loss.item()
    assert gradients.keys() == params.keys()
    for name, parameter in params.items():
        np.testing.assert_allclose(gradients[name].numpy(), parameter.grad.numpy(), atol=1e-7)


def test_trees_arguments_and_aux() -> None:
    Pair = namedtuple("Pair", "a b")
    tree = {"x": Pair(np.ones(2), [np.full(3, 2.0), None]), "unused": np.ones((2, 2))}

    def function(tree: Any, factor: Any, *, power: int) -> Any:
        a, (b, _) = tree["x"]
        return (a**power).sum() * factor + (b * b).sum(), {"b": b}

    value, found = value_and_grad(function, has_aux=True)(tree, 5.0, power=3)
    assert value[0].item() == 22
    assert not value[1]["b"].requires_grad
    assert isinstance(found["x"], Pair)
    assert found["x"].a.tolist() == [15, 15]
    assert found["x"].b[0].tolist() == [4, 4, 4]
    assert found["x"].b[1] is None
    assert found["unused"].tolist() == [[0, 0], [0, 0]]  # zeros, not None
    both, aux = grad(function, argnums=(0, 1), has_aux=True)(tree, 5.0, power=3)
    assert both[1].item() == 2
    assert aux["b"].tolist() == [2, 2, 2]


def test_an_argument_that_is_used_twice() -> None:
    x = tinybert.Tensor([3.0])
    assert grad(lambda a, b: (a * b).sum(), argnums=(0, 1))(x, x)[0].tolist() == [3]
    assert grad(lambda a: (a * a).sum())(x).tolist() == [6]
    assert grad(lambda a: a.sum())(2.0).item() == 1


def test_what_has_no_gradient() -> None:
    with pytest.raises(TypeError, match="a leaf of int64"):
        grad(lambda x: x.sum())(np.ones(2, int))
    with pytest.raises(TypeError, match=r"one number, got shape \(2,\)"):
        grad(lambda x: x)(np.ones(2))
    with pytest.raises(TypeError, match=r"must return a pair \(number, aux\)"):
        grad(lambda x: x.sum(), has_aux=True)(np.ones(2))
    with pytest.raises(ValueError, match="argnums 1 is not among 1"):
        grad(lambda x: x, argnums=1)(np.ones(2))


def test_the_gradient_of_a_gradient_is_refused() -> None:
    """Silent zeros would be wrong, for an argument and for a variable of the outer function."""
    square = lambda y: (y * y).sum()  # noqa: E731
    with pytest.raises(NotImplementedError, match="gradient of a gradient"):
        grad(lambda x: grad(square)(x).sum())(np.ones(3))
    with pytest.raises(NotImplementedError, match="gradient of a gradient"):
        grad(lambda x: grad(lambda y: (x * y).sum())(np.ones(3)).sum())(np.ones(3))
    first = grad(lambda x: (x * grad(square)(x.detach())).sum())(np.full(3, 2.0))
    assert first.tolist() == [4, 4, 4]  # 2 x as a constant
    assert grad(square)(np.ones(1)).tolist() == [2]  # the refused calls left nothing behind


def test_gradients_on_devices(device: str) -> None:
    with tinybert.set_default_device(device):
        x = tinybert.Tensor(np.arange(3.0), device=device)
        found = grad(lambda t: (t["a"] ** 2).sum())({"a": x, "b": x})
        assert found["a"].device == found["b"].device == x.device
        assert found["a"].numpy().tolist() == [0, 2, 4]
        rows = vmap(lambda row: (row * row).sum())(x.reshape(3, 1))
        assert rows.numpy().tolist() == [0, 1, 4]


# --- vmap -----------------------------------------------------------------------------------------


def test_vmap_over_inputs_and_over_parameters() -> None:
    model = bert("BertModel")
    params = dict(model.named_parameters())
    rows = vmap(lambda row: functional_call(model, params, row[None])[0][0])(IDS)
    np.testing.assert_allclose(rows.numpy(), model(IDS)[0].numpy(), atol=1e-6)
    stacked = tree_map(lambda p: np.stack([p.numpy(), 2 * p.numpy()]), params)
    found = vmap(lambda p: functional_call(model, p, IDS)[0])(stacked)
    assert found.shape == (2, 2, 5, 12)
    np.testing.assert_allclose(found.numpy()[0], model(IDS)[0].numpy(), atol=1e-6)


def test_axes() -> None:
    x, y = np.arange(6.0).reshape(2, 3), np.arange(3.0)
    found = vmap(lambda a, b: a + b, in_axes=(1, 0), out_axes=1)(x, y)
    assert (found.numpy() == x + y).all()
    found = vmap(lambda a, b: a + b, in_axes=(-1, None))(x, 1.0)
    assert (found.numpy() == x.T + 1).all()
    tree = {"a": x, "b": (y, 3.0)}
    found = vmap(lambda t: {"s": t["a"].sum() + t["b"][0] * t["b"][1]}, ({"a": 1, "b": (0, None)},))
    assert found(tree)["s"].tolist() == (x.sum(0) + 3 * y).tolist()
    assert vmap(lambda *, k: k)(k=y).tolist() == y.tolist()
    output = vmap(lambda row: bert("BertModel")(row[None]))(IDS)
    assert isinstance(output, tinybert.outputs.ModelOutput)
    with pytest.raises(ValueError, match=r"common size of at least 1, got \[2, 3\]"):
        vmap(lambda a, b: a)(x, y)
    with pytest.raises(ValueError, match=r"has no axis 1; in_axes=None passes it"):
        vmap(lambda a, b: a, in_axes=(1, 1))(x, y)
    with pytest.raises(ValueError, match="in_axes has 1 members for 2 arguments"):
        vmap(lambda a, b: a, in_axes=(0,))(x, y)
    for axes, message in (
        ({"b": 0}, r"keys \['b'\] for an argument with \['a'\]"),
        ((0, 0), "2 mem"),
    ):
        with pytest.raises(ValueError, match=f"in_axes has {message}"):
            vmap(lambda a: a, in_axes=(axes,))({"a": x})
    with pytest.raises(ValueError, match=r"got \[\]"):
        vmap(lambda a: a, in_axes=None)(x)


def test_gradients_inside_and_outside_of_vmap() -> None:
    model = bert("BertForMaskedLM")
    params = dict(model.named_parameters())

    def loss(p: Any, row: Any) -> Any:
        return functional_call(model, p, row[None], labels=row[None]).loss

    each = vmap(grad(loss), in_axes=(None, 0))(params, IDS)  # the gradients of each text
    mean = grad(lambda p: vmap(loss, in_axes=(None, 0))(p, IDS).mean())(params)
    whole = grad(lambda p: functional_call(model, p, IDS, labels=IDS).loss)(params)
    for name in params:
        np.testing.assert_allclose(each[name].numpy().mean(0), whole[name].numpy(), atol=1e-6)
        np.testing.assert_allclose(mean[name].numpy(), whole[name].numpy(), atol=1e-6)


# --- jit ------------------------------------------------------------------------------------------


def test_a_pure_function_runs_twice_for_each_shape() -> None:
    calls = []

    @jit
    def double(x: Any) -> Any:
        """Return 2 x."""
        calls.append(x.shape)
        return {"y": 2 * tinybert.as_tensor(x)}

    assert double.__doc__ == "Return 2 x."
    for shape in ((2,), (2,), (3,)):
        assert double(np.ones(shape))["y"].shape == shape
    assert calls == [(2,), (2,), (2,), (3,), (3,)]
    nan = jit(lambda x: x * np.nan)
    assert np.isnan(nan(np.ones(2))).all()
    assert jit(static_argnums=1)(lambda x, n: x[:n])(np.ones(3), 2).shape == (2,)


def test_impure_functions_are_refused() -> None:
    model = bert(hidden_dropout_prob=0.5)
    assert jit(model)(IDS).logits.shape == (2, 5, 37)
    model.train()
    with pytest.raises(ValueError, match="different results; if it draws random numbers"):
        jit(lambda ids: model(ids).logits)(IDS)
    model.eval()

    def changes_weights(ids: Any) -> Any:
        model.cls.predictions.bias.data[0] += 1
        return ids

    def changes_mode(ids: Any) -> Any:
        model.train()
        return ids

    def changes_argument(x: Any) -> Any:
        x += 1
        return 0

    for function in (changes_weights, changes_mode):
        with pytest.raises(ValueError, match=f"{function.__name__} is not pure: it changes Bert"):
            jit(function)(IDS)
    with pytest.raises(ValueError, match="it changes one of its arguments"):
        jit(changes_argument)(np.ones(2))
    state = [0]
    with pytest.raises(ValueError, match="different results"):
        jit(lambda: state.append(0) or len(state))()
    numbers = iter((np.float64(1), np.nextafter(1, 2)))  # they differ in the last bit
    with pytest.raises(ValueError, match="different results"):
        jit(lambda: next(numbers))()


def test_jit_of_gradients() -> None:
    model = bert()
    params = dict(model.named_parameters())
    step = jit(value_and_grad(lambda p: functional_call(model, p, IDS, labels=IDS).loss))
    value, gradients = step(params)
    assert value.item() > 0
    assert len(tree_leaves(gradients)) == len(params)

    def changes_mode(p: Any) -> Any:
        model.train()
        return functional_call(model, p, IDS, labels=IDS).loss

    with pytest.raises(ValueError, match="it changes BertForMaskedLM"):
        jit(grad(changes_mode))(params)


def test_jit_of_flax_models() -> None:
    model = tinybert.FlaxBertModel(bert().config)
    assert (jit(model)(IDS)[0].numpy() == model(IDS)[0].numpy()).all()
    jit(lambda params: model(IDS, params=params)[0])(model.params)
    kind = type(model)  # a class is not a module
    jit(lambda ids: kind(model.config)(ids)[0])(IDS)

    def changes_parameters(ids: Any) -> Any:
        model.params = tree_map(lambda leaf: leaf * 2, model.params)
        return ids

    with pytest.raises(ValueError, match="it changes FlaxBertModel"):
        jit(changes_parameters)(IDS)


# --- trees ----------------------------------------------------------------------------------------


def test_trees_that_differ() -> None:
    assert tree_leaves({"a": [1, (2, None)], "b": 3}) == [1, 2, 3]
    for other in ({"a": 1}, {"a": 1, "c": 2}, [1]):
        with pytest.raises(ValueError, match="the trees differ"):
            tree_map(lambda a, b: a, {"a": 1, "b": 2}, other)
    for other in ([1, 2, 3], {"a": 1}, 5):
        with pytest.raises(ValueError, match="the trees differ"):
            tree_map(lambda a, b: a, [1, 2], other)
