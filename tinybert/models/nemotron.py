"""Nemotron: a decoder with squared ReLU, grouped queries, and positions that turn a part of each
head.

Source   Parmar et al. 2024, arXiv:2402.16819; pruned to Minitron: Muralidharan et al. 2024,
         arXiv:2407.14679; grouped queries: Ainslie et al. 2023, arXiv:2305.13245
Oracle   transformers' Nemotron classes; parameter names are the same, letter for letter
Shapes   B batch, T tokens, P tokens in the cache, D hidden, H heads, G heads of keys and values,
         K head size, V vocabulary, L layers
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tinybert.autograd import Tensor, as_tensor, checkpoint, is_grad_enabled
from tinybert.backend import Array, array_module
from tinybert.log import warn_once
from tinybert.models import heads
from tinybert.models.base import PreTrainedModel
from tinybert.models.config import PretrainedConfig
from tinybert.models.inputs import choose, ids_like, integers, read_tokens
from tinybert.models.masks import additive_mask, read_mask
from tinybert.models.nemotron_config import NemotronConfig, check_config
from tinybert.models.nemotron_layers import Call, LayerNorm1P, NemotronLayer, rotary_angles
from tinybert.models.past import CacheShape, keeps_cache, read_cache, returned_cache
from tinybert.models.with_head import ModelWithHead
from tinybert.nn import Dropout, Embedding, KeyValueCache, Linear, ModuleList
from tinybert.nn.cache import LayerCache
from tinybert.outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    ModelOutput,
    SequenceClassifierOutputWithPast,
)

__all__ = [
    "NemotronConfig",
    "NemotronForCausalLM",
    "NemotronForQuestionAnswering",
    "NemotronForSequenceClassification",
    "NemotronForTokenClassification",
    "NemotronModel",
]


class NemotronModel(PreTrainedModel):
    """Nemotron without a head: token ids in, features out.

    Raises ValueError for options that do not fit each other, naming them.
    """

    config_class: ClassVar[type[PretrainedConfig]] = NemotronConfig
    base_model_prefix: ClassVar[str] = "model"
    supports_gradient_checkpointing: ClassVar[bool] = True
    config: NemotronConfig

    def __init__(self, config: NemotronConfig) -> None:
        super().__init__(config)
        check_config(config)
        if getattr(config, "rope_scaling", None):
            warn_once("rope_scaling has no effect on a Nemotron, here as in transformers")
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = ModuleList(NemotronLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = LayerNorm1P(config.hidden_size, eps=config.norm_eps)
        self.gradient_checkpointing = False
        self.init_weights()

    def get_input_embeddings(self) -> Embedding:
        """The table of word embeddings."""
        return self.embed_tokens

    def set_input_embeddings(self, embeddings: Embedding) -> None:
        """Exchange the table of word embeddings."""
        self.embed_tokens = embeddings

    def make_cache(self, limit: int | None = None) -> KeyValueCache:
        """An empty cache, to be given as `past_key_values` again and again. See PreTrainedModel."""
        return KeyValueCache(self.config.num_hidden_layers, limit=limit)

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Any = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        cache_position: Any = None,
    ) -> Any:
        """Compute the features of every token.

        Args:
            input_ids: (B, T) token ids; or `inputs_embeds` (B, T, D) in their place.
            attention_mask: (B, P + T), 0 for padding; P is the number of tokens in
                `past_key_values`, 0 without. Or (B, T, P + T), taken as it is, without a look at
                what is ahead; or (B or 1, H or 1, T, P + T), taken as it is as well: booleans, True
                where a token may be looked at, or floats to be added to the scores.
            position_ids: (B, T) or (1, T); P, P + 1, ... by default, whatever the mask says.
            past_key_values: a KeyValueCache, which is changed, or a tuple of pairs of an earlier
                call, which is not; then `input_ids` are the new tokens.
            use_cache: return `past_key_values`, of the kind that was given, else as a tuple; the
                config's value if None.
            output_attentions, output_hidden_states, return_dict: the config's values if None.
            cache_position: (T,), the places of the new tokens: P, P + 1, ...

        All may be Tensors, arrays or lists. Returns BaseModelOutputWithPast, or a plain tuple of
        what there is if `return_dict` is False. Raises ValueError naming the argument for wrong
        shapes and ids out of range, TypeError for arrays of another kind.
        """
        config, like = self.config, self.norm.weight
        input_ids, inputs_embeds = read_tokens(input_ids, inputs_embeds, config.hidden_size, like)
        x = inputs_embeds
        if x is None:
            x = self.embed_tokens(input_ids, name="input_ids")  # (B, T, D)
        batch, length = x.shape[:2]
        use_cache = keeps_cache(choose(use_cache, config.use_cache), self._computes_again)
        output_attentions = choose(output_attentions, config.output_attentions)
        heads = [config.num_key_value_heads] * config.num_hidden_layers
        shape = CacheShape(batch, heads, config.head_dim or 0)
        cache = read_cache(past_key_values, use_cache, shape, like)
        past = cache.length if cache is not None else 0
        _check_cache_position(cache_position, past, length, self.device)
        mask, is_causal = _masks(
            attention_mask, batch, length, past, config.num_attention_heads, like, output_attentions
        )
        positions = ids_like("position_ids", position_ids, batch, length, self.device)
        cos, sin = rotary_angles(config, positions, past, length, like)
        call = Call(cos, sin, mask, is_causal, output_attentions)
        layers = [None] * config.num_hidden_layers if cache is None else cache.layers
        hidden_states, attentions = self._run(x, call, layers)
        output = BaseModelOutputWithPast(
            last_hidden_state=hidden_states[-1],
            past_key_values=returned_cache(cache, past_key_values) if use_cache else None,
            hidden_states=hidden_states
            if choose(output_hidden_states, config.output_hidden_states)
            else None,
            attentions=attentions if output_attentions else None,
        )
        return output if choose(return_dict, config.return_dict) else output.to_tuple()

    @property
    def _computes_again(self) -> bool:
        return self.gradient_checkpointing and self.training and is_grad_enabled()

    def _run(
        self, x: Tensor, call: Call, pasts: Sequence[LayerCache | None]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The L + 1 hidden states, the last normed, and the weights."""
        hidden_states: list[Tensor] = [x]
        attentions: list[Tensor] = []
        for layer, past in zip(self.layers, pasts, strict=True):
            if self._computes_again:
                results = checkpoint(
                    # Both runs start from the same past, so each adds to a cache of its own.
                    lambda x, *parts, layer=layer: layer(x, call, LayerCache(*parts)),
                    x,
                    *(() if past is None else past.members),
                    parameters=layer.parameters(),
                )
            else:
                results = layer(x, call, past)
            x = results[0]
            hidden_states.append(x)
            attentions += results[1:]
        hidden_states[-1] = self.norm(x)
        return tuple(hidden_states), tuple(attentions)


