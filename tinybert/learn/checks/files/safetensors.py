"""Check of files/safetensors."""

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant

_FROM_FILE = "it is what you are building: the bytes are there, and NumPy turns them into numbers"

EXERCISE = Exercise(
    minutes=30,
    level=4,
    lesson=6,
    hints=(
        "int.from_bytes, json.loads and np.frombuffer read the three parts. Check each number of "
        "the file before you use it.",
        "One variable holds how many bytes are covered by the tensors so far; it says where the "
        "next one has to begin, and at the end it has to be the size of the rest.",
        "How many bytes a tensor takes is the product of its shape (math.prod; 1 for a single "
        "number) times dtype.itemsize.",
    ),
    forbidden={
        "load_file": _FROM_FILE,
        "load_checkpoint": _FROM_FILE,
        "SafetensorsFile": _FROM_FILE,
        "open_file": _FROM_FILE,
    },
    mutants=(
        Mutant(
            "big-endian length",
            '"little"',
            '"big"',
            "values",
            "the lowest byte comes first, which is called little-endian.",
        ),
        Mutant(
            "offsets counted from the start of the file",
            "rest[begin:end]",
            "data[begin:end]",
            "values",
            "offsets count from the end of the header.",
        ),
        Mutant(
            "offsets counted from the end of the length",
            "rest[begin:end]",
            "data[8 + begin : 8 + end]",
            "values",
            "offsets count from the end of the header.",
        ),
        Mutant(
            "column by column",
            ".reshape(shape)",
            '.reshape(shape, order="F")',
            "values",
            "the numbers are stored row by row, NumPy's own order.",
        ),
        Mutant(
            "metadata taken for a tensor",
            '    header.pop("__metadata__", None)\n',
            "",
            "values",
            "__metadata__ has strings, and no offsets: remove it from the header first.",
        ),
        Mutant(
            "length believed",
            'need(length <= len(data) - 8, "it is shorter than its header")',
            "",
            "edges",
            "a slice beyond the end is not an error in Python; compare with len(data) first.",
        ),
        Mutant(
            "gaps allowed",
            "need(begin == covered,",
            "need(begin >= covered,",
            "edges",
            "bytes that belong to no tensor can hide anything: each tensor begins where the one "
            "before ends.",
        ),
        Mutant(
            "gaps and overlaps allowed",
            'need(begin == covered, f"{name} does not begin where the tensor before ends")',
            "",
            "edges",
            "each tensor has to begin where the one before ends.",
        ),
        Mutant(
            "shape not checked",
            "end - begin == math.prod(shape) * dtype.itemsize",
            "True",
            "edges",
            "reshape takes -1 for any size; compare the bytes with shape and dtype yourself.",
        ),
        Mutant(
            "bytes after the last tensor allowed",
            'need(covered == len(rest), "the tensors do not fill it")',
            "",
            "edges",
            "the last tensor has to end with the file.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Files written here, good and bad."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(2, 3)).astype(np.float32)
    ids, scale = np.array([[7], [-1], [300]]), np.array(0.5)
    # Of two tensors in the other order than their names, and a number of no axes.
    entries = {"table": _entry("F32", [2, 3], 32), "ids": _entry("I64", [3, 1], 0)}
    entries["scale"] = _entry("F64", [], 24)
    numbers = ids.tobytes() + scale.tobytes() + table.tobytes()
    expected = {"table": table, "ids": ids, "scale": scale}
    good = _file(entries, numbers)

    def case(data: bytes, expected: Any, what: str, stage: str = "values") -> Case:
        return Case(student.read, (data,), expected, {}, stage, what=f"read {what}")

    one = {"table": _entry("F32", [2, 3], 0)}
    yield case(_file(one, table.tobytes()), {"table": table}, "a file with one tensor")
    yield case(good, expected, "a file with three tensors")
    tagged = _file({"__metadata__": {"format": "pt"}, **entries}, numbers)
    yield case(tagged, expected, "a file with __metadata__")
    empty = {"none": _entry("F32", [0, 4], 0)}
    none = {"none": np.empty((0, 4), np.float32)}
    yield case(_file(empty, b""), none, "a file with a tensor of no numbers", "edges")
    yield case(_file({}, b""), {}, "a file without tensors", "edges")
    bad = {
        "no bytes at all": b"",
        "a file of 5 bytes": b"\x02\0\0\0\0",
        "a file whose header should have 99 bytes, and has 2": _file({}, b"", 99),
        "a file whose header should have 2^60 bytes": _file(one, table.tobytes(), 2**60),
        "a file that lacks its last byte": good[:-1],
        "a file with a byte too many": good + b"\0",
        "a file with two tensors in the same bytes": _file({"b": one["table"], **one}, bytes(24)),
        "a file with a gap before its tensor": _file({"a": _entry("F32", [2, 3], 4)}, bytes(28)),
        "a file whose tensor has the shape [-1]": _file({"a": _entry("F32", [-1], 0, 8)}, bytes(8)),
        "a file whose tensor has fewer bytes than [2, 3] takes": _file(
            {"a": _entry("F32", [2, 3], 0, 20)}, bytes(20)
        ),
    }
    for what, data in bad.items():
        yield case(data, ValueError, what, "edges")


def _entry(dtype: str, shape: list[int], begin: int, size: int | None = None) -> dict[str, Any]:
    """One tensor of a header; `size`, in bytes, is that of its shape unless given."""
    right = int(np.prod(shape)) * int(dtype[1:]) // 8
    end = begin + (right if size is None else size)
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def _file(entries: dict[str, Any], numbers: bytes, length: int | None = None) -> bytes:
    header = json.dumps(entries).encode()
    return (length or len(header)).to_bytes(8, "little") + header + numbers
