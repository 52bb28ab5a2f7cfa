"""The table of benchmark cases.

The other implementation is transformers with torch, its fastest attention ("sdpa") and the same
weights, or the tokenizers of transformers.
"""

from __future__ import annotations

from functools import partial

from tinybert.bench import nemotron
from tinybert.bench.bert import bert_forward, generate, minilm_forward, train_step
from tinybert.bench.loading import load
from tinybert.bench.moving_average import convolution, moving_average
from tinybert.bench.pretraining import pretrain
from tinybert.bench.timing import Case
from tinybert.bench.tokenizer import byte_level_tokenizer, tokenizer

# Largest difference of two correct results in float32. Features are about 1 after 12 layers; losses
# and gradients are smaller; ids must be equal.
FEATURES = 1e-4
GRADIENTS = 1e-4
MOVING_AVERAGE = 1e-4  # relative to the largest value; some are sums over the whole sequence

CASES = (
    Case(
        "bert-base-forward",
        "BERT base (12 x 768), 8 x 128 tokens",
        partial(bert_forward, batch=8, length=128),
        FEATURES,
    ),
    Case(
        "minilm-forward",
        "MiniLM (6 x 384), 8 x 128 tokens",
        partial(minilm_forward, batch=8, length=128),
        FEATURES,
    ),
    Case(
        "ragged",
        "MiniLM, 256 sentences of 3 to 120 tokens in batches of 32",
        partial(minilm_forward, batch=32, length=120, shortest=3, batches=8),
        FEATURES,
    ),
    Case(
        "ragged-train",
        "a training step of a small BERT, 32 sentences of 3 to 120 tokens",
        partial(train_step, batch=32, length=120, shortest=3),
        GRADIENTS,
    ),
    Case(
        "train-step",
        "a training step of a small BERT (4 x 256), 8 x 64 tokens",
        partial(train_step, batch=8, length=64),
        GRADIENTS,
    ),
    Case(
        "checkpointing",
        "a training step with gradient checkpointing, 8 x 256 tokens",
        partial(
            train_step, batch=8, length=256, config={"num_hidden_layers": 8}, checkpointing=True
        ),
        GRADIENTS,
    ),
    Case(
        "pretrain",
        "a step of masked language modeling, MiniLM's size, 32 x 128 tokens",
        partial(pretrain, batch=32, length=128),
        GRADIENTS,
    ),
    Case(
        "generate",
        "greedy search, 64 tokens after 16, a decoder (6 x 384)",
        partial(generate, prompt=16, new_tokens=64),
        0.0,
    ),
    Case(
        "ema",
        "MEGA's moving average by FFT, 65,536 x 128",
        partial(moving_average, length=65536, features=128),
        MOVING_AVERAGE,
    ),
    Case(
        "ema-train",
        "the same with backward pass, 16,384 x 128",
        partial(moving_average, length=16384, features=128, train=True),
        MOVING_AVERAGE,
    ),
    Case(
        "ema-convolution",
        "only its convolution, 65,536 x 128",
        partial(convolution, length=65536, features=128),
        MOVING_AVERAGE,
    ),
    Case(
        "nemotron-generate",
        "greedy search, 64 tokens after 16, Nemotron (100M)",
        partial(nemotron.generate, prompt=16, new_tokens=64),
        0.0,
    ),
    Case("load", "MegatronBERT (345M) from a safetensors file of 1.3 GB", load, 0.0),
    Case("tokenizer", "WordPiece, 1,000 English-like sentences of 20 words", tokenizer, 0.0),
    Case(
        "tokenizer-bpe",
        "the same with byte-level BPE, 8,000 tokens",
        byte_level_tokenizer,
        0.0,
    ),
    Case(
        "tokenizer-json",
        "the same BPE, loaded from a tokenizer.json",
        partial(byte_level_tokenizer, from_json=True),
        0.0,
    ),
)
