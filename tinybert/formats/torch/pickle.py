"""A pickle interpreter that cannot run code.

A pickle is a program for a small stack machine. Most opcodes push a value (``K\\x05`` pushes 5) or
fold the top of the stack into a container (``\\x86`` makes a pair); ``q`` stores the top in a
numbered memo, ``h`` fetches it again. Four opcodes make the format dangerous: GLOBAL imports any
name, REDUCE calls it, NEWOBJ instantiates it, BUILD sets its state. Here those four call a
``Vocabulary``, which knows a few names and imports nothing; so does BINPERSID, which refers to the
numbers outside the pickle. Opcodes that torch.save never writes are refused.

Reference: the opcode table in CPython's ``pickletools``.
"""

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

MAX_PICKLE = 64 << 20  # bytes; the numbers of a checkpoint are outside its pickle
MAX_OPCODES = 1_000_000  # a tensor takes about 40
MAX_DEPTH = 100  # lists in lists
_MAX_INTEGER = 16  # bytes
_MAX_LINE = 256  # bytes of a module's or a function's name

_REFUSED = {
    0x49: "INT", 0x46: "FLOAT", 0x4C: "LONG", 0x53: "STRING", 0x56: "UNICODE", 0x67: "GET",
    0x70: "PUT", 0x50: "PERSID", 0x6F: "OBJ", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4",
    0x8F: "EMPTY_SET", 0x90: "ADDITEMS", 0x91: "FROZENSET", 0x92: "NEWOBJ_EX",
    0x96: "BYTEARRAY8", 0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Name:
    """A name that the pickle refers to, such as ``torch.float16``; nothing is imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, repr=False, slots=True)
class Record:
    """An object that was not rebuilt: the name of its class, its arguments and its state.

    An ``argparse.Namespace`` has its attributes in ``state``, a dict.
    """

    name: str
    args: tuple[Any, ...]
    state: Any = None


class Vocabulary(Protocol):
    """The meaning of the names in a pickle. Each method raises ValueError for an unknown name."""

    def find(self, module: str, name: str) -> Any:
        """Return the object for a name (GLOBAL)."""

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        """Return the result of "calling" an object of ``find`` (REDUCE and NEWOBJ)."""

    def build(self, target: Any, state: Any) -> None:
        """Set the state of an object (BUILD)."""

    def persistent(self, reference: Any) -> Any:
        """Return the object outside the pickle (BINPERSID)."""


def unpickle(data: bytes | mmap.mmap, begin: int, vocabulary: Vocabulary) -> tuple[Any, int]:
    """Interpret the pickle that starts at ``data[begin]``; return its object and its end.

    The object is made of None, bool, int, float, str, bytes, tuple, list, dict, and of the
    objects that ``vocabulary`` returns; it has no cycles. Raises ValueError saying what is wrong.
    """
    machine = _Machine(data, begin, vocabulary)
    value = machine.run()
    _check_nesting(value)
    return value, machine.at


class _Machine:
    def __init__(self, data: bytes | mmap.mmap, begin: int, vocabulary: Vocabulary) -> None:
        self.data, self.at = data, begin
        self.end = min(len(data), begin + MAX_PICKLE)
        self.vocabulary = vocabulary
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # a MARK puts the stack aside and starts a new one
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return the object that is on the stack at STOP."""
        if self.take(1) != b"\x80" or not 2 <= self.byte() <= 5:
            raise ValueError("bad pickle: it must begin with PROTO 2, 3, 4 or 5")
        for _ in range(MAX_OPCODES):
            opcode = self.byte()
            if opcode == 0x2E:  # STOP
                value = self.pop()
                if self.stack or self.below:
                    raise ValueError("bad pickle: values are left over at its end")
                return value
            step = _STEPS.get(opcode)
            if step is None:
                name = _REFUSED.get(opcode, f"0x{opcode:02x}")
                raise ValueError(f"bad pickle: opcode {name}, which no weight file needs")
            step(self)
        raise ValueError(f"bad pickle: over {MAX_OPCODES} opcodes")

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        if count > self.end - self.at:
            raise ValueError(f"bad pickle: it is truncated, or over {MAX_PICKLE} bytes long")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        """Return the next byte as a number."""
        return self.take(1)[0]

    def size(self, width: int) -> int:
        """Return an unsigned little-endian number of ``width`` bytes."""
        return int.from_bytes(self.take(width), "little")

    def line(self) -> str:
        """Return the text up to the next line end."""
        stop = self.data.find(b"\n", self.at, min(self.end, self.at + _MAX_LINE))
        if stop < 0:
            raise ValueError("bad pickle: a name that does not end")
        text = _text(self.take(stop - self.at))
        self.at += 1
        return text

    def pop(self) -> Any:
        """Take the top of the stack."""
        if not self.stack:
            raise ValueError("bad pickle: a value is taken from an empty stack")
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        """Take everything above the last MARK."""
        if not self.below:
            raise ValueError("bad pickle: MARK is missing")
        items, self.stack = self.stack, self.below.pop()
        return items

    def top(self, kind: type) -> Any:
        """Return the container on top of the stack, which must be of that type."""
        if not self.stack or type(self.stack[-1]) is not kind:
            raise ValueError(f"bad pickle: items are added, but not to a {kind.__name__}")
        return self.stack[-1]

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)


