"""The loss of a distillation is torch's, the teacher runs once, and a run can be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tinybert
from tests.compress.small_models import make_config, make_model
from tinybert.autograd import as_tensor
from tinybert.compress import Distillation, distill, prune
from tinybert.compress.distillation import layer_pairs
from tinybert.tokenizers import BertTokenizerFast, save_vocab
from tinybert.training import TokenFile, Trainer, TrainingConfig
from tinybert.training.language_modeling import LanguageModeling
from tinybert.training.losses import masked_loss, model_loss
from tinybert.weights import load_file

TEXT = "the cat sat on a mat dog ran in park . it she he saw bird door"
WORDS = TEXT.split()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    save_vocab([*special, *WORDS, *(f"[unused{i}]" for i in range(23 - 5 - len(WORDS)))], path)
    return BertTokenizerFast(str(path), model_max_length=16)


@pytest.fixture(scope="module")
def tokens(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    folder, rng = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0)
    lines = [" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(60)]
    (folder / "a.txt").write_text("\n".join(lines))
    return TokenFile.build(folder / "tokens", [folder / "a.txt"], tokenizer)


def make_task(tokenizer: Any, objective: str = "masked") -> LanguageModeling:
    return LanguageModeling(tokenizer, objective, length=16)


def pair(objective: str) -> tuple[Any, Any]:
    """A teacher and a student that is narrower and has fewer layers; both in float64."""
    if objective == "masked":
        small = {"hidden_size": 6, "num_attention_heads": 2, "num_hidden_layers": 2}
        return make_model("bert", 1), make_model("megatron-bert", 2, **small)
    small = {"hidden_size": 10, "num_hidden_layers": 1}
    return make_model("nemotron", 1), make_model("nemotron", 2, **small)


def outputs(model: Any, batch: dict[str, np.ndarray]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    inputs = {name: x for name, x in batch.items() if name != "labels"}
    with tinybert.no_grad():
        output = model(**inputs, output_hidden_states=True)
    states = [torch.from_numpy(x.numpy()) for x in output.hidden_states]
    return torch.from_numpy(output.logits.numpy()), states


def leaf(x: Any) -> torch.Tensor:
    return torch.from_numpy(x.numpy().copy()).requires_grad_()


@pytest.mark.parametrize("name", ["hidden", "embeddings", "pairs"])
@pytest.mark.parametrize("objective", ["masked", "causal"])
def test_loss_and_gradients_are_those_of_torch(
    objective: str, name: str, tokenizer: Any, tokens: TokenFile
) -> None:
    """torch's gradients of the student's logits and hidden states, sent back through the student,
    are those of its parameters; the ratio of the losses is a constant.
    """
    teacher, student = pair(objective)
    task = make_task(tokenizer, objective)
    batch = next(task.batches(tokens, 5, 0))
    weights: dict[str, Any] = {"logits": 0.5, "labels": 0.7}
    depths = {"masked": [(2, 1), (3, 2)], "causal": [(3, 1)]}[objective]
    if name == "pairs":
        depths = [(2, 1), (0, 0), (1, 1)]
        weights["pairs"] = depths
    weights["embeddings" if name == "embeddings" else "hidden"] = 0.3
    with tinybert.manual_seed(3):
        distillation = Distillation(task, teacher, student, temperature=2.0, **weights)
    found = distillation.loss(student, batch)
    found.backward()
    grads = {n: p.grad for n, p in student.named_parameters()}
    for parameter in student.parameters():
        parameter.grad = None

    theirs, their_states = outputs(teacher, batch)
    inputs = {n: x for n, x in batch.items() if n != "labels"}
    output = student(**inputs, output_hidden_states=True)
    logits, our_states = leaf(output.logits), [leaf(x) for x in output.hidden_states]
    ours, labels = logits, torch.from_numpy(batch["labels"])
    if objective == "causal":
        theirs, ours, labels = theirs[:, :-1], ours[:, :-1], labels[:, 1:]
    counts = labels != -100
    p = (theirs[counts] / 2).softmax(-1)
    kl = 4 * (p * (p.log() - (ours[counts] / 2).log_softmax(-1))).sum(-1).mean()
    expected = 0.5 * kl + 0.7 * torch.nn.functional.cross_entropy(ours[counts], labels[counts])
    real = torch.from_numpy(batch.get("attention_mask", batch["labels"] != -100)) != 0
    assert distillation.projection is not None
    matrix = leaf(distillation.projection.weight)
    assert matrix.shape == ((12, 6) if objective == "masked" else (14, 10))
    parts = [
        (our_states[o][real] @ matrix.T - their_states[t][real]).pow(2).mean()
        for t, o in (depths if name != "embeddings" else [(0, 0)])
    ]
    part = sum(parts) / len(parts)
    expected = expected + 0.3 * (kl / part).detach() * part
    expected.backward()
    assert float(found) == pytest.approx(expected.item(), rel=1e-10)
    of_w = distillation.projection.weight.grad.numpy()
    np.testing.assert_allclose(of_w, matrix.grad.numpy(), rtol=1e-9, atol=1e-13)
    pairs = zip([output.logits, *output.hidden_states], [logits, *our_states], strict=True)
    pulled = [(x * as_tensor(y.grad.numpy())).sum() for x, y in pairs if y.grad is not None]
    assert len(pulled) == 1 + len({ours for _, ours in depths} if name != "embeddings" else parts)
    sum(pulled[1:], pulled[0]).backward()
    for n, parameter in student.named_parameters():
        ours, theirs = grads[n].numpy(), parameter.grad.numpy()
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-12, err_msg=n)


def test_a_part_that_is_0_has_a_finite_loss(tokenizer: Any, tokens: TokenFile) -> None:
    """A student with fewer layers has the teacher's embeddings."""
    teacher = make_model("nemotron", 1).to(np.float32)
    target = make_config("nemotron", num_hidden_layers=1)
    task = make_task(tokenizer, "causal")
    batch = next(task.batches(tokens, 5, 0))
    student = prune(teacher, target, [{"input_ids": batch["input_ids"]}])
    loss = Distillation(task, teacher, student, embeddings=10.0).loss(student, batch)
    loss.backward()
    assert float(loss) > 1
    grads = [p.grad.numpy() for p in student.parameters() if p.grad is not None]
    assert grads
    assert all(np.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("objective", ["masked", "causal"])
def test_labels_alone_are_the_plain_loss(objective: str, tokenizer: Any, tokens: TokenFile) -> None:
    teacher, student = pair(objective)
    task = make_task(tokenizer, objective)
    batch = next(task.batches(tokens, 5, 0))
    plain = (masked_loss if objective == "masked" else model_loss)(student, batch)
    found = Distillation(task, teacher, student, logits=0.0, labels=1.0).loss(student, batch)
    assert float(found) == pytest.approx(float(plain), rel=1e-12)


def test_a_student_equal_to_its_teacher_has_no_loss(tokenizer: Any, tokens: TokenFile) -> None:
    model, task = make_model("bert"), make_task(tokenizer)
    distillation = Distillation(task, model, model, hidden=1.0, embeddings=1.0)
    assert distillation.projection is None  # the widths are equal
    assert abs(float(distillation.loss(model, next(task.batches(tokens, 5, 0))))) < 1e-12


def test_the_teacher_runs_once_and_has_no_gradient(tokenizer: Any, tokens: TokenFile) -> None:
    teacher, student = pair("masked")
    teacher.train()  # its dropout is off anyway
    task, calls = make_task(tokenizer), []
    teacher.bert.register_forward_hook(lambda *_: calls.append(tinybert.is_grad_enabled()))
    distillation = Distillation(task, teacher, student, hidden=1.0, labels=1.0)
    batch = next(task.batches(tokens, 5, 0))
    losses = [float(distillation.loss(student, batch)) for _ in range(2)]
    assert losses[0] == losses[1]
    distillation.loss(student, batch).backward()
    assert calls == [False] * 3
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert teacher.training


def test_layers_at_the_same_depth_are_pairs() -> None:
    assert layer_pairs(6, 3) == [(2, 1), (4, 2), (6, 3)]
    assert layer_pairs(3, 3) == [(1, 1), (2, 2), (3, 3)]
    assert layer_pairs(12, 1) == [(12, 1)]


def test_a_resumed_run_ends_with_the_same_weights(
    tokenizer: Any, tokens: TokenFile, tmp_path: Path
) -> None:
    task = make_task(tokenizer)

    def trainer(folder: str) -> tuple[Trainer, Any]:
        teacher, student = pair("masked")
        with tinybert.manual_seed(4):
            chosen = Distillation(task, teacher, student, hidden=1.0)
        config = TrainingConfig(steps=6, learning_rate=1e-2, save_every=2)
        made = Trainer(
            student, chosen.batches(tokens, 8, 0), config, tmp_path / folder, loss=chosen.loss,
            count=chosen.count, extra=chosen.projection,
        )  # fmt: skip
        return made, chosen.projection

    whole, projection = trainer("whole")
    whole.train()
    first, _ = trainer("stopped")
    loss, calls = first.loss, []

    def stop(model: Any, batch: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return loss(model, batch)

    first.loss = stop
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second, resumed = trainer("stopped")
    assert second.resume()
    assert second.step == 4
    second.train()
    for name, weight in whole.model.state_dict().items():
        assert np.array_equal(weight.numpy(), second.model.state_dict()[name].numpy()), name
    assert np.array_equal(projection.weight.numpy(), resumed.weight.numpy())
    names = load_file(tmp_path / "whole" / "model.safetensors")
    assert not any("projection" in name for name in names)
    (tmp_path / "stopped" / "checkpoint-00000006" / "extra.safetensors").unlink()
    with pytest.raises(ValueError, match=r"the loss had no weights of its own when .*00006 was"):
        trainer("stopped")[0].resume()
    second = trainer("whole")[0]
    second.extra = None
    with pytest.raises(ValueError, match="the loss had weights of its own when"):
        second.resume()


def test_distill_trains_towards_the_teacher(
    tokenizer: Any, tokens: TokenFile, tmp_path: Path
) -> None:
    teacher, student = pair("masked")
    task = Distillation(make_task(tokenizer), teacher, student)
    batch = next(task.batches(tokens, 32, 9))
    before = float(task.loss(student, batch))
    config = TrainingConfig(steps=15, learning_rate=2e-2)
    words = make_task(tokenizer)
    metrics = distill(student, teacher, words, tokens, config, tmp_path, 8, held_out=tokens)
    assert set(metrics) == {"loss", "accuracy", "perplexity"}
    assert float(task.loss(student, batch)) < 0.5 * before
    assert (tmp_path / "config.json").exists()


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "temperature": ({"temperature": 0.0}, "temperature must be above 0"),
    "no part": ({"logits": 0.0}, "one of the weights logits, labels, hidden, embeddings"),
    "weight": ({"hidden": -1.0}, "hidden must be"),
    "pairs alone": ({"pairs": [(2, 1)]}, "pairs need hidden above 0"),
    "no pairs": ({"hidden": 1.0, "pairs": []}, "from 0:0 to 3:2, got none"),
    "three": ({"hidden": 1.0, "pairs": [(1, 1, 1)]}, "got 1:1:1"),
    "deep": ({"hidden": 1.0, "pairs": [(2, 1), (2, 3)]}, "from 0:0 to 3:2, got 2:3"),
    "negative": ({"hidden": 1.0, "pairs": [(-1, 1)]}, "got -1:1"),
    "fraction": ({"hidden": 1.0, "pairs": [(1.5, 1)]}, "got 1.5:1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_the_argument(name: str, tokenizer: Any) -> None:
    options, message = FAULTS[name]
    with pytest.raises(ValueError, match=message):
        Distillation(make_task(tokenizer), *pair("masked"), **options)


def test_models_that_do_not_fit_are_refused(tokenizer: Any) -> None:
    task, (teacher, student) = make_task(tokenizer), pair("masked")
    with pytest.raises(ValueError, match="same vocabulary, got 24 and 23 tokens"):
        Distillation(task, make_model("bert", vocab_size=24), student)
    with pytest.raises(ValueError, match="objective must be 'masked' or 'causal'"):
        Distillation(make_task(tokenizer, "masked+next"), teacher, student)
    with pytest.raises(ValueError, match="needs a decoder"):
        Distillation(make_task(tokenizer, "causal"), teacher, student)
    config = TrainingConfig(steps=1, float16=True)
    with pytest.raises(ValueError, match="float16=True cannot be combined"):
        Trainer(student, None, config, "x", extra=tinybert.nn.Linear(2, 3))  # type: ignore[arg-type]
