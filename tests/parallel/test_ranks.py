"""Commands on ranks: who reports an error, that rank 0 alone prints, and the results."""

import argparse
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.pipelines.twins import Make, model_folder  # noqa: F401 (a fixture)
from tests.search.notes import write_notes
from tinybert.cli import generate, ranks
from tinybert.cli.launch import launched_rank
from tinybert.cli.main import build_parser, main
from tinybert.cli.registry import COMMANDS, load_command
from tinybert.cli.training_arguments import earlier_grid
from tinybert.embedding import SentenceEmbedder
from tinybert.parallel.grid import Grid, alone
from tinybert.parallel.sentences import SharedEmbedder
from tinybert.parallel.simulated import run
from tinybert.processors import LOCAL_RANKS
from tinybert.search import search, update
from tinybert.weights import load_file


class Ended(Exception):
    """What `abort` raises in place of the end of the process."""


@pytest.fixture(autouse=True)
def started_alone(monkeypatch):
    """Hide that the tests themselves run in a job of Slurm or under `mpiexec`."""
    names = "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"
    for name in (*names, *LOCAL_RANKS, "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fail_on(monkeypatch):
    """Run a command that raises on one of four ranks; return the message, and the seconds before
    it.
    """

    def run(rank, error):
        waits, messages = [], []

        def abort(message):
            messages.append(message)
            raise Ended

        group = alone()
        world = SimpleNamespace(rank=rank, size=1, abort=abort, split=lambda *_: group)
        monkeypatch.setenv("PMI_RANK", str(rank))
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, getattr(sys, name))  # a rank changes them
        monkeypatch.setattr(ranks.mpi, "world", lambda: world)
        monkeypatch.setattr(ranks.time, "sleep", waits.append)

        def work(args):
            world.size = 4
            print("shown", rank)
            raise error

        before = sys.stdout
        with pytest.raises(Ended):
            ranks.on_ranks(work)(argparse.Namespace(prog="tinybert work"))
        if rank:
            assert sys.stdout is not before
            sys.stdout.close()
        return messages, waits

    return run


def test_rank_0_reports_an_error_of_all_ranks_at_once(fail_on, capsys):
    missing = FileNotFoundError(2, "No such file or directory", "x.txt")
    assert fail_on(0, missing) == (["tinybert work: x.txt: No such file or directory"], [0])
    assert capsys.readouterr().out == "shown 0\n"
    messages, (second,) = fail_on(1, missing)
    assert messages == ["tinybert work: rank 1 of 4: x.txt: No such file or directory"]
    assert capsys.readouterr().out == ""
    (third,) = fail_on(2, missing)[1]
    assert 0 < second < third  # the first to report ends the others


def test_a_bug_on_one_rank_has_a_traceback_and_its_rank(fail_on, monkeypatch, capsys):
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    messages, _ = fail_on(3, KeyError("layer"))
    assert messages == ["tinybert work: rank 3 of 4: 'layer'"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "in work" in captured.err
    assert "KeyError: 'layer'" in captured.err


def test_one_rank_alone_reports_a_wrong_command_line(monkeypatch, capsys):
    for rank, lines in ((0, 1), (1, 0)):
        monkeypatch.setenv("PMI_RANK", str(rank))
        assert launched_rank() == rank
        for command in (["embed", "--bogus"], ["nothing"]):
            assert main(command) == 2
            captured = capsys.readouterr()
            assert captured.err.count("\n") == lines
            assert captured.out == ""


def test_a_command_for_one_process_refuses_several(monkeypatch, capsys):
    monkeypatch.setenv("PMI_SIZE", "3")
    for rank, lines in ((0, 1), (1, 0)):
        monkeypatch.setenv("PMI_RANK", str(rank))
        assert main(["tokenize", "hi"]) == 2
        told = "tinybert tokenize runs on one process, not on 3: start it without mpiexec\n"
        assert tuple(capsys.readouterr()) == ("", told * lines)
        assert main([]) == 0
        assert capsys.readouterr().out.count("tinybert tokenize") == lines
    monkeypatch.setenv("PMI_SIZE", "1")
    monkeypatch.setenv("PMI_RANK", "0")
    assert main(["tokenize", "hi"]) == 0
    shared = {name for name in COMMANDS if load_command(name).ranks}
    assert shared == {
        name for name in COMMANDS if "on_ranks" in load_command(name).run.__qualname__
    }
    assert len(shared) == 6


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "1"}, None),  # srun --pty bash
        ({"PMI_RANK": "0", "PMI_SIZE": "1", "SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"PMI_RANK": "2", "SLURM_STEP_NUM_TASKS": "4"}, 2),
        # mpiexec in a shell of srun
        ({"PMI_RANK": "2", "SLURM_STEP_NUM_TASKS": "1", "MPI_LOCALNRANKS": "3"}, 2),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, 0),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}, None),
    ],
)
def test_a_single_task_of_slurm_is_not_a_job_of_ranks(environ, expected, monkeypatch):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert launched_rank() == expected


GRID = {"tensor": 2, "pipeline": 1, "data": 3, "schedule_of_stages": "gpipe", "zero": True}


@pytest.fixture
def started_as(monkeypatch):
    """Let this process be rank 0 of as many that `mpiexec` has started; `abort` raises `Ended`."""

    def start(size):
        def abort(message):
            raise Ended(message)

        group = alone()
        world = SimpleNamespace(rank=0, size=size, abort=abort, split=lambda *_: group)
        monkeypatch.setenv("PMI_RANK", "0")
        monkeypatch.setenv("PMI_SIZE", str(size))
        monkeypatch.setattr(ranks.mpi, "world", lambda: world)

    return start


