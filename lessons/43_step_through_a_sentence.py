# %% [markdown]
# # 43. Step through a sentence
# The lessons before computed a model by hand. The engine can also record what it computes: every
# operation with its inputs, its result and, in the backward pass, its gradients. We record a
# trained BERT and check one step in each direction. `tinybert step "..."` walks through such a
# record in a terminal.
#
# **You will be able to** record a model, find an operation in the record, recompute its numbers
# forward and backward, and find the first NaN.
#
# **You need** lesson 15 (softmax), lesson 22 (attention heads) and lesson 23 (backward of a layer).
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, H, T | | texts, heads, tokens |
# | x, y | (B, H, T, T) | scores before softmax, weights after it |
# | dy, dx | (B, H, T, T) | gradients of the final number with respect to y and x |

# %%
import numpy as np

import tinybert
from tinybert import show
from tinybert.trace import worked

tokenizer = tinybert.BertTokenizer.from_pretrained("embedded")
model = tinybert.BertModel.from_pretrained("embedded", add_pooling_layer=False)
inputs = tokenizer("The cat sat because it was tired.", return_tensors="tb")
tokens = tokenizer.convert_ids_to_tokens(inputs["input_ids"].tolist()[0])

# %% [markdown]
# ## Record
# The final number, which we differentiate, is the length of the sentence's vector: the mean of the
# last hidden states. A step of the record knows its operation, its module and its line of code.

# %%
with tinybert.record(model) as trace:
    vector = model(**inputs).last_hidden_state.mean(axis=1)
    length = (vector * vector).sum() ** 0.5
    length.backward()
print(repr(trace))
for step in trace["encoder.layer.5.attention.self"][:12]:
    print(step)
assert len(trace.forward) == len(trace.backward) == 130

# %% [markdown]
# ## One step forward
# The softmax of layer 5 turns scores x into weights y. The formula in NumPy gives the recorded
# result. `worked(step, index)` puts the recorded numbers into the formula, for one element.

# %%
softmax = next(step for step in trace["encoder.layer.5.attention"] if step.operation == "Softmax")
print(softmax.code, "   in", softmax.place, "\n", trace.formula(softmax))
x, recorded = softmax.value("x").array.astype(np.float64), softmax.value("y").array
y = np.exp(x - x.max(axis=-1, keepdims=True))
y /= y.sum(axis=-1, keepdims=True)
it, cat = tokens.index("it"), tokens.index("cat")
both = np.stack([y[0, 11, it], recorded[0, 11, it]], axis=1)
show(both, "head 11, weights of the query 'it'", rows=tokens, cols=["NumPy", "record"])
print(worked(softmax, (0, 11, it, cat)))
assert np.allclose(y, recorded, atol=1e-6)
assert y[0, 11, it].argmax() == cat  # one sentence: an observation, not a rule

# %% [markdown]
# ## The same step backward
# The backward pass of this step is its partner. With dy from the next operation, softmax returns
# dx_j = y_j (dy_j − Σ_k dy_k y_k). A row of dx sums to 0: more weight for one key is less for the
# others.

# %%
backward = trace[softmax.partner]
dy, recorded = backward.value("dy").array.astype(np.float64), backward.value("dx").array
dx = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
both = np.stack([dx[0, 11, it], recorded[0, 11, it]], axis=1)
show(both, "head 11, dx of the query 'it'", rows=tokens, cols=["NumPy", "record"])
print(worked(backward, (0, 11, it, cat)))
print("largest sum of a row of dx:", np.abs(recorded.sum(axis=-1)).max())
assert np.abs(dx - recorded).max() < 1e-5 * np.abs(dx).max()
assert np.abs(recorded.sum(axis=-1)).max() < 1e-5 * np.abs(dx).max()

# %% [markdown]
# ## The first NaN
# A loss that is "nan" does not say where the NaN (not a number) began. `why_nan` names the first
# operation that received or made a NaN or an infinity. We make one weight of layer 1 infinite.

# %%
name = "encoder.layer.1.output.dense.weight"
weight = model.encoder.layer[1].output.dense.weight
with tinybert.no_grad():
    weight[5, 7] = np.inf
with tinybert.record(model) as broken, np.errstate(all="ignore"):
    loss = model(**inputs).last_hidden_state.mean()
cause = broken.why_nan()
print("loss:", loss.item(), "\ncause:", cause)
assert np.isnan(loss.item())
assert (cause.value.parameter, cause.index) == (name, (5, 7))

# %% [markdown]
# A record holds every number of a forward and a backward pass, with names. Any of them can be
# recomputed from the others of its step, and a NaN can be followed to its origin.
#
# Exercises: `loss/softmax_backward`, `attn/backward`.
