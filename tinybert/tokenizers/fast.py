"""Rows of tokens with offsets: what all "Fast" tokenizers share.

Truncation, overflow, pairs and padding follow the Rust library `tokenizers` and the class of
transformers around it. How one text becomes tokens is defined by the `Pipeline` of the subclass.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from tinybert.atomic import saving
from tinybert.text.added_token import AddedToken
from tinybert.tokenizer_json.encoding import Encoding, joined, special_token
from tinybert.tokenizer_json.pipeline import Pipeline
from tinybert.tokenizers.added_tokens import checked_tokens
from tinybert.tokenizers.base import Tokenizer
from tinybert.tokenizers.batch_encoding import BatchEncoding, as_py_list
from tinybert.tokenizers.calls import padded_length
from tinybert.tokenizers.config import TOKENIZER_FILE
from tinybert.tokenizers.options import EncodeOptions
from tinybert.tokenizers.saving import write_text
from tinybert.tokenizers.signatures import takes_options
from tinybert.tokenizers.truncation import longest_first_at_once, windows

FIRST, SECOND = -1, -2  # placeholders of the two texts among the ids of special tokens
TEXTS = {FIRST: 0, SECOND: 1}  # mark -> index in the texts of a row


class FastTokenizer(Tokenizer):
    """Base class of the tokenizers whose `BatchEncoding` knows words and characters."""

    is_fast = True

    @abstractmethod
    def _make_pipeline(self) -> Pipeline:
        """Return the normalizer, the pre-tokenizer and the model of this tokenizer."""

    @abstractmethod
    def _tokenizer_json(self) -> str:
        """Return the text of a tokenizer.json that describes this tokenizer completely."""

    def _vocabulary_changed(self) -> None:
        super()._vocabulary_changed()
        self._pipeline = self._make_pipeline()
        self._pipeline.set_added_tokens(self._added_ids, self._added.values())
        self._not_in_vocab = {token for token in self._added_ids if token not in self.vocab}
        self._layouts: dict[int, list[Encoding | int]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the pipeline, whose functions cannot be pickled; it is made again."""
        return {name: value for name, value in vars(self).items() if name != "_pipeline"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._vocabulary_changed()

    # Files ----------------------------------------------------------------------------------

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        """Write the files of a slow tokenizer, and a tokenizer.json, which is complete by itself.

        legacy_format: True omits tokenizer.json; False omits what it contains, the vocabulary and
            added_tokens.json.
        """
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        with saving(save_directory, self._older_files(prefix)) as new:
            written = super().save_pretrained(new, legacy_format, filename_prefix)
            if not legacy_format:
                path = new / (prefix + TOKENIZER_FILE)
                write_text(path, self._tokenizer_json())
                written += (str(path),)
        return tuple(str(Path(save_directory) / Path(name).relative_to(new)) for name in written)

    # Text to rows ---------------------------------------------------------------------------

    @takes_options()
    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any
    ) -> list[str]:
        """Return the tokens of a text or pair; options as in a call.

        Raises TypeError if `text` is not a str.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, got {text!r}")
        options["add_special_tokens"] = add_special_tokens
        return self.encode_plus(text, pair, **options).tokens()

    def _tokenize(self, text: str) -> list[str]:
        return self._pipeline.encode(text, split_special_tokens=True).tokens

    def _encode_text(self, text: str, sequence: int, split_special_tokens: bool) -> Encoding:
        """Return the tokens of a text that is the first (0) or second (1) of its row."""
        return self._pipeline.encode(text, sequence, split_special_tokens)

    def _check_settings(self, given: EncodeOptions, settings: EncodeOptions) -> None:
        """Accept all options: offsets are known."""

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
            parts = self._truncated(first, second, settings)
            found = [self._with_special_tokens(a, b, settings) for a, b in parts]
            self._check_length(len(found[0]), settings)
            rows += found
            samples += [sample] * len(found)
            longest = max(longest, len(found[0]))
        if settings.padding != "do_not_pad":
            length = padded_length(longest, settings)
            pad_id, side = self.role_id("pad_token"), str(settings.padding_side)
            filler = pad_id, str(self.pad_token), side, self.pad_token_type_id
            rows = [row.padded(length, *filler) for row in rows]
        encoding = BatchEncoding(_columns(rows, samples, settings), rows)
        return encoding.convert_to_tensors(settings.return_tensors)

    def _encode_words(self, text: Any, sequence: int, settings: EncodeOptions) -> Encoding:
        """Return the tokens of a text: a str, or a list of words if it is split into words."""
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
        return joined(words)

    # Truncation --------------------------------------------------------------------------------

    def _truncated(
        self, first: Encoding, second: Encoding | None, settings: EncodeOptions
    ) -> list[tuple[Encoding, Encoding | None]]:
        """Return what is kept of both texts, followed by what overflows, if that is requested."""
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
        # The library joins the overflow of both texts in this order.
        rows = [(a, b) for a in firsts[1:] for b in seconds]
        return [(firsts[0], seconds[0]), *rows, *((firsts[0], b) for b in seconds[1:])]

    def _windows(self, text: Encoding, size: int, settings: EncodeOptions) -> list[Encoding]:
        """Return the `size` tokens that are kept, and the windows that overflow, if requested."""
        if len(text) <= size:
            return [text]
        if not settings.return_overflowing_tokens:
            start = len(text) - size if self.truncation_side == "left" else 0
            return [text.part(start, start + size)]
        if size <= settings.stride:
            raise ValueError(
                f"stride={settings.stride} must be less than {size}, the number of tokens of this "
                "text in a row; lower stride or raise max_length"
            )
        spans = windows(len(text), size, settings.stride, self.truncation_side)
        return [text.part(*span) for span in spans]

    def _with_special_tokens(
        self, first: Encoding, second: Encoding | None, settings: EncodeOptions
    ) -> Encoding:
        texts = [first] if second is None else [first, second]
        if not settings.add_special_tokens:
            return joined(texts, len(texts))
        layout = self._layout(len(texts))
        parts = [texts[part] if isinstance(part, int) else part for part in layout]
        return joined(parts, len(texts))

    def _layout(self, n_texts: int) -> list[Encoding | int]:
        """Return the parts of a row of 1 or 2 texts: special tokens, and indices of texts."""
        if n_texts not in self._layouts:
            sequences = [FIRST], None if n_texts == 1 else [SECOND]
            ids = self.build_inputs_with_special_tokens(*sequences)
            types = self.create_token_type_ids_from_sequences(*sequences)
            self._layouts[n_texts] = [
                TEXTS[i] if i in TEXTS else special_token(i, self._id_to_token[i], type_id)
                for i, type_id in zip(ids, types, strict=True)
            ]
        return self._layouts[n_texts]

    # Added tokens and ids -------------------------------------------------------------------

    def add_tokens(
        self,
        new_tokens: str | AddedToken | Iterable[str | AddedToken],
        special_tokens: bool = False,
    ) -> int:
        """Add tokens; return how many are new, or have new flags.

        A token that the vocabulary has keeps its id, but counts. A new one gets the first free id
        from `len(self)` up. Its content is kept as given; if it is `normalized`, its normalized
        content is searched in the normalized text.

        Raises TypeError for anything but str and AddedToken.
        """
        count = 0
        for given in checked_tokens(new_tokens):
            if isinstance(given, str):
                token = AddedToken(given, special=special_tokens) if given else None
            else:
                token = replace(given, special=given.special or special_tokens)
            if token and self._added.get(self._added_ids.get(token.content, -1)) != token:
                self._register(token)
                count += 1
        self._vocabulary_changed()
        return count

    def get_added_vocab(self) -> dict[str, int]:
        """Return content -> id of all added tokens, sorted by id."""
        return self.added_tokens_encoder

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Return the token of an id, or a list of tokens; an unknown id gives None."""
        ids = as_py_list(ids)
        if isinstance(ids, int):
            return self._id_to_token.get(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [self._id_to_token.get(int(i)) for i in ids if i not in skipped]

    def _decode(self, ids: list[int], skip_special_tokens: bool, spaces: bool) -> str:
        """Return the text of a row of ids; unknown ids are left out."""
        special = {i for i, token in self._added.items() if skip_special_tokens and token.special}
        tokens = [self._id_to_token[i] for i in ids if i in self._id_to_token and i not in special]
        return self.convert_tokens_to_string(tokens)


def _kept(first: int, second: int, room: int, strategy: str, has_second: bool) -> tuple[int, int]:
    """Return how many tokens each text keeps if both together are too long."""
    if room == 0:  # with any strategy
        return 0, 0
    if strategy == "longest_first":
        return longest_first_at_once(first, second, room) if has_second else (room, 0)
    if strategy == "only_second" and not has_second:
        raise ValueError("truncation='only_second' needs a second text, but there is none")
    other = first if strategy == "only_second" else second
    if other >= room:
        raise ValueError(
            f"truncation={strategy!r}: the other text alone has {other} tokens, and max_length "
            f"leaves room for {room}; raise max_length or use truncation='longest_first'"
        )
    return (first, room - first) if strategy == "only_second" else (room - second, second)


def _columns(
    rows: list[Encoding], samples: list[int], settings: EncodeOptions
) -> dict[str, list[Any]]:
    """Return copies of the requested columns: a caller may change its lists, the rows stay."""
    columns: dict[str, list[Any]] = {"input_ids": [[*row.ids] for row in rows]}
    if settings.return_token_type_ids:
        columns["token_type_ids"] = [[*row.type_ids] for row in rows]
    if settings.return_attention_mask:
        if settings.padding == "do_not_pad":  # all are attended to: no need to ask the rows
            columns["attention_mask"] = [[1] * len(row) for row in rows]
        else:
            columns["attention_mask"] = [[*row.attention_mask] for row in rows]
    if settings.return_special_tokens_mask:
        columns["special_tokens_mask"] = [[*row.special_tokens_mask] for row in rows]
    if settings.return_offsets_mapping:
        columns["offset_mapping"] = [[*row.offsets] for row in rows]
    if settings.return_length:
        columns["length"] = [len(row) for row in rows]
    if settings.return_overflowing_tokens:
        columns["overflow_to_sample_mapping"] = samples
    return columns
