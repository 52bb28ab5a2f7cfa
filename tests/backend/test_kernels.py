"""Every fast version of a kernel against its plain formula: on the CPU, and on a GPU.

Sizes are close to those at which the CPU's versions start new blocks and use threads.
"""

from __future__ import annotations

import inspect
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import support
from tests.gpu_double.cupy import gpu
from tests.tolerances import FLOAT16_EPS, FLOAT32_EPS, FLOAT64_EPS, KERNEL_ULPS
from tinybert import backend
from tinybert.backend import cpu
from tinybert.ops import attention, convolution
from tinybert.ops.attention import Visibility, attention_backward, attention_forward
from tinybert.ops.convolution import transposed
from tinybert.ops.linear import product_on_cpu
from tinybert.optim.adam import adam_step

EPS = {"float16": FLOAT16_EPS, "float32": FLOAT32_EPS, "float64": FLOAT64_EPS}
WIDE = ("float32", "float64")  # float16 is widened before these kernels
# Rows and width: odd ones; one, two and more blocks, and just below.
SIZES = [
    (1, 1), (3, 11), (0, 5), (5, 1), (2, cpu.BLOCK // 2), (3, cpu.BLOCK + 1), (255, 257),
    (cpu.BLOCK // 384, 384), (cpu.BLOCK // 384 + 1, 384), (700, 384),
]  # fmt: skip
BIG = cpu.BLOCK
LENGTHS = [0, 1, 7, BIG - 1, BIG, BIG + 1, 3 * cpu.BLOCK + 5]


KERNELS = support.all_kernels()
with gpu(probe=False) as double:
    GPU_KERNELS = dict(double.kernels)


class Versions:
    """The versions for one device, called by name, taking and giving NumPy arrays."""

    def __init__(self, device: str, is_double: bool = False) -> None:
        self.device, self.is_double = device, is_double
        self.backend = backend.parse_device(device)[0]

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            arrays = [
                backend.to_device(a, self.device) if isinstance(a, np.ndarray) else a for a in args
            ]
            kernel = KERNELS[name]
            version = kernel.versions.get(self.device) or self.backend.kernels.get(name)
            if name == "adam_step":  # a GPU takes many tensors at once
                if version is None:
                    steps = self.backend.kernels["adam_steps"]
                    steps(*([array] for array in arrays), [options.pop("step")], **options)
                else:
                    version(*arrays, **options)
                return tuple(backend.to_host(a) for a in arrays)
            result = (version or kernel.formula)(*arrays, **options)
            return tuple(map(self.here, result)) if isinstance(result, tuple) else self.here(result)

        return call

    def here(self, array: Any) -> Any:
        return None if array is None else backend.to_host(array)


@pytest.fixture(
    params=[
        "cpu", pytest.param("double", marks=pytest.mark.slow),
        pytest.param("cuda", marks=pytest.mark.gpu),
    ]
)  # fmt: skip
def versions(request: pytest.FixtureRequest) -> Iterator[Versions]:
    if request.param == "double":
        with gpu():
            yield Versions("cuda", is_double=True)
        return
    try:
        yield Versions(request.param)
    except backend.DeviceError as reason:
        pytest.skip(str(reason))


def small_on_double(versions: Versions, size: tuple[int, ...]) -> None:
    """Skip sizes that take the double minutes."""
    if versions.is_double and size[0] > 64 and len(size) > 1 and size[1] > 1:
        pytest.skip("the double runs a block's threads in turns")


def draw(shape: Any, dtype: str, seed: int = 0) -> np.ndarray:
    """Normal numbers that the dtype can hold."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def compare(ours: Any, arguments: tuple[Any, ...], name: str, dtype: str, **options: Any) -> None:
    """Results of the dtype, within a few units in the last place of the formula in float64."""
    double = [a.astype(np.float64) if _is_float(a) else a for a in arguments]
    with backend.plain():
        expected = KERNELS[name](*double, **options)
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


# --- how a version is chosen ----------------------------------------------------------------------


def test_every_version_has_the_signature_of_its_formula() -> None:
    for name, kernel in KERNELS.items():
        expected = list(inspect.signature(kernel.formula).parameters)
        on_gpu = [GPU_KERNELS[name]] if name in GPU_KERNELS else []
        versions = [*kernel.versions.values(), *on_gpu]
        assert versions, f"{name} has no faster version, so it need not be a kernel"
        for version in versions:
            assert list(inspect.signature(version).parameters) == expected, name


def test_every_kernel_over_rows_is_used() -> None:
    """Those that `rows.cu` defines are those that operations run, by name."""
    folder = Path(backend.__file__).parent / "cuda"
    text = "".join(p.read_text("utf-8") for p in sorted(folder.glob("*.py")))
    for file, call in (("rows.cu", "(?:on_rows|_run)"), ("tensors.cu", "_launch")):
        source = (folder / file).read_text(encoding="utf-8")
        defined = re.findall(r"__global__ void (\w+)\(", source)
        assert sorted(defined) == sorted(re.findall(rf'\b{call}\(\s*"(\w+)"', text))
        assert len(defined) == source.count("__global__")


def test_the_device_of_the_first_array_decides(device: str) -> None:
    @backend.kernel
    def named(x: Any, more: int = 0) -> str:
        """Return which version ran."""
        return f"formula {more}"

    @named.on("cpu")
    def named_on_cpu(x: Any, more: int = 0) -> str:
        return f"cpu {more}"

    x = backend.to_device(np.ones(2), device)
    assert named(x, 1) == ("cpu 1" if device == "cpu" else "formula 1")
    with backend.plain():
        assert named(x, more=2) == "formula 2"
        with backend.plain():
            pass
        assert backend.is_plain()
    assert named.__doc__ == "Return which version ran."
    assert named.formula(x) == "formula 0"


def test_there_is_one_cpu() -> None:
    assert backend.parse_device("cpu:0")[0].name == "cpu"
    for name in ("cpu:1", "cpu:", "cpu:x"):
        with pytest.raises(ValueError, match="device must be 'cpu', 'cuda' or 'cuda:<number>'"):
            backend.parse_device(name)


def test_a_process_uses_its_first_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any other, only the arrays made from host memory would be there."""
    monkeypatch.setattr(backend.device, "_load_cuda", lambda: backend.device.CPU)
    assert backend.parse_device("cuda:0")[1] == 0
    with pytest.raises(backend.DeviceError, match="CUDA_VISIBLE_DEVICES=1, and use device 'cuda'"):
        backend.parse_device("cuda:1")


def test_all_threads_see_plain_mode() -> None:
    seen: list[bool] = []
    with backend.plain():
        cpu.for_each(lambda item: seen.append(backend.is_plain()), list(range(8)))
    assert seen == [True] * 8


# --- versions and formulas ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("length", LENGTHS)
def test_elementwise(versions: Versions, dtype: str, length: int) -> None:
    x = 3 * draw(length, dtype)
    compare(versions.erf_forward(x), (x,), "erf_forward", dtype)
    compare(versions.gelu_forward(x, False), (x, False), "gelu_forward", dtype)
    compare(versions.gelu_forward(x, True), (x, True), "gelu_forward", dtype)
    compare(versions.silu_forward(x, False), (x, False), "silu_forward", dtype)
    compare(versions.silu_forward(x, True), (x, True), "silu_forward", dtype)


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_softmax(versions: Versions, dtype: str, size: tuple[int, int]) -> None:
    small_on_double(versions, size)
    if size[1] > 1000 and dtype == "float16":
        pytest.skip("float16 cannot hold the weights of so many elements")
    x = 3 * draw(size, dtype)
    kept = x.copy()
    compare(versions.softmax_forward(x), (x,), "softmax_forward", dtype)
    np.testing.assert_array_equal(x, kept)
    saved = versions.softmax_forward(draw(size, dtype)), draw(size, dtype, 1)
    compare(versions.softmax_backward(*saved), saved, "softmax_backward", dtype)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_layer_norm(versions: Versions, dtype: str, size: tuple[int, int]) -> None:
    small_on_double(versions, size)
    x, dy = draw(size, dtype), draw(size, dtype, 1)
    weight, bias = draw(size[1], dtype, 2), draw(size[1], dtype, 3)
    y, x_hat, rstd = versions.layer_norm_forward(x, weight, bias, 1e-5)
    compare((y, x_hat, rstd), (x, weight, bias, 1e-5), "layer_norm_forward", dtype)
    saved = dy, x_hat, rstd, weight
    compare(versions.layer_norm_backward(*saved), saved, "layer_norm_backward", dtype)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("size", [s for s in SIZES if s[1]], ids=str)
def test_cross_entropy(versions: Versions, dtype: str, size: tuple[int, int]) -> None:
    small_on_double(versions, size)
    logits = 3 * draw(size, dtype)
    targets = np.random.default_rng(1).integers(0, size[1], size[0])
    loss, log_total = versions.cross_entropy_forward(logits, targets)
    compare((loss, log_total), (logits, targets), "cross_entropy_forward", dtype)
    saved = logits, targets, log_total, draw((size[0], 1), dtype, 2)
    compare(versions.cross_entropy_backward(*saved), saved, "cross_entropy_backward", dtype)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize(
    "sizes",
    [
        (1, 33, 257),
        (5, 33, 257),
        (0, 3, 2),
        (40, 0, 3),
        (2, 0, 700),
        (12, 768, 701),
        (9, 131, 150),
        (24, 3000, 601),
        (700, 33, 257),
    ],
)
def test_linear(
    versions: Versions, dtype: str, sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "HAS_AVX512", True)  # so that all machines test the product in parts
    monkeypatch.setattr(cpu, "READS_AHEAD", sizes[0] % 2 == 0)
    rows, width, outputs = sizes
    x, bias = draw((rows, width), dtype), draw(outputs, dtype, 2)
    weight = draw((outputs, width), dtype, 1)
    for given in (bias, None):
        arguments = x, weight, given
        compare(versions.linear_forward(*arguments), arguments, "linear_forward", dtype)


@pytest.mark.skipif(not cpu.HAS_AVX512, reason="OpenBLAS needs AVX-512 for products without copies")
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rows", [4, 12, 24])
def test_products_of_few_rows_lose_less_to_rounding(
    rows: int, order: Any, monkeypatch: Any
) -> None:
    x, weight = draw((rows, 1536), "float32"), draw((517, 1536), "float32", 1)
    x = np.asarray(x, order=order)
    exact = x.astype("float64") @ weight.T.astype("float64")
    few, plain = (np.square(y - exact).mean() for y in (product_on_cpu(x, weight), x @ weight.T))
    assert few <= 0.4 * plain
    first = product_on_cpu(x, weight)
    monkeypatch.setattr(cpu, "READS_AHEAD", not cpu.READS_AHEAD)
    assert product_on_cpu(x, weight).tobytes() == first.tobytes()  # it concerns time alone


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (512, 4), (1030, 2), (0, 3)])
def test_transposed(versions: Versions, shape: tuple[int, int]) -> None:
    wide = draw((shape[0], 7), "float32")
    for x in (wide[:, : shape[1]], wide[::-1, 1 : 1 + shape[1]]):
        y = np.asarray(versions.transposed(x))
        assert y.flags.c_contiguous
        assert y.shape == x.T.shape
        assert (y == x.T).all()
        np.testing.assert_array_equal(transposed.formula(x), y)


