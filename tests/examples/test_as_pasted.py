"""The code examples of transformers' documents run as pasted: only the imports are changed.

`tests/data/document_examples.txt` holds the examples (indentation and line breaks that a page had
lost are restored). Each runs twice, here and in transformers, on the same small random weights,
statement by statement, and after every statement all values have to be equal: tokens, logits,
losses, text. Examples for TensorFlow and Flax are compared with the PyTorch classes of
transformers.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tinybert
from tests.examples import checkpoints

CLOSE = 2e-5  # of the largest value, or of 1

FILE = Path(__file__).parents[1] / "data" / "document_examples.txt"
EXAMPLES = {
    text.split("\n", 1)[0]: text.split("\n", 1)[1]
    for text in re.split(r"^=== ", FILE.read_text("utf-8"), flags=re.MULTILINE)[1:]
}
TOKENIZERS = [name for name in EXAMPLES if "TFBertTokenizer" in name]
CONFIGS = [name for name in EXAMPLES if name.endswith("Config")]
# Two examples run nowhere here: 4 billion parameters on a GPU, and a config that transformers
# refuses (its num_key_value_heads is None), with 15 billion. They run below, changed as said there.
MINITRON, NEMOTRON = "003 AutoModelForCausalLM", "003 NemotronConfig"
COMPARED = [name for name in EXAMPLES if name not in (*TOKENIZERS, *CONFIGS, MINITRON)]


def code(example: str) -> str:
    """The statements of an example, without prompts and the results that it shows."""
    lines = example.splitlines()
    if not any(line.startswith(">>>") for line in lines):
        return example
    kept = [line[4:] for line in lines if line.startswith((">>> ", "... "))]
    return "\n".join(kept)


def ours(source: str) -> str:
    """The example as a user of tinybert pastes it: the imports are changed and nothing else."""
    source = source.replace("from transformers import", "from tinybert import")
    source = source.replace("import torch", "import tinybert as torch")
    return source.replace("import tensorflow as tf", "import tinybert.frontends.tensorflow as tf")


def theirs(source: str) -> str:
    """The example for transformers' PyTorch classes."""
    source = source.replace("FlaxBertForCausalLM", "BertLMHeadModel")
    source = re.sub(r"\b(TF|Flax)Bert", "Bert", source)
    source = re.sub(r'return_tensors="\w+"', 'return_tensors="pt"', source)
    source = re.sub(r"model\((inputs|input_ids)\)", r"model(**\1)", source)
    return source.replace(
        "import tensorflow as tf", "from tests.examples import tensorflow_in_torch as tf"
    )


