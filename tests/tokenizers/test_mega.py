"""MegaTokenizer against RobertaTokenizerFast: texts, calls, files, and what it refuses."""

import functools
import json
import random
from collections import Counter

import pytest
import transformers
from hypothesis import HealthCheck, assume, given, seed, settings
from transformers import AddedToken as OriginalToken

from tests.tokenizers.corpora import CORPORA
from tests.tokenizers.fuzz import Call, calls, compare
from tests.tokenizers.oracle import random_text
from tinybert.text.train_bpe import train_bpe
from tinybert.tokenizers import AddedToken, AutoTokenizer, MegaTokenizer
from tinybert.tokenizers.bpe_files import save_bpe

SETTINGS = {
    "default": {},
    "space before": {"add_prefix_space": True},
    "spaces in offsets": {"trim_offsets": False},
    "both": {"add_prefix_space": True, "trim_offsets": False},
}
SNIPPETS = (
    *("<mask>", " <mask>", "<s>", "</s>", "<pad>", "<unk>", "<MASK>", "'s", "'ll", "I'LL", "don't"),
    *("  ", "   ", "\t\t", "\n\n ", " 123", "½", "Ⅷ", "x" * 300, "hello world"),
)
ADDED = [
    ("<x>", {"lstrip": True, "rstrip": True}),
    ("New", {"single_word": True}),
    ("wo", {"normalized": False}),
    ("É", {"special": True}),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """vocab.json and merges.txt, learnt from all corpora."""
    folder = tmp_path_factory.mktemp("mega")
    vocab, merges = train_bpe([text for texts in CORPORA.values() for text in texts], 2000)
    save_bpe(vocab, merges, folder / "vocab.json", folder / "merges.txt")
    return folder


def both(folder, slow=False, **options):
    kind = transformers.RobertaTokenizer if slow else transformers.RobertaTokenizerFast
    paths = [str(folder / name) for name in ("vocab.json", "merges.txt")]
    return kind(*paths, **options), MegaTokenizer(*paths, **options)


def texts(count, number):
    rng = random.Random(number)
    for _ in range(count):
        parts = (rng.choice(SNIPPETS) if rng.random() < 0.4 else random_text(rng) for _ in "123")
        yield "".join(parts)


def fuzz(folder, count, number):
    for name, options in SETTINGS.items():
        theirs, ours = both(folder, **options)
        for tokenizer, kind in ((theirs, OriginalToken), (ours, AddedToken)):
            if number % 2:
                tokenizer.add_tokens([kind(content, **flags) for content, flags in ADDED])
        for text in texts(count // len(SETTINGS), number):
            expected = theirs(text, return_offsets_mapping=True)
            found = ours(text, return_offsets_mapping=True)
            assert dict(found) == dict(expected), (name, text)
            assert found.tokens() == expected.tokens(), (name, text)
            assert found.word_ids() == expected.word_ids(), (name, text)
            ids = expected.input_ids
            for row in (ids, ids[2:-2]):  # perhaps from the middle of a character
                for skip in (False, True):
                    assert ours.decode(row, skip) == theirs.decode(row, skip), (name, text)


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_texts(files, number):
    fuzz(files, 1000, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(2, 12))
def test_many_texts(files, number):
    fuzz(files, 2000, number)


def test_the_slow_class_gives_the_same_ids(files):
    """Away from characters that are newer than one of both, and from added tokens."""
    theirs, ours = both(files, slow=True)
    for texts_ in CORPORA.values():
        for text in texts_[:300]:
            if all(ord(char) < 0x300 or char.isalpha() for char in text):
                assert ours(text).input_ids == theirs(text)["input_ids"], text
    assert ours("A <mask> b.").input_ids == theirs("A <mask> b.")["input_ids"]


@functools.cache
def pair_for(folder, prefix, added):
    theirs, ours = both(folder, add_prefix_space=prefix)
    if added != "none":
        for tokenizer, kind in ((theirs, OriginalToken), (ours, AddedToken)):
            tokenizer.add_tokens([kind(content, **flags) for content, flags in ADDED])
    return theirs, ours


def beyond_compare(arguments):
    """Whether a call may show what `test_types_of_overflow_without_special_tokens` does."""
    special = arguments.get("add_special_tokens", True)
    return not special and arguments.get("return_overflowing_tokens", False)


def test_types_of_overflow_without_special_tokens(files):
    """The original forgets to set the types of what overflows to 0, here they are."""
    theirs, ours = both(files)
    options = {"max_length": 4, "truncation": True, "add_special_tokens": False}
    options |= {"return_overflowing_tokens": True, "return_token_type_ids": True}
    expected, found = (t("a b c d e", "f g h i j", **options) for t in (theirs, ours))
    assert found.input_ids == expected.input_ids
    assert not any(map(any, found.token_type_ids))
    assert any(map(any, expected.token_type_ids))


def fuzz_calls(folder, count, number):
    verdicts = Counter()

    @seed(number)
    @settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(calls(True))
    def run(call: Call):
        assume(not beyond_compare(call.arguments))
        theirs, ours = pair_for(folder, bool(call.built), call.added)
        verdicts[compare(call, True, theirs, ours)] += 1

    run()
    assert verdicts["equal"] > 0.4 * count, verdicts
    return verdicts


def test_calls(files, capfd):
    fuzz_calls(files, 250, 0)
    capfd.readouterr()  # what Rust says of its panics


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 6))
def test_many_calls(files, number, capfd):
    verdicts = fuzz_calls(files, 2500, number)
    capfd.readouterr()
    with capfd.disabled():
        print(f"\nMega {number}: {dict(verdicts)}")


