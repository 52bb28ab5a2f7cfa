"""The search against a plain loop, and what its index keeps, updates, and refuses to trust."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipelines.twins import Make, model_folder  # noqa: F401 (a fixture)
from tests.search.notes import NOTES
from tinybert.embedding import SentenceEmbedder, similarity
from tinybert.search import Found, files, index, ranking, search, update
from tinybert.weights import load_file, save_file
from tinybert.weights.safetensors import SafetensorsFile

QUERY = "gold and salt in a ship"
# Both sides compute in float32; one pads the batch, the other has one text at a time.
ATOL = 1e-6


def plain_search(
    embedder: SentenceEmbedder, folder: Path, separator: str
) -> list[tuple[float, str, int, str]]:
    """Every passage of the notes with its score, one at a time, best first."""
    found = []
    for name in NOTES:
        text = (folder / name).read_text("utf-8")
        for part in re.split(separator, text):
            if passage := part.strip():
                vectors = np.concatenate([embedder.encode([QUERY]), embedder.encode([passage])])
                line = text[: text.index(passage)].count("\n") + 1
                found.append((similarity(vectors)[0, 1], str(folder / name), line, passage))
    return sorted(found, key=lambda hit: -hit[0])


@pytest.fixture
def look(embedder: SentenceEmbedder, notes: Path) -> Callable[..., Found]:
    """Search the notes."""
    return lambda query=QUERY, *paths, **options: search(
        query, paths or [notes], options.pop("embedder", embedder), **options
    )


def place(folder: Path, by: str = "passage") -> Path:
    return folder / f".tinybert-index-{by}.safetensors"


def as_rows(found: Found) -> list[tuple[str, int, str]]:
    return [(hit.file, hit.line, hit.text) for hit in found.hits]


@pytest.mark.parametrize(("by", "separator"), [("passage", r"\n\s*\n"), ("line", r"\n")])
def test_the_results_are_those_of_a_plain_loop(
    embedder, notes: Path, look, by: str, separator: str
) -> None:
    expected = plain_search(embedder, notes, separator)
    fresh, kept = look(by=by), look(by=by)
    some = look(by=by, top_k=3, keep_index=False)
    assert [found.embedded for found in (fresh, kept, some)] == [
        len(expected) - 1,
        0,
        len(expected) - 1,
    ]
    for found, count in ((fresh, None), (kept, None), (some, 3)):
        assert (found.files, found.passages) == (3, len(expected))
        assert as_rows(found) == [row[1:] for row in expected[:count]]
        scores = [row[0] for row in expected[:count]]
        np.testing.assert_allclose([hit.score for hit in found.hits], scores, rtol=0, atol=ATOL)


def test_a_file_has_its_index_next_to_it(notes: Path, look) -> None:
    found = look(QUERY, notes / "a.txt")
    (path,) = notes.glob(".*")
    assert path.name == ".a.txt.tinybert-index-passage.safetensors"
    assert found.indexes == [str(path)]
    assert {hit.file for hit in found.hits} == {str(notes / "a.txt")}
    assert look(QUERY, notes / "a.txt").embedded == 0


def test_a_file_that_is_given_twice_is_found_once(notes: Path, look, monkeypatch) -> None:
    monkeypatch.chdir(notes)
    found = look(QUERY, notes, "a.txt", notes / "deep")
    assert len(found.hits) == len(look().hits) == 7


def test_numbers_of_hits(look) -> None:
    assert len(look(top_k=2).hits) == 2
    assert len(look(top_k=99).hits) == 7
    for options in ({"top_k": 0}, {"top_k": True}, {"candidates": 0}, {"by": "page"}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            look(**options)


# --- updates -------------------------------------------------------------------------------------


def test_only_what_is_new_is_embedded(notes: Path, look) -> None:
    assert look().embedded == 6  # of seven passages, two are equal
    (notes / "a.txt").write_text("The king went to war.\nHe lost.\n\nIt rained in Egypt.\n")
    changed = look()
    assert changed.embedded == 1
    assert "The king went to war.\nHe lost." in [hit.text for hit in changed.hits]
    os.rename(notes / "deep/er/c.py", notes / "d.py")
    renamed = look()
    assert renamed.embedded == 0
    assert str(notes / "d.py") in [hit.file for hit in renamed.hits]
    (notes / "b.md").unlink()
    deleted = look()
    assert (deleted.embedded, deleted.passages) == (0, 4)
    assert str(notes / "b.md") not in [hit.file for hit in deleted.hits]
    assert load_file(place(notes))["vectors"].shape[0] == 4
    assert as_rows(deleted) == as_rows(look(keep_index=False))


def test_files_that_did_not_change_are_not_read(notes: Path, look, monkeypatch) -> None:
    monkeypatch.setattr(files, "SETTLED", 0)
    first = look()
    read = []
    monkeypatch.setattr(
        update, "read_bytes", lambda path: read.append(path.name) or path.read_bytes()
    )
    assert as_rows(look()) == as_rows(first)
    assert read == []
    before = os.stat(notes / "a.txt")
    (notes / "a.txt").write_text(NOTES["a.txt"].replace("won", "hid"))  # the same size and mtime
    os.utime(notes / "a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert look().embedded == 1
    assert read == ["a.txt"]


def test_files_that_are_a_moment_old_are_read_again(notes: Path, look) -> None:
    """A change within the resolution of the file system's clock leaves its times as they are."""
    look()
    with SafetensorsFile(place(notes)) as file:
        entries = json.loads(file.metadata["files"])
    assert [entry[0] for entry in entries.values()] == [[], [], []]


