"""`GenerationMixin`: gives a model `generate`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, no_grad
from tinybert.backend import generator, seeded_generator
from tinybert.generation.beam_search import beam_search
from tinybert.generation.checks import whole
from tinybert.generation.config import UNSUPPORTED, GenerationConfig
from tinybert.generation.greedy_search import Plan, search
from tinybert.generation.incremental_decoding import Feed, forward_arguments, repeated_past
from tinybert.generation.logits_processors import LogitsProcessor, processors_for
from tinybert.generation.outputs import Record
from tinybert.generation.prompt import Prompt, read_encoder_prompt, read_prompt
from tinybert.generation.streamers import BaseStreamer

logger = logging.getLogger("tinybert")

FIELDS = {field.name for field in fields(GenerationConfig)}
RESERVED = {  # of forward, not for users
    "cache_position", "labels", "logits_to_keep", "num_items_in_batch", "return_dict", "use_cache",
}  # fmt: skip
NEW_TOKENS = 20  # if nothing says how many


class GenerationMixin:
    """For a model that predicts the next token: it has `config`, `device`, and a forward that gives
    `logits` (B, T, V) and takes and gives `past_key_values`.
    """

    config: Any
    device: Any
    _generation_config: GenerationConfig | None = None

    @property
    def generation_config(self) -> GenerationConfig:
        """How the model generates if a call does not say; of its folder, else read off `config`."""
        if self._generation_config is None:
            self._generation_config = GenerationConfig.from_model_config(self.config)
        return self._generation_config

    @generation_config.setter
    def generation_config(self, value: GenerationConfig) -> None:
        self._generation_config = value

    def can_generate(self) -> bool:
        """Whether the model has `generate`."""
        return True

    @property
    def position_limit(self) -> int | None:
        """The most tokens that the model can read, None if there is no such limit."""
        config = getattr(self.config, "decoder", None) or self.config
        return getattr(config, "max_position_embeddings", None)

    @property
    def reads_beyond_limit(self) -> bool:
        """Whether that number bounds the default length alone, as there are positions beyond it."""
        return False

    @property
    def left_padding_unit(self) -> int:
        """Prompts of one batch may be padded at the left by multiples of it."""
        return 1

    def check_left_padding(self, mask: Any, reach: int) -> None:
        """Raise ValueError if a prompt padded as in `mask` (B, T) would be read otherwise than
        without padding, when it has grown to `reach` tokens.
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
        """Continue the prompts: by the likeliest token each time, by a draw (`do_sample`), by beam
        search (`num_beams`), or by both.

        Args:
            input_ids: (B, T) ids, padded at the left; of an encoder-decoder, the encoder's input.
                Without: one bos_token_id. With `inputs_embeds` (B, T, D) in their place only new
                tokens are returned.
            attention_mask: (B, T), 0 for padding; by default it is guessed from pad_token_id.
            max_length, ..., use_cache: fields of GenerationConfig, as are further keywords. None
                means the value in `generation_config`, there the default the model's own: no
                sampling, one beam, 20 new tokens, and if sampling a top_k of 50 (0: no limit).
            streamer: gets every token as soon as it is chosen; not with beams.
            seed: of the draws of this call; None continues the global generator.
            generation_config: in place of the model's; its default values give way to the model's.
            logits_processor: more processors, `f(input_ids, scores) -> scores` on raw arrays.
            **kwargs: further fields, and arguments of forward (`token_type_ids`, ...). With
                `past_key_values`, a KeyValueCache or what an earlier call gave back, input_ids are
                still all tokens, those of the cache first; only the others are read. Like forward,
                this changes a KeyValueCache.

        Returns ids (B * num_return_sequences, length), prompt first, padded at the right; with
        `return_dict_in_generate=True` one of the outputs in `generation/outputs.py`.
        Raises ValueError for unknown keywords, and, naming the argument, for values, shapes and
        lengths that are not possible; TypeError for ids that are not integers, and objects of other
        kinds than these.
        """
        arguments = {**locals(), **kwargs}
        options = {k: v for k, v in arguments.items() if k in FIELDS | {*UNSUPPORTED}}
        options = {k: v for k, v in options.items() if v is not None}
        others = {k: v for k, v in kwargs.items() if k not in FIELDS and k not in UNSUPPORTED}
        if input_ids is None:
            input_ids = others.pop("inputs", None)  # transformers' name for either kind of ids
        elif "inputs" in others:
            raise ValueError("inputs is another name of input_ids: give one of them, got both")
        past = others.pop("past_key_values", None)
        self._check_keywords(others)
        whole("seed", seed, 0, optional=True)
        _check_kinds(generation_config, streamer, logits_processor)
        own = self._generation_config or GenerationConfig.from_model_config(self.config)
        config = (own if generation_config is None else generation_config.over(own)).updated(
            options
        )
        if streamer is not None and config.num_beams > 1:
            raise ValueError(f"a streamer needs num_beams=1, got {config.num_beams}")
        with no_grad():
            read = read_encoder_prompt if self.config.is_encoder_decoder else read_prompt
            prompt = read(self, input_ids, attention_mask, others, config)
            config = _with_lengths(
                config, options, prompt, self.position_limit, self.reads_beyond_limit
            )
            mask = prompt.inputs.get("attention_mask")
            if mask is not None and not self.config.is_encoder_decoder:
                self.check_left_padding(mask.data, config.max_length + prompt.hidden_length)
            processors = processors_for(config, prompt.ids.shape[1], logits_processor)
            numbers = generator() if seed is None else seeded_generator(np.empty(0), int(seed))
            plan = Plan(config, processors, numbers, _pad(config))
            times = max(config.num_beams, config.num_return_sequences)
            prompt, past = prompt.repeated(times), repeated_past(past, prompt.ids, times)
            feed = Feed(self, prompt, config, past)
            record = Record(config, prompt.encoder_outputs)
            if config.num_beams > 1:
                return beam_search(feed, prompt.ids, plan, record)
            return search(feed, prompt.ids, plan, record, streamer)

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
        """The arguments of forward for one step.

        Args:
            input_ids: (N, T), all tokens so far; with `inputs_embeds` those after them.
            past_key_values: the cache, and past_length: how many tokens are in it.
            attention_mask, token_type_ids, position_ids: for all tokens so far, or None.

        Where there is padding, positions count real tokens only, if the model takes positions.
        """
        if self.config.is_encoder_decoder:
            inputs = {"decoder_input_ids": input_ids[:, past_length:], **others}
            inputs["attention_mask"] = attention_mask  # of the encoder
        else:
            inputs = {**_unread(self, input_ids, inputs_embeds, past_length), **others}
            inputs["attention_mask"] = attention_mask
            wanted = position_ids is None and attention_mask is not None
            if wanted and "position_ids" in forward_arguments(self):
                position_ids = _positions(attention_mask)
        for name, columns in (("token_type_ids", token_type_ids), ("position_ids", position_ids)):
            if columns is not None:
                inputs[name] = columns[:, past_length:]
        if past_key_values is not None:
            inputs["past_key_values"] = past_key_values
        return {name: value for name, value in inputs.items() if value is not None}

    def _check_keywords(self, others: dict[str, Any]) -> None:
        """Raise ValueError for what neither GenerationConfig nor the model's forward knows."""
        known = forward_arguments(self) - RESERVED - FIELDS
        if self.config.is_encoder_decoder:
            known |= {"token_type_ids", "position_ids", "head_mask", "inputs_embeds"}
        unknown = sorted(set(others) - known)
        if unknown:
            similar = get_close_matches(unknown[0], [*known, *FIELDS], 1)
            hint = f" (do you mean {similar[0]}?)" if similar else ""
            raise ValueError(
                f"generate got unknown arguments: {', '.join(unknown)}{hint}; known are the fields "
                f"of GenerationConfig and, of the model's call, {', '.join(sorted(known))}"
            )


