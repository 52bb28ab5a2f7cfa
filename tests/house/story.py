"""The story that the package tells, and how much of what it opens a reader needs.

The story: load a tokenizer and a model, turn texts into ids, compute the masked-LM loss, its
gradients, and one step of AdamW, and save the model. A file is opened if one of its functions runs.
The density of the story is the share of the opened files' lines that are in functions that ran.

python -m tests.house.story prints the figures and every file.
"""

from __future__ import annotations

import ast
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import tinybert
from tinybert.optim import AdamW

ROOT = Path(tinybert.__file__).parent
TOKENS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("the", "sky", "is", "blue", ".", "un", "##bel", "##ie", "##va", "##bly"),
]


class OpenedFile(NamedTuple):
    """A file of which at least one function ran.

    Attributes:
        lines: of the file. inside: those inside functions. used: those inside functions that ran.
        functions: how many ran.
    """

    path: str
    lines: int
    inside: int
    used: int
    functions: int


def prepare(folder: Path) -> None:
    """Write a small BERT with a vocabulary into a folder."""
    config = tinybert.BertConfig(
        vocab_size=len(TOKENS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )  # fmt: skip
    tinybert.BertForMaskedLM(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")


def tell(folder: Path, target: Path) -> None:
    """From text to a trained weight: what the figures are about."""
    tokenizer = tinybert.BertTokenizer.from_pretrained(folder)
    model = tinybert.BertForMaskedLM.from_pretrained(folder)
    model.train()
    texts = ["The sky is [MASK].", "Unbelievably blue"]
    inputs = tokenizer(texts, padding=True, return_tensors="tb")
    optimizer = AdamW(model.parameters(), lr=1e-3)
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    optimizer.step()
    model.save_pretrained(target)


def opened_files() -> list[OpenedFile]:
    """Tell the story and return the files that it opens."""
    ran: dict[str, set[int]] = defaultdict(set)

    def note(frame: Any, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT)):
            ran[code.co_filename].add(code.co_firstlineno)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder / "model")
        dir(tinybert)  # imports everything: that is not part of the story
        before = sys.getprofile()
        threading.setprofile(note)
        sys.setprofile(note)
        try:
            tell(folder / "model", folder / "trained")
        finally:
            sys.setprofile(before)
            threading.setprofile(None)
    files = (_opened(Path(path), lines) for path, lines in ran.items())
    return sorted((file for file in files if file.functions), key=lambda file: file.path)


def _opened(path: Path, ran: set[int]) -> OpenedFile:
    """Count the lines of one file, `ran` the first lines of what ran."""
    text = path.read_text(encoding="utf-8")
    inside: set[int] = set()
    used: set[int] = set()
    functions = 0
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            own = {*range(first, (node.end_lineno or first) + 1)}
            inside |= own
            if ran & {first, node.lineno}:
                used |= own
                functions += 1
    name = path.relative_to(ROOT).as_posix()
    return OpenedFile(name, len(text.splitlines()), len(inside), len(used), functions)


if __name__ == "__main__":
    opened = opened_files()
    for file in sorted(opened, key=lambda file: file.used - file.lines):
        print(f"{file.used:5} of {file.lines:5} lines  {file.path}")
    lines, used = (sum(column) for column in zip(*((f.lines, f.used) for f in opened), strict=True))
    print(f"density {used / lines:.1%}: {used} of {lines} lines in {len(opened)} files")
