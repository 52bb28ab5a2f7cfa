"""BERT against transformers' BERT: forward passes, a step of training, and writing."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, no_grad, set_default_device
from tinybert.backend import DeviceError
from tinybert.bench.timing import Prepared
from tinybert.fetch import FetchError, model_folder
from tinybert.models import (
    BertConfig,
    BertForSequenceClassification,
    BertLMHeadModel,
    BertModel,
)
from tinybert.nn import Module
from tinybert.optim import AdamW, clip_grad_norm_

CLASSES = 3
LEARNING_RATE = 1e-4
SMALL = {
    "vocab_size": 8000,
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
MINILM = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}


def bert_forward(
    device: str, batch: int, length: int, config: dict[str, Any] | None = None
) -> Prepared:
    """A BERT with random weights, bert-base-uncased's sizes if `config` does not say otherwise."""
    with set_default_device(device):
        model = BertModel(BertConfig(**(config or {})))
    return _forward(model.eval(), device, batch, length)


def minilm_forward(device: str, batch: int, length: int) -> Prepared:
    """The real MiniLM if it has been fetched, else one of its size with random weights."""
    try:
        model = BertModel.from_pretrained(model_folder("minilm"), device=device)
    except FetchError:
        return bert_forward(device, batch, length, MINILM)
    return _forward(model, device, batch, length)


def _forward(model: BertModel, device: str, batch: int, length: int) -> Prepared:
    import torch

    twin = torch_twin(model, device).eval()
    ids, mask = _inputs(model.config.vocab_size, batch, length)
    arrays = {
        "input_ids": Tensor(ids, device=device),
        "attention_mask": Tensor(mask, device=device),
    }
    tensors = {name: torch.from_numpy(t.numpy()).to(device) for name, t in arrays.items()}

    def ours(_: Any = None) -> np.ndarray:
        with no_grad():
            return model(**arrays).last_hidden_state.numpy()

    def theirs(_: Any = None) -> np.ndarray:
        with torch.inference_mode():
            return twin(**tensors).last_hidden_state.cpu().numpy()

    difference = float(np.abs(ours() - theirs()).max())
    return Prepared(ours, {"torch": theirs}, {"torch": difference})


def train_step(
    device: str,
    batch: int,
    length: int,
    config: dict[str, Any] | None = None,
    checkpointing: bool = False,
) -> Prepared:
    """One step of fine-tuning a classifier, written as a user would write it on either side.

    Losses and gradients are compared without dropout; what is timed is with it. With
    `checkpointing` both sides compute their layers again in backward, and the note says what that
    saves here.
    """
    import torch

    sizes = BertConfig(**{**SMALL, **(config or {})}, num_labels=CLASSES)
    with set_default_device(device):
        model = BertForSequenceClassification(sizes)
    twin = torch_twin(model, device)
    ids, mask = _inputs(sizes.vocab_size, batch, length)
    labels = np.random.default_rng(1).integers(0, CLASSES, batch)
    ours = _our_step(model, [Tensor(array, device=device) for array in (ids, mask, labels)])
    theirs = _torch_step(twin, [torch.from_numpy(a).to(device) for a in (ids, mask, labels)])
    note = ""
    if checkpointing:
        model.train()
        before = _peak(ours)
        model.gradient_checkpointing_enable()
        twin.gradient_checkpointing_enable({"use_reentrant": False})
        note = f"ours holds at most {_peak(ours):.0f} MB of arrays in a step, {before:.0f} without"
    _copy_weights(model, twin)
    model.eval()
    twin.eval()
    difference = abs(ours() - theirs())
    gradients = {name: p.grad.cpu().numpy() for name, p in twin.named_parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        gap = np.abs(parameter.grad.numpy() - gradients[name]).max()
        difference = max(difference, float(gap))
    model.train()
    twin.train()
    return Prepared(ours, {"torch": theirs}, {"torch": difference}, note=note)


def _peak(step: Callable[[], Any]) -> float:
    """The most memory that NumPy's arrays take during a step beyond what there was, in MB."""
    step()
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def _our_step(model: Any, inputs: list[Tensor]) -> Callable[..., float]:
    ids, mask, labels = inputs
    optimizer = AdamW(model.parameters(), lr=LEARNING_RATE)

    def step(_: Any = None) -> float:
        optimizer.zero_grad()
        loss = model(ids, mask, labels=labels).loss
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def _torch_step(model: Any, inputs: list[Any]) -> Callable[..., float]:
    import torch

    ids, mask, labels = inputs
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)

    def step(_: Any = None) -> float:
        optimizer.zero_grad()
        loss = model(ids, mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def generate(
    device: str, prompt: int, new_tokens: int, config: dict[str, Any] | None = None
) -> Prepared:
    """Greedy continuation of one prompt by a decoder with random weights, with the cache.

    The difference is the number of tokens that are not the same.
    """
    import torch

    options = {**MINILM, **(config or {}), "is_decoder": True, "initializer_range": 0.1}
    with set_default_device(device):
        model = BertLMHeadModel(BertConfig(**options)).eval()
    twin = torch_twin(model, device).eval()
    ids, _ = _inputs(model.config.vocab_size, 1, prompt)
    here, there = Tensor(ids, device=device), torch.from_numpy(ids).to(device)
    call = {"max_new_tokens": new_tokens, "do_sample": False}

    def ours(_: Any = None) -> np.ndarray:
        return model.generate(here, **call).numpy()

    def theirs(_: Any = None) -> np.ndarray:
        return twin.generate(there, attention_mask=torch.ones_like(there), **call).cpu().numpy()

    return Prepared(ours, {"torch": theirs}, {"torch": float((ours() != theirs()).sum())})


# --- the other side ------------------------------------------------------------------------------


def torch_twin(model: Any, device: str) -> Any:
    """transformers' model of the same class, config and weights."""
    import torch
    import transformers

    if device != "cpu" and not torch.cuda.is_available():
        raise DeviceError(f"device {device!r}: this torch sees no GPU to compare with")
    options = {k: v for k, v in model.config.to_dict().items() if k != "model_type"}
    config = getattr(transformers, type(model.config).__name__)(**options)
    kind = getattr(transformers, type(model).__name__)
    twin = kind._from_config(config, attn_implementation="sdpa")
    _copy_weights(model, twin)
    return twin.to(device)


def _copy_weights(ours: Module, theirs: Any) -> None:
    import torch

    state = {name: torch.from_numpy(t.numpy()) for name, t in ours.state_dict().items()}
    theirs.load_state_dict(state)


def _inputs(vocab_size: int, batch: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Random ids (B, T) and a mask of ones: no padding, so that all of the work is real."""
    ids = np.random.default_rng(0).integers(1, vocab_size, (batch, length))
    return ids, np.ones_like(ids)
