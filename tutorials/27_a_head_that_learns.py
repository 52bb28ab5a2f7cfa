# %% [markdown]
# # 27. A head that learns
# We train a head that says whether a sentence is friendly. Its loss falls to almost 0. Has it
# learned anything? A loss cannot tell, so we measure on sentences that it has not seen.
#
# **You will be able to** train a head on frozen features, and tell learning from memorizing by
# cross-validation and a control with shuffled labels.
#
# **You need** lesson 25 (heads), lesson 26 (losses), and NumPy's `median`.
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | N, T, D | | sentences, tokens, features: 48, 8, 384 |
# | states | (N, T, D) | the features of the base model |
# | real | (N, T, 1) | 1 for real tokens, 0 for padding |
# | x | (N, D) | features of a sentence: the mean over its real tokens |
# | label, y | (N) | 1 friendly, 0 unfriendly; the labels that we train with |
# | fold | (N) | in which third of the pairs a sentence is: 0, 1 or 2 |

# %%
import numpy as np

import tinybert.functional as F
from tinybert import BertForMaskedLM, BertTokenizer, manual_seed, nn, no_grad, show
from tinybert.optim import AdamW

SEEDS = range(5)
PAIRS = """the food was wonderful|awful, i love|hate this book, what a beautiful|miserable day
our trip was perfect|ruined, the staff were kind|rude, she sang beautifully|horribly
everyone enjoyed|hated the party, the film is a masterpiece|failure, what a success|disaster
the soup tastes delicious|disgusting, the best|worst cake in town, the garden looks lovely|dead
this phone works|breaks all the time, a charming|dirty little hotel, the music made me happy|sick
they won|lost and we cheered|cried, i will gladly|never come again, you did excellent|poor work
it runs fast|badly and quietly|loudly, the children laughed|cried a lot, i am glad|sorry you came
a warm|cold and funny|silly story, the bed was soft|stained, he is a great|terrible teacher"""

# %% [markdown]
# ## The data
# 24 pairs of sentences with opposite meanings: "wonderful|awful" gives the words that differ.


# %%
def sentence_of(pair: str, side: int) -> str:
    words = []
    for word in pair.split():
        choices = word.split("|")
        words.append(choices[side] if len(choices) == 2 else word)
    return " ".join(words)


pairs = PAIRS.replace("\n", ", ").split(", ")
sentences = [sentence_of(pair, side) for side in (0, 1) for pair in pairs]
label, fold = np.repeat([1, 0], 24), np.tile(np.arange(24) % 3, 2)
print(len(sentences), "sentences:", sentences[0], "|", sentences[24])
assert (len(sentences), sentences[24]) == (48, "the food was awful")

# %% [markdown]
# ## Frozen features
# We do not train the base model, so its features are computed once. It was trained to give similar
# sentences similar vectors: means over the real tokens. A sentence has the same vector alone and in
# a padded batch, since the masks of attention and of the mean exclude padding.

# %%
tokenizer = BertTokenizer.from_pretrained("embedded")
base = BertForMaskedLM.from_pretrained("embedded").bert
batch = tokenizer(sentences, padding=True, return_tensors="np")
with no_grad():
    states = base(**batch).last_hidden_state.numpy()
real = batch["attention_mask"][:, :, None]
x = (states * real).sum(axis=1) / real.sum(axis=1)
alone = base(**tokenizer(sentences[0], return_tensors="np")).last_hidden_state.numpy()[0]
rows = ["alone", "in the batch", "  with padding"]
show([alone.mean(0)[:6], x[0, :6], states[0].mean(0)[:6]], "the first features", rows=rows)
assert len(alone) < states.shape[1] == 8  # this sentence is padded
assert np.allclose(x[0], alone.mean(axis=0), atol=1e-4)
assert not np.allclose(states[0].mean(axis=0), alone.mean(axis=0), atol=0.01)

# %% [markdown]
# ## Training
# The head is one linear map. Untrained, it gives each of two classes about 1/2: a loss of log 2.


# %%
def train(x: np.ndarray, y: np.ndarray) -> tuple[nn.Linear, list[float]]:
    head, losses = nn.Linear(x.shape[1], 2), []
    optimizer = AdamW(head.parameters(), lr=0.02)
    for _ in range(100):
        loss = F.cross_entropy(head(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return head, losses


manual_seed(0)
head, losses = train(x, label)
shown = [0, 1, 2, 5, 10, 20, 50, 99]
show([losses[i] for i in shown], "loss after so many steps", cols=shown)
print(f"first loss {losses[0]:.3f}, log 2 = {np.log(2):.3f}")
assert abs(losses[0] - np.log(2)) < 0.2
assert losses[-1] < 0.05

# %% [markdown]
# ## Learned, or memorized?
# With 384 features for 48 sentences a head can fit *any* labels. The control: shuffle the labels.
# The loss falls all the same, so it proves only that gradient and optimizer work.
#
# Cross-validation: hold out one third of the pairs, train on the others, and classify the held-out
# sentences; do so for each third. Both sentences of a pair are in the same third, or the head
# would see almost the same words in training. We repeat it with five seeds.


# %%
def cross_validate(y: np.ndarray) -> tuple[float, float]:
    """Return the final loss, and the share of held-out sentences that are classified right."""
    right, final = np.zeros(len(y), bool), []
    for i in range(3):
        head, losses = train(x[fold != i], y[fold != i])
        final.append(losses[-1])
        right[fold == i] = head(x[fold == i]).numpy().argmax(axis=1) == y[fold == i]
    return max(final), right.mean()


# %%
results = {"true": [], "shuffled": []}
for seed in SEEDS:
    manual_seed(seed)
    results["true"].append(cross_validate(label))
    results["shuffled"].append(cross_validate(np.random.default_rng(seed).permutation(label)))
for name, runs in results.items():
    loss, share = np.median(runs, axis=0)
    low, high = np.min(runs, axis=0)[1], np.max(runs, axis=0)[1]
    print(
        f"{name:8s} labels: loss {loss:.3f}, held out right {share:.0%} ({low:.0%} to {high:.0%})"
    )
shares = np.array([[share for _, share in runs] for runs in results.values()])
show(shares, "share that is right", rows=list(results), cols=[f"seed {seed}" for seed in SEEDS])
assert max(loss for runs in results.values() for loss, _ in runs) < 0.1  # both are fitted
assert np.median(shares[0]) > 0.85
assert np.median(shares[1]) < 0.7

# %% [markdown]
# A loss near 0 shows that the head fits its training data. Only held-out data show that it has
# learned, and shuffled labels show what guessing looks like.
#
# Exercises: `bert/pooling`.
# Next: 28_what_freezing_costs.py.
