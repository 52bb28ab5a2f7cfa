"""The encoder-decoder pipeline of `tinybert generate`: read a text, generate another one."""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

from tinybert.cli.pipeline_arguments import load_pipeline, trained
from tinybert.models import AutoConfig, AutoModelForSeq2SeqLM, EncoderDecoderModel
from tinybert.pipelines.base import Row, Settings, one_text
from tinybert.pipelines.text_generation import TextGenerationPipeline


class Text2TextGenerationPipeline(TextGenerationPipeline):
    """Generates a text from each input text; the result is the new text without the input."""

    model_class: ClassVar[type] = EncoderDecoderModel
    auto_class: ClassVar[Any] = AutoModelForSeq2SeqLM

    def _prompt(self, item: Any, settings: Settings) -> Row:
        """Tokenize the encoder's input, with all special tokens."""
        return super()._prompt(
            one_text("text2text", item), {**settings, "add_special_tokens": True}
        )

    def _record(self, prompt: str, row: Row, ids: list[int], settings: Settings) -> dict[str, Any]:
        """Return all tokens after the decoder's start token as new text."""
        return super()._record("", Row({"input_ids": []}), ids[1:], settings)


def load_generator(args: argparse.Namespace) -> Any:
    """Return the pipeline for --model: text generation, or text-to-text for encoder-decoders."""
    if args.model is not None:
        config = AutoConfig.from_pretrained(args.model)
        if config.is_encoder_decoder:
            kind, model = Text2TextGenerationPipeline, args.model
            return trained(
                lambda: kind.from_pretrained(model, None, args.device), "text-generation", args
            )
    return load_pipeline("text-generation", args)