@pytest.mark.parametrize("dtype", [*EPS, "int64", "complex128"])
@pytest.mark.parametrize(("number", "count"), [(0, 4), (1, 1), (7, 3), (300, 1000), (2000, 5)])
def test_scatter_sum(versions: Versions, dtype: str, number: int, count: int) -> None:
    drawn = 9 * draw((number, 3), "float64")
    values = (drawn + 1j * drawn[::-1] if dtype == "complex128" else drawn).astype(dtype)
    rows = np.random.default_rng(1).integers(0, count, number)
    for some in (values, np.ascontiguousarray(values[:, 0])):
        wide = some.astype("float32") if dtype == "float16" else some
        added = versions.scatter_sum(wide, rows, count)
        if dtype in EPS:
            compare(added, (wide, rows, count), "scatter_sum", str(wide.dtype))
        else:
            assert added.dtype == dtype
            expected = KERNELS["scatter_sum"].formula(some, rows, count)
            np.testing.assert_allclose(added, expected, rtol=1e-12)


def test_scatter_sum_of_one_row_in_float16(versions: Versions) -> None:
    values, rows = draw((6, 2), "float16"), np.array([2, 2, 0, 2, 5, 0])
    added = versions.scatter_sum(values, rows, 7)
    compare(added, (values, rows, 7), "scatter_sum", "float16")
    assert not added[[1, 3, 4, 6]].any()


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("length", [1, 7, cpu.BLOCK + 1, BIG + 3])
@pytest.mark.parametrize(("weight_decay", "decoupled"), [(0.0, False), (0.1, False), (0.1, True)])
def test_adam(
    versions: Versions, dtype: str, length: int, weight_decay: float, decoupled: bool
) -> None:
    param, grad, mean = (draw(length, dtype, seed) for seed in range(3))
    square = draw(length, dtype, 3) ** 2
    options: dict[str, Any] = {
        "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": weight_decay,
        "decoupled": decoupled, "step": 3,
    }  # fmt: skip
    expected = [a.astype(np.float64) for a in (param, grad, mean, square)]
    ours = versions.adam_step(param, grad, mean, square, **options)
    adam_step.formula(*expected, **options)
    for name, result, want in zip(("param", "grad", "mean", "square"), ours, expected, strict=True):
        assert result.dtype == dtype
        support.assert_close(result, want, rtol=KERNEL_ULPS * EPS[dtype], name=name)


