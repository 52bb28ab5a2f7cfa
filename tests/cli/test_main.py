"""The command line as a whole: help, errors in one line, exit codes, pipes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinybert import __version__
from tinybert.cli import fetch
from tinybert.cli.errors import error_message
from tinybert.cli.registry import COMMANDS

NAMES = list(COMMANDS)


def test_without_arguments_it_says_what_to_try_first(tinybert) -> None:
    code, out, err = tinybert()
    assert (code, err) == (0, "")
    assert "tinybert fill-mask" in out
    assert all(f"tinybert {name} " in out for name in NAMES)


def test_version(tinybert) -> None:
    assert tinybert("--version") == (0, f"tinybert {__version__}\n", "")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", ["60", "80"])
def test_help_has_a_worked_example_and_fits(tinybert, monkeypatch, name: str, width: str) -> None:
    monkeypatch.setenv("COLUMNS", width)
    code, out, err = tinybert(name, "--help")
    assert (code, err) == (0, "")
    assert f"usage: tinybert {name}" in out
    assert f"$ tinybert {name} " in out.partition("example:")[2]
    assert "--json" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_list_of_commands_has_a_line_each(tinybert, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = tinybert().out.splitlines()
    for name, summary in COMMANDS.items():
        assert any(line.split() == ["tinybert", name, *summary.split()] for line in lines), name


@pytest.mark.parametrize("words", [[], *([name, "--help"] for name in NAMES)])
def test_a_narrow_terminal_does_not_break_words(tinybert, monkeypatch, words: list[str]) -> None:
    """Commands, which can be copied, stay in one line; argparse wraps the options."""
    monkeypatch.setenv("COLUMNS", "40")
    text = tinybert(*words).out.partition("example:")[0].partition("positional arguments:")[0]
    prose = text.partition("\n\n")[2] if words else text
    lines = [line for line in prose.splitlines() if not re.match('  tinybert [a-z-]+ "', line)]
    assert len(lines) > 5
    assert max(map(len, lines)) <= 40
    monkeypatch.setenv("COLUMNS", "80")
    assert " ".join(prose.split()) in " ".join(tinybert(*words).out.split())


def test_wrong_usage_is_one_line(refused) -> None:
    assert "there is no command 'embde': did you mean embed? (see" in refused("embde")
    assert "did you mean fill-mask?" in refused("fillmask", "--json")
    assert "did you mean similarity?" in refused("similar", "--help")
    assert "'xyz': choose from learn, fetch, models, similarity," in refused("xyz")
    assert "tinybert embed: argument --batch-size: invalid int" in refused(
        "embed", "--batch-size=x"
    )
    assert "--nothing" in refused("inspect", "minilm", "--nothing")
    assert "required: MODEL" in refused("inspect")


def test_module_runs_as_the_script_does() -> None:
    ran = subprocess.run([sys.executable, "-m", "tinybert", "--version"], capture_output=True)
    assert (ran.returncode, ran.stdout.decode().strip()) == (0, f"tinybert {__version__}")


def test_a_closed_pipe_is_quiet(minilm) -> None:
    command = [sys.executable, "-m", "tinybert", "tokenize", "--file", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"some words here\n" * 2000)
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.skipif(sys.platform == "win32", reason="closes files as a POSIX shell does")
@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ("inspect minilm >&-", 0, ""),
        ("similarity one 2>&-", 2, ""),
        ("tokenize <&-", 2, "tinybert tokenize: no text given"),
    ],
)
def test_a_stream_that_is_closed_from_the_start(minilm, words: str, code: int, error: str) -> None:
    script = f'"{sys.executable}" -m tinybert {words}'
    ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert ran.returncode == code
    assert ran.stderr.startswith(error)
    assert ran.stderr.count("\n") == bool(error)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", ["", "--help", "--version", "embed --help", "inspect minilm"])
@pytest.mark.parametrize("buffered", ["", pytest.param("-u", marks=pytest.mark.slow)])
def test_what_cannot_be_printed_is_an_error(minilm, words: str, buffered: str, monkeypatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    script = f'"{sys.executable}" {buffered} -m tinybert {words} >/dev/full'
    ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert ran.returncode == 2
    assert re.fullmatch(r"tinybert( \w+)?: No space left on device\n", ran.stderr)


@pytest.mark.parametrize("script", [True, False])
def test_ctrl_c_during_the_imports_is_one_line(tmp_path, script: bool) -> None:
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt")
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    (tmp_path / "tinybert").write_text("from tinybert.cli.main import main")  # as pip makes it
    words = [str(tmp_path / "tinybert")] if script else ["-m", "tinybert", "--help"]
    ran = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert ran.stderr == "interrupted\n"
    assert ran.returncode in (130, -signal.SIGINT)
    other = [sys.executable, "-c", "import tinybert"]  # for others, Python's own report
    ran = subprocess.run(other, capture_output=True, text=True, env=environment)
    assert "Traceback" in ran.stderr


def test_home_folders_that_are_unknown(refused, monkeypatch) -> None:
    monkeypatch.delenv("TINYBERT_HOME", raising=False)
    for name in ("~nobody-of-that-name/model", "~nobody-of-that-name"):
        assert f"{name!r} is neither a file or folder nor" in refused("inspect", name)
        assert f"there is no folder {name!r}" in refused("embed", "a", "--model", name)
        assert f"there is no folder {name!r}" in refused("classify", "a", "--model", name)
    monkeypatch.setattr(os.path, "expanduser", lambda path: os.fspath(path))  # no HOME, no entry
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert "is unknown: set TINYBERT_HOME" in refused("embed", "a", "--model", "minilm")
    assert "is unknown: set HF_HOME" in refused("classify", "a", "--model", "owner/name")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError("cannot allocate"), 2, "tinybert fetch: not enough memory (cannot allocate)"),
        (ValueError("two\n  lines"), 2, "tinybert fetch: two lines"),
        (
            PermissionError(13, "Permission denied", "/x"),
            2,
            "tinybert fetch: /x: Permission denied",
        ),
    ],
)
def test_errors_and_interruptions(tinybert, monkeypatch, error, code: int, message: str) -> None:
    def fail(**options: object) -> None:
        raise error

    monkeypatch.setattr(fetch, "fetch_minilm", fail)
    ran = tinybert("fetch", "minilm")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.splitlines()[1:] == [message]


def test_faults_of_our_own_are_not_hidden(tinybert, monkeypatch) -> None:
    def fail(**options: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(fetch, "fetch_minilm", fail)
    with pytest.raises(AssertionError, match="a bug"):
        tinybert("fetch", "minilm")


def test_an_error_without_words_is_named() -> None:
    assert error_message(ImportError()) == "ImportError"
