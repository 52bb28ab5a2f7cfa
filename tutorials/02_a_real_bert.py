# %% [markdown]
# # 2. A real BERT, number by number
# all-MiniLM-L6-v2 is a small BERT (6 layers, 384 features a token, 22.7 million numbers) that was
# trained for sentence embeddings: similar sentences get similar vectors. We follow one sentence
# from text to tokens, and compute every layer in NumPy. After each formula an `assert` compares the
# result with the output of the model.

# %%
import math
from importlib.util import find_spec

import numpy as np

from tinybert import BertModel, BertTokenizer, no_grad
from tinybert.fetch import FetchError, model_folder

try:
    folder = model_folder("minilm")
except FetchError as reason:  # it names the one command to run
    raise SystemExit(str(reason)) from None
tokenizer = BertTokenizer.from_pretrained(folder)
model = BertModel.from_pretrained(folder)
config = model.config
L, H, D = config.num_hidden_layers, config.num_attention_heads, config.hidden_size
K = D // H  # the size of one head
assert (L, H, D, K, config.intermediate_size) == (6, 12, 384, 32, 4 * D)
assert model.num_parameters() == 22_713_216

# %% [markdown]
# ## From text to ids
# WordPiece splits a word that is not in the vocabulary into tokens that are, longest match first;
# `##` marks a token that continues a word. The id of a token is its line in `vocab.txt`.

# %%
sentence = "The chubby cat sat on the mat because it was tired."
(step,) = tokenizer.explain(sentence)
assert step.words[:3] == ["the", "chubby", "cat"]
assert step.pieces[:3] == [["the"], ["chu", "##bby"], ["cat"]]
assert "chubby" not in tokenizer.vocab
inputs = tokenizer(sentence, return_tensors="np")
ids = inputs["input_ids"][0]  # (T,)
tokens = tokenizer.convert_ids_to_tokens(ids)
print(*map("{}={}".format, tokens, ids))
T = len(tokens)
assert tokens == ["[CLS]", *tokenizer.tokenize(sentence), "[SEP]"]
assert (folder / "vocab.txt").read_text("utf-8").splitlines()[ids[4]] == tokens[4] == "cat"

# One forward pass returns the hidden states and the attention weights of all layers.
with no_grad():
    output = model(**inputs, output_hidden_states=True, output_attentions=True)
hidden_states = [state.numpy()[0] for state in output.hidden_states]  # L + 1 times (T, D)
attentions = [weights.numpy()[0] for weights in output.attentions]  # L times (H, T, T)
assert [state.shape for state in hidden_states] == [(T, D)] * (L + 1)
assert [weights.shape for weights in attentions] == [(H, T, T)] * L
w = {name: tensor.numpy() for name, tensor in model.state_dict().items()}  # all weights, by name


def agree(ours: np.ndarray, models: np.ndarray) -> bool:
    """Whether two arrays are equal up to float32 rounding: 1e-5 for numbers of about 1."""
    return ours.shape == models.shape and bool(np.abs(ours - models).max() < 1e-5)


# %% [markdown]
# ## Embeddings
# The input of the first layer is the sum of three embeddings: of the token, its position and its
# token type. LayerNorm then gives each token mean 0 and variance 1, and a learned scale and shift:
# (x − mean) / √(var + eps) · weight + bias.


# %%
def layer_norm(x: np.ndarray, name: str) -> np.ndarray:
    std = np.sqrt(x.var(-1, keepdims=True) + config.layer_norm_eps)
    return (x - x.mean(-1, keepdims=True)) / std * w[f"{name}.weight"] + w[f"{name}.bias"]


x = (
    w["embeddings.word_embeddings.weight"][ids]
    + w["embeddings.position_embeddings.weight"][np.arange(T)]
    + w["embeddings.token_type_embeddings.weight"][0]
)  # (T, D)
x = layer_norm(x, "embeddings.LayerNorm")
assert agree(x, hidden_states[0])


# %% [markdown]
# ## One head of attention
# Query, key and value are three linear maps of x. The attention score of query i and key j is their
# dot product, divided by √K to keep its variance independent of the head size. Softmax turns each
# row of scores into attention weights that sum to 1. The output is the weighted sum of the values.
# Head h uses the features h·K to (h+1)·K.


