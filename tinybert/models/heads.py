"""What stands on top of a model: the head that turns features into an answer, and its loss.

Written once for all families. A family's class names its base model and adds nothing, or only what
its head has that others have not:

    class BertForTokenClassification(TokenClassification, BertHead): ...

Shapes   B batch, T tokens, D hidden, V vocabulary, C choices
Oracle   transformers' classes of the same names, with their parameter names
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from tinybert.autograd import Tensor
from tinybert.generation import GenerationMixin
from tinybert.models import losses
from tinybert.models.activations import activation
from tinybert.models.config import PretrainedConfig
from tinybert.models.inputs import tensor_of
from tinybert.models.with_head import ModelWithHead
from tinybert.nn import LayerNorm, Linear, Module, Parameter
from tinybert.nn.init import full
from tinybert.outputs import (
    CausalLMOutputWithCrossAttentions,
    MaskedLMOutput,
    ModelOutput,
    MultipleChoiceModelOutput,
    NextSentencePredictorOutput,
    PreTrainingOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

logger = logging.getLogger("tinybert")

# The inputs of a multiple choice that have an axis for the choices.
WITH_CHOICES = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "inputs_embeds")

# --- words ----------------------------------------------------------------------------------------


class PredictionHead(Module):
    """From features to a score for every word: a dense layer, a norm, and the table of words.

    logits = LayerNorm(act(x @ W^T + b)) @ words^T + bias (Devlin et al. 2018, released code). The
    decoder's weight is the table of word embeddings, if embeddings are tied.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.transform = PredictionTransform(config)
        self.decoder = Linear(config.hidden_size, config.vocab_size)
        self.bias = Parameter(full((config.vocab_size,), 0.0))
        self.decoder.bias = self.bias  # two names for one

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, V)."""
        return self.decoder(self.transform(x))


class PredictionTransform(Module):
    """The dense layer, activation and norm before the table of words."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.activation = activation(config.hidden_act)
        self.LayerNorm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        return self.LayerNorm(self.activation(self.dense(x)))


class PreTrainingHeads(Module):
    """The heads under the name `cls`: `predictions`, `seq_relationship`, or both."""

    def __init__(self, config: Any, words: bool, next_sentence: bool) -> None:
        super().__init__()
        if words:
            self.predictions = PredictionHead(config)
        if next_sentence:
            self.seq_relationship = Linear(config.hidden_size, 2)


