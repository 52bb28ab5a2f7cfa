# %% [markdown]
# # 11. Gated attention: a block of MEGA
# BERT's first layer has queries and keys of single tokens, many heads, and attention between all
# pairs. MEGA (Ma et al. 2022, arXiv:2209.10655, section 3) has one head. Its queries and keys come
# from a moving average (tutorial 10), which adds local context, and a gate controls how much of the
# attention output is used. Then attention within chunks is enough, and the cost is linear. We build
# a block in NumPy, step by step, and compare it with tinybert's to ten digits.

# %%
import math

import numpy as np

from tinybert import MegaConfig, MegaModel, Tensor, deviations, manual_seed, no_grad

rng = np.random.default_rng(0)
B, T, D, Z, V, N = 2, 12, 6, 4, 7, 3  # Z features of queries and keys, V of values, N memories


def mega(**options) -> tuple[MegaModel, dict[str, np.ndarray]]:
    """Return a model of one block with random weights, and the weights of the block."""
    manual_seed(0)
    config = MegaConfig(
        vocab_size=11, hidden_size=D, num_hidden_layers=1, intermediate_size=V,
        ema_projection_size=N, shared_representation_size=Z, nffn_hidden_size=5, max_positions=T,
        **options,
    )  # fmt: skip
    model = MegaModel(config, add_pooling_layer=False).double().eval()
    for parameter in model.parameters():
        parameter.data += rng.standard_normal(parameter.shape) / 2
    weights = model.state_dict().items()
    return model, {name.removeprefix("layers.0."): tensor.numpy() for name, tensor in weights}


def run(model: MegaModel, x: np.ndarray, **options):
    with no_grad():
        return model(inputs_embeds=Tensor(x), **options)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def linear(x: np.ndarray, w: dict, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


model, w = mega()
x = rng.standard_normal((B, T, D))

# %% [markdown]
# ## The norm
# MEGA uses scalenorm: x / √(mean x² + ε), times a single learned number; layernorm, rmsnorm and
# batchnorm are options. By default the norm is applied before the block, outside the residual path.


# %%
def norm(x: np.ndarray, w: dict, part: str) -> np.ndarray:
    return w[f"{part}.norm.norm.scalar"] * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)


h = norm(x, w, "mega_layer")
assert np.allclose((h**2).mean(-1) ** 0.5, abs(w["mega_layer.norm.norm.scalar"]), rtol=1e-3)
assert np.allclose(norm(10 * x, w, "mega_layer"), h, atol=1e-3)  # invariant to scaling

# %% [markdown]
# ## The moving average
# Each feature has N states, with a kernel k_j = Σ_n γ_n p_n β_n q_n^j / √N, q = 1 − pa, for earlier
# tokens and, in an encoder, another for later ones. Here it is computed as a matrix (tutorial 10
# has faster methods). The layer adds the input times ω and applies silu. Padding is masked.


# %%
def factors_of(w: dict) -> tuple[np.ndarray, ...]:
    """Return decay, enter, leave: (D, N), or (2 D, N) if bidirectional; and ω (D,)."""
    w = {name.rpartition(".")[2]: array for name, array in w.items() if "ema_gate" in name}
    p, a = (sigmoid(w[f"{name}_factor"])[..., 0] for name in ("damping", "decay"))
    leave = w["kernel_projection_matrix"] / math.sqrt(N)
    return 1 - p * a, p * w["ema_expansion_matrix"][..., 0], leave, w["residual_weight"]


def moving_average(h: np.ndarray, w: dict, mask=None) -> np.ndarray:
    decay, enter, leave, omega = factors_of(w)
    steps = np.arange(h.shape[1])
    kernel = np.einsum("kn,knt->kt", enter * leave, decay[..., None] ** steps)
    lag = steps[:, None] - steps  # (T, T)
    matrix = np.where(lag >= 0, kernel[:D, abs(lag)], 0)
    if len(kernel) == 2 * D:
        matrix += np.where(lag <= 0, kernel[D:, abs(lag)], 0)
    inputs = h if mask is None else h * mask[..., None]
    return silu(np.einsum("dts,bsd->btd", matrix, inputs) + h * omega)


m = moving_average(h, w)
with no_grad():
    assert np.allclose(m, model.layers[0].mega_layer.ema_gate(Tensor(h))[0].numpy(), atol=1e-12)

