"""Tables as a trial or a hospital delivers them: column names in any case, codes for missing values.

What cannot be read in one way only is refused, with the file, its line and the column: rows with another
number of cells than there are columns, quotes that do not match, line breaks within cells, columns that are
there twice, other encodings than UTF-8. A message never repeats the cell of an identifying column.
"""

import csv
import io
import math
import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from m3fm.cohort.keys import SHORTENED, Link, normal, plain
from m3fm.cohort.labels import lung_rads
from m3fm.core.errors import InputError

T = TypeVar("T")
Limits = tuple[float, float]

NOT_KNOWN = r"(?:\.[A-Za-z]?)?"
"""An empty cell, or one of SAS's special missing values: `.`, `.M` missing, `.N` not applicable, ..."""
NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
"""A number, with a decimal point."""
IDENTIFIERS = frozenset(
    {
        *("pid", "studyuid", "seriesinstanceuids"),
        *("submitter_id", "cases.submitter_id", "study_uid", "series_uid", "imaging_studies.submitter_id"),
    }
)
"""Columns whose cells must not appear in a message."""
NO_ANSWER = frozenset({7, 9, 95, 96, 98, 99})
"""Codes for refused, not ascertained, missing form, no response, left blank and unknown."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SHOWN = 40
"""Most characters of a cell that a message repeats."""

ANY: Limits = (-math.inf, math.inf)
DAYS: Limits = (0, 10_000)
"""Plausible days after an event; a spreadsheet's number of a date is above, since 1927."""
DAYS_AROUND: Limits = (-DAYS[1], DAYS[1])
DIAMETERS_MM: Limits = (0.1, 300)
SLICES: Limits = (0, 9999)


def _plain(name: str) -> str:
    """Return a column's name in lower case, without spaces around it and the star of a required one."""
    return name.strip().lstrip("*").lower()


def find_table(folder: Path, names: str, default: str) -> Path:
    """Find the one CSV file of a folder for a table; `names` is a regular expression, in any case.

    A file's name may have the additions of the trial's archive: nlst_780_prsn_idc_20210527.csv is prsn.csv.
    Returns `default` without such a file; raises InputError where there are several.
    """
    name = re.compile(rf"(?:nlst_)?(?:\d+_)?(?:{names})(?:_idc)?(?:_d?\d+)?\.csv", re.IGNORECASE)
    found = sorted(path.name for path in folder.iterdir() if name.fullmatch(path.name))
    if len(found) > 1:
        raise InputError(f"{folder} has the same table in {' and '.join(found)}: keep one of them")
    return folder / (found[0] if found else default)


