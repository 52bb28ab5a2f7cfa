"""`PretrainedConfig`: the sizes and options that a model is built from, and its `config.json`.

Unknown options of a file become attributes too and are saved again, so no information is lost.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

from tinybert.checks import check, check_choice, check_integer, is_integer, plain
from tinybert.display import short_repr
from tinybert.files import read_object
from tinybert.hub import resolve
from tinybert.weights import atomic_write

CONFIG_NAME = "config.json"
MAX_LABELS = 10**6  # each has a name, so a number from a file could use up all memory
PROBLEM_TYPES = (None, "regression", "single_label_classification", "multi_label_classification")


class PretrainedConfig:
    """The options that all families share; each family adds its own constructor arguments.

    Args:
        return_dict, output_hidden_states, output_attentions: defaults of these arguments of a call.
        tie_word_embeddings: whether a head shares the weight of the token embeddings.
        chunk_size_feed_forward: compute feed-forward layers for this many tokens at a time, to
            save memory; 0 means all at once.
        is_encoder_decoder, is_decoder, add_cross_attention: the kind of model.
        pruned_heads: {layer: [heads]} without these attention heads.
        architectures: the names of the classes that the weights were saved from.
        num_labels, id2label, label2id: the classes of a classifier; `LABEL_0`, ... by default.
        problem_type: the loss of a sequence classifier, one of PROBLEM_TYPES; None: it depends on
            the labels.
        bos_token_id, eos_token_id, pad_token_id: ids of the special tokens.
        **options: further options, stored as attributes.
    """

    model_type = ""

    def __init__(
        self,
        *,
        return_dict: bool = True,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        tie_word_embeddings: bool = True,
        chunk_size_feed_forward: int = 0,
        is_encoder_decoder: bool = False,
        is_decoder: bool = False,
        add_cross_attention: bool = False,
        pruned_heads: dict[Any, list[int]] | None = None,
        architectures: list[str] | None = None,
        num_labels: int | None = None,
        id2label: dict[Any, str] | None = None,
        label2id: dict[str, int] | None = None,
        problem_type: str | None = None,
        bos_token_id: int | None = None,
        eos_token_id: int | None = None,
        pad_token_id: int | None = None,
        **options: Any,
    ) -> None:
        check_choice("problem_type", problem_type, PROBLEM_TYPES)
        self.return_dict = return_dict
        self.output_hidden_states = output_hidden_states
        self.output_attentions = output_attentions
        self.tie_word_embeddings = tie_word_embeddings
        self.chunk_size_feed_forward = chunk_size_feed_forward
        self.is_encoder_decoder = is_encoder_decoder
        self.is_decoder = is_decoder
        self.add_cross_attention = add_cross_attention
        self.pruned_heads = by_number("pruned_heads", pruned_heads, "layer to a list of heads")
        self.architectures = architectures
        self.problem_type = problem_type
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id
        self.pad_token_id = pad_token_id
        self.id2label = by_number("id2label", id2label, "class to its label") or None
        self.label2id = label2id
        if self.id2label is None:
            self.num_labels = 2 if num_labels is None else num_labels
        for name, value in options.items():
            free = not (name.startswith("__") or callable(getattr(type(self), name, None)))
            check("a config's option", name, free, "no method's name")
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an option; NumPy's numbers become Python's, which JSON can store."""
        super().__setattr__(name, plain(value))

    @property
    def num_labels(self) -> int:
        """The number of classes; setting it to another number names them `LABEL_0`, ..."""
        return len(self.id2label or {})

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        check_integer("num_labels", count, 0)
        if count > MAX_LABELS:
            raise ValueError(f"num_labels must be at most {MAX_LABELS:,}, got {count:,}")
        if self.id2label is None or len(self.id2label) != count:
            self.id2label = {i: f"LABEL_{i}" for i in range(count)}
            self.label2id = {name: i for i, name in self.id2label.items()}

    # --- to and from files ----------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return all options and the model type, as a deep copy."""
        return {**copy.deepcopy(vars(self)), "model_type": self.model_type}

    def to_diff_dict(self) -> dict[str, Any]:
        """Return the family's options, and those shared options that differ from the default of
        the family or of `PretrainedConfig`.
        """
        default, own = vars(PretrainedConfig()), self._defaults()
        kept = {
            k: v
            for k, v in self.to_dict().items()
            if k not in default or v != default[k] or v != own.get(k, v)
        }
        return {**kept, "model_type": self.model_type}

    def to_json_string(self, use_diff: bool = True) -> str:
        """Return the text of `config.json`: sorted keys, indented by two."""
        options = self.to_diff_dict() if use_diff else self.to_dict()
        return json.dumps(options, indent=2, sort_keys=True, default=_refuse) + "\n"

    @classmethod
    def from_dict(cls, options: dict[str, Any], **overrides: Any) -> Any:
        """Return a config made of a dict; `overrides` replace its options.

        Raises TypeError for an override that neither the class nor the dict has, and ValueError for
        a `num_labels` that differs from the number of labels.
        """
        options = {k: v for k, v in options.items() if k != "model_type"}
        unknown = sorted(set(overrides) - {*cls._known_options(), *options, "num_labels"})
        if unknown:
            raise TypeError(f"{cls.__name__} has no option {', '.join(unknown)}")
        names, count = overrides.get("id2label"), overrides.get("num_labels")
        if names is not None and count is not None and len(names) != count:
            raise ValueError(f"num_labels is {count}, but id2label has {len(names)} labels")
        labels = {"id2label", "label2id"}
        if "num_labels" in overrides and not labels & set(overrides):
            kept = len(options.get("id2label") or {}) == overrides["num_labels"]
            options = options if kept else {k: v for k, v in options.items() if k not in labels}
        return cls(**{**options, **overrides})

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        return vars(cls())

    @classmethod
    def _known_options(cls) -> set[str]:
        return {*cls._defaults()}

    @classmethod
    def from_json_file(cls, path: str | os.PathLike[str]) -> Any:
        """Load a config from a JSON file."""
        return cls.from_dict(read_json_object(Path(path)))

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **overrides: Any) -> Any:
        """Load the config of a model folder, of a model on the Hub, or of a JSON file;
        `overrides` replace its options.
        """
        where = {name: overrides.pop(name, None) for name in ("revision", "token")}
        options = read_config(folder, **where)
        found = options.get("model_type", cls.model_type)
        if cls.model_type and found != cls.model_type:
            raise ValueError(
                f"{folder}: model_type is {short_repr(found)}, but {cls.__name__} is for "
                f"{cls.model_type!r}"
            )
        return cls.from_dict(options, **overrides)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Save `config.json` in a folder, which is created if needed."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(folder) / CONFIG_NAME) as file:
            file.write(self.to_json_string().encode())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PretrainedConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment] # it can change

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"


