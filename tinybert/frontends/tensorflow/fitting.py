"""`compile`, `fit`, `evaluate` and `predict`: training and prediction as Keras models have them.

The training loop is the project's `Trainer`. The loss is the model's own, averaged over a batch.
"""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import fields
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinybert.autograd import Tensor, no_grad
from tinybert.checks import check_choice, check_flag, check_integer
from tinybert.model_output import ModelOutput
from tinybert.models.arguments import tensor_of
from tinybert.models.base import PreTrainedModel
from tinybert.training import Batches, Trainer, TrainingConfig
from tinybert.training.batches import Batch
from tinybert.training.config import OPTIMIZERS

# The values of Keras, where they differ from those of TrainingConfig.
DEFAULTS: dict[str, Any] = {
    "learning_rate": 0.001,
    "warmup": 0.0,
    "schedule": "constant",
    "weight_decay": 0.0,
    "max_grad_norm": None,
    "save_every": None,
}


class History(NamedTuple):
    """What `fit` returns. `history["loss"]` has the mean loss of each epoch."""

    history: dict[str, list[float]]


class Fitting(PreTrainedModel):
    """The methods of a model that train it and apply it to arrays."""

    label_names: ClassVar[tuple[str, ...]]
    label_of_output: ClassVar[dict[str, str]] = {}  # where there are two labels
    options: dict[str, Any] | None = None
    call: Any

    def compile(
        self, optimizer: str = "adam", loss: None = None, metrics: None = None, **options: Any
    ) -> None:
        """Choose how `fit` trains.

        Args:
            optimizer: "adamw", "adam", "lamb" or "sgd". Keras's default, "rmsprop", is not one.
            loss, metrics: None. The loss is the model's own; others are not supported.
            **options: of `TrainingConfig`, such as learning_rate=3e-5. Defaults are as in Keras: a
                constant rate of 0.001, no warm-up, weight decay or clipping.

        Raises ValueError for other values and options.
        """
        check_choice("optimizer", optimizer, OPTIMIZERS)
        if loss is not None or metrics is not None:
            raise ValueError("loss and metrics must be None: the loss is the model's own")
        known = {field.name for field in fields(TrainingConfig)} - {"steps", "optimizer"}
        if unknown := sorted(options.keys() - known):
            raise ValueError(f"unknown options {unknown}; known are {sorted(known)}")
        self.options = {**DEFAULTS, **options, "optimizer": optimizer}
        TrainingConfig(steps=1, **self.options)

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        epochs: int = 1,
        shuffle: bool = True,
        folder: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train the model on arrays; show progress.

        Args:
            x: input_ids (N, T); or a list of the arguments of a call, by position; or a dict, by
                name. N examples in each array.
            y: the labels (N, ...); or a dict, by the name of the label or of its output; or None if
                x has them. Two kinds of labels need a dict.
            batch_size: of the examples of one step. epochs: how often each is used.
            shuffle: whether each epoch has its own random order.
            folder: where the Trainer writes its log and the model; a temporary one if None.

        Each call starts with a new optimizer. Raises RuntimeError before `compile`, ValueError for
        arrays of different N and for labels that are missing or unknown.
        """
        if self.options is None:
            raise RuntimeError('call compile first: model.compile(optimizer="adam")')
        check_flag("shuffle", shuffle)
        check_integer("epochs", epochs, 1)
        arrays = self._read(x, y)
        if missing := [name for name in ("input_ids", *self.label_names) if name not in arrays]:
            raise ValueError(f"fit needs {', '.join(missing)}")
        count = len(arrays["input_ids"])
        batches = (Batches if shuffle else InOrder)(
            Rows(count),
            lambda rows, rng: _rows(arrays, rows),
            batch_size,
            self.options.get("seed", 0),
            by_length=False,
        )
        steps = len(batches)
        config = TrainingConfig(steps=steps * epochs, **self.options)
        seen: list[tuple[float, int]] = []

        def loss(model: Any, batch: Batch) -> Tensor:
            each = model(**batch, training=True).loss
            mean = each.mean()
            seen.append((float(mean), each.size))
            return mean

        temporary = tempfile.TemporaryDirectory() if folder is None else nullcontext(folder)
        with temporary as place:
            trainer = Trainer(self, batches, config, place, loss=loss, count=lambda batch: 1)
            trainer.train()
        parts = [seen[start : start + steps] for start in range(0, len(seen), steps)]
        return History({"loss": [_mean(part) for part in parts]})

    def evaluate(self, x: Any, y: Any = None, batch_size: int = 32) -> float:
        """Return the mean loss on arrays; the arguments are those of `fit`."""
        arrays = self._read(x, y)
        if missing := [name for name in self.label_names if name not in arrays]:
            raise ValueError(f"evaluate needs {', '.join(missing)}")
        with no_grad():
            outputs = [self(**batch).loss for batch in _in_batches(arrays, batch_size)]
        return _mean([(float(loss.mean()), loss.size) for loss in outputs])

    def predict(self, x: Any, batch_size: int = 32) -> ModelOutput:
        """Return the output for arrays x as in `fit`: NumPy arrays of all batches joined."""
        with no_grad():
            outputs = [self(**b) for b in _in_batches(self._read(x, None), batch_size)]
        joined = {name: _join([output[name] for output in outputs]) for name in outputs[0]}
        return type(outputs[0])(**joined)

    def _read(self, x: Any, y: Any) -> dict[str, np.ndarray]:
        """Return inputs and labels by the names of the call's arguments, (N, ...) each."""
        names = [*inspect.signature(self.call).parameters]
        given: dict[str, Any] = {"input_ids": x}
        if isinstance(x, (list, tuple)):
            given = dict(zip(names, x, strict=False))
        elif isinstance(x, Mapping):
            given = dict(x)
        labels = self.label_names
        if isinstance(y, Mapping):
            outputs = {"logits": labels[0]} if len(labels) == 1 else self.label_of_output
            given |= {outputs.get(str(name), str(name)): value for name, value in y.items()}
        elif y is not None:
            if len(labels) != 1:
                raise ValueError(f"y must be a dict with {' and '.join(labels) or 'no labels'}")
            given[labels[0]] = y
        arrays = {
            name: tensor_of(name, value, "cpu").numpy()
            for name, value in given.items()
            if value is not None
        }
        sizes = {name: len(array) if array.ndim else None for name, array in arrays.items()}
        if len(set(sizes.values())) != 1 or not all(sizes.values()):
            raise ValueError(f"all arrays need the same number of examples, not 0, got {sizes}")
        return arrays


