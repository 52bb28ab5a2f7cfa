"""A folder of the shape of Minitron-4B, 8.4 GB in bfloat16, generates a token on a small machine.

The test marked `slow` does it in full and prints what it took; the other the same in small.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tinybert import NemotronConfig, NemotronForCausalLM
from tinybert.nn.init import hollow_init
from tinybert.weights import save_sharded
from tinybert.weights.reader import TensorInfo, TensorReader

SMALL = {
    "vocab_size": 32000, "hidden_size": 768, "intermediate_size": 2304, "num_attention_heads": 6,
    "num_key_value_heads": 2, "num_hidden_layers": 8,
}  # fmt: skip

# Run in a process of its own: prints seconds, and the most anonymous memory that was added to that
# of the interpreter. Pages of the file do not count: the system takes them back when it wants to.
GENERATE = """
import sys, threading, time
import tinybert

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))

def watch():
    while not done.wait(0.002):
        seen.append(anonymous())

before, seen, done = anonymous(), [], threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
start = time.perf_counter()
model = tinybert.NemotronForCausalLM.from_pretrained(sys.argv[1], low_memory=True)
loaded = time.perf_counter()
ids = model.generate([[5, 6, 7]], max_new_tokens=2, eos_token_id=None)
end = time.perf_counter()
done.set()
watcher.join()
print(loaded - start, end - loaded, max(seen) - before, ids.shape[1])
"""


class Drawn(TensorReader):
    """Random bfloat16 weights for every parameter of a config, drawn when they are asked for."""

    def __init__(self, config: NemotronConfig) -> None:
        with hollow_init():
            model = NemotronForCausalLM(config)
        self.metadata = {"format": "pt"}
        self.shapes = {name: p.shape for name, p in model.named_parameters()}

    def info(self, name: str) -> TensorInfo:
        shape = self.shapes[name]
        return TensorInfo("BF16", shape, 2 * int(np.prod(shape)))

    def __getitem__(self, name: str) -> np.ndarray:
        rng = np.random.default_rng(len(name))
        row = 0.02 * rng.standard_normal(self.shapes[name][-1:], dtype=np.float32)
        signs = rng.choice(np.float32([-1, 1]), (*self.shapes[name][:-1], 1)[-2:])
        return np.broadcast_to(
            row * signs if len(self.shapes[name]) > 1 else row, self.shapes[name]
        )

    def read_into(self, name: str, out: np.ndarray) -> None:
        out[...] = self[name]

    def __contains__(self, name: object) -> bool:
        return name in self.shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def close(self) -> None:
        pass


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("preset", "options"),
    [("", SMALL), pytest.param("minitron-4b", {}, marks=pytest.mark.slow)],
    ids=["small", "minitron-4b"],
)
def test_a_folder_larger_than_what_is_held(
    preset: str, options: dict[str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = NemotronConfig.preset(preset) if preset else NemotronConfig(**options)
    weights = Drawn(config)
    save_sharded(weights, tmp_path)
    config.save_pretrained(tmp_path)
    size = sum(weights.info(name).nbytes for name in weights)
    run = subprocess.run(
        [sys.executable, "-c", GENERATE, tmp_path], capture_output=True, text=True, check=True
    )
    loading, generating, held, length = map(float, run.stdout.split())
    with capsys.disabled():
        print(
            f"\n{size / 1e9:.1f} GB in bfloat16: loaded in {loading:.2f} s, two tokens in "
            f"{generating:.1f} s, {held / 1e6:.0f} MB beside the interpreter's held at most"
        )
    assert length == 5
    assert held < min(size / 4, 100e6)
