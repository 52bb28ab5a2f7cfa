# %% [markdown]
# # 6. Heads and losses: what stands on top of BERT
# BERT turns each token into a vector. What that is good for, a head decides: one or two layers on
# top, and a loss that says how wrong their answer is. There are eight heads, and all stand on the
# same base. We compute every head and every loss from its features in NumPy, beside the model's own
# class. Then we train one, with the checks that belong to it.

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
    folder = model_folder()
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
# ## A head that nobody has trained
# The file of MiniLM holds a base and no head. A class with a head can be loaded from it, but its
# head is initialized at random, and a warning says so. Its answers are noise: load twice, get two.

# %%
Classifier = tinybert.BertForSequenceClassification
two, report = Classifier.from_pretrained(folder, output_loading_info=True)
assert report.missing_keys == ["classifier.bias", "classifier.weight"]
logging.getLogger("tinybert").setLevel(logging.ERROR)  # seen once, that is enough
again = Classifier.from_pretrained(folder)
a, b = (model(**inputs).logits.numpy() for model in (two, again))
assert not np.allclose(a, b, atol=1e-3)

# %% [markdown]
# ## One loss for nearly all
# Softmax makes probabilities of scores, and the loss is −log of the one that should have been 1:
# cross-entropy, log Σ exp(s) − s[label], averaged. The label −100, which no class can have, means
# that a place does not count: it is neither in the sum nor in the number that divides it. A head
# that knows nothing gives each of N classes about 1/N, so its loss is about log N: the first thing
# to look at when a training begins.
#
# For the comparisons two layers of MiniLM are enough, in float64, so that rounding hides nothing.


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
    """A model, with random numbers added to its head, biases too; and the head's parameters."""
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
# ## Masked words
# What BERT learned from: 15% of the tokens are chosen; 80% of these become [MASK], 10% a random
# word, 10% stay (Devlin et al. 2018, arXiv:1810.04805, section 3.1), and the model says what stood
# there. Only chosen places count. The head: a linear map, GELU and a layer norm, then the product
# with *every row of the table of words*, and a bias for each word. For us one text is enough.

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
    """(..., D): what the head makes of it (..., D), and the scores of all words (..., V)."""
    head = {name.removeprefix("cls.predictions."): array for name, array in w.items()}
    h = x @ head["transform.dense.weight"].T + head["transform.dense.bias"]
    h = h * (1 + np.vectorize(math.erf)(h / math.sqrt(2))) / 2
    std = np.sqrt(h.var(-1, keepdims=True) + base.config.layer_norm_eps)
    h = (h - h.mean(-1, keepdims=True)) / std
    h = h * head["transform.LayerNorm.weight"] + head["transform.LayerNorm.bias"]
    return h, h @ table.T + head["bias"]


h, scores = predict(x_masked[chosen], w)  # no need of the places that do not count
assert agree(model, cross_entropy(scores, first[chosen]), masked, labels=labels)

# %% [markdown]
# The head has no table of its own: its decoder *is* the table that reads words in, "tied" (Press &
# Wolf 2016, arXiv:1608.05859). One table, used twice, gets two gradients, added: as the input only
# rows of words that were read; as the output *every* row, since softmax pushes all other words
# down. Give the decoder a copy, and the two can be seen apart.

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
dscores = np.exp(log_softmax(scores))  # what is predicted minus what is right (tutorial 1)
dscores[np.arange(len(h)), first[chosen]] -= 1
assert np.abs(as_output - dscores.T @ h / len(h)).max() < 1e-10
assert as_input.any(axis=1).sum() <= len({*masked["input_ids"].ravel()})
assert as_output.any(axis=1).sum() == V

# %% [markdown]
# ## Does the second sentence follow?
# BERT's other task, one linear map of the pooled vector. Mind the labels: **0 means that it
# follows**, 1 that it does not. `BertForPreTraining` has both heads, and its loss is the sum.

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
# ## A class, several classes, or a number
# The head is one linear map of the pooled vector to `num_labels` scores. What these mean, only the
# loss knows, and `problem_type` in the config chooses it:
#
# - "single_label_classification": one of N; cross-entropy;
# - "multi_label_classification": N independent yes or no; for each −log sigmoid(±s), averaged;
# - "regression": numbers to be met; (s − y)², averaged.

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
# Without `problem_type` there is a guess: num_labels 1 means regression, whole numbers mean a
# single class, anything else several. transformers writes the guess of its first batch into the
# config, where it stays, and is saved with the model; here each call is judged anew. Guesses go
# wrong: class numbers that happen to be floats, and two classes with `num_labels=1`, which is a
# regression to 0 and 1. Say what you mean.

