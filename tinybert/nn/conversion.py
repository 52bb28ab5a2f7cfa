"""Methods that change all tensors of a module: device, dtype, freezing, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.backend import is_device_name


class Conversion:
    """Base of Module: methods that change all its tensors."""

    def to(self: Any, *targets: Any, device: str | None = None, dtype: Any = None) -> Any:
        """Move all parameters, gradients and buffers, and convert the floating ones, in place.

        Raises TypeError for a dtype that is not floating.
        """
        for target in targets:
            if isinstance(target, str) and is_device_name(target):
                device = target
            elif target is not None:
                dtype = target
        if dtype is not None and np.dtype(dtype).kind != "f":
            raise TypeError(f"dtype must be floating, got {np.dtype(dtype)}")
        for tensor in (*self.parameters(), *self.buffers()):
            wanted = dtype if tensor.dtype.kind == "f" else None
            for holder in (tensor, tensor.grad) if tensor.grad is not None else (tensor,):
                same = wanted is None or wanted == holder.dtype  # np.dtype(None) is float64
                if same and device in (None, holder.device):
                    continue  # do not read elements that may be in a file
                moved = holder.detach().to(device=device, dtype=wanted)
                if moved.data is not holder.data:
                    holder.data = moved.data
        return self

    def cpu(self: Any) -> Any:
        """Move everything into the memory of the CPU."""
        return self.to("cpu")

    def cuda(self: Any) -> Any:
        """Move everything to the GPU; DeviceError if there is none."""
        return self.to("cuda")

    def half(self: Any) -> Any:
        """Convert to float16."""
        return self.to(np.float16)

    def float(self: Any) -> Any:
        """Convert to float32."""
        return self.to(np.float32)

    def double(self: Any) -> Any:
        """Convert to float64."""
        return self.to(np.float64)

    def requires_grad_(self: Any, requires_grad: bool = True) -> Any:
        """Set whether the parameters are trained: False freezes all of them."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self: Any, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters; with `set_to_none=False` set them to zeros."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad.zero_()
