"""`SentenceEmbedder`: compute sentence embeddings; similar texts get similar vectors.

Source   Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084; Muennighoff 2022,
         arXiv:2202.08904 (the weighted mean)
Oracle   sentence-transformers; its folders are supported, those of versions before and since 5.4:
         `modules.json` lists the steps after the model
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinybert.atomic import saving
from tinybert.autograd import Tensor, as_tensor, no_grad
from tinybert.checks import check, check_integer
from tinybert.files import check_nesting, read_regular
from tinybert.hub import WEIGHT_FILES, resolve
from tinybert.hub_cache import EMBEDDED
from tinybert.models import AutoConfig, AutoModel
from tinybert.models.arguments import argument_names
from tinybert.models.config import read_json_object
from tinybert.ops.join import concat
from tinybert.progress import progress_bar
from tinybert.tokenizers import AutoTokenizer
from tinybert.weights import open_checkpoint
from tinybert.weights.folder import weight_files
from tinybert.weights.strict_json import parse_json

FEW_BATCHES = 4  # up to this number of batches there is no progress bar
MODULES = "sentence_transformers.models"  # the names of modules that all versions read
MIN_NORM = 1e-12  # avoids a division by zero: a zero vector stays zero

logger = logging.getLogger("tinybert")


# --- pooling: from token features x (B, T, D) and mask (B, T, 1), 0 for padding, to (B, D) -------


def _weighted(weigh: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a pooling: the sum of the features, weighted by weigh(mask (B, T))."""

    def pool(x: Tensor, mask: Tensor) -> Tensor:
        weights = weigh(mask.numpy()[:, :, 0]).astype(np.float32)
        return (x * as_tensor(weights[:, :, None], x.device)).sum(axis=1)

    return pool


def _first(mask: np.ndarray) -> np.ndarray:
    return mask * (np.arange(mask.shape[1]) == mask.argmax(axis=1)[:, None])


def _last(mask: np.ndarray) -> np.ndarray:
    return _first(mask[:, ::-1])[:, ::-1]


def _by_position(mask: np.ndarray) -> np.ndarray:
    """Return 1, 2, 3, ... for the tokens of a row, divided by their sum."""
    positions = mask * np.cumsum(mask, axis=1)
    return positions / np.maximum(positions.sum(axis=1, keepdims=True), 1)


def _max(x: Tensor, mask: Tensor) -> Tensor:
    return x.masked_fill(mask == 0, -1e9).max(axis=1)


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum(axis=1) / mask.sum(axis=1).clip(1, None)


def _mean_sqrt_len(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum(axis=1) / mask.sum(axis=1).clip(1, None).sqrt()


# Several poolings are concatenated in this order.
POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pooling_mode_cls_token": _weighted(_first),
    "pooling_mode_max_tokens": _max,
    "pooling_mode_mean_tokens": _mean,
    "pooling_mode_mean_sqrt_len_tokens": _mean_sqrt_len,
    "pooling_mode_weightedmean_tokens": _weighted(_by_position),
    "pooling_mode_lasttoken": _weighted(_last),
}
# Their names since version 5.4, as the values of "pooling_mode".
NEW_NAMES = dict(
    zip(
        ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"),
        POOLINGS,
        strict=True,
    )
)


