"""`Feed`: gives the model what it has not seen yet, and keeps what it remembers."""

from __future__ import annotations

import functools
import inspect
import logging
from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import Array, array_module
from tinybert.generation.config import GenerationConfig
from tinybert.generation.prompt import Prompt
from tinybert.nn import KeyValueCache

logger = logging.getLogger("tinybert")


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning, the first time that it is given."""
    logger.warning(message)


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

    The cache is what the model's `make_cache` gives, with room for no more than will be written; or
    else whatever nested tuples of Tensors the model returns, with N as their first axis.
    """

    def __init__(self, model: Any, prompt: Prompt, config: GenerationConfig) -> None:
        self.model, self.inputs = model, dict(prompt.inputs)
        self.hidden_length = prompt.hidden_length
        self.embedded_ids = prompt.ids.shape[1] if "inputs_embeds" in prompt.inputs else 0
        make_cache = getattr(model, "make_cache", None)
        limit = config.max_length + prompt.hidden_length
        self.past_key_values: Any = make_cache(limit) if make_cache and config.use_cache else None
        self.past_length = 0
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


def _take_rows(state: Any, rows: Array) -> Any:
    if isinstance(state, KeyValueCache):
        state.reorder(rows)
        return state
    if isinstance(state, Tensor):
        return as_tensor(array_module(rows).take(state.data, rows, axis=0))
    if isinstance(state, (tuple, list)):
        return tuple(_take_rows(part, rows) for part in state)
    return state
