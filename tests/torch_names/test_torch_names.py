"""`import tinybert as torch`: torch's names give torch's values, dtypes, shapes and gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinybert
from tests.support import check_op, distinct, nonzero
from tinybert import Tensor

X = np.random.default_rng(5).standard_normal((2, 3, 5))
MASK = X > 0.3
IDS = np.array([[3, 0, 2], [0, 7, 0]])


def same(found: Any, expected: Any) -> None:
    """Hold a result against torch's: structure, shape, dtype, values."""
    if isinstance(expected, (tuple, list)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, torch.Tensor):
        array = expected.numpy()
        assert (found.shape, found.dtype) == (array.shape, array.dtype)
        np.testing.assert_allclose(found.numpy(), array, rtol=1e-6, atol=1e-7)
    else:
        assert type(found) is type(expected)
        assert found == expected


# --- functions of tensors: one line for both libraries --------------------------------------------

# name: the call, with `t` for the library; then the shapes of its inputs, and their domain
DIFFERENTIABLE: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...], Any]] = {
    "topk": (lambda t, x: t.topk(x, 2, dim=1)[0], ((3, 5, 2),), distinct),
    "topk smallest": (lambda t, x: x.topk(3, largest=False).values, ((3, 5),), distinct),
    "sort": (lambda t, x: t.sort(x, 0)[0], ((4, 3),), distinct),
    "sort descending": (lambda t, x: x.sort(-1, descending=True).values, ((4, 3),), distinct),
    "max with dim": (lambda t, x: t.max(x, 1)[0], ((3, 5),), distinct),
    "min with dim": (lambda t, x: t.min(x, dim=0, keepdim=True).values, ((3, 5),), distinct),
    "max of all": (lambda t, x: t.max(x), ((3, 5),), distinct),
    "amax": (lambda t, x: t.amax(x, (0, 2), True), ((2, 3, 5),), distinct),
    "amin": (lambda t, x: x.amin(dim=1), ((2, 3, 5),), distinct),
    "maximum": (lambda t, x, y: t.maximum(x, y), ((3, 5), (5,)), None),
    "minimum": (lambda t, x, y: x.minimum(y), ((3, 5), (3, 1)), None),
    "max of two": (lambda t, x, y: t.max(x, y), ((3, 5), (3, 5)), None),
    "repeat": (lambda t, x: x.repeat(2, 1, 3), ((2, 3),), None),
    "repeat with a tuple": (lambda t, x: x.repeat((3, 2)), ((2, 3),), None),
    "tile": (lambda t, x: t.tile(x, (2,)), ((2, 3),), None),
    "repeat_interleave": (lambda t, x: t.repeat_interleave(x, 3, dim=1), ((2, 3),), None),
    "repeat_interleave flat": (lambda t, x: x.repeat_interleave(2), ((2, 3),), None),
    "cat": (lambda t, x, y: t.cat((x, y), dim=-1), ((2, 3), (2, 5)), None),
    "stack": (lambda t, x, y: t.stack([x, y], 1), ((2, 3), (2, 3)), None),
    "unbind": (lambda t, x: t.unbind(x, 1), ((2, 3),), None),
    "narrow": (lambda t, x: x.narrow(1, 1, 3), ((2, 5),), None),
    "narrow from the end": (lambda t, x: x.narrow(1, -2, 2), ((2, 5),), None),
    "select": (lambda t, x: x.select(-1, 2), ((2, 5),), None),
    "var": (lambda t, x: t.var(x, 1), ((3, 5),), None),
    "var of all": (lambda t, x: t.var(x), ((3, 5),), None),
    "std": (lambda t, x: t.std(x, dim=0, keepdim=True), ((3, 5),), None),
    "std without correction": (lambda t, x: t.std(x, dim=0, correction=0), ((3, 5),), None),
    "var biased": (lambda t, x: t.var(x, 0, False), ((3, 5),), None),
    "norm": (lambda t, x: t.norm(x), ((3, 5),), None),
    "norm along dim": (lambda t, x: x.norm(dim=1, keepdim=True), ((3, 5),), None),
    "norm 1": (lambda t, x: x.norm(1, 0), ((3, 5),), nonzero),
    "norm inf": (lambda t, x: x.norm(float("inf"), 1), ((3, 5),), distinct),
    "square": (lambda t, x: t.square(x), ((3, 5),), None),
    "reciprocal": (lambda t, x: x.reciprocal(), ((3, 5),), nonzero),
    "clamp": (lambda t, x: t.clamp(x, -0.5, 0.7), ((3, 5),), None),
    "clamp from below": (lambda t, x: x.clamp(min=0.1), ((3, 5),), None),
    "sin": (lambda t, x: t.sin(x), ((3, 5),), None),
    "cos": (lambda t, x: x.cos(), ((3, 5),), None),
    "mm": (lambda t, x, y: t.mm(x, y), ((2, 3), (3, 5)), None),
    "bmm": (lambda t, x, y: x.bmm(y), ((2, 2, 3), (2, 3, 5)), None),
    "dot": (lambda t, x, y: t.dot(x, y), ((7,), (7,)), None),
    "outer": (lambda t, x, y: t.outer(x, y), ((3,), (5,)), None),
    "t": (lambda t, x: t.t(x), ((3, 5),), None),
    "view_as": (lambda t, x, y: x.view_as(y) * 2, ((3, 4), (2, 6)), None),
    "expand_as": (lambda t, x, y: x.expand_as(y) * y, ((3, 1), (3, 4)), None),
    "arithmetic": (lambda t, x, y: x.add(y).mul(y).sub(2.0).div(3.0).neg(), ((3, 2), (2,)), None),
    "pow": (lambda t, x: x.pow(3), ((3, 5),), None),
    "sigmoid, sum": (lambda t, x: t.sum(t.sigmoid(x), dim=1), ((3, 5),), None),
    "matmul": (lambda t, x, y: x.matmul(y), ((2, 3), (3, 5)), None),
    "add with alpha": (lambda t, x, y: t.add(x, y, alpha=-2.5), ((3, 2), (2,)), None),
    "sub with alpha": (lambda t, x, y: x.sub(y, alpha=3), ((3, 1), (3, 2)), None),
    "sum with a dtype": (lambda t, x: t.sum(x, 1, dtype=t.float64).to(x.dtype), ((3, 5),), None),
    "prod": (lambda t, x: t.prod(x), ((3, 4),), None),
    "prod along dim": (lambda t, x: x.prod(1, keepdim=True), ((3, 4, 2),), None),
    "prod, dtype": (lambda t, x: x.prod(dim=-1, dtype=t.float64).to(x.dtype), ((3, 4),), None),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_values_and_gradients_are_those_of_torch(name: str) -> None:
    call, shapes, domain = DIFFERENTIABLE[name]
    check_op(
        lambda *xs: call(tinybert, *xs), lambda *xs: call(torch, *xs), shapes=shapes, domain=domain
    )


def test_index_select_masked_select_and_gather_by_indices() -> None:
    index = np.array([2, 0, 2])
    for ours, theirs in (
        (lambda x: x.index_select(1, index), lambda x: x.index_select(1, torch.tensor(index))),
        (lambda x: x.masked_select(MASK), lambda x: x.masked_select(torch.tensor(MASK))),
        (
            lambda x: tinybert.repeat_interleave(x, index, dim=1),
            lambda x: torch.repeat_interleave(x, torch.tensor(index), dim=1),
        ),
    ):
        check_op(ours, theirs, shapes=((2, 3, 5),))


def test_gradient_of_a_product_with_zeros() -> None:
    values = np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 5.0], [1.0, 4.0, -2.0]])
    for call in (
        lambda t, x: t.prod(x, 1),
        lambda t, x: x[0].prod(),
        lambda t, x: t.prod(x[:2, :1]),
    ):
        check_op(
            lambda x, call=call: call(tinybert, x), lambda x, call=call: call(torch, x),
            arrays=(values,),
        )  # fmt: skip


