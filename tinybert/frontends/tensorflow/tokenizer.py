"""`TFBertTokenizer`: from texts to the arguments of a model's call.

    tokenizer = TFBertTokenizer.from_pretrained(folder)
    logits = model(tokenizer(["a text", "another one"])).logits

It differs from BertTokenizer: in how it cuts words (see `unicode.py`); a word of over 100 bytes is
unknown; special tokens in a text are not recognised; pairs are cut one piece at a time.

Oracle   transformers 4.57, `tokenization_bert_tf.py`, with tensorflow-text 2.15
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, as_tensor
from tinybert.checks import check, check_choice, check_flag, check_integer
from tinybert.frontends.tensorflow.unicode import WordCutter
from tinybert.models.arguments import choose
from tinybert.text.wordpiece import WordPiece
from tinybert.tokenizers import BertTokenizer, BertTokenizerFast
from tinybert.tokenizers.bert import save_vocab

PADDING = ("longest", "max_length")


class ByteWordPiece(WordPiece):
    """WordPiece whose longest word is measured in bytes of UTF-8."""

    def segment(self, word: str) -> list[str]:
        """Return the tokens of one word."""
        if len(word.encode()) > self.max_input_chars_per_word:
            return [self.unk_token]
        return super().segment(word)


class TFBertTokenizer:
    """BERT's tokenizer as a layer before the model.

    Args:
        vocab_list: the tokens; the id of a token is its index.
        do_lower_case: fold the case and drop accents.
        cls_token_id, sep_token_id, pad_token_id: the index of "[CLS]", "[SEP]", "[PAD]" if None.
        padding: "longest", or "max_length", which also cuts rows that are longer.
        truncation: cut texts so that a row has at most max_length tokens.
        pad_to_multiple_of: with "longest", round the length up to a multiple.
        return_token_type_ids, return_attention_mask: whether the result has them.
        use_fast_bert_tokenizer: cut words as FastBertTokenizer does; as BertTokenizer if False.
        **tokenizer_kwargs: suffix_indicator ("##"), max_bytes_per_word (100), unknown_token
            ("[UNK]").

    Raises ValueError for a special token that the vocabulary lacks, and for a token that it has
    twice.
    """

    def __init__(
        self,
        vocab_list: list[str],
        do_lower_case: bool,
        cls_token_id: int | None = None,
        sep_token_id: int | None = None,
        pad_token_id: int | None = None,
        padding: str = "longest",
        truncation: bool = True,
        max_length: int = 512,
        pad_to_multiple_of: int | None = None,
        return_token_type_ids: bool = True,
        return_attention_mask: bool = True,
        use_fast_bert_tokenizer: bool = True,
        **tokenizer_kwargs: Any,
    ) -> None:
        self.vocab_list, self.do_lower_case = list(vocab_list), do_lower_case
        self.cls_token_id = self._id("cls_token_id", cls_token_id, "[CLS]")
        self.sep_token_id = self._id("sep_token_id", sep_token_id, "[SEP]")
        self.pad_token_id = self._id("pad_token_id", pad_token_id, "[PAD]")
        check_integer("max_length", max_length, 2)
        self.padding, self.truncation, self.max_length = padding, truncation, max_length
        self.pad_to_multiple_of = pad_to_multiple_of
        self.return_token_type_ids = return_token_type_ids
        self.return_attention_mask = return_attention_mask
        self.use_fast_bert_tokenizer = use_fast_bert_tokenizer
        self._cutter = WordCutter(do_lower_case, use_fast_bert_tokenizer)
        unknown = tokenizer_kwargs.pop("unknown_token", "[UNK]")
        bytes_per_word = tokenizer_kwargs.pop("max_bytes_per_word", 100)
        suffix = tokenizer_kwargs.pop("suffix_indicator", "##")
        if tokenizer_kwargs:
            raise TypeError(
                f"unknown options {sorted(tokenizer_kwargs)}; known are suffix_indicator, "
                "max_bytes_per_word and unknown_token"
            )
        self._ids = {token: i for i, token in enumerate(self.vocab_list)}
        if len(self._ids) < len(self.vocab_list):
            raise ValueError("vocab_list has a token twice")
        if unknown not in self._ids:
            raise ValueError(f"vocab_list lacks the unknown_token {unknown!r}")
        self._pieces = ByteWordPiece(self._ids, unknown, bytes_per_word, suffix)

    def _id(self, name: str, given: int | None, token: str) -> int:
        if given is None:
            if token not in self.vocab_list:
                raise ValueError(f"vocab_list lacks {token!r}; give {name}")
            return self.vocab_list.index(token)
        check_integer(name, given, 0)
        return given

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, **kwargs: Any) -> TFBertTokenizer:
        """Return a tokenizer with the vocabulary and the settings of another one.

        Args:
            tokenizer: a BertTokenizer or BertTokenizerFast. Every token keeps its id; an id without
                a token (vocab.txt had two equal lines) gets a name that no text has.
            **kwargs: of the constructor, instead of the tokenizer's.
        """
        for name in ("do_lower_case", "cls_token_id", "sep_token_id", "pad_token_id"):
            if kwargs.get(name) is None:
                kwargs[name] = getattr(tokenizer, name)
        tokens = {i: token for token, i in tokenizer.get_vocab().items()}
        return cls([tokens.get(i, f"[no token {i}]") for i in range(max(tokens) + 1)], **kwargs)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *init_inputs: Any, **kwargs: Any
    ) -> TFBertTokenizer:
        """Load the tokenizer of a model folder, or of a model on the Hub.

        Args:
            pretrained_model_name_or_path: has a vocab.txt, or a tokenizer.json.
            *init_inputs: none. **kwargs: of the constructor, instead of the folder's.
        """
        if init_inputs:
            raise TypeError(f"give the arguments of the constructor by name, got {init_inputs}")
        try:
            tokenizer: Any = BertTokenizer.from_pretrained(pretrained_model_name_or_path)
        except (FileNotFoundError, ValueError):
            tokenizer = BertTokenizerFast.from_pretrained(pretrained_model_name_or_path)
        return cls.from_tokenizer(tokenizer, **kwargs)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Save `vocab.txt` and `tokenizer_config.json`, which all BERT tokenizers read. Of the
        arguments of the constructor those of `get_config` are saved.
        """
        tokens = self.vocab_list
        special = {
            f"{name}_token": tokens[getattr(self, f"{name}_token_id")]
            for name in ("cls", "sep", "pad")
        }
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        save_vocab(tokens, path / "vocab.txt")
        saved = BertTokenizer(path / "vocab.txt", do_lower_case=self.do_lower_case, **special)
        saved.save_pretrained(path)

    def get_config(self) -> dict[str, Any]:
        """Return the vocabulary, do_lower_case and the ids of the special tokens."""
        names = ("vocab_list", "do_lower_case", "cls_token_id", "sep_token_id", "pad_token_id")
        return {name: getattr(self, name) for name in names}

    # --- the call -------------------------------------------------------------------------------

    def __call__(
        self,
        text: Any,
        text_pair: Any = None,
        padding: str | None = None,
        truncation: bool | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
    ) -> dict[str, Tensor]:
        """Return input_ids, attention_mask and token_type_ids, (N, L) int64 each.

        Args:
            text: N texts, str or bytes of UTF-8; or (N, 2), pairs of texts.
            text_pair: N second texts.
            others: instead of those of the constructor. Pairs are cut to the constructor's
                max_length. Token types are padded with pad_token_id, as in transformers.

        Raises ValueError for texts in other shapes, and for text_pair with max_length.
        """
        padding = self.padding if padding is None else padding
        check_choice("padding", padding, PADDING)
        if max_length is not None and text_pair is not None:
            raise ValueError(
                "max_length cannot be changed in a call with text_pair; give it to the constructor"
            )
        max_length = self.max_length if max_length is None else max_length
        check_integer("max_length", max_length, 2)
        multiple = self.pad_to_multiple_of if pad_to_multiple_of is None else pad_to_multiple_of
        check_integer("pad_to_multiple_of", multiple, 1, optional=True)
        truncation = self.truncation if truncation is None else truncation
        check_flag("truncation", truncation)
        first, second = self._read(text, text_pair)
        rows = [
            self._row(*texts, truncation, max_length) for texts in zip(first, second, strict=True)
        ]
        length = max((len(ids) for ids, _ in rows), default=0)
        if padding == "max_length":
            length = max_length
        elif multiple is not None:
            length = -(-length // multiple) * multiple
        types = choose(return_token_type_ids, self.return_token_type_ids)
        mask = choose(return_attention_mask, self.return_attention_mask)
        output = {"input_ids": _stack([ids for ids, _ in rows], length, self.pad_token_id)}
        if mask:
            output["attention_mask"] = _stack([[1] * len(ids) for ids, _ in rows], length, 0)
        if types:
            output["token_type_ids"] = _stack([row for _, row in rows], length, self.pad_token_id)
        return output

    def _read(self, text: Any, text_pair: Any) -> tuple[list[str], list[str | None]]:
        """Return the first and the second text of each row."""
        texts = np.asarray(text, dtype=object)
        if texts.ndim == 0 and not self.use_fast_bert_tokenizer:
            texts = texts[None]
        columns = 1 if text_pair is not None else 2
        fits = texts.ndim == 1 or (texts.ndim == 2 == columns and texts.shape[1] == 2)
        allowed = "a list of texts" + " or of pairs" * (columns == 2)
        check("text", text, fits, allowed)
        if texts.ndim == 2:
            return [_decoded(t) for t in texts[:, 0]], [_decoded(t) for t in texts[:, 1]]
        first = [_decoded(t) for t in texts]
        if text_pair is None:
            return first, [None] * len(first)
        pairs = np.asarray(text_pair, dtype=object)
        check("text_pair", text_pair, pairs.shape == texts.shape, f"a list of {len(first)} texts")
        return first, [_decoded(t) for t in pairs]

    def _row(
        self, text: str, pair: str | None, truncation: bool, max_length: int
    ) -> tuple[list[int], list[int]]:
        """Return the ids and the token types of one row."""
        first = self._ids_of(text)
        second = None if pair is None else self._ids_of(pair)
        if truncation and second is None:
            del first[max_length - 2 :]
        elif truncation and second is not None:
            check_integer("max_length of pairs", self.max_length, 3)
            while len(first) + len(second) > self.max_length - 3:
                (first if len(first) >= len(second) else second).pop()
        ids = [self.cls_token_id, *first, self.sep_token_id]
        types = [0] * len(ids)
        if second is not None:
            ids += [*second, self.sep_token_id]
            types += [1] * (len(ids) - len(types))
        return ids, types

    def _ids_of(self, text: str) -> list[int]:
        return [self._ids[token] for token in self._pieces.tokenize(self._cutter.words(text))]


def _decoded(text: Any) -> str:
    if isinstance(text, bytes):
        return text.decode(errors="replace")
    check("text", text, isinstance(text, str), "str or bytes")
    return text


def _stack(rows: list[list[int]], length: int, value: int) -> Tensor:
    """Return rows as one Tensor (N, length), cut and padded on the right."""
    out = np.full((len(rows), length), value, np.int64)
    for row, target in zip(rows, out, strict=True):
        kept = row[:length]
        target[: len(kept)] = kept
    return as_tensor(out)
