"""The signatures that transformers' documents show: ours have the same names, order and defaults.

`tests/data/document_signatures.txt` is the table: page, name, arguments. What differs is listed
below with the reason.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import tinybert

FILE = Path(__file__).parents[1] / "data" / "document_signatures.txt"
SIGNATURES = FILE.read_text("utf-8").splitlines()


def documented(line: str) -> tuple[str, str]:
    """The name and the arguments of a line of the table."""
    name, _, arguments = line.split(" ", 1)[1].partition("(")
    return name, arguments.removesuffix(")")


# Arguments of ours that follow the documented ones, each with a default that changes nothing.
LATER = {
    "logits_to_keep": "an argument of later transformers: logits of the last tokens alone",
    "num_items_in_batch": "an argument of later transformers: what the loss is divided by",
    "cache_position": "every Nemotron takes it, as the base model does",
    "use_cache": "every Nemotron takes it, as the base model does",
    "next_sentence_label": "the old name of labels, which the original finds in **kwargs",
    "clean_up_tokenization_spaces": "an option of every tokenizer, from **kwargs",
    "clean_text": "an option of the fast tokenizer, from **kwargs",
    "reference": "brings back what the original computes otherwise than the paper",
    "wordpieces_prefix": "an option of the fast tokenizer, from **kwargs",
}
# Where the original swallows unknown arguments, and ours does not.
NO_KWARGS = "a misspelt argument of a call is an error, not ignored"
# Other defaults: the default of ours, and the reason.
DEFAULTS: dict[str, tuple[str, str]] = {
    "NemotronConfig rope_theta=10000.0": ("None", "10000.0, unless rope_parameters say otherwise"),
    "NemotronConfig partial_rotary_factor=0.5": (
        "None",
        "0.5, unless rope_parameters say otherwise",
    ),
}


def ours(name: str) -> list[str]:
    """The arguments of our function or class of that name, written like those of the table."""
    value: Any = tinybert
    for part in name.split("."):
        value = getattr(value, part)
    parameters = [*inspect.signature(value).parameters.values()]
    if parameters[0].name == "self":
        del parameters[0]
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [
        f"{stars.get(p.kind, '')}{p.name}" + ("" if p.default is p.empty else f"={p.default!r}")
        for p in parameters
    ]


def split(arguments: list[str]) -> tuple[list[str], bool]:
    """Arguments without `**kwargs` (ours has a name that says what it holds), and whether it is
    there.
    """
    named = [argument for argument in arguments if not argument.startswith("**")]
    return named, len(named) < len(arguments)


def test_the_table_is_complete() -> None:
    assert len(SIGNATURES) == 124


@pytest.mark.parametrize("line", SIGNATURES, ids=lambda line: line.partition("(")[0])
def test_a_signature_is_the_documented_one(line: str) -> None:
    name, text = documented(line)
    skip_unless_built(name)
    expected, swallows = split(re.split(r", (?![^(]*\))", text))
    found, takes_options = split(ours(name))
    for at, argument in enumerate(expected):
        default, _ = DEFAULTS.get(f"{name} {argument}", ("", ""))
        wanted = f"{argument.partition('=')[0]}={default}" if default else argument
        assert found[at] == wanted, f"{name}: argument {at + 1}"
    assert {argument.partition("=")[0] for argument in found[len(expected) :]} <= LATER.keys()
    assert takes_options == (swallows and not name.endswith(".forward")), NO_KWARGS


def test_the_other_defaults_of_nemotron_mean_the_same() -> None:
    config = tinybert.NemotronConfig()
    assert (config.rope_theta, config.partial_rotary_factor) == (10000.0, 0.5)


def skip_unless_built(name: str) -> None:
    if name.startswith("Flax"):
        pytest.importorskip("tinybert.frontends.flax")
    if name.startswith("TFBertTokenizer") and not hasattr(tinybert, "TFBertTokenizer"):
        pytest.skip("no TFBertTokenizer yet")
