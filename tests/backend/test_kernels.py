"""Every fused kernel against its plain formula in `reference.py`: on the CPU, and on a GPU.

Sizes lie around those at which the CPU's kernels cut blocks and wake threads.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests import support
from tests.tolerances import FLOAT16_EPS, FLOAT32_EPS, FLOAT64_EPS, KERNEL_ULPS
from tinybert import backend
from tinybert.backend import cpu
from tinybert.backend.reference import Reference

REFERENCE = Reference(np, None)
EPS = {"float16": FLOAT16_EPS, "float32": FLOAT32_EPS, "float64": FLOAT64_EPS}
WIDE = ("float32", "float64")  # float16 is widened before these kernels
# Rows and width: odd ones; one, two and more blocks; just below and from the parallel threshold on.
SIZES = [
    (1, 1), (3, 11), (0, 5), (5, 1), (2, cpu.BLOCK // 2), (3, cpu.BLOCK + 1), (255, 257),
    (cpu.PARALLEL_FROM // 384, 384), (cpu.PARALLEL_FROM // 384 + 1, 384), (700, 384),
]  # fmt: skip
BIG = cpu.PARALLEL_FROM
LENGTHS = [0, 1, 7, cpu.BLOCK, cpu.BLOCK + 1, BIG - 1, BIG, 3 * cpu.BLOCK + 5]


class Kernels:
    """The kernels of one device, taking and giving NumPy arrays."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.module = backend.parse_device(device)[0].kernels

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            arrays = [
                backend.to_device(a, self.device) if isinstance(a, np.ndarray) else a for a in args
            ]
            result = getattr(self.module, name)(*arrays, **options)
            if name == "adam_":
                return tuple(backend.to_host(a) for a in arrays)
            return tuple(map(self.here, result)) if isinstance(result, tuple) else self.here(result)

        return call

    def here(self, array: Any) -> Any:
        return None if array is None else backend.to_host(array)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    try:
        yield Kernels(request.param)
    except backend.DeviceError as reason:
        pytest.skip(str(reason))


