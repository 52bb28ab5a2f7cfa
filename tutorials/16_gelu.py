# %% [markdown]
# # 16. GELU: a smooth gate
# A feed-forward block has two linear maps and an activation function between them. In BERT this is
# GELU, the Gaussian error linear unit. Where does its formula come from, and what is its gradient?
#
# **You will be able to** explain GELU as a gate, derive its gradient by the product rule, and tell
# the exact formula from the approximation that some models use.
#
# **You need** lesson 4 (measuring a slope by finite differences) and the normal distribution.
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | x, y | (N) | N inputs, and GELU of each |
# | z | (N, 20,000) | samples of a standard normal variable: mean 0, standard deviation 1 |
# | Φ(x) | (N) | the probability that z < x: the distribution function of z |
# | φ(x) | (N) | the density of z at x, which is the slope of Φ |
# | erf(x) | (N) | the error function, by which computers calculate Φ |
# | dy, dx | (N) | the gradients of the loss with respect to y and x |

# %%
import math

import numpy as np

import tinybert.functional as F
from tinybert import Tensor, show

rng = np.random.default_rng(0)
x = np.linspace(-3, 3, 7)
names = [f"{number:g}" for number in x]
N = len(x)

# %% [markdown]
# ## From a hard gate to a soft one
# ReLU multiplies x by a gate that is 1 for x > 0 and 0 otherwise. Its slope jumps at 0, and for
# x < 0 the gradient is exactly 0.
#
# Now make the gate random: it is 1 if x is larger than a random z, and 0 otherwise. A large x
# passes almost always, a very negative x almost never. GELU (Hendrycks & Gimpel 2016,
# arXiv:1606.08415) is the average over all z, so nothing in it is random:
#
#     GELU(x) = x · P(z < x) = x Φ(x)
#
# `math.erf` gives Φ: Φ(x) = (1 + erf(x / √2)) / 2.


# %%
def Phi(x: np.ndarray) -> np.ndarray:
    return (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


z = rng.standard_normal((N, 20_000))
average = (x[:, None] * (z < x[:, None])).mean(axis=1)
gelu = x * Phi(x)
rows = ["ReLU", "GELU", "average"]
show([np.maximum(x, 0), gelu, average], "gates: hard, soft, random", rows=rows, cols=names)
print("largest difference between GELU and the average:", np.abs(gelu - average).max().round(4))
assert np.allclose(gelu, average, atol=0.02)

# %% [markdown]
# ## The gradient
# GELU is a product, so the product rule applies. The slope of x is 1, and the slope of a
# distribution function is the density, φ(x) = exp(−x²/2) / √(2π):
#
#     dx = dy · (Φ(x) + x φ(x))
#
# The first term is the gate. The second term is x times the slope of the gate.


# %%
def phi(x: np.ndarray) -> np.ndarray:
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def gelu_backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    return dy * (Phi(x) + x * phi(x))


step = 1e-5
measured = ((x + step) * Phi(x + step) - (x - step) * Phi(x - step)) / (2 * step)
slope = gelu_backward(np.ones(N), x)
rows = ["first term", "second term", "sum", "measured"]
show([Phi(x), x * phi(x), slope, measured], "the slope of GELU", rows=rows, cols=names)
print("slope at 1:", slope[4].round(6), "measured:", measured[4].round(6))
assert np.allclose(slope, measured, atol=1e-8)

# %% [markdown]
# Two properties follow. The slope is larger than 1 for some x. And it is negative for x below about
# −0.75: there GELU falls, so it has a smallest value. Unlike ReLU, GELU has a gradient for negative
# inputs. A neuron that gets only negative inputs can still learn.

# %%
fine = np.linspace(-4, 4, 8001)
slopes = gelu_backward(np.ones(8001), fine)
lowest = (fine * Phi(fine)).argmin()
print("largest slope:", slopes.max().round(3), "at", fine[slopes.argmax()].round(3))
print("GELU is smallest at", fine[lowest].round(3), "with slope", abs(slopes[lowest].round(3)))
assert 1.12 < slopes.max() < 1.13
assert abs(slopes[lowest]) < 0.001
assert (slopes[fine < -0.76] < 0).all()

# %% [markdown]
# ## The approximation with tanh
# Where erf is slow, the authors propose an approximation:
#
#     Φ(x) ≈ (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2
#
# GPT-2 uses it, for example. In a config it is called "gelu_new". The two functions are close, and
# not equal: the difference is thousands of times larger than rounding in float32.

# %%
by_tanh = x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
show([by_tanh - gelu], "gelu_new - gelu", rows=["error"], cols=names)
difference = np.abs(by_tanh - gelu).max()
rounding = np.spacing(np.float32(3)) / 2  # of a number near 3
print(f"largest difference: {difference:.6f}, largest rounding error: {rounding:.1e}")
assert 1000 * rounding < difference < 1e-3

# %% [markdown]
# ## The engine does the same
# `F.gelu` is the exact formula, and `F.gelu_new` the approximation.

# %%
X = Tensor(x, requires_grad=True)
y, dy = F.gelu(X), rng.standard_normal(N)
y.backward(dy)
print("ours:  ", gelu[2:5].round(6), "backward", gelu_backward(dy, x)[2:5].round(6))
print("engine:", y.numpy()[2:5].round(6), "backward", X.grad.numpy()[2:5].round(6))
assert np.allclose(y.numpy(), gelu)
assert np.allclose(X.grad.numpy(), gelu_backward(dy, x))
assert np.allclose(F.gelu_new(X).numpy(), by_tanh)

# What is the smallest value of GELU, to two digits after the point?
smallest = None  # your answer: a negative number
assert smallest in (None, (fine * Phi(fine)).min().round(2))

# %% [markdown]
# GELU multiplies its input by the probability that a standard normal variable is smaller. Its
# gradient has two terms, one for the input and one for the gate.
#
# Exercises: `parts/gelu`, `parts/silu_relu2`.
#
# Next: 17_layer_norm.py.
