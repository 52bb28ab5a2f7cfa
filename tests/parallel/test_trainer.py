"""The training loop on grids: equal to one process, resumed on other grids, complete or absent."""

import json
import math

import numpy as np
import pytest

import tinybert
from tests.parallel.models import Endless, make_batch, make_model, on_grid
from tinybert.parallel.checkpoint import INDEX, Parts
from tinybert.parallel.trainer import ParallelTrainer
from tinybert.training import Trainer, TrainingConfig
from tinybert.training.checkpoint import checkpoints
from tinybert.weights import CheckpointError, load_file


def config(data=1, steps=6, **options):
    return TrainingConfig(
        steps, accumulation=4 // data, learning_rate=0.01, save_every=2, keep=9, **options
    )


def train(folder, name, stop=None, fault=None, zero=False, **grid):
    """Train on a grid, all steps or until `stop`; resume if there is a checkpoint."""

    def work(model, ranks):
        trainer = ParallelTrainer(
            model, Endless(name), config(ranks.data.size), folder, ranks,
            sequence=True, zero=zero, save=lambda folder: None,
        )  # fmt: skip
        trainer.resume()
        if fault is not None:
            fault(trainer)
        if stop is None:
            return trainer.train()
        trainer._due = lambda every: every == 2 and trainer.step % 2 == 0
        original = trainer.save_checkpoint

        def save():
            original()
            if trainer.step == stop:
                raise KeyboardInterrupt

        trainer.save_checkpoint = save
        return trainer.train()

    return on_grid(make_model(name), work, **grid)


def weights(folder):
    return load_file(folder / "model.safetensors")


def assert_close(found, expected, tolerance=1e-10):
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, rtol=0, atol=tolerance, err_msg=key)


@pytest.mark.slow
def test_the_loop_equals_the_trainer_of_one_process(tmp_path):
    """Without dropout, whose numbers differ, the whole run is that of `Trainer`."""
    name = "nemotron"

    def model():
        made = make_model(name)
        for module in made.modules():
            for attribute in ("p", "dropout"):
                if isinstance(getattr(module, attribute, None), float):
                    setattr(module, attribute, 0.0)
        return made

    Trainer(model(), Endless(name), config(), tmp_path / "one").train()

    def work(m, grid):
        ParallelTrainer(m, Endless(name), config(2), tmp_path / "four", grid).train()

    on_grid(model(), work, tensor=2, data=2)
    assert_close(weights(tmp_path / "four"), weights(tmp_path / "one"))
    lines = [(tmp_path / f / "log.jsonl").read_text().splitlines() for f in ("one", "four")]
    one, four = ([json.loads(line) for line in file] for file in lines)
    assert len(one) == len(four) == 1
    assert four[0]["loss"] == pytest.approx(one[0]["loss"], abs=1e-10)
    assert four[0]["norm"] == pytest.approx(one[0]["norm"], abs=1e-10)
    tinybert.NemotronForCausalLM.from_pretrained(tmp_path / "four")


def test_a_run_resumes_on_another_grid(tmp_path):
    name = "megatron-pretraining"
    train(tmp_path / "whole", name)
    grids = [
        {"tensor": 2, "pipeline": 2},
        {"pipeline": 2, "data": 2, "zero": True},
        {"tensor": 4},
    ]
    for stop, grid in zip((2, 4, None), grids, strict=True):
        if stop is None:
            train(tmp_path / "moved", name, **grid)
        else:
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path / "moved", name, stop, **grid)
    assert_close(weights(tmp_path / "moved"), weights(tmp_path / "whole"))


@pytest.mark.slow
def test_a_run_resumes_bit_for_bit_on_the_same_grid(tmp_path):
    name, grid = "bert-mlm", {"tensor": 2, "data": 2, "zero": True}
    train(tmp_path / "whole", name, **grid)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", name, 4, **grid)
    train(tmp_path / "stopped", name, **grid)
    expected = weights(tmp_path / "whole")
    for key, array in weights(tmp_path / "stopped").items():
        np.testing.assert_array_equal(array, expected[key])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-mlm", "megatron-pretraining", "nemotron"])
