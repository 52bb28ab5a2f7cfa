"""What the class of a tokenizer says besides its tokenizer.json, against transformers."""

import json

import pytest
import transformers

from tests.tokenizer_json.json_oracle import changed, in_folder
from tests.tokenizers.make_classes import make
from tests.tokenizers.oracle import VOCAB
from tinybert import NemotronConfig, NemotronForCausalLM
from tinybert.tokenizers import (
    AutoTokenizer,
    BertTokenizer,
    BertTokenizerFast,
    MegaTokenizer,
    TokenizerJSON,
)
from tinybert.tokenizers.classes import FILE

CLASSES = (
    *("LlamaTokenizer", "GPT2TokenizerFast", "Qwen2Tokenizer", "T5TokenizerFast", "GemmaTokenizer"),
    *("DistilBertTokenizer", "CohereTokenizerFast", "XLNetTokenizer", "FNetTokenizer"),
    *("PreTrainedTokenizerFast", "ElectraTokenizer", "XLMRobertaTokenizer", "DebertaTokenizer"),
)
VOCABULARY = {
    token: i
    for i, token in enumerate(
        ["a", "b", "<unk>", "<s>", "</s>", "<pad>", "<mask>", "<bos>", "<eos>", "<|endoftext|>"]
    )
}


def content(**parts):
    """A tokenizer.json with the tokens that the classes need."""
    special = [{"id": i, "content": t, "special": True} for t, i in VOCABULARY.items() if i > 1]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    tokens = [{**flags, **token} for token in special]
    model = {"type": "BPE", "vocab": VOCABULARY, "merges": []}
    return changed(model=model, added_tokens=tokens, **{"normalizer": {"type": "NFC"}, **parts})


def assert_alike(ours, theirs):
    assert ours.padding_side == theirs.padding_side
    assert sorted(ours.model_input_names) == sorted(theirs.model_input_names)
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert len(ours) == len(theirs)
    for text, pair in (("a", None), ("ab", "b"), ("", None)):
        assert dict(ours(text, pair)) == dict(theirs(text, pair))
    if ours.pad_token is not None:
        assert dict(ours(["a", "aba"], padding=True)) == dict(theirs(["a", "aba"], padding=True))


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_in_the_configuration(name, tmp_path):
    folder = in_folder(tmp_path, content(), tokenizer_class=name)
    ours = AutoTokenizer.from_pretrained(folder)
    assert type(ours) is TokenizerJSON
    assert_alike(ours, transformers.AutoTokenizer.from_pretrained(folder))
    ours.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert dict(again(["a", "ab"])) == dict(ours(["a", "ab"]))
    assert again.padding_side == ours.padding_side


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "gemma", "distilbert", "nemotron"])
def test_a_model_type_alone(kind, tmp_path):
    folder = in_folder(tmp_path, content())
    (folder / "tokenizer_config.json").unlink(missing_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    ours = AutoTokenizer.from_pretrained(folder)
    assert_alike(ours, transformers.AutoTokenizer.from_pretrained(folder))


@pytest.mark.parametrize("option", ["given", "in the configuration", "in the file"])
def test_what_the_files_and_the_caller_say_comes_first(option, tmp_path):
    told = {"padding_side": "right", "model_input_names": ["input_ids", "token_type_ids"]}
    padding = {"direction": "Right", "pad_token": "<pad>"}
    padding |= {"strategy": "BatchLongest", "pad_id": 5, "pad_type_id": 0}
    padding |= {"pad_to_multiple_of": None}
    parts = {"padding": padding} if option == "in the file" else {}
    config = told if option == "in the configuration" else {}
    folder = in_folder(tmp_path, content(**parts), tokenizer_class="LlamaTokenizer", **config)
    ours = AutoTokenizer.from_pretrained(folder, **(told if option == "given" else {}))
    assert ours.padding_side == "right"
    types = option != "in the file"
    assert ("token_type_ids" in ours("a")) == types


def test_its_result_is_what_the_model_takes(tmp_path):
    folder = in_folder(tmp_path, content(), tokenizer_class="LlamaTokenizer")
    config = NemotronConfig(
        vocab_size=len(VOCABULARY), hidden_size=8, intermediate_size=12, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=4,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(folder)
    logits = NemotronForCausalLM(config)(**tokenizer("ab", return_tensors="tb")).logits
    assert logits.shape == (1, 3, len(VOCABULARY))


def test_the_table_is_that_of_transformers():
    assert json.loads(FILE.read_text(encoding="utf-8")) == make()


# A class of BERT or RoBERTa with the file of another tokenizer -----------------------------------

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
UNIGRAM = {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.0]], "unk_id": 0}


@pytest.mark.parametrize("name", ["BertTokenizer", "BertTokenizerFast"])
def test_a_bert_with_another_model(name, tmp_path):
    model = UNIGRAM | {"vocab": [*UNIGRAM["vocab"], ["[UNK]", -9.0]]}
    folder = in_folder(
        tmp_path,
        changed(model=model, added_tokens=[], normalizer={"type": "NFC"}),
        tokenizer_class=name,
    )
    ours = AutoTokenizer.from_pretrained(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert (
        type(ours) is type(AutoTokenizer.from_pretrained(folder, use_fast=False)) is TokenizerJSON
    )
    assert dict(ours("aab a")) == dict(theirs("aab a"))
    assert ours.special_tokens_map == theirs.special_tokens_map
    with pytest.raises(ValueError, match="model must be a WordPiece, as BERT has it"):
        BertTokenizerFast.from_pretrained(folder)


def test_a_bert_with_another_pre_tokenizer(tmp_path):
    BertTokenizerFast(VOCAB).save_pretrained(tmp_path)
    file = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    assert type(AutoTokenizer.from_pretrained(tmp_path)) is BertTokenizerFast
    file["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    ours = AutoTokenizer.from_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert type(ours) is TokenizerJSON
    text = "the well-known man's."
    assert dict(ours(text, text)) == dict(theirs(text, text))
    assert ours.tokenize(text) != BertTokenizerFast(VOCAB).tokenize(text)
    slow = AutoTokenizer.from_pretrained(tmp_path, use_fast=False)
    assert type(slow) is BertTokenizer


@pytest.mark.parametrize(
    "part",
    [
        {"model": UNIGRAM},
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": {**BYTE_LEVEL, "use_regex": False}},
        {"post_processor": None},
        {"decoder": None},
    ],
    ids=lambda part: next(iter(part)),
)
def test_a_roberta_with_another_part(part, tmp_path):
    processor = {"type": "RobertaProcessing", "sep": ["</s>", 4], "cls": ["<s>", 3]}
    processor |= {"trim_offsets": True, "add_prefix_space": False}
    own = {
        "normalizer": None,
        "pre_tokenizer": BYTE_LEVEL,
        "decoder": BYTE_LEVEL,
        "post_processor": processor,
    }
    folder = in_folder(tmp_path, content(**own), tokenizer_class="RobertaTokenizer")
    assert type(AutoTokenizer.from_pretrained(folder)) is MegaTokenizer
    file = {**content(**own), **part}
    if "model" in part:
        tokens = [[token, -float(i)] for token, i in VOCABULARY.items()]
        file["model"] = UNIGRAM | {"vocab": tokens, "unk_id": 2}
    (folder / "tokenizer.json").write_text(json.dumps(file))
    ours = AutoTokenizer.from_pretrained(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert type(ours) is TokenizerJSON
    assert dict(ours("ab A a")) == dict(theirs("ab A a"))
    with pytest.raises(ValueError, match=f"{next(iter(part))}.* must be"):
        MegaTokenizer.from_pretrained(folder)
