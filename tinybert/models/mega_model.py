"""MEGA without a head: blocks of gated attention over a moving average.

Source   Ma et al. 2022, arXiv:2209.10655
Oracle   transformers' MegaModel; parameter names are the same, letter for letter

Shapes   B batch, T tokens, D hidden, S tokens of an encoder that a decoder looks at
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import Array, array_module
from tinybert.models.attention import CallInputs
from tinybert.models.base import PreTrainedModel
from tinybert.models.bert_like import Pooler
from tinybert.models.config import PretrainedConfig
from tinybert.models.encoder import LayerResult
from tinybert.models.inputs import check_shape, choose, ids_like, read_tokens, tensor_of
from tinybert.models.masks import read_mask
from tinybert.models.mega_bias import RotaryBias, SimpleBias
from tinybert.models.mega_config import MegaConfig, check_mega_config
from tinybert.models.mega_gated import (
    GatedCrossAttention,
    LayerCache,
    MovingAverageGatedAttention,
)
from tinybert.models.mega_layers import FeedForward
from tinybert.models.past import members_of
from tinybert.nn import (
    BatchNorm,
    DampedEMA,
    Embedding,
    Module,
    ModuleList,
    RMSNorm,
    ScaleNorm,
)
from tinybert.nn.init import normal_
from tinybert.outputs import BaseModelOutputWithPoolingAndCrossAttentions


class MegaEmbeddings(Module):
    """Words, and token types if the config wants them; no positions, and no norm."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        size = config.hidden_size
        self.word_embeddings = Embedding(config.vocab_size, size, padding_idx=config.pad_token_id)
        self.has_types = config.add_token_type_embeddings
        if self.has_types:
            self.token_type_embeddings = Embedding(config.type_vocab_size, size)

    def forward(self, ids: Tensor | None, types: Tensor | None, embeds: Tensor | None) -> Tensor:
        """Ids (B, T), or word embeddings (B, T, D) in their place, to (B, T, D)."""
        x = self.word_embeddings(ids, name="input_ids") if embeds is None else embeds
        if not self.has_types:
            return x
        if types is None:
            return x + self.token_type_embeddings.weight[0]
        return x + self.token_type_embeddings(types, name="token_type_ids")


