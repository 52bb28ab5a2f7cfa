"""Where dropout stands and how much it drops, in every family and head.

With p = 1 training is deterministic: all that a dropout sees becomes 0. So each place is compared
with transformers in training mode, alone; and each rate of a config with all places that it sets.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.models import nemotron_oracle
from tests.models.mega_oracle import DECODER, in_float64, mega_twins
from tests.models.oracle import as_torch, twin_heads, twins
from tests.support import assert_close
from tests.tolerances import MODEL_FLOAT64, MODEL_GRADIENT_FLOAT64
from tinybert.backend import generator
from tinybert.nn.packing import padded

rng = np.random.default_rng(5)
B, T = 2, 4
IDS = rng.integers(3, 23, size=(B, T))
MASK = np.array([[1, 1, 1, 1], [1, 1, 1, 0]])
STATES = rng.standard_normal((B, 3, 12))

CROSS = {"is_decoder": True, "add_cross_attention": True, "use_cache": False}
BERT = (
    "BertModel", "BertForPreTraining", "BertLMHeadModel", "BertForMaskedLM",
    "BertForNextSentencePrediction", "BertForSequenceClassification", "BertForMultipleChoice",
    "BertForTokenClassification", "BertForQuestionAnswering",
)  # fmt: skip
MEGATRON = tuple(f"Megatron{name.replace('LMHeadModel', 'ForCausalLM')}" for name in BERT)
MEGA = (
    "MegaModel", "MegaForCausalLM", "MegaForMaskedLM", "MegaForSequenceClassification",
    "MegaForMultipleChoice", "MegaForTokenClassification", "MegaForQuestionAnswering",
)  # fmt: skip
MODELS = (*BERT, *MEGATRON, *MEGA, *nemotron_oracle.CLASSES)

# The rates that a config of each family sets.
RATES: dict[str, tuple[str, ...]] = {
    "Bert": ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"),
    "Mega": (
        "dropout_prob", "hidden_dropout_prob", "attention_probs_dropout_prob",
        "nffn_activation_dropout_prob", "classifier_dropout",
    ),
    "Nemotron": ("attention_dropout", "classifier_dropout"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def theirs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    in_float64(monkeypatch)
    with nemotron_oracle.one_thread():
        yield


def family_of(name: str) -> str:
    return re.match("Bert|Mega(?!tron)|Nemotron", name.replace("MegatronBert", "Bert"))[0]  # type: ignore[index]


def is_decoder(name: str) -> bool:
    return name.endswith(("LMHeadModel", "CausalLM"))


def pair(name: str, **options: Any) -> tuple[Any, Any]:
    """The model here and in transformers, with the same weights, in training mode."""
    family, made = family_of(name), {**options}
    if family == "Nemotron":
        both = nemotron_oracle.twins(name, 3, pad_token_id=1, **made)
    elif family == "Mega":
        both = mega_twins(name, 3, **{**(DECODER | CROSS if is_decoder(name) else {}), **made})
    else:
        made = {**(CROSS if is_decoder(name) else {}), **made}
        both = twins(3, **made) if name == "BertModel" else twin_heads(name, 3, **made)
    return both[0].train(), both[1].train()


def call_of(name: str, model: Any) -> dict[str, Any]:
    """Inputs, and all outputs."""
    shape = (B, 2, T) if name.endswith("MultipleChoice") else (B, T)
    call: dict[str, Any] = {
        "input_ids": np.broadcast_to(IDS[:, None], shape).copy() if len(shape) > 2 else IDS,
        "attention_mask": np.broadcast_to(MASK[:, None], shape).copy() if len(shape) > 2 else MASK,
        "output_hidden_states": True,
        "output_attentions": True,
    }
    if is_decoder(name) and family_of(name) != "Nemotron":
        call["encoder_hidden_states"] = STATES
    return call


def assert_same(name: str, ours: Any, theirs: Any, what: str) -> None:
    """All outputs are equal, and the gradients of the first."""
    call = call_of(name, ours)
    exact = nemotron_oracle.exact() if family_of(name) == "Nemotron" else nullcontext()
    with exact:
        expected = theirs(**{key: as_torch(value) for key, value in call.items()})
        found = ours(**call)
        flat = nemotron_oracle.flat
        ours_flat, theirs_flat = flat(found), flat(expected)
        for key, value in theirs_flat.items():
            if value is not None:
                assert_close(
                    ours_flat[key].numpy(), value.detach().numpy(), rtol=MODEL_FLOAT64,
                    name=f"{what}: {key}",
                )  # fmt: skip
        for model, output in ((ours, found), (theirs, expected)):
            model.zero_grad()
            (output[0] ** 2).sum().backward()
    for key, parameter in theirs.named_parameters():
        mine = dict(ours.named_parameters())[key].grad
        if parameter.grad is None or mine is None:
            assert mine is None or not mine.numpy().any(), f"{what}: {key}"
            assert parameter.grad is None or not parameter.grad.any(), f"{what}: {key}"
        else:
            assert_close(
                mine.numpy(), parameter.grad.numpy(), rtol=MODEL_GRADIENT_FLOAT64,
                atol=MODEL_GRADIENT_FLOAT64, name=f"{what}: gradient of {key}",
            )  # fmt: skip


def random_state() -> bytes:
    return pickle.dumps(generator("cpu").bit_generator.state)


def places(model: Any) -> dict[str, Any]:
    """The dropouts of a model by the names of transformers, as (module, attribute of the rate)."""
    found = {}
    for path, module in model.named_modules():
        for rate in ("p", "dropout_probability", "attention_dropout"):
            value = getattr(module, rate, None)
            if isinstance(value, float):
                found[path.replace("attention.dropout", "attention_dropout")] = (module, rate)
        if type(module).__name__ == "NemotronAttention" and isinstance(
            getattr(module, "dropout", None), float
        ):
            found[path] = (module, "dropout")
    return found


UNUSED = {"MegaForMaskedLM": {"dropout"}}  # a module that transformers makes and does not call


def none(name: str) -> dict[str, float]:
    return dict.fromkeys(RATES[family_of(name)], 0.0)


@pytest.mark.parametrize("name", MODELS)
def test_every_place_of_dropout_is_that_of_transformers(name: str) -> None:
    ours, theirs = pair(name, **none(name))
    own, other = places(ours), places(theirs)
    assert set(own) == set(other) - UNUSED.get(name, set())
    assert_same(name, ours, theirs, "no dropout")
    inside = (f"{ours.base_model_prefix}.",) if "For" in name and not is_decoder(name) else ()
    for place, (module, rate) in own.items():
        if place.startswith(inside):  # the same base model as the one tested alone
            continue
        their_module, their_rate = other[place]
        setattr(module, rate, 1.0)
        setattr(their_module, their_rate, 1.0)
        assert_same(name, ours, theirs, place)
        setattr(module, rate, 0.0)
        setattr(their_module, their_rate, 0.0)


@pytest.mark.parametrize("name", MODELS)
def test_every_rate_of_a_config_reaches_its_places(name: str) -> None:
    """Rates that differ from one another, and from their defaults."""
    names = RATES[family_of(name)]
    for classifier in (0.37, 0.0, None):
        rates: dict[str, float | None] = {key: 0.11 + 0.06 * i for i, key in enumerate(names)}
        rates["classifier_dropout"] = classifier
        if classifier is None and family_of(name) == "Nemotron":
            continue  # the library's own default there; see below
        ours, theirs = pair(name, **rates)
        theirs_by_place = places(theirs)
        for place, (module, rate) in places(ours).items():
            their_module, their_rate = theirs_by_place[place]
            assert getattr(module, rate) == getattr(their_module, their_rate), place


@pytest.mark.slow  # it follows from the two tests before
@pytest.mark.parametrize("name", MODELS)
def test_every_rate_in_turn_drops_what_it_drops_in_transformers(name: str) -> None:
    for rate in RATES[family_of(name)]:
        ours, theirs = pair(name, **{**none(name), rate: 1.0})
        assert_same(name, ours, theirs, f"{rate}=1")


@pytest.mark.parametrize("hidden", [0.0, 1.0])
@pytest.mark.parametrize(
    "name", [name for name in (*BERT, *MEGATRON, *MEGA) if name.endswith(("tion", "Choice"))]
)
def test_a_classifier_without_a_rate_of_its_own_has_that_of_hidden_states(
    name: str, hidden: float
) -> None:
    rates = {**none(name), "hidden_dropout_prob": hidden, "classifier_dropout": None}
    assert_same(name, *pair(name, **rates), f"hidden_dropout_prob={hidden}")


def test_the_rate_of_a_nemotrons_token_classifier() -> None:
    """0.1 if the config says nothing; hidden_dropout, another name for it, comes second."""
    for options, rate in (
        ({}, 0.1),
        ({"classifier_dropout": 0.3}, 0.3),
        ({"hidden_dropout": 0.4}, 0.4),
        ({"classifier_dropout": 0.0, "hidden_dropout": 0.4}, 0.0),
    ):
        ours, theirs = pair("NemotronForTokenClassification", **options)
        assert ours.dropout.p == theirs.dropout.p == rate


@pytest.mark.filterwarnings("ignore:dropout2d")
@pytest.mark.parametrize("by_feature", [False, True], ids=["", "by feature"])
@pytest.mark.parametrize("kind", ["softmax", "laplace", "relu2"])
def test_dropout_of_whole_features_and_of_every_attention(kind: str, by_feature: bool) -> None:
    options = {"attention_activation": kind, "use_feature_dropout": by_feature}
    for rate in RATES["Mega"][:4]:
        rates = {**none("MegaModel"), rate: 1.0}
        assert_same("MegaModel", *pair("MegaModel", **rates, **options), f"{kind}, {rate}")


@pytest.mark.parametrize("name", [name for name in MODELS if is_decoder(name) or "Model" in name])
@pytest.mark.parametrize("weights", [False, True], ids=["blockwise", "weights"])
def test_attention_in_blocks_drops_all_weights_too(name: str, weights: bool) -> None:
    """With and without the matrix of weights, dropout of all of them leaves no context."""
    rates = {key: float(key.startswith("attention")) for key in RATES[family_of(name)]}
    ours, theirs = pair(name, **rates)
    call = {k: v for k, v in call_of(name, ours).items() if k != "output_attentions"}
    exact = nemotron_oracle.exact() if family_of(name) == "Nemotron" else nullcontext()
    with exact, padded():
        expected = theirs(**{k: as_torch(v) for k, v in call.items()}).hidden_states
        found = ours(**call, output_attentions=weights).hidden_states
    for mine, their in zip(found, expected, strict=True):
        assert_close(mine.numpy(), their.detach().numpy(), rtol=MODEL_FLOAT64)


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_draws_nothing_whatever_the_rates(name: str, tmp_path: Any) -> None:
    rates = dict.fromkeys(RATES[family_of(name)], 0.7)
    ours, _ = pair(name, **rates)
    quiet, _ = pair(name, **none(name))
    ours.save_pretrained(tmp_path)
    loaded = type(ours).from_pretrained(tmp_path, dtype="float64")
    state = random_state()
    for flags in ({}, {"output_attentions": False}):
        call = {**call_of(name, ours), **flags}
        expected = nemotron_oracle.flat(quiet.eval()(**call))
        for model in (ours.eval(), loaded):
            found = nemotron_oracle.flat(model(**call))
            assert list(found) == list(expected)
            for key, value in expected.items():
                if value is not None:
                    assert (found[key].numpy() == value.numpy()).all(), key
    assert random_state() == state
    ours.train()(**call)
    assert random_state() != state  # the rates were not forgotten


def test_generation_draws_nothing_without_sampling() -> None:
    model, _ = pair("NemotronForCausalLM", attention_dropout=0.9)
    state = random_state()
    tinybert.NemotronForCausalLM.generate(model.eval(), IDS, max_new_tokens=3, eos_token_id=None)
    assert random_state() == state
