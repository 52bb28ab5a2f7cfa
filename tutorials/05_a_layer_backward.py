# %% [markdown]
# # 5. Backpropagation through a layer of BERT
# Tutorial 2 computed the forward pass. Now we compute the backward pass of one layer, the first of
# MiniLM with its pretrained weights: layer norm, GELU, linear maps, residuals, softmax and the
# products of attention, each with a short derivation, in NumPy. The engine computes the same
# gradients, and all must agree to ten digits.
#
# As everywhere, `dname` is dL/d`name` and has the shape of `name`.

# %%
import math
from types import SimpleNamespace

import numpy as np

from tinybert import BertModel, BertTokenizer
from tinybert.fetch import FetchError, model_folder

try:
    folder = model_folder("minilm")
except FetchError as reason:  # it names the one command to run
    raise SystemExit(str(reason)) from None
model = BertModel.from_pretrained(folder).to(dtype="float64")  # with little rounding
H, eps = model.config.num_attention_heads, model.config.layer_norm_eps
first_layer = model.encoder.layer[0]
w = {name: parameter.numpy() for name, parameter in first_layer.named_parameters()}
assert len(w) == 16  # 6 linear maps and 2 layer norms, each with weight and bias

# The engine's run: two sentences, the second padded. Layer 0 maps hidden_states[0] to [1].
inputs = BertTokenizer.from_pretrained(folder)(
    ["The chubby cat sat on the mat.", "It slept."], padding=True, return_tensors="np"
)
hidden_states = model(**inputs, output_hidden_states=True).hidden_states
hidden_states[0].retain_grad()  # only leaves keep their gradient by default
x = hidden_states[0].numpy()
B, T, D = x.shape
K = D // H
mask = (1 - inputs["attention_mask"])[:, None, None, :] * np.finfo(x.dtype).min  # (B, 1, 1, T)
assert (B, T, D, K) == (2, 11, 384, 32)

# %% [markdown]
# ## The parts, each with its backward
# **Linear**, y = x Wᵀ + b, that is y_to = Σᵢ x_ti W_oi + b_o for token t. Each number gets dy times
# its factor, summed over all uses:
#
#     dx = dy W        dW = dyᵀ x        db = Σ dy, over all tokens


# %%
gradients: dict[str, np.ndarray] = {}  # ours, by the names of the parameters


def linear(x: np.ndarray, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def linear_backward(dy: np.ndarray, x: np.ndarray, name: str) -> np.ndarray:
    rows = dy.reshape(-1, dy.shape[-1])  # (B * T, out)
    gradients[f"{name}.weight"] = rows.T @ x.reshape(-1, x.shape[-1])  # (out, in)
    gradients[f"{name}.bias"] = rows.sum(axis=0)
    return dy @ w[f"{name}.weight"]


# With dy = 1 each input gets the sum of its weights, and each bias counts the tokens.
dx = linear_backward(np.ones((B, T, D)), x, "attention.output.dense")
assert np.allclose(dx, w["attention.output.dense.weight"].sum(axis=0))
assert np.allclose(gradients["attention.output.dense.bias"], B * T)


# %% [markdown]
# **GELU**, y = x Φ(x), with Φ the distribution function of the normal distribution (Hendrycks &
# Gimpel 2016, arXiv:1606.08415). By the product rule, with φ = Φ′ = exp(−x²/2) / √2π:
#
#     dx = dy (Φ(x) + x φ(x))
#
# The code of BERT's authors later replaced Φ by an approximation with tanh, "gelu_new" in
# transformers, with errors of up to 0.0005. This model, like most, uses the exact formula.


# %%
def normal_cdf(x: np.ndarray) -> np.ndarray:
    return (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2))) / 2


def gelu_backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    return dy * (normal_cdf(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi))


z = np.linspace(-5, 5, 101)
by_tanh = (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))) / 2
assert 1e-4 < np.abs(z * normal_cdf(z) - z * by_tanh).max() < 1e-3
slope = ((z + 1e-6) * normal_cdf(z + 1e-6) - (z - 1e-6) * normal_cdf(z - 1e-6)) / 2e-6
assert np.allclose(gelu_backward(np.ones(101), z), slope, atol=1e-8)

# %% [markdown]
# **Layer norm**, x̂ = (x − μ) r and y = x̂ · weight + bias, where r = 1/√(var + ε) (Ba et al. 2016,
# arXiv:1607.06450). An xⱼ acts on all x̂ᵢ of its token: directly, through μ, and through r. Since
# ∂μ/∂xⱼ = 1/D, ∂var/∂xⱼ = 2 (xⱼ − μ)/D and so ∂r/∂xⱼ = −r² x̂ⱼ/D,
#
#     ∂x̂ᵢ/∂xⱼ = r (δᵢⱼ − 1/D − x̂ᵢ x̂ⱼ/D)
#
# and, summed over i with dx̂ = dy · weight:
#
#     dx = r (dx̂ − mean(dx̂) − x̂ · mean(dx̂ · x̂))
#
# x̂ is invariant to a shift and to a scaling of x; the two means remove these two directions from
# the gradient.


