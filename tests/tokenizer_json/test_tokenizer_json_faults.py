"""A tokenizer.json with faults: what is refused, when, and with which error; wrong ids."""

import json

import pytest
import transformers
from tokenizers import Tokenizer, pre_tokenizers

from tests.tokenizer_json.json_oracle import changed, in_folder, load
from tinybert.tokenizers import AddedToken, AutoTokenizer, TokenizerJSON

FLAGS = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
A, B = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
TEMPLATE = {"type": "TemplateProcessing", "single": [A], "pair": [A, B], "special_tokens": {}}
WORD_PIECE = {
    "type": "WordPiece",
    "vocab": {"a": 0, "b": 1},
    "unk_token": "a",
    "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 100,
}


def bpe(**fields):
    return {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [], **fields}}


def added(*tokens):
    return {"added_tokens": [{**FLAGS, **token} for token in tokens]}


FAULTS = [
    (added({"content": "x"}), r"added_tokens\[0\]\.id must be an integer >= 0, got None"),
    (added({"id": 2, "content": "x"}, {"id": 3}), r"added_tokens\[1\]\.content must be a string"),
    (added({"id": -1, "content": "x"}), r"added_tokens\[0\]\.id must be .* got -1"),
    (added({"id": 2**40, "content": "x"}), r"added_tokens\[0\]\.id must be at most 2147483647"),
    (added({"id": "2", "content": "x"}), r"added_tokens\[0\]\.id must be .* got '2'"),
    (added({"id": 2, "content": "x", "lstrip": 3}), r"added_tokens\[0\]\.lstrip must be true or"),
    ({"added_tokens": [3]}, r"added_tokens\[0\] must be an object, got 3"),
    ({"added_tokens": {"x": 2}}, "added_tokens must be a list of objects"),
    (bpe(vocab={"a": 0, "b": "x"}), r"model\.vocab .* but 'b' has 'x'"),
    (bpe(vocab={"a": 0, "b": -1}), r"model\.vocab .* but 'b' has -1"),
    (bpe(merges=["a"]), "model: merge 1 must be two tokens"),
    (bpe(merges=["a b"]), "model: merge 1, 'a' 'b': 'ab' is not in the vocabulary"),
    ({"version": "2.0"}, r"version must be '1\.0', got '2\.0'"),
    ({"version": None}, r"version must be '1\.0', got None"),
    (
        {"post_processor": TEMPLATE | {"single": [{"Sequence": {"id": "A", "type_id": -1}}]}},
        r"post_processor\.single\[0\]\.Sequence\.type_id must be an integer >= 0, got -1",
    ),
    (
        {"model": WORD_PIECE | {"max_input_chars_per_word": -1}},
        r"model\.max_input_chars_per_word must be an integer >= 0, got -1",
    ),
]


@pytest.mark.parametrize(("parts", "message"), FAULTS, ids=lambda value: str(value)[:50])
def test_what_the_library_refuses_too(parts, message, tmp_path):
    path = in_folder(tmp_path, changed(**parts)) / "tokenizer.json"
    with pytest.raises(ValueError, match=message) as error:
        TokenizerJSON(path)
    assert str(path) in str(error.value)
    with pytest.raises(Exception, match="line 1"):
        Tokenizer.from_file(str(path))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            added({"id": 1, "content": "<x>"}),
            "added_tokens: '<x>' has the id 1, which 'b' has in the vocabulary",
        ),
        (
            added({"id": 2, "content": "<x>"}, {"id": 2, "content": "<y>"}),
            r"added_tokens\[1\]\.id must be unique, but '<x>' and '<y>' both have 2",
        ),
        (bpe(vocab={"a": 0, "b": 0}), r"model\.vocab .* but 'a' and 'b' both have 0"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_ids_that_contradict_each_other(parts, message, tmp_path):
    path = in_folder(tmp_path, changed(**parts)) / "tokenizer.json"
    with pytest.raises(ValueError, match=message) as error:
        TokenizerJSON(path)
    assert str(path) in str(error.value)


def test_a_text_that_grows_without_end(tmp_path):
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 200}
    chain = {"type": "Sequence", "normalizers": [step] * 9}
    tokenizer = TokenizerJSON.from_pretrained(in_folder(tmp_path, changed(normalizer=chain)))
    with pytest.raises(
        ValueError, match="parts of the file make a text more than 64 times as long"
    ):
        tokenizer("a b a")


# What matters only when it is needed ---------------------------------------------------------


