"""`Prompt`: the checked inputs of `generate`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import Array, array_module
from tinybert.checks import check_mask
from tinybert.generation.config import GenerationConfig
from tinybert.outputs import BaseModelOutput

logger = logging.getLogger("tinybert")

WITHOUT_BATCH = ("head_mask", "decoder_head_mask", "cross_attn_head_mask")  # no batch axis


@dataclass
class Prompt:
    """Sequences to continue, with the other inputs of the model.

    Attributes:
        ids: (B, T), the first tokens of the sequences; for an encoder-decoder, of the decoder.
        inputs: further arguments of forward; without an attention mask if it would be all ones.
        encoder_outputs: for an encoder-decoder, the output of its encoder.
    """

    ids: Array
    inputs: dict[str, Any] = field(default_factory=dict)
    encoder_outputs: Any = None

    @property
    def hidden_length(self) -> int:
        """The number of tokens without ids: those given as `inputs_embeds` only."""
        embedded = self.inputs.get("inputs_embeds")
        return 0 if embedded is None else embedded.shape[1] - self.ids.shape[1]

    @property
    def _full_mask(self) -> Array | None:
        name = "attention_mask" if self.encoder_outputs is None else "decoder_attention_mask"
        mask = self.inputs.get(name)
        return None if mask is None else mask.data

    @property
    def mask(self) -> Array | None:
        """The mask (B, T) of `ids`; None if no token is masked."""
        mask = self._full_mask
        return None if mask is None else mask[:, self.hidden_length :]

    @property
    def hidden_tokens(self) -> int | Array:
        """Like `hidden_length`, but without masked tokens: then one number for each row (B,)."""
        mask, hidden = self._full_mask, self.hidden_length
        return hidden if mask is None or not hidden else mask[:, :hidden].sum(axis=1)

    def repeated(self, times: int) -> Prompt:
        """Return a prompt with every row `times` times in a row."""
        if times == 1:
            return self
        inputs = {
            name: value if name in WITHOUT_BATCH else _repeat(value, times)
            for name, value in self.inputs.items()
        }
        return Prompt(self.ids.repeat(times, axis=0), inputs, self.encoder_outputs)


def read_prompt(
    model: Any,
    input_ids: Any,
    attention_mask: Any,
    others: dict[str, Any],
    config: GenerationConfig,
) -> Prompt:
    """Return the prompt of a decoder. `others` are further arguments of its forward.

    Without ids the prompt is one beginning-of-sequence token. Without a mask, tokens with
    pad_token_id are masked, unless that id also ends sequences, as in transformers.
    Raises ValueError for wrong shapes, and TypeError for ids that are not integers, naming the
    argument.
    """
    device = model.device
    inputs = {k: _to_tensor(k, v, device) for k, v in others.items() if v is not None}
    embedded = inputs.get("inputs_embeds")
    if embedded is not None and (embedded.ndim != 3 or 0 in embedded.shape):
        raise ValueError(
            f"inputs_embeds must have shape (B, T, D) with B, T, D >= 1, got {embedded.shape}"
        )
    if input_ids is not None:
        ids = token_ids("input_ids", input_ids, device)
        if embedded is not None and ids.shape != embedded.shape[:2]:
            raise ValueError(
                f"input_ids and inputs_embeds must have the same (B, T), got {ids.shape} and "
                f"{embedded.shape}"
            )
    elif embedded is not None:
        ids = as_tensor(array_module(embedded.data).zeros((len(embedded), 0), "int64"))
    elif config.bos_token_id is not None:
        batch = next((len(v) for k, v in inputs.items() if k not in WITHOUT_BATCH), 1)
        ids = token_ids("bos_token_id", [[int(config.bos_token_id)]] * batch, device)
    else:
        raise ValueError("generate needs input_ids, or a bos_token_id as the first token")
    shape = ids.shape if embedded is None else tuple(embedded.shape[:2])
    for name in ("token_type_ids", "position_ids"):
        if name in inputs and inputs[name].shape == (1, shape[1]):  # one row for the whole batch
            inputs[name] = inputs[name].expand(*shape)
    mask = read_mask(attention_mask, ids, shape, config, device)
    if mask is not None:
        inputs["attention_mask"] = mask
        if bool((mask.data[:, -1] == 0).any()):
            logger.warning(
                "the prompt is padded at the right, so the new tokens follow padding; "
                "tokenize with padding_side='left'"
            )
    return Prompt(ids.data, inputs)


def read_encoder_prompt(
    model: Any,
    input_ids: Any,
    attention_mask: Any,
    others: dict[str, Any],
    config: GenerationConfig,
) -> Prompt:
    """Run the encoder, and return the prompt of the decoder.

    The decoder starts with `decoder_start_token_id` (or bos_token_id), which is put before
    `decoder_input_ids` unless they contain it already. Arguments named "decoder_..." belong to the
    decoder, others to the encoder. Raises ValueError if there is no start token, and the errors of
    `read_prompt`.
    """
    start = config.decoder_start_token_id
    start = config.bos_token_id if start is None else start
    if start is None:
        raise ValueError(
            "an encoder-decoder needs decoder_start_token_id (or bos_token_id): "
            "set it in the config or pass it to generate"
        )
    device = model.device
    others = {k: v for k, v in others.items() if v is not None}
    encoded = others.pop("encoder_outputs", None)
    inputs = {
        k: _to_tensor(k, v, device)
        for k, v in others.items()
        if k.startswith("decoder_") or k == "cross_attn_head_mask"
    }
    if encoded is None:
        encoder_inputs = {k: v for k, v in others.items() if k not in inputs}
        ids = None if input_ids is None else token_ids("input_ids", input_ids, device)
        if (ids is None) == ("inputs_embeds" not in encoder_inputs):
            raise ValueError("give input_ids or inputs_embeds, and not both")
        shape = as_tensor(encoder_inputs["inputs_embeds"]).shape[:2] if ids is None else ids.shape
        mask = read_mask(attention_mask, ids, shape, config, device)
        if config.return_dict_in_generate:
            encoder_inputs["output_attentions"] = config.output_attentions
            encoder_inputs["output_hidden_states"] = config.output_hidden_states
        encoded = model.encode(input_ids=ids, attention_mask=mask, **encoder_inputs)
    else:
        shape = tuple(encoded.last_hidden_state.shape[:2])
        mask = read_mask(attention_mask, None, shape, config, device)
    inputs["encoder_outputs"] = encoded
    if mask is not None:
        inputs["attention_mask"] = mask
    return Prompt(_decoder_ids(inputs, int(start), shape[0], device), inputs, encoded)


def _decoder_ids(inputs: dict[str, Any], start: int, batch: int, device: str) -> Array:
    """Return the first ids of the decoder, and remove them from `inputs`.

    If `start` is put before them, the decoder's mask gets another column.
    """
    start_ids = as_tensor([[start]] * batch, device).data.astype("int64")
    given = inputs.pop("decoder_input_ids", None)
    ids = start_ids if given is None else token_ids("decoder_input_ids", given, device).data
    if len(ids) != batch:
        raise ValueError(f"decoder_input_ids must have {batch} rows, got {len(ids)}")
    name = "decoder_attention_mask"
    mask = inputs.get(name)
    if mask is not None:
        inputs[name] = mask = _checked_mask(name, mask, ids.shape, device).astype("int64")
    if bool((ids[:, 0] == start).any()):
        return ids
    xp = array_module(ids)
    if mask is not None:
        ones = xp.ones((batch, 1), "int64")
        inputs[name] = as_tensor(xp.concatenate([ones, mask.data], axis=1))
    return xp.concatenate([start_ids, ids], axis=1)


def read_mask(
    attention_mask: Any,
    ids: Tensor | None,
    shape: tuple[int, ...],
    config: GenerationConfig,
    device: str,
) -> Tensor | None:
    """Return the attention mask (B, T) as integers, or None if nothing is masked."""
    if attention_mask is not None:
        mask = _checked_mask("attention_mask", attention_mask, shape, device)
    elif ids is None or not ids.size or config.pad_token_id is None:
        return None
    else:
        mask = ids != config.pad_token_id
        if config.pad_token_id in config.eos_ids:
            if len(ids) > 1 and not bool(mask.data[:, 0].all()):
                logger.warning(
                    "pad_token_id %d begins a prompt, but also ends sequences, so it is read as "
                    "text; give attention_mask if it is padding",
                    config.pad_token_id,
                )
            return None
    return None if bool(mask.data.all()) else mask.astype("int64")


def _checked_mask(name: str, value: Any, shape: tuple[int, ...], device: str) -> Tensor:
    """Return a mask (B, T) of 0 and 1; ValueError, naming the argument, for anything else."""
    mask = _to_tensor(name, value, device)
    if mask.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {mask.shape}")
    check_mask(name, mask.data)
    return mask


def token_ids(name: str, value: Any, device: str) -> Tensor:
    """Return ids (B, T) as int64 on the device; TypeError or ValueError for anything else."""
    ids = _to_tensor(name, value, device)
    if ids.ndim != 2 or 0 in ids.shape:
        hint = "; write one sequence as [[...]]" if ids.ndim == 1 else ""
        raise ValueError(f"{name} must have shape (B, T) with B, T >= 1, got {ids.shape}{hint}")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {ids.dtype}")
    return ids.astype("int64")


def _to_tensor(name: str, value: Any, device: str) -> Tensor:
    """Return the value as a Tensor on the device; errors name the argument."""
    try:
        return as_tensor(value, device).to(device)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from error


def _repeat(value: Any, times: int) -> Any:
    if isinstance(value, Tensor):
        return as_tensor(value.data.repeat(times, axis=0))
    return BaseModelOutput(last_hidden_state=_repeat(value.last_hidden_state, times))
