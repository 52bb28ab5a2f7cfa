"""`SentenceEmbedder`: compute sentence embeddings; similar texts get similar vectors.

Source   Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084
Oracle   sentence-transformers; its folders are supported: `modules.json` lists the steps after BERT
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.atomic import settle
from tinybert.autograd import Tensor, as_tensor, no_grad
from tinybert.checks import check, check_integer
from tinybert.models import BertModel
from tinybert.models.config import read_json_object
from tinybert.progress import progress_bar
from tinybert.tokenizers import BertTokenizer
from tinybert.weights import open_checkpoint
from tinybert.weights.strict_json import parse_json

FEW_BATCHES = 4  # up to this number of batches there is no progress bar
MIN_NORM = 1e-12  # avoids a division by zero: a zero vector stays zero


# --- pooling: from token features x (B, T, D) and mask (B, T, 1), 0 for padding, to (B, D) -------


def _cls(x: Tensor, mask: Tensor) -> Tensor:
    return x[:, 0]


def _max(x: Tensor, mask: Tensor) -> Tensor:
    return x.masked_fill(mask == 0, -1e9).max(axis=1)


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum(axis=1) / mask.sum(axis=1)


def _mean_sqrt_len(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum(axis=1) / mask.sum(axis=1).sqrt()


# Several poolings are concatenated in this order.
POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pooling_mode_cls_token": _cls,
    "pooling_mode_max_tokens": _max,
    "pooling_mode_mean_tokens": _mean,
    "pooling_mode_mean_sqrt_len_tokens": _mean_sqrt_len,
}


class SentenceEmbedder:
    """Computes sentence embeddings with a BERT and pooling of its token features.

    Args:
        tokenizer, model: of the same folder; the model in evaluation mode.
        pooling: names in `POOLINGS`; the results of several are concatenated.
        normalise: whether to scale the vectors to length 1.
        max_length: texts are truncated to this number of tokens, [CLS] and [SEP] included.
        lower_case: whether to lower-case texts before tokenization.

    Attributes:
        dimension: the size of a vector.
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
        fits = bool(pooling) and not unknown
        check("pooling", list(pooling), fits, f"one or several of {', '.join(POOLINGS)}")
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
            folder: has `config.json`, `model.safetensors` and `vocab.txt`. Of the files of
                sentence-transformers, `modules.json` defines pooling and normalisation, and
                `sentence_bert_config.json` the maximum length. Without them the embedding is the
                mean over all tokens, not normalised, as in sentence-transformers.
            device: the device of the model; None is the CPU.

        Raises ValueError for an unsupported module, such as a dense layer, and the errors of
        `BertModel.from_pretrained` and `BertTokenizer.from_pretrained`.
        """
        path = Path(folder)
        settle(path)
        pooling, normalise = _read_modules(path)
        limits = _read_optional(path / "sentence_bert_config.json")
        max_length = limits.get("max_seq_length")
        fits = isinstance(max_length, int)
        check(f"{path}: max_seq_length", max_length, fits, "an integer", optional=True)
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
        """Compute the embeddings of N texts: a float32 array (N, dimension), in their order.

        Args:
            texts: a list of str; an empty str has the tokens [CLS] and [SEP].
            batch_size: the number of texts that run through the model together.
            progress: whether to show a progress bar on standard error (with tqdm); None: if that is
                a terminal and there are several batches.

        Texts are sorted by length for batching, which reduces padding. Raises TypeError for
        anything but a list of str, ValueError for a batch size below 1.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("texts must be a list of str; write a single text as [text]")
        check_integer("batch_size", batch_size, 1)
        longest_first = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        starts = range(0, len(texts), batch_size)
        if progress is None:
            progress = len(starts) > FEW_BATCHES and sys.stderr.isatty()
        vectors = np.empty((len(texts), self.dimension), np.float32)
        with no_grad(), progress_bar("embedding", len(texts), " texts", progress) as advance:
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
    """Compute the cosine similarity of every two of N vectors: (N, D) to (N, N), in [-1, 1].

    The cosines of a zero vector are 0. Raises ValueError for other shapes.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must have shape (N, D), got {embeddings.shape}")
    directions = _unit(embeddings)
    return np.clip(directions @ directions.T, -1.0, 1.0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Scale the vectors to length 1."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(norms, MIN_NORM)


# --- the files of sentence-transformers ----------------------------------------------------------


def _read_optional(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def _read_modules(folder: Path) -> tuple[list[str], bool]:
    """Return the poolings of a folder, and whether vectors are normalised."""
    path = folder / "modules.json"
    pooling, normalise = ["pooling_mode_mean_tokens"], False
    for kind, subfolder in _modules(path) if path.is_file() else ():
        if kind == "Pooling":
            pooling = _read_pooling(folder / subfolder / "config.json")
        elif kind == "Normalize":
            normalise = True
        elif kind != "Transformer":
            raise ValueError(f"{path}: a module of type {kind} is not supported")
    return pooling, normalise


def _modules(path: Path) -> list[tuple[str, str]]:
    """Return (class, subfolder) of every module in a modules.json."""
    try:
        modules = [(module["type"], module["path"]) for module in parse_json(path.read_bytes())]
        return [(str(kind).rpartition(".")[2], str(subfolder)) for kind, subfolder in modules]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: expected a list of modules, each with type and path ({error})"
        ) from None


def _read_pooling(path: Path) -> list[str]:
    options = read_json_object(path)
    selected = [name for name, on in options.items() if name.startswith("pooling_mode_") and on]
    unknown = [name for name in selected if name not in POOLINGS]
    if unknown or not selected:
        raise ValueError(
            f"{path}: {', '.join(unknown) or 'no pooling mode'} is not supported; "
            f"supported are {', '.join(POOLINGS)}"
        )
    return selected


def _refuse_prompts(path: Path) -> None:
    """Raise ValueError for a folder with a default prompt, which is not supported."""
    name = _read_optional(path).get("default_prompt_name")
    if name is not None:
        raise ValueError(f"{path}: default_prompt_name {name!r} is not supported")
