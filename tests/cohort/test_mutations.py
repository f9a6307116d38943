"""Tables spoiled at random: they give what the clean ones give, or are refused; never anything else."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written_tables import Sheet, Sheets, hospital_sheets, nlst_sheets, read, write

from m3fm.core.errors import InputError

NLST, HOSPITAL = nlst_sheets(), hospital_sheets()
IDENTIFIERS = ("pid", "mrn", "accession")
NOT_RETYPED = ("cen", "study uid", "mrn", "to cancer")
"""Columns in which another number is another dataset: nothing contradicts it."""

Spoil = Callable[[Sheet, int, int], Sheet]
"""A function from a table and the numbers of a row and a column to another table."""


def of_cell(change: Callable[[str], str]) -> Spoil:
    """Change the text of one cell."""
    return lambda sheet, row, column: sheet.with_cell(row, column, change(sheet.rows[row][column]))


def of_identifier(change: Callable[[str], str], everywhere: bool) -> Spoil:
    """Change one cell of a column of identifiers, or all of them."""

    def spoil(sheet: Sheet, row: int, column: int) -> Sheet:
        places = [place for place, name in enumerate(sheet.names) if name.strip().lower() in IDENTIFIERS]
        place = places[column % len(places)]
        for number in range(len(sheet.rows)) if everywhere else (row,):
            sheet = sheet.with_cell(number, place, change(sheet.rows[number][place]))
        return sheet

    return spoil


def of_line(change: Callable[[str, int], str]) -> Spoil:
    """Change the text of one line after it is written."""
    return lambda sheet, row, column: sheet.with_line(row + 1, change(sheet.line(row + 1), column))


def of_all_lines(change: Callable[[str], str]) -> Spoil:
    """Change the text of all lines, the names' included."""

    def spoil(sheet: Sheet, row: int, column: int) -> Sheet:
        for number in range(len(sheet.rows) + 1):
            sheet = sheet.with_line(number, change(sheet.line(number)))
        return sheet

    return spoil


def of_names(change: Callable[[str], str]) -> Spoil:
    """Change the names of all columns."""
    return lambda sheet, row, column: replace(sheet, names=[change(name) for name in sheet.names])


def insert(text: str) -> Callable[[str, int], str]:
    """Insert a text somewhere in a line."""
    return lambda line, place: line[: place % (len(line) + 1)] + text + line[place % (len(line) + 1) :]


def drop_cell(sheet: Sheet, row: int, column: int) -> Sheet:
    """Drop a cell with its delimiter, so that the row has one cell less."""
    cells = sheet.rows[row][:column] + sheet.rows[row][column + 1 :]
    return sheet.with_line(row + 1, replace(sheet, rows=[cells]).line(1))


def shift_rows(sheet: Sheet, row: int, column: int) -> Sheet:
    """Begin the table with another row."""
    return replace(sheet, rows=sheet.rows[row:] + sheet.rows[:row])


def shift_columns(sheet: Sheet, row: int, column: int) -> Sheet:
    """Begin the table with another column."""
    rows = [cells[column:] + cells[:column] for cells in sheet.rows]
    return replace(sheet, names=sheet.names[column:] + sheet.names[:column], rows=rows)


def repeat_row(sheet: Sheet, row: int, column: int) -> Sheet:
    return replace(sheet, rows=[*sheet.rows, sheet.rows[row]])


def repeat_column(sheet: Sheet, row: int, column: int) -> Sheet:
    """Add a column of the same name in another case, with other cells."""
    rows = [[*cells, sheet.rows[row][column]] for cells in sheet.rows]
    return replace(sheet, names=[*sheet.names, sheet.names[column].swapcase()], rows=rows)


def retype_number(form: str) -> Spoil:
    """Write the first number from a column on in another form."""

    def spoil(sheet: Sheet, row: int, column: int) -> Sheet:
        for place in range(column, len(sheet.names)):
            text = sheet.rows[row][place]
            if text.replace(".", "", 1).isdecimal() and sheet.names[place].strip().lower() not in NOT_RETYPED:
                return sheet.with_cell(row, place, form.format(text, text.replace(".", ",")))
        return sheet

    return spoil


