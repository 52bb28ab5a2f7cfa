"""`PreTrainedModel`, the base of all models: its parts, fresh weights, loading and saving."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any, ClassVar

from tinybert.atomic import reading, saving
from tinybert.autograd import (
    Tensor,
    get_default_device,
    get_default_dtype,
    no_grad,
    set_default_device,
    set_default_dtype,
)
from tinybert.hub import WEIGHT_FILES, resolve
from tinybert.models.arguments import argument_names
from tinybert.models.config import CONFIG_NAME, PretrainedConfig
from tinybert.models.foreign_options import FOREIGN, take_foreign
from tinybert.models.loading import choose_device, choose_dtype, load_weights
from tinybert.models.low_memory import load_in_place
from tinybert.models.memory import check_memory
from tinybert.models.surgery import Surgery, resized
from tinybert.nn import Embedding, KeyValueCache, LayerNorm, Linear, Module
from tinybert.nn.init import fill_, hollow_init, normal_, skip_init
from tinybert.weights import open_checkpoint, save_sharded
from tinybert.weights.folder import weight_files
from tinybert.weights.quantized import CONFIG_NAMES, forget_quantization
from tinybert.weights.reader import TensorReader

logger = logging.getLogger("tinybert")


class PreTrainedModel(Surgery):
    """A model that is built from a config, and loaded from and saved to a folder."""

    config_class: ClassVar[type[PretrainedConfig]] = PretrainedConfig
    base_model_prefix: ClassVar[str] = ""
    zero_padding_row: ClassVar[bool] = True  # of fresh embeddings
    adapters: Any = None  # see `lora.py`

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        family = self.config_class
        if not isinstance(config, family) or config.model_type != family.model_type:
            raise TypeError(
                f"config must be a {self.config_class.__name__}, got {type(config).__name__}"
            )
        self.config = config

    def reserve(self, tables: int, layer: int) -> None:
        """Raise if the weights, in tables and in each layer, are too many: see `check_memory`."""
        weights = tables + self.config.num_hidden_layers * (layer + 20_000)  # for Python's objects
        if weights > 10**8:
            check_memory(self.config, weights)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`. Raises TypeError for an argument that it does not have, naming all."""
        known = argument_names(type(self).forward)
        unknown = [] if known is None else [name for name in kwargs if name not in known]
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no argument {', '.join(unknown)}; "
                f"it takes {', '.join(known or ())}"
            )
        return super().__call__(*args, **kwargs)

    # --- parts ----------------------------------------------------------------------------------

    @property
    def base_model(self) -> Any:
        """The model without its head; the model itself if it has none."""
        return getattr(self, self.base_model_prefix, self)

    @property
    def device(self) -> str:
        """The device of the parameters."""
        return _first_parameter(self).device

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters."""
        return _first_parameter(self).dtype

    def get_input_embeddings(self) -> Embedding:
        """Return the token embeddings."""
        if self.base_model is self:
            raise NotImplementedError(f"{type(self).__name__} does not define its token embeddings")
        return self.base_model.get_input_embeddings()

    def set_input_embeddings(self, embeddings: Embedding) -> None:
        """Replace the token embeddings; call `tie_weights` afterwards if a head shares them."""
        if self.base_model is self:
            raise NotImplementedError(f"{type(self).__name__} does not define its token embeddings")
        self.base_model.set_input_embeddings(embeddings)

    def get_output_embeddings(self) -> Linear | None:
        """Return the layer that scores every token of the vocabulary; None if there is none."""
        return None

    def tie_weights(self) -> None:
        """Let the output embeddings share the weight of the token embeddings, if the config has
        `tie_word_embeddings`; a bias that is too short is filled up with zeros.
        """
        output = self.get_output_embeddings()
        if output is None or not self.config.tie_word_embeddings:
            return
        output.weight = self.get_input_embeddings().weight
        output.out_features = output.weight.shape[0]
        if output.bias is not None and output.bias.shape[0] != output.out_features:
            output.bias = resized(output.bias, output.out_features)

    def make_cache(self, limit: int | None = None) -> KeyValueCache | None:
        """Return an empty cache to pass as `past_key_values` in every call; None if the model does
        not use one, or creates it in the first call.

        Args:
            limit: how many tokens it will hold at most, if known.
        """
        return None

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Count the elements of all parameters, shared parameters once.

        Args:
            only_trainable: do not count frozen parameters.
            exclude_embeddings: do not count embeddings of tokens, positions and token types.
        """
        tables = {id(m.weight) for m in self.modules() if isinstance(m, Embedding)}
        return sum(
            p.size
            for p in self.parameters()
            if (p.requires_grad or not only_trainable)
            and not (exclude_embeddings and id(p) in tables)
        )

    # --- fresh weights --------------------------------------------------------------------------

    def init_weights(self, only: set[str] | None = None) -> None:
        """Initialize the parameters at random, all or those named in `only`, as BERT's released
        code does (Devlin et al. 2018).

        Linear and Embedding weights are normal with standard deviation `initializer_range`, biases
        and the padding row are 0, LayerNorm weights are 1. A shared parameter is initialized once.
        """
        done: set[int] = set()
        for prefix, module in self.named_modules():
            names = set()
            for name, parameter in module._parameters.items():
                full_name = f"{prefix}.{name}" if prefix else name
                if id(parameter) not in done and (only is None or full_name in only):
                    names.add(name)
                    done.add(id(parameter))
            self._init_module(module, names)

    def _init_module(self, module: Module, names: set[str]) -> None:
        """Initialize those parameters of one module that `names` holds."""
        with no_grad():
            if isinstance(module, (Linear, Embedding)) and "weight" in names:
                normal_(module.weight, self.config.initializer_range)
                padding = getattr(module, "padding_idx", None)
                if padding is not None and self.zero_padding_row:
                    fill_(module.weight, 0.0, padding)
            if isinstance(module, LayerNorm) and "weight" in names:
                fill_(module.weight, 1.0)
            bias = module._parameters.get("bias")
            if "bias" in names and bias is not None:
                fill_(bias, 0.0)

    # --- loading --------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        config: PretrainedConfig | None = None,
        device: str | None = None,
        dtype: Any = None,
        ignore_mismatched_sizes: bool = False,
        ignore_missing_keys: bool = False,
        output_loading_info: bool = False,
        low_memory: bool = False,
        torch_dtype: Any = None,
        device_map: Any = None,
        revision: str | None = None,
        token: str | None = None,
        **options: Any,
    ) -> Any:
        """Load a model, in evaluation mode, from a folder with `config.json` and weights.

        Args:
            folder: a model folder, of tinybert or transformers; a file of weights in a format that
                `open_checkpoint` reads; or the name of a model on the Hugging Face Hub.
            config: used instead of the folder's, or of the one that the file stores (Megatron-LM).
            device: of the weights; None means the default device.
            dtype: of the weights in memory: float16, float32 or float64; "auto" means that of the
                config, None the default dtype. bfloat16 becomes float32.
            ignore_mismatched_sizes: initialize weights whose shape differs at random instead of
                raising.
            ignore_missing_keys: initialize any number of missing weights at random. Otherwise at
                least half of the tensors of the model without its head must be found.
            output_loading_info: return (model, LoadingReport).
            low_memory: keep matrices in their files, in the files' dtype, and convert them block by
                block when they are used: for inference with models larger than the memory.
            torch_dtype, device_map: transformers' names of dtype and device.
            revision, token: of a model on the Hub, see `hub.resolve`.
            **options: overrides of the config, arguments of the model's constructor, and those of
                transformers' that `foreign_options` explains (from_tf, attn_implementation, ...).

        On the CPU, weights that are stored in the right dtype are the file's own memory until they
        change (copy on write); others are converted tensor by tensor, so memory peaks at little
        more than the model's size. Names that do not match are logged once. Raises CheckpointError
        for damaged files and FileNotFoundError for missing ones.
        """
        path = Path(folder)
        if not path.is_file():
            path = resolve(folder, WEIGHT_FILES, revision=revision, token=token)
        own = {name: options.pop(name) for name in cls._constructor_options() if name in options}
        weights = path if FOREIGN.isdisjoint(options) else take_foreign(options, path)
        device = choose_device(device, device_map) or get_default_device()
        with reading(path), open_checkpoint(weights) as checkpoint:
            if config is None:
                config = cls._load_config(path, checkpoint, options)
            elif options:
                raise TypeError(f"config is given, so {sorted(options)} cannot override it")
            if CONFIG_NAMES & vars(config).keys():
                forget_quantization(vars(config))
            dtype = choose_dtype(dtype, torch_dtype, config) or get_default_dtype()
            stored = sum(math.prod(checkpoint.info(name).shape) for name in checkpoint)
            init = hollow_init(stored) if low_memory else skip_init(stored)
            with init, set_default_device(device), set_default_dtype(dtype):
                model = cls(config, **own)
            model.name_or_path = os.fspath(folder)
            source = (checkpoint, str(path), cls.base_model_prefix, ignore_mismatched_sizes)
            if low_memory:
                report, unset = load_in_place(model, *source, device)
            else:
                report, unset = load_weights(model, *source)
            model.load_extras(path)
        if 2 * report.found < report.wanted and not ignore_missing_keys:
            raise ValueError(report.too_few())
        model.init_weights(only=unset)
        if report.missing_keys or report.unexpected_keys or report.mismatched_keys:
            logger.log(logging.INFO if report.is_harmless() else logging.WARNING, "%s", report)
        model.eval()
        return (model, report) if output_loading_info else model

    @classmethod
    def _load_config(cls, path: Path, checkpoint: TensorReader, overrides: dict[str, Any]) -> Any:
        """Load the config next to the weights; without one, the config that the weights store."""
        folder = path if path.is_dir() else path.parent
        stored = getattr(checkpoint, "model_config", None)
        stored_first = getattr(checkpoint, "merges_config", False)  # it has those of both
        if stored is None or (not stored_first and (folder / CONFIG_NAME).exists()):
            return cls.config_class.from_pretrained(folder, **overrides)
        return cls.config_class.from_dict(stored(), **overrides)

    @classmethod
    def _constructor_options(cls) -> tuple[str, ...]:
        """Return the keyword arguments that the constructor takes besides the config."""
        return ()

    def load_extras(self, folder: Path) -> None:
        """Load what a model folder holds besides config and weights; nothing by default."""

    # --- saving ---------------------------------------------------------------------------------

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        max_shard_size: int | str = "5GB",
        dtype: str | None = None,
    ) -> None:
        """Save `config.json` and the weights in a folder that transformers can load too.

        Args:
            folder: created if needed; older weights in it are replaced.
            max_shard_size: the largest size of one file of weights, such as "5GB".
            dtype: store floating weights in this format, "float16" or "bfloat16" for half the
                size; None stores them as they are.

        All files change in one step: an interrupted save leaves the older model complete.
        """
        path = Path(folder)
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"folder {str(folder)!r} exists and is not a folder")
        self.config.architectures = [type(self).__name__]
        for name in ("dtype", "torch_dtype"):  # in which transformers 5 loads the weights
            if hasattr(self.config, name):
                setattr(self.config, name, dtype or str(self.dtype))
        self.config.to_json_string()  # raises now, before anything is written
        if self.adapters is not None:
            self.adapters.save(self, path, dtype)
            return
        tensors = {name: tensor.numpy() for name, tensor in _once(self.state_dict()).items()}
        with saving(path, weight_files) as new:
            save_sharded(tensors, new, max_shard_size, {"format": "pt"}, dtype)
            self.save_extras(new)
            self.config.save_pretrained(new)

    def save_extras(self, folder: Path) -> None:
        """Save what a model folder holds besides config and weights; nothing by default."""


def _first_parameter(module: Any) -> Any:
    """Return the first of `parameters()`, or None; a call of a model asks for it several times."""
    for parameter in () if module is None else module._parameters.values():
        if parameter is not None:
            return parameter
    for part in () if module is None else module._modules.values():
        if (parameter := _first_parameter(part)) is not None:
            return parameter
    return None


def _once(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state without the second names of shared arrays."""
    seen: dict[int, str] = {}
    return {k: t for k, t in state.items() if seen.setdefault(id(t.data), k) == k}