def test_an_interruption_keeps_what_was_embedded(notes: Path, look, embedder, monkeypatch) -> None:
    monkeypatch.setattr(update, "BATCH", 2)
    encode, calls = embedder.encode, []

    def interrupted(texts: list[str], *more: Any, **options: Any) -> np.ndarray:
        calls.append(len(texts))
        if len(calls) == 3:  # the query, two texts, ...
            raise KeyboardInterrupt
        return encode(texts, *more, **options)

    monkeypatch.setattr(embedder, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        look()
    monkeypatch.setattr(embedder, "encode", encode)
    resumed = look()
    assert resumed.embedded == 4
    assert as_rows(resumed) == as_rows(look(keep_index=False))


def test_a_long_run_saves_every_minute(notes: Path, look, monkeypatch) -> None:
    monkeypatch.setattr(update, "BATCH", 2)
    monkeypatch.setattr(update, "SAVE_EVERY", -1)
    saved, save = [], index.Index.save
    monkeypatch.setattr(
        index.Index, "save", lambda self, path: saved.append(len(self.vectors)) or save(self, path)
    )
    look()
    assert len(saved) == 4  # after 2, 4 and 6 passages, and at the end
    assert 2 <= saved[0] < saved[1] < saved[2] == saved[3] == 7


# --- indexes that are not trusted ----------------------------------------------------------------


def damage(folder: Path, what: str) -> None:
    path = place(folder)
    raw, tensors = path.read_bytes(), {name: a.copy() for name, a in load_file(path).items()}
    with SafetensorsFile(path) as file:
        metadata = dict(file.metadata)
    if what == "truncated":
        path.write_bytes(raw[:-1])
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "not a safetensors file":
        path.write_bytes(bytes(range(256)) * 9)
    elif what == "a model":
        save_file({"weight": np.ones((3, 3), np.float32)}, path)
    elif what == "no passages":
        save_file({name: a[:0] for name, a in tensors.items()}, path, metadata)
    elif what == "rows without bytes":
        tensors["vectors"] = np.empty((2**40, 0), np.float32)
        save_file(tensors, path, metadata)
    elif what == "scalar":
        save_file({**tensors, "probe": np.float32(1)}, path, metadata)
    elif what == "NaN":
        tensors["vectors"][1, 2] = np.nan
        save_file(tensors, path, metadata)
    elif what == "long vector":
        tensors["vectors"][1] *= 100
        save_file(tensors, path, metadata)
    elif what == "other types":
        tensors["spans"] = tensors["spans"].astype(np.float64)
        save_file(tensors, path, metadata)
    else:
        files = {
            "counts": {"a.txt": [[], "", 10**9, True]},
            "negative counts": {"a.txt": [[], "", 8, True], "b.md": [[], "", -1, True]},
            "entries": {"a.txt": ["", "", 7, True]},
            "short entries": {"a.txt": [[]]},
            "a list": [1, 2],
        }.get(what)
        text = "[" * 99_999 if what == "deep" else json.dumps(files)
        save_file(tensors, path, {**metadata, "files": text})


@pytest.mark.parametrize(
    "what",
    [
        "truncated", "empty", "not a safetensors file", "a model", "no passages", "scalar",
        "rows without bytes", "NaN", "long vector", "other types", "counts", "negative counts",
        "entries", "short entries", "a list", "deep",
    ],
)  # fmt: skip
def test_a_damaged_index_is_made_again(notes: Path, look, what: str, caplog) -> None:
    expected = as_rows(look())
    damage(notes, what)
    found = look()
    assert as_rows(found) == expected
    assert found.embedded == 6
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{place(notes)} is damaged or not an index: embedding all passages again"
    )
    assert look().embedded == 0
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("name", "change"),
    [("spans", lambda a: a + 1), ("spans", lambda a: a - 2**62), ("digests", lambda a: a ^ 1)],
)
def test_an_index_that_does_not_match_the_texts(notes: Path, look, name, change, caplog) -> None:
    expected = as_rows(look())
    with SafetensorsFile(place(notes)) as file:
        metadata = dict(file.metadata)
    tensors = dict(load_file(place(notes)))
    tensors[name] = np.ascontiguousarray(change(tensors[name]))
    save_file(tensors, place(notes), metadata)
    assert as_rows(look()) == expected
    (record,) = caplog.records
    assert record.getMessage().endswith(": changed since it was indexed")
    assert as_rows(look()) == expected
    assert len(caplog.records) == 1


