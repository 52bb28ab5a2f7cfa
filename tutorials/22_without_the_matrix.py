# %% [markdown]
# # 22. Attention without the T × T matrix
# The attention weights of T tokens are T² numbers in each head: for 32,000 tokens, 4 GB. The output
# has T · K numbers only. Flash attention computes it block by block and never stores the weights.
# The result is equal, up to rounding.
#
# **You will be able to** compute softmax over a stream of scores with a running maximum, write
# attention by blocks, and measure the memory that it saves.
#
# **You need** lesson 18 (attention) and lesson 15 (why softmax subtracts the maximum).
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | T, K | | tokens, size of a head |
# | q, k, v | (..., T, K) | queries, keys and values |
# | sⱼ, vⱼ | | the score of key j for one query, and the value of key j |
# | top | (..., T, 1) | the largest score so far |
# | total | (..., T, 1) | Σ exp(sⱼ − top) over the keys so far |
# | gathered | (..., T, K) | Σ exp(sⱼ − top) vⱼ over the keys so far |

# %%
import math
import tracemalloc

import numpy as np

import tinybert.functional as F
from tinybert import Tensor, no_grad, show

rng = np.random.default_rng(0)


def attention(q, k, v) -> np.ndarray:
    s = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])  # (..., T, T)
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True) @ v


# %% [markdown]
# ## Two sums
# The output of one query is a fraction of two sums over the keys:
#
#     output = Σ exp(sⱼ) vⱼ / Σ exp(sⱼ)
#
# A sum can be computed block by block. But exp(1000) overflows, so softmax subtracts the maximum
# from the scores, and the maximum is not known before the last block. Online softmax subtracts the
# largest score *so far*, `top`. When a later block has a larger score, both sums are corrected:
#
#     exp(s − new) = exp(s − old) · exp(old − new)
#
# (Milakov and Gimelshein 2018, arXiv:1805.02867). One query with six keys, two at a time:

# %%
scores, values = np.array([1.0, 0.0, 3.0, 2.0, 1.0, 5.0]), np.arange(6.0)
top, total, gathered, steps = -np.inf, 0.0, 0.0, []
for start in range(0, 6, 2):
    block = slice(start, start + 2)
    higher = max(top, scores[block].max())  # the new top
    shrink = math.exp(top - higher)  # 1 if the maximum stays, less if it grows
    e = np.exp(scores[block] - higher)
    total = total * shrink + e.sum()
    gathered = gathered * shrink + e @ values[block]
    top = higher
    steps.append([top, shrink, total, gathered, gathered / total])
columns = ["top", "shrink", "total", "gather", "output"]
show(steps, "after each block", rows=["keys 0, 1", "keys 2, 3", "keys 4, 5"], cols=columns)
at_once = np.exp(scores) @ values / np.exp(scores).sum()
print("block by block:", round(gathered / total, 6), "  at once:", round(at_once, 6))
assert np.isclose(gathered / total, at_once)


# %% [markdown]
# ## All queries
# The same loop, with matrices instead of numbers. The scores are multiplied by 1,000, so that exp
# without the maximum would overflow. The number of keys in a block makes no difference.


# %%
def blockwise(q, k, v, size: int) -> np.ndarray:
    """Return the output of attention, computed with `size` keys at a time."""
    top = np.full((*q.shape[:-1], 1), -np.inf)
    total = gathered = 0.0
    for start in range(0, k.shape[-2], size):
        block = slice(start, start + size)
        s = q @ k[..., block, :].swapaxes(-1, -2) / math.sqrt(q.shape[-1])  # (..., T, size)
        higher = np.maximum(top, s.max(-1, keepdims=True))
        shrink, e = np.exp(top - higher), np.exp(s - higher)
        total = total * shrink + e.sum(-1, keepdims=True)
        gathered = gathered * shrink + e @ v[..., block, :]
        top = higher
    return gathered / total


# %%
q, k, v = rng.standard_normal((3, 2, 7, 4))  # two heads, T = 7, K = 4
q = 1000 * q
full, tokens = attention(q, k, v), [f"token {i}" for i in range(7)]
show(full[0], "head 0 with the matrix", rows=tokens)
show(blockwise(q, k, v, 3)[0], "head 0, 3 keys at a time", rows=tokens)
for size in (1, 2, 3, 7, 99):
    assert np.allclose(blockwise(q, k, v, size), full)

# %% [markdown]
# ## Memory
# `scaled_dot_product_attention` of the engine works by blocks of queries and keys. We measure the
# largest memory in use, and divide it by the size of the T × T matrix. (Flash attention, Dao et al.
# 2022, arXiv:2205.14135, also keeps each block in the fast memory of a GPU, and computes the scores
# a second time in the backward pass.)


# %%
def with_matrix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v


def peak_of(function, *inputs: Tensor) -> tuple[float, np.ndarray]:
    """Return the largest memory in use during the call, in T × T matrices, and the result."""
    tracemalloc.start()
    with no_grad():
        y = function(*inputs).numpy()
    peak = tracemalloc.get_traced_memory()[1] / (8 * y.shape[-2] ** 2)  # 8 bytes a number
    tracemalloc.stop()
    return peak, y


# %%
peaks, lengths = [], (500, 1000, 1500)
for T in lengths:
    inputs = [Tensor(a) for a in rng.standard_normal((3, 1, 1, T, 16))]  # q, k, v
    matrix_peak, y = peak_of(with_matrix, *inputs)
    block_peak, y_by_blocks = peak_of(F.scaled_dot_product_attention, *inputs)
    assert np.allclose(y, y_by_blocks)
    peaks.append([matrix_peak, block_peak])
show(peaks, "peak memory / size of the matrix", rows=lengths, cols=["matrix", "blocks"])
assert all(matrix_peak > 1 > block_peak for matrix_peak, block_peak in peaks)

largest = None  # T = 8,000, 12 heads, 4 bytes a number: how many MB (10⁶ bytes) are the weights?
assert largest in (None, 12 * 8000**2 * 4 // 10**6)

# %% [markdown]
# Attention is a fraction of two sums. Both can be computed block by block with a running maximum,
# so the T × T matrix is never stored.
#
# Exercises: `attn/blocks`.
# Next: 23_what_heads_look_at.py.
