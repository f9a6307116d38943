"""Tables that cannot be read in one way only: each kind is refused in one line, with its file and place."""

import pytest

from m3fm.cohort.tables import DAYS, DIAMETERS_MM, Table
from m3fm.core.errors import InputError

COLUMNS = ("pid", "size", "text")
CLEAN = "pid,note,size,text\n10001,x,1.5,a\n10002,y,.N,b\n"


@pytest.fixture
def read(tmp_path):
    def reads(content, columns=COLUMNS, separator=","):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Table.read(path, columns, separator=separator)

    return reads


def refusal(call, *arguments) -> str:
    with pytest.raises(InputError) as refused:
        call(*arguments)
    message = str(refused.value)
    assert "\n" not in message
    assert "table.csv" in message
    assert "10001" not in message, "an identifier is repeated"
    assert "10002" not in message, "an identifier is repeated"
    return message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            CLEAN.replace("1.5,a", "1.5,a,"),
            "line 2, after the last column: 5 cells in the row, and 4 columns",
        ),
        (CLEAN.replace(",b", ""), "line 3, text: 3 cells in the row, and 4 columns"),
        (CLEAN.replace("text\n", "text,\n"), "line 2, after the last column|line 2, : 4 cells in the row"),
        (CLEAN.replace("10002,y", "\n10002"), "line 4, text: 3 cells"),
        (CLEAN.replace(",x,", ',x",'), "line 2, note: a quote within a cell"),
        (CLEAN.replace(",x,", ', "x",'), "line 2, note: a quote within a cell"),
        (CLEAN.replace(",x,", ',"x"y,'), "line 2: quotes do not match"),
        (CLEAN.replace(",x,", ',"x,'), "line 2: quotes do not match"),
        (CLEAN.replace(",x,", ',"x\nz",'), "line 2, note: a quote opens a cell that ends in line 3"),
        (CLEAN.replace(",a\n", ',"a\n').replace(",b", ',b"'), "line 2, text: a quote opens a cell"),
        (CLEAN.replace("note", "PID "), "line 1, pid: 2 columns have this name"),
        (CLEAN.replace("note", "Size"), "line 1, size: 2 columns have this name"),
        (CLEAN.replace(",", ";"), "has no column pid, size, text: .* by commas, not by semicolons"),
        (CLEAN.replace(",", "\t"), "has no column pid, size, text: .* by commas, not by tabs"),
        (CLEAN.replace(",y,.N", ";y;.N"), "line 3, size: 2 cells in the row"),
        (CLEAN.replace("y", "\0"), r"line 3: holds NUL bytes \(UTF-16\?\)"),
        (CLEAN.encode("utf-16"), "line 1: holds NUL bytes"),
        (CLEAN.replace("y", "é").encode("latin-1"), "line 3: not UTF-8"),
        ("", "is empty"),
        ("\n\n", "is empty"),
    ],
)
def test_a_table_of_another_form_is_refused_where_it_differs(read, content, message):
    with pytest.raises(InputError, match=message):
        read(content)
    refusal(read, content)


@pytest.mark.parametrize(
    "content",
    [
        CLEAN.replace("\n", "\r\n"),
        CLEAN.replace("\n", "\r"),
        "\ufeff" + CLEAN,
        CLEAN.upper().replace(",A\n", ",a\n").replace(",B\n", ",b\n"),
        CLEAN.replace("pid,note", " *pid , note"),
        CLEAN.replace(",", " , "),
        CLEAN.replace("\n", ",\n"),
        CLEAN.replace(",x,", ',"x, ""z""",'),
        CLEAN.rstrip("\n"),
        CLEAN + "\n\n",
    ],
)
def test_other_spellings_of_the_same_table_are_read(read, content):
    table = read(content)
    assert table.texts("text") == ["a", "b"]
    assert table.numbers("size") == [1.5, None]


def test_lines_are_those_of_the_file(read):
    table = read(CLEAN.replace("10002", "\n\n10002").replace(",a", ",1"))
    with pytest.raises(InputError, match="line 5, text: 'b' is not a number"):
        table.numbers("text")


@pytest.mark.parametrize(
    "text",
    ["many", "1,5", "1.234,5", "inf", "-inf", "Infinity", "nan", "NaN", "1_000", "0x10", "5 mm", "--5", "５"],
)
def test_what_is_not_a_number_is_refused(read, text):
    message = refusal(read(CLEAN.replace("1.5", f'"{text}"')).numbers, "size")
    assert "line 2, size:" in message
    assert "is not a number" in message


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        *(("-35", DIAMETERS_MM), ("3500", DIAMETERS_MM), ("0", DIAMETERS_MM), ("1e400", DIAMETERS_MM)),
        *(("-1", DAYS), ("38718", DAYS), ("45000", DAYS)),
    ],
)
def test_impossible_numbers_are_refused(read, text, limits):
    message = refusal(read(CLEAN.replace("1.5", text)).numbers, "size", limits)
    assert f"is not a number from {limits[0]:g} to {limits[1]:g}" in message


@pytest.mark.parametrize("text", ["", ".", ".M", " ", "'", "1.00001E+05", "1,0E+5", "\N{ZERO WIDTH SPACE}"])
def test_what_does_not_identify_is_refused(read, text):
    message = refusal(read(CLEAN.replace("10001", f'"{text}"')).identifiers, "pid")
    assert "line 2, pid: the identifier is not complete" in message


def test_two_spellings_in_a_table_of_patients_are_refused(read):
    assert "line 3, pid: the identifier is not spelled as in an earlier row" in refusal(
        read(CLEAN.replace("10002", "010001")).patients, "pid"
    )


def test_rows_that_contradict_each_other_are_refused(read):
    table = read(CLEAN)
    table.check_consistent([1, 2], ["a", "b"], "text")
    table.check_consistent([1, 1], ["a", "a"], "text")
    assert "line 3, text: 'b' is not what an earlier row" in refusal(
        table.check_consistent, [1, 1], ["a", "b"], "text"
    )


@pytest.mark.parametrize(
    ("text", "category"), [("4", 4), ("4.0", 4), ("4X", 4), ("0", None), ("", None), (".M", None)]
)
def test_categories_are_read(read, text, category):
    table = read(CLEAN.replace(",a\n", f",{text}\n").replace(",b\n", ",1\n"))
    assert table.lung_rads("text") == [category, 1]


@pytest.mark.parametrize("text", ["5", "IV", "4,0", "-1", "2-3", "high"])
def test_short_texts_that_state_no_category_are_refused(read, text):
    assert "not a category" in refusal(read(CLEAN.replace(",a\n", f',"{text}"\n')).lung_rads, "text")


def test_long_cells_are_not_repeated_in_full(read):
    assert len(refusal(read(CLEAN.replace(",a\n", f",{'a' * 500}\n")).numbers, "text")) < 250
