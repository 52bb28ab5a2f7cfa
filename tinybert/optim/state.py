"""Saving and loading the state of an optimizer, in the layout of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinybert.autograd import Tensor, to_array


class SavedState:
    """Base of Optimizer: `state_dict` and `load_state_dict`."""

    def state_dict(self: Any) -> dict[str, Any]:
        """Return `{"state": {number: {name: value}}, "param_groups": [...]}`, the layout of torch.

        Parameters are numbered in the order in which they were given. Tensors share their memory
        with the optimizer.
        """
        numbers = {param: number for number, param in enumerate(self._all())}
        return {
            "state": {numbers[param]: dict(state) for param, state in self.state.items()},
            "param_groups": [
                {**group, "params": [numbers[param] for param in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self: Any, state_dict: Mapping[str, Any]) -> None:
        """Continue from the state of an optimizer over Tensors of the same shapes; copy its arrays.

        Raises ValueError, before anything is changed, if groups, options or shapes do not fit.
        """
        saved = state_dict["param_groups"]
        sizes = [len(group["params"]) for group in saved]
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise ValueError(
                f"state_dict holds groups of {sizes} parameters, this optimizer has {own}"
            )
        options = [{k: v for k, v in group.items() if k != "params"} for group in saved]
        for given in options:
            self._check_names(given)
            missing = [name for name in self.defaults if name not in given]
            if missing:
                raise ValueError(f"state_dict: a group lacks the option {missing[0]!r}")
            self.check_options(given)
        numbers = (number for group in saved for number in group["params"])
        state = {
            param: _copied(state_dict["state"][number], param, number)
            for number, param in zip(numbers, self._all(), strict=True)
            if number in state_dict["state"]
        }
        self.state = state
        for group, given in zip(self.param_groups, options, strict=True):
            tensors = group["params"]
            group.clear()
            group.update(params=tensors, **given)


def _copied(state: Mapping[str, Any], param: Tensor, number: int) -> dict[str, Any]:
    """Return a copy of the saved state of a parameter, in its dtype and on its device."""
    copy: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, int):
            copy[name] = value
            continue
        array = to_array(value, param.dtype, param.device)
        if array.shape != param.shape:
            raise ValueError(
                f"state_dict: {name} of parameter {number} has shape {array.shape}, "
                f"expected {param.shape}"
            )
        copy[name] = Tensor._wrap(array.copy(order="C"))
    return copy
