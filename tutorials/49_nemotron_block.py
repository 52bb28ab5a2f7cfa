# %% [markdown]
# # 49. A block of Nemotron, one token by hand
# Nemotron is a modern decoder. It has the rotary positions of lesson 47 and the grouped queries of
# lesson 48, and two parts of its own: a layer norm whose weights are stored minus 1, and a squared
# ReLU. We decode one token with a cache in NumPy, and get the logits of the engine.
#
# **You will be able to** compute a step of a decoder from its weights and its cache, and find a
# norm that adds 1 twice.
#
# **You need** lessons 17 (layer norm), 37 (cache), 47 (rotary) and 48 (grouped queries).
#
# **Minutes** 18
#
# | symbol | shape | meaning |
# |---|---|---|
# | V, D, L | | vocabulary, features of a token, blocks: 60, 24, 2 |
# | H, G, K, R | | query heads, key heads, size of a head, rotated features: 6, 2, 8, 4 |
# | P | | tokens in the cache: 8 |
# | x | (D) | the features of the new token |
# | q | (H, K) | its queries |
# | keys, values | (G, P + 1, K) | those in the cache, and the new one |
# | w | | the weights, by name |

# %%
import numpy as np

import tinybert.functional as F
from tinybert import NemotronConfig, NemotronForCausalLM, Tensor, bug, no_grad, show

V, D, L, H, G, K, R, P = 60, 24, 2, 6, 2, 8, 4, 8
config = NemotronConfig(
    vocab_size=V, hidden_size=D, intermediate_size=40, num_hidden_layers=L, head_dim=K,
    num_attention_heads=H, num_key_value_heads=G, partial_rotary_factor=R / K,
)  # fmt: skip
model = NemotronForCausalLM(config).to(np.float64).eval()
rng = np.random.default_rng(0)
for parameter in model.parameters():
    parameter.data[...] = 0.3 * rng.standard_normal(parameter.shape)  # no training is needed
w = {name: parameter.numpy() for name, parameter in model.named_parameters()}
ids = rng.integers(V, size=P + 1)

# %% [markdown]
# ## The norm: weight + 1
# LayerNorm1P is layer norm, (x − mean) / √(variance + eps), with the scale weight + 1 and a bias.
# Weight decay pulls a stored weight to 0, and so the scale to 1 instead of 0. A stored weight of 0
# means a scale of 1. A converter that adds 1 to the weights makes the model add it twice.


# %%
def norm(x: np.ndarray, name: str) -> np.ndarray:
    x_hat = (x - x.mean()) / np.sqrt(x.var() + config.norm_eps)
    return x_hat * (w[f"{name}.weight"] + 1) + w[f"{name}.bias"]


stored = 0.5 ** np.arange(6)  # a weight under decay, much faster than in training
scales = np.array([stored, stored + 1])
rows, steps = ["layer norm", "LayerNorm1P"], [f"step {n}" for n in range(6)]
show(scales, "the scale that belongs to this weight", rows=rows, cols=steps)
assert scales[0, -1] < 0.1
assert 1 < scales[1, -1] < 1.1

# %% [markdown]
# ## The activation: max(x, 0)²
# The squared ReLU was found by a search over architectures (So et al. 2021, arXiv:2109.08668). For
# x > 0 its slope is 2x: a large input counts more. For x < 0 output and slope are exactly 0, so
# many numbers inside the feed-forward block are 0. GELU is close to 0 there, but not equal.

# %%
points = np.arange(-3.0, 4.0)
both = {"relu2": np.maximum(points, 0) ** 2, "gelu": F.gelu(Tensor(points)).numpy()}
show(list(both.values()), "two activations", rows=list(both), cols=[f"{x:g}" for x in points])
assert np.allclose(F.relu2(Tensor(points)).numpy(), both["relu2"])
assert not both["relu2"][:3].any()
assert both["gelu"][:3].all()

# %% [markdown]
# ## One token through all blocks
# The engine reads P tokens and keeps their keys and values. The new token has position P: its
# queries and its key are rotated by the angles P · θᵢ, θᵢ = 10000^(−2i / R) for pair i (lesson 47).
# The key is appended to those in the cache, which were rotated by their own positions. No mask is
# needed, since no key is later than the token.


# %%
def rotate(x: np.ndarray, position: int) -> np.ndarray:
    angle = position * 10000.0 ** (-np.arange(0, R, 2) / R)
    a, b, rest = np.split(x, [R // 2, R], axis=-1)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=-1)


def attend(x: np.ndarray, block: str, past: tuple) -> np.ndarray:
    q, k, v = (w[f"{block}.self_attn.{n}_proj.weight"] @ x for n in "qkv")
    q, k, v = q.reshape(H, K), k.reshape(G, 1, K), v.reshape(G, 1, K)
    keys = np.concatenate([past[0].numpy()[0], rotate(k, P)], axis=1)  # (G, P + 1, K)
    values = np.concatenate([past[1].numpy()[0], v], axis=1)
    q = rotate(q, P).reshape(G, H // G, K)  # the heads that share a key head
    e = np.exp(q @ keys.swapaxes(1, 2) / np.sqrt(K))
    return w[f"{block}.self_attn.o_proj.weight"] @ (e / e.sum(-1, keepdims=True) @ values).ravel()


# %%
def decode(token: int, cache) -> np.ndarray:
    x = w["model.embed_tokens.weight"][token]
    for i, past in enumerate(cache):
        block = f"model.layers.{i}"
        x = x + attend(norm(x, f"{block}.input_layernorm"), block, past)
        up = w[f"{block}.mlp.up_proj.weight"] @ norm(x, f"{block}.post_attention_layernorm")
        x = x + w[f"{block}.mlp.down_proj.weight"] @ np.maximum(up, 0) ** 2
    return w["lm_head.weight"] @ norm(x, "model.norm")


# %%
with no_grad():
    cache = tuple(model(ids[None, :P], use_cache=True).past_key_values)
    engine = model(ids[None]).logits.numpy()[0, -1]
    with bug("layernorm1p-adds-one-twice"):
        twice = model(ids[None]).logits.numpy()[0, -1]
ours = decode(ids[P], cache)
print("keys in the cache of each block, (1, G, P, K):", cache[0][0].shape)
rows = ["by hand, with cache", "engine, whole text", "1 is added twice"]
show([ours[:6], engine[:6], twice[:6]], "logits of the next token", rows=rows)
assert np.allclose(ours, engine)
assert np.abs(twice - engine).max() > 1

# %% [markdown]
# A block of Nemotron is x + attention(norm(x)), then x + feed-forward(norm(x)). No linear map has a
# bias, the norm adds 1 to its weights, and the activation is max(x, 0)².
#
# Exercises: `parts/silu_relu2`.
# Next: 50_what_the_cache_saves.py.
