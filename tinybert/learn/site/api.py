"""The API pages: the docstrings by pdoc, which reads them as they are, in the frame of the site."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from tinybert.learn.site.page import Page

MODULES = ("functional", "nn", "optim", "training", "trace", "search", "weights")


def api_pages() -> Iterator[tuple[Page, list[dict[str, str]]]]:
    """Yield the page of each public module, with an entry of the search for each public name."""
    import pdoc

    pdoc.render.configure(
        docformat="google",
        search=False,
        show_source=False,
        template_directory=Path(__file__).with_name("templates"),
    )
    names = ["tinybert", *(f"tinybert.{module}" for module in MODULES)]
    with warnings.catch_warnings():
        # It shows annotations that only type checkers can resolve as they are written, and warns.
        warnings.simplefilter("ignore", UserWarning)
        modules = {name: pdoc.doc.Module(_with_all(import_module(name))) for name in names}
        for name, module in modules.items():
            body = pdoc.render.html_module(module, modules)
            path = f"api/{name.replace('.', '/')}.html"
            yield Page(path, f"{name}: API", body, module.docstring), list(_entries(module, path))


def _with_all(module: ModuleType) -> ModuleType:
    """Return the module, or a copy with `__all__` if it has none: pdoc leaves out what is imported.

    That of `tinybert.functional`, whose content is its list of imports, would be empty.
    """
    if hasattr(module, "__all__"):
        return module
    copy = ModuleType(module.__name__)
    names = [name for name, value in vars(module).items() if callable(value)]
    vars(copy).update(vars(module), __all__=names)
    return copy


def _entries(module: Any, path: str) -> Iterator[dict[str, str]]:
    prefix = f"{module.modulename}.".removeprefix("tinybert.")
    for member in module.members.values():
        if member.kind in ("class", "function") and not member.name.startswith("_"):
            text = member.docstring.strip().partition("\n")[0]
            yield {
                "title": prefix + member.name,
                "path": f"{path}#{member.qualname}",
                "text": text,
            }


def api_styles() -> str:
    """Return pdoc's CSS for what is inside of its pages; colours and layout are the site's."""
    import pdoc

    return str(pdoc.render.env.get_template("content.css").render())
