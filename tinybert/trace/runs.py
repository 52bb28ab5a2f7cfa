"""What is recorded for a text: a forward pass, one number as the loss, and its backward pass.

    similarity           two texts: loss = cosine of their embeddings
    length               one text: loss = length of its embedding
    fill-mask            loss = -log p(word) at [MASK], of the most likely word or a given one
    text-classification  loss = cross entropy of the predicted label
    text-generation      loss = cross entropy of each token, predicted from the tokens before it

The operations run their plain formulas (`tinybert.plain`), so that the steps are those to read.
"""

from __future__ import annotations

import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.autograd import Tensor
from tinybert.backend import plain
from tinybert.functional import cross_entropy
from tinybert.pipelines.base import Pipeline, evaluation
from tinybert.pipelines.fill_mask import FillMaskPipeline
from tinybert.pipelines.sentence_similarity import SentenceSimilarityPipeline
from tinybert.pipelines.text_classification import TextClassificationPipeline
from tinybert.pipelines.text_generation import TextGenerationPipeline
from tinybert.trace.recorder import record
from tinybert.trace.trace import Trace

MASKS = ("[MASK]", "<mask>")


@dataclass
class Run:
    """A record, and what it is the record of.

    Attributes:
        trace: the record.
        title: what the loss is, with its value: "cosine of two texts = 0.5217".
        loss: the value of the loss; None if it is not known.
        tokens: the tokens of each row of the batch; empty if they are not known.
    """

    trace: Trace
    title: str
    loss: float | None = None
    tokens: list[list[str]] = field(default_factory=list)


def task_of(texts: Sequence[str], architectures: Sequence[str]) -> str:
    """Return the task of a pipeline for one or two texts and a model of these classes."""
    if len(texts) == 1 and any(mask in texts[0] for mask in MASKS):
        return "fill-mask"
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        return "text-classification"
    if len(texts) == 1 and any(n.endswith(("ForCausalLM", "LMHeadModel")) for n in architectures):
        return "text-generation"
    return "sentence-similarity"


def record_texts(pipe: Pipeline, texts: Sequence[str], word: str | None = None) -> Run:
    """Record what the model of a pipeline computes for one or two texts.

    Args:
        pipe: for fill-mask, sentence-similarity, text-classification or text-generation.
        texts: two for similarity or a pair to classify, else one.
        word: for fill-mask, whose probability is the loss; by default the most likely one.

    Raises ValueError for another number of texts, another pipeline, and a text without tokens.
    """
    run = next((run for kind, run in RUNS.items() if isinstance(pipe, kind)), None)
    if run is None:
        raise ValueError(f"nothing is recorded for {pipe.task}")
    most = 2 if run in (_similarity, _classification) else 1
    if not 1 <= len(texts) <= most:
        allowed = "one text or two" if most == 2 else "one text"
        raise ValueError(f"{pipe.task} takes {allowed}, got {len(texts)}")
    if word is not None and run is not _fill_mask:
        raise ValueError(f"word is an option of fill-mask, not of {pipe.task}")
    with evaluation(pipe.model), plain():
        found = run(pipe, list(texts), word)
    trace = found.trace
    trace.title, trace.loss, trace.tokens = found.title, found.loss, found.tokens
    return found


def record_script(path: str) -> Run:
    """Record what a Python file runs; what it prints goes to standard error.

    Raises ValueError, with the line, if the file raises an error, and if it exits with one.
    """
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path!r}")
    arguments = sys.argv
    with record() as trace, plain(), redirect_stdout(sys.stderr):
        sys.argv = [path]
        sys.path.insert(0, str(Path(path).parent))
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:  # 0 and None mean that all went well
            if end.code not in (None, 0):
                raise ValueError(f"{path} ended itself with {end.code!r}") from end
        except Exception as error:
            lines = [
                f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path
            ]
            where = f"{path}:{lines[-1]}" if lines else path
            raise ValueError(f"{where}: {type(error).__name__}: {error}") from error
        finally:
            sys.argv = arguments
            sys.path.remove(str(Path(path).parent))
    if not trace.steps:
        raise ValueError(f"{path} ran no operation of tinybert")
    half = "" if trace.backward else ", which calls no backward()"
    return Run(trace, f"{Path(path).name}{half}")


