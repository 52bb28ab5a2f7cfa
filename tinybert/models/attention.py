"""The attention of BERT and MegatronBERT: over the sequence itself, or over another one.

Shapes   B batch, Tq queries, Tk keys, D hidden, H heads, K = D / H head size
Names    of parameters: those of transformers' BertSelfAttention, letter for letter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinybert.autograd import Tensor, as_tensor, no_grad
from tinybert.backend import array_module
from tinybert.nn import Dropout, Embedding, Linear, Module, Parameter
from tinybert.nn.attention import attend, merge_heads, split_heads
from tinybert.nn.cache import LayerCache

POSITION_TYPES = ("absolute", "relative_key", "relative_key_query")


@dataclass
class CallInputs:
    """What all layers of one call share.

    Attributes:
        mask: added to the scores of self-attention, broadcasts to (B, H, Tq, Tk); or None.
        memory: (B, S, D), the encoder's output, for cross-attention; or None.
        memory_mask: added to the scores of cross-attention, broadcasts to (B, H, Tq, S); or None.
        output_attentions: whether the weights are asked for.
    """

    mask: Tensor | None
    memory: Tensor | None
    memory_mask: Tensor | None
    output_attentions: bool


class SelfAttention(Module):
    """Every token gathers from all tokens what it needs, in H independent heads.

    With `relative`, the config's `position_embedding_type` adds what the distance between two
    tokens says (Shaw et al. 2018, arXiv:1803.02155, eq. 5; Huang et al. 2020, arXiv:2009.13658):

        relative_key          query_l . E[l - r]
        relative_key_query    query_l . E[l - r] + key_r . E[l - r]

    to query_l . key_r, before the division by sqrt(K). E, the `distance_embedding`, has a row for
    each of the 2 * max_position_embeddings - 1 distances.
    """

    def __init__(self, config: Any, relative: bool = True) -> None:
        super().__init__()
        size, heads = config.hidden_size, config.num_attention_heads
        self.head_size = size // heads
        self.kept_heads = list(range(heads))  # by their original numbers
        self.query = Linear(size, size)
        self.key = Linear(size, size)
        self.value = Linear(size, size)
        self.dropout = Dropout(config.attention_probs_dropout_prob)
        self.position_type = config.position_embedding_type if relative else "absolute"
        if self.position_type != "absolute":
            self.max_positions = config.max_position_embeddings
            self.distance_embedding = Embedding(2 * self.max_positions - 1, self.head_size)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        head_mask: Tensor | None,
        past: LayerCache | None,
        output_attentions: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """x (B, Tq, D) to the gathered (B, Tq, D), and the weights (B, H, Tq, Tk) if asked for.
        `past` has the keys and values of the tokens before, and gets those of x.
        """
        query, key, value = (self._heads(layer(x)) for layer in (self.query, self.key, self.value))
        if past is not None:
            key, value = past.append(key, value)
        first = key.shape[2] - query.shape[2]
        return self._attend(query, key, value, mask, head_mask, output_attentions, first)

    def _heads(self, x: Tensor) -> Tensor:
        return split_heads(x, len(self.kept_heads))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        head_mask: Tensor | None,
        output_attentions: bool,
        first: int,
    ) -> tuple[Tensor, Tensor | None]:
        """The gathered (B, Tq, D), and the weights if asked for; `first` is the position of the
        first query.
        """
        if head_mask is not None and len(self.kept_heads) < head_mask.shape[1]:
            head_mask = head_mask[:, self.kept_heads]
        context, weights = attend(
            query,
            key,
            value,
            mask,
            bias=self._distances(query, key, first),
            dropout_p=self.dropout.p if self.training else 0.0,
            head_mask=head_mask,
            need_weights=output_attentions,
        )
        return merge_heads(context), weights

    def _distances(self, query: Tensor, key: Tensor, first: int) -> Tensor | None:
        """What the distances say, (B, H, Tq, Tk), or None."""
        if self.position_type == "absolute":
            return None
        xp, (queries, keys) = array_module(query.data), (query.shape[2], key.shape[2])
        places = xp.arange(first, first + queries)[:, None] - xp.arange(keys)  # l - r
        table = self.distance_embedding(as_tensor(places + self.max_positions - 1))  # (Tq, Tk, K)
        scores = _each_with_its_table(query, table)
        if self.position_type == "relative_key_query":
            of_keys = _each_with_its_table(key, table.transpose(0, 1))  # (B, H, Tk, Tq)
            scores = scores + of_keys.transpose(-1, -2)
        return scores


class CrossAttention(SelfAttention):
    """Every token gathers from the tokens of another sequence, the encoder's output."""

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        mask: Tensor | None,
        head_mask: Tensor | None,
        past: LayerCache | None,
        output_attentions: bool,
        memory: Tensor,
        first: int,
    ) -> tuple[Tensor, Tensor | None]:
        """x (B, Tq, D) and memory (B, S, D) to (B, Tq, D), and the weights (B, H, Tq, S) if asked
        for. The memory's keys and values are those of `past` once it has them, since memory stays.
        `first` is the position of x's first token.
        """
        remembered = past.cross if past is not None else ()
        key, value = remembered or (self._heads(layer(memory)) for layer in (self.key, self.value))
        if past is not None:
            past.cross = key, value
        query = self._heads(self.query(x))
        return self._attend(query, key, value, mask, head_mask, output_attentions, first)


def _each_with_its_table(x: Tensor, table: Tensor) -> Tensor:
    """x (B, H, T, K) and a table (T, R, K) for each place to x_t . table_tr, (B, H, T, R)."""
    batch, heads, length, size = x.shape
    rows = x.permute(2, 0, 1, 3).reshape(length, batch * heads, size)
    scores = rows @ table.transpose(-1, -2)  # (T, B * H, R)
    return scores.reshape(length, batch, heads, -1).permute(1, 2, 0, 3)


def prune_attention_heads(attention: SelfAttention, output: Linear, heads: set[int]) -> None:
    """Take heads, by their original numbers, out of an attention and of the layer behind it.

    Raises ValueError for numbers that there never were, and if no head would be left.
    """
    original = attention.query.in_features // attention.head_size
    wrong = sorted(head for head in heads if not 0 <= head < original)
    if wrong:
        raise ValueError(f"heads must be from 0 to {original - 1}, got {wrong}")
    staying = [place for place, head in enumerate(attention.kept_heads) if head not in heads]
    if not staying:
        raise ValueError(f"cannot prune all heads of a layer: {sorted(heads)}")
    size = attention.head_size
    features = [head * size + k for head in staying for k in range(size)]
    for layer in (attention.query, attention.key, attention.value):
        _keep(layer, "weight", features, 0)
        _keep(layer, "bias", features, 0)
        layer.out_features = len(features)
    _keep(output, "weight", features, 1)
    output.in_features = len(features)
    attention.kept_heads = [attention.kept_heads[place] for place in staying]


def _keep(layer: Linear, name: str, places: list[int], axis: int) -> None:
    """Replace one parameter of a layer by the rows or columns that stay."""
    old = getattr(layer, name)
    with no_grad():
        kept = old[places] if axis == 0 else old[:, places]
    setattr(layer, name, Parameter(kept.data.copy(), requires_grad=old.requires_grad))
