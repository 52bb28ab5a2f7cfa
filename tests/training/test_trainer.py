"""The training loop: what it computes, and that it can be stopped and continued at any moment."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.training.conftest import bert_config
from tinybert.training import Batches, Trainer, TrainingConfig
from tinybert.training.checkpoint import checkpoints
from tinybert.training.language_modeling import LanguageModeling
from tinybert.training.log import read_log

VOCAB, LENGTH = 40, 9


class Rows:
    """Examples of random tokens; the same in every process."""

    def __init__(self, count: int = 24) -> None:
        self.ids = np.random.default_rng(0).integers(5, VOCAB, (count, LENGTH))
        self.lengths = np.full(count, LENGTH)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[index]


def collate(rows: list[np.ndarray], rng: np.random.Generator) -> dict[str, Any]:
    """Hide a random number of tokens in each row."""
    ids = np.stack(rows)
    hidden = rng.random(ids.shape) < 0.3
    hidden[:, 0] = True
    return {"input_ids": np.where(hidden, 4, ids), "labels": np.where(hidden, ids, -100)}


NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def small(**options: Any) -> tinybert.BertConfig:
    return bert_config(VOCAB, max_position_embeddings=LENGTH, **options)


def trainer(folder: Path, dtype: str = "float32", **options: Any) -> Trainer:
    """A run over a small BERT with dropout."""
    settings = {"steps": 12, "learning_rate": 1e-2, "save_every": 3, "log_every": 1}
    with tinybert.manual_seed(5), tinybert.set_default_dtype(dtype):
        model = tinybert.BertForMaskedLM(small(**options.pop("model", {})))
    extra = {k: options.pop(k) for k in ("evaluate", "best", "loss", "count") if k in options}
    batches = Batches(Rows(), collate, 4, seed=2)
    return Trainer(model, batches, TrainingConfig(**{**settings, **options}), folder, **extra)


def weights(folder: Path) -> dict[str, np.ndarray]:
    return tinybert.load_checkpoint(folder)


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# --- what it computes -----------------------------------------------------------------------------


def test_the_loss_falls_and_is_logged(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=60)
    run.train()
    log = read_log(tmp_path)
    assert [line["step"] for line in log] == list(range(1, 61))
    assert log[-1]["loss"] < log[0]["loss"] - 0.2
    assert log[3]["learning_rate"] < log[4]["learning_rate"] == 1e-2 > log[-1]["learning_rate"]
    assert {"norm", "tokens_per_second"} <= log[0].keys()
    assert not run.model.training


def test_batches_of_a_step_are_one_large_batch(tmp_path: Path) -> None:
    """Their losses are means over different numbers of labels."""
    options = {"steps": 1, "warmup": 0.0, "dtype": "float64", "max_grad_norm": None}
    run = trainer(tmp_path, accumulation=3, optimizer="sgd", model=NO_DROPOUT, **options)
    batches = Batches(Rows(), collate, 4, seed=2)
    parts = [next(batches) for _ in range(3)]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    with tinybert.manual_seed(5), tinybert.set_default_dtype("float64"):
        model = tinybert.BertForMaskedLM(small(**NO_DROPOUT))
    loss = model(**whole).loss
    loss.backward()
    before = {name: p.numpy().copy() for name, p in run.model.named_parameters()}
    run.train()
    assert read_log(tmp_path)[0]["loss"] == pytest.approx(float(loss), rel=1e-12)
    for (name, ours), (_, theirs) in zip(
        run.model.named_parameters(), model.named_parameters(), strict=True
    ):
        step = (
            before[name] * (1 - 1e-2 * (0.01 if ours.ndim > 1 else 0)) - 1e-2 * theirs.grad.numpy()
        )
        assert np.allclose(ours.numpy(), step, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("objective", "count"), [("masked", 4), ("causal", 2)])
def test_labels_are_counted(objective: str, count: int) -> None:
    task = LanguageModeling(SimpleNamespace(mask_token_id=4), objective)
    labels = np.array([[7, 8, -100, -100], [9, 10, -100, -100]])
    assert task.count({"input_ids": labels, "labels": labels}) == count


def test_causal_batches_of_a_step_are_one_large_batch(tmp_path: Path) -> None:
    """Rows of different lengths have different numbers of labels."""
    config = tinybert.NemotronConfig(
        vocab_size=VOCAB, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=LENGTH,
    )  # fmt: skip
    with tinybert.manual_seed(5), tinybert.set_default_dtype("float64"):
        model, whole = (tinybert.NemotronForCausalLM(config) for _ in range(2))
    whole.load_state_dict(model.state_dict())
    ids = Rows().ids[:4]
    labels = np.where(np.arange(LENGTH) < np.array([9, 3, 4, 2])[:, None], ids, -100)
    parts = [{"input_ids": ids[i : i + 2], "labels": labels[i : i + 2]} for i in (0, 2)]
    task = LanguageModeling(None, "causal")
    task.loss(whole, {"input_ids": ids, "labels": labels}).backward()
    options = TrainingConfig(
        steps=1, learning_rate=1.0, warmup=0, optimizer="sgd", accumulation=2, weight_decay=0,
        max_grad_norm=None,
    )  # fmt: skip
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    batches: Any = iter(parts)
    run = Trainer(model, batches, options, tmp_path, loss=task.loss, count=task.count)
    run._train_step()
    for name, parameter in whole.named_parameters():
        change = before[name] - dict(model.named_parameters())[name].numpy()
        np.testing.assert_allclose(change, parameter.grad.numpy(), rtol=1e-9, atol=1e-13)


def test_biases_and_norms_do_not_decay(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    names = {id(p): name for name, p in run.model.named_parameters()}
    decayed, kept = ({names[id(p)] for p in g["params"]} for g in run.optimizer.param_groups)
    assert all(name.endswith("weight") and "LayerNorm" not in name for name in decayed)
    assert all(name.endswith("bias") or "LayerNorm" in name for name in kept)
    assert len(decayed) + len(kept) == len(names)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    run = trainer(tmp_path, loss=lambda model, batch: model(**batch).loss * float("nan"))
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1; try a lower"):
        run.train()
    assert not checkpoints(tmp_path)


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(tmp_path: Path) -> None:
    def loss(model: Any, batch: dict[str, Any]) -> Any:
        x = model(**batch).loss
        return x + (x - x).sqrt()  # finite; its gradient is not

    run = trainer(tmp_path, loss=loss)
    before = {name: p.numpy().copy() for name, p in run.model.named_parameters()}
    with (
        np.errstate(divide="ignore", invalid="ignore"),
        pytest.raises(FloatingPointError, match=r"the norm of the gradient is (nan|inf) at step 1"),
    ):
        run.train()
    assert all(np.array_equal(before[n], p.numpy()) for n, p in run.model.named_parameters())


def test_running_statistics_continue_in_float16(tmp_path: Path) -> None:
    """Buffers are no parameters, but a part of the state."""

    def run(folder: str, steps: int) -> Trainer:
        with tinybert.manual_seed(5):
            config = tinybert.MegaConfig(
                vocab_size=VOCAB, hidden_size=8, num_hidden_layers=1, intermediate_size=8,
                shared_representation_size=4, nffn_hidden_size=8, max_positions=16,
                normalization_type="batchnorm",
            )  # fmt: skip
            model = tinybert.MegaForMaskedLM(config)
        options = TrainingConfig(steps=6, float16=True, save_every=3, learning_rate=1e-2)
        made = Trainer(model, Batches(Rows(), collate, 4, seed=2), options, tmp_path / folder)
        made._should_stop = lambda: made.step >= steps  # type: ignore[method-assign]
        return made

    whole, part = run("whole", 6), run("part", 3)
    whole.train()
    part.train()
    again = run("part", 6)
    assert again.resume()
    again.train()
    statistics = [name for name in whole.model.state_dict() if "running" in name]
    assert statistics
    for name, tensor in whole.model.state_dict().items():
        assert np.array_equal(tensor.numpy(), again.model.state_dict()[name].numpy()), name


def test_the_best_model_is_kept_and_patience_stops(tmp_path: Path) -> None:
    scores = iter([1.0, 3.0, 2.0, 2.5, 9.0])
    found: list[dict[str, np.ndarray]] = []

    def evaluate(model: Any) -> dict[str, float]:
        assert not model.training
        found.append({name: p.numpy().copy() for name, p in model.named_parameters()})
        return {"accuracy": next(scores)}

    run = trainer(tmp_path, evaluate=evaluate, best="accuracy", evaluate_every=2, patience=2)
    run.train()
    assert run.step == 8
    saved = weights(tmp_path)
    assert all(
        np.array_equal(saved[name], value) for name, value in found[1].items() if name in saved
    )
    assert [line["accuracy"] for line in read_log(tmp_path) if "accuracy" in line] == [1, 3, 2, 2.5]


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "lamb", "sgd"])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_every_optimizer_and_schedule_trains(optimizer: str, schedule: str, tmp_path: Path) -> None:
    rate = 0.3 if optimizer == "sgd" else 1e-2
    run = trainer(tmp_path, optimizer=optimizer, schedule=schedule, steps=30, learning_rate=rate)
    run.train()
    log = read_log(tmp_path)
    assert log[-1]["loss"] < log[0]["loss"]


def test_float16_with_float32_weights(tmp_path: Path) -> None:
    half, full = (trainer(tmp_path / str(f16), float16=f16, steps=20) for f16 in (True, False))
    half.train()
    full.train()
    assert half.model.dtype == np.float16
    assert {array.dtype for array in weights(tmp_path / "True").values()} == {np.dtype("float32")}
    ends = [read_log(tmp_path / name)[-1]["loss"] for name in ("True", "False")]
    assert ends[0] == pytest.approx(ends[1], rel=0.1)


def test_an_overflow_in_float16_skips_the_step_and_halves_the_scale(tmp_path: Path) -> None:
    run = trainer(tmp_path, float16=True, steps=1)
    assert run.half is not None
    before = {name: w.numpy().copy() for name, w in run.half.weights.items()}
    run.half.scale = 2.0**14
    run.loss = lambda model, batch: model(**batch).loss * 1000
    run.train()
    assert run.half.skipped == 1
    assert run.half.scale == 2.0**13
    assert all(np.array_equal(before[n], w.numpy()) for n, w in run.half.weights.items())


# --- stopping and continuing ----------------------------------------------------------------------

OPTIONS = [{}, {"accumulation": 2}, {"float16": True}, {"optimizer": "lamb", "schedule": "cosine"}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_run_that_continues_is_bit_for_bit_the_same(options: dict, tmp_path: Path) -> None:
    trainer(tmp_path / "whole", **options).train()
    stopped = trainer(tmp_path / "parts", **options)
    step = stopped._train_step
    stopped._train_step = lambda: step() if stopped.step < 8 else pytest.fail("stop")  # type: ignore[method-assign]
    with pytest.raises(pytest.fail.Exception):
        stopped.train()
    tinybert.manual_seed(99)  # another process has other generators
    again = trainer(tmp_path / "parts", **options)
    assert again.resume()
    assert again.step == 6
    again.train()
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    logs = [read_log(tmp_path / name) for name in ("whole", "parts")]
    for line in (*logs[0], *logs[1]):
        del line["tokens_per_second"]
    assert logs[0] == logs[1]


def test_other_options_or_data_are_refused(tmp_path: Path) -> None:
    trainer(tmp_path, steps=3).train()
    with pytest.raises(ValueError, match=r"learning_rate was 0.01 .*, now it is 0.5"):
        trainer(tmp_path, steps=3, learning_rate=0.5).resume()
    assert trainer(tmp_path, steps=3, keep=5, log_every=2).resume()
    assert not trainer(tmp_path / "new").resume()


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    trainer(tmp_path, keep=2).train()
    assert [p.name for p in checkpoints(tmp_path)] == ["checkpoint-00000009", "checkpoint-00000012"]


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(tmp_path, steps=3)
    run.train()
    before = weights(tmp_path / "checkpoint-00000003")

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tinybert.training.checkpoint.write_state", full)
    run.step = 4
    with pytest.raises(OSError, match="No space left"):
        run.save_checkpoint()
    assert [p.name for p in checkpoints(tmp_path)] == ["checkpoint-00000003"]
    assert equal(before, weights(tmp_path / "checkpoint-00000003"))
    assert not list(tmp_path.glob(".checkpoint*"))


CHILD = """
import sys
from pathlib import Path
from tests.training.test_trainer import trainer
run = trainer(Path(sys.argv[1]))
run.resume()
print("started", flush=True)
run.train()
"""


def _run(folder: Path, seconds: float | None = None) -> float | None:
    """Train in a process, killed after some seconds; return how long the training took, or None
    if it was killed.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == "started\n"
        start = time.perf_counter()
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
    if code == -signal.SIGKILL:
        return None
    assert code == 0
    return time.perf_counter() - start


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a signal of POSIX systems")
def test_killed_at_a_random_moment(tmp_path: Path) -> None:
    trainer(tmp_path / "whole").train()
    _run(tmp_path / "killed", 0.4 * random.random())
    assert _run(tmp_path / "killed") is not None
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a signal of POSIX systems")
def test_killed_at_twenty_random_moments(tmp_path: Path) -> None:
    duration = _run(tmp_path / "whole")
    assert duration is not None
    killed = runs = 0
    while killed < 20:
        folder = tmp_path / f"killed{runs}"
        for _ in range(2):
            killed += _run(folder, duration * random.random()) is None
        assert _run(folder) is not None
        assert equal(weights(tmp_path / "whole"), weights(folder))
        json.loads((folder / "config.json").read_text())
        runs += 1
        assert runs < 60, f"{killed} of {2 * runs} processes were killed"
