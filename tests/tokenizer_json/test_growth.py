"""Hostile files: what is made of a text is bounded by its length, and so is the time."""

import base64
import random
import re
import struct
import time
import tracemalloc
import unicodedata

import pytest

from tests.tokenizer_json.json_oracle import changed, in_folder
from tests.tokenizers.oracle import VOCAB
from tinybert.text.added_token import pattern_of
from tinybert.text.aligned_text import MAX_GROWTH
from tinybert.text.basic import normal_form
from tinybert.text.token_tree import MAX_NESTED, alternatives
from tinybert.text.unicode_forms import FORMS
from tinybert.text.unigram import Unigram
from tinybert.text.wordpiece import WordPiece
from tinybert.tokenizer_json.patterns import TimeLimit, check_size, find_regex
from tinybert.tokenizers import AddedToken, BertTokenizer, BertTokenizerFast, TokenizerJSON

LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
MANY = f"a text more than {MAX_GROWTH} times as long"


def charsmap(char, text):
    """The table that replaces one ASCII character: a trie of two nodes."""
    units = [0] * 512
    units[0] = 256 << 10  # the children of the root begin at 256
    units[256 ^ ord(char)] = ord(char) | 1 << 8 | (128 ^ ord(char) ^ 256) << 10
    units[128] = 1 << 31  # the leaf: the text at 0
    trie = struct.pack(f"<{len(units)}I", *units)
    return base64.b64encode(struct.pack("<I", len(trie)) + trie + text.encode()).decode()


def chain(kind, steps):
    names = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers"}
    names |= {"decoder": "decoders", "post_processor": "processors"}
    return {kind: {"type": "Sequence", names[kind]: steps}}


def replacing(text, by):
    return {"type": "Replace", "pattern": {"String": text}, "content": by}


GROWING = {
    "replacements": chain("normalizer", [replacing("a", "a" * 2)] * 40),
    "long replacements": chain("normalizer", [replacing("a", "a" * 256)] * 5),
    "nested replacements": chain(
        "normalizer", [{"type": "Sequence", "normalizers": [replacing("a", "aa")] * 5}] * 8
    ),
    "prepending": chain("normalizer", [{"type": "Prepend", "prepend": "é" * 256}] * 99),
    "bytes of bytes": chain("normalizer", [replacing("a", "é"), *[{"type": "ByteLevel"}] * 20]),
    "words of bytes": chain("pre_tokenizer", [LEVEL] * 20),
    "both": {
        **chain("normalizer", [replacing("a", "é" * 60)]),
        **chain("pre_tokenizer", [LEVEL] * 20),
    },
    "cut and grow": chain("pre_tokenizer", [{"type": "FixedLength", "length": 2}, *[LEVEL] * 20]),
    "a charsmap": {
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap("a", "a" * 1000)}
    },
}  # fmt: skip


def tokenizer_of(folder, **parts):
    vocab = {"a": 0, "b": 1, "é": 2}
    model = {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": "b"}
    return TokenizerJSON(in_folder(folder, changed(**{"model": model, **parts})) / "tokenizer.json")


@pytest.mark.parametrize("text", ["a", "aé" * 60, "é a é " * 60, "é" * 300], ids=len)
@pytest.mark.parametrize("name", GROWING)
def test_a_text_cannot_explode(name, text, tmp_path):
    tokenizer = tokenizer_of(tmp_path, **GROWING[name])
    tracemalloc.start()
    start = time.process_time()
    message = ""
    try:
        assert len(tokenizer(text).input_ids) <= MAX_GROWTH * (8 + len(text))
    except ValueError as error:
        message = str(error)
    assert not message or (MANY in message and str(tmp_path) in message)
    seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3e6 + MAX_GROWTH * 300 * len(text)
    assert seconds < 2 + 1e-3 * len(text)


def test_it_is_told(tmp_path):
    for name, parts in GROWING.items():
        with pytest.raises(ValueError, match=MANY):
            tokenizer_of(tmp_path, **parts)("a" if name == "prepending" else "aé" * 30)


@pytest.mark.parametrize(
    "steps",
    [
        [replacing("a", "aa")] * 40,
        [replacing("a", "a" * 256)] * 5,
        [{"type": "BPEDecoder", "suffix": ""}] * 40,
        [{"type": "CTC", "pad_token": "|", "word_delimiter_token": "", "cleanup": True}] * 40,
        [{"type": "Sequence", "decoders": [replacing("a", "aa")] * 5}] * 8,
    ],
    ids=lambda steps: steps[0]["type"],
)
def test_decoded_text_cannot_explode(steps, tmp_path):
    tokenizer = tokenizer_of(tmp_path, **chain("decoder", steps))
    tracemalloc.start()
    with pytest.raises(ValueError, match=MANY):
        tokenizer.decode([0, 0, 1] * 200)
    assert tracemalloc.get_traced_memory()[1] < 600 * MAX_GROWTH * 300
    tracemalloc.stop()


A, X = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "x", "type_id": 0}}
ROBERTA = {"type": "RobertaProcessing", "sep": ["b", 1], "cls": ["a", 0]}
ROBERTA |= {"trim_offsets": True, "add_prefix_space": False}


