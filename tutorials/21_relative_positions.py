# %% [markdown]
# # 21. Relative positions: a vector for each distance
# Attention alone does not know the order of the tokens: "dog bites man" and "man bites dog" are the
# same to it. BERT adds a position embedding to each token. Another way is to add to each score a
# term for the distance between query and key. We build the two that the transformers library has.
#
# **You will be able to** show that attention ignores the order, and compute the scores of
# "relative_key" and "relative_key_query" as the engine does.
#
# **You need** lesson 18 (attention) and lesson 14 (embeddings).
#
# **Minutes** 18
#
# | symbol | shape | meaning |
# |---|---|---|
# | T, K | | tokens, size of a head |
# | x | (T, K) | the input: a vector for each token |
# | q, k, v | (..., T, K) | queries, keys and values |
# | i, j | | position of a query, position of a key |
# | P | | largest number of positions |
# | E | (2P − 1, K) | a vector for each distance from −(P − 1) to P − 1 |
# | R | (T, T, K) | the vector of E for each pair of tokens |
# | A | (P, K) | absolute position embeddings, a vector for each position |

# %%
import math

import numpy as np

from tinybert import BertConfig, BertModel, manual_seed, no_grad, show

manual_seed(0)  # for the model's weights
rng = np.random.default_rng(0)
K = 4
to_q, to_k, to_v = rng.standard_normal((3, K, K))


def softmax(s: np.ndarray) -> np.ndarray:
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(x: np.ndarray) -> np.ndarray:
    return softmax(x @ to_q @ (x @ to_k).T / math.sqrt(K)) @ x @ to_v


# %% [markdown]
# ## Attention does not know the order
# Each output is a sum over all keys, and a sum does not depend on the order of its terms. If the
# tokens change places, the outputs change places in the same way (permutation equivariance).

# %%
words = ["dog", "bites", "man"]
vector = {word: rng.standard_normal(K) for word in words}
x = np.stack([vector[word] for word in words])
y, y_reversed = attention(x), attention(x[::-1])
show(y, "outputs of: dog bites man", rows=words)
show(y_reversed, "outputs of: man bites dog", rows=words[::-1])
assert np.allclose(y, y_reversed[::-1])

# %% [markdown]
# ## A table of distances
# The table E has one row for each distance i − j. NumPy reads a negative index from the end, so the
# index of the row is i − j + P − 1. Distance 0 is the row in the middle. With T = 5 and P = 6:

# %%
T, P = 5, 6
distance = np.arange(T)[:, None] - np.arange(T)  # (T, T): i - j
E = rng.standard_normal((2 * P - 1, K))
R = E[distance + P - 1]  # (T, T, K)
show(distance, "distance i - j: a row for each query, a column for each key")
show(distance + P - 1, "row of E")
print("R[1, 0]:", R[1, 0].round(2), "  R[4, 3]:", R[4, 3].round(2))
assert np.array_equal(R[1, 0], R[4, 3])  # both have distance 1

# %% [markdown]
# ## The scores
# - "relative_key": q·k + q·R (Shaw et al. 2018, arXiv:1803.02155, equation 5);
# - "relative_key_query": q·k + q·R + k·R (Huang et al. 2020, arXiv:2009.13658, method 4).
#
# The sum is divided by √K. In `einsum`, "ik,ijk->ij" means: for each pair i, j, multiply and sum
# over the last axis. Now the scores depend on the order of the tokens.


# %%
def relative_scores(q, k, E, with_key: bool) -> np.ndarray:
    """Return the scores (..., T, T) before softmax."""
    T, P = q.shape[-2], (len(E) + 1) // 2
    R = E[np.arange(T)[:, None] - np.arange(T) + P - 1]  # (T, T, K)
    scores = q @ k.swapaxes(-1, -2) + np.einsum("...ik,ijk->...ij", q, R)
    if with_key:
        scores += np.einsum("...jk,ijk->...ij", k, R)
    return scores / math.sqrt(q.shape[-1])


dog_first = relative_scores(x @ to_q, x @ to_k, E, with_key=False)
man_first = relative_scores(x[::-1] @ to_q, x[::-1] @ to_k, E, with_key=False)[::-1, ::-1]
show(dog_first, "scores of: dog bites man", rows=words, cols=words)
show(man_first, "scores of: man bites dog, rows and columns as above", rows=words, cols=words)
assert np.allclose(dog_first.diagonal(), man_first.diagonal())  # distance 0 in both
assert not np.isclose(dog_first[0, 2], man_first[0, 2])

# %% [markdown]
# ## Only the distance counts
# Put two more words before the sentence. All positions grow by 2, but no distance changes, so the
# scores between the three words stay. With position embeddings, added to x, they change.

# %%
longer = np.concatenate([rng.standard_normal((2, K)), x])
relative = relative_scores(longer @ to_q, longer @ to_k, E, with_key=False)[2:, 2:]
A = rng.standard_normal((P, K))
absolute = [(a @ to_q @ (a @ to_k).T / K**0.5)[-3:, -3:] for a in (x + A[:3], longer + A[:5])]
print("dog -> man, relative:", dog_first[0, 2].round(3), "and", relative[0, 2].round(3))
print("dog -> man, absolute:", absolute[0][0, 2].round(3), "and", absolute[1][0, 2].round(3))
assert np.allclose(dog_first, relative)
assert not np.isclose(absolute[0][0, 2], absolute[1][0, 2])

# %% [markdown]
# ## The same by the engine
# Paper and code differ. Shaw et al. use j − i, clip large distances, and have a second table for
# the values. BERT in transformers uses i − j, does not clip, and has one table in each layer.

# %%
H, ids, layer = 2, rng.integers(11, size=(1, T)), "encoder.layer.0.attention.self"
shape = {"hidden_size": H * K, "num_attention_heads": H, "num_hidden_layers": 1}
shape |= {"vocab_size": 11, "intermediate_size": 7, "max_position_embeddings": P}
for kind in ("relative_key", "relative_key_query"):
    config = BertConfig(**shape, position_embedding_type=kind, initializer_range=0.5)
    model = BertModel(config).eval()
    w = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    with no_grad():
        output = model(ids, output_hidden_states=True, output_attentions=True)
    x = output.hidden_states[0].numpy()[0]  # (T, H * K)
    q, k = (x @ w[f"{layer}.{n}.weight"].T + w[f"{layer}.{n}.bias"] for n in ("query", "key"))
    q, k = (a.reshape(T, H, K).swapaxes(0, 1) for a in (q, k))  # (H, T, K)
    E = w[f"{layer}.distance_embedding.weight"]
    by_hand = softmax(relative_scores(q, k, E, with_key=kind == "relative_key_query"))
    by_engine = output.attentions[0].numpy()[0]
    print(f"{kind}: NumPy {by_hand[0, 0].round(3)}, engine {by_engine[0, 0].round(3)}")
    assert np.allclose(by_hand, by_engine, atol=1e-6)

rows_of_E = None  # how many rows has E for 512 positions?
assert rows_of_E in (None, 2 * 512 - 1)

# %% [markdown]
# Attention ignores the order of its tokens. A vector for each distance, multiplied with the query
# (and the key) and added to the scores, gives it the order without absolute positions.
#
# Exercises: `attn/relative`.
# Next: 22_without_the_matrix.py.
