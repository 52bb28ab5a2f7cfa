# %% [markdown]
# # 32. Pre-training: a tiny BERT from scratch
# BERT learns from plain text without labels. Two tasks make labels from the text itself: predict
# hidden words, and decide whether the second sentence follows the first (Devlin et al. 2018,
# arXiv:1810.04805). We train a tiny BERT from random weights on both tasks.
#
# **You will be able to** prepare the inputs and labels of both tasks, run the training, and tell
# what a model can learn from a text and what it cannot.
#
# **You need** lesson 26 (losses and labels) and lesson 31 (Adam and warm-up).
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | N, T, V | | pairs of sentences, tokens of a pair, words of the vocabulary |
# | B | | pairs in a batch: 32 |
# | ids, types | (N, T) | number of each word; 0 in the first sentence, 1 in the second |
# | other | (N) | label of the second task: 0 if the second sentence follows, 1 if not |
# | inputs, labels | (B, T) | ids with hidden words; the words that count in the loss, else −100 |

# %%
import numpy as np

import tinybert
from tinybert import BertConfig, BertForPreTraining, no_grad, show
from tinybert.optim import AdamW, get_linear_schedule_with_warmup
from tinybert.training import mask_tokens

SEEDS = range(5)
STEPS, B, N = 320, 32, 600
ANIMALS = ["cat", "dog", "horse", "bird", "bee", "cow"]
FOODS = ["milk", "meat", "hay", "seeds", "nectar", "grass"]  # of these animals, in this order
HOMES = ["house", "kennel", "stable", "nest", "hive", "field"]
SIZES, LIVES = ["old", "young", "small", "big"], ["sleeps", "rests", "lives", "hides"]
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "the", "it", "in", "eats"]
WORDS += [*ANIMALS, *FOODS, *HOMES, *SIZES, *LIVES]
V, MASK = len(WORDS), WORDS.index("[MASK]")

# %% [markdown]
# ## The text and the labels
# The first sentence of a pair has an animal and its food. The second sentence has a home. In half
# of the pairs it is the home of this animal: the sentence follows. In the other half it is the home
# of another animal, as in a sentence from another text. This is the label of the second task.
#
# For the first task `mask_tokens` chooses 15% of the words in each pair. Of these, 80% become
# [MASK], 10% a random word, and 10% stay. Only the chosen words count in the loss.


# %%
def pair(animal, home, size=0, verb=0):
    first = f"[CLS] the {SIZES[size]} {ANIMALS[animal]} eats {FOODS[animal]} [SEP]"
    return [WORDS.index(w) for w in f"{first} it {LIVES[verb]} in the {HOMES[home]} [SEP]".split()]


def draw(rng):
    other, animal, size, verb = rng.integers(0, [[2], [6], [4], [4]], (4, N))
    home = (animal + other * rng.integers(1, 6, N)) % 6
    return np.array([*map(pair, animal, home, size, verb)]), other


rng = np.random.default_rng(0)
(ids, other), (test_ids, test_other) = draw(rng), draw(rng)
types = np.tile([0] * 7 + [1] * 6, (N, 1))
inputs, labels = mask_tokens(ids[:B], ids[:B] > MASK, MASK, V, rng)
for row in range(3):
    print("pair:  ", *[WORDS[i] for i in ids[row]], "other:", other[row])
    print("inputs:", *[WORDS[i] for i in inputs[row]])
    print("labels:", *[WORDS[i] for i in labels[row] if i != -100])
assert np.array_equal(np.where(labels == -100, inputs, labels), ids[:B])

# %% [markdown]
# ## Training
# The loss is the sum of both cross-entropies. Equal probabilities for all words, and for both
# answers of the second task, give log V + log 2. Random weights start above it. A small model needs
# larger weights at the start than BERT: a standard deviation of 0.1 instead of 0.02.


# %%
def train(seed):
    tinybert.manual_seed(seed)  # of the weights
    rng, losses = np.random.default_rng(seed), []  # of the batches and the hidden words
    model = BertForPreTraining(config)
    optimizer = AdamW(model.parameters(), lr=3e-3)
    schedule = get_linear_schedule_with_warmup(optimizer, STEPS // 10, STEPS)
    for _ in range(STEPS):
        rows = rng.integers(0, N, B)
        inputs, labels = mask_tokens(ids[rows], ids[rows] > MASK, MASK, V, rng)
        answers = {"labels": labels, "next_sentence_label": other[rows]}
        loss = model(inputs, token_type_ids=types[:B], **answers).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return model.eval(), losses


# %%
sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
options = {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0, "initializer_range": 0.1}
config = BertConfig(vocab_size=V, intermediate_size=128, **sizes, **options)
models, losses = zip(*[train(seed) for seed in SEEDS], strict=True)
means = np.reshape(losses, (5, 8, -1)).mean(axis=-1)
show(means, "loss of five seeds, means of 40 steps", cols=range(40, STEPS + 1, 40))
start, expected = np.median(losses, axis=0)[0], np.log(V) + np.log(2)
print(f"log V + log 2: {expected:.2f}, median loss of the first step: {start:.2f}")
assert expected < start < expected + 1

# %% [markdown]
# ## What the models have learned
# We draw new pairs and hide one word: the food, the home or the size. The animal determines the
# food, and in half of the pairs the home. The size is random: one guess in four is right. So the
# loss cannot become 0. For the second task no word is hidden.


# %%
def output(model, ids):
    with no_grad():
        return model(ids, token_type_ids=types[: len(ids)])


def correct(model):
    found = output(model, test_ids).seq_relationship_logits.numpy().argmax(axis=-1) == test_other
    for place in (5, 11, 2):  # of the food, the home and the size
        hidden = np.where(np.arange(13) == place, MASK, test_ids)
        word = output(model, hidden).prediction_logits.numpy()[:, place].argmax(axis=-1)
        found = np.vstack([found, word == test_ids[:, place]])
    return found.mean(axis=-1)


# %%
shares = np.array([correct(model) for model in models])
show(shares, "share of right answers, five seeds", cols=["second", "food", "home", "size"])
second, food, home, size = np.median(shares, axis=0)
print("median:", np.median(shares, axis=0).round(2), "lowest:", shares.min(axis=0).round(2))
assert min(second, food) > 0.95
assert max(abs(home - 1 / 2), abs(size - 1 / 4)) < 0.05
every = np.array([pair(animal, home) for animal in range(6) for home in range(6)])
p = output(models[0], every).seq_relationship_logits.softmax(-1).numpy()[:, 0].reshape(6, 6)
show(p, "seed 0: probability that a home follows", rows=ANIMALS, cols=HOMES)
best = None  # let 3 of 4 pairs follow: what share of hidden homes can the best model predict?
assert best in (None, 3 / 4)

# %% [markdown]
# Pre-training makes labels from text: hidden words and pairs of sentences. The model learns what
# the text determines, and cannot learn what is random.
#
# Exercises: `bert/mask_words`.
# Next: 33_where_the_norm_stands.py.
