"""The methods other than the call, of both classes, against transformers."""

import itertools
import json
import logging
import random

import numpy as np
import pytest

from tests.tokenizers.oracle import VOCAB, both, both_fast, call, known_words, same
from tinybert.tokenizers import BatchEncoding, BertTokenizer, BertTokenizerFast

SLOW, FAST = both(), both_fast()
LEFT = both(truncation_side="left")
LIMITED = both(model_max_length=8), both_fast(model_max_length=8)
BOTH = pytest.mark.parametrize("pair", [SLOW, FAST], ids=["slow", "fast"])


def outcome(function, *arguments, **options):
    """The result, or the error."""
    return call(lambda _: {"result": function(*arguments, **options)}, {"_": None})


@BOTH
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "max_length", "max_length": 9, "truncation": True},
        {"add_special_tokens": False, "return_special_tokens_mask": True},
        {"return_tensors": "np", "padding": True},
    ],
    ids=str,
)
def test_encode_plus_and_batch_encode_plus(pair, options):
    theirs, ours = pair
    for arguments in (("the people",), ("the people", "of"), ("a", None)):
        expected = theirs.encode_plus(*arguments, **options)
        assert same(ours.encode_plus(*arguments, **options), expected)
        assert same(ours(*arguments, **options), ours.encode_plus(*arguments, **options))
    for batch in (["a", "the people"], [("a", "of"), ("the", "people of")], ("the",)):
        expected = theirs.batch_encode_plus(batch, **options)
        assert same(ours.batch_encode_plus(batch, **options), expected)
    words = [["the", "people"], ["of", "unaffable"]]
    options = {**options, "is_split_into_words": True}
    expected = theirs.batch_encode_plus(words, **options)
    assert same(ours.batch_encode_plus(words, **options), expected)
    with pytest.raises(TypeError, match="batch_text_or_text_pairs must be a list"):
        ours.batch_encode_plus("ab")


def test_ids_and_tokens_are_texts_for_the_slow_class_alone():
    theirs, ours = SLOW
    ids, tokens = [5, 6, 7], ["the", "##s", "nowhere"]
    for text in (ids, tokens):
        assert same(ours.encode_plus(text), theirs.encode_plus(text))
        assert same(ours.batch_encode_plus([(text, ids)]), theirs.batch_encode_plus([(text, ids)]))
        with pytest.raises(TypeError, match="a text must be a str"):
            FAST[1].encode_plus(text)
    assert FAST[0].encode(["the", "of"]) == FAST[0].encode("the", "of")  # their list is a pair


def test_truncate_sequences():
    strategies = ("longest_first", "only_first", "only_second", "do_not_truncate")
    pairs = itertools.product(range(1, 5), (None, 1, 3), range(-1, 6), strategies, (0, 2))
    refused = 0
    for (theirs, ours), (a, b, count, strategy, stride) in itertools.product((SLOW, LEFT), pairs):
        first, second = list(range(a)), None if b is None else list(range(10, 10 + b))
        arguments = first, second, count, strategy, stride
        result = outcome(ours.truncate_sequences, *arguments)
        if isinstance(result, ValueError):  # where theirs leaves the sequences as they are, or
            kept = theirs.truncate_sequences(*arguments)[:2]  # cuts what is not enough
            assert len(kept[0]) + len(kept[1] or ()) != a + (b or 0) - count, arguments
            refused += 1
        elif strategy == "longest_first" and b is None and count == a:
            assert result["result"][0] == []  # theirs leaves it as it is
        else:
            assert result["result"] == theirs.truncate_sequences(*arguments), arguments
    assert 0 < refused < 500
    with pytest.raises(ValueError, match="truncation_strategy must be one of"):
        SLOW[1].truncate_sequences([1], None, 1, "all")
    with pytest.raises(ValueError, match="num_tokens_to_remove=4 must be at most 3"):
        SLOW[1].truncate_sequences([1, 2], [3], 4)


