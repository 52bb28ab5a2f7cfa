"""Checkpoint folders: single and sharded, written, replaced, read lazily, and refused."""

import contextlib
import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub.serialization import split_state_dict_into_shards_factory
from safetensors import safe_open

from tinybert.weights import (
    CheckpointError,
    load_checkpoint,
    open_checkpoint,
    save_file,
    save_sharded,
)

INDEX = "model.safetensors.index.json"
TENSORS = {f"layer.{i}": np.full((n, 3), i, np.float32) for i, n in enumerate([5, 2, 40, 7, 1, 9])}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoint"


@pytest.fixture
def sharded(folder):
    save_sharded(TENSORS, folder, 100)
    return folder


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def edit_index(folder, change):
    content = json.loads((folder / INDEX).read_text())
    change(content["weight_map"])
    (folder / INDEX).write_text(json.dumps(content))


LIMITS = [1, 24, 100, 120, 500, 564, 768, "0.1KB", "0.56KiB", "1KiB"]  # 768 is the sum


@pytest.mark.parametrize("limit", LIMITS)
def test_shards_are_those_of_hugging_face(limit, folder):
    save_sharded(TENSORS, folder, limit)
    split = split_state_dict_into_shards_factory(
        TENSORS,
        get_storage_size=lambda array: array.nbytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size={"0.56KiB": 573, "1KiB": 1024}.get(limit, limit),
    )
    assert set(names(folder)) - {INDEX} == set(split.filename_to_tensors)
    for file, keys in split.filename_to_tensors.items():
        with safe_open(folder / file, "np") as shard:
            assert sorted(shard.keys()) == sorted(keys)
            assert shard.metadata() == {"format": "pt"}
    if split.is_sharded:
        text = (folder / INDEX).read_text()
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        assert text == json.dumps(index, indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize("limit", [100, "5GB"])
def test_a_folder_comes_back_lazily_and_whole(limit, folder):
    save_sharded(TENSORS, folder, limit)
    loaded = load_checkpoint(folder)
    assert set(loaded) == set(TENSORS)
    with open_checkpoint(folder) as reader:
        assert len(reader) == len(TENSORS)
        assert "layer.2" in reader
        assert "other" not in reader
        assert reader.metadata == {"format": "pt"}
        assert reader.info("layer.1") == ("F32", (2, 3), 24)
        for name, array in TENSORS.items():
            np.testing.assert_array_equal(loaded[name], array)
            np.testing.assert_array_equal(reader[name], array)
            out = np.empty(array.shape, np.float64)
            reader.read_into(name, out)
            np.testing.assert_array_equal(out, array)
        with pytest.raises(KeyError, match="no tensor 'other'"):
            reader.info("other")


def test_half_precision_shards_count_the_bytes_that_are_stored(folder):
    save_sharded(TENSORS, folder, sum(a.nbytes for a in TENSORS.values()) // 2, dtype="BF16")
    assert names(folder) == ["model.safetensors"]
    assert load_checkpoint(folder / "model.safetensors")["layer.3"].dtype == np.float32


def test_a_newer_save_removes_what_the_older_left_and_nothing_else(folder):
    folder.mkdir()
    for other in ("config.json", "pytorch_model.bin", "model-final.safetensors"):
        (folder / other).write_text("mine")
    kept = names(folder)
    for limit, files in [(100, 4), ("1MB", 1), (200, 3), (100, 4), ("1MB", 1)]:
        save_sharded(TENSORS, folder, limit)
        ours = [name for name in names(folder) if name not in kept]
        assert len(ours) == files + (files > 1)
        assert set(load_checkpoint(folder)) == set(TENSORS)
    assert set(kept) < set(names(folder))


class Interrupted(dict):
    def __getitem__(self, name):
        if name == "layer.3":
            raise KeyboardInterrupt
        return super().__getitem__(name)


@pytest.mark.parametrize("limit", [100, "5GB"])
def test_an_interrupted_save_leaves_the_old_checkpoint(limit, sharded):
    before = {file.name: file.read_bytes() for file in sharded.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        save_sharded(Interrupted({n: -a for n, a in TENSORS.items()}), sharded, limit)
    assert {file.name: file.read_bytes() for file in sharded.iterdir()} == before


def halted(monkeypatch, after):
    """From now on, renaming or removing a file fails but for the first `after` times."""
    done = itertools.count()

    def once_more(real):
        def call(*args, **options):
            if next(done) >= after:
                raise KeyboardInterrupt
            return real(*args, **options)

        return call

    monkeypatch.setattr(os, "replace", once_more(os.replace))
    monkeypatch.setattr(Path, "unlink", once_more(Path.unlink))


@pytest.mark.parametrize("after", range(12))
@pytest.mark.parametrize(("before", "limit"), [(100, 100), (100, 200), (100, "1MB"), ("1MB", 100)])
def test_a_save_that_is_halted_anywhere_mixes_nothing(after, before, limit, folder):
    """Old weights are 1, new ones 2."""
    old, new = ({name: np.full_like(a, n) for name, a in TENSORS.items()} for n in (1, 2))
    save_sharded(old, folder, before)
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        halted(patch, after)
        save_sharded(new, folder, limit)
    found = {float(value) for array in load_checkpoint(folder).values() for value in array.flat}
    assert found == {1.0} or found == {2.0}
    for _ in range(2):  # whatever was left is used or removed by the next
        save_sharded(new, folder, limit)
        files = [name for name in names(folder) if name.endswith(".safetensors")]
        index = folder / "model.safetensors.index.json"
        if index.exists():
            assert set(files) == set(json.loads(index.read_text())["weight_map"].values())
        else:
            assert files == ["model.safetensors"]


@pytest.mark.parametrize("size", [0, -1, True, 1.5, None, "5", "GB", "5 parsecs", "-1GB", "0MB"])
def test_a_bad_shard_size_is_named(size, folder):
    if size == "5":  # bytes
        save_sharded(TENSORS, folder, size)
        return
    with pytest.raises(ValueError, match="max_shard_size must be"):
        save_sharded(TENSORS, folder, size)
    assert not folder.exists()


SHARD = "model-00002-of-00004.safetensors"


@pytest.mark.parametrize(
    "path",
    [
        f"../checkpoint/{SHARD}",
        f"/tmp/{SHARD}",
        f"..\\{SHARD}",
        f"C:{SHARD}",
        "..",
        "",
        "a\0.safetensors",
        "pytorch_model.h5",
        3,
        None,
        [SHARD],
    ],
)
def test_an_index_that_leaves_its_folder_is_refused(path, sharded):
    edit_index(sharded, lambda weight_map: weight_map.update({"layer.3": path}))
    with pytest.raises(CheckpointError, match=r"tensor 'layer\.3' is .* not a plain file name"):
        open_checkpoint(sharded)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": NaN}',
        '{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_a_malformed_index_is_refused(text, sharded):
    (sharded / INDEX).write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match="bad index"):
        open_checkpoint(sharded)


def test_disagreements_of_index_and_shards_are_named(sharded, tmp_path):
    def broken(change, words):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(sharded, copy)
        change(copy)
        with pytest.raises(CheckpointError, match=words):
            open_checkpoint(copy)

    home = json.loads((sharded / INDEX).read_text())["weight_map"]
    other = next(file for file in home.values() if file != home["layer.0"])
    broken(lambda f: (f / other).unlink(), f"{other} is missing")
    broken(lambda f: (f / other).write_bytes(b""), f"{other} is empty")
    broken(lambda f: edit_index(f, lambda m: m.update(new=other)), f"{other} lacks tensor 'new'")
    broken(lambda f: edit_index(f, lambda m: m.pop("layer.0")), "'layer.0', which the index does")
    broken(lambda f: edit_index(f, lambda m: m.update({"layer.0": other})), "the index expects in")
    twice = {n: TENSORS[n] for n in ("layer.0", *(n for n in home if home[n] == other))}
    broken(lambda f: save_file(twice, f / other), "has tensor 'layer.0'")


def test_an_index_beyond_the_bound_is_not_read(sharded):
    with open(sharded / INDEX, "r+b") as file:
        file.truncate(100_000_001)
    with pytest.raises(CheckpointError, match="100000001 bytes are too many; at most 100000000"):
        open_checkpoint(sharded)


def test_shards_may_be_links_as_in_a_hub_cache(sharded, tmp_path):
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for file in list(sharded.iterdir()):
        file.rename(blobs / file.name)
        file.symlink_to(blobs / file.name)
    assert set(load_checkpoint(sharded)) == set(TENSORS)


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"has no weights: none of model\.safetensors, "):
        load_checkpoint(tmp_path)


def test_paths_that_do_not_exist(tmp_path):
    for name in ("none", "none.safetensors", INDEX):
        with pytest.raises(FileNotFoundError):
            open_checkpoint(tmp_path / name)