# %%
model.config.problem_type = None
assert agree(model, losses["single_label_classification"][1], labels=one)
assert agree(model, losses["multi_label_classification"][1], labels=several)  # not stuck
assert model.config.problem_type is None
assert cross_entropy(scores[:, :1], [0, 0, 0, 0]) == 0  # one class: always right, learns nothing

# %% [markdown]
# ## A class for every token
# The same map on every token. Padding has features too, and the loss does not ask the attention
# mask: padding counts, unless its label is −100. So do the [CLS] and [SEP] of your texts.

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
# Each choice is read on its own, with the question: (B, C, T) is flattened to (B·C, T), each text
# gets one score, and these are folded back to (B, C). Softmax is over the choices, so only scores
# of the same question compete. Our four texts are two questions with two choices each.

# %%
model, w = load(tinybert.BertForMultipleChoice)
scores = (pooled @ w["classifier.weight"].T + w["classifier.bias"]).reshape(2, 2)  # (B, C)
folded = {name: array.reshape(2, 2, T) for name, array in inputs.items()}
assert agree(model, cross_entropy(scores, [0, 1]), folded, labels=[0, 1])

# %% [markdown]
# ## Where is the answer?
# Two scores a token, as the start and as the end of the answer. The classes are the *places*: two
# softmaxes over T, and the loss is the mean of both. "No answer" is place 0, [CLS] (Devlin et al.,
# section 4.3). If the text was cut, an answer may lie beyond T: such a place does not count.
# Negative ones count as 0.

# %%
model, w = load(tinybert.BertForQuestionAnswering)
start, end = np.moveaxis(x @ w["qa_outputs.weight"].T + w["qa_outputs.bias"], -1, 0)  # (B, T) each
loss = (cross_entropy(start, [11, 0, 0, 13]) + cross_entropy(end, [13, 0, 0, -100])) / 2
assert agree(model, loss, start_positions=[11, 0, -3, 13], end_positions=[13, 0, -1, T + 5])

# To answer, take the best *pair* with start <= end. Each best on its own may end before it starts:
start, end = np.array([0.0, 1.0, 5.0]), np.array([4.0, 3.0, 2.5])  # T = 3
assert (start.argmax(), end.argmax()) == (2, 0)
pairs = np.triu(np.exp(log_softmax(start)[:, None] + log_softmax(end)[None, :]))  # (T, T)
assert divmod(int(pairs.argmax()), 3) == (2, 2)

# %% [markdown]
# ## The next word
# The head of masked words again, on a base where no token sees those after it (`is_decoder=True`,
# tutorial 4). Place t predicts the token at t + 1: scores of all places but the last, labels of all
# but the first. The model shifts by itself; who shifts the labels too trains it on the word after
# next, and no error tells. The leak test does tell whether places see their own answer: change the
# last token, and no feature of an earlier place may change.

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
# ## A head that learns
# Is a sentence friendly or not? The base stays frozen, so its features are computed once, and to
# train a head takes a moment.

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
    """A classifier of x (N, D) with labels (N,), and its losses."""
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
assert abs(losses[0] - math.log(2)) < 0.05  # before: it knows nothing
assert losses[-1] < 0.1  # after: it knows these by heart; if not, something is broken


# %% [markdown]
# A loss near 0 proves that gradient and optimizer work, no more: with 384 features for 48 sentences
# a head can learn *any* labels by heart, shuffled ones too. So judge it by sentences that it has
# not seen. Each third of the pairs is held out in turn, and judged by a head trained on the others
# (cross-validation); pairs stay together, since their sentences share most words. That finds the
# shuffled labels out.


# %%
def cross_validate(y: np.ndarray) -> tuple[float, float]:
    """The last loss, and the share of sentences that are judged rightly while held out."""
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
first_loss = None  # what is the loss of a fresh head with 9 labels, to one decimal?
counted = None  # how many places count for the next word, in all four texts, padding left out?

assert first_loss in (None, round(math.log(9), 1))
assert counted in (None, int((np.where(real, ids, -100)[:, 1:] != -100).sum()))
# Next: a BERT that writes, 07_writing.py.
