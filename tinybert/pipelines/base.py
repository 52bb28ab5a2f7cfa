"""Base classes of the pipelines: options, single inputs and lists, tokenization, batches.

A pipeline tokenizes its inputs (`rows`), runs the model in batches, and turns the outputs into a
result (`result`). A task's class defines `rows` and `result`; `OnePassPipeline` does the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tinybert.autograd import Tensor, no_grad
from tinybert.checks import check_integer
from tinybert.models.base import PreTrainedModel
from tinybert.tokenizer_json.encoding import Encoding
from tinybert.tokenizers import AutoTokenizer
from tinybert.tokenizers.base import Tokenizer
from tinybert.tokenizers.batch_encoding import BatchEncoding

Settings = dict[str, Any]
Outputs = dict[str, np.ndarray]
PAIR = ("text", "text_pair")


@dataclass
class Row:
    """One tokenized sequence, a row of a batch.

    Attributes:
        inputs: for each argument of the model a list of T numbers.
        encoding: tokens with their offsets in the text; None for a tokenizer without offsets.
    """

    inputs: dict[str, list[int]]
    encoding: Encoding | None = None

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])


class Pipeline(ABC):
    """A model with its tokenizer, called with texts.

    One input (a str, or what the task's class says) gives one result; a list gives a list.

    Args:
        model: a model with the head that the task needs. It runs in evaluation mode; its mode is
            restored afterwards.
        tokenizer: the model's tokenizer.
        device: the device to move the model to; None leaves it where it is.
        batch_size: the number of sequences that run through the model together.
        **options: defaults for the options of a call; each class lists its options.

    Attributes:
        untrained: the parameters of a loaded model that its file did not have; they are random.

    Raises ValueError for a model without the head, TypeError for an unknown option.
    """

    task: ClassVar[str]
    model_class: ClassVar[type]  # the type that `model` must have
    auto_class: ClassVar[Any]  # loads the model from a folder
    defaults: ClassVar[Settings] = {}
    options_without_default: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        device: str | None = None,
        batch_size: int = 1,
        **options: Any,
    ) -> None:
        if not isinstance(model, self.model_class):
            raise ValueError(
                f"{self.task} needs a model that {self.auto_class.__name__} loads, "
                f"got {type(model).__name__}"
            )
        check_integer("batch_size", batch_size, 1)
        self.model: Any = model if device is None else model.to(device=device)
        self.tokenizer: Any = tokenizer
        self.batch_size = int(batch_size)
        self.untrained: list[str] = []
        self._defaults = dict(self.defaults)
        self._defaults = self._settings(options)

    @classmethod
    def from_pretrained(
        cls, folder: Path, tokenizer: Tokenizer | None, device: str | None, **options: Any
    ) -> Pipeline:
        """Load the model of a folder, and its tokenizer unless one is given."""
        model, report = cls.auto_class.from_pretrained(
            folder, device=device, output_loading_info=True
        )
        if tokenizer is None:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        made = cls(model, tokenizer, **options)
        made.untrained = [*report.missing_keys, *(name for name, *_ in report.mismatched_keys)]
        return made

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Return the result for one input, or a list of results for a list of inputs."""
        settings = self._settings(options)
        check_integer("batch_size", batch_size, 1, optional=True)
        size = self.batch_size if batch_size is None else int(batch_size)
        is_list = isinstance(inputs, list)
        results = self.run(inputs if is_list else [inputs], settings, size)
        return results if is_list else results[0]

    @abstractmethod
    def run(self, items: list[Any], settings: Settings, batch_size: int) -> list[Any]:
        """Return the result for each input."""

    def check(self, settings: Settings) -> None:  # noqa: B027 (not every task has options)
        """Raise ValueError or TypeError for options that are not allowed."""

    def _settings(self, options: Settings) -> Settings:
        known = {**self.defaults, **dict.fromkeys(sorted(self.options_without_default))}
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise TypeError(
                f"{self.task} has no option {', '.join(unknown)}; its options are "
                f"{', '.join(['batch_size', *known])}"
            )
        settings = {**self._defaults, **options}
        self.check(settings)
        return settings

    @property
    def max_length(self) -> int:
        """The maximum sequence length of tokenizer and model, in tokens."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        limit = self.tokenizer.model_max_length
        return limit if positions is None else min(limit, positions)


class OnePassPipeline(Pipeline):
    """A pipeline that needs one forward pass for each sequence."""

    per_token: ClassVar[bool] = False  # whether the outputs have a token axis

    # --- what a task defines --------------------------------------------------------------------

    @abstractmethod
    def rows(self, item: Any, settings: Settings) -> list[Row]:
        """Tokenize one input to one or several sequences; ValueError for a wrong input."""

    @abstractmethod
    def result(self, item: Any, rows: list[Row], outputs: list[Outputs], settings: Settings) -> Any:
        """Return the result for one input, from the model's outputs for each of its rows."""

    def call_model(self, inputs: dict[str, np.ndarray]) -> Mapping[str, Any]:
        """Return the model's output for a batch (B, T)."""
        return self.model(**inputs)

    # --- tokenization ---------------------------------------------------------------------------

    def row(self, text: str, text_pair: str | None = None, **options: Any) -> Row:
        """Tokenize a text or pair; truncation without max_length cuts at the model's limit."""
        if options.get("truncation") and options.get("max_length") is None:
            options["max_length"] = self.max_length
        # A model with limited positions raises an error for a longer sequence itself.
        limited = getattr(self.model.config, "max_position_embeddings", None) is not None
        options = {"verbose": not limited, **options}
        (row,) = self.split(self.tokenizer(text, text_pair, **options))
        return row

    def split(self, encoded: BatchEncoding) -> list[Row]:
        """Split the tokenizer's output for one text into its sequences."""
        is_single = not isinstance(encoded["input_ids"][0], list)
        inputs = {name: encoded[name] for name in self.tokenizer.model_input_names}
        if is_single:
            inputs = {name: [values] for name, values in inputs.items()}
        count = len(inputs["input_ids"])
        encodings: Sequence[Encoding | None] = encoded.encodings or [None] * count
        return [
            Row({name: values[i] for name, values in inputs.items()}, encodings[i])
            for i in range(count)
        ]

    # --- the model ------------------------------------------------------------------------------

    def run(self, items: list[Any], settings: Settings, batch_size: int) -> list[Any]:
        by_item = [self.rows(item, settings) for item in items]
        outputs = iter(self.forward([row for rows in by_item for row in rows], batch_size))
        return [
            self.result(item, rows, [next(outputs) for _ in rows], settings)
            for item, rows in zip(items, by_item, strict=True)
        ]

    def forward(self, rows: list[Row], batch_size: int) -> list[Outputs]:
        """Run the model in batches; return the outputs of each row, without padding."""
        outputs: list[Outputs] = [{}] * len(rows)
        by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # less padding
        with no_grad(), evaluation(self.model):
            for start in range(0, len(rows), batch_size):
                numbers = by_length[start : start + batch_size]
                batch = [rows[i] for i in numbers]
                output = self.call_model(padded(self.tokenizer, batch, "right"))
                arrays = {k: v.numpy() for k, v in output.items() if isinstance(v, Tensor)}
                for i, row in enumerate(batch):
                    tokens = slice(len(row)) if self.per_token else slice(None)
                    outputs[numbers[i]] = {name: array[i][tokens] for name, array in arrays.items()}
        return outputs


# --- helpers of several tasks ---------------------------------------------------------------------


def text_and_pair(task: str, item: Any) -> tuple[str, str]:
    """Return the two texts of a tuple, or of {"text": ..., "text_pair": ...}."""
    if isinstance(item, Mapping) and set(item) == set(PAIR):
        item = tuple(item[name] for name in PAIR)
    if not (isinstance(item, tuple) and len(item) == 2 and all(isinstance(t, str) for t in item)):
        raise ValueError(
            f'{task} takes {{"text": str, "text_pair": str}}, a tuple of two str, or a list of '
            f"either; got {item!r}"
        )
    return item


def one_text(task: str, item: Any) -> str:
    """Return the item, which must be a str."""
    if not isinstance(item, str):
        raise ValueError(f"{task} takes a str or a list of str, got {item!r}")
    return item


def padded(tokenizer: Any, rows: list[Row], side: str) -> dict[str, np.ndarray]:
    """Return rows as arrays (B, T), padded to one length at the given side."""
    inputs = [row.inputs for row in rows]
    if len({len(row) for row in rows}) > 1:
        return dict(tokenizer.pad(inputs, padding_side=side, return_tensors="np"))
    return {name: np.array([row[name] for row in inputs]) for name in inputs[0]}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Compute exp(x) / sum exp(x) over the last axis, in float64."""
    x = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


@contextmanager
def evaluation(model: PreTrainedModel) -> Iterator[None]:
    """Put the model in evaluation mode; restore the mode of every module at the end."""
    in_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in in_training:
            module.__dict__["training"] = True
