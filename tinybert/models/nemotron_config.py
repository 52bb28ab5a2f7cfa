"""`NemotronConfig`: the sizes and options of a Nemotron, and those of the published ones."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from tinybert.autograd import Tensor
from tinybert.models.config import PretrainedConfig

# The share of a head that is turned by the position, as other programs spell it.
DEFAULT_FACTOR = 0.5
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
            rope_percentage and rotary_percentage are taken for the same.
        rope_scaling: is kept, and has no effect.
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
        partial_rotary_factor: float = DEFAULT_FACTOR,
        attention_bias: bool = False,
        attention_dropout: float = 0.0,
        mlp_bias: bool = False,
        **options: Any,
    ) -> None:
        partial_rotary_factor = _one_spelling(partial_rotary_factor, options)
        super().__init__(
            pad_token_id=pad_token_id,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            tie_word_embeddings=tie_word_embeddings,
            **options,
        )
        if head_dim is None and num_attention_heads:
            head_dim = hidden_size // num_attention_heads
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
        self.partial_rotary_factor = partial_rotary_factor
        self.attention_bias = attention_bias
        self.attention_dropout = attention_dropout
        self.mlp_bias = mlp_bias

    @classmethod
    def preset(cls, name: str, **options: Any) -> NemotronConfig:
        """The config of a published shape: one of `PRESETS`; options win over it."""
        if name not in PRESETS:
            raise ValueError(f"name must be one of {sorted(PRESETS)}, got {name!r}")
        return cls(**{**PRESETS[name], **options})

    @property
    def rotary_dim(self) -> int:
        """How many features of a head are turned by its position: an even number."""
        turned = int(self.head_dim * self.partial_rotary_factor)  # type: ignore[operator]
        return turned + turned % 2


def _one_spelling(factor: float, options: dict[str, Any]) -> float:
    """The share that is turned, whatever it is called; its other names are taken out of options."""
    given = {name: options.pop(name) for name in SPELLINGS if options.get(name) is not None}
    if given and factor != DEFAULT_FACTOR:
        given["partial_rotary_factor"] = factor
    if len(set(given.values())) > 1:
        raise ValueError(f"partial_rotary_factor has several values: {given}")
    unknown = [name for name in options if LIKE_IT.fullmatch(name)]
    if unknown:
        raise ValueError(
            f"{unknown[0]} is not known; the share of a head that is turned is called "
            f"partial_rotary_factor (or {', '.join(SPELLINGS)})"
        )
    return next(iter(given.values()), factor)


SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads",
    "head_dim", "max_position_embeddings",
)  # fmt: skip


def check_config(config: NemotronConfig) -> None:
    """Raise ValueError, naming the option, for what no Nemotron can be made of."""
    for name in (*SIZES, "num_hidden_layers"):
        size, least = getattr(config, name), int(name != "num_hidden_layers")
        if not isinstance(size, int) or isinstance(size, bool) or size < least:
            raise ValueError(f"{name} must be a whole number from {least}, got {size!r}")
    for name, most in (
        ("attention_dropout", 1), ("partial_rotary_factor", 1), ("norm_eps", math.inf),
        ("initializer_range", math.inf), ("rope_theta", math.inf),
    ):  # fmt: skip
        value = getattr(config, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and 0 <= value <= most and value < math.inf):
            limit = "from 0" if most == math.inf else f"from 0 to {most}"
            raise ValueError(f"{name} must be a number {limit}, got {value!r}")
    if config.rope_theta == 0:
        raise ValueError("rope_theta must be above 0, got 0")
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    if heads % groups:
        raise ValueError(
            f"num_attention_heads {heads} must be a multiple of num_key_value_heads {groups}"
        )
    pad = config.pad_token_id
    if pad is not None and not (isinstance(pad, int) and 0 <= pad < config.vocab_size):
        raise ValueError(
            f"pad_token_id must be from 0 to {config.vocab_size - 1} or None, got {pad!r}"
        )
    _check_rotary(config)


def _check_rotary(config: NemotronConfig) -> None:
    size, factor = config.head_dim, config.partial_rotary_factor
    turned = int(size * factor)  # type: ignore[operator]
    odd = turned % 2 and getattr(config, "reference", None) != "transformers"
    if odd or (factor and not turned) or config.rotary_dim > size:  # type: ignore[operator]
        raise ValueError(
            f"partial_rotary_factor {factor} of head_dim {size} turns {turned} features; it must "
            f"be an even number from 2 to {size}, or none with a factor of 0"
        )
