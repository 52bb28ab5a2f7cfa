"""From text to ids: a call of a tokenizer, with its batches, pairs, special tokens and padding.

A call goes through these steps: `_settings` reads the options, `_ids` makes the ids of one text,
`_row` adds special tokens and truncates, `_pad_rows` pads. How text between added tokens becomes
tokens, and where special tokens go, is defined by the subclasses.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from itertools import repeat
from typing import Any

from tinybert.checks import is_integer
from tinybert.tokenizers.batch_encoding import BatchEncoding
from tinybert.tokenizers.options import EncodeOptions, check_names
from tinybert.tokenizers.signatures import takes_options
from tinybert.tokenizers.special_tokens import SpecialTokens
from tinybert.tokenizers.truncation import truncate

logger = logging.getLogger(__name__)

# The values of padding in the columns of a row, besides those of the tokenizer.
PAD_VALUES = {"attention_mask": 0, "special_tokens_mask": 1}


class TextEncoder(SpecialTokens, ABC):
    """The part of a tokenizer that goes from text to rows of ids."""

    is_fast = False
    pad_token_type_id = 0
    model_max_length: int
    padding_side: str
    truncation_side: str
    model_input_names: list[str]
    split_special_tokens: bool
    _warned: set[str]  # warnings that were logged already

    # What a subclass defines --------------------------------------------------------------

    @abstractmethod
    def _tokenize(self, text: str) -> list[str]:
        """Return the tokens of a text without added tokens."""

    @abstractmethod
    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Return one row of ids for a sequence or a pair, with the special tokens of the model."""

    @abstractmethod
    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Return the token type of each id of `build_inputs_with_special_tokens`."""

    # The call -----------------------------------------------------------------------------

    @takes_options()
    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        **options: Any,
    ) -> BatchEncoding:
        """Encode one text, a pair or a batch.

        Arguments:
            text: a str; a list of str or of (text, text_pair) tuples, which is a batch; with
                is_split_into_words=True, a list of words or a list of such lists.
            text_pair: the second text of each example, in the same form as `text`.
            text_target, text_pair_target: encoded in the same way; if `text` is given too, their
                `input_ids` are returned as `labels`.

        Options:
            add_special_tokens: put the special tokens of the model around the text.
            padding: False or "do_not_pad"; True or "longest" (pad to the longest row of the
                batch); "max_length".
            truncation: False or "do_not_truncate"; True or "longest_first" (remove tokens from
                the longer text of a pair; classes differ in how equal lengths are treated);
                "only_first"; "only_second". None means False, but "longest_first" if max_length
                is given without padding.
            max_length: the most tokens of a row, special tokens included; None means the
                model_max_length of the tokenizer. If that has no limit either, rows are neither
                truncated nor padded to a length.
            stride: how many tokens before the cut are repeated in the overflow.
            is_split_into_words: each text is a list of words.
            pad_to_multiple_of: round the length that rows are padded to up to a multiple of this.
            padding_side: "right" or "left"; None means the side of the tokenizer.
            return_tensors: None (lists), "np" (int64 NumPy arrays) or "tb" (tinybert Tensors).
                "pt", "tf" and "jax" give tinybert's Tensors too, so that examples written for those
                frameworks run; `register_tensor_type` can replace them.
            return_token_type_ids, return_attention_mask: None means "if the model takes it".
            return_overflowing_tokens: also return `overflowing_tokens`, a list of the removed ids,
                and `num_truncated_tokens`, by how many tokens a row was too long (negative: too
                short). A "Fast" tokenizer returns the overflow as further rows, and
                `overflow_to_sample_mapping`, the index of the example of each row.
            return_special_tokens_mask: also return a mask, 1 for special tokens and padding.
            return_offsets_mapping: also return `offset_mapping`, the characters (start, end) of
                each token; only a "Fast" tokenizer can, others raise NotImplementedError.
            return_length: also return the length of each row: before padding in a batch, but
                after padding from a "Fast" tokenizer.
            split_special_tokens: treat added tokens as ordinary text; None means the setting of
                the tokenizer.
            verbose: log a warning, once per tokenizer, for options with a surprising effect and
                for rows that are longer than the model takes.

        Returns a BatchEncoding with `input_ids`, `token_type_ids` and `attention_mask` (those that
        the model takes), and what the options ask for.

        Raises ValueError or TypeError, naming the argument, for anything that cannot be encoded,
        and ValueError if truncation cannot reach max_length.
        """
        settings = self._settings(options)
        if text is None and text_target is None:
            raise ValueError("text or text_target must be given")
        if text is None:
            return self._encode(text_target, text_pair_target, settings)
        encoding = self._encode(text, text_pair, settings)
        if text_target is not None:
            encoding["labels"] = self._encode(text_target, text_pair_target, settings).input_ids
        return encoding

    def _settings(self, options: Mapping[str, Any]) -> EncodeOptions:
        """Return the checked options, completed by the settings of this tokenizer."""
        check_names(options)
        given = EncodeOptions(**options)
        settings = given.resolved(self.model_max_length, self.padding_side, self.model_input_names)
        self._check_settings(given, settings)
        if settings.verbose:
            for text in given.warnings(self.model_max_length):
                self._warn_once(text)
        return settings

    def _check_settings(self, given: EncodeOptions, settings: EncodeOptions) -> None:
        """Raise an error for options that need the offsets of a "Fast" tokenizer."""
        if settings.return_offsets_mapping:
            raise NotImplementedError(
                f"return_offsets_mapping: {type(self).__name__} does not know offsets; "
                f"use {type(self).__name__}Fast"
            )
        if given.return_token_type_ids and not given.add_special_tokens:
            raise ValueError(
                "return_token_type_ids=True needs add_special_tokens=True: without special tokens "
                "the type of a token is not defined"
            )
        if settings.return_overflowing_tokens and settings.max_length is None:
            raise ValueError("return_overflowing_tokens=True needs truncation and max_length")

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            logger.warning(text)

    # Batches ------------------------------------------------------------------------------

    def _encode(self, text: Any, text_pair: Any, settings: EncodeOptions) -> BatchEncoding:
        """Encode one example, or each example of a batch."""
        for name, value in (("text", text), ("text_pair", text_pair)):
            if not (name == "text_pair" and value is None) and not _is_text(value):
                raise ValueError(
                    f"{name} must be a str, a list of str, or a list of lists or pairs of str; "
                    f"got {value!r}"
                )
        batched = isinstance(text, (list, tuple))
        if batched and settings.is_split_into_words:
            batched = len(text) > 0 and isinstance(text[0], (list, tuple))
        if not batched:
            return self._encode_one(text, text_pair, settings)
        if isinstance(text_pair, str):
            raise TypeError(f"text is a batch, so text_pair must be one too, got {text_pair!r}")
        if text_pair is not None and len(text) != len(text_pair):
            raise ValueError(
                f"text and text_pair must be equally long, got {len(text)} and {len(text_pair)}"
            )
        return self._encode_batch(
            text if text_pair is None else zip(text, text_pair, strict=True), settings
        )

    def _encode_batch(self, examples: Iterable[Any], settings: EncodeOptions) -> BatchEncoding:
        rows = []
        for text, text_pair in self._pairs(examples, settings):
            pair_ids = None if text_pair is None else self._ids(text_pair, settings)
            row = self._row(self._ids(text, settings), pair_ids, settings)
            if settings.return_length:
                row["length"] = len(row["input_ids"])
            rows.append(row)
        rows = self._pad_rows(rows, settings)
        encoding = BatchEncoding({key: [row[key] for row in rows] for key in rows[0]})
        return encoding.convert_to_tensors(settings.return_tensors)

    def _encode_one(self, text: Any, text_pair: Any, settings: EncodeOptions) -> BatchEncoding:
        pair_ids = None if text_pair is None else self._ids(text_pair, settings)
        row = self._row(self._ids(text, settings), pair_ids, settings)
        return self._finish_one(row, settings).convert_to_tensors(settings.return_tensors, True)

    def _pairs(self, examples: Iterable[Any], settings: EncodeOptions) -> list[tuple[Any, Any]]:
        """Return the examples of a batch as (text, text_pair); text_pair is None for one text."""
        pairs = []
        for example in examples:
            text, text_pair = example, None
            if _is_pair(example, settings.is_split_into_words):
                if len(example) != 2:
                    raise ValueError(
                        f"an example of a batch must be a text or a pair of texts, got {example!r}"
                    )
                text, text_pair = example
            pairs.append((text, text_pair))
        if not pairs:
            raise ValueError("text is an empty batch: there is nothing to encode")
        return pairs

    # Text to tokens to ids ----------------------------------------------------------------

    def _ids(self, text: Any, settings: EncodeOptions) -> list[int]:
        """Return the ids of one text in any form: a str, or a list of words, tokens or ids."""
        if isinstance(text, (list, tuple)) and all(isinstance(part, str) for part in text):
            if not settings.is_split_into_words:
                return self.convert_tokens_to_ids(text)
            return [i for word in text for i in self._ids(word, settings)]
        if isinstance(text, str):
            tokens = self.tokenize(text, split_special_tokens=settings.split_special_tokens)
            return self.convert_tokens_to_ids(tokens)
        if isinstance(text, (list, tuple)) and all(map(is_integer, text)):
            return [int(part) for part in text]
        raise ValueError(f"a text must be a str, a list of str or a list of int; got {text!r}")

    def tokenize(self, text: str, *, split_special_tokens: bool | None = None) -> list[str]:
        """Return the tokens of a text, without special tokens around it.

        split_special_tokens: treat added tokens as ordinary text; None means the setting of the
        tokenizer.

        Raises TypeError if `text` is not a str.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, got {text!r}")
        if self.lowercases_text:
            text = self.lower_case(text)
        if self.split_special_tokens if split_special_tokens is None else split_special_tokens:
            return self._tokenize(text)
        tokens: list[str] = []
        for part in self.split_added_tokens(text):
            tokens += [part] if part in self._added_ids else self._tokenize(part)
        return tokens

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """Return the id of a token, or a list of ids; an unknown token has that of `unk_token`."""
        unknown = None if self._roles["unk_token"] is None else self.role_id("unk_token")
        if isinstance(tokens, str):
            return self._token_to_id.get(tokens, unknown)
        return list(map(self._token_to_id.get, tokens, repeat(unknown)))

    # Ids to rows --------------------------------------------------------------------------

    def _row(
        self, first: list[int], second: list[int] | None, settings: EncodeOptions
    ) -> dict[str, Any]:
        """Return one row, truncated and with special tokens, but not yet padded."""
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
                "'only_second': what 'longest_first' removes from two texts is not one sequence"
            )
        if settings.truncation != "do_not_truncate" and limit is not None and total > limit:
            if limit < specials:
                raise ValueError(
                    f"max_length={limit} must be at least {specials}, "
                    "the number of special tokens in a row"
                )
            strategy, side = str(settings.truncation), self.truncation_side
            first, second, overflow = truncate(
                first, second, total - limit, strategy, side, settings.stride
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
                self._special_tokens_mask(first, second)
                if settings.add_special_tokens
                else [0] * len(row["input_ids"])
            )
        return row

    def _check_length(self, length: int, settings: EncodeOptions) -> None:
        """Warn of a row that is longer than the model takes, unless a length was requested."""
        if settings.verbose and settings.max_length is None and length > self.model_max_length:
            self._warn_once(
                f"a row is longer than the {self.model_max_length} tokens that the model takes; "
                "truncation=True truncates it"
            )

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Return how many special tokens are added to a row of one sequence, or of a pair."""
        return len(self.build_inputs_with_special_tokens([], [] if pair else None))

    def _special_tokens_mask(self, first: list[int], second: list[int] | None) -> list[int]:
        """Return 1 for each special token and 0 for each other id of the row of these ids."""
        first = [-1] * len(first)  # -1 is not an id: what differs from it was added
        second = None if second is None else [-1] * len(second)
        return [int(i != -1) for i in self.build_inputs_with_special_tokens(first, second)]

    # Padding ------------------------------------------------------------------------------

    def _finish_one(self, row: dict[str, Any], settings: EncodeOptions) -> BatchEncoding:
        (row,) = self._pad_rows([row], settings)
        if settings.return_length:
            row["length"] = len(row["input_ids"])
        return BatchEncoding(row)

    def _pad_rows(
        self, rows: list[dict[str, Any]], settings: EncodeOptions
    ) -> list[dict[str, Any]]:
        """Add attention masks if requested, and pad all rows to the length in `settings`."""
        if settings.return_attention_mask:
            for row in rows:
                row.setdefault("attention_mask", [1] * len(row["input_ids"]))
        if settings.padding == "do_not_pad":
            return rows
        length = padded_length(max(len(row["input_ids"]) for row in rows), settings)
        ids = {"input_ids": self.role_id("pad_token"), "token_type_ids": self.pad_token_type_id}
        return [pad_row(row, length, PAD_VALUES | ids, str(settings.padding_side)) for row in rows]


def padded_length(longest: int, settings: EncodeOptions) -> int:
    """Return the length that rows are padded to; the longest row of the batch has `longest` ids."""
    to_limit = settings.padding == "max_length" and settings.max_length is not None
    length = settings.max_length if to_limit else longest
    multiple = settings.pad_to_multiple_of or 1
    return -(-length // multiple) * multiple  # type: ignore[operator]


def pad_row(
    row: Mapping[str, Any], length: int, values: Mapping[str, int], side: str
) -> dict[str, Any]:
    """Return a row whose columns named in `values` are filled up to `length`, on this side."""
    padded = dict(row)
    missing = max(0, length - len(row["input_ids"]))
    for key in values.keys() & row.keys():
        filler = [values[key]] * missing
        padded[key] = row[key] + filler if side == "right" else filler + row[key]
    return padded


def _is_text(value: Any) -> bool:
    """Return whether it is a str, a list of str, or a list of lists of str (first elements)."""
    for _ in range(2):
        if isinstance(value, (list, tuple)):
            if not value:
                return True
            value = value[0]
    return isinstance(value, str)


def _is_pair(example: Any, is_split_into_words: bool) -> bool:
    """Return whether one example of a batch is a pair of texts rather than a text."""
    if not isinstance(example, (list, tuple)):
        return False
    return not is_split_into_words or (len(example) > 0 and isinstance(example[0], (list, tuple)))
