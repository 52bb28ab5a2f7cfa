"""Embeddings against transformers' BertModel with the pooling of the sentence-transformers paper,
computed here in torch; and how texts are batched, cut, and folders read.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tinybert.embedding import NEW_NAMES, POOLINGS, SentenceEmbedder, similarity
from tinybert.models import (
    BertConfig,
    BertModel,
    MegaConfig,
    MegaModel,
    MegatronBertConfig,
    MegatronBertModel,
    NemotronConfig,
    NemotronModel,
)
from tinybert.tokenizers import BertTokenizerFast

SENTENCES = (Path(__file__).parent / "data" / "sentences.txt").read_text("utf-8").splitlines()

# float32 over six layers: both sides round, each in its own order; elements of the features are
# about 1, those of a normalized vector about 0.05. A wrong layer or mask is off by hundredths.
FEATURES_ATOL = 1e-5
VECTOR_ATOL = 1e-6

# Poolings in the order in which sentence-transformers concatenates them.
REFERENCE = {
    "pooling_mode_cls_token": lambda x, m: x[:, 0],
    "pooling_mode_max_tokens": lambda x, m: x.masked_fill(~m.bool(), -torch.inf).amax(1),
    "pooling_mode_mean_tokens": lambda x, m: (x * m).sum(1) / m.sum(1),
    "pooling_mode_mean_sqrt_len_tokens": lambda x, m: (x * m).sum(1) / m.sum(1) ** 0.5,
    "pooling_mode_weightedmean_tokens": lambda x, m: _weighted_mean(x, m),
    "pooling_mode_lasttoken": lambda x, m: x[range(len(x)), m.sum((1, 2)).long() - 1],
}


def _weighted_mean(x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    weights = m * torch.arange(1, x.shape[1] + 1)[:, None]
    return (x * weights).sum(1) / weights.sum(1)


@pytest.fixture(scope="module")
def embedder(minilm: Path) -> SentenceEmbedder:
    return SentenceEmbedder.from_pretrained(minilm)


@pytest.fixture(scope="module")
def oracle(minilm: Path):
    """Features and mask of a padded batch, by transformers' model and pure-Python tokenizer."""
    tokenizer = transformers.BertTokenizer.from_pretrained(minilm)
    model = transformers.BertModel.from_pretrained(minilm, attn_implementation="eager").eval()

    def features(texts: list[str], limit: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = tokenizer(
            texts, padding=True, truncation=True, max_length=limit, return_tensors="pt"
        )
        with torch.no_grad():
            return model(**inputs).last_hidden_state, inputs["attention_mask"][:, :, None].float()

    return features


@pytest.fixture(scope="module")
def expected(oracle) -> list[tuple[list[int], torch.Tensor, torch.Tensor]]:
    """(numbers of sentences, features, mask) of ragged batches: the first one very, the others of
    like length, which saves half of the time.
    """
    rest = sorted(range(8, len(SENTENCES)), key=lambda i: -len(SENTENCES[i]))
    batches = [list(range(8)), *(rest[i : i + 8] for i in range(0, len(rest), 8))]
    return [(rows, *oracle([SENTENCES[i] for i in rows])) for rows in batches]


def test_the_sentences_are_varied(minilm: Path) -> None:
    tokenizer = transformers.BertTokenizerFast.from_pretrained(minilm)
    lengths = [len(tokenizer(text, verbose=False).input_ids) for text in SENTENCES]
    assert len(set(SENTENCES)) == 200
    assert min(lengths) < 6
    assert sum(length > 256 for length in lengths) >= 4
    assert max(lengths) > 512


@pytest.mark.slow
def test_features_of_200_ragged_sentences(embedder: SentenceEmbedder, expected) -> None:
    assert sum(len(rows) for rows, _, _ in expected) == 200
    for rows, features, mask in expected:
        texts = [SENTENCES[i] for i in rows]
        inputs = embedder.tokenizer(
            texts, padding=True, truncation=True, max_length=256, return_tensors="np"
        )
        ours = embedder.model(**inputs).last_hidden_state.detach().numpy()
        assert np.array_equal(inputs["attention_mask"], mask[:, :, 0].numpy())
        assert np.abs((ours - features.numpy()) * mask.numpy()).max() < FEATURES_ATOL


def test_vectors_in_the_order_of_the_texts(embedder: SentenceEmbedder, expected) -> None:
    chosen = [i for i in range(len(SENTENCES)) if i % 3 == 0]
    vectors = dict(zip(chosen, embedder.encode([SENTENCES[i] for i in chosen], 12), strict=True))
    for rows, features, mask in expected:
        means = REFERENCE["pooling_mode_mean_tokens"](features, mask)
        for i, reference in zip(rows, torch.nn.functional.normalize(means).numpy(), strict=True):
            if i in vectors:
                assert vectors[i].dtype == np.float32
                np.testing.assert_allclose(vectors[i], reference, rtol=0, atol=VECTOR_ATOL)


def test_batching_does_not_change_a_vector(embedder: SentenceEmbedder) -> None:
    texts = SENTENCES[:9]
    together, alone = embedder.encode(texts), embedder.encode(texts, batch_size=1)
    np.testing.assert_allclose(together, alone, rtol=0, atol=VECTOR_ATOL)


def test_each_pooling(embedder: SentenceEmbedder, oracle) -> None:
    texts = [SENTENCES[3], "", "A much longer sentence, with padding for the others."]
    for name, reference in REFERENCE.items():
        one = SentenceEmbedder(embedder.tokenizer, embedder.model, [name])
        expected = reference(*oracle(texts, 512)).numpy()
        np.testing.assert_allclose(one.encode(texts), expected, rtol=0, atol=FEATURES_ATOL)


def test_several_poolings_are_concatenated_in_a_fixed_order(
    embedder: SentenceEmbedder, oracle
) -> None:
    both = SentenceEmbedder(embedder.tokenizer, embedder.model, list(POOLINGS)[::-1], max_length=16)
    x, mask = oracle(SENTENCES[:3], 16)
    expected = torch.cat([reference(x, mask) for reference in REFERENCE.values()], 1).numpy()
    assert both.dimension == 6 * 384
    np.testing.assert_allclose(both.encode(SENTENCES[:3]), expected, rtol=0, atol=FEATURES_ATOL)


def test_long_text_is_cut_at_the_folders_limit(embedder: SentenceEmbedder) -> None:
    assert embedder.max_length == 256
    cut, longer = embedder.encode([" ".join(["word"] * n) for n in (254, 5000)])
    assert np.array_equal(cut, longer)


def test_nothing_and_empty_texts(embedder: SentenceEmbedder) -> None:
    assert embedder.encode([]).shape == (0, 384)
    assert embedder.encode([]).dtype == np.float32
    empty, blank = embedder.encode(["", " \t "])
    assert np.isfinite(empty).all()
    assert np.array_equal(empty, blank)


def test_wrong_arguments(embedder: SentenceEmbedder) -> None:
    with pytest.raises(TypeError, match="single text as \\[text\\]"):
        embedder.encode("a single text")
    with pytest.raises(TypeError, match="list of str"):
        embedder.encode(["a", 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="batch_size must be an integer >= 1, got 0"):
        embedder.encode(["a"], batch_size=0)
    with pytest.raises(ValueError, match="pooling must be one or several of"):
        SentenceEmbedder(embedder.tokenizer, embedder.model, ["mean"])


def test_progress_bar_only_where_it_is_wanted(embedder: SentenceEmbedder, capsys) -> None:
    embedder.encode(["a"] * 3, batch_size=1)
    assert capsys.readouterr() == ("", "")
    embedder.encode(["a"] * 3, batch_size=1, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "embedding" in shown.err


def test_similarity_against_numbers_worked_by_hand() -> None:
    vectors = np.array([[3, 0], [0, 2], [1, 1], [-5, 0], [0, 0]], np.float32)
    half = np.sqrt(0.5)
    expected = [
        [1, 0, half, -1, 0],
        [0, 1, half, 0, 0],
        [half, half, 1, -half, 0],
        [-1, 0, -half, 1, 0],
        [0, 0, 0, 0, 0],
    ]
    np.testing.assert_allclose(similarity(vectors), expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"shape \(N, D\), got \(3,\)"):
        similarity(np.zeros(3))


# --- folders -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, minilm: Path) -> Path:
    """A plain BERT folder, small, with MiniLM's vocabulary."""
    config = BertConfig(
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=40,
    )
    BertModel(config).save_pretrained(tmp_path)
    shutil.copy(minilm / "vocab.txt", tmp_path)
    return tmp_path


def write(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def test_plain_folder_means_without_normalizing(folder: Path) -> None:
    embedder = SentenceEmbedder.from_pretrained(folder)
    assert (embedder.pooling, embedder.normalise) == (["pooling_mode_mean_tokens"], False)
    assert embedder.max_length == 40
    assert embedder.encode(["word " * 100]).shape == (1, 12)


def test_folder_of_sentence_transformers(folder: Path) -> None:
    kinds = {"": "models.Transformer", "1_P": "models.Pooling", "2": "models.Normalize"}
    write(folder / "modules.json", [{"type": "st." + k, "path": p} for p, k in kinds.items()])
    write(folder / "1_P" / "config.json", {"pooling_mode_cls_token": True, "include_prompt": True})
    write(folder / "sentence_bert_config.json", {"max_seq_length": 7, "do_lower_case": True})
    embedder = SentenceEmbedder.from_pretrained(folder)
    assert embedder.pooling == ["pooling_mode_cls_token"]
    assert embedder.max_length == 7
    vectors = embedder.encode(["one two three", "ONE TWO THREE"])
    assert np.array_equal(vectors[0], vectors[1])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_folder_without_pooler_loads_in_silence(folder: Path, caplog) -> None:
    model = BertModel.from_pretrained(folder)
    expected = SentenceEmbedder.from_pretrained(folder).encode(["the same"])
    model.pooler = None
    model.save_pretrained(folder)
    assert np.array_equal(SentenceEmbedder.from_pretrained(folder).encode(["the same"]), expected)
    assert not caplog.records


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", [{"type": "models.Dense", "path": "2"}], "type Dense is not supported"),
        ("modules.json", {"type": "x"}, "expected a list of modules"),
        ("modules.json", [{"type": "x"}], "expected a list of modules"),
        ("1_P/config.json", {"pooling_mode_median": True}, "pooling_mode_median is not supported"),
        (
            "1_P/config.json",
            {"pooling_mode": "median"},
            "median is not supported; supported are cl",
        ),
        ("1_P/config.json", {"pooling_mode": []}, "no pooling mode is not supported"),
        ("1_P/config.json", {}, "no pooling mode is not supported"),
        ("sentence_bert_config.json", {"max_seq_length": "9"}, "max_seq_length must be"),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "query", "prompts": {"query": "query: "}},
            "default_prompt_name 'query' is not supported",
        ),
        (
            "config_sentence_transformers.json",
            {"model_type": "SparseEncoder"},
            "model_type must be 'SentenceTransformer', got 'SparseEncoder'",
        ),
        (
            "sentence_bert_config.json",
            {"transformer_task": "fill-mask"},
            "transformer_task must be 'feature-extraction'",
        ),
        (
            "sentence_bert_config.json",
            {"modality_config": {"text": {"method": "forward", "method_output_name": "pooler"}}},
            "modality_config.text .* is not supported",
        ),
        ("modules.json", [{"type": "m.Pooling", "path": "../1_P"}], "is not the plain name of a f"),
        ("modules.json", [{"type": "m.Pooling", "path": 3}], "3 is not the plain name of a folder"),
    ],
)
def test_folders_that_ask_for_more(folder: Path, file: str, content: object, message: str) -> None:
    write(folder / "modules.json", [{"type": "models.Pooling", "path": "1_P"}])
    write(folder / "1_P" / "config.json", {"pooling_mode_mean_tokens": True})
    write(folder / file, content)
    with pytest.raises(ValueError, match=message):
        SentenceEmbedder.from_pretrained(folder)


