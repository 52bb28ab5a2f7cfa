"""`Batches`: an endless, shuffled and resumable sequence of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tinybert.checks import check_flag, check_integer

Batch = dict[str, Any]  # the keyword arguments of a model's call, as NumPy arrays
Collator = Callable[[list[Any], "np.random.Generator"], Batch]
WINDOW = 50  # batches that are sorted by length together


class Examples(Protocol):
    """What `Batches` draws from: a data set, or one epoch of it."""

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each example: (N,)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class Batches(Iterator[Batch]):
    """Iterate over batches without end: epoch after epoch, each in a new order.

    Order and random choices (masks, for example) are functions of `seed`, the epoch and the
    number of the batch. Therefore the state is only a position, and an iterator that continues from
    it yields the same batches as one that was never stopped.

    Args:
        examples: the data; or a function from the number of an epoch and a generator to the
            examples of this epoch, for data that is drawn anew each time.
        collate: makes one batch from a list of examples; random choices use the given generator.
        batch_size: the number of examples in a batch; the last batch of an epoch may be smaller.
        seed: the seed of all random choices.
        by_length: whether to put examples of similar length into one batch, which reduces padding.
            Windows of 50 batches are sorted by length; the order of the batches is random.

    Attributes:
        epoch: the number of complete epochs before the next batch.
        position: the number of batches taken from this epoch.

    Raises ValueError if an epoch has no examples.
    """

    def __init__(
        self,
        examples: Examples | Callable[[int, np.random.Generator], Examples],
        collate: Collator,
        batch_size: int,
        seed: int = 0,
        by_length: bool = True,
    ) -> None:
        check_integer("batch_size", batch_size, 1)
        check_integer("seed", seed, 0)
        check_flag("by_length", by_length)
        self._examples, self._collate = examples, collate
        self.batch_size, self.seed, self.by_length = batch_size, seed, by_length
        self.epoch, self.position = 0, 0
        self._start_epoch()

    def __len__(self) -> int:
        """Return the number of batches in the current epoch."""
        return len(self._order)

    def __next__(self) -> Batch:
        if self.position == len(self._order):
            self.epoch, self.position = self.epoch + 1, 0
            self._start_epoch()
        rng = np.random.default_rng([self.seed, self.epoch, self.position])
        rows = self._order[self.position]
        self.position += 1
        return self._collate([self._data[int(row)] for row in rows], rng)

    def _start_epoch(self) -> None:
        rng = np.random.default_rng([self.seed, self.epoch])
        data = self._examples
        self._data: Any = data(self.epoch, rng) if callable(data) else data
        if len(self._data) == 0:
            raise ValueError("examples: there are none; is the text shorter than one example?")
        lengths = np.asarray(self._data.lengths) if self.by_length else None
        self._order = order_of_batches(len(self._data), self.batch_size, rng, lengths)

    def state_dict(self) -> dict[str, int]:
        """Return the position, and what must be equal to continue from it."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "batches": len(self._order),
        }

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Continue from a saved position; ValueError if seed, batch size or data differ."""
        for name in ("seed", "batch_size"):
            if state_dict[name] != getattr(self, name):
                raise ValueError(
                    f"{name} was {state_dict[name]} when this run was saved, now it is "
                    f"{getattr(self, name)}; the batches would not be the same"
                )
        self.epoch, self.position = state_dict["epoch"], state_dict["position"]
        self._start_epoch()
        if len(self._order) != state_dict["batches"]:
            raise ValueError(
                f"the data gave {state_dict['batches']} batches an epoch when this run was saved, "
                f"now it gives {len(self._order)}; continue with the same files and options"
            )


def order_of_batches(
    count: int, batch_size: int, rng: np.random.Generator, lengths: np.ndarray | None = None
) -> Sequence[np.ndarray]:
    """Return the example numbers of each batch: a random partition of 0 .. count - 1.

    With `lengths` (count,), examples of similar length are in one batch.
    """
    order = rng.permutation(count)
    if lengths is not None:
        size = WINDOW * batch_size
        windows = [order[start : start + size] for start in range(0, count, size)]
        order = np.concatenate([w[np.argsort(lengths[w], kind="stable")] for w in windows])
    batches = [order[start : start + batch_size] for start in range(0, count, batch_size)]
    return batches if lengths is None else [batches[i] for i in rng.permutation(len(batches))]
