"""Benchmarks: both libraries do the same work, in alternation, and the figures are correct."""

from __future__ import annotations

import gc
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes

from tests import support
from tests.gpu_double.cupy import gpu
from tinybert.autograd import Tensor
from tinybert.bench import (
    CASES,
    SUITES,
    CannotRun,
    Case,
    Prepared,
    Result,
    memory,
    nemotron,
    pretraining,
    run_case,
)
from tinybert.bench.bert import additions, bert_forward, generate, minilm_forward, train_step
from tinybert.bench.kernels import OPERATIONS, Operation, adamw, gradient_norm, operation
from tinybert.bench.loading import load
from tinybert.bench.machine import blas_threads, cores, describe, share_threads
from tinybert.bench.moving_average import convolution, mega_step, moving_average
from tinybert.bench.timing import interleave
from tinybert.bench.tokenizer import byte_level_tokenizer, tokenizer
from tinybert.cli import bench as command
from tinybert.cli.bench_chart import save_ratios
from tinybert.cli.main import main
from tinybert.fetch import FetchError

TINY = {
    "vocab_size": 50,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
}


@pytest.fixture(autouse=True)
def fast_and_with_the_same_threads_as_before(monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("RAYON_NUM_THREADS", os.environ.get("RAYON_NUM_THREADS", "2"))
    monkeypatch.setattr(gc, "collect", lambda: 0)  # a third of a second when torch is imported
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# --- timing --------------------------------------------------------------------------------------


def test_sides_take_turns_on_the_same_input() -> None:
    seen: list[tuple[str, int]] = []
    numbers = iter(range(100))
    sides = {"": lambda x: seen.append(("ours", x)), "torch": lambda x: seen.append(("torch", x))}
    times = interleave(sides, 2, lambda: next(numbers), pause=0)
    rounds = [[(side, n) for side in ("ours", "torch") for n in (k, k + 1)] for k in (0, 2, 4)]
    assert seen == [turn for turns in rounds for turn in turns]
    assert {name: len(t) for name, t in times.items()} == {"": 2, "torch": 2}


def test_ratio_is_the_median_of_pairs() -> None:
    result = Result("c", "torch", 0.0, True, [1.0, 6.0, 1.0], [2.0, 3.0, 1.0])
    assert result.ratio == 1.0  # of 0.5, 2 and 1; the medians alone would give 0.5
    assert result.noisy
    assert not Result("c", "torch", 0.0, True, [1.0, 1.2], [2.0, 2.1]).noisy
    assert result.as_dict()["theirs"]["median"] == 2.0
    assert result.tokens_per_second == {}
    counted = Result("c", "torch", 0.0, True, [1.0, 6.0, 1.0], [2.0, 3.0, 1.0], tokens=6)
    assert counted.as_dict()["tokens_per_second"] == {"ours": 6.0, "theirs": 3.0}


def test_work_that_differs_is_not_timed() -> None:
    def never(_: object) -> None:
        raise AssertionError("timed")

    case = Case(
        "forward",
        "wrong",
        "",
        lambda device: Prepared(never, {"torch": never}, {"torch": 0.2}),
        0.1,
    )
    (result,) = run_case(case)
    assert (result.agrees, result.ours, result.others) == (False, [], [])
    assert "ratio" not in result.as_dict()


# --- cases ---------------------------------------------------------------------------------------


def test_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) > 10
    assert {*SUITES} == {case.suite for case in CASES}


def test_a_case_is_compared_with_the_libraries_asked_for() -> None:
    built: list[str] = []

    def build() -> tuple[Callable[[object], object], float]:
        built.append("onnxruntime")
        return id, 0.0

    sides = {"torch": id, "tokenizers, Rust": id}
    prepared = Prepared(id, sides, dict.fromkeys(sides, 0.0), on_request={"onnxruntime": build})
    case = Case("forward", "c", "", lambda device: prepared, 0.0)

    def names(*against: str) -> list[str]:
        return [result.other for result in run_case(case, runs=1, against=against)]

    assert names() == ["torch", "tokenizers, Rust"]
    assert not built
    assert names("tokenizers") == ["tokenizers, Rust"]
    assert names("torch", "onnxruntime") == ["torch", "onnxruntime"]
    with pytest.raises(CannotRun, match="compares only with onnxruntime, tokenizers, torch"):
        names("transformers")


