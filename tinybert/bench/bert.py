"""Benchmark BERT against transformers: forward passes, training steps, and generation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, no_grad, set_default_device
from tinybert.backend import DeviceError
from tinybert.bench.machine import share_threads
from tinybert.bench.timing import Prepared, Work, peak_megabytes
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
MINILM: dict[str, Any] = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}


def bert_forward(
    device: str, batch: int, length: int, config: dict[str, Any] | None = None, batches: int = 1
) -> Prepared:
    """Run a BERT with random weights; its size is that of bert-base-uncased, or of `config`."""
    with set_default_device(device):
        model = BertModel(BertConfig(**(config or {})))
    return _forward(model.eval(), device, batch, length, batches=batches)


def minilm_forward(
    device: str, batch: int, length: int, shortest: int | None = None, batches: int = 1
) -> Prepared:
    """Run MiniLM if it has been fetched, else a BERT of its size with random weights.

    With `shortest` the sentences have `shortest` to `length` tokens, in padded batches.
    """
    try:
        model = BertModel.from_pretrained(model_folder("minilm"), device=device)
    except FetchError:
        with set_default_device(device):
            model = BertModel(BertConfig(**MINILM)).eval()
    return _forward(model, device, batch, length, shortest, batches)


def _forward(
    model: BertModel, device: str, batch: int, length: int, shortest: int | None = None,
    batches: int = 1,
) -> Prepared:  # fmt: skip
    import torch

    twin = torch_twin(model, device).eval()
    inputs = [
        _inputs(model.config.vocab_size, batch, length, shortest, seed) for seed in range(batches)
    ]
    arrays = [[Tensor(array, device=device) for array in pair] for pair in inputs]
    tensors = [[torch.from_numpy(array).to(device) for array in pair] for pair in inputs]

    def ours(_: Any = None) -> list[np.ndarray]:
        with no_grad():
            return [model(ids, mask).last_hidden_state.numpy() for ids, mask in arrays]

    def difference(others: list[np.ndarray]) -> float:
        return max(
            float(np.abs((mine - other) * mask[:, :, None]).max())  # padding means nothing
            for mine, other, (_, mask) in zip(ours(), others, inputs, strict=True)
        )

    def in_onnxruntime() -> tuple[Work, float]:
        session = onnx_session(model, device)
        names = "input_ids", "attention_mask", "token_type_ids"
        feeds = [
            dict(zip(names, (ids, mask, np.zeros_like(ids)), strict=True)) for ids, mask in inputs
        ]

        def work(_: Any = None) -> list[np.ndarray]:
            return [session.run(["last_hidden_state"], feed)[0] for feed in feeds]

        return work, difference(work())

    def theirs(_: Any = None) -> list[np.ndarray]:
        with torch.inference_mode():
            return [twin(ids, mask).last_hidden_state.cpu().numpy() for ids, mask in tensors]

    return Prepared(
        ours,
        {"torch": theirs},
        {"torch": difference(theirs())},
        note=_filling(inputs) if shortest else "",
        on_request={"onnxruntime": in_onnxruntime},
    )


def _filling(inputs: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """Return a note on how much of some batches is padding."""
    tokens, positions = (sum(f(mask) for _, mask in inputs) for f in (np.sum, np.size))
    return f"{tokens:,} of {positions:,} positions are tokens, the others padding"


def train_step(
    device: str,
    batch: int,
    length: int,
    config: dict[str, Any] | None = None,
    checkpointing: bool = False,
    shortest: int | None = None,
) -> Prepared:
    """Run a step of fine-tuning a classifier, written as a user of each library would write it.

    Losses and gradients are compared without dropout; the timed steps use dropout. With
    `checkpointing` both use gradient checkpointing, and the note has the memory that it saves. With
    `shortest` the sentences have `shortest` to `length` tokens, in a padded batch.
    """
    import torch

    sizes = BertConfig(**{**SMALL, **(config or {})}, num_labels=CLASSES)
    with set_default_device(device):
        model = BertForSequenceClassification(sizes)
    twin = torch_twin(model, device)
    ids, mask, labels = _examples(sizes, batch, length, shortest)
    ours = _our_step(model, [Tensor(array, device=device) for array in (ids, mask, labels)])
    theirs = _torch_step(twin, [torch.from_numpy(a).to(device) for a in (ids, mask, labels)])
    note = _filling([(ids, mask)]) if shortest else ""
    if checkpointing:
        model.train()
        ours()
        before = peak_megabytes(ours)
        model.gradient_checkpointing_enable()
        twin.gradient_checkpointing_enable({"use_reentrant": False})
        ours()
        peak = peak_megabytes(ours)
        note = f"ours holds at most {peak:.0f} MB of arrays in a step, {before:.0f} without"
    copy_weights(model, twin)
    model.eval()
    twin.eval()
    difference = max(abs(ours() - theirs()), gradient_difference(model, twin))
    model.train()
    twin.train()
    return Prepared(ours, {"torch": theirs}, {"torch": difference}, note=note)


def _examples(
    config: Any, batch: int, length: int, shortest: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids, mask = _inputs(config.vocab_size, batch, length, shortest)
    return ids, mask, np.random.default_rng(1).integers(0, CLASSES, batch)


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
    """Generate with greedy search and a cache, by a decoder with random weights."""
    options = {**MINILM, **(config or {}), "is_decoder": True, "initializer_range": 0.1}
    with set_default_device(device):
        model = BertLMHeadModel(BertConfig(**options)).eval()
    ids, _ = _inputs(model.config.vocab_size, 1, prompt)
    return greedy_generation(model, ids, new_tokens, device)


def greedy_generation(
    model: Any, ids: np.ndarray, new_tokens: int, device: str, note: str = ""
) -> Prepared:
    """Continue ids (1, T) with greedy search; the difference is the number of unequal tokens."""
    import torch

    twin = torch_twin(model, device).eval()
    our_ids, torch_ids = Tensor(ids, device=device), torch.from_numpy(ids).to(device)
    mask = torch.ones_like(torch_ids)
    options: dict[str, Any] = {"max_new_tokens": new_tokens, "do_sample": False}

    def ours(_: Any = None) -> np.ndarray:
        return model.generate(our_ids, **options).numpy()

    def theirs(_: Any = None) -> np.ndarray:
        return twin.generate(torch_ids, attention_mask=mask, **options).cpu().numpy()

    difference = float((ours() != theirs()).sum())
    return Prepared(ours, {"torch": theirs}, {"torch": difference}, note=note)


def additions(device: str, count: int) -> Prepared:
    """Add two vectors of 3 numbers `count` times, recorded for the backward pass."""
    import torch

    values = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    x, y = (Tensor(value, requires_grad=True, device=device) for value in values)
    u, v = (torch.tensor(value, requires_grad=True, device=device) for value in values)

    def ours(_: Any = None) -> np.ndarray:
        for _ in range(count):
            total = x + y
        return total.detach().numpy()

    def theirs(_: Any = None) -> np.ndarray:
        for _ in range(count):
            total = u + v
        return total.detach().cpu().numpy()

    return Prepared(ours, {"torch": theirs}, {"torch": float(np.abs(ours() - theirs()).max())})


# --- the sides of a training step, for its memory -------------------------------------------------


def _ours_alone(batch: int, length: int, config: dict[str, Any]) -> Callable[..., float]:
    sizes = BertConfig(**config, num_labels=CLASSES)
    model = BertForSequenceClassification(sizes).train()
    return _our_step(model, [Tensor(a) for a in _examples(sizes, batch, length)])


def _torch_alone(batch: int, length: int, config: dict[str, Any]) -> Callable[..., float]:
    import torch
    import transformers

    sizes = transformers.BertConfig(**config, num_labels=CLASSES)
    model = transformers.BertForSequenceClassification._from_config(
        sizes, attn_implementation="sdpa"
    )
    return _torch_step(
        model.train(), [torch.from_numpy(a) for a in _examples(sizes, batch, length)]
    )


SIDES = {"ours": _ours_alone, "torch": _torch_alone}


# --- transformers --------------------------------------------------------------------------------


def torch_twin(model: Any, device: str, **options: Any) -> Any:
    """Return the model of transformers with the same class, config and weights."""
    import transformers

    sizes = {k: v for k, v in model.config.to_dict().items() if k != "model_type"}
    config = getattr(transformers, type(model.config).__name__)(**sizes)
    kind = getattr(transformers, type(model).__name__)
    if kind._supports_sdpa:
        options["attn_implementation"] = "sdpa"
    twin = kind._from_config(config, **options)
    copy_weights(model, twin)
    return twin.to(device)


def onnx_session(model: Any, device: str) -> Any:
    """Return the session of onnxruntime that runs the model, with as many threads as ours."""
    import onnxruntime

    from tinybert.export import export_onnx

    if device != "cpu":
        raise DeviceError("onnxruntime is compared on the CPU")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = share_threads()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, path)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def copy_weights(ours: Module, theirs: Any) -> None:
    """Give the model of transformers the weights of ours."""
    import torch

    state = {name: torch.from_numpy(t.numpy()) for name, t in ours.state_dict().items()}
    theirs.load_state_dict(state)


def gradient_difference(ours: Module, theirs: Any) -> float:
    """Return the largest difference of the gradients of two models."""
    gradients = {name: p.grad.cpu().numpy() for name, p in theirs.named_parameters()}
    largest = 0.0
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        gap = np.abs(parameter.grad.numpy() - gradients[name]).max()
        largest = max(largest, float(gap))
    return largest


def _inputs(
    vocab_size: int, batch: int, length: int, shortest: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return random ids (B, T) and a mask. It is of ones; or, with `shortest`, of sentences of
    random length, most of them short, cut after the longest.
    """
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, vocab_size, (batch, length))
    if shortest is None:
        return ids, np.ones_like(ids)
    lengths = shortest + (rng.random(batch) ** 2 * (length + 1 - shortest)).astype(int)
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(ids.dtype)
    return ids[:, : mask.shape[1]] * mask, mask
