"""The nine Flax classes of BERT. Each names the class that computes, and its output."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import as_tensor
from tinybert.checks import check_integer
from tinybert.frontends.flax import outputs
from tinybert.frontends.flax.keys import PRNGKey, seed_of
from tinybert.frontends.flax.model import FlaxBertPreTrainedModel
from tinybert.frontends.flax.outputs import FlaxGenerateOutput
from tinybert.functional import concat
from tinybert.models import bert, bert_heads, bert_tasks

__all__ = [
    "FlaxBertForCausalLM",
    "FlaxBertForMaskedLM",
    "FlaxBertForMultipleChoice",
    "FlaxBertForNextSentencePrediction",
    "FlaxBertForPreTraining",
    "FlaxBertForQuestionAnswering",
    "FlaxBertForSequenceClassification",
    "FlaxBertForTokenClassification",
    "FlaxBertModel",
    "FlaxBertPreTrainedModel",
]


class FlaxBertModel(FlaxBertPreTrainedModel):
    """BERT without a head: features (B, T, D) and the pooled vector (B, D)."""

    module_class = bert.BertModel
    output_class = outputs.FlaxBaseModelOutputWithPoolingAndCrossAttentions
    takes_states = True


class FlaxBertForPreTraining(FlaxBertPreTrainedModel):
    """BERT with the two heads of its pre-training: no loss, logits only."""

    module_class = bert_heads.BertForPreTraining
    output_class = outputs.FlaxBertForPreTrainingOutput


class FlaxBertForCausalLM(FlaxBertPreTrainedModel):
    """BERT that predicts the next token. With `is_decoder=False` it sees all tokens."""

    module_class = bert_heads.BertLMHeadModel
    output_class = outputs.FlaxCausalLMOutputWithCrossAttentions
    takes_states = True

    def generate(
        self, input_ids: Any, prng_key: Any = None, params: Any = None, **options: Any
    ) -> FlaxGenerateOutput:
        """Continue the prompts (B, T) up to `max_length` tokens, 20 by default, by greedy search,
        sampling or beam search.

        Args:
            prng_key: a key or seed for sampling; the same key gives the same tokens. Default: 0.
            params: the tree to compute with, `self.params` if None.
            **options: as of `BertLMHeadModel.generate`: attention_mask, max_length, do_sample, ...

        Returns an output with `sequences` (B, max_length), filled up with pad_token_id.
        """
        new = options.get("max_new_tokens")
        if new is None:
            options.setdefault("max_length", 20)
        key = PRNGKey(0) if prng_key is None else prng_key
        state = np.random.SeedSequence(seed_of(key, "prng_key")).generate_state(1)
        module = self._with(params).eval()
        ids = as_tensor(input_ids)
        seen = np.ones(ids.shape, np.int64)  # ids of padding in a prompt hide nothing, as in Flax
        own = {"use_cache": True, "seed": int(state[0]), "attention_mask": seen}
        options = {**own, **options}
        found = module.generate(ids, **options)
        fill = (options["max_length"] if new is None else ids.shape[1] + new) - found.shape[1]
        pad = options.get("pad_token_id")
        pad = self.config.pad_token_id if pad is None else pad
        rest = as_tensor(np.full((found.shape[0], fill), pad), found.device)
        return FlaxGenerateOutput(concat([found, rest], axis=1) if fill > 0 else found)

    def prepare_inputs_for_generation(
        self, input_ids: Any, max_length: int, attention_mask: Any = None
    ) -> dict[str, Any]:
        """Return the further arguments of the first call that generates up to `max_length` tokens:
        an empty cache, the mask (B, max_length), ones where it was not given, and positions that
        do not count padding. Raises ValueError for a `max_length` below T.
        """
        ids = as_tensor(input_ids)
        batch, length = ids.shape
        check_integer("max_length", max_length, length)
        full = np.ones((batch, max_length), np.int64)
        positions = np.broadcast_to(np.arange(length), (batch, length))
        if attention_mask is not None:
            mask = as_tensor(attention_mask).numpy().astype(np.int64)
            full[:, :length], positions = mask, mask.cumsum(axis=-1) - 1
        return {
            "past_key_values": self.init_cache(batch, max_length),
            "attention_mask": as_tensor(full, ids.device),
            "position_ids": as_tensor(positions, ids.device),
        }

    def update_inputs_for_generation(
        self, model_outputs: Any, model_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the arguments of the next call: the new cache, and the next positions."""
        positions = model_kwargs["position_ids"][:, -1:] + 1
        return {
            **model_kwargs,
            "past_key_values": model_outputs.past_key_values,
            "position_ids": positions,
        }


class FlaxBertForMaskedLM(FlaxBertPreTrainedModel):
    """BERT that predicts masked tokens."""

    module_class = bert_heads.BertForMaskedLM
    output_class = outputs.FlaxMaskedLMOutput


class FlaxBertForNextSentencePrediction(FlaxBertPreTrainedModel):
    """BERT that predicts whether the second segment follows the first."""

    module_class = bert_tasks.BertForNextSentencePrediction
    output_class = outputs.FlaxNextSentencePredictorOutput


class FlaxBertForSequenceClassification(FlaxBertPreTrainedModel):
    """BERT that gives the text scores of classes."""

    module_class = bert_tasks.BertForSequenceClassification
    output_class = outputs.FlaxSequenceClassifierOutput


class FlaxBertForMultipleChoice(FlaxBertPreTrainedModel):
    """BERT that chooses one of several continuations; all inputs are (B, C, T)."""

    module_class = bert_tasks.BertForMultipleChoice
    output_class = outputs.FlaxMultipleChoiceModelOutput
    input_axes = "(B, C, T)"


class FlaxBertForTokenClassification(FlaxBertPreTrainedModel):
    """BERT that gives every token scores of classes."""

    module_class = bert_tasks.BertForTokenClassification
    output_class = outputs.FlaxTokenClassifierOutput


class FlaxBertForQuestionAnswering(FlaxBertPreTrainedModel):
    """BERT that scores every token as start and as end of an answer."""

    module_class = bert_tasks.BertForQuestionAnswering
    output_class = outputs.FlaxQuestionAnsweringModelOutput
