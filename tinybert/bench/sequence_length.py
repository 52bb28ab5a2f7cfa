"""What the length of a text costs, in time and in memory: full attention, MEGA, and MEGA in chunks.

One layer each, forward and backward, float32. The exponent of a cost is the slope of its logarithm
over that of the length: 1 is linear, 2 is quadratic.
"""

from __future__ import annotations

import gc
import math
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, set_default_device
from tinybert.models import BertConfig, BertModel, MegaConfig, MegaModel

HIDDEN = 128
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
FIT_FROM = 2048  # below, what does not depend on the length is a good part of the cost
BUDGET = 2.0  # seconds for the repetitions of a pass, of which the best counts
SIDES = ("full attention", "mega", "mega in chunks")


@dataclass
class Cost:
    """What one kind of model costs.

    Attributes:
        lengths: numbers of tokens. seconds: of a forward and a backward pass, the best of a few.
        megabytes: that arrays take at most in a pass, beyond the weights.
    """

    lengths: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def exponents(self) -> tuple[float, float]:
        """Of time and of memory, by least squares over lengths from `FIT_FROM` on; nan for fewer
        than two of them.
        """
        return tuple(_slope(self.lengths, costs) for costs in (self.seconds, self.megabytes))  # type: ignore[return-value]


def measure(
    lengths: Sequence[int] = LENGTHS,
    chunk: int = 128,
    limit: float = 20.0,
    device: str = "cpu",
    progress: Callable[[str, int], None] = lambda side, length: None,
) -> dict[str, Cost]:
    """The cost of each side at each length.

    Args:
        chunk: the size of MEGA's chunks.
        limit: a side stops at the length whose pass would take more seconds than this, judged by
            the lengths before.
        progress: called before each measurement.

    Memory is that of NumPy's arrays: on a GPU it is nan.
    """
    costs = {side: Cost() for side in SIDES}
    for side, cost in costs.items():
        for length in sorted(lengths):
            if cost.seconds:
                grown = length / cost.lengths[-1]
                power = 2 if side != "mega in chunks" else 1
                if cost.seconds[-1] * grown**power > limit:
                    break
            progress(side, length)
            seconds, megabytes = _pass_cost(side, length, chunk, device)
            cost.lengths.append(length)
            cost.seconds.append(seconds)
            cost.megabytes.append(megabytes)
    return costs


def _pass_cost(side: str, length: int, chunk: int, device: str) -> tuple[float, float]:
    with set_default_device(device):
        model = _model(side, length, chunk)
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
    tracemalloc.start()
    try:
        run()
        return min(times), tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def _model(side: str, length: int, chunk: int) -> BertModel | MegaModel:
    """One layer, without dropout; the models have about as many weights."""
    shared: dict[str, Any] = {"vocab_size": 100, "hidden_size": HIDDEN, "num_hidden_layers": 1}
    if side == "full attention":
        sizes: dict[str, Any] = {"num_attention_heads": 2, "intermediate_size": 2 * HIDDEN}
        config = BertConfig(**shared, **sizes, max_position_embeddings=length)
        return BertModel(config, add_pooling_layer=False).eval()
    chunks: dict[str, Any] = (
        {"use_chunking": True, "chunk_size": chunk} if side == "mega in chunks" else {}
    )
    return MegaModel(MegaConfig(**shared, **chunks), add_pooling_layer=False).eval()


def _slope(lengths: list[int], costs: list[float]) -> float:
    points = [(n, c) for n, c in zip(lengths, costs, strict=True) if n >= FIT_FROM and c > 0]
    if len(points) < 2:
        return math.nan
    x, y = (np.log([point[i] for point in points]) for i in (0, 1))
    return float(np.polyfit(x, y, 1)[0])
