"""`export_onnx`: write a model as an ONNX file, for inputs of any size.

The model runs a few times on small inputs of different sizes while its steps are recorded. From
these records `record` makes one for any size, and `operations` its nodes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.atomic import atomic_write
from tinybert.autograd import no_grad
from tinybert.checks import check_flag
from tinybert.export.graph import Graph
from tinybert.export.operations import FUNCTIONS, IR_VERSION, OPERATIONS, OPSET
from tinybert.export.record import Array, Recorded, record
from tinybert.export.sizes import Size, runs
from tinybert.export.traced import call, given, tracing
from tinybert.models.arguments import argument_names
from tinybert.models.base import PreTrainedModel
from tinybert.models.bert import BertLayer
from tinybert.nn.packing import padded
from tinybert.nn.stored import StoredParameter
from tinybert.progress import progress_bar

LARGEST_FILE = (1 << 31) - (1 << 20)  # protobuf has a limit of 2 GiB
SMALL = 256  # bytes; shapes and other small tensors stay in the file, which run times read first
ALIGNMENT = 4096  # of tensors in a data file, which may be memory-mapped
PRODUCER = "tinybert"


def export_onnx(
    model: Any,
    path: str | os.PathLike[str],
    *,
    output_hidden_states: bool = False,
    output_attentions: bool = False,
    external_data: bool | None = None,
) -> list[str]:
    """Write a model as an ONNX file and return the names of its outputs.

    The inputs have the names and shapes of the model's own: `input_ids` and `attention_mask`
    (batch, length), for multiple choice (batch, choices, length), `token_type_ids` if the model has
    token types, and for cross-attention `encoder_hidden_states` and `encoder_attention_mask`. All
    are required; batch and length are free. The outputs are those of the model without its cache:
    `logits`, or `last_hidden_state` and `pooler_output`. Padding is computed as transformers does,
    not left at 0. With MEGA's chunks the length must be a multiple of `chunk_size`.

    Args:
        model: a model of any family, with or without a head, on the CPU. It computes as in
            evaluation, also if it is in training mode.
        path: the file to write.
        output_hidden_states, output_attentions: write these outputs too, one for each layer:
            `hidden_states.0`, ...
        external_data: write the weights into `path` + ".data". By default only if they are larger
            than 2 GB, the limit of an ONNX file.

    Source: ONNX, opset 17. Raises ImportError without the package onnx, and ValueError for what
    cannot be exported, naming the module and the function.
    """
    from tinybert.formats.onnx.library import onnx_library

    onnx = onnx_library()
    for name, flag in (("output_hidden_states", output_hidden_states),
                       ("output_attentions", output_attentions)):  # fmt: skip
        check_flag(name, flag)
    _check_model(model)
    options: dict[str, Any] = {"return_dict": True}
    known = argument_names(type(model).forward) or {}
    options |= {"use_cache": False} if "use_cache" in known else {}
    options |= {
        "output_hidden_states": output_hidden_states, "output_attentions": output_attentions
    }  # fmt: skip
    inputs = input_shapes(model)
    sizes = runs(*_smallest_sizes(model, inputs))
    outputs = []
    with _as_exported(model), no_grad(), padded(), tracing(model, OPERATIONS):
        for run in sizes:
            values = _sample(model, inputs, run)
            traced = {name: given("input", array, name) for name, array in values.items()}
            if hasattr(model.config, "rope_theta"):  # else angles are computed on the host
                traced["position_ids"] = call("arange", np.arange, run["length"])[None]
            outputs.append(_tensors(model(**traced, **options)))
    steps, results = record(outputs, sizes)
    places = {
        size: (name, axis)
        for name, shape in reversed(inputs.items())
        for axis, size in enumerate(shape)
        if isinstance(size, str)
    }
    graph = Graph(onnx, steps, places)
    parameters = _emit(graph, type(model).__name__)
    proto = _proto(onnx, model, graph, inputs, results)
    used = {name for node in proto.graph.node for name in node.input}
    weights = {name: a for name, a in (parameters | graph.constants).items() if name in used}
    _save(onnx, proto, weights, Path(path), external_data)
    return list(results)


def _check_model(model: Any) -> None:
    if not isinstance(model, PreTrainedModel):
        raise TypeError(f"model must be a model of tinybert, got {type(model).__name__}")
    if str(model.device) != "cpu":
        raise ValueError(f"model must be on the CPU, is on {model.device}: call model.to('cpu')")
    for name, parameter in model.named_parameters():
        if isinstance(parameter, StoredParameter):
            raise ValueError(
                f"the weight {name} stays in its file; load the model without low_memory to "
                "export it"
            )
        if parameter.dtype != np.float32:
            raise ValueError(
                f"the weight {name} is {parameter.dtype}; export float32: model.to('float32')"
            )


@contextmanager
def _as_exported(model: Any) -> Iterator[None]:
    """Let a model compute without dropout and all tokens of a feed-forward layer at once."""
    layers = [module for module in model.modules() if isinstance(module, BertLayer)]
    training, chunks = model.training, [layer.chunk_size for layer in layers]
    model.eval()
    for layer in layers:
        layer.chunk_size = 0
    try:
        yield
    finally:
        model.train(training)
        for layer, size in zip(layers, chunks, strict=True):
            layer.chunk_size = size


# --- the inputs -----------------------------------------------------------------------------------


def input_shapes(model: Any) -> dict[str, tuple[Any, ...]]:
    """Return the inputs of the exported model and their axes: names of sizes, and numbers."""
    config, known = model.config, argument_names(type(model).forward) or {}
    if "decoder_input_ids" in known or not {"input_ids", "attention_mask"} <= known.keys():
        raise ValueError(
            f"cannot export {type(model).__name__}: its inputs are not those of one encoder or "
            "decoder; export its parts, model.encoder and model.decoder"
        )
    choices = "MultipleChoice" in type(model).__name__
    rows = ("batch", "choices", "length") if choices else ("batch", "length")
    inputs: dict[str, tuple[Any, ...]] = {"input_ids": rows, "attention_mask": rows}
    has_types = getattr(config, "add_token_type_embeddings", True)
    if "token_type_ids" in known and has_types:
        inputs["token_type_ids"] = rows
    if getattr(config, "add_cross_attention", False) and "encoder_hidden_states" in known:
        inputs["encoder_hidden_states"] = ("batch", "encoder_length", config.hidden_size)
        inputs["encoder_attention_mask"] = ("batch", "encoder_length")
    return inputs


def _smallest_sizes(
    model: Any, inputs: Mapping[str, tuple[Any, ...]]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the sizes of the smallest run and the distances to the next.

    The smallest is larger than what a layer treats separately: a batch of 1, a length of 1, a
    moving average that is shorter than its truncation, a sequence of one chunk.
    """
    config = model.config
    low = {"batch": 2, "length": 3}
    step = {"batch": 1, "length": 1}
    if getattr(config, "use_chunking", False):
        low["length"], step["length"] = 2 * config.chunk_size, config.chunk_size
    truncation = getattr(config, "truncation", None) or 0
    while low["length"] <= truncation:
        low["length"] += step["length"]
    if "encoder_hidden_states" in inputs:
        low["encoder_length"], step["encoder_length"] = 4, 1
    if len(inputs["input_ids"]) == 3:
        low["choices"], step["choices"] = 2, 1
    limit = getattr(config, "max_position_embeddings", None)
    longest = low["length"] + 3 * step["length"]
    if limit is not None and longest > limit:
        raise ValueError(
            f"cannot export a model with max_position_embeddings {limit}: at least {longest} are "
            "needed"
        )
    return low, step


