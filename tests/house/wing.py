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

# In the order of reading: from the numbers up to the models, then the text and the files. For each
# part, what it is, and its first files; the others follow by name.
PARTS = {
    "backend": ("arrays and devices, and how a kernel is chosen", "device cpu kernels"),
    "autograd": (
        "the tensor, the graph of operations, and the walk backwards",
        "tensor function engine modes",
    ),
    "ops": (
        "every operation: its derivation, forward and backward, and its kernels",
        "addition matmul linear gelu softmax layer_norm attention embedding dropout cross_entropy",
    ),
    "nn": ("modules and layers", "module layers attention init"),
    "models": (
        "BERT, MegatronBERT and Nemotron: layers, heads, losses, loading and saving",
        "bert attention stack call arguments masks heads/with_head heads/words bert_heads losses "
        "base config loading megatron_bert",
    ),
    "text": ("from text to tokens: WordPiece and byte pairs", "basic wordpiece byte_level bpe"),
    "weights": ("safetensors files, read and written", "header safetensors folder"),
}
# What a first reading can leave out, with the folders and files that belong to it.
LATER = {
    "MEGA and the moving average": (
        "models/mega/ nn/ema.py ops/ema.py ops/convolution.py ops/fourier.py ops/power_sums.py "
        "ops/laplace.py ops/silu.py ops/batch_norm.py"
    ),
    "CUDA": "backend/cuda/",
    "operations that BERT and Nemotron do not use": (
        "ops/cumsum.py ops/einsum.py ops/extremes.py ops/kl_div.py ops/nll_loss.py ops/one_hot.py "
        "ops/roll.py ops/sign.py ops/triangle.py ops/variance.py"
    ),
    "checking gradients, and modes on generators": "autograd/gradcheck.py autograd/resumed.py",
    "changing, pairing and choosing models": (
        "models/surgery.py models/encoder_decoder.py models/auto.py models/families.py"
    ),
    "models larger than the memory": "models/low_memory.py models/memory.py nn/stored.py",
    "gradient checkpointing": "models/recompute.py",
    "low-rank adapters": "models/lora.py nn/low_rank.py",
    "packed batches, without padding": "nn/packing.py ops/packing.py",
    "arguments and files of other programs": (
        "models/foreign_options.py weights/quantized.py weights/int8.py"
    ),
    "learning a vocabulary": "text/train_bpe.py text/train_wordpiece.py text/pair_counts.py",
    "Unicode and Unigram, for `BertTokenizerFast` and `tokenizer.json`": (
        "text/unigram.py text/rust_unicode.py text/unicode_forms.py text/bert_normalizer.py "
        "text/aligned_text.py text/token_matcher.py text/detokenize.py text/combining_marks.py"
    ),
    "weights in several files": "weights/sharded.py",
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
    """Return the files of a part in the order of reading, without front pages and `LATER`."""
    later = " ".join(LATER.values()).split()
    first = [ROOT / part / f"{name}.py" for name in PARTS[part][1].split()]
    found = [
        path
        for path in sorted((ROOT / part).rglob("*.py"))
        if path.name != "__init__.py"
        and not any(path.relative_to(ROOT).as_posix().startswith(prefix) for prefix in later)
    ]
    return [*first, *(path for path in found if path not in first)]


def size() -> int:
    """Return the code lines of the whole wing."""
    return sum(code_lines(path) for part in PARTS for path in files(part))


def later_size(paths: str) -> int:
    """Return the code lines of one member of `LATER`."""
    found = [path for name in paths.split() for path in _python_files(ROOT / name)]
    return sum(map(code_lines, found))


def _python_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def summary(path: Path) -> str:
    """Return the first sentence of a file's docstring on one line."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    text = " ".join(docstring.split("\n\n")[0].split())
    sentence, dot, _ = text.partition(". ")
    return sentence + dot.strip()


def section() -> str:
    """Return the section of the README, between its two markers."""
    count = sum(len(files(part)) for part in PARTS)
    rest = {name: later_size(paths) for name, paths in LATER.items()}
    lines = [
        START,
        "",
        f"The weekend wing has {size():,} lines of code in {count} files, without docstrings, "
        f"comments and blank lines. The same folders hold {sum(rest.values()):,} more that a first "
        "reading can leave out: "
        + "; ".join(f"{name} ({number:,})" for name, number in rest.items())
        + ".",
        "",
        "<details><summary>The files in the order of reading</summary>",
    ]
    for part, (what, _) in PARTS.items():
        found = files(part)
        code = sum(map(code_lines, found))
        lines += ["", f"**[`{part}/`](tinybert/{part})**, {code:,} lines: {what}.", ""]
        for path in found:
            name = path.relative_to(ROOT / part).as_posix()
            lines.append(f"- [`{name}`](tinybert/{part}/{name}): {summary(path)}")
    return "\n".join([*lines, "", "</details>", "", END])


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
