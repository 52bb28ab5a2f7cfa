"""`Optimizer`, the base of all optimizers: parameter groups, their options, and the step.

Saving and loading the state is in `state.py`. A subclass has only the update rule. Updates change
the parameters in place: a `backward` through a graph recorded before the update raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tinybert.autograd import Tensor, no_grad, to_array
from tinybert.autograd.modes import observer
from tinybert.backend import Array, array_module
from tinybert.checks import check_number
from tinybert.optim.state import SavedState


class Optimizer(SavedState):
    """Base of all optimizers.

    Args:
        params: the Tensors to train, in any iterable; or a list of groups, dicts with the Tensors
            under "params" and options of their own, such as `{"params": biases, "lr": 1e-3}`.
        defaults: every option of the optimizer, with its value for groups that do not set it.

    Attributes:
        param_groups: a dict for each group, "params" and every option. They are read at each step:
            a schedule may change `group["lr"]`.
        state: for each Tensor a dict of what is kept between steps, by name.

    Raises ValueError for an option that is unknown or out of range, for a Tensor that is given
    twice and for one that is not a leaf; TypeError for anything but a floating Tensor.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        if isinstance(params, (Tensor, Mapping)):
            raise TypeError(
                f"params must be a list of Tensors or of groups, got one {type(params).__name__}"
            )
        given = list(params)
        if not given:
            raise ValueError("params is empty: an optimizer needs at least one Tensor")
        groups = given if isinstance(given[0], Mapping) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Train more Tensors: a dict with "params" and options; missing options take defaults."""
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise TypeError(
                'params: a group must be a dict with the key "params" (groups and single Tensors '
                f"cannot be mixed), got {type(param_group).__name__}"
            )
        given = param_group["params"]
        tensors = [given] if isinstance(given, Tensor) else list(given)
        seen = {id(tensor) for group in self.param_groups for tensor in group["params"]}
        for position, tensor in enumerate(tensors):
            self._check_tensor(tensor, f"params[{position}] of group {len(self.param_groups)}")
            if id(tensor) in seen:
                raise ValueError(
                    f"params[{position}] of group {len(self.param_groups)}, of shape "
                    f"{tensor.shape}, was given before; every Tensor is updated once a step"
                )
            seen.add(id(tensor))
        options = {name: value for name, value in param_group.items() if name != "params"}
        options = self.defaults | options
        self._check_names(options)
        self.check_options(options)
        self.param_groups.append({"params": tensors, **options})

    @staticmethod
    def _check_tensor(tensor: Any, where: str) -> None:
        if not isinstance(tensor, Tensor) or tensor.dtype.kind != "f":
            got = (
                f"a Tensor of {tensor.dtype}" if isinstance(tensor, Tensor) else repr(type(tensor))
            )
            raise TypeError(f"{where} must be a floating Tensor, got {got}")
        if not tensor.is_leaf:
            raise ValueError(
                f"{where} was made by {type(tensor.grad_fn).__name__}: only leaves, which "
                "collect gradients, can be trained"
            )

    def _check_names(self, options: Mapping[str, Any]) -> None:
        unknown = [name for name in options if name not in (*self.defaults, "initial_lr")]
        if unknown:
            raise ValueError(
                f"{type(self).__name__} has no option {unknown[0]!r}; it has "
                f"{', '.join(self.defaults)}"
            )

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError for an option that is out of range; subclasses add their own."""
        for name in ("lr", "weight_decay"):
            check_number(name, options[name])

    # --- a step -----------------------------------------------------------------------------------

    @no_grad()
    def step(self) -> None:
        """Update every Tensor that has a gradient, in place; those without are left as they are.

        Raises ValueError if a gradient has not the shape of its Tensor.
        """
        watcher = observer()
        for group in self.param_groups:
            members: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            for param in members:
                if not isinstance(param.grad, Tensor):
                    kind = type(param.grad).__name__
                    raise TypeError(f".grad must be a Tensor or None, got {kind}")
                if param.grad.shape != param.shape:
                    raise ValueError(
                        f"the gradient of a Tensor of shape {param.shape} has shape "
                        f"{param.grad.shape}"
                    )
            data = [param._changed(f"{type(self).__name__}.step") for param in members]
            before = None if watcher is None else [array.copy() for array in data]
            self.update_all(members, data, group)
            if watcher is not None:
                for param, array in zip(members, before or (), strict=True):
                    watcher.update(self, param, array, group)

    def update_all(self, params: list[Tensor], data: list[Array], group: dict[str, Any]) -> None:
        """Apply the rule to `data`, the arrays of `params`, in place; all have gradients."""
        for param, array in zip(params, data, strict=True):
            self.update(param, array, param.grad.data, group)  # type: ignore[union-attr]

    def update(self, param: Tensor, data: Array, grad: Array, group: dict[str, Any]) -> None:
        """Apply the rule to `data`, the array of `param`, in place; `grad` is not written to."""
        raise NotImplementedError(f"{type(self).__name__} does not define update")

    def buffer(self, param: Tensor, name: str) -> Array:
        """Return the array kept for `param` as `name`, zeros at first.

        It follows the parameter to another device or dtype.
        """
        state = self.state.setdefault(param, {})
        if name not in state:
            state[name] = Tensor._wrap(array_module(param.data).zeros(param.shape, param.dtype))
        state[name].data = to_array(state[name], param.dtype, param.device)
        return state[name].data

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients; with `set_to_none=False` set them to zeros."""
        for param in self._all():
            if set_to_none or param.grad is None:
                param.grad = None
            else:
                param.grad.zero_()

    def _all(self) -> Iterator[Tensor]:
        return (param for group in self.param_groups for param in group["params"])

    def __repr__(self) -> str:
        lines = [
            f"  {len(group['params'])} tensors: "
            + ", ".join(f"{name}={value}" for name, value in group.items() if name != "params")
            for group in self.param_groups
        ]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])
