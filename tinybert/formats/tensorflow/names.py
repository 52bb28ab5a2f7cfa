"""The PyTorch names of the variables in Google's BERT checkpoints."""

import re
from collections.abc import Sequence

_VALUE = ".ATTRIBUTES/VARIABLE_VALUE"  # ends every name of a TensorFlow 2 object
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"

# Variables of training: Adam's and LAMB's moments, counters, loss scales.
_TRAINING = {
    "adam_m", "adam_v", "lamb_m", "lamb_v", "Adam", "Adam_1", "AdamWeightDecayOptimizer",
    "AdamWeightDecayOptimizer_1", "BERTAdam", "BERTAdam_1", "beta1_power", "beta2_power",
    "global_step", "save_counter", "optimizer", ".OPTIMIZER_SLOT", "current_loss_scale",
    "good_steps", _GRAPH,
}  # fmt: skip

_TF1_PARTS = {
    "kernel": "weight", "gamma": "weight", "output_weights": "weight", "beta": "bias",
    "output_bias": "bias",
}  # fmt: skip

_TF2_PARTS = {
    "kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias",
    "_attention_layer": "attention.self", "_query_dense": "query", "_key_dense": "key",
    "_value_dense": "value", "_attention_output_dense": "attention.output.dense",
    "_attention_layer_norm": "attention.output.LayerNorm",
    "_intermediate_dense": "intermediate.dense", "_output_dense": "output.dense",
    "_output_layer_norm": "output.LayerNorm",
}  # fmt: skip
_TF2_EMBEDDINGS = ("word_embeddings", "position_embeddings", "token_type_embeddings")


def is_ignored(name: str) -> bool:
    """Return whether a variable belongs to the training and not to the model."""
    return not _TRAINING.isdisjoint(name.split("/"))


def is_object(name: str) -> bool:
    """Return whether a name is from TensorFlow 2's object graph."""
    return name.endswith(_VALUE)


def is_kernel(name: str) -> bool:
    """Return whether a variable is a dense layer's matrix (in, out), in PyTorch (out, in)."""
    return name.removesuffix("/" + _VALUE).endswith("/kernel")


def tf1_name(name: str) -> str:
    """Return the PyTorch name of a variable of google-research/bert, fine-tuned heads included.

    >>> tf1_name("bert/encoder/layer_11/output/LayerNorm/gamma")
    'bert.encoder.layer.11.output.LayerNorm.weight'

    run_classifier.py's bare ``output_weights`` is ``classifier.weight``, and run_squad.py's
    ``cls/squad/output_weights`` is ``qa_outputs.weight``.
    """
    parts = name.split("/")
    if parts[:2] == ["cls", "squad"]:
        parts[:2] = ["qa_outputs"]
    elif parts[0] in ("output_weights", "output_bias"):
        parts.insert(0, "classifier")
    parts = [re.sub(r"^layer_(\d+)$", r"layer.\1", part) for part in parts]
    parts[-1] = _TF1_PARTS.get(parts[-1], parts[-1])
    if parts[-1].endswith("_embeddings"):
        parts.append("weight")
    return ".".join(parts)


def tf2_name(name: str) -> str:
    """Return the PyTorch name, without ``bert.``, of a variable of the Model Garden's BERT encoder.

    Its layers are numbered: three embeddings, their norm, the encoder's layers, and the pooler,
    which is a single dense layer. Raises ValueError for a name of another model.
    """
    parts = name.removesuffix("/" + _VALUE).split("/")
    match = re.fullmatch(r"(?:model/)?layer_with_weights-(\d+)/(.+)", "/".join(parts))
    if match is None:
        raise ValueError(f"variable {name!r:.120} is not part of a BERT encoder")
    number, inner = int(match[1]), match[2].split("/")
    if number < 3 and inner == ["embeddings"]:
        return f"embeddings.{_TF2_EMBEDDINGS[number]}.weight"
    if inner[:2] == ["_attention_layer", "_output_dense"]:  # in newer versions
        inner[:2] = ["_attention_output_dense"]
    if number < 3 or not all(part in _TF2_PARTS for part in inner):
        raise ValueError(f"variable {name!r:.120} is not part of a BERT encoder")
    if number == 3:
        module = "embeddings.LayerNorm"
    elif len(inner) == 1:
        module = "pooler.dense"
    else:
        module = f"encoder.layer.{number - 4}"
    return ".".join([module, *(_TF2_PARTS[part] for part in inner)])


def tf2_shape(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the stored shape with the heads' axes joined to one, as in PyTorch's layers.

    Kernels of attention are (D, H, K), of its output (H, K, D), and its biases (H, K).
    """
    if is_kernel(name) and len(shape) == 3:
        if "_output_dense/" in name:
            return (shape[0] * shape[1], shape[2])
        return (shape[0], shape[1] * shape[2])
    if len(shape) == 2 and re.search(r"/_(query|key|value)_dense/bias/", name):
        return (shape[0] * shape[1],)
    return tuple(shape)
