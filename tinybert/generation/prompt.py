"""`Prompt`: what a generation starts from, read from the arguments of `generate` and checked."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import Array, array_module
from tinybert.generation.config import GenerationConfig
from tinybert.outputs import BaseModelOutput

logger = logging.getLogger("tinybert")

NOT_BY_ROW = ("head_mask", "decoder_head_mask", "cross_attn_head_mask")  # inputs without a batch


@dataclass
class Prompt:
    """Sequences to be continued, and what the model is called with beside them.

    Attributes:
        ids: (B, T), what the sequences begin with; of an encoder-decoder, the decoder's.
        inputs: further arguments of forward; no mask where it would be all ones.
        encoder_outputs: of an encoder-decoder, as its encoder gave them.
    """

    ids: Array
    inputs: dict[str, Any] = field(default_factory=dict)
    encoder_outputs: Any = None

    @property
    def hidden_length(self) -> int:
        """The tokens that are fed but have no ids: `inputs_embeds` on their own."""
        embedded = self.inputs.get("inputs_embeds")
        return 0 if embedded is None else embedded.shape[1] - self.ids.shape[1]

    def repeated(self, times: int) -> Prompt:
        """Every row `times` times in a row."""
        if times == 1:
            return self
        inputs = {
            name: value if name in NOT_BY_ROW else _repeat(value, times)
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
    """The prompt of a decoder. `others` are further arguments of its forward.

    Without ids it is one beginning-of-sequence token. Without a mask, padding is masked if the
    padding id occurs and does not also end sequences, as transformers guesses.
    Raises ValueError naming the argument for wrong shapes, and TypeError for ids that are no
    integers.
    """
    device = model.device
    inputs = {k: _on(device, k, v) for k, v in others.items() if v is not None}
    embedded = inputs.get("inputs_embeds")
    if embedded is not None and (embedded.ndim != 3 or 0 in embedded.shape):
        raise ValueError(f"inputs_embeds must have shape (B, T, D), none 0, got {embedded.shape}")
    if input_ids is not None:
        ids = token_ids("input_ids", input_ids, device)
        if embedded is not None and ids.shape != embedded.shape[:2]:
            raise ValueError(
                f"input_ids {ids.shape} and inputs_embeds {embedded.shape} must be of one length"
            )
    elif embedded is not None:
        ids = as_tensor(array_module(embedded.data).zeros((len(embedded), 0), "int64"))
    elif config.bos_token_id is not None:
        batch = next((len(v) for k, v in inputs.items() if k not in NOT_BY_ROW), 1)
        ids = token_ids("bos_token_id", [[int(config.bos_token_id)]] * batch, device)
    else:
        raise ValueError("give input_ids, or a bos_token_id to start from")
    shape = ids.shape if embedded is None else tuple(embedded.shape[:2])
    for name in ("token_type_ids", "position_ids"):
        if name in inputs and inputs[name].shape == (1, shape[1]):  # one row stands for all
            inputs[name] = inputs[name].expand(*shape)
    mask = read_mask(attention_mask, ids, shape, config, device)
    if mask is not None:
        inputs["attention_mask"] = mask
        if bool((mask.data[:, -1] == 0).any()):
            logger.warning(
                "the prompt is padded at the right, so the model goes on after padding; "
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
    """The prompt of an encoder-decoder: the encoder reads the input, once; the decoder begins with
    `decoder_start_token_id` (or bos_token_id), before `decoder_input_ids` if these do not.

    Arguments that begin with "decoder_" are the decoder's, others the encoder's. Raises ValueError
    if there is no id to start with, and as `read_prompt` does.
    """
    start = config.decoder_start_token_id
    start = config.bos_token_id if start is None else start
    if start is None:
        raise ValueError(
            "an encoder-decoder needs decoder_start_token_id (or bos_token_id): "
            "set it in the config or give it to generate"
        )
    device = model.device
    others = {k: v for k, v in others.items() if v is not None}
    encoded = others.pop("encoder_outputs", None)
    inputs = {
        k: _on(device, k, v)
        for k, v in others.items()
        if k.startswith("decoder_") or k == "cross_attn_head_mask"
    }
    if encoded is None:
        mine = {k: v for k, v in others.items() if k not in inputs}
        ids = None if input_ids is None else token_ids("input_ids", input_ids, device)
        if (ids is None) == ("inputs_embeds" not in mine):
            raise ValueError("give input_ids or inputs_embeds, one and not both")
        shape = as_tensor(mine["inputs_embeds"]).shape[:2] if ids is None else ids.shape
        mask = read_mask(attention_mask, ids, shape, config, device)
        if config.return_dict_in_generate:
            mine["output_attentions"] = config.output_attentions
            mine["output_hidden_states"] = config.output_hidden_states
        encoded = model.encode(input_ids=ids, attention_mask=mask, **mine)
    else:
        shape = tuple(encoded.last_hidden_state.shape[:2])
        mask = read_mask(attention_mask, None, shape, config, device)
    inputs["encoder_outputs"] = encoded
    if mask is not None:
        inputs["attention_mask"] = mask
    return Prompt(_decoder_ids(inputs, int(start), shape[0], device), inputs, encoded)


def _decoder_ids(inputs: dict[str, Any], start: int, batch: int, device: str) -> Array:
    """What the decoder begins with; taken out of `inputs`, whose mask grows if `start` is added."""
    first = as_tensor([[start]] * batch, device).data.astype("int64")
    given = inputs.pop("decoder_input_ids", None)
    if given is None:
        return first
    ids = token_ids("decoder_input_ids", given, device).data
    if len(ids) != batch:
        raise ValueError(f"decoder_input_ids must have {batch} rows, got {len(ids)}")
    if bool((ids[:, 0] == start).any()):
        return ids
    xp = array_module(ids)
    mask = inputs.get("decoder_attention_mask")
    if mask is not None:
        inputs["decoder_attention_mask"] = as_tensor(
            xp.concatenate([xp.ones((batch, 1), mask.dtype), mask.data], axis=1)
        )
    return xp.concatenate([first, ids], axis=1)


def read_mask(
    given: Any, ids: Tensor | None, shape: tuple[int, ...], config: GenerationConfig, device: str
) -> Tensor | None:
    """The mask (B, T) as integers, or None if nothing is masked."""
    if given is not None:
        mask = _on(device, "attention_mask", given)
        if mask.shape != shape:
            raise ValueError(f"attention_mask must have shape {shape}, got {mask.shape}")
        mask = mask != 0
    elif ids is not None and ids.size and config.pad_token_id not in (None, *config.eos_ids):
        mask = ids != config.pad_token_id
    else:
        return None
    return None if bool(mask.data.all()) else mask.astype("int64")


def token_ids(name: str, value: Any, device: str) -> Tensor:
    """Ids (B, T) as int64 on the device; TypeError or ValueError if they cannot be that."""
    ids = _on(device, name, value)
    if ids.ndim != 2 or 0 in ids.shape:
        hint = "; one sequence is [[...]]" if ids.ndim == 1 else ""
        raise ValueError(f"{name} must have shape (B, T), none 0, got {ids.shape}{hint}")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {ids.dtype}")
    return ids.astype("int64")


def _on(device: str, name: str, value: Any) -> Tensor:
    try:
        return as_tensor(value, device).to(device)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from error


def _repeat(value: Any, times: int) -> Any:
    if isinstance(value, Tensor):
        return as_tensor(value.data.repeat(times, axis=0))
    return BaseModelOutput(last_hidden_state=_repeat(value.last_hidden_state, times))
