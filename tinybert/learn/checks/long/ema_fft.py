"""Check of long/ema_fft."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.gradients import gradients
from tinybert.ops.convolution import long_convolution

_RESULT = "return np.fft.irfft(spectrum, n)[..., :length]"

EXERCISE = Exercise(
    minutes=20,
    level=4,
    lesson=42,
    hints=(
        "rfft appends the zeros for you: its second argument is the size of the circle.",
        "The circle needs a place for each of the 2T - 1 steps of the full convolution; more is "
        "right too.",
        "Give the same n to all three transforms, and keep the first T steps of the result.",
    ),
    forbidden={
        "convolve": "np.convolve takes T^2 products; use the Fourier transform",
        "long_convolution": "write it here; it is what you are building",
        "LongConvolution": "write it here; it is what you are building",
    },
    mutants=(
        Mutant(
            "a circle of T steps",
            "n = 2 * length - 1",
            "n = length",
            "values",
            "what leaves a circle of T steps at the end comes in at the beginning; append zeros.",
        ),
        Mutant(
            "no n in the inverse",
            _RESULT,
            "return np.fft.irfft(spectrum)[..., :length]",
            "values",
            "without n, irfft returns an even number of steps; 2T - 1 is odd.",
        ),
        Mutant(
            "not cut",
            _RESULT,
            "return np.fft.irfft(spectrum, n)",
            "shape",
            "after the first T steps come those in which only the end of x is left: cut them off.",
        ),
        Mutant(
            "the last steps instead of the first",
            "[..., :length]",
            "[..., -length:]",
            "values",
            "y_0 = k_0 x_0 comes first: keep the first T steps.",
        ),
        Mutant(
            "kernel reversed",
            "np.fft.rfft(kernel, n)",
            "np.fft.rfft(kernel[..., ::-1], n)",
            "values",
            "k_0 is the weight of the newest input; the convolution turns the order by itself.",
        ),
        Mutant(
            "looks ahead",
            "np.fft.rfft(kernel, n)",
            "np.fft.rfft(kernel, n).conj()",
            "values",
            "the complex conjugate gives a correlation, which averages over later steps.",
        ),
        Mutant(
            "in both directions",
            "np.fft.rfft(kernel, n)",
            "2 * np.fft.rfft(kernel, n).real",
            "values",
            "a real spectrum belongs to a kernel that looks back and ahead alike.",
        ),
        Mutant(
            "divided by n once more",
            _RESULT,
            f"{_RESULT} / n",
            "values",
            "irfft divides by n itself, so that it is the inverse of rfft.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the recurrence, then with sums over all steps."""
    rng = np.random.default_rng(0)
    p, q = 0.3, 0.9
    x = rng.normal(size=7)
    yield Case(student.causal_convolution, (x, p * q ** np.arange(7)), _recurrence(x, p, q))
    for shape, kernel_shape in (((6,), (6,)), ((3, 5), (3, 5)), ((2, 3, 8), (3, 8))):
        x, kernel = rng.normal(size=shape), rng.normal(size=kernel_shape)
        yield Case(student.causal_convolution, (x, kernel), _by_sums(x, kernel))
    inputs = {"x": rng.normal(size=(2, 3, 5)), "kernel": rng.normal(size=(3, 5))}
    right = gradients(_engine, inputs)
    yield Case(gradients, (student.Convolution, inputs), right, stage="gradient")
    one = rng.normal(size=(2, 1)), rng.normal(size=(2, 1))
    yield Case(student.causal_convolution, one, one[0] * one[1], stage="edges")
    x, slow = rng.normal(size=500), 0.01 * 0.99 ** np.arange(500)
    expected = _recurrence(x, 0.01, 0.99)
    yield Case(student.causal_convolution, (x, slow), expected, stage="edges")


def _recurrence(x: np.ndarray, p: float, q: float) -> np.ndarray:
    states = [0.0]
    for value in x:
        states.append(q * states[-1] + p * value)
    return np.array(states[1:])


def _by_sums(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    y = np.zeros(x.shape)
    for t in range(x.shape[-1]):
        for j in range(t + 1):
            y[..., t] += kernel[..., j] * x[..., t - j]
    return y


def _engine(x: Tensor, kernel: Tensor) -> Tensor:
    return long_convolution(x.transpose(0, 2, 1), kernel).transpose(0, 2, 1)
