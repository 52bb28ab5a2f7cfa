"""Text generation: continue a prompt with a causal language model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, ClassVar, NamedTuple

from tinybert.checks import check_choice
from tinybert.generation import GenerationConfig
from tinybert.models import AutoModelForCausalLM
from tinybert.models.heads import CausalLM
from tinybert.pipelines.base import Pipeline, Row, Settings, evaluation, one_text, padded

# The defaults of transformers' pipeline; the model's generation_config and the call override them.
GENERATION_DEFAULTS: dict[str, Any] = {
    "max_new_tokens": 256, "do_sample": True, "temperature": 0.7,
}  # fmt: skip
GENERATE_OPTIONS = frozenset(field.name for field in fields(GenerationConfig)) | {
    "seed",
    "streamer",
    "logits_processor",
    "generation_config",
}


class Generated(NamedTuple):
    """The generated sequences for one prompt.

    Attributes:
        prompt: the ids of the prompt.
        records: the result of the pipeline for the prompt.
        output: the output of `model.generate`.
    """

    prompt: list[int]
    records: list[dict[str, Any]]
    output: Any


class TextGenerationPipeline(Pipeline):
    """Continues prompts.

        pipeline("text-generation", folder)("It was a dark and", max_new_tokens=20, seed=1)

    Options of a call:
        return_full_text: False returns the new text without the prompt.
        return_tensors: True returns the ids (`generated_token_ids`) instead of the text.
        prefix: text that is put before every prompt and not returned.
        add_special_tokens: True adds all special tokens to the prompt, False none. None adds those
            at the beginning, but not [SEP] at the end.
        handle_long_generation: "hole" truncates the beginning of a prompt that is too long for the
            new tokens.
        clean_up_tokenization_spaces: remove the spaces before English punctuation in the new text.
            None means the tokenizer's `cleans_up`: what its files say, where decoding inserts
            spaces (WordPiece); a space of byte-level BPE or SentencePiece is kept.
        skip_special_tokens: leave out special tokens.
        all options of `generate`: max_new_tokens, do_sample, num_return_sequences, seed, ...
            Defaults, if the model's generation_config has none: sampling of up to 256 new tokens,
            at a temperature of 0.7.

    Returns for each prompt a list with a dict for each sequence: `generated_text`, the prompt with
    the new text.
    """

    task = "text-generation"
    model_class: ClassVar[type] = CausalLM
    auto_class: ClassVar[Any] = AutoModelForCausalLM
    defaults: ClassVar[Settings] = {
        "return_full_text": True,
        "return_tensors": False,
        "prefix": "",
        "add_special_tokens": None,
        "handle_long_generation": None,
        "clean_up_tokenization_spaces": None,
        "skip_special_tokens": True,
    }
    options_without_default: ClassVar[frozenset[str]] = GENERATE_OPTIONS

    def check(self, settings: Settings) -> None:
        check_choice("handle_long_generation", settings["handle_long_generation"], (None, "hole"))

    # --- prompts --------------------------------------------------------------------------------

    def _prompt(self, item: Any, settings: Settings) -> Row:
        """Tokenize a prompt."""
        text = settings["prefix"] + one_text(self.task, item)
        add_special_tokens = settings["add_special_tokens"]
        encoded = self.tokenizer(
            text,
            add_special_tokens=add_special_tokens is not False,
            return_special_tokens_mask=True,
        )
        ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
        if add_special_tokens is None:
            while len(ids) > 1 and special[len(ids) - 1]:
                ids = ids[:-1]
        if settings["handle_long_generation"] == "hole":
            max_prompt = self.max_length - self._new_tokens(len(ids), settings)
            if max_prompt < 1:
                raise ValueError(
                    f"max_new_tokens must be < {self.max_length}, the model's limit for prompt and "
                    f"new tokens, got {self.max_length - max_prompt}"
                )
            ids = ids[-max_prompt:]
        return Row({"input_ids": ids, "attention_mask": [1] * len(ids)})

    def _new_tokens(self, length: int, settings: Settings) -> int:
        """Return the maximum number of new tokens after a prompt of `length` tokens."""
        if settings.get("max_new_tokens") is not None:
            return settings["max_new_tokens"]
        max_length = settings.get("max_length")
        if max_length is None:
            return GENERATION_DEFAULTS["max_new_tokens"]
        return max(max_length - length, 1)

    # --- generation -----------------------------------------------------------------------------

    def generate(self, text: str, **options: Any) -> Generated:
        """Like a call with one prompt, but also return its ids and the output of `model.generate`.

        With `return_dict_in_generate=True, output_logits=True` the output has the logits of every
        step.
        """
        settings = self._settings(options)
        row = self._prompt(text, settings)
        output = self._output([row], settings)
        records = [self._record(text, row, ids, settings) for ids in _sequences(output, [row])]
        return Generated(row.inputs["input_ids"], records, output)

    def run(self, items: list[Any], settings: Settings, batch_size: int) -> list[Any]:
        rows = [self._prompt(item, settings) for item in items]
        results: dict[int, list[dict[str, Any]]] = {}
        for indices in self._batches(rows, batch_size):
            batch = [rows[index] for index in indices]
            sequences = _sequences(self._output(batch, settings), batch)
            per_prompt = len(sequences) // len(batch)
            for i, index in enumerate(indices):
                results[index] = [
                    self._record(items[index], rows[index], ids, settings)
                    for ids in sequences[i * per_prompt : (i + 1) * per_prompt]
                ]
        return [results[index] for index in range(len(rows))]

    def _batches(self, rows: list[Row], size: int) -> Iterator[list[int]]:
        """Yield the indices of the rows of each batch.

        A batch has up to `size` consecutive rows; only rows whose lengths differ by a multiple of
        the model's `left_padding_unit` share a batch.
        """
        unit = self.model.left_padding_unit
        for start in range(0, len(rows), size):
            batches: dict[int, list[int]] = {}
            for index in range(start, min(start + size, len(rows))):
                batches.setdefault(len(rows[index]) % unit, []).append(index)
            yield from batches.values()

    def _output(self, rows: list[Row], settings: Settings) -> Any:
        """Run `generate` on a batch, padded at the left."""
        # Without a prompt, generate starts with bos_token_id.
        inputs = padded(self.tokenizer, rows, "left") if any(map(len, rows)) else {}
        options = {k: v for k, v in settings.items() if k in GENERATE_OPTIONS}
        length = max(len(row) for row in rows)
        options = {**self._generation_defaults(length, options), **options}
        with evaluation(self.model):
            return self.model.generate(**inputs, **options)

    def _generation_defaults(self, length: int, options: Settings) -> Settings:
        """Return the pipeline's defaults for what the model's generation_config does not set."""
        config = options.get("generation_config") or getattr(self.model, "generation_config", None)
        if config is None:
            config = GenerationConfig.from_model_config(self.model.config)
        unset = GenerationConfig()
        defaults = {
            k: v for k, v in GENERATION_DEFAULTS.items() if getattr(config, k) == getattr(unset, k)
        }
        limit = self.model.position_limit
        if options.get("max_length") is not None or config.max_length != unset.max_length:
            defaults.pop("max_new_tokens", None)
        elif "max_new_tokens" in defaults and limit is not None:
            defaults["max_new_tokens"] = max(1, min(defaults["max_new_tokens"], limit - length))
        if config.pad_token_id is None and self.tokenizer.pad_token_id is not None:
            defaults["pad_token_id"] = self.tokenizer.pad_token_id
        return defaults

    def _record(self, prompt: str, row: Row, ids: list[int], settings: Settings) -> dict[str, Any]:
        if settings["return_tensors"]:
            return {"generated_token_ids": ids}
        # Clean up after decoding: before it, the text of all ids begins with that of the prompt's.
        before, text = (
            self.tokenizer.decode(
                part,
                skip_special_tokens=settings["skip_special_tokens"],
                clean_up_tokenization_spaces=False,
            )
            for part in (row.inputs["input_ids"], ids)
        )
        new = text[len(before) :]
        cleans_up = settings["clean_up_tokenization_spaces"]
        if self.tokenizer.cleans_up if cleans_up is None else cleans_up:
            new = self.tokenizer.clean_up_tokenization(new)
        return {"generated_text": prompt + new if settings["return_full_text"] else new}


def _sequences(output: Any, rows: list[Row]) -> list[list[int]]:
    """Return the sequences of a batch, prompts first, without the left padding."""
    sequences = getattr(output, "sequences", output).tolist()
    length, per_prompt = max(len(row) for row in rows), len(sequences) // len(rows)
    return [ids[length - len(rows[i // per_prompt]) :] for i, ids in enumerate(sequences)]
