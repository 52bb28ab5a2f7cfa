"""MegatronBERT: BERT whose norms stand before the blocks, so that the residual path stays free.

Source   Shoeybi et al. 2019, arXiv:1909.08053, section 5.3 and figure 7: with the norms behind the
         residuals, as in BERT, larger models train worse
Oracle   transformers' MegatronBert classes; parameter names are the same, letter for letter
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from tinybert.autograd import Tensor
from tinybert.models import heads
from tinybert.models.attention import CrossAttention, SelfAttention
from tinybert.models.base import PreTrainedModel
from tinybert.models.bert import BertConfig
from tinybert.models.bert_like import AttentionBlock, BertLikeModel, Embeddings, Intermediate, Layer
from tinybert.models.config import PretrainedConfig
from tinybert.models.encoder import Encoder
from tinybert.models.with_head import ModelWithHead
from tinybert.nn import Dropout, LayerNorm, Linear, Module
from tinybert.outputs import PreTrainingOutput

__all__ = [
    "MegatronBertConfig",
    "MegatronBertForCausalLM",
    "MegatronBertForMaskedLM",
    "MegatronBertForMultipleChoice",
    "MegatronBertForNextSentencePrediction",
    "MegatronBertForPreTraining",
    "MegatronBertForPreTrainingOutput",
    "MegatronBertForQuestionAnswering",
    "MegatronBertForSequenceClassification",
    "MegatronBertForTokenClassification",
    "MegatronBertModel",
]


class MegatronBertConfig(BertConfig):
    """The sizes and options of a MegatronBERT; the defaults are those of the 345M model.

    They are BERT's, but for `classifier_dropout`, which MegatronBERT does not have.
    """

    model_type = "megatron-bert"

    def __init__(
        self,
        vocab_size: int = 29056,
        hidden_size: int = 1024,
        num_hidden_layers: int = 24,
        num_attention_heads: int = 16,
        intermediate_size: int = 4096,
        *sizes: Any,
        **options: Any,
    ) -> None:
        super().__init__(
            vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size,
            *sizes, **options,
        )  # fmt: skip


class Residual(Module):
    """The end of each part of a layer: project, drop, add the input; no norm."""

    def __init__(self, config: MegatronBertConfig, in_features: int) -> None:
        super().__init__()
        self.dense = Linear(in_features, config.hidden_size)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """x (B, T, in) and residual (B, T, D) to (B, T, D)."""
        return residual + self.dropout(self.dense(x))


class MegatronBertAttention(AttentionBlock):
    """Norm, attention, projection, residual; what an encoder gave is not normalised."""

    def __init__(self, config: MegatronBertConfig, attention: SelfAttention) -> None:
        super().__init__()
        self.ln = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self = attention
        self.output = Residual(config, config.hidden_size)

    def before(self, x: Tensor) -> Tensor:
        return self.ln(x)


class MegatronBertLayer(Layer):
    """Attention and feed-forward, each on the normalised input and added to it (pre-LN)."""

    def __init__(self, config: MegatronBertConfig) -> None:
        super().__init__(config)
        self.attention = MegatronBertAttention(config, SelfAttention(config))
        if config.add_cross_attention:
            self.crossattention = MegatronBertAttention(config, CrossAttention(config))
        self.ln = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.intermediate = Intermediate(config)
        self.output = Residual(config, config.intermediate_size)

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.output(self.intermediate(self.ln(x)), x)


class MegatronBertEncoder(Encoder):
    """The layers, and a norm after the last."""

    def __init__(self, config: MegatronBertConfig, layers: Iterable[Module]) -> None:
        super().__init__(layers)
        self.ln = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def finish(self, x: Tensor) -> Tensor:
        return self.ln(x)


class MegatronBertModel(BertLikeModel):
    __doc__ = "MegatronBERT without a head." + (BertLikeModel.__doc__ or "").partition(".")[2]

    config_class: ClassVar[type[PretrainedConfig]] = MegatronBertConfig
    zero_padding_row: ClassVar[bool] = False

    def make_embeddings(self, config: MegatronBertConfig) -> Embeddings:
        return Embeddings(config)

    def make_encoder(self, config: MegatronBertConfig) -> Encoder:
        layers = (MegatronBertLayer(config) for _ in range(config.num_hidden_layers))
        return MegatronBertEncoder(config, layers)


class _MegatronBert(ModelWithHead):
    """What MegatronBERT's models with a head share."""

    config_class: ClassVar[type[PretrainedConfig]] = MegatronBertConfig
    base_class: ClassVar[type[PreTrainedModel]] = MegatronBertModel
    base_model_prefix: ClassVar[str] = "bert"
    supports_gradient_checkpointing: ClassVar[bool] = True

    def classifier_dropout(self, config: MegatronBertConfig) -> Dropout:
        """The dropout before a classifier: that of the hidden states."""
        return Dropout(config.hidden_dropout_prob)


class MegatronBertForPreTraining(heads.PreTraining, _MegatronBert):
    """MegatronBERT as it was trained: hidden words, and whether the second segment follows."""


class MegatronBertForCausalLM(heads.CausalLM, _MegatronBert):
    """MegatronBERT that predicts the next token; `is_decoder=True` keeps it from looking ahead."""


class MegatronBertForMaskedLM(heads.MaskedLM, _MegatronBert):
    """MegatronBERT that guesses hidden words."""


class MegatronBertForNextSentencePrediction(heads.NextSentencePrediction, _MegatronBert):
    """MegatronBERT that tells whether the second segment follows the first."""


class MegatronBertForSequenceClassification(heads.SequenceClassification, _MegatronBert):
    """MegatronBERT that gives the whole text a class, several classes, or a number."""


class MegatronBertForMultipleChoice(heads.MultipleChoice, _MegatronBert):
    """MegatronBERT that chooses one of several continuations."""


class MegatronBertForTokenClassification(heads.TokenClassification, _MegatronBert):
    """MegatronBERT that gives every token a class."""


class MegatronBertForQuestionAnswering(heads.QuestionAnswering, _MegatronBert):
    """MegatronBERT that finds where in a text the answer starts and ends."""


MegatronBertForPreTrainingOutput = PreTrainingOutput
