"""What BERT and MegatronBERT share: how a call is read, the flow through a layer, the model.

A family adds its embeddings, where its norms stand, and its heads.

Shapes   B batch, T tokens, D hidden, H heads, K = D / H head size, F feed-forward, S tokens of an
         encoder that a decoder looks at
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.checks import check_choice, check_flag, check_integer, check_number
from tinybert.models.activations import activation
from tinybert.models.attention import (
    POSITION_TYPES,
    CallInputs,
    SelfAttention,
    prune_attention_heads,
)
from tinybert.models.base import PreTrainedModel
from tinybert.models.config import check_pad_token
from tinybert.models.encoder import Encoder, LayerResult, in_chunks
from tinybert.models.inputs import (
    check_length,
    check_shape,
    choose,
    ids_like,
    read_tokens,
    tensor_of,
    warn_of_token_types,
)
from tinybert.models.masks import additive_mask, per_layer_head_mask
from tinybert.models.past import CacheShape, keeps_cache, read_cache, returned_cache
from tinybert.nn import Dropout, Embedding, KeyValueCache, Linear, Module
from tinybert.nn.cache import LayerCache
from tinybert.outputs import BaseModelOutputWithPoolingAndCrossAttentions


class Embeddings(Module):
    """Word + token type + position: what a token is before it has looked around.

    With relative positions the table of positions is there, and saved, but not used: the attention
    adds what distances say.
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
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        past: int = 0,
    ) -> Tensor:
        """Ids (B, T), or word embeddings (B, T, D) in their place, to (B, T, D).

        `past` is the number of tokens that are in the cache: positions count on from there.
        """
        if inputs_embeds is None:
            inputs_embeds = self.word_embeddings(input_ids, name="input_ids")
        types, positions = self.token_type_embeddings, self.position_embeddings
        if token_type_ids is None:
            x = inputs_embeds + types.weight[0]
        else:
            x = inputs_embeds + types(token_type_ids, name="token_type_ids")
        if self.has_positions and position_ids is None:
            x = x + positions.weight[past : past + x.shape[1]]
        elif self.has_positions:
            x = x + positions(position_ids, name="position_ids")
        return self.dropout(self.normalise(x))

    def normalise(self, x: Tensor) -> Tensor:
        """The norm between sum and dropout, in a family that has one there."""
        return x


class AttentionBlock(Module):
    """Attention, to the sequence itself or to another one, and what follows until the residual.

    Attributes:
        self: the attention. output: the module of (context, x) that ends the block.
    """

    self: SelfAttention
    output: Any

    def forward(self, x: Tensor, *inputs: Any) -> tuple[Tensor, Tensor | None]:
        """(B, T, D) to (B, T, D), and the weights if asked for."""
        context, weights = self.self(self.before(x), *inputs)
        return self.output(context, x), weights

    def before(self, x: Tensor) -> Tensor:
        """The norm before the attention, in a family that has one there."""
        return x

    def prune_heads(self, heads: set[int]) -> None:
        """Take heads out, by their original numbers."""
        prune_attention_heads(self.self, self.output.dense, heads)


class Intermediate(Module):
    """The wide middle of the feed-forward block: D to F features, and the activation."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.intermediate_size)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, F)."""
        if self.activation is F.gelu and not self.dense.is_watched:
            return F.linear_gelu(x, self.dense.weight, self.dense.bias)
        return self.activation(self.dense(x))


class Layer(Module):
    """Look at the others (attention), at the encoder (cross-attention, in a decoder that has it),
    then think about it (feed-forward).

    Attributes:
        attention, crossattention: AttentionBlocks. feed_forward: a function of x (B, T, D).
    """

    attention: AttentionBlock
    crossattention: AttentionBlock

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.chunk_size = config.chunk_size_feed_forward

    def forward(
        self,
        x: Tensor,
        call: CallInputs,
        head_mask: Tensor | None = None,
        past: LayerCache | None = None,
    ) -> LayerResult:
        """x (B, T, D) to (B, T, D), with weights as `call` asks for them; `past` has what came
        before, and gets the keys and values of x.
        """
        wanted = call.output_attentions
        before = past.length if past is not None else 0
        x, weights = self.attention(x, call.mask, head_mask, past, wanted)
        cross_weights = None
        if call.memory is not None:
            x, cross_weights = self.crossattention(
                x, call.memory_mask, head_mask, past, wanted, call.memory, before
            )
        x = in_chunks(self.feed_forward, x, self.chunk_size)
        return LayerResult(x, weights, cross_weights)

    def feed_forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) to (B, T, D), each token on its own."""
        raise NotImplementedError


class Pooler(Module):
    """One vector for the whole input: the first token, projected, through tanh."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, D)."""
        return self.dense(x[:, 0]).tanh()


