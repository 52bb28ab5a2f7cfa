# %% [markdown]
# # 10. Exponential moving averages, computed in three ways
# MEGA (Ma et al. 2022, arXiv:2209.10655) computes its queries and keys from a moving average of the
# input, which carries information from earlier tokens. The average can be computed as a
# *recurrence*, as a *convolution*, and by *FFT*. We write all three in NumPy, compare cost and
# rounding errors, and test whether the FFT is causal.
#
# | here | in the paper | in the authors' code and transformers | |
# |---|---|---|---|
# | p | α | delta, `damping_factor` | how much of the new value enters, from 0 to 1 |
# | a | δ | alpha, `decay_factor` | damping: how much of p is forgotten, from 0 to 1 |
# | β, γ | β, η | `ema_expansion_matrix`, `kernel_projection_matrix` | into and out of N memories |

# %%
import math
import time

import numpy as np

import tinybert.functional as F
from tinybert import Tensor, manual_seed, nn, no_grad

rng = np.random.default_rng(0)
manual_seed(0)
T, D, N = 200, 3, 5  # steps, features, memories of a feature

# %% [markdown]
# ## One decay rate
# The exponential moving average (EMA) is y_t = p x_t + (1 − p) y_(t−1), from y = 0. Unrolled, the
# input of j steps ago has the weight p (1 − p)^j. These weights sum to almost 1, so a constant
# input is preserved. The *damped* EMA, y_t = p x_t + (1 − p a) y_(t−1), decays more slowly; its
# weights sum to 1/a (p/(1 − q) with q = 1 − pa).


# %%
def plain(x: np.ndarray, p: float, a: float = 1.0) -> np.ndarray:
    y = np.zeros(len(x) + 1)
    for t in range(len(x)):
        y[t + 1] = p * x[t] + (1 - p * a) * y[t]
    return y[1:]


impulse = np.eye(1, T)[0]  # 1, 0, 0, ...: the impulse response is the sequence of weights
assert np.allclose(plain(impulse, 0.3), 0.3 * 0.7 ** np.arange(T))
assert np.isclose(plain(np.full(T, 4.0), 0.3)[-1], 4)
assert np.isclose(plain(np.full(T, 4.0), 0.3, a=0.5)[-1], 4 / 0.5)

# %% [markdown]
# ## Several dimensions
# A single rate gives only a decaying kernel. So each of the D features has N states and rates:
#
#     state_(t,n) = q_n state_(t−1,n) + p_n β_n x_t        y_t = Σ_n γ_n state_(t,n) / √N
#
# with q = 1 − pa. We call the factors decay = q, enter = p β, leave = γ/√N, each (D, N). The
# impulse response, the *kernel*, is now a sum of powers, k_j = Σ_n enter_n leave_n q_n^j. It need
# not be monotone: a slow state minus a fast one rises first, so the largest weight can be that of
# an input some steps ago.


