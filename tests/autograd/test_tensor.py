"""`Tensor`: construction, dtypes, ways out, operators, changes in place, repr."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tests.strict  # noqa: F401  (registers the device "strict")
from tinybert import Tensor, as_tensor, no_grad, set_default_device, set_default_dtype, stack, where


def test_dtypes_of_data() -> None:
    assert Tensor([1.0, 2]).dtype == np.float32
    assert Tensor(1.5).dtype == np.float32
    assert Tensor([1, 2]).dtype == np.int64
    assert Tensor([True]).dtype == np.bool_
    assert Tensor([1j]).dtype in (np.complex64, np.complex128)
    assert Tensor(np.zeros(2)).dtype == np.float64
    assert Tensor(np.zeros(2, np.float16)).dtype == np.float16
    assert Tensor([1, 2], dtype=np.float64).dtype == np.float64
    assert Tensor(np.zeros(2), dtype="float32").dtype == np.float32
    assert Tensor(Tensor(np.zeros(2))).dtype == np.float64
    assert Tensor([]).shape == (0,)
    with set_default_dtype(np.float64):
        assert Tensor([1.0]).dtype == np.float64
    assert Tensor([1.0]).dtype == np.float32


def test_data_is_copied_and_as_tensor_shares() -> None:
    array = np.zeros(3)
    copied, shared = Tensor(array), as_tensor(array)
    array[0] = 5
    assert copied.tolist() == [0, 0, 0]
    assert shared.tolist() == [5, 0, 0]
    assert as_tensor(shared) is shared
    assert not np.shares_memory(Tensor(shared).data, shared.data)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("text", TypeError, "got str"), (None, TypeError, "got NoneType"),
        ({"a": 1}, TypeError, "got dict"), ([["a"]], TypeError, "got str"),
        (np.array(["a"]), TypeError, "must be numbers"), (object(), TypeError, "must be numbers"),
        ([[1, 2], [3]], ValueError, r"ragged list: its rows have lengths \[1, 2\]"),
        ([1, [2]], ValueError, "ragged"),
        ([Tensor([1.0])], TypeError, r"list of Tensors; join them with tinybert\.stack"),
    ],
)  # fmt: skip
def test_refused_data(data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Tensor(data)


def test_stack_keeps_the_gradient_that_a_list_would_lose() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    stack([x * 2, x * 3]).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [5.0, 5.0]


def test_only_floats_require_a_gradient() -> None:
    for data in ([1, 2], [True], np.arange(3)):
        with pytest.raises(TypeError, match="only floating or complex tensors"):
            Tensor(data, requires_grad=True)
    assert Tensor([1j], requires_grad=True).requires_grad
    y = Tensor([1.0], requires_grad=True) * 2
    with pytest.raises(RuntimeError, match=r"only a leaf .* detach\(\)"):
        y.requires_grad_(False)
    assert not (Tensor([1.0], requires_grad=True) > 0).requires_grad


def test_what_it_is() -> None:
    x = Tensor(np.zeros((2, 3)), requires_grad=True)
    assert (x.shape, x.ndim, x.size, x.device, x.is_leaf, x.grad, x.grad_fn, len(x)) == (
        (2, 3), 2, 6, "cpu", True, None, None, 2,
    )  # fmt: skip
    y = x * 2
    assert not y.is_leaf
    assert type(y.grad_fn).__name__ == "Mul"
    assert y.detach().is_leaf
    assert np.shares_memory(y.detach().data, y.data)
    assert not y.detach().requires_grad
    with pytest.raises(TypeError, match=r"len\(\) of a 0-d tensor"):
        len(Tensor(1.0))


def test_ways_out() -> None:
    x = Tensor([[1.5, 2.5]])
    assert x.tolist() == [[1.5, 2.5]]
    assert x.numpy() is x.data
    assert np.asarray(x) is x.data
    assert np.array(x).tolist() == [[1.5, 2.5]]
    assert not np.shares_memory(np.array(x), x.data)
    assert np.asarray(x, dtype=np.int64).tolist() == [[1, 2]]
    assert x[0, 1].item() == 2.5
    assert type(x[0, 1].item()) is float
    assert type(Tensor([3]).item()) is int
    assert (float(Tensor(2.5)), int(Tensor([3])), bool(Tensor([0.0]))) == (2.5, 3, False)
    assert [10, 20, 30][Tensor(1)] == 20
    assert [row.tolist() for row in Tensor([[1], [2]])] == [[1], [2]]
    with pytest.raises(ValueError, match=r"one element, this one has shape \(1, 2\)"):
        x.item()
    with pytest.raises(ValueError, match="truth of a tensor of shape"):
        bool(x)
    with pytest.raises(TypeError, match="only an integer tensor can be an index"):
        operator.index(Tensor(1.0))


def test_conversions() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x.to(np.float64)
    assert y.dtype == np.float64
    assert x.to("float32") is x
    assert x.to("cpu") is x or x.to("cpu").device == "cpu"
    assert x.to("strict").device == "strict:0"
    assert x.to("strict", np.float64).dtype == np.float64
    assert x.to(device="strict").cpu().device == "cpu"
    assert Tensor([1, 2]).float().dtype == np.float32
    (y * 2).sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == np.float32
    with pytest.raises(TypeError, match="data type 'warm' not understood"):
        x.to("warm")
    with set_default_device("strict"):
        assert Tensor([1.0]).device == "strict:0"
        assert Tensor(np.zeros(1)).device == "cpu"  # an array stays where it is
    with pytest.raises(ValueError, match="device must be 'cpu', 'cuda'"):
        Tensor([1.0], device="gpu")


# --- operators ------------------------------------------------------------------------------------

A = np.array([[1.5, -2.0, 3.0], [0.5, 4.0, -1.0]])
B = np.array([2.0, 3.0, 0.5])
ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.mark.parametrize("operation", [*ARITHMETIC, *COMPARISONS])
def test_operators_take_tensors_arrays_and_numbers_on_both_sides(
    operation: Callable[[Any, Any], Any],
) -> None:
    a = np.abs(A)
    for left, right in [
        (Tensor(a), Tensor(B)), (Tensor(a), B), (a, Tensor(B)), (Tensor(a), 2), (2, Tensor(a)),
        (Tensor(a), 2.5), (2.5, Tensor(a)), (Tensor(a), np.float64(2.5)),
        (np.float64(2.5), Tensor(a)), (np.int32(2), Tensor(a)), (Tensor(a), [2.0, 3.0, 0.5]),
        ([2.0, 3.0, 0.5], Tensor(a)), (Tensor(B), Tensor(a)),
    ]:  # fmt: skip
        result = operation(left, right)
        expected = operation(np.asarray(left), np.asarray(right))
        assert isinstance(result, Tensor), (left, right)
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-15)


def test_matmul_neg_and_logic() -> None:
    np.testing.assert_array_equal((A @ Tensor(B)).numpy(), A @ B)
    np.testing.assert_array_equal((Tensor(A) @ B).numpy(), A @ B)
    np.testing.assert_array_equal((-Tensor(A)).numpy(), -A)
    high, low = Tensor(A) > 1, Tensor(A) < 3
    np.testing.assert_array_equal((high & low).numpy(), (A > 1) & (A < 3))
    np.testing.assert_array_equal((~high | low).numpy(), ~(A > 1) | (A < 3))


def test_shapes_that_do_not_broadcast_are_named() -> None:
    a, b = Tensor(np.ones((2, 3))), Tensor(np.ones(2))
    for operation in [*ARITHMETIC, *COMPARISONS]:
        with pytest.raises(ValueError, match=r": the shapes \(2, 3\) and \(2,\) do not broadcast"):
            operation(a, b)
    with pytest.raises(ValueError, match=r"^Sub: the shapes \(2, 3\) and \(2,\) do not broadcast"):
        a - [1.0, 2.0]
    for mask in (np.ones(2, bool), np.ones((2, 2, 3), bool)):
        with pytest.raises(ValueError, match=r"^MaskedFill: the shapes \(2, 3\) and "):
            a.masked_fill(mask, 0.0)
    with pytest.raises(ValueError, match=r"^Where: .*\(2, 3\) and \(2,\) do not broadcast"):
        where(a > 0, b, 1.0)
    with pytest.raises(ValueError, match=r"^MatMul: the shapes \(2, 1, 1\) and \(3, 1, 1\)"):
        Tensor(np.ones((2, 1, 1))) @ Tensor(np.ones((3, 1, 1)))


@pytest.mark.parametrize("operation", ARITHMETIC)
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("float32", "float32"), ("float32", "int64"), ("int32", "float16"), ("float16", "float32"),
        ("float32", "float64"), ("int32", "int64"), ("int64", "int64"), ("uint8", "float32"),
        ("float32", 2), ("float32", 2.5), ("float16", 2.5), ("float64", 2), ("int64", 2),
        ("int64", 2.5), (2, "float32"), (2.5, "int64"), (2.5, "float16"),
    ],
)  # fmt: skip
def test_dtypes_of_results_are_torchs(
    operation: Callable[[Any, Any], Any], left: Any, right: Any
) -> None:
    def of(kind: Any, make: Callable[[str], Any]) -> Any:
        return make(kind) if isinstance(kind, str) else kind

    ours = operation(*(of(k, lambda d: Tensor(np.ones(2, d))) for k in (left, right)))
    theirs = operation(
        *(of(k, lambda d: torch.ones(2, dtype=getattr(torch, d))) for k in (left, right))
    )
    assert str(theirs.dtype) == f"torch.{ours.dtype}"


def test_numpy_scalars_do_not_widen() -> None:
    x = Tensor([1.0, 2.0])
    for number in (np.float64(2), np.int64(2), np.float32(2)):
        for operation in ARITHMETIC:
            assert operation(x, number).dtype == np.float32
            assert operation(number, x).dtype == np.float32


def test_nothing_equals_none() -> None:
    x = Tensor([1.0, 2.0])
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert None not in [x]


def test_abs_is_a_builtin_too() -> None:
    assert abs(Tensor([-1.5, 2.0])).tolist() == [1.5, 2.0]


def test_equal_tensors_can_be_keys() -> None:
    x, y = Tensor([1.0]), Tensor([1.0])
    assert {x: 1, y: 2}[x] == 1


# --- changes in place -----------------------------------------------------------------------------


def test_in_place() -> None:
    x = Tensor(np.zeros((2, 3)))
    array = x.data
    assert x.fill_(2).add_(1).mul_([1.0, 2.0, 3.0]) is x
    assert x.tolist() == [[3, 6, 9], [3, 6, 9]]
    x[0, 1:] = -1
    x[1] = Tensor([7.0, 8.0, 9.0])
    x[x == 9] = 10
    assert x.tolist() == [[3, -1, -1], [7, 8, 10]]
    x.copy_(np.float32([1, 2, 3]))
    assert x.tolist() == [[1, 2, 3], [1, 2, 3]]
    assert x.zero_().tolist() == [[0, 0, 0], [0, 0, 0]]
    assert x.data is array
    assert x.dtype == np.float64


def test_in_place_on_what_requires_a_gradient() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    changes: list[Callable[[], Any]] = [
        lambda: x.add_(1), lambda: x.mul_(2), lambda: x.zero_(), lambda: x.fill_(1),
        lambda: x.copy_([3.0, 4.0]), lambda: x.__setitem__(0, 1.0), lambda: (x * 2).add_(1),
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(RuntimeError, match=r"in place; make a new one .* or use no_grad\(\)"):
            change()
    assert x.tolist() == [1.0, 2.0]
    with no_grad():
        x.add_(1)
    assert x.tolist() == [2.0, 3.0]
    assert x.requires_grad


def test_augmented_assignment_makes_a_new_tensor() -> None:
    x = Tensor([1.0], requires_grad=True)
    before = x
    x += 1
    assert x is not before
    assert before.tolist() == [1.0]
    x.backward()
    assert before.grad is not None


# --- repr -----------------------------------------------------------------------------------------


def test_repr() -> None:
    x = Tensor([1.0, 2.5], requires_grad=True)
    assert repr(x) == "Tensor([1. , 2.5], requires_grad=True)"
    assert repr(x * 2) == "Tensor([2., 5.], grad_fn=Mul)"
    assert repr(Tensor([1, 2])) == "Tensor([1, 2], dtype=int64)"
    assert repr(Tensor(2.0, device="strict")) == "Tensor(2., device='strict:0')"
    assert len(repr(Tensor(np.zeros((100, 100))))) < 500


def test_format() -> None:
    loss = (Tensor([1.0, 2.0], requires_grad=True) / 3).sum()
    assert f"{loss:.3f} {Tensor([[7]]):>4} {Tensor(0.25):.0%}" == "1.000    7 25%"
    assert f"{Tensor([1.0, 2.5])}" == "Tensor([1. , 2.5])"
    with pytest.raises(ValueError, match=r"one element, this one has shape \(2,\)"):
        f"{Tensor([1.0, 2.5]):.3f}"


def test_help_describes_the_attributes() -> None:
    assert Tensor.__doc__ is not None
    for name in ("data", "requires_grad", "grad", "grad_fn"):
        assert f"        {name}: " in Tensor.__doc__.partition("Attributes:")[2]


def test_nonzero_and_squeeze_by_torchs_names():
    x = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    assert Tensor(x).nonzero().tolist() == torch.from_numpy(x).nonzero().tolist()
    assert (Tensor(x) > 5).nonzero().shape == (0, 2)
    assert Tensor(x[:, None]).squeeze(dim=1).shape == (2, 3)


def test_an_index_of_one_element_keeps_its_axis():
    x = Tensor(np.arange(12.0).reshape(1, 4, 3))
    for index in (torch.tensor([2]), np.array([2]), [2]):
        assert x[0, index].shape == (1, 3)
    for number in (torch.tensor(2), np.int64(2), 2):
        assert x[0, number].tolist() == [6.0, 7.0, 8.0]
