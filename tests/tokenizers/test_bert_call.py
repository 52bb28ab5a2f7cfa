"""Calls of BertTokenizer against transformers: thousands of combinations of options."""

import copy
import inspect
import random

import numpy as np
import pytest

from tests.tokenizers.oracle import (
    VOCAB,
    both,
    call,
    known_words,
    same,
)
from tinybert.checks import TENSOR_TYPES
from tinybert.tokenizers import BatchEncoding, BertTokenizerFast, register_tensor_type
from tinybert.tokenizers.truncation import longest_first

THEIRS, OURS = both()


def test_random_encodings_by_other_doors():
    rng = random.Random(5)
    for _ in range(500):
        words = rng.choices(known_words(), k=rng.randrange(1, 9))
        ids = OURS.convert_tokens_to_ids(words)
        more = ids[: rng.randrange(0, 4)] if rng.random() < 0.5 else None
        options = {"padding": "max_length", "max_length": 20, "return_length": True}
        for given in (" ".join(words), words, ids):
            assert OURS.encode(given, **options) == THEIRS.encode(given, **options)
        options.pop("return_length")
        ours = OURS.prepare_for_model(ids, more, **options, return_tensors="np")
        theirs = THEIRS.prepare_for_model(ids, more, **options, return_tensors="np")
        assert same(ours, theirs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "max_length", "max_length": 7},
        {"pad_to_multiple_of": 8, "padding_side": "left"},
        {"return_tensors": "np"},
        {"padding": False},
    ],
    ids=str,
)
def test_pad_what_was_encoded_before(options):
    rows = [OURS(text, return_special_tokens_mask=True) for text in ("the", "of the people")]
    ids = [row.input_ids for row in rows]
    for encoded in (
        rows,
        rows[1].data,
        OURS(["the", "of the people", "a b"]).data,
        {"input_ids": ids},
        [{"input_ids": row, "labels": 1} for row in ids],
    ):
        expected = call(lambda rows: THEIRS.pad(rows, **options), {"rows": copy.deepcopy(encoded)})
        result = call(lambda rows: OURS.pad(rows, **options), {"rows": encoded})
        assert isinstance(expected, Exception) or same(result, expected), encoded


def test_pad_without_making_a_mask():
    encoding = OURS.pad({"input_ids": [[1], [2, 3]]}, return_attention_mask=False)
    assert encoding == {"input_ids": [[1, OURS.pad_token_id], [2, 3]]}


def test_pad_other_forms():
    for given in ({"input_ids": np.array([[3, 4]])}, [{"input_ids": np.array([3, 4])}]):
        padded = OURS.pad(given, padding="max_length", max_length=3)
        assert same(padded, THEIRS.pad(given, padding="max_length", max_length=3))
        assert isinstance(padded.input_ids, np.ndarray)
        lists = OURS.pad({"input_ids": [[3, 4]]}, padding="max_length", max_length=3)
        assert padded.input_ids.tolist() == lists.input_ids == [[3, 4, OURS.pad_token_id]]
    with pytest.raises(ValueError, match="'input_ids'"):
        OURS.pad({"ids": [1]})
    with pytest.raises(ValueError, match="equally many rows"):
        OURS.pad({"input_ids": [[1], [2]], "labels": [1]})


def test_layout_of_special_tokens():
    for a, b in (([5, 6], None), ([5], [7, 8]), ([], []), ([], None)):
        for name in (
            "build_inputs_with_special_tokens",
            "create_token_type_ids_from_sequences",
            "get_special_tokens_mask",
        ):
            assert getattr(OURS, name)(a, b) == getattr(THEIRS, name)(a, b)
    row = OURS.encode("the [MASK] of", "a")
    assert OURS.get_special_tokens_mask(row, already_has_special_tokens=True) == [
        *(1, 0, 1, 0, 1, 0, 1),
    ]
    with pytest.raises(ValueError, match="token_ids_1 must be None"):
        OURS.get_special_tokens_mask(row, row, already_has_special_tokens=True)
    assert OURS.num_special_tokens_to_add() == 2
    assert OURS.num_special_tokens_to_add(pair=True) == 3


