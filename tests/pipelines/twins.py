"""What the tests of the pipelines share: a random model in a folder, as users have it, read by the
pipelines here and in transformers; and how results are compared.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from tests.models.oracle import TOY, draw_weights
from tinybert import pipelines

VOCAB = Path(__file__).parents[1] / "tokenizers" / "vocab.txt"
SIZES = {**TOY, "vocab_size": len(VOCAB.read_text("utf-8").splitlines())}
SIZES |= {"max_position_embeddings": 64, "type_vocab_size": 2}
# Probabilities are at most 1, and both sides compute in float32, through two layers.
ATOL = 1e-5

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make the folder of a random model of the class `name`; equal wishes give the same folder.

    tokenizer_options: of the tokenizer.
    options: of the config.
    """
    made: dict[str, Path] = {}

    def make(
        name: str,
        seed: int = 0,
        tokenizer_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> Path:
        key = repr((name, seed, tokenizer_options, sorted(options.items())))
        if key not in made:
            folder = tmp_path_factory.mktemp(name)
            tokenizer = transformers.BertTokenizerFast(
                vocab_file=str(VOCAB), **{"model_max_length": 64, **(tokenizer_options or {})}
            )
            ids = {"pad_token_id": tokenizer.pad_token_id}
            config = transformers.BertConfig(**{**SIZES, **ids, **options})
            model = getattr(transformers, name)(config)
            draw_weights(model, seed)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            shutil.copy(VOCAB, folder)
            made[key] = folder
        return made[key]

    return make


def both(task: str, folder: Path, **options: Any) -> tuple[Any, Any]:
    """The pipeline here and in transformers."""
    theirs = transformers.pipeline(
        task, str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"}, **options
    )
    return pipelines.pipeline(task, folder, **options), theirs


def assert_same(ours: Any, theirs: Any, path: str = "result") -> None:
    """Equal nesting, types, keys and their order; equal values, floats within ATOL."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), path
        assert list(ours) == list(theirs), path
        for name in theirs:
            assert_same(ours[name], theirs[name], f"{path}[{name!r}]")
    elif isinstance(theirs, list):
        assert isinstance(ours, list), path
        assert len(ours) == len(theirs), path
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(a, b, f"{path}[{i}]")
    elif hasattr(theirs, "__float__") and not isinstance(theirs, int):
        assert type(ours) is float, path
        assert ours == pytest.approx(float(theirs), rel=0, abs=ATOL), path
    else:
        assert type(ours) is type(theirs), path
        assert ours == theirs, path
