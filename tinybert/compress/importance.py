"""How important the parts of a model are, by their activations on calibration text.

For a text of T tokens, the activation of a unit is

    channel i      |norm(x)_i|, in each norm of the model; the norms are added up
    head i         the length of its output, |softmax(q k^T / sqrt(K)) v|_2
    neuron i       |activation(x W_1)_i|, and in MEGA, value i: |(attention(x) * gate)_i|

Activations are aggregated over the tokens of a text, then over texts: by default as in the paper,
by the mean and by the L2 norm. No gradient and no label is needed. Layers have two measures:

    block importance    1 - mean of cos(x, y), x the input and y the output of the layer
    perplexity          of the model without the layer

Source   Muralidharan et al. 2024, arXiv:2407.14679, section 2.2; for block importance Men et al.
         2024, arXiv:2403.03853. Of neurons the paper shows the activation before the nonlinearity;
         here, as in the authors' code, it is what the second matrix gets, so a neuron with
         importance 0 has no effect.
Shapes   B batch, T tokens, D hidden, H heads, K head size, F neurons, L layers
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tinybert.autograd import no_grad
from tinybert.checks import check_choice
from tinybert.compress.structure import Structure, head_size, structure_of
from tinybert.models.mega.feed_forward import PlainLayerNorm
from tinybert.nn import LayerNorm
from tinybert.pipelines.base import evaluation

AGGREGATES = ("mean", "l2")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Importance(dict[str, np.ndarray]):
    """The importance of each unit: "layers" (L,), "hidden" (D,), "heads" (L, H), "neurons" (L, F),
    and of a MEGA "values" (L, V).

    Attributes:
        texts: how many texts were used.
        spread: for each norm by name, the mean square (D,) of each input channel over all tokens;
            for LayerNorm, after the mean is subtracted.
    """

    def __init__(self, **scores: np.ndarray) -> None:
        super().__init__(**scores)
        self.texts = 0
        self.spread: dict[str, np.ndarray] = {}


class _Scores:
    """The running aggregate of the activations of N units."""

    def __init__(self, over_tokens: str, over_texts: str) -> None:
        self.over_tokens, self.over_texts = over_tokens, over_texts
        self.texts, self.total = 0, np.zeros(1)

    def add(self, activations: np.ndarray, real: np.ndarray) -> None:
        """Add activations (B, T, N) >= 0; `real` (B, T) is False for padding."""
        a = activations.astype(np.float64)
        if self.over_tokens == "mean":
            rows = np.einsum("btn,bt->bn", a, real) / real.sum(axis=1)[:, None]
        else:
            rows = np.sqrt(np.einsum("btn,btn,bt->bn", a, a, real))
        self.texts += len(rows)
        self.total = self.total + (rows if self.over_texts == "mean" else rows**2).sum(axis=0)

    def result(self) -> np.ndarray:
        """Return the importance (N,)."""
        return self.total / self.texts if self.over_texts == "mean" else np.sqrt(self.total)


def importance(
    model: Any,
    batches: Iterable[Mapping[str, Any]],
    over_tokens: str = "mean",
    over_texts: str = "l2",
) -> Importance:
    """Return the importance of all units of a model, with block importance for the layers.

    Args:
        model: a model of one of the four families, with or without a head.
        batches: of calibration text: dicts with "input_ids" (B, T) and, if there is padding,
            "attention_mask" (B, T). Other entries but "token_type_ids" are ignored.
        over_tokens, over_texts: "mean" or "l2".

    Raises ValueError if `batches` is empty or a text has no tokens.
    """
    check_choice("over_tokens", over_tokens, AGGREGATES)
    check_choice("over_texts", over_texts, AGGREGATES)
    structure = structure_of(model)
    recorder = _Recorder(model, structure, lambda: _Scores(over_tokens, over_texts))
    with no_grad(), evaluation(model), recorder:
        for batch in batches:
            recorder.run({name: batch[name] for name in INPUTS if name in batch})
    return recorder.result()


class _Recorder:
    """Measures activations by hooks on the modules of a model. A context manager."""

    def __init__(self, model: Any, structure: Structure, new: Callable[[], _Scores]) -> None:
        self.model, self.structure, self.new = model, structure, new
        self.scores: dict[str, _Scores] = {}
        self.parts: dict[str, list[np.ndarray]] = {}
        self.stack = model.base_model.get_submodule(structure.layers)
        self.cosines, self.tokens = np.zeros(len(self.stack)), 0
        self.spread: dict[str, np.ndarray] = {}
        self.real: np.ndarray = np.zeros((0, 0), bool)  # (B, T), of the current batch

    def __enter__(self) -> _Recorder:
        structure, base = self.structure, self.model.base_model
        self.hooks = []
        for name, module in base.named_modules():
            if structure.is_norm(name, ""):
                self.hooks.append(module.register_forward_hook(self._norm(name)))
        for number, layer in enumerate(self.stack):
            self.hooks.append(layer.register_forward_hook(self._layer(number)))
            for unit, name in structure.inputs.items():
                if unit == "neurons" and not self._has_neurons():
                    continue
                hook = self._input(f"{unit}.{number}", unit)
                self.hooks.append(layer.get_submodule(name).register_forward_pre_hook(hook))
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _has_neurons(self) -> bool:
        return getattr(self.model.config, "use_normalized_ffn", True)

    def run(self, inputs: dict[str, Any]) -> None:
        """Run the base model on a batch."""
        ids = np.asarray(inputs["input_ids"])
        mask = inputs.get("attention_mask")
        self.real = np.ones(ids.shape, bool) if mask is None else np.asarray(mask) != 0
        empty = np.flatnonzero(~self.real.any(axis=1))
        if empty.size:
            raise ValueError(
                f"batches: each text must have a token, but attention_mask is 0 in all of row "
                f"{empty[0]}"
            )
        self.tokens += int(self.real.sum())
        self.model.base_model(**inputs, use_cache=False)

    # --- hooks ----------------------------------------------------------------------------------

    def _norm(self, name: str) -> Any:
        def hook(module: Any, args: tuple, output: Any) -> None:
            self._add(f"hidden.{name}", np.abs(output.numpy()))
            x = self._whole(f"spread.{name}", args[0].numpy())
            if x is not None:
                self.spread[name] = self.spread.get(name, 0) + self._squares(module, x)

        return hook

    def _squares(self, module: Any, x: np.ndarray) -> np.ndarray:
        """Return the sums (D,) of what a norm takes the mean of: squares, of LayerNorm after the
        mean is subtracted.
        """
        x = x[self.real].astype(np.float64)  # (N, D)
        if isinstance(getattr(module, "norm", module), (LayerNorm, PlainLayerNorm)):
            x = x - x.mean(axis=1, keepdims=True)
        return (x**2).sum(axis=0)

    def _input(self, name: str, unit: str) -> Any:
        size = head_size(self.model.config) if unit == "heads" else 1

        def hook(module: Any, args: tuple) -> None:
            x = args[0].numpy()
            heads = x.reshape(*x.shape[:2], -1, size)  # (B, T, H, K)
            self._add(name, np.abs(x) if size == 1 else np.linalg.norm(heads, axis=-1))

        return hook

    def _layer(self, number: int) -> Any:
        def hook(module: Any, args: tuple, output: Any) -> None:
            x, y = (part.numpy().astype(np.float64) for part in (args[0], output.hidden_states))
            lengths = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
            cosine = (x * y).sum(axis=-1) / np.maximum(lengths, np.finfo(np.float64).tiny)
            self.cosines[number] += cosine[self.real].sum()

        return hook

    def _add(self, name: str, activations: np.ndarray) -> None:
        """Add activations (B, t, N) to a score."""
        whole = self._whole(name, activations)
        if whole is not None:
            self.scores.setdefault(name, self.new()).add(whole, self.real)

    def _whole(self, name: str, part: np.ndarray) -> np.ndarray | None:
        """Return an array (B, T, N), or None if the model computes it in chunks (B, t, N) of the
        text and this is not the last one.
        """
        parts = self.parts.setdefault(name, [])
        parts.append(part)
        if sum(part.shape[1] for part in parts) < self.real.shape[1]:
            return None
        return np.concatenate(self.parts.pop(name), axis=1)

    # --- results --------------------------------------------------------------------------------

    def result(self) -> Importance:
        """Return the scores by unit."""
        if not self.tokens:
            raise ValueError("batches must not be empty: importance is measured on text")
        found = Importance(layers=1 - self.cosines / self.tokens)
        units: dict[str, list[np.ndarray]] = {}
        for name, score in self.scores.items():
            units.setdefault(name.partition(".")[0], []).append(score.result())
            found.texts = score.texts
        found.spread = {name: total / self.tokens for name, total in self.spread.items()}
        found["hidden"] = np.sum(units.pop("hidden"), axis=0)
        found.update({unit: np.stack(scores) for unit, scores in units.items()})
        return found


def layers_left_out(model: Any, evaluate: Callable[[Any], float]) -> np.ndarray:
    """Return `evaluate(model)` without each of the L layers in turn: (L,).

    The layer is left out by a hook that gives its input as its output.
    """
    found = []
    for layer in model.base_model.get_submodule(structure_of(model).layers):
        hook = layer.register_forward_hook(
            lambda module, args, output: output._replace(hidden_states=args[0])
        )
        try:
            found.append(evaluate(model))
        finally:
            hook.remove()
    return np.array(found)
