"""The formulas of an operation, forwards and backwards, as its docstring states them.

Every docstring of an operation begins with what y is, and says what dx is (see `ops/softmax.py`).
They are read from there, so that a formula stands in one place. An operation of one's own can do
the same, or have the attributes `formula` and `backward_formula`.
"""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Any, NamedTuple

from tinybert.autograd import Function
from tinybert.optim import Optimizer

# "dx = ...", "dx_t = ...", "dweight[v] = ...", "dlogits_j = ..."; a gradient has a d before a name.
_GRADIENT = re.compile(r"\bd[a-zA-Z]\w*(?:\[.*?\])* (?:=|\+=|is) ")
_WORDS = re.compile(r"\b(dx|gradient|gradients|Backward|backward)\b")
_SENTENCE = re.compile(r"(?<=[.:;])\s+(?=[A-Zd])|\s{3,}")


class Formulas(NamedTuple):
    """What an operation computes, and its gradients, as text; "" if it does not say it."""

    forward: str
    backward: str


@cache
def formulas(kind: type) -> Formulas:
    """Return the formulas of an operation, a subclass of `Function`."""
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    found = Formulas(_forward(paragraphs), _backward(paragraphs))
    return Formulas(
        getattr(kind, "formula", found.forward), getattr(kind, "backward_formula", found.backward)
    )


def operation_named(name: str) -> type | None:
    """Return the operation whose class has a name, one of the package if there are several; None
    if there is none in this process.
    """
    pending: list[type] = [Function]
    found: list[type] = []
    while pending:
        kind = pending.pop()
        if kind.__name__ == name:
            found.append(kind)
        pending += kind.__subclasses__()
    own = [kind for kind in found if kind.__module__.startswith("tinybert.")]
    return next(iter(own or found), None)


@cache
def input_names(kind: Any, count: int) -> tuple[str, ...]:
    """Return what the forward of an operation calls its inputs."""
    names: list[str] = []
    for parameter in list(inspect.signature(kind.forward).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = count - len(names)
            single = parameter.name.removesuffix("s")
            names += [f"{single}{i}" for i in range(rest)] if rest > 1 else [single] * rest
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            names.append(parameter.name)
    return tuple(names[:count])


def update_formula(operation: str) -> str:
    """Return the lines of an optimizer's docstring that assign: "w <- w - lr * g"."""
    kinds = [Optimizer]
    for kind in kinds:
        if kind.__name__ == operation:
            lines = inspect.cleandoc(kind.__doc__ or "").splitlines()
            return "\n".join(" ".join(line.split()) for line in lines if " <- " in line)
        kinds += kind.__subclasses__()
    return ""


def _forward(paragraphs: list[str]) -> str:
    first = re.sub(r"\s+", " ", paragraphs[0])
    block = paragraphs[1] if len(paragraphs) > 1 else ""
    if block.startswith("    "):
        return "\n".join(" ".join(line.split("  ")).strip() for line in block.splitlines())
    sentences = re.split(r"(?<=[^.]\.)\s+(?=[A-Zd])", first)
    return sentences[0].rstrip(".")


def _backward(paragraphs: list[str]) -> str:
    """Return all statements of the form "dx = ...", else all that speak of gradients."""
    pieces = []
    for paragraph in paragraphs:
        lines = paragraph.splitlines() if paragraph.startswith("    ") else [
            re.sub(r"\n\s*", " ", paragraph)
        ]  # fmt: skip
        pieces += [piece.strip(" .,") for line in lines for piece in _SENTENCE.split(line)]
    exact = [piece for piece in pieces if _GRADIENT.search(piece)]
    return "\n".join(exact or [piece for piece in pieces if _WORDS.search(piece)])
