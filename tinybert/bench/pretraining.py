"""Benchmark a whole step of pre-training against torch and transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinybert.autograd import set_default_device
from tinybert.bench.bert import LEARNING_RATE, MINILM, copy_weights, gradient_difference
from tinybert.bench.timing import Prepared
from tinybert.models import BertConfig, BertForMaskedLM
from tinybert.optim import AdamW, clip_grad_norm_
from tinybert.training import Batches, mask_tokens, masked_loss
from tinybert.training.batches import Batch
from tinybert.training.masking import IGNORED

Side = Callable[..., tuple[Any, Callable[..., float]]]  # returns a model and its step


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
    return Prepared(ours, steps, differences, tokens=batch * length)


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
