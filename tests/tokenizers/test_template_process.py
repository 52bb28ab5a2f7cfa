"""The process of chat templates: what it bounds, and that it is there when it is needed."""

import os
import subprocess
import sys
import threading
from types import MappingProxyType

import numpy as np
import pytest

from tinybert.tokenizers import template_process
from tinybert.tokenizers.template_process import Worker, run_template

LIMITED = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
BUSY = 900  # seconds that a busy machine does not take for a short template
LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (LOOP, "over 1 seconds"),
        ("{{ 'x' * 20_000_000 }}", "more than 1000.* characters"),
        ("{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}", "more than 1000.* characters"),
        ("{{ range(10**9) | list }}", "Range too big"),
        ("{{ 2 ** 99999999999 }}", r"over 1 seconds|memory|too large"),
        pytest.param("{{ 'x' * 10**12 }}", "memory", marks=LIMITED),
        pytest.param("{{ 'x\n' | indent(10**12) }}", "memory", marks=LIMITED),
        pytest.param("{{ [1] | tojson(indent=10**12) }}", "memory", marks=LIMITED),
        pytest.param("{{ '%1000000000000d' % 1 }}", r"memory|width|too big", marks=LIMITED),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "recursion|nested|crashes"),
        ("{% for i in [1] %}" * 99 + "{% endfor %}" * 99, "too many levels"),
        ("{{ 1 / 0 }}", "zero"),
        ("{{ nothing.at.all }}", "undefined"),
        ("{{ 'a' + 1 }}", "concatenate"),
        ("{{ raise_exception('no') }}", "^no$"),
    ],
    ids=lambda value: value[:30],
)
def test_limits_and_errors(template, message, monkeypatch):
    seconds = 1 if "over 1 seconds" in message else BUSY
    monkeypatch.setattr(template_process, "SECONDS", seconds)
    monkeypatch.setattr(template_process, "MEMORY", 300_000_000)
    with pytest.raises(ValueError, match=message):
        run_template(template, {})
    monkeypatch.setattr(template_process, "SECONDS", BUSY)
    assert run_template("{{ a }}", {"a": 1}) == "1"


def test_one_process_serves_all_conversations():
    run_template("", {})
    before = [worker.process.pid for worker in template_process._waiting]
    for i in range(5):
        assert run_template("{{ i }}", {"i": i}) == str(i)
    assert [worker.process.pid for worker in template_process._waiting] == before


def test_values_arrive_as_they_are():
    template = "{{ a }}|{{ b[1] }}|{{ c }}|{{ d }}|{{ e }}|{{ f.g }}|{{ h }}|{{ 2 in i }}|{{ j }}"
    values = {
        "a": (1, "x"), "b": {1: "one"}, "c": None, "d": True, "e": np.float32(0.5),
        "f": MappingProxyType({"g": np.int64(3)}), "h": "\ud800é", "i": {1, 2}, "j": float("inf"),
    }  # fmt: skip
    assert run_template(template, values) == "(1, 'x')|one|None|True|0.5|3|\ud800é|True|inf"
    for value in (len, object(), b"x"):
        with pytest.raises(TypeError, match=r"x must consist of dicts, lists, text and numbers"):
            run_template("", {"x": [value]})
    cycle = []
    cycle.append(cycle)
    with pytest.raises(TypeError, match=r"conversation must consist .* at most 100 deep"):
        run_template("", {"messages": cycle})


def test_threads():
    found = {}

    def run(i):
        found[i] = [run_template("{{ i }}", {"i": i}) for _ in range(5)]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: [str(i)] * 5 for i in range(4)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is of POSIX systems")
def test_fork():
    code = (
        "import os\n"
        "from tinybert.tokenizers.template_process import run_template\n"
        "assert run_template('{{ 1 }}', {}) == '1'\n"
        "child = os.fork()\n"
        "texts = [run_template('{{ i }}', {'i': i}) for i in range(20)]\n"
        "assert texts == [str(i) for i in range(20)]\n"
        "if child:\n    assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=BUSY)


def test_no_process_is_left_behind():
    code = (
        "from tinybert.tokenizers import template_process as t\n"
        "t.run_template('', {})\nprint(t._waiting[0].process.pid)"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    )
    assert not result.stderr
    if os.name == "posix":
        with pytest.raises(ProcessLookupError):
            os.kill(int(result.stdout), 0)


def test_a_process_that_was_killed():
    run_template("", {})
    template_process._waiting[-1].process.kill()
    template_process._waiting[-1].process.wait()
    assert run_template("{{ 1 }}", {}) == "1"


def test_ctrl_c_ends_the_process(monkeypatch):
    def interrupted(worker, request, most):
        raise KeyboardInterrupt

    before = len(template_process._waiting)
    with monkeypatch.context() as patch:
        patch.setattr(Worker, "ask", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_template("", {})
    assert len(template_process._waiting) == max(0, before - 1)


def test_a_program_without_python(monkeypatch):
    template_process._close_all()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(OSError, match="second Python process"):
        run_template("", {})
