"""Learning a vocabulary: worked examples, the plain algorithm, the library, and English text."""

import random
from collections import Counter
from itertools import pairwise
from pydoc_data.topics import topics

import pytest

from tinybert.text.train_wordpiece import SPECIAL_TOKENS, train_wordpiece
from tinybert.tokenizers import BertTokenizer, BertTokenizerFast, load_vocab, save_vocab

TEXTS = [line for text in topics.values() for line in text.splitlines()]  # 500 kB of English


def learnt(texts, size, **options):
    """The tokens after the special ones and the single characters."""
    tokens = train_wordpiece(texts, size, **options)
    return [t for t in tokens if len(t.removeprefix("##")) > 1 and t not in SPECIAL_TOKENS]


def test_worked_example():
    """The words of the course of Hugging Face on byte-pair encoding, and what it finds in them."""
    words = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}
    texts = [word for word, count in words.items() for _ in range(count)]
    characters = [*"bghnpsu", *("##" + char for char in "bghnpsu")]
    tokens = train_wordpiece(texts, 5 + 14 + 3)
    assert tokens == [*SPECIAL_TOKENS, *characters, "##ug", "##un", "hug"]
    assert learnt(texts, 100, min_frequency=16) == ["##ug", "##un"]
    # u g: 20, u n: 16, h ug: 15, p un: 12, then hug s and p ug: 5 each, b un: 4
    order = ["##ug", "##un", "hug", "pun", "hugs", "pug", "bun"]
    assert learnt(texts, 100) == order


def plain(words, merges):
    """The rule itself: count all pairs, join the most frequent, start again."""
    split = {word: [word[0], *("##" + char for char in word[1:])] for word in words}
    found = {}
    while len(found) < merges:
        counts = Counter()
        for word, pieces in split.items():
            for pair in pairwise(pieces):
                counts[pair] += words[word]
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        token = best[0] + best[1][2:]
        found[token] = None
        for word, pieces in split.items():
            joined = []
            for piece in pieces:
                # A piece that was just made of this pair is not joined a second time.
                if joined and joined[-1] == best[0] and piece == best[1]:
                    joined[-1] = token
                else:
                    joined.append(piece)
            split[word] = joined
    return list(found)


def test_equals_the_plain_algorithm():
    rng = random.Random(6)
    for _ in range(60):
        alphabet = "abcde"[: rng.randrange(1, 6)]
        words = Counter(
            "".join(rng.choices(alphabet, k=rng.randrange(1, 9)))
            for _ in range(rng.randrange(1, 40))
        )
        texts = list(words.elements())
        merges = rng.randrange(30)
        inside = {char for word in words if len(word) > 1 for char in word}
        size = len(SPECIAL_TOKENS) + len(set("".join(words))) + len(inside) + merges
        assert learnt(texts, size) == plain(words, merges)


def test_close_to_the_trainer_of_the_library():
    """Both join the most frequent pair; they differ in which of equally frequent ones is first."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=800, min_frequency=2, special_tokens=[*SPECIAL_TOKENS], show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    vocab = tokenizer.get_vocab()
    theirs = [t for t in sorted(vocab, key=vocab.get) if len(t.removeprefix("##")) > 1]
    theirs, ours = theirs[len(SPECIAL_TOKENS) :][:600], learnt(TEXTS, 800)[:600]
    assert theirs[:20] == ours[:20]
    assert len(set(theirs) ^ set(ours)) < 0.03 * 600


@pytest.fixture(scope="module")
def vocab_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "vocab.txt"
    save_vocab(train_wordpiece(TEXTS, 4000), path)
    return path


def test_covers_the_text_it_was_learnt_from(vocab_file):
    tokenizer = BertTokenizerFast(vocab_file)
    assert tokenizer.vocab_size == 4000
    assert list(load_vocab(vocab_file))[:5] == [*SPECIAL_TOKENS]
    for text in TEXTS:
        words = text if len(text) < 100 else " ".join(w for w in text.split() if len(w) <= 100)
        assert "[UNK]" not in tokenizer.tokenize(words)
    frequent = Counter(w for text in TEXTS for w in text.lower().split() if w.isalpha())
    for word, _ in frequent.most_common(200):
        assert tokenizer.tokenize(word) == [word]


def test_fewer_pieces_than_characters_on_unseen_text(vocab_file):
    tokenizer = BertTokenizer(vocab_file)
    text = "The quick brown fox jumps over the lazy dog while nobody expected anything unusual."
    pieces = tokenizer.tokenize(text)
    assert "[UNK]" not in pieces
    assert len(pieces) < len(text.replace(" ", "")) / 2


def test_text_there_and_back(vocab_file):
    for tokenizer in (BertTokenizer(vocab_file), BertTokenizerFast(vocab_file)):
        text = "the value of an expression is evaluated before the name is bound, if any."
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    for line in random.Random(1).sample(TEXTS, 300):
        words = [word for word in line.split() if word.isalpha() and word.islower()]
        text = " ".join(words)
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_deterministic_whatever_the_order():
    texts = TEXTS[:2000]
    tokens = train_wordpiece(texts, 800)
    random.Random(0).shuffle(texts)
    assert train_wordpiece(iter(texts), 800) == tokens
    assert len(tokens) == len(set(tokens)) == 800


def test_options():
    texts = ["Été Été 中文 zzz"] * 3
    tokens = train_wordpiece(texts, 100)
    assert {"ete", "zzz", "中", "文"} <= set(tokens)
    assert not {"##中", "##文"} & set(tokens)
    assert "Été" in train_wordpiece(texts, 100, do_lower_case=False)
    assert "été" in train_wordpiece(texts, 100, strip_accents=False)
    assert "中文" in train_wordpiece(texts, 100, tokenize_chinese_chars=False)
    few = train_wordpiece(texts, 100, limit_alphabet=3, special_tokens=["[UNK]", "<x>"])
    assert few == ["[UNK]", "<x>", *"etz", *("##e", "##t", "##z"), "##te", "ete", "##zz", "zzz"]
    equally_often = train_wordpiece(["c b a"], 100, limit_alphabet=2)
    assert equally_often == [*SPECIAL_TOKENS, "a", "b"]
    assert train_wordpiece([], 9) == train_wordpiece(["", " \n"], 9) == [*SPECIAL_TOKENS]
    assert train_wordpiece(["x" * 101] * 9, 9) == [*SPECIAL_TOKENS]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"texts": "abc"}, TypeError, "an iterable of str"),
        ({"vocab_size": 8}, ValueError, "vocab_size=8 must be at least 11"),
        ({"vocab_size": 0}, ValueError, "vocab_size must be an integer >= 1, got 0"),
        ({"vocab_size": "9"}, ValueError, "vocab_size must be an integer >= 1, got '9'"),
        ({"min_frequency": 0}, ValueError, "min_frequency must be an integer >= 1"),
        ({"limit_alphabet": 0}, ValueError, "limit_alphabet must be an integer >= 1"),
        ({"special_tokens": ["a", "a"]}, ValueError, "special_tokens must be different"),
        ({"special_tokens": [""]}, ValueError, "special_tokens must be different, not empty"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        train_wordpiece(**({"texts": ["abc"], "vocab_size": 20} | arguments))
