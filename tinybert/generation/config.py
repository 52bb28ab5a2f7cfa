"""`GenerationConfig`: the options of text generation, and their file `generation_config.json`.

Fields and defaults are those of transformers. Unknown fields of a file are kept and saved again.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.atomic import settle
from tinybert.checks import check, check_integer, is_integer, is_number, plain
from tinybert.files import check_nesting, read_regular
from tinybert.generation.token_ids import read_token_id_lists, read_token_ids
from tinybert.weights import CheckpointError, atomic_write
from tinybert.weights.strict_json import parse_json

CONFIG_NAME = "generation_config.json"
OUTPUT_FLAGS = ("output_attentions", "output_hidden_states", "output_scores", "output_logits")

# Numbers that mean the same as None in these fields: transformers 5 reads None as the default.
OFF = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}

# Options of transformers that are not supported, with the value that means "not used".
UNSUPPORTED: dict[str, Any] = {
    "assistant_early_exit": None,
    "constraints": None,
    "diversity_penalty": 0.0,
    "dola_layers": None,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "exponential_decay_length_penalty": None,
    "force_words_ids": None,
    "guidance_scale": None,
    "max_time": None,
    "num_beam_groups": 1,
    "penalty_alpha": None,
    "prompt_lookup_num_tokens": None,
    "sequence_bias": None,
    "stop_strings": None,
    "token_healing": False,
    "watermarking_config": None,
}


@dataclass(repr=False)
class GenerationConfig:
    """The options of `generate`.

    Attributes:
        max_length: the maximum number of tokens, prompt with its padding included.
        max_new_tokens: the maximum number of new tokens; takes precedence over `max_length`.
        min_length, min_new_tokens: no end-of-sequence token before this length, without padding.
        early_stopping: when beam search stops. True: as soon as there are `num_beams` finished
            sequences; False: when a better one is unlikely; "never": when no better one is
            possible.
        do_sample: sample from the probabilities instead of taking the most likely token.
        num_beams: the number of beams; 1 means no beam search.
        num_return_sequences: the number of sequences returned for each prompt.
        use_cache: use a key/value cache.
        temperature, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff: options of
            sampling, see `generation/logits_warpers.py`; ignored without `do_sample`.
        repetition_penalty: above 1, tokens that have occurred become less likely.
        length_penalty: a beam's score is divided by its length to this power.
        no_repeat_ngram_size: no n-gram of this size occurs twice; 0 for no limit.
        bad_words_ids: sequences of ids that are never generated.
        renormalize_logits: apply log-softmax after all other processors.
        remove_invalid_values: replace NaN by 0, and infinity by the largest float.
        forced_bos_token_id: the second token is this one.
        forced_eos_token_id: the last token before `max_length` is this one, or one of a list.
        suppress_tokens, begin_suppress_tokens: ids that are never generated; ids that are not
            generated as the first new token.
        output_scores, output_logits, output_attentions, output_hidden_states: further outputs;
            they need `return_dict_in_generate`.
        return_dict_in_generate: return a ModelOutput instead of the ids.
        pad_token_id, bos_token_id, eos_token_id (one or a list), decoder_start_token_id: ids.

    Raises TypeError for an unknown name, and ValueError for a value that is not allowed.
    """

    max_length: int = 20
    max_new_tokens: int | None = None
    min_length: int = 0
    min_new_tokens: int | None = None
    early_stopping: bool | str = False
    do_sample: bool = False
    num_beams: int = 1
    num_return_sequences: int = 1
    use_cache: bool = True
    temperature: float | None = 1.0
    top_k: int | None = 50
    top_p: float | None = 1.0
    min_p: float | None = None
    typical_p: float | None = 1.0
    epsilon_cutoff: float | None = 0.0
    eta_cutoff: float | None = 0.0
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    bad_words_ids: list[list[int]] | None = None
    renormalize_logits: bool = False
    remove_invalid_values: bool = False
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | list[int] | None = None
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    output_attentions: bool = False
    output_hidden_states: bool = False
    output_scores: bool = False
    output_logits: bool | None = False
    return_dict_in_generate: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    decoder_start_token_id: int | None = None

    def __post_init__(self) -> None:
        self.validate()

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field; NumPy's numbers become Python's, which JSON can store."""
        super().__setattr__(name, plain(value))

    def validate(self) -> None:
        """Raise ValueError for the first field, or combination of fields, that is not allowed.

        Options of a single strategy, such as temperature, are checked when they are used.
        """
        check_integer("max_length", self.max_length, 1)
        check_integer("max_new_tokens", self.max_new_tokens, 1, optional=True)
        check_integer("min_length", self.min_length, 0)
        check_integer("min_new_tokens", self.min_new_tokens, 0, optional=True)
        check_integer("num_beams", self.num_beams, 1)
        check_integer("num_return_sequences", self.num_return_sequences, 1)
        check_integer("no_repeat_ngram_size", self.no_repeat_ngram_size, 0)
        pad, penalty, stopping = self.pad_token_id, self.length_penalty, self.early_stopping
        check("pad_token_id", pad, is_integer(pad), "an integer", optional=True)
        for name in ("bos_token_id", "forced_bos_token_id", "decoder_start_token_id"):
            check_integer(name, getattr(self, name), 0, optional=True)
        for name in (
            "eos_token_id",
            "forced_eos_token_id",
            "suppress_tokens",
            "begin_suppress_tokens",
        ):
            read_token_ids(name, getattr(self, name))
        read_token_id_lists("bad_words_ids", self.bad_words_ids)
        fits = is_number(penalty) and math.isfinite(penalty)
        check("length_penalty", penalty, fits, "a finite number")
        for name in ("do_sample", "use_cache", "return_dict_in_generate", *OUTPUT_FLAGS):
            value = getattr(self, name)
            check(name, value, isinstance(value, (bool, np.bool_, type(None))), "True or False")
        fits = isinstance(stopping, bool) or stopping == "never"
        check("early_stopping", stopping, fits, "True, False or 'never'")
        if self.num_return_sequences > 1 and self.num_beams == 1 and not self.do_sample:
            raise ValueError(
                f"num_return_sequences must be 1 for greedy search, got "
                f"{self.num_return_sequences}; use do_sample=True or num_beams"
            )
        if 1 < self.num_beams < self.num_return_sequences:
            raise ValueError(
                f"num_return_sequences must be at most num_beams {self.num_beams}, "
                f"got {self.num_return_sequences}"
            )
        for name, unused in UNSUPPORTED.items():
            if vars(self).get(name) not in (None, unused):
                raise ValueError(f"{name} is not supported, got {vars(self)[name]!r:.80}")

    @property
    def eos_ids(self) -> list[int]:
        """The ids that end a sequence."""
        return read_token_ids("eos_token_id", self.eos_token_id)

    # --- combinations ---------------------------------------------------------------------------

    def updated(self, options: dict[str, Any]) -> GenerationConfig:
        """Return a copy with the fields in `options` replaced."""
        new = copy.deepcopy(self)
        vars(new).update(plain(options))
        new.validate()
        return new

    def over(self, base: GenerationConfig) -> GenerationConfig:
        """Return a copy of `base`, updated with the fields that differ from their default."""
        return base.updated(self.to_diff_dict())

    @classmethod
    def from_model_config(cls, config: Any) -> GenerationConfig:
        """Return the options in a model's config: token ids, and options that old files keep there.

        For an encoder-decoder, missing values are taken from `config.decoder`.
        """
        found: dict[str, Any] = {}
        for part in (getattr(config, "decoder", None), config):
            options = vars(part) if hasattr(part, "__dict__") else {}
            found |= {k: options[k] for k in _FIELDS if options.get(k) is not None}
        if any(found.get(name) for name in OUTPUT_FLAGS):
            found["return_dict_in_generate"] = True
        return cls(**found)

    # --- to and from files ----------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return a deep copy of all fields, unknown fields of the file included."""
        return copy.deepcopy(vars(self))

    def to_diff_dict(self) -> dict[str, Any]:
        """Return the fields that differ from their default."""
        defaults = vars(GenerationConfig())
        return {k: v for k, v in self.to_dict().items() if k not in defaults or v != defaults[k]}

    @classmethod
    def from_dict(cls, options: dict[str, Any], **overrides: Any) -> GenerationConfig:
        """Return a config from a dict; unknown keys of the dict are kept.

        Raises TypeError for an override that is neither a field nor in the dict.
        """
        unknown = sorted(set(overrides) - {*_FIELDS, *options})
        if unknown:
            raise TypeError(f"GenerationConfig has no field {', '.join(unknown)}")
        return cls().updated({**options, **overrides})

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **overrides: Any) -> GenerationConfig:
        """Load the `generation_config.json` of a model folder, or a file; `overrides` replace
        fields.

        Raises FileNotFoundError if there is no file, CheckpointError if it cannot be read.
        """
        path = Path(folder)
        if path.is_dir():
            settle(path)
            path = path / CONFIG_NAME
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file")
        raw = read_regular(path, error=CheckpointError)
        try:
            options = parse_json(raw)
            check_nesting(options)
        except ValueError as error:
            raise CheckpointError(path, str(error)) from error
        if not isinstance(options, dict):
            raise CheckpointError(path, f"expected a JSON object, got {type(options).__name__}")
        version = str(options.get("transformers_version")).partition(".")[0]
        if version.isdecimal() and int(version) >= 5:  # there null means the default
            options = {name: value for name, value in options.items() if value is not None}
        try:
            return cls.from_dict(options, **overrides)
        except ValueError as error:
            raise CheckpointError(path, str(error)) from error

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Save `generation_config.json` in a folder, which is created if it does not exist."""
        self.validate()
        options = self.to_diff_dict()
        options |= {name: off for name, off in OFF.items() if options.get(name, off) is None}
        text = json.dumps(options, indent=2, sort_keys=True) + "\n"
        Path(folder).mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(folder) / CONFIG_NAME, "w") as file:
            file.write(text)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.to_diff_dict().items())
        return f"GenerationConfig({shown})"


_FIELDS = tuple(field.name for field in dataclasses.fields(GenerationConfig))
