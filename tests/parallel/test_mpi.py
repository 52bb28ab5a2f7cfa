"""Real ranks: training on MPI, commands under mpiexec, and what is left when a rank is killed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tinybert.cli.main import main
from tinybert.cli.training_arguments import training_config
from tinybert.training import TrainingConfig
from tinybert.weights import load_file

ROOT = Path(__file__).parents[2]
BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
HANG = 900  # seconds; ranks that wait for each other share the cores with other work
needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or find_spec("mpi4py") is None, reason="needs mpiexec and mpi4py"
)
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 64, "max_position_embeddings": 64}  # fmt: skip


def start(ranks, *arguments):
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [MPIEXEC, "-n", str(ranks), sys.executable, "-m", *map(str, arguments)]
    return subprocess.Popen(
        command, env={**os.environ, **threads, "PYTHONPATH": path}, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process):
    """The exit status, and standard output followed by standard error. It does not hang."""
    try:
        output, errors = process.communicate(timeout=HANG)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, output + errors


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A text, and the folder of a tokenizer for it."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(0)
    words = [f"{a}{b}" for a in ("lo", "mi", "ra", "su") for b in ("ne", "ta", "ko")]
    lines = [" ".join(rng.choices(words, k=9)) + "." for _ in range(300)]
    (folder / "text.txt").write_text("\n".join(lines))
    assert main([
        "train-tokenizer", str(folder / "text.txt"), "--vocab-size", "60",
        "--output", str(folder / "tokenizer"),
    ]) == 0  # fmt: skip
    return folder


def pretrain(corpus, output, *options):
    sizes = [part for name, size in SIZES.items() for part in ("--set", f"{name}={size}")]
    return [
        "tinybert", "pretrain", corpus / "text.txt", "--tokenizer", corpus / "tokenizer",
        "--family", "megatron-bert", *sizes, "--length", 16, "--batch-size", 4, "--steps", 40,
        "--save-every", 5, "--output", output, *options,
    ]  # fmt: skip


def test_without_mpi_the_error_says_how_to_start(corpus, tmp_path, capsys):
    _, *command = map(str, pretrain(corpus, tmp_path / "x", "--tensor", 2, "--data", 3))
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "--tensor 2 --data 3 needs 6 ranks: start it with mpiexec -n 6 tinybert" in error
    assert 'pip install "tinybert[mpi]" mpich' in error
    assert not (tmp_path / "x").exists()


def test_options_of_several_ranks_are_refused_on_one(corpus, tmp_path, capsys):
    _, *command = map(str, pretrain(corpus, tmp_path / "x", "--zero"))
    assert main(command) == 2
    assert "--zero needs several ranks" in capsys.readouterr().err


@pytest.mark.parametrize(("copies", "steps", "every"), [(1, 10, 5), (2, 5, 2)])
def test_an_epoch_reads_the_data_once_on_any_number_of_copies(copies, steps, every):
    options = {**asdict(TrainingConfig(1, accumulation=2)), "steps": None, "epochs": 2}
    config = training_config({**options, "evaluate_every": None}, range(10), copies)
    assert (config.steps, config.evaluate_every) == (steps, every)


@needs_mpi
@pytest.mark.slow
def test_training_on_mpi_equals_one_process():
    assert finish(start(4, "tests.parallel.mpi_job")) == (0, "OK 5\n")


@needs_mpi
@pytest.mark.slow
def test_pretrain_reports_once_and_an_error_ends_all(corpus, tmp_path):
    grid = ("--tensor", 2, "--pipeline", 2, "--accumulation", 2)
    code, output = finish(start(4, *pretrain(corpus, tmp_path / "grid", *grid)))
    assert code == 0, output
    assert output.count("MegatronBertForMaskedLM with") == output.count("saved ") == 1
    run = json.loads((tmp_path / "grid" / "run.json").read_text())
    assert run["grid"] == {
        "tensor": 2, "pipeline": 2, "data": 1, "chunks": 1,
        "sequence_parallel": False, "schedule_of_stages": "1f1b", "zero": False,
    }  # fmt: skip
    again = ("--config", tmp_path / "grid" / "run.json")
    command = ["tinybert", "pretrain", *again, "--output", tmp_path / "again", "--data", 2]
    code, output = finish(start(2, *command, "--accumulation", 1))
    assert (code, output.count('was {"tensor": 2, "pipeline": 2, "data": 1,')) == (0, 1), output
    code, output = finish(start(2, *pretrain(corpus, tmp_path / "grid", "--tensor", 2)))
    assert code != 0
    assert output.count("has a run already; add --resume") == 1
    code, output = finish(start(4, *pretrain(corpus, tmp_path / "new", "--tensor", 3)))
    assert code != 0
    assert "start it with mpiexec -n 3" in output


@needs_mpi
@pytest.mark.slow
def test_pretrain_divides_the_chunks_of_a_text(corpus, tmp_path):
    """Each text of the corpus has 12 tokens, so no row is padded, and dropout is the same."""
    sizes = {"use_chunking": True, "chunk_size": 3, "shared_representation_size": 8}
    options = [part for name, size in sizes.items() for part in ("--set", f"{name}={size}")]
    options += ["--family", "mega", "--length", 12, "--log-every", 1]
    options += ["--validation", corpus / "text.txt", "--evaluate-every", 20]
    logs = []
    for ranks in (1, 4):
        own = [*options, "--chunks", ranks]
        code, output = finish(start(ranks, *pretrain(corpus, tmp_path / str(ranks), *own)))
        assert code == 0, output
        assert output.count("MegaForMaskedLM with") == output.count("saved ") == 1
        lines = (tmp_path / str(ranks) / "log.jsonl").read_text().splitlines()
        logs.append([entry["loss"] for entry in map(json.loads, lines) if "loss" in entry])
    one, four = logs
    assert one[-1] < one[0] - 0.05
    np.testing.assert_allclose(four, one, rtol=0, atol=1e-4)
    own = [*options, "--chunks", 3]
    code, output = finish(start(3, *pretrain(corpus, tmp_path / "3", *own)))
    assert code != 0
    assert "--length must be a multiple of --chunks 3 * chunk_size 3 = 9, got 12" in output


@needs_mpi
@pytest.mark.slow
def test_each_error_is_reported_once_and_ends_the_job(corpus):
    for arguments, words in (
        (["embed", "--bogus"], "tinybert: unrecognized arguments: --bogus"),
        (["tokenize", "a"], "tinybert tokenize runs on one process, not on 2"),
        (["embed", "--file", corpus / "missing.txt"], "tinybert embed: "),
        (["embed", "a", "--output", "x.txt"], "--output must end in .npy, .npz"),
        (["plan", "--calibrate", "--output", "x.txt"], "--output must end in .json"),
    ):
        code, output = finish(start(2, "tinybert", *arguments))
        assert (code, output.count(words)) == (2, 1), output
    code, output = finish(start(4, "tests.parallel.mpi_job", "fail"))
    assert (code, output.count("job: rank 2 of 4: the disk is full")) == (2, 1), output
    assert "Traceback" not in output
    code, output = finish(start(4, "tests.parallel.mpi_job", "bug"))
    assert (code, output.count("job: rank 2 of 4: 'a bug'"), output.count("Traceback")) == (2, 1, 1)


@needs_mpi
@pytest.mark.slow
def test_finetune_divides_texts_of_any_length(tmp_path):
    rows = [f"{'good ' * (n % 5)}film,{n % 2}" for n in range(20)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows]))
    command = (
        "tinybert", "finetune", "classification", "--train", tmp_path / "train.csv",
        "--validation", tmp_path / "train.csv", "--batch-size", 3, "--steps", 4, "--tensor", 2,
        "--sequence-parallel", "--output", tmp_path / "model",
    )  # fmt: skip
    code, output = finish(start(2, *command))
    assert (code, output.count("saved ")) == (0, 1), output


@needs_mpi
@pytest.mark.slow
def test_embed_divides_the_texts(corpus, tmp_path):
    texts = (corpus / "text.txt").read_text().splitlines()[:7]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    for ranks, name in ((1, "one.npy"), (3, "three.npy")):
        options = ("--file", tmp_path / "texts.txt", "--output", tmp_path / name)
        code, output = finish(start(ranks, "tinybert", "embed", *options))
        assert (code, output.count("saved to")) == (0, 1), output
    one, three = (np.load(tmp_path / name) for name in ("one.npy", "three.npy"))
    assert one.shape[0] == 7
    np.testing.assert_array_equal(three, one)


@needs_mpi
@pytest.mark.slow
def test_search_writes_the_index_of_one_process(corpus, tmp_path):
    lines = (corpus / "text.txt").read_text().splitlines()
    (tmp_path / "text.txt").write_text("\n\n".join(lines[:150]))
    index, indexes = tmp_path / ".text.txt.tinybert-index-passage.safetensors", []
    for ranks in (1, 3):
        code, output = finish(start(ranks, "tinybert", "search", "lone", tmp_path / "text.txt"))
        assert (code, output.count("embedded 150 passages")) == (0, 1), output
        assert output.count("text.txt:") == 10
        indexes.append((output, load_file(index)))
        index.unlink()
    (shown, one), (again, three) = indexes
    assert again == shown
    assert one.keys() == three.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(three[name], array, err_msg=name)


@needs_mpi
@pytest.mark.slow
def test_generate_prints_once_and_the_same_text():
    words = ("tinybert", "generate", "The old man", "A ship", "--max-new-tokens", 12)
    for options in (("--greedy",), ("--seed", 5)):
        outputs = [finish(start(ranks, *words, *options)) for ranks in (1, 2, 4)]
        assert outputs == [(0, outputs[0][1])] * 3
        assert outputs[0][1].count("The old man") == 1
    code, output = finish(start(2, *words))  # without a seed the ranks agree on one
    assert (code, output.count("The old man")) == (0, 1), output
    code, output = finish(start(3, *words))
    assert (code, output.count("num_attention_heads 4 must be a multiple of the 3")) == (2, 1)


@needs_mpi
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the ranks in /proc")
def test_a_killed_rank_ends_the_job_which_resumes_bit_for_bit(corpus, tmp_path):
    grid = ("--data", 2, "--zero")
    code, output = finish(start(2, *pretrain(corpus, tmp_path / "whole", *grid)))
    assert code == 0, output
    rng, folder = random.Random(1), tmp_path / "killed"
    for attempt in range(6):
        options = grid if attempt == 0 else (*grid, "--resume")
        process = start(2, *pretrain(corpus, folder, *options))
        until = time.monotonic() + 60
        while not list(folder.glob("checkpoint-*")) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 3))  # at any moment of start, step or checkpoint
        ranks = _ranks_of(process.pid)
        if ranks:
            with suppress(ProcessLookupError):  # it has ended
                os.kill(rng.choice(ranks), signal.SIGKILL)
        code, output = finish(process)  # no rank waits for the dead one
        assert code != 0 or not ranks or "saved " in output
    code, output = finish(start(2, "tinybert", "pretrain", "--resume", "--output", folder))
    assert code == 0, output
    assert json.loads((folder / "run.json").read_text())["grid"]["zero"]  # of the run
    expected = load_file(tmp_path / "whole" / "model.safetensors")
    found = load_file(folder / "model.safetensors")
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def _ranks_of(launcher):
    """Return the processes under mpiexec that run Python."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:  # it has ended
            continue
        parents[int(status.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = []
    for pid in parents:
        above = pid
        while above in parents and above != launcher:
            above = parents[above]
        if above == launcher and pid != launcher:
            with_name = Path(f"/proc/{pid}/cmdline")
            try:
                if "python" in with_name.read_bytes().split(b"\0")[0].decode():
                    found.append(pid)
            except OSError:
                continue
    return found
