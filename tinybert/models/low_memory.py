"""Loading a model that is larger than the memory: its matrices stay in their files.

The weights of linear layers and embeddings become `StoredParameter`s, which convert a block of rows
when it is used; all other parameters, which are small, are loaded as usual. The operating system
can discard the cached pages of the files at any time.
"""

from __future__ import annotations

import numpy as np

from tinybert.autograd import Tensor
from tinybert.backend import to_device
from tinybert.models.loading import load_weights, read_into
from tinybert.models.loading_report import LoadingReport
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
    """Load weights like `load_weights`, into a model that was created inside `hollow_init` and has
    no memory for its weights yet. Afterwards no parameter requires a gradient.
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
