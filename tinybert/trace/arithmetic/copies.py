"""Operations that copy elements to other places: reshape, permute, heads, slices, joins.

Where an element comes from is found by running the operation on the places themselves.
"""

from __future__ import annotations

import math

import numpy as np

from tinybert.trace.arithmetic.terms import Term, number, total
from tinybert.trace.arithmetic.work import (
    ANY,
    Numbers,
    Unknown,
    Work,
    backward,
    copy,
    element,
    forward,
)  # fmt: skip
from tinybert.trace.replay import operation_of, run

COPIES = (
    "Reshape", "Permute", "SplitHeads", "MergeHeads", "GetItem", "Expand", "Concat", "Stack",
    "Split", "Roll", "Flip",
)  # fmt: skip


def places(work: Work) -> list[np.ndarray]:
    """Return for each result of the forward the numbers of the elements that it is copied from.

    The elements of all inputs are numbered through.
    """
    why, kind, options = operation_of(work.forward)
    if why:
        raise Unknown("the options of this step are not in the record")
    numbers, first = [], 0
    for value in work.forward.inputs:
        size = math.prod(value.shape)
        numbers.append(np.arange(first, first + size).reshape(value.shape))
        first += size
    found = run(kind, numbers, options)
    return list(found) if isinstance(found, tuple) else [found]


@forward(*COPIES)
def copied(work: Work) -> Term:
    """y[i] = x[j]."""
    number_of = int(places(work)[work.position][work.index])
    for value in work.forward.inputs:
        size = math.prod(value.shape)
        if number_of < size:
            index = np.unravel_index(number_of, value.shape)
            return copy(value.name, work.x(value.name), tuple(map(int, index)))
        number_of -= size
    raise AssertionError("an element is a copy of one of the inputs")


def copied_dx(work: Work) -> Term:
    """Return dx[j] = the sum of dy over all copies of x[j]."""
    number_of = 0
    for value in work.forward.inputs:
        if f"d{value.name}" == work.result.name:
            number_of += int(np.ravel_multi_index(work.index, value.shape)) if value.shape else 0
            break
        number_of += math.prod(value.shape)
    names, found = [], []
    for value, origin in zip(work.step.inputs, places(work), strict=True):
        for index in np.argwhere(origin == number_of).tolist():
            names.append((value.name, index))
            found.append(work.dy(value.name)[tuple(index)])
    if len(found) == 1:
        return Term(found[0], element(*names[0]))
    return total(lambda dy: dy, np.array(found)) if found else number(0)


for operation in COPIES:
    backward(operation, ANY)(copied_dx)


@forward("Embedding")
def embedding(work: Work) -> Term:
    """y[..., k] = weight[id, k]."""
    *position, k = work.index
    ids = work.let(element("ids", position), int(work.x("ids")[tuple(position)]))
    return copy("weight", work.x("weight"), (int(ids.value), k))


@backward("Embedding", "dweight")
def embedding_dweight(work: Work) -> Term:
    """Return dweight[v, k] = the sum of dy[..., k] where ids is v."""
    row, k = work.index
    if row == work.option("padding_idx"):
        return number(0)
    found = np.argwhere(work.x("ids").array == row).tolist()
    if len(found) == 1:
        return copy("dy", work.dy(), (*found[0], k))
    dy: Numbers = work.dy()
    return total(lambda dy: dy, np.array([dy[(*position, k)] for position in found]))
