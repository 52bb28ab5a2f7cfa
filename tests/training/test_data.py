"""Token files, segments and batches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tinybert.training import (
    Batches,
    MaskedText,
    PlainText,
    TokenFile,
    sentence_blocks,
    sentence_pairs,
    token_blocks,
)
from tinybert.training.batches import order_of_batches
from tinybert.training.segments import token_windows


@pytest.fixture(scope="module")
def tokens(tokenizer: Any, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    return TokenFile.build(tmp_path_factory.mktemp("t") / "tokens.safetensors", [corpus], tokenizer)


# --- token files ----------------------------------------------------------------------------------


def test_a_token_file_has_the_tokens_of_every_sentence(
    tokens: TokenFile, tokenizer: Any, corpus: Path
) -> None:
    documents = corpus.read_text().strip().split("\n\n")
    assert len(tokens.documents) == len(documents) + 1
    sentence = 0
    for number, document in enumerate(documents):
        assert tokens.documents[number] == sentence
        for line in document.split("\n"):
            part = slice(*tokens.sentences[sentence : sentence + 2])
            expected = tokenizer(line, add_special_tokens=False)
            assert tokens.ids[part].tolist() == expected["input_ids"]
            pieces = [token.startswith("##") for token in expected.tokens()]
            assert tokens.continues[part].tolist() == pieces
            sentence += 1
    assert tokens.continues.any()
    assert len(tokens) == tokens.sentences[-1]
    assert tokens.ids.dtype == np.uint16


def test_it_is_made_again_if_text_or_tokenizer_change(tokenizer: Any, tmp_path: Path) -> None:
    text, path = tmp_path / "a.txt", tmp_path / "tokens.safetensors"
    text.write_text("the cat\n")
    first = TokenFile.build(path, [text], tokenizer)
    made = os.stat(path).st_mtime_ns
    TokenFile.build(path, [text], tokenizer)
    assert os.stat(path).st_mtime_ns == made
    text.write_text("the cat sat on the mat\n")
    assert len(TokenFile.build(path, [text], tokenizer)) > len(first)
    other = tinybert.BertTokenizerFast(tokenizer_file=None, vocab_file=_vocabulary(tmp_path))
    assert TokenFile.build(path, [text], other).ids.max() < 40
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.txt",
        "tokens.safetensors",
        "vocab.txt",
    ]


def _vocabulary(folder: Path) -> str:
    path = folder / "vocab.txt"
    path.write_text("\n".join(tinybert.train_wordpiece(["the cat sat on a mat"], 38)) + "\n")
    return str(path)


def test_files_that_cannot_be_used_are_named(tokenizer: Any, tmp_path: Path) -> None:
    empty, latin = tmp_path / "empty.txt", tmp_path / "latin.txt"
    empty.write_text("\n\n")
    latin.write_bytes(b"one\ncaf\xe9\n")
    path = tmp_path / "tokens.safetensors"
    with pytest.raises(ValueError, match=r"empty.txt: there is no text in this file"):
        TokenFile.build(path, [empty], tokenizer)
    with pytest.raises(ValueError, match=r"latin.txt: line 2 is not UTF-8"):
        TokenFile.build(path, [latin], tokenizer)
    assert not path.exists()
    tinybert.save_file({"x": np.ones(2)}, path)
    with pytest.raises(tinybert.CheckpointError, match="is not a token file"):
        TokenFile(path)


# --- segments -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, 20, 1000])
def test_blocks_of_sentences_cover_every_token_once(tokens: TokenFile, size: int) -> None:
    blocks = sentence_blocks(tokens, size, np.random.default_rng())
    assert blocks.lengths.max() <= size
    covered = np.concatenate([np.arange(a, b) for a, b, _, _ in blocks.borders])
    assert covered.tolist() == list(range(len(tokens)))
    starts = {int(tokens.sentences[d]) for d in tokens.documents}
    for a, b, _, _ in blocks.borders:
        assert not any(a < start < b for start in starts)  # within one document


def test_blocks_of_tokens_have_one_length_and_do_not_overlap(tokens: TokenFile) -> None:
    blocks = token_blocks(tokens, 7, np.random.default_rng())
    assert set(blocks.lengths) == {7}
    assert (blocks.borders[1:, 0] == blocks.borders[:-1, 1]).all()
    assert len(blocks) >= len(tokens) // 7 - 1


@pytest.mark.parametrize("size", [2, 7, 1000])
def test_windows_of_tokens_cover_the_text(tokens: TokenFile, size: int) -> None:
    windows = token_windows(tokens, size)
    covered = np.concatenate([np.arange(a, b) for a, b, _, _ in windows.borders])
    assert covered.tolist() == list(range(len(tokens) - (len(tokens) % size == 1)))
    assert set(windows.lengths[:-1]) <= {size}


def test_rows_are_documents(tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,note\n1,"the cat sat .\n\na dog ."\n2,the birds .\n')
    (tmp_path / "a.jsonl").write_text(
        '{"note": "the cat sat .\\na dog ."}\n{"note": "the birds ."}'
    )
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfthe cat sat .\r\na dog .\r\n\r\nthe birds .\r\n")
    files = [tmp_path / f"a.{kind}" for kind in ("csv", "jsonl", "txt")]
    built = [TokenFile.build(f"{file}.tokens", [file], tokenizer, "note") for file in files]
    for one in built:
        assert one.documents.tolist() == [0, 2, 3]
        assert one.ids.tolist() == built[0].ids.tolist()
    with pytest.raises(ValueError, match=r"a.csv: row 1 has no column 'text'; it has id, note"):
        TokenFile.build(f"{files[0]}.tokens", files[:1], tokenizer)


def test_pairs_follow_each_other_or_are_of_another_document(tokens: TokenFile) -> None:
    rng = np.random.default_rng()
    labels, first_kept = [], 0
    for _ in range(40):
        pairs = sentence_pairs(tokens, 20, rng)
        labels += pairs.labels.tolist()
        for (a, b, c, d), label in zip(pairs.borders, pairs.labels, strict=True):
            assert b - a > 0
            assert d - c > 0
            assert (b - a) + (d - c) <= 20
            one, other = _document(tokens, a), _document(tokens, c)
            assert one == _document(tokens, b - 1)
            assert other == _document(tokens, d - 1)
            assert (one == other) == (label == 0)
            if label == 0:
                assert b <= c
                first_kept += b == c
    assert first_kept
    assert set(labels) == {0, 1}  # how often: test_distributions.py


def _document(tokens: TokenFile, position: int) -> int:
    starts = tokens.sentences[tokens.documents]
    return int(np.searchsorted(starts, position, "right"))


def test_pairs_need_two_documents(tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat\nthe dog\n")
    tokens = TokenFile.build(tmp_path / "t.safetensors", [tmp_path / "a.txt"], tokenizer)
    with pytest.raises(ValueError, match=r"at least 2 documents .*, got 1"):
        sentence_pairs(tokens, 20, np.random.default_rng(0))


# --- batches --------------------------------------------------------------------------------------


class Numbers(list):
    """Examples that are their own numbers."""

    @property
    def lengths(self) -> np.ndarray:
        return np.array([n % 10 for n in self])


def collate(rows: list[int], rng: np.random.Generator) -> dict[str, Any]:
    return {"rows": rows, "draw": float(rng.random())}


def test_an_epoch_has_every_example_once_in_a_new_order() -> None:
    batches = Batches(Numbers(range(103)), collate, 8, seed=1)
    epochs = [[next(batches) for _ in range(len(batches))] for _ in range(2)]
    seen = [[row for batch in epoch for row in batch["rows"]] for epoch in epochs]
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(103))
    assert seen[0] != seen[1]
    assert len({batch["draw"] for epoch in epochs for batch in epoch}) == 26


@pytest.mark.parametrize("position", [0, 1, 12, 13, 14, 30])
def test_a_run_that_continues_yields_the_same_batches(position: int) -> None:
    batches = Batches(Numbers(range(103)), collate, 8, seed=1)
    for _ in range(position):
        next(batches)
    state = batches.state_dict()
    expected = [next(batches) for _ in range(20)]
    again = Batches(Numbers(range(103)), collate, 8, seed=1)
    again.load_state_dict(state)
    assert [next(again) for _ in range(20)] == expected


def test_a_state_of_other_data_is_refused() -> None:
    state = Batches(Numbers(range(103)), collate, 8, seed=1).state_dict()
    for other, message in (
        (Batches(Numbers(range(103)), collate, 8, seed=2), "seed was 1 .* now it is 2"),
        (Batches(Numbers(range(103)), collate, 4, seed=1), "batch_size was 8"),
        (Batches(Numbers(range(50)), collate, 8, seed=1), "13 batches .* now it gives 7"),
    ):
        with pytest.raises(ValueError, match=message):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match="there are none"):
        Batches(Numbers(), collate, 8)


def test_batches_by_length_have_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(3, 120, 1600)
    order = order_of_batches(1600, 32, np.random.default_rng(0), lengths)
    assert sorted(np.concatenate(order)) == list(range(1600))
    padded = sum(len(rows) * lengths[rows].max() for rows in order)
    assert padded < 1.05 * lengths.sum()


def test_a_function_gives_each_epoch_its_examples() -> None:
    batches = Batches(lambda epoch, rng: Numbers([epoch] * 4), collate, 4)
    assert [next(batches)["rows"] for _ in range(3)] == [[0] * 4, [1] * 4, [2] * 4]


# --- collators ------------------------------------------------------------------------------------


def test_masked_text_is_the_text_with_masks(tokens: TokenFile, tokenizer: Any) -> None:
    rng = np.random.default_rng(0)
    blocks = sentence_blocks(tokens, 18, rng)
    segments = [blocks[i] for i in range(5)]
    batch = MaskedText(tokens, tokenizer)(segments, rng)
    restored = np.where(batch["labels"] != -100, batch["labels"], batch["input_ids"])
    for row, mask, (a, _, _) in zip(restored, batch["attention_mask"], segments, strict=True):
        expected = [tokenizer.cls_token_id, *tokens.ids[a].tolist(), tokenizer.sep_token_id]
        assert row[mask == 1].tolist() == expected
        assert (row[mask == 0] == tokenizer.pad_token_id).all()
    special = np.isin(restored, [tokenizer.cls_token_id, tokenizer.sep_token_id])
    assert not ((batch["labels"] != -100) & special).any()


def test_pairs_have_types_and_labels(tokens: TokenFile, tokenizer: Any) -> None:
    rng = np.random.default_rng(0)
    pairs = sentence_pairs(tokens, 18, rng)
    segments = [pairs[i] for i in range(6)]
    batch = MaskedText(tokens, tokenizer, pairs=True)(segments, rng)
    assert batch["next_sentence_label"].tolist() == [label for _, _, label in segments]
    for types, mask, (a, b, _) in zip(
        batch["token_type_ids"], batch["attention_mask"], segments, strict=True
    ):
        first, second = a.stop - a.start + 2, b.stop - b.start + 1
        assert types[mask == 1].tolist() == [0] * first + [1] * second


def test_plain_text_is_its_own_label(tokens: TokenFile) -> None:
    blocks = token_blocks(tokens, 6, np.random.default_rng(0))
    batch = PlainText(tokens)([blocks[0], blocks[1]], np.random.default_rng(0))
    assert batch["input_ids"].shape == (2, 6)
    assert np.array_equal(batch["labels"], batch["input_ids"])


def test_a_tokenizer_is_known_again_in_another_folder(
    tokenizer: Any, corpus: Path, tmp_path: Path
) -> None:
    for name in ("here", "there"):
        tokenizer.save_pretrained(tmp_path / name)
    path, times = tmp_path / "tokens", set()
    for name in ("here", "there"):
        TokenFile.build(path, [corpus], tinybert.AutoTokenizer.from_pretrained(tmp_path / name))
        times.add(path.stat().st_mtime_ns)
    assert len(times) == 1
