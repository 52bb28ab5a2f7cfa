"""Benchmark a whole step of pre-training against torch and transformers: time and peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.autograd import set_default_device
from tinybert.bench.bert import LEARNING_RATE, MINILM, copy_weights, gradient_difference
from tinybert.bench.machine import share_threads
from tinybert.bench.timing import Prepared
from tinybert.models import BertConfig, BertForMaskedLM
from tinybert.optim import AdamW, clip_grad_norm_
from tinybert.training import Batches, mask_tokens, masked_loss
from tinybert.training.batches import Batch
from tinybert.training.masking import IGNORED

Side = Callable[..., tuple[Any, Callable[..., float]]]  # returns a model and its step

# Runs in its own process, to measure its peak memory.
MEASURE = "import sys; from tinybert.bench import pretraining; pretraining.measure(sys.argv[1])"
STEPS_MEASURED = 2  # the first one allocates the state of AdamW


def pretrain(
    device: str, batch: int, length: int, config: dict[str, Any] | None = None
) -> Prepared:
    """Run a step of masked language modeling: batch, forward, backward, clipping, AdamW.

    "transformers" computes the scores of all tokens, as its model does when it is given labels.
    "torch" is the same model with the scores of the masked tokens alone, which ours computes too.
    All get the same batches. Losses and gradients are compared without dropout; the timed steps use
    dropout.
    """
    options = {**MINILM, **(config or {})}
    made = {name: side(device, batch, length, options) for name, side in SIDES.items()}
    model, ours = made.pop("ours")
    differences = {}
    model.eval()
    for twin, _ in made.values():
        copy_weights(model, twin.eval())
    loss = ours()
    for name, (twin, theirs) in made.items():
        differences[name] = max(abs(loss - theirs()), gradient_difference(model, twin))
        twin.train()
    model.train()
    steps = {name: step for name, (_, step) in made.items()}
    note = ""
    if device == "cpu" and Path("/proc/self/status").exists():
        peaks = {name: _peak(name, batch, length, options) for name in SIDES}
        each = ", ".join(f"{name} {peak / 1e6:.0f} MB" for name, peak in peaks.items())
        note = f"memory that training adds at most: {each}"
    return Prepared(ours, steps, differences, note=note, tokens=batch * length)


def _ours(device: str, batch: int, length: int, options: dict[str, Any]) -> Any:
    with set_default_device(device):
        model = BertForMaskedLM(BertConfig(**options)).train()
    optimizer = AdamW(model.parameters(), lr=LEARNING_RATE)
    batches = _batches(batch, length, model.config.vocab_size)

    def step(_: Any = None) -> float:
        optimizer.zero_grad()
        loss = masked_loss(model, next(batches))
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return model, step


def _torch(loss_of: Any, device: str, batch: int, length: int, options: dict[str, Any]) -> Any:
    import torch
    import transformers

    config = transformers.BertConfig(**options)
    model = transformers.BertForMaskedLM._from_config(config, attn_implementation="sdpa")
    model = model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    batches = _batches(batch, length, config.vocab_size)

    def step(_: Any = None) -> float:
        optimizer.zero_grad()
        inputs = {name: torch.from_numpy(x).to(device) for name, x in next(batches).items()}
        loss = loss_of(model, inputs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return model, step


def _loss_of_all(model: Any, inputs: dict[str, Any]) -> Any:
    return model(**inputs).loss


def _loss_of_masked(model: Any, inputs: dict[str, Any]) -> Any:
    import torch

    labels = inputs.pop("labels")
    counts = labels != IGNORED
    logits = model.cls(model.bert(**inputs).last_hidden_state[counts])
    return torch.nn.functional.cross_entropy(logits, labels[counts])


SIDES: dict[str, Side] = {
    "ours": _ours,
    "torch": partial(_torch, _loss_of_masked),
    "transformers": partial(_torch, _loss_of_all),
}


# --- data -----------------------------------------------------------------------------------------


def _batches(batch: int, length: int, vocab_size: int) -> Batches:
    """Return batches of random text without padding, with new masks in every epoch."""
    ids = np.random.default_rng(0).integers(1, vocab_size, (8 * batch, length))

    def collate(rows: list[Any], rng: np.random.Generator) -> Batch:
        rows_ids = np.stack(rows)
        everywhere = np.ones_like(rows_ids, bool)
        inputs, labels = mask_tokens(rows_ids, everywhere, 0, vocab_size, rng)
        return {"input_ids": inputs, "attention_mask": np.ones_like(rows_ids), "labels": labels}

    return Batches(ids, collate, batch, by_length=False)  # type: ignore[arg-type]


# --- memory ---------------------------------------------------------------------------------------


def _peak(name: str, batch: int, length: int, options: dict[str, Any]) -> int:
    """Return the bytes that model and training add at most in a process of their own."""
    request = json.dumps([name, batch, length, options])
    command = [sys.executable, "-c", MEASURE, request]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(run.stdout)


def measure(request: str) -> None:
    """Print how much the peak memory of this process is above that of the imported libraries."""
    name, batch, length, options = json.loads(request)
    if name != "ours":
        import transformers

        share_threads()
        assert transformers.BertForMaskedLM  # imported at its first use
    before = _status("VmRSS")
    _, step = SIDES[name]("cpu", batch, length, options)
    for _ in range(STEPS_MEASURED):
        step()
    print(_status("VmHWM") - before)


def _status(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))
