"""Changes to an existing model: the size of its vocabulary, pruned attention heads, and gradient
checkpointing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from tinybert.autograd import no_grad, set_default_device
from tinybert.checks import check, check_integer, is_integer, plain
from tinybert.models.config import by_number
from tinybert.nn import Embedding, Linear, Module, Parameter
from tinybert.nn.init import full, normal_, skip_init


class Surgery(Module):
    """The part of a `PreTrainedModel` that changes its structure; the config follows."""

    supports_gradient_checkpointing: ClassVar[bool] = False

    config: Any
    base_model: Any
    get_input_embeddings: Callable[[], Embedding]
    set_input_embeddings: Callable[[Embedding], None]
    get_output_embeddings: Callable[[], Linear | None]
    tie_weights: Callable[[], None]

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = False,
    ) -> Embedding:
        """Change the size of the vocabulary: of the token embeddings, the head and the config.

        Args:
            new_num_tokens: the new size; None keeps the old one.
            pad_to_multiple_of: round the size up to a multiple of this.
            mean_resizing: set new rows to the mean of the old ones (Hewitt 2021); if False they are
                initialized at random. Biases of new tokens are 0.

        Returns the token embeddings. Rows of tokens that remain are not changed.
        """
        self._check_plain("resize_token_embeddings")
        check_integer("new_num_tokens", new_num_tokens, 1, optional=True)
        check_integer("pad_to_multiple_of", pad_to_multiple_of, 1, optional=True)
        old = self.get_input_embeddings()
        size = old.num_embeddings if new_num_tokens is None else new_num_tokens
        if pad_to_multiple_of is not None:
            size = -(-size // pad_to_multiple_of) * pad_to_multiple_of
        if size == old.num_embeddings:
            return old
        std = None if mean_resizing else self.config.initializer_range
        padding = old.padding_idx
        with skip_init():
            table = Embedding(1, 1)
        table.num_embeddings, table.embedding_dim = size, old.embedding_dim
        table.padding_idx = padding if padding is not None and padding < size else None
        table.weight = resized(old.weight, size, std)
        output = self.get_output_embeddings()
        self.set_input_embeddings(table)
        if output is not None and output.weight is not old.weight:
            output.weight = resized(output.weight, size, std)
            output.out_features = size
        if output is not None and output.bias is not None:
            output.bias = resized(output.bias, size)
        self.config.vocab_size = size
        self.tie_weights()
        return table

    def prune_heads(self, heads_to_prune: dict[int, Any]) -> None:
        """Remove attention heads: {layer: [heads]}, by their original numbers.

        Heads that are pruned already are ignored. `config.pruned_heads` records the pruned heads,
        so a saved model is pruned again before its weights are loaded. Raises ValueError for other
        layers and heads, and if no head would be left.
        """
        self._check_plain("prune_heads")
        base = self.base_model
        layers = self.config.num_hidden_layers
        for layer, heads in _read_heads(heads_to_prune).items():
            if not 0 <= layer < layers:
                raise ValueError(
                    f"heads_to_prune must name layers from 0 to {layers - 1}, got {layer}"
                )
            base._prune_layer(layer, set(heads))
            known = self.config.pruned_heads.get(layer, [])
            self.config.pruned_heads[layer] = sorted({*known, *heads})

    def _prune_layer(self, layer: int, heads: set[int]) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not support prune_heads")

    def _check_plain(self, method: str) -> None:
        """Raise ValueError if the model has adapters, which do not save a changed base model."""
        if getattr(self, "adapters", None) is not None:
            raise ValueError(f"{method} needs a model without adapters: call merge_adapters first")

    # --- gradient checkpointing -----------------------------------------------------------------

    def gradient_checkpointing_enable(self) -> None:
        """In training, recompute each layer in the backward pass instead of keeping its
        activations: less memory for more time.

        Raises ValueError for models that do not support it.
        """
        if not self.supports_gradient_checkpointing:
            raise ValueError(f"{type(self).__name__} does not support gradient checkpointing")
        self._set_gradient_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keep the activations of all layers again."""
        self._set_gradient_checkpointing(False)

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether layers are recomputed in the backward pass."""
        return any(getattr(m, "gradient_checkpointing", False) for m in self.modules())

    def _set_gradient_checkpointing(self, value: bool) -> None:
        for module in self.modules():
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = value


def _read_heads(given: dict[Any, Any]) -> dict[int, list[int]]:
    """Return {layer: [heads]} with integers of Python. Raises ValueError for anything else."""
    heads = by_number("heads_to_prune", given, "layer to a list of heads")
    for layer, row in heads.items():
        heads[layer] = plain(list(row)) if isinstance(row, Iterable) else [None]
        fits = all(map(is_integer, heads[layer]))
        check(
            "heads_to_prune", given, fits, "a dict from the number of a layer to a list of integers"
        )
    return heads


def resized(old: Parameter, size: int, std: float | None = None) -> Parameter:
    """Return a parameter (V, ...) with `size` rows: those of `old`, then new ones.

    New rows of a matrix are normal with standard deviation `std`, or the mean of the old rows if
    that is None; new elements of a bias are zeros.
    """
    with set_default_device(old.device):
        new = Parameter(full((size, *old.shape[1:]), 0.0).astype(old.dtype), old.requires_grad)
    kept = min(size, old.shape[0])
    with no_grad():
        if old.ndim > 1 and size > kept:
            if std is None:
                new[kept:] = old.mean(axis=0)
            else:
                fresh = Parameter(new.data[kept:].copy())
                normal_(fresh, std)
                new[kept:] = fresh
        new[:kept] = old[:kept]
    return new