@dataclass(frozen=True, slots=True)
class Table:
    """A table; cells are text until a method converts a column."""

    path: Path
    cells: pd.DataFrame
    """Rows by their place in the file, such as "line 2"."""
    identifying: Collection[str] = IDENTIFIERS

    @classmethod
    def read(
        cls,
        path: Path,
        columns: Collection[str],
        optional: Collection[str] = (),
        separator: str = ",",
        identifying: Collection[str] = IDENTIFIERS,
    ) -> "Table":
        """Read columns (in lower case); raises InputError where the file or one of `columns` is missing.

        Missing `optional` columns are not in `cells`. A star before a name is not part of the name.
        """
        kind = "TSV" if separator == "\t" else "CSV"
        if not path.is_file():
            raise InputError(f"{path} is missing: put the table there, as {kind}")
        lines = _lines(path)
        rows = _rows(path, lines, separator)
        names = [_plain(name) for name in next(rows, ("", []))[1]]
        if not any(names):
            raise InputError(f"{path} is empty: put the table there, as {kind}")
        hint = _hint(lines[0], separator)
        places = find_columns(path, names, columns, optional, hint)
        found = list(rows)
        cells = {
            name: pd.Series([row[place] for _, row in found], dtype=object) for name, place in places.items()
        }
        frame = pd.DataFrame(cells, dtype=object).set_axis([f"line {line}" for line, _ in found], axis=0)
        return cls(path, frame.map(str.strip), identifying)

    def where(self, rows: Sequence[bool]) -> "Table":
        """Return the table with the rows that are true."""
        return Table(self.path, self.cells[list(rows)], self.identifying)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.cells)

    def texts(self, column: str) -> list[str]:
        """Return the cells of a column as text."""
        return list(self.cells[column])

    def optional(self, column: str) -> list[str]:
        """Return the cells of a column as text, or empty ones where the table lacks the column."""
        return self.texts(column) if column in self.cells else [""] * len(self)

    def identifiers(self, column: str) -> list[str]:
        """Return a column's identifiers in their normal form; raises InputError where one is missing.

        Refuses numbers that a spreadsheet has shortened, too: their last digits are lost.
        """
        texts = self.texts(column)
        bad = [
            not normal(text)
            or re.fullmatch(NOT_KNOWN, text) is not None
            or SHORTENED.fullmatch(plain(text)) is not None
            for text in texts
        ]
        self.refuse(column, bad, "complete: it is empty, or shortened by a spreadsheet as 1.2E+05 is")
        return [normal(text) for text in texts]

    def patients(self, column: str) -> list[str]:
        """Return the identifiers of a table of patients; raises InputError where two spellings are alike.

        Whether they are one patient or two, the table cannot say.
        """
        found = self.identifiers(column)
        spelled = dict[str, str]()
        again = [
            spelled.setdefault(patient, text) != text for patient, text in zip(found, self.texts(column))
        ]
        self.refuse(column, again, "spelled as in an earlier row: spell each patient's in one way")
        return found

    def uids(self, column: str) -> list[str]:
        """Return a column's UIDs, empty where missing."""
        found = [plain(text) for text in self.texts(column)]
        self.refuse(
            column,
            [not re.fullmatch(rf"[\w.-]*|{NOT_KNOWN}", uid, re.ASCII) for uid in found],
            "a UID",
        )
        return ["" if re.fullmatch(NOT_KNOWN, uid) else uid for uid in found]

    def numbers(self, column: str, limits: Limits = ANY) -> list[float | None]:
        """Convert a column to numbers, None where missing; raises InputError at any other text.

        Numbers outside the limits are refused, too: a slip of the point or of a column, not a measurement.
        """
        text = self.cells[column]
        missing, given = (text.str.fullmatch(form).astype(bool) for form in (NOT_KNOWN, NUMBER))
        self.refuse(column, ~(missing | given), "a number (with a decimal point)")
        values = [None if absent else float(cell) for cell, absent in zip(text, missing)]
        low, high = limits
        bad = [value is not None and not (math.isfinite(value) and low <= value <= high) for value in values]
        self.refuse(column, bad, f"a number from {low:g} to {high:g}")
        return values

    def integers(self, column: str, limits: Limits = ANY) -> list[int | None]:
        """Convert a column to whole numbers, None where missing; raises InputError at a fraction."""
        values = self.numbers(column, limits)
        self.refuse(column, [value is not None and value % 1 != 0 for value in values], "a whole number")
        return [None if value is None else int(value) for value in values]

    def coded(self, column: str, codes: Mapping[int, T]) -> list[T | None]:
        """Decode a column's codes, None where not answered; raises InputError at an unknown code."""
        values = self.integers(column)
        known = {None, *codes, *NO_ANSWER}
        self.refuse(column, [value not in known for value in values], f"one of {', '.join(map(str, codes))}")
        return [None if value is None else codes.get(value) for value in values]

    def named(self, column: str, values: Mapping[str, T | None]) -> list[T | None]:
        """Decode a column's texts (any case), None where missing; raises InputError at an unknown text."""
        texts = [text.lower() for text in self.cells[column]]
        known = {name.lower(): value for name, value in values.items()}
        missing = self.cells[column].str.fullmatch(NOT_KNOWN)
        bad = [text not in known and not absent for text, absent in zip(texts, missing)]
        self.refuse(column, bad, f"one of {', '.join(values)}")
        return [known.get(text) for text in texts]

    def matching(self, column: str, form: str, expected: str) -> list[str]:
        """Return a column's texts, empty where missing; raises InputError where one has another form."""
        texts = ["" if re.fullmatch(NOT_KNOWN, text) else text for text in self.texts(column)]
        self.refuse(column, [bool(text) and not re.fullmatch(form, text) for text in texts], expected)
        return texts

    def lung_rads(self, column: str) -> list[int | None]:
        """Return the Lung-RADS category of each text; raises InputError at a short one that states none."""
        texts = ["" if re.fullmatch(NOT_KNOWN, text) else text for text in self.texts(column)]
        found = [lung_rads(text) for text in texts]
        unclear = [
            category is None and 0 < len(text) <= 5 and not re.fullmatch(r"0(?:\.0+)?", text)
            for text, category in zip(texts, found)
        ]
        self.refuse(column, unclear, "a category, 0 to 4X, or a report's text")
        return found

    def keys(self, column: str, allowed: range) -> list[int]:
        """Convert a column to whole numbers in a range; raises InputError at others and where missing."""
        values = self.integers(column)
        expected = f"a whole number from {allowed[0]} to {allowed[-1]}"
        self.refuse(column, [value not in allowed for value in values], expected)
        return [value for value in values if value is not None]

    def check_unique(self, keys: Iterable[Hashable], *columns: str) -> None:
        """Raise InputError where two rows have the same key, which is made of the columns."""
        seen = set[Hashable]()
        again = []
        for key in keys:
            again.append(key in seen)
            seen.add(key)
        self.refuse(columns[-1], again, f"the only row of its {' and '.join(columns)}")

    def check_consistent(self, keys: Iterable[Hashable], values: Iterable[Any], column: str) -> None:
        """Raise InputError where two rows of the same key have different values."""
        first = dict[Hashable, Any]()
        other = [first.setdefault(key, value) != value for key, value in zip(keys, values, strict=True)]
        self.refuse(column, other, "what an earlier row of the same exam, patient or series has")

    def link(self, table: str, keys: Sequence[tuple[Any, ...]], other: str, known: Iterable[Any]) -> Link:
        """Find the rows whose keys, with the patient first, are not among those of another table."""
        there = set(known)
        unlinked = tuple((place, key[0]) for place, key in zip(self.cells.index, keys) if key not in there)
        return Link(table, self.path, other, len(self), unlinked)

    def refuse(self, column: str, bad: Iterable[bool], expected: str) -> None:
        """Raise InputError for the first bad row; the message does not repeat what identifies a patient."""
        first = next((place for place, wrong in enumerate(bad) if wrong), None)
        if first is not None:
            value = str(self.cells[column].iloc[first])
            shown = repr(value if len(value) <= SHOWN else f"{value[:SHOWN]}...")
            what = "the identifier" if column in self.identifying else shown
            place = self.cells.index[first]
            raise InputError(f"{self.path}, {place}, {column}: {what} is not {expected}; correct the table")


