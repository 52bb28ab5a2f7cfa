"""Saving and loading: here and in transformers, each what the other wrote; and damaged files."""

import json
import os

import pytest
from transformers import AddedToken as OriginalToken

from tests.tokenizers.oracle import SETTINGS, VOCAB, Original, both, random_texts
from tinybert.tokenizers import AddedToken, BertTokenizer
from tinybert.tokenizers import config as config_module

TEXTS = [*random_texts(60, seed=21), "<x>new  NEW <y>[MASK] don't hello"]
ATTRIBUTES = [
    "all_special_tokens",
    "all_special_ids",
    "added_tokens_encoder",
    "padding_side",
    "truncation_side",
    "model_max_length",
    "model_input_names",
    "clean_up_tokenization_spaces",
    "vocab",
    "special_tokens_map",
    "do_basic_tokenize",
    "split_special_tokens",
]


def assert_same(one, other):
    for name in ATTRIBUTES:
        assert getattr(one, name) == getattr(other, name), name
    assert len(one) == len(other)
    for text in TEXTS:
        ids = one.encode(text)
        assert ids == other.encode(text), repr(text)
        assert one.decode(ids) == other.decode(ids)


def with_tokens(tokenizer, kind):
    tokenizer.add_tokens([kind("New", lstrip=True), "plain", kind("<y>", special=True)])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<x>"], "eos_token": "<end>"})
    return tokenizer


@pytest.mark.parametrize("name", SETTINGS)
def test_saved_here_loaded_in_transformers(name, tmp_path):
    ours = BertTokenizer(VOCAB, **SETTINGS[name])
    ours.save_pretrained(tmp_path)
    assert_same(Original.from_pretrained(str(tmp_path)), ours)
    assert_same(BertTokenizer.from_pretrained(tmp_path), ours)


@pytest.mark.parametrize("name", SETTINGS)
def test_saved_in_transformers_loaded_here(name, tmp_path):
    theirs = Original(str(VOCAB), **SETTINGS[name])
    theirs.save_pretrained(str(tmp_path))
    assert_same(BertTokenizer.from_pretrained(tmp_path), theirs)


def test_everything_survives_both_ways(tmp_path):
    options = {
        "do_lower_case": False,
        "model_max_length": 17,
        "padding_side": "left",
        "truncation_side": "left",
        "clean_up_tokenization_spaces": False,
        "pad_token": None,
        "mask_token": "<mask>",
        "model_input_names": ["input_ids", "attention_mask"],
    }
    ours = with_tokens(BertTokenizer(VOCAB, **options), AddedToken)
    theirs = with_tokens(Original(str(VOCAB), **options), OriginalToken)
    assert_same(ours, theirs)
    written = ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(str(tmp_path / "theirs"))
    assert sorted(os.listdir(tmp_path / "ours")) == sorted(os.listdir(tmp_path / "theirs"))
    assert sorted(map(os.path.basename, written)) == sorted(os.listdir(tmp_path / "ours"))
    assert_same(Original.from_pretrained(str(tmp_path / "ours")), ours)
    assert_same(BertTokenizer.from_pretrained(tmp_path / "ours"), ours)
    assert_same(BertTokenizer.from_pretrained(tmp_path / "theirs"), theirs)
    for file in ("vocab.txt", "added_tokens.json"):
        assert (tmp_path / "ours" / file).read_bytes() == (tmp_path / "theirs" / file).read_bytes()


def test_real_model_folder(minilm):
    ours, theirs = BertTokenizer.from_pretrained(minilm), Original.from_pretrained(str(minilm))
    assert_same(ours, theirs)


def folder(tmp_path, **files):
    (tmp_path / "vocab.txt").write_bytes(VOCAB.read_bytes())
    for name, value in files.items():
        text = value if isinstance(value, str) else json.dumps(value)
        (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
    return tmp_path


X = {"content": "<x>", "lstrip": True, "normalized": False}


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"tokenizer_config": {"do_lower_case": False, "max_len": 5}},
        {"tokenizer_config": {"model_max_length": 1e30, "unknown": 3, "tokenizer_class": "Other"}},
        {"special_tokens_map": {"pad_token": "[unused1]", "mask_token": X}},
        {"special_tokens_map": {"additional_special_tokens": ["<a>", X]}},
        {
            "tokenizer_config": {"mask_token": "[unused2]", "additional_special_tokens": ["<b>"]},
            "special_tokens_map": {"additional_special_tokens": ["<b>", "<a>"]},
        },
        {"added_tokens": {"<x>": 3064, "[MASK]": 9, "the": 1500}},
        {"tokenizer": {"added_tokens": [{"id": 3070, **X}, {"id": 9, "content": "[MASK]"}]}},
        {
            "tokenizer_config": {"added_tokens_decoder": {"1": X, "3064": {"content": "new"}}},
            "special_tokens_map": {"pad_token": "[unused1]"},
        },
        {"tokenizer_config": {"mask_token": {"__type": "AddedToken", **X, "special": True}}},
        {"tokenizer_config": {"bos_token": None, "additional_special_tokens": None}},
    ],
    ids=str,
)
def test_folders_of_every_age(files, tmp_path):
    path = folder(tmp_path, **files)
    ours, theirs = BertTokenizer.from_pretrained(path), Original.from_pretrained(str(path))
    assert_same(ours, theirs)
    given = {"do_lower_case": True, "pad_token": "[unused3]", "model_max_length": 9}
    ours = BertTokenizer.from_pretrained(path, **given)
    assert_same(ours, Original.from_pretrained(str(path), **given))
    assert (ours.pad_token, ours.model_max_length) == ("[unused3]", 9)


