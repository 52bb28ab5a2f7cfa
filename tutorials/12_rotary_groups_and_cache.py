# %% [markdown]
# # 12. Rotary positions, grouped queries, and the cache
# A decoder of today differs from BERT in a few places. It is told positions by turning queries and
# keys (Su et al. 2021, arXiv:2104.09864), several heads of queries share one head of keys and
# values (Ainslie et al. 2023, arXiv:2305.13245), and it remembers keys and values from step to
# step. We write each in NumPy, make a Nemotron of them, compare it with tinybert's, and count what
# remembering saves and what it costs.

# %%
import math

import numpy as np

import tinybert.functional as F
from tinybert import NemotronConfig, NemotronForCausalLM, Tensor, no_grad
from tinybert.nn import KeyValueCache

rng = np.random.default_rng(0)
minitron = NemotronConfig.preset("minitron-4b")  # only its sizes; we need no weights of it

# %% [markdown]
# ## A position is an angle
# Say that queries and keys have two features. Turn the query at position m by the angle mθ, the key
# at position n by nθ. To turn back by mθ is the transpose, and turns add up: R(mθ)ᵀ R(nθ) =
# R((n−m)θ). So the score
#
#     (R(mθ) q) · (R(nθ) k)  =  qᵀ R(mθ)ᵀ R(nθ) k  =  q · R((n−m)θ) k
#
# knows the distance of the two and nothing else of where they are. Lengths stay as they are, there
# is nothing to learn, and no table that ends.


# %%
def rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


(q, k), rate = rng.standard_normal((2, 2)), 0.3
scores = [(rotation(m * rate) @ q) @ (rotation((m + 5) * rate) @ k) for m in (0, 7, 4000)]
assert np.allclose(scores, q @ rotation(5 * rate) @ k)
assert math.isclose(np.linalg.norm(rotation(2.5) @ q), np.linalg.norm(q))

# %% [markdown]
# ## Many pairs, each with its own rate
# One angle comes round again after 2π/θ tokens. So a head of R features is R/2 pairs, and pair m
# turns by θₘ = 10000^(−2m/R) a token: the first tells neighbours apart, the last tells far from
# near. Which features are a pair? In the paper 2m and 2m + 1; here, as in GPT-NeoX, m and m + R/2,
# since halves are easily swapped. Models were trained with angles rounded to float32; we round too.


# %%
def angles(positions: np.ndarray, R: int, base: float = 10000.0) -> np.ndarray:
    """(..., T) positions to (..., T, R/2)."""
    exponents = np.arange(0, R, 2, dtype=np.float32) / np.float32(R)
    rates = 1 / (base ** exponents.astype(np.float64)).astype(np.float32)
    return (positions[..., None].astype(np.float32) * rates).astype(np.float64)


