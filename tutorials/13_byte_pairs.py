# %% [markdown]
# # 13. Byte pairs: a vocabulary without unknown words
# WordPiece (tutorial 3) has an [UNK] for what it does not know. Byte-pair encoding over *bytes* has
# none: any text is bytes, and there are 256 of them. Sennrich et al. (2016, arXiv:1508.07909) learn
# pairs of characters, Radford et al. (2019, the report on GPT-2) pairs of bytes. We write it twice,
# plainly and fast, count what each looks at, and compare with tinybert's `train_bpe` and
# `MegaTokenizer`, which have the format of GPT-2 and RoBERTa.

# %%
import heapq
import sys
import tempfile
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import regex  # like re, and knows \p{L}: the letters of all alphabets

from tinybert import BertTokenizer, MegaTokenizer, train_wordpiece
from tinybert.text.bpe import BPE
from tinybert.text.byte_level import BYTE_TO_CHAR, split_pattern
from tinybert.tokenizers import save_bpe, save_vocab, train_bpe

if hasattr(sys.stdout, "reconfigure"):  # letters that this terminal or pipe lacks become "?"
    sys.stdout.reconfigure(errors="replace")

ALICE = """\
Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing
to do: once or twice she had peeped into the book her sister was reading, but it had no pictures or
conversations in it, 'and what is the use of a book,' thought Alice 'without pictures or
conversations?' So she was considering in her own mind (as well as she could, for the hot day made
her feel very sleepy and stupid), whether the pleasure of making a daisy-chain would be worth the
trouble of getting up and picking the daisies, when suddenly a White Rabbit with pink eyes ran close
by her. There was nothing so very remarkable in that; nor did Alice think it so very much out of the
way to hear the Rabbit say to itself, 'Oh dear! Oh dear! I shall be late!' (when she thought it over
afterwards, it occurred to her that she ought to have wondered at this, but at the time it all
seemed quite natural); but when the Rabbit actually took a watch out of its waistcoat-pocket, and
looked at it, and then hurried on, Alice started to her feet, for it flashed across her mind that
she had never before seen a rabbit with either a waistcoat-pocket, or a watch to take out of it, and
burning with curiosity, she ran across the field after it, and fortunately was just in time to see
it pop down a large rabbit-hole under the hedge."""
NEW = "In another moment down went Alice after it, never once considering how she'd get out again."
FOREIGN = "Él pagó 1865€ en el Café «東京» \U0001f917!\n\n  ok"

# %% [markdown]
# ## Why bytes
# UTF-8 writes a character as one to four bytes: ASCII as itself, é as two, most Chinese as three,
# emoji as four. So 256 symbols are enough for every text there is, where Unicode has some 150,000
# characters. The price: é already begins as two symbols, until a merge joins them.

# %%
for char in "aé東\U0001f917":
    print(f"    {char}  U+{ord(char):05X}  {char.encode('utf-8').hex(' ')}")
assert [len(char.encode("utf-8")) for char in "aé東\U0001f917"] == [1, 2, 3, 4]

# %% [markdown]
# ## An alphabet for bytes
# The list of merges is a file of text, two tokens a line with a space between. In such a file a
# token must hold no space and no line end, and people like to read it. So each byte gets a
# character that can be seen: the 188 that are visible in Latin-1 stand for themselves, the other 68
# are the characters from U+0100 on. The space is Ġ. That is spelling only; it changes no token.

# %%
visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)]
hidden = sorted({*range(256)} - {*visible})
alphabet = {byte: chr(byte) for byte in visible}
alphabet |= {byte: chr(0x100 + place) for place, byte in enumerate(hidden)}


def spell(text: str) -> str:
    return "".join(alphabet[byte] for byte in text.encode("utf-8"))


print("    ", spell("a café\n東"))
assert (len(visible), len(hidden), len(set(alphabet.values()))) == (188, 68, 256)
assert tuple(alphabet[byte] for byte in range(256)) == BYTE_TO_CHAR
assert spell("a café\n") == "aĠcafÃ©Ċ"

