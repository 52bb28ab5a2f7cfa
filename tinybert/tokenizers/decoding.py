"""From ids back to text."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from tinybert.text.detokenize import clean_up_english
from tinybert.tokenizers.batch_encoding import as_py_list
from tinybert.tokenizers.special_tokens import SpecialTokens


class Decoding(SpecialTokens):
    """The part of a tokenizer that goes from ids to text."""

    clean_up_tokenization_spaces: bool
    inserts_spaces = True  # between tokens; False where tokens hold the spaces of the text

    @property
    def cleans_up(self) -> bool:
        """Whether `decode` cleans up by default: the setting, where decoding inserts spaces."""
        return bool(self.clean_up_tokenization_spaces) and self.inserts_spaces

    def settled(self, ids: list[int], skip_special_tokens: bool = False) -> int:
        """Return how many of the ids have a text that further ids cannot change."""
        return len(ids)

    @abstractmethod
    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Return the text of the tokens, as far as it can be recovered."""

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Return the token of an id, or a list of tokens; an unknown id gives `unk_token`."""
        ids = as_py_list(ids)
        if isinstance(ids, int):
            return self._id_to_token.get(ids, self.unk_token)
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [self._id_to_token.get(int(i), self.unk_token) for i in ids if i not in skipped]

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = True,
    ) -> str:
        """Return the text of one id or a row of ids (a list, array or Tensor).

        Tokenization loses information: the result is not always the text that was encoded.

        skip_special_tokens: leave out special tokens.
        clean_up_tokenization_spaces: apply `clean_up_tokenization`; None means `cleans_up`.
        spaces_between_special_tokens: put spaces around added tokens that are not special; a
            "Fast" tokenizer always does.
        """
        ids = as_py_list(token_ids)
        row = [ids] if isinstance(ids, int) else ids
        text = self._decode(row, skip_special_tokens, spaces_between_special_tokens)
        clean_up = clean_up_tokenization_spaces
        if self.cleans_up if clean_up is None else clean_up:
            return self.clean_up_tokenization(text)
        return text

    @staticmethod
    def clean_up_tokenization(text: str) -> str:
        """Remove the space before English punctuation and contractions."""
        return clean_up_english(text)

    def _decode(self, ids: list[int], skip_special_tokens: bool, spaces: bool) -> str:
        """Return the text of a row of ids, not cleaned up, with added tokens as they are."""
        tokens = self.convert_ids_to_tokens(ids, skip_special_tokens)
        special = set(self.all_special_tokens)
        if skip_special_tokens:
            tokens = [token for token in tokens if token not in special]
        new = {t for t in self._additional if self._token_to_id[t] >= self.vocab_size}
        alone = (self._added_ids.keys() - special) | new
        texts: list[str] = []
        run: list[str] = []  # tokens since the last added token
        for token in tokens:
            if token not in alone:
                run.append(token)
                continue
            if run and (string := self.convert_tokens_to_string(run)):
                texts.append(string)
            run = []
            texts.append(token)
        if run:
            texts.append(self.convert_tokens_to_string(run))
        return (" " if spaces else "").join(texts)

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = True,
    ) -> list[str]:
        """Return `decode` of each row of a batch, or of each id of a flat list."""
        options = skip_special_tokens, clean_up_tokenization_spaces, spaces_between_special_tokens
        return [self.decode(sequence, *options) for sequence in as_py_list(sequences)]
