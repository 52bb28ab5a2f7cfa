"""Arguments of transformers' `from_pretrained` that choose files or an implementation there: what
each means here.

    attn_implementation   all implementations compute the same attention; there is one here
    low_cpu_mem_usage     weights are always loaded tensor by tensor
    from_tf, from_flax    read TensorFlow's or Flax's weights of the folder, not the preferred ones
    use_safetensors       True: read safetensors only; False: read PyTorch's weights
    trust_remote_code     no code of a model folder is ever run
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tinybert.checks import check_choice, check_flag
from tinybert.hub_cache import ADAPTER

logger = logging.getLogger("tinybert")

ATTENTIONS = (
    *(None, "eager", "sdpa"),
    *("flash_attention_2", "flash_attention_3", "flex_attention"),  # need a GPU and a library
)
WITHOUT_EFFECT = ATTENTIONS[3:]
FLAGS = ("low_cpu_mem_usage", "from_tf", "from_flax", "use_safetensors", "trust_remote_code")
FOREIGN = frozenset(("attn_implementation", *FLAGS))

# The files that an argument with this value asks for, in the order of preference.
FILES: dict[tuple[str, bool], tuple[str, ...]] = {
    ("from_tf", True): ("tf_model.h5", "tf_model.h5.index.json", "*.ckpt.index"),
    ("from_flax", True): ("flax_model.msgpack",),
    ("use_safetensors", True): ("model.safetensors", "model.safetensors.index.json"),
    ("use_safetensors", False): ("pytorch_model.bin", "pytorch_model.bin.index.json"),
}


def take_foreign(options: dict[str, Any], path: Path) -> Path:
    """Remove these arguments from `options`, and return the path of the weights to load.

    Args:
        path: the model folder; or a file of weights, or a folder with an adapter, which is returned
            as it is.

    Logs a warning for a value without effect. Raises ValueError for a value that is not allowed and
    for arguments that contradict each other, FileNotFoundError if the folder lacks the weights.
    """
    given = {name: options.pop(name) for name in FOREIGN & set(options)}
    given = {name: value for name, value in given.items() if value is not None}
    check_attention(given.get("attn_implementation"))
    for name in set(FLAGS) & set(given):
        check_flag(name, given[name])
    if given.get("trust_remote_code"):
        logger.warning("trust_remote_code has no effect: no code of a model folder is run")
    asked = [(n, bool(v)) for n, v in given.items() if (n, bool(v)) in FILES]
    if len(asked) > 1:
        raise ValueError(f"{' and '.join(f'{n}={v}' for n, v in sorted(asked))}: give one of them")
    if not asked or path.is_file() or (path / ADAPTER).exists():
        return path
    (name, value), files = asked[0], FILES[asked[0]]
    found = [file for pattern in files for file in sorted(path.glob(pattern))]
    if not found:
        raise FileNotFoundError(
            f"{name}={value}: {path} has none of {', '.join(files)}; without {name} the weights "
            "that the folder has are read, of any framework"
        )
    return found[0]


def check_attention(name: str | None) -> None:
    """Check an `attn_implementation`, and log a warning for one that would be faster elsewhere."""
    check_choice("attn_implementation", name, ATTENTIONS)
    if name in WITHOUT_EFFECT:
        logger.warning(
            "attn_implementation=%r has no effect: attention is always computed in blocks, with "
            "the same result",
            name,
        )
