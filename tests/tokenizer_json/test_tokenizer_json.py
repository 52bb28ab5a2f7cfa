"""TokenizerJSON against the library: trained tokenizers, chains of parts, calls, files, attacks."""

import copy
import functools
import json
import pickle
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import transformers
from hypothesis import HealthCheck, assume, given, seed, settings
from tokenizers import Tokenizer
from transformers import AddedToken as OriginalToken

from tests.tokenizer_json.json_oracle import (
    TRAINERS,
    assert_same,
    changed,
    in_folder,
    load,
    overlooks,
    random_file,
    texts,
    trained,
)
from tests.tokenizers.corpora import CORPORA
from tests.tokenizers.fuzz import ADDED, Call, calls, compare
from tinybert.tokenizer_json.patterns import cut
from tinybert.tokenizers import AddedToken, AutoTokenizer, BertTokenizerFast, TokenizerJSON

KINDS = pytest.mark.parametrize("kind", TRAINERS)
trained = functools.cache(trained)


# Ids, places, words and decoded text ---------------------------------------------------------


def fuzz_trained(kind, corpus, count, number, path):
    theirs, ours = load(trained(kind, corpus), path)
    rng = random.Random(number)
    lines = rng.choices(CORPORA[corpus], k=count // 4)
    for text in [*lines, *texts(count - len(lines), rng)]:
        assert_same(theirs, ours, text, (text[::2] or None) if rng.random() < 0.2 else None)


def attempt(function, *arguments):
    """What the library gives, or None where it fails or panics, which is no Exception.

    It panics where marks that a part has dropped leave others without a place in the text.
    """
    try:
        return function(*arguments)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        return None


def fuzz_chains(count, number, path):
    """Random texts for random files, ten each; returns how many were compared."""
    compared = 0
    for i in range(count):
        rng = random.Random(number * 1_000_000 + i)
        value = json.dumps(random_file(rng))
        if attempt(Tokenizer.from_str, value) is None:
            continue
        theirs, ours = load(value, path)
        if overlooks(ours):
            continue
        for text in texts(10, rng):
            pair = (text[::-1] or None) if rng.random() < 0.3 else None
            if attempt(theirs.encode, text, pair) is None:
                continue
            assert_same(theirs, ours, text, pair)
            compared += 1
    return compared


@KINDS
@pytest.mark.parametrize("corpus", CORPORA)
def test_trained_tokenizers(kind, corpus, tmp_path):
    fuzz_trained(kind, corpus, 130, 0, tmp_path / "tokenizer.json")


def test_random_chains_of_parts(tmp_path):
    assert fuzz_chains(200, 0, tmp_path / "tokenizer.json") > 1700


@pytest.mark.slow
@KINDS
@pytest.mark.parametrize("corpus", CORPORA)
def test_trained_tokenizers_for_long(kind, corpus, tmp_path):
    fuzz_trained(kind, corpus, 2900, 1, tmp_path / "tokenizer.json")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 6))
def test_random_chains_of_parts_for_long(number, tmp_path):
    assert fuzz_chains(550, number, tmp_path / "tokenizer.json") > 4800


def test_worked_example(tmp_path):
    _, ours = load(trained("SentencePiece", "English"), tmp_path / "tokenizer.json")
    row = ours("The 世 end</s>a", return_offsets_mapping=True)
    tokens = [*("▁The", "▁", "<0xE4>", "<0xB8>", "<0x96>", "▁e", "nd", "</s>", "a")]
    assert row.tokens() == tokens
    places = [*[(0, 3), (3, 4)], *[(4, 5)] * 3, *[(5, 7), (7, 9), (9, 13), (13, 14)]]
    assert row.offset_mapping == places
    assert ours.decode(row.input_ids) == "The 世 end</s>a"
    assert ours.decode(row.input_ids[2:4]) == "\ufffd\ufffd"  # not all bytes of 世


def test_behaviors_of_cutting():
    """The examples of the library's documentation."""
    text = "the-final--countdown"
    matches = [(3, 4), (9, 10), (10, 11)]
    expected = {
        "Removed": ["the", "final", "countdown"],
        "Isolated": ["the", "-", "final", "-", "-", "countdown"],
        "MergedWithPrevious": ["the-", "final-", "-", "countdown"],
        "MergedWithNext": ["the", "-final", "-", "-countdown"],
        "Contiguous": ["the", "-", "final", "--", "countdown"],
    }
    for behavior, parts in expected.items():
        assert [text[start:end] for start, end in cut(text, matches, behavior)] == parts


