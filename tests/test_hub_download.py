"""Downloading with the real `huggingface_hub`, from a server on this machine that speaks the Hub's
API: listing a repository, and files with their headers.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from tests.models.oracle import config
from tinybert import AutoTokenizer, BertModel, manual_seed

pytest.importorskip("huggingface_hub", reason='needs pip install "tinybert[hub]"')

ROOT = Path(__file__).parents[1]
COMMITS = {"main": "a" * 40, "v2": "b" * 40}
TOKEN = "hf_let_me_in"

TEMPLATES = ("chat_template.jinja", "additional_chat_templates/tool_use.jinja")

LOAD = """
import sys
import tinybert

name, options = sys.argv[1], dict(option.split("=") for option in sys.argv[2:])
try:
    model = tinybert.AutoModel.from_pretrained(name, **options)
except FileNotFoundError as error:
    raise SystemExit(f"refused: {error}")
print(float(model.embeddings.word_embeddings.weight.data.sum()))
print(tinybert.AutoTokenizer.from_pretrained(name, **options).tokenize("a b"))
"""


class Hub(ThreadingHTTPServer):
    """Repositories: name -> revision -> folder; those that `closed` names ask for a token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, Path]] = {}
        self.closed: set[str] = set()
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of /api/models/NAME/revision/REVISION and of /NAME/resolve/REVISION/FILE."""

    server: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = unquote(urlparse(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        api = path.removeprefix("/api/models/")
        name, _, rest = (api if api != path else path[1:]).partition(
            "/revision/" if api != path else "/resolve/"
        )
        if name in self.server.closed and self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.reply(401, {"X-Error-Code": "GatedRepo"}, b"no", body)
        revisions = self.server.repositories.get(name, {})
        revision, _, file = (rest, "", "") if api != path else rest.partition("/")
        revision = {c: r for r, c in COMMITS.items()}.get(revision, revision)
        if revision not in revisions:
            code = "RevisionNotFound" if revisions else "RepoNotFound"
            return self.reply(404, {"X-Error-Code": code}, b"no", body)
        folder, commit = revisions[revision], COMMITS[revision]
        if api != path:
            files = sorted(p for p in folder.rglob("*") if p.is_file())
            siblings = [{"rfilename": p.relative_to(folder).as_posix()} for p in files]
            listing = {
                "id": name,
                "sha": commit,
                "siblings": siblings,
                "tags": [],
                "private": False,
            }
            return self.reply(200, {}, json.dumps(listing).encode(), body)
        if not (folder / file).is_file():
            return self.reply(404, {"X-Error-Code": "EntryNotFound"}, b"no", body)
        data = (folder / file).read_bytes()
        etag = f'"{hashlib.sha1(data).hexdigest()}"'
        return self.reply(200, {"ETag": etag, "X-Repo-Commit": commit}, data, body)

    def reply(self, status: int, headers: dict[str, str], data: bytes, body: bool) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def make(folder: Path, seed: int) -> float:
    """A model with its tokenizer; returns the sum of its word embeddings."""
    with manual_seed(seed):
        model = BertModel(config(initializer_range=0.5))
    model.save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "notes.pkl").write_bytes(b"never fetched")
    (folder / TEMPLATES[0]).write_text("{{ messages }}")
    (folder / TEMPLATES[1]).parent.mkdir()
    (folder / TEMPLATES[1]).write_text("{{ tools }}")
    return float(model.embeddings.word_embeddings.weight.data.sum())


def load(hub: Hub, cache: Path, *arguments: str, **variables: str) -> str:
    """What a process of its own prints: the client reads its settings when it is imported."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    settings = {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    run = subprocess.run(
        [sys.executable, "-c", LOAD, *arguments],
        cwd=ROOT,
        env={**kept, **settings, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in run.stderr, run.stderr
    return run.stdout + run.stderr


def test_a_model_is_fetched_once_by_its_name(hub: Hub, tmp_path: Path) -> None:
    total = make(tmp_path / "repository", 1)
    hub.repositories["somebody/tiny"] = {"main": tmp_path / "repository"}
    cache = tmp_path / "cache"
    shown = load(hub, cache, "somebody/tiny")
    assert float(shown.splitlines()[0]) == pytest.approx(total)
    assert "['a', 'b']" in shown
    assert any("model.safetensors" in request for request in hub.requests)
    assert not any("notes.pkl" in request for request in hub.requests)
    snapshot = cache / "hub" / "models--somebody--tiny" / "snapshots" / COMMITS["main"]
    assert (snapshot / "model.safetensors").is_file()
    templates = AutoTokenizer.from_pretrained(snapshot).chat_template
    assert templates == {"default": "{{ messages }}", "tool_use": "{{ tools }}"}
    hub.requests.clear()
    assert load(hub, cache, "somebody/tiny").splitlines()[0] == shown.splitlines()[0]
    assert not hub.requests  # all of it came from the cache
    assert load(hub, cache, "somebody/tiny", HF_HUB_OFFLINE="1").startswith(shown.split("\n")[0])


@pytest.mark.slow
def test_a_revision_of_its_own(hub: Hub, tmp_path: Path) -> None:
    totals = [make(tmp_path / name, seed) for seed, name in enumerate(("old", "new"), 1)]
    hub.repositories["somebody/tiny"] = {"main": tmp_path / "old", "v2": tmp_path / "new"}
    for arguments, total in (((), totals[0]), (("revision=v2",), totals[1])):
        shown = load(hub, tmp_path / "cache", "somebody/tiny", *arguments)
        assert float(shown.splitlines()[0]) == pytest.approx(total)
    message = load(hub, tmp_path / "cache", "somebody/tiny", "revision=v3")
    assert message.startswith("refused: there is no folder 'somebody/tiny'")
    assert message.count("\n") == 1


@pytest.mark.slow
def test_a_token_opens_what_is_closed(hub: Hub, tmp_path: Path) -> None:
    total = make(tmp_path / "repository", 1)
    hub.repositories["somebody/secret"] = {"main": tmp_path / "repository"}
    hub.closed.add("somebody/secret")
    assert load(hub, tmp_path / "a", "somebody/secret").startswith("refused: ")
    shown = load(hub, tmp_path / "b", "somebody/secret", f"token={TOKEN}")
    assert float(shown.splitlines()[0]) == pytest.approx(total)
    shown = load(hub, tmp_path / "c", "somebody/secret", HF_TOKEN=TOKEN)
    assert float(shown.splitlines()[0]) == pytest.approx(total)


def test_what_is_not_there_and_who_does_not_answer(hub: Hub, tmp_path: Path) -> None:
    message = load(hub, tmp_path, "nobody/nothing")
    assert message.startswith("refused: there is no folder 'nobody/nothing'")
    assert message.count("\n") == 1
    message = load(hub, tmp_path, "nobody/nothing", HF_ENDPOINT="http://127.0.0.1:9")
    assert message.startswith("refused: ")
    message = load(hub, tmp_path, "nobody/nothing", HF_HUB_OFFLINE="1")
    assert "unset HF_HUB_OFFLINE" in message