def _recorded(
    pipe: Any, inputs: dict[str, Any], compute: Callable[[], Tensor]
) -> tuple[Trace, float, list[list[str]]]:
    """Record the loss that `compute` returns and its backward pass."""
    if np.shape(inputs["input_ids"])[-1] == 0:
        raise ValueError("the text has no tokens")
    pipe.model.zero_grad()
    with record(pipe.model) as trace:
        loss = compute()
        loss.backward()
    pipe.model.zero_grad()
    rows = np.asarray(inputs["input_ids"])
    tokens = [pipe.tokenizer.convert_ids_to_tokens([int(i) for i in row]) for row in rows]
    return trace, float(loss.numpy()), tokens


def _similarity(pipe: Any, texts: list[str], word: None) -> Run:
    embedder = pipe.embedder
    inputs, _ = embedder.read(texts)

    def cosine() -> Tensor:
        vectors = embedder.vectors(inputs)  # (B, D)
        lengths = (vectors * vectors).sum(axis=1).sqrt()
        if len(texts) == 1:
            return lengths[0]
        return (vectors[0] * vectors[1]).sum() / (lengths[0] * lengths[1])

    trace, loss, tokens = _recorded(pipe, inputs, cosine)
    name = "cosine of two texts" if len(texts) == 2 else "length of the embedding"
    return Run(trace, f"{name} = {loss:.4f}", loss, tokens)


def _fill_mask(pipe: Any, texts: list[str], word: str | None) -> Run:
    found = pipe(texts[0], top_k=1, targets=word)
    guesses = [mask[0] if isinstance(mask, list) else mask for mask in found]
    inputs = _batch(pipe.row(texts[0]).inputs)
    labels = np.full(inputs["input_ids"].shape, -100)
    labels[inputs["input_ids"] == pipe.tokenizer.mask_token_id] = [g["token"] for g in guesses]
    trace, loss, tokens = _recorded(pipe, inputs, lambda: pipe.model(**inputs, labels=labels).loss)
    words = " ".join(guess["token_str"] for guess in guesses)
    mean = "-log p" if len(guesses) == 1 else f"mean -log p of {len(guesses)} words"
    return Run(trace, f"{mean}({words}) = {loss:.4f}", loss, tokens)


def _classification(pipe: Any, texts: list[str], word: None) -> Run:
    inputs = _batch(pipe.row(*texts).inputs)
    classes = pipe.model.config.num_labels
    if classes < 2:
        raise ValueError("classification needs a model with two labels or more, this one has one")
    predicted: list[int] = []

    def loss_of_label() -> Tensor:
        logits = pipe.model(**inputs).logits  # (1, labels)
        predicted[:] = [int(np.argmax(logits.numpy()[0]))]
        return cross_entropy(logits, np.array(predicted))

    trace, loss, tokens = _recorded(pipe, inputs, loss_of_label)
    label = pipe.model.config.id2label[predicted[0]]
    return Run(trace, f"-log p({label}) = {loss:.4f}", loss, tokens)


def _generation(pipe: Any, texts: list[str], word: None) -> Run:
    ids = pipe.tokenizer(texts[0])["input_ids"]
    if len(ids) < 2:
        raise ValueError("text-generation needs two tokens or more: the first has no loss")
    inputs = _batch({"input_ids": ids})
    labels = inputs["input_ids"]
    trace, loss, tokens = _recorded(pipe, inputs, lambda: pipe.model(**inputs, labels=labels).loss)
    return Run(trace, f"mean -log p(next token) = {loss:.4f}", loss, tokens)


def _batch(row: dict[str, list[int]]) -> dict[str, np.ndarray]:
    return {name: np.array([numbers]) for name, numbers in row.items()}


RUNS: dict[type, Callable[[Any, list[str], Any], Run]] = {
    SentenceSimilarityPipeline: _similarity,
    FillMaskPipeline: _fill_mask,
    TextClassificationPipeline: _classification,
    TextGenerationPipeline: _generation,
}
