"""`model(tokenizer(text))`, without `**`, says what to write, in every family and in `generate`."""

from __future__ import annotations

from typing import Any

import pytest

import tinybert as tb
from tinybert.tokenizers import BatchEncoding

SMALL = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
BERT = {**SMALL, "intermediate_size": 6, "max_position_embeddings": 9}
INPUTS = {"input_ids": [[1, 2, 3]], "attention_mask": [[1, 1, 1]]}


def decoder() -> Any:
    return tb.BertLMHeadModel(tb.BertConfig(**BERT, is_decoder=True))


def encoder_decoder() -> Any:
    parts = tb.BertConfig(**BERT), tb.BertConfig(**BERT, is_decoder=True, add_cross_attention=True)
    config = tb.EncoderDecoderConfig.from_encoder_decoder_configs(*parts, decoder_start_token_id=1)
    return tb.EncoderDecoderModel(config)


def mega() -> Any:
    sizes = {"intermediate_size": 6, "shared_representation_size": 4, "max_positions": 9}
    return tb.MegaModel(tb.MegaConfig(**SMALL, **sizes, ema_projection_size=2))


MODELS = {
    "bert": lambda: tb.BertModel(tb.BertConfig(**BERT)),
    "classifier": lambda: tb.BertForSequenceClassification(tb.BertConfig(**BERT)),
    "decoder": decoder,
    "megatron": lambda: tb.MegatronBertModel(tb.MegatronBertConfig(**BERT)),
    "mega": mega,
    "nemotron": lambda: tb.NemotronModel(tb.NemotronConfig(**BERT)),
    "encoder-decoder": encoder_decoder,
}


@pytest.mark.parametrize("inputs", [BatchEncoding(INPUTS), INPUTS], ids=["tokenizer", "dict"])
@pytest.mark.parametrize("name", MODELS)
def test_the_cure_is_named(name: str, inputs: Any) -> None:
    model = MODELS[name]()
    calls = [model] + ([model.generate] if name in ("decoder", "encoder-decoder") else [])
    for call in calls:
        with pytest.raises(TypeError) as raised:
            call(inputs)
        kind = type(inputs).__name__
        assert str(raised.value).startswith("input_ids: data must be an array, a number or")
        assert f"got {kind}; unpack it with two asterisks: model(**inputs)" in str(raised.value)