# Calls ---------------------------------------------------------------------------------------

ROLES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ],
    "pair": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "</s>", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}},
    ],
    "special_tokens": {
        "<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]},
        "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]},
    },
}


@functools.cache
def pair_for(folder, template, added):
    value = json.loads(trained("SentencePiece", "English"))
    flags = {"add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    value["post_processor"] = TEMPLATE if template else {"type": "ByteLevel", **flags}
    path = folder / "calls.json"
    path.write_text(json.dumps(value))
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path), **ROLES)
    ours = TokenizerJSON(path, **ROLES)
    for tokenizer, kind in ((theirs, OriginalToken), (ours, AddedToken)):
        tokenizer.add_tokens([kind(content, **flags) for content, flags in ADDED[added]])
    return theirs, ours


def fuzz_calls(folder, count, number):
    verdicts = Counter()

    @seed(number)
    @settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(calls(True))
    def run(call: Call):
        assume(call.method != "encode_plus" or "text" in call.arguments)
        theirs, ours = pair_for(folder, bool(call.built), call.added)
        verdicts[compare(call, True, theirs, ours)] += 1

    run()
    assert verdicts["equal"] > 0.3 * count, verdicts
    return verdicts


def test_padding_belongs_to_no_text(tmp_path):
    """Without a post-processor, the original counts it to the first one."""
    path = in_folder(tmp_path, trained("SentencePiece", "English")) / "tokenizer.json"
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path), **ROLES)
    ours = TokenizerJSON(path, **ROLES)
    expected, found = (t("the", padding=True, pad_to_multiple_of=2) for t in (theirs, ours))
    assert dict(found) == dict(expected)
    assert expected.sequence_ids() == [0, 0]
    assert found.sequence_ids() == [0, None]


def test_types_of_overflow_without_special_tokens(tmp_path):
    """The original forgets to set the types of what overflows of a RoBERTa to 0."""
    roberta = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}
    roberta |= {"trim_offsets": True, "add_prefix_space": False}
    value = json.loads(trained("byte-level", "English")) | {"post_processor": roberta}
    path = in_folder(tmp_path, value) / "tokenizer.json"
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path), **ROLES)
    ours = TokenizerJSON(path, **ROLES)
    options = {"max_length": 4, "truncation": True, "add_special_tokens": False}
    options |= {"return_overflowing_tokens": True, "return_token_type_ids": True}
    expected, found = (t("a b c d e", "f g h i j", **options) for t in (theirs, ours))
    assert found.input_ids == expected.input_ids
    assert not any(map(any, found.token_type_ids))
    assert any(map(any, expected.token_type_ids))


def test_calls(tmp_path_factory, capfd):
    fuzz_calls(tmp_path_factory.mktemp("calls"), 150, 0)
    capfd.readouterr()  # what Rust says of its panics


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 5))
def test_many_calls(tmp_path_factory, number, capfd):
    verdicts = fuzz_calls(tmp_path_factory.mktemp("calls"), 2500, number)
    capfd.readouterr()
    with capfd.disabled():
        print(f"\nTokenizerJSON {number}: {dict(verdicts)}")


# Files ---------------------------------------------------------------------------------------


TEXT = "Hello world <s> New  Éx\n1234</s> <e>"


@KINDS
def test_files_pass_both_ways(kind, tmp_path):
    first = in_folder(
        tmp_path / "first",
        trained(kind, "code"),
        tokenizer_class="PreTrainedTokenizerFast",
        model_input_names=["input_ids", "token_type_ids"],
        model_max_length=99,
        **ROLES,
    )
    theirs = transformers.AutoTokenizer.from_pretrained(first)
    ours = AutoTokenizer.from_pretrained(first)
    assert type(ours) is TokenizerJSON
    for tokenizer, kind_of in ((theirs, OriginalToken), (ours, AddedToken)):
        tokenizer.add_tokens([kind_of("New"), kind_of("Éx", normalized=False)])
        tokenizer.add_special_tokens({"additional_special_tokens": ["<e>"]})
        tokenizer.save_pretrained(tmp_path / kind_of.__module__.split(".")[0])
    expected = theirs(TEXT)
    assert dict(ours(TEXT)) == dict(expected)
    assert list(expected) == ["input_ids", "token_type_ids"]
    for name in ("tokenizers", "tinybert"):
        for loader in (AutoTokenizer, transformers.AutoTokenizer):
            again = loader.from_pretrained(tmp_path / name)
            assert dict(again(TEXT)) == dict(expected)
            assert (len(again), again.vocab_size) == (len(theirs), theirs.vocab_size)
            assert again.all_special_tokens == theirs.all_special_tokens
            assert again.model_max_length == 99
    with pytest.raises(ValueError, match="legacy_format"):
        ours.save_pretrained(tmp_path, legacy_format=True)


