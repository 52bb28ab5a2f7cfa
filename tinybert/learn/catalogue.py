"""The exercises in the order in which to solve them."""

from __future__ import annotations

from tinybert.learn.exercise import Task, load_task

# Chapter -> what it is about, and its exercises.
CHAPTERS: dict[str, tuple[str, str]] = {
    "tape": (
        "the gradient of anything",
        "chain_rule unbroadcast mul tanh matmul_backward linear_backward walk gradcheck inplace",
    ),
    "loss": (
        "from scores to a loss",
        "softmax softmax_backward log_softmax cross_entropy cross_entropy_backward bce smoothing",
    ),
    "parts": (
        "what layers and training steps are made of",
        "gelu silu_relu2 layer_norm layer_norm_backward rms_norm embedding dropout adam adamw clip "
        "warmup",
    ),
    "words": (
        "from a text to rows of ids",
        "clean accents punctuation longest learn rows pad windows",
    ),
    "bytes": ("byte-level BPE", "alphabet merge offsets"),
    "attn": (
        "which token attends to which",
        "heads scores padding_mask causal forward backward relative blocks",
    ),
    "bert": (
        "layers and tasks of BERT",
        "embeddings layer layer_backward pooling mask_words span tied pre_ln",
    ),
    "write": ("how text is generated", "top_p penalty beam_step cache_step"),
    "files": ("weights on disk", "safetensors"),
    "long": ("long sequences", "ema_fft"),
    "ranks": ("one model on several ranks", "conjugate ring schedule"),
}
NAMES = [f"{chapter}/{name}" for chapter, (_, names) in CHAPTERS.items() for name in names.split()]


def task_of(name: str) -> Task:
    """Return an exercise by its name, with or without its chapter; ValueError if there is none."""
    found = [full for full in NAMES if name in (full, full.partition("/")[2])]
    if len(found) != 1:
        from difflib import get_close_matches

        known = NAMES if "/" in name else [full.partition("/")[2] for full in NAMES]
        near = get_close_matches(name, known, 3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"there is no exercise {name!r}{hint}")
    return load_task(found[0])
