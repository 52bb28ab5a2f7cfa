"""`NemotronConfig`: the sizes and options of a Nemotron, with the published sizes."""

from __future__ import annotations

import re
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

# How other programs spell partial_rotary_factor, the rotated share of a head's features.
SPELLINGS = ("rope_percent", "rope_percentage", "rotary_percentage")
ROPE = ("rope_theta", "partial_rotary_factor")  # what rope_parameters stores besides the type
LIKE_IT = re.compile(r"(?!.*scaling)(partial_)?(rotary|rope)\w*(factor|percent\w*|pct|fraction)")

# The shapes of the published models (Parmar et al. 2024, arXiv:2402.16819; Muralidharan et al.
# 2024, arXiv:2407.14679); all other options have their default.
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
    """The sizes and options of a Nemotron; the defaults are those of Nemotron-4 15B.

    Args:
        vocab_size: V, the number of tokens in the vocabulary.
        hidden_size: D, the size of hidden states.
        intermediate_size: F, the size of the feed-forward layers.
        num_hidden_layers: L, the number of layers.
        num_attention_heads: H, the number of query heads.
        head_dim: K, the size of a head; hidden_size // num_attention_heads if None.
        num_key_value_heads: G, the number of key and value heads (grouped-query attention); as many
            as query heads if None.
        hidden_act: the activation of the feed-forward layers, a name or a function.
        max_position_embeddings: the longest sequence that the model was trained for.
        initializer_range: the standard deviation of fresh weights.
        norm_eps: the epsilon of the layer norms.
        use_cache: the default of the argument `use_cache` of a call.
        pad_token_id, bos_token_id, eos_token_id: ids of the special tokens.
        tie_word_embeddings: whether the head shares the weight of the token embeddings.
        rope_theta: the base of the rotary frequencies; 10,000 if not given.
        partial_rotary_factor: the share of a head's features that rotary position embedding
            rotates; 0.5 if not given. rope_percent, rope_percentage and rotary_percentage are
            accepted in its place.
        attention_bias, mlp_bias: whether the layers of attention and feed-forward have biases.
        attention_dropout: the dropout of attention weights in training.
        **options: options of `PretrainedConfig`; rope_parameters, the dict in which transformers 5
            stores rope_theta and partial_rotary_factor; rope_scaling, which has no effect and is
            not saved; classifier_dropout, of the token classifier in training (0.1 if not given);
            reference="transformers", which allows an odd number of rotated features and, like
            transformers, rotates one more then.

    Raises ValueError for two spellings of partial_rotary_factor or two values of rope_theta that
    differ, for unknown names that resemble one, and for a rope_type other than "default".
    """

    model_type = "nemotron"
    presets = tuple(PRESETS)

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
        rope_theta: float | None = None,
        partial_rotary_factor: float | None = None,
        attention_bias: bool = False,
        attention_dropout: float = 0.0,
        mlp_bias: bool = False,
        **options: Any,
    ) -> None:
        given = {"rope_theta": rope_theta, "partial_rotary_factor": partial_rotary_factor}
        options = lifted({**options, **given})
        rope_theta = options.pop("rope_theta")
        factor = _one_spelling(options.pop("partial_rotary_factor"), options)
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
        self.rope_theta = 10000.0 if rope_theta is None else rope_theta
        self.partial_rotary_factor = 0.5 if factor is None else factor
        self.attention_bias = attention_bias
        self.attention_dropout = attention_dropout
        self.mlp_bias = mlp_bias

    @classmethod
    def preset(cls, name: str, **options: Any) -> NemotronConfig:
        """Return the config of a published model, one of `PRESETS`; `options` override it."""
        check_choice("name", name, sorted(PRESETS))
        return cls(**{**PRESETS[name], **options})

    @classmethod
    def from_dict(cls, options: dict[str, Any], **overrides: Any) -> Any:
        """Return a config made of a dict; an override of rope_theta or partial_rotary_factor, in
        any spelling, replaces all spellings in the dict.
        """
        overrides = lifted(overrides)
        for spellings in ({"rope_theta"}, {"partial_rotary_factor", *SPELLINGS}):
            if spellings & set(overrides):
                options = _without(spellings, options)
        return super().from_dict(lifted(options), **overrides)

    def to_diff_dict(self) -> dict[str, Any]:
        """Return the options to save, without rope_scaling: transformers 5 would apply it."""
        return {k: v for k, v in super().to_diff_dict().items() if k != "rope_scaling" or not v}

    @classmethod
    def _known_options(cls) -> set[str]:
        optional = {"rope_scaling", "classifier_dropout", "reference", "rope_parameters"}
        return {*super()._known_options(), *SPELLINGS, *optional}

    @property
    def features_to_turn(self) -> int:
        """The number of rotated features of a head: its share, rounded down."""
        return int(self.head_dim * self.partial_rotary_factor)  # type: ignore[operator]


def lifted(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with rope_theta and partial_rotary_factor in place of rope_parameters.

    Raises ValueError if both have a value and the values differ, for unknown entries of
    rope_parameters, and for a rope_type other than "default".
    """
    options = dict(options)
    rope = options.pop("rope_parameters", None)
    if rope is None:
        return options
    scaling = options.get("rope_scaling")  # transformers 5 uses it in place of rope_parameters
    for name, found in (("rope_parameters", rope), ("rope_scaling", scaling or {})):
        check(name, found, isinstance(found, dict), "a dict")
        kind = found.get("rope_type", found.get("type", "default"))
        if kind != "default":
            raise ValueError(
                f"rope_type {kind!r:.80} of {name} is not supported: a Nemotron has 'default'"
            )
    unknown = sorted(map(str, set(rope) - {*ROPE, "rope_type", "type"}))
    if unknown:
        raise ValueError(
            f"rope_parameters has {', '.join(unknown):.200}; a Nemotron has only rope_type, "
            f"{', '.join(ROPE)}"
        )
    for name in ROPE:
        value, other = rope.get(name), options.get(name)
        if value is None:
            continue
        if other not in (None, value):
            raise ValueError(
                f"{name} is {other!r:.80}, but {value!r:.80} in rope_parameters. Choose one: "
                f"from_pretrained(..., {name}=...)"
            )
        options[name] = value
    return options


def _without(names: set[str], options: dict[str, Any]) -> dict[str, Any]:
    """Return options without some names, in rope_parameters too."""
    kept = {name: value for name, value in options.items() if name not in names}
    rope = kept.get("rope_parameters")
    return kept | ({"rope_parameters": _without(names, rope)} if isinstance(rope, dict) else {})


def _one_spelling(factor: float | None, options: dict[str, Any]) -> float | None:
    """Return partial_rotary_factor under any of its names; those are removed from `options`."""
    given = {name: options.pop(name, None) for name in SPELLINGS}
    given = {n: v for n, v in {"partial_rotary_factor": factor, **given}.items() if v is not None}
    if len(set(given.values())) > 1:
        raise ValueError(
            f"partial_rotary_factor has several values: {given}; transformers uses "
            "partial_rotary_factor, or 0.5, and ignores the others. Choose one: "
            "from_pretrained(..., partial_rotary_factor=...)"
        )
    unknown = [name for name in options if LIKE_IT.fullmatch(name)]
    if unknown:
        raise ValueError(
            f"{unknown[0]} is not known; the rotated share of a head's features is "
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
    """Raise ValueError, naming the option, for values that are not possible."""
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
            f"partial_rotary_factor {factor} of head_dim {size} rotates {turned} features; it must "
            f"be an even number from 2 to {size}, or 0 with a factor of 0. transformers rotates "
            'one more if it is odd; reference="transformers" does the same'
        )
