"""Make `golden.npz` and the files of `files/`: the results of `cases.py` in TensorFlow.

pip install tensorflow-cpu==2.15.1 tensorflow-text==2.15.0 transformers==4.57.6 "numpy<2"
python -m tests.frontends.tensorflow.make_golden
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "TF_USE_LEGACY_KERAS": "1"}

import numpy as np
import tensorflow as tf
import transformers

from tests.frontends.tensorflow import cases

HERE = Path(__file__).parent


def build(class_name: str, compiled: float | None = None, **options: Any) -> Any:
    """Return a model of transformers with the drawn weights; compiled with this rate."""
    config = transformers.BertConfig(**{**cases.SIZES, **options})
    model = getattr(transformers, class_name)(config)
    model(model.dummy_inputs)
    for weight in model.weights:
        weight.assign(cases.draw(weight.name.partition("/")[2], tuple(weight.shape)))
    if compiled is not None:
        model.compile(optimizer=tf.keras.optimizers.SGD(compiled), run_eagerly=True)
    return model


def main() -> None:
    transformers.logging.set_verbosity_error()
    found: dict[str, np.ndarray] = {}
    for name, case in cases.CASES.items():
        for key, value in cases.flatten(name, case(tf, build)):
            found[key] = np.asarray(tf.convert_to_tensor(value))
    refused = []
    for name, call in cases.REFUSED.items():
        try:
            call(tf, build)
        except Exception as error:
            refused.append(name)
            print(f"{name}: {type(error).__name__}: {str(error)[:100]!r}")
    print("not refused:", sorted(set(cases.REFUSED) - set(refused)))
    found["refused"] = np.array(refused)
    np.savez_compressed(HERE / "golden.npz", **found)
    for suffix, safe in (("h5", False), ("safetensors", True)):
        model = build("TFBertForPreTraining", is_decoder=False)
        model.save_pretrained(HERE / "files" / suffix, safe_serialization=safe)


if __name__ == "__main__":
    main()