# --- what a call brings ---------------------------------------------------------------------------


def _masks(
    given: Any, batch: int, length: int, past: int, query_heads: int, like: Tensor, full: bool
) -> tuple[Tensor | None, bool]:
    """The mask to be added to the scores, which broadcasts to (B, H, T, P + T), or None; and
    whether attention itself must also hide later tokens, as that mask does not.

    It is a matrix (B or 1, H or 1, T, P + T) only where it must be: if one is given, if `full`, or
    if padding at the left leaves a query nothing to look at (then it looks at all keys alike); else
    a row (B, 1, 1, P + T).
    """
    keys = past + length
    if given is None:
        if full:
            return additive_mask(None, batch, length, keys, like, causal=True), False
        return None, length > 1
    mask = read_mask("attention_mask", given, like.device)
    if mask.ndim == 4:
        return _matrix(mask, (batch, query_heads, length, keys), like), False
    seen = (mask.data != 0).astype("int64")
    if full or length == 1 or seen.shape != (batch, keys) or _sees_nothing(seen, past):
        return additive_mask(seen, batch, length, keys, like, causal=True), False
    if bool(seen.all()):
        return None, True
    return additive_mask(seen, batch, length, keys, like), True


def _matrix(mask: Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """A given mask of four axes as numbers to be added: True is 0, False the lowest number."""
    outer, inner = mask.shape[:2], mask.shape[2:]
    if inner != shape[2:] or any(n not in (1, m) for n, m in zip(outer, shape, strict=False)):
        raise ValueError(f"attention_mask must broadcast to {shape}, got {mask.shape}")
    if mask.dtype.kind == "b":
        lowest = float(array_module(mask.data).finfo(like.dtype).min)
        return as_tensor((~mask.data).astype(like.dtype) * lowest)
    if mask.dtype.kind != "f":
        raise TypeError(
            "attention_mask of four axes must be boolean, True where a token may be looked at, or "
            f"floats to be added to the scores, got {mask.dtype}"
        )
    return mask.to(like.dtype)


def _sees_nothing(seen: Array, past: int) -> bool:
    """Whether a row of (B, P + T) hides all that its first query may look at."""
    return bool((seen[:, : past + 1].max(axis=1) == 0).any())


def _check_cache_position(given: Any, past: int, length: int, device: str) -> None:
    if given is None:
        return
    places = integers("cache_position", given, device)
    expected = array_module(places.data).arange(past, past + length)
    if places.shape != (length,) or not bool((places.data == expected).all()):
        raise ValueError(
            f"cache_position must be the {length} numbers from {past} on, as past_key_values "
            f"holds {past} tokens, got {places.tolist()}"
        )


# --- with a head ----------------------------------------------------------------------------------


class _Nemotron(ModelWithHead):
    """What Nemotron's models with a head share."""

    config_class: ClassVar[type[PretrainedConfig]] = NemotronConfig
    base_class: ClassVar[type[PreTrainedModel]] = NemotronModel
    base_model_prefix: ClassVar[str] = "model"
    supports_gradient_checkpointing: ClassVar[bool] = True

    def make_base(self, config: Any) -> PreTrainedModel:
        return self.base_class(config)


class NemotronForCausalLM(heads.CausalLM, _Nemotron):
    """Nemotron that predicts the next token."""

    output_class: ClassVar[type[ModelOutput]] = CausalLMOutputWithPast
    always_causal: ClassVar[bool] = True
    caches_with_labels: ClassVar[bool] = True

    @property
    def reads_beyond_limit(self) -> bool:
        """Angles have no table that ends: there are positions beyond max_position_embeddings."""
        return True

    def add_head(self, config: NemotronConfig) -> None:
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)

    def word_logits(self, x: Tensor) -> Tensor:
        return self.lm_head(x)

    def get_output_embeddings(self) -> Linear | None:
        return self.lm_head

    def set_output_embeddings(self, embeddings: Linear) -> None:
        self.lm_head = embeddings

    def get_decoder(self) -> NemotronModel:
        """The model without its head."""
        return self.base_model

    def set_decoder(self, decoder: NemotronModel) -> None:
        """Exchange the model without its head."""
        self.model = decoder