# --- sentence-transformers since 5.4, other families, long texts ---------------------------------

TEXTS = ["hello world", "a b ac !", "hello hello hello a b a b a b world world world ! ! !", ""]
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##c", "hello", "world", "!"]


def save_new(folder: Path, model: Any, mode: Any, normalize: bool = False) -> None:
    """Write a folder as sentence-transformers 6.2.0 does: there is no vocab.txt."""
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=16)
    tokenizer.save_pretrained(folder, legacy_format=False)
    package = "sentence_transformers"
    types = [
        (f"{package}.base.modules.transformer.Transformer", ""),
        (f"{package}.sentence_transformer.modules.pooling.Pooling", "1_Pooling"),
        (f"{package}.base.modules.normalize.Normalize", "2_Normalize"),
    ][: 3 if normalize else 2]
    write(
        folder / "modules.json",
        [{"idx": i, "name": str(i), "path": p, "type": t} for i, (t, p) in enumerate(types)],
    )
    write(
        folder / "1_Pooling" / "config.json",
        {"embedding_dimension": 12, "pooling_mode": mode, "include_prompt": True},
    )
    names = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    write(folder / "2_Normalize" / "config.json", names)
    text = {"method": "forward", "method_output_name": "last_hidden_state"}
    write(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": text},
            "module_output_name": "token_embeddings",
        },
    )
    write(
        folder / "config_sentence_transformers.json",
        {
            "__version__": {"sentence_transformers": "6.2.0"},
            "default_prompt_name": None,
            "model_type": "SentenceTransformer",
            "prompts": {"document": "", "query": ""},
            "similarity_fn_name": "cosine",
        },
    )


