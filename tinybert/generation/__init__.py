"""Text generation with models that predict the next token: greedy search, sampling, beam search."""

from tinybert.generation.config import CONFIG_NAME as GENERATION_CONFIG_NAME
from tinybert.generation.config import GenerationConfig
from tinybert.generation.generate import GenerationMixin
from tinybert.generation.logits_processors import LogitsProcessorList
from tinybert.generation.outputs import (
    GenerateBeamDecoderOnlyOutput,
    GenerateBeamEncoderDecoderOutput,
    GenerateDecoderOnlyOutput,
    GenerateEncoderDecoderOutput,
)
from tinybert.generation.streamers import BaseStreamer, TextIteratorStreamer, TextStreamer

__all__ = [
    "GENERATION_CONFIG_NAME",
    "BaseStreamer",
    "GenerateBeamDecoderOnlyOutput",
    "GenerateBeamEncoderDecoderOutput",
    "GenerateDecoderOnlyOutput",
    "GenerateEncoderDecoderOutput",
    "GenerationConfig",
    "GenerationMixin",
    "LogitsProcessorList",
    "TextIteratorStreamer",
    "TextStreamer",
]
