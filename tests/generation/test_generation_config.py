"""GenerationConfig: defaults, values, files that transformers reads, and precedence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from tests.models import oracle
from tinybert.generation import GenerationConfig
from tinybert.generation.config import UNSUPPORTED
from tinybert.weights import CheckpointError


def test_defaults_are_those_of_transformers() -> None:
    theirs = transformers.GenerationConfig()
    for name, value in GenerationConfig().to_dict().items():
        assert getattr(theirs, name) == value or (value is False and not getattr(theirs, name))
    for name, value in UNSUPPORTED.items():
        assert getattr(theirs, name) == value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 0}, "max_length must be an integer >= 1, got 0"),
        ({"max_new_tokens": 0}, "max_new_tokens must be an integer >= 1 or None, got 0"),
        ({"max_new_tokens": 2.0}, "max_new_tokens must be an integer >= 1 or None, got 2.0"),
        ({"min_length": -1}, "min_length must be an integer >= 0, got -1"),
        ({"num_beams": 0}, "num_beams must be an integer >= 1, got 0"),
        ({"num_beams": True}, "num_beams must be an integer >= 1, got True"),
        ({"num_return_sequences": 2}, "num_return_sequences must be 1 for greedy search, got 2"),
        (
            {"num_return_sequences": 3, "num_beams": 2},
            "num_return_sequences must be at most num_beams 2, got 3",
        ),
        ({"early_stopping": "soon"}, "early_stopping must be True, False or 'never', got 'soon'"),
        ({"do_sample": "yes"}, "do_sample must be True or False, got 'yes'"),
        ({"length_penalty": "1"}, "length_penalty must be a finite number, got '1'"),
        ({"length_penalty": float("nan")}, "length_penalty must be a finite number, got nan"),
        (
            {"eos_token_id": "2"},
            "eos_token_id must be a token id, a list of token ids or None, got '2'",
        ),
        ({"bos_token_id": -1}, "bos_token_id must be an integer >= 0 or None, got -1"),
        (
            {"bad_words_ids": [3]},
            "each list in bad_words_ids must be a non-empty list of token ids, got 3",
        ),
    ],
)
def test_values_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationConfig(**options)


def test_what_we_do_not_have_is_refused_when_it_is_used() -> None:
    GenerationConfig.from_dict(
        {"num_beam_groups": 1, "diversity_penalty": 0.0, "penalty_alpha": None}
    )
    with pytest.raises(ValueError, match="num_beam_groups is not supported, got 2"):
        GenerationConfig.from_dict({"num_beam_groups": 2})
    with pytest.raises(TypeError, match="no field max_lenght"):
        GenerationConfig.from_dict({}, max_lenght=3)


def test_a_file_of_transformers_passes_through(tmp_path: Path) -> None:
    options = {"num_beams": 4, "eos_token_id": [3, 4], "early_stopping": "never"}
    options |= {"do_sample": True, "top_k": 7}
    theirs = transformers.GenerationConfig(**options, own_field={"a": 1})
    theirs.save_pretrained(tmp_path / "theirs")
    ours = GenerationConfig.from_pretrained(tmp_path / "theirs", num_beams=2)
    assert (ours.num_beams, ours.eos_ids, ours.early_stopping) == (2, [3, 4], "never")
    ours.save_pretrained(tmp_path / "ours")
    text = json.loads((tmp_path / "ours" / "generation_config.json").read_text())
    assert text == {**options, "num_beams": 2, "own_field": {"a": 1}} | {
        "transformers_version": transformers.__version__
    }
    back = transformers.GenerationConfig.from_pretrained(tmp_path / "ours")
    assert (back.num_beams, back.top_k, back.own_field) == (2, 7, {"a": 1})
    assert repr(GenerationConfig(num_beams=2)) == "GenerationConfig(num_beams=2)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "expected a JSON object, got list"),
        ('{"num_beams": 0}', "num_beams must be"),
        ('{"num_beams": 1, "num_beams": 2}', "given twice"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=f"generation_config.json: .*{message}"):
        GenerationConfig.from_pretrained(tmp_path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"generation_config\.json: no such file"):
        GenerationConfig.from_pretrained(tmp_path)


def test_from_a_model_config() -> None:
    found = GenerationConfig.from_model_config(
        oracle.config(pad_token_id=1, eos_token_id=[3, 4], num_beams=3, output_attentions=True)
    )
    assert found.to_diff_dict() == {
        "pad_token_id": 1, "eos_token_id": [3, 4], "num_beams": 3, "output_attentions": True,
        "return_dict_in_generate": True,
    }  # fmt: skip


def test_what_is_left_at_its_default_gives_way() -> None:
    own = GenerationConfig(num_beams=3, max_length=7, eos_token_id=5)
    merged = GenerationConfig(num_beams=2, top_k=4).over(own)
    assert merged == GenerationConfig(num_beams=2, top_k=4, max_length=7, eos_token_id=5)
    assert (own.num_beams, own.top_k) == (3, 50)  # unchanged


def test_null_is_the_default_in_files_of_transformers_5(tmp_path: Path) -> None:
    file = tmp_path / "generation_config.json"
    nothing = dict.fromkeys(("top_k", "max_length", "temperature", "do_sample", "num_beams"))
    file.write_text(json.dumps({**nothing, "top_p": 0.5, "transformers_version": "5.24.0"}))
    config = GenerationConfig.from_pretrained(tmp_path)
    expected = vars(GenerationConfig(top_p=0.5)) | {"transformers_version": "5.24.0"}
    assert vars(config) == expected
    file.write_text(json.dumps({"top_k": None, "transformers_version": "4.57.6"}))
    assert GenerationConfig.from_pretrained(tmp_path).top_k is None


def test_an_option_that_is_off_is_off_for_transformers_4_and_5(tmp_path: Path) -> None:
    """None turns it off in version 4, and is the default, 50 tokens, in version 5."""
    names = ("temperature", "top_k", "top_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
    GenerationConfig(**dict.fromkeys(names), do_sample=True).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert saved["top_k"] == 0
    assert None not in saved.values()
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert (theirs.top_k, theirs.top_p, theirs.epsilon_cutoff) == (0, 1.0, 0.0)
