"""`EncoderDecoderModel` of two BERTs against transformers'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tinybert
from tests.models.oracle import config, draw_weights, flat, twin_config
from tests.support import assert_close
from tests.tolerances import MODEL_FLOAT64, MODEL_GRADIENT_FLOAT64

rng = np.random.default_rng(0)
IDS = rng.integers(1, 23, size=(3, 6))
MASK = np.array([[1, 1, 1, 1, 0, 0], [1] * 6, [1, 1, 1, 0, 0, 0]])
LABELS = np.array([[5, 6, 2, -100], [7, 8, 9, 2], [3, 2, -100, -100]])
LOSS_OF_THEIRS = pytest.mark.filterwarnings(
    "ignore:Version v4.12.0:FutureWarning", "ignore:To copy construct:UserWarning"
)


def pair(decoder: dict[str, Any] | None = None, **options: Any) -> tuple[Any, Any]:
    """Ours and theirs with the same random weights, float64."""
    encoder_config, decoder_config = config(), config(**(decoder or {}))
    options = {"decoder_start_token_id": 1, "pad_token_id": 0, **options}
    theirs_config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        twin_config(encoder_config), twin_config(decoder_config), **options
    )
    theirs_config._attn_implementation = "eager"
    theirs = transformers.EncoderDecoderModel(config=theirs_config)
    theirs.tie_weights()
    draw_weights(theirs, 3)
    ours = tinybert.EncoderDecoderModel(
        tinybert.EncoderDecoderConfig.from_encoder_decoder_configs(
            encoder_config, decoder_config, **options
        )
    )
    ours.load_state_dict(theirs.state_dict())
    return ours.to(np.float64).eval(), theirs.double().eval()


CASES: dict[str, dict[str, Any]] = {
    "equal sizes": {},
    "another width": {"decoder": {"hidden_size": 18, "num_hidden_layers": 1}},
    "another vocabulary": {"decoder": {"vocab_size": 31}},
    "one table of weights": {"tie_encoder_decoder": True},
}


def test_the_two_parts() -> None:
    ours, theirs = pair()
    for model in (ours, theirs):
        assert model.get_encoder() is model.encoder
        assert model.get_decoder() is model.decoder
    names = [name for name, _ in theirs.get_encoder().named_parameters()]
    assert [name for name, _ in ours.get_encoder().named_parameters()] == names
    found = ours.get_encoder()(IDS, MASK).last_hidden_state
    assert (ours(IDS, MASK, labels=LABELS).encoder_last_hidden_state.numpy() == found.numpy()).all()


@LOSS_OF_THEIRS
@pytest.mark.parametrize("case", CASES)
def test_outputs_loss_and_gradients_agree(case: str) -> None:
    ours, theirs = pair(**CASES[case])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    call = {"output_hidden_states": True, "output_attentions": True, "use_cache": False}
    expected = theirs(
        input_ids=torch.from_numpy(IDS),
        attention_mask=torch.from_numpy(MASK),
        labels=torch.from_numpy(LABELS),
        **call,
    )
    found = ours(input_ids=IDS, attention_mask=MASK, labels=LABELS, **call)
    assert list(found) == list(expected)
    for name, array in flat(expected).items():
        assert_close(flat(found)[name], array, rtol=MODEL_FLOAT64)
    expected.loss.backward()
    found.loss.backward()
    gradients = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    assert gradients
    for name, parameter in ours.named_parameters():
        if name in gradients:
            assert_close(
                parameter.grad.numpy(),
                gradients[name].numpy(),
                rtol=MODEL_GRADIENT_FLOAT64,
                atol=MODEL_GRADIENT_FLOAT64,
            )
        else:
            assert parameter.grad is None


def test_files_pass_both_ways(tmp_path: Any) -> None:
    ours, theirs = (model.float() if hasattr(model, "float") else model for model in pair())
    ours.to(np.float32)
    call = {"input_ids": IDS, "decoder_input_ids": LABELS.clip(0)}
    tensors = {name: torch.from_numpy(value) for name, value in call.items()}
    theirs.save_pretrained(tmp_path / "theirs")
    loaded, report = tinybert.AutoModelForSeq2SeqLM.from_pretrained(
        tmp_path / "theirs", output_loading_info=True
    )
    assert not str(report)
    expected = theirs(**tensors).logits.detach().numpy()
    assert_close(loaded(**call).logits.numpy(), expected, rtol=1e-5)
    ours.save_pretrained(tmp_path / "ours")
    there, info = transformers.EncoderDecoderModel.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(info.values()), info
    assert_close(there(**tensors).logits.detach().numpy(), expected, rtol=1e-5)


def test_a_pair_from_two_berts(tmp_path: Any) -> None:
    tinybert.BertForPreTraining(config()).save_pretrained(tmp_path)
    model = tinybert.EncoderDecoderModel.from_encoder_decoder_pretrained(
        tmp_path, tmp_path, decoder_start_token_id=1, tie_encoder_decoder=True
    )
    assert not model.training
    assert not model.encoder.config.is_decoder
    assert model.decoder.config.is_decoder
    encoder, decoder = model.encoder.state_dict(), model.decoder.bert.state_dict()
    shared = encoder.keys() & decoder.keys()
    assert all(encoder[name].data is decoder[name].data for name in shared)
    only = {name for name in decoder if name not in shared}
    assert only
    assert all("crossattention" in name for name in only)
    assert model.config.pad_token_id is None
    with pytest.raises(ValueError, match=r"set config\.pad_token_id"):
        model(input_ids=IDS, labels=LABELS)
    with pytest.raises(ValueError, match="give encoder"):
        tinybert.EncoderDecoderModel.from_encoder_decoder_pretrained(None, tmp_path)


def test_cached_steps_equal_one_pass() -> None:
    model, _ = pair()
    ids = LABELS.clip(0)
    encoded = model.encode(IDS, MASK)
    whole = model(encoder_outputs=encoded, attention_mask=MASK, decoder_input_ids=ids).logits
    cache, steps = None, []
    for start, stop in ((0, 1), (1, 3), (3, 4)):
        output = model(
            encoder_outputs=encoded,
            attention_mask=MASK,
            decoder_input_ids=ids[:, start:stop],
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        steps.append(output.logits.numpy())
    assert_close(np.concatenate(steps, axis=1), whole.numpy(), rtol=MODEL_FLOAT64)


def test_wrong_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="a config, or an encoder and a decoder"):
        tinybert.EncoderDecoderModel()
    with pytest.raises(ValueError, match="needs is_decoder=True"):
        tinybert.EncoderDecoderModel(tinybert.EncoderDecoderConfig(config(), config()))
    with pytest.raises(ValueError, match="needs an encoder's and a decoder's"):
        tinybert.EncoderDecoderConfig(encoder=config())
    decoder = config(is_decoder=True, add_cross_attention=True)
    with pytest.raises(ValueError, match="must have no head"):
        tinybert.EncoderDecoderModel(
            tinybert.EncoderDecoderConfig(config(), decoder),
            encoder=tinybert.BertForMaskedLM(config()),
        )
    model, _ = pair()
    with pytest.raises(NotImplementedError, match=r"model\.encoder\.resize_token_embeddings"):
        model.resize_token_embeddings(5)
