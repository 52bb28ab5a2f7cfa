"""Random numbers: one generator for each device, all seeded together by `manual_seed`.

Streams of different devices differ, also from the same seed; weights are therefore always drawn on
the CPU, so that a seed gives one model everywhere. Only dropout is drawn on the device. Each thread
has its own stream, so threads cannot disturb each other: the first thread that draws after
`manual_seed` has the stream of the seed, the next ones get streams of their own in this order.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinybert.backend.device import Array, backend_of, device_of, parse_device


class _Streams(threading.local):
    """The generators of each thread by device, all from one seed."""

    def __init__(self, seed: int | None, threads: itertools.count[int]) -> None:
        self.seed, self.threads = seed, threads
        self.number: int | None = None
        self.generators: dict[str, Any] = {}

    def seed_of_thread(self) -> Any:
        """Return the seed itself in the first thread that asks, then the seed and a number."""
        if self.number is None:
            self.number = next(self.threads)
        return self.seed if self.seed is None or not self.number else (self.seed, self.number)


_streams = _Streams(None, itertools.count())


class manual_seed:
    """Seed every device's generator. As a context manager it restores the former generators at
    the end.
    """

    def __init__(self, seed: int) -> None:
        global _streams
        if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
            raise ValueError(f"seed must be an integer from 0 to 2**63 - 1, got {seed!r}")
        self._before, _streams = _streams, _Streams(int(seed), itertools.count())

    def __enter__(self) -> manual_seed:
        return self

    def __exit__(self, *exc_info: object) -> None:
        global _streams
        _streams = self._before


def generator(device: str = "cpu") -> Any:
    """Return the generator of `device`, an object with NumPy's `Generator` methods `random` and
    `standard_normal`.
    """
    backend, index = parse_device(device)
    key = f"{backend.name}:{index}"
    if key not in _streams.generators:
        _streams.generators[key] = backend.new_generator(_streams.seed_of_thread())
    return _streams.generators[key]


def generator_for(array: Array) -> Any:
    """Return the generator of the device that holds `array`."""
    return generator(device_of(array))


def draw_kept(generator: Any, shape: Sequence[int], p: float) -> Array:
    """Return where uniform numbers (float32) are at least p: each is True with probability 1 - p.

    A float32 number is the upper 24 of 32 random bits. NumPy's generators give the bits of two
    numbers at once, four times as fast; of an odd number of draws they would keep one for later.
    """
    size, bits = math.prod(shape), getattr(generator, "bit_generator", None)
    if not isinstance(bits, np.random.SFC64) or size % 2 or bits.state["has_uint32"]:
        return generator.random(shape, dtype="float32") >= p
    limit = math.ceil(float(np.float32(p)) * 2**24) << 8
    words = bits.random_raw(size // 2).astype("<u8", copy=False).view("<u4")
    return (words >= limit).reshape(shape)


def draw_seed() -> int:
    """Return a 63-bit seed from the CPU's generator, to draw the same numbers again in backward."""
    seed = generator("cpu").integers(2**63)
    return seed if isinstance(seed, int) else int(seed)


def seeded_generator(array: Array, seed: int, *place: int) -> Any:
    """Return a new generator on the device of `array` whose stream depends on integers alone."""
    new = backend_of(array).new_generator((seed, *place))
    return seed.shared(new) if hasattr(seed, "shared") else new  # see `parallel/streams.py`


@contextmanager
def drawing_from(generators: dict[str, Any]) -> Iterator[None]:
    """Let this thread draw from these generators, by device, in the `with` block."""
    streams, before = _streams, _streams.generators
    streams.generators = {**before, **generators}
    try:
        yield
    finally:
        streams.generators = before


def generator_state() -> dict[str, Any]:
    """Return the state of every generator that is in use, ready for JSON.

    The state of CuPy's generator cannot be read. It is replaced by a new one, whose seed is stored.
    """
    states: dict[str, Any] = {}
    for key in list(_streams.generators):
        bits = getattr(_streams.generators[key], "bit_generator", None)
        if isinstance(bits, np.random.BitGenerator):
            states[key] = bits.state
        else:
            states[key] = draw_seed()
            _streams.generators[key] = parse_device(key)[0].new_generator(states[key])
    states["cpu:0"] = generator("cpu").bit_generator.state  # after all seeds are drawn
    return states


def set_generator_state(states: Mapping[str, Any]) -> None:
    """Continue the streams of random numbers from saved states."""
    for key, state in states.items():
        if isinstance(state, int):
            _streams.generators[key] = parse_device(key)[0].new_generator(state)
        else:
            generator(key).bit_generator.state = state
