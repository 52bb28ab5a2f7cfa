"""`FlaxBertPreTrainedModel`: a model whose parameters are passed to each call.

    model = FlaxBertForMaskedLM.from_pretrained(folder)
    logits = model(ids, params=params, dropout_rng=key, train=True).logits

It computes with the torch class of the same name, whose parameters are replaced by those of the
tree for one call. No layer, head or mask is written again. What differs:

    parameters     a tree of dicts, kernels (in, out); held by the model only as a default
    dropout        only with train=True, from `dropout_rng`; attention drops the same keys for all
                   texts and heads
    masks          cast to integers first: 0.5 hides a key
    embeddings     the row of padding is drawn and trained like the others
    positions      absolute always, whatever the config says

The points in which transformers is not followed are in `tinybert.deviations`, under "FlaxBert".

Oracle   transformers 4.57.6, `modeling_flax_bert.py`, with jax 0.4.23 and flax 0.7.5
Shapes   B batch, T tokens, D hidden, H heads, L layers, C choices
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tinybert.atomic import saving
from tinybert.autograd import Tensor, as_tensor, get_default_device
from tinybert.backend import drawing_from, is_array, parse_device
from tinybert.checks import check_choice, check_integer
from tinybert.formats.flax.writing import save_msgpack
from tinybert.frontends.files import MSGPACK, older_weights
from tinybert.frontends.flax import cache as caches
from tinybert.frontends.flax.keys import PRNGKey, seed_of
from tinybert.frontends.flax.outputs import FlaxModelOutput
from tinybert.frontends.flax.parameters import (
    as_parameters,
    check_complete,
    fresh,
    from_module,
    leaves_of,
    places,
    tree_of,
)
from tinybert.models.arguments import choose
from tinybert.models.attention import SelfAttention
from tinybert.models.bert import BertConfig
from tinybert.models.foreign_options import FOREIGN
from tinybert.nn import Dropout
from tinybert.nn.init import hollow_init
from tinybert.nn.packing import padded
from tinybert.transforms import tree_map, with_parameters
from tinybert.weights import save_file
from tinybert.weights.dtypes import FORMATS
from tinybert.weights.folder import SINGLE

ACTIVATIONS = (
    *("gelu", "relu", "silu", "swish", "gelu_new", "quick_gelu", "gelu_pytorch_tanh", "tanh"),
)
_CONSTRUCTOR = ("input_shape", "seed", "gradient_checkpointing", "add_pooling_layer")
_LOADER = ("ignore_mismatched_sizes", "ignore_missing_keys", "revision", "token")


class FlaxBertPreTrainedModel:
    """What the Flax classes share.

    Args:
        config: a BertConfig.
        input_shape: accepted as in Flax; the parameters do not depend on it.
        seed: of the initial parameters.
        dtype: of the computation and the outputs, "float32", "float64" or "float16". Parameters
            stay float32.
        _do_init: False: hold no parameters; they are passed to every call (see `init_weights`).
        gradient_checkpointing: compute each layer again in the backward pass.
        **options: add_pooling_layer, of FlaxBertModel.

    Raises ValueError for options that are out of range.
    """

    config_class: ClassVar[type[BertConfig]] = BertConfig
    base_model_prefix: ClassVar[str] = "bert"
    framework: ClassVar[str] = "flax"
    module_class: ClassVar[type[Any]]
    output_class: ClassVar[type[FlaxModelOutput]]
    takes_states: ClassVar[bool] = False  # of an encoder
    input_axes: ClassVar[str] = "(B, T)"

    def __init__(
        self,
        config: BertConfig,
        input_shape: tuple[int, ...] = (1, 1),
        seed: int = 0,
        dtype: Any = np.float32,
        _do_init: bool = True,
        gradient_checkpointing: bool = False,
        **options: Any,
    ) -> None:
        self.config, self.key, self.input_shape = config, PRNGKey(seed), input_shape
        self.dtype = _float_dtype(dtype)
        check_choice("hidden_act", config.hidden_act, ACTIVATIONS)
        if config.add_cross_attention and not self.takes_states:
            raise ValueError(
                "add_cross_attention is for FlaxBertModel and FlaxBertForCausalLM, not for "
                f"{type(self).__name__}"
            )
        with hollow_init():  # its own parameters are never used
            self._module = self.module_class(_module_config(config), **options)
        self._module.base_model.embeddings.word_embeddings.padding_idx = None
        for part in self._module.modules():
            if isinstance(part, SelfAttention):
                part.dropout.shared = True
        self._places = places(self._module)
        if gradient_checkpointing:
            self.enable_gradient_checkpointing()
        self._params: dict[str, Any] | None = None
        if _do_init:
            self._params = self.init_weights(self.key, input_shape)

    # --- parameters -------------------------------------------------------------------------------

    @property
    def module(self) -> Any:
        """The module that computes; its own parameters hold no values."""
        return self._module

    @property
    def required_params(self) -> set[tuple[str, ...]]:
        """The paths of all leaves."""
        return set(self._places)

    @property
    def params_shape_tree(self) -> dict[str, Any]:
        """The tree of shapes; each leaf has `shape` and `dtype`."""
        return tree_of({path: ShapeDtype(place.leaf_shape) for path, place in self._places.items()})

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that calls use unless they are given others. Missing leaves of a new tree
        raise ValueError; further leaves are kept.
        """
        if self._params is None:
            raise ValueError(_WITHOUT)
        return self._params

    @params.setter
    def params(self, tree: dict[str, Any]) -> None:
        if self._params is None:
            raise ValueError(_WITHOUT)
        check_complete(leaves_of(tree), self._places)
        self._params = tree

    def named_state(self) -> Iterator[tuple[str, Any]]:
        """Return the held parameters by path; `jit` checks that they stay as they are."""
        return (("/".join(path), leaf) for path, leaf in leaves_of(self._params or {}).items())

    def init_weights(
        self, rng: Any, input_shape: tuple[int, ...] = (1, 1), params: Any = None
    ) -> dict[str, Any]:
        """Return a tree of fresh parameters, which depend on `rng` alone; or `params`, filled up
        with fresh ones where leaves are missing.
        """
        leaves = leaves_of(params or {})
        key, std = seed_of(rng, "rng"), self.config.initializer_range
        base = self.module_class.base_model_prefix
        has_head = any(path[0] == base for path in self._places)
        for path, place in self._places.items():
            if path not in leaves:
                leaves[path] = fresh(path, place, key, std, has_head and path[0] != base)
        return tree_of(leaves)

    def enable_gradient_checkpointing(self) -> None:
        """Compute each layer again in the backward pass instead of keeping its results."""
        self._module.gradient_checkpointing_enable()

    def to_fp32(self, params: Any, mask: Any = None) -> Any:
        """Return a tree in float32; with a tree of booleans, only the leaves where it is True."""
        return _cast(params, mask, lambda leaf: leaf.to(np.float32))

    def to_fp16(self, params: Any, mask: Any = None) -> Any:
        """Return a tree in float16; see `to_fp32`."""
        return _cast(params, mask, lambda leaf: leaf.to(np.float16))

    def to_bf16(self, params: Any, mask: Any = None) -> Any:
        """Return a tree rounded to bfloat16; NumPy lacks that dtype, so it is held in float32."""
        return _cast(params, mask, _rounded)

    # --- the call ---------------------------------------------------------------------------------

    def __call__(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        head_mask: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        params: dict[str, Any] | None = None,
        dropout_rng: Any = None,
        train: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        past_key_values: dict[str, Any] | None = None,
    ) -> Any:
        """Run the model. The arguments are arrays or Tensors, and are cast to integers.

        Args:
            input_ids, token_type_ids, position_ids: (B, T); (B, C, T) for multiple choice.
            attention_mask: as input_ids, above 0 for tokens; with a cache (B, limit).
            head_mask: (L, H), a factor for each attention head, 0 or 1.
            encoder_hidden_states: (B, S, D), if the config has add_cross_attention; else ignored.
                `encoder_attention_mask`: (B, S), above 0 for tokens.
            params: the tree to compute with, `self.params` if None or empty; gradients flow into
                its Tensors.
            dropout_rng: a key or seed, needed with `train`; the same key drops the same elements.
            train: whether dropout is active.
            output_attentions, output_hidden_states, return_dict: as of BertModel.
            past_key_values: the cache of a decoder, from `init_cache` or the last call's output.

        Returns the class's output; a tuple, with the cache second, if `return_dict` is False.
        Raises TypeError for lists and wrong numbers of axes, and ValueError for ids out of range,
        wrong shapes, missing parameters, and dropout without a key.
        """
        ids = _integers("input_ids", input_ids, self.input_axes)
        base, cache = self._module.base_model, None
        if past_key_values:
            cache = caches.Cache(past_key_values, self._cache_prefix(), len(base.stack))
        arguments: dict[str, Any] = {"input_ids": ids}
        for name, value in (("token_type_ids", token_type_ids), ("position_ids", position_ids)):
            if value is not None:
                arguments[name] = _integers(name, value, self.input_axes)
        arguments["attention_mask"] = self._mask(attention_mask, ids, cache)
        if head_mask is not None:
            arguments["head_mask"] = _integers("head_mask", head_mask, "(L, H)")
        if encoder_hidden_states is not None and self.config.add_cross_attention:
            arguments["encoder_hidden_states"] = encoder_hidden_states
            if encoder_attention_mask is not None:
                visible = as_tensor(encoder_attention_mask).data > 0
                arguments["encoder_attention_mask"] = visible
        if cache is not None:
            arguments |= {"past_key_values": cache.past, "use_cache": True}
        module = self._with(params).train(train)
        with padded(), self._seeded(module, dropout_rng):
            output = module(
                **arguments, return_dict=True,
                output_attentions=choose(output_attentions, self.config.output_attentions),
                output_hidden_states=choose(output_hidden_states, self.config.output_hidden_states),
            )  # fmt: skip
        names = [field.name for field in fields(self.output_class)]  # type: ignore[arg-type]
        found = {name: output.get(name) for name in names if name != "past_key_values"}
        if cache is not None:
            found["past_key_values"] = cache.after(output.past_key_values)
        if choose(return_dict, self.config.return_dict):
            return self.output_class(**found)
        new = found.pop("past_key_values", None)
        parts = [part for part in found.values() if part is not None]
        return tuple(parts if new is None else [parts[0], new, *parts[1:]])

    def _with(self, params: dict[str, Any] | None) -> Any:
        """Return the module with the parameters of a call."""
        tree = params or self.params
        return with_parameters(self._module, as_parameters(tree, self._places, self.dtype))

    def _mask(self, given: Any, ids: Tensor, cache: caches.Cache | None) -> Any:
        """Return the mask for the module: (B, T), or (B, T, keys) where it must replace its rule.

        The module of an encoder with cross-attention is a decoder. With three axes its mask is not
        made causal. With a cache, keys that are not computed yet are cut off.
        """
        if cache is None:
            if given is not None:
                given = (_integers("attention_mask", given, self.input_axes) > 0).data
            if self.config.is_decoder or not self.config.add_cross_attention:
                return given
            if given is None:
                given = ids.data >= ids.data  # all True
            return given[:, None].repeat(ids.shape[1], axis=1)
        past, (batch, length) = cache.length, ids.shape
        if past + length > cache.limit:
            raise ValueError(
                f"past_key_values holds {past} of {cache.limit} tokens: {length} more do not fit"
            )
        if given is None:
            return None
        visible = (_integers("attention_mask", given, "(B, limit)") > 0).data
        if visible.shape != (batch, cache.limit):
            raise ValueError(
                f"attention_mask must have shape {(batch, cache.limit)}, that of the cache, got "
                f"{visible.shape}"
            )
        return visible[:, : past + length]

    def _seeded(self, module: Any, key: Any) -> Any:
        """Return the context that draws dropout from a key."""
        if not module.training:
            return nullcontext()
        if key is None:
            if not any(isinstance(part, Dropout) and part.p for part in module.modules()):
                return nullcontext()
            raise ValueError(
                "train=True needs dropout_rng, a seed or a key such as PRNGKey(0): the config has "
                "dropout"
            )
        seed = seed_of(key, "dropout_rng")
        cpu, (device, index) = parse_device("cpu")[0], parse_device(module.device)
        return drawing_from(
            {"cpu:0": cpu.new_generator(seed), f"{device.name}:{index}": device.new_generator(seed)}
        )

    # --- the cache of a decoder -------------------------------------------------------------------

    def init_cache(self, batch_size: int, max_length: int) -> dict[str, Any]:
        """Return an empty cache for `max_length` tokens, to pass as `past_key_values`.

        Raises ValueError for an encoder, and for more tokens than max_position_embeddings.
        """
        config = self.config
        if not config.is_decoder:
            raise ValueError("init_cache is for decoders; set is_decoder=True")
        check_integer("batch_size", batch_size, 1)
        check_integer("max_length", max_length, 1)
        self._module.base_model.check_length("max_length", max_length, 0)
        heads = config.num_attention_heads
        shape = (batch_size, max_length, heads, config.hidden_size // heads)
        xp = parse_device(get_default_device())[0].xp
        layers = config.num_hidden_layers
        return caches.empty(self._cache_prefix(), layers, shape, self.dtype, xp)

    def _cache_prefix(self) -> tuple[str, ...]:
        base = self._module.base_model
        return (
            *((self.base_model_prefix,) if base is not self._module else ()),
            "encoder",
            "layer",
        )

    # --- files ------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        dtype: Any = np.float32,
        *,
        config: BertConfig | None = None,
        _do_init: bool = True,
        from_pt: bool = False,
        **options: Any,
    ) -> Any:
        """Load a model from a folder, a file or the Hub, in any format that BertModel loads.

        Args:
            folder, config, and further options: as of `BertModel.from_pretrained`.
            dtype: of the computation.
            _do_init: False: return (model, params); leaves that the folder lacks are missing.
            from_pt: accepted as in transformers; the format is told from the content.
            seed, gradient_checkpointing, add_pooling_layer: as of the class.

        Leaves that the folder lacks are drawn with `seed`.
        """
        own = {name: options.pop(name) for name in _CONSTRUCTOR if name in options}
        loading = {name: options.pop(name) for name in (*FOREIGN, *_LOADER) if name in options}
        if config is None:
            where = {k: v for k, v in loading.items() if k in ("revision", "token")}
            config = cls.config_class.from_pretrained(folder, **where, **options)
        elif options:
            raise TypeError(f"config is given, so {sorted(options)} cannot override it")
        model = cls(config, dtype=dtype, _do_init=False, **own)
        pooler = {k: v for k, v in own.items() if k == "add_pooling_layer"}
        module_class: Any = type(cls.__name__, (cls.module_class,), {})  # named in the report
        loaded, report = module_class.from_pretrained(
            folder, config=_module_config(config), output_loading_info=True, **loading, **pooler
        )
        unset = {*report.missing_keys, *(name for name, *_ in report.mismatched_keys)}
        leaves = from_module(loaded, model._places)
        kept = {p: leaf for p, leaf in leaves.items() if model._places[p].name not in unset}
        if not _do_init:
            return model, tree_of(kept)
        model._params = model.init_weights(model.key, model.input_shape, tree_of(kept))
        return model

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        params: Any = None,
        safe_serialization: bool = False,
    ) -> None:
        """Save `config.json` and the parameters, `params` or the model's own, in a folder that
        transformers' Flax classes and our torch classes load.

        Args:
            save_directory: created if needed; older weights in it, of any framework, are replaced.
            safe_serialization: save Flax's `model.safetensors` instead of `flax_model.msgpack`.
        """
        path = Path(save_directory)
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"save_directory {str(path)!r} exists and is not a folder")
        leaves = {p: as_tensor(x).numpy() for p, x in leaves_of(params or self.params).items()}
        check_complete(leaves, self._places)
        config = copy.deepcopy(self.config)
        config.architectures = [type(self).__name__.removeprefix("Flax")]

        with saving(path, older_weights) as new:
            if safe_serialization:
                named = {".".join(p): array for p, array in leaves.items()}
                save_file(named, new / SINGLE, {"format": "flax"})
            else:
                save_msgpack(tree_of(leaves), new / MSGPACK)
            config.save_pretrained(new)


