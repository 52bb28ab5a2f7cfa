"""Benchmark loading a model of 345 million parameters against transformers."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from typing import Any

import numpy as np

from tinybert.bench.timing import Prepared
from tinybert.models import MegatronBertConfig, MegatronBertModel


def save_random_weights(folder: str, config: dict[str, Any]) -> MegatronBertModel:
    """Save a MegatronBERT with random weights in a folder, and return it."""
    model = MegatronBertModel(MegatronBertConfig(**config))
    model.save_pretrained(folder)
    return model


def load(device: str, config: dict[str, Any] | None = None) -> Prepared:
    """Load MegatronBERT with random weights from a safetensors file, and sum every weight.

    Both libraries map the file, so weights are read when they are used. The difference is that of
    one weight.
    """
    import torch
    import transformers

    folder = tempfile.mkdtemp(prefix="tinybert-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model = save_random_weights(folder, config or {})
    name, first = next(iter(model.state_dict().items()))
    expected = first.numpy().copy()
    del model, first

    def ours(_: Any = None) -> Any:
        loaded = MegatronBertModel.from_pretrained(folder, device=device)
        return loaded, sum(p.sum().item() for p in loaded.parameters())

    def theirs(_: Any = None) -> Any:
        loaded = transformers.MegatronBertModel.from_pretrained(folder).to(device)
        with torch.no_grad():
            return loaded, sum(p.sum().item() for p in loaded.parameters())

    tensors = [side()[0].state_dict()[name] for side in (ours, theirs)]
    arrays = [tensors[0].numpy(), tensors[1].cpu().numpy()]
    difference = max(float(np.abs(array - expected).max()) for array in arrays)
    return Prepared(ours, {"transformers": theirs}, {"transformers": difference})