@BOTH
def test_prepare_for_model_with_a_batch_axis(pair):
    for axis in (False, True):
        options = {"return_tensors": "np", "prepend_batch_axis": axis}
        ours, theirs = (t.prepare_for_model([5, 6], [7], **options) for t in reversed(pair))
        assert same(ours, theirs)


@BOTH
def test_plain_values(pair):
    theirs, ours = pair
    for name in (
        *("is_fast", "pad_token_type_id", "max_len_single_sentence", "max_len_sentences_pair"),
        *("padding_side", "truncation_side", "model_max_length", "model_input_names", "vocab_size"),
        *("special_tokens_map", "all_special_tokens", "all_special_ids", "name_or_path"),
        *("clean_up_tokenization_spaces", "added_tokens_encoder", "split_special_tokens"),
    ):
        assert name == "name_or_path" or getattr(ours, name) == getattr(theirs, name), name
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.get_added_vocab() == theirs.get_added_vocab()
    for value in (False, True):
        assert ours.num_special_tokens_to_add(value) == theirs.num_special_tokens_to_add(value)
    text = "it 's a test . do n't"
    assert ours.clean_up_tokenization(text) == theirs.clean_up_tokenization(text)


def test_vocab_and_get_vocab():
    for (theirs, ours), original_adds in ((both(), False), (both_fast(), True)):
        for tokenizer in (theirs, ours):
            tokenizer.add_tokens(["<x>"])
        assert ours.get_vocab() == theirs.get_vocab()
        assert "<x>" in ours.get_vocab()
        assert "<x>" not in ours.vocab
        assert ("<x>" in theirs.vocab) == original_adds


@pytest.mark.parametrize("spaces", [True, False])
@pytest.mark.parametrize("make", [both, both_fast])
def test_decode_with_or_without_spaces_round_added_tokens(make, spaces):
    theirs, ours = make()
    for tokenizer in (theirs, ours):
        tokenizer.add_tokens(["<x>", "new"])
    ids = ours.encode("the<x>new people[MASK]of new")
    options = {"spaces_between_special_tokens": spaces}
    assert ours.decode(ids, **options) == theirs.decode(ids, **options)
    assert ours.batch_decode([ids], **options) == theirs.batch_decode([ids], **options)


@pytest.mark.parametrize("make", [both, both_fast])
def test_split_special_tokens_for_one_call(make):
    theirs, ours = make()
    for tokenizer in (theirs, ours):
        tokenizer.add_tokens(["unaffable", "<x>"])
    text = "the [MASK] is unaffable<x>"
    for split in (True, False):
        expected = theirs.encode(text, split_special_tokens=split)
        assert ours.encode(text, split_special_tokens=split) == expected
        assert ours([text], split_special_tokens=split).input_ids == [expected]
        tokens = theirs.tokenize(text, split_special_tokens=split)
        assert ours.tokenize(text, split_special_tokens=split) == tokens
    assert ours.encode(text) == theirs.encode(text)
    plain = [theirs.encode(text)]
    if make is both:  # theirs forgets the option in a batch
        assert theirs([text], split_special_tokens=True)["input_ids"] == plain
    else:
        theirs.split_special_tokens = ours.split_special_tokens = True
        assert theirs.batch_encode_plus([text])["input_ids"] == plain
        assert ours.batch_encode_plus([text]).input_ids == [theirs.encode(text)] != plain


def test_an_empty_list_of_words():
    for text in ([], [["the"], []]):
        expected = FAST[0](text, is_split_into_words=True)
        assert dict(SLOW[1](text, is_split_into_words=True)) == dict(expected)
        with pytest.raises((ValueError, IndexError)):
            SLOW[0](text, is_split_into_words=True)


def test_do_lower_case_without_basic_tokenization():
    theirs, ours = both(do_basic_tokenize=False)
    assert ours.do_lower_case is True
    with pytest.raises(AttributeError):
        theirs.do_lower_case  # noqa: B018
    assert ours.tokenize("The the") == theirs.tokenize("The the")


