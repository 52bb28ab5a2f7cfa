"""Special and added tokens: which there are, which ids they get, and where they occur in a text.

An *added* token is never split; it is found in the text before anything else happens. A *special*
token is an added token that has a meaning for the model, such as [SEP]. A special token may have a
*role*, such as sep_token; the attributes and methods by role are in `special_tokens.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tinybert.text.added_token import AddedToken, pattern_of

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class AddedVocabulary:
    """The added tokens of a tokenizer, besides the vocabulary from its file.

    A subclass sets `vocab` (token -> id), then calls `__init__`. If `lowercases_text`, text is
    lower-cased outside the special tokens before added tokens are searched. The `required_roles`
    can never be None.
    """

    vocab: dict[str, int]
    lowercases_text = False
    required_roles: tuple[str, ...] = ()
    _first_free = 0  # ids below it, from len(self) up, are taken

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

    def __len__(self) -> int:
        return len(self._token_to_id)

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once, by role: bos, eos, unk, sep, pad, cls, mask, additional."""
        tokens = (*self._roles.values(), *self._additional)
        return list(dict.fromkeys(token for token in tokens if token is not None))

    def role_id(self, role: str) -> int:
        """Return the id of the token that has this role; ValueError if there is none."""
        token = self._roles[role]
        if token is None:
            raise ValueError(
                f"this tokenizer has no {role}; "
                f"choose one with add_special_tokens({{{role!r}: ...}})"
            )
        return self._token_to_id[token]

    def _check_required(self, role: str, token: object) -> None:
        if token is None and role in self.required_roles:
            raise ValueError(f"{role} must not be None: a {type(self).__name__} needs it")

    def _vocabulary_changed(self) -> None:
        """Rebuild what is derived from the vocabulary, the added tokens and the roles."""
        self._token_to_id = {**self.vocab, **self._added_ids}
        self._id_to_token = {token_id: token for token, token_id in self.vocab.items()}
        self._id_to_token.update({i: str(token) for i, token in self._added.items()})
        self._never_split = frozenset(self.all_special_tokens)
        ordinary = [str(t) for t in self._added.values() if t.normalized and not t.special]
        self._case_kept = pattern_of([*self.all_special_tokens, *ordinary])
        self._added_pattern = pattern_of(sorted(self._added_ids, key=len, reverse=True))

    # Adding tokens ------------------------------------------------------------------------

    def add_tokens(
        self,
        new_tokens: str | AddedToken | Iterable[str | AddedToken],
        special_tokens: bool = False,
    ) -> int:
        """Add tokens; return how many of them the vocabulary lacked.

        A token that the vocabulary has keeps its id. A new one gets the first free id from
        `len(self)` up; the embedding of the model must then be resized. A tokenizer that
        lower-cases text stores normalized tokens that are not special in lower case.

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
        """Register one token; add it to the set `special` if it is special and new there."""
        if self.lowercases_text and token.normalized and not token.special:
            token = replace(token, content=token.content.lower())
        if token.special and token.content not in special:
            self._additional.append(token.content)
            special.add(token.content)
        self._register(token)

    def _register(self, token: AddedToken) -> None:
        """Store the token with the id that it has, or else with the first free one."""
        content = token.content
        if content not in self._token_to_id:
            token_id = max(self._first_free, len(self._token_to_id))
            while token_id in self._id_to_token:  # ids may have gaps
                token_id += 1
            self._first_free = token_id + 1
            self._token_to_id[content] = token_id
            self._id_to_token[token_id] = content
        token_id = self._token_to_id[content]
        self._added[token_id] = token
        self._added_ids[content] = token_id

    # Finding added tokens in a text -------------------------------------------------------

    def lower_case(self, text: str) -> str:
        """Lower-case a text outside special tokens and ordinary normalized added tokens.

        Each character is lower-cased by itself: Σ becomes σ even at the end of a word. No other
        letter depends on its neighbours.
        """
        parts = self._case_kept.split(text)
        parts[::2] = [part.replace("Σ", "σ").lower() for part in parts[::2]]
        return "".join(parts)

    def split_added_tokens(self, text: str) -> list[str]:
        """Split `text` into added tokens and the parts between them.

        The leftmost match wins, and of matches that begin together the longest. (If one added
        token begins like the text and another is inside it, such as "abd" and "b" in "abcd",
        transformers may miss the second; this method finds it.)
        """
        parts = [part for part in self._added_pattern.split(text) if part]
        for i, part in enumerate(parts):
            if part in self._added_ids:
                self._apply_flags(parts, i, self._added[self._added_ids[part]])
        return [part for part in parts if part]

    def _apply_flags(self, parts: list[str], i: int, token: AddedToken) -> None:
        """Apply lstrip, rstrip and single_word of the token at index `i` to its neighbours."""
        left = parts[i - 1] if i > 0 else ""
        right = parts[i + 1] if i + 1 < len(parts) else ""
        if token.rstrip and right:
            parts[i + 1] = right.lstrip()
        if token.lstrip and left:
            parts[i - 1] = left.rstrip()
        if token.single_word and left and left[-1] != " ":
            parts[i - 1] += parts[i]
            parts[i] = ""
        elif token.single_word and right and right[0] != " ":
            parts[i + 1] = parts[i] + parts[i + 1]
            parts[i] = ""


def checked_tokens(
    new_tokens: str | AddedToken | Iterable[str | AddedToken],
) -> list[str | AddedToken]:
    """Return one token or several as a list; TypeError for anything but str and AddedToken."""
    tokens = [new_tokens] if isinstance(new_tokens, (str, AddedToken)) else list(new_tokens)
    for given in tokens:
        if not isinstance(given, (str, AddedToken)):
            raise TypeError(f"new_tokens must hold str or AddedToken, got {given!r}")
    return tokens
