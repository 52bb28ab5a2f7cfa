"""A rank that is killed in each phase of training: the job ends, and resumes bit for bit.

python -m tests.parallel.test_faults 20         # as often in each phase
"""

import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from tests.parallel.faulty_job import BY_ALL, PHASES, STRUCK
from tests.parallel.test_mpi import finish, needs_mpi, start
from tinybert.parallel.checkpoint import Parts
from tinybert.training.checkpoint import checkpoints
from tinybert.weights import load_file

KILLS = 3


def train(folder, phase, steps, *fault):
    return finish(start(2, "tests.parallel.faulty_job", folder, phase, steps, *fault))


def assert_resumes_after_kills(tmp_path, phase, kills):
    """Kill a run `kills` times, each time after a checkpoint, and compare it with a whole run."""
    steps, rng = 3 * kills + 2, random.Random(phase)
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    assert train(whole, phase, steps) == (0, "")
    folder.mkdir()
    spots = PHASES[phase][1]
    for number in range(kills):
        spot = number % len(spots)
        rank = 0 if phase == "checkpoint" and spot >= BY_ALL else rng.randrange(2)
        call, moment = rng.randint(1, spots[spot][2]), rng.choice(("before", "after"))
        before = [path.name for path in checkpoints(folder)]
        code, output = train(folder, phase, steps, rank, spot, call, moment)  # it does not hang
        assert code != 0, output
        (folder / STRUCK).unlink()  # the rank has killed itself, and nothing else has failed
        assert checkpoints(folder)[-1].name not in before
    assert train(folder, phase, steps) == (0, "")
    expected, found = (load_file(path / "model.safetensors") for path in (whole, folder))
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    last, own = (Parts(checkpoints(path)[-1]) for path in (whole, folder))
    assert len(last.entries) == 3 * len({name for _, name in last.entries})  # Adam's two
    for kind, name in last.entries:
        np.testing.assert_array_equal(own.read(kind, name), last.read(kind, name), err_msg=name)
    assert not list(folder.glob(".checkpoint*"))


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_a_rank_killed_in_a_phase_ends_the_job_which_resumes_bit_for_bit(phase, tmp_path):
    assert_resumes_after_kills(tmp_path, phase, max(KILLS, len(PHASES[phase][1])))


if __name__ == "__main__":
    for name in PHASES:
        with tempfile.TemporaryDirectory() as place:
            begin, count = time.monotonic(), int(sys.argv[1])
            assert_resumes_after_kills(Path(place), name, count)
            seconds = time.monotonic() - begin
            print(f"{name}: {count} kills, resumed bit for bit, {seconds:.0f} s", flush=True)
