"""`tinybert plan` prints a plan, the papers, and the shapes; a wrong call says what to do."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tinybert.cli.main import main
from tinybert.parallel.plan.machines import MACHINES
from tinybert.parallel.plan.shapes import PRESETS

LARGE = ["plan", "--model", "megatron-8.3b", "--gpus", "512", "--tensor", "8", "--micro", "8"]


def test_a_plan_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LARGE, "--recompute", "full", "--machine", "v100"]) == 0
    text = capsys.readouterr().out
    assert "8.32 billion parameters on 512 ranks: tensor 8, pipeline 1, data 64" in text
    for line in ("selective recomputation, sequence parallel", "messages: tensor", "PFLOP/s"):
        assert line in text
    assert main([*LARGE, "--pipeline", "4", "--virtual-stages", "2"]) == 0
    assert ": tensor 8, pipeline 4 x 2 virtual stages, data 16" in capsys.readouterr().out
    assert main([*LARGE, "--recompute", "full", "--machine", "v100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == PRESETS["megatron-8.3b"][0].parameters
    seconds = found["seconds"]
    assert sum(seconds.values()) == pytest.approx(2 * seconds["step"])
    assert found["memory"]["total"] < found["memory"]["capacity"]
    assert found["job"]["batch"] == 512


def test_a_folder_and_its_own_constants(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "constants.json"
    path.write_text(json.dumps(asdict(MACHINES["h100"])), "utf-8")
    call = ["plan", "--model", "embedded", "--length", "128", "--json"]
    answers = []
    for more in (["--constants", str(path)], ["--machine", "h100"]):
        assert main([*call, *more]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]
    assert 21e6 < answers[0]["parameters"] < 22e6


def test_the_papers_and_the_shapes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["plan", "--papers"]) == 0
    text = capsys.readouterr().out
    assert "15.1 PFLOP/s" in text
    assert "predictions: median deviation" in text
    assert main(["plan", "--papers", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 36
    assert main(["plan", "--models", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == list(PRESETS)
    pytest.importorskip("matplotlib")
    assert main(["plan", "--papers", "--output", str(tmp_path / "plan.svg")]) == 0
    assert "1909.08053" in (tmp_path / "plan.svg").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*LARGE, "--batch", "1000"], "--batch must be a multiple of"),
        ([*LARGE[:3], "--tensor", "5"], "--tensor must be a divisor of the 32 heads"),
        ([*LARGE[:3], "--gpus", "3", "--tensor", "2"], "--gpus must be a multiple of"),
        ([*LARGE, "--output", "x.png"], "--output is an option of --papers"),
        ([*LARGE, "--constants", "missing.json"], "missing.json"),
        ([*LARGE, "--machine", "a100", "--constants", "x"], "not allowed with argument --machine"),
        ([*LARGE[:3], "--virtual-stages", "2"], "--virtual-stages must be 1 unless pipeline"),
        ([*LARGE[:3], "--pipeline", "5"], "--pipeline must be a divisor of the "),
        ([*LARGE, "--length", "0"], "--length must be an integer >= 1"),
        (["plan", "--papers", "--gpus", "8", "--zero"], "--gpus, --zero: only with --model"),
        (["plan", "--model", "./nothing"], "is not in the list of tinybert plan --models"),
        (["plan", "--papers", "--measured", "x.json"], "--papers with --output"),
        (["plan"], "one of the arguments --model --models --papers"),
    ],
)
def test_a_wrong_call_says_what_to_do(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    assert words in capsys.readouterr().err