def test_longest_first_takes_one_at_a_time():
    for first in range(12):
        for second in range(12):
            for excess in range(1, first + second + 1):
                a, b = first, second
                for _ in range(excess):
                    a, b = (a - 1, b) if a > b else (a, b - 1)
                assert longest_first(first, second, excess) == (first - a, second - b)


def test_targets():
    for arguments in (
        {"text": "the", "text_target": "of"},
        {"text_target": ["of", "to"], "text_pair_target": ["a", "b"]},
    ):
        assert same(OURS(**arguments), THEIRS(**arguments))


LONG = "one two three four five six"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "text or text_target must be given"),
        ({"text": 3}, "text must be a str, a list of str"),
        ({"text": [[1, 2]]}, "text must be a str"),
        ({"text": "a", "text_pair": 3}, "text_pair must be"),
        ({"text": []}, "empty batch"),
        ({"text": ["a", "b"], "text_pair": ["a"]}, "equally long, got 2 and 1"),
        ({"text": [("a", "b", "c")]}, "a text or a pair of texts"),
        ({"text": ["a", 3]}, "got 3"),
        ({"text": "a", "padding": "max"}, "padding must be one of .*'max_length', got 'max'"),
        ({"text": "a", "truncation": "first"}, "truncation must be one of"),
        ({"text": "a", "padding_side": "top"}, "padding_side must be one of"),
        ({"text": "a", "return_tensors": "mlx"}, "return_tensors must be one of None, 'np'"),
        ({"text": "a", "max_length": 0}, "max_length must be an integer >= 1 or None, got 0"),
        ({"text": "a", "stride": -1}, "stride must be an integer >= 0, got -1"),
        (
            {"text": "a", "pad_to_multiple_of": 0},
            "pad_to_multiple_of must be an integer >= 1 or None",
        ),
        # T15: fewer places than special tokens; T16: a sequence too short to be cut
        ({"text": LONG, "max_length": 1}, "max_length=1 must be at least 2"),
        ({"text": LONG, "text_pair": "a", "max_length": 2}, "max_length=2 must be at least 3"),
        (
            {"text": LONG, "text_pair": "a", "truncation": "only_second", "max_length": 5},
            "truncation='only_second' has to remove 5 tokens .* has only 1",
        ),
        (
            {"text": "a", "text_pair": LONG, "truncation": "only_first", "max_length": 5},
            "truncation='only_first' has to remove",
        ),
        (
            {"text": LONG, "truncation": "only_second", "max_length": 5},
            "needs a second sequence",
        ),
        (
            {"text": "a", "return_token_type_ids": True, "add_special_tokens": False},
            "return_token_type_ids=True needs add_special_tokens=True",
        ),
        (
            {"text": "a", "text_pair": "b", "max_length": 9, "return_overflowing_tokens": True},
            "'longest_first'",
        ),
        ({"text": "a", "return_overflowing_tokens": True}, "needs truncation and max_length"),
        (
            {"text": "a", "padding": True, "truncation": True, "max_length": 9}
            | {"pad_to_multiple_of": 4},
            "max_length=9 must be a multiple of pad_to_multiple_of=4",
        ),
        (
            {"text": ["a", "a b"], "return_tensors": "np"},
            "input_ids: rows of different lengths .* padding=True",
        ),
    ],
)
def test_values_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        OURS(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": ["a"], "text_pair": "b"}, "text_pair must be one too, got 'b'"),
        ({"text": "a", "max_length": "9"}, "max_length must be an integer, got '9'"),
        ({"text": "a", "max_length": True}, "max_length must be an integer, got True"),
        ({"text": "a", "max_lenght": 9}, "max_lenght"),
    ],
)
def test_types_that_are_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        OURS(**arguments)


def test_no_pad_token():
    tokenizer = both(pad_token=None)[1]
    assert tokenizer(["the", "of the"]).input_ids[1] == tokenizer.encode("of the")
    with pytest.raises(ValueError, match="no pad_token"):
        tokenizer(["the", "of the"], padding=True)


def test_offsets_are_for_the_fast_class():
    with pytest.raises(NotImplementedError, match="BertTokenizerFast"):
        OURS("a", return_offsets_mapping=True)