def test_vocabulary_file_alone():
    ours = BertTokenizer.from_pretrained(VOCAB, do_lower_case=False)
    assert_same(ours, both(do_lower_case=False)[0])


def test_ids_survive_gaps(tmp_path):
    (tmp_path / "in.txt").write_text("a\nb\n\nb\na\n[UNK]\n", encoding="utf-8")
    tokenizer = BertTokenizer(tmp_path / "in.txt")
    (path,) = tokenizer.save_vocabulary(tmp_path, filename_prefix="my")
    assert path == str(tmp_path / "my-vocab.txt")
    again = BertTokenizer(path)
    assert again.vocab == tokenizer.vocab == {"": 2, "b": 3, "a": 4, "[UNK]": 5}
    assert again.get_vocab() == tokenizer.get_vocab()


def test_vocabulary_saved_under_a_name(tmp_path):
    tokenizer = both()[1]
    (path,) = tokenizer.save_vocabulary(tmp_path / "words.txt")
    assert path == str(tmp_path / "words.txt")
    assert (tmp_path / "words.txt").read_bytes() == VOCAB.read_bytes()


def test_nothing_is_left_half_written(tmp_path, monkeypatch):
    tokenizer = both()[1]
    tokenizer.save_pretrained(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    tokenizer.add_tokens("new")
    with pytest.raises(OSError, match="disk full"):
        tokenizer.save_pretrained(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config": "{"}, "not valid JSON"),
        ({"tokenizer_config": "[" * 100_000}, "not valid JSON"),
        ({"tokenizer_config": "1" * 5000}, "not valid JSON"),
        ({"tokenizer_config": "[]"}, "must hold a JSON object, not a list"),
        ({"tokenizer_config": {"do_lower_case": "false"}}, "do_lower_case must be True or False"),
        ({"tokenizer_config": {"model_max_length": -1}}, "model_max_length must be"),
        ({"tokenizer_config": {"model_max_length": 1.5}}, "model_max_length must be"),
        ({"tokenizer_config": {"never_split": "abc"}}, "never_split must be"),
        ({"tokenizer_config": {"pad_token": 3}}, "pad_token must be"),
        ({"tokenizer_config": {"pad_token": {"content": 3}}}, "must be a str, got 3"),
        ({"tokenizer_config": {"pad_token": {"content": "x", "lstrip": 1}}}, "lstrip of token"),
        ({"tokenizer_config": {"added_tokens_decoder": {"a": X}}}, "added_tokens_decoder must be"),
        ({"tokenizer_config": {"added_tokens_decoder": {"-1": X}}}, "added_tokens_decoder must be"),
        ({"tokenizer_config": {"added_tokens_decoder": {"9999999999": X}}}, "must be"),
        (
            {"tokenizer_config": {"added_tokens_decoder": {"1": "x"}}},
            "added_tokens_decoder must be",
        ),
        ({"tokenizer_config": {"added_tokens_decoder": [X]}}, "added_tokens_decoder must be"),
        ({"tokenizer_config": {"extra_special_tokens": 3}}, "extra_special_tokens must be a list"),
        ({"tokenizer_config": {"extra_special_tokens": [3]}}, "additional_special_tokens must be"),
        ({"special_tokens_map": {"additional_special_tokens": [1]}}, "additional_special_tokens"),
        ({"special_tokens_map": {"cls_token": []}}, "cls_token must be"),
        ({"added_tokens": {"x": "1"}}, "added_tokens_decoder must be"),
        ({"added_tokens": {"": 1}}, "must not be empty"),
        ({"tokenizer": {"added_tokens": {"x": 1}}}, "added_tokens must be a list"),
        ({"tokenizer": {"added_tokens": [{"id": [], "content": "x"}]}}, r"added_tokens\[0\]\.id"),
        (
            {"tokenizer": {"added_tokens": [{"content": "x"}]}},
            r"added_tokens\[0\]\.id must be an int",
        ),
    ],
)
def test_damaged_files(files, message, tmp_path):
    name = next(iter(files))
    with pytest.raises(ValueError, match=message) as caught:
        BertTokenizer.from_pretrained(folder(tmp_path, **files))
    assert f"{name}.json" in str(caught.value)


def test_damaged_vocabulary(tmp_path, monkeypatch):
    path = tmp_path / "vocab.txt"
    with pytest.raises(ValueError, match="there is no file"):
        BertTokenizer(path)
    with pytest.raises(ValueError, match="there is no file"):
        BertTokenizer.from_pretrained(tmp_path)
    path.write_bytes(b"\n \n")
    with pytest.raises(ValueError, match=r"vocab\.txt: the vocabulary is empty"):
        BertTokenizer(path)
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(ValueError, match=r"vocab\.txt: not a UTF-8 text"):
        BertTokenizer(path)
    monkeypatch.setattr(config_module, "MAX_FILE_BYTES", 2)
    with pytest.raises(ValueError, match=r"vocab\.txt: 4 bytes are too many"):
        BertTokenizer(path)


def test_names_that_are_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no folder 'bert-base-uncased'.* no vocab\.txt"):
        BertTokenizer.from_pretrained("bert-base-uncased")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        both()[1].save_pretrained(tmp_path / "file")
    with pytest.raises(TypeError, match="unknown tokenizer option 'lower'"):
        BertTokenizer.from_pretrained(folder(tmp_path), lower=True)
