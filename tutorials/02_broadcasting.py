# %% [markdown]
# # 2. Broadcasting: a repeat forward is a sum backward
# NumPy adds a bias of 4 numbers to a batch of 6 rows without a loop: it *broadcasts*, as if the
# bias were repeated 6 times. Which gradient does the bias get? The answer is one rule, and it also
# covers every value that is used more than once.
#
# **You will be able to** say which axes NumPy repeats, sum a gradient back to the shape of an
# input, and explain why gradients add up.
#
# **You need** lesson 1 (the tape) and NumPy's `sum` with `axis` and `keepdims`.
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, T, D | | batch, tokens, features: 2, 3, 4 |
# | x | (B, T, D) | a batch of vectors |
# | bias | (D) | one number for each feature |
# | scale | (T, 1) | one number for each token |
# | y | (B, T, D) | the result of an operation |
# | dy | (B, T, D) | the gradient of the loss with respect to y |
# | dbias, dscale, ... | as bias, scale, ... | the gradient of the loss with respect to bias, ... |
# | u, v | (5) | two values that are used twice |

# %%
import numpy as np

from tinybert import Tensor, show

rng = np.random.default_rng(0)
B, T, D = 2, 3, 4
x = rng.standard_normal((B, T, D))
bias, scale = rng.standard_normal(D), rng.standard_normal((T, 1))

# %% [markdown]
# ## What NumPy repeats
# Two shapes are compared from the right. A missing axis is added at the left, and an axis of
# length 1 is repeated until it has the other array's length:
#
#     x      (2, 3, 4)
#     bias         (4)   ->  (1, 1, 4)  ->  (2, 3, 4)     axes 0 and 1 are repeated
#     scale     (3, 1)   ->  (1, 3, 1)  ->  (2, 3, 4)     axes 0 and 2 are repeated

# %%
repeated = np.broadcast_to(scale, (B, T, D))
show(scale, "scale")
show(repeated[0], "scale, as it is used in example 0")
by_loop = np.empty((B, T, D))
for b, t, d in np.ndindex(B, T, D):
    by_loop[b, t, d] = x[b, t, d] * scale[t, 0] + bias[d]
y = x * scale + bias
print("y[1, 2] by broadcasting:", y[1, 2])
print("y[1, 2] by loops:       ", by_loop[1, 2])
assert np.array_equal(y, by_loop)

# %% [markdown]
# ## The gradient of a repeated number is a sum
# One number of `bias` takes part in B·T additions. If it grows a little, B·T numbers of `y` grow,
# and each of them changes the loss. The effects add up. So the gradient of that number is the sum
# of the gradients at all places where it was used: the sum over the repeated axes.


# %%
def unbroadcast(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum a gradient over the axes that NumPy has repeated, to the shape of the input."""
    added = gradient.ndim - len(shape)
    gradient = gradient.sum(axis=tuple(range(added)))
    ones = tuple(axis for axis, length in enumerate(shape) if length == 1)
    return gradient.sum(axis=ones, keepdims=True)


dy = rng.standard_normal((B, T, D))
dbias = unbroadcast(dy, bias.shape)  # y = ... + bias: each use has the slope 1
dscale = unbroadcast(dy * x, scale.shape)  # y = x * scale + ...: each use has the slope x

leaves = Tensor(scale, requires_grad=True), Tensor(bias, requires_grad=True)
(Tensor(x) * leaves[0] + leaves[1]).backward(dy)
for name, ours, leaf in zip(["dscale", "dbias"], (dscale, dbias), leaves, strict=True):
    print(f"{name:6s} by hand {ours.ravel().round(4)}, engine {leaf.grad.numpy().ravel().round(4)}")
    assert leaf.grad.shape == leaf.shape == ours.shape
    assert np.allclose(leaf.grad.numpy(), ours)
show(dscale, "dscale: one sum for each token")

# %% [markdown]
# `backward(dy)` starts with the gradient dy, because `y` is an array and not a loss. A forgotten
# sum often shows as a wrong shape. A sum over the wrong axis shows only if the axes have different
# lengths. With as many rows as features, the mistake below has the right shape and wrong numbers.

# %%
square = rng.standard_normal((3, 3))  # the gradient of rows + bias, for 3 rows and 3 features
right, wrong = square.sum(axis=0), square.sum(axis=1)
print("right sum:", right.round(4), " wrong axis:", wrong.round(4))
assert right.shape == wrong.shape
assert not np.allclose(right, wrong)

# %% [markdown]
# ## A value that is used twice gets both gradients, added
# Broadcasting is one way to use a number several times. Another is to write a name twice. The rule
# is the same. In `y = u * v + u` with u = exp(v), the value u is used twice, and v is used twice:
#
#     du = dy · v + dy           by the product, and by the sum
#     dv = dy · u + du · u       by the product, and by u (the slope of exp is its own value)
#
# The engine visits the node of `exp` only when both parts of du have arrived.

# %%
v = rng.standard_normal(5)
u = np.exp(v)
dy = rng.standard_normal(5)
du = dy * v + dy
dv = dy * u + du * u
V = Tensor(v, requires_grad=True)
U = V.exp()
(U * V + U).backward(dy)
print("dv by hand:", dv.round(4))
print("dv, engine:", V.grad.numpy().round(4))
assert np.allclose(V.grad.numpy(), dv)

# %% [markdown]
# Gradients of several `backward` calls are added as well: `.grad` keeps the old gradient. That is
# useful for a batch in parts. In training it means that you clear `.grad` before each step.

# %%
(V.exp() * V + V.exp()).backward(dy)
print("after two calls, .grad / dv:", V.grad.numpy() / dv)
assert np.allclose(V.grad.numpy(), 2 * dv)

# A bias of shape (5,) is added to x of shape (2, 3, 5). Of how many numbers is dbias[0] the sum?
terms = None  # your answer: a number
assert terms in (None, np.zeros((2, 3, 5))[..., 0].size)

# %% [markdown]
# Whatever is used several times in the forward pass gets the sum of the gradients of all uses.
# Broadcasting repeats numbers along axes, so its gradient is a sum over these axes.
#
# Exercises: `tape/unbroadcast`, `tape/mul`.
#
# Next: 03_your_own_function.py.
