"""The cards of the package's models, and what reads and prints them."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import tinybert
from tinybert import embedded, hub
from tinybert.cli import attention, embedding_map, graph_chart
from tinybert.cli.main import main
from tinybert.cli.registry import COMMANDS, load_command
from tinybert.embedded.card import CardError, cards, read_card
from tinybert.embedded.facts import facts_of
from tinybert.embedded.markdown import markdown_of, shell
from tinybert.pipelines.factory import TASKS, pipeline

ROOT = Path(tinybert.__file__).parents[1]
MODELS = embedded.names()
FOLDER = hub.resolve("embedded")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the encoder's folder without weights, as the only model of the package."""
    monkeypatch.setattr(embedded, "_PACKAGE", tmp_path)
    shutil.copytree(FOLDER, tmp_path / "encoder", ignore=lambda *_: ["model.safetensors"])
    return tmp_path


def add(package: Path, folder: str, **members: Any) -> None:
    """Add a model whose card is the encoder's with other members."""
    card = json.loads((FOLDER / embedded.CARD).read_text("utf-8"))
    (package / folder).mkdir()
    (package / folder / embedded.CARD).write_text(json.dumps(card | members), "utf-8")


# --- the cards of the package ---------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_card_belongs_to_its_folder(name: str) -> None:
    folder = hub.resolve(name)
    card = read_card(folder)
    assert card.name == name
    assert set(card.tasks) <= set(TASKS)
    assert set(card.commands) <= set(COMMANDS)
    assert (folder / "README.md").read_text("utf-8") == markdown_of(card, facts_of(folder)), (
        f"run `tinybert models {name} --markdown`"
    )


@pytest.mark.parametrize("name", MODELS)
def test_what_a_card_names_is_in_the_repository(name: str) -> None:
    card = read_card(hub.resolve(name))
    recipe = (ROOT / card.recipe.folder / "README.md").read_text("utf-8")
    known = " ".join(re.sub(r"\\\n", " ", recipe).split())
    baselines = [score.baseline.command for score in card.scores if score.baseline]
    for command in [*card.recipe.commands, *baselines]:
        assert " ".join(command.split()) in known, f"{card.recipe.folder}/README.md: {command}"
    for data in card.data:
        assert data.made_by in card.recipe.commands
    for path in [curve.file for curve in card.curves]:
        assert (ROOT / path).is_file()
    for folder in (hub.resolve(name), ROOT / card.recipe.folder):
        for link in re.findall(
            r"\]\(((?!https?:)[^)]+)\)", (folder / "README.md").read_text("utf-8")
        ):
            assert (folder / link).exists(), link


@pytest.mark.parametrize("kind", ["default_of", "commands"])
def test_a_task_and_a_command_have_one_default(kind: str) -> None:
    named = [name for card in cards() for name in getattr(card, kind)]
    assert len(named) == len(set(named))


