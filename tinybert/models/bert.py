"""BERT: an encoder whose every token looks at all others.

Source   Devlin et al. 2018, arXiv:1810.04805; layers as in Vaswani et al. 2017, arXiv:1706.03762
Oracle   transformers' BertModel; parameter names are the same, letter for letter

Shapes   B batch, T tokens, D hidden, H heads, K = D / H head size, F feed-forward
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.models.activations import activation
from tinybert.models.base import PreTrainedModel
from tinybert.models.config import PretrainedConfig
from tinybert.models.masks import additive_mask, per_layer_head_mask
from tinybert.outputs import BaseModelOutputWithPoolingAndCrossAttentions
from tinybert.nn import Dropout, Embedding, LayerNorm, Linear, Module, ModuleList
from tinybert.nn.attention import attend, merge_heads, split_heads


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


class BertEmbeddings(Module):
    """Word + token type + position, normalised: what a token is before it has looked around."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.word_embeddings = Embedding(config.vocab_size, size, padding_idx=config.pad_token_id)
        self.position_embeddings = Embedding(config.max_position_embeddings, size)
        self.token_type_embeddings = Embedding(config.type_vocab_size, size)
        self.LayerNorm = LayerNorm(size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        inputs_embeds: Tensor | None,
    ) -> Tensor:
        """Ids (B, T), or word embeddings (B, T, D) in their place, to (B, T, D)."""
        if inputs_embeds is None:
            inputs_embeds = self.word_embeddings(input_ids, name="input_ids")
        types, positions = self.token_type_embeddings, self.position_embeddings
        if token_type_ids is None:
            x = inputs_embeds + types.weight[0]
        else:
            x = inputs_embeds + types(token_type_ids, name="token_type_ids")
        if position_ids is None:
            x = x + positions.weight[: x.shape[1]]
        else:
            x = x + positions(position_ids, name="position_ids")
        return self.dropout(self.LayerNorm(x))


class BertSelfAttention(Module):
    """Every token gathers from all tokens what it needs, in H independent heads."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        size, self.heads = config.hidden_size, config.num_attention_heads
        self.query = Linear(size, size)
        self.key = Linear(size, size)
        self.value = Linear(size, size)
        self.dropout = Dropout(config.attention_probs_dropout_prob)

    def forward(
        self, x: Tensor, mask: Tensor | None, head_mask: Tensor | None, output_attentions: bool
    ) -> tuple[Tensor, Tensor | None]:
        """x (B, T, D) to the gathered (B, T, D), and the weights (B, H, T, T) if asked for."""
        query, key, value = (
            split_heads(project(x), self.heads) for project in (self.query, self.key, self.value)
        )  # (B, H, T, K) each
        context, weights = attend(
            query,
            key,
            value,
            mask,
            dropout_p=self.dropout.p if self.training else 0.0,
            head_mask=head_mask,
            need_weights=output_attentions,
        )
        return merge_heads(context), weights


class BertOutput(Module):
    """The end of both halves of a layer: project, drop, add the input, normalise (post-LN)."""

    def __init__(self, config: BertConfig, in_features: int) -> None:
        super().__init__()
        self.dense = Linear(in_features, config.hidden_size)
        self.LayerNorm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """x (B, T, in) and residual (B, T, D) to (B, T, D)."""
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


class BertAttention(Module):
    """Self-attention with its output block."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.self = BertSelfAttention(config)
        self.output = BertOutput(config, config.hidden_size)

    def forward(self, x: Tensor, *options: Any) -> tuple[Tensor, Tensor | None]:
        """(B, T, D) to (B, T, D), and the weights if asked for."""
        context, weights = self.self(x, *options)
        return self.output(context, x), weights


class BertIntermediate(Module):
    """The wide middle of the feed-forward block: D to F features, and the activation."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.intermediate_size)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, F)."""
        if self.activation is F.gelu and not self.dense.is_watched:
            return F.linear_gelu(x, self.dense.weight, self.dense.bias)
        return self.activation(self.dense(x))


