"""Compare a checkpoint with the model that its configuration describes: names and shapes only."""

from __future__ import annotations

from typing import Any, NamedTuple

from tinybert.models import AutoConfig
from tinybert.models.auto import class_of
from tinybert.models.loading import load_weights
from tinybert.nn.init import hollow_init
from tinybert.weights.reader import TensorReader

SHOWN = 3  # names of missing weights


class ModelCheck(NamedTuple):
    """The result: whether all weights of the model were found, and a line that says so."""

    complete: bool
    text: str


def check_model(options: dict[str, Any] | None, checkpoint: TensorReader) -> ModelCheck:
    """Return whether the model of a config finds all of its weights in a checkpoint.

    The model is built without memory for its weights, and no tensor is read. Raises ValueError if
    fewer than half of the weights of the model without its head are found.
    """
    if options is None:
        return ModelCheck(False, "not compared with a model: there is no config.json")
    kind = options.get("model_type")
    if kind not in AutoConfig.classes:
        return ModelCheck(False, f"not compared with a model: model_type {kind!r:.40} is unknown")
    layers = options.get("num_hidden_layers")
    if isinstance(layers, int) and layers > len(checkpoint):  # before so many layers are made
        raise ValueError(f"num_hidden_layers is {layers}, but there are {len(checkpoint)} tensors")
    try:
        config = AutoConfig.for_model(**options)
        with hollow_init():
            model = class_of(config)(config)
        report, _ = load_weights(
            model, checkpoint, "it", model.base_model_prefix, False, lambda *_: None
        )
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        return ModelCheck(False, f"the config does not fit the weights: {reason}")
    if 2 * report.found < report.wanted:
        raise ValueError(
            f"only {report.found} of the {report.wanted} tensors of {report.model} were found: the "
            "config belongs to another model, or the tensors have other names"
        )
    missing = report.missing_keys
    if not missing:
        return ModelCheck(True, f"all weights of {report.model} were found")
    more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    return ModelCheck(
        False, f"{report.model} lacks {len(missing)} weights: {', '.join(missing[:SHOWN])}{more}"
    )
