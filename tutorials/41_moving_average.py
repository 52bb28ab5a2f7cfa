# %% [markdown]
# # 41. A moving average is a convolution
# A moving average carries information from earlier tokens to later ones. MEGA (Ma et al. 2022,
# arXiv:2209.10655) computes the queries and keys of its attention from such an average. Generation
# computes it step by step, as a recurrence. Training computes all steps at once, as a convolution.
#
# **You will be able to** write a moving average as a recurrence and as a convolution, and find the
# kernel of the convolution.
#
# **You need** lesson 2 (broadcasting) and the sum of a geometric series.
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | T, D, N | | steps, features of a step, states of a feature: 16, 3, 5 |
# | x, y | (T), then (T, D) | input and moving average |
# | t, s, j | | a step; an earlier step; the lag j = t − s |
# | p | | the share of the new input, from 0 to 1 |
# | a | | damping, from 0 to 1: a step multiplies the old average by 1 − p a |
# | k | (T), then (D, T) | the kernel: k[j] is the weight of the input of j steps ago |
# | A | (T, T) | A[t, s]: the weight of input s in output t |
# | state | (D, N) | what the recurrence remembers |
# | decay, enter, leave | (D, N) | factors: of the old state, of the input, of the state in y |

# %%
import math

import numpy as np

from tinybert import Tensor, manual_seed, nn, no_grad, show

rng = np.random.default_rng(0)
manual_seed(0)
T, D, N = 16, 3, 5

# %% [markdown]
# ## A recurrence
# The exponential moving average mixes each new input with the average so far:
#
#     y[t] = p x[t] + (1 − p a) y[t−1]          from y = 0; without damping a = 1
#
# Its *impulse response* is the output for the input 1, 0, 0, ... It contains the weight of an input
# after 0, 1, 2, ... steps: p, p(1 − pa), p(1 − pa)², ... This series has the sum 1/a. So a constant
# input keeps its value if a = 1, and is doubled if a = ½.


# %%
def average(x: np.ndarray, p: float, a: float = 1.0) -> np.ndarray:
    y, last = np.empty(len(x)), 0.0
    for t in range(len(x)):
        y[t] = last = p * x[t] + (1 - p * a) * last
    return y


impulse = np.eye(1, T)[0]  # 1, 0, 0, ...
choices = {"p=0.8 a=1": (0.8, 1), "p=0.3 a=1": (0.3, 1), "p=0.3 a=0.5": (0.3, 0.5)}
responses = np.stack([average(impulse, *choice) for choice in choices.values()])
show(responses[:, :8], "impulse response, lag 0 to 7", rows=list(choices))
print("the formula, p = 0.3:", (0.3 * 0.7 ** np.arange(8)).round(2))
assert np.allclose(responses[1], 0.3 * 0.7 ** np.arange(T))
for a in (1.0, 0.5):
    limit = average(np.full(200, 4.0), 0.3, a)[-1]
    print(f"a = {a}: the average of 4, 4, 4, ... tends to {limit:.4f}; 4/a = {4 / a}")
    assert np.isclose(limit, 4 / a)

# %% [markdown]
# ## The same as a convolution
# The recurrence is linear in x and the same in each step. So the input of j steps ago has the
# weight k[j] in each output, where k is the impulse response. This sum is a *convolution*:
#
#     y[t] = Σⱼ k[j] x[t−j]         as a matrix: y = A x with A[t, s] = k[t − s] for s ≤ t
#
# A is 0 above the diagonal: no output depends on a later input. A is constant along each diagonal.

# %%
x, k = rng.standard_normal(T), average(impulse, 0.3)
lag = np.arange(T)[:, None] - np.arange(T)  # t − s
A = np.where(lag >= 0, k[lag], 0)
show(A, "A: output t (down) from input s (across)")
print("y[-3:] by recurrence: ", average(x, 0.3)[-3:].round(6))
print("y[-3:] by convolution:", (A @ x)[-3:].round(6))
assert np.allclose(A @ x, average(x, 0.3))

# %% [markdown]
# ## Several states per feature
# With one state the weights only fall with the lag. MEGA gives each feature N states, each with its
# own factors:
#
#     state[t] = decay · state[t−1] + enter · x[t]          y[t] = Σₙ leave · state[t]
#
# The kernel is now a sum of N powers, k[j] = Σₙ leave · enter · decayʲ. It can rise: below, a slow
# state minus a fast one gives the largest weight to an input of two steps ago.


# %%
def recurrence(x, decay, enter, leave) -> np.ndarray:
    y, state = np.empty_like(x), np.zeros_like(decay)
    for t in range(len(x)):
        state = decay * state + enter * x[t, :, None]  # (D, N)
        y[t] = (leave * state).sum(axis=-1)
    return y


def kernel_of(decay, enter, leave, length: int) -> np.ndarray:
    powers = decay[..., None] ** np.arange(length)  # (D, N, length)
    return ((leave * enter)[..., None] * powers).sum(axis=1)


rises = kernel_of(np.array([[0.8, 0.5]]), np.ones((1, 2)), np.array([[1.0, -1.0]]), 8)[0]
show(rises, "k[j] = 0.8ʲ − 0.5ʲ, lag 0 to 7")
print("largest weight at lag", rises.argmax())
assert rises.argmax() == 2

# %% [markdown]
# ## The layer of the engine
# `nn.DampedEMA` learns p and a, each through a sigmoid that keeps it between 0 and 1. decay is
# 1 − pa. Its docstring lists the names of the paper. The layer also adds the input times a learned
# weight, and applies silu(z) = z · sigmoid(z).


# %%
def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


layer = nn.DampedEMA(D, N).double()
w = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
p, a = (sigmoid(w[name][..., 0]) for name in ("damping_factor", "decay_factor"))  # (D, N)
enter, leave = p * w["ema_expansion_matrix"][..., 0], w["kernel_projection_matrix"] / math.sqrt(N)
x = rng.standard_normal((T, D))
z = recurrence(x, 1 - p * a, enter, leave) + x * w["residual_weight"]
with no_grad():
    output = layer(Tensor(x[None]))[0].numpy()[0]
print("last step by recurrence:", (z * sigmoid(z))[-1].round(6), " engine:", output[-1].round(6))
assert np.allclose(z * sigmoid(z), output)
assert np.allclose(layer.kernel(T).data, kernel_of(1 - p * a, enter, leave, T))

# The option `truncation` cuts a kernel where its weights have become small. For p = 1/2 and a = 1,
# which lag is the first with a weight below 1/1000?
oldest = None  # your answer: a number
assert oldest in (None, (average(impulse, 0.5) < 0.001).argmax())

# %% [markdown]
# A linear recurrence equals a convolution with its impulse response. The recurrence keeps D·N
# numbers and needs step t − 1 before step t. The convolution can compute all steps in parallel.
#
# Exercises: none.
#
# Next: 42_fourier_and_causality.py.
