"""`tinybert tutorials build`: the site of lessons, exercises, commands and the API."""

from __future__ import annotations

import html
from pathlib import Path

import tinybert
from tinybert.cli.command import optional
from tinybert.cli.registry import COMMANDS, load_command

START = """\
# tinybert

A deep-learning engine small enough to read that runs pretrained BERT checkpoints. Every layer is
written from scratch on NumPy: what you read in these pages is what runs.

Three roads lead through it:

1. **Build the engine**: [sixty exercises](exercises.html), one function each, checked by known
   mistakes. `tinybert exercises start` begins.
2. **Run pretrained models**: [the commands](commands.html). `tinybert similarity` and
   `tinybert fill-mask` need no download.
3. **Read the maths**: [the lessons](lessons.html), one idea each, in code whose results are shown;
   `tinybert step "The cat sat."` steps through a model, forwards and backwards.

The [API reference](api/tinybert.html) lists every public name.
"""


def build(folder: Path) -> int:
    """Write the site into a folder, and return the number of its pages.

    Raises:
        ImportError: a library of the extra `site` is missing.
        ValueError: the folder holds something else, or a lesson stops with an error.
    """
    for module in ("markdown_it", "pygments", "pdoc"):
        optional(module, "site", "the site")
    from tinybert.learn.site.models import model_pages
    from tinybert.learn.site.pages import Page, clear, markdown, write_api, write_index, write_site

    clear(folder)
    changes, contributing = _document("CHANGELOG.md"), _document("CONTRIBUTING.md")
    own = [
        Page("index.html", "tinybert", markdown(START), START),
        Page("commands.html", "Commands", *_commands()),
        *model_pages(),
        Page("changelog.html", "Changelog", markdown(changes), changes),
        Page("contributing.html", "Contributing", markdown(contributing), contributing),
    ]
    pages = write_site(folder, own)
    entries = [{"title": p.title, "path": p.path, "text": p.text} for p in pages]
    write_index(folder, entries + write_api(folder, tinybert))
    return len(pages)


def _document(name: str) -> str:
    """Return a document of the checkout, or its copy inside of an installed package."""
    package = Path(tinybert.__file__).parent
    copy = package / name
    path = copy if copy.is_file() else package.parent / name
    return path.read_text(encoding="utf-8")


def _commands() -> tuple[str, str]:
    """The body of the page of all commands, and its text for the search."""
    parts, texts = ["<h1>Commands</h1>"], []
    for name, summary in COMMANDS.items():
        command = load_command(name)
        parts.append(
            f'<h2 id="{name}">tinybert {name}</h2><p>{html.escape(summary)}.</p>'
            f'<pre class="output">{html.escape(command.details)}</pre>'
            f'<pre class="output">{html.escape(command.example)}</pre>'
        )
        texts += [name, summary, command.details]
    return "\n".join(parts), " ".join(texts)
