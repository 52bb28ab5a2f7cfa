"""`Feed`: gives the model what it has not seen yet, and keeps what it remembers."""

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
    """What the model can be called with; a head hands on what is its base model's."""
    found = dict(inspect.signature(model.forward).parameters)
    if any(p.kind is p.VAR_KEYWORD for p in found.values()):
        found |= inspect.signature(getattr(model, "base_model", model).forward).parameters
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name for name, p in found.items() if p.kind not in variable}


class Feed:
    """A model that is called with ever longer sequences, and reads each token once.

    Args:
        model: has `prepare_inputs_for_generation` and gives logits (N, T, V).
        prompt: with what forward gets beside ids; masks, types and positions grow with these.
        config: whether to use a cache, and which layers' outputs are wanted.
        past: `past_key_values` of the first tokens of the prompt, to go on from; or None.

    Raises ValueError, naming past_key_values, if the model or the call cannot go on from them.

    The cache is what the model's `make_cache` gives, with room for no more than will be written; or
    else whatever nested tuples of Tensors the model returns, with N as their first axis.
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
            self._go_on_from(past, prompt, config)
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
        """The output for ids (N, T), all so far; and logits of the next token (N, V) in float32."""
        prepared = self.model.prepare_inputs_for_generation(
            as_tensor(ids[:, self.embedded_ids :]),
            past_key_values=self.past_key_values,
            past_length=self.past_length,
            **self.inputs,
        )
        output = self.model(**prepared, **self.options)
        if self.options.get("use_cache"):
            self._remember(output, ids.shape[1])
        self._grow()
        return output, output.logits.data[:, -1].astype("float32")

    def _go_on_from(self, past: Any, prompt: Prompt, config: GenerationConfig) -> None:
        name = type(self.model).__name__
        if self.past_key_values is None or self.model.config.is_encoder_decoder:
            why = (
                "keeps no KeyValueCache" if config.use_cache else "was called with use_cache=False"
            )
            raise ValueError(f"past_key_values: {name} {why}, so it cannot go on from one")
        if "inputs_embeds" in prompt.inputs:
            raise ValueError("past_key_values go with input_ids, all of them, not inputs_embeds")
        length = past_length(past)
        if length >= prompt.ids.shape[1]:
            raise ValueError(
                f"past_key_values holds {length} tokens; input_ids must be these and at least one "
                f"more, got {prompt.ids.shape[1]}"
            )
        self.past_key_values, self.past_length = past, length

    def _remember(self, output: Any, length: int) -> None:
        self.past_key_values = getattr(output, "past_key_values", None)
        if self.past_key_values is not None:
            self.past_length = length + self.hidden_length
        else:
            name = type(self.model).__name__
            reason = "" if self.model.config.is_decoder else " (config.is_decoder is False)"
            warn_once(
                f"{name} keeps no cache{reason}: every step reads the whole sequence again, and if "
                "it is no decoder, every token sees those after it"
            )

    def _grow(self) -> None:
        """One more column for the token to come: it is no padding, of the last type, and next."""
        two_masks = self.model.config.is_encoder_decoder
        mask = "decoder_attention_mask" if two_masks else "attention_mask"
        for name, step in ((mask, None), ("token_type_ids", 0), ("position_ids", 1)):
            columns = self.inputs.get(name)
            if columns is not None:
                new = columns[:, -1:] * 0 + 1 if step is None else columns[:, -1:] + step
                self.inputs[name] = F.concat([columns, new], axis=1)

    def reorder(self, rows: Array) -> None:
        """Let sequence i go on from what was sequence rows[i]."""
        self.past_key_values = _take_rows(self.past_key_values, rows)


def past_length(past: Any) -> int:
    """The tokens in a KeyValueCache, or in the tuple of tuples of arrays (B, G, T, K) for it."""
    if isinstance(past, KeyValueCache):
        return past.length
    try:
        return int(past[0][0].shape[2])
    except (TypeError, IndexError, AttributeError):
        raise TypeError(
            "past_key_values must be a KeyValueCache, or a pair (keys, values) of arrays "
            f"(B, G, T, K) for each layer, got a {type(past).__name__}"
        ) from None


def repeated_past(past: Any, ids: Array, times: int) -> Any:
    """`past_key_values` with every row `times` times in a row; what was given stays as it is."""
    if past is None or times == 1:
        return past
    past_length(past)  # so that anything else is refused
    rows = array_module(ids).arange(len(ids)).repeat(times)
    taken = _take_rows(tuple(past), rows)
    return KeyValueCache.from_legacy(taken) if isinstance(past, KeyValueCache) else taken


def _take_rows(state: Any, rows: Array) -> Any:
    if isinstance(state, KeyValueCache):
        state.reorder(rows)
        return state
    if isinstance(state, Tensor) or is_array(state):
        return as_tensor(array_module(rows).take(as_tensor(state).data, rows, axis=0))
    if isinstance(state, (tuple, list)):
        return tuple(_take_rows(part, rows) for part in state)
    return state
