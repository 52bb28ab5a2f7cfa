"""Special and added tokens: which there are, what role each plays, and where they occur in a text.

An *added* token is never cut into pieces; it is found in the text before anything else happens.
A *special* token is an added token that has a meaning for the model, such as [SEP]. The vocabulary
proper, and what happens to the text between added tokens, belong to the subclasses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, overload

from tinybert.text.added_token import AddedToken, any_of

ROLES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


class RoleToken:
    """An attribute such as `pad_token`: the token that plays this role, or None.

    Assigning needs a token that the vocabulary already has; `add_special_tokens` adds new ones.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name

    @overload
    def __get__(self, tokenizer: None, owner: type) -> RoleToken: ...
    @overload
    def __get__(self, tokenizer: AddedVocabulary, owner: type) -> str | None: ...
    def __get__(self, tokenizer: AddedVocabulary | None, owner: type) -> RoleToken | str | None:
        return self if tokenizer is None else tokenizer._roles[self.role]

    def __set__(self, tokenizer: AddedVocabulary, token: str | AddedToken | None) -> None:
        tokenizer._check_required(self.role, token)
        if token is not None and str(token) not in tokenizer._token_to_id:
            raise ValueError(
                f"{self.role} = {str(token)!r}: no such token in the vocabulary; "
                f"add it with add_special_tokens({{{self.role!r}: {str(token)!r}}})"
            )
        tokenizer._roles[self.role] = None if token is None else str(token)
        tokenizer._vocabulary_changed()


