"""`Sequential`: modules that run one after the other."""

from __future__ import annotations

from typing import Any

from tinybert.nn.module import ModuleList


class Sequential(ModuleList):
    """Modules that run in order, each on the output of the one before."""

    def __init__(self, *modules: Any) -> None:
        super().__init__(
            modules[0] if len(modules) == 1 and isinstance(modules[0], list) else modules
        )

    def __getitem__(self, index: Any) -> Any:
        members = list(self._modules.values())[index]
        return Sequential(*members) if isinstance(index, slice) else members

    def forward(self, x: Any) -> Any:
        """Return the output of the last module."""
        for module in self:
            x = module(x)
        return x
