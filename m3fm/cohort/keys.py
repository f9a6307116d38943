"""Identifiers as tables and headers spell them, and the links between tables that rest on them.

One rule holds for all sources, for each of their tables and for PatientID of the images: two spellings are
one identifier where `normal` makes them equal. A table of patients in which it would make two patients one
is refused (`Table.identifiers`).
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

_NUMBER = re.compile(r"(\d+|\d{1,3}(?:[, '’]\d{3})+)(?:\.0*)?")
"""A whole number, in groups of three or not, also as a fraction of zeros."""
_FORMULA = re.compile(r'="(.*)"')
"""A text that a spreadsheet was told not to read as a number."""
SHORTENED = re.compile(r"\d(?:[.,]\d+)?E\+\d+", re.IGNORECASE)
"""A number as a spreadsheet shortens it: digits of the identifier are lost."""


def plain(text: str) -> str:
    """Return a text without surrounding spaces, invisible characters and a spreadsheet's mark of a text."""
    visible = "".join(sign for sign in unicodedata.normalize("NFKC", text) if sign.isprintable())
    stripped = visible.strip()
    formula = _FORMULA.fullmatch(stripped)
    return (formula[1] if formula else stripped.removeprefix("'")).strip()


def normal(identifier: str) -> str:
    """Return the form in which all spellings of an identifier are equal.

    Letters become capitals. A number loses separators of thousands, a fraction of zeros, and zeros in front:
    `100001.0`, `0100001`, `100,001` and `'100001` are 100001.
    """
    text = plain(identifier).upper()
    number = _NUMBER.fullmatch(text)
    return (re.sub(r"\D", "", number[1]).lstrip("0") or "0") if number else text


@dataclass(frozen=True, slots=True)
class Link:
    """The rows of a table, and those that link to no row of another table."""

    table: str
    """Name of the table in the source."""
    path: Path
    other: str
    """Name of the table that has the rows to link to."""
    rows: int
    unlinked: tuple[tuple[str, str], ...]
    """Place in the file and patient of each row without a link."""

    @property
    def fraction(self) -> float:
        """Fraction of the rows that do not link."""
        return len(self.unlinked) / self.rows if self.rows else 0.0
