"""torch's names of dtypes, and of the tensor types that go with them.

A dtype is NumPy's: `tinybert.float` is `numpy.dtype("float32")`, which `x.dtype` returns. NumPy has
no bfloat16. `tinybert.bfloat16` is the word "bfloat16", which `from_pretrained` and
`save_pretrained` take; a tensor of that dtype is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

TENSOR_TYPES = {
    "HalfTensor": "float16", "FloatTensor": "float32", "DoubleTensor": "float64",
    "ByteTensor": "uint8", "CharTensor": "int8", "ShortTensor": "int16", "IntTensor": "int32",
    "LongTensor": "int64", "BoolTensor": "bool",
}  # fmt: skip

float16 = half = np.dtype("float16")
float32 = float = np.dtype("float32")
float64 = double = np.dtype("float64")
complex64 = np.dtype("complex64")
complex128 = np.dtype("complex128")
uint8 = np.dtype("uint8")
int8 = np.dtype("int8")
int16 = short = np.dtype("int16")
int32 = int = np.dtype("int32")
int64 = long = np.dtype("int64")
bool = np.dtype("bool")
bfloat16 = "bfloat16"


def numpy_dtype(dtype: Any) -> np.dtype | None:
    """Return `dtype` as NumPy's; None stays None. TypeError for bfloat16 and what is no dtype."""
    if dtype is None:
        return None
    name = str(dtype).removeprefix("torch.").removeprefix("tinybert.")
    if name == "bfloat16":
        raise TypeError(
            "dtype bfloat16: NumPy has none; use tinybert.float32 or tinybert.float16. "
            'from_pretrained(dtype="bfloat16") reads such weights as float32, and '
            'save_pretrained(dtype="bfloat16") writes them'
        )
    chosen: Any = TENSOR_TYPES.get(name) or (name if isinstance(dtype, str) else dtype)
    return np.dtype(chosen)