def training(tmp_path, grid, *options):
    """The arguments of a training whose folder has a run with this grid."""
    (tmp_path / "run.json").write_text(json.dumps({} if grid is None else {"grid": grid}))
    words = ["finetune", "tagging", *options, "--output", str(tmp_path), "--device", "cpu"]
    return build_parser("finetune").parse_args(words)


@pytest.mark.parametrize(
    ("grid", "options", "expected"),
    [
        (GRID, ["--resume"], GRID),
        (GRID, ["--resume", "--zero"], {"data": 6, "zero": True}),
        (GRID, ["--resume", "--pipeline", "6"], {"pipeline": 6}),
        (GRID, [], {"data": 6}),
        (None, ["--resume"], {"data": 6}),
    ],
)
def test_a_run_continues_on_its_grid_or_on_that_of_the_options(
    grid, options, expected, tmp_path, started_as
):
    started_as(6)
    grids = []
    ranks.on_ranks(lambda args: grids.append(ranks.grid_of(args)) or 0, earlier=earlier_grid)(
        training(tmp_path, grid, *options)
    )
    assert grids == [{**dict.fromkeys(ranks.SIZES, 1), **ranks.GRID_OPTIONS, **expected}]


HAD = "run.json: the run has 6 ranks (--tensor 2 --data 3 --schedule-of-stages gpipe --zero), but "
OTHER = ": start it with mpiexec -n 6, or give the options of another grid"


@pytest.mark.parametrize(
    ("grid", "error"),
    [
        (GRID, f"{HAD}mpiexec started 4{OTHER}"),
        ({**GRID, "data": "3"}, "run.json: data must be an integer >= 1, got '3'"),
        ({**GRID, "zero": "no"}, "run.json: zero must be one of False, True, got 'no'"),
        (
            {"schedule_of_stages": 1},
            "run.json: schedule_of_stages must be one of 'gpipe', '1f1b', got 1",
        ),
        ([2, 3], "run.json: grid must be an object, got [2, 3]"),
    ],
)
def test_a_run_that_cannot_continue_names_its_grid(grid, error, tmp_path, started_as):
    started_as(4)
    with pytest.raises(Ended) as caught:
        ranks.on_ranks(lambda args: 0, earlier=earlier_grid)(training(tmp_path, grid, "--resume"))
    assert str(caught.value).endswith(error)


def test_a_run_of_ranks_does_not_continue_alone(tmp_path, capsys):
    training(tmp_path, GRID)
    assert main(["pretrain", "--resume", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(f"{HAD}this process is alone{OTHER}\n")


def test_an_mpiexec_of_another_mpi_is_an_error_not_a_run_of_each_process(monkeypatch, capsys):
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setattr(ranks.mpi, "world", alone)
    assert main(["generate", "The old"]) == 2
    assert "mpiexec started 4 processes, but each is alone: mpi4py" in capsys.readouterr().err


def test_search_keeps_the_index_of_one_process(tmp_path, monkeypatch, model_folder):  # noqa: F811
    monkeypatch.setattr(update, "BATCH", 2)
    folder = model_folder("BertModel")
    notes = write_notes(tmp_path / "notes")
    index = notes / ".tinybert-index-passage.safetensors"
    query = "gold and salt"
    alone = search(query, [notes], SentenceEmbedder.from_pretrained(folder))
    expected = load_file(index)
    index.unlink()

    def work(world):
        embedder = SharedEmbedder.from_pretrained(folder)
        embedder.join(world)
        if world.rank:
            embedder.serve()
            return world.traffic["send"].calls
        found = search(query, [notes], embedder)
        embedder.close()
        return found

    found, *sent = run(3, work)
    assert found.embedded == alone.embedded > 4
    assert all(sent)  # each rank has computed a batch
    assert [(h.file, h.line) for h in found.hits] == [(h.file, h.line) for h in alone.hits]
    for name, array in load_file(index).items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-6, err_msg=name)


def test_a_shared_embedder_counts_the_texts_that_all_ranks_cut(model_folder, caplog):  # noqa: F811
    folder = model_folder("BertModel")
    texts = ["the king " * 400, "gold", "the salt " * 300, "king", "salt"]
    expected = SentenceEmbedder.from_pretrained(folder).encode(texts, 1)
    caplog.clear()

    def work(world):
        embedder = SharedEmbedder.from_pretrained(folder)
        embedder.join(world)
        if world.rank:
            return embedder.serve()
        vectors = embedder.encode(texts, 1)
        embedder.close()
        return vectors

    np.testing.assert_allclose(run(3, work)[0], expected, rtol=0, atol=1e-6)
    assert [record.message.split(" had")[0] for record in caplog.records] == ["2 of 5 texts"]


@pytest.mark.parametrize(
    "options",
    [
        ["--greedy"],
        [],
        pytest.param(["--seed", "3", "--count", "2"], marks=pytest.mark.slow),
        pytest.param(["--beams", "2"], marks=pytest.mark.slow),
    ],
)
def test_generate_on_ranks_prints_the_tokens_of_one_process(options, capsys):
    words = ["generate", "The old", "A ship", "--max-new-tokens", "4", "--json", *options]

    def work(world):
        args = build_parser("generate").parse_args(words)
        args.grid = Grid(tensor=world.size, world=world)
        generate.run(args)

    def ids(text):
        decoder, found = json.JSONDecoder(), []
        while text.strip():
            value, end = decoder.raw_decode(text.lstrip())
            text = text.lstrip()[end:]
            found.append([t["ids"] for result in value["results"] for t in result["texts"]])
        return found

    run(2, work)
    first, second = ids(capsys.readouterr().out)  # simulated ranks share the standard output
    assert first == second
    assert sum(map(len, first)) == 4 * len(first)
    if options:  # reproducible
        assert main(words) == 0
        assert ids(capsys.readouterr().out) == [first]
