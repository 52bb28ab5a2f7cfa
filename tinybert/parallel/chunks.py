"""Chunks over ranks: each rank computes some tokens of every text, for MEGA with `use_chunking`.

    rank 0                   rank 1                   rank 2
    chunk 0 | chunk 1  --->  chunk 2 | chunk 3  --->  chunk 4 | chunk 5
                       <---                     <---                      if bidirectional

Attention does not leave a chunk, and all else is computed token by token. Only the moving average
crosses the border of a rank, as a state of N numbers for each of the D features. It is linear: a
rank computes its L tokens from a state of 0, then adds what the state of the ranks before does to
them. From eq. 5-6, with q = 1 - p a the decay of a step:

    before_r = q^L before_(r-1) + own_(r-1)        own: the last state of a rank, from 0
    y_t     += gamma . (q^(t+1) before_r) / sqrt(N)          t = 0 ... L - 1

The first line is a scan over the ranks (`Scan`), and its backward the scan in the other direction.
The second average of a bidirectional model runs from the last rank to the first. Each rank has the
loss of its own labels; gradients of weights are added over the ranks, as over the rows of a batch.

Source   Ma et al. 2022, arXiv:2209.10655, the section on Mega-chunk, and eq. 5-6; Blelloch 1990,
         "Prefix sums and their applications": a first-order recurrence as a scan
Shapes   B batch, T tokens, L tokens of a rank, D hidden, N dimensions of the moving average
Bytes    of a layer and a micro-batch: a rank sends B D N numbers to the next in forward, and as
         many to the one before in backward, twice that if bidirectional. The first and the last
         rank have one neighbour. Hidden states are not sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Function, Tensor
from tinybert.backend import array_module, device_of, to_device
from tinybert.models import heads
from tinybert.models.losses import IGNORED
from tinybert.nn import DampedEMA, Module
from tinybert.parallel.communicator import Communicator
from tinybert.training.losses import masked_scores


class Scan(Function):
    """before_r = decay * before_(r-1) + own_(r-1), and 0 on the first rank.

    Backward. A rank's state acts on its own tokens, dbefore_r, and on those of the ranks after it:

        down_r = dbefore_r + decay * down_(r+1)
        down_(r+1) is the gradient of own_r, and ddecay = before_r * down_(r+1), summed over B

    Shapes   own, before (B, D, N)   decay (D, N), over all tokens of a rank
    With `backwards` the first rank is the last, and the scan ends at rank 0.
    """

    half_on = ""

    def forward(self, own: Any, decay: Any, *, group: Communicator, backwards: bool) -> Any:
        self.group, self.decay = group, decay
        self.step = -1 if backwards else 1
        self.before = self._received(own, -self.step)
        self._send(self.decay * self.before + own, self.step)
        return self.before.copy()

    def backward(self, dbefore: Any) -> Any:
        down = self._received(dbefore, self.step)
        self._send(dbefore + self.decay * down, -self.step)
        return down, (self.before * down).sum(axis=0)

    def _received(self, like: Any, step: int) -> Any:
        """Return the array that the neighbour sends; zeros if there is none."""
        source = self.group.rank + step
        if not 0 <= source < self.group.size:
            return array_module(like).zeros_like(like)
        return to_device(self.group.recv(like.shape, like.dtype, source), device_of(like))

    def _send(self, array: Any, step: int) -> None:
        if 0 <= self.group.rank + step < self.group.size:
            self.group.send(array, self.group.rank + step).wait()


class SpreadEMA(DampedEMA):
    """The moving average of a sequence whose parts are on the ranks of a group, in their order.

    Args:
        layer: the layer of one process, whose parameters it takes.
        group: the ranks of a text, each with as many tokens.

    Attributes:
        whole: whether a call has all tokens of its texts; then nothing is exchanged.
    """

    def __init__(self, layer: DampedEMA, group: Communicator) -> None:
        Module.__init__(self)
        self.hidden_size, self.projection_size = layer.hidden_size, layer.projection_size
        self.bidirectional, self.truncation = layer.bidirectional, layer.truncation
        for name, parameter in layer._parameters.items():
            setattr(self, name, parameter)
        self.group, self.whole = group, False

    def _convolve(self, x: Tensor) -> Tensor:
        y = super()._convolve(x)
        if self.whole:
            return y
        factors = [f.split(self.hidden_size, axis=0) for f in self.coefficients()]
        for backwards, (decay, enter, leave) in enumerate(zip(*factors, strict=True)):
            y = y + self._from_other_ranks(x, decay, enter, leave, bool(backwards))
        return y

    def _from_other_ranks(
        self, x: Tensor, decay: Tensor, enter: Tensor, leave: Tensor, backwards: bool
    ) -> Tensor:
        """Return what the tokens of earlier ranks add to y (B, L, D); of later ones, backwards."""
        length = x.shape[1]
        last_first = x if backwards else x.flip(1)
        own = enter * F.polynomials(last_first.transpose(1, 2), decay)  # (B, D, N)
        before = Scan.apply(own, decay**length, group=self.group, backwards=backwards)
        more = F.power_sums(before * (leave * decay), decay, length).transpose(1, 2)  # (B, L, D)
        return more.flip(1) if backwards else more

    def _resume(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.whole:
            return super()._resume(x, state)
        raise ValueError(
            "chunks spread over ranks cannot keep a cache: call the model with use_cache=False"
        )


def spread_chunks(model: Any, group: Communicator) -> None:
    """Let a model compute this rank's tokens of its texts, in place; see `own_tokens`.

    Raises ValueError for a model or an option whose chunks depend on each other.
    """
    config = model.config
    if config.model_type != "mega" or not isinstance(model, (heads.MaskedLM, heads.CausalLM)):
        raise ValueError(
            "chunks divide the texts of MegaForMaskedLM and MegaForCausalLM, not of "
            f"{type(model).__name__}; use data parallelism (chunks=1)"
        )
    for name, fits, change in (
        ("use_chunking", config.use_chunking, "set use_chunking=True and a chunk_size"),
        ("truncation", config.truncation is None, "set truncation=None"),
        ("normalization_type", "batchnorm" not in config.normalization_type, "choose another norm"),
        ("add_cross_attention", not config.add_cross_attention, "set add_cross_attention=False"),
    ):
        if not fits:
            option = f"{name}={getattr(config, name)!r}"
            raise ValueError(f"chunks={group.size} cannot be used with {option}: {change}")
    for layer in model.base_model.stack:
        layer.mega_layer.ema_gate = SpreadEMA(layer.mega_layer.ema_gate, group)


@contextmanager
def whole_texts(model: Module) -> Iterator[None]:
    """In the `with` block a spread model takes all tokens of its texts, on each rank alone."""
    layers = [module for module in model.modules() if isinstance(module, SpreadEMA)]
    for layer in layers:
        layer.whole = True
    try:
        yield
    finally:
        for layer in layers:
            layer.whole = False


def own_tokens(batch: dict[str, Any], model: Any, group: Communicator) -> dict[str, Any]:
    """Return this rank's tokens of a batch: T / size of them, whole chunks.

    Args:
        batch: arrays (B, T), the same on every rank: `input_ids`, and perhaps `attention_mask`,
            `token_type_ids` and `labels`. If T is no multiple of size * chunk_size, rows are padded
            on the right, with a mask; dropout then draws other numbers than for the plain batch.

    The labels (B, T / size) of a causal model are those of the next tokens, the last of which may
    be the first of the next rank: the loss does not shift them again.
    """
    config = model.config
    arrays = {name: np.asarray(array) for name, array in batch.items()}
    shape = arrays["input_ids"].shape
    for name, array in arrays.items():
        if array.shape != shape:
            raise ValueError(f"{name} must have the shape {shape} of input_ids, got {array.shape}")
    missing = -shape[1] % (config.chunk_size * group.size)
    if missing:
        arrays.setdefault("attention_mask", np.ones(shape, np.int64))
    if "labels" in arrays and isinstance(model, heads.CausalLM):
        arrays["labels"] = np.pad(
            arrays["labels"][:, 1:], ((0, 0), (0, 1)), constant_values=IGNORED
        )
    length = (shape[1] + missing) // group.size
    own = slice(group.rank * length, (group.rank + 1) * length)
    filling = {"labels": IGNORED, "input_ids": config.pad_token_id or 0}
    return {
        name: np.pad(array, ((0, 0), (0, missing)), constant_values=filling.get(name, 0))[:, own]
        for name, array in arrays.items()
    }


def own_loss(model: Any, batch: dict[str, Any]) -> Tensor:
    """Return the mean loss of this rank's labels, from a batch of `own_tokens`; 0 without labels.

    Every rank needs a loss, with or without labels, since others wait for its gradients.
    """
    scores, labels = masked_scores(model, {**batch, "use_cache": False})
    return F.cross_entropy(scores, labels, reduction="sum") / max(1, len(labels))
