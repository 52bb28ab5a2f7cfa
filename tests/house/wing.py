"""The weekend wing: the part of the package that a reader needs to understand how text becomes a
prediction and a trained weight, in the order in which to read it.

python -m tests.house.wing prints its section of the README; with --write it is replaced there.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from pathlib import Path

import tinybert

ROOT = Path(tinybert.__file__).parent
README = ROOT.parent / "README.md"
START, END = "<!-- wing -->", "<!-- /wing -->"

# In the order of reading: from the numbers up to the models, then the text and the files.
PARTS = {
    "backend": "arrays and devices, and the machinery of fast kernels",
    "autograd": "the tensor, the graph of operations, and the walk backwards",
    "ops": "every operation: forward, backward, and the derivation between them",
    "nn": "modules and layers",
    "models": "the four families, their heads and losses, how they are loaded and saved",
    "text": "from text to tokens: WordPiece, byte pairs, Unigram",
    "weights": "safetensors files, read and written",
}
_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip


def code_lines(path: Path) -> int:
    """Count the lines of a file that hold code: no docstrings, no comments, no blank lines."""
    source = path.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            first = node.body[0]
            docstrings |= {*range(first.lineno, (first.end_lineno or first.lineno) + 1)}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines |= {*range(token.start[0], token.end[0] + 1)}
    return len(lines - docstrings)


def files(part: str) -> list[Path]:
    """Return the files of a part that define something: no front pages."""
    found = sorted((ROOT / part).rglob("*.py"))
    return [path for path in found if path.name != "__init__.py"]


def size() -> int:
    """Return the code lines of the whole wing."""
    return sum(code_lines(path) for part in PARTS for path in files(part))


def summary(path: Path) -> str:
    """Return the first sentence of a file's docstring on one line."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    text = " ".join(docstring.split("\n\n")[0].split())
    sentence, dot, _ = text.partition(". ")
    return sentence + dot.strip()


def section() -> str:
    """Return the section of the README, between its two markers."""
    lines = [START, ""]
    total = size()
    count = sum(len(files(part)) for part in PARTS)
    lines.append(
        f"The weekend wing has {total:,} lines of code in {count} files (without docstrings, "
        "comments and blank lines). Read it in this order:"
    )
    for part, what in PARTS.items():
        found = files(part)
        code = sum(map(code_lines, found))
        lines += ["", f"**[`{part}/`](tinybert/{part})**, {code:,} lines: {what}.", ""]
        for path in found:
            name = path.relative_to(ROOT / part).as_posix()
            lines.append(f"- [`{name}`](tinybert/{part}/{name}): {summary(path)}")
    return "\n".join([*lines, "", END])


def write() -> None:
    """Replace the section of the README."""
    text = README.read_text("utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    README.write_text(before + section() + after, "utf-8")


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
    else:
        print(section())
