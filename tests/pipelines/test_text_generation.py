"""text-generation against transformers, without sampling."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.pipelines.twins import SIZES, VOCAB, Make, assert_same, both
from tests.tokenizer_json.json_oracle import trained
from tinybert.generation import GenerationConfig
from tinybert.pipelines import pipeline

TEXTS = ["The king didn't go", "It was", "Unbelievably, the ship of Egypt came to the city and"]
# The pipeline's own default of add_special_tokens is a deviation.
SURE: dict[str, Any] = {"do_sample": False, "add_special_tokens": True}
DECODER = {"is_decoder": True, "bos_token_id": 7, "eos_token_id": None}


@pytest.fixture(scope="module")
def pair(model_folder: Make) -> tuple[Any, Any]:
    return both("text-generation", model_folder("BertLMHeadModel", 1, **DECODER))


@pytest.mark.filterwarnings("ignore")  # transformers warns of a temperature that is not used
@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (TEXTS[0], {"max_new_tokens": 8}),
        (TEXTS, {"max_new_tokens": 8}),
        (TEXTS[:1], {"max_new_tokens": 3}),
        (TEXTS, {"max_new_tokens": 5, "return_full_text": False}),
        (TEXTS, {"max_new_tokens": 5, "return_tensors": True}),
        (TEXTS, {"max_new_tokens": 5, "num_beams": 3, "num_return_sequences": 2}),
        (TEXTS, {"max_new_tokens": 5, "prefix": "In the year of our Lord, "}),
        (TEXTS, {"max_new_tokens": 5, "add_special_tokens": False}),
        (TEXTS, {"max_new_tokens": 5, "skip_special_tokens": False}),
        (TEXTS, {"max_new_tokens": 5, "clean_up_tokenization_spaces": False}),
        (TEXTS, {"max_new_tokens": 5, "repetition_penalty": 2.0}),
        (TEXTS[0], {}),  # 256 new tokens are more than the model takes: see below
        ("king " * 80, {"max_new_tokens": 5, "handle_long_generation": "hole"}),
    ],
)
def test_results(pair: tuple[Any, Any], inputs: Any, options: dict[str, Any]) -> None:
    ours, theirs = pair
    given = {"max_new_tokens": 50, **SURE, **options}
    expected = theirs(inputs, **given)
    if not options:
        given.pop("max_new_tokens")
        assert ours(inputs, **given)[0]["generated_text"].startswith(expected[0]["generated_text"])
        return
    assert_same(ours(inputs, **given), expected)


def test_batches_give_the_same(pair: tuple[Any, Any]) -> None:
    ours, _ = pair
    alone = ours(TEXTS, max_new_tokens=6, **SURE)
    assert ours(TEXTS, max_new_tokens=6, batch_size=3, **SURE) == alone
    ids = ours(TEXTS, max_new_tokens=6, return_tensors=True, **SURE)
    assert ours(TEXTS, max_new_tokens=6, return_tensors=True, batch_size=3, **SURE) == ids


@pytest.mark.parametrize(
    "options",
    [
        {"max_length": 30},  # a padded row may have as many new tokens as alone
        {"max_length": 30, "num_beams": 3, "length_penalty": 2.0},
        {"eos_token_id": 30},  # up to the model's limit
        {"max_new_tokens": 6, "num_beams": 3, "num_return_sequences": 2},
        {"max_new_tokens": 6, "repetition_penalty": 3.0, "no_repeat_ngram_size": 2},
        {"max_new_tokens": 9, "min_length": 12, "eos_token_id": list(range(0, 300, 2))},
    ],
    ids=str,
)
def test_batches_give_the_same_under_every_limit(
    pair: tuple[Any, Any], options: dict[str, Any]
) -> None:
    ours, _ = pair
    given = {**SURE, **options, "return_tensors": True}
    alone = [ours(text, **given) for text in [*TEXTS, TEXTS[1]]]
    assert ours([*TEXTS, TEXTS[1]], batch_size=4, **given) == alone


def test_conversations(model_folder: Make) -> None:
    ours, theirs = both("text-generation", model_folder("BertLMHeadModel", 1, **DECODER))
    template = (
        "{% for m in messages %}{{ m.role }} : {{ m.content }} . {% endfor %}"
        "{% if tools %}{{ tools[0].function.name }} {% endif %}"
        "{% if add_generation_prompt %}the king :{% endif %}"
    )
    for pipe in (ours, theirs):
        pipe.tokenizer.chat_template = template
    chat = [{"role": "user", "content": "who went"}]
    begun = [*chat, {"role": "assistant", "content": "the men of"}]
    options: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False}
    for inputs in (chat, begun, [chat, begun], [chat]):
        for more in ({}, {"return_full_text": False}, {"continue_final_message": True}):
            assert_same(ours(inputs, **options, **more), theirs(inputs, **options, **more))
    assert ours([chat, begun], batch_size=2, **options) == [
        ours(c, **options) for c in (chat, begun)
    ]

    def ship() -> None:
        """A ship."""

    plain, with_tool = (ours._prompt(chat, {**ours.defaults, "tools": t}) for t in (None, [ship]))
    name = ours.tokenizer("ship", add_special_tokens=False)["input_ids"]
    assert len(with_tool) == len(plain) + len(name)
    with pytest.raises(ValueError, match="takes a str or a list of str"):
        ours([[{"role": "user"}]], **options)


def test_batches_of_a_model_that_reads_in_chunks() -> None:
    """Padding by less than a chunk would move its borders: such texts run in batches of their
    own, and the results are in the order of the texts."""
    tokenizer = tinybert.BertTokenizerFast(VOCAB)
    config = tinybert.MegaConfig(
        vocab_size=len(tokenizer), hidden_size=12, num_hidden_layers=2, intermediate_size=10,
        shared_representation_size=6, nffn_hidden_size=14, ema_projection_size=3, is_decoder=True,
        bidirectional=False, use_chunking=True, chunk_size=4, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=None,
    )  # fmt: skip
    model = tinybert.MegaForCausalLM(config)
    draw = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.data[...] = 0.4 * draw.standard_normal(parameter.shape)
    ours = pipeline("text-generation", model, tokenizer)
    texts = [" ".join(["the", "king", "was", "a"][:count]) for count in (1, 4, 2, 4, 3)]
    texts.insert(2, "the king was a city of the ship")
    options = {"do_sample": False, "max_new_tokens": 7, "return_tensors": True}
    alone = ours(texts, **options)
    lengths = [len(result[0]["generated_token_ids"]) - 7 for result in alone]
    assert lengths == [2, 5, 9, 3, 5, 4]
    for size in (2, 3, 6):
        assert ours(texts, batch_size=size, **options) == alone
    calls: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: calls.append(1))
    ours(texts, batch_size=6, **{**options, "max_new_tokens": 1})
    assert len(calls) == 4  # 5, 9 and 5 tokens run together


def test_a_prompt_is_not_closed(pair: tuple[Any, Any]) -> None:
    """What continues a text does not stand after [SEP], as it does in transformers."""
    ours, theirs = pair
    cls, sep = ours.tokenizer.cls_token_id, ours.tokenizer.sep_token_id
    bare = ours.tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    options = {"max_new_tokens": 4, "do_sample": False, "return_tensors": True}
    (found,) = ours(TEXTS[0], **options)
    (expected,) = theirs(TEXTS[0], **options)
    length = len(bare)
    assert found["generated_token_ids"][: length + 1] == [cls, *bare]
    assert expected["generated_token_ids"][: length + 2] == [cls, *bare, sep]
    continued = theirs.model.generate(
        theirs.tokenizer(TEXTS[0], return_tensors="pt")["input_ids"][:, :-1],
        max_new_tokens=4, do_sample=False, pad_token_id=0,
    )  # fmt: skip
    assert found["generated_token_ids"] == continued[0].tolist()


def test_spaces_are_those_that_were_generated(tmp_path: Path) -> None:
    """The clean-up of the tokenizer decides, and not that of the pipeline; an option overrides."""
    (tmp_path / "tokenizer.json").write_text(trained("byte-level", "code"), encoding="utf-8")
    byte_level = tinybert.TokenizerJSON(tmp_path / "tokenizer.json")
    for tokenizer, text, kept in (
        (byte_level, "if x != y , z ! = ' s'", True),
        (tinybert.BertTokenizerFast(VOCAB), "the king , of egypt ' s !", False),
        (tinybert.BertTokenizer(VOCAB), "the king , of egypt !", False),
        (tinybert.BertTokenizer(VOCAB, clean_up_tokenization_spaces=False), "the king !", True),
    ):
        config = tinybert.BertConfig(**{**SIZES, "vocab_size": len(tokenizer), **DECODER})
        model = tinybert.BertLMHeadModel(config)
        if tokenizer is byte_level:
            model.generation_config.pad_token_id = 0
            tokenizer.clean_up_tokenization_spaces = True  # as the files of Llama 3 say
        new = tokenizer(text, add_special_tokens=False)["input_ids"]
        prompt = tokenizer("a", add_special_tokens=False)["input_ids"]

        def write(ids: Any, scores: Any, new: list[int] = new, start: int = len(prompt)) -> Any:
            scores = np.full_like(scores, -np.inf)
            scores[:, new[ids.shape[1] - start]] = 0.0
            return scores

        ours = pipeline("text-generation", model, tokenizer, add_special_tokens=False)
        options: dict[str, Any] = {"logits_processor": [write], "max_new_tokens": len(new)}
        options |= {"return_full_text": False, "do_sample": False}
        ((found,), (cleaned,), (raw,)) = (
            ours("a", **options, **extra)
            for extra in (
                {}, {"clean_up_tokenization_spaces": True}, {"clean_up_tokenization_spaces": False},
            )
        )  # fmt: skip
        assert (found == raw) == kept
        assert (found == cleaned) != kept
        assert raw["generated_text"].strip() == text or not kept


def test_sampling_is_the_default_and_repeats_with_a_seed(pair: tuple[Any, Any]) -> None:
    ours, _ = pair
    texts = {ours(TEXTS[1], max_new_tokens=6, seed=s)[0]["generated_text"] for s in (1, 1, 2, 3)}
    assert 1 < len(texts) <= 3
    many = ours(TEXTS[1], max_new_tokens=6, num_return_sequences=4, seed=5)
    assert len({entry["generated_text"] for entry in many}) > 1


def test_max_length_counts(pair: tuple[Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    """transformers lets the pipeline's own 256 new tokens win over a max_length that is given."""
    ours, _ = pair
    with caplog.at_level(logging.WARNING):
        (found,) = ours(TEXTS[0], max_length=12, do_sample=False, return_tensors=True)
    assert len(found["generated_token_ids"]) == 12
    assert not caplog.records
    options = {"max_length": 20, "handle_long_generation": "hole", "return_tensors": True}
    (found,) = ours(TEXTS[0], seed=1, **options)
    assert len(found["generated_token_ids"]) == 20


