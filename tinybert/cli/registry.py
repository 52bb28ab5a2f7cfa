"""The commands of the command line, one line each, in the order of `tinybert --help`.

The command `fill-mask` is the `COMMAND` of `tinybert/cli/fill_mask.py`, and so on. To start fast,
the command line imports a command's file only when the command runs.
"""

from __future__ import annotations

import importlib

from tinybert.cli.command import Command

# Name and one-line summary.
COMMANDS = {
    "learn": "Show what is here to learn, and where you stopped",
    "fetch": "Download a pretrained model",
    "models": "List the models of the package, with their scores",
    "similarity": "Compute the similarity of texts",
    "embed": "Compute sentence embeddings",
    "search": "Search text files by meaning",
    "fill-mask": "Predict masked words",
    "classify": "Classify texts",
    "tag": "Find named entities and other token classes",
    "answer": "Find the answer to a question in a text",
    "generate": "Generate text from a prompt",
    "tokenize": "Show the tokens of a text",
    "step": "Step through a model, forwards and backwards",
    "inspect": "List the configuration and tensors of a checkpoint",
    "convert": "Convert a checkpoint of any format to safetensors",
    "export": "Write a model as an ONNX file",
    "train-tokenizer": "Learn the vocabulary of a tokenizer",
    "pretrain": "Train a language model on text",
    "finetune": "Train a model for a task on examples",
    "plan": "Predict memory and time of training on many GPUs",
    "prune": "Cut a model to its most important parts",
    "distill": "Train a small model with a large one as its teacher",
    "evaluate": "Measure a model on labelled examples or text",
    "trace": "Save every step of a model on a text as a page",
    "diff": "Compare two checkpoints tensor by tensor",
    "compare": "Compare our BERT with transformers layer by layer",
    "bench": "Benchmark against torch and transformers",
    "plot": "Draw attention, embeddings, loss curves or costs",
    "tutorials": "List, open and run the lessons",
    "demo": "Run short scripts: tasks, weights, formats",
    "exercises": "Write parts of the engine yourself, with checks",
    "museum": "Plant famous bugs and see what catches them",
}


def load_command(name: str) -> Command:
    """Import the file of a command and return its `COMMAND`."""
    return importlib.import_module(f"tinybert.cli.{name.replace('-', '_')}").COMMAND
