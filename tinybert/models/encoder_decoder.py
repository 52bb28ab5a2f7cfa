"""An encoder that reads one text, and a decoder that generates another and attends to the first.

Source   Rothe et al. 2020, arXiv:1907.12461: both can start from a BERT ("BERT2BERT"); only the
         decoder's cross-attention is new
Oracle   transformers' EncoderDecoderModel, with its parameter names
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from tinybert.autograd import Tensor, as_tensor
from tinybert.generation import GenerationMixin
from tinybert.models import losses
from tinybert.models.arguments import choose, integers
from tinybert.models.auto import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM
from tinybert.models.base import PreTrainedModel
from tinybert.models.config import PretrainedConfig
from tinybert.nn import Embedding, KeyValueCache, Linear
from tinybert.outputs import BaseModelOutput, ModelOutput, Seq2SeqLMOutput

__all__ = [
    "EncoderDecoderConfig",
    "EncoderDecoderModel",
]


class EncoderDecoderConfig(PretrainedConfig):
    """The configs of an encoder and a decoder.

    Args:
        encoder, decoder: configs, or dicts with a `model_type`.
        decoder_start_token_id: the first token of every generated text.
        tie_encoder_decoder: whether the decoder shares the weights of the encoder.
        **options: those of PretrainedConfig.
    """

    model_type = "encoder-decoder"

    def __init__(
        self,
        encoder: PretrainedConfig | dict[str, Any] | None = None,
        decoder: PretrainedConfig | dict[str, Any] | None = None,
        decoder_start_token_id: int | None = None,
        tie_encoder_decoder: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**{**options, "is_encoder_decoder": True})
        if encoder is None or decoder is None:
            raise ValueError("EncoderDecoderConfig needs an encoder's and a decoder's config")
        self.encoder: Any = _as_config(encoder)
        self.decoder: Any = _as_config(decoder)
        self.decoder_start_token_id = decoder_start_token_id
        self.tie_encoder_decoder = tie_encoder_decoder

    @classmethod
    def from_encoder_decoder_configs(
        cls, encoder_config: PretrainedConfig, decoder_config: PretrainedConfig, **options: Any
    ) -> EncoderDecoderConfig:
        """Return the config of a pair; the decoder gets cross-attention."""
        decoder_config.is_decoder = True
        decoder_config.add_cross_attention = True
        return cls(encoder=encoder_config, decoder=decoder_config, **options)

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        return vars(cls(encoder=PretrainedConfig(), decoder=PretrainedConfig()))

    @property
    def initializer_range(self) -> float:
        """That of the decoder."""
        return self.decoder.initializer_range

    def to_dict(self) -> dict[str, Any]:
        """Return all options, those of the two configs as nested dicts."""
        own = super().to_dict()
        return {**own, "encoder": self.encoder.to_dict(), "decoder": self.decoder.to_dict()}


def _as_config(config: PretrainedConfig | dict[str, Any]) -> PretrainedConfig:
    if isinstance(config, PretrainedConfig):
        return config
    options = dict(config)
    return AutoConfig.for_model(options.pop("model_type", None), **options)


class EncoderDecoderModel(GenerationMixin, PreTrainedModel):
    """An encoder without a head, and a decoder that predicts the next token.

    Args:
        config: of the pair; made of the two models' configs if None.
        encoder, decoder: models; new ones of the config if None.
    """

    config_class: ClassVar[type[PretrainedConfig]] = EncoderDecoderConfig
    base_model_prefix: ClassVar[str] = "encoder_decoder"
    supports_gradient_checkpointing: ClassVar[bool] = True
    config: EncoderDecoderConfig

    def __init__(
        self,
        config: EncoderDecoderConfig | None = None,
        encoder: PreTrainedModel | None = None,
        decoder: PreTrainedModel | None = None,
    ) -> None:
        if config is None:
            if encoder is None or decoder is None:
                raise ValueError("give a config, or an encoder and a decoder")
            config = EncoderDecoderConfig.from_encoder_decoder_configs(
                encoder.config, decoder.config
            )
        super().__init__(config)
        if not (config.decoder.is_decoder and config.decoder.add_cross_attention):
            raise ValueError("the decoder needs is_decoder=True and add_cross_attention=True")
        self.encoder: Any = AutoModel.from_config(config.encoder) if encoder is None else encoder
        self.decoder: Any = (
            AutoModelForCausalLM.from_config(config.decoder) if decoder is None else decoder
        )
        if self.encoder.get_output_embeddings() is not None:
            raise ValueError("the encoder must have no head; take its base_model")
        self.encoder.config, self.decoder.config = config.encoder, config.decoder
        if config.encoder.hidden_size != config.decoder.hidden_size:
            self.enc_to_dec_proj = Linear(config.encoder.hidden_size, config.decoder.hidden_size)
            self.init_weights(only={"enc_to_dec_proj.weight", "enc_to_dec_proj.bias"})
        self.tie_weights()

    @classmethod
    def from_encoder_decoder_pretrained(
        cls,
        encoder: str | os.PathLike[str] | None = None,
        decoder: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> EncoderDecoderModel:
        """Load a pair from two folders; the decoder's cross-attention is initialised at random.

        Args:
            encoder, decoder: folders or names; or models, as `encoder_model`, `decoder_model`.
            **options: `encoder_...` and `decoder_...` go to the two models; others to the config.
        """
        parts: dict[str, dict[str, Any]] = {"encoder_": {}, "decoder_": {}}
        own = {"decoder_start_token_id": options.pop("decoder_start_token_id", None)}
        for name, value in options.items():
            prefix = name[: len("encoder_")]
            target = parts.get(prefix)
            if target is None:
                own[name] = value
            else:
                target[name[len(prefix) :]] = value
        encoder_model = parts["encoder_"].pop("model", None)
        if encoder_model is None:
            if encoder is None:
                raise ValueError("give encoder, a folder or a name, or encoder_model")
            modes: dict[str, Any] = {"is_decoder": False, "add_cross_attention": False}
            encoder_model = AutoModel.from_pretrained(encoder, **modes, **parts["encoder_"])
        decoder_model = parts["decoder_"].pop("model", None)
        if decoder_model is None:
            if decoder is None:
                raise ValueError("give decoder, a folder or a name, or decoder_model")
            modes = {"is_decoder": True, "add_cross_attention": True}
            decoder_model = AutoModelForCausalLM.from_pretrained(
                decoder, **modes, **parts["decoder_"]
            )
        config = EncoderDecoderConfig.from_encoder_decoder_configs(
            encoder_model.config, decoder_model.config, **own
        )
        return cls(config, encoder_model, decoder_model).eval()

    # --- parts ----------------------------------------------------------------------------------

    def get_encoder(self) -> Any:
        """Return the encoder."""
        return self.encoder

    def get_decoder(self) -> Any:
        """Return the decoder."""
        return self.decoder

    def get_input_embeddings(self) -> Embedding:
        """Return the encoder's word embeddings."""
        return self.encoder.get_input_embeddings()

    def get_output_embeddings(self) -> Linear | None:
        """Return the decoder's layer with a row for every token of the vocabulary."""
        return self.decoder.get_output_embeddings()

    def make_cache(self, limit: int | None = None) -> KeyValueCache | None:
        """Return an empty cache of the decoder."""
        return self.decoder.make_cache(limit)

    def tie_weights(self) -> None:
        """Tie the embeddings of both models. With `tie_encoder_decoder` the decoder uses the
        weights of the encoder, except in cross-attention and head.
        """
        self.encoder.tie_weights()
        if self.config.tie_encoder_decoder:
            twins = dict(self.decoder.base_model.named_modules())
            for path, module in self.encoder.named_modules():
                for name, parameter in module._parameters.items():
                    if path in twins and parameter is not None:
                        setattr(twins[path], name, parameter)
        self.decoder.tie_weights()

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> Any:
        """Raise NotImplementedError: the two vocabularies of a pair may differ."""
        raise NotImplementedError(
            "call model.encoder.resize_token_embeddings or model.decoder.resize_token_embeddings"
        )

    # --- calling --------------------------------------------------------------------------------

    def encode(self, input_ids: Any = None, attention_mask: Any = None, **options: Any) -> Any:
        """Return the encoder's output; `generate` computes it once."""
        output = self.encoder(
            input_ids, attention_mask=attention_mask, **{**options, "return_dict": True}
        )
        names = ("last_hidden_state", "hidden_states", "attentions")
        return BaseModelOutput(**{name: output.get(name) for name in names})

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        decoder_input_ids: Any = None,
        decoder_attention_mask: Any = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Any = None,
        decoder_inputs_embeds: Any = None,
        labels: Any = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> Any:
        """Compute the logits of the next token at every position of the decoder.

        Args:
            input_ids, attention_mask, inputs_embeds: of the encoder (B, S).
            decoder_input_ids, decoder_attention_mask, decoder_inputs_embeds: of the decoder (B, T);
                by default the labels, shifted by one, after `decoder_start_token_id`.
            encoder_outputs: those of an earlier call, in place of the encoder's inputs.
            labels: (B, T), the text to generate; -100 is ignored.
            past_key_values, use_cache: the decoder's cache.
            **options: further inputs of the encoder, and with the prefix `decoder_` of the decoder.

        Returns Seq2SeqLMOutput.
        """
        outputs = {
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
        }
        prefix = "decoder_"
        to_decoder = {k[len(prefix) :]: v for k, v in options.items() if k.startswith(prefix)}
        to_encoder = {k: v for k, v in options.items() if not k.startswith(prefix)}
        if encoder_outputs is None:
            encoder_outputs = self.encode(
                input_ids, attention_mask, inputs_embeds=inputs_embeds, **outputs, **to_encoder
            )
        elif not isinstance(encoder_outputs, ModelOutput):
            encoder_outputs = BaseModelOutput(*encoder_outputs)
        memory = encoder_outputs[0]
        if "enc_to_dec_proj" in self._modules:
            memory = self.enc_to_dec_proj(memory)
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
            if decoder_attention_mask is None:
                decoder_attention_mask = decoder_input_ids != self.config.pad_token_id
        output = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            encoder_hidden_states=memory,
            encoder_attention_mask=attention_mask,
            inputs_embeds=decoder_inputs_embeds,
            past_key_values=past_key_values,
            use_cache=use_cache,
            return_dict=True,
            **outputs,
            **to_decoder,
        )
        result = Seq2SeqLMOutput(
            loss=None if labels is None else losses.token_loss(output.logits, labels),
            logits=output.logits,
            past_key_values=output.past_key_values,
            decoder_hidden_states=output.hidden_states,
            decoder_attentions=output.attentions,
            cross_attentions=output.cross_attentions,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
        )
        return result if choose(return_dict, self.config.return_dict) else result.to_tuple()

    def prepare_decoder_input_ids_from_labels(self, labels: Any) -> Tensor:
        """Return labels (B, T) shifted by one: the start token first, padding in place of -100."""
        config = self.config
        for name in ("decoder_start_token_id", "pad_token_id"):
            if getattr(config, name) is None:
                raise ValueError(f"set config.{name}: the decoder's input is made of the labels")
        ids = integers("labels", labels, self.device).data.copy()
        ids[:, 1:] = ids[:, :-1].copy()
        ids[:, 0] = config.decoder_start_token_id
        ids[ids == losses.IGNORED] = config.pad_token_id
        return as_tensor(ids)


AutoModelForSeq2SeqLM.register(EncoderDecoderConfig, EncoderDecoderModel)
