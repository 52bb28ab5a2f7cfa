"""Make `tokenizer.npz`: what TFBertTokenizer and tensorflow-text give for the texts of the tests.

pip install tensorflow-cpu==2.15.1 tensorflow-text==2.15.0 transformers==4.57.6 "numpy<2"
python -m tests.frontends.tensorflow.make_tokenizer_golden
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "TF_USE_LEGACY_KERAS": "1"}

import numpy as np
import tensorflow as tf
import tensorflow_text as text
import transformers

from tests.frontends.tensorflow import texts


def tokenizer(lower: bool, fast: bool = True, **options: Any) -> Any:
    return transformers.TFBertTokenizer(
        texts.VOCABULARY, do_lower_case=lower, use_fast_bert_tokenizer=fast, **options
    )


def main() -> None:
    found: dict[str, np.ndarray] = {}
    codes = texts.code_points()
    characters = tf.constant([chr(code) for code in codes])
    for lower, fast in texts.KINDS:
        between = tokenizer(lower, fast).unpaired_tokenize(tf.constant(texts.between(codes)))
        pieces = ["".join(map(chr, row)) for row in between.to_list()]
        found[f"between {lower} {fast}"] = texts.checksums(pieces)
    folded = text.case_fold_utf8(characters)
    normalizer = text.FastBertNormalizer(lower_case_nfd_strip_accents=True)
    images = [image.decode() for image in normalizer.normalize(folded).numpy()]
    found["images"] = texts.checksums(images)
    for name, call in texts.CALLS.items():
        for key, value in call(tokenizer).items():
            found[f"{name}/{key}"] = np.asarray(value)
    np.savez_compressed(Path(__file__).with_name("tokenizer.npz"), **found)


if __name__ == "__main__":
    main()
