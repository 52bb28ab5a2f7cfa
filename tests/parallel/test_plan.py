"""The planner: exact counts, the formulas of the papers, and their published runs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinybert import (
    BertConfig,
    BertForPreTraining,
    MegatronBertConfig,
    MegatronBertForPreTraining,
    NemotronConfig,
    NemotronForCausalLM,
)
from tinybert.nn.init import hollow_init
from tinybert.parallel.plan.job import Job
from tinybert.parallel.plan.machines import MACHINES, Machine, read_machine
from tinybert.parallel.plan.memory import activations, layer_activations, memory, rank_parameters
from tinybert.parallel.plan.papers import published
from tinybert.parallel.plan.prediction import predict
from tinybert.parallel.plan.shapes import PRESETS, Shape, shape_of
from tinybert.parallel.plan.traffic import step_messages
from tinybert.parallel.plan.work import model_flops, step_flops

# Billions of parameters that the papers print.
PUBLISHED = {
    "megatron-336m": 0.336, "megatron-1.3b": 1.3, "megatron-3.9b": 3.9, "megatron-355m": 0.355,
    "megatron-1.2b": 1.2, "megatron-2.5b": 2.5, "megatron-4.2b": 4.2, "megatron-8.3b": 8.3,
    "gpt-1.7b": 1.7, "gpt-3.6b": 3.6, "gpt-7.5b": 7.5, "gpt-18b": 18.4, "gpt-39b": 39.1,
    "gpt-76b": 76.1, "gpt-145b": 145.6, "gpt-310b": 310.1, "gpt-530b": 529.6, "gpt-1t": 1008.0,
    "gpt-22b": 22, "gpt-175b": 175, "nemotron-4-15b": 3.2 + 12.5, "nemotron-4-340b": 9.4 + 331.6,
}  # fmt: skip


def toy(family: str, rng: np.random.Generator) -> tuple[Any, Any]:
    """A model with random sizes, without memory for its weights, and its config."""
    heads = int(rng.integers(1, 4)) * 2
    sizes = {
        "vocab_size": int(rng.integers(9, 40)), "hidden_size": heads * int(rng.integers(1, 4)) * 2,
        "intermediate_size": int(rng.integers(3, 30)), "num_hidden_layers": int(rng.integers(1, 4)),
        "num_attention_heads": heads, "max_position_embeddings": int(rng.integers(3, 20)),
    }  # fmt: skip
    with hollow_init():
        if family == "nemotron":
            bias = bool(rng.integers(2))
            config = NemotronConfig(
                **sizes, head_dim=4 * int(rng.integers(1, 5)), num_key_value_heads=heads // 2,
                attention_bias=bias, mlp_bias=bias, tie_word_embeddings=bool(rng.integers(2)),
            )  # fmt: skip
            return NemotronForCausalLM(config), config
        if family == "bert":
            return BertForPreTraining(BertConfig(**sizes)), BertConfig(**sizes)
        config = MegatronBertConfig(**sizes)
        return MegatronBertForPreTraining(config), config


@pytest.mark.parametrize("family", ["bert", "megatron-bert", "nemotron"])
def test_parameters_are_those_of_the_model(family: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        model, config = toy(family, rng)
        assert shape_of(config).parameters == model.num_parameters()


@pytest.mark.parametrize("name", ["megatron-336m", "nemotron-4-15b"])
def test_a_preset_counts_as_the_model_of_its_size_does(name: str) -> None:
    shape = PRESETS[name][0]
    sizes = {
        "vocab_size": shape.vocabulary, "hidden_size": shape.hidden,
        "intermediate_size": shape.inner, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "max_position_embeddings": shape.positions,
    }  # fmt: skip
    with hollow_init():
        if shape.family == "nemotron":
            config = NemotronConfig(
                **sizes, head_dim=shape.head_size, num_key_value_heads=shape.kv_heads
            )
            model: Any = NemotronForCausalLM(config)
        else:
            model = MegatronBertForPreTraining(MegatronBertConfig(**sizes))
    assert model.num_parameters() == shape.parameters


def test_presets_have_the_published_numbers_of_parameters() -> None:
    assert set(PUBLISHED) == set(PRESETS)
    for name, billions in PUBLISHED.items():
        shape = PRESETS[name][0]
        assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.035), name
        if shape.family == "gpt":  # equation 2 of arXiv:2104.04473, and the norm after the layers
            h, layers = shape.hidden, shape.layers
            rows = shape.vocabulary + shape.positions
            assert shape.parameters == 12 * layers * h * h + 13 * layers * h + rows * h + 2 * h


@pytest.mark.parametrize("tensor", [1, 2, 8])
def test_the_parts_of_the_ranks_are_the_whole_model(tensor: int) -> None:
    """What is on every rank counts once: biases of row-parallel layers, norms, positions."""
    shape = PRESETS["gpt-7.5b"][0]
    h = shape.hidden
    copies = shape.layers * 6 * h + shape.positions * h + 2 * h
    parts = tensor * rank_parameters(shape, Job(tensor=tensor))
    assert parts == shape.parameters + (tensor - 1) * copies


def test_flops_are_those_of_the_papers() -> None:
    shape, rows = PRESETS["gpt-7.5b"][0], 24
    s, h, layers, words = shape.positions, shape.hidden, shape.layers, shape.vocabulary
    full = Job(data=2, batch=rows, micro=4, recompute="full")
    # Equation 3 of arXiv:2104.04473, and equations 7 and 8 of arXiv:2205.05198.
    scale = rows * s * layers * h * h
    assert step_flops(shape, full) == pytest.approx(
        96 * scale * (1 + s / (6 * h) + words / (16 * layers * h))
    )
    needed = 72 * scale * (1 + s / (6 * h) + words / (12 * layers * h))
    assert model_flops(shape, full) == pytest.approx(needed)
    selective = replace(full, recompute="selective")
    assert step_flops(shape, selective) == pytest.approx(
        72 * scale * (1 + s / (6 * h) + words / (12 * layers * h)) + 4 * rows * s * s * h * layers
    )


def test_activations_are_those_of_the_paper() -> None:
    """Table 2 of arXiv:2205.05198."""
    shape = PRESETS["gpt-175b"][0]
    s, b, h, a, t = shape.positions, 3, shape.hidden, shape.heads, 8
    sbh, scores = s * b * h, 5 * a * s / h
    table = {
        (1, "none", False): sbh * (34 + scores),
        (t, "none", False): sbh * (10 + 24 / t + scores / t),
        (t, "none", True): sbh / t * (34 + scores),
        (t, "selective", False): sbh * (10 + 24 / t),
        (t, "selective", True): sbh / t * 34,
        (t, "full", False): sbh * 2,
    }
    for (tensor, recompute, parallel), expected in table.items():
        job = Job(tensor=tensor, micro=b, batch=b, recompute=recompute, sequence_parallel=parallel)
        assert layer_activations(shape, job) == pytest.approx(expected)
    # Equation 5, and with interleaving its factor 1 + (p - 1) / (p m): p micro-batches in flight.
    job = Job(
        tensor=t, pipeline=8, batch=64, virtual_stages=3, recompute="none", sequence_parallel=True
    )
    layers = shape.layers * (1 + 7 / 24) * s * h / t * (34 + scores)
    assert activations(shape, job) == pytest.approx(layers + s * h * 8 / t)


def test_memory_of_weights_and_states() -> None:
    shape = PRESETS["gpt-1.7b"][0]
    used = memory(shape, Job())
    assert used.weights + used.gradients + used.optimizer == 16 * shape.parameters
    zero = memory(shape, Job(data=4, batch=4, zero=True))
    assert zero.optimizer == used.optimizer / 4
    assert zero.total == used.total - used.optimizer * 3 / 4
    single = memory(shape, Job(precision="float32"))
    assert single.weights + single.gradients + single.optimizer == 16 * shape.parameters
    assert single.activations > 1.8 * used.activations


def test_bytes_sent_by_hand() -> None:
    shape = Shape("gpt", 4, 8, 2, 32, 6)
    job = Job(tensor=2, pipeline=2, data=3, batch=12, micro=2)  # 2 micro-batches
    found = step_messages(shape, job)
    size = 2 * 6 * 2 * 8  # e T b D
    # 2 layers with 4 all-reduces, one at the embeddings; 2 n (t - 1) / t = n bytes for each.
    assert found["tensor"][0].sent == 2 * (2 * 4 + 1) * size  # and of the loss:
    assert found["tensor"][1].sent == 2 * 3 * 4 * 6 * 2
    sends, tied = found["pipeline"]
    assert (sends.sent, tied.sent) == (2 * 2 * size, 2 * 32 * 8 / 2)
    assert step_messages(shape, replace(job, scatter=True))["pipeline"][0].sent == 2 * 2 * size / 2
    assert found["data"][0].sent == pytest.approx(2 * rank_parameters(shape, job) * 2 * 2 / 3)
    full = step_messages(shape, replace(job, recompute="full"))
    assert full["tensor"][0].sent == 2 * (2 * 6 + 1) * size
    alone = step_messages(shape, Job())
    assert not any(m.sent for messages in alone.values() for m in messages)


def test_the_bubble_and_what_hides_the_gradients() -> None:
    shape, machine = PRESETS["gpt-145b"][0], MACHINES["a100"]
    few, many = (Job(tensor=8, pipeline=8, batch=batch, recompute="full") for batch in (8, 64))
    one, two = predict(shape, few, machine), predict(shape, many, machine)
    assert one.bubble == two.bubble  # (p - 1) micro-batches of a stage
    assert two.matmul == 8 * one.matmul
    assert predict(shape, replace(many, virtual_stages=2), machine).bubble == two.bubble / 2
    data = Job(tensor=8, pipeline=8, data=2, batch=128, recompute="full")
    assert predict(shape, data, machine).data > 0
    exposed = predict(shape, replace(data, overlap=True), machine).data
    assert 0 < exposed < predict(shape, data, machine).data  # one sequence hides a part
    assert predict(shape, replace(data, micro=8, overlap=True), machine).data == 0


def test_published_runs_are_predicted() -> None:
    """Constants are fitted to four of the numbers; the others are predictions."""
    runs = list(published())
    fitted = [run for run in runs if run.fitted]
    assert len(fitted) == 4
    assert max(abs(run.deviation) for run in fitted) < 0.005
    sizes = sorted(abs(run.deviation) for run in runs if not run.fitted)
    assert len(sizes) == 32
    assert sizes[len(sizes) // 2] < 0.06
    assert sizes[-1] < 0.19  # the sum of gradients of 1909.08053 on 512 GPUs


def test_published_jobs_fit_into_their_memory() -> None:
    for run in published():
        used = memory(PRESETS[run.model][0], run.job)
        assert used.total < MACHINES[run.machine].capacity, (run.model, used)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tensor": 0}, "tensor must be an integer >= 1"),
        ({"batch": 3, "micro": 2}, "batch must be a multiple of data x micro"),
        ({"virtual_stages": 2}, "virtual_stages must be 1 unless pipeline"),
        ({"recompute": "some"}, "recompute must be one of"),
        (
            {"virtual_stages": 2, "pipeline": 2, "batch": 3},
            "a multiple of data x micro x pipeline = 2, because virtual_stages is 2",
        ),
    ],
)
def test_a_wrong_job_says_what_is_allowed(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Job(**values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tensor": 3}, "tensor must be a divisor of the 2 heads"),
        ({"pipeline": 3, "batch": 3}, "must be a divisor of the 4 layers"),
        ({"tensor": 2, "sequence_parallel": True}, "a divisor of the 7 tokens"),
    ],
)
def test_a_shape_that_cannot_be_split(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Job(**values).check_fits(Shape("gpt", 4, 8, 2, 32, 7))


def test_constants_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "constants.json"
    path.write_text(json.dumps(asdict(MACHINES["v100"])), "utf-8")
    assert read_machine(path) == MACHINES["v100"]
    for text, words in (
        ("{", "is not a JSON file of constants"),
        ('{"name": "x"}', "lacks .*matmul"),
        (json.dumps({**asdict(MACHINES["v100"]), "speed": 1}), "has .*speed"),
        (json.dumps({**asdict(MACHINES["v100"]), "matmul": 0}), "matmul must be above 0"),
        (json.dumps({**asdict(MACHINES["v100"]), "per_node": 1.5}), "per_node must be an integer"),
    ):
        path.write_text(text, "utf-8")
        with pytest.raises(ValueError, match=words):
            read_machine(path)


def test_more_of_a_machine_never_takes_longer() -> None:
    """A faster part shortens the step, by no more than its own share."""
    shape = PRESETS["gpt-39b"][0]
    job = Job(tensor=8, pipeline=2, data=4, batch=64, micro=2, recompute="full")
    machine: Machine = MACHINES["a100"]
    slow = predict(shape, job, machine).seconds
    for name in ("matmul", "memory", "bandwidth", "node_bandwidth"):
        fast = predict(shape, job, replace(machine, **{name: 2 * getattr(machine, name)})).seconds
        assert slow / 2 < fast < slow, name
    fast = predict(shape, job, replace(machine, latency=0.5 * machine.latency)).seconds
    assert fast < slow