def test_dropout_of_integers_is_scaled(versions: Versions) -> None:
    y, keep = versions.dropout_forward(np.arange(50), 0.1, 1 / 0.9, lambda: 5)
    support.assert_close(y, np.arange(50) * keep / 0.9, rtol=1e-15)
    assert 0 < keep.sum() <= 50


def test_linear_gelu_with_a_bias_of_another_dtype(versions: Versions) -> None:
    x, weight, bias = draw((5, 4), "float32"), draw((3, 4), "float32", 1), draw(3, "float64", 2)
    y, slope = versions.linear_gelu_forward(x, weight, bias, True)
    wide = [a.astype(np.float64) for a in (x, weight, bias)]
    expected = KERNELS["linear_gelu_forward"].formula(*wide, True)
    for result, want in zip((y, slope), expected, strict=True):
        support.assert_close(result, want, rtol=KERNEL_ULPS * EPS["float32"])


def test_adam_reads_gradients_of_another_dtype(versions: Versions) -> None:
    arrays = [draw(40, dtype) ** 2 for dtype in ("float32", "float64", "float32", "float32")]
    options: dict[str, Any] = {
        "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1,
        "decoupled": False, "step": 3,
    }  # fmt: skip
    expected = [a.astype(np.float64) for a in arrays]
    param, _, mean, square = versions.adam_step(*arrays, **options)
    adam_step.formula(*expected, **options)
    for result, want in zip((param, mean, square), expected[:1] + expected[2:], strict=True):
        assert result.dtype == "float32"
        support.assert_close(result, want, rtol=KERNEL_ULPS * EPS["float32"])


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear_gelu(versions: Versions, dtype: str, with_bias: bool) -> None:
    x, weight = draw((700, 24), dtype), draw((300, 24), dtype, 1)
    bias = draw(300, dtype, 2) if with_bias else None
    for want_slope in (True, False):
        arguments = (x, weight, bias, want_slope)
        compare(versions.linear_gelu_forward(*arguments), arguments, "linear_gelu_forward", dtype)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("dropout_p", [0.0, 0.4])
