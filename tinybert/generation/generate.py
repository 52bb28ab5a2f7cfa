"""`GenerationMixin`: adds `generate` to a model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, no_grad
from tinybert.backend import generator, seeded_generator
from tinybert.checks import check_integer
from tinybert.generation.beam_search import beam_search
from tinybert.generation.config import CONFIG_NAME, UNSUPPORTED, GenerationConfig
from tinybert.generation.greedy_search import SearchOptions, greedy_search
from tinybert.generation.incremental_decoding import (
    IncrementalDecoder,
    forward_arguments,
    repeat_cache,
)
from tinybert.generation.logits_processors import LogitsProcessor, processors_for
from tinybert.generation.outputs import OutputCollector
from tinybert.generation.prompt import Prompt, read_encoder_prompt, read_prompt
from tinybert.generation.streamers import BaseStreamer
from tinybert.hub_cache import ADAPTER, base_with

logger = logging.getLogger("tinybert")

FIELDS = {field.name for field in fields(GenerationConfig)}
RESERVED = {  # arguments of forward that users of `generate` cannot give
    "cache_position", "labels", "logits_to_keep", "num_items_in_batch", "return_dict", "use_cache",
}  # fmt: skip
NEW_TOKENS = 20  # the default number of new tokens


class GenerationMixin:
    """Text generation for a model that predicts the next token.

    The model has `config`, `device`, and a forward that returns `logits` (B, T, V) and accepts and
    returns `past_key_values`.
    """

    config: Any
    device: Any
    _generation_config: GenerationConfig | None = None

    @property
    def generation_config(self) -> GenerationConfig:
        """The defaults of `generate`: those of the model's folder, else those in `config`."""
        if self._generation_config is None:
            self._generation_config = GenerationConfig.from_model_config(self.config)
        return self._generation_config

    @generation_config.setter
    def generation_config(self, value: GenerationConfig) -> None:
        self._generation_config = value

    def load_extras(self, folder: Path) -> None:
        """Load `generation_config.json`, if the folder (or an adapter's base model) has one."""
        folder = base_with((CONFIG_NAME,), folder) if (folder / ADAPTER).exists() else folder
        if (folder / CONFIG_NAME).is_file():
            self.generation_config = GenerationConfig.from_pretrained(folder)

    def save_extras(self, folder: Path) -> None:
        """Save `generation_config.json`."""
        self.generation_config.save_pretrained(folder)

    def can_generate(self) -> bool:
        """Return whether the model has `generate`."""
        return True

    @property
    def position_limit(self) -> int | None:
        """The maximum number of tokens that the model can read; None if there is no limit."""
        config = getattr(self.config, "decoder", None) or self.config
        return getattr(config, "max_position_embeddings", None)

    @property
    def reads_beyond_limit(self) -> bool:
        """Whether the model also reads positions beyond `position_limit`, which then only limits
        the default length.
        """
        return False

    @property
    def left_padding_unit(self) -> int:
        """Prompts of a batch may be padded at the left by multiples of this number of tokens."""
        return 1

    def check_left_padding(self, mask: Any, reach: int) -> None:
        """Raise ValueError if the left padding in `mask` (B, T) changes the results for sequences
        of up to `reach` tokens.
        """

    def generate(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        max_length: int | None = None,
        max_new_tokens: int | None = None,
        min_length: int | None = None,
        do_sample: bool | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        num_beams: int | None = None,
        length_penalty: float | None = None,
        early_stopping: bool | str | None = None,
        repetition_penalty: float | None = None,
        no_repeat_ngram_size: int | None = None,
        eos_token_id: int | list[int] | None = None,
        pad_token_id: int | None = None,
        use_cache: bool | None = None,
        streamer: BaseStreamer | None = None,
        seed: int | None = None,
        *,
        generation_config: GenerationConfig | None = None,
        logits_processor: Sequence[LogitsProcessor] = (),
        **kwargs: Any,
    ) -> Any:
        """Continue the prompts with greedy search, sampling (`do_sample`), beam search
        (`num_beams`), or beam search with sampling.

        Args:
            input_ids: (B, T) ids, padded at the left; for an encoder-decoder, the encoder's input.
                Default: one bos_token_id. If `inputs_embeds` (B, T, D) is given instead, only the
                new tokens are returned.
            attention_mask: (B, T), 0 for padding; by default derived from pad_token_id. A padded
                row gets the tokens that it gets alone; only samples differ, since all rows of a
                batch share one random generator.
            max_length, ..., use_cache: fields of GenerationConfig; further fields can be given as
                keywords. None means the value of `generation_config`, then of the model. Defaults:
                greedy search, 20 new tokens; with sampling, top_k 50 (0: no limit).
            streamer: receives every token as soon as it is generated; not with beam search.
            seed: makes the sampling of this call reproducible; None uses the global generator.
            generation_config: used instead of the model's; where it has a default value, the
                model's value is used.
            logits_processor: further processors, `f(input_ids, scores) -> scores` on raw arrays.
            **kwargs: further fields of GenerationConfig, and arguments of forward
                (`token_type_ids`, ...). With `past_key_values`, a KeyValueCache or the cache that
                an earlier call returned, input_ids still holds all tokens, those in the cache
                first; the model reads only the others. A KeyValueCache is changed in place.

        Returns ids (B * num_return_sequences, length), prompt first, padded at the right; with
        `return_dict_in_generate=True` one of the outputs in `generation/outputs.py`.
        Raises ValueError for unknown keywords and for values, shapes and lengths that are not
        allowed, naming the argument; TypeError for ids that are not integers and for objects of
        the wrong type.
        """
        options = {
            "max_length": max_length,
            "max_new_tokens": max_new_tokens,
            "min_length": min_length,
            "do_sample": do_sample,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "num_beams": num_beams,
            "length_penalty": length_penalty,
            "early_stopping": early_stopping,
            "repetition_penalty": repetition_penalty,
            "no_repeat_ngram_size": no_repeat_ngram_size,
            "eos_token_id": eos_token_id,
            "pad_token_id": pad_token_id,
            "use_cache": use_cache,
            **{k: v for k, v in kwargs.items() if k in FIELDS or k in UNSUPPORTED},
        }
        options = {name: value for name, value in options.items() if value is not None}
        inputs = {k: v for k, v in kwargs.items() if k not in FIELDS and k not in UNSUPPORTED}
        if input_ids is None:
            input_ids = inputs.pop("inputs", None)  # the name of input_ids in transformers
        elif "inputs" in inputs:
            raise ValueError("inputs is another name of input_ids: give one of them, got both")
        past = inputs.pop("past_key_values", None)
        self._check_keywords(inputs)
        check_integer("seed", seed, 0, optional=True)
        _check_types(generation_config, streamer, logits_processor)
        defaults = self._generation_config or GenerationConfig.from_model_config(self.config)
        if generation_config is not None:
            defaults = generation_config.over(defaults)
        config = defaults.updated(options)
        if streamer is not None and config.num_beams > 1:
            raise ValueError(f"a streamer needs num_beams=1, got {config.num_beams}")
        with no_grad():
            read = read_encoder_prompt if self.config.is_encoder_decoder else read_prompt
            prompt = read(self, input_ids, attention_mask, inputs, config)
            config = _with_lengths(
                config, options, prompt, self.position_limit, self.reads_beyond_limit
            )
            mask = prompt.inputs.get("attention_mask")
            if mask is not None and not self.config.is_encoder_decoder:
                self.check_left_padding(mask.data, config.max_length + prompt.hidden_length)
            times = max(config.num_beams, config.num_return_sequences)
            prompt, past = prompt.repeated(times), repeat_cache(past, prompt.ids, times)
            processors = processors_for(
                config, prompt.ids.shape[1], logits_processor, prompt.mask, prompt.hidden_tokens
            )
            rng = generator() if seed is None else seeded_generator(np.empty(0), int(seed))
            search = SearchOptions(config, processors, rng, _padding_id(config))
            decoder = IncrementalDecoder(self, prompt, config, past)
            collector = OutputCollector(config, prompt.encoder_outputs)
            if config.num_beams > 1:
                return beam_search(decoder, prompt.ids, search, collector)
            return greedy_search(decoder, prompt.ids, search, collector, streamer)

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        *,
        past_key_values: Any = None,
        past_length: int = 0,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **others: Any,
    ) -> dict[str, Any]:
        """Return the arguments of forward for one step.

        Args:
            input_ids: (N, T), all tokens so far; with `inputs_embeds` the tokens after them.
            past_key_values: the cache.
            past_length: the number of tokens in the cache.
            attention_mask, token_type_ids, position_ids: for all tokens so far, or None.

        With padding, positions count real tokens only, if the model has position ids.
        """
        if self.config.is_encoder_decoder:
            inputs = {"decoder_input_ids": input_ids[:, past_length:], **others}
            inputs["attention_mask"] = attention_mask  # of the encoder
            mask, name = others.get("decoder_attention_mask"), "decoder_position_ids"
            decoder = self.get_decoder()  # type: ignore[attr-defined]
            if mask is not None and "position_ids" in forward_arguments(decoder):
                inputs.setdefault(name, _positions(mask)[:, past_length:])
        else:
            inputs = {**_uncached(self, input_ids, inputs_embeds, past_length), **others}
            inputs["attention_mask"] = attention_mask
            padded = position_ids is None and attention_mask is not None
            if padded and "position_ids" in forward_arguments(self):
                position_ids = _positions(attention_mask)
        for name, columns in (("token_type_ids", token_type_ids), ("position_ids", position_ids)):
            if columns is not None:
                inputs[name] = columns[:, past_length:]
        if past_key_values is not None:
            inputs["past_key_values"] = past_key_values
        return {name: value for name, value in inputs.items() if value is not None}

    def _check_keywords(self, inputs: dict[str, Any]) -> None:
        """Raise ValueError for names that are no argument of the model's forward."""
        known = forward_arguments(self) - RESERVED - FIELDS
        if self.config.is_encoder_decoder:
            known |= {"token_type_ids", "position_ids", "head_mask", "inputs_embeds"}
        unknown = sorted(set(inputs) - known)
        if unknown:
            similar = get_close_matches(unknown[0], [*known, *FIELDS], 1)
            hint = f" (did you mean {similar[0]}?)" if similar else ""
            raise ValueError(
                f"generate got unknown arguments: {', '.join(unknown)}{hint}; allowed are the "
                "fields of GenerationConfig and these arguments of the model: "
                f"{', '.join(sorted(known))}"
            )


