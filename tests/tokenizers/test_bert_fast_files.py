"""Files of BertTokenizerFast: each library loads what the other wrote; damaged files."""

import json
import os

import pytest
from transformers import AddedToken as OriginalToken

from tests.tokenizers.oracle import VOCAB, OriginalFast, both_fast, random_texts
from tinybert.tokenizers import AddedToken, BertTokenizer, BertTokenizerFast

TEXTS = [*random_texts(60, seed=22), "<x>new  NEW <y>[MASK] don't hello New,new"]
ATTRIBUTES = [
    "all_special_tokens",
    "all_special_ids",
    "added_tokens_encoder",
    "padding_side",
    "truncation_side",
    "model_max_length",
    "model_input_names",
    "clean_up_tokenization_spaces",
    "special_tokens_map",
    "split_special_tokens",
    "vocab_size",
]


def assert_same(one, other):
    for name in ATTRIBUTES:
        assert getattr(one, name) == getattr(other, name), name
    assert one.get_vocab() == other.get_vocab()
    for text in TEXTS:
        first, second = (t(text, return_offsets_mapping=True) for t in (one, other))
        assert dict(first) == dict(second), text
        ids = first["input_ids"]
        for skip in (True, False):
            assert one.decode(ids, skip) == other.decode(ids, skip)


def with_tokens(tokenizer, kind):
    tokenizer.add_tokens([kind("New", lstrip=True), "plain", kind("<y>", special=True)])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<x>"], "eos_token": "<end>"})
    return tokenizer


