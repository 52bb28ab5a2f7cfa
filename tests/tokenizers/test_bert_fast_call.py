"""Calls of BertTokenizerFast against transformers, and how the fast class differs from the slow."""

import random
import warnings

import numpy as np
import pytest

from tests.tokenizers.oracle import (
    both,
    both_fast,
    call,
    known_words,
    random_input,
    random_options,
    rows_of,
    same,
)
from tinybert.tokenizers import AddedToken
from tinybert.tokenizers.truncation import longest_first_at_once, windows

THEIRS, OURS = both_fast()
LIMITED = both_fast(model_max_length=12, padding_side="left", truncation_side="left")


def call_original(tokenizer, arguments):
    """The result of a call, or its error: one of Python, of the library, or a panic of Rust."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return tokenizer(**arguments)
        except BaseException as error:
            if type(error).__name__ not in {
                *("ValueError", "TypeError", "Exception", "PanicException"),
            }:
                raise
            return error


def limit_of(arguments, tokenizer):
    """The length that no row may exceed, or None."""
    truncation, asked = arguments.get("truncation"), arguments.get("max_length")
    implied = truncation is None and not arguments.get("padding") and asked is not None
    limit = tokenizer.model_max_length if asked is None else asked
    return limit if (truncation or implied) and limit < 10**20 else None


def same_places(ours, theirs):
    rows = range(len(theirs.encodings))
    return all(
        getattr(ours, name)(row) == getattr(theirs, name)(row)
        for row in rows
        for name in ("tokens", "word_ids", "sequence_ids")
    )


@pytest.mark.parametrize("pair", [(THEIRS, OURS), LIMITED], ids=["unlimited", "at most 12, left"])
def test_random_calls(pair, capfd):
    """Equal to the original, but for the faults of the original that the class lists."""
    theirs, ours = pair
    rng = random.Random(ours.model_max_length + 1)
    counts = dict.fromkeys(["equal", "both refuse", "stride unused", "too long", "ragged"], 0)
    for _ in range(4000):
        arguments = random_input(rng) | random_options(rng)
        if rng.random() < 0.3:
            arguments["return_offsets_mapping"] = True
        expected, result = call_original(theirs, arguments), call(ours, arguments)
        limit = limit_of(arguments, ours)
        refused = isinstance(result, (ValueError, TypeError))
        if isinstance(expected, BaseException):
            kind = "both refuse"
            if not refused:
                kind = "stride unused"  # refused for a stride that this call makes no use of
                assert "stride" in str(expected), (arguments, expected)
        elif limit is not None and max(map(len, rows_of(expected))) > limit:
            kind = "too long"
            assert refused, arguments
        elif any(getattr(value, "dtype", 0) is np.dtype(object) for value in expected.values()):
            kind = "ragged"
            assert "different lengths" in str(result), arguments
        else:
            kind = "equal"
            assert not refused, (arguments, result)
            assert same(result, expected), (arguments, result, expected)
        counts[kind] += 1
        if kind == "equal":
            assert same_places(ours(**arguments), expected), arguments
    assert counts["equal"] > 2000, counts
    assert min(counts.values()) > 20, counts
    capfd.readouterr()  # what Rust says of its panics


def test_overflow_of_pairs():
    """Windows of both texts: (0, 0), then (i, every j) for i > 0, then (0, j) for j > 0."""
    rng = random.Random(1)
    counts = set()
    for _ in range(600):
        texts = [" ".join(rng.choices(known_words(), k=rng.randrange(1, 14))) for _ in range(2)]
        options = {
            "truncation": rng.choice(["longest_first", "only_first", "only_second"]),
            "max_length": rng.randrange(7, 16),
            "stride": rng.randrange(2),
            "return_overflowing_tokens": True,
            "return_offsets_mapping": True,
            "padding": rng.choice([False, True, "max_length"]),
        }
        for theirs, ours in ((THEIRS, OURS), LIMITED):
            arguments = {"text": texts[0], "text_pair": texts[1], **options}
            expected, result = call_original(theirs, arguments), call(ours, arguments)
            if isinstance(expected, BaseException):
                assert isinstance(result, ValueError)
                continue
            assert same(result, expected), arguments
            assert same_places(ours(**arguments), expected), arguments
            counts.add(len(result["input_ids"]))
    assert max(counts) > 5


def test_overflow_covers_the_text():
    text = " ".join(known_words()[:50])
    whole = OURS(text, add_special_tokens=False).input_ids
    rows = OURS(text, max_length=12, truncation=True, stride=3, return_overflowing_tokens=True)
    ids = [row[1:-1] for row in rows.input_ids]
    assert ids[0] + [i for row in ids[1:] for i in row[3:]] == whole
    assert rows.overflow_to_sample_mapping == [0] * len(ids)


@pytest.mark.parametrize("side", ["left", "right"])
def test_windows(side):
    for length in range(1, 15):
        for size in range(1, 10):
            for stride in range(size):
                spans = windows(length, size, stride, side)
                assert {i for span in spans for i in range(*span)} == set(range(length))
                assert all(0 < end - start <= size for start, end in spans)
                starts = [start if side == "right" else length - end for start, end in spans]
                assert starts == [i * (size - stride) for i in range(len(spans))]


@pytest.mark.parametrize(
    ("lengths", "room", "kept"),
    [
        ((4, 4), 5, (2, 3)),
        ((3, 5), 5, (2, 3)),
        ((5, 3), 5, (3, 2)),
        ((9, 1), 5, (4, 1)),
        ((1, 9), 5, (1, 4)),
        ((1, 1), 1, (0, 1)),
        ((3, 3), 0, (0, 0)),
    ],
)
def test_longest_first_at_once(lengths, room, kept):
    assert longest_first_at_once(*lengths, room) == kept


def test_other_doors():
    """encode, pad and prepare_for_model, which the fast class shares with the slow one."""
    rows = OURS(["the", "of the people"], return_special_tokens_mask=True)
    expected = THEIRS(["the", "of the people"], return_special_tokens_mask=True)
    assert dict(OURS.pad(rows)) == dict(THEIRS.pad(expected))
    assert OURS.encode("the people", "of") == THEIRS.encode("the people", "of")
    assert OURS.encode("the", return_tensors="np").shape == (1, 3)
    options = {"return_offsets_mapping": True, "return_tensors": "np", "padding": True}
    ours, theirs = (t(["a", "the people"], **options) for t in (OURS, THEIRS))
    assert same(ours, theirs)
    assert ours.offset_mapping.shape == (2, 4, 2)
    ids = OURS.encode("the people", add_special_tokens=False)
    assert OURS.prepare_for_model(ids).input_ids == THEIRS.prepare_for_model(ids)["input_ids"]
    assert OURS.num_special_tokens_to_add(pair=True) == THEIRS.num_special_tokens_to_add(True) == 3


LONG = "one two three four five six"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": LONG, "max_length": 1}, "max_length=1 must be at least 2"),
        ({"text": LONG, "text_pair": "a", "max_length": 2}, "max_length=2 must be at least 3"),
        (
            {"text": LONG, "max_length": 6, "stride": 4, "return_overflowing_tokens": True},
            "stride=4 must be less than the 4 tokens",
        ),
        (
            {"text": LONG, "text_pair": "a", "truncation": "only_second", "max_length": 5},
            "truncation='only_second': the other text alone has 6 tokens",
        ),
        ({"text": LONG, "truncation": "only_second", "max_length": 5}, "needs a second text"),
    ],
)
def test_values_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        OURS(**arguments)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("clean_up", [None, True, False])
def test_decode(skip, clean_up):
    rng = random.Random(3)
    theirs, ours = both_fast(additional_special_tokens=["<extra>"])
    for tokenizer in (theirs, ours):
        tokenizer.add_tokens(["new", "don't", "I do not", "<x>"])
        tokenizer.add_tokens("<y>", special_tokens=True)
    for _ in range(1000):
        ids = [rng.randrange(len(ours) + 5) for _ in range(rng.randrange(12))]
        ids += rng.choices([*ours.all_special_ids, *range(ours.vocab_size, len(ours))], k=3)
        rng.shuffle(ids)
        options = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": clean_up}
        assert ours.decode(ids, **options) == theirs.decode(ids, **options)
        tokens = ours.convert_ids_to_tokens(ids, skip_special_tokens=skip)
        assert tokens == theirs.convert_ids_to_tokens(ids, skip_special_tokens=skip)
        tokens = [token for token in tokens if token]
        assert ours.convert_tokens_to_string(tokens) == theirs.convert_tokens_to_string(tokens)


# Slow and fast -----------------------------------------------------------------------------


def decoded(tokenizer, ids, **options):
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False, **options)


def with_added(tokenizer, kind):
    count = tokenizer.add_tokens(["New", "the", kind("Old", normalized=False)])
    return count, list(tokenizer.get_added_vocab())[-2:], tokenizer.tokenize("new NEW Old old")


def lengths(encoding):
    """How many tokens of both texts are left."""
    types = list(encoding["token_type_ids"])
    return types.count(0) - 2, types.count(1) - 1


CASED = {"do_lower_case": False}
ASKED = {"max_length": 4, "truncation": True, "return_overflowing_tokens": True}

# name, options of the tokenizers, what is done, what the slow class gives, what the fast one
DIFFERENCES = [
    ("kept accents are composed (NFC)", CASED, lambda t: t.tokenize("e\u0301"), ["é"], ["[UNK]"]),
    (
        "Extension E of the Chinese characters",  # T2
        {},
        lambda t: len(t.tokenize("\U0002b820\U0002b84a\U0002b920")),
        3,
        2,
    ),
    ("signs that came after Unicode 9", {}, lambda t: len(t.tokenize("a\u2e4fb")), 3, 1),
    ("an empty second text", {}, lambda t: len(t("a", "").input_ids), 4, 3),  # T4
    ("... in a batch", {}, lambda t: len(t([("a", "")]).input_ids[0]), 4, 4),
    (
        "longest_first, equally long",
        {},
        lambda t: lengths(t("a b c d", "a b c d", max_length=8, truncation=True)),
        (3, 2),
        (2, 3),
    ),
    (
        "what overflows",  # T17
        {},
        lambda t: sorted(t("a b c d", **ASKED))[1:],
        ["input_ids", "num_truncated_tokens", "overflowing_tokens", "token_type_ids"],
        ["input_ids", "overflow_to_sample_mapping", "token_type_ids"],
    ),
    ("return_length, one text", {}, lambda t: t("a", return_length=True)["length"], 3, [3]),
    (
        "return_length, a padded batch",
        {},
        lambda t: t(["a", "a b"], padding=True, return_length=True)["length"],
        [3, 4],
        [4, 4],
    ),
    ("an unknown id as a token", {}, lambda t: t.convert_ids_to_tokens([10**6]), ["[UNK]"], [None]),
    ("an unknown id decoded", {}, lambda t: t.decode([10**6]), "[UNK]", ""),
    (
        "spaces before punctuation",
        {},
        lambda t: decoded(t, t.encode("a, b!", add_special_tokens=False)),
        "a , b !",
        "a, b!",
    ),
    (
        "special tokens as text",
        {"split_special_tokens": True},
        lambda t: t.tokenize("[MASK]")[:1],
        ["[MASK]"],
        ["["],
    ),
    (
        "types without special tokens",
        {},
        lambda t: t("a", "b", add_special_tokens=False).token_type_ids,
        [0, 0],
        [0, 1],
    ),
]


@pytest.mark.parametrize(
    ("options", "action", "slow", "fast"),
    [row[1:] for row in DIFFERENCES],
    ids=[row[0] for row in DIFFERENCES],
)
def test_slow_and_fast(options, action, slow, fast):
    """The known differences: each of our classes does as the class of transformers of its name."""
    for pair, expected in ((both(**options), slow), (both_fast(**options), fast)):
        for tokenizer in pair:
            assert action(tokenizer) == expected, tokenizer


def test_slow_and_fast_added_tokens():
    from transformers import AddedToken as OriginalToken

    slow = (1, ["the", "Old"], ["new", "new", "old", "old"])
    fast = (3, ["New", "Old"], ["new", "new", "Old", "old"])
    for (theirs, ours), expected in ((both(), slow), (both_fast(), fast)):
        assert with_added(theirs, OriginalToken) == expected
        assert with_added(ours, AddedToken) == expected
