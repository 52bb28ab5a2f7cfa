"""Benchmark single operations, forward and backward: kernels, plain formulas, and torch.

"plain" is ours inside `tinybert.plain()`. A ratio above 1 against it means that the kernels of an
operation are slower than its formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.backend import plain
from tinybert.bench.moving_average import convolution_in_torch, pop_grad, relative_difference
from tinybert.bench.timing import Prepared, Work
from tinybert.optim import AdamW, clip_grad_norm_

ROWS = 1024  # tokens, 8 x 128


@dataclass(frozen=True)
class Operation:
    """An operation on inputs for a number of tokens.

    Attributes:
        name, summary: those of the case.
        shapes: the shapes of the inputs that are differentiated, for a number of tokens.
        ours: takes the inputs as tensors, then `ids` if there are any.
        theirs: the same for torch's; first comes torch.nn.functional.
        ids: shape and upper limit of an input of integers, for a number of tokens.
        plain: whether the CPU has kernels to compare with their plain formulas.
    """

    name: str
    summary: str
    shapes: Callable[[int], list[tuple[int, ...]]]
    ours: Callable[..., Tensor]
    theirs: Callable[..., Any]
    ids: Callable[[int], tuple[tuple[int, ...], int]] | None = None
    plain: bool = True


@cache
def _angles(length: int, width: int) -> list[np.ndarray]:
    """Return cosines and sines (T, K) of rotary embedding."""
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(width // 2) / (width // 2))
    return [np.tile(f(angles), 2).astype(np.float32) for f in (np.cos, np.sin)]


def _rotated(x: Tensor) -> Tensor:
    angles = (Tensor(array, device=x.device) for array in _angles(*x.shape[-2:]))
    return F.rotary_embedding(x, *angles)


def _rotated_in_torch(_: Any, x: Any) -> Any:
    import torch

    cos, sin = map(x.new_tensor, _angles(*x.shape[-2:]))
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


OPERATIONS = (
    Operation(
        "gelu", "GELU, 1,024 x 1,536",
        lambda n: [(n, 1536)], F.gelu, lambda f, x: f.gelu(x),
    ),
    Operation(
        "erf", "erf, 1,024 x 1,536",
        lambda n: [(n, 1536)], F.erf, lambda f, x: x.erf(),
    ),
    Operation(
        "silu", "SiLU, 1,024 x 1,536",
        lambda n: [(n, 1536)], F.silu, lambda f, x: f.silu(x),
    ),
    Operation(
        "linear", "a linear layer, 1,024 x 384 to 1,536",
        lambda n: [(n, 384), (1536, 384), (1536,)], F.linear, lambda f, *xs: f.linear(*xs),
    ),
    Operation(
        "linear-few", "a linear layer, 12 x 768 to 3,072",
        lambda n: [(12, 768), (3072, 768), (3072,)], F.linear, lambda f, *xs: f.linear(*xs),
    ),
    Operation(
        "linear-gelu", "a linear layer and GELU, 1,024 x 384 to 1,536",
        lambda n: [(n, 384), (1536, 384), (1536,)],
        F.linear_gelu, lambda f, *xs: f.gelu(f.linear(*xs)),
    ),
    Operation(
        "layer-norm", "layer norm, 1,024 x 768",
        lambda n: [(n, 768), (768,), (768,)],
        lambda x, *xs: F.layer_norm(x, (768,), *xs), lambda f, x, *xs: f.layer_norm(x, (768,), *xs),
    ),
    Operation(
        "softmax", "softmax, 12,288 x 128",
        lambda n: [(12 * n, 128)], F.softmax, lambda f, x: f.softmax(x, -1),
    ),
    Operation(
        "attention", "attention of 8 x 12 heads of 64, 128 tokens",
        lambda n: [(8, 12, n // 8, 64)] * 3, F.scaled_dot_product_attention,
        lambda f, *xs: f.scaled_dot_product_attention(*xs),
    ),
    Operation(
        "attention-causal", "causal attention of 4 heads of 64, 2,048 tokens",
        lambda n: [(1, 4, 2 * n, 64)] * 3,
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda f, *xs: f.scaled_dot_product_attention(*xs, is_causal=True),
    ),
    Operation(
        "cross-entropy", "cross entropy, 128 x 30,522",
        lambda n: [(n // 8, 30522)], F.cross_entropy, lambda f, *xs: f.cross_entropy(*xs),
        ids=lambda n: ((n // 8,), 30522),
    ),
    Operation(
        "embedding", "the lookup of 1,024 rows in 30,522 x 384",
        lambda n: [(30522, 384)],
        lambda table, ids: F.embedding(ids, table), lambda f, table, ids: f.embedding(ids, table),
        ids=lambda n: ((n,), 30522),
    ),
    Operation(
        "token-types", "the lookup of 1,024 rows in 2 x 384",
        lambda n: [(2, 384)],
        lambda table, ids: F.embedding(ids, table), lambda f, table, ids: f.embedding(ids, table),
        ids=lambda n: ((n,), 2),
    ),
    Operation(
        "convolution", "MEGA's long convolution, 4 x 1,024 x 128",
        lambda n: [(4, n, 128), (128, n)],
        F.long_convolution, lambda f, *xs: convolution_in_torch(*xs),
    ),
    Operation(
        "rms-norm", "RMS norm, 1,024 x 768 (no kernel)",
        lambda n: [(n, 768), (768,)], lambda x, w: F.rms_norm(x, (768,), w),
        lambda f, x, w: f.rms_norm(x, (768,), w), plain=False,
    ),
    Operation(
        "rotary", "rotary embedding of 8 x 12 heads of 64, 128 tokens (a kernel on GPUs only)",
        lambda n: [(8, 12, n // 8, 64)], _rotated, _rotated_in_torch, plain=False,
    ),
)  # fmt: skip


def operation(device: str, op: Operation, rows: int = ROWS) -> Prepared:
    """Run an operation and its backward pass; results and all gradients are compared."""
    import torch

    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in op.shapes(rows)]
    ids = [rng.integers(0, high, shape) for shape, high in ([op.ids(rows)] if op.ids else [])]
    leaves = [Tensor(array, requires_grad=True, device=device) for array in arrays]
    inputs = [*leaves, *(Tensor(array, device=device) for array in ids)]
    twins = [torch.tensor(array, requires_grad=True, device=device) for array in arrays]
    their_inputs = [*twins, *(torch.tensor(array, device=device) for array in ids)]
    cotangent = rng.standard_normal(op.ours(*inputs).shape).astype(np.float32)
    dy, their_dy = Tensor(cotangent, device=device), torch.tensor(cotangent, device=device)

    def ours(_: Any = None) -> list[np.ndarray]:
        y = op.ours(*inputs)
        y.backward(dy)
        return [y.numpy(), *(pop_grad(leaf).numpy() for leaf in leaves)]

    def theirs(_: Any = None) -> list[np.ndarray]:
        y = op.theirs(torch.nn.functional, *their_inputs)
        y.backward(their_dy)
        return [t.detach().cpu().numpy() for t in (y, *map(pop_grad, twins))]

    sides = {"plain": _plain(ours)} if op.plain or device != "cpu" else {}
    return _compared(ours, {**sides, "torch": theirs})


def adamw(device: str, width: int = 768) -> Prepared:
    """Do a step of AdamW on 12 matrices (width, width), with the same gradients every time."""
    import torch

    drawn = np.random.default_rng(0).standard_normal((2, 12, width, width)).astype(np.float32)

    def step_of(kind: Any, tensor: Callable[[np.ndarray], Any]) -> Work:
        params = [tensor(array) for array in drawn[0].copy()]
        for param, grad in zip(params, drawn[1], strict=True):
            param.requires_grad, param.grad = True, tensor(grad)
        optimizer = kind(params, lr=1e-3)

        def step(_: Any = None) -> list[np.ndarray]:
            optimizer.step()
            return [p.detach().cpu().numpy() for p in params]

        return step

    ours, formula = (step_of(AdamW, lambda a: Tensor(a, device=device)) for _ in range(2))
    theirs = step_of(torch.optim.AdamW, lambda a: torch.tensor(a, device=device))
    return _compared(ours, {"plain": _plain(formula), "torch": theirs})


def gradient_norm(device: str, width: int = 768) -> Prepared:
    """Clip 12 gradients (width, width) to more than their norm: only the norm takes time."""
    import torch

    drawn = np.random.default_rng(0).standard_normal((12, width, width)).astype(np.float32)
    params = [Tensor(a, requires_grad=True, device=device) for a in drawn]
    twins = [torch.tensor(a, requires_grad=True, device=device) for a in drawn]
    for param, twin in zip(params, twins, strict=True):
        param.grad, twin.grad = param.detach(), twin.detach()

    def ours(_: Any = None) -> list[np.ndarray]:
        return [clip_grad_norm_(params, 1e6).numpy()]

    def theirs(_: Any = None) -> list[np.ndarray]:
        return [torch.nn.utils.clip_grad_norm_(twins, 1e6).cpu().numpy()]

    return _compared(ours, {"plain": _plain(ours), "torch": theirs})


def _plain(work: Work) -> Work:
    """Return the work with the plain formula of every kernel."""

    def formula(_: Any = None) -> Any:
        with plain():
            return work(None)

    return formula


def _compared(ours: Work, sides: dict[str, Work]) -> Prepared:
    """Return the works with the differences of the results of their first run."""
    mine = ours(None)
    return Prepared(ours, sides, {n: relative_difference(mine, f(None)) for n, f in sides.items()})
