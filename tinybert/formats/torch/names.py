"""The names that are allowed in a PyTorch pickle, and what each of them builds.

A file of weights needs about twenty names: functions that rebuild a tensor, storage and number
types, ``OrderedDict``. A few more occur in training checkpoints (arguments of the training run,
the state of NumPy's random generator, classes of Megatron-LM); these become inert ``Record``
objects. None of them is imported or called.
"""

from collections.abc import Callable
from typing import Any

from tinybert.formats.torch.pickle import Name, Record
from tinybert.formats.torch.tensor import LazyTensor, Storage
from tinybert.weights.dtypes import FORMATS

_DTYPES = {
    "float64": "F64", "double": "F64", "float32": "F32", "float": "F32",
    "float16": "F16", "half": "F16", "bfloat16": "BF16",
    "int64": "I64", "long": "I64", "int32": "I32", "int": "I32",
    "int16": "I16", "short": "I16", "int8": "I8", "uint8": "U8",
    "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL",
    "float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3", "float8_e8m0fnu": "F8_E8M0",
    "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e4m3fnuz": "F8_E4M3FNUZ",
}  # fmt: skip
_STORAGES: dict[tuple[str, str], str | None] = {
    ("torch", f"{name}Storage"): format
    for name, format in [
        ("Double", "F64"), ("Float", "F32"), ("Half", "F16"), ("BFloat16", "BF16"),
        ("Long", "I64"), ("Int", "I32"), ("Short", "I16"), ("Char", "I8"), ("Byte", "U8"),
        ("Bool", "BOOL"), ("Untyped", None),
    ]
}  # fmt: skip
_STORAGES["torch.storage", "UntypedStorage"] = None
_INERT = {
    ("argparse", "Namespace"), ("torch", "device"), ("numpy", "ndarray"), ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),
    ("_io", "BytesIO"),  # the states of Transformer Engine's kernels before 2.0, in NeMo's files
}  # fmt: skip
_REASONS = {
    ("torch._utils", "_rebuild_qtensor"): "a quantised tensor, which is not supported",
    ("torch._utils", "_rebuild_sparse_tensor"): "a sparse tensor, which is not supported",
    ("torch._utils", "_rebuild_sparse_csr_tensor"): "a sparse tensor, which is not supported",
    ("torch._utils", "_rebuild_nested_tensor"): "a nested tensor, which is not supported",
    ("torch._utils", "_rebuild_wrapper_subclass"): "a tensor subclass, which is not supported",
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): "a tensor without values",
    ("torch._tensor", "_rebuild_from_type"): "a tensor subclass, which is not supported",
    ("torch._tensor", "_rebuild_from_type_v2"): "a tensor subclass, which is not supported",
    **{
        ("torch", f"{name}Storage"): "quantised numbers, which are not supported"
        for name in ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")
    },
    **{
        ("torch", f"Complex{name}Storage"): "complex numbers, which are not supported"
        for name in ("Float", "Double")
    },
    **{
        ("torch", name): "complex numbers, which are not supported"
        for name in ("complex32", "complex64", "complex128")
    },
}


