"""`tinybert exercises` and `tinybert learn`: what they print, and what they do in a terminal."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.terminals import HANG, heed_interrupts
from tinybert.cli.registry import COMMANDS
from tinybert.learn import progress, supervisor
from tinybert.learn.catalogue import NAMES, task_of
from tinybert.learn.progress import FOLDER, changing, load

NAME = "loss/softmax"
TASK = task_of(NAME)
WRONG = TASK.exercise.mutants[2]
FIRST = NAMES[0]


@pytest.fixture(autouse=True)
def in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def path(tinybert) -> Path:
    """The learner's file of NAME, in a course that begins with it."""
    assert tinybert("exercises", "start", "--from", NAME).code == 0
    return Path(FOLDER) / f"{NAME}.py"


def entry() -> progress.Entry:
    return load(Path(FOLDER))[NAME]


# --- one run each --------------------------------------------------------------------------------


def test_without_a_folder_it_says_how_to_begin(tinybert, refused) -> None:
    code, out, err = tinybert("exercises")
    assert (code, err) == (0, "")
    assert f"{len(NAMES)} exercises, about" in out
    assert "  tinybert exercises start\n" in out
    assert not list(Path().iterdir())
    assert "no exercises here: run `tinybert exercises start`" in refused("exercises", "check")
    assert "no exercises in 'x'" in refused("exercises", "--folder", "x")


def test_start_then_go_on(tinybert) -> None:
    ran = tinybert("exercises", "start")
    assert ran.code == 0
    assert f"{len(NAMES)} exercises are in the folder {FOLDER}.\n" in ran.out
    assert f"{FOLDER}/{FIRST}.py" in ran.out.replace("\\", "/")
    assert "tinybert exercises check" in ran.out
    page = ran.out.partition("\n\n")[2]
    assert page == tinybert("exercises").out == tinybert("exercises", "next").out
    assert f"{len(NAMES)} were there and are kept" in tinybert("exercises", "start").out
    assert tinybert("exercises", "next", NAME).out.startswith(NAME)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["chek"], "invalid choice: 'chek'"),
        (["check", "softmx"], "there is no exercise 'softmx'; did you mean softmax"),
        (["start", "softmax"], "start takes no NAME; did you mean --from softmax?"),
        (["start", "--from", "x"], "there is no exercise 'x'"),
        (["check-all", "softmax"], "check-all takes no NAME; did you mean check softmax?"),
        (["check", "--yes"], "--yes is an option of reset, not of check"),
        (["--fast"], "--fast is an option of start"),
        (["watch", "--json"], "--json is not an option of watch"),
        (["reset"], "without a terminal, add --yes"),
        (["list", "no such word"], "no exercise has 'no such word' in its name, title or chapter"),
        (["run-model"], "run-model needs a NAME"),
        (["run-model", "mul"], "tape/mul cannot run in a model; these can: "),
    ],
)
def test_wrong_usage(path: Path, refused, words: list[str], error: str) -> None:
    assert error in refused("exercises", *words)


def test_a_damaged_progress_file_is_named(path: Path, refused) -> None:
    file = path.parents[1] / ".tinybert" / "progress.json"
    file.write_text("{")
    for words in (["exercises"], ["exercises", "check"], ["learn"]):
        assert "progress.json: the file is damaged" in refused(*words)


def test_a_mistake_is_shown_and_named(path: Path, tinybert) -> None:
    path.write_text(WRONG.apply(TASK.solution))
    ran = tinybert("exercises", "check")
    assert (ran.code, ran.err) == (1, "")
    first, *_, last = ran.out.splitlines()
    assert first == f"checking {path} ..."
    assert "✗ values" in ran.out
    assert re.search(r"expected \S+ at \[\d, \d, \d\], got \S+", ran.out)
    assert f'known mistake, "{WRONG.name}"' in ran.out
    assert last == "Not yet. A hint: tinybert exercises hint softmax"
    assert (entry().state, entry().attempts) == ("tried", 1)


@pytest.mark.slow
def test_a_check_as_json(path: Path, tinybert) -> None:
    path.write_text(WRONG.apply(TASK.solution) + "\nprint('hello')\n")
    for name in ("softmax", NAME, f"{NAME}.py", str(path)):
        ran = tinybert("exercises", "check", name, "--json")
        found = json.loads(ran.out)
        assert (ran.code, found["is_passed"], found["stage"]) == (1, False, "values")
        assert (found["mistake"][0], found["printed"]) == (WRONG.name, "hello")
    assert entry().attempts == 4


