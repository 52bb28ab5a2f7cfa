"""WordPiece: the published examples, its limits, and its cache."""

import random

from transformers.models.bert.tokenization_bert import WordpieceTokenizer

from tinybert.text import word_cache
from tinybert.text.wordpiece import WordPiece

VOCAB = ["[UNK]", "want", "##want", "##ed", "wa", "un", "runn", "##ing", "##n", "##a", "a", "é"]


def make(unk_token="[UNK]"):
    return WordPiece({token: i for i, token in enumerate(VOCAB)}, unk_token)


def test_examples_of_the_original():
    assert make().tokenize(["unwanted", "running"]) == ["un", "##want", "##ed", "runn", "##ing"]
    assert make().tokenize(["unwantedX", "running"]) == ["[UNK]", "runn", "##ing"]
    assert make().tokenize([]) == []


def test_longest_word():
    assert make()["a" * 100] == ["a"] + ["##a"] * 99
    assert make()["a" * 101] == ["[UNK]"]
    assert "a" * 101 not in make()  # is not kept


def test_random_words_equal_transformers():
    rng = random.Random(0)
    ours, theirs = make(), WordpieceTokenizer(dict.fromkeys(VOCAB), "[UNK]")
    letters = ["un", "want", "ed", "runn", "ing", "n", "a", "é", "wa", "x"]
    for _ in range(3000):
        word = "".join(rng.choices(letters, k=rng.randrange(1, 9)))
        assert ours[word] == theirs.tokenize(word) == ours.segment(word), word


def test_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(word_cache, "MAX_CACHED_TOKENS", 60)
    pieces = make()
    for n in range(1, 50):
        assert pieces["a" * n] == pieces.segment("a" * n)
        assert sum(len(tokens) + 3 for tokens in pieces.values()) == pieces.n_cached <= 60
