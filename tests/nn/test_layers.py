"""Layers against torch.nn: values, gradients, fresh weights; and that they keep nothing."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import assert_close, rms
from tests.tolerances import OP_FLOAT64
from tinybert import nn
from tinybert.autograd import Tensor, no_grad, set_default_dtype
from tinybert.backend import manual_seed
from tinybert.nn import init

rng = np.random.default_rng(3)
X = rng.standard_normal((2, 5, 7))
IDS = np.array([[1, 4, 1], [0, 2, 4]])

LAYERS = {
    "Linear": (lambda lib: lib.Linear(7, 3), X),
    "Linear without bias": (lambda lib: lib.Linear(7, 3, bias=False), X),
    "Linear of one vector": (lambda lib: lib.Linear(7, 3), X[0, 0]),
    "LayerNorm": (lambda lib: lib.LayerNorm(7), X),
    "LayerNorm of two axes": (lambda lib: lib.LayerNorm((5, 7), eps=1e-3), X),
    "LayerNorm of a constant": (lambda lib: lib.LayerNorm(7, eps=1e-12), np.ones((3, 7))),
    "LayerNorm of tiny rows": (lambda lib: lib.LayerNorm(7, eps=1e-12), X * 1e-5),
    "Embedding": (lambda lib: lib.Embedding(6, 3), IDS),
    "Embedding with padding": (lambda lib: lib.Embedding(6, 3, padding_idx=1), IDS),
    "Embedding with padding from the end": (lambda lib: lib.Embedding(6, 3, padding_idx=-2), IDS),
}


@pytest.mark.parametrize(("build", "x"), LAYERS.values(), ids=LAYERS)
def test_values_and_gradients_are_those_of_torch(build, x):
    theirs = build(torch.nn).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.from_numpy(rng.standard_normal(tuple(parameter.shape))))
    ours = build(nn).to(np.float64)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    floating = x.dtype.kind == "f"
    ours_x = Tensor(x, requires_grad=floating)
    theirs_x = torch.tensor(x, requires_grad=floating)
    y, expected = ours(ours_x), theirs(theirs_x)
    u = rng.standard_normal(y.shape)
    y.backward(u)
    expected.backward(torch.from_numpy(u))
    assert_close(y.numpy(), expected.detach().numpy(), rtol=OP_FLOAT64)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert_close(a.grad.numpy(), b.grad.numpy(), rtol=OP_FLOAT64, name=name)
    if floating:
        # a constant row has variance 0: gradients are of the size 1 / sqrt(eps), and cancel
        assert_close(ours_x.grad.numpy(), theirs_x.grad.numpy(), rtol=1e-11, name="input")


def test_dropout_acts_in_training_only():
    layer, x = nn.Dropout(0.25), Tensor(np.ones((300, 400), np.float32))
    y = layer(x).numpy()
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    # the share that is kept: 4 standard deviations of a mean of 120,000 draws
    assert abs((y != 0).mean() - 0.75) < 4 * np.sqrt(0.25 * 0.75 / y.size)
    assert not np.array_equal(layer(x).numpy(), y)
    manual_seed(7)
    first = layer(x).numpy()
    manual_seed(7)
    np.testing.assert_array_equal(layer(x).numpy(), first)
    np.testing.assert_array_equal(layer.eval()(x).numpy(), x.numpy())
    np.testing.assert_array_equal(nn.Dropout(0.0)(x).numpy(), x.numpy())
    assert not nn.Dropout(1.0)(x).numpy().any()


def test_dropout_passes_the_gradient_where_it_passed_the_value():
    x = Tensor(np.ones((30, 40), np.float32), requires_grad=True)
    y = nn.Dropout(0.5)(x)
    y.backward(np.ones(y.shape, np.float32))
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


WRONG = {
    "p": lambda: nn.Dropout(1.5),
    "padding_idx": lambda: nn.Embedding(3, 2, padding_idx=3),
    "input must be from 0 to 2, got 3": lambda: nn.Embedding(3, 2)(np.array([0, 3])),
    "input must be from 0 to 2, got -1": lambda: nn.Embedding(3, 2)(np.array([-1, 0])),
    "normalized_shape": lambda: nn.LayerNorm(3)(Tensor(np.ones((2, 4), np.float32))),
    r"[Ll]inear.*4.*": lambda: nn.Linear(3, 2)(Tensor(np.ones((2, 4), np.float32))),
}


@pytest.mark.parametrize(("message", "call"), WRONG.items(), ids=WRONG)
def test_errors_say_what_is_wrong(message, call):
    with pytest.raises(ValueError, match=message):
        call()


def test_ids_must_be_integers():
    with pytest.raises(TypeError, match="integers"):
        nn.Embedding(3, 2)(np.array([0.5]))


# --- fresh weights --------------------------------------------------------------------------------


def _spread(x: np.ndarray, std: float) -> None:
    """Mean 0 and the given deviation, within 5 standard errors."""
    assert abs(x.mean()) < 5 * std / np.sqrt(x.size)
    assert abs(x.std() / std - 1) < 5 / np.sqrt(2 * x.size)


def test_fresh_weights_have_the_distribution_of_torch():
    linear, embedding = nn.Linear(100, 300), nn.Embedding(300, 100, padding_idx=7)
    _spread(linear.weight.numpy(), 0.1 / np.sqrt(3))
    assert 0.0999 < np.abs(linear.weight.numpy()).max() <= 0.1
    assert 0.09 < np.abs(linear.bias.numpy()).max() <= 0.1
    theirs = torch.nn.Linear(100, 300).weight.detach().numpy()
    assert abs(rms(linear.weight.numpy()) / rms(theirs) - 1) < 0.02
    assert not embedding.weight.numpy()[7].any()
    _spread(np.delete(embedding.weight.numpy(), 7, axis=0), 1.0)
    norm = nn.LayerNorm((3, 4))
    np.testing.assert_array_equal(norm.weight.numpy(), np.ones((3, 4)))
    np.testing.assert_array_equal(norm.bias.numpy(), np.zeros((3, 4)))


def test_fresh_weights_follow_the_seed_and_the_default_dtype():
    manual_seed(5)
    first = nn.Linear(3, 4).weight.numpy()
    assert not np.array_equal(nn.Linear(3, 4).weight.numpy(), first)
    manual_seed(5)
    np.testing.assert_array_equal(nn.Linear(3, 4).weight.numpy(), first)
    manual_seed(5)
    with set_default_dtype(np.float64):
        wide = nn.Linear(3, 4)
    assert wide.weight.dtype == wide.bias.dtype == nn.LayerNorm(2).to("f8").weight.dtype
    np.testing.assert_allclose(wide.weight.numpy(), first, rtol=1e-6)


def test_skip_init_draws_nothing():
    manual_seed(5)
    expected = nn.Linear(3, 4).weight.numpy()
    manual_seed(5)
    with init.skip_init():
        layers = nn.Linear(9, 4), nn.Embedding(5, 3, padding_idx=0), nn.LayerNorm(3)
        with init.skip_init():
            pass
        assert nn.Linear(3, 4).weight.shape == (4, 3)
    assert [p.shape for layer in layers for p in layer.parameters()] == [
        (4, 9), (4,), (5, 3), (3,), (3,)
    ]  # fmt: skip
    np.testing.assert_array_equal(nn.Linear(3, 4).weight.numpy(), expected)


def test_skip_init_ends_with_its_block_even_by_an_error():
    with pytest.raises(KeyError), init.skip_init():
        raise KeyError
    assert (nn.LayerNorm(1000).weight.numpy() == 1).all()


def test_an_empty_batch_goes_through():
    x = Tensor(np.ones((0, 3), np.float32), requires_grad=True)
    y = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Dropout(0.5))(x)
    y.sum().backward()
    assert y.shape == (0, 2)
    assert x.grad.shape == (0, 3)


# --- nothing of a call is kept --------------------------------------------------------------------


def test_a_module_used_twice_collects_both_gradients():
    ours, theirs = nn.Linear(7, 7).to(np.float64), torch.nn.Linear(7, 7).double()
    ours.load_state_dict(theirs.state_dict())
    x, u = rng.standard_normal((3, 7)), rng.standard_normal((3, 7))
    ours(ours(Tensor(x)).tanh()).backward(u)
    theirs(theirs(torch.from_numpy(x)).tanh()).backward(torch.from_numpy(u))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(a.grad.numpy(), b.grad.numpy(), rtol=OP_FLOAT64)


def test_modules_keep_nothing_of_a_call():
    def contents(module: nn.Module) -> list[Any]:
        return [{k: repr(v) for k, v in vars(m).items()} for m in module.modules()]

    model = nn.Sequential(nn.Linear(7, 4), nn.LayerNorm(4), nn.Dropout(0.5), nn.Linear(4, 2))
    before = contents(model)
    x = Tensor(X, requires_grad=True)
    y = model(x)
    with no_grad():
        model(x)
    assert contents(model) == before
    seen = [weakref.ref(x), weakref.ref(y)]
    gc.disable()
    try:
        del x, y
        assert [reference() for reference in seen] == [None, None]
    finally:
        gc.enable()
