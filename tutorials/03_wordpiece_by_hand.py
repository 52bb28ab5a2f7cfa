# %% [markdown]
# # 3. WordPiece by hand: from a text to ids
# A model reads numbers, not letters. The way there has two halves: first the text is made simpler
# and cut into words (lower case, no accents, punctuation apart), then each word is cut into pieces
# of a fixed vocabulary. Here we write both halves in plain Python, until the ids are those of
# `BertTokenizer`, for a paragraph full of traps. Then we learn a vocabulary ourselves.

# %%
import sys
import unicodedata
from collections import Counter
from itertools import pairwise

from tinybert import BertTokenizer, BertTokenizerFast, train_wordpiece
from tinybert.fetch import FetchError, model_folder

if hasattr(sys.stdout, "reconfigure"):  # letters that this terminal or pipe lacks become "?"
    sys.stdout.reconfigure(errors="replace")

try:
    folder = model_folder("minilm")
except FetchError as reason:  # it names the one command to run
    raise SystemExit(str(reason)) from None
tokenizer = BertTokenizer.from_pretrained(folder)
vocab = tokenizer.vocab  # token -> id, its line in vocab.txt; 30522 of them
PARAGRAPH = """Él dijo: «¡No!» The tokenization of naïve cafés isn't trivial;\tÅngström, 東京
and 5$/kg aren't either. Zero\u200bwidth, so\u00adft hyphens and a lone \ufffd vanish. ΟΔΟΣ, Straße,
ﬁre, İstanbul, e\u0301galite\u0301 & \U0001f917 meet """ + "very" * 26 + "long words."  # fmt: skip

# %% [markdown]
# ## Half one: from text to words
# Unicode gives each character a category: Lu and Ll are letters, P* punctuation, C* things that are
# not seen (control, format, unassigned), Zs spaces, Mn marks that sit on the letter before them.
# Four steps, as in the code that came with the paper (Devlin et al. 2019, arXiv:1810.04805, whose
# text says only "WordPiece embeddings with a 30,000 token vocabulary"):
#
# 1. clean: unseen characters go, any whitespace becomes a space;
# 2. a space on each side of every Chinese character, so that each is a word;
# 3. lower case, then NFD, which takes é apart into e and a mark, then the marks go;
# 4. a space on each side of punctuation. `$+<=>^`|~` are category S, symbols, but for BERT every
#    ASCII sign counts as punctuation; € and ° do not.


# %%
def clean(text: str) -> str:
    spaces = "".join(" " if c in "\t\n\r" or category(c) == "Zs" else c for c in text)
    return "".join(c for c in spaces if category(c)[0] != "C" and c != "\ufffd")


def space_chinese(text: str) -> str:  # here only the largest of the eight blocks
    return "".join(f" {c} " if "\u4e00" <= c <= "\u9fff" else c for c in text)


def simplify(text: str) -> str:
    lower = "".join(c.lower() for c in text)  # one by one: see the Σ below
    return "".join(c for c in unicodedata.normalize("NFD", lower) if category(c) != "Mn")


def space_punctuation(text: str) -> str:
    return "".join(f" {c} " if category(c)[0] == "P" or c in "$+<=>^`|~" else c for c in text)


category = unicodedata.category
text, sample = PARAGRAPH, "Él\tpaid 5$ in 東\u200b京!"
print(f"{'as given':17s} {sample!r}")
for step in (clean, space_chinese, simplify, space_punctuation):
    text, sample = step(text), step(sample)
    print(f"{step.__name__:17s} {sample!r}")
words = text.split()
assert words[:8] == ["el", "dijo", ":", "«", "¡", "no", "!", "»"]
assert {"東", "京", "5", "$", "zerowidth", "soft", "straße", "ﬁre", "istanbul"} < {*words}
assert words == [word for step in tokenizer.explain(PARAGRAPH) for word in step.words]

# %% [markdown]
# Three things deserve a second look. ß and the ligature ﬁ stay, since NFD takes apart only what is
# equal by definition (é), not what merely resembles (that would be NFKD). The lower case of ΟΔΟΣ
# ends in ς, the form for the end of a word; so did the code of the paper, but transformers lowers
# each character alone and gets σ. And "isn't" becomes three words.

# %%
assert "ΟΔΟΣ".lower() == "οδος" != simplify("ΟΔΟΣ") == "οδοσ"
assert unicodedata.normalize("NFD", "é") == "e\u0301"
assert [unicodedata.normalize(form, "ﬁ") for form in ("NFD", "NFKD")] == ["ﬁ", "fi"]
assert space_punctuation("isn't 5$ 5€").split() == ["isn", "'", "t", "5", "$", "5€"]

