"""Text generation: continue a prompt with a causal language model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    """Continues prompts, and answers conversations.

        pipeline("text-generation", folder)("It was a dark and", max_new_tokens=20, seed=1)
        pipeline("text-generation", folder)([{"role": "user", "content": "Hello"}])

    A conversation is a list of messages; the tokenizer's chat template makes a prompt of it.

    Options of a call:
        return_full_text: False returns the new text without the prompt.
        return_tensors: True returns the ids (`generated_token_ids`) instead of the text.
        prefix: text that is put before every prompt and not returned.
        continue_final_message: whether the new text continues the last message of a conversation;
            None continues one of the role "assistant", and answers others.
        tools: dicts or functions, see `apply_chat_template` of the tokenizer.
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
    the new text; for a conversation, its messages with the new one. In a batch (`batch_size`) a
    prompt gets the text that it gets alone, but for samples, which share a random generator.
    """

    task = "text-generation"
    model_class: ClassVar[type] = CausalLM
    auto_class: ClassVar[Any] = AutoModelForCausalLM
    defaults: ClassVar[Settings] = {
        "return_full_text": True,
        "return_tensors": False,
        "prefix": "",
        "continue_final_message": None,
        "tools": None,
        "add_special_tokens": None,
        "handle_long_generation": None,
        "clean_up_tokenization_spaces": None,
        "skip_special_tokens": True,
    }
    options_without_default: ClassVar[frozenset[str]] = GENERATE_OPTIONS

    def check(self, settings: Settings) -> None:
        check_choice("handle_long_generation", settings["handle_long_generation"], (None, "hole"))
        check_choice(
            "continue_final_message", settings["continue_final_message"], (None, True, False)
        )

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Return the result for a prompt or conversation, or a list of results for a list."""
        if is_conversation(inputs):
            return super().__call__([inputs], batch_size=batch_size, **options)[0]
        return super().__call__(inputs, batch_size=batch_size, **options)

    # --- prompts --------------------------------------------------------------------------------

    def _prompt(self, item: Any, settings: Settings) -> Row:
        """Tokenize a prompt or a conversation."""
        if is_conversation(item):
            continues = _continues(item, settings)
            encoded = self.tokenizer.apply_chat_template(
                item,
                tools=settings["tools"],
                add_generation_prompt=not continues,
                continue_final_message=continues,
            )
            return self._row(encoded, settings)
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
        return self._row(ids, settings)

    def _row(self, ids: list[int], settings: Settings) -> Row:
        """Return the row of a prompt, truncated at its beginning if that is asked for."""
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

    def generate(self, text: Any, **options: Any) -> Generated:
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
        for indices in self._batches(rows, batch_size, settings):
            batch = [rows[index] for index in indices]
            sequences = _sequences(self._output(batch, settings), batch)
            per_prompt = len(sequences) // len(batch)
            for i, index in enumerate(indices):
                results[index] = [
                    self._record(items[index], rows[index], ids, settings)
                    for ids in sequences[i * per_prompt : (i + 1) * per_prompt]
                ]
        return [results[index] for index in range(len(rows))]

    def _batches(self, rows: list[Row], size: int, settings: Settings) -> Iterator[list[int]]:
        """Yield the indices of the rows of each batch.

        A batch has up to `size` consecutive rows; only rows whose lengths differ by a multiple of
        the model's `left_padding_unit`, and that may have as many new tokens, share a batch.
        """
        unit = self.model.left_padding_unit
        for start in range(0, len(rows), size):
            batches: dict[tuple[int, int], list[int]] = {}
            for index in range(start, min(start + size, len(rows))):
                length = len(rows[index])
                key = length % unit, self._most_new_tokens(length, settings)
                batches.setdefault(key, []).append(index)
            yield from batches.values()

    def _most_new_tokens(self, length: int, settings: Settings) -> int:
        """Return how many new tokens a prompt of this length may have."""
        given = {k: v for k, v in settings.items() if k in GENERATE_OPTIONS and v is not None}
        options = {**vars(self._config(given)), **self._generation_defaults(length, given), **given}
        new = options["max_new_tokens"]
        return int(options["max_length"] - length if new is None else new)

    def _output(self, rows: list[Row], settings: Settings) -> Any:
        """Run `generate` on a batch, padded at the left."""
        # Without a prompt, generate starts with bos_token_id.
        inputs = padded(self.tokenizer, rows, "left") if any(map(len, rows)) else {}
        options = {k: v for k, v in settings.items() if k in GENERATE_OPTIONS}
        length = max(len(row) for row in rows)
        options = {**self._generation_defaults(length, options), **options}
        with evaluation(self.model):
            return self.model.generate(**inputs, **options)

    def _config(self, options: Settings) -> GenerationConfig:
        """Return the generation config of a call."""
        config = options.get("generation_config") or getattr(self.model, "generation_config", None)
        return config or GenerationConfig.from_model_config(self.model.config)

    def _generation_defaults(self, length: int, options: Settings) -> Settings:
        """Return the pipeline's defaults for what the model's generation_config does not set."""
        config = self._config(options)
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

    def _record(self, prompt: Any, row: Row, ids: list[int], settings: Settings) -> dict[str, Any]:
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
        if not settings["return_full_text"]:
            return {"generated_text": new}
        if isinstance(prompt, str):
            return {"generated_text": prompt + new}
        message = {"role": "assistant", "content": new}
        if _continues(prompt, settings):
            *prompt, last = prompt
            message = {**last, "content": last["content"] + new}
        return {"generated_text": [*prompt, message]}


def is_conversation(value: Any) -> bool:
    """Return whether it is a list of messages, dicts with a role and a content."""
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(m, Mapping) and {"role", "content"} <= set(m) for m in value)
    )


def _continues(conversation: Any, settings: Settings) -> bool:
    """Return whether the new text continues the last message."""
    wanted = settings["continue_final_message"]
    return conversation[-1]["role"] == "assistant" if wanted is None else wanted


def _sequences(output: Any, rows: list[Row]) -> list[list[int]]:
    """Return the sequences of a batch, prompts first, without the left padding."""
    sequences = getattr(output, "sequences", output).tolist()
    length, per_prompt = max(len(row) for row in rows), len(sequences) // len(rows)
    return [ids[length - len(rows[i // per_prompt]) :] for i, ids in enumerate(sequences)]
