"""`functional_call`: a module as a pure function of its parameters.

    logits = functional_call(model, parameters, ids).logits

The module is not changed, and several threads may call it with different parameters at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinybert.autograd import Tensor, as_tensor
from tinybert.nn import Module


def functional_call(module: Module, params: Mapping[str, Any], /, *args: Any, **kwargs: Any) -> Any:
    """Return `module(*args, **kwargs)`, computed with other parameters and buffers.

    Args:
        module: any module.
        params: dotted names of parameters and buffers, and arrays or Tensors of their shapes, such
            as `dict(module.named_parameters())`. Others keep the module's own values. A shared
            parameter is replaced under all its names.

    Gradients flow into the Tensors of `params`. Buffers that the module assigns anew during the
    call, and modules that it holds in plain lists, are outside of this: register modules in a
    ModuleList. Raises ValueError for unknown names, shapes that differ, and two values for one
    shared parameter.
    """
    return with_parameters(module, params)(*args, **kwargs)


def with_parameters(module: Module, params: Mapping[str, Any]) -> Any:
    """Return a copy of a module with other parameters; everything else is shared with `module`."""
    replaced = _by_identity(module, params)
    copies: dict[int, Module] = {}
    for part in module.modules():
        new = copies[id(part)] = object.__new__(type(part))
        new.__dict__.update(vars(part))
        for registry in ("_parameters", "_buffers"):
            own = vars(part)[registry]
            new.__dict__[registry] = type(own)((k, replaced.get(id(t), t)) for k, t in own.items())
            new.__dict__.update(new.__dict__[registry])
    for new in copies.values():
        parts = vars(new)["_modules"]
        new.__dict__["_modules"] = type(parts)(
            (name, None if part is None else copies[id(part)]) for name, part in parts.items()
        )
        new.__dict__.update(new.__dict__["_modules"])
    return copies[id(module)]


def _by_identity(module: Module, params: Mapping[str, Any]) -> dict[int, Tensor]:
    """Return {id of a parameter or buffer: the Tensor that replaces it}."""
    own = {**dict(module.named_buffers()), **dict(module.named_state())}
    unknown = [name for name in params if name not in own]
    if unknown:
        raise ValueError(
            f"{type(module).__name__} has no parameter or buffer {', '.join(map(repr, unknown))}; "
            "named_parameters() lists the names"
        )
    replaced: dict[int, Tensor] = {}
    for name, value in params.items():
        tensor = as_tensor(value, own[name].device)
        if tensor.shape != own[name].shape:
            raise ValueError(f"{name} must have shape {own[name].shape}, got {tensor.shape}")
        if replaced.setdefault(id(own[name]), tensor) is not tensor:
            raise ValueError(f"{name} is shared with another name that has another value: give one")
    return replaced