def test_longest_first_may_leave_nothing():
    assert OURS("a b c", max_length=2).input_ids == OURS("").input_ids
    assert OURS("a", "b", max_length=3).input_ids == OURS("", "").input_ids


def test_an_empty_row_is_padded():
    options = {"add_special_tokens": False, "padding": "max_length", "max_length": 3}
    assert OURS("", **options).input_ids == [OURS.pad_token_id] * 3
    assert THEIRS("", **options)["input_ids"] == []


def test_arrays():
    encoding = OURS(["a", "b of"], padding=True, return_tensors="np", return_length=True)
    assert encoding.input_ids.shape == encoding.attention_mask.shape == (2, 4)
    assert {value.dtype for value in encoding.values()} == {np.dtype(np.int64)}
    assert OURS("", add_special_tokens=False, return_tensors="np").input_ids.dtype == np.int64
    assert OURS.encode("a", return_tensors="np").shape == (1, 3)


def test_batch_encoding_is_a_dictionary_with_attributes():
    encoding = OURS("a")
    assert encoding.input_ids is encoding["input_ids"]
    assert list({**encoding}) == ["input_ids", "token_type_ids", "attention_mask"]
    with pytest.raises(AttributeError, match="'labels'"):
        encoding.labels  # noqa: B018
    with pytest.raises(KeyError):
        encoding["labels"]


def test_registered_tensors(monkeypatch):
    class Moved:
        def __init__(self, array, device="cpu"):
            self.array, self.device = array, device

        def to(self, device):
            return Moved(self.array, device)

    monkeypatch.setitem(TENSOR_TYPES, "test", None)
    register_tensor_type("test", Moved)
    encoding = OURS(["a", "b"], return_tensors="test").to("there")
    assert isinstance(encoding, BatchEncoding)
    assert encoding.input_ids.array.shape == (2, 3)
    assert encoding.input_ids.device == "there"


# Names of options ---------------------------------------------------------------------------

DECIDED = {"truncation", "split_special_tokens"}  # None here: what else is said decides
PAD = {"padding", "max_length", "pad_to_multiple_of", "padding_side", "return_tensors"}


@pytest.mark.parametrize(
    ("method", "arguments", "options"),
    [
        ("__call__", ("a",), ("paddng", "padding", "truncation, max_length, stride")),
        ("encode", ("a",), ("truncate", "truncation", "max_length")),
        ("encode_plus", ("a",), ("max_lenght", "max_length", "verbose")),
        ("batch_encode_plus", (["a"],), ("return_tensor", "return_tensors", "stride")),
        ("prepare_for_model", ([1],), ("strides", "stride", "padding")),
        ("pad", ({"input_ids": [1]},), ("padding_sides", "padding_side", "max_length, pad_to")),
    ],
)
def test_an_unknown_option_is_named_with_the_nearest(method, arguments, options):
    wrong, near, others = options
    message = f"unknown option '{wrong}', did you mean '{near}'\\?; the options are .*{others}"
    for tokenizer in (OURS, BertTokenizerFast(VOCAB)):
        with pytest.raises(TypeError, match=message):
            getattr(tokenizer, method)(*arguments, **{wrong: 1})
    with pytest.raises(TypeError, match="option 'xyz'; the options are"):
        getattr(OURS, method)(*arguments, xyz=1)


def test_options_are_shown():
    """To help() and inspect, with the names and defaults of the original where it has them."""
    fast = BertTokenizerFast(VOCAB)
    for method in ("__call__", "encode", "encode_plus", "batch_encode_plus", "prepare_for_model"):
        shown = inspect.signature(getattr(OURS, method)).parameters
        theirs = inspect.signature(getattr(THEIRS, method)).parameters
        expected = {n for n, p in theirs.items() if p.kind is not p.VAR_KEYWORD} - {"self"}
        assert expected <= shown.keys() | {"pair_ids"}
        assert all(shown[n].default == theirs[n].default for n in expected - DECIDED), method
    assert inspect.signature(OURS.pad).parameters.keys() >= PAD
    assert "stride" not in inspect.signature(OURS.pad).parameters
    assert "truncation" in inspect.signature(fast.tokenize).parameters
    assert "padding" in inspect.signature(fast).parameters
    assert "pad_to_multiple_of: round" in type(OURS).__call__.__doc__
