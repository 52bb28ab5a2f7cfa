"""`pipeline`: create the pipeline of a task, with its model and tokenizer."""

from __future__ import annotations

import os
from typing import Any

from tinybert import embedded, hub
from tinybert.models.base import PreTrainedModel
from tinybert.pipelines.base import Pipeline
from tinybert.pipelines.feature_extraction import FeatureExtractionPipeline
from tinybert.pipelines.fill_mask import FillMaskPipeline
from tinybert.pipelines.multiple_choice import MultipleChoicePipeline
from tinybert.pipelines.next_sentence import NextSentencePipeline
from tinybert.pipelines.question_answering import QuestionAnsweringPipeline
from tinybert.pipelines.sentence_similarity import SentenceSimilarityPipeline
from tinybert.pipelines.text_classification import TextClassificationPipeline
from tinybert.pipelines.text_generation import TextGenerationPipeline
from tinybert.pipelines.token_classification import TokenClassificationPipeline
from tinybert.tokenizers import AutoTokenizer
from tinybert.tokenizers.base import Tokenizer

TASKS: dict[str, type[Pipeline]] = {
    kind.task: kind
    for kind in (
        FillMaskPipeline,
        FeatureExtractionPipeline,
        SentenceSimilarityPipeline,
        TextClassificationPipeline,
        TokenClassificationPipeline,
        QuestionAnsweringPipeline,
        NextSentencePipeline,
        MultipleChoicePipeline,
        TextGenerationPipeline,
    )
}
ALIASES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}
WEIGHTS = ("*.safetensors",)
TOKENIZER_FILES = ("tokenizer_config.json", "config.json")


def pipeline(
    task: str,
    model: PreTrainedModel | str | os.PathLike[str] | None = None,
    tokenizer: Tokenizer | str | os.PathLike[str] | None = None,
    device: str | int | None = None,
    **options: Any,
) -> Any:
    """Create a pipeline: a model and tokenizer for a task, called with texts.

        classify = pipeline("text-classification", "my-model")
        classify("What a film!")  # [{"label": "positive", "score": 0.98}]

    Args:
        task: fill-mask, feature-extraction, sentence-similarity, text-classification (also
            sentiment-analysis), token-classification (also ner), question-answering,
            next-sentence, multiple-choice or text-generation.
        model: a model, its folder, or its name (see `hub.resolve`). The default is the model of
            this package whose card names the task (`tinybert models` lists them); not every task
            has one.
        tokenizer: a tokenizer, its folder, or its name on the Hub; by default the model's.
        device: "cpu" or "cuda"; or, as in transformers, the number of a GPU, or -1 for
            the CPU.
        **options: batch_size, and defaults for the options of a call; each class lists its options.

    Results have the same structure as in transformers. Raises ValueError for an unknown task, a
    model without the task's head, or a missing model or tokenizer; TypeError for unknown options;
    and the errors of loading.
    """
    kind = TASKS.get(ALIASES.get(task, task)) if isinstance(task, str) else None
    if kind is None:
        raise ValueError(f"task must be one of {', '.join([*TASKS, *ALIASES])}, got {task!r}")
    if model is None:
        # The tagger of the package knows parts of speech, not names.
        model = None if task == "ner" else embedded.default_of(kind.task)
        if model is None:
            raise ValueError(
                f"model is required for {task}: a {kind.model_class.__name__} model, its folder or "
                "its name on the Hub; no model of the package is its default"
            )
    if isinstance(tokenizer, (str, os.PathLike)):
        tokenizer = AutoTokenizer.from_pretrained(hub.resolve(tokenizer, TOKENIZER_FILES))
    if not (tokenizer is None or isinstance(tokenizer, Tokenizer)):
        raise ValueError(
            f"tokenizer must be a tokenizer, its folder or its name on the Hub, got {tokenizer!r}"
        )
    if isinstance(model, (str, os.PathLike)):
        folder = hub.resolve(model, WEIGHTS)
        return kind.from_pretrained(folder, tokenizer, device_name(device), **options)
    if not isinstance(model, PreTrainedModel):
        raise ValueError(f"model must be a model, its folder or its name on the Hub, got {model!r}")
    if tokenizer is None:
        raise ValueError("tokenizer is required if model is not a folder or a name on the Hub")
    return kind(model, tokenizer, device_name(device), **options)


def device_name(device: str | int | None) -> str | None:
    """Return the name of a device; n >= 0 is the GPU "cuda:n", and -1 the CPU."""
    if not isinstance(device, int):
        return device
    return "cpu" if device < 0 else f"cuda:{device}"