def check_pad_token(config: Any) -> None:
    """Raise ValueError unless `config.pad_token_id` is an id of the vocabulary, or None."""
    pad, last = config.pad_token_id, config.vocab_size - 1
    fits = is_integer(pad) and 0 <= pad <= last
    check("pad_token_id", pad, fits, f"an integer from 0 to {last}", optional=True)


def by_number(name: str, value: Any, what: str) -> dict[int, Any]:
    """Return a dict with integer keys, which JSON stores as text."""
    try:
        return {_number(key): member for key, member in (value or {}).items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError(
            f"{name} must be a dict from the number of a {what}, got {short_repr(value)}"
        ) from None


def _number(key: Any) -> int:
    """Return a key as an integer. Many beyond 2^61 can share a hash, which makes a dict slow."""
    if abs(number := int(key)) < 1 << 53:
        return number
    raise ValueError(f"{short_repr(key)} is too large")


def _refuse(value: Any) -> Any:
    """Raise TypeError for a value that JSON cannot store."""
    raise TypeError(f"a config can only store what JSON can, got {type(value).__name__}")


def read_config(
    folder_or_name: str | os.PathLike[str], revision: str | None = None, token: str | None = None
) -> dict[str, Any]:
    """Return the content of `config.json` of a folder, of a model on the Hub, or of that file.

    Google's original BERTs have a `bert_config.json` without a `model_type`, which is added.
    """
    path = Path(folder_or_name)
    if not path.is_file():
        folder = resolve(folder_or_name, (CONFIG_NAME,), revision=revision, token=token)
        path = folder / CONFIG_NAME
        original = path.with_name("bert_config.json")
        if not path.exists() and original.exists():
            return {"model_type": "bert", **read_json_object(original)}
    return read_json_object(path)


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises ValueError, naming the file and the fault."""
    if not path.exists():
        foreign = (path.parent / "model_config.yaml").is_file()
        hint = "; `tinybert convert` turns a NeMo model into one" if foreign else ""
        raise FileNotFoundError(f"{path}: no such file; a model folder needs a {path.name}{hint}")
    return read_object(path)