def test_the_models_own_configuration_comes_before_the_pipelines(
    model_folder: Make,
) -> None:
    ours, _ = both("text-generation", model_folder("BertLMHeadModel", 1, **DECODER))
    ours.model.generation_config = GenerationConfig(max_new_tokens=3, temperature=0.01)
    (found,) = ours(TEXTS[1], return_tensors=True, seed=0)
    prompt = ours.tokenizer(TEXTS[1])["input_ids"][:-1]
    assert len(found["generated_token_ids"]) == len(prompt) + 3
    (given,) = ours(TEXTS[1], return_tensors=True, max_new_tokens=2, do_sample=False)
    assert found["generated_token_ids"][:-1] == given["generated_token_ids"]  # as cold as greedy


def test_inputs_that_are_refused(pair: tuple[Any, Any]) -> None:
    ours, _ = pair
    for inputs, options, match in (
        ([{"role": "user", "text": "a"}], {}, "takes a str or a list of str"),
        ("a", {"handle_long_generation": "cut"}, "must be one of None, 'hole', got 'cut'"),
        (
            "a",
            {"handle_long_generation": "hole", "max_new_tokens": 64},
            "max_new_tokens must be < 64",
        ),
        ("king " * 80, {}, "81 tokens .* max_position_embeddings 64"),
        ("a", {"temperature": -1.0}, "temperature"),
    ):
        with pytest.raises(ValueError, match=match):
            ours(inputs, **options)
    with pytest.raises(TypeError, match=r"no option max_tokens; its options are .*max_new_tokens"):
        ours("a", max_tokens=3)
