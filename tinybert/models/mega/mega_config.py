"""`MegaConfig`: the sizes and options of a MEGA, and which of them can be combined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinybert.autograd import Tensor
from tinybert.checks import (
    check,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    is_integer,
)
from tinybert.models.config import PretrainedConfig, check_pad_token

NORMS = ("scalenorm", "layernorm", "rmsnorm", "batchnorm", "syncbatchnorm")
ATTENTION_ACTIVATIONS = ("softmax", "laplace", "relu2")
BIASES = ("rotary", "simple")
REFERENCES = (None, "transformers")


class MegaConfig(PretrainedConfig):
    """The sizes and options of a MEGA; the defaults are those of the original.

    Args:
        vocab_size: V, the number of tokens in the vocabulary.
        hidden_size: D, the size of hidden states.
        num_hidden_layers: L, the number of layers.
        intermediate_size: the size of the values.
        ema_projection_size: N, the dimensions of the moving average for each feature.
        bidirectional: whether the moving average also runs backward; not allowed for decoders.
        shared_representation_size: Z, the size of queries and keys.
        use_chunking, chunk_size: attend within chunks of `chunk_size` tokens only, in linear time.
        truncation: the number of past steps that the moving average uses; None means all.
        normalize_before_mega, normalize_before_ffn: pre-norm instead of post-norm.
        normalization_type: one of NORMS; "syncbatchnorm" is "batchnorm", on one device.
        norm_affine: whether the norms have weights and biases.
        activation: the activation of gates and feed-forward layers, a name or a function.
        attention_activation: one of ATTENTION_ACTIVATIONS.
        dropout_prob, hidden_dropout_prob, attention_probs_dropout_prob,
            nffn_activation_dropout_prob: the dropout of the outputs of blocks, of values and gates,
            of attention weights, and in feed-forward layers.
        use_feature_dropout: drop a feature at all positions at once.
        use_normalized_ffn, nffn_hidden_size: whether layers have a feed-forward part; its size.
        max_positions: the size of the table of a "simple" bias; a rotary bias needs no limit.
        add_token_type_embeddings, type_vocab_size: whether there are token types; their number.
        initializer_range, ema_delta_alpha_range, ema_beta_range, ema_gamma_omega_range: standard
            deviations of fresh weights.
        pad_token_id, bos_token_id, eos_token_id: ids of the special tokens.
        relative_positional_bias: one of BIASES.
        classifier_dropout: the dropout before a classifier; hidden_dropout_prob if None.
        use_cache: the default of a decoder's argument `use_cache`.
        add_lm_hidden_dense_layer: a dense layer with tanh before the scores of the tokens.
        reference: "transformers" computes "rmsnorm" as that library does, which only multiplies by
            the weight: for weights that were trained with it. None: as its paper defines it.
        **options: options of `PretrainedConfig`.
    """

    model_type = "mega"

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 128,
        num_hidden_layers: int = 4,
        intermediate_size: int = 256,
        ema_projection_size: int = 16,
        bidirectional: bool = True,
        shared_representation_size: int = 64,
        use_chunking: bool = False,
        chunk_size: int = -1,
        truncation: int | None = None,
        normalize_before_mega: bool = True,
        normalization_type: str = "scalenorm",
        norm_affine: bool = True,
        activation: str | Callable[[Tensor], Tensor] = "silu",
        attention_activation: str = "softmax",
        dropout_prob: float = 0.1,
        hidden_dropout_prob: float = 0.1,
        attention_probs_dropout_prob: float = 0.1,
        use_feature_dropout: bool = False,
        use_normalized_ffn: bool = True,
        nffn_hidden_size: int = 256,
        normalize_before_ffn: bool = True,
        nffn_activation_dropout_prob: float = 0.1,
        max_positions: int = 2048,
        add_token_type_embeddings: bool = False,
        type_vocab_size: int = 2,
        initializer_range: float = 0.02,
        ema_delta_alpha_range: float = 0.2,
        ema_beta_range: float = 0.02,
        ema_gamma_omega_range: float = 1.0,
        pad_token_id: int | None = 1,
        bos_token_id: int | None = 0,
        eos_token_id: int | None = 2,
        relative_positional_bias: str = "rotary",
        classifier_dropout: float | None = None,
        use_cache: bool = True,
        add_lm_hidden_dense_layer: bool = True,
        *,
        reference: str | None = None,
        **options: Any,
    ) -> None:
        options.pop("num_attention_heads", None)
        super().__init__(
            pad_token_id=pad_token_id,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            **options,
        )
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.intermediate_size = intermediate_size
        self.ema_projection_size = ema_projection_size
        self.bidirectional = bidirectional
        self.shared_representation_size = shared_representation_size
        self.use_chunking = use_chunking
        self.chunk_size = chunk_size
        self.truncation = truncation
        self.normalize_before_mega = normalize_before_mega
        self.normalization_type = normalization_type
        self.norm_affine = norm_affine
        self.activation = activation
        self.attention_activation = attention_activation
        self.dropout_prob = dropout_prob
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.use_feature_dropout = use_feature_dropout
        self.use_normalized_ffn = use_normalized_ffn
        self.nffn_hidden_size = nffn_hidden_size
        self.normalize_before_ffn = normalize_before_ffn
        self.nffn_activation_dropout_prob = nffn_activation_dropout_prob
        self.max_positions = max_positions
        self.add_token_type_embeddings = add_token_type_embeddings
        self.type_vocab_size = type_vocab_size
        self.initializer_range = initializer_range
        self.ema_delta_alpha_range = ema_delta_alpha_range
        self.ema_beta_range = ema_beta_range
        self.ema_gamma_omega_range = ema_gamma_omega_range
        self.relative_positional_bias = relative_positional_bias
        self.classifier_dropout = classifier_dropout
        self.use_cache = use_cache
        self.add_lm_hidden_dense_layer = add_lm_hidden_dense_layer
        self.num_attention_heads = 1
        self.reference = reference

    @property
    def bias_positions(self) -> int:
        """The largest number of keys that a simple bias supports (as in transformers, `chunk_size`
        limits it even without `use_chunking`).
        """
        return self.max_positions if self.chunk_size < 0 else self.chunk_size


SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "ema_projection_size",
    "shared_representation_size", "nffn_hidden_size", "max_positions", "type_vocab_size",
)  # fmt: skip
PROBABILITIES = (
    "dropout_prob", "hidden_dropout_prob", "attention_probs_dropout_prob",
    "nffn_activation_dropout_prob",
)  # fmt: skip
RANGES = (
    "initializer_range", "ema_delta_alpha_range", "ema_beta_range", "ema_gamma_omega_range",
)  # fmt: skip
FLAGS = (
    "bidirectional", "use_chunking", "normalize_before_mega", "norm_affine", "use_feature_dropout",
    "use_normalized_ffn", "normalize_before_ffn", "add_token_type_embeddings", "use_cache",
    "add_lm_hidden_dense_layer", "tie_word_embeddings", "is_decoder", "add_cross_attention",
)  # fmt: skip
CHOICES = {
    "normalization_type": NORMS,
    "attention_activation": ATTENTION_ACTIVATIONS,
    "relative_positional_bias": BIASES,
    "reference": REFERENCES,
}


def check_mega_config(config: MegaConfig) -> None:
    """Raise ValueError, naming the option, for values or combinations that are not possible."""
    for name in SIZES:
        check_integer(name, getattr(config, name), 1)
    check_integer("num_hidden_layers", config.num_hidden_layers, 0)
    check_integer("truncation", config.truncation, 1, optional=True)
    chunk = config.chunk_size
    check("chunk_size", chunk, is_integer(chunk) and (chunk == -1 or chunk >= 1), "-1 or >= 1")
    for name in PROBABILITIES:
        check_number(name, getattr(config, name), most=1)
    check_number("classifier_dropout", config.classifier_dropout, most=1, optional=True)
    for name in RANGES:
        check_number(name, getattr(config, name))
    for name in FLAGS:
        check_flag(name, getattr(config, name))
    for name, allowed in CHOICES.items():
        check_choice(name, getattr(config, name), allowed)
    check_pad_token(config)
    _check_together(config)


def _check_together(config: MegaConfig) -> None:
    if config.use_chunking and config.chunk_size < 1:
        raise ValueError(f"use_chunking needs a chunk_size >= 1, got {config.chunk_size}")
    if config.relative_positional_bias == "rotary" and config.shared_representation_size % 2:
        raise ValueError(
            "shared_representation_size must be even for a rotary bias, "
            f"got {config.shared_representation_size}"
        )
    if config.relative_positional_bias == "simple" and config.chunk_size > config.max_positions:
        raise ValueError(
            f"chunk_size {config.chunk_size} must be at most max_positions {config.max_positions}, "
            "the size of a simple bias's table"
        )
    if config.is_decoder and config.bidirectional:
        raise ValueError(
            "bidirectional=True lets a decoder attend to the tokens that it should predict; "
            "set bidirectional=False"
        )
    if config.add_cross_attention and not config.is_decoder:
        raise ValueError("add_cross_attention=True is for decoders; set is_decoder=True")
