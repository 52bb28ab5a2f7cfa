"""Byte-pair encoding and its alphabet: worked examples, the plain algorithm, the library."""

import random
from itertools import pairwise

import pytest
import tokenizers
from tokenizers import pre_tokenizers

from tests.tokenizers.corpora import CORPORA
from tests.tokenizers.oracle import random_texts
from tinybert.text.bpe import BPE
from tinybert.text.byte_level import (
    BYTE_TO_CHAR,
    CHAR_TO_BYTE,
    split_pattern,
    to_alphabet,
    to_bytes,
)
from tinybert.text.train_bpe import train_bpe
from tinybert.tokenizers.bpe_files import load_bpe, save_bpe


def test_alphabet():
    assert (BYTE_TO_CHAR[0x20], BYTE_TO_CHAR[0x0A], BYTE_TO_CHAR[0x41]) == ("Ġ", "Ċ", "A")
    assert len(set(BYTE_TO_CHAR)) == 256
    assert set(BYTE_TO_CHAR) == set(pre_tokenizers.ByteLevel.alphabet())
    assert all(CHAR_TO_BYTE[char] == byte for byte, char in enumerate(BYTE_TO_CHAR))
    assert to_alphabet("é\n") == "Ã©Ċ"
    assert to_bytes(["Ã", "©Ċ", "▁"]) == "é\n▁".encode()  # ▁ stands for no byte


def test_words_are_those_of_the_library():
    split = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    special = ["don't  I'LL we'll\t\n x", "a \u2003b", "½Ⅷ 12ab_ c", " \U0001f600 \U00020000x"]
    for text in [*special, *random_texts(500)]:
        words = split_pattern(text).findall(text)
        assert "".join(words) == text
        assert [to_alphabet(word) for word in words] == [word for word, _ in split(text)]


