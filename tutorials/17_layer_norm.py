# %% [markdown]
# # 17. Layer norm and its gradient
# Layer norm gives the vector of each token mean 0 and variance 1, so that no layer gets inputs that
# are too large or too small. Each output of a token depends on all inputs of that token, and so the
# gradient has three terms. We derive them.
#
# **You will be able to** write layer norm forward and backward, and say which two directions it
# removes from a gradient.
#
# **You need** lesson 15 (the derivatives of softmax as a matrix) and NumPy's `mean` and `var`.
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | N, D | | tokens, features of a token: 3, 6 |
# | x, y | (N, D) | input and output |
# | r | (N, 1) | 1 divided by the standard deviation of each token |
# | x_hat | (N, D) | x with mean 0 and variance 1 for each token |
# | weight, bias | (D) | a scale and an offset for each feature, which are learned |
# | eps | | a small number that prevents a division by 0: 1e-12 |
# | dy, dx, dx_hat, ... | as y, x, x_hat, ... | the gradients of the loss |
# | J | (D, D) | for one token: J[i, j] = ∂x_hat[i]/∂x[j] |

# %%
import numpy as np

import tinybert.functional as F
from tinybert import Tensor, show

rng = np.random.default_rng(0)
N, D, eps = 3, 6, 1e-12
x = rng.standard_normal((N, D)) * [[1], [10], [0.1]] + [[0], [20], [-1]]  # rows of unlike scale
weight, bias = rng.standard_normal(D), rng.standard_normal(D)
tokens = ["the", "chubby", "cat"]

# %% [markdown]
# ## Forward
# Mean and variance are taken over the features of one token (Ba et al. 2016, arXiv:1607.06450). No
# token has an effect on another one, and training and evaluation use the same formula.
#
#     r = 1 / √(variance + eps)      x_hat = (x − mean) r      y = x_hat · weight + bias
#
# eps is inside the root. A token whose features are all equal gives 0, not a division by 0.


# %%
def normalize(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    return (x - x.mean(axis=-1, keepdims=True)) * r, r


x_hat, r = normalize(x)
y = x_hat * weight + bias
show(x, "x", rows=tokens)
show(x_hat, "x_hat", rows=tokens)
mean, variance = x_hat.mean(axis=-1), x_hat.var(axis=-1)
print("mean:", np.abs(mean).round(6), "variance:", variance.round(6))
print("x_hat of equal features:", normalize(np.full((1, D), 7.0))[0])
assert np.allclose([mean, variance], [[0], [1]])
assert not normalize(np.full((1, D), 7.0))[0].any()

# %% [markdown]
# The result does not change if a number is added to all features of a token, or if all are
# multiplied by a positive number. We call these changes a shift and a scaling. x_hat is *invariant*
# to both (to a scaling up to eps).

# %%
print("x_hat of x:      ", x_hat[0].round(4))
print("x_hat of 3 x + 5:", normalize(3 * x + 5)[0][0].round(4))
assert np.allclose(normalize(3 * x + 5)[0], x_hat)

# %% [markdown]
# ## The derivative
# If x[j] of a token grows, x_hat[i] of that token changes in three ways:
#
# 1. directly, if i = j: (x − mean) grows with x, times r
# 2. through the mean, which grows by 1/D: −r/D for every i
# 3. through r: the variance grows by 2 (x[j] − mean)/D, and the slope of 1/√v is −1/(2 v√v).
#    The product is −r² x_hat[j]/D. It multiplies x[i] − mean = x_hat[i]/r.
#
# Together, with [i = j] for 1 if i equals j and 0 otherwise:
#
#     J[i, j] = r ([i = j] − 1/D − x_hat[i] x_hat[j]/D)

# %%
J = r[0] * (np.eye(D) - 1 / D - np.outer(x_hat[0], x_hat[0]) / D)
step, measured = 1e-6, np.zeros((D, D))
for j in range(D):
    changed = x[0] + step * np.eye(D)[j]
    measured[:, j] = (normalize(changed)[0] - x_hat[0]) / step
show(J, "J of the first token")
show(measured, "J, measured")
assert np.allclose(J, measured, atol=1e-4)

# %% [markdown]
# ## Backward, without the matrix
# The chain rule is dx[j] = Σᵢ dx_hat[i] J[i, j], where dx_hat = dy · weight. We insert J. A sum
# over the D features, divided by D, is a mean:
#
#     dx = r (dx_hat − mean(dx_hat) − x_hat · mean(dx_hat · x_hat))
#
# No matrix is needed. weight and bias act on every token, so their gradients are sums over tokens.

# %%
dy = rng.standard_normal((N, D))
dx_hat = dy * weight
shift = dx_hat.mean(axis=-1, keepdims=True)  # (N, 1)
stretch = (dx_hat * x_hat).mean(axis=-1, keepdims=True)  # (N, 1)
dx = r * (dx_hat - shift - x_hat * stretch)
dweight, dbias = (dy * x_hat).sum(axis=0), dy.sum(axis=0)
print("with the matrix:   ", (dx_hat[0] @ J).round(6))
print("without the matrix:", dx[0].round(6))
assert np.allclose(dx_hat[0] @ J, dx[0])

# %% [markdown]
# The two means have a meaning. x_hat ignores a shift of x, so dx has no part along a shift: each
# row sums to 0. It ignores a scaling, so dx has no part along x_hat: their product sums to 0.

# %%
for name, direction in (("shift", np.ones((N, D))), ("scaling", x_hat)):
    before, after = ((d * direction).sum(axis=-1) for d in (r * dx_hat, dx))
    print(f"along a {name}: r dx_hat {before.round(2)}, dx {np.abs(after).round(6)}")
    assert np.allclose(after, 0)
    assert np.abs(before).min() > 0.1

# %% [markdown]
# ## The engine does the same

# %%
X, W, b = (Tensor(array, requires_grad=True) for array in (x, weight, bias))
result = F.layer_norm(X, (D,), W, b, eps)
result.backward(dy)
print("dx[2] ours:  ", dx[2].round(4))
print("dx[2] engine:", X.grad.numpy()[2].round(4))
for ours, theirs in ((y, result), (dx, X.grad), (dweight, W.grad), (dbias, b.grad)):
    assert np.allclose(theirs.numpy(), ours)

# Let all weights be 1 and the loss be y.sum(). Then dy and dx_hat are 1. What is dx?
passed = None  # your answer: a number
dx_of_sum = r * (1 - 1 - x_hat * (1 * x_hat).mean(axis=-1, keepdims=True))
assert passed in (None, np.abs(dx_of_sum).max().round(9))

# %% [markdown]
# Layer norm fixes mean and variance of each token. Forward ignores a shift and a scaling, and
# backward removes these two directions from the gradient.
#
# Exercises: `parts/layer_norm`, `parts/layer_norm_backward`, `parts/rms_norm`.
#
# Next: 18_why_sqrt_k.py.
