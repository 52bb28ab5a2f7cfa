"""`Index`: the vectors of all passages of a folder, kept in a safetensors file."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.display import visible
from tinybert.weights import save_file
from tinybert.weights.safetensors import SafetensorsFile
from tinybert.weights.strict_json import parse_json

# Models that give it the same vector are the same model.
PROBE = "The quick brown fox, 13."
SAME = 1e-4  # difference of two unit vectors; rounding on another machine is about 1e-6
UNIT = 1e-3  # of a vector's length, which is 1, or 0 for a text without tokens

logger = logging.getLogger("tinybert")


@dataclass
class Entry:
    """What is known about one file.

    Attributes:
        stamp: its size and times when it was read; [] if it has to be read again.
        digest: a hash of its content, in hexadecimal digits.
        count: the number of its passages.
        is_text: whether it is a UTF-8 text file; others are skipped.
    """

    stamp: list[int]
    digest: str
    count: int
    is_text: bool = True


@dataclass
class Index:
    """The passages of N rows, file after file.

    Attributes:
        form: how passages were made; an index of another form is not used.
        probe: the vector of `PROBE`, which tells models apart.
        files: what is known about every file, by its path relative to the folder.
        spans: (N, 2), start and end of every passage in its file, in characters.
        digests: (N, 16), a hash of every passage.
        vectors: (N, dimension), float32, of length 1.
    """

    form: str
    probe: np.ndarray
    files: dict[str, Entry]
    spans: np.ndarray
    digests: np.ndarray
    vectors: np.ndarray

    @classmethod
    def empty(cls, form: str, probe: np.ndarray) -> Index:
        """Return an index without files."""
        spans, digests = np.empty((0, 2), np.int64), np.empty((0, 16), np.uint8)
        return cls(form, probe, {}, spans, digests, np.empty((0, len(probe)), np.float32))

    def ends(self) -> list[int]:
        """Return for every file the row after its last passage."""
        return list(accumulate(entry.count for entry in self.files.values()))

    def save(self, path: Path) -> bool:
        """Write the file at once; return False, with a warning, if the system does not allow it."""
        files = {
            name: [entry.stamp, entry.digest, entry.count, entry.is_text]
            for name, entry in self.files.items()
        }
        tensors = {
            "vectors": self.vectors, "digests": self.digests, "spans": self.spans,
            "probe": self.probe,
        }  # fmt: skip
        try:
            save_file(tensors, path, {"form": self.form, "files": json.dumps(files)})
        except OSError as error:
            logger.warning("the index cannot be saved: %s", visible(f"{path}: {error.strerror}"))
            return False
        return True


def load_index(path: Path, form: str, probe: np.ndarray) -> Index | None:
    """Return the index in a file, checked, its vectors memory-mapped.

    None if there is no file, and also, with a warning that says why, if it cannot be used.
    """
    if not os.path.lexists(path):
        return None
    try:
        with SafetensorsFile(path) as file:
            index = _read(file)
    except OSError as error:
        fault = f"cannot be read ({error.strerror})"
    except ValueError:
        fault = "is damaged or not an index"
    else:
        same = index.probe.shape == probe.shape and bool(np.all(abs(index.probe - probe) < SAME))
        if same and index.form == form:
            return index
        fault = "was made with another model" if not same else "has another format"
    logger.warning("%s %s: embedding all passages again", visible(str(path)), fault)
    return None


def _read(file: SafetensorsFile) -> Index:
    """Return the content of an index. Raises ValueError if a part is missing or malformed."""
    arrays = {name: _array(file, name) for name in ("vectors", "digests", "spans", "probe")}
    rows, dimension = arrays["vectors"].shape[0], arrays["probe"].shape[0]
    expected = {
        "vectors": ((rows, dimension), np.float32), "digests": ((rows, 16), np.uint8),
        "spans": ((rows, 2), np.int64), "probe": ((dimension,), np.float32),
    }  # fmt: skip
    for name, (shape, dtype) in expected.items():
        if arrays[name].shape != shape or arrays[name].dtype != dtype:
            raise ValueError(f"{name} has shape {arrays[name].shape}, {arrays[name].dtype}")
    files = parse_json(file.metadata.get("files", "").encode())
    if not isinstance(files, dict):
        raise ValueError("its list of files is not an object")
    entries = {name: _entry(name, values) for name, values in files.items()}
    index = Index(file.metadata.get("form", ""), files=entries, **arrays)
    if sum(entry.count for entry in entries.values()) != rows:
        raise ValueError(f"its files have other than {rows} passages")
    lengths = np.einsum("ij,ij->i", index.vectors, index.vectors)
    if not np.all((abs(lengths - 1) < UNIT) | (lengths == 0)):  # also false for NaN
        raise ValueError("its vectors are damaged")
    return index


def _array(file: SafetensorsFile, name: str) -> np.ndarray:
    if name not in file or not file.info(name).shape:
        raise ValueError(f"it has no array {name}")
    # On other systems a mapped file cannot be replaced.
    return file[name] if os.name == "posix" else file[name].copy()


def _entry(name: str, values: Any) -> Entry:
    kinds = [list, str, int, bool]
    if not isinstance(values, list) or [type(value) for value in values] != kinds:
        raise ValueError(f"its entry of {name!r:.80} is malformed")
    entry = Entry(*values)
    if entry.count < 0:
        raise ValueError(f"its entry of {name!r:.80} is malformed")
    return entry
