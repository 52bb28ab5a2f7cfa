# %% [markdown]
# # 12. Rotary embeddings, grouped-query attention, and the key/value cache
# A modern decoder differs from BERT in a few parts. Rotary position embeddings rotate queries and
# keys (RoPE, Su et al. 2021, arXiv:2104.09864), several query heads share one head of keys and
# values (grouped-query attention, Ainslie et al. 2023, arXiv:2305.13245), and generation uses a
# key/value cache. We write each in NumPy, build a Nemotron from them, compare it with tinybert's,
# and measure what the cache saves and what it costs.

# %%
import math

import numpy as np

import tinybert.functional as F
from tinybert import NemotronConfig, NemotronForCausalLM, Tensor, no_grad
from tinybert.nn import KeyValueCache

rng = np.random.default_rng(0)
minitron = NemotronConfig.preset("minitron-4b")  # only its sizes, without weights

# %% [markdown]
# ## A position is an angle
# Let queries and keys have two features. Rotate the query at position m by the angle mθ, the key at
# position n by nθ. The inverse rotation is the transpose, and angles add: R(mθ)ᵀ R(nθ) = R((n−m)θ).
# So the score
#
#     (R(mθ) q) · (R(nθ) k)  =  qᵀ R(mθ)ᵀ R(nθ) k  =  q · R((n−m)θ) k
#
# depends on the positions only through their distance. Rotations keep the norm of vectors, have no
# parameters, and no maximum position.


# %%
def rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


(q, k), rate = rng.standard_normal((2, 2)), 0.3
scores = [(rotation(m * rate) @ q) @ (rotation((m + 5) * rate) @ k) for m in (0, 7, 4000)]
assert np.allclose(scores, q @ rotation(5 * rate) @ k)
assert math.isclose(np.linalg.norm(rotation(2.5) @ q), np.linalg.norm(q))

# %% [markdown]
# ## Many pairs, each with its own frequency
# A rotation by θ is periodic, with a wavelength of 2π/θ tokens. So a head of R features has R/2
# pairs, and pair m is rotated by θₘ = 10000^(−2m/R) per token: the first pairs distinguish adjacent
# positions, the last ones long distances. Pairs are the features 2m and 2m + 1 in the paper; here,
# as in GPT-NeoX, m and m + R/2. Models were trained with angles in float32; we round to float32
# too.


# %%
def angles(positions: np.ndarray, R: int, base: float = 10000.0) -> np.ndarray:
    """Return the angles (..., T, R/2) of positions (..., T)."""
    exponents = np.arange(0, R, 2, dtype=np.float32) / np.float32(R)
    rates = 1 / (base ** exponents.astype(np.float64)).astype(np.float32)
    return (positions[..., None].astype(np.float32) * rates).astype(np.float64)