def test_the_best_model_is_kept_and_all_ranks_evaluate_the_whole_model(tmp_path, name):
    batch = make_batch(name, 3, seed=99)

    def work(model, grid):
        scores = []

        def evaluate(m):
            with tinybert.no_grad():
                output = m(**batch)
            logits = output.get("logits", output.get("prediction_logits"))
            scores.append((float(output.loss), logits.shape[-1]))
            return {"loss": abs(len(scores) - 2.0)}  # the second is the best

        options = config(grid.data.size, evaluate_every=2)
        folder = tmp_path / str(grid.world.size)
        ParallelTrainer(model, Endless(name), options, folder, grid, evaluate=evaluate).train()
        return scores

    (alone,) = on_grid(make_model(name), work)
    for scores in on_grid(make_model(name), work, tensor=2, data=2):
        np.testing.assert_allclose(scores, alone, rtol=0, atol=1e-10)
    assert alone[1][1] == 37
    for folder in (tmp_path / "1", tmp_path / "4"):
        np.testing.assert_equal(weights(folder), weights(folder / "best"))
        parts = Parts(checkpoints(folder)[-1])  # of the last step, which is not the best
        kind, key = next(iter(parts.entries))
        assert np.abs(parts.read(kind, key) - weights(folder)[key]).max() > 1e-5
    assert_close(weights(tmp_path / "4"), weights(tmp_path / "1"))


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["forward", "backward", "update", "write"])
def test_a_rank_that_fails_ends_all_and_leaves_a_checkpoint(tmp_path, phase):
    name, grid = "bert-mlm", {"pipeline": 2, "data": 2}

    def fault(trainer):
        if trainer.part.grid.world.rank != 2:
            return
        owner, method = {
            "forward": (trainer.run.part.model.base_model, "forward"),
            "backward": (trainer.run.buckets, "finish"),
            "update": (trainer.optimizer, "step"),
            "write": (trainer, "_write_own"),
        }[phase]
        original = getattr(owner, method)

        def failing(*args, **kwargs):
            if trainer.step >= 3:
                raise OSError("rank 2 of 4 lost its disk")
            return original(*args, **kwargs)

        setattr(owner, method, failing)

    with pytest.raises(OSError, match="lost its disk"):
        train(tmp_path, name, fault=fault, **grid)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-00000002"]
    train(tmp_path, name, **grid)
    assert not list(tmp_path.glob(".checkpoint*"))
    if phase == "write":
        train(tmp_path / "whole", name, **grid)
        assert_close(weights(tmp_path), weights(tmp_path / "whole"), tolerance=0)


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path):
    name = "bert-mlm"
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, name, 2, tensor=2)
    folder = checkpoints(tmp_path)[0]
    with pytest.raises(
        ValueError, match=r"had 4 \* 1 batches .* now it has 1 \* 2; set acc.* to 2"
    ):
        on_grid(
            make_model(name),
            lambda m, g: ParallelTrainer(m, Endless(name), TrainingConfig(6), tmp_path, g).resume(),
            data=2,
        )
    with pytest.raises(ValueError, match="written by ranks of MPI"):
        Trainer(make_model(name), Endless(name), config(), tmp_path).resume()
    index = json.loads((folder / INDEX).read_text())
    kept = [entry for entry in index if entry["span"][0] == 0]
    (folder / INDEX).write_text(json.dumps(kept))
    with pytest.raises(CheckpointError, match=r"of the .* numbers of weight of"):
        train(tmp_path, name, tensor=2)
    (folder / INDEX).write_text("[{}]")
    with pytest.raises(CheckpointError, match="is damaged"):
        Parts(folder)


@pytest.mark.parametrize(
    ("options", "grid", "message"),
    [
        ({"evaluate": lambda m: {"loss": math.inf}}, {"pipeline": 2}, "pipeline=1"),
        ({"extra": tinybert.nn.Linear(1, 1)}, {"data": 2}, "weights of its own"),
    ],
)
def test_options_that_a_grid_cannot_do_are_refused(tmp_path, options, grid, message):
    def work(model, ranks):
        ParallelTrainer(model, Endless("bert-mlm"), config(), tmp_path, ranks, **options)

    with pytest.raises(ValueError, match=message):
        on_grid(make_model("bert-mlm"), work, **grid)