def template(*single, n_ids=1):
    special = {"x": {"id": "x", "ids": [0] * n_ids, "tokens": ["a"] * n_ids}}
    return {
        "type": "TemplateProcessing", "single": list(single), "pair": [A], "special_tokens": special
    }  # fmt: skip


@pytest.mark.parametrize(
    "processor",
    [template(*[A] * 1000), template(A, *[X] * 1000, n_ids=1000)],
    ids=["the text again", "special tokens"],
)
def test_a_row_cannot_explode(processor, tmp_path):
    tokenizer = tokenizer_of(tmp_path, post_processor=processor)
    with pytest.raises(ValueError, match=MANY):
        tokenizer("a" * 300)


@pytest.mark.parametrize("nested", [False, True])
def test_too_many_post_processors(nested, tmp_path):
    steps = [{"type": "Sequence", "processors": [ROBERTA] * 3}] * 7 if nested else [ROBERTA] * 21
    with pytest.raises(ValueError, match="may have 20 processors at most, got 21"):
        tokenizer_of(tmp_path, **chain("post_processor", steps))
    tokenizer = tokenizer_of(tmp_path, **chain("post_processor", [ROBERTA] * 20))
    assert len(tokenizer("a").input_ids) == 41


def test_what_real_files_need_is_allowed(tmp_path):
    """NFKD and bytes of the ligature ﷺ: 18 characters, 33 bytes."""
    parts = chain("normalizer", [{"type": "NFKD"}, {"type": "ByteLevel"}])
    assert len(tokenizer_of(tmp_path, **parts)("ﷺ" * 3000).input_ids) == 33 * 3000
    parts = {"normalizer": {"type": "Prepend", "prepend": "a" * 256}}
    assert len(tokenizer_of(tmp_path, **parts)("a").input_ids) == 257


# Time ---------------------------------------------------------------------------------------


def seconds_of(function, *arguments):
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def assert_linear(make, function, size):
    """Four times the input takes at most about four times as long; the best of three counts."""
    function(make(100))  # tables are read once
    small, large = make(size), make(4 * size)
    times = [(seconds_of(function, small), seconds_of(function, large)) for _ in range(3)]
    few, many = min(a for a, _ in times), min(b for _, b in times)
    assert many < 8 * few + 0.05, (few, many)


@pytest.mark.parametrize("marks", ["\u0301\u0323", "\u0323\u0301", "\u0301", "\u0308\u0301"])
@pytest.mark.parametrize("kind", [BertTokenizer, BertTokenizerFast])
@pytest.mark.parametrize("lower", [True, False])
def test_combining_marks(kind, lower, marks):
    tokenizer = kind(VOCAB, do_lower_case=lower)
    assert_linear(lambda n: "a" + marks * n, tokenizer.tokenize, 2000)


@pytest.mark.parametrize("form", FORMS)
def test_combining_marks_in_a_file(form, tmp_path):
    tokenizer = tokenizer_of(tmp_path, normalizer={"type": form})
    assert_linear(lambda n: "a" + "\u0301\u0323" * n, tokenizer, 1000)


def test_sorted_marks_have_the_same_normal_forms():
    texts = [
        "é" + "\u0301\u0323\u0344" * 300 + "b" + "\u05b0\u0301" * 40,
        "x" * 990 + "e\u0301" * 40,
    ]
    for text in texts:
        for form in ("NFC", "NFD"):
            assert normal_form(form, text * 3) == unicodedata.normalize(form, text * 3)


def test_added_tokens_that_begin_alike():
    tokens = [f"<extra_id_{i}>" for i in range(2000)]
    pattern = pattern_of(sorted(tokens, key=len, reverse=True))
    assert pattern.split("a<extra_id_10>b<extra_id_1>") == [
        *("a", "<extra_id_10>", "b", "<extra_id_1>", "")
    ]
    assert seconds_of(pattern.split, "<extra_id_" * 20_000) < 0.5
    tokenizer = BertTokenizer(VOCAB)
    assert seconds_of(tokenizer.add_tokens, tokens) < 1
    assert tokenizer.tokenize("a <extra_id_77> b")[1] == "<extra_id_77>"


def test_the_first_of_the_tokens_wins():
    assert pattern_of(["ab", "abc", "a", "b"]).split("abcb") == ["", "ab", "c", "b", ""]
    assert pattern_of(["abc", "ab", "a"]).split("abcab-a") == ["", "abc", "", "ab", "-", "a", ""]
    assert pattern_of(["a.", "a*", "a"]).findall("a.ab a*") == ["a.", "a", "a*"]


