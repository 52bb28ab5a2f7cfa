"""BertConfig: files are interchangeable with transformers; unknown options and labels survive."""

from __future__ import annotations

import json
from typing import Any

import pytest
import transformers

from tests.models.oracle import TOY
from tinybert import BertConfig, PretrainedConfig

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "toy": TOY,
    "options": {
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.0,
        "classifier_dropout": 0.3,
        "pad_token_id": 3,
        "layer_norm_eps": 1e-5,
        "use_cache": False,
        "chunk_size_feed_forward": 4,
        "output_attentions": True,
        "problem_type": "regression",
        "pruned_heads": {0: [1, 2], 3: [0]},
        "bos_token_id": 5,
    },
    "labels": {
        "id2label": {0: "no", 1: "perhaps", 2: "yes"},
        "label2id": {"no": 0, "perhaps": 1, "yes": 2},
    },
    "many labels": {"num_labels": 7},
    "one label": {"num_labels": 1},
    "unknown": {"my_gamma": 3, "nested": {"a": [1, None]}, "name": "é"},
}

variants = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


def known(config: Any) -> dict[str, Any]:
    """What transformers knows of a config, without the marks of the machine that wrote it."""
    options = config.to_dict()
    for name in ("transformers_version", "_name_or_path"):
        options.pop(name, None)
    return options


def test_defaults_are_those_of_transformers():
    theirs = known(transformers.BertConfig())
    ours = BertConfig().to_dict()
    assert {k: v for k, v in theirs.items() if k in ours} == ours
    assert BertConfig(*range(2, 10)).vocab_size == 2
    positional = BertConfig(7, 6, 5, 3, 4, "relu", 0.2, 0.3, 8, 9, 0.5, 1e-3, 1)
    theirs = transformers.BertConfig(7, 6, 5, 3, 4, "relu", 0.2, 0.3, 8, 9, 0.5, 1e-3, 1)
    assert {k: known(theirs)[k] for k in positional.to_dict()} == positional.to_dict()


@variants
def test_a_saved_config_is_the_same_in_transformers(options, tmp_path):
    BertConfig(**options).save_pretrained(tmp_path)
    theirs = transformers.BertConfig.from_pretrained(tmp_path)
    assert known(theirs) == known(transformers.BertConfig(**options))


@variants
def test_a_config_of_transformers_is_the_same_here(options, tmp_path):
    transformers.BertConfig(**options).save_pretrained(tmp_path)
    ours, expected = BertConfig.from_pretrained(tmp_path), BertConfig(**options)
    written = vars(ours).pop("transformers_version")
    assert written == transformers.__version__
    assert ours == expected


@variants
def test_a_config_comes_back_as_it_was(options, tmp_path):
    config = BertConfig(**options)
    config.save_pretrained(tmp_path / "new" / "folder")
    again = BertConfig.from_pretrained(tmp_path / "new" / "folder")
    assert again == config
    assert again == BertConfig.from_json_file(tmp_path / "new" / "folder" / "config.json")
    assert again == BertConfig.from_dict(config.to_dict())
    assert again == BertConfig.from_dict(json.loads(config.to_json_string(use_diff=False)))
    assert again != BertConfig(**{**options, "vocab_size": 99})


@variants
def test_the_file_is_the_one_of_transformers(options, tmp_path):
    ours = json.loads(BertConfig(**options).to_json_string())
    theirs = json.loads(transformers.BertConfig(**options).to_json_string())
    theirs.pop("transformers_version")
    assert ours == theirs
    text = BertConfig(**options).to_json_string()
    assert text == json.dumps(ours, indent=2, sort_keys=True) + "\n"


def test_unknown_options_are_kept():
    config = BertConfig(my_option=[1, 2])
    assert config.my_option == [1, 2]
    assert BertConfig.from_dict(config.to_dict()).my_option == [1, 2]
    config.to_dict()["my_option"].append(3)
    assert config.my_option == [1, 2]


def test_real_files_of_old_releases_keep_everything(minilm):
    stored = json.loads((minilm / "config.json").read_text())
    config = BertConfig.from_pretrained(minilm)
    assert config.hidden_size == 384
    assert json.loads(config.to_json_string()) == {"classifier_dropout": None, **stored}


# --- labels ---------------------------------------------------------------------------------------

LABELS: dict[str, dict[str, Any]] = {
    "none": {},
    "a number": {"num_labels": 3},
    "names": {"id2label": {0: "a", 1: "b", 2: "c"}},
    "names with text keys": {"id2label": {"0": "a", "1": "b"}},
    "both ways": {"id2label": {0: "a"}, "label2id": {"a": 0}},
    "names and their number": {"id2label": {0: "a", 1: "b", 2: "c"}, "num_labels": 3},
    "names and another number": {"id2label": {0: "a", 1: "b", 2: "c"}, "num_labels": 5},
}


