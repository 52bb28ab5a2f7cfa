"""Loss curves of our training and of torch's with transformers' models lie on each other."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.models import mega_oracle, nemotron_oracle, oracle
from tests.models.mega_oracle import theirs_in_float64  # noqa: F401 (a fixture for every test)
from tinybert.training import Batches, Trainer, TrainingConfig
from tinybert.training.log import read_log

RATE, CLIP, DECAY = 2e-3, 1.0, 0.1
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
FAMILIES: dict[str, Any] = {
    "BertForMaskedLM": lambda: (
        *oracle.twin_heads("BertForMaskedLM", 1, **NO_DROPOUT), nullcontext()
    ),
    "MegatronBertForMaskedLM": lambda: (
        *oracle.twin_heads("MegatronBertForMaskedLM", 2, **NO_DROPOUT), nullcontext()
    ),
    "MegaForMaskedLM": lambda: (
        *mega_oracle.mega_twins("MegaForMaskedLM", 3, **mega_oracle.NO_DROPOUT), nullcontext()
    ),
    "NemotronForCausalLM": lambda: (
        *nemotron_oracle.twins("NemotronForCausalLM", 4), nemotron_oracle.exact()
    ),
}  # fmt: skip


class Rows:
    """Random ids of the toy vocabularies; a third is hidden, unless the model is causal."""

    def __init__(self, causal: bool) -> None:
        self.ids = np.random.default_rng(0).integers(3, 23, (24, 9))
        self.lengths, self.causal = np.full(24, 9), causal

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[index]

    def collate(self, rows: list[np.ndarray], rng: np.random.Generator) -> dict[str, Any]:
        ids = np.stack(rows)
        if self.causal:
            return {"input_ids": ids, "labels": ids}
        hidden = rng.random(ids.shape) < 0.3
        hidden[:, 2] = True
        return {"input_ids": np.where(hidden, 2, ids), "labels": np.where(hidden, ids, -100)}

    def batches(self) -> Batches:
        return Batches(self, self.collate, 6, seed=1)


def torch_losses(model: Any, batches: Batches, steps: int, causal: bool) -> list[float]:
    """Train a model of transformers with torch's own parts."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}],
        lr=RATE,
    )
    warmup = round(0.1 * steps)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, warmup, steps)
    model.train()
    losses = []
    for _ in range(steps):
        batch = {name: torch.from_numpy(value) for name, value in next(batches).items()}
        labels = batch.pop("labels")
        logits = model(**batch).logits  # the model's own loss is computed in float32
        if causal:
            logits, labels = logits[:, :-1], labels[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def curves(name: str, dtype: str, steps: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return our losses and torch's."""
    ours, theirs, exact = FAMILIES[name]()
    rows = Rows("Causal" in name)
    if dtype == "float32":
        ours, theirs, exact = ours.to(np.float32), theirs.float(), nullcontext()
    settings = TrainingConfig(
        steps=steps, learning_rate=RATE, warmup=0.1, max_grad_norm=CLIP, weight_decay=DECAY,
        log_every=1, save_every=None,
    )  # fmt: skip
    Trainer(ours, rows.batches(), settings, folder).train()
    with exact:
        expected = torch_losses(theirs, rows.batches(), steps, rows.causal)
    return np.array([line["loss"] for line in read_log(folder)]), np.array(expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_twenty_steps_in_float64(name: str, tmp_path: Path) -> None:
    ours, theirs = curves(name, "float64", 20, tmp_path)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)
    assert theirs[-1] < theirs[0]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "close"), [("float32", 1e-3), ("float64", 1e-8)])
@pytest.mark.parametrize("name", FAMILIES)
def test_two_hundred_steps(name: str, dtype: str, close: float, tmp_path: Path) -> None:
    ours, theirs = curves(name, dtype, 200, tmp_path)
    np.testing.assert_allclose(ours, theirs, rtol=close)
