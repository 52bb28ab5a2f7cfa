# %% [markdown]
# # 7. From a text to words
# A model computes with numbers, so a text must become a list of token ids. The first half of this
# conversion simplifies the text and splits it into words. A mistake here gives no error: the model
# runs, but it reads other words than those that it was trained on.
#
# **You will be able to** write the four steps of BERT's basic tokenizer, and to predict what they
# do with é, ß, €, a tab and an invisible character.
#
# **You need** Python's strings and list comprehensions; none of the lessons before.
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | `text`, `TEXT` | | a string of Unicode characters |
# | `c` | | one character of it |
# | `category(c)` | | two letters: what `c` is for Unicode; `Lu` is an upper-case letter |
# | NFC, NFD, NFKD | | three normal forms of Unicode: ways to write the same text |
# | `words` | list | the result: strings without spaces |

# %%
import sys
from collections import Counter
from unicodedata import category, normalize

from tinybert import BertTokenizer, show

if hasattr(sys.stdout, "reconfigure"):  # characters that a terminal cannot print become "?"
    sys.stdout.reconfigure(errors="replace")

TEXT = """Él dijo: «¡No!» The naïve café isn't trivial;\tÅngström, 東京
and 5$/kg or 5€. Zero\u200bwidth, so\u00adft hyphens and a lone \ufffd vanish.
ΟΔΟΣ, Straße, ﬁre, İstanbul, e\u0301galite\u0301 & \U0001f917"""

# %% [markdown]
# ## What is a character?
# Unicode gives each character a category of two letters. The first letter is enough for most
# purposes: L letter, M mark (an accent that belongs to the letter before it), N number,
# P punctuation, S symbol, Z separator (mostly spaces), C control and other invisible characters.
# Some of these are not what you expect: a tab is C, not Z, and `$` is a symbol like €.

# %%
for c in ("é", "\u0301", "5", ";", "$", "€", " ", "\t", "\u200b", "\u00ad", "東"):
    print(f"    U+{ord(c):04X}  {category(c)}  {c!r}")
assert [category(c) for c in "é\u0301;$ \t\u200b"] == ["Ll", "Mn", "Po", "Sc", "Zs", "Cc", "Cf"]

# %% [markdown]
# ## Step 1: clean
# Tabs, line ends and spaces of every kind become a plain space. Then characters of category C are
# removed, and U+FFFD too, the sign that decoders write for broken bytes. Nothing replaces them: a
# word with an invisible character inside stays one word.


# %%
def clean(text: str) -> str:
    spaced = "".join(" " if c in "\t\n\r" or category(c) == "Zs" else c for c in text)
    return "".join(c for c in spaced if category(c)[0] != "C" and c != "\ufffd")


word = "so\u00adft\tz\u200bw"
kept = [[c in clean(word), c in "\t"] for c in word]
labels = [f"U+{ord(c):04X}" for c in word]
show(kept, "what clean does: 1 is yes", rows=labels, cols=["keeps", "space"])
print(repr(word), "->", repr(clean(word)))
assert clean(word) == "soft zw"

# %% [markdown]
# ## Step 2: Chinese characters
# Chinese is written without spaces. BERT makes each Chinese character a word of its own, by a space
# on both sides. The full rule has eight ranges of characters; this one is the largest.


# %%
def space_chinese(text: str) -> str:
    return "".join(f" {c} " if "\u4e00" <= c <= "\u9fff" else c for c in text)


print(space_chinese("in 東京!").split())
assert space_chinese("in 東京!").split() == ["in", "東", "京", "!"]

# %% [markdown]
# ## Step 3: lower case without accents
# The normal form NFD decomposes é into two characters, e and a mark of category Mn. Then the marks
# are removed. NFD decomposes only what Unicode defines as equal. ß has no decomposition, and the
# ligature ﬁ only resembles "fi": it takes NFKD to decompose that. So both stay.


# %%
def simplify(text: str) -> str:
    lower = "".join(c.lower() for c in text)  # one by one: Σ becomes σ, never ς
    return "".join(c for c in normalize("NFD", lower) if category(c) != "Mn")


LETTERS = "éÅﬁß東"
forms = ("NFC", "NFD", "NFKD")
sizes = [[len(normalize(form, c)) for form in forms] for c in LETTERS]
show(sizes, "number of characters in each normal form", rows=list(LETTERS), cols=forms)
print("Él Straße ﬁre ->", simplify("Él Straße ﬁre"))
assert sizes == [[1, 2, 2], [1, 2, 2], [1, 1, 2], [1, 1, 1], [1, 1, 1]]
assert simplify("Él Straße ﬁre") == "el straße ﬁre"

# %% [markdown]
# ## Step 4: punctuation
# Each punctuation character becomes a word. BERT also counts the ASCII symbols `` $+<=>^`|~ `` as
# punctuation, but no other symbol: "5$" is two words and "5€" is one.


# %%
def space_punctuation(text: str) -> str:
    return "".join(f" {c} " if category(c)[0] == "P" or c in "$+<=>^`|~" else c for c in text)


print(space_punctuation("isn't 5$ 5€").split())
assert space_punctuation("isn't 5$ 5€").split() == ["isn", "'", "t", "5", "$", "5€"]

# %% [markdown]
# ## All four steps
# A split at the spaces gives the words. They are those of `BertTokenizer`. The picture counts the
# characters of each category after each step: C vanishes in step 1, Z grows in steps 2 and 4, and
# M vanishes in step 3.

# %%
text, counts = TEXT, [Counter(category(c)[0] for c in TEXT)]
steps = (clean, space_chinese, simplify, space_punctuation)
for step in steps:
    text = step(text)
    counts.append(Counter(category(c)[0] for c in text))
words = text.split()
names = ["as given", *(step.__name__ for step in steps)]
show([[n[k] for k in "LMNPSZC"] for n in counts], "categories", rows=names, cols=list("LMNPSZC"))
tokenizer = BertTokenizer.from_pretrained("embedded")
theirs = [word for part in tokenizer.explain(TEXT) for word in part.words]
print("ours:  ", *words)
print("theirs:", *theirs)
assert words == theirs

# %% [markdown]
# Four steps turn a text into words. Most of their rules ask for the Unicode category of a
# character, and a wrong rule gives no error.
#
# Exercises: `words/clean`, `words/accents`, `words/punctuation`.
# Next: 08_longest_piece.py.
