"""Dividing the layers of BERT, MegatronBERT and Nemotron among tensor-parallel ranks.

    a layer                                     this rank keeps

    f -> query, key, value (columns)            H / p heads
         attention of each head
         output (rows) -> g
    f -> intermediate (columns)                 F / p features
         activation
         output (rows) -> g

The heads of attention are independent, so a rank computes its own from beginning to end. A layer
has two all-reduces in forward (g) and two in backward (f).

Source   Shoeybi et al. 2019, arXiv:1909.08053, section 3 and figures 3 and 4; with sequence
         parallelism: Korthikanti et al. 2022, arXiv:2205.05198, section 4.2.2
Shapes   B batch, T tokens, D hidden, H heads, F feed-forward, p tensor-parallel ranks
Bytes    of a layer and a micro-batch, n = B T D numbers: allreduce 2 n in forward and 2 n in
         backward; with sequence parallelism 2 n of allgather and 2 n of reduce_scatter in each
"""

from __future__ import annotations

from typing import Any

from tinybert.models.attention import SelfAttention
from tinybert.models.bert import TransformerLayer
from tinybert.models.nemotron.nemotron_layers import NemotronLayer
from tinybert.nn import Module, Parameter
from tinybert.parallel import conjugate
from tinybert.parallel.communicator import Communicator
from tinybert.parallel.grid import span
from tinybert.parallel.linear import ColumnParallelLinear, RowParallelLinear


def shard_layer(layer: Module, group: Communicator, sequence: bool) -> list[Parameter]:
    """Divide a layer, in place, among the ranks of a group.

    Args:
        sequence: the tokens of hidden states between the blocks are divided too.

    Returns the parameters that every rank has, but with only its own part of their gradient: the
    sum over the ranks is the gradient. Raises ValueError if heads or features cannot be divided.
    """
    if isinstance(layer, TransformerLayer):
        return _shard_bert_layer(layer, group, sequence)
    if isinstance(layer, NemotronLayer):
        return _shard_nemotron_layer(layer, group, sequence)
    raise ValueError(
        f"tensor parallelism divides the layers of BERT, MegatronBERT and Nemotron, not a "
        f"{type(layer).__name__}; use data parallelism (tensor=1)"
    )


def _shard_bert_layer(layer: Any, group: Communicator, sequence: bool) -> list[Parameter]:
    if hasattr(layer, "crossattention"):
        raise ValueError("tensor parallelism does not divide cross-attention; use tensor=1")
    attention = layer.attention.self
    partial = _shard_attention(attention, group)
    _enter(attention, group, sequence)
    _enter(layer.intermediate, group, sequence)
    layer.intermediate.dense = _columns(layer.intermediate.dense, group, "intermediate_size")
    for output in (layer.attention.output, layer.output):
        output.dense = RowParallelLinear(output.dense, group, sequence)
    if sequence:
        norms = [m for m in layer.modules() if hasattr(m, "normalized_shape")]
        partial += [p for norm in norms for p in norm.parameters()]
        partial += [layer.attention.output.dense.bias, layer.output.dense.bias]
    return partial


def _shard_attention(attention: SelfAttention, group: Communicator) -> list[Parameter]:
    """Keep this rank's heads; the scores of distances are shared by all heads."""
    heads = attention.kept_heads
    _check("attention heads", len(heads), group)
    attention.kept_heads = heads[span(len(heads), group.size, group.rank)]
    for name in ("query", "key", "value"):
        linear = ColumnParallelLinear(getattr(attention, name), group, copies=False)
        setattr(attention, name, linear)
    distances = attention.distance_embedding
    return [] if distances is None else list(distances.parameters())


def _shard_nemotron_layer(layer: Any, group: Communicator, sequence: bool) -> list[Parameter]:
    attention, mlp = layer.self_attn, layer.mlp
    divided, partial = ["q_proj"], list[Parameter]()
    _check("num_attention_heads", attention.heads, group)
    attention.heads //= group.size
    if attention.groups == 1:  # the key and value that all heads share are on every rank
        partial += [*attention.k_proj.parameters(), *attention.v_proj.parameters()]
    else:
        _check("num_key_value_heads", attention.groups, group)
        attention.groups //= group.size
        divided += ["k_proj", "v_proj"]
    for name in divided:
        setattr(attention, name, ColumnParallelLinear(getattr(attention, name), group, False))
    attention.o_proj = RowParallelLinear(attention.o_proj, group, sequence)
    mlp.up_proj = _columns(mlp.up_proj, group, "intermediate_size")
    mlp.down_proj = RowParallelLinear(mlp.down_proj, group, sequence)
    _enter(attention, group, sequence)
    _enter(mlp, group, sequence)
    if not sequence:
        return partial
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    partial += [p for norm in norms for p in norm.parameters()]
    return partial + [m.bias for m in (attention.o_proj, mlp.down_proj) if m.bias is not None]


def _enter(block: Module, group: Communicator, sequence: bool) -> None:
    """Let the first argument of a block pass through f, once for all of its layers."""
    f = conjugate.gather if sequence else conjugate.copy
    block.register_forward_pre_hook(lambda module, args: (f(args[0], group), *args[1:]))


def _columns(linear: Any, group: Communicator, name: str) -> ColumnParallelLinear:
    _check(name, linear.out_features, group)
    return ColumnParallelLinear(linear, group, copies=False)


def _check(name: str, size: int, group: Communicator) -> None:
    if size % group.size:
        raise ValueError(
            f"{name} {size} must be a multiple of the {group.size} tensor-parallel ranks"
        )
