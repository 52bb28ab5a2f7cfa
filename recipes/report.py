"""Measure a model, and write its card and its page.

usage: report.py FOLDER HELD_OUT

FOLDER     the folder of the model, with a `card.json`, whose scores and answers are replaced by
           those of today; its `README.md` is written
HELD_OUT   the folder of the held-out files; their checksums are written too

Values of baselines and spreads stay as they are: other commands of the recipe measure them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from tinybert.atomic import atomic_write
from tinybert.cli import evaluate
from tinybert.cli.card_scores import DECIMALS, answers_now, scores_now
from tinybert.embedded.card import read_card
from tinybert.embedded.facts import facts_of
from tinybert.embedded.markdown import markdown_of


def main(model: str, held_out: str) -> None:
    """Write `card.json` and `README.md`."""
    folder, data = Path(model), Path(held_out)
    card = read_card(folder)
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    values = scores_now(card, model, data, parser, lambda args: evaluate.measure(args)[1])
    answers = answers_now(card, model)

    written = json.loads((folder / "card.json").read_text("utf-8"))
    for entry in written["data"]:
        entry["sha256"] = hashlib.sha256((data / entry["file"]).read_bytes()).hexdigest()
    for entry, value in zip(written["scores"], values, strict=True):
        entry["value"] = round(value, entry["decimals"])
    for entry, found in zip(written["examples"]["prompts"], answers, strict=True):
        shown = found[: len(entry["answers"])]
        entry["answers"] = [
            {"text": answer.text}
            | ({} if answer.score is None else {"score": round(float(answer.score), DECIMALS)})
            for answer in shown
        ]
    with atomic_write(folder / "card.json", "w") as file:
        file.write(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    with atomic_write(folder / "README.md", "w") as file:
        file.write(markdown_of(read_card(folder), facts_of(folder)))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
