"""Nemotron with a head.

What a head computes and its loss are in `models/heads/`; this file has Nemotron's own heads and the
arguments of each call in the order of transformers.

Source   Parmar et al. 2024, arXiv:2402.16819
Oracle   transformers' Nemotron classes; parameter names are the same, letter for letter
Shapes   B batch, T tokens, D hidden, V vocabulary
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinybert.autograd import Tensor
from tinybert.backend import array_module
from tinybert.log import warn_once
from tinybert.models import heads
from tinybert.models.arguments import integers
from tinybert.models.base import PreTrainedModel
from tinybert.models.nemotron.nemotron_model import NemotronModel, NemotronPreTrainedModel
from tinybert.nn import Dropout, Linear
from tinybert.outputs import (
    CausalLMOutputWithPast,
    ModelOutput,
    SequenceClassifierOutputWithPast,
)


class NemotronHead(NemotronPreTrainedModel, heads.ModelWithHead):
    """What Nemotron's models with a head share."""

    base_class: ClassVar[type[PreTrainedModel]] = NemotronModel
    model: Any

    def make_base(self, config: Any) -> PreTrainedModel:
        """Return a new base model; it has no pooler."""
        return NemotronModel(config)


class NemotronForCausalLM(NemotronHead, heads.CausalLM):
    """Nemotron that predicts the next token."""

    output_class: ClassVar[type[ModelOutput]] = CausalLMOutputWithPast
    always_causal: ClassVar[bool] = True

    def add_head(self, config: Any) -> None:
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
        inputs_embeds=None, labels=None, use_cache=None, output_attentions=None,
        output_hidden_states=None, return_dict=None, cache_position=None, logits_to_keep=0,
        *, num_items_in_batch=None,
    ) -> Any:  # fmt: skip
        base = self.model(
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache,
            output_attentions, output_hidden_states, return_dict=True,
            cache_position=cache_position,
        )  # fmt: skip
        return self.answer(base, labels, return_dict, logits_to_keep, num_items_in_batch)

    def word_logits(self, x: Tensor) -> Tensor:
        return self.lm_head(x)

    def get_output_embeddings(self) -> Linear:
        return self.lm_head

    def set_output_embeddings(self, embeddings: Linear) -> None:
        self.lm_head = embeddings

    def get_decoder(self) -> NemotronModel:
        """Return the base model."""
        return self.base_model

    def set_decoder(self, decoder: NemotronModel) -> None:
        """Replace the base model."""
        self.model = decoder

    @property
    def reads_beyond_limit(self) -> bool:
        """Rotary positions need no table: there are positions beyond max_position_embeddings."""
        return True


class NemotronForSequenceClassification(NemotronHead, heads.SequenceClassification):
    """Nemotron that gives the text a class, several classes, or a number: by its last token, the
    only one that attends to all of them.
    """

    output_class: ClassVar[type[ModelOutput]] = SequenceClassifierOutputWithPast

    def add_head(self, config: Any) -> None:
        self.score = Linear(config.hidden_size, config.num_labels, bias=False)

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
        inputs_embeds=None, labels=None, use_cache=None, output_attentions=None,
        output_hidden_states=None, return_dict=None, *, cache_position=None,
    ) -> Any:  # fmt: skip
        base = self.model(
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache,
            output_attentions, output_hidden_states, return_dict=True,
            cache_position=cache_position,
        )  # fmt: skip
        logits = self.score(self.last_token(base["last_hidden_state"], input_ids))
        return self.answer(base, labels, return_dict, logits)

    def reads_padding(self, mask: Tensor, given: dict[str, Any]) -> bool:
        if given.get("input_ids") is None:
            return True
        ids = integers("input_ids", given["input_ids"], "cpu")
        if mask.ndim != 2 or ids.shape != mask.shape:  # tokens in the cache, or an error
            return True
        return not bool(self.last_token(mask[..., None], ids).data.all())

    def last_token(self, x: Tensor, input_ids: Any) -> Tensor:
        """Return the features (B, D) of the last token that is not padding, of x (B, T, D)."""
        xp, batch, pad = array_module(x.data), x.shape[0], self.config.pad_token_id
        if pad is None and batch > 1:
            raise ValueError(
                f"a batch of {batch} texts needs pad_token_id, which is None in the config: it "
                "marks the end of a text"
            )
        last = xp.full(batch, x.shape[1] - 1)
        if pad is not None and input_ids is not None:
            real = integers("input_ids", input_ids, x.device).data != pad
            last = (xp.arange(x.shape[1]) * real).argmax(axis=1)  # 0 if all is padding
        elif pad is not None:
            warn_once("inputs_embeds show no padding: the last token of every row is taken")
        return x[xp.arange(batch), last]


class NemotronForTokenClassification(NemotronHead, heads.TokenClassification):
    """Nemotron that gives every token a class."""

    def add_head(self, config: Any) -> None:
        options = (getattr(config, name, None) for name in ("classifier_dropout", "hidden_dropout"))
        self.dropout = Dropout(next((p for p in options if p is not None), 0.1))
        self.score = Linear(config.hidden_size, config.num_labels)

    def token_logits(self, x: Tensor) -> Tensor:
        return self.score(self.dropout(x))

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
        inputs_embeds=None, labels=None, use_cache=None, output_attentions=None,
        output_hidden_states=None, return_dict=None, *, cache_position=None,
    ) -> Any:  # fmt: skip
        base = self.model(
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache,
            output_attentions, output_hidden_states, return_dict=True,
            cache_position=cache_position,
        )  # fmt: skip
        return self.answer(base, labels, return_dict)


class NemotronForQuestionAnswering(NemotronHead, heads.QuestionAnswering):
    """Nemotron that finds the span of tokens that answers a question.

    Its base model is called `transformer`, as in transformers. So a checkpoint of another head does
    not fit it, but one of NemotronModel does.
    """

    base_model_prefix: ClassVar[str] = "transformer"
    transformer: Any

    def add_head(self, config: Any) -> None:
        self.qa_outputs = Linear(config.hidden_size, 2)  # whatever num_labels says

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
        inputs_embeds=None, start_positions=None, end_positions=None, output_attentions=None,
        output_hidden_states=None, return_dict=None, *, use_cache=None, cache_position=None,
    ) -> Any:  # fmt: skip
        base = self.transformer(
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache,
            output_attentions, output_hidden_states, return_dict=True,
            cache_position=cache_position,
        )  # fmt: skip
        return self.answer(base, start_positions, end_positions, return_dict)
