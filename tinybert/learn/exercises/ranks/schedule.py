"""The order of work of a pipeline stage: 1F1B.

There are p stages, numbered from 0, and m micro-batches, numbered from 1. +k is the forward pass of
micro-batch k, and -k its backward pass. A stage

    warms up      with p - 1 - stage forward passes (or m, if there are fewer micro-batches)
    alternates    one forward, one backward pass, until all forward passes are done
    cools down    with the backward passes that are left

The last stage has no warm-up: +1 -1 +2 -2 ... So a stage keeps the activations of at most
p - stage micro-batches.
"""


def schedule(stage: int, stages: int, count: int) -> list[int]:
    """Return the work of a stage in its order: each of +1 ... +count and -1 ... -count once."""
    # TODO: warm up, alternate, cool down.
    # --- solution
    first = min(stages - 1 - stage, count)
    order = list(range(1, first + 1))
    for k in range(1, count - first + 1):
        order += [first + k, -k]
    return order + [-k for k in range(count - first + 1, count + 1)]
    # --- end