@pytest.mark.parametrize("mask", [None, "added", "allowed"])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1), (3, 2, 3, 37, 150, 7), (2, 1, 1, 300, 9, 5)])
def test_attention(
    versions: Versions, dtype: str, is_causal: bool, dropout_p: float, mask: str | None,
    sizes: tuple[int, ...],
) -> None:  # fmt: skip
    batch, groups, repeats, queries, keys, size = sizes
    query = draw((batch, groups, repeats, queries, size), dtype)
    key, value = (draw((batch, groups, 1, keys, size), dtype, seed) for seed in (1, 2))
    added: Any = draw((batch, 1, 1, queries, keys), dtype, 3)
    added = {None: None, "added": added, "allowed": added > 0}[mask]
    if added is not None:
        added = backend.to_device(added, versions.device)
    seen = Visibility(added, is_causal, max(keys - queries, 0), dropout_p, 5)
    arguments = (query, key, value, 0.5, seen)
    y, top, total = versions.attention_forward(*arguments)
    tolerance = KERNEL_ULPS * EPS[dtype]
    expected = on_device(versions, attention_forward.formula, arguments)
    support.assert_close(y, expected[0], rtol=tolerance)
    support.assert_close(total, expected[2], rtol=tolerance)
    dy = draw(y.shape, dtype, 4)
    gradients = versions.attention_backward(*arguments, dy, y, top, total)
    # A GPU sums P * dP in place of dy * y, and so does not see the rounding of y.
    saved = (y, top, total) if versions.device == "cpu" else expected
    wanted = on_device(versions, attention_backward.formula, (*arguments, dy, *saved))
    # With one key, dquery and dkey are differences of equal terms: 0, but for float64's rounding.
    rounding = KERNEL_ULPS * FLOAT64_EPS * float(np.abs(backend.to_host(dy)).max())
    for ours, theirs in zip(gradients, wanted, strict=True):
        support.assert_close(ours, theirs, rtol=tolerance, atol=rounding)


