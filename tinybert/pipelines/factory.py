"""`pipeline`: the pipeline of a task, with its model and tokenizer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tinybert import hub
from tinybert.fetch import model_folder
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
FETCHED = "minilm"  # a model without a head, which `tinybert fetch` brings
HEADLESS = ("feature-extraction", "sentence-similarity")
WEIGHTS = ("*.safetensors",)
TOKENIZER_FILES = ("tokenizer_config.json", "config.json")


def pipeline(
    task: str,
    model: PreTrainedModel | str | os.PathLike[str] | None = None,
    tokenizer: Tokenizer | str | os.PathLike[str] | None = None,
    device: str | int | None = None,
    **options: Any,
) -> Any:
    """A model and tokenizer that do a task: called with texts, it gives what people want to know.

        classify = pipeline("text-classification", "my-model")
        classify("What a film!")  # [{"label": "positive", "score": 0.98}]

    Args:
        task: fill-mask, feature-extraction, sentence-similarity, text-classification (also
            sentiment-analysis), token-classification (also ner), question-answering,
            next-sentence, multiple-choice or text-generation.
        model: a model, or the folder or name of one, see `hub.resolve`; "minilm" is the model that
            `tinybert fetch` brings. It is the default of the two tasks that need no trained head:
            feature-extraction and sentence-similarity.
        tokenizer: a tokenizer, or the folder or name of one; by default the model's.
        device: where the model runs: "cpu", "cuda" or "cuda:1"; or, as in transformers, the number
            of a GPU, and -1 for the CPU.
        **options: batch_size, and new defaults for the options of a call, see each class.

    Results have the shape that they have in transformers. Raises ValueError for an unknown task, a
    model of the wrong kind, or what is missing; TypeError for unknown options; and what loading
    raises.
    """
    kind = TASKS.get(ALIASES.get(task, task)) if isinstance(task, str) else None
    if kind is None:
        raise ValueError(f"task must be one of {', '.join([*TASKS, *ALIASES])}, got {task!r}")
    where = device_name(device)
    if model is None:
        if kind.task not in HEADLESS:
            raise ValueError(
                f"model must be given for {task}: a {kind.model_class.__name__} model, or the "
                "folder or name of one"
            )
        model = FETCHED
    if isinstance(tokenizer, (str, os.PathLike)):
        tokenizer = AutoTokenizer.from_pretrained(_folder(tokenizer, TOKENIZER_FILES))
    if not (tokenizer is None or isinstance(tokenizer, Tokenizer)):
        raise ValueError(
            f"tokenizer must be a tokenizer, or the folder or name of one, got {tokenizer!r}"
        )
    if isinstance(model, (str, os.PathLike)):
        folder = _folder(model, WEIGHTS)
        return kind.from_pretrained(folder, tokenizer, where, **options)
    if not isinstance(model, PreTrainedModel):
        raise ValueError(f"model must be a model, or the folder or name of one, got {model!r}")
    if tokenizer is None:
        raise ValueError("tokenizer must be given too, if model is no folder or name")
    return kind(model, tokenizer, where, **options)


def device_name(device: str | int | None) -> str | None:
    """The name of a device that may be given by its number."""
    if not isinstance(device, int):
        return device
    return "cpu" if device < 0 else f"cuda:{device}"


def _folder(name: str | os.PathLike[str], files: tuple[str, ...]) -> Path:
    return model_folder(name) if name == FETCHED else hub.resolve(name, files)
