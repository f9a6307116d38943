"""CSV tables as a trial delivers them: column names in any case, codes for missing values."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd

from m3fm.core.errors import InputError

T = TypeVar("T")

NOT_KNOWN = r"(?:\.[A-Za-z]?)?"
"""An empty cell, or one of SAS's special missing values: `.`, `.M` missing, `.N` not applicable, ..."""
IDENTIFIERS = {"pid", "submitter_id", "cases.submitter_id", "study_uid", "imaging_studies.submitter_id"}
"""Columns whose cells must not appear in a message."""
NO_ANSWER = frozenset({7, 9, 95, 96, 98, 99})
"""Codes for refused, not ascertained, missing form, no response, left blank and unknown."""


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
    """A CSV file; cells are text until a method converts a column."""

    path: Path
    cells: pd.DataFrame

    @classmethod
    def read(
        cls, path: Path, columns: Collection[str], optional: Collection[str] = (), separator: str = ","
    ) -> "Table":
        """Read columns (in lower case); raises InputError where the file or one of `columns` is missing.

        Missing `optional` columns are not in `cells`. A star before a name is not part of the name.
        """
        wanted, kind = {*columns, *optional}, "CSV" if separator == "," else "TSV"
        if not path.is_file():
            raise InputError(f"{path} is missing: put the table there, as {kind}")
        try:
            cells = pd.read_csv(
                path,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                sep=separator,
                usecols=lambda name: _plain(name) in wanted,
            )
        except (ValueError, OSError) as error:
            raise InputError(f"{path} cannot be read as {kind}: {' '.join(str(error).split())}") from error
        cells.columns = cells.columns.map(_plain)
        absent = [column for column in columns if column not in cells.columns]
        if absent:
            raise InputError(f"{path} has no column {', '.join(absent)}: deliver the table with it")
        return cls(path, cells.apply(lambda column: column.str.strip()))

    def where(self, rows: pd.Series) -> "Table":
        """Return the table with the rows that are true."""
        return Table(self.path, self.cells[rows])

    def texts(self, column: str) -> list[str]:
        """Return the cells of a column as text."""
        return list(self.cells[column])

    def optional(self, column: str) -> list[str]:
        """Return the cells of a column as text, or empty ones where the table lacks the column."""
        return self.texts(column) if column in self.cells else [""] * len(self.cells)

    def numbers(self, column: str) -> list[float | None]:
        """Convert a column to numbers, None where missing; raises InputError at any other text."""
        text = self.cells[column]
        missing = text.str.fullmatch(NOT_KNOWN)
        values = pd.to_numeric(text.mask(missing), errors="coerce")
        self.refuse(column, values.isna() & ~missing, "a number")
        return [None if value != value else value for value in values.astype(float).tolist()]

    def integers(self, column: str) -> list[int | None]:
        """Convert a column to whole numbers, None where missing; raises InputError at a fraction."""
        values = self.numbers(column)
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

    def keys(self, column: str, allowed: range) -> list[int]:
        """Convert a column to whole numbers in a range; raises InputError at others and where missing."""
        values = self.integers(column)
        expected = f"a whole number from {allowed[0]} to {allowed[-1]}"
        self.refuse(column, [value not in allowed for value in values], expected)
        return [value for value in values if value is not None]

    def check_unique(self, *columns: str) -> None:
        """Raise InputError where two rows have the same values in all of the columns."""
        again = self.cells.duplicated(list(columns))
        self.refuse(columns[-1], again, f"the only row of its {' and '.join(columns)}")

    def refuse(self, column: str, bad: Iterable[bool], expected: str) -> None:
        """Raise InputError for the first bad row; the message does not repeat what identifies a patient."""
        first = next((place for place, wrong in enumerate(bad) if wrong), None)
        if first is not None:
            value = self.cells[column].iloc[first]
            what = "the identifier" if column in IDENTIFIERS else repr(value)
            line = self.cells.index[first] + 2
            raise InputError(
                f"{self.path}, line {line}, {column}: {what} is not {expected}; correct the table"
            )
