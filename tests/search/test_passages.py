"""How texts are split into passages that fit the model."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipelines.twins import Make, model_folder  # noqa: F401 (a fixture)
from tinybert.embedding import SentenceEmbedder
from tinybert.search.passages import Splitter

LIMIT = 64  # tokens, special ones included


@pytest.fixture(scope="module")
def short(model_folder: Make) -> SentenceEmbedder:  # noqa: F811
    options = {"model_max_length": LIMIT}
    return SentenceEmbedder.from_pretrained(model_folder("BertModel", tokenizer_options=options))


def split(embedder: SentenceEmbedder, text: str, by: str = "passage") -> list[str]:
    return [text[start:end] for start, end in Splitter(embedder, by).split(text)]


@pytest.mark.parametrize(
    ("text", "passages", "lines"),
    [
        ("", [], []),
        (" \n\t\n ", [], []),
        ("one", ["one"], ["one"]),
        ("a\nb\n\nc", ["a\nb", "c"], ["a", "b", "c"]),
        ("\n\n a \r\n\r\n \n b\r\n", ["a", "b"], ["a", "b"]),
        ("a\u2028b\rc", ["a\u2028b\rc"], ["a\u2028b\rc"]),
    ],
)
def test_paragraphs_and_lines(short, text: str, passages: list[str], lines: list[str]) -> None:
    assert split(short, text) == passages
    assert split(short, text, "line") == lines


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("a b c d. " * 9 + "e " * 90, "a b c d. " * 9),
        ("a b\nc d\n" * 11 + "e " * 90, "a b\nc d\n" * 11),
        ("the king " * 99, "the king " * 31),
        ("end. " + "the king " * 99, "end. " + "the king " * 30),  # the end is too near
    ],
)
def test_long_paragraphs_end_with_a_sentence_a_line_or_a_word(short, text: str, first: str) -> None:
    passages = split(short, text)
    assert passages[0] == first.strip()
    assert " ".join(passages).split() == text.split()


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.sampled_from("ab é王\n .\u0301x\t😀"), max_size=300),
    st.sampled_from(["passage", "line"]),
)
def test_nothing_is_lost_and_everything_fits(short, text: str, by: str) -> None:
    spans = Splitter(short, by).split(text)
    ends = [0]
    for start, end in spans:
        assert not text[ends[-1] : start].strip()  # between passages there is only whitespace
        assert text[start:end].strip() == text[start:end] != ""
        ends.append(end)
    assert not text[ends[-1] :].strip()
    if by == "line":
        assert all("\n" not in text[start:end] for start, end in spans)
    if spans:
        rows = short.tokenizer([text[start:end] for start, end in spans])["input_ids"]
        assert max(map(len, rows)) <= LIMIT


@pytest.mark.parametrize("text", ["王" * 500, "a" * 500, "😀" * 200, "\u0301" * 300])
def test_words_that_are_too_long_are_split(short, text: str, caplog) -> None:
    passages = split(short, text)
    assert "".join(passages) == text
    short.encode(passages)
    assert not caplog.records  # the model cut none


def test_a_model_without_a_limit_has_passages_of_512_tokens(short, monkeypatch) -> None:
    monkeypatch.setattr(short, "max_length", 10**30)
    text = "the " * 2000
    longest = max(short.tokenizer(split(short, text), verbose=False)["input_ids"], key=len)
    assert len(longest) == 512


def test_unknown_units_are_refused(short) -> None:
    with pytest.raises(ValueError, match="by must be one of 'passage', 'line', got 'word'"):
        Splitter(short, "word")
