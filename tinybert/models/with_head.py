"""A base model with a head on top: how the two are put together and called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar

from tinybert.models.base import PreTrainedModel
from tinybert.models.config import PretrainedConfig
from tinybert.models.inputs import choose
from tinybert.nn import Dropout, KeyValueCache
from tinybert.outputs import ModelOutput


class ModelWithHead(PreTrainedModel):
    """A base model, under the name `base_model_prefix`, and a head on what it gives.

    The inputs of a call, and the options of the output, are those of the base model. Those up to
    `inputs_embeds` may be given by position; what a head adds, such as `labels`, by name.
    """

    base_class: ClassVar[type[PreTrainedModel]]
    uses_pooler: ClassVar[bool] = False
    positional: ClassVar[tuple[str, ...]] = ()  # inputs by position, if not those of the base model

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        setattr(self, self.base_model_prefix, self.make_base(config))
        self.add_head(config)
        self.tie_weights()
        prefix = self.base_model_prefix + "."
        self.init_weights(
            only={name for name, _ in self.named_parameters() if not name.startswith(prefix)}
        )

    def __init_subclass__(cls, **options: Any) -> None:
        """Let `help` and `inspect.signature` show what the class's `forward` takes: its head's
        arguments, and for *inputs and **options those of the base model.
        """
        super().__init_subclass__(**options)
        forwards = (parent.__dict__.get("forward") for parent in cls.__mro__)
        of_head: Any = inspect.unwrap(next(f for f in forwards if f is not None))
        own = inspect.signature(of_head)
        if hasattr(cls, "base_class") and "inputs" in own.parameters:

            @functools.wraps(of_head)  # which several families share, so each has its own around it
            def forward(self: Any, *inputs: Any, **options: Any) -> Any:
                return of_head(self, *inputs, **options)

            forward.__signature__ = cls._full_signature(own)  # type: ignore[attr-defined]
            cls.forward = forward  # type: ignore[method-assign]

    @classmethod
    def _full_signature(cls, own: inspect.Signature) -> inspect.Signature:
        of_base = {**inspect.signature(cls.base_class.forward).parameters}
        first = [of_base.pop(name) for name in ("self", *cls._names_by_position())]
        added = [p for p in own.parameters.values() if p.kind is p.KEYWORD_ONLY]
        by_name = {p.name: p for p in added if p.name not in of_base} | of_base
        later = [p.replace(kind=p.KEYWORD_ONLY) for p in by_name.values()]
        return own.replace(parameters=[*first, *later])

    @classmethod
    def _names_by_position(cls) -> list[str]:
        known = list(named_arguments(cls.base_class.forward))
        return [*cls.positional] or known[: known.index("inputs_embeds") + 1]

    def make_base(self, config: Any) -> PreTrainedModel:
        """The base model, in a family whose base models may have a pooler."""
        return self.base_class(config, add_pooling_layer=self.uses_pooler)  # type: ignore[call-arg]

    def make_cache(self, limit: int | None = None) -> KeyValueCache | None:
        """What the base model makes."""
        return self.base_model.make_cache(limit)

    def add_head(self, config: Any) -> None:
        """Make the parts of the head."""
        raise NotImplementedError(f"{type(self).__name__} does not define add_head")

    def classifier_dropout(self, config: Any) -> Dropout:
        """The dropout before a classifier: the config's own for it, or that of hidden states."""
        own = getattr(config, "classifier_dropout", None)
        return Dropout(config.hidden_dropout_prob if own is None else own)

    def named_inputs(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """Inputs that were given by position under their names, with those given by name."""
        model, names = type(self).__name__, self._names_by_position()
        if len(inputs) > len(names):
            raise TypeError(
                f"{model} takes at most {len(names)} arguments by position ({', '.join(names)}), "
                f"got {len(inputs)}; give the others by name"
            )
        named = dict(zip(names, inputs, strict=False))
        twice = sorted(named.keys() & options.keys())
        if twice:
            raise TypeError(f"{model} got {', '.join(twice)} twice: by position and by name")
        return {**named, **options}

    def run_base(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> ModelOutput:
        """The base model's output."""
        named = self.named_inputs(inputs, options)
        known = named_arguments(type(self.base_model).forward)
        unknown = sorted(named.keys() - known.keys())
        if unknown:
            both = {**known, **named_arguments(type(self).forward)}
            raise TypeError(
                f"{type(self).__name__} has no argument {', '.join(unknown)}; "
                f"it takes {', '.join(both)}"
            )
        return self.base_model(**named, return_dict=True)

    def finish(
        self,
        output_class: type[ModelOutput],
        base: ModelOutput,
        return_dict: bool | None,
        **results: Any,
    ) -> Any:
        """The head's results and what else the base model gave, as `return_dict` wants it."""
        names = [field.name for field in fields(output_class)]  # type: ignore[arg-type]
        output = output_class(**{**{name: base.get(name) for name in names}, **results})
        wanted = choose(return_dict, self.config.return_dict)
        return output if wanted else output.to_tuple()


@functools.cache
def named_arguments(forward: Callable[..., Any]) -> dict[str, None]:
    """The arguments of a `forward` that can be given by name, in their order."""
    _, *parameters = inspect.signature(forward).parameters.values()  # without self
    return {p.name: None for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
