# %% [markdown]
# # 9. Learn a vocabulary
# Lesson 8 used a vocabulary of 27,000 tokens. Where does it come from? It is learnt by counting:
# the two neighbours that occur together most often become one token, again and again (byte-pair
# encoding, Sennrich et al. 2016, arXiv:1508.07909, algorithm 1).
#
# **You will be able to** learn a vocabulary by hand from four words, write the algorithm, and
# compare two rules for choosing the next token.
#
# **You need** lesson 8 (how a vocabulary is used), and Python's `Counter`.
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | `counts` | dict | word -> how often it occurs in the corpus |
# | `cut` | dict | word -> its tokens so far |
# | (a, b) | | a pair of neighbouring tokens |
# | ab | | the token that a pair becomes: `##e`, `##s` become `##es` |
# | count(ab) | | how often the pair occurs in the corpus; count(a): how often a token does |

# %%
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

from tinybert import BertTokenizer, show, train_wordpiece
from tinybert.tokenizers import save_vocab

CORPUS = "low " * 5 + "lower " * 2 + "newest " * 6 + "widest " * 3
counts = Counter(CORPUS.split())

# %% [markdown]
# ## Start with characters
# Each word is split into its characters. All but the first get `##`, as in lesson 8. A word that
# occurs six times is split once, and counts six times.

# %%
characters = {word: [word[0], *("##" + c for c in word[1:])] for word in counts}
for word, tokens in characters.items():
    print(f"    {counts[word]} x {word:7s} {tokens}")
assert characters["low"] == ["l", "##o", "##w"]

# %% [markdown]
# ## Count the pairs of neighbours
# The picture has a row for the left token of a pair and a column for the right one. The largest
# number is 9: `##e`, `##s` and `##s`, `##t` occur in "newest" (6 times) and "widest" (3 times).


# %%
def count_pairs(cut: dict[str, list[str]]) -> Counter:
    pairs = Counter()
    for word, tokens in cut.items():
        for pair in pairwise(tokens):
            pairs[pair] += counts[word]
    return pairs


pairs = count_pairs(characters)
left, right = (sorted({pair[i] for pair in pairs}) for i in (0, 1))
show([[pairs[a, b] for b in right] for a in left], "count(ab)", rows=left, cols=right)
print("most frequent:", pairs.most_common(2))
assert pairs["##e", "##s"] == pairs["##s", "##t"] == counts["newest"] + counts["widest"] == 9

# %% [markdown]
# ## Merge the best pair, and repeat
# The most frequent pair becomes a token, and replaces the pair wherever it occurs. Then the pairs
# are counted again, because the new token has neighbours too. `score` is the rule that says which
# pair is best. Of equally good pairs we take the first in the alphabet.


# %%
def merge(tokens: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for token in tokens:
        if merged and (merged[-1], token) == pair:
            merged[-1] += token.removeprefix("##")
        else:
            merged.append(token)
    return merged


assert merge(["o", "##o", "##o", "##o"], ("##o", "##o")) == ["o", "##oo", "##o"]


# %%
def learn(merges: int, score) -> tuple[list[str], list[dict]]:
    learnt, history = [], [characters]
    for _ in range(merges):
        pairs = count_pairs(history[-1])
        best = min(pairs, key=lambda pair: (-score(pair, pairs, history[-1]), pair))
        learnt.append(best[0] + best[1].removeprefix("##"))
        history.append({word: merge(tokens, best) for word, tokens in history[-1].items()})
    return learnt, history


# %% [markdown]
# After ten merges three of the four words are single tokens. The picture shows how many tokens
# each word has left. One merge can shorten several words: `##es` shortens "newest" and "widest".

# %%
learnt, history = learn(10, lambda pair, pairs, cut: pairs[pair])
sizes = [[len(tokens) for tokens in cut.values()] for cut in history]
show(sizes, "tokens of a word, merge by merge", rows=["", *learnt], cols=list(counts))
print("learnt:", learnt)
assert sizes[0] == [3, 5, 6, 6]
assert sizes[1] == [3, 5, 5, 5]
assert sizes[-1] == [1, 3, 1, 1]

# %% [markdown]
# ## The same by the engine
# `train_wordpiece` learns the same tokens in the same order, after the special tokens and all
# characters. With this vocabulary a word that was never seen is two tokens.

# %%
letters = sorted(set("".join(counts)))
start = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters)]
vocab = train_wordpiece([CORPUS], len(start) + 10)
with tempfile.TemporaryDirectory() as folder:
    save_vocab(vocab, Path(folder) / "vocab.txt")
    tokenizer = BertTokenizer(Path(folder) / "vocab.txt")
print("theirs:", vocab[len(start) :])
print("lowest:", tokenizer.tokenize("lowest"))
assert vocab == start + learnt
assert tokenizer.tokenize("lowest") == ["low", "##est"]

# %% [markdown]
# ## Another rule
# The first WordPiece (Schuster and Nakajima 2012) chose the token that makes the corpus most
# likely, which is about the largest count(ab) / (count(a) count(b)): tokens that rarely occur
# apart. Here these are `##i` and `##d`. The rule that chose the tokens of BERT is not published.


# %%
def together(pair, pairs, cut) -> float:
    tokens = Counter(token for word in cut for token in cut[word] * counts[word])
    return pairs[pair] / (tokens[pair[0]] * tokens[pair[1]])


likely, _ = learn(2, together)
print("most frequent:", learnt[:2], "  least apart:", likely)
assert learnt[:2] == ["##es", "##est"]
assert likely == ["##id", "wid"]

# %% [markdown]
# A vocabulary grows from characters: merge the most frequent pair of neighbours, and repeat.
#
# Exercises: `words/learn`.
# Next: 10_rows_pairs_windows.py.
