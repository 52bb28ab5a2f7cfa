"""A batch without rows is accepted by every model, with every option, and gives no rows."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.models import mega_oracle, nemotron_oracle, oracle

T = 8
IDS = np.zeros((0, T), np.int64)
MEGAS: dict[str, dict[str, Any]] = {
    f"{kind}, {bias}{', chunks' * bool(chunk)}{', truncated' * bool(truncation)}": {
        "attention_activation": kind,
        "relative_positional_bias": bias,
        "use_chunking": bool(chunk),
        "chunk_size": chunk or -1,
        "truncation": truncation,
    }
    for kind, bias, chunk, truncation in itertools.product(
        ("softmax", "laplace", "relu2"), ("rotary", "simple"), (0, 4), (None, 3)
    )
}


@pytest.mark.parametrize("decoder", [False, True], ids=["encoder", "decoder"])
@pytest.mark.parametrize("options", MEGAS.values(), ids=MEGAS)
def test_a_mega_without_rows(options: dict[str, Any], decoder: bool) -> None:
    cross = decoder and not (options["use_chunking"] and "simple" in options.values())
    extra = {"encoder_hidden_states": np.zeros((0, 5, 12))} if cross else {}
    config = mega_oracle.mega_config(
        **{**options, **(mega_oracle.DECODER if decoder else {}), "add_cross_attention": cross}
    )
    model = tinybert.MegaModel(config).eval()
    for mask in (None, np.ones((0, T))):
        output = model(IDS, attention_mask=mask, output_attentions=True, **extra)
        assert output.last_hidden_state.shape == (0, T, 12)
        assert output.pooler_output.shape == (0, 12)
        assert output.attentions[0].shape == (0, *((2, 4, 4) if config.use_chunking else (1, T, T)))
        if decoder:
            step = model(IDS[:, :1], past_key_values=output.past_key_values, **extra)
            assert step.last_hidden_state.shape == (0, 1, 12)
    model.train()(IDS, **extra).last_hidden_state.sum().backward()
    assert not any(p.grad.numpy().any() for p in model.parameters() if p.grad is not None)


CLASSES = [
    name
    for name in tinybert.__all__
    if name.startswith(("Bert", "Mega", "Nemotron"))
    and ("For" in name or name.endswith(("Model", "LMHeadModel")))
    and not name.endswith("Output")
]


@pytest.mark.parametrize("name", CLASSES)
def test_every_head_without_rows(name: str) -> None:
    decoder = name.endswith(("CausalLM", "LMHeadModel"))
    config: Any
    if name.startswith("Nemotron"):
        config = tinybert.NemotronConfig(**nemotron_oracle.TOY)
    elif name.startswith(("Megatron", "Bert")):
        family = "MegatronBert" if name.startswith("Megatron") else "Bert"
        config = oracle.config(family, is_decoder=decoder)
    else:
        config = mega_oracle.mega_config(**(mega_oracle.DECODER if decoder else {}))
    model = getattr(tinybert, name)(config).eval()
    shape = (0, 2, T) if name.endswith("MultipleChoice") else (0, T)
    output = model(np.zeros(shape, np.int64), attention_mask=np.ones(shape))
    assert all(value.shape[0] == 0 for value in output.to_tuple() if hasattr(value, "shape"))