def turn(x: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """(..., T, K) by (..., T, R/2): the first R features turn, the rest stay."""
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
assert wavelengths[-1] > 11 * minitron.max_position_embeddings  # never round

# %% [markdown]
# The two orders are one rotation with its features sorted differently, and a permutation common to
# q and k changes no score. So if the rows of q_proj and k_proj are permuted, weights of one kind
# serve programs of the other. Forget it, and all shapes fit, but the scores are wrong. The order of
# the paper is short in complex numbers: a pair is one, to turn it is to multiply by e^(i angle).

# %%
turned_q, turned_k = ((x[:, ::2] + 1j * x[:, 1::2]) * np.exp(1j * angle) for x in (q, k))
paper = (turned_q.conj() @ turned_k.T).real  # the scores
order = [*range(0, R, 2), *range(1, R, 2)]
assert np.allclose(turn(q[:, order], angle) @ turn(k[:, order], angle).T, paper)
forgotten = turn(q, angle) @ turn(k, angle).T
assert np.abs(forgotten - paper).max() > 1
assert np.allclose(forgotten.diagonal(), paper.diagonal())  # distance 0: nothing is turned

# %% [markdown]
# ## Turning a part
# Nemotron turns only half of a head (`partial_rotary_factor`): R of K features. The rest says what
# is looked for, wherever it stands. There is a tempting wrong way: fill the rates up with zeros to
# K/2 and turn the whole head. But then the pairs are m and m + K/2, not m and m + R/2. The wrong
# way keeps lengths, and its scores depend on the distance only: such tests pass. What catches it
# is to look at features R to K, which must stay bit for bit.

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
# ## Grouped queries
# H heads of queries, but only G of keys and values: head h looks at keys h // (H/G). G = H is the
# attention of tutorial 4; with G = 1 all share one. In NumPy that is a reshape to (G, H/G) and
# broadcasting. It equals attention with the heads of keys *repeated* (0 0 0 1 1 1), not tiled
# (0 1 0 1 0 1), another mistake that fits all shapes. The products are as many as before; k_proj,
# v_proj and all that is remembered shrink to G/H.

# %%
work = {"multiply-adds": 0}


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b, counted."""
    c = a @ b
    work["multiply-adds"] += c.size * a.shape[-1]
    return c


def attention(query, key, value, hidden) -> np.ndarray:
    """(B, H, T, K), twice (B, G, S, K), and (B or 1, T, S), true where none may look."""
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
    """What a token leaves behind: keys and values, in each layer; a number has 2 bytes (BF16)."""
    heads = config.num_key_value_heads
    return 2 * config.num_hidden_layers * heads * config.head_dim * number


all_heads = NemotronConfig.preset("minitron-4b", num_key_value_heads=24)
print(f"a token of Minitron-4B: {cache_bytes(minitron):,} bytes; G = H: {cache_bytes(all_heads):,}")
assert cache_bytes(minitron) == cache_bytes(all_heads) // 3 == 128 * 1024

# %% [markdown]
# ## A Nemotron
# Two small things are left. relu2(x) = max(x, 0)² was found by a search for better Transformers (So
# et al. 2021, arXiv:2109.08668); there is no gate beside it. LayerNorm1P multiplies by weight + 1,
# so that weight decay pulls the scale towards 1, not 0 (who converts weights must not add 1 twice).
# Now all together. Past keys are stored *turned*, each at its own position; a new key is turned at
# its position and put behind them. Token i sees keys 0 to i, less the padding.

# %%
V, D, L, K = 60, 24, 2, 8  # and H = 6, G = 2; a half of 8 features turns
config = NemotronConfig(
    vocab_size=V, hidden_size=D, intermediate_size=40, num_hidden_layers=L, head_dim=K,
    num_attention_heads=H, num_key_value_heads=G, eos_token_id=None,
)  # fmt: skip
model = NemotronForCausalLM(config).to(np.float64).eval()
W = {name: 0.3 * rng.standard_normal(p.shape) for name, p in model.state_dict().items()}
model.load_state_dict(W)  # norms and all: nothing is 0 or 1


def linear(x: np.ndarray, name: str) -> np.ndarray:
    return product(x, W[f"{name}.weight"].T)


def norm(x: np.ndarray, name: str) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_eps)
    return x * (W[f"{name}.weight"] + 1) + W[f"{name}.bias"]


def nemotron(ids, mask=None, positions=None, past=None):
    """ids (B, T) to the scores (B, T, V) of the next token, and the L pairs (B, G, P + T, K)."""
    (B, T), P = ids.shape, past[0][0].shape[2] if past else 0
    places = np.arange(P, P + T)
    positions = places[None] if positions is None else positions
    angle = angles(positions, config.features_to_turn)[:, None]
    hidden = (np.arange(P + T) > places[:, None])[None]  # (1, T, P + T): what is ahead
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
# No token sees later ones, so a new token changes no old key or value. Without a cache a step over
# T tokens does T (M + 2LHKT) multiply-adds, where M is the number of entries of all matrices, and
# 2LHK the products with one key and one value. With it, M + 2LHKT will do, for the same tokens.


# %%
def write(prompt: np.ndarray, n: int, use_cache: bool) -> tuple[np.ndarray, list[int]]:
    """n tokens more, the likeliest each time; and the multiply-adds of each step."""
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
# Memory, that grows with the text, and is needed for every row of a batch and every beam. Each step
# reads all of it once, as it reads all weights. For one text of Minitron-4B weights are the larger
# part for long; for 16 at once the cache overtakes them within the 4,096 tokens it was made for.

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
# `KeyValueCache` keeps room at the end, writes there, and doubles it when it is full: fewer than 2n
# copies in all. What it returns are views of that room. We watch where the keys lie in memory.


# %%
def copied(n: int, in_place: bool) -> int:
    """How many past tokens are copied while n come one by one."""
    cache, token, total, address = KeyValueCache(1, in_place), np.ones((1, 1, 1, 1)), 0, None
    for length in range(n):
        keys, _ = cache.append(0, Tensor(token), Tensor(token))
        if keys.data.ctypes.data != address:  # they have moved, and so has what was there
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
# ## Padding on the left
# Rows of a batch end together (tutorial 7), so that shorter ones begin with padding, which the mask
# hides. Positions that count the padding ruin a BERT; here they do no harm, for a common shift of
# all positions changes no distance. (Only the rounding of angles differs, by some 10⁻⁹ here.) But
# past and present must count alike: restart at 0 with the next token, and all distances are wrong.
# Queries of the padding itself see nothing; they gather from all alike, and nobody looks at them.

# %%
mask = np.array([[0] * 4 + [1] * 5, [1] * 9])
right = np.where(mask, mask.cumsum(axis=1) - 1, 0)  # real tokens only
padded, past = nemotron(ids, mask, right)
assert np.abs(padded - tinyberts(ids, attention_mask=mask, position_ids=right)).max() < 1e-10
alone, _ = nemotron(ids[:1, 4:])
assert np.abs(padded[0, 4:] - alone[0]).max() < 1e-10
shifted, _ = nemotron(ids, mask)  # positions 0 to 8, as if nothing were padding
assert 1e-10 < np.abs(shifted[0, 4:] - alone[0]).max() < 1e-4
assert np.abs(nemotron(ids)[0][0, 4:] - alone[0]).max() > 0.1  # without the mask: wrong
new, longer = ids[:, :1], np.pad(mask, ((0, 0), (0, 1)), constant_values=1)
step, _ = nemotron(new, longer, right[:, -1:] + 1, past)
assert np.abs(step[0] - nemotron(np.append(ids[:1, 4:], new[:1], axis=1))[0][0, -1:]).max() < 1e-10
assert np.abs(step - nemotron(new, longer, 0 * new, past)[0]).max() > 0.1

# %% [markdown]
# ## Beams
# A beam search drops some rows and goes on from others twice. What is remembered must be reordered
# with them, or a row goes on with the past of another: no error, only nonsense.

# %%
beams, rows = ids[:, :6], [1, 1]  # both go on from the second
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
key_head = None  # which head of keys does query head 13 of Minitron-4B look at?
pairs = None  # how many pairs turn in a head of 128 if partial_rotary_factor is 0.25?
times = None  # as how many tokens of Minitron-4B's cache does one of Nemotron-4-15B's count?

assert key_head in (None, 13 // (24 // 8))
assert pairs in (None, angles(np.ones(1), 128 // 4).size)
assert times in (None, cache_bytes(NemotronConfig.preset("nemotron-4-15b")) / cache_bytes(minitron))
# Next: a vocabulary without unknown words, 13_byte_pairs.py.
