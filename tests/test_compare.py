"""`compare` against pairs of models with one known fault: it must name that layer and no other."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tinybert import nn
from tinybert.autograd import Tensor, is_grad_enabled
from tinybert.comparison import Comparison, compare
from tinybert.models import BertConfig, BertModel

SIZES = {
    "vocab_size": 97,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 19,
    "initializer_range": 0.4,  # layers that matter, unlike those of a fresh BERT
}
INPUTS: dict[str, Any] = {
    "input_ids": (np.arange(14) * 5 % 97).reshape(2, 7),
    "attention_mask": [[1] * 7, [1] * 5 + [0] * 2],
    "token_type_ids": Tensor([[0, 0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 0, 0]]),
    "output_hidden_states": True,
}


class Block(nn.Module):
    """A residual block: x + second(relu(first(norm(x))))."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(5), nn.Linear(5, 7), nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(self.norm(x)).relu())


class WrongBlock(Block):
    """The residual is subtracted."""

    def forward(self, x: Tensor) -> Tensor:
        return x - self.second(self.first(self.norm(x)).relu())


class TorchBlock(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(5)
        self.first, self.second = torch.nn.Linear(5, 7), torch.nn.Linear(7, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(self.norm(x)).relu())


X = np.random.default_rng(2).standard_normal((3, 2, 5)).astype(np.float32)


def blocks() -> tuple[nn.Sequential, torch.nn.Sequential]:
    torch.manual_seed(4)
    theirs = torch.nn.Sequential(TorchBlock(), TorchBlock(), TorchBlock())
    ours = nn.Sequential(Block(), Block(), Block())
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def berts(**options: Any) -> tuple[BertModel, Any]:
    torch.manual_seed(6)
    theirs = transformers.BertModel(transformers.BertConfig(**SIZES, **options))
    ours = BertModel(BertConfig(**SIZES))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def first_name(comparison: Comparison) -> str | None:
    return comparison.first_divergence and comparison.first_divergence.name


def test_equal_models_agree_in_every_row() -> None:
    ours, theirs = blocks()
    comparison = compare(ours, theirs, X)
    assert comparison.ok
    assert first_name(comparison) is None
    inner = [f"{i}{part}" for i in range(3) for part in (".norm", ".first", ".second", "")]
    assert [row.name for row in comparison.rows] == [*inner, "(output)"]
    assert [row.order for row in comparison.rows] == list(range(13))
    assert comparison.rows[1].shape == (3, 2, 7)
    assert comparison.rows[1].kind == "Linear"
    assert "All 13 outputs agree." in str(comparison)


def wrong_eps(ours: Any) -> None:
    ours[1].norm.eps = 1e-2


def scaled_weight(ours: Any) -> None:
    ours[1].first.weight.data *= 1.001


def dropped_bias(ours: Any) -> None:
    ours[1].second.bias = None


def wrong_forward(ours: Any) -> None:
    ours[1].__class__ = WrongBlock


@pytest.mark.parametrize("float64", [False, True])
@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (wrong_eps, "1.norm"),
        (scaled_weight, "1.first"),
        (dropped_bias, "1.second"),
        (wrong_forward, "1"),
    ],
)
def test_one_fault_is_named_first(fault: Callable[[Any], None], name: str, float64: bool) -> None:
    ours, theirs = blocks()
    fault(ours)
    comparison = compare(ours, theirs, X, float64=float64)
    assert not comparison.ok
    assert first_name(comparison) == name
    row = comparison.first_divergence
    assert row is not None
    assert row.verdict == ("bug" if float64 else "differs")
    assert [line for line in str(comparison).splitlines() if line.startswith(">")] == [
        line for line in str(comparison).splitlines() if f" {row.order} {name} " in line
    ]
    assert f"First divergence: {name} ({row.kind}), {row.verdict}." in str(comparison)


def test_the_numbers_of_a_row() -> None:
    theirs, ours = torch.nn.Linear(2, 3, bias=False), nn.Linear(2, 3, bias=False)
    theirs.weight.data = torch.tensor([[4.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    ours.load_state_dict({"weight": np.array([[4.0, 0.0], [0.0, 2.0], [0.5, 0.0]], np.float32)})
    (row,) = compare(ours, theirs, np.ones((1, 2), np.float32)).rows
    assert (row.max_abs, row.max_rel) == (0.5, 0.125)  # a = (4, 2, 0.5), b = (4, 2, 0)
    assert row.rms_rel == pytest.approx(0.5 / np.sqrt(20))


def scaled(factor: float, size: float) -> Comparison:
    """Of a linear layer whose outputs have `size`, and its twin with one weight times `factor`."""
    theirs, ours = torch.nn.Linear(2, 3, bias=False), nn.Linear(2, 3, bias=False)
    theirs.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.0]]) * size
    ours.load_state_dict(theirs.state_dict())
    ours.weight.data[0, 0] *= factor
    return compare(ours, theirs, np.ones((1, 2), np.float32))


