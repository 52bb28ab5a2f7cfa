"""Bugs of MEGA, whose moving averages are convolutions over the whole sequence."""

from __future__ import annotations

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, no_grad
from tinybert.learn.museum.bugs import Bug
from tinybert.learn.museum.specimens import largest_difference, must_agree, random
from tinybert.learn.patches import Patch
from tinybert.nn import RMSNorm
from tinybert.nn.ema import DampedEMA

# --- convolution by Fourier transform -------------------------------------------------------------


def good_length(least: int) -> int:
    """Transform as many values as the sequence has, without zeros after it."""
    return (least + 1) // 2


def _before_the_last(last: float) -> np.ndarray:
    """Return the convolution before the last step, for a sequence that ends with `last`."""
    x = random(1, 8, 2)
    x[:, -1] = last
    return F.long_convolution(Tensor(x), Tensor(random(2, 8, seed=1))).numpy()[:, :-1]


def influence_of_the_last_step() -> str:
    """Change the last value of a sequence, and look at the averages before it."""
    return f"{largest_difference(_before_the_last(0.0), _before_the_last(1.0)):.0e}"


def nothing_runs_backwards() -> None:
    """The last value has no influence on the convolution before it."""
    must_agree(
        _before_the_last(0.0), _before_the_last(1.0),
        "the convolution before the last step depends on it", 1e-9,
    )  # fmt: skip


def a_kernel_of_one_step() -> None:
    """A kernel of one step, 1, leaves the sequence as it is."""
    x = random(1, 8, 2)
    kernel = np.zeros((2, 8))
    kernel[:, 0] = 1
    must_agree(F.long_convolution(Tensor(x), Tensor(kernel)), x, "the sequence changed", 1e-9)


CIRCLE = Bug(
    name="fft-on-too-small-a-circle",
    title="a moving average that knows the future",
    mistake="The Fourier transform has as many values as the sequence, so the end of the sequence "
    "continues at its beginning.",
    patches=(Patch("tinybert.ops.convolution.good_length", good_length),),
    measured="change of earlier averages when the last value changes",
    symptom=influence_of_the_last_step,
    check=nothing_runs_backwards,
    fooled=a_kernel_of_one_step,
    right="n = good_length(x.shape[1] + back.shape[1] - 1)",
    story=(
        "A product of Fourier transforms is a convolution on a circle. With enough zeros after "
        "the sequence the circle does not close. The long convolutions of the safari repository "
        "had the doubled length in one case and not in the other; a reader could not bring the "
        "explanation and the code together, asked in 2024, and one of the authors answered that "
        "this looked like a bug. Change the last value: nothing before it may move."
    ),
    links=(
        "https://github.com/HazyResearch/safari/issues/47",
        "https://github.com/HazyResearch/flash-fft-conv/issues/31",
    ),
)

# --- a kernel that is kept ------------------------------------------------------------------------


def kernel(self: DampedEMA, length: int) -> Tensor:
    """Keep the kernel, and return it again."""
    if not hasattr(self, "kept"):
        c = self.coefficients()
        width = length if self.truncation is None else min(self.truncation, length)
        self.kept = F.power_sums(c.enter * c.leave, c.decay, width)
    return self.kept


def _average(seed: int) -> DampedEMA:
    """Return an average with weights from a seed."""
    average = DampedEMA(3, 2).eval()
    weights = {
        name: random(*tensor.shape, seed=seed + i).astype("float32")
        for i, (name, tensor) in enumerate(average.state_dict().items())
    }
    average.load_state_dict(weights)
    return average


def _output(average: DampedEMA) -> np.ndarray:
    with no_grad():
        return average(Tensor(random(1, 5, 3).astype("float32")))[0].numpy()


def _with_new_weights() -> tuple[np.ndarray, np.ndarray]:
    """Run an average, then with the weights of another one; return the result, and the other's."""
    average, other = _average(0), _average(20)
    _output(average)
    average.load_state_dict(other.state_dict())
    return _output(average), _output(other)


