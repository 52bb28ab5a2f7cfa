"""Memory: loading needs little more than the weights, long inputs no attention matrix."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.oracle import config
from tests.support import assert_close
from tests.tolerances import FLOAT32_EPS
from tinybert import BertModel, no_grad

LOADING = """
import sys
import tinybert

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))

tinybert.BertConfig()
before = status("VmRSS")
model = tinybert.BertModel.from_pretrained(sys.argv[1])
held = sum(parameter.data.nbytes for parameter in model.parameters())
touched = sum(float(parameter.data.sum()) for parameter in model.parameters())
print(status("VmHWM") - before, held)
"""
NOISE = 6 << 20  # what the interpreter adds of its own: pages of code, JSON, names, arenas


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_loading_peaks_at_little_more_than_the_weights(minilm):
    # a process of its own: the peak of this one is that of torch
    command = [sys.executable, "-W", "error", "-c", LOADING, str(minilm)]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    added, weights = map(int, run.stdout.split())
    assert 90e6 < weights < 92e6
    assert 0.9 * weights < added <= 1.2 * weights + NOISE


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_loading_shards_of_half_the_size_peaks_no_higher(minilm, tmp_path):
    model = BertModel.from_pretrained(minilm)
    model.save_pretrained(tmp_path, max_shard_size="10MB", dtype="float16")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    command = [sys.executable, "-W", "error", "-c", LOADING, str(tmp_path)]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    added, weights = map(int, run.stdout.split())
    assert 90e6 < weights < 92e6
    assert 0.9 * weights < added <= 1.2 * weights + NOISE


# --- long inputs ----------------------------------------------------------------------------------

LENGTH, HEADS = 2048, 4
MATRIX = HEADS * LENGTH * LENGTH * 4  # bytes of one matrix of weights, float32


@pytest.fixture(scope="module")
def long_model() -> BertModel:
    """One layer, narrow and long."""
    return BertModel(
        config(
            hidden_size=32,
            num_attention_heads=HEADS,
            num_hidden_layers=1,
            max_position_embeddings=LENGTH,
            initializer_range=0.3,
        )
    ).eval()


def peak(call: Any) -> tuple[Any, int]:
    """The result of a call, and the bytes that it held at once at most."""
    tracemalloc.start()
    try:
        result = call()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def example() -> dict[str, np.ndarray]:
    """Ids, and a mask that hides the last 300."""
    mask = np.ones((1, LENGTH), np.int64)
    mask[:, -300:] = 0
    return {
        "input_ids": np.random.default_rng(0).integers(23, size=(1, LENGTH)),
        "attention_mask": mask,
    }


def test_long_inputs_never_hold_a_whole_matrix(long_model):
    with no_grad():
        output, used = peak(lambda: long_model(**example()))
        full, used_full = peak(lambda: long_model(**example(), output_attentions=True))
    assert used < MATRIX / 8
    assert used_full > MATRIX
    # sums over 2,048 keys in another order
    tokens = slice(0, LENGTH - 300)  # features of padding are zeros in the first
    assert_close(
        output.last_hidden_state.numpy()[:, tokens],
        full.last_hidden_state.numpy()[:, tokens],
        rtol=64 * FLOAT32_EPS,
    )


def test_neither_does_training_on_them(long_model):
    def step() -> None:
        output = long_model.train()(**example()).last_hidden_state
        output.backward(np.ones(output.shape, np.float32))

    try:
        _, used = peak(step)
    finally:
        long_model.eval().zero_grad()
    assert used < MATRIX / 4
