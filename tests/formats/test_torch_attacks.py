"""Pickles that would run code: each is refused with the name it refers to, and nothing is run."""

import os
import pickle

import pytest
import torch

from tests.formats.torch_crafting import (
    FLAG,
    call,
    integer,
    mapping,
    name,
    pack,
    program,
    refused,
    storage,
    tensor,
    text,
    watched,
)
from tinybert.formats.torch.file import read_torch
from tinybert.weights import load_checkpoint

pytestmark = pytest.mark.usefixtures("canary")


def test_the_canary_sings(tmp_path):
    """The payloads below are real: Python's own pickle runs them."""
    payload = program(call(name("builtins", "eval"), text(EVAL)))
    with watched() as seen:
        pickle.loads(payload)
    assert {line.split()[0] for line in seen} >= {"pickle.find_class", "exec", "compile", "open"}
    assert os.environ.pop(FLAG) == "1"
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()


EVAL = f"[__import__('os').environ.update({FLAG}='1'), open('ran', 'w').close()]"
SHELL = f"touch ran; export {FLAG}=1"
ATTACKS = {
    "os.system": (SHELL,),
    "posix.system": (SHELL,),
    "nt.system": (SHELL,),
    "os.popen": (SHELL,),
    "os.execvp": (SHELL,),
    "subprocess.Popen": (SHELL,),
    "subprocess.check_output": (SHELL,),
    "subprocess.getoutput": (SHELL,),
    "builtins.eval": (EVAL,),
    "builtins.exec": (EVAL,),
    "builtins.compile": (EVAL, "x", "exec"),
    "builtins.getattr": ("os", "system"),
    "builtins.__import__": ("antigravity",),
    "builtins.open": ("ran", "w"),
    "builtins.map": (EVAL,),
    "builtins.print": (EVAL,),
    "builtins.globals": (),
    "__builtin__.eval": (EVAL,),
    "__main__.os": (),
    "importlib.import_module": ("antigravity",),
    "runpy.run_path": ("ran",),
    "runpy._run_code": (EVAL,),
    "pty.spawn": (SHELL,),
    "code.interact": (),
    "timeit.timeit": (EVAL,),
    "bdb.Bdb.run": (EVAL,),
    "pdb.run": (EVAL,),
    "cProfile.run": (EVAL,),
    "doctest.debug_script": (EVAL,),
    "asyncio.create_subprocess_shell": (SHELL,),
    "multiprocessing.util.spawnv_passfds": (SHELL,),
    "ctypes.CDLL": ("libc.so.6",),
    "socket.socket": (),
    "urllib.request.urlopen": ("http://127.0.0.1/",),
    "webbrowser.open": ("http://127.0.0.1/",),
    "shutil.rmtree": ("/nowhere",),
    "pathlib.Path": ("ran",),
    "tempfile.mktemp": (),
    "sys.exit": (),
    "signal.raise_signal": (),
    "marshal.loads": ("x",),
    "types.CodeType": (),
    "types.FunctionType": (),
    "operator.attrgetter": ("system",),
    "operator.methodcaller": ("system", SHELL),
    "functools.partial": (EVAL,),
    "functools.reduce": (EVAL,),
    "itertools.starmap": (EVAL,),
    "copyreg.add_extension": ("os", "system", "1"),
    "copyreg._reconstructor": (),
    "copyreg.__newobj__": (),
    "pickle.loads": ("x",),
    "_pickle.loads": ("x",),
    "dill._dill._create_function": (),
    "cloudpickle.cloudpickle._make_function": (),
    "joblib.load": ("ran",),
    "numpy.load": ("ran",),
    "numpy.testing._private.utils.runstring": (EVAL,),
    "numpy.f2py.crackfortran.getlincoef": (EVAL,),
    "torch.load": ("ran",),
    "torch.hub.load": ("x", "y"),
    "torch.storage._load_from_bytes": ("x",),
    "torch.serialization.load": ("ran",),
    "torch.jit.load": ("ran",),
    "torch.ops.load_library": ("ran",),
    "torch.utils.cpp_extension.load": ("ran",),
    "torch._dynamo.guards.GuardBuilder.get": (EVAL,),
    "torch._inductor.codecache.compile_file": (EVAL,),
    "torch.nn.Linear": (),
    "torch.Tensor": (),
    "torch.tensor": (),
    "torch._utils._rebuild_tensor_v9": (),
    "torch._utils._import_dotted_name": ("os.system",),
    "torch.distributed.rpc.rpc_sync": (EVAL,),
    "transformers.AutoModel.from_pretrained": ("x",),
    "collections.defaultdict": (),
    "collections.UserDict": (),
    "argparse.FileType": (),
    "argparse._sys.exit": (),
    "argparse.ArgumentParser": (),
    "logging.config.listen": (),
    "logging.FileHandler": ("ran",),
    "tinybert.weights.save_file": ("ran",),
    "this.s": (),
}


@pytest.mark.parametrize("target", ATTACKS)
def test_a_call_is_refused_by_the_name_it_refers_to(target, write):
    module, attribute = target.rsplit(".", 1)
    attack = call(name(module, attribute), *map(text, ATTACKS[target]))
    assert f"refers to {target}: " in refused(write(program(mapping(a=tensor(), b=attack))))


