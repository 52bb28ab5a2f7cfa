# %% [markdown]
# # 25. Heads: from features to predictions
# BERT computes a vector of features for each token. The head of a *model*, not of attention, turns
# them into predictions for a task. Which features does it use, and how many scores does it compute?
#
# **You will be able to** compute the scores of five heads from the features in NumPy, and say which
# heads can be used without training.
#
# **You need** lesson 15 (softmax), lesson 16 (GELU), lesson 17 (layer norm) and NumPy's `reshape`.
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, T, D, V, N, C | | texts, tokens, features, vocabulary, classes, choices |
# | x | (B, T, D) | the features of the base model |
# | pooled | (B, D) | features of a text: tanh of a linear map of the first token's features |
# | w | | the parameters of a head, by name |
# | table | (V, D) | the word embeddings |
# | start, end | (T) | log P that the answer starts, or ends, at a token |
# | h, p | (1, T, D), (V) | features inside the head for masked words; probabilities of a word |

# %%
import logging
import math

import numpy as np

import tinybert
from tinybert import BertTokenizer, no_grad, show

logging.getLogger("tinybert").setLevel(logging.ERROR)  # we print the loading report ourselves
tokenizer = BertTokenizer.from_pretrained("embedded")
QUESTION = "Where did the cat sleep?"
texts = [(QUESTION, "It slept on the warm stove."), (QUESTION, "Two and two make four.")]
inputs = tokenizer(texts, padding=True, return_tensors="np")


# %%
def load(model_class, inputs=inputs, **options):
    """Return a model, the features of its base, and its parameters."""
    model = model_class.from_pretrained("embedded", **options).to(dtype="float64")
    with no_grad():
        x = model.bert(**inputs).last_hidden_state.numpy()
    return model, x, {name: p.numpy() for name, p in model.named_parameters()}


def agree(name: str, ours: np.ndarray, engine: np.ndarray) -> bool:
    print(f"{name:14s} {ours.shape!s:14s} ours {ours.flat[0]:9.6f} engine {engine.flat[0]:9.6f}")
    return np.allclose(ours, engine, atol=1e-10)


# %% [markdown]
# ## A head without training
# The embedded checkpoint has the head for masked words only. All other heads and the layer that
# computes `pooled` get random weights, so their predictions mean nothing: load twice, and compare.

# %%
Classifier = tinybert.BertForSequenceClassification
_, report = Classifier.from_pretrained("embedded", output_loading_info=True)
models = [load(Classifier, num_labels=3)[0] for _ in range(2)]
two = np.array([model(**inputs).logits.numpy()[0] for model in models])
print("missing in the file:", *report.missing_keys)
show(two, "logits of one text", rows=["loaded once", "once more"])
assert "classifier.weight" in report.missing_keys
assert not np.allclose(two[0], two[1], atol=1e-3)

# %% [markdown]
# ## A head for each text, a head for each token
# Sequence classification is a linear map of `pooled`: N scores for each text. So is next-sentence
# prediction; its class 0 means that the second text follows. Multiple choice has one score for each
# pair of a question and a choice. Token classification is a linear map of every row of x.


# %%
def linear(x: np.ndarray, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


heads = {"classifier": Classifier, "cls.seq_relationship": tinybert.BertForNextSentencePrediction}
for head, kind in heads.items():
    model, x, w = load(kind)
    pooled = np.tanh(linear(x[:, 0], "bert.pooler.dense"))
    assert agree(head.split(".")[-1], linear(pooled, head), model(**inputs).logits.numpy())

model, x, w = load(tinybert.BertForMultipleChoice)
pooled = np.tanh(linear(x[:, 0], "bert.pooler.dense"))
choices = {name: array[None] for name, array in inputs.items()}  # (1, C, T): one question
assert agree("choices", linear(pooled, "classifier").reshape(1, 2), model(**choices).logits.numpy())
model, x, w = load(tinybert.BertForTokenClassification, num_labels=5)
real = inputs["attention_mask"] == 1  # of padding the engine does not compute features
assert agree("tokens", linear(x, "classifier")[real], model(**inputs).logits.numpy()[real])

# %% [markdown]
# ## A span of the text
# Extractive question answering has two scores for each token: the answer starts here, or ends here.
# The prediction is the best *pair* with start <= end. The two best tokens need not be a valid pair.

# %%
model, x, w = load(tinybert.BertForQuestionAnswering)
output = model(**inputs)
scores = linear(x, "qa_outputs")
engine = np.stack([output.start_logits.numpy(), output.end_logits.numpy()], axis=-1)
assert agree("spans", scores[real], engine[real])
start, end = np.log([0.1, 0.2, 0.7]), np.log([0.6, 0.3, 0.1])  # T = 3
pairs = np.exp(start[:, None] + end)
show(np.triu(pairs), "P(start) P(end) of the valid pairs", rows=["start 0", "1", "2"])
best = divmod(int(np.triu(pairs).argmax()), 3)
print("best start:", start.argmax(), "best end:", end.argmax(), "best pair:", best)
assert start.argmax() > end.argmax()
assert best == (2, 2)

# %% [markdown]
# ## A masked word
# This head is trained: linear map, GELU, layer norm. Then the product with every row of the *word
# embeddings*, and a bias. The table is used twice: its weights are tied (Press & Wolf 2016,
# arXiv:1608.05859). So it has two gradients, which are added: as word embeddings only the rows of
# the text's tokens get one; as output weights every row, since softmax lowers all other scores.

# %%
masked = tokenizer("She is my sister and he is my [MASK].", return_tensors="np")
model, x, w = load(tinybert.BertForMaskedLM, masked)
table, head = w["bert.embeddings.word_embeddings.weight"], "cls.predictions.transform"
h = linear(x, f"{head}.dense")
h *= (1 + np.vectorize(math.erf)(h / math.sqrt(2))) / 2
h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-12)
h = h * w[f"{head}.LayerNorm.weight"] + w[f"{head}.LayerNorm.bias"]
scores = h @ table.T + w["cls.predictions.bias"]
assert agree("masked word", scores, model(**masked).logits.numpy())
is_mask = masked["input_ids"] == tokenizer.mask_token_id
p = np.exp(scores[is_mask][0]) / np.exp(scores[is_mask][0]).sum()
likely = p.argsort()[:-6:-1].tolist()
words = tokenizer.convert_ids_to_tokens(likely)
show(p[likely], "She is my sister and he is my ...", cols=words)
assert words[0] == "brother"

# %%
weight = model.cls.predictions.decoder.weight
labels = np.where(is_mask, likely[0], -100)
model(**masked, labels=labels).loss.backward()
rows = weight.grad.numpy().any(axis=1).sum()
print("rows of the table with a gradient:", rows, "of", len(table))
assert weight is model.bert.embeddings.word_embeddings.weight
assert rows == len(table)

# %% [markdown]
# A head maps the features of a text or a token to scores. Without training they are random.
#
# Exercises: `bert/span`, `bert/tied`.
# Next: 26_losses_and_labels.py.