def on_device(versions: Versions, formula: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The formula in float64, on the device, which draws the random numbers."""
    there = [
        backend.to_device(a.astype("float64"), versions.device) if isinstance(a, np.ndarray) else a
        for a in arguments
    ]
    with backend.plain():
        return tuple(map(backend.to_host, formula(*there)))


def test_attention_in_blocks_on_a_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks use nothing that only NumPy has."""
    monkeypatch.setattr(attention, "BLOCK", (4, 3))
    monkeypatch.setattr(attention, "FEW_SCORES", 0)
    query, key, value = (draw((2, 2, 1, 9, 5), "float64", seed) for seed in range(3))
    seen = Visibility(None, True, 0, 0.0, 0)
    with backend.plain():
        y, top, total = attention_forward(query, key, value, 0.5, seen)
        gradients = attention.attention_backward(query, key, value, 0.5, seen, y, y, top, total)
    there = [backend.to_device(a, device) for a in (query, key, value)]
    results = attention.attention_in_blocks(*there, 0.5, seen)
    again = attention.attention_backward_in_blocks(*there, 0.5, seen, results[0], *results)
    for ours, expected in zip((*results, *again), (y, top, total, *gradients), strict=True):
        support.assert_close(backend.to_host(ours), expected, rtol=KERNEL_ULPS * FLOAT64_EPS)


def test_convolution_in_blocks_on_a_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "LINE", 2)
    monkeypatch.setattr(convolution, "BLOCK", 40)
    x, dy, back, ahead = (
        draw(shape, "float64", seed)
        for seed, shape in enumerate([(2, 19, 5), (2, 19, 5), (5, 7), (5, 7)])
    )
    arrays = x, back, ahead
    need = (True, True, True)
    expected = convolution.convolution_forward.formula(*arrays)
    gradients = convolution.convolution_backward.formula(dy, *arrays, need)
    there = [backend.to_device(a, device) for a in (dy, *arrays)]
    results = convolution.convolution_in_blocks(*there[1:])
    again = convolution.convolution_backward_in_blocks(*there, need)
    for ours, want in zip((results, *again), (expected, *gradients), strict=True):
        support.assert_close(backend.to_host(ours), want, rtol=KERNEL_ULPS * FLOAT64_EPS)


