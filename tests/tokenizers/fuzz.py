"""Random calls over every option of the BERT tokenizers, and the verdict on what they give.

A `Call` is built by hypothesis, so that one that fails is shrunk to the smallest that does. It is
made of a tokenizer of transformers and of ours; `judge` says in which of a few known ways the two
results agree, and fails for any other.
"""

from __future__ import annotations

import functools
import itertools
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AddedToken as OriginalToken

from tests.tokenizers.oracle import SNIPPETS, both, both_fast, known_words, same
from tinybert.tokenizers import AddedToken

ROW = ("ids", "type_ids", "tokens", "offsets", "word_ids", "sequence_ids")
ROW += ("special_tokens_mask", "attention_mask", "n_sequences")

# Tokens that are added after construction, with their flags. None lies within another: there the
# slow original overlooks some, see test_leftmost_and_longest_token_is_found.
ADDED: dict[str, list[tuple[str, dict[str, bool]]]] = {
    "none": [],
    "plain": [("New", {}), ("<x>", {}), ("U.S.", {}), ("é", {}), ("the", {}), ("文字", {})],
    "exact": [
        ("New", {"normalized": False, "single_word": True}),
        ("<x>", {"normalized": False, "lstrip": True}),
        ("É", {"normalized": False, "rstrip": True}),
        ("a b", {"normalized": False}),
    ],
    "eager": [
        ("New", {"lstrip": True, "rstrip": True}),
        ("<x>", {"rstrip": True, "single_word": True}),
        ("É", {"single_word": True}),
    ],
    "special": [
        ("New", {"special": True}),
        ("<x>", {"special": True, "lstrip": True, "single_word": True}),
        ("É", {"special": True, "normalized": True}),
    ],
}
CONTENTS = sorted({content for tokens in ADDED.values() for content, _ in tokens})


@dataclass(frozen=True)
class Call:
    """One call: how the tokenizers are built, what is set on them, and what they are asked."""

    built: dict[str, Any]
    added: str
    attributes: dict[str, Any]
    method: str
    arguments: dict[str, Any]


# What is called ---------------------------------------------------------------------------


@functools.cache
def tokenizers(fast: bool, built: tuple[tuple[str, Any], ...], added: str) -> tuple[Any, Any]:
    """The tokenizer of transformers and ours; building them costs more than most calls."""
    options = {name: list(v) if isinstance(v, tuple) else v for name, v in built}
    theirs, ours = (both_fast if fast else both)(**options)
    for tokenizer, kind in ((theirs, OriginalToken), (ours, AddedToken)):
        tokenizer.add_tokens([kind(content, **flags) for content, flags in ADDED[added]])
    return theirs, ours


