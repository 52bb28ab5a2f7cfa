"""BertTokenizerFast against the class of transformers on the Rust library: texts and offsets."""

import pickle
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AddedToken as OriginalToken

from tests.tokenizers.oracle import (
    SETTINGS,
    SNIPPETS,
    VOCAB,
    Original,
    OriginalFast,
    both_fast,
    random_texts,
)
from tinybert.text.rust_unicode import rust_unicode
from tinybert.tokenizers import AddedToken, BertTokenizer, BertTokenizerFast, save_vocab

FAST_SETTINGS = {
    name: options
    for name, options in SETTINGS.items()
    if not options.keys() & {"never_split", "do_basic_tokenize"}
}
UNCASED = both_fast()
CASED = both_fast(do_lower_case=False)


def assert_equal(theirs, ours, texts):
    """Equal ids, types, masks, offsets, tokens, words and sequences."""
    expected = theirs(texts, return_offsets_mapping=True, return_special_tokens_mask=True)
    result = ours(texts, return_offsets_mapping=True, return_special_tokens_mask=True)
    assert list(result) == list(expected)
    for i, text in enumerate(texts):
        for key, rows in expected.items():
            assert result[key][i] == rows[i], (key, text)
        for name in ("tokens", "word_ids", "sequence_ids"):
            assert getattr(result, name)(i) == getattr(expected, name)(i), (name, text)


@pytest.mark.parametrize("name", FAST_SETTINGS)
def test_random_texts(name):
    assert_equal(*both_fast(**FAST_SETTINGS[name]), random_texts(600, seed=len(name)))


@pytest.mark.parametrize("count", [2000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_random_texts_with_the_real_vocabulary(minilm, count):
    assert_equal(*both_fast(minilm / "vocab.txt"), random_texts(count, seed=17))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=8), st.sampled_from(SNIPPETS))).map("".join))
def test_any_text(text):
    text = text.encode("utf-8", "ignore").decode("utf-8")  # no lone surrogates
    assert_equal(*UNCASED, [text])
    assert_equal(*CASED, [text])


def test_snippets_alone_and_glued():
    for options in FAST_SETTINGS.values():
        texts = [t for s in SNIPPETS for t in (s, f"a{s}b", f"the {s} of")]
        assert_equal(*both_fast(**options), texts)


def test_places_of_marks_that_change_their_order(tmp_path):
    """With every character a token, the place of each one shows, also of those that are sorted."""
    marks = [c for c in rust_unicode().combining if c not in rust_unicode().mark]
    letters = [*"abe", *marks, "\u1100", "\u1161", "\U0001d157", "\U0001d158", "\u0cd5"]
    tokens = ["[UNK]", "[CLS]", "[SEP]", *letters, *("##" + c for c in letters)]
    save_vocab(tokens, tmp_path / "vocab.txt")
    parts = [*marks, *"aBé\u0301\u0323\u0334\u0344\u0f73가", "\U0001d15e", "\U0001d160", "\u0cc0"]
    parts += ["\u200b", " "]
    rng = random.Random(0)
    texts = ["".join(rng.choices(parts, k=rng.randrange(1, 9))) for _ in range(2000)]
    for options in ({}, {"do_lower_case": False}):
        assert_equal(*both_fast(tmp_path / "vocab.txt", **options), texts)


def test_lone_surrogates_are_dropped():
    # A string of Rust cannot hold one; here it is dropped as it is by the slow class.
    assert UNCASED[1].tokenize("the\ud800re") == ["there"]


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("Le\x00 CAFÉ!", [(0, 2), (4, 8), (8, 9)]),
        ("cafe\u0301  x", [(0, 4), (7, 8)]),  # the accent after e is part of no token
        ("é\u0301x", [(0, 3)]),  # but inside of a word it is
        ("x" * 120, [(0, 120)]),  # T11
        ("💩💩", [(0, 2)]),  # T12
        ("中文", [(0, 1), (1, 2)]),
        ("ﬁ", [(0, 1)]),
        ("a[MASK]b", [(0, 1), (1, 7), (7, 8)]),  # T14
    ],
)
def test_spans_of_words(text, spans):
    """T10: places are those of the text as given, whatever was removed or added before."""
    encoding = UNCASED[1](text, add_special_tokens=False)
    words = range(max(encoding.word_ids()) + 1)
    assert [encoding.word_to_chars(word) for word in words] == spans
    assert_equal(*UNCASED, [text])


