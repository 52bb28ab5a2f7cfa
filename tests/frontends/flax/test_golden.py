"""The Flax classes compute what transformers' compute: outputs, gradients, and steps with a cache.

`golden.npz` holds their numbers; `make_golden.py` made it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.frontends.flax import settings
from tinybert.frontends.flax.parameters import leaves_of, places, tree_of

GOLDEN = np.load(Path(__file__).with_name("golden.npz"))
# Outputs and gradients are sums of up to a hundred float32 products, in another order than XLA's:
# some dozen units in the last place of the largest element.
ATOL = 2.0**-18


def make(case: str) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return a model without parameters, the parameters of a case, and its inputs."""
    name, options = settings.CASES[case]
    model = getattr(tinybert, name)(
        tinybert.BertConfig(**settings.SIZES, **options), _do_init=False
    )
    leaves = {}
    for path, place in places(model.module).items():
        shape = place.leaf_shape
        leaves[path] = settings.draw(settings.key_of("/".join(path), shape), shape)
    return model, tree_of(leaves), settings.inputs(name, options)


def flat(output: Any) -> dict[str, Any]:
    """Return the arrays of an output under the names of the golden file."""
    arrays: dict[str, Any] = {}
    for name, value in output.items():
        if isinstance(value, dict):
            arrays |= {f"{name}/{'/'.join(path)}": leaf for path, leaf in leaves_of(value).items()}
        elif isinstance(value, tuple):
            arrays |= {f"{name}/{i}": part for i, part in enumerate(value)}
        else:
            arrays[name] = value
    return arrays


def golden(prefix: str) -> dict[str, np.ndarray]:
    prefix += "/"
    return {name.removeprefix(prefix): GOLDEN[name] for name in GOLDEN if name.startswith(prefix)}


def check(found: dict[str, Any], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        scale = max(1.0, float(abs(array).max()))
        np.testing.assert_allclose(
            np.asarray(found[name]), array, rtol=0, atol=ATOL * scale, err_msg=name
        )


@pytest.mark.parametrize("case", settings.CASES)
def test_names_outputs_and_gradients(case: str) -> None:
    """With padding, and a text whose keys are all masked."""
    model, params, inputs = make(case)
    assert sorted("/".join(path) for path in leaves_of(params)) == list(GOLDEN[f"{case}/names"])
    output = model(**inputs, params=params, output_attentions=True, output_hidden_states=True)
    assert list(output) == list(GOLDEN[f"{case}/fields"])
    check(flat(output), golden(f"{case}/out"))
    plain = model(**inputs, params=params, return_dict=False)
    assert [str(part.shape) for part in plain] == list(GOLDEN[f"{case}/tuple"])

    def loss(tree: Any) -> Any:
        parts = model(**inputs, params=tree, return_dict=False)
        products = [
            (part * settings.cotangent(i, part.shape)).sum() for i, part in enumerate(parts)
        ]
        return tinybert.stack(products).sum()

    value, gradients = tinybert.value_and_grad(loss)(params)
    np.testing.assert_allclose(value.item(), GOLDEN[f"{case}/loss"], rtol=2e-6)
    found = {"/".join(path): leaf for path, leaf in leaves_of(gradients).items()}
    check(found, golden(f"{case}/grad"))


@pytest.mark.parametrize("case", settings.CACHED)
def test_steps_with_a_cache(case: str) -> None:
    """Several tokens at once, and a text that is padded at the left."""
    model, params, inputs = make(case)
    states = {name: array for name, array in inputs.items() if name.startswith("encoder")}
    ids, cache = inputs["input_ids"], model.init_cache(settings.TEXTS, settings.LIMIT)
    at, seen = 0, np.ones((settings.TEXTS, settings.LIMIT), bool)
    seen[1, 0] = False  # padding: see the next test
    for step, count in enumerate(settings.STEPS):
        before = {path: np.array(leaf) for path, leaf in leaves_of(cache).items()}
        positions = np.broadcast_to(np.arange(at, at + count), (len(ids), count))
        output = model(
            ids[:, at : at + count], attention_mask=settings.cached_mask(),
            position_ids=positions, past_key_values=cache, params=params, **states,
        )  # fmt: skip
        for path, leaf in leaves_of(cache).items():
            assert (np.asarray(leaf) == before[path]).all()
        cache = output.past_key_values
        counted = seen[:, at : at + count, None]
        at += count
        expected = GOLDEN[f"{case}/step{step}"]
        np.testing.assert_allclose(output[0].numpy() * counted, expected * counted, atol=2e-6)
    found, expected = flat({"past_key_values": cache}), golden(f"{case}/cache")
    for name in expected:
        if name.endswith("cache_index"):
            assert int(found[name]) == expected[name] == sum(settings.STEPS)
        else:
            counted = seen[:, :, None, None]
            np.testing.assert_allclose(
                np.asarray(found[name]) * counted, expected[name] * counted, atol=2e-6
            )


def test_padding_does_not_attend_to_the_free_places_of_a_cache() -> None:
    """A query without a visible key has uniform weights: 1 / 3 tokens, in Flax 1 / 9 places."""
    model, params, inputs = make("decoder")
    count = settings.STEPS[0]
    output = model(
        inputs["input_ids"][:, :count], attention_mask=settings.cached_mask(), params=params,
        past_key_values=model.init_cache(settings.TEXTS, settings.LIMIT), output_attentions=True,
        **{name: array for name, array in inputs.items() if name.startswith("encoder")},
    )  # fmt: skip
    np.testing.assert_allclose(output.attentions[0].numpy()[1, :, 0], 1 / count, rtol=1e-6)
    found, flax = output[0].numpy(), GOLDEN["decoder/step0"]
    assert abs(found[1, 0] - flax[1, 0]).max() > 0.01
    np.testing.assert_allclose(found[1, 1:], flax[1, 1:], atol=2e-6)
