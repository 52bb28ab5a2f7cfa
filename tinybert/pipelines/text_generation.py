"""How does a text go on?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, ClassVar, NamedTuple

from tinybert.generation import GenerationConfig
from tinybert.models import AutoModelForCausalLM
from tinybert.models.heads import CausalLM
from tinybert.pipelines.base import Pipeline, Row, Settings, evaluation, one_text, padded

# Unless the model's generation_config or the call says otherwise; as in transformers.
GENERATION: dict[str, Any] = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}
OF_GENERATE = frozenset(field.name for field in fields(GenerationConfig)) | {
    "seed",
    "streamer",
    "logits_processor",
    "generation_config",
}


class Continued(NamedTuple):
    """One text, continued: the result, and what it came from.

    Attributes:
        prompt: the ids of the text.
        records: what a call of the pipeline returns for the text.
        output: what `model.generate` returned.
    """

    prompt: list[int]
    records: list[dict[str, Any]]
    output: Any


class TextGenerationPipeline(Pipeline):
    """Continues texts.

        pipeline("text-generation", folder)("It was a dark and", max_new_tokens=20, seed=1)

    Options of a call:
        return_full_text: False for the new text alone.
        return_tensors: True for the ids (`generated_token_ids`) instead of the text.
        prefix: is put before every prompt, and not returned.
        add_special_tokens: True to put all special tokens round the prompt, False for none. None:
            those that open a text, but not [SEP], which would end it.
        handle_long_generation: "hole" cuts off the beginning of a prompt that leaves no room.
        clean_up_tokenization_spaces, skip_special_tokens: of the tokenizer's `decode`.
        all options of `generate`: max_new_tokens, do_sample, num_return_sequences, seed, ...
            Unless they or the model's own generation_config say otherwise, up to 256 new tokens
            are drawn, at a temperature of 0.7.

    Returns for each text a list with a dict for each sequence: `generated_text`, the prompt and
    what follows.
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
        "clean_up_tokenization_spaces": True,
        "skip_special_tokens": True,
    }
    options_without_default: ClassVar[frozenset[str]] = OF_GENERATE

    def check(self, settings: Settings) -> None:
        if settings["handle_long_generation"] not in (None, "hole"):
            raise ValueError(
                "handle_long_generation must be None or 'hole', "
                f"got {settings['handle_long_generation']!r}"
            )

    # --- prompts --------------------------------------------------------------------------------

    def _prompt(self, item: Any, settings: Settings) -> Row:
        """What is continued."""
        text = settings["prefix"] + one_text(self.task, item)
        wanted = settings["add_special_tokens"]
        encoded = self.tokenizer(
            text, add_special_tokens=wanted is not False, return_special_tokens_mask=True
        )
        ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
        if wanted is None:
            while len(ids) > 1 and special[len(ids) - 1]:
                ids = ids[:-1]
        if settings["handle_long_generation"] == "hole":
            room = self.max_length - self._new_tokens(len(ids), settings)
            if room < 1:
                raise ValueError(
                    f"the model takes {self.max_length} tokens, so that there is no room for a "
                    f"prompt and {self.max_length - room} new ones"
                )
            ids = ids[-room:]
        return Row({"input_ids": ids, "attention_mask": [1] * len(ids)})

    def _new_tokens(self, length: int, settings: Settings) -> int:
        """How many tokens are wanted after a prompt of so many."""
        if settings.get("max_new_tokens") is not None:
            return settings["max_new_tokens"]
        most = settings.get("max_length")
        return GENERATION["max_new_tokens"] if most is None else max(most - length, 1)

    # --- continuations --------------------------------------------------------------------------

    def continued(self, text: str, **options: Any) -> Continued:
        """Like a call with one text, for those who also want what `generate` returned: with
        `return_dict_in_generate=True, output_logits=True` the model's scores at every step.
        """
        settings = self._settings(options)
        row = self._prompt(text, settings)
        output = self._output([row], settings)
        records = [self._record(text, row, ids, settings) for ids in _sequences(output, [row])]
        return Continued(row.inputs["input_ids"], records, output)

    def run(self, items: list[Any], settings: Settings, batch_size: int) -> list[Any]:
        rows = [self._prompt(item, settings) for item in items]
        found: dict[int, list[dict[str, Any]]] = {}
        for places in self._batches(rows, batch_size):
            batch = [rows[place] for place in places]
            sequences = _sequences(self._output(batch, settings), batch)
            each = len(sequences) // len(batch)
            for i, place in enumerate(places):
                found[place] = [
                    self._record(items[place], rows[place], ids, settings)
                    for ids in sequences[i * each : (i + 1) * each]
                ]
        return [found[place] for place in range(len(rows))]

    def _batches(self, rows: list[Row], size: int) -> Iterator[list[int]]:
        """The places of rows that are continued together: `size` in a row, or fewer where the model
        does not take the padding that would make them equally long.
        """
        unit = self.model.left_padding_unit
        for start in range(0, len(rows), size):
            together: dict[int, list[int]] = {}
            for place in range(start, min(start + size, len(rows))):
                together.setdefault(len(rows[place]) % unit, []).append(place)
            yield from together.values()

    def _output(self, rows: list[Row], settings: Settings) -> Any:
        """What `generate` returns for a batch, padded at the left."""
        # Without a prompt, generate begins with bos_token_id.
        inputs = padded(self.tokenizer, rows, "left") if any(map(len, rows)) else {}
        options = {k: v for k, v in settings.items() if k in OF_GENERATE}
        length = max(len(row) for row in rows)
        options = {**self._generation_defaults(length, options), **options}
        with evaluation(self.model):
            return self.model.generate(**inputs, **options)

    def _generation_defaults(self, length: int, options: Settings) -> Settings:
        """What holds where neither the call nor the model's generation_config says anything."""
        own = options.get("generation_config") or getattr(self.model, "generation_config", None)
        own = GenerationConfig.from_model_config(self.model.config) if own is None else own
        plain = GenerationConfig()
        found = {k: v for k, v in GENERATION.items() if getattr(own, k) == getattr(plain, k)}
        limit = self.model.position_limit
        if options.get("max_length") is not None or own.max_length != plain.max_length:
            found.pop("max_new_tokens", None)
        elif "max_new_tokens" in found and limit is not None:
            found["max_new_tokens"] = max(1, min(found["max_new_tokens"], limit - length))
        if own.pad_token_id is None and self.tokenizer.pad_token_id is not None:
            found["pad_token_id"] = self.tokenizer.pad_token_id
        return found

    def _record(self, prompt: str, row: Row, ids: list[int], settings: Settings) -> dict[str, Any]:
        if settings["return_tensors"]:
            return {"generated_token_ids": ids}
        # Both are decoded as they are and cleaned up afterwards: only so one begins with the other.
        before, text = (
            self.tokenizer.decode(
                part,
                skip_special_tokens=settings["skip_special_tokens"],
                clean_up_tokenization_spaces=False,
            )
            for part in (row.inputs["input_ids"], ids)
        )
        new = text[len(before) :]
        if settings["clean_up_tokenization_spaces"]:
            new = self.tokenizer.clean_up_tokenization(new)
        return {"generated_text": prompt + new if settings["return_full_text"] else new}


def _sequences(output: Any, rows: list[Row]) -> list[list[int]]:
    """The sequences of a batch, prompts first, what they were padded with at the left not."""
    sequences = getattr(output, "sequences", output).tolist()
    length, each = max(len(row) for row in rows), len(sequences) // len(rows)
    return [ids[length - len(rows[i // each]) :] for i, ids in enumerate(sequences)]
