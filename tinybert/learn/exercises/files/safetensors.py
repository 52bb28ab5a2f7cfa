"""Read a safetensors file, and refuse a bad one.

    8 bytes         n, the length of the header, as an integer whose lowest byte is first
    n bytes         the header: JSON, {name: {"dtype": "F32", "shape": [2, 3],
                                              "data_offsets": [0, 24]}, ...}
    all the rest    the numbers of the tensors, row by row

data_offsets are [begin, end] in the rest, not in the file. The header can also have the name
"__metadata__", which is not a tensor.

A file may come from anyone, so nothing in it is believed: refuse it with `need`

- if the file is shorter than 8 bytes, or than its header;
- if tensors overlap or leave a gap: sorted by their offsets, the first begins at 0, each one where
  the one before ends, and the last ends with the file;
- if a tensor has another number of bytes than its shape and dtype take.
"""

import json
import math

import numpy as np

DTYPES = {name: np.dtype(code) for name, code in {"F32": "<f4", "F64": "<f8", "I64": "<i8"}.items()}


def need(condition: bool, what: str) -> None:
    """Refuse the file unless the condition is true: ValueError, with what is wrong."""
    if not condition:
        raise ValueError(f"not a safetensors file: {what}")


def read(data: bytes) -> dict[str, np.ndarray]:
    """Return the tensors of a file, given as its bytes, by name."""
    # TODO: the length, the header, then the tensors in the order of their offsets.
    # --- solution
    length = int.from_bytes(data[:8], "little")
    need(length <= len(data) - 8, "it is shorter than its header")
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    header.pop("__metadata__", None)
    tensors, covered = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
        need(begin == covered, f"{name} does not begin where the tensor before ends")
        need(end - begin == math.prod(shape) * dtype.itemsize, f"{name} does not fit its shape")
        tensors[name] = np.frombuffer(rest[begin:end], dtype).reshape(shape)
        covered = end
    need(covered == len(rest), "the tensors do not fill it")
    return tensors
    # --- end