def test_files_that_always_change_are_left_out(notes: Path, look, monkeypatch, caplog) -> None:
    right = ranking.decode
    monkeypatch.setattr(
        ranking, "decode", lambda path, raw: right(path, raw) if path.name == "a.txt" else "other"
    )
    assert {hit.file for hit in look().hits} == {str(notes / "a.txt")}
    assert [record.getMessage() for record in caplog.records] == [
        "b.md, deep/er/c.py: changed since it was indexed",
        "b.md, deep/er/c.py: changes too often, not searched",
    ]


def test_another_model_makes_the_index_again(notes: Path, look, model_folder: Make, caplog) -> None:  # noqa: F811
    look()
    other = SentenceEmbedder.from_pretrained(model_folder("BertModel", seed=1))
    found = look(embedder=other)
    assert found.embedded == 6
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{place(notes)} was made with another model: embedding all passages again"
    )
    assert found.hits == look(embedder=other).hits == look(embedder=other, keep_index=False).hits


def test_the_same_model_in_another_place(notes: Path, look, model_folder, tmp_path) -> None:  # noqa: F811
    look()
    shutil.copytree(model_folder("BertModel"), tmp_path / "copy")
    assert look(embedder=SentenceEmbedder.from_pretrained(tmp_path / "copy")).embedded == 0


def test_another_maximum_length_makes_the_index_again(look, embedder, monkeypatch, caplog) -> None:
    look()
    monkeypatch.setattr(embedder, "max_length", 20)
    assert look().embedded == 6
    assert "has another format" in caplog.text


# --- folders that cannot keep an index -----------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_without_the_right_to_write_the_search_works(
    notes: Path, look, code: int, monkeypatch, caplog
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(index, "save_file", fail)
    found = look()
    assert (len(found.hits), found.indexes) == (7, [])
    (record,) = caplog.records
    assert record.getMessage() == (
        f"the index cannot be saved: {place(notes)}: {os.strerror(code)}"
    )


def test_a_folder_in_the_place_of_the_index(notes: Path, look, caplog) -> None:
    place(notes).mkdir()
    assert len(look().hits) == 7
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


def test_no_index(notes: Path, look) -> None:
    look(keep_index=False)
    assert list(notes.glob(".*")) == []


SCRIPT = """
import os, sys
from tinybert.embedding import SentenceEmbedder
from tinybert.search import search
folder, name = sys.argv[2:]
embedder = SentenceEmbedder.from_pretrained(sys.argv[1])
for i in range(20):
    with open(f"{folder}/.{name}", "w") as file:
        file.write(f"gold {name} {i}")
    os.rename(f"{folder}/.{name}", f"{folder}/{name}{i}.txt")  # complete when it is seen
    found = search("gold", [folder], embedder)
    assert 8 + i <= found.passages <= 28 + i, found
    assert len(found.hits) == min(10, found.passages), found
"""


