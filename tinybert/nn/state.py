"""Loading the weights of a module by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tinybert.autograd import Tensor, to_array
from tinybert.backend import Array, is_array


class IncompatibleKeys(NamedTuple):
    """The names that `load_state_dict` could not match: only in the module, only in the file."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class StateLoading:
    """Base of Module: `load_state_dict`."""

    def load_state_dict(
        self: Any, mapping: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy arrays into parameters and buffers by name.

        Args:
            mapping: dotted name -> NumPy or CuPy array, Tensor, or torch tensor; left unchanged.
            strict: raise if names are missing or unexpected.

        Returns the missing and unexpected names. Raises ValueError, before anything is changed, for
        arrays of the wrong shape (naming key and both shapes), for arrays that are not of real
        numbers, and, if `strict`, for missing and unexpected names.
        """
        own = dict(self.named_state())
        keys = IncompatibleKeys(
            [name for name in own if name not in mapping],
            [name for name in mapping if name not in own],
        )
        arrays = {name: _foreign_array(mapping[name]) for name in own if name in mapping}
        faults = [
            f"{name}: expected shape {own[name].shape}, got {array.shape}"
            for name, array in arrays.items()
            if array.shape != own[name].shape
        ]
        faults += [
            f"{name}: expected real numbers, got dtype {array.dtype}"
            for name, array in arrays.items()
            if array.dtype.kind not in "biuf"
        ]
        if strict:
            faults += [f"missing: {name}" for name in keys.missing_keys]
            faults += [f"unexpected: {name}" for name in keys.unexpected_keys]
        if faults:
            shown = "\n  ".join(
                faults[:20] + ([f"... {len(faults) - 20} more"] * (len(faults) > 20))
            )
            raise ValueError(f"state_dict does not fit {type(self).__name__}:\n  {shown}")
        for name, array in arrays.items():
            tensor = own[name]
            tensor.data[...] = to_array(array, tensor.dtype, tensor.device)
            tensor._version.bump("load_state_dict")
        return keys


def _foreign_array(value: Any) -> Array:
    """Return the array of a Tensor, an array, a list, or a torch tensor; torch is not imported."""
    if isinstance(value, Tensor):
        return value.data
    if type(value).__module__.partition(".")[0] == "torch":
        value = value.detach().cpu()
        return (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    return value if is_array(value) else np.asarray(value)
