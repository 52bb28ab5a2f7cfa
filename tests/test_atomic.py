"""Atomic writing of one file and of several: states, locks, permissions, and hostile folders."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tinybert as tb
from tinybert import recovery
from tinybert.atomic import SAVED, UNFINISHED, atomic_write, locked, reading, saving, settle
from tinybert.generation import GenerationConfig
from tinybert.tokenizers import BertTokenizer, BertTokenizerFast
from tinybert.weights import load_checkpoint, open_checkpoint, save_file

pytestmark = pytest.mark.usefixtures("disk")

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock and no modes")
SMALL = {
    "vocab_size": 11, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 5,
    "max_position_embeddings": 7,
}  # fmt: skip


def model(hidden: int) -> tb.BertForMaskedLM:
    return tb.BertForMaskedLM(tb.BertConfig(hidden_size=hidden, **SMALL))


def texts(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files of an older save and one of the user."""
    for name in ("a", "b", "old", "mine"):
        (tmp_path / name).write_text(f"old {name}")
    return tmp_path


def older(folder: Path) -> list[Path]:
    return [path for path in map(folder.joinpath, ("a", "b", "old")) if path.exists()]


def save(folder: Path) -> None:
    with saving(folder, older) as new:
        (new / "a").write_text("new a")
        (new / "deeper").mkdir()
        (new / "deeper" / "c.json").write_text("new c")


BEFORE = {name: f"old {name}" for name in ("a", "b", "old", "mine")}
AFTER = {"a": "new a", "deeper/c.json": "new c", "mine": "old mine"}


def test_files_are_replaced_added_and_deleted_in_one_step(folder: Path) -> None:
    with saving(folder, older) as new:
        (new / "a").write_text("new a")
        assert {**texts(folder)} == {**BEFORE, f"{new.name}/a": "new a"}
        with saving(new) as same:  # a part of the outer save
            assert same == new
        (new / "deeper").mkdir()
        (new / "deeper" / "c.json").write_text("new c")
    assert texts(folder) == AFTER
    assert sorted(os.listdir(folder)) == ["a", "deeper", "mine"]


def interrupted(folder: Path) -> None:
    with saving(folder, older) as new:
        (new / "a").write_text("new a")
        raise KeyboardInterrupt


def test_an_exception_changes_nothing(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(folder)
    assert texts(folder) == BEFORE
    with pytest.raises(KeyboardInterrupt):
        interrupted(folder / "x" / "y")
    assert sorted(os.listdir(folder)) == sorted(BEFORE)


def test_a_folder_in_the_way_is_found_before_anything_changes(folder: Path) -> None:
    (folder / "deeper" / "c.json").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"c\.json"):
        save(folder)
    assert texts(folder) == BEFORE
    assert SAVED not in os.listdir(folder)


def committed(folder: Path) -> None:
    """Save, but end right after the commit."""
    with pytest.MonkeyPatch.context() as patch:

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            save(folder)
    assert (folder / SAVED).is_dir()


@pytest.mark.parametrize("by", ["reader", "saver", "writer", "settle"])
def test_a_committed_save_is_finished_by_whoever_comes_next(by: str, folder: Path) -> None:
    committed(folder)
    assert texts(folder).items() >= BEFORE.items()
    expected = dict(AFTER)
    if by == "reader":
        with reading(folder):
            assert texts(folder) == AFTER
    elif by == "settle":
        settle(folder)
    elif by == "saver":
        with saving(folder) as new:
            (new / "a").write_text("newest")
        expected["a"] = "newest"
    else:  # its file is newer than the committed one
        with atomic_write(folder / "a", "w") as file:
            file.write("newest")
        expected["a"] = "newest"
    assert texts(folder) == expected
    assert SAVED not in os.listdir(folder)


