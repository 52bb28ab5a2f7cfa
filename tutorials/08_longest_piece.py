# %% [markdown]
# # 8. The longest token, from the left
# A vocabulary of 27,000 tokens cannot hold every word. WordPiece (Wu et al. 2016,
# arXiv:1609.08144) splits a word that is not in the vocabulary into tokens that are. The rule is
# greedy: always take the longest token that fits.
#
# **You will be able to** tokenize a word by hand, write the algorithm in ten lines, and name two
# words for which its result is not the best one.
#
# **You need** lesson 7 (how a text becomes words).
#
# **Minutes** 12
#
# | symbol | shape | meaning |
# |---|---|---|
# | `vocab` | dict | token -> id; a token that continues a word begins with `##` |
# | `word` | | a string without spaces, in lower case |
# | `start`, `end` | | the part of the word that is looked up: `word[start:end]` |
# | `trials` | list | every token that was looked up, found or not |
# | `[UNK]` | | the token for an unknown word |

# %%
import sys

from tinybert import BertTokenizer, show

if hasattr(sys.stdout, "reconfigure"):  # characters that a terminal cannot print become "?"
    sys.stdout.reconfigure(errors="replace")

tokenizer = BertTokenizer.from_pretrained("embedded")
vocab = tokenizer.vocab

# %% [markdown]
# ## What the vocabulary holds
# Frequent words are whole tokens. Parts of words come in two kinds: `able` begins a word, `##able`
# continues one. They are different tokens with different ids, so the model knows where words begin.

# %%
for token in ("playing", "able", "##able", "tokenization"):
    print(f"    {token:14s} {vocab.get(token, 'is not in the vocabulary')}")
assert vocab["able"] != vocab["##able"]

# %% [markdown]
# ## The algorithm
# Look up the whole word. If it is not in the vocabulary, drop its last character and look up again,
# until something is found. Continue after the token that was found, with `##` in front. If not even
# one character is found, the *whole word* becomes `[UNK]`. So does a word of more than 100
# characters, which keeps the time for a word bounded.


# %%
def wordpiece(word: str, vocab, trials=None) -> list[str]:
    if len(word) > 100:
        return ["[UNK]"]
    tokens, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            token = ("##" if start else "") + word[start:end]
            if trials is not None:
                trials.append(token)
            if token in vocab:
                break
        else:  # the loop found nothing
            return ["[UNK]"]
        tokens.append(token)
        start = end
    return tokens


assert wordpiece("playing", vocab) == ["playing"]

# %% [markdown]
# "tokenization" takes nine lookups: eight for the beginning `token`, and one for the rest. In the
# picture each row is a lookup. The letters that it covers are 1, or 2 if the token was found.

# %%
word = "tokenization"
trials: list[str] = []
tokens = wordpiece(word, vocab, trials)
covered, start = [], 0
for trial in trials:
    end = start + len(trial.removeprefix("##"))
    value = 2 if trial in vocab else 1
    covered.append([value * (start <= i < end) for i in range(len(word))])
    start = end if trial in vocab else start
show(covered, "lookups of " + word, rows=trials, cols=list(word))
print("found:", tokens)
assert tokens == ["token", "##ization"]
assert len(trials) == 8 + 1

# %% [markdown]
# ## The same by the engine
# `BertTokenizer` splits each word in the same way. The last two words become `[UNK]`: the emoji is
# not in the vocabulary, and the last word has 104 characters.

# %%
WORDS = ["unbelievably", "snowboarding", "cafes", "東", "\U0001f917", "very" * 26]
for word in WORDS:
    ours, theirs = wordpiece(word, vocab), tokenizer.tokenize(word)
    print(f"    {word[:14]:14s} ours {ours}  theirs {theirs}")
    assert ours == theirs
assert wordpiece("very" * 26, vocab) == ["[UNK]"]
assert wordpiece("very" * 25, vocab) == ["very"] + ["##very"] * 24  # 100 characters

# %% [markdown]
# ## Unknown as a whole
# One character that the vocabulary lacks makes the whole word unknown. The tokens found before it
# are dropped: the model is not told that the word began with "cat".

# %%
print(wordpiece("cat", vocab), wordpiece("cat\U0001f917", vocab))
assert wordpiece("cat\U0001f917", vocab) == ["[UNK]"]

# %% [markdown]
# ## Greedy is not optimal
# The algorithm never goes back. Two tokens would be enough for "needlessly", `need` and `##lessly`,
# but the longest beginning is `needles`, and what is left needs two more. With a small vocabulary
# the algorithm can even fail where another split exists.

# %%
SPLITS = {  # word -> a split into fewer tokens
    "digraphs": ["di", "##graphs"], "needlessly": ["need", "##lessly"],
    "omission": ["o", "##mission"], "snowboarding": ["snow", "##boarding"],
}  # fmt: skip
sizes = []
for word, shorter in SPLITS.items():
    greedy = wordpiece(word, vocab)
    sizes.append([len(greedy), len(shorter)])
    print(f"    {word:12s} greedy {greedy}  possible {shorter}")
    assert set(shorter) <= vocab.keys()
show(sizes, "number of tokens", rows=list(SPLITS), cols=["greedy", "fewest"])
assert [greedy > fewest for greedy, fewest in sizes] == [True, True, True, False]
assert wordpiece("abc", {"a", "ab", "##bc"}) == ["[UNK]"]  # a ##bc would have been a split

# %% [markdown]
# ## Try
# Replace `None` by your answer and run the lesson again: the assertion checks it.

# %%
lookups_of_zerowidth = None  # "zerowidth" is zero ##wi ##dt ##h: how many lookups does that take?

wordpiece("zerowidth", vocab, trials := [])
assert lookups_of_zerowidth in (None, len(trials))

# %% [markdown]
# WordPiece takes the longest token that fits, from left to right, and never goes back. A word is
# split completely, or it is `[UNK]`.
#
# Exercises: `words/longest`.
# Next: 09_learn_a_vocabulary.py.