def _check_types(generation_config: Any, streamer: Any, logits_processor: Any) -> None:
    """Raise TypeError for an object of the wrong type, naming the argument."""
    if not isinstance(generation_config, (GenerationConfig, type(None))):
        kind = type(generation_config).__name__
        raise TypeError(f"generation_config must be a GenerationConfig or None, got a {kind}")
    if streamer is not None and not (hasattr(streamer, "put") and hasattr(streamer, "end")):
        raise TypeError(f"streamer must have methods put and end, got a {type(streamer).__name__}")
    if not isinstance(logits_processor, (list, tuple)) or not all(map(callable, logits_processor)):
        raise TypeError(
            f"logits_processor must be a list of functions f(input_ids, scores), "
            f"got {logits_processor!r}"
        )


def _with_lengths(
    config: GenerationConfig,
    options: dict[str, Any],
    prompt: Prompt,
    limit: int | None,
    beyond: bool,
) -> GenerationConfig:
    """Return the config with `max_length` as the length of the returned ids.

    Args:
        options: the options that were given to `generate` itself.
        limit, beyond: the model's `position_limit` and `reads_beyond_limit`.

    Raises ValueError if the prompt is too long, or `max_length` exceeds the model's limit.
    """
    length, hidden = prompt.ids.shape[1], prompt.hidden_length
    if config.max_new_tokens is not None:
        if "max_length" in options:
            logger.warning("both max_new_tokens and max_length are given; max_length is ignored")
        max_length = length + config.max_new_tokens
    elif "max_length" in options or config.max_length != GenerationConfig.max_length:
        max_length = config.max_length - hidden
        if max_length <= length:
            raise ValueError(
                f"max_length must be > {length + hidden}, the length of the prompt, got "
                f"{config.max_length}; max_new_tokens counts new tokens only"
            )
    else:
        max_length = length + NEW_TOKENS
        if limit is not None:
            max_length = min(max_length, max(limit - hidden, length + 1))
    # The last token is generated but not read.
    if limit is not None and not beyond and hidden + max_length - 1 > limit:
        raise ValueError(
            f"a prompt of {length + hidden} tokens and {max_length - length} new ones are too many "
            f"(max_length {hidden + max_length}): the model has max_position_embeddings {limit}"
        )
    shortest = config.min_length - hidden
    shortest = shortest if config.min_new_tokens is None else length + config.min_new_tokens
    if shortest > max_length:
        logger.warning("the minimum length %d exceeds the maximum %d", shortest, max_length)
    return config.updated({"max_length": max_length, "max_new_tokens": None})


def _padding_id(config: GenerationConfig) -> int:
    """Return the id that fills a finished sequence: pad_token_id, else the first eos_token_id."""
    if config.pad_token_id is not None:
        return int(config.pad_token_id)
    return config.eos_ids[0] if config.eos_ids else 0  # without eos_token_id no sequence is padded


def _positions(mask: Any) -> Tensor:
    """Return positions 0, 1, 2, ... of the ones in a mask (N, T), and 1 where it is zero."""
    return (mask.cumsum(axis=1) - 1).masked_fill(mask == 0, 1)


def _uncached(model: Any, ids: Tensor, embedded: Tensor | None, past_length: int) -> dict[str, Any]:
    """Return the part of the sequence that is not in the cache: ids or their embeddings."""
    if embedded is None:
        return {"input_ids": ids[:, past_length:]}
    if past_length:
        return {"input_ids": ids[:, past_length - embedded.shape[1] :]}
    if ids.shape[1]:
        embedded = F.concat([embedded, model.get_input_embeddings()(ids)], axis=1)
    return {"inputs_embeds": embedded}