def draw(shape: Any, dtype: str, seed: int = 0) -> np.ndarray:
    """Normal numbers that the dtype can hold."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def compare(ours: Any, arguments: tuple[Any, ...], name: str, dtype: str, **options: Any) -> None:
    """Results of the dtype, within a few units in the last place of the formula in float64."""
    double = [a.astype(np.float64) if _is_float(a) else a for a in arguments]
    expected = getattr(REFERENCE, name)(*double, **options)
    pairs = zip(ours, expected, strict=True) if isinstance(ours, tuple) else [(ours, expected)]
    for number, (result, want) in enumerate(pairs):
        if want is None:
            assert result is None
            continue
        assert result.dtype == dtype
        tolerance = KERNEL_ULPS * EPS[dtype]
        support.assert_close(
            result.astype(np.float64), want, rtol=tolerance, name=f"{name} {number}"
        )


def _is_float(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def test_every_kernel_has_one_signature() -> None:
    names = {name for name in vars(Reference) if not name.startswith("_")} | {"new_generator"}
    assert {name for name, value in _public(cpu)} >= names
    for name in names - {"new_generator"}:
        reference = list(inspect.signature(getattr(Reference, name)).parameters)[1:]
        assert list(inspect.signature(getattr(cpu, name)).parameters) == reference, name
    cuda = pytest.importorskip("tinybert.backend.cuda", reason="CuPy is not installed")
    for name in names:
        ours = list(inspect.signature(getattr(cuda, name)).parameters)
        assert ours == list(inspect.signature(getattr(cpu, name)).parameters), name


def _public(module: ModuleType) -> list[tuple[str, Any]]:
    return [(n, v) for n, v in vars(module).items() if callable(v) and not n.startswith("_")]


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("length", LENGTHS)
def test_elementwise(kernels: Kernels, dtype: str, length: int) -> None:
    x = 3 * draw(length, dtype)
    compare(kernels.erf(x), (x,), "erf", dtype)
    compare(kernels.gelu(x, False), (x, False), "gelu", dtype)
    compare(kernels.gelu(x, True), (x, True), "gelu", dtype)


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_softmax(kernels: Kernels, dtype: str, size: tuple[int, int]) -> None:
    if size[1] > 1000 and dtype == "float16":
        pytest.skip("float16 cannot hold the weights of so many elements")
    x = 3 * draw(size, dtype)
    compare(kernels.softmax_(x.copy()), (x,), "softmax_", dtype)
    saved = kernels.softmax_(draw(size, dtype)), draw(size, dtype, 1)
    compare(kernels.softmax_backward(*saved), saved, "softmax_backward", dtype)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_layer_norm(kernels: Kernels, dtype: str, size: tuple[int, int]) -> None:
    x, dy = draw(size, dtype), draw(size, dtype, 1)
    weight, bias = draw(size[1], dtype, 2), draw(size[1], dtype, 3)
    y, x_hat, rstd = kernels.layer_norm(x, weight, bias, 1e-5)
    compare((y, x_hat, rstd), (x, weight, bias, 1e-5), "layer_norm", dtype)
    saved = dy, x_hat, rstd, weight
    compare(kernels.layer_norm_backward(*saved), saved, "layer_norm_backward", dtype)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("size", [s for s in SIZES if s[1]], ids=str)
def test_cross_entropy(kernels: Kernels, dtype: str, size: tuple[int, int]) -> None:
    logits = 3 * draw(size, dtype)
    targets = np.random.default_rng(1).integers(0, size[1], size[0])
    loss, log_total = kernels.cross_entropy(logits, targets)
    compare((loss, log_total), (logits, targets), "cross_entropy", dtype)
    saved = logits, targets, log_total, draw((size[0], 1), dtype, 2)
    compare(kernels.cross_entropy_backward(*saved), saved, "cross_entropy_backward", dtype)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("rows", [1, 5, 700])
def test_linear(kernels: Kernels, dtype: str, rows: int) -> None:
    x, weight, bias = draw((rows, 33), dtype), draw((257, 33), dtype, 1), draw(257, dtype, 2)
    compare(kernels.linear(x, weight, bias), (x, weight, bias), "linear", dtype)
    compare(kernels.linear(x, weight, None), (x, weight, None), "linear", dtype)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (512, 4), (1030, 2), (0, 3)])
def test_transposed(kernels: Kernels, shape: tuple[int, int]) -> None:
    wide = draw((shape[0], 7), "float32")
    for x in (wide[:, : shape[1]], wide[::-1, 1 : 1 + shape[1]]):
        y = np.asarray(kernels.transposed(x))
        assert y.flags.c_contiguous
        assert y.shape == x.T.shape
        assert (y == x.T).all()


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize(("number", "count"), [(0, 4), (1, 1), (7, 3), (300, 1000), (2000, 5)])
def test_scatter_add(kernels: Kernels, dtype: str, number: int, count: int) -> None:
    values = draw((number, 3), dtype)
    rows = np.random.default_rng(1).integers(0, count, number)
    sums = "float32" if dtype == "float16" else dtype
    added = kernels.scatter_add_rows(values.astype(sums), rows, count)
    compare(added, (values, rows, count), "scatter_add_rows", sums)
    flat = np.ascontiguousarray(values[:, 0])
    added = kernels.scatter_add_flat(flat.astype(sums), rows, count)
    compare(added, (flat, rows, count), "scatter_add_flat", sums)


def test_scatter_add_of_one_row_in_float16(kernels: Kernels) -> None:
    values, rows = draw((6, 2), "float16"), np.array([2, 2, 0, 2, 5, 0])
    added = kernels.scatter_add_rows(values, rows, 7)
    compare(added, (values, rows, 7), "scatter_add_rows", "float16")
    assert not added[[1, 3, 4, 6]].any()


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("length", [1, 7, cpu.BLOCK + 1, BIG + 3])
@pytest.mark.parametrize(("weight_decay", "decoupled"), [(0.0, False), (0.1, False), (0.1, True)])
def test_adam(
    kernels: Kernels, dtype: str, length: int, weight_decay: float, decoupled: bool
) -> None:
    param, grad, mean = (draw(length, dtype, seed) for seed in range(3))
    square = draw(length, dtype, 3) ** 2
    options: dict[str, Any] = {
        "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": weight_decay,
        "decoupled": decoupled, "step": 3,
    }  # fmt: skip
    expected = [a.astype(np.float64) for a in (param, grad, mean, square)]
    ours = kernels.adam_(param, grad, mean, square, **options)
    REFERENCE.adam_(*expected, **options)
    for name, result, want in zip(("param", "grad", "mean", "square"), ours, expected, strict=True):
        assert result.dtype == dtype
        support.assert_close(result, want, rtol=KERNEL_ULPS * EPS[dtype], name=name)


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear_gelu(kernels: Kernels, dtype: str, with_bias: bool) -> None:
    x, weight = draw((700, 24), dtype), draw((300, 24), dtype, 1)
    bias = draw(300, dtype, 2) if with_bias else None
    for want_slope in (True, False):
        arguments = (x, weight, bias, want_slope)
        compare(kernels.linear_gelu(*arguments), arguments, "linear_gelu", dtype)


@pytest.mark.parametrize("relaid", support.LAYOUTS.values(), ids=support.LAYOUTS)
@pytest.mark.parametrize("size", [(3, 11), (700, 384)], ids=str)
def test_layouts(kernels: Kernels, relaid: Any, size: tuple[int, int]) -> None:
    x, dy = relaid(draw(size, "float32")), relaid(draw(size, "float32", 1))
    weight, bias = relaid(draw(size[1], "float32", 2)), relaid(draw(size[1], "float32", 3))
    targets = np.arange(size[0]) % size[1]
    calls: dict[str, tuple[Any, ...]] = {
        "erf": (x,), "gelu": (x, True), "softmax_backward": (x, dy),
        "layer_norm": (x, weight, bias, 1e-5), "cross_entropy": (x, targets),
        "scatter_add_rows": (x, targets, 999), "softmax_": (x,),
    }  # fmt: skip
    for name, arguments in calls.items():
        kept = tuple(a.copy() if isinstance(a, np.ndarray) else a for a in arguments)
        compare(getattr(kernels, name)(*arguments), kept, name, "float32")


def test_softmax_is_in_place_on_any_layout() -> None:
    for relaid in support.LAYOUTS.values():
        x = relaid(draw((4, 3, 5), "float64"))
        expected = REFERENCE.softmax_(x.copy())
        assert cpu.softmax_(x) is x
        support.assert_close(x, expected, rtol=KERNEL_ULPS * FLOAT64_EPS)


def test_adam_refuses_what_it_could_not_write_to() -> None:
    x = draw((4, 6), "float32")[:, ::2]
    with pytest.raises(ValueError, match="adam_ needs contiguous arrays"):
        cpu.adam_(
            x, x, x, x, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0,
            decoupled=False, step=1,
        )  # fmt: skip


def test_blocks_cover_every_row_once() -> None:
    for rows, width in [*SIZES, (BIG, 1), (BIG + 1, 1), (1, BIG), (2, BIG), (0, 0)]:
        seen = np.zeros(rows, int)
        lock = threading.Lock()

        def work(block: slice, seen: np.ndarray = seen, lock: Any = lock) -> None:
            with lock:
                seen[block] += 1

        cpu.in_blocks(work, rows, width)
        assert (seen == 1).all()


def test_a_failure_in_a_block_is_raised() -> None:
    def work(block: slice) -> None:
        if block.stop == BIG * 4:
            raise ArithmeticError("the last block")

    with pytest.raises(ArithmeticError, match="the last block"):
        cpu.in_blocks(work, BIG * 4, 1)


def test_generators_depend_on_the_seed_alone(kernels: Kernels) -> None:
    def drawn(seed: Any) -> np.ndarray:
        return backend.to_host(kernels.module.new_generator(seed).random((100,), dtype="float32"))

    assert np.array_equal(drawn(3), drawn(3))
    assert np.array_equal(drawn((3, 1)), drawn((3, 1)))
    assert not np.array_equal(drawn((3, 1)), drawn((3, 2)))
    assert not np.array_equal(drawn(3), drawn(4))
    assert drawn(0).dtype == np.float32
    assert 0 <= drawn(0).min() < 0.1 < 0.9 < drawn(0).max() < 1