_STEPS: dict[int, Callable[[_Machine], None]] = {}


def _opcode(code: bytes) -> Callable[[Callable[[_Machine], None]], Callable[[_Machine], None]]:
    def register(step: Callable[[_Machine], None]) -> Callable[[_Machine], None]:
        _STEPS[code[0]] = step
        return step

    return register


def _pushes(code: bytes, value: Callable[[_Machine], Any]) -> None:
    _STEPS[code[0]] = lambda machine: machine.push(value(machine))


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("bad pickle: text that is not UTF-8") from None


def _integer(machine: _Machine, width: int) -> int:
    if width > _MAX_INTEGER:
        raise ValueError(f"bad pickle: an integer of {width} bytes")
    return int.from_bytes(machine.take(width), "little", signed=True)


# Numbers, text, bytes: the value follows the opcode.
_pushes(b"N", lambda m: None)
_pushes(b"\x88", lambda m: True)
_pushes(b"\x89", lambda m: False)
_pushes(b"K", lambda m: m.size(1))  # BININT1
_pushes(b"M", lambda m: m.size(2))  # BININT2
_pushes(b"J", lambda m: _integer(m, 4))  # BININT
_pushes(b"\x8a", lambda m: _integer(m, m.size(1)))  # LONG1
_pushes(b"\x8b", lambda m: _integer(m, m.size(4)))  # LONG4
_pushes(b"G", lambda m: struct.unpack(">d", m.take(8))[0])  # BINFLOAT
_pushes(b"\x8c", lambda m: _text(m.take(m.size(1))))  # SHORT_BINUNICODE
_pushes(b"X", lambda m: _text(m.take(m.size(4))))  # BINUNICODE
_pushes(b"\x8d", lambda m: _text(m.take(m.size(8))))  # BINUNICODE8
_pushes(b"U", lambda m: _text(m.take(m.size(1))))  # SHORT_BINSTRING, the str of Python 2
_pushes(b"T", lambda m: _text(m.take(m.size(4))))  # BINSTRING
_pushes(b"C", lambda m: m.take(m.size(1)))  # SHORT_BINBYTES
_pushes(b"B", lambda m: m.take(m.size(4)))  # BINBYTES
_pushes(b"\x8e", lambda m: m.take(m.size(8)))  # BINBYTES8

# Containers: made empty and filled, or made from the top of the stack.
_pushes(b")", lambda m: ())
_pushes(b"]", lambda m: [])
_pushes(b"}", lambda m: {})
_pushes(b"t", lambda m: tuple(m.pop_mark()))
_pushes(b"l", lambda m: m.pop_mark())
_pushes(b"d", lambda m: _fill({}, m.pop_mark()))
_pushes(b"\x85", lambda m: (m.pop(),))
_pushes(b"\x86", lambda m: (m.pop(), m.pop())[::-1])
_pushes(b"\x87", lambda m: (m.pop(), m.pop(), m.pop())[::-1])


@_opcode(b"a")
def _append(machine: _Machine) -> None:
    item = machine.pop()
    machine.top(list).append(item)


