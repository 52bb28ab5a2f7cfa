"""Make `golden.npz`: what transformers' Flax classes compute on toy models.

Needs an environment of its own:

    pip install transformers==4.57.6 jax==0.4.23 jaxlib==0.4.23 flax==0.7.5 "numpy<2" "scipy<1.13"
    python tests/frontends/flax/make_golden.py

It holds, for every class, the names of its parameters, outputs with padding and with one row whose
keys are all masked, gradient trees, and for decoders the steps with a cache. Parameters and inputs
are drawn in `settings.py`, which both sides read. The folder `saved` has a model in both formats.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import transformers
from flax.traverse_util import flatten_dict, unflatten_dict
from transformers import BertConfig

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.frontends.flax import settings


def parameters(model: Any, known: dict[str, np.ndarray], name: str) -> Any:
    """Return random parameters of a model's shapes."""
    drawn = {}
    for path, leaf in sorted(flatten_dict(model.params_shape_tree).items()):
        key = settings.key_of("/".join(path), leaf.shape)
        if key not in known:
            known[key] = settings.draw(key, leaf.shape)
        drawn[path] = jnp.asarray(known[key])
    return unflatten_dict(drawn)


def flat(output: Any) -> dict[str, Any]:
    """Return the arrays of an output: tuples by index, trees by path."""
    arrays: dict[str, Any] = {}
    for name, value in output.items():
        if isinstance(value, dict):
            tree = flatten_dict(value)
            arrays |= {f"{name}/{'/'.join(path)}": leaf for path, leaf in tree.items()}
        elif isinstance(value, tuple):
            arrays |= {f"{name}/{i}": part for i, part in enumerate(value)}
        else:
            arrays[name] = value
    return arrays


def main() -> None:
    """Write the file beside this script."""
    golden: dict[str, np.ndarray] = {}
    known: dict[str, np.ndarray] = {}

    def keep(prefix: str, arrays: dict[str, Any]) -> None:
        for name, array in arrays.items():
            golden[f"{prefix}/{name}"] = np.asarray(array)

    for case, (name, options) in settings.CASES.items():
        model = getattr(transformers, name)(BertConfig(**settings.SIZES, **options))
        params = parameters(model, known, name)
        golden[f"{case}/names"] = np.array(sorted("/".join(p) for p in flatten_dict(params)))
        inputs = settings.inputs(name, options)
        everything = {"output_attentions": True, "output_hidden_states": True}
        output = model(**inputs, params=params, **everything)
        keep(f"{case}/out", flat(output))
        golden[f"{case}/fields"] = np.array(list(output))
        plain = model(**inputs, params=params, return_dict=False)
        golden[f"{case}/tuple"] = np.array([str(np.shape(part)) for part in plain])

        def loss(tree: Any, model: Any = model, inputs: Any = inputs) -> Any:
            return sum(
                (jnp.asarray(settings.cotangent(i, part.shape)) * part).sum()
                for i, part in enumerate(model(**inputs, params=tree, return_dict=False))
            )

        value, gradients = jax.value_and_grad(loss)(params)
        golden[f"{case}/loss"] = np.asarray(value)
        keep(f"{case}/grad", {"/".join(p): g for p, g in flatten_dict(gradients).items()})

    for case in settings.CACHED:
        name, options = settings.CASES[case]
        model = getattr(transformers, name)(BertConfig(**settings.SIZES, **options))
        params = parameters(model, known, name)
        inputs = settings.inputs(name, options)
        states = {k: v for k, v in inputs.items() if k.startswith("encoder")}
        ids, limit = inputs["input_ids"], settings.LIMIT
        cache = model.init_cache(len(ids), limit)
        at = 0
        for step, count in enumerate(settings.STEPS):
            positions = np.broadcast_to(np.arange(at, at + count), (len(ids), count))
            output = model(
                ids[:, at : at + count], attention_mask=settings.cached_mask(),
                position_ids=positions, past_key_values=cache, params=params, **states,
            )  # fmt: skip
            cache = output.past_key_values
            at += count
            first = "logits" if "logits" in output else "last_hidden_state"
            golden[f"{case}/step{step}"] = np.asarray(output[first])
        keep(f"{case}/cache", flat({"past_key_values": cache}))

    name, options = settings.CASES[settings.SAVED]
    model = getattr(transformers, name)(BertConfig(**settings.SIZES, **options), _do_init=False)
    params = parameters(model, known, name)
    folder = Path(__file__).with_name("saved")
    for safe in (False, True):
        model.save_pretrained(folder, params=params, safe_serialization=safe)

    path = Path(__file__).with_name("golden.npz")
    np.savez_compressed(path, **golden)
    print(f"{path.name}: {len(golden)} arrays, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
