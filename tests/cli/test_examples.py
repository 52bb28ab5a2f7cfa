"""The examples in the help of every command, which are also on the site, are those of today."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from pathlib import Path

import pytest

from tests.snippets import COMMAND, matches
from tinybert.cli.main import build_parser
from tinybert.cli.registry import COMMANDS, load_command

ROOT = Path(__file__).parents[2]
# Their examples name files and models of the reader, measure time, or show random weights;
# tests/test_readme.py has the example of exercises.
NOT_RUN = {
    "answer", "bench", "classify", "convert", "diff", "evaluate", "exercises", "fetch", "finetune",
    "generate", "learn", "plot", "pretrain", "tag", "train-tokenizer",
}  # fmt: skip


def examples(name: str) -> list[tuple[list[str], str]]:
    """The calls of tinybert in an example, without what a pipe does with them, and their output."""
    found = COMMAND.findall(textwrap.dedent(load_command(name).example) + "\n")
    calls = []
    for command, output in found:
        first, *others = command.replace("\\\n", " ").replace("&&", "|").split(" | ")
        if first.startswith("tinybert "):
            calls.append((shlex.split(first)[1:], "" if others else output.rstrip("\n")))
    return calls


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_has_options_that_exist(name: str) -> None:
    assert any(call[0] == name for call, _ in examples(name))
    for call, _ in examples(name):
        assert build_parser(call[0]).parse_args(call).prog == f"tinybert {call[0]}"


def words(text: str) -> str:
    """The text without the width of its columns: examples are narrower than a terminal."""
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


SHOWN = [
    pytest.param(call, output, id=" ".join(call)[:40])
    for name in COMMANDS
    if name not in NOT_RUN
    for call, output in examples(name)
    if output
]


def test_most_examples_with_output_are_run() -> None:
    assert len(SHOWN) >= 10


@pytest.mark.slow
@pytest.mark.parametrize(("call", "output"), SHOWN)
def test_an_example_shows_what_is_printed(
    tinybert, call: list[str], output: str, minilm: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "LICENSE", tmp_path)
    monkeypatch.setenv("COLUMNS", "78")  # those of a terminal, less the indent of an example
    ran = tinybert(*call)
    assert matches(words(output), words(ran.out)), ran.out + ran.err
