"""The one list of differentiable functions, by habit `F`.

Each function checks its arguments and runs one operation of `tinybert.ops`, where the mathematics
is. Argument order is torch's where torch has the function; tensors may also be arrays or lists.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tinybert import ops
from tinybert.autograd import Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.backend import array_module
from tinybert.ops.attention import default_scale

# --- layers ---------------------------------------------------------------------------------------


def linear(input: Any, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight^T + bias: (..., I) with weight (O, I) and bias (O,) to (..., O)."""
    inputs = (as_tensor(input), weight) if bias is None else (as_tensor(input), weight, bias)
    return ops.Linear.apply(*inputs)


def linear_gelu(input: Any, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """gelu(linear(input, weight, bias)), in one pass over memory."""
    inputs = (as_tensor(input), weight) if bias is None else (as_tensor(input), weight, bias)
    return ops.LinearGelu.apply(*inputs)


def embedding(
    input: Any, weight: Tensor, padding_idx: int | None = None, *, name: str = "input"
) -> Tensor:
    """Rows of `weight` (V, D) by id: (...) integers to (..., D). Row `padding_idx` is not trained.

    Raises ValueError, calling the argument `name`, for ids outside 0 to V - 1.
    """
    ids = as_tensor(input, weight.device)
    return ops.Embedding.apply(ids, weight, padding_idx=padding_idx, name=name)


def layer_norm(
    input: Any,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """The last axes (of sizes `normalized_shape`) brought to mean 0 and variance 1, then scaled by
    `weight` and shifted by `bias`."""
    x = as_tensor(input)
    shape = _trailing_shape("layer_norm", x, normalized_shape, weight)
    _check_shape("layer_norm", "bias", bias, shape)
    if weight is None:
        weight = as_tensor(array_module(x.data).ones(shape, x.dtype))
    return ops.LayerNorm.apply(x, weight, bias, eps=eps)


def rms_norm(
    input: Any,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """The last axes divided by the root of their mean square, then scaled by `weight`.

    `eps` is added to the mean square; None means the smallest step of the dtype, as in torch.
    """
    x = as_tensor(input)
    shape = _trailing_shape("rms_norm", x, normalized_shape, weight)
    width = functools.reduce(lambda a, b: a * b, shape, 1)
    eps = float(array_module(x.data).finfo(x.dtype).eps) if eps is None else eps
    return ops.RMSNorm.apply(x, weight, width=width, eps=eps)


def scale_norm(input: Any, scale: Tensor, eps: float = 1e-6) -> Tensor:
    """scale * x / sqrt(mean(x^2) + eps) over the last axis, with one number `scale`."""
    return ops.ScaleNorm.apply(as_tensor(input), scale, eps=eps)


def batch_norm(
    input: Any,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Channels of (B, C, ...) brought to mean 0 and variance 1 over the batch.

    In training the running statistics, if given, move by `momentum` towards those of the batch (the
    unbiased variance); otherwise they are what normalises.
    """
    x = as_tensor(input)
    if x.ndim < 2:
        raise ValueError(f"batch_norm: input must be (B, C, ...), got shape {x.shape}")
    for name, given in (
        ("running_mean", running_mean),
        ("running_var", running_var),
        ("weight", weight),
        ("bias", bias),
    ):
        _check_shape("batch_norm", name, given, x.shape[1:2])
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: running_mean and running_var are needed unless training")
        mean, var = running_mean.data, running_var.data
        return ops.BatchNorm.apply(x, weight, bias, mean=mean, var=var, eps=eps)
    count = x.size // max(x.shape[1], 1)
    if count <= 1:
        raise ValueError(f"batch_norm: more than one value a channel is needed, got {x.shape}")
    if running_mean is not None and running_var is not None:
        axes = (0, *range(2, x.ndim))
        mean, var = x.data.mean(axis=axes), x.data.var(axis=axes) * (count / (count - 1))
        for running, batch in ((running_mean, mean), (running_var, var)):
            running.mul_(1 - momentum).add_(batch * momentum)
    return ops.BatchNorm.apply(x, weight, bias, eps=eps)


def dropout(input: Any, p: float = 0.5, training: bool = True) -> Tensor:
    """In training, elements set to 0 with probability p, the others divided by 1 - p."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be from 0 to 1, got {p}")
    x = as_tensor(input)
    return ops.Dropout.apply(x, p=p) if training and p else x


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    first: int = 0,
) -> Tensor:
    """softmax(query @ key^T * scale + attn_mask) @ value, in memory that is linear in the length.

    Args:
        query (..., Tq, K), key (..., Tk, K), value (..., Tk, Kv), with the same leading axes.
        attn_mask: broadcasts to (..., Tq, Tk). Floating: added to the scores. Boolean: True where
            a query may look; a query that may look nowhere gives zeros. It carries no gradient.
        dropout_p: probability of dropping a weight; 0 except in training.
        is_causal: query i looks at keys 0 to first + i only; `first` is how many came before.
        scale: of the scores; 1 / sqrt(K) if None.
        enable_gqa: key and value (B, G, Tk, K) may have fewer heads than query (B, H, Tq, K): with
            R = H / G, query heads g R to g R + R - 1 look at head g.
    """
    query, key, value = as_tensor(query), as_tensor(key), as_tensor(value)
    lead, (length, size) = query.shape[:-2], query.shape[-2:]
    grouped = enable_gqa and query.ndim == key.ndim == 4 and key.shape[:2] != lead
    if grouped and (key.shape[0] != lead[0] or not key.shape[1] or lead[1] % key.shape[1]):
        raise ValueError(
            f"scaled_dot_product_attention: the {lead[1]} heads of query must be a multiple of the "
            f"{key.shape[1]} of key, of one batch; got {query.shape} and {key.shape}"
        )
    if (
        key.shape[:-1] != value.shape[:-1]
        or (key.shape[:-2] != lead and not grouped)
        or key.shape[-1] != size
    ):
        raise ValueError(
            "scaled_dot_product_attention: expected query (..., Tq, K), key (..., Tk, K) and "
            f"value (..., Tk, Kv), got {query.shape}, {key.shape} and {value.shape}"
        )
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"scaled_dot_product_attention: dropout_p must be 0 to 1, got {dropout_p}")
    mask = None if attn_mask is None else as_tensor(attn_mask, query.device)
    if mask is not None:
        full = (*lead, length, key.shape[-2])
        if mask.ndim > len(full) or any(
            m not in (1, f) for m, f in zip(mask.shape[::-1], full[::-1], strict=False)
        ):
            raise ValueError(
                f"scaled_dot_product_attention: attn_mask of shape {mask.shape} does not "
                f"broadcast to {full}"
            )
        if mask.requires_grad:
            raise ValueError("scaled_dot_product_attention: attn_mask cannot require a gradient")
        mask = mask.reshape(*(1,) * (max(len(full), 4) - mask.ndim), *mask.shape)
    four = [_four_axes(x) for x in (query, key, value)]
    if mask is not None and mask.ndim > 4:
        mask = mask.expand(*lead, *mask.shape[-2:]).reshape(four[0].shape[:2] + mask.shape[-2:])
    y = ops.ScaledDotProductAttention.apply(
        *four,
        mask,
        scale=default_scale(size) if scale is None else scale,
        dropout_p=dropout_p,
        is_causal=is_causal,
        first=first,
    )
    return y if query.ndim == 4 else y.reshape(*lead, length, value.shape[-1])


def rotary_embedding(input: Any, cos: Any, sin: Any) -> Tensor:
    """The first R features of every vector turned by the angles of its position.

    input (..., T, K); cos and sin (..., T, R), R even, at most K. Features i and i + R/2 turn
    together; features from R on pass unchanged.
    """
    x = as_tensor(input)
    angles = ops.operand(cos, x), ops.operand(sin, x)
    if any(isinstance(a, Tensor) and a.requires_grad for a in angles):
        raise ValueError(
            "rotary_embedding: cos and sin are constants and cannot require a gradient"
        )
    return ops.RotaryEmbedding.apply(x, *angles)


# --- activations ----------------------------------------------------------------------------------


def gelu(input: Any, approximate: str = "none") -> Tensor:
    """x * Phi(x), exact; with approximate="tanh" it is `gelu_new`."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return (ops.Gelu if approximate == "none" else ops.GeluNew).apply(as_tensor(input))


def gelu_new(input: Any) -> Tensor:
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))."""
    return ops.GeluNew.apply(as_tensor(input))


def relu2(input: Any) -> Tensor:
    """max(x, 0)^2."""
    return ops.Relu2.apply(as_tensor(input))


def silu(input: Any) -> Tensor:
    """x * sigmoid(x)."""
    return ops.Silu.apply(as_tensor(input))


def laplace(input: Any, mu: float = 0.707107, sigma: float = 0.282095) -> Tensor:
    """(1 + erf((x - mu) / (sigma sqrt 2))) / 2."""
    return ops.Laplace.apply(as_tensor(input), mu=mu, sigma=sigma)


# --- moving averages ------------------------------------------------------------------------------


def power_sums(weight: Any, base: Any, length: int) -> Tensor:
    """sum_n weight_n base_n^t for t < length: (..., D, N) and (D, N) to (..., D, length)."""
    x = as_tensor(weight)
    return ops.PowerSums.apply(x, as_tensor(base, x.device), length=length)


def polynomials(coefficient: Any, base: Any) -> Tensor:
    """sum_t coefficient_t base_n^t: (..., D, T) and (D, N) to (..., D, N)."""
    x = as_tensor(coefficient)
    return ops.Polynomials.apply(x, as_tensor(base, x.device))


def long_convolution(input: Any, back: Any, ahead: Any = None) -> Tensor:
    """sum_j back_j x_(t-j) + ahead_j x_(t+j) for input x (B, T, D) and kernels (D, M), by FFT."""
    x = as_tensor(input)
    kernels = [as_tensor(kernel, x.device) for kernel in (back, ahead) if kernel is not None]
    if x.ndim != 3 or any(k.shape != (x.shape[2], kernels[0].shape[-1]) for k in kernels):
        shapes = ", ".join(str(t.shape) for t in (x, *kernels))
        raise ValueError(
            f"long_convolution: expected input (B, T, D) and kernels (D, M), got {shapes}"
        )
    return ops.LongConvolution.apply(x, *kernels)


def ema_recurrence(
    input: Any, decay: Any, enter: Any, leave: Any, state: Any = None
) -> tuple[Tensor, Tensor]:
    """Step by step state = decay * state + enter * x_t and y_t = sum_n leave_n state_n.

    input (B, T, D); decay, enter and leave (D, N); state (B, D, N), zeros if None. Returns y
    (B, T, D) and the last state.
    """
    x = as_tensor(input)
    given = [t for t in (decay, enter, leave, state) if t is not None]
    return ops.EMARecurrence.apply(x, *(as_tensor(t, x.device) for t in given))


# --- losses ---------------------------------------------------------------------------------------


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input)[target].

    Args:
        input: logits (N, C), (C,), or (N, C, d1, ...).
        target: class numbers (N,), (), or (N, d1, ...); or probabilities of the shape of input.
        weight: (C,) a factor for each class.
        ignore_index: targets with this number do not count.
        reduction: "mean" (over the targets that count), "sum" or "none".
        label_smoothing: this share of the target is spread over all classes.
    """
    x = as_tensor(input)
    return ops.CrossEntropy.apply(
        x,
        as_tensor(target, x.device),
        _optional(weight, x),
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-input[target], for log-probabilities (N, C) or (N, C, d1, ...)."""
    x = as_tensor(input)
    return ops.NLLLoss.apply(
        x,
        as_tensor(target, x.device),
        _optional(weight, x),
        ignore_index=ignore_index,
        reduction=reduction,
    )


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Tensor:
    """-(t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))), without overflow; `pos_weight` scales the
    first term, `weight` the whole."""
    x = as_tensor(input)
    return ops.BCEWithLogits.apply(
        x,
        as_tensor(target, x.device),
        _optional(weight, x),
        _optional(pos_weight, x),
        reduction=reduction,
    )


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """(input - target)^2."""
    x = as_tensor(input)
    return ops.MSE.apply(x, as_tensor(target, x.device), reduction=reduction)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """|input - target|."""
    x = as_tensor(input)
    return ops.L1.apply(x, as_tensor(target, x.device), reduction=reduction)


