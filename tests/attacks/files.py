"""Special files in place of every file that is read, and hostile text files."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import tinybert as tb
from tests.attacks.harness import Attack, Read
from tests.attacks.jsons import READERS, prepared, small_model
from tinybert.tokenizers import BertTokenizer, MegaTokenizer, TokenizerJSON
from tinybert.weights import load_checkpoint

WEIGHTS = (
    "model.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack",
    "model_weights.ckpt", "model_optim_rng.pt", "bert_model.ckpt.index",
)  # fmt: skip


def _socket(path: Path) -> None:
    """Make a socket; its path is relative, because it must be short."""
    os.chdir(path.parent)
    socket.socket(socket.AF_UNIX).bind(path.name)


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "socket": _socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to a pipe": lambda path: (os.mkfifo(f"{path}.pipe"), path.symlink_to(f"{path}.pipe")),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
}
OTHERS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys(WEIGHTS, load_checkpoint),
    "vocab.txt": BertTokenizer.from_pretrained,
    "merges.txt": MegaTokenizer.from_pretrained,
    "chat_template.jinja": TokenizerJSON.from_pretrained,
}


def special() -> Iterator[Attack]:
    """Each kind of special file in place of each file."""
    for file, read in {**READERS, **OTHERS}.items():
        for kind, create in KINDS.items():

            def make(
                n: int,
                folder: Path,
                file: str = file,
                create: Callable = create,
                read: Callable = read,
            ) -> Read:
                folder = prepared(file, folder)
                if file in WEIGHTS:
                    (folder / "model.safetensors").unlink(missing_ok=True)
                if file == "merges.txt":
                    (folder / "vocab.json").write_text('{"a": 0}')
                path = folder / file.partition(" ")[0]
                path.unlink(missing_ok=True)
                create(path)
                return lambda: read(folder)

            yield Attack(f"{file}: {kind}", make, memory=64 << 20)


def missing_parts() -> Iterator[Attack]:
    """A special file as a shard that an index names."""
    for index, shard in (
        ("model.safetensors.index.json", "a.safetensors"),
        ("pytorch_model.bin.index.json", "a.bin"),
        ("tf_model.h5.index.json", "a.h5"),
    ):
        for kind, create in KINDS.items():

            def make(
                n: int,
                folder: Path,
                index: str = index,
                shard: str = shard,
                create: Callable = create,
            ) -> Read:
                (folder / index).write_text(f'{{"weight_map": {{"w/a/b": "{shard}"}}}}')
                create(folder / shard)
                return lambda: load_checkpoint(folder)

            yield Attack(f"{index} {shard}: {kind}", make, named=shard)


TEXTS: dict[str, Callable[[int], bytes]] = {
    "one line": lambda n: b"a" * n,
    "empty lines": lambda n: b"\n" * n,
    "one token": lambda n: b"[UNK]\n" * n,
    "carriage returns": lambda n: b"a\r" * n,
    "line separators": lambda n: "a\u2028\x85".encode() * n,
    "zero bytes": lambda n: b"\0" * n,
    "no UTF-8": lambda n: b"a\n\xff" * n,
    "many tokens": lambda n: b"".join(b"%d\n" % i for i in range(n)),
    "tokens with one beginning": lambda n: b"".join(
        b"a" * (i % 400) + b"\n" for i in range(n // 50)
    ),
    "spaces": lambda n: b" " * n + b"\n" + b"\t" * n,
    "byte order marks": lambda n: "\ufeff".encode() * n,
    "controls": lambda n: b"\x1b[2J\n" * n,
    "pairs": lambda n: b"".join(b"a a\n" for _ in range(n)),
    "long pairs": lambda n: b"x" * n + b" " + b"y" * n,
}
TEXT_READERS: dict[str, Callable[[Path], object]] = {
    "vocab.txt": BertTokenizer.from_pretrained,
    "merges.txt": MegaTokenizer.from_pretrained,
}


def texts() -> Iterator[Attack]:
    """Hostile vocabularies and merges."""
    for file, read in TEXT_READERS.items():
        for name, raw in TEXTS.items():

            def make(
                n: int, folder: Path, file: str = file, raw: Callable = raw, read: Callable = read
            ) -> Read:
                small_model(folder)
                if file == "merges.txt":
                    (folder / "vocab.txt").unlink()
                    (folder / "tokenizer.json").unlink(missing_ok=True)
                    (folder / "vocab.json").write_text('{"a": 0, "aa": 1}')
                (folder / file).write_bytes(raw(n))
                return lambda: read(folder)

            yield Attack(f"{file}: {name}", make, 20_000)


def reports() -> Iterator[Attack]:
    """Names in a file that the model does not have: the report of loading stays short."""
    import numpy as np

    from tinybert.weights import save_file

    kinds: dict[str, Callable[[int, int], str]] = {
        "short": lambda i, n: f"n{i}",
        "similar": lambda i, n: f"encoder.layer.0.attention.self.query.weigh{i}",
        "long": lambda i, n: f"{'x' * 500}{i}",
    }
    for kind, name in kinds.items():

        def make(n: int, folder: Path, name: Callable = name) -> Read:
            small_model(folder)
            tensors = {name(i, n): np.zeros(1, np.float32) for i in range(n)}
            save_file(tensors, folder / "model.safetensors", {"format": "pt"})
            load = functools.partial(tb.BertModel.from_pretrained, ignore_missing_keys=True)
            return lambda: str(load(folder, output_loading_info=True)[1])

        yield Attack(f"report: {kind} names", make, 1_000)


__all__ = ["missing_parts", "reports", "special", "texts"]
