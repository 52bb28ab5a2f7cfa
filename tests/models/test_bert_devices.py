"""The whole of BERT on every device: outputs, a training run, saving and loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import tolerances
from tinybert import BertConfig, BertModel, manual_seed, nn, optim
from tinybert import functional as F
from tinybert.nn.packing import padded

CONFIG = BertConfig(
    vocab_size=97,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=36,
    max_position_embeddings=31,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
rng = np.random.default_rng(0)
IDS = rng.integers(0, 97, (2, 7))
MASK = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]])
CALLS = [
    {},
    {"attention_mask": MASK},
    {"attention_mask": MASK, "output_attentions": True},
    {"token_type_ids": rng.integers(0, 2, (2, 7)), "head_mask": [1.0, 0.0, 0.5]},
    {"position_ids": [[6, 5, 4, 3, 2, 1, 0]], "output_hidden_states": True},
]


def pair(device: str) -> tuple[BertModel, BertModel]:
    """The same weights on the CPU and on `device`."""
    here, there = BertModel(CONFIG), BertModel(CONFIG)
    there.load_state_dict(here.state_dict())
    return here, there.to(device)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: "+".join(call) or "plain")
def test_outputs_are_those_of_the_cpu(device: str, call: dict) -> None:
    here, there = (model.eval() for model in pair(device))
    with padded():  # as on a GPU
        expected, found = here(IDS, **call), there(IDS, **call)
    assert list(expected) == list(found)
    assert found.last_hidden_state.device == there.device
    for name in ("last_hidden_state", "pooler_output"):
        assert np.allclose(
            found[name].numpy(), expected[name].numpy(), atol=tolerances.DEVICE_FLOAT32
        )


def test_training_goes_the_same_way(device: str) -> None:
    losses: list[list[float]] = []
    for model in pair(device):
        with manual_seed(1):
            head = nn.Linear(24, 3).to(model.device)
        parameters = [*model.parameters(), *head.parameters()]
        optimizer = optim.AdamW(parameters, lr=1e-3)
        losses.append([])
        for _ in range(5):
            optimizer.zero_grad()
            loss = F.cross_entropy(head(model(IDS, attention_mask=MASK).pooler_output), [0, 2])
            loss.backward()
            optim.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses[-1].append(loss.item())
    assert np.allclose(losses[0], losses[1], rtol=1e-4)
    assert losses[0][-1] < losses[0][0]


def test_dropout_in_training(device: str) -> None:
    model = BertModel(BertConfig(**{**CONFIG.to_dict(), "hidden_dropout_prob": 0.3})).to(device)
    first, second = (model(IDS).last_hidden_state.numpy() for _ in range(2))
    assert not np.allclose(first, second)


def test_saved_there_loaded_here_and_there(device: str, tmp_path: Path) -> None:
    here, there = pair(device)
    there.save_pretrained(tmp_path)
    for loaded in (BertModel.from_pretrained(tmp_path, device=d) for d in ("cpu", device)):
        for name, tensor in here.state_dict().items():
            assert (loaded.state_dict()[name].numpy() == tensor.numpy()).all(), name
