"""Hostile chat templates: loops, sizes, depth, and ways out of the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tests.attacks.harness import Attack, Read
from tinybert.tokenizers import template_process
from tinybert.tokenizers.chat import ChatTemplates

LOOP = "{%% for i in range(99999) %%}{%% for j in range(99999) %%}%s{%% endfor %%}{%% endfor %%}"
ENDLESS = {
    "nested loops": LOOP % "",
    "nested loops with output": LOOP % "{{ i }}",
    "recursive loop": "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "recursive macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "doubling macro": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}"
    "{% endmacro %}{{ m(60) }}",
    "doubling text": "{% set ns = namespace(t='x') %}{% for i in range(99) %}"
    "{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t }}",
    "doubling list": "{% set ns = namespace(t=[1]) %}{% for i in range(99) %}"
    "{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t | length }}",
    "doubling number": "{% set ns = namespace(t=3) %}{% for i in range(99) %}"
    "{% set ns.t = ns.t * ns.t %}{% endfor %}{{ ns.t }}",
    "power": "{{ 9 ** 9 ** 9 ** 9 }}",
    "shift": "{{ (2 ** 99999999) * (2 ** 99999999) }}",
    "repeat": "{{ 'x' * 10 ** 12 }}",
    "repeat list": "{{ ([1] * 10 ** 11) | length }}",
    "join": "{{ range(99999) | join('x' * 99999) }}",
    "replace": "{{ ('x' * 99999) | replace('x', 'x' * 99999) }}",
    "center": "{{ 'x' | center(10 ** 12) }}",
    "indent": "{{ ('x\n' * 99999) | indent(10 ** 7) }}",
    "wordwrap": "{{ ('x ' * 9999999) | wordwrap(1) }}",
    "format": "{{ '%1000000000000d' | format(1) }}",
    "str.format": "{{ '{:>1000000000000}'.format(1) }}",
    "ljust": "{{ 'x'.ljust(10 ** 12) }}",
    "zfill": "{{ 'x'.zfill(10 ** 12) }}",
    "expandtabs": "{{ '\t'.expandtabs(10 ** 12) }}",
    "tojson": "{{ [[[1]]] | tojson(indent=10 ** 12) }}",
    "tojson of a range": "{{ range(99999) | list | tojson(indent=99999) }}",
    "batch": "{{ [1] | batch(10 ** 12, 1) | list | length }}",
    "slice": "{{ [1] | slice(10 ** 12) | list | length }}",
    "range": "{{ range(10 ** 12) | list | length }}",
    "lipsum": "{{ lipsum(n=10 ** 9) }}",
    "cycler": "{% set c = cycler(1, 2) %}" + LOOP % "{{ c.next() }}",
    "sort": "{% for i in range(9999) %}{{ range(99999) | sort | length }}{% endfor %}",
    "groupby": "{% for i in range(9999) %}{{ range(9999) | groupby('real') | list }}{% endfor %}",
    "regular growth": LOOP % "{{ 'x' * 1000 }}",
    "urlize": "{{ ('www.' * 999999) | urlize }}",
    "striptags": "{{ ('<' * 999999) | striptags | length }}",
    "title": "{{ ('x-' * 9999999) | title }}",
    "wordcount": "{{ ('x ' * 99999999) | wordcount }}",
    "strftime": "{{ strftime_now('%c' * 9999999) }}",
    "include": "{% include 'x' %}",
    "extends": "{% extends '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
}
ESCAPES = {
    "class": "{{ ''.__class__ }}",
    "mro": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ raise_exception.__globals__ }}",
    "attr": "{{ '' | attr('__class__') }}",
    "format": "{{ '{0.__class__.__mro__}'.format('') }}",
    "format_map": "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "lipsum": "{{ lipsum.__globals__['os'] }}",
    "strftime": "{{ strftime_now.__globals__ }}",
    "environment": "{{ self.__init__.__globals__ }}",
    "change": "{{ messages.append(1) }}",
    "namespace": "{{ namespace.__init__.__globals__ }}",
}
DEEP: dict[str, Callable[[int], str]] = {
    "parentheses": lambda n: "{{ " + "(" * n + "1" + ")" * n + " }}",
    "lists": lambda n: "{{ " + "[" * n + "]" * n + " }}",
    "not": lambda n: "{{ " + "not " * n + "1 }}",
    "minus": lambda n: "{{ " + "-" * n + "1 }}",
    "sums": lambda n: "{{ 1" + " + 1" * n + " }}",
    "texts": lambda n: "{{ 'a'" + " ~ 'a'" * n + " }}",
    "attributes": lambda n: "{{ messages" + ".a" * n + " }}",
    "filters": lambda n: "{{ 'a'" + " | trim" * n + " }}",
    "calls": lambda n: "{{ messages" + "()" * n + " }}",
    "if": lambda n: "{% if 1 %}" * n + "{% endif %}" * n,
    "elif": lambda n: "{% if 0 %}" + "{% elif 0 %}" * n + "{% endif %}",
    "for": lambda n: "{% for i in [1] %}" * n + "{% endfor %}" * n,
    "macro": lambda n: "{% macro m() %}" * n + "{% endmacro %}" * n,
    "set": lambda n: "{% set a %}" * n + "{% endset %}" * n,
    "generation": lambda n: "{% generation %}" * n + "{% endgeneration %}" * n,
    "open": lambda n: "{{" * n,
    "comments": lambda n: "{#" * n,
    "raw": lambda n: "{% raw %}" * n,
    "long text": lambda n: "x" * n,
    "long number": lambda n: "{{ " + "9" * n + " }}",
    "long name": lambda n: "{{ " + "a" * n + " }}",
    "many names": lambda n: "".join(f"{{{{ a{i} }}}}" for i in range(n // 10)),
    "many lines": lambda n: "\n" * n,
    "zero bytes": lambda n: "\0" * n,
}


def templates() -> Iterator[Attack]:
    """Templates that would not end, that ask for the sandbox's outside, and deep ones."""

    def attack(name: str, text: Callable[[int], str], size: int, named: str) -> Attack:
        def make(n: int, folder: Path) -> Read:
            template_process._forget_all()
            template_process.SECONDS, template_process.MEMORY = 1, 400_000_000
            template_process.run_template("", {})  # what follows does not start the process
            chat = ChatTemplates()
            chat.special_tokens_map = {}
            chat.chat_template = text(n)
            conversation = [{"role": "user", "content": "Hello"}]
            return lambda: bounded(chat.apply_chat_template(conversation, tokenize=False))

        return Attack(f"template {name}", make, size, named, memory=100 << 20)

    for name, text in ENDLESS.items():
        yield attack(name, lambda n, text=text: text, 0, "chat_template")
    for name, text in ESCAPES.items():
        yield attack(f"escape {name}", lambda n, text=text: text, 0, "chat_template")
    for name, make in DEEP.items():
        yield attack(f"deep {name}", make, 1_000, "chat_template")


def bounded(text: str) -> None:
    """Fail for a text that the limits forbid, or that shows what is outside the sandbox."""
    assert len(text) <= 2_000_000, f"{len(text)} characters"
    for secret in ("<class", "root:", "module 'os'", "uid="):
        assert secret not in text, text[:200]
