"""The process in which chat templates run; `template_process.py` starts it and talks to it.

It is a script: only Jinja2 and the standard library are imported. It reads requests from standard
input and writes an answer to each on standard output. A request is a dict written by `marshal`
("template", "variables", "seconds", "memory", "characters"), an answer one byte, 1 for a text or 0
for an error, and the text in UTF-8; each has its length in eight bytes before it.
"""

from __future__ import annotations

import faulthandler
import functools
import importlib
import json
import marshal
import signal
import sys
from contextlib import suppress
from datetime import datetime
from typing import IO, Any

CACHED = 16  # compiled templates


def main() -> None:
    """Answer requests until standard input ends."""
    sys.path += sys.argv[1:]
    source, target = sys.stdin.buffer, sys.stdout.buffer
    # Ctrl-C goes to all processes of a terminal; the parent ends this one if it is at work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while (request := read_message(source)) is not None:
        values = marshal.loads(request)
        limit_memory(values["memory"])
        # A thread of its own ends the process, whatever the template does; no parent is needed.
        faulthandler.dump_traceback_later(values["seconds"], exit=True)
        try:
            answer = b"\1" + render(values).encode("utf-8", "surrogatepass")
        except MemoryError:
            answer = f"\0it needs more than {values['memory']} bytes of memory".encode()
        except Exception as error:  # the template can raise every type
            text = f"{error}" or type(error).__name__
            answer = b"\0" + text[:10_000].encode("utf-8", "surrogatepass")
        faulthandler.cancel_dump_traceback_later()
        write_message(target, answer)


def read_message(source: IO[bytes], most: int = sys.maxsize) -> bytes | None:
    """Return the next message; None at the end, or if it has more than `most` bytes."""
    head = source.read(8)
    size = int.from_bytes(head, "little")
    message = source.read(size) if len(head) == 8 and size <= most else b""
    return message if message and len(message) == size else None


def write_message(target: IO[bytes], message: bytes) -> None:
    """Write a message."""
    target.write(len(message).to_bytes(8, "little") + message)
    target.flush()


def limit_memory(size: int) -> None:
    """Limit the memory of this process to `size` bytes, and the files that it writes to none.

    Windows has no such limits, and macOS does not enforce that of memory.
    """
    with suppress(ImportError, ValueError, OSError):
        resource: Any = importlib.import_module("resource")
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        size = size if most == resource.RLIM_INFINITY else min(size, most)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (size, most))


def render(values: dict[str, Any]) -> str:
    """Return the text of a template. Raises ValueError if it has too many characters."""
    parts, length = [], 0
    for part in compiled(values["template"]).generate(values["variables"]):
        parts.append(part)
        length += len(part)
        if length > values["characters"]:
            raise ValueError(f"it gives more than {values['characters']} characters")
    return "".join(parts)


@functools.lru_cache(CACHED)
def compiled(template: str) -> Any:
    """Return a template of Jinja2's sandbox."""
    return environment().from_string(template)


@functools.cache
def environment() -> Any:
    """Return Jinja2's sandbox with what the templates of models use besides Jinja2's own."""
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    class Generation(jinja2.ext.Extension):
        """{% generation %}, which marks the text of the model, has no effect."""

        def __init__(self, environment: Any) -> None:
            super().__init__(environment)
            self.tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation]
    )
    sandbox.filters["tojson"] = to_json
    sandbox.globals["raise_exception"] = raise_exception
    sandbox.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return sandbox


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON that is not escaped for HTML, unlike that of Jinja2's own filter."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


if __name__ == "__main__":
    main()
