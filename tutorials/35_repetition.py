# %% [markdown]
# # 35. Repetition
# Greedy search tends to repeat itself: a phrase that has occurred makes its own repetition more
# likely. Two methods change the scores before a token is chosen. Both are crude, and we see why.
#
# **You will be able to** forbid repeated n-grams and apply a repetition penalty to scores of either
# sign, and name a flaw of each.
#
# **You need** lesson 34 (greedy search) and NumPy's `isin` and `where`.
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | V | | tokens in the vocabulary |
# | row | | a list of ids: the text so far |
# | scores | (V) | the logits of the next token |
# | n | | the length of a forbidden n-gram: 2 |
# | penalty | | a number > 1: 1.5 |
# | c | | a constant that is added to all scores |

# %%
import numpy as np

from tinybert import no_grad, show
from tinybert.learn.rhyme import END, LONGEST, VOCAB, read, text_of, train_model

model, V = train_model(), len(VOCAB)


# %%
def scores_after(row: list[int]) -> np.ndarray:
    with no_grad():
        return model([row]).logits.numpy()[0, -1].astype(float)


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max())
    return e / e.sum()


def generate(row: list[int], change=lambda row, scores: scores) -> list[int]:
    """Greedy search; `change` gets the text so far and the scores of the next token."""
    while row[-1] != END and len(row) < LONGEST:
        row = [*row, int(change(row, scores_after(row)).argmax())]
    return row


# %% [markdown]
# ## A model that repeats
# In the rhyme of lesson 34 a wheel goes "round and round". Six lines say so: one has "round" twice,
# one three times, and four have it four times. So after two or three "and" is more likely than the
# end of the line.

# %%
start = read("the wheel")
repeated = generate(start)
rounds = [start + read("goes round" + i * " and round")[1:] for i in range(4)]
after = [[softmax(scores_after(row))[i] for i in (VOCAB.index("and"), END)] for row in rounds]
labels = ["1 round", "2 rounds", "3 rounds", "4 rounds"]
show(after, "P of the next token", rows=labels, cols=["and", "[END]"])
print("greedy:", text_of(repeated))
assert repeated == model.generate([start], max_length=LONGEST).tolist()[0]
assert text_of(repeated) == "the wheel goes round and round and round and round"

# %% [markdown]
# ## Forbid repeated n-grams
# An n-gram is a sequence of n tokens. With n = 2 every pair of tokens may occur once (Paulus et
# al. 2017, arXiv:1705.04304, section 2.5). So find all earlier occurrences of the last n − 1
# tokens. The token that followed them gets the score −∞.


# %%
def forbid_repeats(row: list[int], scores: np.ndarray, n: int = 2) -> np.ndarray:
    last = row[len(row) - n + 1 :]  # the first n - 1 tokens of the next n-gram
    seen = [row[i + n - 1] for i in range(len(row) - n + 1) if row[i : i + n - 1] == last]
    return np.where(np.isin(np.arange(V), seen), -np.inf, scores)


ours = generate(start, forbid_repeats)
engine = model.generate([start], max_length=LONGEST, no_repeat_ngram_size=2).tolist()[0]
print("ours:  ", text_of(ours))
print("engine:", text_of(engine))
assert ours == engine
assert text_of(ours) == "the wheel goes round and round"

# %% [markdown]
# The flaw: some n-grams have to be repeated. A text about New York could name it once only.
#
# ## A repetition penalty
# Make every token that has occurred less likely: divide its score by a penalty (Keskar et al. 2019,
# arXiv:1909.05858, section 4.1). The paper divides all scores. But −2 / 1.5 is −1.3, which is
# *higher*. So negative scores have to be multiplied.


# %%
def penalize(row: list[int], scores: np.ndarray, penalty: float = 1.5) -> np.ndarray:
    lowered = np.where(scores < 0, scores * penalty, scores / penalty)
    return np.where(np.isin(np.arange(V), row), lowered, scores)


example = np.where(np.arange(V) % 2, 2.0, -2.0)
everything = list(range(V))
print("scores 2 and -2, by our rule:", penalize(everything, example)[[1, 0]].round(2))
print("all divided, as in the paper:", (example / 1.5)[[1, 0]].round(2))
assert (penalize(everything, example) < example).all()
assert not (example / 1.5 < example).all()

ours = generate(start, penalize)
engine = model.generate([start], max_length=LONGEST, repetition_penalty=1.5).tolist()[0]
print("ours:  ", text_of(ours))
print("engine:", text_of(engine))
assert ours == engine
assert len(ours) < len(repeated)

# %% [markdown]
# ## What the penalty depends on
# Softmax ignores a constant c that is added to all scores (lesson 15), so training does not define
# it. The penalty depends on it: a score of 0 is not changed at all. With c = −log Σ exp(scores)
# the scores become log p, and the probabilities are the same. After the penalty they are not.

# %%
row = rounds[1]
scores = scores_after(row)
both = np.array([scores, scores - np.log(np.exp(scores).sum())])  # c = 0, and log p
likely, words = [VOCAB.index("and"), END], ["and", "[END]"]
before = np.array([softmax(s) for s in both])
after = np.array([softmax(penalize(row, s)) for s in both])
show(both[:, likely], "after " + text_of(row), rows=["scores", "log p"], cols=words)
show(before[:, likely], "probabilities without the penalty", rows=["scores", "log p"], cols=words)
show(after[:, likely], "with the penalty", rows=["scores", "log p"], cols=words)
assert np.allclose(before[0], before[1])
assert [VOCAB[i] for i in after.argmax(axis=1)] == ["[END]", "and"]

# A score of −3, and the token has occurred twice. What is its score after a penalty of 1.5?
penalized = None  # your answer: a number
assert penalized in (None, float(penalize([5, 5], np.full(V, -3.0))[5]))

# %% [markdown]
# Forbidden n-grams exclude the token that would repeat an n-gram. The penalty lowers the scores of
# all tokens that have occurred. Neither method knows which repetitions are right.
#
# Exercises: `write/penalty`.
#
# Next: 36_beams.py.
