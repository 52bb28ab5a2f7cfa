# %% [markdown]
# # 51. Step through a sentence
# The engine can write down what it computes: every operation with its inputs and its result, and
# the gradients that come back. We read such a record of the model inside the package, check its
# numbers, find a head that links "it" to its noun, and see where the gradient of this word splits.
#
# **You will be able to** record a model, find the step of any operation, compute its number by
# hand, and say through which operation most of a gradient passes.
#
# **You need** lesson 15 (softmax), lesson 19 (heads) and lesson 24 (a layer backward).
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, T, H | | texts, tokens, heads |
# | x, y | (B, H, T, T) | scores and attention weights of a layer |
# | dx, dy | (B, H, T, T) | their gradients |

# %%
import numpy as np

import tinybert
from tinybert import show
from tinybert.trace import worked

model = tinybert.BertModel.from_pretrained("embedded", add_pooling_layer=False)
tokenizer = tinybert.BertTokenizer.from_pretrained("embedded")
sentence = "The animal didn't cross the street because it was too tired."
inputs = tokenizer(sentence, return_tensors="tb")
tokens = tokenizer.convert_ids_to_tokens(inputs["input_ids"].tolist()[0])

# %% [markdown]
# ## A record
# We differentiate the length of the sentence's vector, which is the mean of the last hidden states.
# Inside the `with` block every operation becomes a step of the record, forwards and backwards.
# `trace[n]` is step n, and `trace["encoder.layer.4.attention"]` are all steps of a module.

# %%
with tinybert.record(model) as trace:
    vector = model(**inputs).last_hidden_state.mean(axis=1)
    length = (vector * vector).sum() ** 0.5
    length.backward()
print(repr(trace))
softmax = next(step for step in trace["encoder.layer.4.attention"] if step.operation == "Softmax")
print(softmax)
print(softmax.place, "   ", softmax.code)
print(trace.formula(softmax))
assert len(trace.forward) > 100
assert softmax.value("y").axes == "BHTT"

# %% [markdown]
# ## One number
# The record holds the arrays by the names that the formula uses. NumPy gives the same weights, and
# `worked` puts the numbers of one weight into the formula: head 11, from "it" to "animal".

# %%
x, y = (softmax.value(name).array[0].astype(np.float64) for name in "xy")  # (H, T, T)
by_hand = np.exp(x - x.max(axis=-1, keepdims=True))
by_hand /= by_hand.sum(axis=-1, keepdims=True)
it, animal = tokens.index("it"), tokens.index("animal")
print("NumPy ", by_hand[11, it, animal], "  record", y[11, it, animal])
print(worked(softmax, (0, 11, it, animal)))
assert np.abs(by_hand - y).max() < 1e-6

# %% [markdown]
# ## Which head links "it" to its noun?
# A large weight is not enough: a head may attend to "animal" from everywhere. We list the three
# heads with the largest weight from "it" to "animal", next to the mean weight that the other
# tokens give to "animal". Head 11 of layer 4 does it for "it" alone.

# %%
weights = np.stack([s.value("y").array[0] for s in trace.forward if s.operation == "Softmax"])
from_it = weights[:, :, it, animal]  # (layers, heads)
others = np.delete(weights[:, :, :, animal], it, axis=2).mean(axis=2)
for number in np.argsort(-from_it, axis=None)[:3]:
    layer, head = np.unravel_index(number, from_it.shape)
    print(f"layer {layer}, head {head:2}: {from_it[layer, head]:.2f} from it, ", end="")
    print(f"{others[layer, head]:.2f} from the others")
show(weights[5, 11], "layer 5, head 11", rows=tokens, cols=tokens)
show(weights[4, 11], "layer 4, head 11", rows=tokens, cols=tokens)
assert weights[4, 11, it].argmax() == animal
assert from_it[4, 11] > 5 * others[4, 11]
assert from_it[5, 11] < 5 * others[5, 11]

# %% [markdown]
# ## The gradient comes back
# Each step has a partner in the other direction. The gradient of softmax is dx = y (dy − Σ dy y):
# the gradients of a row of scores add up to 0, since more weight for one key is less for the
# others.

# %%
backward = trace[softmax.partner]
dy, dx = (backward.value(name).array[0].astype(np.float64) for name in ("dy", "dx"))
by_hand = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
print(worked(backward, (0, 11, it, animal)))
print(f"sum of a row: {dx[11, it].sum():.1e}, largest of its numbers: {abs(dx[11, it]).max():.1e}")
assert np.abs(by_hand - dx).max() < 1e-5 * np.abs(dx).max()
assert abs(dx.sum(axis=-1)).max() < 1e-5 * np.abs(dx).max()

# %% [markdown]
# ## Where the gradient of "it" splits
# A layer uses its input four times: for query, key and value, and in the residual sum after
# attention. Four gradients come back and are added. The share of one is its projection onto the
# sum, so that the four shares add up to 1.

# %%
steps = [step for step in trace["encoder.layer.4.attention"] if step.phase == "backward"]
inside = {step.module.rpartition(".")[2]: step for step in steps}
parts = {name: inside[name].value("dx").array[0, it] for name in ("query", "key", "value")}
add = next(step for step in steps if step.module.endswith("output") and step.operation == "Add")
parts["residual"] = add.value("db").array[0, it]  # it adds a + b, and b is the layer's input
total = sum(parts.values())
shares = {name: float(part @ total / (total @ total)) for name, part in parts.items()}
show(list(shares.values()), 'shares of the gradient of "it"', cols=list(shares))
below = next(s for s in trace["encoder.layer.3.output.LayerNorm"] if s.phase == "backward")
print("length of the sum", np.linalg.norm(total), "  what the layer below gets",
      np.linalg.norm(below.value("dy").array[0, it]))  # fmt: skip
assert max(shares, key=shares.__getitem__) == "residual"
assert np.allclose(below.value("dy").array[0, it], total, atol=1e-6)

# %% [markdown]
# ## A wrong number is found
# `trace.replay()` computes every forward step again from its recorded inputs, and compares every
# backward step with finite differences. We change one weight by 0.01.

# %%
changed = softmax.value("y")
kept, changed.array = changed.array, changed.array.copy()
changed.array[0, 11, it, animal] += 0.01
wrong = [result.step for result in trace.replay() if not result.ok]
changed.array = kept
print("wrong:", *wrong, sep="\n  ")
assert softmax in wrong

# %% [markdown]
# A record has every number of a run. `tinybert step "..."` walks through one in the terminal, and
# `tinybert trace "..." --html page.html` writes it as a page.
#
# Exercises: `attn/backward`, `bert/layer_backward`.
#
# Next: 52_prune_and_distil.py.
