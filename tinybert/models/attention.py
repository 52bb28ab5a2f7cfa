"""The attention of BERT and MegatronBERT: to the sequence itself, or to an encoder's output.

Shapes   B batch, Tq queries, Tk keys, D hidden, H heads, K = D / H head size
Names    of parameters: those of transformers' BertSelfAttention, letter for letter
"""

from __future__ import annotations

from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.models.relative_positions import DistanceEmbedding
from tinybert.nn import Dropout, Linear, Module
from tinybert.nn.attention import attend
from tinybert.nn.cache import LayerCache


class SelfAttention(Module):
    """Multi-head attention of a sequence to itself (Vaswani et al. 2017, arXiv:1706.03762, 3.2).

    Args:
        config: the sizes, and `position_embedding_type`.
        relative: whether relative positions, if the config asks for them, apply here.
    """

    def __init__(self, config: Any, relative: bool = True) -> None:
        super().__init__()
        size, heads = config.hidden_size, config.num_attention_heads
        self.head_size = size // heads
        self.kept_heads = list(range(heads))  # the heads that are not pruned
        self.query = Linear(size, size)
        self.key = Linear(size, size)
        self.value = Linear(size, size)
        self.dropout = Dropout(config.attention_probs_dropout_prob)
        absolute = config.position_embedding_type == "absolute" or not relative
        self.distance_embedding = None if absolute else DistanceEmbedding(config)

    def forward(
        self, x: Tensor, call: Any, past: LayerCache | None, head_mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the context (B, Tq, D) of x (B, Tq, D), and the weights (B, H, Tq, Tk) if asked
        for. The keys and values of x are appended to `past`.
        """
        query, key, value = (self.split(layer(x)) for layer in (self.query, self.key, self.value))
        if past is not None:
            append = type(past).append if call.packing is None else call.packing.append
            key, value = append(past, key, value)
        return self.attend(query, key, value, call, call.mask, call.is_causal, head_mask)

    def split(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, H, T, K)."""
        return F.split_heads(x, len(self.kept_heads))

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, call: Any, mask: Tensor | None,
        is_causal: bool, head_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Return softmax(query . key / sqrt(K) + mask) @ value as (B, Tq, D), and the weights."""
        first, bias = call.past_length, None
        if self.distance_embedding is not None:
            bias = self.distance_embedding(query, key, first)
        if head_mask is not None and len(self.kept_heads) < head_mask.shape[1]:
            head_mask = head_mask[:, self.kept_heads]
        context, weights = attend(
            query, key, value, mask, bias=bias, head_mask=head_mask, is_causal=is_causal,
            dropout_p=self.dropout.p if self.training else 0.0, shared=self.dropout.shared,
            need_weights=call.output_attentions, first=first, packing=call.packing,
        )  # fmt: skip
        return F.merge_heads(context), weights


class CrossAttention(SelfAttention):
    """Multi-head attention of a sequence (queries) to an encoder's output (keys and values)."""

    def forward(
        self, x: Tensor, call: Any, past: LayerCache | None, head_mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the context (B, Tq, D) of x (B, Tq, D), and the weights (B, H, Tq, S) if asked
        for. The encoder's keys and values are computed once and kept in `past`.
        """
        query = self.split(self.query(x))
        if past is not None and past.cross:
            key, value = past.cross
        else:
            states = call.encoder_states  # (B, S, D)
            key, value = self.split(self.key(states)), self.split(self.value(states))
            if past is not None:
                past.cross = key, value
        return self.attend(query, key, value, call, call.encoder_mask, False, head_mask)
