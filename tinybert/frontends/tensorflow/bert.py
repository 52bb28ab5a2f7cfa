"""What all TFBert classes share: BERT with TensorFlow's masks and initial weights, and the way that
Keras models are called, built, loaded and saved.

Differences from the PyTorch classes, all of transformers 4.57 (`modeling_tf_bert.py`):

- A masked key gets (1 - mask) * -10000 added to its score, not the lowest number. In a text whose
  keys are all masked the weights are therefore those without a mask, not uniform. A mask may have
  fractions.
- Positions are always absolute, whatever `position_embedding_type` says.
- Embeddings of padding are drawn and trained like the others; matrices are drawn from a normal
  distribution that is cut off at two standard deviations.
- The weights of the word embeddings and the output layer are always one.
- Padding is computed, so that its features and logits are those of TensorFlow.
"""

from __future__ import annotations

import copy
import os
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tinybert.autograd import Tensor, as_tensor, no_grad
from tinybert.backend import generator, parse_device, to_device
from tinybert.frontends.initial import truncated_normal
from tinybert.frontends.tensorflow.fitting import Fitting
from tinybert.frontends.tensorflow.tokenizer import TFBertTokenizer
from tinybert.frontends.tensorflow.weights import Variable, save_weights, variables
from tinybert.model_output import ModelOutput
from tinybert.models.arguments import choose, tensor_of
from tinybert.models.base import PreTrainedModel
from tinybert.models.bert import BertModel
from tinybert.models.call import Call
from tinybert.models.masks import padding_mask
from tinybert.nn import Embedding, Linear, Module
from tinybert.nn.init import stored_weights

MASKED = -10000.0  # added to the score of a masked key


class KerasInitialization(PreTrainedModel):
    """A model whose matrices are drawn as TensorFlow's BERT draws them."""

    zero_padding_row: ClassVar[bool] = False

    def _init_module(self, module: Module, names: set[str]) -> None:
        if "weight" in names and isinstance(module, (Linear, Embedding)):
            names = names - {"weight"}
            if not stored_weights():
                truncated_normal_(module.weight, self.config.initializer_range)
        super()._init_module(module, names)


class TFBertMainLayer(KerasInitialization, BertModel):
    """The part `bert` of the models. It is called as BertModel is, with TensorFlow's masks."""

    def __init__(self, config: Any, add_pooling_layer: bool = True) -> None:
        absolute = copy.copy(config)
        absolute.position_embedding_type = "absolute"
        super().__init__(absolute, add_pooling_layer)
        self.config = config
        self.embeddings.word_embeddings.padding_idx = None  # its row is trained too

    def read_call(self, **arguments: Any) -> Call:
        """Return the call as a `Call` with the masks of TensorFlow; nothing is packed."""
        mask = arguments.pop("attention_mask")
        encoder_mask = arguments.pop("encoder_attention_mask")
        call = super().read_call(attention_mask=None, encoder_attention_mask=None, **arguments)
        own, encoder = self._self_mask(mask, call), self._encoder_mask(encoder_mask, call)
        return replace(call, mask=own, is_causal=False, encoder_mask=encoder)

    def _self_mask(self, mask: Any, call: Call) -> Tensor | None:
        """Return what is added to the scores, from a mask (B, P + T) or None."""
        batch, length = call.shape
        keys = call.past_length + length
        allowed: Any = 1
        if mask is not None:
            given = tensor_of("attention_mask", mask, self.device)
            if given.ndim != 2:
                raise ValueError(
                    f"attention_mask must have shape ({batch}, {keys}), got {given.shape}"
                )
            allowed = padding_mask("attention_mask", given, batch, length, keys, self.dtype)
        if self.is_decoder:
            xp = parse_device(self.device)[0].xp
            seen = xp.arange(keys) <= xp.arange(call.past_length, keys)[:, None]
            allowed = seen.astype(self.dtype)[None, None] * allowed
        return None if mask is None and not self.is_decoder else as_tensor((1 - allowed) * MASKED)

    def _encoder_mask(self, mask: Any, call: Call) -> Tensor | None:
        """Return what is added to the scores, from a mask (B, S) or (B, T, S) or None."""
        if mask is None or call.encoder_states is None:
            return None
        name, (batch, keys) = "encoder_attention_mask", call.encoder_states.shape[:2]
        given = tensor_of(name, mask, self.device)
        return as_tensor(
            (1 - padding_mask(name, given, batch, call.shape[1], keys, self.dtype)) * MASKED
        )


