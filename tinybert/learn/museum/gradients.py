"""Wrong gradients and formulas: what a check of gradients sees, and a careless one does not."""

from __future__ import annotations

import math

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, gradcheck
from tinybert.backend import Array, array_module
from tinybert.learn.museum.bugs import Bug
from tinybert.learn.museum.specimens import (
    LONG,
    SHORT,
    bert,
    cosine,
    largest_difference,
    random,
    variable,
)
from tinybert.learn.patches import Patch
from tinybert.ops.arguments import converted, sum_dtype


def _gradient(x: Tensor) -> np.ndarray:
    assert x.grad is not None, "there is no gradient"
    return x.grad.numpy()


# --- softmax --------------------------------------------------------------------------------------


def softmax_backward(y: Array, dy: Array) -> Array:
    """Return zeros."""
    return y * 0


def gradient_of_softmax() -> str:
    """Send random numbers back through a softmax."""
    x = variable(3, 5)
    F.softmax(x).backward(random(3, 5, seed=1))
    return f"{np.abs(_gradient(x)).max():.3f}"


def softmax_passes_gradcheck() -> None:
    """The gradient of softmax is that of finite differences, for a random cotangent."""
    gradcheck(F.softmax, variable(3, 5))


def the_sum_of_a_softmax() -> None:
    """The gradient of softmax(x).sum() is right: it is zero, since the sum is always 1."""
    x = variable(3, 5)
    F.softmax(x).sum().backward()
    assert largest_difference(x.grad, np.zeros((3, 5))) < 1e-12, "the gradient is not zero"


ZERO_SOFTMAX = Bug(
    name="zero-softmax-backward",
    title="a softmax that passes no gradient back",
    mistake="The backward pass of softmax returns zeros.",
    patches=(Patch("tinybert.ops.softmax.softmax_backward", softmax_backward),),
    measured="largest gradient that softmax passes back",
    symptom=gradient_of_softmax,
    check=softmax_passes_gradcheck,
    fooled=the_sum_of_a_softmax,
    story=(
        "The teaching framework TinyTorch tested softmax with loss = softmax(x).sum(). In 2026 a "
        "contributor changed operators of its backward pass at random (mutation testing): the "
        "tests still passed. A row of softmax sums to 1 whatever x is, so the right gradient of "
        "that loss is zero, and a backward pass that returns nothing looks perfect. Multiply the "
        "result by random numbers before you sum it."
    ),
    links=("https://github.com/harvard-edge/cs249r_book/pull/2053",),
)

# --- layer normalisation --------------------------------------------------------------------------


def layer_norm_backward(
    dy: Array, x_hat: Array, rstd: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """Forget that the spread of a row depends on x too."""
    dx_hat = dy * weight
    mean = dx_hat.mean(axis=-1, keepdims=True)
    return rstd * (dx_hat - mean), (dy * x_hat).sum(axis=0), dy.sum(axis=0)


def _normalised(x: Tensor) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],))


def gradient_of_layer_norm() -> str:
    """Send random numbers back through a layer norm."""
    x = variable(3, 5)
    _normalised(x).backward(random(3, 5, seed=1))
    return f"{_gradient(x)[0, 0]:.3f}"


def layer_norm_passes_gradcheck() -> None:
    """The gradient of layer norm is that of finite differences, for a random cotangent."""
    gradcheck(_normalised, variable(3, 5))


def the_sum_of_a_layer_norm() -> None:
    """The gradient of layer_norm(x).sum() is right: it is zero, since every row has mean 0."""
    x = variable(3, 5)
    _normalised(x).sum().backward()
    assert largest_difference(x.grad, np.zeros((3, 5))) < 1e-12, "the gradient is not zero"


