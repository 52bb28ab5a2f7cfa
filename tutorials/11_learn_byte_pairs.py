# %% [markdown]
# # 11. Byte pairs: a vocabulary without unknown words
# WordPiece maps a word to `[UNK]` if one of its characters is missing. GPT-2 and RoBERTa avoid this
# (Radford et al. 2019): they learn pairs of *bytes*. Every text is bytes, and there are only 256.
#
# **You will be able to** write a text in the alphabet of bytes, split it into words as GPT-2 does,
# and learn merges that equal those of `train_bpe`.
#
# **You need** lesson 9 (merging pairs).
#
# **Minutes** 18
#
# | symbol | shape | meaning |
# |---|---|---|
# | UTF-8 | | the usual way to write a text as bytes: one to four bytes per character |
# | `alphabet` | dict | byte (0 to 255) -> the visible character that stands for it |
# | Ġ | | the character of the alphabet that stands for a space |
# | `words` | dict | word -> how often it occurs |
# | `merges` | list | pairs of tokens, in the order in which they were learnt |

# %%
import sys
from collections import Counter
from itertools import pairwise

import regex  # like Python's re, and knows \p{L}: the letters of all alphabets

from tinybert import show
from tinybert.tokenizers import train_bpe

if hasattr(sys.stdout, "reconfigure"):  # characters that a terminal cannot print become "?"
    sys.stdout.reconfigure(errors="replace")

TEXT = """Alice was beginning to get very tired of sitting by her sister on the bank, and of having
nothing to do: once or twice she had peeped into the book her sister was reading, but it had no
pictures or conversations in it, 'and what is the use of a book,' thought Alice 'without pictures
or conversations?' She ran across the field after it, and was just in time to see it pop down a
large rabbit-hole under the hedge."""

# %% [markdown]
# ## Characters are bytes
# Unicode has about 150,000 characters, too many for an alphabet. UTF-8 writes each of them as one
# to four bytes. The price: é begins as two symbols, until a merge joins them.

# %%
for c in "aé東\U0001f917":
    print(f"    {c}  U+{ord(c):05X}  {c.encode('utf-8').hex(' ')}")
SAMPLES = ["naïve", "東京", "\U0001f917"]
sizes = [[len(text), len(text.encode("utf-8"))] for text in SAMPLES]
show(sizes, "size of a text", rows=SAMPLES, cols=["chars", "bytes"])
assert sizes == [[5, 6], [2, 6], [1, 4]]

# %% [markdown]
# ## An alphabet for bytes
# Merges are saved as text, two tokens on a line with a space between, so a token must hold no space
# and no line end. GPT-2 gives each byte a visible character: 188 bytes keep that of Latin-1, and
# the other 68 get the characters from U+0100 on. Only the spelling of the tokens changes.

# %%
visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)]
hidden = [byte for byte in range(256) if byte not in visible]
alphabet = {byte: chr(byte) for byte in visible}
alphabet |= {byte: chr(0x100 + i) for i, byte in enumerate(hidden)}


def spell(text: str) -> str:
    return "".join(alphabet[byte] for byte in text.encode("utf-8"))


print(repr("a café\n"), "->", spell("a café\n"))
assert (len(visible), len(hidden), len(set(alphabet.values()))) == (188, 68, 256)
assert spell("a café\n") == "aĠcafÃ©Ċ"

# %% [markdown]
# ## Words first
# Without a limit, merges would create tokens such as "dog." and "dog!". So the text is split into
# words, and no merge crosses a word. A word is: an English ending as 's; or letters, or digits, or
# other characters, each with at most one space before them; or white space. The space belongs to
# the word after it: "book" and " book" are different words.

# %%
PATTERN = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
words = Counter(PATTERN.findall(TEXT))
print(PATTERN.findall("I'd  see 3rd!"))
print("most frequent:", words.most_common(4))
assert PATTERN.findall("I'd  see 3rd!") == ["I", "'d", " ", " see", " 3", "rd", "!"]
assert "".join(PATTERN.findall(TEXT)) == TEXT  # nothing is dropped

# %% [markdown]
# ## Learn the merges
# From here on this is lesson 9: count the pairs of neighbours, merge the most frequent pair,
# repeat. Two details differ. A token that continues a word has no `##`, because Ġ says where a word
# begins. Of equally frequent pairs the one with the smaller ids wins.


# %%
def merge(tokens: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for token in tokens:
        if merged and (merged[-1], token) == pair:
            merged[-1] += token
        else:
            merged.append(token)
    return merged


assert merge(["a", "a", "a"], ("a", "a")) == ["aa", "a"]  # from left to right


# %%
def learn(count: int) -> tuple[list[tuple[str, str]], list[int]]:
    """Learn merges; also return the number of tokens of the text before each and at the end."""
    ids = {char: i for i, char in enumerate(sorted(alphabet.values()))}
    cut = {word: list(spell(word)) for word in words}
    merges, lengths = [], []
    for _ in range(count):
        lengths.append(sum(words[word] * len(tokens) for word, tokens in cut.items()))
        pairs = Counter()
        for word, tokens in cut.items():
            for pair in pairwise(tokens):
                pairs[pair] += words[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]))
        merges.append(best)
        ids["".join(best)] = len(ids)
        cut = {word: merge(tokens, best) for word, tokens in cut.items()}
    return merges, [*lengths, sum(words[word] * len(tokens) for word, tokens in cut.items())]


# %% [markdown]
# `train_bpe` learns the same merges, in less time: after a merge it counts again only the words
# that hold the pair. Each merge makes the text shorter by as many tokens as the pair occurs. The
# picture shows that the first merges help most.

# %%
merges, lengths = learn(60)
vocab, theirs = train_bpe([TEXT], 5 + 256 + 60)  # it puts five special tokens first
print("ours:  ", *(left + right for left, right in merges[:16]))
print("theirs:", *(left + right for left, right in theirs[:16]))
show(lengths[::10], "tokens of the text after n merges", cols=[str(n) for n in range(0, 61, 10)])
assert lengths[0] == len(TEXT)  # each character of this text is one byte
assert lengths[0] - lengths[10] > lengths[-11] - lengths[-1]
assert theirs == merges

# %% [markdown]
# Byte-level BPE begins with 256 symbols, so no text is unknown, and learns merges inside words.
#
# Exercises: `bytes/alphabet`, `words/learn`.
# Next: 12_apply_byte_pairs.py.