def test_the_file_alone(tmp_path):
    """No role is known, so nothing can be padded."""
    folder = in_folder(tmp_path, trained("Unigram", "English"))
    for ours in (AutoTokenizer.from_pretrained(folder), TokenizerJSON(folder / "tokenizer.json")):
        assert type(ours) is TokenizerJSON
        assert ours.all_special_tokens == []
        with pytest.raises(ValueError, match="pad_token"):
            ours(["a", "a b"], padding=True)


@pytest.mark.parametrize("kind", ["LlamaTokenizerFast", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize(
    "flags", [{}, {"add_bos_token": True, "add_eos_token": True}, {"add_bos_token": False}], ids=str
)
def test_bos_and_eos_of_llama(kind, flags, tmp_path):
    """The options count for classes like Llama's alone, and what they do is saved."""
    value = trained("SentencePiece", "English")
    folder = in_folder(tmp_path, value, tokenizer_class=kind, **ROLES, **flags)
    theirs = getattr(transformers, kind).from_pretrained(folder)
    ours = AutoTokenizer.from_pretrained(folder)
    ours.save_pretrained(tmp_path / "saved")
    for loader in (AutoTokenizer, transformers.AutoTokenizer):
        again = loader.from_pretrained(tmp_path / "saved")
        for pair in (None, "d e"):
            expected = theirs("a b", pair).input_ids
            assert ours("a b", pair).input_ids == again("a b", pair).input_ids == expected
    alone = TokenizerJSON(folder / "tokenizer.json", **ROLES, **flags)
    assert (alone("a").input_ids[0] == 1) == flags.get("add_bos_token", False)


def test_padding_of_the_file(tmp_path):
    value = json.loads(trained("byte-level", "English"))
    value["padding"] = {
        "strategy": "BatchLongest",
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 3,
        "pad_type_id": 5,
        "pad_token": "<pad>",
    }
    folder = in_folder(tmp_path, value)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    ours = TokenizerJSON.from_pretrained(folder)
    assert (ours.pad_token, ours.padding_side, ours.pad_token_type_id) == ("<pad>", "left", 0)
    texts_ = ["a", "a b c"]
    assert dict(ours(texts_, padding=True)) == dict(theirs(texts_, padding=True))
    assert len(ours("a").input_ids) == 1


def test_the_space_before_a_text_is_that_of_the_file(tmp_path):
    """Unless it is asked for; transformers takes it for false if it is not."""
    value = json.loads(trained("byte-level", "English"))
    value["pre_tokenizer"]["add_prefix_space"] = True
    folder = in_folder(tmp_path, value)
    library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    assert TokenizerJSON.from_pretrained(folder)("the").input_ids == library.encode("the").ids
    ours = TokenizerJSON.from_pretrained(folder, add_prefix_space=False)
    assert ours("the").input_ids == theirs("the").input_ids != library.encode("the").ids
    ours.save_pretrained(tmp_path / "saved")
    assert (
        TokenizerJSON.from_pretrained(tmp_path / "saved")("the").input_ids == ours("the").input_ids
    )


def test_rows_of_ids(tmp_path):
    """The file's layout, which transformers does not know of here."""
    value = json.loads(trained("SentencePiece", "English")) | {"post_processor": TEMPLATE}
    theirs, ours = (
        kind.from_pretrained(in_folder(tmp_path, value))
        for kind in (transformers.PreTrainedTokenizerFast, TokenizerJSON)
    )
    assert ours.build_inputs_with_special_tokens([7], [8, 9]) == [1, 7, 2, 8, 9]
    assert ours.create_token_type_ids_from_sequences([7], [8, 9]) == [0, 0, 0, 1, 1]
    assert ours.get_special_tokens_mask([7], [8, 9]) == [1, 0, 1, 0, 0]
    assert ours.num_special_tokens_to_add(pair=True) == theirs.num_special_tokens_to_add(pair=True)
    assert theirs.build_inputs_with_special_tokens([7], [8, 9]) == [7, 8, 9]


def test_an_added_token_of_which_nothing_is_left(tmp_path):
    """It never occurs; the library finds it between any two characters."""
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
    value = changed(
        normalizer={"type": "StripAccents"},
        added_tokens=[{"id": 2, "content": "\u0301", "special": False, **added}],
    )
    theirs, ours = load(json.dumps(value), tmp_path / "tokenizer.json")
    assert ours("ab").word_ids() == [0, 0]
    assert theirs.encode("ab").word_ids == [0, 1]


def test_a_text_of_which_nothing_is_left_gets_no_prefix(tmp_path):
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    steps = [strip, {"type": "Prepend", "prepend": "a"}]
    value = changed(normalizer={"type": "Sequence", "normalizers": steps})
    theirs, ours = load(json.dumps(value), tmp_path / "tokenizer.json")
    assert ours("  ").input_ids == theirs.encode("  ").ids == []
    assert ours(" b").input_ids == theirs.encode(" b").ids


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda row: pickle.loads(pickle.dumps(row))])
def test_rows_can_be_copied_before_their_columns_are_asked_for(copied, tmp_path):
    value = json.loads(trained("SentencePiece", "English")) | {"post_processor": TEMPLATE}
    _, ours = load(json.dumps(value), tmp_path / "tokenizer.json")
    found = ours(["one two", "three"], ["", "four"])
    again = copied(found)
    assert dict(again) == dict(found)
    for number, row in enumerate(found.encodings):
        assert again.tokens(number) == row.tokens
        assert again.encodings[number].offsets == row.offsets
        assert again.sequence_ids(number) == row.sequence_ids
        assert again.encodings[number].n_sequences == row.n_sequences
    assert "offsets" not in vars(ours("a b").encodings[0])
    with pytest.raises(AttributeError, match="no attribute 'places'"):
        row.places  # noqa: B018


