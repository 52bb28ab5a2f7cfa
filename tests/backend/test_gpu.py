"""The GPU's code on the double (`tests/gpu_double`): whole models, attention, and budgets.

Budgets are launches of kernels and waits of the host, counted as CuPy would make them. A launch
costs the host 6 to 10 microseconds, whatever it computes: for small batches that is the time.
"""

from __future__ import annotations

import ast
import pydoc
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests import support
from tests.gpu_double import compiled, nvrtc
from tests.gpu_double.cupy import gpu
from tests.launches import Counts, counting
from tests.strict_array import StrictArray
from tests.test_plain import FAMILIES, SIZES
from tests.tolerances import FLOAT16_EPS, KERNEL_ULPS, OP_FLOAT64
from tinybert import functional as F
from tinybert.autograd import Tensor, no_grad
from tinybert.optim import AdamW, clip_grad_norm_

RNG = np.random.default_rng(5)
IDS = RNG.integers(5, 40, (2, 8))


@pytest.fixture
def cuda() -> Iterator[Any]:
    """The double, as the device "cuda"."""
    with gpu() as backend:
        yield backend


# --- values ---------------------------------------------------------------------------------------


def trained(name: str, device: str) -> dict[str, np.ndarray]:
    """Losses and gradients of two steps of AdamW, with clipped gradients.

    float64: in float32 the gradients of a fresh MEGA differ between any two orders of summation.
    """
    cls, config = FAMILIES[name]
    config = type(config)(**{**config.to_dict(), **NO_DROPOUT.get(name, {})})
    with tinybert.manual_seed(1):
        model = cls(config).train().to(device, np.float64)
    optimizer = AdamW(model.parameters(), lr=1e-3)
    found: dict[str, np.ndarray] = {}
    for step in range(2):
        output = model(input_ids=Tensor(IDS, device=device), labels=Tensor(IDS, device=device))
        model.zero_grad()
        output.loss.backward()
        norm = clip_grad_norm_(list(model.parameters()), 0.5)
        found |= {f"loss {step}": output.loss.numpy(), f"norm {step}": norm.numpy()}
        for key, p in model.named_parameters():
            if p.grad is not None:
                found[f"{key} gradient {step}"] = p.grad.numpy()
        optimizer.step()
    return found


