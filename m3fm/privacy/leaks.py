"""The proof that nobody can be recognised: nothing that the source says of a patient is in what was written.

Every file is read: all columns of the tables with their metadata, JSON, pages, and the names of all files.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from m3fm.core.errors import InputError
from m3fm.core.files import read_json
from m3fm.privacy.identifiers import STANDARD_UID, Seen, keyed, runs, words
from m3fm.privacy.pseudonyms import Salt

Cell = tuple[str, str]
"""Place of a text (a file, and the column), and the text."""

UID = re.compile(r"\d+(?:\.\d+){4,}")
SMALLEST = 10_000
"""Numbers below this are not looked at: any of them may count something."""
TEXT_FILES = frozenset({".csv", ".html", ".md", ".txt", ".yaml"})
SHOWN = 5


class Leaks:
    """The identifiers of a source's patients, and the search for them in a directory."""

    def __init__(self, salt: Salt) -> None:
        self._salt = salt
        self._identifying: dict[int, str] = {}
        self._other: dict[int, str] = {}
        self._kept: set[int] = set()

    def add(self, seen: Seen) -> None:
        """Remember what the headers of a series have."""
        for names, hashes in ((self._identifying, seen.identifying), (self._other, seen.other)):
            for name, found in hashes.items():
                for mark in found:
                    names.setdefault(mark, name)
        self._kept.update(seen.kept)

    def add_table(self, what: str, hashes: Iterable[int]) -> None:
        """Remember what the source's tables have."""
        self._identifying.update(dict.fromkeys(hashes, what))

    def check(self, directory: Path, skipped: Iterable[str] = ()) -> None:
        """Raise InputError that names the files and the tags where something of a patient is found.

        `skipped` are files and folders right below the directory that are no part of what was written.
        """
        found: dict[tuple[str, str], int] = {}
        for where, text in _cells(directory, frozenset(skipped)):
            if name := self._leak(text):
                found[where, name] = found.get((where, name), 0) + 1
        if found:
            places = [f"{name} in {where} ({count} times)" for (where, name), count in sorted(found.items())]
            more = f", and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
            raise InputError(
                f"the dataset would identify its patients, and is not written: what the source has as"
                f" {', '.join(places[:SHOWN])}{more}; correct the source there, or its adapter"
            )

    def _leak(self, text: str) -> str:
        """Return the tag of which a text holds a value, or an empty text."""
        unknown = "a UID" if any(not uid.startswith(STANDARD_UID) for uid in UID.findall(text)) else ""
        for run in runs(words(text)):
            mark = keyed(self._salt, run)
            if mark in self._identifying:
                return self._identifying[mark]
            if mark in self._other and mark not in self._kept:
                return self._other[mark]
        return unknown


def _cells(directory: Path, skipped: frozenset[str]) -> Iterator[Cell]:
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if name.parts[0] in skipped:
            continue
        # Of a file that others are beside in their thousands, the folder is named.
        yield f"the names of files in {name.parent}" if name.parent.parts else "the names of files", path.name
        if path.suffix == ".parquet":
            yield from _table_cells(path, name.as_posix())
        elif path.suffix == ".json":
            texts = _json_texts(read_json(path))
            yield from ((name.as_posix(), text) for text in texts)
        elif path.suffix in TEXT_FILES:
            yield name.as_posix(), path.read_text(encoding="utf-8")


def _json_texts(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for key, part in value.items():
                yield key
                yield from _json_texts(part)
        case list():
            for part in value:
                yield from _json_texts(part)
        case str():
            yield value
        case bool() | None:
            return
        case _ if abs(value) >= SMALLEST:
            yield str(int(value)) if value == int(value) else str(value)


def _table_cells(path: Path, name: str) -> Iterator[Cell]:
    """Yield the different texts of each column of a table, its large whole numbers, and its metadata."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        for key, value in (schema.metadata or {}).items():
            yield f"{name}, metadata", f"{key.decode()} {value.decode()}"
        for field in schema:
            where, column = f"{name}, {field.name}", file.read([field.name]).column(0)
            yield f"{name}, names of columns", field.name
            while pa.types.is_list(column.type):
                column = pc.list_flatten(column)
            column = pc.unique(column.combine_chunks()).drop_null()
            if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
                column = column.filter(pc.is_finite(column))
                large = column.filter(pc.greater_equal(pc.abs(column), SMALLEST))
                yield from ((where, str(int(n))) for n in large.to_pylist() if n == int(n))
            else:
                yield from ((where, str(value)) for value in column.to_pylist())