# %% [markdown]
# ## One projection for everything
# One matrix maps m to four parts: the update gate φ (D), a shared representation z (Z), the reset
# gate (V), and a part i of the candidate (D). Query and key are both z with a scale and a shift for
# each feature: 4Z parameters, where BERT has two matrices. The values come from h, not from m: they
# have no local context. A token that occurs twice has the same value, but two different queries.


# %%
def project(h: np.ndarray, m: np.ndarray, w: dict) -> tuple[np.ndarray, ...]:
    phi, z, gate, i = np.split(linear(m, w, "mega_layer.mx_proj"), np.cumsum([D, Z, V]), axis=-1)
    z, weight, bias = silu(z), w["mega_layer.qk_weight"], w["mega_layer.qk_bias"]  # (2, Z)
    query, key = z * weight[0] + bias[0], z * weight[1] + bias[1]  # (B, T, Z)
    value = silu(linear(h, w, "mega_layer.v_proj"))  # (B, T, V)
    return query, key, value, sigmoid(phi), silu(gate), i


twice = h.copy()
twice[:, 9] = twice[:, 3]
query, key, value, *_ = project(twice, moving_average(twice, w), w)
assert np.array_equal(value[:, 9], value[:, 3])
assert not np.allclose(query[:, 9], query[:, 3], atol=0.01)

# %% [markdown]
# ## The relative bias
# A bias is added to each score that depends on the distance of the two tokens:
#
# - "simple": a table with a number for each of the 2P − 1 distances;
# - "rotary": two learned vectors, rotated by their positions and multiplied, rot(α, i) · rot(b, j).
#   Features m and m + Z/2 are rotated by the angle position · 10000^(−2m/Z) (Su et al. 2021,
#   arXiv:2104.09864). The product of two rotated vectors depends only on the difference of the
#   angles, so on i − j, and there is no maximum position.


