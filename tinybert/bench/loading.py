"""Benchmark loading a model of 345 million parameters against transformers: time and memory."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.bench.timing import Prepared
from tinybert.models import MegatronBertConfig, MegatronBertModel

# Runs in its own process, to measure its peak memory: prints the bytes that loading added at most,
# and the bytes of the weights.
MEASURE = """
import sys
import tinybert

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))

tinybert.MegatronBertConfig()
before = status("VmRSS")
model = tinybert.MegatronBertModel.from_pretrained(sys.argv[1])
held = sum(p.data.nbytes for p in model.parameters())
touched = sum(float(p.data.sum()) for p in model.parameters())
print(status("VmHWM") - before, held)
"""


def load(device: str, config: dict[str, Any] | None = None) -> Prepared:
    """Load MegatronBERT with random weights from a safetensors file, and sum every weight.

    Both libraries map the file, so weights are read when they are used. The difference is that of
    one weight.
    """
    import torch
    import transformers

    folder = tempfile.mkdtemp(prefix="tinybert-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model = MegatronBertModel(MegatronBertConfig(**(config or {})))
    model.save_pretrained(folder)
    name, first = next(iter(model.state_dict().items()))
    expected = first.numpy().copy()
    del model, first
    note = ""
    if Path("/proc/self/status").exists():
        script = [sys.executable, "-c", MEASURE, folder]
        run = subprocess.run(script, capture_output=True, text=True, check=True)
        added, held = (int(number) / 1e6 for number in run.stdout.split())
        note = f"ours adds {added:.0f} MB to hold {held:.0f} MB of weights"

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
    return Prepared(ours, {"transformers": theirs}, {"transformers": difference}, note=note)