class BertLikeModel(PreTrainedModel):
    """A model without a head: token ids in, features out.

    Args:
        config: the sizes and options. With `is_decoder` a token looks only at those before it, and
            keys and values can be kept for the next call; with `add_cross_attention` as well, at
            the output of an encoder.
        add_pooling_layer: whether there is a pooler.

    Raises ValueError for a hidden size that the heads do not divide, and for options that do not
    exist or contradict each other.
    """

    base_model_prefix: ClassVar[str] = "bert"
    supports_gradient_checkpointing: ClassVar[bool] = True
    config: Any

    def __init__(self, config: Any, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        _check_config(config)
        self.embeddings = self.make_embeddings(config)
        self.encoder = self.make_encoder(config)
        self.pooler = Pooler(config) if add_pooling_layer else None
        if config.pruned_heads:
            self.prune_heads(config.pruned_heads)
        self.init_weights()

    def make_embeddings(self, config: Any) -> Embeddings:
        """The family's embeddings."""
        raise NotImplementedError

    def make_encoder(self, config: Any) -> Encoder:
        """The family's layers."""
        raise NotImplementedError

    @classmethod
    def _constructor_options(cls) -> tuple[str, ...]:
        return ("add_pooling_layer",)

    def get_input_embeddings(self) -> Embedding:
        """The table of word embeddings."""
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, embeddings: Embedding) -> None:
        """Exchange the table of word embeddings."""
        self.embeddings.word_embeddings = embeddings

    def _prune_layer(self, layer: int, heads: set[int]) -> None:
        self.encoder.layer[layer].attention.prune_heads(heads)

    def make_cache(self, limit: int | None = None) -> KeyValueCache | None:
        """An empty cache of a decoder, to be given as `past_key_values` again and again; None for
        an encoder. See PreTrainedModel.
        """
        config = self.config
        return KeyValueCache(config.num_hidden_layers, limit=limit) if config.is_decoder else None

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Compute the features of every token.

        Args:
            input_ids: (B, T) token ids; or `inputs_embeds` (B, T, D) in their place.
            attention_mask: (B, P + T) or (B, T, P + T), 1 where a token may be looked at, 0 for
                padding; P is the number of tokens in `past_key_values`, 0 without. A decoder adds
                that nobody looks ahead, unless the mask has three axes.
            token_type_ids: (B, T), 0 for the first segment and 1 for the second; zeros by default.
            position_ids: (B, T); P, P + 1, ... by default, whatever the mask says.
            head_mask: (H,) or (L, H) factors for the heads.
            encoder_hidden_states: (B, S, D), what a decoder with cross-attention looks at, and
            encoder_attention_mask: (B, S) or (B, T, S). An encoder takes no notice of them.
            past_key_values: of an earlier call of a decoder, a tuple, which is not changed, or a
                KeyValueCache, which is; then `input_ids` are the new tokens.
            use_cache: whether a decoder returns `past_key_values`, of the kind that was given, else
                as a tuple; the config's value if None.
            output_attentions, output_hidden_states, return_dict: the config's values if None.

        All may be Tensors, arrays or lists. Returns BaseModelOutputWithPoolingAndCrossAttentions,
        or a plain tuple if `return_dict` is False: last_hidden_state, pooler_output (or None), and
        of past_key_values, hidden_states, attentions, cross_attentions those that there are.
        Raises ValueError naming the argument for wrong shapes, ids out of range, and sequences
        longer than `max_position_embeddings`.
        """
        config, like = self.config, self.embeddings.word_embeddings.weight
        input_ids, inputs_embeds = read_tokens(input_ids, inputs_embeds, config.hidden_size, like)
        batch, length = (inputs_embeds if input_ids is None else input_ids).shape[:2]
        if past_key_values is not None and not config.is_decoder:
            raise ValueError("past_key_values is for decoders; set is_decoder=True")
        wanted = config.is_decoder and choose(use_cache, config.use_cache)
        use_cache = keeps_cache(wanted, self.encoder.computes_again)
        cache = read_cache(past_key_values, use_cache, self._cache_shape(batch), like)
        before = cache.length if cache is not None else 0
        tokens = "inputs_embeds" if input_ids is None else "input_ids"
        check_length(tokens, length, before, config.max_position_embeddings)
        if attention_mask is not None and input_ids is not None:
            warn_of_token_types(attention_mask, input_ids, config.pad_token_id)
        call = self._call_inputs(
            attention_mask, encoder_hidden_states, encoder_attention_mask, batch, length, before
        )
        call.output_attentions = choose(output_attentions, config.output_attentions)
        x = self.embeddings(
            input_ids,
            ids_like("token_type_ids", token_type_ids, batch, length, self.device),
            ids_like("position_ids", position_ids, batch, length, self.device),
            inputs_embeds,
            before,
        )  # (B, T, D)
        head_masks = per_layer_head_mask(
            head_mask, config.num_hidden_layers, config.num_attention_heads, like
        )
        layers = [None] * config.num_hidden_layers if cache is None else cache.layers
        run = self.encoder(x, call, head_masks, layers)
        last = run.hidden_states[-1]
        output = BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=last,
            pooler_output=self.pooler(last) if self.pooler is not None else None,
            past_key_values=returned_cache(cache, past_key_values) if use_cache else None,
            hidden_states=run.hidden_states
            if choose(output_hidden_states, config.output_hidden_states)
            else None,
            attentions=run.attentions,
            cross_attentions=run.cross_attentions,
        )
        if choose(return_dict, config.return_dict):
            return output
        extras = (output.past_key_values, output.hidden_states, output.attentions,
                  output.cross_attentions)  # fmt: skip
        # The plain tuple keeps the place of a pooler that is not there, as transformers does.
        return (last, output.pooler_output, *(extra for extra in extras if extra is not None))

    def _call_inputs(
        self,
        attention_mask: Any,
        encoder_hidden_states: Any,
        encoder_attention_mask: Any,
        batch: int,
        length: int,
        before: int,
    ) -> CallInputs:
        """The masks and the encoder's output in the form that the layers take."""
        config, like = self.config, self.embeddings.word_embeddings.weight
        mask = additive_mask(
            attention_mask, batch, length, before + length, like, causal=config.is_decoder
        )
        memory = memory_mask = None
        if config.is_decoder and encoder_hidden_states is not None:
            if not config.add_cross_attention:
                raise ValueError(
                    "encoder_hidden_states needs cross-attention: add_cross_attention=True"
                )
            memory = tensor_of("encoder_hidden_states", encoder_hidden_states, self.device)
            memory = memory.to(like.dtype)
            check_shape("encoder_hidden_states", memory, (batch, "S", config.hidden_size))
            memory_mask = additive_mask(
                encoder_attention_mask, batch, length, memory.shape[1], like,
                name="encoder_attention_mask",
            )  # fmt: skip
        return CallInputs(mask, memory, memory_mask, output_attentions=False)

    def _cache_shape(self, batch: int) -> CacheShape:
        config = self.config
        return CacheShape(
            batch,
            heads=[len(layer.attention.self.kept_heads) for layer in self.encoder.layer],
            size=config.hidden_size // config.num_attention_heads,
            cross_heads=config.num_attention_heads if config.add_cross_attention else 0,
        )


SIZES = (
    "vocab_size", "hidden_size", "num_attention_heads", "intermediate_size",
    "max_position_embeddings", "type_vocab_size",
)  # fmt: skip


def _check_config(config: Any) -> None:
    for name in SIZES:
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
