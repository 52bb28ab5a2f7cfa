# %% [markdown]
# # 15. Softmax and cross-entropy
# A classifier computes a score for each class. Softmax turns the scores into probabilities, and
# cross-entropy measures how wrong they are. What is the gradient of the loss with respect to the
# scores? We derive it the long way first, through the derivatives of softmax. Then we simplify it.
#
# **You will be able to** compute softmax and cross-entropy in NumPy without overflow, and derive
# the gradient p − y.
#
# **You need** the chain rule, lesson 1 (backward by hand), and NumPy's `keepdims`.
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, C | | examples and classes: 3, 4 |
# | s | (B, C) | scores, also called logits |
# | label | (B) | the number of the right class of each example |
# | y | (B, C) | 1 at the right class, 0 elsewhere (one-hot) |
# | p | (B, C) | probabilities, softmax of s |
# | loss | () | mean of −log p at the right class |
# | dp, ds | (B, C) | the gradients of the loss with respect to p and s |
# | J | (C, C) | the derivatives of softmax for one example: J[i, j] = ∂p[i]/∂s[j] |

# %%
import numpy as np

import tinybert.functional as F
from tinybert import Tensor, show

texts = ["The cat _", "The bird _", "The dog _"]
words = ["sleeps", "sings", "barks", "melts"]  # the classes: which word comes next?
s = np.array([[2.0, 0.0, -1.0, -2.0], [1.0, 1.5, -1.0, -2.0], [1.0, -1.0, 0.5, -2.0]])
label = np.array([0, 1, 2])
B, C = s.shape
y = np.eye(C)[label]

# %% [markdown]
# ## Softmax: scores to probabilities
# p[i] = exp(s[i]) / Σ exp(s[j]), for each example. All p are positive and sum to 1. If one score is
# larger than another by 1, its probability is exp(1) = 2.72 times as large.
#
# If we add c to all scores, numerator and denominator are both multiplied by exp(c), and p does not
# change. So we subtract the largest score first: then no exponential overflows.


# %%
def softmax(s: np.ndarray) -> np.ndarray:
    powers = np.exp(s - s.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


p = softmax(s)
show(s, "s: scores", rows=texts, cols=words)
show(p, "p: probabilities", rows=texts, cols=words)
with np.errstate(over="ignore", invalid="ignore"):
    naive = np.exp(s + 1000) / np.exp(s + 1000).sum(axis=-1, keepdims=True)
print("scores + 1000:", softmax(s + 1000)[0].round(3), "largest not subtracted:", naive[0])
assert np.allclose(p.sum(axis=-1), 1)
assert np.allclose(softmax(s + 1000), p)
assert np.isnan(naive).all()

# %% [markdown]
# ## Cross-entropy: how wrong are they?
# The loss of one example is −log p[label]: 0 if the right class has probability 1, and large if it
# has a small one. By the rule for the logarithm of a quotient it is also log Σ exp(s) − s[label].

# %%
each = -np.log(p[np.arange(B), label])  # (B)
loss = each.mean()
by_scores = np.log(np.exp(s).sum(axis=-1)) - s[np.arange(B), label]
print("-log p[label]:         ", each.round(4), "mean", loss.round(4))
print("log sum exp - s[label]:", by_scores.round(4), "mean", by_scores.mean().round(4))
assert np.allclose(each, by_scores)

# %% [markdown]
# ## The gradient, written long
# First −log: only the p of the right class is in the loss, so dp = −1/(B p) there and 0 elsewhere.
#
# Next, softmax. Each score has an effect on all probabilities of its example: if s[j] grows, p[j]
# grows and all others shrink. The quotient rule gives
#
#     J[i, j] = ∂p[i]/∂s[j] = p[i] (1 − p[i])    if i = j
#                             −p[i] p[j]         otherwise
#
# The chain rule sums over all probabilities: ds[j] = Σᵢ dp[i] J[i, j].

# %%
dp = -y / (B * p)
jacobians = [np.diag(row) - np.outer(row, row) for row in p]  # J of each example
ds_long = np.array([dp[b] @ jacobians[b] for b in range(B)])
show(jacobians[0], "J for 'The cat _': each row sums to 0", rows=words, cols=words)

step, measured = 1e-6, np.zeros((B, C))  # finite differences: change each score a little
for index in np.ndindex(B, C):
    changed = s.copy()
    changed[index] += step
    measured[index] = (-np.log(softmax(changed)[np.arange(B), label]).mean() - loss) / step
show(ds_long, "ds, written long", rows=texts, cols=words)
show(measured, "ds, measured", rows=texts, cols=words)
assert np.allclose(ds_long, measured, atol=1e-6)

# %% [markdown]
# ## The gradient, collapsed
# In the sum over i only the right class has a dp. There dp[i] p[i] = −1/B: the probability cancels.
# So ds[j] = −(1 − p[j])/B if j is the right class, and p[j]/B otherwise. With y for both cases:
#
#     ds = (p − y) / B
#
# The gradient is the prediction minus the target. It is 0 only if the prediction is perfect. Each
# row sums to 0, so a step of gradient descent does not change the sum of the scores.

# %%
ds = (p - y) / B
print("long:     ", ds_long[2].round(6))
print("collapsed:", ds[2].round(6), "sum", np.abs(ds[2].sum()).round(6))
assert np.allclose(ds, ds_long)
assert np.allclose(ds.sum(axis=-1), 0)

# %% [markdown]
# ## Why an engine uses the collapsed form
# It is short, and it is safe. In float32 exp(−200) is 0. The long way then divides by 0, and
# infinity times 0 is not a number. The collapsed form has no division. `F.cross_entropy` uses it.

# %%
wrong = np.array([[0, 200]], np.float32)  # the right class, 0, has by far the lower score
with np.errstate(divide="ignore", invalid="ignore"):
    q = softmax(wrong)[0]
    long = (-np.array([1, 0]) / q) @ (np.diag(q) - np.outer(q, q))
S, W = Tensor(s, requires_grad=True), Tensor(wrong, requires_grad=True)
result = F.cross_entropy(S, label)
result.backward()
F.cross_entropy(W, np.array([0])).backward()
print("scores 0 and 200: long", long, "collapsed", q - [1, 0], "engine", W.grad.numpy()[0])
assert np.isnan(long).any()
assert np.array_equal(W.grad.numpy()[0], q - [1, 0])
assert np.isclose(result.item(), loss)
assert np.allclose(S.grad.numpy(), ds)

# One example, four equal scores. What is the gradient of the right class's score?
slope = None  # your answer: a number
assert slope in (None, 1 / 4 - 1)

# %% [markdown]
# Softmax turns scores into probabilities, and cross-entropy is −log of the right one. The gradient
# of both together is prediction minus target.
#
# Exercises: `loss/softmax`, `loss/softmax_backward`, `loss/log_softmax`.
#
# Next: 16_gelu.py.