# %%
def layer_norm(x: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)  # (B, T, 1)
    x_hat = (x - x.mean(axis=-1, keepdims=True)) * r
    return x_hat * w[f"{name}.weight"] + w[f"{name}.bias"], x_hat, r


def normalize_backward(dx_hat: np.ndarray, x_hat: np.ndarray, r: np.ndarray) -> np.ndarray:
    mean, slope = (a.mean(axis=-1, keepdims=True) for a in (dx_hat, dx_hat * x_hat))
    return r * (dx_hat - mean - x_hat * slope)


def layer_norm_backward(dy: np.ndarray, x_hat: np.ndarray, r: np.ndarray, name: str) -> np.ndarray:
    gradients[f"{name}.weight"] = (dy * x_hat).sum(axis=(0, 1))
    gradients[f"{name}.bias"] = dy.sum(axis=(0, 1))
    return normalize_backward(dy * w[f"{name}.weight"], x_hat, r)


rng = np.random.default_rng(0)
_, x_hat, r = layer_norm(rng.standard_normal((B, T, D)), "output.LayerNorm")
dx = normalize_backward(rng.standard_normal((B, T, D)), x_hat, r)
assert np.allclose(dx.sum(axis=-1), 0)  # no gradient along a shift
assert np.allclose((dx * x_hat).sum(axis=-1), 0)  # and none along a stretch

# %% [markdown]
# **Softmax**, from ∂pᵢ/∂sⱼ = pᵢ (δᵢⱼ − pⱼ):  ds = p · (dp − Σ dp·p).  A masked key has p = 0, so ds
# = 0: no gradient flows to masked keys. **Products**: if C = A B, then dA = dC Bᵀ and dB = Aᵀ dC.
# **Heads**: split and merge only rearrange elements, so each is the backward of the other.


# %%
def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_backward(dp: np.ndarray, p: np.ndarray) -> np.ndarray:
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))


def split(x: np.ndarray) -> np.ndarray:  # (B, T, D) to (B, H, T, K)
    return x.reshape(B, T, H, K).swapaxes(1, 2)


def merge(x: np.ndarray) -> np.ndarray:  # (B, H, T, K) to (B, T, D)
    return x.swapaxes(1, 2).reshape(B, T, D)


assert np.array_equal(merge(split(x)), x)

# %% [markdown]
# ## Forward
# `kept` holds what backward needs: the inputs of the linear maps and of GELU, the factors of the
# two products, and x̂ and r of both layer norms.


# %%
def layer(x: np.ndarray) -> tuple[np.ndarray, SimpleNamespace]:
    kept = SimpleNamespace(x=x)
    names = (f"attention.self.{name}" for name in ("query", "key", "value"))
    kept.query, kept.key, kept.value = (split(linear(x, name)) for name in names)
    kept.p = softmax(kept.query @ kept.key.swapaxes(-1, -2) / math.sqrt(K) + mask)  # (B, H, T, T)
    kept.context = merge(kept.p @ kept.value)  # (B, T, D)
    added = x + linear(kept.context, "attention.output.dense")
    kept.middle, kept.x_hat1, kept.r1 = layer_norm(added, "attention.output.LayerNorm")
    kept.wide = linear(kept.middle, "intermediate.dense")  # (B, T, F)
    kept.active = kept.wide * normal_cdf(kept.wide)
    added = kept.middle + linear(kept.active, "output.dense")
    y, kept.x_hat2, kept.r2 = layer_norm(added, "output.LayerNorm")
    return y, kept


y, kept = layer(x)
assert np.abs(y - hidden_states[1].numpy()).max() < 1e-12

# %% [markdown]
# ## Backward
# The same lines in reverse order. At a **residual connection**, s = a + f(a), the gradient ds
# reaches a directly and through f, and both gradients are added. So each layer has a path on which
# only the layer norms change the gradient. x is used four times: by query, key, value and the
# residual.
#
# The loss is Σ dy · y with a random dy: every element of y has its own weight.

# %%
dy = rng.standard_normal(y.shape)

dadded = layer_norm_backward(dy, kept.x_hat2, kept.r2, "output.LayerNorm")
dactive = linear_backward(dadded, kept.active, "output.dense")
dwide = gelu_backward(dactive, kept.wide)
dmiddle = dadded + linear_backward(dwide, kept.middle, "intermediate.dense")

