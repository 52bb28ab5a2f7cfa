# %% [markdown]
# # 28. Fine-tuning: what freezing the encoder costs
# Lesson 27 trained a head on features of a frozen encoder, which are computed once. Fine-tuning
# trains the encoder too. Is it worth its price? In our data "the food was not bad" is friendly.
#
# **You will be able to** fine-tune an encoder with a head, and compare it with a frozen one by
# held-out accuracy, trained parameters and time.
#
# **You need** lesson 27 (a head on frozen features, held-out data).
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | N, B, T | | training sentences, sentences of a batch, tokens of a row: 64, 16, up to 10 |
# | batch, y | (N, T), (N) | token ids and mask; 1 friendly, 0 unfriendly |
# | x | (N, 384) | features of a sentence: the mean of the last states of its real tokens |

# %%
import time

import numpy as np

import tinybert.functional as F
from tinybert import BertModel, BertTokenizer, manual_seed, nn, no_grad, show
from tinybert.optim import AdamW

SEEDS, N, B, STEPS = range(5), 64, 16, 24
NOUNS = ["food", "hotel", "film", "book", "room", "garden", "party", "trip", "song", "teacher"]
ADVERBS = ["very", "really", "not", "never"]
SEEN = """good wonderful nice great lovely excellent pleasant beautiful
bad terrible awful poor ugly horrible boring dull"""
UNSEEN = """perfect charming delightful brilliant
miserable dreadful disgusting disappointing"""
tokenizer = BertTokenizer.from_pretrained("embedded")

# %% [markdown]
# ## The data
# A sentence is friendly if *either* its adjective is friendly *or* it has a negation, but not both.
# The held-out sentences have adjectives that no training sentence has.


# %%
def draw(adjectives: str, count: int, rng) -> tuple[list[str], dict, np.ndarray]:
    """Return sentences, the batch of their ids, and the labels."""
    friendly, unfriendly = map(str.split, adjectives.splitlines())
    texts, y = [], []
    for _ in range(count):
        noun, adverb, word = (str(rng.choice(a)) for a in (NOUNS, ADVERBS, friendly + unfriendly))
        texts.append(f"the {noun} was {adverb} {word}.")
        y.append((word in friendly) != (adverb in ("not", "never")))
    return texts, dict(tokenizer(texts, padding=True, return_tensors="np")), np.array(y, int)


texts, test, test_y = draw(UNSEEN, 64, np.random.default_rng(9))
print(*(f"{label} {text}" for label, text in zip(test_y[:5], texts[:5], strict=True)), sep="\n")
assert 0.35 < test_y.mean() < 0.65  # guessing is right in about half


# %%
def features(base: BertModel, batch: dict):
    real = batch["attention_mask"][:, :, None].astype(np.float32)
    return (base(**batch).last_hidden_state * real).sum(axis=1) / real.sum(axis=1)


def is_right(head: nn.Linear, x) -> np.ndarray:
    return head(x).numpy().argmax(axis=1) == test_y


def step(optimizer: AdamW, loss) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


# %% [markdown]
# ## Frozen
# The features of all sentences are computed once, without a tape. A step trains the head alone.


# %%
def train_frozen(seed: int) -> tuple[np.ndarray, float]:
    """Return which held-out sentences are right, and the seconds of training."""
    _, batch, y = draw(SEEN, N, np.random.default_rng(seed))
    base = BertModel.from_pretrained("embedded", add_pooling_layer=False).requires_grad_(False)
    manual_seed(seed)
    head, start = nn.Linear(384, 2), time.process_time()
    x = features(base, batch)
    optimizer = AdamW(head.parameters(), lr=0.02)
    for _ in range(200):
        step(optimizer, F.cross_entropy(head(x), y))
    seconds = time.process_time() - start
    return is_right(head, features(base, test)), seconds


# %%
frozen, frozen_seconds = map(np.array, zip(*map(train_frozen, SEEDS), strict=True))
has = np.array([[f" {adverb} " in text for text in texts] for adverb in ADVERBS])
seeds, shares = [f"seed {seed}" for seed in SEEDS], 1.0 * frozen @ has.T / has.sum(axis=1)
show(shares, "frozen: share right by adverb", rows=seeds, cols=ADVERBS)
assert np.median(shares[:, 2:]) < np.median(shares[:, :2])  # negations are harder

# %% [markdown]
# ## Fine-tuned
# Most mistakes are at "not" and "never": the frozen features describe the words more than what they
# mean together. Now the loss also changes the layers of the encoder. The embeddings stay: 64
# sentences are too few for a table of 27,000 rows. The learning rate is 200 times smaller than that
# of the head alone, so that the encoder keeps what pre-training has taught it.


# %%
def fine_tune(seed: int) -> tuple[list[np.ndarray], float, int]:
    """Return what is right after every sixth step, seconds of training, and trained parameters."""
    rng = np.random.default_rng(seed)
    _, batch, y = draw(SEEN, N, rng)
    manual_seed(seed)
    base, head = BertModel.from_pretrained("embedded", add_pooling_layer=False), nn.Linear(384, 2)
    base.embeddings.requires_grad_(False)
    trained = [p for p in [*base.parameters(), *head.parameters()] if p.requires_grad]
    optimizer, right, seconds = AdamW(trained, lr=1e-4), [], 0.0
    for number, i in enumerate(rng.integers(0, N, (STEPS, B)), 1):
        start = time.process_time()
        x = features(base, {name: array[i] for name, array in batch.items()})
        step(optimizer, F.cross_entropy(head(x), y[i]))
        seconds += time.process_time() - start
        if number % 6 == 0:
            with no_grad():
                right.append(is_right(head, features(base, test)))
    return right, seconds, sum(p.size for p in trained)


# %%
tuned, seconds, counts = map(np.array, zip(*map(fine_tune, SEEDS), strict=True))
show(tuned.mean(axis=-1), "fine-tuned: share right, by step", rows=seeds, cols=[6, 12, 18, 24])
ways = {
    "frozen": (frozen.mean(axis=1), frozen_seconds, 384 * 2 + 2),
    "fine-tuned": (tuned[:, -1].mean(axis=1), seconds, counts[0]),
}
for name, (shares, cost, count) in ways.items():
    low, median, high = np.quantile(shares, [0, 0.5, 1])
    print(f"{name:10s} right {median:.0%} ({low:.0%} to {high:.0%});", end=" ")
    print(f"{count:,} trained parameters, {np.median(cost):.2f} seconds")
assert np.median(ways["fine-tuned"][0]) > np.median(ways["frozen"][0]) + 0.05
assert np.median(seconds) > 5 * np.median(frozen_seconds)

# %% [markdown]
# Freezing is cheap, and enough where the features hold the answer. Fine-tuning learns new features.
#
# Exercises: none.
# Next: 29_a_tagger.py.