def test_characters_of_a_token_give_the_token():
    ours = UNCASED[1]
    for text in random_texts(300, seed=4):
        encoding = ours(text)
        for i, token in enumerate(encoding.tokens()):
            span = encoding.token_to_chars(i)
            if span is not None and token not in ours.all_special_tokens:
                normalized = ours.normalizer.normalize(text[slice(*span)])[0]
                assert normalized.strip() == token.removeprefix("##")


@pytest.mark.parametrize("side", ["left", "right"])
def test_questions_about_places(side):
    """Every question about every token, word and character; padded on either side (T19)."""
    texts = random_texts(40, seed=8)
    pairs = [*zip(texts[:20], texts[20:], strict=True), ("a b", "")]
    theirs, ours = (tokenizer(pairs, padding=True, padding_side=side) for tokenizer in UNCASED)
    assert ours.is_fast
    for row in range(len(pairs)):
        assert ours.sequence_ids(row) == theirs.sequence_ids(row)
        for place in range(len(ours.tokens(row)) + 2):
            for name in ("token_to_sequence", "token_to_word", "token_to_chars"):
                expected = getattr(theirs, name)(row, place)
                assert getattr(ours, name)(row, place) == expected, (row, place, name)
        for sequence, text in enumerate(pairs[row]):
            for place in range(len(text) + 2):
                at = (row, place, sequence)
                for name in ("char_to_token", "char_to_word", "word_to_tokens"):
                    assert getattr(ours, name)(*at) == getattr(theirs, name)(*at), (at, name)
                tokens = ours.word_to_tokens(*at)
                chars = None if tokens is None else theirs.word_to_chars(*at)
                assert ours.word_to_chars(*at) == chars


def test_questions_about_the_only_row():
    theirs, ours = (tokenizer("unaffable people", "of") for tokenizer in UNCASED)
    for name in ("token_to_sequence", "token_to_word", "token_to_chars", "char_to_token"):
        assert getattr(ours, name)(1) == getattr(theirs, name)(1)
    for name in ("char_to_token", "char_to_word", "word_to_tokens", "word_to_chars"):
        expected = getattr(theirs, name)(0, sequence_index=1)
        assert getattr(ours, name)(0, sequence_index=1) == expected
    assert ours.token_to_word(-1) is ours.token_to_chars(99) is None
    assert ours.token_to_chars(0) is ours.word_to_chars(99) is None


def test_the_slow_class_knows_no_places():
    encoding = BertTokenizer(VOCAB)("the people")
    assert not encoding.is_fast
    for question in (
        encoding.tokens,
        encoding.word_ids,
        encoding.sequence_ids,
        lambda: encoding.token_to_chars(1),
        lambda: encoding.char_to_token(0, 1),
    ):
        with pytest.raises(ValueError, match="only the result of a 'Fast' tokenizer"):
            question()


