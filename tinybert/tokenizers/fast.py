"""Rows of tokens that keep their places in the text: what every "Fast" tokenizer does alike.

Truncation, overflow, pairs and padding follow the Rust library `tokenizers` and the class of
transformers round it. How one text becomes tokens is left to the subclass.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from tinybert.text.added_token import AddedToken
from tinybert.tokenizer_json.encoding import Encoding
from tinybert.tokenizers.added_tokens import checked_tokens
from tinybert.tokenizers.base import Tokenizer
from tinybert.tokenizers.batch_encoding import BatchEncoding, as_py_list
from tinybert.tokenizers.calls import padded_length
from tinybert.tokenizers.config import TOKENIZER_FILE
from tinybert.tokenizers.options import EncodeOptions
from tinybert.tokenizers.saving import write_text
from tinybert.tokenizers.signatures import takes_options
from tinybert.tokenizers.truncation import longest_first_at_once, windows

FIRST, SECOND = -1, -2  # where a text stands among the ids of special tokens


class AlignedTokenizer(Tokenizer):
    """Base class of the tokenizers whose `BatchEncoding` knows words and characters."""

    is_fast = True

    @abstractmethod
    def _encode_text(self, text: str, sequence: int, split_special_tokens: bool) -> Encoding:
        """The tokens of a text that is the first (0) or second (1) of its row."""

    @abstractmethod
    def _tokenizer_json(self) -> str:
        """The text of the tokenizer.json that says all of this tokenizer."""

    # Files ----------------------------------------------------------------------------------

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        """Write what the class without places in the text writes, and a tokenizer.json which alone
        is complete.

        legacy_format: True leaves out tokenizer.json, False what is in it: the vocabulary and
            added_tokens.json.
        """
        written = super().save_pretrained(save_directory, legacy_format, filename_prefix)
        if legacy_format:
            return written
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        path = Path(save_directory) / (prefix + TOKENIZER_FILE)
        write_text(path, self._tokenizer_json())
        return (*written, str(path))

    # Text to rows ---------------------------------------------------------------------------

    @takes_options()
    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any
    ) -> list[str]:
        """The tokens of a text or pair, options as in a call; TypeError if it is no str."""
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, got {text!r}")
        options["add_special_tokens"] = add_special_tokens
        return self.encode_plus(text, pair, **options).tokens()

    def _tokenize(self, text: str) -> list[str]:
        return self._encode_text(text, 0, True).tokens

    def _check_settings(self, given: EncodeOptions, settings: EncodeOptions) -> None:
        """Nothing is refused."""

    def _encode_one(self, text: Any, text_pair: Any, settings: EncodeOptions) -> BatchEncoding:
        encoding = self._encode_pairs([(text, text_pair or None)], settings)
        if settings.return_tensors is None and not settings.return_overflowing_tokens:
            for key, rows in encoding.items():
                encoding[key] = rows if key == "length" else rows[0]
        return encoding

    def _encode_batch(self, examples: Iterable[Any], settings: EncodeOptions) -> BatchEncoding:
        return self._encode_pairs(self._pairs(examples, settings), settings)

    def _encode_pairs(self, pairs: list[tuple[Any, Any]], settings: EncodeOptions) -> BatchEncoding:
        rows: list[Encoding] = []
        samples: list[int] = []
        longest = 0
        for sample, (text, text_pair) in enumerate(pairs):
            first = self._encode_words(text, 0, settings)
            second = None if text_pair is None else self._encode_words(text_pair, 1, settings)
            windows_of_rows = self._cut(first, second, settings)
            found = [self._with_special_tokens(a, b, settings) for a, b in windows_of_rows]
            self._check_length(len(found[0]), settings)
            rows += found
            samples += [sample] * len(found)
            longest = max(longest, len(found[0]))
        if settings.padding != "do_not_pad":
            length = padded_length(longest, settings)
            pad_id, side = self.role_id("pad_token"), str(settings.padding_side)
            rows = [row.padded(length, pad_id, str(self.pad_token), side) for row in rows]
        encoding = BatchEncoding(_columns(rows, samples, settings), rows)
        return encoding.convert_to_tensors(settings.return_tensors)

    def _encode_words(self, text: Any, sequence: int, settings: EncodeOptions) -> Encoding:
        """The tokens of a text as a str, or as a list of words if it is split into words."""
        split = settings.split_special_tokens
        split = self.split_special_tokens if split is None else split
        if not settings.is_split_into_words:
            if not isinstance(text, str):
                raise TypeError(f"a text must be a str, got {text!r}")
            return self._encode_text(text, sequence, split)
        if not isinstance(text, (list, tuple)) or not all(isinstance(w, str) for w in text):
            raise TypeError(f"with is_split_into_words, a text must be a list of str, got {text!r}")
        words = [self._encode_text(word, sequence, split) for word in text]
        for i, word in enumerate(words):
            word.word_ids = [i] * len(word)
        return Encoding.joined([Encoding.of_text([], [], [], [], sequence), *words])

    # Cutting --------------------------------------------------------------------------------

    def _cut(
        self, first: Encoding, second: Encoding | None, settings: EncodeOptions
    ) -> list[tuple[Encoding, Encoding | None]]:
        """What is kept of both texts, followed by what overflows, if that is asked for."""
        limit = settings.max_length
        if settings.truncation == "do_not_truncate" or limit is None:
            return [(first, second)]
        specials = self.num_special_tokens_to_add(second is not None)
        room = limit - (specials if settings.add_special_tokens else 0)
        if room < 0:
            raise ValueError(
                f"max_length={limit} must be at least {specials}, "
                "the number of special tokens in a row"
            )
        lengths = len(first), 0 if second is None else len(second)
        if sum(lengths) <= room:
            return [(first, second)]
        kept = _kept(*lengths, room, str(settings.truncation), second is not None)
        firsts = self._windows(first, kept[0], settings)
        if second is None:
            return [(window, None) for window in firsts]
        seconds = self._windows(second, kept[1], settings)
        # The order in which the library joins what overflows of both texts.
        rows = [(a, b) for a in firsts[1:] for b in seconds]
        return [(firsts[0], seconds[0]), *rows, *((firsts[0], b) for b in seconds[1:])]

    def _windows(self, text: Encoding, size: int, settings: EncodeOptions) -> list[Encoding]:
        """The part of `size` tokens that is kept, and if asked for, those that overflow."""
        if len(text) <= size:
            return [text]
        if not settings.return_overflowing_tokens:
            start = len(text) - size if self.truncation_side == "left" else 0
            return [text.part(start, start + size)]
        if size <= settings.stride:
            raise ValueError(
                f"stride={settings.stride} must be less than the {size} tokens of this text that "
                "a row has room for; lower stride or raise max_length"
            )
        spans = windows(len(text), size, settings.stride, self.truncation_side)
        return [text.part(*span) for span in spans]

    def _with_special_tokens(
        self, first: Encoding, second: Encoding | None, settings: EncodeOptions
    ) -> Encoding:
        texts = {FIRST: first} if second is None else {FIRST: first, SECOND: second}
        first.n_sequences = len(texts)  # and so of the row that it becomes part of
        if not settings.add_special_tokens:
            return Encoding.joined(list(texts.values()))
        places = [FIRST], None if second is None else [SECOND]
        ids = self.build_inputs_with_special_tokens(*places)
        types = self.create_token_type_ids_from_sequences(*places)
        return Encoding.joined(
            [
                texts[i] if i in texts else Encoding.of_special(i, self._id_to_token[i], type_id)
                for i, type_id in zip(ids, types, strict=True)
            ]
        )

    # Added tokens and ids -------------------------------------------------------------------

    def add_tokens(
        self,
        new_tokens: str | AddedToken | Iterable[str | AddedToken],
        special_tokens: bool = False,
    ) -> int:
        """Make tokens match in text; returns how many are new, or new in their flags.

        A token that the vocabulary has keeps its id, but counts. A new one gets the first free id
        from `len(self)` on. Its content is kept as given; if it is `normalized`, the normalised
        text is searched for its normalised content.

        Raises TypeError for anything but str and AddedToken.
        """
        count = 0
        for given in checked_tokens(new_tokens):
            if isinstance(given, str):
                token = AddedToken(given, special=special_tokens) if given else None
            else:
                token = replace(given, special=given.special or special_tokens)
            if token and token not in self._added.values():
                self._register(token)
                count += 1
        self._vocabulary_changed()
        return count

    def get_added_vocab(self) -> dict[str, int]:
        """Content of an added token -> id, by id, those of the vocabulary file included."""
        return self.added_tokens_encoder

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or a list of them; an id that no token has gives None."""
        ids = as_py_list(ids)
        if isinstance(ids, int):
            return self._id_to_token.get(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [self._id_to_token.get(int(i)) for i in ids if i not in skipped]

    def _decode(self, ids: list[int], skip_special_tokens: bool, spaces: bool) -> str:
        """The text of a row; ids that no token has are left out."""
        special = {i for i, token in self._added.items() if skip_special_tokens and token.special}
        tokens = [self._id_to_token[i] for i in ids if i in self._id_to_token and i not in special]
        return self.convert_tokens_to_string(tokens)


def _kept(first: int, second: int, room: int, strategy: str, has_second: bool) -> tuple[int, int]:
    """How many tokens each text keeps where both together are too long."""
    if room == 0:  # with any strategy
        return 0, 0
    if strategy == "longest_first":
        return longest_first_at_once(first, second, room) if has_second else (room, 0)
    if strategy == "only_second" and not has_second:
        raise ValueError("truncation='only_second' needs a second text, but there is none")
    other = first if strategy == "only_second" else second
    if other >= room:
        raise ValueError(
            f"truncation={strategy!r}: the other text alone has {other} tokens, so that of this "
            f"one not even one is left of the {room} that max_length allows; "
            "raise max_length or use truncation='longest_first'"
        )
    return (first, room - first) if strategy == "only_second" else (room - second, second)


def _columns(
    rows: list[Encoding], samples: list[int], settings: EncodeOptions
) -> dict[str, list[Any]]:
    """The rows as the lists that were asked for."""
    columns: dict[str, list[Any]] = {"input_ids": [row.ids for row in rows]}
    if settings.return_token_type_ids:
        columns["token_type_ids"] = [row.type_ids for row in rows]
    if settings.return_attention_mask:
        columns["attention_mask"] = [row.attention_mask for row in rows]
    if settings.return_special_tokens_mask:
        columns["special_tokens_mask"] = [row.special_tokens_mask for row in rows]
    if settings.return_offsets_mapping:
        columns["offset_mapping"] = [row.offsets for row in rows]
    if settings.return_length:
        columns["length"] = [len(row) for row in rows]
    if settings.return_overflowing_tokens:
        columns["overflow_to_sample_mapping"] = samples
    return columns