def find_columns(
    path: Path, names: Sequence[str], columns: Iterable[str], optional: Iterable[str] = (), hint: str = ""
) -> dict[str, int]:
    """Return the places of columns; raises InputError where one is missing, or is there twice."""
    absent = [column for column in columns if column not in names]
    if absent:
        raise InputError(f"{path} has no column {', '.join(absent)}: deliver the table with it{hint}")
    wanted = [name for name in dict.fromkeys((*columns, *optional)) if name in names]
    for name in wanted:
        if names.count(name) > 1:
            raise InputError(
                f"{path}, line 1, {name}: {names.count(name)} columns have this name, in any case; keep one"
            )
    return {name: names.index(name) for name in wanted}


def _lines(path: Path) -> list[str]:
    """Read the lines of a text file; raises InputError where it is not UTF-8."""
    content = path.read_bytes()
    line = content[: max(0, content.find(b"\0"))].count(b"\n") + 1
    if b"\0" in content:
        raise InputError(f"{path}, line {line}: holds NUL bytes (UTF-16?); save the table as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8; save the table as UTF-8") from error
    return list(io.StringIO(text, newline=""))


def _rows(path: Path, lines: Sequence[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with its line; raises InputError unless every line is one row of as many cells."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    names: list[str] = []
    line = 0
    try:
        for row in reader:
            line += 1
            if reader.line_num != line:
                broken = next((place for place, cell in enumerate(row) if re.search(r"[\r\n]", cell)), 0)
                raise InputError(
                    f"{path}, line {line}, {_name(names, broken)}: a quote opens a cell that ends in line"
                    f" {reader.line_num}; write each row on one line, and correct quotes that do not match"
                )
            if not row:
                continue
            names = names or row
            if len(row) != len(names):
                raise InputError(
                    f"{path}, line {line}, {_name(names, len(row))}: {len(row)} cells in the row, and"
                    f" {len(names)} columns; correct the row"
                )
            for place, cell in enumerate(row):
                if '"' in cell and _quoted(cell) not in lines[line - 1]:
                    raise InputError(
                        f"{path}, line {line}, {_name(names, place)}: a quote within a cell; remove it, or"
                        " double it in a cell in quotes"
                    )
            yield line, row
    except csv.Error as error:
        raise InputError(
            f"{path}, line {line + 1}: quotes do not match ({error}); correct the row"
        ) from error


def _quoted(cell: str) -> str:
    """Return a cell that holds quotes as a table must spell it."""
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'


def _name(names: Sequence[str], place: int) -> str:
    return _plain(names[place]) if place < len(names) else "after the last column"


def _hint(header: str, separator: str) -> str:
    """Return advice where the header is separated by something else."""
    counts = {other: header.count(other) for other in SEPARATORS}
    most = max(counts, key=lambda other: counts[other])
    if most == separator or not counts[most]:
        return ""
    return f", separated by {SEPARATORS[separator]}, not by {SEPARATORS[most]}"