def kl_div(input: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target * (log target - input), for log-probabilities `input` (and `target` if `log_target`).

    "batchmean" divides the sum by the first axis, which is the divergence of the definition.
    """
    x = as_tensor(input)
    target = as_tensor(target, x.device)
    return ops.KLDiv.apply(x, target, reduction=reduction, log_target=log_target)


def one_hot(input: Any, num_classes: int = -1) -> Tensor:
    """Class numbers (...) to (..., num_classes) integers, 1 at the number and 0 elsewhere."""
    ids = as_tensor(input).data
    xp = array_module(ids)
    if num_classes == -1:
        num_classes = int(ids.max()) + 1 if ids.size else 0
    ops.check_range(ids, num_classes, "input")
    return as_tensor((ids[..., None] == xp.arange(num_classes)).astype("int64"))


# --- joining and choosing -------------------------------------------------------------------------


@torch_keywords(dim="axis")
def concat(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors joined along an axis that they have."""
    return ops.Concat.apply(*_several(tensors), axis=axis)


@torch_keywords(dim="axis")
def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis."""
    return ops.Stack.apply(*_several(tensors), axis=axis)


def where(condition: Any, input: Any, other: Any) -> Tensor:
    """`input` where `condition` is true, `other` elsewhere; all broadcast."""
    like = next((x for x in (input, other, condition) if isinstance(x, Tensor)), None)
    like = as_tensor(condition) if like is None else like
    return ops.Where.apply(*(ops.operand(x, like) for x in (condition, input, other)))


def einsum(equation: str, *operands: Any) -> Tensor:
    """Products summed over the letters that the output lacks: einsum("bqd,bkd->bqk", q, k)."""
    return ops.Einsum.apply(*(as_tensor(x) for x in operands), equation=equation)


# --- methods of Tensor as functions ---------------------------------------------------------------


def _function(method: Any) -> Callable[..., Any]:
    """A method of Tensor as a function that also takes arrays and lists."""

    @functools.wraps(method)
    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        return method(as_tensor(input), *args, **kwargs)

    return function


exp, log, sqrt, rsqrt = map(_function, (Tensor.exp, Tensor.log, Tensor.sqrt, Tensor.rsqrt))
tanh, sigmoid, relu, erf = map(_function, (Tensor.tanh, Tensor.sigmoid, Tensor.relu, Tensor.erf))
abs, clip, masked_fill = map(_function, (Tensor.abs, Tensor.clip, Tensor.masked_fill))
softmax, log_softmax, logsumexp = map(
    _function, (Tensor.softmax, Tensor.log_softmax, Tensor.logsumexp)
)
split, chunk, pad, roll = map(_function, (Tensor.split, Tensor.chunk, Tensor.pad, Tensor.roll))
flip, tril, triu, cumsum = map(_function, (Tensor.flip, Tensor.tril, Tensor.triu, Tensor.cumsum))
gather, scatter_add, rfft, irfft = map(
    _function, (Tensor.gather, Tensor.scatter_add, Tensor.rfft, Tensor.irfft)
)


# --- arguments ------------------------------------------------------------------------------------


def _optional(value: Any, like: Tensor) -> Tensor | None:
    return None if value is None else as_tensor(value, like.device)


def _several(tensors: Sequence[Any]) -> list[Tensor]:
    """At least one tensor; arrays among them are wrapped on the device of the first Tensor."""
    if isinstance(tensors, Tensor) or not tensors:
        raise TypeError("tensors must be a list or tuple with at least one tensor")
    like = next((x for x in tensors if isinstance(x, Tensor)), None)
    return [as_tensor(x, None if like is None else like.device) for x in tensors]


def _four_axes(x: Tensor) -> Tensor:
    """(..., T, K) as (B, H, T, K): leading axes joined in front, or axes of size 1 put there."""
    if x.ndim == 4:
        return x
    if x.ndim < 4:
        return x.reshape(*(1,) * (4 - x.ndim), *x.shape)
    return x.reshape(-1, *x.shape[-3:])


def _check_shape(function: str, name: str, given: Tensor | None, shape: tuple[int, ...]) -> None:
    if given is not None and given.shape != shape:
        raise ValueError(f"{function}: {name} must have shape {shape}, got {given.shape}")


def _trailing_shape(
    name: str, x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None
) -> tuple[int, ...]:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if x.shape[x.ndim - len(shape) :] != shape or (weight is not None and weight.shape != shape):
        found = "" if weight is None else f" and weight of shape {weight.shape}"
        raise ValueError(
            f"{name}: input of shape {x.shape}{found} must end in normalized_shape {shape}"
        )
    return shape
