"""Operations that copy elements to other places: reshape, permute, heads, slices, joins, frames.

Where an element comes from is found by running the operation on the places themselves.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.ops.gather import Gather
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
    "Split", "Roll", "Flip", "Gather", "Pad", "Tril", "Triu", "PackTokens",
    "UnpackTokens",
)  # fmt: skip


def places(work: Work) -> list[np.ndarray]:
    """Return for each result of the forward the numbers of the elements that it is copied from.

    The elements of all inputs are numbered through, from 1; 0 is an element that is not a copy. An
    input "index" says what is copied and is not numbered.
    """
    why, kind, options = operation_of(work.forward)
    if why:
        raise Unknown("the options of this step are not in the record")
    numbers: list[Any] = []
    first = 1
    for value in work.forward.inputs:
        if value.name == "index":
            numbers.append(work.x("index").array)
            continue
        size = math.prod(value.shape)
        numbers.append(np.arange(first, first + size).reshape(value.shape))
        first += size
    if "value" in options:  # of what is put around x
        options = {**options, "value": 0}
    found = run(kind, numbers, options)
    return list(found) if isinstance(found, tuple) else [found]


@forward(*COPIES)
def copied(work: Work) -> Term:
    """y[i] = x[j]; what is not a copy is a constant."""
    number_of = int(places(work)[work.position][work.index]) - 1
    if number_of < 0:
        return number(float(work.options.get("value", 0)))
    for value in work.forward.inputs:
        size = math.prod(value.shape)
        if number_of < size:
            index = np.unravel_index(number_of, value.shape)
            return copy(value.name, work.x(value.name), tuple(map(int, index)))
        number_of -= size
    raise AssertionError("an element is a copy of one of the inputs")


def copied_dx(work: Work) -> Term:
    """Return dx[j] = the sum of dy over all copies of x[j]."""
    number_of = 1
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


# --- scatter_add ----------------------------------------------------------------------------------


@forward("ScatterAdd")
def scatter_add(work: Work) -> Term:
    """y[i] = x[i] + the sum of source where index leads to i."""
    added = np.argwhere(_targets(work) == np.ravel_multi_index(work.index, work.x().shape))
    source = work.x("source")
    x = number(work.x()[work.index])
    return x + total(lambda s: s, np.array([source[tuple(i)] for i in added])) if len(added) else x


@backward("ScatterAdd", "dx")
def scatter_add_dx(work: Work) -> Term:
    """Return dx = dy."""
    return copy("dy", work.dy(), work.index)


@backward("ScatterAdd", "dsource")
def scatter_add_dsource(work: Work) -> Term:
    """Return dsource[j] = dy where index leads from j; 0 for an element that is not used."""
    targets = _targets(work)
    if any(i >= n for i, n in zip(work.index, targets.shape, strict=True)):
        return number(0)
    index = np.unravel_index(int(targets[work.index]), work.x().shape)
    return copy("dy", work.dy(), tuple(map(int, index)))


def _targets(work: Work) -> Any:
    """Return for each element of index the place in x, counted in C order, that it leads to."""
    shape = work.x().shape
    numbers = np.arange(math.prod(shape)).reshape(shape)
    return run(Gather, [numbers, work.x("index").array], {"axis": work.option("axis")})
