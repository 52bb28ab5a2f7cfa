# %% [markdown]
# # 45. Gated attention: a block of MEGA
# In the first layer of BERT each query and key is made from one token and its position. MEGA (Ma et
# al. 2022, arXiv:2209.10655) makes them from a moving average, which contains earlier tokens too.
# It has one head, and gates decide how much of the output of that head is used.
#
# **You will be able to** compute a block of MEGA, and say what its average and its gates do.
#
# **You need** lessons 18 (scores), 21 (relative positions) and 41 (moving average, silu).
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | T, D | | tokens, features: 10, 6 |
# | Z, V | | features of a query or key, of a value: 4, 7 |
# | x, h, m, y | (T, D) | the input, x after the norm, the moving average of h, the output |
# | shared | (T, Z) | from m: queries and keys are both made of it |
# | query, key, value | (T, Z), (T, Z), (T, V) | as in every attention |
# | reset, update | (T, V), (T, D) | from m: the two gates |
# | local, candidate | (T, D) | from m: the part without attention; the proposed new x |
# | bias | (T, T) | a learned number for each distance from query to key |
# | w | | the weights of the block, by name |

# %%
import math

import numpy as np

from tinybert import MegaConfig, MegaModel, Tensor, manual_seed, no_grad, show

words = ["the", "cat", "saw", "the", "dog", "because", "the", "cat", "ran", "off"]
T, D, Z, V = len(words), 6, 4, 7


def mega(function: str) -> MegaModel:
    """Return a MEGA with one block and random weights, without the feed-forward network."""
    manual_seed(0)
    config = MegaConfig(
        vocab_size=11, hidden_size=D, num_hidden_layers=1, intermediate_size=V,
        shared_representation_size=Z, ema_projection_size=3, max_positions=T, bidirectional=False,
        relative_positional_bias="simple", attention_activation=function, use_normalized_ffn=False,
        initializer_range=1.0,
    )  # fmt: skip
    return MegaModel(config, add_pooling_layer=False).double().eval()


# %% [markdown]
# ## Norm and average
# A word has the same x in each position. *Scalenorm* divides x by √(mean x²) and multiplies it by
# one learned number. The layer of lesson 41 gives m, which also depends on the words before.

# %%
model = mega("softmax")
layer = model.layers[0].mega_layer
w = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
rng = np.random.default_rng(0)
embedding = {word: rng.standard_normal(D) for word in sorted(set(words))}
x = np.stack([embedding[word] for word in words])
h = w["norm.norm.scalar"] * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)
with no_grad():
    m = layer.ema_gate(Tensor(h[None]))[0].numpy()[0]
print("h of both cats:", h[1, :3].round(4), h[7, :3].round(4))
print("m of both cats:", m[1, :3].round(4), m[7, :3].round(4))
assert np.array_equal(h[1], h[7])
assert not np.allclose(m[1], m[7], atol=0.01)

# %% [markdown]
# ## One projection for everything
# One matrix computes all parts that are made from m. Query and key are the same vector, `shared`,
# each with its own scale and offset for each feature: 4Z numbers, where BERT has two matrices.
# Values are made from h. So both cats have the same value, but different queries.


# %%
def silu(z: np.ndarray) -> np.ndarray:
    return z / (1 + np.exp(-z))


def linear(z: np.ndarray, name: str) -> np.ndarray:
    return z @ w[f"{name}.weight"].T + w[f"{name}.bias"]


update, shared, reset, local = np.split(linear(m, "mx_proj"), np.cumsum([D, Z, V]), axis=-1)
update, shared, reset = 1 / (1 + np.exp(-update)), silu(shared), silu(reset)
query, key = (shared * w["qk_weight"][n] + w["qk_bias"][n] for n in (0, 1))
value = silu(linear(h, "v_proj"))
show(query, "query", rows=words)
show(value, "value", rows=words)
assert np.allclose(value[1], value[7])
assert not np.allclose(query[1], query[7], atol=0.01)

# %% [markdown]
# ## Attention
# A learned bias for the distance is added to each score. The weights of a softmax sum to 1. MEGA
# can use *laplace* instead, a smooth step from 0 to 1 (the error function erf, shifted and scaled).
# Then each weight depends on its own score only. The scores are divided by T instead of √Z.

# %%
distance = np.arange(T) - np.arange(T)[:, None]  # from the query to the key
bias = w["rel_pos_bias.rel_pos_bias"][T - 1 + distance]
scores = query @ key.T / math.sqrt(Z) + bias
softmax = np.exp(scores - scores.max(axis=-1, keepdims=True))
softmax /= softmax.sum(axis=-1, keepdims=True)
erf = np.vectorize(math.erf)
laplace = (1 + erf((query @ key.T / T + bias - 0.707107) / (0.282095 * math.sqrt(2)))) / 2
for name, weights in (("softmax", softmax), ("laplace", laplace)):
    show(weights, f"{name}: query (down), key (across)", rows=words, cols=words)
    print("sums of the first weights:", weights.sum(axis=-1)[:4].round(3))
assert np.allclose(softmax.sum(axis=-1), 1)
assert np.ptp(laplace.sum(axis=-1)) > 0.1

# %% [markdown]
# ## The gates
# The reset gate multiplies the output of attention. The update gate, between 0 and 1, mixes x with
# the candidate: y = x + update · (candidate − x). We compare both kinds of weights with the engine.


# %%
def block(weights: np.ndarray) -> np.ndarray:
    candidate = silu(local + linear(weights @ value * reset, "h_proj"))
    return x + update * (candidate - x)


for name, weights in (("softmax", softmax), ("laplace", laplace)):
    with no_grad():
        output = mega(name)(inputs_embeds=Tensor(x[None]), output_attentions=True)
    y = output.last_hidden_state.numpy()[0]
    print(f"{name} y[7] ours:  ", block(weights)[7].round(5))
    print(f"{name} y[7] engine:", y[7].round(5))
    assert np.allclose(y, block(weights))
    assert np.allclose(output.attentions[0].numpy()[0, 0], weights)

# %% [markdown]
# If the update gate is 0, y equals x. A large negative bias before the sigmoid has this effect.

# %%
layer.mx_proj.bias.data[:D] = -50
with no_grad():
    closed = model(inputs_embeds=Tensor(x[None])).last_hidden_state.numpy()[0]
print("x[7] and y[7]:", x[7, :4].round(4), closed[7, :4].round(4))
assert np.allclose(closed, x)

# %% [markdown]
# MEGA has one head whose queries and keys come from a moving average. The reset gate scales the
# output of attention, and the update gate mixes the candidate with x.
#
# Exercises: `attn/scores`, `parts/rms_norm`.
#
# Next: 46_chunks_and_decoding.py.