def turn(x: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotate the first R features of x (..., T, K) by angles (..., T, R/2)."""
    half = angle.shape[-1]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=-1)


T, R, K = 12, 8, 16
q, k = rng.standard_normal((2, T, R))
angle = angles(np.arange(T), R)
twice = np.concatenate([angle, angle], axis=-1)
assert np.allclose(turn(q, angle), F.rotary_embedding(q, np.cos(twice), np.sin(twice)).numpy())

wavelengths = 2 * math.pi / angles(np.ones(1), minitron.features_to_turn)[0]  # in tokens
print("wavelengths, of every eighth pair:", *(f"{length:.0f}" for length in wavelengths[::8]))
assert math.isclose(wavelengths[0], 2 * math.pi, rel_tol=1e-6)
assert wavelengths[-1] > 11 * minitron.max_position_embeddings  # never a full rotation

# %% [markdown]
# The two orders are the same rotation with permuted features, and a common permutation of q and k
# changes no score. So weights are converted by permuting the rows of q_proj and k_proj. Without it
# all shapes fit, but the scores are wrong. The order of the paper is short with complex numbers: a
# pair is one number, and a rotation is a multiplication by e^(i angle).

# %%
turned_q, turned_k = ((x[:, ::2] + 1j * x[:, 1::2]) * np.exp(1j * angle) for x in (q, k))
paper = (turned_q.conj() @ turned_k.T).real  # the scores
order = [*range(0, R, 2), *range(1, R, 2)]
assert np.allclose(turn(q[:, order], angle) @ turn(k[:, order], angle).T, paper)
forgotten = turn(q, angle) @ turn(k, angle).T
assert np.abs(forgotten - paper).max() > 1
assert np.allclose(forgotten.diagonal(), paper.diagonal())  # distance 0: no rotation

# %% [markdown]
# ## Partial rotary embeddings
# Nemotron rotates only half of a head (`partial_rotary_factor`): R of K features. The others are
# independent of the position. A common mistake: fill the frequencies with zeros to K/2 and rotate
# the whole head. But then the pairs are m and m + K/2, not m and m + R/2. The norm is still kept,
# and scores still depend on the distance only. Only a test of the unchanged features finds it.

# %%
q, k = rng.standard_normal((2, T, K))
padded = np.concatenate([angle, np.zeros((T, (K - R) // 2))], axis=-1)
same_q, same_k = q[:1].repeat(T, axis=0), k[:1].repeat(T, axis=0)
for way in (angle, padded):
    scores = turn(same_q, way) @ turn(same_k, way).T
    assert np.allclose(scores[1:, 1:], scores[:-1, :-1])  # equal along each diagonal
    assert np.allclose(np.linalg.norm(turn(q, way), axis=-1), np.linalg.norm(q, axis=-1))
assert np.array_equal(turn(q, angle)[:, R:], q[:, R:])
assert not np.array_equal(turn(q, padded)[:, R:], q[:, R:])

# %% [markdown]
# ## Grouped-query attention
# H query heads, but only G key/value heads: query head h uses key head h // (H/G). G = H is the
# attention of tutorial 4; G = 1 is multi-query attention. In NumPy that is a reshape to (G, H/G)
# and broadcasting. It equals attention with *repeated* key heads (0 0 0 1 1 1), not tiled (0 1 0 1
# 0 1), another mistake where all shapes fit. The number of products is the same; k_proj, v_proj and
# the key/value cache shrink to G/H.

# %%
work = {"multiply-adds": 0}


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute a @ b, and count the multiply-adds."""
    c = a @ b
    work["multiply-adds"] += c.size * a.shape[-1]
    return c


def attention(query, key, value, hidden) -> np.ndarray:
    """Attend from (B, H, T, K) to (B, G, S, K); the mask (B or 1, T, S) is true for hidden keys."""
    B, H, T, K = query.shape
    G = key.shape[1]
    query = query.reshape(B, G, H // G, T, K)
    key, value = key[:, :, None], value[:, :, None]  # (B, G, 1, S, K): not copied
    scores = product(query, key.swapaxes(-1, -2)) / math.sqrt(K)  # (B, G, H/G, T, S)
    scores[np.broadcast_to(hidden[:, None, None], scores.shape)] = np.finfo(scores.dtype).min
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return product(e / e.sum(-1, keepdims=True), value).reshape(B, H, T, K)


B, H, G, S = 2, 6, 2, 5
query, key = rng.standard_normal((B, H, S, K)), rng.standard_normal((B, G, S, K))
value, nothing = rng.standard_normal((B, G, S, K)), np.zeros((1, S, S), bool)
grouped = attention(query, key, value, nothing)
repeated = [part.repeat(H // G, axis=1) for part in (key, value)]
tiled = [np.tile(part, (1, H // G, 1, 1)) for part in (key, value)]
assert np.allclose(grouped, attention(query, *repeated, nothing))
assert not np.allclose(grouped, attention(query, *tiled, nothing))


def cache_bytes(config: NemotronConfig, number: int = 2) -> int:
    """Return the bytes of a token in the cache: keys and values of all layers, 2 bytes (BF16)."""
    heads = config.num_key_value_heads
    return 2 * config.num_hidden_layers * heads * config.head_dim * number


all_heads = NemotronConfig.preset("minitron-4b", num_key_value_heads=24)
print(f"a token of Minitron-4B: {cache_bytes(minitron):,} bytes; G = H: {cache_bytes(all_heads):,}")
assert cache_bytes(minitron) == cache_bytes(all_heads) // 3 == 128 * 1024

# %% [markdown]
# ## A Nemotron
# Two parts are left. The activation relu2(x) = max(x, 0)² was found by architecture search (So et
# al. 2021, arXiv:2109.08668); it has no gate. LayerNorm1P multiplies by weight + 1: weight decay
# pulls the scale towards 1, not 0 (a converter of weights must not add 1 twice). Now all together.
# Past keys are stored *rotated*, each by its own position; a new key is rotated by its position and
# appended. Token i attends to the keys 0 to i, without padding.

# %%
V, D, L, K = 60, 24, 2, 8  # and H = 6, G = 2; 4 of 8 features are rotated
config = NemotronConfig(
    vocab_size=V, hidden_size=D, intermediate_size=40, num_hidden_layers=L, head_dim=K,
    num_attention_heads=H, num_key_value_heads=G, eos_token_id=None,
)  # fmt: skip
model = NemotronForCausalLM(config).to(np.float64).eval()
W = {name: 0.3 * rng.standard_normal(p.shape) for name, p in model.state_dict().items()}
model.load_state_dict(W)  # random norms too: no weight is 0 or 1


def linear(x: np.ndarray, name: str) -> np.ndarray:
    return product(x, W[f"{name}.weight"].T)


def norm(x: np.ndarray, name: str) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_eps)
    return x * (W[f"{name}.weight"] + 1) + W[f"{name}.bias"]


def nemotron(ids, mask=None, positions=None, past=None):
    """Return logits (B, T, V) for ids (B, T), and the cache: L pairs (B, G, P + T, K)."""
    (B, T), P = ids.shape, past[0][0].shape[2] if past else 0
    places = np.arange(P, P + T)
    positions = places[None] if positions is None else positions
    angle = angles(positions, config.features_to_turn)[:, None]
    hidden = (np.arange(P + T) > places[:, None])[None]  # (1, T, P + T): later keys
    if mask is not None:
        hidden = hidden | (mask == 0)[:, None]
    x, cache = W["model.embed_tokens.weight"][ids], []  # (B, T, D)
    for i in range(L):
        at = f"model.layers.{i}."
        y = norm(x, at + "input_layernorm")
        q, k, v = (linear(y, f"{at}self_attn.{part}_proj").reshape(B, T, -1, K) for part in "qkv")
        q, k, v = (part.swapaxes(1, 2) for part in (q, k, v))  # (B, H or G, T, K)
        q, k = turn(q, angle), turn(k, angle)
        if past:
            k, v = (np.concatenate(both, axis=2) for both in zip(past[i], (k, v), strict=True))
        cache.append((k, v))
        context = attention(q, k, v, hidden).swapaxes(1, 2).reshape(B, T, H * K)
        x = x + linear(context, at + "self_attn.o_proj")
        y = linear(norm(x, at + "post_attention_layernorm"), at + "mlp.up_proj")
        x = x + linear(np.maximum(y, 0) ** 2, at + "mlp.down_proj")
    return linear(norm(x, "model.norm"), "lm_head"), cache


def tinyberts(ids, **options) -> np.ndarray:
    with no_grad():
        return model(input_ids=ids, **options).logits.numpy()


ids = rng.integers(V, size=(2, 9))
logits, cache = nemotron(ids)
assert np.abs(logits - tinyberts(ids)).max() < 1e-10
_, past = nemotron(ids[:, :5])  # in two parts: the same
assert np.abs(nemotron(ids[:, 5:], past=past)[0] - logits[:, 5:]).max() < 1e-10

# %% [markdown]
# ## What the cache saves
# With causal attention a new token changes no earlier key or value. Without a cache a step over T
# tokens needs T (M + 2LHKT) multiply-adds, where M is the number of entries of all matrices, and
# 2LHK the products with one key and one value. With a cache M + 2LHKT are enough.


# %%
def write(prompt: np.ndarray, n: int, use_cache: bool) -> tuple[np.ndarray, list[int]]:
    """Generate n tokens with greedy search; return them and the multiply-adds of each step."""
    row, new, past, costs = prompt, prompt, None, []
    for _ in range(n):
        work["multiply-adds"] = 0
        logits, cache = nemotron(new if use_cache else row, past=past)
        costs.append(work["multiply-adds"])
        past = cache if use_cache else None
        new = logits[:, -1:].argmax(axis=-1)
        row = np.concatenate([row, new], axis=1)
    return row, costs


prompt, n = ids[:1], 40
M = sum(w.size for name, w in W.items() if w.ndim == 2 and "embed" not in name)
one_key = 2 * L * H * K
rows, sizes = [], []
model.model.embed_tokens.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].size))
for use_cache in (True, False):
    row, costs = write(prompt, n, use_cache)
    read = [9] + [1] * (n - 1) if use_cache else [*range(9, 9 + n)]
    assert costs == [t * (M + one_key * T) for t, T in zip(read, range(9, 9 + n), strict=True)]
    sizes.clear()
    theirs = model.generate(prompt, max_new_tokens=n, do_sample=False, use_cache=use_cache)
    assert sizes == read  # tinybert reads as many tokens
    rows += [row.tolist(), theirs.tolist()]
    print(f"cache {use_cache!s:5}: {sum(read):5d} tokens read, {sum(costs):11,} multiply-adds")
assert all(row == rows[0] for row in rows)

# %% [markdown]
# ## What it costs
# The cache needs memory that grows with the length, for every sequence of a batch and every beam.
# Each step reads all of it, and all weights. For one text of Minitron-4B the weights are larger;
# for a batch of 16 the cache exceeds them within the maximum of 4,096 tokens.

# %%
D4, F4, V4 = minitron.hidden_size, minitron.intermediate_size, minitron.vocab_size
layer = 2 * D4 * (24 + 8) * 128 + 2 * D4 * F4  # q and o with 24 heads, k and v with 8; up and down
weights = 2 * (2 * V4 * D4 + 32 * layer)  # bytes, without norms
for batch, tokens in ((1, 4096), (16, 4096), (1, weights // cache_bytes(minitron))):
    size = batch * tokens * cache_bytes(minitron)
    print(f"{batch:2d} x {tokens:6,} tokens: {size / 2**30:5.2f} GiB beside {weights / 2**30:.2f}")
assert 4e9 < weights / 2 < 4.3e9  # hence its name
assert 15 * 4096 * cache_bytes(minitron) < weights < 16 * 4096 * cache_bytes(minitron)
assert sum(part.nbytes for pair in cache for part in pair) == ids.size * cache_bytes(config, 8)

# %% [markdown]
# Our `np.concatenate` copies the past at every step: n tokens cost n(n−1)/2 copies. tinybert's
# `KeyValueCache` has spare capacity, and doubles it when it is full: fewer than 2n copies in all.
# It returns views of its buffer. We watch the address of the keys in memory.


# %%
def copied(n: int, in_place: bool) -> int:
    """Count the past tokens that are copied while n tokens are appended one by one."""
    cache, token, total, address = KeyValueCache(1, in_place), np.ones((1, 1, 1, 1)), 0, None
    for length in range(n):
        keys, _ = cache.append(0, Tensor(token), Tensor(token))
        if keys.data.ctypes.data != address:  # the buffer was replaced, and its content copied
            total += length
        address = keys.data.ctypes.data
    return total


n = 2048
joined, doubled = copied(n, in_place=False), copied(n, in_place=True)
for name, tokens in (("joining", joined), ("doubling", doubled)):
    size = tokens * cache_bytes(minitron)
    print(f"{name:8s}: {tokens:9,} tokens copied; for Minitron-4B {size / 2**30:6.1f} GiB")
assert joined == n * (n - 1) // 2
assert doubled == sum(2**i - 2 for i in range(2, 12)) < 2 * n  # 2 + 6 + 14 + 30 + ...

# %% [markdown]
# ## Left padding
# Sequences of a batch are padded at the left (tutorial 7), and the mask excludes the padding. With
# BERT, positions that count padding give wrong results; here they do no harm, because a common
# shift of all positions changes no distance. (Only the rounding of angles differs, by about 10⁻⁹.)
# But past and new tokens must be counted alike: if positions restart at 0, all distances are wrong.
# Queries at padding have only masked keys; their output, a mean of all values, is not used.

# %%
mask = np.array([[0] * 4 + [1] * 5, [1] * 9])
right = np.where(mask, mask.cumsum(axis=1) - 1, 0)  # real tokens only
padded, past = nemotron(ids, mask, right)
assert np.abs(padded - tinyberts(ids, attention_mask=mask, position_ids=right)).max() < 1e-10
alone, _ = nemotron(ids[:1, 4:])
assert np.abs(padded[0, 4:] - alone[0]).max() < 1e-10
shifted, _ = nemotron(ids, mask)  # positions 0 to 8, padding included
assert 1e-10 < np.abs(shifted[0, 4:] - alone[0]).max() < 1e-4
assert np.abs(nemotron(ids)[0][0, 4:] - alone[0]).max() > 0.1  # without the mask: wrong
new, longer = ids[:, :1], np.pad(mask, ((0, 0), (0, 1)), constant_values=1)
step, _ = nemotron(new, longer, right[:, -1:] + 1, past)
assert np.abs(step[0] - nemotron(np.append(ids[:1, 4:], new[:1], axis=1))[0][0, -1:]).max() < 1e-10
assert np.abs(step - nemotron(new, longer, 0 * new, past)[0]).max() > 0.1

# %% [markdown]
# ## Beam search
# Beam search drops some sequences and extends others twice. The cache must be reordered in the same
# way; otherwise a sequence uses the past of another one, without an error.

# %%
beams, rows = ids[:, :6], [1, 1]  # both extend the second sequence
_, past = nemotron(beams)
kept = [tuple(part[rows] for part in pair) for pair in past]
expected = nemotron(np.append(beams[rows], new, axis=1))[0][:, -1:]
assert np.abs(nemotron(new, past=kept)[0] - expected).max() < 1e-10
assert np.abs(nemotron(new, past=past)[0][0] - expected[0]).max() > 0.1
found = [model.generate(prompt, max_length=15, num_beams=4, use_cache=c) for c in (True, False)]
assert found[0].tolist() == found[1].tolist()

# %% [markdown]
# ## Try
# Replace a None by your answer and run the script again: the assertion says whether it is right.

# %%
key_head = None  # which key head does query head 13 of Minitron-4B use?
pairs = None  # how many pairs are rotated in a head of 128 if partial_rotary_factor is 0.25?
times = None  # as how many tokens of Minitron-4B's cache does one of Nemotron-4-15B's count?

assert key_head in (None, 13 // (24 // 8))
assert pairs in (None, angles(np.ones(1), 128 // 4).size)
assert times in (None, cache_bytes(NemotronConfig.preset("nemotron-4-15b")) / cache_bytes(minitron))
# Next: a vocabulary without unknown words, 13_byte_pairs.py.
