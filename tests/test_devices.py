"""Every operation on every device: forward and backward give what they give on the CPU.

The strict double stands for CuPy where there is no GPU. An operation without a case here fails the
suite, so that none can be added that runs on the CPU alone.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests import support, tolerances
from tinybert import backend, ops
from tinybert.autograd import Function, Tensor

RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    """A float64 array of normal numbers."""
    return RNG.standard_normal(shape)


def above(*shape: int) -> np.ndarray:
    """A float64 array of numbers from 0.5 up."""
    return support.positive(normal(*shape))


def spectrum(*shape: int) -> np.ndarray:
    """A complex array."""
    return normal(*shape) + 1j * normal(*shape)


IDS = np.array([[3, 0, 3, 1], [4, 4, 2, 3]])
MASK = np.array([[True, False, True], [False, False, True]])
PLACES = np.array([4, 0, 5])
CLASSES = np.array([1, 4, -100, 0, 4, 2])
BINARY = [(normal(2, 3), normal(3)), (normal(2, 1, 3), normal(4, 1)), (normal(2, 3), 2.5)]
MEAN = {"reduction": "mean"}
CROSS = {"ignore_index": -100, "label_smoothing": 0.0, **MEAN}
ATTEND = {"scale": 0.5, "dropout_p": 0.0, "is_causal": False}
QKV = normal(2, 3, 5, 4), normal(2, 3, 7, 4), normal(2, 3, 7, 6)

# For each operation: its inputs (arrays, numbers) and options, at least once.
Case = tuple[tuple[Any, ...], dict[str, Any]]
CASES: dict[str, list[Case]] = {
    # arithmetic
    "Add": [(case, {}) for case in BINARY],
    "Sub": [(case, {}) for case in (*BINARY, (1.5, normal(3)))],
    "Mul": [(case, {}) for case in (*BINARY, (spectrum(2, 3), normal(3)))],
    "Div": [((normal(2, 3), above(3)), {}), ((2.0, above(3)), {}), ((IDS, above(4)), {})],
    "Pow": [
        ((above(2, 3), normal(3)), {}), ((normal(4), 3), {}), ((2.0, normal(4)), {}),
        ((np.array([0.0, 0.0, 2.0]), np.array([0.0, 2.0, 0.0])), {}), ((IDS, -1), {}),
    ],
    "Neg": [((normal(2, 3),), {})],
    "Compare": [
        ((normal(2, 3), normal(3)), {"relation": "less"}),
        ((MASK, True), {"relation": "not_equal"}),
        ((MASK, MASK[:1]), {"relation": "bitwise_and"}),
    ],
    # elementwise
    "Exp": [((normal(2, 3),), {}), ((IDS,), {})],
    "Log": [((above(2, 3),), {}), ((np.zeros(2),), {})],
    "Sqrt": [((above(2, 3),), {})],
    "Rsqrt": [((above(2, 3),), {})],
    "Abs": [((np.array([-1.5, 0.0, 2.0]),), {})],
    "Clip": [
        ((normal(2, 3),), {"low": -0.5, "high": 0.5}),
        ((normal(3),), {"low": None, "high": 0.0}),
    ],
    "Where": [
        ((MASK, normal(2, 3), normal(3)), {}), ((MASK, normal(2, 3), -1.5), {}),
        ((True, normal(2), 0.5), {}),
    ],
    "MaskedFill": [
        ((normal(4, 2, 3), MASK), {"value": -np.inf}), ((normal(2, 3), MASK), {"value": 0.5}),
    ],
    "Cast": [
        ((normal(3),), {"dtype": "float64"}), ((normal(3),), {"dtype": "float32"}),
        ((IDS,), {"dtype": "float64"}),
    ],
    "Clone": [((normal(2, 3),), {})],
    "Tanh": [((normal(2, 3),), {})],
    "Sigmoid": [((normal(2, 3),), {})],
    "Relu": [((normal(2, 3),), {})],
    "Relu2": [((normal(2, 3),), {})],
    "Silu": [((normal(2, 3),), {})],
    "Erf": [((normal(2, 3),), {})],
    "Gelu": [((3 * normal(4, 5),), {}), ((np.array([[7.0, -7.0]]),), {})],
    "GeluNew": [((normal(2, 3),), {})],
    "Laplace": [((normal(2, 3),), {"mu": 0.7071, "sigma": 0.2821})],
    "Dropout": [((normal(2, 3),), {"p": 0.0}), ((normal(2, 3),), {"p": 1.0})],
    # products
    "MatMul": [
        ((normal(2, 3, 11), normal(11, 4)), {}), ((normal(3), normal(3)), {}),
        ((normal(3), normal(5, 3, 2)), {}), ((normal(5, 2, 3), normal(3)), {}),
    ],
    "LinearGelu": [
        ((normal(2, 3, 5), normal(4, 5), normal(4)), {}),
        ((normal(5), normal(4, 5)), {}),
    ],
    "Linear": [
        ((normal(2, 3, 5), normal(4, 5), normal(4)), {}),
        ((normal(5), normal(4, 5), None), {}),
    ],
    "Einsum": [
        ((normal(2, 3, 5), normal(2, 7, 5)), {"equation": "bqd,bkd->bqk"}),
        ((normal(2, 3), normal(3), normal(4, 2)), {"equation": "ij,j,ki"}),
        ((normal(2, 3),), {"equation": "ij->j"}),
    ],
    "ScaledDotProductAttention": [
        ((*QKV, None), ATTEND), ((*QKV, normal(2, 1, 1, 7)), ATTEND),
        ((*QKV, normal(2, 1, 5, 7) > -1), ATTEND),
        ((QKV[0], QKV[1][:, :, :5], QKV[2][:, :, :5]), {**ATTEND, "is_causal": True}),
        (
            (normal(2, 6, 5, 4), *QKV[1:], normal(2, 6, 1, 7)),
            {**ATTEND, "is_causal": True, "first": 2},
        ),
    ],
    # packed batches
    "PackTokens": [((normal(2, 3, 4), PLACES), {})],
    "UnpackTokens": [((normal(1, 3, 4), PLACES), {"shape": (2, 3)})],
    "SegmentAttention": [
        (
            (normal(1, 6, 8, 4), normal(1, 3, 8, 4), normal(1, 3, 8, 5)),
            {**ATTEND, "segments": [(1, 2), (2, 3)], "is_causal": causal},
        )
        for causal in (False, True)
    ],
    # softmax and normalization
    "Softmax": [((normal(2, 3, 5),), {"axis": -1}), ((normal(2, 3, 5),), {"axis": 0})],
    "LogSoftmax": [((normal(2, 3, 5),), {"axis": 1})],
    "LogSumExp": [
        ((normal(2, 3, 5),), {"axis": (0, 2), "keepdims": False}),
        ((normal(2, 3),), {"axis": None, "keepdims": True}),
        ((np.full((2, 3), -np.inf),), {"axis": 1, "keepdims": False}),
        ((np.zeros((2, 0)),), {"axis": 1, "keepdims": False}),
    ],
    "LayerNorm": [
        ((normal(2, 3, 11), normal(11), normal(11)), {"eps": 1e-5}),
        ((normal(4, 2, 3), normal(2, 3), None), {"eps": 1e-12}),
    ],
    "RMSNorm": [
        ((normal(2, 3, 11), normal(11)), {"width": 11, "eps": 1e-6}),
        ((normal(3, 5), None), {"width": 5, "eps": 1e-6}),
    ],
    "ScaleNorm": [((normal(2, 3, 11), normal(1)), {"eps": 1e-6})],
    "BatchNorm": [
        ((normal(4, 3, 5), normal(3), normal(3)), {"eps": 1e-5}),
        ((normal(4, 3), None, None), {"eps": 1e-5}),
    ],
    # reductions
    "Sum": [
        ((normal(2, 3, 5),), {"axis": None, "keepdims": False}),
        ((normal(2, 3, 5),), {"axis": (0, -1), "keepdims": True}),
        ((MASK,), {"axis": 0, "keepdims": False}),
    ],
    "Mean": [((normal(2, 3, 5),), {"axis": 1, "keepdims": False})],
    "Var": [((normal(2, 3, 5),), {"axis": (1, 2), "keepdims": False, "ddof": 1})],
    "Std": [((normal(2, 3, 5),), {"axis": 0, "keepdims": True, "ddof": 0})],
    "Max": [((normal(2, 3, 5),), {"axis": 2, "keepdims": False})],
    "Min": [((normal(2, 3, 5),), {"axis": None, "keepdims": True})],
    "ArgMax": [((normal(2, 3, 5),), {"axis": 1, "keepdims": True})],
    "ArgMin": [((normal(2, 3, 5),), {"axis": None, "keepdims": False})],
    "CumSum": [((normal(2, 3, 5),), {"axis": 1}), ((normal(2, 3),), {"axis": None})],
    # shapes
    "Reshape": [((normal(2, 3, 5),), {"shape": (5, -1)})],
    "SplitHeads": [((normal(2, 3, 10),), {"heads": 5})],
    "MergeHeads": [((normal(2, 5, 3, 4),), {})],
    "Permute": [((normal(2, 3, 5),), {"axes": (2, 0, 1)})],
    "Expand": [((normal(3, 1),), {"shape": (2, 3, 5)})],
    "Concat": [((normal(2, 3), normal(2, 1)), {"axis": -1})],
    "Stack": [((normal(2, 3), normal(2, 3)), {"axis": 1})],
    "Split": [
        ((normal(2, 7),), {"sizes": 3, "axis": 1}), ((normal(4),), {"sizes": [1, 3], "axis": 0}),
    ],
    "Pad": [((normal(2, 3),), {"widths": ((1, 0), (2, 1)), "value": 0.5})],
    "Roll": [
        ((normal(2, 3),), {"shifts": (1, -1), "axis": (0, 1)}),
        ((normal(5),), {"shifts": 2, "axis": None}),
    ],
    "Flip": [((normal(2, 3),), {"axis": 1})],
    "Tril": [((normal(2, 4, 3),), {"diagonal": 0})],
    "Triu": [((normal(4, 3),), {"diagonal": 1})],
    # indexing
    "GetItem": [
        ((normal(5, 4, 3),), {"index": (slice(None, None, 2), -1)}),
        ((normal(5, 3),), {"index": IDS}),
        ((normal(5, 4, 3),), {"index": (slice(None), [3, 0, 3])}),
        ((normal(5, 4, 6),), {"index": ([1, 1, 4], ..., np.array([0, 5, 0]))}),
        ((normal(2, 3, 4),), {"index": MASK}),
    ],
    "Gather": [((normal(5, 4), IDS), {"axis": 0}), ((normal(2, 7), IDS), {"axis": -1})],
    "ScatterAdd": [((normal(5, 4), IDS, normal(2, 4)), {"axis": 0})],
    "Embedding": [
        ((IDS, normal(5, 3)), {"padding_idx": None, "name": "input_ids"}),
        ((IDS, normal(5, 3)), {"padding_idx": 3, "name": "input_ids"}),
    ],
    "RotaryEmbedding": [((normal(2, 3, 5, 6), normal(5, 4), normal(5, 4)), {})],
    # spectra
    "RFFT": [((normal(2, 7),), {"n": None, "axis": -1}), ((normal(5, 2),), {"n": 8, "axis": 0})],
    "IRFFT": [((spectrum(2, 5),), {"n": 9, "axis": -1})],
    "LongConvolution": [
        ((normal(2, 7, 5), normal(5, 7)), {}), ((normal(1, 4, 5), normal(5, 2), normal(5, 2)), {}),
    ],
    # moving averages
    "PowerSums": [((normal(2, 3, 2), 1 / (1 + above(3, 2))), {"length": 5})],
    "Polynomials": [((normal(2, 3, 5), 1 / (1 + above(3, 2))), {})],
    "EMARecurrence": [
        ((normal(2, 4, 3), 1 / (1 + above(3, 2)), normal(3, 2), normal(3, 2)), {}),
        ((normal(2, 1, 3), above(3, 2), normal(3, 2), normal(3, 2), normal(2, 3, 2)), {}),
    ],
    # losses
    "CrossEntropy": [
        ((normal(6, 5), CLASSES, None), CROSS),
        ((normal(6, 5), CLASSES, above(5)), {**CROSS, "label_smoothing": 0.1}),
        ((normal(6, 5), above(6, 5), None), {**CROSS, "reduction": "none"}),
        ((normal(3, 5, 2), CLASSES.reshape(3, 2), None), {**CROSS, "reduction": "sum"}),
    ],
    "NLLLoss": [((normal(6, 5), CLASSES, above(5)), {"ignore_index": -100, **MEAN})],
    "MSE": [((normal(2, 3), normal(2, 3)), MEAN)],
    "L1": [((normal(2, 3), normal(2, 3)), {"reduction": "sum"})],
    "BCEWithLogits": [((normal(2, 3), above(2, 3), above(3), above(3)), MEAN)],
    "KLDiv": [
        ((normal(2, 3), above(2, 3)), {"log_target": False, "reduction": "batchmean"}),
        ((normal(2, 3), normal(2, 3)), {"log_target": True, **MEAN}),
    ],
}  # fmt: skip


def operations(base: type = Function) -> Iterator[type]:
    """Every Function that the package defines."""
    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"tinybert.ops.{module.name}")
    cls: type
    for cls in base.__subclasses__():
        if cls.__module__.startswith("tinybert.ops."):
            yield cls
        yield from operations(cls)


OPERATIONS: dict[str, Any] = {cls.__name__: cls for cls in operations()}


def test_every_operation_has_a_case() -> None:
    assert {*OPERATIONS} == {*CASES, "ToDevice"}


def compute(name: str, inputs: tuple[Any, ...], options: dict[str, Any], device: str) -> list[Any]:
    """Outputs and gradients on `device`, back on the host."""
    leaves = [
        Tensor(x, requires_grad=x.dtype.kind in "fc", device=device)
        if isinstance(x, np.ndarray)
        else x
        for x in inputs
    ]
    result = OPERATIONS[name].apply(*leaves, **options)
    outputs = result if isinstance(result, tuple) else (result,)
    rng = np.random.default_rng(3)
    for y in outputs:
        assert y.device == ("cpu" if device == "cpu" else f"{device}:0")
        if y.requires_grad:
            u = rng.standard_normal(y.shape) + (1j if y.dtype.kind == "c" else 0)
            y.backward(Tensor(u, dtype=y.dtype, device=device), retain_graph=True)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    for tensor in tensors:
        assert tensor.grad is None or tensor.grad.device == tensor.device
    gradients = [None if tensor.grad is None else tensor.grad.numpy() for tensor in tensors]
    return [*(y.numpy() for y in outputs), *gradients]


@pytest.mark.parametrize(
    "device",
    [
        "strict",
        pytest.param("double", marks=pytest.mark.slow),
        pytest.param("cuda", marks=pytest.mark.gpu),
    ],
    indirect=True,
)
@pytest.mark.parametrize("name", CASES)
def test_operation(name: str, device: str) -> None:
    for number, (inputs, options) in enumerate(CASES[name]):
        for dtype, tolerance in DTYPES.items():
            arrays = tuple(converted(x, dtype) for x in inputs)
            expected = compute(name, arrays, options, "cpu")
            results = compute(name, arrays, options, device)
            for place, (ours, want) in enumerate(zip(results, expected, strict=True)):
                assert (ours is None) == (want is None)
                if want is not None:
                    assert ours.dtype == want.dtype
                    what = f"{name}, case {number}, {dtype}, result {place}"
                    support.assert_close(ours, want, rtol=tolerance, name=what)


DTYPES = {
    "float64": tolerances.DEVICE_FLOAT64,
    "float32": tolerances.KERNEL_ULPS * tolerances.FLOAT32_EPS,
    "float16": tolerances.KERNEL_ULPS * tolerances.FLOAT16_EPS,
}


def converted(x: Any, dtype: str) -> Any:
    """Floating arrays in `dtype`, complex ones in the complex dtype beside it."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fc":
        return x
    return x.astype(dtype if x.dtype.kind == "f" else np.result_type(dtype, np.complex64))


