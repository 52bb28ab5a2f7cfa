"""Measure time and memory against the sequence length: full attention, MEGA, MEGA with chunks.

One layer each, forward and backward pass, float32. The exponent is the slope of log(cost) against
log(length): 1 is linear, 2 is quadratic.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, set_default_device
from tinybert.bench.timing import peak_megabytes
from tinybert.models import BertConfig, BertModel, MegaConfig, MegaModel

HIDDEN = 128
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
FIT_FROM = 2048  # for shorter sequences, constant costs matter
BUDGET = 2.0  # seconds for the repetitions of a pass; the fastest counts
MODELS = ("full attention", "mega", "mega in chunks")


@dataclass
class Cost:
    """The costs of one model.

    Attributes:
        lengths: numbers of tokens.
        seconds: the time of a forward and backward pass, the fastest of several.
        megabytes: the peak memory of arrays in a pass, without the weights.
    """

    lengths: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def exponents(self) -> tuple[float, float]:
        """Fit the exponents of time and memory by least squares, for lengths >= `FIT_FROM`.

        They are nan for fewer than two lengths.
        """
        return tuple(_slope(self.lengths, costs) for costs in (self.seconds, self.megabytes))  # type: ignore[return-value]


def measure(
    lengths: Sequence[int] = LENGTHS,
    chunk: int = 128,
    limit: float = 20.0,
    device: str = "cpu",
    progress: Callable[[str, int], None] = lambda model, length: None,
) -> dict[str, Cost]:
    """Measure the cost of each model at each length.

    Args:
        chunk: the chunk size of MEGA with chunks.
        limit: lengths whose pass would take more seconds, estimated from shorter ones, are left
            out.
        progress: called with model and length before each measurement.

    The memory is that of NumPy arrays; on a GPU it is nan.
    """
    costs = {model: Cost() for model in MODELS}
    for model, cost in costs.items():
        for length in sorted(lengths):
            if cost.seconds:
                grown = length / cost.lengths[-1]
                power = 2 if model != "mega in chunks" else 1
                if cost.seconds[-1] * grown**power > limit:
                    break
            progress(model, length)
            seconds, megabytes = _pass_cost(model, length, chunk, device)
            cost.lengths.append(length)
            cost.seconds.append(seconds)
            cost.megabytes.append(megabytes)
    return costs


def _pass_cost(name: str, length: int, chunk: int, device: str) -> tuple[float, float]:
    with set_default_device(device):
        model = _model(name, length, chunk)
    ids = Tensor(np.arange(length)[None] % 100, device=device)

    def run() -> None:
        model.zero_grad()
        output = model(ids).last_hidden_state
        output.mean().backward()

    run()
    times: list[float] = []
    while not times or (len(times) < 5 and sum(times) < BUDGET):
        gc.collect()
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    if device != "cpu":
        return min(times), math.nan
    model.zero_grad()
    return min(times), peak_megabytes(run)


def _model(name: str, length: int, chunk: int) -> BertModel | MegaModel:
    """Return a model of one layer in evaluation mode; all have about the same number of weights."""
    shared: dict[str, Any] = {"vocab_size": 100, "hidden_size": HIDDEN, "num_hidden_layers": 1}
    if name == "full attention":
        sizes: dict[str, Any] = {"num_attention_heads": 2, "intermediate_size": 2 * HIDDEN}
        config = BertConfig(**shared, **sizes, max_position_embeddings=length)
        return BertModel(config, add_pooling_layer=False).eval()
    chunks: dict[str, Any] = (
        {"use_chunking": True, "chunk_size": chunk} if name == "mega in chunks" else {}
    )
    return MegaModel(MegaConfig(**shared, **chunks), add_pooling_layer=False).eval()


def _slope(lengths: list[int], costs: list[float]) -> float:
    points = [(n, c) for n, c in zip(lengths, costs, strict=True) if n >= FIT_FROM and c > 0]
    if len(points) < 2:
        return math.nan
    x, y = (np.log([point[i] for point in points]) for i in (0, 1))
    return float(np.polyfit(x, y, 1)[0])
