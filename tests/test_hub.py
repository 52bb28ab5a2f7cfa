"""Resolving names of models to folders: paths, a local cache, and a mocked download."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tinybert import hub, hub_cache
from tinybert.cli.model_files import weights_path

NAME = "google-bert/bert-base-uncased"
COMMIT = "86b5e0934494bd15c9632b12f734a8a67f723594"
VARIABLES = (
    *("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"),
    *("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
)


INSTALLED = importlib.util.find_spec("huggingface_hub") is not None


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no huggingface_hub, so that nothing can reach the network."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "cache" / "hub"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    return folder


def put(cache: Path, name: str, *files: str) -> Path:
    """Put a model with empty files into a cache, laid out as huggingface_hub does."""
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for file in files:
        (snapshot / file).touch()
    return snapshot


@pytest.fixture
def downloads(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The calls of a double of huggingface_hub, which "downloads" two files."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def snapshot_download(name: str, **options: Any) -> str:
        calls.append((name, options))
        return str(put(cache, name, "config.json", "model.safetensors"))

    module = ModuleType("huggingface_hub")
    module.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return calls


def test_a_folder_is_returned_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.resolve(tmp_path, ["config.json"]) == tmp_path
    assert hub.resolve(str(tmp_path)) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert hub.resolve("~/model") == tmp_path / "model"
    monkeypatch.chdir(tmp_path)
    assert hub.resolve("model") == Path("model")  # a folder comes before a name


def test_the_name_of_the_embedded_model_wins_over_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project may have a folder `embedded`, and no command may take it for the default model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "embedded").mkdir()
    assert (
        hub.resolve("embedded")
        == weights_path("embedded")
        == Path(hub.__file__).parent / "embedded/encoder"
    )
    assert hub.resolve("./embedded") == hub.resolve(Path("embedded")) == Path("embedded")
    assert weights_path("./embedded") == Path("embedded")


@pytest.mark.parametrize("name", [NAME, "bert-base-uncased"])
def test_a_name_is_found_in_the_cache(cache: Path, name: str) -> None:
    snapshot = put(cache, name, "config.json")
    assert hub.resolve(name) == snapshot
    assert hub.resolve(name, ["vocab.txt", "config.json"]) == snapshot


@pytest.mark.parametrize("how", ["HF_HOME", "XDG_CACHE_HOME", "HOME"])
def test_the_environment_says_where_the_cache_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv(how, str(tmp_path))
    if how == "HOME":
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
    below = {"HF_HOME": "", "XDG_CACHE_HOME": "huggingface", "HOME": ".cache/huggingface"}[how]
    snapshot = put(tmp_path / below / "hub", NAME)
    assert hub.resolve(NAME) == snapshot


def test_the_newer_of_two_variables_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", str(tmp_path / "old"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "new"))
    assert hub_cache.cache_folder() == tmp_path / "new"


@pytest.mark.skipif(not INSTALLED, reason="huggingface_hub is not installed")
@pytest.mark.parametrize("variable", [*VARIABLES[:4], None])
def test_the_cache_is_where_huggingface_hub_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    monkeypatch.delenv("HF_HUB_CACHE")
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    code = "from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert str(hub_cache.cache_folder()) == result.stdout.strip()


def test_a_download_brings_texts_and_safetensors(
    cache: Path, downloads: list[tuple[str, dict[str, Any]]]
) -> None:
    folder = hub.resolve(NAME)
    assert folder == cache / "models--google-bert--bert-base-uncased" / "snapshots" / COMMIT
    (call,) = downloads
    patterns = [
        "*.json",
        "*.txt",
        "*.jinja",
        "*.safetensors",
    ]  # no pickles, where there is anything better
    assert call == (NAME, {"allow_patterns": patterns, "cache_dir": str(cache)})
    assert hub.resolve(NAME) == folder
    assert len(downloads) == 1  # the second time it is in the cache


def test_weights_are_downloaded_only_where_they_are_asked_for(
    cache: Path, downloads: list[tuple[str, dict[str, Any]]]
) -> None:
    hub.resolve(NAME, ["config.json"])
    assert downloads.pop()[1]["allow_patterns"] == ["*.json", "*.txt", "*.jinja"]
    put(cache, "other", "config.json", "model.safetensors.index.json")
    hub.resolve("other", ["*.safetensors"])
    assert downloads.pop()[1]["allow_patterns"][-1] == "*.safetensors"


def test_where_there_is_no_safetensors_pytorchs_files_are_fetched(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[str] = []

    def snapshot_download(name: str, **options: Any) -> str:
        wanted.append(options["allow_patterns"][-1])
        files = ["pytorch_model.bin"] if wanted[-1].endswith("bin") else []
        return str(put(cache, name, "config.json", *files))

    module = ModuleType("huggingface_hub")
    module.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    assert (hub.resolve(NAME, hub.WEIGHT_FILES) / "pytorch_model.bin").exists()
    assert wanted == ["*.safetensors", "pytorch_model*.bin"]


def test_a_revision_and_a_token(
    cache: Path, downloads: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = put(cache, NAME, "config.json")
    assert hub.resolve(NAME, revision=COMMIT) == snapshot
    (snapshot.parents[1] / "refs" / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "refs" / "pr1").write_text(COMMIT)
    assert hub.resolve(NAME, revision="refs/pr1") == snapshot
    assert not downloads
    hub.resolve(NAME, revision="v2", token="secret")
    assert downloads[0][1]["revision"] == "v2"
    assert downloads[0][1]["token"] == "secret"
    for wrong in ("../../x", "a/../b", "", "/etc", "a b"):
        with pytest.raises(ValueError, match="revision must be a branch"):
            hub.resolve(NAME, revision=wrong)


def test_weights_in_parts_count_when_every_part_is_there(
    cache: Path, downloads: list[tuple[str, dict[str, Any]]]
) -> None:
    snapshot = put(cache, NAME, "model-00001-of-00002.safetensors")
    wanted = ["*.safetensors", "model*"]
    assert hub_cache.holds(snapshot, wanted) is False
    (snapshot / "model-00002-of-00002.safetensors").symlink_to(cache / "blobs" / "missing")
    assert hub_cache.holds(snapshot, wanted) is False
    (snapshot / "model-00002-of-00002.safetensors").unlink()
    put(cache, NAME, "model-00002-of-00002.safetensors")
    assert hub.resolve(NAME, wanted) == snapshot
    assert not downloads


def test_what_the_hub_does_not_have_either(
    downloads: list[tuple[str, dict[str, Any]]],
) -> None:
    with pytest.raises(FileNotFoundError, match=r"no vocab\.txt .*the model on the Hub has none"):
        hub.resolve(NAME, ["vocab.txt"])


def test_without_huggingface_hub_the_error_says_what_to_do(cache: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        hub.resolve(NAME, ["config.json"])
    message = str(raised.value)
    assert "\n" not in message
    for part in (repr(NAME), repr(str(cache)), "config.json", 'pip install "tinybert[hub]"'):
        assert part in message


@pytest.mark.parametrize("value", ["1", "ON", "yes", "TRUE"])
@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_nothing_is_asked_for(
    downloads: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(FileNotFoundError, match="unset HF_HUB_OFFLINE"):
        hub.resolve(NAME)
    assert not downloads


def test_a_failed_download_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(name: str, **options: Any) -> str:
        raise ConnectionError("no route to host\nand much more")

    module = ModuleType("huggingface_hub")
    module.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    with pytest.raises(FileNotFoundError, match=r"failed \(no route to host\); give the path"):
        hub.resolve(NAME)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "a/../b", "/etc/passwd/x", "a/b/c", "a--b", "a\\b", "C:x", "-a"),
        *("a/", "/a", "a..b", "a b", "é", "a\n", "a\0b", "x" * 97, "a.", "~no-one/x"),
    ],
)
def test_names_that_lead_out_of_the_cache_are_refused(
    name: str, downloads: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in ("", ".", ".."):
        assert not hub._is_name(name)  # as paths they are folders
        return
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        hub.resolve(name)
    assert not downloads


@pytest.mark.parametrize("ref", ["../../../outside", "", "a/b", "é", "x" * 500])
def test_a_damaged_reference_leads_nowhere(cache: Path, ref: str) -> None:
    put(cache, NAME)
    (cache.parent / "outside").mkdir()
    reference = cache / "models--google-bert--bert-base-uncased" / "refs" / "main"
    reference.write_text(ref, encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="has no"):
        hub.resolve(NAME)
