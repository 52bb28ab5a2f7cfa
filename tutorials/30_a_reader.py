# %% [markdown]
# # 30. Fine-tuning a reader: answers that are spans of a text
# An extractive reader gets a question and a text, and marks the answer in the text. We fine-tune
# the embedded model with generated facts. Then we test what it has learned, and what not.
#
# **You will be able to** turn an answer in characters into labels for tokens, and fine-tune and
# test a reader.
#
# **You need** lessons 13 (offsets), 25 (spans), 26 (the loss) and 28 (fine-tuning).
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, T | | questions of a batch, tokens of a row: 16, up to 30 |
# | start, end | (B) | labels: the first and the last token of the answer |
# | scores | (B, T, T) | score of each span: of its start and of its end, added |

# %%
import logging

import numpy as np

from tinybert import BertForQuestionAnswering, BertTokenizerFast, manual_seed, no_grad, show
from tinybert.optim import AdamW

logging.getLogger("tinybert").setLevel(logging.ERROR)  # that the head is new is expected
SEEDS, B, STEPS = range(5), 16, 18
VERBS = [("found", "find"), ("lost", "lose"), ("bought", "buy"), ("sold", "sell")]
SEEN = """anna ben clara david emma frank grace henry
key book ball lamp coat map, kitchen garden attic cellar office school, old big red dark"""
UNSEEN = """maria peter susan george
guitar camera hat letter, library station barn church, new small blue white"""
tokenizer = BertTokenizerFast.from_pretrained("embedded")

# %% [markdown]
# ## Facts and questions
# A fact says who did what with which thing, and where. There are two orders of words, so that the
# position alone does not give the answer.


# %%
def example(words: str, rng) -> tuple[str, str, str]:
    """Return a question, a text, and the answer, which is a part of the text."""
    choices = [group.split() for group in words.replace("\n", ",").split(",")]
    name, thing, room, adjective = (str(rng.choice(group)) for group in choices)
    past, verb = VERBS[rng.integers(len(VERBS))]
    what = f"the {adjective} {thing}" if rng.random() < 0.5 else f"the {thing}"
    text = f"{name} {past} {what} in the {room}."
    if rng.random() < 0.5:
        text = f"in the {room} {name} {past} {what}."
    questions = {f"who {past} the {thing}?": name, f"what did {name} {verb}?": what}
    questions[f"where was the {thing} {past}?"] = f"the {room}"
    question, answer = list(questions.items())[rng.integers(3)]
    return question, text, answer


rng = np.random.default_rng(9)
test = [example(UNSEEN, rng) for _ in range(48)]
for question, text, answer in test[:3]:
    print(f"{text}  {question}  {answer}")
assert all(answer in text for _, text, answer in test)

# %% [markdown]
# ## From characters to tokens
# The answer begins at character text.index(answer), but the labels are tokens. `char_to_token` uses
# the offsets of lesson 13; its 1 means the second text of the row.


# %%
def encode(examples) -> tuple[dict, np.ndarray, np.ndarray]:
    questions, texts, _ = map(list, zip(*examples, strict=True))
    batch, places = tokenizer(questions, texts, padding=True, return_tensors="np"), []
    for row, (_, text, answer) in enumerate(examples):
        first = text.index(answer)
        ends = (first, first + len(answer) - 1)
        places.append([batch.char_to_token(row, at, 1) for at in ends])
    return dict(batch), *np.transpose(places)


batch, start, end = encode(test)
row = next(i for i, (_, _, answer) in enumerate(test) if answer.count(" ") == 2)
tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][row].tolist())
marks = np.eye(len(tokens))[[start[row], end[row]]]
show(marks, "labels", rows=["start", "end"], cols=tokens)
print("answer:", test[row][2], "  tokens:", *tokens[start[row] : end[row] + 1])
assert " ".join(tokens[start[row] : end[row] + 1]) == test[row][2]

# %% [markdown]
# ## Training and three tests
# Each token has two scores. The prediction is the span with the largest sum of both, of all spans
# that do not end before their start and are in the second text (token type 1).
#
# The first test has new words. The second gives each text the question of another one, so that only
# a model that ignores the question is right. In the third a text has two facts: which one is meant?


# %%
def share_right(model, examples) -> float:
    batch, start, end = encode(examples)
    with no_grad():
        output = model(**batch)
    scores = output.start_logits.numpy()[:, :, None] + output.end_logits.numpy()[:, None]
    in_text, T = batch["token_type_ids"] == 1, scores.shape[-1]
    allowed = in_text[:, :, None] & in_text[:, None] & (np.arange(T)[:, None] <= np.arange(T))
    best = np.where(allowed, scores, -np.inf).reshape(-1, T * T).argmax(axis=1)
    return float((best == start * T + end).mean())


# %%
def train(seed: int) -> tuple[list[float], list[float]]:
    """Return the losses, and the share of right answers in each test."""
    manual_seed(seed)
    rng, losses = np.random.default_rng(seed), []
    model = BertForQuestionAnswering.from_pretrained("embedded")
    model.bert.embeddings.requires_grad_(False)
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)
    for _ in range(STEPS):
        batch, start, end = encode([example(SEEN, rng) for _ in range(B)])
        loss = model(**batch, start_positions=start, end_positions=end).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [share_right(model, examples) for examples in tests.values()]


# %%
swapped = [(q, t, a) for (q, *_), (_, t, a) in zip(test[1:] + test[:1], test, strict=True)]
two = []
for i, (question, text, answer) in enumerate(test):
    other = example(SEEN, rng)[1]
    two.append((question, f"{text} {other}" if i % 2 else f"{other} {text}", answer))
tests = {"new words": test, "wrong question": swapped, "two facts": two}
losses, shares = map(np.array, zip(*map(train, SEEDS), strict=True))
seeds = [f"seed {seed}" for seed in SEEDS]
means = losses.reshape(5, -1, 3).mean(axis=-1)
show(means, "loss, means of 3 steps", rows=seeds, cols=range(3, STEPS + 1, 3))
show(shares, "share of answers that are right to the word", rows=seeds, cols=list(tests))
for name, column in zip(tests, shares.T, strict=True):
    low, median, high = np.quantile(column, [0, 0.5, 1])
    print(f"{name:15s} median {median:.0%} ({low:.0%} to {high:.0%}) of {len(tests[name])}")
assert (np.median(shares, axis=0) > [0.85, 0.7, 0.7]).tolist() == [True, False, False]

# %% [markdown]
# The reader has learned *what kind* of answer a question wants, also with new words. It has not
# learned which fact is meant, since its training texts have one. Test what training did not need.
#
# Exercises: `bert/span`.
# Next: 31_adam_and_warm_up.py.
