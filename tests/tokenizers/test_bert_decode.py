"""From ids to text, against transformers."""

import random

import numpy as np
import pytest

from tests.tokenizers.oracle import both, random_texts

THEIRS, OURS = both()


@pytest.mark.parametrize("clean_up", [None, True, False])
@pytest.mark.parametrize("skip", [True, False])
def test_random_ids(skip, clean_up):
    rng = random.Random(3)
    theirs, ours = both(additional_special_tokens=["<extra>"])
    for tokenizer in (theirs, ours):
        tokenizer.add_tokens(["new", "don't"])
    for _ in range(1000):
        ids = [rng.randrange(len(ours) + 5) for _ in range(rng.randrange(12))]
        ids += rng.choices([*ours.all_special_ids, len(ours) - 1, len(ours) - 2], k=3)
        rng.shuffle(ids)
        options = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": clean_up}
        assert ours.decode(ids, **options) == theirs.decode(ids, **options)
        tokens = ours.convert_ids_to_tokens(ids, skip_special_tokens=skip)
        assert tokens == theirs.convert_ids_to_tokens(ids, skip_special_tokens=skip)
        assert ours.convert_tokens_to_string(tokens) == theirs.convert_tokens_to_string(tokens)


def test_texts_there_and_back():
    for text in random_texts(1000, seed=9):
        ids = OURS.encode(text)
        assert OURS.decode(ids) == THEIRS.decode(ids)
        assert OURS.batch_decode([ids, ids[:3]]) == THEIRS.batch_decode([ids, ids[:3]])
    text = "the people of the united states"
    assert OURS.decode(OURS.encode(text), skip_special_tokens=True) == text


@pytest.mark.parametrize("clean_up", [True, False])
def test_clean_up(clean_up):
    text = "do n't ! I 'm , you 're ? we 've . it 's a ' b"
    ids = OURS.encode(text, add_special_tokens=False)
    decoded = OURS.decode(ids, clean_up_tokenization_spaces=clean_up)
    assert decoded == THEIRS.decode(ids, clean_up_tokenization_spaces=clean_up)
    assert ("don't!" in decoded) == clean_up
    assert OURS.clean_up_tokenization(text) == THEIRS.clean_up_tokenization(text)


def test_what_may_be_decoded():
    the, of = OURS.vocab["the"], OURS.vocab["of"]
    assert OURS.decode(the) == OURS.decode(np.int64(the)) == "the"
    assert OURS.decode(np.array([the, of])) == "the of"
    assert OURS.batch_decode([the, of]) == THEIRS.batch_decode([the, of]) == ["the", "of"]
    assert OURS.batch_decode(np.array([[the, of], [of, the]])) == ["the of", "of the"]
    assert OURS.decode([]) == ""
    assert OURS.convert_ids_to_tokens(the) == "the"
    assert OURS.convert_ids_to_tokens([10**6, -1]) == ["[UNK]", "[UNK]"]
    assert OURS.convert_tokens_to_ids(["the", "nonsense"]) == [the, OURS.unk_token_id]
    assert OURS.convert_tokens_to_ids("the") == the
