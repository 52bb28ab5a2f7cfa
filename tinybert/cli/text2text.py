"""The encoder-decoder behind `tinybert generate`: it reads a text, and writes another."""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

from tinybert.cli.pipeline_arguments import load_task
from tinybert.models import AutoConfig, AutoModelForSeq2SeqLM, EncoderDecoderModel
from tinybert.pipelines.base import Row, Settings
from tinybert.pipelines.text_generation import TextGenerationPipeline


class RewritingPipeline(TextGenerationPipeline):
    """Writes, for each text, another: what is returned is the new text alone."""

    model_class: ClassVar[type] = EncoderDecoderModel
    auto_class: ClassVar[Any] = AutoModelForSeq2SeqLM

    def _prompt(self, item: Any, settings: Settings) -> Row:
        """What the encoder reads: a whole text, with the token that ends it."""
        return super()._prompt(item, {**settings, "add_special_tokens": True})

    def _record(self, prompt: str, row: Row, ids: list[int], settings: Settings) -> dict[str, Any]:
        """The text was not continued: all but the decoder's first token is new."""
        return super()._record("", Row({"input_ids": []}), ids[1:], settings)


def load_writer(args: argparse.Namespace) -> Any:
    """The pipeline that suits the model of --model; what `load_task` raises."""
    if args.model not in (None, "minilm"):
        config = AutoConfig.from_pretrained(args.model)
        if config.is_encoder_decoder:
            return RewritingPipeline.from_pretrained(args.model, None, args.device)
    return load_task("text-generation", args)
