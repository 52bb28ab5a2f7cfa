"""Fill the scores and the answers into the card of an embedded head.

usage: report.py HEAD DATA

HEAD  sentiment, injection, tags or questions: the folder in tinybert/embedded
DATA  the folder that data.py made

The card's scores are computed by their own commands, its examples by the model. The prompts in the
card were chosen before the training; all answers are kept.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import tinybert
from tinybert.atomic import atomic_write
from tinybert.embedded import folder_of

Answers = list[dict[str, Any]]


def score_of(command: str, metric: str, folder: Path) -> float:
    """Run a command of a card in the folder of the held-out file; return one of its metrics."""
    words = [sys.executable, "-m", *shlex.split(command), "--json"]
    found = subprocess.run(words, cwd=folder, check=True, stdout=subprocess.PIPE).stdout
    return float(json.loads(found)["metrics"][metric])


def answers_of(pipe: Any, example: dict[str, Any]) -> Answers:
    """Return what a pipeline answers to a prompt: each class, each word's tag, or one answer."""
    prompt = example["prompt"]
    if pipe.task == "question-answering":
        found = [pipe(question=prompt, context=example["context"])]
        texts = [answer["answer"] for answer in found]
    elif pipe.task == "token-classification":
        found = pipe(prompt, aggregation_strategy="first", join=False)
        texts = [f"{prompt[a['start'] : a['end']]}: {a['entity_group']}" for a in found]
    else:
        found = pipe(prompt, top_k=None)
        texts = [answer["label"] for answer in found]
    scores = [round(float(answer["score"]), 2) for answer in found]
    return [{"text": text, "score": score} for text, score in zip(texts, scores, strict=True)]


def main(head: str, data: str) -> None:
    """Write the card again, with scores and answers."""
    folder = folder_of(f"embedded-{head}")
    assert folder is not None, f"there is no card of embedded-{head}"
    path = folder / "card.json"
    card = json.loads(path.read_text("utf-8"))
    for score in card["scores"]:
        value = score_of(score["command"], score["metric"], Path(data, head))
        percent = score["unit"] == "%"
        score["value"] = round(value * 100 if percent else value, score["decimals"])
        print(f"{score['figure']}: {score['value']}")
    pipe = tinybert.pipeline(card["tasks"][0], card["name"])
    for example in card["examples"]["prompts"]:
        example["answers"] = answers_of(pipe, example)
        print(example["prompt"], *(f"{a['text']} {a['score']:.2f}" for a in example["answers"]))
    with atomic_write(path, "w") as file:
        file.write(json.dumps(card, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
