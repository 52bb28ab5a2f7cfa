"""Arrays: which library holds an array, devices, random generators, and how kernels are chosen."""

from tinybert.backend.device import (
    Array,
    Backend,
    DeviceError,
    array_module,
    backend_of,
    cuda_is_available,
    device_of,
    is_array,
    is_device_name,
    is_mixed,
    parse_device,
    register_backend,
    to_device,
    to_host,
)
from tinybert.backend.kernels import Kernel, is_plain, kernel, plain
from tinybert.backend.random import (
    Rewind,
    draw_seed,
    generator,
    generator_for,
    manual_seed,
    seeded_generator,
)

__all__ = [
    "Array",
    "Backend",
    "DeviceError",
    "Kernel",
    "Rewind",
    "array_module",
    "backend_of",
    "cuda_is_available",
    "device_of",
    "draw_seed",
    "generator",
    "generator_for",
    "is_array",
    "is_device_name",
    "is_mixed",
    "is_plain",
    "kernel",
    "manual_seed",
    "parse_device",
    "plain",
    "register_backend",
    "seeded_generator",
    "to_device",
    "to_host",
]
