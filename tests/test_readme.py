"""The README is executed: its Python, its commands with their output, its links, its picture."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import tokenize
from importlib.metadata import metadata, requires
from pathlib import Path

import pytest

from tests.snippets import run_command
from tinybert.bench import CASES
from tinybert.cli.main import main
from tinybert.cli.registry import COMMANDS
from tinybert.learn.catalogue import task_of
from tinybert.learn.lessons import lessons

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def expected_lines(source: str) -> list[str]:
    """What an example says that it prints: comments behind `print(...)`, and lines of their own."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            code = token.line[: token.start[1]].strip()
            if not code or code.startswith("print("):
                found.append(token.string.removeprefix("# "))
    return found


def transcripts() -> list[tuple[str, str]]:
    """The commands in console blocks, `$ ...`, each with the output that is shown beneath it."""
    parts = [part for block in blocks("console") for part in re.split(r"^\$ ", block, flags=re.M)]
    return [(command, output) for command, _, output in (p.partition("\n") for p in parts if p)]


@pytest.mark.parametrize("source", blocks("python"))
def test_python_prints_what_its_comments_say(source: str, minilm: Path) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "README.md", "exec"), {"__name__": "readme"})
    assert expected_lines(source)
    assert printed.getvalue().splitlines() == expected_lines(source)


@pytest.mark.parametrize(("command", "output"), transcripts(), ids=lambda text: text[:20])
def test_commands_print_what_is_shown(
    command: str, output: str, minilm: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    shutil.copy(ROOT / "LICENSE", tmp_path)  # a search keeps its index there
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(command)
    assert program == "tinybert"
    assert main(arguments) == 0
    assert capsys.readouterr().out == output


# What this test does not run: `.ci/run` installs and tests, and `watch` waits for changes of a file
# (tests/cli/test_exercises.py), and jobs of several ranks (tests/parallel/test_mpi.py).
ELSEWHERE = re.compile(r"^pip install|^tinybert exercises watch$|^mpiexec ")
ROWS = "text,label\nWhat a film!,good\nI slept.,bad\nBrilliant.,good\nToo long.,bad\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the README's commands are for a POSIX shell")
def test_commands_without_output_work(tmp_path: Path) -> None:
    """One after another in one folder, with small files of the names that they read."""
    text = (ROOT / "LICENSE").read_text("utf-8")
    for name in ("corpus.txt", "held-out.txt"):
        (tmp_path / name).write_text(text[:4000], "utf-8")
    for name in ("train.csv", "valid.csv", "test.csv"):
        (tmp_path / name).write_text(ROWS, "utf-8")
    joined = "".join(blocks("bash")).replace("\\\n", " ")
    commands = [line for line in joined.splitlines() if line and not ELSEWHERE.search(line)]
    assert len(commands) == 13
    for command in commands:
        ran = run_command(command, tmp_path)
        assert ran.returncode == 0, f"$ {command}\n{ran.stdout}"
    made = {"page.html", "losses.png", "answers.jsonl", "my-classifier", "tinybert-exercises"}
    assert made <= {path.name for path in tmp_path.iterdir()}


def test_a_check_says_what_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    assert main(["exercises", "start"]) == 0
    task = task_of("softmax")
    (mutant,) = (m for m in task.exercise.mutants if m.name == "always the last axis")
    path = Path("tinybert-exercises/loss/softmax.py")
    path.write_text(mutant.apply(task.solution), encoding="utf-8")
    capsys.readouterr()
    assert main(["exercises", "check", "softmax"]) == 1
    assert [capsys.readouterr().out] == [b for b in blocks("text") if b.startswith("checking")]


def test_examples_were_found() -> None:
    """The tests above would pass over examples that they do not see."""
    assert len(blocks("python")) == 6
    assert [command.split()[1] for command, _ in transcripts()] == [
        "similarity",
        "fill-mask",
        "classify",
        "tag",
        "answer",
        "generate",
        "search",
        "plot",
    ]
    assert sum("tinybert similarity" in block for block in blocks("bash")) == 1


def test_the_first_command_is_the_one_whose_output_is_shown() -> None:
    (line,) = (
        line for block in blocks("bash") for line in block.splitlines() if "similarity" in line
    )
    assert line.split(" && ")[-1] == transcripts()[0][0]


COMMAND = r"(?<!import )(?<!from )\btinybert ([a-z][\w-]*)"  # not Python's "from tinybert import"


