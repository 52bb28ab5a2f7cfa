"""The table of benchmark cases.

The other implementation is transformers with torch, its fastest attention ("sdpa") and the same
weights, or the tokenizers of transformers. Cases of a forward pass can also be compared with
onnxruntime, which runs the file that `export_onnx` writes.
"""

from __future__ import annotations

from functools import partial

from tinybert.bench import nemotron
from tinybert.bench.bert import (
    MINILM,
    SMALL,
    additions,
    bert_forward,
    generate,
    minilm_forward,
    train_step,
)
from tinybert.bench.kernels import OPERATIONS, adamw, operation
from tinybert.bench.loading import load
from tinybert.bench.memory import memory
from tinybert.bench.moving_average import convolution, mega_step, moving_average
from tinybert.bench.pretraining import pretrain
from tinybert.bench.timing import Case
from tinybert.bench.tokenizer import byte_level_tokenizer, tokenizer

# Largest difference of two correct results in float32. Features are about 1 after 12 layers; losses
# and gradients are smaller; ids must be equal.
FEATURES = 1e-4
GRADIENTS = 1e-4
TOY = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
LONG = {**SMALL, "max_position_embeddings": 4096}
RELATIVE = 1e-4  # to the largest value; some are sums over the whole sequence

CASES = (
    Case(
        "forward",
        "bert-base-forward",
        "BERT base (12 x 768), 8 x 128 tokens",
        partial(bert_forward, batch=8, length=128),
        FEATURES,
    ),
    Case(
        "forward",
        "minilm-forward",
        "MiniLM (6 x 384), 8 x 128 tokens",
        partial(minilm_forward, batch=8, length=128),
        FEATURES,
    ),
    Case(
        "latency",
        "sentence",
        "MiniLM, 20 sentences of 12 tokens, one at a time",
        partial(minilm_forward, batch=1, length=12, batches=20),
        FEATURES,
    ),
    Case(
        "latency",
        "toy",
        "a toy BERT (2 x 32), 50 sentences of 8 tokens, one at a time",
        partial(bert_forward, batch=1, length=8, config=TOY, batches=50),
        FEATURES,
    ),
    Case(
        "latency",
        "additions",
        "1,000 additions of two vectors of 3 numbers",
        partial(additions, count=1000),
        0.0,
    ),
    Case(
        "ragged",
        "ragged",
        "MiniLM, 256 sentences of 3 to 120 tokens in batches of 32",
        partial(minilm_forward, batch=32, length=120, shortest=3, batches=8),
        FEATURES,
    ),
    Case(
        "ragged",
        "ragged-train",
        "a training step of a small BERT, 32 sentences of 3 to 120 tokens",
        partial(train_step, batch=32, length=120, shortest=3),
        GRADIENTS,
    ),
    Case(
        "training",
        "train-step",
        "a training step of a small BERT (4 x 256), 8 x 64 tokens",
        partial(train_step, batch=8, length=64),
        GRADIENTS,
    ),
    Case(
        "training",
        "checkpointing",
        "a training step with gradient checkpointing, 8 x 256 tokens",
        partial(
            train_step, batch=8, length=256, config={"num_hidden_layers": 8}, checkpointing=True
        ),
        GRADIENTS,
    ),
    Case(
        "training",
        "pretrain",
        "a step of masked language modeling, MiniLM's size, 32 x 128 tokens",
        partial(pretrain, batch=32, length=128),
        GRADIENTS,
    ),
    Case(
        "generate",
        "generate",
        "greedy search, 64 tokens after 16, a decoder (6 x 384)",
        partial(generate, prompt=16, new_tokens=64),
        0.0,
    ),
    Case(
        "ema",
        "ema",
        "MEGA's moving average by FFT, 65,536 x 128",
        partial(moving_average, length=65536, features=128),
        RELATIVE,
    ),
    Case(
        "ema",
        "ema-train",
        "the same with backward pass, 16,384 x 128",
        partial(moving_average, length=16384, features=128, train=True),
        RELATIVE,
    ),
    Case(
        "ema",
        "ema-convolution",
        "only its convolution, 65,536 x 128",
        partial(convolution, length=65536, features=128),
        RELATIVE,
    ),
    Case(
        "ema",
        "mega-train",
        "MEGA (2 x 128) in chunks of 128, 4,096 tokens, forward and backward",
        partial(mega_step, length=4096),
        GRADIENTS,
    ),
    Case(
        "generate",
        "nemotron-generate",
        "greedy search, 64 tokens after 16, Nemotron (100M)",
        partial(nemotron.generate, prompt=16, new_tokens=64),
        0.0,
    ),
    *(
        Case("kernels", op.name, op.summary, partial(operation, op=op), RELATIVE)
        for op in OPERATIONS
    ),
    Case("kernels", "adamw", "a step of AdamW, 12 matrices of 768 x 768", adamw, RELATIVE),
    Case("load", "load", "MegatronBERT (345M) from a safetensors file of 1.3 GB", load, 0.0),
    Case(
        "tokenizer",
        "tokenizer",
        "WordPiece, 1,000 English-like sentences of 20 words",
        tokenizer,
        0.0,
    ),
    Case(
        "tokenizer",
        "tokenizer-bpe",
        "the same with byte-level BPE, 8,000 tokens",
        byte_level_tokenizer,
        0.0,
    ),
    Case(
        "tokenizer",
        "tokenizer-json",
        "the same BPE, loaded from a tokenizer.json",
        partial(byte_level_tokenizer, from_json=True),
        0.0,
    ),
    Case(
        "memory",
        "memory-train",
        "peak of two training steps of BERT base, 8 x 128 tokens",
        partial(memory, work="train", batch=8, length=128, config={}),
        GRADIENTS,
        "bytes",
    ),
    Case(
        "memory",
        "memory-pretrain",
        "peak of two steps of masked language modeling, MiniLM's size, 32 x 128",
        partial(memory, work="pretrain", batch=32, length=128, config=MINILM),
        GRADIENTS,
        "bytes",
    ),
    Case(
        "memory",
        "memory-long",
        "peak of two training steps of a BERT (4 x 256), one text of 4,096 tokens",
        partial(memory, work="train", batch=1, length=4096, config=LONG),
        GRADIENTS,
        "bytes",
    ),
    Case(
        "memory",
        "memory-load",
        "peak of loading MegatronBERT (345M) and reading every weight",
        partial(memory, work="load"),
        0.0,
        "bytes",
    ),
)

SUITES = tuple(dict.fromkeys(case.suite for case in CASES))
LIBRARIES = ("torch", "transformers", "tokenizers", "onnxruntime", "plain")
