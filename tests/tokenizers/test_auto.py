"""AutoTokenizer: which class the files of a folder choose."""

import json

import pytest

from tests.tokenizers.oracle import VOCAB
from tinybert.tokenizers import AutoTokenizer, BertTokenizer, BertTokenizerFast, auto


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))


def folder(path, **files):
    """A folder with the vocabulary and JSON files, given by their names without .json."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "vocab.txt").write_bytes(VOCAB.read_bytes())
    for name, value in files.items():
        (path / f"{name}.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return path


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer_config": {"tokenizer_class": "BertTokenizer"}},
        {"tokenizer_config": {"tokenizer_class": "BertTokenizerFast"}},
        {"config": {"model_type": "bert"}},
        {"config": {"model_type": "megatron-bert"}, "tokenizer_config": {"do_lower_case": False}},
        {"config": {"model_type": "x"}, "tokenizer_config": {"tokenizer_class": "BertTokenizer"}},
    ],
    ids=str,
)
def test_the_files_choose_the_class(files, tmp_path):
    place = folder(tmp_path, **files)
    fast = AutoTokenizer.from_pretrained(place)
    slow = AutoTokenizer.from_pretrained(str(place), use_fast=False, padding_side="left")
    assert (type(fast), type(slow)) == (BertTokenizerFast, BertTokenizer)
    assert (fast.padding_side, slow.padding_side) == ("right", "left")
    assert fast.do_lower_case == slow.do_lower_case == ("do_lower_case" not in str(files))
    assert slow.name_or_path == str(place)


def test_a_saved_tokenizer_is_found_again(tmp_path):
    BertTokenizer(VOCAB, do_lower_case=False).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize("The") == BertTokenizer(VOCAB, do_lower_case=False).tokenize("The")


def test_the_real_model(minilm):
    assert AutoTokenizer.from_pretrained(minilm).tokenize("unaffable") == ["una", "##ffa", "##ble"]


def test_a_name_is_looked_up_in_the_cache(tmp_path):
    model = tmp_path / "cache" / "models--org--model"
    folder(model / "snapshots" / "abc", config={"model_type": "bert"})
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc")
    for tokenizer in (
        AutoTokenizer.from_pretrained("org/model"),
        BertTokenizer.from_pretrained("org/model"),
    ):
        assert tokenizer.name_or_path == "org/model"
        assert len(tokenizer) == len(BertTokenizer(VOCAB))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither tokenizer_config.json has a tokenizer_class nor config.json a model_type"),
        (
            {"config": {"model_type": "nope"}},
            r"config.json: .*model_type 'nope', only for .*bert",
        ),
        (
            {"tokenizer_config": {"tokenizer_class": "T5Tokenizer"}},
            r"tokenizer_config.json: no tokenizer is known for tokenizer_class 'T5Tokenizer'",
        ),
        ({"config": {"model_type": ["bert"]}}, r"model_type \['bert'\]"),
        ({"config": "[]"}, "config.json: must hold a JSON object"),
        ({"config": "{"}, "config.json: not valid JSON"),
    ],
    ids=str,
)
def test_files_that_choose_nothing(files, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        AutoTokenizer.from_pretrained(folder(tmp_path, **files))


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        AutoTokenizer.from_pretrained("org/model")
    with pytest.raises(TypeError, match="from_pretrained"):
        AutoTokenizer()
    with pytest.raises(TypeError, match="unknown tokenizer option 'lower'"):
        AutoTokenizer.from_pretrained(folder(tmp_path, config={"model_type": "bert"}), lower=True)


def test_register(tmp_path, monkeypatch):
    class Mine(BertTokenizer):
        pass

    monkeypatch.setattr(auto, "_KNOWN", dict(auto._KNOWN))
    AutoTokenizer.register("mine", Mine)
    AutoTokenizer.register("MineTokenizerFast", None, BertTokenizerFast)
    place = folder(tmp_path, config={"model_type": "mine"})
    assert type(AutoTokenizer.from_pretrained(place)) is Mine  # there is no fast one
    place = folder(tmp_path, tokenizer_config={"tokenizer_class": "MineTokenizer"})
    assert type(AutoTokenizer.from_pretrained(place, use_fast=False)) is BertTokenizerFast
    with pytest.raises(ValueError, match="'mine' is known already"):
        AutoTokenizer.register("mine", Mine)
    AutoTokenizer.register("mine", BertTokenizer, exist_ok=True)
    with pytest.raises(ValueError, match="must be given"):
        AutoTokenizer.register("other")