def naive(word, merges):
    """Search all pairs for the lowest rank, again and again."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    symbols = list(word)
    while found := [(ranks[p], i) for i, p in enumerate(pairwise(symbols)) if p in ranks]:
        _, i = min(found)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
    return symbols


@pytest.mark.parametrize("longest", [0, 20, 100])
def test_both_ways_to_merge_do_what_the_naive_search_does(longest, monkeypatch):
    """Looking at all pairs, for words of so many symbols, and the heap for longer ones."""
    monkeypatch.setattr("tinybert.text.bpe.LONGEST_SEARCHED", longest)
    rng = random.Random(0)
    for _ in range(300):
        vocab = {char: i for i, char in enumerate("abc")}
        merges = []
        for _ in range(rng.randrange(1, 12)):
            pair = rng.choice(list(vocab)), rng.choice(list(vocab))
            if pair not in merges and "".join(pair) not in vocab:
                vocab["".join(pair)] = len(vocab)
                merges.append(pair)
        bpe = BPE(vocab, merges)
        word = "".join(rng.choices("abc", k=rng.randrange(1, 60)))
        assert [token.text for token in bpe.tokenize(word)] == naive(word, merges)
        assert "".join(word[t.start : t.end] for t in bpe[word]) == word
        assert bpe.ids(word) == [vocab[token] for token in naive(word, merges)]


@pytest.mark.parametrize("merges", [["▁ a", "▁ ▁", "▁a b"], ["▁ a", "b ▁", "b▁ a", "▁a b"]])
def test_a_text_of_several_words(merges):
    """With and without a merge that joins words."""
    pairs = [tuple(merge.split()) for merge in merges]
    tokens = ["<unk>", *"▁ab", *(left + right for left, right in pairs)]
    vocab = {token: i for i, token in enumerate(tokens)}
    options = {"unk_token": "<unk>", "fuse_unk": True}
    library = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=pairs, **options))
    ours = BPE(vocab, pairs, **options)
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(rng.choices("▁▁aabb世", k=rng.randrange(1, 20)))
        theirs = library.encode(text)
        assert [token.id for token in ours[text]] == ours.ids(text) == theirs.ids, text
        assert [(token.start, token.end) for token in ours[text]] == theirs.offsets, text


def test_worked_example():
    vocab = {token: i for i, token in enumerate(["l", "o", "w", "e", "lo", "low", "<unk>"])}
    bpe = BPE(vocab, [("l", "o"), ("lo", "w")], unk_token="<unk>")
    assert bpe["lowel"] == ((5, "low", 0, 3), (3, "e", 3, 4), (0, "l", 4, 5))
    assert [token.text for token in bpe["ol?!"]] == ["o", "l", "<unk>", "<unk>"]
    with pytest.raises(ValueError, match="merge 1, 'x' 'o'"):
        BPE(vocab, [("x", "o")])
    strange = BPE(vocab, [], unk_token="?")
    assert [token.id for token in strange["low"]] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"'lox' is unknown, and unk_token '\?' is not in"):
        strange["lox"]


OPTIONS = {
    "unknown dropped": {},
    "unknown": {"unk_token": "<unk>"},
    "unknown fused": {"unk_token": "<unk>", "fuse_unk": True},
    "bytes": {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True},
    "whole words": {"unk_token": "<unk>", "ignore_merges": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_unknown_characters(options):
    vocab = {token: i for i, token in enumerate(["<unk>", *"abé", "ab", "abé", "<0xC3>", "<0xA8>"])}
    merges = [("a", "b")] if "ignore_merges" in options else [("a", "b"), ("ab", "é")]
    model = tokenizers.models.BPE(vocab=vocab, merges=merges, **options)
    ours = BPE(vocab, merges, **options)
    library = tokenizers.Tokenizer(model)
    rng = random.Random(0)
    for _ in range(300):
        word = "".join(rng.choices("ababéè?世", k=rng.randrange(1, 8)))
        theirs = library.encode(word)
        assert [token.id for token in ours[word]] == ours.ids(word) == theirs.ids, word
        assert [(token.start, token.end) for token in ours[word]] == theirs.offsets, word


@pytest.mark.parametrize("name", CORPORA)
def test_training_finds_what_the_library_finds(name, tmp_path):
    size, special = 1200, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    for options in ({"min_frequency": 2}, {"min_frequency": 1, "add_prefix_space": True}):
        trainer = tokenizers.ByteLevelBPETokenizer(
            add_prefix_space=options.get("add_prefix_space", False)
        )
        trainer.train_from_iterator(
            CORPORA[name], size, options["min_frequency"], False, special_tokens=special
        )
        trainer.save_model(str(tmp_path))
        vocab, merges = load_bpe(tmp_path / "vocab.json", tmp_path / "merges.txt")
        assert train_bpe(CORPORA[name], size, **options) == (vocab, merges)


def test_training_arguments(tmp_path):
    vocab, merges = train_bpe(["low low low lower"], 265, special_tokens=["<x>"])
    # l o: 4 times, lo w: 4, Ġ low: 3; what is left occurs once
    assert merges == [("l", "o"), ("lo", "w"), ("Ġ", "low")]
    assert (len(vocab), vocab["<x>"], vocab["Ġlow"]) == (260, 0, 259)
    save_bpe(vocab, merges, tmp_path / "v", tmp_path / "m")
    assert load_bpe(tmp_path / "v", tmp_path / "m") == (vocab, merges)
    with pytest.raises(ValueError, match="at least 261"):
        train_bpe(["x"], 260)
    with pytest.raises(TypeError, match="not one str"):
        train_bpe("x", 300)
    with pytest.raises(ValueError, match="special_tokens"):
        train_bpe(["x"], 300, special_tokens=["a", "a"])
    with pytest.raises(ValueError, match="min_frequency"):
        train_bpe(["x"], 300, min_frequency=0)


@pytest.mark.parametrize(
    ("vocab", "merges", "message"),
    [
        ("[]", "", "object"),
        ("{}", "", "non-empty"),
        ('{"a": "b"}', "", "an int"),
        ('{"a": 0, "b": 0}', "", "unique id"),
        ('{"a": 0}', "#version: 0.2\na b c\n", "merge 1 must be two tokens"),
        ('{"a": 0}', "#version: 0.2\nab\n", "merge 1 must be two tokens"),
    ],
)
def test_bad_files(vocab, merges, message, tmp_path):
    (tmp_path / "vocab.json").write_text(vocab)
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(ValueError, match=message) as error:
        load_bpe(tmp_path / "vocab.json", tmp_path / "merges.txt")
    assert str(tmp_path) in str(error.value)


def test_merges_with_and_without_a_header(tmp_path):
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1, "ab": 2}')
    for header in ("", "#version: 0.2\n"):
        (tmp_path / "merges.txt").write_text(header + "a b\n")
        _, merges = load_bpe(tmp_path / "vocab.json", tmp_path / "merges.txt")
        assert merges == [("a", "b")]
