"""LAMB against its formula in float64, and parameter groups."""

from __future__ import annotations

import numpy as np

from tinybert import Tensor
from tinybert.optim import Lamb, decay_groups


def test_lamb_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    start, rate, decay, eps = rng.standard_normal((3, 5)), 0.1, 0.02, 1e-6
    w = Tensor(start, requires_grad=True)
    optimizer = Lamb([w], lr=rate, weight_decay=decay, eps=eps)
    expected, m, v = start.copy(), 0.0, 0.0
    for step in range(1, 6):
        g = rng.standard_normal((3, 5))
        w.grad = Tensor(g)
        optimizer.step()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        u = m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + eps) + decay * expected
        expected = expected - rate * np.linalg.norm(expected) / np.linalg.norm(u) * u
        assert np.allclose(w.numpy(), expected, rtol=1e-12, atol=0)


def test_a_zero_tensor_takes_a_step_of_adam() -> None:
    w = Tensor(np.zeros(4), requires_grad=True)
    w.grad = Tensor(np.array([1.0, -2.0, 3.0, 0.5]))
    Lamb([w], lr=0.1).step()
    assert np.allclose(w.numpy(), [-0.1, 0.1, -0.1, -0.1], rtol=1e-5)


def test_a_zero_gradient_without_decay_changes_nothing() -> None:
    w = Tensor(np.ones(3), requires_grad=True)
    w.grad = Tensor(np.zeros(3))
    Lamb([w], weight_decay=0.0).step()
    assert np.array_equal(w.numpy(), np.ones(3))


def test_matrices_decay_and_vectors_do_not() -> None:
    matrix, vector = (Tensor(np.ones(shape), requires_grad=True) for shape in ((2, 3), (3,)))
    frozen = Tensor(np.ones((2, 2)))
    groups = decay_groups([matrix, vector, frozen], 0.1)
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [list(map(id, group["params"])) for group in groups] == [[id(matrix)], [id(vector)]]
    assert len(decay_groups([vector], 0.1)) == 1
