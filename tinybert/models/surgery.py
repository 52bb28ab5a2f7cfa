"""Changing a model that exists: the size of its vocabulary, which weights are one, which heads
there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import no_grad, set_default_device
from tinybert.nn import Embedding, Linear, Module, Parameter
from tinybert.nn.init import full, normal_, skip_init


class Surgery(Module):
    """For a `PreTrainedModel`: what it changes, the config remembers."""

    config: Any
    base_model: Any

    def get_input_embeddings(self) -> Embedding:
        """The table of word embeddings."""
        if self.base_model is self:
            raise NotImplementedError(f"{type(self).__name__} does not name its input embeddings")
        return self.base_model.get_input_embeddings()

    def set_input_embeddings(self, embeddings: Embedding) -> None:
        """Exchange the table of word embeddings; `tie_weights` makes a tied head follow."""
        if self.base_model is self:
            raise NotImplementedError(f"{type(self).__name__} does not name its input embeddings")
        self.base_model.set_input_embeddings(embeddings)

    def get_output_embeddings(self) -> Linear | None:
        """The layer whose weight has a row for every word; None if there is none."""
        return None

    def tie_weights(self) -> None:
        """Let the output embeddings use the table of the input embeddings, if the config says so;
        a bias that is too short gets zeros.
        """
        output = self.get_output_embeddings()
        if output is None or not self.config.tie_word_embeddings:
            return
        output.weight = self.get_input_embeddings().weight
        output.out_features = output.weight.shape[0]
        if output.bias is not None and output.bias.shape[0] != output.out_features:
            output.bias = _resized(output.bias, output.out_features)

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = False,
    ) -> Embedding:
        """Give the vocabulary another size; the table of words, the head and the config follow.

        Args:
            new_num_tokens: the new size; as it is if None.
            pad_to_multiple_of: round the size up to a multiple of this.
            mean_resizing: new rows are the mean of the old ones (Hewitt 2021); if False they are
                drawn as fresh weights are. Biases of new words are 0.

        Returns the table of words. Rows that stay are as they were.
        """
        old = self.get_input_embeddings()
        size = old.num_embeddings if new_num_tokens is None else new_num_tokens
        for name, number in (("new_num_tokens", size), ("pad_to_multiple_of", pad_to_multiple_of)):
            if number is not None and (not isinstance(number, (int, np.integer)) or number < 1):
                raise ValueError(f"{name} must be a whole number from 1, got {number!r}")
        if pad_to_multiple_of is not None:
            size = -(-size // pad_to_multiple_of) * pad_to_multiple_of
        if size == old.num_embeddings:
            return old
        std = None if mean_resizing else self.config.initializer_range
        with skip_init():
            padding = old.padding_idx
            kept = padding if padding is not None and padding < size else None
            table = Embedding(1, 1)
        table.num_embeddings, table.embedding_dim, table.padding_idx = size, old.embedding_dim, kept
        table.weight = _resized(old.weight, size, std)
        output = self.get_output_embeddings()
        self.set_input_embeddings(table)
        if output is not None and output.weight is not old.weight:
            output.weight = _resized(output.weight, size, std)
            output.out_features = size
        if output is not None and output.bias is not None:
            output.bias = _resized(output.bias, size)
        self.config.vocab_size = size
        self.tie_weights()
        return table

    def prune_heads(self, heads_to_prune: dict[int, Any]) -> None:
        """Take attention heads out for good: {layer: [heads]}, by their original numbers.

        What is pruned already is passed over. The config remembers it in `pruned_heads`, so that a
        saved model is pruned again before its weights are read.
        """
        base = self.base_model
        layers = self.config.num_hidden_layers
        for layer, heads in heads_to_prune.items():
            if not 0 <= layer < layers:
                raise ValueError(f"layers must be from 0 to {layers - 1}, got {layer}")
            base._prune_layer(layer, set(heads))
            known = self.config.pruned_heads.get(layer, [])
            self.config.pruned_heads[layer] = sorted({*known, *heads})

    def _prune_layer(self, layer: int, heads: set[int]) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no heads that could be pruned")


def _resized(old: Parameter, size: int, std: float | None = None) -> Parameter:
    """A parameter (V, ...) with `size` rows: the old ones, then fresh ones.

    Fresh rows of a matrix are normal with standard deviation `std`, or the mean of the old rows if
    that is None; those of a bias are zeros.
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