@pytest.mark.slow
def test_solved_and_broken(path: Path, tinybert) -> None:
    path.write_text(TASK.solution)
    ran = tinybert("exercises", "check")
    assert ran.code == 0
    assert "running a real model with your code" in ran.out
    assert "Your code printed" not in ran.out  # what the model may print is not the learner's
    assert f"Well done! {NAME} passes: 1 of {len(NAMES)}." in ran.out
    assert entry().is_done
    assert tinybert("exercises").out.splitlines()[0].startswith(load(Path(FOLDER)).names[1])
    path.write_text(WRONG.apply(TASK.solution))
    (row,) = (line for line in tinybert("exercises", "list").out.splitlines() if "changed" in line)
    assert "softmax" in row
    ran = tinybert("exercises", "check", "softmax")
    assert ran.code == 1
    assert "It passed before; the file has changed since." in ran.out
    assert tinybert("learn", "--json").code == 0


@pytest.mark.slow
def test_check_all_and_a_watch_without_a_terminal(path: Path, tinybert) -> None:
    path.write_text("def softmax(x:\n")
    ran = tinybert("exercises", "check-all")
    assert ran.code == 1
    assert f"{NAME}: runs: line 1: '(' was never closed\n" in ran.out
    assert f"{FIRST}: not written yet\n" in ran.out
    assert ran.out.endswith(f"0 of {len(NAMES)} passed\n")
    found = json.loads(tinybert("exercises", "check-all", "--json").out)
    assert found[FIRST] == "not written yet"
    ran = tinybert("exercises", "watch")
    assert ran.code == 1
    assert "it does not run" in ran.out


def test_hint_solution_reset(path: Path, tinybert, monkeypatch: pytest.MonkeyPatch) -> None:
    hints = TASK.exercise.hints
    for number in range(1, len(hints) + 2):
        out = " ".join(tinybert("exercises", "hint").out.split())
        assert [hint in out for hint in hints] == [n < number for n in range(len(hints))]
    assert "No more hints" in out
    monkeypatch.setenv("COLUMNS", "40")
    ran = tinybert("exercises", "solution")
    assert TASK.answer in ran.out  # code is not cut
    monkeypatch.setenv("COLUMNS", "80")
    assert "marked" in ran.out
    path.write_text("mine")
    ran = tinybert("exercises", "reset", "--yes")
    assert f"{path} is blank again" in ran.out
    assert Path(f"{path}.1").read_text() == "mine"
    assert json.loads(tinybert("exercises", "hint", "--json").out)["of"] == len(hints)
    assert json.loads(tinybert("exercises", "solution", "--json").out)["marked"]
    assert json.loads(tinybert("exercises", "reset", "--yes", "--json").out)["copy"] is None


def test_the_list(path: Path, tinybert) -> None:
    out = tinybert("exercises", "list").out
    assert all(f"  {name.partition('/')[2]} " in out for name in NAMES)
    assert f"0 of {len(NAMES)} done" in out
    (row,) = json.loads(tinybert("exercises", "list", "SOFTMAX: turn", "--json").out)
    assert (row["exercise"], row["lesson"], row["state"]) == (NAME, TASK.exercise.lesson, "new")


def test_colours_in_a_terminal_only(path: Path, tinybert) -> None:
    assert "\x1b" not in tinybert("exercises").out


@pytest.mark.slow
def test_your_code_in_a_model(path: Path, tinybert, minilm: Path) -> None:
    assert tinybert("exercises", "run-model", "softmax").code == 1  # not written yet
    path.write_text(TASK.solution)
    ran = tinybert("exercises", "run-model", "softmax")
    assert ran.code == 0
    assert "running the model embedded, without your code and with it ..." in ran.out
    assert "similarity to 'A man is playing a guitar.':" in ran.out
    assert "The answers of the model stay the same" in ran.out
    results = json.loads(tinybert("exercises", "run-model", "softmax", "--json").out)
    assert [found["model"] for found in results] == ["embedded", "minilm"]
    for found in results:
        assert (found["same"], found["first"]) == (True, "")
        assert found["cosines"]["before"][0][1] == pytest.approx(found["cosines"]["after"][0][1])
    half = TASK.solution.replace("return e /", "return 0.9 * e /")
    path.write_text(half)
    ran = tinybert("exercises", "run-model", "softmax")
    assert ran.code == 1
    assert "--anyway runs it all the same" in ran.out
    ran = tinybert("exercises", "run-model", "softmax", "--anyway")
    assert ran.code == 1
    assert "The answers of the model change" in ran.out
    assert "encoder.layer.0.attention.self.Softmax" in ran.out