def effect_of_new_weights() -> str:
    """Run an average, load the weights of another, and run it again."""
    return f"{largest_difference(*_with_new_weights()):.1g}"


def new_weights_are_used() -> None:
    """After loading weights, a model gives the results of these weights."""
    must_agree(*_with_new_weights(), "something of the old weights is still in use", 1e-5)


def the_same_twice() -> None:
    """Two runs with the same weights agree."""
    average = _average(0)
    must_agree(_output(average), _output(average), "two runs differ", 0.0)


STALE = Bug(
    name="stale-ema-kernel",
    title="a model that keeps old weights",
    mistake="What was computed from the weights is kept, and not dropped when weights change.",
    patches=(Patch("tinybert.nn.ema.DampedEMA.kernel", kernel),),
    measured="error after other weights were loaded",
    symptom=effect_of_new_weights,
    check=new_weights_are_used,
    fooled=the_same_twice,
    story=(
        "transformers' MEGA keeps the kernel of its averages in evaluation mode: "
        "load_state_dict after a first run has no effect on it. The tests of tinybert found "
        "that, by comparing such a model with a fresh one. timm had the same with the attention "
        "biases of LeViT: from the second validation on, the logged numbers did not belong to "
        "the saved weights (2026). Whoever keeps a result must say what makes it invalid."
    ),
    links=(
        "https://github.com/huggingface/transformers/blob/v4.57.6/src/transformers/models/deprecated/mega/modeling_mega.py",
        "https://github.com/huggingface/pytorch-image-models/pull/2795",
    ),
)

# --- a norm that does nothing ---------------------------------------------------------------------


def forward(self: RMSNorm, x: Tensor) -> Tensor:
    """Multiply by the weight; the quotient is computed and thrown away."""
    x = x * self.weight
    x * ((x * x).mean(-1, keepdims=True) + self.eps) ** -0.5
    return x


def _mean_square(scale: float) -> float:
    with no_grad():
        y = RMSNorm(8)(Tensor(scale * random(3, 8))).numpy()
    return float(np.sqrt((y * y).mean()))


def size_after_the_norm() -> str:
    """Normalise numbers of a size of about 10."""
    return f"{_mean_square(10.0):.1f}"


def the_size_is_one() -> None:
    """The root mean square of normalised numbers is 1, whatever it was."""
    for scale in (0.1, 10.0):
        size = _mean_square(scale)
        assert abs(size - 1) < 0.01, f"the root mean square is {size:.2g}, not 1"


def the_shape_is_right() -> None:
    """The norm keeps the shape, and doubled weights double the result."""
    norm, x = RMSNorm(8), Tensor(random(3, 8).astype("float32"))
    assert norm.weight is not None
    with no_grad():
        once = norm(x).numpy()
        norm.weight.mul_(2)
        twice = norm(x).numpy()
    assert once.shape == (3, 8), "wrong shape"
    must_agree(twice, 2 * once, "doubled weights do not double the result")


NOTHING = Bug(
    name="rmsnorm-does-nothing",
    title="a norm whose result is thrown away",
    mistake="The line with the division has no assignment: only the weight has an effect.",
    patches=(Patch("tinybert.nn.norms.RMSNorm.forward", forward),),
    measured="root mean square of numbers of size 10 after the norm",
    symptom=size_after_the_norm,
    check=the_size_is_one,
    fooled=the_shape_is_right,
    story=(
        "The MegaRMSNorm of transformers is written like this, also in version 4.57.6. Nothing "
        "fails, models train, and no test asked what a norm is for: numbers of size 1. The "
        "tests of tinybert found it, since its own layer, written from the paper, gave other "
        "numbers. A model that was trained with the bug needs it: see the option reference of "
        "MegaConfig. Linters warn of an expression without effect; read their warnings."
    ),
    links=(
        "https://github.com/huggingface/transformers/blob/v4.57.6/src/transformers/models/deprecated/mega/modeling_mega.py",
    ),
)

BUGS = (CIRCLE, STALE, NOTHING)
