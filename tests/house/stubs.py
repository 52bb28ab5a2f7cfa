"""Type stubs of the front pages: what type checkers and editors know of `tinybert.X`.

A type checker treats an imported name as private, unless the import repeats it (`import X as X`) or
a literal `__all__` lists it. The stubs repeat the names.

python -m tests.house.stubs --write
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import tinybert
from tinybert import torch_names

ROOT = Path(tinybert.__file__).parent
PACKAGES = "tinybert", "tinybert.functional", "tinybert.torch_names"
HEADER = "# Written by python -m tests.house.stubs --write\n"
GETATTR = (
    "from typing import Any\n\n\ndef __getattr__(name: str) -> Any: ...  # classes of frontends\n"
)


def path(package: str) -> Path:
    """Return the file of a stub."""
    return ROOT.joinpath(*package.split(".")[1:], "__init__.pyi")


def stub(package: str) -> str:
    """Return the stub of a package's front page."""
    tree = ast.parse(path(package).with_suffix(".py").read_text("utf-8"))
    lines = dict(_names(tree.body))
    if package == "tinybert":  # torch's names replace others
        lines = {name: line for name, line in lines.items() if name not in torch_names.__all__}
    has_getattr = any(isinstance(n, ast.FunctionDef) and n.name == "__getattr__" for n in tree.body)
    return HEADER + "\n".join(lines.values()) + "\n" + GETATTR * has_getattr


def _names(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Yield each public name that a module imports or assigns, and its line of the stub."""
    for node in body:
        if isinstance(node, ast.If):  # for type checkers
            yield from _names(node.body)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name, start = alias.asname or alias.name, f"from {node.module} import "
                if name == "*":
                    yield start + name, start + name
                elif name[0] != "_":
                    same = f"{start}{alias.name} as {name}"
                    other = f"{start}{alias.name} as _{name}\n{name} = _{name}"
                    yield name, same if alias.name == name else other
        elif isinstance(node, ast.Assign):
            (target,) = node.targets
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = [*zip(target.elts, node.value.elts, strict=True)]
            for left, right in pairs:
                name = ast.unparse(left)
                if name == "__version__":
                    yield name, f"{name}: str"
                elif name.isidentifier() and name[0] != "_":
                    yield name, f"{name} = {ast.unparse(right)}"


if __name__ == "__main__":
    for package in PACKAGES:
        if "--write" in sys.argv:
            path(package).write_text(stub(package), "utf-8")
        else:
            print(stub(package))
