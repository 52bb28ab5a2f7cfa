"""Write the trained model as the files of the package.

usage: pack.py RUN OUT

RUN    the folder of the trained model
OUT    `tinybert/embedded/encoder`: gets weights, config, tokenizer and the files of a sentence
       embedder; its card, README and NOTICE stay

Matrices become int8 with a scale for each row. The codes go from -63 to 63: seven bits lose
nothing that the report can measure, and a wheel, which is compressed, is a seventh smaller.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tinybert.weights import atomic_write, open_checkpoint, save_sharded
from tinybert.weights.int8 import CONFIG, Int8Rows

LARGEST = 63
TOKENIZER = ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json")
# The files of sentence-transformers: the mean over the tokens, scaled to length 1.
MODULES = "sentence_transformers.models"
FILES: dict[str, Any] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": f"{MODULES}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{MODULES}.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{MODULES}.Normalize"},
    ],
    "1_Pooling/config.json": {
        "word_embedding_dimension": 384, "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    },
    "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": False},
}  # fmt: skip
DROPPED = ("_name_or_path", "transformers_version", "gradient_checkpointing", "torch_dtype")


def pack(source: Path, folder: Path, files: dict[str, Any], copied: Iterable[str]) -> None:
    """Write the weights of a model as int8, its config and other JSON files; copy the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    with open_checkpoint(source) as checkpoint:
        save_sharded(Int8Rows(checkpoint, LARGEST), folder)
    config = json.loads((source / "config.json").read_text("utf-8"))
    kept = {name: value for name, value in config.items() if name not in DROPPED}
    for name, content in (files | {"config.json": kept | {"quantization_config": CONFIG}}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        with atomic_write(folder / name, "w") as file:
            file.write(json.dumps(content, indent=2) + "\n")
    for name in copied:
        shutil.copyfile(source / name, folder / name)


def main(run: str, out: str) -> None:
    """Write all files."""
    pack(Path(run), Path(out), FILES, TOKENIZER)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
