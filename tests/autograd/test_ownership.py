"""Who owns a gradient's array: random graphs whose nodes share gradients, against torch.

The backward pass adds in place only to arrays that it made itself, and a leaf keeps an array
without a copy only if nothing else refers to it. Sums, views and joins pass the array that they got
to several inputs, so a mistake here changes another gradient.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from tinybert import Function, Tensor
from tinybert import functional as F

N = 4  # every value is N x N, so any operation can follow any other


def steps(join: Any, stack: Any) -> list[Any]:
    """Operations of two values. They are written alike for both libraries, except the joins."""
    return [
        lambda a, b: a + b,
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a + a,
        lambda a, b: a * b,
        lambda a, b: a.T + b,
        lambda a, b: a.reshape(2, -1).reshape(N, N),
        lambda a, b: a[::-1] + b if isinstance(a, Tensor) else a.flip(0) + b,
        lambda a, b: join([a[:1], b[1:]], 0),
        lambda a, b: stack([a, b], 0).sum(0),
        lambda a, b: a[1].expand(N, N) + b[:, 2:3],
        lambda a, b: join([part + b[:, :2] for part in a.split(2, 1)], 1),
        lambda a, b: a.sum(1, True) - b,
        lambda a, b: -a,
    ]


OURS = steps(F.concat, F.stack)
THEIRS = steps(torch.cat, torch.stack)


def run(plan: list[tuple[int, int, int]], leaves: list[Any], operations: list[Any]) -> list[Any]:
    """All values of the graph: the leaves, then one for each step (operation, inputs)."""
    values = list(leaves)
    for operation, first, second in plan:
        values.append(operations[operation](values[first], values[second]))
    return values


@pytest.mark.parametrize("seed", range(120))
def test_random_graphs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 4))
    arrays = [rng.standard_normal((N, N)) for _ in range(count)]
    plan: list[tuple[int, int, int]] = []
    for number in range(int(rng.integers(3, 12))):
        known = count + number
        if number and rng.random() < 0.5:  # a second and a third consumer for the same value
            first, second = plan[-1][1], int(rng.integers(known))
        else:
            first, second = (int(i) for i in rng.integers(max(0, known - 4), known, 2))
        plan.append((int(rng.integers(len(OURS))), first, second))
    ours = [Tensor(x, requires_grad=True) for x in arrays]
    theirs = [torch.tensor(x, requires_grad=True) for x in arrays]
    cotangent = rng.standard_normal((N, N))
    given = cotangent.copy()

    values, expected = run(plan, ours, OURS), run(plan, theirs, THEIRS)
    np.testing.assert_allclose(values[-1].numpy(), expected[-1].detach().numpy(), rtol=1e-12)
    for value in values[count:]:
        value.retain_grad()
    values[-1].backward(given, retain_graph=True)
    expected[-1].backward(torch.tensor(cotangent))
    for times in (1, 2):  # the second backward adds to what is there
        for number, (leaf, other) in enumerate(zip(ours, theirs, strict=True)):
            assert (leaf.grad is None) == (other.grad is None), number
            if leaf.grad is not None:
                want, name = times * other.grad.numpy(), f"leaf {number}"
                np.testing.assert_allclose(
                    leaf.grad.numpy(), want, rtol=1e-9, atol=1e-9, err_msg=name
                )
        held = [given, *(x.grad.numpy() for x in values if x.grad is not None)]
        held += [x.numpy() for x in values[:count]]
        for one, other in itertools.combinations(held, 2):
            assert not np.shares_memory(one, other)
        np.testing.assert_array_equal(given, cotangent)
        if times == 1:
            values[-1].backward(given)


@pytest.mark.parametrize("consumers", [2, 3, 4, 5])
def test_consumers_that_pass_on_one_array(consumers: int) -> None:
    """Each consumer of x returns the array of its own gradient, which y's other input has too."""
    x, weights = Tensor(np.ones(3), requires_grad=True), []
    total: Any = None
    middle = x * 1
    for number in range(consumers):
        weight = Tensor(np.full(3, float(number)), requires_grad=True)
        weights.append(weight)
        part = middle + weight
        total = part if total is None else total + part
    given = np.array([1.0, 10.0, 100.0])
    total.backward(given)
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), np.array([1.0, 10, 100]) * consumers)
    for weight in weights:
        assert weight.grad is not None
        np.testing.assert_array_equal(weight.grad.numpy(), [1, 10, 100])
    weights[0].backward(given)
    held = [given, *(leaf.grad.numpy() for leaf in (x, *weights) if leaf.grad is not None)]
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(held, 2))


def test_a_leaf_copies_what_it_is_given() -> None:
    leaf, given = Tensor(np.ones(3), requires_grad=True), np.arange(3.0)
    leaf.backward(given)
    assert leaf.grad is not None
    assert not np.shares_memory(leaf.grad.numpy(), given)


class Twice(Function):
    """Returns one new array, and a view of it, as the gradients of its two inputs."""

    def forward(self, a: Any, b: Any) -> Any:
        return a + b.T

    def backward(self, dy: Any) -> Any:
        grad = dy * 2
        return grad, grad.T


class Kept(Function):
    """Returns an array that it keeps in a tuple."""

    def forward(self, a: Any) -> Any:
        self.kept = (np.full(a.shape, 3.0), 1)
        return a * 3

    def backward(self, dy: Any) -> Any:
        return self.kept[0]


def test_a_leaf_does_not_keep_an_array_of_which_another_gradient_is_a_view() -> None:
    leaf, other = (Tensor(np.ones((2, 2)), requires_grad=True) for _ in range(2))
    middle = other * 1
    y = leaf * middle + Twice.apply(leaf, middle)  # the product's gradients are added afterwards
    y.backward(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert leaf.grad is not None
    assert other.grad is not None
    np.testing.assert_array_equal(leaf.grad.numpy(), [[3, 6], [9, 12]])
    np.testing.assert_array_equal(other.grad.numpy(), [[3, 8], [7, 12]])


def test_a_leaf_does_not_keep_an_array_that_its_node_keeps_in_a_tuple() -> None:
    leaf = Tensor(np.ones(2), requires_grad=True)
    y = Kept.apply(leaf)
    for times in (1, 2, 3):
        y.backward(np.ones(2), retain_graph=True)
        assert leaf.grad is not None
        np.testing.assert_array_equal(leaf.grad.numpy(), [3.0 * times] * 2)
