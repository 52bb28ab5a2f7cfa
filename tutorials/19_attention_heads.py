# %% [markdown]
# # 19. Heads of attention: several distributions for a token
# One softmax gives a token one distribution over the keys, and so one weighted mean of the values.
# But a token may need several others: a verb its subject and its object. BERT splits the features
# into heads, and each head attends for itself.
#
# **You will be able to** write multi-head attention in NumPy, split features into heads without
# mixing them, and say what heads cost.
#
# **You need** lesson 18 (attention) and NumPy's `reshape` and `swapaxes`.
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, T, D | | texts in the batch, tokens, features of a token |
# | H, K | | number of heads, size of a head: K = D / H |
# | x | (B, T, D) | the features that go into attention |
# | q, k, v | (..., T, K) | queries, keys and values; with heads (B, H, T, K) |
# | p | (..., T, T) | attention weights: each row sums to 1 |
# | to_q, to_k, to_v, to_out | (D, D) | the linear maps before and after attention |

# %%
import math

import numpy as np

import tinybert.functional as F
from tinybert import BertConfig, BertModel, Tensor, manual_seed, no_grad, show

rng = np.random.default_rng(0)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the output (..., T, K) and the weights (..., T, T)."""
    s = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    e = np.exp(s - s.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    return p @ v, p


# %% [markdown]
# ## One head can only mix
# "chased" is to read two tokens: its subject, "cat", and its object, "dog". With one head the
# weights can be one half for each. The output is then the mean of both values, and it is the same
# for "dog chased cat". Two heads give the two values in two parts of the output: no mean, and no
# confusion of subject and object.

# %%
words = ["cat", "chased", "dog"]
value = {"cat": [1.0, 0.0], "chased": [0.0, 0.0], "dog": [0.0, 1.0]}
table = {}
for text in (words, words[::-1]):
    v = np.array([value[word] for word in text])  # (T, K)
    one_head = np.array([0.5, 0.0, 0.5]) @ v  # half the token before, half the token after
    two_heads = np.concatenate([np.array([1.0, 0.0, 0.0]) @ v, np.array([0.0, 0.0, 1.0]) @ v])
    table[" ".join(text)] = [*one_head, *two_heads]
columns = ["cat", "dog", "1: cat", "1: dog", "2: cat", "2: dog"]
title = "output of 'chased': one head; 1: token before, 2: token after"
show(list(table.values()), title, rows=list(table), cols=columns)
first, second = np.array(list(table.values()))
assert np.array_equal(first[:2], second[:2])
assert not np.array_equal(first[2:], second[2:])

# %% [markdown]
# ## Split and merge
# The D features of a query are split into H heads of K features each, and so are those of keys and
# values. A score is now a sum of K products, so the divisor is √K, not √D. Each head needs its own
# matrix of scores, so the heads have to be an axis before T and K: reshape to (B, T, H, K), then
# swap. A direct reshape to (B, H, T, K) has the same shape, but mixes tokens with features.

# %%
B, T, H, K = 1, 3, 2, 2


def split(x: np.ndarray) -> np.ndarray:  # (B, T, D) -> (B, H, T, K)
    return x.reshape(B, T, H, K).swapaxes(1, 2)


def merge(x: np.ndarray) -> np.ndarray:  # (B, H, T, K) -> (B, T, D)
    return x.swapaxes(1, 2).reshape(B, T, H * K)


x = 10 * np.arange(T)[:, None] + np.arange(H * K) + np.zeros((B, 1, 1))  # 10 * token + feature
print("(B, T, D):", x.shape, " (B, H, T, K):", split(x).shape)
show(x[0], "x: 10 * token + feature", rows=["token 0", "token 1", "token 2"])
show(split(x)[0, 1], "head 1: features 2 and 3 of each token", cols=["2", "3"])
show(x.reshape(B, H, T, K)[0, 1], "head 1 by a direct reshape: wrong", cols=["2", "3"])
assert np.array_equal(split(x)[0, 1], x[0, :, 2:])
assert not np.array_equal(split(x), x.reshape(B, H, T, K))
assert np.array_equal(merge(split(x)), x)

# %% [markdown]
# ## All heads at once
# Multi-head attention is: three linear maps, split, attention, merge, and a linear map that mixes
# the outputs of the heads (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2). NumPy's `@` works
# on the last two axes, so one call computes all heads. The result equals a loop over the heads.

# %%
x = rng.standard_normal((B, T, H * K))
to_q, to_k, to_v, to_out = rng.standard_normal((4, H * K, H * K))
q, k, v = (split(x @ matrix) for matrix in (to_q, to_k, to_v))
at_once = merge(attention(q, k, v)[0]) @ to_out
by_loop = np.concatenate([attention(q[:, h], k[:, h], v[:, h])[0] for h in range(H)], axis=-1)
by_engine = F.scaled_dot_product_attention(Tensor(q), Tensor(k), Tensor(v)).numpy()
for name, y in {
    "at once": at_once,
    "loop": by_loop @ to_out,
    "engine": merge(by_engine) @ to_out,
}.items():
    show(y[0], name, rows=["token 0", "token 1", "token 2"])
    assert np.allclose(y, at_once)

# %% [markdown]
# ## What heads cost
# Four matrices of D × D for any H, so the number of parameters does not change. Nor does the number
# of products in all scores: H matrices of T² scores with K = D / H products each. Only the weights
# take more memory: H · T² numbers. We count both in BERT models with 1 to 12 heads.

# %%
manual_seed(0)
counts = []
for heads in (1, 4, 12):
    sizes = {"hidden_size": 24, "intermediate_size": 8, "vocab_size": 9, "num_hidden_layers": 1}
    model = BertModel(BertConfig(num_attention_heads=heads, **sizes)).eval()
    with no_grad():
        weights = model(np.ones((1, 5), int), output_attentions=True).attentions[0].numpy()
    counts.append([model.num_parameters(), weights.size])
show(counts, "T = 5", rows=["H = 1", "H = 4", "H = 12"], cols=["parameters", "weights"])
assert [count for count, _ in counts] == [counts[0][0]] * 3
assert [size for _, size in counts] == [heads * 5**2 for heads in (1, 4, 12)]

divisor = None  # BERT-base has D = 768 and H = 12. By which number does it divide q·k?
assert divisor in (None, math.sqrt(768 / 12))

# %% [markdown]
# Heads give a token several distributions, at no more parameters or products. The axis of the heads
# is before tokens and features, and a direct reshape to that shape is wrong.
#
# Exercises: `attn/heads`.
#
# Next: 20_masks.py.
