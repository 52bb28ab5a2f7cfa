"""A page of the site: Markdown, code and output as HTML, in the frame that all pages share.

Markdown is rendered by markdown-it-py, code by Pygments. Formulas are written in Unicode and need
nothing. To add a page, make a `Page`, and give it a line in `NAVIGATION` if the menu is to show it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tinybert.display import visible

NAVIGATION = {
    "index.html": "Start",
    "lessons.html": "Lessons",
    "exercises.html": "Exercises",
    "demos.html": "Demos",
    "recipes.html": "Recipes",
    "commands.html": "Commands",
    "models.html": "Models",
    "museum.html": "Museum",
    "api/tinybert.html": "API",
    "changelog.html": "Changelog",
    "contributing.html": "Contributing",
}


@dataclass(frozen=True)
class Page:
    """A page of the site.

    Attributes:
        path: relative to the site, with `/`.
        title: plain text.
        body: HTML.
        text: what the search looks through.
    """

    path: str
    title: str
    body: str
    text: str


def markdown_page(path: str, title: str, text: str) -> Page:
    """Return a page of Markdown."""
    return Page(path, title, markdown(text), text)


@cache
def _parser() -> Any:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("fence", _fence)
    return parser


def markdown(text: str) -> str:
    """Return Markdown as HTML; HTML inside of it is shown, not obeyed.

    A fenced block is highlighted, and the name of a file after its language is shown above it.
    """
    return str(_parser().render(text))


def plain(text: str) -> str:
    """Return Markdown without its marks, for the search: its words in one line."""
    text = re.sub(r"\[([^\]\n]*)\]\([^)\s]*\)", r"\1", text)  # a link
    text = re.sub(r"\*\*(\S[^*\n]*)\*\*", r"\1", text)
    return " ".join(re.sub(r"`|^#+ |^\|[-|]+$", "", text, flags=re.MULTILINE).split())


def _fence(renderer: Any, tokens: Sequence[Any], index: int, options: Any, env: Any) -> str:
    language, _, name = tokens[index].info.strip().partition(" ")
    caption = f'<div class="file">{html.escape(name)}</div>' if "." in name else ""
    return caption + code(tokens[index].content, language or "text")


def code(source: str, language: str = "python") -> str:
    """Return highlighted source text."""
    from pygments import highlight
    from pygments.lexers import get_lexer_by_name

    return str(highlight(source, get_lexer_by_name(language), _formatter("default")))


def _formatter(style: str) -> Any:
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(cssclass="code", style=style)


def code_styles() -> str:
    """Return the CSS of highlighted code, for a light and a dark screen."""
    places = [".code", ".pdoc-code"]
    light, dark = (_formatter(s).get_style_defs(places) for s in ("default", "github-dark"))
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def printed(text: str) -> str:
    """Return the output of a program."""
    return f'<pre class="output">{html.escape(visible(text.rstrip(), lines=True))}</pre>'


def render(page: Page) -> str:
    """Return the whole HTML of a page."""
    root = "../" * page.path.count("/")
    links = "".join(
        f'<a href="{root}{path}"{_current(page, path)}>{name}</a>'
        for path, name in NAVIGATION.items()
    )
    return f"""<!doctype html>
<html lang="en" data-root="{root}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(page.title)} - tinybert</title>
<link rel="stylesheet" href="{root}code.css">
<link rel="stylesheet" href="{root}site.css">
<script src="{root}search.js" defer></script>
<script src="{root}site.js" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to the text</a>
<header><nav aria-label="Pages">{links}</nav>
<form role="search" action="#"><label>Search <input type="search" id="search" autocomplete="off">
</label></form></header>
<div id="results" role="region" aria-live="polite" aria-label="Search results" hidden></div>
<main id="main">
{page.body}
</main>
</body>
</html>
"""


def _current(page: Page, path: str) -> str:
    """Return the mark of the menu's entry for a page, or for the pages beneath it."""
    if page.path == path:
        return ' aria-current="page"'
    return ' aria-current="true"' * page.path.startswith(path.removesuffix(".html") + "/")
