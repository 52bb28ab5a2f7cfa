"""`StoredParameter`: a weight that stays in its file, for models larger than the memory.

Layers read and convert a block of rows when they use it. It is for inference only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor, is_grad_enabled
from tinybert.backend import Array, parse_device, to_device
from tinybert.nn.module import Parameter
from tinybert.ops.embedding import check_range

BLOCK = 1 << 18  # numbers converted at once: 1 MB in float32, which fits into the cache


class StoredParameter(Parameter):
    """A matrix (O, I) whose elements are read from `stored` when they are used.

    Args:
        stored: the array in the format of the file, usually memory-mapped.
        widen: converts an array of that format to numbers; None if that is not needed.
        dtype, device: of the elements when they are used.

    Layers use it block by block (`linear`, `rows`). `data` is the whole matrix: the mapped file if
    that has the right dtype and device, else a new array at every access. The parameter has no
    gradient and cannot be changed: both raise RuntimeError, and on the CPU writing into `data`
    raises NumPy's ValueError. Copies share the stored array.
    """

    __slots__ = ("_device", "_dtype", "_stored", "_widen")

    def __init__(
        self, stored: np.ndarray, widen: Callable[[Any], Any] | None, dtype: Any, device: str
    ) -> None:
        self._stored, self._widen = stored, widen
        backend, index = parse_device(device)
        self._dtype = np.dtype(dtype)
        self._device = "cpu" if backend.name == "cpu" else f"{backend.name}:{index}"
        self._init(None)

    # --- attributes, without reading the elements -------------------------------------------------

    @property
    def data(self) -> Array:
        """The whole matrix; read-only on the CPU, since changes would be lost."""
        numbers = self._numbers(self._stored)
        if isinstance(numbers, np.ndarray):
            numbers.flags.writeable = False
        return numbers

    @data.setter
    def data(self, value: Any) -> None:
        if value is not None:  # as `_init` has it
            raise RuntimeError(
                _REFUSAL.format(
                    "its weights cannot be changed; for another dtype or device give it to "
                    "from_pretrained(..., dtype=..., device=...)"
                )
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return self._stored.shape

    @property
    def ndim(self) -> int:
        return self._stored.ndim

    @property
    def size(self) -> int:
        return self._stored.size

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    @property
    def device(self) -> str:
        return self._device

    def _changed(self, operation: str) -> Array:
        raise RuntimeError(_REFUSAL.format(f"{operation} cannot change its weights"))

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        if requires_grad:
            raise RuntimeError(_REFUSAL.format("it cannot be trained"))
        return self

    def __copy__(self) -> StoredParameter:
        return StoredParameter(self._stored, self._widen, self._dtype, self._device)

    def __deepcopy__(self, memo: dict[int, Any]) -> StoredParameter:
        return self.__copy__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError(
            _REFUSAL.format(
                "it cannot be pickled, as its weights are in files: load it where it is needed"
            )
        )

    # --- operations of layers ---------------------------------------------------------------------

    def rows(self, ids: Tensor, name: str) -> Tensor:
        """Return the rows (..., I) with the indices `ids` (...), as in an embedding."""
        check_range(ids.data, self.shape[0], name)
        return as_tensor(self._numbers(self._stored[ids.numpy()]))

    def linear(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return x (..., I) @ weight^T + bias, (..., O)."""
        if x.requires_grad and is_grad_enabled():
            raise RuntimeError(_REFUSAL.format("it gives no gradients; call it inside no_grad()"))
        parts = [
            F.linear(
                x, as_tensor(self._numbers(self._stored[at])), None if bias is None else bias[at]
            )
            for at in self._blocks()
        ]
        return parts[0] if len(parts) == 1 else F.concat(parts, axis=-1)

    def _blocks(self) -> Iterator[slice]:
        rows, columns = self.shape
        step = max(1, BLOCK // max(columns, 1))
        return (slice(start, min(start + step, rows)) for start in range(0, max(rows, 1), step))

    def _numbers(self, stored: np.ndarray) -> Array:
        wide = stored if self._widen is None else self._widen(stored)
        return to_device(wide.astype(self._dtype, copy=False), self._device)


_REFUSAL = "a model that was loaded with low_memory=True is for inference: {}"
