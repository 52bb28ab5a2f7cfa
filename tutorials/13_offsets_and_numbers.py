# %% [markdown]
# # 13. Offsets, and back to text
# Which characters of the text does a token come from? One needs this to mark an answer in a text,
# or to show what a model reads. It is harder than it seems: cleaning changes the number of
# characters, and a token of bytes can begin inside a character.
#
# **You will be able to** compute the offsets of byte-level tokens, decode ids without breaking
# characters, and say what decides how BPE splits a number.
#
# **You need** lessons 7 (cleaning), 11 and 12 (byte pairs).
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | `text`, `tokens`, `ids` | | a text, its tokens, their ids in the vocabulary |
# | (start, end) | | offsets of a token: it comes from `text[start:end]` |
# | `owner` | list | byte -> the character of the text to which it belongs |
# | U+FFFD | | the replacement character: stands for bytes that are not text |

# %%
import sys
import tempfile
from pathlib import Path

import numpy as np

from tinybert import BertTokenizerFast, MegaTokenizer, TextStreamer, show
from tinybert.tokenizers import save_bpe, train_bpe

if hasattr(sys.stdout, "reconfigure"):  # characters that a terminal cannot print become "?"
    sys.stdout.reconfigure(errors="replace")


def learn_tokenizer(text: str, merges: int, **options) -> MegaTokenizer:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("vocab.json", "merges.txt")]
        save_bpe(*train_bpe([text], 5 + 256 + merges), *files)
        return MegaTokenizer(*files, **options)


# %% [markdown]
# ## Offsets after cleaning
# BERT's cleaning removes accents and invisible characters, so a token can be shorter than the text
# that it comes from. `BertTokenizerFast` keeps the origin of each character. In the text below é is
# two characters, and "soft" holds an invisible hyphen.

# %%
fast = BertTokenizerFast.from_pretrained("embedded")
text = "Cafe\u0301s: so\u00adft tokenization"
encoding = fast(text, return_offsets_mapping=True, add_special_tokens=False)
for token, (start, end) in zip(encoding.tokens(), encoding.offset_mapping, strict=True):
    print(f"    {token:10s} ({start:2d}, {end:2d})  {text[start:end]!a}")
assert encoding.tokens() == ["cafes", ":", "soft", "token", "##ization"]
assert encoding.offset_mapping == [(0, 6), (6, 7), (8, 13), (14, 19), (19, 26)]

# %% [markdown]
# ## Offsets of bytes
# A byte-level tokenizer splits bytes, but offsets count characters. So we note for each byte to
# which character it belongs. A token gets each character of which it holds a byte: the three tokens
# of 東 all get 東, and offsets may overlap.

# %%
CORPUS = "the cafe of the town " * 3
tokenizer = learn_tokenizer(CORPUS, 20, trim_offsets=False)
text = "the Café 東京"
encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
tokens = encoding.tokens()
owner = [i for i, c in enumerate(text) for _ in c.encode("utf-8")]
ours, byte = [], 0
for token in tokens:
    size = len(token)  # a visible character of the byte alphabet is one byte
    ours.append((owner[byte], owner[byte + size - 1] + 1))
    byte += size
covered = [[start <= i < end for i in range(len(text))] for start, end in ours]
show(covered, "a row is a token, a column a character", rows=tokens, cols=list(text))
print("ours:  ", *ours)
print("theirs:", *encoding.offset_mapping)
assert ours == encoding.offset_mapping
assert ours.count((9, 10)) == 3

# %% [markdown]
# The space before a word is a part of its token. RoBERTa leaves it out of the offsets, and so does
# `MegaTokenizer` by default: `trim_offsets=False` above kept it.

# %%
options = {"return_offsets_mapping": True, "add_special_tokens": False}
kept = tokenizer(" town", **options)
trimmed = learn_tokenizer(CORPUS, 20)(" town", **options)
print(kept.tokens(), "kept:", kept.offset_mapping, "  trimmed:", trimmed.offset_mapping)
assert kept.tokens() == trimmed.tokens() == ["Ġtown"]
assert (kept.offset_mapping, trimmed.offset_mapping) == ([(0, 5)], [(1, 5)])

# %% [markdown]
# ## Back to text
# To decode, join the bytes of all tokens first, and then decode them as UTF-8. A single token can
# be a part of a character, which is not valid UTF-8 and becomes U+FFFD. Every text survives
# encoding and decoding. Not every list of ids does: the ids of `h` and `e` are decoded to "he", and
# that is encoded as one token, `he`.

# %%
ids = tokenizer.encode("\U0001f917", add_special_tokens=False)
print("one by one:", [tokenizer.decode([i]) for i in ids], "  together:", tokenizer.decode(ids))
assert [tokenizer.decode([i]) for i in ids] == ["\ufffd"] * 4
assert tokenizer.decode(ids) == "\U0001f917"
pair = tokenizer.convert_tokens_to_ids(["h", "e"])
again = tokenizer.encode(tokenizer.decode(pair), add_special_tokens=False)
print(pair, "->", tokenizer.decode(pair), "->", again)
assert again == tokenizer.convert_tokens_to_ids(["he"])

# %% [markdown]
# To show a text while it is generated, a program must print no half character, and no word that
# further tokens may continue. `TextStreamer` waits for a space, or for a whole Chinese character.

# %%
pieces: list[str] = []
streamer = TextStreamer(tokenizer)  # `generate` calls put with each new token, and end
streamer.on_finalized_text = lambda text, stream_end=False: pieces.append(text)  # it would print
for i in (ids := tokenizer.encode("the cafés 東 town", add_special_tokens=False)):
    streamer.put(np.array([i]))
streamer.end()
print("tokens:", *tokenizer.convert_ids_to_tokens(ids), "  pieces:", [*filter(None, pieces)])
assert [*filter(None, pieces)] == ["the ", "cafés ", "東", " ", "town"]

# %% [markdown]
# ## Numbers
# For BPE a number is a word: how it is split depends on what was frequent, not on what its digits
# mean. A tokenizer that learnt the years 1900 to 2029 has one token for each of them. Other numbers
# are several tokens: 2029 and 2030 are neighbours as numbers, but they share no token.

# %%
years = learn_tokenizer(" ".join(map(str, range(1900, 2030))) * 2, 1000)
NUMBERS = [1999, 2024, 2029, 2030, 2124, 20190]
splits = {n: years.tokenize(f" {n}") for n in NUMBERS}
for n, split in splits.items():
    print(f"    {n:5d}  {split}")
show([len(s) for s in splits.values()], "tokens of a number", cols=[str(n) for n in NUMBERS])
assert [len(split) for split in splits.values()][:3] == [1, 1, 1]
assert not set(splits[2029]) & set(splits[2030])

symbols = None  # how many symbols does "naïve 東" begin with, before any merge?
assert symbols in (None, len("naïve 東".encode()))

# %% [markdown]
# Offsets count characters of the original text; tokens count characters after cleaning, or bytes.
#
# Exercises: `bytes/offsets`.
# Next: 14_embeddings.py.
