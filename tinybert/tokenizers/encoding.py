"""What a tokenizer returns: a dictionary of lists or arrays, ready to be given to a model.

The tensor library is not known here: `register_tensor_type` lets it add its own kind of tensor.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_TENSOR_TYPES: dict[str, Callable[[np.ndarray], Any]] = {"np": lambda array: array}


def register_tensor_type(name: str, convert: Callable[[np.ndarray], Any]) -> None:
    """Make `return_tensors=name` give `convert(array)` for each int64 array.

    The ground floor must not import the floors above it, so the package that owns a kind of
    tensor says here, once and when it is imported, how one is made: `tinybert` does it for "tb".
    """
    _TENSOR_TYPES[name] = convert


def check_tensor_type(name: str | None) -> None:
    """Raise ValueError unless `name` is None or a registered kind of tensor."""
    if name is not None and name not in _TENSOR_TYPES:
        allowed = ", ".join(map(repr, _TENSOR_TYPES))
        raise ValueError(f"return_tensors must be None or one of {allowed}, got {name!r}")


def as_py_list(value: Any) -> Any:
    """Arrays and tensors of any library as nested lists of Python numbers."""
    return value.tolist() if hasattr(value, "tolist") else value


class BatchEncoding(UserDict):
    """A dictionary (`input_ids`, `token_type_ids`, `attention_mask`, ...) with attribute access.

    `encoding["input_ids"]`, `encoding.input_ids` and `model(**encoding)` all work. A value is a
    list for one text, a list of lists for a batch, or a tensor of shape (B, T).
    """

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data if data is not None else {})

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["data"][name]  # `data` itself is absent while unpickling
        except KeyError:
            raise AttributeError(f"BatchEncoding has no attribute or key {name!r}") from None

    def convert_to_tensors(
        self, tensor_type: str | None, prepend_batch_axis: bool = False
    ) -> BatchEncoding:
        """Turn every value into an int64 array or registered tensor, in place; returns self.

        Raises ValueError if rows differ in length, which `padding=True` cures.
        """
        check_tensor_type(tensor_type)
        if tensor_type is None:
            return self
        for key, value in self.data.items():
            try:
                array = np.asarray([value] if prepend_batch_axis else value, dtype=np.int64)
            except ValueError as error:
                raise ValueError(
                    f"{key}: rows of different lengths cannot become one tensor; "
                    "use padding=True and truncation=True, or return_tensors=None"
                ) from error
            self.data[key] = _TENSOR_TYPES[tensor_type](array)
        return self

    def to(self, device: Any) -> BatchEncoding:
        """Move every value that has a `to` method to `device`, in place; returns self."""
        for key, value in self.data.items():
            if hasattr(value, "to"):
                self.data[key] = value.to(device)
        return self
