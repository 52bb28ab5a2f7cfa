"""Commands that run a task: fill-mask, classify, tag, answer, generate; on random models, whose
results the pipelines give, which tests/pipelines compares with transformers.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipelines.twins import Make, model_folder  # noqa: F401 (a fixture)
from tinybert import embedded
from tinybert.cli import pipeline_arguments
from tinybert.cli import tag as tag_command
from tinybert.cli.bar_charts import save_answer_chart
from tinybert.cli.terminal import BAR_WIDTH, score_bar
from tinybert.pipelines import pipeline

TEXT = "King George of England went to Washington."
MASKED = "The king of [MASK] costs $5 and $6."
NAMES = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
COMMANDS = {
    "fill-mask": "BertForMaskedLM",
    "classify": "BertForSequenceClassification",
    "tag": "BertForTokenClassification",
    "answer": "BertForQuestionAnswering",
    "generate": "BertLMHeadModel",
}
CONTEXT = "It was war.\n\nThe king of Egypt, unbelievably, went to Jerusalem by ship."


@pytest.fixture(scope="module")
def folders(model_folder: Make) -> dict[str, Path]:  # noqa: F811
    options: dict[str, dict[str, Any]] = {
        "classify": {"num_labels": 3},
        "tag": {"seed": 3, "id2label": NAMES, "label2id": {v: k for k, v in NAMES.items()}},
        "generate": {"seed": 1, "is_decoder": True},
    }
    return {c: model_folder(name, **options.get(c, {})) for c, name in COMMANDS.items()}


@pytest.fixture
def ask(tinybert, folders: dict[str, Path]):
    """Run a command with its model."""
    return lambda name, *words, **more: tinybert(name, *words, "--model", folders[name], **more)


def as_json(ran: Any) -> Any:
    assert (ran.code, ran.err) == (0, "")
    return json.loads(ran.out)


# --- fill-mask -----------------------------------------------------------------------------------


def test_fill_mask(ask, folders: dict[str, Path]) -> None:
    expected = pipeline("fill-mask", folders["fill-mask"])(MASKED, top_k=3)
    (result,) = as_json(ask("fill-mask", MASKED, "--top-k", 3, "--json"))["results"]
    assert result["text"] == MASKED
    assert result["masks"] == [expected]
    title, _, _, *rows = ask("fill-mask", MASKED, "--top-k", 3).out.splitlines()
    assert title == MASKED
    for row, guess in zip(rows, expected, strict=True):
        assert row.split()[:2] == [guess["token_str"], f"{guess['score']:.4f}"]


def test_fill_mask_with_several_masks_texts_and_targets(ask) -> None:
    options = ["--target", "people", "--target", "house", "--json"]
    one, two = as_json(ask("fill-mask", MASKED, "[MASK] and [MASK]", *options))["results"]
    assert [len(one["masks"]), len(two["masks"])] == [1, 2]
    assert {guess["token_str"] for guess in two["masks"][1]} == {"people", "house"}
    out = ask("fill-mask", "[MASK] and [MASK]").out
    assert "[MASK] and [MASK] (mask 1 of 2)" in out
    assert out.count("\n\n") == 3


# --- classify ------------------------------------------------------------------------------------


def test_classify(ask, folders: dict[str, Path]) -> None:
    ours = pipeline("text-classification", folders["classify"])
    (result,) = as_json(ask("classify", TEXT, "--json"))["results"]
    assert result == {"text": TEXT, "labels": ours(TEXT, top_k=None)}
    paired = as_json(
        ask("classify", "a", "--pair", "b", "--function", "none", "--top-k", 1, "--json")
    )
    expected = ours({"text": "a", "text_pair": "b"}, top_k=1, function_to_apply="none")
    assert paired["results"][0]["labels"] == expected
    rows = [line.split() for line in ask("classify", TEXT).out.splitlines()[3:]]
    assert [row[0] for row in rows] == [entry["label"] for entry in result["labels"]]
    long = "word " * 100
    assert as_json(ask("classify", long, "--json"))["results"][0]["text"] == long


def test_classify_several_texts_in_a_line_each(ask) -> None:
    lines = ask("classify", stdin=("a " * 60 + "\n" + TEXT).encode()).out.splitlines()
    assert len(lines) == 3
    assert all("LABEL_" in line for line in lines[1:])
    assert max(map(len, lines)) <= 80


# --- tag -----------------------------------------------------------------------------------------


def test_tag(ask, folders: dict[str, Path]) -> None:
    ours = pipeline("token-classification", folders["tag"])
    for strategy in ("simple", "max", "none"):
        (result,) = as_json(ask("tag", TEXT, "--json", "--strategy", strategy))["results"]
        assert result == {"text": TEXT, "entities": ours(TEXT, aggregation_strategy=strategy)}
    marked, _, _, *rows = ask("tag", TEXT, "--strategy", "first").out.splitlines()
    entities = ours(TEXT, aggregation_strategy="first")
    first = entities[0]
    assert f"[{TEXT[first['start'] : first['end']]} {first['entity_group']}]" in marked
    assert [row.split()[:3] for row in rows] == [
        [str(e["start"]), str(e["end"]), e["entity_group"]] for e in entities
    ]
    all_labels = as_json(ask("tag", TEXT, "--all", "--strategy", "none", "--json"))
    assert len(all_labels["results"][0]["entities"]) > len(ours(TEXT))


def test_tag_without_a_class_o_tags_each_word(
    tinybert, folders: dict[str, Path], tmp_path: Path
) -> None:
    """Parts of speech: every word has a tag, and two nouns in a row are two nouns."""
    shutil.copytree(folders["tag"], tmp_path / "tags")
    path = tmp_path / "tags" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["id2label"] = dict.fromkeys(config["id2label"], "noun")
    path.write_text(json.dumps(config), "utf-8")
    words = ("tag", TEXT, "--json", "--model", tmp_path / "tags")
    for strategy in ((), ("--strategy", "first"), ("--strategy", "average"), ("--strategy", "max")):
        (result,) = as_json(tinybert(*words, *strategy))["results"]
        found = [TEXT[e["start"] : e["end"]] for e in result["entities"]]
        assert found == re.findall(r"\w+|[^\w\s]", TEXT)
    (joined,) = as_json(tinybert(*words, "--strategy", "simple"))["results"]
    assert len(joined["entities"]) == 1


def test_tag_reads_a_long_text_to_its_end(ask) -> None:
    (result,) = as_json(ask("tag", TEXT * 30, "--json"))["results"]
    assert result["entities"][-1]["end"] > 29 * len(TEXT)


def test_tags_in_colour_where_rich_shows_them(ask, monkeypatch) -> None:
    monkeypatch.setattr(tag_command.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in ask("tag", TEXT).out
    monkeypatch.setattr(tag_command, "find_spec", lambda name: None)
    assert "\x1b[" not in ask("tag", TEXT).out


# --- answer --------------------------------------------------------------------------------------


def test_answer(ask, folders: dict[str, Path], tmp_path: Path) -> None:
    ours = pipeline("question-answering", folders["answer"])
    file = tmp_path / "context.txt"
    file.write_text(CONTEXT, encoding="utf-8")
    for options, more in (
        (["--context", CONTEXT], {}),
        (["--file", file], {}),
        ([], {"stdin": CONTEXT.encode()}),
    ):
        result = as_json(ask("answer", "Who?", *options, "--top-k", 3, "--json", **more))
        assert result["answers"] == ours(question="Who?", context=CONTEXT, top_k=3)
    for answer in result["answers"]:  # characters of the file, blank line included
        assert CONTEXT[answer["start"] : answer["end"]] == answer["answer"]
    heads, *rows = ask("answer", "Who?", "--file", file, "--top-k", 3).out.splitlines()
    assert heads.split() == ["answer", "score", "start", "end", "context"]
    assert all("[" in row and "]" in row for row in rows)
    assert max(map(len, rows)) <= 80
    options = ["--impossible", "--top-k", 99, "--max-answer-len", 1, "--json"]
    answers = as_json(ask("answer", "Who?", "--file", file, *options))["answers"]
    assert "" in [answer["answer"] for answer in answers]
    assert "(none)" in ask("answer", "Who?", "--file", file, "--impossible", "--top-k", 99).out


def test_answer_in_a_narrow_terminal(ask, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    out = ask("answer", "Who?", "--context", CONTEXT, "--top-k", 3).out
    assert "context" not in out


# --- generate ------------------------------------------------------------------------------------


def test_generate(ask, folders: dict[str, Path]) -> None:
    ours = pipeline("text-generation", folders["generate"])
    drawn = ["--seed", 4, "--max-new-tokens", 6, "--count", 2, "--temperature", 0.9, "--top-k", 9]
    drawn += ["--top-p", 0.8, "--min-p", 0.05]
    (result,) = as_json(ask("generate", TEXT, *drawn, "--json"))["results"]
    options = {"seed": 4, "max_new_tokens": 6, "num_return_sequences": 2, "temperature": 0.9}
    expected = ours(TEXT, **options, top_k=9, top_p=0.8, min_p=0.05)
    assert [found["text"] for found in result["texts"]] == [e["generated_text"] for e in expected]
    greedy = ask("generate", TEXT, "--greedy", "--max-new-tokens", 5).out
    (entry,) = ours(TEXT, do_sample=False, max_new_tokens=5)
    assert " ".join(greedy.split()) == " ".join(entry["generated_text"].split())
    beams = ask("generate", TEXT, "--beams", 3, "--max-new-tokens", 5, "--new-only").out
    (entry,) = ours(TEXT, do_sample=False, num_beams=3, max_new_tokens=5, return_full_text=False)
    assert " ".join(beams.split()) == " ".join(entry["generated_text"].split())


# --- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fill-mask", [MASKED, "[MASK] and [MASK]"]),
        ("classify", [TEXT, "It costs $5 and $6."]),
        ("classify", ["a", "--function", "none"]),
        ("answer", ["Who?", "--context", CONTEXT * 20]),
    ],
)
def test_pictures(ask, tmp_path: Path, name: str, words: list[str]) -> None:
    from matplotlib import image

    path = tmp_path / "chart.png"
    ran = ask(name, *words, "--plot", path)
    assert (ran.code, ran.err) == (0, f"chart: {path}\n")
    pixels = image.imread(path)[:, :, :3]
    assert min(pixels.shape[:2]) > 150
    assert max(pixels.shape[:2]) < 2500
    blue = np.abs(pixels - [0x2A / 255, 0x6F / 255, 0x97 / 255]).max(axis=2) < 0.02
    assert 0.005 < blue.mean() < 0.8
    svg = tmp_path / "chart.svg"
    assert ask(name, *words, "--plot", svg).code == 0
    assert svg.read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize("tokens", [1, 2, 30])
def test_the_legend_of_an_answer_is_not_over_its_bars(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tokens: int
) -> None:
    from matplotlib.figure import Figure

    figures = []

    def save(self: Figure, *_: object, **options: object) -> None:
        self.draw_without_rendering()
        figures.append(self)

    monkeypatch.setattr(Figure, "savefig", save)
    names, high = [f"token{i}" for i in range(tokens)], [0.9] * tokens
    save_answer_chart(tmp_path / "a.png", "A question? " * 20, names, high, high)
    (figure,) = figures
    (axes,) = figure.axes
    legends = [*figure.legends, *filter(None, [axes.get_legend()])]
    assert len(legends) == 1
    place = legends[0].get_window_extent()
    assert not any(place.overlaps(bar.get_window_extent()) for bar in axes.patches)
    assert not place.overlaps(axes.title.get_window_extent())


def test_bars_are_as_long_as_scores() -> None:
    assert len(score_bar(1.0)) == BAR_WIDTH
    assert len(score_bar(0.5)) == BAR_WIDTH // 2
    assert (score_bar(0.0), score_bar(-3.0), score_bar(7.0)) == ("", "", score_bar(1.0))


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_a_model_is_needed(refused, monkeypatch, name: str) -> None:
    monkeypatch.setattr(pipeline_arguments, "default_of", lambda task: None)
    error = refused(name, "a [MASK]", *(["--context", "b"] if name == "answer" else []))
    assert "--model is required" in error
    assert "AutoModelFor" in error
    assert "the package has none (see `tinybert models`)" in error


def test_the_model_of_the_package_for_a_task_answers(
    tinybert, monkeypatch, folders: dict[str, Path], tmp_path: Path
) -> None:
    """Its card makes it the default; in a terminal it is named, once."""
    shutil.copytree(folders["classify"], tmp_path / "moods")
    (tmp_path / "encoder").mkdir()
    for folder, tasks in (("moods", ["text-classification"]), ("encoder", ["fill-mask"])):
        (tmp_path / folder / "card.json").write_text(json.dumps({"default_of": tasks}))
    monkeypatch.setattr(embedded, "_PACKAGE", tmp_path)
    found = as_json(tinybert("classify", TEXT, "--json"))
    assert found["model"] == "embedded-moods"
    assert found["results"][0]["labels"] == pipeline("text-classification")(TEXT, top_k=None)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert tinybert("classify", TEXT).err == "model: embedded-moods\n"
    assert tinybert("classify", TEXT, "--model", folders["classify"]).err == ""
    assert "(default: embedded-moods)" in tinybert("classify", "--help").out


@pytest.mark.parametrize("name", COMMANDS)
def test_an_untrained_head_is_refused(refused, tinybert, minilm, name: str) -> None:
    words = [
        name,
        "a [MASK]",
        *(["--context", "b"] if name == "answer" else []),
        "--model",
        "minilm",
    ]
    if name == "generate":
        words += ["--max-new-tokens", "2"]
    error = refused(*words)
    assert "minilm has no trained weights for " in error
    head = (
        "qa_outputs" if name == "answer" else "cls" if name in ("generate", "fill-mask") else "clas"
    )
    assert f"answers would be random. It lacks {head}" in error
    assert "--untrained" in error
    assert tinybert(*words, "--untrained").code == 0


def test_a_head_that_was_drawn_at_random_is_said(folders: dict[str, Path]) -> None:
    words = ["classify", "a", "--untrained", "--model", str(folders["fill-mask"])]
    ran = subprocess.run([sys.executable, "-m", "tinybert", *words], capture_output=True)
    assert ran.returncode == 0
    assert b"initialized at random (train the model before you use its results)" in ran.stderr
    assert b"initialized at random" not in ran.stdout


def test_what_is_refused(refused, folders: dict[str, Path], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for command, words, message in (
        ("fill-mask", ["no mask"], "needs [MASK] in the text 'no mask'"),
        (
            "fill-mask",
            ["[MASK]", "--target", "zzqq"],
            "must be single tokens of the vocabulary, got 'zzqq'",
        ),
        ("fill-mask", ["[MASK]", "--top-k", "0"], "--top-k must be an integer >= 1"),
        ("fill-mask", ["[MASK] " * 100], "max_position_embeddings is 64"),
        ("fill-mask", ["[MASK]"] * 13 + ["--plot", tmp_path / "x.png"], "at most 12 charts"),
        ("fill-mask", ["[MASK]", "--plot", "x.jpg"], "must end in .png"),
        ("classify", [], "no text given"),
        ("tag", ["a", "--strategy", "mean"], "invalid choice: 'mean'"),
        ("answer", ["Who?"], "no text given"),
        ("answer", ["Who?", "--context", " "], "no text given"),
        ("answer", ["Who?", "--context", "a", "--file", "b"], "not both"),
        ("answer", ["", "--context", "a"], "question must be a non-empty str"),
        ("generate", ["a", "--greedy", "--top-p", "1"], "remove --top-p"),
        ("generate", ["a", "--greedy", "--count", "2"], "--count must be 1 with --greedy"),
        ("generate", ["a", "--temperature", "0"], "temperature"),
        ("generate", ["a", "--max-new-tokens", "99"], "max_position_embeddings 64"),
    ):
        assert message in refused(command, *words, "--model", folders[command])
    assert "there is no folder 'nowhere'" in refused("tag", "a", "--model", "nowhere")
    assert "config.json: no such file" in refused("tag", "a", "--model", tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    hint = refused("classify", "a", "--model", folders["classify"], "--plot", tmp_path / "x.png")
    assert 'pip install "tinybert[plot]"' in hint
    assert not list(tmp_path.iterdir())
