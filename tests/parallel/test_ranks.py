"""Commands on ranks: who reports an error, and that rank 0 alone prints."""

import argparse
import sys
from types import SimpleNamespace

import pytest

from tinybert.cli import ranks
from tinybert.cli.launch import launched_rank
from tinybert.cli.main import main
from tinybert.parallel.grid import alone


class Ended(Exception):
    """What `abort` raises in place of the end of the process."""


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
