"""A folder with low-rank adapters, as PEFT saves them: read as the weights of the adapted model.

    adapter_config.json          the model that the adapters belong to, and their options
    adapter_model.safetensors    A (r, I) is base_model.model.NAME.lora_A.weight, B (O, r) ends in
                                 lora_B.weight; other tensors are new or replace those of the base

The weight of a layer with an adapter is W + scaling B A (Hu et al. 2021, arXiv:2106.09685, eq. 3),
computed in float32, or in float64 where W is.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinybert.hub_cache import ADAPTER
from tinybert.lora_config import LoraConfig, bases
from tinybert.weights import CheckpointError, open_checkpoint
from tinybert.weights.dtypes import FORMATS
from tinybert.weights.reader import TensorInfo, TensorReader, check_out, open_file

FILES = ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."
# The end of the first factor's name, that of the second, and whether W is (V, D), not (O, I).
KINDS = (
    (".lora_B.weight", ".lora_A.weight", False),
    (".lora_embedding_B", ".lora_embedding_A", True),
)
COPIES = (".original_module.", ".modules_to_save.")  # of tensors that have a plain name too


class Factors(NamedTuple):
    """The names of B (O, r) and A (r, I), the factor, and whether W has the shape of (B A)^T."""

    left: str
    right: str
    scaling: float
    is_table: bool


class AdaptedCheckpoint(TensorReader):
    """The tensors of a base model with the adapters of a folder merged into them.

    Raises CheckpointError, naming the tensor, for adapters that do not fit the base model.
    """

    def __init__(self, folder: Path) -> None:
        path = next((folder / name for name in FILES if (folder / name).exists()), None)
        if path is None:
            raise CheckpointError(folder, f"has an {ADAPTER}, but no {' or '.join(FILES)}")
        self._path, config = path, LoraConfig.from_folder(folder)
        with ExitStack() as opened:
            self._base = opened.enter_context(open_checkpoint(bases(folder)[1]))
            self._adapter = opened.enter_context(open_file(path))
            layers, others = self._sorted_names()
            self._prefix = self._prefixes(next(iter(layers)))
            self._factors = {
                self._of_base(name + ".weight"): self._checked(name, layer, config)
                for name, layer in layers.items()
            }
            self._new = {self._of_base(name): key for name, key in others.items()}
            opened.pop_all()
        self.metadata, self.format = self._base.metadata, f"{self._base.format}, adapted"
        self._named = dict.fromkeys([*self._kept(), *self._new])

    # --- names ----------------------------------------------------------------------------------

    def _sorted_names(self) -> tuple[dict[str, tuple[str, str, bool]], dict[str, str]]:
        """Return {layer: names of its B and A} and {name: name in the file} of other tensors."""
        layers, others = {}, {}
        for key in self._adapter:
            if not key.startswith(PREFIX):
                raise self._fault(f"{key!r:.200} does not begin with {PREFIX!r}")
            if any(copy in key for copy in COPIES):
                continue
            name = key[len(PREFIX) :].replace(".base_layer.", ".")
            for *ends, is_table in KINDS:
                pairs = [name[: -len(end)] for end in ends if name.endswith(end)]
                if pairs:
                    left, right = (f"{PREFIX}{pairs[0]}{end}" for end in ends)
                    if left not in self._adapter or right not in self._adapter:
                        raise self._fault(f"has {key!r:.200} without its counterpart")
                    layers[pairs[0]] = left, right, is_table
                    break
            else:
                if ".lora_" in name:
                    raise self._fault(f"{key!r:.200} belongs to a method that is not supported")
                others[name] = key
        if not layers:
            raise self._fault("has no low-rank matrices lora_A and lora_B")
        return layers, others

    def _prefixes(self, layer: str) -> tuple[str, str]:
        """Return the prefixes of the names of the adapter and of the base, where they differ.

        A head calls its base model "bert"; the file of a model without a head has no such prefix.
        """
        weight = layer + ".weight"
        if weight in self._base:
            return "", ""
        first, _, rest = weight.partition(".")
        if rest in self._base:
            return f"{first}.", ""
        longer = next((key for key in self._base if key.endswith("." + weight)), None)
        if longer is None:
            raise self._fault(f"{layer!r:.200} is not a layer of the base model")
        return "", longer[: -len(weight)]

    def _of_base(self, name: str) -> str:
        """Return the base model's name of a tensor."""
        own, base = self._prefix
        return base + name.removeprefix(own)

    def _kept(self) -> list[str]:
        """Return the names of the base model's tensors, without a head that the adapter's replaces.

        The head is what is outside "bert", if that has the embeddings.
        """
        trunk, *heads = dict.fromkeys(n.partition(".")[0] for n in (*self._factors, *self._new))
        if not heads or not any(name.startswith(f"{trunk}.embed") for name in self._base):
            return list(self._base)
        return [name for name in self._base if name.partition(".")[0] in (trunk, *heads)]

    # --- the adapters ---------------------------------------------------------------------------

    def _checked(self, name: str, layer: tuple[str, str, bool], config: LoraConfig) -> Factors:
        """Return the factors of a layer, whose shapes fit its weight and its rank."""
        left, right, is_table = layer
        weight = self._of_base(name + ".weight")
        if weight not in self._base:
            raise self._fault(f"{name!r:.200} is not a layer of the base model")
        shapes = [self._adapter.info(key).shape for key in (left, right)]
        shape, rank = self._base.info(weight).shape, config.rank(name)
        rows, columns = (shape if len(shape) == 2 else (0, 0))[:: -1 if is_table else 1]
        if len(shape) != 2 or shapes != [(rows, rank), (rank, columns)]:
            raise self._fault(
                f"the adapter of {name!r:.200} has the shapes {shapes[0]} and {shapes[1]}, which "
                f"do not fit the rank {rank} and the weight {shape} of the base model"
            )
        for key in (left, right, weight):
            reader = self._base if key == weight else self._adapter
            if FORMATS[reader.info(key).dtype].array.kind != "f":
                raise self._fault(f"{key!r:.200} has no floating-point numbers")
        return Factors(left, right, config.scaling(name), is_table)

    def _merged(self, name: str) -> np.ndarray:
        """Return W + scaling B A."""
        factors = self._factors[name]
        weight = self._base[name]
        dtype = np.result_type(weight.dtype, np.float32)
        left, right = (self._adapter[key].astype(dtype) for key in factors[:2])
        with np.errstate(over="ignore", invalid="ignore"):  # of damaged numbers
            change = (left * dtype.type(factors.scaling)) @ right
            return weight + (change.T if factors.is_table else change)

    # --- the reader -----------------------------------------------------------------------------

    def info(self, name: str) -> TensorInfo:
        """See ``TensorReader.info``; an adapted weight is F32, or F64 where the base's is."""
        if name in self._new:
            return self._adapter.info(self._new[name])
        info = self._base.info(name)
        if name not in self._factors or info.dtype == "F64":
            return info
        return TensorInfo("F32", info.shape, 4 * math.prod(info.shape))

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self._new:
            return self._adapter[self._new[name]]
        return self._merged(name) if name in self._factors else self._base[name]

    def read_into(self, name: str, out: np.ndarray) -> None:
        """See ``TensorReader.read_into``."""
        if name in self._new:
            self._adapter.read_into(self._new[name], out)
        elif name in self._factors:
            check_out(f"tensor {name!r:.200}", self.info(name), out)
            np.copyto(out, self._merged(name), casting="same_kind")
        else:
            self._base.read_into(name, out)

    def mapped(self, name: str) -> np.ndarray | None:
        """See ``TensorReader.mapped``: for tensors that are the base model's."""
        is_base = name not in self._new and name not in self._factors
        return self._base.mapped(name) if is_base else None

    def close(self) -> None:
        """Close the files."""
        self._base.close()
        self._adapter.close()

    def _fault(self, text: str) -> CheckpointError:
        return CheckpointError(self._path, text)