def eval_by(opcode):
    """One and the same attack by every opcode that could bring it."""
    target = name("builtins", "eval")
    arguments = pack(text(EVAL))
    return {
        "GLOBAL alone": target,
        "STACK_GLOBAL": b"\x8c\x08builtins\x8c\x04eval\x93" + arguments + b"R",
        "NEWOBJ": target + arguments + b"\x81",
        "NEWOBJ_EX": target + arguments + b"}\x92",
        "INST": b"(" + text(EVAL) + b"ibuiltins\neval\n",
        "OBJ": b"(" + target + text(EVAL) + b"o",
        "BUILD": name("argparse", "Namespace") + b")\x81" + target + b"b",
        "memo": target + b"q\x050h\x05" + arguments + b"R",
        "as the state of a parameter": call(
            name("torch._utils", "_rebuild_parameter_with_state"),
            tensor(),
            b"\x88",
            b"}",
            target + arguments + b"R",
        ),
        "as a hook": tensor(tail=[b"\x89", target + arguments + b"R"]),
        "as a storage's type": tensor(storage(kind=target)),
        "in a container": b"](" + target + arguments + b"Re",
        "popped again": target + arguments + b"R0N",
        "before another": target + arguments + b"R\x30" + mapping(a=tensor()),
        "in a persistent id": target + arguments + b"RQ",
    }[opcode]


BRINGERS = [
    "GLOBAL alone", "STACK_GLOBAL", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ", "BUILD", "memo",
    "as the state of a parameter", "as a hook", "as a storage's type", "in a container",
    "popped again", "before another", "in a persistent id",
]  # fmt: skip


@pytest.mark.parametrize("opcode", BRINGERS)
def test_the_attack_by_every_opcode(opcode, write):
    assert "refers to builtins.eval: " in refused(write(program(eval_by(opcode))))


SYSTEM = os.system  # before the canary watches it


class Reduced:
    def __reduce__(self):
        return eval, (EVAL,)


class Extended:
    def __reduce_ex__(self, protocol):
        return SYSTEM, (SHELL,), {"state": 1}, iter([1]), iter([("a", 1)])


class Deferred:
    def __reduce__(self):
        return getattr, (Reduced(), "x")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("attack", [Reduced, Extended, Deferred])
@pytest.mark.parametrize("place", [lambda x: x, lambda x: {"a": [(x,)]}, lambda x: [{}, x]])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_attacks_that_pickle_itself_writes(attack, protocol, place, tmp_path):
    path = tmp_path / "x.bin"
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        torch.save(
            {"w": torch.ones(2), "x": place(attack())}, path, pickle_protocol=protocol, **options
        )
        assert "refers to " in refused(path)
    path.write_bytes(pickle.dumps(place(attack()), protocol))
    assert "refers to " in refused(path)


@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        ("torch", "_utils._rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch._utils", "torch.load"),
        ("collections", "OrderedDict.__init__.__globals__"),
        ("collections", "abc.sys.modules"),
        ("argparse", "Namespace.__init__"),
        ("torch._utils ", "_rebuild_tensor_v2"),
        (" collections", "OrderedDict"),
        ("collections", "OrderedDict\r"),
        ("collections\0", "OrderedDict"),
        ("cоllections", "OrderedDict"),
        ("ｔｏｒｃｈ", "load"),
        ("torch", "𝐥oad"),
        ("Torch", "FloatStorage"),
        ("torch", "floatstorage"),
        ("", ""),
        ("torch", ""),
        ("megatron", "x"),
        ("megatronic.model", "x"),
        ("os", "system‮"),
        ("../os", "system"),
        ("torch._C", "FloatStorage"),
        ("torch.cuda", "FloatStorage"),
        ("__builtin__", "set"),
        ("numpy.core.multiarray", "fromfile"),
        ("_codecs", "lookup"),
    ],
)
def test_names_that_almost_pass(module, attribute, write):
    for reference in (name(module, attribute), text(module) + text(attribute) + b"\x93"):
        message = refused(write(program(mapping(a=tensor(), b=reference))), "refers to")
        assert message.isascii()
        assert "\n" not in message
        assert "\0" not in message


def test_what_is_inert_stays_inert(write):
    """Names that are let through, used as an attack would use them."""
    space = name("argparse", "Namespace")
    code = mapping(
        a=tensor(),
        b=space + b")\x81" + mapping(__class__=text("os.system"), __setstate__=text(EVAL)) + b"b",
        c=call(name("_codecs", "encode"), text(EVAL), text("unicode_escape")),
        d=call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), pack()),
        e=call(name("megatron.model.enums", "ModelType"), integer(1)) + text(EVAL) + b"b",
        f=call(name("torch", "device"), text(EVAL)),
        g=call(space, text("a"), text("b")),
    )
    path = write(program(code))
    with watched() as seen:
        value = read_torch(path)
    assert not seen
    assert value["b"].state == {"__class__": "os.system", "__setstate__": EVAL}
    assert value["b"].name == "argparse.Namespace"
    assert value["c"].args == (EVAL, "unicode_escape")
    assert value["e"].name == "megatron.model.enums.ModelType"
    assert value["e"].state == EVAL
    assert set(load_checkpoint(path)) == {"a"}