class RoleId:
    """An attribute such as `pad_token_id`: the id of the token that plays this role, or None."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name.removesuffix("_id")

    @overload
    def __get__(self, tokenizer: None, owner: type) -> RoleId: ...
    @overload
    def __get__(self, tokenizer: AddedVocabulary, owner: type) -> int | None: ...
    def __get__(self, tokenizer: AddedVocabulary | None, owner: type) -> RoleId | int | None:
        if tokenizer is None:
            return self
        return None if tokenizer._roles[self.role] is None else tokenizer.role_id(self.role)

    def __set__(self, tokenizer: AddedVocabulary, token_id: int | None) -> None:
        if token_id is not None and token_id not in tokenizer._id_to_token:
            raise ValueError(f"{self.role}_id = {token_id!r}: no token has this id")
        token = None if token_id is None else tokenizer._id_to_token[token_id]
        setattr(tokenizer, self.role, token)


class AddedVocabulary:
    """The added tokens of a tokenizer, beside the vocabulary from its file.

    A subclass sets `vocab` (token -> id), then calls `__init__`; where `lowercases_text` is
    true, text is lower-cased outside the special tokens before added tokens are looked for.
    The `required_roles` can never be None.
    """

    vocab: dict[str, int]
    lowercases_text = False
    required_roles: tuple[str, ...] = ()

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

    def __init__(
        self,
        roles: Mapping[str, str | AddedToken | None],
        additional_special_tokens: Iterable[str | AddedToken],
        added_tokens_decoder: Mapping[int, AddedToken],
    ) -> None:
        for role in self.required_roles:
            self._check_required(role, roles.get(role))
        additional = list(additional_special_tokens)
        self._roles = {role: None if (t := roles.get(role)) is None else str(t) for role in ROLES}
        self._additional = [str(token) for token in additional]
        self._added = dict(added_tokens_decoder)
        self._added_ids = {str(token): token_id for token_id, token in self._added.items()}
        self._vocabulary_changed()
        named = [t for t in (*map(roles.get, ROLES), *additional) if t is not None]
        self.add_tokens([t for t in named if t not in self._added_ids], special_tokens=True)

    # Which tokens there are ---------------------------------------------------------------

    @property
    def additional_special_tokens(self) -> list[str]:
        """Special tokens that play none of the usual roles."""
        return list(self._additional)

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """The ids of `additional_special_tokens`."""
        return [self._token_to_id[token] for token in self._additional]

    @property
    def special_tokens_map(self) -> dict[str, str | list[str]]:
        """Role -> token, for the roles that are taken."""
        taken: dict[str, str | list[str]] = {r: t for r, t in self._roles.items() if t is not None}
        if self._additional:
            taken["additional_special_tokens"] = list(self._additional)
        return taken

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once, by role: bos, eos, unk, sep, pad, cls, mask, additional."""
        tokens = (*self._roles.values(), *self._additional)
        return list(dict.fromkeys(token for token in tokens if token is not None))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [self._token_to_id[token] for token in self.all_special_tokens]

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Id -> added token, by id."""
        return dict(sorted(self._added.items()))

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Content of an added token -> id, by id."""
        return {str(token): token_id for token_id, token in sorted(self._added.items())}

    def role_id(self, role: str) -> int:
        """The id of the token that plays `role`; ValueError if there is none."""
        token = self._roles[role]
        if token is None:
            raise ValueError(
                f"this tokenizer has no {role}; "
                f"choose one with add_special_tokens({{{role!r}: ...}})"
            )
        return self._token_to_id[token]

    def get_added_vocab(self) -> dict[str, int]:
        """Content of an added token -> id, those included that the vocabulary file has too."""
        return dict(self._added_ids)

    def get_vocab(self) -> dict[str, int]:
        """Token -> id of the vocabulary file and the added tokens together."""
        return dict(self._token_to_id)

    @property
    def vocab_size(self) -> int:
        """The number of tokens in the vocabulary file; `len(tokenizer)` counts added ones too."""
        return len(self.vocab)

    def __len__(self) -> int:
        return len(self._token_to_id)

    def _check_required(self, role: str, token: object) -> None:
        if token is None and role in self.required_roles:
            raise ValueError(f"{role} must not be None: a {type(self).__name__} needs it")

    # Adding tokens ------------------------------------------------------------------------

    def add_tokens(
        self,
        new_tokens: str | AddedToken | Iterable[str | AddedToken],
        special_tokens: bool = False,
    ) -> int:
        """Make tokens match in text as they stand; returns how many the vocabulary lacked.

        A token that the vocabulary has keeps its id, a new one gets the first free id from
        `len(self)` on (then resize the embedding of the model). A tokenizer that lower-cases
        text stores normalized tokens that are not special in lower case.

        Raises TypeError for anything but str and AddedToken.
        """
        tokens = checked_tokens(new_tokens)
        special = set(self.all_special_tokens)
        size = len(self)
        for given in tokens:
            if isinstance(given, str):
                if not given or given in self._added_ids:
                    continue
                given = AddedToken(given, special=special_tokens or given in special)
            self._add(replace(given, special=given.special or special_tokens), special)
        self._vocabulary_changed()
        return len(self) - size

    def _add(self, token: AddedToken, special: set[str]) -> None:
        """Register one token; if it is special and new to the set `special`, there as well."""
        if self.lowercases_text and token.normalized and not token.special:
            token = replace(token, content=token.content.lower())
        if token.special and token.content not in special:
            self._additional.append(token.content)
            special.add(token.content)
        self._register(token)

    def _register(self, token: AddedToken) -> None:
        """Note the token, with the id that it has or else the first free one."""
        content = token.content
        if content not in self._token_to_id:
            token_id = len(self._token_to_id)
            while token_id in self._id_to_token:  # ids may have gaps
                token_id += 1
            self._token_to_id[content] = token_id
            self._id_to_token[token_id] = content
        token_id = self._token_to_id[content]
        self._added[token_id] = token
        self._added_ids[content] = token_id

    def add_special_tokens(
        self,
        special_tokens_dict: Mapping[str, Any],
        replace_additional_special_tokens: bool = True,
    ) -> int:
        """Give roles to tokens, adding those that the vocabulary lacks; returns how many it did.

        `special_tokens_dict` maps a role ("pad_token", ...) to a token, or
        "additional_special_tokens" to a list of them, which takes the place of the present list
        unless `replace_additional_special_tokens` is false.

        Raises ValueError for an unknown role, TypeError for a value that is no token.
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

    # Finding added tokens in a text -------------------------------------------------------

    def _vocabulary_changed(self) -> None:
        """Rebuild what is derived from the vocabulary, the added tokens and the roles."""
        self._token_to_id = {**self.vocab, **self._added_ids}
        self._id_to_token = {token_id: token for token, token_id in self.vocab.items()}
        self._id_to_token.update({i: str(token) for i, token in self._added.items()})
        self._never_split = frozenset(self.all_special_tokens)
        ordinary = [str(t) for t in self._added.values() if t.normalized and not t.special]
        self._keeps_case = any_of([*self.all_special_tokens, *ordinary])
        self._added_in_text = any_of(sorted(self._added_ids, key=len, reverse=True))

    def lower_case(self, text: str) -> str:
        """Lower-case what is between special tokens and ordinary normalized added tokens.

        Character by character, so that Σ gives σ even at the end of a word; no other letter
        depends on its neighbours.
        """
        pieces = self._keeps_case.split(text)
        pieces[::2] = [piece.replace("Σ", "σ").lower() for piece in pieces[::2]]
        return "".join(pieces)

    def split_added_tokens(self, text: str) -> list[str]:
        """Cut `text` at the added tokens, which stand alone in the list that is returned.

        The leftmost match wins, and of those that begin together the longest. (Where one added
        token begins like the text and another is inside it, such as "abd" and "b" in "abcd",
        transformers may overlook the second; here it is found.)
        """
        pieces = [piece for piece in self._added_in_text.split(text) if piece]
        for i, piece in enumerate(pieces):
            if piece in self._added_ids:
                self._apply_flags(pieces, i, self._added[self._added_ids[piece]])
        return [piece for piece in pieces if piece]

    def _apply_flags(self, pieces: list[str], i: int, token: AddedToken) -> None:
        """Apply lstrip, rstrip and single_word of the token at `i` to its neighbours."""
        left = pieces[i - 1] if i > 0 else ""
        right = pieces[i + 1] if i + 1 < len(pieces) else ""
        if token.rstrip and right:
            pieces[i + 1] = right.lstrip()
        if token.lstrip and left:
            pieces[i - 1] = left.rstrip()
        if token.single_word and left and left[-1] != " ":
            pieces[i - 1] += pieces[i]
            pieces[i] = ""
        elif token.single_word and right and right[0] != " ":
            pieces[i + 1] = pieces[i] + pieces[i + 1]
            pieces[i] = ""


def checked_tokens(
    new_tokens: str | AddedToken | Iterable[str | AddedToken],
) -> list[str | AddedToken]:
    """One token or several as a list; TypeError for anything but str and AddedToken."""
    tokens = [new_tokens] if isinstance(new_tokens, (str, AddedToken)) else list(new_tokens)
    for given in tokens:
        if not isinstance(given, (str, AddedToken)):
            raise TypeError(f"new_tokens must hold str or AddedToken, got {given!r}")
    return tokens


def _check_role(role: str, value: Any) -> None:
    if role not in (*ROLES, "additional_special_tokens"):
        raise ValueError(
            f"{role!r} is no role of a special token; there are {', '.join(ROLES)} "
            "and additional_special_tokens"
        )
    tokens = [value] if role in ROLES else value
    if not isinstance(tokens, (list, tuple)) or not all(
        isinstance(token, (str, AddedToken)) and str(token) for token in tokens
    ):
        kind = "a str or AddedToken" if role in ROLES else "a list of str and AddedToken"
        raise TypeError(f"{role} must be {kind}, not empty; got {value!r}")
