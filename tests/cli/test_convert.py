"""`tinybert convert`: what is written, what is refused, and what an interruption leaves."""

from __future__ import annotations

import json
import os
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import tinybert as tb
from tinybert.cli import convert
from tinybert.weights import CheckpointError, SafetensorsFile, load_checkpoint, save_file

SIZES = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3}
SMALL = {**SIZES, "intermediate_size": 20, "vocab_size": 31, "max_position_embeddings": 16}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a small BERT and a tokenizer's files."""
    folder = tmp_path / "model"
    tb.BertForMaskedLM(tb.BertConfig(**SMALL)).save_pretrained(folder)
    for name in ("vocab.txt", "tokenizer_config.json", "README.md"):
        (folder / name).write_text(name)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def assert_same(folder: Path, other: Path) -> None:
    a, b = load_checkpoint(folder), load_checkpoint(other)
    assert set(a) == set(b)
    for name, array in a.items():
        assert array.dtype == b[name].dtype
        np.testing.assert_array_equal(array, b[name])


def test_a_folder_is_made_and_verified(tinybert, model: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    ran = tinybert("convert", model, target)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{model} (safetensors) -> {target}\n")
    count = len(load_checkpoint(model))
    assert f"verified: {count} tensors read back, each equal to its source\n" in ran.out
    files = {"config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"}
    assert set(contents(target)) == files
    assert_same(model, target)
    assert json.loads((target / "config.json").read_text()) == json.loads(
        (model / "config.json").read_text()
    )
    assert os.stat(target).st_mode == os.stat(model).st_mode


def test_both_libraries_load_it_in_half_precision(tinybert, model: Path, tmp_path: Path) -> None:
    target = tmp_path / "half"
    options = ("--dtype", "float16", "--max-shard-size", "3kB", "--json")
    result = json.loads(tinybert("convert", model, target, *options).out)
    assert 0 < result["rounding"] < 1e-4
    assert result["config"] == "config.json"
    assert set(result["files"]) == set(contents(target))
    assert sum(name.endswith(".safetensors") for name in result["files"]) > 1
    ours = tb.BertForMaskedLM.from_pretrained(target)
    theirs = transformers.BertForMaskedLM.from_pretrained(target, attn_implementation="eager")
    ids = np.arange(10).reshape(2, 5)
    np.testing.assert_allclose(
        ours(ids).logits.numpy(),
        theirs(torch.from_numpy(ids)).logits.detach().numpy(),
        rtol=0,
        atol=1e-5,
    )


def test_bfloat16_stays_bfloat16(tinybert, model: Path, tmp_path: Path) -> None:
    assert tinybert("convert", model, tmp_path / "a", "--dtype", "bfloat16").code == 0
    ran = tinybert("convert", tmp_path / "a", tmp_path / "b")
    assert ran.out.endswith("each equal to its source\n")
    with SafetensorsFile(tmp_path / "b" / "model.safetensors") as file:
        assert {file.info(name).dtype for name in file} == {"BF16"}
    assert tinybert("diff", tmp_path / "a", tmp_path / "b").code == 0


def test_the_dtype_that_a_config_states_is_kept_true(tinybert, model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"torch_dtype": "float32"}))
    tinybert("convert", model, tmp_path / "a", "--dtype", "bfloat16")
    assert json.loads((tmp_path / "a" / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_googles_config(tinybert, model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    del config["model_type"], config["architectures"]
    (model / "config.json").unlink()
    (model / "bert_config.json").write_text(json.dumps(config))
    out = tinybert("convert", model / "model.safetensors", tmp_path / "a").out
    assert "from bert_config.json" in out
    written = json.loads((tmp_path / "a" / "config.json").read_text())
    assert written == {"model_type": "bert", **config}
    assert isinstance(tb.AutoModel.from_pretrained(tmp_path / "a"), tb.BertModel)


def test_the_templates_of_conversations_come_along(tinybert, model: Path, tmp_path: Path) -> None:
    """As transformers writes them: one in a file, others in a folder."""
    (model / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]))
    (model / "tokenizer_config.json").unlink()
    theirs = transformers.BertTokenizer.from_pretrained(model)
    theirs.chat_template = {"default": "{{ messages }}", "tool_use": "{{ tools }}"}
    theirs.save_pretrained(model)
    ran = tinybert("convert", model, tmp_path / "new")
    assert "  additional_chat_templates/tool_use.jinja " in ran.out
    assert tb.AutoTokenizer.from_pretrained(tmp_path / "new").chat_template == theirs.chat_template


def test_weights_alone(tinybert, tmp_path: Path) -> None:
    save_file({"nan": np.array([np.nan, 1.0]), "ids": np.arange(3)}, tmp_path / "w.safetensors")
    ran = tinybert("convert", tmp_path / "w.safetensors", tmp_path / "a", "--dtype", "float32")
    assert ran.code == 0
    assert "  no config.json: SOURCE has none; add one to load the model\n" in ran.out
    loaded = load_checkpoint(tmp_path / "a")
    np.testing.assert_array_equal(loaded["nan"], np.array([np.nan, 1], np.float32))
    assert loaded["ids"].dtype == np.int64
    assert set(contents(tmp_path / "a")) == {"model.safetensors"}


# --- what "verified" means -----------------------------------------------------------------------


def change_config(model: Path, **options: object) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | options))


