"""The low-rank layer against torch code of its formula; merging it; and that its base is frozen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support import assert_close
from tests.tolerances import FLOAT32_EPS, OP_FLOAT64
from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.backend import manual_seed
from tinybert.nn import Linear, LowRankLinear

rng = np.random.default_rng(7)
SCALING = 1.75


def layer(dropout: float = 0.0, dtype: str = "float64") -> LowRankLinear:
    """A layer from 7 to 5 features of rank 3, whose B is not zero."""
    made = LowRankLinear(Linear(7, 5).to(dtype), 3, SCALING, dropout)
    made.lora_B.weight.data[...] = rng.standard_normal((5, 3))
    return made


def test_values_and_gradients_are_those_of_the_formula() -> None:
    ours = layer()
    x = rng.standard_normal((2, 4, 7))
    theirs = {
        name: torch.tensor(p.numpy(), requires_grad="lora" in name)
        for name, p in ours.named_parameters()
    }
    their_x = torch.tensor(x, requires_grad=True)
    change = SCALING * theirs["lora_B.weight"] @ theirs["lora_A.weight"]
    expected = their_x @ (theirs["weight"] + change).T + theirs["bias"]
    our_x = Tensor(x, requires_grad=True)
    y = ours(our_x)
    u = rng.standard_normal(y.shape)
    y.backward(u)
    expected.backward(torch.from_numpy(u))
    assert_close(y.numpy(), expected.detach().numpy(), rtol=OP_FLOAT64)
    assert_close(our_x.grad.numpy(), their_x.grad.numpy(), rtol=OP_FLOAT64)
    for name, parameter in ours.named_parameters():
        if "lora" in name:
            found, right = parameter.grad.numpy(), theirs[name].grad.numpy()
            assert_close(found, right, rtol=OP_FLOAT64, name=name)
        else:
            assert parameter.grad is None


@pytest.mark.parametrize(("dtype", "eps"), [("float64", OP_FLOAT64), ("float32", 8 * FLOAT32_EPS)])
def test_a_merged_layer_computes_the_same(dtype: str, eps: float) -> None:
    ours = layer(dtype=dtype).eval()
    merged = ours.merge()
    x = Tensor(rng.standard_normal((9, 7)).astype(dtype))
    assert type(merged) is Linear
    assert not merged.training
    assert merged.weight.dtype == dtype
    assert_close(merged(x).numpy(), ours(x).numpy(), rtol=eps)
    assert merged.weight.data is not ours.weight.data


def test_a_fresh_layer_changes_nothing_and_shares_the_weights() -> None:
    linear = Linear(7, 5)
    x = Tensor(rng.standard_normal((2, 7)).astype("float32"))
    expected = linear(x).numpy()
    ours = LowRankLinear(linear, 3)
    assert (ours(x).numpy() == expected).all()
    assert ours.weight is linear.weight
    assert ours.bias is linear.bias
    trained = [name for name, p in ours.named_parameters() if p.requires_grad]
    assert trained == ["lora_A.weight", "lora_B.weight"]
    a = ours.lora_A.weight.numpy()
    assert 0.1 < np.abs(a).max() <= 1 / np.sqrt(7)  # PEFT's Kaiming bound
    without = LowRankLinear(Linear(7, 5, bias=False), 2)
    assert without.merge().bias is None


def test_dropout_is_on_the_correction_alone() -> None:
    ours = layer(dropout=0.5)
    x = Tensor(rng.standard_normal((1, 7)))
    plain = F.linear(x, ours.weight, ours.bias).numpy()
    with manual_seed(3):
        dropped = ours(x).numpy() - plain
    with manual_seed(3):
        kept = F.dropout(x, 0.5).numpy()
    change = SCALING * kept @ ours.lora_A.weight.numpy().T @ ours.lora_B.weight.numpy().T
    assert (kept == 0).any()
    assert_close(dropped, change, rtol=1e-10)  # a difference of larger numbers
    assert not np.allclose(ours.eval()(x).numpy() - plain, dropped)


def test_a_rank_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="rank must be an integer >= 1, got 0"):
        LowRankLinear(Linear(7, 5), 0)
