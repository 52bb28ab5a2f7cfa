"""What `generate` returns with `return_dict_in_generate=True`, and how it is gathered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import Array
from tinybert.generation.config import GenerationConfig
from tinybert.outputs import Layers, ModelOutput

Steps = tuple[Tensor, ...]
StepsOfLayers = tuple[Layers, ...]


@dataclass(repr=False, eq=False)
class GenerateDecoderOnlyOutput(ModelOutput):
    """The result of greedy search or sampling. N is B, or B * num_return_sequences.

    Attributes:
        sequences: (N, length) ids, the prompt first, padded at the right.
        scores: for each step (N, V): what the processors made of the logits.
        logits: for each step (N, V), as the model gave them.
        attentions, hidden_states: for each step those of all layers; with a cache the first step is
            as long as the prompt and the others are one token long.
        past_key_values: the cache after the last step.
    """

    sequences: Tensor | None = None
    scores: Steps | None = None
    logits: Steps | None = None
    attentions: StepsOfLayers | None = None
    hidden_states: StepsOfLayers | None = None
    past_key_values: Any = None


@dataclass(repr=False, eq=False)
class GenerateBeamDecoderOnlyOutput(ModelOutput):
    """The result of a beam search, best sequences of each prompt first.

    Attributes:
        sequences: (N, length) ids, N = B * num_return_sequences.
        sequences_scores: (N,) sums of log-probabilities over length ** length_penalty; with scores.
        scores, logits: for each step (B * num_beams, V); scores are log-probabilities.
        beam_indices: (N, new tokens) the row of `scores` that each token was chosen from, then -1.
        attentions, hidden_states, past_key_values: as in GenerateDecoderOnlyOutput.
    """

    sequences: Tensor | None = None
    sequences_scores: Tensor | None = None
    scores: Steps | None = None
    logits: Steps | None = None
    beam_indices: Tensor | None = None
    attentions: StepsOfLayers | None = None
    hidden_states: StepsOfLayers | None = None
    past_key_values: Any = None


@dataclass(repr=False, eq=False)
class GenerateEncoderDecoderOutput(ModelOutput):
    """As GenerateDecoderOnlyOutput, of an encoder-decoder; the encoder's layers are of one call."""

    sequences: Tensor | None = None
    scores: Steps | None = None
    logits: Steps | None = None
    encoder_attentions: Layers | None = None
    encoder_hidden_states: Layers | None = None
    decoder_attentions: StepsOfLayers | None = None
    cross_attentions: StepsOfLayers | None = None
    decoder_hidden_states: StepsOfLayers | None = None
    past_key_values: Any = None


@dataclass(repr=False, eq=False)
class GenerateBeamEncoderDecoderOutput(ModelOutput):
    """As GenerateBeamDecoderOnlyOutput, of an encoder-decoder."""

    sequences: Tensor | None = None
    sequences_scores: Tensor | None = None
    scores: Steps | None = None
    logits: Steps | None = None
    beam_indices: Tensor | None = None
    encoder_attentions: Layers | None = None
    encoder_hidden_states: Layers | None = None
    decoder_attentions: StepsOfLayers | None = None
    cross_attentions: StepsOfLayers | None = None
    decoder_hidden_states: StepsOfLayers | None = None
    past_key_values: Any = None


class Record:
    """Gathers, step by step, what the config asks for; nothing without return_dict_in_generate."""

    def __init__(self, config: GenerationConfig, encoder_outputs: Any = None) -> None:
        self.config, self.encoder_outputs = config, encoder_outputs
        prefix = "" if encoder_outputs is None else "decoder_"
        wanted = {
            "scores": config.output_scores,
            "logits": config.output_logits,
            f"{prefix}attentions": config.output_attentions,
            "cross_attentions": config.output_attentions and encoder_outputs is not None,
            f"{prefix}hidden_states": config.output_hidden_states,
        }
        on = config.return_dict_in_generate
        self.steps: dict[str, list[Any]] = {name: [] for name in wanted if on and wanted[name]}

    def add(self, output: Any, logits: Array, scores: Array) -> None:
        """Note one step: the model's output, and logits and scores of the next token (N, V)."""
        own = {"logits": as_tensor(logits), "scores": as_tensor(scores)}
        for name, steps in self.steps.items():
            steps.append(own[name] if name in own else output[name])

    def result(self, sequences: Array, past_key_values: Any, **beam_fields: Any) -> Any:
        """The ids (N, length) as a Tensor, or the output with all that was gathered."""
        if not self.config.return_dict_in_generate:
            return as_tensor(sequences)
        fields: dict[str, Any] = {name: tuple(steps) for name, steps in self.steps.items()}
        fields |= {name: as_tensor(array) for name, array in beam_fields.items()}
        fields |= {"sequences": as_tensor(sequences), "past_key_values": past_key_values}
        if self.encoder_outputs is None:
            kind: Any = GenerateBeamDecoderOnlyOutput if beam_fields else GenerateDecoderOnlyOutput
        else:
            kind = GenerateBeamEncoderDecoderOutput if beam_fields else GenerateEncoderDecoderOutput
            for name, wanted in (
                ("attentions", self.config.output_attentions),
                ("hidden_states", self.config.output_hidden_states),
            ):
                layers = getattr(self.encoder_outputs, name, None)
                fields[f"encoder_{name}"] = layers if wanted else None
        return kind(**fields)
