"""The outputs of `generate` with `return_dict_in_generate=True`, collected step by step."""

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
    """The output of greedy search or sampling. N is B * num_return_sequences.

    Attributes:
        sequences: (N, length) ids, prompt first, padded at the right.
        scores: for each step (N, V), the logits after all logits processors.
        logits: for each step (N, V), the logits of the model.
        attentions, hidden_states: for each step those of all layers; with a cache the first step
            has the length of the prompt, and the others have length 1.
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
    """The output of beam search, the best sequence of each prompt first.

    Attributes:
        sequences: (N, length) ids, N = B * num_return_sequences.
        sequences_scores: (N,) sums of log-probabilities / length ** length_penalty; needs
            `output_scores`.
        scores, logits: for each step (B * num_beams, V); scores are log-probabilities.
        beam_indices: (N, new tokens), the row of `scores` from which each token was selected; -1
            after the end.
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
    """As GenerateDecoderOnlyOutput, for an encoder-decoder; the encoder runs once."""

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
    """As GenerateBeamDecoderOnlyOutput, for an encoder-decoder."""

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


class OutputCollector:
    """Collects at each step the outputs that the config asks for; without
    `return_dict_in_generate` none.
    """

    def __init__(self, config: GenerationConfig, encoder_outputs: Any = None) -> None:
        self.config, self.encoder_outputs = config, encoder_outputs
        prefix = "" if encoder_outputs is None else "decoder_"
        selected = {
            "scores": config.output_scores,
            "logits": config.output_logits,
            f"{prefix}attentions": config.output_attentions,
            "cross_attentions": config.output_attentions and encoder_outputs is not None,
            f"{prefix}hidden_states": config.output_hidden_states,
        }
        enabled = config.return_dict_in_generate
        self.steps: dict[str, list[Any]] = {
            name: [] for name in selected if enabled and selected[name]
        }

    def add(self, output: Any, logits: Array, scores: Array) -> None:
        """Add one step: the model's output, and logits and scores (N, V) of the next token."""
        next_token = {"logits": as_tensor(logits), "scores": as_tensor(scores)}
        for name, steps in self.steps.items():
            steps.append(next_token[name] if name in next_token else output[name])

    def output(self, sequences: Array, past_key_values: Any, **beam_fields: Any) -> Any:
        """Return the ids (N, length) as a Tensor, or a ModelOutput with all collected steps."""
        if not self.config.return_dict_in_generate:
            return as_tensor(sequences)
        fields: dict[str, Any] = {name: tuple(steps) for name, steps in self.steps.items()}
        fields |= {name: as_tensor(array) for name, array in beam_fields.items()}
        fields |= {"sequences": as_tensor(sequences), "past_key_values": past_key_values}
        if self.encoder_outputs is None:
            kind: Any = GenerateBeamDecoderOnlyOutput if beam_fields else GenerateDecoderOnlyOutput
        else:
            kind = GenerateBeamEncoderDecoderOutput if beam_fields else GenerateEncoderDecoderOutput
            for name, selected in (
                ("attentions", self.config.output_attentions),
                ("hidden_states", self.config.output_hidden_states),
            ):
                layers = getattr(self.encoder_outputs, name, None)
                fields[f"encoder_{name}"] = layers if selected else None
        return kind(**fields)