class SentenceEmbedder:
    """Computes sentence embeddings with a model and pooling of its token features.

    Args:
        tokenizer, model: of the same folder; the model in evaluation mode, of any family.
        pooling: names in `POOLINGS`; the results of several are concatenated.
        normalise: whether to scale the vectors to length 1.
        max_length: texts are truncated to this number of tokens, special tokens included.
        lower_case: whether to lower-case texts before tokenization.

    Attributes:
        dimension: the size of a vector.
        pooling_source: the file that the pooling is from, or why it is the default.
        ranks: the number of batches that are computed at the same time, by as many processes.
    """

    ranks: int = 1

    def __init__(
        self,
        tokenizer: Any,
        model: Any,
        pooling: Sequence[str] = ("pooling_mode_mean_tokens",),
        normalise: bool = False,
        max_length: int | None = None,
        lower_case: bool = False,
    ) -> None:
        unknown = [name for name in pooling if name not in POOLINGS]
        fits = bool(pooling) and not unknown
        check("pooling", list(pooling), fits, f"one or several of {', '.join(POOLINGS)}")
        limits = [tokenizer.model_max_length, _longest_input(model.config), max_length]
        self.tokenizer = tokenizer
        self.model = model
        self.pooling = [name for name in POOLINGS if name in pooling]
        self.pooling_source = "given"
        self.normalise = normalise
        self.max_length = min(limit for limit in limits if limit is not None)
        self.lower_case = lower_case
        self.dimension = len(self.pooling) * model.config.hidden_size

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str] = EMBEDDED, device: str | None = None
    ) -> SentenceEmbedder:
        """Load a folder of sentence-transformers, or any folder with a model and its tokenizer.

        Args:
            folder: the folder or the name of a model (see `hub.resolve`). Of the files of
                sentence-transformers, `modules.json` defines pooling and normalisation, and
                `sentence_bert_config.json` the maximum length. Without them the embedding is the
                mean over all tokens, not normalised, as in sentence-transformers.
            device: the device of the model; None is the CPU.

        If the tokenizer has no padding token, rows are padded with the end-of-sequence token, which
        the mask hides. Raises ValueError for an unsupported module, such as a dense layer, and the
        errors of `AutoModel.from_pretrained` and `AutoTokenizer.from_pretrained`.
        """
        path = resolve(folder, WEIGHT_FILES)
        found = read_modules(path)
        path = found.transformer
        limits = _read_limits(path / "sentence_bert_config.json")
        model_class = AutoModel.classes.get(type(AutoConfig.from_pretrained(path)), AutoModel)
        options: dict[str, Any] = {"device": device}
        if "add_pooling_layer" in getattr(model_class, "_constructor_options", tuple)():
            with open_checkpoint(path) as checkpoint:
                options["add_pooling_layer"] = any("pooler." in name for name in checkpoint)
        tokenizer = AutoTokenizer.from_pretrained(path)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        model = model_class.from_pretrained(path, **options)
        embedder = cls(
            tokenizer,
            model,
            found.pooling,
            found.normalise,
            limits.get("max_seq_length"),
            bool(limits.get("do_lower_case", False)),
        )
        embedder.pooling = found.pooling  # in the order of the file
        embedder.pooling_source = found.source
        return embedder

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Save a folder that sentence-transformers, transformers and `from_pretrained` load: the
        model, the tokenizer, and the pooling in `modules.json` and its modules' folders.

        All files change in one step.
        """
        known = [name for name in POOLINGS if name in self.pooling]
        if known != self.pooling:
            raise ValueError(
                f"sentence-transformers concatenates in the order {', '.join(POOLINGS)}; cannot "
                f"save the order {', '.join(self.pooling)}"
            )
        modules = ["Transformer", "Pooling", *["Normalize"] * self.normalise]
        folders = ["", *(f"{i}_{name}" for i, name in enumerate(modules) if i)]
        listed = [
            {"idx": i, "name": str(i), "path": folders[i], "type": f"{MODULES}.{name}"}
            for i, name in enumerate(modules)
        ]
        pooling = {name: name in self.pooling for name in POOLINGS}
        size = self.model.config.hidden_size
        limits = {"max_seq_length": self.max_length, "do_lower_case": self.lower_case}
        with saving(folder, weight_files) as new:
            self.model.save_pretrained(new)
            self.tokenizer.save_pretrained(new)
            for name, content in (
                ("modules.json", listed),
                ("1_Pooling/config.json", {"word_embedding_dimension": size, **pooling}),
                ("sentence_bert_config.json", limits),
            ):
                file = new / name
                file.parent.mkdir(exist_ok=True)
                file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def encode(
        self, texts: Sequence[str], batch_size: int = 32, progress: bool | None = None
    ) -> np.ndarray:
        """Compute the embeddings of N texts: a float32 array (N, dimension), in their order.

        Args:
            texts: a list of str; an empty str has the tokens [CLS] and [SEP].
            batch_size: the number of texts that run through the model together.
            progress: whether to show a progress bar on standard error (with tqdm); None: if that is
                a terminal and there are several batches.

        Texts are sorted by length for batching, which reduces padding. Texts that are longer than
        `max_length` are cut; a warning says how many. Raises TypeError for anything but a list of
        str, ValueError for a batch size below 1.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("texts must be a list of str; write a single text as [text]")
        check_integer("batch_size", batch_size, 1)
        longest_first = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        starts = range(0, len(texts), batch_size)
        if progress is None:
            progress = len(starts) > FEW_BATCHES and sys.stderr.isatty()
        vectors = np.empty((len(texts), self.dimension), np.float32)
        cut = 0
        with no_grad(), progress_bar("embedding", len(texts), " texts", progress) as advance:
            batches = [longest_first[start : start + batch_size] for start in starts]
            for first in range(0, len(batches), self.ranks):
                group = batches[first : first + self.ranks]
                found = self._encode_batches([[texts[i] for i in rows] for rows in group])
                for rows, (values, longer) in zip(group, found, strict=True):
                    vectors[rows] = values
                    cut += longer
                    advance(len(rows))
        if cut:
            logger.warning(
                "%d of %d texts had more than %d tokens and were cut",
                cut,
                len(texts),
                self.max_length,
            )
        return vectors

    def _encode_batches(self, batches: list[list[str]]) -> list[tuple[np.ndarray, int]]:
        """Return the results of `_encode_batch` for up to `ranks` batches."""
        return [self._encode_batch(texts) for texts in batches]

    def _encode_batch(self, texts: list[str]) -> tuple[np.ndarray, int]:
        """Return the vectors, and the number of texts that were cut."""
        inputs, longer = self.read(texts)
        if inputs["input_ids"].shape[1] == 0:  # without special tokens an empty text has none
            return np.zeros((len(texts), self.dimension), np.float32), 0
        vectors = self.vectors(inputs).numpy()
        return (unit(vectors) if self.normalise else vectors), longer

    def read(self, texts: list[str]) -> tuple[dict[str, np.ndarray], int]:
        """Return the model's inputs for some texts, and the number of texts that were cut."""
        if self.lower_case:
            texts = [text.lower() for text in texts]
        rows = self.tokenizer(texts, return_attention_mask=True, verbose=False)
        longer = sum(len(ids) > self.max_length for ids in rows["input_ids"])
        if longer:
            cut = {"truncation": True, "max_length": self.max_length}
            rows = self.tokenizer(texts, return_attention_mask=True, **cut)
        # On the left, padding would change absolute positions.
        inputs = self.tokenizer.pad(rows, padding_side="right", return_tensors="np")
        known = argument_names(type(self.model).forward) or inputs
        return {name: array for name, array in inputs.items() if name in known}, longer

    def vectors(self, inputs: dict[str, np.ndarray]) -> Tensor:
        """Compute the vectors (B, dimension) of a batch that `read` made, before normalisation."""
        x = self.model(**inputs)
        ones = inputs["attention_mask"][:, :, None].astype(np.float32)
        mask = as_tensor(ones, self.model.device)
        pooled = [POOLINGS[name](x.last_hidden_state, mask) for name in self.pooling]
        return pooled[0] if len(pooled) == 1 else concat(pooled, axis=1)

    def describe(self) -> str:
        """Return in one line how vectors are made of token features, and which file says so."""
        names = {full: name for name, full in NEW_NAMES.items()}
        poolings = " and ".join(names[name] for name in self.pooling)
        length = ", scaled to length 1" if self.normalise else ""
        return f"pooling: {poolings}{length} ({self.pooling_source})"


