"""BERT: an encoder in which every token attends to all others; or a decoder.

    text -> ids -> embeddings -> L x [attention, add & norm, feed-forward, add & norm] -> features

Source   Devlin et al. 2018, arXiv:1810.04805; layers as in Vaswani et al. 2017, arXiv:1706.03762
Oracle   transformers' BertModel; parameter names are the same, letter for letter
Shapes   B batch, T tokens, D hidden, F feed-forward, L layers, P tokens in the cache, S tokens of
         an encoder that a decoder attends to
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.checks import check_choice, check_flag, check_integer, check_number
from tinybert.display import warn_caller
from tinybert.models.activations import activation
from tinybert.models.attention import CrossAttention, SelfAttention
from tinybert.models.base import PreTrainedModel
from tinybert.models.call import BaseModel, Call
from tinybert.models.config import PretrainedConfig, check_pad_token
from tinybert.models.past_key_values import CacheShape
from tinybert.models.recompute import in_chunks
from tinybert.models.relative_positions import POSITION_TYPES
from tinybert.models.stack import LayerOutput, Stack, StackOutput
from tinybert.models.surgery import prune_attention_heads
from tinybert.nn import Dropout, Embedding, KeyValueCache, LayerNorm, Linear, Module
from tinybert.nn.cache import LayerCache
from tinybert.outputs import BaseModelOutputWithPoolingAndCrossAttentions

__all__ = ["BertConfig", "BertModel"]


class BertConfig(PretrainedConfig):
    """The sizes and options of a BERT. The defaults are those of bert-base-uncased.

    Args:
        vocab_size: V, the number of tokens in the vocabulary.
        hidden_size: D, the features of a token; a multiple of num_attention_heads.
        num_hidden_layers: L. num_attention_heads: H. intermediate_size: F, of the feed-forward.
        hidden_act: the activation of the feed-forward: a name in `activations`, or a function.
        hidden_dropout_prob, attention_probs_dropout_prob: dropout of features and of weights.
        max_position_embeddings: the longest sequence. type_vocab_size: the number of segments.
        initializer_range: the standard deviation of fresh weights.
        layer_norm_eps: added to the variance in LayerNorm.
        pad_token_id: the id of padding, whose embedding is not trained.
        position_embedding_type: "absolute", "relative_key" or "relative_key_query".
        use_cache: whether a decoder returns `past_key_values`.
        classifier_dropout: dropout before a classifier; hidden_dropout_prob if None.
        **options: those of PretrainedConfig, such as is_decoder and num_labels; others are kept.
    """

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


# --- embeddings -----------------------------------------------------------------------------------


class EmbeddingSum(Module):
    """Word + token type + position embeddings. A family adds norm and dropout.

    With relative positions the table of positions exists, and is saved, but is not used.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        size = config.hidden_size
        self.has_positions = config.position_embedding_type == "absolute"
        self.word_embeddings = Embedding(config.vocab_size, size, padding_idx=config.pad_token_id)
        self.position_embeddings = Embedding(config.max_position_embeddings, size)
        self.token_type_embeddings = Embedding(config.type_vocab_size, size)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor | None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_length: int = 0,
    ) -> Tensor:
        """Return (B, T, D) for ids (B, T), or for word embeddings (B, T, D) in their place.

        Token types are 0 by default, positions P, P + 1, ... with P the `past_length`.
        """
        words, types, positions = (
            self.word_embeddings,
            self.token_type_embeddings,
            self.position_embeddings,
        )
        x = words(input_ids, name="input_ids") if inputs_embeds is None else inputs_embeds
        if token_type_ids is None:
            x = x + types.weight[0]
        else:
            x = x + types(token_type_ids, name="token_type_ids")
        if not self.has_positions:
            return x
        if position_ids is None:
            return x + positions.weight[past_length : past_length + x.shape[1]]
        return x + positions(position_ids, name="position_ids")


