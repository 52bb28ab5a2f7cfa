"""The options of a call to a tokenizer: their defaults, checks, and how they complete each other.

Nothing is tokenized, cut or padded here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from tinybert.tokenizers.batch_encoding import check_tensor_type

NO_LIMIT = int(1e30)  # the model_max_length of a model that has none, as transformers stores it
LARGEST_LIMIT = 10**20  # anything above means "no limit"
PADDING: dict[Any, str] = {False: "do_not_pad", True: "longest"}
PADDING_STRATEGIES = ("do_not_pad", "longest", "max_length")
TRUNCATION: dict[Any, str] = {
    None: "do_not_truncate",
    False: "do_not_truncate",
    True: "longest_first",
}
TRUNCATION_STRATEGIES = ("do_not_truncate", "longest_first", "only_first", "only_second")
SIDES = ("right", "left")

Method = TypeVar("Method", bound=Callable[..., Any])


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def check_whole_number(name: str, value: Any, least: int) -> None:
    """Raise TypeError unless `value` is an int, ValueError unless it is at least `least`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


@dataclass(frozen=True)
class EncodeOptions:
    """Options of `tokenizer(...)`, `encode` and `prepare_for_model`.

    add_special_tokens: wrap the text in the special tokens of the model.
    padding: False or "do_not_pad"; True or "longest" (to the longest row of the batch);
        "max_length".
    truncation: False or "do_not_truncate"; True or "longest_first" (takes from the longer of a
        pair; which of two equal ones, and how the rest is shared, depends on the class);
        "only_first"; "only_second". The default
        None means False, unless max_length is given without padding: then "longest_first".
    max_length: tokens in a row, special tokens included; None stands for the tokenizer's
        model_max_length, and if that has no limit, nothing is cut or padded to a length.
    stride: how many tokens before the cut are repeated in what overflows.
    is_split_into_words: a text is a list of words.
    pad_to_multiple_of: round the length that rows are padded to up to a multiple of this.
    padding_side: "right" or "left"; None stands for the tokenizer's.
    return_tensors: None (lists), "np" (int64 NumPy arrays) or "tb" (tinybert Tensors).
    return_token_type_ids, return_attention_mask: None means "if the model takes it".
    return_overflowing_tokens: also give `overflowing_tokens`, a list of the ids cut off, and
        `num_truncated_tokens`, by how much a row was too long (negative: too short). A "Fast"
        tokenizer gives what overflows as further rows, and `overflow_to_sample_mapping`, which
        says for each row of which example it is.
    return_special_tokens_mask: also give a mask, 1 for special tokens and padding.
    return_offsets_mapping: also give `offset_mapping`, (start, end) of each token in its text;
        only a "Fast" tokenizer can, others raise NotImplementedError.
    return_length: also give the length of each row: before padding in a batch, but after it
        from a "Fast" tokenizer.
    split_special_tokens: treat added tokens in the text as ordinary text; None stands for the
        tokenizer's.
    verbose: log a warning, once a tokenizer, where options have effects that surprise, or a row
        is longer than the model takes.
    """

    add_special_tokens: bool = True
    padding: bool | str = False
    truncation: bool | str | None = None
    max_length: int | None = None
    stride: int = 0
    is_split_into_words: bool = False
    pad_to_multiple_of: int | None = None
    padding_side: str | None = None
    return_tensors: str | None = None
    return_token_type_ids: bool | None = None
    return_attention_mask: bool | None = None
    return_overflowing_tokens: bool = False
    return_special_tokens_mask: bool = False
    return_offsets_mapping: bool = False
    return_length: bool = False
    split_special_tokens: bool | None = None
    verbose: bool = True

    def __post_init__(self) -> None:
        check_choice("padding", self.padding, (*PADDING, *PADDING_STRATEGIES))
        check_choice("truncation", self.truncation, (*TRUNCATION, *TRUNCATION_STRATEGIES))
        check_choice("padding_side", self.padding_side, (None, *SIDES))
        check_tensor_type(self.return_tensors)
        check_whole_number("stride", self.stride, 0)
        for name in ("max_length", "pad_to_multiple_of"):
            if getattr(self, name) is not None:
                check_whole_number(name, getattr(self, name), 1)

    def resolved(
        self, model_max_length: int, padding_side: str, input_names: list[str]
    ) -> EncodeOptions:
        """The same options with every None, True and False replaced by what it stands for.

        Raises ValueError if rows would be cut and padded to a length that is no multiple of
        pad_to_multiple_of.
        """
        padding, truncation, max_length = self.padding, self.truncation, self.max_length
        if max_length is not None and padding is False and truncation is None:
            truncation = True
        padding = PADDING.get(padding, padding)
        truncation = TRUNCATION.get(truncation, truncation)
        if max_length is None and model_max_length > LARGEST_LIMIT:
            padding = "do_not_pad" if padding == "max_length" else padding
            truncation = "do_not_truncate"
        elif max_length is None and (padding == "max_length" or truncation != "do_not_truncate"):
            max_length = model_max_length
        step = self.pad_to_multiple_of
        cuts_and_pads = truncation != "do_not_truncate" and padding != "do_not_pad"
        if cuts_and_pads and step and max_length and max_length % step:
            raise ValueError(
                f"max_length={max_length} must be a multiple of pad_to_multiple_of={step} "
                "when rows are both truncated and padded"
            )
        types, mask = self.return_token_type_ids, self.return_attention_mask
        return replace(
            self,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            padding_side=self.padding_side or padding_side,
            return_token_type_ids="token_type_ids" in input_names if types is None else types,
            return_attention_mask="attention_mask" in input_names if mask is None else mask,
        )

    def remarks(self, model_max_length: int) -> Iterator[str]:
        """What these options do that who gave them may not expect."""
        no_limit = self.max_length is None and model_max_length > LARGEST_LIMIT
        if TRUNCATION.get(self.truncation, self.truncation) != "do_not_truncate":
            if no_limit:
                yield "truncation without max_length, and the model has no limit: nothing is cut"
        elif self.max_length is not None and self.padding is True:
            yield "padding=True without truncation: max_length has no effect"
        elif self.max_length is not None and self.padding is False and self.truncation is None:
            yield "max_length without truncation: rows are cut as truncation='longest_first' does"
        if self.padding == "max_length" and no_limit:
            yield (
                "padding='max_length' without max_length, and the model has no limit: "
                "nothing is padded"
            )