def _sample(
    model: Any, inputs: Mapping[str, tuple[Any, ...]], sizes: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Return inputs of the given sizes, the first row padded on the left, the second on the right:
    a mask of zeros that are nowhere else would be computed in a simpler way.
    """
    config, values = model.config, {}
    for name, shape in inputs.items():
        axes = tuple(sizes.get(size, size) for size in shape)
        if name == "encoder_hidden_states":
            values[name] = np.zeros(axes, model.dtype)
        elif name.endswith("mask"):
            mask = np.ones(axes, np.int64)
            rows = mask.reshape(-1, axes[-1])
            rows[0, : config.chunk_size if getattr(config, "use_chunking", False) else 1] = 0
            rows[1, -1] = 0
            values[name] = mask
        else:
            values[name] = np.zeros(axes, np.int64)
    return values


# --- the outputs ----------------------------------------------------------------------------------


def _tensors(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays of an output by name; those of layers with their number."""
    found: dict[str, Any] = {}
    for name, value in output.items():
        if isinstance(value, tuple):
            found |= {f"{name}.{i}": part.data for i, part in enumerate(value)}
        elif value is not None:
            found[name] = value.data
    return found


# --- the file -------------------------------------------------------------------------------------


def _emit(graph: Graph, name: str) -> dict[str, np.ndarray]:
    """Add the nodes of all steps to a graph and return the parameters that they use."""
    parameters: dict[str, Any] = {}
    table = {kind.__name__: mapping for kind, mapping in OPERATIONS.items()} | FUNCTIONS
    for number, step in enumerate(graph.steps):
        if step.name == "input":
            graph.names[number, 0] = step.args[0]
        elif step.name == "parameter":
            graph.names[number, 0] = step.args[0]
            parameters[step.args[0]] = step.value
        elif step.value is not None:
            graph.names[number, 0] = graph.constant(step.value)
        else:
            graph.scope, graph.result = step.scope.replace(".", "/"), step.results[0]
            _emit_step(graph, number, step, table, name)
    return parameters


def _emit_step(graph: Graph, number: int, step: Recorded, table: Any, name: str) -> None:
    where = f"cannot export {name}: {step.scope or 'the model'} uses {step.name}"
    if step.name not in table:
        raise ValueError(f"{where}, which has no mapping to ONNX in tinybert/export/operations.py")
    try:
        result = table[step.name](graph, *step.args, **step.options)
    except (NotImplementedError, TypeError) as error:
        raise ValueError(f"{where} in a way that has no mapping to ONNX: {error}") from error
    for index, output in enumerate([result] if isinstance(result, str) else result):
        graph.names[number, index] = output


def _proto(
    onnx: Any, model: Any, graph: Graph, inputs: Mapping[str, Any], results: dict[str, Array]
) -> Any:
    """Return the model without its weights."""
    helper = onnx.helper
    for name, array in results.items():
        graph.scope = ""
        node = helper.make_node("Identity", [graph.name(array)], [name], name=f"/{name}")
        graph.nodes.append(node)

    def described(name: str, dtype: Any, shape: Any) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        axes = [str(size) if isinstance(size, (Size, str)) else size for size in shape]
        return helper.make_tensor_value_info(name, kind, axes)

    floats = {"encoder_hidden_states": model.dtype}
    proto = helper.make_graph(
        graph.nodes,
        type(model).__name__,
        [described(name, floats.get(name, np.int64), shape) for name, shape in inputs.items()],
        [described(name, array.dtype, array.shape) for name, array in results.items()],
    )
    made = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
    )
    helper.set_model_props(made, {"model_type": model.config.model_type})
    return made


def _save(
    onnx: Any, proto: Any, weights: dict[str, np.ndarray], path: Path, external: bool | None
) -> None:
    """Write the file, and the file with the weights if they are `external`."""
    total = sum(array.nbytes for array in weights.values())
    if external is None:
        external = total > LARGEST_FILE
    data = path.with_name(f"{path.name}.data")
    with progress_bar("writing", total, "B") as advance, ExitStack() as opened:
        file = opened.enter_context(atomic_write(data)) if external else None
        for name, array in weights.items():
            if file is None or array.nbytes < SMALL:
                tensor = onnx.numpy_helper.from_array(array, name)
            else:
                file.write(bytes(-file.tell() % ALIGNMENT))
                tensor = _reference(onnx, name, array, file, data.name)
                file.write(np.ascontiguousarray(array).data)
            proto.graph.initializer.append(tensor)
            advance(array.nbytes)
        with atomic_write(path) as target:
            target.write(proto.SerializeToString())


def _reference(onnx: Any, name: str, array: np.ndarray, file: Any, data: str) -> Any:
    """Return a tensor whose numbers are in another file, from its present position on."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = onnx.TensorProto(name=name, data_type=kind, dims=array.shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", data), ("offset", file.tell()), ("length", array.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
