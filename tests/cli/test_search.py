"""The command `search`: what it prints, in a terminal, in a pipe and as JSON; and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipelines.twins import Make, model_folder  # noqa: F401 (a fixture)
from tests.search.notes import write_notes
from tinybert.cli.terminal import columns_of
from tinybert.embedding import SentenceEmbedder
from tinybert.search import CrossEncoder, Found, Hit, search

QUERY = "gold and salt"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return write_notes(tmp_path / "notes")


@pytest.fixture
def embedder(model_folder: Make) -> SentenceEmbedder:  # noqa: F811
    return SentenceEmbedder.from_pretrained(model_folder("BertModel"))


@pytest.fixture
def look(tinybert, notes: Path, model_folder: Make, monkeypatch):  # noqa: F811
    """Run `tinybert search` with a random model, in the folder of the notes."""
    monkeypatch.chdir(notes)
    return lambda *words: tinybert("search", *words, "--model", model_folder("BertModel"))


def test_a_table_that_fits_the_terminal(look, notes: Path, embedder: SentenceEmbedder) -> None:
    (notes / "long.txt").write_text("王はエジプトへ行った。" * 2 + "\n" + "the king and " * 10)
    ran = look(QUERY, ".")
    assert ran.code == 0
    assert ran.err == "embedded 7 passages, kept in .tinybert-index-passage.safetensors\n"
    lines = ran.out.splitlines()
    assert lines[0].split() == ["#", "score", "place", "text"]
    assert 78 <= max(map(columns_of, lines)) <= 80
    hits = search(QUERY, ["."], embedder, keep_index=False).hits
    assert len(lines) == 9 == len(hits) + 1
    for rank, (line, hit) in enumerate(zip(lines[1:], hits, strict=True), 1):
        number, score, place, text = line.split(maxsplit=3)
        assert (number, score, place) == (str(rank), f"{hit.score:.2f}", f"{hit.file}:{hit.line}")
        assert " ".join(hit.text.split()).startswith(text.removesuffix("…"))
    assert look(QUERY, ".") == (0, ran.out, "")


def test_in_a_pipe_the_text_is_complete(look, notes: Path, monkeypatch) -> None:
    def no_terminal(descriptor: int) -> None:
        raise OSError

    monkeypatch.setattr("os.get_terminal_size", no_terminal)
    long = "the king and " * 15 + "Egypt"
    (notes / "long.txt").write_text(long)
    words = (QUERY, "long.txt", "--no-index")
    assert look(*words).out.splitlines()[1].endswith("…")  # COLUMNS=80
    monkeypatch.setenv("COLUMNS", "")
    assert look(*words).out.splitlines()[1].endswith(long)


def test_json(look, notes: Path, embedder: SentenceEmbedder, model_folder: Make) -> None:  # noqa: F811
    ran = look(QUERY, "a.txt", "deep", "--json", "--top-k", 3, "--by", "line")
    assert json.loads(ran.out) == {
        "query": QUERY,
        "model": str(model_folder("BertModel")),
        "rerank": None,
        "by": "line",
        "files": 2,
        "passages": 5,
        "embedded": 5,
        "skipped": {},
        "results": [
            {
                "rank": rank,
                "score": pytest.approx(hit.score, abs=1e-6),
                "file": hit.file,
                "line": hit.line,
                "text": hit.text,
            }
            for rank, hit in enumerate(
                search(QUERY, ["a.txt", "deep"], embedder, top_k=3, by="line").hits, 1
            )
        ],
    }


@pytest.mark.parametrize("score", [-0.0, -1e-9, -0.004])
def test_a_score_of_0_has_no_sign(look, monkeypatch, score: float) -> None:
    found = Found([Hit(score, "a.txt", 1, "gold")])
    monkeypatch.setattr("tinybert.cli.search.search", lambda *args, **options: found)
    assert look(QUERY, ".").out.splitlines()[1].split()[1] == "0.00"
    if score > -1e-6:
        assert '"score": 0.0,' in look(QUERY, ".", "--json").out


def test_notes_are_printed_once(look, notes: Path) -> None:
    (notes / ".hidden").mkdir()
    for name in ("x.png", "y.png"):
        (notes / name).write_bytes(b"\x89PNG\0")
    note = "skipped 3 files or folders: 1 hidden, 2 not UTF-8 text\n"
    assert look(QUERY, ".").err == (
        f"{note}embedded 6 passages, kept in .tinybert-index-passage.safetensors\n"
    )
    assert look(QUERY, ".").err == note


def test_reranking(look, model_folder: Make) -> None:  # noqa: F811
    folder = model_folder("BertForSequenceClassification", num_labels=1)
    words = (QUERY, ".", "--rerank", folder, "--candidates", 4, "--top-k", 2)
    result = json.loads(look(*words, "--json").out)
    texts = [
        hit["text"] for hit in json.loads(look(QUERY, ".", "--top-k", 4, "--json").out)["results"]
    ]
    scores = CrossEncoder.from_pretrained(folder).predict(QUERY, texts)
    best = scores.argsort()[::-1][:2]
    assert result["rerank"] == str(folder)
    assert [hit["text"] for hit in result["results"]] == [texts[i] for i in best]
    shown = [line.split()[1] for line in look(*words).out.splitlines()[1:]]
    assert shown == [f"{scores[i]:.4f}" for i in best]


def test_errors(refused, notes: Path, model_folder: Make, monkeypatch) -> None:  # noqa: F811
    monkeypatch.chdir(notes)
    model = ("--model", model_folder("BertModel"))
    two = model_folder("BertForSequenceClassification", num_labels=2)
    untrained = model_folder("BertModel", num_labels=1)
    (notes / "empty.txt").touch()
    (notes / "latin1.txt").write_bytes(b"caf\xe9")
    for words, message in [
        (["x"], "the following arguments are required: PATH"),
        ([" ", "."], "query must not be blank"),
        (["x", "nowhere"], "nowhere: No such file or directory"),
        (["x", "empty.txt"], "there is no text to search in empty.txt"),
        (["x", "latin1.txt"], "latin1.txt: not UTF-8 text (at byte 3)"),
        (["x", ".", "--top-k", 0], "--top-k must be an integer >= 1, got 0"),
        (["x", ".", "--candidates", 9], "--candidates needs --rerank MODEL"),
        (["x", ".", "--rerank", two, "--candidates", 0], f"{two} classifies with 2 labels"),
        (["x", ".", "--rerank", untrained], "is not a trained cross-encoder: it lacks the weights"),
        (["x", ".", "--rerank", "~no/model"], "there is no folder '~no/model'"),
    ]:
        assert message in refused("search", *words, *model)
    assert "there is no folder '~no/model'" in refused("search", "x", ".", "--model", "~no/model")


def test_texts_and_names_do_not_control_the_terminal(look, notes: Path) -> None:
    (notes / "x\x1b[31m.txt").write_text("gold \x1b]0;owned\x07 salt")
    for more in ([], ["--json"]):
        ran = look(QUERY, ".", *more)
        assert "owned" in ran.out
        assert not {"\x1b", "\x07"} & {*ran.out, *ran.err}
    assert "\x1b" not in look(QUERY, "x\x1b[31m.txt").err
