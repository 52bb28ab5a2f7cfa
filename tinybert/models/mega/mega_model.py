"""MEGA without a head: blocks of gated attention over a moving average.

Source   Ma et al. 2022, arXiv:2209.10655
Oracle   transformers' MegaModel; parameter names are the same, letter for letter
Shapes   B batch, T tokens, P tokens in the cache, D hidden, S tokens of an encoder that a decoder
         attends to, C chunks
"""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

from tinybert.autograd import Tensor
from tinybert.backend import Array
from tinybert.models.arguments import check_shape, tensor_of
from tinybert.models.base import PreTrainedModel
from tinybert.models.bert import Pooler
from tinybert.models.call import BaseModel, Call
from tinybert.models.config import PretrainedConfig
from tinybert.models.masks import read_mask
from tinybert.models.mega.feed_forward import FeedForward
from tinybert.models.mega.gated_attention import (
    GatedCrossAttention,
    MovingAverageGatedAttention,
    count_seen,
)
from tinybert.models.mega.mega_cache import MegaCache, MegaLayerCache
from tinybert.models.mega.mega_config import MegaConfig, check_mega_config
from tinybert.models.mega.relative_bias import RotaryBias, SimpleBias
from tinybert.models.past_key_values import layers_of
from tinybert.models.stack import LayerOutput, Stack
from tinybert.nn import BatchNorm, DampedEMA, Embedding, Module, RMSNorm, ScaleNorm
from tinybert.nn.cache import LayerCache
from tinybert.nn.init import normal_
from tinybert.outputs import BaseModelOutputWithPoolingAndCrossAttentions


