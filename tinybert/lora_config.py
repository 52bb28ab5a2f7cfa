"""`LoraConfig`: the options of low-rank adapters, and `adapter_config.json`, which stores them.

The file is that of PEFT (https://github.com/huggingface/peft). It is not trusted: types, ranks and
the names of the base models are checked.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinybert.checks import check, check_flag, check_integer, check_number, plain
from tinybert.files import FileError, read_object
from tinybert.hub import resolve
from tinybert.hub_cache import ADAPTER, NAMES

MOST_BASES = 8  # adapters in a row, each over the model that the one before it makes
# Methods that compute something else than W + scaling B A. A file that uses one is refused.
OTHER_METHODS = (
    "alora_invocation_tokens", "arrow_config", "corda_config", "kasa_config", "layer_replication",
    "lora_bias", "lora_ga_config", "monteclora_config", "target_parameters",
    "trainable_token_indices", "use_bdlora", "use_dora", "use_qalora", "velora_config",
)  # fmt: skip
# Initializations of A and B that leave the base model unchanged; others (PiSSA, OLoRA, LoftQ)
# change it too.
INITIALIZATIONS = (True, False, None, "gaussian", "eva", "orthogonal")
_NAME = re.compile(r"\^?[\w.-]+", re.ASCII)


@dataclass
class LoraConfig:
    """The options of low-rank adapters, with PEFT's names and defaults.

    Args:
        r: the rank of the adapters.
        lora_alpha: B A is multiplied by lora_alpha / r.
        target_modules: the linear layers to adapt, by the ends of their names: ["query", "value"].
            None: the layers that compute queries and values, as in the paper.
        modules_to_save: the modules that are trained and saved as a whole, by the ends of their
            names, such as a new head: ["classifier"].
        lora_dropout: the probability of dropout on an adapter's input.
        use_rslora: multiply by lora_alpha / sqrt(r) instead (Kalajdzievski 2023, arXiv:2312.03732).
        rank_pattern, alpha_pattern: another r or lora_alpha for the layers whose names end so.
        base_model_name_or_path: the model that the adapters belong to. None: the name that it was
            loaded by.
        revision: of the base model, if that is a name on the Hub.

    Raises ValueError naming the option.
    """

    r: int = 8
    lora_alpha: float = 8
    target_modules: Sequence[str] | None = None
    modules_to_save: Sequence[str] | None = None
    lora_dropout: float = 0.0
    use_rslora: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    base_model_name_or_path: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        check_integer("r", self.r, 1)
        check_number("lora_alpha", self.lora_alpha)
        check_number("lora_dropout", self.lora_dropout, 1)
        check_flag("use_rslora", self.use_rslora)
        for name in ("rank_pattern", "alpha_pattern"):
            pattern = getattr(self, name)
            fits = isinstance(pattern, Mapping) and all(map(_is_name, pattern))
            check(name, pattern, fits, "a dict whose keys are names of modules")
        for layer, rank in self.rank_pattern.items():
            check_integer(f"rank_pattern[{layer!r}]", rank, 1)
        for layer, alpha in self.alpha_pattern.items():
            check_number(f"alpha_pattern[{layer!r}]", alpha)
        for name in ("target_modules", "modules_to_save"):
            names = getattr(self, name)
            fits = isinstance(names, Sequence) and all(isinstance(n, str) and n for n in names)
            fits = fits and not isinstance(names, str)
            check(name, names, fits, "a list of names of modules", optional=True)
        for name in ("base_model_name_or_path", "revision"):
            value = getattr(self, name)
            check(name, value, isinstance(value, str), "a str", optional=True)

    def rank(self, module: str) -> int:
        """Return the rank of the adapter of a module."""
        return _of_module(self.rank_pattern, module, self.r)

    def scaling(self, module: str) -> float:
        """Return the factor of B A of a module."""
        rank = self.rank(module)
        alpha = _of_module(self.alpha_pattern, module, self.lora_alpha)
        return float(alpha / (math.sqrt(rank) if self.use_rslora else rank))

    # --- adapter_config.json --------------------------------------------------------------------

    def to_json_string(self) -> str:
        """Return the text of `adapter_config.json`, which PEFT can load."""
        fixed = {"peft_type": "LORA", "task_type": None, "bias": "none", "inference_mode": True}
        return json.dumps({**fixed, **plain(asdict(self))}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_folder(cls, folder: Path) -> LoraConfig:
        """Read the `adapter_config.json` of a folder.

        Which modules are adapted is read from the weights, so the file's `target_modules` can be of
        any kind. Raises FileError, naming the file and the option, for what cannot be used.
        """
        path = folder / ADAPTER
        found = read_object(path)
        if found.get("peft_type") != "LORA":
            raise FileError(path, f"peft_type is {found.get('peft_type')!r:.80}, not 'LORA'")
        for name in OTHER_METHODS:
            if found.get(name):
                raise FileError(path, f"{name} is not supported: only plain low-rank adapters are")
        if found.get("init_lora_weights", True) not in INITIALIZATIONS:
            raise FileError(
                path,
                f"init_lora_weights is {found['init_lora_weights']!r:.80}, which changes the base "
                "model: convert the adapter with PEFT (path_initial_model_for_weight_conversion)",
            )
        options = {name: found.get(name) for name in cls.__dataclass_fields__}
        known = {name: value for name, value in options.items() if value is not None}
        known.pop("target_modules", None)
        try:
            return cls(**known)
        except ValueError as error:
            raise FileError(path, str(error)) from None


def bases(folder: Path) -> list[Path]:
    """Return a folder with an adapter, the folder of the model that it was trained on, and so on,
    down to a folder without an adapter.

    A relative path starts at the folder that names it or, as in PEFT, at the current one. Raises
    FileError for an adapter without a base, and for more than `MOST_BASES` in a row, as when one
    names itself; FileNotFoundError if there is no such model.
    """
    chain = [folder]
    while (path := chain[-1] / ADAPTER).exists():
        if len(chain) > MOST_BASES:
            raise FileError(
                path, f"more than {MOST_BASES} adapters over each other; does one name itself?"
            )
        config = LoraConfig.from_folder(chain[-1])
        name = config.base_model_name_or_path
        if not name:
            raise FileError(path, "base_model_name_or_path is missing: the model to adapt")
        near = chain[-1] / name
        try:
            is_near = name not in NAMES and near.is_dir()
            chain.append(resolve(near if is_near else name, revision=config.revision or None))
        except (OSError, ValueError) as error:  # OSError: the name is too long for a path
            fault = f"base_model_name_or_path: {error!s:.1000}"
            raise FileNotFoundError(f"{path}: {fault}") from error
    return chain


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _of_module(pattern: Mapping[str, Any], module: str, default: Any) -> Any:
    """Return the value for a module: of the first name that its own ends with (or is: "^name")."""
    for name, value in pattern.items():
        if f"^{module}" == name or f".{module}".endswith(f".{name}"):
            return value
    return default