@pytest.mark.parametrize("fuse_unk", [False, True])
@pytest.mark.parametrize("kind", ["BPE", "WordPiece", "WordLevel"])
def test_an_unknown_token_that_is_not_in_the_vocabulary(kind, fuse_unk, tmp_path):
    models = {
        "BPE": bpe(unk_token="?", fuse_unk=fuse_unk)["model"],
        "WordPiece": WORD_PIECE | {"unk_token": "?"},
        "WordLevel": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "?"},
    }
    path = tmp_path / "tokenizer.json"
    theirs, ours = load(json.dumps(changed(model=models[kind])), path)
    assert ours("a").input_ids == theirs.encode("a").ids == [0]
    with pytest.raises(ValueError, match=r"'x' is unknown, and unk_token '\?' is not in") as error:
        ours("x")
    assert str(path) in str(error.value)
    with pytest.raises(Exception, match=r"not found in|Missing"):
        theirs.encode("x")


def test_unknown_without_an_unknown_token(tmp_path):
    model = {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": None}
    tokenizer = TokenizerJSON.from_pretrained(in_folder(tmp_path, changed(model=model)))
    with pytest.raises(ValueError, match="'x' is unknown"):
        tokenizer("ax")
    with pytest.raises(Exception, match="unk_id"):
        Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("ax")


@pytest.mark.parametrize("pair", [[], [A], [B, B]], ids=str)
def test_a_template_without_both_texts(pair, tmp_path):
    """It serves for single texts. Of a pair the library loses one, or both, and says nothing."""
    path = tmp_path / "tokenizer.json"
    value = changed(post_processor=TEMPLATE | {"pair": pair})
    theirs, ours = load(json.dumps(value), path)
    assert ours("ab").input_ids == theirs.encode("ab").ids == [0, 1]
    for call in (lambda: ours("a", "b"), lambda: ours.num_special_tokens_to_add(pair=True)):
        with pytest.raises(ValueError, match=r"post_processor\.pair must have both") as error:
            call()
        assert str(path) in str(error.value)


# Parts in a row, and added tokens ------------------------------------------------------------

ROBERTA = {"type": "RobertaProcessing", "sep": ["b", 1], "cls": ["a", 0]}
ROBERTA |= {"trim_offsets": True, "add_prefix_space": False}
BERT = {"type": "BertProcessing", "sep": ["b", 1], "cls": ["a", 0]}


@pytest.mark.parametrize("names", [("R", "R"), ("B", "B"), ("R", "B"), ("B", "R"), ("R", "T")])
def test_post_processors_in_a_row(names, tmp_path):
    """The second takes the row of the first as one text, as in the library."""
    known = {"R": ROBERTA, "B": BERT, "T": TEMPLATE}
    chain = {"type": "Sequence", "processors": [known[name] for name in names]}
    theirs, ours = load(json.dumps(changed(post_processor=chain)), tmp_path / "tokenizer.json")
    assert len(ours("a").input_ids) == (3 if "T" in names else 5)
    for texts in (("a", None), ("ab", "b"), ("", None), ("a", "aab")):
        row, expected = ours(*texts).encodings[0], theirs.encode(*texts)
        assert (row.ids, row.type_ids) == (expected.ids, expected.type_ids)
        assert (row.offsets, row.word_ids) == (expected.offsets, expected.word_ids)
        specials = [int(sequence is None) for sequence in row.sequence_ids]
        assert row.special_tokens_mask == specials  # the library forgets those of the first
        assert sum(specials) == len(row.ids) - len("".join(t or "" for t in texts))


def test_a_template_after_more_than_two_pieces(tmp_path):
    three = TEMPLATE | {"single": [A, A, A]}
    chain = {"type": "Sequence", "processors": [three, TEMPLATE]}
    tokenizer = TokenizerJSON(in_folder(tmp_path, changed(post_processor=chain)) / "tokenizer.json")
    with pytest.raises(ValueError, match=r"processors\[1\] takes one text or two, .* makes 3"):
        tokenizer("a")


def test_byte_level_decoding_keeps_added_tokens(tmp_path):
    """The library takes their letters for bytes: "Müller" becomes "M\ufffdller"."""
    names = ["Müller", "Ärzte", "naïve", "Ġa", "文"]
    bytes_ = pre_tokenizers.ByteLevel.alphabet()
    model = {"type": "BPE", "vocab": {c: i for i, c in enumerate(bytes_)}, "merges": []}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    tokens = added(*({"id": 300 + i, "content": name} for i, name in enumerate(names)))
    for decoder in (level, {"type": "Sequence", "decoders": [level, {"type": "Fuse"}]}):
        value = changed(model=model, pre_tokenizer=level, decoder=decoder, **tokens)
        theirs, ours = load(json.dumps(value), tmp_path / "tokenizer.json")
        text = "Frau Müller und die Ärzte, naïve Ġa 文 ü"
        assert ours.decode(ours(text).input_ids) == text
        assert "\ufffd" in theirs.decode(theirs.encode(text).ids)
        assert ours.decode(ours("für 1 ☃").input_ids) == "für 1 ☃"


def test_an_added_space_that_takes_its_neighbours(tmp_path):
    """A match in whitespace that the token before it has taken is none."""
    both = {"content": " ", "id": 2, "lstrip": True, "rstrip": True}
    theirs, ours = load(json.dumps(changed(**added(both))), tmp_path / "tokenizer.json")
    for text in ("    ", "a   b", " \n\t a"):
        assert ours(text).input_ids == theirs.encode(text).ids
        assert ours(text).encodings[0].offsets == theirs.encode(text).offsets
    assert ours("    ").input_ids == [2]
    one = {**both, "lstrip": False}
    theirs, ours = load(json.dumps(changed(**added(one))), tmp_path / "tokenizer.json")
    assert ours("    ").input_ids == [2]  # the library finds four tokens that overlap
    assert theirs.encode("    ").offsets == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_a_flag_that_is_null(tmp_path):
    folder = in_folder(tmp_path, changed(added_tokens=[]), clean_up_tokenization_spaces=None)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    ours = TokenizerJSON.from_pretrained(folder)
    assert ours.clean_up_tokenization_spaces is False
    ids = ours("ab").input_ids
    assert ours.decode(ids) == theirs.decode(ids)


# Ids of added tokens -------------------------------------------------------------------------

WORDS = {"<unk>": 0, "a": 1, "b": 2}
SPLIT = {"type": "WhitespaceSplit"}


@pytest.mark.parametrize("with_config", [False, True])
@pytest.mark.parametrize(
    ("vocab", "ids"),
    [
        (WORDS, {"<x>": 10}),
        (WORDS, {"<x>": 10, "<y>": 12}),
        (WORDS, {"<x>": 4, "<y>": 3}),
        (WORDS, {"b": 0, "<x>": 5, "a": 1}),
        (WORDS | {"c": 5}, {"<x>": 7}),
        (WORDS | {"c": 5}, {"c": 5, "<x>": 7}),
    ],
    ids=str,
)
def test_they_are_those_of_the_library(vocab, ids, with_config, tmp_path):
    """That of the vocabulary if it has the token, else the next one, whatever the file says."""
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
    tokens = added(*({"id": i, "content": content} for content, i in ids.items()))
    config = {}
    if with_config:
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        config["added_tokens_decoder"] = {
            str(token["id"]): token for token in tokens["added_tokens"]
        }
    folder = in_folder(tmp_path, changed(model=model, pre_tokenizer=SPLIT, **tokens), **config)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    ours = AutoTokenizer.from_pretrained(folder)
    text = "a <x> b <y> c"
    for _ in range(2):
        assert ours(text).input_ids == theirs(text)["input_ids"]
        assert ours.get_vocab() == theirs.get_vocab()
        assert len(ours) == len(theirs)
        ids_ = ours(text).input_ids
        assert ours.decode(ids_) == theirs.decode(ids_)
        ours.save_pretrained(tmp_path / "saved")
        ours = AutoTokenizer.from_pretrained(tmp_path / "saved")


def test_an_id_that_is_taken_is_passed_over(tmp_path):
    """Where those of the vocabulary have gaps; the library gives 5 to two tokens."""
    model = {"type": "WordLevel", "vocab": WORDS | {"c": 5}, "unk_token": "<unk>"}
    tokens = added(*({"id": 6 + i, "content": f"<{i}>"} for i in range(3)))
    value = changed(model=model, pre_tokenizer=SPLIT, **tokens)
    theirs, ours = load(json.dumps(value), tmp_path / "tokenizer.json")
    assert ours("<0> <1> <2> c").input_ids == [4, 6, 7, 5]
    assert theirs.encode("<0> <1> <2> c").ids == [4, 5, 6, 5]
    with pytest.raises(TypeError, match="added_tokens_decoder must be"):
        TokenizerJSON(tmp_path / "tokenizer.json", added_tokens_decoder={"1": AddedToken("x")})
