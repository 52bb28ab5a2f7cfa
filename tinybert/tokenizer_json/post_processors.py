"""The post-processors of a tokenizer.json: they join texts and special tokens to a row."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tinybert.text.aligned_text import MAX_GROWTH, Span, check_growth, growth_limit
from tinybert.tokenizer_json.encoding import Columns, Encoding, joined, special_token
from tinybert.tokenizer_json.fields import MAX_ID, Fields
from tinybert.tokenizer_json.trim_offsets import trimmed

# From the texts of a row, or the pieces that the part before made of them, and whether to add
# special tokens, to the pieces of the row. As in the library, a text with its special tokens is one
# piece to BertProcessing and RobertaProcessing; TemplateProcessing makes each item a piece.
Process = Callable[[list[Encoding], bool], list[Encoding]]

MAX_STEPS = 20  # post-processors in a row

TemplateItem = tuple[str, int]  # "A", "B", or "" for special tokens; and a type id


def nothing(texts: list[Encoding], special: bool) -> list[Encoding]:
    return texts


@dataclass(frozen=True)
class Chain:
    """Several post-processors, each for the result of the one before it."""

    steps: list[Process]

    def __call__(self, texts: list[Encoding], special: bool) -> list[Encoding]:
        for step in self.steps:
            texts = step(texts, special)
        return texts


def sequence(part: Fields) -> Process:
    steps: list[Process] = []
    for processor in part.parts("processors"):
        built = processor.build(PROCESSORS)
        steps += built.steps if isinstance(built, Chain) else [built]
    if len(steps) > MAX_STEPS:
        raise ValueError(f"{part.where} may have {MAX_STEPS} processors at most, got {len(steps)}")
    return Chain(steps)


def byte_level(part: Fields) -> Process:
    """Trim spaces from the offsets, if `trim_offsets`."""
    columns = {"offsets": _offsets(part)}
    return lambda texts, special: [text.with_columns(columns) for text in texts]


def _offsets(part: Fields) -> Callable[[Encoding], list[Span]]:
    """Return the function for the offsets of a text, which the part may trim."""
    adds_space, trims = part.get("add_prefix_space", bool), part.get("trim_offsets", bool)
    return lambda text: trimmed(text.tokens, text.offsets, adds_space) if trims else text.offsets


def roberta(part: Fields) -> Process:
    """Make <s> A </s>, or <s> A </s></s> B </s>; every type is 0."""
    columns: Columns = {"offsets": _offsets(part), **_of_type(0)}
    cls, sep = _special(part, "cls", 0), _special(part, "sep", 0)

    def process(texts: list[Encoding], special: bool) -> list[Encoding]:
        row = [text.with_columns(columns) for text in texts]
        if not special:
            return row
        return [joined([sep if i else cls, text, sep]) for i, text in enumerate(row)]

    return process


def bert(part: Fields) -> Process:
    """Make [CLS] A [SEP], or [CLS] A [SEP] B [SEP] with type 1 for B [SEP]."""
    cls, sep, last = _special(part, "cls", 0), _special(part, "sep", 0), _special(part, "sep", 1)

    def process(texts: list[Encoding], special: bool) -> list[Encoding]:
        if not special:
            return texts
        return [joined([text, last] if i else [cls, text, sep]) for i, text in enumerate(texts)]

    return process


def _of_type(type_id: int) -> Columns:
    """Return the change that gives every token this type."""
    return {"type_ids": lambda text: [type_id] * len(text)}


def _special(part: Fields, name: str, type_id: int) -> Encoding:
    """Return a special token given as ["</s>", 2]."""
    pair = part.get(name, list)
    if len(pair) != 2 or not isinstance(pair[0], str) or not _is_id(pair[1]):
        raise ValueError(f"{part.where}.{name} must be a token and its id, got {pair!r:.80}")
    return special_token(pair[1], pair[0], type_id)


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_ID


def template(part: Fields) -> Process:
    """Make rows by two templates, one for a text and one for a pair."""
    named = _named_tokens(part)
    single, pair = (_template(part, name, named) for name in ("single", "pair"))
    both = {"A", "B"} <= {text for (text, _), _ in pair}
    of_type = {type_id: _of_type(type_id) for (_, type_id), _ in (*single, *pair)}
    numbers = {
        n_texts: [
            *(sum(name == text for (name, _), _ in items) for text in "AB"[:n_texts]),
            sum(len(tokens or ()) for _, tokens in items),
        ]
        for n_texts, items in ((1, single), (2, pair))
    }

    is_long = max(map(sum, numbers.values())) > MAX_GROWTH  # shorter rows cannot grow by more

    def process(texts: list[Encoding], special: bool) -> list[Encoding]:
        if len(texts) > 1 and not both:
            raise ValueError(f"{part.where}.pair must have both sequences, A and B, to make a pair")
        if len(texts) > 2:
            raise ValueError(
                f"{part.where} takes one text or two, but the part before it makes {len(texts)}"
            )
        if is_long:
            sizes = [len(text) for text in texts]
            n_tokens = sum(map(operator.mul, numbers[len(texts)], [*sizes, 1]))
            check_growth(n_tokens, growth_limit(sum(sizes)))
        row: list[Encoding] = []
        for (name, type_id), tokens in pair if len(texts) > 1 else single:
            if tokens is None:
                text = texts["AB".index(name)]
                row.append(text.with_columns(of_type[type_id]))
            elif special:
                row.append(joined([special_token(i, token, type_id) for i, token in tokens]))
        return row

    return process


Tokens = list[tuple[int, str]]


def _named_tokens(part: Fields) -> Mapping[str, Tokens]:
    """Return the special tokens of a template by name, each as ids and tokens."""
    named: dict[str, Tokens] = {}
    for name, value in part.get("special_tokens", dict).items():
        fields = Fields(value, f"{part.where}.special_tokens[{name!r:.40}]")
        ids, tokens = fields.get("ids", list), fields.get("tokens", list)
        if len(ids) != len(tokens) or not all(
            _is_id(i) and isinstance(token, str) for i, token in zip(ids, tokens, strict=True)
        ):
            raise ValueError(f"{fields.where} must have as many ids as tokens")
        named[name] = list(zip(ids, tokens, strict=True))
    return named


def _template(
    part: Fields, name: str, named: Mapping[str, Tokens]
) -> list[tuple[TemplateItem, Tokens | None]]:
    items: list[tuple[TemplateItem, Tokens | None]] = []
    for item in part.parts(name):
        if set(item.value) == {"Sequence"}:
            fields = Fields(item.value["Sequence"], f"{item.where}.Sequence")
            text = fields.choice("id", ("A",) if name == "single" else ("A", "B"))
            items.append(((text, fields.id("type_id")), None))
        elif set(item.value) == {"SpecialToken"}:
            fields = Fields(item.value["SpecialToken"], f"{item.where}.SpecialToken")
            token = fields.get("id", str)
            if token not in named:
                raise ValueError(f"{fields.where}: {token!r} is not in special_tokens")
            items.append((("", fields.id("type_id")), named[token]))
        else:
            raise ValueError(f"{item.where} must have the one field Sequence or SpecialToken")
    return items


PROCESSORS: dict[str, Callable[[Fields], Process]] = {
    "Sequence": sequence,
    "ByteLevel": byte_level,
    "RobertaProcessing": roberta,
    "BertProcessing": bert,
    "TemplateProcessing": template,
}


def bos_and_eos(bos: tuple[str, int] | None, eos: tuple[str, int] | None) -> dict[str, Any]:
    """Return the part that puts bos before and eos after each text, if given with their ids."""
    tokens: dict[str, Any] = {}
    for token in (bos, eos):
        if token is not None:
            tokens[token[0]] = {"id": token[0], "ids": [token[1]], "tokens": [token[0]]}
    rows: list[list[dict[str, Any]]] = []
    for text, type_id in (("A", 0), ("B", 1)):
        row: list[dict[str, Any]] = [{"Sequence": {"id": text, "type_id": type_id}}]
        if bos is not None:
            row.insert(0, {"SpecialToken": {"id": bos[0], "type_id": type_id}})
        if eos is not None:
            row.append({"SpecialToken": {"id": eos[0], "type_id": type_id}})
        rows.append(row)
    templates = {"single": rows[0], "pair": rows[0] + rows[1]}
    return {"type": "TemplateProcessing", **templates, "special_tokens": tokens}
