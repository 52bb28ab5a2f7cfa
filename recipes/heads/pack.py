"""Put a trained head into the package: its adapter in float16.

usage: pack.py RUN FOLDER

RUN     the output folder of `tinybert finetune TASK --rank R`
FOLDER  a folder of tinybert/embedded; the card in it stays
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tinybert.weights import load_file, save_file

WEIGHTS = "adapter_model.safetensors"


def main(run: str, folder: str) -> None:
    """Write adapter and configuration, without tokenizer: it is that of the embedded encoder."""
    out = Path(folder)
    out.mkdir(exist_ok=True)
    for name in ("config.json", "adapter_config.json"):
        shutil.copyfile(Path(run, name), out / name)
    save_file(load_file(Path(run, WEIGHTS)), out / WEIGHTS, {"format": "pt"}, "float16")
    print(f"{out / WEIGHTS}: {(out / WEIGHTS).stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
