"""`AutoConfig`, `AutoModel`, `AutoModelFor...`: the class that a folder's `config.json` asks for.

Their tables are derived from the classes of the families, see `register_family`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, ClassVar

from tinybert.checks import check, check_choice
from tinybert.models import heads
from tinybert.models.base import PreTrainedModel
from tinybert.models.config import PretrainedConfig, read_config
from tinybert.models.foreign_options import check_attention
from tinybert.models.heads import ModelWithHead

__all__ = [
    "AutoConfig",
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForMaskedLM",
    "AutoModelForMultipleChoice",
    "AutoModelForNextSentencePrediction",
    "AutoModelForPreTraining",
    "AutoModelForQuestionAnswering",
    "AutoModelForSeq2SeqLM",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
]


class AutoConfig:
    """Makes the config of the family that `model_type` names."""

    classes: ClassVar[dict[str, type[PretrainedConfig]]] = {}

    def __init__(self) -> None:
        raise TypeError(
            "AutoConfig has no instances: call AutoConfig.from_pretrained or AutoConfig.for_model"
        )

    @classmethod
    def for_model(cls, model_type: str, **options: Any) -> Any:
        """Return a config of the family `model_type`. Raises ValueError for an unknown one."""
        return cls._class_of(model_type, "model_type").from_dict(options)

    @classmethod
    def from_pretrained(cls, folder_or_name: str | os.PathLike[str], **overrides: Any) -> Any:
        """Load the config of a model folder; `overrides` replace its options."""
        where = {name: overrides.pop(name, None) for name in ("revision", "token")}
        found = read_config(folder_or_name, **where)
        config_class = cls._class_of(found.get("model_type"), f"{folder_or_name}: model_type")
        return config_class.from_dict(found, **overrides)

    @classmethod
    def register(cls, model_type: str, config_class: type[PretrainedConfig]) -> None:
        """Add a family: configs with this `model_type` are of `config_class`."""
        cls.classes[model_type] = config_class

    @classmethod
    def _class_of(cls, model_type: Any, name: str) -> type[PretrainedConfig]:
        check_choice(name, model_type, sorted(cls.classes))
        return cls.classes[model_type]


class _AutoModel:
    """Makes the model of one kind that belongs to a config.

    Attributes:
        head: the head, shared by all families, that the kind's models are subclasses of.
        classes: the table, from the config's class to the model's.
    """

    head: ClassVar[type[PreTrainedModel] | None] = None
    classes: ClassVar[dict[type[PretrainedConfig], type[PreTrainedModel]]]

    def __init_subclass__(cls) -> None:
        cls.classes = {}  # a table for each kind

    def __init__(self) -> None:
        name = type(self).__name__
        raise TypeError(f"{name} has no instances: call {name}.from_pretrained or from_config")

    @classmethod
    def from_config(cls, config: PretrainedConfig, **options: Any) -> Any:
        """Return a model with fresh weights; `options` go to its constructor, except for
        transformers' `attn_implementation`, which is checked: see `foreign_options`.
        """
        check_attention(options.pop("attn_implementation", None))
        return cls._class_for(config)(config, **options)

    @classmethod
    def from_pretrained(
        cls,
        folder_or_name: str | os.PathLike[str],
        *,
        config: PretrainedConfig | None = None,
        **options: Any,
    ) -> Any:
        """Load the model of a folder; the arguments are those of
        `PreTrainedModel.from_pretrained`.
        """
        where = {name: options[name] for name in ("revision", "token") if name in options}
        known = AutoConfig.from_pretrained(folder_or_name, **where) if config is None else config
        return cls._class_for(known).from_pretrained(folder_or_name, config=config, **options)

    @classmethod
    def register(
        cls, config_class: type[PretrainedConfig], model_class: type[PreTrainedModel]
    ) -> None:
        """Add a model: `model_class` is created for configs of `config_class`."""
        cls.classes[config_class] = model_class

    @classmethod
    def _class_for(cls, config: PretrainedConfig) -> type[PreTrainedModel]:
        if type(config) not in cls.classes:
            known = sorted(config_class.__name__ for config_class in cls.classes)
            raise ValueError(
                f"{cls.__name__} has no model for {type(config).__name__}; it has one for "
                f"{', '.join(known)}"
            )
        return cls.classes[type(config)]


class AutoModel(_AutoModel):
    """The model without a head."""


class AutoModelForPreTraining(_AutoModel):
    """The model with the heads that it was pretrained with."""

    head = heads.PreTraining


class AutoModelForCausalLM(_AutoModel):
    """The model that predicts the next token."""

    head = heads.CausalLM


class AutoModelForMaskedLM(_AutoModel):
    """The model that predicts masked tokens."""

    head = heads.MaskedLM


class AutoModelForSeq2SeqLM(_AutoModel):
    """The encoder-decoder that generates a target sequence; it registers itself."""


class AutoModelForNextSentencePrediction(_AutoModel):
    """The model that predicts whether the second segment follows the first."""

    head = heads.NextSentencePrediction


class AutoModelForSequenceClassification(_AutoModel):
    """The model that classifies a whole sequence."""

    head = heads.SequenceClassification


class AutoModelForMultipleChoice(_AutoModel):
    """The model that chooses one of several continuations."""

    head = heads.MultipleChoice


class AutoModelForTokenClassification(_AutoModel):
    """The model that classifies every token."""

    head = heads.TokenClassification


class AutoModelForQuestionAnswering(_AutoModel):
    """The model that predicts the start and the end of the answer in a text."""

    head = heads.QuestionAnswering


def class_of(config: PretrainedConfig) -> type[PreTrainedModel]:
    """Return the class of the model that the config's `architectures` name, its family's model
    without a head if there are none. Raises ValueError for one that is not of the family.
    """
    kinds = {auto.classes.get(type(config)) for auto in _AutoModel.__subclasses__()} - {None}
    named = {kind.__name__: kind for kind in kinds if kind is not None}
    found = config.architectures
    if found in (None, []):
        return AutoModel._class_for(config)
    fits = isinstance(found, list) and isinstance(found[0], str) and found[0] in named
    check("architectures", found, fits, f"a list of one of {', '.join(sorted(named))}")
    return named[found[0]]


def register_family(members: Iterable[Any]) -> None:
    """Enter the configs and models among `members` into the tables of the Auto classes.

    A config is found by its `model_type`; a model by its `config_class` and by the head that it is
    a subclass of, or, if it has no head, by `AutoModel`.
    """
    classes = [member for member in members if isinstance(member, type)]
    for member in classes:
        if issubclass(member, PretrainedConfig) and member.model_type:
            AutoConfig.register(member.model_type, member)
        elif issubclass(member, PreTrainedModel):
            for auto_class in _AutoModel.__subclasses__():
                if auto_class.head is not None and issubclass(member, auto_class.head):
                    auto_class.register(member.config_class, member)
            if not issubclass(member, ModelWithHead):
                AutoModel.register(member.config_class, member)
