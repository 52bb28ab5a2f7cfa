"""Training: data, tasks, the loop with its checkpoints, and metrics."""

from tinybert.training.batches import Batches
from tinybert.training.collators import MaskedText, PlainText
from tinybert.training.config import TrainingConfig
from tinybert.training.losses import masked_loss, model_loss
from tinybert.training.masking import mask_tokens
from tinybert.training.readers import read_rows
from tinybert.training.segments import Segments, sentence_blocks, sentence_pairs, token_blocks
from tinybert.training.tasks import (
    TASKS,
    Classification,
    MultipleChoice,
    NextSentence,
    QuestionAnswering,
    Tagging,
    Task,
)
from tinybert.training.token_file import TokenFile
from tinybert.training.trainer import Trainer

__all__ = [
    "TASKS",
    "Batches",
    "Classification",
    "MaskedText",
    "MultipleChoice",
    "NextSentence",
    "PlainText",
    "QuestionAnswering",
    "Segments",
    "Tagging",
    "Task",
    "TokenFile",
    "Trainer",
    "TrainingConfig",
    "mask_tokens",
    "masked_loss",
    "model_loss",
    "read_rows",
    "sentence_blocks",
    "sentence_pairs",
    "token_blocks",
]
