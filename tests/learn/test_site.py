"""The site: pages with what the lessons print and show, links that lead somewhere, and a search."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tinybert import embedded
from tinybert.cli.main import main
from tinybert.cli.registry import COMMANDS
from tinybert.embedded.card import cards
from tinybert.learn.catalogue import NAMES
from tinybert.learn.demos import DEMOS
from tinybert.learn.lessons import lessons
from tinybert.learn.museum.bugs import rooms
from tinybert.learn.recipes import GROUPS, text_of
from tinybert.learn.site import api, execution, page, pages
from tinybert.learn.site.models import model_pages

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


# The lightness of text and background, of the page and of the first code on it.
COLOURS = """() => {
  const light = (element, name) => {
    const [r, g, b] = getComputedStyle(element)[name].match(/[\\d.]+/g).map(Number);
    return (0.3 * r + 0.59 * g + 0.11 * b) / 255;
  };
  const block = document.querySelector(".code pre, .pdoc .attr") || document.body;
  return [light(block, "color"), light(block, "backgroundColor")];
}"""


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


def test_a_script_without_cells_is_one_cell(tmp_path: Path) -> None:
    path = tmp_path / "demo.py"
    path.write_text('"""About."""\n\nprint(__name__, __file__)\n', "utf-8")
    assert execution.outputs_of(path) == [[{"text": f"__main__ {path}\n"}]]


def test_names_of_exercises_are_links_and_other_paths_are_not() -> None:
    text = pages._linked("`loss/softmax`, `runs/softmax`")
    assert text == "[`loss/softmax`](../exercises/loss/softmax.html), `runs/softmax`"


def test_the_page_of_a_demo_has_its_output_and_its_script() -> None:
    found = pages.demo_page("first-bytes")
    assert found.path == "demos/first-bytes.html"
    first, _, second = found.body.partition("The script")
    assert "tinybert demo run first-bytes" in re.sub(r"<[^>]*>", "", first)
    assert "is a Git LFS pointer" in first
    assert "TemporaryDirectory" in second
    assert "Most broken downloads" in first  # the docstring is the text, and not code again
    assert "Most broken downloads" not in second


def test_when_one_page_fails_the_others_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def fail(subject: object) -> page.Page:
        ran.append(subject)
        raise ValueError("stops")

    monkeypatch.setattr(pages, "lesson_page", fail)
    monkeypatch.setattr(pages, "demo_page", fail)
    monkeypatch.setattr(pages.os, "cpu_count", lambda: 1)
    with pytest.raises(ValueError, match="stops"):
        pages.executed_pages()
    assert len(ran) < len(lessons())


def test_fenced_code_is_highlighted_and_names_its_file() -> None:
    text = page.markdown("```python a/b.py\nx = '<b>'\n```\n\n```python check\ny = 1\n```\n")
    assert '<div class="file">a/b.py</div>' in text
    assert "check" not in text
    assert text.count('<div class="code">') == 2
    assert "&lt;b&gt;" in text


def test_the_search_reads_words_and_no_marks() -> None:
    text = "# T\n\n**You** [x](a.html) `a[0]` 2**n [MASK]\n|---|---|\n| b |"
    assert page.plain(text) == "T You x a[0] 2**n [MASK] | b |"


@pytest.mark.parametrize("path", ["lessons/01.html", "lessons.html", "api/tinybert/nn.html"])
def test_the_menu_marks_where_the_reader_is(path: str) -> None:
    text = page.render(page.Page(path, "", "", ""))
    (marked,) = re.findall(r'<a href="([^"]*)" aria-current="(page|true)"', text)
    known = path in page.NAVIGATION
    menu = "api/tinybert.html" if path.startswith("api") else "lessons.html"
    assert marked == ("../" * path.count("/") + menu, "page" if known else "true")


def test_a_page_shows_markup_and_obeys_none() -> None:
    text = page.markdown("# <b>x</b>\n\n| a | b |\n|---|---|\n| 1 | <script> |")
    assert "<table>" in text
    assert "&lt;script&gt;" in text
    assert "<b>" not in text
    assert "&lt;b&gt;" in page.printed("<b>\x1b[31m")
    assert "\x1b" not in page.printed("<b>\x1b[31m")


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
    for path, text in found.items():
        for tag, link in text.links:
            if "api" in path.parts and "#" in link:
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
    assert set(DEMOS.values()) <= titles
    recipes = " ".join(GROUPS.values()).split()
    assert {text_of(name).partition("\n")[0].removeprefix("# ") for name in recipes} <= titles
    assert {"Tensor", "functional.softmax", "nn.LayerNorm"} <= titles
    for module in ("", *(f"/{name}" for name in api.MODULES)):
        text = (site / f"api/tinybert{module}.html").read_text("utf-8")
        assert text.count('<nav aria-label="Pages">') == 1
        assert "</html>" in text
    commands = (site / "commands.html").read_text("utf-8")
    assert all(f'id="{name}"' in commands for name in COMMANDS)
    museum = (site / "museum.html").read_text("utf-8")
    assert all(f'id="{bug.name}"' in museum for bugs in rooms().values() for bug in bugs)
    texts = {path: Links(path.read_text("utf-8")) for path in site.rglob("*.html")}
    for entry in entries:
        path, _, name = entry["path"].partition("#")
        assert not name or name in texts[site / path].names, entry
        assert site / path in texts
    for lesson in lessons():
        text = (site / "lessons" / f"{lesson.path.stem}.html").read_text("utf-8")
        assert text.count('<div class="code">') == sum(cell.is_code for cell in lesson.cells)


def test_every_model_has_a_page_with_its_card() -> None:
    first, *others = model_pages()
    assert [model.title for model in others] == embedded.names()
    for model, card in zip(others, cards(), strict=True):
        assert f'<a href="models/{card.name}.html">' in first.body
        assert all(score.show(score.value) in model.body for score in card.scores)
        assert model.body.count("<img") == len(card.curves)
        for tag, link in Links(model.body).links:
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
        messages: list[str] = []
        requests: list[str] = []
        for scheme, width in (("light", 1280), ("dark", 390)):
            context = browser.new_context(
                viewport={"width": width, "height": 800}, color_scheme=scheme
            )
            tab = context.new_page()
            tab.on("console", lambda message: messages.append(message.text))
            tab.on("pageerror", lambda error: messages.append(str(error)))
            tab.on("request", lambda request: requests.append(request.url))
            for path in sorted(site.rglob("*.html")):
                tab.goto(path.as_uri())
                assert tab.evaluate("document.documentElement.scrollWidth") <= width, path
                ink, back = tab.evaluate(COLOURS)
                assert (ink > 0.5 > back) if scheme == "dark" else (ink < 0.5 < back), path
        for query, place in (
            ("sampling", "lessons/"),
            ("attention mask", "lessons/"),
            ("layer norm", "lessons/"),
            ("checkpoint file", "recipes/"),
            ("logits differ", "demos/"),
            ("functional.softmax", "api/"),
        ):
            tab.goto((site / "index.html").as_uri())
            tab.keyboard.press("/")
            tab.fill("#search", query)
            shown = (tab.text_content("#results li") or "").lower()
            assert all(word in shown for word in query.split()), (query, shown)
            tab.keyboard.press("Enter")
            tab.wait_for_url(lambda url, place=place: f"/{place}" in url)
        browser.close()
    assert messages == []
    assert all(url.startswith("file:") for url in requests), requests
