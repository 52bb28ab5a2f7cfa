"""The pages of lessons, exercises, demos, recipes and bugs, and the site that holds all pages."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from tinybert.learn.catalogue import CHAPTERS, NAMES, task_of
from tinybert.learn.demos import DEMOS, script_of
from tinybert.learn.lessons import Lesson, lesson_of, lessons
from tinybert.learn.museum.bugs import rooms
from tinybert.learn.museum.excerpt import excerpt
from tinybert.learn.recipes import GROUPS, text_of
from tinybert.learn.site.api import api_styles
from tinybert.learn.site.execution import outputs_of
from tinybert.learn.site.page import (
    Page,
    code,
    code_styles,
    markdown,
    markdown_page,
    printed,
    render,
)
from tinybert.progress import progress_bar

_SIDES = {"right": "right |", "wrong": "wrong |", "": "      |"}
_FILES = resources.files("tinybert.learn.site")


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
        parts += map(_shown, next(outputs))
    return Page(_path_of(lesson), lesson.title, "\n".join(parts), " ".join(texts))


def _shown(output: dict[str, str]) -> str:
    if "svg" in output:
        return f'<figure class="picture">{output["svg"]}</figure>'
    return printed(output["text"])


def _path_of(lesson: Lesson) -> str:
    return f"lessons/{lesson.path.stem}.html"


def _linked(text: str) -> str:
    """Turn the names of lessons and exercises into links."""
    text = re.sub(r"\b(\d\d_\w+)\.py\b", r"[\1](\1.html)", text)
    text = re.sub(r"\blesson (\d+)\b", lambda found: f"[{found[0]}](../{_path(found[1])})", text)
    return re.sub(r"`([a-z]+/[a-z_0-9]+)`", _exercise_link, text)


def _exercise_link(found: re.Match[str]) -> str:
    return f"[{found[0]}](../exercises/{found[1]}.html)" if found[1] in NAMES else found[0]


@cache
def _path(number: str) -> str:
    """Return the path of a lesson by its number."""
    return _path_of(lesson_of(number))


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
        f'<a href="../../{_path(str(exercise.lesson))}">lesson {exercise.lesson}</a>.</p>'
        f"{code(task.blank)}{hints}"
        f"<p>The check knows {len(exercise.mutants)} usual mistakes and names yours if it is "
        f"among them:</p>{code(f'tinybert exercises check {task.name}', 'bash')}"
    )
    return Page(f"exercises/{task.name}.html", task.name, body, task.text)


def demo_page(name: str) -> Page:
    """Run a demo, and return what it prints and shows, and its script."""
    script = script_of(name)
    source = script.read_text(encoding="utf-8")
    about, _, program = source.removeprefix('"""').partition('"""\n')
    (outputs,) = outputs_of(script)
    parts = [
        markdown(f"# {DEMOS[name]}\n\n{about}"),
        code(f"$ tinybert demo run {name}", "console"),
        *map(_shown, outputs),
        markdown(f"## The script\n\n`{script.name}`; `demo run` also says where it is."),
        code(program.lstrip("\n")),
    ]
    printed_text = " ".join(output.get("text", "") for output in outputs)
    return Page(f"demos/{name}.html", DEMOS[name], "\n".join(parts), f"{source} {printed_text}")


def list_of_demos() -> Page:
    """Return the page that lists the demos."""
    text = "Short scripts that use the package, with what they print. Nothing is downloaded."
    rows = "\n".join(f"- [{title}](demos/{name}.html)" for name, title in DEMOS.items())
    return markdown_page("demos.html", "Demos", f"# Demos\n\n{text}\n\n{rows}")


def recipe_pages() -> Iterator[Page]:
    """Yield a page for each recipe, and one that lists them."""
    parts = [
        "# Recipes\n\nWhat you want to do, and the commands that do it, each with its output. All "
        "run without a network, in an empty folder."
    ]
    for group, names in GROUPS.items():
        parts.append(f"## {group}\n")
        for name in names.split():
            text = text_of(name)
            title = text.partition("\n")[0].removeprefix("# ")
            parts.append(f"- [{title}](recipes/{name}.html)")
            yield markdown_page(f"recipes/{name}.html", title, text)
        parts.append("")
    yield markdown_page("recipes.html", "Recipes", "\n".join(parts))


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
        parts.append(f"<h2>{html.escape(subject[0].upper() + subject[1:])}</h2>")
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
    """Build all pages into a folder, with the search over them.

    Args:
        own_pages: pages that are made elsewhere, such as those of the commands and the API.

    Returns:
        The pages.
    """
    pages = [*exercise_pages(), list_of_demos(), *recipe_pages(), museum_page(), *own_pages]
    pages += executed_pages()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("site.css", "site.js"):
        (folder / name).write_text((_FILES / name).read_text("utf-8"), "utf-8")
    (folder / "code.css").write_text(code_styles() + api_styles(), "utf-8")
    for page in pages:
        path = folder / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(page), "utf-8")
    return pages


def executed_pages() -> list[Page]:
    """Run the lessons and the demos, several at a time, and return their pages.

    Raises:
        ValueError: one of them stops with an error; those that have not begun are not run.
    """
    known = lessons()
    tasks: list[tuple[Callable[..., Page], Any]] = [(lesson_page, lesson) for lesson in known]
    tasks += [(demo_page, name) for name in DEMOS]
    processors = min(os.cpu_count() or 1, 8)
    print(
        f"Running {len(known)} lessons and {len(DEMOS)} demos, {processors} at a time; all take "
        f"about {max(1, round(5 / processors))} min ...",
        file=sys.stderr,
    )
    with (
        ThreadPoolExecutor(processors) as pool,
        progress_bar("Running", len(tasks), " scripts") as advance,
    ):
        futures = [pool.submit(make, subject) for make, subject in tasks]
        try:
            for future in as_completed(futures):
                advance(1, future.result().title)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [list_of_lessons(known), *(future.result() for future in futures)]


def write_index(folder: Path, entries: list[dict[str, str]]) -> None:
    """Write what the search looks through: title, path and text of each page or name.

    It is a script and not JSON, since a page that is opened as a file may load no other file.
    """
    data = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    (folder / "search.js").write_text(f"const PAGES = {data};\n", "utf-8")


def clear(folder: Path) -> None:
    """Remove a site that was built before; ValueError for a folder with anything else in it."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "search.js").is_file():
        raise ValueError(f"{str(folder)!r} is not empty and not a site: choose another folder")
    if folder.exists():
        shutil.rmtree(folder)
