# %% [markdown]
# # 6. Task heads and losses
# BERT computes a vector for each token. A head turns these features into predictions for a task:
# one or two layers and a loss. There are eight heads for the same base model. We compute every head
# and every loss from the features in NumPy, and compare with the model's class. Then we train one
# head, and check that it has learned.

# %%
import logging
import math
import sys

import tinybert
import tinybert.functional as F
from tinybert import BertTokenizer, nn, no_grad
from tinybert.fetch import FetchError, model_folder
from tinybert.optim import AdamW

# isort: split
import numpy as np  # after tinybert, which lets NumPy's idle threads sleep

try:
    folder = model_folder("minilm")
except FetchError as reason:  # it names the one command to run
    raise SystemExit(str(reason)) from None
logging.basicConfig(stream=sys.stdout, format="%(message)s")  # warnings, where we can see them
rng = np.random.default_rng(0)
tinybert.manual_seed(0)

PAIRS = [
    ("Where did the cat sleep?", "It slept on the warm stove."),
    ("Where did the cat sleep?", "Two and two make four."),
    ("What do bees make?", "The train to Rome was late."),
    ("What do bees make?", "From nectar they make honey."),
]
tokenizer = BertTokenizer.from_pretrained(folder)
inputs = dict(tokenizer(PAIRS, padding=True, return_tensors="np"))
ids, real = inputs["input_ids"], inputs["attention_mask"] == 1  # (B, T) each
(B, T), V = ids.shape, len(tokenizer)
assert (B, T, V) == (4, 16, 30522)

# %% [markdown]
# ## An untrained head
# The checkpoint of MiniLM has a base model and no head. A class with a head can be loaded from it;
# its head gets random weights, with a warning. Its predictions are random: load twice and compare.

# %%
Classifier = tinybert.BertForSequenceClassification
two, report = Classifier.from_pretrained(folder, output_loading_info=True)
assert report.missing_keys == ["classifier.bias", "classifier.weight"]
logging.getLogger("tinybert").setLevel(logging.ERROR)  # no further warnings
again = Classifier.from_pretrained(folder)
a, b = (model(**inputs).logits.numpy() for model in (two, again))
assert not np.allclose(a, b, atol=1e-3)

# %% [markdown]
# ## Cross-entropy
# Softmax turns scores into probabilities, and the loss is −log of the probability of the label:
# cross-entropy, log Σ exp(s) − s[label], averaged. The label −100, which no class has, is ignored:
# that position is neither in the sum nor in the number of terms. An untrained head gives each of N
# classes a probability of about 1/N, so its loss is about log N: check this at the beginning of a
# training.
#
# For the comparisons two layers of MiniLM are enough, in float64, where rounding errors are small.


