# %% [markdown]
# # 14. Step through a sentence
# Tutorials 2 and 5 computed a model by hand, forwards and backwards. Here the engine writes down
# what it computes: every operation with its inputs, its result, what it keeps for the backward
# pass, and the gradients that come down. We read a record of MiniLM, check its numbers in NumPy,
# find the head that links "it" to its noun, and follow the gradient of one word to where it splits.
#
# `tinybert step "..."` walks through the same record in a terminal, and `tinybert trace "..."
# --html page.html` writes it as a page.

# %%
import numpy as np

import tinybert
from tinybert.fetch import FetchError, model_folder
from tinybert.trace import worked

try:
    folder = model_folder("minilm")
except FetchError as reason:  # it names the one command to run
    raise SystemExit(str(reason)) from None
model = tinybert.BertModel.from_pretrained(folder)
tokenizer = tinybert.BertTokenizer.from_pretrained(folder)
sentence = "The animal didn't cross the street because it was too tired."
inputs = tokenizer(sentence, return_tensors="tb")
tokens = tokenizer.convert_ids_to_tokens(inputs["input_ids"].tolist()[0])

# The number to differentiate: the length of the sentence's vector, the mean over all tokens.
with tinybert.record(model) as trace:
    vector = model(**inputs).last_hidden_state.mean(axis=1)
    length = (vector * vector).sum() ** 0.5
    length.backward()
print(repr(trace))
assert len(trace.forward) == 133
assert len(trace.updates) == 0

# %% [markdown]
# ## A step
# `trace[n]` is step n, and `trace["encoder.layer.3.attention"]` all steps inside of a module. A
# step knows the module that ran it, the line of code, and its arrays by the names that the formula
# uses. The letters of the axes are those of all tutorials: B batch, T tokens, H heads, K features
# of a head.

# %%
softmax = next(step for step in trace["encoder.layer.3.attention"] if step.operation == "Softmax")
scores, weights = softmax.value("x"), softmax.value("y")
T = len(tokens)
print(softmax)
print(softmax.place, "   ", softmax.code)
print(trace.formula(softmax))
assert (weights.axes, weights.shape) == ("BHTT", (1, 12, T, T))

# The formula, in NumPy, gives the recorded numbers.
x = scores.array.astype(np.float64)
y = np.exp(x - x.max(axis=-1, keepdims=True))
y /= y.sum(axis=-1, keepdims=True)
assert np.abs(y - weights.array).max() < 1e-6

# %% [markdown]
# **One number, worked out.** `worked(step, index)` puts the numbers into the formula. Head 1, from
# "it" to "animal":

# %%
it, animal = tokens.index("it"), tokens.index("animal")
print(worked(softmax, (0, 1, it, animal)))
assert f"{y[0, 1, it, animal]:.4g}" in str(worked(softmax, (0, 1, it, animal)))

# %% [markdown]
# ## The head that knows what "it" is
# A query's weights are a row of the softmax's result. In which of the 6 * 12 heads does "it" give
# most of its weight to the animal, the noun that it means?

# %%
rows = np.stack(
    [step.outputs[0].array[0, :, it] for step in trace.forward if step.operation == "Softmax"]
)  # (layers, heads, T): the weights of the query "it"
layer, head = np.unravel_index(rows[:, :, animal].argmax(), rows.shape[:2])
print(f"layer {layer}, head {head}: {rows[layer, head, animal]:.2f} of the weight")
assert (layer, head) == (3, 1)
assert rows[layer, head].argmax() == animal
assert rows[layer, head, tokens.index("street")] < 0.1  # the other noun

# %% [markdown]
# ## The gradient comes down
# The record goes on with the backward pass, from the loss to the embeddings: each step has a
# partner in the other direction. The softmax's gradient is dx = y (dy - sum_j dy_j y_j); dy is the
# complete gradient that has come down to it.

# %%
backward = trace[softmax.partner]
print(backward)
dy, dx = backward.value("dy").array.astype(np.float64), backward.value("dx").array
formula = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
assert np.abs(formula - dx).max() < 1e-5 * np.abs(dx).max()
print(worked(backward, (0, 1, it, animal)))

# A gradient of a softmax adds up to nothing: more weight for one key is less for the others.
assert np.abs(dx.sum(axis=-1)).max() < 1e-5 * np.abs(dx).max()

# %% [markdown]
# **Where it splits.** The states that enter a layer are used four times: by query, key and value,
# and, past the attention, by the residual sum. Four gradients come back, and their sum goes on
# down. How much of the sum does each contribute, for the word "it" in the layer of our head? The
# share of a part is its projection on the sum, so that the four shares add up to 1.

# %%
inside = {step.module.rpartition(".")[2]: step for step in trace["encoder.layer.3.attention"]
          if step.phase == "backward"}  # fmt: skip
parts = {name: inside[name].value("dx").array[0, it] for name in ("query", "key", "value")}
residual = next(
    step for step in trace["encoder.layer.3.attention.output"]
    if step.phase == "backward" and step.operation == "Add"
)  # fmt: skip
parts["residual"] = residual.value("db").array[0, it]
total = sum(parts.values())
shares = {name: float(part @ total / (total @ total)) for name, part in parts.items()}
for name, share in shares.items():
    print(f"{name:9} {share:6.1%}")
assert abs(sum(shares.values()) - 1) < 1e-5
assert max(shares, key=shares.__getitem__) == "residual"  # the way past the attention

# The sum is what the layer below gets: the dy of the layer norm at its end.
below = next(step for step in trace["encoder.layer.2.output.LayerNorm"] if step.phase == "backward")
assert np.abs(below.value("dy").array[0, it] - total).max() < 1e-5 * np.abs(total).max()

# %% [markdown]
# ## A record can be checked
# `trace.replay()` runs every forward step again from its recorded inputs, which must give the same
# bits, and compares every backward step with finite differences. A single changed number is found.

# %%
results = trace.replay()
print({verdict: sum(r.verdict == verdict for r in results) for verdict in ("equal", "agrees")})
assert all(result.ok for result in results)

kept, weights.array = weights.array, weights.array.copy()
weights.array[0, 1, it, animal] += 0.01
wrong = [result.step for result in trace.replay() if not result.ok]
weights.array = kept
print("wrong:", *wrong, sep="\n  ")
assert softmax in wrong

# %% [markdown]
# `trace.why_nan()` names the first operation that got or made a NaN or an infinity. Here a weight
# in layer 1 is infinite; the loss only says "nan".

# %%
weight = model.encoder.layer[1].output.dense.weight
before = float(weight[5, 7])
with tinybert.no_grad():
    weight[5, 7] = np.inf
with tinybert.record(model) as broken, np.errstate(all="ignore"):
    result = model(**inputs).last_hidden_state.mean()
with tinybert.no_grad():
    weight[5, 7] = before
print(result.item())
cause = broken.why_nan()
print(cause)
assert np.isnan(result.item())
assert cause.value.parameter == "encoder.layer.1.output.dense.weight"
assert cause.index == (5, 7)

# %% [markdown]
# ## Try it
# 1. How many steps does the backward half have? (`len(trace.backward)`.) Why not as many as the
#    forward half? Look for a step whose `partner` is None.
# 2. In how many of the 72 heads does "it" give more than half of its weight to one word?

# %%
without_partner = None  # the number of forward steps without a partner
sure = None  # the number of heads

alone = sum(step.partner is None for step in trace.forward)
assert without_partner in (None, alone)
assert sure in (None, int((rows.max(axis=-1) > 0.5).sum()))