@pytest.mark.parametrize("size", [1e-5, 1.0, 1e3])
@pytest.mark.parametrize("factor", [1.5, 0.5, 1.02])
def test_a_fault_of_small_outputs_is_seen_too(factor: float, size: float) -> None:
    (row,) = scaled(factor, size).rows
    assert row.verdict == "differs"
    assert row.max_rel == pytest.approx(abs(factor - 1), rel=0.03)


def test_the_default_tolerances_are_those_that_the_docstring_says() -> None:
    """max |a - b| <= 1e-7 + 1e-4 max |b|, at both ends of the range."""
    for size, below, above in ((1.0, 1 + 0.9e-4, 1 + 1.1e-4), (1e-5, 1 + 0.9e-2, 1 + 1.1e-2)):
        assert scaled(below, size).rows[0].verdict == "ok"
        assert scaled(above, size).rows[0].verdict == "differs"
    theirs, ours = torch.nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    theirs.weight.data = torch.tensor([[1.0]])
    ours.load_state_dict({"weight": np.array([[1.25]], np.float32)})
    x = np.ones((1, 1), np.float32)
    assert compare(ours, theirs, x, atol=0.25, rtol=0).rows[0].verdict == "ok"  # the limit itself
    assert compare(ours, theirs, x, atol=0, rtol=0.25).rows[0].verdict == "ok"
    assert compare(ours, theirs, x, atol=0.24, rtol=0).rows[0].verdict == "differs"
    assert compare(ours, theirs, x, atol=0.125, rtol=0.125).rows[0].verdict == "ok"


def test_a_wrong_load_is_told_from_a_wrong_computation() -> None:
    ours, theirs = blocks()
    scaled_weight(ours)
    ours[2].norm.bias.data[3] = 0.25
    comparison = compare(ours, theirs, X)
    assert [w.name for w in comparison.weights] == ["1.first.weight", "2.norm.bias"]
    assert comparison.weights[1].max_abs == 0.25
    assert "Its weights differ (1.first.weight): check the loading" in str(comparison)

    ours, theirs = blocks()
    wrong_eps(ours)
    comparison = compare(ours, theirs, X)
    assert comparison.weights == []
    assert "All common weights are equal: check the computation." in str(comparison)


def test_weights_differ_though_the_outputs_do_not() -> None:
    ours, theirs = berts()
    ours.embeddings.position_embeddings.weight.data[18] += 1  # a position that is not used
    comparison = compare(ours, theirs, INPUTS)
    assert first_name(comparison) is None
    assert not comparison.ok
    assert [w.name for w in comparison.weights] == ["embeddings.position_embeddings.weight"]


def test_weights_of_another_shape() -> None:
    ours, theirs = nn.Linear(3, 4), torch.nn.Linear(3, 2)
    comparison = compare(ours, theirs, np.ones((1, 3), np.float32))
    assert [(w.name, w.ours, w.torch, w.max_abs) for w in comparison.weights] == [
        ("weight", (4, 3), (2, 3), None),
        ("bias", (4,), (2,), None),
    ]
    assert comparison.rows[0].verdict == "shape"
    assert "Weight differs: weight, (4, 3) / (2, 3)" in str(comparison)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_called_out(value: float) -> None:
    ours, theirs = blocks()
    ours[1].second.bias.data[2] = value
    comparison = compare(ours, theirs, X)
    row = comparison.first_divergence
    assert row is not None
    what = "NaN" if np.isnan(value) else "inf"
    assert (row.name, row.verdict) == ("1.second", f"{what} ours")
    assert row.max_rel is not None
    assert row.max_rel < 1e-5  # the finite elements agree
    assert f"First {what}: 1.second (Linear)" in str(comparison)
    content = json.loads(comparison.to_json())
    assert content["first_divergence"] == "1.second"
    assert content["weights"][0]["name"] == "1.second.bias"

    theirs[1].second.bias.data[2] = value
    both = compare(ours, theirs, X)
    if what == "NaN":
        assert both.rows[6].verdict == "NaN both"
    else:  # the same infinity is no divergence, the NaN that the next norm makes of it is
        assert (both.rows[6].verdict, first_name(both)) == ("ok", "2.norm")


