# %% [markdown]
# # 48. Grouped-query attention
# A decoder keeps the keys and values of all tokens in memory. For many users at once they need more
# memory than the weights. Grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245) lets
# several query heads share one head of keys and values. Which head belongs to which?
#
# **You will be able to** write grouped-query attention by broadcasting, find the wrong order of
# heads by a test, and compute the memory of a token.
#
# **You need** lesson 19 (heads) and lesson 2 (broadcasting).
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, T, K | | texts in the batch, tokens, size of a head |
# | H | | number of query heads |
# | G | | number of key/value heads, a divisor of H |
# | h | | number of a query head, from 0 |
# | q | (B, H, T, K) | queries |
# | k, v | (B, G, T, K) | keys and values |
# | L | | number of layers |

# %%
import numpy as np

import tinybert.functional as F
from tinybert import NemotronConfig, show

rng = np.random.default_rng(0)
B, H, G, T, K = 2, 6, 2, 5, 4


def softmax(s: np.ndarray) -> np.ndarray:
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    return softmax(q @ k.swapaxes(-1, -2) / np.sqrt(K)) @ v


q = rng.standard_normal((B, H, T, K))
k, v = rng.standard_normal((2, B, G, T, K))

# %% [markdown]
# ## Query head h uses key head h // (H/G)
# Consecutive query heads share a key head: with H = 6 and G = 2, heads 0, 1, 2 use key head 0, and
# heads 3, 4, 5 use key head 1. So we split the axis of H query heads into (G, H/G), and give keys
# and values an axis of size 1 there. Broadcasting does the rest, and copies no key.


# %%
def grouped(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Attend from H query heads to G heads of keys and values."""
    split = q.reshape(B, G, H // G, T, K)
    return attention(split, k[:, :, None], v[:, :, None]).reshape(B, H, T, K)


used = np.arange(H)[:, None] // (H // G) == np.arange(G)
show(
    used,
    "which key head a query head uses",
    rows=[f"query head {h}" for h in range(H)],
    cols=["key 0", "key 1"],
)
one_by_one = [attention(q[:, h], k[:, h // 3], v[:, h // 3]) for h in range(H)]
print("head 4, token 0, by broadcasting:", grouped(q, k, v)[0, 4, 0].round(4))
print("head 4, token 0, with key head 1:", one_by_one[4][0, 0].round(4))
assert np.allclose(grouped(q, k, v), np.stack(one_by_one, axis=1))

# %% [markdown]
# ## Repeat, not tile
# To use code for H key heads, one copies each key head H/G times in place: 0 0 0 1 1 1. This is
# `np.repeat`. `np.tile` gives 0 1 0 1 0 1. Both results have the same shape, so no error is raised.
# The picture shows the largest difference in each head. Tiling is wrong in heads 1 and 4 only: a
# test that looks at head 0 does not find it.

# %%
repeated = attention(q, k.repeat(H // G, axis=1), v.repeat(H // G, axis=1))
tiled = attention(q, np.tile(k, (1, H // G, 1, 1)), np.tile(v, (1, H // G, 1, 1)))
difference = np.stack([np.abs(x - grouped(q, k, v)).max((0, 2, 3)) for x in (repeated, tiled)])
show(
    difference.round(9),
    "largest difference to grouped attention",
    rows=["repeated", "tiled"],
    cols=[f"head {h}" for h in range(H)],
)
print("shapes:", repeated.shape, tiled.shape)
print("wrong heads, tiled:", np.flatnonzero(difference[1] > 0.1))
assert np.allclose(repeated, grouped(q, k, v))
assert np.flatnonzero(difference[1] > 0.1).tolist() == [1, 4]

# %% [markdown]
# ## The same by the engine
# `scaled_dot_product_attention` expects G = H, unless `enable_gqa=True` allows a smaller G.
# G = H is the attention of BERT. G = 1 is called multi-query attention.

# %%
for heads in (1, 2, 3, 6):
    keys, values = rng.standard_normal((2, B, heads, T, K))
    full = attention(q, keys.repeat(H // heads, axis=1), values.repeat(H // heads, axis=1))
    by_engine = F.scaled_dot_product_attention(q, keys, values, enable_gqa=True).numpy()
    print(f"G = {heads}: NumPy {full[0, 4, 0, :2].round(4)}, engine", end=" ")
    print(by_engine[0, 4, 0, :2].round(4))
    assert np.allclose(full, by_engine)

# %% [markdown]
# ## What it saves
# In each layer a token leaves a key and a value of G·K numbers each. The number of multiplications
# with keys and values stays the same, because all H query heads still use them. But the memory and
# the weights that make keys and values shrink to G/H.


# %%
def bytes_of_a_token(config: NemotronConfig) -> int:
    """Return the memory of a token: keys and values of L layers, 2 bytes for each number."""
    G, K, L = config.num_key_value_heads, config.head_dim, config.num_hidden_layers
    return 2 * L * G * K * 2


choices = [24, 8, 4, 1]  # values of G; Minitron-4B has H = 24 query heads
sizes = [
    bytes_of_a_token(NemotronConfig.preset("minitron-4b", num_key_value_heads=g)) for g in choices
]
show(np.divide(sizes, 1024), "KiB for a token of Minitron-4B", cols=[f"G = {g}" for g in choices])
minitron = NemotronConfig.preset("minitron-4b")
print("Minitron-4B: H =", minitron.num_attention_heads, " G =", minitron.num_key_value_heads)
print(f"bytes for a token: {bytes_of_a_token(minitron):,}; with G = H: {sizes[0]:,}")
assert bytes_of_a_token(minitron) == sizes[0] // 3 == 128 * 1024

key_head = None  # question: which key head does query head 13 of Minitron-4B use?
assert key_head in (None, 13 // (24 // 8))

# %% [markdown]
# H/G consecutive query heads share a head of keys and values. The output has the same shape as
# before, and a token needs G/H of the memory.
#
# Exercises: `attn/heads`.
# Next: 49_nemotron_block.py.