# %%
def turned(vector: np.ndarray, size: int) -> np.ndarray:
    """Rotate a vector (1, Z) by the positions 0 ... size − 1: (size, Z)."""
    angle = np.arange(size)[:, None] * 10000.0 ** (-2 * np.arange(Z // 2) / Z)
    a, b, cos, sin = *np.split(vector, 2, axis=-1), np.cos(angle), np.sin(angle)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def relative_bias(w: dict, size: int, positions: int) -> np.ndarray:
    """Return the bias (size, size) for query i and key j."""
    part = "mega_layer.rel_pos_bias."
    if part + "alpha" in w:
        return turned(w[part + "alpha"], size) @ turned(w[part + "b_param"], size).T
    place = np.arange(size)
    return w[part + "rel_pos_bias"][positions - 1 + place - place[:, None]]


for kind in ("rotary", "simple"):
    bias = relative_bias(mega(relative_positional_bias=kind)[1], T, T)
    assert np.allclose(bias[1:, 1:], bias[:-1, :-1])  # the same along each diagonal
    assert not np.allclose(bias, bias.T, atol=0.01)  # not symmetric

# %% [markdown]
# ## Three attention functions
# - softmax(q·k/√Z + bias): the weights of a query sum to 1.
# - relu2(x) = max(x, 0)² and laplace(x) = (1 + erf((x − μ)/(σ√2)))/2 of q·k/n + bias weight keys
#   independently; n is the number of unmasked keys, since there is no other normalisation.
#
# relu2 was found by architecture search (So et al. 2021, arXiv:2109.08668); its values and slope
# are unbounded. laplace is bounded by 1, and equals relu2 in value and slope at x = √½: μ = √½, σ =
# √(1/4π), in code rounded to six decimals.

# %%
MU, SIGMA = 0.707107, 0.282095
erf = np.vectorize(math.erf)


def laplace(x: np.ndarray) -> np.ndarray:
    return (1 + erf((x - MU) / (SIGMA * math.sqrt(2)))) / 2


def relu2(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) ** 2


def weigh(query, key, bias, allowed, kind: str) -> np.ndarray:
    """Return weights for q, k (..., T, Z) and a mask (..., T, T), False for masked keys."""
    scores = query @ key.swapaxes(-1, -2)
    if kind == "softmax":
        scores = np.where(allowed, scores / math.sqrt(Z) + bias, np.finfo(scores.dtype).min)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)
    count = np.maximum(allowed.sum(-1, keepdims=True), 1)
    return (laplace if kind == "laplace" else relu2)(scores / count + bias) * allowed


for f in (relu2, laplace):
    assert np.isclose(f(MU), 0.5, atol=1e-5)
    assert np.isclose((f(MU + 1e-5) - f(MU - 1e-5)) / 2e-5, math.sqrt(2), atol=1e-4)
assert np.allclose([MU, SIGMA], np.sqrt([1 / 2, 1 / (4 * math.pi)]), atol=5e-7)
everything = np.full((T, T), True)
sums = [weigh(query, key, bias, everything, kind).sum(-1) for kind in ("softmax", "relu2")]
assert np.allclose(sums[0], 1)
assert np.ptp(sums[1]) > 0.1

# %% [markdown]
# ## The gates, and the whole block
# The attention output is multiplied by the reset gate, and together with i becomes a candidate. The
# update gate φ interpolates, as in a GRU: y = x + φ (candidate − x); φ = 0 keeps x. Then follows
# the NFFN, a feed-forward network with a norm before it. Chunks are an additional axis: (B, T, ·)
# becomes (B, C, size, ·), and attention stays within a chunk.


# %%
def update(x, gathered, phi, gate, i, w: dict) -> np.ndarray:
    candidate = silu(i + linear(gathered * gate, w, "mega_layer.h_proj"))
    y = x + phi * (candidate - x)
    return y + linear(silu(linear(norm(y, w, "nffn"), w, "nffn.fc1")), w, "nffn.fc2")


def block(x: np.ndarray, w: dict, config: MegaConfig, mask) -> tuple[np.ndarray, np.ndarray]:
    """Return y (B, T, D) and weights (B, C, size, size); mask (B, T), False for padding."""
    h = norm(x, w, "mega_layer")
    m = moving_average(h, w, mask)
    query, key, value, phi, gate, i = project(h, m, w)
    size = config.chunk_size if config.use_chunking else x.shape[1]
    query, key, value = (a.reshape(len(x), -1, size, a.shape[-1]) for a in (query, key, value))
    allowed = np.tri(size, dtype=bool) if config.is_decoder else np.full((size, size), True)
    allowed = allowed & mask.reshape(len(x), -1, 1, size)  # (B, C, size, size)
    bias = relative_bias(w, size, config.bias_positions)
    weights = weigh(query, key, bias, allowed, config.attention_activation)
    gathered = (weights @ value).reshape(*x.shape[:2], V)
    return update(x, gathered, phi, gate, i, w), weights


DECODER = {"is_decoder": True, "bidirectional": False}
CHUNKS = {"use_chunking": True, "chunk_size": 4}
mask = np.arange(T) < [[T], [10]]  # the second text ends with padding
for kind in ("softmax", "laplace", "relu2"):
    for bias in ("rotary", "simple"):
        for role in ({}, DECODER, CHUNKS):
            model, w = mega(attention_activation=kind, relative_positional_bias=bias, **role)
            output = run(model, x, attention_mask=mask, output_attentions=True)
            y, weights = block(x, w, model.config, mask)
            assert np.allclose(output.last_hidden_state.numpy(), y, rtol=0, atol=1e-10)
            assert np.allclose(output.attentions[0].numpy(), weights, rtol=0, atol=1e-10)

# %% [markdown]
# Padding has an effect through the attention *and* the average: it must be masked in both.

# %%
model, w = mega()
other = x.copy()
other[1, 10:] = 5.0
before, after = (block(a, w, model.config, mask)[0] for a in (x, other))
assert np.allclose(before[mask], after[mask])
before, after = (moving_average(norm(a, w, "mega_layer"), w) for a in (x, other))  # no mask here
assert not np.allclose(before[mask], after[mask], atol=0.01)

# %% [markdown]
# ## Chunks
# T tokens have T² scores; in chunks of c there are T/c times c² = T·c: the cost is linear in T. But
# a token attends only to its own chunk. The moving average (T log T by FFT) crosses all chunk
# borders: it brings information from earlier chunks into the queries.

# %%
print("     T   scores of all pairs   in chunks of 4")
for length in (16, 64, 256):
    models, text = (mega()[0], mega(**CHUNKS)[0]), np.ones((1, length, D))
    outputs = [run(model, text, output_attentions=True) for model in models]
    scores = [output.attentions[0].numpy().size for output in outputs]
    print(f"{length:6d} {scores[0]:21d} {scores[1]:16d}")
    assert scores == [length**2, 4 * length]

# %% [markdown]
# Which output depends on which input? Change one token after the other, and compare the outputs.
# Without average (γ = 0) the result is a triangle per chunk, with it the whole lower triangle.


# %%
def influence(model: MegaModel) -> np.ndarray:
    """Return (T, T): whether output t depends on input s, for one text."""
    before, moved = run(model, x[:1]).last_hidden_state.numpy(), []
    for s in range(T):
        after = run(model, x[:1] + np.eye(T)[:, [s]]).last_hidden_state.numpy()
        moved.append(np.abs(after - before)[0].max(-1) > 1e-9)  # of an FFT, see tutorial 10
    return np.stack(moved, axis=1)


model, _ = mega(**DECODER, **CHUNKS)
with_average = influence(model)
model.layers[0].mega_layer.ema_gate.kernel_projection_matrix.data[...] = 0
without = influence(model)
for rows in zip(without, with_average, strict=True):
    print(*("".join(" #"[int(seen)] for seen in row) for row in rows), sep="    |")
assert np.array_equal(with_average, np.tri(T, dtype=bool))
assert np.array_equal(without, np.kron(np.eye(T // 4), np.tri(4)))  # three triangles

# %% [markdown]
# ## Decoding
# For the next token a block needs the D·N states of the average, and the keys and values of the
# current chunk, at most c, however long the text. Each step equals a row of the full forward pass.


# %%
def step(x: np.ndarray, w: dict, config: MegaConfig, state, keys: list, values: list):
    """Return y (D,) and the new state (D, N) for x (D,); keys and values are appended to lists."""
    decay, enter, leave, omega = factors_of(w)
    h = norm(x, w, "mega_layer")
    state = decay * state + enter * h[:, None]
    m = silu((leave * state).sum(-1) + h * omega)
    query, key, value, phi, gate, i = project(h, m, w)
    if len(keys) == config.chunk_size:  # the chunk is full: begin another
        keys.clear(), values.clear()
    keys.append(key), values.append(value)
    bias = relative_bias(w, len(keys), config.bias_positions)[-1:]  # of the last query
    weights = weigh(query[None], np.stack(keys), bias, np.array([len(keys) * [True]]), "laplace")
    return update(x, (weights @ np.stack(values))[0], phi, gate, i, w), state


model, w = mega(**DECODER, **CHUNKS, attention_activation="laplace")
full = run(model, x).last_hidden_state.numpy()
state, keys, values, past = np.zeros((D, N)), [], [], None
for t in range(T):
    y, state = step(x[0, t], w, model.config, state, keys, values)
    output = run(model, x[:, t : t + 1], past_key_values=past, use_cache=True)
    past = output.past_key_values
    assert np.allclose(y, full[0, t], rtol=0, atol=1e-10)
    assert np.allclose(output.last_hidden_state.numpy()[:, 0], full[:, t], rtol=0, atol=1e-10)
    assert np.allclose(past[0][2].numpy()[0], state)
    assert len(keys) <= 4

# %% [markdown]
# ## Where the reference differs
# transformers' MEGA has bugs here: its decoding step divides by 1 instead of n, and its decoder
# fails for an incomplete chunk. `tinybert.deviations` lists every difference. One example: its
# rmsnorm returns x · weight; so does ours with `reference="transformers"`, for weights trained that
# way.

# %%
for what in (entry.what for entry in deviations if entry.where == "MegaModel"):
    print("-", what)
for reference in (None, "transformers"):
    model, w = mega(normalization_type="rmsnorm", reference=reference)
    with no_grad():
        small, large = (model.layers[0].mega_layer.norm(Tensor(s * x)).numpy() for s in (1, 10))
    weight = w["mega_layer.norm.norm.weight"]
    assert np.allclose(large, 10 * small) == (reference == "transformers")
    assert np.allclose(small, x * weight) == (reference == "transformers")
    assert np.allclose(large, small, atol=1e-3) == (reference is None)

# %% [markdown]
# ## Try
# Replace a None by your answer and run the script again: the assertion says whether it is right.

# %%
compared = None  # 48 tokens in chunks of 4: how many scores has a block?
held = None  # a decoder in chunks of 4 has read 10 tokens: how many keys does it still hold?

weights = run(mega(**CHUNKS)[0], np.ones((1, 48, D)), output_attentions=True).attentions[0]
assert compared in (None, weights.numpy().size)
past = run(mega(**CHUNKS, **DECODER)[0], x[:, :10], use_cache=True).past_key_values
assert held in (None, past[0][0].shape[1])
# Next: a modern decoder, 12_rotary_groups_and_cache.py.