OPTIONS = {field.name: field for field in fields(EncodeOptions)}


def check_names(options: Mapping[str, Any], known: Iterable[str] = OPTIONS) -> None:
    """Raise TypeError for an option that is not `known`, naming it, the nearest, and all."""
    known = list(known)
    for name in options:
        if name not in known:
            near = [f", did you mean {other!r}?" for other in get_close_matches(name, known, 1)]
            raise TypeError(f"unknown option {name!r}{''.join(near)}; there are {', '.join(known)}")


def takes_options(
    names: Iterable[str] = OPTIONS, explain: bool = False
) -> Callable[[Method], Method]:
    """Show options in the signature of a method that takes them as **options.

    The method itself refuses others, with `check_names`. With `explain`, what `EncodeOptions` says
    of them becomes the end of the docstring.
    """

    def show(method: Method) -> Method:
        signature = inspect.signature(method)
        shown = {n: p for n, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD}
        for name in names:
            default, annotation = OPTIONS[name].default, OPTIONS[name].type
            kind = inspect.Parameter.KEYWORD_ONLY
            option = inspect.Parameter(name, kind, default=default, annotation=annotation)
            shown.setdefault(name, option)
        shown_signature = signature.replace(parameters=list(shown.values()))
        method.__signature__ = shown_signature  # type: ignore[attr-defined]
        if explain and method.__doc__:  # python -OO leaves none
            method.__doc__ = f"{inspect.getdoc(method)}\n\n{inspect.getdoc(EncodeOptions)}"
        return method

    return show