def test_every_loader_finishes_it(tmp_path: Path) -> None:
    loaders = {
        "model": tb.BertForMaskedLM.from_pretrained,
        "auto": tb.AutoModel.from_pretrained,
        "config": tb.BertConfig.from_pretrained,
        "tokenizer": BertTokenizer.from_pretrained,
        "auto tokenizer": tb.AutoTokenizer.from_pretrained,
        "weights": load_checkpoint,
        "reader": lambda path: open_checkpoint(path).close(),
        "generation": GenerationConfig.from_pretrained,
    }
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    for name, load in loaders.items():
        folder = tmp_path / name
        model(4).save_pretrained(folder)
        with saving(folder) as new:
            model(8).save_pretrained(new)
            BertTokenizer(tmp_path / "vocab.txt").save_pretrained(new)
            GenerationConfig().save_pretrained(new)
        os.mkdir(folder / SAVED)
        for file in [path for path in folder.iterdir() if path.is_file()]:
            os.replace(file, folder / SAVED / file.name)
        load(folder)
        assert not (folder / SAVED).exists(), name
        assert tb.BertConfig.from_pretrained(folder).hidden_size == 8


# --- permissions ----------------------------------------------------------------------------------


@posix
def test_saving_again_keeps_permissions_and_new_files_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        model(4).save_pretrained(tmp_path / "m")
        assert {mode(path) for path in (tmp_path / "m").iterdir()} == {0o640}
        assert mode(tmp_path / "m") == 0o750
        (tmp_path / "m").chmod(0o700)
        for path in (tmp_path / "m").iterdir():
            path.chmod(0o600)
        os.umask(0o022)
        for size in ("5GB", 300, 600, "5GB"):  # shards are as private as the file that they replace
            model(4).save_pretrained(tmp_path / "m", max_shard_size=size)
            weights = (tmp_path / "m").glob("*.safetensors")
            assert {mode(path) for path in weights} == {0o600}
            assert mode(tmp_path / "m" / "config.json") == 0o600
            assert mode(tmp_path / "m") == 0o700
    finally:
        os.umask(old)