# %%
def log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores - scores.max(-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def cross_entropy(scores: np.ndarray, labels) -> float:
    """Scores (..., N), labels (...)."""
    scores, labels = scores.reshape(-1, scores.shape[-1]), np.ravel(labels)
    counts = labels != -100
    return float(-log_softmax(scores[counts])[np.arange(counts.sum()), labels[counts]].mean())


def load(model_class, **options):
    """Return a model with random numbers added to its head, and the head's parameters."""
    model = model_class.from_pretrained(folder, num_hidden_layers=2, **options).to(dtype="float64")
    head = {n: p for n, p in model.named_parameters() if not n.startswith("bert.")}
    with no_grad():
        for parameter in head.values():
            parameter.add_(rng.normal(scale=0.1, size=parameter.shape))
    return model, {name: parameter.numpy() for name, parameter in head.items()}


def agree(model, loss: float, inputs=inputs, **labels) -> bool:
    with no_grad():
        return abs(model(**inputs, **labels).loss.item() - loss) < 1e-10


base = load(Classifier)[0].bert
output = base(**inputs)
x = output.last_hidden_state.numpy()  # (B, T, D) for each token
pooled = output.pooler_output.numpy()  # (B, D) for each text: [CLS], a linear map, tanh
assert np.isclose(cross_entropy(np.zeros((3, 7)), [1, 5, -100]), math.log(7))
assert abs(two(**inputs, labels=[0, 1, 1, 0]).loss.item() - math.log(2)) < 0.05

# %% [markdown]
# ## Masked language modeling
# The pretraining task of BERT: 15% of the tokens are chosen; 80% of these become [MASK], 10% a
# random token, 10% stay (Devlin et al. 2018, arXiv:1810.04805, section 3.1), and the model predicts
# the original tokens. The loss uses only the chosen positions. The head is a linear map, GELU and a
# layer norm, then the product with *every row of the word embeddings*, and a bias for each token.

# %%
first = ids[:1]  # (1, T), without padding
chosen = np.isin(first, tokenizer.convert_tokens_to_ids(["cat", "stove"]))
labels = np.where(chosen, first, -100)
masked = {"input_ids": np.where(chosen, tokenizer.mask_token_id, first)}  # all of them, for once
print(*tokenizer.convert_ids_to_tokens(masked["input_ids"][0]))

model, w = load(tinybert.BertForMaskedLM)
output = base(**masked)
x_masked, pooled_masked = output.last_hidden_state.numpy(), output.pooler_output.numpy()
table = base.embeddings.word_embeddings.weight.numpy()  # (V, D)


def predict(x: np.ndarray, w: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the head's features (..., D) for x (..., D), and the scores of all tokens (..., V)."""
    head = {name.removeprefix("cls.predictions."): array for name, array in w.items()}
    h = x @ head["transform.dense.weight"].T + head["transform.dense.bias"]
    h = h * (1 + np.vectorize(math.erf)(h / math.sqrt(2))) / 2
    std = np.sqrt(h.var(-1, keepdims=True) + base.config.layer_norm_eps)
    h = (h - h.mean(-1, keepdims=True)) / std
    h = h * head["transform.LayerNorm.weight"] + head["transform.LayerNorm.bias"]
    return h, h @ table.T + head["bias"]


h, scores = predict(x_masked[chosen], w)  # ignored positions are not needed
assert agree(model, cross_entropy(scores, first[chosen]), masked, labels=labels)

# %% [markdown]
# The decoder weights of the head are *tied* to the word embeddings (Press & Wolf 2016,
# arXiv:1608.05859). The matrix is used twice, so its gradient is a sum of two: as the input
# embedding, only for tokens of the text; as the decoder, for *every* row, since softmax lowers all
# other scores. With a copy for the decoder, the two gradients are separate.

# %%
words, decoder = model.bert.embeddings.word_embeddings, model.cls.predictions.decoder
assert decoder.weight is words.weight
model(**masked, labels=labels).loss.backward()
tied = words.weight.grad.numpy()

model.zero_grad()
decoder.weight = nn.Parameter(table.copy())  # untied
model(**masked, labels=labels).loss.backward()
as_input, as_output = words.weight.grad.numpy(), decoder.weight.grad.numpy()
assert np.abs(tied - as_input - as_output).max() < 1e-10
dscores = np.exp(log_softmax(scores))  # prediction minus target (tutorial 1)
dscores[np.arange(len(h)), first[chosen]] -= 1
assert np.abs(as_output - dscores.T @ h / len(h)).max() < 1e-10
assert as_input.any(axis=1).sum() <= len({*masked["input_ids"].ravel()})
assert as_output.any(axis=1).sum() == V

# %% [markdown]
# ## Next-sentence prediction
# The second pretraining task: one linear map of the pooled vector. Note the labels: **0 means that
# the second sentence follows**, 1 that it does not. `BertForPreTraining` adds both losses.

# %%
model, w = load(tinybert.BertForNextSentencePrediction)
scores = pooled @ w["cls.seq_relationship.weight"].T + w["cls.seq_relationship.bias"]  # (B, 2)
assert agree(model, cross_entropy(scores, [0, 1, 1, 0]), labels=[0, 1, 1, 0])

model, w = load(tinybert.BertForPreTraining)
loss = cross_entropy(predict(x_masked[chosen], w)[1], first[chosen])
scores = pooled_masked @ w["cls.seq_relationship.weight"].T + w["cls.seq_relationship.bias"]
loss += cross_entropy(scores, [0])
assert agree(model, loss, masked, labels=labels, next_sentence_label=[0])

# %% [markdown]
# ## Sequence classification and regression
# The head is one linear map of the pooled vector to `num_labels` scores. `problem_type` in the
# config selects the loss, which gives the scores their meaning:
#
# - "single_label_classification": one of N classes; cross-entropy;
# - "multi_label_classification": N independent yes/no labels; the mean of −log sigmoid(±s);
# - "regression": numbers y; the mean squared error (s − y)².

# %%
model, w = load(Classifier, num_labels=3)
scores = pooled @ w["classifier.weight"].T + w["classifier.bias"]  # (B, 3)
numbers, several, one = rng.normal(size=(B, 3)), np.eye(3)[[2, 0, 1, 1]], np.array([2, 0, 1, 1])
yes_no = np.logaddexp(0, -scores) * several + np.logaddexp(0, scores) * (1 - several)
losses = {
    "regression": (numbers, ((scores - numbers) ** 2).mean()),
    "single_label_classification": (one, cross_entropy(scores, one)),
    "multi_label_classification": (several, yes_no.mean()),
}
for kind, (y, loss) in losses.items():
    model.config.problem_type = kind
    assert agree(model, loss, labels=y)

# %% [markdown]
# Without `problem_type` it is inferred: num_labels 1 means regression, integer labels mean a single
# class, other labels several. transformers stores the result for the first batch in the config,
# where it is saved with the model; tinybert infers it in every call. It can be wrong: for class
# numbers stored as floats, and for two classes with `num_labels=1`, which is a regression to 0 and
# 1. Better set it.

# %%
model.config.problem_type = None
assert agree(model, losses["single_label_classification"][1], labels=one)
assert agree(model, losses["multi_label_classification"][1], labels=several)  # not stuck
assert model.config.problem_type is None
assert cross_entropy(scores[:, :1], [0, 0, 0, 0]) == 0  # one class: always right, learns nothing

# %% [markdown]
# ## Token classification
# The same linear map on every token. The loss does not use the attention mask: padding counts,
# unless its label is −100. The same holds for [CLS] and [SEP].

# %%
model, w = load(tinybert.BertForTokenClassification, num_labels=5)
scores = x @ w["classifier.weight"].T + w["classifier.bias"]  # (B, T, 5)
classes = rng.integers(5, size=(B, T))
careless, careful = np.where(real, classes, 0), np.where(real, classes, -100)
assert agree(model, cross_entropy(scores, careless), labels=careless)
assert agree(model, cross_entropy(scores, careful), labels=careful)
assert cross_entropy(scores, careless) != cross_entropy(scores, careful)

# %% [markdown]
# ## Multiple choice
# Each choice is encoded separately, with the question: (B, C, T) is reshaped to (B·C, T), each text
# gets one score, and the scores are reshaped to (B, C). Softmax is over the choices, so only
# choices of the same question compete. Our four texts are two questions with two choices each.

# %%
model, w = load(tinybert.BertForMultipleChoice)
scores = (pooled @ w["classifier.weight"].T + w["classifier.bias"]).reshape(2, 2)  # (B, C)
folded = {name: array.reshape(2, 2, T) for name, array in inputs.items()}
assert agree(model, cross_entropy(scores, [0, 1]), folded, labels=[0, 1])

# %% [markdown]
# ## Extractive question answering
# Two scores per token, for the start and the end of the answer. The classes are the *positions*:
# two softmaxes over T, and the loss is the mean of both. "No answer" is position 0, [CLS] (Devlin
# et al., section 4.3). If the text was truncated, the answer can be at a position >= T, which is
# ignored. Negative positions count as 0.

# %%
model, w = load(tinybert.BertForQuestionAnswering)
start, end = np.moveaxis(x @ w["qa_outputs.weight"].T + w["qa_outputs.bias"], -1, 0)  # (B, T) each
loss = (cross_entropy(start, [11, 0, 0, 13]) + cross_entropy(end, [13, 0, 0, -100])) / 2
assert agree(model, loss, start_positions=[11, 0, -3, 13], end_positions=[13, 0, -1, T + 5])

# The prediction is the best *pair* with start <= end. The best end alone can be before the start:
start, end = np.array([0.0, 1.0, 5.0]), np.array([4.0, 3.0, 2.5])  # T = 3
assert (start.argmax(), end.argmax()) == (2, 0)
pairs = np.triu(np.exp(log_softmax(start)[:, None] + log_softmax(end)[None, :]))  # (T, T)
assert divmod(int(pairs.argmax()), 3) == (2, 2)

# %% [markdown]
# ## Causal language modeling
# The head of masked language modeling, on a base model with a causal mask (`is_decoder=True`,
# tutorial 4). Position t predicts the token at t + 1: scores of all positions but the last, labels
# of all but the first. The model shifts the labels itself; shifting them again trains it on the
# token after next, without an error. The leak test shows whether positions attend to their own
# label: change the last token, and no feature of an earlier position may change.

# %%
model, w = load(tinybert.BertLMHeadModel, is_decoder=True)
_, scores = predict(model.bert(first).last_hidden_state.numpy(), w)  # (1, T, V)
text, shifted = {"input_ids": first}, np.append(first[:, 1:], [[-100]], axis=1)
assert agree(model, cross_entropy(scores[:, :-1], first[:, 1:]), text, labels=first)
assert agree(model, cross_entropy(scores[:, :-2], first[:, 2:]), text, labels=shifted)  # too far

changed = np.where(np.arange(T) < T - 1, first, 2000)
for causal in (True, False):
    model.config.is_decoder = causal
    a, b = (model.bert(some).last_hidden_state.numpy() for some in (first, changed))
    assert np.array_equal(a[:, :-1], b[:, :-1]) == causal

# %% [markdown]
# ## Training a head
# Sentiment classification: is a sentence friendly or not? The base model is frozen, so its features
# are computed once, and training the head takes a moment.

# %%
OPPOSITES = """the food was wonderful|awful, i love|hate this book, what a beautiful|miserable day
our trip was perfect|ruined, the staff were kind|rude, she sang beautifully|horribly
everyone enjoyed|hated the party, the film is a masterpiece|failure, what a success|disaster
the soup tastes delicious|disgusting, the best|worst cake in town, the garden looks lovely|dead
this phone works|breaks all the time, a charming|dirty little hotel, the music made me happy|sick
they won|lost and we cheered|cried, i will gladly|never come again, you did excellent|poor work
it runs fast|badly and quietly|loudly, the children laughed|cried a lot, i am glad|sorry you came
a warm|cold and funny|silly story, the bed was soft|stained, he is a great|terrible teacher"""
pairs = OPPOSITES.replace("\n", ",").split(",")
sentences = [" ".join(w.split("|")[-i] for w in pair.split()) for i in (0, 1) for pair in pairs]
label, third = np.repeat([1, 0], 24), np.tile(np.arange(24) % 3, 2)
batch = tokenizer(sentences, padding=True, return_tensors="np")
with no_grad():
    pooled = two.bert(**batch).pooler_output.numpy()


def train(x: np.ndarray, y: np.ndarray) -> tuple[nn.Linear, list[float]]:
    """Train a classifier of x (N, D) with labels (N,); return it and its losses."""
    head, losses = nn.Linear(x.shape[1], 2), []
    optimizer = AdamW(head.parameters(), lr=0.02)
    for _ in range(100):
        loss = F.cross_entropy(head(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return head, losses


head, losses = train(pooled, label)
for step in range(0, 100, 20):
    print(f"step {step:3d}  loss {losses[step]:.3f}  {'#' * round(60 * losses[step])}")
assert abs(losses[0] - math.log(2)) < 0.05  # untrained
assert losses[-1] < 0.1  # it has memorized the training data; if not, there is a bug


# %% [markdown]
# A loss near 0 only proves that gradient and optimizer work: with 384 features for 48 sentences a
# head can memorize *any* labels (overfitting), shuffled ones too. So measure the accuracy on
# sentences that it was not trained on. Cross-validation: each third of the pairs is held out in
# turn, and classified by a head trained on the others; pairs stay together, since their sentences
# share most words. With shuffled labels the accuracy is that of guessing.


# %%
def cross_validate(y: np.ndarray) -> tuple[float, float]:
    """Return the final training loss, and the accuracy on held-out sentences."""
    right = np.zeros(len(y), bool)
    for i in range(3):
        head, losses = train(pooled[third != i], y[third != i])
        right[third == i] = (head(pooled).numpy().argmax(axis=-1) == label)[third == i]
    return losses[-1], right.mean()


for name, y in (("true", label), ("shuffled", rng.permutation(label))):
    loss, share = cross_validate(y)
    print(f"{name:8s} labels: loss {loss:.2f}, held out {share:.0%} right")
    assert loss < 0.2
    assert (share > 0.7) == (name == "true")

two.classifier.load_state_dict(head.state_dict())  # the model whose head was noise
verdict = two(**tokenizer("The view was splendid.", return_tensors="np")).logits.softmax(-1)
print(f"The view was splendid: friendly with P = {verdict[0, 1].item():.2f}")
assert verdict[0, 1].item() > 0.5

# %% [markdown]
# ## Try
# Replace a None by your answer and run the script again: the assertion says whether it is right.

# %%
first_loss = None  # what is the loss of a new head with 9 labels, to one decimal?
counted = None  # how many positions are in the causal LM loss of all four texts, without padding?

assert first_loss in (None, round(math.log(9), 1))
assert counted in (None, int((np.where(real, ids, -100)[:, 1:] != -100).sum()))
# Next: text generation, 07_writing.py.