class Rows:
    """The numbers of the examples, 0 to count - 1: what `Batches` draws from."""

    def __init__(self, count: int) -> None:
        self.lengths = np.ones(count, np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> int:
        return index


class InOrder(Batches):
    """Batches whose examples are in the given order in every epoch."""

    def _start_epoch(self) -> None:
        super()._start_epoch()
        order, size = np.arange(len(self._data)), self.batch_size
        self._order = [order[start : start + size] for start in range(0, len(order), size)]


def _rows(arrays: dict[str, np.ndarray], rows: Any) -> Batch:
    return {name: array[rows] for name, array in arrays.items()}


def _in_batches(arrays: dict[str, np.ndarray], batch_size: int) -> Iterator[Batch]:
    check_integer("batch_size", batch_size, 1)
    count = len(next(iter(arrays.values())))
    for start in range(0, count, batch_size):
        yield _rows(arrays, slice(start, start + batch_size))


def _mean(losses: list[tuple[float, int]]) -> float:
    """Return the mean of losses, each weighted by the number of values that it is the mean of."""
    return sum(loss * size for loss, size in losses) / sum(size for _, size in losses)


def _join(parts: list[Any]) -> Any:
    """Return the parts of all batches as one array, or as tuples of arrays."""
    if isinstance(parts[0], tuple):
        return tuple(_join(list(members)) for members in zip(*parts, strict=True))
    return np.concatenate([part.numpy() for part in parts])
