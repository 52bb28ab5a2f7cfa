"""From ids to rows: special tokens, truncation, padding, and the masks that go with them.

The options are explained in `options.py`; the arithmetic of cutting and padding is in
`truncation.py`. Where ids come from is not known: `calls.py` makes them from texts.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinybert.tokenizers.added_tokens import AddedVocabulary
from tinybert.tokenizers.batch_encoding import BatchEncoding, as_py_list
from tinybert.tokenizers.options import (
    TRUNCATION_STRATEGIES,
    EncodeOptions,
    check_choice,
    check_names,
    check_whole_number,
    takes_options,
)
from tinybert.tokenizers.truncation import pad_row, padded_length, truncate

logger = logging.getLogger(__name__)

# What stands in the lists of a row where there is only padding (input_ids: the pad token).
PAD_VALUES = {"token_type_ids": 0, "attention_mask": 0, "special_tokens_mask": 1}

# The options of `RowBuilder.pad`.
OF_PAD = (
    *("padding", "max_length", "pad_to_multiple_of", "padding_side"),
    *("return_attention_mask", "return_tensors", "verbose"),
)


class RowBuilder(AddedVocabulary, ABC):
    """The part of a tokenizer that knows ids and rows, but no texts."""

    is_fast = False
    pad_token_type_id = 0
    model_max_length: int
    padding_side: str
    truncation_side: str
    model_input_names: list[str]
    _remarks: set[str]  # what was said already

    # What a subclass defines --------------------------------------------------------------

    @abstractmethod
    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """One row of ids for a sequence or a pair, with the special tokens of the model."""

    @abstractmethod
    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Which sequence each id of `build_inputs_with_special_tokens` belongs to."""

    # Ids to rows --------------------------------------------------------------------------

    @property
    def max_len_single_sentence(self) -> int:
        """How many tokens of one text the model takes."""
        return self.model_max_length - self.num_special_tokens_to_add()

    @property
    def max_len_sentences_pair(self) -> int:
        """How many tokens of two texts together the model takes."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    @takes_options()
    def prepare_for_model(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        prepend_batch_axis: bool = False,
        **options: Any,
    ) -> BatchEncoding:
        """Truncate, add special tokens and pad, for ids that are there already.

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
        """What is left of both sequences when so many ids are removed, and the overflow.

        `truncation.truncate` explains the strategies. Raises ValueError for an unknown one, and
        where there are too few ids.
        """
        check_choice("truncation_strategy", truncation_strategy, TRUNCATION_STRATEGIES)
        check_whole_number("stride", stride, 0)
        if num_tokens_to_remove <= 0 or truncation_strategy == "do_not_truncate":
            return ids, pair_ids, []
        total = len(ids) + len(pair_ids or ())
        if num_tokens_to_remove > total:
            raise ValueError(
                f"num_tokens_to_remove={num_tokens_to_remove} must be at most {total}, "
                "as many as there are"
            )
        return truncate(
            ids, pair_ids, num_tokens_to_remove, truncation_strategy, self.truncation_side, stride
        )

    def _settings(self, options: Mapping[str, Any]) -> EncodeOptions:
        check_names(options)
        given = EncodeOptions(**options)
        settings = given.resolved(self.model_max_length, self.padding_side, self.model_input_names)
        self._check_settings(given, settings)
        if settings.verbose:
            for text in given.remarks(self.model_max_length):
                self._remark(text)
        return settings

    def _remark(self, text: str) -> None:
        """Log a warning, the first time only."""
        if text not in self._remarks:
            self._remarks.add(text)
            logger.warning(text)

    def _check_length(self, length: int, settings: EncodeOptions) -> None:
        """Warn of a row that is longer than the model takes, unless a length was asked for."""
        if settings.verbose and settings.max_length is None and length > self.model_max_length:
            self._remark(
                f"a row is longer than the {self.model_max_length} tokens that the model takes; "
                "truncation=True cuts it"
            )

    def _check_settings(self, given: EncodeOptions, settings: EncodeOptions) -> None:
        """Refuse what these rows, which know no offsets, cannot give."""
        if settings.return_offsets_mapping:
            raise NotImplementedError(
                f"return_offsets_mapping: {type(self).__name__} does not know offsets; "
                f"use {type(self).__name__}Fast"
            )
        if given.return_token_type_ids and not given.add_special_tokens:
            raise ValueError(
                "return_token_type_ids=True needs add_special_tokens=True: without the special "
                "tokens it is not defined which type a token has"
            )
        if settings.return_overflowing_tokens and settings.max_length is None:
            raise ValueError("return_overflowing_tokens=True needs truncation and max_length")

    def _row(
        self, first: list[int], second: list[int] | None, settings: EncodeOptions
    ) -> dict[str, Any]:
        """One row, truncated and with special tokens, but not yet padded."""
        row: dict[str, Any] = {}
        specials = self.num_special_tokens_to_add(second is not None)
        specials = specials if settings.add_special_tokens else 0
        total = len(first) + len(second or ()) + specials
        limit, overflow = settings.max_length, list[int]()
        self._check_length(total, settings)
        takes_from_two = second is not None and settings.truncation == "longest_first"
        if settings.return_overflowing_tokens and takes_from_two:
            raise ValueError(
                "return_overflowing_tokens with a pair needs truncation='only_first' or "
                "'only_second': what 'longest_first' takes from two texts is no sequence"
            )
        if settings.truncation != "do_not_truncate" and limit is not None and total > limit:
            if limit < specials:
                raise ValueError(
                    f"max_length={limit} must be at least {specials}, "
                    "the number of special tokens in a row"
                )
            first, second, overflow = truncate(
                first,
                second,
                total - limit,
                str(settings.truncation),
                self.truncation_side,
                settings.stride,
            )
        if settings.return_overflowing_tokens and limit is not None:
            row["overflowing_tokens"] = overflow
            row["num_truncated_tokens"] = total - limit
        if settings.add_special_tokens:
            row["input_ids"] = self.build_inputs_with_special_tokens(first, second)
            types = self.create_token_type_ids_from_sequences(first, second)
        else:
            row["input_ids"] = [*first, *(second or ())]
            types = [0] * len(row["input_ids"])
        if settings.return_token_type_ids:
            row["token_type_ids"] = types
        if settings.return_special_tokens_mask:
            row["special_tokens_mask"] = (
                self.get_special_tokens_mask(first, second)
                if settings.add_special_tokens
                else [0] * len(row["input_ids"])
            )
        return row

    def _finish_one(self, row: dict[str, Any], settings: EncodeOptions) -> BatchEncoding:
        (row,) = self._pad_rows([row], settings)
        if settings.return_length:
            row["length"] = len(row["input_ids"])
        return BatchEncoding(row)

    def _pad_rows(
        self, rows: list[dict[str, Any]], settings: EncodeOptions
    ) -> list[dict[str, Any]]:
        """Add attention masks where asked for, and pad all rows as `settings` say."""
        if settings.return_attention_mask:
            for row in rows:
                row.setdefault("attention_mask", [1] * len(row["input_ids"]))
        if settings.padding == "do_not_pad":
            return rows
        longest = max(len(row["input_ids"]) for row in rows)
        length = padded_length(
            longest, str(settings.padding), settings.max_length, settings.pad_to_multiple_of
        )
        values = {"input_ids": self.role_id("pad_token"), **PAD_VALUES}
        return [pad_row(row, length, values, str(settings.padding_side)) for row in rows]

    @takes_options(OF_PAD)
    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        **options: Any,
    ) -> BatchEncoding:
        """Pad what was encoded before: a dict for one text or a batch, or a list of dicts.

        Pads input_ids, token_type_ids, attention_mask (which is made if it is missing) and
        special_tokens_mask; other keys stay as they are. Of the options of a call, max_length,
        pad_to_multiple_of, padding_side, return_attention_mask, return_tensors and verbose apply
        here. What was given as NumPy arrays comes back so, unless return_tensors says otherwise.

        Raises ValueError if there are no input_ids, or keys differ in their number of rows;
        TypeError for another option.
        """
        check_names(options, OF_PAD)
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
        encoding = BatchEncoding(columns_of(self._pad_rows(rows, settings)))
        return encoding.convert_to_tensors(settings.return_tensors)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a row of one sequence, or of a pair, is given."""
        return len(self.build_inputs_with_special_tokens([], [] if pair else None))

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 for each special token and 0 for each other id of the row that a call would build.

        With already_has_special_tokens=True, `token_ids_0` is such a row itself, and every
        special token in it counts, also one that was found in the text.
        """
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise ValueError("token_ids_1 must be None with already_has_special_tokens=True")
            special = set(self.all_special_ids)
            return [int(token_id in special) for token_id in token_ids_0]
        first = [-1] * len(token_ids_0)  # -1 is no id, so what differs from it was added
        second = None if token_ids_1 is None else [-1] * len(token_ids_1)
        return [int(i != -1) for i in self.build_inputs_with_special_tokens(first, second)]


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row[key] for row in rows] for key in rows[0]}


def _is_array(value: Any) -> bool:
    """A NumPy array, or a list of them."""
    return isinstance(value[0] if isinstance(value, list) and value else value, np.ndarray)


def _as_lists(value: Any) -> Any:
    """A tensor, or a list that may hold tensors, as lists of numbers."""
    return [as_py_list(part) for part in value] if isinstance(value, list) else as_py_list(value)
