"""Make `tinybert/tokenizers/classes.json` from the installed transformers:

python -m tests.tokenizers.make_classes
"""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import transformers
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from tinybert.tokenizers.added_tokens import ROLES
from tinybert.tokenizers.classes import FILE

INPUTS = ("input_ids", "token_type_ids", "attention_mask")
COMMON = {"model_input_names": [*INPUTS], "padding_side": "right", "pad_token_type_id": 0}


def settings_of(name: str) -> dict[str, Any]:
    """What a class says that differs from `PreTrainedTokenizerFast`."""
    kind = getattr(transformers, name)
    parameters = inspect.signature(kind.__init__).parameters
    found = {"model_input_names": list(kind.model_input_names), "padding_side": kind.padding_side}
    # Set in __init__.
    type_id = re.search(r"self\._pad_token_type_id = (\d+)", inspect.getsource(kind))
    found["pad_token_type_id"] = int(type_id[1]) if type_id else 0
    found |= {role: parameters[role].default for role in ROLES if role in parameters}
    more = parameters.get("additional_special_tokens")
    if "extra_ids" in parameters:  # of T5, in this order
        number = parameters["extra_ids"].default
        found["additional_special_tokens"] = [f"<extra_id_{i}>" for i in range(number)]
    elif more is not None and more.default:
        found["additional_special_tokens"] = list(more.default)
    return {
        key: str(value) if key in ROLES else value
        for key, value in found.items()
        if value != COMMON.get(key) and set(found["model_input_names"]) <= {*INPUTS}
    }


def make() -> dict[str, Any]:
    fast = {name for _, name in TOKENIZER_MAPPING_NAMES.values() if name is not None}
    classes = {name.removesuffix("Fast"): settings_of(name) for name in sorted(fast)}
    types = {
        kind: name.removesuffix("Fast")
        for kind, (_, name) in sorted(TOKENIZER_MAPPING_NAMES.items())
        if name is not None and classes[name.removesuffix("Fast")]
    }
    return {"classes": {k: v for k, v in classes.items() if v}, "model_types": types}


if __name__ == "__main__":
    FILE.write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")