def test_float64_tells_rounding_from_a_bug() -> None:
    ours, theirs = blocks()
    strict = compare(ours, theirs, X, atol=0, rtol=0)
    assert strict.first_divergence is not None  # rounding, taken for a difference
    judged = compare(ours, theirs, X, atol=0, rtol=0, float64=True)
    assert judged.ok
    assert "noise" in {row.verdict for row in judged.rows} <= {"ok", "noise"}
    assert all(row.float64_rel is not None and row.float64_rel < 1e-14 for row in judged.rows)
    scaled_weight(ours)  # 1e-3 off, and let through by a wide tolerance
    assert compare(ours, theirs, X, rtol=0.1).rows[5].verdict == "ok"
    assert first_name(compare(ours, theirs, X, rtol=0.1, float64=True)) == "1.first"
    assert next(ours.parameters()).dtype == np.float32  # copies were widened, not the models
    assert next(theirs.parameters()).dtype == torch.float32


def test_models_are_left_as_they_were_even_after_an_exception() -> None:
    ours, theirs = blocks()
    ours.train()
    ours[2].eval()
    theirs.eval()
    theirs[0].train()
    seen: list[Any] = []
    own = ours[0].register_forward_hook(
        lambda *_: seen.append((is_grad_enabled(), ours[0].training, theirs[0].training))
    )
    compare(ours, theirs, X)
    assert seen == [(False, False, True)]  # torch's turn comes later
    with pytest.raises(ValueError, match="must end in normalized_shape"):
        compare(ours, theirs, np.ones((2, 4), np.float32))
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):  # torch, after ours has run
        compare(nn.Sequential(nn.Linear(4, 5)), torch.nn.Sequential(torch.nn.Linear(5, 5)),
                np.ones((2, 4), np.float32))  # fmt: skip
    own.remove()
    assert [m.training for m in ours] == [True, True, False]
    assert [m.training for m in theirs] == [True, False, False]
    assert not any(m._forward_hooks for m in ours.modules())
    assert not any(m._forward_hooks for m in theirs.modules())


def test_without_torch_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = blocks()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"compare needs torch: pip install"):
        compare(ours, theirs, X)


def test_modules_of_one_side_and_calls_of_one_side() -> None:
    ours, theirs = berts()
    comparison = compare(ours, theirs, INPUTS)
    assert comparison.only_ours == []
    assert "pooler.activation" in comparison.only_torch
    text = str(comparison)
    assert "encoder.layer.*.intermediate.intermediate_act_fn (3 times)" in text
    assert "Calls, ours / torch: embeddings.position_embeddings: 0 / 1" in text


def test_a_module_called_twice_has_a_row_for_each_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 5)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.layer(self.layer(x)), x

    class TorchTwice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(5, 5)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.layer(self.layer(x)), x

    ours, theirs = Twice(), TorchTwice()
    ours.load_state_dict(theirs.state_dict())
    comparison = compare(ours, theirs, {"x": X})
    names = ["layer", "layer (call 2)", "(output)[0]", "(output)[1]"]
    assert [row.name for row in comparison.rows] == names
    assert comparison.ok


def test_bert_against_transformers() -> None:
    ours, theirs = berts()
    comparison = compare(ours, theirs, INPUTS, float64=True)
    assert comparison.ok, str(comparison)
    names = [row.name for row in comparison.rows]
    assert "encoder.layer.2.attention.output.LayerNorm" in names
    assert names[-6:] == [
        "(output).last_hidden_state",
        "(output).pooler_output",
        *(f"(output).hidden_states[{i}]" for i in range(4)),
    ]
    assert all(len(line) <= 100 for line in str(comparison).splitlines())


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (lambda m: setattr(m.encoder.layer[1].output.LayerNorm, "eps", 0.1),
         "encoder.layer.1.output.LayerNorm"),
        (lambda m: setattr(m.encoder.layer[0].attention.self.key, "bias", None),
         "encoder.layer.0.attention.self.key"),
        (lambda m: setattr(m.encoder.layer[2].attention.self, "kept_heads", [*range(6)]),
         "encoder.layer.2.attention.self"),
        (lambda m: setattr(m.encoder.layer[1].intermediate, "activation", lambda x: x.relu()),
         "encoder.layer.1.intermediate"),
    ],
)  # fmt: skip
def test_one_fault_in_bert_is_named_first(fault: Callable[[Any], None], name: str) -> None:
    ours, theirs = berts()
    if name.endswith("key"):  # a fresh bias is zero; missing, it would not be missed
        torch.nn.init.normal_(theirs.encoder.layer[0].attention.self.key.bias)
        ours.load_state_dict(theirs.state_dict())
    fault(ours)
    assert first_name(compare(ours, theirs, INPUTS)) == name


def test_outputs_of_different_kinds_are_compared_by_their_first() -> None:
    ours, theirs = berts()
    comparison = compare(ours, theirs, {**INPUTS, "return_dict": False})
    assert comparison.ok
    theirs.forward = lambda forward=theirs.forward, **inputs: forward(
        **{**inputs, "return_dict": True}
    )
    comparison = compare(ours, theirs, {**INPUTS, "return_dict": False})
    assert comparison.rows[-1].name == "(output)"
    assert comparison.ok
