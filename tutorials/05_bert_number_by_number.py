# %% [markdown]
# # 5. BERT, number by number
# What does BERT compute between a sentence and its output? Sums, matrix products, one softmax, one
# activation and one normalization: we write them in NumPy, run a trained model with them, and
# compare each layer with the engine. Then we break a layer. Later lessons explain the parts.
#
# **You will be able to** compute the output of a trained BERT from its weights in NumPy, and find
# the layer at which your code and a model first differ.
#
# **You need** NumPy's `@`, axes and broadcasting (lesson 2).
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | T | | tokens of the sentence |
# | L, H, D, K | | layers, heads, features of a token, features of one head (D / H) |
# | x | (T, D) | hidden states: one row for each token |
# | w | | all weights, by name |
# | q, k, v | (T, K) | query, key and value of one head |
# | A | (T, T) | attention weights of one head: row i belongs to query i |
# | μ, σ², eps | (T, 1), (T, 1), one number | mean and variance of a row of x, and 1e-12 |

# %%
import math

import numpy as np

from tinybert import BertModel, BertTokenizer, no_grad, show

tokenizer = BertTokenizer.from_pretrained("embedded")
model = BertModel.from_pretrained("embedded", add_pooling_layer=False)
config = model.config
L, H, D = config.num_hidden_layers, config.num_attention_heads, config.hidden_size
K = D // H
w = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
print(f"L={L} layers, H={H} heads, D={D} features, K={K}; {model.num_parameters():,} parameters")
assert (L, H, D, K) == (6, 12, 384, 32)

# %% [markdown]
# ## From text to numbers
# WordPiece splits a word that is not in the vocabulary into tokens that are; `##` marks a token
# that continues a word. A token's id is its line in the vocabulary. One forward pass of the engine
# gives the numbers that we want to reproduce.

# %%
sentence = "The chubby cat sat on the mat because it was tired."
ids = (inputs := tokenizer(sentence, return_tensors="np"))["input_ids"][0]  # (T,)
tokens, T = tokenizer.convert_ids_to_tokens(ids), len(ids)
print(*map("{}={}".format, tokens, ids))
assert tokens[2:5] == ["chu", "##bby", "cat"]
with no_grad():
    output = model(**inputs, output_hidden_states=True, output_attentions=True)
hidden_states = [state.numpy()[0] for state in output.hidden_states]  # L + 1 arrays (T, D)
attentions = [weights.numpy()[0] for weights in output.attentions]  # L arrays (H, T, T)

# %% [markdown]
# ## Embeddings
# The first hidden states are the sum of three rows for each token: one for its id, one for its
# position, one for its token type (first or second text). Then LayerNorm gives each row mean 0 and
# variance 1, and applies learned parameters: (x − μ) / √(σ² + eps) · weight + bias.


# %%
def layer_norm(x: np.ndarray, name: str) -> np.ndarray:
    sigma = np.sqrt(x.var(-1, keepdims=True) + config.layer_norm_eps)
    return (x - x.mean(-1, keepdims=True)) / sigma * w[f"{name}.weight"] + w[f"{name}.bias"]


words = w["embeddings.word_embeddings.weight"][ids]  # (T, D)
positions = w["embeddings.position_embeddings.weight"][:T]  # (T, D)
types = w["embeddings.token_type_embeddings.weight"][0]  # (D,): all tokens are of the first text
x = layer_norm(words + positions + types, "embeddings.LayerNorm")
print("NumPy: ", x[4, :5].round(4), "\nengine:", hidden_states[0][4, :5].round(4))
assert np.allclose(x, hidden_states[0], atol=1e-5)

# %% [markdown]
# ## One head of attention
# Query, key and value are three linear maps of x; head h uses features hK to (h+1)K of each. The
# score of query i and key j is their dot product divided by √K. Softmax turns a row of scores into
# positive weights whose sum is 1; the output is the sum of the values with these weights. Head 2 of
# layer 0 has learned to attend to the previous token, whatever it is.


# %%
def linear(x: np.ndarray, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]  # the weight is (out, in)


def head(x: np.ndarray, layer: str, h: int) -> tuple[np.ndarray, np.ndarray]:
    maps = (linear(x, f"{layer}.attention.self.{name}") for name in ("query", "key", "value"))
    q, k, v = (y[:, h * K : (h + 1) * K] for y in maps)
    scores = q @ k.T / math.sqrt(K)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    A = e / e.sum(-1, keepdims=True)  # softmax
    return A @ v, A  # (T, K), (T, T)


_, A = head(x, "encoder.layer.0", 2)
show(A, "layer 0, head 2: from each token (row) to ...", rows=tokens, cols=tokens)
print(f"cat to ##bby: NumPy {A[4, 3]:.4f}, engine {attentions[0][2, 4, 3]:.4f}")
assert np.allclose(A, attentions[0][2], atol=1e-5)
assert all(A[i].argmax() == i - 1 and A[i, i - 1] > 0.9 for i in range(1, T))

# %% [markdown]
# ## A whole layer, six times
# The outputs of all heads are concatenated and go through a linear map. The input of the layer is
# added (the residual connection), and LayerNorm follows. Then the feed-forward network maps each
# row to 4D features, applies GELU, x · (1 + erf(x/√2)) / 2, and maps it back; add, normalize. Below
# we run all layers twice, at last with one bias of layer 3 lost.

# %%
erf = np.vectorize(math.erf, otypes=[np.float32])  # a smooth step from −1 to 1


def bert_layer(x: np.ndarray, layer: str) -> np.ndarray:
    heads = np.concatenate([head(x, layer, h)[0] for h in range(H)], axis=-1)  # (T, D)
    attended = linear(heads, f"{layer}.attention.output.dense")
    x = layer_norm(x + attended, f"{layer}.attention.output.LayerNorm")
    wide = linear(x, f"{layer}.intermediate.dense")  # (T, 4D)
    wide = wide * (1 + erf(wide / math.sqrt(2))) / 2
    return layer_norm(x + linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")


# %%
def differences() -> list[float]:
    """Return the largest difference to the engine after the embeddings and after each layer."""
    states = [x]
    for n in range(L):
        states.append(bert_layer(states[-1], f"encoder.layer.{n}"))
    return [np.abs(a - b).max() for a, b in zip(states, hidden_states, strict=True)]


right = differences()
w["encoder.layer.3.output.dense.bias"] = np.zeros(D)  # as if it had not been loaded
wrong = differences()
names = ["embed", *(f"layer {n}" for n in range(L))]
show([right, wrong], "largest difference to the engine", rows=["right", "bias lost"], cols=names)
first = next(name for name, difference in zip(names, wrong, strict=True) if difference > 1e-4)
print("the first that differs:", first)
assert max(right) < 1e-4
assert first == "layer 3"

# %% [markdown]
# BERT is a sum of embeddings, then L times attention and feed-forward network, each with a residual
# connection and LayerNorm. If two implementations differ, look for the first layer that differs.
#
# Exercises: `bert/embeddings`, `bert/layer`.
# Next: 06_safetensors_by_hand.py.
