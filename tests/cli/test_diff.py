"""`tinybert diff`: what differs between two checkpoints, and the exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tinybert.weights import SafetensorsFile, save_file, save_sharded

A = {
    "same": np.array([1.0, np.nan, np.inf], np.float32),
    "near": np.array([[1.0, 2.0]], np.float32),
    "far": np.array([1.0, 2.0, 3.0, 4.0], np.float32),
    "ids": np.array(3),
}
B = {
    "far": np.array([1.0, 2.0, 3.0, 6.0], np.float32),
    "same": A["same"],
    "near": np.array([[1.0, 2.125]], np.float32),
    "ids": np.array(3),
}


@pytest.fixture
def saved(tmp_path: Path):
    """Saves tensors under a name."""

    def save(name: str, tensors: dict[str, np.ndarray]) -> Path:
        save_file(tensors, tmp_path / f"{name}.safetensors")
        return tmp_path / f"{name}.safetensors"

    return save


@pytest.fixture
def pair(saved) -> tuple[Path, Path]:
    return saved("a", A), saved("b", B)


def test_equal_checkpoints_in_different_files(tinybert, saved, tmp_path: Path) -> None:
    save_sharded(dict(reversed(A.items())), tmp_path / "folder", 20)
    ran = tinybert("diff", saved("a", A), tmp_path / "folder")
    assert ran == (0, "4 tensors in both, all equal\n", "")


def test_differences_are_measured_and_sorted(tinybert, pair) -> None:
    ran = tinybert("diff", *pair, "--json")
    assert ran.code == 1
    result = json.loads(ran.out)
    assert (result["equal"], result["only_in_a"], result["other_shape"]) == (False, [], [])
    assert [t["name"] for t in result["tensors"]] == ["far", "near", "same", "ids"]
    assert [t["max_difference"] for t in result["tensors"]] == [2, 0.125, 0, 0]
    assert [t["mean_difference"] for t in result["tensors"]] == [0.5, 0.0625, 0, 0]
    assert [t["equal"] for t in result["tensors"]] == [False, False, True, True]
    out = tinybert("diff", *pair).out
    assert out.splitlines()[1].split() == ["far", "4", "F32", "2", "0.5"]
    assert out.splitlines()[2].split() == ["near", "1x2", "F32", "0.125", "0.0625"]
    assert out.endswith("4 tensors in both: 2 equal, 2 differ\n")


@pytest.mark.parametrize(
    ("tolerance", "code", "last"),
    [
        ("0.125", 1, "4 tensors in both: 3 equal within 0.125, 1 differ"),
        ("2", 0, "4 tensors in both, all equal within 2"),
    ],
)
def test_tolerance(tinybert, pair, tolerance: str, code: int, last: str) -> None:
    ran = tinybert("diff", *pair, "--tolerance", tolerance)
    assert ran.code == code
    assert ran.out.splitlines()[-1] == last
    assert ("far " in ran.out) == (code == 1)
    assert "near " not in ran.out  # only what differs is shown


def test_dtypes_count_unless_there_is_a_tolerance(tinybert, saved) -> None:
    a, b = saved("a", A), saved("b", A | {"near": A["near"].astype(np.float16)})
    ran = tinybert("diff", a, b)
    assert ran.code == 1
    assert "near  1x2    F32/F16         0          0\n" in ran.out
    assert tinybert("diff", a, b, "--tolerance", "0").code == 0


def test_names_and_shapes(tinybert, saved) -> None:
    a = saved("a", A | {"more": np.zeros((2, 3), np.float16), "near": np.zeros(5)})
    b = saved("b", A | {"other": np.zeros(1)})
    ran = tinybert("diff", a, b, "--tolerance", "9")
    assert ran.code == 1
    assert "only in A (1)  shape  dtype\nmore           2x3    F16\n" in ran.out
    assert "only in B (1)  shape  dtype\nother          1      F64\n" in ran.out
    assert "different shapes (1)  in A  in B\nnear                  5     1x2\n" in ran.out
    last = "4 tensors in both: 3 equal within 9, 0 differ, 1 with different shapes, "
    assert ran.out.endswith(last + "1 only in A, 1 only in B\n")
    result = json.loads(tinybert("diff", a, b, "--json").out)
    assert result["only_in_a"] == [{"name": "more", "shape": [2, 3], "dtype": "F16"}]
    assert result["other_shape"] == [{"name": "near", "shape_a": [5], "shape_b": [1, 2]}]


def test_nan_in_one_alone_is_never_within_the_tolerance(tinybert, saved) -> None:
    broken = A["far"].copy()
    broken[1:3] = np.nan, np.inf
    a, b = saved("a", A), saved("b", A | {"far": broken})
    ran = tinybert("diff", a, b, "--tolerance", "100")
    assert ran.code == 1
    assert "far   4      F32      0 (+2)          0\n" in ran.out
    assert "(+n): " in ran.out
    assert json.loads(tinybert("diff", a, b, "--json").out)["tensors"][0]["unlike"] == 2


def test_it_fits_the_terminal(tinybert, saved, monkeypatch) -> None:
    name = ".".join(["a_long_name"] * 9)
    a = saved("a", {name + ".x": np.zeros(3), name + ".y": np.zeros(3)})
    b = saved("b", {name + ".x": np.ones(3), name + ".z": np.zeros(3)})
    assert name + ".x  3 " in tinybert("diff", a, b).out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    out = tinybert("diff", a, b).out
    assert ".x  3 " in out
    assert max(map(len, out.splitlines())) <= 80


def test_one_tensor_at_a_time(tinybert, pair, monkeypatch) -> None:
    read: list[tuple[str, str]] = []
    read_into = SafetensorsFile.read_into

    def watched(self: SafetensorsFile, name: str, out: np.ndarray) -> None:
        read.append((Path(self.path).name[0], name))
        read_into(self, name, out)

    monkeypatch.setattr(SafetensorsFile, "read_into", watched)
    tinybert("diff", *pair)
    assert read == [(file, name) for name in A for file in "ab"]


def test_it_refuses(refused, pair, tmp_path: Path) -> None:
    assert "'nowhere' is neither a file or folder nor a known model name" in refused(
        "diff", pair[0], "nowhere"
    )
    assert "--tolerance must be" in refused("diff", *pair, "--tolerance=-1")
    assert "--tolerance must be" in refused("diff", *pair, "--tolerance=nan")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(pair[0].read_bytes()[:-1])
    assert "broken.safetensors is truncated" in refused("diff", pair[0], broken)