def test_worked_example(files):
    tokenizer = MegaTokenizer.from_pretrained(files)
    row = tokenizer("The <mask> of the", " world", return_offsets_mapping=True)
    assert row.tokens() == [
        *("<s>", "The", " <mask>", "Ġof", "Ġthe", "</s>"),
        *("</s>", "Ġw", "or", "ld", "</s>"),
    ]
    assert list(row) == ["input_ids", "attention_mask", "offset_mapping"]
    assert row.offset_mapping[:6] == [(0, 0), (0, 3), (4, 10), (11, 13), (14, 17), (0, 0)]
    assert row.word_ids() == [None, 0, 1, 2, 3, None, None, 0, 0, 0, None]
    assert row.char_to_token(12) == 3
    assert row.char_to_token(3) is None
    assert row.word_to_tokens(0, sequence_index=1) == (7, 10)
    assert tokenizer.decode(row.input_ids) == "<s>The<mask> of the</s></s> world</s>"
    assert tokenizer.mask_token_id == 4
    assert tokenizer.decode([tokenizer.vocab["Ã"]]) == "\ufffd"


def test_errors_of_decoding(files):
    tokenizer = MegaTokenizer.from_pretrained(files, errors="ignore")
    assert tokenizer.decode([tokenizer.vocab["Ã"], tokenizer.vocab["a"]]) == "a"


def test_a_byte_that_the_vocabulary_lacks_is_unknown(tmp_path):
    vocab = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a"])}
    save_bpe(vocab, [], tmp_path / "vocab.json", tmp_path / "merges.txt")
    theirs, ours = both(tmp_path, slow=True)
    row = ours("aé", return_offsets_mapping=True)
    assert row.input_ids == theirs("aé")["input_ids"] == [0, 5, 3, 3, 2]
    assert row.offset_mapping == [(0, 0), (0, 1), (1, 2), (1, 2), (0, 0)]


# Files --------------------------------------------------------------------------------------


TEXT = "Hello <mask> <x>Éé don't\n\n ½ 世界!"


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_files_pass_both_ways(files, options, tmp_path):
    theirs, ours = both(files, model_max_length=77, **options)
    for tokenizer, kind in ((theirs, OriginalToken), (ours, AddedToken)):
        tokenizer.add_tokens([kind(content, **flags) for content, flags in ADDED])
        tokenizer.add_special_tokens({"additional_special_tokens": ["<e>"]})
        tokenizer.save_pretrained(tmp_path / kind.__module__.split(".")[0])
    ids = theirs(TEXT)["input_ids"]
    for name in ("tokenizers", "tinybert"):
        folder = tmp_path / name
        for kind in (transformers.RobertaTokenizerFast, MegaTokenizer, AutoTokenizer):
            loaded = kind.from_pretrained(folder)
            assert loaded(TEXT)["input_ids"] == ids
            assert len(loaded) == len(theirs)
            assert loaded.add_prefix_space == options.get("add_prefix_space", False)
            assert loaded.all_special_tokens == theirs.all_special_tokens
            assert loaded.model_max_length == 77
        transformers.RobertaTokenizer.from_pretrained(folder)
    assert type(AutoTokenizer.from_pretrained(folder)) is MegaTokenizer


def test_tokenizer_json_is_enough(files, tmp_path):
    ours = MegaTokenizer.from_pretrained(files, add_prefix_space=True)
    ours.add_tokens("Éé")
    ours.save_pretrained(tmp_path, legacy_format=False)
    assert not (tmp_path / "vocab.json").exists()
    again = MegaTokenizer.from_pretrained(tmp_path)
    assert again(TEXT).input_ids == ours(TEXT).input_ids
    alone = MegaTokenizer.from_pretrained(tmp_path / "tokenizer.json", add_prefix_space=True)
    assert (alone.vocab, alone.add_prefix_space) == (ours.vocab, True)
    loaded = transformers.RobertaTokenizerFast.from_pretrained(tmp_path)
    assert loaded(TEXT)["input_ids"] == ours(TEXT).input_ids


def test_a_model_type_is_enough(files):
    (files / "config.json").write_text('{"model_type": "mega"}')
    assert type(AutoTokenizer.from_pretrained(files)) is MegaTokenizer
    (files / "config.json").unlink()


def test_what_is_refused(files, tmp_path):
    with pytest.raises(ValueError, match="vocab_file and merges_file"):
        MegaTokenizer()
    with pytest.raises(ValueError, match="no file"):
        MegaTokenizer("missing.json", "missing.txt")
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(ValueError, match=r"vocab\.json and merges\.txt"):
        MegaTokenizer.from_pretrained(tmp_path)
    with pytest.raises(TypeError, match="errors"):
        MegaTokenizer.from_pretrained(files, errors="no such handler")
    with pytest.raises(ValueError, match="add_prefix_space=True"):
        MegaTokenizer.from_pretrained(files)(["a", "b"], is_split_into_words=True)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece"}}))
    with pytest.raises(ValueError, match="model must be a BPE, as RoBERTa has it"):
        MegaTokenizer(tokenizer_file=tmp_path / "tokenizer.json")
