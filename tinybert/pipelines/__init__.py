"""Pipelines: one class per task, from text to a readable result."""

from tinybert.pipelines.base import Pipeline
from tinybert.pipelines.factory import pipeline
from tinybert.pipelines.feature_extraction import FeatureExtractionPipeline
from tinybert.pipelines.fill_mask import FillMaskPipeline
from tinybert.pipelines.multiple_choice import MultipleChoicePipeline
from tinybert.pipelines.next_sentence import NextSentencePipeline
from tinybert.pipelines.question_answering import QuestionAnsweringPipeline
from tinybert.pipelines.sentence_similarity import SentenceSimilarityPipeline
from tinybert.pipelines.text_classification import TextClassificationPipeline
from tinybert.pipelines.text_generation import TextGenerationPipeline
from tinybert.pipelines.token_classification import TokenClassificationPipeline

__all__ = [
    "FeatureExtractionPipeline",
    "FillMaskPipeline",
    "MultipleChoicePipeline",
    "NextSentencePipeline",
    "Pipeline",
    "QuestionAnsweringPipeline",
    "SentenceSimilarityPipeline",
    "TextClassificationPipeline",
    "TextGenerationPipeline",
    "TokenClassificationPipeline",
    "pipeline",
]