class TFBertPreTrainedModel(Fitting, KerasInitialization):
    """A TFBert class: a PyTorch class of the project, called as a Keras model.

    Args:
        config: a BertConfig.
        name: of the Keras model, the first part of the names of its variables.

    Attributes:
        tokenizer: a TFBertTokenizer that is saved and loaded with the model, or None.

    Attributes, of the class:
        output_class: of the results, with TensorFlow's fields.
        label_names: the arguments of a call that are labels.
    """

    tokenizer: Any = None
    output_class: ClassVar[type[ModelOutput]]
    label_names: ClassVar[tuple[str, ...]] = ()
    call: Any

    def __init__(self, config: Any, *inputs: Any, **kwargs: Any) -> None:
        name = kwargs.pop("name", None)
        if inputs or kwargs:
            raise TypeError(
                f"{type(self).__name__} takes a config and name, got {inputs}, {kwargs}"
            )
        super().__init__(config)
        self.name = name or keras_name(type(self).__name__)

    # --- calling --------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `call`; see `arguments.py` for the forms of its first argument."""
        return self.call(*args, **kwargs)

    def encode(self, training: bool | None, head_mask: Any, **arguments: Any) -> ModelOutput:
        """Return the output of the PyTorch class, without a loss.

        Args:
            training: whether dropout is active in this call; there is no mode between calls.
            head_mask: must be None. NotImplementedError otherwise, as in transformers.
            **arguments: of the PyTorch class.
        """
        if head_mask is not None:
            raise NotImplementedError("head_mask is not supported by the TFBert classes")
        self.train(bool(training))
        return super().__call__(**arguments, return_dict=True)

    def answer_with(self, output: ModelOutput, return_dict: bool | None, loss: Any = None) -> Any:
        """Return the output in TensorFlow's class, or a tuple, which has no past_key_values."""
        names = [field.name for field in fields(self.output_class)]  # type: ignore[arg-type]
        results = {name: output.get(name) for name in names}
        if "loss" in names:
            results["loss"] = loss
        if "cross_attentions" in names and output.get("attentions") is not None:
            crossing = self.config.is_decoder and self.config.add_cross_attention
            if crossing and results["cross_attentions"] is None:  # no states to attend to
                results["cross_attentions"] = ()
        if choose(return_dict, self.config.return_dict):
            return self.output_class(**results)
        results.pop("past_key_values", None)
        return tuple(
            value for name, value in results.items() if value is not None or name == "pooler_output"
        )

    @property
    def dummy_inputs(self) -> dict[str, np.ndarray]:
        """The smallest input of a call."""
        ids = np.array([[1, 1]])
        return {"input_ids": ids, "attention_mask": ids, "token_type_ids": ids * 0}

    # --- parts ----------------------------------------------------------------------------------

    @property
    def weights(self) -> list[Variable]:
        """All weights under their Keras names, kernels as (in, out), in the order of Keras."""
        return variables(self)

    @property
    def trainable_variables(self) -> list[Variable]:
        """The weights that are trained."""
        return [weight for weight in self.weights if weight.parameter.requires_grad]

    def tie_weights(self) -> None:
        """Share the weight of the token embeddings, whatever the config says."""
        tied, self.config.tie_word_embeddings = self.config.tie_word_embeddings, True
        try:
            super().tie_weights()
        finally:
            self.config.tie_word_embeddings = tied

    def resize_token_embeddings(self, new_num_tokens: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Change the size of the vocabulary; see `Surgery.resize_token_embeddings`."""
        old = self.config.vocab_size
        table = super().resize_token_embeddings(new_num_tokens, *args, **kwargs)
        if self.config.vocab_size > old and not (args[1:] or kwargs.get("mean_resizing")):
            truncated_normal_(table.weight, self.config.initializer_range, old)
        return table

    def prune_heads(self, heads_to_prune: Any) -> None:
        """Raise NotImplementedError, as TensorFlow's classes do."""
        raise NotImplementedError("the TFBert classes do not support prune_heads")

    # --- files ----------------------------------------------------------------------------------

    @classmethod
    def _constructor_options(cls) -> tuple[str, ...]:
        return ("name",)

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, from_pt: bool = False, **options: Any
    ) -> Any:
        """Load a model; see `PreTrainedModel.from_pretrained`. Weights of any framework are read,
        with from_pt or without it.
        """
        return super().from_pretrained(folder, **options)

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        max_shard_size: int | str = "5GB",
        dtype: str | None = None,
        *,
        safe_serialization: bool | None = None,
    ) -> None:
        """Save config and weights in a folder that transformers' TensorFlow classes load.

        Args:
            folder: created if needed; older weights in it, of any framework, are replaced.
            max_shard_size: the largest size of one safetensors file, such as "5GB".
            dtype: store floating weights in this format; only in safetensors files.
            safe_serialization: True: `model.safetensors`; False: `tf_model.h5`, which needs h5py;
                None: `tf_model.h5` if h5py is installed.
        """
        self.config.architectures = [type(self).__name__.removeprefix("TF")]
        save_weights(self, folder, max_shard_size, dtype, safe_serialization)

    def save_extras(self, folder: Path) -> None:
        """Save the tokenizer, if the model has one."""
        super().save_extras(folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)

    def load_extras(self, folder: Path) -> None:
        """Load the tokenizer, if the folder has a vocabulary."""
        super().load_extras(folder)
        if (folder / "vocab.txt").exists():
            self.tokenizer = TFBertTokenizer.from_pretrained(folder)


def keras_name(class_name: str) -> str:
    """Return a class's name in snake case, as Keras names its models: TFBertModel, tf_bert_model.

    >>> keras_name("TFBertLMHeadModel")
    'tf_bert_lm_head_model'
    """
    words = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", class_name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def truncated_normal_(tensor: Tensor, std: float, start: int = 0) -> None:
    """Overwrite rows from `start` with normal numbers of this standard deviation, drawn again while
    they are over two of it away from 0 (so theirs is 0.88 of it).
    """
    drawn = truncated_normal(generator("cpu"), tensor[start:].shape)
    with no_grad():
        tensor[start:] = as_tensor(to_device((drawn * std).astype(tensor.dtype), tensor.device))
