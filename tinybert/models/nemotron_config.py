"""`NemotronConfig`: the sizes and options of a Nemotron, and those of the published ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tinybert.autograd import Tensor
from tinybert.checks import (
    check_choice,
    check_flag,
    check_integer,
    check_number,
    is_integer,
)
from tinybert.models.config import PretrainedConfig, check_pad_token

# How other programs spell partial_rotary_factor, the share of a head that its position turns.
SPELLINGS = ("rope_percent", "rope_percentage", "rotary_percentage")
LIKE_IT = re.compile(r"(?!.*scaling)(partial_)?(rotary|rope)\w*(factor|percent\w*|pct|fraction)")

# The shapes of the published models (Parmar et al. 2024, arXiv:2402.16819; Muralidharan et al.
# 2024, arXiv:2407.14679); what is not said here is the default.
PRESETS: dict[str, dict[str, int]] = {
    "nemotron-3-8b": {
        "hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128,
    },
    "nemotron-4-15b": {
        "hidden_size": 6144, "intermediate_size": 24576, "num_hidden_layers": 32,
        "num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128,
    },
    "minitron-8b": {
        "hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 32,
        "num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128,
    },
    "minitron-4b": {
        "hidden_size": 3072, "intermediate_size": 9216, "num_hidden_layers": 32,
        "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128,
    },
}  # fmt: skip


class NemotronConfig(PretrainedConfig):
    """The sizes and options of a Nemotron.

    Args:
        head_dim: K, the size of a head; hidden_size // num_attention_heads if None, but any.
        num_key_value_heads: G, how many heads of keys and values there are; as many as there are
            heads of queries if None.
        partial_rotary_factor: the share of a head's features that its position turns; rope_percent,
            rope_percentage and rotary_percentage are taken for the same. 0.5 if none is given.
        rope_scaling: is kept, and has no effect.
        classifier_dropout: in training, of the head that marks tokens; 0.1 if not given.
        reference: "transformers" also allows an odd number of features to be turned, as
            transformers does: one more turns then.

    Raises ValueError for two spellings that contradict each other, and for others that look alike.
    """

    model_type = "nemotron"

    def __init__(
        self,
        vocab_size: int = 256000,
        hidden_size: int = 6144,
        intermediate_size: int = 24576,
        num_hidden_layers: int = 32,
        num_attention_heads: int = 48,
        head_dim: int | None = None,
        num_key_value_heads: int | None = None,
        hidden_act: str | Callable[[Tensor], Tensor] = "relu2",
        max_position_embeddings: int = 4096,
        initializer_range: float = 0.0134,
        norm_eps: float = 1e-5,
        use_cache: bool = True,
        pad_token_id: int | None = None,
        bos_token_id: int | None = 2,
        eos_token_id: int | None = 3,
        tie_word_embeddings: bool = False,
        rope_theta: float = 10000.0,
        partial_rotary_factor: float | None = None,
        attention_bias: bool = False,
        attention_dropout: float = 0.0,
        mlp_bias: bool = False,
        **options: Any,
    ) -> None:
        factor = _one_spelling(partial_rotary_factor, options)
        super().__init__(
            pad_token_id=pad_token_id,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            tie_word_embeddings=tie_word_embeddings,
            **options,
        )
        if head_dim is None and is_integer(hidden_size) and is_integer(num_attention_heads):
            head_dim = hidden_size // num_attention_heads if num_attention_heads else None
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.head_dim = head_dim
        self.num_key_value_heads = (
            num_attention_heads if num_key_value_heads is None else num_key_value_heads
        )
        self.hidden_act = hidden_act
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.norm_eps = norm_eps
        self.use_cache = use_cache
        self.rope_theta = rope_theta
        self.partial_rotary_factor = 0.5 if factor is None else factor
        self.attention_bias = attention_bias
        self.attention_dropout = attention_dropout
        self.mlp_bias = mlp_bias

    @classmethod
    def preset(cls, name: str, **options: Any) -> NemotronConfig:
        """The config of a published shape: one of `PRESETS`; options win over it."""
        if name not in PRESETS:
            raise ValueError(f"name must be one of {sorted(PRESETS)}, got {name!r}")
        return cls(**{**PRESETS[name], **options})

    @classmethod
    def from_dict(cls, options: dict[str, Any], **overrides: Any) -> Any:
        """A config from a dict; an override of the share that is turned wins over all spellings."""
        spellings = {"partial_rotary_factor", *SPELLINGS}
        if spellings & set(overrides):
            options = {name: value for name, value in options.items() if name not in spellings}
        return super().from_dict(options, **overrides)

    @classmethod
    def _known_options(cls) -> set[str]:
        optional = {"rope_scaling", "classifier_dropout", "reference"}
        return {*super()._known_options(), *SPELLINGS, *optional}

    @property
    def features_to_turn(self) -> int:
        """How many features of a head its position should turn: the share, rounded down."""
        return int(self.head_dim * self.partial_rotary_factor)  # type: ignore[operator]


def _one_spelling(factor: float | None, options: dict[str, Any]) -> float | None:
    """The share that is turned, whatever it is called; its other names are taken out of options."""
    given = {name: options.pop(name, None) for name in SPELLINGS}
    given = {n: v for n, v in {"partial_rotary_factor": factor, **given}.items() if v is not None}
    if len(set(given.values())) > 1:
        raise ValueError(
            f"partial_rotary_factor has several values: {given}; transformers takes "
            "partial_rotary_factor, or 0.5, and ignores the others. Say which holds: "
            "from_pretrained(..., partial_rotary_factor=...)"
        )
    unknown = [name for name in options if LIKE_IT.fullmatch(name)]
    if unknown:
        raise ValueError(
            f"{unknown[0]} is not known; the share of a head that is turned is called "
            f"partial_rotary_factor (or {', '.join(SPELLINGS)})"
        )
    return next(iter(given.values()), None)


SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads",
    "head_dim", "max_position_embeddings",
)  # fmt: skip


FLAGS = ("attention_bias", "mlp_bias", "use_cache", "tie_word_embeddings")
REFERENCES = (None, "transformers")


def check_config(config: NemotronConfig) -> None:
    """Raise ValueError, naming the option, for what no Nemotron can be made of."""
    for name in SIZES:
        check_integer(name, getattr(config, name), 1)
    check_integer("num_hidden_layers", config.num_hidden_layers, 0)
    for name in ("attention_dropout", "partial_rotary_factor"):
        check_number(name, getattr(config, name), most=1)
    for name in ("norm_eps", "initializer_range", "rope_theta"):
        check_number(name, getattr(config, name))
    for name in FLAGS:
        check_flag(name, getattr(config, name))
    if config.rope_theta == 0:
        raise ValueError("rope_theta must be above 0, got 0")
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    if heads % groups:
        raise ValueError(
            f"num_attention_heads {heads} must be a multiple of num_key_value_heads {groups}"
        )
    check_pad_token(config)
    _check_rotary(config)


def _check_rotary(config: NemotronConfig) -> None:
    size, factor, turned = config.head_dim, config.partial_rotary_factor, config.features_to_turn
    reference = getattr(config, "reference", None)
    check_choice("reference", reference, REFERENCES)
    odd = turned % 2 and reference != "transformers"
    if odd or (factor and not turned) or turned + turned % 2 > size:  # type: ignore[operator]
        raise ValueError(
            f"partial_rotary_factor {factor} of head_dim {size} turns {turned} features; it must "
            f"be an even number from 2 to {size}, or none with a factor of 0. transformers turns "
            'one more where it is odd; reference="transformers" does so too'
        )
