"""`tinybert step`: what is recorded for a text, the listing, and the screen in a terminal."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipelines.twins import Make, model_folder  # noqa: F401 (a fixture)
from tests.terminals import HANG, heed_interrupts
from tinybert import load_trace
from tinybert.embedding import SentenceEmbedder, similarity
from tinybert.pipelines import pipeline

TEXTS = ["The king went home.", "A queen came to town."]
MASKED = "The king of [MASK] costs $5."


@pytest.fixture(scope="module")
def folders(model_folder: Make) -> dict[str, str]:  # noqa: F811
    made = {
        "words": model_folder("BertForMaskedLM"),
        "classes": model_folder("BertForSequenceClassification", num_labels=3),
        "next": model_folder("BertLMHeadModel", seed=1, is_decoder=True),
        "bare": model_folder("BertModel"),
        "value": model_folder("BertForSequenceClassification", num_labels=1),
    }
    return {name: str(folder) for name, folder in made.items()}


@pytest.fixture
def listed(tinybert, folders: dict[str, str]) -> Callable[..., Any]:
    """The JSON of a text and a model."""

    def run(model: str, *words: str) -> Any:
        ran = tinybert("step", *words, "--model", folders[model], "--json")
        assert (ran.code, ran.err) == (0, "")
        return json.loads(ran.out)

    return run


# --- what is recorded ----------------------------------------------------------------------------


def test_the_cosine_of_two_texts(listed, folders) -> None:
    result = listed("bare", *TEXTS)
    vectors = SentenceEmbedder.from_pretrained(folders["bare"]).encode(TEXTS)
    assert result["loss"] == pytest.approx(similarity(vectors)[0, 1], abs=1e-5)
    assert result["title"] == f"cosine of two texts = {result['loss']:.4f}"
    assert [row[0] for row in result["tokens"]] == ["[CLS]", "[CLS]"]
    phases = [step["phase"] for step in result["steps"]]
    assert phases == sorted(phases, reverse=True)
    assert {"forward", "backward"} == set(phases)
    assert listed("words", *TEXTS)["title"].startswith("cosine")


def test_the_length_of_one_embedding(listed, folders) -> None:
    (vector,) = SentenceEmbedder.from_pretrained(folders["bare"]).encode(TEXTS[:1])
    assert listed("bare", TEXTS[0])["loss"] == pytest.approx(np.linalg.norm(vector), rel=1e-5)


def test_a_masked_word(listed, folders, refused) -> None:
    fill = pipeline("fill-mask", folders["words"])
    assert listed("words", MASKED)["loss"] == pytest.approx(
        -np.log(fill(MASKED)[0]["score"]), abs=1e-4
    )
    house = fill(MASKED, targets="house")[0]["score"]
    result = listed("words", MASKED, "--word", "house")
    assert result["title"].startswith("-log p(house) = ")
    assert result["loss"] == pytest.approx(-np.log(house), abs=1e-4)
    assert "mean -log p of 2 words" in listed("words", "[MASK] and [MASK]")["title"]
    model = ["--model", folders["words"]]
    assert "--word must be single tokens" in refused("step", MASKED, "--word", "abc def", *model)
    assert "word is an option of fill-mask" in refused("step", TEXTS[0], "--word", "a", *model)


def test_a_label_and_the_next_words(listed, folders) -> None:
    classify = pipeline("text-classification", folders["classes"])
    (best,) = classify(TEXTS[0])
    result = listed("classes", TEXTS[0])
    assert result["title"].startswith(f"-log p({best['label']})")
    assert result["loss"] == pytest.approx(-np.log(best["score"]), abs=1e-4)
    pair = classify({"text": TEXTS[0], "text_pair": TEXTS[1]})
    assert listed("classes", *TEXTS)["loss"] == pytest.approx(-np.log(pair["score"]), abs=1e-4)
    model = pipeline("text-generation", folders["next"])
    ids = np.array([model.tokenizer(TEXTS[0])["input_ids"]])
    expected = float(model.model(ids, labels=ids).loss.numpy())
    assert listed("next", TEXTS[0])["loss"] == pytest.approx(expected, abs=1e-5)


def test_a_script(tinybert, refused, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, sys, tinybert\n"
        "x = tinybert.Tensor(np.arange(3.0), requires_grad=True)\n"
        "(x * x).sum().backward()\n"
        "print('said', sys.argv[1:], __name__)\n"
        "sys.exit()\n"
    )
    ran = tinybert("step", "--script", script)
    assert ran.err == "said [] __main__\n"
    title, *steps = ran.out.splitlines()
    assert title == "script.py: 4 steps"
    assert [line.split()[2] for line in steps] == ["Mul", "Sum", "Sum", "Mul"]
    assert "script.py:3" in steps[0]
    script.write_text(
        "import numpy as np, tinybert\n"
        "w = tinybert.nn.Parameter(np.ones(2))\n"
        "(w * w).sum().backward()\n"
        "tinybert.optim.SGD([w], lr=0.1).step()\n"
    )
    last = tinybert("step", "--script", script).out.splitlines()[-1]
    assert last.split()[1:3] == ["update", "SGD"]
    assert last.endswith("script.py:4")
    script.write_text("import tinybert\n\nraise TypeError('no\\nway')\n")
    assert f"{script}:3: TypeError: no way" in refused("step", "--script", script)
    script.write_text("pass\n")
    assert "ran no operation of tinybert" in refused("step", "--script", script)
    assert "there is no file 'nowhere.py'" in refused("step", "--script", "nowhere.py")


def test_a_record_is_saved_and_read(tinybert, refused, folders, tmp_path: Path) -> None:
    record = tmp_path / "a.trace"
    model = ["--model", folders["bare"]]
    first = tinybert("step", TEXTS[0], *model, "--save", record).out.splitlines()
    assert len(load_trace(record)) == len(first) - 1
    assert tinybert("step", "--from", record, "--list").out.splitlines() == first
    read = json.loads(tinybert("step", "--from", record, "--json").out)
    assert read["tokens"][0][:2] == ["[CLS]", "the"]
    assert f"= {read['loss']:.4f}" in first[0]
    record.write_text("no record")
    assert "a.trace" in refused("step", "--from", record)


def test_wrong_usage(refused, folders, minilm) -> None:
    model = ["--model", folders["bare"]]
    assert "no text given: give TEXT in quotes, or --script FILE" in refused("step", *model)
    assert "too much is given" in refused("step", "a", "--script", "b.py", *model)
    assert "takes one text or two, got 3" in refused("step", "a", "b", "c", *model)
    assert "fill-mask takes one text, got 2" in refused(
        "step", "a", "b", "--task", "fill-mask", "--model", folders["words"]
    )
    assert "has no trained weights for fill-mask" in refused("step", MASKED, *model)
    assert "--word needs a TEXT" in refused("step", "--script", "x.py", "--word", "a")
    assert "two labels or more" in refused("step", "a", "--model", folders["value"])


def test_a_script_that_exits(refused, tinybert, tmp_path: Path) -> None:
    run = "import sys, tinybert\ntinybert.Tensor([1.0]).exp()\n"
    (tmp_path / "bad.py").write_text(run + "sys.exit('no data')\n")
    assert "bad.py ended itself with 'no data'" in refused(
        "step", "--script", tmp_path / "bad.py", "--list"
    )
    (tmp_path / "good.py").write_text(run + "sys.exit(0)\n")
    assert tinybert("step", "--script", tmp_path / "good.py", "--list").code == 0


# --- in a terminal -------------------------------------------------------------------------------


class Terminal:
    """A process in a pseudo-terminal, and the screen that it draws."""

    def __init__(self, columns: int, rows: int, *words: str, **environment: str) -> None:
        import pexpect
        import pyte

        self.timeouts = (pexpect.TIMEOUT, pexpect.EOF)
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        variables = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment}
        for name in ("COLUMNS", "LINES"):
            variables.pop(name, None)
        command = ["-m", "tinybert", "step", *words]
        self.child = pexpect.spawn(
            sys.executable, command, dimensions=(rows, columns), env=variables, timeout=HANG,
            preexec_fn=heed_interrupts,
        )  # fmt: skip

    def text(self) -> str:
        return "\n".join(self.screen.display)

    def wait(self, wanted: str) -> str:
        """Read what is drawn until the screen has a text."""
        until = time.monotonic() + HANG
        while wanted not in self.text():
            assert time.monotonic() < until, f"{wanted!r} is not in:\n{self.text()}"
            self.read()
        return self.text()

    def read(self) -> bool:
        """Read what is drawn; return whether there was anything."""
        try:
            sent = self.child.read_nonblocking(100_000, timeout=0.3)
        except self.timeouts:
            return False
        self.raw += sent
        self.stream.feed(sent)
        return True

    def press(self, keys: str, wanted: str) -> str:
        self.child.send(keys)
        return self.wait(wanted)

    def wait_for_end(self) -> None:
        """Read until the process has ended, and what it drew last."""
        until = time.monotonic() + HANG
        while self.child.isalive():
            assert time.monotonic() < until, f"it goes on:\n{self.text()}"
            self.read()
        while self.read():
            pass

    def ended(self) -> int:
        """Wait for the end; check that the terminal is as it was, and return the exit code."""
        self.wait_for_end()
        self.child.close()
        assert self.raw.rindex(b"\x1b[?1049l") > self.raw.rindex(b"\x1b[?1049h")
        assert self.raw.rindex(b"\x1b[?25h") > self.raw.rindex(b"\x1b[?25l")
        assert self.raw.rindex(b"\x1b[?7h") > self.raw.rindex(b"\x1b[?7l")
        return self.child.signalstatus or self.child.exitstatus


in_a_terminal = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind"
)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*words: Any, **environment: str) -> Terminal:
        started.append(Terminal(*words, **environment))
        return started[-1]

    yield start
    for one in started:
        one.child.close(force=True)


@in_a_terminal
@pytest.mark.parametrize("columns", [40, 80, 140])
def test_a_walk_in_a_terminal(
    terminal, folders, columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # e saves a picture there
    one = terminal(columns, 40, *TEXTS, "--model", folders["bare"])
    shown = one.wait("? help  q quit")
    assert "forward step" in shown
    assert "Softmax  encoder.layer.0.attent" in shown
    assert ("│" in shown) == (columns >= 100)
    one.press("gencoder.layer.1.attention.self.Softmax\r", "Softmax  encoder.layer.1.atten")
    one.press("d", "backward step")
    one.press("\x1b[C", "dx[0, 0, 0, 1]")
    one.press("]", "dx[0, 1, 0, 1]")
    one.press("e", "saved as step-")
    assert len(list(tmp_path.glob("step-*-dx-0-1.svg"))) == 1
    one.press("B", "Div")
    one.press("b", "forward step")
    one.press("n", "The forward half ends with the loss")
    one.press("?", "this page")
    one.child.send("qq")
    assert one.ended() == 0


@in_a_terminal
def test_the_terminal_is_resized(terminal, folders) -> None:
    one = terminal(140, 40, *TEXTS, "--model", folders["bare"])
    one.wait("│")
    one.screen.resize(24, 80)
    one.child.setwinsize(24, 80)
    assert "│" not in one.wait("tab: next pane")
    one.press("\t\t", "▶")
    one.child.send("q")
    assert one.ended() == 0


@in_a_terminal
@pytest.mark.parametrize(
    ("stop", "code"), [("ctrl-c", 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_it_is_stopped(terminal, folders, stop: Any, code: int) -> None:
    import termios

    one = terminal(80, 24, *TEXTS, "--model", folders["bare"])
    one.wait("? help")
    assert not termios.tcgetattr(one.child.child_fd)[3] & termios.ECHO
    if stop == "ctrl-c":
        one.child.sendintr()
    else:
        one.child.kill(stop)
    one.wait_for_end()
    assert termios.tcgetattr(one.child.child_fd)[3] & termios.ECHO
    assert one.ended() == code


@in_a_terminal
def test_terminals_without_colours_or_blocks(terminal, folders) -> None:
    words = [*TEXTS, "--model", folders["bare"]]
    one = terminal(120, 40, *words, NO_COLOR="1")
    one.press("v", "ink by magnitude")
    assert b"m" not in {part[-1:] for part in one.raw.split(b"\x1b[") if part}
    one.child.send("q")
    one.ended()
    ascii_one = terminal(120, 40, *words, LC_ALL="C", PYTHONIOENCODING="ascii")
    assert ascii_one.wait("? help").isascii()
    ascii_one.child.send("q")
    ascii_one.ended()
    dumb = terminal(120, 40, *words, TERM="dumb")
    dumb.wait_for_end()
    assert b"\x1b" not in dumb.raw
    assert b"cosine of two texts" in dumb.raw