class BertEmbeddings(EmbeddingSum):
    """Word + token type + position embeddings, normalised."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.LayerNorm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, *inputs: Any) -> Tensor:
        """Return (B, T, D); the inputs are those of EmbeddingSum."""
        return self.dropout(self.LayerNorm(super().forward(*inputs)))


# --- a layer --------------------------------------------------------------------------------------


class BertOutput(Module):
    """The end of each part of a layer: project, dropout, add the input, normalise (post-LN)."""

    def __init__(self, config: Any, in_features: int) -> None:
        super().__init__()
        self.dense = Linear(in_features, config.hidden_size)
        self.LayerNorm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Map x (B, T, in) and residual (B, T, D) to (B, T, D)."""
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


class BertAttention(Module):
    """Attention, then projection, residual and norm."""

    def __init__(self, config: Any, attention: SelfAttention) -> None:
        super().__init__()
        self.self = attention
        self.output = BertOutput(config, config.hidden_size)

    def forward(self, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor | None]:
        """Map (B, T, D) to (B, T, D), and the attention weights if requested."""
        context, weights = self.self(x, *rest)
        return self.output(context, x), weights


class BertIntermediate(Module):
    """The first half of the feed-forward block: D to F features, and the activation."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.intermediate_size)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, F)."""
        if self.activation is F.gelu and not self.dense.is_watched:
            return F.linear_gelu(x, self.dense.weight, self.dense.bias)
        return self.activation(self.dense(x))


class TransformerLayer(Module):
    """Attention, cross-attention (in a decoder that has it), feed-forward; a family adds the parts.

    Attributes:
        attention, crossattention: modules of (x, call, past, head_mask).
    """

    attention: Any
    crossattention: Any

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.chunk_size = config.chunk_size_feed_forward

    def forward(
        self, x: Tensor, call: Any, past: LayerCache | None, head_mask: Tensor | None
    ) -> LayerOutput:
        """Map x (B, T, D) to (B, T, D), and attention weights if requested. Keys and values of x
        are appended to `past`.
        """
        x, weights = self.attention(x, call, past, head_mask)
        cross_weights = None
        if call.encoder_states is not None:
            x, cross_weights = self.crossattention(x, call, past, head_mask)
        size = self.chunk_size
        x = in_chunks(self.feed_forward, x, size) if size else self.feed_forward(x)
        return LayerOutput(x, weights, cross_weights)

    def feed_forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, D) to (B, T, D), each token separately."""
        raise NotImplementedError


class BertLayer(TransformerLayer):
    """Attention and feed-forward, each followed by residual and norm (post-LN)."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.attention = BertAttention(config, SelfAttention(config))
        if config.add_cross_attention:  # no distance is defined between tokens of two sequences
            self.crossattention = BertAttention(config, CrossAttention(config, relative=False))
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config, config.intermediate_size)

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.output(self.intermediate(x), x)


# --- the model ------------------------------------------------------------------------------------


