"""MEGA with a head.

What a head computes and its loss are in `models/heads/`; this file has MEGA's own heads and the
arguments of each call in the order of transformers.

Source   Ma et al. 2022, arXiv:2209.10655
Oracle   transformers' Mega classes; parameter names are the same, letter for letter
Shapes   B batch, T tokens, D hidden, V vocabulary
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinybert.autograd import Tensor
from tinybert.models import heads
from tinybert.models.arguments import choose
from tinybert.models.base import PreTrainedModel
from tinybert.models.mega.mega_model import SLOTS, MegaModel, MegaPreTrainedModel
from tinybert.nn import Dropout, Linear
from tinybert.outputs import ModelOutput


class MegaHead(MegaPreTrainedModel, heads.ModelWithHead):
    """What MEGA's models with a head share."""

    base_class: ClassVar[type[PreTrainedModel]] = MegaModel
    mega: Any

    def finish(
        self,
        output_class: type[ModelOutput],
        base: ModelOutput,
        return_dict: bool | None,
        **results: Any,
    ) -> Any:
        """Return the output as for all models, but a plain tuple has None for missing fields."""
        if choose(return_dict, self.config.return_dict):
            return super().finish(output_class, base, True, **results)
        found = (result for result in results.values() if result is not None)
        return (*found, *(base.get(name) for name in SLOTS))


class MegaWordHead(MegaHead, heads.LanguageModel):
    """MEGA with a score for every token of the vocabulary: a dense layer with tanh, if the config
    asks for it, and a linear layer that is called `decoder_name`.
    """

    decoder_name: ClassVar[str]

    def add_head(self, config: Any) -> None:
        size = config.hidden_size
        self.dense = Linear(size, size) if config.add_lm_hidden_dense_layer else None
        setattr(self, self.decoder_name, Linear(size, config.vocab_size))

    def word_logits(self, x: Tensor) -> Tensor:
        return self.get_output_embeddings()(x if self.dense is None else self.dense(x).tanh())

    def get_output_embeddings(self) -> Linear:
        return getattr(self, self.decoder_name)

    def set_output_embeddings(self, embeddings: Linear) -> None:
        setattr(self, self.decoder_name, embeddings)


class MegaLabelsHead(MegaHead):
    """MEGA with a head that takes `labels` and nothing else."""

    answer: Any  # of the task

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, inputs_embeds=None,
        labels=None, output_attentions=None, output_hidden_states=None, return_dict=None,
    ) -> Any:  # fmt: skip
        base = self.mega(
            input_ids, attention_mask, token_type_ids, inputs_embeds,
            output_attentions=output_attentions, output_hidden_states=output_hidden_states,
            return_dict=True,
        )  # fmt: skip
        return self.answer(base, labels, return_dict)


class MegaForCausalLM(MegaWordHead, heads.CausalLM):
    """MEGA that predicts the next token; it needs `is_decoder=True, bidirectional=False`."""

    decoder_name: ClassVar[str] = "lm_head"

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, inputs_embeds=None,
        encoder_hidden_states=None, encoder_attention_mask=None, labels=None,
        past_key_values=None, use_cache=None, output_attentions=None,
        output_hidden_states=None, return_dict=None, *, logits_to_keep=0,
        num_items_in_batch=None,
    ) -> Any:  # fmt: skip
        if labels is not None:
            use_cache = False  # as in transformers
        base = self.mega(
            input_ids, attention_mask, token_type_ids, inputs_embeds, encoder_hidden_states,
            encoder_attention_mask, past_key_values, use_cache, output_attentions,
            output_hidden_states, return_dict=True,
        )  # fmt: skip
        return self.answer(base, labels, return_dict, logits_to_keep, num_items_in_batch)

    @property
    def position_limit(self) -> int | None:
        """The most tokens that the model can read; None if there is no limit. A simple bias has
        one, unless attention is limited to chunks.
        """
        config = self.config
        limited = config.relative_positional_bias == "simple"
        chunked = config.use_chunking and not config.add_cross_attention
        return config.bias_positions if limited and not chunked else None

    @property
    def left_padding_unit(self) -> int:
        """Padding on the left must be a multiple of it: the chunk size, since other padding moves
        the borders of chunks.
        """
        return self.config.chunk_size if self.config.use_chunking else 1

    def check_left_padding(self, mask: Any, reach: int) -> None:
        """Check as `MegaModel.check_left_padding` does."""
        self.mega.check_left_padding(mask, reach)


class MegaForMaskedLM(MegaWordHead, heads.MaskedLM):
    """MEGA that predicts masked tokens."""

    decoder_name: ClassVar[str] = "mlm_head"

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, inputs_embeds=None,
        encoder_hidden_states=None, encoder_attention_mask=None, labels=None,
        output_attentions=None, output_hidden_states=None, return_dict=None,
    ) -> Any:  # fmt: skip
        base = self.mega(
            input_ids, attention_mask, token_type_ids, inputs_embeds, encoder_hidden_states,
            encoder_attention_mask, output_attentions=output_attentions,
            output_hidden_states=output_hidden_states, return_dict=True,
        )  # fmt: skip
        return self.answer(base, labels, return_dict)


class MegaForSequenceClassification(MegaLabelsHead, heads.SequenceClassification):
    """MEGA that gives the text a class, several classes, or a number."""

    uses_pooler: ClassVar[bool] = False
    classifier: Any

    def add_head(self, config: Any) -> None:
        self.classifier = heads.FirstTokenClassifier(config, self.classifier_dropout(config))

    def reads_padding(self, mask: Tensor, given: dict[str, Any]) -> bool:
        return mask.ndim != 2 or not bool(mask.data[:, :1].all())

    def text_logits(self, base: ModelOutput) -> Tensor:
        """Return the scores (B, num_labels) of the first token."""
        return self.classifier(base["last_hidden_state"])


class MegaForMultipleChoice(MegaHead, heads.MultipleChoice):
    """MEGA that chooses one of several continuations. transformers has its arguments in this
    order, token types before the mask.
    """

    def classifier_dropout(self, config: Any) -> Dropout:
        """Return the dropout before the classifier: that of hidden states."""
        return Dropout(config.hidden_dropout_prob)

    def forward(
        self, input_ids=None, token_type_ids=None, attention_mask=None, labels=None,
        inputs_embeds=None, output_attentions=None, output_hidden_states=None, return_dict=None,
    ) -> Any:  # fmt: skip
        inputs, choices = self.flatten(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
        )  # fmt: skip
        base = self.mega(
            **inputs, output_attentions=output_attentions,
            output_hidden_states=output_hidden_states, return_dict=True,
        )  # fmt: skip
        return self.answer(base, labels, return_dict, choices)


class MegaForTokenClassification(MegaLabelsHead, heads.TokenClassification):
    """MEGA that gives every token a class."""


class MegaForQuestionAnswering(MegaHead, heads.QuestionAnswering):
    """MEGA that finds the span of tokens that answers a question."""

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, inputs_embeds=None,
        start_positions=None, end_positions=None, output_attentions=None,
        output_hidden_states=None, return_dict=None,
    ) -> Any:  # fmt: skip
        base = self.mega(
            input_ids, attention_mask, token_type_ids, inputs_embeds,
            output_attentions=output_attentions, output_hidden_states=output_hidden_states,
            return_dict=True,
        )  # fmt: skip
        return self.answer(base, start_positions, end_positions, return_dict)