@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_rounded_quotients_have_the_gradient_0(mode: str) -> None:
    check_op(
        lambda x, y: x.div(y, rounding_mode=mode) + 0 * x,
        lambda x, y: x.div(y, rounding_mode=mode) + 0 * x,
        arrays=(X, np.array([[0.3], [-0.7], [2.0]])),
        differences=False,
    )


def test_wrong_options_of_arithmetic() -> None:
    ids = tinybert.tensor(IDS)
    with pytest.raises(TypeError, match="alpha must be an integer for integer tensors"):
        tinybert.add(ids, ids, alpha=0.5)
    with pytest.raises(TypeError, match="alpha must be a number, got str"):
        tinybert.sub(ids, ids, alpha="2")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"alpha must be real for real tensors, got 1j"):
        tinybert.add(tinybert.ones(2), tinybert.ones(2), alpha=1j)
    with pytest.raises(ValueError, match="must be None, 'floor' or 'trunc', got 'ceil'"):
        ids.div(2, rounding_mode="ceil")
    with pytest.raises(ZeroDivisionError, match="an integer is divided by 0"):
        ids.div(ids, rounding_mode="floor")


@pytest.mark.parametrize("name", ["floor", "ceil", "round", "sign"])
def test_rounding_has_the_gradient_0(name: str) -> None:
    steps = np.array([[-1.5, -0.5, 0.5], [1.2, 2.5, -0.3]])
    for values in (steps, np.array([3, -2, 0])):
        same(getattr(tinybert, name)(Tensor(values)), getattr(torch, name)(torch.tensor(values)))
    check_op(
        lambda x: getattr(tinybert, name)(x),
        lambda x: getattr(torch, name)(x),
        arrays=(steps + 0.01,),
        differences=False,
    )