def test_every_command_that_learn_names_exists(path: Path, tinybert) -> None:
    for words in ([], ["--folder", FOLDER]):
        out = tinybert("learn", *words).out
        assert len(out.splitlines()) <= 24
        assert max(map(len, out.splitlines())) <= 80
        named = set(re.findall(r"tinybert ([a-z][a-z-]*)", out))
        assert named <= set(COMMANDS)
        assert "exercises" in named


def test_learn_knows_where_one_stopped(tinybert) -> None:
    assert "tinybert exercises start" in tinybert("learn").out
    tinybert("exercises", "start")
    with changing(Path(FOLDER)) as found:
        found.checked(FIRST, progress.sha256_of(found.path(FIRST)))
    out = tinybert("learn").out
    assert f"1 done; next is {NAMES[1]}, about" in out
    assert "goes on from there" in out
    found = json.loads(tinybert("learn", "--json").out)
    assert (found["done"], found["next"], found["folder"]) == (1, NAMES[1], FOLDER)


# --- in a terminal -------------------------------------------------------------------------------


class Terminal:
    """`tinybert exercises` in a pseudo-terminal; what was drawn scrolls by and is kept."""

    def __init__(self, *words: Any, columns: int = 80, **environment: str) -> None:
        import pexpect

        self.timeouts = (pexpect.TIMEOUT, pexpect.EOF)
        self.raw = ""
        self.read_to = 0
        variables = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment}
        for name in ("COLUMNS", "LINES"):
            variables.pop(name, None)
        self.child = pexpect.spawn(
            sys.executable, ["-m", "tinybert", "exercises", *map(str, words)], encoding="utf-8",
            dimensions=(24, columns), env=variables, timeout=HANG, preexec_fn=heed_interrupts,
        )  # fmt: skip

    def read(self) -> bool:
        """Read what is shown; return whether there was anything."""
        try:
            self.raw += self.child.read_nonblocking(100_000, timeout=0.3)
        except self.timeouts:
            return False
        return True

    def wait(self, wanted: str) -> str:
        """Read until a text comes after all that was waited for; return what came before it."""
        until = time.monotonic() + HANG
        while wanted not in self.raw[self.read_to :]:
            assert time.monotonic() < until, f"{wanted!r} is not in:\n{self.raw[self.read_to :]}"
            self.read()
        found = self.raw.index(wanted, self.read_to)
        before, self.read_to = self.raw[self.read_to : found], found + len(wanted)
        return before

    def press(self, keys: str, wanted: str) -> str:
        self.child.send(keys)
        return self.wait(wanted)

    def ended(self) -> int:
        """Wait for the end; check that the terminal is as it was, and return the exit code."""
        import termios

        until = time.monotonic() + HANG
        while self.child.isalive():
            assert time.monotonic() < until, f"it goes on:\n{self.raw}"
            self.read()
        while self.read():
            pass
        modes = termios.tcgetattr(self.child.child_fd)[3]
        assert modes & termios.ECHO
        assert modes & termios.ICANON
        self.child.close()
        return self.child.signalstatus or self.child.exitstatus


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*words: Any, **options: Any) -> Terminal:
        started.append(Terminal(*words, **options))
        return started[-1]

    yield start
    for one in started:
        one.child.close(force=True)


in_a_terminal = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind"
)
KEYS = "q quit"


