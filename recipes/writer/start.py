"""Make the first weights of the writer.

usage: python -m recipes.writer.start TOKENIZER OUT

TOKENIZER  the folder of the tokenizer
OUT        gets the model folder

All weights are random but those that write into the residual stream, the output projections of
attention and feed-forward, which are 0: each layer begins as the identity, and what it adds grows
in training (Zhang et al. 2019, arXiv:1901.09321). The scales of the layer norms begin at 1, not 2.

With the initialization of `NemotronConfig` and initializer_range=0.03, the output of the first
layer begins 36 times as large as the embeddings of the tokens, because of squared ReLU, and grows
to 2,600 times in training: the later layers hardly see which token they are at. That model needed
800 steps for the loss that this one has after 260.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from tinybert import AutoTokenizer, NemotronConfig, NemotronForCausalLM
from tinybert.backend import manual_seed

SIZES: dict[str, Any] = {
    "hidden_size": 256, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 1,
    "intermediate_size": 1024, "max_position_embeddings": 256, "tie_word_embeddings": True,
}  # fmt: skip
OUTPUTS = ("o_proj.weight", "down_proj.weight")


def main(tokenizer_folder: str, out: str) -> None:
    """Write the model folder."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    config = NemotronConfig(
        vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        initializer_range=SIZES["hidden_size"] ** -0.5, **SIZES,
    )  # fmt: skip
    with manual_seed(0):
        model = NemotronForCausalLM(config)
    start = {
        name: np.zeros(weight.shape, "float32")
        for name, weight in model.state_dict().items()
        if name.endswith(OUTPUTS) or "norm.weight" in name  # of a norm, the scale - 1
    }
    model.load_state_dict(start, strict=False)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
