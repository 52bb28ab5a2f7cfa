"""From text to rows of ids: the calls of a tokenizer, with its batches and pairs.

What a row is, and how it is cut and padded, is in `rows.py`. How a stretch of text becomes
tokens, and where special tokens stand, is left to the subclasses.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from tinybert.tokenizers.batch_encoding import BatchEncoding
from tinybert.tokenizers.options import EncodeOptions, takes_options
from tinybert.tokenizers.rows import RowBuilder, columns_of


class RowEncoder(RowBuilder):
    """The half of a tokenizer that goes from text to ids; `Tokenizer` has the other half."""

    split_special_tokens: bool

    @abstractmethod
    def _tokenize(self, text: str) -> list[str]:
        """The tokens of a stretch of text without added tokens."""

    # Text to tokens to ids ----------------------------------------------------------------

    def tokenize(self, text: str, *, split_special_tokens: bool | None = None) -> list[str]:
        """The tokens of a text, without special tokens round it; TypeError if it is no str.

        split_special_tokens: treat added tokens as ordinary text; None means the tokenizer's own
        setting.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, got {text!r}")
        if self.lowercases_text:
            text = self.lower_case(text)
        if self.split_special_tokens if split_special_tokens is None else split_special_tokens:
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

    @takes_options(explain=True)
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

    @takes_options()
    def encode(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        """The `input_ids` of one text or pair.

        Unlike in a call, a list stands for one text: of tokens (str), of words if
        is_split_into_words=True, or of ids (int). Options are those of a call.
        """
        return self.encode_plus(text, text_pair, **options).input_ids

    @takes_options()
    def encode_plus(self, text: Any, text_pair: Any = None, **options: Any) -> BatchEncoding:
        """One text or pair, given as for `encode`; the result and the options are those of a call.

        Transformers advises to use a call instead.
        """
        return self._encode_one(text, text_pair, self._settings(options))

    @takes_options()
    def batch_encode_plus(
        self, batch_text_or_text_pairs: Sequence[Any], **options: Any
    ) -> BatchEncoding:
        """A batch of texts, given as for `encode`, or of pairs of them; options as in a call.

        Transformers advises to use a call instead. Raises TypeError if it is no list or tuple.
        """
        if not isinstance(batch_text_or_text_pairs, (list, tuple)):
            raise TypeError(
                f"batch_text_or_text_pairs must be a list, got {batch_text_or_text_pairs!r}"
            )
        return self._encode_batch(batch_text_or_text_pairs, self._settings(options))

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
        encoding = BatchEncoding(columns_of(self._pad_rows(rows, settings)))
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
        if isinstance(text, (list, tuple)) and all(isinstance(part, str) for part in text):
            if not settings.is_split_into_words:
                return self.convert_tokens_to_ids(text)
            return [i for word in text for i in self._ids(word, settings)]
        if isinstance(text, str):
            tokens = self.tokenize(text, split_special_tokens=settings.split_special_tokens)
            return self.convert_tokens_to_ids(tokens)
        if isinstance(text, (list, tuple)) and all(isinstance(part, int) for part in text):
            return list(text)
        raise ValueError(f"a text must be a str, a list of str or a list of int; got {text!r}")


def _is_text(value: Any) -> bool:
    """A str, or a list of str, or a list of lists of str, judged by their first elements."""
    for _ in range(2):
        if isinstance(value, (list, tuple)):
            if not value:
                return True
            value = value[0]
    return isinstance(value, str)


def _is_pair(example: Any, is_split_into_words: bool) -> bool:
    """Whether one example of a batch is a pair of texts rather than a text."""
    if not isinstance(example, (list, tuple)):
        return False
    return not is_split_into_words or (len(example) > 0 and isinstance(example[0], (list, tuple)))
