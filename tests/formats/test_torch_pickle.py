"""Malicious and truncated pickles: all are refused, within bounded memory."""

import pickle
import struct
import tracemalloc

import pytest

from tests.formats.torch_crafting import (
    call,
    integer,
    mapping,
    name,
    pack,
    program,
    refused,
    tensor,
    text,
    zip_file,
)
from tinybert.formats.torch.file import read_torch

pytestmark = pytest.mark.usefixtures("canary")


HONEST = mapping(a=tensor())


def nested(count, opener=b"]", closer=b"a"):
    return opener * (count + 1) + closer * count


def laughs(levels, width=2):
    """Lists that each hold the one before ``width`` times."""
    code = b"]q\x00"
    for i in range(levels):
        before = b"h" + bytes([i])
        code += b"0](" + before * width + b"eq" + bytes([i + 1])
    return code


def laughing_tuples(levels):
    code = b")q\x00"
    for i in range(levels):
        before = b"h" + bytes([i])
        code += b"0" + before * 2 + b"\x86q" + bytes([i + 1])
    return code


BOMBS = {
    "billion laughs": (laughs(40), "expands"),
    "wide laughs": (laughs(9, 100), "expands"),
    "laughing tuples": (laughing_tuples(90), "expands"),
    "laughs in a record": (
        name("argparse", "Namespace") + b")\x81" + mapping(x=laughs(50)) + b"b",
        "expands",
    ),
    "a tower of lists": (nested(101), "nested over 100"),
    "a tower to the sky": (nested(30_000), "nested over 100"),
    "a tower of tuples": (b")" + b"\x85" * 30_000, "nested over 100"),
    "a tower of dicts": ((b"}" + text("a")) * 200 + b"N" + b"s" * 200, "nested over 100"),
    "a tower of records": (
        name("argparse", "Namespace") + b"q\x010N" + b"q\x030h\x01)\x81h\x03b" * 200,
        "nested over 100",
    ),
    "marks to the sky": (b"(" * 50_000, "an empty stack"),
    "a list in itself": (b"]q\x00h\x00a", "contains itself"),
    "a dict in itself": (b"}q\x00" + text("a") + b"h\x00s", "contains itself"),
    "a circle of three": (b"]q\x00]q\x01]q\x02h\x00aaa", "contains itself"),
    "a record in itself": (name("argparse", "Namespace") + b")\x81q\x00h\x00b", "contains itself"),
    "a tuple as key": (b"}" + laughing_tuples(60) + b"Ns", "must be str or int"),
    "a float as key": (b"}G" + bytes(8) + b"Ns", "must be str or int"),
    "a huge key": (b"}" + integer(2**64) + b"Ns", "a huge int"),
    "a tensor as key": (b"}" + tensor() + b"Ns", "must be str or int"),
    "copies of a long list": (
        name("collections", "OrderedDict")
        + b"q\x010"
        + b"]("
        + b"".join(pack(text(str(i)), b"N") for i in range(3000))
        + b"eq\x020"
        + b"]("
        + b"h\x01h\x02\x85R" * 3000
        + b"e",
        "holds a list|does not agree",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_defused(bomb, write):
    code, words = BOMBS[bomb]
    path = write(program(code))
    tracemalloc.start()
    refused(path, words)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000 + 80 * len(code)


def test_the_count_of_opcodes_is_bounded(tmp_path):
    refused(zip_file(tmp_path / "x", program(b"N0" * 500_001 + b"N")), "over 1000000 opcodes")


LYING = {
    "LONG4 of 2 GB": (b"\x8b" + b"\xff\xff\xff\x7f", "an integer of 2147483647 bytes"),
    "LONG4 of a negative length": (b"\x8b" + b"\xff\xff\xff\xff", "an integer of"),
    "LONG1 of 255 bytes": (b"\x8a\xff" + b"\x01" * 255, "an integer of 255 bytes"),
    "BINUNICODE": (b"X\xff\xff\xff\xff", "truncated"),
    "BINUNICODE8": (b"\x8d" + b"\xff" * 8, "truncated"),
    "BINBYTES8": (b"\x8e" + b"\xff" * 7 + b"\x7f", "truncated"),
    "BINSTRING": (b"T\xff\xff\xff\x7f", "truncated"),
    "SHORT_BINUNICODE": (b"\x8c\xffab", "truncated"),
    "not UTF-8": (b"X\x02\0\0\0\xff\xfe", "not UTF-8"),
    "half a surrogate pair": (b"X\x03\0\0\0\xed\xa0\x80", "not UTF-8"),
    "FRAME over the end": (b"\x95" + struct.pack("<Q", 2**40) + b"N", "a frame reaches"),
    "GLOBAL without end": (b"c" + b"a" * 5000, "does not end"),
    "GLOBAL cut off": (b"cos", "does not end"),
    "POP of nothing": (b"0", "MARK is missing"),
    "POP_MARK of nothing": (b"N1", "MARK is missing"),
    "TUPLE of nothing": (b"t", "MARK is missing"),
    "TUPLE3 of two": (b"NN\x87", "empty stack"),
    "DUP of nothing": (b"2", "empty stack"),
    "REDUCE of nothing": (b"R", "empty stack"),
    "STOP at once": (b"", "empty stack"),
    "two values": (b"NN", "left over"),
    "a mark left": (b"(N", "left over"),
    "APPEND to a tuple": (b")Na", "not to a list"),
    "APPENDS to a number": (b"K\1(Ne", "not to a list"),
    "SETITEM on a list": (b"]NNs", "not to a dict"),
    "SETITEMS on nothing": (b"(NNu", "not to a dict"),
    "a key without value": (b"}(Nu", "without a value"),
    "an odd DICT": (b"(NNNd", "without a value"),
    "BINGET of nothing": (b"h\7", "memo 7 is fetched"),
    "LONG_BINGET of nothing": (b"j\xff\xff\xff\xff", "memo 4294967295 is fetched"),
    "BINPUT of nothing": (b"q\0", "empty stack"),
    "EXT1": (b"\x82\1", "opcode EXT1"),
    "EXT2": (b"\x83\1\0", "opcode EXT2"),
    "EXT4": (b"\x84\1\0\0\0", "opcode EXT4"),
    "PERSID": (b"Pstorage\n", "opcode PERSID"),
    "INST of what is allowed": (b"(iargparse\nNamespace\n", "opcode INST"),
    "OBJ": (b"(" + name("argparse", "Namespace") + b"o", "opcode OBJ"),
    "NEWOBJ_EX": (name("argparse", "Namespace") + b")}\x92", "opcode NEWOBJ_EX"),
    "NEXT_BUFFER": (b"\x97", "opcode NEXT_BUFFER"),
    "BYTEARRAY8": (b"\x96" + bytes(8), "opcode BYTEARRAY8"),
    "INT": (b"I1\n", "opcode INT"),
    "an endless LONG": (b"L" + b"9" * 10_000 + b"L\n", "opcode LONG"),
    "STRING": (b"S'a'\n", "opcode STRING"),
    "EMPTY_SET": (b"\x8f", "opcode EMPTY_SET"),
    "no such opcode": (b"\xff", "opcode 0xff"),
    "PROTO in the middle": (b"N\x80\2", "opcode 0x80"),
    "a call of a number": (b"K\1)R", "it calls a int"),
    "a call of a string": (text("os.system") + b")R", "it calls a str"),
    "a call of a record": (call(call(name("argparse", "Namespace"))), "it calls a Record"),
    "a call of a tensor": (call(tensor()), "it calls a LazyTensor"),
    "a call of a type of number": (call(name("torch", "float16")), "it calls torch.float16"),
    "a call of a storage": (call(name("torch", "FloatStorage"), integer(5)), "it calls torch.Fl"),
    "arguments in a list": (name("collections", "OrderedDict") + b"]R", "must be a tuple"),
    "STACK_GLOBAL of numbers": (b"K\1K\2\x93", "not a string"),
    "BUILD of a tensor": (tensor() + b"}b", "sets the state of a LazyTensor"),
    "BUILD of a name": (name("torch", "float16") + b"}b", "sets the state of a Name"),
    "BUILD of a list": (b"]}b", "sets the state of a list"),
    "BUILD of a dict by a list": (b"}]b", "sets the state of a dict"),
    "OrderedDict of a dict": (call(name("collections", "OrderedDict"), b"}"), "no sense"),
    "OrderedDict of numbers": (call(name("collections", "OrderedDict"), b"]K\1a"), "no sense"),
    "OrderedDict of two": (call(name("collections", "OrderedDict"), b"]", b"]"), "no sense"),
    "Size of text": (call(name("torch", "Size"), pack(text("a"))), "no sense"),
    "Size of nothing": (call(name("torch", "Size")), "no sense"),
    "a parameter of nothing": (call(name("torch._utils", "_rebuild_parameter")), "no sense"),
    "a parameter of a list": (
        call(name("torch._utils", "_rebuild_parameter"), b"]", b"\x88", b"}"), "no sense",
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LYING)
def test_pickles_that_lie(lie, write):
    code, words = LYING[lie]
    refused(write(program(code)), words)


@pytest.mark.parametrize("start", [b"", b"\x80", b"\x80\1", b"\x80\6", b"\x80\xff", b"(", b"}."])
def test_pickles_of_other_protocols(start, write):
    refused(write(start + HONEST + b"."), "must begin with PROTO|truncated")


@pytest.mark.parametrize("protocol", [2, 4])
def test_every_beginning_of_a_pickle_is_refused(protocol, form, write, tmp_path):
    honest = pickle.dumps({"a": [1, 2.5, "x", b"y", None, True, (1, 2), 2**70]}, protocol)
    none = {"members" if form == "zip" else "storages": ()}
    assert read_torch(write(honest, **none))["a"][7] == 2**70
    for end in range(len(honest)):
        refused(write(honest[:end], **none))
    whole = write(program(HONEST)).read_bytes()
    path = tmp_path / "part.bin"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        refused(path)