@pytest.mark.parametrize("options", LABELS.values(), ids=LABELS)
def test_labels_follow_the_rules_of_transformers(options):
    ours, theirs = BertConfig(**options), transformers.BertConfig(**options)
    assert ours.num_labels == theirs.num_labels
    assert ours.id2label == theirs.id2label
    assert ours.label2id == theirs.label2id


@pytest.mark.parametrize(
    "start", [{}, {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}]
)
@pytest.mark.parametrize("count", [0, 2, 4])
def test_setting_the_number_of_labels_names_them_anew_if_it_differs(start, count):
    ours, theirs = BertConfig(**start), transformers.BertConfig(**start)
    ours.num_labels = theirs.num_labels = count
    assert (ours.num_labels, ours.id2label, ours.label2id) == (
        theirs.num_labels, theirs.id2label, theirs.label2id
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"num_labels .*-1"):
        ours.num_labels = -1


@pytest.mark.parametrize(
    "overrides",
    [
        {"num_labels": 3},
        {"num_labels": 5},
        {"id2label": {0: "x", 1: "y"}, "label2id": {"x": 0, "y": 1}},
        {"id2label": {0: "x", 1: "y"}, "label2id": {"x": 0, "y": 1}, "num_labels": 2},
    ],
    ids=str,
)
def test_labels_of_a_file_can_be_overridden(overrides, tmp_path):
    names = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    BertConfig(**names).save_pretrained(tmp_path)
    ours = BertConfig.from_pretrained(tmp_path, **overrides)
    theirs = transformers.BertConfig.from_pretrained(tmp_path, **overrides)
    assert (ours.num_labels, ours.id2label, ours.label2id) == (
        theirs.num_labels, theirs.id2label, theirs.label2id
    )  # fmt: skip


def test_overriding_labels_with_another_number_is_refused(tmp_path):
    BertConfig().save_pretrained(tmp_path)
    options: dict[str, Any] = {"id2label": {0: "a", 1: "b", 2: "c"}, "num_labels": 2}
    with pytest.raises(ValueError, match="num_labels"):
        transformers.BertConfig.from_pretrained(tmp_path, **options)
    with pytest.raises(ValueError, match="num_labels"):
        BertConfig.from_pretrained(tmp_path, **options)


# --- files ----------------------------------------------------------------------------------------


def test_overrides_win(tmp_path):
    BertConfig(**TOY).save_pretrained(tmp_path)
    config = BertConfig.from_pretrained(tmp_path, hidden_act="relu", output_attentions=True)
    assert (config.hidden_act, config.output_attentions) == ("relu", True)
    assert config.hidden_size == TOY["hidden_size"]


def test_overrides_must_be_known(tmp_path):
    BertConfig(my_option=1).save_pretrained(tmp_path)
    assert BertConfig.from_pretrained(tmp_path, my_option=2).my_option == 2
    with pytest.raises(TypeError, match="BertConfig has no option hiden_act"):
        BertConfig.from_pretrained(tmp_path, hiden_act="relu")


FAULTS = {
    "not JSON": ("{", "config.json: not valid JSON"),
    "a list": ("[]", "expected a JSON object, got list"),
    "deep": ("[" * 100_000, "config.json: not valid JSON"),
    "UTF-16": (b"\xff\xfe", "config.json is UTF-16 text"),
    "not UTF-8": (b"\x80", "config.json: not valid JSON .*utf-8"),
    "another model": ('{"model_type": "nemotron"}', "model_type is 'nemotron'.*BertConfig.*'bert'"),
    "a problem": ('{"problem_type": "guess"}', "problem_type must be one of.*'guess'"),
}


@pytest.mark.parametrize(("content", "message"), FAULTS.values(), ids=FAULTS)
def test_bad_files_are_refused_by_name(content, message, tmp_path):
    (tmp_path / "config.json").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    with pytest.raises(ValueError, match=message):
        BertConfig.from_pretrained(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        BertConfig.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        BertConfig.from_pretrained(tmp_path / "nowhere")


def test_configs_compare_by_content_and_show_it():
    assert BertConfig(**TOY) == BertConfig(**TOY)
    assert BertConfig(**TOY) != BertConfig()
    assert BertConfig() != {}
    assert '"vocab_size": 23' in repr(BertConfig(**TOY))
    assert isinstance(BertConfig(), PretrainedConfig)
    with pytest.raises(TypeError):
        hash(BertConfig())


@pytest.mark.parametrize("name", ["id2label", "pruned_heads"])
@pytest.mark.parametrize("value", [5, "a", {"a": "b"}, [[0, 1]]])
def test_dicts_by_number_are_checked(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a dict from the number of a .* got "):
        BertConfig(**{name: value})