SIZES: dict[str, Any] = {"hidden_size": 12, "num_hidden_layers": 2, "vocab_size": 11}
FAMILIES: dict[str, Any] = {
    "bert": lambda: BertModel(
        BertConfig(**SIZES, num_attention_heads=3, intermediate_size=20, initializer_range=0.3)
    ),
    "megatron": lambda: MegatronBertModel(
        MegatronBertConfig(
            **SIZES, num_attention_heads=3, intermediate_size=20, initializer_range=0.3
        )
    ),
    "nemotron": lambda: NemotronModel(
        NemotronConfig(
            **SIZES,
            num_attention_heads=3,
            intermediate_size=20,
            initializer_range=0.3,
            partial_rotary_factor=1.0,
        )
    ),
    "mega": lambda: MegaModel(
        MegaConfig(
            **SIZES,
            intermediate_size=14,
            nffn_hidden_size=20,
            use_chunking=True,
            chunk_size=5,
            shared_representation_size=8,
        )
    ),
}


@pytest.mark.parametrize("mode", ["mean", "cls", "lasttoken", ["weightedmean", "max"]], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_folders_of_every_family(family: str, mode: Any, side: str, tmp_path: Path, caplog) -> None:
    """Pooled here from the features of one text at a time, which has no padding."""
    save_new(tmp_path, FAMILIES[family](), mode, normalize=mode == "mean")
    embedder = SentenceEmbedder.from_pretrained(tmp_path)
    embedder.tokenizer.padding_side = side
    modes = mode if isinstance(mode, list) else [mode]
    assert embedder.max_length == 16
    assert embedder.pooling_source == "1_Pooling/config.json"
    assert embedder.describe().startswith(f"pooling: {' and '.join(modes)}")
    vectors = embedder.encode(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        ids = embedder.tokenizer(text, truncation=True, max_length=16)["input_ids"]
        spare = -len(ids) % 5 if family == "mega" else 0
        inputs = {"input_ids": [ids + [0] * spare]}
        inputs["attention_mask"] = [[1] * len(ids) + [0] * spare]
        x = torch.from_numpy(embedder.model(**inputs).last_hidden_state.detach().numpy().copy())
        x, mask = x[:, : len(ids)], torch.ones(1, len(ids), 1)
        pooled = torch.cat([REFERENCE[NEW_NAMES[name]](x, mask) for name in modes], 1)
        pooled = torch.nn.functional.normalize(pooled) if mode == "mean" else pooled
        np.testing.assert_allclose(vector, pooled[0].numpy(), rtol=0, atol=FEATURES_ATOL)
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 4 texts had more than 16 tokens and were cut"
    ]


def test_a_plain_folder_says_why_it_takes_the_mean(folder: Path) -> None:
    embedder = SentenceEmbedder.from_pretrained(folder)
    assert embedder.describe() == "pooling: mean (the default: there is no modules.json)"
    write(folder / "modules.json", [{"type": "models.Normalize", "path": "2"}])
    described = SentenceEmbedder.from_pretrained(folder).describe()
    assert described == (
        "pooling: mean, scaled to length 1 (the default: modules.json lists no Pooling module)"
    )


def test_a_model_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """As sentence-transformers before 2.0 saved it."""
    inner = tmp_path / "0_Transformer"
    save_new(inner, FAMILIES["bert"](), "cls")
    expected = SentenceEmbedder.from_pretrained(inner).encode(TEXTS)
    kinds = {"0_Transformer": "models.Transformer", "1_Pooling": "models.Pooling"}
    write(tmp_path / "modules.json", [{"type": k, "path": p} for p, k in kinds.items()])
    write(tmp_path / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True})
    assert np.array_equal(SentenceEmbedder.from_pretrained(tmp_path).encode(TEXTS), expected)


