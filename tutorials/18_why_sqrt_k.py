# %% [markdown]
# # 18. Why divide by √K
# Attention compares a query with every key by a dot product of K numbers. Before softmax, BERT
# divides each dot product by √K. Without this division attention with a large K hardly learns. Why?
#
# **You will be able to** write attention in NumPy, predict the variance of a dot product, and say
# what large scores do to softmax and to its gradient.
#
# **You need** lesson 15 (softmax) and lesson 2 (broadcasting).
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | T, K | | tokens, size of a query and of a key |
# | q, k, v | (..., T, K) | queries, keys and values |
# | s | (..., T, T) | scores: a row for each query, a column for each key |
# | p | (..., T, T) | attention weights, softmax(s): each row sums to 1 |

# %%
import math

import numpy as np

import tinybert.functional as F
from tinybert import Tensor, show

rng = np.random.default_rng(0)


def softmax(s: np.ndarray) -> np.ndarray:
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q, k, v) -> tuple[np.ndarray, np.ndarray]:
    """Return the output (..., T, K) and the weights (..., T, T)."""
    p = softmax(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]))
    return p @ v, p


# %% [markdown]
# ## Attention is a soft dictionary
# A Python dictionary returns the value of the key that equals the query. Attention returns a
# weighted mean of all values; the best matching key gets the largest weight (Vaswani et al. 2017,
# arXiv:1706.03762, section 3.2). The query below is key 2 times a factor. Factor 0 gives the mean
# of all values. A large factor gives the value of key 2, as a dictionary does.

# %%
k, v = np.eye(4), np.array([[10.0], [20.0], [30.0], [40.0]])
factors = np.array([0.0, 2.0, 5.0, 100.0])
y, p = attention(factors[:, None] * k[2], k, v)
show(p.round(2), "attention weights", rows=[f"factor {f:.0f}" for f in factors])
print("outputs:", y[:, 0].round(2), "  mean of the values:", v.mean(), "  value 2:", v[2, 0])
assert np.allclose(y[0], v.mean())
assert np.allclose(y[-1], v[2])

# %% [markdown]
# ## The variance of a dot product is K
# q·k is a sum of K products. If all numbers in q and k are independent, with mean 0 and variance 1,
# each product has variance 1. Variances of independent terms add up: q·k has variance K. Large
# scores saturate softmax: one key gets nearly all the weight. Scores divided by √K have variance 1,
# and the weights stay spread out for every K.

# %%
rows, labels = [], []
print("   K   variance of q·k   after division by sqrt(K)")
for K in (4, 64, 1024):
    q, k = rng.standard_normal((2, 2000, 8, K))
    s = q @ k.swapaxes(-1, -2)  # (2000, 8, 8)
    print(f"{K:4d} {s.var():17.1f} {(s / math.sqrt(K)).var():27.2f}")
    assert abs(s.var() / K - 1) < 0.1
    rows += [softmax(s[0, 0]), softmax(s[0, 0] / math.sqrt(K))]
    labels += [f"K {K}", "  divided"]
    largest, largest_divided = (softmax(a).max(-1).mean() for a in (s, s / math.sqrt(K)))
show(np.round(rows, 2), "weights of one query for 8 keys", rows=labels)
print(f"mean of the largest weight, K = 1024: {largest:.2f}, divided: {largest_divided:.2f}")
assert largest > 0.95
assert largest_divided < 0.4

# %% [markdown]
# ## A saturated softmax has no gradient
# The derivative of weight i with respect to score j is pᵢ(1 − pᵢ) if i = j, else −pᵢpⱼ. If one
# weight is almost 1, all of these products are almost 0. Then almost no gradient reaches q and k.
# The engine computes it: for each query, the length of the gradient, and the median of 2,000.

# %%
K = 1024
q, k, v = rng.standard_normal((3, 2000, 8, K))
sizes = {}
for name, scale in (("not divided", 1.0), ("divided", K**-0.5)):
    query = Tensor(q[:, :1], requires_grad=True)  # (2000, 1, K)
    y = (query @ Tensor(k).transpose(-1, -2) * scale).softmax(-1) @ Tensor(v)
    y.backward(rng.standard_normal(y.shape))  # a random gradient of the output
    sizes[name] = np.median(np.linalg.norm(query.grad.numpy(), axis=-1))
    print(f"scores {name:11s}: the gradient of a query has length {sizes[name]:.2g}")
assert sizes["not divided"] < sizes["divided"] / 100

# %% [markdown]
# ## The same by the engine
# `scaled_dot_product_attention` is one operation. It divides by √K.

# %%
q, k, v = rng.standard_normal((3, 3, 4))  # T = 3, K = 4
by_hand = attention(q, k, v)[0]
by_engine = F.scaled_dot_product_attention(*(Tensor(x[None, None]) for x in (q, k, v))).numpy()
show(by_hand, "NumPy", rows=["token 0", "token 1", "token 2"])
show(by_engine[0, 0], "engine", rows=["token 0", "token 1", "token 2"])
assert np.allclose(by_hand, by_engine)

largest_weight = None  # 8 keys have equal scores, a ninth has log(8) more: what is its weight?
assert largest_weight is None or np.isclose(largest_weight, softmax(np.log([1.0] * 8 + [8.0]))[-1])

# %% [markdown]
# A dot product of K numbers has variance K; the division by √K keeps the weights spread out and the
# gradient alive, whatever K is.
#
# Exercises: `attn/scores`.
#
# Next: 19_attention_heads.py.
