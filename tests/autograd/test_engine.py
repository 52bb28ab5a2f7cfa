"""The tape and the walk back: order, accumulation, memory, and what is refused."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from typing import Any

import numpy as np
import pytest

import tests.strict  # noqa: F401  (registers the device "strict")
from tinybert import Function, Tensor, enable_grad, is_grad_enabled, no_grad


def leaf(*values: float, dtype: str = "float64") -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def gradient(tensor: Tensor) -> Any:
    assert tensor.grad is not None
    return tensor.grad.numpy().tolist()


# --- the walk -------------------------------------------------------------------------------------


def test_a_chain_of_40_000_operations() -> None:
    x = leaf(1.0, dtype="float32")
    y = x
    for _ in range(40_000):
        y = y + 1
    y.backward()
    assert y.item() == 40_001.0
    assert gradient(x) == [1.0]


def test_a_long_chain_is_freed_without_backward() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(40_000):
        y = y * 1
    first = weakref.ref(y.grad_fn)
    del y
    assert first() is None


def test_diamond() -> None:
    x = leaf(3.0)
    y = x * x
    (y + y).backward(np.ones(1))
    assert gradient(x) == [12.0]


def test_wide_and_deep_diamonds() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(60):  # 2^60 paths
        y = y + y
    y.backward()
    assert gradient(x) == [2.0**60]


def test_one_tensor_on_both_sides_and_as_a_leaf() -> None:
    x = leaf(2.0)
    (x * x * x + x).backward()
    assert gradient(x) == [13.0]


def test_a_node_waits_for_all_that_use_it() -> None:
    x = leaf(2.0)
    a = x * x
    late = a.exp().log() * a  # a is used early and late: a^2
    (late + a).backward()
    np.testing.assert_allclose(gradient(x), [4 * 8 + 4])


class TwoOutputs(Function):
    """x -> (2x, 3x)."""

    def forward(self, x: Any) -> Any:
        return 2 * x, 3 * x

    def backward(self, da: Any, db: Any) -> Any:
        return 2 * da + 3 * db


def test_outputs_that_nobody_used_count_as_zero() -> None:
    for place, factor in ((0, 2.0), (1, 3.0)):
        x = leaf(1.0, 1.0)
        TwoOutputs.apply(x)[place].backward(np.ones(2))
        assert gradient(x) == [factor, factor]
    x = leaf(1.0)
    a, b = TwoOutputs.apply(x)
    (a * b).backward()
    assert gradient(x) == [12.0]


class NoGradient(Function):
    """A function through which no gradient flows."""

    def forward(self, x: Any) -> Any:
        return x * 0

    def backward(self, dy: Any) -> Any:
        return None


def test_a_branch_without_gradient_does_not_hold_up_the_walk() -> None:
    x = leaf(3.0)
    y = x * x
    blocked = NoGradient.apply((y + 1) * 2)
    (blocked + y).backward()
    assert gradient(x) == [6.0]
    z = leaf(1.0)
    NoGradient.apply(z * z).backward()
    assert z.grad is None


# --- accumulation ---------------------------------------------------------------------------------


def test_gradients_accumulate() -> None:
    x = leaf(1.0, 2.0)
    (x * 3).backward(np.ones(2))
    (x * x).sum().backward()
    assert gradient(x) == [5.0, 7.0]


def test_gradients_are_nobody_elses_memory() -> None:
    x, y = leaf(1.0, 2.0), leaf(5.0, 6.0)
    u = np.ones(2)
    (x + y).backward(u)
    assert x.grad is not None
    assert y.grad is not None
    x.grad.data += 100
    assert gradient(y) == [1.0, 1.0]
    assert u.tolist() == [1.0, 1.0]
    x.backward(u)
    x.grad.data += 100
    assert u.tolist() == [1.0, 1.0]


def test_a_saved_array_is_not_handed_out_as_a_gradient() -> None:
    class GivesSaved(Function):
        def forward(self, x: Any) -> Any:
            self.slope = np.full_like(x, 3)
            return x * 3

        def backward(self, dy: Any) -> Any:
            return self.slope

    x = leaf(1.0)
    y = GivesSaved.apply(x)
    y.backward(retain_graph=True)
    y.backward()
    assert gradient(x) == [6.0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_gradient_has_the_dtype_of_its_leaf(dtype: str) -> None:
    x = leaf(1.0, 2.0, dtype=dtype)
    other = leaf(3.0, 4.0, dtype="float64")
    ((x * 2.0 + np.float64(1)) * other * np.float32(2)).sum().backward()
    assert x.grad is not None
    assert other.grad is not None
    assert x.grad.dtype == dtype
    assert other.grad.dtype == np.float64
    assert (x * 2.0).dtype == dtype
    assert (np.float64(2) * x / np.int64(3) - np.float32(1)).dtype == dtype


def test_retain_grad() -> None:
    x = leaf(2.0)
    y = x * x
    z = y * 3
    y.retain_grad()
    y.retain_grad()
    z.backward()
    assert gradient(y) == [3.0]
    assert gradient(x) == [12.0]
    assert z.grad is None
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        Tensor([1.0]).retain_grad()


def test_a_retained_gradient_is_nobody_elses_memory() -> None:
    x, u = leaf(1.0, 2.0), Tensor(np.ones(2))
    y = x + 0.0
    y.retain_grad()
    y.backward(u)
    assert y.grad is not None
    y.grad.data += 100
    assert gradient(x) == [1.0, 1.0]
    assert u.tolist() == [1.0, 1.0]


def test_retain_graph_and_second_backward() -> None:
    x = leaf(3.0)
    y = (x * x).exp()
    y.backward(retain_graph=True)
    first = gradient(x)
    y.backward()
    np.testing.assert_array_equal(gradient(x), 2 * np.array(first))
    with pytest.raises(RuntimeError, match=r"a second backward through Exp.*retain_graph=True"):
        y.backward()


def test_second_backward_through_a_shared_part() -> None:
    x = leaf(3.0)
    shared = x * x
    (shared + 1).backward()
    with pytest.raises(RuntimeError, match="a second backward through Mul"):
        (shared * 2).backward()
    assert gradient(x) == [6.0]


# --- in-place changes -----------------------------------------------------------------------------


def test_a_saved_array_that_changed_is_refused_by_name() -> None:
    x, weight = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = x * weight
    with no_grad():
        weight.add_(1)
    with pytest.raises(RuntimeError, match=r"an array that Mul saved .* changed .* by add_;"):
        y.backward(np.ones(2))
    assert x.grad is None


def test_an_output_that_was_saved_and_changed_is_refused() -> None:
    x = leaf(1.0)
    y = x.exp()
    with no_grad():
        y.fill_(5.0)
    with pytest.raises(RuntimeError, match=r"Exp saved .* by fill_"):
        y.backward()


def test_views_share_the_version_of_their_array() -> None:
    x = leaf(1.0, 2.0, 3.0)
    weight = Tensor(np.array([4.0, 5.0, 6.0]))
    for view in (weight[1:], weight.reshape(3, 1), weight.detach(), weight[None].mT):
        y = x * weight
        view[0] = 7.0
        with pytest.raises(RuntimeError, match=r"Mul saved .* by item assignment"):
            y.sum().backward()
    y = x * weight[:3]
    weight.mul_(2)
    with pytest.raises(RuntimeError, match=r"Mul saved .* by mul_"):
        y.sum().backward()


def test_a_change_of_what_was_not_saved_is_allowed() -> None:
    x, shift = leaf(1.0), Tensor(np.array([4.0]))
    y = x + shift
    shift.zero_()
    y.backward()
    assert gradient(x) == [1.0]


# --- grad mode ------------------------------------------------------------------------------------


def test_modes_nest() -> None:
    x = leaf(1.0)
    with no_grad():
        assert not is_grad_enabled()
        assert not (x * 2).requires_grad
        with enable_grad():
            assert is_grad_enabled()
            assert (x * 2).requires_grad
        assert not is_grad_enabled()
    assert is_grad_enabled()


def test_a_mode_ends_with_an_exception_and_can_be_used_again() -> None:
    mode = no_grad()
    for _ in range(2):
        with pytest.raises(KeyError), mode:
            raise KeyError
        assert is_grad_enabled()
    with mode, mode:
        assert not is_grad_enabled()
    assert is_grad_enabled()


def test_modes_as_decorators() -> None:
    @no_grad()
    def outer(x: Tensor) -> tuple[bool, bool]:
        """Two tensors, one made with each mode."""
        return (x * 2).requires_grad, inner(x)

    @enable_grad()
    def inner(x: Tensor) -> bool:
        return (x * 2).requires_grad

    assert outer(leaf(1.0)) == (False, True)
    assert outer.__name__ == "outer"
    assert outer.__doc__ == "Two tensors, one made with each mode."
    assert is_grad_enabled()


def test_backward_walks_a_graph_recorded_before() -> None:
    x = leaf(2.0)
    y = x * x
    with no_grad():
        y.backward()
    assert gradient(x) == [4.0]


# --- what is refused ------------------------------------------------------------------------------


def test_a_function_without_both_methods_is_refused_when_defined() -> None:
    with pytest.raises(TypeError, match="Half must define both forward and backward; backward mis"):

        class Half(Function):
            def forward(self, x: Any) -> Any:
                return x / 2

    with pytest.raises(TypeError, match="forward and backward missing"):

        class Neither(Function):
            pass


class Returns(Function):
    """The identity, whose backward returns whatever it was told to."""

    def forward(self, *arrays: Any, gradients: Any) -> Any:
        self.gradients = gradients
        return arrays[0] * 1

    def backward(self, dy: Any) -> Any:
        return self.gradients


def test_wrong_gradients_are_refused_by_name() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"Returns\.backward .* shape \(3,\) for input 0 of .*2"):
        Returns.apply(x, gradients=np.ones(3)).sum().backward()
    with pytest.raises(RuntimeError, match=r"returned 2 gradient\(s\) for 1 input"):
        Returns.apply(x, gradients=(np.ones(2), None)).sum().backward()
    with pytest.raises(RuntimeError, match=r"returned 1 gradient\(s\) for 2 input"):
        Returns.apply(x, x, gradients=np.ones(2)).sum().backward()
    assert x.grad is None


def test_backward_needs_something_to_go_back_from() -> None:
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        Tensor([1.0]).backward()
    with no_grad():
        y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match="no_grad"):
        y.backward()
    with pytest.raises(RuntimeError, match=r"backward\(\) of a tensor of shape \(2,\) needs grad"):
        (leaf(1.0, 2.0) * 2).backward()
    with pytest.raises(ValueError, match=r"grad must have the tensor's shape \(2,\), got \(3,\)"):
        (leaf(1.0, 2.0) * 2).backward(np.ones(3))


def test_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match="Mul: all inputs must be on one device, got cpu, stric"):
        leaf(1.0) * Tensor([1.0], device="strict")


# --- what apply gives to forward ------------------------------------------------------------------


def test_forward_sees_arrays_and_python_numbers() -> None:
    seen: list[Any] = []

    class Looks(Function):
        def forward(self, *inputs: Any) -> Any:
            seen.extend(inputs)
            seen.append(self.needs_input_grad)
            return inputs[0] + 1

        def backward(self, dy: Any) -> Any:
            return dy, None, None, None

    x, constant = leaf(1.0), Tensor([2.0])
    y = Looks.apply(x, constant, np.float64(3), 4)
    assert seen[0] is x.data
    assert seen[1] is constant.data
    assert type(seen[2]) is float
    assert seen[3:] == [4, (True, False, False, False)]
    assert y.requires_grad
    assert not y.is_leaf
    with no_grad():
        Looks.apply(x, constant, 3, 4)
    assert seen[-1] == (False, False, False, False)


# --- memory ---------------------------------------------------------------------------------------


def test_memory_stays_flat_without_the_garbage_collector() -> None:
    weight = Tensor(np.ones((64, 64), np.float32), requires_grad=True)
    x = Tensor(np.ones((32, 64), np.float32))

    def step() -> None:
        loss = ((x @ weight).softmax(-1) * x).relu().sum()
        loss.backward()
        weight.grad = None

    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(1000):  # until caches, Python's of small tuples among them, are full
            step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            step()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()
    assert after - before < 8 * 32 * 64 * 4  # a few activations, where 200 steps made 1,000


def test_a_graph_that_is_never_walked_is_freed_by_reference_count() -> None:
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = x.exp().split(1)[0].softmax(0) * x[0]
        node = weakref.ref(y.grad_fn)
        saved = weakref.ref(y)
        del y
        assert node() is None
        assert saved() is None
    finally:
        gc.enable()


def test_what_was_saved_goes_during_backward() -> None:
    x = leaf(1.0, 2.0)
    y = x.exp()
    node = y.grad_fn
    assert hasattr(node, "y")
    y.sum().backward()
    assert not hasattr(node, "y")
    assert node.parents == ()


def test_grad_mode_belongs_to_a_thread():
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append(is_grad_enabled()))
        thread.start()
        thread.join()
        assert not is_grad_enabled()
    assert seen == [True]