class NemotronForSequenceClassification(heads.SequenceClassification, _Nemotron):
    """Nemotron that gives the text a class, several, or a number: by its last token, the only one
    that has seen them all.
    """

    output_class: ClassVar[type[ModelOutput]] = SequenceClassifierOutputWithPast

    def add_head(self, config: NemotronConfig) -> None:
        self.score = Linear(config.hidden_size, config.num_labels, bias=False)

    def text_logits(self, base: ModelOutput, named: dict[str, Any]) -> Tensor:
        x = base["last_hidden_state"]
        xp, batch = array_module(x.data), x.shape[0]
        pad, ids = self.config.pad_token_id, named.get("input_ids")
        if pad is None and batch > 1:
            raise ValueError(
                f"a batch of {batch} needs the config's pad_token_id, which is None: without it "
                "nobody knows which token is the last of a text"
            )
        last = xp.full(batch, x.shape[1] - 1)
        if pad is not None and ids is not None:
            real = integers("input_ids", ids, x.device).data != pad
            last = (xp.arange(x.shape[1]) * real).argmax(axis=1)  # 0 if all is padding
        elif pad is not None:
            warn_once("inputs_embeds show no padding: the last token of every row is taken")
        return self.score(x[xp.arange(batch), last])


class NemotronForTokenClassification(heads.TokenClassification, _Nemotron):
    """Nemotron that gives every token a class."""

    def add_head(self, config: NemotronConfig) -> None:
        options = (getattr(config, name, None) for name in ("classifier_dropout", "hidden_dropout"))
        self.dropout = Dropout(next((p for p in options if p is not None), 0.1))
        self.score = Linear(config.hidden_size, config.num_labels)

    def token_logits(self, x: Tensor) -> Tensor:
        return self.score(self.dropout(x))


class NemotronForQuestionAnswering(heads.QuestionAnswering, _Nemotron):
    """Nemotron that finds where in a text the answer starts and ends.

    Its base model is called `transformer`, as in transformers, so a checkpoint of another head does
    not fit it; one of NemotronModel does.
    """

    base_model_prefix: ClassVar[str] = "transformer"

    def add_head(self, config: NemotronConfig) -> None:
        self.qa_outputs = Linear(config.hidden_size, 2)  # whatever num_labels says