def test_ties_share_the_gradient_of_maximum_and_the_norm_of_zeros_has_none() -> None:
    values = np.array([1.0, 2.0, 0.0])
    for call in (
        lambda t, x, y: t.maximum(x, y), lambda t, x, y: t.minimum(x, y),
        lambda t, x, y: t.norm(x * 0.0) + y,
    ):  # fmt: skip
        check_op(
            lambda x, y, call=call: call(tinybert, x, y),
            lambda x, y, call=call: call(torch, x, y),
            arrays=(values, np.array([1.0, 1.0, 0.0])),
            differences=False,
        )


# --- calls without a gradient ---------------------------------------------------------------------

CALLS: dict[str, Callable[[Any], Any]] = {
    "tensor of ints": lambda t: t.tensor([[1, 2], [3, 4]]),
    "tensor of floats": lambda t: t.tensor([1.5, 2]),
    "tensor of bools": lambda t: t.tensor([True, False]),
    "tensor of a number": lambda t: t.tensor(0).unsqueeze(0),
    "tensor of an array": lambda t: t.tensor(X),
    "tensor with a dtype": lambda t: t.tensor([1, 2], dtype=t.float),
    "tensor of float16": lambda t: t.tensor([1.1], dtype=t.half),
    "LongTensor": lambda t: t.LongTensor([[1], [2]]),
    "LongTensor of nothing": lambda t: t.LongTensor(),
    "LongTensor of floats": lambda t: t.LongTensor([1, 2]),
    "FloatTensor": lambda t: t.FloatTensor([1, 2]),
    "BoolTensor": lambda t: t.BoolTensor([True]),
    "shape of a typed tensor": lambda t: tuple(t.IntTensor(2, 3).shape),
    "zeros": lambda t: t.zeros(2, 3),
    "zeros of a tuple": lambda t: t.zeros((2, 3), dtype=t.long),
    "ones": lambda t: t.ones(3, dtype=t.bool),
    "full": lambda t: t.full((2,), 7),
    "full of floats": lambda t: t.full((2, 1), 0.5),
    "full of bools": lambda t: t.full((2,), True),
    "zeros_like": lambda t: t.zeros_like(t.tensor(IDS)),
    "ones_like": lambda t: t.ones_like(t.tensor(IDS), dtype=t.float32),
    "full_like": lambda t: t.full_like(t.tensor(X), 2.5),
    "arange": lambda t: t.arange(5),
    "arange from": lambda t: t.arange(2, 7),
    "arange with a step": lambda t: t.arange(7, 1, -2),
    "arange of floats": lambda t: t.arange(0, 1, 0.25),
    "arange of a float end": lambda t: t.arange(3.0),
    "arange with a dtype": lambda t: t.arange(0, 4, dtype=t.float),
    "linspace": lambda t: t.linspace(-1, 1, 5),
    "eye": lambda t: t.eye(2, 3),
    "nonzero": lambda t: t.nonzero(t.tensor(IDS)),
    "nonzero as a tuple": lambda t: t.tensor(IDS).nonzero(as_tuple=True),
    "nonzero of a mask": lambda t: t.nonzero(t.tensor(MASK), as_tuple=True),
    "nonzero of nothing": lambda t: t.zeros(2, 3).nonzero(as_tuple=True),
    "count_nonzero": lambda t: t.count_nonzero(t.tensor(IDS), 1),
    "argmax": lambda t: t.argmax(t.tensor(X), dim=-1),
    "argmax with keepdim": lambda t: t.tensor(X).argmax(1, keepdim=True),
    "indices of topk": lambda t: t.tensor(X).topk(2, dim=1)[1],
    "indices of the smallest": lambda t: t.topk(t.tensor(X), 3, largest=False).indices,
    "topk of none": lambda t: t.tensor(X).topk(0),
    "argsort": lambda t: t.argsort(t.tensor(X), dim=1, descending=True),
    "stable sort": lambda t: t.sort(t.tensor(IDS), stable=True),
    "stable sort, descending": lambda t: t.sort(t.tensor(IDS), descending=True, stable=True),
    "max, indices": lambda t: t.max(t.tensor(X), dim=2)[1],
    "min, indices": lambda t: t.min(t.tensor(X), 0)[1],
    "any": lambda t: t.any(t.tensor(MASK), 1),
    "any of all": lambda t: t.tensor(IDS).any(),
    "all": lambda t: t.all(t.tensor(MASK), dim=-1, keepdim=True),
    "all of all": lambda t: t.tensor(IDS).all(),
    "logical": lambda t: t.logical_xor(t.tensor(MASK), t.tensor(X).lt(0)).logical_not(),
    "logical of numbers": lambda t: t.tensor(IDS).logical_and(t.tensor([1, 0, 5])),
    "logical or": lambda t: t.logical_or(t.tensor(IDS), t.tensor([1, 0, 0])),
    "logical not of numbers": lambda t: (
        t.logical_not(t.tensor(IDS)),
        t.tensor([0.5, 0.0, float("nan")]).logical_not(),
    ),
    "~": lambda t: (
        ~t.tensor(IDS),
        ~t.tensor(MASK),
        ~t.tensor([0, 3, 255], dtype=t.uint8),
        ~t.tensor(True),
    ),
    "var and std of all elements": lambda t: (
        t.var(t.tensor(X), False),
        t.std(t.tensor(X), True),
    ),
    "isnan": lambda t: t.isnan(t.tensor([1.0, float("nan"), float("inf")])),
    "isinf": lambda t: t.isinf(t.tensor([1.0, float("nan"), -float("inf")])),
    "isfinite": lambda t: t.isfinite(t.tensor([1.0, float("nan"), float("inf")])),
    "equal": lambda t: (t.equal(t.tensor(IDS), t.tensor(IDS)), t.equal(t.ones(2), t.ones(3))),
    "allclose": lambda t: t.allclose(t.ones(2), t.ones(2) + 1e-6),
    "eq": lambda t: t.eq(t.tensor(IDS), 0),
    "comparisons": lambda t: t.tensor(X).ge(0.1).eq(t.tensor(X).gt(0.1)).ne(t.tensor(X).le(3)),
    "long": lambda t: t.tensor([-1.7, 2.9]).long(),
    "int": lambda t: t.tensor([-1.7, 2.9]).int(),
    "short": lambda t: t.tensor([5]).short(),
    "byte": lambda t: t.tensor([5]).byte(),
    "bool": lambda t: t.tensor([0.0, 0.2]).bool(),
    "half": lambda t: t.tensor([0.1]).half(),
    "double": lambda t: t.tensor([0.5]).double(),
    "float": lambda t: t.tensor([1, 2]).float(),
    "type": lambda t: t.tensor([1.5]).type(t.LongTensor),
    "type of a dtype": lambda t: t.tensor([1.5]).type(t.int16),
    "type_as": lambda t: t.tensor([1.5]).type_as(t.tensor([1])),
    "to a dtype": lambda t: t.tensor([1]).to(t.float),
    "one_hot": lambda t: t.nn.functional.one_hot(t.tensor([[1, 0]]), num_classes=3),
    "new_tensor": lambda t: t.tensor(X).new_tensor([1, 2]),
    "new_zeros": lambda t: t.tensor(IDS).new_zeros(2, 3),
    "new_ones": lambda t: t.tensor(IDS).new_ones((2,), dtype=t.float),
    "new_full": lambda t: t.tensor(X).new_full((2,), 3),
    "add with alpha, integers": lambda t: (
        t.add(t.tensor(IDS), t.tensor([2, 0, 1]), alpha=3),
        t.tensor(IDS).sub(4, alpha=2),
        t.sub(t.tensor([7], dtype=t.uint8), t.tensor([2], dtype=t.uint8), alpha=3),
        t.add(t.tensor(IDS), 1.5, alpha=2),
        t.add(t.tensor(X), t.tensor(IDS[:1, :1]), alpha=0.1),
        t.add(t.tensor(X), t.tensor(X).float(), alpha=0.1) - t.tensor(X),
    ),
    "add_ and sub_ with alpha": lambda t: (
        t.ones(3).add_(t.tensor([1.0, 2.0, 3.0]), alpha=-0.5),
        t.ones(3).sub_(2.0, alpha=3),
        t.tensor([0.1], dtype=t.float64).sub_(0.1) * 1e9,
        t.tensor([-0.3], dtype=t.float64).add_(0.1, alpha=3) * 1e9,
        t.tensor(IDS).sub_(t.tensor([2], dtype=t.uint8)),
    ),
    "div, rounded": lambda t: [
        t.div(a, b, rounding_mode=mode)
        for mode in ("floor", "trunc")
        for a, b in (
            (t.tensor([7, -7, 6, 0]), t.tensor([2, 2, -3, 5])),
            (t.tensor([7, -7]), -2),
            (t.tensor([7, -7]), 2.0),
            (t.tensor([7.5, -7.5]), 2),
            (t.tensor(X), t.tensor(IDS + 1.5)[:, :1, None]),
            (t.tensor([1.0, -1.0]), 0.0),
            (t.tensor([9], dtype=t.uint8), t.tensor([4], dtype=t.uint8)),
        )
    ],
    "sum with a dtype": lambda t: (
        t.tensor(IDS).sum(dtype=t.float32),
        t.tensor(IDS).sum(0, True, dtype=t.int32),
        t.sum(t.tensor([0.9, 0.9]), dtype=t.int64),
        t.tensor(X).sum(dim=1, dtype=t.half),
    ),
    "prod": lambda t: (
        t.tensor(IDS).prod(),
        t.prod(t.tensor(IDS) + 1, 1),
        t.prod(t.tensor(MASK)),
        t.tensor([]).prod(),
        t.prod(t.tensor(IDS) + 1, 0, keepdim=True, dtype=t.float64),
    ),
    "sub_": lambda t: t.ones(3).sub_(t.tensor([1.0, 2.0, 3.0])),
    "clamp_": lambda t: t.arange(5).float().clamp_(1, 3),
    "masked_fill_": lambda t: t.zeros(2, 3).masked_fill_(t.tensor(IDS > 0), -1.0),
    "dim, numel": lambda t: (t.tensor(X).dim(), t.tensor(X).numel(), t.numel(t.tensor(X))),
    "sizes": lambda t: (t.tensor(X).size(0), t.tensor(X).size(-1), [*t.tensor(X).size()]),
    "kinds": lambda t: (t.ones(1).is_floating_point(), t.is_tensor(t.ones(1)), t.is_tensor(1)),
    "element_size": lambda t: (t.ones(1).element_size(), t.tensor([1]).element_size()),
    "contiguous": lambda t: (t.ones(2, 3).is_contiguous(), t.ones(2, 3).t().is_contiguous()),
    "from_numpy": lambda t: t.from_numpy(IDS),
    "a tensor as a slice": lambda t: t.arange(9)[t.tensor(2) : t.tensor(4) + 1],
    "an index from a mask": lambda t: t.arange(0, 3)[t.tensor([True, False, True])],
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_give_what_torch_gives(name: str) -> None:
    same(CALLS[name](tinybert), CALLS[name](torch))


def test_type_names_the_type_as_torch_does() -> None:
    for values in ([1.5], [1], [True]):
        name = tinybert.tensor(values).type()
        assert name == torch.tensor(values).type().replace("torch", "tinybert")
        same(
            tinybert.tensor([1.0]).type(name), torch.tensor([1.0]).type(torch.tensor(values).type())
        )


def test_the_number_of_elements_is_a_number_and_a_function() -> None:
    x = tinybert.zeros(2, 3)
    assert x.size == 6
    assert np.zeros(x.size).shape == (6,)
    assert x.size() == (2, 3)
    with pytest.raises(ValueError, match="dim must be from -2 to 1"):
        x.size(2)
    copy.deepcopy(x.size)


def test_requires_grad_is_an_argument() -> None:
    for made in (
        tinybert.tensor([1.0], requires_grad=True), tinybert.zeros(2, requires_grad=True),
        tinybert.randn(2, requires_grad=True), tinybert.full((2,), 0.5, requires_grad=True),
    ):  # fmt: skip
        assert made.requires_grad
        made.sum().backward()
        assert made.grad is not None
    with pytest.raises(TypeError, match="only floating"):
        tinybert.tensor([1], requires_grad=True)


# --- random numbers -------------------------------------------------------------------------------


def test_random_numbers_follow_the_seed_and_their_distribution() -> None:
    def draw() -> list[Tensor]:
        return [
            tinybert.rand(4000), tinybert.randn((40, 100)), tinybert.randint(2, 5, (4000,)),
            tinybert.randperm(50), tinybert.randint(3, (7,)),
        ]  # fmt: skip

    with tinybert.manual_seed(3):
        first = draw()
    with tinybert.manual_seed(3):
        again = draw()
    assert all(tinybert.equal(a, b) for a, b in zip(first, again, strict=True))
    uniform, normal, whole, order, small = (x.numpy() for x in first)
    assert uniform.dtype == normal.dtype == np.float32
    assert 0 <= uniform.min() < 0.01 < 0.99 < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 5 * (1 / 12 / 4000) ** 0.5
    assert abs(normal.mean()) < 5 / 4000**0.5
    assert abs(normal.std() - 1) < 5 / 8000**0.5
    assert {*whole} == {2, 3, 4}
    assert whole.dtype == np.int64
    assert sorted(order) == [*range(50)]
    assert [*order] != [*range(50)]
    assert small.max() < 3
    assert tinybert.rand_like(tinybert.zeros(2, 3).double()).dtype == np.float64
    assert tinybert.randn_like(tinybert.zeros(2, 3)).shape == (2, 3)
    for named in (
        tinybert.randint(0, 3, size=(2, 4)), tinybert.randint(high=3, size=(2, 4)),
        tinybert.randint(3, size=(2, 4)), tinybert.randint(size=(2, 4), low=0, high=3),
    ):  # fmt: skip
        assert named.shape == (2, 4)
        assert 0 <= named.numpy().min() <= named.numpy().max() < 3
    for wrong in ({"length": 3}, {"high": 3, "low": 1}):
        with pytest.raises(TypeError, match=r"\(low, high, size\)"):
            tinybert.randint(3, (2,), **wrong)
    with pytest.raises(TypeError, match="use logical_not"):
        ~tinybert.ones(2)
    with pytest.raises(TypeError, match="use randint"):
        tinybert.rand(2, dtype=tinybert.long)


def test_multinomial_draws_by_the_weights() -> None:
    weights = tinybert.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 0.0]])
    drawn = tinybert.multinomial(weights, 4000, replacement=True).numpy()
    for row, share in zip(drawn, ([0, 0.25, 0.75], [0.5, 0.5, 0]), strict=True):
        counts = np.bincount(row, minlength=3) / 4000
        assert np.abs(counts - share).max() < 5 * (0.25 / 4000) ** 0.5
        assert (counts[np.array(share) == 0] == 0).all()
    firsts = np.array([weights[0].multinomial(2).numpy() for _ in range(400)])
    assert (np.sort(firsts, axis=1) == [1, 2]).all()
    assert abs((firsts[:, 0] == 2).mean() - 0.75) < 5 * (0.1875 / 400) ** 0.5
    with pytest.raises(ValueError, match="num_samples = 3"):
        tinybert.multinomial(weights, 3)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x.topk(4), "k must be an integer from 0 to 3"),
        (lambda x: x.repeat(2), "needs at least 2 numbers"),
        (lambda x: x.repeat(2, -1), "must not be negative"),
        (lambda x: x.mm(x[0]), "mm: both tensors must have 2 axes"),
        (lambda x: x.narrow(1, 2, 2), "exceed dim 1, whose size is 3"),
        (lambda x: x.norm(3), "p must be 1, 2"),
        (lambda x: x[None].t(), "use transpose or permute"),
        (lambda x: x.sort(2), "dim must be from -2 to 1"),
    ],
)
def test_errors_say_what_is_allowed(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(tinybert.ones(2, 3))


def test_bfloat16_is_for_files_alone() -> None:
    for call in (
        lambda: tinybert.ones(2).bfloat16(),
        lambda: tinybert.zeros(2, dtype=tinybert.bfloat16),
        lambda: tinybert.tensor([1.0], dtype=torch.bfloat16),
        lambda: tinybert.ones(2).type("bfloat16"),
    ):
        with pytest.raises(TypeError, match="NumPy has none; use tinybert"):
            call()


def test_star_imports_keep_the_builtins() -> None:
    names: dict[str, Any] = {}
    exec("from tinybert import *", names)
    assert {"tensor", "arange", "LongTensor", "sigmoid", "bfloat16"} <= names.keys()
    assert not {"sum", "max", "any", "float", "int", "bool", "round"} & names.keys()
    import tinybert.nn.functional as F

    assert F.one_hot is tinybert.functional.one_hot is tinybert.nn.functional.one_hot


def test_ways_to_make_tensors_work_on_every_device(device: str) -> None:
    x = tinybert.tensor(X[0], device=device)
    index = tinybert.arange(2, device=device)
    results = (
        x.topk(2).values, x.sort(0, descending=True).values, x.repeat(2, 1), x.any(1), x.norm(),
        x.index_select(0, index), tinybert.maximum(x, x[0]), x.nonzero(as_tuple=True)[0],
        x.isnan(), x.floor(), x.clamp_(-1, 1), tinybert.zeros_like(x), x.new_ones(2),
        tinybert.rand(2, device=device), tinybert.randint(3, (2,), device=device),
        tinybert.randperm(4, device=device), tinybert.eye(2, device=device), x.sin(),
        x.repeat_interleave(2, 0), x.abs().multinomial(2), x.masked_select(x > 0), x.long(),
        x.prod(), x.add(x, alpha=2), x.div(x, rounding_mode="floor"), x.sum(dtype="float64"),
    )  # fmt: skip
    assert {result.device.partition(":")[0] for result in results} == {device.partition(":")[0]}