@in_a_terminal
@pytest.mark.slow
def test_a_watch_from_blank_to_solved(path: Path, terminal, minilm: Path) -> None:
    one = terminal("watch")
    one.wait("not written yet: the TODO is in line 17")
    one.wait(KEYS)
    path.write_text(WRONG.apply(TASK.solution))  # every save is checked
    one.wait(f'known mistake, "{WRONG.name}"')
    one.wait(KEYS)
    path.write_text("def softmax(x:\n")
    one.wait("was never closed")
    one.wait(KEYS)
    one.press("h", "hint 1 of 3")
    one.press("l", f"of {len(NAMES)} done")
    one.press("?", KEYS)
    one.press("r", "was never closed")
    one.wait(KEYS)
    one.press("s", "mark the exercise as shown? y/n")
    one.press("n", "nothing was done")
    one.press("x", "A copy of your file is kept. y/n")
    one.press("y", "softmax.py.1")
    one.wait("not written yet")
    one.wait(KEYS)
    assert path.read_text() == TASK.blank
    other = path.with_name("new")
    other.write_text(TASK.solution)
    other.replace(path)  # as some editors save
    one.wait("Well done!")
    one.wait(KEYS)
    one.press("n", load(Path(FOLDER)).names[1])
    one.wait("not written yet")
    one.wait(KEYS)
    one.child.send("q")
    assert one.ended() == 0
    assert (entry().state, entry().hints) == ("passed", 1)
    assert "\x1b[2J" not in one.raw  # what was shown is not cleared
    assert "\x1b[?1049h" not in one.raw


@in_a_terminal
@pytest.mark.slow
@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(999)"])
def test_ctrl_c_stops_code_that_never_ends(path: Path, terminal, code: str) -> None:
    path.write_text(f"import os\nopen('pid', 'w').write(str(os.getpid()))\n{code}\n")
    one = terminal("watch")
    one.wait("checking")
    pid = path.with_name("pid")
    until = time.monotonic() + HANG
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < until
        time.sleep(0.1)
    one.child.sendintr()
    assert one.ended() == 130
    assert one.raw.rstrip().endswith("interrupted")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert load(Path(FOLDER)).names[0] == NAME


@in_a_terminal
@pytest.mark.slow
def test_the_time_limit_in_a_terminal(path: Path, terminal) -> None:
    path.write_text(TASK.solution.replace("    e = np", "    while True: pass\n    e = np"))
    one = terminal("watch")
    one.wait(f"it did not end within {supervisor.SECONDS:g} seconds")
    one.wait("your line 18: while True: pass")
    one.wait(KEYS)
    one.child.send("q")
    assert one.ended() == 0
    assert entry().state == "tried"


@in_a_terminal
@pytest.mark.slow
def test_much_output_in_a_terminal(path: Path, terminal) -> None:
    noise = "print('\\x1b[2J\\x1b[?25l' + 'x' * 999_990)\n"
    path.write_text(WRONG.apply(TASK.solution) + f"\nfor _ in range(100): {noise}")
    one = terminal("watch")
    one.wait("Your code printed:")
    one.wait("more bytes")
    one.wait(KEYS)
    one.child.send("q")
    assert one.ended() == 0
    assert "\x1b[2J" not in one.raw
    assert "\x1b[?25l" not in one.raw
    assert len(one.raw) < 20_000


@in_a_terminal
@pytest.mark.slow
def test_a_reset_asks(path: Path, terminal) -> None:
    path.write_text("mine")
    one = terminal("reset")
    one.press("n\r", "nothing was done")
    assert one.ended() == 1
    assert path.read_text() == "mine"
    one = terminal("reset", columns=40)
    one.press("y\r", "again; your file is kept")
    assert one.ended() == 0
    assert Path(f"{path}.1").read_text() == "mine"


@in_a_terminal
@pytest.mark.slow
def test_an_editor_is_run_and_left(path: Path, terminal, tmp_path: Path) -> None:
    editor = tmp_path / "editor.py"
    editor.write_text("import sys\nopen(sys.argv[1], 'a').write('x = (')\ninput('edited? ')\n")
    one = terminal("watch", VISUAL=f"{sys.executable} {editor}")
    one.wait(KEYS)
    one.press("o", "edited? ")
    one.press("yes\r", "was never closed")
    one.wait(KEYS)
    one.child.send("q")
    assert one.ended() == 0
    none = terminal("watch", VISUAL="", EDITOR="")
    none.wait(KEYS)
    none.press("o", "set the variable EDITOR")
    none.child.send("q")
    assert none.ended() == 0
