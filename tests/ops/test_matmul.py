"""Matrix products, the linear layer and einsum against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support import check_op
from tinybert import Tensor, einsum
from tinybert import functional as F
from tinybert.ops.linear import Linear


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 3), (3, 5)], [(3,), (3,)], [(3,), (3, 5)], [(2, 3), (3,)], [(4, 2, 3), (4, 3, 5)],
        [(4, 2, 3), (3, 5)], [(2, 3), (4, 3, 5)], [(3,), (4, 3, 5)], [(4, 2, 3), (3,)],
        [(4, 1, 2, 3), (7, 3, 5)], [(1, 3), (3, 1)], [(4, 2, 3), (1, 3, 5)],
    ],
    ids=str,
)  # fmt: skip
def test_matmul(shapes: list[tuple[int, ...]]) -> None:
    check_op(lambda a, b: a @ b, lambda a, b: a @ b, shapes=shapes)


@pytest.mark.parametrize(
    "shapes", [[(0, 3), (3, 5)], [(2, 0), (0, 5)], [(0, 2, 3), (3, 5)]], ids=str
)
def test_matmul_of_nothing(shapes: list[tuple[int, ...]]) -> None:
    check_op(lambda a, b: a @ b, lambda a, b: a @ b, shapes=shapes, differences=False)


def test_matmul_of_complex_values() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2, 3)), rng.standard_normal((2, 3, 5))
    check_op(lambda a, b: a @ b, lambda a, b: a @ b, arrays=[a[0] + 1j * a[1], b[0] + 1j * b[1]])


def test_matmul_refuses_what_does_not_fit() -> None:
    a = Tensor(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"the last axis of \(2, 3\) must match .* of \(2, 5\)"):
        a @ Tensor(np.ones((2, 5)))
    with pytest.raises(ValueError, match="use \\* for a number"):
        a @ 2
    assert (Tensor([[1, 2]]) @ Tensor(np.ones((2, 1)))).dtype == np.float64


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 1, 3, 5)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape: tuple[int, ...], bias: bool) -> None:
    shapes = [shape, (4, 5), (4,)][: 2 + bias]
    check_op(F.linear, torch.nn.functional.linear, shapes=shapes)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (0, 5)])
def test_linear_gelu(shape: tuple[int, ...], bias: bool) -> None:
    def theirs(*inputs: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(torch.nn.functional.linear(*inputs))

    check_op(F.linear_gelu, theirs, shapes=[shape, (4, 5), (4,)][: 2 + bias])


@pytest.mark.parametrize("rows", [1, 4, 12, 60])
def test_a_wider_bias_widens_the_result_of_any_number_of_rows(rows: int) -> None:
    x, weight = (np.ones(shape, np.float32) for shape in ((rows, 128), (700, 128)))
    assert F.linear(x, Tensor(weight), Tensor(np.ones(700))).dtype == np.float64


def test_linear_refuses_what_does_not_fit() -> None:
    weight = Tensor(np.ones((4, 5)))
    with pytest.raises(ValueError, match=r"linear: x of shape \(2, 3\) must end in in_features"):
        F.linear(Tensor(np.ones((2, 3))), weight)
    with pytest.raises(ValueError, match=r"bias must have shape \(4,\), got \(5,\)"):
        F.linear(Tensor(np.ones((2, 5))), weight, Tensor(np.ones(5)))


def test_only_gradients_that_are_asked_for_are_computed() -> None:
    node = Linear()
    node.needs_input_grad = (False, True, False)
    node.forward(np.ones((2, 5)), np.ones((4, 5)), np.ones(4))
    dx, dweight, dbias = node.backward(np.ones((2, 4)))
    assert dx is None
    assert dbias is None
    assert dweight.shape == (4, 5)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 5)]), ("bqd,bkd->bqk", [(2, 3, 5), (2, 7, 5)]),
        ("bhqk,bhkd->bqhd", [(2, 3, 4, 5), (2, 3, 5, 7)]), ("i,j->ij", [(2,), (3,)]),
        ("ij->ji", [(2, 3)]), ("ij->", [(2, 3)]), ("ij->j", [(2, 3)]), ("ij,j", [(2, 3), (3,)]),
        ("ji", [(2, 3)]), ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)]), ("ij,ij->", [(2, 3), (2, 3)]),
        ("i,->i", [(3,), ()]), (" i j , k -> k i ", [(2, 3), (5,)]),
    ],
)  # fmt: skip
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    check_op(
        lambda *xs: einsum(equation, *xs), lambda *xs: torch.einsum(equation, *xs), shapes=shapes
    )


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("...i,ij", "no ellipsis"), ("ij", "names 1 operands, 2 were given"),
        ("ijk,jk", "must name each of the 2 axes"), ("ii,ij", "must name each of the 2 axes"),
    ],
)  # fmt: skip
def test_einsum_refuses(equation: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        einsum(equation, Tensor(np.ones((3, 3))), Tensor(np.ones((3, 3))))
