"""What all tasks share: options, inputs one by one or in a list, and the way of a text: to rows of
tokens, through the model in batches, and back to something that a person can read.

A task's file says how a text becomes rows (`rows`) and how the model's numbers become a result
(`result`); what stands between the two is here, in `OnePassPipeline`.
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
    """One row of T tokens.

    Attributes:
        inputs: what the model is called with, a list of T numbers under each name.
        encoding: where the tokens stand in the text; None if the tokenizer does not know.
    """

    inputs: dict[str, list[int]]
    encoding: Encoding | None = None

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])


class Pipeline(ABC):
    """A model with its tokenizer, that can be called with texts.

    A str, or whatever else the task takes, gives one result, a list of them a list of results.

    Args:
        model: of the kind that the task needs; it is used in evaluation mode, and left as it was.
        tokenizer: the one that belongs to it.
        device: where the model is moved to; None leaves it.
        batch_size: rows that run through the model together.
        **options: new defaults for the options of a call, which each class lists.

    Raises ValueError for a model of another kind, TypeError for an option that is not known.
    """

    task: ClassVar[str]
    model_class: ClassVar[type]  # what `model` has to be
    auto_class: ClassVar[Any]  # what loads it from a folder
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
                f"{self.task} needs a model of the kind {self.auto_class.__name__} loads, "
                f"got {type(model).__name__}"
            )
        self.model: Any = model if device is None else model.to(device=device)
        self.tokenizer: Any = tokenizer
        self.batch_size = _checked_size(batch_size)
        self._defaults = dict(self.defaults)
        self._defaults = self._settings(options)

    @classmethod
    def from_pretrained(
        cls, folder: Path, tokenizer: Tokenizer | None, device: str | None, **options: Any
    ) -> Pipeline:
        """With the model of a folder, and its tokenizer unless another is given."""
        model = cls.auto_class.from_pretrained(folder, device=device)
        if tokenizer is None:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        return cls(model, tokenizer, **options)

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """The result for one input, or a list of results for a list of inputs."""
        settings = self._settings(options)
        size = self.batch_size if batch_size is None else _checked_size(batch_size)
        many = isinstance(inputs, list)
        results = self.run(inputs if many else [inputs], settings, size)
        return results if many else results[0]

    @abstractmethod
    def run(self, items: list[Any], settings: Settings, batch_size: int) -> list[Any]:
        """The results for all inputs."""

    def check(self, settings: Settings) -> None:  # noqa: B027 (not every task has options)
        """Raise ValueError or TypeError for options that are not possible."""

    def _settings(self, options: Settings) -> Settings:
        known = {**self.defaults, **dict.fromkeys(sorted(self.options_without_default))}
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise TypeError(
                f"{self.task} has no option {', '.join(unknown)}; it has "
                f"{', '.join(['batch_size', *known])}"
            )
        settings = {**self._defaults, **options}
        self.check(settings)
        return settings

    @property
    def max_length(self) -> int:
        """The longest row that both tokenizer and model take."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        limit = self.tokenizer.model_max_length
        return limit if positions is None else min(limit, positions)


