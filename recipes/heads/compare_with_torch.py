"""Repeat the training of a head with torch and transformers; print both scores.

usage: compare_with_torch.py RUN HELD_OUT

RUN       the output folder of `tinybert finetune TASK --rank R`
HELD_OUT  the examples to evaluate on

Examples, batches and their order, the first weights of the head, learning rates, and number of
steps are those of the run. The forward and backward passes, the low-rank adapters and the optimizer
are torch's; the first adapters are drawn by torch, so that the two scores differ as those of two
seeds do. Needs torch and transformers: pip install "tinybert[test]"
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers

from tinybert.backend import manual_seed
from tinybert.cli.task_arguments import make_task, read_data
from tinybert.cli.training_arguments import training_config
from tinybert.hub import resolve
from tinybert.progress import progress_bar
from tinybert.tokenizers import AutoTokenizer


class LowRank(torch.nn.Module):
    """A frozen linear layer plus scaling B A."""

    def __init__(self, linear: torch.nn.Linear, rank: int, scaling: float) -> None:
        super().__init__()
        self.linear, self.scaling = linear, scaling
        self.A = torch.nn.Linear(linear.in_features, rank, bias=False)
        self.B = torch.nn.Linear(rank, linear.out_features, bias=False)
        torch.nn.init.zeros_(self.B.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.scaling * self.B(self.A(x))

    def merge(self) -> torch.nn.Linear:
        self.linear.weight.data += self.scaling * self.B.weight.data @ self.A.weight.data
        return self.linear


def adapt(model: Any, adapter: dict[str, Any]) -> None:
    """Freeze a model but for the modules to save, and put adapters into the target modules."""

    def has_end(name: str, ends: list[str] | None) -> bool:
        return any(f".{name}".endswith(f".{end}") for end in ends or ())

    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if has_end(name, adapter["modules_to_save"]):
            module.requires_grad_(True)
        elif has_end(name, adapter["target_modules"]):
            low = LowRank(module, adapter["r"], adapter["lora_alpha"] / adapter["r"])
            model.set_submodule(name, low)


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

    manual_seed(options["seed"])
    torch.manual_seed(options["seed"])
    ours = task.auto.from_pretrained(base, **task.config())
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        model = getattr(transformers, type(ours).__name__).from_pretrained(folder)
        adapt(model, adapter)
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
