# %% [markdown]
# # 43. The gradient of a moving average runs back in time
# In a moving average an output depends on earlier inputs. So the gradient of an input depends on
# *later* outputs. Backward, the recurrence runs from the end to the beginning, and the matrix of
# the convolution is transposed.
#
# **You will be able to** derive the gradient of a linear recurrence and of a convolution.
#
# **You need** lessons 2 (gradients of a value used twice), 41 (kernel) and 42 (Fourier transform).
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | T, N | | steps, states: 16, 3 |
# | x, y | (T) | input and moving average of one feature |
# | decay, enter, leave | (N) | factors: of the old state, of the input, of the state in y |
# | state | (T, N) | the states after each step |
# | k | (T) | the kernel: k[j] = Σₙ leave · enter · decayʲ |
# | A | (T, T) | A[t, s] = k[t − s] for s ≤ t, otherwise 0: y = A x |
# | dy, dx, dk, ... | as y, x, k, ... | the gradient of the loss with respect to y, x, k, ... |
# | g | (T, N) | the gradient of the loss with respect to the state after each step |

# %%
import numpy as np

import tinybert.functional as F
from tinybert import Tensor, show

rng = np.random.default_rng(0)
T, N = 16, 3
x, dy = rng.standard_normal(T), rng.standard_normal(T)
decay, enter, leave = np.array([[0.8, 0.6, 0.3], [0.2, 0.4, 0.7], [1.0, 0.5, -0.5]])

# %% [markdown]
# ## Forward, with the states kept

# %%
state, last = np.empty((T, N)), np.zeros(N)
for t in range(T):
    state[t] = last = decay * last + enter * x[t]  # (N,)
y = state @ leave
k = (decay ** np.arange(T)[:, None]) @ (leave * enter)
lag = np.arange(T)[:, None] - np.arange(T)  # t − s
A = np.where(lag >= 0, k[lag], 0)
print("y[-3:] by recurrence:", y[-3:].round(6), " by matrix:", (A @ x)[-3:].round(6))
assert np.allclose(y, A @ x)

# %% [markdown]
# ## The recurrence, backward
# state[t] is used twice: in y[t] and in state[t+1]. So its gradient is a sum of two terms:
#
#     g[t] = leave · dy[t] + decay · g[t+1]          from g = 0 after the end
#
# This is again a moving average, from the last step to the first. The other gradients follow from
# g. decay, enter and leave are used in every step, so their gradients are sums over the steps.

# %%
g, following = np.empty((T, N)), np.zeros(N)
for t in reversed(range(T)):
    g[t] = following = leave * dy[t] + decay * following
dx = g @ enter
before = np.vstack([np.zeros(N), state[:-1]])  # state[t−1]
ddecay, denter, dleave = (g * before).sum(axis=0), x @ g, dy @ state

nudge = 1e-6 * np.eye(T)[5]  # a change of input 5 alone
measured = (A @ (x + nudge) - A @ (x - nudge)) @ dy / 2e-6
print(f"dx[5] by the formula: {dx[5]:.6f}   measured: {measured:.6f}")
assert np.isclose(dx[5], measured)

# %% [markdown]
# ## The convolution, backward
# y = A x is a product with a matrix, so dx = Aᵀ dy. Row s of Aᵀ is 0 before s: it looks ahead,
# dx[s] = Σⱼ k[j] dy[s+j]. This sum is called a *correlation*.

# %%
show(A, "A, forward: output t (down), input s (across)")
show(A.T, "Aᵀ, backward: dx[s] (down), dy[t] (across)")
print("dx[:3] by the matrix:", (A.T @ dy)[:3].round(6))
print("dx[:3] by recurrence:", dx[:3].round(6))
assert np.allclose(A.T @ dy, dx)

# %% [markdown]
# A correlation is a convolution with one sequence reversed, which for real numbers conjugates its
# transform. y is also linear in k, and dk is the correlation of dy with x: dk[j] = Σₜ dy[t] x[t−j].
# The gradient of decay follows, since the derivative of decayʲ is j · decayʲ⁻¹.


# %%
def correlate(later: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Σⱼ later[s+j] other[j] for s = 0 ... T − 1."""
    values = np.fft.rfft(later, 2 * T) * np.fft.rfft(other, 2 * T).conj()
    return np.fft.irfft(values, 2 * T)[:T]


dk = correlate(dy, x)
j = np.arange(1, T)[:, None]
ddecay_of_kernel = leave * enter * (dk[1:, None] * j * decay ** (j - 1)).sum(axis=0)
print("dx[:3] by FFT:       ", correlate(dy, k)[:3].round(6))
print("ddecay by dk:", ddecay_of_kernel.round(5), " by the states:", ddecay.round(5))
assert np.allclose(correlate(dy, k), dx)
assert np.allclose(ddecay_of_kernel, ddecay)

# %% [markdown]
# ## The engine has both ways
# `F.ema_recurrence` runs back through the states, and `F.long_convolution` uses Fourier transforms.
# The arrays get an axis for the batch and one for the features.

# %%
ways = {
    "recurrence": lambda x, *factors: F.ema_recurrence(x, *factors)[0],
    "convolution": lambda x, d, e, v: F.long_convolution(x, F.power_sums(e * v, d, T)),
}
for name, way in ways.items():
    arrays = (x[None, :, None], decay[None], enter[None], leave[None])
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    way(*leaves).backward(dy[None, :, None])
    for leaf, ours in zip(leaves, (dx, ddecay, denter, dleave), strict=True):
        assert np.allclose(leaf.grad.numpy().ravel(), ours)
    print(f"ddecay by {name}:", leaves[1].grad.numpy()[0].round(6), " by hand:", ddecay.round(6))

# %% [markdown]
# Forward, a causal average looks at earlier inputs. Backward, the same weights look at later
# gradients: the recurrence runs in reverse, and A becomes Aᵀ.
#
# Exercises: `long/ema_fft`.
#
# Next: 44_both_directions.py.