def steps(source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run a source; after each statement yield it and the values that it assigned or computed."""
    scope: dict[str, Any] = {}
    for statement in ast.parse(source).body:
        text = ast.unparse(statement)
        if isinstance(statement, ast.Expr):
            yield text, {"result": eval(text, scope)}
            continue
        exec(text, scope)
        names = {
            node.id
            for node in ast.walk(statement)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        yield text, {name: scope[name] for name in sorted(names) if name in scope}


def assert_same(found: Any, expected: Any, where: str) -> None:
    """Hold a value of ours against the value of transformers."""
    if isinstance(expected, transformers.PreTrainedModel):
        assert type(found).__name__.removeprefix("TF").removeprefix("Flax").replace(
            "BertForCausalLM", "BertLMHeadModel"
        ) == type(expected).__name__.replace("BertForCausalLM", "BertLMHeadModel"), where
    elif isinstance(expected, transformers.PreTrainedTokenizerBase):
        assert found.get_vocab() == expected.get_vocab(), where
    elif isinstance(expected, transformers.PretrainedConfig):
        assert_same_config(found, expected)
    elif isinstance(expected, Mapping):
        assert isinstance(found, Mapping), where
        assert [*found] == [*expected], where
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}, {key}")
    elif isinstance(expected, (str, int, type(None), list)):
        assert found == expected, where
        assert expected != "", where  # an empty text would show nothing
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=CLOSE), where
    elif isinstance(expected, torch.Tensor):
        assert_same_array(np.asarray(found), expected.detach().numpy(), where)
    elif isinstance(expected, transformers.Cache):
        own = getattr(expected, "self_attention_cache", expected)  # no other has been filled
        assert_same(found, own.to_legacy_cache(), where)
    elif isinstance(expected, tuple):
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{where}, part {number}")
    else:
        assert isinstance(expected, (torch.device, torch.dtype)), (where, type(expected))


def assert_same_array(found: np.ndarray, expected: np.ndarray, where: str) -> None:
    """TensorFlow's losses have one element a text, PyTorch's are means: one text, one number."""
    assert expected.size, where
    if expected.size > 1:
        assert found.shape == expected.shape, where
    assert found.dtype.kind == expected.dtype.kind, where
    error = np.abs(found.reshape(expected.shape).astype(float) - expected).max()
    assert error <= CLOSE * max(1.0, float(np.abs(expected).max())), where


def assert_same_config(found: Any, expected: Any) -> None:
    given, documented = found.to_dict(), expected.to_dict()
    shared = given.keys() & documented.keys() - {"dtype", "torch_dtype", "transformers_version"}
    assert {"vocab_size", "hidden_size"} <= shared
    assert {key: given[key] for key in shared} == {key: documented[key] for key in shared}


def checkpoint_names(example: str) -> set[str]:
    return {*re.findall(r"from_pretrained\(\s*[\"']([^\"']+)", example)}


def class_in_torch(name: str) -> str:
    """The PyTorch class of the example of that name."""
    kind = name.split()[1].replace("FlaxBertForCausalLM", "BertLMHeadModel")
    return re.sub(r"^(TF|Flax)", "", kind)


def skip_unless_built(source: str) -> None:
    for framework, module in (("TFBert", "tensorflow"), ("FlaxBert", "flax")):
        if framework in source:
            pytest.importorskip(f"tinybert.frontends.{module}")
    if "TFBertTokenizer" in source and not hasattr(tinybert, "TFBertTokenizer"):
        pytest.skip("no TFBertTokenizer yet")


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning")  # torch's
@pytest.mark.parametrize("name", COMPARED)
def test_an_example_runs_as_pasted_and_gives_what_transformers_gives(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_unless_built(EXAMPLES[name])
    monkeypatch.chdir(tmp_path)
    options = {"bidirectional": False} if name == "002 MegaForCausalLM" else {}
    seed = 4 if "SequenceClassification 2" in name else 3  # with which it chooses a class
    for folder in checkpoint_names(EXAMPLES[name]):
        checkpoints.write(tmp_path / folder, class_in_torch(name), seed, **options)
    compare_runs(code(EXAMPLES[name]))


def compare_runs(source: str) -> None:
    pairs = itertools.zip_longest(steps(ours(source)), steps(theirs(source)))
    for (statement, found), (_, expected) in pairs:
        assert found.keys() == expected.keys(), statement
        for variable, value in expected.items():
            assert_same(found[variable], value, f"{variable} after {statement}")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_an_example_of_the_tokenizer_in_the_graph_runs_as_pasted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives the ids of transformers' tokenizer."""
    skip_unless_built(EXAMPLES[name])
    monkeypatch.chdir(tmp_path)
    checkpoints.write(tmp_path / "bert-base-uncased", "BertModel", 3)
    scope: dict[str, Any] = {}
    exec(ours(code(EXAMPLES[name])), scope)
    texts = ["Hello, my dog is cute", "The capital of France is Paris."]
    tokenizer = transformers.BertTokenizer.from_pretrained("bert-base-uncased")
    expected = tokenizer(texts, padding=True, return_tensors="np")
    found = scope["tf_tokenizer"](texts)
    for key, value in expected.items():
        assert_same_array(np.asarray(found[key]), value, key)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=() if "Mega" in name and "Megatron" not in name else [pytest.mark.slow]
        )
        for name in CONFIGS
        if name != NEMOTRON
    ],
)
def test_a_default_config_gives_the_model_that_transformers_builds(name: str) -> None:
    """The configs are equal, and all parameters have the same names and shapes."""
    source = code(EXAMPLES[name])
    found = {key: value for _, values in steps(ours(source)) for key, value in values.items()}
    with torch.device("meta"):  # the names and shapes alone
        expected = {
            key: value for _, values in steps(theirs(source)) for key, value in values.items()
        }
    assert_same_config(found["configuration"], expected["configuration"])
    shapes = {name: p.shape for name, p in found["model"].named_parameters()}
    assert shapes == {name: tuple(p.shape) for name, p in expected["model"].named_parameters()}


def test_the_example_of_minitron_runs_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its device is "cpu" here. NumPy has no bfloat16: the weights are read as float32."""
    source = EXAMPLES[MINITRON].replace("'cuda'", "'cpu'")
    monkeypatch.chdir(tmp_path)
    checkpoints.write(tmp_path / "nvidia" / "Minitron-4B-Base", "NemotronForCausalLM", 3)
    in_float32 = theirs(source).replace("torch.bfloat16", "torch.float32")
    in_float32 = in_float32.replace(", device_map=device", "")  # which needs accelerate
    printed = []
    for text in (ours(source), in_float32):
        exec(text, {})
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[0].startswith("Complete the paragraph: our solar system is")
    assert len(printed[0]) > len("Complete the paragraph: our solar system is\n")


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
def test_the_example_of_minitron_runs_as_pasted_on_a_gpu(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints.write(tmp_path / "nvidia" / "Minitron-4B-Base", "NemotronForCausalLM", 3)
    printed = []
    for text in (EXAMPLES[MINITRON], EXAMPLES[MINITRON].replace("'cuda'", "'cpu'")):
        exec(ours(text), {})
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