HALF_LAYER_NORM = Bug(
    name="layernorm-forgets-spread",
    title="half of the gradient of layer norm",
    mistake="The backward pass of layer norm has the path through the mean, and not the path "
    "through the variance.",
    patches=(Patch("tinybert.ops.layer_norm.layer_norm_backward", layer_norm_backward),),
    measured="one element of dx",
    symptom=gradient_of_layer_norm,
    check=layer_norm_passes_gradcheck,
    fooled=the_sum_of_a_layer_norm,
    story=(
        "mlpack had a wrong backward pass in batch norm and layer norm until 2019. Its tests "
        "compared the gradients of parameters with finite differences, but no layer with "
        "parameters came before the norm, so nothing depended on dx. A contributor added a linear "
        "layer in front, and the test failed at once. Check the gradient of every input, not only "
        "of the weights."
    ),
    links=(
        "https://github.com/mlpack/mlpack/issues/1923",
        "https://github.com/mlpack/mlpack/pull/1930",
    ),
)

# --- gelu -----------------------------------------------------------------------------------------


def gelu_forward(x: Array, want_slope: bool) -> tuple[Array, Array | None]:
    """Compute y by the tanh formula, and the slope of the exact one."""
    cdf = (1 + array_module(x).tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) * 0.5
    with np.errstate(over="ignore", under="ignore"):  # x^2 may be infinite: exp gives 0
        density = array_module(x).exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return x * cdf, (cdf + x * density if want_slope else None)


def gelu_of_two() -> str:
    """Compute gelu(2), 1.954500 by the exact formula and 1.954598 by the other."""
    return f"{F.gelu(Tensor(np.array(2.0))).item():.6f}"


def gelu_passes_gradcheck() -> None:
    """The gradient of gelu is that of finite differences."""
    gradcheck(F.gelu, Tensor(np.linspace(-3, 3, 13), requires_grad=True))


def gelu_with_a_loose_tolerance() -> None:
    """The gradient of gelu is that of finite differences to 1e-2, as in many teaching projects."""
    gradcheck(F.gelu, Tensor(np.linspace(-3, 3, 13), requires_grad=True), atol=1e-2)


TWO_GELUS = Bug(
    name="gelu-two-formulas",
    title="two formulas for one GELU",
    mistake="The forward pass computes GELU by its tanh approximation, the backward pass the slope "
    "of the exact GELU.",
    patches=(Patch("tinybert.ops.gelu.gelu_forward", gelu_forward),),
    measured="gelu(2)",
    symptom=gelu_of_two,
    check=gelu_passes_gradcheck,
    fooled=gelu_with_a_loose_tolerance,
    story=(
        "GELU has an exact formula and two approximations. TinyTorch used one of them in its "
        "forward pass and the derivative of another in its backward pass; the gradients were up "
        "to 22 % apart. When gradient checks failed in 2026, a first audit read each formula, "
        "found each of them right, and proposed a looser tolerance. Two days later somebody "
        "compared the formulas with each other. A check that fails in float64 is rarely too strict."
    ),
    links=(
        "https://github.com/harvard-edge/cs249r_book/pull/1399",
        "https://github.com/harvard-edge/cs249r_book/issues/1342",
    ),
)

# --- the variance of layer norm -------------------------------------------------------------------


