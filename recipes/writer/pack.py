"""Write the trained writer as the files of the package.

usage: python -m recipes.writer.pack RUN OUT

RUN    the folder of the trained model
OUT    `tinybert/embedded/writer`: gets weights, config, tokenizer and the defaults of generation;
       its card and README stay

Matrices become int8 with a scale for each row, as those of `recipes/embedded_model/pack.py`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from recipes.embedded_model.pack import DROPPED, LARGEST
from tinybert.weights import atomic_write, open_checkpoint, save_sharded
from tinybert.weights.int8 import CONFIG, Int8Rows

# Sampling that leaves out what is unlikely, and what was just said.
GENERATION = {
    "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1,
    "do_sample": True, "temperature": 0.8, "top_k": 0, "top_p": 0.9, "repetition_penalty": 1.1,
    "whole_sentences": True,
}  # fmt: skip
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def main(run: str, out: str) -> None:
    """Write all files."""
    source, folder = Path(run), Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with open_checkpoint(source) as checkpoint:
        save_sharded(Int8Rows(checkpoint, LARGEST), folder)
    config = json.loads((source / "config.json").read_text("utf-8"))
    kept = {name: value for name, value in config.items() if name not in DROPPED}
    files: dict[str, Any] = {
        "config.json": {**kept, "quantization_config": CONFIG},
        "generation_config.json": GENERATION,
        **{name: json.loads((source / name).read_text("utf-8")) for name in TOKENIZER},
    }
    for name, content in files.items():
        with atomic_write(folder / name, "w") as file:
            indent = None if name == "tokenizer.json" else 2
            file.write(json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
