# %% [markdown]
# # 36. Beam search
# Greedy search keeps one text, and misses the most likely line if it begins with a less likely
# word. Beam search keeps several. It finds more likely texts. Are those better texts?
#
# **You will be able to** write beam search, and say what its length penalty does.
#
# **You need** lesson 34 (greedy search) and Python's `sorted` on tuples.
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | V | | tokens in the vocabulary |
# | K | | beams: texts that are kept at every step |
# | row | | a list of ids: a text so far |
# | log_p | (V) | log-probabilities of the next token |
# | total | () | the sum of log P of all new tokens of a text |
# | length | | new tokens of a text, its end included |
# | α | | `length_penalty`: texts are ranked by total / length^α |

# %%
import math

import numpy as np

from tinybert import no_grad, show
from tinybert.learn.rhyme import BEGIN, END, LONGEST, VOCAB, read, text_of, train_model

model, V = train_model(), len(VOCAB)


def log_p_after(row: list[int]) -> np.ndarray:
    with no_grad():
        scores = model([row]).logits.numpy()[0, -1].astype(float)
    scores -= scores.max()
    return scores - np.log(np.exp(scores).sum())


# %% [markdown]
# ## One step with two beams
# After the first word there are two texts, "the" and "good". Each can be extended by V tokens. That
# makes K · V candidates, and the total of each is the total of its text plus log P of the token.
# All candidates compete; the best K are kept.

# %%
beams = [(float(log_p_after([BEGIN])[row[-1]]), row) for row in (read("the"), read("good"))]
candidates = np.array([total + log_p_after(row) for total, row in beams])  # (K, V)
best = np.argsort(-candidates, axis=None)[:6]
cols = np.unique(best % V)
names = [VOCAB[i] for i in cols]
show(np.exp(candidates)[:, cols], "P of two words", rows=["the", "good"], cols=names)
kept = [[*beams[i // V][1], int(i % V)] for i in best[:2]]
print("kept:", [text_of(row) for row in kept])
assert [text_of(row) for row in kept] == ["the cat", "good night"]

# %% [markdown]
# ## The whole search
# A candidate that ends with [END] is finished, and is not extended. So we take the best 2K: at most
# K of them are finished, and K others can go on. Each token lowers the total, so a plain sum
# prefers short texts. Finished texts are therefore ranked by total / length^α. The search stops if
# the best running text is worse than K finished ones. (Wu et al. 2016, arXiv:1609.08144, section 7,
# divide by ((5 + length) / 6)^α; transformers uses the simpler formula, and so do we.)


# %%
def beam_search(row: list[int], K: int, alpha: float) -> list[tuple[float, list[int]]]:
    """Return the finished texts as (rank, ids), best first."""
    running, ended = [(0.0, row)], []
    for length in range(1, LONGEST - len(row) + 1):
        candidates = []
        for total, ids in running:
            log_p = log_p_after(ids)
            candidates += [(total + float(log_p[token]), [*ids, token]) for token in range(V)]
        candidates = sorted(candidates, reverse=True)[: 2 * K]
        ended += [(total / length**alpha, ids) for total, ids in candidates[:K] if ids[-1] == END]
        ended = sorted(ended, reverse=True)[:K]
        running = [(total, ids) for total, ids in candidates if ids[-1] != END][:K]
        if len(ended) == K and running[0][0] / length**alpha <= ended[-1][0]:
            break
    return ended


# %%
def probability(row: list[int]) -> float:
    return math.exp(sum(log_p_after(row[:i])[row[i]] for i in range(1, len(row))))


found = {}
for K, alpha in ((1, 0.0), (2, 0.0), (4, 0.0), (4, 1.0)):
    rank, row = beam_search([BEGIN], K, alpha)[0]
    options = {"num_beams": K, "length_penalty": alpha, "max_length": LONGEST}
    engine = model.generate([[BEGIN]], **options).tolist()[0]
    print(f"K = {K}  alpha = {alpha:.0f}  P = {probability(row):.3f}  rank {rank:6.3f}", end="  ")
    print(f"ours: {text_of(row)} | engine: {text_of(engine)}")
    found[K, alpha] = row
    assert row == engine
assert found[1, 0.0] == model.generate([[BEGIN]], max_length=LONGEST).tolist()[0]  # greedy
assert text_of(found[2, 0.0]) == text_of(found[4, 0.0]) == "good night"

# %% [markdown]
# One beam is greedy search. Two beams find "good night", the most likely line of the rhyme.
#
# ## What the length penalty does
# With α = 1 the rank is the mean of log P over the tokens. Then four beams find a line that is half
# as likely. It is long, and almost all its tokens are certain, so its mean is near 0.

# %%
texts = [found[1, 0.0], found[2, 0.0], found[4, 1.0]]
lengths = np.array([len(row) - 1 for row in texts])
totals = np.log([probability(row) for row in texts])
ranks = np.transpose([totals / lengths**alpha for alpha in (0.0, 0.5, 1.0)])
labels = [" ".join(text_of(row).split()[:2]) for row in texts]
show(ranks, "rank = total / length^α", rows=labels, cols=["α=0", "α=0.5", "α=1"])
each = [float(log_p_after(texts[2][:i])[texts[2][i]]) for i in range(1, len(texts[2]))]
show(np.exp(each)[:, None], "the wheel", rows=[VOCAB[i] for i in texts[2][1:]], cols=["P"])
print("mean of log P:", round(np.mean(each), 4), "rank at alpha = 1:", round(ranks[2, 2], 4))
assert np.isclose(np.mean(each), ranks[2, 2])
assert labels[ranks[:, 0].argmax()] == "good night"
assert labels[ranks[:, 2].argmax()] == "the wheel"
assert 1.5 < probability(texts[1]) / probability(texts[2]) < 2.5

# A step of beam search with 3 beams and a vocabulary of 1000 tokens. How many candidates are there?
count = None  # your answer: a number
assert count in (None, 3 * 1000)

# %% [markdown]
# Beam search keeps the K most likely texts at every step. The most likely text is not always the
# best: human text is less likely than what beams find (Holtzman et al. 2019, arXiv:1904.09751), and
# many beams can make translations worse (Koehn & Knowles 2017, arXiv:1706.03872, section 3.6).
#
# Exercises: `write/beam_step`.
#
# Next: 37_cache_and_left_padding.py.
