"""The other methods of transformers that encode, pad and truncate; a call does what they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinybert.checks import check_choice
from tinybert.tokenizers.batch_encoding import BatchEncoding, as_py_list
from tinybert.tokenizers.calls import TextEncoder
from tinybert.tokenizers.options import TRUNCATION_STRATEGIES, check_count, check_names
from tinybert.tokenizers.signatures import takes_options
from tinybert.tokenizers.truncation import truncate

PAD_OPTIONS = (
    *("padding", "max_length", "pad_to_multiple_of", "padding_side"),
    *("return_attention_mask", "return_tensors", "verbose"),
)


class MoreCalls(TextEncoder):
    """Encoding in the older forms of transformers, and the steps of a call one by one."""

    @takes_options()
    def encode(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        """Return the `input_ids` of one text or pair.

        Unlike in a call, a list is one text: of tokens (str), of words if
        is_split_into_words=True, or of ids (int). Options are those of a call.
        """
        return self.encode_plus(text, text_pair, **options).input_ids

    @takes_options()
    def encode_plus(self, text: Any, text_pair: Any = None, **options: Any) -> BatchEncoding:
        """Encode one text or pair, given as for `encode`; result and options are those of a call.

        Transformers advises to use a call instead.
        """
        return self._encode_one(text, text_pair, self._settings(options))

    @takes_options()
    def batch_encode_plus(
        self, batch_text_or_text_pairs: Sequence[Any], **options: Any
    ) -> BatchEncoding:
        """Encode a batch of texts, given as for `encode`, or of pairs; options as in a call.

        Transformers advises to use a call instead. Raises TypeError unless it is a list or tuple.
        """
        if not isinstance(batch_text_or_text_pairs, (list, tuple)):
            raise TypeError(
                f"batch_text_or_text_pairs must be a list, got {batch_text_or_text_pairs!r}"
            )
        return self._encode_batch(batch_text_or_text_pairs, self._settings(options))

    @takes_options()
    def prepare_for_model(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        prepend_batch_axis: bool = False,
        **options: Any,
    ) -> BatchEncoding:
        """Truncate ids, add special tokens and pad.

        Options are those of a call. With return_tensors, arrays have shape (T,), or (1, T) if
        `prepend_batch_axis`.
        """
        settings = self._settings(options)
        encoding = self._finish_one(self._row(ids, pair_ids, settings), settings)
        return encoding.convert_to_tensors(settings.return_tensors, prepend_batch_axis)

    def truncate_sequences(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        num_tokens_to_remove: int = 0,
        truncation_strategy: str = "longest_first",
        stride: int = 0,
    ) -> tuple[list[int], list[int] | None, list[int]]:
        """Remove ids; return both sequences and the overflow.

        `truncation.truncate` explains the strategies. Raises ValueError for an unknown strategy,
        and if there are too few ids.
        """
        check_choice("truncation_strategy", truncation_strategy, TRUNCATION_STRATEGIES)
        check_count("stride", stride, 0)
        if num_tokens_to_remove <= 0 or truncation_strategy == "do_not_truncate":
            return ids, pair_ids, []
        total = len(ids) + len(pair_ids or ())
        if num_tokens_to_remove > total:
            raise ValueError(
                f"num_tokens_to_remove={num_tokens_to_remove} must be at most {total}, "
                "the number of ids"
            )
        return truncate(
            ids, pair_ids, num_tokens_to_remove, truncation_strategy, self.truncation_side, stride
        )

    @takes_options(PAD_OPTIONS)
    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        **options: Any,
    ) -> BatchEncoding:
        """Pad the result of earlier calls: a dict for one text or a batch, or a list of dicts.

        Pads input_ids, token_type_ids, attention_mask (made if missing) and special_tokens_mask;
        other keys are left as they are. Of the options of a call, max_length, pad_to_multiple_of,
        padding_side, return_attention_mask, return_tensors and verbose are allowed. Given NumPy
        arrays, it returns NumPy arrays unless return_tensors says otherwise.

        Raises ValueError if input_ids are missing, or keys differ in their number of rows;
        TypeError for another option.
        """
        check_names(options, PAD_OPTIONS)
        if isinstance(encoded_inputs, Mapping):
            given = dict(encoded_inputs)
        else:
            keys = encoded_inputs[0] if encoded_inputs else ()
            given = {key: [row[key] for row in encoded_inputs] for key in keys}
        if _is_array(given.get("input_ids")):
            options = {"return_tensors": "np", **options}
        settings = self._settings({"padding": padding, "truncation": False, **options})
        columns = {key: _as_lists(value) for key, value in given.items()}
        if "input_ids" not in columns:
            raise ValueError(f"encoded_inputs must have the key 'input_ids', got {list(columns)}")
        if not columns["input_ids"] or not isinstance(columns["input_ids"][0], (list, tuple)):
            (row,) = self._pad_rows([columns], settings)
            return BatchEncoding(row).convert_to_tensors(settings.return_tensors)
        sizes = {key: len(value) for key, value in columns.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"encoded_inputs must have equally many rows for each key: {sizes}")
        rows = [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        rows = self._pad_rows(rows, settings)
        encoding = BatchEncoding({key: [row[key] for row in rows] for key in rows[0]})
        return encoding.convert_to_tensors(settings.return_tensors)

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """Return 1 for each special token and 0 for each other id of the row of these sequences.

        With already_has_special_tokens=True, `token_ids_0` is such a row itself, and every special
        token in it counts, also one that was found in the text.
        """
        if not already_has_special_tokens:
            return self._special_tokens_mask(token_ids_0, token_ids_1)
        if token_ids_1 is not None:
            raise ValueError("token_ids_1 must be None with already_has_special_tokens=True")
        special = set(self.all_special_ids)
        return [int(token_id in special) for token_id in token_ids_0]

    @property
    def max_len_single_sentence(self) -> int:
        """How many tokens of one text the model takes."""
        return self.model_max_length - self.num_special_tokens_to_add()

    @property
    def max_len_sentences_pair(self) -> int:
        """How many tokens of two texts together the model takes."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)


def _is_array(value: Any) -> bool:
    """Return whether it is a NumPy array, or a list of them."""
    return isinstance(value[0] if isinstance(value, list) and value else value, np.ndarray)


def _as_lists(value: Any) -> Any:
    """Return a tensor, or a list that may hold tensors, as lists of numbers."""
    return [as_py_list(part) for part in value] if isinstance(value, list) else as_py_list(value)