# %% [markdown]
# ## Words first
# Without a fence, merges would join "dog." and "dog!" to tokens of their own. So GPT-2 first cuts
# the text, and no token crosses a cut: English endings; letters, digits or other signs, each with
# *one* space before them; white space. Nothing is dropped: the words, joined, are the text. Hence
# the space belongs to the word behind it, and "book" at the start is another token than " book".

# %%
PATTERN = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
print("    ", PATTERN.findall(FOREIGN))
assert PATTERN.findall("I'd  see 3rd!") == ["I", "'d", " ", " see", " 3", "rd", "!"]
assert PATTERN.findall("book book") == ["book", " book"]
assert PATTERN.findall("I'D") == ["I", "'", "D"]  # the endings are small letters
for text in (ALICE, NEW, FOREIGN):
    assert "".join(PATTERN.findall(text)) == text
    assert PATTERN.findall(text) == split_pattern(text).findall(text)

# %% [markdown]
# ## Learning, plainly
# Count all pairs of neighbours, make the most frequent one a token, put it wherever the pair
# stands; again and again (algorithm 1 of Sennrich et al.). A word that occurs ten times is cut once
# and counts ten times. Of equally frequent pairs the smaller ids win. A pair that occurs once is
# not worth a token.

# %%
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
BASE = [*SPECIAL, *sorted(alphabet.values())]  # ids 0 to 260
MERGES = 150
looked = Counter[str]()  # how many pairs each way looks at
words = Counter(PATTERN.findall(ALICE))
first_ids = {word: [BASE.index(char) for char in spell(word)] for word in words}


def join(ids: list[int], pair: tuple[int, int], new: int, who: str) -> list[int]:
    """`new` for each pair, from left to right: of a a a the first two."""
    joined: list[int] = []
    for token in ids:
        looked[who] += 1
        if joined and (joined[-1], token) == pair:
            joined[-1] = new
        else:
            joined.append(token)
    return joined


def learn_plainly(merges: int) -> list[tuple[int, int]]:
    cut, learnt = dict(first_ids), []
    for new in range(len(BASE), len(BASE) + merges):
        pairs = Counter[tuple[int, int]]()
        for word, count in words.items():
            for pair in pairwise(cut[word]):
                looked["learn plainly"] += 1
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        learnt.append(best)
        cut = {word: join(ids, best, new, "learn plainly") for word, ids in cut.items()}
    return learnt


# %%
plain = learn_plainly(MERGES)
tokens = list(BASE)
for left, right in plain:
    tokens.append(tokens[left] + tokens[right])
print("    first:", *tokens[261:281], "  last:", *tokens[-8:])
vocab, merges = train_bpe([ALICE], len(BASE) + MERGES)
assert merges == [(tokens[left], tokens[right]) for left, right in plain]
assert list(vocab) == tokens
assert tokens[261:265] == ["he", "Ġt", "it", "Ġa"]

# %% [markdown]
# ## Learning, fast
# A merge changes only the words that hold the pair. So remember the words of each pair; for those,
# and only those, take their pairs out of the counts, merge, and put the new pairs in. The most
# frequent pair comes from a heap, where old counts may stay: an entry that is not the present count
# is thrown away when it comes to the top. The merges are the same, in the same order.


# %%
def learn_fast(merges: int) -> list[tuple[int, int]]:
    cut, learnt, heap = dict(first_ids), [], []
    counts, words_of = Counter[tuple[int, int]](), defaultdict(set)

    def count(word: str, sign: int) -> None:
        for pair in pairwise(cut[word]):
            looked["learn fast"] += 1
            counts[pair] += sign * words[word]
            heapq.heappush(heap, (-counts[pair], pair))
            if sign > 0:
                words_of[pair].add(word)

    for word in words:
        count(word, 1)
    for new in range(len(BASE), len(BASE) + merges):
        while counts[heap[0][1]] != -heap[0][0]:
            looked["learn fast"] += 1
            heapq.heappop(heap)
        best = heap[0][1]
        learnt.append(best)
        for word in sorted(words_of.pop(best)):
            count(word, -1)
            cut[word] = join(cut[word], best, new, "learn fast")
            count(word, 1)
    return learnt