class TorchNames:
    """The vocabulary of one PyTorch pickle; it collects the storages that the pickle refers to.

    ``storages`` maps keys to storages; the caller sets their ``source``.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}

    def find(self, module: str, name: str) -> Name:
        """Return the name; ValueError unless it is allowed."""
        key = module, name
        number = module == "torch" and name in _DTYPES
        if number or key in _STORAGES or key in _CALLS or _is_inert(key):
            return Name(module, name)
        reason = _REASONS.get(key)
        if reason is None and module.startswith(("torch.nn.", "transformers.")):
            reason = "a whole model was saved; load it where it was made and save its state_dict()"
        if reason is None:
            reason = "no weight file needs it, so the file is refused; nothing in it was run"
        raise ValueError(f"refers to {ascii(f'{module}.{name}')[1:-1]}: {reason}")

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        """Return a tensor, a container, or an inert record."""
        if type(function) is not Name:
            raise ValueError(f"bad pickle: it calls a {type(function).__name__}")
        key = function.module, function.name
        if key in _CALLS:
            return _CALLS[key](function, args)
        if not _is_inert(key):
            raise ValueError(f"bad pickle: it calls {function}")
        return Record(str(function), args)

    def build(self, target: Any, state: Any) -> None:
        """Keep the state of a record; drop the attributes of an OrderedDict."""
        if type(target) is Record:
            target.state = state
        elif type(target) is not dict or type(state) is not dict:
            raise ValueError(f"bad pickle: it sets the state of a {type(target).__name__}")

    def persistent(self, reference: Any) -> Storage:
        """Return the storage that ``("storage", type, key, location, count[, view])`` refers to."""
        if type(reference) is not tuple or len(reference) not in (5, 6):
            raise ValueError("bad pickle: a reference to something that is not a storage")
        tag, kind, key, location, count, view = (*reference, None)[:6]
        if tag == "module":
            raise ValueError(
                "holds a whole model; load it where it was made and save its state_dict()"
            )
        # Keys are decimal numbers; one becomes the name of a member, never a path.
        sound = type(key) is str and key.isascii() and key.isdecimal() and type(location) is str
        if tag != "storage" or not sound or type(count) is not int or not 0 <= count < 2**48:
            raise ValueError("bad pickle: a reference to a storage that makes no sense")
        if type(kind) is not Name or (kind.module, kind.name) not in _STORAGES:
            raise ValueError("bad pickle: a storage of no known type")
        format = _STORAGES[kind.module, kind.name]
        width = FORMATS[format].bits // 8 if format else 1
        storage = self.storages.setdefault(key, Storage(format, count * width))
        if (storage.format, storage.nbytes) != (format, count * width):
            raise ValueError(f"bad pickle: storage {key} is given two types or sizes")
        return storage if view is None else _part(storage, view, width)


def _is_inert(key: tuple[str, str]) -> bool:
    return key in _INERT or key[0].startswith("megatron.")


def _part(root: Storage, view: Any, width: int) -> Storage:
    """Return the view ``(key, offset, count)`` of a storage, as in files before PyTorch 0.4."""
    if type(view) is not tuple or len(view) != 3:
        raise ValueError("bad pickle: a view of a storage that makes no sense")
    _, offset, count = view
    if any(type(n) is not int or n < 0 for n in (offset, count)):
        raise ValueError("bad pickle: a view of a storage that makes no sense")
    if (offset + count) * width > root.nbytes:
        raise ValueError("bad pickle: a view reaches beyond its storage")
    return Storage(root.format, count * width, root=root, begin=offset * width)


def _rebuild_tensor(function: Name, args: tuple[Any, ...]) -> LazyTensor:
    """Return the tensor of ``_rebuild_tensor(storage, offset, shape, strides)``; v2 adds
    ``requires_grad, hooks[, metadata]``, v3 ``requires_grad, hooks, dtype[, metadata]``."""
    fewest, most = {"_rebuild_tensor": (4, 4), "_rebuild_tensor_v2": (6, 7)}.get(
        function.name, (7, 8)
    )
    if not fewest <= len(args) <= most or type(args[0]) is not Storage:
        raise ValueError(f"bad pickle: {function} with arguments that make no sense")
    storage, offset, shape, strides = args[:4]
    format = storage.format
    if function.name == "_rebuild_tensor_v3":
        dtype = args[6]
        if type(dtype) is not Name or dtype.module != "torch" or dtype.name not in _DTYPES:
            raise ValueError("bad pickle: a tensor of no known type of number")
        if format is not None or storage.nbytes % (FORMATS[_DTYPES[dtype.name]].bits // 8):
            raise ValueError("bad pickle: a storage that does not fit its tensor")
        format = _DTYPES[dtype.name]
    if format is None:
        raise ValueError("bad pickle: a tensor of no known type of number")
    if len(args) == most and most > 4 and args[-1]:
        raise ValueError(
            "bad pickle: a tensor with metadata (negated or conjugated), not supported"
        )
    return LazyTensor(storage, format, offset, shape, strides)


def _rebuild_parameter(function: Name, args: tuple[Any, ...]) -> LazyTensor:
    """Return the tensor of ``(tensor, requires_grad, hooks[, state])``."""
    if len(args) not in (3, 4) or type(args[0]) is not LazyTensor:
        raise ValueError(f"bad pickle: {function} with arguments that make no sense")
    return args[0]


def _ordered_dict(function: Name, args: tuple[Any, ...]) -> dict[Any, Any]:
    """Return an empty dict, or (written by Python 2) the dict of a list of pairs."""
    if not args:
        return {}
    pairs = args[0]
    if len(args) != 1 or type(pairs) is not list:
        raise ValueError(f"bad pickle: {function} with arguments that make no sense")
    result: dict[Any, Any] = {}
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2 or type(pair[0]) is not str:
            raise ValueError(f"bad pickle: {function} with arguments that make no sense")
        result[pair[0]] = pair[1]
    pairs.clear()  # otherwise a pickle could copy one long list a million times
    return result


def _size(function: Name, args: tuple[Any, ...]) -> tuple[int, ...]:
    """Return ``torch.Size((2, 3))`` as a plain tuple."""
    sizes = args[0] if len(args) == 1 else None
    if type(sizes) is not tuple or len(sizes) > 32 or any(type(n) is not int for n in sizes):
        raise ValueError(f"bad pickle: {function} with arguments that make no sense")
    return sizes


_CALLS: dict[tuple[str, str], Callable[[Name, tuple[Any, ...]], Any]] = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch", "Size"): _size,
    ("collections", "OrderedDict"): _ordered_dict,
}