BERT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
MEGA = (
    "dropout_prob", "hidden_dropout_prob", "attention_probs_dropout_prob",
    "nffn_activation_dropout_prob",
)  # fmt: skip
NO_DROPOUT: dict[str, Any] = {
    "bert": BERT, "megatron-bert": BERT, "mega": dict.fromkeys(MEGA, 0.0),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_training_equals_the_cpu(name: str, cuda: Any) -> None:
    expected, found = trained(name, "cpu"), trained(name, "cuda")
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        support.assert_close(found[key], value, rtol=OP_FLOAT64, atol=OP_FLOAT64 / 10, name=key)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("scores", [1, 1 << 7, 1 << 28], ids=["a query", "some rows", "all"])
@pytest.mark.parametrize("groups", [6, 2])
@pytest.mark.parametrize("is_causal", [True, False])
def test_attention_equals_the_cpu(
    dtype: str, scores: int, groups: int, is_causal: bool, cuda: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(sys.modules["tinybert.backend.cuda.attention"], "SCORES", scores)
    rng = np.random.default_rng(0)
    given = [
        rng.standard_normal((3, length, width)).astype(dtype)
        for length, width in ((5, 48), (7, 8 * groups), (7, 8 * groups))
    ]
    dy = rng.standard_normal((3, 6, 5, 8)).astype(dtype)
    masks = {"none": None, "boolean": rng.random((3, 1, 1, 7)) > 0.4}
    masks["added"] = rng.standard_normal((1, 6, 5, 7)).astype(dtype)
    lowest = np.finfo(dtype).min
    masks["hidden"] = np.where(rng.random((3, 1, 1, 7)) > 0.4, 0, lowest).astype(dtype)
    masks["nothing"] = np.full((3, 1, 5, 7), False)
    for name, mask in masks.items():
        results = []
        for device in ("cpu", "cuda"):
            x = [Tensor(a, device=device, requires_grad=True) for a in given]
            parts = [F.split_heads(a, n) for a, n in zip(x, (6, groups, groups), strict=True)]
            there = None if mask is None else Tensor(mask, device=device)
            y = F.scaled_dot_product_attention(
                *parts, there, is_causal=is_causal, enable_gqa=True, first=2
            )
            y.backward(Tensor(dy, device=device))
            results.append([y.numpy(), *(part.grad.numpy() for part in x if part.grad is not None)])
        for ours, theirs in zip(results[1], results[0], strict=True):
            assert ours.dtype == dtype
            # float16: the weights are rounded to it before they meet the values.
            tolerance = KERNEL_ULPS * (FLOAT16_EPS if dtype == "float16" else np.finfo(dtype).eps)
            support.assert_close(
                ours.astype("float64"), theirs.astype("float64"), rtol=tolerance, name=name
            )


@pytest.mark.slow
def test_attention_of_several_dtypes(cuda: Any) -> None:
    arrays = [RNG.standard_normal((2, 3, 5, 8)) for _ in range(3)]
    for dtypes in (("float64", "float32", "float16"), ("float16", "float32", "float16")):
        given = [a.astype(d) for a, d in zip(arrays, dtypes, strict=True)]
        results = []
        for device in ("cpu", "cuda"):
            x = [Tensor(a, device=device, requires_grad=True) for a in given]
            mask = Tensor(np.arange(5), device=device)
            y = F.scaled_dot_product_attention(*x, mask)
            y.backward(Tensor(np.ones(y.shape, y.dtype), device=device))
            results.append([y.numpy(), *(a.grad.numpy() for a in x if a.grad is not None)])
        for ours, theirs in zip(results[1], results[0], strict=True):
            assert ours.dtype == theirs.dtype
            support.assert_close(
                ours.astype("float64"), theirs.astype("float64"), rtol=KERNEL_ULPS * FLOAT16_EPS
            )


@pytest.mark.slow
def test_dropout_of_attention_is_the_same_in_any_blocks_and_in_plain_mode(
    cuda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    attention = sys.modules["tinybert.backend.cuda.attention"]
    arrays = [RNG.standard_normal((2, 4, 9, 8)) for _ in range(4)]
    results = []
    for scores, plain_forward, plain_backward in (
        (1 << 28, False, False), (1, False, False), (1 << 28, True, False), (100, False, True),
    ):  # fmt: skip
        monkeypatch.setattr(attention, "SCORES", scores)
        x = [Tensor(a, device="cuda", requires_grad=True) for a in arrays[:3]]
        tinybert.manual_seed(0)
        with tinybert.plain() if plain_forward else nullcontext():
            y = F.scaled_dot_product_attention(*x, dropout_p=0.3)
        with tinybert.plain() if plain_backward else nullcontext():
            y.backward(Tensor(arrays[3], device="cuda"))
        results.append([y.numpy(), *(part.grad.numpy() for part in x if part.grad is not None)])
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            support.assert_close(one, other, rtol=1e-12)


@pytest.mark.slow
def test_dropout_keeps_the_share_that_it_should(cuda: Any) -> None:
    x = Tensor(np.ones((100, 1000)), device="cuda", requires_grad=True)
    y = F.dropout(x, 0.3)
    kept = y.numpy() != 0
    assert abs(kept.mean() - 0.7) < 0.01  # 4 standard deviations are 0.006
    assert abs(kept[:, ::2].mean() - kept[:, 1::2].mean()) < 0.01
    np.testing.assert_allclose(y.numpy()[kept], 1 / 0.7)
    y.backward(Tensor(np.ones((100, 1000)), device="cuda"))
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy() != 0, kept)
    assert (F.dropout(x, 0.3).numpy() != y.numpy()).any()


@pytest.mark.slow
def test_random_numbers_are_those_of_philox(cuda: Any) -> None:
    """The first word for counter 0 and key 0 in Random123's known answers is 6627e8d5."""
    elements = sys.modules["tinybert.backend.cuda.elements"]
    launch = sys.modules["tinybert.backend.cuda.launch"]
    code = "y = uniform(seed, x, x, x, x);"
    draw = launch.elementwise("uint64 seed, uint64 x", "T y", code, "known", elements.random_code())
    for seed, x, answer in ((0, 0, 0x6627E8D5), (2**64 - 1, 2**32 - 1, 0x408F276D)):
        y = StrictArray(np.zeros(1, np.float32))
        draw(np.uint64(seed), np.uint64(x), y)
        assert y.get()[0] == (answer >> 8) / 2**24


# --- budgets --------------------------------------------------------------------------------------

TWELVE = {**SIZES, "num_hidden_layers": 12, "hidden_size": 16, "num_attention_heads": 4}


def total(counts: Counts) -> int:
    return sum(counts.launches.values())


@pytest.mark.slow
def test_the_budget_of_bert(cuda: Any) -> None:
    model = tinybert.BertForMaskedLM(tinybert.BertConfig(**TWELVE, intermediate_size=32)).cuda()
    ids, mask = Tensor(IDS, device="cuda"), Tensor(np.ones(IDS.shape, int), device="cuda")
    optimizer = AdamW(model.parameters())
    model.train()
    for _ in range(2):  # the first step makes the buffers of AdamW
        model.zero_grad()
        with counting() as step:
            model(ids, labels=ids).loss.backward()
            optimizer.step()
    with counting() as clipping:
        clip_grad_norm_(list(model.parameters()), 1.0)
    model.eval()
    with counting() as forward, no_grad():
        model(ids, attention_mask=mask)
    print(f"BERT, 12 layers: training step {total(step)}, forward {total(forward)}")
    assert total(step) <= 870
    assert step.waits.total() <= 3
    assert total(forward) <= 305
    assert forward.waits.total() <= 3
    assert total(clipping) <= 9
    assert clipping.waits.total() == 0


@pytest.mark.slow
def test_the_budget_of_a_token(cuda: Any) -> None:
    config = tinybert.NemotronConfig(**TWELVE, intermediate_size=32, num_key_value_heads=2)
    model = tinybert.NemotronForCausalLM(config).cuda().eval()
    counts = []
    for length in (8, 9):
        with counting() as counted:
            model.generate(Tensor(IDS[:1], device="cuda"), max_new_tokens=length, do_sample=False)
        counts.append(counted)
    launches, waits = total(counts[1]) - total(counts[0]), counts[1].waits - counts[0].waits
    print(f"Nemotron, 12 layers: a token {launches}")
    assert launches <= 240
    assert waits.total() <= 3
    mask = np.ones(IDS.shape, int)
    mask[0, :3] = 0
    padded = {"attention_mask": Tensor(mask, device="cuda")}
    ids, steps = Tensor(IDS, device="cuda"), []
    with counting() as forward, no_grad():
        model(ids, **padded)
    for length in (2, 3):
        with counting() as counted:
            model.generate(ids, **padded, max_new_tokens=length, do_sample=True, top_k=5)
        steps.append(counted)
    assert forward.waits.total() <= 3
    assert (steps[1].waits - steps[0].waits).total() <= 3


# --- the compiler ---------------------------------------------------------------------------------


def every_elementwise_kernel(dtype: str) -> None:
    """Run operations that use them all."""
    rng = np.random.default_rng(0)

    def x(*shape: int) -> Tensor:
        array = rng.standard_normal(shape).astype(dtype)
        return Tensor(array, device="cuda", requires_grad=True)

    ids = Tensor(rng.integers(0, 40, 70), device="cuda")
    few = Tensor(rng.integers(0, 2, 70), device="cuda")
    labels = Tensor(np.array([3, -100, 9]), device="cuda")
    for y in (
        F.gelu(x(3)), F.relu2(x(3)), x(3).sigmoid(),
        F.dropout(x(3), 0.5), F.layer_norm(x(3, 5), (5,)),
        F.embedding(ids, x(40, 3)), F.embedding(few, x(2, 3)), F.cross_entropy(x(3, 11), labels),
        F.rotary_embedding(x(2, 3, 4), x(3, 2).data, x(3, 2).data), F.linear_gelu(x(3, 4), x(5, 4)),
        F.linear_gelu(x(3, 4), x(5, 4), x(5)),
    ):  # fmt: skip
        y.backward(Tensor(np.ones(y.shape, dtype), device="cuda"))
    with no_grad():
        F.gelu(x(3))
        F.linear_gelu(x(3, 4), x(5, 4), x(5))
    with tinybert.plain():
        F.scaled_dot_product_attention(*(x(1, 2, 3, 4) for _ in range(3)), dropout_p=0.5)


@pytest.mark.slow
@pytest.mark.skipif(nvrtc.found() is None, reason='NVRTC: pip install "tinybert[nvrtc]"')
def test_nvrtc_compiles_every_kernel(cuda: Any) -> None:
    for dtype in ("float16", "float32", "float64"):
        every_elementwise_kernel(dtype)
    ours = [k for k in compiled.kernels if k.name.startswith("tinybert_") and k.used]
    of_tests = {"known", "probe"}
    used = {kernel.name.removeprefix("tinybert_") for kernel in ours} - of_tests
    calls = [
        p.read_text("utf-8").count("elementwise(") for p in launch_module().FOLDER.glob("*.py")
    ]
    assert len(used) == sum(calls) - 1  # which is its definition
    code, count = nvrtc.elementwise_code(ours)
    # Three types each; the dropout of the plain formula and sigmoid never meet float16.
    assert nvrtc.compile_code(code, []).count(".entry") == count >= 3 * len(used) - 2
    headers = nvrtc.CUPY_HEADERS
    if headers is not None:
        code, count = nvrtc.elementwise_code(ours, with_cupy=True)
        options = [f"-I{headers}", f"-I{headers}/cupy/_cccl/libcudacxx", "-DCUPY_USE_JITIFY"]
        assert nvrtc.compile_code(code, [], options).count(".entry") == count
    for file in ("rows.cu", "tensors.cu"):
        names = launch_module().names(file)
        wanted = [f"{name}<{t}>" for name in names for t in launch_module().TYPES.values()]
        ptx = nvrtc.compile_code(launch_module().source(file), wanted)
        assert ptx.count(".entry") == len(wanted)


def launch_module() -> Any:
    return sys.modules["tinybert.backend.cuda.launch"]


def test_cupy_has_every_name_that_is_used() -> None:
    """What the double has under a name, CuPy must have as well."""
    pytest.importorskip("cupy", reason="CuPy is not installed")
    folder = Path(tinybert.__file__).parent / "backend" / "cuda"
    for path in sorted(folder.glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        known = {"cupy": "cupy"}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cupy"):
                known |= {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        for node in ast.walk(tree):
            name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            first, _, rest = name.partition(".")
            if first in known and re.fullmatch(r"[\w.]+", rest):
                assert pydoc.locate(f"{known[first]}.{rest}") is not None, (path.name, name)


# --- the double -----------------------------------------------------------------------------------


def kernel() -> compiled.ElementwiseKernel:
    return compiled.ElementwiseKernel("T x, T y", "T z", "z = x + y", "plus")


def test_arguments_of_a_kernel_have_one_dtype() -> None:
    x = StrictArray(np.ones(3, np.float32))
    with pytest.raises(TypeError, match="Type is mismatched"):
        kernel()(x, StrictArray(np.ones(3)))


def test_size_is_for_raw_arrays() -> None:
    x = StrictArray(np.ones(3, np.float32))
    with pytest.raises(ValueError, match="only if all arrays are raw"):
        kernel()(x, x, size=3)
    raw = compiled.ElementwiseKernel("raw T x", "raw T z", "z[i] = x[i]", "copied")
    with pytest.raises(ValueError, match="undecided"):
        raw(x, x)


@pytest.mark.slow
def test_a_barrier_that_not_all_threads_reach_is_found(cuda: Any) -> None:
    code = (
        "template <typename T> __global__ void bad(T* x) "
        "{ if (threadIdx.x == 0) __syncthreads(); x[0] = T(1); }"
    )
    module = compiled.RawModule(code, (), ["bad<float>"])
    with pytest.raises(RuntimeError, match="do not reach the same barriers"):
        module.get_function("bad<float>")((1,), (32,), (StrictArray(np.zeros(1, np.float32)),))


def test_new_memory_holds_garbage(cuda: Any) -> None:
    assert np.isnan(cuda.xp.empty(3, np.float32).get()).all()
