"""The names of the weights in an ONNX graph.

    MatMul "/encoder/layer.0/attention/self/query/MatMul" (x, "onnx::MatMul_256")
    Add    "/encoder/layer.0/attention/self/query/Add"    ("....self.query.bias", ...)

A product has the name of its module in its own name or in the name of the bias that is added to it.
Both give "encoder.layer.0.attention.self.query.weight".
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any, NamedTuple

QUANTISED = "_quantized"
PRODUCTS = ("MatMul", "MatMulInteger", "DynamicQuantizeMatMul", "Gemm")
JOINED = ("Attention", "QAttention", "EmbedLayerNormalization", "QEmbedLayerNormalization")
FLOATS = (1, 10, 11)  # TensorProto.FLOAT, FLOAT16 and DOUBLE
_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)+")  # dotted, as PyTorch's
_WRAPPER = re.compile(
    r"(?:\d+\.)?auto_model\.|(?:\d+\.)?model\.(?=(?:\w+\.)?embeddings?\.|encoder\.)"
)
_LONGEST = 8  # operators between a product and its bias


class Stored(NamedTuple):
    """What the file has for a weight.

    Attributes:
        array: a TensorProto. scale, zero_point: those of its integers; or None.
        transposed: whether the weight is the transpose of the array.
    """

    array: Any
    scale: Any = None
    zero_point: Any = None
    transposed: bool = False


def stored_weights(graph: Any) -> dict[str, Stored]:
    """Return the weights of a GraphProto by their PyTorch names.

    Raises ValueError for a product with a matrix that has no name, and for joined matrices.
    """
    return _Names(graph).weights()


class _Names:
    """Finds the names; tensors are those that no node computes."""

    def __init__(self, graph: Any) -> None:
        self.nodes = list(graph.node)
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.scales: dict[str, tuple[Any, Any]] = {}  # of integers, and their zero points
        for node in self.nodes:
            for attribute in node.attribute if node.op_type == "Constant" else ():
                if attribute.name == "value":
                    self.tensors[node.output[0]] = attribute.t
        for name in [name for name in self.tensors if name.endswith(QUANTISED)]:
            base = name.removesuffix(QUANTISED)
            scale, zero = (self.tensors.pop(base + end, None) for end in ("_scale", "_zero_point"))
            if scale is None:
                raise ValueError(f"has integers {name!r:.120} without a scale")
            self.scales[name] = scale, zero
        self.users: dict[str, list[Any]] = defaultdict(list)
        self.copies: dict[str, str] = {}  # of tensors, by Identity
        self.turned: dict[str, str] = {}  # by Transpose
        for node in self.nodes:
            if node.op_type in JOINED:
                raise ValueError(
                    f"joins several matrices in the node {node.name!r:.120} ({node.op_type}): an "
                    "optimiser did that; use the file without its optimisation"
                )
            for name in node.input:
                self.users[name].append(node)
            if node.op_type in ("Identity", "Cast", "DequantizeLinear") and node.input:
                self.copies[node.output[0]] = node.input[0]
            elif node.op_type == "Transpose" and node.input:
                self.turned[node.output[0]] = node.input[0]

    def weights(self) -> dict[str, Stored]:
        """Return all weights."""
        found: dict[str, Stored] = {}
        used: set[str] = set()
        for node in self.nodes:
            if node.op_type in PRODUCTS:
                self._add_product(node, found, used)
            elif node.op_type == "Gather":
                self._add_table(node, found, used)
        for name in [*self.tensors, *self.copies]:
            source, plain = self._tensor(name), _plain(name)
            if source is None or plain is None or source in used or plain in found:
                continue
            stored = self._stored(source)
            if stored.scale is not None or stored.array.data_type in FLOATS:
                found[plain] = stored
        return {_WRAPPER.sub("", name, count=1) if _WRAPPER.match(name) else name: stored
                for name, stored in found.items()}  # fmt: skip

    def _add_table(self, node: Any, found: dict[str, Stored], used: set[str]) -> None:
        table = self._tensor(node.input[0])
        if table is None or len(self._stored(table).array.dims) != 2:
            return
        if (name := _plain(table) or _of_node(node)) is not None:
            found.setdefault(name, self._stored(table))
            used.add(table)

    def _add_product(self, node: Any, found: dict[str, Stored], used: set[str]) -> None:
        given, turned = node.input[1], False
        while given in self.copies or given in self.turned:
            turned ^= given in self.turned
            given = self.turned.get(given) or self.copies[given]
        source = self._tensor(given)
        if source is None or len(self._stored(source).array.dims) != 2:
            return  # a product of two results
        turned ^= any(a.name == "transB" and a.i for a in node.attribute)
        name = _plain(source) or _of_node(node) or self._of_bias(node)
        if name is None:
            raise ValueError(
                f"has no name for the matrix {source!r:.120} of the node {node.name!r:.120}: "
                "neither the node nor the bias that is added has one"
            )
        found[name] = self._stored(source)._replace(transposed=not turned)
        used.add(source)

    def _tensor(self, name: str) -> str | None:
        """Return the tensor that a name means, through copies; None if a node computes it."""
        while name in self.copies:
            name = self.copies[name]
        return name if name in self.tensors else None

    def _stored(self, name: str) -> Stored:
        return Stored(self.tensors[name], *self.scales.get(name, (None, None)))

    def _of_bias(self, node: Any) -> str | None:
        """Return the name of a product's weight by the bias that is added to it."""
        if node.op_type in ("Gemm", "DynamicQuantizeMatMul"):
            return next((w for name in node.input[2:] if (w := _beside_bias(name))), None)
        result = node.output[0]
        for _ in range(_LONGEST):
            users = self.users[result]
            if len(users) != 1:
                return None
            if users[0].op_type == "Add":
                return next((w for name in users[0].input if (w := _beside_bias(name))), None)
            if users[0].op_type not in ("Cast", "Mul"):  # int8: times the scales
                return None
            result = users[0].output[0]
        return None


def _plain(name: str) -> str | None:
    """Return a tensor's name if it is one of PyTorch's."""
    for end in (QUANTISED, "_Transposed"):
        name = name.removesuffix(end)
    return name if _NAME.fullmatch(name) else None


def _beside_bias(name: str) -> str | None:
    """Return the weight that belongs to a bias, by its name."""
    plain = _plain(name)
    return f"{plain[:-4]}weight" if plain is not None and plain.endswith(".bias") else None


def _of_node(node: Any) -> str | None:
    """Return the weight of the module that a node's name has: "/a/b.0/MatMul" is "a.b.0.weight"."""
    first, *modules = node.name.split("/")[:-1] or [""]
    return None if first or not modules else ".".join([*modules, "weight"])