assert learn_fast(MERGES) == plain
print(f"looked at: {looked['learn plainly']:,} pairs plainly, {looked['learn fast']:,} fast")
assert looked["learn plainly"] > 10 * looked["learn fast"]

# %% [markdown]
# ## Encoding: the merges again, in their order
# A new word gets what it would have got in learning: the first merge wherever it fits, then the
# second, and so on. Most merges do not fit a given word. So ask for the pair that is there and was
# learnt first (lowest rank), merge it, ask again. That is the same: what a merge makes can only be
# part of pairs learnt later, so no lower rank turns up. WordPiece would take the longest piece from
# the left instead. Neither always finds the shortest cut; what counts is that a text is cut as it
# was when the model was trained.


# %%
ranks = {pair: rank for rank, pair in enumerate(plain)}


def replay(ids: list[int]) -> list[int]:
    for pair, rank in ranks.items():
        ids = join(ids, pair, len(BASE) + rank, "replay")
    return ids


def by_rank(ids: list[int]) -> list[int]:
    while len(ids) > 1:
        looked["by rank"] += len(ids) - 1
        rank, pair = min((ranks.get(pair, MERGES), pair) for pair in pairwise(ids))
        if rank == MERGES:  # none of them was learnt
            break
        ids = join(ids, pair, len(BASE) + rank, "by rank")
    return ids


def encode(text: str, way=by_rank) -> list[int]:
    found = (way([vocab[char] for char in spell(word)]) for word in PATTERN.findall(text))
    return [token for ids in found for token in ids]


# %%
with tempfile.TemporaryDirectory() as folder:
    files = [Path(folder) / name for name in ("vocab.json", "merges.txt")]
    save_bpe(vocab, merges, *files)
    tokenizer = MegaTokenizer(*files)
    untrimmed = MegaTokenizer(*files, trim_offsets=False)
print("    ", *(tokens[token] for token in encode(NEW)))
for text in (ALICE, NEW, FOREIGN):
    theirs = tokenizer.encode(text, add_special_tokens=False)
    assert encode(text) == encode(text, replay) == theirs
assert len(set(tokens)) == len(tokens)  # a token made in two ways could break that
assert all(max(pair) < len(BASE) + rank for pair, rank in ranks.items())

# %%
longest, rest = [], spell(" wither")
while rest:
    longest.append(next(rest[:end] for end in range(len(rest), 0, -1) if rest[:end] in vocab))
    rest = rest.removeprefix(longest[-1])
assert longest == ["Ġwith", "er"]
assert [tokens[token] for token in encode(" wither")] == ["Ġw", "it", "her"]

# %% [markdown]
# ## Where the time goes
# For n symbols, M merges, and r different ones that fit, replaying looks at M n symbols, and asking
# by rank at up to 2 r n: for short words r is small. A heap of the pairs, with each symbol knowing
# its neighbours, looks only at pairs that a merge has changed: at most 6n times (and each takes
# log n to keep the heap in order). tinybert's `BPE` does that where a word is long; for short
# ones a list will do. We count what it looks up. Some texts have no spaces, as ours here, once they
# are taken out. In others most words soon have been met, so that results are kept in a dictionary.


# %%
class Counted(dict):
    def get(self, *arguments):
        looked["heap"] += 1
        return super().get(*arguments)


fast = BPE(vocab, merges)
fast.ranks = Counted(fast.ranks)
for name, text in (("a word", " remarkable"), ("Alice, unspaced", regex.sub(r"\W", "", ALICE))):
    looked.clear()
    n = len(text)
    found = [token.id for token in fast.tokenize(spell(text))]
    assert found == encode(text) == encode(text, replay)
    print(f"{name:16s} n = {n:4d}: {dict(looked)}")
    assert looked["heap"] < 6 * n
assert looked["replay"] > 100 * n
assert looked["by rank"] > 20 * looked["heap"]
print(f"{words.total()} words, {len(words)} different; the most frequent:", words.most_common(4))
assert len(words) < 0.6 * words.total()

# %% [markdown]
# ## Places in the text
# A token is some bytes, and a place in the text is characters: each byte must know its character.
# Where a token ends inside one, it gets all of it, and so does the next: places may overlap. By
# default, as in RoBERTa, the space before a word is left out of them.

