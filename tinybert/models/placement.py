"""Where weights go and in which dtype, in transformers' words as well as in ours."""

from __future__ import annotations

from typing import Any

from tinybert.backend import cuda_is_available


def choose_dtype(dtype: Any, torch_dtype: Any, config: Any) -> Any:
    """What `dtype`, or `torch_dtype`, asks for, as NumPy knows it; None for nothing.

    Names and torch's own dtypes will do. "auto" is what the config was saved with. "bfloat16",
    which NumPy lacks, gives float32, into which it is widened without loss.
    """
    asked = _one("dtype", dtype, "torch_dtype", torch_dtype)
    if isinstance(asked, str) and asked == "auto":
        asked = getattr(config, "dtype", None) or getattr(config, "torch_dtype", None)
    name = str(asked).removeprefix("torch.")
    if name == "bfloat16":
        return "float32"
    return name if type(asked).__module__ == "torch" else asked


def choose_device(device: str | None, device_map: Any) -> str | None:
    """What `device`, or `device_map`, asks for: one device; None for nothing.

    A map is a device, "auto" (the GPU, if there is one), or a dict that puts everything, "", on one
    device.
    """
    if isinstance(device_map, dict):
        if list(device_map) != [""]:
            raise ValueError(
                f"device_map must put everything on one device, {{'': 'cuda'}}, got {device_map}"
            )
        device_map = device_map[""]
    if device_map == "auto":
        device_map = "cuda" if cuda_is_available() else "cpu"
    if isinstance(device_map, int) and not isinstance(device_map, bool):
        device_map = f"cuda:{device_map}"
    return None if (one := _one("device", device, "device_map", device_map)) is None else str(one)


def _one(name: str, value: Any, alias: str, other: Any) -> Any:
    if value is not None and other is not None and value != other:
        raise ValueError(f"{name} is {value!r}, but {alias} is {other!r}; give one of them")
    return other if value is None else value
