# %% [markdown]
# # 3. Your own function: forward, backward and what to keep
# An engine for gradients is a set of operations, each with its own derivative. We add one that is
# missing: softplus, a smooth form of max(0, x). The engine then differentiates any network that
# uses it. The main decision is what the forward pass keeps for the backward pass.
#
# **You will be able to** write an operation as a `Function`, choose what it keeps, check it, and
# read the errors for an operation that is wrong.
#
# **You need** lesson 1 (the tape), Python classes, and the derivatives of exp and log.
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | x | (9) | the input: -4, -3, ... 4 |
# | y | as x | the output: softplus of each number of x |
# | dy | as y | the gradient of the loss with respect to y |
# | dx | as x | the gradient of the loss with respect to x |

# %%
import numpy as np

from tinybert import Function, Tensor, gradcheck, no_grad, show

x = np.arange(-4.0, 5.0)
dy = np.random.default_rng(0).standard_normal(x.shape)

# %% [markdown]
# ## The operation
# Softplus is log(1 + eˣ). For x = 1000 this formula overflows: e¹⁰⁰⁰ is too large for float64.
# NumPy's `logaddexp(0, x)` computes log(e⁰ + eˣ), which is the same, without the overflow.

# %%
with np.errstate(over="ignore"):
    naive = np.log(1 + np.exp([1.0, 1000.0]))
stable = np.logaddexp(0, [1.0, 1000.0])
print("softplus of 1 and of 1000, by the formula:", naive, " by logaddexp:", stable)
assert np.isinf(naive[1])
assert np.allclose(stable, [np.log(1 + np.e), 1000])

# %% [markdown]
# ## Its derivative
# By the chain rule the slope is eˣ / (1 + eˣ), the sigmoid of x. By the definition of y, 1 + eˣ is
# eʸ. So the slope is also (eʸ − 1) / eʸ = 1 − e⁻ʸ. The second form needs only the output y, and
# it cannot overflow, because y is never negative. NumPy's `expm1(z)` is eᶻ − 1, exact also for a
# small z, so we write `-expm1(-y)`.

# %%
y = np.logaddexp(0, x)
from_input, from_output = np.exp(x) / (1 + np.exp(x)), -np.expm1(-y)
show(np.stack([np.maximum(0, x), y]), "max(0, x) and softplus", rows=["max", "y"], cols=x)
show(np.stack([from_input, from_output]), "the slope", rows=["from x", "from y"], cols=x)
assert np.allclose(from_input, from_output)

# %% [markdown]
# ## Forward and backward in one class
# Both methods get and return plain arrays. `forward` keeps on `self` what `backward` will need.
# `backward` gets dy, multiplies it by the slope, and returns dx in the shape of x. For two inputs
# it returns two gradients. `apply` calls `forward` and puts the object on the tape as a node.


# %%
class Softplus(Function):
    """Compute y = log(1 + exp(x)) for each number. Kept for backward: y."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.y = np.logaddexp(0, x)
        return self.y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return dy * -np.expm1(-self.y)


ours, composed = Tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
Softplus.apply(ours).backward(dy)
(composed.exp() + 1).log().backward(dy)
print("dx by our operation: ", ours.grad.numpy().round(4))
print("dx by exp, + and log:", composed.grad.numpy().round(4))
assert np.allclose(ours.grad.numpy(), composed.grad.numpy())

# %% [markdown]
# The second line used three operations that the engine has. It gives the same gradient, makes three
# nodes instead of one, and overflows at 1000. One operation with its derivative in closed form is
# faster and more exact. That is why the engine has its own softmax, GELU and layer norm.
#
# `gradcheck` compares a backward pass with small changes of each input, as we did by hand in lesson
# 1. It needs float64. An error names the input, the element and both numbers.


# %%
class WrongSoftplus(Softplus):
    """The same with a minus sign lost."""

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return dy * np.expm1(-self.y)


# %%
def error_of(action, *arguments) -> str:
    try:
        action(*arguments)
    except (AssertionError, RuntimeError) as error:
        return str(error)
    return "no error"


checked = Tensor(x, requires_grad=True)
right, wrong = (error_of(gradcheck, kind.apply, checked) for kind in (Softplus, WrongSoftplus))
print("Softplus:     ", right)
print("WrongSoftplus:", wrong)
assert right == "no error"
assert "gradient of input 0 at index" in wrong

# %% [markdown]
# ## What is kept must not change
# If y is overwritten before `backward`, the slope is computed from wrong numbers. Tensors count
# their changes in place, and each node compares the counts, so the engine raises an error
# instead of returning a wrong gradient.

# %%
y = Softplus.apply(Tensor(x, requires_grad=True))
with no_grad():
    y.add_(1.0)  # y += 1, in the array that the node has kept
changed = error_of(y.backward, dy)
print("after a change:", changed)
assert "Softplus saved for backward was changed in place" in changed

# For the operation y = x · x, what is dx at x = 3 if dy = 2?
gradient = None  # your answer: a number
at = Tensor(3.0, requires_grad=True)
(at * at).backward(2.0)
assert gradient in (None, at.grad.item())

# %% [markdown]
# An operation is two functions on arrays and what the first one keeps for the second one. Choose
# what makes the derivative short and safe: here the output, not the input.
#
# Exercises: `tape/tanh`, `tape/inplace`.
#
# Next: 04_a_check_that_can_fail.py.
