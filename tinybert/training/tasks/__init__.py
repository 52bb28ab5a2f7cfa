"""The tasks of fine-tuning, one file each."""

from tinybert.training.tasks.base import Task
from tinybert.training.tasks.classification import Classification
from tinybert.training.tasks.multiple_choice import MultipleChoice
from tinybert.training.tasks.next_sentence import NextSentence
from tinybert.training.tasks.question_answering import QuestionAnswering
from tinybert.training.tasks.tagging import Tagging

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (Classification, Tagging, QuestionAnswering, MultipleChoice, NextSentence)
}

__all__ = [
    "TASKS",
    "Classification",
    "MultipleChoice",
    "NextSentence",
    "QuestionAnswering",
    "Tagging",
    "Task",
]
