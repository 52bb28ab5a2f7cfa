"""SGD, Adam and AdamW against torch over a thousand steps, and what they promise besides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests import tolerances
from tests.support import assert_close, error, rms
from tinybert import optim
from tinybert.autograd import Tensor, as_tensor

SHAPES = {"weight": (3, 11), "bias": (2,), "scale": ()}
STEPS = 1000

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.05}),
    "sgd decay": ("SGD", {"lr": 0.05, "weight_decay": 0.3}),
    "sgd momentum": ("SGD", {"lr": 0.02, "momentum": 0.9}),
    "sgd dampening": (
        "SGD",
        {"lr": 0.05, "momentum": 0.7, "dampening": 0.4, "weight_decay": 0.01},
    ),
    "sgd nesterov": ("SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "adam defaults": ("Adam", {}),
    "adam decay": ("Adam", {"lr": 0.01, "weight_decay": 0.2, "betas": (0.8, 0.95)}),
    "adamw defaults": ("AdamW", {}),
    "adamw large eps": ("AdamW", {"lr": 0.03, "eps": 0.1, "weight_decay": 0.5}),
}


def start() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}


def gradient(name: str, value: np.ndarray, step: int) -> np.ndarray | None:
    """The noisy gradient of a bowl; now and then a parameter has none."""
    if name == "bias" and step % 3 == 1:
        return None
    rng = np.random.default_rng((step, len(name)))
    wide = (value - 0.7) * (1 + np.arange(value.size).reshape(value.shape))
    return (0.3 * wide + 0.1 * rng.standard_normal(value.shape)).astype(value.dtype)


def run_ours(
    optimizer: optim.Optimizer, params: dict[str, Tensor], steps: range
) -> dict[str, np.ndarray]:
    for step in steps:
        for name, param in params.items():
            grad = gradient(name, param.numpy(), step)
            param.grad = None if grad is None else as_tensor(grad, device=param.device)
        optimizer.step()
    return {name: param.numpy().copy() for name, param in params.items()}


def run_torch(
    optimizer: torch.optim.Optimizer, params: dict[str, torch.Tensor], steps: range
) -> dict[str, np.ndarray]:
    for step in steps:
        for name, param in params.items():
            grad = gradient(name, param.detach().numpy(), step)
            param.grad = None if grad is None else torch.from_numpy(np.asarray(grad))
        optimizer.step()
    return {name: param.detach().numpy().copy() for name, param in params.items()}


def tensors(dtype: Any, device: str = "cpu") -> dict[str, Tensor]:
    return {
        name: Tensor(x.astype(dtype), requires_grad=True, device=device)
        for name, x in start().items()
    }


def torch_tensors(dtype: Any) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(x.astype(dtype), requires_grad=True) for name, x in start().items()}


def grouped(params: dict[str, Any], groups: bool) -> list[Any]:
    """All parameters, or the weight in a group of its own with other options."""
    if not groups:
        return list(params.values())
    rest = [params["bias"], params["scale"]]
    return [{"params": params["weight"], "lr": 0.004, "weight_decay": 0.07}, {"params": rest}]


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param(False, id="one group", marks=pytest.mark.slow),
        pytest.param(True, id="two groups"),
    ],
)
@pytest.mark.parametrize("case", CASES)
def test_thousand_steps_equal_torch(case: str, groups: bool) -> None:
    kind, options = CASES[case]
    results = {}
    for dtype in (np.float64, np.float32):
        ours, theirs = tensors(dtype), torch_tensors(dtype)
        optimizer = getattr(optim, kind)(grouped(ours, groups), **options)
        reference = getattr(torch.optim, kind)(grouped(theirs, groups), **options)
        results[dtype] = (
            run_ours(optimizer, ours, range(STEPS)),
            run_torch(reference, theirs, range(STEPS)),
        )
    exact = results[np.float64][1]
    moved = max(np.abs(exact[name] - x).max() for name, x in start().items())
    assert moved > 0.3  # a run that goes nowhere would show nothing
    for name, expected in exact.items():
        value = results[np.float64][0][name]
        assert_close(value, expected, rtol=tolerances.OPTIM_FLOAT64, name=name)
        ours32, torch32 = (result[name] for result in results[np.float32])
        assert ours32.dtype == np.float32
        allowed = tolerances.OPTIM_FLOAT32_RATIO * error(torch32, expected).max()
        allowed += tolerances.OPTIM_FLOAT32_FLOOR * rms(expected)
        assert error(ours32, expected).max() <= allowed, name


def plain_adamw(trap: str) -> np.ndarray:
    """AdamW in NumPy for the weight alone, by the book or with one of the known faults."""
    w = start()["weight"]
    m, v = np.zeros_like(w), np.zeros_like(w)
    lr, (beta1, beta2), eps, decay = 0.03, (0.9, 0.999), 0.1, 0.5
    for step in range(STEPS):
        g = gradient("weight", w, step)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        root1, root2 = 1 - beta1 ** (step + 1), np.sqrt(1 - beta2 ** (step + 1))
        if trap == "no bias correction":
            root1 = root2 = 1.0
        update = (m / root1) / (np.sqrt(v) / root2 + eps)
        if trap == "eps before the correction":
            update = (m / root1) / ((np.sqrt(v) + eps) / root2)
        if trap == "decay on updated weights":
            w = (w - lr * update) * (1 - lr * decay)
        else:
            w = w * (1 - lr * decay) - lr * update
    return w


@pytest.mark.parametrize(
    "trap", ["no bias correction", "eps before the correction", "decay on updated weights", ""]
)
def test_the_comparison_tells_adamw_from_its_usual_faults(trap: str) -> None:
    ours = tensors(np.float64)
    run_ours(optim.AdamW([ours["weight"]], **CASES["adamw large eps"][1]), ours, range(STEPS))
    expected = plain_adamw(trap)
    if trap:
        distance = error(ours["weight"].numpy(), expected).max()
        assert distance > 1000 * tolerances.OPTIM_FLOAT64 * rms(expected)
    else:
        assert_close(ours["weight"].numpy(), expected, rtol=tolerances.OPTIM_FLOAT64)


def test_first_step_of_adamw_in_closed_form() -> None:
    """Both corrections cancel the betas, so w = w (1 - lr decay) - lr g / (|g| + eps)."""
    w, g = np.array([2.0, -3.0, 0.5]), np.array([1e-3, -0.2, 5.0])
    param = Tensor(w, requires_grad=True)
    param.grad = as_tensor(g)
    optim.AdamW([param], lr=0.1, eps=0.01, weight_decay=0.3).step()
    expected = w * (1 - 0.1 * 0.3) - 0.1 * g / (np.abs(g) + 0.01)
    assert_close(param.numpy(), expected, rtol=tolerances.OP_FLOAT64)


@pytest.mark.parametrize("case", ["sgd dampening", "sgd nesterov", "adam decay", "adamw large eps"])
def test_saved_in_the_middle_and_loaded_it_goes_on_as_if_nothing_was(case: str) -> None:
    kind, options = CASES[case]
    through, before, after = (tensors(np.float32) for _ in range(3))
    whole = run_ours(getattr(optim, kind)(grouped(through, True), **options), through, range(20))
    first = getattr(optim, kind)(grouped(before, True), **options)
    run_ours(first, before, range(9))
    second = getattr(optim, kind)(grouped(after, True), lr=9.0)
    for name, param in after.items():
        param.detach().copy_(before[name])
    second.load_state_dict(first.state_dict())
    run_ours(first, before, range(9, 12))  # the copy must not notice
    resumed = run_ours(second, after, range(9, 20))
    for name, expected in whole.items():
        np.testing.assert_array_equal(resumed[name], expected, strict=True)


def test_state_dict_has_the_layout_of_torch() -> None:
    ours, theirs = tensors(np.float64), torch_tensors(np.float64)
    mine, reference = optim.AdamW(grouped(ours, True)), torch.optim.AdamW(grouped(theirs, True))
    run_ours(mine, ours, range(2))
    run_torch(reference, theirs, range(2))
    saved, expected = mine.state_dict(), reference.state_dict()
    assert saved["state"].keys() == expected["state"].keys()
    for number, state in expected["state"].items():
        assert saved["state"][number].keys() == state.keys()
        assert saved["state"][number]["step"] == int(state["step"])
        assert_close(
            saved["state"][number]["exp_avg"].numpy(),
            state["exp_avg"].numpy(),
            rtol=tolerances.OP_FLOAT64,
        )
    for group, theirs_group in zip(saved["param_groups"], expected["param_groups"], strict=True):
        assert all(theirs_group[name] == value for name, value in group.items())


def test_load_state_dict_refuses_what_does_not_fit_and_changes_nothing() -> None:
    source, target = tensors(np.float32), tensors(np.float32)
    trained = optim.AdamW(source.values(), lr=0.5)
    run_ours(trained, source, range(1))
    optimizer = optim.AdamW(target.values())
    state = trained.state_dict()
    with pytest.raises(ValueError, match=r"groups of \[3\] parameters, this optimizer has \[2\]"):
        optim.AdamW(list(target.values())[:2]).load_state_dict(state)
    with pytest.raises(ValueError, match="SGD has no option 'betas'"):
        optim.SGD(target.values()).load_state_dict(state)
    state["state"][1]["exp_avg"] = np.zeros((5,), np.float32)
    with pytest.raises(ValueError, match=r"exp_avg of parameter 1 has shape \(5,\), expected \(2,"):
        optimizer.load_state_dict(state)
    assert not optimizer.state
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_bias_and_layer_norm_left_out_of_the_decay() -> None:
    """Without gradient noise, decay is all that moves: decayed weights shrink by (1 - lr decay)^n,
    the others keep every bit.
    """
    from tinybert import nn

    model = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2))
    named = dict(model.named_parameters())
    decayed = [name for name, p in named.items() if p.ndim >= 2]
    excluded = [name for name in named if name not in decayed]
    assert decayed == ["0.weight", "2.weight"]
    assert excluded == ["0.bias", "1.weight", "1.bias", "2.bias"]
    optimizer = optim.AdamW(
        [
            {"params": [named[name] for name in decayed], "weight_decay": 0.2},
            {"params": [named[name] for name in excluded], "weight_decay": 0.0},
        ],
        lr=0.1,
    )
    assert "2 tensors: lr=0.1" in repr(optimizer)
    assert "4 tensors: lr=0.1" in repr(optimizer)
    before = {name: p.numpy().copy() for name, p in named.items()}
    for _ in range(7):
        for p in named.values():
            p.grad = as_tensor(np.zeros(p.shape, np.float32))
        optimizer.step()
    for name in decayed:
        expected = before[name] * np.float32((1 - 0.1 * 0.2) ** 7)
        assert_close(named[name].numpy(), expected, rtol=tolerances.OP_FLOAT32_FLOOR, name=name)
    for name in excluded:
        np.testing.assert_array_equal(named[name].numpy(), before[name])


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_the_same_on_every_device(kind: str, device: str) -> None:
    options = {"momentum": 0.9} if kind == "SGD" else {}
    make: Callable[..., optim.Optimizer] = getattr(optim, kind)
    expected, params = tensors(np.float64), tensors(np.float64, device)
    run_ours(make(expected.values(), lr=0.02, weight_decay=0.1, **options), expected, range(5))
    run_ours(make(params.values(), lr=0.02, weight_decay=0.1, **options), params, range(5))
    for name, param in params.items():
        assert param.device == as_tensor(0.0, device=device).device
        assert_close(param.numpy(), expected[name].numpy(), rtol=tolerances.DEVICE_FLOAT64)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_memory_order_of_weights_and_gradients_does_not_matter(kind: str) -> None:
    values = start()["weight"]
    plain = Tensor(values, requires_grad=True)
    turned = as_tensor(values.T.copy().T).requires_grad_(True)
    assert not turned.data.flags.c_contiguous
    memory, grad = turned.data, gradient("weight", values, 0)
    wide = np.zeros((3, 22))
    wide[:, ::2] = grad
    for param, layout in ((plain, grad), (turned, wide[:, ::2])):
        param.grad = as_tensor(layout)
        optim_ = getattr(optim, kind)([param], lr=0.1, weight_decay=0.1)
        optim_.step()
        optim_.step()
    assert turned.data is memory
    np.testing.assert_array_equal(turned.numpy(), plain.numpy())
    np.testing.assert_array_equal(wide[:, ::2], grad)  # gradients are not written to


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_backward_through_a_graph_from_before_the_step_raises(kind: str) -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    y = w * w
    y.backward([1.0, 1.0], retain_graph=True)
    getattr(optim, kind)([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match=f"changed in place afterwards by {kind}.step"):
        y.backward([1.0, 1.0])


def test_numpy_scalars_as_options_widen_nothing() -> None:
    param = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    param.grad = as_tensor(np.ones((2, 3), np.float32))
    optimizer = optim.AdamW([param], lr=np.float64(0.1), betas=(np.float64(0.9), np.float64(0.99)))
    optimizer.step()
    assert param.dtype == np.float32
    assert {b.dtype for n, b in optimizer.state[param].items() if n != "step"} == {
        np.dtype(np.float32)
    }


def test_state_follows_a_parameter_to_another_dtype() -> None:
    param = Tensor(np.ones(3, np.float32), requires_grad=True)
    optimizer = optim.Adam([param], lr=0.1)
    for dtype in (np.float32, np.float64):
        param.data = param.data.astype(dtype)
        param.grad = as_tensor(np.ones(3, dtype))
        optimizer.step()
    assert optimizer.state[param]["exp_avg"].dtype == np.float64
    assert_close(param.numpy(), np.full(3, 0.8), rtol=1e-6)  # two steps of lr, the sign of g


def test_zero_grad() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    w.grad = as_tensor([3.0, 4.0])
    optimizer = optim.SGD([w])
    kept = w.grad
    optimizer.zero_grad(set_to_none=False)
    assert w.grad is kept
    assert kept.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert w.grad is None


def leaf(*shape: int) -> Tensor:
    return Tensor(np.ones(shape), requires_grad=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD([leaf(2)], lr=-0.1), "lr must be a number >= 0, got -0.1"),
        (lambda: optim.SGD([leaf(2)], lr=float("nan")), "lr must be .* got nan"),
        (lambda: optim.SGD([leaf(2)], lr="fast"), "lr must be a number.* got 'fast'"),
        (lambda: optim.SGD([leaf(2)], momentum=-1), "momentum must be"),
        (lambda: optim.SGD([leaf(2)], nesterov=True), "nesterov needs momentum > 0"),
        (lambda: optim.AdamW([leaf(2)], weight_decay=-1), "weight_decay must be"),
        (lambda: optim.AdamW([leaf(2)], betas=(0.9, 1.0)), r"betas\[1\] must be .* < 1, got 1.0"),
        (lambda: optim.AdamW([leaf(2)], betas=0.9), "betas must be a pair"),
        (lambda: optim.AdamW([leaf(2)], eps=-1e-8), "eps must be"),
        (lambda: optim.AdamW([{"params": [leaf(2)], "lr": -1}]), "lr must be"),
        (lambda: optim.AdamW([{"params": [leaf(2)], "wd": 0}]), "AdamW has no option 'wd'.* lr, "),
        (lambda: optim.AdamW([]), "params is empty"),
        (lambda: optim.AdamW([leaf(2) * 2]), r"params\[0\] of group 0 was made by Mul"),
    ],
)
def test_wrong_values_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (leaf(2), "got one Tensor"),
        ([1.0], r"params\[0\] of group 0 must be a floating Tensor"),
        ([Tensor([1, 2])], "got a Tensor of int64"),
        ([{"params": [leaf(2)]}, leaf(3)], "cannot be mixed"),
        ([{"lr": 1.0}], 'with the key "params"'),
    ],
)
def test_wrong_kinds_are_named(params: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        optim.SGD(params)


def test_a_tensor_given_twice_is_refused() -> None:
    w = leaf(2)
    with pytest.raises(ValueError, match=r"params\[1\] of group 0.*given before"):
        optim.SGD([w, w])
    with pytest.raises(ValueError, match=r"params\[0\] of group 1.*given before"):
        optim.SGD([{"params": [w]}, {"params": w}])


def test_a_gradient_of_the_wrong_shape_is_refused() -> None:
    w = leaf(2, 3)
    w.grad = as_tensor(np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"shape \(2, 3\) has shape \(3, 2\)"):
        optim.SGD([w]).step()