@_opcode(b"e")
def _appends(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.top(list).extend(items)


@_opcode(b"s")
def _setitem(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _fill(machine.top(dict), [key, value])


@_opcode(b"u")
def _setitems(machine: _Machine) -> None:
    items = machine.pop_mark()
    _fill(machine.top(dict), items)


def _fill(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("bad pickle: a dict key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # The hash of nested tuples takes time exponential in their depth; that of huge integers
        # can be chosen so that all collide.
        if type(key) not in (str, int) or (type(key) is int and abs(key) >= 2**64):
            raise ValueError(f"bad pickle: a dict key must be str or int, not {_kind(key)}")
        target[key] = value
    return target


def _kind(value: Any) -> str:
    return "a huge int" if type(value) is int else type(value).__name__


# The stack itself, and the memo.
@_opcode(b"(")
def _mark(machine: _Machine) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


@_opcode(b"0")
def _pop(machine: _Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()  # POP also takes a bare MARK


@_opcode(b"1")
def _pop_mark(machine: _Machine) -> None:
    machine.pop_mark()


@_opcode(b"2")
def _dup(machine: _Machine) -> None:
    value = machine.pop()
    machine.stack += [value, value]


@_opcode(b"\x95")
def _frame(machine: _Machine) -> None:
    if machine.size(8) > machine.end - machine.at:
        raise ValueError("bad pickle: a frame reaches beyond its end")


def _put(machine: _Machine, number: int) -> None:
    value = machine.pop()
    machine.memo[number] = value
    machine.push(value)


def _get(machine: _Machine, number: int) -> Any:
    if number not in machine.memo:
        raise ValueError(f"bad pickle: memo {number} is fetched before it is stored")
    return machine.memo[number]


_STEPS[ord("q")] = lambda m: _put(m, m.size(1))  # BINPUT
_STEPS[ord("r")] = lambda m: _put(m, m.size(4))  # LONG_BINPUT
_STEPS[0x94] = lambda m: _put(m, len(m.memo))  # MEMOIZE
_pushes(b"h", lambda m: _get(m, m.size(1)))  # BINGET
_pushes(b"j", lambda m: _get(m, m.size(4)))  # LONG_BINGET


# The dangerous four, and the references out of the pickle.
_pushes(b"c", lambda m: m.vocabulary.find(m.line(), m.line()))  # GLOBAL
_pushes(b"Q", lambda m: m.vocabulary.persistent(m.pop()))  # BINPERSID


@_opcode(b"\x93")
def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if type(module) is not str or type(name) is not str:
        raise ValueError("bad pickle: a name that is not a string")
    machine.push(machine.vocabulary.find(module, name))


@_opcode(b"R")  # REDUCE
@_opcode(b"\x81")  # NEWOBJ
def _reduce(machine: _Machine) -> None:
    args, function = machine.pop(), machine.pop()
    if type(args) is not tuple:
        raise ValueError("bad pickle: the arguments of a call must be a tuple")
    machine.push(machine.vocabulary.call(function, args))


@_opcode(b"i")
def _inst(machine: _Machine) -> None:
    machine.vocabulary.find(machine.line(), machine.line())  # raises an error that names it
    raise ValueError("bad pickle: opcode INST, which no weight file needs")


@_opcode(b"b")
def _build(machine: _Machine) -> None:
    state, target = machine.pop(), machine.pop()
    machine.vocabulary.build(target, state)
    machine.push(target)


def _children(value: Any) -> Iterator[Any]:
    if type(value) is Record:
        return iter((value.args, value.state))
    return iter(value.values() if type(value) is dict else value)


def _check_nesting(root: Any) -> None:
    """Refuse a structure that is cyclic, too deep, or too large when it is expanded.

    The memo lets a pickle of a hundred bytes describe a list that contains itself, or thirty lists
    that each hold the previous one twice: 2^30 values when expanded. Here every distinct container
    is visited once, without recursion, and its depth and its expanded size are stored.
    """
    known: dict[int, tuple[int, int]] = {}  # id of a container: depth and size, 0 while it is open
    walk: list[tuple[Any, Iterator[Any]]] = [((), iter((root,)))]
    depth, size = [0], [0]  # of each container on the walk, so far
    while walk:
        value, children = walk[-1]
        child = next(children, _END)
        if child is _END:
            walk.pop()
            found = depth.pop() + 1, size.pop() + 1
            known[id(value)] = found
        elif type(child) not in (dict, list, tuple, Record):
            size[-1] += 1
            continue
        elif id(child) in known:
            found = known[id(child)]
            if not found[0]:
                raise ValueError("bad pickle: a container that contains itself")
        else:
            known[id(child)] = 0, 0
            walk.append((child, _children(child)))
            depth.append(0)
            size.append(0)
            found = 0, 0
        if len(walk) + found[0] > MAX_DEPTH:
            raise ValueError(f"bad pickle: containers nested over {MAX_DEPTH} deep")
        if walk and found[0]:
            depth[-1] = max(depth[-1], found[0])
            size[-1] += found[1]
            if size[-1] > MAX_OPCODES:
                raise ValueError(f"bad pickle: its memo expands to over {MAX_OPCODES} values")


_END = object()