# %%
owner = [place for place, char in enumerate(FOREIGN) for _ in char.encode("utf-8")]
spans, byte = [], 0
for token in encode(FOREIGN):
    size = len(tokens[token])  # a character of the alphabet is a byte
    spans.append((owner[byte], owner[byte + size - 1] + 1))
    byte += size
options = {"add_special_tokens": False, "return_offsets_mapping": True}
assert spans == untrimmed(FOREIGN, **options).offset_mapping
assert spans.count((FOREIGN.index("東"), FOREIGN.index("京"))) == 3  # its bytes, each a token
trimmed = tokenizer(" went", **options).offset_mapping
assert (trimmed[0], untrimmed(" went", **options).offset_mapping[0]) == ((1, 2), (0, 2))

# %% [markdown]
# ## Back to text
# Join the bytes, then decode: never token by token, for half a character is no character. A model
# may also write bytes that are no UTF-8 at all, which become U+FFFD, the replacement character.
# Every text survives there and back; not every row of ids does.

# %%
for text in (ALICE, NEW, FOREIGN):
    assert tokenizer.decode(encode(text)) == text
emoji = encode("\U0001f917")
assert len(emoji) == 4
assert [tokenizer.decode([token]) for token in emoji] == ["\ufffd"] * 4
assert tokenizer.decode([*emoji[:3], vocab["a"]]) == "\ufffda"
assert encode(tokenizer.decode([vocab["h"], vocab["e"]])) == [vocab["he"]]

# %% [markdown]
# ## Numbers
# To BPE a number is a word like any other: how it is cut depends on what was frequent, not on what
# digits mean. Learn from the years 1900 to 2029: each is one token, but other numbers are several,
# cut here and there.

# %%
years = BPE(*train_bpe([" ".join(map(str, range(1900, 2030)))] * 2, 1000))
cuts = {n: [token.text for token in years[spell(f" {n}")]] for n in (1999, 2024, 2124, 3024, 20190)}
print("    ", cuts)
assert [len(cut) for cut in cuts.values()] == [1, 1, 5, 5, 2]

# %% [markdown]
# ## Beside WordPiece
# Both learn as many tokens from the same text, then read others. In English they are about equal.
# What is new costs a token a byte here, and WordPiece has only [UNK]; it also forgets capitals.

# %%
base = train_wordpiece([ALICE], 10**6, min_frequency=10**6)  # special tokens and letters only
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "vocab.txt"
    save_vocab(train_wordpiece([ALICE], len(base) + MERGES), path)
    wordpiece = BertTokenizer(path)
print("characters  bytes  byte pairs  WordPiece, [UNK]")
counts = {}
texts = NEW, "Über die Brücke?", "爱丽丝看见一只白兔", "\U0001f407\U0001f573\ufe0f", "1234567"
for text in texts:
    pieces = wordpiece.tokenize(text)
    numbers = len(text), len(text.encode()), len(encode(text)), len(pieces), pieces.count("[UNK]")
    print("{:10d} {:6d} {:11d} {:10d} {:6d} ".format(*numbers), text[:30])
    counts[text] = numbers
assert abs(counts[NEW][2] - counts[NEW][3]) < 0.1 * counts[NEW][2]
assert counts["爱丽丝看见一只白兔"][1:] == (27, 27, 9, 9)
assert wordpiece.decode(wordpiece.encode("An  Apple", add_special_tokens=False)) == "an apple"

# %% [markdown]
# ## Try
# Replace a None by your answer and run the script again: the assertion says whether it is right.

# %%
unmerged = None  # how many symbols does "naïve 東" begin with, before any merge?
left = None  # how many tokens are left of "aaaaa" if the only merge is a a?
least = None  # how many merges must have been learnt before " Alice" can be one token?

assert unmerged in (None, len(spell("naïve 東")))
assert left in (None, len(BPE({"a": 0, "aa": 1}, [("a", "a")])["aaaaa"]))
assert least in (None, len(spell(" Alice")) - 1)
# Next: the engine writes down what it computes, 14_step_through_a_sentence.py.
