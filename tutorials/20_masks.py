# %% [markdown]
# # 20. Masks: which keys a query may see
# In a batch, short texts are padded to the length of the longest, and a model that predicts the
# next token must not see it. Both needs have one solution: a mask, added to the scores. Mistakes
# with masks raise no error, so the lesson also shows the tests that find them.
#
# **You will be able to** build a padding mask and a causal mask, test each of them, and say why the
# masked value is a finite number.
#
# **You need** lessons 18 (attention), 19 (heads) and 2 (broadcasting).
#
# **Minutes** 18
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, H, T, K | | texts in the batch, heads, tokens, size of a head |
# | q, k, v | (B, H, T, K) | queries, keys and values |
# | scores | (B, H, T, T) | q·k / √K: a row for each query, a column for each key |
# | weights | (B, H, T, T) | softmax(scores + mask) |
# | mask | broadcasts to the scores | 0 for a visible key, `lowest` for a hidden key |
# | lowest | | the smallest finite number of the dtype |

# %%
import math

import numpy as np

import tinybert.functional as F
from tinybert import BertConfig, BertModel, Tensor, manual_seed, show

rng = np.random.default_rng(0)
manual_seed(0)  # for the weights of a model
B, H, T, K = 2, 3, 5, 4
q, k, v = rng.standard_normal((3, B, H, T, K))
queries, keys = [f"query {i}" for i in range(T)], [f"key {i}" for i in range(T)]


def weights(q, k, mask=0.0) -> np.ndarray:
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]) + mask
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)  # softmax


# %% [markdown]
# ## The padding mask
# The tokenizer gives 1 for a token and 0 for padding, with shape (B, T). Padding is hidden as a
# *key*, from all heads and all queries, so the shape becomes (B, 1, 1, T). The weight of a hidden
# key is exp(lowest), which is exactly 0.

# %%
lowest = np.finfo(q.dtype).min
is_token = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])  # text 1 has two tokens of padding
padding = np.where(is_token == 1, 0, lowest)[:, None, None, :]  # (B, 1, 1, T)
masked = weights(q, k, padding)
show(masked[1, 0], "text 1, head 0", rows=queries, cols=keys)
print("largest weight of padding:", masked[1, :, :, 3:].max())
assert (masked[1, :, :, 3:] == 0).all()

# The test of a padding mask: text 1 must get the same output alone, without padding.
together = (masked @ v)[1, :, :3]
alone = weights(q[1, :, :3], k[1, :, :3]) @ v[1, :, :3]
print("in the batch:", together[0, 0].round(4), "  alone:", alone[0, 0].round(4))
assert np.allclose(together, alone)

# %% [markdown]
# ## Two common mistakes
# A mask on the *query* axis, (B, 1, T, 1), adds the same number to a whole row. Softmax ignores
# that: every token still attends to padding. A mask that multiplies the weights *after* softmax
# hides the padding, but the rows no longer sum to 1. The test above finds both.

# %%
on_queries = weights(q, k, padding.swapaxes(-1, -2))
after_softmax = weights(q, k) * is_token[:, None, None, :]
show(on_queries[1, 0, :3], "mistake 1: mask on the query axis", rows=queries[:3], cols=keys)
show(after_softmax[1, 0, :3], "mistake 2: mask after softmax", rows=queries[:3], cols=keys)
print("sums of the rows:", after_softmax[1, 0, :3].sum(-1).round(2))
for wrong in (on_queries, after_softmax):
    assert not np.allclose((wrong @ v)[1, :, :3], alone)
assert np.allclose(on_queries[1, :, :3], weights(q, k)[1, :, :3])  # as without a mask

# %% [markdown]
# ## Why not minus infinity?
# A query may have no visible key. With `lowest` all its scores round to the same number, and the
# weights are equal. With −10000, the constant of the first BERT code, they are as without a mask.
# Neither has a meaning, but both are finite. With −∞ softmax computes −∞ − (−∞) = NaN (not a
# number), which the backward pass carries to the parameters.

# %%
with np.errstate(invalid="ignore"):
    values = {"lowest": lowest, "-10000": -1e4, "-infinity": -np.inf, "no mask": 0.0}
    hidden = np.array([weights(q, k, value)[0, 0, 0] for value in values.values()])
show(hidden, "weights of query 0 if every key is hidden", rows=list(values), cols=keys)
assert np.allclose(hidden[0], 1 / T)
assert np.allclose(hidden[1], hidden[3])
assert np.isnan(hidden[2]).all()

# %% [markdown]
# ## The causal mask
# A model that predicts the next token may use tokens 0 to i at position i. So keys after the query
# are hidden: a triangle above the diagonal. With padding as well, a key is hidden if either mask
# hides it: np.minimum(causal, padding). The sum would be −∞, since lowest + lowest overflows.

# %%
causal = np.triu(np.full((T, T), lowest), k=1)
seen = weights(q, k, causal)
show(seen[0, 0], "text 0, head 0, causal", rows=queries, cols=keys)
by_hand = seen @ v
by_engine = F.scaled_dot_product_attention(*map(Tensor, (q, k, v)), is_causal=True).numpy()
print("NumPy: ", by_hand[0, 0, 1].round(4), "  engine:", by_engine[0, 0, 1].round(4))
assert np.allclose(by_hand, by_engine)
assert np.minimum(causal, padding).min() == lowest

# %% [markdown]
# The test of a causal mask: change the last token. No output before it may change, not by one bit.
# The triangle below the diagonal, a common mistake, fails, and so does attention without a mask. A
# whole model is tested in the same way. BERT is causal with `is_decoder=True` in its config.

# %%
k2, v2 = k.copy(), v.copy()
k2[:, :, -1], v2[:, :, -1] = rng.standard_normal((2, B, H, K))
triangles = {"causal": causal, "wrong triangle": causal.T, "no mask": np.zeros((T, T))}
changes = [
    np.abs(weights(q, k, mask) @ v - weights(q, k2, mask) @ v2).max((0, 1, 3))  # (T,)
    for mask in triangles.values()
]
show(changes, "change of output i", rows=list(triangles), cols=[f"out {i}" for i in range(T)])
assert (changes[0][:-1] == 0).all()
assert np.min(changes[1:], axis=0)[:-1].min() > 0


# %%
sizes = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
for is_decoder in (True, False):
    model = BertModel(BertConfig(**sizes, intermediate_size=8, is_decoder=is_decoder)).eval()
    a, b = (model([[1, 2, 3, last]]).last_hidden_state.numpy()[0] for last in (4, 5))
    print(
        f"is_decoder={is_decoder!s:5}: change of each token's output",
        np.abs(a - b).max(axis=1).round(4),
    )
    assert np.array_equal(a[:-1], b[:-1]) == is_decoder

pairs = None  # how many of the T * T weights of a causal head are not 0, for T = 5?
assert pairs in (None, np.count_nonzero(seen[0, 0]))

# %% [markdown]
# A mask adds `lowest` to the scores of hidden keys, before softmax and on the key axis. Two tests
# find the mistakes: a padded text alone, and a changed last token.
#
# Exercises: `attn/padding_mask`, `attn/causal`.
# Next: 21_relative_positions.py.
