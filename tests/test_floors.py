"""The house is built as it says: imports run downwards only, in no circles, and run time needs
NumPy and regex alone.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import tinybert

ROOT = Path(tinybert.__file__).parent

# From the ground up. A package imports from itself and from floors below, never from its own floor.
FLOORS: list[set[str]] = [
    {"display", "doctor"},
    {"files"},
    {"columns", "hub_cache", "checks", "progress", "recovery", "interruption", "processors"},
    {"atomic", "embedded"},
    {"fetch"},
    {"hub"},
    {"lora_config"},
    {"backend", "text", "weights", "deviations", "log"},
    {"tokenizer_json"},
    {"tokenizers"},
    {"autograd"},
    {"ops"},
    {"functional"},
    {"methods"},
    {"nn", "optim", "model_output", "torch_names"},
    {"outputs", "transforms"},
    {"generation"},
    {"models"},
    {"comparison", "embedding"},
    {"pipelines", "formats"},
    {"training", "search", "trace"},
    {"compress", "export", "frontends", "parallel"},
    {"learn"},
    {"tinybert"},  # the package's own __init__.py
    {"exercises"},  # learn/exercises, learn/demos: files as learners write them
    {"bench"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
# What these may import; they could be used without the rest of the package.
_SHARED = {"hub", "hub_cache", "checks", "display", "files", "doctor", "atomic", "recovery"}
ALONE = {
    "weights": _SHARED,
    "formats": {*_SHARED, "weights", "lora_config"},
    "text": _SHARED,
    "tokenizer_json": {*_SHARED, "text"},
    "tokenizers": {*_SHARED, "text", "tokenizer_json"},
}
RUN_TIME = {"numpy", "regex", "tinybert", *sys.stdlib_module_names}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def floor_of(module: str) -> str:
    parts = module.split(".")
    if parts[1:3] in (["learn", "exercises"], ["learn", "demos"]) and len(parts) > 3:
        return "exercises"
    return parts[1] if len(parts) > 1 else "tinybert"


def is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(path: Path, everywhere: bool = True) -> Iterator[str]:
    """The modules that a file imports; inside functions too if `everywhere`."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        if is_typing_only(node):
            continue
        if everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            pending.extend(ast.iter_child_nodes(node))


@cache
def graph() -> dict[str, list[str]]:
    """The modules of the package that each of them imports."""
    return {
        name: sorted({target for target in imports(path) if target in MODULES})
        for name, path in MODULES.items()
    }


def test_every_file_has_a_floor() -> None:
    homeless = {floor_of(module) for module in MODULES} - set(LEVEL)
    assert not homeless, f"say in FLOORS where these belong: {sorted(homeless)}"


@pytest.mark.parametrize("here", sorted({floor_of(module) for module in MODULES}))
def test_no_import_runs_upward(here: str) -> None:
    for module in (module for module in MODULES if floor_of(module) == here):
        for target in graph()[module]:
            there = floor_of(target)
            assert there == here or LEVEL[there] < LEVEL[here], f"{module} imports {target}"
            if here in ALONE:
                assert there in {here, *ALONE[here]}, f"{module} must not depend on {target}"


