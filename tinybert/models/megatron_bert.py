"""MegatronBERT: BERT with the norms before the blocks (pre-LN), outside the residual path.

Source   Shoeybi et al. 2019, arXiv:1909.08053, section 5.3 and figure 7: with the norms after the
         residuals, as in BERT, larger models train worse
Oracle   transformers' MegatronBert classes; parameter names are the same, letter for letter
Shapes   B batch, T tokens, D hidden, F feed-forward
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tinybert.autograd import Tensor
from tinybert.checks import check_flag
from tinybert.models import bert_heads, bert_tasks
from tinybert.models.attention import CrossAttention, SelfAttention
from tinybert.models.base import PreTrainedModel
from tinybert.models.bert import (
    BertConfig,
    BertEncoder,
    BertIntermediate,
    BertModel,
    EmbeddingSum,
    TransformerLayer,
)
from tinybert.models.config import PretrainedConfig
from tinybert.models.stack import StackOutput
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
    """The sizes and options of a MegatronBERT. The defaults are those of the 345M model.

    The arguments are those of BertConfig, without `classifier_dropout`.
    """

    model_type = "megatron-bert"

    def __init__(
        self,
        vocab_size: int = 29056,
        hidden_size: int = 1024,
        num_hidden_layers: int = 24,
        num_attention_heads: int = 16,
        intermediate_size: int = 4096,
        hidden_act: str | Callable[[Tensor], Tensor] = "gelu",
        hidden_dropout_prob: float = 0.1,
        attention_probs_dropout_prob: float = 0.1,
        max_position_embeddings: int = 512,
        type_vocab_size: int = 2,
        initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-12,
        pad_token_id: int = 0,
        position_embedding_type: str = "absolute",
        use_cache: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(
            vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size,
            hidden_act, hidden_dropout_prob, attention_probs_dropout_prob,
            max_position_embeddings, type_vocab_size, initializer_range, layer_norm_eps,
            pad_token_id, position_embedding_type, use_cache, **options,
        )  # fmt: skip


class MegatronBertEmbeddings(EmbeddingSum):
    """Word + token type + position embeddings; the first norm is that of the first layer."""

    def forward(self, *inputs: Any) -> Tensor:
        """Return (B, T, D); the inputs are those of EmbeddingSum."""
        return self.dropout(super().forward(*inputs))


class MegatronBertOutput(Module):
    """The end of each part of a layer: project, dropout, add the input; no norm."""

    def __init__(self, config: Any, in_features: int) -> None:
        super().__init__()
        self.dense = Linear(in_features, config.hidden_size)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Map x (B, T, in) and residual (B, T, D) to (B, T, D)."""
        return residual + self.dropout(self.dense(x))


class MegatronBertAttention(Module):
    """Norm, attention, projection, residual. An encoder's output is not normalised."""

    def __init__(self, config: Any, attention: SelfAttention) -> None:
        super().__init__()
        self.ln = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self = attention
        self.output = MegatronBertOutput(config, config.hidden_size)

    def forward(self, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor | None]:
        """Map (B, T, D) to (B, T, D), and the attention weights if requested."""
        context, weights = self.self(self.ln(x), *rest)
        return self.output(context, x), weights


class MegatronBertLayer(TransformerLayer):
    """Attention and feed-forward, each on the normalised input and added to it (pre-LN)."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.attention = MegatronBertAttention(config, SelfAttention(config))
        if config.add_cross_attention:
            self.crossattention = MegatronBertAttention(config, CrossAttention(config))
        self.ln = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.intermediate = BertIntermediate(config)
        self.output = MegatronBertOutput(config, config.intermediate_size)

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.output(self.intermediate(self.ln(x)), x)


class MegatronBertEncoder(BertEncoder):
    """The L layers, and a norm after the last."""

    layer_class: ClassVar[type[Any]] = MegatronBertLayer

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.ln = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, call: Any) -> StackOutput:
        """Run x (B, T, D) through the layers and the norm."""
        return self.layer(x, call, norm=self.ln)


class MegatronBertModel(BertModel):
    """MegatronBERT without a head: token ids in, features out. It is called as BertModel is."""

    config_class: ClassVar[type[PretrainedConfig]] = MegatronBertConfig
    embeddings_class: ClassVar[type[Any]] = MegatronBertEmbeddings
    encoder_class: ClassVar[type[Any]] = MegatronBertEncoder
    zero_padding_row: ClassVar[bool] = False


# --- with a head: the heads of BERT on another base model -----------------------------------------


class MegatronBertHead(bert_heads.BertHead):
    """What MegatronBERT's models with a head share."""

    config_class: ClassVar[type[PretrainedConfig]] = MegatronBertConfig
    base_class: ClassVar[type[PreTrainedModel]] = MegatronBertModel

    def classifier_dropout(self, config: Any) -> Dropout:
        """Return the dropout before a classifier: that of hidden states."""
        return Dropout(config.hidden_dropout_prob)


class MegatronBertForPreTraining(MegatronBertHead, bert_heads.BertForPreTraining):
    """MegatronBERT with both heads of its pre-training: masked tokens, next sentence prediction.

    Args:
        config: the sizes and options.
        add_binary_head: True, since the model has the head that predicts the next sentence.
    """

    def __init__(self, config: PretrainedConfig, add_binary_head: bool = True) -> None:
        check_flag("add_binary_head", add_binary_head)
        if not add_binary_head:
            raise ValueError(
                "add_binary_head must be True: this model always predicts the next sentence; "
                "MegatronBertForMaskedLM is the model without that head"
            )
        super().__init__(config)

    @classmethod
    def _constructor_options(cls) -> tuple[str, ...]:
        return ("add_binary_head",)


class MegatronBertForCausalLM(MegatronBertHead, bert_heads.BertLMHeadModel):
    """MegatronBERT that predicts the next token; `is_decoder=True` hides the later ones."""


class MegatronBertForMaskedLM(MegatronBertHead, bert_heads.BertForMaskedLM):
    """MegatronBERT that predicts masked tokens."""


class MegatronBertForNextSentencePrediction(
    MegatronBertHead, bert_tasks.BertForNextSentencePrediction
):
    """MegatronBERT that predicts whether the second segment follows the first."""


class MegatronBertForSequenceClassification(
    MegatronBertHead, bert_tasks.BertForSequenceClassification
):
    """MegatronBERT that gives the text a class, several classes, or a number."""


class MegatronBertForMultipleChoice(MegatronBertHead, bert_tasks.BertForMultipleChoice):
    """MegatronBERT that chooses one of several continuations."""


class MegatronBertForTokenClassification(MegatronBertHead, bert_tasks.BertForTokenClassification):
    """MegatronBERT that gives every token a class."""


class MegatronBertForQuestionAnswering(MegatronBertHead, bert_tasks.BertForQuestionAnswering):
    """MegatronBERT that finds the span of tokens that answers a question."""


MegatronBertForPreTrainingOutput = PreTrainingOutput
