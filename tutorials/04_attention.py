# %% [markdown]
# # 4. Attention
# Attention lets each token read from the others. It works like a soft dictionary: a query is
# compared with all keys, and the result is a weighted mean of all values, mostly of those whose
# keys match (Vaswani et al. 2017, arXiv:1706.03762, section 3.2). We build it in NumPy, with heads,
# masks and relative positions, compute it without storing the attention matrix, and look at the
# attention weights of a trained model.

# %%
import math
import sys
import tracemalloc

import numpy as np

import tinybert.functional as F
from tinybert import BertConfig, BertModel, BertTokenizer, Tensor, no_grad
from tinybert.fetch import FetchError, model_folder

try:
    folder = model_folder("minilm")
except FetchError as reason:  # it names the one command to run
    raise SystemExit(str(reason)) from None
rng = np.random.default_rng(0)
B, T, H, K = 2, 5, 3, 4  # batch, tokens, heads, size of a head
D = H * K


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(query, key, value, mask=0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return output and attention weights for (..., T, K) each; the mask is added to the scores."""
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]) + mask  # (..., T, T)
    weights = softmax(scores)
    return weights @ value, weights


# %% [markdown]
# A query that is a key times a large factor returns exactly that key's value, as in a dictionary. A
# query of zeros matches all keys equally and returns the mean.

# %%
key, value = np.eye(4), rng.standard_normal((4, 7))
assert np.allclose(attention(100 * key[[2]], key, value)[0], value[2])
assert np.allclose(attention(0 * key[[2]], key, value)[0], value.mean(axis=0))

# %% [markdown]
# ## Why divide by √K
# The score q·k is a sum of K products. If the parts of q and k are independent with mean 0 and
# variance 1, so is each product, and variances of independent terms add up: the variance of a score
# is K. With large scores softmax saturates: one key gets a weight of almost 1. Then its derivative,
# p(δ − p), is almost 0, and learning stops. Divided by √K, the variance is 1 for every head size.

# %%
print("   K   variance of q.k   largest of 8 weights: of q.k, and of q.k / sqrt(K)")
for size in (4, 64, 1024):
    query, key = rng.standard_normal((2, 2000, 8, size))
    scores = query @ key.swapaxes(-1, -2)  # (2000, 8, 8)
    without, divided = (softmax(s).max(-1).mean() for s in (scores, scores / math.sqrt(size)))
    print(f"{size:4d} {scores.var():17.1f} {without:24.2f} {divided:8.2f}")
    assert abs(scores.var() / size - 1) < 0.1
    assert 0.3 < divided < 0.4
assert without > 0.95

# %% [markdown]
# ## Heads
# Multi-head attention: the D features are split into H heads of size K, each with its own attention
# weights. (B, T, H·K) becomes (B, T, H, K) and then (B, H, T, K); the last two axes are a matrix
# product for each head. A direct reshape to (B, H, T, K) has the same shape but mixes tokens with
# features, and raises no error.


# %%
def split(x: np.ndarray) -> np.ndarray:
    return x.reshape(B, T, H, K).swapaxes(1, 2)


def merge(x: np.ndarray) -> np.ndarray:
    return x.swapaxes(1, 2).reshape(B, T, D)


x, *w = rng.standard_normal((B, T, D)), *rng.standard_normal((3, D, D)) / math.sqrt(D)
query, key, value = (split(x @ weight.T) for weight in w)  # (B, H, T, K) each
context, weights = attention(query, key, value)
assert np.array_equal(merge(split(x)), x)
assert np.array_equal(split(x)[1, 2, 3], x[1, 3, 2 * K :])  # row 1, head 2, token 3
assert not np.array_equal(split(x), x.reshape(B, H, T, K))  # the wrong way

# %% [markdown]
# The same with tinybert's operations. `scaled_dot_product_attention` is one operation, used by the
# layers of the model; it never stores the T × T matrix (see below). A random cotangent (tutorial 1)
# shows that the gradients agree as well.

# %%
dy = rng.standard_normal(context.shape)
leaves = [[Tensor(a, requires_grad=True) for a in (query, key, value)] for _ in range(2)]
q, k, v = leaves[0]
step_by_step = (q @ k.transpose(-1, -2) / math.sqrt(K)).softmax(-1) @ v
in_one = F.scaled_dot_product_attention(*leaves[1])
for result in (step_by_step, in_one):
    assert np.allclose(result.numpy(), context)
    result.backward(dy)
assert all(np.allclose(a.grad.numpy(), b.grad.numpy()) for a, b in zip(*leaves, strict=True))

# %% [markdown]
# ## Padding masks
# A mask is added to the *scores*, before softmax: 0 for keys to attend to, the smallest finite
# number for masked keys. Their weight is then exp(−huge) = 0 exactly. The padding mask (B, T) is
# about keys, so it becomes (B, 1, 1, T): all heads, all queries, this key. The content of the
# padding then has no effect on the real tokens.

# %%
lowest = np.finfo(x.dtype).min
mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])  # the second row ends with 2 of padding
padding = ((1 - mask) * lowest)[:, None, None, :]
context, weights = attention(query, key, value, padding)
assert (weights[1, :, :, 3:] == 0).all()
assert np.allclose(context[1, :, :3], attention(*(a[1, :, :3] for a in (query, key, value)))[0])

# %% [markdown]
# Two common mistakes. On the *query* axis, (B, 1, T, 1), the mask adds the same number to a whole
# row of scores, and softmax is invariant to that: real tokens still attend to padding. And if the
# weights are masked *after* softmax, the weights of a row no longer sum to 1.

# %%
assert np.allclose(
    attention(query, key, value, padding.swapaxes(-1, -2))[1][1, :, :3],
    attention(query, key, value)[1][1, :, :3],  # no mask at all
)
assert attention(query, key, value)[1][1, :, :, :3].sum(-1).max() < 0.99  # masked afterwards

# %% [markdown]
# What about a query whose keys are all masked? All its scores become −huge; the scores themselves
# are lost in rounding. All are equal, so the weights are uniform. −10000, the constant of the
# original BERT, gives the weights without any mask. Neither result has a meaning, but both are
# finite; −∞ gives 0/0, and that NaN would spread to all gradients.

# %%
nowhere = np.zeros((1, 1, 1, T))
assert np.allclose(attention(query, key, value, nowhere + lowest)[1], 1 / T)
assert np.allclose(attention(query, key, value, nowhere - 1e4)[1], attention(query, key, value)[1])
with np.errstate(invalid="ignore"):
    assert np.isnan(attention(query, key, value, nowhere - np.inf)[1]).all()

# %% [markdown]
# ## Causal masks
# To predict the next token, token i may attend to tokens 0 to i only: a triangle of zeros. To test
# it, change the last token: no bit of any earlier output may change. With the other triangle, a
# common mistake, a token attends to itself and to later tokens; without a mask, to all tokens.

# %%
causal = np.triu(np.full((T, T), lowest), k=1)  # above the diagonal: keys after the query
changed = x.copy()
changed[:, -1] = rng.standard_normal((B, D))
for triangle, safe in ((causal, True), (causal.T, False), (0.0, False)):
    before, after = (
        attention(*(split(a @ weight.T) for weight in w), triangle)[0] for a in (x, changed)
    )
    assert np.array_equal(before[:, :, :-1], after[:, :, :-1]) == safe
    assert not np.allclose(before[:, :, -1], after[:, :, -1])
ours = attention(query, key, value, causal)[0]
built_in = F.scaled_dot_product_attention(*map(Tensor, (query, key, value)), is_causal=True)
assert np.allclose(ours, built_in.numpy())

# %% [markdown]
# ## Head masks: how important is a head?
# Multiply its attention weights by 0, *after* softmax, and measure what changes (Michel et al.
# 2019, arXiv:1905.10650). In a model: `model(..., head_mask=...)`.

# %%
head_mask = np.array([1.0, 0.0, 1.0])[:, None, None]  # (H, 1, 1)
without = merge((attention(query, key, value)[1] * head_mask) @ value)
assert (without[:, :, K : 2 * K] == 0).all()
assert np.allclose(without[:, :, :K], merge(attention(query, key, value)[0])[:, :, :K])

# %% [markdown]
# ## Relative positions
# Without a causal mask, attention does not depend on the order of tokens: if they are permuted, the
# outputs are permuted too. BERT adds a position embedding to its input. The alternative is a vector
# E for each *distance*, which is multiplied
#
# - with the query: q·k + q·E (Shaw et al. 2018, arXiv:1803.02155, eq. 5), "relative_key";
# - and with the key: q·k + q·E + k·E (Huang et al. 2020, arXiv:2009.13658, method 4),
#   "relative_key_query".
#
# All is added *before* the division by √K. Paper and code differ: Shaw et al. clip distances to a
# maximum, use key − query, and have a second table for values. BERT in transformers does not clip,
# hence 2·P − 1 distances for P positions, uses query − key + P − 1, and has one table, E.


# %%
def relative_scores(query, key, table, kind: str) -> np.ndarray:
    """(B, H, T, K), (B, H, T, K), (2P − 1, K): scores (B, H, T, T), before softmax."""
    places, P = np.arange(query.shape[2]), (len(table) + 1) // 2
    E = table[places[:, None] - places[None, :] + P - 1]  # (T, T, K)
    scores = query @ key.swapaxes(-1, -2) + np.einsum("bhik,ijk->bhij", query, E)
    if kind == "relative_key_query":
        scores += np.einsum("bhjk,ijk->bhij", key, E)
    return scores / math.sqrt(query.shape[-1])


# %%
order = rng.permutation(T)
permuted = attention(*(a[:, :, order] for a in (query, key, value)))[0]
assert np.allclose(permuted, attention(query, key, value)[0][:, :, order])
for kind in ("relative_key", "relative_key_query"):
    config = BertConfig(
        vocab_size=11, hidden_size=D, num_attention_heads=H, num_hidden_layers=1,
        intermediate_size=7, max_position_embeddings=9, position_embedding_type=kind,
    )  # fmt: skip
    model = BertModel(config).eval()
    weight = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    self = "encoder.layer.0.attention.self"
    table = weight[f"{self}.distance_embedding.weight"]
    assert table.shape == (2 * 9 - 1, K)
    with no_grad():
        output = model(
            rng.integers(11, size=(B, T)), output_hidden_states=True, output_attentions=True
        )
    states = output.hidden_states[0].numpy()  # (B, T, D)
    q, k = (
        split(states @ weight[f"{self}.{name}.weight"].T + weight[f"{self}.{name}.bias"])
        for name in ("query", "key")
    )
    scores = relative_scores(q, k, table, kind)
    assert np.allclose(softmax(scores), output.attentions[0].numpy(), atol=1e-6)
    assert not np.allclose(scores, q @ k.swapaxes(-1, -2) / math.sqrt(K), atol=1e-4)
    moved = relative_scores(q[:, :, 2:], k[:, :, 2:], table, kind)  # two places to the left
    assert np.allclose(moved, scores[:, :, 2:, 2:], atol=1e-6)  # only distances count

# %% [markdown]
# ## Flash attention: without the T × T matrix
# The weights of T tokens are T² numbers per head: too much memory when T is large. But the output
# of a query is a fraction, Σ exp(sⱼ) vⱼ / Σ exp(sⱼ), and both sums can be computed block by block.
# Only the maximum m, which is subtracted to avoid overflow of exp, is not known in advance. So use
# the largest *so far*; when a later block has a larger one, both sums were too large by the factor
# exp(m_new − m_old), and are divided by it. The result is exact (online softmax, Milakov &
# Gimelshein 2018, arXiv:1805.02867; flash attention, Dao et al. 2022, arXiv:2205.14135, which also
# uses blocks of queries, to stay in a GPU's fast memory, and recomputes the scores in backward).


# %%
def blockwise(query, key, value, block: int) -> np.ndarray:
    top, total, gathered = np.full((*query.shape[:-1], 1), -np.inf), 0.0, 0.0
    for start in range(0, key.shape[-2], block):
        some = slice(start, start + block)
        scores = query @ key[..., some, :].swapaxes(-1, -2) / math.sqrt(query.shape[-1])
        higher = np.maximum(top, scores.max(-1, keepdims=True))  # (..., T, 1)
        shrink, e = np.exp(top - higher), np.exp(scores - higher)
        total = total * shrink + e.sum(-1, keepdims=True)
        gathered = gathered * shrink + e @ value[..., some, :]
        top = higher
    return gathered / total


full = attention(1000 * query, key, value)[0]  # exp of such scores alone would overflow
assert all(np.allclose(blockwise(1000 * query, key, value, n), full) for n in (1, 2, 3, T, 99))

length = 1500
many = [Tensor(array) for array in rng.standard_normal((3, 1, 1, length, 16))]
for name, way in (
    ("with the matrix", lambda: (many[0] @ many[1].transpose(-1, -2) / 4).softmax(-1) @ many[2]),
    ("in blocks", lambda: F.scaled_dot_product_attention(*many)),
):
    tracemalloc.start()
    with no_grad():
        result = way()
    peak = tracemalloc.get_traced_memory()[1] / (8 * length**2)
    tracemalloc.stop()
    print(f"{name}: at most {peak:.2f} times the size of the weights was in use")
    assert (peak < 1) == (name == "in blocks")

# %% [markdown]
# ## Heads of a real model
# What do the 72 heads of MiniLM attend to? Compute for each the mean weight from a token to the one
# before, to the one after, to [SEP] and to [CLS], over a few sentences. Some heads do little else.
# In BERT-base many heads attend to [SEP] when their function does not apply (Clark et al. 2019,
# arXiv:1906.04341); in this model they attend to [CLS].

# %%
TEXTS = [
    "The chubby cat sat on the mat because it was tired.",
    "Attention lets every token gather what it needs from the others.",
    "When the train had left, nobody was on the platform.",
]
tokenizer, model = BertTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder)
shares, maps = {}, []
for text in TEXTS:
    with no_grad():
        output = model(**tokenizer(text, return_tensors="np"), output_attentions=True)
    maps.append(np.stack([layer.numpy()[0] for layer in output.attentions]))  # (L, H, T, T)
    last = maps[-1].shape[-1] - 1
    word = np.arange(1, last)  # without [CLS] and [SEP]
    targets = {"previous": word - 1, "next": word + 1, "[SEP]": 0 * word + last, "[CLS]": 0 * word}
    for name, target in targets.items():
        share = maps[-1][:, :, word, target].mean(axis=-1) / len(TEXTS)  # (L, H)
        shares[name] = shares.get(name, 0) + share
best = {}
for name, share in shares.items():
    ranked = [divmod(int(i), share.shape[1]) for i in share.argsort(axis=None)[::-1]]
    best[name] = ranked[0]
    top = "   ".join(f"layer {i} head {j:2d}: {share[i, j]:.2f}" for i, j in ranked[:3])
    print(f"{name:8s}  {top}")
assert best["previous"] == (0, 2)  # the one of tutorial 2
assert shares["previous"].max() > 0.95
assert shares["next"].max() > 0.6
assert shares["[CLS]"].max() > 0.8 > 0.2 > shares["[SEP]"].max()

# %% [markdown]
# An attention map has a row for each query and a column for each key: the head that attends to the
# previous token is a line below the diagonal. `python 04_attention.py map.png` also draws it. A
# large weight does not prove that the model *uses* what the head reads: see head masks.


# %%
def draw(weights: np.ndarray, tokens: list[str]) -> str:
    """Return attention weights (T, T) as text: darker characters for larger weights."""
    ink = " .:-=+*#%@"
    rows = ["".join(2 * ink[min(int(10 * w), 9)] for w in row) for row in weights]
    return "\n".join(f"{token:>8s} |{row}|" for token, row in zip(tokens, rows, strict=True))


tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode(TEXTS[0]))
chosen = {name: maps[0][best[name]] for name in ("previous", "next", "[CLS]")}
for name, weights in chosen.items():
    print("layer {} head {}: {}".format(*best[name], name), draw(weights, tokens), sep="\n")
assert (chosen["previous"].argmax(-1)[1:] == np.arange(len(tokens) - 1)).all()
for path in (argument for argument in sys.argv[1:] if argument.endswith(".png")):
    from matplotlib.figure import Figure  # pip install "tinybert[plot]"

    figure = Figure(figsize=(15, 4.8), layout="constrained")
    for axes, (name, weights) in zip(figure.subplots(1, 3), chosen.items(), strict=True):
        image = axes.imshow(weights, cmap="YlGnBu", vmin=0, vmax=1)
        axes.set_title("layer {} head {}: {}".format(*best[name], name))
        axes.set_xticks(range(len(tokens)), tokens, rotation=90)
        axes.set_yticks(range(len(tokens)), tokens)
        axes.set(xlabel="is looked at", ylabel="looks")
    figure.colorbar(image, ax=figure.axes, label="weight", shrink=0.7)
    figure.savefig(path)

# %% [markdown]
# ## Try
# Replace a None by your answer and run the script again: the assertion says whether it is right.

# %%
pairs_seen = None  # how many of the T * T weights of a causal head are not 0?
largest = None  # 8 keys have the same score, one has a score higher by log 8: what is its weight?

assert pairs_seen in (None, int((attention(query, key, value, causal)[1][0, 0] > 0).sum()))
assert largest is None or np.isclose(largest, softmax(np.array([0.0] * 8 + [math.log(8)]))[-1])
# Next: all gradients of a layer in NumPy, 05_a_layer_backward.py.