def test_a_tree_finds_what_a_list_finds():
    rng = random.Random(0)
    for _ in range(300):
        tokens = list({"".join(rng.choices("ab.", k=rng.randint(1, 4))) for _ in range(12)})
        text = "".join(rng.choices("ab.", k=60))
        assert re.findall(alternatives(tokens), text) == pattern_of(tokens).findall(text)


def test_added_tokens_that_begin_with_each_other():
    nested = ["a" * n for n in range(1, MAX_NESTED)]
    assert pattern_of(nested[::-1]).findall("a" * 250) == ["a" * 99, "a" * 99, "a" * 52]
    with pytest.raises(ValueError, match="more than 100 added tokens each begin with the one"):
        pattern_of(["a" * n for n in range(300, 0, -1)])


def test_many_added_tokens(tmp_path):
    """Each finds its id, and its flags, without a look at all others."""
    vocab = {str(i): i + 30_000 for i in range(20_000)}
    value = changed(
        model={"type": "WordLevel", "vocab": vocab, "unk_token": "0"},
        added_tokens=[
            {"id": 10**6 + i, "content": f"<{i}>", "special": True, **dict.fromkeys(
                ("single_word", "lstrip", "rstrip", "normalized"), False
            )}
            for i in range(5_000)
        ],
    )  # fmt: skip
    start = time.process_time()
    tokenizer = TokenizerJSON(in_folder(tmp_path, value) / "tokenizer.json")
    assert time.process_time() - start < 5
    again = [AddedToken(f"<{i}>", special=True) for i in range(5_000)]
    assert seconds_of(tokenizer.add_tokens, again) < 5
    assert len(tokenizer) == 25_000


def test_long_words_of_unigram():
    """A vocabulary of long tokens that begin alike, all but found at every position."""
    vocab = [("a" * n + "b", -1.0) for n in range(255)] + [("a", -1.0)]
    assert_linear(lambda n: "a" * n, Unigram(vocab).tokenize, 300)
    with pytest.raises(ValueError, match="has 257 characters; at most 256"):
        Unigram([("a" * 257, -1.0)])


def test_long_words_of_wordpiece(tmp_path):
    vocab = {"a": 0, "##a": 1, "##" + "a" * 250 + "b": 2, "[UNK]": 3}
    assert_linear(lambda n: "a" * n, WordPiece(vocab, "[UNK]", 10**9).segment, 400)
    model = {"type": "WordPiece", "vocab": {"a" * 300: 0}, "unk_token": "a" * 300}
    model |= {"continuing_subword_prefix": "##", "max_input_chars_per_word": 10**9}
    with pytest.raises(ValueError, match="a token of 300 characters is too long"):
        tokenizer_of(tmp_path, model=model)
    tokenizer_of(tmp_path, model=model | {"max_input_chars_per_word": 100})


def test_an_added_token_that_takes_whitespace():
    tokenizer = BertTokenizerFast(VOCAB)
    tokenizer.add_tokens(AddedToken("\n", rstrip=True, normalized=False))
    assert_linear(lambda n: "\n" * n, tokenizer.tokenize, 5000)


# Patterns -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        *("(?:a{100000}){100000}", "a{100001}", "((a{10}){100}){101}", "a{1000}{1000}"),
        *("[a-z]{9,200000}", r"\p{L}{999999999999}", "(?:a|b{9}){99999}", "a{,100001}"),
        "a{60000}b{60000}",
    ],
)
def test_patterns_that_would_be_too_large(pattern):
    start = time.process_time()
    with pytest.raises(ValueError, match="more than 100000 characters once its repetitions"):
        find_regex(pattern, "x")
    assert time.process_time() - start < 1


def test_patterns_that_are_small_enough():
    check_size(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)", "x")
    check_size(r"(?:[{}]|\{9999999\}|[\]{99999}]|x{y}|{,}){2}", "x")
    assert find_regex("a{1000}", "x")("a" * 1500) == [(0, 1000)]


def test_the_time_limit_is_that_of_a_text(monkeypatch, tmp_path):
    """Not of each of its words: these each take less than the limit, and together far more."""
    monkeypatch.setattr("tinybert.tokenizer_json.patterns.SECONDS", 0.5)
    slow = {"type": "Split", "pattern": {"Regex": "(?:a|aa)+[bc]"}, "behavior": "Isolated"}
    split = chain("pre_tokenizer", [{"type": "WhitespaceSplit"}, slow | {"invert": False}])
    tokenizer = tokenizer_of(tmp_path, **split)
    words = [f"{'a' * 24}{n}" for n in range(2000)]
    for text, options in ((" ".join(words), {}), (words, {"is_split_into_words": True})):
        start = time.process_time()  # at most that of the clock
        with pytest.raises(ValueError, match="seconds for one text"):
            tokenizer(text, **options)
        assert time.process_time() - start < 2
    with TimeLimit(0), TimeLimit(10**9):  # the outer one counts
        assert TimeLimit.left(0)[1] == 0.5