def test_moving_is_differentiable(device: str) -> None:
    x = Tensor(normal(2, 3), requires_grad=True)
    moved = x.to(device)
    (moved * moved).sum().backward()
    assert moved.device.startswith(device)
    assert x.grad is not None
    assert x.grad.device == "cpu"
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.numpy())


def test_mixed_devices_are_refused() -> None:
    import tests.strict  # noqa: F401

    here, there = Tensor([1.0]), Tensor([1.0], device="strict")
    with pytest.raises(RuntimeError, match=r"Add: all inputs must be on one device, got cpu, st"):
        here + there
    with pytest.raises(TypeError, match=r"use tensor\.numpy\(\)"):
        np.asarray(there)


def test_ids_out_of_range_are_refused_before_they_wrap(device: str) -> None:
    weight = Tensor(normal(5, 3), device=device)
    for ids in ([0, 5], [-1, 2]):
        index = Tensor(ids, device=device)
        with pytest.raises(ValueError, match=r"input_ids must be from 0 to 4"):
            OPERATIONS["Embedding"].apply(index, weight, padding_idx=None, name="input_ids")
    with pytest.raises(IndexError, match="index 5 is out of range for axis 0 of size 5"):
        weight[Tensor([5], device=device)]


def test_random_numbers_are_drawn_on_the_device(device: str) -> None:
    x = Tensor(np.ones((64, 64), np.float32), device=device)
    with backend.manual_seed(1):
        first = OPERATIONS["Dropout"].apply(x, p=0.25)
    with backend.manual_seed(1):
        second = OPERATIONS["Dropout"].apply(x, p=0.25)
    assert first.device.startswith(device)
    assert np.array_equal(first.numpy(), second.numpy())
    assert abs(float((first.numpy() == 0).mean()) - 0.25) < 0.03  # 4.4 standard deviations
