"""Hostile texts for every kind of tokenizer, and parts of a `tokenizer.json` that grow or hang."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.attacks.harness import Attack, Read
from tests.attacks.jsons import small_model
from tinybert.tokenizers import BertTokenizer, BertTokenizerFast, MegaTokenizer, TokenizerJSON

TEXTS: dict[str, Callable[[int], str]] = {
    "one word": lambda n: "a" * n,
    "words of 100": lambda n: ("a" * 100 + " ") * (n // 100),
    "words of two letters": lambda n: "ab" * n,
    "different words": lambda n: " ".join(f"a{i}" for i in range(n // 8)),
    "marks": lambda n: "a" + "\u0301" * n,
    "marks of all classes": lambda n: "a" + "\u0301\u0327\u0345\u05b0" * (n // 4),
    "marks in disorder": lambda n: "a" + "\u0345" * (n // 2) + "\u0327" * (n // 2),
    "letters and marks": lambda n: "e\u0301" * (n // 2),
    "Hangul parts": lambda n: "\u1100\u1161\u11a8" * (n // 3),
    "expanding": lambda n: "\ufdfa" * n,
    "lower case grows": lambda n: "\u0130" * n,
    "ideographs": lambda n: "\u6771" * n,
    "emoji": lambda n: "\U0001f469\u200d" * (n // 2),
    "spaces": lambda n: " " * n,
    "line ends": lambda n: "\n" * n,
    "no-break spaces": lambda n: "\u00a0" * n,
    "punctuation": lambda n: "!" * n,
    "digits": lambda n: "1" * n,
    "contractions": lambda n: "'s" * (n // 2),
    "special tokens": lambda n: "[MASK]" * (n // 6),
    "beginnings of special tokens": lambda n: "[MAS" * (n // 4),
    "brackets": lambda n: "[" * n,
    "zero bytes": lambda n: "\0" * n,
    "replacement characters": lambda n: "\ufffd" * n,
    "surrogates": lambda n: "\ud800" * n,
    "directions": lambda n: "\u202e\u0627" * (n // 2),
    "byte order marks": lambda n: "\ufeff" * n,
}


def letters(*more: str) -> dict[str, int]:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcs1!' \n", *more]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


def file(**parts: Any) -> str:
    """A tokenizer.json."""
    model = {
        "type": "BPE", "vocab": letters("aa", "ab"), "merges": ["a a", "a b"], "unk_token": "[UNK]",
    }  # fmt: skip
    return json.dumps({"version": "1.0", "added_tokens": [], "model": model, **parts})


def unigram(count: int = 30) -> dict[str, Any]:
    pieces = [["[UNK]", 0.0], *([("a" * i), -float(i)] for i in range(1, count))]
    return {"type": "Unigram", "unk_id": 0, "vocab": pieces}


def wordpiece() -> dict[str, Any]:
    vocab = letters("##a", "##b", "##aa", "aaa", *(f"##{'a' * i}" for i in range(3, 30)))
    return {
        "type": "WordPiece", "vocab": vocab, "unk_token": "[UNK]",
        "max_input_chars_per_word": 10**9, "continuing_subword_prefix": "##",
    }  # fmt: skip


SPLIT = {"type": "Whitespace"}
NFKC = {"type": "NFKC"}
MADE = {
    "BPE": file(),
    "BPE of bytes": file(
        pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "use_regex": True},
        decoder={"type": "ByteLevel"},
    ),
    "Unigram": file(model=unigram(), normalizer=NFKC),
    "WordPiece": file(model=wordpiece(), pre_tokenizer=SPLIT),
    "BERT's parts": file(
        model=wordpiece(), normalizer={"type": "BertNormalizer", "clean_text": True,
        "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        pre_tokenizer={"type": "BertPreTokenizer"},
    ),
}  # fmt: skip


def load_json(folder: Path, text: str) -> TokenizerJSON:
    (folder / "tokenizer.json").write_text(text)
    return TokenizerJSON.from_pretrained(folder)


def _mega(folder: Path) -> MegaTokenizer:
    (folder / "vocab.txt").unlink()
    vocab = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "aa": 6, "b": 7}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("a a\n")
    return MegaTokenizer.from_pretrained(folder)


TOKENIZERS: dict[str, Callable[[Path], Any]] = {
    "BertTokenizer": BertTokenizer.from_pretrained,
    "BertTokenizerFast": BertTokenizerFast.from_pretrained,
    "MegaTokenizer": _mega,
    **{name: lambda folder, text=text: load_json(folder, text) for name, text in MADE.items()},
}


def texts() -> Iterator[Attack]:
    """Every text for every tokenizer: encoded, and decoded again."""
    for kind, load in TOKENIZERS.items():
        for name, text in TEXTS.items():

            def make(n: int, folder: Path, load: Callable = load, text: Callable = text) -> Read:
                tokenizer, value = load(small_model(folder)), text(n)
                return lambda: tokenizer.decode(tokenizer(value)["input_ids"])

            yield Attack(f"{kind}: {name}", make, 4_000, seconds=6.0)


# --- parts ----------------------------------------------------------------------------------------

BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}


METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}


def replace(pattern: str, content: str, **kind: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": kind or {"String": pattern}, "content": content}


def template(count: int) -> dict[str, Any]:
    return {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}] * count,
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {},
    }


def split(pattern: str) -> dict[str, Any]:
    by = {"Regex": pattern}
    return {"type": "Split", "pattern": by, "behavior": "Isolated", "invert": False}


def sequence(key: str, part: Any, count: int) -> dict[str, Any]:
    return {"type": "Sequence", key: [part] * count}


# Parts of which each step multiplies the text: f(number of steps).
GROWING: dict[str, Callable[[int], dict[str, Any]]] = {
    "Replace doubles": lambda n: {"normalizer": sequence("normalizers", replace("a", "aa"), n)},
    "Replace by long": lambda n: {"normalizer": replace("a", "x" * 10**6)},
    "Replace of nothing": lambda n: {
        "normalizer": sequence("normalizers", replace("", "aa", Regex=""), n)
    },
    "Replace of a pattern": lambda n: {
        "normalizer": sequence("normalizers", replace("", "aa", Regex="a"), n)
    },
    "Prepend": lambda n: {
        "normalizer": sequence("normalizers", {"type": "Prepend", "prepend": "x" * 10**5}, n)
    },
    "ByteLevel normalizers": lambda n: {
        "normalizer": sequence("normalizers", {"type": "ByteLevel"}, n)
    },
    "ByteLevel": lambda n: {"pre_tokenizer": sequence("pretokenizers", BYTES, n)},
    "Metaspace": lambda n: {
        "pre_tokenizer": sequence("pretokenizers", METASPACE, n)
    },
    "templates": lambda n: {"post_processor": sequence("processors", template(2), n)},
    "a long template": lambda n: {"post_processor": template(10**5)},
    "Replace in decoders": lambda n: {"decoder": sequence("decoders", replace("a", "aa"), n)},
    "decoders of bytes": lambda n: {"decoder": sequence("decoders", {"type": "ByteLevel"}, n)},
    "CTC": lambda n: {
        "decoder": {
            "type": "CTC", "pad_token": "a", "word_delimiter_token": "x" * 10**6, "cleanup": True,
        }
    },
    "WordPiece decoder": lambda n: {
        "decoder": sequence("decoders", {"type": "WordPiece", "prefix": "a", "cleanup": True}, n)
    },
}  # fmt: skip
PATTERNS = (
    "(a+)+$", "(a|a)*b", "(a|aa)+$", "(.*a){20}", "(?:a{1000}){1000}", "(?:a{100000}){100000}",
    "((a*)*)*b", "(?=(a+))\\1b", "a{1,65535}b", "(?:(?:a?){99}){99}b", "(" * 500 + ")" * 500,
    "(?:a|b|c)*(?:a|b|c)*d", "\\p{L}*\\p{L}*1",
)  # fmt: skip


def parts() -> Iterator[Attack]:
    """Parts that grow, patterns that hang, many added tokens, and deep sequences."""

    def attack(
        name: str, made: Callable[[int], str], size: int = 0, text: str = "a b " * 500
    ) -> Attack:
        def make(n: int, folder: Path) -> Read:
            source = made(n)

            def read() -> None:
                tokenizer = load_json(folder, source)
                tokenizer.decode(tokenizer(text)["input_ids"])

            return read

        return Attack(f"part {name}", make, size, seconds=8.0)

    for name, grown in GROWING.items():
        for count in (4, 16, 40):
            yield attack(f"{name} x {count}", lambda n, g=grown, count=count: file(**g(count)))
    for pattern in PATTERNS:
        for kind, made in {
            "Split": {"pre_tokenizer": split(pattern)},
            "Replace": {"normalizer": replace("", "x", Regex=pattern)},
        }.items():
            yield attack(
                f"{kind} {pattern[:40]}", lambda n, made=made: file(**made), text="a" * 5000
            )
    added = {
        "special": True,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
    }
    kinds: dict[str, Callable[[int, int], str]] = {
        "with one beginning": lambda i, n: "a" * 60 + str(i),
        "of growing length": lambda i, n: "a" * (i + 2),
        "that are numbers": lambda i, n: f"<{i}>",
    }
    for name, content in kinds.items():

        def many(n: int, content: Callable[[int, int], str] = content) -> str:
            tokens = [{"id": 100 + i, "content": content(i, n), **added} for i in range(n)]
            return file(added_tokens=tokens)

        yield attack(f"added tokens {name}", many, 100, text="a" * 20_000)
    nested: dict[str, tuple[str, str]] = {
        "normalizer": ("Sequence", "normalizers"),
        "pre_tokenizer": ("Sequence", "pretokenizers"),
        "post_processor": ("Sequence", "processors"),
        "decoder": ("Sequence", "decoders"),
    }
    for part, (kind, key) in nested.items():
        for depth in (20, 90):

            def deep(
                n: int, part: str = part, kind: str = kind, key: str = key, d: int = depth
            ) -> str:
                value: Any = {"type": kind, key: []}
                for _ in range(d // 2):
                    value = {"type": kind, key: [value, value] if d < 40 else [value]}
                return file(**{part: value})

            yield attack(f"deep {part} {depth}", deep)
    for name, model in {
        "long Unigram pieces": lambda n: unigram(n),
        "Unigram of infinite scores": lambda n: {
            "type": "Unigram", "unk_id": 0, "vocab": [["a", -1e300]] * 2,
        },
    }.items():  # fmt: skip
        yield attack(name, lambda n, model=model: file(model=model(n)), 200, text="a" * 4000)