def test_forward_agrees() -> None:
    prepared = bert_forward("cpu", 2, 7, TINY)
    assert 0 < prepared.differences["torch"] < 1e-5
    (ours,), (theirs,) = prepared.ours(None), prepared.others["torch"](None)
    assert ours.shape == theirs.shape == (2, 7, 12)
    work, difference = prepared.on_request["onnxruntime"]()
    assert work(None)[0].shape == (2, 7, 12)
    assert 0 < difference < 1e-5


def test_ragged_batches_agree_and_say_how_ragged_they_are(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TINYBERT_HOME", str(tmp_path))
    forward = minilm_forward("cpu", 2, 6, shortest=2, batches=3)
    step = train_step("cpu", 4, 9, TINY, shortest=3)
    for prepared in (forward, step):
        assert 0 < prepared.differences["torch"] < 1e-4
        tokens, places = map(int, re.findall(r"\d+", prepared.note))
        assert 0 < tokens < places


def test_forward_of_minilm_with_and_without_weights(minilm: Path, monkeypatch, tmp_path) -> None:
    assert minilm_forward("cpu", 1, 6).differences["torch"] < 1e-4
    monkeypatch.setenv("TINYBERT_HOME", str(tmp_path))
    assert minilm_forward("cpu", 1, 6).differences["torch"] < 1e-4


def test_train_step_agrees_and_learns() -> None:
    dropped = {**TINY, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    prepared = train_step("cpu", 4, 5, dropped)
    assert 0 < prepared.differences["torch"] < 1e-5
    for side in (prepared.ours, prepared.others["torch"]):
        losses = [side(None) for _ in range(25)]
        assert sum(losses[-8:]) < sum(losses[:8])


def test_checkpointing_agrees_and_says_what_it_saves() -> None:
    prepared = train_step("cpu", 4, 16, {**TINY, "num_hidden_layers": 6}, checkpointing=True)
    assert 0 < prepared.differences["torch"] < 1e-5
    assert prepared.note.startswith("ours holds at most ")
    result = Result("c", "torch", 0.0, False, [], [], prepared.note)
    assert result.as_dict()["note"] == prepared.note


def test_pretraining_agrees_step_by_step() -> None:
    options = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    prepared = pretraining.pretrain("cpu", 4, 16, {**TINY, **options})
    assert {*prepared.differences} == {*prepared.others} == {"torch", "transformers"}
    assert all(0 < difference < 1e-6 for difference in prepared.differences.values())
    assert prepared.tokens == 64
    losses = [prepared.ours() for _ in range(10)]
    for theirs in prepared.others.values():
        assert [theirs() for _ in range(10)] == pytest.approx(losses, rel=1e-5)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("work", ["pretrain", "train"])
@pytest.mark.parametrize("side", ["ours", pytest.param("torch", marks=pytest.mark.slow)])
def test_the_peak_of_training_counts_the_parameters_and_their_state(work: str, side: str) -> None:
    """Weights, gradients and AdamW's two moments: 4 times the table of words, and more."""
    sizes = {**TINY, "hidden_size": 96, "vocab_size": 40_000}
    table = 96 * 40_000 * 4
    options = {"batch": 2, "length": 8, "config": sizes}
    assert 4 * table < memory._peak(work, side, options) < 8 * table + 100e6


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_memory_is_compared_after_the_results(monkeypatch) -> None:
    monkeypatch.setattr(memory, "_peak", lambda work, side, options, _: len(side) * 1000)
    case = partial(memory.memory, work="train", batch=8, length=128, config={})
    (result,) = run_case(Case("memory", "m", "", case, 1e-4, "bytes"), runs=2)
    assert 0 < result.difference < 1e-5
    assert (result.ours, result.others, result.ratio) == ([4000, 4000], [5000, 5000], 0.8)
    assert result.as_dict()["ours"]["bytes"] == [4000, 4000]
    with pytest.raises(CannotRun, match="on the CPU"):
        memory.memory("cuda", "train")


def test_memory_of_loading_is_compared_after_the_weights(monkeypatch) -> None:
    monkeypatch.setattr(memory, "load", lambda *_: Prepared(id, {}, {"transformers": 0.5}))
    assert memory.memory("cpu", "load", **TINY).differences == {"transformers": 0.5}


def test_a_process_that_fails_is_named_with_its_error(monkeypatch) -> None:
    monkeypatch.setattr(memory, "COMMAND", "raise SystemExit('first\\nno memory')")
    with pytest.raises(CannotRun, match="the process of torch failed: no memory"):
        memory._peak("train", "torch", {})


def test_loading_in_a_process_of_its_own(capsys) -> None:
    folder = memory.memory("cpu", "load", **TINY).ours.args[2]
    for side in ("ours", "transformers"):
        memory.measure(json.dumps(["load", side, folder]))
        assert int(capsys.readouterr().out.split()[-1]) >= 0


def test_generated_tokens_are_the_same() -> None:
    prepared = generate("cpu", 4, 9, TINY)
    assert prepared.differences == {"torch": 0}
    assert prepared.ours(None).shape == (1, 13)
    assert len({*prepared.ours(None)[0].tolist()}) > 4  # it does not repeat one word


def test_a_nemotron_generates_the_same_and_says_what_a_token_costs() -> None:
    sizes = {**TINY, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4}
    prepared = nemotron.generate("cpu", 4, 9, {**sizes, "initializer_range": 0.8})
    assert prepared.differences == {"torch": 0}
    assert prepared.ours(None).shape == (1, 13)
    assert re.fullmatch(r"a token after 64 takes .* ms, after 2048 .* as long", prepared.note)


@pytest.mark.parametrize("train", [False, True])
def test_moving_averages_agree(train: bool) -> None:
    prepared = moving_average("cpu", 100, 5, memories=3, train=train)
    assert 0 < prepared.differences["torch"] < 1e-5
    results = [side(None) for side in (prepared.ours, prepared.others["torch"])]
    assert [len(result) for result in results] == [5 if train else 1] * 2
    assert results[0][0].shape == results[1][0].shape == (1, 100, 5)
    assert 0 < convolution("cpu", 100, 5).differences["torch"] < 1e-5


def test_a_mega_and_its_gradients_agree() -> None:
    sizes = {"hidden_size": 8, "chunk_size": 4, "vocab_size": 20}
    assert 0 < mega_step("cpu", 16, sizes).differences["torch"] < 1e-5


@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)
def test_an_operation_and_its_gradients_agree_with_its_formula_and_torch(op: Operation) -> None:
    prepared = operation("cpu", op, rows=16)
    assert all(0 <= difference < 1e-5 for difference in prepared.differences.values())
    y, *gradients = prepared.ours(None)
    assert [g.shape for g in gradients] == op.shapes(16)
    for side in prepared.others.values():
        assert [a.shape for a in side(None)] == [a.shape for a in (y, *gradients)]


def test_an_operation_keeps_its_constants_on_the_device_of_its_inputs() -> None:
    (rotary,) = [op for op in OPERATIONS if op.name == "rotary"]
    with gpu(probe=False):
        inputs = [Tensor(np.ones(shape), device="cuda") for shape in rotary.shapes(16)]
        assert rotary.ours(*inputs).device == "cuda:0"


def test_every_kernel_for_the_cpu_is_compared_with_its_formula(monkeypatch) -> None:
    called: set[str] = set()

    def counted(name: str, version: Callable[..., object]) -> Callable[..., object]:
        return lambda *args, **options: called.add(name) or version(*args, **options)

    fast = {name: k for name, k in support.all_kernels().items() if "cpu" in k.versions}
    for name, kernel in fast.items():
        monkeypatch.setitem(kernel.versions, "cpu", counted(name, kernel.versions["cpu"]))
    compared = set()
    operations = (operation("cpu", op, rows=16) for op in OPERATIONS)
    for prepared in (adamw("cpu", 4), gradient_norm("cpu", 4), *operations):
        for side in prepared.others.values():
            called.clear()
            side(None)
            assert not called
        prepared.ours(None)
        assert bool(called) == ("plain" in prepared.others)
        compared |= called
    assert compared == {*fast}


def test_steps_of_adamw_and_the_norm_of_gradients_agree() -> None:
    norm = gradient_norm("cpu", 8)
    assert all(0 <= difference < 1e-6 for difference in norm.differences.values())
    prepared = adamw("cpu", 8)
    assert all(0 <= difference < 1e-6 for difference in prepared.differences.values())
    results = [side(None) for side in (prepared.ours, *prepared.others.values())]  # a second step
    for other in results[1:]:
        support.assert_close(np.stack(results[0]), np.stack(other), rtol=1e-6)


def test_additions_agree() -> None:
    assert additions("cpu", 3).differences == {"torch": 0}


def test_loading_is_exact() -> None:
    prepared = load("cpu", TINY)
    assert prepared.differences == {"transformers": 0}
    (ours, total), (theirs, other_total) = (
        side(None) for side in (prepared.ours, prepared.others["transformers"])
    )
    assert {*ours.state_dict()} == {*theirs.state_dict()}
    assert total == pytest.approx(other_total, rel=1e-4)


@pytest.mark.parametrize(
    "case",
    [
        tokenizer,
        partial(byte_level_tokenizer, vocab_size=1000),
        partial(byte_level_tokenizer, vocab_size=1000, from_json=True),
    ],
)
def test_tokenizer_agrees_on_fresh_text(case: partial[Prepared], minilm: Path) -> None:
    prepared = case("cpu", 30)
    assert {*prepared.differences.values()} == {0}
    assert "tokenizers, Rust" in prepared.differences
    first, second = prepared.fresh(), prepared.fresh()
    assert len(first) == 30
    assert not set(first) & set(second)
    assert all(len(text.split()) == 20 for text in first)
    ids = prepared.ours(first)
    assert ids == prepared.others["tokenizers, Rust"](first)
    assert sum(map(len, ids)) > 30 * (20 + 4)  # rare words fall into pieces


# --- machine -------------------------------------------------------------------------------------


def test_machine_and_threads(monkeypatch) -> None:
    machine = describe()
    assert machine["numpy"].startswith(__import__("numpy").__version__)
    assert machine["torch"].startswith("2.")
    assert all(machine.values())
    assert blas_threads() in (None, *range(1, cores() + 1))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert share_threads() == torch.get_num_threads() == 1


# --- the command ---------------------------------------------------------------------------------


def test_command(monkeypatch, capsys, tmp_path) -> None:
    def absent(device: str) -> Prepared:
        raise FetchError("not here")

    cases = (
        Case(
            "forward",
            "tiny",
            "a tiny BERT",
            partial(bert_forward, batch=1, length=3, config=TINY),
            1e-4,
        ),
        Case("forward", "absent", "no weights", absent, 1e-4),
    )
    monkeypatch.setattr(command, "CASES", cases)
    assert main(["bench", "--runs", "2"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"at most \d+ thread\(s\) each, device cpu;\s2 round\(s\);\spython 3", out)
    assert "absent: skipped, not here" in out
    (line,) = [line for line in out.splitlines() if line.startswith("tiny ")]
    assert line.split()[1] == "torch"
    assert float(line.split()[-1]) > 0
    assert err.splitlines() == ["tiny: a tiny BERT ...", "absent: no weights ..."]
    assert main(["bench", "--runs", "3", "--only", "tiny", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["machine"]["threads"] >= 1
    assert [len(case["ours"]["times"]) for case in result["cases"]] == [3]
    assert main(["bench", "forward", "--runs", "1", "--only", "tiny", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [case["case"] for case in result["cases"]] == ["tiny"]
    assert result["skipped"] == {}
    assert main(["bench", "--runs", "1", "--markdown"]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"^\| `tiny`, against torch \| [\d.]+ \(.*\) \| .* \| \d+\.\d\d \|$", out, re.M
    )
    assert "`absent`: skipped, not here." in out
    assert main(["bench", "forward", "--runs", "1", "--plot", str(tmp_path / "r.svg")]) == 0
    assert "tiny, torch" in (tmp_path / "r.svg").read_text()
    capsys.readouterr()
    assert main(["bench", "--only", "absent"]) == 2
    assert "absent: not here" in capsys.readouterr().err


def test_help_names_the_cases_that_onnxruntime_runs() -> None:
    forward = (bert_forward, minilm_forward)
    able = [c.name for c in CASES if isinstance(c.prepare, partial) and c.prepare.func in forward]
    named = re.search(r"--against names it, in the cases ([\w\s,-]+)\.", command.DETAILS)
    assert named is not None
    assert re.split(r",\s|\sand\s", named[1]) == able


@pytest.mark.parametrize("ratio", [0.004, 1.3, 30.0])
def test_the_axis_of_ratios_has_ticks_on_both_sides(ratio: float, monkeypatch, tmp_path) -> None:
    drawn: list[Axes] = []
    monkeypatch.setattr(Axes, "set_title", lambda axes, *_, **__: drawn.append(axes))
    result = Result("c", "torch", 0.0, True, [ratio, ratio], [1.0, 1.0])
    save_ratios(tmp_path / "r.svg", [result], "machine")
    ticks = [float(label.get_text()) for label in drawn[0].get_xticklabels()]
    assert 1.0 in ticks
    assert min(ticks) <= max(ratio, 1) <= 2.5 * max(ticks)
    assert min(ticks) / 2.5 <= min(ratio, 1) <= max(ticks)
    assert len(ticks) >= 3


def test_command_says_when_results_disagree(monkeypatch, capsys) -> None:
    prepared = Prepared(id, {"torch": id}, {"torch": 0.5})
    monkeypatch.setattr(
        command, "CASES", (Case("forward", "wrong", "", lambda device: prepared, 0.1),)
    )
    assert main(["bench"]) == 1
    assert "DISAGREES" in capsys.readouterr().out


def test_command_says_tokens_per_second_and_a_note_once(monkeypatch, capsys) -> None:
    prepared = Prepared(id, {"a": id, "b": id}, {"a": 0.0, "b": 0.0}, note="a note", tokens=100)
    monkeypatch.setattr(
        command, "CASES", (Case("forward", "many", "", lambda device: prepared, 0.1),)
    )
    assert main(["bench", "--runs", "1"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^many: [\d,]+ tokens/s, a [\d,]+ tokens/s$", out, re.M)
    assert re.search(r"^many: [\d,]+ tokens/s, b [\d,]+ tokens/s$", out, re.M)
    assert out.count("many: a note") == 1


def test_command_refuses(monkeypatch, capsys) -> None:
    assert main(["bench", "--only", "nope"]) == 2
    assert "--only must be cases of bert-base-forward" in capsys.readouterr().err
    assert main(["bench", "latency", "--only", "sentence", "gelu"]) == 2
    assert "--only gelu is a case of kernels: add this suite" in capsys.readouterr().err
    assert main(["bench", "nope"]) == 2
    assert "SUITE must be of forward, latency" in capsys.readouterr().err
    assert main(["bench", "--against", "jax"]) == 2
    assert "--against must be of torch, transformers" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    assert main(["bench", "forward", "--against", "torch,onnxruntime"]) == 2
    assert "bench needs onnxruntime: " in capsys.readouterr().err
    assert main(["bench", "--runs", "0"]) == 2
    assert "--runs must be an integer >= 1" in capsys.readouterr().err
    assert main(["bench", "--device", "cuda:99"]) == 2
    assert capsys.readouterr().err.startswith("tinybert bench: device ")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with gpu(probe=False):
        assert main(["bench", "--device", "cuda", "--only", "additions"]) == 2
    assert "device 'cuda': torch finds no GPU" in capsys.readouterr().err
