"""50,000 difficult texts through nine trained tokenizer.json files, here and in the library.

Every text counts once: alone, as half of a pair, or in a batch that is cut and padded. The seed is
the environment variable FUZZ_SEED, 0 without it.
"""

import functools
import json
import os
import random
import statistics
import time
import unicodedata

import pytest
import transformers
from tokenizers import Tokenizer

from tests.tokenizer_json.json_oracle import (
    SPECIAL,
    TRAINERS,
    assert_same,
    load,
    random_processor,
    trained,
)
from tests.tokenizers.corpora import CORPORA, DECLARATION
from tests.tokenizers.fuzz import ADDED, Call, compare
from tinybert.tokenizers import TokenizerJSON

SEED = int(os.environ.get("FUZZ_SEED", "0"))
STRINGS = 5_600  # for each of nine files
VARIANTS = 8  # of each file: other added tokens, another post-processor
ROLES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
trained = functools.cache(trained)
FILES = [(kind, corpus) for kind in TRAINERS for corpus in CORPORA]

# Mean texts ----------------------------------------------------------------------------------

SPACES = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2003\u2009\u200a\u2028\u2029"
SPACES += "\u202f\u205f\u3000\u200b\u180e\u2060▁"  # and what only looks like one
MARKS = "\u0301\u0308\u0323\u0327\u0345\u05b8\u064b\u093e\u0e31\u0e33\u0eb3\u1161\u11a8\u20dd\u3099"
MARKS += "\u0f71\u0f72\u0f74\u1ab0\u1dc0\ufe20\U0001d165\U0001d16e\u0334\u0338"
BASES = "aeoqAEZßıİſﬁΣςАйあがハᄀ가각ﬀǄ①½Ⅷ²٣५๙中\U0001d400\U0001f1e6·.-'0"
SPECIALS = (*SPECIAL, "<0x41>", "<0xE4>", "<mask>", "<|endoftext|>", "New", "<x>", "É", "U.S.")
CONTRACTIONS = ("don't", "I'LL", "y'all'd've", "'s", "'S", "’s", "'re'd", "it''s", "'", "'ſ")
EMOJI = (
    "👩\u200d👩\u200d👧\u200d👦",
    "👍🏽",
    "❤\ufe0f\u200d🔥",
    "🏳\ufe0f\u200d🌈",
    "🇩🇪🇫🇷🇩",
    "1\ufe0f\u20e3",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
)
# Byte order marks, private use, no characters at all, controls, joiners, ends of lines; what the
# alphabets of tokenizers are made of; damaged special tokens.
ODD = "\ufeff \ue000 \U0010fffd \U000f0000 \uffff \ufffe \ufffd \u00ad \x00 \x01 \x7f \x80 \x9f"
ODD += " \u200d \u200c \u202e Ġ Ċ Ġthe Ã© ##a ▁the Ā < > </ <0x 't"
ODDITIES = (*ODD.split(" "), "\r\n", "\n\r", "\r\r\n", "\u2028\n", " \n ", "\t \t", " 't")
NO_CHARACTERS = "\ufffe\uffff"  # nor will they ever be
SCRIPTS = " ".join(DECLARATION).split()


def near(rng: random.Random, token: str) -> str:
    """A special token, damaged or not."""
    kind = rng.randrange(7)
    if kind == 0:
        return token[:-1]
    if kind == 1:
        return token[1:]
    if kind == 2:
        return token.upper() if token.islower() else token.lower()
    if kind == 3:
        place = rng.randrange(1, len(token)) if len(token) > 1 else 0
        return token[:place] + rng.choice([" ", "\u0301", "\u200b", token]) + token[place:]
    return token * rng.choice([1, 1, 1, 3])


def any_char(rng: random.Random) -> str:
    """A character of some block, of which most are common ones."""
    last = rng.choice([0x80, 0x250, 0x600, 0x1100, 0x3000, 0xA000, 0xD800, 0x10000, 0x20000])
    code = rng.randrange(last)
    return chr(code) if not 0xD800 <= code < 0xE000 else "\ue123"


def one_part(rng: random.Random, lines: list[str]) -> str:
    kind = rng.randrange(14)
    if kind == 0:
        return "".join(rng.choices(SPACES, k=rng.randrange(1, 6)))
    if kind == 1:
        marks = rng.choices(MARKS, k=rng.randrange(1, 7))
        return rng.choice(["", rng.choice(BASES), " "]) + "".join(marks)
    if kind == 2:
        return rng.choice(BASES + MARKS + SPACES + "ab") * rng.choice([2, 3, 17, 64, 300])
    if kind == 3:
        return rng.choice(EMOJI)
    if kind == 4:
        return rng.choice(ODDITIES)
    if kind == 5:
        return rng.choice(CONTRACTIONS)
    if kind in (6, 7):
        return near(rng, rng.choice(SPECIALS))
    if kind == 8:
        return "".join(rng.choices("0123456789,.-٣५² ", k=rng.randrange(1, 15)))
    if kind == 9:
        return "".join(any_char(rng) for _ in range(rng.randrange(1, 5)))
    if kind == 10:
        return rng.choice(SCRIPTS)
    line = rng.choice(lines)
    start = rng.randrange(len(line) + 1)
    return line[start : start + rng.randrange(1, 40)]