class OnePassPipeline(Pipeline):
    """A pipeline whose model reads every row once: it says something about the text as it is."""

    per_token: ClassVar[bool] = False  # whether the outputs have an axis of tokens

    # --- what a task defines --------------------------------------------------------------------

    @abstractmethod
    def rows(self, item: Any, settings: Settings) -> list[Row]:
        """The rows that the model reads for one input; ValueError for what is no input."""

    @abstractmethod
    def result(self, item: Any, rows: list[Row], outputs: list[Outputs], settings: Settings) -> Any:
        """The result for one input, from what the model gave for each of its rows."""

    def call_model(self, inputs: dict[str, np.ndarray]) -> Mapping[str, Any]:
        """The model's output for a batch of rows (B, T)."""
        return self.model(**inputs)

    # --- from texts to rows ---------------------------------------------------------------------

    def row(self, text: str, text_pair: str | None = None, **options: Any) -> Row:
        """One row; with truncation it is cut to what the model takes, unless options say where."""
        if options.get("truncation") and options.get("max_length") is None:
            options["max_length"] = self.max_length
        # Where positions are limited, the model itself refuses what is too long.
        limited = getattr(self.model.config, "max_position_embeddings", None) is not None
        options = {"verbose": not limited, **options}
        (row,) = self.split(self.tokenizer(text, text_pair, **options))
        return row

    def split(self, encoded: BatchEncoding) -> list[Row]:
        """The rows of what a tokenizer returned for one text."""
        single = not isinstance(encoded["input_ids"][0], list)
        columns = {name: encoded[name] for name in self.tokenizer.model_input_names}
        if single:
            columns = {name: [values] for name, values in columns.items()}
        count = len(columns["input_ids"])
        encodings: Sequence[Encoding | None] = encoded.encodings or [None] * count
        return [
            Row({name: values[i] for name, values in columns.items()}, encodings[i])
            for i in range(count)
        ]

    # --- through the model ----------------------------------------------------------------------

    def run(self, items: list[Any], settings: Settings, batch_size: int) -> list[Any]:
        by_item = [self.rows(item, settings) for item in items]
        outputs = iter(self.forward([row for rows in by_item for row in rows], batch_size))
        return [
            self.result(item, rows, [next(outputs) for _ in rows], settings)
            for item, rows in zip(items, by_item, strict=True)
        ]

    def forward(self, rows: list[Row], batch_size: int) -> list[Outputs]:
        """What the model gives for each row, padding taken off again."""
        found: list[Outputs] = []
        with no_grad(), evaluation(self.model):
            for start in range(0, len(rows), batch_size):
                batch = rows[start : start + batch_size]
                output = self.call_model(padded(self.tokenizer, batch, "right"))
                arrays = {k: v.numpy() for k, v in output.items() if isinstance(v, Tensor)}
                for i, row in enumerate(batch):
                    kept = slice(len(row)) if self.per_token else slice(None)
                    found.append({name: array[i][kept] for name, array in arrays.items()})
        return found


# --- what tasks have in common --------------------------------------------------------------------


def text_and_pair(task: str, item: Any) -> tuple[str, str]:
    """Two texts: a tuple of them, or {"text": ..., "text_pair": ...}."""
    if isinstance(item, Mapping) and set(item) == set(PAIR):
        item = tuple(item[name] for name in PAIR)
    if not (isinstance(item, tuple) and len(item) == 2 and all(isinstance(t, str) for t in item)):
        raise ValueError(
            f'{task} takes {{"text": str, "text_pair": str}}, a tuple of two str, or a list of '
            f"either; got {item!r}"
        )
    return item


def one_text(task: str, item: Any) -> str:
    """The item, if it is a str."""
    if not isinstance(item, str):
        raise ValueError(f"{task} takes a str or a list of str, got {item!r}")
    return item


def padded(tokenizer: Any, rows: list[Row], side: str) -> dict[str, np.ndarray]:
    """Rows of one length, as arrays (B, T); what is shorter is padded at that side."""
    inputs = [row.inputs for row in rows]
    if len({len(row) for row in rows}) > 1:
        return dict(tokenizer.pad(inputs, padding_side=side, return_tensors="np"))
    return {name: np.array([row[name] for row in inputs]) for name in inputs[0]}


def softmax(logits: np.ndarray) -> np.ndarray:
    """exp(x) / sum exp(x) over the last axis, in float64."""
    x = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def check_whole(name: str, value: Any, least: int = 1, optional: bool = False) -> None:
    """Raise ValueError unless `value` is a whole number from `least`, or None if `optional`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not ((whole and value >= least) or (optional and value is None)):
        or_none = " or None" if optional else ""
        raise ValueError(f"{name} must be a whole number from {least}{or_none}, got {value!r}")


def _checked_size(batch_size: Any) -> int:
    check_whole("batch_size", batch_size)
    return int(batch_size)


@contextmanager
def evaluation(model: PreTrainedModel) -> Iterator[None]:
    """The model in evaluation mode; afterwards every part of it is as it was."""
    trained = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in trained:
            module.__dict__["training"] = True
