# %% [markdown]
# # 26. Losses and labels
# A model with a head computes its loss if it gets labels. With wrong labels the loss is finite, and
# the model learns the wrong thing without an error. So what exactly does each label mean?
#
# **You will be able to** compute the loss of each task from logits and labels, exclude positions
# with −100, and find labels that are shifted twice.
#
# **You need** lesson 15 (cross-entropy), lesson 25 (heads), and NumPy's `where`.
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, T, N, V | | texts, tokens, classes, tokens in the vocabulary |
# | ids, real | (B, T) | token ids; whether a token is not padding |
# | logits, s | (..., N) | the scores of a head |
# | labels | (...) | class numbers, or −100 for "ignore" |
# | y | (B, N) | targets of regression, or several yes/no labels |

# %%
import logging

import numpy as np

import tinybert
from tinybert import BertTokenizer, show
from tinybert.learn import rhyme

logging.getLogger("tinybert").setLevel(logging.ERROR)  # no warnings about untrained heads
tokenizer = BertTokenizer.from_pretrained("embedded")
texts = ["She is his sister.", "Look!"]
inputs = dict(tokenizer(texts, padding=True, return_tensors="np"))
ids, real = inputs["input_ids"], inputs["attention_mask"] == 1
(B, T), V = ids.shape, len(tokenizer)


# %%
def load(model_class, **options):
    return model_class.from_pretrained("embedded", **options).to(dtype="float64")


def agree(name: str, ours: float, engine) -> bool:
    print(f"{name:28s} ours {ours:.6f}  engine {engine.item():.6f}")
    return abs(ours - engine.item()) < 1e-10


# %% [markdown]
# ## Ignored positions: −100
# Cross-entropy is −log P of the label, averaged. A position with label −100 is neither in the sum
# nor in the count: in masked language modeling, all tokens that were not chosen. An untrained model
# gives each of V tokens about 1/V, so its loss is about log V.


# %%
def cross_entropy(logits: np.ndarray, labels) -> float:
    logits, labels = logits.reshape(-1, logits.shape[-1]), np.ravel(labels)
    kept = np.flatnonzero(labels != -100)
    losses = np.log(np.exp(logits[kept]).sum(axis=-1)) - logits[kept, labels[kept]]
    return float(losses.mean())


chosen = ids == tokenizer.convert_tokens_to_ids("sister")
masked = {**inputs, "input_ids": np.where(chosen, tokenizer.mask_token_id, ids)}
labels = np.where(chosen, ids, -100)
tokens = tokenizer.convert_ids_to_tokens(masked["input_ids"][0])
show([masked["input_ids"][0], labels[0]], "masked words", rows=["ids", "labels"], cols=tokens)
model = load(tinybert.BertForMaskedLM)
output = model(**masked, labels=labels)
assert agree("masked words", cross_entropy(output.logits.numpy(), labels), output.loss)
print(f"an untrained model: log V = {np.log(V):.2f}")
assert output.loss.item() < np.log(V) / 2

# %% [markdown]
# ## Padding counts, unless its label is −100
# The attention mask excludes padding from attention, not from the loss. In token classification
# every position with a label counts, [CLS] and padding as well.

# %%
model = load(tinybert.BertForTokenClassification, num_labels=5)
classes = np.arange(B * T).reshape(B, T) % 5
careful = np.where(real, classes, -100)
for name, y in (("padding counts", classes), ("padding is ignored", careful)):
    output = model(**inputs, labels=y)
    assert agree(name, cross_entropy(output.logits.numpy(), y), output.loss)
show(careful, "labels without padding", rows=["text 0", "text 1"])

# %% [markdown]
# ## The same logits, three meanings
# `problem_type` in the config selects the loss of sequence classification:
#
# - single_label_classification: one of N classes; cross-entropy
# - multi_label_classification: N yes/no labels; the mean of −log sigmoid(±logits)
# - regression: N numbers; the mean squared error
#
# Without it the labels decide: integers mean one class, floats several labels, and N = 1 is a
# regression. Classes that are stored as floats are misread, so set `problem_type`.

# %%
model = load(tinybert.BertForSequenceClassification, num_labels=3)
s = model(**inputs).logits.numpy()
y = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
yes_no = np.logaddexp(0, -s) * y + np.logaddexp(0, s) * (1 - y)  # -log sigmoid(s), of (-s)
cases = {
    "single_label_classification": (np.array([2, 0]), cross_entropy(s, [2, 0])),
    "multi_label_classification": (y, yes_no.mean()),
    "regression": (y, ((s - y) ** 2).mean()),
}
for kind, (target, loss) in cases.items():
    model.config.problem_type = kind
    assert agree(kind, loss, model(**inputs, labels=target).loss)
model.config.problem_type = None
assert agree("inferred from floats", yes_no.mean(), model(**inputs, labels=y).loss)

# %% [markdown]
# ## The labels of a span are positions
# In question answering the classes are the T positions, once for the start and once for the end.
# The loss is the mean of both. A position of T or more was truncated, and is ignored.

# %%
model = load(tinybert.BertForQuestionAnswering)
output = model(**inputs, start_positions=[3, 0], end_positions=[4, T + 7])
loss = cross_entropy(output.start_logits.numpy(), [3, 0])
loss += cross_entropy(output.end_logits.numpy(), [4, -100])
assert agree("question answering", loss / 2, output.loss)

# %% [markdown]
# ## Causal models shift the labels themselves
# Position t predicts the token at t + 1. The model compares all logits but the last with all labels
# but the first, so pass labels = ids. If you shift them as well, it learns the token after next.
# (`tinybert.learn.rhyme` trains a small causal BERT on a rhyme, in a second.)

# %%
model = rhyme.train_model().to(dtype="float64")
row = np.array([rhyme.read("the dog barks at the")])
twice = np.append(row[:, 1:], [[-100]], axis=1)
words, pairs = [rhyme.VOCAB[i] for i in row[0, :-1]], [row[0, 1:], twice[0, 1:]]
show(pairs, "the id that each position predicts", rows=["labels = ids", "twice"], cols=words)
output, wrong = model(row, labels=row), model(row, labels=twice)
logits = output.logits.numpy()
assert agree("causal", cross_entropy(logits[:, :-1], row[:, 1:]), output.loss)
assert agree("causal, shifted twice", cross_entropy(logits[:, :-2], row[:, 2:]), wrong.loss)
assert wrong.loss.item() > 3 * output.loss.item()

# %% [markdown]
# A loss is finite for wrong labels as well. Compute it once by yourself from the logits, and check
# that it starts near the log of the number of classes.
#
# Exercises: `loss/cross_entropy`, `loss/bce`, `loss/cross_entropy_backward`, `loss/smoothing`.
# Next: 27_a_head_that_learns.py.