def test_tokenize_with_the_options_of_a_call():
    theirs, ours = FAST
    for options in (
        {"add_special_tokens": True},
        {"pair": "of", "truncation": True, "max_length": 5, "add_special_tokens": True},
        {"pair": "of the"},
    ):
        text = "the people of unaffable"
        assert ours.tokenize(text, **options) == theirs.tokenize(text, **options)


# What a call returns -----------------------------------------------------------------------


def test_rows_and_slices_of_a_batch_encoding():
    texts = ["the people", "of"]
    theirs, ours = (tokenizer(texts) for tokenizer in FAST)
    for row in (0, 1, -1):
        for name in ("ids", "type_ids", "tokens", "offsets", "word_ids", "sequence_ids"):
            assert getattr(ours[row], name) == getattr(theirs[row], name)
        assert ours[row].n_sequences == theirs[row].n_sequences
    assert len(ours[0:1]) == len(theirs[0:1]) == 1
    theirs, ours = (tokenizer(texts) for tokenizer in SLOW)
    assert ours[0:1] == theirs[0:1] == {key: value[:1] for key, value in ours.items()}
    for encoding in (theirs, ours):
        with pytest.raises(KeyError, match="key"):
            encoding[0]


def test_how_many_texts():
    for texts in (("a",), ("a", "b"), ("",), ("a", ""), ([("a", "b"), ("a", "b")],)):
        theirs, ours = (tokenizer(*texts) for tokenizer in FAST)
        assert ours.n_sequences == theirs.n_sequences, texts
    assert SLOW[1]("a", "b").n_sequences is SLOW[0]("a", "b").n_sequences is None


def test_a_batch_encoding_becomes_arrays():
    for axis in (False, True):
        encoding = BatchEncoding({"input_ids": [1, 2]}, tensor_type="np", prepend_batch_axis=axis)
        assert encoding.input_ids.shape == ((1, 2) if axis else (2,))
    assert BatchEncoding({"input_ids": [1]}).convert_to_tensors() == {"input_ids": [1]}


def test_every_question_about_places_against_the_original():
    rng = random.Random(8)
    for _ in range(40):
        texts = [" ".join(rng.choices(known_words(), k=rng.randrange(1, 5))) for _ in range(2)]
        theirs, ours = (tokenizer(*texts) for tokenizer in FAST)
        for i in range(len(ours.input_ids)):
            for name in ("token_to_sequence", "token_to_word", "token_to_chars"):
                assert getattr(ours, name)(i) == getattr(theirs, name)(i)
                assert getattr(ours, name)(0, i) == getattr(theirs, name)(0, i)
        for i, sequence in itertools.product(range(4), (0, 1)):
            for name in ("word_to_tokens", "char_to_token"):
                expected = getattr(theirs, name)(0, i, sequence_index=sequence)
                assert getattr(ours, name)(0, i, sequence_index=sequence) == expected


# Warnings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 3}, "max_length without truncation"),
        ({"max_length": 3, "padding": True}, "max_length has no effect"),
        ({"truncation": True}, "truncation without max_length has no effect"),
        ({"padding": "max_length"}, "padding='max_length' without max_length has no effect"),
    ],
)
@pytest.mark.parametrize("cls", [BertTokenizer, BertTokenizerFast])
def test_what_surprises_is_said_once(cls, options, message, caplog):
    tokenizer = cls(VOCAB)
    tokenizer(["a b c", "d"], **options, verbose=False)
    assert not caplog.records
    for _ in range(2):
        tokenizer(["a b c", "d"], **options)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert message in record.getMessage()


@pytest.mark.parametrize("cls", [BertTokenizer, BertTokenizerFast])
def test_rows_too_long_for_the_model_are_remarked(cls, caplog):
    tokenizer = cls(VOCAB, model_max_length=4)
    for quiet in ({"verbose": False}, {"truncation": True}, {"truncation": False}):
        tokenizer("a b" if "truncation" in quiet else "a b c", **quiet)
    tokenizer("a b c", max_length=9, truncation=True)
    assert not caplog.records
    tokenizer("a b c")
    tokenizer("a b c d")
    (record,) = caplog.records
    assert "longer than the 4 tokens" in record.getMessage()


