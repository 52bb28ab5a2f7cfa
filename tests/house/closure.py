"""Count the modules that a reader of one module has to know of: the closure of its imports.

python -m tests.house.closure tinybert.models.bert
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path


def count(module: str) -> set[str]:
    """Return the modules of the same package that `module` imports, directly or indirectly.

    Import statements count at any depth of nesting, those for type checkers alone do not. A
    package's front page (`__init__.py`) is not counted and not followed: a name that is imported
    from it counts as the module which defines the name.
    """
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += _imported(name)
    return found - {module}


@functools.cache
def _imported(module: str) -> frozenset[str]:
    """The modules that one file imports, names of front pages resolved."""
    package = module.partition(".")[0]
    path = _path(module)
    assert path is not None, f"there is no module {module}"
    targets: set[str | None] = set()
    for source, name in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        if source.partition(".")[0] == package:
            targets.add(_home(source, name))
    return frozenset(target for target in targets if target is not None)


def _imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """(module, name) for each name that is imported from a module; None for the module itself."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        return
    if isinstance(tree, ast.Import):
        yield from ((alias.name, None) for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom) and tree.module:
        yield from ((tree.module, alias.name) for alias in tree.names)
    for child in ast.iter_child_nodes(tree):
        yield from _imports(child)


def _home(module: str, name: str | None) -> str | None:
    """The module that defines `name` of `module`; None for a front page without it."""
    if name is not None and _path(f"{module}.{name}") is not None:
        return _home(f"{module}.{name}", None)
    path = _path(module)
    if path is None or path.name != "__init__.py":
        return module
    if name is None:
        return None
    for source, imported in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        if imported == name and source.startswith(f"{module}."):
            return _home(source, name)
    return None


@functools.cache
def _path(module: str) -> Path | None:
    """The file of a module, found without importing it; None if there is none."""
    package, *parts = module.split(".")
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"there is no package {package}"
    assert spec.origin is not None
    base = Path(spec.origin).parent.joinpath(*parts)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file() and (parts or path.name == "__init__.py"):
            return path
    return None


if __name__ == "__main__":
    for name in sys.argv[1:]:
        modules = sorted(count(name))
        print("\n".join(modules))
        print(f"{name}: {len(modules)} modules")