class BertEncoder(Module):
    """The L layers."""

    layer_class: ClassVar[type[Any]] = BertLayer

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layer = Stack(self.layer_class(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor, call: Any) -> StackOutput:
        """Run x (B, T, D) through the layers."""
        return self.layer(x, call)


class Pooler(Module):
    """One vector for the whole input: the first token, projected, through tanh."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, D)."""
        return self.dense(x[:, 0]).tanh()


class BertPreTrainedModel(PreTrainedModel):
    """What all models of the BERT family share: their config, and how they are called."""

    config_class: ClassVar[type[PretrainedConfig]] = BertConfig
    base_model_prefix: ClassVar[str] = "bert"
    supports_gradient_checkpointing: ClassVar[bool] = True
    config: Any

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model. Each class accepts the arguments that its signature lists.

        Args:
            input_ids: (B, T) token ids; or `inputs_embeds` (B, T, D), word embeddings.
            attention_mask: (B, P + T) or (B, T, P + T), 1 for tokens and 0 for padding; P is the
                number of tokens in `past_key_values`. A decoder also hides later tokens, unless the
                mask has three axes. Padding gets zeros, or is computed: see `nn/packing.py`.
            token_type_ids: (B, T), 0 for the first segment and 1 for the second; 0 by default.
            position_ids: (B, T); P, P + 1, ... by default, also where there is padding.
            head_mask: (H,) or (L, H), a factor for each attention head.
            encoder_hidden_states: (B, S, D), what the cross-attention of a decoder attends to;
                `encoder_attention_mask`: (B, S) or (B, T, S), its mask. An encoder ignores both.
            labels, next_sentence_label, start_positions, end_positions: the targets, for the loss;
                see the class and its `answer`.
            past_key_values: the cache of an earlier call of a decoder: a tuple, which is not
                changed, or a KeyValueCache, which is. `input_ids` are then the new tokens only.
            use_cache: whether a decoder returns `past_key_values`; the config's value if None.
            output_attentions, output_hidden_states: return what every layer computed; the config's
                values if None.
            return_dict: return a ModelOutput (True) or a plain tuple; the config's value if None.

        All may be Tensors, arrays or lists. Raises ValueError or TypeError naming the argument for
        wrong shapes and dtypes, ids out of range, and sequences longer than
        max_position_embeddings.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define forward")


class BertModel(BertPreTrainedModel, BaseModel):
    """BERT without a head: token ids in, features out.

    Calling it returns BaseModelOutputWithPoolingAndCrossAttentions; with `return_dict=False` a
    tuple of last_hidden_state, pooler_output (or None), and those of past_key_values,
    hidden_states, attentions and cross_attentions that are not None.

    Args:
        config: the sizes and options. With `is_decoder` a token attends only to earlier ones, and a
            cache can be kept; with `add_cross_attention` also to an encoder's output.
        add_pooling_layer: whether there is a pooler.

    Raises ValueError for options that are out of range or contradict each other.
    """

    embeddings_class: ClassVar[type[Any]] = BertEmbeddings
    encoder_class: ClassVar[type[Any]] = BertEncoder

    def __init__(self, config: Any, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        _check_config(config)
        size, positions = config.hidden_size, config.max_position_embeddings
        self.reserve(
            size * (config.vocab_size + positions + config.type_vocab_size),
            size * (4 * size + 2 * config.intermediate_size),
        )
        self.embeddings: Any = self.embeddings_class(config)
        self.encoder: Any = self.encoder_class(config)
        self.pooler = Pooler(config) if add_pooling_layer else None
        if config.pruned_heads:
            self.prune_heads(config.pruned_heads)
        self.init_weights()

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, encoder_hidden_states=None,
        encoder_attention_mask=None, past_key_values=None, use_cache=None,
        output_attentions=None, output_hidden_states=None, return_dict=None,
    ) -> Any:  # fmt: skip
        call = self.read_call(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids,
            position_ids=position_ids, head_mask=head_mask, inputs_embeds=inputs_embeds,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask, past_key_values=past_key_values,
            use_cache=use_cache, output_attentions=output_attentions,
            output_hidden_states=output_hidden_states, return_dict=return_dict,
        )  # fmt: skip
        x = self.embeddings(
            call.input_ids, call.token_type_ids, call.position_ids, call.inputs_embeds,
            call.past_length,
        )  # (B, T, D)  # fmt: skip
        run = self.encoder(x, call)
        x = run.last_hidden_state  # (B, T, D)
        pooled = None if self.pooler is None else self.pooler(x)  # (B, D)
        extras = (run.hidden_states, call.new_cache(), run.attentions, run.cross_attentions)
        if call.return_dict:
            output = BaseModelOutputWithPoolingAndCrossAttentions(x, pooled, *extras)
            output.packing = call.packing
            return output
        # transformers' tuple has another order, and an entry for the pooler even without one
        hidden_states, cache, *weights = extras
        return (x, pooled, *(e for e in (cache, hidden_states, *weights) if e is not None))

    # --- parts ------------------------------------------------------------------------------------

    @property
    def stack(self) -> Stack:
        """The layers of the model."""
        return self.encoder.layer

    @classmethod
    def _constructor_options(cls) -> tuple[str, ...]:
        return ("add_pooling_layer",)

    def get_input_embeddings(self) -> Embedding:
        """Return the word embeddings."""
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, embeddings: Embedding) -> None:
        """Replace the word embeddings."""
        self.embeddings.word_embeddings = embeddings

    def _prune_layer(self, layer: int, heads: set[int]) -> None:
        block = self.stack[layer].attention
        prune_attention_heads(block.self, block.output.dense, heads)

    # --- reading a call ---------------------------------------------------------------------------

    def make_cache(self, limit: int | None = None) -> KeyValueCache | None:
        """Return an empty cache of a decoder, to pass as `past_key_values`; None for an encoder."""
        return KeyValueCache(len(self.stack), limit=limit) if self.is_decoder else None

    def cache_shape(self, batch: int) -> CacheShape:
        """Return the sizes of the cache for a batch."""
        config = self.config
        return CacheShape(
            batch,
            heads=[len(layer.attention.self.kept_heads) for layer in self.stack],
            size=config.hidden_size // config.num_attention_heads,
            cross_heads=config.num_attention_heads if config.add_cross_attention else 0,
        )

    def check_length(self, name: str, length: int, past: int) -> None:
        """Raise ValueError if the sequence is longer than the table of positions."""
        limit = self.config.max_position_embeddings
        if past + length > limit:
            cached = f" after {past} in the cache" if past else ""
            raise ValueError(
                f"{name} has {length} tokens{cached}, but max_position_embeddings is {limit}; "
                f"tokenize with truncation=True, max_length={limit}"
            )

    def needs_matrix(self, call: Call) -> bool:
        """Return whether a decoder's mask must hold the causal rule; for relative positions too."""
        return self.config.position_embedding_type != "absolute" or super().needs_matrix(call)

    def read_call(self, **arguments: Any) -> Call:
        """Return the call as a `Call`. Warn if the mask hides the first token of every text: it is
        probably `token_type_ids`, passed as the second argument. (Padding on the left leaves at
        least one text without padding.)
        """
        call = super().read_call(**arguments)
        ids, mask = call.input_ids, arguments.get("attention_mask")
        if (
            ids is not None
            and mask is not None
            and (mask := as_tensor(mask, self.device)).shape == ids.shape
        ):
            hidden = (mask.data[:, 0] == 0) & (ids.data[:, 0] != self.config.pad_token_id)
            if hidden.size and bool(hidden.all()):
                warn_caller(
                    "attention_mask hides the first token of every text; if it holds "
                    "token_type_ids, pass them by name: model(input_ids, token_type_ids=...)",
                )
        return call


def _check_config(config: Any) -> None:
    for name in ("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size"):
        check_integer(name, getattr(config, name), 1)
    for name in ("max_position_embeddings", "type_vocab_size"):
        check_integer(name, getattr(config, name), 1)
    for name in ("num_hidden_layers", "chunk_size_feed_forward"):
        check_integer(name, getattr(config, name), 0)
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        check_number(name, getattr(config, name), most=1)
    check_number("classifier_dropout", config.classifier_dropout, most=1, optional=True)
    for name in ("layer_norm_eps", "initializer_range"):
        check_number(name, getattr(config, name))
    for name in ("is_decoder", "add_cross_attention", "tie_word_embeddings", "use_cache"):
        check_flag(name, getattr(config, name))
    check_pad_token(config)
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"hidden_size {config.hidden_size} must be a multiple of "
            f"num_attention_heads {config.num_attention_heads}"
        )
    check_choice("position_embedding_type", config.position_embedding_type, POSITION_TYPES)
    if config.add_cross_attention and not config.is_decoder:
        raise ValueError("add_cross_attention=True is for decoders; set is_decoder=True")
