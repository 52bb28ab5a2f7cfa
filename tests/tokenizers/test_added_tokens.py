"""Added and special tokens against transformers: flags, roles, ids, and where they are found."""

import random

import pytest
from transformers import AddedToken as OriginalToken

from tests.tokenizers.oracle import VOCAB, Original, both, random_texts
from tinybert.tokenizers import AddedToken, BertTokenizer

CONTENTS = [
    "foo",
    "Foo",
    "foobar",
    "<x>",
    "[NEW]",
    "bar baz",
    "é",
    "ΑΣ",
    "中",
    "the",
    "x",
    ",",
    "##ing",
]
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def random_tokens(rng):
    """Strings and records of flags, each of which makes a token of either library."""
    tokens = []
    for content in rng.sample(CONTENTS, k=rng.randrange(1, 5)):
        flags = {flag: rng.random() < 0.5 for flag in FLAGS if rng.random() < 0.5}
        tokens.append((content, flags if rng.random() < 0.8 else None))
    return tokens


def made(kind, tokens):
    return [content if flags is None else kind(content, **flags) for content, flags in tokens]


def random_sentence(rng):
    words = [*CONTENTS, "FOO", "foobarbaz", "a", "running", "[SEP]", "αΣ", "É", "bar", "baz"]
    gaps = ["", " ", "  ", "\t", ",", " "]
    return "".join(rng.choice(words) + rng.choice(gaps) for _ in range(rng.randrange(1, 9)))


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("special", [True, False])
def test_random_added_tokens(lower, special):
    rng = random.Random(lower + 2 * special)
    for _ in range(20):
        theirs, ours = both(do_lower_case=lower)
        for _ in range(rng.randrange(1, 3)):
            tokens = random_tokens(rng)
            count = ours.add_tokens(made(AddedToken, tokens), special_tokens=special)
            assert count == theirs.add_tokens(made(OriginalToken, tokens), special_tokens=special)
        assert len(ours) == len(theirs)
        assert ours.get_added_vocab() == theirs.get_added_vocab()
        assert ours.all_special_tokens == theirs.all_special_tokens
        decoder = {i: t.__getstate__() for i, t in theirs.added_tokens_decoder.items()}
        assert {i: t.as_dict() for i, t in ours.added_tokens_decoder.items()} == decoder
        for _ in range(40):
            text = random_sentence(rng)
            assert ours.tokenize(text) == theirs.tokenize(text), (text, ours.added_tokens_decoder)
            ids = ours(text).input_ids
            assert ids == theirs(text)["input_ids"]
            for skip in (True, False):
                assert ours.decode(ids, skip) == theirs.decode(ids, skip), text


def test_flags_by_default():
    assert AddedToken("x") == AddedToken("x", normalized=True)
    assert AddedToken("x", special=True) == AddedToken("x", special=True, normalized=False)
    for options in ({}, {"special": True}, {"lstrip": True, "normalized": False}):
        assert AddedToken("x", **options).as_dict() == OriginalToken("x", **options).__getstate__()


def test_leftmost_and_longest_token_is_found():
    theirs, ours = both()
    for tokenizer in (theirs, ours):
        tokenizer.add_tokens(["abd", "b"])
    # "abd" begins like the text, so the original forgets that "b" is there; see
    # `split_added_tokens`.
    assert ours.split_added_tokens("abcd") == ["a", "b", "cd"]
    assert theirs.tokens_trie.split("abcd") == ["abcd"]