def test_added_tokens():
    flags = [
        {"content": "New"},
        {"content": "É", "normalized": True},
        {"content": "<l>", "lstrip": True, "normalized": False},
        {"content": "<r>", "rstrip": True},
        {"content": "<b>", "lstrip": True, "rstrip": True, "special": True},
        {"content": "one", "single_word": True},
        {"content": "Two words", "single_word": True, "normalized": False},
        {"content": "wor"},
        {"content": "中x"},
        {"content": "\u200bzero"},
        {"content": "the"},
        {"content": "[MASK]", "lstrip": True, "special": True},
    ]
    parts = [token["content"] for token in flags]
    parts += [
        "new",
        "NEW",
        "e",
        "é",
        "ONE",
        "one",
        "words",
        "Zero",
        "中X",
        "a",
        "é",
        "b",
        ",",
        "中",
    ]
    parts += [" ", "  ", "\n", "\u00a0", "_", "\u0301", "7", "-"]
    rng = random.Random(2)
    texts = ["".join(rng.choices(parts, k=rng.randrange(1, 12))) for _ in range(1500)]
    for options in ({}, {"do_lower_case": False}, {"split_special_tokens": True}):
        theirs, ours = both_fast(**options)
        counts = [
            [tokenizer.add_tokens(kind(**token)) for token in (*flags, flags[0])]
            for tokenizer, kind in ((theirs, OriginalToken), (ours, AddedToken))
        ]
        assert counts[0] == counts[1]
        extra = ["the", "<s>", "<s>", "New", ""]
        assert ours.add_tokens(extra) == theirs.add_tokens(extra)
        assert ours.add_tokens("<x>", special_tokens=True) == 1
        theirs.add_tokens("<x>", special_tokens=True)
        assert ours.get_added_vocab() == theirs.get_added_vocab()
        assert ours.all_special_tokens == theirs.all_special_tokens
        assert len(ours) == len(theirs)
        assert_equal(theirs, ours, [*texts, "a<x> <s>b"])
        for ids in ours(texts[:200]).input_ids:
            for skip in (True, False):
                assert ours.decode(ids, skip) == theirs.decode(ids, skip)


def test_added_tokens_of_one_normalized_form():
    """A special one wins, then the one that was added first."""
    theirs, ours = both_fast()
    for tokenizer, kind in ((theirs, OriginalToken), (ours, AddedToken)):
        assert tokenizer.add_tokens([kind("Zeb"), kind("ZEB")]) == 2
        assert set(tokenizer.encode("zeb ZEB", add_special_tokens=False)) == {3064}
        tokenizer.add_tokens(kind("ZeB", special=True, normalized=True))
        assert set(tokenizer.encode("zeb ZEB", add_special_tokens=False)) == {3066}


def test_text_must_be_a_str():
    for call in (
        lambda: UNCASED[1].tokenize(b"bytes"),
        lambda: UNCASED[1].encode(["the", "of"]),
        lambda: UNCASED[1].encode([3, 4]),
        lambda: UNCASED[1]("the", is_split_into_words=True),
    ):
        with pytest.raises(TypeError, match="text must be a "):
            call()


def test_tokenize():
    theirs, ours = UNCASED
    for arguments in ({}, {"add_special_tokens": True}, {"pair": "of the"}):
        text = "Unaffable people?"
        assert ours.tokenize(text, **arguments) == theirs.tokenize(text, **arguments)


def test_vocabulary_without_unk_token(tmp_path):
    """T18: the token is appended, as by the slow class; a tokenizer.json without it is refused."""
    (tmp_path / "vocab.txt").write_text("a\nb\n[CLS]\n[SEP]\n", encoding="utf-8")
    ours = BertTokenizerFast(tmp_path / "vocab.txt")
    assert ours("a nonsense").input_ids == [2, 0, ours.unk_token_id, 3]
    assert ours.unk_token_id == ours.vocab_size == 4


def test_pickle():
    ours = UNCASED[1]
    copy = pickle.loads(pickle.dumps(ours))
    encoding = copy("A copy [SEP] does the same.", return_offsets_mapping=True)
    assert encoding == ours("A copy [SEP] does the same.", return_offsets_mapping=True)
    assert pickle.loads(pickle.dumps(encoding)).word_ids() == encoding.word_ids()


@pytest.mark.slow
def test_five_times_faster_than_the_slow_class_of_transformers(minilm, capsys):
    """On long English text, each tokenizer new, so that nothing of it was seen before."""
    from pydoc_data.topics import topics

    text = "\n".join([*topics.values()] * 3)
    makes = {"slow": Original, "Rust": OriginalFast, "ours": BertTokenizerFast}
    best = dict.fromkeys(makes, float("inf"))
    for _ in range(3):
        for name, make in makes.items():
            tokenizer = make(str(minilm / "vocab.txt"))
            start = time.process_time()
            tokenizer(text)
            best[name] = min(best[name], time.process_time() - start)
    rust, slow = best["ours"] / best["Rust"], best["ours"] / best["slow"]
    with capsys.disabled():
        print(
            f"\nours takes {rust:.2f} of the time of the Rust library, {slow:.2f} of the slow class"
        )
    assert slow < 1 / 5
