"""A model that cannot fit is refused before its weights are drawn or read."""

from __future__ import annotations

import json
import os
import re
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.models import mega_oracle, nemotron_oracle, oracle
from tinybert import BertConfig, MegaConfig, MegatronBertConfig, NemotronConfig
from tinybert.models import memory
from tinybert.nn.init import hollow_init

GIB = 1 << 30
LARGE: dict[str, tuple[str, Any]] = {
    "bert-large": (
        "BertModel",
        BertConfig(
            hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
        ),
    ),
    "megatron-345m": ("MegatronBertModel", MegatronBertConfig()),
    **{name: ("NemotronModel", NemotronConfig.preset(name)) for name in NemotronConfig.presets},
    "mega, large": (
        "MegaModel",
        MegaConfig(
            hidden_size=1024, num_hidden_layers=24, intermediate_size=2048, nffn_hidden_size=2048,
            shared_representation_size=256, relative_positional_bias="simple", vocab_size=50265,
            max_positions=30000,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "config"), LARGE.values(), ids=LARGE)
def test_the_number_of_weights_is_known_before_they_are_drawn(
    name: str, config: Any, monkeypatch: Any
) -> None:
    counted: list[int] = []
    monkeypatch.setattr(
        "tinybert.models.base.check_memory", lambda config, weights: counted.append(weights)
    )
    with hollow_init():
        model = getattr(tinybert, name)(config)
    assert counted[0] == pytest.approx(model.num_parameters(), rel=0.01)


def test_the_default_nemotron_is_refused_and_the_cures_are_named(monkeypatch: Any) -> None:
    """It is the documents' own example: 58 GiB."""
    monkeypatch.setattr(memory, "free_memory", lambda: 16 * GIB)
    tracemalloc.start()
    start = time.process_time()
    for name in ("NemotronModel", "NemotronForCausalLM", "NemotronForQuestionAnswering"):
        with pytest.raises(MemoryError) as raised:
            getattr(tinybert, name)(NemotronConfig())
        for words in ("NemotronConfig", "59.9 GiB in float32", "16.0 GiB", "low_memory=True",
                      "dtype='float16'", *NemotronConfig.presets):  # fmt: skip
            assert words in str(raised.value)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert time.process_time() - start < 5


def test_what_fits_is_made(monkeypatch: Any) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: None)  # not known on this system
    with hollow_init():
        tinybert.NemotronModel(NemotronConfig())
    monkeypatch.setattr(memory, "free_memory", lambda: 100 << 20)
    config = BertConfig(**{**oracle.TOY, "vocab_size": 9_000_000})  # 412 MiB in float32
    with pytest.raises(MemoryError, match=r"0\.4 GiB in float32, but 0\.1 GiB of memory are free"):
        tinybert.BertModel(config)
    with (
        tinybert.set_default_dtype(np.float64),
        pytest.raises(MemoryError, match=r"0\.8 GiB in fl"),
    ):
        tinybert.BertModel(config)
    monkeypatch.setattr(memory, "free_memory", lambda: 0)
    tinybert.BertModel(BertConfig(**oracle.TOY))  # small models are made without a question


# --- sizes in a file ------------------------------------------------------------------------------

TOYS: dict[str, Any] = {
    "Bert": oracle.TOY,
    "MegatronBert": oracle.TOY,
    "Mega": mega_oracle.TOY,
    "Nemotron": nemotron_oracle.TOY,
}
SIZES = ("num_hidden_layers", "vocab_size", "intermediate_size")


@pytest.mark.parametrize("low_memory", [False, True], ids=["", "low_memory"])
@pytest.mark.parametrize("size", [*SIZES, "num_labels"])
@pytest.mark.parametrize("family", TOYS)
def test_a_size_that_the_weights_do_not_bear_out_is_refused(
    family: str, size: str, low_memory: bool, tmp_path: Path
) -> None:
    """Of a file that is not to be trusted: neither time nor memory goes with the number."""
    name = f"{family}ForSequenceClassification"
    model = getattr(tinybert, name)(getattr(tinybert, f"{family}Config")(**TOYS[family]))
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), size: 10**9}))
    tracemalloc.start()
    start = time.process_time()
    words = "num_labels must be at most" if size == "num_labels" else "the file holds [0-9,]+: use"
    for loaded in (getattr(tinybert, name), tinybert.AutoModelForSequenceClassification):
        with pytest.raises(ValueError, match=words):
            loaded.from_pretrained(tmp_path, low_memory=low_memory)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert time.process_time() - start < 5


def test_the_number_of_labels_has_a_limit_everywhere() -> None:
    with pytest.raises(ValueError, match="num_labels must be at most 1,000,000, got 1,000,001"):
        BertConfig(num_labels=1_000_001)
    config = BertConfig()
    with pytest.raises(ValueError, match="num_labels must be at most"):
        config.num_labels = 10**12
    assert config.num_labels == 2


# --- free memory ----------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="reads Linux's /proc")
def test_free_memory_is_what_linux_says() -> None:
    available = int(re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())[1])
    swap = int(re.search(r"SwapFree: +(\d+)", Path("/proc/meminfo").read_text())[1])
    found = memory.free_memory()
    assert found is not None
    assert 0 < found <= (available + swap) * 1024 * 1.2


@pytest.mark.parametrize("group", memory.CGROUPS, ids=["version 2", "version 1"])
def test_the_limit_of_a_container_counts(group: Any, tmp_path: Path, monkeypatch: Any) -> None:
    _, limit, used, reclaimable = group
    monkeypatch.setattr(memory, "CGROUPS", ((str(tmp_path), limit, used, reclaimable),))
    without = memory.free_memory()
    (tmp_path / limit).write_text("5000000\n")
    (tmp_path / used).write_text("3000000\n")
    (tmp_path / "memory.stat").write_text(f"anon 7\n{reclaimable} 1000000\nfile 9\n")
    assert memory.free_memory() == 3_000_000  # the cache of files can be given back
    (tmp_path / used).write_text("9000000\n")
    assert memory.free_memory() == 0
    (tmp_path / limit).write_text("max\n")
    assert memory.free_memory() == pytest.approx(without, rel=0.2)


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="POSIX only")
def test_another_system_says_how_much_memory_it_has_or_nothing(monkeypatch: Any) -> None:
    monkeypatch.setattr(memory, "_text", lambda path: "")  # no /proc, no /sys
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory.free_memory() == total
    monkeypatch.delattr(os, "sysconf_names")  # Windows
    assert memory.free_memory() is None
