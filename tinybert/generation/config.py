"""`GenerationConfig`: how text is generated, and its `generation_config.json`.

Fields and defaults are those of transformers. Fields of a file that are not known here are kept and
written back.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert.checkpoints import CheckpointError, atomic_write
from tinybert.checkpoints.strict_json import parse_json
from tinybert.generation.checks import flag, number, token_lists, tokens, whole

CONFIG_NAME = "generation_config.json"
MAX_CONFIG_BYTES = 16 << 20  # bad words can make an honest file longer than its usual kilobyte
OUTPUT_FLAGS = ("output_attentions", "output_hidden_states", "output_scores", "output_logits")

# What transformers has and we have not, with the value that means "not used".
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
        max_length: tokens of prompt and continuation together.
        max_new_tokens: tokens of the continuation; wins over `max_length`.
        min_length, min_new_tokens: an end-of-sequence token is not allowed before.
        early_stopping: when a beam search ends: True, as soon as there are `num_beams` finished
            sequences; False, when a better one is unlikely; "never", when there can be none.
        do_sample: draw tokens from their probabilities instead of taking the best.
        num_beams: sequences that are followed at once; 1 is no beam search.
        num_return_sequences: sequences for each prompt.
        use_cache: keep the keys and values of past tokens.
        temperature, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff: which tokens can be
            drawn, see `generation/logits_warpers.py`; used with `do_sample` alone.
        repetition_penalty: above 1, tokens that have occurred become less likely.
        length_penalty: a beam's score is divided by its length to this power.
        no_repeat_ngram_size: n-grams of this size occur once; 0 for no limit.
        bad_words_ids: sequences of ids that are not generated.
        renormalize_logits: log-softmax as the last of the processors.
        remove_invalid_values: NaN becomes 0, infinity the largest number.
        forced_bos_token_id, forced_eos_token_id: the second token; the last one (or a list).
        suppress_tokens, begin_suppress_tokens: ids never generated; not as the first new token.
        output_scores, output_logits, output_attentions, output_hidden_states: what else to return.
        return_dict_in_generate: return a ModelOutput instead of the ids.
        pad_token_id, bos_token_id, eos_token_id (one or a list), decoder_start_token_id: ids.

    Raises TypeError for a name that is none of these, and ValueError for a value out of range,
    naming it, what was given and what is allowed.
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

    def validate(self) -> None:
        """Raise ValueError for the first field whose value, or whose combination, is not allowed.

        What only one strategy uses (the temperature, say) is checked when it is used.
        """
        whole("max_length", self.max_length, 1)
        whole("max_new_tokens", self.max_new_tokens, 1, optional=True)
        whole("min_length", self.min_length, 0)
        whole("min_new_tokens", self.min_new_tokens, 0, optional=True)
        whole("num_beams", self.num_beams, 1)
        whole("num_return_sequences", self.num_return_sequences, 1)
        whole("no_repeat_ngram_size", self.no_repeat_ngram_size, 0)
        whole("pad_token_id", self.pad_token_id, None, optional=True)
        for name in ("bos_token_id", "forced_bos_token_id", "decoder_start_token_id"):
            whole(name, getattr(self, name), 0, optional=True)
        for name in ("eos_token_id", "forced_eos_token_id", "suppress_tokens"):
            tokens(name, getattr(self, name))
        tokens("begin_suppress_tokens", self.begin_suppress_tokens)
        token_lists("bad_words_ids", self.bad_words_ids)
        number("length_penalty", self.length_penalty)
        for field in ("do_sample", "use_cache", "return_dict_in_generate", *OUTPUT_FLAGS):
            flag(field, getattr(self, field))
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise ValueError(
                f"early_stopping must be True, False or 'never', got {self.early_stopping!r}"
            )
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
                raise ValueError(f"{name} is not supported, got {vars(self)[name]!r}")

    @property
    def eos_ids(self) -> list[int]:
        """The ids that end a sequence."""
        return tokens("eos_token_id", self.eos_token_id)

    # --- combinations ---------------------------------------------------------------------------

    def updated(self, options: dict[str, Any]) -> GenerationConfig:
        """A copy in which `options` have replaced the fields of their names."""
        new = copy.deepcopy(self)
        vars(new).update(options)
        new.validate()
        return new

    def over(self, base: GenerationConfig) -> GenerationConfig:
        """A copy whose fields that have their default value take those of `base`."""
        plain = vars(GenerationConfig())
        chosen = {k: v for k, v in vars(self).items() if k not in plain or v != plain[k]}
        return base.updated(chosen)

    @classmethod
    def from_model_config(cls, config: Any) -> GenerationConfig:
        """What a model's own config says: its token ids, and options that old files keep there.

        For an encoder-decoder, what it does not say is taken from `config.decoder`.
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
        """All fields, unknown ones of the file too; a deep copy."""
        return copy.deepcopy(vars(self))

    def to_diff_dict(self) -> dict[str, Any]:
        """The fields that differ from their default."""
        plain = vars(GenerationConfig())
        return {k: v for k, v in self.to_dict().items() if k not in plain or v != plain[k]}

    @classmethod
    def from_dict(cls, options: dict[str, Any], **overrides: Any) -> GenerationConfig:
        """A config from a dict whose unknown members are kept; overrides must be known."""
        unknown = sorted(set(overrides) - {*_FIELDS, *options})
        if unknown:
            raise TypeError(f"GenerationConfig has no field {', '.join(unknown)}")
        return cls().updated({**options, **overrides})

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **overrides: Any) -> GenerationConfig:
        """The `generation_config.json` of a model folder (or a path to the file); overrides win.

        Raises FileNotFoundError if there is none, CheckpointError if it cannot be read.
        """
        path = Path(folder)
        path = path / CONFIG_NAME if path.is_dir() else path
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise CheckpointError(path, f"larger than {MAX_CONFIG_BYTES} bytes")
        try:
            options = parse_json(path.read_bytes())
        except ValueError as error:
            raise CheckpointError(path, str(error)) from error
        if not isinstance(options, dict):
            raise CheckpointError(path, f"expected an object, got {type(options).__name__}")
        try:
            return cls.from_dict(options, **overrides)
        except ValueError as error:
            raise CheckpointError(path, str(error)) from error

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `generation_config.json` into a folder, which is made if need be."""
        self.validate()
        text = json.dumps(self.to_diff_dict(), indent=2, sort_keys=True) + "\n"
        Path(folder).mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(folder) / CONFIG_NAME, "w") as file:
            file.write(text)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.to_diff_dict().items())
        return f"GenerationConfig({shown})"


_FIELDS = tuple(field.name for field in dataclasses.fields(GenerationConfig))
