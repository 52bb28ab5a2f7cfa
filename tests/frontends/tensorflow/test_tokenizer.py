"""TFBertTokenizer gives the ids of TensorFlow, and its words are cut as tensorflow-text does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.frontends.tensorflow import texts
from tests.frontends.tensorflow.test_golden import build
from tinybert.frontends.tensorflow.unicode import WordCutter

with np.load(Path(__file__).with_name("tokenizer.npz")) as _stored:
    GOLDEN: dict[str, np.ndarray] = dict(_stored)


def tokenizer(lower: bool, fast: bool = True, **options: Any) -> Any:
    return tinybert.TFBertTokenizer(
        texts.VOCABULARY, do_lower_case=lower, use_fast_bert_tokenizer=fast, **options
    )


@pytest.mark.parametrize("name", texts.CALLS)
def test_a_call_gives_what_tensorflow_gives(name: str) -> None:
    found = texts.CALLS[name](tokenizer)
    wanted = {k: v for k, v in GOLDEN.items() if k.startswith(f"{name}/")}
    assert [f"{name}/{key}" for key in found] == list(wanted)
    for key, value in found.items():
        np.testing.assert_array_equal(np.asarray(value), wanted[f"{name}/{key}"], err_msg=key)


def compare(blocks: Iterable[int]) -> None:
    codes = texts.code_points()
    cutters = [(kind, tokenizer(*kind), WordCutter(*kind)) for kind in texts.KINDS]
    for block in blocks:
        inside = codes[block * texts.BLOCK : (block + 1) * texts.BLOCK]
        for (lower, fast), cut, cutter in cutters:
            rows = ["".join(map(chr, cut._ids_of(text))) for text in texts.between(inside)]
            wanted = GOLDEN[f"between {lower} {fast}"][block]
            assert texts.checksums(rows)[0] == wanted, (lower, fast, hex(inside[0]))
            if lower and fast:
                images = [cutter._decomposed(cutter._folded(chr(code))) for code in inside]
                control = cutter._tables["control"]
                spaced = ["".join(" " if c in control else c for c in image) for image in images]
                assert texts.checksums(spaced)[0] == GOLDEN["images"][block], hex(inside[0])


def test_characters_are_changed_as_tensorflow_changes_them() -> None:
    compare([*range(0x34), *range(0x34, 0x130, 21)])


@pytest.mark.slow
def test_all_characters_are_changed_as_tensorflow_changes_them() -> None:
    compare(range(len(GOLDEN["images"])))


# --- construction ---------------------------------------------------------------------------------


def test_special_tokens() -> None:
    cut = tokenizer(True, cls_token_id=0)
    assert (cut.cls_token_id, cut.sep_token_id, cut.pad_token_id) == (0, 3, 0)
    with pytest.raises(ValueError, match=r"vocab_list lacks '\[SEP\]'; give sep_token_id"):
        tinybert.TFBertTokenizer(["[CLS]", "[UNK]", "[PAD]"], True)
    with pytest.raises(ValueError, match=r"lacks the unknown_token '\[UNK\]'"):
        tinybert.TFBertTokenizer(["[CLS]", "[SEP]", "[PAD]"], True)
    with pytest.raises((TypeError, ValueError), match="pad_token_id"):
        tokenizer(True, pad_token_id="[PAD]")
    with pytest.raises(TypeError, match=r"unknown options \['wrong'\]"):
        tokenizer(True, wrong=1)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("kind", ["BertTokenizer", "BertTokenizerFast"])
def test_from_another_tokenizer_and_from_files(tmp_path: Path, kind: str, lower: bool) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(texts.VOCABULARY) + "\n")
    options = {"do_lower_case": lower, "tokenizer_class": "BertTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(options))
    other = getattr(tinybert, kind).from_pretrained(tmp_path)
    saved = tmp_path / "saved"
    made = tinybert.TFBertTokenizer.from_tokenizer(other, max_length=6)
    made.save_pretrained(saved)
    loaded = [tinybert.TFBertTokenizer.from_pretrained(f, max_length=6) for f in (tmp_path, saved)]
    wanted = tokenizer(lower, max_length=6)
    for cut in (made, *loaded):
        assert cut.get_config() == wanted.get_config()
        for name, value in cut(texts.SENTENCES).items():
            np.testing.assert_array_equal(value.numpy(), wanted(texts.SENTENCES)[name].numpy())
    changed = tinybert.TFBertTokenizer.from_pretrained(
        saved, do_lower_case=not lower, pad_token_id=4
    )
    assert changed.get_config() == tokenizer(not lower, pad_token_id=4).get_config()


def test_a_folder_with_a_tokenizer_json_alone(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(texts.VOCABULARY) + "\n")
    tinybert.BertTokenizerFast.from_pretrained(tmp_path).save_pretrained(tmp_path / "json")
    (tmp_path / "json" / "vocab.txt").unlink(missing_ok=True)
    cut = tinybert.TFBertTokenizer.from_pretrained(tmp_path / "json")
    assert cut.get_config() == tokenizer(True).get_config()


def test_a_model_reads_texts_and_is_saved_with_its_tokenizer(tmp_path: Path) -> None:
    model = build("TFBertForSequenceClassification", vocab_size=len(texts.VOCABULARY))
    model.tokenizer = tokenizer(True)
    sentences = ["The cats sat.", "hello"]
    wanted = model(model.tokenizer(sentences)).logits.numpy()
    assert wanted.shape == (2, 3)
    model.save_pretrained(tmp_path)
    again = tinybert.TFBertForSequenceClassification.from_pretrained(tmp_path)
    found = again(again.tokenizer(sentences)).logits.numpy()
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        (["the cat"], {}, "text must be a list of texts or of pairs"),
        ([[["a", "b", "c"]]], {}, "text must be a list of texts or of pairs"),
        ([[["a", "b"]], ["c"]], {}, "text must be a list of texts, got"),
        ([["a"], [["b", "c"]]], {}, "text_pair must be a list of 1 texts"),
        (
            [["a"], ["b"]],
            {"max_length": 5},
            "max_length cannot be changed in a call with text_pair",
        ),
        ([["a"]], {"padding": True}, "padding must be one of 'longest', 'max_length'"),
        ([["a"]], {"max_length": 1}, "max_length must be"),
        ([[1, 2]], {}, "text must be str or bytes"),
    ],
)
def test_what_is_refused(args: Any, options: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        tokenizer(True)(*args, **options)


def test_pairs_need_three_special_tokens() -> None:
    cut = tokenizer(True, max_length=2)
    assert cut(["a b", ""])["input_ids"].tolist() == [[2, 3], [2, 3]]
    with pytest.raises(ValueError, match="max_length of pairs must be"):
        cut([["a", "b"]])


def test_no_texts() -> None:
    assert {name: x.shape for name, x in tokenizer(True)([]).items()} == {
        "input_ids": (0, 0),
        "attention_mask": (0, 0),
        "token_type_ids": (0, 0),
    }


def test_ids_with_gaps(tmp_path: Path) -> None:
    lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "a", "b"]
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n")
    tokenizer = tinybert.TFBertTokenizer.from_pretrained(tmp_path)
    assert tokenizer(["a b no token 5"])["input_ids"].tolist() == [[2, 6, 7, 1, 1, 1, 3]]
    tokenizer.save_pretrained(tmp_path)
    assert tinybert.BertTokenizer.from_pretrained(tmp_path)("a b")["input_ids"] == [2, 6, 7, 3]
