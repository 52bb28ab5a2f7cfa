"""From text to rows of ids: the calls of a tokenizer, its batches and pairs.

The options of a call are explained in `options.py`; the arithmetic of cutting and padding is in
`truncation.py`. How a stretch of text becomes tokens, and where special tokens stand, is left to
the subclasses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tinybert.tokenizers.added_tokens import AddedVocabulary
from tinybert.tokenizers.encoding import BatchEncoding, as_py_list
from tinybert.tokenizers.options import EncodeOptions
from tinybert.tokenizers.truncation import pad_row, padded_length, truncate

# What stands in the lists of a row where there is only padding (input_ids: the pad token).
PAD_VALUES = {"token_type_ids": 0, "attention_mask": 0, "special_tokens_mask": 1}


class RowEncoder(AddedVocabulary, ABC):
    """The half of a tokenizer that goes from text to ids; `Tokenizer` has the other half."""

    model_max_length: int
    padding_side: str
    truncation_side: str
    model_input_names: list[str]
    split_special_tokens: bool

    # What a subclass defines --------------------------------------------------------------

    @abstractmethod
    def _tokenize(self, text: str) -> list[str]:
        """The tokens of a stretch of text without added tokens."""

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

    # Text to tokens to ids ----------------------------------------------------------------

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text, without special tokens round it; TypeError if it is no str."""
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, got {text!r}")
        if self.lowercases_text:
            text = self.lower_case(text)
        if self.split_special_tokens:
            return self._tokenize(text)
        tokens: list[str] = []
        for piece in self.split_added_tokens(text):
            tokens += [piece] if piece in self._added_ids else self._tokenize(piece)
        return tokens

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """The id of a token, or a list of them; an unknown token has the id of `unk_token`."""
        if isinstance(tokens, str):
            return self._token_to_id.get(tokens, self.unk_token_id)
        get, unknown = self._token_to_id.get, self.unk_token_id
        return [get(token, unknown) for token in tokens]

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        **options: Any,
    ) -> BatchEncoding:
        """Encode one text, a pair or a batch; `EncodeOptions` explains the options.

        Arguments:
            text: a str; a list of str or of (text, text_pair) tuples, which is a batch; with
                is_split_into_words=True, a list of words or a list of such lists.
            text_pair: the second text of each example, in the same form as `text`.
            text_target, text_pair_target: encoded in the same way; beside `text`, their
                `input_ids` are returned as `labels`.

        Returns a BatchEncoding with `input_ids`, `token_type_ids` and `attention_mask` (as the
        model takes them), and what the options ask for.

        Raises ValueError or TypeError, naming the argument, for anything that cannot be
        encoded, and ValueError where truncation cannot reach max_length.
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

    def encode(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        """The `input_ids` of one text or pair.

        Unlike in a call, a list stands for one text: of tokens (str), of words if
        is_split_into_words=True, or of ids (int). Options are those of a call.
        """
        return self._encode_one(text, text_pair, self._settings(options)).input_ids

    def prepare_for_model(
        self, ids: list[int], pair_ids: list[int] | None = None, **options: Any
    ) -> BatchEncoding:
        """Truncate, add special tokens and pad, for ids that are there already.

        Options are those of a call; with return_tensors, arrays have no batch axis.
        """
        settings = self._settings(options)
        encoding = self._finish_one(self._row(ids, pair_ids, settings), settings)
        return encoding.convert_to_tensors(settings.return_tensors)

    def _settings(self, options: Mapping[str, Any]) -> EncodeOptions:
        given = EncodeOptions(**options)
        settings = given.resolved(self.model_max_length, self.padding_side, self.model_input_names)
        self._check_settings(given, settings)
        return settings

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

    def _encode(self, text: Any, text_pair: Any, settings: EncodeOptions) -> BatchEncoding:
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

    def _encode_one(self, text: Any, text_pair: Any, settings: EncodeOptions) -> BatchEncoding:
        first = self._ids(text, settings)
        second = None if text_pair is None else self._ids(text_pair, settings)
        encoding = self._finish_one(self._row(first, second, settings), settings)
        return encoding.convert_to_tensors(settings.return_tensors, prepend_batch_axis=True)

    def _encode_batch(self, examples: Iterable[Any], settings: EncodeOptions) -> BatchEncoding:
        rows = []
        for first, second in self._pairs(examples, settings):
            second = None if second is None else self._ids(second, settings)
            row = self._row(self._ids(first, settings), second, settings)
            if settings.return_length:
                row["length"] = len(row["input_ids"])
            rows.append(row)
        encoding = BatchEncoding(_columns(self._pad_rows(rows, settings)))
        return encoding.convert_to_tensors(settings.return_tensors)

    def _pairs(self, examples: Iterable[Any], settings: EncodeOptions) -> list[tuple[Any, Any]]:
        """The examples of a batch as (text, text_pair), which is None where there is none."""
        pairs = []
        for example in examples:
            first, second = example, None
            if _is_pair(example, settings.is_split_into_words):
                if len(example) != 2:
                    raise ValueError(
                        f"an example of a batch must be a text or a pair of texts, got {example!r}"
                    )
                first, second = example
            pairs.append((first, second))
        if not pairs:
            raise ValueError("text is an empty batch: there is nothing to encode")
        return pairs

    def _ids(self, text: Any, settings: EncodeOptions) -> list[int]:
        """The ids of one text in any form: str, list of words, of tokens or of ids."""
        if isinstance(text, str):
            return self.convert_tokens_to_ids(self.tokenize(text))
        if isinstance(text, (list, tuple)) and all(isinstance(part, str) for part in text):
            if not settings.is_split_into_words:
                return self.convert_tokens_to_ids(text)
            return [i for word in text for i in self.convert_tokens_to_ids(self.tokenize(word))]
        if isinstance(text, (list, tuple)) and all(isinstance(part, int) for part in text):
            return list(text)
        raise ValueError(f"a text must be a str, a list of str or a list of int; got {text!r}")

    # Ids to rows --------------------------------------------------------------------------

    def _row(
        self, first: list[int], second: list[int] | None, settings: EncodeOptions
    ) -> dict[str, Any]:
        """One row, truncated and with special tokens, but not yet padded."""
        row: dict[str, Any] = {}
        specials = self.num_special_tokens_to_add(second is not None)
        specials = specials if settings.add_special_tokens else 0
        total = len(first) + len(second or ()) + specials
        limit, overflow = settings.max_length, list[int]()
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

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        **options: Any,
    ) -> BatchEncoding:
        """Pad what was encoded before: a dict for one text or a batch, or a list of dicts.

        Pads input_ids, token_type_ids, attention_mask (which is made if it is missing) and
        special_tokens_mask; other keys stay as they are. Of the options of a call, max_length,
        pad_to_multiple_of, padding_side, return_attention_mask and return_tensors apply here.

        Raises ValueError if there are no input_ids, or keys differ in their number of rows.
        """
        settings = self._settings({"padding": padding, "truncation": False, **options})
        if isinstance(encoded_inputs, Mapping):
            columns = {key: as_py_list(value) for key, value in encoded_inputs.items()}
        else:
            keys = encoded_inputs[0] if encoded_inputs else ()
            columns = {k: [as_py_list(row[k]) for row in encoded_inputs] for k in keys}
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
        encoding = BatchEncoding(_columns(self._pad_rows(rows, settings)))
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


def _is_text(value: Any) -> bool:
    """A str, or a list of str, or a list of lists of str, judged by their first elements."""
    for _ in range(3):
        if isinstance(value, str):
            return True
        if not isinstance(value, (list, tuple)):
            return False
        if not value:
            return True
        value = value[0]
    return False


def _is_pair(example: Any, is_split_into_words: bool) -> bool:
    """Whether one example of a batch is a pair of texts rather than a text."""
    if not isinstance(example, (list, tuple)):
        return False
    return not is_split_into_words or (len(example) > 0 and isinstance(example[0], (list, tuple)))


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row[key] for row in rows] for key in rows[0]}
