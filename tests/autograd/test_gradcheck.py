"""`gradcheck` passes what is right and catches what is wrong, and says where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinybert import Function, GradcheckError, Tensor, gradcheck, no_grad


def normal(*shape: int, seed: int = 0) -> Tensor:
    return Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def cube(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensor], Tensor]:
    """x -> x^3 with the gradient of each element changed."""

    class Cube(Function):
        def forward(self, x: Any) -> Any:
            self.x = x
            return x**3

        def backward(self, dy: Any) -> Any:
            return change(3 * self.x**2 * dy)

    return Cube.apply


def wrong_in_one_element(dx: np.ndarray) -> np.ndarray:
    dx[1, 2] *= 1.01
    return dx


@pytest.mark.parametrize(
    "change",
    [np.zeros_like, np.negative, lambda dx: dx * 1.01, lambda dx: dx + 1e-5, wrong_in_one_element],
    ids=["zeros", "sign", "x 1.01", "+ 1e-5", "one element"],
)
def test_catches(change: Callable[[np.ndarray], np.ndarray]) -> None:
    with pytest.raises(GradcheckError, match=r"backward gives .* finite differences give"):
        gradcheck(cube(change), normal(2, 3))


def test_says_where() -> None:
    message = r"gradient of input 1 at index \(1, 2\): backward gives .* \(shape \(2, 3\)\)"
    with pytest.raises(GradcheckError, match=message):
        gradcheck(lambda a, b: a * cube(wrong_in_one_element)(b), [normal(2, 3), normal(2, 3)])


def test_catches_nan() -> None:
    with pytest.raises(GradcheckError, match="backward gives nan"):
        gradcheck(cube(lambda dx: dx * np.nan), normal(2, 3))


def test_sees_what_a_sum_cannot() -> None:
    """The gradient of softmax(x).sum() is zero, so zeros would pass with that loss."""

    class BlindSoftmax(Function):
        def forward(self, x: Any) -> Any:
            e = np.exp(x - x.max(axis=-1, keepdims=True))
            return e / e.sum(axis=-1, keepdims=True)

        def backward(self, dy: Any) -> Any:
            return np.zeros_like(dy)

    with pytest.raises(GradcheckError):
        gradcheck(BlindSoftmax.apply, normal(2, 3))


def test_passes_what_is_right() -> None:
    assert gradcheck(cube(lambda dx: dx), normal(2, 3))
    assert gradcheck(lambda a, b: (a @ b, a.sum()), [normal(2, 3), normal(3, 4)])
    constant = Tensor([[1, 2, 3]])
    assert gradcheck(lambda a, i: a.gather(1, i - 1), [normal(2, 3), constant])


def test_complex_inputs() -> None:
    rng = np.random.default_rng(0)
    z = Tensor(rng.standard_normal(3) + 1j * rng.standard_normal(3), requires_grad=True)
    assert gradcheck(lambda z: z * z, z)
    with pytest.raises(GradcheckError):
        gradcheck(cube(lambda dx: dx), z)  # the derivative without the conjugate


def test_inputs_and_gradients_of_the_caller_are_untouched() -> None:
    x = normal(2, 3)
    before = x.numpy().copy()
    gradcheck(lambda x: x.exp(), x)
    assert np.array_equal(x.numpy(), before)
    assert x.grad is None


def test_refuses_lower_precision() -> None:
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    with pytest.raises(ValueError, match=r"inputs\[0\] must be float64.*got float32"):
        gradcheck(lambda x: x * x, x)


def test_refuses_to_check_nothing() -> None:
    with pytest.raises(ValueError, match="none requires a gradient"):
        gradcheck(lambda x: x, Tensor([1.0]))
    with pytest.raises(GradcheckError, match="all gradients are zero"):
        gradcheck(lambda x: x * 0, normal(3))

    def forgets(x: Tensor) -> Tensor:
        with no_grad():
            return x * 2

    with pytest.raises(GradcheckError, match="no result requires a gradient"):
        gradcheck(forgets, normal(3))
    assert gradcheck(lambda x: (forgets(x), x * x), normal(3))


def test_a_forgotten_path_is_caught() -> None:
    with pytest.raises(GradcheckError, match="input 0"):
        gradcheck(lambda x: x * x.detach(), normal(3))


def test_a_sum_that_hides_all_is_refused() -> None:
    """The differences of softmax(x).sum() are not 0 but rounding: zeros would pass for backward."""
    for scale in (1, 1e6):
        for forget in (False, True):

            def total(x: Tensor, scale: float = scale, forget: bool = forget) -> Tensor:
                return (x.softmax().detach() + 0 * x if forget else x.softmax()).sum() * scale

            with pytest.raises(
                GradcheckError, match=r"gradients are zero .* final sum|lost in rounding"
            ):
                gradcheck(total, normal(4, 7))


@pytest.mark.parametrize(
    ("eps", "message"),
    [(1e-6, r"lost in rounding, 1e\+12 \+ 1e-06 is 1e\+12"), (1.0, "larger eps")],
)
def test_a_step_too_small_to_see_is_not_backwards_fault(eps: float, message: str) -> None:
    x = Tensor([1e12], dtype=np.float64, requires_grad=True)
    with pytest.raises(GradcheckError, match=message):
        gradcheck(lambda x: x * x, x, eps=eps)
    assert gradcheck(lambda x: x * x, x, eps=1e6)
    with pytest.raises(GradcheckError, match=r"\(shape \(1,\)\)$"):  # here it is
        gradcheck(lambda x: x.detach() * x, x, eps=1e6)


def test_a_step_is_measured_as_far_as_it_went() -> None:
    """1e6 + 1e-6 rounds the step by five parts in a hundred thousand."""
    assert gradcheck(lambda x: x * x, Tensor([1e6], dtype=np.float64, requires_grad=True))


@pytest.mark.parametrize("place", [0.0, 1e-7, 3.3e-7, 9e-7, -5e-7])
def test_a_kink_is_named(place: float) -> None:
    x = Tensor([1.0, place], dtype=np.float64, requires_grad=True)
    with pytest.raises(GradcheckError, match=r"index \(1,\).* a kink is near, the slopes are"):
        gradcheck(lambda x: x.relu(), x)
    with pytest.raises(GradcheckError, match=r"\(shape \(2,\)\)$"):  # no slope of relu's
        gradcheck(lambda x: x.relu() + x - x.detach(), x)


def test_step_and_tolerances_can_be_chosen() -> None:
    x = Tensor(np.array([1e6]), requires_grad=True)
    with pytest.raises(GradcheckError, match="lost in rounding"):  # of x^3
        gradcheck(cube(lambda dx: dx), x, eps=1e-9)
    assert gradcheck(cube(lambda dx: dx), x, eps=1.0, rtol=1e-6)
    assert gradcheck(cube(lambda dx: dx * 1.01), normal(2, 3), rtol=0.02)
