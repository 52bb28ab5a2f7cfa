"""Hostile JSON in every JSON file that is read: the whole file, and the values of its fields."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import tinybert as tb
from tests.attacks.harness import Attack, Read
from tinybert.embedding import SentenceEmbedder
from tinybert.fetch import model_folder
from tinybert.generation import GenerationConfig
from tinybert.hub_cache import cached_folder
from tinybert.tokenizers import AutoTokenizer, BertTokenizerFast, MegaTokenizer, TokenizerJSON
from tinybert.weights import open_checkpoint

PRIME = 2**61 - 1  # the multiples of it have one hash
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##a", "##b"]

# f(n) -> the text of a JSON value, or of what only looks like one.
PATTERNS: dict[str, Callable[[int], str]] = {
    "deep list": lambda n: "[" * n + "]" * n,
    "deep object": lambda n: '{"a":' * n + "1" + "}" * n,
    "deep, open": lambda n: '[{"a":' * n,
    "deep, below the limit of the parser": lambda n: "[" * 900 + "]" * 900,
    "deep and wide": lambda n: "[" + ",".join(["[" * 90 + "]" * 90] * (n // 100)) + "]",
    "long string": lambda n: '"' + "x" * 10 * n + '"',
    "long string of escapes": lambda n: '"' + "\\u0001" * n + '"',
    "surrogates": lambda n: '"' + "\\ud800" * n + '"',
    "controls": lambda n: '"' + "\x1b[2J\x9b" * n + '"',
    "long key": lambda n: '{"' + "k" * 10 * n + '": 1}',
    "many keys": lambda n: "{" + ",".join(f'"k{i}":{i}' for i in range(n)) + "}",
    "one key": lambda n: "{" + ",".join(['"k":1'] * n) + "}",
    "keys of one hash": lambda n: "{" + ",".join(f'"{i * PRIME}":{i}' for i in range(n)) + "}",
    "numbers of one hash": lambda n: "[" + ",".join(str(i * PRIME) for i in range(n)) + "]",
    "many numbers": lambda n: "[" + ",".join(map(str, range(n))) + "]",
    "many objects": lambda n: "[" + ",".join(["{}"] * n) + "]",
    "long integer": lambda n: "9" * 10 * n,
    "long integers": lambda n: "[" + ",".join(["9" * 4000] * (n // 1000)) + "]",
    "long fraction": lambda n: "0." + "0" * n + "1",
    "long exponent": lambda n: "1e" + "9" * n,
    "infinite": lambda n: "[NaN, Infinity, -Infinity, 1e999, -1e999]",
    "no JSON": lambda n: "<html>" * n,
    "spaces": lambda n: " " * 10 * n,
    "nothing": lambda n: "",
    "null": lambda n: "null",
    "a text": lambda n: '"a"',
    "a number": lambda n: "-1.5",
    "a list": lambda n: '[[], {}, "a", -1, null, true]',
    "odd values": lambda n: '{"a": -1, "b": null, "": [], "__class__": {"__init__": 1}}',
    "zero bytes": lambda n: "\0" * n,
    "byte order mark": lambda n: "\ufeff{}",
    "cut off": lambda n: '{"a": [1, 2, {"b": "c',
}
RAW: dict[str, Callable[[int], bytes]] = {
    "no UTF-8": lambda n: b'{"a": "' + b"\xff" * n + b'"}',
    "UTF-16": lambda n: '{"a": 1}'.encode("utf-16"),
}


def small_model(folder: Path) -> Path:
    """Write a small BERT, its tokenizers, and the files of sentence-transformers into a folder."""
    folder.mkdir(exist_ok=True)
    config = tb.BertConfig(
        vocab_size=len(WORDS), hidden_size=4, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=4, max_position_embeddings=8,
    )  # fmt: skip
    tb.BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    tb.BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    kinds = {"": "sentence_transformers.models.Transformer"}
    kinds["1_Pooling"] = "sentence_transformers.models.Pooling"
    modules = [{"idx": 0, "name": "0", "path": path, "type": kind} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder


# The files, and how each is read: f(folder). The folder has the files of `small_model` besides.
READERS: dict[str, Callable[[Path], object]] = {
    "config.json": tb.BertConfig.from_pretrained,
    "generation_config.json": GenerationConfig.from_pretrained,
    "tokenizer_config.json": tb.BertTokenizer.from_pretrained,
    "special_tokens_map.json": tb.BertTokenizer.from_pretrained,
    "added_tokens.json": tb.BertTokenizer.from_pretrained,
    "tokenizer.json": TokenizerJSON.from_pretrained,
    "tokenizer.json fast": BertTokenizerFast.from_pretrained,
    "vocab.json": MegaTokenizer.from_pretrained,
    "modules.json": SentenceEmbedder.from_pretrained,
    "1_Pooling/config.json": SentenceEmbedder.from_pretrained,
    "sentence_bert_config.json": SentenceEmbedder.from_pretrained,
    "config_sentence_transformers.json": SentenceEmbedder.from_pretrained,
    "model.safetensors.index.json": open_checkpoint,
    "pytorch_model.bin.index.json": open_checkpoint,
    "tf_model.h5.index.json": open_checkpoint,
    ".fetched.json": lambda folder: fetched(folder),
}


# What the message of an error has instead of the file's name: `fetch` needs no more than to know
# that its marker is not one, and a vocabulary can lack the parts of a merge.
NAMED = {".fetched.json": "minilm", "vocab.json": "vocab"}


def fetched(folder: Path) -> Path:
    """Look for the model that `fetch` downloads, whose folder this would be."""
    os.environ["TINYBERT_HOME"] = str(folder.parent)
    return model_folder("minilm")


def prepared(file: str, folder: Path) -> Path:
    """Return a folder in which a file is read."""
    folder = small_model(folder / "minilm")
    if "index" in file:
        (folder / "model.safetensors").unlink()
    if file == "vocab.json":
        (folder / "vocab.txt").unlink()
        (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    return folder


def attack(file: str, pattern: str, raw: Callable[[int], bytes], size: int, named: str) -> Attack:
    """The attack of one file with one content."""
    name = file.partition(" ")[0]

    def make(n: int, folder: Path) -> Read:
        folder = prepared(file, folder)
        (folder / name).write_bytes(raw(n))
        return lambda: READERS[file](folder)

    return Attack(f"{file}: {pattern}", make, size if raw(1000) != raw(2000) else 0, named)


def whole_files() -> Iterator[Attack]:
    """Every pattern as every file."""
    for file in READERS:
        for pattern, text in PATTERNS.items():
            named = NAMED.get(
                file, "" if pattern == "odd values" else file.split("/")[-1].split()[0]
            )
            yield attack(
                file,
                pattern,
                lambda n, text=text: text(n).encode("utf-8", "surrogatepass"),
                10_000,
                named,
            )
        for pattern, raw in RAW.items():
            yield attack(file, pattern, raw, 10_000, NAMED.get(file, ""))


MODEL = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}
# Fields that are more than numbers, each with every pattern as its value.
FIELDS = {
    "config.json": "model_type id2label label2id pruned_heads architectures hidden_act torch_dtype",
    "generation_config.json": "eos_token_id bad_words_ids suppress_tokens sequence_bias",
    "tokenizer_config.json": (
        "added_tokens_decoder additional_special_tokens chat_template unk_token model_max_length"
    ),
    "tokenizer.json": "added_tokens normalizer model post_processor decoder",
}
OF_FIELDS = (
    "deep and wide", "many keys", "keys of one hash", "numbers of one hash", "many objects",
    "long string", "long integers", "infinite", "a list", "odd values",
)  # fmt: skip


def fields() -> Iterator[Attack]:
    """The values of single fields."""
    for file, names in FIELDS.items():
        for name in names.split():
            for pattern in OF_FIELDS:
                rest = {"model": MODEL} if file == "tokenizer.json" else {}

                def raw(
                    n: int, rest: dict = rest, name: str = name, text: Callable = PATTERNS[pattern]
                ) -> bytes:
                    return json.dumps({**rest, name: "?"}).replace('"?"', text(n), 1).encode()

                yield attack(
                    file, f"{name}: {pattern}", raw, 5_000, name if file == "config.json" else file
                )


def header(pattern: str, text: Callable[[int], str], place: str) -> Attack:
    """A header of safetensors: all of it, its metadata, or the shape of a tensor."""

    def make(n: int, folder: Path) -> Read:
        raw = place.replace("?", text(n)).encode("utf-8", "surrogatepass")
        path = folder / "model.safetensors"
        path.write_bytes(len(raw).to_bytes(8, "little") + raw)
        return lambda: open_checkpoint(path).close()

    return Attack(f"header {place}: {pattern}", make, 10_000, "model.safetensors")


def headers() -> Iterator[Attack]:
    """Headers of safetensors."""
    for pattern, text in PATTERNS.items():
        yield header(pattern, text, "?")
        if pattern in OF_FIELDS:
            yield header(pattern, text, '{"__metadata__": ?}')
            yield header(
                pattern, text, '{"a": {"dtype": "F32", "shape": ?, "data_offsets": [0, 0]}}'
            )
            yield header(pattern, text, '{"a": {"dtype": ?, "shape": [], "data_offsets": ?}}')


def references() -> Iterator[Attack]:
    """The file of a cache that names a commit."""
    for name, text in (("long", "a" * 10**6), ("path", "../../.."), ("binary", "\xff"), ("", "")):

        def make(n: int, folder: Path, text: str = text) -> Read:
            os.environ["HF_HUB_CACHE"] = str(folder)
            (folder / "models--a/refs").mkdir(parents=True)
            (folder / "models--a/refs/main").write_bytes(text.encode("latin-1"))
            return lambda: cached_folder("a", "main")

        yield Attack(f"refs/main {name}", make)


def auto() -> Iterator[Attack]:
    """The class of a tokenizer is chosen by two files."""
    for pattern in OF_FIELDS:
        for file, key in (
            ("tokenizer_config.json", "tokenizer_class"),
            ("config.json", "model_type"),
        ):

            def make(
                n: int, folder: Path, p: str = pattern, file: str = file, key: str = key
            ) -> Read:
                small_model(folder)
                (folder / file).write_text(f'{{"{key}": {PATTERNS[p](n)}}}')
                return lambda: AutoTokenizer.from_pretrained(folder)

            yield Attack(f"auto {key}: {pattern}", make, 2_000, file)