def test_verified_means_that_the_model_was_found(tinybert, model: Path, tmp_path: Path) -> None:
    ran = tinybert("convert", model, tmp_path / "a")
    assert "\n  all weights of BertForMaskedLM were found\nverified: " in ran.out
    cases = {
        "BertForMaskedLM lacks 2 weights: cls.predictions.bias, cls": {
            "tensor": "cls.predictions.bias"
        },
        "the config does not fit the weights": {"hidden_size": 18},
        "architectures must be a list of one of Bert": {"architectures": ["add_adapters"]},
        "model_type 'llama' is unknown": {"model_type": "llama"},
        "BertForPreTraining lacks 4 weights: bert.pooler.dense.bias": {
            "architectures": ["BertForPreTraining"]
        },
    }
    for number, (message, change) in enumerate(cases.items()):
        folder = tmp_path / f"source{number}"
        tb.BertForMaskedLM(tb.BertConfig(**SMALL)).save_pretrained(folder)
        if "tensor" in change:
            kept = {k: v for k, v in load_checkpoint(folder).items() if k != change["tensor"]}
            save_file({name: array.copy() for name, array in kept.items()}, folder / "w")
            os.replace(folder / "w", folder / "model.safetensors")
        else:
            change_config(folder, **change)
        result = json.loads(tinybert("convert", folder, tmp_path / f"b{number}", "--json").out)
        assert message in result["model"]
        assert result["verified"] is False
        assert "\ncopied: " in tinybert("convert", folder, tmp_path / f"c{number}").out


def test_weights_of_another_model_are_refused(refused, model: Path, tmp_path: Path) -> None:
    tensors = {f"{name}_": array.copy() for name, array in load_checkpoint(model).items()}
    save_file(tensors, model / "model.safetensors")
    message = refused("convert", model, tmp_path / "a")
    assert "only 0 of the 37 tensors of BertForMaskedLM were found" in message
    change_config(model, num_hidden_layers=10**9)
    assert "num_hidden_layers is 1000000000, but there are" in refused(
        "convert", model, tmp_path / "a"
    )
    assert os.listdir(tmp_path) == ["model"]


def test_quantised_weights_become_numbers(tinybert, model: Path, tmp_path: Path) -> None:
    tensors = {name: array.copy() for name, array in load_checkpoint(model).items()}
    name = "bert.encoder.layer.1.output.dense.weight"
    scale = np.linspace(0.1, 0.2, 12, dtype=np.float32)[:, None]
    codes = np.rint(tensors[name] / scale).astype(np.int8)
    save_file({**tensors, name: codes, f"{name}_scale": scale}, model / "model.safetensors")
    change_config(model, dtype="bfloat16", quantization_config={"config_groups": {}})
    ran = tinybert("convert", model, tmp_path / "a")
    assert "(safetensors, quantised)" in ran.out.replace("\n", " ")
    assert "\nverified: " in ran.out
    np.testing.assert_array_equal(load_checkpoint(tmp_path / "a")[name], codes * scale)
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "float32"
    change_config(model, quantization_config={"quant_method": "awq"})
    assert tinybert("convert", model, tmp_path / "b").code == 2


