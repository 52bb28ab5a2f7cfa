"""`PreTrainedModel`: what all models share: parts, fresh weights, loading, saving."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, ClassVar

from tinybert.autograd import (
    Tensor,
    get_default_device,
    get_default_dtype,
    no_grad,
    set_default_device,
    set_default_dtype,
)
from tinybert.hub import WEIGHT_FILES, resolve
from tinybert.models.config import CONFIG_NAME, PretrainedConfig
from tinybert.models.loading import load_weights
from tinybert.models.low_memory import load_in_place
from tinybert.models.placement import choose_device, choose_dtype
from tinybert.models.surgery import Surgery
from tinybert.nn import Embedding, KeyValueCache, LayerNorm, Linear, Module
from tinybert.nn.init import hollow_init, normal_, skip_init
from tinybert.weights import open_checkpoint, save_sharded
from tinybert.weights.reader import TensorReader

logger = logging.getLogger("tinybert")


class PreTrainedModel(Surgery):
    """A model that is built from a config and can be loaded from and saved to a folder."""

    config_class: ClassVar[type[PretrainedConfig]] = PretrainedConfig
    base_model_prefix: ClassVar[str] = ""
    supports_gradient_checkpointing: ClassVar[bool] = False
    zero_padding_row: ClassVar[bool] = True  # of fresh embeddings

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        family = self.config_class
        if not isinstance(config, family) or config.model_type != family.model_type:
            raise TypeError(
                f"config must be a {self.config_class.__name__}, got {type(config).__name__}"
            )
        self.config = config

    # --- parts ----------------------------------------------------------------------------------

    @property
    def base_model(self) -> Any:
        """The model without its head; a model without a head is its own."""
        return getattr(self, self.base_model_prefix, self)

    @property
    def device(self) -> str:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters."""
        return next(self.parameters()).dtype

    def make_cache(self, limit: int | None = None) -> KeyValueCache | None:
        """An empty cache, to be given as `past_key_values` again and again; None if the model has
        none that can be made before a call, or remembers nothing.

        Args:
            limit: how many tokens it will have to hold at most, if that is known.
        """
        return None

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """The number of trained numbers, shared parameters counted once.

        Args:
            only_trainable: leave out those that are frozen.
            exclude_embeddings: leave out the tables of words, positions and types.
        """
        tables = {id(m.weight) for m in self.modules() if isinstance(m, Embedding)}
        return sum(
            p.size
            for p in self.parameters()
            if (p.requires_grad or not only_trainable)
            and not (exclude_embeddings and id(p) in tables)
        )

    # --- memory for time ------------------------------------------------------------------------

    def gradient_checkpointing_enable(self) -> None:
        """Compute each layer again in backward, instead of keeping what it needs for it.

        In training only. Raises ValueError for models that do not support it.
        """
        if not self.supports_gradient_checkpointing:
            raise ValueError(f"{type(self).__name__} does not support gradient checkpointing")
        self._set_gradient_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keep again what backward needs."""
        self._set_gradient_checkpointing(False)

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether layers are computed again in backward."""
        return any(getattr(m, "gradient_checkpointing", False) for m in self.modules())

    def _set_gradient_checkpointing(self, value: bool) -> None:
        for module in self.modules():
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = value

    # --- fresh weights --------------------------------------------------------------------------

    def init_weights(self, only: set[str] | None = None) -> None:
        """Draw the weights as the original does, all of them or those that `only` names.

        Linear and Embedding weights are normal with standard deviation `initializer_range`, biases
        and the padding row are 0, LayerNorm is 1 and 0 (Devlin et al. 2018, released code). A
        parameter with two names is drawn under the first.
        """
        drawn: set[int] = set()
        for prefix, module in self.named_modules():
            wanted = set()
            for name, parameter in module._parameters.items():
                full = f"{prefix}.{name}" if prefix else name
                if id(parameter) not in drawn and (only is None or full in only):
                    wanted.add(name)
                    drawn.add(id(parameter))
            self._init_module(module, wanted)

    def _init_module(self, module: Module, wanted: set[str]) -> None:
        """Draw those parameters of one module that `wanted` names."""
        with no_grad():
            if isinstance(module, (Linear, Embedding)) and "weight" in wanted:
                normal_(module.weight, self.config.initializer_range)
                padding = getattr(module, "padding_idx", None)
                if padding is not None and self.zero_padding_row:
                    module.weight[padding] = 0.0
            if isinstance(module, LayerNorm) and "weight" in wanted:
                module.weight.fill_(1.0)
            bias = module._parameters.get("bias")
            if "bias" in wanted and bias is not None:
                bias.zero_()

    # --- files ----------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        config: PretrainedConfig | None = None,
        device: str | None = None,
        dtype: Any = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        low_memory: bool = False,
        torch_dtype: Any = None,
        device_map: Any = None,
        revision: str | None = None,
        token: str | None = None,
        **options: Any,
    ) -> Any:
        """Load a model from a folder with `config.json` and weights.

        Args:
            folder: what `save_pretrained`, here or in transformers, has written; a file of weights
                in a format that `open_checkpoint` knows; or the name of a model on the Hub, looked
                for in the local cache first.
            config: in place of the folder's own, or of what the file itself says (Megatron-LM's).
            device: where the weights go; the default device if None.
            dtype: of the weights, whatever the files hold: float16, float32 or float64; "auto" for
                what the config says; the default dtype if None. bfloat16 becomes float32.
            ignore_mismatched_sizes: draw weights of another shape at random instead of raising.
            output_loading_info: return (model, LoadingReport).
            low_memory: leave matrices in their files, in the files' dtype, and widen them a block
                at a time when they are needed: for inference only, with any size of model.
            torch_dtype, device_map: transformers' names of dtype and device.
            revision, token: of a model on the Hub, see `hub.resolve`.
            **options: overrides of the config, and arguments of the model's constructor.

        On the CPU weights of the right dtype are the file's own memory until they are changed;
        others are read straight into their place: memory peaks at little more than the model's
        size. The result is in evaluation mode. Names that do not fit are logged once, in one table.
        Raises CheckpointError for files that are damaged, FileNotFoundError for those not there.
        """
        path = Path(folder)
        if not path.is_file():
            path = resolve(folder, WEIGHT_FILES, revision=revision, token=token)
        own = {name: options.pop(name) for name in cls._constructor_options() if name in options}
        device = choose_device(device, device_map) or get_default_device()
        with open_checkpoint(path) as checkpoint:
            if config is None:
                config = cls._config_of(path, checkpoint, options)
            elif options:
                raise TypeError(f"config is given, so {sorted(options)} cannot override it")
            dtype = choose_dtype(dtype, torch_dtype, config) or get_default_dtype()
            unset_init = hollow_init() if low_memory else skip_init()
            with unset_init, set_default_device(device), set_default_dtype(dtype):
                model = cls(config, **own)
            source = (checkpoint, str(path), cls.base_model_prefix, ignore_mismatched_sizes)
            if low_memory:
                report, unset = load_in_place(model, *source, device)
            else:
                report, unset = load_weights(model, *source)
        model.init_weights(only=unset)
        if str(report):
            logger.warning("%s", report)
        model.load_extras(path)
        model.eval()
        return (model, report) if output_loading_info else model

    @classmethod
    def _config_of(cls, path: Path, checkpoint: TensorReader, overrides: dict[str, Any]) -> Any:
        """The config beside the weights; if there is none, the one that the weights carry."""
        beside = path if path.is_dir() else path.parent
        carried = getattr(checkpoint, "model_config", None)
        if carried is None or (beside / CONFIG_NAME).exists():
            return cls.config_class.from_pretrained(beside, **overrides)
        return cls.config_class.from_dict(carried(), **overrides)

    @classmethod
    def _constructor_options(cls) -> tuple[str, ...]:
        """Keyword arguments that the constructor takes beside the config."""
        return ()

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        max_shard_size: int | str = "5GB",
        dtype: str | None = None,
    ) -> None:
        """Write `config.json` and the weights into a folder, so that transformers can load it too.

        Args:
            folder: made if need be; older weights in it are replaced.
            max_shard_size: the weights are split into files of at most this size.
            dtype: what floating weights are stored as, "float16" or "bfloat16" for half the size;
                as they are if None.

        The config is written last: a save that is interrupted while the weights are on their way
        leaves the older model whole.
        """
        path = Path(folder)
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"{folder}: exists and is no folder")
        self.config.architectures = [type(self).__name__]
        self.config.to_json_string()  # raises now if it cannot be written
        tensors = {name: tensor.numpy() for name, tensor in _once(self.state_dict()).items()}
        save_sharded(
            tensors, path, max_shard_size=max_shard_size, metadata={"format": "pt"}, dtype=dtype
        )
        self.save_extras(path)
        self.config.save_pretrained(path)

    def load_extras(self, folder: Path) -> None:
        """Load what the model's folder holds apart from config and weights; nothing by default."""

    def save_extras(self, folder: Path) -> None:
        """Save what the model's folder holds apart from config and weights; nothing by default."""


def _once(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state without second names of shared arrays."""
    seen: dict[int, str] = {}
    return {k: t for k, t in state.items() if seen.setdefault(id(t.data), k) == k}