# Files and options of the constructor ---------------------------------------------------------


@pytest.mark.parametrize("legacy", [None, True, False])
def test_legacy_format(legacy, tmp_path):
    theirs, ours = both_fast()
    for tokenizer, name in ((theirs, "theirs"), (ours, "ours")):
        tokenizer.add_tokens(["<x>"])
        tokenizer.save_pretrained(str(tmp_path / name), legacy_format=legacy)
    files = {path.name for path in (tmp_path / "ours").iterdir()}
    assert files == {path.name for path in (tmp_path / "theirs").iterdir()}
    assert ("tokenizer.json" in files) == (legacy is not True)
    assert ("vocab.txt" in files) == (legacy is not False)
    again = BertTokenizerFast.from_pretrained(tmp_path / "ours")
    assert again.encode("the <x>") == ours.encode("the <x>")


def test_what_is_saved_does_not_depend_on_calls(tmp_path):
    parts = {}
    for tokenizer, name in zip(both_fast(), ("theirs", "ours"), strict=True):
        tokenizer("the", padding="max_length", truncation=True, max_length=8)
        tokenizer.save_pretrained(str(tmp_path / name))
        saved = json.loads((tmp_path / name / "tokenizer.json").read_text())
        parts[name] = saved["truncation"] is None, saved["padding"] is None
    assert parts == {"theirs": (False, False), "ours": (True, True)}


def test_the_slow_class_has_only_the_legacy_format(tmp_path):
    for tokenizer in SLOW:
        with pytest.raises(ValueError, match=r"(?i)only .*fast"):
            tokenizer.save_pretrained(str(tmp_path / "x"), legacy_format=False)
        tokenizer.save_pretrained(str(tmp_path), True, "prefix")
    assert (tmp_path / "prefix-vocab.txt").is_file()


def test_clean_text_and_wordpieces_prefix(tmp_path):
    """Documented options, which the original takes and makes no use of."""
    text = "th\x00e\u200b people"
    assert FAST[1].tokenize(text) == ["the", "people"]
    kept = BertTokenizerFast(VOCAB, clean_text=False, wordpieces_prefix="##")
    assert kept.tokenize(text) != ["the", "people"]
    kept.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "tokenizer.json").read_text())
    assert saved["normalizer"]["clean_text"] is False
    assert BertTokenizerFast.from_pretrained(tmp_path).tokenize(text) == kept.tokenize(text)
    assert FAST[0].__class__.from_pretrained(str(tmp_path)).tokenize(text) == kept.tokenize(text)
    for options in ({"clean_text": "yes"}, {"wordpieces_prefix": "@@"}):
        with pytest.raises(TypeError, match=next(iter(options))):
            BertTokenizerFast(VOCAB, **options)


def test_masks_of_special_tokens_for_both_kinds_of_row():
    """The original of the fast class refuses rows without special tokens (an AssertionError)."""
    for tokenizer in (SLOW[0], SLOW[1], FAST[1]):
        assert tokenizer.get_special_tokens_mask([5, 6], [7]) == [1, 0, 0, 1, 0, 1]
    with pytest.raises(AssertionError):
        FAST[0].get_special_tokens_mask([5, 6], [7])


def test_model_max_length_in_calls():
    """Truncation and padding="max_length" go by it, in both classes."""
    for theirs, ours in LIMITED:
        for options in ({"truncation": True}, {"padding": "max_length"}):
            for text in ("a", "a b c d e f g h i"):
                assert same(ours(text, **options), theirs(text, **options))


def test_arrays_of_rows_are_padded():
    rows = [{"input_ids": np.array([5, 6])}, {"input_ids": np.array([7])}]
    theirs, ours = (tokenizer.pad([dict(row) for row in rows]) for tokenizer in SLOW)
    assert same(ours, theirs)
