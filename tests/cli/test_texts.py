"""Commands that read texts: embed, similarity, tokenize."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import transformers

from tests.test_embedding import FAMILIES, save_new
from tinybert.cli import similarity as similarity_command
from tinybert.cli.similarity import closest_pairs
from tinybert.embedding import SentenceEmbedder, similarity
from tinybert.fetch import model_folder

TEXTS = ["A man is eating.", "Someone has a meal.", "It costs $5 and $6."]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return SentenceEmbedder.from_pretrained().encode(TEXTS)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """A file of TEXTS as Windows writes it, with a mark at the start and a blank line."""
    path = tmp_path / "texts.txt"
    path.write_bytes(("\ufeff" + "\r\n".join([TEXTS[0], "", *TEXTS[1:]]) + "\r\n").encode())
    return path


# --- where texts come from -----------------------------------------------------------------------


def test_arguments_files_and_pipes_give_the_same(tinybert, lines: Path) -> None:
    piped = "\n".join(TEXTS).encode()
    runs = [
        tinybert("embed", "--json", *TEXTS),
        tinybert("embed", "--json", "--file", lines),
        tinybert("embed", "--json", stdin=piped),
        tinybert("embed", "--json", "--file", "-", stdin=piped),
        tinybert("embed", "--json", TEXTS[0], "--file", "-", stdin="\n".join(TEXTS[1:]).encode()),
    ]
    assert [run.code for run in runs] == [0] * 5
    assert all(json.loads(run.out)["texts"] == TEXTS for run in runs)
    assert len({run.out for run in runs}) == 1
    assert [run.err for run in runs] == ["", "skipped 1 blank line(s)\n", "", "", ""]


def test_texts_that_cannot_be_read(refused, tmp_path: Path) -> None:
    (tmp_path / "latin1").write_bytes(b"caf\xe9\n")
    assert "no text given" in refused("embed")
    assert "no text given" in refused("embed", stdin=b" \n\n")
    assert "missing: No such file" in refused("embed", "--file", tmp_path / "missing")
    assert "latin1: not UTF-8 text (at byte 3)" in refused("embed", "--file", tmp_path / "latin1")
    assert "standard input: not UTF-8" in refused("tokenize", stdin=b"caf\xe9\n")


def test_models_that_are_not_there(refused, tmp_path: Path, monkeypatch) -> None:
    assert "'nowhere'" in refused("embed", "a", "--model", "nowhere")
    assert "modules.json" not in refused("embed", "a", "--model", tmp_path)
    assert "cuda" in refused("embed", "a", "--device", "cuda:99")
    monkeypatch.setenv("TINYBERT_HOME", str(tmp_path))
    for command in (["embed"], ["similarity", "b"], ["tokenize"]):
        assert "run `tinybert fetch minilm`" in refused(*command, "a", "--model", "minilm")


def test_names_on_the_hub_and_other_families(
    tinybert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the cache; the folder has no vocab.txt, and the model no token types."""
    cached = tmp_path / "models--me--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc123")
    folder = cached / "snapshots" / "abc123"
    save_new(folder, FAMILIES["nemotron"](), "mean")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    expected = SentenceEmbedder.from_pretrained(folder).encode(["hello", "world"])
    for name in ("me/tiny", folder):
        ran = tinybert("embed", "hello", "world", "--model", name, "--json")
        result = json.loads(ran.out)
        np.testing.assert_allclose(result["embeddings"], expected, rtol=0, atol=1e-6)
        assert result["pooling"] == ["pooling_mode_mean_tokens"]
        assert (result["pooling_source"], result["normalised"]) == ("1_Pooling/config.json", False)
        ran = tinybert("similarity", "hello", "world", "--model", name, "--json")
        result = json.loads(ran.out)["similarity"]
        np.testing.assert_allclose(result, similarity(expected), rtol=0, atol=2e-6)
        assert json.loads(tinybert("tokenize", "hello", "--model", name, "--json").out)[0][
            "input_ids"
        ] == [2, 8, 3]


def test_texts_that_are_cut_are_counted(tinybert, tmp_path: Path, caplog) -> None:
    save_new(tmp_path, FAMILIES["bert"](), "cls")
    long = "hello " * 30
    for command in (("embed", "a", long, long), ("similarity", "a", long, long)):
        caplog.clear()
        assert tinybert(*command, "--model", tmp_path).code == 0
        assert caplog.messages == ["2 of 3 texts had more than 16 tokens and were cut"]


# --- embed ---------------------------------------------------------------------------------------


def test_embed_json(tinybert, vectors: np.ndarray) -> None:
    result = json.loads(tinybert("embed", *TEXTS, "--json", "--batch-size", 2).out)
    assert result["shape"] == [3, 384]
    np.testing.assert_allclose(result["embeddings"], vectors, rtol=0, atol=1e-6)


