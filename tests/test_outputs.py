"""ModelOutput: by attribute, by key, by position, against the class of transformers."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from transformers import modeling_outputs

from tinybert import BaseModelOutputWithPoolingAndCrossAttentions as Ours
from tinybert import Tensor

Theirs = modeling_outputs.BaseModelOutputWithPoolingAndCrossAttentions
A, B, C = (Tensor(np.full((2, 3), value)) for value in (1.0, 2.0, 3.0))
classes = pytest.mark.parametrize("cls", [Ours, Theirs])


def example(cls: Any) -> Any:
    return cls(last_hidden_state=A, hidden_states=(A, B), attentions=(C,))


@classes
def test_what_is_none_is_an_attribute_but_no_key(cls):
    out = example(cls)
    assert out.last_hidden_state is A
    assert out.pooler_output is None
    assert list(out) == list(out.keys()) == ["last_hidden_state", "hidden_states", "attentions"]
    assert len(out) == 3
    assert "pooler_output" not in out
    with pytest.raises(KeyError):
        _ = out["pooler_output"]
    with pytest.raises(KeyError):
        _ = out["nothing"]
    with pytest.raises(AttributeError):
        _ = out.nothing


@classes
def test_positions_skip_what_is_none(cls):
    out = example(cls)
    assert out[0] is A
    assert out[1] == (A, B)
    assert out[-1] == (C,)
    assert out[1:] == ((A, B), (C,))
    assert out.to_tuple() == (A, (A, B), (C,)) == tuple(out.values())
    with pytest.raises(IndexError):
        _ = out[3]


@classes
def test_keys_and_attributes_name_the_same(cls):
    out = example(cls)
    assert out["attentions"] is out.attentions
    out.last_hidden_state = B
    assert out["last_hidden_state"] is B
    out["hidden_states"] = (C,)
    assert out.hidden_states == (C,)
    assert list(out) == ["last_hidden_state", "hidden_states", "attentions"]


@classes
def test_setting_none_fields(cls):
    out = example(cls)
    out.pooler_output = B
    assert "pooler_output" not in out
    assert out.pooler_output is B
    out = example(cls)
    out["pooler_output"] = B
    assert out.pooler_output is B
    assert len(out) == 4
    out = example(cls)
    out.attentions = None
    assert out.attentions is None
    assert out["attentions"] == (C,)


@classes
@pytest.mark.parametrize(
    "change",
    [
        lambda out: out.pop("attentions"),
        lambda out: out.update({"attentions": 1}),
        lambda out: out.setdefault("attentions", 1),
        lambda out: out.__delitem__("attentions"),
    ],
    ids=["pop", "update", "setdefault", "del"],
)
def test_fields_are_not_lost_or_gained(cls, change):
    out = example(cls)
    with pytest.raises(Exception):  # noqa: B017 (transformers raises nothing narrower)
        change(out)
    assert len(out) == 3


@classes
def test_unpacking_and_copies(cls):
    out = example(cls)
    assert dict(**out) == dict(out.items())
    first, *_ = out.to_tuple()
    assert first is A
    assert cls(A)[0] is A


def test_fields_stand_in_the_order_of_transformers():
    assert list(Ours.__dataclass_fields__) == list(Theirs.__dataclass_fields__)
    assert len(Ours()) == 0


def test_an_output_survives_pickling():
    again = pickle.loads(pickle.dumps(example(Ours)))
    assert type(again) is Ours
    np.testing.assert_array_equal(again[0].numpy(), A.numpy())
    assert list(again) == list(example(Ours))
    assert again.pooler_output is None
