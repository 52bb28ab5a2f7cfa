"""What the classes of transformers say that a tokenizer.json does not.

`classes.json` holds, for each class, the inputs of its models, the side of padding and the special
tokens by role, where they differ from `PreTrainedTokenizerFast`; and the class of each model_type.
tests/tokenizers/make_classes.py makes it from transformers 4.57.6.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")


@cache
def _tables() -> dict[str, dict[str, Any]]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def class_settings(tokenizer_class: str | None) -> dict[str, Any]:
    """Return the options that a class has unless its files say otherwise; {} if it is unknown."""
    return _tables()["classes"].get(str(tokenizer_class).removesuffix("Fast"), {})


def class_of_model_type(model_type: str) -> str | None:
    """Return the class for a model_type of config.json; None if it says nothing more."""
    return _tables()["model_types"].get(model_type)