@pytest.mark.parametrize("spectra", [1, 100, 1 << 20])
def test_convolution_of_the_batch_on_a_device(
    spectra: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "SPECTRA", spectra)
    x, dy, back, ahead = (
        draw(shape, "float64", seed)
        for seed, shape in enumerate([(2, 19, 5), (2, 19, 5), (5, 7), (5, 7)])
    )
    for kernels, need in (((back, ahead), (True,) * 3), ((back, None), (True, True, False))):
        expected = convolution.convolution_forward.formula(x, *kernels)
        gradients = convolution.convolution_backward.formula(dy, x, *kernels, need)
        there = [None if a is None else backend.to_device(a, device) for a in (dy, x, *kernels)]
        results = convolution.convolution_of_the_batch(*there[1:])
        again = convolution.convolution_backward_of_the_batch(*there, need)
        for ours, want in zip((results, *again), (expected, *gradients), strict=True):
            assert (ours is None) == (want is None)
            if want is not None:
                support.assert_close(backend.to_host(ours), want, rtol=KERNEL_ULPS * FLOAT64_EPS)


@pytest.mark.parametrize("relaid", support.LAYOUTS.values(), ids=support.LAYOUTS)
@pytest.mark.parametrize("size", [(3, 11), (700, 384)], ids=str)
def test_layouts(versions: Versions, relaid: Any, size: tuple[int, int]) -> None:
    x, dy = relaid(draw(size, "float32")), relaid(draw(size, "float32", 1))
    weight, bias = relaid(draw(size[1], "float32", 2)), relaid(draw(size[1], "float32", 3))
    targets = np.arange(size[0]) % size[1]
    calls: dict[str, tuple[Any, ...]] = {
        "erf_forward": (x,), "gelu_forward": (x, True), "softmax_backward": (x, dy),
        "silu_forward": (x, True),
        "layer_norm_forward": (x, weight, bias, 1e-5), "cross_entropy_forward": (x, targets),
        "scatter_sum": (x, targets, 999), "softmax_forward": (x,),
    }  # fmt: skip
    for name, arguments in calls.items():
        compare(getattr(versions, name)(*arguments), arguments, name, "float32")


def test_adam_refuses_what_it_could_not_write_to() -> None:
    x = draw((4, 6), "float32")[:, ::2]
    with pytest.raises(ValueError, match="adam_step needs contiguous arrays"):
        adam_step(
            x, x, x, x, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0,
            decoupled=False, step=1,
        )  # fmt: skip


# --- work in blocks -------------------------------------------------------------------------------


def test_blocks_cover_every_row_once() -> None:
    for rows, width in [*SIZES, (BIG, 1), (BIG + 1, 1), (1, BIG), (2, BIG), (0, 0)]:
        seen = np.zeros(rows, int)
        lock = threading.Lock()

        def work(block: slice, seen: np.ndarray = seen, lock: Any = lock) -> None:
            with lock:
                seen[block] += 1

        cpu.in_blocks(work, rows, width)
        assert (seen == 1).all()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("failing", [None, 0, 4, 8])