def test_the_commands_of_a_card_have_it_as_default(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {}
    for command in COMMANDS:
        parser = argparse.ArgumentParser()
        load_command(command).add_arguments(parser)
        defaults[command] = parser.get_default("model")
    asked = []

    def resolve(name: str, _: Any) -> Path:
        asked.append(name)
        raise ValueError

    for module in (attention, embedding_map, graph_chart):  # the kinds of `plot` with a default
        monkeypatch.setattr(module, "resolve", resolve)
    for kind in ("attention", "embeddings", "graph"):
        assert main(["plot", kind, *["A text."] * (3 if kind == "embeddings" else 1)]) == 2
    assert len(asked) == 3
    (defaults["plot"],) = set(asked)
    for card in cards():
        assert set(card.commands) == {name for name in COMMANDS if defaults[name] == card.name}


# --- the catalogue --------------------------------------------------------------------------------


def test_a_folder_with_a_card_is_a_model(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(package, "tags", default_of=["token-classification"])
    (package / "unfinished").mkdir()
    assert embedded.names() == ["embedded", "embedded-tags"]
    assert hub.resolve("embedded-tags") == package / "tags"
    assert embedded.default_of("token-classification") == "embedded-tags"
    assert embedded.default_of("fill-mask") == "embedded"
    assert embedded.default_of("question-answering") is None
    for name in ("embedded-unfinished", "embedded-encoder", "embedded-"):
        with pytest.raises(FileNotFoundError, match=r"nor a known model name \(embedded or"):
            hub.resolve(name)
    with pytest.raises(FileNotFoundError, match="not a valid name of a model on the Hub"):
        hub.resolve("embedded-../tags")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(package))
    with pytest.raises(FileNotFoundError, match=r"has no model of that name; .* to download it"):
        hub.resolve("embedded-ai/bert")
    monkeypatch.chdir(package)
    (package / "embedded-mine").mkdir()
    assert hub.resolve("embedded-mine") == Path("embedded-mine")


def test_a_task_without_a_model_says_so() -> None:
    with pytest.raises(ValueError, match=r"model is required for next-sentence: .* no model of"):
        pipeline("next-sentence")


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"name": 3}, "name must be text, got 3"),
        ({"nmae": "x"}, "nmae is unknown; the members are name, summary"),
        ({"limits": "none"}, r"limits must be a list, got 'none'"),
        ({"limits": [None]}, r"limits\[0\] must be text, got None"),
        ({"recipe": []}, r"recipe must be an object, got \[\]"),
        ({"recipe": {"folder": "x"}}, r"recipe\.commands is missing"),
        ({"default_of": ["ner"]}, "default_of: 'ner' is not one of tasks"),
        ({"examples": {"about": "", "prompts": [{"prompt": "", "answers": []}]}}, None),
        ({"scores": []}, "scores must have at least one member"),
        ({"name": "embedded-tags"}, r"scores\[0\]\.command must be .* TASK embedded-tags` with"),
        ({"scores": [{"value": True}]}, r"scores\[0\]\.baseline is missing"),
    ],
)
def test_a_wrong_card_is_refused(package: Path, members: dict[str, Any], message: str) -> None:
    add(package, "tags", **members)
    if message is None:  # what has a default may be left out
        assert read_card(package / "tags").examples.prompts[0].context is None
        return
    with pytest.raises(CardError, match=r"card\.json: " + message):
        read_card(package / "tags")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"value": True}, r"value must be a number, got True"),
        ({"decimals": 1.5}, r"decimals must be an integer, got 1\.5"),
        ({"command": "tinybert evaluate masked embedded x"}, "command must be .* a file of data"),
        ({"seeds": 3}, "spread must be null if seeds is 1"),
        (
            {"baseline": {"name": "x", "value": "1", "command": ""}},
            r"baseline\.value must be a num",
        ),
    ],
)
def test_a_wrong_score_is_refused(package: Path, members: dict[str, Any], message: str) -> None:
    scores = json.loads((FOLDER / embedded.CARD).read_text("utf-8"))["scores"]
    add(package, "tags", scores=[scores[0], scores[1] | members])
    with pytest.raises(CardError, match=r"card\.json: scores\[1\]\." + message):
        read_card(package / "tags")


def test_a_card_that_is_not_json(package: Path) -> None:
    (package / "encoder/card.json").write_text("{")
    with pytest.raises(CardError, match=r"card\.json: Expecting property name"):
        read_card(package / "encoder")
    with pytest.raises(FileNotFoundError):
        read_card(package)


# --- printing -------------------------------------------------------------------------------------


def test_a_long_command_goes_on_in_the_next_line() -> None:
    command = "tinybert pretrain train.txt --model embedded --steps 100 --plain-masks --seed 7"
    lines = shell(command, 40).split(" \\\n")
    assert max(map(len, lines)) <= 38
    assert " ".join(line.strip() for line in lines) == command
    assert not any(line.endswith(("--model", "--steps", "--seed")) for line in lines)


def test_the_facts_are_those_of_the_model() -> None:
    model = tinybert.BertForMaskedLM.from_pretrained("embedded")
    facts = facts_of(FOLDER)
    assert facts["parameters"] == f"{model.num_parameters():,}"
    assert facts["layers"] == "6 of hidden size 384, 12 heads"