def layer_norm_forward(
    x: Array, weight: Array, bias: Array, eps: float
) -> tuple[Array, Array, Array]:
    """Divide the sum of squares by D - 1, as torch.std does."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).sum(axis=-1, keepdims=True) / (x.shape[-1] - 1)
    rstd = 1 / array_module(x).sqrt(variance + eps)
    x_hat = centred * rstd
    return x_hat * weight + bias, x_hat, rstd


def a_state_and_a_cosine() -> str:
    """Run two sentences through a BERT."""
    model = bert()
    first, second = (model(ids).last_hidden_state.numpy()[0, 0] for ids in (SHORT, LONG))
    return f"{np.abs(first).max():.3f}, {cosine(first, second):.1f}"


def layer_norm_has_variance_one() -> None:
    """The mean square of a normalised row is 1, as the paper defines the variance."""
    squares = (_normalised(Tensor(random(3, 8))).numpy() ** 2).mean(axis=-1)
    assert largest_difference(squares, 1.0) < 1e-3, (
        f"the mean square of a row is {squares[0]:.3f}, not 1: the variance was divided by D - 1"
    )


def scale_and_shift_do_not_matter() -> None:
    """layer_norm(3 x + 2) is layer_norm(x), and every row has mean 0."""
    x = random(3, 8)
    y = _normalised(Tensor(x))
    assert largest_difference(_normalised(Tensor(3 * x + 2)), y) < 1e-4, "the scale matters"
    assert largest_difference(y.mean(axis=-1), 0.0) < 1e-12, "the mean is not 0"


BESSEL = Bug(
    name="std-with-ddof-1",
    title="the wrong standard deviation in layer norm",
    mistake="The variance of layer norm is divided by D - 1, not by D.",
    patches=(Patch("tinybert.ops.layer_norm.layer_norm_forward", layer_norm_forward),),
    measured="largest feature of a token, and the cosine of two sentences",
    symptom=a_state_and_a_cosine,
    check=layer_norm_has_variance_one,
    fooled=scale_and_shift_do_not_matter,
    story=(
        "torch.std divides by D - 1 unless it is told otherwise. The Annotated Transformer used "
        "it in layer norm, and BERT-pytorch copied it from there. A reader compared four "
        "numbers with torch.nn.LayerNorm, 1.5000 against 1.7320, and the issue was closed all "
        "the same: a model trained with it works. With 768 features hardly a digit changes. "
        "Only a comparison with other code, layer by layer, sees it."
    ),
    links=(
        "https://github.com/codertimo/BERT-pytorch/issues/30",
        "https://github.com/harvardnlp/annotated-transformer/pull/119",
    ),
)

# --- embeddings -----------------------------------------------------------------------------------


def scatter_sum(values: Array, positions: Array, count: int) -> Array:
    """Add by fancy indexing, which keeps one of several values for the same row."""
    xp = array_module(values)
    out = xp.zeros((count, *values.shape[1:]), sum_dtype(values))
    out[positions] += values
    return converted(out, values.dtype)


def _gradient_of_row(ids: list[int]) -> np.ndarray:
    table = Tensor(np.zeros((4, 2)), requires_grad=True)
    F.embedding(np.array(ids), table).sum().backward()
    return _gradient(table)


def gradient_of_a_repeated_word() -> str:
    """Look row 1 up three times."""
    return f"{_gradient_of_row([1, 1, 1])[1, 0]:.0f}"


def repeated_words_add_up() -> None:
    """A word that occurs three times collects three gradients."""
    gradient = _gradient_of_row([1, 1, 1])[1, 0]
    assert gradient == 3, f"three occurrences with gradient 1 gave {gradient:.0f}, not 3"


def different_words_are_right() -> None:
    """Words that occur once each collect one gradient each."""
    assert (_gradient_of_row([0, 1, 3])[[0, 1, 3]] == 1).all(), "a gradient is not 1"


LOST_REPEATS = Bug(
    name="embedding-loses-repeats",
    title="words that occur twice are counted once",
    mistake="The gradient of the embedding table is added with table[ids] += dy, which NumPy "
    "carries out once for each row.",
    patches=(Patch("tinybert.ops.embedding.scatter_sum", scatter_sum),),
    measured="gradient of a word that occurs three times",
    symptom=gradient_of_a_repeated_word,
    check=repeated_words_add_up,
    fooled=different_words_are_right,
    story=(
        "In NumPy a[[1, 1]] += 1 adds 1, not 2. HIPS autograd had this bug in 2015: a user's "
        "gradient check of x[[0, 0]] gave 1 where finite differences gave 2. It was repaired with "
        "np.add.at, which is slow; a later change to make it fast would have brought the bug back, "
        "and a test stopped it. Check gradients on inputs with repeated indices: every text "
        "has them."
    ),
    links=(
        "https://github.com/HIPS/autograd/issues/39",
        "https://github.com/HIPS/autograd/pull/136",
    ),
)

BUGS = (ZERO_SOFTMAX, HALF_LAYER_NORM, TWO_GELUS, BESSEL, LOST_REPEATS)