def test_threads_share_items(
    threads: int, failing: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is worked on once; when the call returns, no thread works, also after an error."""
    monkeypatch.setattr(cpu, "thread_count", lambda: threads)
    cpu._helpers.cache_clear()
    lock, begun, ended = threading.Lock(), Counter[int](), Counter[int]()

    def work(item: int) -> None:
        assert cpu.free_threads() == 1
        with lock:
            begun[item] += 1
        cpu.for_each(lambda part: np.sin(np.ones(10_000)), range(2))  # others run meanwhile
        with lock:
            ended[item] += 1
        if item == failing:
            raise ArithmeticError("this item")

    for _ in range(20):
        begun.clear(), ended.clear()
        with nullcontext() if failing is None else pytest.raises(ArithmeticError, match="this"):
            cpu.for_each(work, range(9))
        assert begun == ended
        assert set(begun.values()) == {1}
        assert failing is not None or len(begun) == 9
        assert cpu.free_threads() == threads
    cpu._helpers.cache_clear()


def test_after_an_interrupt_outside_the_work_threads_share_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caller = threading.current_thread()

    class Interrupted:
        def acquire(self, blocking: bool = True) -> bool:
            if threading.current_thread() is caller:
                raise KeyboardInterrupt
            return False

    monkeypatch.setattr(cpu, "thread_count", lambda: 2)
    cpu._helpers.cache_clear()
    assert cpu.free_threads() == 2  # the other thread has begun
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Lock", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            cpu.for_each(np.ones, range(9))
    assert cpu.free_threads() == 2
    cpu._helpers.cache_clear()


def test_a_failure_in_a_block_is_raised() -> None:
    def work(block: slice) -> None:
        if block.stop == BIG * 4:
            raise ArithmeticError("the last block")

    with pytest.raises(ArithmeticError, match="the last block"):
        cpu.in_blocks(work, BIG * 4, 1)


@pytest.mark.parametrize("p", [0.0, 1e-7, 0.1, 0.5, 0.9999999, 1.0])
def test_dropout_compares_the_numbers_of_the_generator(p: float) -> None:
    """Also after an odd number of draws, when NumPy has kept half of its random bits."""
    fast, plain = (cpu.new_generator(3) for _ in range(2))
    for shape in ((4, 50), (3, 7), (2, 11), (5,), (0, 3), (1000, 2)):
        expected = plain.random(shape, dtype="float32") >= p
        assert np.array_equal(backend.draw_kept(fast, shape, p), expected)
    assert fast.integers(2**63) == plain.integers(2**63)


def test_generators_depend_on_the_seed_alone(versions: Versions) -> None:
    def drawn(seed: Any) -> np.ndarray:
        return backend.to_host(versions.backend.new_generator(seed).random((100,), dtype="float32"))

    assert np.array_equal(drawn(3), drawn(3))
    assert np.array_equal(drawn((3, 1)), drawn((3, 1)))
    assert not np.array_equal(drawn((3, 1)), drawn((3, 2)))
    assert not np.array_equal(drawn(3), drawn(4))
    assert drawn(0).dtype == np.float32
    assert 0 <= drawn(0).min() < 0.1 < 0.9 < drawn(0).max() < 1


# --- speed ----------------------------------------------------------------------------------------


def example(name: str, rows: int, width: int) -> Callable[..., Any]:
    """Return a function that calls a version of a kernel with arguments of a size: `rows` tokens of
    `width` features. A new kernel needs a line here.
    """
    x, dy = draw((rows, width), "float32"), draw((rows, width), "float32", 1)
    classes, length = 40 * width, rows // 8
    targets = np.random.default_rng(1).integers(0, classes, length)
    weight, logits = draw(width, "float32", 2), draw((length, classes), "float32")
    scores = draw((12 * rows, length), "float32")
    query, key, value = (draw((8, 3, 1, length, 16), "float32", seed) for seed in range(3))
    many = draw((4 * width, 16), "float32")
    attend = (query, key, value, 0.125, Visibility(None, False, 0, 0.0, 0))
    signal, back = draw((4, rows, width), "float32"), draw((width, rows), "float32", 1)
    ones = np.random.default_rng(1).integers(0, length, rows)
    adam = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1}
    calls: dict[str, Callable[[], tuple[Any, ...]]] = {
        "erf_forward": lambda: (x,),
        "gelu_forward": lambda: (x, True),
        "silu_forward": lambda: (x, True),
        "linear_forward": lambda: (x[:, :16].copy(), many, many[:, 0].copy()),
        "linear_gelu_forward": lambda: (x[:, :16].copy(), many, None, True),
        "softmax_forward": lambda: (scores,),
        "softmax_backward": lambda: (scores, scores.copy()),
        "layer_norm_forward": lambda: (x, weight, weight, 1e-5),
        "layer_norm_backward": lambda: (dy, x, x[:, :1], weight),
        "cross_entropy_forward": lambda: (logits, targets),
        "cross_entropy_backward": lambda: (logits, targets, logits[:, :1], logits[:, :1]),
        "scatter_sum": lambda: (x, ones, length),
        "attention_forward": lambda: attend,
        "attention_backward": lambda: (*attend, query, *attention_forward(*attend)),
        "convolution_forward": lambda: (signal, back, None),
        "convolution_backward": lambda: (signal, signal, back, None, (True, True, False)),
        "transposed": lambda: (x[:, :16],),
        "adam_step": lambda: (x, dy, dy.copy(), dy * dy),
        "euclidean_norm": lambda: ([x, dy],),
    }  # fmt: skip
    options = {**adam, "decoupled": True, "step": 3} if name == "adam_step" else {}
    arguments = calls[name]()

    def call(function: Callable[..., Any]) -> Any:
        given = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        result = function(*given, **options)
        return given[:4] if result is None else result  # one kernel changes its arguments

    return call


def arrays_of(result: Any) -> list[np.ndarray]:
    """Return the arrays in the result of a kernel."""
    parts = result if isinstance(result, (tuple, list)) else (result,)
    return [part for part in parts if isinstance(part, np.ndarray)]


@pytest.mark.parametrize("name", [name for name, k in KERNELS.items() if "cpu" in k.versions])
@pytest.mark.parametrize("rows", [24, 520], ids=["one block", "several blocks"])
def test_versions_for_the_cpu_equal_their_formulas(name: str, rows: int) -> None:
    """Every version of every kernel, so that none can be added without."""
    call, kernel = example(name, rows, 48), KERNELS[name]
    with backend.plain():
        expected = arrays_of(call(kernel.formula))
    found = arrays_of(call(kernel.versions["cpu"]))
    assert found
    for ours, theirs in zip(found, expected, strict=True):
        scale = np.abs(theirs[np.isfinite(theirs)]).max()
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5 * scale)


# How many times as fast as its formula each version for the CPU is at least, in processor time:
# other work on the machine does not count. Most reach twice this; the margin is for machines with
# other caches and libraries.
SPEEDUPS = {
    "linear_forward": 1.1, "silu_forward": 1.2,
    "erf_forward": 4, "gelu_forward": 6, "linear_gelu_forward": 6, "attention_forward": 1.5,
    "attention_backward": 1.5, "cross_entropy_forward": 1.3, "cross_entropy_backward": 1.3,
    "layer_norm_forward": 1.1, "layer_norm_backward": 1.1, "softmax_forward": 1.1,
    "softmax_backward": 1.1, "scatter_sum": 1.1, "transposed": 1.05, "adam_step": 1.1,
    "euclidean_norm": 1.5, "convolution_forward": 1.05, "convolution_backward": 1.05,
}  # fmt: skip
ROUNDS, TRIES = 5, 4  # other work fills the caches, so a try may fail


def speedup(name: str) -> float:
    """Return the processor time of the formula divided by that of the version for the CPU, both the
    shortest of some interleaved rounds.
    """
    call, kernel = example(name, 4096, 768), KERNELS[name]
    call(kernel.versions["cpu"])
    times: dict[str, list[float]] = {"fast": [], "plain": []}
    for _ in range(ROUNDS):
        for which in times:
            start = time.process_time()
            if which == "fast":
                call(kernel.versions["cpu"])
            else:
                with backend.plain():
                    call(kernel.formula)
            times[which].append(time.process_time() - start)
    return min(times["plain"]) / min(times["fast"])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, k in KERNELS.items() if "cpu" in k.versions])
def test_versions_for_the_cpu_are_faster_than_their_formulas(name: str) -> None:
    """A version that is not faster fails every try; on a busy machine one may fail."""
    found: list[float] = []
    while len(found) < TRIES and max(found, default=0.0) < SPEEDUPS[name]:
        found.append(speedup(name))
    print(f"{name}: {max(found):.2f}")
    assert max(found) >= SPEEDUPS[name], f"{name} is {found} times as fast as its formula"


@pytest.mark.slow
@pytest.mark.skipif(not cpu.HAS_AVX512, reason="OpenBLAS needs AVX-512 for products without copies")
@pytest.mark.parametrize("rows", [2, 12, 24])
def test_a_few_rows_are_multiplied_faster_in_parts(rows: int) -> None:
    x, weight = draw((rows, 768), "float32"), draw((3072, 768), "float32", 1)
    ratios: list[float] = []
    while len(ratios) < TRIES and max(ratios, default=0.0) < 1.1:
        times: list[list[float]] = [[], []]
        for _ in range(20):
            for taken, product in zip(times, (np.inner, product_on_cpu), strict=True):
                start = time.process_time()
                product(x, weight)
                taken.append(time.process_time() - start)
        ratios.append(min(times[0]) / min(times[1]))
    print(f"{rows} rows: {max(ratios):.2f}")
    assert max(ratios) >= 1.1
