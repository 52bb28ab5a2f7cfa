"""What models return: dataclasses that can be read by attribute, by key and by position.

Fields that are None are absent as keys and positions, so `output[0]` is the first result there is.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from tinybert.autograd import Tensor


class ModelOutput(dict):
    """Base of all outputs. `out.logits`, `out["logits"]` and `out[0]` name the same Tensor."""

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
        """The fields that are present, in order."""
        return tuple(self.values())

    def __reduce__(self) -> Any:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} does not lose or gain fields; set an attribute")

    __delitem__ = pop = popitem = update = setdefault = clear = _refuse


Layers = tuple[Tensor, ...]


@dataclass(repr=False, eq=False)
class BaseModelOutputWithPoolingAndCrossAttentions(ModelOutput):
    """The output of a model without a head.

    Attributes:
        last_hidden_state: (B, T, D), the features of every token after the last layer.
        pooler_output: (B, D), made of the first token; None without a pooler.
        hidden_states: L + 1 tensors (B, T, D): the embeddings, then every layer.
        past_key_values: the cache of a decoder.
        attentions, cross_attentions: L tensors (B, H, Tq, Tk) of attention weights.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: Layers | None = None
    past_key_values: Any = None
    attentions: Layers | None = None
    cross_attentions: Layers | None = None
