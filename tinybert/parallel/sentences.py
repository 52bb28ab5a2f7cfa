"""`SharedEmbedder`: sentence embeddings whose batches are divided among the ranks.

    rank 0                      the others
    encode(texts), ...          serve(): compute the batches that rank 0 tells
    close()                     serve() returns

Rank 0 alone reads, sorts and writes. A batch has the same texts on any number of ranks, so each
vector is the one that a single process computes.

Shapes   B texts of a batch, D numbers of a vector
Bytes    a rank sends its B D numbers of 4 bytes to rank 0, and a count; texts go to all ranks
"""

from __future__ import annotations

import numpy as np

from tinybert.autograd import no_grad
from tinybert.embedding import SentenceEmbedder
from tinybert.parallel.communicator import Communicator


class SharedEmbedder(SentenceEmbedder):
    """A `SentenceEmbedder` of several ranks; after loading, each rank calls `join`."""

    world: Communicator

    def join(self, world: Communicator) -> None:
        """Share the batches with the other ranks of `world`."""
        self.world, self.ranks = world, world.size

    def serve(self) -> None:
        """On a rank other than 0: compute batches for rank 0, until it calls `close`."""
        with no_grad():
            while (batches := self.world.gather_objects(None)[0]) is not None:
                if self.world.rank < len(batches):
                    vectors, longer = self._encode_batch(batches[self.world.rank])
                    self.world.send(vectors.astype("float32"), 0).wait()
                    self.world.send(np.array([longer], "int64"), 0).wait()

    def close(self) -> None:
        """On rank 0: let the other ranks return from `serve`."""
        self.world.gather_objects(None)

    def _encode_batches(self, batches: list[list[str]]) -> list[tuple[np.ndarray, int]]:
        if len(batches) == 1:
            return super()._encode_batches(batches)
        self.world.gather_objects(batches)
        found = super()._encode_batches(batches[:1])
        for rank, texts in enumerate(batches[1:], 1):
            vectors = self.world.recv((len(texts), self.dimension), "float32", rank)
            found.append((vectors, int(self.world.recv((1,), "int64", rank)[0])))
        return found
