"""Write the trained writer with weights of 8-bit integers.

usage: python -m recipes.writer.pack RUN OUT

RUN    the folder of the trained model
OUT    gets weights, config, tokenizer and the defaults of generation

Matrices become int8 with a scale for each row, as those of `recipes/embedded_model/pack.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from recipes.embedded_model.pack import pack

# Sampling that leaves out what is unlikely, and what was just said.
GENERATION = {
    "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1,
    "do_sample": True, "temperature": 0.6, "top_k": 0, "top_p": 0.9, "repetition_penalty": 1.1,
    "whole_sentences": True,
}  # fmt: skip
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def main(run: str, out: str) -> None:
    """Write all files."""
    pack(Path(run), Path(out), {"generation_config.json": GENERATION}, TOKENIZER)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
