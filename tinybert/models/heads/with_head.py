"""`ModelWithHead`: a base model and a head on its output."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar

from tinybert.autograd import Tensor
from tinybert.models.arguments import argument_names, choose, tensor_of
from tinybert.models.base import PreTrainedModel
from tinybert.models.config import PretrainedConfig
from tinybert.models.losses import IGNORED
from tinybert.nn import Dropout, KeyValueCache
from tinybert.nn.packing import PADDED, has_hooks
from tinybert.outputs import ModelOutput


class ModelWithHead(PreTrainedModel):
    """A base model, as the attribute `base_model_prefix`, and a head on its output.

    A task (`MaskedLM`, `TokenClassification`, ...) is a subclass that makes the head in `add_head`,
    and computes loss and output in `answer`. A family's class joins a task and the family:

        class BertForTokenClassification(BertHead, TokenClassification): ...

    Its `forward` lists the arguments, runs the base model, and returns `self.answer(...)`.

    Attributes, of the class:
        base_class: the class of the base model.
        uses_pooler: whether the head needs the pooler.
    """

    base_class: ClassVar[type[PreTrainedModel]]
    uses_pooler: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a class whose bases make different heads: their order would choose one."""
        super().__init_subclass__(**options)
        makers = {base: getattr(base, "add_head", None) for base in cls.__bases__}
        makers = {base: made for base, made in makers.items() if made not in _NO_HEAD}
        if "add_head" not in vars(cls) and len(set(makers.values())) > 1:
            names = " and ".join(base.__name__ for base in makers)
            raise TypeError(f"{cls.__name__}: {names} make different heads; define add_head")
        if "forward" in vars(cls):
            cls.forward = _choosing(cls.forward)  # type: ignore[method-assign]

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        prefix = self.base_model_prefix + "."
        setattr(self, self.base_model_prefix, self.make_base(config))
        self.add_head(config)
        self.tie_weights()
        names = (name for name, _ in self.named_parameters())
        self.init_weights(only={name for name in names if not name.startswith(prefix)})

    def reads_padding(self, mask: Tensor, given: dict[str, Any]) -> bool:
        """Return whether the answer or its loss depends on padding, for a call's arguments."""
        if given.get("labels") is None:
            return False
        counts = tensor_of("labels", given["labels"], "cpu").data.reshape(-1) != IGNORED
        hidden = mask.data.reshape(-1) == 0
        return hidden.shape == counts.shape and bool((hidden & counts).any())

    def make_base(self, config: Any) -> PreTrainedModel:
        """Return a new base model, with a pooler if the head needs one."""
        return self.base_class(config, add_pooling_layer=self.uses_pooler)  # type: ignore[call-arg]

    def make_cache(self, limit: int | None = None) -> KeyValueCache | None:
        """Return an empty cache of the base model."""
        return self.base_model.make_cache(limit)

    def add_head(self, config: Any) -> None:
        """Make the modules of the head."""
        raise NotImplementedError(f"{type(self).__name__} does not define add_head")

    def classifier_dropout(self, config: Any) -> Dropout:
        """Return the dropout before a classifier: its own if the config has one, or that of hidden
        states.
        """
        own = getattr(config, "classifier_dropout", None)
        return Dropout(config.hidden_dropout_prob if own is None else own)

    def on_tokens(self, head: Callable[[Tensor], Tensor], base: ModelOutput) -> Tensor:
        """Return head(features) (B, T, N) of every token, zeros for padding in a packed call."""
        x, packing = base["last_hidden_state"], base.packing
        return head(x) if packing is None else packing.on_tokens(head, x)

    def finish(
        self,
        output_class: type[ModelOutput],
        base: ModelOutput,
        return_dict: bool | None,
        **results: Any,
    ) -> Any:
        """Return the head's results with the rest of the base model's output."""
        names = [field.name for field in fields(output_class)]  # type: ignore[arg-type]
        output = output_class(**{**{name: base.get(name) for name in names}, **results})
        as_output = choose(return_dict, self.config.return_dict)
        return output if as_output else output.to_tuple()


_NO_HEAD = (None, ModelWithHead.add_head)


def _choosing(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return `forward`, which computes padding if its answer needs it: see `nn/packing.py`."""

    @functools.wraps(forward)
    def run(self: ModelWithHead, *args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(argument_names(forward) or (), args, strict=False)), **kwargs}
        mask, needed = given.get("attention_mask"), PADDED.get()
        if mask is not None and not needed and self.device == "cpu":
            mask = tensor_of("attention_mask", mask, "cpu")
            needed = not mask.data.all() and (self.reads_padding(mask, given) or has_hooks(self))
        token = PADDED.set(needed)
        try:
            return forward(self, *args, **kwargs)
        finally:
            PADDED.reset(token)

    return run
