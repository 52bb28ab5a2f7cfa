"""Fixtures for every test: the real model, the devices, and a clean start."""

from __future__ import annotations

import gc
import os
import sys

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores: one thread of BLAS for each
    for library in ("OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may touch the network

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tinybert import backend
from tinybert.autograd import get_default_device, get_default_dtype, is_grad_enabled

PLAIN = backend.is_plain()  # as the environment has it

# How long an example takes depends on what else the machine does.
settings.register_profile(
    "tests", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

# fsync takes milliseconds a file, and protects from a power cut alone. fstat, which replaces it,
# refuses a closed file too.
_fsync, os.fsync = os.fsync, os.fstat


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests with the garbage collector off; later collections skip what exists then.

    Otherwise each would go through torch, transformers and 20,000 tests, and free nothing.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let the generators of the test's file, and torch's own, begin anew: no draw depends on the
    tests before.
    """
    for value in vars(item.module).values() if isinstance(item, pytest.Function) else ():
        if isinstance(value, np.random.Generator):
            begin = np.random.default_rng([*item.path.name.encode()])
            value.bit_generator.state = begin.bit_generator.state
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.manual_seed(0)


@pytest.fixture(autouse=True)
def clean_modes() -> Iterator[None]:
    """Seed the generators before each test, and fail a test that leaves a global mode changed."""
    backend.manual_seed(0)
    yield
    left = is_grad_enabled(), get_default_dtype(), get_default_device(), backend.is_plain()
    expected = (True, np.float32, "cpu", PLAIN)
    assert left == expected, f"the test left grad mode, dtype, device, plain mode at {left}"


@pytest.fixture(
    params=[
        "cpu", "strict", pytest.param("double", marks=pytest.mark.slow),
        pytest.param("cuda", marks=pytest.mark.gpu),
    ]
)  # fmt: skip
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each device in turn: NumPy, the strict double of CuPy's arrays (`tests/strict.py`), the same
    with the GPU's kernels (`tests/gpu_double`), and CuPy on a GPU.
    """
    if request.param == "strict":
        import tests.strict  # noqa: F401  (registers the device)
    if request.param == "double":
        from tests.gpu_double.cupy import gpu

        with gpu():
            yield "cuda"
        return
    if request.param == "cuda":
        try:
            backend.parse_device("cuda")
        except backend.DeviceError as reason:
            pytest.skip(str(reason))
    yield request.param


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written to the disk itself, as outside the tests."""
    monkeypatch.setattr(os, "fsync", _fsync)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the real model all-MiniLM-L6-v2; a test that needs it fails where it is not."""
    from tinybert.fetch import FetchError, model_folder

    try:
        return model_folder("minilm")
    except FetchError as error:
        pytest.fail(str(error))