def test_a_tokenizer_without_a_padding_token_pads_with_the_end(tmp_path: Path) -> None:
    save_new(tmp_path, FAMILIES["nemotron"](), "lasttoken")
    expected = SentenceEmbedder.from_pretrained(tmp_path).encode(TEXTS)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"pad_token": None, "eos_token": "[SEP]", "tokenizer_class": "TokenizersBackend"}
    write(tmp_path / "tokenizer_config.json", config)
    (tmp_path / "special_tokens_map.json").unlink()
    embedder = SentenceEmbedder.from_pretrained(tmp_path)
    assert type(embedder.tokenizer).__name__ == "TokenizerJSON"
    np.testing.assert_allclose(embedder.encode(TEXTS), expected, rtol=0, atol=VECTOR_ATOL)


def test_an_empty_text_without_special_tokens_is_a_zero_vector(tmp_path: Path) -> None:
    modes = ["mean", "cls", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"]
    save_new(tmp_path, FAMILIES["nemotron"](), modes)
    embedder = SentenceEmbedder.from_pretrained(tmp_path)
    tokenizer = embedder.tokenizer
    embedder.tokenizer = _Bare(tokenizer)  # type: ignore[assignment]
    vectors = embedder.encode(["a b", ""])
    assert np.array_equal(vectors[1], np.zeros(5 * 12))
    assert np.isfinite(vectors).all()
    assert np.array_equal(embedder.encode([""]), vectors[1:])


class _Bare:
    """A tokenizer that adds no special tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.pad = tokenizer, tokenizer.pad

    def __call__(self, texts: list[str], **options: Any) -> Any:
        return self.tokenizer(texts, add_special_tokens=False, **options)
