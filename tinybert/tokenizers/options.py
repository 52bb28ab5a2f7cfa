"""The options of a call to a tokenizer: defaults, checks, and the values that None stands for.

`Tokenizer.__call__` documents each option.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from tinybert.checks import check_choice, check_integer, is_integer
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


@dataclass(frozen=True)
class EncodeOptions:
    """The options of a call, as they were given; `resolved` replaces None, True and False."""

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
        check_choice("padding_side", self.padding_side, (None, "right", "left"))
        check_tensor_type(self.return_tensors)
        check_count("stride", self.stride, 0)
        check_count("max_length", self.max_length, 1, optional=True)
        check_count("pad_to_multiple_of", self.pad_to_multiple_of, 1, optional=True)

    def resolved(
        self, model_max_length: int, padding_side: str, input_names: list[str]
    ) -> EncodeOptions:
        """Return the options with every None, True and False replaced by what it stands for.

        Raises ValueError if rows would be both truncated and padded to a length that is not a
        multiple of pad_to_multiple_of.
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
        multiple = self.pad_to_multiple_of
        cuts_and_pads = truncation != "do_not_truncate" and padding != "do_not_pad"
        if cuts_and_pads and multiple and max_length and max_length % multiple:
            raise ValueError(
                f"max_length={max_length} must be a multiple of pad_to_multiple_of={multiple} "
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

    def warnings(self, model_max_length: int) -> Iterator[str]:
        """Yield a warning for each option whose effect may surprise the user."""
        no_limit = self.max_length is None and model_max_length > LARGEST_LIMIT
        if TRUNCATION.get(self.truncation, self.truncation) != "do_not_truncate":
            if no_limit:
                yield "truncation without max_length has no effect: the model has no limit"
        elif self.max_length is not None and self.padding is True:
            yield "max_length has no effect with padding=True and without truncation"
        elif self.max_length is not None and self.padding is False and self.truncation is None:
            yield "max_length without truncation truncates as truncation='longest_first' does"
        if self.padding == "max_length" and no_limit:
            yield "padding='max_length' without max_length has no effect: the model has no limit"


OPTIONS = {field.name: field for field in fields(EncodeOptions)}


def check_count(name: str, value: Any, least: int, optional: bool = False) -> None:
    """Raise TypeError unless `value` is an integer, ValueError unless it is at least `least`."""
    if not (is_integer(value) or (optional and value is None)):
        raise TypeError(f"{name} must be an integer, got {value!r:.80}")
    check_integer(name, value, least, optional)


def check_names(options: Mapping[str, Any], known: Iterable[str] = OPTIONS) -> None:
    """Raise TypeError for an option that is not `known`; name it, the nearest one, and all."""
    known = list(known)
    for name in options:
        if name not in known:
            near = [f", did you mean {other!r}?" for other in get_close_matches(name, known, 1)]
            raise TypeError(
                f"unknown option {name!r}{''.join(near)}; the options are {', '.join(known)}"
            )