class MegaBlock(Module):
    """Gated attention, cross-attention in a decoder that has it, feed-forward."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.mega_layer = MovingAverageGatedAttention(config)
        self.nffn = FeedForward(config) if config.use_normalized_ffn else None
        self.cross_attn = GatedCrossAttention(config) if config.add_cross_attention else None
        self.counts = config.add_cross_attention and config.use_chunking

    def forward(
        self, x: Tensor, call: CallInputs, past: LayerCache, use_cache: bool
    ) -> tuple[LayerResult, tuple[Tensor | None, ...]]:
        """x (B, T, D) to (B, T, D), with weights as `call` asks for them; and the new cache, of use
        only if it was asked for.
        """
        wanted, batch, length = call.output_attentions, *x.shape[:2]
        x, weights, cache = self.mega_layer(x, call.mask, past, use_cache, wanted)
        cross_weights = None
        if self.cross_attn is not None and call.memory is not None:
            first = past.open if past.seen is None else int(past.seen.data[0])
            x, cross_weights, key, value = self.cross_attn(
                x, call.memory, call.memory_mask, past, first, wanted
            )
            cache = cache._replace(cross_key=key, cross_value=value)
            if self.counts:
                seen = array_module(x.data).full((batch,), first + length, dtype="int64")
                cache = cache._replace(seen=as_tensor(seen))
        if self.nffn is not None:
            x = self.nffn(x)
        members = cache[: 3 + 2 * (self.cross_attn is not None) + self.counts]
        return LayerResult(x, weights, cross_weights), members


class MegaPreTrainedModel(PreTrainedModel):
    """What all MEGA models share: how their own parts are drawn."""

    config_class: ClassVar[type[PretrainedConfig]] = MegaConfig
    base_model_prefix: ClassVar[str] = "mega"
    config: Any

    def _init_module(self, module: Module, wanted: set[str]) -> None:
        super()._init_module(module, wanted)
        config = self.config
        if isinstance(module, DampedEMA):
            module.draw_weights(
                wanted,
                config.ema_delta_alpha_range,
                config.ema_beta_range,
                config.ema_gamma_omega_range,
            )
        if isinstance(module, (SimpleBias, RotaryBias, MovingAverageGatedAttention)):
            for name in sorted(wanted):
                parameter = module._parameters[name]
                normal_(parameter, 0.0 if name == "qk_bias" else config.initializer_range)
        if isinstance(module, (ScaleNorm, RMSNorm, BatchNorm)):
            for name in wanted - {"bias"}:
                module._parameters[name].data[...] = 1.0


class MegaModel(MegaPreTrainedModel):
    """MEGA without a head: token ids in, features out.

    Args:
        config: the sizes and options. With `is_decoder` a token looks only at those before it, and
            what was computed of them can be kept for the next call; with `add_cross_attention` as
            well, at the output of an encoder.
        add_pooling_layer: whether there is a pooler.

    Raises ValueError for options that do not exist or contradict each other, among them a decoder
    whose moving average is bidirectional.
    """

    def __init__(self, config: MegaConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        check_mega_config(config)
        self.embedding_layer = MegaEmbeddings(config)
        self.layers = ModuleList(MegaBlock(config) for _ in range(config.num_hidden_layers))
        self.pooler = Pooler(config) if add_pooling_layer else None
        self.init_weights()

    @classmethod
    def _constructor_options(cls) -> tuple[str, ...]:
        return ("add_pooling_layer",)

    def get_input_embeddings(self) -> Embedding:
        """The table of word embeddings."""
        return self.embedding_layer.word_embeddings

    def set_input_embeddings(self, embeddings: Embedding) -> None:
        """Exchange the table of word embeddings."""
        self.embedding_layer.word_embeddings = embeddings

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        inputs_embeds: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Features for token ids.

        Args:
            input_ids: (B, T), or inputs_embeds: (B, T, D) in their place. An encoder in chunks
                takes fewer tokens than a chunk has, or a multiple: pad them, with a mask.
            attention_mask: (B, T), with a cache (B, past + T); 0 for padding. With chunks,
                padding at the left is a multiple of chunk_size, or it would move their borders.
            token_type_ids: (B, T); not looked at without `add_token_type_embeddings`.
            encoder_hidden_states: (B, S, D), and encoder_attention_mask: (B, S), of an encoder, for
                a decoder with cross-attention.
            past_key_values: of an earlier call of a decoder; then `input_ids` are the new tokens.
            use_cache: whether a decoder returns `past_key_values`; the config's value if None.
            output_attentions, output_hidden_states, return_dict: the config's values if None.

        Returns BaseModelOutputWithPoolingAndCrossAttentions. Its attentions are (B, C, Tq, Tk), in
        C chunks, its cross_attentions (B, T, S). With `return_dict` False a tuple of
        last_hidden_state, pooler_output, hidden_states, past_key_values, attentions and
        cross_attentions, None for those that there are not.
        Raises ValueError naming the argument for wrong shapes, lengths, and ids out of range.
        """
        config, like = self.config, self.embedding_layer.word_embeddings.weight
        input_ids, inputs_embeds = read_tokens(input_ids, inputs_embeds, config.hidden_size, like)
        tokens = inputs_embeds if input_ids is None else input_ids
        batch, length = tokens.shape[:2]
        _check_chunks(config, length)
        past = self._read_past(past_key_values, batch)
        use_cache = config.is_decoder and choose(use_cache, config.use_cache)
        call = self._call_inputs(
            self._read_own_mask(attention_mask, batch, length, past, use_cache),
            encoder_hidden_states,
            encoder_attention_mask,
            batch,
        )
        call.output_attentions = choose(output_attentions, config.output_attentions)
        types = None
        if config.add_token_type_embeddings:
            types = ids_like("token_type_ids", token_type_ids, batch, length, self.device)
        x = self.embedding_layer(input_ids, types, inputs_embeds)
        hidden_states, results, caches = [x], [], []
        for layer, cache in zip(self.layers, past, strict=True):
            result, members = layer(x, call, cache, use_cache)
            x = result.hidden_states
            hidden_states.append(x)
            results.append(result)
            if use_cache:
                caches.append(members)
        wanted = call.output_attentions
        output = BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=x,
            pooler_output=None if self.pooler is None else self.pooler(x),
            past_key_values=tuple(caches) if use_cache else None,
            hidden_states=tuple(hidden_states)
            if choose(output_hidden_states, config.output_hidden_states)
            else None,
            attentions=tuple(r.attentions for r in results) if wanted else None,
            cross_attentions=tuple(r.cross_attentions for r in results)
            if wanted and config.add_cross_attention
            else None,
        )
        if choose(return_dict, config.return_dict):
            return output
        return (x, output.pooler_output, *(getattr(output, name) for name in SLOTS))

    def _read_past(self, value: Any, batch: int) -> list[LayerCache]:
        """`past_key_values` as a cache a layer; empty ones if there is none."""
        config = self.config
        if value is None:
            return [LayerCache()] * config.num_hidden_layers
        if not config.is_decoder:
            raise ValueError("past_key_values is for decoders; set is_decoder=True")
        cross = config.add_cross_attention
        count = 3 + 2 * cross + (cross and config.use_chunking)
        layers = members_of(value, f"{count} arrays or None")
        lengths = [len(layer) for layer in layers]
        if lengths != [count] * config.num_hidden_layers:
            raise ValueError(
                f"past_key_values must have {count} members for each of "
                f"{config.num_hidden_layers} layers, got {lengths} in {type(value).__name__}"
            )
        return [self._read_layer(layer, batch) for layer in layers]

    def _read_layer(self, members: Any, batch: int) -> LayerCache:
        config = self.config
        hidden, shared = config.hidden_size, config.shared_representation_size
        memories: tuple[Any, ...] = (hidden, config.ema_projection_size)
        if config.truncation is not None:
            memories = ("T", hidden)
        shapes = [
            (batch, "S", shared), (batch, "S", config.intermediate_size), (batch, *memories),
            (batch, "S", shared), (batch, "S", hidden), (batch,),
        ]  # fmt: skip
        tensors = [
            None if part is None else tensor_of("past_key_values", part, self.device)
            for part in members
        ]
        for tensor, shape in zip(tensors, shapes, strict=False):
            if tensor is not None:
                check_shape("past_key_values", tensor, shape)
        seen = tensors[5:]  # a count, where the others are features
        features = (None if part is None else part.to(self.dtype) for part in tensors[:5])
        return LayerCache(*features, *seen)

    def _read_own_mask(
        self, value: Any, batch: int, length: int, past: list[LayerCache], use_cache: bool
    ) -> Any:
        """`attention_mask` as a boolean array (B, open + T), or None if it hides nothing."""
        if value is None:
            return None
        config, name, opened = self.config, "attention_mask", past[0].open if past else 0
        mask = self._read_mask(name, value, batch)
        width, fits = mask.shape[1], mask.shape[1] == opened + length
        if config.use_chunking and past and past[0].state is not None:
            extra = width - opened - length  # of chunks that have ended
            fits = extra >= 0 and extra % config.chunk_size == 0
        if not fits:
            raise ValueError(
                f"{name} must have shape ({batch}, {opened + length}), for the tokens "
                f"in the cache too, got {mask.shape}"
            )
        self.check_left_padding(mask, width + use_cache)  # a cache is for one token more, at least
        mask = mask[:, width - opened - length :]
        return None if bool(mask.all()) else mask

    def check_left_padding(self, mask: Array, reach: int) -> None:
        """Raise ValueError if padding at the left of a mask (B, T) moves the borders between
        chunks, in a sequence that will be `reach` tokens long.
        """
        size = self.config.chunk_size
        if not self.config.use_chunking or reach <= size:
            return
        padding = (mask != 0).argmax(axis=1)  # 0 for a row of padding alone: it may go on so
        rows = (padding % size).nonzero()[0]
        if rows.size:
            row = int(rows[0])
            raise ValueError(
                f"attention_mask: row {row} has {int(padding[row])} tokens of padding at the left, "
                f"so that its chunks of {size} (chunk_size) would end elsewhere than without "
                f"padding; pad at the right, or (to generate) at the left by multiples of {size}: "
                "rows whose lengths differ by such multiples can share a batch"
            )

    def _call_inputs(
        self, mask: Any, encoder_hidden_states: Any, encoder_attention_mask: Any, batch: int
    ) -> CallInputs:
        """The mask, the encoder's output and its mask in the form that the layers take."""
        config = self.config
        memory = memory_mask = None
        if config.add_cross_attention:
            if encoder_hidden_states is None:
                raise ValueError("a model with cross-attention needs encoder_hidden_states")
            memory = tensor_of("encoder_hidden_states", encoder_hidden_states, self.device)
            memory = memory.to(self.dtype)
            check_shape("encoder_hidden_states", memory, (batch, "S", config.hidden_size))
            if encoder_attention_mask is not None:
                name = "encoder_attention_mask"
                memory_mask = self._read_mask(name, encoder_attention_mask, batch)
                if memory_mask.shape[1] != memory.shape[1]:
                    raise ValueError(
                        f"{name} must have shape {memory.shape[:2]}, got {memory_mask.shape}"
                    )
        elif encoder_hidden_states is not None and config.is_decoder:
            raise ValueError(
                "encoder_hidden_states needs cross-attention: add_cross_attention=True"
            )
        return CallInputs(mask, memory, memory_mask, output_attentions=False)

    def _read_mask(self, name: str, value: Any, batch: int) -> Any:
        """A mask (B, ...) of any numbers as a boolean array: False for padding."""
        tensor = read_mask(name, value, self.device)
        check_shape(name, tensor, (batch, "T"))
        return tensor.data != 0


SLOTS = ("hidden_states", "past_key_values", "attentions", "cross_attentions")


def _check_chunks(config: Any, length: int) -> None:
    """Raise unless the sequence fits the chunks. A decoder's last chunk need not be full: its
    tokens come one by one.
    """
    size = config.chunk_size
    if config.use_chunking and not config.is_decoder and length > size and length % size:
        raise ValueError(
            f"a sequence longer than a chunk must be a multiple of chunk_size {size}, got {length} "
            f"tokens; pad to {-(-length // size) * size}, with an attention_mask"
        )