_WITHOUT = (
    "the model holds no params, since _do_init=False: pass params to each call; "
    "init_weights(rng, input_shape) makes fresh ones"
)


class ShapeDtype:
    """A leaf of `params_shape_tree`: `shape`, and `dtype`, which is float32."""

    dtype = np.dtype(np.float32)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __repr__(self) -> str:
        return f"ShapeDtype(shape={self.shape}, dtype={self.dtype})"


def _module_config(config: BertConfig) -> BertConfig:
    """Return the config of the module that computes: a decoder if it has cross-attention."""
    config = copy.deepcopy(config)
    config.position_embedding_type = "absolute"
    config.pruned_heads, config.use_cache = {}, False
    config.is_decoder = config.is_decoder or config.add_cross_attention
    return config


def _float_dtype(dtype: Any) -> np.dtype:
    name = getattr(dtype, "__name__", None) or str(dtype)
    if name not in ("float16", "float32", "float64"):
        raise ValueError(
            f"dtype must be float16, float32 or float64, got {name!r}; NumPy has no bfloat16: "
            "to_bf16(params) rounds the parameters"
        )
    return np.dtype(name)


def _integers(name: str, value: Any, axes: str) -> Tensor:
    """Return an array as integers, fractions cut off; TypeError for lists and other axes."""
    if not (isinstance(value, Tensor) or is_array(value)):
        raise TypeError(f"{name} must be an array of shape {axes}, got {type(value).__name__}")
    array = value.data if isinstance(value, Tensor) else value
    if array.ndim != axes.count(",") + 1:
        raise TypeError(f"{name} must be an array of shape {axes}, got {array.shape}")
    return as_tensor(array.astype(np.int64))


def _cast(params: Any, mask: Any, change: Any) -> Any:
    def cast(leaf: Any, chosen: Any = True) -> Tensor:
        tensor = as_tensor(leaf)
        return change(tensor) if chosen and tensor.dtype.kind == "f" else tensor

    return tree_map(cast, params) if mask is None else tree_map(cast, params, mask)


def _rounded(leaf: Tensor) -> Tensor:
    codes = FORMATS["BF16"]
    array = codes.widen(codes.narrow(leaf.numpy()))  # type: ignore[misc]
    return as_tensor(array, leaf.device)