def quote_all(line: str) -> str:
    return ",".join(f'"{cell}"' for cell in line.split(","))


SPOILS: dict[str, Spoil] = {
    **{
        f"{'all identifiers' if everywhere else 'an identifier'} {name}": of_identifier(change, everywhere)
        for everywhere in (True, False)
        for name, change in {
            "as a float": lambda text: f"{text}.0",
            "with zeros": lambda text: f"00{text}",
            "with separators": lambda text: f"{text[:-3]},{text[-3:]}",
            "after an apostrophe": lambda text: f"'{text}",
            "between spaces": lambda text: f" {text}\N{NO-BREAK SPACE}",
            "in another case": str.swapcase,
            "as a formula": lambda text: f'="{text}"',
            "shortened": lambda text: "1.0E+05",
            "of nobody": lambda text: f"{text}X",
            "emptied": lambda text: "",
        }.items()
    },
    "a stray quote": of_line(insert('"')),
    "two stray quotes": of_line(lambda line, place: insert('"')(insert('"')(line, place), place + 9)),
    "a stray apostrophe in a number": retype_number("'{0}"),
    "a decimal comma": retype_number("{1}"),
    "thousands in a number": retype_number("1,{0}"),
    "infinity": retype_number("inf"),
    "not a number": retype_number("nan"),
    "a negative number": retype_number("-{0}"),
    "a whole number as a float": retype_number("{0}.0"),
    "a word for a number": retype_number("many"),
    "a unit after a number": retype_number("{0} mm"),
    "a date as a serial": retype_number("38718"),
    "a line break in a line": of_line(insert("\n")),
    "a line break in a cell": of_cell(lambda text: f"{text[:1]}\n{text[1:]}"),
    "a NUL byte": of_line(insert("\0")),
    "a trailing delimiter in a row": of_line(lambda line, place: f"{line},"),
    "a trailing delimiter in the names": lambda sheet, row, column: sheet.with_line(0, f"{sheet.line(0)},"),
    "trailing delimiters everywhere": of_all_lines(lambda line: f"{line},"),
    "a dropped cell": drop_cell,
    "a blank line": of_line(lambda line, place: f"{line}\n"),
    "an empty row": of_line(lambda line, place: f"{line}\n{',' * line.count(',')}"),
    "semicolons in a row": of_line(lambda line, place: line.replace(",", ";")),
    "semicolons": lambda sheet, row, column: replace(sheet, delimiter=";"),
    "tabs": lambda sheet, row, column: replace(sheet, delimiter="\t"),
    "quotes around all cells": of_all_lines(lambda line: line if '"' in line else quote_all(line)),
    "another first row": shift_rows,
    "another first column": shift_columns,
    "a repeated row": repeat_row,
    "a repeated column": repeat_column,
    "names in capitals": of_names(str.upper),
    "names between spaces": of_names(lambda name: f" {name} "),
    "lines of Windows": lambda sheet, row, column: replace(sheet, newline="\r\n"),
    "lines of an old Mac": lambda sheet, row, column: replace(sheet, newline="\r"),
    "a byte order mark": lambda sheet, row, column: replace(sheet, encoding="utf-8-sig"),
    "UTF-16": lambda sheet, row, column: replace(sheet, encoding="utf-16"),
    "Latin-1": lambda sheet, row, column: replace(
        of_line(insert("é"))(sheet, row, column), encoding="latin-1"
    ),
    "spaces around a cell": of_cell(lambda text: f"  {text} "),
}
"""Functions that spoil a table, by what they do."""


ANOTHER_DATASET = {
    *(("nodules.csv", how) for how in ("another first row", "a repeated row")),  # rows are numbered in order
    *(("exams.csv", how) for how in ("an identifier of nobody", "all identifiers of nobody")),
}
"""What cannot be distinguished from the tables of other patients, by table."""