class MegaEmbeddings(Module):
    """Word embeddings, and token types if the config asks for them; no positions, no norm."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        size = config.hidden_size
        self.word_embeddings = Embedding(config.vocab_size, size, padding_idx=config.pad_token_id)
        self.has_types = config.add_token_type_embeddings
        if self.has_types:
            self.token_type_embeddings = Embedding(config.type_vocab_size, size)

    def forward(self, ids: Tensor | None, types: Tensor | None, embeds: Tensor | None) -> Tensor:
        """Return (B, T, D) for ids (B, T), or for word embeddings (B, T, D) in their place."""
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
        self.cache_size = cache_size(config)
        self.counts = config.add_cross_attention and config.use_chunking

    def forward(
        self, x: Tensor, call: Any, past: MegaLayerCache | None, head_mask: None = None
    ) -> LayerOutput:
        """Map x (B, T, D) to (B, T, D), and attention weights if requested. `past` is updated."""
        past = MegaLayerCache(self.cache_size, LayerCache()) if past is None else past
        x, weights = self.mega_layer(x, call, past)
        cross_weights = None
        if self.cross_attn is not None:
            x, cross_weights = self.cross_attn(x, call, past)
            if self.counts:
                count_seen(call, past)
        if self.nffn is not None:
            x = self.nffn(x)
        return LayerOutput(x, weights, cross_weights)


class MegaPreTrainedModel(PreTrainedModel):
    """What all MEGA models share: their config, how they are called, how weights are drawn."""

    config_class: ClassVar[type[PretrainedConfig]] = MegaConfig
    base_model_prefix: ClassVar[str] = "mega"
    config: Any

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model. Each class accepts the arguments that its signature lists.

        Args:
            input_ids: (B, T) token ids; or `inputs_embeds` (B, T, D), word embeddings. With
                chunks, the last one need not be full.
            attention_mask: (B, T), with a cache (B, P + T); 1 for tokens, 0 for padding. With
                chunks, padding on the left must be a multiple of chunk_size. Padding gets zeros, or
                is computed: see `nn/packing.py`.
            token_type_ids: (B, T); ignored without `add_token_type_embeddings`.
            encoder_hidden_states: (B, S, D), what cross-attention attends to;
                `encoder_attention_mask`: (B, S), its mask.
            labels, start_positions, end_positions: the targets, for the loss; see the class
                and its `answer`.
            past_key_values: the cache of an earlier call of a decoder: tuples, which are not
                changed, or that of `make_cache`, which is. `input_ids` are then the new tokens
                only.
            use_cache: whether a decoder returns `past_key_values`; the config's value if None.
            output_attentions, output_hidden_states: return what every layer computed; the config's
                values if None.
            return_dict: return a ModelOutput (True) or a plain tuple; the config's value if None.

        All may be Tensors, arrays or lists. Raises ValueError or TypeError naming the argument for
        wrong shapes, dtypes and lengths, and ids out of range.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def _init_module(self, module: Module, names: set[str]) -> None:
        super()._init_module(module, names)
        config = self.config
        if isinstance(module, DampedEMA):
            module.draw_weights(
                names,
                config.ema_delta_alpha_range,
                config.ema_beta_range,
                config.ema_gamma_omega_range,
            )
        if isinstance(module, (SimpleBias, RotaryBias, MovingAverageGatedAttention)):
            for name in sorted(names):
                parameter = module._parameters[name]
                normal_(parameter, 0.0 if name == "qk_bias" else config.initializer_range)
        if isinstance(module, (ScaleNorm, RMSNorm, BatchNorm)):
            for name in names - {"bias"}:
                module._parameters[name].data[...] = 1.0


class MegaModel(MegaPreTrainedModel, BaseModel):
    """MEGA without a head: token ids in, features out.

    Calling it returns BaseModelOutputWithPoolingAndCrossAttentions. Its attentions are
    (B, C, Tq, Tk), in C chunks, its cross_attentions (B, T, S). With `return_dict=False` it returns
    a tuple of last_hidden_state, pooler_output, hidden_states, past_key_values, attentions and
    cross_attentions, with None for missing fields.

    Args:
        config: the sizes and options. With `is_decoder` a token attends only to earlier ones, and a
            cache can be kept; with `add_cross_attention` also to an encoder's output.
        add_pooling_layer: whether there is a pooler.

    Raises ValueError for options that are out of range or contradict each other, among them a
    decoder whose moving average is bidirectional.
    """

    def __init__(self, config: MegaConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        check_mega_config(config)
        size, values = config.hidden_size, config.intermediate_size
        self.reserve(
            size * config.vocab_size,
            size * (2 * size + 3 * values + config.shared_representation_size)
            + size * (8 * config.ema_projection_size + 2 * config.nffn_hidden_size)
            + 2 * config.max_positions * (config.relative_positional_bias == "simple"),
        )
        self.embedding_layer = MegaEmbeddings(config)
        self.layers = Stack(MegaBlock(config) for _ in range(config.num_hidden_layers))
        self.pooler = Pooler(config) if add_pooling_layer else None
        self.init_weights()

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, inputs_embeds=None,
        encoder_hidden_states=None, encoder_attention_mask=None, past_key_values=None,
        use_cache=None, output_attentions=None, output_hidden_states=None, return_dict=None,
    ) -> Any:  # fmt: skip
        call = self.read_call(
            input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds,
            token_type_ids=token_type_ids if self.config.add_token_type_embeddings else None,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask, past_key_values=past_key_values,
            use_cache=use_cache, output_attentions=output_attentions,
            output_hidden_states=output_hidden_states, return_dict=return_dict,
        )  # fmt: skip
        if self.config.add_cross_attention and call.encoder_states is None:
            raise ValueError("a model with cross-attention needs encoder_hidden_states")
        x = self.embedding_layer(call.input_ids, call.token_type_ids, call.inputs_embeds)
        run = self.layers(x, call)
        x = run.last_hidden_state  # (B, T, D)
        output = BaseModelOutputWithPoolingAndCrossAttentions(
            x,
            None if self.pooler is None else self.pooler(x),  # (B, D)
            run.hidden_states,
            call.new_cache(),
            run.attentions,
            run.cross_attentions,
        )
        output.packing = call.packing
        if call.return_dict:
            return output
        return (x, output.pooler_output, *(getattr(output, name) for name in SLOTS))

    # --- parts ------------------------------------------------------------------------------------

    @classmethod
    def _constructor_options(cls) -> tuple[str, ...]:
        return ("add_pooling_layer",)

    def get_input_embeddings(self) -> Embedding:
        """Return the word embeddings."""
        return self.embedding_layer.word_embeddings

    def set_input_embeddings(self, embeddings: Embedding) -> None:
        """Replace the word embeddings."""
        self.embedding_layer.word_embeddings = embeddings

    def make_cache(self, limit: int | None = None) -> MegaCache | None:
        """Return an empty cache of a decoder, to pass as `past_key_values`. None for an encoder,
        and with chunks, where a layer keeps the keys and values of one chunk at most.
        """
        config = self.config
        if not config.is_decoder or config.use_chunking:
            return None
        return MegaCache(config.num_hidden_layers, cache_size(config), limit=limit)

    # --- reading a call ---------------------------------------------------------------------------

    def read_cache(self, given: Any, use_cache: bool, batch: int) -> MegaCache | None:
        """Return the cache of a call: `given` if it is a MegaCache and the call updates it, else a
        new one with the members of `given`; or None.
        """
        config, size = self.config, cache_size(self.config)
        layers = config.num_hidden_layers
        if given is None:
            return MegaCache(layers, size, in_place=False) if use_cache else None
        if not config.is_decoder:
            raise ValueError("past_key_values is for decoders; set is_decoder=True")
        members = layers_of(given, f"{size} arrays or None")
        sizes = [len(layer) for layer in members]
        if sizes != [size] * layers:
            raise ValueError(
                f"past_key_values must have {size} members for each of {layers} layers, "
                f"got {sizes} in {type(given).__name__}"
            )
        read = MegaCache.from_legacy(
            [self._read_members(layer, batch) for layer in members], in_place=False
        )
        if not (use_cache and isinstance(given, MegaCache)):
            return read
        for old, new in zip(itertools.chain(*given), itertools.chain(*read), strict=True):
            if old is not None and (old.dtype, old.device) != (new.dtype, new.device):
                raise ValueError(
                    f"past_key_values holds {old.dtype} on {old.device}, but the model is "
                    f"{new.dtype} on {new.device}: begin with an empty cache"
                )
        return given

    def _read_members(self, members: list[Any], batch: int) -> list[Tensor | None]:
        config = self.config
        hidden, shared = config.hidden_size, config.shared_representation_size
        state: tuple[Any, ...] = (hidden, config.ema_projection_size)
        if config.truncation is not None:
            state = ("T", hidden)
        shapes = [
            (batch, "S", shared), (batch, "S", config.intermediate_size), (batch, *state),
            (batch, "S", shared), (batch, "S", hidden), (batch,),
        ]  # fmt: skip
        tensors = [
            None if member is None else tensor_of("past_key_values", member, self.device)
            for member in members
        ]
        for tensor, shape in zip(tensors, shapes, strict=False):
            if tensor is not None:
                check_shape("past_key_values", tensor, shape)
        features = [None if tensor is None else tensor.to(self.dtype) for tensor in tensors[:5]]
        return [*features, *tensors[5:]]  # `seen` stays an integer

    def read_attention_mask(self, mask: Tensor | None, call: Call) -> tuple[Array | None, bool]:
        """Return the mask as booleans (B, P + T), P the tokens of the current chunk; None if
        nothing is masked.
        """
        if mask is None:
            return None, self.config.is_decoder
        config, (batch, length) = self.config, call.shape
        given = _booleans("attention_mask", mask, batch)
        width, expected = given.shape[1], call.past_length + length
        fits = width == expected
        if (
            config.use_chunking
            and call.cache is not None
            and call.cache.layers[0].state is not None
        ):
            ended = width - expected  # tokens of earlier chunks
            fits = ended >= 0 and ended % config.chunk_size == 0
        if not fits:
            raise ValueError(
                f"attention_mask must have shape ({batch}, {expected}), for the tokens in the "
                f"cache too, got {given.shape}"
            )
        self.check_left_padding(given, width + call.use_cache)  # a cache is for more tokens
        given = given[:, width - expected :]
        return None if bool(given.all()) else given, config.is_decoder

    def check_left_padding(self, mask: Array, reach: int) -> None:
        """Raise ValueError if padding on the left of a mask (B, T) moves the borders between
        chunks, in a sequence that will be `reach` tokens long.
        """
        size = self.config.chunk_size
        if not self.config.use_chunking or reach <= size:
            return
        padding = (mask != 0).argmax(axis=1)  # 0 for a row of padding alone, which is harmless
        rows = (padding % size).nonzero()[0]
        if rows.size:
            row = int(rows[0])
            raise ValueError(
                f"attention_mask: row {row} has {int(padding[row])} tokens of padding on the left, "
                f"which moves the borders of its chunks of {size} tokens (chunk_size); pad on the "
                f"right, or (to generate) on the left by multiples of {size}: rows whose lengths "
                "differ by such multiples can share a batch"
            )

    def read_encoder_mask(self, mask: Any, states: Tensor, length: int) -> Array:
        """Return the mask as booleans (B, S)."""
        name = "encoder_attention_mask"
        given = _booleans(name, read_mask(name, mask, self.device), states.shape[0])
        if given.shape[1] != states.shape[1]:
            raise ValueError(
                f"encoder_attention_mask must have shape {states.shape[:2]}, got {given.shape}"
            )
        return given


def _booleans(name: str, mask: Tensor, batch: int) -> Array:
    check_shape(name, mask, (batch, "T"))
    return mask.data != 0


SLOTS = ("hidden_states", "past_key_values", "attentions", "cross_attentions")


def cache_size(config: Any) -> int:
    """Return the number of attributes of a MegaLayerCache that a model uses."""
    cross = config.add_cross_attention
    return 3 + 2 * cross + (cross and config.use_chunking)
