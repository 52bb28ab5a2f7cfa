"""Training with gradient checkpointing: the same weights, in less memory."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.support import assert_close
from tests.training.test_trainer import VOCAB, Rows, collate
from tinybert.bench.timing import peak_megabytes
from tinybert.training import Batches, Trainer, TrainingConfig
from tinybert.training.log import read_log

FAMILIES = ("BertForMaskedLM", "MegatronBertForMaskedLM", "NemotronForCausalLM")


class LongRows(Rows):
    """Examples of 256 random tokens."""

    def __init__(self) -> None:
        self.ids = np.random.default_rng(0).integers(5, VOCAB, (16, 256))
        self.lengths = np.full(16, 256)


def trainer(name: str, rows: Rows, folder: Path, checkpointing: bool, **options: Any) -> Trainer:
    """A run over a model with dropout."""
    sizes: dict[str, Any] = {
        "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4, "intermediate_size": 48, "max_position_embeddings": 256,
        "attention_dropout": 0.1, **options,
    }  # fmt: skip
    kind = getattr(tinybert, name)
    known = inspect.signature(kind.config_class).parameters
    with tinybert.manual_seed(5):
        model = kind(kind.config_class(**{k: v for k, v in sizes.items() if k in known}))
    settings = TrainingConfig(
        steps=6, learning_rate=1e-2, log_every=1, save_every=None, accumulation=2,
        gradient_checkpointing=checkpointing,
    )  # fmt: skip
    return Trainer(model, Batches(rows, collate, 4, seed=2), settings, folder)


@pytest.mark.parametrize("name", FAMILIES)
def test_training_is_the_same_up_to_rounding(name: str, tmp_path: Path) -> None:
    """With dropout: the second forward pass draws the same masks. It keeps what the first one does
    not, so that operations may round differently.
    """
    losses, trained = [], []
    for checkpointing in (False, True):
        folder = tmp_path / str(checkpointing)
        with tinybert.set_default_dtype("float64"):
            run = trainer(name, Rows(), folder, checkpointing)
        run.train()
        losses.append([line["loss"] for line in read_log(folder)])
        trained.append({n: p.numpy() for n, p in run.model.named_parameters()})
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
    for key, expected in trained[0].items():
        # The bias of a key adds the same number to all scores of a query: its gradient is rounding.
        if not key.endswith("key.bias"):
            assert_close(trained[1][key], expected, rtol=1e-7, name=key)


@pytest.mark.parametrize(
    "name", [FAMILIES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES[1:])]
)
def test_a_step_needs_less_memory(name: str, tmp_path: Path) -> None:
    """The intermediate results of one layer in place of those of sixteen."""
    peaks = []
    for on in (False, True):
        run = trainer(name, LongRows(), tmp_path, on, num_hidden_layers=16)
        run._train_step()  # modules that are imported when they are used, the optimizer's state
        peaks.append(peak_megabytes(run._train_step))
    assert peaks[1] < peaks[0] / 2


def test_a_family_without_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MegaForMaskedLM does not support gradient checkpointing"):
        trainer("MegaForMaskedLM", Rows(), tmp_path, True)
