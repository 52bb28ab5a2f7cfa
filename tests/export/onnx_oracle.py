"""What the tests of ONNX share: small models, and what onnxruntime computes with their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import tinybert
from tinybert.nn.packing import padded

CLASSES = sorted(
    name
    for name in tinybert.__all__
    if name.startswith(("Bert", "Mega", "Nemotron"))
    and ("For" in name or name.endswith(("Model", "LMHeadModel")))
    and not name.endswith("Output")
)
SIZES: dict[str, dict[str, Any]] = {
    "Bert": {"num_attention_heads": 3, "intermediate_size": 10, "max_position_embeddings": 17},
    "Mega": {
        "intermediate_size": 10, "ema_projection_size": 4, "shared_representation_size": 6,
        "nffn_hidden_size": 14,
    },
    "Nemotron": {
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 10,
        "pad_token_id": 0, "max_position_embeddings": 17,
    },
}  # fmt: skip
DECODERS = ("CausalLM", "LMHeadModel")


def small_model(name: str, **options: Any) -> Any:
    """A model of the class `name` with random weights."""
    family = name.partition("For")[0].removesuffix("LMHeadModel").removesuffix("Model")
    sizes: dict[str, Any] = {"vocab_size": 23, "hidden_size": 12, "num_hidden_layers": 2}
    sizes |= SIZES[family.removeprefix("Megatron")]
    sizes["num_labels"] = 2 if "Question" in name else 3
    if name.endswith(DECODERS):
        sizes |= {"is_decoder": True} | ({"bidirectional": False} if family == "Mega" else {})
    model = getattr(tinybert, name)(getattr(tinybert, f"{family}Config")(**{**sizes, **options}))
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.data += (0.3 * rng.standard_normal(parameter.shape)).astype("f")
    return model.eval()


def inputs(model: Any, session: Any, batch: int, length: int, left: int = 0) -> dict[str, Any]:
    """Random inputs for a session. The first row is padded by a quarter on the right, the last by
    `left` tokens on the left.
    """
    rng = np.random.default_rng([batch, length])
    values = {}
    for given in session.get_inputs():
        sizes = {"batch": batch, "length": length, "choices": 3, "encoder_length": length + 2}
        shape = tuple(sizes.get(axis, axis) for axis in given.shape)
        if given.name == "encoder_hidden_states":
            values[given.name] = rng.standard_normal(shape).astype("f")
        elif given.name.endswith("mask"):
            values[given.name] = np.ones(shape, np.int64)
            rows = values[given.name].reshape(-1, shape[-1])
            rows[0, shape[-1] - shape[-1] // 4 :] = 0
            if given.name == "attention_mask" and left < length:
                rows[-1, :left] = 0
        else:
            limit = 2 if given.name == "token_type_ids" else model.config.vocab_size
            values[given.name] = rng.integers(0, limit, size=shape)
    ids, mask = values["input_ids"], values["attention_mask"]
    if model.config.pad_token_id is not None:
        ids[ids == model.config.pad_token_id] = 5
        ids[mask == 0] = model.config.pad_token_id
    return values


def session_of(path: Path) -> Any:
    """The file in onnxruntime, on the CPU."""
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def largest_difference(model: Any, session: Any, values: dict[str, Any], **options: Any) -> float:
    """The largest difference of the outputs of a session from those of the model, relative to the
    largest number of the output if that is above 1. The shapes are equal.
    """
    with padded(), tinybert.no_grad():
        wanted = model(**values, **options)
    largest = 0.0
    names = [output.name for output in session.get_outputs()]
    assert names
    for name, found in zip(names, session.run(names, values), strict=True):
        field, _, number = name.partition(".")
        expected = (wanted[field][int(number)] if number else wanted[field]).numpy()
        assert found.shape == expected.shape, (name, found.shape, expected.shape)
        assert found.dtype == expected.dtype
        scale = max(1.0, float(np.abs(expected).max()))
        largest = max(largest, float(np.abs(found - expected).max()) / scale)
    return largest