# %% [markdown]
# ## Half two: the longest piece, from the left
# Take the longest beginning of the word that the vocabulary has; go on behind it, where pieces are
# written with "##" in front. (Pieces are due to Wu et al. 2016, arXiv:1609.08144, section 4.1, who
# mark the *first* piece of a word instead, with "_".) If at some place nothing fits, the *whole*
# word is [UNK]. So is a word of more than 100 characters; the code of the paper allowed 200.


# %%
def wordpiece(word: str, vocab, trials=None) -> list[str]:
    if len(word) > 100:
        return ["[UNK]"]
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if trials is not None:
                trials.append(piece)
            if piece in vocab:
                break
        else:  # not even one character
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


trials: list[str] = []
pieces = wordpiece("tokenization", vocab, trials)
for trial in trials:
    print(f"    {trial:14s}", f"<- id {vocab[trial]}" if trial in vocab else "")
assert pieces == ["token", "##ization"]
assert len(trials) == 8 + 1  # from "tokenization" down to "token", and then one

ours = [piece for word in words for piece in wordpiece(word, vocab)]
print(*ours)
assert ours == tokenizer.tokenize(PARAGRAPH)
assert [vocab[piece] for piece in ours] == tokenizer.encode(PARAGRAPH, add_special_tokens=False)
assert wordpiece("very" * 26, vocab) == ["[UNK]"] != wordpiece("very" * 25, vocab)
assert wordpiece("\U0001f917", vocab) == ["[UNK]"]  # an emoji that the vocabulary lacks

# %% [markdown]
# Greedy is not optimal. It may need more pieces than necessary, and it may fail where another cut
# would have succeeded, because it never goes back.

# %%
assert wordpiece("digraphs", vocab) == ["dig", "##raph", "##s"]
assert {"di", "##graphs"} <= vocab.keys()  # two would have done
assert wordpiece("abc", {"a", "ab", "##bc"}) == ["[UNK]"]  # though a ##bc is there

# %% [markdown]
# ## Offsets: back to the text
# To mark an answer in a text one must know where each piece comes from. Steps 1 to 3 change the
# number of characters, so that each character has to carry its origin along; `BertTokenizerFast`
# does. Its pieces are those of `BertTokenizer`, and the slice of the *original* text, simplified,
# is the piece: accents, soft hyphens and all.

# %%
fast = BertTokenizerFast.from_pretrained(folder)
encoding = fast(PARAGRAPH, return_offsets_mapping=True, add_special_tokens=False)
assert encoding.tokens() == ours
for place in map(ours.index, ("el", "##ization", "cafes", "soft", "##gal", "##ite")):
    start, end = encoding.offset_mapping[place]
    print(f"    {ours[place]:8s} ({start}, {end})  {PARAGRAPH[start:end]!r}")
for piece, (start, end) in zip(ours, encoding.offset_mapping, strict=True):
    assert piece in ("[UNK]", "##" * (piece[:2] == "##") + simplify(clean(PARAGRAPH[start:end])))
place = PARAGRAPH.index("so\u00adft")
assert encoding.token_to_chars(ours.index("soft")) == (place, place + 5)  # five for four letters

# %% [markdown]
# ## Why "slow" and "fast" do not always agree
# The names are those of transformers: its slow tokenizer is written in Python, its fast one in
# Rust. Both look characters up in tables of Unicode, but not of the same edition, and the Rust
# library has slips of its own. So some rare characters give different pieces. For our slow class
# that depends on your version of Python, as in transformers; our fast one has Rust's tables.

# %%
blocks = [chr(code) for code in range(0x3000)]
differ = [c for c in blocks if tokenizer.tokenize(f"a{c}b") != fast.tokenize(f"a{c}b")]
unassigned = sum(category(c) == "Cn" for c in differ)
print(
    f"of the first {len(blocks)} characters {len(differ)} differ, of these {unassigned} unassigned"
)
assert not any(c.isascii() or c in "éßΣя中€" for c in differ)
# Not assigned: for Python that is category Cn, which is removed with all of C*; Rust leaves it.
assert "\u0378" in differ
assert tokenizer.tokenize("a\u0378b") == ["ab"]
# A slip: the library lets one block of Chinese characters begin 256 characters late.
late = "a\U0002b820b"
assert (tokenizer.tokenize(late), fast.tokenize(late)) == (["a", "[UNK]", "b"], ["[UNK]"])
# Only the slow one composes accents (NFC); one sees it where accents are kept.
slow_kept = BertTokenizer.from_pretrained(folder, strip_accents=False)
fast_kept = BertTokenizerFast.from_pretrained(folder, strip_accents=False)
assert slow_kept.explain("e\u0301")[0].words == ["é"]
assert fast_kept.normalizer.normalize("e\u0301")[0] == "e\u0301"