def test_no_two_files_import_each_other() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"a circle: {' > '.join((*path[path.index(module) :], module))}"
        if module not in done:
            for target in graph()[module]:
                visit(target, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def test_cupy_is_imported_in_one_folder() -> None:
    where = {
        name
        for name, path in MODULES.items()
        if "cupy" in path.read_text("utf-8")
        and {"cupy", "cupyx"} & {target.partition(".")[0] for target in imports(path)}
    }
    assert where
    assert all(name.startswith("tinybert.backend.cuda.") for name in where)


def test_module_level_needs_numpy_and_regex_alone() -> None:
    imported = {target for targets in graph().values() for target in targets}
    for name, path in MODULES.items():
        is_script = path.stem.startswith("make_") and name not in imported  # made a table once
        if not name.startswith("tinybert.backend.cuda.") and not is_script:
            foreign = {t.partition(".")[0] for t in imports(path, everywhere=False)} - RUN_TIME
            assert not foreign, (
                f"{name} imports {foreign}; import it inside the function that uses it"
            )


def test_operations_compute_with_the_module_of_the_array() -> None:
    """The array decides: NumPy is not called on what may be a device array.

    Versions of kernels for the CPU, whose names end in `_on_cpu`, may call it.
    """
    for name, path in MODULES.items():
        if floor_of(name) == "ops":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            parts = [n for n in tree.body if not getattr(n, "name", "").endswith("_on_cpu")]
            text = "\n".join(map(ast.unparse, parts))
            for function in ("np.exp(", "np.sum(", "np.where(", "np.zeros_like(", "np.maximum("):
                assert function not in text, f"{name} calls {function}...) instead of xp"


# --- what `import tinybert` costs -----------------------------------------------------------------

PROBE = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
start = time.process_time()  # of the processor: what other programs take is not counted
import numpy
between, before = time.process_time(), set(sys.modules)
import tinybert
ratio = (time.process_time() - between) / (between - start)
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps([ratio, sorted(loaded - set(sys.stdlib_module_names))]))
"""


def probe() -> tuple[float, list[str]]:
    result = subprocess.run(
        [sys.executable, "-I", "-c", PROBE, str(ROOT.parent)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    ratio, loaded = json.loads(result.stdout)
    return ratio, loaded


def test_import_is_light() -> None:
    """It loads nothing foreign, and takes less time than the import of NumPy (0.7 to 0.9 of it; 3
    times as long where Python may not keep compiled files)."""
    probes = [probe() for _ in range(5)]
    assert {*probes[0][1]} <= {"tinybert", "regex"}
    assert min(ratio for ratio, _ in probes) < 4


def test_the_front_page_shows_what_is_public() -> None:
    shown = {name for name in dir(tinybert) if not name.startswith("_")}
    assert shown >= {*tinybert.__all__}
    assert not {*tinybert.__all__} & sys.stdlib_module_names
    assert {"Tensor", "BertModel", "compare", "nn", "functional"} <= {*tinybert.__all__}
    assert not hasattr(tinybert, "no_such_name")


def isolated(code: str) -> str:
    """Run code in a new interpreter, without the environment; return what it prints."""
    command = [sys.executable, "-I", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_names_are_imported_when_they_are_used() -> None:
    """Each is the one that a type checker sees, and no module takes the place of another name."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT.parent)!r})\n"
        "import tinybert\n"
        "before, early = dict(vars(tinybert)), {*sys.modules}\n"
        "assert not early & {'tinybert.models', 'tinybert.tokenizers', 'tinybert.training'}\n"
        "for name in tinybert._HOMES:\n    assert getattr(tinybert, name).__module__\n"
        "assert 'BertModel' in dir(tinybert) and tinybert.training.Trainer\n"
        "assert all(vars(tinybert)[name] is value for name, value in before.items())\n"
        "print(*tinybert._HOMES)"
    )
    printed = isolated(code)
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    names = {
        (n.module, alias.name)
        for n in typed.body
        if isinstance(n, ast.ImportFrom)
        for alias in n.names
    }
    named = {(f"tinybert.{tinybert._HOMES[name]}", name) for name in printed.split()}
    others = {("tinybert", "search"), ("tinybert", "training"), ("tinybert.models.families", "*")}
    assert names == named | others


def test_imports_without_optional_libraries() -> None:
    """Nothing optional is needed even when it is asked for by name and is not there."""
    hidden = ["cupy", "torch", "transformers", "tokenizers", "safetensors", "tqdm", "matplotlib"]
    blocked = f"import sys; sys.modules.update(dict.fromkeys({hidden}))"
    code = (
        f"{blocked}; sys.path.insert(0, {str(ROOT.parent)!r})\n"
        "import tinybert\n"
        "assert not tinybert.cuda_is_available()\n"
        "try:\n    tinybert.Tensor([1.0]).cuda()\n"
        "except tinybert.DeviceError as error:\n    print(error)"
    )
    printed = isolated(code)
    assert 'device "cuda" needs CuPy' in printed
    assert 'pip install "tinybert[cuda12]"' in printed


def test_cupy_without_a_gpu_gives_one_clear_error() -> None:
    """A CuPy that is installed but finds no driver, as on a machine without a GPU."""
    if importlib.util.find_spec("cupy") is not None:
        pytest.skip("the real CuPy is installed")
    code = (
        f"import sys, types; sys.path.insert(0, {str(ROOT.parent)!r})\n"
        "import tinybert\n"
        "def tried_library():\n    raise RuntimeError('cudaErrorInsufficientDriver: too old')\n"
        "cuda = types.ModuleType('tinybert.backend.cuda')\n"
        "cuda.tried_library = tried_library\n"
        "sys.modules['tinybert.backend.cuda'] = cuda\n"
        "import tinybert.backend\ntinybert.backend.cuda = cuda\n"
        "assert not tinybert.cuda_is_available()\n"
        "try:\n    tinybert.Tensor([1.0], device='cuda')\n"
        "except tinybert.DeviceError as error:\n    print(error)"
    )
    printed = isolated(code)
    assert "CuPy finds no usable GPU (cudaErrorInsufficientDriver" in printed
