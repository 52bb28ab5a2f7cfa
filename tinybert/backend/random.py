"""Random numbers: one generator for each device, all seeded together by `manual_seed`.

Streams of different devices differ, also from the same seed; weights are therefore always drawn on
the CPU, so that a seed gives one model everywhere. Only dropout is drawn on the device.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinybert.backend.device import Array, backend_of, device_of, parse_device

_seed: int | None = None
_generators: dict[str, Any] = {}


class manual_seed:
    """Seed every device's generator. As a context manager it restores the former generators at
    the end.
    """

    def __init__(self, seed: int) -> None:
        global _seed, _generators
        if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
            raise ValueError(f"seed must be an integer from 0 to 2**63 - 1, got {seed!r}")
        self._before = _seed, _generators
        _seed, _generators = int(seed), {}

    def __enter__(self) -> manual_seed:
        return self

    def __exit__(self, *exc_info: object) -> None:
        global _seed, _generators
        _seed, _generators = self._before


def generator(device: str = "cpu") -> Any:
    """Return the generator of `device`, an object with NumPy's `Generator` methods `random` and
    `standard_normal`.
    """
    backend, index = parse_device(device)
    key = f"{backend.name}:{index}"
    if key not in _generators:
        _generators[key] = backend.new_generator(_seed)
    return _generators[key]


def generator_for(array: Array) -> Any:
    """Return the generator of the device that holds `array`."""
    return generator(device_of(array))


def draw_seed() -> int:
    """Return a 63-bit seed from the CPU's generator, to draw the same numbers again in backward."""
    return int(generator("cpu").integers(2**63))


def seeded_generator(array: Array, *seed: int) -> Any:
    """Return a new generator on the device of `array` whose stream depends on `seed` alone."""
    return backend_of(array).new_generator(seed)


class Rewind:
    """A record of the generators' states: `with rewind: ...` draws the same numbers again.

    Numbers drawn inside do not change the other streams. A generator that cannot be copied (CuPy's)
    is replaced by a new one, whose seed is stored.
    """

    def __init__(self, device: str) -> None:
        backend, index = parse_device(device)
        self._key, self._new = f"{backend.name}:{index}", backend.new_generator
        if backend.name != "cpu":  # its new seed comes from the CPU's generator, so this is first
            self._seed = draw_seed()
            _generators[self._key] = self._new(self._seed)
        self._cpu = copy.deepcopy(generator("cpu"))

    def __enter__(self) -> Rewind:
        global _generators
        self._before = _generators
        again = {"cpu:0": copy.deepcopy(self._cpu)}
        if self._key not in again:
            again[self._key] = self._new(self._seed)
        _generators = {**_generators, **again}
        return self

    def __exit__(self, *exc_info: object) -> None:
        global _generators
        _generators = self._before


def generator_state() -> dict[str, Any]:
    """Return the state of every generator that is in use, ready for JSON.

    The state of CuPy's generator cannot be read. It is replaced by a new one, whose seed is stored.
    """
    states: dict[str, Any] = {}
    for key in list(_generators):
        bits = getattr(_generators[key], "bit_generator", None)
        if isinstance(bits, np.random.BitGenerator):
            states[key] = bits.state
        else:
            states[key] = draw_seed()
            _generators[key] = parse_device(key)[0].new_generator(states[key])
    states["cpu:0"] = generator("cpu").bit_generator.state  # after all seeds are drawn
    return states


def set_generator_state(states: Mapping[str, Any]) -> None:
    """Continue the streams of random numbers from saved states."""
    for key, state in states.items():
        if isinstance(state, int):
            _generators[key] = parse_device(key)[0].new_generator(state)
        else:
            generator(key).bit_generator.state = state