# %%
def linear(x: np.ndarray, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]  # weight (out, in)


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def head(x: np.ndarray, layer: str, h: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the output of head `h` for each token, and its weights: (T, K) and (T, T)."""
    part = slice(h * K, (h + 1) * K)
    maps = (f"{layer}.attention.self.{name}" for name in ("query", "key", "value"))
    query, key, value = (linear(x, name)[:, part] for name in maps)  # (T, K) each
    weights = softmax(query @ key.T / math.sqrt(K))
    return weights @ value, weights


_, weights = head(x, "encoder.layer.0", 2)
assert np.allclose(weights.sum(axis=-1), 1)
assert agree(weights, attentions[0][2])
# This head has learned to attend to the previous token, whatever the token is:
assert all(weights[i].argmax() == i - 1 and weights[i, i - 1] > 0.9 for i in range(1, T))


# %% [markdown]
# ## A whole layer, and then all
# The outputs of all heads are concatenated and go through another linear map. Add the input (the
# residual connection) and apply LayerNorm. The feed-forward part works on each token separately: to
# four times the width, through GELU x·Φ(x), and back; add, normalise. BERT repeats this layer.

# %%
erf = np.vectorize(math.erf, otypes=[np.float32])


def bert_layer(x: np.ndarray, layer: str) -> np.ndarray:
    context = np.concatenate([head(x, layer, h)[0] for h in range(H)], axis=-1)  # (T, D)
    attended = linear(context, f"{layer}.attention.output.dense")
    x = layer_norm(x + attended, f"{layer}.attention.output.LayerNorm")
    wide = linear(x, f"{layer}.intermediate.dense")  # (T, F)
    wide = wide * (1 + erf(wide / math.sqrt(2))) / 2
    return layer_norm(x + linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")


for number in range(L):
    x = bert_layer(x, f"encoder.layer.{number}")
    assert agree(x, hidden_states[number + 1])

# %% [markdown]
# ## What does "it" attend to?
# Head 1 of layer 3 (counted from 0) seems to attend from a pronoun to the noun that it refers to.
# With another last word "it" refers to the mat, and the attention weights change. This is an
# observation of one head on two sentences, not a proof of how the model resolves pronouns.

# %%
for text in (sentence, sentence.replace("tired", "soft")):
    with no_grad():
        shares = model(**tokenizer(text, return_tensors="np"), output_attentions=True).attentions
    row = shares[3].numpy()[0, 1, tokens.index("it")]
    print(text)
    for place in row.argsort()[:-5:-1]:
        print(f"    it -> {tokens[place]:6s} {row[place]:.2f} {'#' * round(40 * row[place])}")
    assert (row[tokens.index("cat")] > row[tokens.index("mat")]) == (text == sentence)

# %% [markdown]
# ## Mean pooling, and padding
# The sentence embedding of this model is the mean of its token vectors, scaled to length 1. In a
# batch, short sentences are padded. The attention mask excludes padding from the attention and from
# the mean: a sentence gets the same vector alone and in a batch.


# %%
def embed(*sentences: str) -> np.ndarray:
    batch = tokenizer(list(sentences), padding=True, return_tensors="np")
    with no_grad():
        states = model(**batch).last_hidden_state.numpy()  # (B, T, D)
    mask = batch["attention_mask"][:, :, None]  # (B, T, 1)
    mean = (states * mask).sum(axis=1) / mask.sum(axis=1)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)  # (B, D)


three = ["A man eats food.", "Someone is having lunch.", "The sky is blue."]
vectors = embed(*three, sentence)
assert agree(vectors[:1], embed(three[0]))
similarity = vectors[:3] @ vectors[:3].T  # cosines, since all lengths are 1
print(similarity.round(2))
assert similarity[0, 1] > 0.4 > 0.2 > similarity[:2, 2].max()

# %% [markdown]
# ## Against torch
# If transformers is installed, we compare every layer with its BertModel.

# %%
if find_spec("torch") and find_spec("transformers"):
    import torch
    import transformers

    theirs = transformers.BertModel.from_pretrained(folder)
    batch = {name: torch.tensor(array) for name, array in inputs.items()}
    with torch.no_grad():
        states = theirs(**batch, output_hidden_states=True).hidden_states
    pairs = list(zip(hidden_states, (state.numpy()[0] for state in states), strict=True))
    print("largest difference:", *(f"{np.abs(a - b).max():.0e}" for a, b in pairs))
    assert all(agree(a, b) for a, b in pairs)
else:
    print('no torch here to compare with: pip install "tinybert[test]"')
# Next: from text to token ids, 03_wordpiece_by_hand.py.
