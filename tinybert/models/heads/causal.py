"""The head that predicts the next token.

Shapes   B batch, T tokens, D hidden, V vocabulary
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from tinybert.autograd import Tensor
from tinybert.checks import is_integer
from tinybert.generation import GenerationMixin
from tinybert.models import losses
from tinybert.models.arguments import tensor_of
from tinybert.models.config import PretrainedConfig
from tinybert.models.heads.words import LanguageModel
from tinybert.nn.packing import predicts_at_padding
from tinybert.outputs import CausalLMOutputWithCrossAttentions, ModelOutput

logger = logging.getLogger("tinybert")


class CausalLM(GenerationMixin, LanguageModel):
    """Predict the next token; `generate` continues a text.

    Attributes, of the class:
        always_causal: the family has only decoders, and ignores the config's `is_decoder`.
    """

    output_class: ClassVar[type[ModelOutput]] = CausalLMOutputWithCrossAttentions
    always_causal: ClassVar[bool] = False

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        if not (config.is_decoder or self.always_causal):
            logger.warning(
                "%s attends to the tokens that it should predict, unless is_decoder=True",
                type(self).__name__,
            )

    def reads_padding(self, mask: Tensor, given: dict[str, Any]) -> bool:
        labels = given.get("labels")
        read = None if labels is None else tensor_of("labels", labels, "cpu")
        return predicts_at_padding(mask, read)

    def answer(
        self,
        base: ModelOutput,
        labels: Any,
        return_dict: bool | None,
        logits_to_keep: Any = 0,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return CausalLMOutputWithCrossAttentions, or the family's own, with logits (B, T, V).

        Args:
            base: the base model's output.
            labels: (B, T), usually the `input_ids`: the loss compares each position with the next
                label; -100 where a position does not count.
            logits_to_keep: compute the logits of the last so many positions only, or of the
                positions with these indices; of all if 0.
            num_items_in_batch: the loss is the sum divided by this number instead of the mean; see
                `losses.next_token_loss`.

        Raises ValueError for labels with logits_to_keep.
        """
        x = base["last_hidden_state"]
        last = is_integer(logits_to_keep)
        keep_all = last and logits_to_keep == 0
        if not keep_all:
            if labels is not None:
                raise ValueError(f"labels need all logits, got logits_to_keep={logits_to_keep}")
            x = x[:, slice(-int(logits_to_keep), None) if last else logits_to_keep]
        logits = self.on_tokens(self.word_logits, base) if keep_all else self.word_logits(x)
        loss = None
        if labels is not None:
            loss = losses.next_token_loss(logits, labels, num_items_in_batch)
        return self.finish(self.output_class, base, return_dict, loss=loss, logits=logits)
