"""The pages of the site, and its search.

Markdown is rendered by markdown-it-py, code by Pygments, the API by pdoc: it reads the docstrings
as they are, and its pages work without a network. Formulas are written in Unicode and need nothing.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

from tinybert.display import visible
from tinybert.learn.catalogue import CHAPTERS, task_of
from tinybert.learn.lessons import Lesson, lessons
from tinybert.learn.museum.bugs import rooms
from tinybert.learn.museum.excerpt import excerpt
from tinybert.learn.site.execution import outputs_of
from tinybert.progress import progress_bar

NAVIGATION = {
    "index.html": "Start",
    "lessons.html": "Lessons",
    "exercises.html": "Exercises",
    "commands.html": "Commands",
    "models.html": "Models",
    "museum.html": "Museum",
    "api/tinybert.html": "API",
    "changelog.html": "Changelog",
    "contributing.html": "Contributing",
}
_SIDES = {"right": "right |", "wrong": "wrong |", "": "      |"}
_FILES = resources.files("tinybert.learn.site")


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


def markdown(text: str) -> str:
    """Return Markdown as HTML; HTML inside of it is shown, not obeyed."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    return str(parser.render(text))


def code(source: str, language: str = "python") -> str:
    """Return highlighted source text."""
    from pygments import highlight
    from pygments.lexers import get_lexer_by_name

    return str(highlight(source, get_lexer_by_name(language), _formatter("default")))


def _formatter(style: str) -> Any:
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(cssclass="code", style=style)


def printed(text: str) -> str:
    """Return the output of a program."""
    return f'<pre class="output">{html.escape(visible(text.rstrip(), lines=True))}</pre>'


def lesson_page(lesson: Lesson) -> Page:
    """Run a lesson, and return its cells with what they print and show."""
    parts, texts = [], []
    outputs = iter(outputs_of(lesson.path))
    for cell in lesson.cells:
        texts.append(cell.text if cell.is_code else re.sub(r"^#+ ", "", cell.text, flags=re.M))
        if not cell.is_code:
            parts.append(markdown(_linked(cell.text)))
            continue
        parts.append(code(cell.text))
        for output in next(outputs):
            if "svg" in output:
                parts.append(f'<figure class="picture">{output["svg"]}</figure>')
            else:
                parts.append(printed(output["text"]))
    return Page(_path_of(lesson), lesson.title, "\n".join(parts), " ".join(texts))


def _path_of(lesson: Lesson) -> str:
    return f"lessons/{lesson.path.stem}.html"


def _linked(text: str) -> str:
    """Turn the names of lessons and exercises into links."""
    text = re.sub(r"\b(\d\d_\w+)\.py\b", r"[\1](\1.html)", text)
    return re.sub(r"`([a-z]+/[a-z_0-9]+)`", r"[`\1`](../exercises/\1.html)", text)


def list_of_lessons(known: list[Lesson]) -> Page:
    """Return the page that lists the lessons."""
    rows = "\n".join(
        f'<li value="{lesson.number}"><a href="{_path_of(lesson)}">{html.escape(lesson.title)}</a>'
        f' <span class="quiet">{lesson.minutes} minutes</span></li>'
        for lesson in known
    )
    text = "Read them here, or `tinybert tutorials open 1` writes one as a program to work with."
    body = f"<h1>Lessons</h1>{markdown(text)}<ol>{rows}</ol>"
    return Page("lessons.html", "Lessons", body, "lessons tutorials")


def exercise_pages() -> Iterator[Page]:
    """Yield a page for each exercise, and one that lists them."""
    parts = [
        "<h1>Exercises</h1>",
        markdown("`tinybert exercises start` writes them to a folder; `check` grades your file."),
    ]
    for chapter, (about, names) in CHAPTERS.items():
        parts.append(f"<h2>{html.escape(chapter)}: {html.escape(about)}</h2><ul>")
        for short in names.split():
            task = task_of(f"{chapter}/{short}")
            page = _exercise_page(task)
            facts = f"{task.exercise.minutes} minutes, level {task.exercise.level}"
            parts.append(
                f'<li><a href="{page.path}">{html.escape(task.name)}</a>: '
                f'{html.escape(task.title)} <span class="quiet">{facts}</span></li>'
            )
            yield page
        parts.append("</ul>")
    yield Page("exercises.html", "Exercises", "\n".join(parts), "exercises")


