"""Prune the embedded model, distil it, and compare with the same small shape from random weights.

usage: experiment.py TRAIN HELD_OUT OUT

TRAIN      text to train on, and HELD_OUT, text to measure on: those of the embedded model's recipe
OUT        gets a folder for each run, `results.json` and `minitron.png`

Three ways to a BERT of 3 layers of 192 features, each with three seeds, from the embedded model, a
BERT of 6 layers of 384. At the same step all ways with the same seed have read the same text.

scratch    random weights, the plain loss of masked words
pruned     the most important parts of the embedded model, the plain loss
distilled  the same parts, and the embedded model as the teacher

The learning rate is constant after a warm-up: a curve shows at each point what a run of that length
gives. A run that is interrupted continues when the script is called again.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import tinybert
from tinybert.atomic import atomic_write
from tinybert.compress import Distillation, importance, prune
from tinybert.hub import resolve
from tinybert.training import TokenFile, Trainer, TrainingConfig
from tinybert.training.language_modeling import LanguageModeling
from tinybert.training.log import read_log

SHAPE = {
    "num_hidden_layers": 3, "hidden_size": 192, "num_attention_heads": 6, "intermediate_size": 768,
}  # fmt: skip
SEEDS = (0, 1, 2)
STEPS = {"distilled": 60, "pruned": 60, "scratch": 300}
BATCH, RATE, WARMUP = 16, 1e-3, 10  # rows, learning rate, steps
CALIBRATION = 12  # batches
EVALUATIONS = 10  # of each run
MEASURED = 3  # batches of 32 rows of held-out text
COLOURS = {"distilled": "tab:blue", "pruned": "tab:orange", "scratch": "tab:gray"}


class Experiment:
    """The models, the text and the runs."""

    def __init__(self, train: str, held_out: str, out: str) -> None:
        source, self.out = resolve("embedded"), Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.teacher = tinybert.BertForMaskedLM.from_pretrained(source)
        self.tokenizer = tinybert.AutoTokenizer.from_pretrained(source)
        self.tokens, self.held_out = (
            TokenFile.build(self.out / f"{name}.safetensors", [path], self.tokenizer)
            for name, path in (("train", train), ("held_out", held_out))
        )
        self.task = LanguageModeling(self.tokenizer, mask_share=0.2, whole_words=False)
        self.config = type(self.teacher.config).from_dict(self.teacher.config.to_dict(), **SHAPE)
        batches = islice(self.task.batches(self.tokens, BATCH, 0), CALIBRATION)
        self.scores = importance(self.teacher, batches)

    def measure(self, model: Any) -> dict[str, float]:
        """Return the metrics of masked words of the held-out text."""
        return self.task.evaluate(model, self.held_out, most=MEASURED)

    def start(self) -> dict[str, dict[str, float]]:
        """Return the metrics before training, of the teacher and of the pruned model."""
        pruned = prune(self.teacher, self.config, self.scores)
        return {"teacher": self.measure(self.teacher), "pruned": self.measure(pruned)}

    def run(self, way: str, seed: int) -> None:
        """Train one model, unless that is done."""
        folder = self.out / f"{way}-{seed}"
        if (folder / "model.safetensors").exists():
            return
        if way == "scratch":
            with tinybert.manual_seed(seed):
                model = tinybert.BertForMaskedLM(self.config)
        else:
            model = prune(self.teacher, self.config, self.scores)
        task: Any = self.task
        if way == "distilled":
            task = Distillation(self.task, self.teacher, model)
        config = TrainingConfig(
            steps=STEPS[way], learning_rate=RATE, schedule="constant", seed=seed,
            warmup=WARMUP / STEPS[way], log_every=5, evaluate_every=STEPS[way] // EVALUATIONS,
            save_every=30, keep=1,
        )  # fmt: skip
        trainer = Trainer(
            model, task.batches(self.tokens, BATCH, seed), config, folder,
            evaluate=self.measure, loss=task.loss, count=task.count,
            save=self.tokenizer.save_pretrained,
            report=lambda line: print(f"{way} {seed}: {line}", flush=True),
        )  # fmt: skip
        trainer.resume()
        trainer.train()

    def curve(self, way: str, seed: int, start: dict[str, Any]) -> dict[str, list[float]]:
        """Return tokens and held-out losses of a run."""
        lines = [line for line in read_log(self.out / f"{way}-{seed}") if "perplexity" in line]
        batches = self.task.batches(self.tokens, BATCH, seed)
        sizes = [next(batches)["input_ids"].size for _ in range(STEPS[way])]
        total = np.cumsum([0, *sizes])
        tokens = [float(total[int(line["step"])]) for line in lines]
        losses = [line["loss"] for line in lines]
        if way != "scratch":
            tokens, losses = [0, *tokens], [start["pruned"]["loss"], *losses]
        return {"tokens": tokens, "loss": losses}


def ratio(other: dict[str, list[float]], distilled: dict[str, list[float]]) -> float | None:
    """Return the tokens of another run, by those after which the distilled model has the final loss
    of that run; None if it has it before any training.
    """
    loss = other["loss"][-1]
    if loss >= distilled["loss"][0]:
        return None
    if loss < min(distilled["loss"]):
        raise ValueError("the distilled model never reaches the loss of the other")
    first = next(i for i, found in enumerate(distilled["loss"]) if found <= loss)
    pair = slice(first - 1, first + 1)
    reached = np.interp(-loss, -np.array(distilled["loss"][pair]), distilled["tokens"][pair])
    return other["tokens"][-1] / float(reached)


def results(experiment: Experiment) -> dict[str, Any]:
    """Return the metrics before training, all curves, and the ratio of tokens for each seed."""
    start = experiment.start()
    curves = {way: [experiment.curve(way, seed, start) for seed in SEEDS] for way in STEPS}
    ratios = {
        way: [ratio(*pair) for pair in zip(curves[way], curves["distilled"], strict=True)]
        for way in ("pruned", "scratch")
    }
    return {"start": start, "curves": curves, "ratios": ratios}


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw the curves of all runs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for way, curves in found["curves"].items():
        for number, curve in enumerate(curves):
            axes.plot(
                np.array(curve["tokens"]) / 1000, curve["loss"], color=COLOURS[way],
                label=None if number else way,
            )  # fmt: skip
    axes.axhline(found["start"]["teacher"]["loss"], color="black", ls=":", label="teacher")
    axes.set_xlabel("thousand tokens of training text")
    axes.set_ylabel("held-out loss of masked words")
    axes.legend()
    figure.savefig(path, dpi=120)


def main(train: str, held_out: str, out: str) -> None:
    """Run what is missing, and write results and picture."""
    experiment = Experiment(train, held_out, out)
    for seed in SEEDS:
        for way in STEPS:
            experiment.run(way, seed)
    found = results(experiment)
    with atomic_write(experiment.out / "results.json", "w") as file:
        json.dump(found, file, indent=1)
    draw(found, experiment.out / "minitron.png")
    for way, curves in found["curves"].items():
        for curve in curves:
            print(f"{way:10} {curve['tokens'][-1]:>9,.0f} tokens, loss {curve['loss'][-1]:.3f}")
    print("before training:", {name: round(s["loss"], 3) for name, s in found["start"].items()})
    print("tokens to the same loss, ratio to distilled:", found["ratios"])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
