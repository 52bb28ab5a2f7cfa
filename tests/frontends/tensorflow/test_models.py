"""The TFBert classes apart from their results: weights and their names, files, modes, arguments."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

import tinybert
from tests.frontends.tensorflow import cases
from tests.frontends.tensorflow.test_golden import build
from tinybert.frontends.tensorflow import bert, fitting

HERE = Path(__file__).parent
IDS = cases.IDS


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["h5", "safetensors"])
def test_the_files_of_tensorflow_are_read(kind: str) -> None:
    if kind == "h5":
        pytest.importorskip("h5py")
    model = tinybert.TFBertForPreTraining.from_pretrained(HERE / "files" / kind)
    for weight in model.weights:
        name = weight.name.partition("/")[2]
        np.testing.assert_array_equal(weight.numpy(), cases.draw(name, weight.shape))


def test_a_h5_file_is_written_as_keras_writes_it(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    build("TFBertForPreTraining", is_decoder=False).save_pretrained(tmp_path)

    def content(path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with h5py.File(path) as file:
            found["layers"], found["backend"] = [*file.attrs["layer_names"]], file.attrs["backend"]
            for layer in found["layers"]:
                names = [*file[layer].attrs["weight_names"]]
                found[layer] = [name.partition("/")[2] for name in names]  # without the model's
                found |= {f"{layer} {n.partition('/')[2]}": file[layer][n][()] for n in names}
        return found

    own = content(tmp_path / "tf_model.h5")
    wanted = content(HERE / "files" / "h5" / "tf_model.h5")
    assert list(own) == list(wanted)
    for key, value in wanted.items():
        np.testing.assert_array_equal(own[key], value)
    with h5py.File(tmp_path / "tf_model.h5") as file:
        names = [name for layer in own["layers"] for name in file[layer].attrs["weight_names"]]
    assert all(name.startswith("tf_bert_for_pre_training/") for name in names)


def test_a_safetensors_file_is_that_of_tensorflow(tmp_path: Path) -> None:
    model = build("TFBertForPreTraining", is_decoder=False)
    model.save_pretrained(tmp_path, safe_serialization=True)
    paths = (tmp_path, HERE / "files" / "safetensors")
    own, wanted = (safe_open(path / "model.safetensors", "np") for path in paths)
    assert own.metadata() == wanted.metadata() == {"format": "tf"}
    assert set(own.keys()) == set(wanted.keys())
    for name in wanted.keys():  # noqa: SIM118
        np.testing.assert_array_equal(own.get_tensor(name), wanted.get_tensor(name))


@pytest.mark.parametrize("safe", [True, False])
def test_a_saved_model_is_loaded_again(tmp_path: Path, safe: bool) -> None:
    if not safe:
        pytest.importorskip("h5py")
    model = build("TFBertModel")
    model.save_pretrained(tmp_path, safe_serialization=not safe)
    model.save_pretrained(tmp_path, safe_serialization=safe)  # replaces the other file
    files = {"config.json", "model.safetensors" if safe else "tf_model.h5"}
    assert {path.name for path in tmp_path.iterdir()} == files
    again = tinybert.TFBertModel.from_pretrained(tmp_path, name="again")
    wanted = model(IDS).last_hidden_state.numpy()
    np.testing.assert_array_equal(again(IDS).last_hidden_state.numpy(), wanted)
    assert again.weights[0].name == "again/bert/embeddings/word_embeddings/weight:0"
    assert again.config.architectures == ["BertModel"]
    torch_class = tinybert.BertModel.from_pretrained(tmp_path)
    np.testing.assert_allclose(torch_class(IDS).last_hidden_state.numpy(), wanted, atol=1e-5)


def test_one_format_replaces_another(tmp_path: Path) -> None:
    """A file of another format that is left would be read instead of the new one."""
    pytest.importorskip("h5py")
    config = tinybert.BertConfig(**cases.SIZES)
    flax, keras = tinybert.FlaxBertModel(config), build("TFBertModel")
    for _ in range(2):
        flax.save_pretrained(tmp_path)
        again = tinybert.FlaxBertModel.from_pretrained(tmp_path)
        np.testing.assert_array_equal(again(IDS)[0].numpy(), flax(IDS)[0].numpy())
        (tmp_path / "pytorch_model.bin").write_bytes(b"old")
        keras.save_pretrained(tmp_path, safe_serialization=False)
        assert {file.name for file in tmp_path.iterdir()} == {"config.json", "tf_model.h5"}


def test_weights_of_pytorch_are_read(tmp_path: Path) -> None:
    original = tinybert.BertForMaskedLM(tinybert.BertConfig(**cases.SIZES))
    original.eval().save_pretrained(tmp_path)
    model = tinybert.TFBertForMaskedLM.from_pretrained(tmp_path, from_pt=True)
    np.testing.assert_allclose(model(IDS).logits.numpy(), original(IDS).logits.numpy(), atol=1e-5)


def test_h5_files_do_not_convert() -> None:
    with pytest.raises(ValueError, match="dtype='float16' needs safe_serialization=True"):
        build("TFBertModel").save_pretrained("unused", dtype="float16", safe_serialization=False)


# --- weights --------------------------------------------------------------------------------------


def test_matrices_are_drawn_from_a_truncated_normal_distribution() -> None:
    sizes = {"vocab_size": 900, "hidden_size": 64, "num_hidden_layers": 1, "initializer_range": 0.1}
    config = tinybert.BertConfig(**{**cases.SIZES, **sizes})
    with tinybert.manual_seed(3):
        model = tinybert.TFBertForSequenceClassification(config)
    for weight in model.weights:
        values = weight.numpy()
        if "kernel" in weight.name or "_embeddings" in weight.name:
            assert np.abs(values).max() <= 0.2
        else:
            assert (values == float("gamma" in weight.name)).all()
    table = model.weights[0].numpy()
    assert table.std() == pytest.approx(0.088, rel=0.01)  # 0.8796 of 0.1
    assert np.abs(table[0]).min() > 0  # the row of padding is drawn too


def test_padding_is_trained() -> None:
    model = build("TFBertForMaskedLM")
    model(IDS, labels=IDS).loss.backward()
    table = model.get_input_embeddings().weight
    assert np.abs(table.grad.numpy()[0]).max() > 0


def test_resizing_changes_table_bias_and_config() -> None:
    model = build("TFBertForMaskedLM")
    before = model.weights[0].numpy().copy()
    model.resize_token_embeddings(200)
    assert model.config.vocab_size == 200
    assert model(IDS).logits.shape == (3, 5, 200)
    table = model.get_input_embeddings().weight.numpy()
    np.testing.assert_array_equal(table[:13], before)
    assert 0 < np.abs(table[13:]).max() <= 0.04
    assert {w.name.split("/")[-1]: w.shape for w in model.weights}["bias:0"] != ()
    assert model.num_parameters() == sum(np.prod(w.shape) for w in model.weights)


def test_a_variable_is_a_view_of_the_weight() -> None:
    model = build("TFBertForQuestionAnswering", num_labels=2)
    kernel = model.weights[-2]
    assert (kernel.name, kernel.shape) == (
        "tf_bert_for_question_answering/qa_outputs/kernel:0",
        (8, 2),
    )
    kernel.assign(np.arange(16.0).reshape(8, 2))
    np.testing.assert_array_equal(model.qa_outputs.weight.numpy()[1], np.arange(1, 16, 2))
    with pytest.raises(ValueError, match=r"kernel:0 has shape \(8, 2\), got \(2, 8\)"):
        kernel.assign(np.zeros((2, 8)))
    assert len(model.trainable_variables) == 39


# --- calls ----------------------------------------------------------------------------------------


def test_dropout_acts_in_calls_with_training_alone() -> None:
    model = build("TFBertModel", hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    plain = [model(IDS).last_hidden_state.numpy()]
    first = model(IDS, training=True, output_attentions=True)
    second = model(IDS, training=True)
    plain += [model(IDS).last_hidden_state.numpy()]
    model.train()  # there is no mode
    plain += [model(IDS, training=None).last_hidden_state.numpy()]
    np.testing.assert_array_equal(plain[0], plain[1])
    np.testing.assert_array_equal(plain[0], plain[2])
    assert np.abs(first[0].numpy() - second[0].numpy()).max() > 0.1
    weights = first.attentions[0].numpy()
    assert 0.2 < (weights == 0).mean() < 0.8  # after dropout, drawn for each element


def test_old_names_are_renamed() -> None:
    model = build("TFBertLMHeadModel", is_decoder=True)
    wanted = model(IDS).logits.numpy()[:, 3:]
    past = model(IDS[:, :3]).past_key_values
    for name in ("past", "decoder_cached_states"):
        with pytest.warns(FutureWarning, match=f"{name} is the old name of past_key_values"):
            found = model({"input_ids": IDS[:, 3:], name: past}).logits.numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    with pytest.warns(FutureWarning, match="inputs is the old name of input_ids"):
        model({"inputs": IDS})


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ([IDS.tolist()], {}, ValueError, "give a batch of ids as an array"),
        (
            [[IDS, None, None, None, None, None, None, None, None, None, None, 1]],
            {},
            TypeError,
            "12",
        ),
        ([IDS], {"input_ids": IDS}, TypeError, "input_ids is given twice"),
        ([IDS], {"wrong": 1}, ValueError, r"\['wrong'\] are not supported by this model"),
        ([{"input_ids": IDS, "wrong": 1}], {}, TypeError, "the inputs have 'wrong'"),
        ([IDS, "text"], {}, ValueError, "attention_mask has type str"),
    ],
)
def test_wrong_arguments_are_named(
    args: Any, kwargs: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build("TFBertForMaskedLM")(*args, **kwargs)


def test_a_value_without_a_use_is_skipped(caplog: pytest.LogCaptureFixture) -> None:
    model = build("TFBertModel")
    found = model({"input_ids": IDS, "text": "hello"})[0].numpy()
    np.testing.assert_array_equal(found, model(IDS)[0].numpy())
    assert "'text', which this model does not take" in caplog.text


def test_the_arguments_are_in_the_order_of_tensorflow() -> None:
    tokens = "input_ids attention_mask token_type_ids position_ids head_mask inputs_embeds "
    encoder = "encoder_hidden_states encoder_attention_mask past_key_values use_cache "
    options = "output_attentions output_hidden_states return_dict "
    wanted = dict.fromkeys(cases.LABELS, tokens + options + "labels training")
    wanted["TFBertModel"] = tokens + encoder + options + "training"
    wanted["TFBertLMHeadModel"] = tokens + encoder + options + "labels training kwargs"
    wanted["TFBertForPreTraining"] = tokens + options + "labels next_sentence_label training"
    wanted["TFBertForNextSentencePrediction"] = tokens + options + "next_sentence_label training"
    spans = tokens + options + "start_positions end_positions training"
    wanted["TFBertForQuestionAnswering"] = spans
    for name, names in wanted.items():
        signature = inspect.signature(getattr(tinybert, name).call)
        assert list(signature.parameters)[1:] == names.split(), name
        defaults = [p.default for p in signature.parameters.values() if p.default is not p.empty]
        assert defaults[-1] is False
        assert set(defaults) == {None, False}


def test_labels_may_be_lists() -> None:
    model = build("TFBertForMaskedLM")
    found = model(IDS, labels=cases.WORD_LABELS.tolist()).loss.numpy()
    np.testing.assert_array_equal(found, model(IDS, labels=cases.WORD_LABELS).loss.numpy())
    model = build("TFBertForSequenceClassification", num_labels=1)
    found = model(IDS, labels=[0.5, -2, 3]).loss.numpy()
    logits = model(IDS).logits.numpy()[:, 0]
    np.testing.assert_allclose(found, (logits - [0.5, -2, 3]) ** 2, rtol=1e-5)


def test_spans_need_two_labels() -> None:
    with pytest.raises(ValueError, match="num_labels must be 2"):
        build("TFBertForQuestionAnswering", num_labels=3)


def test_a_constructor_takes_a_config_and_a_name() -> None:
    config = tinybert.BertConfig(**cases.SIZES)
    assert tinybert.TFBertModel(config, name="mine").weights[0].name.startswith("mine/bert/")
    with pytest.raises(TypeError, match="takes a config and name"):
        tinybert.TFBertModel(config, trainable=False)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = tinybert.nothing
    with pytest.raises(NotImplementedError, match="prune_heads"):
        tinybert.TFBertModel(config).prune_heads({0: [0]})


def test_dummy_inputs() -> None:
    for class_name, options in cases.every_class():
        model = build(class_name, **options)
        inputs = model.dummy_inputs
        shape = (1, 2, 2) if class_name == "TFBertForMultipleChoice" else (1, 2)
        assert {name: x.shape for name, x in inputs.items()} == dict.fromkeys(inputs, shape)
        model(inputs)


def test_generate() -> None:
    model = build("TFBertLMHeadModel", is_decoder=True)
    other = tinybert.BertLMHeadModel(model.config).eval()
    other.load_state_dict(model.state_dict())
    options = {"max_new_tokens": 5, "do_sample": False}
    found, wanted = (m.generate(IDS[1:, :3], **options) for m in (model, other))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


def test_keras_names() -> None:
    names = [cls.__name__ for cls in bert.TFBertPreTrainedModel.__subclasses__()]
    assert "TFBertModel" in names
    assert bert.keras_name("TFBertForPreTraining") == "tf_bert_for_pre_training"
    assert bert.keras_name("TFBertForMaskedLM") == "tf_bert_for_masked_lm"


# --- training -------------------------------------------------------------------------------------


def test_fit_on_shuffled_examples(tmp_path: Path) -> None:
    model = build("TFBertForSequenceClassification")
    model.compile("adam", learning_rate=0.01, seed=1)
    labels = {"logits": np.array([2, 0, 1])}
    before = model.evaluate([IDS, cases.MASK], labels)
    history = model.fit([IDS, cases.MASK], labels, batch_size=2, epochs=5, folder=tmp_path)
    assert len(history.history["loss"]) == 5
    assert model.evaluate([IDS, cases.MASK], labels) < before
    assert (tmp_path / "log.jsonl").exists()


def test_predict_joins_what_each_layer_computed() -> None:
    model = build("TFBertLMHeadModel", is_decoder=True)
    found = model.predict([IDS, cases.MASK], batch_size=2)
    wanted = model(IDS, cases.MASK)
    np.testing.assert_allclose(found.logits, wanted.logits.numpy(), atol=1e-5)
    for i in range(4):
        layer, member = divmod(i, 2)
        keys = wanted.past_key_values[layer][member].numpy()
        np.testing.assert_allclose(found.past_key_values[layer][member], keys, atol=1e-5)


def test_wrong_calls_of_fit() -> None:
    model = build("TFBertForQuestionAnswering", num_labels=2)
    with pytest.raises(RuntimeError, match="call compile first"):
        model.fit(IDS)
    with pytest.raises(ValueError, match="optimizer must be one of 'adamw'"):
        model.compile("rmsprop")
    with pytest.raises(ValueError, match="loss and metrics must be None"):
        model.compile(loss="mse")
    with pytest.raises(ValueError, match=r"unknown options \['rate'\]"):
        model.compile(rate=1)
    with pytest.raises(ValueError, match="learning_rate"):
        model.compile(learning_rate=-1)
    assert fitting.DEFAULTS["learning_rate"] == 0.001
    model.compile()
    with pytest.raises(ValueError, match="fit needs start_positions, end_positions"):
        model.fit(IDS)
    with pytest.raises(ValueError, match="y must be a dict with start_positions and end_positions"):
        model.fit(IDS, np.zeros(3, int))
    for arrays in ([IDS, cases.MASK[:2]], IDS[:0]):
        with pytest.raises(ValueError, match="the same number of examples, not 0, got"):
            model.predict(arrays)
    with pytest.raises(ValueError, match="y must be a dict with no labels"):
        build("TFBertModel").evaluate(IDS, IDS)
    with pytest.raises(ValueError, match="evaluate needs end_positions"):
        model.evaluate(IDS, {"start_logits": np.zeros(3, int)})
