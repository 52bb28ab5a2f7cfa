"""Loading a model that is larger than the memory: its matrices stay in their file.

The weights of linear layers and embeddings become `StoredParameter`s; the rest, which is small, is
read as ever. A model of float16 or bfloat16 weights so needs a few blocks of memory beyond what the
computation itself takes; what the system keeps of the file in memory it can drop at any time.
"""

from __future__ import annotations

import numpy as np

from tinybert.autograd import Tensor
from tinybert.backend import to_device
from tinybert.models.loading import LoadingReport, load_weights, read_into
from tinybert.nn import Embedding, Linear, Module, Parameter
from tinybert.nn.stored import StoredParameter
from tinybert.weights.reader import TensorReader


def load_in_place(
    model: Module,
    checkpoint: TensorReader,
    source: str,
    prefix: str,
    ignore_mismatched: bool,
    device: str,
) -> tuple[LoadingReport, set[str]]:
    """As `load_weights`, for a model made inside `hollow_init`, whose weights have no memory yet.

    No parameter requires a gradient afterwards.
    """
    owners = [m for m in model.modules() if isinstance(m, (Linear, Embedding))]
    large = {id(module.weight) for module in owners}
    stored: dict[int, StoredParameter] = {}
    solid: set[int] = set()

    def solidify(tensor: Tensor) -> None:
        if id(tensor) not in solid:
            tensor.data = to_device(np.zeros(tensor.shape, tensor.dtype), device)
            solid.add(id(tensor))

    def fill(reader: TensorReader, key: str, tensor: Tensor) -> None:
        if id(tensor) in large:
            stored[id(tensor)] = StoredParameter(*reader.stored(key), tensor.dtype, device)
        else:
            solidify(tensor)
            read_into(reader, key, tensor)

    report, unset = load_weights(model, checkpoint, source, prefix, ignore_mismatched, fill)
    for module in owners:
        if id(module.weight) in stored:
            module.weight = stored[id(module.weight)]
    for tensor in (*model.parameters(), *model.buffers()):
        if not isinstance(tensor, StoredParameter):
            solidify(tensor)
        if isinstance(tensor, Parameter):
            tensor.requires_grad_(False)
    return report, unset