def test_processes_at_once_do_not_spoil_the_index(notes: Path, look, model_folder, caplog) -> None:  # noqa: F811
    command = [sys.executable, "-c", SCRIPT, model_folder("BertModel"), str(notes)]
    started = [
        subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True) for name in "xy"
    ]
    assert [process.communicate()[1] for process in started] == ["", ""]
    look()
    assert not caplog.records
    assert (look().embedded, look().passages) == (0, 47)
    assert [path.name for path in notes.glob(".*")] == [place(notes).name]


# --- which files are searched --------------------------------------------------------------------


def test_what_is_skipped_is_counted(notes: Path, look, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "MAX_FILE", 1000)
    (notes / "latin1.txt").write_bytes(b"caf\xe9\n")
    (notes / "image.png").write_bytes(b"\x89PNG\0\0")
    (notes / "utf16.txt").write_text("hello", "utf-16")
    (notes / "large.txt").write_text("long " * 300)
    (notes / ".secret").write_text("secret")
    (notes / ".git").mkdir()
    (notes / ".git" / "config").write_text("secret")
    (tmp_path / "outside.txt").write_text("outside")
    os.symlink(tmp_path / "outside.txt", notes / "link.txt")
    os.symlink(tmp_path, notes / "deep" / "loop")
    expected = {"hidden": 2, "not UTF-8 text": 3, "not regular": 1, "over 0 MB": 1}
    for _ in range(2):
        found = look()
        assert (found.files, found.passages, dict(found.skipped)) == (3, 7, expected)
    named = look(QUERY, notes / "large.txt", notes / ".secret", notes / "link.txt")
    assert {hit.text for hit in named.hits} >= {"secret", "outside"}
    assert not named.skipped


def test_unreadable_files_and_folders(notes: Path, look, monkeypatch) -> None:
    def refused(path: Path) -> bytes:
        if path.name == "b.md":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return path.read_bytes()

    monkeypatch.setattr(update, "read_bytes", refused)
    assert dict(look().skipped) == {"unreadable": 1}
    with pytest.raises(PermissionError):
        look(QUERY, notes / "b.md")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes in folders")
def test_pipes_are_not_read(notes: Path, look) -> None:
    os.mkfifo(notes / "pipe")
    assert dict(look().skipped) == {"not regular": 1}
    with pytest.raises(ValueError, match="pipe is not a regular file"):
        look(QUERY, notes / "pipe")


def test_texts_of_windows_and_of_other_languages(notes: Path, look) -> None:
    raw = "\ufeffÄpfel\r\nsind rot.\r\n\r\n王はエジプトへ行った。\r\n\r\n😀".encode()
    (notes / "Überblick.txt").write_bytes(raw)
    found = look("王", notes / "Überblick.txt")
    by_line = {hit.line: hit.text for hit in found.hits}
    assert by_line == {1: "Äpfel\r\nsind rot.", 4: "王はエジプトへ行った。", 6: "😀"}


def test_what_cannot_be_searched(notes: Path, look, tmp_path: Path) -> None:
    (notes / "empty.txt").write_text(" \n\n")
    (notes / "latin1.txt").write_bytes(b"caf\xe9\n")
    (notes / "null.txt").write_bytes(b"a\0b")
    (tmp_path / "none").mkdir()
    for query in ("", " \n"):
        with pytest.raises(ValueError, match="query must not be blank"):
            look(query)
    with pytest.raises(ValueError, match=r"there is no text to search in .*empty.txt, .*none$"):
        look(QUERY, notes / "empty.txt", tmp_path / "none")
    with pytest.raises(ValueError, match=r"latin1.txt: not UTF-8 text \(at byte 3\)"):
        look(QUERY, notes / "latin1.txt")
    with pytest.raises(ValueError, match=r"null.txt: not a text file: it has null characters"):
        look(QUERY, notes / "null.txt")
    with pytest.raises(FileNotFoundError):
        look(QUERY, notes / "missing.txt")