def _exercise_page(task: Any) -> Page:
    exercise = task.exercise
    hints = "".join(
        f"<details><summary>Hint {number}</summary>{markdown(hint)}</details>"
        for number, hint in enumerate(exercise.hints, 1)
    )
    body = (
        f"<h1>{html.escape(task.name)}</h1>"
        f"<p>{html.escape(task.title)}. {exercise.minutes} minutes, level {exercise.level} of 5; "
        f"lesson {exercise.lesson}.</p>{code(task.blank)}{hints}"
        f"<p>The check knows {len(exercise.mutants)} usual mistakes and names yours if it is "
        f"among them:</p>{code(f'tinybert exercises check {task.name}', 'bash')}"
    )
    return Page(f"exercises/{task.name}.html", task.name, body, task.text)


def museum_page() -> Page:
    """Return the page of the bugs: what is wrong, beside the right code, and how it was found."""
    parts = [
        "<h1>Museum of bugs</h1>",
        markdown(
            "`tinybert museum run NAME` plants one in the engine and shows the check that catches "
            'it; in Python: `with tinybert.bug("NAME"): ...`'
        ),
    ]
    texts = []
    for subject, bugs in rooms().items():
        parts.append(f"<h2>{html.escape(subject)}</h2>")
        for bug in bugs:
            rows = "".join(
                f'<span class="{line.side or "both"}">'
                f"{_SIDES[line.side]} {html.escape(line.text)}</span>"
                for line in excerpt(bug)
            )
            links = " ".join(
                f'<a href="{html.escape(link)}">{html.escape(link)}</a>' for link in bug.links
            )
            parts.append(
                f'<h3 id="{bug.name}">{bug.name}: {html.escape(bug.title)}</h3>'
                f'{markdown(bug.mistake)}<pre class="excerpt">{rows}</pre>'
                f"{markdown(bug.story)}<p>{links}</p>"
            )
            texts += [bug.name, bug.title, bug.mistake, bug.story]
    return Page("museum.html", "Museum of bugs", "\n".join(parts), " ".join(texts))


def write_site(folder: Path, own_pages: list[Page]) -> list[Page]:
    """Build all pages but the API's into a folder, and the search over them.

    Args:
        own_pages: pages that are made elsewhere, such as those of the commands.

    Returns:
        The pages.
    """
    known = lessons()
    pages = [list_of_lessons(known), *exercise_pages(), museum_page(), *own_pages]
    with progress_bar("Running the lessons", len(known), " lessons") as advance:
        for lesson in known:
            pages.append(lesson_page(lesson))
            advance(1)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("site.css", "site.js"):
        (folder / name).write_text((_FILES / name).read_text("utf-8"), "utf-8")
    light, dark = (_formatter(s).get_style_defs(".code") for s in ("default", "github-dark"))
    both = f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
    (folder / "code.css").write_text(both, "utf-8")
    for page in pages:
        path = folder / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(page), "utf-8")
    return pages


def write_index(folder: Path, entries: list[dict[str, str]]) -> None:
    """Write what the search looks through: title, path and text of each page or name.

    It is a script and not JSON, since a page that is opened as a file may load no other file.
    """
    data = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    (folder / "search.js").write_text(f"const PAGES = {data};\n", "utf-8")


def write_api(folder: Path, package: ModuleType) -> list[dict[str, str]]:
    """Write the pages of the API, and return an entry of the search for each public name."""
    import pdoc

    public = ("functional", "nn", "optim", "training", "trace", "search", "weights")
    pdoc.render.configure(docformat="google", search=False, show_source=False)
    with warnings.catch_warnings():
        # It shows annotations that only type checkers can resolve as they are written, and warns.
        warnings.simplefilter("ignore", UserWarning)
        left_out = rf"!tinybert\.(?!({'|'.join(public)})$)"
        pdoc.pdoc("tinybert", left_out, output_directory=folder / "api")
    entries = []
    for name in package.__all__:
        text = (getattr(package, name).__doc__ or "").strip().partition("\n")[0]
        entries.append({"title": name, "path": f"api/tinybert.html#{name}", "text": text})
    return entries


def render(page: Page) -> str:
    """Return the whole HTML of a page."""
    root = "../" * page.path.count("/")
    links = "".join(
        f'<a href="{root}{path}"{" aria-current=page" * (path == page.path)}>{name}</a>'
        for path, name in NAVIGATION.items()
    )
    return f"""<!doctype html>
<html lang="en" data-root="{root}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(page.title)} - tinybert</title>
<link rel="stylesheet" href="{root}site.css">
<link rel="stylesheet" href="{root}code.css">
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


def clear(folder: Path) -> None:
    """Remove a site that was built before; ValueError for a folder with anything else in it."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "search.js").is_file():
        raise ValueError(f"{str(folder)!r} is not empty and not a site: choose another folder")
    if folder.exists():
        shutil.rmtree(folder)