@posix
@pytest.mark.parametrize("kind", [BertTokenizer, BertTokenizerFast])
def test_tokenizers_keep_permissions(kind: type, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    tokenizer = kind(tmp_path / "vocab.txt")
    written = tokenizer.save_pretrained(tmp_path / "t")
    for path in (tmp_path / "t").iterdir():
        path.chmod(0o600)
    assert tokenizer.save_pretrained(tmp_path / "t") == written
    assert {mode(path) for path in (tmp_path / "t").iterdir()} == {0o600}
    assert {*written} == {str(path) for path in (tmp_path / "t").iterdir()}


def test_a_tokenizer_does_not_read_what_an_older_one_has_left(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (tmp_path / "old.txt").write_text("\n".join([*words, "a", "b"]))
    (tmp_path / "new.txt").write_text("\n".join([*words, "b", "a"]))
    older = BertTokenizerFast(tmp_path / "old.txt")
    older.add_tokens(["c"])
    older.chat_template = {"default": "x", "more": "y"}
    older.save_pretrained(tmp_path / "t")
    newer = BertTokenizer(tmp_path / "new.txt")
    newer.save_pretrained(tmp_path / "t")
    for use_fast in (False, True):
        loaded = tb.AutoTokenizer.from_pretrained(tmp_path / "t", use_fast=use_fast)
        assert loaded("a b c").input_ids == newer("a b c").input_ids
        assert loaded.chat_template is None
    older.save_pretrained(tmp_path / "t", legacy_format=False)
    loaded = BertTokenizerFast.from_pretrained(tmp_path / "t")
    assert loaded("a b c").input_ids == older("a b c").input_ids


# --- litter ---------------------------------------------------------------------------------------


@posix
def test_the_next_save_deletes_what_killed_saves_have_left(folder: Path) -> None:
    past = time.time() - 2 * recovery.GRACE
    names = [f"{UNFINISHED}killed", f"{UNFINISHED}running", f".{'0' * 16}.tmp", f".{'1' * 16}.tmp"]
    killed, running, file, running_file = map(folder.joinpath, names)
    for path in (killed, running):
        (path / "sub").mkdir(parents=True)
        (path / "model.safetensors").write_text("x")
    for path in (file, running_file):
        path.write_text("x")
    young = folder / f"{UNFINISHED}young"
    young.mkdir()
    for path in (killed, running, file, running_file):
        os.utime(path, (past, past))
    with locked(running), locked(running_file):
        save(folder)
        left = {name for name in os.listdir(folder) if name.startswith(".")}
        assert left == {running.name, running_file.name, young.name}
    save_file({}, folder / "weights.safetensors")
    assert {name for name in os.listdir(folder) if name.startswith(".")} == {young.name}


def test_without_locks_only_old_litter_is_deleted(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(recovery, "_is_locked", lambda path: None)
    for name, age in (("new", 3600), ("old", 25 * 3600)):
        (folder / f"{UNFINISHED}{name}").mkdir()
        os.utime(folder / f"{UNFINISHED}{name}", (time.time() - age,) * 2)
    save(folder)
    assert [n for n in os.listdir(folder) if n.startswith(".")] == [f"{UNFINISHED}new"]


# --- several at once ------------------------------------------------------------------------------


@posix
def test_a_save_waits_until_readers_are_done(folder: Path) -> None:
    saver = threading.Thread(target=save, args=(folder,))
    with reading(folder), reading(folder):
        saver.start()
        saver.join(0.3)
        assert saver.is_alive()
        assert {name: text for name, text in texts(folder).items() if "/" not in name} == BEFORE
    saver.join()
    assert texts(folder) == AFTER


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.test_atomic import model
made = model(int(sys.argv[3]))
for turn in range(int(sys.argv[5])):
    made.save_pretrained(Path(sys.argv[2], str(turn)), max_shard_size=sys.argv[4])
"""


@posix
@pytest.mark.parametrize(
    ("limits", "turns"),
    [(("600", "5GB"), 12), pytest.param(("600", "900"), 60, marks=pytest.mark.slow)],
)
def test_two_processes_save_and_every_folder_always_loads(
    limits: tuple[str, str], turns: int, tmp_path: Path
) -> None:
    for turn in range(turns):
        model(4).save_pretrained(tmp_path / str(turn))
    root = Path(__file__).parents[1]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, root, tmp_path, size, limit, str(turns)],
            stderr=subprocess.PIPE,
        )
        for size, limit in zip(("8", "12"), limits, strict=True)
    ]  # fmt: skip
    loaded = 0
    while any(writer.poll() is None for writer in writers):
        for turn in range(turns):
            tb.BertForMaskedLM.from_pretrained(tmp_path / str(turn))
            loaded += 1
    for writer in writers:
        _, err = writer.communicate()
        assert (writer.returncode, err) == (0, b"")
    assert loaded
    for turn in range(turns):
        found = tb.BertForMaskedLM.from_pretrained(tmp_path / str(turn), output_loading_info=True)
        assert str(found[1]) == ""
        assert not [name for name in os.listdir(tmp_path / str(turn)) if name.startswith(".")]


# --- folders of others ----------------------------------------------------------------------------


def test_the_folder_of_a_save_leads_nowhere_else(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "model"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    for number, name in enumerate(
        ["../outside/precious", str(outside / "precious"), "link/precious", "..", "."]
    ):
        target = folder / str(number)
        (target / SAVED).mkdir(parents=True)
        (target / "link").symlink_to(outside)
        (target / SAVED / recovery.PLAN).write_text(f"{name}\n")
        with pytest.raises(ValueError, match="which is not in the folder; delete it"):
            settle(target)
    (folder / "moves" / SAVED / "link").mkdir(parents=True)
    (folder / "moves" / SAVED / "link" / "precious").write_text("theirs")
    (folder / "moves" / "link").symlink_to(outside)
    with pytest.raises(ValueError, match="which is not in the folder; delete it"):
        tb.BertConfig.from_pretrained(folder / "moves")
    (folder / "is_link").mkdir()
    (folder / "is_link" / SAVED).symlink_to(outside)
    with pytest.raises(ValueError, match="not the folder of a save of yours"):
        settle(folder / "is_link")
    assert texts(outside) == {"precious": "mine"}


@posix
@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_who_may_not_write_is_told_why_it_does_not_load(folder: Path) -> None:
    committed(folder)
    folder.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="was interrupted; finishing it needs"):
            settle(folder)
    finally:
        folder.chmod(0o700)


@posix
def test_the_folder_of_a_save_of_somebody_else_is_refused(folder: Path, monkeypatch) -> None:
    committed(folder)
    status = os.lstat

    def of_another(path: os.PathLike[str]) -> os.stat_result:
        values = list(status(path))
        values[4] = os.geteuid() + 1
        return os.stat_result(values)

    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", of_another)
        with pytest.raises(ValueError, match="not the folder of a save of yours"):
            settle(folder)
    settle(folder)
    assert texts(folder) == AFTER