def mean_text(rng: random.Random, lines: list[str]) -> str:
    """Parts that are glued or spaced; now and then nothing, or one very long word."""
    kind = rng.random()
    if kind < 0.01:
        return ""
    if kind < 0.02:
        alphabet = rng.choice(["ab", "etaoinshr", "0123456789", "가각中文字", "é\u0301x", "'.a"])
        return "".join(rng.choices(alphabet, k=rng.choice([100, 257, 1000, 3000])))
    parts = []
    for _ in range(rng.randrange(1, 9)):
        parts.append(one_part(rng, lines))
        if rng.random() < 0.3:
            parts.append(rng.choice([" ", " ", "  ", "\n", "\r\n", "▁"]))
    # What Python does not know yet differs between the tables of the two sides.
    return "".join(
        c for c in "".join(parts) if unicodedata.category(c) != "Cn" or c in "\uffff\ufffe"
    )


# Both sides ----------------------------------------------------------------------------------


def variant(number: int, rng: random.Random, kind: str, corpus: str, path):
    """A trained file, as it is or with another post-processor and more added tokens.

    Returns the library's tokenizer, ours, and the pair of classes for whole calls.
    """
    value = json.loads(trained(kind, corpus))
    if number:
        value["post_processor"] = random_processor(rng, 1, 2)
        vocab = Tokenizer.from_str(json.dumps(value)).get_vocab()
        flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
        for content, given in ADDED[rng.choice(list(ADDED))]:
            token_id = vocab.setdefault(content, len(vocab))
            given = {"id": token_id, "content": content, **dict.fromkeys(flags, False), **given}
            value["added_tokens"].append(given)
    theirs, ours = load(json.dumps(value), path)
    called = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path), **ROLES)
    return theirs, ours, (called, TokenizerJSON(path, **ROLES))


def batch_call(rng: random.Random, texts: list[str]) -> Call:
    """A call with a batch of texts or pairs, of which any length may be cut and padded."""
    half = len(texts) // 2
    columns = {"text": texts}
    if rng.random() < 0.4:
        columns = {"text": texts[:half], "text_pair": texts[half : 2 * half]}
    special = rng.random() < 0.7
    options = {
        "padding": rng.choice([True, False, "max_length"]),
        "truncation": rng.choice([True, True, None, "only_first", "only_second"]),
        "max_length": rng.choice([2, 4, 5, 9, 16, 33, 64]),
        "stride": rng.choice([0, 0, 1, 3]),
        # Without special tokens, the library forgets that what overflows of a RoBERTa has no types.
        "return_overflowing_tokens": special and rng.random() < 0.3,
        "return_special_tokens_mask": True,
        "return_offsets_mapping": rng.random() < 0.5,
        "add_special_tokens": special,
        "verbose": rng.random() < 0.5,
    }
    attributes = {
        "padding_side": rng.choice(["right", "left"]),
        "truncation_side": rng.choice(["right", "left"]),
        "split_special_tokens": rng.random() < 0.2,
    }
    return Call({}, "none", attributes, "__call__", columns | options)


def fuzz(kind: str, corpus: str, count: int, number: int, path) -> int:
    """Compare both sides on `count` texts; returns how many of their calls were equal."""
    rng = random.Random(f"{number} {kind} {corpus}")
    lines = CORPORA[corpus]
    equal = 0
    for i in range(VARIANTS):
        theirs, ours, classes = variant(i, rng, kind, corpus, path)
        size = theirs.get_vocab_size()
        left = count // VARIANTS
        while left > 0:
            ids = rng.choices(range(size + 1), k=rng.randrange(6))
            assert ours.decode(ids) == theirs.decode(ids, False), ids
            form = rng.random()
            texts = [mean_text(rng, lines) for _ in range(min(left, 8 if form < 0.2 else 2))]
            left -= len(texts)
            if form < 0.2 and i:  # without a post-processor, padding belongs to the first text
                equal += compare(batch_call(rng, texts), True, *classes) == "equal"
            elif form < 0.4 and len(texts) > 1 and texts[1]:
                assert_same(theirs, ours, *texts[:2])
                for text in texts[2:]:
                    assert_same(theirs, ours, text)
            else:
                for text in texts:
                    assert_same(theirs, ours, text)
    return equal


def seconds(function, argument) -> float:
    start = time.perf_counter()
    function(argument)
    return time.perf_counter() - start


@pytest.mark.parametrize(("kind", "corpus"), FILES)
def test_mean_texts(kind, corpus, tmp_path, capfd):
    fuzz(kind, corpus, 160, 0, tmp_path / "tokenizer.json")
    capfd.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "corpus"), FILES)
def test_fifty_thousand_texts(kind, corpus, tmp_path, capfd):
    """5,600 for each of the nine files; with -n0 prints how long the corpus takes, beside Rust."""
    path = tmp_path / "tokenizer.json"
    equal = fuzz(kind, corpus, STRINGS, SEED + 1, path)
    assert equal > 40, equal
    capfd.readouterr()  # what Rust says of its panics
    path.write_text(trained(kind, corpus))
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
    ours, lines = TokenizerJSON(path), CORPORA[corpus]
    times = [(seconds(ours, lines), seconds(theirs, lines)) for _ in range(6)][1:]
    ratio = statistics.median(mine / other for mine, other in times)
    with capfd.disabled():
        print(f"\n{kind}, {corpus}: {STRINGS} texts agree; {ratio:.2f} times as long as Rust")
