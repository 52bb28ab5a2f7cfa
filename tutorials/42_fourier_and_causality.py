# %% [markdown]
# # 42. Convolution by Fourier transform, and is it causal?
# A convolution of T steps takes about T²/2 products. With the fast Fourier transform (FFT) it takes
# about T log T. But the transform treats the sequence as a circle, so that late inputs can leak
# into early outputs. A language model with such a leak sees the token that it should predict.
#
# **You will be able to** convolve two sequences by FFT, choose its size, and test for causality.
#
# **You need** lesson 41 (kernel and convolution), complex numbers and NumPy's `fft`.
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | T | | steps: 32 |
# | x, k, y | (T) | input, kernel, and their convolution: y[t] = Σⱼ k[j] x[t−j] |
# | t, i, j | | indices of y, x and k |
# | n | | size of the transform: number of coefficients and of points |
# | z | | a point, a complex number with zⁿ = 1 (an n-th root of unity) |
# | P(z) | | the polynomial with the coefficients c: c[0] + c[1] z + c[2] z² + ... |
# | E, O | | the polynomials of the even and of the odd coefficients |

# %%
import math

import numpy as np

import tinybert.functional as F
from tinybert import Tensor, show

rng = np.random.default_rng(0)
T = 32
x, k = rng.standard_normal(T), 0.2 * 0.8 ** np.arange(T)


def direct(x: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Convolve lag by lag. The dtype is that of x."""
    y = np.zeros_like(x)
    for j in range(len(k)):
        y[j:] += k[j] * x[: len(x) - j]
    return y


# %% [markdown]
# ## A convolution is a product of polynomials
# Take x and k as coefficients, (x[0] + x[1] z + ...)(k[0] + k[1] z + ...). The product x[i] k[j]
# belongs to the power i + j. So the coefficient of zᵗ is the sum of all products with i + j = t,
# which is y[t]. The full product has 2T − 1 coefficients, and the first T are y.

# %%
powers = np.add.outer(np.arange(4), np.arange(4))
show(powers, "the power t = i + j of x[i] k[j], for T = 4")
product = np.polymul(x[::-1], k[::-1])[::-1]  # polymul wants the highest power first
print(f"product of the polynomials: {len(product)} coefficients,", product[:3].round(4), "...")
print("convolution:               ", f"{T} numbers,     ", direct(x, k)[:3].round(4), "...")
assert len(product) == 2 * T - 1
assert np.allclose(product[:T], direct(x, k))

# %% [markdown]
# ## Values instead of coefficients
# A polynomial with n coefficients is determined by its values at n points. Values are multiplied
# point by point: n products. The FFT computes all n values quickly. It uses the n points with
# zⁿ = 1 and splits P into halves: P(z) = E(z²) + z O(z²). z and −z have the same square, so E and
# O are needed at n/2 points only. They are split in the same way, which takes n/2 · log₂ n products
# in all. A convolution needs three transforms: of x, of k, and from the values back to y.


# %%
def fft(c: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the values at the n-th roots of unity, n a power of 2, and the products used."""
    n = len(c)
    if n == 1:
        return c.astype(complex), 0
    (even, cost), (odd, _) = fft(c[::2]), fft(c[1::2])
    turned = np.exp(-2j * np.pi * np.arange(n // 2) / n) * odd  # z O(z²), n/2 products
    return np.concatenate([even + turned, even - turned]), 2 * cost + n // 2


print("value 5, ours:", fft(x)[0][5].round(6), " NumPy:", np.fft.fft(x)[5].round(6))
assert np.allclose(fft(x)[0], np.fft.fft(x))
for steps in (32, 1024, 8192):
    print(f"T = {steps:5}: T²/2 = {steps**2 // 2:9}, three FFTs: {3 * fft(np.zeros(2 * steps))[1]}")
assert fft(np.zeros(2 * T))[1] == T * math.log2(2 * T)

# %% [markdown]
# ## The circle
# At points with zⁿ = 1 the powers zⁿ⁺ᵗ and zᵗ are equal. So the coefficient n + t of the product is
# added to the coefficient t: the end wraps around to the beginning, as on a circle. Zeros after x
# and k prevent it: with n ≥ 2T − 1 no coefficient wraps around. 2T is the usual choice.


# %%
def by_fft(x: np.ndarray, k: np.ndarray, n: int) -> np.ndarray:
    """Convolve by transforms of n points. The dtype is that of x."""
    kind = np.complex64 if x.dtype == np.float32 else np.complex128
    values = np.fft.rfft(x, n).astype(kind) * np.fft.rfft(k, n).astype(kind)
    return np.fft.irfft(values, n)[: len(x)].astype(x.dtype)


late = np.eye(1, T, T - 3)[0]  # a single 1, three steps before the end
outputs = [direct(late, k), by_fft(late, k, 2 * T), by_fft(late, k, T)]
show(np.round(outputs, 9), "output for a late input", rows=["lag by lag", "n = 2T", "n = T: leak"])
print("y[0] of the three:", np.abs([output[0] for output in outputs]).round(4))
assert np.allclose(outputs[0], outputs[1])
assert np.allclose(by_fft(x, k, T), product[:T] + np.append(product[T:], 0))

# %% [markdown]
# ## A causality test
# *Causal* means that y[t] depends on x[0] ... x[t] only. The test changes the last input and
# compares the earlier outputs. In a transform each output is computed from each input, and later
# inputs cancel only up to rounding. How do you distinguish rounding from a leak? Repeat in float64:
# rounding errors shrink by about 10⁸, and a leak keeps its size.

# %%
ways = {"lag by lag": direct}
ways |= {f"n = {n}": lambda x, k, n=n: by_fft(x, k, n) for n in (2 * T, T)}
moved = np.zeros((3, 2))
for row, way in zip(moved, ways.values(), strict=True):
    for i, dtype in enumerate((np.float32, np.float64)):
        before, after = x.astype(dtype), x.astype(dtype)
        after[-1] += 100
        row[i] = np.abs(way(after, k.astype(dtype)) - way(before, k.astype(dtype)))[:-1].max()
show(moved, "change of earlier outputs", rows=list(ways), cols=["32 bit", "64 bit"])
assert not moved[0].any()
assert 0 < moved[1, 0] < 1e-4
assert moved[1, 1] < 1e-12
assert moved[2].min() > 1

# %% [markdown]
# ## The engine does the same
# `F.long_convolution` takes x (batch, T, D) and a kernel for each of D features. Its n is at least
# 2T − 1, and a product of 2, 3 and 5, for which the FFT is fast.

# %%
engine = F.long_convolution(Tensor(x[None, :, None]), Tensor(k[None])).numpy()[0, :, 0]
print("y[-2:] ours:", by_fft(x, k, 2 * T)[-2:].round(6), " engine:", engine[-2:].round(6))
assert np.allclose(engine, by_fft(x, k, 2 * T))

# An input of 7 steps, a kernel of 3 values, a transform with n = 8: how many outputs are wrong?
wrong = None  # your answer: a number
seven, three = rng.standard_normal(7), rng.standard_normal(3)
assert wrong in (None, (~np.isclose(by_fft(seven, three, 8), direct(seven, three))).sum())

# %% [markdown]
# The FFT replaces a convolution by products of values, on a circle of n steps. With enough zeros it
# is causal up to rounding. Test it with a changed last input, and use float64 for a sharp test.
#
# Exercises: `long/ema_fft`.
#
# Next: 43_ema_backward.py.
