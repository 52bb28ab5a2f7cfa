"""`PreTrainedModel`: what all models share: fresh weights, loading, saving."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, ClassVar

from tinybert.autograd import Tensor, get_default_device, no_grad, set_default_device
from tinybert.checkpoints import open_checkpoint, save_sharded
from tinybert.models.config import PretrainedConfig
from tinybert.models.loading import load_weights
from tinybert.nn import Embedding, LayerNorm, Linear, Module
from tinybert.nn.init import normal_, skip_init

logger = logging.getLogger("tinybert")


class PreTrainedModel(Module):
    """A model that is built from a config and can be loaded from and saved to a folder."""

    config_class: ClassVar[type[PretrainedConfig]] = PretrainedConfig
    base_model_prefix: ClassVar[str] = ""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):
            raise TypeError(
                f"config must be a {self.config_class.__name__}, got {type(config).__name__}"
            )
        self.config = config

    # --- parts ----------------------------------------------------------------------------------

    @property
    def base_model(self) -> Module:
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

    def get_input_embeddings(self) -> Embedding:
        """The table of word embeddings."""
        raise NotImplementedError(f"{type(self).__name__} does not name its input embeddings")

    # --- fresh weights --------------------------------------------------------------------------

    def init_weights(self, only: set[str] | None = None) -> None:
        """Draw the weights as the original does, all of them or those that `only` names.

        Linear and Embedding weights are normal with standard deviation `initializer_range`, biases
        and the padding row are 0, LayerNorm is 1 and 0 (Devlin et al. 2018, released code).
        """
        for prefix, module in self.named_modules():
            names = {n: f"{prefix}.{n}" if prefix else n for n in module._parameters}
            wanted = {n for n, full in names.items() if only is None or full in only}
            self._init_module(module, wanted)

    def _init_module(self, module: Module, wanted: set[str]) -> None:
        """Draw those parameters of one module that `wanted` names."""
        with no_grad():
            if isinstance(module, (Linear, Embedding)) and "weight" in wanted:
                normal_(module.weight, self.config.initializer_range)  # type: ignore[attr-defined]
                if isinstance(module, Embedding) and module.padding_idx is not None:
                    module.weight[module.padding_idx] = 0.0
            if isinstance(module, LayerNorm) and "weight" in wanted:
                module.weight.fill_(1.0)
            if (
                isinstance(module, (Linear, LayerNorm))
                and "bias" in wanted
                and module.bias is not None
            ):
                module.bias.zero_()

    # --- files ----------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        config: PretrainedConfig | None = None,
        device: str | None = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        **options: Any,
    ) -> Any:
        """Load a model from a folder with `config.json` and safetensors weights.

        Args:
            folder: what `save_pretrained`, here or in transformers, has written.
            config: in place of the folder's own.
            device: where the weights go; the default device if None.
            ignore_mismatched_sizes: draw weights of another shape at random instead of raising.
            output_loading_info: return (model, LoadingReport).
            **options: overrides of the config, and arguments of the model's constructor.

        Every tensor is read straight into its place, so that memory peaks at little more than the
        size of the model. The result is in evaluation mode, in float32. Names that do not fit are
        logged once, in one table. Raises CheckpointError for files that are damaged, and
        FileNotFoundError for those that are not there.
        """
        path = Path(folder)
        if not path.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such folder; give the path of a folder with config.json and "
                "model.safetensors"
            )
        own = {name: options.pop(name) for name in cls._constructor_options() if name in options}
        if config is None:
            config = cls.config_class.from_pretrained(path, **options)
        elif options:
            raise TypeError(f"config is given, so {sorted(options)} cannot override it")
        with skip_init(), set_default_device(device or get_default_device()):
            model = cls(config, **own)
        with open_checkpoint(path) as checkpoint:
            report, unset = load_weights(
                model, checkpoint, str(path), cls.base_model_prefix, ignore_mismatched_sizes
            )
        model.init_weights(only=unset)
        if str(report):
            logger.warning("%s", report)
        model.eval()
        return (model, report) if output_loading_info else model

    @classmethod
    def _constructor_options(cls) -> tuple[str, ...]:
        """Keyword arguments that the constructor takes beside the config."""
        return ()

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        max_shard_size: int | str = "5GB",
    ) -> None:
        """Write `config.json` and the weights into a folder, so that transformers can load it too.

        Args:
            folder: made if need be; older weights in it are replaced.
            max_shard_size: the weights are split into files of at most this size.

        The config is written last: a save that is interrupted while the weights are on their way
        leaves the older model whole.
        """
        path = Path(folder)
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"{folder}: exists and is no folder")
        self.config.architectures = [type(self).__name__]
        self.config.to_json_string()  # raises now if it cannot be written
        tensors = {name: tensor.numpy() for name, tensor in _once(self.state_dict()).items()}
        save_sharded(tensors, path, max_shard_size=max_shard_size, metadata={"format": "pt"})
        self.config.save_pretrained(path)


def _once(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state without second names of shared arrays."""
    seen: dict[int, str] = {}
    return {k: t for k, t in state.items() if seen.setdefault(id(t.data), k) == k}
