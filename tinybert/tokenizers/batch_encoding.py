"""What a tokenizer returns: a dictionary of lists or arrays, ready to be passed to a model.

The tensor library is not imported here: `register_tensor_type` adds its type of tensor.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinybert.checks import TENSOR_TYPES, check_tensor_type
from tinybert.tokenizer_json.encoding import Encoding
from tinybert.tokenizers.token_alignment import TokenAlignment


def as_py_list(value: Any) -> Any:
    """Return arrays and tensors of any library as nested lists of Python numbers."""
    return value.tolist() if hasattr(value, "tolist") else value


class BatchEncoding(UserDict, TokenAlignment):
    """A dictionary (`input_ids`, `token_type_ids`, `attention_mask`, ...) with attribute access.

    `encoding["input_ids"]`, `encoding.input_ids` and `model(**encoding)` all work. A value is a
    list for one text, a list of lists for a batch, or a tensor of shape (B, T).

    The result of a "Fast" tokenizer also has `encodings`, one `Encoding` for each row, and the
    methods of `TokenAlignment`. encoding[i] is row i of `encodings`. Without `encodings`,
    encoding[start:end] is a dict of those rows of each value.
    """

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        encodings: list[Encoding] | None = None,
        tensor_type: str | None = None,
        prepend_batch_axis: bool = False,
    ) -> None:
        super().__init__(data if data is not None else {})
        self.encodings = encodings
        self.convert_to_tensors(tensor_type, prepend_batch_axis)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self.data[key]
        if self.encodings is not None:
            return self.encodings[key]
        if isinstance(key, slice):
            return {name: value[key] for name, value in self.data.items()}
        raise KeyError(f"a key must be a str, or a slice if there are no encodings, got {key!r}")

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["data"][name]  # `data` itself is absent while unpickling
        except KeyError:
            raise AttributeError(f"BatchEncoding has no attribute or key {name!r}") from None

    def convert_to_tensors(
        self, tensor_type: str | None = None, prepend_batch_axis: bool = False
    ) -> BatchEncoding:
        """Convert every value to an int64 array or registered tensor, in place; return self.

        Raises ValueError if rows differ in length; `padding=True` makes them equal.
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
            self.data[key] = TENSOR_TYPES[tensor_type](array)
        return self

    def to(self, device: Any) -> BatchEncoding:
        """Move every value that has a `to` method to `device`, in place; return self."""
        for key, value in self.data.items():
            if hasattr(value, "to"):
                self.data[key] = value.to(device)
        return self