# %% [markdown]
# ## Where a vocabulary comes from
# Start with single characters. Count which two neighbours stand together most often in the words,
# make them one token, and repeat (Sennrich et al. 2016, arXiv:1508.07909, algorithm 1). Of equally
# frequent pairs we take the first in the alphabet, so that the result is the same everywhere.

# %%
CORPUS = "low low low low low lower lower newest newest newest newest newest newest widest widest"
counts = Counter(CORPUS.split())


def learn(merges: int, score) -> list[str]:
    cut = {word: [word[0], *("##" + c for c in word[1:])] for word in counts}
    learnt = []
    for _ in range(merges):
        tokens, pairs = Counter(), Counter()  # how often each occurs in the corpus
        for word, count in counts.items():
            for token in cut[word]:
                tokens[token] += count
            for pair in pairwise(cut[word]):
                pairs[pair] += count
        a, b = min(pairs, key=lambda pair: (-score(pair, pairs, tokens), pair))
        learnt.append(a + b.removeprefix("##"))
        for word, old in cut.items():
            new = []
            for token in old:  # where a and b meet they become one, from left to right
                if new and (new[-1], token) == (a, b):
                    new[-1] = learnt[-1]
                else:
                    new.append(token)
            cut[word] = new
    return learnt


learnt = learn(9, lambda pair, pairs, tokens: pairs[pair])
print("learnt:", *learnt)
letters = sorted(set("".join(counts)))
start = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters)]
assert train_wordpiece([CORPUS], len(start) + 9) == start + learnt
assert wordpiece("lowest", {*start, *learnt}) == ["low", "##est"]  # a word never seen

# %% [markdown]
# That is byte-pair encoding in the dress of WordPiece. The first WordPiece (Schuster and Nakajima
# 2012) took the token that raises the likelihood of the corpus most, which is usually simplified to
# the largest count(ab) / (count(a) count(b)): not what is frequent, but what is found together more
# often than apart. How the 30522 tokens of BERT were chosen was never published.

# %%
likely = learn(2, lambda pair, pairs, tokens: pairs[pair] / tokens[pair[0]] / tokens[pair[1]])
print("most frequent:", *learnt[:2], "  most likely:", *likely)
assert learnt[:2] == ["##es", "##est"]
assert likely == ["##id", "wid"]  # i, d and w occur in "widest" only, and always together

# %% [markdown]
# ## Rows for a model
# A row begins with [CLS] and each text ends with [SEP]; `token_type_ids` tell the first text of a
# pair from the second. Rows of a batch are filled up with [PAD] to equal length, where
# `attention_mask` is 0.

# %%
cls, sep, pad = (vocab[token] for token in ("[CLS]", "[SEP]", "[PAD]"))
a, b = (tokenizer.encode(text, add_special_tokens=False) for text in ("Who pays?", "The king."))
batch = tokenizer([("Who pays?", "The king."), ("Who?", "Me.")], padding=True)
assert batch.input_ids[0] == [cls, *a, sep, *b, sep]
assert batch.token_type_ids[0] == [0] * (len(a) + 2) + [1] * (len(b) + 1)
assert batch.input_ids[1][-3:] == [sep, pad, pad]
assert batch.attention_mask[1][-3:] == [1, 0, 0]

# %% [markdown]
# A text that is too long is cut, or read through a window: with `return_overflowing_tokens` each
# row holds the question and the next part of the text, and begins with the last `stride` tokens of
# the part before, so that an answer is not cut in two.

# %%
question, length = "Who pays?", 40


def windows(stride: int) -> list[list[int]]:
    return fast(
        *(question, PARAGRAPH), truncation="only_second", max_length=length, stride=stride,
        return_overflowing_tokens=True,
    ).input_ids  # fmt: skip


room = length - len(a) - 3  # for [CLS] question [SEP] part [SEP]
ids = [vocab[piece] for piece in ours]
starts = range(0, len(ids) - 8, room - 8)
for row, first in zip(windows(stride=8), starts, strict=True):
    assert row == [cls, *a, sep, *ids[first : first + room], sep]
print(f"{len(ids)} tokens in {len(starts)} rows of at most {room}, that begin at", *starts)

# %% [markdown]
# ## Try
# Replace a None by your answer and run the script again: the assertion says whether it is right.

# %%
trials_of_zerowidth = None  # how many lookups does it take to cut "zerowidth"?
rows_at_stride_20 = None  # how many rows would the paragraph be at stride 20?

wordpiece("zerowidth", vocab, trials := [])
assert trials_of_zerowidth in (None, len(trials))
assert rows_at_stride_20 in (None, len(windows(stride=20)))
# Next: what the model does with the ids, 04_attention.py.