class BertLayer(Module):
    """Look at the others (attention), then think about it (feed-forward)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.chunk_size = config.chunk_size_feed_forward
        self.attention = BertAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config, config.intermediate_size)

    def forward(self, x: Tensor, *options: Any) -> tuple[Tensor, Tensor | None]:
        """(B, T, D) to (B, T, D), and the weights if asked for."""
        x, weights = self.attention(x, *options)
        if not self.chunk_size:
            return self._feed_forward(x), weights
        if x.shape[1] % self.chunk_size:
            raise ValueError(
                f"the sequence length {x.shape[1]} must be a multiple of "
                f"chunk_size_feed_forward {self.chunk_size}"
            )
        parts = [self._feed_forward(part) for part in x.split(self.chunk_size, axis=1)]
        return F.concat(parts, axis=1), weights

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.output(self.intermediate(x), x)


class BertEncoder(Module):
    """L layers, one after the other."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = ModuleList(BertLayer(config) for _ in range(config.num_hidden_layers))

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        head_masks: list[Tensor | None],
        output_attentions: bool,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The hidden states, the input first (L + 1 times (B, T, D)), and the weights asked for."""
        hidden_states, attentions = [x], []
        for layer, head_mask in zip(self.layer, head_masks, strict=True):
            x, weights = layer(x, mask, head_mask, output_attentions)
            hidden_states.append(x)
            if weights is not None:
                attentions.append(weights)
        return hidden_states, attentions


class BertPooler(Module):
    """One vector for the whole input: the first token, projected, through tanh."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, D)."""
        return self.dense(x[:, 0]).tanh()


class BertModel(PreTrainedModel):
    """BERT without a head: token ids in, features out.

    Args:
        config: the sizes and options.
        add_pooling_layer: whether there is a pooler.

    Raises ValueError for a hidden size that the heads do not divide, and for options of modes that
    this class does not have.
    """

    config_class: ClassVar[type[PretrainedConfig]] = BertConfig
    base_model_prefix: ClassVar[str] = "bert"
    config: BertConfig

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        _check_config(config)
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.init_weights()

    @classmethod
    def _constructor_options(cls) -> tuple[str, ...]:
        return ("add_pooling_layer",)

    def get_input_embeddings(self) -> Embedding:
        """The table of word embeddings."""
        return self.embeddings.word_embeddings

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Compute the features of every token.

        Args:
            input_ids: (B, T) token ids; or `inputs_embeds` (B, T, D) in their place.
            attention_mask: (B, T) or (B, T, T), 1 where a token may be looked at, 0 for padding.
            token_type_ids: (B, T), 0 for the first segment and 1 for the second; zeros by default.
            position_ids: (B, T); 0, 1, 2, ... by default, whatever the mask says.
            head_mask: (H,) or (L, H) factors for the heads.
            output_attentions, output_hidden_states, return_dict: the config's values if None.

        All may be Tensors, arrays or lists. Returns BaseModelOutputWithPoolingAndCrossAttentions,
        or a plain tuple if `return_dict` is False.
        Raises ValueError naming the argument for wrong shapes, ids
        out of range, and sequences longer than `max_position_embeddings`.
        """
        config = self.config
        attentions_wanted = _choose(output_attentions, config.output_attentions)
        inputs = self._read_inputs(input_ids, token_type_ids, position_ids, inputs_embeds)
        x = self.embeddings(*inputs)  # (B, T, D)
        batch, length, _ = x.shape
        mask = None
        if attention_mask is not None:
            mask = as_tensor(
                additive_mask(attention_mask, batch, length, length, self.dtype, self.device)
            )
        head_masks = per_layer_head_mask(
            head_mask, config.num_hidden_layers, config.num_attention_heads, x
        )
        hidden_states, attentions = self.encoder(x, mask, head_masks, attentions_wanted)
        last = hidden_states[-1]
        output = BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=last,
            pooler_output=self.pooler(last) if self.pooler is not None else None,
            hidden_states=tuple(hidden_states)
            if _choose(output_hidden_states, config.output_hidden_states)
            else None,
            attentions=tuple(attentions) if attentions_wanted else None,
        )
        if _choose(return_dict, config.return_dict):
            return output
        # The plain tuple keeps the place of a pooler that is not there, as transformers does.
        extras = output.to_tuple()[1 + (self.pooler is not None) :]
        return (output.last_hidden_state, output.pooler_output, *extras)

    def _read_inputs(
        self, input_ids: Any, token_type_ids: Any, position_ids: Any, inputs_embeds: Any
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """The four kinds of input as Tensors on the model's device, with their shapes checked."""
        config, device = self.config, self.device
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give input_ids or inputs_embeds, one and not both")
        if inputs_embeds is not None:
            inputs_embeds = as_tensor(inputs_embeds, device).to(self.dtype)
            _check_shape("inputs_embeds", inputs_embeds, ("B", "T", config.hidden_size))
            batch, length, _ = inputs_embeds.shape
        else:
            input_ids = integers("input_ids", input_ids, device)
            _check_shape("input_ids", input_ids, ("B", "T"))
            batch, length = input_ids.shape
        if length == 0:
            raise ValueError("the sequence has no tokens; it needs at least one")
        if length > config.max_position_embeddings:
            raise ValueError(
                f"the sequence has {length} tokens, but max_position_embeddings is "
                f"{config.max_position_embeddings}; tokenize with truncation=True, "
                f"max_length={config.max_position_embeddings}"
            )
        token_type_ids = _ids_like("token_type_ids", token_type_ids, batch, length, device)
        position_ids = _ids_like("position_ids", position_ids, batch, length, device)
        return input_ids, token_type_ids, position_ids, inputs_embeds