def test_files_of_sentence_transformers_come_along(tinybert, model: Path, tmp_path: Path) -> None:
    contents = {
        "modules.json": [{"type": "st.Pooling", "path": "1_Pooling"}],
        "1_Pooling/config.json": {"pooling_mode_cls_token": True},
        "2_Normalize/config.json": {},
        "sentence_bert_config.json": {"max_seq_length": 7},
        "config_sentence_transformers.json": {"prompts": {}},
    }
    for name, content in contents.items():
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text(json.dumps(content))
    ran = tinybert("convert", model, tmp_path / "new")
    for name, content in contents.items():
        assert json.loads((tmp_path / "new" / name).read_text()) == content
        assert f"  {name} " in ran.out


# --- what is there already -----------------------------------------------------------------------


def test_force_replaces_the_model_and_nothing_else(
    tinybert, refused, model: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    tinybert("convert", model, target, "--max-shard-size", "3kB")
    (target / "notes.md").write_text("mine")
    (target / "deeper").mkdir()
    before = {name for name in os.listdir(target) if not name.startswith("model")}
    assert "is not empty: use --force" in refused("convert", model, target)
    assert tinybert("convert", model, target, "--force").code == 0
    assert set(os.listdir(target)) == before | {"model.safetensors"}
    assert (target / "notes.md").read_text() == "mine"
    assert_same(model, target)
    assert sorted(os.listdir(tmp_path)) == ["model", "target"]


def test_an_empty_folder_needs_no_force(tinybert, model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert tinybert("convert", model, tmp_path / "empty").code == 0
    assert_same(model, tmp_path / "empty")


def test_never_onto_itself(refused, model: Path, tmp_path: Path) -> None:
    before = contents(model)
    (tmp_path / "link").symlink_to(model)
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / "weights"
    file.symlink_to(model / "model.safetensors")
    for source in (model, model / "model.safetensors", tmp_path / "link", file):
        for target in (model, tmp_path / "link", f"{tmp_path}/x/../model", tmp_path):
            assert "contains SOURCE" in refused("convert", source, target, "--force")
    assert contents(model) == before


def test_it_refuses(refused, model: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert "'nowhere' is neither a file or folder nor a known model name" in refused(
        "convert", "nowhere", target
    )
    assert "exists and is not a folder" in refused("convert", model, model / "vocab.txt" / ".")
    assert "convert: --max-shard-size must be" in refused(
        "convert", model, target, "--max-shard-size", "big"
    )
    assert "invalid choice: 'int4'" in refused("convert", model, target, "--dtype", "int4")
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:-1])
    assert "is truncated" in refused("convert", model, target)
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_memory_is_that_of_two_tensors(tinybert, tmp_path: Path, dtype: str | None) -> None:
    size = 3 << 19  # 6 MB of float32
    rng = np.random.default_rng(0)
    tensors = {f"w{i}": rng.random(size, np.float32) for i in range(8)}
    save_file(tensors, tmp_path / "w.safetensors")
    del tensors
    tracemalloc.start()
    options = () if dtype is None else ("--dtype", dtype)
    ran = tinybert("convert", tmp_path / "w.safetensors", tmp_path / "a", *options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ran.code == 0
    assert peak < 2 * 4 * size + 10e6  # the source's, what was written; blocks of both


# --- what goes wrong on the way ------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("moment", ["writing", "checking", "moving"])
def test_an_interruption_leaves_things_as_they_were(
    tinybert, monkeypatch, model: Path, tmp_path: Path, moment: str, force: bool
) -> None:
    target = tmp_path / "target"
    if force:
        tinybert("convert", model, target, "--dtype", "float16")
    before = contents(target) if force else None

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    if moment == "writing":
        monkeypatch.setattr(SafetensorsFile, "read_into", interrupt)
    elif moment == "checking":
        monkeypatch.setattr(convert, "difference", interrupt)
    else:
        monkeypatch.setattr(os, "rename", interrupt)
    ran = tinybert("convert", model, target, "--force")
    assert (ran.code, ran.out, ran.err) == (130, "", "interrupted\n")
    assert sorted(os.listdir(tmp_path)) == (["model", "target"] if force else ["model"])
    assert before is None or contents(target) == before


def test_an_interruption_after_the_commit_leaves_the_new_model(
    tinybert, monkeypatch, model: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    tinybert("convert", model, target, "--dtype", "float16", "--max-shard-size", "3kB")
    (target / "notes.md").write_text("mine")
    replace, calls = os.replace, []

    def last(old: object, new: object) -> None:
        calls.append(new)
        if Path(str(new)) == target / "config.json":
            raise KeyboardInterrupt
        replace(old, new)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", last)
        assert tinybert("convert", model, target, "--force").code == 130
    assert (target / ".saved").is_dir()
    assert_same(model, target)  # loading finishes what was interrupted
    assert not (target / ".saved").exists()
    assert (target / "notes.md").read_text() == "mine"
    assert not [name for name in os.listdir(target) if "-of-" in name]


def test_force_keeps_modes_and_replaces_the_tokenizer_as_a_whole(
    tinybert, model: Path, tmp_path: Path
) -> None:
    """A vocabulary or a template of the old model would be used with the new one."""
    target = tmp_path / "target"
    tinybert("convert", model, target)
    for name in ("chat_template.jinja", "additional_chat_templates/old.jinja", "tokenizer.json"):
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_text("old")
    target.chmod(0o700)
    (target / "model.safetensors").chmod(0o600)
    (target / "config.json").chmod(0o640)
    assert tinybert("convert", model, target, "--force", "--max-shard-size", "3kB").code == 0
    assert {file.name for file in target.rglob("*.jinja")} == set()
    assert not (target / "tokenizer.json").exists()
    modes = {p.name: p.stat().st_mode & 0o777 for p in [target, *target.iterdir()]}
    assert modes["target"] == 0o700
    assert modes["config.json"] == 0o640
    shards = {mode for name, mode in modes.items() if name.endswith(".safetensors")}
    assert shards == {0o600}


def test_what_does_not_fit_into_float16_is_an_error(refused, tmp_path: Path) -> None:
    save_file({"large": np.array([1e5], np.float32)}, tmp_path / "w.safetensors")
    message = refused("convert", tmp_path / "w.safetensors", tmp_path / "a", "--dtype", "float16")
    assert "tensor 'large' has values beyond the range of 16-bit floats" in message
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_a_disk_that_lies_is_found_out(refused, monkeypatch, model: Path, tmp_path: Path) -> None:
    save = convert.save_sharded

    def flip_a_bit(tensors: object, folder: Path, *options: object, **more: object) -> None:
        save(tensors, folder, *options, **more)
        raw = bytearray((folder / "model.safetensors").read_bytes())
        raw[-1] ^= 1
        (folder / "model.safetensors").write_bytes(raw)

    monkeypatch.setattr(convert, "save_sharded", flip_a_bit)
    assert "differs from what was written" in refused("convert", model, tmp_path / "a")
    assert os.listdir(tmp_path) == ["model"]


def test_a_progress_bar_where_somebody_watches(tinybert, monkeypatch, model, tmp_path) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    err = tinybert("convert", model, tmp_path / "a").err
    assert "writing: " in err
    assert "verifying: " in err
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert tinybert("convert", model, tmp_path / "b").err == ""


def test_checkpoint_errors_name_the_tensor(model: Path, tmp_path: Path) -> None:
    with SafetensorsFile(model / "model.safetensors") as file:
        save_file(
            {**file, "cls.predictions.bias": file["cls.predictions.bias"] + 1}, tmp_path / "w"
        )
        with (
            SafetensorsFile(tmp_path / "w") as other,
            pytest.raises(CheckpointError, match=r"tensor 'cls\.predictions\.bias'"),
        ):
            convert._verify(file, other, None, tmp_path)
