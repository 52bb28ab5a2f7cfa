"""One rank's plan of an all-reduce in a ring.

The arrays of p ranks are cut into p parts, numbered from 0. In each of 2 (p - 1) steps rank r sends
one part to rank r + 1 and receives one from rank r - 1 (the last rank's next is rank 0). In step 0
it sends the part of its own number. In each later step it sends the part that it received in the
step before.

In the first p - 1 steps it adds what it receives to its own part of that number. Then one of its
parts is finished. In the other p - 1 steps it receives finished parts, which replace its own.
"""


def ring(rank: int, ranks: int) -> list[tuple[int, int, bool]]:
    """Return for each step: the part sent, the part received, and whether it is added."""
    # TODO: which part is sent in a step, and which one comes from the rank before?
    # --- solution
    steps = []
    for step in range(2 * (ranks - 1)):
        sent = (rank - step) % ranks
        received = (rank - 1 - step) % ranks
        steps.append((sent, received, step < ranks - 1))
    return steps
    # --- end
