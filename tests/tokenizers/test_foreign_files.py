"""Files that are not what their name says: each reader of text names what it got instead."""

import json
import logging

import pytest

from tests.tokenizer_json.json_oracle import changed
from tests.tokenizers.oracle import VOCAB
from tinybert import BertConfig
from tinybert.tokenizers import (
    AutoTokenizer,
    BertTokenizer,
    BertTokenizerFast,
    MegaTokenizer,
    TokenizerJSON,
)

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 231508\n"
KERAS = {"class_name": "Tokenizer", "config": {"num_words": None, "word_counts": "{}"}}
FOREIGN = {
    "an LFS pointer": (POINTER, "is a Git LFS pointer, not the {name}: run `git lfs pull`"),
    "a web page": (b"\n<!DOCTYPE html>\n<html></html>\n", "is a web page, not the {name}"),
    "an answer": (b"Entry not found\n", "is an error answer, not the {name}: 'Entry not found'"),
    "nothing": (b"", "is empty: the download or copy failed"),
    "UTF-16": ("[PAD]\n[UNK]\n".encode("utf-16"), "is UTF-16 text"),
    "zero bytes": (bytes(64), "holds zero bytes"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(32), "is compressed with gzip"),
    "a zip file": (b"PK\x03\x04" + bytes(32), "is a zip archive"),
    "a cut character": ("[PAD]\nü".encode()[:-1], "it is truncated in a character"),
}
JSON_FILES = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "tokenizer.json"),
)
NAMES = ("vocab.txt", "merges.txt", *JSON_FILES)


def load(folder, name, content):
    """Load the tokenizer that reads the file `name`, whose content is given."""
    (folder / "vocab.txt").write_bytes(VOCAB.read_bytes())
    (folder / "vocab.json").write_text('{"a": 0}')
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / name).write_bytes(content)
    kinds = {"vocab.json": MegaTokenizer, "merges.txt": MegaTokenizer}
    kinds |= {"tokenizer.json": TokenizerJSON}
    return kinds.get(name, BertTokenizer).from_pretrained(folder)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", FOREIGN)
def test_what_the_file_is(kind, name, tmp_path):
    content, message = FOREIGN[kind]
    with pytest.raises(ValueError, match=message.format(name=name)) as error:
        load(tmp_path, name, content)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_byte_order_mark(name, tmp_path):
    """It would become part of the first token, and move the id of [PAD]."""
    content = b"{}" if name.endswith("json") else b"[PAD]\n[UNK]\n"
    with pytest.raises(ValueError, match="begins with a byte order mark") as error:
        load(tmp_path, name, b"\xef\xbb\xbf" + content)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize("name", JSON_FILES)
def test_a_truncated_json_file(name, tmp_path):
    text = json.dumps(changed() if name == "tokenizer.json" else {"a": 0, "b": "word", "c": [1]})
    for end in (1, len(text) // 2, len(text) - 1):
        with pytest.raises(ValueError, match=r"not valid JSON: it is truncated") as error:
            load(tmp_path, name, text[:end].encode())
        assert str(tmp_path / name) in str(error.value)


def test_a_json_text_as_a_vocabulary(tmp_path):
    with pytest.raises(ValueError, match=r"is a JSON text, not the vocab\.txt"):
        load(tmp_path, "vocab.txt", b'{"error": "Repository not found"}')
    assert load(tmp_path, "vocab.txt", b"{\n[UNK]\n").vocab == {"{": 0, "[UNK]": 1}


@pytest.mark.parametrize("value", [KERAS, json.dumps(KERAS)], ids=["object", "text"])
def test_the_tokenizer_of_keras(value, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(value))
    for kind in (TokenizerJSON, BertTokenizerFast, MegaTokenizer):
        with pytest.raises(ValueError, match="written by the Tokenizer of Keras") as error:
            kind(tokenizer_file=path)
        assert str(path) in str(error.value)
    with pytest.raises(ValueError, match="written by the Tokenizer of Keras"):
        AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", ["an LFS pointer", "a web page", "nothing"])
def test_the_config_of_a_model(kind, tmp_path):
    content, message = FOREIGN[kind]
    (tmp_path / "config.json").write_bytes(content)
    for load_it in (BertConfig.from_pretrained, AutoTokenizer.from_pretrained):
        with pytest.raises(ValueError, match=message.format(name=r"config\.json")):
            load_it(tmp_path)


def test_a_truncated_vocabulary(tmp_path, caplog):
    """Without its end it is still a vocabulary; config.json knows how many tokens there were."""
    lines = VOCAB.read_bytes().split(b"\n")
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": len(lines) - 1}))
    load(tmp_path, "vocab.txt", VOCAB.read_bytes().rstrip(b"\n"))
    load(tmp_path, "vocab.txt", b"[PAD]\n[UNK]\n")  # complete lines: fewer than a padded embedding
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        load(tmp_path, "vocab.txt", VOCAB.read_bytes()[:100])
    assert "the file may be truncated" in caplog.text


def test_truncated_merges(tmp_path, caplog):
    vocab = {chr(0x4E00 + i): i for i in range(2000)} | {"ab": 2000, "a": 2001, "b": 2002}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("a b\n")
    MegaTokenizer.from_pretrained(tmp_path)
    assert "has 1 merges, but" in caplog.text
