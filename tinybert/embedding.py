"""`SentenceEmbedder`: one vector a text, whose directions say which texts are alike.

Source   Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084
Oracle   sentence-transformers, whose folders it reads: `modules.json` names the steps after BERT
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, as_tensor, no_grad
from tinybert.models import BertModel
from tinybert.models.config import read_json_object
from tinybert.tokenizers import BertTokenizer
from tinybert.weights import open_checkpoint
from tinybert.weights.strict_json import parse_json

FEW_BATCHES = 4  # so many are done before a progress bar is worth reading
SMALLEST_NORM = 1e-12  # a vector of zeros stays one


# --- pooling: token features x (B, T, D) and their mask (B, T, 1), 0 for padding, to (B, D) ------


def _cls(x: Tensor, mask: Tensor) -> Tensor:
    return x[:, 0]


def _max(x: Tensor, mask: Tensor) -> Tensor:
    return x.masked_fill(mask == 0, -1e9).max(axis=1)


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum(axis=1) / mask.sum(axis=1)


def _mean_sqrt_len(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum(axis=1) / mask.sum(axis=1).sqrt()


# In the order in which several are concatenated.
POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pooling_mode_cls_token": _cls,
    "pooling_mode_max_tokens": _max,
    "pooling_mode_mean_tokens": _mean,
    "pooling_mode_mean_sqrt_len_tokens": _mean_sqrt_len,
}


class SentenceEmbedder:
    """A tokenizer, a BERT, and how its token features become one vector.

    Args:
        tokenizer, model: of the same folder; the model in evaluation mode.
        pooling: names of `POOLINGS`; the results of several are concatenated.
        normalise: whether vectors are scaled to length 1.
        max_length: tokens of a text that are read, [CLS] and [SEP] included; the rest is cut off.
        lower_case: lower-case texts before the tokenizer sees them.

    Attributes:
        dimension: the length of a vector.
    """

    def __init__(
        self,
        tokenizer: BertTokenizer,
        model: BertModel,
        pooling: Sequence[str] = ("pooling_mode_mean_tokens",),
        normalise: bool = False,
        max_length: int | None = None,
        lower_case: bool = False,
    ) -> None:
        unknown = [name for name in pooling if name not in POOLINGS]
        if unknown or not pooling:
            raise ValueError(f"pooling must be names of {', '.join(POOLINGS)}; got {list(pooling)}")
        limit = min(tokenizer.model_max_length, model.config.max_position_embeddings)
        self.tokenizer = tokenizer
        self.model = model
        self.pooling = [name for name in POOLINGS if name in pooling]
        self.normalise = normalise
        self.max_length = limit if max_length is None else min(max_length, limit)
        self.lower_case = lower_case
        self.dimension = len(self.pooling) * model.config.hidden_size

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], device: str | None = None
    ) -> SentenceEmbedder:
        """Load a folder of sentence-transformers, or any folder with a BERT.

        Args:
            folder: with `config.json`, `model.safetensors` and `vocab.txt`. Of the files of
                sentence-transformers `modules.json` says how features are pooled and whether
                vectors are normalised, `sentence_bert_config.json` how many tokens are read. A
                folder without them gets what sentence-transformers gives it: the mean over all
                tokens, not normalised.
            device: where the model runs; the CPU if None.

        Raises ValueError for a step that is not known here (a dense layer, say), and what
        `BertModel.from_pretrained` and `BertTokenizer.from_pretrained` raise.
        """
        path = Path(folder)
        pooling, normalise = _read_modules(path)
        limits = _read_optional(path / "sentence_bert_config.json")
        max_length = limits.get("max_seq_length")
        if not (max_length is None or isinstance(max_length, int)):
            raise ValueError(f"{path}: max_seq_length must be a whole number, got {max_length!r}")
        _refuse_prompts(path / "config_sentence_transformers.json")
        with open_checkpoint(path) as checkpoint:
            has_pooler = any("pooler." in name for name in checkpoint)
        return cls(
            BertTokenizer.from_pretrained(path),
            BertModel.from_pretrained(path, device=device, add_pooling_layer=has_pooler),
            pooling,
            normalise,
            max_length,
            bool(limits.get("do_lower_case", False)),
        )

    def encode(
        self, texts: Sequence[str], batch_size: int = 32, progress: bool | None = None
    ) -> np.ndarray:
        """The vectors of N texts, a float32 array (N, dimension), in the order of the texts.

        Args:
            texts: str's; an empty one is a text too (its tokens are [CLS] and [SEP]).
            batch_size: texts that run through the model together.
            progress: a progress bar on standard error, with tqdm; None: if that is a terminal and
                there are more than a few batches.

        Texts of like length share a batch, so that little is padded. Raises TypeError for anything
        but a list of str, ValueError for a batch size below 1.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("texts must be a list of str; for a single text give [text]")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        longest_first = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        starts = range(0, len(texts), batch_size)
        if progress is None:
            progress = len(starts) > FEW_BATCHES and sys.stderr.isatty()
        vectors = np.empty((len(texts), self.dimension), np.float32)
        with no_grad(), _bar(len(texts), progress) as advance:
            for start in starts:
                rows = longest_first[start : start + batch_size]
                vectors[rows] = self._encode_batch([texts[i] for i in rows])
                advance(len(rows))
        return vectors

    def _encode_batch(self, texts: list[str]) -> np.ndarray:
        if self.lower_case:
            texts = [text.lower() for text in texts]
        inputs = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="np"
        )
        device = self.model.device
        x = self.model(**inputs).last_hidden_state  # (B, T, D)
        mask = as_tensor(inputs["attention_mask"][:, :, None].astype(np.float32), device)
        pooled = [POOLINGS[name](x, mask).numpy() for name in self.pooling]
        vectors = np.concatenate(pooled, axis=1)  # (B, dimension)
        return _unit(vectors) if self.normalise else vectors