def test_embed_table(tinybert, vectors: np.ndarray) -> None:
    code, out, err = tinybert("embed", *TEXTS)
    assert (code, err) == (0, "")
    assert out.startswith("3 vector(s) of 384 numbers, float32\n")
    assert out.splitlines()[1] == "pooling: mean, scaled to length 1 (1_Pooling/config.json)"
    for text, vector, line in zip(TEXTS, vectors, out.splitlines()[4:], strict=True):
        assert text in line
        shown = [float(word) for word in line.removesuffix(" ...").split()[-4:]]
        np.testing.assert_allclose(shown, vector[:4], rtol=0, atol=1e-4)


@pytest.mark.parametrize("width", [60, 80])
def test_embed_table_fits_and_is_cut(tinybert, monkeypatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = tinybert("embed", *[f"number {i} " + "word " * 30 for i in range(25)]).out
    assert max(map(len, out.splitlines())) <= width
    assert "… and" not in out
    assert "... and 5 more" in out


def test_embed_writes_files(tinybert, tmp_path: Path, vectors: np.ndarray) -> None:
    npy, npz = tmp_path / "v.npy", tmp_path / "v.npz"
    ran = tinybert("embed", *TEXTS, "--output", npy)
    assert str(npy) in ran.out
    result = json.loads(tinybert("embed", *TEXTS, "--output", npz, "--json").out)
    assert (result["output"], "embeddings" in result) == (str(npz), False)
    np.testing.assert_allclose(np.load(npy), vectors, rtol=0, atol=1e-6)
    with np.load(npz) as file:
        assert file["texts"].tolist() == TEXTS
        np.testing.assert_array_equal(file["embeddings"], np.load(npy))


def test_embed_refuses_bad_outputs_before_work(refused, tmp_path: Path) -> None:
    assert "must end in .npy, .npz" in refused("embed", "a", "--output", tmp_path / "v.txt")
    assert "does not exist" in refused("embed", "a", "--output", tmp_path / "no" / "v.npy")
    assert "embed: --batch-size must be an integer >= 1" in refused("embed", "a", "--batch-size", 0)


# --- similarity ----------------------------------------------------------------------------------


def test_similarity_table(tinybert, vectors: np.ndarray) -> None:
    code, out, _ = tinybert("similarity", *TEXTS)
    heads, *rows = out.partition("\n\n")[0].splitlines()
    assert code == 0
    assert heads.split() == ["1", "2", "3"]
    shown = [[float(word) for word in row.split()[1:]] for row in rows]
    np.testing.assert_allclose(shown, vectors @ vectors.T, rtol=0, atol=0.0051)
    assert out.endswith(" 1  A man is eating.\n 2  Someone has a meal.\n 3  It costs $5 and $6.\n")


def test_twelve_long_texts_fit_into_80_columns(tinybert) -> None:
    out = tinybert("similarity", *[f"{i}: " + "opposite words " * 20 for i in range(12)]).out
    table, legend = out.split("\n\n")
    assert len(table.splitlines()) == 13
    assert max(map(len, out.splitlines())) <= 80
    assert all(line.endswith("…") for line in legend.splitlines())


def test_more_texts_or_a_narrow_terminal_give_pairs(tinybert, monkeypatch) -> None:
    texts = [f"The number of apples is {i}." for i in range(12)] + ["Rain."]
    out = tinybert("similarity", *texts).out
    assert out.startswith("13 texts; 10 most similar of 78 pairs:")
    assert "Rain" not in out
    monkeypatch.setenv("COLUMNS", "40")
    out = tinybert("similarity", *texts[:7]).out
    assert out.startswith("7 texts; 10 most similar of 21 pairs:")
    assert max(map(len, out.splitlines())) <= 40


def test_closest_pairs_by_hand() -> None:
    cosines = np.array([[1, 0.2, 0.9], [0.2, 1, 0.5], [0.9, 0.5, 1]])
    assert closest_pairs(cosines, 2) == [(0, 2), (1, 2)]
    assert closest_pairs(cosines, 10) == [(0, 2), (1, 2), (0, 1)]


def test_similarity_json(tinybert, vectors: np.ndarray) -> None:
    result = json.loads(tinybert("similarity", *TEXTS, "--json").out)
    np.testing.assert_allclose(result["similarity"], similarity(vectors), rtol=0, atol=2e-6)
    assert result["closest"][0]["pair"] == [0, 1]


def test_colours_where_rich_shows_them(tinybert, monkeypatch, capsys) -> None:
    monkeypatch.setattr(similarity_command.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = tinybert("similarity", *TEXTS).out
    assert "1.00" in out
    assert "\x1b[" in out
    monkeypatch.setattr(similarity_command, "find_spec", lambda name: None)
    assert "\x1b[" not in tinybert("similarity", *TEXTS).out


def test_similarity_needs_two(refused) -> None:
    assert "at least two texts" in refused("similarity", "one")


@pytest.mark.parametrize(
    "count", [2, *(pytest.param(many, marks=pytest.mark.slow) for many in (14, 45))]
)
def test_plot_is_a_picture_with_content(tinybert, tmp_path: Path, count: int) -> None:
    from matplotlib import image

    path = tmp_path / "map.png"
    texts = [f"costs ${i}, {'long ' * (i % 9)} 東京 $x^2$" for i in range(count)]
    code, _, err = tinybert("similarity", *texts, "--plot", path)
    assert (code, err) == (0, f"heat map: {path}\n")
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = image.imread(path)[:, :, :3]
    assert min(pixels.shape[:2]) > 200
    assert max(pixels.shape[:2]) < 2500
    colours = np.unique(pixels.reshape(-1, 3), axis=0)
    assert len(colours) > 50
    dark = (pixels.sum(axis=2) < 0.9).mean()  # the diagonal, and ink
    assert 0.01 < dark < 0.9


@pytest.mark.parametrize("ending", ["svg", "pdf"])
def test_plot_in_other_formats(tinybert, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"map.{ending}"
    assert tinybert("similarity", "a", "b", "--plot", path).code == 0
    start = {"svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(start)


def test_plots_that_are_refused(refused, tmp_path: Path, monkeypatch) -> None:
    assert "must end in .png" in refused("similarity", "a", "b", "--plot", "x.jpg")
    assert "does not exist" in refused("similarity", "a", "b", "--plot", tmp_path / "no" / "x.png")
    many = "\n".join(["a"] * 401).encode()
    assert "at most 400 texts, got 401" in refused(
        "similarity", "--plot", tmp_path / "x.png", stdin=many
    )
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    hint = refused("similarity", "a", "b", "--plot", tmp_path / "x.png")
    assert 'pip install "tinybert[plot]"' in hint
    assert not list(tmp_path.iterdir())


# --- tokenize ------------------------------------------------------------------------------------


def test_tokenize_against_transformers(tinybert) -> None:
    texts = ["Unbelievable embeddings!", "東京 café [MASK]"]
    oracle = transformers.BertTokenizer.from_pretrained(model_folder())
    results = json.loads(tinybert("tokenize", *texts, "--pair", "and more", "--json").out)
    for text, result in zip(texts, results, strict=True):
        expected = oracle(text, "and more")
        assert result["input_ids"] == expected["input_ids"]
        assert result["token_type_ids"] == expected["token_type_ids"]
        assert result["tokens"] == oracle.convert_ids_to_tokens(expected["input_ids"])
        assert (result["text"], result["pair"]) == (text, "and more")


def test_tokenize_table(tinybert) -> None:
    out = tinybert("tokenize", "Embeddings!", "--pair", "x").out
    assert out.splitlines()[:2] == ["Embeddings!", "x"]
    tokens = ["[CLS]", "em", "##bed", "##ding", "##s", "!", "[SEP]", "x", "[SEP]"]
    rows = [line.split() for line in out.splitlines()[4:]]
    assert [row[1] for row in rows] == tokens
    assert [row[3] for row in rows] == list("000000011")
    assert rows[0] == ["0", "[CLS]", "2", "0"]


def test_tokenize_explains_each_step(tinybert) -> None:
    ran = tinybert("tokenize", "Café\u00a0東京!", "--explain", "--json")
    (step,) = json.loads(ran.out)[0]["steps"]
    assert step["words"] == ["cafe", "東", "京", "!"]
    assert step["pieces"][0] == ["cafe"]
    out = tinybert("tokenize", "Embeddings " * 20, "--explain").out
    assert "pieces   em ##bed ##ding ##s · em ##bed" in out
    assert max(map(len, out.splitlines())) <= 80


def test_tokenize_says_when_a_text_is_too_long(tinybert) -> None:
    out = tinybert("tokenize", "word " * 600).out
    assert out.endswith("602 tokens exceed the model's limit of 512: use truncation\n")
    assert "exceed" not in tinybert("tokenize", "word " * 510).out


def test_tokenize_with_a_vocabulary_file(tinybert, tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nab\n##c\n")
    result = json.loads(tinybert("tokenize", "abc", "--model", path, "--json").out)
    assert result[0]["input_ids"] == [2, 5, 6, 3]


def test_tokenize_without_token_types_or_steps(tinybert, refused, tmp_path: Path) -> None:
    """A byte-level tokenizer: no token types, nothing to explain."""
    vocab = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "RobertaTokenizer"}')
    ran = tinybert("tokenize", "aa", "--model", tmp_path)
    assert [line.split() for line in ran.out.splitlines()[2:]] == [
        ["#", "token", "id"],
        ["0", "<s>", "0"],
        ["1", "a", "5"],
        ["2", "a", "5"],
        ["3", "</s>", "2"],
    ]
    result = json.loads(tinybert("tokenize", "a", "--model", tmp_path, "--json").out)[0]
    assert result["token_type_ids"] is None
    message = refused("tokenize", "a", "--model", tmp_path, "--explain")
    assert "--explain shows the steps of WordPiece; this model has a MegaTokenizer" in message
