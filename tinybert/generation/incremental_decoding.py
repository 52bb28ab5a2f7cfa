"""Incremental decoding: each step calls the model with the new tokens and the key/value cache."""

from __future__ import annotations

import inspect
from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import Array, array_module, is_array
from tinybert.generation.config import GenerationConfig
from tinybert.generation.prompt import Prompt
from tinybert.log import warn_once
from tinybert.nn import KeyValueCache


def forward_arguments(model: Any) -> set[str]:
    """Return the names of the arguments of the model's forward.

    A head with **kwargs passes them to its base model, so the base model's arguments count too.
    """
    found = dict(inspect.signature(model.forward).parameters)
    if any(p.kind is p.VAR_KEYWORD for p in found.values()):
        found |= inspect.signature(getattr(model, "base_model", model).forward).parameters
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name for name, p in found.items() if p.kind not in variable}


class IncrementalDecoder:
    """Calls a model with growing sequences; with a cache the model reads each token once.

    Args:
        model: has `prepare_inputs_for_generation` and returns logits (N, T, V).
        prompt: its `inputs` are further arguments of forward; attention mask, token types and
            position ids are extended with every new token.
        config: whether to use a cache, and which outputs of the layers to return.
        past: `past_key_values` of the first tokens of the prompt, or None.

    Raises ValueError, naming past_key_values, if the model or the call cannot use them.

    The cache is created by the model's `make_cache`, for `max_length` tokens at most. Without that
    method it is what the model returns: nested tuples of Tensors whose first axis is N.
    """

    def __init__(
        self, model: Any, prompt: Prompt, config: GenerationConfig, past: Any = None
    ) -> None:
        self.model, self.inputs = model, dict(prompt.inputs)
        self.hidden_length = prompt.hidden_length
        self.embedded_ids = prompt.ids.shape[1] if "inputs_embeds" in prompt.inputs else 0
        make_cache = getattr(model, "make_cache", None)
        limit = config.max_length + prompt.hidden_length
        self.past_key_values: Any = make_cache(limit) if make_cache and config.use_cache else None
        self.past_length = 0
        if past is not None:
            self._use_past(past, prompt, config)
        self.options: dict[str, Any] = {"return_dict": True}
        arguments = forward_arguments(model)
        if "use_cache" in arguments:
            self.options["use_cache"] = config.use_cache
        if "logits_to_keep" in arguments:
            self.options["logits_to_keep"] = 1
        if config.return_dict_in_generate:
            for name in ("output_attentions", "output_hidden_states"):
                if getattr(config, name):
                    self.options[name] = True

    def __call__(self, ids: Array) -> tuple[Any, Array]:
        """Return the model's output for all ids so far (N, T), and the float32 logits (N, V) of the
        next token.
        """
        prepared = self.model.prepare_inputs_for_generation(
            as_tensor(ids[:, self.embedded_ids :]),
            past_key_values=self.past_key_values,
            past_length=self.past_length,
            **self.inputs,
        )
        output = self.model(**prepared, **self.options)
        if self.options.get("use_cache"):
            self._store_cache(output, ids.shape[1])
        self._extend_inputs()
        return output, output.logits.data[:, -1].astype("float32")

    def _use_past(self, past: Any, prompt: Prompt, config: GenerationConfig) -> None:
        """Check `past_key_values` and continue from them."""
        name = type(self.model).__name__
        if self.past_key_values is None or self.model.config.is_encoder_decoder:
            reason = (
                "has no KeyValueCache" if config.use_cache else "was called with use_cache=False"
            )
            raise ValueError(f"past_key_values cannot be used: {name} {reason}")
        if "inputs_embeds" in prompt.inputs:
            raise ValueError("past_key_values needs all input_ids, and no inputs_embeds")
        length = cached_length(past)
        if length >= prompt.ids.shape[1]:
            raise ValueError(
                f"past_key_values holds {length} tokens; input_ids must be these and at least one "
                f"more, got {prompt.ids.shape[1]}"
            )
        self.past_key_values, self.past_length = past, length

    def _store_cache(self, output: Any, length: int) -> None:
        self.past_key_values = getattr(output, "past_key_values", None)
        if self.past_key_values is not None:
            self.past_length = length + self.hidden_length
        else:
            name = type(self.model).__name__
            reason = "" if self.model.config.is_decoder else " (config.is_decoder is False)"
            warn_once(
                f"{name} returns no cache{reason}: every step reads the whole sequence again; "
                "without a causal mask every token also attends to later tokens"
            )

    def _extend_inputs(self) -> None:
        """Add a column for the next token: mask 1, the last token type, the next position."""
        two_masks = self.model.config.is_encoder_decoder
        mask = "decoder_attention_mask" if two_masks else "attention_mask"
        for name, step in ((mask, None), ("token_type_ids", 0), ("position_ids", 1)):
            columns = self.inputs.get(name)
            if columns is not None:
                new = columns[:, -1:] * 0 + 1 if step is None else columns[:, -1:] + step
                self.inputs[name] = F.concat([columns, new], axis=1)

    def reorder_cache(self, rows: Array) -> None:
        """Give sequence i the cache of sequence rows[i]."""
        self.past_key_values = _select_rows(self.past_key_values, rows)


def cached_length(past: Any) -> int:
    """Return the number of tokens in a KeyValueCache, or in a tuple of (keys, values) per layer.

    Keys and values have shape (B, G, T, K), in MEGA (B, T, K). Raises TypeError for anything else.
    """
    if isinstance(past, KeyValueCache):
        return past.length
    try:
        return int(past[0][0].shape[-2])
    except (TypeError, IndexError, AttributeError):
        raise TypeError(
            "past_key_values must be a KeyValueCache, or a pair (keys, values) of arrays "
            f"(B, G, T, K) for each layer, got a {type(past).__name__}"
        ) from None


def repeat_cache(past: Any, ids: Array, times: int) -> Any:
    """Return `past_key_values` with every row `times` times in a row; `past` is not changed."""
    if past is None or times == 1:
        return past
    cached_length(past)  # raises TypeError if it is no cache
    rows = array_module(ids).arange(len(ids)).repeat(times)
    repeated = _select_rows(tuple(past), rows)
    return type(past).from_legacy(repeated) if isinstance(past, KeyValueCache) else repeated


def _select_rows(cache: Any, rows: Array) -> Any:
    if isinstance(cache, KeyValueCache):
        cache.reorder(rows)
        return cache
    if isinstance(cache, Tensor) or is_array(cache):
        return as_tensor(array_module(rows).take(as_tensor(cache).data, rows, axis=0))
    if isinstance(cache, (tuple, list)):
        return tuple(_select_rows(part, rows) for part in cache)
    return cache