# %%
def recurrence(x, decay, enter, leave, state=0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return y (T, D) for x (T, D) and factors (D, N), and the state (D, N) after the last step."""
    y = np.empty_like(x)
    for t in range(len(x)):
        state = decay * state + enter * x[t, :, None]
        y[t] = (leave * state).sum(axis=-1)
    return y, state


def kernel_of(decay, enter, leave, length: int) -> np.ndarray:
    """Compute the kernel (D, length) from factors (D, N)."""
    powers = decay[..., None] ** np.arange(length).astype(decay.dtype)  # (D, N, length)
    return ((enter * leave)[..., None] * powers).sum(axis=1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


layer = nn.DampedEMA(D, N).double()  # with rates that differ more than those of a fresh layer
for parameter in (layer.damping_factor, layer.decay_factor):
    parameter.data[...] = rng.standard_normal(parameter.shape) * 2 - 1
parameters = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
p, a = (sigmoid(parameters[f"{name}_factor"])[..., 0] for name in ("damping", "decay"))
decay, enter = 1 - p * a, p * parameters["ema_expansion_matrix"][..., 0]
leave = parameters["kernel_projection_matrix"] / math.sqrt(N)
factors = (decay, enter, leave)

x = rng.standard_normal((T, D))
y, last = recurrence(x, *factors)
kernel = kernel_of(*factors, T)
assert np.allclose(kernel, layer.kernel(T).data)
assert np.allclose(recurrence(np.tile(impulse[:, None], D), *factors)[0], kernel.T)

rates = np.array([[0.9, 0.6]])  # a slow state minus a fast one
rises = kernel_of(rates, np.ones((1, 2)), np.array([[1.0, -1.0]]), 30)[0]
print("weight of an input by its age: |" + "".join(" .:-=+*#%@"[int(18 * w)] for w in rises) + "|")
assert rises[0] == 0 < rises[4] == rises.max()

# %% [markdown]
# ## A convolution is a product of polynomials
# By linearity, y_t = Σ_j k_j x_(t−j) for every input. Take x and k as coefficients of polynomials:
# the coefficient of z^t in (x₀ + x₁z + x₂z² + …)(k₀ + k₁z + k₂z² + …) is the sum over all pairs of
# indices that add up to t: the same sum. The product has 2T − 1 coefficients; the first T are y.


# %%
def direct(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve x (T, D) with a kernel (D, M), lag by lag: T²/2 products per feature."""
    y = np.zeros_like(x)
    for lag in range(min(len(x), kernel.shape[1])):
        y[lag:] += kernel[:, lag] * x[: len(x) - lag]
    return y


product = np.polymul(x[::-1, 0], kernel[0, ::-1])[::-1]  # polymul wants the highest power first
assert len(product) == 2 * T - 1
assert np.allclose(product[:T], y[:, 0])
assert np.allclose(direct(x, kernel), y)

# %% [markdown]
# ## The fast Fourier transform (FFT)
# A polynomial with n coefficients is determined by its values at n points, and values are
# multiplied point by point: n products instead of n². The points are the n-th roots of unity, zⁿ =
# 1, where all n values cost only n log n: the even and the odd coefficients are polynomials in z²
# of half the size, P(z) = E(z²) + z O(z²), and z and −z have the same square.


# %%
def fft(c: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a polynomial's values at the n-th roots of unity, n = 2^m, and the products used."""
    n = len(c)
    if n == 1:
        return c.astype(complex), 0
    (even, cost), (odd, _) = fft(c[::2]), fft(c[1::2])
    turned = np.exp(-2j * np.pi * np.arange(n // 2) / n) * odd  # n/2 products of complex numbers
    return np.concatenate([even + turned, even - turned]), 2 * cost + n // 2


values, products = fft(x[:128, 0])
assert np.allclose(values, np.fft.fft(x[:128, 0]))
assert products == 128 // 2 * math.log2(128)

# %% [markdown]
# Since zⁿ = 1, the result is a circular convolution: the coefficient of z^(n+t) is added to that of
# z^t, the end wraps around to the beginning. With zero padding to n ≥ 2T − 1 there is no overlap;
# 2T is the usual choice. (tinybert uses the next 2^a 3^b 5^c, a length with a fast transform.)


# %%
def by_fft(x: np.ndarray, kernel: np.ndarray, n: int = 0) -> np.ndarray:
    """Convolve x (T, D) with a kernel (D, M) by FFT of size n; by default without wrapping."""
    n = n or len(x) + kernel.shape[1]
    rounded = np.complex64 if x.dtype == np.float32 else np.complex128
    spectrum = np.fft.rfft(x.T, n).astype(rounded) * np.fft.rfft(kernel, n).astype(rounded)
    return np.fft.irfft(spectrum, n)[:, : len(x)].T.astype(x.dtype)


assert np.allclose(by_fft(x, kernel), y)
assert np.allclose(by_fft(x, kernel, 2 * T - 1), y)
assert np.allclose(by_fft(x, kernel, T)[:, 0], product[:T] + np.append(product[T:], 0))
assert not np.allclose(by_fft(x, kernel, T), y, atol=0.01)

# %% [markdown]
# ## Error and cost
# For each method in float32: the largest error against the recurrence in float64, relative to the
# largest y; the real products per feature; and the time on this machine. The recurrence has the
# fewest products, but its T steps are sequential, and a gradient needs all T·N states. The FFT can
# be computed in parallel, on several cores or a GPU.


# %%
def products_of(T: int) -> tuple[int, int, int]:
    """Count products: recurrence; kernel and all lags; kernel, three FFTs, and their product."""
    n, transform = 2 * T, fft(np.zeros(2 * T))[1]
    return 3 * N * T, N * T + T * (T + 1) // 2, N * T + 4 * (3 * transform + n)


ways = {
    "recurrence": lambda x, *f: recurrence(x, *f)[0],
    "convolution": lambda x, *f: direct(x, kernel_of(*f, len(x))),
    "FFT": lambda x, *f: by_fft(x, kernel_of(*f, len(x))),
}
print("    T               products            ms     error, float32    error, float64")
counts = {steps: products_of(steps) for steps in (64, 512, 4096)}
for steps, count in counts.items():
    assert count[0] == min(count)
    long = rng.standard_normal((steps, D))
    truth = recurrence(long, *factors)[0]
    for (name, way), number in zip(ways.items(), count, strict=True):
        start = time.perf_counter()
        single = way(*(array.astype(np.float32) for array in (long, *factors)))
        ms = 1000 * (time.perf_counter() - start)
        double = way(long, *factors)
        errors = [np.abs(z - truth).max() / np.abs(truth).max() for z in (single, double)]
        print(f"{steps:5d} {name:12s} {number:9d} {ms:13.2f} {errors[0]:18.0e} {errors[1]:17.0e}")
        assert errors[0] < 1e-4
        assert errors[1] < 1e-12
grown = np.divide(counts[4096], counts[64])  # for 64 times as many steps
assert grown[0] == 64 < grown[2] < 64 * math.log2(2 * 4096) / math.log2(2 * 64)  # T, T log T
assert grown[1] > 20 * grown[2]  # T²

# %% [markdown]
# ## Is the FFT causal?
# y_t should depend on x_0 … x_t only. The test: change the last input by 100, and compare the
# outputs before it. With the first two methods no bit changes. With the FFT every output is
# computed from every input; later inputs cancel only *up to rounding*. To distinguish rounding from
# a leak, repeat in float64: rounding errors shrink by about 10⁸, a leak does not. An FFT without
# enough padding has a leak: the last input wraps around to the first outputs.

# %%
ways["FFT on T places"] = lambda x, *f: by_fft(x, kernel_of(*f, len(x)), len(x))
moved = {}
for name, way in ways.items():
    for dtype in (np.float32, np.float64):
        before = [array.astype(dtype) for array in (x, *factors)]
        after = [before[0].copy(), *before[1:]]
        after[0][-1] += 100
        moved[name, dtype] = np.abs(way(*after) - way(*before))[:-1].max()
    print(f"{name:16s} earlier outputs move by {moved[name, np.float32]:.0e} in float32,", end=" ")
    print(f"{moved[name, np.float64]:.0e} in float64")
for dtype, rounding in ((np.float32, 1e-3), (np.float64, 1e-12)):
    assert moved["recurrence", dtype] == moved["convolution", dtype] == 0
    assert 0 < moved["FFT", dtype] < rounding
    assert moved["FFT on T places", dtype] > 1

# %% [markdown]
# So a causality test with FFT needs a tolerance, and float64 to make it small. A pitfall: the
# rounding error is relative to the largest value *anywhere* in the sequence. With one outlier all
# small outputs lose their precision, also those before it. (MEGA normalises the input of the
# average.)

# %%
single = [array.astype(np.float32) for array in (x, *factors)]
single[0][-1] = 1e9
errors = {name: np.abs(ways[name](*single) - y)[:-1].max() for name in ("recurrence", "FFT")}
assert errors["recurrence"] < 1e-5
assert errors["FFT"] > 1

# %% [markdown]
# ## Backward
# y = A x with the matrix A_(t,s) = k_(t−s), 0 above the diagonal. Hence dx = Aᵀ dy: the gradient is
# a correlation with *later* outputs, dx_s = Σ_j k_j dy_(s+j). A correlation is a convolution with
# the reversed sequence, and the transform of a reversed real sequence is the complex conjugate:
#
#     dx = F⁻¹(conj(F k) · F dy)        dk = F⁻¹(F dy · conj(F x)),  cut to its M values
#
# dk_j = Σ_t dy_t x_(t−j), since y is linear in k too. From k_t = Σ_n w_n q_n^t, w = enter · leave,
# follow dw_n = Σ_t dk_t q_n^t and dq_n = w_n Σ_t t dk_t q_n^(t−1).


# %%
def correlation(dy: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Σ_t dy_(t+s) other_t for s = 0 ... T − 1: (D, T) both."""
    return np.fft.irfft(np.fft.rfft(dy, 2 * T) * np.fft.rfft(other, 2 * T).conj())[:, :T]


dy = rng.standard_normal((T, D))  # a random cotangent, see tutorial 1
dx, dkernel = correlation(dy.T, kernel).T, correlation(dy.T, x.T)
lag = np.arange(T)
matrix = np.where(lag[:, None] >= lag, kernel[0, lag[:, None] - lag], 0)  # A of feature 0
assert np.allclose(matrix @ x[:, 0], y[:, 0])
assert np.allclose(matrix.T @ dy[:, 0], dx[:, 0])

weight, powers = enter * leave, decay[..., None] ** lag  # (D, N), (D, N, T)
dweight = (dkernel[:, None] * powers).sum(axis=-1)
ddecay = weight * (dkernel[:, None, 1:] * lag[1:] * powers[..., :-1]).sum(axis=-1)

# %% [markdown]
# The engine has both methods, each with its own backward: one is a recurrence through the states,
# back in time; the other uses FFT. They agree with each other, and with the sums above.

# %%
gradients = []
for way in (
    lambda x, decay, *w: F.ema_recurrence(x, decay, *w)[0],
    lambda x, decay, *w: F.long_convolution(x, F.power_sums(w[0] * w[1], decay, T)),
):
    leaves = [Tensor(array, requires_grad=True) for array in (x[None], *factors)]
    result = way(*leaves)
    assert np.allclose(result.numpy()[0], y)
    result.backward(dy[None])
    gradients.append([leaf.grad.numpy() for leaf in leaves])
for ours in (dx[None], ddecay, dweight * leave, dweight * enter):
    assert all(np.allclose(found.pop(0), ours, rtol=1e-9, atol=1e-9) for found in gradients)

# %% [markdown]
# ## Truncation
# A decaying kernel can be truncated after M values. The error is at most Σ_(j≥M) |k_j| · max|x|;
# the input with the signs of the kernel has exactly this error.

# %%
for width in (10, 50, 100):
    error = np.abs(by_fft(x, kernel[:, :width]) - y).max(axis=0)
    rest = np.abs(kernel[:, width:]).sum(axis=1)  # (D,)
    print(f"{width:4d} values: error", error.round(4), "at most", (rest * np.abs(x).max()).round(4))
    assert (error <= rest * np.abs(x).max()).all()
    worst = np.sign(kernel[:, ::-1]).T
    assert np.allclose(np.abs(direct(worst, kernel) - direct(worst, kernel[:, :width]))[-1], rest)

# %% [markdown]
# ## Both directions
# An encoder, unlike a decoder, may use later tokens. MEGA has a second set of D·N states for them,
# which runs from the end: y_t = Σ_j k_j x_(t−j) + Σ_j k'_j x_(t+j). Both sums contain j = 0, so x_t
# has the weight k_0 + k'_0: lag 0 is counted twice, as in the authors' code, with which the weights
# are trained. By FFT both directions need one transform of x: multiply by F k + conj(F k').

# %%
ahead = nn.DampedEMA(D, N, bidirectional=True).double()
with no_grad():
    back, forth = np.split(ahead.kernel(T).numpy(), 2)  # (2 D, T)
    output = ahead(Tensor(x[None]))[0].numpy()[0]
both = direct(x, back) + direct(x[::-1], forth)[::-1]
response = np.fft.rfft(back, 2 * T) + np.fft.rfft(forth, 2 * T).conj()
assert np.allclose(np.fft.irfft(np.fft.rfft(x.T, 2 * T) * response)[:, :T].T, both)
alone = np.ones((1, D))  # a sequence of one step: what is left is lag 0
assert np.allclose(direct(alone, back) + direct(alone, forth), back[:, 0] + forth[:, 0])
z = both + x * ahead.residual_weight.numpy()  # the layer adds the input itself, times ω,
assert np.allclose(output, z * sigmoid(z))  # and applies silu

# %% [markdown]
# ## The state in decoding
# In text generation the inputs come one by one. A convolution needs all of them in each step; the
# recurrence needs a state of D·N numbers. A prompt can be read by FFT, if its state is computed as
# well: enter Σ_t q^(T−1−t) x_t. A truncated kernel needs its last M − 1 inputs.

# %%
assert np.allclose(enter * (x.T[:, None, ::-1] * powers).sum(axis=-1), last)
half = T // 2
state = recurrence(x[:half], *factors)[1]
assert np.array_equal(recurrence(x[half:], *factors, state)[0], y[half:])  # to the last bit

cut = nn.DampedEMA(D, N, truncation=7).double()
for module, carried in ((layer, (1, D, N)), (cut, (1, 7 - 1, D))):
    with no_grad():
        full = module(Tensor(x[None]))[0].numpy()
        head, state = module(Tensor(x[None, :half]), want_state=True)  # many steps: by FFT
        rows = [head.numpy()]
        for t in range(half, T):
            step, state = module(Tensor(x[None, t : t + 1]), state=state)
            assert state.shape == carried
            rows.append(step.numpy())
    assert np.allclose(np.concatenate(rows, axis=1), full)

# %% [markdown]
# ## Try
# Replace a None by your answer and run the script again: the assertion says whether it is right.

# %%
wrong = None  # how many of 7 outputs are wrong, with a kernel of 3 values and an FFT of size 8?
oldest = None  # p = 1/2, a = 1: which lag is the first whose weight is below 1/1000?
carried = None  # D = 4, N = 16, 1000 steps read: how many numbers does the next step need?

seven, three = rng.standard_normal((7, 1)), rng.standard_normal((1, 3))
differs = ~np.isclose(by_fft(seven, three, 8), direct(seven, three))
assert wrong in (None, int(differs.sum()))
assert oldest in (None, int((plain(impulse, 0.5) < 0.001).argmax()))
assert carried in (None, recurrence(np.ones((1000, 4)), *np.full((3, 4, 16), 0.5))[1].size)
# Next: attention over moving averages, 11_gated_attention.py.
