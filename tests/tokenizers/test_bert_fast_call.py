"""Calls of BertTokenizerFast against transformers, and how the fast class differs from the slow."""

import random

import pytest
from transformers import AddedToken as OriginalToken

from tests.tokenizers.fuzz import outcome
from tests.tokenizers.oracle import (
    both,
    both_fast,
    known_words,
    same,
)
from tinybert.tokenizers import AddedToken, BertTokenizerFast
from tinybert.tokenizers.truncation import longest_first_at_once, windows

THEIRS, OURS = both_fast()
LIMITED = both_fast(model_max_length=12, padding_side="left", truncation_side="left")


def same_places(ours, theirs):
    rows = range(len(theirs.encodings))
    return all(
        getattr(ours, name)(row) == getattr(theirs, name)(row)
        for row in rows
        for name in ("tokens", "word_ids", "sequence_ids")
    )


def test_overflow_of_pairs():
    """Windows of both texts: (0, 0), then (i, every j) for i > 0, then (0, j) for j > 0."""
    rng = random.Random(1)
    counts = set()
    for _ in range(150):
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
            expected, result = outcome(theirs, arguments), outcome(ours, arguments)
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
WITHOUT_SPECIALS = {"add_special_tokens": False, "return_overflowing_tokens": True}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": LONG, "max_length": 1}, "max_length=1 must be at least 2"),
        ({"text": LONG, "text_pair": "a", "max_length": 2}, "max_length=2 must be at least 3"),
        (
            {"text": LONG, "max_length": 6, "stride": 4, "return_overflowing_tokens": True},
            "stride=4 must be less than 4, the number of tokens",
        ),
        (
            {"text": LONG, "text_pair": "a", "truncation": "only_second", "max_length": 5},
            "truncation='only_second': the other text alone has 6 tokens",
        ),
        ({"text": LONG, "truncation": "only_second", "max_length": 5}, "needs a second text"),
        ({"text": ["a", "a b"], "return_tensors": "np"}, "rows of different lengths"),
    ],
)
def test_values_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        OURS(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"text": "a b", "max_length": 6, "truncation": True, "stride": 5},  # nothing to cut
        {"text": LONG, "max_length": 6, "truncation": True, "stride": 5},  # no overflow wanted
        {"text": LONG, "max_length": 3, "truncation": True, "stride": 2, **WITHOUT_SPECIALS},
    ],
)
def test_a_stride_that_the_original_refuses(arguments):
    assert "stride" in str(outcome(THEIRS, arguments))
    rows = OURS(**arguments, return_special_tokens_mask=True).input_ids
    if "return_overflowing_tokens" in arguments:
        ids = OURS(LONG, add_special_tokens=False).input_ids
        assert rows == [ids[i : i + 3] for i in range(len(ids) - 2)]
    else:
        assert rows == OURS(**{**arguments, "stride": 0}).input_ids


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
    ("accents that are kept", CASED, lambda t: t.tokenize("e\u0301"), ["é"], ["[UNK]"]),
    (
        "U+2B820 to U+2B91F, Chinese",  # T2
        {},
        lambda t: len(t.tokenize("\U0002b820\U0002b84a\U0002b920")),
        3,
        2,
    ),
    ("signs newer than Unicode 9", {}, lambda t: len(t.tokenize("a\u2e4fb")), 3, 1),
    ("an empty second text", {}, lambda t: len(t("a", "").input_ids), 4, 3),  # T4
    ("... in a batch", {}, lambda t: len(t([("a", "")]).input_ids[0]), 4, 4),
    (
        "two long texts, longest_first",
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
    ("return_length of one text", {}, lambda t: t("a", return_length=True)["length"], 3, [3]),
    (
        "return_length of a batch",
        {},
        lambda t: t(["a", "a b"], padding=True, return_length=True)["length"],
        [3, 4],
        [4, 4],
    ),
    ("token of an unknown id", {}, lambda t: t.convert_ids_to_tokens([10**6]), ["[UNK]"], [None]),
    ("text of an unknown id", {}, lambda t: t.decode([10**6]), "[UNK]", ""),
    (
        "space before punctuation",
        {},
        lambda t: decoded(t, t.encode("a, b!", add_special_tokens=False)),
        "a , b !",
        "a, b!",
    ),
    (
        "split_special_tokens",
        {"split_special_tokens": True},
        lambda t: t.tokenize("[MASK]")[:1],
        ["[MASK]"],
        ["["],
    ),
    (
        "types without specials",
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


def test_the_table_of_differences_lists_them_all():
    """The docstring of BertTokenizerFast has them as rows of three columns."""
    head, _, table = str(BertTokenizerFast.__doc__).partition("Where both classes differ")
    assert head
    rows = [line.strip().split("  ")[0] for line in table.split("\n\n")[1].splitlines()[2:]]
    assert rows == [row[0] for row in DIFFERENCES] + ["added tokens", "lists as one text"]


def test_slow_and_fast_added_tokens():
    slow = (1, ["the", "Old"], ["new", "new", "old", "old"])
    fast = (3, ["New", "Old"], ["new", "new", "Old", "old"])
    for (theirs, ours), expected in ((both(), slow), (both_fast(), fast)):
        assert with_added(theirs, OriginalToken) == expected
        assert with_added(ours, AddedToken) == expected


def test_a_row_does_not_change_with_the_lists_of_the_caller():
    changed = []
    for tokenizer in both_fast():
        encoding = tokenizer("the old people", add_special_tokens=False)
        for name in ("input_ids", "attention_mask"):
            encoding[name].append(1)
        row = encoding.encodings[0]
        changed.append((row.ids, row.attention_mask, encoding.sequence_ids()))
        changed[-1] += (encoding.word_to_tokens(2), encoding.tokens())
    assert changed[0] == changed[1]
