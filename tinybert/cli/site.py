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

```console
$ tinybert similarity "A man eats food." "Someone is having lunch." "The sky is blue."
       1     2     3
 1  1.00  0.55  0.01
 2  0.55  1.00  0.13
 3  0.01  0.13  1.00

 1  A man eats food.
 2  Someone is having lunch.
 3  The sky is blue.
```

Choose by what you want:

1. **Build the engine**: [63 exercises](exercises.html), one function each, checked by known
   mistakes. `tinybert exercises start` begins.
2. **Run pretrained models**: [recipes](recipes.html) by what you want to do, [demos](demos.html),
   and all [commands](commands.html).
3. **Understand the maths**: [the lessons](lessons.html), one idea each, in code whose results are
   shown; `tinybert step "The cat sat."` steps through a model, forwards and backwards.
4. **Look something up**: the [API reference](api/tinybert.html) has every public name, the search
   above finds it, and the [museum of bugs](museum.html) shows what goes wrong silently.
"""


def build(folder: Path) -> int:
    """Write the site into a folder, and return the number of its pages.

    Raises:
        ImportError: a library of the extra `site` is missing.
        ValueError: the folder holds something else, or a lesson stops with an error.
    """
    for module in ("markdown_it", "pygments", "pdoc"):
        optional(module, "site", "the site")
    from tinybert.learn.site.api import api_pages
    from tinybert.learn.site.models import model_pages
    from tinybert.learn.site.page import Page, markdown_page, plain
    from tinybert.learn.site.pages import clear, write_index, write_site

    clear(folder)
    api = [*api_pages()]
    own = [
        markdown_page("index.html", "tinybert", START),
        Page("commands.html", "Commands", *_commands()),
        *model_pages(),
        markdown_page("changelog.html", "Changelog", _document("CHANGELOG.md")),
        markdown_page("contributing.html", "Contributing", _document("CONTRIBUTING.md")),
        *(page for page, _ in api),
    ]
    pages = write_site(folder, own)
    entries = [{"title": p.title, "path": p.path, "text": plain(p.text)} for p in pages]
    write_index(folder, entries + [entry for _, names in api for entry in names])
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
