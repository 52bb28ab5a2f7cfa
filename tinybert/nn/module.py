"""`Module` and `Parameter`: how layers are built of parts, named and called.

Rarer methods are in other files: moving to a device in `conversion.py`, loading weights in
`state.py`, registering hooks in `hooks.py`.

A module keeps its parameters, its buffers and its parts. It keeps no result of a call, since
`forward` returns all that it computes. One module can therefore be used twice in a graph, and its
weights can be exchanged for others by name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from tinybert.autograd import Tensor
from tinybert.autograd.modes import current, observed
from tinybert.backend import is_array
from tinybert.nn.conversion import Conversion
from tinybert.nn.hooks import Hooks
from tinybert.nn.state import StateLoading


class Parameter(Tensor):
    """A Tensor that a module registers when it is assigned as an attribute, and that is trained."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        if is_array(data):
            self._init(data)  # a new array that only the layer holds: no copy
            self.requires_grad_(requires_grad)
        else:
            super().__init__(data, requires_grad=requires_grad)


class Module(Conversion, Hooks, StateLoading):
    """Base class of layers and models.

    Subclasses assign Parameters, Modules and buffers as attributes in `__init__` and define
    `forward`. Names are joined with dots: `encoder.layer.0.attention.self.query.weight`.

    Attributes:
        training: whether dropout and batch statistics are active; set by `train()` and `eval()`.
    """

    training: bool

    def __init__(self) -> None:
        registries: dict[str, Any] = {
            "_parameters": OrderedDict(),
            "_buffers": OrderedDict(),
            "_modules": OrderedDict(),
            "_transient": set(),
            "_forward_hooks": OrderedDict(),
            "_forward_pre_hooks": OrderedDict(),
            "training": True,
        }
        self.__dict__.update(registries)

    # --- attributes -----------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(
                f"{type(self).__name__}: call super().__init__() before assigning {name!r}"
            )
        registry = next(
            (r for r in (self._parameters, self._modules, self._buffers) if name in r), None
        )
        if isinstance(value, Parameter):
            registry_for_value: dict[str, Any] | None = self._parameters
        elif isinstance(value, Module):
            registry_for_value = self._modules
        else:
            refill = registry is self._buffers and isinstance(value, Tensor)
            registry_for_value = self._buffers if refill else None
        if registry_for_value is None:
            if registry is not None and value is not None:
                raise TypeError(
                    f"{type(self).__name__}.{name} holds a parameter, module or buffer; "
                    f"it cannot become a {type(value).__name__}"
                )
            if registry is not None:
                registry[name] = None
            object.__setattr__(self, name, value)
            return
        if registry is not None and registry is not registry_for_value:
            del registry[name]
        registry_for_value[name] = self.__dict__[name] = value  # as an attribute it is found faster

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        for registry in (self._parameters, self._modules, self._buffers):
            registry.pop(name, None)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy holds: the same attributes, in registries of its own."""
        kinds = OrderedDict, set
        own = {n: v.copy() for n, v in vars(self).items() if n[:1] == "_" and type(v) in kinds}
        return {**vars(self), **own}

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Keep a Tensor that is not trained (running statistics); saved only if `persistent`.

        Raises TypeError for anything but a Tensor or None, ValueError for a name in use.
        """
        if "_buffers" not in self.__dict__:
            raise AttributeError(
                f"{type(self).__name__}: call super().__init__() before registering {name!r}"
            )
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"buffer {name!r} must be a Tensor, got {type(tensor).__name__}")
        if name not in self._buffers and hasattr(self, name):
            raise ValueError(f"{type(self).__name__} already has an attribute {name!r}")
        self._buffers[name] = self.__dict__[name] = tensor
        (self._transient.discard if persistent else self._transient.add)(name)

    # --- calling --------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; defined by every subclass."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if observed and current.observer is not None:
            return current.observer.call(self, self._call, args, kwargs)
        if self._forward_hooks or self._forward_pre_hooks:
            return self._call(*args, **kwargs)
        return self.forward(*args, **kwargs)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        """Run the hooks and `forward`."""
        for hook in tuple(self._forward_pre_hooks.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        output = self.forward(*args, **kwargs)
        for hook in tuple(self._forward_hooks.values()):
            changed = hook(self, args, output)
            if changed is not None:
                output = changed
        return output

    @property
    def is_watched(self) -> bool:
        """Whether its own output is looked at; if not, its call may be fused with the next one."""
        hooks = self._forward_hooks or self._forward_pre_hooks
        return bool(hooks or (observed and current.observer is not None))

    # --- walking --------------------------------------------------------------------------------

    def named_modules(
        self, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Return this module and all its parts with dotted names; a shared one under its first."""
        seen: set[int] = set()
        stack = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if remove_duplicate and id(module) in seen:
                continue
            seen.add(id(module))
            yield name, module
            parts = [(f"{name}.{key}" if name else key, m) for key, m in module.named_children()]
            stack.extend(reversed(parts))

    def modules(self) -> Iterator[Module]:
        """Return this module and all its parts, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Return the direct parts with their names."""
        return ((name, module) for name, module in self._modules.items() if module is not None)

    def children(self) -> Iterator[Module]:
        """Return the direct parts."""
        return (module for _, module in self.named_children())

    def get_submodule(self, target: str) -> Module:
        """Return the part with the dotted name `target`; "" is the module itself."""
        module = self
        for name in target.split(".") if target else ():
            if name not in module._modules:
                raise AttributeError(
                    f"{type(module).__name__} has no part {name!r} (in {target!r})"
                )
            module = module._modules[name]
        return module

    def named_parameters(
        self, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Return all parameters with dotted names; a shared (tied) one once, by its first name."""
        yield from self._named_members("_parameters", prefix, remove_duplicate)

    def parameters(self) -> Iterator[Parameter]:
        """Return all parameters, shared ones once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Return all buffers with dotted names."""
        yield from self._named_members("_buffers", prefix, True)

    def buffers(self) -> Iterator[Tensor]:
        """Return all buffers."""
        return (buffer for _, buffer in self.named_buffers())

    def _named_members(self, registry: str, prefix: str, once: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for module_name, module in self.named_modules(prefix, once):
            for name, tensor in getattr(module, registry).items():
                if tensor is None or (once and id(tensor) in seen):
                    continue
                seen.add(id(tensor))
                yield (f"{module_name}.{name}" if module_name else name), tensor

    def num_parameters(self, only_trainable: bool = False) -> int:
        """Return the number of elements of all parameters; a shared one counts once."""
        return sum(p.size for p in self.parameters() if p.requires_grad or not only_trainable)

    # --- modes ----------------------------------------------------------------------------------

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """Call `fn` on every part, children before their parent, and on the module itself."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Any:
        """Switch dropout and batch statistics on (or off) in the module and all parts."""
        for module in self.modules():
            module.__dict__["training"] = bool(mode)
        return self

    def eval(self) -> Any:
        """Switch dropout and batch statistics off in the module and all parts."""
        return self.train(False)

    # --- weights --------------------------------------------------------------------------------

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Return all parameters and persistent buffers by name, detached, sharing their memory."""
        state: dict[str, Tensor] = {}
        for name, tensor in self.named_state(prefix):
            state[name] = tensor.detach()
        return state

    def named_state(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Return all parameters and persistent buffers under every name that they have."""
        yield from ((prefix + name, p) for name, p in self._parameters.items() if p is not None)
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._transient:
                yield prefix + name, buffer
        for name, module in self.named_children():
            yield from module.named_state(f"{prefix}{name}.")

    # --- looking --------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Return what `repr` shows of the module itself, for example its sizes."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(m).replace("\n", "\n  ") for name, m in self.named_children()]
        inner = "".join(f"\n  {line}" for line in lines)
        return f"{type(self).__name__}({self.extra_repr()}{inner}{chr(10) if lines else ''})"


class ModuleList(Module):
    """A list of modules, named by their indices."""

    def __init__(self, modules: Any = ()) -> None:
        super().__init__()
        self.extend(modules)

    def append(self, module: Module) -> ModuleList:
        """Add one module at the end; TypeError for anything else."""
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__} holds Modules, got {type(module).__name__}")
        setattr(self, str(len(self)), module)
        return self

    def extend(self, modules: Any) -> ModuleList:
        """Add several modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: Any) -> Any:
        members = list(self._modules.values())[index]
        return type(self)(members) if isinstance(index, slice) else members
