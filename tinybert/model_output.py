"""`ModelOutput`, the base of what models return: fields by attribute, by key and by position."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


class ModelOutput(dict):
    """The base of all outputs, which are dataclasses (see `outputs.py`).

    `out.logits`, `out["logits"]` and `out[0]` return the same Tensor. Fields that are None are not
    among the keys and positions, so `output[0]` is the first result that is present.
    """

    packing: Any = None  # of a base model that packed the tokens: see `nn/packing.py`

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value is not None:
                super().__setitem__(field.name, value)

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self and value is not None:
            super().__setitem__(name, value)
        object.__setattr__(self, name, value)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        object.__setattr__(self, key, value)

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the fields that are not None, in order."""
        return tuple(self.values())

    def __reduce__(self) -> Any:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} has fixed fields; set an attribute to change one")

    __delitem__ = pop = popitem = update = setdefault = clear = _refuse