def similarity(embeddings: np.ndarray) -> np.ndarray:
    """The cosine of the angle between every two of N vectors: (N, D) to (N, N), within [-1, 1].

    A vector of zeros has no direction: its cosines are 0. Raises ValueError for other shapes.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must have shape (N, D), got {embeddings.shape}")
    directions = _unit(embeddings)
    return np.clip(directions @ directions.T, -1.0, 1.0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, SMALLEST_NORM)


# --- the files of sentence-transformers ----------------------------------------------------------


def _read_optional(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def _read_modules(folder: Path) -> tuple[list[str], bool]:
    """The poolings and whether vectors are normalised, as the folder says."""
    path = folder / "modules.json"
    pooling, normalise = ["pooling_mode_mean_tokens"], False
    for kind, place in _modules(path) if path.is_file() else ():
        if kind == "Pooling":
            pooling = _read_pooling(folder / place / "config.json")
        elif kind == "Normalize":
            normalise = True
        elif kind != "Transformer":
            raise ValueError(f"{path}: a module of type {kind} is not supported")
    return pooling, normalise


def _modules(path: Path) -> list[tuple[str, str]]:
    """(class, folder) of every module in a modules.json."""
    try:
        modules = [(module["type"], module["path"]) for module in parse_json(path.read_bytes())]
        return [(str(kind).rpartition(".")[2], str(place)) for kind, place in modules]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: expected a list of modules, each with type and path ({error})"
        ) from None


def _read_pooling(path: Path) -> list[str]:
    options = read_json_object(path)
    wanted = [name for name, on in options.items() if name.startswith("pooling_mode_") and on]
    unknown = [name for name in wanted if name not in POOLINGS]
    if unknown or not wanted:
        raise ValueError(
            f"{path}: {', '.join(unknown) or 'no pooling mode'} is not supported; "
            f"known are {', '.join(POOLINGS)}"
        )
    return wanted


def _refuse_prompts(path: Path) -> None:
    """Raise for a folder whose texts are to be preceded by a prompt: it would be left out here."""
    name = _read_optional(path).get("default_prompt_name")
    if name is not None:
        raise ValueError(f"{path}: default_prompt_name {name!r} is not supported")


# --- progress ------------------------------------------------------------------------------------


@contextmanager
def _bar(total: int, wanted: bool) -> Iterator[Callable[[int], object]]:
    """A callable that advances a progress bar by texts; a silent one where nobody would see it."""
    if not (wanted and find_spec("tqdm")):
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc="embedding", unit=" texts", leave=False) as bar:
        yield bar.update
