# %% [markdown]
# # 29. Fine-tuning a tagger: one label for each word
# A tagger says of each word whether it is a noun, a verb, an adjective ... A word can be both: "the
# boy dances", "the dances". We fine-tune the embedded model with 48 sentences, and test new words.
#
# **You will be able to** give the tokens of split words their labels, fine-tune a tagger, and
# compare it with a baseline that knows no context.
#
# **You need** lessons 8 (split words), 25 (the head), 26 (−100) and 28 (fine-tuning).
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | N, B, T | | training sentences, sentences of a batch, tokens of a row: 48, 16, up to 12 |
# | TAGS | list | the six classes |
# | labels | (N, T) | the number of a tag at the first token of a word; −100 elsewhere |

# %%
import logging

import numpy as np

from tinybert import BertForTokenClassification, BertTokenizerFast, manual_seed, no_grad, show
from tinybert.optim import AdamW

logging.getLogger("tinybert").setLevel(logging.ERROR)  # that the head is new is expected
SEEDS, N, B, STEPS, TAGS = range(5), 48, 16, 24, ["DET", "ADJ", "NOUN", "VERB", "PREP", "PUNCT"]
tokenizer = BertTokenizerFast.from_pretrained("embedded")
PATTERNS = {
    "the ADJ PERSON BOTH PREP the PLACE .": "DET ADJ NOUN VERB PREP DET NOUN PUNCT",
    "the ADJ BOTH VERB the PERSON .": "DET ADJ NOUN VERB DET NOUN PUNCT",
}
SEEN = """ADJ old small happy tired chubby young, PERSON dog child teacher horse farmer girl
BOTH walks plays talks visits, VERB help please tire bore, PREP in near behind
PLACE garden house school street"""
UNSEEN = """ADJ big sad clumsy quiet, PERSON cat doctor soldier boy
BOTH dances smiles runs dreams, VERB surprise hurt amuse cheer, PREP at with from
PLACE park kitchen church river"""

# %% [markdown]
# ## The data
# Sentences have one of two patterns, so their tags are known. A word of BOTH is a verb in the first
# pattern and a noun in the second. Half of the sentences have no adjective. The test has the same
# patterns with other words.


# %%
def sentence(words: str, rng) -> tuple[list[str], list[str]]:
    """Return the words of a random sentence, and their tags."""
    groups = {g[0]: g[1:] for g in map(str.split, words.replace("\n", ",").split(","))}
    pattern = rng.choice(list(PATTERNS))
    pairs = list(zip(pattern.split(), PATTERNS[pattern].split(), strict=True))
    if rng.random() < 0.5:
        del pairs[1]
    return [str(rng.choice(groups.get(name, [name]))) for name, _ in pairs], [t for _, t in pairs]


rng = np.random.default_rng(9)
test = [sentence(UNSEEN, rng) for _ in range(N)]
for words, tags in test[:3]:
    print(*map("{}/{}".format, words, tags))
common = {word for words, _ in test for word in words} & set(SEEN.replace(",", " ").split())
print("words of the lists that are in training and test:", common or "none")
assert not common


# %% [markdown]
# ## Labels for tokens
# The tokenizer may split a word. Its first token gets the label; the others, [CLS], [SEP] and
# padding get −100. So each word counts once. `word_ids` gives the number of each token's word.


# %%
def encode(sentences) -> tuple[dict, np.ndarray]:
    words = [words for words, _ in sentences]
    batch = tokenizer(words, is_split_into_words=True, padding=True, return_tensors="np")
    labels = np.full(batch["input_ids"].shape, -100)
    for row, (_, tags) in enumerate(sentences):
        ids = batch.word_ids(row)
        for column, word in enumerate(ids):
            if word is not None and word != ids[column - 1]:
                labels[row, column] = TAGS.index(tags[word])
    return dict(batch), labels


# %%
example = (["the", "chubby", "dog", "walks", "."], ["DET", "ADJ", "NOUN", "VERB", "PUNCT"])
batch, labels = encode([example])
tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
show(labels, "labels: numbers of tags", rows=["label"], cols=tokens)
print("tokens with a label:", (labels >= 0).sum(), " words:", len(example[0]))
assert (labels >= 0).sum() == len(example[0])


# %%
def train(seed: int) -> tuple[list[float], list[np.ndarray]]:
    """Return the losses, and the tags found in the test after every sixth step."""
    rng, losses, found = np.random.default_rng(seed), [], []
    batch, labels = encode([sentence(SEEN, rng) for _ in range(N)])
    manual_seed(seed)
    model = BertForTokenClassification.from_pretrained("embedded", num_labels=len(TAGS))
    model.bert.embeddings.requires_grad_(False)
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    for i in rng.integers(0, N, (STEPS, B)):
        loss = model(**{name: array[i] for name, array in batch.items()}, labels=labels[i]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if len(losses) % 6 == 0:
            with no_grad():
                found.append(model(**test_batch).logits.numpy().argmax(axis=-1))
    return losses, found


# %%
test_batch, test_labels = encode(test)
losses, found = map(np.array, zip(*map(train, SEEDS), strict=True))
seeds, steps = [f"seed {seed}" for seed in SEEDS], range(6, STEPS + 1, 6)
means = losses.reshape(5, -1, 6).mean(axis=-1)
show(means, "loss, means of six steps", rows=seeds, cols=steps)
print(f"median of the first loss {np.median(losses[:, 0]):.2f}, log 6 = {np.log(6):.2f}")
assert np.median(means[:, -1]) < 0.2

# %% [markdown]
# ## Is it better than a list of words?
# The baseline gives each word the tag that it had most often in training: right for "the" and the
# full stop. All other words are new, and get NOUN, the most frequent tag of other words.

# %%
true = test_labels[test_labels >= 0]
found = found[:, :, test_labels >= 0]  # (seeds, 4, words)
shares = (found == true).mean(axis=-1)
show(shares, "share of right tags, by step", rows=seeds, cols=steps)
table = np.zeros((6, 6))
np.add.at(table, (np.tile(true, 5), found[:, -1].ravel()), 1)
table /= table.sum(axis=1, keepdims=True)
show(table, "share of each tag (row) that is tagged as (column)", rows=TAGS, cols=TAGS)
baseline = np.isin(true, [TAGS.index(tag) for tag in ("DET", "PUNCT", "NOUN")]).mean()
low, median, high = np.quantile(shares[:, -1], [0, 0.5, 1])
print(f"baseline {baseline:.0%}, fine-tuned {median:.0%} ({low:.0%} to {high:.0%})")
assert median > 0.9 > 0.75 > baseline

# %% [markdown]
# A tagger has one label for each word, at its first token. Fine-tuned with few words, it tags new
# ones, because the encoder gives words of the same use in a sentence similar features.
#
# Exercises: none.
# Next: 30_a_reader.py.
