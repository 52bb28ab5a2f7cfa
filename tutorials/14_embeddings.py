# %% [markdown]
# # 14. Embeddings: a lookup and a scatter-add
# A tokenizer gives ids; a network needs vectors. An embedding is a table with one row of learned
# numbers for each id. Its forward pass only copies rows. Its backward pass must *add* the gradients
# of all positions with the same id, and a common one-line mistake loses all but one of them.
#
# **You will be able to** write both passes of an embedding in NumPy, find the mistake, and say what
# BERT adds to the row of a token.
#
# **You need** lesson 1 (backward) and lesson 2 (broadcasting).
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | T, V, D | | tokens, size of the vocabulary, features |
# | ids | (T,) | one integer for each token |
# | W | (V, D) | the table |
# | y | (T, D) | the rows that were looked up: y[t] = W[ids[t]] |
# | dy | (T, D) | gradient of the loss with respect to y |
# | dW | (V, D) | gradient of the loss with respect to W |
# | one_hot | (T, V) | 1 in column ids[t] of row t, 0 elsewhere |

# %%
import numpy as np

import tinybert.functional as F
from tinybert import BertModel, BertTokenizer, Tensor, no_grad, show

rng = np.random.default_rng(0)
V, D = 5, 3
ids = np.array([3, 1, 3, 0, 3])  # id 3 occurs three times; 2 and 4 do not occur
T = len(ids)
W = rng.standard_normal((V, D))
names, positions = [f"id {v}" for v in range(V)], [f"id {v}" for v in ids]

# %% [markdown]
# ## Forward: copy rows
# `W[ids]` copies a row for each token. It equals the matrix product one_hot @ W. The product is
# slow, since it multiplies mostly by 0, but we know its gradient.

# %%
one_hot = np.eye(V)[ids]
y = W[ids]
show(W, "W", rows=names)
show(y, "y = W[ids]", rows=positions)
print("one_hot @ W:", (one_hot @ W)[0].round(2), "  W[ids]:", y[0].round(2))
assert np.array_equal(y, one_hot @ W)

# %% [markdown]
# ## Backward: add rows
# From y = one_hot @ W follows dW = one_hotᵀ @ dy: row v of dW is the sum of dy over all positions
# with id v. `np.add.at` computes this sum without the product; it is called a scatter-add. The
# engine gives the same. Rows of ids that do not occur get the gradient 0.

# %%
dy = np.arange(1.0, T + 1)[:, None] * np.ones(D)  # 1, 2, 3, 4, 5: easy to recognize
dW = np.zeros((V, D))
np.add.at(dW, ids, dy)  # dW[ids[t]] += dy[t], for one t after another
table = Tensor(W, requires_grad=True)
F.embedding(ids, table).backward(dy)
by_engine = table.grad.numpy()
show(dy, "dy", rows=positions)
show(dW, "dW by scatter-add: row 3 is 1 + 3 + 5", rows=names)
print("row 3:  scatter-add", dW[3], "  product", (one_hot.T @ dy)[3], "  engine", by_engine[3])
assert np.allclose(dW, one_hot.T @ dy)
assert np.allclose(dW, by_engine)

# %% [markdown]
# ## The mistake
# `wrong[ids] += dy` looks the same. But NumPy reads all rows first, adds, and then writes: for a
# repeated id, the last write wins. It raises no error, and ids that occur once in a batch get the
# right gradient.

# %%
wrong = np.zeros((V, D))
wrong[ids] += dy
show(wrong, "wrong[ids] += dy: row 3 is 5", rows=names)
assert (wrong[3] == 5).all()
assert np.array_equal(wrong[[0, 1]], dW[[0, 1]])  # ids that occur once

# %% [markdown]
# ## A trained table
# In training, words that occur in similar contexts get similar rows. The cosine of two rows
# measures it: 1 for the same direction, about 0 for unrelated words.

# %%
tokenizer = BertTokenizer.from_pretrained("embedded")
model = BertModel.from_pretrained("embedded", add_pooling_layer=False)
w = {name: tensor.numpy() for name, tensor in model.embeddings.state_dict().items()}
words = ["monday", "tuesday", "king", "queen", "red", "blue"]
rows = w["word_embeddings.weight"][tokenizer.convert_tokens_to_ids(words)]
rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
cosines = rows @ rows.T
show(cosines, "cosines of rows of the table", rows=words, cols=words)
pairs = cosines[[0, 2, 4], [1, 3, 5]]
others = np.concatenate([cosines[:2, 2:].ravel(), cosines[2:4, 4:].ravel()])
print("pairs:", pairs.round(2), "  largest of all others:", others.max().round(2))
assert pairs.min() > 0.4 > others.max()

# %% [markdown]
# ## Position and type
# Attention alone does not see the order of tokens. So BERT has two more tables: a row for each
# position, and one for each token type (0 in the first text, 1 in the second). The sum of the three
# rows, normalized (lesson 17), is the input of the first layer. The same word at two positions gets
# two vectors. (In training, BERT also sets a random tenth of these numbers to 0. This is *dropout*,
# and the exercise `parts/dropout` builds it.)

# %%
inputs = tokenizer("the dog saw the cat", return_tensors="np")
ids = inputs["input_ids"][0]
total = (
    w["word_embeddings.weight"][ids]
    + w["position_embeddings.weight"][: len(ids)]
    + w["token_type_embeddings.weight"][0]
)
x = F.layer_norm(Tensor(total), (model.config.hidden_size,),
                 Tensor(w["LayerNorm.weight"]), Tensor(w["LayerNorm.bias"]), 1e-12)  # fmt: skip
with no_grad():
    first = model(**inputs, output_hidden_states=True).hidden_states[0]
the = [1, 4]  # both positions of "the"
show(x[the, :6], "'the' at positions 1 and 4, by hand", rows=the)
show(first[0, the, :6], "in the model", rows=the)
assert np.allclose(x.numpy(), first[0].numpy(), atol=1e-5)
assert np.abs(total[1] - total[4]).max() > 0.01

# %% [markdown]
# The forward pass of an embedding copies rows; the backward pass adds the gradients of all
# positions that used a row. BERT adds three embeddings: token, position, type.
#
# Exercises: `parts/embedding`, `bert/embeddings`, `parts/dropout`.
# Next: 15_softmax_and_cross_entropy.py.