def _check_kinds(generation_config: Any, streamer: Any, logits_processor: Any) -> None:
    """Raise TypeError for an object that is no config, no streamer, or no list of processors."""
    if not isinstance(generation_config, (GenerationConfig, type(None))):
        kind = type(generation_config).__name__
        raise TypeError(f"generation_config must be a GenerationConfig or None, got a {kind}")
    if streamer is not None and not (hasattr(streamer, "put") and hasattr(streamer, "end")):
        raise TypeError(f"streamer must have put and end, got a {type(streamer).__name__}")
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
    """The config with `max_length` and `min_length` as lengths of the ids, whatever asked for them.

    `options` are those that were given to `generate` itself. Raises ValueError if the prompt is
    too long, or the model cannot read that far.
    """
    length, hidden = prompt.ids.shape[1], prompt.hidden_length
    least = max(config.min_length - hidden, 0)
    if config.max_new_tokens is not None:
        if "max_length" in options:
            logger.warning("max_new_tokens and max_length are given; max_new_tokens counts")
        most = length + config.max_new_tokens
    elif "max_length" in options or config.max_length != GenerationConfig.max_length:
        most = config.max_length - hidden
        if most <= length:
            raise ValueError(
                f"max_length counts the prompt too: it must be above {length + hidden}, "
                f"got {config.max_length}; or use max_new_tokens"
            )
    else:
        most = length + NEW_TOKENS
        if limit is not None:
            most = min(most, max(limit - hidden, length + 1))
    if limit is not None and not beyond and hidden + most - 1 > limit:  # the last token is not read
        raise ValueError(
            f"a prompt of {length + hidden} tokens and {most - length} new ones are too many "
            f"(max_length {hidden + most}): the model has max_position_embeddings {limit}"
        )
    shortest = least if config.min_new_tokens is None else length + config.min_new_tokens
    if shortest > most:
        logger.warning("the least length, %d, is above the greatest, %d", shortest, most)
    return config.updated({"max_length": most, "max_new_tokens": None, "min_length": least})


def _pad(config: GenerationConfig) -> int:
    """The id that follows a finished sequence: padding, or the first that ends one."""
    if config.pad_token_id is not None:
        return int(config.pad_token_id)
    return config.eos_ids[0] if config.eos_ids else 0  # without either nothing is ever padded


def _positions(mask: Any) -> Tensor:
    """0, 1, 2, ... for the ones of a mask (N, T), and 1 for its zeros."""
    return (mask.cumsum(axis=1) - 1).masked_fill(mask == 0, 1)


def _unread(model: Any, ids: Tensor, embedded: Tensor | None, past_length: int) -> dict[str, Any]:
    """The part of the sequence that is not in the cache: ids, or embeddings of it."""
    if embedded is None:
        return {"input_ids": ids[:, past_length:]}
    if past_length:
        return {"input_ids": ids[:, past_length - embedded.shape[1] :]}
    if ids.shape[1]:
        embedded = F.concat([embedded, model.get_input_embeddings()(ids)], axis=1)
    return {"inputs_embeds": embedded}
