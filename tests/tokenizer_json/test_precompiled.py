"""The table of SentencePiece: one built here, against the library and against its own entries."""

import base64
import json
import random

import pytest

from tests.tokenizer_json.json_oracle import assert_same, load, texts
from tinybert.tokenizer_json.precompiled import read_precompiled

TABLE = {
    "ﬁ": "fi",
    "①": "1",
    "é": "e",
    "e\u0301": "é",
    "Å": "A\u030a",
    "x": "",
    "ẞ": "SS",
    "\u00a0": " ",
    "\u3000": " ",
    "한": "\u1112\u1161\u11ab",
    "が": "か",
    "ΑΣ": "ας",
    "q": "qqq",
}


def charsmap(table):
    """The bytes of a table: the size of the trie, its units, and the texts that leaves point to.

    The children of a node at p, whose offset is o, are at p ^ o ^ byte, and its value at p ^ o.
    """
    root: dict = {}
    blob = b""
    for key, text in table.items():
        node = root
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = len(blob)  # no key has a zero byte
        blob += text.encode() + b"\0"
    units = {0: 0}

    def place(node, at):
        offset = next(
            o for o in range(1, 1 << 20) if not any((at ^ o ^ byte) in units for byte in node)
        )
        units[at] |= offset << 10 | (0 in node) << 8
        for byte in node:
            units[at ^ offset ^ byte] = byte if byte else node[0] | 1 << 31
        for byte, child in node.items():
            if byte:
                place(child, at ^ offset ^ byte)

    place(root, 0)
    size = (max(units) | 0xFF) + 1
    words = b"".join(units.get(i, 0xFE).to_bytes(4, "little") for i in range(size))
    return base64.b64encode(len(words).to_bytes(4, "little") + words + blob).decode()


def test_every_entry_is_found():
    table = read_precompiled(charsmap(TABLE), "normalizer")
    for key, text in TABLE.items():
        assert table.find(key) == text
    assert table.find("z") is None
    assert table.changes("abc", 99) is None
    assert "".join(char for char, _ in table.changes("ﬁ①", 99) or ()) == "fi1"


def test_the_library_does_the_same(tmp_path):
    part = {"type": "Precompiled", "precompiled_charsmap": charsmap(TABLE)}
    pieces = [["<unk>", 0.0], *([char, -1.0 - i / 9] for i, char in enumerate("▁abefinosqSA 1éか"))]
    model = {"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": False}
    meta = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    value = {
        "version": "1.0",
        "added_tokens": [],
        "model": model,
        "normalizer": part,
        "pre_tokenizer": meta,
        "post_processor": None,
        "decoder": None,
        "truncation": None,
        "padding": None,
    }
    theirs, ours = load(json.dumps(value), tmp_path / "tokenizer.json")
    rng = random.Random(0)
    for text in [*TABLE, *texts(200, rng)]:
        assert_same(theirs, ours, text + rng.choice(list(TABLE)) + "ab")


def test_a_damaged_table():
    blob = base64.b64decode(charsmap({"a": "b"}))
    with pytest.raises(ValueError, match="damaged"):
        read_precompiled(base64.b64encode(blob[:40]).decode(), "normalizer")
    units = bytearray(blob)
    units[4:8] = (0x1FFFFF << 10).to_bytes(4, "little")
    table = read_precompiled(base64.b64encode(bytes(units)).decode(), "normalizer")
    with pytest.raises(ValueError, match="points outside"):
        table.find("a")
