"""`facts_of`: the shape and the size of a model, read from its files."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

from tinybert.embedded import CARD

WRITTEN = (CARD, "README.md")  # what describes a model does not count as its size


def facts_of(folder: Path) -> dict[str, str]:
    """Return names and values: architecture, vocabulary, longest text, parameters, size.

    Parameters are counted in the headers of the safetensors files. Of a low-rank adapter these are
    the weights that it adds to the model that it was trained over.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    facts = {"architecture": ", ".join(config["architectures"])}
    if "num_hidden_layers" in config:
        facts["layers"] = (
            f"{config['num_hidden_layers']} of hidden size {config['hidden_size']}, "
            f"{config['num_attention_heads']} heads"
        )
    if "vocab_size" in config:
        facts["vocabulary"] = f"{config['vocab_size']:,} tokens"
    if "max_position_embeddings" in config:
        facts["longest text"] = f"{config['max_position_embeddings']:,} tokens"
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        options = json.loads(adapter.read_text("utf-8"))
        facts["adapter"] = f"rank {options['r']}, over {options['base_model_name_or_path']}"
    facts["parameters"] = f"{sum(map(_parameters, sorted(folder.glob('*.safetensors')))):,}"
    return {**facts, "size": f"{size_of(folder) / 1e6:.1f} MB"}


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a model but its card."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in WRITTEN)
    return sum(path.stat().st_size for path in files)


def _parameters(path: Path) -> int:
    """Count the numbers in a safetensors file, without the scales of quantized matrices."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if "_scale" not in name)
