"""Module: registration, walking, modes, hooks and state, with torch.nn.Module as the judge."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import tinybert
from tinybert import nn
from tinybert.autograd import Tensor
from tinybert.nn import Module, ModuleList, Parameter, Sequential


def _inner(lib: Any, base: Any, make: Any) -> Any:
    """A class with a bias before the weight, a layer between them, and three buffers."""

    class Inner(base):
        def __init__(self) -> None:
            super().__init__()
            self.bias = lib.Parameter(make(2))
            self.project = lib.Linear(3, 2)
            self.register_buffer("count", make(1))
            self.register_buffer("scratch", make(4), persistent=False)
            self.register_buffer("absent", None)
            self.weight = lib.Parameter(make(3, 2))
            self.nothing = None

    return Inner


def _outer(lib: Any, inner: Any, base: Any) -> Any:
    class Outer(base):
        def __init__(self) -> None:
            super().__init__()
            self.first = lib.Linear(3, 3)
            self.stack = lib.ModuleList([inner(), inner()])
            self.twin = self.first  # one module under two names
            self.chain = lib.Sequential(lib.Linear(3, 2, bias=False), lib.LayerNorm(2))
            self.tied = self.stack[0].weight  # one parameter under two names

    return Outer


Inner = _inner(nn, Module, lambda *shape: Tensor(np.ones(shape, np.float32)))
Outer = _outer(nn, Inner, Module)
TorchInner = _inner(torch.nn, torch.nn.Module, torch.ones)
TorchOuter = _outer(torch.nn, TorchInner, torch.nn.Module)


@pytest.fixture
def ours() -> Any:
    return Outer()


@pytest.fixture(scope="module")
def theirs() -> Any:
    return TorchOuter()


# --- attributes -----------------------------------------------------------------------------------


def test_attributes_are_registered_by_what_they_are():
    module = Module()
    weight, part = Parameter(np.ones(3, np.float32)), nn.Linear(2, 2)
    module.weight, module.part, module.size = weight, part, 5
    module.register_buffer("mean", Tensor([1.0]))
    assert list(module._parameters) == ["weight"]
    assert list(module._modules) == ["part"]
    assert list(module._buffers) == ["mean"]
    assert module.weight is weight
    assert module.part is part
    assert module.size == 5
    assert {"weight", "part", "mean", "size"} <= set(dir(module))


def test_a_buffer_can_become_persistent():
    module = Module()
    module.register_buffer("mean", Tensor([1.0]), persistent=False)
    assert module.state_dict() == {}
    module.register_buffer("mean", Tensor([2.0]))
    assert module.state_dict()["mean"].tolist() == [2.0]


def test_a_plain_tensor_is_no_parameter():
    module = Module()
    module.table = Tensor([1.0])
    assert list(module.parameters()) == list(module.buffers()) == []


def test_a_name_can_change_its_kind():
    module = Module()
    module.x = 3
    module.x = Parameter(np.ones(2, np.float32))
    assert [name for name, _ in module.named_parameters()] == ["x"]
    module.x = nn.Linear(2, 2)
    assert list(module.state_dict()) == ["x.weight", "x.bias"]
    module.x = None
    assert module.x is None
    assert module.state_dict() == {}
    module.x = nn.Linear(2, 3)
    assert list(module.state_dict()) == ["x.weight", "x.bias"]


@pytest.mark.parametrize("value", [3, "text", Tensor([1.0]), np.ones(1)])
@pytest.mark.parametrize("name", ["weight", "part", "mean"])
def test_a_registered_name_refuses_values_of_other_kinds(name, value):
    module = Module()
    module.weight, module.part = Parameter(np.ones(1, np.float32)), nn.Linear(2, 2)
    module.register_buffer("mean", Tensor([5.0]))
    if name == "mean" and isinstance(value, Tensor):
        module.mean = value
        assert dict(module.named_buffers())["mean"] is value
    else:
        with pytest.raises(TypeError, match=name):
            setattr(module, name, value)


def test_assigning_before_init_is_refused_by_name():
    class Hasty(Module):
        def __init__(self) -> None:
            self.weight = Parameter(np.ones(1, np.float32))

    class HastyBuffer(Module):
        def __init__(self) -> None:
            self.register_buffer("mean", None)

    with pytest.raises(AttributeError, match=r"Hasty: call super\(\).__init__\(\) .*'weight'"):
        Hasty()
    with pytest.raises(AttributeError, match=r"HastyBuffer: call super\(\).__init__\(\) .*'mean'"):
        HastyBuffer()


@pytest.mark.parametrize("name", ["weight", "in_features", "forward"])
def test_a_buffer_takes_no_name_that_is_taken(name):
    layer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=f"Linear already has an attribute '{name}'"):
        layer.register_buffer(name, Tensor([1.0]))
    with pytest.raises(TypeError, match="'mean' must be a Tensor, got ndarray"):
        layer.register_buffer("mean", np.ones(1))
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_missing_attributes_and_parts_are_named(ours):
    with pytest.raises(AttributeError, match="Outer has no attribute 'frist'"):
        _ = ours.frist
    with pytest.raises(AttributeError, match="Inner has no part 'nowhere'"):
        ours.get_submodule("stack.0.nowhere")
    assert ours.get_submodule("stack.1.project") is ours.stack[1].project
    assert ours.get_submodule("") is ours
    with pytest.raises(NotImplementedError, match="Outer does not define forward"):
        ours(1)


def test_deleted_names_are_gone(ours):
    del ours.first, ours.twin, ours.stack[0].bias, ours.stack[0].count
    assert "stack.0.bias" not in ours.state_dict()
    assert not any(name.startswith(("first", "twin")) for name in ours.state_dict())
    with pytest.raises(AttributeError):
        del ours.first


def test_parameters_require_gradients_and_keep_the_array_they_are_given():
    array = np.ones(3, np.float32)
    assert Parameter(array).data is array
    assert Parameter(array).requires_grad
    assert not Parameter(array, requires_grad=False).requires_grad
    assert Parameter([1.0, 2.0]).dtype == np.float32
    with pytest.raises(TypeError, match="int64"):
        Parameter(np.arange(3))


# --- walking --------------------------------------------------------------------------------------


@pytest.mark.parametrize("walk", ["named_parameters", "named_buffers", "named_modules"])
def test_walks_give_the_names_of_torch_in_its_order(ours, theirs, walk):
    expected = [(name, getattr(x, "shape", None)) for name, x in getattr(theirs, walk)()]
    assert [(name, getattr(x, "shape", None)) for name, x in getattr(ours, walk)()] == expected
    assert [name for name, _ in getattr(ours, walk)(prefix="pre")] == [
        name for name, _ in getattr(theirs, walk)(prefix="pre")
    ]


def test_shared_parameters_are_counted_once(ours, theirs):
    names = [name for name, _ in ours.named_parameters(remove_duplicate=False)]
    assert names == [name for name, _ in theirs.named_parameters(remove_duplicate=False)]
    assert len(list(ours.parameters())) == len(list(theirs.parameters())) < len(names)
    assert ours.num_parameters() == sum(p.numel() for p in theirs.parameters())
    ours.first.requires_grad_(False)
    assert ours.num_parameters(only_trainable=True) == ours.num_parameters() - 12


def test_children_and_modules(ours, theirs):
    assert [type(m).__name__ for m in ours.modules()] == [
        type(m).__name__.removeprefix("Torch") for m in theirs.modules()
    ]
    assert [name for name, _ in nn.Sequential(nn.Dropout()).named_children()] == ["0"]
    assert [type(m) for m in ours.stack.children()] == [Inner, Inner]
    assert next(ours.buffers()) is ours.stack[0].count


def test_apply_goes_from_the_inside_out(ours, theirs):
    def order(module: Any) -> list[str]:
        seen: list[str] = []
        assert module.apply(lambda m: seen.append(type(m).__name__)) is module
        return seen

    assert order(ours.stack) == order(theirs.stack)
    assert order(ours.chain) == ["Linear", "LayerNorm", "Sequential"]


def test_repr_is_that_of_torch():
    def build(lib: Any) -> Any:
        return lib.Sequential(lib.Linear(2, 3), lib.Sequential(lib.Linear(3, 1, bias=False)))

    assert repr(build(nn)) == repr(build(torch.nn))
    assert repr(nn.Embedding(5, 3, padding_idx=1)) == repr(torch.nn.Embedding(5, 3, padding_idx=1))


# --- modes ----------------------------------------------------------------------------------------


def test_train_and_eval_reach_every_part(ours):
    assert all(m.training for m in ours.modules())
    assert ours.eval() is ours
    assert not any(m.training for m in ours.modules())
    assert ours.stack[0].train() is ours.stack[0]
    assert ours.stack[0].project.training
    assert not ours.training
    assert not ours.stack[1].training


def test_requires_grad_and_zero_grad(ours):
    assert ours.requires_grad_(False) is ours
    assert not any(p.requires_grad for p in ours.parameters())
    ours.requires_grad_()
    part = ours.chain[0]
    part(Tensor(np.ones((2, 3), np.float32))).sum().backward()
    np.testing.assert_array_equal(part.weight.grad.numpy(), np.full((2, 3), 2.0))
    gradient = part.weight.grad
    ours.zero_grad(set_to_none=False)
    assert part.weight.grad is gradient
    assert not gradient.numpy().any()
    assert ours.first.weight.grad is None
    ours.zero_grad()
    assert part.weight.grad is None


@pytest.mark.parametrize(
    ("args", "options"),
    [((np.float64,), {}), (("float64",), {}), ((), {"dtype": "float64"}), (("cpu", "f8"), {})],
)
def test_to_converts_what_is_floating_in_place(ours, args, options):
    ours.register_buffer("steps", Tensor(np.arange(3)))
    ours.chain[0](Tensor(np.ones((1, 3), np.float32))).sum().backward()
    parameters = list(ours.parameters())
    assert ours.to(*args, **options) is ours
    assert all(a is b for a, b in zip(ours.parameters(), parameters, strict=True))
    assert {p.dtype for p in parameters} == {np.dtype(np.float64)}
    assert ours.stack[0].count.dtype == ours.chain[0].weight.grad.dtype == np.float64
    assert ours.steps.dtype == np.int64
    assert ours.tied is ours.stack[0].weight


def test_to_float64_as_a_dtype_converts():
    """NumPy says that np.dtype("float64") equals None, its default."""
    layer = nn.Linear(2, 3).to(dtype=np.dtype("float64"))
    assert {p.dtype for p in layer.parameters()} == {np.dtype("float64")}


def test_to_an_integer_dtype_is_refused(ours):
    with pytest.raises(TypeError, match="int64"):
        ours.to(np.int64)
    assert ours.first.weight.dtype == np.float32


# --- hooks ----------------------------------------------------------------------------------------


def test_hooks_see_and_replace_arguments_and_results():
    layer = nn.Linear(3, 2)
    x = Tensor(np.ones((1, 3), np.float32))
    plain, seen = layer(x).numpy(), []
    watch = layer.register_forward_hook(lambda m, args, out: seen.append((m, args, out)))
    double = layer.register_forward_hook(lambda m, args, out: out * 2)
    zero = layer.register_forward_pre_hook(lambda m, args: args[0] * 0)
    np.testing.assert_array_equal(layer(x).numpy(), 2 * layer.bias.numpy()[None])
    zero.remove()
    result = layer(x)
    np.testing.assert_allclose(result.numpy(), 2 * plain, rtol=1e-6)
    assert seen[-1][0] is layer
    assert seen[-1][1] == (x,)
    double.remove()
    watch.remove()
    np.testing.assert_array_equal(layer(x).numpy(), plain)
    assert len(seen) == 2


def test_a_pre_hook_may_return_all_arguments():
    class Add(Module):
        def forward(self, a: Any, b: Any) -> Any:
            return a + b

    module = Add()
    module.register_forward_pre_hook(lambda m, args: (args[0], args[1] * 10))
    assert module(1, 2) == 21


def test_hooks_run_in_the_order_of_their_registration():
    module, order = Sequential(), []
    for number in range(3):
        module.register_forward_hook(lambda m, a, o, number=number: order.append(number))
    module(1)
    assert order == [0, 1, 2]


def test_removing_a_hook_twice_leaves_later_hooks_alone():
    module, calls = Sequential(), []
    first = module.register_forward_hook(lambda m, a, o: calls.append("first"))
    first.remove()
    module.register_forward_hook(lambda m, a, o: calls.append("second"))
    first.remove()
    module(1)
    assert calls == ["second"]


def test_a_hook_may_remove_itself():
    module, calls = Sequential(), []

    def once(*_: Any) -> None:
        calls.append(1)
        handle.remove()

    handle = module.register_forward_hook(once)
    module(1)
    module(1)
    assert calls == [1]


# --- state ----------------------------------------------------------------------------------------


def test_state_dict_has_the_keys_of_torch_in_its_order(ours, theirs):
    expected = theirs.state_dict()
    assert list(ours.state_dict()) == list(expected)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in expected.items()
    }
    assert list(ours.state_dict("net.")) == list(theirs.state_dict(prefix="net."))


def test_state_dict_is_detached_and_shares_memory(ours):
    state = ours.state_dict()
    assert not any(tensor.requires_grad for tensor in state.values())
    state["first.bias"].data[:] = 7
    assert (ours.first.bias.numpy() == 7).all()


FORMS = {
    "torch": lambda t: t.clone(),
    "torch parameter": lambda t: torch.nn.Parameter(t.clone()),
    "torch float64": lambda t: t.double(),
    "NumPy": lambda t: t.numpy().copy(),
    "NumPy Fortran": lambda t: np.asfortranarray(t.numpy()),
    "Tensor": lambda t: Tensor(t.numpy()),
    "list": lambda t: t.tolist(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_load_state_dict_takes_arrays_of_any_kind(ours, theirs, form):
    mapping = {name: form(tensor) for name, tensor in theirs.state_dict().items()}
    result = ours.load_state_dict(mapping)
    assert result == ([], [])
    assert result.missing_keys == result.unexpected_keys == []
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name].numpy(), tensor.numpy())
        assert ours.state_dict()[name].dtype == np.float32


def test_load_state_dict_widens_bfloat16_and_copies():
    layer, source = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    state = {name: tensor.bfloat16() for name, tensor in source.state_dict().items()}
    layer.load_state_dict(state)
    np.testing.assert_array_equal(layer.weight.numpy(), state["weight"].float().numpy())
    arrays = {"weight": np.zeros((2, 3), np.float32), "bias": np.zeros(2, np.float32)}
    layer.load_state_dict(arrays)
    layer.weight.data += 1
    assert not arrays["weight"].any()


def test_load_state_dict_reports_names_unless_strict(ours):
    state = ours.state_dict()
    del state["first.bias"]
    state["stranger"] = Tensor([1.0])
    before = ours.stack[1].bias.numpy().copy()
    state["stack.1.bias"] = before + 1
    with pytest.raises(ValueError, match=r"(?s)missing: first.bias.*unexpected: stranger"):
        ours.load_state_dict(state)
    np.testing.assert_array_equal(ours.stack[1].bias.numpy(), before)
    result = ours.load_state_dict(state, strict=False)
    assert result == (["first.bias"], ["stranger"])
    np.testing.assert_array_equal(ours.stack[1].bias.numpy(), before + 1)


FAULTY = {
    "shape": (np.zeros((3, 2), np.float32), r"weight: expected shape \(2, 3\), got \(3, 2\)"),
    "text": (np.full((2, 3), "x"), "weight"),
    "objects": (np.full((2, 3), None), "weight"),
    "complex": (np.zeros((2, 3), np.complex64), "weight"),
}


@pytest.mark.parametrize(("value", "message"), FAULTY.values(), ids=FAULTY)
@pytest.mark.parametrize("strict", [True, False])
def test_a_load_that_fails_names_the_key_and_changes_nothing(value, message, strict):
    layer = nn.Linear(3, 2)
    before = {name: t.numpy().copy() for name, t in layer.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        layer.load_state_dict({"bias": np.ones(2, np.float32), "weight": value}, strict=strict)
    with pytest.raises(ValueError, match=message):
        layer.load_state_dict({"weight": value, "bias": np.ones(2, np.float32)}, strict=strict)
    for name, array in before.items():
        np.testing.assert_array_equal(layer.state_dict()[name].numpy(), array)


def test_loading_between_forward_and_backward_is_caught():
    layer = Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    y = layer(Tensor(np.ones((1, 3), np.float32))).sum()
    layer.load_state_dict({name: t.numpy() + 1 for name, t in layer.state_dict().items()})
    with pytest.raises(RuntimeError, match="load_state_dict"):
        y.backward()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_stands_alone(duplicate):
    layer = Sequential(nn.Linear(3, 2), nn.LayerNorm(2)).eval()
    twin = duplicate(layer)
    x = Tensor(np.ones((1, 3), np.float32))
    np.testing.assert_array_equal(twin(x).numpy(), layer(x).numpy())
    twin[0].weight.data += 1
    assert not np.array_equal(twin[0].weight.numpy(), layer[0].weight.numpy())
    assert not twin[1].training
    assert isinstance(twin[0].weight, Parameter)


def test_a_shallow_copy_shares_weights_until_they_are_replaced():
    layer = nn.Linear(3, 2)
    twin = copy.copy(layer)
    assert twin.weight is layer.weight
    twin.weight = Parameter(np.ones((2, 3), np.float32))
    twin.register_forward_hook(lambda module, args, output: output * 0)
    assert dict(twin.named_parameters())["weight"] is twin.weight
    assert dict(layer.named_parameters())["weight"] is layer.weight is not twin.weight
    assert layer(Tensor(np.ones((1, 3), np.float32))).numpy().any()


# --- containers -----------------------------------------------------------------------------------


def test_module_lists_are_lists():
    parts = [nn.Linear(1, n) for n in (1, 2, 3)]
    modules = ModuleList(parts[:1])
    assert modules.append(parts[1]) is modules
    assert modules.extend(parts[2:]) is modules
    assert len(modules) == 3
    assert list(modules) == parts
    assert modules[-1] is parts[2]
    assert list(modules[1:]) == parts[1:]
    assert isinstance(modules[:2], ModuleList)
    with pytest.raises(IndexError):
        _ = modules[3]


def test_sequential_runs_its_parts_in_order():
    def build(lib: Any) -> Any:
        return lib.Sequential(lib.Linear(3, 4), lib.LayerNorm(4), lib.Linear(4, 2))

    torch.manual_seed(0)  # LayerNorm divides by a small deviation for some weights
    ours, theirs = build(nn), build(torch.nn)
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(Tensor(x)).numpy(), expected, atol=1e-6)
    cut = theirs[:2](torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours[:2](Tensor(x)).numpy(), cut, atol=1e-6)
    assert isinstance(ours[:2], Sequential)
    assert ours[:2][0] is ours[0]
    assert len(Sequential([nn.Dropout(), nn.Dropout()])) == 2


@pytest.mark.parametrize("container", [ModuleList, Sequential])
def test_containers_refuse_what_is_no_module(container):
    with pytest.raises(TypeError, match="Module"):
        container([nn.Dropout(), 3])
    with pytest.raises(TypeError, match="Module"):
        container().append(lambda x: x)


def test_conversions_by_name():
    layer = nn.Linear(2, 3)
    assert layer.double() is layer
    assert layer.weight.dtype == np.float64
    assert layer.half().weight.dtype == np.float16
    assert layer.float().cpu().weight.dtype == np.float32
    if not tinybert.cuda_is_available():
        with pytest.raises(tinybert.DeviceError, match="cuda"):
            layer.cuda()
