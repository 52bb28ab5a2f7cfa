# %% [markdown]
# # 34. Greedy search and sampling
# A language model gives a probability to every token that can come next. To generate text, choose
# one, append it, and repeat. Which one? The most likely token, or a random one?
#
# **You will be able to** write greedy search and sampling with temperature, top-k and top-p, and
# say what each does to the distribution.
#
# **You need** lesson 15 (softmax), lesson 26 (causal language modeling), and NumPy's `argsort`.
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | V | | tokens in the vocabulary |
# | row | | a list of ids: the text so far |
# | scores | (V) | the logits of the next token |
# | p | (V) | its probabilities, softmax of the scores |
# | E | (V) | random numbers from an exponential distribution |
# | t, k, limit | | the settings of temperature, top-k and top-p |

# %%
import math

import numpy as np

from tinybert import no_grad, show
from tinybert.learn.rhyme import BEGIN, END, LINES, VOCAB, read, text_of, train_model

V = len(VOCAB)
print(read("good night"), [VOCAB[i] for i in read("good night")])
assert text_of(read("good night")) == "good night"

# %% [markdown]
# ## A model whose probabilities we know
# `train_model` trains a causal BERT of one layer on a rhyme of 32 lines (tinybert/learn/rhyme.py).
# The best possible model gives each line the probability with which it occurs in the rhyme: 8/32
# for "good night". P(line) is the product of P(word | words before). So we can check the model.

# %%
model = train_model()


def scores_after(row: list[int]) -> np.ndarray:
    with no_grad():
        return model([row]).logits.numpy()[0, -1].astype(float)


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max())
    return e / e.sum()


# %%
def probability(row: list[int]) -> float:
    return math.prod(float(softmax(scores_after(row[:i]))[row[i]]) for i in range(1, len(row)))


found = [probability([*read(line), END]) for line in LINES]
true = [count / 32 for count in LINES.values()]
show(np.transpose([true, found]), "P(line)", rows=list(LINES), cols=["rhyme", "model"])
assert np.allclose(found, true, atol=0.02)

# %% [markdown]
# ## Greedy search: always the most likely token
# The loop below is that of every method; `change` and `choose` differ.


# %%
def generate(row, choose=np.argmax, change=lambda scores: scores) -> list[int]:
    while row[-1] != END and len(row) < 16:
        row = [*row, int(choose(change(scores_after(row))))]
    return row


greedy, best = generate([BEGIN]), [*read("good night"), END]
engine = model.generate([[BEGIN]], max_length=16).tolist()[0]
for name, row in (("ours", greedy), ("engine", engine), ("the best line", best)):
    print(f"{name:13s} P = {probability(row):.3f}:", text_of(row))
assert greedy == engine
assert probability(best) > 2 * probability(greedy)

# %% [markdown]
# Greedy search did not find the most likely line. "the" is the most likely first word, but many
# lines begin with it, so each of them is unlikely.
#
# ## Change the distribution, then sample
# A sampled token is random, and likely tokens come more often. But thousands of unlikely tokens
# together have a large probability, and one of them can spoil a text. Three remedies:
#
# - temperature: scores / t. With t < 1 likely tokens get more likely: t = 0.5 squares p.
# - top-k: keep the k most likely tokens (Fan et al. 2018, arXiv:1805.04833).
# - top-p: keep the most likely tokens until their sum reaches a limit. That is few tokens if the
#   model is sure, and many if not (Holtzman et al. 2019, arXiv:1904.09751).


# %%
def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    return np.where(scores < np.sort(scores)[-k], -np.inf, scores)


def top_p(scores: np.ndarray, limit: float) -> np.ndarray:
    order = scores.argsort()[::-1]  # most likely first
    p = softmax(scores)[order]
    before = p.cumsum() - p  # the sum of all tokens before it in this order
    return np.where(np.isin(np.arange(V), order[before < limit]), scores, -np.inf)


# %%
scores = scores_after(read("the"))
ways = {"as it is": scores, "t = 0.5": scores / 0.5, "t = 2": scores / 2}
ways |= {"k = 2": top_k(scores, 2), "p = 0.75": top_p(scores, 0.75)}
p = {name: softmax(changed) for name, changed in ways.items()}
likely = scores.argsort()[:-8:-1]
show([p[name][likely] for name in p], "after 'the'", rows=list(p), cols=[VOCAB[i] for i in likely])
squares = p["as it is"] ** 2
print("p(cat) at t = 0.5:", p["t = 0.5"].max(), "squared:", squares.max() / squares.sum())
assert np.allclose(p["t = 0.5"], squares / squares.sum())
assert [int((x > 0).sum()) for x in p.values()] == [V, V, V, 2, 3]

# %% [markdown]
# To draw a token from softmax(scores), draw E from an exponential distribution for each token, and
# take the argmax of score − log E: the Gumbel-max trick (Kool et al. 2019, arXiv:1903.06059). The
# engine draws in this way, too, so the same seed gives the same text.


# %%
def sampler(seed: int):
    rng = np.random.Generator(np.random.SFC64(seed))  # the engine's generator
    return lambda scores: np.argmax(scores - np.log(rng.standard_exponential(V)))


draw = sampler(0)
share = np.bincount([draw(scores) for _ in range(4000)], minlength=V) / 4000
print("after 'the', p:", p["as it is"][likely[:3]].round(2), "drawn:", share[likely[:3]].round(2))
assert np.allclose(share, p["as it is"], atol=0.03)
options = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "do_sample": True, "max_length": 16}
for seed in range(3):
    row = generate([BEGIN], sampler(seed), lambda scores: top_p(top_k(scores / 0.7, 5), 0.9))
    theirs = model.generate([[BEGIN]], seed=seed, **options).tolist()[0]
    print(seed, "ours:", text_of(row), "| engine:", text_of(theirs))
    assert row == theirs

# %% [markdown]
# Greedy search takes the most likely token, which need not lead to the most likely text. Sampling
# varies the text; temperature, top-k and top-p remove the unlikely tokens.
#
# Exercises: `write/top_p`.
#
# Next: 35_repetition.py.