def similarity(embeddings: np.ndarray) -> np.ndarray:
    """Compute the cosine similarity of every two of N vectors: (N, D) to (N, N), in [-1, 1].

    The cosines of a zero vector are 0. Raises ValueError for other shapes.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must have shape (N, D), got {embeddings.shape}")
    directions = unit(embeddings)
    return np.clip(directions @ directions.T, -1.0, 1.0)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale the vectors to length 1."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(norms, MIN_NORM)


# --- the files of sentence-transformers ----------------------------------------------------------


def _read_optional(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def _longest_input(config: Any) -> int | None:
    """Return the largest number of tokens that a model takes; None if it has no limit."""
    if getattr(config, "relative_positional_bias", None) == "rotary":
        return None
    return getattr(config, "max_position_embeddings", getattr(config, "max_positions", None))


class Modules(NamedTuple):
    """What modules.json says: the model's folder, the poolings in their order, the file that has
    them or why they are the default, and whether vectors are normalised.
    """

    transformer: Path
    pooling: list[str]
    source: str
    normalise: bool


def read_modules(folder: Path) -> Modules:
    """Return the modules of a folder of sentence-transformers, or the default for other folders.

    Raises ValueError, naming the file, for a module or an option that is not supported.
    """
    path = folder / "modules.json"
    _check_kind(folder / "config_sentence_transformers.json")
    transformer, pooling, normalise = folder, ["pooling_mode_mean_tokens"], False
    source = f"the default: there is no {path.name}"
    if path.is_file():
        source = f"the default: {path.name} lists no Pooling module"
    for kind, subfolder in _modules(path) if path.is_file() else ():
        file = folder / subfolder / "config.json"
        if kind == "Pooling":
            pooling, source = _read_pooling(file), f"{subfolder}/{file.name}"
        elif kind == "Normalize":
            normalise = True
            _check_options(file, module_input_name="sentence_embedding")
        elif kind == "Transformer":
            transformer = folder / subfolder
        else:
            raise ValueError(f"{path}: a module of type {kind} is not supported")
    return Modules(transformer, pooling, source, normalise)


def _modules(path: Path) -> list[tuple[str, str]]:
    """Return (class, subfolder) of every module in a modules.json."""
    try:
        content = parse_json(read_regular(path))
        check_nesting(content)
        modules = [(module["type"], module["path"]) for module in content]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: expected a list of modules, each with type and path ({error})"
        ) from None
    for _, subfolder in modules:
        if not isinstance(subfolder, str) or set(subfolder) & set("/\\:\0") or subfolder == "..":
            raise ValueError(f"{path}: {subfolder!r:.80} is not the plain name of a folder")
    return [(str(kind).rpartition(".")[2], subfolder) for kind, subfolder in modules]


def _read_pooling(path: Path) -> list[str]:
    """Return the poolings of a module, in the order in which their results are concatenated."""
    options = read_json_object(path)
    modes = options.get("pooling_mode")
    if modes is None:
        selected = [name for name, on in options.items() if name.startswith("pooling_mode_") and on]
        unknown = [name for name in selected if name not in POOLINGS]
        selected = [name for name in POOLINGS if name in selected]
    else:
        given = modes if isinstance(modes, list) else [modes]
        unknown = [str(mode)[:40] for mode in given if mode not in NEW_NAMES]
        selected = [NEW_NAMES[mode] for mode in given if mode in NEW_NAMES]
    if unknown or not selected:
        raise ValueError(
            f"{path}: {', '.join(unknown) or 'no pooling mode'} is not supported; "
            f"supported are {', '.join(POOLINGS if modes is None else NEW_NAMES)}"
        )
    return selected


def _read_limits(path: Path) -> dict[str, Any]:
    """Return the options of the model's module: max_seq_length and do_lower_case."""
    options = _check_options(
        path, transformer_task="feature-extraction", module_output_name="token_embeddings"
    )
    modality = options.get("modality_config")
    text = modality.get("text") if isinstance(modality, dict) else None
    if text not in (None, {"method": "forward", "method_output_name": "last_hidden_state"}):
        raise ValueError(f"{path}: modality_config.text {repr(text)[:120]} is not supported")
    limit = options.get("max_seq_length")
    check(f"{path}: max_seq_length", limit, isinstance(limit, int), "an integer", optional=True)
    return options


def _check_options(path: Path, **needed: str) -> dict[str, Any]:
    """Return the options in a file, {} if there is none; ValueError for one with another value."""
    options = _read_optional(path)
    for name, value in needed.items():
        if options.get(name, value) != value:
            raise ValueError(f"{path}: {name} must be {value!r}, got {options[name]!r:.80}")
    return options


def _check_kind(path: Path) -> None:
    """Raise ValueError for another kind of model than one vector a text, and for a default prompt,
    which is not supported.
    """
    name = _check_options(path, model_type="SentenceTransformer").get("default_prompt_name")
    if name is not None:
        raise ValueError(f"{path}: default_prompt_name {name!r} is not supported")
