"""MEGA with its heads: attention that is gated by a moving average, linear in length in chunks.

Source   Ma et al. 2022, arXiv:2209.10655
Oracle   transformers' Mega classes; parameter names are the same, letter for letter
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinybert.autograd import Tensor
from tinybert.models import heads
from tinybert.models.base import PreTrainedModel
from tinybert.models.inputs import choose
from tinybert.models.mega_config import MegaConfig
from tinybert.models.mega_model import SLOTS, MegaModel, MegaPreTrainedModel
from tinybert.models.with_head import ModelWithHead
from tinybert.nn import Dropout, Linear, Module
from tinybert.outputs import ModelOutput

__all__ = [
    "MegaConfig",
    "MegaForCausalLM",
    "MegaForMaskedLM",
    "MegaForMultipleChoice",
    "MegaForQuestionAnswering",
    "MegaForSequenceClassification",
    "MegaForTokenClassification",
    "MegaModel",
]


class _Mega(ModelWithHead, MegaPreTrainedModel):
    """What MEGA's models with a head share."""

    base_class: ClassVar[type[PreTrainedModel]] = MegaModel
    uses_pooler: ClassVar[bool] = False

    def finish(
        self,
        output_class: type[ModelOutput],
        base: ModelOutput,
        return_dict: bool | None,
        **results: Any,
    ) -> Any:
        """As for all models; but a plain tuple keeps the places of what there is not."""
        if choose(return_dict, self.config.return_dict):
            return super().finish(output_class, base, True, **results)
        found = (result for result in results.values() if result is not None)
        return (*found, *(base.get(name) for name in SLOTS))


class _MegaWords(_Mega):
    """A score for every word: a dense layer with tanh, if the config wants it, and the table of
    words, under the name `table_name`.
    """

    table_name: ClassVar[str]

    def add_head(self, config: Any) -> None:
        wanted = config.add_lm_hidden_dense_layer
        self.dense = Linear(config.hidden_size, config.hidden_size) if wanted else None
        setattr(self, self.table_name, Linear(config.hidden_size, config.vocab_size))

    def word_logits(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, V)."""
        return getattr(self, self.table_name)(x if self.dense is None else self.dense(x).tanh())

    def get_output_embeddings(self) -> Linear:
        """The layer whose weight has a row for every word."""
        return getattr(self, self.table_name)

    def set_output_embeddings(self, embeddings: Linear) -> None:
        """Exchange the layer whose weight has a row for every word."""
        setattr(self, self.table_name, embeddings)


class MegaForCausalLM(_MegaWords, heads.CausalLM):
    """MEGA that predicts the next token; it needs `is_decoder=True, bidirectional=False`."""

    table_name: ClassVar[str] = "lm_head"

    @property
    def position_limit(self) -> int | None:
        """The most tokens that the model can read, None if there is no such limit: a simple bias
        has one, unless chunks are attended to on their own.
        """
        config = self.config
        limited = config.relative_positional_bias == "simple"
        chunked = config.use_chunking and not config.add_cross_attention
        return config.bias_positions if limited and not chunked else None

    @property
    def left_padding_unit(self) -> int:
        """Padding at the left must be a multiple of it: the size of the chunks, whose borders it
        would move otherwise.
        """
        return self.config.chunk_size if self.config.use_chunking else 1

    def check_left_padding(self, mask: Any, reach: int) -> None:
        """See `MegaModel.check_left_padding`."""
        self.mega.check_left_padding(mask, reach)


class MegaForMaskedLM(_MegaWords, heads.MaskedLM):
    """MEGA that guesses hidden words."""

    table_name: ClassVar[str] = "mlm_head"


class TextClassifier(Module):
    """The first token, through a dense layer with tanh, to a score for every class."""

    def __init__(self, config: Any, dropout: Dropout) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.dropout = dropout
        self.out_proj = Linear(config.hidden_size, config.num_labels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, num_labels)."""
        first = self.dense(self.dropout(x[:, 0])).tanh()
        return self.out_proj(self.dropout(first))


class MegaForSequenceClassification(_Mega, heads.SequenceClassification):
    """MEGA that gives the whole text a class, several classes, or a number."""

    classifier: Any

    def add_head(self, config: Any) -> None:
        self.classifier = TextClassifier(config, self.classifier_dropout(config))

    def text_logits(self, base: ModelOutput, named: dict[str, Any]) -> Tensor:
        """The scores (B, num_labels) of the first token."""
        return self.classifier(base["last_hidden_state"])


class MegaForMultipleChoice(_Mega, heads.MultipleChoice):
    """MEGA that chooses one of several continuations. By position it takes `input_ids,
    token_type_ids, attention_mask`, in this order, as transformers does.
    """

    uses_pooler: ClassVar[bool] = True
    positional: ClassVar[tuple[str, ...]] = ("input_ids", "token_type_ids", "attention_mask")

    def classifier_dropout(self, config: Any) -> Dropout:
        """The dropout before the classifier: that of the hidden states."""
        return Dropout(config.hidden_dropout_prob)


class MegaForTokenClassification(_Mega, heads.TokenClassification):
    """MEGA that gives every token a class."""


class MegaForQuestionAnswering(_Mega, heads.QuestionAnswering):
    """MEGA that finds where in a text the answer starts and ends."""