dadded = layer_norm_backward(dmiddle, kept.x_hat1, kept.r1, "attention.output.LayerNorm")
dcontext = split(linear_backward(dadded, kept.context, "attention.output.dense"))
dp = dcontext @ kept.value.swapaxes(-1, -2)  # (B, H, T, T)
dvalue = kept.p.swapaxes(-1, -2) @ dcontext  # (B, H, T, K)
dscores = softmax_backward(dp, kept.p) / math.sqrt(K)
dquery = dscores @ kept.key
dkey = dscores.swapaxes(-1, -2) @ kept.query
dx = dadded.copy()
for name, d in (("query", dquery), ("key", dkey), ("value", dvalue)):
    dx += linear_backward(merge(d), x, f"attention.self.{name}")

assert gradients.keys() == w.keys()
assert all(gradients[name].shape == w[name].shape for name in w)

# %% [markdown]
# ## Comparison with the engine
# The engine computes attention in blocks, and fuses GELU with the linear map before it; we used the
# plain formulas. All 16 gradients and dx agree.

# %%
hidden_states[1].backward(dy)
theirs = {name: parameter.grad.numpy() for name, parameter in first_layer.named_parameters()}
pairs = {name: (gradients[name], theirs[name]) for name in w}
pairs["x"] = dx, hidden_states[0].grad.numpy()
print(f"{'gradient of':36s} {'largest':>9s} {'difference':>11s}")
for name, (ours, engine) in pairs.items():
    difference = np.abs(ours - engine).max()
    print(f"{name:36s} {np.abs(engine).max():9.1e} {difference:11.1e}")
    assert difference < 1e-10

# %% [markdown]
# Two derivations by the same rules could share a mistake. So check one weight deep in the layer
# with finite differences: increase and decrease it by h, and compare the loss.


# %%
def loss_at(name: str, place, change: float) -> float:
    """The loss, with a number of one parameter changed."""
    before = w[name]
    w[name] = before.copy()
    w[name][place] += change
    loss = (dy * layer(x)[0]).sum()
    w[name] = before
    return float(loss)


name, place, h = "attention.self.query.weight", (5, 7), 1e-5
measured = (loss_at(name, place, h) - loss_at(name, place, -h)) / (2 * h)
print(f"{name}{list(place)}: {gradients[name][place]:.8f}, measured {measured:.8f}")
assert np.isclose(gradients[name][place], measured, rtol=1e-5)

# %% [markdown]
# One gradient in the table is zero up to rounding. The bias of the keys adds the same number,
# query·bias, to all scores of a row, and softmax is invariant to that. Changing it has no effect:

# %%
assert np.abs(gradients["attention.self.key.bias"]).max() < 1e-10
assert np.isclose(loss_at("attention.self.key.bias", slice(None), 10.0), (dy * y).sum())
assert not np.isclose(loss_at("attention.self.query.bias", slice(None), 10.0), (dy * y).sum())

# %% [markdown]
# ## Why the loss is not `y.sum()`
# Tutorial 1 showed it for softmax. It is worse here, because the layer *ends* with a layer norm.
# With dy = 1 and a new layer norm (weight 1), dx̂ = 1 = mean(dx̂) and mean(x̂) = 0: the true
# gradient is 0 for everything before it. A layer norm without the term from r would pass, and so
# would any wrong gradient before it.

# %%
for dx_hat, looks_right in ((np.ones((B, T, D)), True), (dy, False)):
    right = normalize_backward(dx_hat, x_hat, r)
    forgetful = r * (dx_hat - dx_hat.mean(axis=-1, keepdims=True))  # without the last term
    assert np.allclose(right, 0) == looks_right
    assert np.allclose(forgetful, right) == looks_right

# %% [markdown]
# ## Try
# Replace a None by your answer and run the script again: the assertion says whether it is right.
# Then break a line of the backward above and see which gradients differ: those below it, not above.

# %%
numbers_kept = None  # how many numbers does `kept` hold, as a multiple of B * T * D, rounded?
zero_at_padding = None  # if dy is 0 at padded positions, is dx 0 there? True or False

assert numbers_kept in (None, round(sum(a.size for a in vars(kept).values()) / x.size))
padded = inputs["attention_mask"] == 0  # (B, T)
hidden_states = model(**inputs, output_hidden_states=True).hidden_states
hidden_states[0].retain_grad()
hidden_states[1].backward(dy * ~padded[:, :, None])
assert zero_at_padding in (None, not hidden_states[0].grad.numpy()[padded].any())
# Next: the heads of BERT and its training, 06_heads_and_losses.py.