class LanguageModel(ModelWithHead):
    """A model with a score for every word; the head is `cls.predictions`.

    A family with another head overrides `add_head`, `word_logits` and `get_output_embeddings`.
    """

    def add_head(self, config: Any) -> None:
        self.cls = PreTrainingHeads(config, words=True, next_sentence=False)

    def word_logits(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, V)."""
        return self.cls.predictions(x)

    def get_output_embeddings(self) -> Linear | None:
        """The layer whose weight has a row for every word."""
        return self.cls.predictions.decoder

    def set_output_embeddings(self, embeddings: Linear) -> None:
        """Exchange the layer whose weight has a row for every word, and the bias with it."""
        self.cls.predictions.decoder = embeddings
        self.cls.predictions.bias = embeddings.bias  # type: ignore[assignment]

    def tie_weights(self) -> None:
        super().tie_weights()
        output = self.get_output_embeddings()
        if output is not None:
            self.set_output_embeddings(output)


class MaskedLM(LanguageModel):
    """Which word stands at each place?"""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        if config.is_decoder:
            logger.warning(
                "%s reads texts from both sides; is_decoder should be False", type(self).__name__
            )

    def forward(
        self, *inputs: Any, labels: Any = None, return_dict: bool | None = None, **options: Any
    ) -> Any:
        """Score every word at every place.

        Args:
            inputs, options: of the base model.
            labels: (B, T), the words that stand there; -100 where it does not count.

        Returns MaskedLMOutput with logits (B, T, V).
        """
        base = self.run_base(inputs, options)
        logits = self.word_logits(base["last_hidden_state"])
        loss = None if labels is None else losses.token_loss(logits, labels)
        return self.finish(MaskedLMOutput, base, return_dict, loss=loss, logits=logits)


class CausalLM(GenerationMixin, LanguageModel):
    """Which word comes next?

    Attributes, of the class:
        always_causal: the family has decoders only, whatever its configs say of `is_decoder`.
        caches_with_labels: with labels, too, keys and values are kept if asked for.
    """

    output_class: ClassVar[type[ModelOutput]] = CausalLMOutputWithCrossAttentions
    always_causal: ClassVar[bool] = False
    caches_with_labels: ClassVar[bool] = False

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        if not (config.is_decoder or self.always_causal):
            logger.warning(
                "%s looks at the words that it should predict, unless is_decoder=True",
                type(self).__name__,
            )

    def forward(
        self,
        *inputs: Any,
        labels: Any = None,
        logits_to_keep: Any = 0,
        num_items_in_batch: Any = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> Any:
        """Score every word as the next one, at every place.

        Args:
            inputs, options: of the base model; with labels nothing is cached, unless the class
                says so.
            labels: (B, T), as a rule the `input_ids`: the head moves them by one place itself;
                -100 where it does not count.
            logits_to_keep: score only the last so many places, or those with these numbers; all
                if 0.
            num_items_in_batch: the loss is the sum divided by this number, in place of the mean;
                see `losses.next_token_loss`.

        Returns CausalLMOutputWithCrossAttentions, or what the family has in its place, with logits
        (B, T, V).
        """
        keep_all = isinstance(logits_to_keep, int) and logits_to_keep == 0
        if labels is not None:
            if not self.caches_with_labels:
                options["use_cache"] = False
            if not keep_all:
                raise ValueError(f"labels need all logits, got logits_to_keep={logits_to_keep}")
        base = self.run_base(inputs, options)
        x = base["last_hidden_state"]
        if isinstance(logits_to_keep, int):
            logits_to_keep = slice(-logits_to_keep, None)
        logits = self.word_logits(x if keep_all else x[:, logits_to_keep])
        loss = None
        if labels is not None:
            loss = losses.next_token_loss(logits, labels, num_items_in_batch)
        return self.finish(self.output_class, base, return_dict, loss=loss, logits=logits)


class PreTraining(LanguageModel):
    """BERT's two tasks at once: hidden words, and whether the second segment follows the first."""

    uses_pooler: ClassVar[bool] = True

    def add_head(self, config: Any) -> None:
        self.cls = PreTrainingHeads(config, words=True, next_sentence=True)

    def forward(
        self,
        *inputs: Any,
        labels: Any = None,
        next_sentence_label: Any = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> Any:
        """Score every word at every place, and the order of the segments.

        Args:
            inputs, options: of the base model.
            labels: (B, T), the words that stand there; -100 where it does not count.
            next_sentence_label: (B,), 0 if the second segment follows the first, 1 if not.

        Returns PreTrainingOutput; its loss, the sum of both, needs both kinds of labels.
        """
        base = self.run_base(inputs, options)
        words = self.word_logits(base["last_hidden_state"])
        order = self.cls.seq_relationship(base["pooler_output"])
        loss = None
        if labels is not None and next_sentence_label is not None:
            loss = losses.token_loss(words, labels) + losses.class_loss(
                order, next_sentence_label, "next_sentence_label"
            )
        return self.finish(
            PreTrainingOutput, base, return_dict,
            loss=loss, prediction_logits=words, seq_relationship_logits=order,
        )  # fmt: skip


# --- the whole text -------------------------------------------------------------------------------


class NextSentencePrediction(ModelWithHead):
    """Does the second segment follow the first?"""

    uses_pooler: ClassVar[bool] = True

    def add_head(self, config: Any) -> None:
        self.cls = PreTrainingHeads(config, words=False, next_sentence=True)

    def forward(
        self, *inputs: Any, labels: Any = None, return_dict: bool | None = None, **options: Any
    ) -> Any:
        """Score the order of the segments.

        Args:
            inputs, options: of the base model.
            labels: (B,), 0 if the second segment follows the first, 1 if it does not.

        Returns NextSentencePredictorOutput with logits (B, 2).
        """
        base = self.run_base(inputs, options)
        logits = self.cls.seq_relationship(base["pooler_output"])
        loss = None if labels is None else losses.class_loss(logits, labels)
        return self.finish(NextSentencePredictorOutput, base, return_dict, loss=loss, logits=logits)


class SequenceClassification(ModelWithHead):
    """Which class, which classes, or what number belongs to the text?"""

    uses_pooler: ClassVar[bool] = True
    output_class: ClassVar[type[ModelOutput]] = SequenceClassifierOutput

    def add_head(self, config: Any) -> None:
        self.dropout = self.classifier_dropout(config)
        self.classifier = Linear(config.hidden_size, config.num_labels)

    def forward(
        self, *inputs: Any, labels: Any = None, return_dict: bool | None = None, **options: Any
    ) -> Any:
        """Score the classes.

        Args:
            inputs, options: of the base model.
            labels: (B,) class numbers, (B, num_labels) zeros and ones, or numbers to be met:
                the config's `problem_type` says which loss is taken, see `losses.sequence_loss`.

        Returns SequenceClassifierOutput, or what the family has in its place, with logits
        (B, num_labels).
        """
        named = self.named_inputs(inputs, options)
        base = self.run_base((), named)
        logits = self.text_logits(base, named)
        loss = None if labels is None else losses.sequence_loss(logits, labels, self.config)
        return self.finish(self.output_class, base, return_dict, loss=loss, logits=logits)

    def text_logits(self, base: ModelOutput, named: dict[str, Any]) -> Tensor:
        """The scores (B, num_labels): of the pooled text, in a family that has a pooler."""
        return self.classifier(self.dropout(base["pooler_output"]))


class MultipleChoice(ModelWithHead):
    """Which of C continuations is the right one? Each is read on its own, and gets one score."""

    uses_pooler: ClassVar[bool] = True

    def add_head(self, config: Any) -> None:
        self.dropout = self.classifier_dropout(config)
        self.classifier = Linear(config.hidden_size, 1)

    def forward(
        self, *inputs: Any, labels: Any = None, return_dict: bool | None = None, **options: Any
    ) -> Any:
        """Score the choices.

        Args:
            inputs, options: of the base model, with an axis for the choices: (B, C, T) ids, masks
                and positions, (B, C, T, D) embeddings.
            labels: (B,), the number of the right choice.

        Returns MultipleChoiceModelOutput with logits (B, C); the hidden states and attentions have
        a batch of B * C.
        """
        named = self.named_inputs(inputs, options)
        given = {
            name: tensor_of(name, named[name], self.device)
            for name in WITH_CHOICES
            if named.get(name) is not None
        }
        _check_choices(given)
        for name, value in given.items():
            named[name] = value.reshape(value.shape[0] * value.shape[1], *value.shape[2:])
        base = self.run_base((), named)
        choices = given["input_ids" if "input_ids" in given else "inputs_embeds"].shape[:2]
        logits = self.classifier(self.dropout(base["pooler_output"])).reshape(*choices)
        loss = None if labels is None else losses.class_loss(logits, labels)
        return self.finish(MultipleChoiceModelOutput, base, return_dict, loss=loss, logits=logits)


def _check_choices(given: dict[str, Tensor]) -> None:
    """Raise unless all inputs have the same B, C and T; one row of types or positions may stand for
    all.
    """
    for name, value in given.items():
        wanted = "(B, C, T, D)" if name == "inputs_embeds" else "(B, C, T)"
        if value.ndim != wanted.count(",") + 1 or 0 in value.shape[1:3]:
            raise ValueError(
                f"{name} must have shape {wanted}, with at least one choice and one token, "
                f"got {value.shape}"
            )
    for tokens in given.keys() & {"input_ids", "inputs_embeds"}:
        shape = given[tokens].shape[:3]
        for name, value in given.items():
            allowed = [shape] if name == "attention_mask" else [shape, (1, 1, shape[2])]
            if value.shape[:3] not in allowed:
                raise ValueError(
                    f"{name} must have shape {shape}, as {tokens} has, got {value.shape}"
                )


# --- every token ----------------------------------------------------------------------------------


class TokenClassification(ModelWithHead):
    """Which class does each token belong to?"""

    def add_head(self, config: Any) -> None:
        self.dropout = self.classifier_dropout(config)
        self.classifier = Linear(config.hidden_size, config.num_labels)

    def forward(
        self, *inputs: Any, labels: Any = None, return_dict: bool | None = None, **options: Any
    ) -> Any:
        """Score the classes of every token.

        Args:
            inputs, options: of the base model.
            labels: (B, T) class numbers, -100 where it does not count. Padding counts unless its
                label is -100: the attention mask is not asked.

        Returns TokenClassifierOutput with logits (B, T, num_labels).
        """
        base = self.run_base(inputs, options)
        logits = self.token_logits(base["last_hidden_state"])
        loss = None if labels is None else losses.token_loss(logits, labels)
        return self.finish(TokenClassifierOutput, base, return_dict, loss=loss, logits=logits)

    def token_logits(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, num_labels)."""
        return self.classifier(self.dropout(x))


class QuestionAnswering(ModelWithHead):
    """Where does the answer start, and where does it end?"""

    def add_head(self, config: Any) -> None:
        if config.num_labels != 2:
            raise ValueError(
                f"num_labels must be 2, for the start and the end, got {config.num_labels}"
            )
        self.qa_outputs = Linear(config.hidden_size, 2)

    def forward(
        self,
        *inputs: Any,
        start_positions: Any = None,
        end_positions: Any = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> Any:
        """Score every token as the start and as the end.

        Args:
            inputs, options: of the base model.
            start_positions, end_positions: (B,), the tokens where the answer starts and ends. What
                is beyond the text does not count; what is negative counts as 0.

        Returns QuestionAnsweringModelOutput with start_logits and end_logits (B, T); its loss, the
        mean of both, needs both kinds of positions.
        """
        base = self.run_base(inputs, options)
        logits = self.qa_outputs(base["last_hidden_state"])  # (B, T, 2)
        start, end = logits[..., 0], logits[..., 1]
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = (
                losses.position_loss(start, start_positions, "start_positions")
                + losses.position_loss(end, end_positions, "end_positions")
            ) / 2
        return self.finish(
            QuestionAnsweringModelOutput, base, return_dict,
            loss=loss, start_logits=start, end_logits=end,
        )  # fmt: skip