def test_every_command_exists_and_is_listed() -> None:
    known = set(COMMANDS)
    code = re.findall(r"`+[^`]+`+", README) + blocks("bash") + blocks("console")
    named = {name for part in code for name in re.findall(COMMAND, part)}
    assert named == known


def test_options_in_the_table_exist(capsys: pytest.CaptureFixture[str]) -> None:
    rows = re.findall(r"^\| `tinybert ([\w-]+)[^`]*` \|(.*)\|$", README, re.MULTILINE)
    assert len(rows) == len(COMMANDS)
    for name, text in rows:
        assert main([name, "--help"]) == 0
        shown = capsys.readouterr().out
        for option in [*re.findall(r"--[a-z0-9]+", text), "--json", "example:"]:
            assert option in shown, f"tinybert {name} {option}"


def test_hints_name_extras_that_exist() -> None:
    """`pip install "tinybert[plot]"` works in every folder once a clone is installed."""
    files = [
        *(ROOT / "tinybert").rglob("*.py"),
        *(ROOT / "recipes").rglob("*.*"),
        *ROOT.glob("*.md"),
    ]
    texts = {p: p.read_text("utf-8") for p in files if p.suffix in (".py", ".md")}
    form = re.compile(r'pip\s+install\s+"tinybert\[([\w,]+)\]"|pip install -e "\.\[([\w,]+)\]"')
    named = [(p, a or b, bool(b)) for p, text in texts.items() for a, b in form.findall(text)]
    extras = {*metadata("tinybert").get_all("Provides-Extra", [])}
    assert {name for _, names, _ in named for name in names.split(",")} <= extras
    assert len(named) > 20
    assert not [p for p, _, clone in named if clone and p.is_relative_to(ROOT / "tinybert")]
    assert [
        names for p, names, clone in named if clone and p.name == "README.md" and p.parent == ROOT
    ] == ["test"]


def test_links_and_paths_exist() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    paths = re.findall(r"(?:python |pytest )([\w/]+[\w.]*/[\w.]+)", README)
    assert {"docs/overview.py", "tests/ops"} <= set(paths)
    for target in [*links, *paths, ".ci/run"]:
        assert (ROOT / target).exists(), target


def test_every_lesson_is_listed() -> None:
    shown = re.findall(r"^(\d+)\. \[(.*)\]\(tutorials/(.*)\)$", README, re.MULTILINE)
    assert shown == [(str(x.number), x.title, x.path.name) for x in lessons()]


def test_every_floor_is_on_the_map() -> None:
    package = ROOT / "tinybert"
    floors = {f"{p.name}/" for p in package.iterdir() if (p / "__init__.py").is_file()}
    assert floors == set(re.findall(r"\[`(\w+/)`\]\(tinybert/", README))


def test_the_speed_table_lists_every_case_but_single_operations() -> None:
    table = README.partition("<!-- bench -->")[2].partition("<!-- /bench -->")[0]
    expected = {c.name for c in CASES if c.suite != "kernels"}  # parts of the others
    assert set(re.findall(r"^\| `([\w-]+)`", table, re.MULTILINE)) == expected


def test_import_loads_nothing_beyond_the_dependencies() -> None:
    code = """
import importlib.metadata, sys
before = set(sys.modules)
import tinybert
new = {name.partition(".")[0] for name in set(sys.modules) - before}
owners = importlib.metadata.packages_distributions()
foreign = new - set(sys.stdlib_module_names) - {"tinybert"}
print(*{owner for name in foreign for owner in owners.get(name, [name])})
"""
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) <= {"numpy", "regex"}
    required = [line for line in requires("tinybert") or [] if "extra ==" not in line]
    assert {re.split(r"[^\w-]", line)[0] for line in required} == {"numpy", "regex"}


def test_the_picture_can_be_drawn_again(minilm: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason='the picture needs pip install "tinybert[plot]"')
    file = tmp_path / "overview.png"
    command = [sys.executable, "-W", "error", str(ROOT / "docs" / "overview.py"), str(file)]
    subprocess.run(command, cwd=ROOT, check=True)
    drawn, shown = file.read_bytes(), (ROOT / "docs" / "overview.png").read_bytes()
    assert drawn[:24] == shown[:24]  # a PNG of the same size
    assert len(shown) < 200_000