def integers(name: str, value: Any, device: str) -> Tensor:
    """Ids as an integer Tensor; floating arrays that hold whole numbers are accepted."""
    tensor = as_tensor(value, device)
    if tensor.dtype.kind in "iu":
        return tensor
    if tensor.dtype.kind in "bf":
        given = tensor.data.astype("float64")
        if bool((abs(given) < 2.0**53).all()):  # not NaN, and nothing that overflows below
            whole = given.astype("int64")
            if bool((whole == given).all()):
                return as_tensor(whole)
    raise TypeError(f"{name} must be whole numbers, got {tensor.dtype}")


def _ids_like(name: str, value: Any, batch: int, length: int, device: str) -> Tensor | None:
    """Token types or positions (B, T), where one row may stand for all."""
    if value is None:
        return None
    ids = integers(name, value, device)
    if ids.shape not in ((batch, length), (1, length)):
        raise ValueError(f"{name} must have shape ({batch}, {length}), got {ids.shape}")
    return ids


def _check_shape(name: str, tensor: Tensor, expected: tuple[Any, ...]) -> None:
    """Raise unless `tensor` has the axes `expected`: letters for any size, numbers for that one."""
    fits = tensor.ndim == len(expected) and all(
        isinstance(want, str) or size == want
        for size, want in zip(tensor.shape, expected, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(size) for size in expected)
        raise ValueError(f"{name} must have shape ({wanted}), got {tensor.shape}")


def _choose(given: bool | None, default: bool) -> bool:
    return default if given is None else given


SIZES = (
    "vocab_size", "hidden_size", "num_attention_heads", "intermediate_size",
    "max_position_embeddings", "type_vocab_size",
)  # fmt: skip


def _check_config(config: BertConfig) -> None:
    for name in SIZES:
        size = getattr(config, name)
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} must be a whole number from 1, got {size!r}")
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"hidden_size {config.hidden_size} must be a multiple of "
            f"num_attention_heads {config.num_attention_heads}"
        )
    if config.position_embedding_type != "absolute":
        raise ValueError(
            f"position_embedding_type must be 'absolute', got {config.position_embedding_type!r}"
        )
    if config.is_decoder or config.add_cross_attention:
        raise ValueError("is_decoder and add_cross_attention must be False: this is an encoder")
