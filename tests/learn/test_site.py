"""The site: pages with what the lessons print and show, links that lead somewhere, and a search."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tinybert import embedded
from tinybert.cli.main import main
from tinybert.cli.registry import COMMANDS
from tinybert.embedded.card import cards
from tinybert.learn.catalogue import NAMES
from tinybert.learn.lessons import lessons
from tinybert.learn.museum.bugs import rooms
from tinybert.learn.site import execution
from tinybert.learn.site.models import model_pages

pages = pytest.importorskip("tinybert.learn.site.pages")
for library in ("markdown_it", "pygments", "pdoc"):
    pytest.importorskip(library)

LESSON = """\
# %% [markdown]
# # 1. <b>Two</b> cells
#
# | symbol | shape | meaning |
# |---|---|---|
# | x | (2,) | `numbers` |

# %%
from tinybert import show

x = [1.5, -2]
show(x, "before")
print("<sum>", sum(x))
show(x, "after")

# %%
print(__name__)
"""


class Links(HTMLParser):
    """The addresses of a page, and the names that links can point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append((tag, value))
            elif name == "id" and value:
                self.names.add(value)


def test_a_cell_keeps_what_it_prints_and_shows_in_order(tmp_path: Path) -> None:
    path = tmp_path / "01_two.py"
    path.write_text(LESSON, "utf-8")
    first, second = execution.outputs_of(path)
    assert [list(output) for output in first] == [["svg"], ["text"], ["svg"]]
    assert first[1] == {"text": "<sum> -0.5\n"}
    assert "before" in first[0]["svg"]
    assert "after" in first[2]["svg"]
    assert second == [{"text": "__main__\n"}]


def test_a_lesson_with_an_error_is_named(tmp_path: Path) -> None:
    path = tmp_path / "01_two.py"
    path.write_text(LESSON + "1 / 0\n", "utf-8")
    with pytest.raises(ValueError, match=r"01_two.py stops with an error: ZeroDivisionError"):
        execution.outputs_of(path)


def test_a_page_shows_markup_and_obeys_none() -> None:
    text = pages.markdown("# <b>x</b>\n\n| a | b |\n|---|---|\n| 1 | <script> |")
    assert "<table>" in text
    assert "&lt;script&gt;" in text
    assert "<b>" not in text
    assert "&lt;b&gt;" in pages.printed("<b>\x1b[31m")
    assert "\x1b" not in pages.printed("<b>\x1b[31m")


def test_a_folder_with_other_files_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("", "utf-8")
    assert main(["tutorials", "build", "--folder", str(tmp_path)]) == 2
    assert "not a site" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "site"
    assert main(["tutorials", "build", "--folder", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    found = {path: Links(path.read_text("utf-8")) for path in site.rglob("*.html")}
    for path, page in found.items():
        for tag, link in page.links:
            if path.parent.name == "api" and link.startswith("#"):
                continue  # pdoc links to names that it leaves out
            if link.startswith("https:"):
                assert tag == "a", (path, link)
                continue
            if link.startswith("data:"):
                continue
            target, _, name = link.partition("#")
            goal = (path.parent / target).resolve() if target else path
            assert goal.is_file(), (path, link)
            if name and goal in found:
                assert name in found[goal].names, (path, link)


@pytest.mark.slow
def test_everything_has_its_page_and_is_found(site: Path) -> None:
    text = (site / "search.js").read_text("utf-8")
    entries = json.loads(text.removeprefix("const PAGES = ").removesuffix(";\n"))
    titles = {entry["title"] for entry in entries}
    assert {lesson.title for lesson in lessons()} <= titles
    assert set(NAMES) <= titles
    commands = (site / "commands.html").read_text("utf-8")
    assert all(f'id="{name}"' in commands for name in COMMANDS)
    museum = (site / "museum.html").read_text("utf-8")
    assert all(f'id="{bug.name}"' in museum for bugs in rooms().values() for bug in bugs)
    for entry in entries:
        assert (site / entry["path"].partition("#")[0]).is_file()
    for lesson in lessons():
        page = (site / "lessons" / f"{lesson.path.stem}.html").read_text("utf-8")
        assert page.count('<div class="code">') == sum(cell.is_code for cell in lesson.cells)


def test_every_model_has_a_page_with_its_card() -> None:
    first, *others = model_pages()
    assert [page.title for page in others] == embedded.names()
    for page, card in zip(others, cards(), strict=True):
        assert f'<a href="models/{card.name}.html">' in first.body
        assert all(score.show(score.value) in page.body for score in card.scores)
        assert page.body.count("<img") == len(card.curves)
        for tag, link in Links(page.body).links:
            assert link.startswith("https:" if tag == "a" else "data:image/png;base64,")


@pytest.mark.slow
def test_the_site_in_a_browser(site: Path) -> None:
    """Opened as files: no message, no request but for files, and the search finds."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        messages: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        for name in ("index", "lessons", "exercises", "museum", "commands", "changelog"):
            for width in (390, 1280):
                page.set_viewport_size({"width": width, "height": 800})
                page.goto((site / f"{name}.html").as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        for query in ("sampling", "attention mask", "layer norm"):
            page.keyboard.press("/")
            page.fill("#search", query)
            first = page.text_content("#results li")
            assert first
            assert all(
                word in (page.text_content("#results") or "").lower() for word in query.split()
            )
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: not url.endswith("changelog.html"))
        browser.close()
    assert messages == []
    assert all(url.startswith("file:") for url in requests), requests
