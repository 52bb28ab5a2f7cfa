"""Kinds of files that register themselves, and what open_file makes of all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinybert.weights import CheckpointError, SafetensorsFile, open_checkpoint, reader, save_file

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry as it is without `tinybert.formats`."""
    monkeypatch.setattr(reader, "file_formats", reader.file_formats[:2])
    monkeypatch.setattr(reader, "_describers", [])


def is_tiny(path: Path, first: bytes, last: bytes) -> bool:
    return first.startswith(b"tiny") and last.endswith(b"end")


def open_tiny(path: Path) -> reader.TensorReader:
    content = path.read_bytes()
    path.with_suffix(".safetensors").write_bytes(content[4:-3])
    return SafetensorsFile(path.with_suffix(".safetensors"))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    save_file(ARRAYS, tmp_path / "plain.safetensors")
    content = b"tiny" + (tmp_path / "plain.safetensors").read_bytes() + b"end"
    (tmp_path / "model.tiny").write_bytes(content)
    return tmp_path / "model.tiny"


@pytest.mark.usefixtures("alone")
def test_a_registered_kind_is_recognized_by_its_content_and_in_a_folder(tiny: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        open_checkpoint(tiny)
    with pytest.raises(CheckpointError, match=r"none of model\.safetensors, model\.safetensors\."):
        open_checkpoint(tiny.parent)
    reader.register_format(reader.FileFormat(("model.tiny",), is_tiny, open_tiny))
    for path in (tiny, tiny.parent):
        with open_checkpoint(path) as file:
            np.testing.assert_array_equal(file["a"], ARRAYS["a"])
    save_file({}, tiny.parent / "model.safetensors")  # of several the first that is registered
    with open_checkpoint(tiny.parent) as file:
        assert list(file) == []


@pytest.mark.usefixtures("alone")
def test_descriptions_of_other_files_are_registered_too(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"GGUF" + bytes(30))
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        open_checkpoint(path)
    path.write_bytes(b"x" * 30)
    reader.register_description(lambda first, size: f"is {first[:1]!r} times {size}")
    with pytest.raises(CheckpointError, match="is b'x' times 30"):
        open_checkpoint(path)
