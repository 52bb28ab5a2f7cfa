"""Repeat the training of a head with torch and transformers; print both scores.

usage: compare_with_torch.py RUN HELD_OUT

RUN       the output folder of `tinybert finetune TASK --rank R`
HELD_OUT  the examples to evaluate on

Examples, batches and their order, first weights, learning rates and number of steps are those of
the run. The forward and backward passes, the low-rank adapters and the optimizer are torch's. The
two models differ by rounding, which grows during the training. Needs torch and transformers:
pip install "tinybert[test]"
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from tinybert import LoraConfig, add_adapters
from tinybert.backend import manual_seed
from tinybert.cli.task_arguments import make_task, read_data
from tinybert.cli.training_arguments import training_config
from tinybert.hub import resolve
from tinybert.nn import LowRankLinear
from tinybert.progress import progress_bar
from tinybert.tokenizers import AutoTokenizer


class LowRank(torch.nn.Module):
    """A frozen linear layer plus scaling B A, beginning like one of tinybert."""

    def __init__(self, linear: torch.nn.Linear, ours: LowRankLinear) -> None:
        super().__init__()
        self.linear, self.scaling = linear, ours.scaling
        self.A = torch.nn.Parameter(torch.tensor(ours.lora_A.weight.numpy()))
        self.B = torch.nn.Parameter(torch.zeros(linear.out_features, ours.rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.scaling * (x @ self.A.T @ self.B.T)

    def merge(self) -> torch.nn.Linear:
        self.linear.weight.data += self.scaling * self.B.data @ self.A.data
        return self.linear


def adapt(model: Any, ours: Any) -> None:
    """Freeze what is frozen in our model, and put adapters where it has adapters."""
    for name, parameter in ours.named_parameters():
        if ".lora_" not in name:
            model.get_parameter(name).requires_grad_(parameter.requires_grad)
    for name, module in ours.named_modules():
        if isinstance(module, LowRankLinear):
            model.set_submodule(name, LowRank(model.get_submodule(name), module))


def train(model: Any, batches: Any, config: Any) -> None:
    """Train as `tinybert finetune` does: AdamW, a linear schedule with warm-up, clipped norm."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [w for w in trained if w.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [w for w in trained if w.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    schedule = transformers.get_linear_schedule_with_warmup(
        optimizer, round(config.warmup * config.steps), config.steps
    )
    model.train()
    with progress_bar("training with torch", config.steps, " steps") as advance:
        for _ in range(config.steps):
            batch = {name: torch.tensor(array) for name, array in next(batches).items()}
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            advance(1)


def main(run: str, held_out: str) -> None:
    """Print the scores of the model of a run, and of the one that torch trains."""
    options = json.loads(Path(run, "run.json").read_text("utf-8"))
    adapter = json.loads(Path(run, "adapter_config.json").read_text("utf-8"))
    base = resolve(options["model"])
    tokenizer = AutoTokenizer.from_pretrained(base)
    task: Any = make_task(options, tokenizer)
    data = read_data(options["train"], options, task, Path())
    examples = read_data([held_out], options, task, Path())
    batches = task.batches(data, options["batch_size"], options["seed"])
    scores = {"tinybert": task.evaluate(task.auto.from_pretrained(run), examples)}

    config = LoraConfig.from_folder(Path(run))
    with tempfile.TemporaryDirectory() as folder:
        with manual_seed(options["seed"]):
            ours = task.auto.from_pretrained(base, **task.config())
            ours.save_pretrained(folder)
            add_adapters(ours, replace(config, target_modules=adapter["target_modules"]))
        model = getattr(transformers, type(ours).__name__).from_pretrained(folder)
        adapt(model, ours)
        train(model, batches, training_config(options, batches))
        for name, module in list(model.named_modules()):
            if isinstance(module, LowRank):
                model.set_submodule(name, module.merge())
        model.save_pretrained(folder)
        scores["torch"] = task.evaluate(task.auto.from_pretrained(folder), examples)
    for name, found in scores.items():
        print(f"{name:9}", *(f"{figure} {value:.4f}" for figure, value in found.items()))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
