"""The special tokens of a tokenizer by role: attributes such as `pad_token` and `pad_token_id`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

from tinybert.text.added_token import AddedToken
from tinybert.tokenizers.added_tokens import ROLES, AddedVocabulary


class RoleToken:
    """An attribute such as `pad_token`: the token that has this role, or None.

    Only a token that the vocabulary has can be assigned; `add_special_tokens` adds new ones.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name

    @overload
    def __get__(self, tokenizer: None, owner: type) -> RoleToken: ...
    @overload
    def __get__(self, tokenizer: SpecialTokens, owner: type) -> str | None: ...
    def __get__(self, tokenizer: SpecialTokens | None, owner: type) -> RoleToken | str | None:
        return self if tokenizer is None else tokenizer._roles[self.role]

    def __set__(self, tokenizer: SpecialTokens, token: str | AddedToken | None) -> None:
        tokenizer._check_required(self.role, token)
        if token is not None and str(token) not in tokenizer._token_to_id:
            raise ValueError(
                f"{self.role} = {str(token)!r}: no such token in the vocabulary; "
                f"add it with add_special_tokens({{{self.role!r}: {str(token)!r}}})"
            )
        tokenizer._roles[self.role] = None if token is None else str(token)
        tokenizer._vocabulary_changed()


class RoleId:
    """An attribute such as `pad_token_id`: the id of the token that has this role, or None."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name.removesuffix("_id")

    @overload
    def __get__(self, tokenizer: None, owner: type) -> RoleId: ...
    @overload
    def __get__(self, tokenizer: SpecialTokens, owner: type) -> int | None: ...
    def __get__(self, tokenizer: SpecialTokens | None, owner: type) -> RoleId | int | None:
        if tokenizer is None:
            return self
        return None if tokenizer._roles[self.role] is None else tokenizer.role_id(self.role)

    def __set__(self, tokenizer: SpecialTokens, token_id: int | None) -> None:
        if token_id is not None and token_id not in tokenizer._id_to_token:
            raise ValueError(f"{self.role}_id = {token_id!r}: no token has this id")
        token = None if token_id is None else tokenizer._id_to_token[token_id]
        setattr(tokenizer, self.role, token)


class SpecialTokens(AddedVocabulary):
    """The special and added tokens as attributes, and the methods that change roles."""

    bos_token = RoleToken()
    eos_token = RoleToken()
    unk_token = RoleToken()
    sep_token = RoleToken()
    pad_token = RoleToken()
    cls_token = RoleToken()
    mask_token = RoleToken()
    bos_token_id = RoleId()
    eos_token_id = RoleId()
    unk_token_id = RoleId()
    sep_token_id = RoleId()
    pad_token_id = RoleId()
    cls_token_id = RoleId()
    mask_token_id = RoleId()

    @property
    def additional_special_tokens(self) -> list[str]:
        """Special tokens that have none of the usual roles."""
        return list(self._additional)

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """The ids of `additional_special_tokens`."""
        return [self._token_to_id[token] for token in self._additional]

    @property
    def special_tokens_map(self) -> dict[str, str | list[str]]:
        """Role -> token, for the roles that have a token."""
        taken: dict[str, str | list[str]] = {r: t for r, t in self._roles.items() if t is not None}
        if self._additional:
            taken["additional_special_tokens"] = list(self._additional)
        return taken

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [self._token_to_id[token] for token in self.all_special_tokens]

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Id -> added token, sorted by id."""
        return dict(sorted(self._added.items()))

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Content of an added token -> id, sorted by id."""
        return {str(token): token_id for token_id, token in sorted(self._added.items())}

    @property
    def vocab_size(self) -> int:
        """The number of tokens in the vocabulary file; `len(tokenizer)` also counts added ones."""
        return len(self.vocab)

    def get_added_vocab(self) -> dict[str, int]:
        """Return content -> id of the added tokens, also of those in the vocabulary file."""
        return dict(self._added_ids)

    def get_vocab(self) -> dict[str, int]:
        """Return token -> id of the vocabulary file and the added tokens together."""
        return dict(self._token_to_id)

    def add_special_tokens(
        self,
        special_tokens_dict: Mapping[str, Any],
        replace_additional_special_tokens: bool = True,
    ) -> int:
        """Give roles to tokens; add those that the vocabulary lacks, and return their number.

        `special_tokens_dict` maps a role ("pad_token", ...) to a token, or
        "additional_special_tokens" to a list of them. The list replaces the present list unless
        `replace_additional_special_tokens` is false.

        Raises ValueError for an unknown role, TypeError for a value that is not a token.
        """
        for role, value in special_tokens_dict.items():
            _check_role(role, value)
        tokens: list[str | AddedToken] = []
        for role, value in special_tokens_dict.items():
            if role in ROLES:
                self._roles[role] = str(value)
                tokens.append(value)
            else:
                old = [] if value and replace_additional_special_tokens else self._additional
                self._additional = list(dict.fromkeys([*old, *map(str, value)]))
                tokens += value
        return self.add_tokens(tokens, special_tokens=True)


def _check_role(role: str, value: Any) -> None:
    if role not in (*ROLES, "additional_special_tokens"):
        raise ValueError(
            f"{role!r} is not a role of a special token; the roles are {', '.join(ROLES)} "
            "and additional_special_tokens"
        )
    tokens = [value] if role in ROLES else value
    if not isinstance(tokens, (list, tuple)) or not all(
        isinstance(token, (str, AddedToken)) and str(token) for token in tokens
    ):
        kind = "a non-empty str or AddedToken" if role in ROLES else "a list of str and AddedToken"
        raise TypeError(f"{role} must be {kind}, got {value!r}")