@pytest.mark.parametrize("kind", ["tokenizer", "AutoTokenizer"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_tokenizers_can_be_copied(kind, copied, tmp_path):
    """With what was changed since they were made."""
    in_folder(tmp_path, trained("Unigram", "English"))
    loader = AutoTokenizer if kind == "AutoTokenizer" else TokenizerJSON
    ours = loader.from_pretrained(tmp_path, **ROLES, add_bos_token=True)
    ours.add_tokens([AddedToken("New", lstrip=True), "<x>"])
    ours.add_special_tokens({"additional_special_tokens": ["<e>"]})
    ours.chat_template = "{{ 1 }}"
    again = copied(ours)
    assert type(again) is TokenizerJSON
    assert repr(again) == repr(ours)
    assert again.chat_template == "{{ 1 }}"
    for text in (TEXT, "<x> a New"):
        assert dict(again(text)) == dict(ours(text))
        assert again(text).tokens() == ours(text).tokens()
        assert again.decode(ours(text).input_ids, True) == ours.decode(ours(text).input_ids, True)
    assert again.add_tokens("other") == 1
    assert "other" not in ours.get_vocab()


def test_a_pool_of_processes(tmp_path):
    ours = TokenizerJSON.from_pretrained(in_folder(tmp_path, trained("byte-level", "English")))
    ours.add_tokens("<x>")
    lines = ["one <x> two", "three", ""]
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert list(pool.map(ours.encode, lines)) == [ours.encode(line) for line in lines]


def test_words_are_remembered_wherever_they_stand(tmp_path, monkeypatch):
    """Not if the place of a word may matter; never more than so many."""
    monkeypatch.setattr("tinybert.text.word_cache.MAX_CACHED_TOKENS", 5)
    meta = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    steps = [split_at({"Regex": "[ab]"}), meta]
    sequence = {"type": "Sequence", "pretokenizers": steps}
    value = json.loads(trained("SentencePiece", "English"))
    for part in (value["pre_tokenizer"], {"type": "Whitespace"}, sequence):
        theirs, ours = load(json.dumps(value | {"pre_tokenizer": part}), tmp_path / "it.json")
        for text in ("aa bab", "a<s>a b a", "a b c d e f g h", "a a a"):
            assert_same(theirs, ours, text)
        assert len(ours._pipeline.words) <= 5
        assert (len(ours._pipeline.words) > 0) == (part is not sequence)


def test_bert_files_are_read_too(tmp_path, minilm):
    ours, bert = (kind.from_pretrained(minilm) for kind in (TokenizerJSON, BertTokenizerFast))
    for text in ("Hello, unaffable Ünï 世界 [MASK]!", "don't"):
        options = {"return_offsets_mapping": True}
        assert dict(ours(text, text, **options)) == dict(bert(text, text, **options))
        assert ours.decode(ours(text).input_ids) == bert.decode(bert(text).input_ids)


def test_merges_as_strings_and_a_model_without_type(tmp_path):
    value = json.loads(trained("byte-level", "English"))
    old = json.loads(json.dumps(value))
    old["model"]["merges"] = [" ".join(merge) for merge in value["model"]["merges"]]
    del old["model"]["type"]
    theirs, _ = load(json.dumps(value), tmp_path / "new.json")
    in_folder(tmp_path / "old", old)
    assert_same(theirs, TokenizerJSON(tmp_path / "old" / "tokenizer.json"), "Hello world!")


# What is refused -----------------------------------------------------------------------------


def split_at(pattern):
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


NESTED = functools.reduce(
    lambda part, _: {"type": "Sequence", "normalizers": [part]}, range(30), {"type": "NFC"}
)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"normalizer": {"type": "Rot13"}},
            r"normalizer: unknown type 'Rot13'; known are BertNormalizer",
        ),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "X"}]}},
            r"pre_tokenizer\.pretokenizers\[0\]: .*'X'.*Metaspace",
        ),
        ({"post_processor": {"type": "X"}}, r"post_processor: .*'X'"),
        ({"decoder": {"type": "X"}}, r"decoder: .*'X'.*ByteFallback"),
        ({"model": {"type": "X"}}, r"model: .*'X'.*Unigram"),
        ({"model": None}, "model must be an object"),
        ({"normalizer": [1]}, "normalizer must be an object"),
        ({"normalizer": NESTED}, "more than 20 times"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a a"]}}, "'aa' is not in"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.1}}, "random"),
        ({"model": {"type": "Unigram", "vocab": [["a", "x"]]}}, r"model\.vocab\[0\]"),
        ({"model": {"type": "Unigram", "vocab": [["a", 1]], "unk_id": 7}}, "unk_id"),
        ({"pre_tokenizer": split_at({"Regex": "("})}, r"pattern: '\(' cannot be compiled"),
        ({"pre_tokenizer": split_at({"Regex": "a" * 30_000})}, "20000 characters"),
        ({"pre_tokenizer": split_at({"Glob": "*"})}, "String or Regex"),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "ab"}}, "one character"),
        ({"pre_tokenizer": {"type": "Digits", "individual_digits": 1}}, "true or false, got 1"),
        ({"post_processor": TEMPLATE | {"special_tokens": {}}}, "not in special_tokens"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"}}, "base64"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "damaged"),
        ({"normalizer": {"type": "Prepend", "prepend": "x" * 999}}, "prepend may have 256"),
        ({"model": {"type": "Unigram", "vocab": [["a" * 40_000, 1]]}}, "at most 256"),
        ({"post_processor": {"type": "BertProcessing", "cls": ["a", -1], "sep": 1}}, "its id"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_bad_files(parts, message, tmp_path):
    path = in_folder(tmp_path, changed(**parts)) / "tokenizer.json"
    with pytest.raises(ValueError, match=message) as error:
        TokenizerJSON(path)
    assert str(path) in str(error.value)


def test_a_pattern_that_never_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("tinybert.tokenizer_json.patterns.SECONDS", 0.2)
    folder = in_folder(tmp_path, changed(pre_tokenizer=split_at({"Regex": "(?:a|aa)+[bc]"})))
    tokenizer = TokenizerJSON.from_pretrained(folder)
    with pytest.raises(ValueError, match="takes more than"):
        tokenizer("a" * 60)  # without the limit it would take years
