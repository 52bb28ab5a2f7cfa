"""The recipes for the command line: their commands print what is written beneath them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.snippets import BLOCK, COMMAND, matches, run_snippets
from tinybert.cli.registry import COMMANDS
from tinybert.cli.site import START
from tinybert.learn.recipes import FOLDER, GROUPS, text_of

NAMES = " ".join(GROUPS.values()).split()


def test_every_recipe_is_listed_and_has_a_title() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in FOLDER.glob("*.md"))
    titles = [re.match(r"# (\w.*)\n\n", text_of(name)) for name in NAMES]
    assert all(titles)
    assert len({title[1] for title in titles if title}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_names_commands_that_exist_and_no_folder_of_ours(name: str) -> None:
    text = text_of(name)
    assert not re.search(r"/(home|root|tmp|work)/", text)
    consoles = [content for language, _, content in BLOCK.findall(text) if language == "console"]
    used = [command for content in consoles for command, _ in COMMAND.findall(content)]
    assert used
    named = re.findall(r"\btinybert ([a-z][a-z-]*)", " ".join(used))
    assert set(named) <= set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", *NAMES])
def test_the_commands_print_what_is_shown(name: str, tmp_path: Path) -> None:
    """In an empty folder, by a shell; the text without a name is the first page of the site."""
    found = [*run_snippets(text_of(name) if name else START, tmp_path)]
    assert found
    for ran in found:
        assert ran.matches(), f"$ {ran.command}\n{ran.found}"


@pytest.mark.parametrize(
    ("expected", "found", "equal"),
    [
        ("a 1.25\n", "a 1.25\n", True),
        ("a 1.25\n", "a 1.26\n", True),
        ("a 1.25\n", "a 1.27\n", False),
        ("a 1.25\n", "a 1.250\n", False),
        ("a 9.99\n", "a 10.00\n", True),
        ("a  9.99\n", "a 10.00\n", True),
        ("a 9.99\n", "a  10.00\n", False),
        ("a -0.00\n", "a 0.00\n", True),
        ("a -0.02\n", "a 0.02\n", False),
        ("a 1.25\n", "b 1.25\n", False),
        ("12 tensors\n", "13 tensors\n", False),
        ("a\n...\nz\n", "a\nb\nc\nz\n", True),
        ("a\n...\nz\n", "a\nb\nc\n", False),
        ("a\n", "a\nb\n", False),
        ("p 0.50  ███▊\n", "p 0.49  ███▋\n", False),
    ],
)
def test_outputs_are_compared(expected: str, found: str, equal: bool) -> None:
    assert matches(expected, found) is equal


def test_trained_numbers_may_differ_more() -> None:
    assert matches("p 0.50  ███▊\n", "p 0.60  ████\n", trained=True)
    assert matches("p 9.95\n", "p 10.05\n", trained=True)
    assert not matches("p 0.50\n", "p 0.70\n", trained=True)
    assert not matches("p 0.50\n", "q 0.50\n", trained=True)


def test_a_block_that_nobody_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a file nor commands"):
        list(run_snippets("```bash\nls\n```\n", tmp_path))