SETTINGS = {
    "uncased": {},
    "cased": {"do_lower_case": False},
    "cased, accents stripped": {"do_lower_case": False, "strip_accents": True},
    "Chinese in words": {"tokenize_chinese_chars": False},
    "everything": {
        "do_lower_case": False,
        "model_max_length": 17,
        "padding_side": "left",
        "truncation_side": "left",
        "clean_up_tokenization_spaces": False,
        "mask_token": "<mask>",
        "model_input_names": ["input_ids", "attention_mask"],
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_saved_here_or_there_loaded_here_and_there(name, tmp_path):
    theirs, ours = both_fast(**SETTINGS[name])
    if name == "everything":
        with_tokens(theirs, OriginalToken)
        with_tokens(ours, AddedToken)
    assert_same(ours, theirs)
    written = ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(str(tmp_path / "theirs"))
    assert sorted(os.listdir(tmp_path / "ours")) == sorted(os.listdir(tmp_path / "theirs"))
    assert sorted(map(os.path.basename, written)) == sorted(os.listdir(tmp_path / "ours"))
    for file in ("vocab.txt", "tokenizer.json"):
        contents = [(tmp_path / who / file).read_bytes() for who in ("ours", "theirs")]
        assert contents[0] == contents[1], file
    for folder in ("ours", "theirs"):
        assert_same(BertTokenizerFast.from_pretrained(tmp_path / folder), ours)
        assert_same(OriginalFast.from_pretrained(str(tmp_path / folder)), ours)
    # The slow class reads the same folders.
    assert BertTokenizer.from_pretrained(tmp_path / "ours").get_vocab() == ours.get_vocab()


def test_tokenizer_json_alone(tmp_path):
    theirs, ours = both_fast()
    with_tokens(ours, AddedToken).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    for options in ({}, {"eos_token": "<end>"}):
        theirs = OriginalFast(tokenizer_file=str(path), **options)
        for ours in (
            BertTokenizerFast(tokenizer_file=path, **options),
            BertTokenizerFast.from_pretrained(path, **options),
        ):
            assert_same(ours, theirs)
    for file in tmp_path.iterdir():
        if file != path:
            file.unlink()
    ours, theirs = (
        BertTokenizerFast.from_pretrained(tmp_path),
        OriginalFast.from_pretrained(str(tmp_path)),
    )
    assert_same(ours, theirs)


def test_arguments_overrule_the_file(tmp_path):
    """As in the original, even by their defaults."""
    both_fast(do_lower_case=False)[1].save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    assert BertTokenizerFast(tokenizer_file=path).tokenize("THE") == ["the"]
    assert OriginalFast(tokenizer_file=str(path)).tokenize("THE") == ["the"]
    options = {"tokenizer_file": str(path), "strip_accents": True, "do_lower_case": False}
    assert_same(BertTokenizerFast(**options), OriginalFast(**options))
    assert BertTokenizerFast.from_pretrained(tmp_path).tokenize("The") == ["The"]


def test_real_model_folder(minilm):
    ours = BertTokenizerFast.from_pretrained(minilm)
    assert_same(ours, OriginalFast.from_pretrained(str(minilm)))


def test_vocabulary_file_alone(tmp_path):
    assert_same(BertTokenizerFast.from_pretrained(VOCAB), both_fast()[0])
    (tmp_path / "vocab.txt").write_bytes(VOCAB.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    ours = BertTokenizerFast.from_pretrained(tmp_path)
    assert_same(ours, OriginalFast.from_pretrained(str(tmp_path)))


def test_sides_and_other_values_of_the_file(tmp_path):
    change(tmp_path, "padding", {"direction": "Left", "strategy": "BatchLongest"} | PADDING)
    change(tmp_path, "truncation", TRUNCATION)
    change(tmp_path, "normalizer.clean_text", False)
    change(tmp_path, "decoder.cleanup", False)
    change(tmp_path, "model.max_input_chars_per_word", 5)
    change(tmp_path, "post_processor", {"type": "BertProcessing", "cls": ["[CLS]", 7]} | SEP)
    path = tmp_path / "tokenizer.json"
    ours, theirs = BertTokenizerFast(tokenizer_file=path), OriginalFast(tokenizer_file=str(path))
    assert ours.padding_side == ours.truncation_side == "left"
    assert_same(ours, theirs)
    assert_same(BertTokenizerFast.from_pretrained(tmp_path), theirs)


PADDING = {"pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
TRUNCATION = {"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
SEP = {"sep": ["[SEP]", 8]}


def change(folder, key, value):
    """Write a good tokenizer.json, or take the one there is, and change one value in it."""
    path = folder / "tokenizer.json"
    if not path.exists():
        both_fast()[1].save_pretrained(folder)
        for other in folder.iterdir():
            if other != path:
                other.unlink()
    file = json.loads(path.read_text(encoding="utf-8"))
    *outer, last = key.split(".")
    inner = file
    for name in outer:
        inner = inner[name]
    inner[last] = value
    path.write_text(json.dumps(file), encoding="utf-8")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model", None, "model must be a WordPiece"),
        ("model.type", "BPE", "model must be a WordPiece, as BERT has it; got 'BPE'"),
        ("model.vocab", {}, "model.vocab must be a non-empty object"),
        ("model.vocab", [], "model.vocab must be a non-empty object"),
        ("model.vocab", {"[UNK]": "0"}, "a unique id"),
        ("model.vocab", {"[UNK]": 0, "a": 0}, "a unique id"),
        ("model.vocab", {"[UNK]": -1}, "a unique id"),
        ("model.vocab", {"a": 0}, "model.unk_token '\\[UNK\\]' is not in model.vocab"),  # T18
        ("model.unk_token", ["a"], "model.unk_token \\['a'\\] must be a str"),
        ("model.unk_token", "the", "unk_token is 'the' in this file"),
        ("model.continuing_subword_prefix", "@@", "model.continuing_subword_prefix must be '##'"),
        ("model.max_input_chars_per_word", 0, "max_input_chars_per_word must be"),
        ("normalizer", {"type": "NFC"}, "normalizer must be a BertNormalizer"),
        ("normalizer.clean_text", 1, "normalizer.clean_text"),
        ("pre_tokenizer", None, "pre_tokenizer must be a BertPreTokenizer"),
        ("decoder.type", "BPEDecoder", "decoder must be a WordPiece"),
        ("decoder.cleanup", None, "decoder.cleanup"),
        ("post_processor", None, "post_processor must make"),
        ("post_processor.pair", [], "post_processor must make"),
        ("post_processor.single", [], "post_processor is damaged"),
        ("post_processor.single", [1, 2, 3], "post_processor is damaged"),
        ("post_processor", {"type": "BertProcessing"}, "post_processor is damaged"),
        ("post_processor", {"type": "BertProcessing", "cls": ["a"], **SEP}, "cls_token is 'a'"),
        ("added_tokens", 3, "added_tokens must be a list"),
        ("added_tokens", [{"id": "a", "content": "x"}], r"added_tokens\[0\]\.id must be an int"),
        ("added_tokens", [{"id": 1, "content": ""}], "must not be empty"),
        ("padding", {"direction": "Up"}, "padding_side must be"),
    ],
)
def test_damaged_tokenizer_json(key, value, message, tmp_path):
    change(tmp_path, key, value)
    with pytest.raises((ValueError, TypeError), match=message) as error:
        BertTokenizerFast(tokenizer_file=tmp_path / "tokenizer.json")
    assert "tokenizer.json" in str(error.value)


def test_missing_files(tmp_path):
    with pytest.raises(ValueError, match="vocab_file or tokenizer_file must be given"):
        BertTokenizerFast()
    with pytest.raises(ValueError, match="tokenizer_file: there is no file"):
        BertTokenizerFast(tokenizer_file=tmp_path / "none.json")
    with pytest.raises(ValueError, match="a folder with tokenizer"):
        BertTokenizerFast.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        BertTokenizerFast.from_pretrained(tmp_path / "none")
    with pytest.raises(TypeError, match="unknown tokenizer option 'do_basic_tokenize'"):
        BertTokenizerFast(VOCAB, do_basic_tokenize=False)
