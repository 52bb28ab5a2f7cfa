# %% [markdown]
# # 12. Apply byte pairs: merges in their order
# Lesson 11 learnt a list of merges. How does it split a new word? Not into the longest tokens, as
# WordPiece does: the merges are applied in the order in which they were learnt.
#
# **You will be able to** tokenize a word by hand with a list of merges, in two ways that agree.
#
# **You need** lesson 11 (learning byte pairs), and lesson 8 (the longest token) to compare.
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | `symbols` | list | the tokens of a word so far; at first its bytes, of which Ġ is a space |
# | `merges` | list | pairs of tokens, in the order in which they were learnt |
# | rank | | the position of a pair in `merges`; the first has rank 0 |
# | M, n | | number of merges, number of symbols at the start |

# %%
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from tinybert import MegaTokenizer, show
from tinybert.tokenizers import save_bpe, train_bpe

if hasattr(sys.stdout, "reconfigure"):  # characters that a terminal cannot print become "?"
    sys.stdout.reconfigure(errors="replace")

TEXT = """Alice was beginning to get very tired of sitting by her sister on the bank, and of having
nothing to do: once or twice she had peeped into the book her sister was reading, but it had no
pictures or conversations in it, 'and what is the use of a book,' thought Alice 'without pictures
or conversations?' She ran across the field after it, and was just in time to see it pop down a
large rabbit-hole under the hedge."""
M = 60
vocab, merges = train_bpe([TEXT], 5 + 256 + M)  # five special tokens, 256 bytes, M merges
ranks = {pair: rank for rank, pair in enumerate(merges)}

# %% [markdown]
# ## Replay all merges
# Do to the new word what learning did to the old ones: apply merge 0 wherever its pair occurs, then
# merge 1, and so on. In a given word most merges find nothing.

# %%
looked = {"replay": 0, "rank": 0}  # how many pairs each way looks at


def merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


# %%
def replay(word: str) -> list[str]:
    symbols = list(word)
    for pair in merges:
        looked["replay"] += len(symbols) - 1
        symbols = merge(symbols, pair)
    return symbols


print("Ġwither:", replay("Ġwither"))
assert replay("Ġwither") == ["Ġw", "it", "he", "r"]

# %% [markdown]
# ## Ask for the lowest rank
# It is faster to take, of the pairs that the word has, the one with the lowest rank, to merge it,
# and to repeat until no pair has a rank. The result is the same: a merge creates pairs only with
# its new token, and those were learnt later, so no lower rank can appear. In the picture a row is a
# merge, and a number is the size of the token to which a letter of " there" belongs.


# %%
def by_rank(word: str, history: list | None = None) -> list[str]:
    symbols = list(word)
    while len(symbols) > 1:
        looked["rank"] += len(symbols) - 1
        best = min(pairwise(symbols), key=lambda pair: ranks.get(pair, M))
        if best not in ranks:
            break
        symbols = merge(symbols, best)
        if history is not None:
            history.append((ranks[best], symbols))
    return symbols


# %%
tokens = by_rank("Ġthere", history := [])
sizes = [[len(s) for s in symbols for _ in s] for _, symbols in history]
labels = [f"rank {rank}" for rank, _ in history]
show(sizes, "size of the token of each letter", rows=labels, cols=list("Ġthere"))
print(tokens, "by replay:", replay("Ġthere"))
assert tokens == replay("Ġthere")
assert [rank for rank, _ in history] == sorted(rank for rank, _ in history)
made = {left + right: rank for (left, right), rank in ranks.items()}
assert all(made.get(part, -1) < rank for pair, rank in ranks.items() for part in pair)

# %% [markdown]
# ## How much work
# For n symbols replay looks at up to M (n - 1) pairs. Asking by rank looks at n - 1 or fewer for
# each merge that fits, and once more at the end.

# %%
WORDS = ["Ġthe", "Ġthere", "Ġconversation", "Ġremarkably"]
work = []
for word in WORDS:
    looked.update({"replay": 0, "rank": 0})
    assert replay(word) == by_rank(word)
    work.append([*looked.values()])
show(work, "pairs looked at", rows=WORDS, cols=list(looked))
assert all(fast < plain for plain, fast in work)

# %% [markdown]
# ## The same by the engine
# `MegaTokenizer` reads vocabulary and merges from two files, in the format of GPT-2 and RoBERTa.

# %%
with tempfile.TemporaryDirectory() as folder:
    files = [Path(folder) / name for name in ("vocab.json", "merges.txt")]
    save_bpe(vocab, merges, *files)
    tokenizer = MegaTokenizer(*files)
ours = [token for word in WORDS for token in by_rank(word)]
theirs = tokenizer.tokenize(" the there conversation remarkably")
print("ours:  ", *ours)
print("theirs:", *theirs)
assert ours == theirs

# %% [markdown]
# ## Not the longest token
# WordPiece's rule would take the longest token first. The merges do not, because `in`, `g` was
# learnt before `Ġ`, `in`. What counts is that words are split as they were in training.

# %%
longest = next("Ġingot"[:end] for end in range(6, 0, -1) if "Ġingot"[:end] in vocab)
print("ranks:", ranks["in", "g"], ranks["Ġ", "in"])
print("by rank:", by_rank("Ġingot"), "  longest beginning:", longest)
assert longest == "Ġin"
assert by_rank("Ġingot") == ["Ġ", "ing", "o", "t"]

# %% [markdown]
# BPE applies merges in the order in which they were learnt: always the pair of the lowest rank.
#
# Exercises: `bytes/merge`.
# Next: 13_offsets_and_numbers.py.