def some(**values: list[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A dictionary with some of these keys, each with one of its values."""
    return st.fixed_dictionaries({}, optional={k: st.sampled_from(v) for k, v in values.items()})


BUILT = some(
    do_lower_case=[False],
    strip_accents=[True, False],
    tokenize_chinese_chars=[False],
)
BUILT_SLOW = some(
    do_basic_tokenize=[False],
    never_split=[("don't", "hello", "U.S.", "É")],
)
NAMES = ("input_ids", "token_type_ids", "attention_mask")
ATTRIBUTES = st.fixed_dictionaries(
    {
        "padding_side": st.sampled_from(["right", "left"]),
        "truncation_side": st.sampled_from(["right", "left"]),
        "model_max_length": st.sampled_from([10**30, 12]),
        "split_special_tokens": st.sampled_from([False, False, True]),
        "model_input_names": st.sampled_from([[*NAMES], [*NAMES], ["input_ids"]]),
    }
)
FLAGS = (
    *("add_special_tokens", "return_token_type_ids", "return_attention_mask"),
    *("return_special_tokens_mask", "return_length", "split_special_tokens", "verbose"),
)
OPTIONS = some(
    padding=[True, False, "longest", "max_length", "do_not_pad"],
    truncation=[True, False, None, "longest_first", "only_first", "only_second"],
    max_length=[*range(1, 13), 16, 24],
    stride=[0, 1, 2, 3, 7],
    pad_to_multiple_of=[2, 3, 4, 8],
    padding_side=["left", "right", None],
    return_tensors=["np", None],
    return_overflowing_tokens=[False] * 5 + [True],
    return_offsets_mapping=[False] * 7 + [True],
    **{flag: [True, False] for flag in FLAGS},
)
CUTTING = st.fixed_dictionaries(
    {
        "truncation": st.sampled_from([True, None, "longest_first", "only_first", "only_second"]),
        "max_length": st.integers(4, 12),
        "stride": st.integers(0, 3),
        "return_overflowing_tokens": st.booleans(),
    }
)

WORDS = st.sampled_from(known_words()[:400]) | st.sampled_from(
    [*CONTENTS, "[MASK]", "[SEP]", "Hello", "don't", "unaffable", "running"]
)
SPECIAL = st.sampled_from([*SNIPPETS, *CONTENTS, " ", " ", "a"])
PIECES = SPECIAL | st.characters(exclude_categories=["Cs"])


# Lists of all lengths alike; those of hypothesis are nearly always short.
def lists(items: st.SearchStrategy[Any], longest: int) -> st.SearchStrategy[list[Any]]:
    lengths = st.integers(0, longest)
    return lengths.flatmap(lambda n: st.lists(items, min_size=n, max_size=n))


SENTENCES = lists(WORDS, 12).map(" ".join)
TEXTS = SENTENCES | SENTENCES | lists(PIECES, 12).map("".join)
WORD_LISTS = lists(WORDS | PIECES, 8)


def one_or_pair(texts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return texts | st.tuples(texts, texts)


SINGLE = st.fixed_dictionaries({"text": TEXTS}, optional={"text_pair": TEXTS})
SINGLE_WORDS = st.fixed_dictionaries({"text": WORD_LISTS}, optional={"text_pair": WORD_LISTS})
BATCHES = st.lists(one_or_pair(TEXTS), min_size=1, max_size=3)
BATCHES_OF_WORDS = st.lists(one_or_pair(WORD_LISTS), min_size=1, max_size=3)


@st.composite
def calls(draw: st.DrawFn, fast: bool) -> Call:
    """Any call of a tokenizer, right or wrong."""
    built = draw(BUILT) if fast else {**draw(BUILT), **draw(BUILT_SLOW)}
    added, attributes = draw(st.sampled_from(list(ADDED))), draw(ATTRIBUTES)
    options = {**draw(OPTIONS), **draw(st.just({}) | CUTTING)}
    words = draw(st.sampled_from([False, False, True]))
    if words:
        options["is_split_into_words"] = True
    form = draw(st.sampled_from(["one", "one", "batch", "columns", "targets"]))
    if form == "one":
        method = draw(st.sampled_from(["__call__", "encode", "encode_plus"]))
        arguments = draw(SINGLE_WORDS if words else SINGLE)
    elif form == "batch":
        method = draw(st.sampled_from(["__call__", "batch_encode_plus"]))
        name = "text" if method == "__call__" else "batch_text_or_text_pairs"
        arguments = {name: draw(BATCHES_OF_WORDS if words else BATCHES)}
    elif form == "columns":  # of different length now and then, or not even a column
        method, texts = "__call__", WORD_LISTS if words else TEXTS
        columns = st.lists(texts, min_size=1, max_size=3)
        pairs = columns | columns | columns | texts
        arguments = {"text": draw(columns), "text_pair": draw(pairs)}
    else:
        method, single = "__call__", SINGLE_WORDS if words else SINGLE
        targets = {f"{name}_target": text for name, text in draw(single).items()}
        arguments = {**(draw(single) if draw(st.booleans()) else {}), **targets}
    return Call(built, added, attributes, method, {**arguments, **options})


# What it gives ----------------------------------------------------------------------------


def outcome(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """The result, or the error: also a panic of Rust, which is no Exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that max_length is ignored
        try:
            result = function(**arguments)
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            return error
    return result if hasattr(result, "keys") else {"input_ids": result}


def rows_of(result: Any) -> list[Any]:
    """Every row of ids, of the labels too."""
    found = []
    for key in ("input_ids", "labels"):
        ids = result.get(key, [])
        found.extend(ids if len(ids) and isinstance(ids[0], (list, np.ndarray)) else [ids])
    return found


def lengths(result: Any) -> list[int]:
    return [len(row) for row in rows_of(result)]


def limit_of(call: Call) -> int | None:
    """The length that no row may exceed, or None."""
    arguments = call.arguments
    truncation, asked = arguments.get("truncation"), arguments.get("max_length")
    implied = truncation is None and arguments.get("padding", False) is False and asked is not None
    limit = call.attributes["model_max_length"] if asked is None else asked
    return limit if (truncation or implied) and limit < 10**20 else None


def texts_of(call: Call) -> list[Any]:
    names = ("text", "text_pair", "text_target", "text_pair_target", "batch_text_or_text_pairs")
    return [call.arguments[name] for name in names if name in call.arguments]


def holds_empty_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and (not value or any(map(holds_empty_list, value)))


def is_ragged(result: Any) -> bool:
    return any(getattr(value, "dtype", 0) == np.dtype(object) for value in result.values())


def assert_equal(ours: Any, theirs: Any) -> None:
    assert not isinstance(ours, Exception), ours
    assert same(ours, theirs), (dict(ours), dict(theirs))


def judge(call: Call, fast: bool) -> str:
    """In which way both agree, as one word; AssertionError if in none."""
    theirs, ours = tokenizers(fast, tuple(sorted(call.built.items())), call.added)
    return compare(call, fast, theirs, ours)


def compare(call: Call, fast: bool, theirs: Any, ours: Any) -> str:
    """`judge` for any two tokenizers that are built and have their added tokens."""
    for name, value in call.attributes.items():
        setattr(theirs, name, value)
        setattr(ours, name, value)
    arguments = dict(call.arguments)
    result = outcome(getattr(ours, call.method), arguments)
    # In a batch, the original forgets this option (slow) or what the tokenizer has (fast).
    if not fast and "split_special_tokens" in arguments:
        theirs.split_special_tokens = arguments.pop("split_special_tokens")
    elif fast:
        arguments = {"split_special_tokens": ours.split_special_tokens, **arguments}
    expected = outcome(getattr(theirs, call.method), arguments)
    refused = isinstance(result, (ValueError, TypeError, NotImplementedError))
    assert refused or not isinstance(result, BaseException), repr(result)
    call = replace(call, arguments=arguments)
    verdict = (judge_fast if fast else judge_slow)(call, result, refused, expected, theirs)
    if verdict == "equal":
        row = list(map(int, rows_of(expected)[0])) if not is_ragged(expected) else []
        skip = bool(call.arguments.get("verbose"))
        assert ours.decode(row, skip) == theirs.decode(row, skip)
    return verdict


def judge_slow(call: Call, result: Any, refused: bool, expected: Any, theirs: Any) -> str:
    if isinstance(expected, Exception):
        if refused:
            return "both refuse"
        assert any(map(holds_empty_list, texts_of(call))), (expected, result)
        return "no words"  # a list of no words is a text without tokens
    limit = limit_of(call)
    if limit is not None and max(lengths(expected)) > limit:
        assert refused or max(lengths(result)) <= limit, (result, limit)
        return "too long"
    if is_ragged(expected):
        assert "different lengths" in str(result), result
        return "ragged"
    if not refused and lengths(expected) != lengths(result):  # a single empty row is padded
        for row, expected_row in zip(rows_of(result), rows_of(expected), strict=True):
            only_padding = len(expected_row) == 0 and set(row) == {theirs.pad_token_id}
            assert only_padding or list(row) == list(expected_row)
        return "empty"
    assert_equal(result, expected)
    return "equal"


def allow_stride(theirs: Any, call: Call) -> Any:
    """What the original gives where it refuses a stride that can be used, or is not used.

    Its library compares the stride with the room that special tokens leave, even if none are
    added, and even if nothing is cut.
    """
    function, library = getattr(theirs, call.method), theirs.backend_tokenizer
    if call.arguments.get("add_special_tokens") is False:
        processor = library.post_processor
        library.post_processor = without_special_tokens(library)
        expected = outcome(function, call.arguments)
        library.post_processor = processor
        if not isinstance(expected, BaseException):
            return expected
    return outcome(function, {**call.arguments, "stride": 0})


def without_special_tokens(library: Tokenizer) -> Any:
    """The post-processor that does what the library's does where no special tokens are added."""
    part = json.loads(library.to_str())["post_processor"]
    if part is None or part["type"] == "BertProcessing":
        return None
    if part["type"] == "TemplateProcessing":
        for name in ("single", "pair"):
            part[name] = [piece for piece in part[name] if "Sequence" in piece]
    elif part["type"] == "RobertaProcessing":
        texts = [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"]
        types = {"type": "TemplateProcessing", "single": texts[:1], "pair": texts}
        trims = {name: part[name] for name in ("add_prefix_space", "trim_offsets")}
        steps = [{"type": "ByteLevel", "use_regex": True, **trims}, {**types, "special_tokens": {}}]
        part = {"type": "Sequence", "processors": steps}
    file = {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}
    return Tokenizer.from_str(json.dumps(file | {"post_processor": part})).post_processor


def judge_fast(call: Call, result: Any, refused: bool, expected: Any, theirs: Any) -> str:
    if isinstance(expected, BaseException):
        if refused:
            return "both refuse"
        assert "stride" in str(expected), (expected, result)
        assert_equal(result, allow_stride(theirs, call))
        return "stride unused"
    limit = limit_of(call)
    if limit is not None and max(lengths(expected)) > limit:
        assert refused, result
        return "too long"
    if is_ragged(expected):
        assert "different lengths" in str(result), result
        return "ragged"
    assert_equal(result, expected)
    for ours_row, row in itertools.zip_longest(
        getattr(result, "encodings", None) or [], getattr(expected, "encodings", None) or []
    ):
        for name in ROW:
            assert getattr(ours_row, name) == getattr(row, name), name
    return "equal"
