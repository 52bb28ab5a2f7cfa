"""Packing: the tokens of a padded batch in one row, so that no padding is computed.

Sentences differ in length, and a batch (B, T) fills up the shorter ones with padding. Linear
layers, norms and activations treat each token separately: they need tokens, not sentences. So the
tokens of a batch, without padding, are put into one row (1, N). Each keeps its position.

    [CLS] the sky is blue [SEP]         tokens     [CLS] yes [SEP]  [CLS] the sky is blue [SEP]
    [CLS] yes [SEP] [PAD] [PAD] [PAD]   positions    0    1    2      0    1   2   3   4    5

Tokens meet in attention alone. It runs separately for each sentence, a segment of the row. Padded
attention gives the same: it hides padding with weights of 0. Segments are ordered by length; those
of equal length are computed as one batch.

After the last layer the features of the row return to their places in the batch. Features, logits,
cached keys and cached values of padding are then 0. In a padded computation they are numbers that
nobody needs. Everything else is equal but for rounding: features of tokens, losses, gradients. With
dropout the random numbers differ, and their distribution is the same.

A call is packed if its mask has zeros and no result depends on padding; `pack_call` lists the
exceptions. `with padded(): ...` computes padding in any call.

Source   Zeng et al. 2022, arXiv:2208.08124 ("ByteTransformer"); Portes et al. 2023,
         arXiv:2312.17482 ("unpadding")
Shapes   B batch, T tokens, N tokens without padding, H heads, G heads of keys and values, K head
         size
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.autograd.modes import observer
from tinybert.backend import Array, array_module, backend_of, is_plain
from tinybert.nn.cache import LayerCache

PADDED = ContextVar("PADDED", default=False)  # whether padding is computed in any call


@contextmanager
def padded() -> Iterator[None]:
    """Compute padding too, as transformers does: `with padded(): model(ids, mask)`."""
    token = PADDED.set(True)
    try:
        yield
    finally:
        PADDED.reset(token)


class Packing:
    """The places of the tokens of a batch, from a mask (B, T) of booleans, False for padding.

    Attributes:
        shape: (B, T).
        places: (N,), the number b T + t of each token of the row, the shortest sentence first.
        segments: (count, length) of the sentences in the row.
    """

    def __init__(self, real: Array) -> None:
        xp = array_module(real)
        self.shape = real.shape
        lengths = real.sum(axis=1)
        order = xp.argsort(lengths, kind="stable")
        rows, columns = real[order].nonzero()
        self.places = order[rows] * real.shape[1] + columns
        sizes, counts = xp.unique(lengths[lengths > 0], return_counts=True)
        self.segments = list(zip(counts.tolist(), sizes.tolist(), strict=True))

    def pack(self, x: Tensor) -> Tensor:
        """Return x (B, T, ...) without padding, as (1, N, ...)."""
        return F.pack_tokens(x, self.places)

    def unpack(self, x: Tensor) -> Tensor:
        """Return x (1, N, ...) with zeros for padding, as (B, T, ...)."""
        return F.unpack_tokens(x, self.places, self.shape)

    def on_tokens(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Return function(x) for x (B, T, ...), with zeros for padding."""
        return self.unpack(function(self.pack(x)))

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, dropout_p: float, is_causal: bool
    ) -> Tensor:
        """Return the context (1, H, N, K) of query (1, H, N, K), key and value (1, G, N, K)."""
        return F.segment_attention(query, key, value, self.segments, dropout_p, is_causal)

    def append(self, past: LayerCache, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values (1, G, N, K) to an empty cache, as (B, G, T, K); return them as
        they are.
        """
        groups = key.shape[1]
        rows = (self.unpack(F.merge_heads(x)) for x in (key, value))
        past.append(*(F.split_heads(x, groups) for x in rows))
        return key, value


def has_hooks(module: Any) -> bool:
    """Return whether a module or one of its parts has a hook."""
    if module._forward_hooks or module._forward_pre_hooks:
        return True
    return any(has_hooks(part) for part in module._modules.values() if part is not None)


def predicts_at_padding(mask: Tensor, labels: Tensor | None) -> bool:
    """Return whether a call of a causal model predicts a next token at padding: that of a label, or
    without labels the one after the last position, which `generate` reads.
    """
    if mask.ndim != 2:
        return True
    if labels is None:
        return not bool(mask.data[:, -1:].all())
    if labels.shape != mask.shape:
        return True
    return bool(((mask.data[:, :-1] == 0) & (labels.data[:, 1:] != -100)).any())


def pack_call(model: Any, call: Any, mask: Any) -> Any:
    """Return a `Call` with its tokens in one row and the Packing; or the call as it is, padded.

    Args:
        model: the model without a head. call: its Call.
        mask: the attention mask of the call, a Tensor.

    A call stays padded
        if nothing is masked;
        if it asks for attention weights, or an observer, a hook or `plain()` looks at the steps;
        if it has a head mask, a mask of more axes, an encoder's states, or tokens in the cache;
        on a GPU, where the launches for each length cost more than padding does;
        if a result depends on padding: see `_depends_on_padding`, and `reads_padding` of heads.
    """
    real = mask.data != 0
    if (
        backend_of(real).name != "cpu"
        or real.all()
        or call.output_attentions
        or is_plain()
        or observer() is not None
        or has_hooks(model)
        or call.head_masks is not None
        or real.shape != call.shape
        or call.encoder_states is not None
        or call.past_length
        or _depends_on_padding(model, real)
    ):
        return call
    packing, names = Packing(real), ("input_ids", "inputs_embeds", "token_type_ids")
    rows = {name: getattr(call, name) for name in names}
    rows["position_ids"] = as_tensor(np.arange(real.shape[1])[None])
    if call.position_ids is not None:
        rows["position_ids"] = call.position_ids
    packed = {
        name: packing.pack(x.expand(*real.shape, *x.shape[2:]))
        for name, x in rows.items()
        if x is not None
    }
    return replace(call, **packed, packing=packing)


def _depends_on_padding(model: Any, real: Array) -> bool:
    """Return whether padding has an effect on the features of other tokens, or on the pooler.

    It has, in a row without a token and for a pooler whose first token is padding. Some options
    need rows: scores of distances, feed-forward in chunks; in training dropout of a feature at all
    steps, and batch norm, whose statistics count padding.
    """
    config = model.config
    first = real[:, 0].any() if getattr(model, "pooler", None) is None else real[:, 0].all()
    return (
        not (first and real.any(axis=1).all())
        or getattr(config, "position_embedding_type", "absolute") != "absolute"
        or getattr(config, "chunk_size_feed_forward", 0) != 0
        or (model.training and getattr(config, "use_feature_dropout", False))
        or (model.training and getattr(config, "normalization_type", "") == "batchnorm")
    )