def outcome(kind: str, root: object, sheets: Sheets) -> object:
    """Return the exams of a source, or None where it is refused."""
    try:
        return read(kind, write(root, sheets))
    except InputError:
        return None


def spoiled(sheets: Sheets) -> st.SearchStrategy[tuple[list[str], Sheets]]:
    """Draw tables of which up to three were spoiled, some twice, with what was done to them."""

    @st.composite
    def draw_spoiled(draw: st.DrawFn) -> tuple[list[str], Sheets]:
        found, done = dict(sheets), []
        for _ in range(draw(st.integers(1, 3))):
            name, how = draw(st.sampled_from(sorted(sheets))), draw(st.sampled_from(sorted(SPOILS)))
            sheet = found[name]
            if (name, how) in ANOTHER_DATASET:
                continue
            row = draw(st.integers(0, len(sheet.rows) - 1))
            column = draw(st.integers(0, len(sheet.names) - 1))
            found[name] = SPOILS[how](sheet, row, column)
            done.append(f"{name}, row {row}, column {column}: {how}")
        return done, found

    return draw_spoiled()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("spoiled")


@pytest.fixture(scope="module")
def clean(folder):
    """The exams of the clean tables, by kind."""
    return {
        kind: read(kind, write(folder / kind, sheets))
        for kind, sheets in (("nlst", NLST), ("hospital", HOSPITAL))
    }


@settings(max_examples=120, suppress_health_check=list(HealthCheck))
@given(spoiled(NLST))
def test_spoiled_tables_of_the_trial_give_the_same_or_are_refused(folder, clean, drawn):
    done, sheets = drawn
    assert outcome("nlst", folder / "nlst", sheets) in (None, clean["nlst"]), done


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(spoiled(HOSPITAL))
def test_spoiled_tables_of_a_hospital_give_the_same_or_are_refused(folder, clean, drawn):
    done, sheets = drawn
    assert outcome("hospital", folder / "hospital", sheets) in (None, clean["hospital"]), done


KEPT = {
    *(f"all identifiers {form}" for form in ("as a float", "with zeros", "between spaces", "as a formula")),
    *("trailing delimiters everywhere", "a blank line", "quotes around all cells", "another first column"),
    *("names in capitals", "names between spaces", "lines of Windows", "lines of an old Mac"),
    *("a byte order mark", "spaces around a cell"),
}
"""What changes no value, and so must be read as before."""


@pytest.mark.parametrize("how", sorted(KEPT))
def test_what_changes_no_value_is_read_as_before(folder, clean, how):
    for name, sheet in NLST.items():
        spoil = SPOILS[how](sheet, 1, 1)
        assert outcome("nlst", folder / "nlst", {**NLST, name: spoil}) == clean["nlst"], name


REFUSED = {
    *(f"an identifier {form}" for form in ("shortened", "of nobody", "emptied")),
    *("a decimal comma", "infinity", "not a number", "a negative number", "a word for a number"),
    *("a NUL byte", "a trailing delimiter in a row", "a trailing delimiter in the names", "a dropped cell"),
    *(
        "an empty row",
        "semicolons in a row",
        "semicolons",
        "tabs",
        "UTF-16",
        "Latin-1",
        "a line break in a cell",
    ),
}
"""What must be refused in a table of findings."""


@pytest.mark.parametrize("how", sorted(REFUSED))
def test_what_cannot_be_right_is_refused_by_file_and_line(folder, how):
    name = "tables/ctab.csv"
    diameter = NLST[name].names.index("sct_long_dia")
    row = next(row for row, cells in enumerate(NLST[name].rows) if cells[diameter].isdecimal())
    sheet = NLST[name].with_cell(row, diameter, f"{NLST[name].rows[row][diameter]}.5")
    with pytest.raises(InputError) as refusal:
        read("nlst", write(folder / "nlst", {**NLST, name: SPOILS[how](sheet, row, diameter)}))
    message = str(refusal.value)
    assert "ctab.csv" in message
    assert "line" in message or "no column pid" in message
    assert not any(cells[0] in message for cells in NLST[name].rows)
    assert "\n" not in message
