"""The TFBert classes give what TensorFlow gives: outputs, losses, caches, gradients, training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
import tinybert.frontends.tensorflow as tf
from tests.frontends.tensorflow import cases

HERE = Path(__file__).parent
CLOSE = 2e-5  # float32: TensorFlow sums in another order
# Scores near -10000 are rounded to multiples of 2^-10, and so close ones may differ by that much.
CLOSE_IF_MASKED = 2.0**-10
GOLDEN: dict[str, np.ndarray] = {}


def build(class_name: str, compiled: float | None = None, **options: Any) -> Any:
    """Return a model with the drawn weights; compiled with this rate."""
    config = tinybert.BertConfig(**{**cases.SIZES, **options})
    model = getattr(tinybert, class_name)(config)
    for weight in model.weights:
        weight.assign(cases.draw(weight.name.partition("/")[2], weight.shape))
    if compiled is not None:
        model.compile("sgd", learning_rate=compiled)
    return model


def golden() -> dict[str, np.ndarray]:
    if not GOLDEN:
        with np.load(HERE / "golden.npz") as stored:
            GOLDEN.update(stored)
    return GOLDEN


def expected(name: str) -> dict[str, np.ndarray]:
    inside = (f"{name}/", f"{name}.")
    return {key: value for key, value in golden().items() if key.startswith(inside)}


@pytest.mark.parametrize("name", cases.CASES)
@pytest.mark.filterwarnings("ignore:all .* are ignored")
def test_a_case_gives_what_tensorflow_gives(name: str) -> None:
    found = {
        key: np.asarray(value) for key, value in cases.flatten(name, cases.CASES[name](tf, build))
    }
    wanted = expected(name)
    assert list(found) == list(wanted)
    close = CLOSE_IF_MASKED if name.startswith("all keys") else CLOSE
    for key, value in wanted.items():
        assert found[key].shape == value.shape, key
        np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=close, err_msg=key)


@pytest.mark.parametrize("name", cases.REFUSED)
def test_what_tensorflow_refuses_is_refused(name: str) -> None:
    assert name in golden()["refused"]
    with pytest.raises((ValueError, TypeError, IndexError, NotImplementedError)):
        cases.REFUSED[name](tf, build)


ON_DEVICES = [
    *(class_name for class_name, _ in cases.every_class()),
    *(name for name in cases.CASES if name.startswith("loss")),
    "TFBertForPreTraining gradients",
    "a decoder",
    "cross-attention, a matrix mask",
    "steps with a cache",
]


@pytest.mark.parametrize("name", ON_DEVICES)
@pytest.mark.filterwarnings("ignore:all .* are ignored")
def test_devices_give_the_same(name: str, device: str) -> None:
    if device == "cpu":
        return

    with tinybert.set_default_device(device):
        results = list(cases.flatten(name, cases.CASES[name](tf, build)))
    for key, value in results:
        found = value.numpy() if isinstance(value, tinybert.Tensor) else np.asarray(value)
        np.testing.assert_allclose(found, golden()[key], rtol=1e-4, atol=CLOSE, err_msg=key)
        assert not isinstance(value, tinybert.Tensor) or value.device != "cpu"
