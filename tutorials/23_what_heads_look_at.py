# %% [markdown]
# # 23. What the heads of a trained model look at
# A BERT with 6 layers and 12 heads computes 72 attention maps for a text. Some heads have a simple
# pattern, such as "the token before". We find such heads, draw their maps, and then switch heads
# off, because a large weight does not prove that the model uses what it reads.
#
# **You will be able to** compute the attention weights of a trained model, find heads by their
# pattern, and measure with a head mask how much the predictions depend on a head.
#
# **You need** lesson 19 (attention with heads) and lesson 5 (BERT number by number).
#
# **Minutes** 18
#
# | symbol | shape | meaning |
# |---|---|---|
# | L, H | | layers (6), heads in a layer (12) |
# | T, D, K | | tokens, features of a token (384), size of a head (32) |
# | weights | (L, H, T, T) | attention weights: a row for each query, a column for each key |
# | share | (L, H) | mean weight of one key, such as the token before the query |
# | p | (N, V) | probabilities of V words, for each of N masked tokens |

# %%
import math

import numpy as np

from tinybert import BertForMaskedLM, BertTokenizer, no_grad, show

tokenizer = BertTokenizer.from_pretrained("embedded")
model = BertForMaskedLM.from_pretrained("embedded")
TEXTS = [
    "He was born in London and studied at the University of Oxford.",
    "The chubby cat sat on the mat because it was tired.",
    "When the train had left, nobody was on the platform.",
]


def softmax(s: np.ndarray) -> np.ndarray:
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# %% [markdown]
# ## The weights of one head
# The engine returns the attention weights of all heads (`output_attentions=True`). In NumPy, for
# layer 0, head 2: queries and keys from the input of the layer, then scores, then softmax.

# %%
ids = np.array([tokenizer.encode(TEXTS[0])])
tokens = tokenizer.convert_ids_to_tokens(ids[0].tolist())
with no_grad():
    output = model(ids, output_attentions=True, output_hidden_states=True)
x = output.hidden_states[0].numpy()[0]  # (T, D)
w = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
layer, K = "bert.encoder.layer.0.attention.self", 32
q, k = (x @ w[f"{layer}.{name}.weight"].T + w[f"{layer}.{name}.bias"] for name in ("query", "key"))
own = slice(2 * K, 3 * K)  # the features of head 2
by_hand = softmax(q[:, own] @ k[:, own].T / math.sqrt(K))
by_engine = output.attentions[0].numpy()[0, 2]
show(by_hand.round(2), "layer 0, head 2, NumPy", rows=tokens, cols=tokens)
show(by_engine.round(2), "layer 0, head 2, engine", rows=tokens, cols=tokens)
assert np.allclose(by_hand, by_engine, atol=1e-4)

# %% [markdown]
# ## Find heads by their pattern
# In the map above, almost all weight is on the token before: a line below the diagonal. For every
# head we compute the mean weight of four keys: the token before, the token after, [CLS], [SEP].


# %%
def weights_of(text: str) -> np.ndarray:
    with no_grad():
        output = model(np.array([tokenizer.encode(text)]), output_attentions=True)
    return np.stack([layer.numpy()[0] for layer in output.attentions])  # (L, H, T, T)


shares = {name: np.zeros((6, 12)) for name in ("before", "after", "[CLS]", "[SEP]")}
for text in TEXTS:
    weights = weights_of(text)
    last = weights.shape[-1] - 1  # [SEP]
    word = np.arange(1, last)  # without [CLS] and [SEP]
    targets = (word - 1, word + 1, 0 * word, 0 * word + last)
    for share, target in zip(shares.values(), targets, strict=True):
        share += weights[:, :, word, target].mean(-1) / len(TEXTS)
best = {}
for name, share in shares.items():
    best[name] = divmod(int(share.argmax()), 12)
    print(f"{name:6s} layer {best[name][0]} head {best[name][1]:2d}: {share.max():.2f}")
assert best["before"] == (0, 2)
assert shares["before"].max() > 0.95

# %% [markdown]
# Most heads of layers 1 to 5 give much weight to [CLS]. The head for the token after does so where
# its pattern does not apply: "in" attends to "london", but "oxford" to [CLS]. In BERT-base many
# heads use [SEP] in this way (Clark et al. 2019, arXiv:1906.04341, section 3.2).

# %%
layers = [f"layer {i}" for i in range(6)]
show(shares["[CLS]"], "mean weight of [CLS]; a column for each head", rows=layers)
print(f"median of layers 1 to 5: {np.median(shares['[CLS]'][1:]):.2f}")
i, j = best["after"]
after = weights_of(TEXTS[0])[i, j].round(2)
show(after, f"layer {i}, head {j}: the token after", rows=tokens, cols=tokens)
assert shares["after"][i, j] > 0.5
assert np.median(shares["[CLS]"][1:]) > 0.4
assert shares["[CLS]"].max() > 0.8 > 0.2 > shares["[SEP]"].max()

# %% [markdown]
# ## Does the model use a head?
# A head mask multiplies the weights of a head by 0, *after* softmax, so its output is 0 (Michel et
# al. 2019, arXiv:1905.10650). We mask each word in turn, predict it with and without the head, and
# compute the share of probability that moves to other words: half of Σ |p − p'|, where p' is
# without the head. 0 means no change, 1 a completely different prediction.


# %%
def predictions(head_mask: np.ndarray) -> np.ndarray:
    """Return p (N, V): each token of the texts is masked once."""
    found = []
    for text in TEXTS:
        ids = np.array(tokenizer.encode(text))
        at = np.arange(1, len(ids) - 1)
        rows = np.tile(ids, (len(at), 1))
        rows[at - 1, at] = tokenizer.mask_token_id
        with no_grad():
            logits = model(rows, head_mask=head_mask).logits.numpy()
        found.append(softmax(logits[at - 1, at]))
    return np.concatenate(found)


# %%
with_all, moved = predictions(np.ones((6, 12), np.float32)), {}
for name in ("before", "after", "[CLS]"):
    head_mask = np.ones((6, 12), np.float32)
    head_mask[best[name]] = 0
    moved[name] = np.abs(predictions(head_mask) - with_all).sum(-1).mean() / 2
table = [[shares[name].max(), moved[name]] for name in moved]
show(table, "large weights and their effect", rows=list(moved), cols=["weight", "moved"])
assert min(shares["before"].max(), shares["[CLS]"].max()) > shares["after"].max()
assert 2 * max(moved["before"], moved["[CLS]"]) < moved["after"]

maps = None  # how many attention maps would a BERT with 24 layers and 16 heads compute?
assert maps in (None, 24 * 16)

# %% [markdown]
# Some heads follow a simple pattern. The head with the smallest of the three weights moves the
# predictions most: only an experiment, such as a head mask, shows what the model uses.
#
# Exercises: `attn/forward`.
# Next: 24_a_layer_backward.py.
