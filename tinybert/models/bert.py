"""BERT: an encoder whose every token looks at all others; as a decoder, at those before it.

Source   Devlin et al. 2018, arXiv:1810.04805; layers as in Vaswani et al. 2017, arXiv:1706.03762
Oracle   transformers' Bert classes; parameter names are the same, letter for letter
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tinybert.autograd import Tensor
from tinybert.models import heads
from tinybert.models.attention import CrossAttention, SelfAttention
from tinybert.models.base import PreTrainedModel
from tinybert.models.bert_like import AttentionBlock, BertLikeModel, Embeddings, Intermediate, Layer
from tinybert.models.config import PretrainedConfig
from tinybert.models.encoder import Encoder
from tinybert.models.with_head import ModelWithHead
from tinybert.nn import Dropout, LayerNorm, Linear, Module
from tinybert.outputs import PreTrainingOutput

__all__ = [
    "BertConfig",
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertForPreTrainingOutput",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertLMHeadModel",
    "BertModel",
]


class BertConfig(PretrainedConfig):
    """The sizes and options of a BERT; the defaults are those of bert-base-uncased."""

    model_type = "bert"

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        intermediate_size: int = 3072,
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
        classifier_dropout: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(pad_token_id=pad_token_id, **options)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.max_position_embeddings = max_position_embeddings
        self.type_vocab_size = type_vocab_size
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps
        self.position_embedding_type = position_embedding_type
        self.use_cache = use_cache
        self.classifier_dropout = classifier_dropout


class BertEmbeddings(Embeddings):
    """Word + token type + position, normalised."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.LayerNorm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def normalise(self, x: Tensor) -> Tensor:
        return self.LayerNorm(x)


class BertOutput(Module):
    """The end of each part of a layer: project, drop, add the input, normalise (post-LN)."""

    def __init__(self, config: BertConfig, in_features: int) -> None:
        super().__init__()
        self.dense = Linear(in_features, config.hidden_size)
        self.LayerNorm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """x (B, T, in) and residual (B, T, D) to (B, T, D)."""
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


class BertAttention(AttentionBlock):
    """Attention, then projection, residual and norm."""

    def __init__(self, config: BertConfig, attention: SelfAttention) -> None:
        super().__init__()
        self.self = attention
        self.output = BertOutput(config, config.hidden_size)


class BertLayer(Layer):
    """Attention and feed-forward, each followed by residual and norm (post-LN)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.attention = BertAttention(config, SelfAttention(config))
        if config.add_cross_attention:  # two sequences have no common positions: absolute
            self.crossattention = BertAttention(config, CrossAttention(config, relative=False))
        self.intermediate = Intermediate(config)
        self.output = BertOutput(config, config.intermediate_size)

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.output(self.intermediate(x), x)


class BertModel(BertLikeModel):
    __doc__ = "BERT without a head." + (BertLikeModel.__doc__ or "").partition(".")[2]

    config_class: ClassVar[type[PretrainedConfig]] = BertConfig

    def make_embeddings(self, config: BertConfig) -> BertEmbeddings:
        return BertEmbeddings(config)

    def make_encoder(self, config: BertConfig) -> Encoder:
        return Encoder(BertLayer(config) for _ in range(config.num_hidden_layers))


# --- with a head ----------------------------------------------------------------------------------


class _Bert(ModelWithHead):
    """What BERT's models with a head share."""

    config_class: ClassVar[type[PretrainedConfig]] = BertConfig
    base_class: ClassVar[type[PreTrainedModel]] = BertModel
    base_model_prefix: ClassVar[str] = "bert"
    supports_gradient_checkpointing: ClassVar[bool] = True


class BertForPreTraining(heads.PreTraining, _Bert):
    """BERT as it was trained: guess hidden words, and whether the second segment follows."""


class BertLMHeadModel(heads.CausalLM, _Bert):
    """BERT that predicts the next token; `is_decoder=True` keeps it from looking ahead."""


class BertForMaskedLM(heads.MaskedLM, _Bert):
    """BERT that guesses hidden words."""


class BertForNextSentencePrediction(heads.NextSentencePrediction, _Bert):
    """BERT that tells whether the second segment follows the first."""


class BertForSequenceClassification(heads.SequenceClassification, _Bert):
    """BERT that gives the whole text a class, several classes, or a number."""


class BertForMultipleChoice(heads.MultipleChoice, _Bert):
    """BERT that chooses one of several continuations."""


class BertForTokenClassification(heads.TokenClassification, _Bert):
    """BERT that gives every token a class."""


class BertForQuestionAnswering(heads.QuestionAnswering, _Bert):
    """BERT that finds where in a text the answer starts and ends."""


BertForPreTrainingOutput = PreTrainingOutput