@pytest.mark.parametrize("replace", [True, False])
def test_special_tokens_by_role(replace):
    theirs, ours = both(additional_special_tokens=["<old>"])
    for roles in (
        {"pad_token": "<pad>", "additional_special_tokens": ["<e1>", "the"]},
        {"additional_special_tokens": ["<e2>", "<e1>"], "bos_token": "[CLS]"},
        {"additional_special_tokens": []},
    ):
        arguments = (roles, replace)
        assert ours.add_special_tokens(*arguments) == theirs.add_special_tokens(*arguments)
        assert ours.special_tokens_map == theirs.special_tokens_map
        assert ours.all_special_ids == theirs.all_special_ids
        assert ours.additional_special_tokens_ids == theirs.additional_special_tokens_ids
        text = "<E1>the<e1>[PAD] <pad><e2> old <old>"
        ids = ours.encode(text)
        assert ids == theirs.encode(text)
        assert ours.decode(ids) == theirs.decode(ids)
        assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(
            ids, skip_special_tokens=True
        )


def test_roles_can_be_assigned():
    theirs, ours = both()
    for tokenizer in (theirs, ours):
        tokenizer.eos_token = "[SEP]"
        tokenizer.pad_token_id = 3
    assert (ours.eos_token_id, ours.pad_token) == (theirs.eos_token_id, theirs.pad_token)
    assert ours.all_special_tokens == theirs.all_special_tokens
    ours.mask_token = None
    assert ours.mask_token_id is None
    with pytest.raises(ValueError, match=r"mask_token = '<new>'.*add_special_tokens"):
        ours.mask_token = "<new>"
    with pytest.raises(ValueError, match="pad_token_id = 99999"):
        ours.pad_token_id = 99999
    ours.unk_token = "[unused1]"
    assert ours.tokenize("x" * 101) == ["[unused1]"]


def test_flags_of_special_tokens_in_the_constructor():
    options = {"content": "[MASK]", "lstrip": True, "single_word": True}
    ours = BertTokenizer(VOCAB, mask_token=AddedToken(**options))
    theirs = Original(str(VOCAB), mask_token=OriginalToken(**options))
    for text in ("a  [MASK] b", "a[MASK]", "a [MASK].", "[MASK]", "a [mask]"):
        assert ours.tokenize(text) == theirs.tokenize(text)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: t.add_tokens(["new", 3]), TypeError, "str or AddedToken, got 3"),
        (lambda t: t.add_special_tokens({"padtoken": "x"}), ValueError, "'padtoken' is not a role"),
        (
            lambda t: t.add_special_tokens({"pad_token": ["x"]}),
            TypeError,
            "pad_token must be a non-empty str",
        ),
        (
            lambda t: t.add_special_tokens({"additional_special_tokens": "x"}),
            TypeError,
            "additional_special_tokens must be a list",
        ),
        (lambda t: setattr(t, "unk_token", None), ValueError, "unk_token must not be None"),
        (lambda t: AddedToken(""), ValueError, "must not be empty"),
        (lambda t: AddedToken(3), TypeError, "must be a str, got 3"),
        (lambda t: t.role_id("eos_token"), ValueError, "no eos_token"),
    ],
)
def test_wrong_tokens(call, error, message):
    tokenizer = both()[1]
    before = len(tokenizer), tokenizer.special_tokens_map
    with pytest.raises(error, match=message):
        call(tokenizer)
    assert before == (len(tokenizer), tokenizer.special_tokens_map)


def test_empty_strings_and_repetitions_are_not_added():
    theirs, ours = both()
    for tokens in (["", "new", "new"], "new", ["[SEP]", "the"]):
        assert ours.add_tokens(tokens) == theirs.add_tokens(tokens)


def test_cached_words_do_not_survive_a_new_token():
    ours = both()[1]
    ours.tokenize("foobar")
    ours.add_tokens(["foo"])
    assert ours.tokenize("foobar")[0] == "foo"


def test_texts_with_many_added_tokens():
    theirs, ours = both()
    for tokenizer in (theirs, ours):
        tokenizer.add_tokens([f"tok{i}" for i in range(30)], special_tokens=True)
        tokenizer.add_tokens(["ing", "É"])
    for i, text in enumerate(random_texts(500, seed=11)):
        text = f"tok{i}{text}Tok{i}"
        assert ours.tokenize(text) == theirs.tokenize(text), repr(text)
