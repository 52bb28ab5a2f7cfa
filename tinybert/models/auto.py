"""`AutoConfig`, `AutoModel` and its sisters: the class that a folder's `config.json` asks for."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from tinybert.models import bert, bert_heads, mega, megatron_bert, nemotron
from tinybert.models.base import PreTrainedModel
from tinybert.models.config import PretrainedConfig, read_config
from tinybert.models.nemotron_config import NemotronConfig

Classes = dict[type[PretrainedConfig], type[PreTrainedModel]]


class AutoConfig:
    """Makes the config that `model_type` asks for."""

    classes: ClassVar[dict[str, type[PretrainedConfig]]] = {
        "bert": bert.BertConfig,
        "mega": mega.MegaConfig,
        "megatron-bert": megatron_bert.MegatronBertConfig,
        "nemotron": NemotronConfig,
    }

    def __init__(self) -> None:
        raise TypeError("AutoConfig is not made: call AutoConfig.from_pretrained or for_model")

    @classmethod
    def for_model(cls, model_type: str, **options: Any) -> Any:
        """A config of the type, with some options; ValueError for a type that is not known."""
        return cls._class_of(model_type, "model_type").from_dict(options)

    @classmethod
    def from_pretrained(cls, folder_or_name: str | os.PathLike[str], **overrides: Any) -> Any:
        """The config of a folder; known options can be overridden."""
        where = {name: overrides.pop(name, None) for name in ("revision", "token")}
        found = read_config(folder_or_name, **where)
        config_class = cls._class_of(found.get("model_type"), f"{folder_or_name}: model_type")
        return config_class.from_dict(found, **overrides)

    @classmethod
    def register(cls, model_type: str, config_class: type[PretrainedConfig]) -> None:
        """Make a type of your own known."""
        cls.classes[model_type] = config_class

    @classmethod
    def _class_of(cls, model_type: Any, name: str) -> type[PretrainedConfig]:
        if not isinstance(model_type, str) or model_type not in cls.classes:
            raise ValueError(f"{name} must be one of {sorted(cls.classes)}, got {model_type!r}")
        return cls.classes[model_type]


class _AutoModel:
    """Makes the model of one kind that belongs to a config."""

    classes: ClassVar[Classes]

    def __init__(self) -> None:
        name = type(self).__name__
        raise TypeError(f"{name} is not made: call {name}.from_pretrained or from_config")

    @classmethod
    def from_config(cls, config: PretrainedConfig, **options: Any) -> Any:
        """A model with fresh weights; options are arguments of its constructor."""
        return cls._class_for(config)(config, **options)

    @classmethod
    def from_pretrained(
        cls,
        folder_or_name: str | os.PathLike[str],
        *,
        config: PretrainedConfig | None = None,
        **options: Any,
    ) -> Any:
        """The model of a folder; the arguments are those of `PreTrainedModel.from_pretrained`."""
        where = {name: options[name] for name in ("revision", "token") if name in options}
        known = AutoConfig.from_pretrained(folder_or_name, **where) if config is None else config
        return cls._class_for(known).from_pretrained(folder_or_name, config=config, **options)

    @classmethod
    def register(
        cls, config_class: type[PretrainedConfig], model_class: type[PreTrainedModel]
    ) -> None:
        """Make a model of your own known."""
        cls.classes[config_class] = model_class

    @classmethod
    def _class_for(cls, config: PretrainedConfig) -> type[PreTrainedModel]:
        if type(config) not in cls.classes:
            known = sorted(config_class.__name__ for config_class in cls.classes)
            raise ValueError(
                f"{cls.__name__} has no model for {type(config).__name__}; it has one for {known}"
            )
        return cls.classes[type(config)]


class AutoModel(_AutoModel):
    """The model without a head."""

    classes: ClassVar[Classes] = {
        bert.BertConfig: bert.BertModel,
        mega.MegaConfig: mega.MegaModel,
        megatron_bert.MegatronBertConfig: megatron_bert.MegatronBertModel,
        NemotronConfig: nemotron.NemotronModel,
    }


class AutoModelForPreTraining(_AutoModel):
    """The model with the heads that it was trained with."""

    classes: ClassVar[Classes] = {
        bert.BertConfig: bert_heads.BertForPreTraining,
        megatron_bert.MegatronBertConfig: megatron_bert.MegatronBertForPreTraining,
    }


class AutoModelForCausalLM(_AutoModel):
    """The model that predicts the next token."""

    classes: ClassVar[Classes] = {
        bert.BertConfig: bert_heads.BertLMHeadModel,
        mega.MegaConfig: mega.MegaForCausalLM,
        megatron_bert.MegatronBertConfig: megatron_bert.MegatronBertForCausalLM,
        NemotronConfig: nemotron.NemotronForCausalLM,
    }


class AutoModelForMaskedLM(_AutoModel):
    """The model that guesses hidden words."""

    classes: ClassVar[Classes] = {
        bert.BertConfig: bert_heads.BertForMaskedLM,
        mega.MegaConfig: mega.MegaForMaskedLM,
        megatron_bert.MegatronBertConfig: megatron_bert.MegatronBertForMaskedLM,
    }


class AutoModelForSeq2SeqLM(_AutoModel):
    """The encoder and decoder that turns one text into another."""

    classes: ClassVar[Classes] = {}  # EncoderDecoderModel enters itself


class AutoModelForNextSentencePrediction(_AutoModel):
    """The model that tells whether the second segment follows the first."""

    classes: ClassVar[Classes] = {
        bert.BertConfig: bert_heads.BertForNextSentencePrediction,
        megatron_bert.MegatronBertConfig: megatron_bert.MegatronBertForNextSentencePrediction,
    }


class AutoModelForSequenceClassification(_AutoModel):
    """The model that gives the whole text a class."""

    classes: ClassVar[Classes] = {
        bert.BertConfig: bert_heads.BertForSequenceClassification,
        mega.MegaConfig: mega.MegaForSequenceClassification,
        megatron_bert.MegatronBertConfig: megatron_bert.MegatronBertForSequenceClassification,
        NemotronConfig: nemotron.NemotronForSequenceClassification,
    }


class AutoModelForMultipleChoice(_AutoModel):
    """The model that chooses one of several continuations."""

    classes: ClassVar[Classes] = {
        bert.BertConfig: bert_heads.BertForMultipleChoice,
        mega.MegaConfig: mega.MegaForMultipleChoice,
        megatron_bert.MegatronBertConfig: megatron_bert.MegatronBertForMultipleChoice,
    }


class AutoModelForTokenClassification(_AutoModel):
    """The model that gives every token a class."""

    classes: ClassVar[Classes] = {
        bert.BertConfig: bert_heads.BertForTokenClassification,
        mega.MegaConfig: mega.MegaForTokenClassification,
        megatron_bert.MegatronBertConfig: megatron_bert.MegatronBertForTokenClassification,
        NemotronConfig: nemotron.NemotronForTokenClassification,
    }


class AutoModelForQuestionAnswering(_AutoModel):
    """The model that finds where in a text the answer starts and ends."""

    classes: ClassVar[Classes] = {
        bert.BertConfig: bert_heads.BertForQuestionAnswering,
        mega.MegaConfig: mega.MegaForQuestionAnswering,
        megatron_bert.MegatronBertConfig: megatron_bert.MegatronBertForQuestionAnswering,
        NemotronConfig: nemotron.NemotronForQuestionAnswering,
    }
