"""Benchmark MEGA and its moving average over a long sequence against torch."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, no_grad, set_default_device
from tinybert.bench.bert import gradient_difference, torch_twin
from tinybert.bench.timing import Prepared
from tinybert.models import MegaConfig, MegaModel

MEGA: dict[str, Any] = {
    "vocab_size": 1000,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "use_chunking": True,
    "chunk_size": 128,
    "dropout_prob": 0.0,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "nffn_activation_dropout_prob": 0.0,
}


def moving_average(
    device: str, length: int, features: int, memories: int = 16, train: bool = False
) -> Prepared:
    """Compute the kernels and the convolution; with `train` also the gradients of all inputs.

    The torch implementation follows MegaMultiDimensionDampedEma of transformers.
    """
    import torch

    arrays = _inputs(length, features, memories)
    leaves = [Tensor(array, requires_grad=train, device=device) for array in arrays]
    twins = [torch.tensor(array, requires_grad=train, device=device) for array in arrays]

    def ours(_: Any = None) -> list[np.ndarray]:
        x, decay, enter, leave = leaves
        if not train:
            with no_grad():
                kernel = F.power_sums(enter * leave, decay, length)
                return [F.long_convolution(x, kernel).numpy()]
        y = F.long_convolution(x, F.power_sums(enter * leave, decay, length))
        y.backward(x.detach())
        return [y.numpy(), *(pop_grad(leaf).numpy() for leaf in leaves)]

    def theirs(_: Any = None) -> list[np.ndarray]:
        x, decay, enter, leave = twins
        with torch.set_grad_enabled(train):
            steps = torch.arange(length, device=device).to(x)
            powers = torch.exp(steps * torch.log(decay)[..., None])  # (D, N, T)
            kernel = torch.einsum("dnt,dn->dt", enter[..., None] * powers, leave)
            y = convolution_in_torch(x, kernel)
        if train:
            y.backward(x.detach())
        gradients = [pop_grad(leaf) for leaf in twins] if train else []
        return [tensor.detach().cpu().numpy() for tensor in (y, *gradients)]

    return Prepared(ours, {"torch": theirs}, {"torch": relative_difference(ours(), theirs())})


def mega_step(device: str, length: int, config: dict[str, Any] | None = None) -> Prepared:
    """Run a MEGA in chunks of 128 tokens forward and backward; all gradients are compared."""
    import torch

    sizes = {**MEGA, **(config or {})}
    with set_default_device(device):
        model = MegaModel(MegaConfig(**sizes), add_pooling_layer=False).train()
    twin = torch_twin(
        model, device, add_pooling_layer=False
    ).train()  # eval() would keep a graph that is freed
    rng = np.random.default_rng(0)
    ids = rng.integers(0, sizes["vocab_size"], (1, length))
    cotangent = rng.standard_normal((1, length, sizes["hidden_size"])).astype(np.float32) / length
    our_inputs = [Tensor(array, device=device) for array in (ids, cotangent)]
    their_inputs = [torch.from_numpy(array).to(device) for array in (ids, cotangent)]

    def step(a_model: Any, inputs: list[Any], _: Any = None) -> Any:
        a_model.zero_grad()
        y = a_model(inputs[0]).last_hidden_state
        y.backward(inputs[1])
        return y.detach()

    gap = np.abs(step(model, our_inputs).numpy() - step(twin, their_inputs).cpu().numpy()).max()
    difference = max(float(gap), gradient_difference(model, twin))
    sides = (model, our_inputs), (twin, their_inputs)
    ours, theirs = (partial(step, *side) for side in sides)
    return Prepared(ours, {"torch": theirs}, {"torch": difference})


def convolution(device: str, length: int, features: int) -> Prepared:
    """Compute only the convolution, with a kernel as long as the sequence."""
    import torch

    x, decay, enter, leave = (Tensor(a, device=device) for a in _inputs(length, features, 16))
    kernel = F.power_sums(enter * leave, decay, length)
    tensors = [torch.from_numpy(t.numpy()).to(device) for t in (x, kernel)]

    def ours(_: Any = None) -> list[np.ndarray]:
        with no_grad():
            return [F.long_convolution(x, kernel).numpy()]

    def theirs(_: Any = None) -> list[np.ndarray]:
        with torch.inference_mode():
            return [convolution_in_torch(*tensors).cpu().numpy()]

    return Prepared(ours, {"torch": theirs}, {"torch": relative_difference(ours(), theirs())})


def convolution_in_torch(x: Any, kernel: Any) -> Any:
    """Compute the causal convolution of x (B, T, D) with a kernel (D, T) in torch: (B, T, D)."""
    import torch

    n = 2 * x.shape[1]
    product = torch.fft.rfft(x.transpose(1, 2), n=n) * torch.fft.rfft(kernel, n=n)
    return torch.fft.irfft(product, n=n)[..., : x.shape[1]].transpose(1, 2).contiguous()


def _inputs(length: int, features: int, memories: int) -> list[np.ndarray]:
    """Return x (1, T, D) and the coefficients (D, N) of a new model."""
    rng = np.random.default_rng(0)
    shape = (features, memories)
    p, a = (1 / (1 + np.exp(-0.2 * rng.standard_normal(shape))) for _ in range(2))
    enter = p * np.where(np.arange(memories) % 2, -1.0, 1.0)
    leave = rng.standard_normal(shape) / memories**0.5
    x = rng.standard_normal((1, length, features))
    return [array.astype(np.float32) for array in (x, 1 - p * a, enter, leave)]


def pop_grad(leaf: Any) -> Any:
    """Return the gradient of a leaf, and reset it to None."""
    grad, leaf.grad = leaf.grad, None
    return grad


def relative_difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Return the largest difference, each relative to the largest value of its array."""
    return max(
        float(np.abs(mine - other).max() / np.abs(other).max())
        for mine, other in zip(ours, theirs, strict=True)
    )
