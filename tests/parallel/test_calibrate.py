"""`tinybert plan --calibrate` measures constants and runs, and its file is read again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tinybert.cli.main import main
from tinybert.parallel.plan import calibrate as module
from tinybert.parallel.plan.job import Job
from tinybert.parallel.plan.machines import read_machine
from tinybert.parallel.plan.prediction import predict
from tinybert.parallel.plan.runs import read_runs
from tinybert.parallel.plan.shapes import Shape
from tinybert.parallel.simulated import run


def test_grids_are_all_ways_to_split_the_ranks() -> None:
    assert list(module.grids(4)) == [
        (1, 1, 4),
        (1, 2, 2),
        (1, 4, 1),
        (2, 1, 2),
        (2, 2, 1),
        (4, 1, 1),
    ]


def test_a_number_of_ranks_without_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"among 3 ranks; start 1, 2, 4, 8"):
        run(3, lambda world: module.calibrate(world, print))


def test_constants_are_found_again() -> None:
    """From exact times the least squares give the numbers that made them."""
    rng = np.random.default_rng(0)
    rows = rng.uniform(1, 2, (5, 2))
    assert module._positive(rows, rows @ [0.3, 2.0]) == pytest.approx((0.3, 2.0))
    a, b = module._positive(rows, rows @ [0.3, -0.1])
    assert a > 0
    assert b == 0
    with pytest.raises(ValueError, match="too busy to measure"):
        module._positive(rows, -rows[:, 0])
    sizes = np.array(module.MESSAGES)
    seconds = 2 * 3 * (1e-5 + sizes / 4 / 1e9)
    assert module._link(4, seconds) == pytest.approx((1e-5, 1e9))


def test_a_file_of_measured_constants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "REPEATS", 1)
    monkeypatch.setattr(module, "MEASURED", Shape("megatron-bert", 2, 16, 2, 32, 8))
    path = tmp_path / "constants.json"
    assert main(["plan", "--calibrate", "--output", str(path)]) == 0
    assert "GFLOP/s in matrix products" in capsys.readouterr().out
    machine, (only,) = read_machine(path), read_runs(path)
    job = Job(batch=8, micro=8, precision="float32")
    assert only.predicted == predict(module.MEASURED, job, machine).seconds
    assert only.seconds > 0
    call = ["plan", "--model", "megatron-336m", "--constants", str(path), "--json"]
    assert main(call) == 0
    assert json.loads(capsys.readouterr().out)["machine"] == "measured on 1 rank(s)"
    assert main(["plan", "--calibrate", "--output", str(tmp_path / "x.txt")]) == 2
    assert "--output must end in .json" in capsys.readouterr().err
    path.write_text("{}", "utf-8")
    with pytest.raises(ValueError, match="is not a file of tinybert plan --calibrate"):
        read_runs(path)


@pytest.mark.slow
def test_simulated_ranks_measure_every_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPEATS", 2)
    said: list[str] = []

    def job(world):
        return module.calibrate(world, said.append)

    (machine, runs), (other, others) = run(2, job)
    assert runs == others  # all ranks take the time of the slowest
    assert machine.matmul == other.matmul
    assert {(r.tensor, r.pipeline, r.data) for r in runs} == {(1, 1, 2), (1, 2, 1), (2, 1, 1)}
    assert all(r.seconds > 0 and r.predicted > 0 for r in runs)
    assert "round 3 of 3 ..." in said
